//! A host and a reader with each other: pairing, a payment from card to approval, and a pipe that loses, doubles, holds back
//! and changes what goes over it. Whatever happens, the reader does nothing twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod rig;

use std::sync::atomic::Ordering;

use proptest::prelude::*;
use readerlink::{
    Command, Detect, EmvAnswer, EmvStart, EmvStep, Fault, Found, Frame, Interfaces, LinkError, LoadKey,
    MacRequest, NumericHost, NumericReader, PinRequest, Update, digits,
};
use rig::{Mishap, Rig, SECRET};

const DETECT: Detect = Detect { interfaces: Interfaces(7), seconds: 30, key: None };

fn start() -> EmvStart {
    EmvStart {
        amount_fen: 10_000,
        kind: 0,
        at: [0x26, 0x11, 0x24, 0x10, 0x15, 0x30],
        currency: [1, 0x56],
        interface: Found::Chip,
        un: None,
        sequence: None,
    }
}

fn pin() -> PinRequest {
    PinRequest { slot: 1, lengths: vec![0, 6], seconds: 30, format: 0, amount_fen: None }
}

fn mac(slot: u8, length: usize) -> MacRequest {
    MacRequest { slot, mode: 0, data: vec![0; length] }
}

/// A payment, from pairing to approval.
fn payment(rig: &mut Rig) -> Result<EmvStep, LinkError> {
    let never = &mut || false;
    rig.host.pair_with_label(&SECRET)?;
    rig.host.detect(&DETECT, never)?;
    rig.host.emv_start(&start())?;
    rig.host.pin(&pin(), &mut |_| {}, never)?;
    rig.host.emv_continue(&EmvAnswer::PinEntered)?;
    rig.host.mac(&mac(1, 64))?;
    let answer = EmvAnswer::Host { code: *b"00", field55: vec![0x91, 8, 1, 2, 3, 4, 5, 6, 7, 8] };
    rig.host.emv_continue(&answer).map(|turn| turn.step)
}

/// What the reader does in it.
fn done() -> Vec<String> {
    ["detect", "start 10000", "pin", "continue PinEntered", "mac 64", "continue Host(10 bytes)"]
        .map(String::from)
        .to_vec()
}

#[test]
fn a_payment_from_card_to_approval() {
    let mut rig = Rig::new();
    let info = rig.host.info().unwrap();
    assert_eq!((info.device_type, info.serial.as_str()), (3, "RL00000001"));
    rig.host.ping().unwrap();
    rig.host.pair_with_label(&SECRET).unwrap();
    let found = rig.host.detect(&DETECT, &mut || false).unwrap();
    assert_eq!((found.found, found.masked_pan.as_deref()), (Found::Chip, Some("622424******0013")));
    assert_eq!(rig.host.emv_start(&start()).unwrap().step, EmvStep::NeedPin(None));
    let mut typed = Vec::new();
    let block = rig.host.pin(&pin(), &mut |count| typed.push(count), &mut || false).unwrap();
    assert_eq!((block.len(), typed), (8, vec![1, 2, 3, 4, 5, 6]));
    let online = rig.host.emv_continue(&EmvAnswer::PinEntered).unwrap();
    assert!(matches!(online.step, EmvStep::Online(_)));
    assert_eq!(rig.host.mac(&mac(1, 64)).unwrap().len(), 8);
    let answer = EmvAnswer::Host { code: *b"00", field55: vec![0; 10] };
    assert!(matches!(rig.host.emv_continue(&answer).unwrap().step, EmvStep::Approved(_)));
    assert_eq!(rig.did(), done());
    // Nothing of it is readable on the way.
    let wires = [rig.to_reader.borrow().written.concat(), rig.to_host.borrow().written.concat()];
    for wire in wires {
        assert!(!wire.windows(16).any(|window| window == b"622424******0013"));
        assert!(!wire.windows(8).any(|window| window == [0x5A; 8]), "the PIN block");
    }
}

/// Each frame of a payment, in each direction, lost, doubled, held back or changed: the payment comes to its end, and the
/// reader has done each thing once.
#[test]
fn one_mishap_anywhere_costs_nothing() {
    let mut clean = Rig::new();
    payment(&mut clean).unwrap();
    let counts = [clean.to_reader.borrow().written.len(), clean.to_host.borrow().written.len()];
    assert_eq!(counts, [8, 14], "eight requests; their answers and six events");
    for (direction, count) in counts.into_iter().enumerate() {
        for at in 0..count {
            for mishap in [Mishap::Lost, Mishap::Doubled, Mishap::Late, Mishap::Changed(12)] {
                let mut rig = Rig::new();
                let wire = if direction == 0 { &rig.to_reader } else { &rig.to_host };
                wire.borrow_mut().plan = std::iter::repeat_n(Mishap::None, at).chain([mishap]).collect();
                let result = payment(&mut rig);
                assert!(
                    matches!(result, Ok(EmvStep::Approved(_))),
                    "{direction} {at} {mishap:?}: {result:?}"
                );
                assert_eq!(rig.did(), done(), "{direction} {at} {mishap:?}");
            }
        }
    }
}

