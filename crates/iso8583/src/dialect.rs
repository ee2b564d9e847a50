//! Dialects as tables.
//!
//! A dialect is one line per field: name, format, coding, length, filler and what a masked view may show. The
//! parser, the builder, the masked view and the text form all read the same line. What differs between
//! acquirers is a [`Profile`]: a set of switches that changes lines of the table, never code.

mod cup_pos;
mod cups;
mod profile;
mod switches;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

pub use cup_pos::CUP_POS;
pub use cups::CUPS;
pub use profile::{
    BalanceAnswer, Contradiction, KeyLayout, MacForm, MacRule, NibbleCoding, Profile, Sm4PinCarrier,
    SwitchError,
};
pub use switches::{Fact, SWITCHES, Scope, Switch};

/// What a field's characters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n`: decimal digits.
    N,
    /// `z`: track data, decimal digits and the separator; any nibble once a track is encrypted.
    Z,
    /// `x+n`: `C` or `D`, then decimal digits.
    Xn,
    /// `an`: letters, digits and space.
    An,
    /// `ans`: printable ASCII.
    Ans,
    /// `ans` that may hold Chinese: printable ASCII or GBK.
    Text,
    /// `b`, and private fields whose content depends on the use: any bytes.
    B,
}

/// How a field's characters become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Two digits a byte.
    Bcd,
    /// One byte a character.
    Ascii,
}

/// Length of a field, in digits for `n` and `z`, in bytes for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Length {
    /// Always so many.
    Fixed(u16),
    /// At most so many; two digits of length in front.
    Ll(u16),
    /// At most so many; three digits of length in front.
    Lll(u16),
}

impl Length {
    /// The fixed length, or the most that a variable field may hold.
    #[must_use]
    pub const fn max(self) -> u16 {
        match self {
            Self::Fixed(max) | Self::Ll(max) | Self::Lll(max) => max,
        }
    }
}

/// On which side an odd number of packed digits stands in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Justify {
    /// Digits first, a filler nibble after them.
    Left,
    /// A zero nibble before the digits.
    Right,
}

/// What a masked view may show of a field, and how it is read by people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Show {
    /// As it is.
    Plain,
    /// Amount in fen, shown in yuan.
    Amount,
    /// `hhmmss`.
    Time,
    /// `MMDD`.
    Date,
    /// `MMDDhhmmss`.
    DateTime,
    /// `YYMM`: a card's expiry.
    Expiry,
    /// Card number: first six, last four.
    Pan,
    /// Track data: first six digits of the card number, nothing else.
    Track,
    /// PIN block, key: nothing.
    Secret,
    /// Chip data: TLV with its secret items hidden.
    Chip,
    /// Private field with sub-fields: see [`describe`](crate::describe).
    Nested,
    /// Account number of a transfer: as a card number.
    Account,
    /// Free text of vendors and networks: shown, but a run of digits as long as a card number is masked as one.
    Free,
}

/// One line of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Field number, 2 to 128.
    pub number: u8,
    /// Chinese name.
    pub name_zh: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Characters.
    pub format: Format,
    /// Bytes per character.
    pub coding: Coding,
    /// Length and prefix.
    pub length: Length,
    /// Side of an odd number of packed digits.
    pub justify: Justify,
    /// Filler nibble (0 or 15) that is written after an odd number of left-justified digits; any is accepted.
    pub pad: u8,
    /// Masking and rendering.
    pub show: Show,
}

impl FieldSpec {
    /// A line with the dialect's usual packing: left-justified, filled with zero.
    const fn new(
        number: u8,
        (name_zh, name_en): (&'static str, &'static str),
        format: Format,
        coding: Coding,
        length: Length,
        show: Show,
    ) -> Self {
        Self { number, name_zh, name_en, format, coding, length, justify: Justify::Left, pad: 0, show }
    }
}

/// How the length prefix of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefix {
    None,
    Bcd1,
    Bcd2,
    Ascii2,
    Ascii3,
}

/// Which test a field's body must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// The dialect has no such field.
    Absent,
    Bcd,
    BcdRight,
    Nibbles,
    AsciiDigits,
    AsciiTrack,
    Signed,
    Alphanumeric,
    Printable,
    Text,
    Any,
}

