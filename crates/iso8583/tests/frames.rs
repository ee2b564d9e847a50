//! Published frames decode with the terminal table and are rebuilt to the same bytes, both by copying fields
//! and from their values. This is what shows that the table is the field's, not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::frame::{PosFrame, begin_pos, finish_pos, parse_pos, split};
use iso8583::{CUP_POS, Dialect, Draft, Format, Message, Mti, Profile};

const FRAMES: &str = include_str!("../../../tests/data/frames.txt");

struct Sample {
    name: &'static str,
    form: &'static str,
    bytes: Vec<u8>,
}

fn samples() -> Vec<Sample> {
    let lines = FRAMES.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let (name, form) = (words.next().unwrap(), words.next().unwrap());
            Sample { name, form, bytes: hex::decode(words.next().unwrap()).unwrap() }
        })
        .collect()
}

fn sample(name: &str) -> Vec<u8> {
    samples().into_iter().find(|sample| sample.name == name).unwrap().bytes
}

/// F16 is a wallet message whose field 60 has 19 digits: two more than the baseline takes.
fn dialect(name: &str) -> &'static Dialect {
    if name == "F16" {
        Dialect::for_profile(&Profile { field_60_max: 999, ..Profile::CUP_POS_1 })
    } else {
        &CUP_POS
    }
}

fn profile(form: &str) -> Profile {
    Profile { header: Profile::CUP_POS_1.header.filter(|_| form != "no-header"), ..Profile::CUP_POS_1 }
}

fn body(sample: &Sample) -> &[u8] {
    let payload: &[u8] = match sample.form {
        "body" => return &sample.bytes,
        "no-length" => &sample.bytes,
        _ => {
            let (used, payload) = split(&sample.bytes, 1024).unwrap().expect("whole frame");
            assert_eq!(used, sample.bytes.len(), "{}", sample.name);
            payload
        }
    };
    parse_pos(payload, &profile(sample.form)).unwrap().body
}

fn rebuild_by_copy(message: &Message<'_>, dialect: &'static Dialect) -> Vec<u8> {
    let mut draft = Draft::new();
    draft.start(dialect, message.mti());
    // Backwards, so that the order of putting is shown not to matter.
    let fields: Vec<_> = message.fields().collect();
    for field in fields.iter().rev() {
        draft.put_field(field).unwrap();
    }
    let mut out = Vec::new();
    draft.write(&mut out).unwrap();
    out
}

fn rebuild_by_value(message: &Message<'_>, dialect: &'static Dialect) -> Vec<u8> {
    let mut draft = Draft::new();
    draft.start(dialect, message.mti());
    for field in message.fields() {
        let number = field.number();
        match field.spec().format {
            Format::N | Format::Z => draft.put_digits(number, &field.digits().unwrap()).unwrap(),
            _ => draft.put_bytes(number, field.body()).unwrap(),
        }
    }
    let mut out = Vec::new();
    draft.write(&mut out).unwrap();
    out
}

#[test]
fn every_published_frame_decodes_and_is_rebuilt_to_the_same_bytes() {
    let samples = samples();
    assert_eq!(samples.len(), 11);
    for sample in &samples {
        let body = body(sample);
        let dialect = dialect(sample.name);
        let message = dialect.parse(body).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        message.check_chip_data().unwrap();
        assert_eq!(hex::encode(rebuild_by_copy(&message, dialect)), hex::encode(body), "{}", sample.name);
        if sample.name != "F7" {
            assert_eq!(
                hex::encode(rebuild_by_value(&message, dialect)),
                hex::encode(body),
                "{}",
                sample.name
            );
        }
    }
}

/// F7's host fills the odd digit of field 60 with F. Copying keeps it; building from the value needs the
/// profile's filler.
#[test]
fn the_filler_nibble_is_a_profile_switch() {
    let bytes = sample("F7");
    let message = CUP_POS.parse(&bytes).unwrap();
    assert_ne!(rebuild_by_value(&message, &CUP_POS), bytes);
    let filled = Dialect::for_profile(&Profile { pad: 15, ..Profile::CUP_POS_1 });
    assert_eq!(rebuild_by_value(&filled.parse(&bytes).unwrap(), filled), bytes);
}

#[test]
fn a_whole_frame_is_rebuilt_with_its_tpdu_and_header() {
    for sample in samples().iter().filter(|sample| ["frame", "no-header"].contains(&sample.form)) {
        let (_, payload) = split(&sample.bytes, 1024).unwrap().unwrap();
        let PosFrame { tpdu, header, body, .. } = parse_pos(payload, &profile(sample.form)).unwrap();
        let mut out = b"before".to_vec();
        let mark = begin_pos(&mut out, tpdu, header);
        out.extend_from_slice(body);
        finish_pos(&mut out, mark).unwrap();
        assert_eq!(out[6..], sample.bytes, "{}", sample.name);
    }
}

