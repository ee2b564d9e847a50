//! A parsed message: positions over the bytes that arrived.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroize;

use crate::dialect::{Check, Coding, Dialect, FieldSpec, Op, Prefix, SLOTS};
use crate::error::{ErrorKind, ParseError};
use crate::mti::Mti;
use crate::swar;

/// Longest message, in bytes: what a two-byte length can announce.
pub const MESSAGE_LEN_MAX: usize = 0xffff;

/// Most digits that [`Digits`] holds: the longest track.
pub const DIGITS_MAX: usize = 104;

/// Where a field ends and its length in digits or bytes; an end of zero means that it is absent.
#[derive(Clone, Copy)]
struct Slot {
    end: u16,
    count: u16,
}

impl Slot {
    fn end(self) -> usize {
        usize::from(self.end)
    }

    /// Where the body starts: after the prefix.
    #[inline(always)]
    fn start(self, op: &Op) -> usize {
        self.end().wrapping_sub(op.body_len(usize::from(self.count)))
    }
}

const NO_SLOT: Slot = Slot { end: 0, count: 0 };

/// A message that passed every rule of its dialect's table. It borrows the bytes and allocates nothing.
///
/// What is inside private fields (48, 54, 55, 59 to 63, 90) is checked when it is read: see
/// [`Message::check_chip_data`] and [`subfield`](crate::subfield).
#[derive(Clone)]
pub struct Message<'a> {
    dialect: &'a Dialect,
    bytes: &'a [u8],
    bitmap: u128,
    mti: Mti,
    slots: [Slot; SLOTS],
}

impl Dialect {
    /// Parses and checks `body`, the bytes from the message type to the last field (no length, TPDU or header).
    ///
    /// # Errors
    /// Everything that the table forbids: see [`ErrorKind`]. Offsets count from the start of `body`.
    ///
    /// A message is some 300 bytes of positions. Where nanoseconds count, read it by reference (`as_ref`) instead
    /// of moving it out of the result.
    pub fn parse<'a>(&'a self, body: &'a [u8]) -> Result<Message<'a>, ParseError> {
        if body.is_empty() {
            return Err(ParseError::new(0, 0, ErrorKind::Empty));
        }
        if body.len() > MESSAGE_LEN_MAX {
            return Err(ParseError::new(
                0,
                MESSAGE_LEN_MAX,
                ErrorKind::TooLong { max: MESSAGE_LEN_MAX as u16 },
            ));
        }
        let (mti, high, low) = self.head(body)?;
        let mut position = self.head_len();
        let mut slots = [NO_SLOT; SLOTS];
        for (word, base) in [(high, 0u32), (low, 64)] {
            let mut rest = word;
            while rest != 0 {
                let place = base + rest.leading_zeros();
                rest &= !(1 << 63 >> rest.leading_zeros());
                let op = self.op(place + 1);
                let slot = read_field(op, body, position)
                    .ok_or_else(|| explain(self, place as u8 + 1, body, position))?;
                position = slot.end();
                if let Some(to) = slots.get_mut(usize::from(op.slot) & (SLOTS - 1)) {
                    *to = slot;
                }
            }
        }
        if position != body.len() {
            return Err(ParseError::new(0, position, ErrorKind::TrailingBytes));
        }
        Ok(Message {
            dialect: self,
            bytes: body,
            bitmap: u128::from(high) << 64 | u128::from(low),
            mti,
            slots,
        })
    }

