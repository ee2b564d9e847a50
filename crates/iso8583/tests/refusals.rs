//! What is refused, with which field, offset and kind: one broken message per rule. The whole of a refusal is
//! compared, because operators find the terminal's fault by it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::{
    BuildErrorKind, CUP_POS, CUPS, Dialect, Draft, ErrorKind, Justify, Mti, NibbleCoding, ParseError, Profile,
};

fn refused(dialect: &Dialect, hex: &str) -> (u8, usize, ErrorKind) {
    let bytes = hex::decode(hex.replace(' ', "")).unwrap();
    let ParseError { field, offset, kind } = dialect.parse(&bytes).unwrap_err();
    (field, offset, kind)
}

#[test]
fn terminal_messages() {
    use ErrorKind::{
        BadBitmap, BadLengthPrefix, BadMti, BadPad, Empty, NotDecimal, NotInDialect, NotText, TooLong,
        TrailingBytes, Truncated,
    };
    for (what, hex, expected) in [
        ("nothing", "", (0, 0, Empty)),
        ("half a type", "02", (0, 1, Truncated)),
        ("type", "0A00 0000000000000000", (0, 0, BadMti)),
        ("half a bitmap", "0200 00000000", (0, 6, Truncated)),
        ("second bitmap", "0200 8000000000000000", (0, 2, BadBitmap)),
        ("unknown field 5", "0200 0800000000000000", (5, 10, NotInDialect)),
        ("no field 3 there", "0200 2000000000000000", (3, 10, Truncated)),
        ("field 3 cut", "0200 2000000000000000 0000", (3, 12, Truncated)),
        ("field 3 not decimal", "0200 2000000000000000 00000F", (3, 12, NotDecimal)),
        ("bytes after", "0200 2000000000000000 000000 00", (0, 13, TrailingBytes)),
        ("length of 2", "0200 4000000000000000 1A", (2, 10, BadLengthPrefix)),
        ("2 too long", "0200 4000000000000000 20", (2, 10, TooLong { max: 19 })),
        ("2 longer than arrives", "0200 4000000000000000 16 62242420", (2, 15, Truncated)),
        ("2 not decimal", "0200 4000000000000000 04 6A24", (2, 11, NotDecimal)),
        ("length of 60 cut", "0200 0000000000000010 00", (60, 11, Truncated)),
        ("length of 60", "0200 0000000000000010 000F", (60, 10, BadLengthPrefix)),
        ("60 too long", "0200 0000000000000010 0018", (60, 10, TooLong { max: 17 })),
        ("23 on the wrong side", "0200 0000020000000000 1001", (23, 10, BadPad)),
        ("23 not decimal", "0200 0000020000000000 000B", (23, 11, NotDecimal)),
        ("39 not text", "0200 0000000002000000 30FF", (39, 11, NotText)),
        ("41 control character", "0200 0000000000800000 3131313131310031", (41, 16, NotText)),
        ("55 too long", "0200 0000000000000200 0256", (55, 10, TooLong { max: 255 })),
    ] {
        assert_eq!(refused(&CUP_POS, hex), expected, "{what}");
    }
}

#[test]
fn network_messages() {
    let head = "30323030";
    let second = "80000000000000000000000000000001";
    for (what, hex, expected) in [
        ("type", "3032303A".to_owned() + second, (0, 0, ErrorKind::BadMti)),
        ("single bitmap", format!("{head} 0000000000000000"), (0, 4, ErrorKind::BadBitmap)),
        ("half a bitmap", format!("{head} 8000000000000000 00"), (0, 13, ErrorKind::Truncated)),
        ("no MAC there", format!("{head} {second} 3030"), (128, 22, ErrorKind::Truncated)),
        (
            "3 not decimal",
            format!("{head} A0000000000000000000000000000000 30303030303A"),
            (3, 25, ErrorKind::NotDecimal),
        ),
        (
            "length of 2",
            format!("{head} C0000000000000000000000000000000 3A31"),
            (2, 20, ErrorKind::BadLengthPrefix),
        ),
        (
            "fee without sign",
            format!("{head} 80000010000000000000000000000000 303030303030303030"),
            (28, 20, ErrorKind::NotDecimal),
        ),
        (
            "track character",
            format!("{head} 80000000200000000000000000000000 3033 363247"),
            (35, 24, ErrorKind::NotDecimal),
        ),
        (
            "unknown field 8",
            format!("{head} 81000000000000000000000000000000"),
            (8, 20, ErrorKind::NotInDialect),
        ),
    ] {
        assert_eq!(refused(&CUPS, &hex), expected, "{what}");
    }
}

/// A message can be sound and its chip data broken; the offset is that of the item, in the message.
#[test]
fn chip_data_is_walked_on_demand() {
    let broken = hex::decode("0200 0000000000000200 0007 9A03261124 9C02".replace(' ', "")).unwrap();
    let message = CUP_POS.parse(&broken).unwrap();
    assert_eq!(message.check_chip_data().unwrap_err(), ParseError::new(55, 17, ErrorKind::BadTlv));
    let text = message.check_chip_data().unwrap_err().to_string();
    assert_eq!(text, "field 55 at byte 17: broken TLV");
}

