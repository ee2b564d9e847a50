//! History by the day of its payment, on PostgreSQL: payments on both sides of a midnight keep theirs, a day is taken out
//! whole and only when nobody needs it, the days ahead are made once by however many nodes, what was written without a
//! day gets one, and a payment has to do with its own day alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::time::{Duration, Instant};

use acquiring::kind::Kind;
use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::Event;
use acquiring::{BatchNo, Beijing, Clock, PaymentId, ResponseCode, SystemClock};
use common::{answer, merchant_id, payment, terminal_id};
use jiff::{Timestamp, ToSpan};
use store::{Begun, HISTORY_DAYS_MIN, Store, StoreError, StoreOptions};

/// Two days that are over, one after the other.
const FIRST: u32 = 20_250_310;
const SECOND: u32 = 20_250_311;

fn open(url: &str) -> Store {
    Store::open_url(url, StoreOptions::new("")).unwrap()
}

/// A moment before (or after) the midnight in Beijing between the two days.
fn midnight(ms: i64) -> Timestamp {
    "2025-03-10T16:00:00Z".parse::<Timestamp>().unwrap().checked_add(ms.milliseconds()).unwrap()
}

fn sale(id: i64, batch: u64, created: Timestamp) -> PaymentRecord {
    PaymentRecord { created, batch: BatchNo::new(batch).unwrap(), ..payment(id, Kind::Sale) }
}

fn line(at: Timestamp, note: &str) -> JournalEntry {
    JournalEntry::note(at, note.to_owned())
}

async fn begin(store: &Store, sale: PaymentRecord) {
    let entries = vec![line(sale.created, "came")];
    assert_eq!(store.begin(sale, entries).await.unwrap(), Begun::Journaled);
}

async fn approve(store: &Store, id: i64, at: Timestamp) {
    let event = Event::Answered(Answer { at, ..answer(ResponseCode::APPROVED, id) });
    store.apply(merchant_id(), PaymentId(id), event, vec![line(at, "answered")], at).await.unwrap();
}

/// The notes of a payment's history.
async fn notes(store: &Store, id: i64) -> Vec<String> {
    let history = store.history(merchant_id(), PaymentId(id)).await.unwrap();
    history.into_iter().filter(|line| line.kind == EntryKind::Note).map(|line| line.note).collect()
}

/// Days with history, and how many lines each has; none for lines without a day.
async fn lines(store: &Store) -> Vec<(Option<u32>, bool, u64)> {
    let days = store.history_days(true).await.unwrap();
    days.iter().filter(|day| day.lines > 0).map(|day| (day.day, day.attached, day.lines)).collect()
}

