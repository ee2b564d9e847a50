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
    bitmap: u128,
    /// The fields of `arena` stand in ascending order without gaps, so it can be copied as a whole.
    ordered: bool,
    last: u8,
    arena: Vec<u8>,
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
        write!(f, "Draft({}, {} fields)", self.mti, self.bitmap.count_ones())
    }
}

const fn bit(number: u8) -> u128 {
    1 << (127 - (number.wrapping_sub(1) & 127))
}

impl Draft {
    /// An empty draft; call [`Draft::start`] before putting fields.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dialect: None,
            mti: Mti::new(0),
            bitmap: 0,
            ordered: true,
            last: 0,
            arena: Vec::new(),
            spans: [Span { start: 0, len: 0 }; 128],
        }
    }

    /// Begins a message of type `mti`, forgetting the one before.
    pub fn start(&mut self, dialect: &'static Dialect, mti: Mti) {
        self.dialect = Some(dialect);
        self.mti = mti;
        self.bitmap = 0;
        self.ordered = true;
        self.last = 0;
        self.arena.clear();
    }

    /// The message type given to [`Draft::start`].
    #[must_use]
    pub const fn mti(&self) -> Mti {
        self.mti
    }

    /// Whether field `number` was put.
    #[must_use]
    pub const fn has(&self, number: u8) -> bool {
        number != 0 && number <= 128 && self.bitmap & bit(number) != 0
    }

    /// Takes field `number` out again, if it was put.
    pub fn remove(&mut self, number: u8) {
        if self.has(number) {
            self.bitmap &= !bit(number);
            self.ordered = false;
        }
    }

    #[inline(always)]
    fn op(&self, number: u8) -> Result<(&'static Dialect, Op), BuildError> {
        let dialect = self.dialect.ok_or(BuildError::new(number, BuildErrorKind::NotStarted))?;
        let op = dialect.op(u32::from(number));
        if op.check == Check::Absent || number == 0 || number > 128 {
            return Err(BuildError::new(number, BuildErrorKind::NotInDialect));
        }
        Ok((dialect, op))
    }

    /// Notes that field `number` is what was appended to the arena from `start` on.
    #[inline(always)]
    fn note(&mut self, number: u8, start: usize) {
        let len = self.arena.len() - start;
        if let Some(span) = self.spans.get_mut((number.wrapping_sub(1) & 127) as usize) {
            *span = Span { start: start as u32, len: len as u32 };
        }
        self.ordered &= number > self.last;
        self.last = self.last.max(number);
        self.bitmap |= bit(number);
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
        // Wide enough for the widest fixed numeric field of any dialect, filled with zeros on the left.
        let mut digits = [b'0'; NUMBER_WIDTH_MAX];
        let mut first = digits.len();
        let mut rest = value;
        for (place, pair) in digits.as_chunks_mut::<2>().0.iter_mut().enumerate().rev() {
            let low = (rest % 100) as u8;
            *pair = [b'0' + low / 10, b'0' + low % 10];
            rest /= 100;
            first = place * 2 + usize::from(low < 10);
            if rest == 0 {
                break;
            }
        }
        let shown = digits.len() - first;
        if shown > usize::from(op.max) {
            return error(BuildErrorKind::TooLong { max: op.max });
        }
        let width = if op.prefix == Prefix::None { usize::from(op.max) } else { shown };
        match digits.len().checked_sub(width).and_then(|start| digits.get(start..)) {
            Some(digits) => self.put_ascii_digits(number, digits),
            None => error(BuildErrorKind::WrongFormat),
        }
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
        let start = self.arena.len();
        self.put_prefix(number, op, digits.len())?;
        let good = match op.check {
            Check::Bcd => pack_digits(&mut self.arena, digits, op.pad),
            Check::BcdRight => {
                let (first, rest) = digits.split_at(digits.len() & 1);
                let good = first
                    .iter()
                    .all(|digit| swar::decimal(*digit).map(|value| self.arena.push(value)).is_some());
                good && pack_digits(&mut self.arena, rest, op.pad)
            }
            Check::Nibbles => pack_track(&mut self.arena, digits, op.pad),
            Check::AsciiDigits => {
                self.arena.extend_from_slice(digits);
                swar::is_ascii_digits(digits)
            }
            Check::AsciiTrack => digits.iter().all(|byte| {
                let character = match swar::track_nibble(*byte) {
                    Some(0xd) => Some(dialect.separator),
                    Some(nibble) => Some(swar::hex_digit(nibble)),
                    None => None,
                };
                character.map(|character| self.arena.push(character)).is_some()
            }),
            _ => {
                self.arena.truncate(start);
                return Err(BuildError::new(number, BuildErrorKind::WrongFormat));
            }
        };
        self.finish(number, start, good)
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
    fn put_filled(&mut self, number: u8, op: Op, bytes: &[u8]) -> Result<(), BuildError> {
        let width = usize::from(op.max);
        let fill = match (op.prefix, op.check) {
            (Prefix::None, Check::Alphanumeric | Check::Printable | Check::Text) => {
                width.saturating_sub(bytes.len())
            }
            _ => 0,
        };
        let start = self.arena.len();
        self.put_prefix(number, op, bytes.len() + fill)?;
        let good = match op.check {
            Check::Any => true,
            Check::Alphanumeric => swar::is_alphanumeric(bytes),
            Check::Printable => swar::is_printable(bytes),
            Check::Text => swar::is_text(bytes),
            Check::Signed => is_signed(bytes),
            _ => {
                self.arena.truncate(start);
                return Err(BuildError::new(number, BuildErrorKind::WrongFormat));
            }
        };
        self.arena.extend_from_slice(bytes);
        self.arena.resize(self.arena.len() + fill, b' ');
        self.finish(number, start, good)
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
        let start = self.arena.len();
        self.arena.extend_from_slice(field.wire());
        self.note(field.number(), start);
        Ok(())
    }

    /// Checks the length and writes its prefix.
    #[inline(always)]
    fn put_prefix(&mut self, number: u8, op: Op, count: usize) -> Result<(), BuildError> {
        let error = |kind| Err(BuildError::new(number, kind));
        if count > usize::from(op.max) {
            return error(BuildErrorKind::TooLong { max: op.max });
        }
        let count = count as u16;
        let (hundreds, tens, units) = ((count / 100) as u8, (count / 10 % 10) as u8, (count % 10) as u8);
        match op.prefix {
            Prefix::None if count != op.max => {
                return error(BuildErrorKind::WrongLength { expected: op.max });
            }
            Prefix::None => {}
            _ if count == 0 => return error(BuildErrorKind::Empty),
            Prefix::Bcd1 => self.arena.push(tens << 4 | units),
            Prefix::Bcd2 => self.arena.extend_from_slice(&[hundreds, tens << 4 | units]),
            Prefix::Ascii2 => self.arena.extend_from_slice(&[b'0' + tens, b'0' + units]),
            Prefix::Ascii3 => self.arena.extend_from_slice(&[b'0' + hundreds, b'0' + tens, b'0' + units]),
        }
        Ok(())
    }

    #[inline(always)]
    fn finish(&mut self, number: u8, start: usize, good: bool) -> Result<(), BuildError> {
        if !good {
            self.arena.truncate(start);
            return Err(BuildError::new(number, BuildErrorKind::BadCharacter));
        }
        self.note(number, start);
        Ok(())
    }

    /// Appends message type, bitmap and fields to `out`.
    ///
    /// # Errors
    /// No message was started, its type is not four digits, or it is larger than a frame carries. `out` is then
    /// as it was.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), BuildError> {
        let dialect = self.dialect.ok_or(BuildError::new(0, BuildErrorKind::NotStarted))?;
        self.write_fields(dialect, out, self.bitmap, self.bitmap)
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
        let mac_bit = bit(dialect.mac_field);
        let start = out.len();
        self.write_fields(dialect, out, self.bitmap | mac_bit, self.bitmap & !mac_bit)?;
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
        announced: u128,
        carried: u128,
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
                out.extend_from_slice(&((announced >> 64) as u64).to_be_bytes());
            }
            Coding::Ascii => {
                let digits = [high / 10, high % 10, low / 10, low % 10].map(|digit| b'0' + digit);
                out.extend_from_slice(&digits);
                out.extend_from_slice(&(announced | 1 << 127).to_be_bytes());
            }
        }
        if self.ordered && carried == self.bitmap {
            out.extend_from_slice(&self.arena);
        } else {
            let mut rest = carried;
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

/// Digits of the widest fixed numeric field: the original data elements, field 90, have 42.
const NUMBER_WIDTH_MAX: usize = 48;

/// Packs decimal digits from the left; false when one is not decimal.
#[inline(always)]
fn pack_digits(arena: &mut Vec<u8>, digits: &[u8], pad: u8) -> bool {
    let (eights, rest) = digits.as_chunks::<8>();
    for eight in eights {
        match swar::pack8(*eight) {
            Some(four) => arena.extend_from_slice(&four),
            None => return false,
        }
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    for [high, low] in pairs {
        match (swar::decimal(*high), swar::decimal(*low)) {
            (Some(high), Some(low)) => arena.push(high << 4 | low),
            _ => return false,
        }
    }
    odd.iter().all(|digit| swar::decimal(*digit).map(|value| arena.push(value << 4 | pad)).is_some())
}

/// Packs track characters from the left; false when one is not a track character.
#[inline(always)]
fn pack_track(arena: &mut Vec<u8>, characters: &[u8], pad: u8) -> bool {
    let (eights, rest) = characters.as_chunks::<8>();
    for eight in eights {
        match swar::pack8(*eight) {
            Some(four) => arena.extend_from_slice(&four),
            None if pack_track_pairs(arena, eight, pad) => {}
            None => return false,
        }
    }
    pack_track_pairs(arena, rest, pad)
}

fn pack_track_pairs(arena: &mut Vec<u8>, characters: &[u8], pad: u8) -> bool {
    let (pairs, odd) = characters.as_chunks::<2>();
    for [high, low] in pairs {
        match (swar::track_nibble(*high), swar::track_nibble(*low)) {
            (Some(high), Some(low)) => arena.push(high << 4 | low),
            _ => return false,
        }
    }
    odd.iter().all(|digit| swar::track_nibble(*digit).map(|value| arena.push(value << 4 | pad)).is_some())
}
