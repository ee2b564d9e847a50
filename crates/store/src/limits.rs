//! Limits and their counters. A payment reserves its part of a day in the transaction that journals it, and gives it
//! back in the one that says that it came to nothing.

use acquiring::kind::Kind;
use acquiring::limit::{CardClass, Limit, LimitHold, LimitScope, Limits};
use acquiring::payment::PaymentRecord;
use acquiring::{MerchantId, ResponseCode, TerminalId};

use crate::db::{Db, Op, params};
use crate::error::StoreError;
use crate::master;
use crate::rows::{Columns, all, fen, number_of};
use crate::store::Store;
use crate::writer::Admission;

impl Store {
    /// Takes away at most `max` counters and `max` holds of days before `day` (YYYYMMDD); how many went. A day that is
    /// over limits nothing.
    pub async fn forget_limit_days(&self, day: u32, max: u32) -> Result<u64, StoreError> {
        self.db.write(Admission::Wait, Vec::new(), move |db| forget(db, day, max)).await
    }
}

/// An empty text is none.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

fn limit(c: &mut Columns<'_>) -> Op<Limit> {
    let scope = LimitScope {
        merchant: c.text("merchant", |t| optional(t, |t| MerchantId::new(t).ok()))?,
        terminal: c.text("terminal", |t| optional(t, |t| TerminalId::new(t).ok()))?,
        kind: c.text("kind", |t| optional(t, Kind::from_code))?,
        card: c.text("card", |t| optional(t, CardClass::from_code))?,
    };
    Ok(Limit {
        scope,
        single: c.maybe_amount("single")?,
        day_amount: c.maybe_amount("day_amount")?,
        day_count: c.take("day_count")?,
    })
}

/// The limits in force and the table of card numbers.
pub(crate) fn load(db: &dyn Db) -> Op<Limits> {
    let select = "SELECT merchant, terminal, kind, card, single, day_amount, day_count FROM payment_limit \
         ORDER BY merchant, terminal, kind, card";
    let rules = all(db, select, &[], limit)?;
    let mut bins: Vec<(String, CardClass)> = all(db, "SELECT digits, card FROM card_bin", &[], |c| {
        Ok((c.take("digits")?, c.text("card", CardClass::from_code)?))
    })?;
    // They are looked up by halving: in the order of the bytes, whatever the order of the database's language is.
    bins.sort();
    Ok(Limits { rules, bins })
}

struct Texts {
    merchant: String,
    terminal: String,
    kind: &'static str,
    card: &'static str,
}

fn texts(scope: &LimitScope) -> Texts {
    Texts {
        merchant: scope.merchant.map(|id| id.to_string()).unwrap_or_default(),
        terminal: scope.terminal.map(|id| id.to_string()).unwrap_or_default(),
        kind: scope.kind.map_or("", Kind::code),
        card: scope.card.map_or("", CardClass::code),
    }
}

/// Writes a limit in the place of the one with its scope.
pub(crate) fn put(db: &dyn Db, new: &Limit) -> Op<()> {
    let upsert = "INSERT INTO payment_limit (merchant, terminal, kind, card, single, day_amount, day_count) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (merchant, terminal, kind, card) DO UPDATE SET single = excluded.single, \
         day_amount = excluded.day_amount, day_count = excluded.day_count";
    let t = texts(&new.scope);
    let count = new.day_count.map(i64::from);
    let (single, day) = (new.single.map(fen), new.day_amount.map(fen));
    db.execute(upsert, params![&t.merchant, &t.terminal, t.kind, t.card, single, day, count])?;
    master::moved(db)
}

/// Takes a limit away; whether there was one.
pub(crate) fn remove(db: &dyn Db, scope: &LimitScope) -> Op<bool> {
    let delete =
        "DELETE FROM payment_limit WHERE merchant = ?1 AND terminal = ?2 AND kind = ?3 AND card = ?4";
    let t = texts(scope);
    let gone = db.execute(delete, params![&t.merchant, &t.terminal, t.kind, t.card])? > 0;
    if gone {
        master::moved(db)?;
    }
    Ok(gone)
}

/// Says what card numbers with these first digits are, or takes that back.
pub(crate) fn put_bin(db: &dyn Db, digits: &str, class: Option<CardClass>) -> Op<()> {
    match class {
        Some(class) => {
            let upsert = "INSERT INTO card_bin (digits, card) VALUES (?1, ?2) \
                 ON CONFLICT (digits) DO UPDATE SET card = excluded.card";
            db.execute(upsert, params![digits, class.code()])?;
        }
        None => {
            db.execute("DELETE FROM card_bin WHERE digits = ?1", params![digits])?;
        }
    }
    master::moved(db)
}

