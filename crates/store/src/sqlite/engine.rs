//! SQLite as the operations see it, and its group commit: one transaction, and a savepoint an operation where one of
//! them fails half way.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::time::{Duration, Instant};

use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::{MerchantId, PaymentId};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Row, params_from_iter};
use tokio::sync::mpsc;

use super::checkpoint::Checkpointer;
use super::pending::Pending;
use crate::db::{Cells, Db, Fault, Op, Value, WrongType, params};
use crate::payments::{self, payment_update};
use crate::rows::{all, millis, one};
use crate::writer::{Command, Journal, Operation, Verdict};

/// How long a group waits for others to share it, when there is much to do. A group costs as much as a handful of
/// operations before it has any: begin, commit, flush, and the pages that every group writes anew. Without the wait a
/// writer that goes first makes groups of three, and spends a third of a busy machine on their frames.
const GATHER: Duration = Duration::from_micros(300);
/// Much to do is when the last group had so many operations: a node with little to do never waits.
const BUSY: usize = 6;
/// A group that has so many already need not wait.
const GATHERED: usize = 64;

const APPEND: &str = "INSERT INTO journal_entry (merchant, payment, at, kind, message, note) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const HISTORY: &str = "SELECT at, kind, message, note FROM journal_entry WHERE payment = ?2 AND merchant = ?1 \
     ORDER BY number";
const FIRST_SENT: &str = "SELECT at, kind, message, note FROM journal_entry WHERE payment = ?2 AND merchant = ?1 \
     AND kind = 'network_out' ORDER BY number LIMIT 1";
const EXISTS: &str = "SELECT 1 FROM payment WHERE id = ?2 AND merchant = ?1";

/// The engine's failure as a sentence. SQLite names columns and files in its messages, never values.
pub(super) fn sentence(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: ",
        Some(ErrorCode::ReadOnly) => "the journal cannot be written: ",
        Some(ErrorCode::SystemIoFailure) => "the disk does not read or write: ",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "the journal file is damaged: ",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another program holds the journal: ",
        _ => "",
    };
    format!("{advice}{error}")
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Fault::Constraint(error.to_string()),
            _ => Fault::Engine(sentence(&error)),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Cells for Row<'_> {
    fn int(&self, at: usize) -> Result<Option<i64>, WrongType> {
        match self.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Integer(number)) => Ok(Some(number)),
            _ => Err(WrongType),
        }
    }

    fn text(&self, at: usize) -> Result<Option<&str>, WrongType> {
        match self.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).map(Some).map_err(|_| WrongType),
            _ => Err(WrongType),
        }
    }

    fn blob(&self, at: usize) -> Result<Option<&[u8]>, WrongType> {
        match self.get_ref(at) {
            Ok(ValueRef::Null) => Ok(None),
            Ok(ValueRef::Blob(bytes)) => Ok(Some(bytes)),
            _ => Err(WrongType),
        }
    }
}

/// A connection.
pub(super) struct SqliteDb {
    pub(super) connection: Connection,
    pending: RefCell<Pending>,
    /// The count of changes by other connections when `pending` was last right.
    changes_beside: Cell<i64>,
}

impl SqliteDb {
    pub(super) fn new(connection: Connection) -> Self {
        SqliteDb { connection, pending: RefCell::default(), changes_beside: Cell::new(0) }
    }

    fn append(&self, merchant: MerchantId, id: PaymentId, entries: &[JournalEntry]) -> Op<()> {
        for entry in entries {
            let (at, kind) = (millis(entry.at), entry.kind.code());
            self.execute(APPEND, params![merchant.as_str(), id.0, at, kind, &entry.bytes, &entry.note])?;
        }
        Ok(())
    }

    /// Something was undone, or was changed past the methods here.
    pub(super) fn forget(&self) {
        self.pending.borrow_mut().forget();
    }

