//! What the operations need of an engine: statements of the common subset, and locks where several nodes write.

use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::{BatchNo, MerchantId, PaymentId, TerminalId, Trace};

use crate::error::StoreError;
use crate::payments;

/// Why an operation came to nothing.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A rule of ours; the engine is sound.
    Rule(StoreError),
    /// A rule of the schema; the engine is sound, the operation is undone.
    Constraint(String),
    /// Another node was in the way (a deadlock, a serialization failure): nothing was written, and the same
    /// again may go well.
    Again(String),
    /// The engine failed.
    Engine(String),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Rule(error)
    }
}

/// Result of an operation inside its transaction.
pub(crate) type Op<T> = Result<T, Fault>;

/// A value for a statement's parameter.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

macro_rules! integers {
    ($($t:ty)*) => { $(
        impl From<$t> for Value<'_> {
            fn from(number: $t) -> Self {
                Value::Int(i64::from(number))
            }
        }
    )* };
}
integers!(i64 u32 u16 u8);

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Blob(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Value::Blob(bytes)
    }
}

impl<'a> From<&'a [u8; 32]> for Value<'a> {
    fn from(bytes: &'a [u8; 32]) -> Self {
        Value::Blob(bytes)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// The parameters of a statement.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Value::from($value)),*] };
}
pub(crate) use params;

/// A column of a row whose type is not what the reader wants.
pub(crate) struct WrongType;

/// One row of an answer, by the place of its columns.
pub(crate) trait Cells {
    fn int(&self, at: usize) -> Result<Option<i64>, WrongType>;
    fn text(&self, at: usize) -> Result<Option<&str>, WrongType>;
    fn blob(&self, at: usize) -> Result<Option<&[u8]>, WrongType>;
}

/// What a terminal calls a payment by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) merchant: MerchantId,
    pub(crate) terminal: TerminalId,
    pub(crate) batch: BatchNo,
    pub(crate) trace: Trace,
}

impl Key {
    pub(crate) fn of(record: &PaymentRecord) -> Key {
        Key { merchant: record.merchant, terminal: record.terminal, batch: record.batch, trace: record.trace }
    }
}

/// What an operation takes for itself until its transaction ends. Every operation takes its locks in this
/// order, and payments by merchant and number, so that nodes wait for each other but never in a circle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock<'a> {
    /// What a terminal does: its new payments and reversals by their trace numbers, its session, its batches.
    Terminal(MerchantId, TerminalId),
    /// One payment, its history and its queue items.
    Payment(MerchantId, PaymentId),
    /// A sequence without gaps.
    Sequence(&'a str),
}

/// An engine inside a transaction (or, for reads, at one moment).
///
/// Statements name their parameters `?1`, `?2` and keep to what the engines share.
pub(crate) trait Db {
    /// Shows each row to `read`, which says whether it wants more.
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()>;

    /// Runs a statement; how many rows it changed.
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64>;

    /// Waits until nobody else holds it. An engine with one writer has nothing to do, and says that nobody can
    /// have changed what was read before (`false`).
    fn lock(&self, _what: Lock<'_>) -> Op<bool> {
        Ok(false)
    }

    // The rows of the payment path. An engine may keep them in memory during a transaction.

    fn payment_by_trace(&self, key: Key) -> Op<Option<PaymentRecord>> {
        payments::by_trace(self.plain(), key)
    }

    fn payment_by_id(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
        payments::by_id(self.plain(), merchant, id)
    }

    fn has_marker(&self, key: Key) -> Op<bool> {
        payments::has_marker(self.plain(), key)
    }

    fn insert_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::insert_row(self.plain(), record)
    }

    fn update_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::update_row(self.plain(), payments::payment_update!(""), record)
    }

    /// Appends to a payment's history. `new` when this transaction made the payment, so that it has none yet.
    fn append_entries(&self, of: &PaymentRecord, new: bool, entries: &[JournalEntry]) -> Op<()> {
        payments::append_rows(self.plain(), of, new, entries)
    }

    /// As [`Db::append_entries`], for a payment of which only the number is known; `false` when it is not there.
    fn append_by_id(&self, merchant: MerchantId, id: PaymentId, entries: &[JournalEntry]) -> Op<bool> {
        let Some(of) = self.payment_by_id(merchant, id)? else { return Ok(false) };
        self.append_entries(&of, false, entries)?;
        Ok(true)
    }

    /// What holds the payments under way, for a statement that asks for those only.
    fn under_way(&self) -> &'static str {
        "payment"
    }

    /// A payment's history, the oldest first.
    fn history(&self, merchant: MerchantId, id: PaymentId) -> Op<Vec<JournalEntry>> {
        payments::history_rows(self.plain(), merchant, id)
    }

    /// The first message of a payment's history that left for the network.
    fn first_sent(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<JournalEntry>> {
        payments::first_sent_row(self.plain(), merchant, id)
    }

    /// The engine, for the statements behind the methods above.
    fn plain(&self) -> &dyn Db;
}
