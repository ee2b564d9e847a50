//! Several nodes on one PostgreSQL store: what one node has under way the others leave alone, what it leaves behind
//! when it dies they take up, and no reversal is sent by two of them. Each node is an engine with a store and a
//! network of its own, as in another process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code)] // this program uses its part of the stage
mod common;
#[path = "../../store/tests/common/server.rs"]
mod server;

use std::sync::Arc;

use acquiring::PaymentState;
use acquiring::kind::Kind;
use common::{Act, Stage, request};
use hsm::SoftVault;
use store::{Store, StoreOptions};
use tokio::sync::oneshot;

async fn node(url: &str, vault: &Arc<SoftVault>, fresh: bool) -> Stage {
    let store = Store::open_url(url, StoreOptions::new("")).unwrap();
    Stage::over(store, tempfile::tempdir().unwrap(), Arc::clone(vault), fresh).await
}

/// A node starts while another has a payment under way: the payment keeps its outcome and is not reversed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_leaves_the_payments_of_the_others_alone() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    first.sign_in().await;
    let (answer, told) = oneshot::channel();
    first.script.expect([Act::When(told)]);
    let auth = first.authenticate(Kind::Sale).unwrap();
    let paying = tokio::spawn({
        let engine = first.engine.clone();
        async move { engine.pay(auth, request(1, 10_000)).await }
    });
    first.script.until_seen(1).await;
    let second = node(&url, &vault, false).await;
    assert_eq!(second.state(1).await, PaymentState::Pending);
    answer.send("00").unwrap();
    paying.await.unwrap().unwrap();
    assert_eq!(second.state(1).await, PaymentState::Approved);
    assert!(second.script.seen().is_empty(), "the second node sent nothing");
}

/// A node dies with a payment under way: another one reverses it, once, after the time that an answer can take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_left_open_is_reversed_by_another() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    first.sign_in().await;
    let second = node(&url, &vault, false).await;
    let (_answer, told) = oneshot::channel();
    first.script.expect([Act::When(told)]);
    let auth = first.authenticate(Kind::Sale).unwrap();
    let paying = tokio::spawn({
        let engine = first.engine.clone();
        async move { engine.pay(auth, request(1, 10_000)).await }
    });
    first.script.until_seen(1).await;
    second.script.expect([Act::Code("00")]);
    // Its store is gone, as with its process: nothing that it learns later becomes durable.
    first.store.clone().close().await;
    second.until(1, PaymentState::Reversed).await;
    let seen = second.script.seen();
    assert_eq!((seen.len(), seen[0].what), (1, "reversal"));
    assert!(paying.await.unwrap().is_err(), "the dead node answers nothing");
}

/// Both nodes see the same queue, and both have reversals to send: each leaves once, from one node or the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reversal_is_sent_by_two_nodes() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    first.sign_in().await;
    let second = node(&url, &vault, false).await;
    first.script.expect((0..12).map(|_| Act::Code("00")));
    for trace in 1..=12 {
        first.pay(Kind::Sale, request(trace, 10_000)).await;
    }
    for node in [&first, &second] {
        node.script.set_ready(false);
        // As many as there are: what is left of them is what the other node sent.
        node.script.expect((0..12).map(|_| Act::Code("00")));
    }
    // Both queue reversals, so that both are awake and wait for their lines with the same item in hand.
    for trace in 1..=12 {
        [&first, &second][usize::from(trace % 2 == 0)].reverse(trace, 10_000).await;
    }
    for node in [&first, &second] {
        node.script.set_ready(true);
    }
    for trace in 1..=12 {
        first.until(trace, PaymentState::Reversed).await;
    }
    let mut reversals: Vec<u32> = [&first, &second]
        .iter()
        .flat_map(|node| node.script.seen())
        .filter(|seen| seen.what == "reversal")
        .map(|seen| seen.trace)
        .collect();
    assert_eq!(reversals.len(), 12);
    reversals.sort_unstable();
    reversals.dedup();
    assert_eq!(reversals.len(), 12, "each once");
}
