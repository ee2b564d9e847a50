//! Private fields: what each layout reads, writes, and refuses. Values come from published frames and vectors
//! where there are any.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::subfield::{
    Amount54, BatchDetail48, BatchEnd48, Composite60, Fee28, Field48Nk, KeyScheme, Keys62, Original61,
    OriginalData90, PosField60, Sm4Pin63, Status62, StatusItem, Text63, Totals48, TotalsBlock, amounts_54,
};
use iso8583::{CUP_POS, CUPS, Draft, ErrorKind, Message, Mti, ParseError, tlv};

/// Builds a terminal message and hands it over parsed.
fn with<T>(mti: u16, put: impl FnOnce(&mut Draft), read: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut draft = Draft::new();
    draft.start(&CUP_POS, Mti::new(mti));
    put(&mut draft);
    let mut bytes = Vec::new();
    draft.write(&mut bytes).unwrap();
    read(&CUP_POS.parse(&bytes).unwrap())
}

fn field_60(digits: &str) -> Result<Option<PosField60>, ParseError> {
    with(200, |draft| draft.put_digits(60, digits).unwrap(), PosField60::of)
}

/// Lengths seen on the wire: 8, 11, 13, 14, 17.
#[test]
fn field_60_reads_as_far_as_it_goes() {
    let short = field_60("07000001").unwrap().unwrap();
    assert_eq!((short.msg_type, short.batch, short.network_code), (7, 1, None));
    let management = field_60("00000123003").unwrap().unwrap();
    assert_eq!((management.batch, management.network_code, management.capability), (123, Some(3), None));
    assert_eq!(field_60("2200000100060").unwrap().unwrap().chip_condition, Some(0));
    let full = field_60("22000006000601048").unwrap().unwrap();
    let expected = PosField60 {
        msg_type: 22,
        batch: 6,
        network_code: Some(0),
        capability: Some(6),
        chip_condition: Some(0),
        partial_approval: Some(1),
        account_type: Some(48),
        beyond: 0,
    };
    assert_eq!(full, expected);
    for digits in ["07000001", "00000123003", "220000010005", "22000001000601", "22000006000601048"] {
        assert_eq!(field_60(digits).unwrap().unwrap().to_digits(), digits);
        assert_eq!(PosField60::parse(digits).unwrap(), field_60(digits).unwrap().unwrap());
    }
    assert_eq!(PosField60::parse("2600000100060000000").unwrap().beyond, 2, "the wallet variant");
    assert_eq!(field_60("2200000").unwrap_err().kind, ErrorKind::BadSubfield);
    assert_eq!(field_60("220000010").unwrap_err().kind, ErrorKind::BadSubfield, "60.3 cut through");
    assert_eq!(with(800, |_| (), PosField60::of), Ok(None));
}

#[test]
fn field_61_names_the_original() {
    for digits in ["000001000017", "0000010000171123", "000001000017112300", "00000100001711230048020000000"]
    {
        assert_eq!(Original61::parse(digits).unwrap().to_digits(), digits);
    }
    let original = Original61::parse("0000000000001123").unwrap();
    assert_eq!((original.batch, original.trace, original.date), (0, 0, Some(1123)));
    assert_eq!(Original61::parse("00000100001").unwrap_err().offset, 3);
    let read = with(200, |draft| draft.put_digits(61, "00000100001711").unwrap(), Original61::of);
    // Message type 2, bitmap 8, length 2, then 6 bytes of 61.1 and 61.2.
    assert_eq!(read.unwrap_err(), ParseError::new(61, 18, ErrorKind::BadSubfield));
}

#[test]
fn totals_have_62_digits() {
    let digits = "00000012345600300000000010000100000000000000000000000000000000";
    let totals = with(500, |draft| draft.put_digits(48, digits).unwrap(), Totals48::of).unwrap().unwrap();
    let domestic =
        TotalsBlock { debit_fen: 123_456, debit_count: 3, credit_fen: 100, credit_count: 1, result: 0 };
    assert_eq!(totals, Totals48 { domestic, foreign: TotalsBlock::default() });
    assert_eq!(totals.to_digits(), digits);
    assert!(Totals48::parse(&digits[1..]).is_err());
}

