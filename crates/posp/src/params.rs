//! `posp params`: what terminals download, from the command line, also beside a running node; and what `posp
//! terminal push` and `show` do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use acquiring::download::{Demand, GROUP, List, ListItem, PARAMETERS, Parameter, SWITCHES, Scope, Switch};
use acquiring::{MerchantId, Pan, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use iso8583::subfield::{PublicKey62, Status62};
use iso8583::tlv;

use crate::admin;
use crate::config::Config;
use crate::module;
use crate::screen::{Screen, table};
use crate::txn;

const EXAMPLES: &str = "Examples:
  posp params set timeout 45                                          for every terminal
  posp params set tip 1 --group restaurants
  posp params group restaurants --merchant 898100000000001            its terminals belong to the group
  posp params set no_pin_limit 30000 --merchant 898100000000001 --terminal 10000001
  posp params ca-key add crates/sim/lab/ca-keys.hex                   records 9F06 9F22 DF05 DF06 DF07 DF02 DF04 DF03
  posp params aid add 9F0608A000000333010101DF0101009F08020030...
  posp params bin import prefixes.txt --table b                       one prefix a line
  posp params blacklist import lost.txt                               one card number a line
  posp params show
A terminal fetches what changed after its next sign-in; `posp terminal push` asks for it sooner.";

/// Arguments of `posp params`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ParamsArgs {
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: ParamsCommand,
}

