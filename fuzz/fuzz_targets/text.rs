//! Any text as pasted hexadecimal, any bytes as TLV.
#![no_main]

use iso8583::text::decode_hex;
use iso8583::tlv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(decoded) = decode_hex(text) {
            assert!(decoded.message().is_ok());
        }
    }
    let items: Vec<_> = tlv::iter(data).map_while(Result::ok).collect();
    let mut out = Vec::new();
    items.iter().for_each(|item| tlv::write(&mut out, item.tag, item.value));
    let again: Vec<_> = tlv::iter(&out).collect::<Result<_, _>>().expect("what was written is sound");
    assert_eq!(items, again);
});