async fn refusal(result: impl Future<Output = Result<(), StoreError>>) -> String {
    match result.await {
        Err(StoreError::HistoryStays { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A terminal pays before and after midnight; its first batch is of the first day, with one payment of the second day
/// in its second batch. Each history is found, and the first day can go when its batch is settled and nothing of it is
/// open. What is left is whole, and a repeat of a payment without history is still known.
#[tokio::test]
async fn a_day_leaves_whole_and_the_days_beside_it_stay() {
    let store = open(&server::shared().database().await);
    store.put_merchant(&common::merchant()).await.unwrap();
    store.put_terminal(&common::terminal()).await.unwrap();
    store.reserve_numbers("payment", 10).await.unwrap();
    begin(&store, sale(1, 1, midnight(-60_000))).await;
    approve(&store, 1, midnight(-59_000)).await;
    // Begun before midnight and answered after it: all of its history is of the first day.
    begin(&store, sale(2, 1, midnight(-1))).await;
    approve(&store, 2, midnight(500)).await;
    begin(&store, sale(3, 1, midnight(-30_000))).await;
    begin(&store, sale(4, 2, midnight(0))).await;
    approve(&store, 4, midnight(700)).await;
    // A node of those days would have made the partitions before; here they come after the lines.
    assert_eq!(store.adopt_history().await.unwrap(), 10);
    assert_eq!(lines(&store).await, [(Some(SECOND), true, 3), (Some(FIRST), true, 7)]);
    for id in [1, 2, 4] {
        store.append(merchant_id(), PaymentId(id), vec![line(midnight(900), "told")]).await.unwrap();
        assert_eq!(notes(&store, id).await, ["came", "answered", "pending → approved", "told"], "{id}");
    }

    let reason = refusal(store.drop_history(FIRST)).await;
    assert_eq!(reason, "1 of its payments are under way");
    let timeout = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, midnight(1_000)));
    store.apply(merchant_id(), PaymentId(3), timeout, vec![], midnight(1_000)).await.unwrap();
    let reason = refusal(store.drop_history(FIRST)).await;
    assert_eq!(reason, "1 of its payments are under way", "it waits for its reversal");
    let item = store.next_forward("unionpay").await.unwrap().unwrap();
    store.forward_done(&item, Event::ReversalDone(None), vec![], midnight(2_000)).await.unwrap();
    let reason = refusal(store.drop_history(FIRST)).await;
    assert_eq!(
        reason,
        "1 batches with payments of it are not settled; the first is 000001 of terminal 10000001 at merchant \
         898100000000001, with 2 payments"
    );
    let batch = BatchNo::FIRST;
    store.end_batch(merchant_id(), terminal_id(), batch, 2, true, midnight(3_000)).await.unwrap();
    store.drop_history(FIRST).await.unwrap();

    let reason = refusal(store.drop_history(SECOND)).await;
    assert!(reason.starts_with("1 batches with payments of it are not settled"), "{reason}");
    assert_eq!(refusal(store.drop_history(FIRST)).await, "there is none");
    assert_eq!(refusal(store.drop_history(20_250_231)).await, "that is no day");
    let today = Beijing::of(SystemClock.now()).yyyymmdd();
    let reason = refusal(store.detach_history(today)).await;
    assert!(reason.starts_with("its payments can still be refunded or completed; days up to 20"), "{reason}");

    assert_eq!(lines(&store).await, [(Some(SECOND), true, 4)]);
    assert_eq!(notes(&store, 1).await, [""; 0]);
    assert_eq!(notes(&store, 4).await.len(), 4);
    let again = PaymentRecord { id: PaymentId(9), ..sale(1, 1, midnight(5_000)) };
    let Begun::Existing(known) = store.begin(again, vec![]).await.unwrap() else {
        panic!("a repeat is known")
    };
    assert_eq!((known.id, known.state), (PaymentId(1), PaymentState::Approved));
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "what was taken out is not missing");
}

/// A day that is detached keeps its lines for a copy, and comes back with them.
#[tokio::test]
async fn a_detached_day_can_come_back() {
    let url = server::shared().database().await;
    let store = open(&url);
    store.reserve_numbers("payment", 10).await.unwrap();
    let declined = Answer { at: midnight(1), ..Answer::own(ResponseCode::TIMEOUT, midnight(1)) };
    let record =
        PaymentRecord { state: PaymentState::Declined, answer: Some(declined), ..sale(1, 1, midnight(-5)) };
    store.declined(record, vec![line(midnight(-5), "refused")]).await.unwrap();
    store.adopt_history().await.unwrap();
    assert_eq!(
        Store::open_url_read_only(&url).unwrap().detach_history(FIRST).await,
        Err(StoreError::ReadOnly)
    );
    assert_eq!(refusal(store.attach_history(FIRST)).await, "it is attached");
    // Somebody reads the history for long: neither the day nor a payment waits for that.
    let reader = server::connect(&url).await;
    reader.batch_execute("BEGIN; SELECT COUNT(*) FROM journal_entry").await.unwrap();
    let reason = refusal(store.detach_history(FIRST)).await;
    assert!(reason.contains("try again later"), "{reason}");
    begin(&store, sale(2, 1, SystemClock.now())).await;
    reader.batch_execute("COMMIT").await.unwrap();
    store.detach_history(FIRST).await.unwrap();
    assert_eq!(lines(&store).await.last(), Some(&(Some(FIRST), false, 1)));
    assert_eq!(notes(&store, 1).await, [""; 0]);
    assert_eq!(refusal(store.detach_history(FIRST)).await, "it was detached before");
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.attach_history(FIRST).await.unwrap();
    assert_eq!(notes(&store, 1).await, ["refused"]);
    store.detach_history(FIRST).await.unwrap();
    store.drop_history(FIRST).await.unwrap();
    assert_eq!(lines(&store).await.len(), 1);
}

/// Nodes that start at the same moment on a database without days: each of the days ahead is there once, payments of
/// today go to today's, and the server gathers of each day what it gathers of the whole and cleans each as slowly as the
/// payments.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_start_at_once_make_each_day_once() {
    let url = server::shared().database().await;
    let first = open(&url);
    let made: Vec<u32> = first.history_days(false).await.unwrap().iter().filter_map(|day| day.day).collect();
    assert_eq!(made.len(), 9, "yesterday, today, seven ahead: {made:?}");
    let admin = server::connect(&url).await;
    for day in &made {
        admin.batch_execute(&format!("DROP TABLE journal_entry_{day}")).await.unwrap();
    }
    let nodes: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::task::spawn_blocking(move || open(&url))
        })
        .collect();
    for (node, id) in nodes.into_iter().zip(1..) {
        let node = node.await.unwrap();
        let now = SystemClock.now();
        begin(&node, sale(id, 1, now)).await;
        approve(&node, id, now).await;
        let days: Vec<u32> =
            node.history_days(false).await.unwrap().iter().filter_map(|day| day.day).collect();
        assert_eq!(days, made);
        assert!(lines(&node).await.iter().all(|(day, ..)| day.is_some()), "{:?}", lines(&node).await);
    }
    let gathered = "SELECT attname::text, MIN(attstattarget)::int4, MAX(attstattarget)::int4 FROM pg_attribute \
         WHERE attnum > 0 AND attrelid IN (SELECT 'journal_entry'::regclass UNION SELECT inhrelid FROM pg_inherits \
         WHERE inhparent = 'journal_entry'::regclass) GROUP BY attname";
    for row in admin.query(gathered, &[]).await.unwrap() {
        let (column, least, most): (String, i32, i32) = (row.get(0), row.get(1), row.get(2));
        let wanted = if ["merchant", "payment", "sequence", "day"].contains(&&*column) { 20 } else { 0 };
        assert_eq!((least, most), (wanted, wanted), "{column}");
    }
    let hasty = "SELECT relname::text FROM pg_class WHERE relkind = 'r' \
         AND (relname = 'payment' OR relname ~ '^journal_entry') \
         AND (reloptions IS NULL OR NOT 'autovacuum_vacuum_cost_delay=20' = ANY (reloptions))";
    let hasty = admin.query(hasty, &[]).await.unwrap();
    assert!(
        hasty.is_empty(),
        "cleaned in haste: {:?}",
        hasty.iter().map(|row| row.get(0)).collect::<Vec<String>>()
    );
}

