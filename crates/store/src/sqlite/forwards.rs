//! Store-and-forward: what must reach the network until it is acknowledged, in order per line.

use acquiring::PaymentId;
use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::transition::{Event, Forward};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::rows::{Columns, all, millis, one};
use super::{Op, payments};
use crate::error::StoreError;
use crate::types::{Applied, Cursor, ForwardFilter, ForwardItem, Page, PageOf};

macro_rules! forward_columns {
    () => {
        "merchant, line, sequence, payment, action, status, attempts, refusals, message_at, message_tries, \
         next_at, note, created"
    };
}

// Look-ups of every pass; a test asks the engine for their plans.
pub(super) const HEAD: &str = concat!(
    "SELECT ",
    forward_columns!(),
    " FROM forward WHERE line = ?1 AND done_at IS NULL AND status = 'waiting' ORDER BY sequence LIMIT 1"
);
pub(super) const DEPTH: &str =
    "SELECT COUNT(*) FROM forward WHERE line = ?1 AND done_at IS NULL AND status = 'waiting'";

fn item(c: &mut Columns<'_>) -> Op<ForwardItem> {
    Ok(ForwardItem {
        merchant: c.merchant()?,
        line: c.take("line")?,
        sequence: c.take("sequence")?,
        payment: PaymentId(c.take("payment")?),
        action: c.text("action", Forward::from_code)?,
        parked: c.text("status", |status| Some(status == "parked"))?,
        attempts: c.take("attempts")?,
        refusals: c.take("refusals")?,
        message_at: c.time("message_at")?,
        message_tries: c.take("message_tries")?,
        next_at: c.time("next_at")?,
        last_note: c.take("note")?,
        created: c.time("created")?,
    })
}

/// Puts a payment at the end of its line's queue.
pub(crate) fn enqueue(
    db: &Connection,
    payment: &PaymentRecord,
    action: Forward,
    at: Timestamp,
    next_at: Timestamp,
) -> Op<()> {
    let mut select = db.prepare_cached("SELECT COALESCE(MAX(sequence), 0) FROM forward WHERE line = ?1")?;
    let last: i64 = select.query_row(params![payment.line], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO forward (merchant, line, sequence, payment, action, status, attempts, refusals, \
         message_at, message_tries, next_at, note, created) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', 0, 0, ?7, 0, ?6, '', ?7)",
    )?;
    insert.execute(params![
        payment.merchant.as_str(),
        payment.line,
        last + 1,
        payment.id.0,
        action.code(),
        millis(next_at),
        millis(at)
    ])?;
    Ok(())
}

pub(crate) fn head(db: &Connection, line: &str) -> Op<Option<ForwardItem>> {
    let mut select = db.prepare_cached(HEAD)?;
    one(&mut select, params![line], item)
}

fn unknown(item: &ForwardItem) -> StoreError {
    StoreError::UnknownForward { line: item.line.clone(), sequence: item.sequence }
}

