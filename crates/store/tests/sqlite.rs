//! What is the embedded engine's own: files, locks, versions of the schema, crashes, a failing disk, and
//! what the files must not contain. Several cases look at, or meddle with, the file from outside, as another
//! program or a bad disk would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use acquiring::download::{Demand, List, ListItem, Scope as DownloadScope};
use acquiring::kind::Kind;
use acquiring::limit::{CardClass, Limit, LimitHold, LimitScope};
use acquiring::payment::{EntryKind, PaymentRecord};
use acquiring::transition::Event;
use acquiring::{BatchNo, PaymentId, ResponseCode};
use common::{answer, at, keys, merchant, merchant_id, message, payment, terminal, terminal_id};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use store::{
    BatchLine, Begun, CancelRequest, Cancelled, JOURNAL_FILE, Store, StoreError, StoreOptions, TerminalStatus,
};

fn open(directory: &Path) -> Store {
    Store::open(StoreOptions::new(directory)).unwrap()
}

/// The file as another program sees it.
fn raw(directory: &Path) -> Connection {
    Connection::open(directory.join(JOURNAL_FILE)).unwrap()
}

async fn begin(store: &Store, id: i64) -> Result<Begun, StoreError> {
    store.begin(payment(id, Kind::Sale), vec![message(id, EntryKind::TerminalIn, 294)]).await
}

async fn pay(store: &Store, id: i64) -> Result<(), StoreError> {
    begin(store, id).await?;
    let event = Event::Answered(answer(ResponseCode::APPROVED, id));
    store.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await?;
    Ok(())
}

/// A little of everything, so that no table is empty.
async fn populate(store: &Store) {
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
    for n in 1..=2 {
        store.save_sign_in(merchant_id(), terminal_id(), &keys(n), at(1)).await.unwrap();
    }
    store.bind_vault("5af1c3").await.unwrap();
    store.reserve_numbers("payment", 100).await.unwrap();
    pay(store, 1).await.unwrap();
    pay(store, 2).await.unwrap();
    let scope = LimitScope { merchant: Some(merchant_id()), ..LimitScope::default() };
    let limit = Limit { scope, single: None, day_amount: None, day_count: Some(9) };
    store.put_limit(&limit).await.unwrap();
    store.put_bin("622424", Some(CardClass::Debit)).await.unwrap();
    let hold = LimitHold { scope: scope.text(), day: 20_261_124, amount_max: None, count_max: Some(9) };
    store.begin_within(payment(3, Kind::Sale), vec![hold], vec![]).await.unwrap();
    store.put_signature(merchant_id(), PaymentId(3), 800, vec![0x2a; 20], vec![], at(2)).await.unwrap();
    let sale = payment(1, Kind::Sale);
    let mut request = CancelRequest {
        merchant: sale.merchant,
        terminal: sale.terminal,
        batch: sale.batch,
        trace: sale.trace,
        amount: sale.amount,
        reason: ResponseCode::NO_ANSWER,
        payload: None,
        at: at(3),
    };
    let entries = || vec![message(3, EntryKind::TerminalIn, 100)];
    assert!(matches!(store.cancel(request.clone(), entries()).await.unwrap(), Cancelled::Applied(_)));
    request.trace = acquiring::Trace::new(900).unwrap();
    assert_eq!(store.cancel(request, entries()).await.unwrap(), Cancelled::Unknown);
    store.record_unmatched("unionpay", at(4), vec![0x2a; 20], "no such request").await.unwrap();
    let line = BatchLine {
        trace: acquiring::Trace::new(77).unwrap(),
        card_digest: Some([7; 32]),
        amount: sale.amount,
        foreign: None,
        at: at(5),
        kind: Kind::BatchUpMagnetic,
    };
    store.batch_line(merchant_id(), terminal_id(), BatchNo::FIRST, line).await.unwrap();
    store.end_batch(merchant_id(), terminal_id(), BatchNo::FIRST, 1, false, at(6)).await.unwrap();
    let item = ListItem {
        list: List::Parameters,
        scope: DownloadScope::Everyone,
        name: "timeout".to_owned(),
        value: "45".to_owned(),
    };
    store.put_list_items(vec![item]).await.unwrap();
    store.download_begun(merchant_id(), terminal_id(), List::Parameters, 1).await.unwrap();
    store.put_demands(vec![(merchant_id(), terminal_id())], vec![Demand::Status], at(7)).await.unwrap();
    let status = TerminalStatus { at: at(8), items: b"1260".to_vec() };
    store.save_terminal_status(merchant_id(), terminal_id(), status).await.unwrap();
}

