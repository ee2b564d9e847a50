//! The one writer, with group commit: it takes every operation that waits, runs each in a savepoint of one
//! transaction, commits once, and only then answers.
//!
//! Metrics: `posp_store_queue_depth` (operations that wait), `posp_store_group_size`,
//! `posp_store_group_seconds` (a whole group), `posp_store_commit_seconds` (its flush),
//! `posp_store_refused_total` (new payments refused by a full queue), `posp_store_failed_total`.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Fault, Op, sentence};
use crate::error::StoreError;

/// What to do with an operation when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// New work: refuse it at once, so that overload is seen early.
    Refuse,
    /// Work that was accepted before and must be finished: wait.
    Wait,
}

/// Whether an operation's writes stay in the group.
enum Verdict {
    Keep,
    Undo,
    /// The engine failed: nothing of the group may stand.
    Fatal(String),
}

/// Tells the asker; with the store's failure when the group did not become durable.
type Reply = Box<dyn FnOnce(Option<&StoreError>) + Send>;

type Operation = Box<dyn FnOnce(&Connection) -> (Verdict, Reply) + Send>;

enum Command {
    Run(Operation),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    queue: mpsc::Sender<Command>,
    failure: watch::Receiver<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        db: Connection,
        lock: Option<File>,
        queue: usize,
        group_max: usize,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(queue);
        let (failure, failed) = watch::channel(None);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _alarm = Alarm(failure.clone());
                Worker { db, lock, queue: receiver, group_max, failure }.work();
            })
            .map_err(|e| StoreError::Failed { reason: e.to_string() })?;
        Ok(Writer { queue: sender, failure: failed, thread: Mutex::new(Some(thread)) })
    }

    /// The reason, once a commit or flush has failed.
    fn failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone().map(|reason| StoreError::Failed { reason })
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Resolves when the store has failed; never when it is closed in good order.
    pub(crate) async fn failed(&self) {
        let mut failure = self.failure.clone();
        if failure.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Why no answer came: the writer is gone.
    fn gone(&self) -> StoreError {
        self.failure().unwrap_or(StoreError::Closed)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        admission: Admission,
        op: impl FnOnce(&Connection) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let operation: Operation = Box::new(move |db| {
            let (verdict, result) = judge(op(db));
            let reply: Reply = Box::new(move |failure| {
                let result = match failure {
                    Some(error) => Err(error.clone()),
                    None => result,
                };
                // Whoever asked may have gone away; the operation stands all the same.
                let _ = answer.send(result);
            });
            (verdict, reply)
        });
        match admission {
            Admission::Refuse => match self.queue.try_send(Command::Run(operation)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    metrics::counter!("posp_store_refused_total").increment(1);
                    return Err(StoreError::Overloaded { waiting: self.queue.max_capacity() });
                }
                Err(TrySendError::Closed(_)) => return Err(self.gone()),
            },
            Admission::Wait => {
                if self.queue.send(Command::Run(operation)).await.is_err() {
                    return Err(self.gone());
                }
            }
        }
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(self.gone()),
        }
    }

    /// Finishes what waits, moves the log into the file, and ends the thread.
    pub(crate) async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Command::Close(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

impl Drop for Writer {
    /// Waits for the writer, so that a store opened after this one finds everything and the lock free.
    fn drop(&mut self) {
        let (nothing, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.queue, nothing));
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Sorts an operation's result: what stays, what is undone, what ends the store.
fn judge<T>(result: Op<T>) -> (Verdict, Result<T, StoreError>) {
    match result {
        Ok(value) => (Verdict::Keep, Ok(value)),
        Err(Fault::Rule(error)) => (Verdict::Undo, Err(error)),
        Err(Fault::Engine(error)) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            (Verdict::Undo, Err(StoreError::Conflict { rule: error.to_string() }))
        }
        Err(Fault::Engine(error)) => {
            let reason = sentence(&error);
            (Verdict::Fatal(reason.clone()), Err(StoreError::Failed { reason }))
        }
    }
}

struct Worker {
    db: Connection,
    /// Held as long as the journal is open for writing.
    lock: Option<File>,
    queue: mpsc::Receiver<Command>,
    group_max: usize,
    failure: watch::Sender<Option<String>>,
}

impl Worker {
    fn work(mut self) {
        let mut closing = Vec::new();
        let mut group = Vec::with_capacity(self.group_max);
        while self.queue.blocking_recv_many(&mut group, self.group_max) > 0 {
            metrics::gauge!("posp_store_queue_depth").set(count(self.queue.len()));
            let mut operations = Vec::with_capacity(group.len());
            for command in group.drain(..) {
                match command {
                    Command::Run(operation) => operations.push(operation),
                    Command::Close(done) => {
                        // What waits already is still taken; nothing comes after it.
                        self.queue.close();
                        closing.push(done);
                    }
                }
            }
            if operations.is_empty() {
                continue;
            }
            if let Err(reason) = self.commit_group(operations) {
                self.fail(reason);
                break;
            }
        }
        if self.failure.borrow().is_none() {
            self.checkpoint();
        }
        drop(self.db);
        drop(self.lock);
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Runs a group and answers it.
    fn commit_group(&self, operations: Vec<Operation>) -> Result<(), String> {
        let size = operations.len();
        let began = Instant::now();
        let mut replies = Vec::with_capacity(size);
        let mut operations = operations.into_iter();
        match self.transact(&mut operations, &mut replies) {
            Ok(()) => {
                metrics::histogram!("posp_store_group_size").record(count(size));
                metrics::histogram!("posp_store_group_seconds").record(began.elapsed().as_secs_f64());
                for reply in replies {
                    reply(None);
                }
                Ok(())
            }
            Err(reason) => {
                // Known to be failed before anybody hears of it: nobody may try again.
                self.failure.send_replace(Some(reason.clone()));
                let error = StoreError::Failed { reason: reason.clone() };
                for reply in replies {
                    reply(Some(&error));
                }
                Err(reason)
            }
        }
    }

    /// One transaction, one savepoint an operation. After an error the transaction is not committed, and
    /// the operations after it are not run: the caller drops them once the failure is known.
    fn transact(
        &self,
        operations: &mut impl Iterator<Item = Operation>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), String> {
        let run = |sql: &str| {
            let result = self.db.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
            result.map(|_| ()).map_err(|e| sentence(&e))
        };
        run("BEGIN IMMEDIATE")?;
        let each = operations.try_for_each(|operation| {
            run("SAVEPOINT operation")?;
            let (verdict, reply) = operation(&self.db);
            replies.push(reply);
            match verdict {
                Verdict::Keep => run("RELEASE operation"),
                Verdict::Undo => run("ROLLBACK TO operation").and_then(|()| run("RELEASE operation")),
                Verdict::Fatal(reason) => Err(reason),
            }
        });
        let ran = Instant::now();
        let committed = each.and_then(|()| run("COMMIT"));
        metrics::histogram!("posp_store_commit_seconds").record(ran.elapsed().as_secs_f64());
        committed.inspect_err(|_| {
            // The engine may have undone it already; either way nothing of it may stand.
            let _ = run("ROLLBACK");
        })
    }

    /// Marks the store failed and lets everything that waits know.
    fn fail(&mut self, reason: String) {
        tracing::error!(reason, "the journal failed: no more work is taken");
        metrics::counter!("posp_store_failed_total").increment(1);
        self.failure.send_replace(Some(reason));
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }

    fn checkpoint(&self) {
        let result = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = result {
            // The log stays beside the file and is read at the next start: nothing is lost.
            tracing::warn!(reason = sentence(&error), "the log was not moved into the journal");
        }
    }
}

/// Marks the store failed should the writer's thread ever unwind.
struct Alarm(watch::Sender<Option<String>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(Some("the writer stopped unexpectedly".to_owned()));
        }
    }
}

/// A count as the metrics want it.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
