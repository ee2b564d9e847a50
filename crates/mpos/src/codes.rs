//! Numbers on the link and what they mean in the SDK, one table each. All but the results are modelled.

use hal::{
    DeviceKind, ErrorKind, HalError, KeyAlgorithm, MacAlgorithm, PinFormat, VendorTable, WorkKeyClass,
};
use kernel::{AbortReason, Entry, EntryMode, FollowUp, PinState, Reason, Upload};
use readerlink::{Fault, LinkError, Results};

/// Results of the reader as kinds of the SDK. Where a kind stands in several rows, the first is what the reader says.
static RESULTS: &[(i32, ErrorKind, &str)] = &[
    (0x0003, ErrorKind::NotSupported, "the reader does not know this command"),
    (0x0004, ErrorKind::BadParam, "bad payload"),
    (0x0005, ErrorKind::Busy, "the reader is busy"),
    (0x0010, ErrorKind::Timeout, "nothing happened in time"),
    (0x0011, ErrorKind::UserCancelled, "cancelled"),
    (0x0012, ErrorKind::CardRemoved, "card removed"),
    (0x0013, ErrorKind::MultipleCards, "several cards in the field"),
    (0x0014, ErrorKind::CardMute, "the chip does not answer"),
    (0x0015, ErrorKind::Comm, "stripe or card cannot be read"),
    (0x0020, ErrorKind::NoKey, "no key in this slot"),
    (0x0021, ErrorKind::KcvMismatch, "the key's check value is wrong"),
    (0x0022, ErrorKind::PinBypassed, "PIN bypassed"),
    (0x0030, ErrorKind::KernelError, "chip kernel"),
    (0x0040, ErrorKind::Tampered, "the reader was tampered with"),
    (0x0050, ErrorKind::LowPower, "battery low"),
    (0x0001, ErrorKind::Offline, "bad frame"),
    (0x0002, ErrorKind::Offline, "wrong check value"),
    (0x0006, ErrorKind::Offline, "not paired"),
    (0x0007, ErrorKind::Offline, "cipher or counter wrong"),
    (0x00FF, ErrorKind::Extended, "other"),
];

/// The table, as the SDK has vendors' tables.
pub(crate) fn table(device: DeviceKind) -> VendorTable {
    VendorTable { device, rows: RESULTS }
}

/// What the reader says of an error of one of its devices.
pub(crate) fn fault(error: &HalError) -> Fault {
    let kind = match error.kind {
        ErrorKind::NoCard => ErrorKind::CardRemoved,
        kind => kind,
    };
    let row = RESULTS.iter().find(|(_, known, _)| *known == kind && kind != ErrorKind::Offline);
    row.and_then(|(code, ..)| u16::try_from(*code).ok()).map_or(Fault::OTHER, Fault::from_code)
}

/// What a device of the phone says when the link or the reader fails.
pub(crate) fn error(device: DeviceKind, error: &LinkError) -> HalError {
    match error {
        LinkError::Fault(fault) => table(device).error(i32::from(fault.code())),
        LinkError::Message(_) => HalError::new(ErrorKind::Comm, device).text(error.to_string()),
        LinkError::Session(_) | LinkError::Frame(_) => {
            HalError::new(ErrorKind::BadParam, device).text(error.to_string())
        }
        LinkError::Random => HalError::new(ErrorKind::HardwareFault, device).text(error.to_string()),
        LinkError::Proof | LinkError::Digits => {
            HalError::new(ErrorKind::PermissionDenied, device).text(error.to_string())
        }
        LinkError::Pipe(_) | LinkError::Gone | LinkError::Silent | LinkError::NotPaired => {
            HalError::new(ErrorKind::Offline, device).text(error.to_string())
        }
    }
}

/// Whether it is the link that failed: nothing is known of what the reader did.
pub(crate) fn is_lost(error: &LinkError) -> bool {
    match error {
        LinkError::Pipe(_) | LinkError::Gone | LinkError::Silent | LinkError::NotPaired => true,
        LinkError::Fault(fault) => fault.is_of_the_link(),
        _ => false,
    }
}

