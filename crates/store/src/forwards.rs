//! Store-and-forward: what must reach the network until it is acknowledged, in order within each family of payments.

use std::time::Duration;

use acquiring::kind::{Hold, Kind};
use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::transition::{self, Event, Finding, Forward};
use acquiring::{Amount, Beijing, MerchantId, PaymentId};
use jiff::{SignedDuration, Timestamp};

use crate::db::{Db, Lock, Op, params};
use crate::error::StoreError;
use crate::payments;
use crate::rows::{Columns, Owned, Query, all, limit, millis, number_of, one};
use crate::store::Store;
use crate::types::{Applied, Cursor, ForwardFilter, ForwardItem, Page, PageOf};
use crate::writer::Admission;

impl Store {
    /// Ends a parked item as the network's record has it, read there by a person: the payment moves as if the network
    /// had said so, and `note` stands in its history.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is not parked; [`StoreError::Misuse`] when it belongs to another payment,
    /// or when the journal knows otherwise. Nothing is written then.
    pub async fn settle_forward(
        &self,
        line: &str,
        sequence: i64,
        payment: PaymentId,
        finding: Finding,
        note: String,
    ) -> Result<Applied, StoreError> {
        let (line, now) = (line.to_owned(), self.db.now());
        let op = move |db: &dyn Db| settle(db, &line, sequence, payment, &finding, &note, now);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// Items of a line that may be sent at `now`, the longest due first, at most `limit`: of each family the first that
    /// waits, and none behind it. Parked ones are passed over.
    pub async fn due_forwards(
        &self,
        line: &str,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ForwardItem>, StoreError> {
        let line = line.to_owned();
        self.db.read(move |db| due(db, &line, now, limit)).await
    }

    /// When the next item of a line will be due that is not due at `now`.
    pub async fn next_forward_at(&self, line: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let line = line.to_owned();
        self.db.read(move |db| one(db, NEXT_AT, params![&line, millis(now)], |c| c.time("next_at"))).await
    }

    /// Takes an item out of the order because nobody answers it, or because we cannot send it. Unlike one that was refused,
    /// it goes on with the same message when it is released, since the network may have taken that.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is finished.
    pub async fn park_unanswered(
        &self,
        item: &ForwardItem,
        note: &str,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let (item, note) = (item.clone(), note.to_owned());
        self.db.write(Admission::Wait, Vec::new(), move |db| park(db, &item, 0, &note, &entries)).await
    }

    /// Takes a waiting item out of the order by hand; `note` stands in its payment's history. What the network may
    /// answer to a message that is under way still counts.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it does not wait; [`StoreError::Misuse`] when it belongs to another payment.
    /// Nothing is written then.
    pub async fn park_by_hand(
        &self,
        line: &str,
        sequence: i64,
        payment: PaymentId,
        note: String,
    ) -> Result<(), StoreError> {
        let (line, now) = (line.to_owned(), self.db.now());
        let op = move |db: &dyn Db| {
            let item = open(db, &line, sequence)?.filter(|item| !item.parked);
            let item = item.ok_or_else(|| StoreError::UnknownForward { line: line.clone(), sequence })?;
            if item.payment != payment {
                return Err(StoreError::Misuse { rule: "the item is of another payment" }.into());
            }
            park(db, &item, 0, &note, &[JournalEntry::note(now, note.clone())])
        };
        self.db.write(Admission::Wait, Vec::new(), op).await
    }
}

macro_rules! forward_columns {
    () => {
        "merchant, line, sequence, payment, family, action, status, attempts, refusals, message_at, message_tries, \
         next_at, note, created, payload"
    };
}

// Look-ups of every pass; a test asks the engine for their plans.
pub(crate) const HEAD: &str = concat!(
    "SELECT ",
    forward_columns!(),
    " FROM forward WHERE line = ?1 AND done_at IS NULL AND status = 'waiting' ORDER BY sequence LIMIT 1"
);
pub(crate) const DUE: &str = concat!(
    "SELECT ",
    forward_columns!(),
    " FROM forward f WHERE line = ?1 AND done_at IS NULL AND status = 'waiting' AND next_at <= ?2 \
     AND NOT EXISTS (SELECT 1 FROM forward e WHERE e.merchant = f.merchant AND e.family = f.family \
     AND e.sequence < f.sequence AND e.line = f.line AND e.done_at IS NULL AND e.status = 'waiting') \
     ORDER BY next_at, sequence LIMIT ?3"
);
pub(crate) const NEXT_AT: &str = "SELECT next_at FROM forward WHERE line = ?1 AND done_at IS NULL \
     AND status = 'waiting' AND next_at > ?2 ORDER BY next_at LIMIT 1";
pub(crate) const DEPTH: &str =
    "SELECT COUNT(*) FROM forward WHERE line = ?1 AND done_at IS NULL AND status = 'waiting'";

fn item(c: &mut Columns<'_>) -> Op<ForwardItem> {
    Ok(ForwardItem {
        merchant: c.merchant()?,
        line: c.take("line")?,
        sequence: c.take("sequence")?,
        payment: PaymentId(c.take("payment")?),
        family: PaymentId(c.take("family")?),
        action: c.text("action", Forward::from_code)?,
        parked: c.text("status", |status| Some(status == "parked"))?,
        attempts: c.take("attempts")?,
        refusals: c.take("refusals")?,
        message_at: c.time("message_at")?,
        message_tries: c.take("message_tries")?,
        next_at: c.time("next_at")?,
        last_note: c.take("note")?,
        created: c.time("created")?,
        payload: c.take("payload")?,
    })
}

/// Puts a payment at the end of its line's queue, with what its message needs and the journal does not have.
pub(crate) fn enqueue(
    db: &dyn Db,
    payment: &PaymentRecord,
    action: Forward,
    payload: Option<&[u8]>,
    at: Timestamp,
    next_at: Timestamp,
) -> Op<()> {
    db.lock(Lock::Sequence(&payment.line))?;
    let select = "SELECT COALESCE(MAX(sequence), 0) FROM forward WHERE line = ?1";
    let last = number_of(db, select, params![&payment.line])?;
    let insert = "INSERT INTO forward (merchant, line, sequence, payment, action, status, attempts, refusals, \
         message_at, message_tries, next_at, note, created, payload, family) \
         VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', 0, 0, ?7, 0, ?6, '', ?7, ?8, ?9)";
    db.execute(
        insert,
        params![
            payment.merchant.as_str(),
            &payment.line,
            last + 1,
            payment.id.0,
            action.code(),
            millis(next_at),
            millis(at),
            payload,
            family(db, payment)?.0
        ],
    )?;
    Ok(())
}

/// The payment on which a payment stands in the end, or itself. Nothing stands on more than two others: the void of a
/// completion stands on the completion and that on its pre-authorisation.
fn family(db: &dyn Db, payment: &PaymentRecord) -> Op<PaymentId> {
    let Some(original) = payment.original else { return Ok(payment.id) };
    let beyond = db.payment_by_id(payment.merchant, original)?.and_then(|original| original.original);
    Ok(beyond.unwrap_or(original))
}

/// Queues what became of the commands for the chip of an approved payment, once; whether it was the first time.
pub(crate) fn script(
    db: &dyn Db,
    merchant: MerchantId,
    id: PaymentId,
    payload: &[u8],
    entries: &[JournalEntry],
    at: Timestamp,
) -> Op<bool> {
    db.lock(Lock::Payment(merchant, id))?;
    let record = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    let select = "SELECT COUNT(*) FROM forward WHERE merchant = ?1 AND payment = ?2 AND action = ?3";
    let action = Forward::Script;
    let first = number_of(db, select, params![merchant.as_str(), id.0, action.code()])? == 0;
    if first {
        enqueue(db, &record, action, Some(payload), at, at)?;
    }
    payments::append(db, &record, entries)?;
    Ok(first)
}

/// An advice that was refused goes out under a key of its own; whatever names the payment later must name that.
fn advice_has_key(db: &dyn Db, item: &ForwardItem, message_at: Timestamp) -> Op<()> {
    if item.action != Forward::Advice {
        return Ok(());
    }
    let update = "UPDATE payment SET transmission = ?3 WHERE merchant = ?1 AND id = ?2";
    let transmission = Beijing::of(message_at).transmission().cast_signed();
    db.execute(update, params![item.merchant.as_str(), item.payment.0, transmission])?;
    Ok(())
}

pub(crate) fn head(db: &dyn Db, line: &str) -> Op<Option<ForwardItem>> {
    one(db, HEAD, params![line], item)
}

fn unknown(item: &ForwardItem) -> StoreError {
    StoreError::UnknownForward { line: item.line.clone(), sequence: item.sequence }
}

/// The item is acknowledged: finished, and its payment moves. An item that was finished before changes
/// nothing, but the event is still shown to the payment.
pub(crate) fn done(
    db: &dyn Db,
    item: &ForwardItem,
    event: &Event,
    entries: &[JournalEntry],
    at: Timestamp,
) -> Op<Applied> {
    let (merchant, id) = (item.merchant, item.payment);
    db.lock(Lock::Payment(merchant, id))?;
    let update = "UPDATE forward SET status = 'done', done_at = ?4, payload = NULL \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL";
    db.execute(update, params![item.merchant.as_str(), &item.line, item.sequence, millis(at)])?;
    let record = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    payments::apply_to(db, record, event, entries, None, at, at)
}

/// An attempt came to nothing. Only a message that may have left counts as sent: the network must see the first
/// sending as a message of its own, never as a repeat.
pub(crate) fn failed(
    db: &dyn Db,
    item: &ForwardItem,
    left: bool,
    next_at: Timestamp,
    note: &str,
    entries: &[JournalEntry],
) -> Op<()> {
    db.lock(Lock::Payment(item.merchant, item.payment))?;
    // An operator may have parked and released it meanwhile, as another message.
    let update = "UPDATE forward SET attempts = attempts + 1, \
         message_tries = CASE WHEN message_at = ?7 THEN message_tries + ?6 ELSE message_tries END, next_at = ?4, \
         note = ?5 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL";
    let (next_at, message_at, left) = (millis(next_at), millis(item.message_at), i64::from(left));
    let params = params![item.merchant.as_str(), &item.line, item.sequence, next_at, note, left, message_at];
    if db.execute(update, params)? == 0 {
        return Err(unknown(item).into());
    }
    payments::append_by_id(db, item.merchant, item.payment, entries)
}

/// The network refused the present message: the next attempt is a new one, composed at `message_at`.
pub(crate) fn refused(
    db: &dyn Db,
    item: &ForwardItem,
    message_at: Timestamp,
    next_at: Timestamp,
    note: &str,
    entries: &[JournalEntry],
) -> Op<()> {
    db.lock(Lock::Payment(item.merchant, item.payment))?;
    // The same message again is a repeat of it.
    let update = "UPDATE forward SET attempts = attempts + 1, refusals = refusals + 1, \
         message_tries = CASE WHEN message_at = ?4 THEN message_tries + 1 ELSE 0 END, message_at = ?4, \
         next_at = ?5, note = ?6 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL";
    advice_has_key(db, item, message_at)?;
    let (message_at, next_at) = (millis(message_at), millis(next_at));
    let params = params![item.merchant.as_str(), &item.line, item.sequence, message_at, next_at, note];
    if db.execute(update, params)? == 0 {
        return Err(unknown(item).into());
    }
    payments::append_by_id(db, item.merchant, item.payment, entries)
}

/// Parks an item that was refused so often, which decides as what it is released.
pub(crate) fn park(
    db: &dyn Db,
    item: &ForwardItem,
    refusals: u32,
    note: &str,
    entries: &[JournalEntry],
) -> Op<()> {
    db.lock(Lock::Payment(item.merchant, item.payment))?;
    let update = "UPDATE forward SET status = 'parked', note = ?4, refusals = ?5 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL";
    let params = params![item.merchant.as_str(), &item.line, item.sequence, note, i64::from(refusals)];
    let changed = db.execute(update, params)?;
    if changed == 0 {
        return Err(unknown(item).into());
    }
    payments::append_by_id(db, item.merchant, item.payment, entries)
}

fn open(db: &dyn Db, line: &str, sequence: i64) -> Op<Option<ForwardItem>> {
    let select = concat!(
        "SELECT ",
        forward_columns!(),
        " FROM forward WHERE line = ?1 AND sequence = ?2 AND done_at IS NULL"
    );
    one(db, select, params![line, sequence], item)
}

fn parked(db: &dyn Db, line: &str, sequence: i64) -> Op<ForwardItem> {
    let unknown = || StoreError::UnknownForward { line: line.to_owned(), sequence };
    open(db, line, sequence)?.filter(|item| item.parked).ok_or_else(|| unknown().into())
}

/// Ends a parked item as the network's record has it. The payment must be the one that the operator means, and must
/// be afterwards what the record says; else nothing is written.
pub(crate) fn settle(
    db: &dyn Db,
    line: &str,
    sequence: i64,
    payment: PaymentId,
    finding: &Finding,
    note: &str,
    at: Timestamp,
) -> Op<Applied> {
    let item = parked(db, line, sequence)?;
    if item.payment != payment {
        return Err(StoreError::Misuse { rule: "the item is of another payment" }.into());
    }
    let (merchant, id) = (item.merchant, item.payment);
    db.lock(Lock::Payment(merchant, id))?;
    let update = "UPDATE forward SET status = 'done', done_at = ?4, payload = NULL, note = ?5 \
         WHERE merchant = ?1 AND line = ?2 AND sequence = ?3 AND done_at IS NULL AND status = 'parked'";
    if db.execute(update, params![merchant.as_str(), line, sequence, millis(at), note])? == 0 {
        return Err(unknown(&item).into());
    }
    let record = db.payment_by_id(merchant, id)?.ok_or(StoreError::UnknownPayment { merchant, id })?;
    let before = adjusted_before(db, &record)?;
    let change = transition::on_finding(&record, item.action, finding.clone(), before)
        .map_err(|rule| StoreError::Misuse { rule })?;
    let entries = [JournalEntry::note(at, note)];
    let applied = payments::change_to(db, record, change, &entries, None, at, at)?;
    let standing = matches!(finding, Finding::Standing(_));
    if !transition::agrees(&applied.record, item.action, standing) {
        return Err(StoreError::Misuse { rule: "the payment's outcome is known, and is another" }.into());
    }
    Ok(applied)
}

/// What the original had been adjusted to before this adjustment.
fn adjusted_before(db: &dyn Db, record: &PaymentRecord) -> Op<Option<Amount>> {
    let (Some(original), Some(Hold::Adjust)) = (record.original, record.kind.hold()) else { return Ok(None) };
    let select = "SELECT amount FROM payment WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 \
         AND original = ?4 AND id < ?5 AND state = 'approved' AND kind IN (?6, ?7) ORDER BY id DESC LIMIT 1";
    let params = params![
        record.merchant.as_str(),
        record.terminal.as_str(),
        record.batch.get(),
        original.0,
        record.id.0,
        Kind::Adjust.code(),
        Kind::Tip.code()
    ];
    one(db, select, params, |c| c.amount("amount"))
}

/// Puts a parked item back to its old place, due at once, with nothing refused yet. One that was refused becomes a new
/// message: transmission times count in seconds, so the new one is at least a second after the last. One that nobody
/// answered stays the message that it is, since the network may have taken it and would take a new one as another.
pub(crate) fn release(db: &dyn Db, line: &str, sequence: i64, now: Timestamp) -> Op<()> {
    let parked = parked(db, line, sequence)?;
    let renewed = parked.refusals > 0;
    let (message_at, tries) = if renewed {
        (parked.message_at.checked_add(SignedDuration::from_secs(1)).unwrap_or(now).max(now), 0)
    } else {
        // A repeat of it is a repeat for ever; how often it was silent is counted anew.
        (parked.message_at, parked.message_tries.min(1))
    };
    let update = "UPDATE forward SET status = 'waiting', next_at = ?3, refusals = 0, message_tries = ?5, \
         message_at = ?4 WHERE line = ?1 AND sequence = ?2 AND done_at IS NULL AND status = 'parked'";
    let params = params![line, sequence, millis(now), millis(message_at), i64::from(tries)];
    if db.execute(update, params)? == 0 {
        return Err(unknown(&parked).into());
    }
    if renewed { advice_has_key(db, &parked, message_at) } else { Ok(()) }
}

fn due(db: &dyn Db, line: &str, now: Timestamp, most: usize) -> Op<Vec<ForwardItem>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    all(db, DUE, params![line, millis(now), most], item)
}

pub(crate) fn depth(db: &dyn Db, line: &str) -> Op<u64> {
    Ok(number_of(db, DEPTH, params![line])?.unsigned_abs())
}

pub(crate) fn list(db: &dyn Db, filter: &ForwardFilter, page: &Page) -> Op<PageOf<ForwardItem>> {
    let mut query = Query::new(concat!("SELECT ", forward_columns!(), " FROM forward WHERE done_at IS NULL"));
    if let Some(line) = &filter.line {
        query.push(" AND line = ?", [line.clone()]);
    }
    match filter.parked {
        Some(true) => query.sql.push_str(" AND status = 'parked'"),
        Some(false) => query.sql.push_str(" AND status = 'waiting'"),
        None => {}
    }
    if let Some(cursor) = &page.after {
        let (sequence, line) = cursor.as_str().split_once('.').ok_or(StoreError::BadCursor)?;
        let sequence: i64 = sequence.parse().map_err(|_| StoreError::BadCursor)?;
        query.push(" AND (line, sequence) > (?, ?)", [Owned::from(line.to_owned()), Owned::from(sequence)]);
    }
    let rows = page.rows();
    query.push(" ORDER BY line, sequence LIMIT ?", [limit(rows)]);
    let mut items = query.all(db, item)?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|last| Cursor(format!("{}.{}", last.sequence, last.line)));
    Ok(PageOf { items, next })
}

