//! A world from its seed to its end: what its parts share, and the verdict.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsm::{Hsm, SoftVault};
use jiff::Timestamp;
use sim::service::Service;
use store::simulation::Disk;
use tokio::sync::Notify;

use crate::clock::VirtualClock;
use crate::guarantees::{self, Books, Broken, Guarantee};
use crate::network::Network;
use crate::node::{Life, Node};
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::terminal::{self, Terminal};
use crate::weather::Weather;
use crate::{network, node, panics};

/// Steps of the history that a verdict shows.
const TAIL: usize = 60;
/// A world that is not at its end after this long never will be.
const END_MS: u64 = 24 * 3_600_000;
/// In calm weather nothing is refused by chance: what is parked again after so many releases always will be.
const RELEASES_MAX: u32 = 10;

/// How a world is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Its seed.
    pub seed: u64,
    /// Keeps the whole history.
    pub trace: bool,
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

/// A broken guarantee.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub guarantee: Guarantee,
    /// How it showed.
    pub text: String,
    /// The seed.
    pub seed: u64,
    /// At which step of the world.
    pub step: u64,
    /// At which moment, milliseconds of the world.
    pub at_ms: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, step {}, {} ms: {}", self.seed, self.step, self.at_ms, self.guarantee)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  replay: cargo run --release -p simulation -- --seed {} --trace", self.seed)
    }
}

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Report {
    /// A guarantee that was broken.
    pub violation: Option<Violation>,
    /// Payments in the journal.
    pub payments: usize,
    /// Steps.
    pub steps: u64,
    /// Milliseconds of virtual time.
    pub virtual_ms: u64,
    /// Nodes that died.
    pub deaths: u64,
    /// How many payments of each kind ended in each state, as `kind state`.
    pub ends: BTreeMap<String, usize>,
    /// Digest of the history: the same for the same seed.
    pub hash: u64,
    /// The end of the history, or all of it.
    pub history: Vec<String>,
}

struct Trace {
    step: u64,
    hash: u64,
    lines: VecDeque<String>,
}

/// What the parts of a world share.
pub struct World {
    /// How it is run.
    pub options: Options,
    /// What goes wrong now.
    weather: Mutex<Weather>,
    /// Nodes on the one store.
    pub nodes: usize,
    /// The only time.
    pub clock: Arc<VirtualClock>,
    /// The journal's disk.
    pub disk: Disk,
    /// The security module; its master key is drawn anew in each world and nothing that is compared depends on it.
    pub vault: Arc<SoftVault>,
    /// The network's desk.
    pub service: Arc<Service>,
    /// The network's side of the lines.
    pub network: Network,
    /// What the guarantees know.
    books: Mutex<Books>,
    /// Nodes that serve, by place.
    serving: Mutex<Vec<Option<Arc<Node>>>>,
    /// The present life of each place, starting ones too.
    pub lives: Mutex<BTreeMap<usize, Arc<Life>>>,
    /// Deaths so far.
    pub deaths: AtomicU64,
    randoms: Mutex<BTreeMap<&'static str, Random>>,
    trace: Mutex<Trace>,
    violation: Mutex<Option<Violation>>,
    over: Notify,
    /// A sabotage happens once.
    pub sabotaged: AtomicBool,
}

