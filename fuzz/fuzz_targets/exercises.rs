//! What is demanded of each parser, whatever the bytes: no panic, and what was accepted is written back to what
//! was read. The fuzz targets call these functions with bytes that libFuzzer makes up, the test `corpus` of the
//! codec with the inputs that were kept.

#![allow(dead_code, reason = "each target calls one of them")]

use std::sync::LazyLock;

use iso8583::describe::{Language, describe};
use iso8583::dialect::{Justify, NibbleCoding};
use iso8583::frame::{self, CupsFrame};
use iso8583::mask::mask_message;
use iso8583::subfield::{
    BatchDetail48, BatchEnd48, Composite60, Fee28, Field48Nk, KeyScheme, Keys62, Original61, OriginalData90,
    Page62, PosField60, PublicKey62, Sm4Pin63, Status62, Text63, Totals48, amounts_54, card_numbers,
    received_62, write_card_number, write_received_62,
};
use iso8583::{CUP_POS, CUPS, Dialect, Draft, Profile, text, tlv};

/// Longest frame that the exercises take, as the fuzzer's longest input.
const FRAME_MAX: usize = 4096;

/// A terminal dialect with every switch of the profile set away from the baseline.
static OTHER_POS: LazyLock<&'static Dialect> = LazyLock::new(|| {
    Dialect::for_profile(&Profile {
        field_23: Justify::Left,
        field_32: Justify::Right,
        field_60: NibbleCoding::Ascii,
        field_60_max: 999,
        field_55_max: 700,
        pad: 15,
        pan_pad: 15,
        tlv59_digits: Some(2),
        ..Profile::CUP_POS_1
    })
});

/// The network's dialect with the other separator in tracks.
static OTHER_CUPS: LazyLock<&'static Dialect> =
    LazyLock::new(|| Box::leak(Box::new(CUPS.clone().with_letter_separator())));

/// Terminal framing: a stream is cut the same way whether it arrives at once or in pieces, and a payload that
/// was taken apart is put together to the same bytes.
pub fn frame(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((used, payload))) = frame::split(rest, FRAME_MAX) {
        assert_eq!(used, payload.len() + 2, "a length never counts itself");
        for early in [1, 2, used / 2, used - 1] {
            assert_eq!(frame::split(&rest[..early.min(used - 1)], FRAME_MAX), Ok(None), "cut short");
        }
        for profile in [
            Profile::CUP_POS_1,
            Profile { header: None, ..Profile::CUP_POS_1 },
            Profile { lri: true, ..Profile::CUP_POS_1 },
        ] {
            let Ok(parts) = frame::parse_pos(payload, &profile) else { continue };
            let mut out = Vec::new();
            let mark = frame::begin_pos(&mut out, parts.tpdu, parts.header);
            if let Some(lri) = parts.lri {
                out.splice(7..7, lri.iter().copied());
            }
            out.extend_from_slice(parts.body);
            frame::finish_pos(&mut out, mark).expect("a length that was read can be written");
            assert_eq!(out, rest[..used], "put together to the same bytes");
            assert_eq!(parts.tpdu.swapped().swapped(), parts.tpdu);
            message_of(&CUP_POS, parts.body);
        }
        rest = &rest[used..];
    }
}

/// A bare terminal message, in the baseline and in a profile that differs wherever one can.
pub fn message(data: &[u8]) {
    message_of(&CUP_POS, data);
    message_of(*OTHER_POS, data);
}

/// Network framing with its header and heartbeat, and a bare network message.
pub fn cups(data: &[u8]) {
    message_of(&CUPS, data);
    message_of(*OTHER_CUPS, data);
    let mut rest = data;
    while let Ok(Some((used, found))) = frame::split_cups(rest, FRAME_MAX) {
        for early in [1, 3, 4, used / 2, used - 1] {
            assert_eq!(frame::split_cups(&rest[..early.min(used - 1)], FRAME_MAX), Ok(None), "cut short");
        }
        if let CupsFrame::Message(payload) = found
            && let Ok((header, body)) = frame::parse_cups(payload)
        {
            let mut out = Vec::new();
            let mark = frame::begin_cups(&mut out, &header);
            out.extend_from_slice(body);
            frame::finish_cups(&mut out, mark).expect("a length that was read can be written");
            assert_eq!(out, rest[..used], "put together to the same bytes");
            assert_eq!(header.swapped().swapped(), header);
            message_of(&CUPS, body);
        }
        rest = &rest[used..];
    }
}

