//! What several nodes on one database must do, and what is PostgreSQL's own: one payment begun once whichever node
//! it comes to, races between nodes, the lease of a line, a server that is killed, versions of the schema. Each
//! node is a `Store` of its own on the same database, as in another process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use acquiring::kind::Kind;
use acquiring::payment::{Answer, EntryKind, PaymentRecord, PaymentState};
use acquiring::transition::Event;
use acquiring::{PaymentId, ResponseCode, TerminalId};
use common::{answer, at, fen, merchant_id, message, payment, terminal_id, undoing};
use server::Server;
use store::{Begun, CancelRequest, Cancelled, NodeKeys, Store, StoreError, StoreOptions};

fn open(url: &str) -> Store {
    Store::open_url(url, StoreOptions::new("")).unwrap()
}

async fn two_nodes() -> [Store; 2] {
    let url = server::shared().database().await;
    [open(&url), open(&url)]
}

async fn pay(store: &Store, id: i64) -> Result<(), StoreError> {
    let entries = vec![message(id, EntryKind::TerminalIn, 294)];
    assert_eq!(store.begin(payment(id, Kind::Sale), entries).await?, Begun::Journaled);
    let event = Event::Answered(answer(ResponseCode::APPROVED, id));
    store.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await?;
    Ok(())
}

fn cancel_request(of: &PaymentRecord) -> CancelRequest {
    CancelRequest {
        merchant: of.merchant,
        terminal: of.terminal,
        batch: of.batch,
        trace: of.trace,
        amount: of.amount,
        reason: ResponseCode::NO_ANSWER,
        payload: None,
        at: at(3),
    }
}

/// A figure of the database says what it was measured with.
#[tokio::test]
async fn the_server_tells_its_settings() {
    let [node, _] = two_nodes().await;
    let settings = node.server_settings().await.unwrap();
    for wanted in ["fsync", "max_wal_size", "min_wal_size", "server_version", "synchronous_commit"] {
        let found = settings.iter().find(|(name, _)| name == wanted);
        assert!(found.is_some_and(|(_, value)| !value.is_empty()), "{wanted} in {settings:?}");
    }
}

/// A terminal repeats its sale over both nodes: it is sent to the network once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_repeats_over_two_nodes_is_journaled() {
    let nodes = two_nodes().await;
    let tasks: Vec<_> = (0..32)
        .map(|n: i64| {
            let store = nodes[usize::from(n % 2 == 1)].clone();
            let intent = PaymentRecord { trace: payment(1, Kind::Sale).trace, ..payment(n + 1, Kind::Sale) };
            tokio::spawn(async move { store.begin(intent, vec![]).await.unwrap() })
        })
        .collect();
    let mut journaled = 0;
    let mut existing = BTreeSet::new();
    for task in tasks {
        match task.await.unwrap() {
            Begun::Journaled => journaled += 1,
            Begun::Existing(record) => _ = existing.insert(record.id),
            Begun::Refused(record) => panic!("{record:?}"),
        }
    }
    assert_eq!((journaled, existing.len()), (1, 1));
}

/// A sale and its own reversal cross, one on each node: the reversal finds the sale, or the sale is refused.
/// Never is the reversal only remembered and the sale sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reversal_on_one_node_meets_its_sale_on_the_other() {
    let [first, second] = two_nodes().await;
    for id in 1..=60 {
        let intent = payment(id, Kind::Sale);
        let request = cancel_request(&intent);
        let (begun, cancelled) = tokio::join!(first.begin(intent, vec![]), second.cancel(request, vec![]));
        match (begun.unwrap(), cancelled.unwrap()) {
            (Begun::Journaled, Cancelled::Applied(applied)) => {
                assert_eq!(applied.record.state, PaymentState::Reversing, "{id}");
            }
            (Begun::Refused(record), Cancelled::Unknown) => {
                assert_eq!(record.answer.unwrap().code, ResponseCode::NO_ORIGINAL, "{id}");
            }
            other => panic!("{id}: {other:?}"),
        }
    }
}

