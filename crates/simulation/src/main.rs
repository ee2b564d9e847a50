//! Runs worlds: `simulation --seeds 0..1000`, or one with its history: `simulation --seed 17 --trace`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::{Options, Report, run};

struct Args {
    seeds: Range<u64>,
    trace: bool,
    threads: usize,
}

const USAGE: &str = "simulation [--seeds FROM..TO | --seed N] [--trace] [--threads N]";

fn args() -> Option<Args> {
    let mut args = Args { seeds: 0..1_000, trace: false, threads: 2 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => {
                let text = words.next()?;
                let (from, to) = text.split_once("..")?;
                args.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--seed" => {
                let seed: u64 = words.next()?.parse().ok()?;
                args.seeds = seed..seed.checked_add(1)?;
            }
            "--trace" => args.trace = true,
            "--threads" => args.threads = words.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(args)
}

#[derive(Default)]
struct Sum {
    worlds: u64,
    payments: u64,
    steps: u64,
    deaths: u64,
    virtual_ms: u64,
    broken: u64,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let Some(args) = args() else {
        let _ = writeln!(out, "{USAGE}");
        return ExitCode::FAILURE;
    };
    let began = Instant::now();
    let next = AtomicU64::new(args.seeds.start);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seeds.end {
                        return;
                    }
                    let report = run(Options { seed, trace: args.trace, sabotage: None });
                    tell(&mut std::io::stdout(), &args, &report);
                    let mut sum = sum.lock().unwrap();
                    sum.worlds += 1;
                    sum.payments += report.payments as u64;
                    sum.steps += report.steps;
                    sum.deaths += report.deaths;
                    sum.virtual_ms += report.virtual_ms;
                    sum.broken += u64::from(report.violation.is_some());
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    let _ = writeln!(
        out,
        "seeds {}..{}: {} worlds, {} payments, {} steps, {} deaths, {} virtual hours in {} s; {} broken",
        args.seeds.start,
        args.seeds.end,
        sum.worlds,
        sum.payments,
        sum.steps,
        sum.deaths,
        sum.virtual_ms / 3_600_000,
        began.elapsed().as_secs(),
        sum.broken
    );
    if sum.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(out: &mut impl Write, args: &Args, report: &Report) {
    if args.trace {
        for line in &report.history {
            let _ = writeln!(out, "{line}");
        }
        let _ = writeln!(out, "digest {:016x}", report.hash);
    }
    if let Some(violation) = &report.violation {
        let _ = writeln!(out, "{violation}");
    }
}