const MACS: [(u8, MacAlgorithm); 10] = [
    (0, MacAlgorithm::CupEcb),
    (1, MacAlgorithm::X99),
    (2, MacAlgorithm::X99Hex),
    (3, MacAlgorithm::X919 { pad80: false, hex: false }),
    (4, MacAlgorithm::X919 { pad80: false, hex: true }),
    (5, MacAlgorithm::X919 { pad80: true, hex: false }),
    (6, MacAlgorithm::X919 { pad80: true, hex: true }),
    (7, MacAlgorithm::Sm4Cup),
    (8, MacAlgorithm::CupsCbc),
    (9, MacAlgorithm::CupsSm4),
];

pub(crate) fn mac_mode(algorithm: MacAlgorithm) -> Option<u8> {
    MACS.iter().find(|(_, known)| *known == algorithm).map(|(mode, _)| *mode)
}

pub(crate) fn mac_algorithm(mode: u8) -> Option<MacAlgorithm> {
    MACS.iter().find(|(known, _)| *known == mode).map(|(_, algorithm)| *algorithm)
}

pub(crate) fn mac_modes() -> Vec<MacAlgorithm> {
    MACS.iter().map(|(_, algorithm)| *algorithm).collect()
}

pub(crate) const fn cipher_code(algorithm: KeyAlgorithm) -> u8 {
    match algorithm {
        KeyAlgorithm::Des => 1,
        KeyAlgorithm::TripleDes2 => 2,
        KeyAlgorithm::Sm4 => 3,
        // The reader refuses what it does not know.
        _ => 0xFF,
    }
}

pub(crate) const fn cipher(code: u8) -> Option<KeyAlgorithm> {
    match code {
        1 => Some(KeyAlgorithm::Des),
        2 => Some(KeyAlgorithm::TripleDes2),
        3 => Some(KeyAlgorithm::Sm4),
        _ => None,
    }
}

pub(crate) const fn class_code(class: WorkKeyClass) -> u8 {
    match class {
        WorkKeyClass::Pin => 1,
        WorkKeyClass::Mac => 2,
        WorkKeyClass::Track => 3,
    }
}

pub(crate) const fn class(code: u8) -> Option<WorkKeyClass> {
    match code {
        1 => Some(WorkKeyClass::Pin),
        2 => Some(WorkKeyClass::Mac),
        3 => Some(WorkKeyClass::Track),
        _ => None,
    }
}

pub(crate) const fn pin_code(format: PinFormat) -> u8 {
    match format {
        PinFormat::Iso0 => 0,
        PinFormat::Sm4Extended => 0x14,
        _ => 0xFF,
    }
}

pub(crate) const fn pin_format(code: u8) -> Option<PinFormat> {
    match code {
        0 => Some(PinFormat::Iso0),
        0x14 => Some(PinFormat::Sm4Extended),
        _ => None,
    }
}

const REASONS: [(u8, Reason); 27] = [
    (0, Reason::Normal),
    (1, Reason::OutOfOrder),
    (2, Reason::NotLoaded),
    (3, Reason::ChipUnreadable),
    (4, Reason::CardRemoved),
    (5, Reason::CardBlocked),
    (6, Reason::ApplicationBlocked),
    (7, Reason::NoCommonApplication),
    (8, Reason::CardData),
    (9, Reason::NotAllowed),
    (10, Reason::TerminalDeclines),
    (11, Reason::CardDeclines),
    (12, Reason::SignatureWrong),
    (13, Reason::IllegalAnswer),
    (14, Reason::HostApproved),
    (15, Reason::HostDeclined),
    (16, Reason::CardRefusedAfterApproval),
    (17, Reason::IssuerNotAuthentic),
    (18, Reason::HostUnreachable),
    (19, Reason::HostAnswerInvalid),
    (20, Reason::ContactlessLimit),
    (21, Reason::CardWantsContact),
    (22, Reason::Torn),
    (23, Reason::Aborted(AbortReason::Cancelled)),
    (24, Reason::Aborted(AbortReason::TimedOut)),
    (25, Reason::Aborted(AbortReason::CardRemoved)),
    (26, Reason::Aborted(AbortReason::Other)),
];

pub(crate) fn reason_code(reason: Reason) -> u8 {
    REASONS.iter().find(|(_, known)| *known == reason).map_or(0xFF, |(code, _)| *code)
}

pub(crate) fn reason(code: u8) -> Reason {
    let found = REASONS.iter().find(|(known, _)| *known == code);
    found.map_or(Reason::Aborted(AbortReason::Other), |(_, reason)| *reason)
}

