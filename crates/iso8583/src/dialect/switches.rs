//! The table of switches: one line each, with its name, its values and what it does. Configuration, documentation and
//! the terminal in software all read it.

use std::borrow::Cow;

use super::Justify;
use super::profile::{BalanceAnswer, KeyLayout, MacForm, MacRule, NibbleCoding, Profile, Sm4PinCarrier};
use crate::frame::PosHeader;
use crate::swar;

/// Who can choose the value of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The listener alone: it must be known before a message can be read, and so before its merchant is.
    Listener,
    /// The listener, or the merchant's own profile.
    Merchant,
}

/// How sure a switch's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Each value was seen in public code or frames.
    Seen,
    /// At least one value is a reading of ours, as the text says.
    Modelled,
}

/// One line of [`SWITCHES`].
pub struct Switch {
    /// Its name in configuration.
    pub name: &'static str,
    /// Who chooses it.
    pub scope: Scope,
    /// The values it takes, the baseline's first.
    pub values: &'static str,
    /// What it is, in Chinese.
    pub zh: &'static str,
    /// What it is.
    pub en: &'static str,
    /// How sure it is.
    pub fact: Fact,
    /// Sets it from text; false when there is no such value.
    pub set: fn(&mut Profile, &str) -> bool,
    /// Its value as text.
    pub get: fn(&Profile) -> Cow<'static, str>,
}

/// Reading and writing of a switch with a few values.
macro_rules! choice {
    ($field:ident: $($text:literal => $value:expr),+ $(,)?) => {
        (
            |profile: &mut Profile, text: &str| {
                match text {
                    $($text => profile.$field = $value,)+
                    _ => return false,
                }
                true
            },
            |profile: &Profile| {
                $(if profile.$field == $value {
                    return Cow::Borrowed($text);
                })+
                // Only a value that no text stands for comes here, and configuration cannot make one.
                Cow::Borrowed("?")
            },
        )
    };
}

/// Reading and writing of a switch with a number in a range.
macro_rules! number {
    ($field:ident: $range:expr) => {
        (
            |profile: &mut Profile, text: &str| match text.parse() {
                Ok(number) if $range.contains(&number) => {
                    profile.$field = number;
                    true
                }
                _ => false,
            },
            |profile: &Profile| Cow::Owned(profile.$field.to_string()),
        )
    };
}

