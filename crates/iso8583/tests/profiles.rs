//! Frames of four families, made under fixed keys by a terminal that shares no code with this crate
//! (`tests/python/test_profiles.py`): each is read with its profile's switches, says the same sale, and is built again
//! to the same bytes. With the baseline's switches none of the deviating ones is the same message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::frame::{Tpdu, begin_pos, finish_pos, parse_pos, split};
use iso8583::{Dialect, Draft, Profile};

const FRAMES: &str = include_str!("../../../tests/data/profiles.txt");

fn profile(name: &str) -> Profile {
    let switches: &[(&str, &str)] = match name {
        "Bare" => &[
            ("header", "none"),
            ("field_60", "ascii"),
            ("field_23", "left"),
            ("pad", "f"),
            ("pad_pan", "f"),
            ("mac", "x9.19-pad80"),
            ("mac_key", "16"),
            ("pin_length", "6"),
        ],
        "Chained" => &[
            ("header", "000000000000"),
            ("field_32", "right"),
            ("field_60_max", "19"),
            ("mac", "x9.9"),
            ("mac_form", "raw"),
        ],
        "Recorded" => &[("lri", "yes"), ("key_layout", "records")],
        "National" => &[("sm4_digit", "3"), ("sm4_pin", "59-a1"), ("field_59", "2"), ("sm4_sign_in", "005")],
        other => panic!("{other}"),
    };
    let mut profile = Profile::named(name.to_owned());
    switches.iter().for_each(|(name, value)| profile.set(name, value).unwrap());
    profile.check().unwrap();
    profile
}

#[test]
fn frames_of_an_unrelated_terminal() {
    let mut seen = 0;
    for line in FRAMES.lines() {
        let (name, frame) = line.split_once(' ').unwrap();
        let bytes = hex::decode(frame).unwrap();
        let profile = profile(name);
        let (used, payload) = split(&bytes, 2_048).unwrap().unwrap();
        assert_eq!(used, bytes.len());
        let parts = parse_pos(payload, &profile).unwrap();
        assert_eq!(parts.tpdu, Tpdu::new([0x60, 0, 3, 0, 0]));
        assert_eq!((parts.header, parts.lri.is_some()), (profile.header, profile.lri), "{name}");
        let dialect = Dialect::for_profile(&profile);
        let message = dialect.parse(parts.body).unwrap();
        assert_eq!(message.mti().value(), 200);
        for (field, value) in [(3, 0), (4, 100), (11, 17), (22, 21), (25, 0)] {
            assert_eq!(message.number(field), Some(value), "{name} {field}");
        }
        assert_eq!(message.digits(60).unwrap(), "22000001000500", "{name}");
        assert_eq!(message.digits(35).unwrap(), "6224242000000120D29121010000000123");
        assert_eq!(message.number(26), Some(if name == "Bare" { 6 } else { 12 }));
        let security = if name == "National" { "2300000000000000" } else { "2600000000000000" };
        assert_eq!(message.digits(53).unwrap(), security);
        if name == "National" {
            let field = message.bytes_of(59).unwrap();
            let pin = iso8583::tlv::ascii_find(field, 2, b"A1").unwrap().unwrap();
            assert_eq!((pin.len(), message.bytes_of(52).unwrap()), (16, &[0; 8][..]));
        }
        let hexadecimal = message.bytes_of(64).unwrap().iter().all(u8::is_ascii_hexdigit);
        assert_eq!(hexadecimal, name != "Chained");

        let mut draft = Draft::new();
        draft.start(dialect, message.mti());
        for field in message.fields() {
            let number = field.number();
            match message.digits(number) {
                Some(digits) => draft.put_digits(number, digits.as_str()).unwrap(),
                None => draft.put_bytes(number, message.bytes_of(number).unwrap()).unwrap(),
            }
        }
        let mut body = Vec::new();
        draft.write(&mut body).unwrap();
        assert_eq!(hex::encode_upper(&body), hex::encode_upper(parts.body), "{name}");
        if !profile.lri {
            let mut out = Vec::new();
            let mark = begin_pos(&mut out, parts.tpdu, parts.header);
            out.extend_from_slice(&body);
            finish_pos(&mut out, mark).unwrap();
            assert_eq!(out, bytes, "{name}");
        }
        if matches!(name, "Bare" | "Recorded") {
            let plain = parse_pos(payload, &Profile::CUP_POS_1).unwrap();
            assert!(iso8583::CUP_POS.parse(plain.body).is_err(), "{name} is no frame of the baseline");
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}
