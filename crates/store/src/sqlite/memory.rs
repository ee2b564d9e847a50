//! A journal in memory, for the simulation: the same statements and the same group commit, without file and flush.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::engine::{SqliteDb, SqliteJournal, sentence};
use super::{STATEMENTS, cannot_open, migrate};
use crate::db::Db;
use crate::error::StoreError;
use crate::simulation::Cell;
use crate::writer::{Journal, Operation};

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
        Ok(Memory(Arc::new(Mutex::new(SqliteJournal::new(SqliteDb(db), None)))))
    }

    fn lock(&self) -> MutexGuard<'_, SqliteJournal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn commit(&self, group: &mut Vec<Operation>) -> Result<(), String> {
        self.lock().commit(group)
    }

    /// Runs a group and keeps nothing of it.
    pub(crate) fn pretend(&self, group: &mut [Operation]) -> Result<(), String> {
        let journal = self.lock();
        let sql = |text| journal.db().0.execute_batch(text).map_err(|e| sentence(&e));
        sql("BEGIN")?;
        for operation in group {
            let _ = operation.run(journal.db());
        }
        sql("ROLLBACK")
    }

    pub(crate) fn read<T>(&self, op: impl FnOnce(&dyn Db) -> T) -> T {
        op(self.lock().db())
    }

    pub(crate) fn run(&self, sql: &str) -> Result<(), String> {
        self.lock().db().0.execute_batch(sql).map_err(|e| sentence(&e))
    }

    pub(crate) fn rows(&self, sql: &str) -> Result<Vec<Vec<Cell>>, String> {
        let journal = self.lock();
        let mut statement = journal.db().0.prepare_cached(sql).map_err(|e| sentence(&e))?;
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
