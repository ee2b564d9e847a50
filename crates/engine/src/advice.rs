//! What a terminal tells after the fact: offline sales, adjustments, tips, and what became of the commands for a chip.
//!
//! Nothing is asked of the network before the answer: it has happened. The payment is journaled as approved together
//! with its place in the queue of the line, the terminal hears that, and the queue sees to it that the network hears
//! it too, however long that takes.

use std::sync::Arc;

use acquiring::kind::{Kind, Side};
use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::{Amount, BatchNo, Beijing, ResponseCode, Rrn, Secret, Trace};
use store::{Begun, PartKept};

use crate::authenticate::Authenticated;
use crate::payment::{Lookup, PaymentRequest, Reply, Silent, reply_of, stand_on};
use crate::{Engine, Refusal, signature};

/// What sealed chip data of a queued message is bound to.
pub(crate) const CHIP_CONTEXT: &[u8] = b"forward.chip";

/// What became of the commands that an answer brought for the chip, as a door read it.
pub struct ScriptResult {
    /// Batch of the payment, 61.1.
    pub batch: BatchNo,
    /// Trace number of the payment, 61.2.
    pub trace: Trace,
    /// Reference number of the payment, field 37.
    pub rrn: Option<Rrn>,
    /// Field 55, with the result in tag DF31.
    pub chip: Secret,
    /// The message with its secrets overwritten.
    pub masked: Vec<u8>,
}

/// A part of an e-signature, as a door read it.
pub struct SignaturePart {
    /// Batch of the payment, 60.2.
    pub batch: BatchNo,
    /// Trace number of the payment, field 11.
    pub trace: Trace,
    /// Reference number of the payment, field 37.
    pub rrn: Option<Rrn>,
    /// 60.3: 809 down to 800, which is the last.
    pub code: u16,
    /// Field 62.
    pub image: Vec<u8>,
}

impl Engine {
    /// Keeps a part of an e-signature: 00, or 94 when the signature was complete before. The terminal takes both as
    /// uploaded.
    pub async fn keep_signature(&self, auth: &Authenticated, part: SignaturePart) -> Result<Reply, Refusal> {
        let (merchant, terminal) = (auth.entry.merchant.id, auth.entry.id);
        let at = self.now();
        let store = &self.0.store;
        let failed = |error: store::StoreError| {
            tracing::error!(%error, "a signature could not be made durable");
            Refusal::new(ResponseCode::MALFUNCTION, "store cannot take the signature")
        };
        let none = Refusal::new(ResponseCode::NO_ORIGINAL, "signature of an unknown payment");
        let found = store.by_trace(merchant, terminal, part.batch, part.trace).await.map_err(failed)?;
        let record = found.filter(|record| part.rrn.is_none_or(|rrn| rrn == record.rrn)).ok_or(none)?;
        let note = format!("e-signature, part {}: {} bytes", part.code, part.image.len());
        let entries = vec![JournalEntry::note(at, note)];
        let sealed = signature::seal(self.0.hsm.as_ref(), merchant, record.id, part.code, &part.image);
        let sealed = sealed.map_err(|error| {
            tracing::error!(%error, "a signature could not be sealed");
            Refusal::new(ResponseCode::MALFUNCTION, "signature could not be sealed")
        })?;
        let kept = store.put_signature(merchant, record.id, part.code, sealed, entries, at);
        let kept = kept.await.map_err(failed)?;
        let code = match kept {
            PartKept::Known => ResponseCode::DUPLICATE,
            PartKept::More | PartKept::Complete => ResponseCode::APPROVED,
        };
        tracing::info!(payment = record.id.0, part = part.code, code = code.as_str(), "signature part taken");
        Ok(Reply { answer: Answer::own(code, at), payment: None, ..reply_of(&record, false) })
    }

