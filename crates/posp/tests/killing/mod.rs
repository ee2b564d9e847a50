//! The kill test: a node under mixed traffic is killed with SIGKILL at random moments and started again; in the
//! end the network's record, the journal and the terminals' slips must say the same.
//!
//! The network is a process of its own and lives through the run with its own books. The terminals follow the
//! rules of terminals: state before every request, the pending reversal before anything else, a refund repeated
//! until its outcome is known. Their lines break now and then, and the network loses, delays and doubles
//! messages. A seed fixes every choice of traffic, faults and kills; what the machine makes of their timing is
//! its own.

mod books;
mod cards;
mod front;
mod line;
mod processes;
mod random;
#[path = "../../../store/tests/common/server.rs"]
mod server;
mod teller;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use acquiring::payment::PaymentRecord;
use anyhow::{Context, bail};
use jiff::Timestamp;
use store::{BatchFilter, ForwardFilter, Page, PaymentFilter, Store};

use books::{Books, Check};
pub use processes::Engine;
use processes::{MERCHANT, Processes};
use random::Random;
use teller::{Shop, Teller};

/// How long the node may take to bring one more open payment to its end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// Longest pause between a kill and the next start.
const DOWN_MAX: Duration = Duration::from_millis(300);
/// Of a thousand kills, so many hit the node while it starts.
const EARLY_KILLS: u64 = 150;
/// And so many the front, where there is one.
const FRONT_KILLS: u64 = 200;
/// An early kill comes within this time of the start.
const EARLY: Duration = Duration::from_millis(120);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `posp` program.
    pub posp: PathBuf,
    /// Fixes every choice.
    pub seed: u64,
    /// How often the node is killed.
    pub kills: u32,
    /// Virtual terminals.
    pub terminals: usize,
    /// Mean time from a start to the next kill.
    pub between: Duration,
    /// Where the journal is, and so how many nodes there are.
    pub store: Engine,
    /// The network has a bad day: lines drop, answers are lost or late.
    pub faults: bool,
    /// Terminals come over HTTPS through an internet front before all nodes, which is killed as well.
    pub front: bool,
}

/// What came of it.
pub struct Report {
    /// The report, line by line.
    pub lines: Vec<String>,
    /// Every rule held.
    pub passed: bool,
    /// Where logs, stores and the full report are; only after a failure.
    pub kept: Option<PathBuf>,
}

/// How quickly service came back, one entry a kill.
#[derive(Default)]
struct Recoveries {
    /// From the start of the node to the first approval that a terminal heard.
    served: Vec<Duration>,
    /// Kills that came before that.
    before_service: u32,
    /// What was killed, and how often.
    strikes: BTreeMap<&'static str, u32>,
}

/// What is killed at a time.
#[derive(Clone, Copy)]
enum Strike {
    /// One node, of several perhaps.
    Node(usize),
    /// Both nodes at once.
    Nodes,
    /// The database server, while the nodes live.
    Database,
    /// The internet front, while the nodes live.
    Front,
}

impl Strike {
    fn drawn(random: &mut Random, nodes: usize, front: bool) -> Strike {
        if front && random.per_mille(FRONT_KILLS) {
            return Strike::Front;
        }
        if nodes < 2 {
            return Strike::Node(0);
        }
        match random.below(10) {
            0..4 => Strike::Node(0),
            4..7 => Strike::Node(1),
            7 => Strike::Nodes,
            _ => Strike::Database,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Strike::Node(_) => "one node",
            Strike::Nodes => "both nodes",
            Strike::Database => "database server",
            Strike::Front => "front",
        }
    }

    fn hit(self, processes: &mut Processes) -> anyhow::Result<()> {
        match self {
            Strike::Node(which) => processes.kill_node(which),
            Strike::Nodes => (0..processes.nodes.len()).try_for_each(|which| processes.kill_node(which)),
            Strike::Database => processes.kill_database(),
            Strike::Front => processes.kill_front(),
        }
    }

    /// Starts again what was killed, and the nodes that ended by themselves when they lost the database.
    async fn mend(self, processes: &mut Processes) -> anyhow::Result<()> {
        match self {
            Strike::Node(which) => processes.start_node(which),
            Strike::Nodes => (0..processes.nodes.len()).try_for_each(|which| processes.start_node(which)),
            Strike::Database => {
                processes.start_database()?;
                for which in 0..processes.nodes.len() {
                    processes.await_end(which).await?;
                    processes.start_node(which)?;
                }
                Ok(())
            }
            Strike::Front => processes.start_front(),
        }
    }
}

