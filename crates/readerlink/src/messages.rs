//! What commands carry, as values: one type each, to TLV and back.

use std::fmt;

use crate::tlv::{Tlv, TlvError};

/// A payload that is not what its command carries. Values are not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No list of TLV.
    #[error(transparent)]
    Tlv(#[from] TlvError),
    /// A tag is missing.
    #[error("tag {0:02X} is missing")]
    Missing(u8),
    /// A tag's value is too long, too short or out of range.
    #[error("tag {0:02X} has a value that it cannot have")]
    Value(u8),
}

pub(crate) fn must(tlv: &Tlv, tag: u8) -> Result<&[u8], MessageError> {
    tlv.get(tag).ok_or(MessageError::Missing(tag))
}

/// A value of exactly so many bytes.
pub(crate) fn fixed<const N: usize>(tlv: &Tlv, tag: u8) -> Result<[u8; N], MessageError> {
    must(tlv, tag)?.try_into().map_err(|_| MessageError::Value(tag))
}

fn byte(tlv: &Tlv, tag: u8) -> Result<u8, MessageError> {
    fixed::<1>(tlv, tag).map(|[byte]| byte)
}

/// Text of at most so many bytes, printable.
pub(crate) fn text(value: &[u8], tag: u8, most: usize) -> Result<String, MessageError> {
    let text = std::str::from_utf8(value).map_err(|_| MessageError::Value(tag))?;
    let good = text.len() <= most && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err(MessageError::Value(tag)) }
}

/// A key's slot with its check value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Number.
    pub slot: u8,
    /// Check value.
    pub kcv: [u8; 3],
    /// Cipher (1 DES, 2 triple DES, 3 SM4) and fourth byte of the check value (modelled).
    pub more: Option<[u8; 2]>,
}

/// What a reader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Device type (59 A2.01): 03 for MPOS.
    pub device_type: u8,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Firmware.
    pub firmware: String,
    /// Capabilities: bit 0 no display of its own, 1 stripe, 2 chip, 3 tap, 4 PIN pad (modelled).
    pub capabilities: Option<u16>,
    /// Battery in per cent.
    pub battery: Option<u8>,
    /// Key slots in use.
    pub slots: Vec<Slot>,
}

impl Info {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let mut tlv = Tlv::new()
            .with(0x01, &[self.device_type])
            .with(0x02, self.model.as_bytes())
            .with(0x03, self.serial.as_bytes())
            .with(0x04, self.firmware.as_bytes())
            .with_some(0x05, self.capabilities.map(u16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice))
            .with_some(0x06, self.battery.as_ref().map(std::slice::from_ref));
        for Slot { slot, kcv: [a, b, c], more } in &self.slots {
            let known = [*slot, *a, *b, *c];
            tlv = tlv.with(0x07, &[&known[..], more.as_slice().as_flattened()].concat());
        }
        tlv
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let capabilities = tlv.get(0x05).map(|_| fixed::<2>(tlv, 0x05)).transpose()?;
        let battery = tlv.get(0x06).map(|_| byte(tlv, 0x06)).transpose()?;
        let mut slots = Vec::new();
        for value in tlv.all(0x07) {
            let &[slot, a, b, c, ref rest @ ..] = value else { return Err(MessageError::Value(0x07)) };
            let more = match *rest {
                [] => None,
                [cipher, fourth] => Some([cipher, fourth]),
                _ => return Err(MessageError::Value(0x07)),
            };
            slots.push(Slot { slot, kcv: [a, b, c], more });
        }
        Ok(Self {
            device_type: byte(tlv, 0x01)?,
            model: text(must(tlv, 0x02)?, 0x02, 64)?,
            serial: text(must(tlv, 0x03)?, 0x03, 64)?,
            firmware: text(must(tlv, 0x04)?, 0x04, 64)?,
            capabilities: capabilities.map(u16::from_be_bytes),
            battery,
            slots,
        })
    }
}

/// Which ways a card may come: bits 1 stripe, 2 chip, 4 tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interfaces(pub u8);

impl Interfaces {
    /// Magnetic stripe.
    pub const STRIPE: u8 = 1;
    /// Chip with contacts.
    pub const CHIP: u8 = 2;
    /// Contactless.
    pub const TAP: u8 = 4;