    /// Message type and the two halves of the bitmap, the indicator bit removed.
    #[inline(always)]
    fn head(&self, body: &[u8]) -> Result<(Mti, u64, u64), ParseError> {
        let error = |offset, kind| Err(ParseError::new(0, offset, kind));
        let (mti, rest) = match self.numerals {
            Coding::Bcd => match body.split_first_chunk::<2>() {
                None => return error(body.len(), ErrorKind::Truncated),
                Some((mti, _)) if !swar::is_bcd(mti) => return error(0, ErrorKind::BadMti),
                Some((mti, rest)) => (swar::bcd_value(mti), rest),
            },
            Coding::Ascii => match body.split_first_chunk::<4>() {
                None => return error(body.len(), ErrorKind::Truncated),
                Some((mti, _)) if !swar::is_ascii_digits(mti) => return error(0, ErrorKind::BadMti),
                Some((mti, rest)) => {
                    (mti.iter().fold(0, |value, digit| value * 10 + u64::from(digit & 15)), rest)
                }
            },
        };
        let Some((first, rest)) = rest.split_first_chunk::<8>() else {
            return error(body.len(), ErrorKind::Truncated);
        };
        let high = u64::from_be_bytes(*first);
        let doubled = high >> 63 == 1;
        let at = self.head_len() - self.bitmap_len;
        if doubled != (self.bitmap_len == 16) {
            return error(at, ErrorKind::BadBitmap);
        }
        let low = match (doubled, rest.first_chunk::<8>()) {
            (false, _) => 0,
            (true, Some(second)) => u64::from_be_bytes(*second),
            (true, None) => return error(body.len(), ErrorKind::Truncated),
        };
        Ok((Mti::new(mti as u16), high & !(1 << 63), low))
    }
}

/// The field that starts at `position`, or nothing when it breaks its rule. Why is found by [`explain`], away
/// from the path that good messages take.
#[inline(always)]
fn read_field(op: &Op, body: &[u8], position: usize) -> Option<Slot> {
    let (count, start) = match op.prefix {
        Prefix::None => (op.max, position),
        _ => {
            let count = prefix_value(op.prefix, body.get(position..)?)?;
            if count > op.max {
                return None;
            }
            (count, position + op.prefix_len())
        }
    };
    let end = start + op.body_len(usize::from(count));
    if end > body.len() {
        return None;
    }
    let good = match op.check {
        Check::Any | Check::Nibbles => true,
        Check::Absent => false,
        _ => match body.get(end.wrapping_sub(8)..end).and_then(|window| window.first_chunk::<8>()) {
            // Message type and bitmap stand before every field, so the eight bytes that end with a short field
            // are always there: one load and one test.
            Some(window) if end - start <= 8 && end > start && op.check != Check::Signed => {
                is_good_word(op, u64::from_be_bytes(*window), end - start, count)
            }
            _ => is_good(op, body.get(start..end)?, usize::from(count)),
        },
    };
    good.then_some(Slot { end: end as u16, count })
}

/// Whether a field of `len` bytes, at most eight, passes its check; it stands at the low end of `window`.
#[inline(always)]
fn is_good_word(op: &Op, window: u64, len: usize, count: u16) -> bool {
    let mask = u64::MAX >> ((64 - 8 * len) & 63);
    // The other bytes become zeros, which are digits, or `0` characters.
    let bytes = window & mask;
    let characters = bytes | (!mask & 0x3030_3030_3030_3030);
    match op.check {
        Check::Bcd => swar::word_is_bcd(bytes & !(0xf * u64::from(count & 1))),
        Check::BcdRight => {
            swar::word_is_bcd(bytes) && (count & 1 == 0 || (bytes << ((64 - 8 * len) & 63)) >> 60 == 0)
        }
        Check::AsciiDigits => swar::word_is_digits(characters),
        Check::Alphanumeric => swar::word_is_alphanumeric(characters),
        Check::Printable => swar::word_is_printable(characters),
        Check::Text => swar::word_is_text(characters),
        Check::AsciiTrack => swar::is_ascii_track(&characters.to_be_bytes()),
        Check::Any | Check::Nibbles => true,
        Check::Absent | Check::Signed => false,
    }
}

/// Whether a field of any length passes its check. Few fields are long, and the loop above needs the registers.
#[inline(never)]
fn is_good(op: &Op, field: &[u8], count: usize) -> bool {
    match op.check {
        Check::Absent => false,
        Check::Bcd => is_bcd_left(field, count),
        Check::BcdRight => {
            swar::is_bcd(field) && (count & 1 == 0 || field.first().is_some_and(|b| *b < 0x10))
        }
        Check::Nibbles | Check::Any => true,
        Check::AsciiDigits => swar::is_ascii_digits(field),
        Check::AsciiTrack => swar::is_ascii_track(field),
        Check::Signed => is_signed(field),
        Check::Alphanumeric => swar::is_alphanumeric(field),
        Check::Printable => swar::is_printable(field),
        Check::Text => swar::is_text(field),
    }
}