/// Pairs of refunds that together exceed their sale cross, one on each node and at a terminal of its own, many at
/// a time, so that they come in groups: one of each pair is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refunds_over_two_nodes_never_exceed_the_sale() {
    let nodes = two_nodes().await;
    for round in 0..20 {
        let sales = round * 16 + 1..=round * 16 + 16;
        for sale in sales.clone() {
            pay(&nodes[0], sale).await.unwrap();
        }
        let mut refunds = Vec::new();
        for sale in sales.clone() {
            for (store, terminal) in nodes.iter().zip(["20000001", "20000002"]) {
                let (id, terminal) =
                    (1_000 * (refunds.len() as i64 % 2 + 1) + sale, TerminalId::new(terminal).unwrap());
                let refund = PaymentRecord { terminal, ..undoing(id, Kind::Refund, sale, fen(6_000)) };
                let store = store.clone();
                refunds.push(tokio::spawn(async move { store.begin(refund, vec![]).await.unwrap() }));
            }
        }
        let mut taken = 0;
        for refund in refunds {
            taken += usize::from(refund.await.unwrap() == Begun::Journaled);
        }
        assert_eq!(taken, 16, "round {round}");
        for sale in sales {
            let record = nodes[1].by_id(merchant_id(), PaymentId(sale)).await.unwrap().unwrap();
            assert_eq!(record.refunded, fen(6_000), "sale {sale}");
        }
    }
}

/// Payments and the voids of other payments, answered and reversed crosswise on both nodes: nobody waits for ever,
/// every operation is done, and each line's numbers are without gap or double.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_operations_end_and_number_without_gaps() {
    let nodes = two_nodes().await;
    let lane = |node: Store, other: Store, lane: i64| async move {
        let terminal = TerminalId::new(&format!("{:08}", 20_000_000 + lane)).unwrap();
        for n in 0..12 {
            let id = lane * 100 + n * 2 + 1;
            let line = if n % 2 == 0 { "unionpay" } else { "backup" }.to_owned();
            let sale = PaymentRecord { terminal, line: line.clone(), ..payment(id, Kind::Sale) };
            assert_eq!(node.begin(sale, vec![]).await.unwrap(), Begun::Journaled);
            let event = Event::Answered(answer(ResponseCode::APPROVED, id));
            other.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await.unwrap();
            let void = PaymentRecord { terminal, line, ..undoing(id + 1, Kind::SaleVoid, id, fen(10_000)) };
            assert_eq!(other.begin(void, vec![]).await.unwrap(), Begun::Journaled);
            let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at(60_000)));
            node.apply(merchant_id(), PaymentId(id + 1), event, vec![], at(60_000)).await.unwrap();
        }
    };
    let lanes: Vec<_> = (0..8)
        .map(|n: i64| {
            let [a, b] = nodes.clone();
            if n % 2 == 0 { tokio::spawn(lane(a, b, n)) } else { tokio::spawn(lane(b, a, n)) }
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    for line in ["unionpay", "backup"] {
        let mut sequences = Vec::new();
        while let Some(item) = nodes[0].next_forward(line).await.unwrap() {
            sequences.push(item.sequence);
            nodes[1].forward_done(&item, Event::ReversalDone(None), vec![], at(61_000)).await.unwrap();
        }
        assert_eq!(sequences, (1..=48).collect::<Vec<_>>(), "{line}");
    }
}

/// A node remembers what it has begun, so that it need not read it again for its outcome. What another node did to
/// such a payment in between counts all the same: reversed there, an approval that comes here is late and moves
/// nothing; and lines of its history that were written there stay, with the next ones behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_meets_what_another_node_has_done_meanwhile() {
    let url = server::shared().database().await;
    let [first, second] = [open(&url), open(&url)];
    let entry = |id: i64| vec![message(id, EntryKind::TerminalIn, 294)];
    for id in 1..=8 {
        assert_eq!(first.begin(payment(id, Kind::Sale), entry(id)).await.unwrap(), Begun::Journaled);
    }
    for id in 1..=4 {
        let cancelled = second.cancel(cancel_request(&payment(id, Kind::Sale)), entry(id)).await.unwrap();
        assert!(matches!(cancelled, Cancelled::Applied(_)));
    }
    for id in 5..=6 {
        second.append(merchant_id(), PaymentId(id), entry(id)).await.unwrap();
    }
    // At once, so that those that are as they were share a group with those that are not.
    let outcomes = (1..=8).map(|id| {
        let (first, entries) = (first.clone(), vec![message(id, EntryKind::NetworkIn, 294)]);
        let event = Event::Answered(answer(ResponseCode::APPROVED, id));
        tokio::spawn(async move { first.apply(merchant_id(), PaymentId(id), event, entries, at(id)).await })
    });
    for (outcome, id) in outcomes.collect::<Vec<_>>().into_iter().zip(1..) {
        let applied = outcome.await.unwrap().unwrap();
        let expected = if id <= 4 { PaymentState::Reversing } else { PaymentState::Approved };
        assert_eq!(applied.record.state, expected, "{id}");
        assert_eq!(
            second.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap().state,
            expected,
            "{id}"
        );
        first.append(merchant_id(), PaymentId(id), entry(id)).await.unwrap();
        let history = second.history(merchant_id(), PaymentId(id)).await.unwrap();
        let lines: Vec<_> = history.iter().filter(|line| line.kind == EntryKind::TerminalIn).collect();
        assert_eq!(lines.len(), if id <= 6 { 3 } else { 2 }, "{id}: {history:?}");
        assert!(history.iter().any(|line| line.kind == EntryKind::NetworkIn), "{id}");
    }
    let open = first.counts(jiff::Timestamp::UNIX_EPOCH).await.unwrap().open;
    assert_eq!(open, [(PaymentState::Reversing, 4)]);
    // The table of what is under way says what the payments say.
    let admin = server::connect(&url).await;
    let sql = "SELECT COUNT(*) FROM payment_under_way";
    assert_eq!(admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 4);
    assert!(!first.is_failed());
}

