//! `posp txn`: find a payment from any of its numbers and see its whole way.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::{Amount, Beijing, MerchantId, PaymentId, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use iso8583::Dialect;
use iso8583::describe::{self, Language};
use jiff::Timestamp;
use receipt::{Bitmap, png};
use serde_json::json;
use store::{Cursor, Page, PaymentFilter, Store};

use crate::config::Config;
use crate::module;
use crate::screen::{Screen, Tone, pad, pad_left, table};

/// Arguments of `posp txn`.
#[derive(Args)]
pub struct TxnArgs {
    #[command(subcommand)]
    command: TxnCommand,
}

#[derive(Subcommand)]
enum TxnCommand {
    /// List payments, newest first.
    List(ListArgs),
    /// Show one payment: states, messages, times.
    Show(ShowArgs),
    /// Write the e-signature of a payment to a file.
    #[command(after_help = "Examples:\n  posp txn signature 112400000017 --out signature.png\n  \
                            posp txn signature 112400000017 --out signature.jbg")]
    Signature(SignatureArgs),
}

#[derive(Args)]
struct SignatureArgs {
    /// Any number of the payment. Where it fits several, the payment number (without leading zeros) wins.
    number: String,
    /// Where the image goes, without the feature code in front of it. A name that ends in .png is given a PNG, whether
    /// PNG or JBIG was uploaded; any other the bytes as they were.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only at this merchant, when the number fits several payments.
    #[arg(long)]
    merchant: Option<MerchantId>,
}

#[derive(Args)]
struct ListArgs {
    /// Any number of the payment: ours, reference, trace, authorisation code, network trace, or a masked
    /// account number such as 622424******0021.
    text: Option<String>,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only this merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// Only this terminal.
    #[arg(long)]
    terminal: Option<TerminalId>,
    /// Only this kind: sale, sale_void, refund, balance.
    #[arg(long, value_parser = kind)]
    kind: Option<Kind>,
    /// Only this state: pending, approved, declined, unresolved, reversing, reversed, voided, completed.
    #[arg(long, value_parser = state)]
    state: Option<PaymentState>,
    /// Created at this time or later, for example 2026-11-24 or 2026-11-24T10:00 (Beijing time).
    #[arg(long, value_parser = moment)]
    from: Option<Timestamp>,
    /// Created before this time.
    #[arg(long, value_parser = moment)]
    to: Option<Timestamp>,
    /// At least this many yuan.
    #[arg(long, value_name = "YUAN")]
    amount_min: Option<Amount>,
    /// At most this many yuan.
    #[arg(long, value_name = "YUAN")]
    amount_max: Option<Amount>,
    /// Only what the network settles on this date, MMDD.
    #[arg(long, value_name = "MMDD", value_parser = settle_date)]
    settle_date: Option<u16>,
    /// Rows on a page, at most 500.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Go on after the marker that the page before printed.
    #[arg(long, value_name = "MARKER")]
    after: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Comma-separated values with a heading, for a spreadsheet.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Args)]
struct ShowArgs {
    /// Any number of the payment. Where it fits several, the payment number (without leading zeros) wins.
    number: String,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only at this merchant, when the number fits several payments.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// Show each message field by field.
    #[arg(long)]
    bytes: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_code(text).ok_or_else(|| "unknown kind; try sale, sale_void, refund or balance".to_owned())
}

fn state(text: &str) -> Result<PaymentState, String> {
    PaymentState::from_code(text).ok_or_else(|| {
        let known: Vec<&str> = PaymentState::ALL.iter().map(|(_, code)| *code).collect();
        format!("unknown state; one of {}", known.join(", "))
    })
}

fn settle_date(text: &str) -> Result<u16, String> {
    let date = text.parse().ok().filter(|date| text.len() == 4 && matches!(date, 101..=1231));
    date.ok_or_else(|| "a settlement date is written MMDD, for example 1124".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    let with_seconds = match text.len() {
        10 => format!("{text}T00:00:00+08:00"),
        16 => format!("{text}:00+08:00"),
        19 => format!("{text}+08:00"),
        _ => text.to_owned(),
    };
    with_seconds.parse().map_err(|_| "a time is written 2026-11-24 or 2026-11-24T10:00".to_owned())
}

/// Opens the journal beside a running server.
pub fn open(config: &Config, data: Option<PathBuf>) -> anyhow::Result<Store> {
    config.open_store_to_read(data.as_deref()).context("the journal cannot be read")
}

/// Runs `posp txn`.
pub async fn run(config: &Config, args: TxnArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        TxnCommand::List(args) => list(config, args, screen).await,
        TxnCommand::Show(args) => show(config, args, screen).await,
        TxnCommand::Signature(args) => signature(config, args, screen).await,
    }
}

