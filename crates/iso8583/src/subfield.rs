//! Private fields, read and written by their layouts.
//!
//! A layout reads what is there: sub-fields that a shorter field does not reach are `None`, never an error,
//! because terminals differ in how far they go. What a layout cannot mean is an error of kind
//! [`BadSubfield`](crate::ErrorKind::BadSubfield) whose offset counts from the start of the field's body;
//! [`Message::place`](crate::Message::place) turns it into one of the message.

mod download;
mod keys;
mod network;
mod settlement;
mod terminal;

pub use download::{
    Page62, Paging, PublicKey62, card_numbers, received_62, write_card_number, write_received_62,
};
pub use keys::{KeyScheme, Keys62, Sm4Pin63, WrappedKey};
pub use network::{COMPOSITE_60, Composite60, Fee28, Field48Nk, OriginalData90};
pub use settlement::{BATCH_LINES_MAX, BatchDetail48, BatchEnd48, BatchLine, Totals48, TotalsBlock};
pub(crate) use settlement::{LINE_PAN_AT, LINE_PAN_LEN};
pub use terminal::{Amount54, Original61, PosField60, Status62, StatusItem, Text63, amounts_54};

use crate::error::{ErrorKind, ParseError};

/// Reads decimal digits from the left.
struct Reader<'a> {
    field: u8,
    all: &'a [u8],
    rest: &'a [u8],
    /// Digits in one byte of the field, for error offsets: 2 when packed.
    per_byte: usize,
}

impl<'a> Reader<'a> {
    const fn new(field: u8, digits: &'a [u8], per_byte: usize) -> Self {
        Self { field, all: digits, rest: digits, per_byte }
    }

    fn error(&self) -> ParseError {
        let read = self.all.len() - self.rest.len();
        ParseError::new(self.field, read / self.per_byte, ErrorKind::BadSubfield)
    }

    /// The next `width` digits as a number.
    fn number(&mut self, width: usize) -> Result<u64, ParseError> {
        let (digits, rest) = self.rest.split_at_checked(width).ok_or(self.error())?;
        let value = digits
            .iter()
            .try_fold(0u64, |value, digit| {
                let digit = crate::swar::decimal(*digit)?;
                value.checked_mul(10)?.checked_add(u64::from(digit))
            })
            .ok_or(self.error())?;
        self.rest = rest;
        Ok(value)
    }

    /// The same, or nothing at the end of the field.
    fn optional(&mut self, width: usize) -> Result<Option<u64>, ParseError> {
        if self.rest.is_empty() { Ok(None) } else { self.number(width).map(Some) }
    }
}
