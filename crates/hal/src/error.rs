//! What a device can answer instead of a result.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::DeviceKind;

/// What went wrong, in terms of the field and not of a vendor. The kind drives the screen; the vendor's
/// own code and text go into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The terminal has no such device, or the device has no such ability.
    NotSupported,
    /// The caller asked for something that makes no sense (an empty document, a PIN length of 3).
    BadParam,
    /// The app was not granted this device or this operation.
    PermissionDenied,
    /// No lease, or the lease has ended.
    NotOpen,
    /// Another app holds the device.
    Claimed,
    /// The device is at work; ask again.
    Busy,
    /// The deadline passed.
    Timeout,
    /// A person or the app broke the call off.
    UserCancelled,
    /// No card in the slot or the field.
    NoCard,
    /// The card was taken away in the middle.
    CardRemoved,
    /// More than one card in the field.
    MultipleCards,
    /// The card does not answer: a candidate for another interface.
    CardMute,
    /// A transmission failed.
    Comm,
    /// Paper has run out.
    NoPaper,
    /// A cover is open.
    CoverOpen,
    /// Too hot to go on.
    Overheated,
    /// The battery is too low for this.
    LowPower,
    /// The device is broken.
    HardwareFault,
    /// The key slot is empty: sign in or load a key.
    NoKey,
    /// The key that was to be loaded has another check value; the old one stays.
    KcvMismatch,
    /// The key has reached the end of its life.
    KeyExpired,
    /// The device was opened or attacked; its keys are gone and the terminal must be locked.
    Tampered,
    /// The card holder pressed confirm without a PIN where that was not allowed as a result.
    PinBypassed,
    /// The chip kernel failed in itself.
    KernelError,
    /// The device is switched off or unplugged.
    Offline,
    /// The vendor's service died; open again.
    ServiceLost,
    /// Anything else; carries the vendor's code and text.
    Extended,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 27] = [
        Self::NotSupported,
        Self::BadParam,
        Self::PermissionDenied,
        Self::NotOpen,
        Self::Claimed,
        Self::Busy,
        Self::Timeout,
        Self::UserCancelled,
        Self::NoCard,
        Self::CardRemoved,
        Self::MultipleCards,
        Self::CardMute,
        Self::Comm,
        Self::NoPaper,
        Self::CoverOpen,
        Self::Overheated,
        Self::LowPower,
        Self::HardwareFault,
        Self::NoKey,
        Self::KcvMismatch,
        Self::KeyExpired,
        Self::Tampered,
        Self::PinBypassed,
        Self::KernelError,
        Self::Offline,
        Self::ServiceLost,
        Self::Extended,
    ];

    /// What usually helps. A driver that knows better says so in [`HalError::retry`].
    pub const fn usual_retry(self) -> Retry {
        match self {
            Self::NotSupported
            | Self::BadParam
            | Self::PermissionDenied
            | Self::HardwareFault
            | Self::NoKey
            | Self::KcvMismatch
            | Self::KeyExpired
            | Self::Tampered
            | Self::PinBypassed
            | Self::KernelError
            | Self::Extended => Retry::No,
            Self::NotOpen
            | Self::Claimed
            | Self::Busy
            | Self::Timeout
            | Self::UserCancelled
            | Self::Comm
            | Self::Offline
            | Self::ServiceLost => Retry::Same,
            Self::NoCard
            | Self::CardRemoved
            | Self::MultipleCards
            | Self::NoPaper
            | Self::CoverOpen
            | Self::Overheated
            | Self::LowPower => Retry::AfterUserAction,
            Self::CardMute => Retry::OtherInterface,
        }
    }

    /// The name in logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "not_supported",
            Self::BadParam => "bad_param",
            Self::PermissionDenied => "permission_denied",
            Self::NotOpen => "not_open",
            Self::Claimed => "claimed",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::UserCancelled => "user_cancelled",
            Self::NoCard => "no_card",
            Self::CardRemoved => "card_removed",
            Self::MultipleCards => "multiple_cards",
            Self::CardMute => "card_mute",
            Self::Comm => "comm",
            Self::NoPaper => "no_paper",
            Self::CoverOpen => "cover_open",
            Self::Overheated => "overheated",
            Self::LowPower => "low_power",
            Self::HardwareFault => "hardware_fault",
            Self::NoKey => "no_key",
            Self::KcvMismatch => "kcv_mismatch",
            Self::KeyExpired => "key_expired",
            Self::Tampered => "tampered",
            Self::PinBypassed => "pin_bypassed",
            Self::KernelError => "kernel_error",
            Self::Offline => "offline",
            Self::ServiceLost => "service_lost",
            Self::Extended => "extended",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the app may do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same call will fail again.
    No,
    /// The same call may succeed, after opening again where the device was lost.
    Same,
    /// A person has to do something first: change the paper, close the cover, insert the card again.
    AfterUserAction,
    /// Another interface of the card may work: stripe instead of chip (降级), chip instead of contactless.
    OtherInterface,
}

