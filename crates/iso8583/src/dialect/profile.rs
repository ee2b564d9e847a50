//! What differs between acquirers and terminal families in the terminal dialect.
//!
//! A [`Profile`] is a set of values for the lines of [`SWITCHES`](super::SWITCHES). It is data alone: what a switch
//! does is done by the codec (the dialect's table), the host and the terminal, each for its part.

use std::borrow::Cow;

use thiserror::Error;

use super::Justify;
use super::switches::{SWITCHES, Scope};
use crate::frame::PosHeader;

/// Coding of a numeric private field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NibbleCoding {
    /// Two digits a byte.
    Bcd,
    /// One byte a digit.
    Ascii,
}

/// How the MAC of a terminal with DES keys is computed. With SM4 keys there is one known rule, and no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacRule {
    /// The blocks folded by exclusive or, then two encryptions over hexadecimal characters: UnionPay's own.
    CupEcb,
    /// X9.9: a CBC chain, zero fill.
    X99,
    /// X9.19, the retail MAC, zero fill. Needs MAC keys of 16 bytes.
    X919,
    /// X9.19 with 80 00... as fill. Needs MAC keys of 16 bytes.
    X919Pad80,
}

/// What stands in field 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacForm {
    /// Eight upper-case hexadecimal characters: the first half of the result.
    Hex,
    /// The eight raw bytes of the result.
    Raw,
}

/// How field 62 of a sign-in answer is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyLayout {
    /// 24, 40 or 60 bytes: each key and four bytes of check value, one after the other.
    Blocks,
    /// Records of 25 bytes: type, key 16, check value 8. The codes of the types and the form of the check value are
    /// modelled.
    Records,
}

/// Where an SM4-encrypted PIN travels while field 52 is eight zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sm4PinCarrier {
    /// Field 59, tag A1.
    Tag59A1,
    /// Field 63, `SM016` and 16 bytes.
    Field63,
}

/// How the answer to a settlement says that the totals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BalanceAnswer {
    /// Field 39 is 00, and field 48 has a result digit for each block.
    Field48,
    /// Field 39 is 95; field 48 comes back as it was sent.
    Code95,
}

/// Two switches that cannot go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Contradiction(pub &'static str);

/// Why a switch cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SwitchError {
    /// There is no such switch.
    #[error("there is no switch {name}; there are: {}", names())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It has no such value.
    #[error("{name} cannot be {value}; it is one of: {values}")]
    Value {
        /// The switch.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What it can be.
        values: &'static str,
    },
}

fn names() -> String {
    SWITCHES.iter().map(|switch| switch.name).collect::<Vec<_>>().join(", ")
}

/// Switches of one acquirer or terminal family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name of the profile, shown in logs.
    pub name: Cow<'static, str>,
    /// The header that requests start with, or nothing when frames go from the TPDU straight to the message. A host
    /// looks only whether there is one, and gives back what came.
    pub header: Option<PosHeader>,
    /// Whether a 33-byte block from the access equipment (calling and called number) follows the TPDU of requests.
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
    /// Length digits of the items in field 59 (3, in one family 2), or nothing when the field is opaque.
    pub tlv59_digits: Option<u8>,
    /// Rule of the MAC under DES keys.
    pub mac: MacRule,
    /// What stands in field 64.
    pub mac_form: MacForm,
    /// Bytes of the MAC key in a block of 40 or 60 bytes: 8 or 16.
    pub mac_key: u8,
    /// Layout of the keys in a sign-in answer.
    pub key_layout: KeyLayout,
    /// Management code (60.3) with which a terminal asks for SM4 keys, and the one it is answered with: 6 and 6, or
    /// 5 and 11.
    pub sm4_sign_in: (u16, u16),
    /// Second digit of field 53 when the keys are SM4: 3 or 4.
    pub sm4_digit: u8,
    /// Carrier of an SM4 PIN.
    pub sm4_pin: Sm4PinCarrier,
    /// PIN length code that terminals send in field 26: 12, in some families 6. A host takes any.
    pub pin_length: u8,
    /// Answer to a settlement.
    pub settlement: BalanceAnswer,
    /// Message type of an e-signature: 820 or 920.
    pub signature_mti: u16,
    /// Whether the reversal of what is reversed already is answered 25 instead of 00.
    pub reversed_is_25: bool,
}

impl Profile {
    /// The baseline, `cup-pos-1`. Field 23 to the right, field 60 packed with at most 17 digits, filler 0, MAC by
    /// UnionPay's rule in hexadecimal, SM4 digit 4 with the PIN in field 63 (modelled: sources differ), 3-digit
    /// lengths in 59.
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
        tlv59_digits: Some(3),
        mac: MacRule::CupEcb,
        mac_form: MacForm::Hex,
        mac_key: 8,
        key_layout: KeyLayout::Blocks,
        sm4_sign_in: (6, 6),
        sm4_digit: 4,
        sm4_pin: Sm4PinCarrier::Field63,
        pin_length: 12,
        settlement: BalanceAnswer::Field48,
        signature_mti: 820,
        reversed_is_25: false,
    };

    /// The baseline under another name, to set switches on.
    #[must_use]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), ..Self::CUP_POS_1 }
    }

    /// Sets a switch by its name and the text of its value.
    ///
    /// # Errors
    /// No such switch, or it has no such value; the error says what there is.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SwitchError> {
        let switch = SWITCHES.iter().find(|switch| switch.name == name);
        let switch = switch.ok_or_else(|| SwitchError::Unknown { name: name.to_owned() })?;
        match (switch.set)(self, value) {
            true => Ok(()),
            false => {
                Err(SwitchError::Value { name: switch.name, value: value.to_owned(), values: switch.values })
            }
        }
    }

    /// The switches that differ from the baseline, each with its value.
    pub fn differences(&self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> + '_ {
        SWITCHES
            .iter()
            .filter(|switch| (switch.get)(self) != (switch.get)(&Self::CUP_POS_1))
            .map(|switch| (switch.name, (switch.get)(self)))
    }

    /// Whether messages of the other profile can be read as those of this one: every switch that must be known before
    /// a message can be read is the same.
    #[must_use]
    pub fn reads_as(&self, other: &Self) -> bool {
        let mut by_listener = SWITCHES.iter().filter(|switch| switch.scope == Scope::Listener);
        by_listener.all(|switch| match switch.name {
            // What the header holds is the terminal's affair.
            "header" => self.header.is_some() == other.header.is_some(),
            _ => (switch.get)(self) == (switch.get)(other),
        })
    }

    /// Looks whether the switches go together.
    ///
    /// # Errors
    /// The first two that do not.
    pub fn check(&self) -> Result<(), Contradiction> {
        let retail = matches!(self.mac, MacRule::X919 | MacRule::X919Pad80);
        let rules = [
            (
                self.mac == MacRule::CupEcb && self.mac_form == MacForm::Raw,
                "mac = cup-ecb is hexadecimal by its rule: mac_form = raw goes with x9.9 and x9.19",
            ),
            (retail && self.mac_key != 16, "mac = x9.19 needs MAC keys of double length: mac_key = 16"),
            (
                self.sm4_pin == Sm4PinCarrier::Tag59A1 && self.tlv59_digits.is_none(),
                "sm4_pin = 59-a1 needs field 59 in items: field_59 = 3 or 2",
            ),
        ];
        match rules.iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Contradiction(rule)),
            None => Ok(()),
        }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::CUP_POS_1
    }
}