    /// Takes what the terminal approved by itself. Its answer is durable before it is given, and so is its place in
    /// the queue.
    pub async fn advise(&self, auth: Authenticated, request: PaymentRequest) -> Result<Reply, Silent> {
        let engine = self.clone();
        let work = self.0.tasks.spawn(async move { engine.advise_through(auth, request).await });
        work.await.unwrap_or(Err(Silent))
    }

    async fn advise_through(&self, auth: Authenticated, request: PaymentRequest) -> Result<Reply, Silent> {
        let kind = auth.spec.kind;
        let (entry, numbers) = (Arc::clone(&auth.entry), (request.batch, request.trace));
        let making = entry.traces().make(request.batch, request.trace);
        let digest = request.digest;
        let hidden = request.number_hidden;
        let mut pan = None;
        let mut reply = self.told(auth, request, &mut pan).await.unwrap_or_else(|refused| *refused);
        drop(making);
        if reply.payment.is_none() {
            reply = self.unless_known(reply, &entry, numbers, &digest).await?;
        }
        reply.pan = pan.filter(|_| !hidden);
        metrics::counter!("posp_payments_total", "kind" => kind.code(),
            "code" => reply.answer.code.as_str().to_owned())
        .increment(1);
        tracing::info!(
            kind = kind.code(),
            payment = reply.payment.map(|(_, id)| id.0),
            rrn = reply.rrn.as_ref().map(tracing::field::display),
            code = reply.answer.code.as_str(),
            reason = reply.reason,
            repeated = reply.repeated,
            "told after the fact, answered"
        );
        Ok(reply)
    }

    async fn told(
        &self,
        auth: Authenticated,
        request: PaymentRequest,
        seen: &mut Option<acquiring::Pan>,
    ) -> Result<Reply, Box<Reply>> {
        let inner = &self.0;
        let at = self.now();
        let failed = |error: hsm::HsmError| {
            tracing::error!(%error, "the security module cannot protect card data");
            self.refuse(Refusal::new(ResponseCode::MALFUNCTION, "security module failed"))
        };
        let track2 = self.clear_track(&auth, &request).map_err(|refusal| self.refuse(refusal))?;
        let pan = self.number_of(&auth, &request, track2.as_ref()).await?;
        *seen = Some(pan.clone());
        let card = self.card_record(&pan).map_err(failed)?;
        let id = inner.numbers.next(&inner.store).await.map_err(|e| self.store_refusal(&e))?;
        let approved = Answer { auth_code: request.auth_code, ..Answer::own(ResponseCode::APPROVED, at) };
        let intent = self.intent(&auth, &request, id, card, at);
        let mut record = PaymentRecord { state: PaymentState::Approved, answer: Some(approved), ..intent };
        record.foreign = inner.directory.limits().is_foreign(pan.reveal());
        let original = match self.original_of(&record, &request).await {
            Ok(original) => original,
            Err(Lookup::Refused(refusal)) => return Err(self.decline(record, refusal, request.masked).await),
            Err(Lookup::Store(error)) => return Err(self.store_refusal(&error)),
        };
        stand_on(&mut record, original.as_ref());
        let percent = inner.config.tip_percent_max;
        let day = Beijing::of(at).yyyymmdd();
        // It has happened and takes nothing of a day any more; what is forbidden, or too much at once, stays so.
        let allowed = check(&auth, &request, &record, original.as_ref(), percent).and_then(|()| {
            let judged = inner.directory.limits().judge(&record, pan.reveal(), day);
            judged.map(|_| ()).map_err(|code| Refusal::new(code, "a limit does not allow it"))
        });
        if let Err(refusal) = allowed {
            return Err(self.decline(record, refusal, request.masked).await);
        }
        let payload = match &request.chip {
            Some(chip) => Some(inner.hsm.seal(CHIP_CONTEXT, chip.reveal()).map_err(failed)?),
            None => None,
        };
        let digest = record.request_digest;
        let entries = vec![JournalEntry::message(at, EntryKind::TerminalIn, request.masked)];
        match inner.store.advise(record.clone(), payload, entries).await {
            Ok(Begun::Journaled) => {
                inner.forward_wake.notify_one();
                Ok(reply_of(&record, false))
            }
            Ok(Begun::Existing(existing)) => Ok(self.repeat(&existing, &digest)),
            Ok(Begun::Refused(refused)) => {
                Ok(Reply { reason: Some("original does not allow it"), ..reply_of(&refused, false) })
            }
            Err(error) => Err(self.store_refusal(&error)),
        }
    }

