//! Layouts of the network dialect: 28, 48 (key reset), 60, 90.

use zeroize::Zeroize;

use super::Reader;
use super::terminal::read;
use crate::error::{ErrorKind, ParseError};
use crate::message::{Digits, Message};
use crate::mti::Mti;

/// One sub-field of the composite field 60: number, characters, names.
pub type CompositePart = (&'static str, usize, &'static str, &'static str);

/// The sub-fields of the network's field 60, in order; 30 characters in all, 27 to 30 were seen.
pub const COMPOSITE_60: &[CompositePart] = &[
    ("60.1", 4, "报文原因代码", "reason code"),
    ("60.2.1", 1, "账户所有人类型", "account owner"),
    ("60.2.2", 1, "终端读取能力", "read capability"),
    ("60.2.3", 1, "IC卡条件代码", "chip condition"),
    ("60.2.4", 1, "保留", "reserved"),
    ("60.2.5", 2, "终端类型", "terminal type"),
    ("60.2.6", 1, "免密免签标识", "PIN-free and sign-free flag"),
    ("60.2.7", 1, "保留", "reserved"),
    ("60.2.8", 2, "电子商务标志", "electronic commerce"),
    ("60.2.9", 1, "交互方式标志", "interaction type"),
    ("60.3.1", 2, "特殊计费类型", "fee type"),
    ("60.3.2", 1, "特殊计费档次", "fee level"),
    ("60.3.3", 3, "保留", "reserved"),
    ("60.3.4", 1, "支持部分承兑", "partial approval"),
    ("60.3.5", 1, "交易发起方式", "initiation"),
    ("60.3.6", 1, "交易介质", "medium"),
    ("60.3.7", 1, "IC卡应用类型", "chip application type"),
    ("60.3.8", 2, "账户结算类型", "account settlement type"),
    ("60.3.9", 1, "卡等级", "card level"),
    ("60.3.10", 2, "卡产品", "card product"),
];

/// The network's field 60: a view of its characters by sub-field number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composite60(String);

impl Composite60 {
    /// Characters of the whole field.
    pub const LEN: usize = 30;

    /// A field of zeros, to be filled by [`Composite60::set`].
    #[must_use]
    pub fn zeros() -> Self {
        Self("0".repeat(Self::LEN))
    }

    /// Reads a field, whatever its length: sub-fields that it does not reach are absent.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn place(number: &str) -> Option<std::ops::Range<usize>> {
        let mut start = 0;
        for (name, len, ..) in COMPOSITE_60 {
            if *name == number {
                return Some(start..start + len);
            }
            start += len;
        }
        None
    }

    /// The characters of sub-field `number` (`60.2.5`), if the field reaches so far.
    #[must_use]
    pub fn part(&self, number: &str) -> Option<&str> {
        self.0.get(Self::place(number)?)
    }

    /// Sets sub-field `number`. False, with nothing changed, when there is none, the field does not reach so
    /// far, or `value` has another length or is not ASCII.
    #[must_use]
    pub fn set(&mut self, number: &str, value: &str) -> bool {
        match Self::place(number) {
            Some(place)
                if place.len() == value.len() && value.is_ascii() && self.0.get(place.clone()).is_some() =>
            {
                self.0.replace_range(place, value);
                true
            }
            _ => false,
        }
    }

    /// The field's characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Field 90: the original of a void, reversal or refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalData90 {
    /// Its message type.
    pub mti: Mti,
    /// Its system trace number.
    pub trace: u32,
    /// Its transmission time, `MMDDhhmmss`.
    pub transmission: u64,
    /// Its acquiring institution; 11 digits, zeros on the left.
    pub acquirer: u64,
    /// Its forwarding institution, the same way.
    pub forwarder: u64,
}

impl OriginalData90 {
    /// Reads the 42 digits.
    ///
    /// # Errors
    /// Another number of digits.
    pub fn parse(digits: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(90, digits.as_bytes(), 1);
        let original = Self {
            mti: Mti::new(reader.number(4)? as u16),
            trace: reader.number(6)? as u32,
            transmission: reader.number(10)?,
            acquirer: reader.number(11)?,
            forwarder: reader.number(11)?,
        };
        if reader.rest.is_empty() { Ok(original) } else { Err(reader.error()) }
    }

    /// Field 90 of a message, if present.
    ///
    /// # Errors
    /// As [`OriginalData90::parse`], placed in the message.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        read(message, 90, Self::parse)
    }

    /// The 42 digits to put.
    #[must_use]
    pub fn to_digits(&self) -> Digits {
        let mut digits = Digits::empty();
        digits.push(u64::from(self.mti.value()), 4);
        digits.push(u64::from(self.trace), 6);
        digits.push(self.transmission, 10);
        digits.push(self.acquirer, 11);
        digits.push(self.forwarder, 11);
        digits
    }
}

/// Field 48 of a key reset: `NK` and a 16-byte key under the zone master key.
#[derive(Clone, PartialEq, Eq)]
pub struct Field48Nk(pub [u8; 16]);

impl Field48Nk {
    /// Reads `NK` with 16 raw bytes (baseline, modelled) or 32 hexadecimal characters.
    #[must_use]
    pub fn parse(field: &[u8]) -> Option<Self> {
        let key = field.strip_prefix(b"NK")?;
        if key.len() == 16 {
            return key.first_chunk::<16>().map(|key| Self(*key));
        }
        if key.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (to, [high, low]) in bytes.iter_mut().zip(key.as_chunks::<2>().0) {
            let nibble = |byte: &u8| (*byte != b'=').then(|| crate::swar::track_nibble(*byte)).flatten();
            *to = nibble(high)? << 4 | nibble(low)?;
        }
        Some(Self(bytes))
    }

    /// The baseline's 18 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 18] {
        let mut bytes = [0; 18];
        for (to, from) in bytes.iter_mut().zip(b"NK".iter().chain(&self.0)) {
            *to = *from;
        }
        bytes
    }
}

impl std::fmt::Debug for Field48Nk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Field48Nk(<hidden>)")
    }
}

impl Drop for Field48Nk {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Field 28: a fee in fen, negative when it is credited (`C`), positive when it is debited (`D`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fee28 {
    /// The fee in fen.
    pub fen: i64,
}

impl Fee28 {
    /// Reads the nine characters.
    ///
    /// # Errors
    /// Another length, sign, or digits.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = ParseError::new(28, 0, ErrorKind::BadSubfield);
        let (sign, digits) =
            text.as_bytes().split_first().filter(|(_, digits)| digits.len() == 8).ok_or(bad)?;
        let fen = Reader::new(28, digits, 1).number(8)? as i64;
        match sign {
            b'C' => Ok(Self { fen: -fen }),
            b'D' => Ok(Self { fen }),
            _ => Err(bad),
        }
    }

    /// The nine characters; nothing when the fee has more than eight digits.
    #[must_use]
    pub fn to_text(self) -> Option<String> {
        let text = format!("{}{:08}", if self.fen < 0 { 'C' } else { 'D' }, self.fen.unsigned_abs());
        (text.len() == 9).then_some(text)
    }
}
