//! The network's side of the lines: the desk of the simulated network behind wires that lose, delay, double, hang and
//! drop. The desk decides, from its own books; only what it is told and when is chosen here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hsm::SoftVault;
use iso8583::frame::{self, CUPS_HEARTBEAT, CupsFrame};
use iso8583::{CUPS, Message};
use sim::SimConfig;
use sim::crypto::Vault;
use sim::faults::{Fault, FaultBoard, FaultRule, FaultSettings, Span};
use sim::keys::ZoneKey;
use sim::network::{Event, Network as Desk};
use sim::service::{Core, Service};
use sim::time::{Clock, SettleDate};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::clock::VirtualClock;
use crate::guarantees::{Leaving, NetworkLine};
use crate::node::{self, Life};
use crate::sabotage::Sabotage;
use crate::wire::{FarEnd, NodeEnd, connection};
use crate::world::{World, locked, pause};

/// Largest frame.
const FRAME_MAX: usize = 4_096;
/// How long the network waits for the answer to a message of its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ways to the nodes, by place.
#[derive(Default)]
struct Ways {
    /// Answers go over the line that the node dialled, and over the next one when that is gone.
    answers: BTreeMap<usize, (u64, mpsc::Sender<Vec<u8>>)>,
    /// The network's own messages.
    own: BTreeMap<usize, (u64, mpsc::Sender<Vec<u8>>)>,
    waiting: BTreeMap<u64, mpsc::Sender<String>>,
    /// A line hangs until then, milliseconds of the world.
    hanging_until: u64,
    connections: u64,
}

/// What the network's side keeps besides its books.
pub struct Network {
    ways: Mutex<Ways>,
    trace: AtomicU32,
    cryptograms: AtomicU32,
    resetting: tokio::sync::Mutex<()>,
}

impl Network {
    /// No line yet.
    pub fn new() -> Self {
        Network {
            ways: Mutex::default(),
            trace: AtomicU32::new(0),
            cryptograms: AtomicU32::new(0),
            resetting: tokio::sync::Mutex::default(),
        }
    }

    /// The counter of the one chip, which goes from shop to shop.
    pub fn next_cryptogram(&self) -> u16 {
        u16::try_from(self.cryptograms.fetch_add(1, Ordering::Relaxed) + 1).unwrap_or(u16::MAX)
    }

    /// A node's lines end.
    pub fn node_died(&self, place: usize) {
        let mut ways = locked(&self.ways);
        ways.answers.remove(&place);
        ways.own.remove(&place);
    }

    /// Nothing hangs any more.
    pub fn heal(&self) {
        locked(&self.ways).hanging_until = 0;
    }

    fn answer_way(&self, place: usize) -> Option<mpsc::Sender<Vec<u8>>> {
        locked(&self.ways).answers.get(&place).map(|(_, way)| way.clone())
    }

    fn connect(&self, place: usize, own: bool, way: mpsc::Sender<Vec<u8>>) -> u64 {
        let mut ways = locked(&self.ways);
        ways.connections += 1;
        let number = ways.connections;
        let at = if own { &mut ways.own } else { &mut ways.answers };
        at.insert(place, (number, way));
        number
    }

