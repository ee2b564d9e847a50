//! Payments: begin, move, undo, look up. Every rule is asked of [`acquiring::transition`] between the read
//! and the write of one transaction.

use std::borrow::Cow;

use acquiring::limit::LimitHold;
use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{self, BeyondEffect, Change, Event, Forward, OriginalEffect, Reception};
use acquiring::{AuthCode, BatchNo, Beijing, MerchantId, PaymentId, ResponseCode, Rrn, TerminalId, Trace};
use jiff::Timestamp;

use crate::db::{Db, Fault, Key, Lock, Op, params};
use crate::error::StoreError;
use crate::rows::{all, fen, millis, number_of, one, payment_columns, traits_number};
use crate::types::{Applied, Begun, CancelRequest, Cancelled, HistoryLine};
use crate::{forwards, limits};

// Look-ups; a test asks the engine for their plans.
pub(crate) const BY_TRACE: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4"
);
pub(crate) const HIGHEST_TRACE: &str =
    "SELECT MAX(trace) AS number FROM payment WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3";
pub(crate) const BY_ID: &str =
    concat!("SELECT ", payment_columns!(), " FROM payment WHERE merchant = ?1 AND id = ?2");
pub(crate) const BY_REFERENCE: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE merchant = ?1 AND rrn = ?2 ORDER BY id DESC LIMIT 1"
);
/// The kind stands in the text, so that an index of the pre-authorisations alone serves it.
pub(crate) const BY_AUTHORISATION: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE merchant = ?1 AND auth_code = ?2 AND card_digest = ?3 AND kind = 'preauth' \
         ORDER BY id DESC LIMIT 20"
);
pub(crate) const BY_NETWORK_KEY: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE network_trace = ?1 AND created >= ?2 AND line = ?3 AND (CAST(?4 AS TEXT) IS NULL OR rrn = ?4) \
         ORDER BY created DESC, id DESC LIMIT 1"
);
/// `under_way` is what the engine keeps the payments under way in ([`Db::under_way`]).
pub(crate) fn pending_before_text(under_way: &str) -> String {
    format!(
        "SELECT {} FROM {under_way} WHERE state IN ('pending', 'unresolved', 'reversing') \
         AND state = 'pending' AND created < ?1 ORDER BY created, id LIMIT ?2",
        payment_columns!()
    )
}

pub(crate) fn by_trace(db: &dyn Db, key: Key) -> Op<Option<PaymentRecord>> {
    let params = params![key.merchant.as_str(), key.terminal.as_str(), key.batch.get(), key.trace.get()];
    one(db, BY_TRACE, params, |c| c.payment())
}

/// The highest trace number of a terminal's batch.
pub(crate) fn highest_trace(
    db: &dyn Db,
    merchant: MerchantId,
    terminal: TerminalId,
    batch: BatchNo,
) -> Op<Option<Trace>> {
    let params = params![merchant.as_str(), terminal.as_str(), batch.get()];
    let highest = number_of(db, HIGHEST_TRACE, params)?;
    Ok(u64::try_from(highest).ok().and_then(|number| Trace::new(number).ok()))
}

pub(crate) fn by_id(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
    one(db, BY_ID, params![merchant.as_str(), id.0], |c| c.payment())
}

/// The newest payment with this reference number: the number begins with the day, so that it comes again
/// after a year.
pub(crate) fn by_reference(db: &dyn Db, merchant: MerchantId, rrn: Rrn) -> Op<Option<PaymentRecord>> {
    one(db, BY_REFERENCE, params![merchant.as_str(), rrn.as_str()], |c| c.payment())
}

/// The pre-authorisations of a card with this authorisation number, the newest first. An issuer gives a number
/// again after a while, so there may be several; the terminal's date tells which is meant.
pub(crate) fn by_authorisation(
    db: &dyn Db,
    merchant: MerchantId,
    code: AuthCode,
    card: &[u8; 32],
) -> Op<Vec<PaymentRecord>> {
    all(db, BY_AUTHORISATION, params![merchant.as_str(), code.as_str(), card], |c| c.payment())
}

pub(crate) fn by_network_key(
    db: &dyn Db,
    line: &str,
    trace: u32,
    rrn: Option<Rrn>,
    since: Timestamp,
) -> Op<Option<PaymentRecord>> {
    let params = params![trace, millis(since), line, rrn.as_ref().map(Rrn::as_str)];
    one(db, BY_NETWORK_KEY, params, |c| c.payment())
}

