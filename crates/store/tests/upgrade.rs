//! A store with data, made by an older release (the migrations up to 4), is brought to the newest schema on both
//! engines: nothing of it is lost or changed, and work goes on with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, PaymentState};
use acquiring::transition::{Event, Forward};
use acquiring::{BatchNo, PaymentId, ResponseCode, Trace};
use common::{answer, at, merchant_id, message, payment, terminal_id};
use store::{BatchFilter, Begun, ForwardFilter, JOURNAL_FILE, Page, Store, StoreError, StoreOptions};

/// How long a poll goes on.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// The release that made the data: its schema.
const OLD: [&str; 4] = [
    include_str!("../migrations/0001_journal.sql"),
    include_str!("../migrations/0002_settlement.sql"),
    include_str!("../migrations/0003_forward_message.sql"),
    include_str!("../migrations/0004_forward_lease.sql"),
];

/// Its data: a merchant, a terminal that is signed in, an approved sale with its history, a refund of it, a sale under
/// way, one that is being reversed, and the settlement of the batch before.
const DATA: &str = "
INSERT INTO schema_version VALUES (1, 0), (2, 0), (3, 0), (4, 0);
INSERT INTO meta VALUES ('vault', '5af1c3');
INSERT INTO counter VALUES ('payment', 1000), ('master_version', 2);
INSERT INTO number_block VALUES ('payment', 1, 1000, 0);
INSERT INTO merchant VALUES ('898100000000001', 'old shop', 5812, 1, 5000000);
INSERT INTO terminal VALUES ('898100000000001', '10000001', 1, '3des', 'wrapped-tmk-1', 'cup', 'pik-1', 'mak-1', NULL,
    NULL, NULL, NULL, 1763950500000, 2);
INSERT INTO payment (merchant, id, terminal, batch, trace, kind, state, amount, currency, entry_mode, condition_code,
    terminal_traits, request_digest, line, network_trace, transmission, rrn, original, refunded, answer_code, auth_code,
    answered_at, reversal_reason, created)
VALUES
    ('898100000000001', 5, '10000001', 2, 5, 'sale', 'approved', 700, 156, 21, 0, 0,
     DIGEST, 'unionpay', 6, 1124101500, '112400000005', NULL, 200, '00', '123456', 1763950501000, NULL, 1763950500000),
    ('898100000000001', 6, '10000001', 2, 6, 'refund', 'approved', 200, 156, 21, 0, 0,
     DIGEST, 'unionpay', 7, 1124101501, '112400000006', 5, 0, '00', NULL, 1763950502000, NULL, 1763950501000),
    ('898100000000001', 7, '10000001', 2, 7, 'sale', 'pending', 300, 156, 21, 0, 0,
     DIGEST, 'unionpay', 8, 1124101502, '112400000007', NULL, 0, NULL, NULL, NULL, NULL, 1763950502000),
    ('898100000000001', 8, '10000001', 2, 8, 'sale', 'reversing', 400, 156, 21, 0, 0,
     DIGEST, 'unionpay', 9, 1124101503, '112400000008', NULL, 0, '68', NULL, 1763950503000, '98', 1763950502000);
INSERT INTO journal_entry SELECT merchant, id, 1, created, 'terminal_in', request_digest, 'from before' FROM payment;
INSERT INTO forward (merchant, line, sequence, payment, action, status, attempts, next_at, note, created, refusals,
    message_at, message_tries)
VALUES ('898100000000001', 'unionpay', 1, 8, 'reversal', 'waiting', 3, 1763950504000, 'no answer in time',
    1763950503000, 0, 1763950503000, 3);
INSERT INTO settlement VALUES ('898100000000001', '10000001', 1, 1763950400000, 1, 900, 2, 100, 1, 0, 0, 0, 0,
    900, 2, 100, 1, 0, 0, 0, 0, 1, 1, 1763950401000, 3, 1);
";

fn data(digest: &str) -> String {
    DATA.replace("DIGEST", digest)
}