    fn from_byte(byte: u8, tag: u8) -> Result<Self, MessageError> {
        let known = Self::STRIPE | Self::CHIP | Self::TAP;
        if byte != 0 && byte & !known == 0 { Ok(Self(byte)) } else { Err(MessageError::Value(tag)) }
    }
}

/// Wait for a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detect {
    /// Which ways are open.
    pub interfaces: Interfaces,
    /// How long, in seconds; 0: whether it is there now.
    pub seconds: u16,
    /// Slot of the track key that enciphers what is read; the key loaded last when it is absent (modelled).
    pub key: Option<u8>,
}

impl Detect {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let tlv = Tlv::new().with(0x10, &[self.interfaces.0]).with(0x11, &self.seconds.to_be_bytes());
        tlv.with_some(0x17, self.key.as_ref().map(std::slice::from_ref))
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let interfaces = Interfaces::from_byte(byte(tlv, 0x10)?, 0x10)?;
        let key = tlv.get(0x17).map(|_| byte(tlv, 0x17)).transpose()?;
        Ok(Self { interfaces, seconds: u16::from_be_bytes(fixed(tlv, 0x11)?), key })
    }
}

/// Which way a card came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Magnetic stripe.
    Stripe,
    /// Chip with contacts.
    Chip,
    /// Contactless.
    Tap,
}

/// A card is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Detected {
    /// Which way.
    pub found: Found,
    /// Card number of a stripe, masked: first six, last four.
    pub masked_pan: Option<String>,
    /// Track 2 under the reader's track key.
    pub cipher_track: Option<Vec<u8>>,
    /// Service code, three digits.
    pub service_code: Option<String>,
    /// Expiry, YYMM.
    pub expiry: Option<String>,
}

impl Detected {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let found = match self.found {
            Found::Stripe => Interfaces::STRIPE,
            Found::Chip => Interfaces::CHIP,
            Found::Tap => Interfaces::TAP,
        };
        Tlv::new()
            .with(0x12, &[found])
            .with_some(0x13, self.masked_pan.as_deref().map(str::as_bytes))
            .with_some(0x14, self.cipher_track.as_deref())
            .with_some(0x15, self.service_code.as_deref().map(str::as_bytes))
            .with_some(0x16, self.expiry.as_deref().map(str::as_bytes))
    }

    /// From TLV. A card number that is not masked is refused: a reader that sends one must not be used.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let found = match byte(tlv, 0x12)? {
            Interfaces::STRIPE => Found::Stripe,
            Interfaces::CHIP => Found::Chip,
            Interfaces::TAP => Found::Tap,
            _ => return Err(MessageError::Value(0x12)),
        };
        let optional = |tag, most| tlv.get(tag).map(|value| text(value, tag, most)).transpose();
        let masked_pan = optional(0x13, 19)?;
        if masked_pan.as_deref().is_some_and(|pan| !is_masked(pan)) {
            return Err(MessageError::Value(0x13));
        }
        Ok(Self {
            found,
            masked_pan,
            cipher_track: tlv.get(0x14).map(<[u8]>::to_vec),
            service_code: optional(0x15, 3)?,
            expiry: optional(0x16, 4)?,
        })
    }
}

/// At most six digits, then stars, then at most four digits.
pub(crate) fn is_masked(pan: &str) -> bool {
    let rest = pan.trim_start_matches(|c: char| c.is_ascii_digit());
    let back = rest.trim_start_matches('*');
    pan.len() - rest.len() <= 6
        && back.len() <= 4
        && rest.len() > back.len()
        && back.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Debug for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detected").field("found", &self.found).field("masked_pan", &self.masked_pan).finish()
    }
}

/// Begin a chip payment. A reader with a display shows this amount, whatever the host shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmvStart {
    /// Amount in fen, at most twelve digits: what goes into 9F02.
    pub amount_fen: u64,
    /// Type of transaction (9C).
    pub kind: u8,
    /// YYMMDDhhmmss as BCD.
    pub at: [u8; 6],
    /// Currency, numeric, as BCD: 0156.
    pub currency: [u8; 2],
    /// Which way the card is there.
    pub interface: Found,
    /// Unpredictable number; the reader's own when it is absent.
    pub un: Option<[u8; 4]>,
    /// The terminal's trace number (9F41), packed decimal; zeros when it is absent (modelled).
    pub sequence: Option<[u8; 4]>,
}

