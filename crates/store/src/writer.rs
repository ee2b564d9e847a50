//! The one writer of a node, with group commit: it takes every operation that waits, runs them in one
//! transaction, commits once, and only then answers. How a transaction is made is the engine's [`Journal`].
//!
//! Metrics: `posp_store_queue_depth` (operations that wait), `posp_store_group_size`,
//! `posp_store_group_seconds` (a whole group), `posp_store_commit_seconds` (its flush),
//! `posp_store_operation_seconds` (an operation from the question to the answer), `posp_store_refused_total` (new
//! payments refused by a full queue or because work does not come through), `posp_store_failed_total`.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use acquiring::{MerchantId, PaymentId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use crate::db::{Db, Fault, Key, Op};
use crate::error::StoreError;
use crate::pace::{Pace, Patience};

/// Precedence of the writer's thread: most of a processor when it wants it, whatever else wants one.
#[cfg(target_os = "linux")]
const NICE: i32 = -10;

/// What to do with an operation when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// New work: refuse it at once, so that overload is seen early.
    Refuse,
    /// Work that was accepted before and must be finished: wait.
    Wait,
}

/// Whether an operation's writes stay in the group.
pub(crate) enum Verdict {
    Keep,
    Undo,
    /// A rule of the schema was broken, or another node was in the way: undo; the operation may be run again.
    Contested,
    /// The engine failed: nothing of the group may stand.
    Fatal(String),
}

/// What an operation will look at: read, and locked where nodes share a store, for the whole group at once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Touch {
    /// A payment by the terminal's numbers, there or to be made.
    Key(Key),
    /// A payment by ours, and the one that it undoes.
    Payment(MerchantId, PaymentId),
    /// A payment by ours, of which only the history grows.
    History(MerchantId, PaymentId),
}

/// A write that waits: it may be run again until its transaction is committed, and is answered after that.
pub(crate) trait Task: Send {
    fn run(&mut self, db: &dyn Db) -> Verdict;
    /// Tells the asker what the last run came to; or the store's failure, when it did not become durable.
    fn reply(self: Box<Self>, failure: Option<&StoreError>);
    /// What it will look at; nothing when that is not known, or not worth to share.
    fn touches(&self) -> &[Touch];
}

struct Asked<T, F> {
    op: F,
    touches: Vec<Touch>,
    result: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: Fn(&dyn Db) -> Op<T> + Send> Task for Asked<T, F> {
    fn run(&mut self, db: &dyn Db) -> Verdict {
        let (verdict, result) = judge((self.op)(db));
        self.result = Some(result);
        verdict
    }

    fn reply(self: Box<Self>, failure: Option<&StoreError>) {
        let Asked { result, answer, .. } = *self;
        let result = match failure {
            Some(error) => Some(Err(error.clone())),
            None => result,
        };
        // Whoever asked may have gone away; the operation stands all the same.
        let _ = result.map(|result| answer.send(result));
    }

    fn touches(&self) -> &[Touch] {
        &self.touches
    }
}

pub(crate) type Operation = Box<dyn Task>;

pub(crate) enum Command {
    Run(Operation),
    Close(oneshot::Sender<()>),
}

/// The engine's part of the writer.
pub(crate) trait Journal: 'static {
    /// Takes what waits, as [`mpsc::Receiver::recv_many`] does.
    fn receive(
        &mut self,
        queue: &mut mpsc::Receiver<Command>,
        group: &mut Vec<Command>,
        max: usize,
    ) -> Result<usize, String>;

    /// Runs a group and makes it durable. What stays in the group is answered after it: by its results, or, when
    /// the engine failed, by that. An engine may answer a part by itself, and takes it out.
    fn commit(&mut self, group: &mut Vec<Operation>) -> Result<(), String>;

    /// Ends in good order; nothing waits and nothing has failed.
    fn finish(&mut self) {}
}