pub(crate) fn pending_before(db: &dyn Db, at: Timestamp, limit: usize) -> Op<Vec<PaymentRecord>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(db, &pending_before_text(db.under_way()), params![millis(at), limit], |c| c.payment())
}

/// The day under which the history of a payment made at that moment is kept, YYYYMMDD in Beijing.
pub(crate) fn history_day(created: Timestamp) -> u32 {
    Beijing::of(created).yyyymmdd()
}

// Where history is kept by day, the day of a look-up stands in its text: as a parameter it would be known only when
// the statement runs, and the engine would first take a lock of every day there is.

/// The statement behind [`Db::history`], where lines are counted for each payment and kept by its day.
pub(crate) fn history_rows(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Vec<JournalEntry>> {
    let Some(day) = day_of(db, merchant, id)? else { return Ok(Vec::new()) };
    let select = format!(
        "SELECT at, kind, message, note FROM journal_entry WHERE merchant = ?1 AND payment = ?2 AND day = {day} \
         ORDER BY sequence"
    );
    all(db, &select, params![merchant.as_str(), id.0], |c| c.entry())
}

/// The statement behind [`Db::first_sent`], likewise.
pub(crate) fn first_sent_row(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Option<JournalEntry>> {
    let Some(day) = day_of(db, merchant, id)? else { return Ok(None) };
    let select = format!(
        "SELECT at, kind, message, note FROM journal_entry WHERE merchant = ?1 AND payment = ?2 AND day = {day} \
         AND kind = 'network_out' ORDER BY sequence LIMIT 1"
    );
    one(db, &select, params![merchant.as_str(), id.0], |c| c.entry())
}

/// The day by which a payment's history is kept, if there is such a payment.
fn day_of(db: &dyn Db, merchant: MerchantId, id: PaymentId) -> Op<Option<u32>> {
    let created = "SELECT created FROM payment WHERE merchant = ?1 AND id = ?2";
    let created = one(db, created, params![merchant.as_str(), id.0], |c| c.time("created"))?;
    Ok(created.map(history_day))
}

/// The statement behind [`Db::append_entries`], where lines are counted for each payment and kept by its day.
pub(crate) fn append_rows(db: &dyn Db, of: &PaymentRecord, new: bool, entries: &[JournalEntry]) -> Op<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let (merchant, id, day) = (of.merchant, of.id, history_day(of.created));
    let select = format!(
        "SELECT COALESCE(MAX(sequence), 0) FROM journal_entry \
         WHERE merchant = ?1 AND payment = ?2 AND day = {day}"
    );
    let last = if new { 0 } else { number_of(db, &select, params![merchant.as_str(), id.0])? };
    let insert = "INSERT INTO journal_entry (merchant, payment, sequence, day, at, kind, message, note) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for (entry, sequence) in entries.iter().zip(last + 1..) {
        db.execute(
            insert,
            params![
                merchant.as_str(),
                id.0,
                sequence,
                day,
                millis(entry.at),
                entry.kind.code(),
                &entry.bytes,
                &entry.note
            ],
        )?;
    }
    Ok(())
}

/// Appends lines to the history of a payment that was there before.
pub(crate) fn append(db: &dyn Db, of: &PaymentRecord, entries: &[JournalEntry]) -> Op<()> {
    db.append_entries(of, false, entries)
}

/// Appends lines to the history of a payment that must exist and is locked.
pub(crate) fn append_by_id(
    db: &dyn Db,
    merchant: MerchantId,
    id: PaymentId,
    entries: &[JournalEntry],
) -> Op<()> {
    match db.append_by_id(merchant, id, entries)? {
        true => Ok(()),
        false => Err(StoreError::UnknownPayment { merchant, id }.into()),
    }
}

/// Appends lines to the history of a payment that must exist.
pub(crate) fn append_checked(
    db: &dyn Db,
    merchant: MerchantId,
    id: PaymentId,
    entries: &[JournalEntry],
) -> Op<()> {
    db.lock(Lock::Payment(merchant, id))?;
    append_by_id(db, merchant, id, entries)
}

