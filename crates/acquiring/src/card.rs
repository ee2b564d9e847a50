//! Card data: account number, expiry, how the card was read.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret text or byte string (track, chip data): no `Display`, nothing in `Debug` but its length, wiped
/// when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one place that needs them.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The text, for the one place that needs it; empty when it is not UTF-8.
    pub fn reveal_text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Primary account number 主账号: 12 to 19 digits, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Pan {
    digits: [u8; 19],
    len: u8,
}

/// The text is no account number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account number has 12 to 19 digits")]
pub struct PanError;

impl Pan {
    /// Checks and takes the digits. The check digit is the issuer's to judge and is not looked at.
    pub fn new(text: &str) -> Result<Self, PanError> {
        if !(12..=19).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PanError);
        }
        let mut digits = [0; 19];
        for (to, from) in digits.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Ok(Self { digits, len: text.len() as u8 })
    }

    /// The account number in track 2 data `PAN D YYMM …` (`=` and `D` both separate).
    pub fn from_track2(track: &str) -> Result<Self, PanError> {
        let end = track.find(['D', 'd', '=']).ok_or(PanError)?;
        Self::new(track.get(..end).ok_or(PanError)?)
    }

    /// The digits, for the network message and the security module.
    pub fn reveal(&self) -> &str {
        self.digits.get(..usize::from(self.len)).and_then(|d| std::str::from_utf8(d).ok()).unwrap_or_default()
    }

    /// First six, last four.
    pub fn masked(&self) -> MaskedPan {
        let mut text = [b'*'; 19];
        let len = usize::from(self.len);
        for (at, (to, from)) in text.iter_mut().zip(self.digits).take(len).enumerate() {
            if at < 6 || at + 4 >= len {
                *to = from;
            }
        }
        MaskedPan { text, len: self.len }
    }
}

/// Digits in a row from which free text is taken to hold an account number: it is not kept then (PCI DSS 3.5). Real numbers
/// are not shorter.
const NUMBER_RUN: usize = 13;

/// Whether free text could hold an account number: thirteen digits or more in a row. No check digit is looked at, so that
/// what a text may be does not depend on luck.
pub fn may_hold_number(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() >= NUMBER_RUN)
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pan({})", self.masked())
    }
}

/// An account number as people may see it: `622424******0021`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaskedPan {
    text: [u8; 19],
    len: u8,
}

impl MaskedPan {
    /// Takes a text that is already masked: at most the first six and the last four are digits.
    pub fn from_masked(masked: &str) -> Option<Self> {
        let bytes = masked.as_bytes();
        if !(12..=19).contains(&bytes.len()) {
            return None;
        }
        let mut text = [b'*'; 19];
        for (at, (to, from)) in text.iter_mut().zip(bytes).enumerate() {
            let shown = at < 6 || at + 4 >= bytes.len();
            match from {
                b'0'..=b'9' if shown => *to = *from,
                b'*' => {}
                _ => return None,
            }
        }
        Some(Self { text, len: bytes.len() as u8 })
    }

    /// The masked text.
    pub fn as_str(&self) -> &str {
        self.text.get(..usize::from(self.len)).and_then(|d| std::str::from_utf8(d).ok()).unwrap_or_default()
    }
}

impl fmt::Display for MaskedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for MaskedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Expiry of a card, field 14: YYMM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry(u16);

impl Expiry {
    /// Takes YYMM as a number, for example 2912.
    pub const fn new(yymm: u16) -> Option<Self> {
        if yymm <= 9_999 { Some(Self(yymm)) } else { None }
    }