/// The decoded values that the notes on the frames list.
#[test]
fn values_of_the_chip_sale() {
    let bytes = sample("F12");
    let message = CUP_POS.parse(&bytes[13..]).unwrap();
    assert_eq!(message.mti(), Mti::new(200));
    assert_eq!(message.digits(2).unwrap(), "6224242000000021");
    assert_eq!(message.number(3), Some(0));
    assert_eq!(message.number(4), Some(1));
    assert_eq!(message.number(11), Some(52));
    assert_eq!(message.digits(14).unwrap(), "2403");
    assert_eq!(message.digits(22).unwrap(), "051");
    assert_eq!(message.digits(23).unwrap(), "000");
    assert_eq!(message.number(26), Some(12));
    assert_eq!(message.field(35).unwrap().len(), 37);
    assert_eq!(message.digits(35).unwrap(), "6224242000000021D24032200000000000001");
    assert_eq!(message.text(41), Some("10008060"));
    assert_eq!(message.text(42), Some("898100000000001"));
    assert_eq!(message.text(49), Some("156"));
    assert_eq!(message.digits(53).unwrap(), "2600000000000000");
    assert_eq!(message.bytes_of(55).unwrap().len(), 138);
    assert_eq!(message.digits(60).unwrap(), "22000006000601");
    assert_eq!(message.bytes_of(64).unwrap(), b"D2F1BFB2");
    assert_eq!(message.mac_block().unwrap(), &bytes[13..bytes.len() - 8]);
    assert_eq!(message.field(60).unwrap().digit(13), Some(b'1'));
}

/// S9's track is encrypted, so its body has nibbles above nine in places where no separator stands.
#[test]
fn an_encrypted_track_is_passed_through() {
    let bytes = sample("S9");
    let message = CUP_POS.parse(&bytes[13..]).unwrap();
    assert_eq!(message.digits(35).unwrap(), "6224242000000021F00997375B09E70507");
    assert_eq!(message.bytes_of(52).unwrap(), [0x01, 0x0f, 0xfe, 0x95, 0x95, 0x5c, 0xe8, 0xa5]);
    assert_eq!(message.bytes_of(64).unwrap(), b"35DF922F");
}

/// The vectors S9 and S10: a whole sale built from its values is the published frame, and the MAC is asked for
/// over exactly the bytes that precede it, with its bit set.
#[test]
fn the_sales_of_the_mac_vectors_are_built_from_their_values() {
    let s9 = sample("S9");
    let sale = |track: &str, security: &str, mac: &[u8; 8]| {
        let mut draft = Draft::new();
        draft.start(&CUP_POS, Mti::new(200));
        draft.put_number(3, 0).unwrap();
        draft.put_number(4, 100).unwrap();
        draft.put_number(11, 17).unwrap();
        draft.put_digits(22, "021").unwrap();
        draft.put_number(25, 0).unwrap();
        draft.put_number(26, 12).unwrap();
        draft.put_digits(35, track).unwrap();
        draft.put_text(41, "10000001").unwrap();
        draft.put_text(42, "898100000000001").unwrap();
        draft.put_text(49, "156").unwrap();
        draft.put_bytes(52, &[0x01, 0x0f, 0xfe, 0x95, 0x95, 0x5c, 0xe8, 0xa5]).unwrap();
        draft.put_digits(53, security).unwrap();
        draft.put_digits(60, "22000001000500").unwrap();
        let mut out = s9[..13].to_vec();
        let mut block = Vec::new();
        draft
            .write_with_mac(&mut out, |bytes| {
                block.extend_from_slice(bytes);
                Ok::<_, iso8583::BuildError>(*mac)
            })
            .unwrap();
        let message = CUP_POS.parse(&out[13..]).unwrap();
        assert_eq!(message.mac_block().unwrap(), block);
        assert_eq!(block.len() + 8, message.bytes().len());
        assert_eq!(block[9] & 1, 1, "bit 64");
        out
    };
    let built = sale("6224242000000021F00997375B09E70507", "2610000000000000", b"35DF922F");
    assert_eq!(hex::encode(built), hex::encode(&s9));
    let built = sale("6224242000000021D29022015699031007", "2600000000000000", b"665E8736");
    assert_eq!(
        CUP_POS.parse(&built[13..]).unwrap().digits(35).unwrap(),
        "6224242000000021D29022015699031007"
    );

    // A MAC that cannot be computed leaves the output as it was.
    let mut draft = Draft::new();
    draft.start(&CUP_POS, Mti::new(200));
    let mut out = b"kept".to_vec();
    let failed = iso8583::BuildError::new(64, iso8583::BuildErrorKind::Empty);
    assert_eq!(draft.write_with_mac(&mut out, |_| Err::<[u8; 8], _>(failed)), Err(failed));
    assert_eq!(out, b"kept");
}