/// The server finds a circle (another program takes the locks in the wrong order) and undoes the node's
/// transaction: the operation is run again and done, and the node goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_in_a_circle_of_locks_is_run_again() {
    let url = server::shared().database().await;
    let store = open(&url);
    pay(&store, 1).await.unwrap();
    let (other, watcher) = (server::connect(&url).await, server::connect(&url).await);
    // The other looks for circles late, so that it is the node whose transaction is undone.
    other
        .batch_execute("SET deadlock_timeout = '60s'; BEGIN; SELECT id FROM payment FOR UPDATE")
        .await
        .unwrap();
    let cancel = tokio::spawn({
        let store = store.clone();
        async move { store.cancel(cancel_request(&payment(1, Kind::Sale)), vec![]).await }
    });
    // The node has its terminal, and waits for the payment.
    let sql = "SELECT (t.classid::int8 << 32) | t.objid::int8 FROM pg_locks t JOIN pg_locks w USING (pid) \
               WHERE t.locktype = 'advisory' AND t.granted AND NOT w.granted \
               AND t.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let terminal: i64 = loop {
        match watcher.query_opt(sql, &[]).await.unwrap() {
            Some(row) => break row.get(0),
            None => tokio::task::yield_now().await,
        }
    };
    other.query("SELECT pg_advisory_xact_lock($1)", &[&terminal]).await.unwrap();
    assert!(!cancel.is_finished());
    other.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(cancel.await.unwrap().unwrap(), Cancelled::Applied(_)));
    pay(&store, 2).await.unwrap();
}

/// Blocks of numbers that nodes take never overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_of_numbers_never_overlap_between_nodes() {
    let nodes = two_nodes().await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = nodes[n % 2].clone();
            tokio::spawn(async move { store.reserve_numbers("payment", 10).await.unwrap() })
        })
        .collect();
    let mut firsts = BTreeSet::new();
    for task in tasks {
        firsts.insert(task.await.unwrap());
    }
    assert_eq!(firsts.into_iter().collect::<Vec<_>>(), (0..40).map(|n| 1 + n * 10).collect::<Vec<_>>());
}

/// A line's queue is worked by one node. It moves when that node gives it back, or dies and its time is over.
#[tokio::test]
async fn the_lease_of_a_line_moves_when_its_node_dies() {
    let [first, second] = two_nodes().await;
    let (short, long) = (Duration::from_millis(400), Duration::from_secs(600));
    assert!(first.is_shared());
    assert!(first.lease_forward("unionpay", "first", long).await.unwrap());
    assert!(!second.lease_forward("unionpay", "second", long).await.unwrap());
    assert!(second.lease_forward("backup", "second", long).await.unwrap(), "another line");
    let leased = Instant::now();
    assert!(first.lease_forward("unionpay", "first", short).await.unwrap(), "anew, for a shorter time");
    drop(first);
    while !second.lease_forward("unionpay", "second", long).await.unwrap() {
        assert!(leased.elapsed() < Duration::from_secs(20), "the time of the dead node never ends");
        tokio::time::sleep(Duration::from_millis(5)).await; // the next poll of the lease
    }
    assert!(leased.elapsed() >= short, "before its time was over");
    second.release_forward_lease("unionpay", "first").await.unwrap();
    assert!(!second.lease_forward("unionpay", "first", long).await.unwrap(), "not its own");
    second.release_forward_lease("unionpay", "second").await.unwrap();
    assert!(second.lease_forward("unionpay", "first", long).await.unwrap());
}

fn node_keys(node: &str, wraps: &str, opens: &[&str]) -> NodeKeys {
    NodeKeys {
        node: node.to_owned(),
        machine: "here".to_owned(),
        wraps: wraps.to_owned(),
        opens: opens.iter().map(|&key| key.to_owned()).collect(),
    }
}

