//! `posp key`: the master key of a node and the zone master key shared with the network.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use acquiring::{MerchantId, TerminalId};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use hsm::{
    BlockVersion, Exportability, Hsm, HsmError, KeyAlgorithm, KeyBlockHeader, KeyComponent, KeyUsage,
    SoftVault, WrappedKey, Zeroizing,
};

use crate::config::{Config, HsmBackend};
use crate::screen::Screen;
use crate::{admin, module, rotation, txn};

/// Arguments of `posp key`.
#[derive(Args)]
#[command(after_help = "Examples:
  posp key init                                        a random master key in a file that only you can read
  posp key init --component                            asks for 2 or 3 components of 32 bytes, each by its holder
  posp key init --component --enter-at-start           the same, and the file has no master key: they are asked each time
  posp key prepare                                     a new master key behind the one in force; then copy the file
  posp key rotate --wait 120                           puts it in force once every node has it, moves every key
  posp key zone --component 0123…:08D7 --component …   wraps the zone master key for the configuration
  posp key zone --tr31 B0096K0TB00E0000…               the same out of a key block, asks for the protection key
  posp key import --tr31 B0096P0TE00E0000… --usage pin takes a key from a key block, asks for the protection key
  posp key export --tr31 --merchant 898100000000001 --terminal 10000001
                                                       puts a terminal's master key into a key block
  posp key export --tr31 --key v1:pin:3des:…           puts a wrapped key into a key block
  posp key export --tr31 --key zone --block-version D  the same in a block of version D, under AES
The key that protects a block has 16 or 24 bytes for version B (triple DES) and 16, 24 or 32 for version D (AES).
A terminal takes its master key out of a key block with `posp terminal add … --tr31 BLOCK`.")]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make the master key file of a node. An existing file is never overwritten.
    Init(InitArgs),
    /// Show the master keys of the file by their check values, and those of the nodes that share the store.
    Show,
    /// Make the next master key and put it behind the one in force in the vault file, to be copied to the machines of
    /// the other nodes. Shows it again when it is there.
    Prepare(StoreArgs),
    /// Put the prepared master key in force once every node has it, and move every key in the journal under it, beside
    /// the running nodes. Prepares one first when there is none. Goes on where it was stopped.
    Rotate(RotateArgs),
    /// Take the old master key out of the vault file, once nothing is under it.
    Retire(StoreArgs),
    /// Take a key out of a TR-31 key block and print it wrapped under this node's master key.
    Import(ImportArgs),
    /// Put a wrapped key into a TR-31 key block for another party.
    Export(ExportArgs),
    /// Enter the zone master key as components, or take it out of a key block, and print it wrapped, for
    /// unionpay.zone_master_key.
    Zone(ZoneArgs),
}

