//! The network side: header, framing, and the text under its MAC, against the published header and the vector
//! of the field reference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::cups::mac_text;
use iso8583::frame::{
    CUPS_HEARTBEAT, CupsFrame, CupsHeader, FrameError, PosHeader, Tpdu, begin_cups, finish_cups, parse_cups,
    parse_pos, split, split_cups,
};
use iso8583::text::{Envelope, decode_hex, encode};
use iso8583::{CUPS, Mti, Profile};

fn framed(body: &[u8], header: &CupsHeader) -> Vec<u8> {
    let mut out = Vec::new();
    let mark = begin_cups(&mut out, header);
    out.extend_from_slice(body);
    finish_cups(&mut out, mark).unwrap();
    out
}

/// The header of the public fixture: 361 bytes of body, letters in the reserved field, batch 1.
#[test]
fn the_published_header() {
    let mut header = CupsHeader::new("03050001", "00010000");
    header.reserved = *b"AA9";
    header.batch = 1;
    let frame = framed(&[b'x'; 361], &header);
    assert_eq!(&frame[..4], b"0407");
    let expected =
        [&[0x2e, 0x02][..], b"040703050001   00010000   AA9", &[1], b"00000000", &[0], b"00000"].concat();
    assert_eq!(frame[4..50], expected);
    let Some((407, CupsFrame::Message(_))) =
        split_cups(&frame, 407).unwrap().map(|(used, frame)| (used - 4, frame))
    else {
        panic!("not split");
    };
    let (read, body) = parse_cups(&frame[4..]).unwrap();
    assert_eq!((read, body.len()), (header, 361));
    assert_eq!(read.swapped().destination, *b"00010000   ");
    assert_eq!(read.swapped().reserved, *b"AA9");
    assert!(!read.is_rejected());
}

#[test]
fn heartbeats_and_frames_back_to_back() {
    let frame = framed(b"0820", &CupsHeader::new("00010000", "48029999"));
    let stream = [CUPS_HEARTBEAT.as_slice(), &frame, CUPS_HEARTBEAT].concat();
    let (used, first) = split_cups(&stream, 2048).unwrap().unwrap();
    assert_eq!((used, first), (4, CupsFrame::Heartbeat));
    let (used, second) = split_cups(&stream[4..], 2048).unwrap().unwrap();
    assert_eq!((used, second), (54, CupsFrame::Message(&frame[4..])));
    for cut in 0..frame.len() {
        assert_eq!(split_cups(&frame[..cut], 2048).unwrap(), None, "{cut} bytes");
    }
    assert_eq!(split_cups(b"00x", 2048).unwrap_err(), FrameError::BadLength);
    assert_eq!(split_cups(b"2049", 2048).unwrap_err(), FrameError::TooLong { len: 2049, max: 2048 });
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let frame = framed(b"0820", &CupsHeader::new("00010000", "48029999"));
    let payload = &frame[4..];
    let change = |place: usize, value: u8| {
        let mut bytes = payload.to_vec();
        bytes[place] = value;
        parse_cups(&bytes).map(drop).unwrap_err()
    };
    assert_eq!(change(0, 45), FrameError::HeaderLength(45));
    assert_eq!(change(5, b'9'), FrameError::HeaderTotal { announced: 59, len: 50 });
    assert_eq!(change(5, b'x'), FrameError::HeaderField(2));
    assert_eq!(change(7, 0), FrameError::HeaderField(6));
    assert_eq!(change(45, 0xff), FrameError::HeaderField(41));
    assert_eq!(parse_cups(&payload[..45]).unwrap_err(), FrameError::ShortHeader { len: 45 });
    let mut out = Vec::new();
    let mark = begin_cups(&mut out, &CupsHeader::new("", ""));
    out.resize(10_004, b'0');
    assert_eq!(finish_cups(&mut out, mark).unwrap_err(), FrameError::TooLong { len: 10_000, max: 9999 });
    assert!(out.is_empty());
}

