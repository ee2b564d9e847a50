//! `posp bench`: load on a node and a report that can be believed.

mod rest;
mod stage;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::bench::bare;
use ::bench::chart;
use ::bench::mix::{Kind, Mix};
use ::bench::process;
use ::bench::report::{Bare, Check, Cost, KindLine, Report, Step};
use ::bench::run::{Arrival, Connections, Generator, Plan, Progress, Span, Watch};
use ::bench::tally::Tally;
use ::bench::terminal::Enrolled;
use acquiring::payment::PaymentState;
use acquiring::{Clock, SystemClock};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::module;
use crate::screen::Screen;
use stage::Stage;

const EXAMPLES: &str = "Examples:
  posp bench
      a node and a network of its own on an empty directory, 2,000 sales a second
  posp bench --find-peak --json peak.json --svg peak.svg
      what this machine does at most, then a run at 70 % of it
  posp bench --find-peak --store postgres://posp@127.0.0.1/bench
      the same with the payments in an empty database of PostgreSQL
  posp bench --rate 3000 --seconds 60 --mix sale=80,balance=10,void=5,refund=5 --connections short
      a working day's mixture, a connection for each transaction
  posp bench --rate 1000 --faults 5
      five of a hundred sales meet a decline, silence, or a late or double answer
  posp bench --rate 20000 --overload
      more than the node can take: it must refuse early and serve the rest in time
  posp bench --find-peak --bare
      the same beside a bare relay of the same bytes between three processes
  posp bench idle --connections 10000
      what an idle connection costs
  posp bench idle --connections 102000 --nodes 6
      more of them than one process may have files
  posp bench enrol --terminals 500 --out terminals.json --config posp.toml
  posp bench --target 10.0.0.5:8583 --enrolled terminals.json
      a node that runs already, with terminals made for the purpose";

/// Drive load through a node and measure it.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Enter merchants and terminals into the store of a node and write what the load needs of them.
    Enrol(EnrolArgs),
    /// What one idle connection costs the node: builds up many, holds them, reads the node's memory.
    Idle(rest::IdleArgs),
    /// Play the network of the bare relay.
    #[command(hide = true)]
    Echo(DoorArgs),
    /// Play the node of the bare relay.
    #[command(hide = true)]
    Relay(DoorArgs),
}

#[derive(Args)]
struct DoorArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    network: Option<SocketAddr>,
}

