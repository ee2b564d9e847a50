//! Several nodes on one PostgreSQL store: what one node has under way the others leave alone, what it leaves behind
//! when it dies they take up, and no reversal is sent by two of them. Each node is an engine with a store and a
//! network of its own, as in another process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "../../store/tests/common/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::{BatchNo, PaymentState, ResponseCode};
use common::{Act, Stage, merchant, request, terminal};
use engine::directory::LiveKeys;
use engine::{Authenticated, MacClaim, Rejected, TerminalMessage};
use hsm::{Hsm, KeyAlgorithm, KeyBlobLayout, KeyUsage, MacAlgorithm, SoftVault};
use store::{Store, StoreOptions};
use tokio::sync::oneshot;

async fn node(url: &str, vault: &Arc<SoftVault>, fresh: bool) -> Stage {
    let store = Store::open_url(url, StoreOptions::new("")).unwrap();
    Stage::over([], store, tempfile::tempdir().unwrap(), Arc::clone(vault), fresh).await
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
    let auth = first.authenticate(Kind::Sale).await.unwrap();
    let paying = tokio::spawn({
        let engine = first.engine.clone();
        async move { engine.pay(auth, request(1, 10_000), None).await }
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
    let (answer, told) = oneshot::channel();
    first.script.expect([Act::When(told)]);
    let auth = first.authenticate(Kind::Sale).await.unwrap();
    let paying = tokio::spawn({
        let engine = first.engine.clone();
        async move { engine.pay(auth, request(1, 10_000), None).await }
    });
    first.script.until_seen(1).await;
    second.script.expect([Act::Code("00")]);
    // Its store is gone, as with its process: nothing that it learns later becomes durable.
    first.store.clone().close().await;
    second.until(1, PaymentState::Reversed).await;
    let seen = second.script.seen();
    assert_eq!((seen.len(), seen[0].what), (1, "reversal"));
    // Nobody answers the dead node any more.
    drop(answer);
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

/// The keys that a terminal holds.
fn held_by(node: &Stage) -> Arc<LiveKeys> {
    node.engine.identify(merchant(), terminal()).unwrap().session().keys.unwrap()
}

/// What a node says of a message of this batch signed with these keys.
async fn knows(node: &Stage, keys: &LiveKeys, batch: BatchNo) -> Result<(), ResponseCode> {
    let rejected = asks(node, keys, batch).await.map(|_| ());
    rejected.map_err(|rejected| rejected.refusal().expect("the store can be read").code)
}

/// Two nodes on a store of their own, and the keys of a terminal that has signed in at the first and is known at both.
async fn both_know() -> (Stage, Stage, Arc<LiveKeys>, Arc<SoftVault>) {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    let second = node(&url, &vault, false).await;
    first.sign_in().await;
    let keys = held_by(&first);
    assert_eq!(knows(&second, &keys, BatchNo::FIRST).await, Ok(()));
    (first, second, keys, vault)
}

/// A sale of this batch signed with these keys.
async fn asks(node: &Stage, keys: &LiveKeys, batch: BatchNo) -> Result<Authenticated, Rejected> {
    let value = node.vault.mac(&keys.mac, MacAlgorithm::CupEcb, b"block").unwrap();
    let message = TerminalMessage {
        spec: Kind::Sale.spec(),
        merchant: merchant(),
        terminal: terminal(),
        batch: Some(batch),
        mac: Some(MacClaim { block: b"block", value: &value }),
        mac_algorithm: MacAlgorithm::CupEcb,
    };
    node.engine.authenticate(&message).await
}

/// A terminal goes from node to node as it likes: signed in at one, it pays at the other in the same moment; what
/// proved itself at one is the fallback at the other; a batch that one has ended, the other has ended too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_serves_any_terminal() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    let second = node(&url, &vault, false).await;
    let batch = BatchNo::FIRST;

    first.sign_in().await;
    let one = held_by(&first);
    assert_eq!(knows(&second, &one, batch).await, Ok(()), "signed in elsewhere");

    // The answer of the next sign-in is lost; the terminal goes on with what it has, anywhere.
    second.sign_in().await;
    let two = held_by(&second);
    assert_eq!(knows(&first, &one, batch).await, Ok(()));
    assert_eq!(knows(&second, &one, batch).await, Ok(()));
    assert_eq!(knows(&first, &two, batch).await, Ok(()), "the newest, at the node that did not give them");
    assert_eq!(knows(&first, &one, batch).await, Err(ResponseCode::MAC_ERROR), "of no use any more");

    let auth = first.authenticate(Kind::BatchUpEnd).await.unwrap();
    first.engine.end_batch(&auth, batch, 0, true).await.unwrap();
    assert_eq!(knows(&second, &two, batch.next()).await, Ok(()));
    assert_eq!(knows(&second, &two, batch).await, Err(ResponseCode::SIGN_IN_AGAIN));
}

/// Found by rotating a master key under two nodes: the terminal's keys were wrapped anew, and for the second until it read
/// master data again the other node took what they were for another terminal key; it left the session of a sign-in at the
/// first alone, and answered A0. And what proved itself drops the keys before it in the store, under whichever wrapping.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_wrapped_anew_are_known_at_every_node_at_once() {
    let url = server::shared().database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("master.key");
    SoftVault::create_file(&file).unwrap();
    SoftVault::prepare_file(&file).unwrap();
    let vault = Arc::new(SoftVault::open_file(&file).unwrap());
    let first = node(&url, &vault, true).await;
    let second = node(&url, &vault, false).await;
    first.sign_in().await;
    assert_eq!(knows(&second, &held_by(&first), BatchNo::FIRST).await, Ok(()));

    vault.put_in_force(&vault.fingerprints()[1]).unwrap();
    let stored = async || first.store.terminal(merchant(), terminal()).await.unwrap().unwrap();
    let anew = |text: &str| vault.rewrap(&text.parse().unwrap()).unwrap().unwrap().to_string();
    let old = stored().await;
    let mut new = old.clone();
    new.master_key = anew(&old.master_key);
    let keys = new.session.keys.as_mut().unwrap();
    (keys.pin, keys.mac) = (anew(&keys.pin), anew(&keys.mac));
    assert!(first.store.rewrap_terminal(&old, &new).await.unwrap());

    first.sign_in().await;
    assert_eq!(knows(&second, &held_by(&first), BatchNo::FIRST).await, Ok(()));
    assert_eq!(stored().await.session.previous_keys, None);
}

/// What one node has taken away no other gives back: a sign-off, and too many wrong MACs. The other notices by
/// itself, without a message of the terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_at_one_node_ends_at_all() {
    let (first, second, keys, _) = both_know().await;
    let auth = first.authenticate(Kind::SignOff).await.unwrap();
    first.engine.sign_off(&auth).await.unwrap();
    let noticed = async {
        while knows(&second, &keys, BatchNo::FIRST).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("the second node never notices");

    first.sign_in().await;
    let wrong = keys;
    let keys = held_by(&first);
    assert_eq!(knows(&second, &keys, BatchNo::FIRST).await, Ok(()), "the keys before have had their time");
    for _ in 0..first.engine.config().wrong_macs_max {
        assert_eq!(knows(&second, &wrong, BatchNo::FIRST).await, Err(ResponseCode::MAC_ERROR));
    }
    assert_eq!(knows(&second, &keys, BatchNo::FIRST).await, Err(ResponseCode::SIGN_IN_AGAIN));
    let noticed = async {
        while knows(&first, &keys, BatchNo::FIRST).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("the first node never notices");
}

/// Whoever guesses MACs has so many tries at all nodes together, not at each. A right one forgives those before it where
/// one of them was seen, and a sign-in begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_macs_are_counted_at_all_nodes_together() {
    let (first, second, keys, vault) = both_know().await;
    let wrong =
        LiveKeys { mac: vault.generate(KeyUsage::Mac, KeyAlgorithm::Des).unwrap(), ..(*keys).clone() };
    let both = [&first, &second];
    let most = first.engine.config().wrong_macs_max;
    let guesses = async |count: u32| {
        for turn in 0..count {
            let node = both[turn as usize % 2];
            assert_eq!(knows(node, &wrong, BatchNo::FIRST).await, Err(ResponseCode::MAC_ERROR), "{turn}");
        }
    };
    guesses(most - 1).await;
    for node in both {
        assert_eq!(knows(node, &keys, BatchNo::FIRST).await, Ok(()), "forgiven");
    }
    guesses(most - 1).await;
    first.sign_in().await;
    let keys = held_by(&first);
    assert_eq!(knows(&first, &keys, BatchNo::FIRST).await, Ok(()), "the new keys have proved themselves");
    guesses(most).await;
    // Neither had as many itself. The one that counted the last of them knows at once, the other within seconds.
    assert_eq!(
        knows(both[(most as usize - 1) % 2], &keys, BatchNo::FIRST).await,
        Err(ResponseCode::SIGN_IN_AGAIN)
    );
    let noticed = async {
        while knows(both[most as usize % 2], &keys, BatchNo::FIRST).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("the other node never notices");
}

/// A payment is under way on one node when its terminal turns to the other: the repeat hears 09, the reversal hears
/// 00 and wins over the approval that comes afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_in_flight_on_one_node_is_repeated_and_reversed_at_another() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    let second = node(&url, &vault, false).await;
    first.sign_in().await;
    assert_eq!(knows(&second, &held_by(&first), BatchNo::FIRST).await, Ok(()));
    let (answer, told) = oneshot::channel();
    first.script.expect([Act::When(told)]);
    let auth = first.authenticate(Kind::Sale).await.unwrap();
    let paying = tokio::spawn({
        let engine = first.engine.clone();
        async move { engine.pay(auth, request(1, 10_000), None).await }
    });
    first.script.until_seen(1).await;
    let repeated = second.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(repeated.answer.code, ResponseCode::IN_PROCESS);
    for node in [&first, &second] {
        // Whichever has the line sends it.
        node.script.expect([Act::Code("00")]);
    }
    assert_eq!(second.reverse(1, 10_000).await.answer.code, ResponseCode::APPROVED);
    answer.send("00").unwrap();
    let reply = paying.await.unwrap().unwrap();
    assert_ne!(reply.answer.code, ResponseCode::APPROVED, "a late approval is none");
    first.until(1, PaymentState::Reversed).await;
    let sent = |node: &Stage| node.script.seen().iter().filter(|seen| seen.what == "reversal").count();
    assert_eq!(sent(&first) + sent(&second), 1);
}

/// The reversal overtakes its sale by way of another node: the sale is refused wherever it arrives, and nothing
/// leaves for the network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_that_overtakes_its_sale_on_another_node_wins() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    let second = node(&url, &vault, false).await;
    first.sign_in().await;
    assert_eq!(knows(&second, &held_by(&first), BatchNo::FIRST).await, Ok(()));
    assert_eq!(second.reverse(1, 10_000).await.answer.code, ResponseCode::APPROVED);
    let refused = first.pay(Kind::Sale, request(1, 10_000)).await;
    assert_eq!(refused.answer.code, ResponseCode::NO_ORIGINAL);
    assert!(first.script.seen().is_empty() && second.script.seen().is_empty());
}

