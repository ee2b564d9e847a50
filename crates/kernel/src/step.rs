//! What goes into the kernel and what comes out of it, as data. Texts for people are the application's business.

use std::fmt;

use iso8583::CardNumber;
use zeroize::Zeroizing;

/// Where the card is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// In the slot.
    Contact,
    /// On the antenna (quickPass).
    Contactless,
}

/// One payment. The kernel asks no clock and draws no random number: they come in here.
#[derive(Clone)]
pub struct TransParams {
    /// 9F02, fen.
    pub amount: u64,
    /// 9F03, fen.
    pub other_amount: u64,
    /// 9C as it goes into the cryptogram: `0x00` sale, `0x03` pre-authorisation, `0x20` refund, `0x31` balance. The
    /// first two digits of the processing code.
    pub kind: u8,
    /// 9A: year, month, day in packed decimal.
    pub date: [u8; 3],
    /// 9F21: hour, minute, second in packed decimal.
    pub time: [u8; 3],
    /// 5F2A in packed decimal; `[0x01, 0x56]` is the yuan.
    pub currency: [u8; 2],
    /// 9F41: the terminal's trace number, up to eight digits.
    pub sequence: u32,
    /// 9F37: four random bytes.
    pub unpredictable: [u8; 4],
    /// A random number below 100, for the random choice of payments that go online.
    pub draw: u8,
    /// Where the card is.
    pub interface: Interface,
    /// The operator wants it online (TVR byte 4, 08).
    pub force_online: bool,
    /// This terminal has a PIN pad that may be used for this payment.
    pub pin_allowed: bool,
    /// The holder may confirm without a PIN. Usual rule: yes for credit applications, no for debit; see
    /// [`BypassRule`].
    pub bypass: BypassRule,
    /// The account number is on a black list (TVR byte 1, 10). Asked once the number is known; the list is the
    /// application's.
    pub black_list: Vec<String>,
}

impl fmt::Debug for TransParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransParams")
            .field("amount", &self.amount)
            .field("kind", &self.kind)
            .field("date", &hex::encode(self.date))
            .field("time", &hex::encode(self.time))
            .field("sequence", &self.sequence)
            .field("interface", &self.interface)
            .field("black_list", &self.black_list.len())
            .finish_non_exhaustive()
    }
}

impl TransParams {
    /// A sale in yuan; everything else as usual.
    pub const fn sale(
        amount: u64,
        date: [u8; 3],
        time: [u8; 3],
        sequence: u32,
        unpredictable: [u8; 4],
        interface: Interface,
    ) -> Self {
        Self {
            amount,
            other_amount: 0,
            kind: 0x00,
            date,
            time,
            currency: [0x01, 0x56],
            sequence,
            unpredictable,
            draw: 0,
            interface,
            force_online: false,
            pin_allowed: true,
            bypass: BypassRule::CreditOnly,
            black_list: Vec::new(),
        }
    }
}

/// Whose PIN may be left out by pressing confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BypassRule {
    /// Credit and quasi-credit applications.
    #[default]
    CreditOnly,
    /// Nobody's.
    Never,
    /// Everybody's.
    Always,
}