/// What the inner loops need of a line, in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) check: Check,
    pub(crate) prefix: Prefix,
    prefix_len: u8,
    /// 1 when digits are packed two a byte, else 0.
    packed: u8,
    pub(crate) max: u16,
    pub(crate) pad: u8,
    /// Place of the field among the dialect's fields, from 1; 0 is the place of what is absent.
    pub(crate) slot: u8,
}

impl Op {
    const ABSENT: Self = Self {
        check: Check::Absent,
        prefix: Prefix::None,
        prefix_len: 0,
        packed: 0,
        max: 0,
        pad: 0,
        slot: 0,
    };

    const fn of(spec: &FieldSpec, prefixes: Coding, slot: u8) -> Self {
        let check = match (spec.format, spec.coding, spec.justify) {
            (Format::N, Coding::Bcd, Justify::Left) => Check::Bcd,
            (Format::N, Coding::Bcd, Justify::Right) => Check::BcdRight,
            (Format::N, Coding::Ascii, _) => Check::AsciiDigits,
            (Format::Z, Coding::Bcd, _) => Check::Nibbles,
            (Format::Z, Coding::Ascii, _) => Check::AsciiTrack,
            (Format::Xn, ..) => Check::Signed,
            (Format::An, ..) => Check::Alphanumeric,
            (Format::Ans, ..) => Check::Printable,
            (Format::Text, ..) => Check::Text,
            (Format::B, ..) => Check::Any,
        };
        let prefix = match (spec.length, prefixes) {
            (Length::Fixed(_), _) => Prefix::None,
            (Length::Ll(_), Coding::Bcd) => Prefix::Bcd1,
            (Length::Lll(_), Coding::Bcd) => Prefix::Bcd2,
            (Length::Ll(_), Coding::Ascii) => Prefix::Ascii2,
            (Length::Lll(_), Coding::Ascii) => Prefix::Ascii3,
        };
        let prefix_len = match prefix {
            Prefix::None => 0,
            Prefix::Bcd1 => 1,
            Prefix::Bcd2 | Prefix::Ascii2 => 2,
            Prefix::Ascii3 => 3,
        };
        let packed = matches!(check, Check::Bcd | Check::BcdRight | Check::Nibbles) as u8;
        Self { check, prefix, prefix_len, packed, max: spec.length.max(), pad: spec.pad, slot }
    }

    /// Whether the length counts digits that are packed two a byte.
    #[inline(always)]
    pub(crate) const fn is_packed(&self) -> bool {
        self.packed == 1
    }

    /// Bytes of the length prefix.
    #[inline(always)]
    pub(crate) const fn prefix_len(&self) -> usize {
        self.prefix_len as usize
    }

    /// Bytes of a body whose length is `count` digits or bytes.
    #[inline(always)]
    pub(crate) const fn body_len(&self, count: usize) -> usize {
        (count + self.packed as usize) >> self.packed
    }
}

/// Most fields of one dialect, with one place for what is absent.
pub(crate) const SLOTS: usize = 64;

/// A dialect: how the message type, the bitmap, the prefixes and each field are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    name: Cow<'static, str>,
    pub(crate) numerals: Coding,
    pub(crate) bitmap_len: usize,
    pub(crate) mac_field: u8,
    pub(crate) separator: u8,
    tlv59_digits: Option<u8>,
    specs: [Option<FieldSpec>; 128],
    ops: [Op; 128],
}

impl Dialect {
    /// A dialect from its lines; evaluated by the compiler for the tables of this crate.
    #[expect(clippy::indexing_slicing, reason = "runs at compile time: a wrong number stops the build")]
    const fn from_lines(
        name: &'static str,
        numerals: Coding,
        bitmap_len: usize,
        tlv59_digits: Option<u8>,
        lines: &[FieldSpec],
    ) -> Self {
        let mut specs = [None; 128];
        let mut ops = [Op::ABSENT; 128];
        let mut line = 0;
        while line < lines.len() {
            let spec = lines[line];
            let place = spec.number as usize - 1;
            assert!(specs[place].is_none(), "two lines for one field");
            assert!(place > 0 && place < bitmap_len * 8, "field outside the bitmap");
            specs[place] = Some(spec);
            line += 1;
            assert!(line < SLOTS, "more fields than a message has slots");
            ops[place] = Op::of(&spec, numerals, line as u8);
        }
        let mac_field = (bitmap_len * 8) as u8;
        Self {
            name: Cow::Borrowed(name),
            numerals,
            bitmap_len,
            mac_field,
            separator: b'=',
            tlv59_digits,
            specs,
            ops,
        }
    }

