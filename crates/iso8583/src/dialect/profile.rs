//! What differs between acquirers and terminal families in the terminal dialect.

use std::borrow::Cow;

use super::Justify;
use crate::frame::PosHeader;

/// Coding of a numeric private field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NibbleCoding {
    /// Two digits a byte.
    Bcd,
    /// One byte a digit.
    Ascii,
}

/// What stands in field 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacForm {
    /// Eight upper-case hexadecimal characters: half of the MAC block's result.
    Hex,
    /// The eight raw bytes of the result.
    Raw,
}

/// Where an SM4-encrypted PIN travels while field 52 is eight zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sm4PinCarrier {
    /// Field 59, tag A1.
    Tag59A1,
    /// Field 63, `SM016` and 16 bytes.
    Field63,
}

/// Switches of one acquirer or terminal family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name of the profile, shown in logs.
    pub name: Cow<'static, str>,
    /// The header that requests start with, or nothing when frames go from the TPDU straight to the message.
    pub header: Option<PosHeader>,
    /// Whether a 33-byte block from the access equipment (calling and called number) follows the TPDU.
    pub lri: bool,
    /// Side on which the three digits of field 23 stand.
    pub field_23: Justify,
    /// Side on which an odd number of digits of field 32 stands.
    pub field_32: Justify,
    /// Coding of field 60.
    pub field_60: NibbleCoding,
    /// Most digits of field 60: 17, or up to 999.
    pub field_60_max: u16,
    /// Most bytes of field 55: 255 by the standard; some hosts take 700.
    pub field_55_max: u16,
    /// Filler nibble that is sent after an odd number of digits in variable numeric fields: 0 or 15.
    pub pad: u8,
    /// The same for the card number alone.
    pub pan_pad: u8,
    /// What stands in field 64.
    pub mac: MacForm,
    /// Length digits of the items in field 59 (3, in one family 2), or nothing when the field is opaque.
    pub tlv59_digits: Option<u8>,
    /// Second digit of field 53 when the keys are SM4: 3 or 4.
    pub sm4_digit: u8,
    /// Carrier of an SM4 PIN.
    pub sm4_pin: Sm4PinCarrier,
    /// PIN length code in field 26: 12, in some families 6.
    pub pin_length: u8,
}

impl Profile {
    /// The baseline, `cup-pos-1`. Field 23 to the right, field 60 packed with at most 17 digits, filler 0, MAC
    /// in hexadecimal, SM4 digit 4 with the PIN in field 63 (modelled: sources differ), 3-digit lengths in 59.
    pub const CUP_POS_1: Self = Self {
        name: Cow::Borrowed("cup-pos-1"),
        header: Some(PosHeader::new([0x60, 0x32, 0x00, 0x32, 0x00, 0x01])),
        lri: false,
        field_23: Justify::Right,
        field_32: Justify::Left,
        field_60: NibbleCoding::Bcd,
        field_60_max: 17,
        field_55_max: 255,
        pad: 0,
        pan_pad: 0,
        mac: MacForm::Hex,
        tlv59_digits: Some(3),
        sm4_digit: 4,
        sm4_pin: Sm4PinCarrier::Field63,
        pin_length: 12,
    };
}

impl Default for Profile {
    fn default() -> Self {
        Self::CUP_POS_1
    }
}
