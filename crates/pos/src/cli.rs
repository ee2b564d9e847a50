//! The commands of `posp pos`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use hsm::Pin;
use serde_json::json;
use zeroize::Zeroizing;

use crate::amount::{parse_yuan, yuan};
use crate::card::{CardInput, Entry};
use crate::config::{ConnectionMode, TerminalConfig};
use crate::deck;
use crate::error::PosError;
use crate::keys::{KeyLayout, TmkComponent};
use crate::outcome::{Outcome, Status};
use crate::refund::RefundRequest;
use crate::script;
use crate::settle::Totals;
use crate::show;
use crate::terminal::Terminal;
use crate::transact::{BalanceRequest, SaleRequest, VoidRequest};

const EXAMPLES: &str = "\
Examples:
  posp pos enrol --host 127.0.0.1:8583 --merchant 898000000000001 --terminal 00000001
  posp pos load-tmk --component 0123456789ABCDEFFEDCBA9876543210:08D7B4FB
  posp pos sign-in --keys 3des-track
  posp pos sale --amount 100.00 --card L01 --entry chip --pin 123456
  posp pos void --trace 000002 --no-pin
  posp pos settle
  posp pos script morning.txt

A terminal lives in a directory: --dir, or ./var/pos/<terminal>. The exit code is 0 when approved, 1 when declined or
unanswered, 2 when nothing could be done.";

/// A traditional POS terminal on the command line.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PosArgs {
    /// Directory of the terminal [default: the only one in ./var/pos, or ./var/pos/<terminal>]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Show both frames, decoded and masked
    #[arg(long, global = true)]
    pub show_bytes: bool,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a terminal in a new directory
    #[command(
        after_help = "Example:\n  posp pos enrol --host 127.0.0.1:8583 --merchant 898000000000001 --terminal 00000001"
    )]
    Enrol(EnrolArgs),
    /// Load the terminal master key from components
    #[command(
        after_help = "Examples:\n  posp pos load-tmk                      (asks for the components)\n  \
        posp pos load-tmk --component 0123456789ABCDEFFEDCBA9876543210:08D7B4FB\n  posp pos load-tmk --file letter.txt   (one HEX or HEX:KCV a line)"
    )]
    LoadTmk(LoadTmkArgs),
    /// Sign in: fetch working keys, batch number and time
    #[command(after_help = "Example:\n  posp pos sign-in --keys sm4")]
    SignIn {
        /// Which working keys to ask for
        #[arg(long, value_enum, default_value = "3des-track")]
        keys: KeysArg,
    },
    /// Sign off
    SignOff,
    /// Test the line
    Echo,
    /// Ask for the balance of a card
    #[command(after_help = "Example:\n  posp pos balance --card L01 --entry chip --pin 123456")]
    Balance {
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Sell
    #[command(
        after_help = "Examples:\n  posp pos sale --amount 100.00 --card L01 --entry chip --pin 123456\n  \
        posp pos sale --amount 12.50 --card L01 --entry tap --no-pin\n  \
        posp pos sale --amount 8.00 --track2 6224242000000021D29022015699031007 --pin 123456"
    )]
    Sale {
        /// Yuan, for example 12.34
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Void a sale of the running batch
    #[command(
        after_help = "Examples:\n  posp pos void --trace 2 --no-pin\n  posp pos void --trace 2 --card L01 --entry chip --pin 123456"
    )]
    Void {
        /// Trace (voucher number) of the sale
        #[arg(long)]
        trace: u32,
        /// The card
        #[command(flatten)]
        card: CardArgs,
        /// The PIN
        #[command(flatten)]
        pin: PinArgs,
    },
    /// Refund a payment, of today or earlier
    #[command(
        after_help = "Examples:\n  posp pos refund --amount 20.00 --rrn 112410000001 --date 1124 --card L01 --entry chip\n  \
        posp pos refund --resume"
    )]
    Refund(RefundArgs),
    /// Send the pending reversal now
    Reversal,
    /// Settle the batch
    Settle,
    /// Show the terminal's state
    Status,
    /// List the transactions of the running batch
    Journal,
    /// Print a slip again
    #[command(
        visible_alias = "reprint",
        after_help = "Examples:\n  posp pos receipt            (the last slip)\n  posp pos receipt --trace 2"
    )]
    Receipt {
        /// Trace of the transaction; the last slip without it
        #[arg(long)]
        trace: Option<u32>,
    },
    /// Run the commands of a file
    #[command(after_help = script::HELP)]
    Script {
        /// The file; `-` reads standard input
        file: PathBuf,
        /// Go on after a result that was not expected
        #[arg(long)]
        keep_going: bool,
    },
    /// List the cards of the test deck
    Deck,
}

/// Working keys to ask for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeysArg {
    /// 60.3 = 001, single DES
    Des,
    /// 60.3 = 003, 3DES
    #[value(name = "3des")]
    TripleDes,
    /// 60.3 = 004, 3DES with a track key
    #[value(name = "3des-track", alias = "3des+track")]
    TripleDesTrack,
    /// 60.3 = 006, SM4
    Sm4,
}

