//! Building a message.

use zeroize::Zeroize;

use crate::dialect::{Check, Coding, Dialect, Op, Prefix};
use crate::error::{BuildError, BuildErrorKind};
use crate::message::{Field, MESSAGE_LEN_MAX, is_signed};
use crate::mti::Mti;
use crate::swar;

/// Where an encoded field lies in the arena.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// A message being built. Fields may be put in any order; putting one again replaces it.
///
/// A draft keeps its memory between messages: after the first few it allocates no more. It holds card data
/// while in use and wipes it when dropped.
///
/// ```
/// use iso8583::{CUP_POS, Draft, Mti};
/// let mut draft = Draft::new();
/// draft.start(&CUP_POS, Mti::new(820));
/// draft.put_number(11, 28)?;
/// draft.put_text(41, "10001234")?;
/// draft.put_text(42, "898100000000001")?;
/// draft.put_digits(60, "00000001301")?;
/// let mut bytes = Vec::new();
/// draft.write(&mut bytes)?;
/// assert_eq!(CUP_POS.parse(&bytes).unwrap().number(11), Some(28));
/// # Ok::<(), iso8583::BuildError>(())
/// ```
pub struct Draft {
    dialect: Option<&'static Dialect>,
    mti: Mti,
    bits: Bits,
    /// The fields of `arena` stand in ascending order without gaps, so it can be copied as a whole.
    ordered: bool,
    last: u8,
    /// Encoded fields in the order of putting, `used` bytes of them; the rest is room.
    arena: Vec<u8>,
    used: usize,
    spans: [Span; 128],
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.arena.zeroize();
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({}, {} fields)", self.mti, self.bits.word().count_ones())
    }
}

/// Which fields are there: field 1 is the first bit of the first word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bits {
    high: u64,
    low: u64,
}

impl Bits {
    const NONE: Self = Self { high: 0, low: 0 };

    /// The field alone.
    #[inline(always)]
    const fn of(number: u8) -> Self {
        let bit = 1 << 63 >> (number.wrapping_sub(1) & 63);
        if number <= 64 { Self { high: bit, low: 0 } } else { Self { high: 0, low: bit } }
    }

    #[inline(always)]
    const fn with(self, other: Self) -> Self {
        Self { high: self.high | other.high, low: self.low | other.low }
    }

    #[inline(always)]
    const fn without(self, other: Self) -> Self {
        Self { high: self.high & !other.high, low: self.low & !other.low }
    }

    /// As the bitmap on the wire.
    const fn word(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }
}