/// What a terminal was told is one more line of a history and needs the payment neither read nor locked: it waits for
/// nobody who holds the payment. (Reading it took a fifth of the database's time for a payment.)
#[tokio::test]
async fn what_a_terminal_was_told_waits_for_nobody() {
    let url = server::shared().database().await;
    let (store, admin) = (open(&url), server::connect(&url).await);
    let now = SystemClock.now();
    begin(&store, sale(1, 1, now)).await;
    approve(&store, 1, now).await;
    admin.batch_execute("BEGIN; SELECT 1 FROM payment FOR UPDATE").await.unwrap();
    let told = store.append_each(vec![(merchant_id(), PaymentId(1), line(now, "told"))]);
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.expect("it waits for the payment");
    assert_eq!(told.unwrap(), 0);
    admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(notes(&store, 1).await, ["came", "answered", "pending → approved", "told"]);
}

/// Whoever locks all other days away holds no payment up: a new payment, its outcome on the node that began it and on
/// another, further lines, a reversal and its attempts, and a look at the history, each has to do with today alone,
/// however many days there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_has_to_do_with_its_own_day_alone() {
    let url = server::shared().database().await;
    let [first, second] = [open(&url), open(&url)];
    let admin = server::connect(&url).await;
    let now = SystemClock.now();
    // A midnight while this runs changes the day of nothing: all is by the time of the payment.
    let today = Beijing::of(now).yyyymmdd();
    let days = first.history_days(false).await.unwrap();
    let mut others: Vec<String> = days
        .iter()
        .filter(|d| d.day != Some(today))
        .map(|d| d.day.map_or("default".to_owned(), |d| d.to_string()))
        .collect();
    assert_eq!(others.len(), 9, "{days:?}");
    others.iter_mut().for_each(|name| *name = format!("journal_entry_{name}"));
    let lock = format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", others.join(", "));
    admin.batch_execute(&lock).await.unwrap();
    let work = async {
        for id in 1..=4 {
            begin(&first, sale(id, 1, now)).await;
        }
        approve(&first, 1, now).await;
        approve(&second, 2, now).await;
        second.append(merchant_id(), PaymentId(1), vec![line(now, "told")]).await.unwrap();
        let told = |id| (merchant_id(), PaymentId(id), line(now, "told"));
        assert_eq!(second.append_each(vec![told(2), told(3), told(77)]).await.unwrap(), 1);
        let timeout = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, now));
        first.apply(merchant_id(), PaymentId(4), timeout, vec![], now).await.unwrap();
        let item = first.next_forward("unionpay").await.unwrap().unwrap();
        let entries = vec![line(now, "again")];
        second.forward_failed(&item, true, now, "silence", entries).await.unwrap();
        first.forward_done(&item, Event::ReversalDone(None), vec![], now).await.unwrap();
        assert_eq!(notes(&first, 1).await, ["came", "answered", "pending → approved", "told"]);
        assert_eq!(notes(&second, 2).await, ["came", "answered", "pending → approved", "told"]);
        assert_eq!(notes(&second, 3).await, ["came", "told"]);
        assert_eq!(notes(&second, 4).await.len(), 4);
    };
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("a payment waits for another day");
    admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(first.check().await.unwrap().len(), 1, "only the numbers are of no sequence");
}