#[test]
fn batch_details_are_forty_digits_each() {
    let digits = format!(
        "0200000017{:0>20}{:012}01000018{:0>20}{:012}",
        "6224242000000021", 10_000, "356600000000000", 5
    );
    let lines = with(
        320,
        |draft| draft.put_digits(48, &digits).unwrap(),
        |message| {
            let details = BatchDetail48::of(message).unwrap().unwrap();
            assert_eq!(details.count(), 2);
            details.lines().collect::<Result<Vec<_>, _>>().unwrap()
        },
    );
    assert_eq!((lines[0].foreign, lines[1].foreign), (false, true));
    assert_eq!((lines[1].trace, lines[1].fen), (18, 5));
    assert_eq!(lines[1].pan, "356600000000000");
    assert_eq!(BatchDetail48::to_digits(&lines).unwrap(), digits);
    assert_eq!(BatchDetail48::to_digits(&[]), None);
    let nine: Vec<_> = std::iter::repeat_n(lines[0].clone(), 9).collect();
    assert_eq!(BatchDetail48::to_digits(&nine), None);
    // Eight details are the 322 digits that the field holds.
    assert_eq!(BatchDetail48::to_digits(&nine[..8]).unwrap().len(), 322);
    let wrong = |digits: &str| {
        with(
            320,
            |draft| draft.put_digits(48, digits).unwrap(),
            |message| BatchDetail48::of(message).map(drop).unwrap_err().kind,
        )
    };
    assert_eq!(wrong("0112345"), ErrorKind::BadSubfield);
    assert_eq!(wrong("00"), ErrorKind::BadSubfield);
    let end = with(320, |draft| draft.put_digits(48, "0017").unwrap(), BatchEnd48::of).unwrap().unwrap();
    assert_eq!((end.count, &*end.to_digits()), (17, "0017"));
}

#[test]
fn balances_carry_their_sign() {
    let text = "1001156C0000000100003002156D000000000005";
    let amounts: Vec<_> = amounts_54(text).collect::<Result<_, _>>().unwrap();
    assert_eq!(
        amounts,
        [
            Amount54 { account_type: 10, amount_type: 1, currency: 156, fen: 10_000 },
            Amount54 { account_type: 30, amount_type: 2, currency: 156, fen: -5 },
        ]
    );
    assert_eq!(amounts.iter().map(Amount54::to_text).collect::<String>(), text);
    assert_eq!(Amount54::parse(&text[..19]).unwrap_err().field, 54);
    assert_eq!(Amount54::parse("1001156X000000010000").unwrap_err().offset, 7);
    assert_eq!(amounts_54("1001156C00000001000030").last().unwrap().unwrap_err().offset, 20);
}

/// The synthetic vectors S1, S2, S4 and S5 and the published one, K1.
#[test]
fn working_keys_are_split_by_what_was_asked_for() {
    let bytes = |text: &str| hex::decode(text.replace(' ', "")).unwrap();
    let s1 = bytes("9B3A7B883A100F73B4ABA2BB791C50E7 D2B91CC5 5ADC39F46164960E 0000000000000000 ADC67D84");
    let keys = Keys62::parse(&s1, KeyScheme::TripleDes).unwrap();
    assert_eq!((keys.pin.key, keys.pin.check), (&s1[..16], [0xd2, 0xb9, 0x1c, 0xc5]));
    assert_eq!((keys.mac.key, keys.mac.check), (&s1[20..28], [0xad, 0xc6, 0x7d, 0x84]));
    assert_eq!(keys.track, None);
    let s4 = bytes("9B3A7B883A100F73B4ABA2BB791C50E7 D2B91CC5 5ADC39F46164960E17B9F1B1A1B2D33C E18DE25E");
    assert_eq!(Keys62::parse(&s4, KeyScheme::TripleDes).unwrap().mac.key, &s4[20..36]);
    let s2 = [s1.clone(), bytes("17B9F1B1A1B2D33C00396833D152DA8E 6B941819")].concat();
    let keys = Keys62::parse(&s2, KeyScheme::TripleDesTrack).unwrap();
    assert_eq!((keys.mac.key.len(), keys.track.unwrap().key), (8, &s2[40..56]));
    // The same 60 bytes asked for as SM4 have a whole MAC key.
    assert_eq!(Keys62::parse(&s2, KeyScheme::Sm4).unwrap().mac.key.len(), 16);
    let des = [&s1[..8], &[1, 2, 3, 4], &s1[20..28], &[5, 6, 7, 8]].concat();
    for (field, scheme) in [
        (&s1, KeyScheme::TripleDes),
        (&s4, KeyScheme::TripleDes),
        (&s2, KeyScheme::TripleDesTrack),
        (&s2, KeyScheme::Sm4),
        (&des, KeyScheme::Des),
    ] {
        let mut out = Vec::new();
        assert!(Keys62::parse(field, scheme).unwrap().write(&mut out));
        assert_eq!(&out, field, "{scheme:?}");
        assert_eq!(KeyScheme::from_code(scheme.code()), Some(scheme));
        assert!(Keys62::parse(&field[1..], scheme).is_err());
    }
    assert_eq!(KeyScheme::from_code(2), None);
    let mut out = Vec::new();
    let wrong = Keys62 { track: None, ..Keys62::parse(&s2, KeyScheme::Sm4).unwrap() };
    assert!(!wrong.write(&mut out) && out.is_empty());
    assert!(!format!("{keys:?}").contains("9B"), "{keys:?}");
}

