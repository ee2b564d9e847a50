//! What a node does for its database beside the payments: a thread and a connection of their own, so that no payment
//! waits for it. Nothing depends on it at any one moment; what fails is tried again at the next turn.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connection::{Connection, Purpose, sentence};
use super::{Address, days};
use crate::error::StoreError;

/// Between two turns. The table of what is under way gains and loses a row with each payment; what the server's own
/// cleaning leaves for a minute would be read through by every look at it.
const TURN: Duration = Duration::from_secs(5);

/// Turns between two looks at the days of the history: a minute.
const DAYS_EVERY: u64 = 12;

/// Turns between two looks for days that are not kept any more: an hour.
const RETIRE_EVERY: u64 = 720;

/// Size in bytes from which that table is cleaned.
const LARGE: i64 = 1 << 20;

/// The thread. It ends when this is dropped.
pub(crate) struct Care(Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>);

impl Care {
    /// Starts it, with the days ahead made when it returns; days of history beyond that number are dropped.
    ///
    /// # Errors
    /// [`StoreError::CannotOpen`] when the thread cannot be started.
    pub(super) fn start(address: Address, history_days: Option<u32>) -> Result<Self, StoreError> {
        let (stop, stopped) = sync_channel(1);
        let (ready, prepared) = sync_channel(1);
        let cannot = address.clone();
        let thread = std::thread::Builder::new()
            .name("store-care".to_owned())
            .spawn(move || {
                let mut connection = days::prepare(&address);
                let _ = ready.send(());
                let mut turns = 0_u64;
                while stopped.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                    let result = match connection.take() {
                        Some(open) => Ok(open),
                        None => Connection::open(address.clone(), Purpose::Care),
                    };
                    match result {
                        Ok(open) => {
                            connection = turn(&open, turns, history_days).then_some(open);
                            turns += 1;
                        }
                        Err(error) => tracing::warn!(%error, "the database cannot be cared for"),
                    }
                }
            })
            .map_err(|e| cannot.cannot_open(e.to_string()))?;
        // Whatever came of it, the thread goes on and tries again.
        let _ = prepared.recv();
        Ok(Care(Mutex::new(Some((stop, thread)))))
    }

    /// Ends it, after what it is at.
    pub(crate) fn stop(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, thread)) = running {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Care {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One turn; whether the connection is good for another.
fn turn(db: &Connection, number: u64, history_days: Option<u32>) -> bool {
    let cleaned = clean(db);
    let cared = if number.is_multiple_of(DAYS_EVERY) { days::care(db) } else { Ok(()) };
    let retired = match history_days {
        Some(kept) if number.is_multiple_of(RETIRE_EVERY) => days::retire(db, kept),
        _ => Ok(()),
    };
    let results = [
        (cleaned, "the table of payments under way was not cleaned"),
        (cared, "the days of the history were not cared for"),
        (retired, "days of the history that are over were not dropped"),
    ];
    let mut well = true;
    for (result, what) in results {
        if let Err(error) = result {
            tracing::warn!(reason = sentence(&error), "{what}");
            well = false;
        }
    }
    well
}

/// Takes the rows of payments that are no longer under way out of their table, unless another node is at it.
fn clean(db: &Connection) -> Result<(), tokio_postgres::Error> {
    let size = "SELECT pg_relation_size('payment_under_way')";
    let size: i64 = db.with(async |client| client.query_one(size, &[]).await)?.try_get(0)?;
    if size < LARGE {
        return Ok(());
    }
    // Giving the empty end of the file back would lock the table against the payments, which need it again at once.
    db.simple("VACUUM (SKIP_LOCKED, TRUNCATE off) payment_under_way")
}
