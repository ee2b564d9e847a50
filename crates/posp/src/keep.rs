//! `posp store`: backup, restore, check, and the days of the history.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::partitions;
use crate::screen::Screen;

/// Numbers that a restore leaves out when nothing else is said: more than are given between two backups, and a tenth
/// of what a day has.
const SKIP: u32 = 10_000_000;

/// Arguments of `posp store`.
#[derive(Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Copy the journal into a file, also while a node writes it (SQLite; for PostgreSQL use pg_dump).
    Backup(BackupArgs),
    /// Make a backup the journal of an empty data directory (SQLite), or finish a pg_restore (PostgreSQL).
    Restore(RestoreArgs),
    /// Look whether the journal agrees with itself, also beside a node.
    Check(CheckArgs),
    /// The days by which PostgreSQL keeps history: list them, take them out, put them back.
    Partitions(partitions::PartitionsArgs),
}

#[derive(Args)]
struct BackupArgs {
    /// The file to make; it must not be there yet.
    file: PathBuf,
    /// Data directory of the node (default: store.url or node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct RestoreArgs {
    /// The backup. Left out on PostgreSQL, after pg_restore has filled the database.
    file: Option<PathBuf>,
    /// Leave out so many numbers of every sequence: more than were given since the backup.
    #[arg(long, default_value_t = SKIP, value_name = "NUMBERS")]
    skip: u32,
}

#[derive(Args)]
struct CheckArgs {
    /// Data directory of the node (default: store.url or node.data of the configuration).
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs `posp store`.
pub async fn run(config: &Config, args: StoreArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match args.command {
        StoreCommand::Backup(args) => {
            let store =
                config.open_store_to_read(args.data.as_deref()).context("the journal cannot be read")?;
            if store.is_shared() {
                bail!("the journal is on PostgreSQL: pg_dump --format=custom --file {}", args.file.display());
            }
            store.backup(&args.file).await?;
            let size = std::fs::metadata(&args.file)?.len();
            screen.line(format!("{}: {size} bytes, flushed to the disk", args.file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        StoreCommand::Restore(args) => {
            let store = match &args.file {
                Some(file) => {
                    let options = config.store_to_restore()?;
                    store::Store::restore(file, options, args.skip)
                        .await
                        .context("the backup is not restored")?
                }
                None => {
                    let store = config.open_store_beside(None).context("the store cannot be opened")?;
                    if !store.is_shared() {
                        bail!("name the backup to restore");
                    }
                    store.skip_numbers(args.skip).await?;
                    store
                }
            };
            screen.line(format!("every sequence of numbers goes on {} further", args.skip))?;
            let code = report(&store, screen).await?;
            store.close().await;
            Ok(code)
        }
        StoreCommand::Check(args) => {
            let store =
                config.open_store_to_read(args.data.as_deref()).context("the journal cannot be read")?;
            report(&store, screen).await
        }
        StoreCommand::Partitions(args) => partitions::run(config, args, screen).await,
    }
}

async fn report(store: &store::Store, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let found = store.check().await?;
    for finding in &found {
        screen.line(format!("FAIL  {finding}"))?;
    }
    if found.is_empty() {
        screen.line("the journal agrees with itself")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
