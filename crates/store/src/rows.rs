//! Records to rows and back. The order of the columns is told once, by [`payment_columns!`].

use acquiring::card::{EntryMode, Expiry, MaskedPan};
use acquiring::kind::Kind;
use acquiring::payment::{
    Answer, CardRecord, EntryKind, JournalEntry, NetworkKey, PaymentRecord, PaymentState,
};
use acquiring::settlement::{BlockTotals, SideTotal};
use acquiring::{Amount, AuthCode, BatchNo, MerchantId, PaymentId, ResponseCode, Rrn, TerminalId, Trace};
use jiff::Timestamp;

use crate::db::{Cells, Db, Fault, Op, Value, WrongType};
use crate::error::StoreError;

macro_rules! payment_columns {
    () => {
        "merchant, id, terminal, batch, trace, kind, state, amount, adjusted, currency, pan_masked, \
         card_digest, pan_sealed, expiry, entry_mode, card_sequence, condition_code, terminal_traits, request_digest, \
         line, network_trace, transmission, rrn, original, claimed_by, refunded, answer_code, auth_code, \
         settle_date, issuer, balance, answer_chip, answered_at, reversal_reason, limited, created, \
         answer_plan, reversed_on, foreign_card"
    };
}
pub(crate) use payment_columns;

/// A moment as the store keeps it: unix milliseconds.
pub(crate) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// Fen as a signed column; an [`Amount`] has twelve digits and always fits.
pub(crate) fn fen(amount: Amount) -> i64 {
    amount.fen().cast_signed()
}

/// A type that a column is read as.
pub(crate) trait Cell: Sized {
    fn read(row: &dyn Cells, at: usize) -> Result<Self, WrongType>;
}

impl<T: Part> Cell for Option<T> {
    fn read(row: &dyn Cells, at: usize) -> Result<Self, WrongType> {
        T::part(row, at)
    }
}

/// As [`Cell`], where a null is allowed.
pub(crate) trait Part: Sized {
    fn part(row: &dyn Cells, at: usize) -> Result<Option<Self>, WrongType>;
}

macro_rules! cells {
    ($($t:ty: $row:ident, $at:ident => $read:expr;)*) => { $(
        impl Part for $t {
            fn part($row: &dyn Cells, $at: usize) -> Result<Option<Self>, WrongType> {
                $read
            }
        }
        impl Cell for $t {
            fn read(row: &dyn Cells, at: usize) -> Result<Self, WrongType> {
                <$t>::part(row, at)?.ok_or(WrongType)
            }
        }
    )* };
}

fn number<T: TryFrom<i64>>(row: &dyn Cells, at: usize) -> Result<Option<T>, WrongType> {
    row.int(at)?.map(|n| T::try_from(n).map_err(|_| WrongType)).transpose()
}

cells! {
    i64: row, at => row.int(at);
    u32: row, at => number(row, at);
    u16: row, at => number(row, at);
    u8: row, at => number(row, at);
    String: row, at => Ok(row.text(at)?.map(str::to_owned));
    Vec<u8>: row, at => Ok(row.blob(at)?.map(<[u8]>::to_vec));
    [u8; 32]: row, at => row.blob(at)?.map(|b| b.try_into().map_err(|_| WrongType)).transpose();
}

/// Takes the columns of a row in order and checks each.
pub(crate) struct Columns<'a> {
    row: &'a dyn Cells,
    next: usize,
}

fn damaged(column: &'static str) -> Fault {
    Fault::Rule(StoreError::Damaged { column })
}

impl<'a> Columns<'a> {
    pub(crate) fn of(row: &'a dyn Cells) -> Self {
        Columns { row, next: 0 }
    }

    pub(crate) fn take<T: Cell>(&mut self, column: &'static str) -> Op<T> {
        let at = self.next;
        self.next += 1;
        T::read(self.row, at).map_err(|_| damaged(column))
    }

    /// A text that `parse` accepts.
    pub(crate) fn text<T>(&mut self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Op<T> {
        self.maybe_text(column, parse)?.ok_or_else(|| damaged(column))
    }

    pub(crate) fn maybe_text<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Op<Option<T>> {
        let at = self.next;
        self.next += 1;
        match self.row.text(at) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => parse(text).map(Some).ok_or_else(|| damaged(column)),
            Err(WrongType) => Err(damaged(column)),
        }
    }

    pub(crate) fn time(&mut self, column: &'static str) -> Op<Timestamp> {
        let ms: i64 = self.take(column)?;
        Timestamp::from_millisecond(ms).map_err(|_| damaged(column))
    }