type Access = (fn(&mut Profile, &str) -> bool, fn(&Profile) -> Cow<'static, str>);

const fn switch(
    name: &'static str,
    scope: Scope,
    values: &'static str,
    (zh, en): (&'static str, &'static str),
    fact: Fact,
    (set, get): Access,
) -> Switch {
    Switch { name, scope, values, zh, en, fact, set, get }
}

fn set_header(profile: &mut Profile, text: &str) -> bool {
    if text == "none" {
        profile.header = None;
        return true;
    }
    let mut bytes = [0; 6];
    let good = text.len() == 12
        && bytes.iter_mut().zip(text.as_bytes().chunks(2)).all(|(byte, pair)| {
            let nibble = |at: usize| pair.get(at).copied().and_then(|c| char::from(c).to_digit(16));
            let value = nibble(0).zip(nibble(1)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
            value.map(|value| *byte = value).is_some()
        });
    if good {
        profile.header = Some(PosHeader::new(bytes));
    }
    good
}

fn header_text(profile: &Profile) -> Cow<'static, str> {
    match profile.header {
        None => Cow::Borrowed("none"),
        Some(header) => {
            let nibbles = header.bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
            Cow::Owned(nibbles.map(|nibble| char::from(swar::hex_digit(nibble))).collect())
        }
    }
}

/// Every switch of the terminal dialect.
pub static SWITCHES: &[Switch] = &[
    switch(
        "header",
        Scope::Listener,
        "603200320001, twelve hexadecimal digits, none",
        ("报文头", "message header after the TPDU: what terminals send, or none"),
        Fact::Seen,
        (set_header, header_text),
    ),
    switch(
        "lri",
        Scope::Listener,
        "no, yes",
        ("接入设备块", "33 bytes of the access equipment after the TPDU of requests; answers carry none"),
        Fact::Modelled,
        choice!(lri: "no" => false, "yes" => true),
    ),
    switch(
        "field_23",
        Scope::Listener,
        "right, left",
        ("卡序列号对齐", "side of the three digits of field 23: 00 01 or 00 10"),
        Fact::Seen,
        choice!(field_23: "right" => Justify::Right, "left" => Justify::Left),
    ),
    switch(
        "field_32",
        Scope::Listener,
        "left, right",
        ("受理方标识码对齐", "side of an odd number of digits of field 32"),
        Fact::Seen,
        choice!(field_32: "left" => Justify::Left, "right" => Justify::Right),
    ),
    switch(
        "field_55_max",
        Scope::Listener,
        "255, up to 999",
        ("55域最大长度", "most bytes of field 55; 700 is known"),
        Fact::Seen,
        number!(field_55_max: (255..=999)),
    ),
    switch(
        "field_59",
        Scope::Listener,
        "3, 2, opaque",
        ("59域TLV长度位数", "length digits of the items of field 59"),
        Fact::Seen,
        choice!(tlv59_digits: "3" => Some(3), "2" => Some(2), "opaque" => None),
    ),
    switch(
        "field_60",
        Scope::Listener,
        "bcd, ascii",
        ("60域编码", "coding of field 60"),
        Fact::Seen,
        choice!(field_60: "bcd" => NibbleCoding::Bcd, "ascii" => NibbleCoding::Ascii),
    ),
    switch(
        "field_60_max",
        Scope::Listener,
        "17, up to 999",
        ("60域最大位数", "most digits of field 60; 19 is known"),
        Fact::Seen,
        number!(field_60_max: (17..=999)),
    ),
    switch(
        "pad",
        Scope::Listener,
        "0, f",
        ("奇数位填充", "nibble that is sent after an odd number of digits; any is taken"),
        Fact::Seen,
        choice!(pad: "0" => 0, "f" => 15),
    ),
    switch(
        "pad_pan",
        Scope::Listener,
        "0, f",
        ("主账号奇数位填充", "the same for field 2"),
        Fact::Seen,
        choice!(pan_pad: "0" => 0, "f" => 15),
    ),
    switch(
        "mac",
        Scope::Merchant,
        "cup-ecb, x9.9, x9.19, x9.19-pad80",
        ("MAC算法", "rule of the MAC under DES keys, single or triple by the length of the key"),
        Fact::Seen,
        choice!(mac: "cup-ecb" => MacRule::CupEcb, "x9.9" => MacRule::X99, "x9.19" => MacRule::X919,
            "x9.19-pad80" => MacRule::X919Pad80),
    ),
    switch(
        "mac_form",
        Scope::Merchant,
        "hex, raw",
        ("64域形式", "field 64: eight hexadecimal characters, or the eight bytes of the result"),
        Fact::Seen,
        choice!(mac_form: "hex" => MacForm::Hex, "raw" => MacForm::Raw),
    ),
    switch(
        "mac_key",
        Scope::Merchant,
        "8, 16",
        ("MAC密钥长度", "bytes of the MAC key in key blocks of 003 and 004"),
        Fact::Seen,
        choice!(mac_key: "8" => 8, "16" => 16),
    ),
    switch(
        "key_layout",
        Scope::Merchant,
        "blocks, records",
        (
            "62域密钥格式",
            "field 62 of a sign-in answer: blocks of 24, 40 or 60 bytes, or records of 25 (type 1, key 16, check \
             value 8; the types 1 PIN, 2 MAC, 3 track and hexadecimal check values are modelled)",
        ),
        Fact::Modelled,
        choice!(key_layout: "blocks" => KeyLayout::Blocks, "records" => KeyLayout::Records),
    ),
    switch(
        "sm4_sign_in",
        Scope::Merchant,
        "006, 005",
        ("国密签到码", "60.3 that asks for SM4 keys; 005 is answered with 011"),
        Fact::Modelled,
        choice!(sm4_sign_in: "006" => (6, 6), "005" => (5, 11)),
    ),
    switch(
        "sm4_digit",
        Scope::Merchant,
        "4, 3",
        ("53域国密标志", "second digit of field 53 under SM4 keys"),
        Fact::Seen,
        choice!(sm4_digit: "4" => 4, "3" => 3),
    ),
    switch(
        "sm4_pin",
        Scope::Merchant,
        "63, 59-a1",
        (
            "国密PIN位置",
            "where an SM4 PIN block travels: field 63 after SM016, or field 59 tag A1; the block is modelled",
        ),
        Fact::Modelled,
        choice!(sm4_pin: "63" => Sm4PinCarrier::Field63, "59-a1" => Sm4PinCarrier::Tag59A1),
    ),
    switch(
        "pin_length",
        Scope::Merchant,
        "12, 6",
        ("26域PIN长度", "field 26 as terminals send it; the host takes any"),
        Fact::Seen,
        choice!(pin_length: "12" => 12, "6" => 6),
    ),
    switch(
        "settlement",
        Scope::Merchant,
        "48, 95",
        (
            "对账不平应答",
            "how unequal totals are told: result digits in field 48, or code 95 with field 48 as it was sent \
             (modelled)",
        ),
        Fact::Modelled,
        choice!(settlement: "48" => BalanceAnswer::Field48, "95" => BalanceAnswer::Code95),
    ),
    switch(
        "signature_mti",
        Scope::Merchant,
        "0820, 0920",
        ("电子签名报文类型", "message type of an e-signature"),
        Fact::Seen,
        choice!(signature_mti: "0820" => 820, "0920" => 920),
    ),
    switch(
        "reversed_again",
        Scope::Merchant,
        "00, 25",
        ("重复冲正应答", "code for the reversal of what is reversed already"),
        Fact::Seen,
        choice!(reversed_is_25: "00" => false, "25" => true),
    ),
];