/// What the caller answers to a [`Step`].
#[derive(Clone)]
pub enum Answer {
    /// To [`StepKind::SelectApp`]: the place in the list.
    AppChosen(usize),
    /// To [`StepKind::ConfirmApp`].
    Confirmed,
    /// To [`StepKind::NeedPin`]: the PIN pad holds an encrypted block for the host.
    PinEntered,
    /// To [`StepKind::NeedPin`] of an offline PIN: the digits for the card. Only with `pin_offline`.
    OfflinePin(Zeroizing<String>),
    /// To [`StepKind::NeedPin`]: confirmed without digits.
    PinBypassed,
    /// To [`StepKind::NeedPin`]: there is no PIN pad, or it failed.
    PinPadFailed,
    /// To [`StepKind::OnlineRequired`].
    HostAnswer {
        /// Field 39.
        code: [u8; 2],
        /// Field 55 of the answer, empty when it has none.
        field55: Vec<u8>,
    },
    /// To [`StepKind::OnlineRequired`]: an answer came whose MAC or key fields are wrong.
    HostAnswerInvalid,
    /// To [`StepKind::OnlineRequired`]: no answer.
    HostUnreachable,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppChosen(index) => f.debug_tuple("AppChosen").field(index).finish(),
            Self::Confirmed => f.write_str("Confirmed"),
            Self::PinEntered => f.write_str("PinEntered"),
            Self::OfflinePin(_) => f.write_str("OfflinePin(..)"),
            Self::PinBypassed => f.write_str("PinBypassed"),
            Self::PinPadFailed => f.write_str("PinPadFailed"),
            Self::HostAnswer { code, field55 } => f
                .debug_struct("HostAnswer")
                .field("code", &String::from_utf8_lossy(code))
                .field("field55", &field55.len())
                .finish(),
            Self::HostAnswerInvalid => f.write_str("HostAnswerInvalid"),
            Self::HostUnreachable => f.write_str("HostUnreachable"),
        }
    }
}

/// Where a payment stands, with the results so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do now.
    pub kind: StepKind,
    /// 95, terminal verification results.
    pub tvr: [u8; 5],
    /// 9B, transaction status information.
    pub tsi: [u8; 2],
    /// Why.
    pub reason: Reason,
}

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Let the holder choose; answer [`Answer::AppChosen`].
    SelectApp {
        /// By priority.
        candidates: Vec<Candidate>,
    },
    /// Let the holder confirm the only application; answer [`Answer::Confirmed`].
    ConfirmApp {
        /// The application.
        candidate: Candidate,
    },
    /// Open the PIN pad; answer with one of the PIN answers. [`Kernel::chip_data`](crate::Kernel::chip_data) has the
    /// account number for the PIN block.
    NeedPin {
        /// For the host; otherwise for the card.
        online: bool,
        /// Tries left on the card, when it says so.
        tries_left: Option<u8>,
        /// [`Answer::PinBypassed`] is accepted.
        bypass_ok: bool,
    },
    /// Journal the intent and send the request; answer with one of the host answers.
    OnlineRequired {
        /// Field 55 of the request.
        field55: Vec<u8>,
        /// How the holder was verified.
        cvm: Cvm,
        /// Field 22.
        entry: Entry,
    },
    /// End: approved.
    Approved {
        /// The card approved without the host.
        offline: bool,
        /// The transaction certificate; for a tapped card that went online, its ARQC.
        cryptogram: [u8; 8],
        /// Field 55 for the batch upload or the offline upload.
        field55: Vec<u8>,
        /// The card approved although the issuer's cryptogram was wrong: mark the slip and the upload.
        arpc_failed: bool,
        /// How the holder was verified (whether to ask for a signature).
        cvm: Cvm,
        /// What to send.
        follow_up: FollowUp,
    },
    /// End: declined.
    Declined {
        /// Nothing has left the terminal.
        offline: bool,
        /// The card's AAC, when it gave one.
        cryptogram: Option<[u8; 8]>,
        /// Field 55 of the reversal when [`FollowUp::reversal`] is set, else of the notice.
        field55: Vec<u8>,
        /// What to send.
        follow_up: FollowUp,
    },
    /// End: the chip cannot be read; a swipe of the same card for the same amount is accepted (field 22 = 80x, field
    /// 60.5 = 2).
    Fallback,
    /// End of this try: start again on another interface with the same amount.
    TryOther(Other),
    /// End without an outcome of the card.
    Terminated {
        /// What to send: a reversal when a request has left.
        follow_up: FollowUp,
    },
}

impl Step {
    /// Whether the payment is over for the kernel.
    pub const fn is_end(&self) -> bool {
        !matches!(
            self.kind,
            StepKind::SelectApp { .. }
                | StepKind::ConfirmApp { .. }
                | StepKind::NeedPin { .. }
                | StepKind::OnlineRequired { .. }
        )
    }
}

