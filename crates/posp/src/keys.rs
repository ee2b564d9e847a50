//! `posp key`: the master key of a node and the zone master key shared with the network.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, SoftVault};

use crate::config::Config;
use crate::screen::Screen;
use crate::up::open_vault;

/// Arguments of `posp key`.
#[derive(Args)]
#[command(after_help = "Examples:
  posp key init                                        a random master key in a file that only you can read
  posp key init --component                            asks for 2 or 3 components of 32 bytes, each by its holder
  posp key zone --component 0123…:08D7 --component …   wraps the zone master key for the configuration")]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make the master key file of a node. An existing file is never overwritten.
    Init(InitArgs),
    /// Show the check value of the master key in force.
    Show,
    /// Enter the zone master key as components and print it wrapped, for unionpay.zone_master_key.
    Zone(ZoneArgs),
}

#[derive(Args)]
struct InitArgs {
    /// Where (default: node.master_key of the configuration).
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Enter the key as components at the keyboard instead of drawing it.
    #[arg(long)]
    component: bool,
}

#[derive(Args)]
struct ZoneArgs {
    /// A component, hex, with its check value: HEX:KCV. Two or three. Asked for when left out.
    #[arg(long = "component", value_name = "HEX[:KCV]")]
    components: Vec<String>,
    /// Check value of the whole key.
    #[arg(long)]
    kcv: Option<String>,
}

/// Reads a component written as hex, or hex and check value.
pub fn component(text: &str) -> anyhow::Result<KeyComponent> {
    text.trim().parse().map_err(|error| anyhow::anyhow!("a key component: {error}"))
}

/// Asks for two or three components without echo.
pub fn ask_components(what: &str) -> anyhow::Result<Vec<KeyComponent>> {
    let mut components = Vec::new();
    for holder in 1..=3 {
        let prompt = format!("{what}, component {holder} (HEX[:KCV], empty to end): ");
        let text = rpassword::prompt_password(prompt).context("no component could be read")?;
        if text.trim().is_empty() {
            break;
        }
        components.push(component(&text)?);
    }
    if components.len() < 2 {
        bail!("two or three components are needed, so that no one person knows the key");
    }
    Ok(components)
}

/// Runs `posp key`.
pub async fn run(config: &Config, args: KeyArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        KeyCommand::Init(args) => {
            let file = args.file.unwrap_or_else(|| config.node.master_key.clone());
            if let Some(directory) = file.parent().filter(|d| !d.as_os_str().is_empty()) {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("{} cannot be made", directory.display()))?;
            }
            let vault = if args.component {
                SoftVault::create_file_from_components(&file, &ask_components("Master key")?)
            } else {
                SoftVault::create_file(&file)
            };
            let vault = vault.with_context(|| format!("{} cannot be made", file.display()))?;
            screen.line(format!("{} made, check value {}", file.display(), vault.fingerprint()))?;
            screen.line("Keep a copy in a safe: without it the journal's account numbers are lost.")?;
        }
        KeyCommand::Show => {
            let vault = open_vault(&config.node.master_key)?;
            screen.line(format!(
                "{}: check value {}",
                config.node.master_key.display(),
                vault.fingerprint()
            ))?;
        }
        KeyCommand::Zone(args) => {
            let vault = open_vault(&config.node.master_key)?;
            let components = if args.components.is_empty() {
                ask_components("Zone master key")?
            } else {
                args.components.iter().map(|text| component(text)).collect::<anyhow::Result<_>>()?
            };
            let key = vault.import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &components)?;
            if let Some(expected) = args.kcv
                && !key.kcv().to_string().eq_ignore_ascii_case(&expected)
            {
                bail!("the check value of the whole key is {}, not {expected}", key.kcv());
            }
            screen.line(format!("# check value {}", key.kcv()))?;
            screen.line(format!("zone_master_key = \"{key}\""))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
