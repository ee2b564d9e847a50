//! The quickPass switches of a download (60.3 = 394, field 62), in either of the two codings that are met.

use iso8583::tlv;

use crate::params::{Fault, QuickPass, decimal};

/// A tag of three bytes, its digits.
type Item = (u32, u64);

/// The text coding: a tag of six characters, a length of three decimal digits, a value of digits.
fn text_items(data: &[u8]) -> Result<Vec<Item>, Fault> {
    let mut rest = std::str::from_utf8(data).map_err(|_| Fault::NotTlv)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.split_at_checked(6).ok_or(Fault::NotTlv)?;
        let (length, after) = after.split_at_checked(3).ok_or(Fault::NotTlv)?;
        let tag = u32::from_str_radix(tag, 16).map_err(|_| Fault::NotTlv)?;
        let length: usize = length.parse().map_err(|_| Fault::NotTlv)?;
        let (value, after) = after.split_at_checked(length).ok_or(Fault::NotTlv)?;
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = value.parse().ok().filter(|_| digits).ok_or(Fault::Value(tag))?;
        out.push((tag, value));
        rest = after;
    }
    Ok(out)
}

/// The BER coding: packed decimal values.
fn binary_items(data: &[u8]) -> Result<Vec<Item>, Fault> {
    tlv::iter(data)
        .map(|item| {
            let item = item.map_err(|_| Fault::NotTlv)?;
            let value =
                decimal(item.value).filter(|_| !item.value.is_empty()).ok_or(Fault::Value(item.tag))?;
            Ok((item.tag, value))
        })
        .collect()
}

impl QuickPass {
    /// Takes the switches of a download; what it does not name stays. Unknown tags are passed over.
    ///
    /// # Errors
    /// See [`Fault`]; nothing is changed then.
    pub fn take(&mut self, field62: &[u8]) -> Result<(), Fault> {
        let items = if field62.starts_with(b"FF80") { text_items(field62)? } else { binary_items(field62)? };
        let mut taken = self.clone();
        for (tag, value) in items {
            let flag = || match value {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(Fault::Value(tag)),
            };
            let seconds =
                || u16::try_from(value).ok().filter(|seconds| *seconds <= 999).ok_or(Fault::Value(tag));
            match tag {
                0xFF_8054 => taken.no_pin = flag()?,
                0xFF_8055 => taken.pilot_1 = flag()?,
                0xFF_8056 => taken.pilot_2 = flag()?,
                0xFF_8057 => taken.on_device = flag()?,
                0xFF_8058 => taken.no_pin_limit = value,
                0xFF_8059 => taken.no_signature_limit = value,
                0xFF_805A => taken.no_signature = flag()?,
                0xFF_805D => taken.ecash_first = flag()?,
                0xFF_803A => taken.torn_seconds = seconds()?,
                0xFF_803C => taken.torn_record_seconds = seconds()?,
                _ => {}
            }
        }
        *self = taken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published text of the usual values, 126 characters.
    const TEXT: &str = "FF805D0010FF803A003010FF803C003060FF8058012000000100000FF80540011FF80550010FF80560010FF80570011FF8059012000000100000FF805A0011";

    #[test]
    fn both_codings_say_the_same() {
        assert_eq!(TEXT.len(), 126);
        let other = QuickPass {
            no_pin: false,
            no_pin_limit: 1,
            on_device: false,
            no_signature: false,
            no_signature_limit: 2,
            ecash_first: true,
            pilot_1: true,
            pilot_2: true,
            torn_seconds: 1,
            torn_record_seconds: 2,
            ..QuickPass::default()
        };
        let mut from_text = other.clone();
        from_text.take(TEXT.as_bytes()).unwrap();
        assert_eq!(from_text, QuickPass::default());
        let binary = "FF805D0100FF803A020010FF803C020060FF805806000000100000FF80540101FF80550100FF80560100FF80570101FF805906000000100000FF805A0101";
        let mut from_binary = other.clone();
        from_binary.take(&hex::decode(binary).unwrap()).unwrap();
        assert_eq!(from_binary, from_text);
        let mut unchanged = other.clone();
        for bad in ["FF80540012", "FF805400", "FF8054003", "FF80540020x"] {
            assert!(unchanged.take(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(unchanged.take(&[0xFF, 0x80, 0x54, 0x01, 0x0A]).is_err());
        assert_eq!(unchanged, other);
        unchanged.take(b"FF80990015FF80540011").unwrap();
        assert!(unchanged.no_pin);
    }

    proptest::proptest! {
        #[test]
        fn any_download_is_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), text in "FF80[0-9A-F]{0,40}") {
            let _ = QuickPass::default().take(&bytes);
            let _ = QuickPass::default().take(text.as_bytes());
        }
    }
}