/// A master key comes in force when every living node has it. A node that lacks it stops that, until it has it, or says
/// that it goes, or says nothing for as long as its word counts; and whoever comes afterwards hears which one is in force.
#[tokio::test]
async fn a_master_key_comes_in_force_when_every_living_node_has_it() {
    let [first, second] = two_nodes().await;
    let (short, long) = (Duration::from_millis(400), Duration::from_secs(600));
    first.bind_vault("old").await.unwrap();
    let (having, lacking) =
        (node_keys("first", "old", &["old", "new"]), node_keys("second", "old", &["old"]));
    assert_eq!(first.tell_node(&having, long).await.unwrap().as_deref(), Some("old"));
    assert_eq!(second.tell_node(&lacking, long).await.unwrap().as_deref(), Some("old"));
    assert_eq!(first.living_nodes().await.unwrap(), [having.clone(), lacking.clone()]);
    assert_eq!(first.put_master_in_force("old", "new").await.unwrap(), std::slice::from_ref(&lacking));
    assert_eq!(second.master_in_force().await.unwrap().as_deref(), Some("old"), "nothing was changed");

    // It dies, and counts for as long as it said.
    let told = Instant::now();
    second.tell_node(&lacking, short).await.unwrap();
    while !first.put_master_in_force("old", "new").await.unwrap().is_empty() {
        assert!(told.elapsed() < Duration::from_secs(20), "the word of the dead node counts for ever");
        tokio::time::sleep(Duration::from_millis(5)).await; // the next poll
    }
    assert!(told.elapsed() >= short, "before its time was over");
    assert_eq!(first.living_nodes().await.unwrap(), [having]);
    // It comes back, and hears that it lacks the one in force.
    assert_eq!(second.tell_node(&lacking, long).await.unwrap().as_deref(), Some("new"));
    assert_eq!(second.put_master_in_force("new", "newest").await.unwrap().len(), 2);
    for node in ["first", "second"] {
        second.forget_node(node).await.unwrap();
    }
    assert_eq!(second.living_nodes().await.unwrap(), []);
    assert_eq!(second.put_master_in_force("new", "newest").await.unwrap(), []);
}

/// A node tells of itself while a master key is put in force: either it is seen, or it hears of the new one. Without that
/// it could serve with keys that do not open what the others write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_while_a_key_is_put_in_force_is_seen_or_hears_of_it() {
    let [first, second] = two_nodes().await;
    let mut old = "0".to_owned();
    first.bind_vault(&old).await.unwrap();
    for round in 1..=100 {
        let new = round.to_string();
        let (node, keys) = (second.clone(), node_keys("second", &old, &[&old]));
        let comes =
            tokio::spawn(async move { node.tell_node(&keys, Duration::from_secs(600)).await.unwrap() });
        let seen = first.put_master_in_force(&old, &new).await.unwrap();
        let heard = comes.await.unwrap();
        assert_eq!(
            seen.is_empty(),
            heard.as_ref() == Some(&new),
            "round {round}: seen {seen:?}, heard {heard:?}"
        );
        second.forget_node("second").await.unwrap();
        assert_eq!(first.put_master_in_force(&old, &new).await.unwrap(), []);
        old = new;
    }
}

/// SQLite has one node, and nothing to lease or to tell.
#[tokio::test]
async fn a_store_of_one_node_leases_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().display());
    let store = Store::open_url(&url, StoreOptions::new("")).unwrap();
    assert!(!store.is_shared());
    for node in ["first", "second"] {
        assert!(store.lease_forward("unionpay", node, Duration::from_secs(60)).await.unwrap());
    }
    store.bind_vault("old").await.unwrap();
    let keys = node_keys("node", "old", &["old"]);
    assert_eq!(
        store.tell_node(&keys, Duration::from_secs(60)).await.unwrap().as_deref(),
        Some("old"),
        "what is in force it hears all the same"
    );
    assert_eq!(store.living_nodes().await.unwrap(), []);
    store.forget_node("node").await.unwrap();
}

/// A session that one node opened is there for the other.
#[tokio::test]
async fn a_sign_in_on_one_node_is_seen_by_the_other() {
    let [first, second] = two_nodes().await;
    first.put_merchant(&common::merchant()).await.unwrap();
    first.put_terminal(&common::terminal()).await.unwrap();
    let session = first.save_sign_in(merchant_id(), terminal_id(), &common::keys(1), at(1)).await.unwrap();
    let seen = second.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap();
    assert_eq!(seen.session, session);
    assert_eq!(second.master_version().await.unwrap(), 2);
}