    pub(crate) fn maybe_time(&mut self, column: &'static str) -> Op<Option<Timestamp>> {
        let ms: Option<i64> = self.take(column)?;
        ms.map(|ms| Timestamp::from_millisecond(ms).map_err(|_| damaged(column))).transpose()
    }

    pub(crate) fn amount(&mut self, column: &'static str) -> Op<Amount> {
        self.maybe_amount(column)?.ok_or_else(|| damaged(column))
    }

    pub(crate) fn maybe_amount(&mut self, column: &'static str) -> Op<Option<Amount>> {
        let fen: Option<i64> = self.take(column)?;
        fen.map(|fen| u64::try_from(fen).ok().and_then(Amount::from_fen).ok_or_else(|| damaged(column)))
            .transpose()
    }

    pub(crate) fn flag(&mut self, column: &'static str) -> Op<bool> {
        Ok(self.take::<i64>(column)? != 0)
    }

    pub(crate) fn merchant(&mut self) -> Op<MerchantId> {
        self.text("merchant", |t| MerchantId::new(t).ok())
    }

    pub(crate) fn terminal(&mut self) -> Op<TerminalId> {
        self.text("terminal", |t| TerminalId::new(t).ok())
    }

    pub(crate) fn batch(&mut self) -> Op<BatchNo> {
        let number: i64 = self.take("batch")?;
        u64::try_from(number).ok().and_then(|n| BatchNo::new(n).ok()).ok_or_else(|| damaged("batch"))
    }

    pub(crate) fn trace(&mut self) -> Op<Trace> {
        let number: i64 = self.take("trace")?;
        u64::try_from(number).ok().and_then(|n| Trace::new(n).ok()).ok_or_else(|| damaged("trace"))
    }

    pub(crate) fn side(&mut self, amount: &'static str) -> Op<SideTotal> {
        Ok(SideTotal { amount: self.amount(amount)?, count: self.take("count")? })
    }

    pub(crate) fn block(&mut self) -> Op<BlockTotals> {
        Ok(BlockTotals { debit: self.side("debit_amount")?, credit: self.side("credit_amount")? })
    }

    /// A payment, from [`payment_columns!`].
    pub(crate) fn payment(&mut self) -> Op<PaymentRecord> {
        let merchant = self.merchant()?;
        let id = PaymentId(self.take("id")?);
        let terminal = self.terminal()?;
        let batch = self.batch()?;
        let trace = self.trace()?;
        let kind = self.text("kind", Kind::from_code)?;
        let state = self.text("state", PaymentState::from_code)?;
        let amount = self.amount("amount")?;
        let adjusted = self.maybe_amount("adjusted")?;
        let currency = self.take("currency")?;
        let masked = self.maybe_text("pan_masked", MaskedPan::from_masked)?;
        let digest: Option<[u8; 32]> = self.take("card_digest")?;
        let sealed: Option<Vec<u8>> = self.take("pan_sealed")?;
        let card = match (masked, digest, sealed) {
            (Some(masked), Some(digest), Some(sealed)) => Some(CardRecord { masked, digest, sealed }),
            (None, None, None) => None,
            _ => return Err(damaged("pan_masked")),
        };
        let expiry: Option<u16> = self.take("expiry")?;
        let expiry = expiry.map(|e| Expiry::new(e).ok_or_else(|| damaged("expiry"))).transpose()?;
        let entry_mode = EntryMode::new(self.take("entry_mode")?).ok_or_else(|| damaged("entry_mode"))?;
        let card_sequence = self.take("card_sequence")?;
        let condition = self.take("condition_code")?;
        let [_, traits @ ..] = self.take::<u32>("terminal_traits")?.to_be_bytes();
        let request_digest = self.take("request_digest")?;
        let line = self.take("line")?;
        let network_trace = self.take("network_trace")?;
        let transmission = u64::try_from(self.take::<i64>("transmission")?);
        let transmission = transmission.map_err(|_| damaged("transmission"))?;
        let rrn = self.text("rrn", |t| Rrn::new(t).ok())?;
        let original = self.take::<Option<i64>>("original")?.map(PaymentId);
        let claimed_by = self.take::<Option<i64>>("claimed_by")?.map(PaymentId);
        let refunded = self.amount("refunded")?;
        let code = self.maybe_text("answer_code", ResponseCode::new)?;
        let auth_code = self.maybe_text("auth_code", |t| AuthCode::new(t).ok())?;
        let settle_date = self.take("settle_date")?;
        let issuer = self.take("issuer")?;
        let balance = self.take("balance")?;
        let chip = self.take("answer_chip")?;
        let answered_at = self.maybe_time("answered_at")?;
        let answer = match (code, answered_at) {
            (Some(code), Some(at)) => {
                Some(Answer { code, auth_code, settle_date, issuer, balance, chip, plan: None, at })
            }
            (None, None) => None,
            _ => return Err(damaged("answered_at")),
        };
        let reversal_reason = self.maybe_text("reversal_reason", ResponseCode::new)?;
        let limited = self.flag("limited")?;
        let created = self.time("created")?;
        let plan: Option<String> = self.take("answer_plan")?;
        let answer = answer.map(|answer| Answer { plan, ..answer });
        let reversed_on = self.take("reversed_on")?;
        let foreign = self.flag("foreign_card")?;
        Ok(PaymentRecord {
            id,
            merchant,
            terminal,
            batch,
            trace,
            kind,
            state,
            amount,
            adjusted,
            currency,
            card,
            expiry,
            entry_mode,
            card_sequence,
            condition,
            terminal_traits: traits,
            request_digest,
            line,
            network: NetworkKey { trace: network_trace, transmission },
            rrn,
            original,
            claimed_by,
            refunded,
            answer,
            reversal_reason,
            reversed_on,
            limited,
            foreign,
            created,
        })
    }