#[derive(Subcommand)]
enum ParamsCommand {
    /// Set a terminal parameter or a contactless switch; the narrower scope says the last word.
    #[command(after_help = names())]
    Set {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// Take a parameter or switch back; the wider scope or the default holds then.
    Unset {
        /// Its name.
        name: String,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// Put the terminals of a merchant, or one of them, into a group.
    Group {
        /// Name of the group: letters, digits, `-` and `_`.
        name: String,
        /// Merchant number.
        #[arg(long)]
        merchant: MerchantId,
        /// Terminal number.
        #[arg(long)]
        terminal: Option<TerminalId>,
    },
    /// Show every item that is set.
    Show {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Public keys of the card organisations.
    CaKey {
        #[command(subcommand)]
        command: RecordCommand,
    },
    /// Chip applications.
    Aid {
        #[command(subcommand)]
        command: RecordCommand,
    },
    /// Tables of card-number prefixes.
    Bin {
        #[command(subcommand)]
        command: BinCommand,
    },
    /// Cards that terminals refuse.
    Blacklist {
        #[command(subcommand)]
        command: CardCommand,
    },
}

fn names() -> String {
    let parameters = PARAMETERS.iter().map(|p| (p.name, p.default.unwrap_or("-"), p.about));
    let switches = SWITCHES.iter().map(|s| (s.name, s.default, s.about));
    let lines = parameters
        .chain(switches)
        .map(|(name, default, about)| format!("\n  {name:<20} {about} [{default}]"));
    format!("Names, with their defaults:{}", lines.collect::<String>())
}

/// For whom a setting is.
#[derive(Args)]
struct ScopeArgs {
    /// For the terminals of a group.
    #[arg(long, conflicts_with_all = ["merchant", "terminal"])]
    group: Option<String>,
    /// For the terminals of a merchant.
    #[arg(long)]
    merchant: Option<MerchantId>,
    /// For one terminal of the merchant.
    #[arg(long, requires = "merchant")]
    terminal: Option<TerminalId>,
}

impl ScopeArgs {
    fn scope(self) -> anyhow::Result<Scope> {
        Ok(match (self.group, self.merchant, self.terminal) {
            (Some(group), ..) => Scope::Group(group_name(group)?),
            (None, Some(merchant), Some(terminal)) => Scope::Terminal(merchant, terminal),
            (None, Some(merchant), None) => Scope::Merchant(merchant),
            (None, None, _) => Scope::Everyone,
        })
    }
}

fn group_name(name: String) -> anyhow::Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(plain) {
        bail!("the name of a group is made of letters, digits, - and _");
    }
    Ok(name)
}

#[derive(Subcommand)]
enum RecordCommand {
    /// Add a record, or replace the one of the same name: hexadecimal, or a file with one a line.
    Add {
        /// Hexadecimal digits, or the name of a file.
        record: String,
    },
    /// Remove a record by its name, as `posp params show` has it.
    Remove {
        /// RID and index, or AID, in hexadecimal digits.
        name: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Table {
    /// Table B.
    B,
    /// Table C.
    C,
}

impl Table {
    fn list(self) -> List {
        match self {
            Table::B => List::BinsB,
            Table::C => List::BinsC,
        }
    }
}

#[derive(Subcommand)]
enum BinCommand {
    /// Add the prefixes of a file, one a line.
    Import {
        /// The file.
        file: PathBuf,
        /// Which table.
        #[arg(long, value_enum)]
        table: Table,
    },
    /// Take out the prefixes of a file.
    Remove {
        /// The file.
        file: PathBuf,
        /// Which table.
        #[arg(long, value_enum)]
        table: Table,
    },
}

#[derive(Subcommand)]
enum CardCommand {
    /// Add the card numbers of a file, one a line. They are kept sealed.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Take out the card numbers of a file.
    Remove {
        /// The file.
        file: PathBuf,
    },
}

/// The lines of a text that are not empty and no comments.
fn meant(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The lines of a file that are not empty and no comments.
fn lines(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(meant(&text).map(str::to_owned).collect())
}

/// The laboratory's public keys and chip applications, for terminals that read the test deck.
pub fn laboratory() -> anyhow::Result<Vec<ListItem>> {
    let today = acquiring::Beijing::of(acquiring::Clock::now(&acquiring::SystemClock)).yyyymmdd();
    let mut items = Vec::new();
    for record in meant(sim::LAB_CA_KEYS) {
        items.push(ca_key(&hex::decode(record)?, today)?.0);
    }
    for record in meant(sim::LAB_APPLICATIONS) {
        items.push(aid(&hex::decode(record)?)?);
    }
    Ok(items)
}

/// A parameter or switch by its name, and its value as it is kept.
fn setting(name: &str, value: Option<&str>) -> anyhow::Result<(List, String)> {
    if let Some(parameter) = Parameter::named(name) {
        if let Some(value) = value {
            parameter.check(value).map_err(|rule| anyhow::anyhow!("{name} is {rule}"))?;
            if iso8583::gbk_len(value).is_none_or(|len| len > parameter.width) {
                bail!("{name} has at most {} bytes in GBK", parameter.width);
            }
        }
        return Ok((List::Parameters, value.unwrap_or_default().to_owned()));
    }
    if let Some(switch) = Switch::named(name) {
        let digits = match value {
            Some(value) => switch.digits(value).map_err(|rule| anyhow::anyhow!("{name} is {rule}"))?,
            None => String::new(),
        };
        return Ok((List::Contactless, digits));
    }
    bail!("there is no parameter {name}; see `posp params set --help`")
}

/// A record in hexadecimal digits, or those of a file, one a line.
fn records(given: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = Path::new(given);
    let texts = if path.is_file() { lines(path)? } else { vec![given.to_owned()] };
    texts
        .iter()
        .map(|text| hex::decode(text).context("a record is hexadecimal digits, or a file with one a line"))
        .collect()
}

fn ca_key(record: &[u8], today: u32) -> anyhow::Result<(ListItem, Option<&'static str>)> {
    let key = PublicKey62::parse(record).map_err(|_| {
        anyhow::anyhow!(
            "a public key has 9F06 (5 bytes), 9F22, DF05 (last day), DF06, DF07, DF02 (modulus, 64 to 256 bytes), \
             DF04 and DF03 (20 bytes)"
        )
    })?;
    let sum = hsm::public_key_checksum(&key.rid, key.index, &key.modulus, &key.exponent);
    if sum != key.checksum {
        bail!("the check sum DF03 is not SHA-1 over RID, index, modulus and exponent: the record has a slip");
    }
    if key.hash != 1 || key.algorithm != 1 {
        bail!("DF06 and DF07 are 01: SHA-1 and RSA");
    }
    let mut value = Vec::new();
    key.write(&mut value);
    let name = format!("{}{:02X}", hex::encode_upper(key.rid), key.index);
    let warning = (key.expiry < today).then_some("its last day is over: terminals will not use it");
    let (list, scope) = (List::PublicKeys, Scope::Everyone);
    Ok((ListItem { list, scope, name, value: hex::encode_upper(value) }, warning))
}

/// Tags of an application and the bytes of their values; 0 for any.
const AID_TAGS: &[(u32, usize)] = &[
    (0x9F06, 0),
    (0xDF01, 1),
    (0x9F08, 2),
    (0x9F09, 2),
    (0xDF11, 5),
    (0xDF12, 5),
    (0xDF13, 5),
    (0x9F1B, 4),
    (0xDF15, 4),
    (0xDF16, 1),
    (0xDF17, 1),
    (0xDF14, 0),
    (0xDF18, 1),
    (0x9F7B, 6),
    (0xDF19, 6),
    (0xDF20, 6),
    (0xDF21, 6),
];

fn aid(record: &[u8]) -> anyhow::Result<ListItem> {
    for item in tlv::iter(record) {
        let item = item.context("the record is no sequence of tags, lengths and values")?;
        match AID_TAGS.iter().find(|(tag, _)| *tag == item.tag) {
            None => bail!("tag {:X} does not belong into an application's record", item.tag),
            Some((_, 0)) => {}
            Some((tag, len)) if item.value.len() != *len => bail!("tag {tag:X} has {len} bytes"),
            Some(_) => {}
        }
    }
    let name = tlv::find(record, 0x9F06)?.filter(|aid| (5..=16).contains(&aid.len()));
    let name = name.context("the record has no 9F06 of 5 to 16 bytes")?;
    for tag in [0xDF01, 0xDF11, 0xDF12, 0xDF13, 0x9F1B] {
        tlv::find(record, tag)?.with_context(|| format!("the record lacks {tag:X}"))?;
    }
    let (list, scope) = (List::Applications, Scope::Everyone);
    Ok(ListItem { list, scope, name: hex::encode_upper(name), value: hex::encode_upper(record) })
}

fn prefixes(file: &Path) -> anyhow::Result<Vec<String>> {
    let all = lines(file)?;
    for (at, prefix) in all.iter().enumerate() {
        if !(4..=12).contains(&prefix.len()) || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            bail!("{}: entry {}: a prefix is 4 to 12 digits", file.display(), at + 1);
        }
    }
    Ok(all)
}

/// The cards of a file: keyed digest and sealed number.
fn cards(config: &Config, file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let vault = module::open(config)?;
    let numbers = hsm::Zeroizing::new(lines(file)?.join("\n"));
    let mut all = Vec::new();
    for (at, number) in numbers.lines().enumerate() {
        // The number stays out of the sentence.
        let pan = Pan::new(number);
        let pan =
            pan.map_err(|_| anyhow::anyhow!("{}: entry {}: not a card number", file.display(), at + 1))?;
        let plain = pan.reveal().as_bytes();
        let sealed = vault.seal(engine::downloads::SEALED_BLACKLIST, plain)?;
        all.push((hex::encode(vault.digest(plain)?), hex::encode(sealed)));
    }
    Ok(all)
}

/// Runs `posp params`.
pub async fn run(config: &Config, args: ParamsArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let data = args.data.as_ref();
    let everyone = |list, name: String, value: String| ListItem { list, scope: Scope::Everyone, name, value };
    let (list, scope, names) = match args.command {
        ParamsCommand::Set { name, value, scope } => {
            let (list, value) = setting(&name, Some(&value))?;
            return put(config, data, vec![ListItem { list, scope: scope.scope()?, name, value }], screen)
                .await;
        }
        ParamsCommand::Unset { name, scope } => (setting(&name, None)?.0, scope.scope()?, vec![name]),
        ParamsCommand::Group { name, merchant, terminal } => {
            let scope = terminal.map_or(Scope::Merchant(merchant), |t| Scope::Terminal(merchant, t));
            let value = group_name(name)?;
            let item =
                |list| ListItem { list, scope: scope.clone(), name: GROUP.to_owned(), value: value.clone() };
            return put(config, data, vec![item(List::Parameters), item(List::Contactless)], screen).await;
        }
        ParamsCommand::Show { json } => return show(config, args.data, json, screen).await,
        ParamsCommand::CaKey { command: RecordCommand::Add { record } } => {
            let today = acquiring::Beijing::of(acquiring::Clock::now(&acquiring::SystemClock)).yyyymmdd();
            let mut items = Vec::new();
            for record in records(&record)? {
                let (item, warning) = ca_key(&record, today)?;
                if let Some(warning) = warning {
                    screen.line(format!("note: {} {warning}", item.name))?;
                }
                items.push(item);
            }
            return put(config, data, items, screen).await;
        }
        ParamsCommand::CaKey { command: RecordCommand::Remove { name } } => {
            (List::PublicKeys, Scope::Everyone, vec![name.to_uppercase()])
        }
        ParamsCommand::Aid { command: RecordCommand::Add { record } } => {
            let items = records(&record)?.iter().map(|record| aid(record)).collect::<Result<_, _>>()?;
            return put(config, data, items, screen).await;
        }
        ParamsCommand::Aid { command: RecordCommand::Remove { name } } => {
            (List::Applications, Scope::Everyone, vec![name.to_uppercase()])
        }
        ParamsCommand::Bin { command: BinCommand::Import { file, table } } => {
            let list = table.list();
            let items = prefixes(&file)?.into_iter().map(|p| everyone(list, p, String::new())).collect();
            return put(config, data, items, screen).await;
        }
        ParamsCommand::Bin { command: BinCommand::Remove { file, table } } => {
            (table.list(), Scope::Everyone, prefixes(&file)?)
        }
        ParamsCommand::Blacklist { command: CardCommand::Import { file } } => {
            let cards = cards(config, &file)?.into_iter();
            let items = cards.map(|(name, value)| everyone(List::Blacklist, name, value)).collect();
            return put(config, data, items, screen).await;
        }
        ParamsCommand::Blacklist { command: CardCommand::Remove { file } } => {
            let names = cards(config, &file)?.into_iter().map(|(name, _)| name).collect();
            (List::Blacklist, Scope::Everyone, names)
        }
    };
    let store = admin::open(config, data)?;
    let removed = store.remove_list_items(list, scope, names).await?;
    store.close().await;
    screen.line(format!("{removed} removed from {}", list.code()))?;
    Ok(ExitCode::SUCCESS)
}

async fn put(
    config: &Config,
    data: Option<&PathBuf>,
    items: Vec<ListItem>,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    let store = admin::open(config, data)?;
    for scope in items.iter().map(|item| &item.scope) {
        let known = match scope {
            Scope::Terminal(merchant, terminal) => store.terminal(*merchant, *terminal).await?.is_some(),
            Scope::Merchant(merchant) => store.merchants().await?.iter().any(|m| m.id == *merchant),
            Scope::Everyone | Scope::Group(_) => true,
        };
        if !known {
            bail!("{scope} is not known; add it first");
        }
    }
    let (all, list) = (items.len(), items.first().map_or("", |item| item.list.code()));
    let changed = store.put_list_items(items).await?;
    store.close().await;
    screen.line(format!("{list}: {changed} changed of {all}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    config: &Config,
    data: Option<PathBuf>,
    json: bool,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    let store = txn::open(config, data)?;
    let mut rows = Vec::new();
    for item in store.list_items().await? {
        // What a blacklisted card is kept by is of no use to anybody.
        let (name, value) = match item.list {
            List::Blacklist => (item.name.get(..12).unwrap_or_default().to_owned(), "sealed".to_owned()),
            _ => (item.name, item.value),
        };
        let scope = item.scope.to_string();
        if json {
            let line = serde_json::json!({
                "list": item.list.code(), "scope": scope, "name": name, "value": value,
            });
            screen.line(line.to_string())?;
        } else {
            let short: String = value.chars().take(40).collect();
            rows.push(vec![item.list.code().to_owned(), scope, name, short]);
        }
    }
    if !json {
        for line in table(&["清单 list", "范围 scope", "名称 name", "值 value"], &rows) {
            screen.line(line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Arguments of `posp terminal push`.
#[derive(Args)]
#[command(after_help = "Example:\n  posp terminal push 898100000000001 10000001 --parameters --ca-keys")]
pub struct PushArgs {
    /// Merchant number.
    merchant: MerchantId,
    /// Terminal number; without it every terminal of the merchant.
    terminal: Option<TerminalId>,
    /// 1: download the parameters.
    #[arg(long)]
    parameters: bool,
    /// 2: upload the status.
    #[arg(long)]
    status: bool,
    /// 3: sign in again; asked for in whatever the terminal is answered next.
    #[arg(long)]
    sign_in: bool,
    /// 4: update the public keys.
    #[arg(long)]
    ca_keys: bool,
    /// 5: update the chip applications.
    #[arg(long)]
    aids: bool,
    /// 6: ask the terminal management system (modelled).
    #[arg(long)]
    software: bool,
    /// 7: download the blacklist (modelled).
    #[arg(long)]
    blacklist: bool,
    /// 8: download the BIN tables (modelled).
    #[arg(long)]
    bins: bool,
    /// 9: download contactless parameters and BIN tables.
    #[arg(long)]
    contactless: bool,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs `posp terminal push`.
pub async fn push(config: &Config, args: PushArgs, screen: &mut Screen) -> anyhow::Result<()> {
    let wanted = [
        args.parameters,
        args.status,
        args.sign_in,
        args.ca_keys,
        args.aids,
        args.software,
        args.blacklist,
        args.bins,
        args.contactless,
    ];
    let demands: Vec<Demand> =
        Demand::ALL.into_iter().zip(wanted).filter(|(_, wanted)| *wanted).map(|(demand, _)| demand).collect();
    if demands.is_empty() {
        bail!("say what the terminal is to do: --parameters, --ca-keys, --sign-in or another");
    }
    let store = admin::open(config, args.data.as_ref())?;
    let terminals: Vec<_> = match args.terminal {
        Some(terminal) => vec![(args.merchant, terminal)],
        None => {
            let all = store.terminals().await?.into_iter();
            all.filter(|t| t.merchant == args.merchant).map(|t| (t.merchant, t.id)).collect()
        }
    };
    if terminals.is_empty() {
        bail!("merchant {} has no terminal", args.merchant);
    }
    let count = terminals.len();
    store.put_demands(terminals, demands, acquiring::Clock::now(&acquiring::SystemClock)).await?;
    store.close().await;
    screen
        .line(format!("asked of {count} terminals; done when the terminal says so: `posp terminal show`"))?;
    Ok(())
}

/// Arguments of `posp terminal show`.
#[derive(Args)]
pub struct ShowArgs {
    /// Merchant number.
    merchant: MerchantId,
    /// Terminal number.
    terminal: TerminalId,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs `posp terminal show`: what a terminal holds, what was asked of it, the status that it uploaded.
pub async fn show_terminal(config: &Config, args: ShowArgs, screen: &mut Screen) -> anyhow::Result<()> {
    let store = txn::open(config, args.data)?;
    let (merchant, id) = (args.merchant, args.terminal);
    let Some(terminal) = store.terminal(merchant, id).await? else {
        bail!("terminal {id} of merchant {merchant} is not known");
    };
    let state = if terminal.active { "open" } else { "closed" };
    screen
        .line(format!("terminal {id} at merchant {merchant}, {state}, batch {}", terminal.session.batch))?;
    let rows: Vec<Vec<String>> = store
        .held_lists(merchant, id)
        .await?
        .into_iter()
        .map(|held| {
            let at = held.held_at.map_or_else(|| "-".to_owned(), txn::local);
            vec![held.list.code().to_owned(), held.held.to_string(), held.begun.to_string(), at]
        })
        .collect();
    for line in table(&["清单 list", "已有 held", "下载中 begun", "完成 ended"], &rows) {
        screen.line(line)?;
    }
    let demands = store.demands(merchant, id).await?.into_iter().map(|demand| {
        let done = demand.done_at.map_or_else(|| "waits".to_owned(), |at| format!("done {}", txn::local(at)));
        vec![demand.demand.digit().to_string(), demand.demand.code().to_owned(), done]
    });
    let demands: Vec<_> = demands.collect();
    if !demands.is_empty() {
        for line in table(&["要求", "demand", "状态 state"], &demands) {
            screen.line(line)?;
        }
    }
    if let Some(status) = store.terminal_status(merchant, id).await? {
        screen.line(format!("状态上送 / status of {}", txn::local(status.at)))?;
        for item in Status62::new(&status.items).items().map_while(Result::ok) {
            let (zh, en) = item.names();
            let value = iso8583::from_gbk(item.value).unwrap_or_else(|| hex::encode(item.value));
            screen.line(format!("  {:02} {zh} {en}: {}", item.code, value.trim_end()))?;
        }
    }
    Ok(())
}
