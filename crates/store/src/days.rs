//! The days by which history is kept on PostgreSQL: seen, taken out, put back.

use crate::error::StoreError;
use crate::postgres::days::Days;
use crate::store::Store;
use crate::types::{HISTORY_DAYS_MIN, HistoryDay};

impl Store {
    /// The days of history that there are, the newest first, detached ones among them. Their lines are estimated by the
    /// server, or counted, which reads all of them.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] on SQLite; [`StoreError::CannotRead`].
    pub async fn history_days(&self, count: bool) -> Result<Vec<HistoryDay>, StoreError> {
        self.days()?.list(count).await
    }

    /// Takes the history of a day (YYYYMMDD) out: it stands in a table of its own then, to be copied elsewhere. Its
    /// payments stay.
    ///
    /// # Errors
    /// [`StoreError::HistoryStays`] when a payment of the day is open, not settled, or young enough to be refunded, or
    /// when somebody reads the history for long; [`StoreError::ReadOnly`]; [`StoreError::Misuse`] on SQLite.
    pub async fn detach_history(&self, day: u32) -> Result<(), StoreError> {
        self.days_to_change()?.take_out(day, false).await
    }

    /// Drops the history of a day, detached or not.
    ///
    /// # Errors
    /// As [`Store::detach_history`].
    pub async fn drop_history(&self, day: u32) -> Result<(), StoreError> {
        self.days_to_change()?.take_out(day, true).await
    }

    /// Makes the table of a day that was detached, or that came back from a dump, a part of the history again.
    ///
    /// # Errors
    /// As [`Store::detach_history`].
    pub async fn attach_history(&self, day: u32) -> Result<(), StoreError> {
        self.days_to_change()?.attach(day).await
    }

    /// Gives a partition to the days of lines that were written when theirs had none; how many lines were moved. A node
    /// does it by itself for few of them.
    ///
    /// # Errors
    /// As [`Store::history_days`]; [`StoreError::ReadOnly`].
    pub async fn adopt_history(&self) -> Result<u64, StoreError> {
        self.days_to_change()?.adopt().await
    }

    fn days(&self) -> Result<&Days, StoreError> {
        self.db.days.as_ref().ok_or(StoreError::Misuse { rule: "history is kept by day on PostgreSQL only" })
    }

    fn days_to_change(&self) -> Result<&Days, StoreError> {
        let days = self.days()?;
        if self.db.writer.is_none() {
            return Err(StoreError::ReadOnly);
        }
        Ok(days)
    }
}

/// What a setting for days of history must be.
pub(crate) fn check_kept(kept: Option<u32>, by_day: bool) -> Result<(), StoreError> {
    match kept {
        Some(_) if !by_day => {
            Err(StoreError::Misuse { rule: "days of history are dropped on PostgreSQL only" })
        }
        Some(kept) if kept < HISTORY_DAYS_MIN => Err(StoreError::Misuse {
            rule: "history is kept for 31 days at least: so far back refunds may reach",
        }),
        _ => Ok(()),
    }
}