    /// Ends a connection, if it is still the place's.
    fn hang_up(&self, place: usize, own: bool, number: u64) {
        let mut ways = locked(&self.ways);
        let at = if own { &mut ways.own } else { &mut ways.answers };
        if at.get(&place).is_some_and(|(at, _)| *at == number) {
            at.remove(&place);
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

/// The cards of a simulated world: one that pays anything, one with a limit, one that pays twice a day; credit cards, so
/// that no PIN is asked for. The last has a chip and wants its PIN.
pub const CARDS: [(&str, &str); 4] = [
    ("6224242000000120", "6224242000000120D29121010000000123"),
    ("6224242000000161", "6224242000000161D29121010000000123"),
    ("6224242000000179", "6224242000000179D29121010000000123"),
    ("6224242000000153", "6224242000000153D29121010000000123"),
];

/// Place of the card with a PIN and a chip.
pub const PIN_CARD: usize = 3;
/// Its PIN.
pub const PIN: &str = "123456";
/// Its sequence number.
pub const PIN_SEQUENCE: u8 = 1;

/// The desk of the network, with its own vault, cards and books.
pub fn desk(clock: Arc<VirtualClock>) -> Arc<Service> {
    let mut config = SimConfig {
        faults: FaultSettings { by_amount: false, ..FaultSettings::default() },
        ..SimConfig::default()
    };
    config.cards.retain(|card| CARDS.iter().any(|(pan, _)| card.pan.expose() == *pan));
    for card in &mut config.cards {
        card.product = sim::deck::Product::Credit;
        card.limit = 100_000_000_000;
        card.status = sim::deck::Status::Normal;
        if card.pan.expose() != CARDS[PIN_CARD].0 {
            card.pin = None;
        }
    }
    let now = Clock::now(clock.as_ref());
    let network = Desk::new(config.cards.clone(), config.policy.clone(), SettleDate::of(now), now);
    let faults = FaultBoard::new(config.faults.clone());
    let vault =
        Vault::open(Arc::new(SoftVault::ephemeral().expect("a vault")), &config).expect("the desk's vault");
    Arc::new(Service::new(config, vault, clock, Core { network, faults, books: None }))
}

/// Whether a new connection is refused.
pub fn is_refusing(world: &World) -> bool {
    let weather = world.weather();
    world.draw("wire", |random| random.happens(weather.dial_refused))
}

/// A node has dialled: its end of the line.
pub fn take_line(world: &Arc<World>, life: &Arc<Life>) -> NodeEnd {
    let (tap_world, tap_life) = (Arc::clone(world), Arc::clone(life));
    let (node, far) = connection(Arc::new(move |bytes| {
        tap_life.is_alive() && {
            leaves(&tap_world, tap_life.place, bytes);
            true
        }
    }));
    let number = world.network.connect(life.place, false, far.to_node.clone());
    world.note(format!("line {number} of node {}.{} is up", life.place, life.number));
    tokio::spawn(serve_line(Arc::clone(world), Arc::clone(life), far, number));
    node
}

fn leaves(world: &World, place: usize, bytes: &[u8]) {
    for payload in messages(bytes) {
        let Ok((_, body)) = frame::parse_cups(&payload) else { continue };
        let Ok(message) = CUPS.parse(body) else { continue };
        let Some(leaving) = leaving(&message, place) else { continue };
        world.note(format!("leaves {leaving:?}"));
        world.judge(|books| books.leaves(leaving));
        if world.is_sabotaged_by(Sabotage::RequestTwice) && leaving.mti == 200 {
            world.judge(|books| books.leaves(leaving));
        }
    }
}

fn leaving(message: &Message<'_>, node: usize) -> Option<Leaving> {
    let number = |field| message.number(field).and_then(|number| i64::try_from(number).ok());
    let mti = message.mti().value();
    (mti < 800).then(|| Leaving {
        mti,
        trace: number(11).unwrap_or(0),
        transmission: number(7).unwrap_or(0),
        amount: number(4).unwrap_or(0),
        node,
    })
}

/// The whole messages of a write; the line writes whole frames.
fn messages(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut used = 0;
    let mut found = Vec::new();
    while let Ok(Some((size, frame))) = frame::split_cups(&bytes[used..], FRAME_MAX) {
        if let CupsFrame::Message(payload) = frame {
            found.push(payload.to_vec());
        }
        used += size;
    }
    found
}

async fn serve_line(world: Arc<World>, life: Arc<Life>, mut far: FarEnd, number: u64) {
    loop {
        let bytes = match timeout(Duration::from_secs(30), far.from_node.recv()).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(_) => {
                if !is_hanging(&world) && far.to_node.try_send(CUPS_HEARTBEAT.to_vec()).is_err() {
                    break;
                }
                continue;
            }
        };
        if !life.is_alive() {
            break;
        }
        let weather = world.weather();
        for payload in messages(&bytes) {
            if world.draw("wire", |random| random.happens(weather.line_drops)) {
                world.note(format!("line {number} drops"));
                world.network.hang_up(life.place, false, number);
                return;
            }
            if world.draw("wire", |random| random.happens(weather.line_hangs)) {
                let until =
                    world.clock.elapsed_ms() + world.draw("wire", |random| random.between(10_000, 150_000));
                locked(&world.network.ways).hanging_until = until;
                world.note(format!("the network hangs until {until}"));
            }
            arrive(&world, &life, payload);
            node::may_die(&world, &life, "after a message left");
        }
    }
    world.network.hang_up(life.place, false, number);
}

fn is_hanging(world: &World) -> bool {
    world.clock.elapsed_ms() < locked(&world.network.ways).hanging_until
}

/// A message has come to the network: now, later, twice or never.
fn arrive(world: &Arc<World>, life: &Arc<Life>, payload: Vec<u8>) {
    let weather = world.weather();
    let management = class(&payload) / 100 == 8;
    if is_hanging(world) {
        return;
    }
    let (lost, late, doubled) = world.draw("network", |random| {
        (
            random.happens(weather.network_lost),
            random.happens(weather.network_late),
            !management && random.happens(weather.network_doubled),
        )
    });
    if lost {
        return world.note("the network loses a message");
    }
    for _ in 0..=usize::from(doubled) {
        let delay = world.draw("network", |random| {
            random.between(1, 60) + if late { random.below(weather.late_ms) } else { 0 }
        });
        let (world, life, payload) = (Arc::clone(world), Arc::clone(life), payload.clone());
        tokio::spawn(async move {
            pause(delay).await;
            process(&world, &life, &payload);
        });
    }
}

/// Type of a message without the mark of a repeat; 0 for what does not read.
fn class(payload: &[u8]) -> u16 {
    let Ok((_, body)) = frame::parse_cups(payload) else { return 0 };
    CUPS.parse(body).map_or(0, |message| message.mti().value() / 10 * 10)
}

/// The desk takes a message and its answer goes back: now, later, twice or never.
fn process(world: &Arc<World>, life: &Arc<Life>, payload: &[u8]) {
    let weather = world.weather();
    // An advice is answered as the first time however often it comes: refused once it is refused for ever. A reversal
    // that is refused goes out again as a new message.
    let refused = match class(payload) {
        420 if world.is_sabotaged_by(Sabotage::ReversalNeverTaken) => Some("30"),
        420 => world
            .draw("network", |random| random.happens((weather.network_refuses * 4).min(7_000)))
            .then_some("96"),
        100 | 200 => world.draw("network", |random| random.happens(weather.network_refuses)).then_some("96"),
        _ => None,
    };
    if let Some(code) = refused {
        let rule =
            FaultRule { fault: Fault::Decline(code.to_owned()), span: Span::Next(1), classes: Vec::new() };
        world.service.core().faults = FaultBoard::new(FaultSettings {
            by_amount: false,
            rules: vec![rule],
            ..FaultSettings::default()
        });
    }
    let handling = world.service.take(payload);
    if refused.is_some() {
        world.service.core().faults =
            FaultBoard::new(FaultSettings { by_amount: false, ..FaultSettings::default() });
    }
    if handling.key_reset {
        let (world, place) = (Arc::clone(world), life.place);
        tokio::spawn(async move { reset_keys(&world, place).await });
    }
    for answer in handling.send {
        let Some(payload) = messages(&answer).pop() else { continue };
        if let Some((mti, trace, code)) = outcome(&payload) {
            world.note(format!("the network answers {mti:04} {trace} {code}"));
            world.judge(|books| {
                books.network_answered(mti, trace, &code);
                Ok(())
            });
        }
        let (lost, late, doubled) = world.draw("network", |random| {
            (
                random.happens(weather.answer_lost),
                random.happens(weather.answer_late),
                random.happens(weather.answer_doubled),
            )
        });
        if lost {
            world.note("the network's answer is lost");
            continue;
        }
        for _ in 0..=usize::from(doubled) {
            let delay = world.draw("network", |random| {
                random.between(1, 60) + if late { random.below(weather.late_ms) } else { 0 }
            });
            let (world, place, answer) = (Arc::clone(world), life.place, answer.clone());
            tokio::spawn(async move {
                pause(delay).await;
                if is_hanging(&world) {
                    return;
                }
                if let Some(way) = world.network.answer_way(place) {
                    let _ = way.try_send(answer);
                }
            });
        }
    }
}

/// Type of the request, field 11 and field 39 of a financial answer.
fn outcome(payload: &[u8]) -> Option<(u16, i64, String)> {
    let (_, body) = frame::parse_cups(payload).ok()?;
    let message = CUPS.parse(body).ok()?;
    let mti = message.mti().value();
    let trace = i64::try_from(message.number(11)?).ok()?;
    (mti < 800).then_some((mti.saturating_sub(10), trace, message.text(39)?.to_owned()))
}

/// The network calls a node, for what it begins itself: the node's end.
pub fn call_member(world: &Arc<World>, life: &Arc<Life>) -> NodeEnd {
    let tap_life = Arc::clone(life);
    let (node, mut far) = connection(Arc::new(move |_| tap_life.is_alive()));
    let number = world.network.connect(life.place, true, far.to_node.clone());
    let (world, life) = (Arc::clone(world), Arc::clone(life));
    tokio::spawn(async move {
        while let Some(bytes) = far.from_node.recv().await {
            for payload in messages(&bytes) {
                take_own_answer(&world, &payload);
            }
        }
        world.network.hang_up(life.place, true, number);
    });
    node
}

fn take_own_answer(world: &World, payload: &[u8]) {
    let Ok((_, body)) = frame::parse_cups(payload) else { return };
    let Ok(message) = CUPS.parse(body) else { return };
    let Some(trace) = message.number(11) else { return };
    let code = message.text(39).unwrap_or_default().to_owned();
    if let Some(waiter) = locked(&world.network.ways).waiting.get(&trace) {
        let _ = waiter.try_send(code);
    }
}

/// Gives the member a new MAC key and a new PIN key, as the network does when it is asked: at every listener that is up,
/// since its nodes share the keys. What one of them has taken is in force.
async fn reset_keys(world: &Arc<World>, place: usize) {
    let _one_at_a_time = world.network.resetting.lock().await;
    for which in [ZoneKey::Mac, ZoneKey::Pin] {
        let trace = world.network.trace.fetch_add(1, Ordering::Relaxed) % 999_999 + 1;
        let Ok(frame) = world.service.key_reset(which, trace) else { return };
        let weather = world.weather();
        let (tell, mut told) = mpsc::channel(8);
        let ways: Vec<_> = {
            let mut ways = locked(&world.network.ways);
            ways.waiting.insert(u64::from(trace), tell);
            ways.own.values().map(|(_, way)| way.clone()).collect()
        };
        for way in &ways {
            let lost = world.draw("keys", |random| random.happens(weather.key_lost)) || is_hanging(world);
            if !lost {
                let _ = way.try_send(frame.clone());
            }
        }
        let mut taken = 0;
        let all = async {
            while taken < ways.len() {
                match told.recv().await {
                    Some(code) if code == "00" => taken += 1,
                    _ => return,
                }
            }
        };
        let _ = timeout(PATIENCE, all).await;
        locked(&world.network.ways).waiting.remove(&u64::from(trace));
        world.note(format!("{} asked by node {place}: taken by {taken} of {}", which.name(), ways.len()));
        let until = Clock::now(world.clock.as_ref()).after_ms(60_000);
        let mut zone = world.service.zone();
        if taken == 0 {
            zone.slot(which).withdraw();
            return;
        }
        zone.slot(which).confirm(until);
    }
}

/// The network's record: what it has of each request, what its books add up to, and what it owes for all days.
pub fn record(service: &Service) -> (Vec<NetworkLine>, i64, i64) {
    let core = service.core();
    let network = &core.network;
    let lines = sim::record::lines(network, 0, usize::MAX)
        .into_iter()
        .filter(|line| !matches!(line.mti.as_bytes().get(1), Some(b'4' | b'6' | b'8')) && line.amount > 0)
        .map(|line| NetworkLine {
            key: (i64::from(line.trace), line.transmission.parse().unwrap_or(0)),
            stands: !matches!(line.state, sim::FinalState::Declined | sim::FinalState::Reversed),
            voided: line.state == sim::FinalState::Voided,
            amount: i64::try_from(line.amount).unwrap_or(0),
        })
        .collect();
    let owed = sim::record::totals(network).values().map(|day| day.net).sum();
    (lines, network.ledger().trial_balance(), owed)
}

/// The network gets more than the journal has, for a sabotage of that kind.
pub fn sabotage(world: &World) {
    if !world.is_sabotaged_by(Sabotage::NetworkHasMore) {
        return;
    }
    let now = Clock::now(world.clock.as_ref());
    let mut core = world.service.core();
    let again = core.network.txns().iter().find(|txn| txn.request.mti == 200).map(|txn| txn.request.clone());
    if let Some(mut request) = again {
        request.key.trace += 500_000;
        request.processing = 0;
        request.original = None;
        let _ = core.happen(&Event::Request(Box::new(request)), now);
    }
}
