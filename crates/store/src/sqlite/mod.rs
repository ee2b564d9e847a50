//! The embedded engine: SQLite. One writer thread shares commits between the operations that wait; a few
//! connections read beside it (write-ahead log).

pub(crate) mod batches;
pub(crate) mod forwards;
pub(crate) mod master;
mod migrate;
pub(crate) mod payments;
mod readers;
mod rows;
pub(crate) mod search;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acquiring::Clock;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::types::{JOURNAL_FILE, StoreOptions};
use readers::Readers;
use writer::Writer;

pub(crate) use batches::Batch;
pub(crate) use payments::Key;
pub(crate) use writer::Admission;

/// Locked by the process that writes the journal.
const LOCK_FILE: &str = "journal.lock";

/// Statements kept ready per connection: more than there are in this crate.
const STATEMENTS: usize = 128;

/// How long a connection waits for a lock that another connection holds for a moment (a checkpoint, a
/// reader's recovery of the log) before it reports an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads that may wait for a connection.
const READS_WAITING: usize = 1_024;

/// Why an operation came to nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A rule of ours; the engine is sound.
    Rule(StoreError),
    /// The engine failed.
    Engine(rusqlite::Error),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Rule(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Engine(error)
    }
}

/// Result of an operation inside its transaction.
pub(crate) type Op<T> = Result<T, Fault>;

/// The engine's failure as a sentence. SQLite names columns and files in its messages, never values.
fn sentence(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
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

/// An open journal.
pub(crate) struct Sqlite {
    writer: Option<Writer>,
    readers: Readers,
    clock: Arc<dyn Clock>,
}

impl Sqlite {
    pub(crate) fn open(options: StoreOptions) -> Result<Self, StoreError> {
        create_directory(&options.directory)?;
        let lock = lock(&options.directory)?;
        Self::open_to_write(options, Some(lock))
    }

    /// As [`Sqlite::open`], but also while a server writes: SQLite's own locks keep the two writers apart.
    pub(crate) fn open_beside(options: StoreOptions) -> Result<Self, StoreError> {
        create_directory(&options.directory)?;
        match lock(&options.directory) {
            Ok(lock) => Self::open_to_write(options, Some(lock)),
            Err(StoreError::InUse { .. }) => Self::open_to_write(options, None),
            Err(error) => Err(error),
        }
    }

    fn open_to_write(options: StoreOptions, lock: Option<File>) -> Result<Self, StoreError> {
        let StoreOptions { directory, readers, queue, group_max, clock } = options;
        let path = directory.join(JOURNAL_FILE);
        let cannot = |e: rusqlite::Error| cannot_open(&path, &e);
        let mut db = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_EXRESCODE,
        )
        .map_err(cannot)?;
        prepare_writer(&db).map_err(cannot)?;
        match &lock {
            Some(_) => migrate::run(&mut db, &directory, clock.now())?,
            // The server beside us has its schema; it is not for us to change it under its feet.
            None => migrate::check(&db, &directory)?,
        }
        let readers = Readers::start(readers.max(1), READS_WAITING, || open_reader(&path))?;
        let writer = Writer::start(db, lock, queue.max(1), group_max.max(1))?;
        Ok(Sqlite { writer: Some(writer), readers, clock })
    }

    pub(crate) fn open_read_only(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(JOURNAL_FILE);
        let db = open_reader(&path)?;
        migrate::check(&db, directory)?;
        let readers = Readers::start(1, READS_WAITING, || open_reader(&path))?;
        Ok(Sqlite { writer: None, readers, clock: Arc::new(acquiring::SystemClock) })
    }

    /// Finishes what waits and refuses what comes after.
    pub(crate) async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close();
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    pub(crate) fn writer(&self) -> Option<&Writer> {
        self.writer.as_ref()
    }

    /// Runs a write; returns when it is durable.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        admission: Admission,
        op: impl FnOnce(&Connection) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.writer {
            Some(writer) => writer.run(admission, op).await,
            None => Err(StoreError::ReadOnly),
        }
    }

    /// Runs a read on one of the reading connections; it sees every write that was answered.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        op: impl FnOnce(&Connection) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(op).await
    }
}

fn cannot_open(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::CannotOpen { path: path.to_owned(), reason: sentence(error) }
}

/// The data directory is its owner's alone: sealed card numbers and wrapped keys are in it.
fn create_directory(directory: &Path) -> Result<(), StoreError> {
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
/// - the log is moved into the file every 4,000 pages (16 MB): rarer than the default, since the writer does
///   it between two groups and everybody waits.
/// - savepoints keep their undo data in memory; it is small.
fn prepare_writer(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", "ON")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -32_768)?;
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    db.pragma_update(None, "journal_size_limit", 67_108_864)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let cannot = |e: rusqlite::Error| cannot_open(path, &e);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let db = Connection::open_with_flags(path, flags).map_err(cannot)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(cannot)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cache_size", -8_192).map_err(cannot)?;
    Ok(db)
}
