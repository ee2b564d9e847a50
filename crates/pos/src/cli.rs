//! The commands of `posp pos`.

mod args;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

pub(crate) use self::args::Line;
pub use self::args::{
    AuthorisedArgs, CardArgs, Command, EnrolArgs, EntryArg, Hidden, KeysArg, LoadTmkArgs, PinArgs, PosArgs,
    RefundArgs,
};
use crate::amount::yuan;
use crate::card::{CardInput, Entry};
use crate::config::TerminalConfig;
use crate::deck;
use crate::error::PosError;
use crate::further::Points;
use crate::message::Kind;
use crate::offline::{Adjustment, OfflineSaleRequest};
use crate::outcome::{Outcome, Status};
use crate::preauth::AuthorisedRequest;
use crate::refund::RefundRequest;
use crate::script;
use crate::settle::Totals;
use crate::show;
use crate::terminal::Terminal;
use crate::transact::{BalanceRequest, SaleRequest, VoidRequest};

/// How a command ended, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Approved, or done.
    Done,
    /// Declined, unanswered, or not what a script expected.
    Declined,
}

impl ExitStatus {
    /// The process exit code: 0 or 1.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Declined => 1,
        }
    }
}

/// Where terminals live by default.
const HOME: &str = "var/pos";

/// Runs one command, writing to `out`.
///
/// # Errors
/// [`PosError`]: nothing could be done. Its text is for the operator; the exit code is 2.
pub async fn run(args: PosArgs, out: &mut (dyn Write + Send)) -> Result<ExitStatus, PosError> {
    let view = View { json: args.json, bytes: args.show_bytes };
    match args.command {
        Command::Deck => {
            write_deck(out, view)?;
            Ok(ExitStatus::Done)
        }
        Command::Enrol(enrol) => {
            let dir = args.dir.unwrap_or_else(|| Path::new(HOME).join(enrol.terminal()));
            let terminal = Terminal::enrol(&dir, enrol.config())?;
            writeln!(out, "终端已建立 / enrolled: {}", terminal.directory().display())?;
            Ok(ExitStatus::Done)
        }
        Command::Script { file, keep_going } => {
            let text = script::read(&file)?;
            let mut terminal = Terminal::open(find_dir(args.dir)?)?;
            script::run(&mut terminal, &text, keep_going, view, out).await
        }
        command => {
            let mut terminal = Terminal::open(find_dir(args.dir)?)?;
            let done = execute(&mut terminal, command, view, true, out).await?;
            Ok(done.exit())
        }
    }
}

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub json: bool,
    pub bytes: bool,
}

/// What a command gave.
pub(crate) enum Done {
    Outcome(Box<Outcome>),
    Quiet,
}

impl Done {
    fn exit(&self) -> ExitStatus {
        match self {
            Self::Outcome(outcome) if !outcome.approved => ExitStatus::Declined,
            _ => ExitStatus::Done,
        }
    }
}