#[test]
fn status_items_follow_their_codes() {
    let field = [b"011".as_slice(), b"1260", b"22", &[b'x'; 40], b"26ABCD"].concat();
    let items: Vec<_> = Status62::new(&field).items().collect::<Result<_, _>>().unwrap();
    assert_eq!(items.iter().map(|item| item.code).collect::<Vec<_>>(), [1, 12, 22, 26]);
    assert_eq!((items[1].value, items[1].names().1), (b"60".as_slice(), "time-out"));
    let mut out = Vec::new();
    assert!(items.iter().all(|item| item.write(&mut out)));
    assert_eq!(out, field);
    assert!(!StatusItem { code: 12, value: b"6" }.write(&mut out));
    let error = Status62::new(b"01199").items().last().unwrap().unwrap_err();
    assert_eq!((error.field, error.offset), (62, 3));
}

#[test]
fn texts_of_63_are_gbk() {
    let mut field = Vec::new();
    assert!(Text63::write(&mut field, "CUP", ["", "余额不足", "", ""]));
    assert_eq!(field.len(), 3 + 20 + 8);
    let texts = Text63::parse(&field).unwrap();
    assert_eq!((texts.organisation(), texts.message().trim()), ("CUP", "余额不足"));
    assert_eq!(texts.parts()[1], "余额不足");
    assert!(!Text63::write(&mut field, "CUPX", [""; 4]));
    assert!(!Text63::write(&mut field, "CUP", ["一二三四五六七八九十一", "", "", ""]));
    assert_eq!(field.len(), 31, "nothing is written when it does not fit");
    assert!(Text63::parse(b"CU").is_err());
    let message = with(
        210,
        |draft| draft.put_bytes(63, &field).unwrap(),
        |message| message.bytes_of(63).unwrap().len(),
    );
    assert_eq!(message, 31);
    assert_eq!(Text63::parse(b"01 ").unwrap().organisation(), "01 ");
}

#[test]
fn sm4_pin_and_reset_key_carriers() {
    let pin = Sm4Pin63([7; 16]);
    assert_eq!(&pin.to_bytes()[..5], b"SM016");
    assert_eq!(Sm4Pin63::parse(&pin.to_bytes()), Some(pin.clone()));
    assert_eq!(Sm4Pin63::parse(&pin.to_bytes()[..20]), None);
    let key = Field48Nk([0xa5; 16]);
    assert_eq!(Field48Nk::parse(&key.to_bytes()), Some(key.clone()));
    let hex = [b"NK".as_slice(), &b"A5".repeat(16)].concat();
    assert_eq!(Field48Nk::parse(&hex), Some(key.clone()));
    assert_eq!(Field48Nk::parse(b"NK"), None);
    assert_eq!(format!("{pin:?} {key:?}"), "Sm4Pin63(<hidden>) Field48Nk(<hidden>)");
}