impl From<KeysArg> for KeyLayout {
    fn from(keys: KeysArg) -> Self {
        match keys {
            KeysArg::Des => Self::Des,
            KeysArg::TripleDes => Self::TripleDes,
            KeysArg::TripleDesTrack => Self::TripleDesTrack,
            KeysArg::Sm4 => Self::Sm4,
        }
    }
}

/// How a card is read.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EntryArg {
    /// Magnetic stripe
    Swipe,
    /// Contact chip
    Chip,
    /// Contactless
    Tap,
    /// Keyed number
    Manual,
    /// Stripe after a failed chip
    Fallback,
}

impl From<EntryArg> for Entry {
    fn from(entry: EntryArg) -> Self {
        match entry {
            EntryArg::Swipe => Self::Swipe,
            EntryArg::Chip => Self::Chip,
            EntryArg::Tap => Self::Tap,
            EntryArg::Manual => Self::Manual,
            EntryArg::Fallback => Self::Fallback,
        }
    }
}

/// A new terminal.
#[derive(Args, Debug)]
pub struct EnrolArgs {
    /// Address of the host, name:port
    #[arg(long)]
    host: String,
    /// Merchant number, 15 characters
    #[arg(long)]
    merchant: String,
    /// Terminal number, 8 characters
    #[arg(long)]
    terminal: String,
    /// Merchant name for the slips
    #[arg(long)]
    name: Option<String>,
    /// Operator, 2 characters
    #[arg(long)]
    operator: Option<String>,
    /// TPDU, 10 hexadecimal digits
    #[arg(long)]
    tpdu: Option<String>,
    /// Message header, 12 hexadecimal digits; empty for none
    #[arg(long)]
    header: Option<String>,
    /// Seconds to wait for an answer
    #[arg(long)]
    timeout: Option<u64>,
    /// Make a connection for each request
    #[arg(long)]
    short: bool,
    /// File with the counters of the deck's chips [default: cards.json beside the terminal's directory]
    #[arg(long)]
    card_file: Option<PathBuf>,
}

/// Where the master key comes from.
#[derive(Args, Debug)]
pub struct LoadTmkArgs {
    /// A component, HEX or HEX:KCV; up to three times. Typed on a command line it stays in the shell's history:
    /// for lab keys only
    #[arg(long = "component", value_name = "HEX:KCV")]
    components: Vec<String>,
    /// A file with one component a line
    #[arg(long, conflicts_with = "components")]
    file: Option<PathBuf>,
    /// Check value of the whole key
    #[arg(long)]
    kcv: Option<String>,
}

/// Which card.
#[derive(Args, Debug)]
pub struct CardArgs {
    /// A card of the test deck, L01 to L14 and M01 to M06
    #[arg(long, value_name = "ID")]
    card: Option<String>,
    /// A keyed number
    #[arg(long, conflicts_with = "card")]
    pan: Option<String>,
    /// Expiry of a keyed number, YYMM
    #[arg(long, requires = "pan")]
    expiry: Option<String>,
    /// Track 2, with D or = as separator
    #[arg(long, conflicts_with_all = ["card", "pan"])]
    track2: Option<String>,
    /// How it is read [default: chip for the deck, swipe for a track, manual for a number]
    #[arg(long, value_enum)]
    entry: Option<EntryArg>,
}

/// The PIN.
#[derive(Args, Debug)]
pub struct PinArgs {
    /// The holder's PIN; asked for when neither this nor --no-pin is given
    #[arg(long)]
    pin: Option<String>,
    /// Go without a PIN
    #[arg(long, conflicts_with = "pin")]
    no_pin: bool,
}

/// A refund.
#[derive(Args, Debug)]
pub struct RefundArgs {
    /// Yuan
    #[arg(long, value_parser = amount, required_unless_present_any = ["resume", "give_up"])]
    amount: Option<u64>,
    /// Reference number of the payment (参考号)
    #[arg(long, required_unless_present_any = ["resume", "give_up"])]
    rrn: Option<String>,
    /// Date of the payment, MMDD [default: today]
    #[arg(long)]
    date: Option<String>,
    /// Send the refund without known outcome again
    #[arg(long, conflicts_with_all = ["amount", "rrn", "give_up"])]
    resume: bool,
    /// Give up the refund without known outcome
    #[arg(long, conflicts_with_all = ["amount", "rrn"])]
    give_up: bool,
    /// The card
    #[command(flatten)]
    card: CardArgs,
    /// The PIN
    #[command(flatten)]
    pin: PinArgs,
}

/// A line of a script: a command without the program's name.
#[derive(Parser, Debug)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub command: Command,
}

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

