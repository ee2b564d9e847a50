//! A node killed with SIGKILL under mixed traffic loses no payment and doubles none.
//!
//! The scenario: a simulated network as a process with its own books, a node as a process, terminals with chip
//! and stripe cards, voids, refunds, declines, a network that loses and delays messages, and lines that break.
//! The node is killed at random moments and started again. It matters because a crash is the one moment at which
//! memory, journal and network may disagree: an approval that nobody here knows is money taken without a sale.
//!
//! The short version runs here; `scripts/kill-test` runs as many kills as one likes against the release build.
//! The environment may name the seed (KILL_TEST_SEED).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod killing;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[test]
fn g7_a_killed_node_loses_no_payment_and_doubles_none() {
    perform(killing::Engine::Sqlite, false);
}

/// Two nodes on one database: one is killed while the other serves, or both, or the database server; the terminals
/// go to whichever node answers.
#[test]
fn killed_nodes_on_one_database_lose_no_payment_and_double_none() {
    perform(killing::Engine::Postgres, false);
}

/// The same two nodes behind one internet front: the terminals know nothing but its address, each posts its frames over
/// HTTPS with a certificate of its own, and the front spreads them. A node dies under requests that the front has given
/// it, or the front itself with every connection that it holds. Nothing of that may lose a payment or double one: what
/// may have left for one node is never given to the other, and the terminal's reversal finds whichever node is there.
#[test]
fn killed_nodes_behind_one_front_lose_no_payment_and_double_none() {
    perform(killing::Engine::Postgres, true);
}

/// One run at a time: the processes of two would take each other's ports while one of them is dead.
static RUN: Mutex<()> = Mutex::new(());

fn perform(store: killing::Engine, front: bool) {
    let _alone = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = std::env::var("KILL_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let options = killing::Options {
        posp: env!("CARGO_BIN_EXE_posp").into(),
        seed,
        kills: 6,
        terminals: if front { 6 } else { 4 },
        between: Duration::from_millis(1_500),
        store,
        faults: false,
        front,
    };
    let report = killing::run(&options, &|_| {}).unwrap();
    let kept = report.kept.map_or(String::new(), |kept| format!("\nkept in {}", kept.display()));
    assert!(report.passed, "{}{kept}", report.lines.join("\n"));
}