/// The largest amount that 9F02 holds: twelve digits.
pub(crate) const AMOUNT_MAX_FEN: u64 = 999_999_999_999;

/// Twelve digits, BCD. An amount above them is refused before it comes here.
fn bcd(mut number: u64) -> [u8; 6] {
    let mut bytes = [0; 6];
    for byte in bytes.iter_mut().rev() {
        let [pair, ..] = (number % 100).to_le_bytes();
        *byte = pair / 10 * 16 + pair % 10;
        number /= 100;
    }
    bytes
}

fn from_bcd(bytes: [u8; 6]) -> Option<u64> {
    bytes.iter().try_fold(0, |number, byte| {
        let (tens, ones) = (byte >> 4, byte & 15);
        (tens < 10 && ones < 10).then(|| number * 100 + u64::from(tens * 10 + ones))
    })
}

impl EmvStart {
    /// To TLV. The amount is as 9F02 has it: twelve digits, BCD.
    pub fn to_tlv(&self) -> Tlv {
        let interface = match self.interface {
            Found::Stripe => Interfaces::STRIPE,
            Found::Chip => Interfaces::CHIP,
            Found::Tap => Interfaces::TAP,
        };
        Tlv::new()
            .with(0x30, &bcd(self.amount_fen))
            .with(0x31, &[self.kind])
            .with(0x32, &self.at)
            .with(0x33, &self.currency)
            .with(0x34, &[interface])
            .with_some(0x35, self.un.as_ref().map(<[u8; 4]>::as_slice))
            .with_some(0x36, self.sequence.as_ref().map(<[u8; 4]>::as_slice))
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let amount_fen = from_bcd(fixed(tlv, 0x30)?).ok_or(MessageError::Value(0x30))?;
        let interface = match byte(tlv, 0x34)? {
            Interfaces::CHIP => Found::Chip,
            Interfaces::TAP => Found::Tap,
            _ => return Err(MessageError::Value(0x34)),
        };
        Ok(Self {
            amount_fen,
            kind: byte(tlv, 0x31)?,
            at: fixed(tlv, 0x32)?,
            currency: fixed(tlv, 0x33)?,
            interface,
            un: tlv.get(0x35).map(|_| fixed(tlv, 0x35)).transpose()?,
            sequence: tlv.get(0x36).map(|_| fixed(tlv, 0x36)).transpose()?,
        })
    }
}

/// What the kernel in the reader wants next. The numbers of tag 40 are modelled.
#[derive(Clone, PartialEq, Eq)]
pub enum EmvStep {
    /// 1: the cardholder chooses one of these.
    SelectApp(Vec<String>),
    /// 2: the cardholder confirms this one.
    ConfirmApp(String),
    /// 3: ask for the PIN; tries left when the chip verifies it.
    NeedPin(Option<u8>),
    /// 4: ask the host with this field 55.
    Online(Vec<u8>),
    /// 5: approved, with the field 55 that says so.
    Approved(Vec<u8>),
    /// 6: declined.
    Declined(Vec<u8>),
    /// 7: the chip cannot be read; the stripe may be.
    Fallback,
    /// 8: another way: bits as in `detect`.
    TryOther(Interfaces),
    /// 9: broken off.
    Terminated,
}

impl EmvStep {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let step = |number: u8| Tlv::new().with(0x40, &[number]);
        match self {
            Self::SelectApp(names) => names.iter().fold(step(1), |tlv, name| tlv.with(0x42, name.as_bytes())),
            Self::ConfirmApp(name) => step(2).with(0x42, name.as_bytes()),
            Self::NeedPin(tries) => step(3).with_some(0x43, tries.as_ref().map(std::slice::from_ref)),
            Self::Online(field) => step(4).with(0x41, field),
            Self::Approved(field) => step(5).with(0x41, field),
            Self::Declined(field) => step(6).with(0x41, field),
            Self::Fallback => step(7),
            Self::TryOther(interfaces) => step(8).with(0x10, &[interfaces.0]),
            Self::Terminated => step(9),
        }
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let field55 = || {
            let field = must(tlv, 0x41)?;
            // Field 55 has at most 255 bytes.
            if field.len() <= 255 { Ok(field.to_vec()) } else { Err(MessageError::Value(0x41)) }
        };
        let names = || tlv.all(0x42).map(|name| text(name, 0x42, 64)).collect::<Result<Vec<_>, _>>();
        Ok(match byte(tlv, 0x40)? {
            1 => {
                let names = names()?;
                if names.is_empty() {
                    return Err(MessageError::Missing(0x42));
                }
                Self::SelectApp(names)
            }
            2 => Self::ConfirmApp(text(must(tlv, 0x42)?, 0x42, 64)?),
            3 => Self::NeedPin(tlv.get(0x43).map(|_| byte(tlv, 0x43)).transpose()?),
            4 => Self::Online(field55()?),
            5 => Self::Approved(field55()?),
            6 => Self::Declined(field55()?),
            7 => Self::Fallback,
            8 => Self::TryOther(Interfaces::from_byte(byte(tlv, 0x10)?, 0x10)?),
            9 => Self::Terminated,
            _ => return Err(MessageError::Value(0x40)),
        })
    }
}

