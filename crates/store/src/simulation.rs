//! A store for the seeded simulation: the real operations, statements and group commit on a journal in memory, on
//! virtual time, with failures and deaths at chosen moments.
//!
//! The writer is a task instead of a thread, and reads run on the task that asks, so that one seed always gives the
//! same order. What a disk would do (take its time, fail, lose power) is decided by a [`Pace`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use acquiring::Clock;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::backend::Handles;
use crate::db::{Db, Op};
use crate::error::StoreError;
use crate::readers::{Readers, failure};
use crate::sqlite::memory::Memory;
use crate::store::Store;
use crate::writer::{Command, Operation, Writer};

/// A future of a [`Pace`].
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What becomes of a group of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It becomes durable.
    Commit,
    /// The commit fails and nothing of it is on the disk.
    FailWithout,
    /// The commit fails, and yet everything of it is on the disk: the worst that a flush can do.
    FailWith,
    /// The disk lies: it says that the group is durable and has not kept it. For proof that this is noticed.
    Pretend,
}

/// How long the disk takes and when it fails. A node that has died is held here for ever: nothing that it asks for
/// becomes durable any more, and it learns nothing any more.
pub trait Pace: Send + Sync + 'static {
    /// Before a group of so many writes is committed.
    fn before_commit(&self, writes: usize) -> Wait<'_, Fate>;
    /// After it is durable, before anybody hears of it.
    fn after_commit(&self) -> Wait<'_, ()>;
    /// Before a read.
    fn before_read(&self) -> Wait<'_, ()>;
    /// After it, before whoever asked goes on with what it found.
    fn after_read(&self) -> Wait<'_, ()>;
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Cell {
    /// The number; 0 for anything else.
    pub fn int(&self) -> i64 {
        match self {
            Cell::Int(number) => *number,
            _ => 0,
        }
    }

    /// The text; empty for anything else.
    pub fn text(&self) -> &str {
        match self {
            Cell::Text(text) => text,
            _ => "",
        }
    }
}

/// A disk with a journal. It outlives the nodes: what was committed is there for the next one.
#[derive(Clone)]
pub struct Disk(Memory);

impl Disk {
    /// An empty journal of the present schema.
    ///
    /// # Errors
    /// The engine fails.
    pub fn create(now: Timestamp) -> Result<Self, StoreError> {
        Memory::create(now).map(Disk)
    }

    /// Opens a store on the disk, as a node does when it starts; `shared` when others may be open on it beside. Must be
    /// called on the runtime of the simulation.
    ///
    /// The auditor's view of the disk is [`Disk::rows`].
    pub fn open(
        &self,
        clock: Arc<dyn Clock>,
        pace: Arc<dyn Pace>,
        queue: usize,
        group_max: usize,
        shared: bool,
    ) -> Store {
        let disk = self.0.clone();
        let (writer, worker) = Writer::without_thread(queue, |queue, failure| Worker {
            disk,
            pace: Arc::clone(&pace),
            queue,
            failure,
            group_max,
            clock: shared.then(|| Arc::clone(&clock)),
        });
        tokio::spawn(worker.work());
        let readers = Readers::at_once(AtOnce { disk: self.0.clone(), pace });
        Store::of(Handles { writer: Some(writer), readers, care: None, days: None, clock, shared })
    }

    /// Runs statements beside the nodes: an auditor's triggers, or a saboteur's changes.
    ///
    /// # Errors
    /// What the engine says.
    pub fn run(&self, sql: &str) -> Result<(), String> {
        self.0.run(sql)
    }

    /// The rows of a query, as an auditor reads them: not through the code under test.
    ///
    /// # Errors
    /// What the engine says.
    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<Cell>>, String> {
        self.0.rows(sql)
    }
}

/// Reads that run at once.
pub(crate) struct AtOnce {
    disk: Memory,
    pace: Arc<dyn Pace>,
}

impl AtOnce {
    pub(crate) async fn read<T>(&self, op: impl FnOnce(&dyn Db) -> Op<T>) -> Result<T, StoreError> {
        self.pace.before_read().await;
        let found = self.disk.read(op).map_err(failure);
        self.pace.after_read().await;
        found
    }
}

struct Worker {
    disk: Memory,
    pace: Arc<dyn Pace>,
    queue: mpsc::Receiver<Command>,
    failure: watch::Sender<Option<String>>,
    group_max: usize,
    /// The database's clock, when nodes share it.
    clock: Option<Arc<dyn Clock>>,
}

impl Worker {
    async fn work(mut self) {
        let mut commands = Vec::with_capacity(self.group_max);
        while self.queue.recv_many(&mut commands, self.group_max).await > 0 {
            let mut group: Vec<Operation> = Vec::with_capacity(commands.len());
            let mut closing = Vec::new();
            for command in commands.drain(..) {
                match command {
                    Command::Run(operation) => group.push(operation),
                    Command::Close(done) => closing.push(done),
                }
            }
            if !group.is_empty()
                && let Err(reason) = self.commit(group).await
            {
                self.failure.send_replace(Some(reason));
                self.queue.close();
                while self.queue.try_recv().is_ok() {}
                return;
            }
            for done in closing {
                self.queue.close();
                let _ = done.send(());
            }
        }
    }

    fn keep(&self, group: &mut Vec<Operation>) -> Result<(), String> {
        match &self.clock {
            Some(clock) => self.disk.commit_shared(group, clock.now()),
            None => self.disk.commit(group),
        }
    }

    async fn commit(&self, mut group: Vec<Operation>) -> Result<(), String> {
        let fate = self.pace.before_commit(group.len()).await;
        let done = match fate {
            Fate::FailWithout => Err("the disk does not write".to_owned()),
            Fate::Commit => self.keep(&mut group),
            Fate::Pretend => self.disk.pretend(&mut group),
            Fate::FailWith => {
                self.keep(&mut group).and(Err("the disk says that it did not flush".to_owned()))
            }
        };
        self.pace.after_commit().await;
        if let Err(reason) = &done {
            // As the writer's thread does: failed first, so that nobody tries again.
            self.failure.send_replace(Some(reason.clone()));
        }
        let error = done.as_ref().err().map(|reason| StoreError::Failed { reason: reason.clone() });
        for operation in group {
            operation.reply(error.as_ref());
        }
        done
    }
}
