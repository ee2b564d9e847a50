//! Nodes: started as the product starts them, on the world's disk, wires and clock; and their deaths.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acquiring::{Clock, InstitutionId};
use channels::BoxFuture;
use channels::unionpay_card::{LineConfig, UnionPayCard, Wire, Wires};
use engine::{Engine, EngineConfig};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage};
use pos_link::{Link, LinkConfig};
use store::Store;
use store::simulation::{Fate, Pace, Wait};
use tokio::sync::mpsc;

use crate::guarantees::Guarantee;
use crate::network;
use crate::sabotage::Sabotage;
use crate::world::{World, locked, pause};

/// One life of a node.
#[derive(Debug)]
pub struct Life {
    /// The node's place.
    pub place: usize,
    /// Counted from 1.
    pub number: u64,
    alive: AtomicBool,
    /// One of its commits has failed: it must stop, and try nothing again.
    failed: AtomicBool,
}

impl Life {
    /// Whether it does anything any more.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether one of its commits has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Holds a dead node for ever.
    pub async fn or_never(&self) {
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }
}

/// A node that serves.
pub struct Node {
    /// Its life.
    pub life: Arc<Life>,
    /// Its door.
    pub link: Link,
    store: Store,
}

/// Name of the line in the journal.
pub const LINE: &str = "unionpay";

/// The node dies. It is frozen where it stands; what it has not made durable or sent is gone. Another one takes its
/// place after a while.
pub fn die(world: &Arc<World>, life: &Arc<Life>, why: &str) {
    if !life.alive.swap(false, Ordering::Relaxed) {
        return;
    }
    world.deaths.fetch_add(1, Ordering::Relaxed);
    world.note(format!("node {}.{} dies: {why}", life.place, life.number));
    world.set_node(life.place, None);
    world.network.node_died(life.place);
    world.judge(|books| {
        books.node_died(life.place);
        Ok(())
    });
    let world = Arc::clone(world);
    let place = life.place;
    tokio::spawn(async move {
        let after = world.draw("death", |random| random.between(20, 4_000));
        pause(after).await;
        start(world, place).await;
    });
}

/// Lets a node die by lot at this point of its work.
pub fn may_die(world: &Arc<World>, life: &Arc<Life>, why: &str) {
    let weather = world.weather();
    let may = weather.dies > 0 && world.deaths.load(Ordering::Relaxed) < weather.deaths_max;
    if may && world.draw("death", |random| random.happens(weather.dies)) {
        die(world, life, why);
    }
}

fn config(place: usize) -> EngineConfig {
    EngineConfig {
        node: format!("node {place}"),
        takeover_margin: Duration::from_secs(5),
        network_patience: Duration::from_secs(10),
        forward_pause: Duration::from_millis(500),
        forward_pause_max: Duration::from_secs(10),
        forward_refusals_max: 4,
        forward_silences_max: 4,
        forward_window: 3,
        refresh: Duration::from_secs(10),
        ..EngineConfig::new(InstitutionId::new("48029999").expect("an id"))
    }
}

/// Starts a node at a place, on whatever the disk has.
pub async fn start(world: Arc<World>, place: usize) {
    let number = locked(&world.lives).get(&place).map_or(1, |life| life.number + 1);
    let life = Arc::new(Life { place, number, alive: AtomicBool::new(true), failed: AtomicBool::new(false) });
    locked(&world.lives).insert(place, Arc::clone(&life));
    world.note(format!("node {place}.{number} starts"));
    lose_an_approval(&world);
    let states = world.disk.rows("SELECT id, state FROM payment").expect("the auditor reads");
    world.judge(|books| books.restarted(&states));
    let clock: Arc<dyn Clock> = world.clock.clone();
    let pace = Arc::new(NodePace { world: Arc::clone(&world), life: Arc::clone(&life) });
    let store = world.disk.open(Arc::clone(&clock), pace, 256, 64, world.nodes > 1);
    let hsm: Arc<dyn Hsm> = world.vault.clone();
    let (unsolicited, unexpected) = mpsc::channel(256);
    let components = sim::LAB_ZMK_COMPONENTS.map(|text| KeyComponent::from_hex(text).expect("a component"));
    let zmk = hsm
        .import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &components)
        .expect("the laboratory's key");
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let id = |text| InstitutionId::new(text).expect("an id");
    let line = LineConfig {
        name: LINE.to_owned(),
        ..LineConfig::new("network".to_owned(), address, id("48029999"), id("00010000"), zmk)
    };
    let wires = Arc::new(NodeWires { world: Arc::clone(&world), life: Arc::clone(&life) });
    let channel = UnionPayCard::start_over(wires, line, Arc::clone(&hsm), Arc::clone(&clock), unsolicited);
    tokio::spawn(stop_when_failed(Arc::clone(&world), Arc::clone(&life), store.clone()));
    let engine = Engine::start(config(place), store.clone(), hsm, clock, channel, unexpected).await;
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return die(&world, &life, &format!("it cannot start: {error}")),
    };
    if life.is_alive() {
        let link = Link::new(engine, LinkConfig::new());
        world.note(format!("node {place}.{number} serves"));
        world.set_node(place, Some(Arc::new(Node { life, link, store })));
    }
}