fn tables(db: &Connection) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut statement = db.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// First column of an index.
fn first_column(db: &Connection, index: &str) -> String {
    let sql = "SELECT name FROM pragma_index_info(?1) WHERE seqno = 0";
    db.query_row(sql, [index], |row| row.get(0)).unwrap()
}

/// The shard key: on the payment path every primary key and unique index begins with the merchant, so that
/// a database divided by merchant needs no other schema. Look-ups by people and per line are not unique.
#[tokio::test]
async fn keys_on_the_payment_path_begin_with_the_merchant() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let db = raw(directory.path());
    let aside = [
        "meta",
        "counter",
        "number_block",
        "schema_version",
        "unmatched_message",
        "forward_lease",
        "node",
        "card_bin",
        "list_item",
        "list_stamp",
        // In the order in which it happens; PostgreSQL, which could be spread over servers, has it by merchant.
        "journal_entry",
    ];
    let mut checked = 0;
    for table in tables(&db) {
        if aside.contains(&table.as_str()) {
            continue;
        }
        let sql = "SELECT name FROM pragma_index_list(?1) WHERE \"unique\" = 1";
        let mut statement = db.prepare(sql).unwrap();
        let indexes: Vec<String> =
            statement.query_map([&table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(!indexes.is_empty(), "{table} has a primary key");
        for index in indexes {
            assert_eq!(first_column(&db, &index), "merchant", "{index} of {table}");
            checked += 1;
        }
    }
    assert!(checked >= 12, "{checked}");
    drop(store);
}

/// The text of the migrations stays in the subset that other engines share.
#[test]
fn the_schema_speaks_the_common_subset() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue; // what one engine has for itself
        }
        let text = std::fs::read_to_string(&path).unwrap().to_uppercase();
        let sql: String = text.lines().filter(|l| !l.starts_with("--")).collect::<Vec<_>>().join("\n");
        for word in ["ROWID", "AUTOINCREMENT", "STRFTIME", "DATETIME", "BLOB", "REAL", "STRICT", "PRAGMA"] {
            assert!(!sql.contains(word), "{word} in {}", path.display());
        }
    }
}

/// No account number in the clear, in any column or anywhere in the files, log included.
#[tokio::test]
async fn no_file_contains_an_account_number() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    populate(&store).await;
    let scan = |when: &str| {
        let db = raw(directory.path());
        for table in tables(&db) {
            let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            let mut count = 0;
            while let Some(row) = rows.next().unwrap() {
                count += 1;
                for column in 0..columns {
                    let text = match row.get_ref(column).unwrap() {
                        ValueRef::Null => continue,
                        ValueRef::Integer(number) => number.to_string().into_bytes(),
                        ValueRef::Real(_) => panic!("{table} has a float"),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
                    };
                    assert!(!contains_pan(&text), "{table}, column {column}, {when}");
                }
            }
            // Only several nodes on one store lease lines, and tell of themselves.
            let of_several = ["forward_lease", "node"].contains(&table.as_str());
            assert!(count > 0 || of_several, "{table} was not populated");
        }
        drop(db);
        let mut files = 0;
        for file in std::fs::read_dir(directory.path()).unwrap() {
            let path = file.unwrap().path();
            files += 1;
            assert!(!contains_pan(&std::fs::read(&path).unwrap()), "{}, {when}", path.display());
        }
        files
    };
    assert!(scan("while it is open") >= 3, "the journal, its log and its lock");
    store.close().await;
    scan("after it was closed");
}

