//! Payments: begin, move, undo, look up. Every rule is asked of [`acquiring::transition`] between the read
//! and the write of one transaction.

use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord, PaymentState};
use acquiring::transition::{self, Event, OriginalEffect, Reception};
use acquiring::{BatchNo, MerchantId, PaymentId, ResponseCode, Rrn, TerminalId, Trace};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{all, fen, millis, one, payment_columns, traits_number};
use super::{Op, forwards};
use crate::error::StoreError;
use crate::types::{Applied, Begun, CancelRequest, Cancelled};

/// What a terminal calls a payment by.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) merchant: MerchantId,
    pub(crate) terminal: TerminalId,
    pub(crate) batch: BatchNo,
    pub(crate) trace: Trace,
}

impl Key {
    fn of(record: &PaymentRecord) -> Key {
        Key { merchant: record.merchant, terminal: record.terminal, batch: record.batch, trace: record.trace }
    }
}

// Look-ups; a test asks the engine for their plans.
const BY_TRACE: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4"
);
const BY_ID: &str = concat!("SELECT ", payment_columns!(), " FROM payment WHERE merchant = ?1 AND id = ?2");
const BY_REFERENCE: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE merchant = ?1 AND rrn = ?2 ORDER BY id DESC LIMIT 1"
);
const BY_NETWORK_KEY: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE network_trace = ?1 AND created >= ?2 AND line = ?3 AND (?4 IS NULL OR rrn = ?4) \
         ORDER BY created DESC, id DESC LIMIT 1"
);
const PENDING_BEFORE: &str = concat!(
    "SELECT ",
    payment_columns!(),
    " FROM payment WHERE state IN ('pending', 'unresolved', 'reversing') AND state = 'pending' \
         AND created < ?1 ORDER BY created, id LIMIT ?2"
);

pub(crate) fn by_trace(db: &Connection, key: Key) -> Op<Option<PaymentRecord>> {
    let mut select = db.prepare_cached(BY_TRACE)?;
    let params = params![key.merchant.as_str(), key.terminal.as_str(), key.batch.get(), key.trace.get()];
    one(&mut select, params, |c| c.payment())
}

pub(crate) fn by_id(db: &Connection, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
    let mut select = db.prepare_cached(BY_ID)?;
    one(&mut select, params![merchant.as_str(), id.0], |c| c.payment())
}

/// The newest payment with this reference number: the number begins with the day, so that it comes again
/// after a year.
pub(crate) fn by_reference(db: &Connection, merchant: MerchantId, rrn: Rrn) -> Op<Option<PaymentRecord>> {
    let mut select = db.prepare_cached(BY_REFERENCE)?;
    one(&mut select, params![merchant.as_str(), rrn.as_str()], |c| c.payment())
}

pub(crate) fn by_network_key(
    db: &Connection,
    line: &str,
    trace: u32,
    rrn: Option<Rrn>,
    since: Timestamp,
) -> Op<Option<PaymentRecord>> {
    let mut select = db.prepare_cached(BY_NETWORK_KEY)?;
    one(&mut select, params![trace, millis(since), line, rrn.as_ref().map(Rrn::as_str)], |c| c.payment())
}

pub(crate) fn pending_before(db: &Connection, at: Timestamp, limit: usize) -> Op<Vec<PaymentRecord>> {
    let mut select = db.prepare_cached(PENDING_BEFORE)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(&mut select, params![millis(at), limit], |c| c.payment())
}

pub(crate) fn history(db: &Connection, merchant: MerchantId, id: PaymentId) -> Op<Vec<JournalEntry>> {
    let mut select = db.prepare_cached(
        "SELECT at, kind, message, note FROM journal_entry WHERE merchant = ?1 AND payment = ?2 \
         ORDER BY sequence",
    )?;
    all(&mut select, params![merchant.as_str(), id.0], |c| c.entry())
}

/// Appends lines to a payment's history.
pub(crate) fn append(
    db: &Connection,
    merchant: MerchantId,
    id: PaymentId,
    entries: &[JournalEntry],
) -> Op<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut select = db.prepare_cached(
        "SELECT COALESCE(MAX(sequence), 0) FROM journal_entry WHERE merchant = ?1 AND payment = ?2",
    )?;
    let last: i64 = select.query_row(params![merchant.as_str(), id.0], |row| row.get(0))?;
    append_after(db, merchant, id, last, entries)
}