/// Everything of before, and work that goes on with it.
async fn goes_on(store: Store) {
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.bind_vault("5af1c3").await.unwrap();
    assert_eq!(store.merchants().await.unwrap()[0].name, "old shop");
    let session = store.terminal(merchant_id(), terminal_id()).await.unwrap().unwrap().session;
    assert_eq!((session.keys, session.batch.get()), (Some(common::keys(1)), 2));
    let batch = BatchNo::new(2).unwrap();
    let sale =
        store.by_trace(merchant_id(), terminal_id(), batch, Trace::new(5).unwrap()).await.unwrap().unwrap();
    assert_eq!((sale.state, sale.amount.fen(), sale.refunded.fen()), (PaymentState::Approved, 700, 200));
    assert_eq!(sale.adjusted, None);
    let history = store.history(merchant_id(), PaymentId(5)).await.unwrap();
    assert_eq!((history[0].kind, history[0].note.as_str()), (EntryKind::TerminalIn, "from before"));
    let totals = store.batch_totals(merchant_id(), terminal_id(), batch).await.unwrap();
    assert_eq!((totals.domestic.debit.amount.fen(), totals.domestic.credit.amount.fen()), (700, 200));
    let settled = store.settlements(BatchFilter::default(), Page::first(10)).await.unwrap();
    assert_eq!(settled.items.len(), 1);

    // The queue goes on where it was, and the payment under way is found.
    let waiting = store.forwards(ForwardFilter::default(), Page::first(10)).await.unwrap().items;
    assert_eq!(waiting.len(), 1);
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    assert_eq!(
        (item.action, item.payment, item.attempts, item.message_tries),
        (Forward::Reversal, PaymentId(8), 3, 3)
    );
    let done = store.forward_done(&item, Event::ReversalDone(None), vec![], at(1)).await.unwrap();
    assert_eq!(done.record.state, PaymentState::Reversed);
    let open = store.pending_before(jiff::Timestamp::MAX, 10).await.unwrap();
    assert_eq!(open.iter().map(|record| record.id).collect::<Vec<_>>(), [PaymentId(7)]);

    assert_eq!(store.reserve_numbers("payment", 10).await.unwrap(), 1_001);
    let mut next = payment(1_001, Kind::Sale);
    next.batch = batch;
    let entries = vec![message(1, EntryKind::TerminalIn, 294)];
    assert_eq!(store.begin(next, entries).await.unwrap(), Begun::Journaled);
    let approved = Event::Answered(answer(ResponseCode::APPROVED, 2));
    store.apply(merchant_id(), PaymentId(1_001), approved, vec![], at(2)).await.unwrap();
    let repeat = payment(5, Kind::Sale);
    let mut repeat = acquiring::PaymentRecord { id: PaymentId(1_002), batch, ..repeat };
    repeat.trace = Trace::new(5).unwrap();
    let Begun::Existing(known) = store.begin(repeat, vec![]).await.unwrap() else {
        panic!("a repeat is known")
    };
    assert_eq!(known.id, PaymentId(5));
}

const VERSIONS: &str =
    "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL);";

#[tokio::test]
async fn an_old_journal_of_sqlite_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(directory.path().join(JOURNAL_FILE)).unwrap();
    for sql in OLD.iter().chain(&[VERSIONS, data("zeroblob(32)").as_str()]) {
        db.execute_batch(sql).unwrap();
    }
    drop(db);
    let reader = Store::open_read_only(directory.path()).err().unwrap();
    assert!(matches!(reader, StoreError::OlderSchema { found: 4, .. }), "{reader}");
    goes_on(Store::open(StoreOptions::new(directory.path())).unwrap()).await;
}

/// A database of the old release.
async fn old_database() -> String {
    let url = server::shared().database().await;
    let admin = server::connect(&url).await;
    for sql in OLD.iter().chain(&[VERSIONS, data("decode(repeat('00', 32), 'hex')").as_str()]) {
        admin.batch_execute(sql).await.unwrap();
    }
    url
}

#[tokio::test]
async fn an_old_database_of_postgresql_goes_on() {
    let url = old_database().await;
    let reader = Store::open_url_read_only(&url).err().unwrap();
    assert!(matches!(reader, StoreError::OlderSchema { found: 4, .. }), "{reader}");
    let store = Store::open_url(&url, StoreOptions::new("")).unwrap();
    let days = store.history_days(true).await.unwrap();
    let with_lines: Vec<_> =
        days.iter().filter(|day| day.lines > 0).map(|day| (day.day, day.lines)).collect();
    assert_eq!(with_lines, [(Some(20_251_124), 4)], "history is kept by the day of its payment");
    goes_on(store).await;
}

/// Two nodes of the new release start on the old database at the same moment, as after a failure of both: one brings it
/// up to date, the other waits for that and finds it done, and both serve. A lock of the test's own holds the first one
/// at its first look at the schema until the second has come, so that they do meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_upgrade_at_once_both_serve() {
    let url = old_database().await;
    let (gate, watcher) = (server::connect(&url).await, server::connect(&url).await);
    gate.batch_execute("BEGIN; LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let nodes = [(); 2].map(|()| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || Store::open_url(&url, StoreOptions::new("")))
    });
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'posp' AND wait_event_type = 'Lock'";
    let begun = std::time::Instant::now();
    while watcher.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < 2 {
        assert!(begun.elapsed() < DEADLINE, "the nodes do not both come to the schema");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await; // the next poll of who waits
    }
    gate.batch_execute("COMMIT").await.unwrap();
    let [first, second] = nodes;
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    let versions = "SELECT COUNT(*), COUNT(DISTINCT version), MAX(version) FROM schema_version";
    let row = watcher.query_one(versions, &[]).await.unwrap();
    let (rows, distinct, newest): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((rows, distinct), (newest, newest), "each version is brought once");
    goes_on(first).await;
    assert_eq!(second.check().await.unwrap(), Vec::<String>::new());
    let next = acquiring::PaymentRecord { batch: BatchNo::new(2).unwrap(), ..payment(1_003, Kind::Sale) };
    assert_eq!(second.begin(next, vec![]).await.unwrap(), Begun::Journaled);
}
