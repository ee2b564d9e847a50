//! A payment from an authenticated request to a durable outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use acquiring::kind::{FoundBy, Kind};
use acquiring::limit::LimitHold;
use acquiring::payment::{
    Answer, CardRecord, EntryKind, JournalEntry, NetworkKey, PaymentRecord, PaymentState,
};
use acquiring::transition::Event;
use acquiring::{
    Amount, AuthCode, BatchNo, Beijing, EntryMode, Expiry, MerchantId, Pan, PaymentId, ResponseCode, Rrn,
    Secret, Trace,
};
use channels::{NetworkRequest, OriginalRef, Outcome, Prepared, TerminalPin};
use hsm::EncryptedPinBlock;
use jiff::Timestamp;
use store::{Begun, StoreError};
use tokio::time::Instant;

use crate::authenticate::Authenticated;
use crate::rules::{account_number, check_request, has_amount, is_undoing};
use crate::{Engine, Place, Refusal, TerminalEntry};

/// A financial request as a door read it.
pub struct PaymentRequest {
    /// Batch, 60.2.
    pub batch: BatchNo,
    /// Trace number, field 11.
    pub trace: Trace,
    /// Field 4.
    pub amount: Option<Amount>,
    /// Field 49, ISO 4217 numeric.
    pub currency: u16,
    /// Field 2.
    pub pan: Option<Pan>,
    /// The terminal does not know card numbers, since its reader keeps them (MPOS): none is sent to it.
    pub number_hidden: bool,
    /// Field 14.
    pub expiry: Option<Expiry>,
    /// Field 22.
    pub entry_mode: EntryMode,
    /// Field 23.
    pub card_sequence: Option<u16>,
    /// Field 25.
    pub condition: u8,
    /// Digits 60.4 to 60.6.
    pub terminal_traits: [u8; 3],
    /// Field 35 as it came, `D` as separator.
    pub track2: Option<Secret>,
    /// Digit 3 of field 53: tracks are under the track key.
    pub track_encrypted: bool,
    /// Field 52, or its SM4 carrier.
    pub pin: Option<EncryptedPinBlock>,
    /// Field 55.
    pub chip: Option<Secret>,
    /// Account number in the chip data (tags 5A or 57), when it has one.
    pub chip_pan: Option<Pan>,
    /// Field 61: what this voids, refunds or completes.
    pub original: Option<OriginalNumbers>,
    /// Field 37 of a void or refund: the original's reference number.
    pub original_rrn: Option<Rrn>,
    /// Field 62 of an instalment sale: periods (two digits) and item code (30 characters). Of a points sale field 60.7
    /// (three digits) and the item code.
    pub plan: Option<String>,
    /// The card whose purse a non-designated load fills.
    pub transfer_in: Option<TransferIn>,
    /// Field 54 of a tip.
    pub tip: Option<Amount>,
    /// Field 38 of a void, refund or completion, or of what was approved by voice.
    pub auth_code: Option<AuthCode>,
    /// Keyed digest of the request's bytes.
    pub digest: [u8; 32],
    /// The message with its secrets overwritten, for the journal.
    pub masked: Vec<u8>,
}

/// The other card of a load: fields 62 and 48.
pub struct TransferIn {
    /// Its number.
    pub pan: Pan,
    /// How it is read.
    pub entry_mode: EntryMode,
}

/// Field 61: the terminal's numbers of an earlier payment. Zeros mean "not told".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalNumbers {
    /// 61.1.
    pub batch: Option<BatchNo>,
    /// 61.2.
    pub trace: Option<Trace>,
    /// 61.3, MMDD.
    pub date: Option<u16>,
}

/// What the door answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Field 39, 38, 15, 44, 54, 55 and the time of fields 12 and 13.
    pub answer: Answer,
    /// Field 37.
    pub rrn: Option<Rrn>,
    /// The payment this is about, for the journal of the answer itself.
    pub payment: Option<(MerchantId, PaymentId)>,
    /// The account number of the request, for field 2 of the answer.
    pub pan: Option<Pan>,
    /// What the payment comes to; of an approval in part field 4 of the answer.
    pub total: Option<Amount>,
    /// The organisation of its card, 63.1, when there is a payment.
    pub organisation: Option<&'static str>,
    /// The request was here before.
    pub repeated: bool,
    /// The fixed sentence of a refusal, for log and metric.
    pub reason: Option<&'static str>,
}

