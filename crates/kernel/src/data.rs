//! Data objects of one payment, and the lists that ask for them.

use std::collections::BTreeMap;

use iso8583::tlv;
use zeroize::Zeroize;

use crate::step::mask_pan;

/// Tags by name, where code reads better with one.
pub(crate) mod tag {
    pub const AID_CARD: u32 = 0x84;
    pub const LABEL: u32 = 0x50;
    pub const TRACK2: u32 = 0x57;
    pub const PAN: u32 = 0x5A;
    pub const NAME: u32 = 0x5F20;
    pub const EXPIRY: u32 = 0x5F24;
    pub const EFFECTIVE: u32 = 0x5F25;
    pub const SEQUENCE: u32 = 0x5F34;
    pub const CURRENCY: u32 = 0x5F2A;
    pub const AIP: u32 = 0x82;
    pub const ARC: u32 = 0x8A;
    pub const CDOL1: u32 = 0x8C;
    pub const CDOL2: u32 = 0x8D;
    pub const CVM_LIST: u32 = 0x8E;
    pub const CA_INDEX: u32 = 0x8F;
    pub const ISSUER_CERT: u32 = 0x90;
    pub const ISSUER_AUTH: u32 = 0x91;
    pub const ISSUER_REMAINDER: u32 = 0x92;
    pub const SSAD: u32 = 0x93;
    pub const AFL: u32 = 0x94;
    pub const TVR: u32 = 0x95;
    pub const DATE: u32 = 0x9A;
    pub const TSI: u32 = 0x9B;
    pub const KIND: u32 = 0x9C;
    pub const AMOUNT: u32 = 0x9F02;
    pub const OTHER: u32 = 0x9F03;
    pub const AID_TERMINAL: u32 = 0x9F06;
    pub const USAGE: u32 = 0x9F07;
    pub const VERSION_CARD: u32 = 0x9F08;
    pub const VERSION: u32 = 0x9F09;
    pub const IAC_DEFAULT: u32 = 0x9F0D;
    pub const IAC_DENIAL: u32 = 0x9F0E;
    pub const IAC_ONLINE: u32 = 0x9F0F;
    pub const IAD: u32 = 0x9F10;
    pub const CODE_TABLE: u32 = 0x9F11;
    pub const PREFERRED: u32 = 0x9F12;
    pub const LAST_ONLINE: u32 = 0x9F13;
    pub const LOWER: u32 = 0x9F14;
    pub const PIN_TRIES: u32 = 0x9F17;
    pub const COUNTRY: u32 = 0x9F1A;
    pub const FLOOR: u32 = 0x9F1B;
    pub const SERIAL: u32 = 0x9F1E;
    pub const TRACK1_EXTRA: u32 = 0x9F1F;
    pub const TIME: u32 = 0x9F21;
    pub const UPPER: u32 = 0x9F23;
    pub const CRYPTOGRAM: u32 = 0x9F26;
    pub const CID: u32 = 0x9F27;
    pub const ISSUER_EXPONENT: u32 = 0x9F32;
    pub const CAPABILITIES: u32 = 0x9F33;
    pub const CVM_RESULTS: u32 = 0x9F34;
    pub const TERMINAL_TYPE: u32 = 0x9F35;
    pub const ATC: u32 = 0x9F36;
    pub const UN: u32 = 0x9F37;
    pub const PDOL: u32 = 0x9F38;
    pub const ADDITIONAL: u32 = 0x9F40;
    pub const TRACE: u32 = 0x9F41;
    pub const CARD_CURRENCY: u32 = 0x9F42;
    pub const ICC_CERT: u32 = 0x9F46;
    pub const ICC_EXPONENT: u32 = 0x9F47;
    pub const ICC_REMAINDER: u32 = 0x9F48;
    pub const DDOL: u32 = 0x9F49;
    pub const SDA_LIST: u32 = 0x9F4A;
    pub const SDAD: u32 = 0x9F4B;
    pub const MERCHANT: u32 = 0x9F4E;
    pub const PRODUCT: u32 = 0x9F63;
    pub const TTQ: u32 = 0x9F66;
    pub const CARD_AUTH: u32 = 0x9F69;
    pub const CTQ: u32 = 0x9F6C;
    pub const ECASH_CODE: u32 = 0x9F74;
    pub const SCRIPT_RESULT: u32 = 0xDF31;
}

/// Tags whose values never appear in a dump.
const HIDDEN: [u32; 8] = [tag::NAME, tag::TRACK1_EXTRA, 0x56, 0x9F0B, 0x9F20, 0x9F6B, 0x5F50, 0x9F61];

