//! Finding payments for people, and counting them.

use acquiring::payment::{PaymentRecord, PaymentState};
use jiff::Timestamp;

use crate::db::{Db, Op, params};
use crate::error::StoreError;
use crate::rows::{Columns, Owned, Query, all, fen, limit, millis, number_of, payment_columns};
use crate::types::{Counts, Cursor, Page, PageOf, PaymentFilter};

/// Payments of a merchant up to which they are read through the terminal's key and sorted; one with more is found
/// through time, where it is not far to the next of them.
const SORTED_MAX: i64 = 2_000;

/// Whether a merchant (or its terminal) has so few payments that sorting them is the shorter way.
fn few(db: &dyn Db, filter: &PaymentFilter) -> Op<bool> {
    let Some(merchant) = filter.merchant else { return Ok(false) };
    let merchant = merchant.to_string();
    let found = match filter.terminal {
        Some(terminal) => {
            let select = "SELECT COUNT(*) FROM (SELECT 1 FROM payment WHERE merchant = ?1 AND terminal = ?2 \
                 LIMIT ?3) AS found";
            number_of(db, select, params![&merchant, terminal.as_str(), SORTED_MAX + 1])?
        }
        None => {
            let select = "SELECT COUNT(*) FROM (SELECT 1 FROM payment WHERE merchant = ?1 LIMIT ?2) AS found";
            number_of(db, select, params![&merchant, SORTED_MAX + 1])?
        }
    };
    Ok(found <= SORTED_MAX)
}

pub(crate) fn find(db: &dyn Db, filter: &PaymentFilter, page: &Page) -> Op<PageOf<PaymentRecord>> {
    let few = few(db, filter)?;
    let mut query = Query::new(concat!("SELECT ", payment_columns!(), " FROM payment WHERE 1 = 1"));
    let mut and = |condition: &str, value: Owned| {
        query.sql.push_str(" AND ");
        query.push(condition, [value]);
    };
    if let Some(id) = filter.id {
        and("id = ?", Owned::from(id.0));
    }
    if let Some(merchant) = filter.merchant {
        // An expression keeps the planner from the index of the key.
        let condition = if few { "merchant = ?" } else { "merchant || '' = ?" };
        and(condition, Owned::from(merchant.to_string()));
    }
    if let Some(terminal) = filter.terminal {
        and("terminal = ?", Owned::from(terminal.to_string()));
    }
    if let Some(batch) = filter.batch {
        and("batch = ?", Owned::from(i64::from(batch.get())));
    }
    if let Some(kind) = filter.kind {
        and("kind = ?", Owned::from(kind.code().to_owned()));
    }
    if let Some(state) = filter.state {
        and("state = ?", Owned::from(state.code().to_owned()));
    }
    if let Some(from) = filter.from {
        and("created >= ?", Owned::from(millis(from)));
    }
    if let Some(to) = filter.to {
        and("created < ?", Owned::from(millis(to)));
    }
    if let Some(least) = filter.amount_min {
        and("amount >= ?", Owned::from(fen(least)));
    }
    if let Some(most) = filter.amount_max {
        and("amount <= ?", Owned::from(fen(most)));
    }
    if let Some(digest) = filter.card_digest {
        and("card_digest = ?", Owned::from(digest.to_vec()));
    }
    if let Some(date) = filter.settle_date {
        and("settle_date = ?", Owned::from(i64::from(date)));
    }
    if let Some(original) = filter.original {
        and("original = ?", Owned::from(original.0));
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
        any_number(text, &mut query);
    }
    if let Some(cursor) = &page.after {
        let (created, id) = cursor.as_str().split_once('.').ok_or(StoreError::BadCursor)?;
        let number = |text: &str| text.parse::<i64>().map_err(|_| StoreError::BadCursor);
        query.push(" AND (created, id) < (?, ?)", [number(created)?, number(id)?]);
    }
    let rows = page.rows();
    // An expression keeps the planner from the index of time.
    let order = if few {
        " ORDER BY +created DESC, id DESC LIMIT ?"
    } else {
        " ORDER BY created DESC, id DESC LIMIT ?"
    };
    query.push(order, [limit(rows)]);
    let mut items = query.all(db, |c| c.payment())?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|p| Cursor(format!("{}.{}", millis(p.created), p.id)));
    Ok(PageOf { items, next })
}

/// The text is one of a payment's numbers; which one, people need not say.
fn any_number(text: &str, query: &mut Query) {
    let of_text = || std::iter::repeat_n(text.to_owned(), 3);
    query.push(" AND (rrn = ? OR auth_code = ? OR pan_masked = ?", of_text());
    let number = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    if let Some(number) = number.and_then(|t| t.parse::<i64>().ok()) {
        query.push(" OR id = ? OR trace = ? OR network_trace = ?", std::iter::repeat_n(number, 3));
    }
    query.sql.push(')');
}

pub(crate) fn counts(db: &dyn Db, since: Timestamp) -> Op<Counts> {
    let state = |c: &mut Columns<'_>| {
        let state = c.text("state", PaymentState::from_code)?;
        Ok((state, c.take::<i64>("count")?.unsigned_abs()))
    };
    let by_state = "SELECT state, COUNT(*) FROM payment WHERE created >= ?1 GROUP BY state ORDER BY state";
    let payments = all(db, by_state, params![millis(since)], state)?;
    let open = format!(
        "SELECT state, COUNT(*) FROM {} WHERE state IN ('pending', 'unresolved', 'reversing') \
         GROUP BY state ORDER BY state",
        db.under_way()
    );
    let open = all(db, &open, &[], state)?;
    let count = |sql: &str| -> Op<u64> { Ok(number_of(db, sql, &[])?.unsigned_abs()) };
    let forward = |status: &str| {
        count(&format!("SELECT COUNT(*) FROM forward WHERE done_at IS NULL AND status = '{status}'"))
    };
    Ok(Counts {
        payments,
        open,
        waiting: forward("waiting")?,
        parked: forward("parked")?,
        differences: count("SELECT COUNT(*) FROM batch_difference")?,
        unmatched: count("SELECT COUNT(*) FROM unmatched_message")?,
    })
}
