//! A terminal's shelf for tests: a loaded kernel, cards in a reader, and an issuer.
//!
//! The issuer computes with the primitives of `hsm` from the public laboratory keys and reads field 55 by itself; it
//! knows neither the kernel's state nor the card's.

#![allow(dead_code)]

use cardsim::{Card, CardGone, Interface as Side, MemoryCounters, deck, lab};
use hsm::primitives::{BlockKey, emv};
use hsm::{CardContext, CryptogramVersion, KeyAlgorithm};
use kernel::{
    Answer, CardChannel, ChannelError, EmvKernel, Interface, Kernel, KernelParams, QuickPass, Step, StepKind,
    TerminalData, TransParams,
};

pub const TODAY: [u8; 3] = [0x26, 0x11, 0x24];
pub const UNIONPAY: [u8; 5] = [0xA0, 0x00, 0x00, 0x03, 0x33];

/// A reader with a card in it.
pub struct Reader(pub Card);

impl CardChannel for Reader {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        self.0.transmit(apdu).map_err(|gone| match gone {
            CardGone::Removed => ChannelError::Removed,
            CardGone::Mute => ChannelError::Mute,
        })
    }
}

pub fn params() -> KernelParams {
    let capks = vec![lab::ca_record(UNIONPAY, 0xF1).unwrap()];
    KernelParams::lab(TerminalData::smart_pos(*b"POSPLAB1"), capks, [0x20, 0x26, 0x11, 0x24])
}

pub fn loaded(params: &KernelParams) -> EmvKernel {
    let mut kernel = EmvKernel::new();
    kernel.load(params).unwrap();
    kernel
}

pub fn with_quickpass(quickpass: QuickPass) -> EmvKernel {
    loaded(&KernelParams { quickpass, ..params() })
}

/// A card of the deck with these switches, powered.
pub fn card(id: &str, side: Side, switches: &[&str]) -> Reader {
    let mut profile = deck::find(id).unwrap();
    profile.behaviour.extend(switches.iter().map(|text| text.parse::<cardsim::Behaviour>().unwrap()));
    powered(profile, side)
}

pub fn powered(profile: cardsim::Profile, side: Side) -> Reader {
    let mut card =
        Card::new(profile, Box::new(MemoryCounters::new()), Box::new(|bytes| bytes.fill(0x5A))).unwrap();
    // A mute chip does not wake up; the kernel is told by its first command.
    let _ = card.power_up(side);
    Reader(card)
}

pub fn sale(amount: u64, interface: Interface) -> TransParams {
    TransParams::sale(amount, TODAY, [0x10, 0x15, 0x30], 124, [0x1A, 0x2B, 0x3C, 0x4D], interface)
}

/// What the host makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Approves,
    ApprovesWithoutProof,
    ApprovesWithScripts,
    Declines,
    WrongArpc,
    WrongMac,
    Silent,
}

fn find(field55: &[u8], tag: u32) -> Vec<u8> {
    iso8583::tlv::find(field55, tag).unwrap().unwrap_or_default().to_vec()
}

fn key(hex_text: &str) -> BlockKey {
    BlockKey::new(KeyAlgorithm::TripleDes2, &hex::decode(hex_text).unwrap()).unwrap()
}

/// Whether field 55 carries the cryptogram that this card gives for it.
pub fn genuine(pan: &str, field55: &[u8]) -> bool {
    let mut data = Vec::new();
    for tag in [0x9F02, 0x9F03, 0x9F1A, 0x95, 0x5F2A, 0x9A, 0x9C, 0x9F37, 0x82, 0x9F36] {
        data.extend(find(field55, tag));
    }
    data.extend(&find(field55, 0x9F10)[3..7]);
    let expected =
        emv::cryptogram(&key("0123456789ABCDEFFEDCBA9876543210"), &context(pan, field55), &data).unwrap();
    expected.to_vec() == find(field55, 0x9F26)
}

fn context<'a>(pan: &'a str, field55: &[u8]) -> CardContext<'a> {
    let atc = find(field55, 0x9F36);
    CardContext::new(pan, 1, u16::from_be_bytes([atc[0], atc[1]]), CryptogramVersion::V01)
}

/// A script command with its MAC.
fn script_command(pan: &str, field55: &[u8], head: [u8; 5], data: &[u8]) -> Vec<u8> {
    let arqc: [u8; 8] = find(field55, 0x9F26).try_into().unwrap();
    let mut input = head.to_vec();
    input.extend(find(field55, 0x9F36));
    input.extend(arqc);
    input.extend(data);
    let mac = emv::script_mac(&key("1133557799BBDDFF0022446688AACCEE"), &context(pan, field55), arqc, &input)
        .unwrap();
    let mut out = head.to_vec();
    out.extend(data);
    out.extend(&mac[..4]);
    out
}

fn script(out: &mut Vec<u8>, template: u32, id: [u8; 4], command: &[u8]) {
    let mut inner = Vec::new();
    iso8583::tlv::write(&mut inner, 0x9F18, &id);
    iso8583::tlv::write(&mut inner, 0x86, command);
    iso8583::tlv::write(out, template, &inner);
}

/// The host's answer to a request.
pub fn host(host: Host, pan: &str, field55: &[u8]) -> Answer {
    assert!(genuine(pan, field55), "the issuer refuses the cryptogram");
    let code = if host == Host::Declines { *b"51" } else { *b"00" };
    let arqc = find(field55, 0x9F26).try_into().unwrap();
    let arpc =
        emv::arpc_method1(&key("0123456789ABCDEFFEDCBA9876543210"), &context(pan, field55), arqc, code)
            .unwrap();
    let mut proof = arpc.to_vec();
    proof.extend(code);
    if host == Host::WrongArpc {
        proof[0] ^= 0x01;
    }
    let mut out = Vec::new();
    match host {
        Host::Silent => return Answer::HostUnreachable,
        Host::WrongMac => return Answer::HostAnswerInvalid,
        Host::ApprovesWithoutProof => {}
        _ => iso8583::tlv::write(&mut out, 0x91, &proof),
    }
    if host == Host::ApprovesWithScripts {
        let good = script_command(pan, field55, [0x04, 0xDA, 0x9F, 0x58, 0x05], &[0x03]);
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 0x01;
        script(&mut out, 0x71, [0, 0, 0, 7], &bad);
        script(&mut out, 0x72, [0, 0, 0, 1], &good);
    }
    Answer::HostAnswer { code, field55: out }
}

/// Runs a payment to its end: chooses the first application, enters the PIN, asks this host.
pub fn run(kernel: &mut EmvKernel, reader: &mut Reader, params: TransParams, answer: Host) -> Step {
    let pan = reader.0.profile().pan.clone();
    let mut step = kernel.start(params, reader);
    for _ in 0..12 {
        let next = match &step.kind {
            StepKind::SelectApp { .. } => Answer::AppChosen(0),
            StepKind::ConfirmApp { .. } => Answer::Confirmed,
            StepKind::NeedPin { online: true, .. } => Answer::PinEntered,
            StepKind::NeedPin { online: false, .. } => Answer::OfflinePin(zeroize::Zeroizing::new(
                reader.0.profile().pin.clone().unwrap_or_default(),
            )),
            StepKind::OnlineRequired { field55, .. } => host(answer, &pan, field55),
            _ => return step,
        };
        step = kernel.resume(next, reader);
    }
    panic!("a payment that does not end: {step:?}");
}