/// A request that was carried out, its answer and all repeats of it lost: the host knows only that it does not know.
#[test]
fn a_reader_that_is_silent_is_not_taken_for_one_that_refused() {
    let mut rig = Rig::paired();
    rig.to_host.borrow_mut().plan = [Mishap::Lost; 20].into();
    assert!(matches!(rig.host.mac(&mac(1, 8)), Err(LinkError::Silent)));
    assert_eq!(rig.did(), ["mac 8"]);
    rig.to_host.borrow_mut().plan.clear();
    assert!(rig.host.mac(&mac(1, 9)).is_ok(), "the session goes on");
    assert_eq!(rig.did(), ["mac 8", "mac 9"]);
}

/// Frames that were recorded come again later: nothing is done, and the session goes on.
#[test]
fn a_recorded_frame_does_nothing() {
    let mut rig = Rig::paired();
    rig.host.mac(&mac(1, 8)).unwrap();
    rig.host.mac(&mac(1, 9)).unwrap();
    let recorded = rig.to_reader.borrow().written.clone();
    for frame in &recorded[2..3] {
        rig.to_reader.borrow_mut().inject(frame);
    }
    rig.host.ping().unwrap();
    assert_eq!(rig.did(), ["mac 8", "mac 9"]);
    let answers = rig.to_host.borrow().written.clone();
    let refused = answers.iter().map(|bytes| Frame::decode(bytes).unwrap().unwrap().0);
    let refused: Vec<Frame> = refused.filter(|frame| frame.flags == 0 && frame.command == 0x8040).collect();
    assert_eq!(refused[0].payload, [0, 0, 2, 0, 7], "cipher or counter wrong");
}

/// Nothing but info, pairing and ping is answered before there is a pair, and no wish of that kind is carried out.
#[test]
fn without_a_pair_nothing_is_done() {
    let mut rig = Rig::new();
    assert!(matches!(rig.host.mac(&mac(1, 8)), Err(LinkError::NotPaired)));
    for command in [Command::Mac, Command::Detect, Command::LoadKey, Command::Cancel, Command::Display] {
        let frame = Frame { flags: 0, sequence: 9, command: command.code(), payload: vec![0x22, 0, 1, b'x'] };
        rig.to_reader.borrow_mut().inject(&frame.encode().unwrap());
        rig.reader.borrow_mut().step().unwrap();
        let answer = rig.to_host.borrow().written.last().unwrap().clone();
        assert_eq!(Frame::decode(&answer).unwrap().unwrap().0.payload, [0, 0, 2, 0, 6], "{command:?}");
    }
    let unknown = Frame { flags: 0, sequence: 9, command: 0x0999, payload: Vec::new() };
    rig.to_reader.borrow_mut().inject(&unknown.encode().unwrap());
    rig.reader.borrow_mut().step().unwrap();
    let answer = rig.to_host.borrow().written.last().unwrap().clone();
    assert_eq!(Frame::decode(&answer).unwrap().unwrap().0.payload, [0, 0, 2, 0, 3]);
    assert_eq!(rig.did(), Vec::<String>::new());
}

/// Another label, and another reader that calls itself by the same number: neither becomes a pair, and a session that is
/// there stays.
#[test]
fn only_the_reader_whose_label_was_read_becomes_a_pair() {
    let mut rig = Rig::paired();
    assert!(matches!(rig.host.pair_with_label(&[8; 16]), Err(LinkError::Proof)));
    rig.host.mac(&mac(1, 8)).unwrap();
    let mut other = Rig::new();
    other.device(|device| device.label = Some([9; 16]));
    assert!(matches!(other.host.pair_with_label(&SECRET), Err(LinkError::Proof)));
    assert!(!other.host.is_paired());
    let mut bare = Rig::new();
    bare.device(|device| device.label = None);
    assert!(
        matches!(bare.host.pair_with_label(&SECRET), Err(LinkError::Fault(fault)) if fault == Fault::NO_KEY)
    );
}

