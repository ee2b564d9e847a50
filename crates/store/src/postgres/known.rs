//! Payments that this node has just begun, as it wrote them: their outcome follows within moments, and need not read
//! them again.
//!
//! Nothing here is trusted. A statement that changes such a payment changes it only as it was begun, and a line of its
//! history takes a place that must be free; should another node have been there first, the statement fails, nothing of
//! its transaction stands, and the operations are run again on what the database holds.

use std::collections::HashMap;

use acquiring::payment::{PaymentRecord, PaymentState};
use acquiring::{MerchantId, PaymentId};

pub(super) type Id = (MerchantId, PaymentId);

/// Payments kept; some megabytes. Above it all are forgotten, which costs the reading that is saved otherwise.
const MOST: usize = 16_384;

/// A payment as this node wrote it last.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) record: PaymentRecord,
    /// Lines of its history.
    pub(super) lines: i32,
}

impl Written {
    /// As it was begun: what an update of it asks to be so still (see [`super::write`]).
    pub(super) fn is_intent(&self) -> bool {
        let record = &self.record;
        record.state == PaymentState::Pending
            && record.original.is_none()
            && record.claimed_by.is_none()
            && record.answer.is_none()
            && record.reversal_reason.is_none()
            && record.adjusted.is_none()
            && record.refunded.is_zero()
    }
}

#[derive(Default)]
pub(super) struct Known(HashMap<Id, Written>);

impl Known {
    pub(super) fn get(&self, id: &Id) -> Option<&Written> {
        self.0.get(id)
    }

    pub(super) fn keep(&mut self, written: Written) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert((written.record.merchant, written.record.id), written);
    }

    pub(super) fn forget(&mut self, id: &Id) {
        self.0.remove(id);
    }

    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}