/// Runs the test. `tell` hears of progress.
///
/// # Errors
/// When the run itself cannot be carried out: a process does not start, or ended by itself.
pub fn run(options: &Options, tell: &dyn Fn(&str)) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("posp-kill-").tempdir()?;
    let ran = runtime.block_on(perform(options, directory.path(), tell));
    let report = match ran {
        Ok((lines, passed)) => Report { lines, passed, kept: None },
        Err(error) => {
            let kept = directory.keep();
            return Err(error.context(format!("the run broke off; its files are in {}", kept.display())));
        }
    };
    if report.passed {
        return Ok(report);
    }
    Ok(Report { kept: Some(directory.keep()), ..report })
}

async fn perform(options: &Options, dir: &Path, tell: &dyn Fn(&str)) -> anyhow::Result<(Vec<String>, bool)> {
    let begun = Instant::now();
    let terminals = terminals(options);
    let mut processes = Processes::furnish(options, dir, &terminals).await?;
    for which in 0..processes.nodes.len() {
        processes.start_node(which)?;
    }
    if options.front {
        processes.start_front()?;
    }
    processes.wait_ready().await?;

    let shop = Arc::new(Shop::default());
    let hosts = processes.hosts();
    let mut working = Vec::new();
    for (number, terminal) in terminals.iter().enumerate() {
        let mut teller = Teller::hire(dir, &hosts, terminal, number, options.seed).await?;
        let shop = Arc::clone(&shop);
        working.push(tokio::spawn(async move { teller.work(&shop).await.map(|()| teller) }));
    }
    let recoveries = kill_again_and_again(options, &mut processes, &shop, tell).await?;
    let traffic = begun.elapsed();
    let mut tellers: Vec<Teller> = Vec::new();
    for task in working {
        tellers.push(task.await.context("a terminal's task")??);
    }
    tell("traffic has stopped with the last kill; the node brings everything to its end by itself");
    processes.wait_ready().await?;
    let store = processes.journal()?;
    drain(&store).await?;
    let alone = books::alone(&read_books(&processes, &store, &tellers).await?);
    tell("the terminals bring in what is pending");
    each(&mut tellers, &shop, false).await?;
    drain(&store).await?;

    let books = read_books(&processes, &store, &tellers).await?;
    let mut checks = vec![alone];
    checks.extend(books::compare(&books));
    each(&mut tellers, &shop, true).await?;
    checks.push(check_settlements(&store).await?);
    let mut unclean = Vec::new();
    if options.front {
        let stopped = processes.stop_front()?;
        unclean.extend((!stopped.success()).then(|| format!("the front ended with {stopped}")));
    }
    for which in 0..processes.nodes.len() {
        let stopped = processes.stop_node(which)?;
        unclean.extend((!stopped.success()).then(|| format!("a node ended with {stopped}")));
    }
    checks.push(Check {
        rule: "no terminal met what must not happen, and what runs stops cleanly",
        examined: tellers.len(),
        broken: tellers
            .iter()
            .flat_map(|teller| teller.odd.iter().map(|odd| format!("terminal {}: {odd}", teller.id)))
            .chain(unclean)
            .collect(),
    });
    checks.push(secrets(&processes, terminals.len())?);

    let lines = summary(options, &books, &tellers, &recoveries, traffic, &processes)?;
    let passed = checks.iter().all(|check| check.broken.is_empty());
    let verdicts = |all| checks.iter().flat_map(move |check| check.lines(all)).collect::<Vec<String>>();
    let full = [lines.clone(), verdicts(true)].concat().join("\n");
    std::fs::write(dir.join("report.txt"), full + "\n")?;
    Ok(([lines, verdicts(false)].concat(), passed))
}

/// Numbers and key components of the terminals.
fn terminals(options: &Options) -> Vec<(String, [String; 2])> {
    let mut random = Random::part(options.seed, 0);
    let mut component = || format!("{:016X}{:016X}", random.next(), random.next());
    (0..options.terminals).map(|number| (format!("2{number:07}"), [component(), component()])).collect()
}