#[test]
fn six_digits_make_a_pair_when_both_people_say_so() {
    let mut rig = Rig::new();
    let mut seen = String::new();
    rig.host
        .pair_by_digits(|digits| {
            seen = digits.to_owned();
            true
        })
        .unwrap();
    assert_eq!(rig.device(|device| device.shown.clone()), Some(seen.clone()));
    assert!(seen.len() == 6 && seen.bytes().all(|b| b.is_ascii_digit()));
    rig.host.mac(&mac(1, 8)).unwrap();

    let mut rig = Rig::new();
    assert!(matches!(rig.host.pair_by_digits(|_| false), Err(LinkError::Digits)));
    assert!(!rig.host.is_paired());
    let mut rig = Rig::new();
    rig.device(|device| device.confirms = false);
    assert!(
        matches!(rig.host.pair_by_digits(|_| true), Err(LinkError::Fault(fault)) if fault == Fault::CANCELLED)
    );
}

/// Someone in between who puts keys of his own to both sides: once the reader has committed he cannot choose, and the digits
/// of the two sides differ.
#[test]
fn someone_in_between_is_seen() {
    let (host_nonce, reader_nonce, his_nonce) = ([1; 16], [2; 16], [3; 16]);
    let reader = NumericReader::new([4; 32], reader_nonce);
    let his = NumericReader::new([5; 32], his_nonce);
    let to_reader = NumericHost::new([6; 32], his_nonce, reader.commitment());

    // He passes the reader's commitment on and opens with his own key: noticed at once.
    let host = NumericHost::new([7; 32], host_nonce, reader.commitment());
    assert!(host.open(his.public(), &his_nonce).is_none());

    // He commits to his own: two secrets, and two numbers.
    let host = NumericHost::new([7; 32], host_nonce, his.commitment());
    let host_public = host.public();
    let (_, at_host) = host.open(his.public(), &his_nonce).unwrap();
    let (_, at_reader) = reader.open(to_reader.public(), &his_nonce).unwrap();
    assert_ne!(at_host, at_reader);
    assert_eq!(at_host, digits(&host_public, &his.public(), &host_nonce, &his_nonce));

    // A key that makes the secret known to everybody is refused.
    assert!(NumericReader::new([4; 32], reader_nonce).open([0; 32], &host_nonce).is_none());
}

/// The cashier breaks off while the reader waits for a card.
#[test]
fn a_wait_for_a_card_can_be_broken_off() {
    let mut rig = Rig::paired();
    rig.device(|device| device.patience = 1_000);
    let result = rig.host.detect(&DETECT, &mut || true);
    assert!(matches!(result, Err(LinkError::Fault(fault)) if fault == Fault::CANCELLED), "{result:?}");
    rig.device(|device| device.patience = 1);
    assert!(rig.host.detect(&DETECT, &mut || false).is_ok(), "and the next wait is a new one");
    assert_eq!(rig.did(), ["detect", "detect"]);
}

/// A fault is the reader's own word only when it comes enciphered: an answer in the clear never stands for a result.
#[test]
fn a_fault_in_the_clear_never_stands_for_a_result() {
    let forged = |code: u8, sequence| {
        let payload = vec![0, 0, 2, 0, code];
        Frame { flags: 0, sequence, command: 0x8040, payload }.encode().unwrap()
    };
    let mut rig = Rig::paired();
    let sequence =
        Frame::decode(rig.to_reader.borrow().written.last().unwrap()).unwrap().unwrap().0.sequence + 1;
    rig.to_host.borrow_mut().inject(&forged(0x11, sequence));
    rig.to_host.borrow_mut().inject(&forged(0x00, sequence));
    assert_eq!(rig.host.mac(&mac(1, 8)).unwrap().len(), 8, "the true answer");
    let refused = rig.host.mac(&mac(2, 8));
    assert!(matches!(refused, Err(LinkError::Fault(fault)) if fault == Fault::NO_KEY));
    // "Not paired" in the clear costs the pair, and nothing else.
    rig.to_host.borrow_mut().inject(&forged(6, sequence + 2));
    assert!(matches!(rig.host.mac(&mac(1, 8)), Err(LinkError::Fault(fault)) if fault == Fault::NOT_PAIRED));
    assert!(!rig.host.is_paired());
}

