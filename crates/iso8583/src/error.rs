//! What can be wrong with a message, said without repeating its content.
//!
//! An error names the field, the offset and the kind. It never holds the offending value, so it may be logged
//! and shown as it is: a field may be a card number, a track or a key.

use thiserror::Error;

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There are no bytes at all.
    #[error("empty message")]
    Empty,
    /// The message type is not four decimal digits.
    #[error("message type is not decimal")]
    BadMti,
    /// Bit 1 contradicts the bitmap size of the dialect.
    #[error("first bit does not fit this dialect's bitmap")]
    BadBitmap,
    /// The bitmap announces a field that the dialect does not have.
    #[error("field is not part of this dialect")]
    NotInDialect,
    /// The message ends inside this item.
    #[error("ends early")]
    Truncated,
    /// Bytes remain after the last announced field.
    #[error("bytes after the last field")]
    TrailingBytes,
    /// The length prefix is not decimal.
    #[error("length prefix is not decimal")]
    BadLengthPrefix,
    /// The length prefix is above the table's maximum.
    #[error("longer than {max}")]
    TooLong {
        /// The table's maximum, in digits for numeric fields and bytes for the others.
        max: u16,
    },
    /// A numeric field has something else than decimal digits.
    #[error("not decimal")]
    NotDecimal,
    /// The unused nibble before a right-justified number is not zero.
    #[error("filler before the number is not zero")]
    BadPad,
    /// A text field has a byte outside its alphabet.
    #[error("byte outside the field's alphabet")]
    NotText,
    /// A TLV item inside the field is broken: its tag, length or value runs over the end.
    #[error("broken TLV")]
    BadTlv,
    /// A sub-field has a size or content that the layout does not have.
    #[error("sub-field layout not recognised")]
    BadSubfield,
}

/// A message was refused: where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("{} at byte {offset}: {kind}", FieldName(*field))]
pub struct ParseError {
    /// Number of the field; 0 for the message type, the bitmap and the message as a whole.
    pub field: u8,
    /// Offset in bytes from the message type's first byte. In sub-field and TLV errors that were not yet placed
    /// in a message, from the start of the field's body.
    pub offset: usize,
    /// What was wrong.
    pub kind: ErrorKind,
}

impl ParseError {
    /// An error of `kind` in `field` at `offset`.
    #[must_use]
    pub const fn new(field: u8, offset: usize, kind: ErrorKind) -> Self {
        Self { field, offset, kind }
    }
}

/// Why a field could not be put into a draft, or a draft not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// `start` was not called.
    #[error("no message was started")]
    NotStarted,
    /// The dialect does not have the field.
    #[error("field is not part of this dialect")]
    NotInDialect,
    /// The field's format does not take this kind of value.
    #[error("field does not take this kind of value")]
    WrongFormat,
    /// More digits or bytes than the field holds.
    #[error("longer than {max}")]
    TooLong {
        /// The table's maximum, in digits for numeric fields and bytes for the others.
        max: u16,
    },
    /// A field of fixed length needs exactly so many digits or bytes.
    #[error("must have exactly {expected}")]
    WrongLength {
        /// Digits or bytes of the fixed field.
        expected: u16,
    },
    /// A variable field must carry something: leave it out instead.
    #[error("empty value")]
    Empty,
    /// A character is outside the field's alphabet.
    #[error("character outside the field's alphabet")]
    BadCharacter,
    /// The field was copied from a message whose dialect packs it differently.
    #[error("field comes from a dialect that packs it differently")]
    OtherDialect,
    /// The message is larger than a frame can carry.
    #[error("message larger than a frame")]
    MessageTooLong,
    /// The message type is above 9999.
    #[error("message type is not four digits")]
    BadMti,
}

/// A field could not be put, or a message not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("{}: {kind}", FieldName(*field))]
pub struct BuildError {
    /// Number of the field; 0 for the message as a whole.
    pub field: u8,
    /// What was wrong.
    pub kind: BuildErrorKind,
}

impl BuildError {
    /// An error of `kind` in `field`.
    #[must_use]
    pub const fn new(field: u8, kind: BuildErrorKind) -> Self {
        Self { field, kind }
    }
}

struct FieldName(u8);

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { f.write_str("message") } else { write!(f, "field {}", self.0) }
    }
}