/// The flags of a step's results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub signature: bool,
    pub small_amount: bool,
    pub on_device: bool,
    pub pin: PinState,
    pub bypass_ok: bool,
    pub offline: bool,
    pub arpc_failed: bool,
    pub credit: bool,
    pub entry: Entry,
}

const PINS: [PinState; 4] = [PinState::NotAsked, PinState::Online, PinState::Offline, PinState::Bypassed];
const MODES: [EntryMode; 4] =
    [EntryMode::Chip, EntryMode::QuickPass, EntryMode::FullContactless, EntryMode::Fallback];

fn place<T: PartialEq>(list: &[T; 4], wanted: &T) -> u16 {
    list.iter().zip(0..).find(|(known, _)| *known == wanted).map_or(0, |(_, at)| at)
}

impl Flags {
    pub(crate) fn bits(self) -> u16 {
        let single = [
            (self.signature, 0),
            (self.small_amount, 1),
            (self.on_device, 2),
            (self.bypass_ok, 5),
            (self.offline, 6),
            (self.arpc_failed, 7),
            (self.credit, 8),
            (self.entry.pin, 11),
        ];
        let bits = single.into_iter().fold(0, |bits, (on, at)| bits | u16::from(on) << at);
        bits | place(&PINS, &self.pin) << 3 | place(&MODES, &self.entry.mode) << 9
    }

    pub(crate) fn of(bits: u16) -> Self {
        let on = |at: u16| bits >> at & 1 == 1;
        let two = |at: u16| usize::from(bits >> at & 3);
        Self {
            signature: on(0),
            small_amount: on(1),
            on_device: on(2),
            pin: PINS.get(two(3)).copied().unwrap_or(PinState::NotAsked),
            bypass_ok: on(5),
            offline: on(6),
            arpc_failed: on(7),
            credit: on(8),
            entry: Entry { mode: MODES.get(two(9)).copied().unwrap_or(EntryMode::Chip), pin: on(11) },
        }
    }
}

const UPLOADS: [Upload; 4] = [Upload::None, Upload::Certificate, Upload::Notice, Upload::Offline];

/// What follows a step, as the link has it.
pub(crate) fn put_follow_up(results: &mut Results, follow_up: FollowUp) {
    results.reversal = follow_up.reversal;
    let upload = u8::try_from(place(&UPLOADS, &follow_up.upload)).unwrap_or_default();
    results.follow_up = upload | u8::from(follow_up.script_result) << 7;
}

pub(crate) fn follow_up(results: &Results) -> FollowUp {
    FollowUp {
        reversal: results.reversal,
        script_result: results.follow_up & 0x80 != 0,
        upload: UPLOADS.get(usize::from(results.follow_up & 3)).copied().unwrap_or_default(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every result of the link has a row, and what a reader says of an error of its own comes out as the same kind.
    #[test]
    fn results_and_kinds_of_errors_meet_in_one_table() {
        for row in &readerlink::FAULTS {
            assert!(table(DeviceKind::Icc).knows(i32::from(row.code)), "{:04X}", row.code);
        }
        for kind in ErrorKind::ALL {
            let said = fault(&HalError::new(kind, DeviceKind::Icc));
            let heard = error(DeviceKind::Icc, &LinkError::Fault(said)).kind;
            let same = RESULTS.iter().any(|(_, known, _)| *known == kind) && kind != ErrorKind::Offline;
            let wanted = match kind {
                ErrorKind::NoCard => ErrorKind::CardRemoved,
                kind if same => kind,
                _ => ErrorKind::Extended,
            };
            assert_eq!(heard, wanted, "{kind}");
        }
    }

    /// What goes into the bits of a step comes out of them.
    #[test]
    fn flags_and_follow_ups_go_over_the_link_and_back() {
        for bits in 0..0x1000_u16 {
            assert_eq!(Flags::of(bits).bits(), bits);
        }
        for upload in UPLOADS {
            let wanted = FollowUp { reversal: Some(*b"06"), script_result: true, upload };
            let mut results = Results::default();
            put_follow_up(&mut results, wanted);
            assert_eq!(follow_up(&results), wanted);
        }
        assert!(REASONS.iter().all(|(code, known)| reason(*code) == *known && reason_code(*known) == *code));
        assert!(mac_modes().into_iter().all(|mode| mac_algorithm(mac_mode(mode).unwrap()) == Some(mode)));
    }
}
