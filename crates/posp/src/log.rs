//! Log output: text for people or JSON for collectors, masked by construction (no message value that could
//! be card data is ever given to the log).

use std::fs::File;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging to standard error. A filter in `POSP_LOG` wins over the configured level.
pub fn start(settings: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var("POSP_LOG") {
        Ok(filter) => EnvFilter::try_new(filter)?,
        Err(_) => EnvFilter::try_new(&settings.level)?,
    };
    // Colours for a person at a terminal only: in a file or a collector they are noise between the words.
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match settings.format {
        LogFormat::Text => builder.with_target(false).compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

/// Starts logging to a file, where standard output tells a story.
pub fn start_to_file(path: &Path, level: &str) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("the log {} cannot be made", path.display()))?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(level)?)
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .with_target(false)
        .compact()
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