/// Packed digits from the left; the filler nibble of an odd count may be anything.
#[inline(always)]
pub(crate) fn is_bcd_left(field: &[u8], count: usize) -> bool {
    if count & 1 == 0 {
        swar::is_bcd(field)
    } else {
        field.split_last().is_some_and(|(last, digits)| swar::is_bcd(digits) && last >> 4 < 10)
    }
}

/// `C` or `D`, then digits.
pub(crate) fn is_signed(field: &[u8]) -> bool {
    field
        .split_first()
        .is_some_and(|(sign, digits)| matches!(sign, b'C' | b'D') && swar::is_ascii_digits(digits))
}

/// Value of a length prefix at the start of `bytes`, or nothing when it is cut short or not decimal.
#[inline(always)]
fn prefix_value(prefix: Prefix, bytes: &[u8]) -> Option<u16> {
    match prefix {
        Prefix::None => None,
        Prefix::Bcd1 => swar::bcd_byte(*bytes.first()?),
        Prefix::Bcd2 => {
            let [high, low] = *bytes.first_chunk::<2>()?;
            Some(swar::bcd_byte(high)? * 100 + swar::bcd_byte(low)?)
        }
        Prefix::Ascii2 => ascii_value(bytes.first_chunk::<2>()?),
        Prefix::Ascii3 => ascii_value(bytes.first_chunk::<3>()?),
    }
}

fn ascii_value(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value, digit| Some(value * 10 + u16::from(swar::decimal(*digit)?)))
}

/// Why the field at `position` was refused.
#[cold]
fn explain(dialect: &Dialect, number: u8, body: &[u8], position: usize) -> ParseError {
    let op = dialect.op(u32::from(number));
    let error = |offset, kind| ParseError::new(number, offset, kind);
    if op.check == Check::Absent {
        return error(position, ErrorKind::NotInDialect);
    }
    let rest = body.get(position..).unwrap_or(&[]);
    let count = match op.prefix {
        Prefix::None => op.max,
        _ if rest.len() < op.prefix_len() => return error(body.len(), ErrorKind::Truncated),
        prefix => match prefix_value(prefix, rest) {
            None => return error(position, ErrorKind::BadLengthPrefix),
            Some(count) if count > op.max => return error(position, ErrorKind::TooLong { max: op.max }),
            Some(count) => count,
        },
    };
    let start = position + op.prefix_len();
    let Some(field) = body.get(start..start + op.body_len(usize::from(count))) else {
        return error(body.len(), ErrorKind::Truncated);
    };
    let first_bad = |good: fn(&[u8]) -> bool| {
        let place = field.iter().position(|byte| !good(&[*byte])).unwrap_or(field.len().saturating_sub(1));
        start + place
    };
    match op.check {
        Check::Bcd | Check::AsciiDigits if op.is_packed() => {
            error(first_bad(swar::is_bcd), ErrorKind::NotDecimal)
        }
        Check::BcdRight if swar::is_bcd(field) => error(start, ErrorKind::BadPad),
        Check::BcdRight => error(first_bad(swar::is_bcd), ErrorKind::NotDecimal),
        Check::AsciiDigits => error(first_bad(swar::is_ascii_digits), ErrorKind::NotDecimal),
        Check::AsciiTrack => error(first_bad(swar::is_ascii_track), ErrorKind::NotDecimal),
        Check::Alphanumeric => error(first_bad(swar::is_alphanumeric), ErrorKind::NotText),
        Check::Printable => error(first_bad(swar::is_printable), ErrorKind::NotText),
        Check::Text => error(first_bad(swar::is_text), ErrorKind::NotText),
        _ => error(start, ErrorKind::NotDecimal),
    }
}

