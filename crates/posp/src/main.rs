//! The `posp` binary: one command a part of the platform, `posp up` for all of it, `posp demo` for a first
//! look with everything simulated.

mod admin;
mod bench;
mod codec;
mod config;
mod demo;
mod doctor;
mod front;
mod keep;
mod keys;
mod limit;
mod log;
mod metric_names;
mod module;
mod ops;
mod params;
mod partitions;
mod queue;
mod roster;
mod rotation;
mod screen;
mod smart;
mod txn;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::config::{Config, Log};
use crate::screen::Screen;

/// Requests make and drop many small things on several threads; SQLite's go the same way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Acquiring platform: POS terminals in, payment networks out.
#[derive(Parser)]
#[command(name = "posp", version, about, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file; without it every setting has its default.
    #[arg(long, short, global = true, env = "POSP_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  posp demo                                  everything simulated, a business morning, then it stays up
  posp txn list --data var/demo              the payments of the demo
  posp txn show 112400000003 --data var/demo one payment with its messages
  posp 8583 decode frame.hex                 a frame in plain words, masked
  posp up --config posp.toml                 serve for real
  posp doctor --config posp.toml             which link is broken?";

#[derive(Subcommand)]
enum Command {
    /// Start everything on an empty store, play a business morning, then stay up.
    Demo(demo::DemoArgs),
    /// Serve: the door for terminals, the engine, the line to UnionPay.
    Up(up::UpArgs),
    /// The internet front: terminals' HTTPS in, socket 8583 to the nodes out.
    Front(front::FrontArgs),
    /// The simulated UnionPay network and its issuers, as a process of its own.
    Sim(sim::cli::SimArgs),
    /// A traditional POS terminal on the command line.
    Pos(pos::cli::PosArgs),
    /// Find and show payments.
    Txn(txn::TxnArgs),
    /// Decode and encode ISO 8583 messages.
    #[command(name = "8583")]
    Codec(codec::CodecArgs),
    /// Name the broken link between terminal, node and network.
    Doctor(doctor::DoctorArgs),
    /// Master key and zone master key.
    Key(keys::KeyArgs),
    /// Add and list merchants.
    Merchant(admin::MerchantArgs),
    /// Smart POS terminals on a page; with a command: add, list and show the host's terminals.
    Terminal(admin::TerminalArgs),
    /// Limits by merchant, terminal, transaction and kind of card.
    Limit(limit::LimitArgs),
    /// What terminals download: parameters, public keys, applications, card lists.
    Params(params::ParamsArgs),
    /// Settled batches and what differed in them.
    Settlement(queue::SettlementArgs),
    /// Reversals and repeats that wait for the network.
    Forward(queue::ForwardArgs),
    /// Drive load through a node and measure it.
    Bench(Box<bench::BenchArgs>),
    /// Back up, restore and check the journal.
    Store(keep::StoreArgs),
    /// Print the settings in force, or the defaults.
    Config(ConfigArgs),
}

#[derive(clap::Args)]
struct ConfigArgs {
    /// Print the defaults instead of what is in force.
    #[arg(long)]
    defaults: bool,
}

/// A core dump would hold keys and card numbers: this process leaves none, whatever happens to it.
fn leave_no_core_dump() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // To lower a limit is always allowed.
    let _ = setrlimit(Resource::Core, none);
}

fn main() -> ExitCode {
    leave_no_core_dump();
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        // The reader of our output had enough (`posp txn list | head`): nothing is wrong.
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            Screen::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// What `posp pos` ends with when nothing could be done, apart from 1: declined, or no answer.
const NOTHING_DONE: u8 = 2;

fn reader_left(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Every second task comes from the queue that is filled from outside of the runtime: there the store's answers wait,
/// which finish what was accepted. Left to itself a busy runtime takes one in many, and new requests go before them.
const SHARED_QUEUE_EVERY: u32 = 2;

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .global_queue_interval(SHARED_QUEUE_EVERY)
        .enable_all()
        .build()?;
    let load = || Config::load(cli.config.as_deref());
    let quiet = |level: &str| log::start(&Log { level: level.to_owned(), ..Log::default() });
    let mut screen = Screen::new();
    match cli.command {
        Command::Demo(args) => runtime.block_on(demo::run(args, &mut screen)),
        Command::Up(args) => runtime.block_on(up::run(load()?, args)),
        Command::Front(args) => runtime.block_on(front::run(load()?, args)),
        Command::Sim(args) => {
            quiet("info")?;
            runtime.block_on(sim::cli::run(args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Pos(args) => {
            quiet("error")?;
            match runtime.block_on(pos::cli::run(args, &mut screen)) {
                Ok(status) => Ok(status.code().into()),
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    if reader_left(&error) {
                        return Err(error);
                    }
                    Screen::error(&error);
                    Ok(NOTHING_DONE.into())
                }
            }
        }
        Command::Txn(args) => runtime.block_on(txn::run(&load()?, args, &mut screen)),
        Command::Codec(args) => codec::run(load, args, &mut screen),
        Command::Doctor(args) => runtime.block_on(doctor::run(&load()?, args, &mut screen)),
        Command::Key(args) => runtime.block_on(keys::run(&load()?, args, &mut screen)),
        Command::Merchant(args) => runtime.block_on(admin::merchant(&load()?, args, &mut screen)),
        Command::Terminal(args) => runtime.block_on(admin::terminal(&load()?, args, &mut screen)),
        Command::Limit(args) => runtime.block_on(limit::run(&load()?, args, &mut screen)),
        Command::Params(args) => runtime.block_on(params::run(&load()?, args, &mut screen)),
        Command::Settlement(args) => runtime.block_on(queue::settlement(&load()?, args, &mut screen)),
        Command::Forward(args) => runtime.block_on(queue::forward(&load()?, args, &mut screen)),
        Command::Bench(args) => {
            quiet("error")?;
            runtime.block_on(bench::run(load, *args))
        }
        Command::Store(args) => runtime.block_on(keep::run(&load()?, args, &mut screen)),
        Command::Config(args) => {
            let config = if args.defaults { Config::default() } else { load()? };
            screen.line(toml::to_string(&config.printable())?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
