//! Frames and session as bytes: the published vectors, and a receiver that finds frames in whatever stands around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use proptest::prelude::*;
use readerlink::{
    Command, Detect, FAULTS, Fault, Frame, FrameError, GAP, Info, Interfaces, PAYLOAD_MAX, Receiver, Role,
    Session, SessionError, SessionKeys, Tlv, crc16,
};

fn bytes(hexadecimal: &str) -> Vec<u8> {
    hex::decode(hexadecimal.replace(' ', "")).unwrap()
}

fn array<const N: usize>(hexadecimal: &str) -> [u8; N] {
    bytes(hexadecimal).try_into().unwrap()
}

const INFO: &str = "524C 01 00 0001 0001 0000 EB8C";
const INFO_ANSWER: &str = "524C010000018001002C 0000020000 01000103 02000B706F73702D726561646572 \
                           03000A524C3030303030303031 040005312E302E30 29AD";
const ERROR: &str = "524C 01 00 0007 8020 0005 00 0002 0012 AA5D";
const DETECT: &str =
    "524C01010005001000210000000000000005108AA8035A86E19B2608E104EF26B54EB396B10177E5020601B485";

fn keys() -> SessionKeys {
    SessionKeys::derive(
        &array::<16>("000102030405060708090A0B0C0D0E0F"),
        &[0x10; 16],
        &[0x20; 16],
        "RL00000001",
    )
}

fn decode(frame: &str) -> Frame {
    let bytes = bytes(frame);
    let (frame, length) = Frame::decode(&bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    frame
}

#[test]
fn the_check_value_is_ccitt_false() {
    assert_eq!(crc16(b"123456789"), 0x29B1);
}

#[test]
fn the_frames_byte_for_byte() {
    let info = Frame { flags: 0, sequence: 1, command: Command::Info.code(), payload: Vec::new() };
    assert_eq!(info.encode().unwrap(), bytes(INFO));
    assert_eq!(decode(INFO), info);

    let reader = Info {
        device_type: 3,
        model: "posp-reader".into(),
        serial: "RL00000001".into(),
        firmware: "1.0.0".into(),
        capabilities: None,
        battery: None,
        slots: Vec::new(),
    };
    let result = Tlv::new().with(0, &[0, 0]).encode();
    let payload = [result, reader.to_tlv().encode()].concat();
    let answer = Frame { flags: 0, sequence: 1, command: 0x8001, payload };
    assert_eq!(answer.encode().unwrap(), bytes(INFO_ANSWER));
    assert_eq!(Info::from_tlv(&Tlv::parse(&decode(INFO_ANSWER).payload).unwrap()), Ok(reader));

    let removed = Tlv::new().with(0, &Fault::CARD_REMOVED.code().to_be_bytes()).encode();
    let error = Frame { flags: 0, sequence: 7, command: 0x8020, payload: removed };
    assert_eq!(error.encode().unwrap(), bytes(ERROR));
}

#[test]
fn the_keys_and_proofs_byte_for_byte() {
    let (prk, to_reader, to_host) = keys().parts();
    assert_eq!(prk, array::<32>("6DB4DCBC3AD3FC06A2CB6C1A533C91289F77D3B4760BB8D5987D62D98ECD829C"));
    assert_eq!(to_reader, array::<16>("E4395C2D4F60223C2753EB91751DC3A9"));
    assert_eq!(to_host, array::<16>("63D9080D5E39CBF9B54137D55A19D327"));
    let proof = |role| keys().proof(role, &[0x10; 16], &[0x20; 16]);
    assert_eq!(proof(Role::Host), array::<16>("995C4417629245E3A2DDB6760E27A7D5"));
    assert_eq!(proof(Role::Reader), array::<16>("F29691C7C30E27293F7B35EA20A547A0"));
    assert!(keys().verify(Role::Host, &[0x10; 16], &[0x20; 16], &proof(Role::Host)));
    assert!(!keys().verify(Role::Reader, &[0x10; 16], &[0x20; 16], &proof(Role::Host)));
    assert!(!format!("{:?}", keys()).contains("6DB4"));
}

#[test]
fn the_enciphered_detect_byte_for_byte() {
    let detect = Detect { interfaces: Interfaces(7), seconds: 30, key: None };
    let mut host = Session::new(&keys(), Role::Host).sent(4);
    let frame = host.seal(0, 5, Command::Detect.code(), &detect.to_tlv().encode()).unwrap();
    assert_eq!(frame.encode().unwrap(), bytes(DETECT));
    let payload = Session::new(&keys(), Role::Reader).open(&decode(DETECT)).unwrap();
    assert_eq!(Detect::from_tlv(&Tlv::parse(&payload).unwrap()), Ok(detect));
}

/// The table of results has each code once, and what it does not have is "other".
#[test]
fn every_result_has_its_code() {
    let codes: Vec<u16> = FAULTS.iter().map(|row| row.code).collect();
    assert!(codes.is_sorted() && codes.windows(2).all(|pair| pair[0] != pair[1]));
    for row in &FAULTS {
        assert_eq!(Fault::from_code(row.code).code(), row.code);
    }
    let named = [
        (Fault::NOT_PAIRED, 6),
        (Fault::BAD_CIPHER, 7),
        (Fault::TIMEOUT, 0x10),
        (Fault::CARD_MUTE, 0x14),
        (Fault::PIN_BYPASSED, 0x22),
        (Fault::KERNEL, 0x30),
        (Fault::TAMPERED, 0x40),
        (Fault::LOW_BATTERY, 0x50),
    ];
    for (fault, code) in named {
        assert_eq!(fault.code(), code);
    }
    assert_eq!(Fault::from_code(0x7777), Fault::OTHER);
}

/// docs/readerlink.md, from which a reader is built, has every result with its code.
#[test]
fn the_page_has_every_result() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/readerlink.md")).unwrap();
    for row in &FAULTS {
        assert!(page.contains(&format!("| {:04X} | ", row.code)), "{:04X} {}", row.code, row.text);
    }
    for vector in ["readerlink.v1", "500 ms", "4,096"] {
        assert!(page.contains(vector));
    }
}

