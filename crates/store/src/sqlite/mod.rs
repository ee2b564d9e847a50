//! The embedded engine: SQLite. One writer thread shares commits between the operations that wait; a few
//! connections read beside it (write-ahead log).

mod checkpoint;
mod engine;
#[cfg(feature = "simulation")]
pub(crate) mod memory;
mod migrate;
mod pending;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::backend::Handles;
use crate::error::StoreError;
use crate::pace::Patience;
use crate::readers::Readers;
use crate::types::{JOURNAL_FILE, StoreOptions};
use crate::writer::Writer;
use checkpoint::Checkpointer;
use engine::{SqliteDb, SqliteJournal, sentence};

/// Locked by the process that writes the journal.
const LOCK_FILE: &str = "journal.lock";

/// Statements kept ready per connection: more than there are in this crate.
const STATEMENTS: usize = 128;

/// Pages in the log at which the writer moves it by itself, should nobody do it beside it: 256 MB.
const LOG_PAGES_LAST: i64 = 65_536;

/// How long a connection waits for a lock that another connection holds for a moment (a checkpoint, a
/// reader's recovery of the log) before it reports an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn open(options: StoreOptions) -> Result<Handles, StoreError> {
    create_directory(&options.directory)?;
    let lock = lock(&options.directory)?;
    open_to_write(options, Some(lock))
}

/// As [`open`], but also while a server writes: SQLite's own locks keep the two writers apart.
pub(crate) fn open_beside(options: StoreOptions) -> Result<Handles, StoreError> {
    create_directory(&options.directory)?;
    match lock(&options.directory) {
        Ok(lock) => open_to_write(options, Some(lock)),
        Err(StoreError::InUse { .. }) => open_to_write(options, None),
        Err(error) => Err(error),
    }
}

fn open_to_write(options: StoreOptions, lock: Option<File>) -> Result<Handles, StoreError> {
    let StoreOptions { directory, readers, queue, group_max, wait_max, clock, .. } = options;
    let path = directory.join(JOURNAL_FILE);
    let cannot = |e: rusqlite::Error| cannot_open(&path, &e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut db = Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_CREATE).map_err(cannot)?;
    prepare_writer(&db).map_err(cannot)?;
    match &lock {
        Some(_) => migrate::run(&mut db, &directory, clock.now())?,
        // The server beside us has its schema; it is not for us to change it under its feet.
        None => migrate::check(&db, &directory)?,
    }
    // A server writes for long; beside one, its checkpoints are its own affair.
    let checkpointer = match &lock {
        Some(_) => {
            let beside = Connection::open_with_flags(&path, flags).map_err(cannot)?;
            beside.pragma_update(None, "synchronous", "FULL").map_err(cannot)?;
            db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_LAST).map_err(cannot)?;
            Some(Checkpointer::start(beside, &path)?)
        }
        None => None,
    };
    let readers = start_readers(readers.max(1), &path)?;
    let open = move || Ok(SqliteJournal::new(SqliteDb::new(db), checkpointer, lock));
    let patience = Patience { wait_max, group_max: group_max.max(1) };
    let writer = Writer::start(open, queue.max(1), patience)?;
    Ok(Handles { writer: Some(writer), readers, care: None, days: None, clock, shared: false })
}

pub(crate) fn open_read_only(directory: &Path) -> Result<Handles, StoreError> {
    let path = directory.join(JOURNAL_FILE);
    let db = open_reader(&path)?;
    migrate::check(&db, directory)?;
    let readers = start_readers(1, &path)?;
    Ok(Handles {
        writer: None,
        readers,
        care: None,
        days: None,
        clock: Arc::new(acquiring::SystemClock),
        shared: false,
    })
}

fn start_readers(count: usize, path: &Path) -> Result<Readers, StoreError> {
    let path = path.to_owned();
    Readers::start(count, move || open_reader(&path).map(SqliteDb::new))
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::CannotOpen { path: path.to_owned(), reason: sentence(error) }
}

/// The data directory is its owner's alone: sealed card numbers and wrapped keys are in it.
pub(crate) fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(|e| StoreError::CannotOpen { path: directory.to_owned(), reason: e.to_string() })
}

/// One process writes a journal; the lock goes with the process, however it ends.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path: PathBuf = directory.join(LOCK_FILE);
    let cannot = |e: std::io::Error| StoreError::CannotOpen { path: path.clone(), reason: e.to_string() };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}

/// Settings of the writer.
///
/// - `synchronous = FULL` with the write-ahead log: a commit returns after its log frames are flushed.
/// - the log is moved into the file every 4,000 pages (16 MB) where no [`Checkpointer`] does it beside the writer.
/// - the log's file keeps its length when it is started over: writing over it is cheaper than making it longer.
/// - 16 MB of pages in memory: more than a group changes, and the rest is in the system's memory anyway. Not more,
///   because a commit after a split of pages walks through all of them (SQLite gives the pages of a split their order by
///   way of a number beyond the end of the file, and cuts the memory back to that end at the commit).
/// - savepoints keep their undo data in memory; it is small.
/// - plans do not depend on the values that are looked for: SQLite would otherwise plan the look-ups of the
///   payment path anew for every payment.
fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -16_384)?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    db.pragma_update(None, "journal_size_limit", 268_435_456)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let cannot = |e: rusqlite::Error| cannot_open(path, &e);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let db = Connection::open_with_flags(path, flags).map_err(cannot)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(cannot)?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(cannot)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cache_size", -8_192).map_err(cannot)?;
    Ok(db)
}
