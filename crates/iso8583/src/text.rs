//! Messages as text: reading pasted hexadecimal of any framing, and building from field values as strings.
//!
//! This is for the command line and for test material. [`raw_value`] and [`encode`] handle values in clear;
//! what is shown to people goes through [`describe`](crate::describe).

use thiserror::Error;

use crate::describe::hex;
use crate::dialect::{CUP_POS, CUPS, Dialect, Format, Profile};
use crate::draft::Draft;
use crate::error::{BuildError, ParseError};
use crate::frame::{self, CupsFrame, CupsHeader, PosHeader, Tpdu};
use crate::message::{Field, Message};
use crate::mti::Mti;

/// What stands around a decoded message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Nothing: message type to last field.
    Bare,
    /// A terminal frame, perhaps without its length or header.
    Pos {
        /// Whether the two length bytes were there.
        length: bool,
        /// Transport header.
        tpdu: Tpdu,
        /// Message header, if there is one.
        header: Option<PosHeader>,
    },
    /// A network frame, perhaps without its length.
    Cups {
        /// Whether the four length digits were there.
        length: bool,
        /// The header.
        header: CupsHeader,
    },
}

/// A decoded message with its bytes.
#[derive(Clone)]
pub struct Decoded {
    /// The dialect that fits.
    pub dialect: &'static Dialect,
    /// What stood around the message.
    pub envelope: Envelope,
    body: Vec<u8>,
}

impl Decoded {
    /// Message type to last field.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The parsed message.
    ///
    /// # Errors
    /// None in practice: the bytes were parsed once before.
    pub fn message(&self) -> Result<Message<'_>, ParseError> {
        self.dialect.parse(&self.body)
    }
}

impl std::fmt::Debug for Decoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoded({}, {} bytes)", self.dialect.name(), self.body.len())
    }
}

/// Why text did not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A character is neither hexadecimal nor white space.
    #[error("character {0} is not hexadecimal")]
    NotHex(usize),
    /// An odd number of hexadecimal digits.
    #[error("odd number of hexadecimal digits")]
    OddDigits,
    /// In no framing and no dialect that was tried is this a message; the error is that of the likeliest one.
    #[error("not a message of dialect {dialect}: {error} (the message starts at byte {start})")]
    NotAMessage {
        /// Name of the dialect of the likeliest reading.
        dialect: &'static str,
        /// Where the message starts in the bytes given, in that reading.
        start: usize,
        /// Its error, with the offset counted from there.
        error: ParseError,
    },
}

/// Reads hexadecimal text; white space, line breaks and a leading `0x` are skipped.
///
/// # Errors
/// [`DecodeError::NotHex`] and [`DecodeError::OddDigits`].
pub fn hex_bytes(text: &str) -> Result<Vec<u8>, DecodeError> {
    let trimmed = text.trim_start();
    let skipped = text.len() - trimmed.len();
    let (digits, skipped) = match trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X")) {
        Some(digits) => (digits, skipped + 2),
        None => (trimmed, skipped),
    };
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut high = None;
    for (place, character) in digits.char_indices() {
        if character.is_whitespace() {
            continue;
        }
        let nibble = character.to_digit(16).ok_or(DecodeError::NotHex(place + skipped))? as u8;
        match high.take() {
            None => high = Some(nibble),
            Some(high) => bytes.push((high << 4) | nibble),
        }
    }
    if high.is_some() { Err(DecodeError::OddDigits) } else { Ok(bytes) }
}

/// Decodes hexadecimal text: a whole frame or any part of it that ends with the message, in either dialect;
/// the first reading that parses is taken. `pos` is the terminal dialect to try ([`CUP_POS`], or a profile's).
///
/// # Errors
/// The text is not hexadecimal, or no reading parses.
pub fn decode_hex_with(text: &str, pos: &'static Dialect) -> Result<Decoded, DecodeError> {
    let bytes = hex_bytes(text)?;
    let mut likeliest = None;
    for reading in readings(&bytes, pos) {
        match reading.dialect.parse(reading.body) {
            Ok(_) => {
                let Reading { dialect, envelope, body } = reading;
                return Ok(Decoded { dialect, envelope, body: body.to_vec() });
            }
            Err(error) => {
                let start = bytes.len() - reading.body.len();
                likeliest.get_or_insert(DecodeError::NotAMessage {
                    dialect: reading.dialect.name(),
                    start,
                    error,
                });
            }
        }
    }
    // Bare readings are always among them.
    Err(likeliest.unwrap_or(DecodeError::OddDigits))
}

/// [`decode_hex_with`] and the baseline terminal dialect.
///
/// # Errors
/// The text is not hexadecimal, or no reading parses.
pub fn decode_hex(text: &str) -> Result<Decoded, DecodeError> {
    decode_hex_with(text, &CUP_POS)
}