/// Lines that came while their day had no partition get one from a node, without being asked; a payment of the same day
/// goes on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_stray_lines_their_day() {
    let store = open(&server::shared().database().await);
    for id in 1..=100 {
        begin(&store, sale(id, 1, midnight(id))).await;
        approve(&store, id, midnight(id)).await;
    }
    let began = Instant::now();
    let mut id = 100;
    while lines(&store).await.iter().any(|(day, ..)| day.is_none()) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", lines(&store).await);
        id += 1;
        begin(&store, sale(id, 1, midnight(id))).await;
        tokio::time::sleep(Duration::from_millis(20)).await; // the next poll of the days
        approve(&store, id, midnight(id)).await;
    }
    for id in 1..=id {
        assert_eq!(notes(&store, id).await, ["came", "answered", "pending → approved"], "{id}");
    }
    assert_eq!(lines(&store).await, [(Some(SECOND), true, id.unsigned_abs() * 3)]);
    assert!(!store.is_failed());
}

/// With a number of days to keep, a node drops those before by itself, under the same rules as a person: what is not
/// settled stays. The least number keeps what can still be refunded, and SQLite has no days.
#[tokio::test]
async fn days_older_than_is_kept_go_by_themselves() {
    let url = server::shared().database().await;
    let store = open(&url);
    store.put_merchant(&common::merchant()).await.unwrap();
    store.put_terminal(&common::terminal()).await.unwrap();
    for (id, ms) in [(1, -5), (2, 5)] {
        begin(&store, sale(id, id.unsigned_abs(), midnight(ms))).await;
        approve(&store, id, midnight(ms)).await;
    }
    store.end_batch(merchant_id(), terminal_id(), BatchNo::FIRST, 1, true, midnight(3_000)).await.unwrap();
    store.adopt_history().await.unwrap();
    store.close().await;
    let options = StoreOptions { history_days: Some(HISTORY_DAYS_MIN), ..StoreOptions::new("") };
    let store = Store::open_url(&url, options.clone()).unwrap();
    let began = Instant::now();
    while lines(&store).await.len() > 1 {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", lines(&store).await);
        tokio::time::sleep(Duration::from_millis(50)).await; // the next poll of the days
    }
    assert_eq!(lines(&store).await, [(Some(SECOND), true, 3)]);

    let few = StoreOptions { history_days: Some(HISTORY_DAYS_MIN - 1), ..StoreOptions::new("") };
    assert!(matches!(Store::open_url(&url, few).err(), Some(StoreError::Misuse { .. })));
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().display());
    assert!(matches!(Store::open_url(&file, options).err(), Some(StoreError::Misuse { .. })));
    let store = Store::open_url(&file, StoreOptions::new("")).unwrap();
    assert!(matches!(store.history_days(false).await, Err(StoreError::Misuse { .. })));
}