/// Appends a line to the history of each payment that exists; how many do not.
pub(crate) fn append_each(db: &dyn Db, lines: &[HistoryLine]) -> Op<usize> {
    let mut missing = 0;
    for (merchant, id, entry) in lines {
        match append_checked(db, *merchant, *id, std::slice::from_ref(entry)) {
            Ok(()) => {}
            Err(Fault::Rule(StoreError::UnknownPayment { .. })) => missing += 1,
            Err(fault) => return Err(fault),
        }
    }
    Ok(missing)
}

fn insert(db: &dyn Db, record: &PaymentRecord, entries: &[JournalEntry]) -> Op<()> {
    db.insert_payment(record)?;
    db.append_entries(record, true, entries)
}

/// The statement behind [`Db::insert_payment`].
pub(crate) fn insert_row(db: &dyn Db, record: &PaymentRecord) -> Op<()> {
    let insert = concat!(
        "INSERT INTO payment (",
        payment_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
         ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39)"
    );
    let card = record.card.as_ref();
    let answer = record.answer.as_ref();
    db.execute(
        insert,
        params![
            record.merchant.as_str(),
            record.id.0,
            record.terminal.as_str(),
            record.batch.get(),
            record.trace.get(),
            record.kind.code(),
            record.state.code(),
            fen(record.amount),
            record.adjusted.map(fen),
            record.currency,
            card.map(|c| c.masked.as_str()),
            card.map(|c| &c.digest),
            card.map(|c| c.sealed.as_slice()),
            record.expiry.map(|e| e.yymm()),
            record.entry_mode.code(),
            record.card_sequence,
            record.condition,
            traits_number(record.terminal_traits),
            &record.request_digest,
            &record.line,
            record.network.trace,
            record.network.transmission.cast_signed(),
            record.rrn.as_str(),
            record.original.map(|o| o.0),
            record.claimed_by.map(|c| c.0),
            fen(record.refunded),
            answer.map(|a| a.code.as_str()),
            answer.and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str()),
            answer.and_then(|a| a.settle_date),
            answer.and_then(|a| a.issuer.as_deref()),
            answer.and_then(|a| a.balance.as_deref()),
            answer.and_then(|a| a.chip.as_deref()),
            answer.map(|a| millis(a.at)),
            record.reversal_reason.as_ref().map(|c| c.as_str()),
            u8::from(record.limited),
            millis(record.created),
            answer.and_then(|a| a.plan.as_deref()),
            record.reversed_on,
            u8::from(record.foreign),
        ],
    )?;
    Ok(())
}

/// What may change of a payment.
macro_rules! payment_update {
    ($more:literal) => {
        concat!(
            "UPDATE payment SET state = ?3, claimed_by = ?4, refunded = ?5, answer_code = ?6, auth_code = ?7, \
             settle_date = ?8, issuer = ?9, balance = ?10, answer_chip = ?11, answered_at = ?12, \
             reversal_reason = ?13, adjusted = ?14, answer_plan = ?15, reversed_on = ?16",
            $more,
            " WHERE merchant = ?1 AND id = ?2"
        )
    };
}
pub(crate) use payment_update;

/// Writes what may change of a payment by [`payment_update`]: the statement behind [`Db::update_payment`].
pub(crate) fn update_row(db: &dyn Db, update: &str, record: &PaymentRecord) -> Op<()> {
    let answer = record.answer.as_ref();
    db.execute(
        update,
        params![
            record.merchant.as_str(),
            record.id.0,
            record.state.code(),
            record.claimed_by.map(|c| c.0),
            fen(record.refunded),
            answer.map(|a| a.code.as_str()),
            answer.and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str()),
            answer.and_then(|a| a.settle_date),
            answer.and_then(|a| a.issuer.as_deref()),
            answer.and_then(|a| a.balance.as_deref()),
            answer.and_then(|a| a.chip.as_deref()),
            answer.map(|a| millis(a.at)),
            record.reversal_reason.as_ref().map(|c| c.as_str()),
            record.adjusted.map(fen),
            answer.and_then(|a| a.plan.as_deref()),
            record.reversed_on,
        ],
    )?;
    Ok(())
}

/// Journals an intent, unless it is a repeat; refuses it when its reversal came first or its original does
/// not allow it.
pub(crate) fn begin(
    db: &dyn Db,
    intent: &PaymentRecord,
    holds: &[LimitHold],
    entries: &[JournalEntry],
) -> Op<Begun> {
    if intent.state != PaymentState::Pending {
        return Err(StoreError::Misuse { rule: "a payment begins in the state pending" }.into());
    }
    if holds.is_empty() {
        return enter(db, intent, holds, entries);
    }
    enter(db, &PaymentRecord { limited: true, ..intent.clone() }, holds, entries)
}

