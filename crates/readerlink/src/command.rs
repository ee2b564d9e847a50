//! Commands.

/// What a host asks a reader for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Command {
    /// What the reader is. In the clear.
    Info = 0x0001,
    /// Exchange of nonces. In the clear.
    Pair = 0x0002,
    /// Proof of the shared secret. In the clear.
    Confirm = 0x0003,
    /// Nothing. Also in the clear.
    Ping = 0x0004,
    /// Breaks off what runs.
    Cancel = 0x0005,
    /// Lines on the reader's display.
    Display = 0x0006,
    /// Buzzer and lights.
    Beep = 0x0007,
    /// Waits for a card.
    Detect = 0x0010,
    /// Begins a chip payment.
    EmvStart = 0x0020,
    /// Goes on with it.
    EmvContinue = 0x0021,
    /// Asks the cardholder for the PIN.
    Pin = 0x0030,
    /// A message authentication code.
    Mac = 0x0040,
    /// A wrapped key into a slot.
    LoadKey = 0x0041,
    /// Applications and public keys for the kernel.
    LoadParams = 0x0042,
    /// New firmware.
    Update = 0x0050,
    /// An APDU as it is; in the laboratory only.
    RawApdu = 0x0060,
}

impl Command {
    const ALL: [Self; 16] = [
        Self::Info,
        Self::Pair,
        Self::Confirm,
        Self::Ping,
        Self::Cancel,
        Self::Display,
        Self::Beep,
        Self::Detect,
        Self::EmvStart,
        Self::EmvContinue,
        Self::Pin,
        Self::Mac,
        Self::LoadKey,
        Self::LoadParams,
        Self::Update,
        Self::RawApdu,
    ];

    /// The code.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The command of a code.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.code() == code)
    }

    /// Whether it is allowed before a session is there.
    pub const fn in_clear(self) -> bool {
        matches!(self, Self::Info | Self::Pair | Self::Confirm | Self::Ping)
    }
}