/// Where an answer cannot be given: the outcome is not durable, so the door stays silent and the terminal
/// reverses. The node is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outcome could not be made durable; nothing may be answered")]
pub struct Silent;

/// A request that our rules allow, ready for the journal.
struct Admitted {
    auth: Authenticated,
    record: PaymentRecord,
    /// What it must take of its limits' day.
    holds: Vec<LimitHold>,
    prepared: Prepared,
    masked_request: Vec<u8>,
}

/// A payment whose intent is durable.
struct Journaled {
    merchant: MerchantId,
    id: PaymentId,
    kind: Kind,
    rrn: Rrn,
    prepared: Prepared,
}

/// A payment's place among those under way; given back when dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Begin {
    Go(Journaled),
    Done(Reply),
}

impl Engine {
    /// Takes a payment through. The work goes on to its durable outcome even when the caller goes away. Its place is given
    /// back when its intent is durable.
    pub async fn pay(
        &self,
        auth: Authenticated,
        request: PaymentRequest,
        place: Option<Place>,
    ) -> Result<Reply, Silent> {
        let engine = self.clone();
        // Boxed, a large future is moved once and not at each step into its task.
        let work =
            self.0.tasks.spawn(Box::pin(async move { engine.pay_through(auth, request, place).await }));
        work.await.unwrap_or(Err(Silent))
    }