/// Runs one command of an open terminal. `ask`: a person is there to enter a PIN.
pub(crate) async fn execute(
    terminal: &mut Terminal,
    command: Command,
    view: View,
    ask: bool,
    out: &mut (dyn Write + Send),
) -> Result<Done, PosError> {
    let outcome = match command {
        Command::LoadTmk(args) => {
            load_tmk(terminal, args, ask, out).await?;
            return Ok(Done::Quiet);
        }
        Command::SignIn { keys } => terminal.sign_in(keys.into()).await?,
        Command::SignOff => terminal.sign_off().await?,
        Command::Echo => terminal.echo().await?,
        Command::Download { what } => terminal.download(what.into()).await?,
        Command::StatusUpload => terminal.upload_status().await?,
        Command::Balance { card, pin } => {
            let (card, entry) = card.present()?;
            let pin = pin.enter(&card, entry, ask).await?;
            terminal.balance(BalanceRequest { card, entry, pin }).await?
        }
        Command::Sale { amount, card, pin } => {
            let (card, entry) = card.present()?;
            let small_tap = entry == Entry::Tap && amount <= terminal.config().no_pin_limit_fen;
            let pin = pin.enter(&card, entry, ask && !small_tap).await?;
            terminal.sale(SaleRequest { amount_fen: amount, card, entry, pin }).await?
        }
        Command::OfflineSale { amount, auth_code, card } => {
            let (card, entry) = card.present()?;
            terminal.offline_sale(OfflineSaleRequest { amount_fen: amount, card, entry, auth_code }).await?
        }
        Command::Adjust { trace, tip, total } => {
            let adjustment = match tip {
                Some(tip) => Adjustment::Tip(tip),
                None => Adjustment::Total(total.unwrap_or_default()),
            };
            terminal.adjust(trace, adjustment).await?
        }
        Command::Sign { trace, file } => {
            let failed = |source| PosError::Storage { what: "reading", path: file.clone(), source };
            let image = std::fs::read(&file).map_err(failed)?;
            let code = terminal.sign(trace, &image).await?;
            writeln!(out, "电子签名待上送,特征码 / signature kept, feature code {code}")?;
            return Ok(Done::Quiet);
        }
        Command::Upload => {
            let mut outcomes = terminal.upload_waiting().await?;
            let Some(last) = outcomes.pop() else {
                writeln!(out, "无待上送交易 / nothing waits")?;
                return Ok(Done::Quiet);
            };
            Outcome { preceding: outcomes, ..last }
        }
        Command::Void { trace, card, pin } => {
            let card = card.present_if_given()?;
            let pin = match &card {
                Some((card, entry)) => pin.enter(card, *entry, ask).await?,
                None => pin.given()?,
            };
            terminal.void(VoidRequest { trace, card, pin }).await?
        }
        Command::Instalment { amount, periods, item, card, pin } => {
            let (card, entry) = card.present()?;
            let pin = pin.enter(&card, entry, ask).await?;
            let sale = SaleRequest { amount_fen: amount, card, entry, pin };
            terminal.instalment(sale, periods, &item).await?
        }
        Command::Points { amount, alliance, item, card, pin } => {
            let (card, entry) = card.present()?;
            let pin = pin.enter(&card, entry, ask).await?;
            let sale = SaleRequest { amount_fen: amount, card, entry, pin };
            let points = if alliance { Points::Alliance } else { Points::Issuer };
            terminal.points_sale(sale, points, &item).await?
        }
        Command::Load { amount, cash, into, card, pin } => {
            let (card, entry) = card.present()?;
            let pin = pin.enter(&card, entry, ask && !cash).await?;
            let load = SaleRequest { amount_fen: amount, card, entry, pin };
            match into {
                Some(purse) => terminal.load_from(load, CardInput::deck(&purse)?).await?,
                None if cash => terminal.load_cash(load).await?,
                None => terminal.load(load).await?,
            }
        }
        Command::Preauth { amount, card, pin } => {
            let (card, entry) = card.present()?;
            let pin = pin.enter(&card, entry, ask).await?;
            terminal.preauth(SaleRequest { amount_fen: amount, card, entry, pin }).await?
        }
        Command::PreauthVoid(args) => {
            let request = authorised(terminal, args, ask).await?;
            terminal.void_preauth(request).await?
        }
        Command::Complete { advice, args } => {
            let request = authorised(terminal, args, ask).await?;
            if advice {
                terminal.complete_by_advice(request).await?
            } else {
                terminal.complete(request).await?
            }
        }
        Command::Refund(args) => match refund(terminal, args).await? {
            Some(outcome) => outcome,
            None => {
                let text = terminal.give_up_refund().await?;
                writeln!(out, "{text}")?;
                return Ok(Done::Quiet);
            }
        },
        Command::Reversal => match terminal.send_reversal().await? {
            Some(outcome) => outcome,
            None => {
                writeln!(out, "无待冲正交易 / no reversal waits")?;
                return Ok(Done::Quiet);
            }
        },
        Command::Settle => terminal.settle().await?,
        Command::Status => {
            write_status(terminal, view, out)?;
            return Ok(Done::Quiet);
        }
        Command::Journal => {
            if view.json {
                for record in terminal.journal() {
                    writeln!(out, "{}", journal_line(record))?;
                }
            } else {
                write!(out, "{}", show::journal_text(terminal.journal()))?;
            }
            return Ok(Done::Quiet);
        }
        Command::Receipt { trace } => {
            let text = match trace {
                Some(trace) => terminal.reprint(trace).await?,
                None => terminal.reprint_last().await?,
            };
            write!(out, "{text}")?;
            return Ok(Done::Quiet);
        }
        Command::Deck => {
            write_deck(out, view)?;
            return Ok(Done::Quiet);
        }
        Command::Enrol(_) | Command::Script { .. } => {
            return Err(PosError::Input("this command cannot stand in a script".into()));
        }
    };
    write_outcome(terminal.config(), &outcome, view, out)?;
    if terminal.config().upload_when_idle && goes_online(outcome.kind) && terminal.waiting_uploads() > 0 {
        // The transaction is done; what this comes to is told and changes nothing about it.
        match terminal.upload_waiting().await {
            Ok(uploads) => {
                for upload in &uploads {
                    write_outcome(terminal.config(), upload, view, out)?;
                }
            }
            Err(error) => writeln!(out, "  ! {error}")?,
        }
    }
    Ok(Done::Outcome(Box::new(outcome)))
}