/// Journals what was approved without the network, and queues it there.
pub(crate) fn advise(
    db: &dyn Db,
    told: &PaymentRecord,
    payload: Option<&[u8]>,
    entries: &[JournalEntry],
) -> Op<Begun> {
    let approved = told.answer.as_ref().is_some_and(|answer| answer.code.is_approval());
    if told.state != PaymentState::Approved || !approved || !told.kind.spec().told {
        return Err(StoreError::Misuse { rule: "what is told after the fact is approved" }.into());
    }
    let begun = enter(db, told, &[], entries)?;
    if begun == Begun::Journaled {
        forwards::enqueue(db, told, Forward::Advice, payload, told.created, told.created)?;
    }
    Ok(begun)
}

fn enter(db: &dyn Db, intent: &PaymentRecord, holds: &[LimitHold], entries: &[JournalEntry]) -> Op<Begun> {
    let key = Key::of(intent);
    db.lock(Lock::Terminal(key.merchant, key.terminal))?;
    if let Some(existing) = db.payment_by_trace(key)? {
        return Ok(Begun::Existing(Box::new(existing)));
    }
    if db.has_marker(key)? {
        let note = "refused: its reversal came before it";
        let refused = refuse(db, intent, ResponseCode::NO_ORIGINAL, entries, note)?;
        adopt_marker_entries(db, key, &refused)?;
        return Ok(Begun::Refused(Box::new(refused)));
    }
    if let Some(original_id) = intent.original {
        db.lock(Lock::Payment(intent.merchant, original_id))?;
        let Some(mut original) = db.payment_by_id(intent.merchant, original_id)? else {
            let note = "refused: no such original";
            let refused = refuse(db, intent, ResponseCode::NO_ORIGINAL, entries, note)?;
            return Ok(Begun::Refused(Box::new(refused)));
        };
        if let Err(code) = transition::take_hold(&mut original, intent) {
            let note = "refused: the original does not allow it";
            return Ok(Begun::Refused(Box::new(refuse(db, intent, code, entries, note)?)));
        }
        if let Some(refused) = over_limit(db, intent, holds, entries)? {
            return Ok(refused);
        }
        db.update_payment(&original)?;
        if let Some(adjusted) = original.adjusted.filter(|_| original.claimed_by == Some(intent.id)) {
            let note = format!("{} → {adjusted} by payment {}", original.amount, intent.id);
            append(db, &original, &[JournalEntry::note(intent.created, note)])?;
        }
    } else if let Some(refused) = over_limit(db, intent, holds, entries)? {
        return Ok(refused);
    }
    insert(db, intent, entries)?;
    Ok(Begun::Journaled)
}

/// Takes the payment's part of the day, or refuses it.
fn over_limit(
    db: &dyn Db,
    intent: &PaymentRecord,
    holds: &[LimitHold],
    entries: &[JournalEntry],
) -> Op<Option<Begun>> {
    if holds.is_empty() {
        return Ok(None);
    }
    match limits::reserve(db, intent, holds)? {
        Ok(()) => Ok(None),
        Err(code) => {
            let note = "refused: above a limit of the day";
            Ok(Some(Begun::Refused(Box::new(refuse(db, intent, code, entries, note)?))))
        }
    }
}

fn refuse(
    db: &dyn Db,
    intent: &PaymentRecord,
    code: ResponseCode,
    entries: &[JournalEntry],
    note: &str,
) -> Op<PaymentRecord> {
    let answer = Some(Answer::own(code, intent.created));
    let record = PaymentRecord { state: PaymentState::Declined, answer, limited: false, ..intent.clone() };
    insert(db, &record, entries)?;
    append(db, &record, &[JournalEntry::note(record.created, note)])?;
    Ok(record)
}

/// Journals a request that our own rules refused before it was to go out.
pub(crate) fn declined(db: &dyn Db, record: &PaymentRecord, entries: &[JournalEntry]) -> Op<Begun> {
    if record.state != PaymentState::Declined || record.answer.is_none() {
        return Err(StoreError::Misuse { rule: "a refused payment is declined and has its answer" }.into());
    }
    db.lock(Lock::Terminal(record.merchant, record.terminal))?;
    if let Some(existing) = db.payment_by_trace(Key::of(record))? {
        return Ok(Begun::Existing(Box::new(existing)));
    }
    insert(db, record, entries)?;
    Ok(Begun::Journaled)
}