pub(crate) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// What goes wrong now.
    pub fn weather(&self) -> Weather {
        *locked(&self.weather)
    }

    /// Draws from the numbers of a part of the world.
    pub fn draw<T>(&self, part: &'static str, what: impl FnOnce(&mut Random) -> T) -> T {
        let mut randoms = locked(&self.randoms);
        let seed = self.options.seed;
        what(randoms.entry(part).or_insert_with(|| Random::of(seed, part)))
    }

    /// A step of the world's history.
    pub fn note(&self, what: impl AsRef<str>) {
        let what = what.as_ref();
        let at = self.clock.elapsed_ms();
        let mut trace = locked(&self.trace);
        trace.step += 1;
        let mut hash = trace.hash ^ at;
        for byte in what.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        trace.hash = hash;
        if !self.options.trace && trace.lines.len() == TAIL {
            trace.lines.pop_front();
        }
        let line = format!("{:>6} {at:>9} {what}", trace.step);
        trace.lines.push_back(line);
    }

    /// Shows something to the guarantees.
    pub fn judge(&self, look: impl FnOnce(&mut Books) -> Result<(), Broken>) {
        if let Err((guarantee, text)) = look(&mut locked(&self.books)) {
            self.broken(guarantee, text);
        }
    }

    /// Reads the books of the guarantees.
    pub fn books<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&locked(&self.books))
    }

    /// A guarantee is broken: the world ends.
    pub fn broken(&self, guarantee: Guarantee, text: String) {
        self.note(format!("BROKEN {guarantee}: {text}"));
        let mut violation = locked(&self.violation);
        if violation.is_none() {
            let (seed, step) = (self.options.seed, locked(&self.trace).step);
            let at_ms = self.clock.elapsed_ms();
            *violation = Some(Violation { guarantee, text, seed, step, at_ms });
            self.over.notify_one();
        }
    }

    /// Looks at what commits have changed.
    pub fn audit(&self) {
        let rows = self.disk.rows(guarantees::SEEN).expect("the auditor reads");
        if rows.is_empty() {
            return;
        }
        self.disk.run(guarantees::FORGET).expect("the auditor forgets");
        self.judge(|books| {
            for note in books.committed(&rows)? {
                self.note(note);
            }
            Ok(())
        });
    }

    /// A node that serves, if there is one; by lot when there are several.
    pub fn any_node(&self) -> Option<Arc<Node>> {
        let nodes: Vec<_> = locked(&self.serving).iter().flatten().cloned().collect();
        let which = self.draw("door", |random| random.below(nodes.len() as u64));
        nodes.get(usize::try_from(which).unwrap_or(0)).cloned()
    }

    /// Puts a node in its place, or takes it away.
    pub fn set_node(&self, place: usize, node: Option<Arc<Node>>) {
        if let Some(at) = locked(&self.serving).get_mut(place) {
            *at = node;
        }
    }

    /// Whether the sabotage is this one and has not happened yet; it has happened then.
    pub fn sabotages(&self, what: Sabotage) -> bool {
        self.options.sabotage == Some(what) && !self.sabotaged.swap(true, Ordering::Relaxed)
    }

    /// Whether the sabotage is this one, however often.
    pub fn is_sabotaged_by(&self, what: Sabotage) -> bool {
        self.options.sabotage == Some(what)
    }

    /// Whether a guarantee was broken: nothing that comes after counts.
    pub fn is_over(&self) -> bool {
        locked(&self.violation).is_some()
    }
}

/// Waits so many milliseconds of the world; not at all for none.
pub async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Runs a world to its end.
pub fn run(options: Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime in this thread");
    runtime.block_on(live(options))
}

