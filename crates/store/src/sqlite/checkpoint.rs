//! Moving the log into the file (checkpoint) beside the writer.
//!
//! SQLite moves the log in the writer, between two commits, and everybody waits for the copy and for the flush of the
//! file. Here a thread with a connection of its own copies what is committed so far and flushes the file while the
//! writer goes on. Only the log's new beginning needs the writer, since nothing may be added meanwhile: when the log is
//! long, the writer is asked to move the little that came since and starts the log over.
//!
//! Metrics: `posp_store_checkpoint_seconds` (one pass of the thread), `posp_store_log_pages` (length of the log).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::engine::sentence;
use crate::error::StoreError;
use crate::writer::count;

/// Operations of the writer after which the thread makes a pass. While a pass flushes, a commit waits for the same disk:
/// the less there is to flush the shorter everybody waits, so a pass is short and comes often. At ten thousand payments a
/// second a pass over 4,000 operations took 20 to 40 ms and came five times a second, which one payment in ten met;
/// over 200 it mostly takes 2 to 5 ms.
const PASS_EVERY: usize = 200;

/// A pass this short left little behind for the next.
const QUICK: Duration = Duration::from_millis(15);

/// Passes after which the writer is asked although none was short.
const PASSES_MAX: usize = 8;

/// Pages of 4 KB in the log above which it is started over: 64 MB.
const LOG_PAGES_MAX: i64 = 16_384;

/// The result of a checkpoint: pages in the log, and how many of them are in the file.
pub(super) struct Moved {
    log: i64,
    moved: i64,
}

/// Copies from the log what no reader needs any more, without waiting for anybody.
pub(super) fn pass(db: &Connection) -> rusqlite::Result<Moved> {
    db.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |row| Ok(Moved { log: row.get(1)?, moved: row.get(2)? }))
}

pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The log is long and almost moved: the writer moves the rest.
    long: Arc<AtomicBool>,
    since: usize,
}

impl Checkpointer {
    /// Starts the thread on a connection of its own to the journal at `path`.
    pub(super) fn start(db: Connection, path: &Path) -> Result<Self, StoreError> {
        let cannot =
            |e: std::io::Error| StoreError::CannotOpen { path: path.to_owned(), reason: e.to_string() };
        let file = File::options().read(true).write(true).open(path).map_err(cannot)?;
        let long = Arc::new(AtomicBool::new(false));
        let (wake, woken) = sync_channel(1);
        let worker = Worker { db, file: Some(file), long: Arc::clone(&long) };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || worker.work(&woken))
            .map_err(cannot)?;
        Ok(Checkpointer { wake: Some(wake), thread: Some(thread), long, since: 0 })
    }

    /// So many operations were committed.
    pub(super) fn committed(&mut self, operations: usize) {
        self.since += operations;
        if self.since >= PASS_EVERY
            && let Some(wake) = &self.wake
        {
            self.since = 0;
            // Full means that a pass is under way or asked for already.
            let _ = wake.try_send(());
        }
    }

    /// Between two groups of the writer, whose connection this is: moves what is left of a long log, so that the next
    /// commit starts it over.
    pub(super) fn finish_long(&self, db: &Connection) {
        if self.long.load(Ordering::Acquire) {
            if let Err(error) = pass(db) {
                tracing::warn!(reason = sentence(&error), "the log was not moved into the journal");
            }
            self.long.store(false, Ordering::Release);
        }
    }

    /// Ends the thread, so that the writer's connection has the log for itself.
    pub(super) fn stop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Worker {
    db: Connection,
    file: Option<File>,
    long: Arc<AtomicBool>,
}