/// As the product does: a failed commit stops the node, after whatever time that takes.
async fn stop_when_failed(world: Arc<World>, life: Arc<Life>, store: Store) {
    store.failed().await;
    let after = world.draw("death", |random| random.below(50));
    pause(after).await;
    die(&world, &life, "a commit failed");
}

/// An operator looks at what is parked every now and then, in any weather: what stands still while nobody looks would
/// keep a terminal that has an open refund waiting for ever.
pub async fn operator(world: Arc<World>) {
    while !world.is_over() {
        pause(world.draw("operator", |random| random.between(30_000, 600_000))).await;
        release_parked(&world).await;
    }
}

/// The operator puts back what has been parked longest; which that was.
pub async fn release_parked(world: &Arc<World>) -> Option<i64> {
    let parked = world.books(|books| {
        books.queue.iter().find(|(_, queued)| queued.status == "parked").map(|(sequence, _)| *sequence)
    });
    let (Some(sequence), Some(node)) = (parked, world.any_node()) else { return None };
    world.note(format!("the operator releases {sequence}"));
    // A node that dies at it says nothing any more; the operator comes again and asks another.
    let _ = tokio::time::timeout(Duration::from_secs(60), node.store.release_forward(LINE, sequence)).await;
    Some(sequence)
}

/// The disk under a node.
struct NodePace {
    world: Arc<World>,
    life: Arc<Life>,
}

impl Pace for NodePace {
    fn before_commit(&self, _: usize) -> Wait<'_, Fate> {
        Box::pin(async move {
            self.life.or_never().await;
            if self.world.is_sabotaged_by(Sabotage::LeaseIgnored) {
                self.world.disk.run("DELETE FROM forward_lease").expect("the saboteur writes");
            }
            let weather = self.world.weather();
            pause(self.world.draw("disk", |random| random.below(weather.disk_ms + 1))).await;
            may_die(&self.world, &self.life, "before a commit");
            self.life.or_never().await;
            if self.life.failed.load(Ordering::Relaxed) {
                self.world.broken(Guarantee::G7, "a node commits after a failed commit".to_owned());
            }
            if self.world.is_sabotaged_by(Sabotage::SendBeforeBegin)
                && self.world.draw("sabotage", |random| random.below(8) == 0)
            {
                return Fate::Pretend;
            }
            let may_fail = self.world.deaths.load(Ordering::Relaxed) < weather.deaths_max;
            let fate =
                self.world.draw("disk", |random| match may_fail && random.happens(weather.commit_fails) {
                    false => Fate::Commit,
                    true if random.below(2) == 0 => Fate::FailWith,
                    true => Fate::FailWithout,
                });
            if fate != Fate::Commit {
                self.world.note(format!("the disk fails: {fate:?}"));
                self.life.failed.store(true, Ordering::Relaxed);
            }
            fate
        })
    }

    fn after_commit(&self) -> Wait<'_, ()> {
        Box::pin(async move {
            self.world.audit();
            sabotage(&self.world);
            may_die(&self.world, &self.life, "after a commit");
            self.life.or_never().await;
            let weather = self.world.weather();
            pause(self.world.draw("disk", |random| random.below(weather.disk_ms + 1))).await;
            self.life.or_never().await;
        })
    }

    fn before_read(&self) -> Wait<'_, ()> {
        Box::pin(self.may_stall())
    }

    fn after_read(&self) -> Wait<'_, ()> {
        Box::pin(self.may_stall())
    }
}

impl NodePace {
    /// Stands still for a while by lot, as a process does that is stopped, or that waits for its database.
    async fn may_stall(&self) {
        self.life.or_never().await;
        let stalls = self.world.weather().stalls;
        if stalls > 0 && self.world.draw("stall", |random| random.happens(stalls)) {
            let ms = self.world.draw("stall", |random| random.between(100, 60_000));
            self.world.note(format!("node {}.{} stalls for {ms} ms", self.life.place, self.life.number));
            pause(ms).await;
            self.life.or_never().await;
        }
    }
}

/// The wires of a node's line.
struct NodeWires {
    world: Arc<World>,
    life: Arc<Life>,
}

