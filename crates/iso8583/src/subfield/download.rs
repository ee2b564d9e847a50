//! Layouts of field 62 in downloads: pages of a list, public keys, card-number lists.

use crate::error::{ErrorKind, ParseError};
use crate::tlv;

const BAD: ParseError = ParseError::new(62, 0, ErrorKind::BadSubfield);

/// Whether a list goes on after a page: the first byte of field 62 in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Paging {
    /// 0x30: there is nothing.
    Nothing,
    /// 0x31: this is all, or the last of it.
    Complete,
    /// 0x32: more is to come.
    More,
}

impl Paging {
    /// The byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Nothing => 0x30,
            Self::Complete => 0x31,
            Self::More => 0x32,
        }
    }
}

/// Field 62 of an answer: a page of a list, or one item behind a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page62<'a> {
    /// Whether more is to come.
    pub paging: Paging,
    /// What follows the mark.
    pub body: &'a [u8],
}

impl<'a> Page62<'a> {
    /// Reads a field 62. 0x33 is seen beside 0x32 and taken for it (modelled).
    ///
    /// # Errors
    /// An empty field, or one that begins with another byte.
    pub fn parse(field: &'a [u8]) -> Result<Self, ParseError> {
        let (mark, body) = field.split_first().ok_or(BAD)?;
        let paging = match mark {
            0x30 => Paging::Nothing,
            0x31 => Paging::Complete,
            0x32 | 0x33 => Paging::More,
            _ => return Err(BAD),
        };
        Ok(Self { paging, body })
    }
}

/// Field 62 of a request for the next page: `1` and how many items were received, two digits or, above 99, as many
/// as it takes (modelled). An empty field asks for the first page.
///
/// # Errors
/// Anything else.
pub fn received_62(field: &[u8]) -> Result<usize, ParseError> {
    match field {
        [] => Ok(0),
        [b'1', digits @ ..] if (2..=6).contains(&digits.len()) => digits
            .iter()
            .try_fold(0usize, |sum, digit| Some(sum * 10 + usize::from(crate::swar::decimal(*digit)?)))
            .ok_or(BAD),
        _ => Err(BAD),
    }
}

/// Writes what [`received_62`] reads.
#[must_use]
pub fn write_received_62(received: usize) -> String {
    format!("1{received:02}")
}

/// Appends a card number or prefix: two digits of length, then the digits (modelled). False, with nothing written,
/// for anything but 1 to 19 digits.
#[must_use]
pub fn write_card_number(out: &mut Vec<u8>, digits: &str) -> bool {
    let good = (1..=19).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    if good {
        out.extend_from_slice(format!("{:02}{digits}", digits.len()).as_bytes());
    }
    good
}

/// The card numbers of a page, in order; broken data ends them with an error.
pub fn card_numbers(body: &[u8]) -> impl Iterator<Item = Result<&str, ParseError>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let [tens, units] = length.map(crate::swar::decimal);
            let (digits, after) = after.split_at_checked(usize::from(tens? * 10 + units?))?;
            let digits = std::str::from_utf8(digits).ok()?;
            let good = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            good.then_some((digits, after))
        };
        if let Some((digits, after)) = split() {
            rest = after;
            return Some(Ok(digits));
        }
        let offset = body.len() - rest.len();
        rest = &[];
        Some(Err(ParseError::new(62, offset, ErrorKind::BadSubfield)))
    })
}

/// A card organisation's public key, as 0810/370 carries it behind the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey62 {
    /// 9F06: registered application provider, five bytes.
    pub rid: [u8; 5],
    /// 9F22: index of the key.
    pub index: u8,
    /// DF05: last day, YYYYMMDD.
    pub expiry: u32,
    /// DF06: hash algorithm, 1 SHA-1.
    pub hash: u8,
    /// DF07: key algorithm, 1 RSA.
    pub algorithm: u8,
    /// DF02.
    pub modulus: Vec<u8>,
    /// DF04.
    pub exponent: Vec<u8>,
    /// DF03: check sum; who takes the key computes it anew.
    pub checksum: [u8; 20],
}

