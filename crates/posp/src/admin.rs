//! `posp merchant` and `posp terminal`: master data from the command line, also beside a running node.
//!
//! What exists already keeps every setting that is not given: closing a terminal must not cost it its key, nor
//! a merchant its limit.

use std::path::PathBuf;
use std::process::ExitCode;

use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::{Amount, MerchantId, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use hsm::{KeyAlgorithm, KeyUsage, WrappedKey};
use store::Store;

use crate::config::Config;
use crate::keys::{Protection, component, receive_master};
use crate::module;
use crate::params;
use crate::screen::{Screen, table};
use crate::smart;
use crate::txn;

/// Arguments of `posp merchant`.
#[derive(Args)]
pub struct MerchantArgs {
    #[command(subcommand)]
    command: MerchantCommand,
}

#[derive(Subcommand)]
enum MerchantCommand {
    /// Add a merchant, or change the one with this number; what is not given stays as it is.
    Add(MerchantAdd),
    /// List merchants.
    List(ListArgs),
}

#[derive(Args)]
struct MerchantAdd {
    /// Merchant number, 15 letters or digits.
    id: MerchantId,
    /// Name, at most 40 bytes in GBK (20 Chinese characters). A new merchant needs one.
    #[arg(long)]
    name: Option<String>,
    /// Merchant category code, four digits; 5411 for a new merchant.
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=9999))]
    mcc: Option<u16>,
    /// Largest single payment in yuan.
    #[arg(long, value_name = "YUAN")]
    limit: Option<Amount>,
    /// Take the limit away.
    #[arg(long, conflicts_with = "limit")]
    no_limit: bool,
    /// A profile of its own, from the configuration; a new merchant has that of the listener.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Take its own profile away.
    #[arg(long, conflicts_with = "profile")]
    no_profile: bool,
    #[command(flatten)]
    door: Door,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Whether a merchant or terminal is served; a new one is.
#[derive(Args)]
struct Door {
    /// Close: a merchant's payments are answered 03, a terminal's 97.
    #[arg(long)]
    closed: bool,
    /// Open again.
    #[arg(long, conflicts_with = "closed")]
    open: bool,
}

impl Door {
    /// Open or closed, when the present state is this.
    fn active(&self, present: Option<bool>) -> bool {
        if self.closed || self.open { self.open } else { present.unwrap_or(true) }
    }
}

/// Arguments of `posp terminal`.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a command: smart POS terminals on a page in the browser.

Examples:
  posp terminal --merchant 898100000000001 --terminal 20000009 --tmk-component 0123...CDEF --host 127.0.0.1:8583
  posp terminal add 898100000000001 20000009
  posp terminal add 898100000000001 20000009 --tr31 B0096K0TB00E0000…
  posp terminal list
--tr31 asks for the components of the key that protects the block: 16 or 24 bytes for version B, 16, 24 or 32 for D."
)]
pub struct TerminalArgs {
    #[command(subcommand)]
    command: Option<TerminalCommand>,
    #[command(flatten)]
    page: smart::PageArgs,
}

#[derive(Subcommand)]
enum TerminalCommand {
    /// Add a terminal with its master key, or change the one with this number; what is not given stays as it is.
    Add(TerminalAdd),
    /// List terminals.
    List(ListArgs),
    /// What a terminal has downloaded, what was asked of it, the status that it uploaded.
    Show(params::ShowArgs),
    /// Ask a terminal to download, to upload its status or to sign in again (处理要求).
    Push(params::PushArgs),
}

#[derive(Clone, Copy, ValueEnum)]
enum CipherArg {
    /// Double-length triple DES.
    Des,
    /// SM4.
    Sm4,
}