/// Transactions after which the terminal is idle with a line at hand.
fn goes_online(kind: Kind) -> bool {
    kind == Kind::Balance || kind.goes_online()
}

async fn authorised(
    terminal: &Terminal,
    args: AuthorisedArgs,
    ask: bool,
) -> Result<AuthorisedRequest, PosError> {
    let (card, entry) = args.card.present()?;
    let pin = args.pin.enter(&card, entry, ask).await?;
    Ok(AuthorisedRequest {
        amount_fen: args.amount,
        card,
        entry,
        pin,
        auth_code: args.auth,
        date: args.date.unwrap_or_else(|| terminal.now().strftime("%m%d").to_string()),
        numbers: args.batch.zip(args.trace),
    })
}

async fn refund(terminal: &mut Terminal, args: RefundArgs) -> Result<Option<Outcome>, PosError> {
    if args.give_up {
        return Ok(None);
    }
    if args.resume {
        return terminal.resume_refund().await.map(Some);
    }
    let (card, entry) = args.card.present()?;
    let request = RefundRequest {
        amount_fen: args.amount.unwrap_or_default(),
        card,
        entry,
        pin: args.pin.given()?,
        original_rrn: args.rrn.unwrap_or_default(),
        original_date: args.date.unwrap_or_else(|| terminal.now().strftime("%m%d").to_string()),
    };
    match args.chip {
        true => terminal.refund_chip(request).await.map(Some),
        false => terminal.refund(request).await.map(Some),
    }
}

/// The directory to work in: the one given, or the only terminal in the default place.
fn find_dir(given: Option<PathBuf>) -> Result<PathBuf, PosError> {
    if let Some(dir) = given {
        return Ok(dir);
    }
    let home = Path::new(HOME);
    let mut found: Vec<PathBuf> = std::fs::read_dir(home)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.join(crate::state::CONFIG).is_file())
        .collect();
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(PosError::NotEnrolled(home.to_owned())),
        _ => Err(PosError::Input(format!("{} terminals in {HOME}: choose one with --dir", found.len()))),
    }
}

async fn load_tmk(
    terminal: &mut Terminal,
    args: LoadTmkArgs,
    ask: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), PosError> {
    let components = args.components(ask).await?;
    let checks = terminal.load_tmk(&components, args.check()).await?;
    write!(out, "主密钥已装入 / master key loaded, check value {}", checks.des)?;
    match checks.sm4 {
        Some(sm4) => writeln!(out, " (SM4 {sm4})")?,
        None => writeln!(out)?,
    }
    Ok(())
}

fn write_outcome(
    config: &TerminalConfig,
    outcome: &Outcome,
    view: View,
    out: &mut (dyn Write + Send),
) -> Result<(), PosError> {
    if view.json {
        writeln!(out, "{}", show::outcome_json(config, outcome, view.bytes))?;
        return Ok(());
    }
    for one in outcome.preceding.iter().chain([outcome]).chain(&outcome.following) {
        write!(out, "{}", show::outcome_text(one))?;
        if view.bytes {
            write!(out, "{}", show::bytes_text(config, one))?;
        }
    }
    if let Some(receipt) = &outcome.receipt {
        write!(out, "\n{receipt}\n")?;
    }
    if outcome.status == Status::NoAnswer {
        writeln!(out, "  下一笔交易前将先冲正 / what waits goes out before the next transaction")?;
    }
    Ok(())
}

fn journal_line(record: &crate::Record) -> serde_json::Value {
    json!({
        "kind": record.kind,
        "batch": record.batch,
        "trace": record.trace,
        "amount_fen": record.amount_fen,
        "card": record.pan,
        "entry": record.entry,
        "at": record.at,
        "rrn": record.rrn,
        "auth_code": record.auth_code,
        "voided": record.voided,
        "adjusted_fen": record.adjusted_fen,
        "upload": record.upload,
    })
}