impl Wires for NodeWires {
    fn dial(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Wire>>> {
        Box::pin(async move {
            self.life.or_never().await;
            pause(self.world.draw("wire", |random| random.between(1, 40))).await;
            self.life.or_never().await;
            if network::is_refusing(&self.world) {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(network::take_line(&self.world, &self.life)) as Box<dyn Wire>)
        })
    }

    fn accept(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Wire>>> {
        Box::pin(async move {
            self.life.or_never().await;
            pause(self.world.draw("wire", |random| random.between(1, 40))).await;
            self.life.or_never().await;
            Ok(Box::new(network::call_member(&self.world, &self.life)) as Box<dyn Wire>)
        })
    }
}

/// Breaks the disk's contents, for a sabotage of that kind.
fn sabotage(world: &Arc<World>) {
    let Some(what) = world.options.sabotage else { return };
    let one = |sql: &str| world.disk.rows(sql).expect("the saboteur reads").first().cloned();
    let run = |sql: String| {
        world.disk.run(&sql).expect("the saboteur writes");
        world.audit();
    };
    match what {
        Sabotage::LateAnswerFlips => {
            if let Some(row) = one("SELECT id FROM payment WHERE state = 'reversed' LIMIT 1") {
                run(format!("UPDATE payment SET state = 'approved' WHERE id = {}", row[0].int()));
            }
        }
        Sabotage::UnknownIsForgotten => {
            let found = one(
                "SELECT sequence, payment FROM forward WHERE status = 'waiting' AND action = 'reversal' LIMIT 1",
            );
            if let Some(row) = found {
                // Quietly, as code that forgets would: what is reversed without the network having heard of it.
                run(format!(
                    "UPDATE payment SET state = 'reversed' WHERE id = {} AND state = 'reversing'",
                    row[1].int()
                ));
            }
        }
        Sabotage::TaskPanics if world.sabotages(what) => {
            tokio::spawn(async { panic!("a saboteur's") });
        }
        Sabotage::ForwardDropped => {
            if let Some(row) =
                one("SELECT sequence FROM forward WHERE status = 'waiting' AND attempts = 0 LIMIT 1")
            {
                run(format!("UPDATE forward SET status = 'done' WHERE sequence = {}", row[0].int()));
            }
        }
        Sabotage::ForwardDeleted => {
            if let Some(row) = one("SELECT sequence FROM forward WHERE status = 'waiting' LIMIT 1") {
                run(format!("DELETE FROM forward WHERE sequence = {}", row[0].int()));
            }
        }
        Sabotage::ForwardOutOfOrder => {
            // The first of a family is hidden from the node for as long as another waits behind it.
            let rows = world.disk.rows(
                "SELECT sequence FROM forward f WHERE done_at IS NULL AND \
                 (SELECT COUNT(*) FROM forward e WHERE e.family = f.family AND e.done_at IS NULL) > 1 \
                 ORDER BY family, sequence LIMIT 2",
            );
            if let [first, _] = rows.expect("the saboteur reads").as_slice() {
                let sequence = first[0].int();
                world
                    .disk
                    .run(&format!("UPDATE forward SET status = 'hidden' WHERE sequence = {sequence}"))
                    .expect("hidden");
                world.disk.run(crate::guarantees::FORGET).expect("unseen");
            }
        }
        Sabotage::FenMissing => {
            if let Some(row) = one("SELECT id FROM payment WHERE state = 'approved' AND amount > 0 LIMIT 1") {
                run(format!("UPDATE payment SET amount = amount - 1 WHERE id = {}", row[0].int()));
            }
        }
        Sabotage::NumberTwice => {
            let rows = world.disk.rows("SELECT id, rrn FROM payment ORDER BY id DESC LIMIT 2");
            if let [last, before] = rows.expect("the saboteur reads").as_slice() {
                run(format!("UPDATE payment SET rrn = '{}' WHERE id = {}", before[1].text(), last[0].int()));
            }
        }
        _ => {}
    }
}

/// The last approval is gone after a restart, for a sabotage of that kind.
fn lose_an_approval(world: &World) {
    if world.is_sabotaged_by(Sabotage::ApprovalLost) {
        let sql = "UPDATE payment SET state = 'pending', answer_code = NULL \
             WHERE id = (SELECT MAX(id) FROM payment WHERE state = 'approved')";
        world.disk.run(sql).expect("the saboteur writes");
        world.disk.run(crate::guarantees::FORGET).expect("unseen");
    }
}

/// Breaks what is only looked at in the end.
pub fn sabotage_books(world: &Arc<World>) {
    if world.sabotages(Sabotage::BlockForgotten) {
        world.disk.run("DELETE FROM number_block WHERE first = 1").expect("the saboteur writes");
    }
}
