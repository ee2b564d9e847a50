//! `posp settlement` and `posp forward`: what operators look after.

use std::path::PathBuf;
use std::process::ExitCode;

use acquiring::payment::Answer;
use acquiring::settlement::BlockResult;
use acquiring::transition::{self, Finding, Forward};
use acquiring::{AuthCode, BatchNo, MerchantId, PaymentId, ResponseCode, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use store::{BatchFilter, Cursor, ForwardFilter, ForwardItem, Page, SettlementRecord, Store};

use crate::config::Config;
use crate::screen::{Screen, table};
use crate::txn::{self, local};

/// Arguments of `posp settlement`.
#[derive(Args)]
pub struct SettlementArgs {
    #[command(subcommand)]
    command: SettlementCommand,
}

#[derive(Subcommand)]
enum SettlementCommand {
    /// List settled batches, newest first.
    List(BatchArgs),
    /// List differences between terminals and the journal.
    Differences(BatchArgs),
    /// Show one settled batch: totals of both sides, differences, messages.
    #[command(after_help = "Example:\n  posp settlement show 898100000000001 10000001 1")]
    Show(BatchShow),
}

#[derive(Args)]
struct BatchShow {
    /// The merchant.
    merchant: MerchantId,
    /// The terminal.
    terminal: TerminalId,
    /// The batch.
    #[arg(value_parser = batch)]
    batch: BatchNo,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Show each message field by field.
    #[arg(long)]
    bytes: bool,
}

/// Everything about one batch.
async fn show(config: &Config, args: BatchShow, screen: &mut Screen) -> anyhow::Result<()> {
    let store = txn::open(config, args.data)?;
    let filter =
        BatchFilter { merchant: Some(args.merchant), terminal: Some(args.terminal), batch: Some(args.batch) };
    let Some(settled) = store.settlements(filter, Page::first(1)).await?.items.pop() else {
        bail!("batch {} of terminal {} has no settlement", args.batch, args.terminal);
    };
    screen.line(format!(
        "批次 batch {} of terminal {} at merchant {}, settled {} ({} requests)",
        settled.batch,
        settled.terminal,
        settled.merchant,
        local(settled.at),
        settled.times
    ))?;
    let side = |t: acquiring::settlement::SideTotal| format!("{} / ¥{}", t.count, t.amount);
    let (t, h) = (&settled.terminal_totals, &settled.host_totals);
    let rows = [
        ("内卡借记 domestic debit", t.domestic.debit, h.domestic.debit, settled.domestic),
        ("内卡贷记 domestic credit", t.domestic.credit, h.domestic.credit, settled.domestic),
        ("外卡借记 foreign debit", t.foreign.debit, h.foreign.debit, settled.foreign),
        ("外卡贷记 foreign credit", t.foreign.credit, h.foreign.credit, settled.foreign),
    ]
    .map(|(name, terminal, host, result)| {
        let result = match result.digit() {
            1 => "平 balanced",
            2 => "不平 differs",
            _ => "出错 error",
        };
        vec![name.to_owned(), side(terminal), side(host), result.to_owned()]
    });
    for line in table(&["", "终端 terminal", "主机 host", "结果 result"], &rows) {
        screen.line(line)?;
    }
    screen.line(match settled.end {
        None => "未结束 not ended".to_owned(),
        Some(end) => {
            let how = if end.balanced { "207" } else { "202" };
            format!("结束 ended {} by {how}, {} items uploaded", local(end.at), end.uploaded)
        }
    })?;
    let found = store.differences(filter, Page::first(store::PAGE_MAX)).await?;
    if !found.items.is_empty() {
        screen.line("")?;
        print(screen, &DIFFERENCES, &differences(&found.items), found.next)?;
    }
    screen.line("")?;
    let readings = txn::Readings::of_merchant(config, &store, args.merchant).await?;
    for entry in store.batch_history(args.merchant, args.terminal, args.batch).await? {
        txn::print_entry(&entry, &readings, args.bytes, screen)?;
    }
    Ok(())
}

const DIFFERENCES: [&str; 8] = [
    "时间 time",
    "终端 terminal",
    "批次 batch",
    "流水 trace",
    "差异 difference",
    "终端 ¥",
    "主机 ¥",
    "支付号 payment",
];

fn differences(items: &[store::Difference]) -> Vec<Vec<String>> {
    let amount = |a: Option<acquiring::Amount>| a.map_or("-".to_owned(), |a| format!("¥{a}"));
    let row = |d: &store::Difference| {
        vec![
            local(d.at),
            d.terminal.to_string(),
            d.batch.to_string(),
            d.trace.to_string(),
            d.kind.code().to_owned(),
            amount(d.terminal_amount),
            amount(d.host_amount),
            d.payment.map_or("-".to_owned(), |id| id.to_string()),
        ]
    };
    items.iter().map(row).collect()
}

#[derive(Args)]
struct BatchArgs {
    /// Only this merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// Only this terminal.
    #[arg(long)]
    terminal: Option<TerminalId>,
    /// Only this batch.
    #[arg(long, value_parser = batch)]
    batch: Option<BatchNo>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Rows on a page, at most 500.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Go on after the marker that the page before printed.
    #[arg(long, value_name = "MARKER")]
    after: Option<String>,
}

impl Place {
    fn page(&self) -> Page {
        Page { limit: self.limit, after: self.after.clone().map(Cursor::from_text) }
    }
}

fn batch(text: &str) -> Result<BatchNo, String> {
    let number = text.parse().map_err(|_| "a batch number has digits only".to_owned())?;
    BatchNo::new(number).map_err(|error| error.to_string())
}

/// Arguments of `posp forward`.
#[derive(Args)]
pub struct ForwardArgs {
    #[command(subcommand)]
    command: ForwardCommand,
}

#[derive(Subcommand)]
enum ForwardCommand {
    /// List what waits for the network, in order.
    List(ForwardList),
    /// Take a waiting item out of the order, with a reason; nothing is sent for it until it is released.
    #[command(after_help = PARK_EXAMPLE)]
    Park(ForwardPark),
    /// Put a parked item back in line, after its cause is gone.
    Release(ForwardRelease),
    /// End a parked item by hand, as the network's record has its payment. Shows what it would do; `--yes` does it.
    #[command(after_help = SETTLE_EXAMPLES)]
    Settle(ForwardSettle),
}

const PARK_EXAMPLE: &str = "\
Example:
  posp forward park 12 --payment 3007 --reason 'the issuer is closed, ticket 4711'";

const SETTLE_EXAMPLES: &str = "\
Examples:
  posp forward settle 12 --payment 3007 --record standing --settle-date 1124 --reason 'network ticket 4711'
  posp forward settle 12 --payment 3007 --record nothing --code 12 --reason 'network ticket 4711' --yes";

#[derive(Args)]
struct ForwardList {
    /// Only parked items.
    #[arg(long)]
    parked: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct ForwardPark {
    /// Number of the item in the list.
    sequence: i64,
    /// Number of its payment, as a check that the right item is meant.
    #[arg(long, value_name = "NUMBER")]
    payment: i64,
    /// Why, for the payment's history: who said so, a ticket. No card number.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Its line.
    #[arg(long, default_value = "unionpay")]
    line: String,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct ForwardRelease {
    /// Number of the item in the list.
    sequence: i64,
    /// Its line.
    #[arg(long, default_value = "unionpay")]
    line: String,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What the network's record shows of the payment.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RecordShows {
    /// Approved, and not undone.
    Standing,
    /// Declined, undone, or not there.
    Nothing,
}

#[derive(Args)]
struct ForwardSettle {
    /// Number of the item in the list.
    sequence: i64,
    /// Number of its payment, as a check that the right item is meant.
    #[arg(long, value_name = "NUMBER")]
    payment: i64,
    /// What the network's record shows of the payment.
    #[arg(long, value_enum)]
    record: RecordShows,
    /// Why, for the payment's history: who said so, a ticket. No card number.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Field 39 of the record, for a payment that it has as declined (default: 25, not there).
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Settlement date of the record, for a payment that stands.
    #[arg(long, value_name = "MMDD", value_parser = month_and_day)]
    settle_date: Option<u16>,
    /// Authorisation code of the record, for a payment that stands.
    #[arg(long, value_name = "CODE")]
    auth_code: Option<String>,
    /// Its line.
    #[arg(long, default_value = "unionpay")]
    line: String,
    /// Do it; without this nothing is changed.
    #[arg(long)]
    yes: bool,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Shortest and longest reason. It must say something, and fit on a line.
const REASON_CHARACTERS: std::ops::RangeInclusive<usize> = 5..=200;
/// So many digits in a row may be a card number.
const CARD_DIGITS: usize = 13;

fn reason(text: &str) -> Result<String, String> {
    let mut run = 0;
    for character in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        run = if character.is_ascii_digit() { run + 1 } else { 0 };
        if run >= CARD_DIGITS {
            return Err("a reason is kept in the clear and holds no card number".to_owned());
        }
    }
    if !REASON_CHARACTERS.contains(&text.trim().chars().count()) || text.chars().any(char::is_control) {
        return Err("a reason has 5 to 200 characters on one line".to_owned());
    }
    Ok(text.trim().to_owned())
}

fn month_and_day(text: &str) -> Result<u16, String> {
    let number: u16 = text.parse().map_err(|_| "a date is MMDD".to_owned())?;
    let (month, day) = (number / 100, number % 100);
    if text.len() == 4 && (1..=12).contains(&month) && (1..=31).contains(&day) {
        Ok(number)
    } else {
        Err("a date is MMDD".to_owned())
    }
}

impl ForwardSettle {
    /// What the operator found, as an answer; the moment of the outcome is now.
    fn finding(&self, action: Forward) -> anyhow::Result<Finding> {
        let now = acquiring::Clock::now(&acquiring::SystemClock);
        match self.record {
            RecordShows::Standing => {
                if self.code.is_some() {
                    bail!("--code is for a payment that the record does not have as approved");
                }
                if self.settle_date.is_none() && action != Forward::Script {
                    bail!("--settle-date is needed: the record of a payment that stands has it");
                }
                let auth_code = self.auth_code.as_deref().map(AuthCode::new).transpose()?;
                let answer = Answer::own(ResponseCode::APPROVED, now);
                Ok(transition::approved(Answer { auth_code, settle_date: self.settle_date, ..answer }))
            }
            RecordShows::Nothing => {
                if self.settle_date.is_some() || self.auth_code.is_some() {
                    bail!("--settle-date and --auth-code are for a payment that stands");
                }
                let code = match &self.code {
                    Some(text) => ResponseCode::new(text)
                        .with_context(|| format!("{text} is not a code of field 39"))?,
                    None => ResponseCode::NO_ORIGINAL,
                };
                if code.is_approval() {
                    bail!("{code} is an approval: then the record has the payment as standing");
                }
                Ok(Finding::Nothing(Answer::own(code, now)))
            }
        }
    }

    fn shows(&self) -> &'static str {
        match self.record {
            RecordShows::Standing => "standing",
            RecordShows::Nothing => "nothing of it",
        }
    }
}

/// The parked item that is meant.
async fn parked(store: &Store, args: &ForwardSettle) -> anyhow::Result<ForwardItem> {
    let filter = ForwardFilter { line: Some(args.line.clone()), parked: Some(true) };
    let mut page = Page::first(store::PAGE_MAX);
    loop {
        let found = store.forwards(filter.clone(), page).await?;
        if let Some(item) = found.items.into_iter().find(|item| item.sequence == args.sequence) {
            return Ok(item);
        }
        match found.next {
            Some(next) => page = Page { limit: store::PAGE_MAX, after: Some(next) },
            None => bail!("no item {} is parked on line {}", args.sequence, args.line),
        }
    }
}

async fn settle(config: &Config, args: ForwardSettle, screen: &mut Screen) -> anyhow::Result<()> {
    let store = config.open_store_beside(args.data.as_deref()).context("the store cannot be opened")?;
    let done = settle_in(&store, &args, screen).await;
    store.close().await;
    done
}

async fn settle_in(store: &Store, args: &ForwardSettle, screen: &mut Screen) -> anyhow::Result<()> {
    let item = parked(store, args).await?;
    let payment = store.by_id(item.merchant, item.payment).await?.context("its payment is not there")?;
    screen.line(format!(
        "item {} on line {}: {} of payment {} ({}, ¥{}, terminal {}, {}), tried {} times: {}",
        item.sequence,
        item.line,
        item.action.code(),
        payment.id,
        payment.kind.code(),
        payment.amount,
        payment.terminal,
        payment.state.code(),
        item.attempts,
        item.last_note
    ))?;
    if item.payment.0 != args.payment {
        bail!("that is payment {}, not {}: nothing was changed", item.payment, args.payment);
    }
    let finding = args.finding(item.action)?;
    if !args.yes {
        // The same rules as the store's; what an adjustment was before does not matter to whether it may be.
        let change = transition::on_finding(&payment, item.action, finding, None)
            .map_err(|rule| anyhow::anyhow!("the record cannot show {}: {rule}", args.shows()))?;
        screen.line(format!(
            "the record shows {}: the payment would be {} and the item done; nothing was changed, --yes does it",
            args.shows(),
            change.state.code()
        ))?;
        return Ok(());
    }
    let note = format!(
        "{} settled by hand, the network's record shows {}: {}",
        item.action.code(),
        args.shows(),
        args.reason
    );
    let settled = store.settle_forward(&args.line, args.sequence, item.payment, finding, note).await?;
    screen.line(format!("done: payment {} is {}", settled.record.id, settled.record.state.code()))?;
    Ok(())
}

fn print(
    screen: &mut Screen,
    heading: &[&str],
    rows: &[Vec<String>],
    next: Option<Cursor>,
) -> anyhow::Result<()> {
    if rows.is_empty() {
        screen.line("Nothing to show. 没有记录。")?;
        return Ok(());
    }
    for line in table(heading, rows) {
        screen.line(line)?;
    }
    if let Some(next) = next {
        screen.line(format!("more: --after {}", next.as_str()))?;
    }
    Ok(())
}

/// Runs `posp settlement`.
pub async fn settlement(
    config: &Config,
    args: SettlementArgs,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    let filter = |args: &BatchArgs| BatchFilter {
        merchant: args.merchant,
        terminal: args.terminal,
        batch: args.batch,
    };
    match args.command {
        SettlementCommand::List(args) => {
            let store = txn::open(config, args.place.data.clone())?;
            let found = store.settlements(filter(&args), args.place.page()).await?;
            let rows: Vec<Vec<String>> = found
                .items
                .iter()
                .map(|s| {
                    let side = |t: acquiring::settlement::SideTotal| format!("{} / ¥{}", t.count, t.amount);
                    vec![
                        local(s.at),
                        s.terminal.to_string(),
                        s.batch.to_string(),
                        side(s.terminal_totals.domestic.debit),
                        side(s.host_totals.domestic.debit),
                        side(s.terminal_totals.domestic.credit),
                        side(s.host_totals.domestic.credit),
                        result_of(s),
                        s.end.map_or("未结束 open".to_owned(), |end| {
                            format!("{} ({} lines)", local(end.at), end.uploaded)
                        }),
                    ]
                })
                .collect();
            let heading = [
                "时间 time",
                "终端 terminal",
                "批次 batch",
                "借记 debit (terminal)",
                "借记 debit (host)",
                "贷记 credit (terminal)",
                "贷记 credit (host)",
                "结果 result",
                "结束 ended",
            ];
            print(screen, &heading, &rows, found.next)?;
        }
        SettlementCommand::Differences(args) => {
            let store = txn::open(config, args.place.data.clone())?;
            let found = store.differences(filter(&args), args.place.page()).await?;
            print(screen, &DIFFERENCES, &differences(&found.items), found.next)?;
        }
        SettlementCommand::Show(args) => show(config, args, screen).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One word for both blocks, and which of them it is that does not balance. The columns beside it are the domestic block's.
fn result_of(settled: &SettlementRecord) -> String {
    let bad = [("内卡 domestic", settled.domestic), ("外卡 foreign", settled.foreign)]
        .into_iter()
        .filter(|(_, result)| *result != BlockResult::Balanced)
        .map(|(name, _)| name);
    let bad: Vec<&str> = bad.collect();
    let foreign = &settled.host_totals.foreign;
    match bad.as_slice() {
        [] if foreign.debit.count + foreign.credit.count > 0 => "平 balanced (外卡 with foreign)".to_owned(),
        [] => "平 balanced".to_owned(),
        bad => format!("不平 differs: {}", bad.join(", ")),
    }
}

/// Runs `posp forward`.
pub async fn forward(config: &Config, args: ForwardArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        ForwardCommand::List(args) => {
            let store = txn::open(config, args.place.data.clone())?;
            let filter = ForwardFilter { line: None, parked: args.parked.then_some(true) };
            let found = store.forwards(filter, args.place.page()).await?;
            let rows: Vec<Vec<String>> = found
                .items
                .iter()
                .map(|f| {
                    vec![
                        f.sequence.to_string(),
                        f.line.clone(),
                        f.action.code().to_owned(),
                        f.payment.to_string(),
                        f.attempts.to_string(),
                        local(f.next_at),
                        if f.parked { "挂起 parked" } else { "等待 waiting" }.to_owned(),
                        f.last_note.clone(),
                    ]
                })
                .collect();
            let heading = [
                "序号 no.",
                "线路 line",
                "动作 action",
                "支付号 payment",
                "次数 tries",
                "下次 next",
                "状态 state",
                "备注 note",
            ];
            print(screen, &heading, &rows, found.next)?;
        }
        ForwardCommand::Settle(args) => settle(config, args, screen).await?,
        ForwardCommand::Park(args) => {
            let store =
                config.open_store_beside(args.data.as_deref()).context("the store cannot be opened")?;
            let note = format!("parked by hand: {}", args.reason);
            let parked = store.park_by_hand(&args.line, args.sequence, PaymentId(args.payment), note).await;
            store.close().await;
            parked?;
            screen.line(format!("item {} on line {} is parked", args.sequence, args.line))?;
        }
        ForwardCommand::Release(args) => {
            let store =
                config.open_store_beside(args.data.as_deref()).context("the store cannot be opened")?;
            store.release_forward(&args.line, args.sequence).await?;
            store.close().await;
            screen
                .line(format!("item {} on line {} waits for the network again", args.sequence, args.line))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