/// Numeric formats, by tag: cut on the left, filled with zeros on the left.
const NUMERIC: [u32; 20] = [
    tag::AMOUNT,
    tag::OTHER,
    tag::COUNTRY,
    tag::CURRENCY,
    tag::DATE,
    tag::TIME,
    tag::KIND,
    tag::TRACE,
    tag::EXPIRY,
    tag::EFFECTIVE,
    tag::SEQUENCE,
    tag::CARD_CURRENCY,
    tag::TERMINAL_TYPE,
    tag::CODE_TABLE,
    0x5F28,
    0x5F30,
    0x5F36,
    0x9F7A,
    0x9F7B,
    0x81,
];

/// Values by tag, wiped when dropped.
#[derive(Default)]
pub(crate) struct Store(BTreeMap<u32, Vec<u8>>);

impl Drop for Store {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl Store {
    pub(crate) fn get(&self, tag: u32) -> Option<&[u8]> {
        self.0.get(&tag).map(Vec::as_slice)
    }

    pub(crate) fn fixed<const N: usize>(&self, tag: u32) -> Option<[u8; N]> {
        self.get(tag)?.try_into().ok()
    }

    pub(crate) fn set(&mut self, tag: u32, value: &[u8]) {
        if let Some(mut old) = self.0.insert(tag, value.to_vec()) {
            old.zeroize();
        }
    }

    pub(crate) fn remove(&mut self, tag: u32) {
        if let Some(mut old) = self.0.remove(&tag) {
            old.zeroize();
        }
    }

    /// Takes every primitive object of `data`, also inside templates. False when the data cannot be read to its end, or
    /// an object comes twice with different values.
    pub(crate) fn take(&mut self, data: &[u8]) -> bool {
        self.take_nested(data, 0)
    }

    fn take_nested(&mut self, data: &[u8], depth: u8) -> bool {
        if depth > 4 {
            return false;
        }
        for item in tlv::iter(unfilled(data)) {
            let Ok(item) = item else { return false };
            let good = if tlv::is_constructed(item.tag) {
                self.take_nested(item.value, depth + 1)
            } else if TERMINAL.contains(&item.tag) {
                true // the terminal's own data are not the card's to set
            } else if self.get(item.tag).is_some_and(|known| known != item.value) {
                SELECTION.contains(&item.tag)
            } else {
                self.set(item.tag, item.value);
                true
            };
            if !good {
                return false;
            }
        }
        true
    }

    /// The bytes that a data object list asks for; none when the list is broken or asks for too much.
    pub(crate) fn build(&self, list: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        for (tag, length) in parse_dol(list)? {
            let value = if tlv::is_constructed(tag) { None } else { self.get(tag) };
            fit(&mut out, tag, value.unwrap_or_default(), length);
        }
        (out.len() <= 252).then_some(out)
    }

