//! The generator: one thread, all terminals, one schedule.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use iso8583::{Draft, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::mix::{FAULTS, Kind, Mix, Random};
use crate::tally::Tally;
use crate::terminal::{Card, Enrolled, Heard, Shared, Terminal};

/// Largest answer.
const FRAME_MAX: usize = 4_096;
/// Chores (sign-ins, settlements) under way at one time.
const CHORES: usize = 48;
/// How long the last answers of a drive, or a chore, may take.
const PATIENCE: Duration = Duration::from_secs(75);
/// Terminals that share one source address; a port range of one address is finite.
const PER_SOURCE: u32 = 10_000;
/// How often a terminal tries to reach the node before it gives up.
const DIALS: u32 = 5;

/// How terminals connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Connections {
    /// One connection a terminal, kept.
    Long,
    /// One connection a transaction.
    Short,
    /// Every second terminal keeps its connection.
    Mixed,
}

/// What the load is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the node takes terminals; terminals are spread over them.
    pub nodes: Vec<SocketAddr>,
    /// How terminals connect.
    pub connections: Connections,
    /// What they do.
    pub mix: Mix,
    /// How many of a hundred sales ask for a fault of the simulated network.
    pub faults: u64,
    /// Start of the random sequence.
    pub seed: u64,
}

/// How payments arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// So many a second, whatever the answers do.
    Open {
        /// Payments a second.
        rate: u64,
    },
    /// So many under way at any time: finds what a node can do at most, and tells nothing about latency.
    Closed {
        /// Payments under way.
        depth: usize,
    },
}

/// How long a drive lasts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Before the steady window.
    pub warm_up: Duration,
    /// The steady window.
    pub steady: Duration,
}

/// How far a run is, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is going on.
    pub phase: &'static str,
    /// Done, of `total`.
    pub done: u64,
    /// All there is to do.
    pub total: u64,
    /// Answers in the last second.
    pub rate: u64,
}

/// Told every now and then how far the run is.
pub type Watch = Box<dyn Fn(Progress)>;

enum Phase {
    Idle,
    Chores,
    Driving { closed: bool, until: Instant },
}

struct World {
    plan: Plan,
    shared: Shared,
    terminals: Vec<RefCell<Terminal>>,
    lines: Vec<RefCell<Option<Rc<TcpStream>>>>,
    draft: RefCell<Draft>,
    frame: RefCell<Vec<u8>>,
    free: RefCell<VecDeque<u32>>,
    backlog: RefCell<VecDeque<Instant>>,
    chores: RefCell<VecDeque<(u32, Kind)>>,
    chores_open: Cell<usize>,
    under_way: Cell<usize>,
    random: RefCell<Random>,
    tally: RefCell<Tally>,
    begun: Cell<Instant>,
    phase: RefCell<Phase>,
    watch: Watch,
}

/// Terminals that are signed in at a node.
pub struct Generator {
    world: Rc<World>,
    local: LocalSet,
    runtime: tokio::runtime::Runtime,
}