#[derive(Args)]
struct TerminalAdd {
    /// Merchant number.
    merchant: MerchantId,
    /// Terminal number, 8 letters or digits.
    id: TerminalId,
    /// Cipher of its keys; triple DES for a new terminal. Another cipher needs another key.
    #[arg(long, value_enum)]
    cipher: Option<CipherArg>,
    /// A component of the terminal master key as HEX:KCV, as the key-gun has it; two or three times.
    /// Without it a new terminal's key is drawn and printed once as two components, to be loaded into the
    /// terminal. A terminal whose key is replaced must sign in anew.
    #[arg(long = "tmk-component", value_name = "HEX[:KCV]")]
    tmk: Vec<String>,
    /// Draw a new key for a terminal that has one.
    #[arg(long, conflicts_with = "tmk")]
    new_key: bool,
    /// Take the terminal master key out of this TR-31 key block, which must say that it sends other keys (K0).
    #[arg(long, value_name = "BLOCK", conflicts_with_all = ["tmk", "new_key"])]
    tr31: Option<String>,
    #[command(flatten)]
    protection: Protection,
    #[command(flatten)]
    door: Door,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct ListArgs {
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Opens the store for a change beside a node that may be running.
pub(crate) fn open(config: &Config, data: Option<&PathBuf>) -> anyhow::Result<Store> {
    config.open_store_beside(data.map(PathBuf::as_path)).context("the store cannot be opened")
}

/// The merchant that the arguments make out of the one that is there.
fn changed(args: MerchantAdd, present: Option<Merchant>) -> anyhow::Result<Merchant> {
    let name = match (args.name, &present) {
        (Some(name), _) => name,
        (None, Some(present)) => present.name.clone(),
        (None, None) => bail!("a new merchant needs a name: --name"),
    };
    if name.trim().is_empty() || iso8583::gbk_len(&name).is_none_or(|len| len > 40) {
        bail!("a merchant's name has 1 to 40 bytes in GBK (20 Chinese characters)");
    }
    let kept = present.as_ref();
    Ok(Merchant {
        id: args.id,
        name,
        mcc: args.mcc.or(kept.map(|merchant| merchant.mcc)).unwrap_or(5411),
        active: args.door.active(kept.map(|merchant| merchant.active)),
        limit_single: match args.no_limit {
            true => None,
            false => args.limit.or(kept.and_then(|merchant| merchant.limit_single)),
        },
        profile: match args.no_profile {
            true => None,
            false => args.profile.or(kept.and_then(|merchant| merchant.profile.clone())),
        },
    })
}

/// Runs `posp merchant`.
pub async fn merchant(config: &Config, args: MerchantArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        MerchantCommand::Add(args) => {
            if let Some(profile) = &args.profile {
                config.check_merchant_profile(profile)?;
            }
            let store = open(config, args.data.as_ref())?;
            let present = store.merchants().await?.into_iter().find(|merchant| merchant.id == args.id);
            let merchant = changed(args, present)?;
            store.put_merchant(&merchant).await?;
            store.close().await;
            screen.line(format!(
                "merchant {} {}",
                merchant.id,
                if merchant.active { "open" } else { "closed" }
            ))?;
        }
        MerchantCommand::List(args) => {
            let store = txn::open(config, args.data)?;
            let merchants = store.merchants().await?;
            if args.json {
                for merchant in &merchants {
                    screen.line(serde_json::to_string(merchant)?)?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            let rows: Vec<Vec<String>> = merchants
                .iter()
                .map(|m| {
                    vec![
                        m.id.to_string(),
                        m.name.clone(),
                        format!("{:04}", m.mcc),
                        m.limit_single.map_or("-".to_owned(), |a| format!("¥{a}")),
                        m.profile.clone().unwrap_or_else(|| "-".to_owned()),
                        if m.active { "open" } else { "closed" }.to_owned(),
                    ]
                })
                .collect();
            let heading = ["商户号 merchant", "名称 name", "MCC", "限额 limit", "规范 profile", "状态 state"];
            for line in table(&heading, &rows) {
                screen.line(line)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `posp terminal`.
pub async fn terminal(config: &Config, args: TerminalArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let Some(command) = args.command else { return smart::run(config, args.page, screen).await };
    match command {
        TerminalCommand::Add(args) => add_terminal(config, args, screen).await?,
        TerminalCommand::Show(args) => params::show_terminal(config, args, screen).await?,
        TerminalCommand::Push(args) => params::push(config, args, screen).await?,
        TerminalCommand::List(args) => {
            let store = txn::open(config, args.data)?;
            let terminals = store.terminals().await?;
            let mut rows = Vec::new();
            for t in &terminals {
                let signed_in = t.session.signed_in_at.map(txn::local);
                let kcv =
                    |key: &str| key.parse::<WrappedKey>().map_or("?".to_owned(), |key| key.kcv().short());
                let keys = t.session.keys.as_ref();
                let (tmk, pik) = (kcv(&t.master_key), keys.map(|keys| kcv(&keys.pin)));
                let mak = keys.map(|keys| kcv(&keys.mac));
                let tdk = keys.and_then(|keys| keys.track.as_deref()).map(kcv);
                if args.json {
                    let line = serde_json::json!({
                        "merchant": t.merchant, "terminal": t.id, "active": t.active, "cipher": t.cipher,
                        "batch": t.session.batch, "signed_in_at": signed_in,
                        "kcv": { "tmk": tmk, "pik": pik, "mak": mak, "tdk": tdk },
                    });
                    screen.line(line.to_string())?;
                }
                rows.push(vec![
                    t.merchant.to_string(),
                    t.id.to_string(),
                    format!("{:?}", t.cipher),
                    tmk,
                    [pik, mak, tdk].into_iter().flatten().collect::<Vec<_>>().join(" "),
                    t.session.batch.to_string(),
                    signed_in.unwrap_or_else(|| "-".to_owned()),
                    if t.active { "open" } else { "closed" }.to_owned(),
                ]);
            }
            if !args.json {
                let heading = [
                    "商户号 merchant",
                    "终端号 terminal",
                    "算法 cipher",
                    "TMK",
                    "PIK MAK TDK",
                    "批次 batch",
                    "签到 signed in",
                    "状态 state",
                ];
                for line in table(&heading, &rows) {
                    screen.line(line)?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add_terminal(config: &Config, args: TerminalAdd, screen: &mut Screen) -> anyhow::Result<()> {
    let store = open(config, args.data.as_ref())?;
    let vault = module::open_for(config, &store).await?;
    if !store.merchants().await?.iter().any(|m| m.id == args.merchant) {
        bail!("merchant {} is not known; add it first", args.merchant);
    }
    let present = store.terminal(args.merchant, args.id).await?;
    let cipher = match (args.cipher, &present) {
        (Some(CipherArg::Des), _) | (None, None) => TerminalCipher::TripleDes,
        (Some(CipherArg::Sm4), _) => TerminalCipher::Sm4,
        (None, Some(present)) => present.cipher,
    };
    let mut drawn = Vec::new();
    let master_key = match (&args.tr31, &present) {
        (Some(block), _) => {
            if cipher == TerminalCipher::Sm4 {
                bail!("key blocks have no code for SM4 keys: --cipher des, or --tmk-component");
            }
            receive_master(&*vault, KeyUsage::TerminalMaster, block, &args.protection, screen)?.to_string()
        }
        (None, Some(present)) if args.tmk.is_empty() && !args.new_key => {
            if present.cipher != cipher {
                bail!("another cipher needs another key: --tmk-component, --tr31 or --new-key");
            }
            present.master_key.clone()
        }
        _ => {
            let algorithm = match cipher {
                TerminalCipher::TripleDes => KeyAlgorithm::TripleDes2,
                TerminalCipher::Sm4 => KeyAlgorithm::Sm4,
            };
            let typed = args.tmk.iter().map(|text| component(text)).collect::<anyhow::Result<Vec<_>>>()?;
            if typed.is_empty() {
                drawn = vec![hsm::KeyComponent::random(16)?, hsm::KeyComponent::random(16)?];
            }
            let components = if typed.is_empty() { &drawn } else { &typed };
            vault.import_components(KeyUsage::TerminalMaster, algorithm, components)?.to_string()
        }
    };
    let kcv = match master_key.parse::<hsm::WrappedKey>() {
        Ok(key) => key.kcv(),
        Err(error) => bail!("the terminal's stored master key cannot be read: {error}"),
    };
    let terminal = Terminal {
        merchant: args.merchant,
        id: args.id,
        active: args.door.active(present.as_ref().map(|terminal| terminal.active)),
        cipher,
        master_key,
        session: TerminalSession::NEW,
    };
    store.put_terminal(&terminal).await?;
    store.close().await;
    let state = if terminal.active { "open" } else { "closed" };
    screen
        .line(format!("terminal {} at merchant {} {state}, TMK check value {kcv}", args.id, args.merchant))?;
    if !drawn.is_empty() {
        screen.line("Load these two components into the terminal; they are shown this once:")?;
        for component in &drawn {
            screen.line(format!("  {}", component.reveal_hex()))?;
        }
    }
    Ok(())
}
