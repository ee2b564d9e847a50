//! Layouts of field 48 in settlement and batch-up.

use super::Reader;
use super::terminal::read;
use crate::error::{ErrorKind, ParseError};
use crate::message::{Digits, Field, Message};

/// Totals of one side of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TotalsBlock {
    /// Debit amount in fen: sales, completions, offline sales.
    pub debit_fen: u64,
    /// Number of debits, at most 999.
    pub debit_count: u16,
    /// Credit amount in fen: refunds, voids.
    pub credit_fen: u64,
    /// Number of credits, at most 999.
    pub credit_count: u16,
    /// 0 in the request; in the answer 1 balanced, 2 not balanced, 3 error.
    pub result: u8,
}

/// Field 48 of 0500 and 0510: 62 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Totals48 {
    /// Domestic cards.
    pub domestic: TotalsBlock,
    /// Cards of international organisations.
    pub foreign: TotalsBlock,
}

impl Totals48 {
    /// Digits of the field.
    pub const LEN: usize = 62;

    /// Reads the 62 digits.
    ///
    /// # Errors
    /// Another number of digits.
    pub fn parse(digits: &str) -> Result<Self, ParseError> {
        if digits.len() != Self::LEN {
            return Err(ParseError::new(48, 0, ErrorKind::BadSubfield));
        }
        let mut reader = Reader::new(48, digits.as_bytes(), 2);
        let mut block = || {
            Ok(TotalsBlock {
                debit_fen: reader.number(12)?,
                debit_count: reader.number(3)? as u16,
                credit_fen: reader.number(12)?,
                credit_count: reader.number(3)? as u16,
                result: reader.number(1)? as u8,
            })
        };
        Ok(Self { domestic: block()?, foreign: block()? })
    }

    /// Field 48 of a settlement message, if present.
    ///
    /// # Errors
    /// As [`Totals48::parse`], placed in the message.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        read(message, 48, Self::parse)
    }

    /// The 62 digits to put. Values wider than their place lose their upper digits.
    #[must_use]
    pub fn to_digits(&self) -> Digits {
        let mut digits = Digits::empty();
        for block in [self.domestic, self.foreign] {
            digits.push(block.debit_fen, 12);
            digits.push(u64::from(block.debit_count), 3);
            digits.push(block.credit_fen, 12);
            digits.push(u64::from(block.credit_count), 3);
            digits.push(u64::from(block.result), 1);
        }
        digits
    }
}

/// Most details in one 0320 with management code 201.
pub const BATCH_LINES_MAX: usize = 8;

/// Digits of one detail.
const LINE_LEN: usize = 40;

/// Digits of a card number in a detail, zeros on the left.
pub(crate) const LINE_PAN_LEN: usize = 20;

/// Where the card number begins in a detail.
pub(crate) const LINE_PAN_AT: usize = 8;

/// One detail of a batch upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLine {
    /// Card of an international organisation (class 01) instead of a domestic one (00).
    pub foreign: bool,
    /// Trace number of the transaction.
    pub trace: u32,
    /// Card number, zeros on the left removed.
    pub pan: Digits,
    /// Amount in fen.
    pub fen: u64,
}

/// Field 48 of 0320 with management code 201: a count and so many details.
#[derive(Debug, Clone, Copy)]
pub struct BatchDetail48<'a> {
    field: Field<'a>,
    count: usize,
}

impl<'a> BatchDetail48<'a> {
    /// Field 48 of a batch upload, if present.
    ///
    /// # Errors
    /// Count and length do not go together, or there are more than eight details.
    pub fn of(message: &Message<'a>) -> Result<Option<Self>, ParseError> {
        let Some(field) = message.field(48) else { return Ok(None) };
        let digit = |place| field.digit(place).and_then(crate::swar::decimal).map(usize::from);
        match (digit(0), digit(1)) {
            (Some(tens), Some(units)) => {
                let count = tens * 10 + units;
                if (1..=BATCH_LINES_MAX).contains(&count) && field.len() == 2 + count * LINE_LEN {
                    return Ok(Some(Self { field, count }));
                }
                Err(message.place(48, ParseError::new(48, 0, ErrorKind::BadSubfield)))
            }
            _ => Err(message.place(48, ParseError::new(48, 0, ErrorKind::BadSubfield))),
        }
    }

    /// Number of details.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Places, in digits from the start of the field, at which the details begin.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.count).map(|line| 2 + line * LINE_LEN)
    }

    /// The details in order; a class other than 00 and 01 is an error.
    pub fn lines(&self) -> impl Iterator<Item = Result<BatchLine, ParseError>> + '_ {
        self.starts().map(|start| {
            let bad = ParseError::new(48, start / 2, ErrorKind::BadSubfield);
            let number = |from: usize, width: usize| {
                (from..from + width).try_fold(0u64, |value, place| {
                    let digit = self.field.digit(start + place).and_then(crate::swar::decimal)?;
                    Some(value * 10 + u64::from(digit))
                })
            };
            let class = number(0, 2).filter(|class| *class < 2).ok_or(bad)?;
            let mut pan = Digits::empty();
            pan.push_digits(
                (LINE_PAN_AT..LINE_PAN_AT + LINE_PAN_LEN)
                    .filter_map(|place| self.field.digit(start + place))
                    .skip_while(|digit| *digit == b'0'),
            );
            let trace = number(2, 6).ok_or(bad)? as u32;
            let fen = number(LINE_PAN_AT + LINE_PAN_LEN, 12).ok_or(bad)?;
            Ok(BatchLine { foreign: class == 1, trace, pan, fen })
        })
    }

    /// The digits to put; nothing without details, with more than eight, or with a value too wide.
    #[must_use]
    pub fn to_digits(lines: &[BatchLine]) -> Option<String> {
        if lines.is_empty() || lines.len() > BATCH_LINES_MAX {
            return None;
        }
        let mut digits = format!("{:02}", lines.len());
        for line in lines {
            let text = format!(
                "{:02}{:06}{:0>20}{:012}",
                u8::from(line.foreign),
                line.trace,
                line.pan.as_str(),
                line.fen
            );
            if text.len() != LINE_LEN {
                return None;
            }
            digits.push_str(&text);
        }
        Some(digits)
    }
}

/// Field 48 of the message that ends a batch upload: number of details that were sent, four digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchEnd48 {
    /// Number of details, at most 9999.
    pub count: u16,
}

impl BatchEnd48 {
    /// Field 48 of an end message, if present.
    ///
    /// # Errors
    /// Other than four digits.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        read(message, 48, |digits| {
            let mut reader = Reader::new(48, digits.as_bytes(), 2);
            let count = reader.number(4)? as u16;
            if reader.rest.is_empty() { Ok(Self { count }) } else { Err(reader.error()) }
        })
    }

    /// The four digits to put.
    #[must_use]
    pub fn to_digits(self) -> Digits {
        let mut digits = Digits::empty();
        digits.push(u64::from(self.count), 4);
        digits
    }
}
