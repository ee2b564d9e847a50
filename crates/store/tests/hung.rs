//! A database that does not answer: its server stopped with every connection left open (as a machine that hangs, or one
//! whose network swallows what is sent, looks to a node), and a single session of a server that is well. A connection
//! that ends is seen at once; of these nothing is ever heard. Without a bound a node would wait for ever, with every
//! payment behind it, alive for its supervisor and of no use to anybody. So it fails within a bound, as when the
//! connection ended, and answers nothing that may not be on the disk; what it had answered is there afterwards. What is
//! only slow, because somebody else holds a lock, is waited for: starting again would not make it quicker.
//!
//! The bound of the nodes is short here; nothing is waited for but what the bound itself lets happen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::future::Future;
use std::time::{Duration, Instant};

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, PaymentState};
use acquiring::transition::Event;
use acquiring::{PaymentId, ResponseCode};
use common::{answer, at, merchant_id, message, payment};
use server::{Hung, Server};
use store::{Begun, CancelRequest, Cancelled, Store, StoreError, StoreOptions};

/// The bound of a test's node: long against an exchange on a machine with much to do, short for a test.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// When something counts as waiting for ever: several times what is to happen within the bound.
const FOR_EVER: Duration = Duration::from_secs(40);

fn try_open(url: &str) -> Result<Store, StoreError> {
    Store::open_url(url, StoreOptions { answer_max: ANSWER_MAX, ..StoreOptions::new("") })
}

async fn ends<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOR_EVER, work).await.unwrap_or_else(|_| panic!("{what} waits for ever"))
}

async fn begin(store: &Store, id: i64) -> Result<Begun, StoreError> {
    store.begin(payment(id, Kind::Sale), vec![message(id, EntryKind::TerminalIn, 294)]).await
}

async fn pay(store: &Store, id: i64) {
    assert_eq!(begin(store, id).await.unwrap(), Begun::Journaled);
    let event = Event::Answered(answer(ResponseCode::APPROVED, id));
    store.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await.unwrap();
}

/// The error says that the server did not answer.
fn is_unanswered(error: &StoreError) -> bool {
    error.to_string().contains(&format!("did not answer within {ANSWER_MAX:?}"))
}

/// A node that started anew has what was answered, whole, and takes up the payment whose outcome nobody knew.
async fn keeps_what_it_promised(url: &str, answered: std::ops::RangeInclusive<i64>, unknown: i64) {
    let store = try_open(url).unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    for id in answered {
        let record = store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap();
        assert_eq!(record.state, PaymentState::Approved, "{id}");
        assert_eq!(store.history(merchant_id(), PaymentId(id)).await.unwrap().len(), 2, "{id}");
    }
    match begin(&store, unknown).await.unwrap() {
        Begun::Journaled => {}
        Begun::Existing(record) => assert_eq!(record.state, PaymentState::Pending),
        Begun::Refused(record) => panic!("{record:?}"),
    }
    pay(&store, 1_000).await;
}

/// The whole server stops answering. A payment that is begun meanwhile fails, a read fails, and a node that starts
/// meanwhile says why it cannot. When the server goes on, the node that failed reads again but never writes, and the
/// next one has all that was promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_fails_the_store_and_loses_nothing() {
    let server = Server::start();
    let url = server.database().await;
    let store = try_open(&url).unwrap();
    store.reserve_numbers("payment", 1_000).await.unwrap();
    for id in 1..=3 {
        pay(&store, id).await;
    }
    let hung = server.hang();
    let (begun, read, opened) = tokio::join!(
        ends("a payment", begin(&store, 4)),
        ends("a read", store.by_id(merchant_id(), PaymentId(1))),
        ends(
            "a start",
            tokio::task::spawn_blocking({
                let url = url.clone();
                move || try_open(&url)
            })
        ),
    );
    let failed = begun.unwrap_err();
    assert!(matches!(failed, StoreError::Failed { .. }) && is_unanswered(&failed), "{failed}");
    assert!(store.is_failed());
    ends("whoever waits for the failure", store.failed()).await;
    let unread = read.unwrap_err();
    assert!(matches!(unread, StoreError::CannotRead { .. }) && is_unanswered(&unread), "{unread}");
    let closed = opened.unwrap().err().unwrap();
    assert!(matches!(closed, StoreError::CannotOpen { .. }) && is_unanswered(&closed), "{closed}");

    drop(hung);
    assert!(ends("a read", store.by_id(merchant_id(), PaymentId(1))).await.unwrap().is_some());
    assert!(matches!(begin(&store, 5).await, Err(StoreError::Failed { .. })), "never tried again");
    ends("closing", store.close()).await;
    ends("the next node", keeps_what_it_promised(&url, 1..=3, 4)).await;
}

/// The server is well, but nothing comes of this node's sessions any more, as when something between the two has
/// forgotten its connections. Nobody is in the writer's way, so the store fails; a read gets another connection and its
/// answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_lost_alone_fail_the_store_and_reads_go_on() {
    let server = Server::start();
    let url = server.database().await;
    let store = try_open(&url).unwrap();
    store.reserve_numbers("payment", 1_000).await.unwrap();
    pay(&store, 1).await;
    let sql =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'posp' AND datname = current_database()";
    let sessions = server::connect(&url).await.query(sql, &[]).await.unwrap();
    let hung = Hung::of(sessions.iter().map(|row| row.get::<_, i32>(0).unsigned_abs()).collect());
    let (begun, read) = tokio::join!(
        ends("a payment", begin(&store, 2)),
        ends("a read", store.by_id(merchant_id(), PaymentId(1))),
    );
    let failed = begun.unwrap_err();
    assert!(matches!(failed, StoreError::Failed { .. }) && is_unanswered(&failed), "{failed}");
    assert!(store.is_failed());
    assert!(read.unwrap().is_some());
    drop(hung);
    drop(store);
    ends("the next node", keeps_what_it_promised(&url, 1..=1, 2)).await;
}

/// Somebody holds the lock of a payment for longer than the bound, twice over: that is no hung server. The operation is
/// done when the lock is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_wait_for_a_lock_is_waited_for() {
    let url = server::shared().database().await;
    let store = try_open(&url).unwrap();
    pay(&store, 1).await;
    let (holder, watcher) = (server::connect(&url).await, server::connect(&url).await);
    holder.batch_execute("BEGIN; SELECT id FROM payment FOR UPDATE").await.unwrap();
    let of = payment(1, Kind::Sale);
    let request = CancelRequest {
        merchant: of.merchant,
        terminal: of.terminal,
        batch: of.batch,
        trace: of.trace,
        amount: of.amount,
        reason: ResponseCode::NO_ANSWER,
        payload: None,
        at: at(3),
    };
    let cancel = tokio::spawn({
        let store = store.clone();
        async move { store.cancel(request, vec![]).await }
    });
    let waited = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > {} * interval '1 s'",
        ANSWER_MAX.as_secs() * 2 + 1
    );
    let begun = Instant::now();
    while watcher.query_one(&waited, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < FOR_EVER && !cancel.is_finished(), "the operation does not wait");
        tokio::time::sleep(Duration::from_millis(50)).await; // the next poll of the server's sessions
    }
    assert!(!store.is_failed());
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(ends("the cancel", cancel).await.unwrap().unwrap(), Cancelled::Applied(_)));
    pay(&store, 2).await;
}