/// Characters of the feature code in front of an image.
const FEATURE_CODE: usize = 8;
/// Most dots of a signature: eighty times what terminals upload.
const SIGNATURE_DOTS_MAX: u64 = 1 << 22;

async fn signature(config: &Config, args: SignatureArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let store = open(config, args.data)?;
    let found = one(&store, &args.number, args.merchant).await?;
    let Found::One(record) = found else {
        screen.line("Several payments fit; name one by its payment number or reference.")?;
        return Ok(ExitCode::FAILURE);
    };
    let Some(signature) = store.signature(record.merchant, record.id).await? else {
        bail!("payment {} has no e-signature", record.id);
    };
    if !signature.complete {
        bail!("the e-signature of payment {} is not complete yet", record.id);
    }
    let hsm = module::open(config)?;
    let image = engine::open_signature(hsm.as_ref(), &signature)
        .with_context(|| format!("the e-signature of payment {}", record.id))?;
    let uploaded = image.get(FEATURE_CODE..).unwrap_or_default();
    let image = if args.out.extension().is_some_and(|name| name.eq_ignore_ascii_case("png")) {
        as_png(uploaded).with_context(|| format!("the e-signature of payment {}", record.id))?
    } else {
        uploaded.to_vec()
    };
    std::fs::write(&args.out, &image).with_context(|| format!("{} cannot be written", args.out.display()))?;
    screen.line(format!("{} bytes in {}", image.len(), args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The image of a signature as PNG. What was uploaded is a terminal's: it is decoded here, by whoever wants to see it, and
/// nowhere in the node.
fn as_png(uploaded: &[u8]) -> anyhow::Result<Vec<u8>> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    if uploaded.starts_with(PNG) {
        return Ok(uploaded.to_vec());
    }
    let dots = jbig::decode(uploaded, SIGNATURE_DOTS_MAX)
        .context("the image is neither JBIG nor PNG; a name that does not end in .png gets its bytes")?;
    let image = Bitmap::from_bytes(dots.width(), dots.height(), dots.bytes().to_vec())?;
    Ok(png::encode(&image)?)
}

/// What a number finds.
enum Found {
    One(Box<PaymentRecord>),
    Several(Vec<PaymentRecord>),
}

/// The payment that any of its numbers names; the payment number wins where several fit.
async fn one(store: &Store, number: &str, merchant: Option<MerchantId>) -> anyhow::Result<Found> {
    let filter = PaymentFilter { text: Some(number.to_owned()), merchant, ..PaymentFilter::default() };
    let mut found = store.find(filter, Page::first(11)).await?.items;
    match (found.len(), by_own_number(store, number, merchant).await?) {
        (0, _) => bail!("no payment has the number {number}"),
        (1, _) => Ok(Found::One(Box::new(found.remove(0)))),
        (_, Some(own)) => Ok(Found::One(Box::new(own))),
        _ => Ok(Found::Several(found)),
    }
}

async fn list(config: &Config, args: ListArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let store = open(config, args.data)?;
    let filter = PaymentFilter {
        text: args.text,
        merchant: args.merchant,
        terminal: args.terminal,
        kind: args.kind,
        state: args.state,
        from: args.from,
        to: args.to,
        amount_min: args.amount_min,
        amount_max: args.amount_max,
        settle_date: args.settle_date,
        ..PaymentFilter::default()
    };
    let page = Page { limit: args.limit, after: args.after.map(Cursor::from_text) };
    let found = store.find(filter, page).await?;
    if args.json {
        for record in &found.items {
            screen.line(summary(record).to_string())?;
        }
    } else if args.csv {
        screen.line(
            "payment,time,merchant,terminal,batch,trace,kind,amount,card,state,code,reference,auth_code,\
             settle_date,reversal_settle_date",
        )?;
        for record in &found.items {
            screen.line(csv(record))?;
        }
    } else if found.items.is_empty() {
        screen.line("No payment fits. 没有符合条件的交易。")?;
    } else {
        print_table(&found.items, screen)?;
    }
    if let Some(next) = found.next {
        let hint = format!("more: --after {}", next.as_str());
        if args.json || args.csv {
            // Beside the rows, which a program reads.
            writeln!(std::io::stderr(), "{hint}")?;
        } else {
            let hint = screen.paint(Tone::Faint, hint);
            screen.line(hint)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(records: &[PaymentRecord], screen: &mut Screen) -> anyhow::Result<()> {
    let heading = [
        "时间 time",
        "终端 terminal",
        "批次/流水",
        "交易 kind",
        "金额 ¥",
        "卡号 card",
        "状态 state",
        "39",
        "清算 day",
        "参考号 reference",
    ];
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|r| {
            vec![
                local(r.created),
                r.terminal.to_string(),
                format!("{}/{}", r.batch, r.trace),
                format!("{} {}", r.kind.spec().zh, r.kind.code()),
                pad_left(&r.amount.to_string(), 10),
                r.card.as_ref().map_or(String::new(), |c| c.masked.to_string()),
                format!("{} {}", r.state.zh(), r.state.code()),
                r.answer.as_ref().map_or("--".to_owned(), |a| a.code.to_string()),
                r.answer.as_ref().and_then(|a| a.settle_date).map_or("--".to_owned(), |d| format!("{d:04}")),
                r.rrn.to_string(),
            ]
        })
        .collect();
    for (at, line) in table(&heading, &rows).into_iter().enumerate() {
        let tone = match at.checked_sub(1).and_then(|i| records.get(i)) {
            None => Tone::Strong,
            Some(record) => tone_of(record.state),
        };
        let line = screen.paint(tone, line);
        screen.line(line)?;
    }
    Ok(())
}

fn tone_of(state: PaymentState) -> Tone {
    match state {
        PaymentState::Approved => Tone::Good,
        PaymentState::Declined => Tone::Bad,
        PaymentState::Reversed | PaymentState::Voided | PaymentState::Completed => Tone::Faint,
        PaymentState::Pending | PaymentState::Unresolved | PaymentState::Reversing => Tone::Warn,
    }
}

async fn show(config: &Config, mut args: ShowArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let store = open(config, args.data.take())?;
    let record = match one(&store, &args.number, args.merchant).await? {
        Found::One(record) => record,
        Found::Several(several) => {
            screen.line("Several payments fit; name one by its payment number or reference:")?;
            print_table(&several, screen)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let record = record.as_ref();
    let history = store.history(record.merchant, record.id).await?;
    let readings = Readings::of_merchant(config, &store, record.merchant).await?;
    if args.json {
        let history: Vec<_> = history.iter().map(|entry| entry_json(entry, &readings)).collect();
        let object = json!({"payment": summary(record), "history": history});
        screen.line(serde_json::to_string_pretty(&object)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_payment(record, screen)?;
    if let Some(signature) = store.signature(record.merchant, record.id).await? {
        let state = if signature.complete { "complete" } else { "not complete yet" };
        let value = format!("{} parts, {state}, {}", signature.parts.len(), local(signature.at));
        screen.line(format!("{} {value}", pad("电子签名 signature", 24)))?;
    }
    if let Some(original) = record.original
        && let Some(original) = store.by_id(record.merchant, original).await?
    {
        let line = format!(
            "原交易 original   {} {} ¥{} {}",
            original.rrn,
            original.kind.code(),
            original.amount,
            original.state.code()
        );
        screen.line(line)?;
    }
    let later = PaymentFilter {
        original: Some(record.id),
        merchant: Some(record.merchant),
        ..PaymentFilter::default()
    };
    for child in store.find(later, Page::first(50)).await?.items {
        let line = format!(
            "后续 then         {} {} ¥{} {}",
            child.rrn,
            child.kind.code(),
            child.amount,
            child.state.code()
        );
        screen.line(line)?;
    }
    screen.line("")?;
    let heading = screen.paint(Tone::Strong, "经过 history");
    screen.line(heading)?;
    if history.is_empty() {
        screen.line("(taken out of the journal with its day)")?;
    }
    for entry in &history {
        print_entry(entry, &readings, args.bytes, screen)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The payment whose own number is written so. A trace number is printed with its leading zeros, so one that is
/// meant as a trace number is not taken for a payment's.
async fn by_own_number(
    store: &Store,
    number: &str,
    merchant: Option<MerchantId>,
) -> anyhow::Result<Option<PaymentRecord>> {
    let Some(id) = number.parse().ok().map(PaymentId).filter(|id| id.to_string() == number) else {
        return Ok(None);
    };
    let filter = PaymentFilter { id: Some(id), merchant, ..PaymentFilter::default() };
    Ok(store.find(filter, Page::first(1)).await?.items.pop())
}

fn print_payment(record: &PaymentRecord, screen: &mut Screen) -> anyhow::Result<()> {
    let spec = record.kind.spec();
    let adjusted = record.adjusted.map_or(String::new(), |amount| format!(" → ¥{amount}"));
    let title = format!("{} {}  ¥{}{adjusted}", spec.zh, spec.en, record.amount);
    let title = screen.paint(Tone::Strong, title);
    let state = screen.paint(tone_of(record.state), format!("{} {}", record.state.zh(), record.state.code()));
    screen.line(format!("{title}  {state}"))?;
    let answer = record.answer.as_ref();
    let rows = [
        ("支付号 payment", record.id.to_string()),
        ("参考号 reference", record.rrn.to_string()),
        ("商户 merchant", record.merchant.to_string()),
        ("终端 terminal", record.terminal.to_string()),
        ("批次/流水 batch/trace", format!("{} / {}", record.batch, record.trace)),
        ("卡号 card", record.card.as_ref().map_or("-".to_owned(), |c| c.masked.to_string())),
        (
            "卡组织 organisation",
            format!(
                "{} {}",
                record.organisation(),
                if record.foreign { "外卡 foreign" } else { "内卡 domestic" }
            ),
        ),
        ("输入方式 entry mode", record.entry_mode.to_string()),
        (
            "应答码 code",
            answer.map_or("-".to_owned(), |a| format!("{} {} {}", a.code, a.code.zh(), a.code.en())),
        ),
        ("授权码 auth code", answer.and_then(|a| a.auth_code).map_or("-".to_owned(), |c| c.to_string())),
        (
            "清算日期 settlement",
            answer.and_then(|a| a.settle_date).map_or("-".to_owned(), |d| format!("{d:04}")),
        ),
        (
            "网络流水 network trace",
            format!("{:06} at {:010} on {}", record.network.trace, record.network.transmission, record.line),
        ),
        ("已退 refunded", format!("¥{}", record.refunded)),
        ("时间 time", local(record.created)),
    ];
    for (name, value) in rows {
        screen.line(format!("{} {value}", pad(name, 24)))?;
    }
    if let Some(reason) = record.reversal_reason {
        screen.line(format!("{} {reason} {}", pad("冲正原因 reversal", 24), reason.en()))?;
    }
    if let Some(date) = record.reversed_on {
        screen.line(format!("{} {date:04}", pad("冲正清算日期 settled", 24)))?;
    }
    Ok(())
}

pub(crate) fn print_entry(
    entry: &JournalEntry,
    readings: &Readings,
    bytes: bool,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let (arrow, who) = match entry.kind {
        EntryKind::TerminalIn => ("▶", "terminal → posp"),
        EntryKind::TerminalOut => ("◀", "posp → terminal"),
        EntryKind::NetworkOut => ("▷", "posp → network"),
        EntryKind::NetworkIn => ("◁", "network → posp"),
        EntryKind::Note => ("·", ""),
    };
    let time = clock(entry.at);
    if entry.kind == EntryKind::Note {
        return Ok(screen.line(format!("{time} {arrow} {}", entry.note))?);
    }
    match readings.describe(entry) {
        Some(Read { description, otherwise }) => {
            screen.line(format!("{time} {arrow} {who}  {}", summary_of(&description)))?;
            if bytes {
                if !otherwise.is_empty() {
                    let note = format!(
                        "      按另一收单规范读法不同 it reads otherwise by {}",
                        otherwise.join(", ")
                    );
                    screen.line(note)?;
                }
                for line in description.to_table(Language::Both).lines() {
                    let line = screen.paint(Tone::Faint, format!("      {line}"));
                    screen.line(line)?;
                }
                for chunk in entry.bytes.chunks(32) {
                    let line = screen.paint(Tone::Faint, format!("      {}", hex::encode_upper(chunk)));
                    screen.line(line)?;
                }
            }
        }
        None => screen.line(format!("{time} {arrow} {who}  {} bytes", entry.bytes.len()))?,
    }
    Ok(())
}

/// The dialects that journaled messages of a merchant's terminals may be in, with the profiles that they are of. The
/// journal keeps a message as it came and not what it was read in. A merchant's own profile says it, since its messages are
/// taken only where they are read so; else it is that of a listener, and where those read one message in two ways, the
/// other reading is named.
pub(crate) struct Readings {
    /// Of the merchant's profile, or of the listeners.
    likely: Vec<(String, &'static Dialect)>,
    /// The others: of what came before the configuration was what it is.
    other: Vec<(String, &'static Dialect)>,
}

/// A message as it was read.
pub(crate) struct Read {
    description: describe::Description,
    /// Profiles by which it reads otherwise, as likely as this.
    otherwise: Vec<String>,
}

impl Readings {
    /// What may be known of the messages of a merchant with this profile, or with none.
    pub(crate) fn of(config: &Config, profile: Option<&str>) -> Self {
        let (mut likely, mut other) = (Vec::new(), Vec::new());
        // Without a right configuration there is still the baseline: a journal can be read whatever the settings say.
        if let (Ok(profiles), Ok(listeners)) = (config.profiles(), config.listeners()) {
            let named = |place| {
                let spoken = profiles.at(place);
                (spoken.profile.name.clone().into_owned(), spoken.dialect)
            };
            match profile.and_then(|name| profiles.find(name)) {
                Some(own) => {
                    likely.push(named(own));
                    other.extend(listeners.iter().map(|listener| named(listener.profile)));
                }
                None => likely.extend(listeners.iter().map(|listener| named(listener.profile))),
            }
            other.extend((0..profiles.iter().count()).map(named));
        }
        other.push(("cup-pos-1".to_owned(), &iso8583::CUP_POS));
        Readings { likely, other }
    }

    /// What may be known of the messages of a merchant in the store.
    pub(crate) async fn of_merchant(
        config: &Config,
        store: &Store,
        merchant: MerchantId,
    ) -> anyhow::Result<Self> {
        let known = store.merchants().await?.into_iter().find(|known| known.id == merchant);
        Ok(Self::of(config, known.and_then(|known| known.profile).as_deref()))
    }

    /// Reads a journaled message by the dialect of its side.
    fn describe(&self, entry: &JournalEntry) -> Option<Read> {
        let read = |dialect: &Dialect| dialect.parse(&entry.bytes).ok().map(|m| describe::describe(&m));
        match entry.kind {
            EntryKind::TerminalIn | EntryKind::TerminalOut => {}
            EntryKind::NetworkIn | EntryKind::NetworkOut => {
                return read(&iso8583::CUPS).map(|description| Read { description, otherwise: Vec::new() });
            }
            EntryKind::Note => return None,
        }
        let mut readings = self.likely.iter().filter_map(|(name, dialect)| Some((name, read(dialect)?)));
        let Some((_, description)) = readings.next() else {
            let description = self.other.iter().find_map(|(_, dialect)| read(dialect))?;
            return Some(Read { description, otherwise: Vec::new() });
        };
        // Names and lengths differ with the dialect; what is read out of the bytes is what matters.
        let values = |read: &describe::Description| -> Vec<_> {
            read.fields.iter().map(|f| (f.number, f.value.clone(), f.children.clone())).collect()
        };
        let these = values(&description);
        let mut otherwise: Vec<String> =
            readings.filter(|(_, other)| values(other) != these).map(|(name, _)| name.clone()).collect();
        otherwise.dedup();
        Some(Read { description, otherwise })
    }
}

/// Type and the two fields that tell most: trace and response code.
fn summary_of(description: &describe::Description) -> String {
    let value = |number| {
        let field = description.fields.iter().find(|field| field.number == number);
        field.map(|field| field.value.as_str())
    };
    let mut text = format!("{} {}/{}", description.mti, description.mti_zh, description.mti_en);
    if let Some(trace) = value(11) {
        text.push_str(&format!("  11={trace}"));
    }
    if let Some(code) = value(39) {
        text.push_str(&format!("  39={code}"));
    }
    text
}

fn entry_json(entry: &JournalEntry, readings: &Readings) -> serde_json::Value {
    let read = readings.describe(entry);
    json!({
        "at": entry.at.to_string(),
        "kind": entry.kind.code(),
        "note": entry.note,
        "message": read.as_ref().map(|read| crate::codec::description_json(&read.description)),
        "reads_otherwise_by": read.map(|read| read.otherwise).unwrap_or_default(),
        "masked_hex": hex::encode_upper(&entry.bytes),
    })
}

fn summary(record: &PaymentRecord) -> serde_json::Value {
    let answer = record.answer.as_ref();
    json!({
        "payment": record.id.0,
        "created": record.created.to_string(),
        "merchant": record.merchant,
        "terminal": record.terminal,
        "batch": record.batch.to_string(),
        "trace": record.trace.to_string(),
        "kind": record.kind.code(),
        "amount_fen": record.amount.fen(),
        "adjusted_fen": record.adjusted.map(acquiring::Amount::fen),
        "organisation": record.organisation(),
        "foreign": record.foreign,
        "card": record.card.as_ref().map(|c| c.masked.to_string()),
        "state": record.state.code(),
        "code": answer.map(|a| a.code),
        "auth_code": answer.and_then(|a| a.auth_code),
        "settle_date": answer.and_then(|a| a.settle_date).map(|d| format!("{d:04}")),
        "reference": record.rrn,
        "network_trace": format!("{:06}", record.network.trace),
        "transmission": format!("{:010}", record.network.transmission),
        "line": record.line,
        "original": record.original.map(|id| id.0),
        "refunded_fen": record.refunded.fen(),
        "reversal_reason": record.reversal_reason,
        "reversal_settle_date": record.reversed_on.map(|date| format!("{date:04}")),
    })
}

fn csv(record: &PaymentRecord) -> String {
    let answer = record.answer.as_ref();
    [
        record.id.to_string(),
        local(record.created),
        record.merchant.to_string(),
        record.terminal.to_string(),
        record.batch.to_string(),
        record.trace.to_string(),
        record.kind.code().to_owned(),
        record.amount.to_string(),
        record.card.as_ref().map_or(String::new(), |c| c.masked.to_string()),
        record.state.code().to_owned(),
        answer.map_or(String::new(), |a| a.code.to_string()),
        record.rrn.to_string(),
        answer.and_then(|a| a.auth_code).map_or(String::new(), |c| c.to_string()),
        answer.and_then(|a| a.settle_date).map_or(String::new(), |d| format!("{d:04}")),
        record.reversed_on.map_or(String::new(), |d| format!("{d:04}")),
    ]
    .join(",")
}

/// Date and time in Beijing.
pub fn local(at: Timestamp) -> String {
    Beijing::of(at).civil().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn clock(at: Timestamp) -> String {
    Beijing::of(at).civil().strftime("%H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use iso8583::{Draft, Mti};

    use super::*;

    /// Two listeners, of which the second packs field 23 on the other side.
    fn config() -> Config {
        let text = "[[listen]]\naddress = '127.0.0.1:8584'\nprofile = 'north'\n\
             [profile.north]\nfield_23 = 'left'\n";
        toml::from_str(text).unwrap()
    }

    fn sale(dialect: &'static Dialect, card_sequence: Option<u64>) -> JournalEntry {
        let mut draft = Draft::new();
        draft.start(dialect, Mti::new(200));
        draft.put_number(3, 0).unwrap();
        draft.put_number(4, 1_000).unwrap();
        draft.put_number(11, 7).unwrap();
        if let Some(number) = card_sequence {
            draft.put_number(23, number).unwrap();
        }
        let mut bytes = Vec::new();
        draft.write(&mut bytes).unwrap();
        JournalEntry::message(Timestamp::UNIX_EPOCH, EntryKind::TerminalIn, bytes)
    }

    fn read(readings: &Readings, entry: &JournalEntry) -> (Option<String>, Vec<String>) {
        let read = readings.describe(entry).unwrap();
        let field = read.description.fields.into_iter().find(|field| field.number == 23);
        (field.map(|field| field.value), read.otherwise)
    }

    /// A message that two listeners would read differently is read as the merchant's profile has it; where nothing says
    /// which listener it came through, the other reading is named instead of one being passed off as the truth.
    #[test]
    fn a_doubtful_reading_is_called_doubtful() {
        let config = config();
        let profiles = config.profiles().unwrap();
        let north = profiles.at(profiles.find("north").unwrap()).dialect;
        let (unknown, own) = (Readings::of(&config, None), Readings::of(&config, Some("north")));
        let named = |name: &str| vec![name.to_owned()];

        assert_eq!(read(&own, &sale(north, Some(1))), (Some("001".to_owned()), vec![]));
        assert_eq!(read(&unknown, &sale(north, Some(1))), (Some("010".to_owned()), named("north")));
        assert_eq!(
            read(&unknown, &sale(&iso8583::CUP_POS, Some(1))),
            (Some("001".to_owned()), named("north"))
        );
        for dialect in [north, &iso8583::CUP_POS] {
            assert_eq!(read(&unknown, &sale(dialect, None)), (None, vec![]), "both read the same");
        }
    }
}