/// A frame of the session is good once, in its direction, unchanged.
#[test]
fn a_sealed_frame_is_good_once_and_for_one_side() {
    let (mut host, mut reader) = (Session::new(&keys(), Role::Host), Session::new(&keys(), Role::Reader));
    let first = host.seal(0, 1, 0x40, b"one").unwrap();
    let second = host.seal(0, 2, 0x40, b"two").unwrap();
    assert_eq!(host.open(&first), Err(SessionError::Forged), "one's own frame comes back");
    assert_eq!(reader.open(&second).unwrap(), b"two");
    assert_eq!(reader.open(&second), Err(SessionError::Replayed), "doubled");
    assert_eq!(reader.open(&first), Err(SessionError::Replayed), "overtaken");
    let third = host.seal(0, 3, 0x40, b"three").unwrap();
    for change in [
        Frame { sequence: 4, ..third.clone() },
        Frame { command: 0x41, ..third.clone() },
        Frame { flags: third.flags | 4, ..third.clone() },
        Frame { payload: third.payload[1..].to_vec(), ..third.clone() },
        Frame { payload: Vec::new(), ..third.clone() },
    ] {
        assert_eq!(reader.open(&change), Err(SessionError::Forged));
    }
    assert_eq!(reader.open(&third).unwrap(), b"three", "what was refused has changed nothing");
}

#[test]
fn a_session_ends_after_its_frames() {
    let mut host = Session::new(&keys(), Role::Host).sent((1 << 32) - 1);
    let last = host.seal(0, 1, 4, &[]).unwrap();
    assert!(Session::new(&keys(), Role::Reader).open(&last).is_ok());
    assert_eq!(host.seal(0, 2, 4, &[]), Err(SessionError::UsedUp));
    let mut beyond = Session::new(&keys(), Role::Host);
    assert_eq!(beyond.seal(0, 1, 4, &[0; 4_073]), Err(SessionError::Long));
    assert!(beyond.seal(0, 1, 4, &[0; 4_072]).unwrap().encode().is_ok());
}

