//! The text under field 128, composed by the simulator itself so that a mistake in the product's own
//! composition is found out.

use iso8583::Message;

/// Fields in the order of the rule; field 90 counts with its first 20 characters only.
const FIELDS: [u8; 17] = [2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103];

/// Characters of field 90 that count: MTI, trace, transmission time.
const ORIGINAL_HEAD: usize = 20;

/// Composes the text: message type and fields as transmitted, length prefix included, joined by one space,
/// upper case, letters, digits, space, comma and full stop only. There is no
/// separator after the last field; spaces that belong to it stay.
pub fn text(message: &Message<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(message.mti().to_string().as_bytes());
    for number in FIELDS {
        let Some(field) = message.field(number) else { continue };
        out.push(b' ');
        let wire = field.wire();
        let counted = if number == 90 { wire.get(..ORIGINAL_HEAD).unwrap_or(wire) } else { wire };
        out.extend(counted.iter().map(u8::to_ascii_uppercase).filter(|&b| keeps(b)));
    }
}

fn keeps(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b',' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, MacAlgorithm, SoftVault};
    use iso8583::{CUPS, Draft, Mti};

    /// The vector of the network specification: text and both results.
    #[test]
    fn published_text_and_mac() {
        let mut draft = Draft::new();
        draft.start(&CUPS, Mti::new(200));
        for (field, value) in [
            (2, "6224242000000021"),
            (3, "000000"),
            (4, "000000000100"),
            (7, "1123120000"),
            (11, "000017"),
            (18, "5411"),
            (25, "00"),
            (32, "14538200"),
            (33, "14538200"),
        ] {
            draft.put_digits(field, value).unwrap();
        }
        draft.put_text(41, "10000001").unwrap();
        draft.put_text(42, "898100000000001").unwrap();
        let mut body = Vec::new();
        draft.write(&mut body).unwrap();
        let mut composed = Vec::new();
        text(&CUPS.parse(&body).unwrap(), &mut composed);
        let expected = "0200 166224242000000021 000000 000000000100 1123120000 000017 5411 00 0814538200 \
                        0814538200 10000001 898100000000001";
        assert_eq!(std::str::from_utf8(&composed).unwrap(), expected);

        let vault = SoftVault::ephemeral().unwrap();
        let key = {
            let a = KeyComponent::new(&[&[0x33_u8 ^ 0x5A; 8][..], &[0x44 ^ 0x5A; 8]].concat()).unwrap();
            let b = KeyComponent::new(&[0x5A; 16]).unwrap();
            vault.import_components(KeyUsage::Mac, KeyAlgorithm::TripleDes2, &[a, b]).unwrap()
        };
        assert_eq!(&vault.mac(&key, MacAlgorithm::CupsCbc, &composed).unwrap(), b"B87BB7D7");
    }
}