#[test]
fn network_layouts() {
    let digits = "020000001711231200000004802999900048029999";
    let original = OriginalData90::parse(digits).unwrap();
    assert_eq!((original.mti, original.trace, original.acquirer), (Mti::new(200), 17, 48_029_999));
    assert_eq!(original.to_digits(), digits);
    assert!(OriginalData90::parse(&digits[1..]).is_err());
    let mut draft = Draft::new();
    draft.start(&CUPS, Mti::new(420));
    draft.put_digits(90, digits).unwrap();
    let mut bytes = Vec::new();
    draft.write(&mut bytes).unwrap();
    assert_eq!(OriginalData90::of(&CUPS.parse(&bytes).unwrap()).unwrap(), Some(original));

    assert_eq!(Fee28::parse("D00000150").unwrap().fen, 150);
    assert_eq!(Fee28 { fen: -150 }.to_text().unwrap(), "C00000150");
    assert_eq!(Fee28 { fen: 100_000_000 }.to_text(), None);
    assert!(Fee28::parse("X00000150").is_err() && Fee28::parse("D0000015").is_err());

    let mut composite = Composite60::zeros();
    assert!(composite.set("60.2.2", "5") && composite.set("60.2.5", "03") && composite.set("60.3.3", "004"));
    assert_eq!(composite.as_str(), "000005000300000000004000000000");
    assert_eq!(composite.part("60.2.5"), Some("03"));
    assert!(!composite.set("60.2.5", "3") && !composite.set("60.9", "3"));
    let short = Composite60::parse("000005000300000000004000000");
    assert_eq!((short.part("60.3.8"), short.part("60.3.9")), (Some("00"), None));
}

/// Terminal information as it travels in sales, and the same with two-digit lengths.
#[test]
fn field_59_items_nest() {
    let mut inner = Vec::new();
    for (tag, value) in [(b"01", "04"), (b"02", "POSPLAB100"), (b"03", "000002")] {
        assert!(tlv::ascii_write(&mut inner, 3, tag, value.as_bytes()));
    }
    let mut field = Vec::new();
    assert!(tlv::ascii_write(&mut field, 3, b"A2", &inner));
    assert_eq!(field, b"A2033010020402010POSPLAB10003006000002");
    assert_eq!(tlv::ascii_find(&field, 3, b"A2").unwrap(), Some(inner.as_slice()));
    assert_eq!(tlv::ascii_find(&inner, 3, b"03").unwrap(), Some(b"000002".as_slice()));
    assert_eq!(tlv::ascii_find(&inner, 3, b"04").unwrap(), None);
    assert_eq!(tlv::ascii_find(b"A20", 3, b"A2").unwrap_err().kind, ErrorKind::BadTlv);
    assert!(!tlv::ascii_write(&mut field, 2, b"A2", &[b'x'; 100]));
    assert_eq!(tlv::ascii_find(b"0104AAAA", 2, b"01").unwrap(), Some(b"AAAA".as_slice()));
}

/// Chip data of the published chip sale keeps its order and is written back to the same bytes.
#[test]
fn chip_data_keeps_order_and_unknown_tags() {
    let data = hex::decode(
        "9F2608ACF958C80FF744039F270180DF7F0101FF8058011272139F180400000001860A04DA9F58050356B34A1A82027C00",
    )
    .unwrap();
    assert_eq!(tlv::find(&data, 0x9f27).unwrap(), Some([0x80].as_slice()));
    assert_eq!(tlv::find(&data, 0xdf7f).unwrap(), Some([1].as_slice()));
    let tags: Vec<_> = tlv::iter(&data).take(4).map(|item| item.unwrap().tag).collect();
    assert_eq!(tags, [0x9f26, 0x9f27, 0xdf7f, 0xff8058]);
    assert!(tlv::validate(&data).is_ok());
    let mut out = Vec::new();
    tlv::iter(&data).for_each(|item| tlv::write(&mut out, item.unwrap().tag, item.unwrap().value));
    assert_eq!(out, data);
    assert!(tlv::is_constructed(0x71) && tlv::is_constructed(0xff8058) && !tlv::is_constructed(0x9f26));
    assert_eq!(tlv::validate(&data[..data.len() - 1]).unwrap_err().offset, data.len() - 4);
}