async fn live(options: Options) -> Report {
    panics::watch();
    let weather = Weather::of(options.seed);
    // A Beijing noon in the year that the cards of the laboratory are good for.
    let noon = Timestamp::from_second(1_795_492_800).expect("a moment");
    let base = noon
        .checked_add(jiff::SignedDuration::from_secs(weather.starts_after_noon_s as i64))
        .expect("a moment");
    let clock = Arc::new(VirtualClock::new(base));
    let disk = Disk::create(base).expect("a journal in memory");
    disk.run(guarantees::TRIGGERS).expect("the auditor's triggers");
    let vault = Arc::new(SoftVault::ephemeral().expect("a vault"));
    let world = Arc::new(World {
        options,
        weather: Mutex::new(weather),
        service: network::desk(Arc::clone(&clock)),
        network: Network::new(),
        clock,
        disk,
        vault,
        books: Mutex::default(),
        nodes: weather.nodes,
        serving: Mutex::new(vec![None; weather.nodes]),
        lives: Mutex::default(),
        deaths: AtomicU64::new(0),
        randoms: Mutex::default(),
        trace: Mutex::new(Trace { step: 0, hash: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new() }),
        violation: Mutex::default(),
        over: Notify::new(),
        sabotaged: AtomicBool::new(false),
    });
    world.note(format!("{weather:?}"));
    tokio::select! {
        biased;
        () = world.over.notified() => {}
        () = history(&world, weather) => {}
        () = pause(END_MS) => {
            let open = world.books(Books::open);
            world.broken(Guarantee::G9, format!("the world does not come to its end; open: {open:?}"));
        }
    }
    if let Some(panic) = panics::seen() {
        world.broken(Guarantee::G9, format!("a panic: {panic}"));
    }
    let mut ends = BTreeMap::new();
    world.books(|books| {
        for payment in books.payments.values() {
            *ends.entry(format!("{} {}", payment.kind, payment.state)).or_default() += 1;
        }
    });
    // A node knows its world and the world its nodes: without this no world would ever be freed.
    locked(&world.serving).clear();
    let trace = locked(&world.trace);
    Report {
        ends,
        violation: locked(&world.violation).clone(),
        payments: world.books(|books| books.payments.len()),
        steps: trace.step,
        virtual_ms: world.clock.elapsed_ms(),
        deaths: world.deaths.load(Ordering::Relaxed),
        hash: trace.hash,
        history: trace.lines.iter().cloned().collect(),
    }
}

/// Trouble, then calm: what is open must become known, and all books must agree.
async fn history(world: &Arc<World>, weather: Weather) {
    let hsm: Arc<dyn Hsm> = world.vault.clone();
    let terminals = terminal::furnish(world, hsm, weather.terminals).await;
    for place in 0..weather.nodes {
        tokio::spawn(node::start(Arc::clone(world), place));
    }
    let operator = tokio::spawn(node::operator(Arc::clone(world)));
    let mut working = Vec::new();
    for mut terminal in terminals {
        let world = Arc::clone(world);
        working.push(tokio::spawn(async move {
            terminal.work(&world, weather.transactions).await;
            terminal
        }));
    }
    let mut terminals: Vec<Terminal> = Vec::new();
    for work in working {
        match work.await {
            Ok(terminal) => terminals.push(terminal),
            Err(error) => return world.broken(Guarantee::G9, format!("a terminal's task ended: {error}")),
        }
    }
    *locked(&world.weather) = weather.calm();
    world.network.heal();
    operator.abort();
    world.note("calm");
    for terminal in &mut terminals {
        terminal.clear(world).await;
    }
    let mut released = BTreeMap::<i64, u32>::new();
    while world.books(Books::open) != (0, 0) && !world.is_over() {
        let times = node::release_parked(world).await.map_or(0, |sequence| {
            let times = released.entry(sequence).or_default();
            *times += 1;
            *times
        });
        pause(1_000).await;
        if times > RELEASES_MAX || world.clock.elapsed_ms() > END_MS / 2 {
            return world.judge(|books| guarantees::g2_everything_becomes_known(books));
        }
    }
    // Late answers that are still on their way must find everything settled.
    pause(120_000).await;
    for terminal in &mut terminals {
        terminal.settle(world).await;
    }
    network::sabotage(world);
    node::sabotage_books(world);
    world.audit();
    world.judge(|books| {
        guarantees::g2_everything_becomes_known(books)?;
        let blocks = "SELECT first, size FROM number_block WHERE name = 'payment' ORDER BY first";
        guarantees::g11_gaps_are_explained(books, &world.disk.rows(blocks).expect("the auditor reads"))?;
        let (lines, trial, owed) = network::record(&world.service);
        guarantees::g8_journal_and_network_agree(books, &lines)?;
        let adjusted = world.disk.rows(guarantees::ADJUSTED).expect("the auditor reads");
        guarantees::g8_money_is_conserved(books, &adjusted, trial, owed)
    });
    world.note("end");
}
