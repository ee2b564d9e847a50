//! The kill test with as many kills as one likes; `scripts/kill-test` builds and runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/killing/mod.rs"]
mod killing;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Kill a node with SIGKILL under mixed traffic, again and again, then compare its journal with the network's record
/// and the terminals' slips.
#[derive(Parser)]
struct Arguments {
    /// The posp program.
    #[arg(long, env = "POSP_BIN", value_name = "FILE")]
    posp: PathBuf,
    /// Fixes every choice of traffic, faults and kills; drawn when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// How often the node is killed.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Virtual terminals.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=500))]
    terminals: u16,
    /// Mean seconds from a start of the node to the next kill.
    #[arg(long, default_value = "1.5", value_name = "SECONDS")]
    seconds_between: f64,
    /// Where the journal is: one node on SQLite, or two nodes on one PostgreSQL server, which is killed as well.
    #[arg(long, value_enum, default_value_t = killing::Engine::Sqlite)]
    store: killing::Engine,
    /// Give the network a bad day: lines drop, answers are lost, late and doubled, far more often.
    #[arg(long)]
    faults: bool,
    /// Terminals come over HTTPS through an internet front before all nodes, which is killed as well.
    #[arg(long)]
    front: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let say = |line: &str| {
        // A reader that went away is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let drawn = || RandomState::new().build_hasher().finish() % 1_000_000_000;
    let seed = arguments.seed.unwrap_or_else(drawn);
    say(&format!("seed {seed}"));
    let Ok(between) = Duration::try_from_secs_f64(arguments.seconds_between) else {
        say("--seconds-between is a number of seconds, such as 1.5");
        return ExitCode::FAILURE;
    };
    let options = killing::Options {
        posp: arguments.posp,
        seed,
        kills: arguments.kills,
        terminals: usize::from(arguments.terminals),
        between,
        store: arguments.store,
        faults: arguments.faults,
        front: arguments.front,
    };
    match killing::run(&options, &say) {
        Ok(report) => {
            for line in &report.lines {
                say(line);
            }
            if let Some(kept) = &report.kept {
                say(&format!("FAIL  everything is kept in {}", kept.display()));
            }
            if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            say(&format!("FAIL  {error:#}"));
            ExitCode::FAILURE
        }
    }
}
