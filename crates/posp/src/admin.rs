//! `posp merchant` and `posp terminal`: master data from the command line, also beside a running node.

use std::path::PathBuf;
use std::process::ExitCode;

use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::{Amount, MerchantId, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use hsm::{Hsm, KeyAlgorithm, KeyUsage};
use store::Store;

use crate::config::Config;
use crate::keys::component;
use crate::screen::{Screen, table};
use crate::txn;
use crate::up::open_vault;

/// Arguments of `posp merchant`.
#[derive(Args)]
pub struct MerchantArgs {
    #[command(subcommand)]
    command: MerchantCommand,
}

#[derive(Subcommand)]
enum MerchantCommand {
    /// Add a merchant, or change the one with this number.
    Add(MerchantAdd),
    /// List merchants.
    List(ListArgs),
}

#[derive(Args)]
struct MerchantAdd {
    /// Merchant number, 15 letters or digits.
    id: MerchantId,
    /// Name, at most 40 bytes in GBK (20 Chinese characters).
    #[arg(long)]
    name: String,
    /// Merchant category code, four digits.
    #[arg(long, default_value_t = 5411, value_parser = clap::value_parser!(u16).range(0..=9999))]
    mcc: u16,
    /// Largest single payment in yuan.
    #[arg(long, value_name = "YUAN")]
    limit: Option<Amount>,
    /// Close the merchant: its payments are answered 03.
    #[arg(long)]
    closed: bool,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Arguments of `posp terminal`.
#[derive(Args)]
pub struct TerminalArgs {
    #[command(subcommand)]
    command: TerminalCommand,
}

#[derive(Subcommand)]
enum TerminalCommand {
    /// Add a terminal with its master key, or change the one with this number.
    Add(TerminalAdd),
    /// List terminals.
    List(ListArgs),
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
    /// Cipher of its keys.
    #[arg(long, value_enum, default_value = "des")]
    cipher: CipherArg,
    /// A component of the terminal master key as HEX:KCV, as the key-gun has it; two or three times.
    /// Without it a key is drawn and printed once as two components, to be loaded into the terminal.
    #[arg(long = "tmk-component", value_name = "HEX[:KCV]")]
    components: Vec<String>,
    /// Close the terminal: it is answered 97.
    #[arg(long)]
    closed: bool,
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
fn open(config: &Config, data: Option<&PathBuf>) -> anyhow::Result<Store> {
    let mut options = config.store();
    if let Some(data) = data {
        options.directory = data.clone();
    }
    let directory = options.directory.clone();
    Store::open_beside(options)
        .with_context(|| format!("the store in {} cannot be opened", directory.display()))
}

/// Runs `posp merchant`.
pub async fn merchant(config: &Config, args: MerchantArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        MerchantCommand::Add(args) => {
            if args.name.trim().is_empty() || iso8583::gbk_len(&args.name).is_none_or(|len| len > 40) {
                bail!("a merchant's name has 1 to 40 bytes in GBK (20 Chinese characters)");
            }
            let store = open(config, args.data.as_ref())?;
            let merchant = Merchant {
                id: args.id,
                name: args.name,
                mcc: args.mcc,
                active: !args.closed,
                limit_single: args.limit,
            };
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
                        if m.active { "open" } else { "closed" }.to_owned(),
                    ]
                })
                .collect();
            for line in table(&["商户号 merchant", "名称 name", "MCC", "限额 limit", "状态 state"], &rows)
            {
                screen.line(line)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `posp terminal`.
pub async fn terminal(config: &Config, args: TerminalArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        TerminalCommand::Add(args) => add_terminal(config, args, screen).await?,
        TerminalCommand::List(args) => {
            let store = txn::open(config, args.data)?;
            let terminals = store.terminals().await?;
            let mut rows = Vec::new();
            for t in &terminals {
                let signed_in = t.session.signed_in_at.map(txn::local);
                if args.json {
                    let line = serde_json::json!({
                        "merchant": t.merchant, "terminal": t.id, "active": t.active, "cipher": t.cipher,
                        "profile": t.profile, "batch": t.session.batch, "signed_in_at": signed_in,
                    });
                    screen.line(line.to_string())?;
                }
                rows.push(vec![
                    t.merchant.to_string(),
                    t.id.to_string(),
                    format!("{:?}", t.cipher),
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
    let vault = open_vault(&config.node.master_key)?;
    let (cipher, algorithm) = match args.cipher {
        CipherArg::Des => (TerminalCipher::TripleDes, KeyAlgorithm::TripleDes2),
        CipherArg::Sm4 => (TerminalCipher::Sm4, KeyAlgorithm::Sm4),
    };
    let drawn = args.components.is_empty();
    let components = if drawn {
        vec![hsm::KeyComponent::random(16)?, hsm::KeyComponent::random(16)?]
    } else {
        args.components.iter().map(|text| component(text)).collect::<anyhow::Result<Vec<_>>>()?
    };
    let key = vault.import_components(KeyUsage::TerminalMaster, algorithm, &components)?;
    let store = open(config, args.data.as_ref())?;
    if !store.merchants().await?.iter().any(|m| m.id == args.merchant) {
        bail!("merchant {} is not known; add it first", args.merchant);
    }
    let terminal = Terminal {
        merchant: args.merchant,
        id: args.id,
        active: !args.closed,
        cipher,
        master_key: key.to_string(),
        profile: "cup-pos-1".to_owned(),
        session: TerminalSession::NEW,
    };
    store.put_terminal(&terminal).await?;
    store.close().await;
    screen.line(format!(
        "terminal {} at merchant {}, TMK check value {}",
        args.id,
        args.merchant,
        key.kcv()
    ))?;
    if drawn {
        screen.line("Load these two components into the terminal; they are shown this once:")?;
        for component in &components {
            screen.line(format!("  {}", component.reveal_hex()))?;
        }
    }
    Ok(())
}
