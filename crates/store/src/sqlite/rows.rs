//! Records to rows and back. The order of the columns is told once, by [`payment_columns!`].

use acquiring::card::{EntryMode, Expiry, MaskedPan};
use acquiring::kind::Kind;
use acquiring::payment::{
    Answer, CardRecord, EntryKind, JournalEntry, NetworkKey, PaymentRecord, PaymentState,
};
use acquiring::settlement::{BlockTotals, SideTotal};
use acquiring::{Amount, AuthCode, BatchNo, MerchantId, PaymentId, ResponseCode, Rrn, TerminalId, Trace};
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Row};

use super::{Fault, Op};
use crate::error::StoreError;

macro_rules! payment_columns {
    () => {
        "merchant, id, terminal, batch, trace, kind, state, amount, currency, pan_masked, card_digest, \
         pan_sealed, expiry, entry_mode, card_sequence, condition_code, terminal_traits, request_digest, \
         line, network_trace, transmission, rrn, original, claimed_by, refunded, answer_code, auth_code, \
         settle_date, issuer, balance, answer_chip, answered_at, reversal_reason, created"
    };
}
pub(super) use payment_columns;

/// A moment as the store keeps it: unix milliseconds.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// Fen as a signed column; an [`Amount`] has twelve digits and always fits.
pub(super) fn fen(amount: Amount) -> i64 {
    amount.fen().cast_signed()
}

/// Takes the columns of a row in order and checks each.
pub(super) struct Columns<'a> {
    row: &'a Row<'a>,
    next: usize,
}

fn damaged(column: &'static str) -> Fault {
    Fault::Rule(StoreError::Damaged { column })
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row<'a>) -> Self {
        Columns { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self, column: &'static str) -> Op<T> {
        let at = self.next;
        self.next += 1;
        self.row.get(at).map_err(|_| damaged(column))
    }

    /// A text that `parse` accepts.
    pub(super) fn text<T>(&mut self, column: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Op<T> {
        let at = self.next;
        self.next += 1;
        let value = self.row.get_ref(at).map_err(|_| damaged(column))?;
        value.as_str().ok().and_then(parse).ok_or_else(|| damaged(column))
    }

    pub(super) fn maybe_text<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Op<Option<T>> {
        let at = self.next;
        self.next += 1;
        let value = self.row.get_ref(at).map_err(|_| damaged(column))?;
        match value.as_str_or_null() {
            Ok(None) => Ok(None),
            Ok(Some(text)) => parse(text).map(Some).ok_or_else(|| damaged(column)),
            Err(_) => Err(damaged(column)),
        }
    }

    pub(super) fn time(&mut self, column: &'static str) -> Op<Timestamp> {
        let ms: i64 = self.take(column)?;
        Timestamp::from_millisecond(ms).map_err(|_| damaged(column))
    }

    pub(super) fn maybe_time(&mut self, column: &'static str) -> Op<Option<Timestamp>> {
        let ms: Option<i64> = self.take(column)?;
        ms.map(|ms| Timestamp::from_millisecond(ms).map_err(|_| damaged(column))).transpose()
    }

    pub(super) fn amount(&mut self, column: &'static str) -> Op<Amount> {
        self.maybe_amount(column)?.ok_or_else(|| damaged(column))
    }

    pub(super) fn maybe_amount(&mut self, column: &'static str) -> Op<Option<Amount>> {
        let fen: Option<i64> = self.take(column)?;
        fen.map(|fen| u64::try_from(fen).ok().and_then(Amount::from_fen).ok_or_else(|| damaged(column)))
            .transpose()
    }

    pub(super) fn flag(&mut self, column: &'static str) -> Op<bool> {
        Ok(self.take::<i64>(column)? != 0)
    }

    pub(super) fn merchant(&mut self) -> Op<MerchantId> {
        self.text("merchant", |t| MerchantId::new(t).ok())
    }

    pub(super) fn terminal(&mut self) -> Op<TerminalId> {
        self.text("terminal", |t| TerminalId::new(t).ok())
    }

    pub(super) fn batch(&mut self) -> Op<BatchNo> {
        let number: i64 = self.take("batch")?;
        u64::try_from(number).ok().and_then(|n| BatchNo::new(n).ok()).ok_or_else(|| damaged("batch"))
    }

    pub(super) fn trace(&mut self) -> Op<Trace> {
        let number: i64 = self.take("trace")?;
        u64::try_from(number).ok().and_then(|n| Trace::new(n).ok()).ok_or_else(|| damaged("trace"))
    }

    pub(super) fn side(&mut self, amount: &'static str) -> Op<SideTotal> {
        Ok(SideTotal { amount: self.amount(amount)?, count: self.take("count")? })
    }

    pub(super) fn block(&mut self) -> Op<BlockTotals> {
        Ok(BlockTotals { debit: self.side("debit_amount")?, credit: self.side("credit_amount")? })
    }

    /// A payment, from [`payment_columns!`].
    pub(super) fn payment(&mut self) -> Op<PaymentRecord> {
        let merchant = self.merchant()?;
        let id = PaymentId(self.take("id")?);
        let terminal = self.terminal()?;
        let batch = self.batch()?;
        let trace = self.trace()?;
        let kind = self.text("kind", Kind::from_code)?;
        let state = self.text("state", PaymentState::from_code)?;
        let amount = self.amount("amount")?;
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
                Some(Answer { code, auth_code, settle_date, issuer, balance, chip, at })
            }
            (None, None) => None,
            _ => return Err(damaged("answered_at")),
        };
        let reversal_reason = self.maybe_text("reversal_reason", ResponseCode::new)?;
        let created = self.time("created")?;
        Ok(PaymentRecord {
            id,
            merchant,
            terminal,
            batch,
            trace,
            kind,
            state,
            amount,
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
            created,
        })
    }

    /// A line of history: at, kind, message, note.
    pub(super) fn entry(&mut self) -> Op<JournalEntry> {
        Ok(JournalEntry {
            at: self.time("at")?,
            kind: self.text("kind", EntryKind::from_code)?,
            bytes: self.take("message")?,
            note: self.take("note")?,
        })
    }
}

/// The three traits as one number.
pub(super) fn traits_number([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// The first row of a query.
pub(super) fn one<T>(
    statement: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
    read: impl FnOnce(&mut Columns<'_>) -> Op<T>,
) -> Op<Option<T>> {
    let mut rows = statement.query(params)?;
    match rows.next()? {
        Some(row) => read(&mut Columns::of(row)).map(Some),
        None => Ok(None),
    }
}

/// Every row of a query.
pub(super) fn all<T>(
    statement: &mut CachedStatement<'_>,
    params: impl rusqlite::Params,
    mut read: impl FnMut(&mut Columns<'_>) -> Op<T>,
) -> Op<Vec<T>> {
    let mut rows = statement.query(params)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(&mut Columns::of(row))?);
    }
    Ok(out)
}