/// Images that an earlier release kept in the clear are sealed by the node that starts, and are read as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_of_before_are_sealed() {
    let url = server::shared().database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    first.sign_in().await;
    first.sale(1, Act::Code("00")).await;
    let sale = first.record(1).await;
    for (code, image) in [(801, &b"feature "[..]), (800, b"a drawing")] {
        let put =
            first.store.put_signature(sale.merchant, sale.id, code, image.to_vec(), vec![], sale.created);
        put.await.unwrap();
    }
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.execute("UPDATE signature_part SET sealed = 0", &[]).await.unwrap();

    let second = node(&url, &vault, false).await;
    while !second.store.clear_signatures(1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await; // poll: the node seals what it finds when it starts
    }
    let kept = second.store.signature(sale.merchant, sale.id).await.unwrap().unwrap();
    assert!(kept.complete && kept.parts.iter().all(|part| !part.clear && part.image.len() > 9));
    assert_eq!(engine::open_signature(&*vault, &kept).unwrap(), b"feature a drawing");
    // A part in another's place is not taken for it.
    let mut turned = kept.clone();
    (turned.parts[0].code, turned.parts[1].code) = (800, 801);
    assert!(engine::open_signature(&*vault, &turned).is_err());
}

/// Found by the kill test: a terminal signed in at one node, the database went away, and the other node, which had not
/// heard of the new keys, answered its sale "MAC wrong" under the old ones; the terminal took that for a forgery. A node
/// that cannot ask says nothing. Nor does it give out keys when it cannot see which ones the terminal has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_store_does_not_refuse_under_old_keys() {
    let server = server::Server::start();
    let url = server.database().await;
    let vault = Arc::new(SoftVault::ephemeral().unwrap());
    let first = node(&url, &vault, true).await;
    first.sign_in().await;
    let second = node(&url, &vault, false).await;
    first.sign_in().await;
    let newest = held_by(&first);
    server.kill();

    // Whatever the second node has heard by now: these keys it cannot know.
    let unheard = LiveKeys::generate(vault.as_ref(), KeyBlobLayout::Double40, KeyAlgorithm::Des).unwrap();
    assert!(matches!(asks(&second, &unheard, BatchNo::FIRST).await, Err(Rejected::Unknown)));
    assert!(matches!(asks(&second, &newest, BatchNo::FIRST.next()).await, Err(Rejected::Unknown)));
    let auth = second.authenticate(Kind::SignIn).await.unwrap();
    let refused = second.engine.sign_in(&auth, 3, engine::sign_in::KeyForm::default()).await;
    assert_eq!(refused.map(|_| ()).map_err(|refusal| refusal.code), Err(ResponseCode::MALFUNCTION));
}