pub(crate) struct Writer {
    queue: mpsc::Sender<Command>,
    pace: Pace,
    failure: watch::Receiver<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread; the engine is opened in it.
    pub(crate) fn start<J: Journal>(
        open: impl FnOnce() -> Result<J, StoreError> + Send + 'static,
        queue: usize,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let group_max = patience.group_max;
        let (sender, receiver) = mpsc::channel(queue);
        let (failure, failed) = watch::channel(None);
        let (ready, opened) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let _alarm = Alarm(failure.clone());
                go_first();
                let opened = open();
                let journal = match opened {
                    Ok(journal) => journal,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                let _ = ready.send(Ok(()));
                Worker { journal, queue: receiver, group_max, failure }.work();
            })
            .map_err(|e| StoreError::Failed { reason: e.to_string() })?;
        opened.recv().unwrap_or(Err(StoreError::Closed))?;
        Ok(Writer {
            queue: sender,
            pace: Pace::new(patience),
            failure: failed,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A writer without a thread: `work` gets the queue and the place to tell of a failure.
    #[cfg(feature = "simulation")]
    pub(crate) fn without_thread<W>(
        queue: usize,
        work: impl FnOnce(mpsc::Receiver<Command>, watch::Sender<Option<String>>) -> W,
    ) -> (Self, W) {
        let (sender, receiver) = mpsc::channel(queue);
        let (failure, failed) = watch::channel(None);
        // Nobody measures a wait here: virtual time stands still while work is done.
        let patience = Patience { wait_max: std::time::Duration::MAX, group_max: usize::MAX };
        let pace = Pace::new(patience);
        let writer = Writer { queue: sender, pace, failure: failed, thread: Mutex::new(None) };
        (writer, work(receiver, failure))
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

    /// Whether new work is taken: not while what was accepted does not come through in time.
    pub(crate) fn admits(&self) -> Result<(), StoreError> {
        if self.pace.is_behind() { Err(refusal(self.pace.under_way())) } else { Ok(()) }
    }

    /// Why no answer came: the writer is gone.
    fn gone(&self) -> StoreError {
        self.failure().unwrap_or(StoreError::Closed)
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        admission: Admission,
        touches: Vec<Touch>,
        op: impl Fn(&dyn Db) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        if admission == Admission::Refuse {
            self.admits()?;
        }
        let under_way = self.pace.begin();
        let (answer, answered) = oneshot::channel();
        let operation: Operation = Box::new(Asked { op, touches, result: None, answer });
        match admission {
            Admission::Refuse => match self.queue.try_send(Command::Run(operation)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(refusal(self.queue.max_capacity())),
                Err(TrySendError::Closed(_)) => return Err(self.gone()),
            },
            Admission::Wait => {
                if self.queue.send(Command::Run(operation)).await.is_err() {
                    return Err(self.gone());
                }
            }
        }
        match answered.await {
            Ok(result) => {
                under_way.end();
                result
            }
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

/// Refuses new work because so many operations wait.
fn refusal(waiting: usize) -> StoreError {
    metrics::counter!("posp_store_refused_total").increment(1);
    StoreError::Overloaded { waiting }
}

/// Sorts an operation's result: what stays, what is undone, what ends the store.
fn judge<T>(result: Op<T>) -> (Verdict, Result<T, StoreError>) {
    match result {
        Ok(value) => (Verdict::Keep, Ok(value)),
        Err(Fault::Rule(error)) => (Verdict::Undo, Err(error)),
        Err(Fault::Constraint(rule)) => (Verdict::Contested, Err(StoreError::Conflict { rule })),
        Err(Fault::Again(reason)) => (Verdict::Contested, Err(StoreError::Contended { reason })),
        Err(Fault::Engine(reason)) => (Verdict::Fatal(reason.clone()), Err(StoreError::Failed { reason })),
    }
}

struct Worker<J> {
    journal: J,
    queue: mpsc::Receiver<Command>,
    group_max: usize,
    failure: watch::Sender<Option<String>>,
}

impl<J: Journal> Worker<J> {
    fn work(mut self) {
        let mut closing = Vec::new();
        let mut group = Vec::with_capacity(self.group_max);
        loop {
            match self.journal.receive(&mut self.queue, &mut group, self.group_max) {
                Ok(0) => break,
                Ok(_) => {}
                Err(reason) => {
                    self.fail(reason);
                    break;
                }
            }
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
            self.journal.finish();
        }
        drop(self.journal);
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Runs a group and answers it.
    fn commit_group(&mut self, mut operations: Vec<Operation>) -> Result<(), String> {
        let size = operations.len();
        let began = Instant::now();
        match self.journal.commit(&mut operations) {
            Ok(()) => {
                metrics::histogram!("posp_store_group_size").record(count(size));
                metrics::histogram!("posp_store_group_seconds").record(began.elapsed().as_secs_f64());
                for operation in operations {
                    operation.reply(None);
                }
                Ok(())
            }
            Err(reason) => {
                // Known to be failed before anybody hears of it: nobody may try again.
                self.failure.send_replace(Some(reason.clone()));
                let error = StoreError::Failed { reason: reason.clone() };
                for operation in operations {
                    operation.reply(Some(&error));
                }
                Err(reason)
            }
        }
    }

    /// Marks the store failed and lets everything that waits know.
    fn fail(&mut self, reason: String) {
        tracing::error!(reason, "the journal failed: no more work is taken");
        metrics::counter!("posp_store_failed_total").increment(1);
        self.failure.send_replace(Some(reason));
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
    }
}

/// Everybody waits for this one thread, so it goes before the others where the system allows it.
fn go_first() {
    #[cfg(target_os = "linux")]
    {
        // On Linux this is the precedence of the thread that asks, not of its process.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::info!(%error, "the writer has no precedence: more threads make it wait for a processor");
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
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
