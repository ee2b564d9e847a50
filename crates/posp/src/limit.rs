//! `posp limit`: limits by merchant, terminal, transaction and kind of card.

use std::path::PathBuf;
use std::process::ExitCode;

use acquiring::kind::Kind;
use acquiring::limit::{CardClass, Limit, LimitScope};
use acquiring::{Amount, Beijing, Clock, MerchantId, SystemClock, TerminalId};
use anyhow::bail;
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::screen::{Screen, table};
use crate::{admin, txn};

const EXAMPLES: &str = "Examples:
  posp limit set --merchant 898100000000001 --single 5000.00 --day-amount 100000.00
  posp limit set --terminal 10000001 --merchant 898100000000001 --kind refund --day-count 10
  posp limit bin 622424 credit
  posp limit set --card credit --single 2000.00
  posp limit set --merchant 898100000000001 --kind refund --single 0     (no refunds here)
  posp limit show
  posp limit remove --card credit

Every limit that fits a payment must hold. Without --kind it is for payments from the cardholder; without --merchant
for each merchant by itself. Zero forbids. A running node takes a change up within a second.";

/// Arguments of `posp limit`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LimitArgs {
    #[command(subcommand)]
    command: LimitCommand,
}

#[derive(Subcommand)]
enum LimitCommand {
    /// Set a limit, in the place of the one for the same.
    #[command(after_help = EXAMPLES)]
    Set(SetArgs),
    /// Show the limits, what the day came to under them, and the table of card numbers.
    #[command(after_help = "Example:\n  posp limit show")]
    Show(DataArgs),
    /// Remove a limit.
    #[command(after_help = "Example:\n  posp limit remove --merchant 898100000000001 --kind refund")]
    Remove(RemoveArgs),
    /// Say what kind of card numbers with these first digits are.
    #[command(after_help = "Examples:\n  posp limit bin 622424 credit\n  posp limit bin 622424 unknown")]
    Bin(BinArgs),
}

#[derive(Args)]
struct ScopeArgs {
    /// Only this merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// Only this terminal of the merchant.
    #[arg(long, requires = "merchant")]
    terminal: Option<TerminalId>,
    /// Only this transaction: sale, refund, preauth.
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only this kind of card: debit, credit, foreign.
    #[arg(long, value_parser = class)]
    card: Option<CardClass>,
}

impl ScopeArgs {
    fn scope(&self) -> LimitScope {
        LimitScope { merchant: self.merchant, terminal: self.terminal, kind: self.kind, card: self.card }
    }
}

#[derive(Args)]
struct DataArgs {
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct SetArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Largest single amount, yuan.
    #[arg(long, value_name = "YUAN")]
    single: Option<Amount>,
    /// Largest sum of a day, yuan.
    #[arg(long, value_name = "YUAN")]
    day_amount: Option<Amount>,
    /// Most payments of a day.
    #[arg(long)]
    day_count: Option<u32>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Args)]
struct RemoveArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Args)]
struct BinArgs {
    /// First digits of card numbers, at most 12.
    digits: String,
    /// debit, credit, foreign, or unknown to take it back.
    class: String,
    #[command(flatten)]
    data: DataArgs,
}

fn kind(text: &str) -> Result<Kind, String> {
    let moves = |kind: &Kind| kind.spec().side != acquiring::kind::Side::None || kind.spec().needs_card;
    Kind::from_code(text)
        .filter(moves)
        .ok_or_else(|| "unknown transaction; try sale, refund or preauth".to_owned())
}

fn class(text: &str) -> Result<CardClass, String> {
    CardClass::from_code(text).ok_or_else(|| "one of debit, credit, foreign".to_owned())
}

/// Runs `posp limit`.
pub async fn run(config: &Config, args: LimitArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        LimitCommand::Set(args) => {
            let limit = Limit {
                scope: args.scope.scope(),
                single: args.single,
                day_amount: args.day_amount,
                day_count: args.day_count,
            };
            let store = admin::open(config, args.data.data.as_ref())?;
            store.put_limit(&limit).await?;
            store.close().await;
            screen.line(format!("limit {} set", limit.scope.text()))?;
        }
        LimitCommand::Remove(args) => {
            let scope = args.scope.scope();
            let store = admin::open(config, args.data.data.as_ref())?;
            let gone = store.remove_limit(&scope).await?;
            store.close().await;
            if !gone {
                bail!("there is no limit {}", scope.text());
            }
            screen.line(format!("limit {} removed", scope.text()))?;
        }
        LimitCommand::Bin(args) => {
            let digits = &args.digits;
            if digits.is_empty() || digits.len() > 12 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                bail!("first digits are 1 to 12 digits");
            }
            let class = match args.class.as_str() {
                "unknown" => None,
                text => Some(class(text).map_err(|rule| anyhow::anyhow!("a kind of card is {rule}"))?),
            };
            let store = admin::open(config, args.data.data.as_ref())?;
            store.put_bin(digits, class).await?;
            store.close().await;
            screen.line(format!("cards {digits}… are {}", class.map_or("unknown", CardClass::code)))?;
        }
        LimitCommand::Show(args) => show(config, args, screen).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(config: &Config, args: DataArgs, screen: &mut Screen) -> anyhow::Result<()> {
    let store = txn::open(config, args.data)?;
    let limits = store.limits().await?;
    let day = Beijing::of(SystemClock.now()).yyyymmdd();
    if limits.rules.is_empty() {
        screen.line("No limits. 没有限额。")?;
    }
    let yuan = |amount: Option<Amount>| amount.map_or("-".to_owned(), |amount| format!("¥{amount}"));
    let mut rows = Vec::new();
    for limit in &limits.rules {
        // What is counted for each merchant by itself has no figure of its own.
        let used = match limit.scope.merchant {
            Some(merchant) => {
                let (fen, count) = store.limit_used(merchant, &limit.scope, day).await?;
                let amount = u64::try_from(fen).ok().and_then(Amount::from_fen).unwrap_or(Amount::ZERO);
                format!("¥{amount} / {count}")
            }
            None => "-".to_owned(),
        };
        rows.push(vec![
            limit.scope.text(),
            yuan(limit.single),
            yuan(limit.day_amount),
            limit.day_count.map_or("-".to_owned(), |count| count.to_string()),
            used,
        ]);
    }
    if !rows.is_empty() {
        let heading = ["商户/终端/交易/卡 for", "单笔 single", "日累计 day", "日笔数 count", "今日 today"];
        for line in table(&heading, &rows) {
            screen.line(line)?;
        }
    }
    for (digits, class) in &limits.bins {
        screen.line(format!("{digits}… {}", class.code()))?;
    }
    Ok(())
}