/// Gives a line to a node for so long, unless another node has it at this moment. Only nodes on PostgreSQL share a
/// store, and the time is that server's.
pub(crate) fn lease(db: &dyn Db, line: &str, node: &str, time: Duration) -> Op<bool> {
    const UPSERT: &str = "INSERT INTO forward_lease (line, node, leased_until) \
         VALUES (?1, ?2, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + ?3) \
         ON CONFLICT (line) DO UPDATE SET node = excluded.node, leased_until = excluded.leased_until \
         WHERE forward_lease.node = excluded.node \
         OR forward_lease.leased_until <= CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
    Ok(db.execute(UPSERT, params![line, node, time])? > 0)
}

/// Gives a line back, when the node has it.
pub(crate) fn give_back(db: &dyn Db, line: &str, node: &str) -> Op<()> {
    db.execute("DELETE FROM forward_lease WHERE line = ?1 AND node = ?2", params![line, node])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    /// Each pass of the queue goes straight to what is due, in its order, and from each item straight to those before it in
    /// its family: a long queue costs no more than a short one.
    #[test]
    fn a_pass_reads_no_more_than_it_takes() {
        let db = Connection::open_in_memory().unwrap();
        for migration in crate::migrations::MIGRATIONS {
            db.execute_batch(migration.sqlite).unwrap();
        }
        let plan = |sql: &str| {
            let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            let mut steps: Vec<String> = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                steps.push(row.get(3).unwrap());
            }
            steps
        };
        let due = plan(super::DUE);
        assert_eq!(due.len(), 3, "{due:?}");
        assert!(due[0].ends_with("forward_due (line=? AND next_at<?)"), "{due:?}");
        assert!(due[2].ends_with("forward_family (merchant=? AND family=? AND sequence<?)"), "{due:?}");
        let next = plan(super::NEXT_AT);
        assert_eq!(next.len(), 1, "{next:?}");
        assert!(next[0].ends_with("forward_due (line=? AND next_at>?)"), "{next:?}");
    }
}
