//! What the writer remembers of payments under way, so that the answer to one need not read it again.
//!
//! Only payments in the state pending are kept, each as the journal would give it back. Whatever may make the memory
//! differ from the journal empties it: a rollback, and a change by another connection.

use std::collections::HashMap;

use acquiring::PaymentId;
use acquiring::payment::{PaymentRecord, PaymentState};
use jiff::Timestamp;

/// Payments under way that are remembered at most.
const KEPT_MAX: usize = 16_384;

#[derive(Default)]
pub(super) struct Pending(HashMap<PaymentId, PaymentRecord>);

impl Pending {
    pub(super) fn get(&self, id: PaymentId) -> Option<&PaymentRecord> {
        self.0.get(&id)
    }

    /// Remembers a payment as it was written, or forgets one that is no longer pending.
    pub(super) fn written(&mut self, record: &PaymentRecord) {
        if record.state != PaymentState::Pending {
            self.0.remove(&record.id);
        } else if let Some(kept) = as_kept(record).filter(|_| self.0.len() < KEPT_MAX) {
            self.0.insert(record.id, kept);
        } else {
            self.0.remove(&record.id);
        }
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// The journal keeps milliseconds.
fn as_kept(record: &PaymentRecord) -> Option<PaymentRecord> {
    let created = Timestamp::from_millisecond(record.created.as_millisecond()).ok()?;
    Some(PaymentRecord { created, ..record.clone() })
}
