//! The group commit: the payment operations that wait share one transaction.
//!
//! What a group will look at is locked and read at once, the operations run on it in memory, and what they write
//! goes out at once with the commit behind it: two exchanges with the server a group, whatever its size. An operation whose part of the
//! group cannot stand, and everything that is not about payments, runs in a transaction of its own.

use std::cell::RefCell;
use std::time::Instant;

use tokio::sync::mpsc;

use super::connection::{Connection, sentence};
use super::known::Known;
use super::sheet::Sheet;
use crate::db::Fault;
use crate::error::StoreError;
use crate::writer::{Command, Journal, Operation, Verdict};

/// How often an operation is run when other nodes are in its way.
const ATTEMPTS: u32 = 5;

/// Why a group was not committed; nothing of it was written.
enum Parted {
    /// The operations are to be run each by itself.
    Alone,
    /// The engine failed.
    Failed(String),
}

impl From<Fault> for Parted {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Engine(reason) => Parted::Failed(reason),
            Fault::Rule(_) | Fault::Constraint(_) | Fault::Again(_) => Parted::Alone,
        }
    }
}

/// Groups after which statements are planned anew. Before that they are at each power of two: what was planned for
/// small tables may take an index that is bad for large ones, and a new database grows fast.
const PLANNED_FOR: u64 = 4_096;

pub(super) struct PostgresJournal {
    db: Connection,
    known: RefCell<Known>,
    groups: u64,
}

impl PostgresJournal {
    pub(super) fn new(db: Connection) -> Result<Self, StoreError> {
        Ok(PostgresJournal { db, known: RefCell::default(), groups: 0 })
    }

    fn simple(&self, sql: &str) -> Result<(), String> {
        self.db.simple(sql).map_err(|e| sentence(&e))
    }

    /// Sent once: whatever goes wrong with it, what is on the disk is not known, and the store has failed.
    fn commit_once(&self) -> Result<(), String> {
        let began = Instant::now();
        let result = self.simple("COMMIT");
        metrics::histogram!("posp_store_commit_seconds").record(began.elapsed().as_secs_f64());
        result
    }

    /// Runs an operation in a transaction of its own. An error is the engine's failure.
    fn alone(&self, operation: &mut Operation) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            self.simple("BEGIN")?;
            match operation.run(&self.db) {
                Verdict::Keep => return self.commit_once(),
                Verdict::Undo => return self.simple("ROLLBACK"),
                Verdict::Contested => self.simple("ROLLBACK")?,
                Verdict::Fatal(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    /// Runs operations in one transaction and commits it. Those that stand are at the front of the group
    /// afterwards; how many they are is returned.
    fn together(&self, group: &mut [Operation]) -> Result<usize, Parted> {
        let touches: Vec<_> = group.iter().flat_map(|operation| operation.touches()).copied().collect();
        let sheet = match Sheet::begin(&self.db, &self.known, &touches) {
            Ok(sheet) => sheet,
            Err(fault) => {
                self.db.simple("ROLLBACK").map_err(Fault::from)?;
                return Err(fault.into());
            }
        };
        let mut stand = 0;
        for at in 0..group.len() {
            let Some(operation) = group.get_mut(at) else { break };
            match operation.run(&sheet) {
                Verdict::Keep => sheet.keep(),
                Verdict::Undo if sheet.undo() => {}
                Verdict::Contested if sheet.undo() => continue,
                Verdict::Fatal(reason) => return Err(Parted::Failed(reason)),
                // It wrote past the sheet: only the whole transaction can be undone.
                Verdict::Undo | Verdict::Contested => {
                    sheet.roll_back()?;
                    return Err(Parted::Alone);
                }
            }
            group.swap(stand, at);
            stand += 1;
        }
        let began = Instant::now();
        sheet.commit()?;
        metrics::histogram!("posp_store_commit_seconds").record(began.elapsed().as_secs_f64());
        Ok(stand)
    }

    /// Runs what waits and answers it; what is left in the group on an error is not answered.
    fn work(&self, group: &mut Vec<Operation>) -> Result<(), String> {
        if self.groups.is_power_of_two() || self.groups.is_multiple_of(PLANNED_FOR) {
            self.db.forget_plans();
        }
        // Those that share come first.
        group.sort_by_key(|operation| operation.touches().is_empty());
        let sharing = group.partition_point(|operation| !operation.touches().is_empty());
        if sharing > 0 {
            let shared = group.get_mut(..sharing).unwrap_or_default();
            match self.together(shared) {
                Ok(stand) => group.drain(..stand).for_each(|operation| operation.reply(None)),
                Err(Parted::Alone) => self.known.borrow_mut().forget_all(),
                Err(Parted::Failed(reason)) => return Err(reason),
            }
        }
        while let Some(operation) = group.first_mut() {
            self.alone(operation)?;
            group.remove(0).reply(None);
        }
        Ok(())
    }
}

impl Journal for PostgresJournal {
    fn receive(
        &mut self,
        queue: &mut mpsc::Receiver<Command>,
        group: &mut Vec<Command>,
        max: usize,
    ) -> Result<usize, String> {
        let received = self.db.wait_or_end(queue.recv_many(group, max));
        received.ok_or_else(|| "the connection to the database has ended".to_owned())
    }

    fn commit(&mut self, group: &mut Vec<Operation>) -> Result<(), String> {
        self.groups += 1;
        self.work(group).map_err(|reason| self.db.why(reason))
    }
}