fn amount(text: &str) -> Result<u64, String> {
    parse_yuan(text)
        .ok_or_else(|| "an amount is yuan with at most two decimals, for example 12.34".to_owned())
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
            let dir = args.dir.unwrap_or_else(|| Path::new(HOME).join(&enrol.terminal));
            let terminal = Terminal::enrol(&dir, configure(enrol))?;
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
        Command::Void { trace, card, pin } => {
            let card = card.present_if_given()?;
            let pin = match &card {
                Some((card, entry)) => pin.enter(card, *entry, ask).await?,
                None => pin.given()?,
            };
            terminal.void(VoidRequest { trace, card, pin }).await?
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
    Ok(Done::Outcome(Box::new(outcome)))
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
    terminal.refund(request).await.map(Some)
}

fn configure(args: EnrolArgs) -> TerminalConfig {
    let mut config = TerminalConfig::new(args.host, args.merchant, args.terminal);
    // The deck is one stack of cards for all terminals of a place, so its counters lie beside their directories.
    config.card_file = Some(args.card_file.unwrap_or_else(|| PathBuf::from("../cards.json")));
    if let Some(name) = args.name {
        config.merchant_name = name;
    }
    if let Some(operator) = args.operator {
        config.operator = operator;
    }
    if let Some(tpdu) = args.tpdu {
        config.tpdu = tpdu;
    }
    if let Some(header) = args.header {
        config.header = header;
    }
    if let Some(seconds) = args.timeout {
        config.answer_timeout_ms = seconds.saturating_mul(1_000);
    }
    if args.short {
        config.connection = ConnectionMode::Short;
    }
    config
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
    let components: Vec<TmkComponent> = if let Some(file) = &args.file {
        let read = std::fs::read_to_string(file);
        let text = Zeroizing::new(read.map_err(|source| PosError::Storage {
            what: "reading",
            path: file.clone(),
            source,
        })?);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(TmkComponent::parse).collect()
    } else if !args.components.is_empty() {
        args.components.iter().map(|component| TmkComponent::parse(component)).collect()
    } else if ask {
        ask_components().await?
    } else {
        return Err(PosError::Input("load-tmk in a script needs --component or --file".into()));
    };
    let checks = terminal.load_tmk(&components, args.kcv.as_deref()).await?;
    write!(out, "主密钥已装入 / master key loaded, check value {}", checks.des)?;
    match checks.sm4 {
        Some(sm4) => writeln!(out, " (SM4 {sm4})")?,
        None => writeln!(out)?,
    }
    Ok(())
}

async fn ask_components() -> Result<Vec<TmkComponent>, PosError> {
    let mut components = Vec::new();
    for number in 1..=3 {
        let text =
            secret(format!("第{number}段 / component {number}, HEX or HEX:KCV (empty: no more): ")).await?;
        if text.trim().is_empty() {
            break;
        }
        components.push(TmkComponent::parse(&text));
    }
    Ok(components)
}

/// Asks for something that must not appear on the screen.
async fn secret(prompt: String) -> Result<Zeroizing<String>, PosError> {
    let asked =
        tokio::task::spawn_blocking(move || rpassword::prompt_password(prompt).map(Zeroizing::new)).await;
    Ok(asked.map_err(std::io::Error::other)??)
}

impl CardArgs {
    fn present_if_given(&self) -> Result<Option<(CardInput, Entry)>, PosError> {
        let (card, usual) = match (&self.card, &self.pan, &self.track2) {
            (Some(id), _, _) => (CardInput::deck(id)?, Entry::Chip),
            (None, Some(pan), _) => (CardInput::keyed(pan, self.expiry.as_deref())?, Entry::Manual),
            (None, None, Some(track)) => (CardInput::track(track)?, Entry::Swipe),
            (None, None, None) => return Ok(None),
        };
        Ok(Some((card, self.entry.map_or(usual, Entry::from))))
    }

    fn present(&self) -> Result<(CardInput, Entry), PosError> {
        self.present_if_given()?
            .ok_or_else(|| PosError::Input("present a card: --card L01, --track2 or --pan".into()))
    }
}

impl PinArgs {
    fn given(&self) -> Result<Option<Pin>, PosError> {
        Ok(self.pin.as_deref().map(Pin::new).transpose()?)
    }

    /// The PIN given, or asked for at the keyboard; an empty entry means none.
    async fn enter(&self, card: &CardInput, entry: Entry, ask: bool) -> Result<Option<Pin>, PosError> {
        let phone = matches!(card, CardInput::Deck(card) if card.pin.is_none());
        if self.pin.is_some() || self.no_pin || phone || !ask || entry == Entry::Manual {
            return self.given();
        }
        let text = secret("请输入密码 / PIN (empty: none): ".to_owned()).await?;
        if text.is_empty() { Ok(None) } else { Ok(Some(Pin::new(&text)?)) }
    }
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
    for one in outcome.preceding.iter().chain([outcome]) {
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
            "settlement_open": terminal.settlement_open(),
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
