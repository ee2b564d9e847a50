//! The simulator as a process: `posp sim`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hsm::{Hsm, SoftVault, VaultError};
use thiserror::Error;

use crate::config::{Fsync, SimConfig};
use crate::error::SimError;
use crate::secret::Secret;
use crate::start::start;

const EXAMPLES: &str = "Examples:
  posp sim
      the network on 127.0.0.1:18583, its page on http://127.0.0.1:18580/, the member at 127.0.0.1:18584
  posp sim --books var/network.jsonl
      the same, keeping balances and record across restarts
  posp sim --listen 0.0.0.0:18583 --member-listener 10.0.0.7:18584 --member-id 48021234
      for a member on another machine
  curl -s localhost:18580/api/totals
      what the network would settle
  curl -s localhost:18580/api/faults -H 'content-type: application/json' \\
       -d '{\"rules\":[{\"fault\":\"no_answer\",\"span\":{\"next\":3}}]}'
      leave the next three requests unanswered";

/// Simulate the UnionPay network (CUPS) and the issuers behind it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SimArgs {
    /// Configuration file (TOML) with any of the simulator's keys; the options below come after it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where members connect for their own requests.
    #[arg(long, value_name = "ADDRESS", default_value = None)]
    pub listen: Option<SocketAddr>,
    /// The member's listener for what the network originates.
    #[arg(long, value_name = "HOST:PORT")]
    pub member_listener: Option<String>,
    /// Where the page and the control interface listen; `none` for neither.
    #[arg(long, value_name = "ADDRESS|none")]
    pub control: Option<String>,
    /// Institution code of the member.
    #[arg(long, value_name = "DIGITS")]
    pub member_id: Option<String>,
    /// File that keeps all events, so that balances and record survive a restart.
    #[arg(long, value_name = "FILE")]
    pub books: Option<PathBuf>,
    /// Bring each event to the disk before it is answered.
    #[arg(long)]
    pub fsync: bool,
    /// Zone master key component, 32 hexadecimal digits; give it two or three times. Without it the published
    /// laboratory key is used.
    #[arg(long, value_name = "HEX", env = "POSP_SIM_ZMK", value_delimiter = ',', hide_env_values = true)]
    pub zmk_component: Vec<String>,
}

/// Why the process ended badly.
#[derive(Debug, Error)]
pub enum CliError {
    /// The simulator's own error.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The vault could not be made.
    #[error("vault: {0}")]
    Vault(#[from] VaultError),
    /// The configuration file does not read.
    #[error("configuration file {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option does not read.
    #[error("--{option}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The signal for stopping could not be waited for.
    #[error("cannot wait for signals")]
    Signal(#[source] std::io::Error),
}

/// The configuration that file and options make together.
///
/// # Errors
///
/// The file or an option does not read.
pub fn configuration(args: SimArgs) -> Result<SimConfig, CliError> {
    let mut config = match args.config {
        None => SimConfig::default(),
        Some(path) => {
            let fail = |reason: String| CliError::File { path: path.clone(), reason };
            let text = std::fs::read_to_string(&path).map_err(|e| fail(e.to_string()))?;
            toml::from_str(&text).map_err(|e| fail(e.message().to_owned()))?
        }
    };
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(listener) = args.member_listener {
        config.member_listener = listener;
    }
    if let Some(control) = args.control {
        config.control = match control.as_str() {
            "none" => None,
            address => Some(address.parse().map_err(|_| CliError::Option {
                option: "control",
                reason: "an address like 127.0.0.1:18580, or none".to_owned(),
            })?),
        };
    }
    if let Some(member) = args.member_id {
        config.member_id = member;
    }
    if let Some(books) = args.books {
        config.books = Some(books);
    }
    if args.fsync {
        config.fsync = Fsync::Always;
    }
    if !args.zmk_component.is_empty() {
        config.zmk_components = args.zmk_component.iter().map(|text| Secret::new(text)).collect();
    }
    Ok(config)
}

/// Waits for Ctrl-C or, as a service manager sends it, SIGTERM.
async fn stop_signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            stopped = tokio::signal::ctrl_c() => stopped,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Runs the simulator until Ctrl-C or SIGTERM. Keys live in a vault of its own that is gone afterwards.
///
/// # Errors
///
/// It cannot start, or the books file cannot be brought to disk at the end.
pub async fn run(args: SimArgs) -> Result<(), CliError> {
    let config = configuration(args)?;
    let vault: Arc<dyn Hsm> = Arc::new(SoftVault::ephemeral()?);
    let sim = start(config, vault).await?;
    if let Some(control) = sim.control_addr() {
        tracing::info!("page: http://{control}/");
    }
    stop_signal().await.map_err(CliError::Signal)?;
    tracing::info!("stopping");
    sim.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: SimArgs,
    }

    #[test]
    fn the_help_has_examples() {
        Program::command().debug_assert();
        let help = Program::command().render_long_help().to_string();
        assert!(help.contains("posp sim --books"), "{help}");
    }

    #[test]
    fn options_come_after_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sim.toml");
        let text = r#"
            listen = "127.0.0.1:19000"
            member_id = "11112222"
            zone_algorithm = "sm4"
            cut_over_at = "23:00"
            settlement_day = "2026-11-24"
            [timing]
            late_answer = 500
            [policy]
            no_pin_limit = 30000
            [[faults.rules]]
            fault = "no_answer"
            span = { next = 2 }
            classes = [420]
            [[cards]]
            id = "X01"
            pan = "6224242000000203"
            expiry = 3012
            service = "101"
            pin = "1234"
            product = "debit"
            opening = 5000
        "#;
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let program =
            Program::parse_from(["sim", "--config", path, "--member-id", "48021234", "--control", "none"]);
        let config = configuration(program.args).unwrap();
        assert_eq!(config.listen.port(), 19_000);
        assert_eq!((config.member_id.as_str(), config.control), ("48021234", None));
        assert_eq!((config.timing.late_answer, config.timing.heartbeat), (500, 30_000));
        assert_eq!((config.cards.len(), config.faults.rules.len()), (1, 1));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sim.toml");
        std::fs::write(&path, "listten = \"127.0.0.1:1\"\n").unwrap();
        let program = Program::parse_from(["sim", "--config", path.to_str().unwrap()]);
        let error = configuration(program.args).unwrap_err().to_string();
        assert!(error.contains("listten"), "{error}");
    }
}