/// The item is acknowledged: finished, and its payment moves. An item that was finished before changes
/// nothing, but the event is still shown to the payment.
pub(crate) fn done(
    db: &Connection,
    item: &ForwardItem,
    event: Event,
    entries: Vec<JournalEntry>,
    at: Timestamp,
) -> Op<Applied> {
    let mut update = db.prepare_cached(
        "UPDATE forward SET status = 'done', done_at = ?4 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL",
    )?;
    update.execute(params![item.merchant.as_str(), item.line, item.sequence, millis(at)])?;
    let (merchant, id) = (item.merchant, item.payment);
    let record = payments::by_id(db, merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    payments::apply_to(db, record, event, entries, at, at)
}

pub(crate) fn failed(
    db: &Connection,
    item: &ForwardItem,
    next_at: Timestamp,
    note: &str,
    entries: &[JournalEntry],
) -> Op<()> {
    let mut update = db.prepare_cached(
        "UPDATE forward SET attempts = attempts + 1, message_tries = message_tries + 1, next_at = ?4, note = ?5 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL",
    )?;
    let changed =
        update.execute(params![item.merchant.as_str(), item.line, item.sequence, millis(next_at), note])?;
    if changed == 0 {
        return Err(unknown(item).into());
    }
    payments::append(db, item.merchant, item.payment, entries)
}

/// The network refused the present message: the next attempt is a new one, composed at `message_at`.
pub(crate) fn refused(
    db: &Connection,
    item: &ForwardItem,
    message_at: Timestamp,
    next_at: Timestamp,
    note: &str,
    entries: &[JournalEntry],
) -> Op<()> {
    let mut update = db.prepare_cached(
        "UPDATE forward SET attempts = attempts + 1, refusals = refusals + 1, message_at = ?4, \
         message_tries = 0, next_at = ?5, note = ?6 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL",
    )?;
    let changed = update.execute(params![
        item.merchant.as_str(),
        item.line,
        item.sequence,
        millis(message_at),
        millis(next_at),
        note
    ])?;
    if changed == 0 {
        return Err(unknown(item).into());
    }
    payments::append(db, item.merchant, item.payment, entries)
}

pub(crate) fn park(db: &Connection, item: &ForwardItem, note: &str, entries: &[JournalEntry]) -> Op<()> {
    let mut update = db.prepare_cached(
        "UPDATE forward SET status = 'parked', note = ?4 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL",
    )?;
    let changed = update.execute(params![item.merchant.as_str(), item.line, item.sequence, note])?;
    if changed == 0 {
        return Err(unknown(item).into());
    }
    payments::append(db, item.merchant, item.payment, entries)
}

/// Puts a parked item back to its old place, due at once, as a new message with nothing refused yet. Transmission
/// times count in seconds, so the new one is at least a second after the last.
pub(crate) fn release(db: &Connection, line: &str, sequence: i64, now: Timestamp) -> Op<()> {
    let mut update = db.prepare_cached(
        "UPDATE forward SET status = 'waiting', next_at = ?3, refusals = 0, message_tries = 0, \
         message_at = CASE WHEN message_at + 1000 > ?3 THEN message_at + 1000 ELSE ?3 END \
         WHERE line = ?1 AND sequence = ?2 AND done_at IS NULL AND status = 'parked'",
    )?;
    if update.execute(params![line, sequence, millis(now)])? == 0 {
        return Err(StoreError::UnknownForward { line: line.to_owned(), sequence }.into());
    }
    Ok(())
}

pub(crate) fn depth(db: &Connection, line: &str) -> Op<u64> {
    let mut select = db.prepare_cached(DEPTH)?;
    let count: i64 = select.query_row(params![line], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(crate) fn list(db: &Connection, filter: &ForwardFilter, page: &Page) -> Op<PageOf<ForwardItem>> {
    let mut sql = concat!("SELECT ", forward_columns!(), " FROM forward WHERE done_at IS NULL").to_owned();
    let mut values: Vec<Value> = Vec::new();
    if let Some(line) = &filter.line {
        sql.push_str(" AND line = ?");
        values.push(Value::from(line.clone()));
    }
    match filter.parked {
        Some(true) => sql.push_str(" AND status = 'parked'"),
        Some(false) => sql.push_str(" AND status = 'waiting'"),
        None => {}
    }
    if let Some(cursor) = &page.after {
        let (sequence, line) = cursor.as_str().split_once('.').ok_or(StoreError::BadCursor)?;
        let sequence: i64 = sequence.parse().map_err(|_| StoreError::BadCursor)?;
        sql.push_str(" AND (line, sequence) > (?, ?)");
        values.push(Value::from(line.to_owned()));
        values.push(Value::from(sequence));
    }
    sql.push_str(" ORDER BY line, sequence LIMIT ?");
    let rows = page.rows();
    values.push(Value::from(i64::try_from(rows + 1).unwrap_or(i64::MAX)));
    let mut items = all(&mut db.prepare_cached(&sql)?, params_from_iter(values), item)?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|last| Cursor(format!("{}.{}", last.sequence, last.line)));
    Ok(PageOf { items, next })
}
