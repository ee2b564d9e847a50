//! ISO 8583 messages as data.
//!
//! A dialect is a table ([`CUP_POS`] for terminals, [`CUPS`] for the network). [`Dialect::parse`] checks every
//! byte against the table and borrows the result; [`Draft`] builds into a reused buffer. What was parsed can be
//! rebuilt to the same bytes. [`frame`] finds messages in a stream, [`tlv`] and [`subfield`] read private
//! fields, [`mask`] and [`describe`] make what may be stored and shown.
//!
//! The crate does no input or output, has no clock, and allocates nothing while it parses or, once warm,
//! builds. Whatever the bytes, it returns an error and never panics; errors name field, offset and kind, never
//! the value.
//!
//! ```
//! use iso8583::{CUP_POS, Mti};
//! let echo = [
//!     0x08, 0x20, 0x00, 0x20, 0x00, 0x00, 0x00, 0xC0, 0x00, 0x10, 0x00, 0x00, 0x28, b'1', b'0', b'0', b'0',
//!     b'1', b'2', b'3', b'4', b'8', b'9', b'8', b'1', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0', b'0',
//!     b'0', b'1', 0x00, 0x11, 0x00, 0x00, 0x00, 0x01, 0x30, 0x10,
//! ];
//! let message = CUP_POS.parse(&echo)?;
//! assert_eq!(message.mti(), Mti::new(820));
//! assert_eq!(message.number(11), Some(28));
//! assert_eq!(message.text(41), Some("10001234"));
//! assert_eq!(&*message.digits(60).unwrap(), "00000001301");
//! # Ok::<(), iso8583::ParseError>(())
//! ```

pub mod cups;
pub mod describe;
pub mod dialect;
pub mod draft;
mod error;
pub mod frame;
pub mod mask;
pub mod message;
pub mod mti;
mod number;
pub mod subfield;
mod swar;
pub mod text;
pub mod tlv;

pub use dialect::{
    BalanceAnswer, CUP_POS, CUPS, Coding, Contradiction, Dialect, FieldSpec, Format, Justify, KeyLayout,
    Length, MacForm, MacRule, NibbleCoding, Profile, SWITCHES, Show, Sm4PinCarrier, SwitchError,
};
pub use draft::Draft;
pub use error::{BuildError, BuildErrorKind, ErrorKind, ParseError};
pub use frame::FrameError;
pub use message::{DIGITS_MAX, Digits, Field, MESSAGE_LEN_MAX, Message};
pub use mti::Mti;
pub use number::CardNumber;

/// Bytes that `text` takes in GBK, as text fields count them; nothing when GBK lacks one of its characters.
#[must_use]
pub fn gbk_len(text: &str) -> Option<usize> {
    let (bytes, _, lost) = encoding_rs::GBK.encode(text);
    (!lost).then_some(bytes.len())
}

/// `text` in GBK; nothing when GBK lacks one of its characters.
#[must_use]
pub fn to_gbk(text: &str) -> Option<Vec<u8>> {
    let (bytes, _, lost) = encoding_rs::GBK.encode(text);
    (!lost).then(|| bytes.into_owned())
}

/// Text out of GBK; nothing when it is none.
#[must_use]
pub fn from_gbk(bytes: &[u8]) -> Option<String> {
    let (text, _, broken) = encoding_rs::GBK.decode(bytes);
    (!broken).then(|| text.into_owned())
}