    /// One object a line, masked.
    pub(crate) fn dump(&self) -> String {
        let mut out = String::new();
        for (tag, value) in &self.0 {
            let text = match *tag {
                tag::PAN => mask_pan(digits(value).as_str()),
                tag::TRACK2 => mask_track(&hex::encode_upper(value)),
                tag if HIDDEN.contains(&tag) => format!("({} bytes)", value.len()),
                _ => hex::encode_upper(value),
            };
            out.push_str(&format!("{tag:X} {text}\n"));
        }
        out
    }
}

/// Objects of the selection. A record that repeats one otherwise changes nothing; any other object that comes twice
/// with different values is a broken card.
const SELECTION: [u32; 9] =
    [tag::AID_CARD, tag::LABEL, 0x87, tag::PDOL, 0x5F2D, tag::CODE_TABLE, tag::PREFERRED, 0x9F4D, 0x42];

/// Objects of the terminal: what a card says about them is not taken.
const TERMINAL: [u32; 26] = [
    tag::AMOUNT,
    tag::OTHER,
    tag::COUNTRY,
    tag::CURRENCY,
    tag::DATE,
    tag::TIME,
    tag::KIND,
    tag::TRACE,
    tag::UN,
    tag::TVR,
    tag::TSI,
    tag::CAPABILITIES,
    tag::TERMINAL_TYPE,
    tag::ADDITIONAL,
    tag::VERSION,
    tag::SERIAL,
    tag::AID_TERMINAL,
    tag::FLOOR,
    tag::MERCHANT,
    tag::TTQ,
    tag::CVM_RESULTS,
    tag::ARC,
    tag::ISSUER_AUTH,
    tag::SCRIPT_RESULT,
    0x5F36,
    0x81,
];

/// Zero bytes at the end of a template are filling.
fn unfilled(data: &[u8]) -> &[u8] {
    // Only when the data cannot be read with them: a value may end in zeros.
    if tlv::validate(data).is_ok() {
        return data;
    }
    let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let cut = data.get(..end).unwrap_or(data);
    if tlv::validate(cut).is_ok() { cut } else { data }
}

/// Tag and length of each entry; none when the list is broken.
pub(crate) fn parse_dol(list: &[u8]) -> Option<Vec<(u32, usize)>> {
    let mut rest = list;
    let mut out = Vec::new();
    while let Some((first, mut after)) = rest.split_first() {
        let mut tag = u32::from(*first);
        if first & 0x1F == 0x1F {
            loop {
                let (next, more) = after.split_first()?;
                after = more;
                tag = (tag << 8) | u32::from(*next);
                if next & 0x80 == 0 {
                    break;
                }
                if tag > 0xFF_FFFF {
                    return None;
                }
            }
        }
        let (length, more) = after.split_first()?;
        out.push((tag, usize::from(*length)));
        rest = more;
    }
    Some(out)
}

/// Fits a value to the length asked for.
fn fit(out: &mut Vec<u8>, tag: u32, value: &[u8], length: usize) {
    let missing = length.saturating_sub(value.len());
    let surplus = value.len().saturating_sub(length);
    if NUMERIC.contains(&tag) {
        out.resize(out.len() + missing, 0);
        out.extend_from_slice(value.get(surplus..).unwrap_or_default());
    } else {
        out.extend_from_slice(value.get(..value.len() - surplus).unwrap_or_default());
        let filling = if tag == tag::PAN && !value.is_empty() { 0xFF } else { 0x00 };
        out.resize(out.len() + missing, filling);
    }
}

/// Digits of packed decimal filled with F.
pub(crate) fn digits(value: &[u8]) -> zeroize::Zeroizing<String> {
    let text = zeroize::Zeroizing::new(hex::encode_upper(value));
    zeroize::Zeroizing::new(text.trim_end_matches('F').to_owned())
}

fn mask_track(track: &str) -> String {
    let pan = track.split('D').next().unwrap_or_default();
    format!("{}D**", mask_pan(pan))
}

/// `value` as packed decimal, right-justified.
pub(crate) fn bcd<const N: usize>(value: u64) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = value;
    for byte in out.iter_mut().rev() {
        let pair = u8::try_from(rest % 100).unwrap_or(0);
        *byte = ((pair / 10) << 4) | (pair % 10);
        rest /= 100;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of data object lists: numbers are cut and filled on the left, everything else on the right, and what
    /// nobody has is zeros.
    #[test]
    fn values_are_fitted_to_their_lists() {
        let mut store = Store::default();
        store.set(tag::AMOUNT, &[0, 0, 0, 1, 0, 0]);
        store.set(tag::COUNTRY, &[0x01, 0x56]);
        store.set(tag::UN, &[1, 2, 3, 4]);
        store.set(tag::ARC, b"00");
        let list = hex::decode("8A029F02039F1A039F37029F37068102DF60029F3400").unwrap();
        assert_eq!(
            hex::encode_upper(store.build(&list).unwrap()),
            "3030010000000156010201020304000000000000"
        );
        assert_eq!(store.build(&[0x9F]), None);
        assert_eq!(store.build(&[0x9F, 0x37]), None);
        assert_eq!(store.build(&[0x9F, 0x37, 0xFD]), None, "more than a command holds");
    }

    #[test]
    fn a_card_cannot_set_what_is_the_terminals() {
        let mut store = Store::default();
        store.set(tag::AMOUNT, &[0, 0, 0, 1, 0, 0]);
        assert!(store.take(&hex::decode("700F9F02060000000000015F2403291231").unwrap()));
        assert_eq!(store.get(tag::AMOUNT), Some(&[0, 0, 0, 1, 0, 0][..]));
        assert_eq!(
            store.get(tag::CA_INDEX),
            None,
            "after a template of its own length comes the next object"
        );
        assert!(!store.take(&hex::decode("5F2403300630").unwrap()), "the same object with another value");
        assert!(store.take(&hex::decode("8F01F10000").unwrap()), "filling");
    }

    #[test]
    fn a_dump_shows_no_number() {
        let mut store = Store::default();
        store.take(
            &hex::decode(
                "5A0862242420000000135F200C4C414220434152442F4C303157116224242000000013D29122200000000123",
            )
            .unwrap(),
        );
        assert_eq!(store.dump(), "57 622424******0013D**\n5A 622424******0013\n5F20 (12 bytes)\n");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let mut store = Store::default();
            let _ = store.take(&bytes);
            let _ = store.build(&bytes);
            let _ = store.dump();
        }
    }
}