/// Neither error nor debug output repeats what was in the message.
#[test]
fn errors_and_debug_output_hold_no_values() {
    let bytes = hex::decode("02004000000000000000166224242000000021").unwrap();
    let message = CUP_POS.parse(&bytes).unwrap();
    let pan = message.digits(2).unwrap();
    let text = format!("{message:?} {pan:?} {:?}", message.field(2).unwrap());
    assert!(!text.contains("6224"), "{text}");
    let mut draft = Draft::new();
    draft.start(&CUP_POS, Mti::new(200));
    let error = draft.put_digits(2, "62242420000000A1").unwrap_err();
    assert_eq!(error.to_string(), "field 2: character outside the field's alphabet");
    assert!(!format!("{error:?} {draft:?}").contains("6224"));
}

#[test]
fn values_that_do_not_fit_are_not_put() {
    use BuildErrorKind::{
        BadCharacter, BadMti, Empty, NotInDialect, NotStarted, OtherDialect, TooLong, WrongFormat,
        WrongLength,
    };
    let mut draft = Draft::new();
    assert_eq!(draft.put_number(3, 0).unwrap_err().kind, NotStarted);
    assert_eq!(draft.write(&mut Vec::new()).unwrap_err().kind, NotStarted);
    draft.start(&CUP_POS, Mti::new(200));
    let kinds = [
        (draft.put_number(5, 0), NotInDialect),
        (draft.put_number(0, 0), NotInDialect),
        (draft.put_number(129, 0), NotInDialect),
        (draft.put_number(3, 1_000_000), TooLong { max: 6 }),
        (draft.put_number(41, 1), WrongFormat),
        (draft.put_digits(3, "00000"), WrongLength { expected: 6 }),
        (draft.put_digits(3, "00000x"), BadCharacter),
        (draft.put_digits(2, ""), Empty),
        (draft.put_digits(2, "62242420000000211234"), TooLong { max: 19 }),
        (draft.put_digits(35, "6224G"), BadCharacter),
        (draft.put_digits(41, "12345678"), WrongFormat),
        (draft.put_text(41, "123456789"), TooLong { max: 8 }),
        (draft.put_text(41, "\u{1}"), BadCharacter),
        (draft.put_text(3, "000000"), WrongFormat),
        (draft.put_text(63, ""), Empty),
        (draft.put_text(43, "\u{1F600}"), BadCharacter),
        (draft.put_bytes(52, &[0; 7]), WrongLength { expected: 8 }),
        (draft.put_bytes(3, &[0; 3]), WrongFormat),
        (draft.put_bytes(39, b"0\xff"), BadCharacter),
    ];
    for (result, kind) in kinds {
        assert_eq!(result.unwrap_err().kind, kind);
    }
    let mut out = Vec::new();
    draft.write(&mut out).unwrap();
    assert_eq!(hex::encode(&out), "02000000000000000000", "nothing of it was put");
    let ascii = hex::decode("30323030a0000000000000000000000000000000303030303030").unwrap();
    let field = CUPS.parse(&ascii).unwrap().field(3).unwrap();
    assert_eq!(draft.put_field(&field).unwrap_err().kind, OtherDialect);
    draft.start(&CUP_POS, Mti::new(10_000));
    assert_eq!(draft.write(&mut out).unwrap_err().kind, BadMti);
}

/// The switches that section 6 of the field reference lists for the coding of fields.
#[test]
fn profile_switches() {
    let base = Profile::CUP_POS_1;
    let build = |profile: &Profile, number: u8, digits: &str| {
        let dialect = Dialect::for_profile(profile);
        let mut draft = Draft::new();
        draft.start(dialect, Mti::new(200));
        draft.put_digits(number, digits).unwrap();
        let mut out = Vec::new();
        draft.write(&mut out).unwrap();
        let message = dialect.parse(&out).unwrap();
        assert_eq!(message.digits(number).unwrap(), digits);
        assert_eq!(message.number(number), Some(digits.parse().unwrap()));
        hex::encode(&out[10..])
    };
    assert_eq!(build(&base, 22, "021"), "0210");
    assert_eq!(build(&base, 23, "001"), "0001");
    assert_eq!(build(&Profile { field_23: Justify::Left, ..base.clone() }, 23, "012"), "0120");
    assert_eq!(build(&base, 32, "123"), "031230");
    assert_eq!(build(&Profile { field_32: Justify::Right, ..base.clone() }, 32, "123"), "030123");
    assert_eq!(build(&base, 60, "22000001001"), "0011220000010010");
    assert_eq!(build(&Profile { pad: 15, ..base.clone() }, 60, "22000001001"), "001122000001001f");
    assert_eq!(build(&Profile { pan_pad: 15, ..base.clone() }, 2, "622424200000002"), "15622424200000002f");
    let ascii = Profile { field_60: NibbleCoding::Ascii, ..base.clone() };
    assert_eq!(build(&ascii, 60, "22000001"), "00083232303030303031");
    let long = Profile { field_60_max: 999, ..base };
    assert_eq!(build(&long, 60, "220000010001234567").len(), 2 * (2 + 9));
}