#[derive(Args)]
struct EnrolArgs {
    /// How many terminals.
    #[arg(long, default_value_t = 500)]
    terminals: usize,
    /// File for their numbers and keys; only you can read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args)]
struct RunArgs {
    /// Payments a second that arrive, whatever the answers do.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Find the highest rate that the node keeps up with, then measure at 70 % of it.
    #[arg(long)]
    find_peak: bool,
    /// Seconds of the steady window.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds before it.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Terminals. One does a payment at a time, and settles after 950.
    #[arg(long, default_value_t = 1_000)]
    terminals: usize,
    /// How terminals connect.
    #[arg(long, value_enum, default_value = "long")]
    connections: Connections,
    /// Shares of the transactions: sale, balance, void, refund.
    #[arg(long, default_value_t = Mix::SALES, value_name = "KIND=SHARE,…")]
    mix: Mix,
    /// So many of a hundred sales ask the simulated network for a fault.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    faults: u64,
    /// Refusals for lack of room (96) are what is measured, not a fault of the run.
    #[arg(long)]
    overload: bool,
    /// Payments under way at a time while the peak is looked for.
    #[arg(long, default_value_t = 256)]
    depth: usize,
    /// Measure a bare relay of the same bytes between three processes afterwards, and report the ratio.
    #[arg(long, conflicts_with = "target")]
    bare: bool,
    /// Start of the random sequence.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A node that runs already; otherwise one is started, with a simulated network.
    #[arg(long, value_name = "HOST:PORT", requires = "enrolled")]
    target: Option<SocketAddr>,
    /// The terminals for --target, as `posp bench enrol` wrote them.
    #[arg(long, value_name = "FILE", requires = "target")]
    enrolled: Option<PathBuf>,
    /// Directory for the node and network that are started; emptied first.
    #[arg(long, value_name = "DIR", default_value = "var/bench")]
    dir: PathBuf,
    /// Address of an empty database for the payments (postgres://…); a file in that directory otherwise.
    #[arg(long, value_name = "URL", conflicts_with = "target")]
    store: Option<String>,
    /// Log level of the node that is started; at `info` each payment is a line.
    #[arg(long, default_value = "warn")]
    log_level: String,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write latency and throughput over time as a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Title of the report.
    #[arg(long)]
    title: Option<String>,
}

/// Runs `posp bench`.
pub async fn run(
    config: impl FnOnce() -> anyhow::Result<Config>,
    args: BenchArgs,
) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(BenchCommand::Enrol(args)) => {
            let config = config()?;
            let vault = module::open_in_force(&config).await?;
            let enrolled = stage::enrol(&config, vault.as_ref(), args.terminals).await?;
            write_private(&args.out, &serde_json::to_vec(&enrolled)?)?;
            Screen::new().line(format!("{} terminals written to {}", enrolled.len(), args.out.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(BenchCommand::Idle(args)) => {
            raise_file_limit();
            rest::run(args).await?;
            Ok(ExitCode::SUCCESS)
        }
        Some(BenchCommand::Echo(args)) => {
            bare::echo(tokio::net::TcpListener::bind(args.listen).await?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Some(BenchCommand::Relay(args)) => {
            let listener = tokio::net::TcpListener::bind(args.listen).await?;
            bare::relay(listener, args.network.context("--network is missing")?).await?;
            Ok(ExitCode::SUCCESS)
        }
        None => measure(args.run).await,
    }
}

fn write_private(path: &PathBuf, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(file.write_all(bytes)?)
}

/// A line on standard error that is written over again; nothing where nobody looks.
fn progress_bar() -> Watch {
    if !std::io::stderr().is_terminal() {
        return Box::new(|_| ());
    }
    Box::new(|progress: Progress| {
        let Progress { phase, done, total, rate } = progress;
        let filled = (done.min(total) * 30 / total.max(1)) as usize;
        let (bar, rest) = ("█".repeat(filled), "░".repeat(30 - filled.min(30)));
        let rate = if rate > 0 { format!("{rate}/s") } else { String::new() };
        let end = if done >= total { "\n" } else { "" };
        // A progress bar that cannot be shown is no failure.
        let _ = write!(std::io::stderr(), "\r{phase:<12} {bar}{rest} {done}/{total} {rate:<12}{end}");
    })
}

/// What a drive came to, with what it cost.
struct Driven {
    arrival: Arrival,
    span: Span,
    tally: Tally,
    costs: Vec<Cost>,
}

impl Driven {
    fn throughput(&self) -> u64 {
        self.tally.answered_steady / self.span.steady.as_secs().max(1)
    }

    /// Whether the node kept up: served what arrived, and did not fall behind. A payment that found no free terminal
    /// would stand in no percentile.
    fn sustained(&self) -> bool {
        let Arrival::Open { rate } = self.arrival else { return true };
        let Tally { refused, unsent, .. } = self.tally;
        let served = self.throughput() * 100 >= rate * 98;
        served && self.tally.latency().p99 < 200_000 && refused == 0 && unsent == 0
    }

    fn step(&self) -> Step {
        let arrival = match self.arrival {
            Arrival::Open { rate } => format!("{rate}/s"),
            Arrival::Closed { depth } => format!("{depth} at a time"),
        };
        Step {
            arrival,
            throughput: self.throughput(),
            latency: self.tally.latency(),
            sustained: self.sustained(),
        }
    }
}

/// All that a run of the generator gives.
struct Outcome {
    steps: Vec<Step>,
    last: Driven,
    /// Answers by kind and code over all drives.
    answers: std::collections::BTreeMap<(Kind, [u8; 2]), u64>,
    problems: Vec<String>,
    problem_count: u64,
    silent: u64,
    settled: anyhow::Result<u64>,
}

async fn measure(args: RunArgs) -> anyhow::Result<ExitCode> {
    raise_file_limit();
    let patience_ms = if args.faults > 0 { 2_000 } else { 30_000 };
    let mut stage = match args.target {
        None => {
            let database = args.store.as_deref();
            let config = Config::load(None)?;
            let stage =
                Stage::raise(&args.dir, config, args.terminals, patience_ms, &args.log_level, database);
            Some(stage.await?)
        }
        Some(_) => None,
    };
    let (node, enrolled): (SocketAddr, Vec<Enrolled>) = match (&stage, args.target, &args.enrolled) {
        (Some(stage), ..) => (stage.config.pos.listen, stage.enrolled.clone()),
        (None, Some(target), Some(file)) => (target, serde_json::from_slice(&std::fs::read(file)?)?),
        _ => bail!("--target goes with --enrolled"),
    };
    let plan = Plan {
        nodes: vec![node],
        connections: args.connections,
        mix: args.mix,
        faults: args.faults,
        seed: args.seed,
    };
    let pids = stage.as_ref().map_or((None, None), Stage::pids);
    let order = Order {
        rate: args.rate,
        find_peak: args.find_peak,
        depth: args.depth,
        span: Span {
            warm_up: Duration::from_secs(args.warm_up),
            steady: Duration::from_secs(args.seconds.max(1)),
        },
        pids,
    };
    let cards = stage::cards()?;
    let terminals = enrolled.len();
    // The generator has a runtime and a thread of its own.
    let outcome = tokio::task::spawn_blocking(move || generate(plan, cards, &enrolled, order))
        .await
        .context("generator")??;
    let mut checks = own_checks(&outcome, args.overload);
    if let Some(stage) = &mut stage {
        checks.extend(book_checks(stage, &outcome).await?);
    }
    let mut report = report(&args, terminals, outcome, checks);
    if let Some(stage) = &stage
        && let Some(settings) = stage.server_settings().await?
    {
        report.setup.push(("database server".to_owned(), settings));
    }
    if args.bare
        && let Some(stage) = &stage
    {
        let depth = args.depth;
        let relay = stage.raise_relay().await?;
        let address = relay.address;
        let span = Duration::from_secs(5);
        let measured = tokio::task::spawn_blocking(move || bare::round_trips(address, depth, span)).await??;
        let most = report.steps.iter().filter(|step| step.sustained).map(|step| step.throughput).max();
        report.bare = Some(Bare {
            round_trips: measured,
            bytes: (bare::TERMINAL_BYTES, bare::NETWORK_BYTES),
            payments_percent: most.unwrap_or(report.throughput) * 100 / measured.max(1),
        });
    }
    let mut screen = Screen::new();
    screen.line(report.markdown())?;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &args.svg {
        std::fs::write(file, chart::svg(&report))?;
    }
    if let Some(file) = &args.markdown {
        std::fs::write(file, report.markdown())?;
    }
    Ok(if report.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connections are files; the system's default is for one person.
fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // With fewer files there are fewer connections; the run will say so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

struct Order {
    rate: u64,
    find_peak: bool,
    depth: usize,
    span: Span,
    pids: (Option<u32>, Option<u32>),
}

fn generate(
    plan: Plan,
    cards: Vec<::bench::terminal::Card>,
    enrolled: &[Enrolled],
    order: Order,
) -> anyhow::Result<Outcome> {
    let generator = Generator::sign_in(plan, cards, enrolled, progress_bar())?;
    let processes = [
        ("posp", order.pids.0),
        ("network simulator", order.pids.1),
        ("load generator", Some(std::process::id())),
    ];
    let cpu = || processes.map(|(_, pid)| pid.and_then(process::cpu_millis));
    let mut answers = std::collections::BTreeMap::new();
    let mut drive = |arrival, span: Span| -> anyhow::Result<Driven> {
        let before = cpu();
        let tally = generator.drive(arrival, span)?;
        let payments: u64 = tally.codes.iter().filter(|((kind, _), _)| kind.is_drawn()).map(|(_, n)| n).sum();
        let costs = processes
            .iter()
            .zip(before.into_iter().zip(cpu()))
            .filter_map(|((name, pid), (before, after))| {
                let cpu_millis = after?.saturating_sub(before?);
                Some(Cost {
                    process: (*name).to_owned(),
                    cpu_millis,
                    cpu_micros_per_payment: cpu_millis * 1_000 / payments.max(1),
                    resident_kb: process::resident_kb((*pid)?)?,
                })
            })
            .collect();
        for (key, count) in &tally.codes {
            *answers.entry(*key).or_default() += count;
        }
        Ok(Driven { arrival, span, tally, costs })
    };
    let mut steps = Vec::new();
    let (mut problems, mut problem_count, mut silent) = (Vec::new(), 0, 0);
    let mut keep = |driven: &Driven| {
        problems.extend(driven.tally.problems.iter().cloned());
        problem_count += driven.tally.problem_count;
        silent += driven.tally.silent;
    };
    let mut rate = order.rate;
    if order.find_peak {
        let short = Span { warm_up: Duration::from_secs(3), steady: Duration::from_secs(6) };
        let closed = drive(Arrival::Closed { depth: order.depth }, short)?;
        keep(&closed);
        steps.push(closed.step());
        let most = closed.throughput();
        let mut peak = most * 60 / 100;
        for percent in [100, 95, 90, 85, 80, 75, 70] {
            let open = drive(Arrival::Open { rate: most * percent / 100 }, short)?;
            keep(&open);
            steps.push(open.step());
            if open.sustained() {
                peak = most * percent / 100;
                break;
            }
        }
        rate = peak * 70 / 100;
    }
    let last = drive(Arrival::Open { rate }, order.span)?;
    keep(&last);
    if order.find_peak {
        steps.push(last.step());
    }
    let settled = generator.settle();
    Ok(Outcome { steps, last, answers, problems, problem_count, silent, settled })
}

fn approved(outcome: &Outcome, kind: Kind) -> u64 {
    outcome.answers.get(&(kind, *b"00")).copied().unwrap_or_default()
}

fn own_checks(outcome: &Outcome, overload: bool) -> Vec<Check> {
    // On the way to the peak more may come than the node can do.
    let codes = outcome.last.tally.codes.iter();
    let refused: u64 = codes.filter(|((_, code), _)| code == b"96").map(|(_, count)| count).sum();
    let first = outcome.problems.first().map_or(String::new(), |problem| format!(", the first: {problem}"));
    let mut checks = vec![
        Check::new(
            "every answer had the code that had to come, its own numbers and a good MAC",
            outcome.problem_count == 0,
            format!("{} did not{first}", outcome.problem_count),
        ),
        Check::new(
            "no request stayed without an answer",
            outcome.silent == 0,
            format!("{} did", outcome.silent),
        ),
    ];
    if !overload {
        checks.push(Check::new(
            "nothing was refused for lack of room in the run that counts",
            refused == 0,
            format!("{refused} were"),
        ));
    }
    checks.push(match &outcome.settled {
        Ok(count) => Check::new(
            "every terminal's batch balances: what it was told is what the journal holds",
            true,
            format!("{count} batches"),
        ),
        Err(error) => Check::new("every terminal's batch balances", false, format!("{error:#}")),
    });
    checks
}

/// Compares the three books: what the terminals heard, the journal, the network's record.
async fn book_checks(stage: &mut Stage, outcome: &Outcome) -> anyhow::Result<Vec<Check>> {
    let drained = stage.drained().await;
    stage.stop_node().await?;
    let counts = stage.journal().await?;
    let in_state = |wanted: &[PaymentState]| -> u64 {
        counts.payments.iter().filter(|(state, _)| wanted.contains(state)).map(|(_, count)| count).sum()
    };
    // A balance inquiry is a payment of the journal too.
    let journal = in_state(&[PaymentState::Approved, PaymentState::Voided, PaymentState::Completed]);
    let kinds = [Kind::Sale, Kind::Balance, Kind::Void, Kind::Refund];
    let heard: u64 = kinds.iter().map(|kind| approved(outcome, *kind)).sum();
    let books = stage.network_books().await?;
    let of_network = |kind: Kind| books.approved.get(kind.name()).copied().unwrap_or_default();
    let record: u64 = kinds.iter().map(|kind| of_network(*kind)).sum();
    Ok(vec![
        Check::new(
            "nothing is left to reverse or repeat",
            drained.is_ok(),
            drained.err().map_or_else(|| "queue empty".to_owned(), |error| format!("{error:#}")),
        ),
        Check::new(
            "the journal holds exactly the approvals that terminals heard",
            journal == heard,
            format!("{journal} in the journal, {heard} heard"),
        ),
        Check::new(
            "the network's record holds exactly the journal's approvals",
            record == journal,
            format!("{record} in the record, {journal} in the journal"),
        ),
    ])
}

fn report(args: &RunArgs, terminals: usize, outcome: Outcome, checks: Vec<Check>) -> Report {
    let Outcome { steps, last, .. } = outcome;
    let tally = &last.tally;
    let offered = match last.arrival {
        Arrival::Open { rate } => Some(rate),
        Arrival::Closed { .. } => None,
    };
    let title = args.title.clone().unwrap_or_else(|| match (args.find_peak, offered) {
        (true, Some(rate)) => format!("Peak, and {rate} payments a second at 70 % of it"),
        (_, Some(rate)) => format!("{rate} payments a second"),
        _ => "Payments".to_owned(),
    });
    let mut setup = vec![
        ("terminals".to_owned(), format!("{terminals}, each with keys of its own")),
        ("connections".to_owned(), format!("{:?}", args.connections).to_lowercase()),
        ("mix".to_owned(), args.mix.to_string()),
        (
            "each request".to_owned(),
            "PIN block and MAC under the terminal's keys; answers verified".to_owned(),
        ),
    ];
    if args.faults > 0 {
        setup.push(("faults".to_owned(), format!("{} of 100 sales", args.faults)));
    }
    let mut caveats = vec![
        "Generator, node and network share the cores of one machine: what the first and the last cost is missing \
         to the node."
            .to_owned(),
        "The network is the simulator; a real one is slower, which needs more terminals under way, not more work."
            .to_owned(),
    ];
    match args.target {
        Some(target) => {
            setup.push(("node".to_owned(), target.to_string()));
            caveats.push(
                "The node was running already: journal and network record were not compared.".to_owned(),
            );
        }
        None => {
            let engine = if args.store.is_some() { "PostgreSQL" } else { "SQLite" };
            setup.push((
                "node".to_owned(),
                format!(
                    "posp and network simulator, a process each; {engine}, flushed before a request leaves and \
                     before it is answered"
                ),
            ));
            if args.store.is_some() {
                caveats.push(
                    "What the database server costs is not in the table; on this machine it takes of the same cores."
                        .to_owned(),
                );
            }
            caveats.push(format!(
                "The node logs at level {}; at info each payment is a line and costs more.",
                args.log_level
            ));
        }
    }
    Report {
        title,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        when: SystemClock.now().to_string(),
        hardware: process::hardware(),
        setup,
        warm_up_seconds: last.span.warm_up.as_secs(),
        steady_seconds: last.span.steady.as_secs(),
        offered,
        throughput: last.throughput(),
        unsent: tally.unsent,
        refused: tally.refused / last.span.steady.as_secs().max(1),
        latency: tally.latency(),
        refusal_latency: tally.refusal_latency(),
        kinds: tally
            .by_kind()
            .into_iter()
            .map(|(kind, latency)| KindLine { kind: kind.name().to_owned(), latency })
            .collect(),
        codes: tally
            .codes
            .iter()
            .map(|((kind, code), count)| {
                (kind.name().to_owned(), String::from_utf8_lossy(code).into_owned(), *count)
            })
            .collect(),
        steps,
        costs: last.costs,
        bare: None,
        checks,
        caveats,
        seconds: tally.seconds(),
    }
}