/// A failed call. `vendor_text` is a device's own words: a driver must keep card numbers, PINs and keys
/// out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HalError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Where.
    pub device: DeviceKind,
    /// The vendor's number for it, when it has one.
    pub vendor_code: Option<i32>,
    /// The vendor's words, or the driver's; may be empty.
    pub vendor_text: String,
    /// What may help.
    pub retry: Retry,
}

/// The result of a call to a device.
pub type Result<T> = std::result::Result<T, HalError>;

impl HalError {
    /// An error with the usual retry and nothing of a vendor.
    pub fn new(kind: ErrorKind, device: DeviceKind) -> Self {
        Self { kind, device, vendor_code: None, vendor_text: String::new(), retry: kind.usual_retry() }
    }

    /// Adds words for the log. Never a card number, a PIN or a key.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.vendor_text = text.into();
        self
    }

    /// Adds the vendor's code.
    #[must_use]
    pub fn code(mut self, code: i32) -> Self {
        self.vendor_code = Some(code);
        self
    }

    /// Says that something else than usual helps.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The answer of a device or method that is not there.
    ///
    /// # Errors
    /// Always.
    pub fn not_supported<T>(device: DeviceKind) -> Result<T> {
        Err(Self::new(ErrorKind::NotSupported, device))
    }

    /// What the security module's refusal means to the app.
    pub fn from_hsm(device: DeviceKind, error: &hsm::HsmError) -> Self {
        use hsm::HsmError as E;
        let kind = match error {
            E::CheckValue(_) => ErrorKind::KcvMismatch,
            E::ForeignKey { .. } => ErrorKind::NoKey,
            E::Random | E::Token(_) => ErrorKind::HardwareFault,
            E::Unsupported(_) => ErrorKind::NotSupported,
            _ => ErrorKind::BadParam,
        };
        Self::new(kind, device).text(error.to_string())
    }
}

impl fmt::Display for HalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.kind)?;
        if let Some(code) = self.vendor_code {
            write!(f, " (vendor code {code})")?;
        }
        if !self.vendor_text.is_empty() {
            write!(f, ": {}", self.vendor_text)?;
        }
        Ok(())
    }
}

impl std::error::Error for HalError {}

/// A vendor's numbers and what they mean, one table per device of an adapter. Numbers that are not in it
/// become [`ErrorKind::Extended`] with code and text, so nothing is swallowed.
#[derive(Debug, Clone, Copy)]
pub struct VendorTable {
    /// The device that speaks these codes.
    pub device: DeviceKind,
    /// Code, kind, the vendor's meaning.
    pub rows: &'static [(i32, ErrorKind, &'static str)],
}

impl VendorTable {
    /// The error for a code.
    pub fn error(&self, code: i32) -> HalError {
        let row = self.rows.iter().find(|(known, ..)| *known == code);
        let (kind, text) =
            row.map_or((ErrorKind::Extended, "unknown code"), |(_, kind, text)| (*kind, *text));
        HalError::new(kind, self.device).code(code).text(text)
    }

    /// Whether the table names the code.
    pub fn knows(&self, code: i32) -> bool {
        self.rows.iter().any(|(known, ..)| *known == code)
    }
}