    /// This dialect with the switches of `profile` set; meant for [`CUP_POS`].
    #[must_use]
    pub fn with_profile(&self, profile: &Profile) -> Self {
        let mut dialect = self.clone();
        dialect.name = profile.name.clone();
        dialect.tlv59_digits = profile.tlv59_digits;
        for spec in dialect.specs.iter_mut().flatten() {
            match (spec.number, spec.length) {
                (2, _) => spec.pad = profile.pan_pad & 15,
                (_, Length::Ll(_) | Length::Lll(_)) if spec.format == Format::N => {
                    spec.pad = profile.pad & 15
                }
                _ => {}
            }
            match spec.number {
                23 => spec.justify = profile.field_23,
                32 => spec.justify = profile.field_32,
                55 => spec.length = Length::Lll(profile.field_55_max),
                60 => {
                    spec.length = Length::Lll(profile.field_60_max);
                    spec.coding = match profile.field_60 {
                        NibbleCoding::Bcd => Coding::Bcd,
                        NibbleCoding::Ascii => Coding::Ascii,
                    };
                }
                _ => {}
            }
        }
        dialect.refresh();
        dialect
    }

    /// The terminal dialect as `profile` writes it, kept for the life of the process.
    ///
    /// Drafts refer to dialects by static reference. Profiles are few and read once at start, so the memory is
    /// given away on purpose; profiles with the same lines share it.
    #[must_use]
    pub fn for_profile(profile: &Profile) -> &'static Self {
        static MADE: Mutex<Vec<&'static Dialect>> = Mutex::new(Vec::new());
        let wanted = CUP_POS.with_profile(profile);
        if wanted == CUP_POS {
            return &CUP_POS;
        }
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = made.iter().find(|dialect| ***dialect == wanted) {
            return same;
        }
        let kept: &'static Self = Box::leak(Box::new(wanted));
        made.push(kept);
        kept
    }

    /// The same dialect with `D` instead of `=` between card number and expiry where tracks are ASCII; the
    /// network's readings differ, so it is a switch. Reading accepts both.
    #[must_use]
    pub fn with_letter_separator(mut self) -> Self {
        self.separator = b'D';
        self
    }

    fn refresh(&mut self) {
        for (op, spec) in self.ops.iter_mut().zip(&self.specs) {
            *op = spec.as_ref().map_or(Op::ABSENT, |spec| Op::of(spec, self.numerals, op.slot));
        }
    }

    /// Name of the profile or network: `cup-pos-1`, `cups`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line of field `number`, if the dialect has it.
    #[must_use]
    pub fn spec(&self, number: u8) -> Option<&FieldSpec> {
        self.specs.get(usize::from(number).wrapping_sub(1)).and_then(Option::as_ref)
    }

    /// All lines, ascending.
    pub fn specs(&self) -> impl Iterator<Item = &FieldSpec> {
        self.specs.iter().flatten()
    }

    /// Number of the field that carries the MAC: 64, or 128 with the double bitmap.
    #[must_use]
    pub const fn mac_field(&self) -> u8 {
        self.mac_field
    }

    /// Length digits of the TLV items in field 59, or nothing when the field is opaque.
    #[must_use]
    pub const fn tlv59_digits(&self) -> Option<u8> {
        self.tlv59_digits
    }

    /// Bytes of message type and bitmap.
    pub(crate) const fn head_len(&self) -> usize {
        let mti = match self.numerals {
            Coding::Bcd => 2,
            Coding::Ascii => 4,
        };
        mti + self.bitmap_len
    }

    /// `number` must be 1 to 128; others wrap.
    #[inline(always)]
    pub(crate) fn op(&self, number: u32) -> &Op {
        self.ops.get((number.wrapping_sub(1) & 127) as usize).unwrap_or(&Op::ABSENT)
    }
}
