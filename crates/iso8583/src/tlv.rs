//! Tag-length-value items: BER-TLV of chip data (field 55) and the ASCII form of field 59.
//!
//! Items keep their order, and unknown tags are passed on: a tag is a number here, not a list of known ones.

use crate::error::{ErrorKind, ParseError};
use crate::swar;

/// One BER-TLV item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The tag's bytes as a number: `0x95`, `0x9F26`, `0xFF8058`. At most four bytes.
    pub tag: u32,
    /// The value; for a constructed tag, its items.
    pub value: &'a [u8],
}

impl std::fmt::Debug for Tlv<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tlv({:X}, {} bytes)", self.tag, self.value.len())
    }
}

/// Whether `tag` is constructed: its value is again TLV (bit 6 of the first byte).
#[must_use]
pub const fn is_constructed(tag: u32) -> bool {
    let first = match tag {
        0..=0xff => tag,
        0x100..=0xffff => tag >> 8,
        0x1_0000..=0xff_ffff => tag >> 16,
        _ => tag >> 24,
    };
    first & 0x20 != 0
}

/// Items of `data`, in order. Broken data ends with one error, whose offset counts from the start of `data`.
///
/// Zero bytes between items, allowed by the chip standards as filling, are refused: no terminal was seen to
/// send them, and a frame must be rebuilt to the same bytes.
#[must_use]
pub const fn iter(data: &[u8]) -> Items<'_> {
    Items { data, rest: data }
}

/// Iterator of [`iter`].
#[derive(Debug, Clone)]
pub struct Items<'a> {
    data: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Tlv<'a>, ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some((item, rest)) = split_item(self.rest) {
            self.rest = rest;
            return Some(Ok(item));
        }
        let offset = self.data.len() - self.rest.len();
        self.rest = &[];
        Some(Err(ParseError::new(0, offset, ErrorKind::BadTlv)))
    }
}

#[inline(always)]
fn split_item(data: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    // Nearly every item has a tag of one or two bytes and a length of one.
    let (tag, len, rest) = match *data {
        [first, len @ 0..=0x7f, ref rest @ ..] if first & 0x1f != 0x1f && first != 0 => {
            (u32::from(first), len, rest)
        }
        [first, second @ 0..=0x7f, len @ 0..=0x7f, ref rest @ ..] if first & 0x1f == 0x1f => {
            (u32::from(first) << 8 | u32::from(second), len, rest)
        }
        _ => return split_long_item(data),
    };
    let (value, rest) = rest.split_at_checked(usize::from(len))?;
    Some((Tlv { tag, value }, rest))
}