    async fn pay_through(
        &self,
        auth: Authenticated,
        request: PaymentRequest,
        place: Option<Place>,
    ) -> Result<Reply, Silent> {
        let _under_way = UnderWay::enter(&self.0.under_way);
        let kind = auth.spec.kind;
        let (started, began) = (self.now(), Instant::now());
        let mut pan = None;
        let (entry, numbers) = (Arc::clone(&auth.entry), (request.batch, request.trace));
        let mut making = Some(entry.traces().make(request.batch, request.trace));
        let digest = request.digest;
        let hidden = request.number_hidden;
        let mut reply = match self.admit(auth, request, &mut pan).await {
            Err(reply) => *reply,
            Ok(admitted) => match self.journal(admitted).await {
                Begin::Done(reply) => reply,
                Begin::Go(journaled) => {
                    making = None;
                    drop(place);
                    let outcome = self.send(&journaled, began).await;
                    self.complete(journaled, outcome).await?
                }
            },
        };
        drop(making);
        if reply.payment.is_none() {
            reply = self.unless_known(reply, &entry, numbers, &digest).await?;
        }
        reply.pan = pan.filter(|_| !hidden);
        let took = self.now().duration_since(started);
        metrics::histogram!("posp_payment_seconds", "kind" => kind.code()).record(took.as_secs_f64());
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
            ms = took.as_millis() as i64,
            "payment answered"
        );
        Ok(reply)
    }

    /// The account number, as the message tells it. A terminal that does not know numbers names an earlier payment by batch
    /// and trace, and then the number is that payment's (modelled).
    pub(crate) async fn number_of(
        &self,
        auth: &Authenticated,
        request: &PaymentRequest,
        track2: Option<&Secret>,
    ) -> Result<Pan, Box<Reply>> {
        let told = account_number(request, track2);
        let by_trace = auth.spec.stands_on.is_some_and(|rule| rule.found_by == FoundBy::Trace);
        let silent = request.pan.is_none() && track2.is_none() && request.chip_pan.is_none();
        if !(request.number_hidden && by_trace && silent) {
            return told.map_err(|refusal| self.refuse(refusal));
        }
        let none = || self.refuse(Refusal::new(ResponseCode::NO_ORIGINAL, "original not found"));
        let numbers = request.original.and_then(|numbers| numbers.batch.zip(numbers.trace));
        let (batch, trace) = numbers.ok_or_else(none)?;
        let found = self.0.store.by_trace(auth.entry.merchant.id, auth.entry.id, batch, trace).await;
        let found = found.map_err(|error| self.store_refusal(&error))?.ok_or_else(none)?;
        let sealed = found.card.as_ref().ok_or_else(none)?;
        let opened = self.0.hsm.open(PAN_CONTEXT, &sealed.sealed).ok();
        let number = opened.and_then(|digits| Pan::new(std::str::from_utf8(&digits).ok()?).ok());
        number.ok_or_else(|| {
            self.refuse(Refusal::new(ResponseCode::MALFUNCTION, "the journal's account number does not open"))
        })
    }

    pub(crate) fn refuse(&self, refusal: Refusal) -> Box<Reply> {
        metrics::counter!("posp_refused_total", "reason" => refusal.reason).increment(1);
        Box::new(Reply {
            answer: Answer::own(refusal.code, self.now()),
            rrn: None,
            payment: None,
            pan: None,
            organisation: None,
            total: None,
            repeated: false,
            reason: Some(refusal.reason),
        })
    }

    pub(crate) fn store_refusal(&self, error: &StoreError) -> Box<Reply> {
        // Overload refuses thousands a second, and its counter tells.
        if !matches!(error, StoreError::Overloaded { .. }) {
            tracing::error!(%error, "the store cannot take a payment");
        }
        self.refuse(Refusal::new(ResponseCode::MALFUNCTION, "store cannot take the payment"))
    }

    /// Checks our own rules and makes the network message. What is refused here was never out.
    async fn admit(
        &self,
        auth: Authenticated,
        request: PaymentRequest,
        seen: &mut Option<Pan>,
    ) -> Result<Admitted, Box<Reply>> {
        let inner = &self.0;
        let spec = auth.spec;
        let at = self.now();
        let refuse = |code, reason| self.refuse(Refusal::new(code, reason));

        if inner.forward_depth.load(Ordering::Relaxed) > inner.config.forward_depth_max {
            return Err(refuse(ResponseCode::MALFUNCTION, "too many reversals are waiting"));
        }
        if inner.under_way.load(Ordering::Relaxed) > inner.config.under_way_max {
            return Err(refuse(ResponseCode::MALFUNCTION, "too many payments are under way"));
        }
        inner.store.admits().map_err(|error| self.store_refusal(&error))?;
        let track2 = self.clear_track(&auth, &request).map_err(|refusal| self.refuse(refusal))?;
        let pan = self.number_of(&auth, &request, track2.as_ref()).await?;
        *seen = Some(pan.clone());
        let card = self.card_record(&pan).map_err(|error| {
            tracing::error!(%error, "the security module cannot protect an account number");
            refuse(ResponseCode::MALFUNCTION, "security module failed")
        })?;
        let id = inner.numbers.next(&inner.store).await.map_err(|e| self.store_refusal(&e))?;
        let digest = card.digest;
        let mut record = self.intent(&auth, &request, id, card, at);
        record.foreign = inner.directory.limits().is_foreign(pan.reveal());

        if let Err(refusal) = check_request(&auth, &request, &record, &pan) {
            return Err(self.decline(record, refusal, request.masked).await);
        }
        if !is_undoing(spec) && inner.downloads.is_blacklisted(&digest) {
            let refusal = Refusal::new(ResponseCode::RESTRICTED, "the card is on the blacklist");
            return Err(self.decline(record, refusal, request.masked).await);
        }
        let day = Beijing::of(at).yyyymmdd();
        let holds = match inner.directory.limits().judge(&record, pan.reveal(), day) {
            Ok(holds) => holds,
            Err(code) => {
                let refusal = Refusal::new(code, "a limit does not allow it");
                return Err(self.decline(record, refusal, request.masked).await);
            }
        };
        let original = match self.original_of(&record, &request).await {
            Ok(original) => original,
            Err(Lookup::Refused(refusal)) => return Err(self.decline(record, refusal, request.masked).await),
            Err(Lookup::Store(error)) => return Err(self.store_refusal(&error)),
        };
        stand_on(&mut record, original.as_ref());
        let pin = match (&request.pin, auth.keys()) {
            (Some(block), Some(keys)) => Some(TerminalPin { block: *block, key: keys.pin.clone() }),
            _ => None,
        };
        let network_request = NetworkRequest {
            kind: spec.kind,
            id,
            rrn: record.rrn,
            amount: record.amount,
            currency: request.currency,
            pan,
            expiry: request.expiry,
            entry_mode: request.entry_mode,
            card_sequence: request.card_sequence,
            condition: request.condition,
            terminal_traits: request.terminal_traits,
            track2,
            pin,
            chip: request.chip,
            merchant: record.merchant,
            merchant_name: auth.entry.merchant.name.clone(),
            mcc: auth.entry.merchant.mcc,
            terminal: record.terminal,
            plan: request.plan,
            transfer_in: request.transfer_in.map(|card| card.pan),
            auth_code: request
                .auth_code
                .or_else(|| original.as_ref().and_then(|o| o.answer.as_ref()).and_then(|a| a.auth_code)),
            original: original.as_ref().map(reference_of),
            at,
        };
        match inner.channel.prepare(&network_request) {
            Ok(prepared) => {
                record.network = prepared.key;
                Ok(Admitted { auth, record, holds, prepared, masked_request: request.masked })
            }
            Err(error) => {
                tracing::warn!(%error, payment = id.0, "request cannot be made for the network");
                let refusal = Refusal::new(error.code, "request cannot be made for the network");
                Err(self.decline(record, refusal, request.masked).await)
            }
        }
    }

    /// A payment as its request tells it, before anything became of it.
    pub(crate) fn intent(
        &self,
        auth: &Authenticated,
        request: &PaymentRequest,
        id: PaymentId,
        card: CardRecord,
        at: Timestamp,
    ) -> PaymentRecord {
        let day = Beijing::of(at);
        PaymentRecord {
            id,
            merchant: auth.entry.merchant.id,
            terminal: auth.entry.id,
            batch: request.batch,
            trace: request.trace,
            kind: auth.spec.kind,
            state: PaymentState::Pending,
            amount: request.amount.filter(|_| has_amount(auth.spec)).unwrap_or(Amount::ZERO),
            adjusted: None,
            currency: request.currency,
            card: Some(card),
            expiry: request.expiry,
            entry_mode: request.entry_mode,
            card_sequence: request.card_sequence,
            condition: request.condition,
            terminal_traits: request.terminal_traits,
            request_digest: request.digest,
            line: self.0.channel.line().to_owned(),
            network: NetworkKey { trace: id.network_trace(), transmission: day.transmission() },
            rrn: id.rrn(day.mmdd()),
            original: None,
            claimed_by: None,
            refunded: Amount::ZERO,
            answer: None,
            reversal_reason: None,
            reversed_on: None,
            limited: false,
            foreign: false,
            created: at,
        }
    }

    /// Track 2 in the clear: decrypted when the terminal says it is under the track key.
    pub(crate) fn clear_track(
        &self,
        auth: &Authenticated,
        request: &PaymentRequest,
    ) -> Result<Option<Secret>, Refusal> {
        let Some(track) = &request.track2 else { return Ok(None) };
        if !request.track_encrypted {
            return Ok(Some(track.clone()));
        }
        let key = auth.keys().and_then(|keys| keys.track.as_ref());
        let key =
            key.ok_or(Refusal::new(ResponseCode::SIGN_IN_AGAIN, "track encrypted without a track key"))?;
        let clear = self
            .0
            .hsm
            .decrypt_track(track.reveal_text(), key)
            .map_err(|_| Refusal::new(ResponseCode::FORMAT_ERROR, "track cannot be decrypted"))?;
        Ok(Some(Secret::new(clear.as_str().as_bytes())))
    }

    pub(crate) fn card_record(&self, pan: &Pan) -> Result<CardRecord, hsm::HsmError> {
        let digits = pan.reveal().as_bytes();
        Ok(CardRecord {
            masked: pan.masked(),
            digest: self.0.hsm.digest(digits)?,
            sealed: self.0.hsm.seal(PAN_CONTEXT, digits)?,
        })
    }

    /// Finds what a void, refund, completion or adjustment is about.
    pub(crate) async fn original_of(
        &self,
        record: &PaymentRecord,
        request: &PaymentRequest,
    ) -> Result<Option<PaymentRecord>, Lookup> {
        let Some(rule) = record.kind.spec().stands_on else { return Ok(None) };
        let none = || Lookup::Refused(Refusal::new(ResponseCode::NO_ORIGINAL, "original not found"));
        let store = &self.0.store;
        let numbers = request.original;
        let right_day = |found: &PaymentRecord| {
            numbers.and_then(|n| n.date).is_none_or(|date| date == Beijing::of(found.created).mmdd())
        };
        let found = match rule.found_by {
            FoundBy::Trace => {
                let numbers = numbers.ok_or_else(none)?;
                let (batch, trace) = numbers.batch.zip(numbers.trace).ok_or_else(none)?;
                let found = store.by_trace(record.merchant, record.terminal, batch, trace).await?;
                found.filter(|found| request.original_rrn.is_none_or(|rrn| rrn == found.rrn))
            }
            FoundBy::Reference => {
                let rrn = request.original_rrn.ok_or_else(none)?;
                store.by_reference(record.merchant, rrn).await?.filter(right_day)
            }
            FoundBy::Authorisation => {
                let code = request.auth_code.ok_or_else(none)?;
                let card = record.card.as_ref().ok_or_else(none)?.digest;
                let told = |found: &PaymentRecord| {
                    numbers.and_then(|n| n.batch).is_none_or(|batch| batch == found.batch)
                        && numbers.and_then(|n| n.trace).is_none_or(|trace| trace == found.trace)
                };
                let found = store.by_authorisation(record.merchant, code, card).await?;
                found.into_iter().find(|found| right_day(found) && told(found))
            }
        };
        found.ok_or_else(none).map(Some)
    }

    /// Journals a request that our own rules refuse, so that it can be found, and makes its answer.
    pub(crate) async fn decline(
        &self,
        mut record: PaymentRecord,
        refusal: Refusal,
        masked: Vec<u8>,
    ) -> Box<Reply> {
        metrics::counter!("posp_refused_total", "reason" => refusal.reason).increment(1);
        record.state = PaymentState::Declined;
        record.answer = Some(Answer::own(refusal.code, record.created));
        let entries = vec![
            JournalEntry::message(record.created, EntryKind::TerminalIn, masked),
            JournalEntry::note(record.created, format!("refused: {}", refusal.reason)),
        ];
        match self.0.store.declined(record.clone(), entries).await {
            Ok(Begun::Existing(existing)) => Box::new(self.repeat(&existing, &record.request_digest)),
            Ok(_) => Box::new(Reply { reason: Some(refusal.reason), ..reply_of(&record, false) }),
            Err(error) => self.store_refusal(&error),
        }
    }

    /// Makes the intent durable, or finds that the request was here before.
    async fn journal(&self, admitted: Admitted) -> Begin {
        let Admitted { auth, record, holds, prepared, masked_request } = admitted;
        let entries = vec![
            JournalEntry::message(record.created, EntryKind::TerminalIn, masked_request),
            JournalEntry::message(record.created, EntryKind::NetworkOut, prepared.masked.clone()),
        ];
        let digest = record.request_digest;
        let (merchant, id, kind, rrn) = (record.merchant, record.id, auth.spec.kind, record.rrn);
        match self.0.store.begin_within(record, holds, entries).await {
            Ok(Begun::Journaled) => Begin::Go(Journaled { merchant, id, kind, rrn, prepared }),
            Ok(Begun::Existing(existing)) => Begin::Done(self.repeat(&existing, &digest)),
            Ok(Begun::Refused(refused)) => {
                let reason = Some("original or limit does not allow it, or already reversed");
                Begin::Done(Reply { reason, ..reply_of(&refused, false) })
            }
            Err(error) => Begin::Done(*self.store_refusal(&error)),
        }
    }

    /// Sends a journaled request. Where nodes share a store, one that was held up for so long that another node may
    /// have taken the payment up does not leave any more: its reversal may have been there first.
    async fn send(&self, journaled: &Journaled, began: Instant) -> Outcome {
        let inner = &self.0;
        let last = inner.config.takeover().saturating_sub(inner.config.takeover_margin / 2);
        if inner.store.is_shared() && began.elapsed() > last {
            return Outcome::NotSent(ResponseCode::MALFUNCTION, "held up for too long on this node");
        }
        inner.channel.send(&journaled.prepared, inner.config.network_patience).await
    }

    /// Makes the outcome durable; only then there is something to answer.
    async fn complete(&self, journaled: Journaled, outcome: Outcome) -> Result<Reply, Silent> {
        let Journaled { merchant, id, kind, rrn, .. } = journaled;
        let at = self.now();
        let (event, entry) = match outcome {
            Outcome::Answered(answer) if tells_nothing(answer.answer.code) => {
                let code = answer.answer.code;
                metrics::counter!("posp_network_no_answer_total").increment(1);
                tracing::warn!(
                    payment = id.0,
                    kind = kind.code(),
                    code = code.as_str(),
                    "the network's answer does not tell the outcome: unknown"
                );
                (
                    Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at)),
                    JournalEntry::message(at, EntryKind::NetworkIn, answer.masked),
                )
            }
            Outcome::Answered(answer) if answer.answer.code == ResponseCode::PARTIAL => (
                Event::AnsweredInPart(answer.answer, answer.amount),
                JournalEntry::message(at, EntryKind::NetworkIn, answer.masked),
            ),
            Outcome::Answered(answer) => (
                Event::Answered(answer.answer),
                JournalEntry::message(at, EntryKind::NetworkIn, answer.masked),
            ),
            Outcome::NoAnswer(reason) => {
                metrics::counter!("posp_network_no_answer_total").increment(1);
                tracing::warn!(payment = id.0, kind = kind.code(), reason, "outcome unknown");
                let note = JournalEntry::note(at, format!("outcome unknown: {reason}"));
                (Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at)), note)
            }
            Outcome::NotSent(code, reason) => {
                let note = JournalEntry::note(at, format!("not sent: {reason}"));
                (Event::NotSent(Answer::own(code, at)), note)
            }
        };
        let applied = match self.0.store.apply(merchant, id, event, vec![entry], at).await {
            Ok(applied) => applied,
            Err(error) => {
                tracing::error!(%error, payment = id.0, "an outcome could not be made durable");
                return Err(Silent);
            }
        };
        if applied.change.forward.is_some() {
            self.0.forward_wake.notify_one();
        }
        let record = applied.record;
        let reply = match record.state {
            // The terminal reversed it while it was under way: it never becomes an approval.
            PaymentState::Reversing | PaymentState::Reversed => {
                let code = match &record.answer {
                    Some(answer) if !answer.code.is_approval() => answer.code,
                    _ => ResponseCode::NO_ORIGINAL,
                };
                Reply { answer: Answer::own(code, at), ..reply_of(&record, false) }
            }
            // A refund without an answer: it is being repeated, and so may the terminal.
            PaymentState::Unresolved => {
                Reply { answer: Answer::own(ResponseCode::IN_PROCESS, at), ..reply_of(&record, false) }
            }
            // Also when another node took it up meanwhile: what it came to there is its outcome.
            _ => reply_of(&record, false),
        };
        debug_assert_eq!(reply.rrn, Some(rrn));
        Ok(reply)
    }

    /// A refusal of a request that never reached the journal says nothing about an earlier sending of the same
    /// request: when there was one, its outcome is the answer. A refund that is repeated after a new sign-in
    /// still has its track under the old key, and must not be told that it failed when it went through. While an
    /// earlier sending is on its way to the journal, no refusal can say what becomes of it.
    pub(crate) async fn unless_known(
        &self,
        refusal: Reply,
        entry: &TerminalEntry,
        (batch, trace): (BatchNo, Trace),
        digest: &[u8; 32],
    ) -> Result<Reply, Silent> {
        if entry.traces().lock().is_being_made(batch, trace) {
            metrics::counter!("posp_repeats_total").increment(1);
            let answer = Answer::own(ResponseCode::IN_PROCESS, self.now());
            return Ok(Reply { answer, repeated: true, reason: Some("still in work"), ..refusal });
        }
        match self.0.store.by_trace(entry.merchant.id, entry.id, batch, trace).await {
            Ok(Some(existing)) => Ok(self.repeat(&existing, digest)),
            // A commit has failed: what could not be written may be on the disk all the same, and live on after the next
            // start. A refusal would be a promise that it does not.
            Ok(None) if self.0.store.is_failed() => Err(Silent),
            Ok(None) => Ok(refusal),
            Err(error) => {
                tracing::error!(%error, "whether a refused request was here before cannot be told");
                Err(Silent)
            }
        }
    }

    /// Answers a request that was here before: the same bytes get the same answer, or 09 while it is in
    /// work; the same numbers with other bytes get 94.
    pub(crate) fn repeat(&self, existing: &PaymentRecord, digest: &[u8; 32]) -> Reply {
        metrics::counter!("posp_repeats_total").increment(1);
        let own = |code, reason| Reply {
            answer: Answer::own(code, self.now()),
            reason: Some(reason),
            ..reply_of(existing, true)
        };
        if existing.request_digest != *digest {
            return own(ResponseCode::DUPLICATE, "same numbers, other content");
        }
        match (existing.state, &existing.answer) {
            (PaymentState::Pending | PaymentState::Unresolved, _) => {
                own(ResponseCode::IN_PROCESS, "still in work")
            }
            (PaymentState::Reversing | PaymentState::Reversed, Some(answer)) if answer.code.is_approval() => {
                own(ResponseCode::NO_ORIGINAL, "already reversed")
            }
            (_, Some(_)) => reply_of(existing, true),
            (_, None) => own(ResponseCode::NO_ORIGINAL, "already reversed"),
        }
    }

    /// Keyed digest of a request's bytes, which tells a repeat from another request with the same numbers.
    pub fn digest(&self, bytes: &[u8]) -> Result<[u8; 32], Refusal> {
        self.0.hsm.digest(bytes).map_err(|error| {
            tracing::error!(%error, "the security module failed");
            Refusal::new(ResponseCode::MALFUNCTION, "security module failed")
        })
    }
}

