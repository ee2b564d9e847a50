//! Finding payments for people, and counting them.

use acquiring::payment::{PaymentRecord, PaymentState};
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::Op;
use super::rows::{Columns, all, fen, millis, payment_columns};
use crate::error::StoreError;
use crate::types::{Counts, Cursor, Page, PageOf, PaymentFilter};

pub(crate) fn find(db: &Connection, filter: &PaymentFilter, page: &Page) -> Op<PageOf<PaymentRecord>> {
    let mut sql = concat!("SELECT ", payment_columns!(), " FROM payment WHERE 1 = 1").to_owned();
    let mut values: Vec<Value> = Vec::new();
    let mut and = |condition: &str, value: Value| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(id) = filter.id {
        and("id = ?", Value::from(id.0));
    }
    if let Some(merchant) = filter.merchant {
        and("merchant = ?", Value::from(merchant.to_string()));
    }
    if let Some(terminal) = filter.terminal {
        and("terminal = ?", Value::from(terminal.to_string()));
    }
    if let Some(batch) = filter.batch {
        and("batch = ?", Value::from(i64::from(batch.get())));
    }
    if let Some(kind) = filter.kind {
        and("kind = ?", Value::from(kind.code().to_owned()));
    }
    if let Some(state) = filter.state {
        and("state = ?", Value::from(state.code().to_owned()));
    }
    if let Some(from) = filter.from {
        and("created >= ?", Value::from(millis(from)));
    }
    if let Some(to) = filter.to {
        and("created < ?", Value::from(millis(to)));
    }
    if let Some(least) = filter.amount_min {
        and("amount >= ?", Value::from(fen(least)));
    }
    if let Some(most) = filter.amount_max {
        and("amount <= ?", Value::from(fen(most)));
    }
    if let Some(digest) = filter.card_digest {
        and("card_digest = ?", Value::from(digest.to_vec()));
    }
    if let Some(original) = filter.original {
        and("original = ?", Value::from(original.0));
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|t| !t.is_empty()) {
        any_number(text, &mut sql, &mut values);
    }
    if let Some(cursor) = &page.after {
        let (created, id) = cursor.as_str().split_once('.').ok_or(StoreError::BadCursor)?;
        let number = |text: &str| text.parse::<i64>().map_err(|_| StoreError::BadCursor);
        sql.push_str(" AND (created, id) < (?, ?)");
        values.push(Value::from(number(created)?));
        values.push(Value::from(number(id)?));
    }
    sql.push_str(" ORDER BY created DESC, id DESC LIMIT ?");
    let rows = page.rows();
    values.push(Value::from(i64::try_from(rows + 1).unwrap_or(i64::MAX)));
    let mut items = all(&mut db.prepare_cached(&sql)?, params_from_iter(values), |c| c.payment())?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|p| Cursor(format!("{}.{}", millis(p.created), p.id)));
    Ok(PageOf { items, next })
}

/// The text is one of a payment's numbers; which one, people need not say.
fn any_number(text: &str, sql: &mut String, values: &mut Vec<Value>) {
    sql.push_str(" AND (rrn = ? OR auth_code = ? OR pan_masked = ?");
    values.extend(std::iter::repeat_n(Value::from(text.to_owned()), 3));
    let number = Some(text).filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    if let Some(number) = number.and_then(|t| t.parse::<i64>().ok()) {
        sql.push_str(" OR id = ? OR trace = ? OR network_trace = ?");
        values.extend(std::iter::repeat_n(Value::from(number), 3));
    }
    sql.push(')');
}

pub(crate) fn counts(db: &Connection, since: Timestamp) -> Op<Counts> {
    let state = |c: &mut Columns<'_>| {
        let state = c.text("state", PaymentState::from_code)?;
        Ok((state, c.take::<i64>("count")?.unsigned_abs()))
    };
    let by_state = "SELECT state, COUNT(*) FROM payment WHERE created >= ?1 GROUP BY state ORDER BY state";
    let payments = all(&mut db.prepare_cached(by_state)?, params![millis(since)], state)?;
    let open = "SELECT state, COUNT(*) FROM payment WHERE state IN ('pending', 'unresolved', 'reversing') \
                GROUP BY state ORDER BY state";
    let open = all(&mut db.prepare_cached(open)?, [], state)?;
    let count = |sql: &str| -> Op<u64> {
        let count: i64 = db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    };
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