    /// Forgets what another connection may have changed. Inside a transaction, where that cannot happen any more.
    fn look_beside(&self) -> Op<()> {
        let count = one(self, "PRAGMA data_version", &[], |c| c.take::<i64>("data_version"))?;
        if self.changes_beside.replace(count.unwrap_or_default()) != count.unwrap_or_default() {
            self.forget();
        }
        Ok(())
    }
}

impl Db for SqliteDb {
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while let Some(row) = rows.next()? {
            if !read(row)? {
                break;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64> {
        let changed = self.connection.prepare_cached(sql)?.execute(params_from_iter(params))?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn payment_by_id(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
        if let Some(record) = self.pending.borrow().get(id) {
            return Ok(Some(record).filter(|record| record.merchant == merchant).cloned());
        }
        payments::by_id(self, merchant, id)
    }

    fn insert_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::insert_row(self, record)?;
        self.pending.borrow_mut().written(record);
        Ok(())
    }

    fn update_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::update_row(self, payment_update!(", room = NULL"), record)?;
        self.pending.borrow_mut().written(record);
        Ok(())
    }

    fn append_entries(&self, of: &PaymentRecord, _new: bool, entries: &[JournalEntry]) -> Op<()> {
        self.append(of.merchant, of.id, entries)
    }

    fn append_by_id(&self, merchant: MerchantId, id: PaymentId, entries: &[JournalEntry]) -> Op<bool> {
        let found = one(self, EXISTS, params![merchant.as_str(), id.0], |_| Ok(()))?.is_some();
        if found {
            self.append(merchant, id, entries)?;
        }
        Ok(found)
    }

    fn history(&self, merchant: MerchantId, id: PaymentId) -> Op<Vec<JournalEntry>> {
        all(self, HISTORY, params![merchant.as_str(), id.0], |c| c.entry())
    }

    fn first_sent(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<JournalEntry>> {
        one(self, FIRST_SENT, params![merchant.as_str(), id.0], |c| c.entry())
    }

    fn plain(&self) -> &dyn Db {
        self
    }
}

/// The writing connection, with the lock that is held as long as the journal is open for writing.
pub(super) struct SqliteJournal {
    db: SqliteDb,
    checkpointer: Option<Checkpointer>,
    /// Operations of the last group.
    last: usize,
    _lock: Option<File>,
}

impl SqliteJournal {
    pub(super) fn new(db: SqliteDb, checkpointer: Option<Checkpointer>, lock: Option<File>) -> Self {
        SqliteJournal { db, checkpointer, last: 0, _lock: lock }
    }

    #[cfg(feature = "simulation")]
    pub(super) fn db(&self) -> &SqliteDb {
        &self.db
    }

    fn run(&self, sql: &str) -> Result<(), String> {
        let result = self.db.connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        result.map(|_| ()).map_err(|e| sentence(&e))
    }

    fn begin(&self) -> Result<(), String> {
        self.run("BEGIN IMMEDIATE")?;
        self.db.look_beside().map_err(|fault| format!("changes by others cannot be counted: {fault:?}"))
    }

    /// Runs the operations one after the other. False when one came to nothing after it had written: its writes
    /// cannot be told from the others' then.
    fn run_together(&self, group: &mut [Operation]) -> Result<bool, String> {
        for operation in group {
            let before = self.db.connection.total_changes();
            match operation.run(&self.db) {
                Verdict::Keep => {}
                Verdict::Undo | Verdict::Contested if self.db.connection.total_changes() == before => {}
                Verdict::Undo | Verdict::Contested => return Ok(false),
                Verdict::Fatal(reason) => return Err(reason),
            }
        }
        Ok(true)
    }

    /// Runs each operation in a savepoint of its own.
    fn run_apart(&self, group: &mut [Operation]) -> Result<(), String> {
        group.iter_mut().try_for_each(|operation| {
            self.run("SAVEPOINT operation")?;
            match operation.run(&self.db) {
                Verdict::Keep => self.run("RELEASE operation"),
                Verdict::Undo | Verdict::Contested => {
                    self.db.forget();
                    self.run("ROLLBACK TO operation").and_then(|()| self.run("RELEASE operation"))
                }
                Verdict::Fatal(reason) => Err(reason),
            }
        })
    }
}

impl Journal for SqliteJournal {
    fn receive(
        &mut self,
        queue: &mut mpsc::Receiver<Command>,
        group: &mut Vec<Command>,
        max: usize,
    ) -> Result<usize, String> {
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.finish_long(&self.db.connection);
        }
        let took = queue.blocking_recv_many(group, max);
        if took > 0 && took < GATHERED && self.last >= BUSY {
            std::thread::sleep(GATHER);
            while group.len() < max
                && let Ok(command) = queue.try_recv()
            {
                group.push(command);
            }
        }
        self.last = group.len();
        Ok(self.last)
    }

    /// After an error the transaction is not committed, and the operations after it are not run.
    ///
    /// The group runs without savepoints first: each would cost a copy of every page that an operation changes,
    /// and only an operation that fails after it has written needs one. When there is such an operation, all is
    /// undone and runs once more, each in its savepoint.
    fn commit(&mut self, group: &mut Vec<Operation>) -> Result<(), String> {
        self.begin()?;
        let each = match self.run_together(group) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.db.forget();
                self.run("ROLLBACK").and_then(|()| self.begin()).and_then(|()| self.run_apart(group))
            }
            Err(reason) => Err(reason),
        };
        let ran = Instant::now();
        let committed = each.and_then(|()| self.run("COMMIT"));
        metrics::histogram!("posp_store_commit_seconds").record(ran.elapsed().as_secs_f64());
        if let (Ok(()), Some(checkpointer)) = (&committed, &mut self.checkpointer) {
            checkpointer.committed(group.len());
        }
        committed.inspect_err(|_| {
            // The engine may have undone it already; either way nothing of it may stand.
            self.db.forget();
            let _ = self.run("ROLLBACK");
        })
    }

    fn finish(&mut self) {
        self.checkpointer = None;
        let result =
            self.db.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = result {
            // The log stays beside the file and is read at the next start: nothing is lost.
            tracing::warn!(reason = sentence(&error), "the log was not moved into the journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use crate::payments::{
        BY_AUTHORISATION, BY_ID, BY_NETWORK_KEY, BY_REFERENCE, BY_TRACE, HIGHEST_TRACE, pending_before_text,
    };
    use crate::{forwards, migrations};

    /// The look-ups of the payment path, and those of every pass of store-and-forward and recovery, go
    /// straight to their rows: by an index with every column that the look-up names, without a sort.
    #[test]
    fn look_ups_go_straight_to_their_rows() {
        let db = Connection::open_in_memory().unwrap();
        for migration in migrations::MIGRATIONS {
            db.execute_batch(migration.sqlite).unwrap();
        }
        let plans = [
            (BY_TRACE, "payment_key (merchant=? AND terminal=? AND batch=? AND trace=?)"),
            (HIGHEST_TRACE, "payment_key (merchant=? AND terminal=? AND batch=?)"),
            (BY_ID, "INTEGER PRIMARY KEY (rowid=?)"),
            (super::EXISTS, "INTEGER PRIMARY KEY (rowid=?)"),
            (super::HISTORY, "journal_entry_payment (payment=?)"),
            (super::FIRST_SENT, "journal_entry_payment (payment=?)"),
            (BY_REFERENCE, "payment_rrn (rrn=?)"),
            (BY_AUTHORISATION, "payment_authorisation (merchant=? AND auth_code=? AND card_digest=?)"),
            (BY_NETWORK_KEY, "payment_network (network_trace=? AND created>?)"),
            (&pending_before_text("payment"), "payment_open (state=? AND created<?)"),
            (forwards::HEAD, "forward_open (line=? AND status=?)"),
            (forwards::DEPTH, "forward_open (line=? AND status=?)"),
        ];
        for (sql, index) in plans {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get(3).unwrap());
            }
            assert_eq!(steps.len(), 1, "{steps:?} for {sql}");
            assert!(steps[0].starts_with("SEARCH") & steps[0].ends_with(index), "{steps:?} for {sql}");
        }
    }
}