/// As text, and as packed decimal digits on either alignment.
fn contains_pan(bytes: &[u8]) -> bool {
    let digits = common::PAN.as_bytes();
    let packed = |digits: &[u8]| -> Vec<u8> {
        digits.chunks_exact(2).map(|pair| (pair[0] - b'0') << 4 | (pair[1] - b'0')).collect()
    };
    let patterns = [digits.to_vec(), packed(digits), packed(&digits[1..])];
    patterns.iter().any(|p| bytes.windows(p.len()).any(|w| w == p))
}

/// Everything answered is there after the store went away without being closed.
#[tokio::test]
async fn what_was_answered_is_there_after_a_drop() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    populate(&store).await;
    for id in 100..150 {
        pay(&store, id).await.unwrap();
    }
    drop(store);
    let store = open(directory.path());
    for id in 100..150 {
        assert!(store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap().state.counts());
    }
    assert_eq!(store.next_forward("unionpay").await.unwrap().unwrap().payment, PaymentId(1));
    assert_eq!(store.reserve_numbers("payment", 1).await.unwrap(), 101, "numbers are not given again");
}

/// The children of the tests below run in a process of their own: this same program with the case named in
/// the environment. In an ordinary run there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var("STORE_TEST_DIRECTORY") else { return };
    let store = open(Path::new(&directory));
    let lanes: Vec<_> = (0..8)
        .map(|lane| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..100_000 {
                    let id = 1 + lane * 100_000 + n;
                    match pay(&store, id).await {
                        Ok(()) => println!("\npaid {id}"),
                        Err(error) => return error,
                    }
                }
                panic!("nobody stopped lane {lane}")
            })
        })
        .collect();
    for lane in lanes {
        println!("\nstopped: {}", lane.await.unwrap());
    }
    store.failed().await;
    println!("\nfailed: {:?}", begin(&store, 999_999).await);
}

fn child_command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("STORE_TEST_DIRECTORY", directory).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

const CHILD_ARGUMENTS: [&str; 4] = ["child", "--exact", "--nocapture", "--test-threads=1"];

/// Killed (SIGKILL) at work: every payment that was answered is there, whole.
#[tokio::test]
async fn g7_what_was_answered_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    for round in 1..=3usize {
        let mut child = child_command(program.to_str().unwrap(), &directory.path().join(round.to_string()))
            .args(CHILD_ARGUMENTS)
            .spawn()
            .unwrap();
        let mut paid = Vec::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.strip_prefix("paid ").and_then(|id| id.parse::<i64>().ok()) {
                paid.push(id);
            }
            if paid.len() == 150 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(paid.len() >= 150 * round, "{}", paid.len());
        let store = open(&directory.path().join(round.to_string()));
        for id in paid {
            let record = store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap();
            assert!(record.state.counts() && record.answer.is_some(), "{id}");
            assert_eq!(store.history(merchant_id(), PaymentId(id)).await.unwrap().len(), 2);
        }
        // What was under way is either not there, or pending or approved: nothing in between.
        let db = raw(&directory.path().join(round.to_string()));
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// The disk is full (a limit on the size of files stands for it): the store fails with a sentence, takes no
/// more work, and what was answered before is there.
#[cfg(unix)]
#[tokio::test]
async fn g7_a_full_disk_stops_the_store_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    // 4,096 blocks of 512 bytes: room for the schema and some hundred payments.
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
    let output = child_command("sh", directory.path())
        .args(["-c", script, program.to_str().unwrap()])
        .args(CHILD_ARGUMENTS)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stopped: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("stopped: ")).collect();
    assert_eq!(stopped.len(), 8, "{text}");
    for sentence in stopped {
        assert!(sentence.starts_with("the store has failed and takes no more work: the disk"), "{sentence}");
    }
    assert!(text.contains("failed: Err(Failed"), "{text}");
    let paid: Vec<i64> =
        text.lines().filter_map(|l| l.strip_prefix("paid ")).map(|id| id.parse().unwrap()).collect();
    assert!(paid.len() > 50, "{}", paid.len());
    let store = open(directory.path());
    for id in paid {
        assert!(store.by_id(merchant_id(), PaymentId(id)).await.unwrap().unwrap().state.counts(), "{id}");
    }
}