    /// Takes what became of the commands for a chip: queued toward the network, once for each payment, behind
    /// whatever waits already.
    pub async fn script_result(&self, auth: &Authenticated, result: ScriptResult) -> Result<Reply, Refusal> {
        let (merchant, terminal) = (auth.entry.merchant.id, auth.entry.id);
        let at = self.now();
        let store = &self.0.store;
        let failed = |error: store::StoreError| {
            tracing::error!(%error, "a script result could not be made durable");
            Refusal::new(ResponseCode::MALFUNCTION, "store cannot take the script result")
        };
        let found = store.by_trace(merchant, terminal, result.batch, result.trace).await.map_err(failed)?;
        let none = Refusal::new(ResponseCode::NO_ORIGINAL, "script result of an unknown payment");
        let record = found.ok_or(none)?;
        if result.rrn.is_some_and(|rrn| rrn != record.rrn) {
            return Err(none);
        }
        let payload = self.0.hsm.seal(CHIP_CONTEXT, result.chip.reveal()).map_err(|error| {
            tracing::error!(%error, "the security module cannot protect card data");
            Refusal::new(ResponseCode::MALFUNCTION, "security module failed")
        })?;
        let entries = vec![JournalEntry::message(at, EntryKind::TerminalIn, result.masked)];
        let first = store.forward_script(merchant, record.id, payload, entries, at).await.map_err(failed)?;
        self.0.forward_wake.notify_one();
        tracing::info!(payment = record.id.0, first, "script result taken");
        let answer = Answer {
            auth_code: record.answer.as_ref().and_then(|a| a.auth_code),
            settle_date: record.answer.as_ref().and_then(|a| a.settle_date),
            ..Answer::own(ResponseCode::APPROVED, at)
        };
        Ok(Reply { answer, repeated: !first, ..reply_of(&record, false) })
    }
}

/// Rules for what the terminal approved: the amount is there and, for a tip, is the original's and the tip.
fn check(
    auth: &Authenticated,
    request: &PaymentRequest,
    record: &PaymentRecord,
    original: Option<&PaymentRecord>,
    tip_percent_max: u32,
) -> Result<(), Refusal> {
    let refuse = |code, reason| Err(Refusal::new(code, reason));
    if request.currency != 156 {
        return refuse(ResponseCode::FORMAT_ERROR, "currency is not 156");
    }
    if record.amount.is_zero() {
        return refuse(ResponseCode::INVALID_AMOUNT, "amount is zero");
    }
    // The amount of an adjustment is what the sale comes to.
    if (auth.spec.side == Side::Debit || original.is_some())
        && auth.entry.merchant.limit_single.is_some_and(|limit| record.amount > limit)
    {
        return refuse(ResponseCode::OVER_LIMIT, "above the merchant's limit");
    }
    if let (Kind::Tip, Some(original)) = (record.kind, original) {
        let told = request.tip.unwrap_or(Amount::ZERO);
        if original.amount.plus(told) != Some(record.amount) {
            return refuse(ResponseCode::AMOUNT_DIFFERS, "amount is not that of the sale and the tip");
        }
        let most = original.amount.fen().saturating_mul(u64::from(tip_percent_max)) / 100;
        if told.fen() > most {
            return refuse(ResponseCode::OVER_LIMIT, "tip above the allowed share");
        }
    }
    Ok(())
}