/// What a sealed account number is bound to.
pub(crate) const PAN_CONTEXT: &[u8] = b"journal.pan";

pub(crate) enum Lookup {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for Lookup {
    fn from(error: StoreError) -> Self {
        Lookup::Store(error)
    }
}

fn same_batch(original: &PaymentRecord, record: &PaymentRecord) -> bool {
    (original.terminal, original.batch) == (record.terminal, record.batch)
}

/// Notes what a payment is about. What names another one of its own batch counts in the block of that one, whatever the table
/// of card numbers has come to say since.
pub(crate) fn stand_on(record: &mut PaymentRecord, original: Option<&PaymentRecord>) {
    record.original = original.map(|original| original.id);
    if let Some(original) = original.filter(|original| same_batch(original, record)) {
        record.foreign = original.foreign;
    }
}

pub(crate) fn reference_of(original: &PaymentRecord) -> OriginalRef {
    OriginalRef {
        kind: original.kind,
        key: original.network,
        rrn: original.rrn,
        auth_code: original.answer.as_ref().and_then(|answer| answer.auth_code),
    }
}

pub(crate) fn reply_of(record: &PaymentRecord, repeated: bool) -> Reply {
    Reply {
        answer: record
            .answer
            .clone()
            .unwrap_or_else(|| Answer::own(ResponseCode::MALFUNCTION, record.created)),
        rrn: Some(record.rrn),
        payment: Some((record.merchant, record.id)),
        pan: None,
        organisation: Some(record.organisation()),
        total: Some(record.total()),
        repeated,
        reason: None,
    }
}

/// Answers that do not say what became of a request. 94: we sent it once, so the network has it twice from somewhere else,
/// and the first is what counts. A0: a copy that came after a change of keys, or the request itself; and the terminal must
/// never hear it, since it would take it for a word about its own keys, sign in anew and ask again for ever.
fn tells_nothing(code: ResponseCode) -> bool {
    [ResponseCode::DUPLICATE, ResponseCode::MAC_ERROR].contains(&code)
}