impl<'a> Message<'a> {
    /// Message type.
    #[must_use]
    pub const fn mti(&self) -> Mti {
        self.mti
    }

    /// The dialect that the message was parsed with.
    #[must_use]
    pub const fn dialect(&self) -> &'a Dialect {
        self.dialect
    }

    /// Which fields are present: field `n` is bit `128 - n`. The indicator bit of a double bitmap is left out.
    #[must_use]
    pub const fn bitmap(&self) -> u128 {
        self.bitmap
    }

    /// Whether field `number` is present.
    #[must_use]
    #[inline]
    pub fn has(&self, number: u8) -> bool {
        self.slot(number).is_some()
    }

    /// The bytes that were parsed.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where field `number` lies, and its line.
    #[inline]
    fn slot(&self, number: u8) -> Option<(&'a Op, Slot)> {
        let op = self.dialect.op(u32::from(number));
        let slot = *self.slots.get(usize::from(op.slot) & (SLOTS - 1))?;
        // Numbers outside 1 to 128 have wrapped in the look-up of the line.
        if slot.end == 0 || number.wrapping_sub(1) > 127 { None } else { Some((op, slot)) }
    }

    /// The field's body and its length in digits or bytes.
    #[inline]
    fn body(&self, number: u8) -> Option<(&'a Op, &'a [u8], usize)> {
        let (op, slot) = self.slot(number)?;
        let body = self.bytes.get(slot.start(op)..slot.end())?;
        Some((op, body, usize::from(slot.count)))
    }

    /// Field `number`, if present.
    #[must_use]
    pub fn field(&self, number: u8) -> Option<Field<'a>> {
        let (op, slot) = self.slot(number)?;
        let (start, end) = (slot.start(op), slot.end());
        let body = self.bytes.get(start..end)?;
        let wire = self.bytes.get(start.wrapping_sub(op.prefix_len())..end)?;
        let spec = self.dialect.spec(number)?;
        Some(Field { number, op, spec, body, wire, count: usize::from(slot.count) })
    }

    /// The present fields, ascending.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        let mut rest = self.bitmap;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let place = rest.leading_zeros();
            rest &= !(1 << 127 >> place);
            self.field(place as u8 + 1)
        })
    }

    /// Value of a numeric field of at most 18 digits; nothing when it is absent, empty, longer or not numeric.
    #[must_use]
    #[inline]
    pub fn number(&self, number: u8) -> Option<u64> {
        let (op, slot) = self.slot(number)?;
        let count = u32::from(slot.count);
        if !matches!(op.check, Check::Bcd | Check::BcdRight) || count.wrapping_sub(1) >= 16 {
            return self.other_number(op, slot);
        }
        // Message type and bitmap stand before every field, so eight bytes end with it.
        let window = self.bytes.get(slot.end().wrapping_sub(8)..slot.end())?.first_chunk::<8>()?;
        // Its last `count` nibbles are the digits, once a filler after them is shifted out.
        let filler = u32::from(op.check == Check::Bcd) & count & 1;
        let nibbles = (u64::from_be_bytes(*window) >> (filler * 4)) << ((64 - count * 4) & 63);
        Some(swar::packed_value(nibbles >> ((64 - count * 4) & 63)))
    }

    /// Value of a field that is longer than 16 digits or not packed.
    fn other_number(&self, op: &Op, slot: Slot) -> Option<u64> {
        let (body, count) = (self.bytes.get(slot.start(op)..slot.end())?, slot.count);
        if count == 0 || count > 18 {
            return None;
        }
        match op.check {
            Check::Bcd | Check::BcdRight => {
                let (last, digits) = body.split_last()?;
                let high = swar::bcd_value(digits) * 10 + u64::from(last >> 4);
                let odd_left = op.check == Check::Bcd && count & 1 == 1;
                Some(if odd_left { high } else { high * 10 + u64::from(last & 15) })
            }
            Check::AsciiDigits => {
                Some(body.iter().fold(0, |value, digit| value * 10 + u64::from(digit & 15)))
            }
            _ => None,
        }
    }

    /// Digits of a numeric or track field of at most [`DIGITS_MAX`], in a buffer that is wiped when dropped.
    /// Tracks read as hexadecimal characters with `D` for the separator, in both dialects.
    #[must_use]
    #[inline]
    pub fn digits(&self, number: u8) -> Option<Digits> {
        let (op, body, count) = self.body(number)?;
        Digits::from_body(op, body, count)
    }

    /// Text of an `an` or `ans` field as transmitted, trailing spaces included; nothing when it is absent, of
    /// another format, or not ASCII.
    #[must_use]
    #[inline]
    pub fn text(&self, number: u8) -> Option<&'a str> {
        let (op, body, _) = self.body(number)?;
        match op.check {
            Check::Bcd | Check::BcdRight | Check::Nibbles | Check::Absent => None,
            Check::Text | Check::Any => std::str::from_utf8(body).ok().filter(|text| text.is_ascii()),
            // The table's check left nothing but ASCII.
            _ => std::str::from_utf8(body).ok(),
        }
    }

    /// The field's bytes without the length prefix, whatever its format.
    #[must_use]
    #[inline]
    pub fn bytes_of(&self, number: u8) -> Option<&'a [u8]> {
        self.body(number).map(|(_, body, _)| body)
    }

    /// The MAC block of the terminal rule: from the message type to the byte before field 64 (128 with the
    /// double bitmap), the bitmap as transmitted. Nothing when the message carries no MAC.
    #[must_use]
    pub fn mac_block(&self) -> Option<&'a [u8]> {
        let (op, slot) = self.slot(self.dialect.mac_field)?;
        self.bytes.get(..slot.start(op))
    }

    /// Body of a packed decimal field that has `digits` digits.
    #[inline]
    pub(crate) fn packed(&self, number: u8, digits: usize) -> Option<&'a [u8]> {
        self.body(number)
            .filter(|(op, _, count)| op.check == Check::Bcd && *count == digits)
            .map(|(_, body, _)| body)
    }

    /// Where field `number` ends, in bytes from the start; 0 when it is absent.
    pub(crate) fn offset_after(&self, number: u8) -> usize {
        self.slot(number).map_or(0, |(_, slot)| slot.end())
    }

    /// Walks field 55, if present, through all its TLV items.
    ///
    /// # Errors
    /// [`ErrorKind::BadTlv`] with the offset in the message of the item that breaks.
    pub fn check_chip_data(&self) -> Result<(), ParseError> {
        let Some(data) = self.bytes_of(55) else { return Ok(()) };
        crate::tlv::validate(data).map_err(|error| self.place(55, error))
    }

    /// Turns an error of a field's inside into one of this message: field number and offset from its start.
    #[must_use]
    pub fn place(&self, number: u8, error: ParseError) -> ParseError {
        let start = self.slot(number).map_or(0, |(op, slot)| slot.start(op));
        ParseError::new(number, start + error.offset, error.kind)
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message {{ {} {} fields", self.dialect.name(), self.mti)?;
        self.fields().try_for_each(|field| write!(f, " {}", field.number))?;
        f.write_str(" }")
    }
}

/// One field of a parsed message.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    number: u8,
    pub(crate) op: &'a Op,
    spec: &'a FieldSpec,
    body: &'a [u8],
    wire: &'a [u8],
    count: usize,
}