async fn kill_again_and_again(
    options: &Options,
    processes: &mut Processes,
    shop: &Shop,
    tell: &dyn Fn(&str),
) -> anyhow::Result<Recoveries> {
    let mut random = Random::part(options.seed, 1);
    let mut recoveries = Recoveries::default();
    let mut started = Instant::now();
    let mut spawned = started;
    shop.pulse.reset();
    for kill in 1..=options.kills {
        let last = kill == options.kills;
        let wait = match random.per_mille(EARLY_KILLS) && kill > 1 && !last {
            true => random.time_below(EARLY),
            false => random.time_below(options.between * 2),
        };
        if last {
            // The last kill must hit traffic: it ends it.
            until_served(shop).await?;
            started = Instant::now();
        }
        tokio::time::sleep_until((started + wait).into()).await;
        if last {
            shop.closing.store(true, Ordering::Relaxed);
        }
        let strike = Strike::drawn(&mut random, processes.nodes.len(), options.front);
        strike.hit(processes)?;
        *recoveries.strikes.entry(strike.name()).or_default() += 1;
        match shop.pulse.first() {
            Some(first) if kill > 1 => recoveries.served.push(first.saturating_duration_since(spawned)),
            Some(_) => {}
            None => recoveries.before_service += 1,
        }
        let down = random.time_below(DOWN_MAX);
        tokio::time::sleep(down).await;
        shop.pulse.reset();
        started = Instant::now();
        spawned = started;
        strike.mend(processes).await?;
        if kill % 10 == 0 || last {
            tell(&format!("{kill} of {} kills", options.kills));
        }
    }
    Ok(recoveries)
}

