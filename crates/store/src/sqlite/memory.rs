//! A journal in memory, for the simulation: the same statements and the same group commit, without file and flush.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::{MerchantId, PaymentId};
use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::engine::{SqliteDb, SqliteJournal, sentence};
use super::{STATEMENTS, cannot_open, migrate};
use crate::db::{Cells, Db, Op, Value};
use crate::error::StoreError;
use crate::simulation::Cell;
use crate::writer::{Journal, Operation, Verdict};

/// How the statements of nodes that share a database read its clock, in milliseconds.
const DATABASE_CLOCK: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

/// A database whose clock shows virtual time.
struct OnVirtualTime<'a> {
    db: &'a SqliteDb,
    now: Timestamp,
}

impl Db for OnVirtualTime<'_> {
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()> {
        self.db.rows(sql, params, read)
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64> {
        if sql.contains(DATABASE_CLOCK) {
            let now = self.now.as_millisecond().to_string();
            return self.db.execute(&sql.replace(DATABASE_CLOCK, &now), params);
        }
        self.db.execute(sql, params)
    }

    fn append_entries(&self, of: &PaymentRecord, new: bool, entries: &[JournalEntry]) -> Op<()> {
        self.db.append_entries(of, new, entries)
    }

    fn append_by_id(&self, merchant: MerchantId, id: PaymentId, entries: &[JournalEntry]) -> Op<bool> {
        self.db.append_by_id(merchant, id, entries)
    }

    fn history(&self, merchant: MerchantId, id: PaymentId) -> Op<Vec<JournalEntry>> {
        self.db.history(merchant, id)
    }

    fn first_sent(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<JournalEntry>> {
        self.db.first_sent(merchant, id)
    }

    fn plain(&self) -> &dyn Db {
        self
    }
}

/// The database, which outlives the stores that are opened on it.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Mutex<SqliteJournal>>);

impl Memory {
    pub(crate) fn create(now: Timestamp) -> Result<Self, StoreError> {
        let path = std::path::Path::new("memory");
        let cannot = |e: rusqlite::Error| cannot_open(path, &e);
        let mut db = Connection::open_in_memory().map_err(cannot)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        db.pragma_update(None, "journal_mode", "MEMORY").map_err(cannot)?;
        db.pragma_update(None, "synchronous", "OFF").map_err(cannot)?;
        db.pragma_update(None, "foreign_keys", "ON").map_err(cannot)?;
        db.pragma_update(None, "temp_store", "MEMORY").map_err(cannot)?;
        migrate::run(&mut db, path, now)?;
        Ok(Memory(Arc::new(Mutex::new(SqliteJournal::new(SqliteDb::new(db), None, None)))))
    }

    fn lock(&self) -> MutexGuard<'_, SqliteJournal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn commit(&self, group: &mut Vec<Operation>) -> Result<(), String> {
        self.lock().commit(group)
    }

    /// Commits a group of one of several nodes: as [`Memory::commit`], on a database with a clock of its own.
    pub(crate) fn commit_shared(&self, group: &mut [Operation], now: Timestamp) -> Result<(), String> {
        let journal = self.lock();
        let sql = |text| journal.db().connection.execute_batch(text).map_err(|e| sentence(&e));
        let db = OnVirtualTime { db: journal.db(), now };
        journal.db().forget();
        sql("BEGIN")?;
        let each = group.iter_mut().try_for_each(|operation| {
            sql("SAVEPOINT operation")?;
            match operation.run(&db) {
                Verdict::Keep => sql("RELEASE operation"),
                Verdict::Undo | Verdict::Contested => sql("ROLLBACK TO operation; RELEASE operation"),
                Verdict::Fatal(reason) => Err(reason),
            }
        });
        each.and_then(|()| sql("COMMIT")).inspect_err(|_| {
            let _ = sql("ROLLBACK");
        })
    }

    /// Runs a group and keeps nothing of it.
    pub(crate) fn pretend(&self, group: &mut [Operation]) -> Result<(), String> {
        let journal = self.lock();
        let sql = |text| journal.db().connection.execute_batch(text).map_err(|e| sentence(&e));
        sql("BEGIN")?;
        for operation in group {
            let _ = operation.run(journal.db());
        }
        journal.db().forget();
        sql("ROLLBACK")
    }

    pub(crate) fn read<T>(&self, op: impl FnOnce(&dyn Db) -> T) -> T {
        op(self.lock().db())
    }

    pub(crate) fn run(&self, sql: &str) -> Result<(), String> {
        let journal = self.lock();
        journal.db().forget();
        journal.db().connection.execute_batch(sql).map_err(|e| sentence(&e))
    }

    pub(crate) fn rows(&self, sql: &str) -> Result<Vec<Vec<Cell>>, String> {
        let journal = self.lock();
        let mut statement = journal.db().connection.prepare_cached(sql).map_err(|e| sentence(&e))?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|e| sentence(&e))? {
            let cell = |at| match row.get_ref(at) {
                Ok(ValueRef::Integer(number)) => Cell::Int(number),
                Ok(ValueRef::Text(text)) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                Ok(ValueRef::Blob(bytes)) => Cell::Bytes(bytes.to_vec()),
                _ => Cell::Null,
            };
            all.push((0..columns).map(cell).collect());
        }
        Ok(all)
    }
}
