//! The schema's versions: numbered files, each applied once in a transaction of its own.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::cannot_open;
use crate::error::StoreError;
use crate::migrations::{MIGRATIONS, VERSIONS, known};
use crate::rows::millis;
use crate::types::JOURNAL_FILE;

/// The version of the file; 0 when it is empty.
fn version(db: &Connection) -> rusqlite::Result<i64> {
    let table = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'";
    if !db.prepare(table)?.exists([])? {
        return Ok(0);
    }
    let newest = db
        .query_row("SELECT MAX(version) FROM schema_version", [], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    Ok(newest.flatten().unwrap_or(0))
}

/// Brings a journal up to date; refuses one that a newer release wrote.
pub(super) fn run(db: &mut Connection, directory: &Path, now: Timestamp) -> Result<(), StoreError> {
    let path = directory.join(JOURNAL_FILE);
    let cannot = |e: rusqlite::Error| cannot_open(&path, &e);
    let found = version(db).map_err(cannot)?;
    if found > known() {
        return Err(StoreError::NewerSchema { directory: directory.to_owned(), found, known: known() });
    }
    for (migration, number) in MIGRATIONS.iter().zip(1i64..).filter(|(_, number)| *number > found) {
        let transaction = db.transaction().map_err(cannot)?;
        transaction.execute_batch(VERSIONS).map_err(cannot)?;
        transaction.execute_batch(migration.sqlite).map_err(cannot)?;
        transaction
            .execute(
                "INSERT INTO schema_version (version, applied_at) VALUES (?1, ?2)",
                params![number, millis(now)],
            )
            .map_err(cannot)?;
        transaction.commit().map_err(cannot)?;
        tracing::info!(version = number, "journal schema brought up to date");
    }
    Ok(())
}

/// A journal that is only read must have exactly the version that this program knows.
pub(super) fn check(db: &Connection, directory: &Path) -> Result<(), StoreError> {
    let found = version(db).map_err(|e| cannot_open(&directory.join(JOURNAL_FILE), &e))?;
    let directory = directory.to_owned();
    match found.cmp(&known()) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::NewerSchema { directory, found, known: known() }),
        std::cmp::Ordering::Less => Err(StoreError::OlderSchema { directory, found }),
    }
}