/// A commit that fails (a constraint that is checked at the commit stands for a failing flush) fails every
/// operation of its group and all that follow; nothing of the group is on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_failed_commit_fails_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    pay(&store, 1).await.unwrap();
    raw(directory.path())
        .execute_batch(
            "CREATE TABLE parent (id BIGINT PRIMARY KEY);
             CREATE TABLE child (id BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER poison AFTER INSERT ON payment WHEN NEW.trace = 666
             BEGIN INSERT INTO child (id) VALUES (1); END;",
        )
        .unwrap();
    pay(&store, 2).await.unwrap();
    assert!(!store.is_failed());
    let watcher = tokio::spawn({
        let store = store.clone();
        async move { store.failed().await }
    });
    let error = begin(&store, 666).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    watcher.await.unwrap();
    assert!(store.is_failed());
    assert_eq!(begin(&store, 3).await.unwrap_err(), error, "never tried again");
    let applied = store.apply(merchant_id(), PaymentId(2), Event::ReversalDone(None), vec![], at(0)).await;
    assert_eq!(applied.unwrap_err(), error);
    assert!(store.by_id(merchant_id(), PaymentId(666)).await.unwrap().is_none());
    drop(store);

    raw(directory.path()).execute_batch("DROP TRIGGER poison").unwrap();
    let store = open(directory.path());
    assert!(store.by_id(merchant_id(), PaymentId(2)).await.unwrap().is_some());
    pay(&store, 3).await.unwrap();
}