#[derive(Args)]
struct StoreArgs {
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct RotateArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How long to wait for nodes that do not have the key yet; a node that died counts for half a minute.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

#[derive(Args)]
struct InitArgs {
    /// Where (default: node.master_key of the configuration).
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Enter the key as components at the keyboard instead of drawing it.
    #[arg(long)]
    component: bool,
    /// Leave the key out of the file: the holders of its components enter them at every start, and for every command
    /// that needs keys.
    #[arg(long, requires = "component")]
    enter_at_start: bool,
}

#[derive(Args)]
struct ZoneArgs {
    /// A component, hex, with its check value: HEX:KCV. Two or three. Asked for when left out. With --tr31 those of
    /// the key block protection key: 16 or 24 bytes for a block of version B, 16, 24 or 32 for version D.
    #[arg(long = "component", value_name = "HEX[:KCV]")]
    components: Vec<String>,
    /// Check value of the whole key that the components make.
    #[arg(long)]
    kcv: Option<String>,
    /// Take the key out of this TR-31 key block, which must say that it sends other keys (K0).
    #[arg(long, value_name = "BLOCK")]
    tr31: Option<String>,
}

/// The key block protection key shared with the other party. Which cipher it is for, block version and length say
/// together: 16 and 24 bytes are triple DES in version B and AES in version D.
#[derive(Args)]
pub(crate) struct Protection {
    /// A component of the key block protection key, hex, with its check value: HEX:KCV. Two or three, of 16 or 24
    /// bytes for a block of version B (triple DES), of 16, 24 or 32 for version D (AES). Asked for when left out.
    #[arg(long = "component", value_name = "HEX[:KCV]", requires = "tr31")]
    components: Vec<String>,
    /// Check value of the whole protection key, 6 or 8 digits.
    #[arg(long, requires = "tr31")]
    kcv: Option<String>,
}

#[derive(Args)]
struct ImportArgs {
    /// The key block.
    #[arg(long, value_name = "BLOCK")]
    tr31: String,
    /// What the key is to be: tmk, zmk, pin, mac, track, imk-ac, imk-mac or imk-enc. The block must say the same.
    #[arg(long)]
    usage: String,
    #[command(flatten)]
    protection: Protection,
}

#[derive(Args)]
struct ExportArgs {
    /// As a TR-31 key block: the one form there is.
    #[arg(long, required = true)]
    tr31: bool,
    /// The wrapped key, as the commands print it, or `zone` for the zone master key of the configuration.
    #[arg(long, value_name = "KEY", required_unless_present = "terminal")]
    key: Option<String>,
    /// The master key of this terminal, for the device that loads it.
    #[arg(long, requires = "merchant", conflicts_with = "key")]
    terminal: Option<TerminalId>,
    /// The terminal's merchant.
    #[arg(long, requires = "terminal")]
    merchant: Option<MerchantId>,
    /// Data directory of the node (default: node.data of the configuration).
    #[arg(long, value_name = "DIR", requires = "terminal")]
    data: Option<PathBuf>,
    /// Version of the block: B, under triple DES, or D, under AES (default: B, but D where the components of the
    /// protection key have 32 bytes).
    #[arg(long, value_name = "VERSION", ignore_case = true)]
    block_version: Option<VersionArg>,
    /// The receiver may not send it on.
    #[arg(long)]
    not_exportable: bool,
    #[command(flatten)]
    protection: Protection,
}

#[derive(Clone, Copy, ValueEnum)]
enum VersionArg {
    /// Triple DES.
    #[value(name = "B")]
    B,
    /// AES.
    #[value(name = "D")]
    D,
}

impl From<VersionArg> for BlockVersion {
    fn from(version: VersionArg) -> Self {
        match version {
            VersionArg::B => Self::B,
            VersionArg::D => Self::D,
        }
    }
}

/// The cipher of a protection key of so many bytes. Where nothing says the version it is B, which every host has, unless
/// only D has the length.
fn protection_cipher(version: Option<BlockVersion>, bytes: usize) -> Result<KeyAlgorithm, HsmError> {
    let usual = if bytes == KeyAlgorithm::Aes256.key_len() { BlockVersion::D } else { BlockVersion::B };
    version.unwrap_or(usual).protection(bytes)
}

impl Protection {
    /// The protection key inside the vault, for blocks of this version; it is kept nowhere else.
    fn enter(&self, vault: &dyn Hsm, version: Option<BlockVersion>) -> anyhow::Result<WrappedKey> {
        let components: Vec<KeyComponent> = if self.components.is_empty() {
            ask_components("Key block protection key")?
        } else {
            self.components.iter().map(|text| component(text)).collect::<anyhow::Result<_>>()?
        };
        let bytes = components.first().map_or(0, KeyComponent::byte_len);
        let algorithm = protection_cipher(version, bytes)
            .with_context(|| format!("components of {bytes} bytes for the protection key"))?;
        let key = vault.import_components(KeyUsage::BlockProtection, algorithm, &components)?;
        let found = key.kcv().to_string();
        if let Some(expected) = &self.kcv
            && (expected.len() < 6 || !found.starts_with(&expected.to_ascii_uppercase()))
        {
            bail!("the check value of the protection key is {}, not {expected}", key.kcv().short());
        }
        Ok(key)
    }
}

/// The line over a key that came or goes in a block.
fn sent(key: &WrappedKey, under: &WrappedKey) -> String {
    let (kcv, shield) = (key.kcv().short(), under.kcv().short());
    let (usage, algorithm) = (key.usage(), key.algorithm());
    format!("# {usage} {algorithm}, check value {kcv}, under {} {shield}", under.algorithm())
}

/// Takes a key of this usage out of a TR-31 key block and says what came with it.
pub(crate) fn receive(
    vault: &dyn Hsm,
    usage: KeyUsage,
    block: &str,
    protection: &Protection,
    screen: &mut Screen,
) -> anyhow::Result<WrappedKey> {
    let block = block.trim();
    let (header, _) = KeyBlockHeader::parse(block)?;
    let under = protection.enter(vault, Some(header.version))?;
    let (key, header) = vault.import_block(usage, block, &under)?;
    screen.line(sent(&key, &under))?;
    for block in &header.optional {
        screen.line(format!("# optional block {}: {}", String::from_utf8_lossy(&block.id), block.data))?;
    }
    if header.exportability == Exportability::Never {
        screen.line("# its sender says that it must not be sent on")?;
    }
    Ok(key)
}

/// The same for a terminal or zone master key, which is never shorter than when its components are entered.
pub(crate) fn receive_master(
    vault: &dyn Hsm,
    usage: KeyUsage,
    block: &str,
    protection: &Protection,
    screen: &mut Screen,
) -> anyhow::Result<WrappedKey> {
    let key = receive(vault, usage, block, protection, screen)?;
    if key.algorithm() != KeyAlgorithm::TripleDes2 {
        bail!("a {usage} key is a double-length triple-DES key, the one in the block is {}", key.algorithm());
    }
    Ok(key)
}

/// The key that an export names.
async fn named(config: &Config, args: &ExportArgs) -> anyhow::Result<WrappedKey> {
    if let (Some(merchant), Some(id)) = (args.merchant, args.terminal) {
        let store = txn::open(config, args.data.clone())?;
        let terminal = store.terminal(merchant, id).await?;
        store.close().await;
        let terminal =
            terminal.with_context(|| format!("terminal {id} of merchant {merchant} is not known"))?;
        return terminal.master_key.parse().context("the terminal's stored master key cannot be read");
    }
    let text = match args.key.as_deref() {
        Some("zone") => &config.unionpay.zone_master_key,
        other => other.unwrap_or_default(),
    };
    text.parse().context("--key")
}

/// Reads a component written as hex, or hex and check value.
pub fn component(text: &str) -> anyhow::Result<KeyComponent> {
    text.trim().parse().map_err(|error| anyhow::anyhow!("a key component: {error}"))
}

/// One secret line: at the keyboard without echo, or from a program that holds it and writes it into our input.
fn ask(prompt: String) -> anyhow::Result<Zeroizing<String>> {
    let input = std::io::stdin();
    let mut line = Zeroizing::new(String::new());
    if input.is_terminal() {
        *line = rpassword::prompt_password(prompt).context("no component could be read")?;
    } else {
        input.read_line(&mut line).context("no component could be read")?;
    }
    Ok(line)
}

/// Asks for two or three components without echo.
pub fn ask_components(what: &str) -> anyhow::Result<Vec<KeyComponent>> {
    let mut components = Vec::new();
    for holder in 1..=3 {
        let text = ask(format!("{what}, component {holder} (HEX[:KCV], empty to end): "))?;
        if text.trim().is_empty() {
            break;
        }
        components.push(component(&text)?);
    }
    if components.len() < 2 {
        bail!("{what}: two or three components are needed, so that no one person knows the key");
    }
    Ok(components)
}

/// Runs `posp key`.
pub async fn run(config: &Config, args: KeyArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        KeyCommand::Init(args) if config.hsm.backend == HsmBackend::Pkcs11 => {
            if args.component || args.file.is_some() {
                bail!(
                    "a token draws its master key itself and never gives it out: neither file nor components"
                );
            }
            let vault = module::create_in_token(config)?;
            screen.line(format!(
                "{} prepared, check value {}",
                module::place(config),
                vault.fingerprint()
            ))?;
            screen.line(
                "Keep the token's own backup: without its keys the journal's account numbers are lost.",
            )?;
        }
        KeyCommand::Init(args) => {
            let file = args.file.unwrap_or_else(|| config.node.master_key.clone());
            if let Some(directory) = file.parent().filter(|d| !d.as_os_str().is_empty()) {
                std::fs::create_dir_all(directory)
                    .with_context(|| format!("{} cannot be made", directory.display()))?;
            }
            let vault = match (args.component, args.enter_at_start) {
                (true, true) => SoftVault::create_ring_file(&file, &ask_components("Master key")?, None),
                (true, false) => {
                    SoftVault::create_file_from_components(&file, &ask_components("Master key")?)
                }
                (false, _) => SoftVault::create_file(&file),
            };
            let vault = vault.with_context(|| format!("{} cannot be made", file.display()))?;
            screen.line(format!("{} made, check value {}", file.display(), vault.fingerprint()))?;
            screen.line("Keep a copy in a safe: without it the journal's account numbers are lost.")?;
            if args.enter_at_start {
                screen.line("Keep the components as well: the master key is not in the file.")?;
            }
        }
        KeyCommand::Show => {
            rotation::show(config, screen).await?;
        }
        KeyCommand::Prepare(args) => {
            let store = admin::open(config, args.data.as_ref())?;
            rotation::prepare(config, &store, screen).await?;
            store.close().await;
        }
        KeyCommand::Rotate(args) => {
            let store = admin::open(config, args.store.data.as_ref())?;
            rotation::rotate(config, &store, Duration::from_secs(args.wait), screen).await?;
            store.close().await;
        }
        KeyCommand::Retire(args) => {
            let store = admin::open(config, args.data.as_ref())?;
            rotation::retire(config, &store, screen).await?;
            store.close().await;
        }
        KeyCommand::Import(args) => {
            let vault = module::open_in_force(config).await?;
            let usage: KeyUsage = args.usage.parse().context("--usage")?;
            let key = receive(&*vault, usage, &args.tr31, &args.protection, screen)?;
            screen.line(key.to_string())?;
        }
        KeyCommand::Export(args) => {
            let vault = module::open(config)?;
            let key = named(config, &args).await?;
            let under = args.protection.enter(&*vault, args.block_version.map(Into::into))?;
            let may = if args.not_exportable { Exportability::Never } else { Exportability::Trusted };
            let block = vault.export_block(&key, &under, may, &[])?;
            screen.line(sent(&key, &under))?;
            screen.line(block)?;
        }
        KeyCommand::Zone(args) => {
            let vault = module::open_in_force(config).await?;
            if let Some(block) = &args.tr31 {
                let protection = Protection { components: args.components, kcv: args.kcv };
                let key = receive_master(&*vault, KeyUsage::ZoneMaster, block, &protection, screen)?;
                screen.line(format!("zone_master_key = \"{key}\""))?;
                return Ok(ExitCode::SUCCESS);
            }
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
            screen.line(format!("# check value {}", key.kcv().short()))?;
            screen.line(format!("zone_master_key = \"{key}\""))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version and length choose the cipher together; the length alone only where no block says the version.
    #[test]
    fn the_cipher_of_a_protection_key_follows_from_version_and_length() {
        use BlockVersion::{B, D};
        for (version, bytes, wanted) in [
            (Some(B), 16, KeyAlgorithm::TripleDes2),
            (Some(B), 24, KeyAlgorithm::TripleDes3),
            (Some(D), 16, KeyAlgorithm::Aes128),
            (Some(D), 24, KeyAlgorithm::Aes192),
            (Some(D), 32, KeyAlgorithm::Aes256),
            (None, 16, KeyAlgorithm::TripleDes2),
            (None, 24, KeyAlgorithm::TripleDes3),
            (None, 32, KeyAlgorithm::Aes256),
        ] {
            assert_eq!(protection_cipher(version, bytes), Ok(wanted), "{version:?} {bytes}");
        }
        for (version, bytes) in [(Some(B), 32), (Some(B), 8), (Some(D), 8), (None, 8), (None, 0)] {
            let error = protection_cipher(version, bytes).unwrap_err().to_string();
            assert!(error.contains("protection key of 16"), "{version:?} {bytes}: {error}");
        }
    }
}