/// BER-TLV of chip data, and the ASCII items of field 59 with two and three length digits.
pub fn tlv(data: &[u8]) {
    let items: Vec<_> = tlv::iter(data).map_while(Result::ok).collect();
    let mut out = Vec::new();
    items.iter().for_each(|item| tlv::write(&mut out, item.tag, item.value));
    let again: Vec<_> = tlv::iter(&out).collect::<Result<_, _>>().expect("what was written is sound");
    assert_eq!(items, again);
    assert_eq!(tlv::validate(data).is_ok(), tlv::iter(data).all(|item| item.is_ok()));
    if let Some(last) = items.last() {
        let first = items.iter().find(|item| item.tag == last.tag).expect("it is one of them");
        assert_eq!(tlv::find(data, last.tag), Ok(Some(first.value)));
        if tlv::is_constructed(last.tag) {
            let _ = tlv::validate(last.value);
        }
    }
    for digits in 1..=4 {
        let items: Vec<_> = tlv::ascii_iter(data, digits).map_while(Result::ok).collect();
        let mut out = Vec::new();
        for item in &items {
            assert!(tlv::ascii_write(&mut out, digits, &item.tag, item.value), "its length was written so");
        }
        assert_eq!(out, data[..out.len()], "written back to the same bytes");
        if let Some(item) = items.first() {
            assert_eq!(tlv::ascii_find(data, digits, &item.tag), Ok(Some(item.value)));
        }
    }
}

/// From this first byte on the field is one of a download.
const DOWNLOADS: u8 = 0xf0;

/// Field 62 of downloads: pages, counts, card numbers, public keys.
fn downloads(field: &[u8]) {
    if let Ok(page) = Page62::parse(field) {
        let numbers: Vec<_> = card_numbers(page.body).map_while(Result::ok).collect();
        let mut out = Vec::new();
        assert!(
            numbers
                .iter()
                .filter(|number| number.len() < 20)
                .all(|number| write_card_number(&mut out, number))
        );
        if numbers.iter().all(|number| number.len() < 20) {
            assert_eq!(out, page.body[..out.len()], "written back to the same bytes");
        }
        if let Ok(key) = PublicKey62::parse(page.body) {
            let mut out = Vec::new();
            key.write(&mut out);
            assert_eq!(PublicKey62::parse(&out), Ok(key));
        }
    }
    if let Ok(received) = received_62(field) {
        assert_eq!(received_62(write_received_62(received).as_bytes()), Ok(received));
    }
}