#[test]
fn what_is_too_long_or_has_unknown_flags_is_no_frame() {
    let long = Frame { flags: 0, sequence: 1, command: 1, payload: vec![0; PAYLOAD_MAX + 1] };
    assert_eq!(long.encode(), Err(FrameError::Long));
    assert_eq!(Frame::decode(&bytes("524C 01 00 0001 0001 1001")), Err(FrameError::NoFrame));
    assert_eq!(Frame::decode(&bytes("524C 01 08 0001 0001 0000 0000")), Err(FrameError::NoFrame));
    assert_eq!(Frame::decode(&bytes("524C 02")), Err(FrameError::NoFrame));
    assert_eq!(Frame::decode(&bytes("524C 01 00 0001 0001 0000 EB8D")), Err(FrameError::Crc));
    assert_eq!(Frame::decode(&bytes("524C 01 00 0001")), Ok(None));
}

/// All that a receiver finds in these bytes, when they come in pieces of this size.
fn found(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let mut receiver = Receiver::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        receiver.push(piece, Duration::ZERO);
        frames.extend(std::iter::from_fn(|| receiver.next(Duration::ZERO)).map(|(frame, _)| frame));
    }
    frames
}

/// A beginning without an end swallows what follows, until half a second is silent; then what stood behind it is found.
#[test]
fn a_frame_that_does_not_go_on_is_given_up_after_half_a_second() {
    let mut receiver = Receiver::default();
    let torn = bytes("524C 01 00 0001 0001 0FFF 00");
    receiver.push(&torn, Duration::ZERO);
    receiver.push(&bytes(INFO), Duration::from_millis(10));
    assert_eq!(receiver.next(Duration::from_millis(10)), None);
    assert_eq!(GAP, Duration::from_millis(500));
    let late = Duration::from_millis(11) + GAP;
    assert_eq!(receiver.next(late).map(|(frame, _)| frame), Some(decode(INFO)));
    receiver.push(&torn, late);
    receiver.push(&bytes(ERROR), late + GAP + Duration::from_millis(1));
    assert_eq!(receiver.next(late + GAP * 2).map(|(frame, _)| frame), Some(decode(ERROR)));
}

fn any_frame() -> impl Strategy<Value = Frame> {
    (0_u8..8, any::<u16>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..80))
        .prop_map(|(flags, sequence, command, payload)| Frame { flags, sequence, command, payload })
}

proptest! {
    #[test]
    fn a_frame_comes_back(frame in any_frame(), piece in 1_usize..200) {
        let bytes = frame.encode().unwrap();
        prop_assert_eq!(found(&bytes, piece), vec![frame]);
    }

    /// Garbage before, between and behind frames costs none of them, as long as it does not look like a beginning.
    #[test]
    fn frames_are_found_in_garbage(
        frames in proptest::collection::vec(any_frame(), 1..4),
        garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 4),
        piece in 1_usize..50,
    ) {
        let mut stream = Vec::new();
        for (at, noise) in garbage.iter().enumerate() {
            // A whole beginning of a frame in the noise would swallow what follows until the gap.
            stream.extend(noise.iter().map(|byte| if *byte == 0x52 { 0 } else { *byte }));
            if let Some(frame) = frames.get(at) {
                stream.extend(frame.encode().unwrap());
            }
        }
        prop_assert_eq!(found(&stream, piece), frames);
    }

    /// One changed byte: the frame is not taken for another one. (A changed length may wait for more.)
    #[test]
    fn a_changed_byte_is_noticed(frame in any_frame(), at in any::<prop::sample::Index>(), change in 1_u8..=255) {
        let mut bytes = frame.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert_eq!(found(&bytes, 64), vec![]);
    }

    /// Whatever comes, nothing breaks, and payloads are read or refused.
    #[test]
    fn no_bytes_bring_the_receiver_down(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
        for frame in found(&bytes, piece) {
            drop(Tlv::parse(&frame.payload));
        }
        drop(Tlv::parse(&bytes));
    }

    #[test]
    fn payloads_come_back(items in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6)) {
        let tlv = items.iter().fold(Tlv::new(), |tlv, (tag, value)| tlv.with(*tag, value));
        prop_assert_eq!(Tlv::parse(&tlv.encode()), Ok(tlv));
    }
}