/// What is longer than a frame goes in several, each acknowledged; also when one of them is lost.
#[test]
fn a_long_request_goes_in_several_frames() {
    for mishap in [Mishap::None, Mishap::Lost, Mishap::Doubled] {
        let mut rig = Rig::paired();
        rig.to_reader.borrow_mut().plan = [Mishap::None, mishap].into();
        rig.host.load_params(&vec![vec![7; 200]; 60], true).unwrap();
        assert_eq!(rig.did(), ["params 60 true"], "{mishap:?}");
    }
    let mut rig = Rig::paired();
    let update = Update { offset: 4_096, bytes: vec![1; 10_000], signature: None };
    rig.host.update(&update).unwrap();
    rig.host
        .load_key(&LoadKey {
            slot: 2,
            class: 1,
            wrapped: vec![0; 24],
            kcv: vec![1, 2, 3],
            under: None,
            algorithm: None,
        })
        .unwrap();
    rig.host.display(&["金额 100.00", "请刷卡"]).unwrap();
    assert_eq!(rig.did(), ["update 4096 10000", "load 2", r#"display ["金额 100.00", "请刷卡"]"#]);
    assert!(rig.host.update(&Update { bytes: vec![1; 70_000], ..update }).is_err());
}

/// A pair lasts a day, on either side.
#[test]
fn a_pair_lasts_a_day() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut rig = Rig::paired();
    rig.now.fetch_add(DAY_MS - 1_000, Ordering::Relaxed);
    rig.host.mac(&mac(1, 8)).unwrap();
    rig.now.fetch_add(2_000, Ordering::Relaxed);
    assert!(matches!(rig.host.mac(&mac(1, 8)), Err(LinkError::NotPaired)));
    rig.host.pair_with_label(&SECRET).unwrap();
    rig.host.mac(&mac(1, 8)).unwrap();
}

/// An amount that 9F02 cannot hold does not leave the host.
#[test]
fn an_amount_beyond_twelve_digits_is_refused() {
    let mut rig = Rig::paired();
    let request = EmvStart { amount_fen: 1_000_000_000_000, ..start() };
    assert!(matches!(rig.host.emv_start(&request), Err(LinkError::Message(_))));
    let request = EmvStart { amount_fen: 999_999_999_999, ..start() };
    rig.host.emv_start(&request).unwrap();
    assert_eq!(rig.did(), ["start 999999999999"]);
}

/// Over a real pipe of the system, each side in a thread of its own; and what is heard when one of them goes.
#[test]
fn over_a_real_pipe() {
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    let (here, there) = UnixStream::pair().unwrap();
    for end in [&here, &there] {
        end.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    }
    let clock = || -> readerlink::Clock {
        let begun = Instant::now();
        Box::new(move || begun.elapsed())
    };
    let device = rig::Reader { patience: 2, ..rig::reader() };
    let mut reader = readerlink::Server::new(there, device, clock(), rig::random(3));
    let reader = std::thread::spawn(move || {
        reader.run().unwrap();
        reader.device().did.clone()
    });
    let mut host = readerlink::RemoteReader::new(here, clock(), rig::random(5));
    host.pair_with_label(&SECRET).unwrap();
    host.detect(&DETECT, &mut || false).unwrap();
    let mut typed = 0;
    host.pin(&pin(), &mut |count| typed = count, &mut || false).unwrap();
    assert_eq!(typed, 6);
    drop(host);
    assert_eq!(reader.join().unwrap(), ["detect", "pin"]);

    let (here, there) = UnixStream::pair().unwrap();
    drop(there);
    let mut alone = readerlink::RemoteReader::new(here, clock(), rig::random(5));
    assert!(matches!(alone.ping(), Err(LinkError::Gone | LinkError::Pipe(_))));
}

fn mishaps() -> impl Strategy<Value = Vec<Mishap>> {
    let mishap = prop_oneof![
        5 => Just(Mishap::None),
        1 => Just(Mishap::Lost),
        1 => Just(Mishap::Doubled),
        1 => Just(Mishap::Late),
        1 => (0_usize..60).prop_map(Mishap::Changed),
    ];
    proptest::collection::vec(mishap, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However bad the pipe is: what the reader did is a beginning of the payment, each thing once and in order, and
    /// approval is only heard of when all of it was done.
    #[test]
    fn on_the_worst_pipe_nothing_is_done_twice(there in mishaps(), back in mishaps()) {
        let mut rig = Rig::new();
        rig.to_reader.borrow_mut().plan = there.into();
        rig.to_host.borrow_mut().plan = back.into();
        let result = payment(&mut rig);
        let did = rig.did();
        prop_assert!(done().starts_with(&did), "{did:?}");
        if result.is_ok() {
            prop_assert_eq!(did, done());
        }
    }

    /// Whatever comes over the pipe, the reader goes on, does nothing of it, and its session survives.
    #[test]
    fn no_bytes_bring_the_reader_down(noise in proptest::collection::vec(any::<u8>(), 0..200), flags in 0_u8..8, command in any::<u16>()) {
        let mut rig = Rig::paired();
        let frame = Frame { flags, sequence: 9, command, payload: noise.clone() };
        rig.to_reader.borrow_mut().inject(&frame.encode().unwrap());
        // Without the first letter of the magic: noise that looks like a long frame would be waited for.
        let noise: Vec<u8> = noise.into_iter().filter(|byte| *byte != 0x52).collect();
        rig.to_reader.borrow_mut().inject(&noise);
        rig.reader.borrow_mut().step().unwrap();
        prop_assert_eq!(rig.did(), Vec::<String>::new());
        prop_assert!(rig.host.mac(&mac(1, 8)).is_ok());
    }
}