/// Takes a payment's part of every counter, or of none: then the code says which figure it would exceed.
pub(crate) fn reserve(
    db: &dyn Db,
    payment: &PaymentRecord,
    holds: &[LimitHold],
) -> Op<Result<(), ResponseCode>> {
    let merchant = payment.merchant.as_str();
    for (at, hold) in holds.iter().enumerate() {
        let amount_max = hold.amount_max.map_or(i64::MAX, fen);
        let count_max = hold.count_max.map_or(i64::MAX, i64::from);
        let upsert = "INSERT INTO limit_counter (merchant, scope, day, amount, payments) \
             VALUES (?1, ?2, ?3, ?4, 1) \
             ON CONFLICT (merchant, scope, day) DO UPDATE SET \
             amount = limit_counter.amount + excluded.amount, payments = limit_counter.payments + 1 \
             WHERE limit_counter.amount + excluded.amount <= ?5 AND limit_counter.payments < ?6";
        let amount = fen(payment.amount);
        // The first of a day meets no row that could refuse it.
        let fits = amount <= amount_max && count_max > 0;
        let taken = fits
            && db.execute(upsert, params![merchant, &hold.scope, hold.day, amount, amount_max, count_max])?
                > 0;
        if !taken {
            for earlier in holds.iter().take(at) {
                take_back(db, merchant, &earlier.scope, hold.day, amount)?;
            }
            let select = "SELECT payments FROM limit_counter WHERE merchant = ?1 AND scope = ?2 AND day = ?3";
            let payments = number_of(db, select, params![merchant, &hold.scope, hold.day])?;
            let full = payments >= count_max;
            return Ok(Err(if full { ResponseCode::OVER_COUNT } else { ResponseCode::OVER_LIMIT }));
        }
    }
    let insert = "INSERT INTO limit_hold (merchant, payment, scope, day, amount) VALUES (?1, ?2, ?3, ?4, ?5)";
    for hold in holds {
        let amount = fen(payment.amount);
        db.execute(insert, params![merchant, payment.id.0, &hold.scope, hold.day, amount])?;
    }
    Ok(Ok(()))
}

fn take_back(db: &dyn Db, merchant: &str, scope: &str, day: u32, amount: i64) -> Op<()> {
    let update = "UPDATE limit_counter SET amount = amount - ?4, payments = payments - 1 \
         WHERE merchant = ?1 AND scope = ?2 AND day = ?3";
    db.execute(update, params![merchant, scope, day, amount])?;
    Ok(())
}

/// Gives back what a payment had taken; once, however often it is asked.
pub(crate) fn give_back(db: &dyn Db, payment: &PaymentRecord) -> Op<()> {
    let merchant = payment.merchant.as_str();
    let select =
        "SELECT scope, day, amount FROM limit_hold WHERE merchant = ?1 AND payment = ?2 ORDER BY scope";
    let held: Vec<(String, u32, i64)> = all(db, select, params![merchant, payment.id.0], |c| {
        Ok((c.take("scope")?, c.take("day")?, c.take("amount")?))
    })?;
    for (scope, day, amount) in &held {
        take_back(db, merchant, scope, *day, *amount)?;
    }
    db.execute(
        "DELETE FROM limit_hold WHERE merchant = ?1 AND payment = ?2",
        params![merchant, payment.id.0],
    )?;
    Ok(())
}

/// Takes away counters and holds of days before this one, a part of them at a time: the payment path waits behind it.
pub(crate) fn forget(db: &dyn Db, day: u32, max: u32) -> Op<u64> {
    let holds = "DELETE FROM limit_hold WHERE (merchant, payment, scope) IN \
         (SELECT merchant, payment, scope FROM limit_hold WHERE day < ?1 LIMIT ?2)";
    let counters = "DELETE FROM limit_counter WHERE (merchant, scope, day) IN \
         (SELECT merchant, scope, day FROM limit_counter WHERE day < ?1 LIMIT ?2)";
    let max = i64::from(max);
    Ok(db.execute(holds, params![day, max])? + db.execute(counters, params![day, max])?)
}

/// What a day came to under a limit: sum and count.
pub(crate) fn used(db: &dyn Db, merchant: MerchantId, scope: &str, day: u32) -> Op<(i64, i64)> {
    let select = "SELECT amount, payments FROM limit_counter WHERE merchant = ?1 AND scope = ?2 AND day = ?3";
    let read = |c: &mut Columns<'_>| -> Op<(i64, i64)> { Ok((c.take("amount")?, c.take("payments")?)) };
    let found = crate::rows::one(db, select, params![merchant.as_str(), scope, day], read)?;
    Ok(found.unwrap_or((0, 0)))
}

/// A limit without a figure limits nothing.
pub(crate) fn check(new: &Limit) -> Result<(), StoreError> {
    match (new.single, new.day_amount, new.day_count) {
        (None, None, None) => Err(StoreError::Misuse { rule: "a limit has at least one figure" }),
        _ => Ok(()),
    }
}