fn append_after(
    db: &Connection,
    merchant: MerchantId,
    id: PaymentId,
    last: i64,
    entries: &[JournalEntry],
) -> Op<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO journal_entry (merchant, payment, sequence, at, kind, message, note) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (entry, sequence) in entries.iter().zip(last + 1..) {
        insert.execute(params![
            merchant.as_str(),
            id.0,
            sequence,
            millis(entry.at),
            entry.kind.code(),
            entry.bytes,
            entry.note
        ])?;
    }
    Ok(())
}

/// Appends lines to the history of a payment that must exist.
pub(crate) fn append_checked(
    db: &Connection,
    merchant: MerchantId,
    id: PaymentId,
    entries: &[JournalEntry],
) -> Op<()> {
    let mut select = db.prepare_cached("SELECT id FROM payment WHERE merchant = ?1 AND id = ?2")?;
    if !select.exists(params![merchant.as_str(), id.0])? {
        return Err(StoreError::UnknownPayment { merchant, id }.into());
    }
    append(db, merchant, id, entries)
}

fn insert(db: &Connection, record: &PaymentRecord, entries: &[JournalEntry]) -> Op<()> {
    let mut insert = db.prepare_cached(concat!(
        "INSERT INTO payment (",
        payment_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
         ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)"
    ))?;
    let card = record.card.as_ref();
    let answer = record.answer.as_ref();
    insert.execute(params![
        record.merchant.as_str(),
        record.id.0,
        record.terminal.as_str(),
        record.batch.get(),
        record.trace.get(),
        record.kind.code(),
        record.state.code(),
        fen(record.amount),
        record.currency,
        card.map(|c| c.masked.as_str()),
        card.map(|c| c.digest),
        card.map(|c| c.sealed.as_slice()),
        record.expiry.map(|e| e.yymm()),
        record.entry_mode.code(),
        record.card_sequence,
        record.condition,
        traits_number(record.terminal_traits),
        record.request_digest,
        record.line,
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
        millis(record.created),
    ])?;
    append_after(db, record.merchant, record.id, 0, entries)
}

/// Writes what may change of a payment.
fn update(db: &Connection, record: &PaymentRecord) -> Op<()> {
    let mut update = db.prepare_cached(
        "UPDATE payment SET state = ?3, claimed_by = ?4, refunded = ?5, answer_code = ?6, auth_code = ?7, \
         settle_date = ?8, issuer = ?9, balance = ?10, answer_chip = ?11, answered_at = ?12, \
         reversal_reason = ?13 WHERE merchant = ?1 AND id = ?2",
    )?;
    let answer = record.answer.as_ref();
    update.execute(params![
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
    ])?;
    Ok(())
}

/// Journals an intent, unless it is a repeat; refuses it when its reversal came first or its original does
/// not allow it.
pub(crate) fn begin(db: &Connection, intent: PaymentRecord, entries: &[JournalEntry]) -> Op<Begun> {
    if intent.state != PaymentState::Pending {
        return Err(StoreError::Misuse { rule: "a payment begins in the state pending" }.into());
    }
    let key = Key::of(&intent);
    if let Some(existing) = by_trace(db, key)? {
        return Ok(Begun::Existing(Box::new(existing)));
    }
    if has_marker(db, key)? {
        let note = "refused: its reversal came before it";
        let refused = refuse(db, intent, ResponseCode::NO_ORIGINAL, entries, note)?;
        adopt_marker_entries(db, key, refused.id)?;
        return Ok(Begun::Refused(Box::new(refused)));
    }
    if let Some(original_id) = intent.original {
        let Some(mut original) = by_id(db, intent.merchant, original_id)? else {
            let note = "refused: no such original";
            let refused = refuse(db, intent, ResponseCode::NO_ORIGINAL, entries, note)?;
            return Ok(Begun::Refused(Box::new(refused)));
        };
        if let Err(code) = transition::take_hold(&mut original, &intent) {
            let note = "refused: the original does not allow it";
            return Ok(Begun::Refused(Box::new(refuse(db, intent, code, entries, note)?)));
        }
        update(db, &original)?;
    }
    insert(db, &intent, entries)?;
    Ok(Begun::Journaled)
}