/// Another way to present the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Insert it.
    Contact,
    /// Tap it (again).
    Contactless,
    /// Swipe it; not a fallback.
    Swipe,
}

/// An application that card and terminal share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// 4F / 84.
    pub aid: Vec<u8>,
    /// What to show: 9F12 when its alphabet is supported, else 50.
    pub label: String,
    /// 87, low four bits; 1 is first, 0 has none.
    pub priority: u8,
    /// The card wants a confirmation before it is used (87, bit 80).
    pub confirm: bool,
}

/// How the holder was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cvm {
    /// 9F34.
    pub results: [u8; 3],
    /// What became of the PIN.
    pub pin: PinState,
    /// The holder signs.
    pub signature: bool,
    /// Small amount, by the quickPass rule neither PIN nor signature: the slip says so.
    pub small_amount: bool,
    /// Verified on the holder's own device (CDCVM).
    pub on_device: bool,
}

impl Cvm {
    /// Nothing known yet.
    pub const NONE: Self = Self {
        results: [0x3F, 0x00, 0x00],
        pin: PinState::NotAsked,
        signature: false,
        small_amount: false,
        on_device: false,
    };
}

/// What became of the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinState {
    /// Not asked for.
    NotAsked,
    /// Entered, for the host: fields 26, 52, 53.
    Online,
    /// Checked by the card.
    Offline,
    /// The holder confirmed without one.
    Bypassed,
}

/// Field 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First two digits.
    pub mode: EntryMode,
    /// A PIN for the host is in the message.
    pub pin: bool,
}

/// First two digits of field 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryMode {
    /// 05: chip in the slot.
    Chip,
    /// 07: quickPass.
    QuickPass,
    /// 98: full PBOC over the antenna.
    FullContactless,
    /// 80: stripe of a chip card whose chip failed.
    Fallback,
}

impl Entry {
    /// Three digits.
    pub const fn field22(self) -> &'static str {
        match (self.mode, self.pin) {
            (EntryMode::Chip, true) => "051",
            (EntryMode::Chip, false) => "052",
            (EntryMode::QuickPass, true) => "071",
            (EntryMode::QuickPass, false) => "072",
            (EntryMode::FullContactless, true) => "981",
            (EntryMode::FullContactless, false) => "982",
            (EntryMode::Fallback, true) => "801",
            (EntryMode::Fallback, false) => "802",
        }
    }

    /// Field 60.5: 2 after a fallback, else 0.
    pub const fn field60_5(self) -> &'static str {
        match self.mode {
            EntryMode::Fallback => "2",
            _ => "0",
        }
    }
}

/// Messages that an end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FollowUp {
    /// 0400 with this field 39.
    pub reversal: Option<[u8; 2]>,
    /// 0620 with the script result, before the next payment.
    pub script_result: bool,
    /// What goes to the host at the end of the batch.
    pub upload: Upload,
}

/// What goes to the host with chip data later on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Upload {
    /// Nothing.
    #[default]
    None,
    /// 0320 with the certificate.
    Certificate,
    /// 0320 as a notice: AAC, or the issuer's cryptogram was wrong.
    Notice,
    /// 0200 offline sale.
    Offline,
}