    /// YYMM as a number.
    pub const fn yymm(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// Entry mode 服务点输入方式, field 22: two digits how the card was read, one digit whether a PIN follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryMode(u16);

impl EntryMode {
    /// Takes the three digits as a number.
    pub const fn new(code: u16) -> Option<Self> {
        if code <= 999 { Some(Self(code)) } else { None }
    }

    /// The three digits as a number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Chip read, by contact (05) or without (07, 98): chip data must come along.
    pub const fn is_chip(self) -> bool {
        matches!(self.0 / 10, 5 | 7 | 98)
    }

    /// The last digit says that a PIN is in the message.
    pub const fn has_pin(self) -> bool {
        self.0 % 10 == 1
    }
}

impl fmt::Display for EntryMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// 63.1 of a UnionPay card.
pub const UNIONPAY: &str = "CUP";

/// 63.1 where no organisation is named: all.
pub const ANY_ORGANISATION: &str = "000";

/// First six digits, from and to, of the international organisations' numbers, and their codes in field 63.1. The ranges are
/// those of the public register of issuer numbers (ISO/IEC 7812); the codes after `VIS` are modelled.
const INTERNATIONAL: [(u32, u32, &str); 13] = [
    (222_100, 272_099, "MCC"),
    (300_000, 305_999, "DCC"),
    (340_000, 349_999, "AMX"),
    (352_800, 358_999, "JCB"),
    (360_000, 369_999, "DCC"),
    (370_000, 379_999, "AMX"),
    (380_000, 399_999, "DCC"),
    (400_000, 499_999, "VIS"),
    (500_000, 509_999, "MAE"),
    (510_000, 559_999, "MCC"),
    (560_000, 589_999, "MAE"),
    (630_000, 639_999, "MAE"),
    (670_000, 679_999, "MAE"),
];

/// The international organisation of a number by its first six digits, as field 63.1 names it. Whether such a card is a
/// foreign one at all (many national cards have such a number, and are paid through UnionPay) is not said by this.
pub fn international(number: &str) -> Option<&'static str> {
    let first: u32 = number.get(..6)?.parse().ok()?;
    INTERNATIONAL.iter().find(|(from, to, _)| (*from..=*to).contains(&first)).map(|(_, _, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_numbers_are_masked_everywhere_but_on_request() {
        let pan = Pan::new("6224242000000021").unwrap();
        assert_eq!(pan.masked().to_string(), "622424******0021");
        assert_eq!(format!("{pan:?}"), "Pan(622424******0021)");
        assert_eq!(pan.reveal(), "6224242000000021");
        let long = Pan::new("6212140000000000014").unwrap();
        assert_eq!(long.masked().as_str(), "621214*********0014");
        assert_eq!(format!("{:?}", Secret::new("6224242000000021")), "Secret(16 bytes)");
    }

    #[test]
    fn the_account_number_is_taken_from_track_2() {
        let pan = Pan::from_track2("6224242000000021D29022015699031007").unwrap();
        assert_eq!(pan.reveal(), "6224242000000021");
        assert!(Pan::from_track2("6224242000000021").is_err());
        assert!(Pan::from_track2("D2902").is_err());
    }

    #[test]
    fn a_masked_text_with_middle_digits_is_refused() {
        assert!(MaskedPan::from_masked("6224242000000021").is_none());
        assert_eq!(MaskedPan::from_masked("622424******0021").unwrap().as_str(), "622424******0021");
    }

    #[test]
    fn entry_mode_says_chip_and_pin() {
        let mode = |code| EntryMode::new(code).unwrap();
        assert!(mode(51).is_chip() && mode(51).has_pin());
        assert!(mode(72).is_chip() && !mode(72).has_pin());
        assert!(!mode(21).is_chip());
        assert!(!mode(801).is_chip());
        assert!(EntryMode::new(1000).is_none());
    }

    #[test]
    fn thirteen_digits_in_a_row_could_be_a_number() {
        for (text, may) in
            [("6224242000000021", true), ("3C 1234567890123", true), ("123456789012 3", false), ("", false)]
        {
            assert_eq!(may_hold_number(text), may, "{text}");
        }
    }

    #[test]
    fn an_organisation_is_told_by_the_first_six_digits() {
        for (number, code) in [
            ("4000000000000010", Some("VIS")),
            ("400000******0010", Some("VIS")),
            ("2720990000000000", Some("MCC")),
            ("2721000000000000", None),
            ("3530000000000000", Some("JCB")),
            ("370000000000000", Some("AMX")),
            ("6224242000000021", None),
            ("40000", None),
        ] {
            assert_eq!(international(number), code, "{number}");
        }
        assert!(INTERNATIONAL.is_sorted());
    }
}