impl fmt::Debug for EmvStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelectApp(names) => write!(f, "SelectApp({names:?})"),
            Self::ConfirmApp(name) => write!(f, "ConfirmApp({name:?})"),
            Self::NeedPin(tries) => write!(f, "NeedPin({tries:?})"),
            Self::Online(field) => write!(f, "Online({} bytes)", field.len()),
            Self::Approved(field) => write!(f, "Approved({} bytes)", field.len()),
            Self::Declined(field) => write!(f, "Declined({} bytes)", field.len()),
            Self::Fallback => f.write_str("Fallback"),
            Self::TryOther(interfaces) => write!(f, "TryOther({interfaces:?})"),
            Self::Terminated => f.write_str("Terminated"),
        }
    }
}

/// What the kernel gets. A PIN is not among it: it goes from the reader's PIN pad to the reader's kernel.
#[derive(Clone, PartialEq, Eq)]
pub enum EmvAnswer {
    /// 1: this candidate, counted from 0.
    Chosen(u8),
    /// 2: confirmed.
    Confirmed,
    /// 3: the PIN was entered.
    PinEntered,
    /// 4: the cardholder passed over it.
    PinBypassed,
    /// 5: the host answered: field 39 and its field 55.
    Host {
        /// Field 39, two characters.
        code: [u8; 2],
        /// Field 55.
        field55: Vec<u8>,
    },
    /// 6: no answer from the host.
    Unreachable,
}

impl EmvAnswer {
    /// To TLV: tag 44, its first byte says which.
    pub fn to_tlv(&self) -> Tlv {
        let value = match self {
            Self::Chosen(which) => vec![1, *which],
            Self::Confirmed => vec![2],
            Self::PinEntered => vec![3],
            Self::PinBypassed => vec![4],
            Self::Host { code, field55 } => [&[5], &code[..], field55].concat(),
            Self::Unreachable => vec![6],
        };
        Tlv::new().with(0x44, &value)
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        Ok(match must(tlv, 0x44)? {
            [1, which] => Self::Chosen(*which),
            [2] => Self::Confirmed,
            [3] => Self::PinEntered,
            [4] => Self::PinBypassed,
            [5, a, b, field55 @ ..] if field55.len() <= 255 => {
                Self::Host { code: [*a, *b], field55: field55.to_vec() }
            }
            [6] => Self::Unreachable,
            _ => return Err(MessageError::Value(0x44)),
        })
    }
}

impl fmt::Debug for EmvAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen(which) => write!(f, "Chosen({which})"),
            Self::Confirmed => f.write_str("Confirmed"),
            Self::PinEntered => f.write_str("PinEntered"),
            Self::PinBypassed => f.write_str("PinBypassed"),
            Self::Host { field55, .. } => write!(f, "Host({} bytes)", field55.len()),
            Self::Unreachable => f.write_str("Unreachable"),
        }
    }
}

/// Ask the cardholder for the PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRequest {
    /// Slot of the PIN key.
    pub slot: u8,
    /// Lengths that are allowed: 4 to 12; 0 among them when it may be passed over.
    pub lengths: Vec<u8>,
    /// How long, in seconds.
    pub seconds: u16,
    /// ISO format of the block; 14 hexadecimal is the extended block of SM4 (modelled).
    pub format: u8,
    /// What is paid, in fen, for a reader that no chip has told it (modelled).
    pub amount_fen: Option<u64>,
}

