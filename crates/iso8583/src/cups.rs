//! The network's own MAC text.

use crate::message::Message;

/// Fields that the network's MAC covers, in its order; after the message type.
pub const MAC_FIELDS: [u8; 17] = [2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103];

/// How much of field 90 is covered: message type, trace number and transmission time of the original.
const FIELD_90_COVERED: usize = 20;

/// Appends the text over which field 128 is computed: the message type and the covered fields that are
/// present, each as transmitted (variable ones with their length), joined by one space, in upper case, only
/// letters, digits, space, comma and full stop kept (the filter is modelled). The caller fills it up to whole
/// cipher blocks.
///
/// Trailing spaces of the last field are part of it; there is none after it.
pub fn mac_text(message: &Message<'_>, out: &mut Vec<u8>) {
    let mti = message.mti().value();
    out.extend([mti / 1000, mti / 100 % 10, mti / 10 % 10, mti % 10].map(|digit| b'0' + digit as u8));
    for number in MAC_FIELDS {
        let Some(field) = message.field(number) else { continue };
        out.push(b' ');
        let wire = field.wire();
        let covered = if number == 90 { wire.get(..FIELD_90_COVERED).unwrap_or(wire) } else { wire };
        out.extend(covered.iter().map(u8::to_ascii_uppercase).filter(|byte| is_kept(*byte)));
    }
}

const fn is_kept(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b',' | b'.')
}