impl Generator {
    /// Loads the terminals' master keys, connects them and signs them in.
    ///
    /// # Errors
    /// A key that is none, a node that cannot be reached, a sign-in that is refused.
    pub fn sign_in(
        plan: Plan,
        cards: Vec<Card>,
        enrolled: &[Enrolled],
        watch: Watch,
    ) -> anyhow::Result<Generator> {
        if enrolled.is_empty() || plan.nodes.is_empty() || cards.is_empty() {
            bail!("a load needs a node, a terminal and a card");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Shared { vault: hsm::SoftVault::ephemeral()?, cards };
        let terminals: Vec<RefCell<Terminal>> = enrolled
            .iter()
            .map(|one| Terminal::new(&shared, one).map(RefCell::new))
            .collect::<anyhow::Result<_>>()?;
        let seed = plan.seed;
        let world = Rc::new(World {
            lines: terminals.iter().map(|_| RefCell::new(None)).collect(),
            plan,
            shared,
            terminals,
            draft: RefCell::new(Draft::new()),
            frame: RefCell::new(Vec::with_capacity(1_024)),
            free: RefCell::default(),
            backlog: RefCell::default(),
            chores: RefCell::default(),
            chores_open: Cell::new(0),
            under_way: Cell::new(0),
            random: RefCell::new(Random::new(seed)),
            tally: RefCell::new(Tally::new(Duration::ZERO, Duration::MAX)?),
            begun: Cell::new(Instant::now()),
            phase: RefCell::new(Phase::Idle),
            watch,
        });
        let generator = Generator { world, local: LocalSet::new(), runtime };
        generator.chores("signing in", Kind::SignIn, |_| true)?;
        Ok(generator)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.local.block_on(&self.runtime, work)
    }

    /// Lets every terminal that `wanted` names do a chore, and waits for the last.
    fn chores(
        &self,
        phase: &'static str,
        kind: Kind,
        wanted: impl Fn(&Terminal) -> bool,
    ) -> anyhow::Result<()> {
        let world = Rc::clone(&self.world);
        let list: VecDeque<(u32, Kind)> = (0u32..)
            .zip(&world.terminals)
            .filter(|(_, terminal)| wanted(&terminal.borrow()))
            .map(|(index, _)| (index, kind))
            .collect();
        let total = list.len() as u64;
        *world.chores.borrow_mut() = list;
        *world.tally.borrow_mut() = Tally::new(Duration::ZERO, Duration::MAX)?;
        *world.phase.borrow_mut() = Phase::Chores;
        world.begun.set(Instant::now());
        self.block_on(async {
            for _ in 0..CHORES {
                next_chore(&world);
            }
            let mut seen = (u64::MAX, Instant::now());
            loop {
                let waiting = world.chores.borrow().len() as u64;
                let left = waiting + world.chores_open.get() as u64;
                (world.watch)(Progress { phase, done: total - left, total, rate: 0 });
                if left == 0 {
                    break Ok(());
                }
                if left < seen.0 {
                    seen = (left, Instant::now());
                } else if seen.1.elapsed() > PATIENCE {
                    break Err(anyhow::anyhow!("{phase}: {left} terminals have no answer"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })?;
        *world.phase.borrow_mut() = Phase::Idle;
        let tally = world.tally.borrow();
        match tally.problems.first() {
            Some(problem) => bail!("{phase}: {} went wrong, the first: {problem}", tally.problem_count),
            None => Ok(()),
        }
    }

    /// Drives the load for a span and gives what was counted. All answers are in, or given up, when it returns.
    ///
    /// # Errors
    /// Only those of the generator itself; what the node does wrong is counted.
    pub fn drive(&self, arrival: Arrival, span: Span) -> anyhow::Result<Tally> {
        let world = Rc::clone(&self.world);
        let whole = span.warm_up + span.steady;
        *world.tally.borrow_mut() = Tally::new(span.warm_up, whole)?;
        world.backlog.borrow_mut().clear();
        *world.free.borrow_mut() = (0u32..).take(world.terminals.len()).collect();
        let begun = Instant::now();
        world.begun.set(begun);
        let until = begun + whole;
        *world.phase.borrow_mut() =
            Phase::Driving { closed: matches!(arrival, Arrival::Closed { .. }), until };
        self.block_on(async {
            match arrival {
                Arrival::Open { rate } => arrive(&world, rate, begun, whole).await,
                Arrival::Closed { depth } => {
                    for _ in 0..depth.min(world.terminals.len()) {
                        schedule(&world, Instant::now());
                    }
                    let mut shown = 0;
                    while begun.elapsed() < whole {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        show(&world, begun, whole, &mut shown);
                    }
                }
            }
            let left = world.backlog.borrow_mut().drain(..).count() as u64;
            world.tally.borrow_mut().unsent += left;
            let mut last = (usize::MAX, Instant::now());
            while world.under_way.get() > 0 {
                if world.under_way.get() < last.0 {
                    last = (world.under_way.get(), Instant::now());
                } else if last.1.elapsed() > PATIENCE {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        for index in (0u32..).take(world.terminals.len()) {
            if cell(&world.terminals, index).is_some_and(|terminal| terminal.borrow().pending.is_some()) {
                hang_up(&world, index, "no answer in time");
            }
        }
        *world.phase.borrow_mut() = Phase::Idle;
        let fresh = Tally::new(Duration::ZERO, Duration::MAX)?;
        Ok(world.tally.replace(fresh))
    }

    /// Settles the batch of each terminal that has one: what the terminals were told must be what the journal
    /// holds. Gives how many batches balanced.
    ///
    /// # Errors
    /// A batch that does not balance, or a terminal without an answer.
    pub fn settle(&self) -> anyhow::Result<u64> {
        let count = self.world.terminals.iter().filter(|terminal| terminal.borrow().has_batch()).count();
        self.chores("settling", Kind::Settlement, Terminal::has_batch)?;
        Ok(count as u64)
    }
}

fn cell<T>(of: &[RefCell<T>], index: u32) -> Option<&RefCell<T>> {
    of.get(index as usize)
}

async fn arrive(world: &Rc<World>, rate: u64, begun: Instant, whole: Duration) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut issued, mut shown) = (0u64, 0);
    let all = rate.saturating_mul(u64::try_from(whole.as_micros()).unwrap_or(u64::MAX)) / 1_000_000;
    while issued < all {
        ticks.tick().await;
        let elapsed = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let due = (rate.saturating_mul(elapsed) / 1_000_000).min(all);
        while issued < due {
            let at = begun + Duration::from_micros(issued.saturating_mul(1_000_000) / rate.max(1));
            schedule(world, at);
            issued += 1;
        }
        show(world, begun, whole, &mut shown);
    }
}

fn show(world: &World, begun: Instant, whole: Duration, shown: &mut u64) {
    let second = begun.elapsed().as_secs();
    if second > *shown {
        *shown = second;
        let seconds = world.tally.borrow().answered_in(second.saturating_sub(1));
        let total = whole.as_secs();
        (world.watch)(Progress { phase: "driving", done: second.min(total), total, rate: seconds });
    }
}

/// A payment arrives: a free terminal takes it, or it waits for one.
fn schedule(world: &Rc<World>, at: Instant) {
    let since = at.saturating_duration_since(world.begun.get());
    world.tally.borrow_mut().schedule(since);
    let free = world.free.borrow_mut().pop_front();
    match free {
        Some(index) => pay(world, index, at),
        None => world.backlog.borrow_mut().push_back(at),
    }
}

/// Draws a payment for a terminal and sends it.
fn pay(world: &Rc<World>, index: u32, at: Instant) {
    let Some(terminal) = cell(&world.terminals, index) else { return };
    let mut random = world.random.borrow_mut();
    let kind = terminal.borrow().possible(world.plan.mix.draw(random.draw()));
    let card = (random.draw() % world.shared.cards.len().max(1) as u64) as u32;
    let plain = 100 + random.draw() % 8_800;
    let mut asked = (plain, "00");
    if kind == Kind::Sale && world.plan.faults > 0 && random.draw() % 100 < world.plan.faults {
        let fault = FAULTS.get((random.draw() % FAULTS.len() as u64) as usize);
        asked = fault.map_or(asked, |fault| (fault.tail + 10_000, fault.code));
    }
    drop(random);
    send(world, index, kind, (card, asked.0), asked.1, at);
}

fn next_chore(world: &Rc<World>) {
    let next = world.chores.borrow_mut().pop_front();
    if let Some((index, kind)) = next {
        world.chores_open.set(world.chores_open.get() + 1);
        send(world, index, kind, (0, 0), "00", Instant::now());
    }
}

fn send(world: &Rc<World>, index: u32, kind: Kind, what: (u32, u64), code: &'static str, scheduled: Instant) {
    let Some(terminal) = cell(&world.terminals, index) else { return };
    let mut frame = world.frame.borrow_mut();
    let made = terminal.borrow_mut().compose(
        &world.shared,
        &mut world.draft.borrow_mut(),
        &mut frame,
        kind,
        what,
        code,
        scheduled,
    );
    world.under_way.set(world.under_way.get() + 1);
    if let Err(error) = made {
        drop(frame);
        world.tally.borrow_mut().problem(format!("{}: {error:#}", kind.name()));
        // The terminal takes no further part: trying again would fail again.
        world.under_way.set(world.under_way.get().saturating_sub(1));
        if matches!(*world.phase.borrow(), Phase::Chores) {
            world.chores_open.set(world.chores_open.get().saturating_sub(1));
        }
        return;
    }
    let long = match world.plan.connections {
        Connections::Long => true,
        Connections::Short => false,
        Connections::Mixed => index.is_multiple_of(2),
    };
    let line = cell(&world.lines, index).and_then(|line| line.borrow().clone());
    match line {
        // A socket whose last answer was read has room for a request: this writes all of it.
        Some(line) if line.try_write(&frame).is_ok_and(|written| written == frame.len()) => {}
        Some(_) => {
            drop(frame);
            hang_up(world, index, "the line broke");
        }
        None => {
            let bytes = frame.clone();
            let world = Rc::clone(world);
            spawn_local(async move {
                if let Err(error) = converse(&world, index, bytes, long).await {
                    hang_up(&world, index, &format!("{error:#}"));
                }
            });
        }
    }
}

async fn dial(world: &World, index: u32) -> anyhow::Result<TcpStream> {
    let nodes = &world.plan.nodes;
    let node = nodes.get(index as usize % nodes.len().max(1)).context("no node")?;
    let socket = TcpSocket::new_v4()?;
    if node.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && world.terminals.len() > PER_SOURCE as usize {
        // Each address of the loopback network has ports of its own.
        let source = Ipv4Addr::new(127, 0, 1, (index / PER_SOURCE) as u8);
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((source, 0)))?;
    }
    let stream = socket.connect(*node).await.with_context(|| format!("{node} cannot be reached"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Dials, sends, and hears answers: one, or as long as the line lasts.
async fn converse(world: &Rc<World>, index: u32, bytes: Vec<u8>, long: bool) -> anyhow::Result<()> {
    let mut tried = 0;
    let mut stream = loop {
        match dial(world, index).await {
            Ok(stream) => break stream,
            Err(error) if tried >= DIALS => return Err(error),
            Err(_) => {
                tried += 1;
                tokio::time::sleep(Duration::from_millis(50 << tried)).await;
            }
        }
    };
    stream.write_all(&bytes).await?;
    let mut buffer = Vec::with_capacity(512);
    if !long {
        loop {
            if let Some((used, _)) = frame::split(&buffer, FRAME_MAX)? {
                drop(stream);
                hear(world, index, buffer.get(..used).unwrap_or_default());
                return Ok(());
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                bail!("the node closed the connection");
            }
        }
    }
    let stream = Rc::new(stream);
    if let Some(line) = cell(&world.lines, index) {
        *line.borrow_mut() = Some(Rc::clone(&stream));
    }
    let ended = listen(world, index, &stream, &mut buffer).await;
    let current = cell(&world.lines, index).and_then(|line| line.borrow().clone());
    // Given up already, and perhaps replaced by another line: what became of this one concerns nobody.
    if current.is_some_and(|line| Rc::ptr_eq(&line, &stream)) { ended } else { Ok(()) }
}

/// Hears the answers of a line that is kept, until it ends.
async fn listen(
    world: &Rc<World>,
    index: u32,
    stream: &TcpStream,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    loop {
        stream.readable().await?;
        match stream.try_read_buf(buffer) {
            Ok(0) => bail!("the node closed the connection"),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        while let Some((used, _)) = frame::split(buffer, FRAME_MAX)? {
            hear(world, index, buffer.get(..used).unwrap_or_default());
            buffer.drain(..used);
        }
    }
}

fn hear(world: &Rc<World>, index: u32, frame: &[u8]) {
    let Some(terminal) = cell(&world.terminals, index) else { return };
    let heard = terminal.borrow_mut().hear(&world.shared, frame);
    let now = world.begun.get().elapsed();
    let Some((pending, heard, code)) = heard else {
        world.tally.borrow_mut().problem("an answer to no request".to_owned());
        return;
    };
    let scheduled = pending.scheduled.saturating_duration_since(world.begun.get());
    let mut tally = world.tally.borrow_mut();
    tally.answer(pending.kind, code, scheduled, now, heard == Heard::Refused);
    if let Heard::Wrong(text) = heard {
        tally.problem(text);
    }
    drop(tally);
    follow(world, index, pending.kind, code == *b"00");
}

/// What a terminal does after an answer.
fn follow(world: &Rc<World>, index: u32, kind: Kind, good: bool) {
    let chore = match kind {
        Kind::Settlement if good => Some(Kind::BatchEnd),
        _ => cell(&world.terminals, index).and_then(|terminal| terminal.borrow().chore()),
    };
    if let Some(chore) = chore
        && (good || chore == Kind::Reversal)
    {
        world.under_way.set(world.under_way.get().saturating_sub(1));
        return send(world, index, chore, (0, 0), "00", Instant::now());
    }
    done(world, index);
}

/// The terminal has nothing under way any more.
fn done(world: &Rc<World>, index: u32) {
    world.under_way.set(world.under_way.get().saturating_sub(1));
    let driving = match *world.phase.borrow() {
        Phase::Idle => return,
        Phase::Chores => None,
        Phase::Driving { closed, until } => Some((closed, until)),
    };
    let Some((closed, until)) = driving else {
        world.chores_open.set(world.chores_open.get().saturating_sub(1));
        return next_chore(world);
    };
    let waiting = world.backlog.borrow_mut().pop_front();
    if let Some(at) = waiting {
        return pay(world, index, at);
    }
    world.free.borrow_mut().push_back(index);
    if closed && Instant::now() < until {
        schedule(world, Instant::now());
    }
}

/// The terminal's line is gone, and with it the answer it waited for.
fn hang_up(world: &Rc<World>, index: u32, why: &str) {
    if let Some(line) = cell(&world.lines, index) {
        *line.borrow_mut() = None;
    }
    let lost = cell(&world.terminals, index).and_then(|terminal| terminal.borrow_mut().lost());
    if let Some(pending) = lost {
        let mut tally = world.tally.borrow_mut();
        tally.silent += 1;
        tally.problem(format!("{}: {why}", pending.kind.name()));
        drop(tally);
        // A reversal must be sent; a terminal that cannot even do that waits out the rest of the drive.
        if pending.kind.is_drawn() && matches!(*world.phase.borrow(), Phase::Driving { .. }) {
            return follow(world, index, pending.kind, false);
        }
        done(world, index);
    }
}