    /// A line of history: at, kind, message, note.
    pub(crate) fn entry(&mut self) -> Op<JournalEntry> {
        Ok(JournalEntry {
            at: self.time("at")?,
            kind: self.text("kind", EntryKind::from_code)?,
            bytes: self.take("message")?,
            note: self.take("note")?,
        })
    }
}

/// The three traits as one number.
pub(crate) fn traits_number([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// The first row of a query.
pub(crate) fn one<T>(
    db: &dyn Db,
    sql: &str,
    params: &[Value<'_>],
    read: impl Fn(&mut Columns<'_>) -> Op<T>,
) -> Op<Option<T>> {
    let mut found = None;
    db.rows(sql, params, &mut |row| {
        found = Some(read(&mut Columns::of(row))?);
        Ok(false)
    })?;
    Ok(found)
}

/// Every row of a query.
pub(crate) fn all<T>(
    db: &dyn Db,
    sql: &str,
    params: &[Value<'_>],
    read: impl Fn(&mut Columns<'_>) -> Op<T>,
) -> Op<Vec<T>> {
    let mut out = Vec::new();
    db.rows(sql, params, &mut |row| {
        out.push(read(&mut Columns::of(row))?);
        Ok(true)
    })?;
    Ok(out)
}

/// The whole number that a query gives, zero when it gives none.
pub(crate) fn number_of(db: &dyn Db, sql: &str, params: &[Value<'_>]) -> Op<i64> {
    Ok(one(db, sql, params, |c| c.take::<Option<i64>>("number"))?.flatten().unwrap_or(0))
}

/// A query with conditions that are added one by one, and its parameters.
pub(crate) struct Query {
    pub(crate) sql: String,
    values: Vec<Owned>,
}

/// A parameter that the query keeps.
pub(crate) enum Owned {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Owned {
    fn from(number: i64) -> Self {
        Owned::Int(number)
    }
}

impl From<String> for Owned {
    fn from(text: String) -> Self {
        Owned::Text(text)
    }
}

impl From<Vec<u8>> for Owned {
    fn from(bytes: Vec<u8>) -> Self {
        Owned::Blob(bytes)
    }
}

impl Query {
    pub(crate) fn new(sql: &str) -> Self {
        Query { sql: sql.to_owned(), values: Vec::new() }
    }

    /// Adds text, in which each `?` takes the next of the values. Whole numbers may be larger than the column
    /// that they are compared with, so the statement says that they are large.
    pub(crate) fn push<V: Into<Owned>>(&mut self, sql: &str, values: impl IntoIterator<Item = V>) {
        let mut values = values.into_iter();
        for (part, text) in sql.split('?').enumerate() {
            if part > 0 {
                let Some(value) = values.next().map(Into::into) else { break };
                let number = self.values.len() + 1;
                match value {
                    Owned::Int(_) => self.sql.push_str(&format!("CAST(?{number} AS BIGINT)")),
                    Owned::Text(_) | Owned::Blob(_) => self.sql.push_str(&format!("?{number}")),
                }
                self.values.push(value);
            }
            self.sql.push_str(text);
        }
    }

    pub(crate) fn all<T>(&self, db: &dyn Db, read: impl Fn(&mut Columns<'_>) -> Op<T>) -> Op<Vec<T>> {
        let values: Vec<Value<'_>> = self
            .values
            .iter()
            .map(|v| match v {
                Owned::Int(number) => Value::Int(*number),
                Owned::Text(text) => Value::Text(text),
                Owned::Blob(bytes) => Value::Blob(bytes),
            })
            .collect();
        all(db, &self.sql, &values, read)
    }
}

/// One row more than the page has, to see whether another page follows.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows + 1).unwrap_or(i64::MAX)
}
