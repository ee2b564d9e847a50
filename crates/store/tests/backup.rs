//! Backup and restore on both engines, while a node works: the copy is the state of one moment, agrees with itself, and
//! after it is restored no number that was given in the meantime is given again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, PaymentState};
use acquiring::transition::Event;
use acquiring::{PaymentId, ResponseCode};
use common::{answer, at, merchant, merchant_id, message, payment, terminal};
use store::{Begun, Store, StoreError, StoreOptions};

/// Numbers taken at a time, as a node does.
const BLOCK: u32 = 10;
/// Numbers that the restore leaves out.
const SKIP: u32 = 1_000_000;

/// Payments of a node at work, from `first` on, until told to stop; the last one that was answered.
async fn work(store: Store, stop: Arc<AtomicBool>, done: Arc<AtomicI64>) {
    while !stop.load(Ordering::Relaxed) {
        let first = store.reserve_numbers("payment", BLOCK).await.unwrap();
        for id in first..first + i64::from(BLOCK) {
            let entries = vec![message(id, EntryKind::TerminalIn, 294)];
            assert_eq!(store.begin(payment(id, Kind::Sale), entries).await.unwrap(), Begun::Journaled);
            let event = Event::Answered(answer(ResponseCode::APPROVED, id));
            store.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await.unwrap();
            done.store(id, Ordering::Release);
        }
    }
}

/// Lets a node work, takes a backup in the middle, and goes on for a while; how many payments were answered before
/// the backup, and the next number that the node would take after it.
async fn backed_up(store: &Store, backup: impl AsyncFnOnce()) -> (i64, i64) {
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let working = tokio::spawn(work(store.clone(), Arc::clone(&stop), Arc::clone(&done)));
    let until = async |count: i64| {
        while done.load(Ordering::Acquire) < count {
            tokio::task::yield_now().await;
        }
    };
    until(25).await;
    let before = done.load(Ordering::Acquire);
    backup().await;
    until(done.load(Ordering::Acquire) + 25).await;
    stop.store(true, Ordering::Relaxed);
    working.await.unwrap();
    (before, store.reserve_numbers("payment", 1).await.unwrap())
}

/// What a restored store must have and must not do.
async fn is_restored(store: &Store, before: i64, next: i64) {
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    for id in 1..=before {
        let record =
            store.by_id(merchant_id(), PaymentId(id)).await.unwrap().expect("answered before the backup");
        assert_eq!(record.state, PaymentState::Approved);
        assert!(!store.history(merchant_id(), PaymentId(id)).await.unwrap().is_empty());
    }
    let first = store.reserve_numbers("payment", 1).await.unwrap();
    assert!(first > next, "{first} was given before the restore, up to {next}");
    let entries = vec![message(first, EntryKind::TerminalIn, 294)];
    assert_eq!(store.begin(payment(first, Kind::Sale), entries).await.unwrap(), Begun::Journaled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_copied_while_a_node_writes_it_and_goes_on_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let store = Store::open(StoreOptions::new(place("first"))).unwrap();
    let file = place("backup.db");
    let (before, next) = backed_up(&store, async || {
        let beside = Store::open_read_only(place("first")).unwrap();
        beside.backup(&file).await.unwrap();
        let again = beside.backup(&file).await.unwrap_err();
        assert!(matches!(again, StoreError::CannotOpen { .. }), "{again}");
    })
    .await;
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());

    let restored = Store::restore(&file, StoreOptions::new(place("second")), SKIP).await.unwrap();
    is_restored(&restored, before, next).await;
    restored.close().await;
    let over = Store::restore(&file, StoreOptions::new(place("second")), SKIP).await.err().unwrap();
    assert!(matches!(over, StoreError::Misuse { .. }), "{over}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_a_database_goes_on_in_another() {
    let server = server::shared();
    let url = server.database().await;
    let store = Store::open_url(&url, StoreOptions::new("")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup.dump");
    assert!(matches!(store.backup(&file).await, Err(StoreError::Misuse { .. })));
    let (before, next) = backed_up(&store, async || {
        // Payments go on also while their day gets its partition.
        assert!(store.adopt_history().await.unwrap() > 0);
        server.dump(&url, &file);
    })
    .await;

    let other = server.database().await;
    server.restore(&other, &file);
    let restored = Store::open_url(&other, StoreOptions::new("")).unwrap();
    restored.skip_numbers(SKIP).await.unwrap();
    is_restored(&restored, before, next).await;
}

/// What does not agree is said: a payment whose reversal is not queued, and a number from nowhere.
#[tokio::test]
async fn a_journal_that_does_not_agree_with_itself_is_found_out() {
    let url = server::shared().database().await;
    let store = Store::open_url(&url, StoreOptions::new("")).unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    let entries = vec![message(1, EntryKind::TerminalIn, 294)];
    store.begin(payment(1, Kind::Sale), entries).await.unwrap();
    let admin = server::connect(&url).await;
    admin.batch_execute("UPDATE payment SET state = 'reversing'").await.unwrap();
    let found = store.check().await.unwrap();
    assert_eq!(
        found,
        [
            "payments with a number that the sequence has not given yet: 1",
            "payments that wait for a reversal or repeat that is not queued: 1"
        ]
    );
}