/// One of the server's processes is killed (SIGKILL) while two nodes work, and the server restarts. Both nodes
/// stop; every payment that was answered is there, whole, for the nodes that come after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_the_server_was_killed() {
    let server = Server::start();
    let url = server.database().await;
    let admin = server::connect(&url).await;
    let nodes = [open(&url), open(&url)];
    let next = Arc::new(AtomicI64::new(1));
    let (paid, mut payments) = tokio::sync::mpsc::channel(10_000);
    let lanes: Vec<_> = (0..16)
        .map(|lane| {
            let (store, next, paid) = (nodes[lane % 2].clone(), Arc::clone(&next), paid.clone());
            tokio::spawn(async move {
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    match pay(&store, id).await {
                        Ok(()) => paid.send(id).await.unwrap(),
                        Err(error) => return error,
                    }
                }
            })
        })
        .collect();
    drop(paid);
    let mut answered = Vec::new();
    while let Some(id) = payments.recv().await {
        answered.push(id);
        if answered.len() == 400 {
            let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'posp' \
                       AND datname = current_database() ORDER BY pid LIMIT 1";
            let pid: i32 = admin.query_one(sql, &[]).await.unwrap().get(0);
            assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        }
    }
    for lane in lanes {
        let error = lane.await.unwrap();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    }
    for node in &nodes {
        node.failed().await;
        assert!(matches!(pay(node, 9_000_000).await, Err(StoreError::Failed { .. })), "never tried again");
    }
    assert!(answered.len() >= 400, "{}", answered.len());
    // The server takes a moment to recover, and refuses connections until then.
    let mut tries = 0;
    let store = loop {
        match Store::open_url(&url, StoreOptions::new("")) {
            Ok(store) => break store,
            Err(error) if tries > 300 => panic!("{error}"),
            Err(_) => tries += 1,
        }
        // poll: the server is back when it is back, and the tries are the deadline
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for id in answered {
        let record = store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap();
        assert!(record.state.counts() && record.answer.is_some(), "{id}");
        assert_eq!(store.history(merchant_id(), PaymentId(id)).await.unwrap().len(), 2, "{id}");
    }
}

/// The writer's connection ends while nothing waits: the node is told at once, not at its next payment.
#[tokio::test]
async fn a_lost_connection_fails_the_store_at_once() {
    let url = server::shared().database().await;
    let store = open(&url);
    pay(&store, 1).await.unwrap();
    let admin = server::connect(&url).await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'posp' AND datname = current_database()";
    admin.query(sql, &[]).await.unwrap();
    store.failed().await;
    assert!(matches!(pay(&store, 2).await, Err(StoreError::Failed { .. })));
    // Reading connections are opened again.
    assert!(store.by_id(merchant_id(), PaymentId(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_an_older_one_needs_a_node() {
    let url = server::shared().database().await;
    let reader = Store::open_url_read_only(&url).err().unwrap();
    assert!(matches!(reader, StoreError::OlderSchema { found: 0, .. }), "{reader}");
    // An empty database is furnished by whoever comes first.
    Store::open_url_beside(&url, StoreOptions::new("")).unwrap().close().await;
    open(&url).close().await;
    let reader = Store::open_url_read_only(&url).unwrap();
    assert_eq!(pay(&reader, 1).await.unwrap_err(), StoreError::ReadOnly);
    let admin = server::connect(&url).await;
    admin.batch_execute("UPDATE schema_version SET version = -version WHERE version > 1").await.unwrap();
    let beside = Store::open_url_beside(&url, StoreOptions::new("")).err().unwrap();
    assert!(matches!(beside, StoreError::OlderSchema { found: 1, .. }), "{beside}");
    admin.batch_execute("INSERT INTO schema_version VALUES (99, 0)").await.unwrap();
    for error in [
        Store::open_url(&url, StoreOptions::new("")).err().unwrap(),
        Store::open_url_read_only(&url).err().unwrap(),
    ] {
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    }
}

/// What cannot be opened is told with the server and the database, never with the password.
#[tokio::test]
async fn an_address_is_told_without_its_password() {
    for url in ["postgres://posp:hush@127.0.0.1:1/nowhere", "postgres://posp:hush@127.0.0.1:port/nowhere"] {
        let error = Store::open_url(url, StoreOptions::new("")).err().unwrap();
        assert!(matches!(error, StoreError::CannotOpen { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
    let error = Store::open_url("mysql://somewhere/db", StoreOptions::new("")).err().unwrap();
    assert!(error.to_string().contains("begins with sqlite: or postgres://"), "{error}");
}
