//! An open store: one writer, some readers, whatever the engine.

use std::sync::Arc;

use acquiring::Clock;

use crate::db::{Db, Op};
use crate::error::StoreError;
use crate::postgres::Care;
use crate::postgres::days::Days;
use crate::readers::Readers;
use crate::writer::{Admission, Touch, Writer};

pub(crate) struct Handles {
    /// None when the store was opened for reading.
    pub(crate) writer: Option<Writer>,
    pub(crate) readers: Readers,
    /// What the engine needs done beside the payments.
    pub(crate) care: Option<Care>,
    /// Where history is kept by day.
    pub(crate) days: Option<Days>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Several nodes may write the same store.
    pub(crate) shared: bool,
}

impl Handles {
    /// Finishes what waits and refuses what comes after.
    pub(crate) async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close();
        if let Some(care) = &self.care {
            care.stop();
        }
    }

    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// Runs a write; returns when it is durable. It may be run more than once, until it is.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        admission: Admission,
        touches: Vec<Touch>,
        op: impl Fn(&dyn Db) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.writer {
            Some(writer) => writer.run(admission, touches, op).await,
            None => Err(StoreError::ReadOnly),
        }
    }

    /// Runs a read on one of the reading connections; it sees every write that was answered.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        op: impl FnOnce(&dyn Db) -> Op<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(op).await
    }
}