/// While another program holds the file, new payments beyond the queue are refused at once; work that was
/// accepted before waits and is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g12_overload_refuses_new_payments_and_finishes_old_ones() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions { queue: 2, ..StoreOptions::new(directory.path()) }).unwrap();
    for id in 1..=20 {
        begin(&store, id).await.unwrap();
    }
    let other = raw(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let old: Vec<_> = (1..=20)
        .map(|id| {
            let store = store.clone();
            let event = Event::Answered(answer(ResponseCode::APPROVED, id));
            tokio::spawn(
                async move { store.apply(merchant_id(), PaymentId(id), event, vec![], at(id)).await },
            )
        })
        .collect();
    let new: Vec<_> = (101..=120)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move { begin(&store, id).await })
        })
        .collect();
    let (sender, mut refusals) = tokio::sync::mpsc::channel(20);
    let new: Vec<_> = new
        .into_iter()
        .map(|task| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let result = task.await.unwrap();
                if matches!(result, Err(StoreError::Overloaded { waiting: 2 })) {
                    sender.send(()).await.unwrap();
                }
                result
            })
        })
        .collect();
    // At most one group is with the writer and two wait: the others are refused while the file is held.
    for _ in 0..10 {
        refusals.recv().await.unwrap();
    }
    other.execute_batch("ROLLBACK").unwrap();
    for task in old {
        assert!(task.await.unwrap().unwrap().record.state.counts());
    }
    for task in new {
        match task.await.unwrap() {
            Ok(Begun::Journaled) | Err(StoreError::Overloaded { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Long before the queue is full, a writer that is behind refuses new payments and goes on with accepted work; when it
/// has caught up it takes them again.
#[tokio::test]
async fn a_long_wait_refuses_new_work_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        wait_max: std::time::Duration::ZERO,
        group_max: 1,
        ..StoreOptions::new(directory.path())
    };
    let store = Store::open(options).unwrap();
    let begun = |id| {
        let store = store.clone();
        tokio::spawn(async move { begin(&store, id).await })
    };
    // Another program holds the file: the second payment waits for the first.
    let other = raw(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let early = [begun(1), begun(2)];
    tokio::task::yield_now().await;
    other.execute_batch("COMMIT").unwrap();
    for payment in early {
        assert_eq!(payment.await.unwrap().unwrap(), Begun::Journaled);
    }
    // It holds it again: nothing was quicker than no time at all, so what is more than a group is refused.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let late: Vec<_> = (3..=10).map(begun).collect();
    tokio::task::yield_now().await;
    // Who asks before it spends anything on a request hears the same.
    assert!(matches!(store.admits(), Err(StoreError::Overloaded { .. })));
    other.execute_batch("COMMIT").unwrap();
    let mut refused = 0;
    for payment in late {
        match payment.await.unwrap() {
            Ok(begun) => assert_eq!(begun, Begun::Journaled),
            Err(error) => {
                assert!(matches!(error, StoreError::Overloaded { waiting: 2..=4 }), "{error}");
                refused += 1;
            }
        }
    }
    assert!((4..=6).contains(&refused), "{refused} of 8 refused");
    store.admits().unwrap();
    assert!(matches!(begin(&store, 11).await, Ok(Begun::Journaled)));
}

/// `posp txn` reads beside a running server, sees what was answered, and cannot write.
#[tokio::test]
async fn a_reader_beside_a_running_writer() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Store::open_read_only(directory.path()).err().unwrap();
    assert!(matches!(missing, StoreError::CannotOpen { .. }), "{missing}");
    let store = open(directory.path());
    pay(&store, 1).await.unwrap();
    let reader = Store::open_read_only(directory.path()).unwrap();
    assert!(reader.by_id(merchant_id(), PaymentId(1)).await.unwrap().is_some());
    pay(&store, 2).await.unwrap();
    assert!(reader.by_id(merchant_id(), PaymentId(2)).await.unwrap().unwrap().state.counts());
    assert_eq!(begin(&reader, 3).await.unwrap_err(), StoreError::ReadOnly);
    assert!(!reader.is_failed());
    store.close().await;
    assert!(reader.by_id(merchant_id(), PaymentId(2)).await.unwrap().is_some());
    // And when no server runs at all.
    let reader = Store::open_read_only(directory.path()).unwrap();
    assert!(reader.by_id(merchant_id(), PaymentId(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_closed_store_takes_nothing_for_any_clone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let clone = store.clone();
    pay(&store, 1).await.unwrap();
    store.close().await;
    assert_eq!(begin(&clone, 2).await.unwrap_err(), StoreError::Closed);
    assert_eq!(clone.by_id(merchant_id(), PaymentId(1)).await.unwrap_err(), StoreError::Closed);
    let log = std::fs::metadata(directory.path().join("journal.db-wal"));
    assert!(log.is_err() || log.unwrap().len() == 0, "the log was moved into the file");
    open(directory.path());
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = Store::open(StoreOptions::new(directory.path())).err().unwrap();
    assert_eq!(error, StoreError::InUse { directory: directory.path().to_owned() });
    assert!(error.to_string().contains("is in use by another process"));
    drop(store);
    open(directory.path());
}

/// The newest version of the schema: the highest number that a file begins with.
fn known() -> i64 {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = [migrations.clone(), migrations.join("sqlite"), migrations.join("postgres")]
        .into_iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap())
        .map(Result::unwrap)
        .filter(|file| file.path().is_file());
    files.map(|file| file.file_name().to_str().unwrap()[..4].parse().unwrap()).max().unwrap()
}

/// A journal of the first version, with a payment in it, is brought up to date and keeps the payment.
#[tokio::test]
async fn an_old_journal_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let db = raw(directory.path());
    db.execute_batch(include_str!("../migrations/0001_journal.sql")).unwrap();
    db.execute_batch(
        "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL);
         INSERT INTO schema_version VALUES (1, 0);
         INSERT INTO payment (merchant, id, terminal, batch, trace, kind, state, amount, currency, \
         entry_mode, condition_code, terminal_traits, request_digest, line, network_trace, transmission, \
         rrn, refunded, created) VALUES ('898100000000001', 5, '10000001', 1, 5, 'sale', 'approved', 700, \
         156, 21, 0, 0, zeroblob(32), 'unionpay', 6, 1124101500, '112400000005', 0, 1);",
    )
    .unwrap();
    drop(db);
    let error = Store::open_read_only(directory.path()).err().unwrap();
    assert_eq!(error, StoreError::OlderSchema { directory: directory.path().to_owned(), found: 1 });
    let store = open(directory.path());
    let totals = store.batch_totals(merchant_id(), terminal_id(), BatchNo::FIRST).await.unwrap();
    assert_eq!((totals.domestic.debit.amount.fen(), totals.domestic.debit.count), (700, 1));
    store.put_merchant(&merchant()).await.unwrap();
    store.put_terminal(&terminal()).await.unwrap();
    store.end_batch(merchant_id(), terminal_id(), BatchNo::FIRST, 0, true, at(1)).await.unwrap();
    drop(store);
    let versions: Vec<i64> = raw(directory.path())
        .prepare("SELECT version FROM schema_version ORDER BY version")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(versions, (1..=known()).collect::<Vec<_>>());
    Store::open_read_only(directory.path()).unwrap();
}

#[tokio::test]
async fn a_newer_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).close().await;
    raw(directory.path()).execute("INSERT INTO schema_version VALUES (99, 0)", []).unwrap();
    for error in [
        Store::open(StoreOptions::new(directory.path())).err().unwrap(),
        Store::open_read_only(directory.path()).err().unwrap(),
    ] {
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
        let sentence = format!("schema version 99, this program knows versions up to {}", known());
        assert!(error.to_string().contains(&sentence), "{error}");
    }
}

/// A directory that cannot be made (its parent is a file), and a file that is no journal.
#[test]
fn what_cannot_be_opened_is_told_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let error = Store::open(StoreOptions::new(file.join("data"))).err().unwrap();
    assert!(matches!(&error, StoreError::CannotOpen { path, .. } if *path == file.join("data")), "{error}");

    std::fs::write(directory.path().join(JOURNAL_FILE), "x".repeat(8_192)).unwrap();
    let error = Store::open(StoreOptions::new(directory.path())).err().unwrap();
    assert!(error.to_string().contains("the journal file is damaged"), "{error}");
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a/b");
    let _store = open(&data);
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

/// A value that another program spoiled is told by its column, and harms nothing else.
#[tokio::test]
async fn a_spoiled_value_is_told_by_its_column() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    pay(&store, 1).await.unwrap();
    pay(&store, 2).await.unwrap();
    raw(directory.path())
        .execute("UPDATE payment SET pan_masked = '6224242000000021' WHERE id = 1", [])
        .unwrap();
    let error = store.by_id(merchant_id(), PaymentId(1)).await.unwrap_err();
    assert_eq!(error, StoreError::Damaged { column: "pan_masked" });
    assert!(!error.to_string().contains(common::PAN));
    let event = Event::CancelRequested(ResponseCode::NO_ANSWER);
    let applied = store.apply(merchant_id(), PaymentId(1), event, vec![], at(0)).await;
    assert_eq!(applied.unwrap_err(), error);
    assert!(!store.is_failed());
    assert!(store.by_id(merchant_id(), PaymentId(2)).await.unwrap().is_some());
    let intent = PaymentRecord { batch: BatchNo::new(9).unwrap(), ..payment(3, Kind::Sale) };
    assert_eq!(store.begin(intent, vec![]).await.unwrap(), Begun::Journaled);
}