/// The vector of the field reference: fields as transmitted, 2, 32 and 33 with their length, one space between.
#[test]
fn the_text_under_the_mac() {
    let fields = [
        (2, "6224242000000021"),
        (3, "000000"),
        (4, "000000000100"),
        (7, "1123120000"),
        (11, "000017"),
        (12, "120000"),
        (18, "5411"),
        (22, "021"),
        (25, "00"),
        (32, "14538200"),
        (33, "14538200"),
        (41, "10000001"),
        (42, "898100000000001"),
        (49, "156"),
    ];
    let bytes = encode(&CUPS, Mti::new(200), fields).unwrap();
    let mut text = Vec::new();
    mac_text(&CUPS.parse(&bytes).unwrap(), &mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "0200 166224242000000021 000000 000000000100 1123120000 000017 5411 00 0814538200 0814538200 10000001 \
         898100000000001"
    );
    // Only the first twenty characters of 90, letters in upper case, other signs dropped.
    let original = "020000001711231200000004802999900048029999";
    let bytes = encode(&CUPS, Mti::new(420), [(38, "ab12 3"), (41, "a-b_c.,d"), (90, original)]).unwrap();
    let mut text = Vec::new();
    mac_text(&CUPS.parse(&bytes).unwrap(), &mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "0420 AB12 3 ABC.,D 02000000171123120000");
}

#[test]
fn a_network_frame_decodes_from_text() {
    let body =
        encode(&CUPS, Mti::new(820), [(7, "1123120000"), (11, "000017"), (33, "48029999"), (70, "301")])
            .unwrap();
    let frame = framed(&body, &CupsHeader::new("00010000", "48029999"));
    for (bytes, with_length) in [(&frame[..], true), (&frame[4..], false)] {
        let decoded = decode_hex(&hex::encode(bytes)).unwrap();
        assert!(matches!(decoded.envelope, Envelope::Cups { length, .. } if length == with_length));
        assert_eq!(decoded.body(), body);
    }
}

#[test]
fn terminal_headers() {
    let tpdu = Tpdu::new([0x60, 0x00, 0x03, 0x12, 0x34]);
    assert_eq!(tpdu.swapped(), Tpdu::new([0x60, 0x12, 0x34, 0x00, 0x03]));
    assert_eq!(tpdu.destination(), [0x00, 0x03]);
    let header = PosHeader::new([0x61, 0x32, 0x00, 0x32, 0xff, 0xf1]);
    assert_eq!((header.application_type(), header.version(), header.terminal_status()), (0x61, 0x32, 0));
    assert_eq!(header.with_requirement(3).bytes(), [0x61, 0x32, 0x03, 0x32, 0xff, 0xf1]);
    assert_eq!(header.with_requirement(3).requirement(), 3);
    assert_eq!(header.sub_version(), [0x32, 0xff, 0xf1]);
    assert_eq!(format!("{tpdu:?} {header:?}"), "6000031234 61320032FFF1");

    assert_eq!(split(&[0, 0, 1], 10).unwrap_err(), FrameError::Zero);
    assert_eq!(split(&[0, 11], 10).unwrap_err(), FrameError::TooLong { len: 11, max: 10 });
    assert_eq!(split(&[0], 10).unwrap(), None);
    assert_eq!(split(&[0, 2, 7], 10).unwrap(), None);
    assert_eq!(split(&[0, 2, 7, 8, 9], 10).unwrap(), Some((4, &[7, 8][..])));

    let lri = Profile { lri: true, ..Profile::CUP_POS_1 };
    let payload = [&tpdu.bytes()[..], &[7; 33], &header.bytes(), b"x"].concat();
    let frame = parse_pos(&payload, &lri).unwrap();
    assert_eq!((frame.lri, frame.header, frame.body), (Some(&[7; 33][..]), Some(header), &b"x"[..]));
    assert_eq!(parse_pos(&payload[..44], &lri).unwrap_err(), FrameError::ShortHeader { len: 44 });
}
