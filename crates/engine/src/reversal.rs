//! The terminal's reversal (冲正, 0400): answered alike however often it comes, whatever it crosses.

use acquiring::payment::{Answer, EntryKind, JournalEntry};
use acquiring::transition::Reception;
use acquiring::{Amount, BatchNo, Beijing, ResponseCode, Secret, Trace};
use store::{CancelRequest, Cancelled};

use crate::Engine;
use crate::advice::CHIP_CONTEXT;
use crate::authenticate::Authenticated;
use crate::payment::{Reply, Silent};

/// A reversal as a door read it. Its numbers are those of the transaction it undoes.
pub struct ReversalRequest {
    /// Batch of the original, 60.2.
    pub batch: BatchNo,
    /// Trace number of the original, field 11.
    pub trace: Trace,
    /// Amount of the original, field 4.
    pub amount: Amount,
    /// Field 39: 98, 06 or A0.
    pub reason: ResponseCode,
    /// Field 55: what the chip has become meanwhile.
    pub chip: Option<Secret>,
    /// The message with its secrets overwritten.
    pub masked: Vec<u8>,
}

impl Engine {
    /// Takes a reversal. The answer is 00 as soon as the reversal is durable: from then on undoing it at
    /// the network is our business, not the terminal's.
    pub async fn reverse(&self, auth: Authenticated, request: ReversalRequest) -> Result<Reply, Silent> {
        let engine = self.clone();
        let work = self.0.tasks.spawn(async move { engine.reverse_through(&auth, request).await });
        work.await.unwrap_or(Err(Silent))
    }

    async fn reverse_through(&self, auth: &Authenticated, request: ReversalRequest) -> Result<Reply, Silent> {
        let at = self.now();
        let payload = match &request.chip {
            Some(chip) => Some(self.0.hsm.seal(CHIP_CONTEXT, chip.reveal()).map_err(|error| {
                tracing::error!(%error, "the security module cannot protect card data");
                Silent
            })?),
            None => None,
        };
        let cancel = CancelRequest {
            merchant: auth.terminal().merchant.id,
            terminal: auth.terminal().id,
            batch: request.batch,
            trace: request.trace,
            amount: request.amount,
            reason: request.reason,
            payload,
            at,
        };
        let entries = vec![
            JournalEntry::message(at, EntryKind::TerminalIn, request.masked),
            JournalEntry::note(at, format!("the terminal reverses it, reason {}", request.reason)),
        ];
        let cancelled = match self.0.store.cancel(cancel, entries).await {
            Ok(cancelled) => cancelled,
            Err(error) => {
                tracing::error!(%error, "a reversal could not be made durable");
                return Err(Silent);
            }
        };
        let mut repeated = false;
        let (record, code) = match cancelled {
            // Nothing to undo, and remembered: should the payment still arrive, it is refused.
            Cancelled::Unknown => (None, ResponseCode::APPROVED),
            Cancelled::AmountDiffers(record) => (Some(*record), ResponseCode::AMOUNT_DIFFERS),
            Cancelled::Applied(applied) => {
                repeated = applied.change.reception == Reception::Repeated;
                let voided = applied.record.state == acquiring::PaymentState::Voided;
                let code = match applied.change.reception {
                    Reception::Moved | Reception::Repeated | Reception::Late => ResponseCode::APPROVED,
                    Reception::NothingToUndo if voided => ResponseCode::NO_ORIGINAL,
                    Reception::NothingToUndo => ResponseCode::APPROVED,
                    Reception::Refused(code) => code,
                };
                if applied.change.forward.is_some() {
                    self.0.forward_wake.notify_one();
                }
                (Some(applied.record), code)
            }
        };
        metrics::counter!("posp_reversals_total", "code" => code.as_str().to_owned()).increment(1);
        tracing::info!(
            kind = "reversal",
            payment = record.as_ref().map(|r| r.id.0),
            code = code.as_str(),
            trace = %request.trace,
            reason = request.reason.as_str(),
            "reversal answered"
        );
        let mut answer = Answer::own(code, at);
        if let Some(first) = record.as_ref().and_then(|r| r.answer.as_ref()) {
            answer.auth_code = first.auth_code;
            answer.settle_date = first.settle_date;
            answer.issuer = first.issuer.clone();
        }
        let rrn = match &record {
            Some(record) => record.rrn,
            None => {
                let number = self.0.numbers.next(&self.0.store).await.map_err(|_| Silent)?;
                number.rrn(Beijing::of(at).mmdd())
            }
        };
        Ok(Reply {
            answer,
            rrn: Some(rrn),
            payment: record.map(|r| (r.merchant, r.id)),
            pan: None,
            organisation: None,
            total: None,
            repeated,
            reason: None,
        })
    }
}
