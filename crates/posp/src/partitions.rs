//! `posp store partitions`: the days by which PostgreSQL keeps history.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use store::{HistoryDay, Store};

use crate::config::Config;
use crate::screen::{Screen, pad_left, table};

/// Arguments of `posp store partitions`.
#[derive(Args)]
pub struct PartitionsArgs {
    #[command(subcommand)]
    command: PartitionsCommand,
}

#[derive(Subcommand)]
enum PartitionsCommand {
    /// List the days with their size and lines, the newest first.
    List(ListArgs),
    /// Put the history of a day into a table of its own, journal_entry_DAY, to be copied and dropped.
    Detach(DayArgs),
    /// Make the table of a day, detached or back from a dump, a part of the history again.
    Attach(DayArgs),
    /// Drop the history of a day, or of all days before one, detached ones among them.
    Drop(DropArgs),
    /// Make a day for each line that was written when its day had none. Payments of these days wait meanwhile.
    Adopt,
}

#[derive(Args)]
struct ListArgs {
    /// Count the lines, which reads all of them, instead of asking the server for its estimate.
    #[arg(long)]
    count: bool,
}

#[derive(Args)]
struct DayArgs {
    /// The day in Beijing, YYYYMMDD.
    day: u32,
}

#[derive(Args)]
struct DropArgs {
    /// The day in Beijing, YYYYMMDD.
    #[arg(required_unless_present = "before")]
    day: Option<u32>,
    /// Every day before this one.
    #[arg(long, value_name = "DAY", conflicts_with = "day")]
    before: Option<u32>,
}

/// Runs `posp store partitions`.
pub async fn run(config: &Config, args: PartitionsArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    if let PartitionsCommand::List(args) = args.command {
        let store = config.open_store_to_read(None).context("the journal cannot be read")?;
        let days = store.history_days(args.count).await?;
        for line in listed(&days) {
            screen.line(line)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let store = config.open_store_beside(None).context("the store cannot be opened")?;
    let done = change(&store, args.command, screen).await;
    store.close().await;
    done
}

async fn change(store: &Store, command: PartitionsCommand, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    match command {
        PartitionsCommand::List(_) => {}
        PartitionsCommand::Detach(DayArgs { day }) => {
            store.detach_history(day).await?;
            screen.line(format!("{day} detached: copy the table journal_entry_{day}, then drop it"))?;
        }
        PartitionsCommand::Attach(DayArgs { day }) => {
            store.attach_history(day).await?;
            screen.line(format!("{day} attached"))?;
        }
        PartitionsCommand::Drop(DropArgs { day: Some(day), .. }) => {
            store.drop_history(day).await?;
            screen.line(format!("{day} dropped"))?;
        }
        PartitionsCommand::Drop(DropArgs { before: Some(before), .. }) => {
            return drop_before(store, before, screen).await;
        }
        PartitionsCommand::Drop(_) => bail!("name a day, or --before a day"),
        PartitionsCommand::Adopt => {
            screen.line(format!("{} lines moved to days of their own", store.adopt_history().await?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Drops what can be dropped, and says of each day that stays why.
async fn drop_before(store: &Store, before: u32, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let mut days: Vec<u32> = store.history_days(false).await?.iter().filter_map(|day| day.day).collect();
    days.retain(|day| *day < before);
    days.sort_unstable();
    let mut code = ExitCode::SUCCESS;
    for day in &days {
        match store.drop_history(*day).await {
            Ok(()) => screen.line(format!("{day} dropped"))?,
            Err(error @ store::StoreError::HistoryStays { .. }) => {
                screen.line(format!("FAIL  {error}"))?;
                code = ExitCode::FAILURE;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if days.is_empty() {
        screen.line(format!("there is no history of a day before {before}"))?;
    }
    Ok(code)
}

fn listed(days: &[HistoryDay]) -> Vec<String> {
    let rows: Vec<Vec<String>> = days
        .iter()
        .map(|day| {
            let tenths = day.bytes / 100_000;
            let megabytes = format!("{}.{}", tenths / 10, tenths % 10);
            vec![
                day.day.map_or("default".to_owned(), |day| day.to_string()),
                pad_left(&megabytes, 10),
                pad_left(&day.lines.to_string(), 12),
                if day.attached { "attached" } else { "detached" }.to_owned(),
            ]
        })
        .collect();
    table(&["日期 day", "        MB", "       lines", "state"], &rows)
}