struct Reading<'a> {
    dialect: &'static Dialect,
    envelope: Envelope,
    body: &'a [u8],
}

/// Ways to see `bytes`, the most particular first.
fn readings<'a>(bytes: &'a [u8], pos: &'static Dialect) -> Vec<Reading<'a>> {
    let mut readings = Vec::new();
    if let Ok(Some((used, CupsFrame::Message(payload)))) = frame::split_cups(bytes, bytes.len())
        && used == bytes.len()
        && let Ok((header, body)) = frame::parse_cups(payload)
    {
        readings.push(Reading { dialect: &CUPS, envelope: Envelope::Cups { length: true, header }, body });
    }
    if let Ok((header, body)) = frame::parse_cups(bytes) {
        readings.push(Reading { dialect: &CUPS, envelope: Envelope::Cups { length: false, header }, body });
    }
    let mut terminal = |payload: &'a [u8], length: bool| {
        for header in [Profile::CUP_POS_1.header, None] {
            let profile = Profile { header, ..Profile::CUP_POS_1 };
            if let Ok(parts) = frame::parse_pos(payload, &profile) {
                let envelope = Envelope::Pos { length, tpdu: parts.tpdu, header: parts.header };
                readings.push(Reading { dialect: pos, envelope, body: parts.body });
            }
        }
    };
    match frame::split(bytes, bytes.len()) {
        Ok(Some((used, payload))) if used == bytes.len() => terminal(payload, true),
        _ => {}
    }
    if bytes.first() == Some(&0x60) {
        terminal(bytes, false);
    }
    let ascii = bytes.first_chunk::<4>().is_some_and(|mti| mti.iter().all(u8::is_ascii_digit));
    let bare = [pos, &CUPS].map(|dialect| Reading { dialect, envelope: Envelope::Bare, body: bytes });
    if ascii {
        readings.extend(bare.into_iter().rev())
    } else {
        readings.extend(bare)
    }
    readings
}

/// A field's whole value in the form that [`encode`] takes: digits, text, or `hex:` and hexadecimal for binary
/// fields and text that is not printable. It is not masked: for test material only.
#[must_use]
pub fn raw_value(field: &Field<'_>) -> String {
    match field.spec().format {
        Format::N | Format::Z => {
            (0..field.len()).filter_map(|place| field.digit(place)).map(char::from).collect()
        }
        Format::B => format!("hex:{}", hex(field.body())),
        _ => {
            let (text, lost) = encoding_rs::GBK.decode_without_bom_handling(field.body());
            let (back, _, lost_again) = encoding_rs::GBK.encode(&text);
            if lost || lost_again || back != field.body() || text.starts_with("hex:") {
                format!("hex:{}", hex(field.body()))
            } else {
                text.into_owned()
            }
        }
    }
}

/// Why values did not make a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A `hex:` value is not hexadecimal.
    #[error("field {field}: value after `hex:` is not hexadecimal")]
    BadHex {
        /// Field number.
        field: u8,
    },
    /// The table refuses the value.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Builds a message from field values: digits for numeric and track fields, text for the others, or `hex:` and
/// hexadecimal for bytes. In binary fields of fixed length plain hexadecimal of that length is taken as well.
///
/// # Errors
/// A value does not fit its field.
pub fn encode<'a>(
    dialect: &'static Dialect,
    mti: Mti,
    fields: impl IntoIterator<Item = (u8, &'a str)>,
) -> Result<Vec<u8>, EncodeError> {
    let mut draft = Draft::new();
    draft.start(dialect, mti);
    for (number, value) in fields {
        put_value(&mut draft, dialect, number, value)?;
    }
    let mut out = Vec::new();
    draft.write(&mut out)?;
    Ok(out)
}

/// Puts one value into a draft, by the rules of [`encode`].
///
/// # Errors
/// The value does not fit the field.
pub fn put_value(
    draft: &mut Draft,
    dialect: &'static Dialect,
    number: u8,
    value: &str,
) -> Result<(), EncodeError> {
    let bytes = |digits: &str| hex_bytes(digits).map_err(|_| EncodeError::BadHex { field: number });
    let spec = dialect.spec(number);
    if let Some(digits) = value.strip_prefix("hex:") {
        draft.put_bytes(number, &bytes(digits)?)?;
        return Ok(());
    }
    match spec.map(|spec| (spec.format, spec.length)) {
        Some((Format::N | Format::Z, _)) => draft.put_digits(number, value)?,
        Some((Format::B, crate::dialect::Length::Fixed(len))) if value.len() == usize::from(len) * 2 => {
            draft.put_bytes(number, &bytes(value)?)?;
        }
        _ => draft.put_text(number, value)?,
    }
    Ok(())
}