impl<'a> Field<'a> {
    /// Field number.
    #[must_use]
    pub const fn number(&self) -> u8 {
        self.number
    }

    /// Bytes after the length prefix.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Bytes with the length prefix.
    #[must_use]
    pub const fn wire(&self) -> &'a [u8] {
        self.wire
    }

    /// Length as the prefix counts it: digits for numeric and track fields, bytes for the others.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether a variable field arrived with length zero.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The dialect's line for this field.
    #[must_use]
    pub const fn spec(&self) -> &'a FieldSpec {
        self.spec
    }

    /// Digits of a numeric or track field: see [`Message::digits`].
    #[must_use]
    pub fn digits(&self) -> Option<Digits> {
        Digits::from_body(self.op, self.body, self.count)
    }

    /// Digit `place` of a numeric or track field, as its character; for fields longer than [`DIGITS_MAX`].
    #[must_use]
    pub fn digit(&self, place: usize) -> Option<u8> {
        if place >= self.count {
            return None;
        }
        match self.op.check {
            Check::AsciiDigits | Check::AsciiTrack => self.body.get(place).map(|byte| separator_as_d(*byte)),
            Check::Bcd | Check::Nibbles | Check::BcdRight => {
                let skip = usize::from(self.op.check == Check::BcdRight && self.count & 1 == 1);
                let [high, low] = swar::unpack1(*self.body.get((place + skip) / 2)?);
                Some(if (place + skip) & 1 == 0 { high } else { low })
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({}, length {})", self.number, self.count)
    }
}

/// Digits taken out of a field, held in place and wiped when dropped. Reads as `str`; `Debug` shows the count.
#[derive(Clone)]
pub struct Digits {
    len: usize,
    characters: [u8; DIGITS_MAX],
}

impl Digits {
    /// None yet; for layouts of sub-fields.
    pub(crate) const fn empty() -> Self {
        Self { len: 0, characters: [b'0'; DIGITS_MAX] }
    }

    /// Appends `value` as `width` digits, its lowest ones; what does not fit any more is left out.
    pub(crate) fn push(&mut self, value: u64, width: usize) {
        let end = (self.len + width).min(DIGITS_MAX);
        let mut rest = value;
        if let Some(room) = self.characters.get_mut(self.len..end) {
            for digit in room.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        self.len = end;
    }

    /// Appends characters of a field.
    pub(crate) fn push_digits(&mut self, digits: impl Iterator<Item = u8>) {
        for digit in digits {
            if let Some(to) = self.characters.get_mut(self.len) {
                *to = digit;
                self.len += 1;
            }
        }
    }

    #[inline]
    fn from_body(op: &Op, body: &[u8], count: usize) -> Option<Self> {
        if count > DIGITS_MAX {
            return None;
        }
        let mut characters = [b'0'; DIGITS_MAX];
        match op.check {
            Check::AsciiDigits => characters.get_mut(..count)?.copy_from_slice(body),
            Check::AsciiTrack => {
                for (to, from) in characters.iter_mut().zip(body) {
                    *to = separator_as_d(*from);
                }
            }
            Check::Bcd | Check::Nibbles | Check::BcdRight => {
                // A right-justified odd number starts at the second nibble of its first byte.
                let body = if op.check == Check::BcdRight && count & 1 == 1 {
                    let (first, rest) = body.split_first()?;
                    *characters.first_mut()? = swar::hex_digit(first & 15);
                    unpack(rest, characters.get_mut(1..)?);
                    &[]
                } else {
                    body
                };
                unpack(body, &mut characters);
            }
            _ => return None,
        }
        Some(Self { len: count, characters })
    }

    /// The digits.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever stored.
        self.characters.get(..self.len).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("")
    }

    /// The digits as ASCII bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.characters.get(..self.len).unwrap_or(&[])
    }
}

#[inline(always)]
fn unpack(body: &[u8], to: &mut [u8]) {
    let (fours, rest) = body.as_chunks::<4>();
    let (whole, tail) = to.split_at_mut((fours.len() * 8).min(to.len()));
    for (eight, four) in whole.as_chunks_mut::<8>().0.iter_mut().zip(fours) {
        *eight = swar::unpack4(*four);
    }
    for (two, byte) in tail.as_chunks_mut::<2>().0.iter_mut().zip(rest) {
        *two = swar::unpack1(*byte);
    }
}

const fn separator_as_d(byte: u8) -> u8 {
    if byte == b'=' { b'D' } else { byte }
}

impl Deref for Digits {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Digits {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Digits {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Digits {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq for Digits {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Digits {}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digits(<{} hidden>)", self.len)
    }
}

impl Drop for Digits {
    fn drop(&mut self) {
        // As a slice it is wiped in bulk, as an array byte by byte.
        self.characters.as_mut_slice().zeroize();
    }
}