impl PublicKey62 {
    /// Reads the items of a key, in whatever order. The last day is read as four packed bytes or eight characters.
    ///
    /// # Errors
    /// Broken TLV, an item missing or of a wrong length, a day that is none.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let find = |tag| tlv::find(body, tag)?.ok_or(BAD);
        let byte = |tag| match find(tag)? {
            [byte] => Ok(*byte),
            _ => Err(BAD),
        };
        let (modulus, exponent) = (find(0xDF02)?, find(0xDF04)?);
        if !(64..=256).contains(&modulus.len()) || !(1..=4).contains(&exponent.len()) {
            return Err(BAD);
        }
        Ok(Self {
            rid: find(0x9F06)?.try_into().map_err(|_| BAD)?,
            index: byte(0x9F22)?,
            expiry: expiry(find(0xDF05)?).ok_or(BAD)?,
            hash: byte(0xDF06)?,
            algorithm: byte(0xDF07)?,
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            checksum: find(0xDF03)?.try_into().map_err(|_| BAD)?,
        })
    }

    /// Appends the items of the key.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_name(out);
        tlv::write(out, 0xDF06, &[self.hash]);
        tlv::write(out, 0xDF07, &[self.algorithm]);
        tlv::write(out, 0xDF02, &self.modulus);
        tlv::write(out, 0xDF04, &self.exponent);
        tlv::write(out, 0xDF03, &self.checksum);
    }

    /// Appends what a list of keys says of it: RID, index, last day.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        tlv::write(out, 0x9F06, &self.rid);
        tlv::write(out, 0x9F22, &[self.index]);
        let digits = format!("{:08}", self.expiry);
        let packed: Vec<u8> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | (digit & 15)))
            .collect();
        tlv::write(out, 0xDF05, &packed);
    }
}

/// A day YYYYMMDD as four packed bytes or eight characters.
fn expiry(value: &[u8]) -> Option<u32> {
    let digits: Vec<u8> = match value.len() {
        4 => value.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect(),
        8 => value.iter().map(|byte| crate::swar::decimal(*byte)).collect::<Option<_>>()?,
        _ => return None,
    };
    let day =
        digits.iter().try_fold(0u32, |day, digit| (*digit < 10).then(|| day * 10 + u32::from(*digit)))?;
    let (month, date) = (day / 100 % 100, day % 100);
    ((1..=12).contains(&month) && (1..=31).contains(&date)).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_received_counts_are_read_as_they_are_written() {
        assert_eq!(Page62::parse(b"1abc").unwrap(), Page62 { paging: Paging::Complete, body: b"abc" });
        assert_eq!(Page62::parse(b"3").unwrap().paging, Paging::More);
        assert!(Page62::parse(b"").is_err() && Page62::parse(b"9").is_err());
        for count in [0, 7, 99, 100, 12_345] {
            assert_eq!(received_62(write_received_62(count).as_bytes()).unwrap(), count);
        }
        assert_eq!(received_62(b"").unwrap(), 0);
        for bad in [&b"1"[..], b"200", b"1x0", b"11234567"] {
            assert!(received_62(bad).is_err());
        }
    }

    #[test]
    fn card_numbers_come_back_and_broken_ones_end_the_list() {
        let mut out = Vec::new();
        assert!(write_card_number(&mut out, "622424") && write_card_number(&mut out, "9"));
        assert!(!write_card_number(&mut out, "") && !write_card_number(&mut out, "62a"));
        assert_eq!(card_numbers(&out).collect::<Result<Vec<_>, _>>().unwrap(), ["622424", "9"]);
        out.truncate(out.len() - 1);
        assert!(card_numbers(&out).last().unwrap().is_err());
    }

    #[test]
    fn a_key_is_read_back_with_either_form_of_its_last_day() {
        let key = PublicKey62 {
            rid: [0xA0, 0, 0, 3, 0x33],
            index: 0xF1,
            expiry: 20_301_231,
            hash: 1,
            algorithm: 1,
            modulus: vec![0xBD; 144],
            exponent: vec![3],
            checksum: [7; 20],
        };
        let mut out = Vec::new();
        key.write(&mut out);
        assert_eq!(PublicKey62::parse(&out).unwrap(), key);
        // The record of the laboratory begins the same.
        assert_eq!(out[..24], hex(b"9F0605A0000003339F2201F1DF050420301231DF060101DF")[..24]);
        let text = [&hex(b"9F0605A0000003339F2201F1DF0508")[..], b"20301231", &out[19..]].concat();
        assert_eq!(PublicKey62::parse(&text).unwrap(), key);
        assert!(PublicKey62::parse(&out[..out.len() - 1]).is_err());
    }

    fn hex(text: &[u8]) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        text.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }
}