/// An item of any form.
fn split_long_item(data: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (first, mut rest) = data.split_first()?;
    if *first == 0 {
        return None;
    }
    let mut tag = u32::from(*first);
    if first & 0x1f == 0x1f {
        loop {
            let (next, after) = rest.split_first()?;
            rest = after;
            tag = tag << 8 | u32::from(*next);
            if next & 0x80 == 0 {
                break;
            }
            if tag > 0xff_ffff {
                return None;
            }
        }
    }
    let (len, rest) = match *rest.first()? {
        len @ 0..=0x7f => (usize::from(len), rest.get(1..)?),
        0x81 => (usize::from(*rest.get(1)?), rest.get(2..)?),
        0x82 => (usize::from(*rest.get(1)?) << 8 | usize::from(*rest.get(2)?), rest.get(3..)?),
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((Tlv { tag, value }, rest))
}

/// Bytes of `item`, the first of `data`, with its tag and length.
pub(crate) fn item_len(item: &Tlv<'_>, data: &[u8]) -> usize {
    split_item(data).map_or(item.value.len(), |(_, rest)| data.len() - rest.len())
}

/// Walks all items of `data`, not into constructed ones.
///
/// # Errors
/// [`ErrorKind::BadTlv`] with the offset of the item that breaks.
#[inline]
pub fn validate(data: &[u8]) -> Result<(), ParseError> {
    iter(data).try_for_each(|item| item.map(drop))
}

/// Value of the first item with `tag`, looking at the outer level only.
///
/// # Errors
/// [`ErrorKind::BadTlv`] when the data breaks before the tag is found.
pub fn find(data: &[u8], tag: u32) -> Result<Option<&[u8]>, ParseError> {
    for item in iter(data) {
        let item = item?;
        if item.tag == tag {
            return Ok(Some(item.value));
        }
    }
    Ok(None)
}

/// Appends an item in the shortest form of its length. Values above 65,535 bytes cannot be written; no field
/// holds so many, and the field's own maximum refuses them when they are put into a message.
pub fn write(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    let bytes = tag.to_be_bytes();
    let skip = (tag.leading_zeros() / 8).min(3) as usize;
    out.extend_from_slice(bytes.get(skip..).unwrap_or(&[]));
    match value.len() {
        len @ 0..=0x7f => out.push(len as u8),
        len @ 0x80..=0xff => out.extend_from_slice(&[0x81, len as u8]),
        len => {
            out.push(0x82);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// One item of the ASCII form: a tag of two characters, a length of decimal digits, a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AsciiTlv<'a> {
    /// Tag characters: `A2`.
    pub tag: [u8; 2],
    /// The value; inside A2 it is again such items.
    pub value: &'a [u8],
}

impl std::fmt::Debug for AsciiTlv<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AsciiTlv({}, {} bytes)", self.tag.escape_ascii(), self.value.len())
    }
}

/// Items of field 59 with lengths of `length_digits` decimal digits (3; 2 in one family).
#[must_use]
pub const fn ascii_iter(data: &[u8], length_digits: u8) -> AsciiItems<'_> {
    AsciiItems { data, rest: data, length_digits }
}

/// Iterator of [`ascii_iter`].
#[derive(Debug, Clone)]
pub struct AsciiItems<'a> {
    data: &'a [u8],
    rest: &'a [u8],
    length_digits: u8,
}

impl<'a> Iterator for AsciiItems<'a> {
    type Item = Result<AsciiTlv<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = || {
            let (tag, rest) = self.rest.split_first_chunk::<2>()?;
            let (digits, rest) = rest.split_at_checked(usize::from(self.length_digits))?;
            let len = digits
                .iter()
                .try_fold(0usize, |len, digit| Some(len * 10 + usize::from(swar::decimal(*digit)?)))?;
            let (value, rest) = rest.split_at_checked(len)?;
            tag.iter().all(u8::is_ascii_alphanumeric).then_some((AsciiTlv { tag: *tag, value }, rest))
        };
        if let Some((item, rest)) = split() {
            self.rest = rest;
            return Some(Ok(item));
        }
        let offset = self.data.len() - self.rest.len();
        self.rest = &[];
        Some(Err(ParseError::new(0, offset, ErrorKind::BadTlv)))
    }
}

/// Value of the first item with `tag` in field 59.
///
/// # Errors
/// [`ErrorKind::BadTlv`] when the data breaks before the tag is found.
pub fn ascii_find<'a>(
    data: &'a [u8],
    length_digits: u8,
    tag: &[u8; 2],
) -> Result<Option<&'a [u8]>, ParseError> {
    for item in ascii_iter(data, length_digits) {
        let item = item?;
        if item.tag == *tag {
            return Ok(Some(item.value));
        }
    }
    Ok(None)
}

/// Appends an item of field 59. False, with nothing written, when the length does not fit its digits.
#[must_use]
pub fn ascii_write(out: &mut Vec<u8>, length_digits: u8, tag: &[u8; 2], value: &[u8]) -> bool {
    let width = usize::from(length_digits);
    let text = format!("{:0width$}", value.len());
    if text.len() > width {
        return false;
    }
    out.extend_from_slice(tag);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(value);
    true
}