impl Worker {
    fn work(mut self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            if self.long.load(Ordering::Acquire) {
                continue;
            }
            self.move_log();
        }
        // The system drops this process's locks on a file when any handle of it is closed, and SQLite's connections
        // still hold theirs: the handle is left to the end of the process.
        std::mem::forget(self.file.take());
    }

    /// Makes a pass; while the log is long, another and another, each over what came during the last, until so little
    /// is left that the writer may take the rest between two groups.
    fn move_log(&self) {
        for _ in 0..PASSES_MAX {
            let began = Instant::now();
            let moved = match pass(&self.db) {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!(reason = sentence(&error), "the log was not moved into the journal");
                    return;
                }
            };
            // Flushed here, the file is not flushed by the writer at the log's new beginning but for the last pages.
            if let Some(Err(error)) = self.file.as_ref().map(File::sync_data) {
                tracing::warn!(%error, "the journal was not flushed beside the writer");
            }
            let took = began.elapsed();
            metrics::histogram!("posp_store_checkpoint_seconds").record(took.as_secs_f64());
            metrics::gauge!("posp_store_log_pages")
                .set(count(usize::try_from(moved.log).unwrap_or_default()));
            // A reader that looks at an old state keeps the log: nothing is gained by the writer's pass then.
            if moved.log < LOG_PAGES_MAX || moved.moved.saturating_mul(2) < moved.log {
                return;
            }
            if took < QUICK {
                break;
            }
        }
        self.long.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::OpenFlags;

    use super::*;

    /// Longest that anything is waited for.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Scene {
        directory: tempfile::TempDir,
        writer: Connection,
    }

    impl Scene {
        /// A file with a log that is moved by nobody but the thread.
        fn set() -> Scene {
            let directory = tempfile::tempdir().unwrap();
            let writer = Connection::open(directory.path().join("t.db")).unwrap();
            writer
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; \
                     CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)",
                )
                .unwrap();
            Scene { directory, writer }
        }

        fn path(&self) -> std::path::PathBuf {
            self.directory.path().join("t.db")
        }

        /// Bytes of the file, or of its log.
        fn len(&self, name: &str) -> u64 {
            std::fs::metadata(self.directory.path().join(name)).unwrap().len()
        }

        fn checkpointer(&self, flags: OpenFlags) -> Checkpointer {
            let db = Connection::open_with_flags(self.path(), flags).unwrap();
            Checkpointer::start(db, &self.path()).unwrap()
        }

        fn write(&self, bytes: i64) {
            self.writer.execute("INSERT INTO t (value) VALUES (zeroblob(?1))", [bytes]).unwrap();
        }

        /// What another program finds after everything was closed.
        fn rows_after(self) -> i64 {
            drop(self.writer);
            let db = Connection::open(self.directory.path().join("t.db")).unwrap();
            db.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).unwrap()
        }
    }

    /// Waits, without a clock of its own, until `look` holds.
    fn until(what: &str, mut look: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    /// While the writer writes, what it has committed gets into the file, and nothing of it is lost.
    #[test]
    fn the_log_is_moved_while_the_writer_writes() {
        let scene = Scene::set();
        let mut checkpointer = scene.checkpointer(OpenFlags::default());
        let before = scene.len("t.db");
        let mut written = 0;
        until("nothing was moved", || {
            scene.write(100_000);
            written += 1;
            checkpointer.committed(PASS_EVERY);
            scene.len("t.db") > before
        });
        checkpointer.stop();
        assert_eq!(scene.rows_after(), written);
    }

    /// A log that has become long is moved to its end by the writer, between two groups, and then begins anew instead of
    /// growing.
    #[test]
    fn a_long_log_begins_anew() {
        const MEGABYTE: i64 = 1 << 20;
        let scene = Scene::set();
        let mut checkpointer = scene.checkpointer(OpenFlags::default());
        scene.writer.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let mut written = 0;
        until("the log never was long", || {
            if scene.len("t.db-wal") < (80 << 20) {
                scene.write(MEGABYTE);
                written += 1;
            }
            checkpointer.committed(PASS_EVERY);
            checkpointer.long.load(Ordering::Acquire)
        });
        let long = scene.len("t.db-wal");
        checkpointer.finish_long(&scene.writer);
        assert!(!checkpointer.long.load(Ordering::Acquire));
        for _ in 0..8 {
            scene.write(MEGABYTE);
            written += 1;
        }
        assert_eq!(scene.len("t.db-wal"), long, "it is written over from its beginning");
        checkpointer.stop();
        assert_eq!(scene.rows_after(), written);
    }

    /// It ends when it is told to, whatever is asked of it at that moment and afterwards, and leaves the log to the writer.
    #[test]
    fn the_thread_ends_in_order() {
        let scene = Scene::set();
        let mut checkpointer = scene.checkpointer(OpenFlags::default());
        for _ in 0..20 {
            scene.write(10_000);
            checkpointer.committed(PASS_EVERY);
        }
        checkpointer.stop();
        assert!(checkpointer.thread.is_none());
        scene.write(10_000);
        checkpointer.committed(PASS_EVERY);
        checkpointer.finish_long(&scene.writer);
        checkpointer.stop();
        let moved = pass(&scene.writer).unwrap();
        assert_eq!(moved.moved, moved.log, "nobody holds the log any more");
        assert_eq!(scene.rows_after(), 21);
    }

    /// A thread that can move nothing harms nobody: what is committed is durable in the log, the writer goes on, and whoever
    /// opens the file next finds all of it.
    #[test]
    fn a_pass_that_fails_loses_nothing() {
        let scene = Scene::set();
        let before = scene.len("t.db");
        let mut checkpointer = scene.checkpointer(OpenFlags::SQLITE_OPEN_READ_ONLY);
        for _ in 0..20 {
            scene.write(100_000);
            checkpointer.committed(PASS_EVERY);
        }
        checkpointer.stop();
        assert_eq!(scene.len("t.db"), before, "a connection that may not write moved something");
        assert!(!checkpointer.long.load(Ordering::Acquire));
        assert_eq!(scene.rows_after(), 20);
    }
}
