//! Layouts that carry keys and PINs under keys.

use zeroize::Zeroize;

use crate::error::{ErrorKind, ParseError};

/// What a terminal asked for with 60.3 in its sign-in: this decides the layout, never the look of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyScheme {
    /// 001: single-length DES, PIN and MAC key, 24 bytes.
    Des,
    /// 003: double-length 3DES, PIN and MAC key, 40 bytes.
    TripleDes,
    /// 004: as 003 with a track key, 60 bytes.
    TripleDesTrack,
    /// 006: SM4, PIN, MAC and track key, 60 bytes.
    Sm4,
}

impl KeyScheme {
    /// The scheme of management code 60.3, or nothing for other codes.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Des),
            3 => Some(Self::TripleDes),
            4 => Some(Self::TripleDesTrack),
            6 => Some(Self::Sm4),
            _ => None,
        }
    }

    /// Management code 60.3.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Des => 1,
            Self::TripleDes => 3,
            Self::TripleDesTrack => 4,
            Self::Sm4 => 6,
        }
    }

    /// Bytes of field 62.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the size of a layout, never zero")]
    pub const fn len(self) -> usize {
        match self {
            Self::Des => 24,
            Self::TripleDes => 40,
            Self::TripleDesTrack | Self::Sm4 => 60,
        }
    }
}

/// A working key under the terminal master key, with its check value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey<'a> {
    /// Cipher text of the key, 8 or 16 bytes.
    pub key: &'a [u8],
    /// First four bytes of a zero block under the key.
    pub check: [u8; 4],
}

impl std::fmt::Debug for WrappedKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrappedKey(<{} bytes hidden>)", self.key.len())
    }
}

/// Field 62 of a sign-in answer: the working keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys62<'a> {
    /// How the keys are made.
    pub scheme: KeyScheme,
    /// PIN key.
    pub pin: WrappedKey<'a>,
    /// MAC key: 8 bytes when the second half of its place is zero, else 16.
    pub mac: WrappedKey<'a>,
    /// Track key.
    pub track: Option<WrappedKey<'a>>,
}

impl<'a> Keys62<'a> {
    /// Splits `field` by the scheme that was asked for.
    ///
    /// # Errors
    /// Another length than the scheme's.
    pub fn parse(field: &'a [u8], scheme: KeyScheme) -> Result<Self, ParseError> {
        let bad = ParseError::new(62, 0, ErrorKind::BadSubfield);
        if field.len() != scheme.len() {
            return Err(bad);
        }
        let mut rest = field;
        let mut next = |len: usize| {
            let (key, after) = rest.split_at_checked(len)?;
            let (check, after) = after.split_first_chunk::<4>()?;
            rest = after;
            Some(WrappedKey { key, check: *check })
        };
        let (short, track) = match scheme {
            KeyScheme::Des => (8, false),
            KeyScheme::TripleDes => (16, false),
            KeyScheme::TripleDesTrack | KeyScheme::Sm4 => (16, true),
        };
        let pin = next(short).ok_or(bad)?;
        let mut mac = next(short).ok_or(bad)?;
        if let (KeyScheme::TripleDes | KeyScheme::TripleDesTrack, Some((left, right))) =
            (scheme, mac.key.split_at_checked(8))
            && right.iter().all(|byte| *byte == 0)
        {
            mac.key = left;
        }
        let track = if track { Some(next(16).ok_or(bad)?) } else { None };
        Ok(Self { scheme, pin, mac, track })
    }

    /// Appends the field. False, with nothing written, when a key's length or the track key does not go with
    /// the scheme.
    #[must_use]
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let width = if self.scheme == KeyScheme::Des { 8 } else { 16 };
        for key in [Some(self.pin), Some(self.mac), self.track].into_iter().flatten() {
            out.extend_from_slice(key.key);
            // An 8-byte MAC key of the double-length schemes stands in a place of 16.
            out.resize(out.len() + width - key.key.len().min(width), 0);
            out.extend_from_slice(&key.check);
        }
        let short_mac = self.mac.key.len() == 8
            && matches!(self.scheme, KeyScheme::TripleDes | KeyScheme::TripleDesTrack);
        let good = out.len() - start == self.scheme.len()
            && self.pin.key.len() == width
            && (self.mac.key.len() == width || short_mac)
            && self.track.is_none_or(|key| key.key.len() == 16);
        if !good {
            out.truncate(start);
        }
        good
    }
}

/// `SM016` and an SM4-encrypted PIN block in field 63, toward the host and on the network.
#[derive(Clone, PartialEq, Eq)]
pub struct Sm4Pin63(pub [u8; 16]);

impl Sm4Pin63 {
    /// What stands before the block: usage and length.
    pub const PREFIX: &'static [u8; 5] = b"SM016";

    /// The block, when `field` carries one.
    #[must_use]
    pub fn parse(field: &[u8]) -> Option<Self> {
        let block = field.strip_prefix(Self::PREFIX.as_slice())?;
        block.first_chunk::<16>().filter(|_| block.len() == 16).map(|block| Self(*block))
    }

    /// The field's 21 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 21] {
        let mut bytes = [0; 21];
        for (to, from) in bytes.iter_mut().zip(Self::PREFIX.iter().chain(&self.0)) {
            *to = *from;
        }
        bytes
    }
}

impl std::fmt::Debug for Sm4Pin63 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sm4Pin63(<hidden>)")
    }
}

impl Drop for Sm4Pin63 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