/// Moves a payment as an event wants it.
pub(crate) fn apply(
    db: &dyn Db,
    merchant: MerchantId,
    id: PaymentId,
    event: &Event,
    entries: &[JournalEntry],
    forward_at: Timestamp,
) -> Op<Applied> {
    db.lock(Lock::Payment(merchant, id))?;
    let record = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    let at = match event {
        Event::Answered(answer)
        | Event::AnsweredInPart(answer, _)
        | Event::NoAnswer(answer)
        | Event::NotSent(answer) => answer.at,
        Event::Advised(_) | Event::CancelRequested(_) | Event::ReversalDone(_) | Event::ScriptTaken => {
            entries.last().map_or(forward_at, |e| e.at)
        }
    };
    apply_to(db, record, event, entries, None, at, forward_at)
}

/// As [`apply`], for a payment that this transaction has read and locked. `at` is when the event happened; `payload` is
/// sealed data of the message that it may put into the queue.
pub(crate) fn apply_to(
    db: &dyn Db,
    record: PaymentRecord,
    event: &Event,
    entries: &[JournalEntry],
    payload: Option<&[u8]>,
    at: Timestamp,
    forward_at: Timestamp,
) -> Op<Applied> {
    let change = transition::on_event(&record, event.clone());
    change_to(db, record, change, entries, payload, at, forward_at)
}

/// Writes a change of a payment that this transaction has read and locked.
pub(crate) fn change_to(
    db: &dyn Db,
    mut record: PaymentRecord,
    mut change: Change,
    entries: &[JournalEntry],
    payload: Option<&[u8]>,
    at: Timestamp,
    forward_at: Timestamp,
) -> Op<Applied> {
    let mut entries = Cow::Borrowed(entries);
    let beyond = match change.beyond {
        BeyondEffect::Keep => None,
        BeyondEffect::Release | BeyondEffect::Retake => beyond(db, &record)?,
    };
    if change.beyond == BeyondEffect::Retake
        && beyond.as_ref().is_some_and(|(_, preauth)| !transition::can_retake(preauth))
    {
        change = Change::refuse_retake(&record);
    }
    if change.reception == Reception::Moved {
        let before = record.state;
        record.state = change.state;
        if let Some(answer) = &change.answer {
            record.answer = Some(answer.clone());
        }
        if change.reversal_reason.is_some() {
            record.reversal_reason = change.reversal_reason;
        }
        if change.reversed_on.is_some() {
            record.reversed_on = change.reversed_on;
        }
        if change.adjusted.is_some() {
            record.adjusted = change.adjusted;
        }
        db.update_payment(&record)?;
        if record.limited && matches!(record.state, PaymentState::Declined | PaymentState::Reversed) {
            limits::give_back(db, &record)?;
        }
        note_move(entries.to_mut(), before, record.state, at);
    }
    append(db, &record, &entries)?;
    if let Some(original) = record.original.filter(|_| change.original != OriginalEffect::Keep) {
        affect(db, &record, original, at, |original| {
            transition::on_original(original, record.id, change.original);
        })?;
    }
    if let (Some((completion, preauth)), true) = (&beyond, change.beyond != BeyondEffect::Keep) {
        affect(db, &record, preauth.id, at, |preauth| {
            transition::on_beyond(preauth, *completion, change.beyond);
        })?;
    }
    if let Some(action) = change.forward {
        forwards::enqueue(db, &record, action, payload, at, forward_at)?;
    }
    Ok(Applied { record, change })
}

/// Says in the history what moved: on the message that caused it, or on a line of its own.
fn note_move(entries: &mut Vec<JournalEntry>, before: PaymentState, after: PaymentState, at: Timestamp) {
    let note = match before == after {
        true => "acknowledged by the network".to_owned(),
        false => format!("{} → {}", before.code(), after.code()),
    };
    match entries.last_mut() {
        Some(last) if last.note.is_empty() && last.kind != EntryKind::Note => last.note = note,
        _ => entries.push(JournalEntry::note(at, note)),
    }
}

