//! Any bytes as the answers of a card and of the host: a payment comes to its end, and nothing is approved in the slot
//! without a cryptogram.
#![no_main]

use std::sync::LazyLock;

use kernel::{
    Answer, CardChannel, ChannelError, EmvKernel, Interface, Kernel, KernelParams, StepKind, TerminalData,
    TransParams,
};
use libfuzzer_sys::fuzz_target;

const UNIONPAY: [u8; 5] = [0xA0, 0x00, 0x00, 0x03, 0x33];

static PARAMS: LazyLock<KernelParams> = LazyLock::new(|| {
    let key = cardsim::lab::ca_record(UNIONPAY, 0xF1).expect("a laboratory key");
    KernelParams::lab(TerminalData::smart_pos(*b"POSPLAB1"), vec![key], [0x20, 0x26, 0x11, 0x24])
});

/// Length, answer, length, answer; an even length means that it ends well (9000 is added).
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first()?;
        let (answer, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        self.0 = rest;
        let mut answer = answer.to_vec();
        if length % 2 == 0 {
            answer.extend([0x90, 0x00]);
        }
        Some(answer)
    }
}

impl CardChannel for Bytes<'_> {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        self.next().ok_or(ChannelError::Removed)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let mut params = PARAMS.clone();
    params.quickpass.full_contactless = how & 0x02 != 0;
    params.quickpass.always_online = how & 0x04 != 0;
    params.terminal.pin_offline = how & 0x08 != 0;
    let interface = if how & 0x01 == 0 { Interface::Contact } else { Interface::Contactless };
    let mut kernel = EmvKernel::new();
    kernel.load(&params).expect("laboratory parameters");
    let mut card = Bytes(rest);
    let payment = TransParams::sale(
        10_000,
        [0x26, 0x11, 0x24],
        [0x10, 0x15, 0x30],
        124,
        [0x1A, 0x2B, 0x3C, 0x4D],
        interface,
    );
    let mut step = kernel.start(payment, &mut card);
    for _ in 0..64 {
        let answer = match &step.kind {
            StepKind::SelectApp { .. } => Answer::AppChosen(0),
            StepKind::ConfirmApp { .. } => Answer::Confirmed,
            StepKind::NeedPin { online: false, .. } => Answer::OfflinePin("123456".to_owned().into()),
            StepKind::NeedPin { .. } if how & 0x10 != 0 => Answer::PinPadFailed,
            StepKind::NeedPin { .. } => Answer::PinEntered,
            StepKind::OnlineRequired { .. } if how & 0x20 != 0 => Answer::HostUnreachable,
            StepKind::OnlineRequired { .. } => {
                Answer::HostAnswer { code: *b"00", field55: card.next().unwrap_or_default() }
            }
            _ => break,
        };
        step = kernel.resume(answer, &mut card);
        drop((kernel.dump(), kernel.chip_data()));
    }
    if let StepKind::Approved { .. } = step.kind {
        assert!(kernel.get_tlv(0x9F26).is_some_and(|cryptogram| cryptogram.len() == 8));
    }
});