fn refuse(
    db: &Connection,
    intent: PaymentRecord,
    code: ResponseCode,
    entries: &[JournalEntry],
    note: &str,
) -> Op<PaymentRecord> {
    let answer = Some(Answer::own(code, intent.created));
    let record = PaymentRecord { state: PaymentState::Declined, answer, ..intent };
    insert(db, &record, entries)?;
    append(db, record.merchant, record.id, &[JournalEntry::note(record.created, note)])?;
    Ok(record)
}

/// Journals a request that our own rules refused before it was to go out.
pub(crate) fn declined(db: &Connection, record: &PaymentRecord, entries: &[JournalEntry]) -> Op<Begun> {
    if record.state != PaymentState::Declined || record.answer.is_none() {
        return Err(StoreError::Misuse { rule: "a refused payment is declined and has its answer" }.into());
    }
    if let Some(existing) = by_trace(db, Key::of(record))? {
        return Ok(Begun::Existing(Box::new(existing)));
    }
    insert(db, record, entries)?;
    Ok(Begun::Journaled)
}

/// Moves a payment as an event wants it.
pub(crate) fn apply(
    db: &Connection,
    merchant: MerchantId,
    id: PaymentId,
    event: Event,
    entries: Vec<JournalEntry>,
    forward_at: Timestamp,
) -> Op<Applied> {
    let record = by_id(db, merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    let at = match &event {
        Event::Answered(answer) | Event::NoAnswer(answer) | Event::NotSent(answer) => answer.at,
        Event::CancelRequested(_) | Event::ReversalDone => entries.last().map_or(forward_at, |e| e.at),
    };
    apply_to(db, record, event, entries, at, forward_at)
}

/// As [`apply`], for a payment that this transaction has read. `at` is when the event happened.
pub(crate) fn apply_to(
    db: &Connection,
    mut record: PaymentRecord,
    event: Event,
    mut entries: Vec<JournalEntry>,
    at: Timestamp,
    forward_at: Timestamp,
) -> Op<Applied> {
    let change = transition::on_event(&record, event);
    if change.reception == Reception::Moved {
        let before = record.state;
        record.state = change.state;
        if let Some(answer) = &change.answer {
            record.answer = Some(answer.clone());
        }
        if change.reversal_reason.is_some() {
            record.reversal_reason = change.reversal_reason;
        }
        update(db, &record)?;
        note_move(&mut entries, before, record.state, at);
    }
    append(db, record.merchant, record.id, &entries)?;
    if let Some(original) = record.original.filter(|_| change.original != OriginalEffect::Keep) {
        affect_original(db, &record, original, change.original, at)?;
    }
    if let Some(action) = change.forward {
        forwards::enqueue(db, &record, action, at, forward_at)?;
    }
    Ok(Applied { record, change })
}

/// Says in the history what moved: on the message that caused it, or on a line of its own.
fn note_move(entries: &mut Vec<JournalEntry>, before: PaymentState, after: PaymentState, at: Timestamp) {
    let note = format!("{} → {}", before.code(), after.code());
    match entries.last_mut() {
        Some(last) if last.note.is_empty() && last.kind != EntryKind::Note => last.note = note,
        _ => entries.push(JournalEntry::note(at, note)),
    }
}

fn affect_original(
    db: &Connection,
    by: &PaymentRecord,
    id: PaymentId,
    effect: OriginalEffect,
    at: Timestamp,
) -> Op<()> {
    // A refused void or refund may name an original that does not exist; then there is nothing to affect.
    let Some(mut original) = by_id(db, by.merchant, id)? else { return Ok(()) };
    let before = original.clone();
    transition::on_original(&mut original, by.id, effect);
    if original != before {
        update(db, &original)?;
    }
    if original.state != before.state {
        let note = format!("{} → {} by payment {}", before.state.code(), original.state.code(), by.id);
        append(db, by.merchant, id, &[JournalEntry::note(at, note)])?;
    }
    Ok(())
}

/// A terminal's reversal.
pub(crate) fn cancel(db: &Connection, request: &CancelRequest, entries: Vec<JournalEntry>) -> Op<Cancelled> {
    let key = Key {
        merchant: request.merchant,
        terminal: request.terminal,
        batch: request.batch,
        trace: request.trace,
    };
    let Some(record) = by_trace(db, key)? else {
        remember(db, key, request, &entries)?;
        return Ok(Cancelled::Unknown);
    };
    if record.amount != request.amount {
        append(db, record.merchant, record.id, &entries)?;
        return Ok(Cancelled::AmountDiffers(Box::new(record)));
    }
    let event = Event::CancelRequested(request.reason);
    let applied = apply_to(db, record, event, entries, request.at, request.at)?;
    Ok(Cancelled::Applied(Box::new(applied)))
}

fn has_marker(db: &Connection, key: Key) -> Op<bool> {
    let mut select = db.prepare_cached(
        "SELECT at FROM reversal_marker \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4",
    )?;
    Ok(select.exists(params![
        key.merchant.as_str(),
        key.terminal.as_str(),
        key.batch.get(),
        key.trace.get()
    ])?)
}

fn remember(db: &Connection, key: Key, request: &CancelRequest, entries: &[JournalEntry]) -> Op<()> {
    let (merchant, terminal) = (key.merchant.as_str(), key.terminal.as_str());
    let (batch, trace) = (key.batch.get(), key.trace.get());
    let mut insert = db.prepare_cached(
        "INSERT INTO reversal_marker (merchant, terminal, batch, trace, amount, reason, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (merchant, terminal, batch, trace) DO NOTHING",
    )?;
    insert.execute(params![
        merchant,
        terminal,
        batch,
        trace,
        fen(request.amount),
        request.reason.as_str(),
        millis(request.at)
    ])?;
    let mut select = db.prepare_cached(
        "SELECT COALESCE(MAX(sequence), 0) FROM marker_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4",
    )?;
    let last: i64 = select.query_row(params![merchant, terminal, batch, trace], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO marker_entry (merchant, terminal, batch, trace, sequence, at, kind, message, note) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for (entry, sequence) in entries.iter().zip(last + 1..) {
        insert.execute(params![
            merchant,
            terminal,
            batch,
            trace,
            sequence,
            millis(entry.at),
            entry.kind.code(),
            entry.bytes,
            entry.note
        ])?;
    }
    Ok(())
}

/// The messages of a reversal that came first belong to the payment's history, once there is one.
fn adopt_marker_entries(db: &Connection, key: Key, id: PaymentId) -> Op<()> {
    let mut select = db.prepare_cached(
        "SELECT at, kind, message, note FROM marker_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4 ORDER BY sequence",
    )?;
    let params = params![key.merchant.as_str(), key.terminal.as_str(), key.batch.get(), key.trace.get()];
    let entries = all(&mut select, params, |c| c.entry())?;
    append(db, key.merchant, id, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{forwards, migrate};

    /// The look-ups of the payment path, and those of every pass of store-and-forward and recovery, go
    /// straight to their rows: by an index with every column that the look-up names, without a sort.
    #[test]
    fn look_ups_go_straight_to_their_rows() {
        let db = Connection::open_in_memory().unwrap();
        for sql in migrate::MIGRATIONS {
            db.execute_batch(sql).unwrap();
        }
        let plans = [
            (BY_TRACE, "payment_key (merchant=? AND terminal=? AND batch=? AND trace=?)"),
            (BY_ID, "sqlite_autoindex_payment_1 (merchant=? AND id=?)"),
            (BY_REFERENCE, "payment_rrn (merchant=? AND rrn=?)"),
            (BY_NETWORK_KEY, "payment_network (network_trace=? AND created>?)"),
            (PENDING_BEFORE, "payment_open (state=? AND created<?)"),
            (forwards::HEAD, "forward_open (line=? AND status=?)"),
            (forwards::DEPTH, "forward_open (line=? AND status=?)"),
        ];
        for (sql, index) in plans {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get(3).unwrap());
            }
            assert_eq!(steps.len(), 1, "{steps:?} for {sql}");
            assert!(steps[0].starts_with("SEARCH") && steps[0].ends_with(index), "{steps:?} for {sql}");
        }
    }
}