/// Waits for the first approval after a start.
async fn until_served(shop: &Shop) -> anyhow::Result<()> {
    let waited = Instant::now();
    while shop.pulse.first().is_none() {
        if waited.elapsed() > DRAIN_MAX {
            bail!("no payment was approved within {DRAIN_MAX:?} of a start");
        }
        // poll until the first approval, bounded by the deadline above
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// All terminals at once: bring in what is pending, or settle.
async fn each(tellers: &mut Vec<Teller>, shop: &Arc<Shop>, settle: bool) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for mut teller in tellers.drain(..) {
        let shop = Arc::clone(shop);
        tasks.push(tokio::spawn(async move {
            let done = if settle { teller.close_batch(&shop).await } else { teller.tidy(&shop).await };
            done.map(|()| teller)
        }));
    }
    for task in tasks {
        tellers.push(task.await.context("a terminal's task")??);
    }
    Ok(())
}

/// Waits until nothing waits for the network; what is parked or stays is found by the comparison. The queue is worked
/// one by one, and each silence of the network costs its patience: what must not last is a time without progress.
async fn drain(store: &Store) -> anyhow::Result<()> {
    let mut begun = Instant::now();
    let mut least = u64::MAX;
    loop {
        let counts = store.counts(Timestamp::MIN).await?;
        let left = counts.waiting + counts.open.iter().map(|(_, count)| *count).sum::<u64>();
        if left < least {
            (least, begun) = (left, Instant::now());
        }
        if counts.waiting == 0 && counts.open.iter().all(|(_, count)| *count == 0) {
            return Ok(());
        }
        if begun.elapsed() > DRAIN_MAX || (counts.waiting == 0 && counts.parked > 0) {
            return Ok(());
        }
        // poll until the queue is empty, bounded by the deadline above
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn read_books(processes: &Processes, store: &Store, tellers: &[Teller]) -> anyhow::Result<Books> {
    let mut journal: Vec<PaymentRecord> = Vec::new();
    let mut page = Page::first(500);
    loop {
        let found = store.find(PaymentFilter::default(), page).await?;
        journal.extend(found.items);
        match found.next {
            Some(next) => page = Page { limit: 500, after: Some(next) },
            None => break,
        }
    }
    let days: BTreeMap<String, sim::DayTotals> = processes.network("/api/totals").await?;
    Ok(Books {
        record: processes.record().await?,
        network_net: days.values().map(|day| day.net).sum(),
        journal,
        forwards: store.forwards(ForwardFilter::default(), Page::first(500)).await?.items,
        unmatched: store.counts(Timestamp::MIN).await?.unmatched,
        slips: tellers.iter().map(|teller| (teller.id.clone(), teller.seen.clone())).collect(),
    })
}

async fn check_settlements(store: &Store) -> anyhow::Result<Check> {
    let mut settled = Vec::new();
    let mut page = Page::first(500);
    loop {
        let found = store.settlements(BatchFilter::default(), page).await?;
        settled.extend(found.items);
        match found.next {
            Some(next) => page = Page { limit: 500, after: Some(next) },
            None => break,
        }
    }
    let differences = store.counts(Timestamp::MIN).await?.differences;
    Ok(books::settlements(&settled, differences))
}

/// No card number in anything that the node or the network wrote for people.
fn secrets(processes: &Processes, terminals: usize) -> anyhow::Result<Check> {
    let numbers = cards::numbers(terminals);
    let mut broken = Vec::new();
    for file in processes.logs() {
        let text = String::from_utf8_lossy(&std::fs::read(processes.dir.join(&file))?).into_owned();
        let found = numbers.iter().filter(|number| text.contains(number.as_str())).count();
        if found > 0 {
            broken.push(format!("{file} holds {found} card numbers"));
        }
        if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
            broken.push(format!("{file}: {line}"));
        }
    }
    Ok(Check { rule: "no card number and no panic in the logs", examined: numbers.len(), broken })
}

fn summary(
    options: &Options,
    books: &Books,
    tellers: &[Teller],
    recoveries: &Recoveries,
    traffic: Duration,
    processes: &Processes,
) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![format!(
        "seed {}  kills {}  terminals {}  merchant {MERCHANT}  traffic {} s",
        options.seed,
        options.kills,
        options.terminals,
        traffic.as_secs()
    )];
    let mut by_state: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for payment in &books.journal {
        *by_state.entry((payment.kind.code(), payment.state.code())).or_default() += 1;
    }
    lines.push(format!(
        "journal: {} payments, net {} fen",
        books.journal.len(),
        books::journal_net(&books.journal)
    ));
    for kind in ["sale", "sale_void", "refund", "balance"] {
        let states: Vec<String> = by_state
            .iter()
            .filter(|((k, _), _)| *k == kind)
            .map(|((_, state), count)| format!("{state} {count}"))
            .collect();
        lines.push(format!("  {kind:<10} {}", states.join(", ")));
    }
    let reversals: Vec<&sim::RecordLine> =
        books.record.iter().filter(|line| line.kind == sim::Kind::Reversal).collect();
    lines.push(format!(
        "network: {} requests, {} of them reversals ({} arrived more than once), net {} fen",
        books.record.len(),
        reversals.len(),
        reversals.iter().filter(|line| line.arrivals > 1).count(),
        books.network_net
    ));
    let mut caught = 0;
    for file in processes.logs() {
        let log = std::fs::read(processes.dir.join(file))?;
        caught += String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| line.contains("left open by the previous run"))
            .filter_map(|line| number_after(line, "payments"))
            .sum::<u64>();
    }
    if options.front {
        lines.push(without_answer(&std::fs::read(processes.dir.join(processes::FRONT_LOG))?));
    }
    let strikes: Vec<String> =
        recoveries.strikes.iter().map(|(what, count)| format!("{what} {count}")).collect();
    lines.push(format!("killed: {}", strikes.join(", ")));
    lines.push(format!(
        "caught by a kill between intent and outcome: {caught} payments; batches settled: {}; refunds given up: {}",
        tellers.iter().map(|teller| teller.settled).sum::<u32>(),
        tellers.iter().map(|teller| teller.refunds_given_up).sum::<u32>()
    ));
    let mut served = recoveries.served.clone();
    served.sort();
    let at = |index: usize| served.get(index).map_or(0, Duration::as_millis);
    lines.push(format!(
        "start to first approval: median {} ms, longest {} ms; killed again before it: {}",
        at(served.len() / 2),
        at(served.len().saturating_sub(1)),
        recoveries.before_service
    ));
    Ok(lines)
}

/// What the front told terminals in place of an answer, by status, as far as its log has it.
fn without_answer(log: &[u8]) -> String {
    let mut told: BTreeMap<u64, u64> = BTreeMap::new();
    let log = String::from_utf8_lossy(log);
    for status in log.lines().filter_map(|line| number_after(line, "status")) {
        *told.entry(status).or_default() += 1;
    }
    let told: Vec<String> = told.iter().map(|(status, count)| format!("{status} {count}")).collect();
    format!("front: {} requests without an answer are in its log, by status", told.join(", "))
}

/// The number after `name=`, colours of the log left aside.
fn number_after(line: &str, name: &str) -> Option<u64> {
    let plain: String =
        line.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect();
    let (_, rest) = plain.split_once(&format!("{name}="))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