/// Why a step is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The ordinary way.
    Normal,
    /// The kernel was asked for something that does not fit where it stands.
    OutOfOrder,
    /// No parameters loaded.
    NotLoaded,
    /// The chip gives no readable answer.
    ChipUnreadable,
    /// The card left.
    CardRemoved,
    /// 6A81 at selection.
    CardBlocked,
    /// The only common application is blocked (6283).
    ApplicationBlocked,
    /// Card and terminal share no application.
    NoCommonApplication,
    /// Data that every card has are missing or cannot be read.
    CardData,
    /// The application usage control or the dates do not allow it.
    NotAllowed,
    /// Terminal action analysis says decline.
    TerminalDeclines,
    /// The card says decline.
    CardDeclines,
    /// The signature over the cryptogram is wrong.
    SignatureWrong,
    /// The card answered what no card may.
    IllegalAnswer,
    /// The host approved.
    HostApproved,
    /// The host declined.
    HostDeclined,
    /// The host approved and the card refused.
    CardRefusedAfterApproval,
    /// The issuer's cryptogram is wrong and the card refused.
    IssuerNotAuthentic,
    /// No answer from the host.
    HostUnreachable,
    /// An answer whose MAC or key fields are wrong.
    HostAnswerInvalid,
    /// Amount zero or above the contactless limit.
    ContactlessLimit,
    /// The card wants to be inserted.
    CardWantsContact,
    /// The reader in which the kernel runs cannot be reached any more.
    ReaderLost,
    /// Torn while the last record was read: the same card may finish it.
    Torn,
    /// The application broke off.
    Aborted(AbortReason),
}

/// Why an application breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// Cancel key.
    Cancelled,
    /// Nobody did anything.
    TimedOut,
    /// The card was pulled while no command was under way.
    CardRemoved,
    /// Anything else.
    Other,
}

/// What slip, messages and batch need of a chip payment.
#[derive(Clone)]
pub struct ChipData {
    /// Field 55 of the request.
    pub field55_request: Vec<u8>,
    /// Field 55 of a reversal at this moment.
    pub field55_reversal: Vec<u8>,
    /// Field 55 of the script result, when a script ran.
    pub field55_script_result: Option<Vec<u8>>,
    /// Field 55 of batch upload or offline upload.
    pub field55_upload: Vec<u8>,
    /// 5F34, field 23.
    pub sequence: Option<u8>,
    /// 84.
    pub aid: Vec<u8>,
    /// 50.
    pub label: String,
    /// 9F12, when it can be shown.
    pub preferred_name: Option<String>,
    /// 95.
    pub tvr: [u8; 5],
    /// 9B.
    pub tsi: [u8; 2],
    /// 9F36.
    pub atc: Option<[u8; 2]>,
    /// 9F37.
    pub un: [u8; 4],
    /// 82.
    pub aip: [u8; 2],
    /// 9F10.
    pub iad: Vec<u8>,
    /// 9F26, the last one.
    pub cryptogram: Option<[u8; 8]>,
    /// `TC`, `ARQC` or `AAC`; empty before the first cryptogram.
    pub cryptogram_name: &'static str,
    /// How the holder was verified.
    pub cvm: Cvm,
    /// DF31: five bytes a script.
    pub script_result: Option<Vec<u8>>,
    /// Account number; hidden where the kernel runs in a reader that keeps it.
    pub pan: CardNumber,
    /// Track 2 with `D`, field 35; absent when the card has no 57. Under the reader's track key where the number is hidden.
    pub track2: Option<Zeroizing<String>>,
    /// Field 14, YYMM.
    pub expiry: Zeroizing<String>,
    /// Field 22.
    pub entry: Entry,
    /// A credit or quasi-credit application (AID 02, 03).
    pub credit: bool,
}

impl fmt::Debug for ChipData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChipData")
            .field("pan", &self.pan.masked())
            .field("aid", &hex::encode_upper(&self.aid))
            .field("tvr", &hex::encode_upper(self.tvr))
            .field("tsi", &hex::encode_upper(self.tsi))
            .field("atc", &self.atc.map(hex::encode_upper))
            .field("cryptogram", &self.cryptogram.map(hex::encode_upper))
            .field("cryptogram_name", &self.cryptogram_name)
            .field("cvm", &self.cvm)
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}

/// First six and last four digits; short numbers lose everything but the last four.
pub(crate) fn mask_pan(pan: &str) -> String {
    let digits = pan.chars().count();
    pan.chars()
        .enumerate()
        .map(|(at, c)| {
            let shown = at + 4 >= digits || (digits >= 13 && at < 6);
            if shown { c } else { '*' }
        })
        .collect()
}