impl PinRequest {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        Tlv::new()
            .with(0x50, &[self.slot])
            .with(0x51, &self.lengths)
            .with(0x52, &self.seconds.to_be_bytes())
            .with(0x53, &[self.format])
            .with_some(0x56, self.amount_fen.map(bcd).as_ref().map(<[u8; 6]>::as_slice))
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let lengths = must(tlv, 0x51)?;
        if lengths.is_empty() || lengths.len() > 10 || !lengths.iter().all(|n| matches!(n, 0 | 4..=12)) {
            return Err(MessageError::Value(0x51));
        }
        Ok(Self {
            slot: byte(tlv, 0x50)?,
            lengths: lengths.to_vec(),
            seconds: u16::from_be_bytes(fixed(tlv, 0x52)?),
            format: byte(tlv, 0x53)?,
            amount_fen: match tlv.get(0x56) {
                Some(_) => Some(from_bcd(fixed(tlv, 0x56)?).ok_or(MessageError::Value(0x56))?),
                None => None,
            },
        })
    }
}

/// A message authentication code.
#[derive(Clone, PartialEq, Eq)]
pub struct MacRequest {
    /// Slot of the MAC key.
    pub slot: u8,
    /// How: 0 as the terminal's messages are signed (modelled).
    pub mode: u8,
    /// What is signed.
    pub data: Vec<u8>,
}

impl MacRequest {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        Tlv::new().with(0x60, &[self.slot]).with(0x61, &[self.mode]).with(0x62, &self.data)
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        Ok(Self { slot: byte(tlv, 0x60)?, mode: byte(tlv, 0x61)?, data: must(tlv, 0x62)?.to_vec() })
    }
}

impl fmt::Debug for MacRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MacRequest(slot {}, mode {}, {} bytes)", self.slot, self.mode, self.data.len())
    }
}

/// A key into a slot, wrapped under one that is there.
#[derive(Clone, PartialEq, Eq)]
pub struct LoadKey {
    /// Slot.
    pub slot: u8,
    /// What it is for: 1 PIN, 2 MAC, 3 track (modelled).
    pub class: u8,
    /// Wrapped.
    pub wrapped: Vec<u8>,
    /// Check value.
    pub kcv: Vec<u8>,
    /// Slot of the key that it is wrapped under; its tenant's master key when it is absent (modelled).
    pub under: Option<u8>,
    /// Cipher: 1 DES, 2 triple DES, 3 SM4; triple DES when it is absent (modelled).
    pub algorithm: Option<u8>,
}

impl LoadKey {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let tlv = Tlv::new().with(0x64, &[self.slot]).with(0x65, &[self.class]);
        let tlv = tlv.with(0x66, &self.wrapped).with(0x67, &self.kcv);
        tlv.with_some(0x6A, self.under.as_ref().map(std::slice::from_ref))
            .with_some(0x6B, self.algorithm.as_ref().map(std::slice::from_ref))
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        Ok(Self {
            slot: byte(tlv, 0x64)?,
            class: byte(tlv, 0x65)?,
            wrapped: must(tlv, 0x66)?.to_vec(),
            kcv: must(tlv, 0x67)?.to_vec(),
            under: tlv.get(0x6A).map(|_| byte(tlv, 0x6A)).transpose()?,
            algorithm: tlv.get(0x6B).map(|_| byte(tlv, 0x6B)).transpose()?,
        })
    }
}

impl fmt::Debug for LoadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadKey(slot {}, class {})", self.slot, self.class)
    }
}

/// A piece of new firmware.
#[derive(Clone, PartialEq, Eq)]
pub struct Update {
    /// Where it begins.
    pub offset: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Signature over the whole, with the last piece.
    pub signature: Option<Vec<u8>>,
}

impl Update {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let tlv = Tlv::new().with(0x70, &self.offset.to_be_bytes()).with(0x71, &self.bytes);
        tlv.with_some(0x72, self.signature.as_deref())
    }

    /// From TLV.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        Ok(Self {
            offset: u32::from_be_bytes(fixed(tlv, 0x70)?),
            bytes: must(tlv, 0x71)?.to_vec(),
            signature: tlv.get(0x72).map(<[u8]>::to_vec),
        })
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Update({} bytes at {})", self.bytes.len(), self.offset)
    }
}
