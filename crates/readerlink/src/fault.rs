//! What a reader says went wrong: result tag 00.

/// Result of a command, other than good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.text)]
pub struct Fault(&'static FaultRow);

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultRow {
    /// As the answer carries it.
    pub code: u16,
    /// For the operator.
    pub text: &'static str,
    /// It speaks of the link and not of a card: the host repeats or pairs again.
    pub link: bool,
}

const fn row(code: u16, text: &'static str, link: bool) -> FaultRow {
    FaultRow { code, text, link }
}

/// Every result but 0000.
pub static FAULTS: [FaultRow; 20] = [
    row(0x0001, "bad frame", true),
    row(0x0002, "wrong check value", true),
    row(0x0003, "the reader does not know this command", false),
    row(0x0004, "bad payload", false),
    row(0x0005, "the reader is busy", false),
    row(0x0006, "not paired", true),
    row(0x0007, "cipher or counter wrong", true),
    row(0x0010, "nothing happened in time", false),
    row(0x0011, "cancelled", false),
    row(0x0012, "card removed", false),
    row(0x0013, "several cards in the field", false),
    row(0x0014, "the chip does not answer", false),
    row(0x0015, "stripe or card cannot be read", false),
    row(0x0020, "no key in this slot", false),
    row(0x0021, "the key's check value is wrong", false),
    row(0x0022, "PIN bypassed", false),
    row(0x0030, "chip kernel", false),
    row(0x0040, "the reader was tampered with", false),
    row(0x0050, "battery low", false),
    row(0x00FF, "other", false),
];

/// A named line of the table.
macro_rules! named {
    ($($(#[$doc:meta])* $name:ident = $at:literal;)*) => {
        impl Fault {
            $($(#[$doc])* pub const $name: Self = Self(&FAULTS[$at]);)*
        }
    };
}

named! {
    /// Bad frame.
    BAD_FRAME = 0;
    /// Wrong check value.
    BAD_CRC = 1;
    /// Unknown command.
    UNKNOWN_COMMAND = 2;
    /// Bad payload.
    BAD_PAYLOAD = 3;
    /// Busy.
    BUSY = 4;
    /// Not paired.
    NOT_PAIRED = 5;
    /// Cipher or counter wrong.
    BAD_CIPHER = 6;
    /// Time-out.
    TIMEOUT = 7;
    /// Cancelled.
    CANCELLED = 8;
    /// Card removed.
    CARD_REMOVED = 9;
    /// Several cards.
    SEVERAL_CARDS = 10;
    /// Card mute: fall back to the stripe.
    CARD_MUTE = 11;
    /// Stripe or card cannot be read (modelled).
    UNREADABLE = 12;
    /// No key.
    NO_KEY = 13;
    /// Check value of a key.
    BAD_KCV = 14;
    /// PIN bypassed.
    PIN_BYPASSED = 15;
    /// Kernel error.
    KERNEL = 16;
    /// Tampered.
    TAMPERED = 17;
    /// Low battery.
    LOW_BATTERY = 18;
    /// Other.
    OTHER = 19;
}

impl Fault {
    /// The fault of a code; one that is not in the table is "other".
    pub fn from_code(code: u16) -> Self {
        FAULTS.iter().find(|row| row.code == code).map_or(Self::OTHER, Self)
    }

    /// As the answer carries it.
    pub const fn code(self) -> u16 {
        self.0.code
    }

    /// Whether it speaks of the link and not of a card.
    pub const fn is_of_the_link(self) -> bool {
        self.0.link
    }
}