impl Draft {
    /// An empty draft; call [`Draft::start`] before putting fields.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dialect: None,
            mti: Mti::new(0),
            bits: Bits::NONE,
            ordered: true,
            last: 0,
            arena: Vec::new(),
            used: 0,
            spans: [Span { start: 0, len: 0 }; 128],
        }
    }

    /// Begins a message of type `mti`, forgetting the one before.
    pub fn start(&mut self, dialect: &'static Dialect, mti: Mti) {
        self.dialect = Some(dialect);
        self.mti = mti;
        self.bits = Bits::NONE;
        self.ordered = true;
        self.last = 0;
        self.used = 0;
    }

    /// The message type given to [`Draft::start`].
    #[must_use]
    pub const fn mti(&self) -> Mti {
        self.mti
    }

    /// Whether field `number` was put.
    #[must_use]
    pub const fn has(&self, number: u8) -> bool {
        number != 0 && number <= 128 && self.bits.word() & Bits::of(number).word() != 0
    }

    /// Takes field `number` out again, if it was put.
    pub fn remove(&mut self, number: u8) {
        if self.has(number) {
            self.bits = self.bits.without(Bits::of(number));
            self.ordered = false;
        }
    }

    #[inline(always)]
    fn op(&self, number: u8) -> Result<(&'static Dialect, &'static Op), BuildError> {
        let dialect = self.dialect.ok_or(BuildError::new(number, BuildErrorKind::NotStarted))?;
        let op = dialect.op(u32::from(number));
        if op.check == Check::Absent || number == 0 || number > 128 {
            return Err(BuildError::new(number, BuildErrorKind::NotInDialect));
        }
        Ok((dialect, op))
    }

    /// Room for `len` bytes at the end of the arena. They become a field with [`Draft::note`].
    #[inline(always)]
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.used + len;
        if end > self.arena.len() {
            self.grow(end);
        }
        self.arena.get_mut(self.used..end).unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        let mut larger = vec![0; end.next_power_of_two().max(ARENA_LEN_MIN)];
        if let Some(room) = larger.get_mut(..self.arena.len()) {
            room.copy_from_slice(&self.arena);
        }
        // Not left to the allocator: it would give the old bytes away unwiped.
        self.arena.zeroize();
        self.arena = larger;
    }

    /// Makes the next `len` bytes of the arena field `number`.
    #[inline(always)]
    fn note(&mut self, number: u8, len: usize) {
        if let Some(span) = self.spans.get_mut((number.wrapping_sub(1) & 127) as usize) {
            *span = Span { start: self.used as u32, len: len as u32 };
        }
        self.used += len;
        self.ordered &= number > self.last;
        self.last = self.last.max(number);
        self.bits = self.bits.with(Bits::of(number));
    }

    /// Encodes a value of `count` digits or bytes: checks the length, writes the prefix, lets `write` fill the
    /// body. `write` answers whether every character was good.
    #[inline(always)]
    fn put(
        &mut self,
        number: u8,
        op: &Op,
        count: usize,
        write: impl FnOnce(&mut [u8]) -> bool,
    ) -> Result<(), BuildError> {
        let error = |kind| Err(BuildError::new(number, kind));
        if count > usize::from(op.max) {
            return error(BuildErrorKind::TooLong { max: op.max });
        }
        let prefix_len = op.prefix_len();
        let len = prefix_len + op.body_len(count);
        match op.prefix {
            Prefix::None if count != usize::from(op.max) => {
                return error(BuildErrorKind::WrongLength { expected: op.max });
            }
            Prefix::None => {}
            _ if count == 0 => return error(BuildErrorKind::Empty),
            _ => {}
        }
        let (prefix, body) = self.room(len).split_at_mut(prefix_len);
        if op.prefix != Prefix::None {
            write_prefix(op.prefix, prefix, count as u16);
        }
        if !write(body) {
            return error(BuildErrorKind::BadCharacter);
        }
        self.note(number, len);
        Ok(())
    }

    /// Puts a number into a numeric field. A fixed field is filled with zeros on the left; a variable one gets
    /// as many digits as the number has.
    ///
    /// # Errors
    /// Not a numeric field, or more digits than it holds.
    pub fn put_number(&mut self, number: u8, value: u64) -> Result<(), BuildError> {
        let (_, op) = self.op(number)?;
        let error = |kind| Err(BuildError::new(number, kind));
        if !matches!(op.check, Check::Bcd | Check::BcdRight | Check::AsciiDigits) {
            return error(BuildErrorKind::WrongFormat);
        }
        // A fixed field shows by what is left over whether the number fits; a variable one needs its length.
        let count = match op.prefix {
            Prefix::None => usize::from(op.max),
            _ => value.checked_ilog10().map_or(1, |digits| digits as usize + 1),
        };
        let mut fits = true;
        let put = self.put(number, op, count, |body| {
            let left = match op.check {
                Check::AsciiDigits => write_ascii_number(body, value),
                // An odd count from the left is the number times ten, the filler in the place of the last digit.
                Check::Bcd if count & 1 == 1 => write_odd_number(body, value, op.pad),
                _ => write_packed_number(body, value, count),
            };
            fits = left == 0;
            fits
        });
        if fits { put } else { error(BuildErrorKind::TooLong { max: op.max }) }
    }

    /// Puts digits into a numeric or track field. A fixed field needs exactly its number of digits. In tracks
    /// the separator may be `D` or `=` and hexadecimal characters are taken (an encrypted track).
    ///
    /// # Errors
    /// Another format, a wrong length, an empty value or a character that is not a digit.
    pub fn put_digits(&mut self, number: u8, digits: &str) -> Result<(), BuildError> {
        self.put_ascii_digits(number, digits.as_bytes())
    }

    #[inline(always)]
    fn put_ascii_digits(&mut self, number: u8, digits: &[u8]) -> Result<(), BuildError> {
        let (dialect, op) = self.op(number)?;
        if !is_digits_field(op) {
            return Err(BuildError::new(number, BuildErrorKind::WrongFormat));
        }
        self.put(number, op, digits.len(), |body| match op.check {
            Check::Bcd => pack_digits(body, digits, op.pad),
            Check::BcdRight => {
                let (odd, even) = digits.split_at(digits.len() & 1);
                let (first, rest) = body.split_at_mut(odd.len());
                let good = first
                    .iter_mut()
                    .zip(odd)
                    .all(|(to, digit)| swar::decimal(*digit).map(|value| *to = value).is_some());
                good && pack_digits(rest, even, op.pad)
            }
            Check::Nibbles => pack_track(body, digits, op.pad),
            Check::AsciiDigits => {
                body.copy_from_slice(digits);
                swar::is_ascii_digits(digits)
            }
            _ => body.iter_mut().zip(digits).all(|(to, byte)| {
                let character = match swar::track_nibble(*byte) {
                    Some(0xd) => Some(dialect.separator),
                    Some(nibble) => Some(swar::hex_digit(nibble)),
                    None => None,
                };
                character.map(|character| *to = character).is_some()
            }),
        })
    }

    /// Puts text. Fixed fields are filled with spaces on the right; Chinese is written in GBK where the field
    /// takes it. Private binary fields (59, 62, 63) take text as its bytes.
    ///
    /// # Errors
    /// Another format, too long, empty, or a character outside the field's alphabet.
    pub fn put_text(&mut self, number: u8, text: &str) -> Result<(), BuildError> {
        let (_, op) = self.op(number)?;
        if matches!(op.check, Check::Text | Check::Any) && !text.is_ascii() {
            let (bytes, _, lost) = encoding_rs::GBK.encode(text);
            if lost {
                return Err(BuildError::new(number, BuildErrorKind::BadCharacter));
            }
            return self.put_filled(number, op, &bytes);
        }
        self.put_filled(number, op, text.as_bytes())
    }

    /// Puts bytes into a binary or text field; fixed binary fields need exactly their length, fixed text fields
    /// are filled with spaces.
    ///
    /// # Errors
    /// A packed numeric field, a wrong length, an empty value, or a byte outside the field's alphabet.
    pub fn put_bytes(&mut self, number: u8, bytes: &[u8]) -> Result<(), BuildError> {
        let (_, op) = self.op(number)?;
        self.put_filled(number, op, bytes)
    }

    #[inline(always)]
    fn put_filled(&mut self, number: u8, op: &Op, bytes: &[u8]) -> Result<(), BuildError> {
        if is_digits_field(op) {
            return Err(BuildError::new(number, BuildErrorKind::WrongFormat));
        }
        let is_text = matches!(op.check, Check::Alphanumeric | Check::Printable | Check::Text);
        let count = if op.prefix == Prefix::None && is_text {
            bytes.len().max(usize::from(op.max))
        } else {
            bytes.len()
        };
        self.put(number, op, count, |body| {
            let (text, fill) = body.split_at_mut(bytes.len().min(body.len()));
            text.copy_from_slice(bytes);
            fill.fill(b' ');
            match op.check {
                Check::Alphanumeric => swar::is_alphanumeric(bytes),
                Check::Printable => swar::is_printable(bytes),
                Check::Text => swar::is_text(bytes),
                Check::Signed => is_signed(bytes),
                _ => true,
            }
        })
    }

    /// Copies a field of a parsed message byte for byte, its filler nibble included.
    ///
    /// # Errors
    /// The draft's dialect does not have the field or packs it differently.
    pub fn put_field(&mut self, field: &Field<'_>) -> Result<(), BuildError> {
        let (_, op) = self.op(field.number())?;
        let same = op.check == field.op.check && op.prefix == field.op.prefix;
        let fits =
            field.len() <= usize::from(op.max) && (op.prefix != Prefix::None || op.max == field.op.max);
        if !same || !fits {
            return Err(BuildError::new(field.number(), BuildErrorKind::OtherDialect));
        }
        let wire = field.wire();
        self.room(wire.len()).copy_from_slice(wire);
        self.note(field.number(), wire.len());
        Ok(())
    }

    /// Appends message type, bitmap and fields to `out`.
    ///
    /// # Errors
    /// No message was started, its type is not four digits, or it is larger than a frame carries. `out` is then
    /// as it was.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let dialect = self.dialect.ok_or(BuildError::new(0, BuildErrorKind::NotStarted))?;
        self.write_fields(dialect, out, self.bits, self.bits)
    }

    /// Appends the message with its MAC. The MAC field's bit is set first; `mac` is then called with exactly
    /// the MAC block of the terminal rule (message type to the last byte before the MAC, bitmap as transmitted)
    /// and its eight bytes are appended. A MAC field that was put before is ignored.
    ///
    /// The network's MAC covers other text: take [`cups::mac_text`](crate::cups::mac_text) and put field 128.
    ///
    /// # Errors
    /// As [`Draft::write`], or whatever `mac` returns. `out` is then as it was.
    pub fn write_with_mac<E: From<BuildError>>(
        &self,
        out: &mut Vec<u8>,
        mac: impl FnOnce(&[u8]) -> Result<[u8; 8], E>,
    ) -> Result<(), E> {
        let dialect = self.dialect.ok_or(BuildError::new(0, BuildErrorKind::NotStarted))?;
        let mac_bit = Bits::of(dialect.mac_field);
        let start = out.len();
        self.write_fields(dialect, out, self.bits.with(mac_bit), self.bits.without(mac_bit))?;
        match mac(out.get(start..).unwrap_or(&[])) {
            Ok(value) => {
                out.extend_from_slice(&value);
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Writes the head with the bits of `announced`, then the fields of `carried`.
    #[inline(always)]
    fn write_fields(
        &self,
        dialect: &Dialect,
        out: &mut Vec<u8>,
        announced: Bits,
        carried: Bits,
    ) -> Result<(), BuildError> {
        let error = |kind| Err(BuildError::new(0, kind));
        let value = self.mti.value();
        if value > 9999 {
            return error(BuildErrorKind::BadMti);
        }
        let start = out.len();
        let (high, low) = ((value / 100) as u8, (value % 100) as u8);
        match dialect.numerals {
            Coding::Bcd => {
                out.extend_from_slice(&[((high / 10) << 4) | (high % 10), ((low / 10) << 4) | (low % 10)]);
                out.extend_from_slice(&announced.high.to_be_bytes());
            }
            Coding::Ascii => {
                let digits = [high / 10, high % 10, low / 10, low % 10].map(|digit| b'0' + digit);
                out.extend_from_slice(&digits);
                out.extend_from_slice(&(announced.word() | 1 << 127).to_be_bytes());
            }
        }
        if self.ordered && carried == self.bits {
            out.extend_from_slice(self.arena.get(..self.used).unwrap_or_default());
        } else {
            let mut rest = carried.word();
            while rest != 0 {
                let place = rest.leading_zeros();
                rest &= !(1 << 127 >> place);
                let field = self
                    .spans
                    .get(place as usize)
                    .and_then(|span| self.arena.get(span.start as usize..(span.start + span.len) as usize));
                out.extend_from_slice(field.unwrap_or(&[]));
            }
        }
        if out.len() - start > MESSAGE_LEN_MAX {
            out.truncate(start);
            return error(BuildErrorKind::MessageTooLong);
        }
        Ok(())
    }
}

/// Room that a draft begins with: a whole sale.
const ARENA_LEN_MIN: usize = 512;

/// Whether the field takes digits (and not text or bytes).
#[inline(always)]
const fn is_digits_field(op: &Op) -> bool {
    op.is_packed() || matches!(op.check, Check::AsciiDigits | Check::AsciiTrack)
}

/// Writes a length prefix into its bytes. Most fields have none, so it stays out of their way.
#[inline(never)]
fn write_prefix(prefix: Prefix, to: &mut [u8], count: u16) {
    let (hundreds, tens, units) = ((count / 100) as u8, (count / 10 % 10) as u8, (count % 10) as u8);
    match (prefix, to) {
        (Prefix::Bcd1, [a]) => *a = (tens << 4) | units,
        (Prefix::Bcd2, [a, b]) => (*a, *b) = (hundreds, (tens << 4) | units),
        (Prefix::Ascii2, [a, b]) => (*a, *b) = (b'0' + tens, b'0' + units),
        (Prefix::Ascii3, [a, b, c]) => (*a, *b, *c) = (b'0' + hundreds, b'0' + tens, b'0' + units),
        _ => {}
    }
}

/// Writes the last `count` digits of `value`, packed, and returns what is left of it; an odd count has a zero
/// before it.
#[inline(always)]
fn write_packed_number(to: &mut [u8], value: u64, count: usize) -> u64 {
    let mut rest = value;
    for byte in to.iter_mut().rev() {
        let pair = (rest % 100) as u8;
        *byte = ((pair / 10) << 4) | (pair % 10);
        rest /= 100;
    }
    // The zero before an odd count is no place for a digit.
    let filler = if count & 1 == 1 { to.first().copied().unwrap_or(0) >> 4 } else { 0 };
    rest + u64::from(filler)
}

/// The same for an odd count of digits from the left: the last one shares its byte with the filler.
fn write_odd_number(to: &mut [u8], value: u64, pad: u8) -> u64 {
    match to.split_last_mut() {
        Some((last, rest)) => {
            *last = ((value % 10) as u8) << 4 | pad;
            write_packed_number(rest, value / 10, 0)
        }
        None => value,
    }
}

/// Writes the last digits of `value` in ASCII and returns what is left of it.
fn write_ascii_number(to: &mut [u8], value: u64) -> u64 {
    let mut rest = value;
    for byte in to.iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    rest
}

/// Packs decimal digits from the left; false when one is not decimal.
#[inline(always)]
fn pack_digits(to: &mut [u8], digits: &[u8], pad: u8) -> bool {
    let (eights, rest) = digits.as_chunks::<8>();
    let (whole, tail) = to.split_at_mut((eights.len() * 4).min(to.len()));
    for (four, eight) in whole.as_chunks_mut::<4>().0.iter_mut().zip(eights) {
        match swar::pack8(*eight) {
            Some(packed) => *four = packed,
            None => return false,
        }
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    let mut bad = 0;
    let mut nibble = |character: u8| {
        let value = character.wrapping_sub(b'0');
        bad |= u8::from(value > 9);
        value & 15
    };
    let mut bytes = tail.iter_mut();
    for ([high, low], byte) in pairs.iter().zip(&mut bytes) {
        *byte = (nibble(*high) << 4) | nibble(*low);
    }
    for (digit, byte) in odd.iter().zip(bytes) {
        *byte = (nibble(*digit) << 4) | pad;
    }
    bad == 0
}

/// Packs track characters from the left; false when one is not a track character.
#[inline(always)]
fn pack_track(to: &mut [u8], characters: &[u8], pad: u8) -> bool {
    let (eights, rest) = characters.as_chunks::<8>();
    let (whole, tail) = to.split_at_mut((eights.len() * 4).min(to.len()));
    for (four, eight) in whole.as_chunks_mut::<4>().0.iter_mut().zip(eights) {
        match swar::pack8(*eight) {
            Some(packed) => *four = packed,
            None if pack_track_pairs(four, eight, pad) => {}
            None => return false,
        }
    }
    pack_track_pairs(tail, rest, pad)
}

fn pack_track_pairs(to: &mut [u8], characters: &[u8], pad: u8) -> bool {
    to.iter_mut().zip(characters.chunks(2)).all(|(to, pair)| {
        let value = match pair {
            [high, low] => match (swar::track_nibble(*high), swar::track_nibble(*low)) {
                (Some(high), Some(low)) => Some((high << 4) | low),
                _ => None,
            },
            [high] => swar::track_nibble(*high).map(|high| (high << 4) | pad),
            _ => None,
        };
        value.map(|value| *to = value).is_some()
    })
}