/// The completion that a void is about, and the pre-authorisation behind it.
fn beyond(db: &dyn Db, void: &PaymentRecord) -> Op<Option<(PaymentId, PaymentRecord)>> {
    let Some(original) = void.original else { return Ok(None) };
    let Some(completion) = db.payment_by_id(void.merchant, original)? else { return Ok(None) };
    let Some(original) = completion.original else { return Ok(None) };
    Ok(db.payment_by_id(void.merchant, original)?.map(|preauth| (completion.id, preauth)))
}

/// Changes a payment because of another, and says so in its history.
fn affect(
    db: &dyn Db,
    by: &PaymentRecord,
    id: PaymentId,
    at: Timestamp,
    change: impl FnOnce(&mut PaymentRecord),
) -> Op<()> {
    // A refused void or refund may name an original that does not exist; then there is nothing to affect.
    let Some(mut affected) = db.payment_by_id(by.merchant, id)? else { return Ok(()) };
    let before = affected.clone();
    change(&mut affected);
    if affected != before {
        db.update_payment(&affected)?;
    }
    if affected.state != before.state {
        let note = format!("{} → {} by payment {}", before.state.code(), affected.state.code(), by.id);
        append(db, &affected, &[JournalEntry::note(at, note)])?;
    }
    Ok(())
}

/// A terminal's reversal.
pub(crate) fn cancel(db: &dyn Db, request: &CancelRequest, entries: &[JournalEntry]) -> Op<Cancelled> {
    let key = Key {
        merchant: request.merchant,
        terminal: request.terminal,
        batch: request.batch,
        trace: request.trace,
    };
    db.lock(Lock::Terminal(key.merchant, key.terminal))?;
    let Some(mut record) = db.payment_by_trace(key)? else {
        remember(db, key, request, entries)?;
        return Ok(Cancelled::Unknown);
    };
    if db.lock(Lock::Payment(record.merchant, record.id))? {
        let (merchant, id) = (record.merchant, record.id);
        record = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    }
    if record.amount != request.amount {
        append(db, &record, entries)?;
        return Ok(Cancelled::AmountDiffers(Box::new(record)));
    }
    let event = Event::CancelRequested(request.reason);
    let applied = apply_to(db, record, &event, entries, request.payload.as_deref(), request.at, request.at)?;
    Ok(Cancelled::Applied(Box::new(applied)))
}

/// The statement behind [`Db::has_marker`].
pub(crate) fn has_marker(db: &dyn Db, key: Key) -> Op<bool> {
    let select = "SELECT at FROM reversal_marker \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4";
    let params = params![key.merchant.as_str(), key.terminal.as_str(), key.batch.get(), key.trace.get()];
    Ok(one(db, select, params, |_| Ok(()))?.is_some())
}

fn remember(db: &dyn Db, key: Key, request: &CancelRequest, entries: &[JournalEntry]) -> Op<()> {
    let (merchant, terminal) = (key.merchant.as_str(), key.terminal.as_str());
    let (batch, trace) = (key.batch.get(), key.trace.get());
    let insert = "INSERT INTO reversal_marker (merchant, terminal, batch, trace, amount, reason, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (merchant, terminal, batch, trace) DO NOTHING";
    db.execute(
        insert,
        params![
            merchant,
            terminal,
            batch,
            trace,
            fen(request.amount),
            request.reason.as_str(),
            millis(request.at)
        ],
    )?;
    let select = "SELECT COALESCE(MAX(sequence), 0) FROM marker_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4";
    let last = number_of(db, select, params![merchant, terminal, batch, trace])?;
    let insert = "INSERT INTO marker_entry (merchant, terminal, batch, trace, sequence, at, kind, message, note) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    for (entry, sequence) in entries.iter().zip(last + 1..) {
        db.execute(
            insert,
            params![
                merchant,
                terminal,
                batch,
                trace,
                sequence,
                millis(entry.at),
                entry.kind.code(),
                &entry.bytes,
                &entry.note
            ],
        )?;
    }
    Ok(())
}

/// The messages of a reversal that came first belong to the payment's history, once there is one.
fn adopt_marker_entries(db: &dyn Db, key: Key, payment: &PaymentRecord) -> Op<()> {
    let select = "SELECT at, kind, message, note FROM marker_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4 ORDER BY sequence";
    let params = params![key.merchant.as_str(), key.terminal.as_str(), key.batch.get(), key.trace.get()];
    let entries = all(db, select, params, |c| c.entry())?;
    append(db, payment, &entries)
}