fn write_status(terminal: &Terminal, view: View, out: &mut (dyn Write + Send)) -> Result<(), PosError> {
    let config = terminal.config();
    let totals = Totals::of(terminal.journal());
    let pending = terminal.pending_reversal();
    if view.json {
        let value = json!({
            "terminal": config.terminal,
            "merchant": config.merchant,
            "host": config.host,
            "batch": terminal.batch(),
            "next_trace": terminal.next_trace(),
            "sign_in_needed": terminal.sign_in_needed(),
            "transactions": terminal.journal().len(),
            "debit_fen": totals.debit_fen,
            "credit_fen": totals.credit_fen,
            "pending_reversal": pending.map(|pending| json!({
                "trace": pending.trace,
                "reason": pending.reason.code(),
                "attempts": pending.attempts,
            })),
            "open_refund": terminal.open_refund().map(|(trace, _)| trace),
            "waiting_uploads": terminal.waiting_uploads(),
            "pending_script": terminal.pending_script(),
            "settlement_open": terminal.settlement_open(),
            "downloaded": terminal.downloaded(),
            "notices": terminal.notices().iter().map(|notice| &notice.text).collect::<Vec<_>>(),
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "终端 / terminal   {} @ {} → {}", config.terminal, config.merchant, config.host)?;
    writeln!(out, "时间 / time       {}", terminal.now().strftime("%Y-%m-%d %H:%M:%S"))?;
    writeln!(out, "批次 / batch      {:06}, next trace {:06}", terminal.batch(), terminal.next_trace())?;
    writeln!(
        out,
        "签到 / signed in  {}",
        terminal.sign_in_needed().map_or("yes".into(), |why| format!("no: {why}"))
    )?;
    writeln!(
        out,
        "交易 / journal    {} transactions, debit ¥{} ({}), credit ¥{} ({})",
        terminal.journal().len(),
        yuan(totals.debit_fen),
        totals.debit_count,
        yuan(totals.credit_fen),
        totals.credit_count
    )?;
    if let Some(pending) = pending {
        writeln!(
            out,
            "待冲正 / reversal {} trace {:06} ¥{} reason {}, {} attempts",
            pending.kind.row().zh,
            pending.trace,
            yuan(pending.amount_fen),
            pending.reason.code(),
            pending.attempts
        )?;
    }
    if let Some((trace, fen)) = terminal.open_refund() {
        writeln!(out, "退货未知 / refund  trace {trace:06} ¥{} has no known outcome", yuan(fen))?;
    }
    if terminal.waiting_uploads() > 0 {
        writeln!(out, "待上送 / uploads   {} wait", terminal.waiting_uploads())?;
    }
    if terminal.pending_script() {
        writeln!(out, "脚本结果 / script  a result waits")?;
    }
    let has = terminal.downloaded();
    writeln!(
        out,
        "下载 / downloads  parameters {}, {} CA keys, {} AIDs, contactless {}, {} BINs, {} refused cards",
        if has.parameters { "yes" } else { "no" },
        has.public_keys,
        has.applications,
        if has.contactless { "yes" } else { "no" },
        has.bins,
        has.blacklist
    )?;
    if terminal.settlement_open() {
        writeln!(out, "结算未完 / settlement is not finished")?;
    }
    for notice in terminal.notices().iter().rev().take(5) {
        writeln!(out, "! {} {}", notice.at, notice.text)?;
    }
    Ok(())
}

fn write_deck(out: &mut (dyn Write + Send), view: View) -> Result<(), PosError> {
    for card in deck::DECK {
        let pan = crate::card::mask(card.pan);
        if view.json {
            let value = json!({
                "id": card.id, "card": pan, "expiry": card.expiry, "service_code": card.service_code,
                "pin": card.pin, "zh": card.note_zh, "en": card.note_en,
            });
            writeln!(out, "{value}")?;
        } else {
            let pin = card.pin.unwrap_or("-");
            writeln!(
                out,
                "{}  {pan:<19}  {}  {}  PIN {pin:<6}  {} / {}",
                card.id, card.expiry, card.service_code, card.note_zh, card.note_en
            )?;
        }
    }
    Ok(())
}