/// Private fields by their layouts: the first byte chooses one, the rest is the field.
pub fn subfields(data: &[u8]) {
    let Some((choice, field)) = data.split_first() else { return };
    if *choice >= DOWNLOADS {
        return downloads(field);
    }
    let characters = std::str::from_utf8(field).unwrap_or_default();
    match choice % 16 {
        0 => {
            if let Ok(parsed) = PosField60::parse(characters) {
                let written = parsed.to_digits();
                let kept = characters.len() - usize::from(parsed.beyond);
                assert_eq!(written.as_str(), &characters[..kept]);
            }
        }
        1 => {
            if let Ok(parsed) = Original61::parse(characters) {
                assert_eq!(parsed.to_digits().as_str(), characters);
            }
        }
        2 => {
            if let Ok(parsed) = Totals48::parse(characters) {
                assert_eq!(parsed.to_digits().as_str(), characters);
            }
        }
        3 => {
            if let Ok(parsed) = OriginalData90::parse(characters) {
                assert_eq!(parsed.to_digits().as_str(), characters);
            }
        }
        4 => {
            if let Ok(parsed) = Fee28::parse(characters) {
                let written = parsed.to_text().expect("eight digits were read");
                assert_eq!(Fee28::parse(&written), Ok(parsed));
            }
        }
        5 => {
            for parsed in amounts_54(characters).map_while(Result::ok) {
                let again = amounts_54(&parsed.to_text()).collect::<Result<Vec<_>, _>>();
                assert_eq!(again, Ok(vec![parsed]));
            }
        }
        6 => {
            let composite = Composite60::parse(characters);
            for number in ["60.1", "60.2.5", "60.3.10", "60.9"] {
                let mut copy = composite.clone();
                if let Some(part) = composite.part(number) {
                    assert!(
                        copy.set(number, &part.replace(|c: char| !c.is_ascii(), "0")) || !part.is_ascii()
                    );
                }
            }
            assert_eq!(composite.as_str(), characters);
        }
        7 => {
            let mut out = Vec::new();
            for item in Status62::new(field).items().map_while(Result::ok) {
                assert!(item.write(&mut out));
                assert!(!item.names().1.is_empty());
            }
            assert_eq!(out, field[..out.len()]);
        }
        8 => {
            if let Ok(parsed) = Text63::parse(field) {
                let parts = parsed.parts();
                let mut out = Vec::new();
                let borrowed = [&*parts[0], &*parts[1], &*parts[2], &*parts[3]];
                if Text63::write(&mut out, parsed.organisation(), borrowed) {
                    assert_eq!(Text63::parse(&out).expect("what was written is read").parts(), parts);
                }
                let _ = parsed.message();
            }
        }
        9..=12 => {
            let scheme = [KeyScheme::Des, KeyScheme::TripleDes, KeyScheme::TripleDesTrack, KeyScheme::Sm4]
                [usize::from(choice % 16 - 9)];
            if let Ok(parsed) = Keys62::parse(field, scheme) {
                let mut out = Vec::new();
                assert!(parsed.write(&mut out));
                assert_eq!(out, field);
            }
        }
        13 => {
            if let Some(parsed) = Sm4Pin63::parse(field) {
                assert_eq!(parsed.to_bytes().as_slice(), field);
            }
        }
        14 => {
            if let Some(parsed) = Field48Nk::parse(field) {
                assert!(Field48Nk::parse(&parsed.to_bytes()) == Some(parsed));
            }
        }
        _ => {
            // The field as field 48 of a batch upload: its layout needs a message around it.
            let mut draft = Draft::new();
            draft.start(&CUP_POS, iso8583::Mti::new(320));
            if draft.put_digits(48, characters).is_err() {
                return;
            }
            let mut out = Vec::new();
            if draft.write(&mut out).is_err() {
                return;
            }
            let message = CUP_POS.parse(&out).expect("what was built is a message");
            let _ = BatchEnd48::of(&message);
            if let Ok(Some(details)) = BatchDetail48::of(&message) {
                let lines: Result<Vec<_>, _> = details.lines().collect();
                if let Ok(lines) = lines {
                    assert_eq!(BatchDetail48::to_digits(&lines).as_deref(), Some(characters));
                }
            }
        }
    }
}

/// Pasted hexadecimal of any framing.
pub fn text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(decoded) = text::decode_hex(text)
    {
        assert!(decoded.message().is_ok());
    }
}

fn message_of(dialect: &'static Dialect, data: &[u8]) {
    let Ok(message) = dialect.parse(data) else { return };
    let mut draft = Draft::new();
    draft.start(dialect, message.mti());
    for field in message.fields() {
        draft.put_field(&field).expect("a field of this dialect");
    }
    let mut out = Vec::new();
    draft.write(&mut out).expect("a message of this dialect");
    assert_eq!(out, data, "rebuilt to the same bytes");

    out.clear();
    mask_message(&message, &mut out);
    assert_eq!(out.len(), data.len());
    assert_eq!(dialect.parse(&out).expect("a masked copy is a message").bitmap(), message.bitmap());

    let _ = message.check_chip_data();
    let _ = message.mac_block();
    let _ = (PosField60::of(&message), Original61::of(&message), Totals48::of(&message));
    let _ = (OriginalData90::of(&message), BatchEnd48::of(&message));
    for field in message.fields() {
        let _ = (message.number(field.number()), message.text(field.number()), field.digits());
    }
    if let Ok(Some(details)) = BatchDetail48::of(&message) {
        details.lines().for_each(drop);
    }
    out.clear();
    iso8583::cups::mac_text(&message, &mut out);
    assert!(!describe(&message).to_table(Language::Both).is_empty());
}
