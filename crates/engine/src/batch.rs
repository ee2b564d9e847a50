//! Batch settlement (批结算) and batch-up (批上送).

use acquiring::kind::Kind;
use acquiring::payment::{EntryKind, JournalEntry};
use acquiring::settlement::{BatchTotals, BlockResult};
use acquiring::{Amount, BatchNo, Pan, ResponseCode, Trace};
use jiff::Timestamp;
use store::{BatchLine, Settlement, StoreError};

use crate::authenticate::Authenticated;
use crate::{Engine, Refusal};

/// Outcome of 0500.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Domestic block.
    pub domestic: BlockResult,
    /// Foreign block.
    pub foreign: BlockResult,
    /// Our totals, for log and tests.
    pub host: BatchTotals,
    /// Fields 12 and 13.
    pub at: Timestamp,
}

/// One uploaded detail.
pub struct Detail {
    /// The original's trace number.
    pub trace: Trace,
    /// Its account number, when the line tells it.
    pub pan: Option<Pan>,
    /// Its amount.
    pub amount: Amount,
    /// Card class: 01, a foreign card, in place of 00; none where the upload has no place for it.
    pub foreign: Option<bool>,
}

impl Engine {
    fn batch_failed(&self, error: &StoreError) -> Refusal {
        tracing::error!(%error, "the store cannot settle a batch");
        Refusal::new(ResponseCode::MALFUNCTION, "store cannot settle the batch")
    }

    /// Compares a terminal's totals with the journal of its batch and keeps the result.
    pub async fn settle(
        &self,
        auth: &Authenticated,
        batch: BatchNo,
        terminal: BatchTotals,
        masked: Vec<u8>,
    ) -> Result<Compared, Refusal> {
        let entry = &auth.entry;
        let at = self.now();
        let failed = |error: StoreError| self.batch_failed(&error);
        let store = &self.0.store;
        let host = store.batch_totals(entry.merchant.id, entry.id, batch).await.map_err(failed)?;
        let domestic = BlockResult::compare(terminal.domestic, host.domestic);
        let foreign = BlockResult::compare(terminal.foreign, host.foreign);
        let settlement = Settlement {
            merchant: entry.merchant.id,
            terminal: entry.id,
            batch,
            at,
            terminal_totals: terminal,
            host_totals: host,
            domestic,
            foreign,
            entries: vec![JournalEntry::message(at, EntryKind::TerminalIn, masked)],
        };
        store.record_settlement(settlement).await.map_err(failed)?;
        let balanced = domestic == BlockResult::Balanced && foreign == BlockResult::Balanced;
        metrics::counter!("posp_settlements_total", "balanced" => if balanced { "yes" } else { "no" })
            .increment(1);
        tracing::info!(merchant = %entry.merchant.id, terminal = %entry.id, %batch, balanced,
            debit = %host.domestic.debit.amount, credit = %host.domestic.credit.amount,
            foreign_debit = %host.foreign.debit.amount, foreign_credit = %host.foreign.credit.amount, "batch compared");
        Ok(Compared { domestic, foreign, host, at })
    }

    /// Matches uploaded details with the journal; a difference is kept for the operator.
    pub async fn batch_up(
        &self,
        auth: &Authenticated,
        batch: BatchNo,
        details: Vec<Detail>,
        masked: Vec<u8>,
    ) -> Result<Timestamp, Refusal> {
        let entry = &auth.entry;
        let at = self.now();
        let message = vec![JournalEntry::message(at, EntryKind::TerminalIn, masked)];
        let noted = self.0.store.batch_note(entry.merchant.id, entry.id, batch, message).await;
        noted.map_err(|error| self.batch_failed(&error))?;
        for detail in details {
            let card_digest = match &detail.pan {
                Some(pan) => Some(self.0.hsm.digest(pan.reveal().as_bytes()).map_err(|error| {
                    tracing::error!(%error, "the security module failed");
                    Refusal::new(ResponseCode::MALFUNCTION, "security module failed")
                })?),
                None => None,
            };
            let line = BatchLine {
                trace: detail.trace,
                card_digest,
                amount: detail.amount,
                foreign: detail.foreign,
                at,
                kind: auth.spec.kind,
            };
            let found = self
                .0
                .store
                .batch_line(entry.merchant.id, entry.id, batch, line)
                .await
                .map_err(|error| self.batch_failed(&error))?;
            if let Some(difference) = found {
                metrics::counter!("posp_batch_differences_total", "kind" => difference.code()).increment(1);
                tracing::warn!(merchant = %entry.merchant.id, terminal = %entry.id, %batch,
                    trace = %detail.trace, difference = difference.code(), "batch-up differs from the journal");
            }
        }
        Ok(at)
    }

    /// Closes a batch after its last detail; the terminal goes on with the next number.
    pub async fn end_batch(
        &self,
        auth: &Authenticated,
        batch: BatchNo,
        uploaded: u32,
        balanced: bool,
    ) -> Result<Timestamp, Refusal> {
        debug_assert_eq!(auth.spec.kind, Kind::BatchUpEnd);
        let entry = &auth.entry;
        let at = self.now();
        let ended = self
            .0
            .store
            .end_batch(entry.merchant.id, entry.id, batch, uploaded, balanced, at)
            .await
            .map_err(|error| self.batch_failed(&error))?;
        entry.change_session(|session| session.batch = ended.next);
        tracing::info!(merchant = %entry.merchant.id, terminal = %entry.id, %batch, next = %ended.next,
            uploaded, balanced, "batch closed");
        Ok(at)
    }
}
