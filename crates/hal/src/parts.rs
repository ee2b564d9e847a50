//! The smaller parts: scanner, light, sound, lines, drawer, display, signature, dock.

use std::time::Duration;

use receipt::Bitmap;

use crate::{Call, Result};

/// Which way a scanner looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Camera {
    /// At the customer.
    Front,
    /// At the goods.
    Back,
}

/// Kinds of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CodeFormat {
    /// QR code.
    Qr,
    /// Code 128, as pay codes are shown.
    Code128,
    /// EAN-13, as goods carry.
    Ean13,
    /// Whatever the device cannot tell: a keyboard wedge.
    Unknown,
}

/// A code that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// What kind it is.
    pub format: CodeFormat,
    /// What it says. A pay code is money: `Debug` shows the length alone.
    pub text: String,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Code({:?}, {} characters)", self.format, self.text.len())
    }
}

/// Code scanner.
pub trait Scanner: Send + Sync {
    /// The cameras it has.
    fn cameras(&self) -> Vec<Camera>;

    /// Waits for a code of one of these kinds; an empty list takes any.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled),
    /// [`NotSupported`](crate::ErrorKind::NotSupported) for a camera that is not there.
    fn scan(&self, camera: Camera, formats: &[CodeFormat], call: &Call) -> Result<Code>;

    /// Light for dark places.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) without one.
    fn flash(&self, on: bool) -> Result<()> {
        let _: bool = on;
        crate::HalError::not_supported(crate::DeviceKind::Scanner)
    }
}

/// What a light does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LedState {
    /// Dark.
    #[default]
    Off,
    /// Lit.
    On,
    /// Now and then.
    Blink,
}

/// Lights, by number: 0 to 3 are blue, yellow, green, red of a contactless reader.
pub trait Led: Send + Sync {
    /// How many there are.
    fn count(&self) -> u8;

    /// Sets one.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam) for one that is not there.
    fn set(&self, led: u8, state: LedState) -> Result<()>;
}

/// Sounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beep {
    /// A card was read.
    Ready,
    /// Approved.
    Success,
    /// Something is wrong.
    Error,
    /// A key.
    Key,
}

/// Beeper.
pub trait Beeper: Send + Sync {
    /// Sounds for so long, and does not wait for it.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn beep(&self, kind: Beep, length: Duration) -> Result<()>;
}

/// Parity of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parity {
    /// None.
    None,
    /// Odd.
    Odd,
    /// Even.
    Even,
}

/// How a serial line is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SerialConfig {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

impl SerialConfig {
    /// 115200 8N1, which tills use.
    pub const USUAL: Self = Self { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1 };
}

/// Serial line.
pub trait SerialPort: Send + Sync {
    /// Opens the line, or sets it anew.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam), [`Offline`](crate::ErrorKind::Offline) when it is unplugged.
    fn open(&self, config: &SerialConfig) -> Result<()>;

    /// Waits for bytes, at most `max`; never an empty answer.
    ///
    /// # Errors
    /// [`NotOpen`](crate::ErrorKind::NotOpen), [`Timeout`](crate::ErrorKind::Timeout),
    /// [`UserCancelled`](crate::ErrorKind::UserCancelled).
    fn read(&self, max: usize, call: &Call) -> Result<Vec<u8>>;

    /// Sends all bytes.
    ///
    /// # Errors
    /// As [`SerialPort::read`].
    fn write(&self, bytes: &[u8], call: &Call) -> Result<()>;

    /// Throws away what came and was not read.
    ///
    /// # Errors
    /// [`NotOpen`](crate::ErrorKind::NotOpen).
    fn flush(&self) -> Result<()>;

    /// Closes the line.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn close(&self) -> Result<()>;
}

/// Whether a drawer is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrawerState {
    /// Open.
    Open,
    /// Closed.
    Closed,
    /// It has no contact that tells.
    Unknown,
}

/// Cash drawer (钱箱). Opened only on purpose and logged by who did it, never by a printed slip alone.
pub trait CashDrawer: Send + Sync {
    /// Opens it.
    ///
    /// # Errors
    /// [`Offline`](crate::ErrorKind::Offline).
    fn kick(&self) -> Result<()>;

    /// Whether it is open.
    ///
    /// # Errors
    /// [`Offline`](crate::ErrorKind::Offline).
    fn status(&self) -> Result<DrawerState>;
}

/// What a customer display shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Lines of text.
    Lines(Vec<String>),
    /// A code to be scanned by the customer.
    Qr(String),
    /// A picture.
    Image(Bitmap),
}

/// Customer display (客显).
pub trait CustomerDisplay: Send + Sync {
    /// Lines and columns of text.
    fn size(&self) -> (u8, u8);

    /// Shows this instead of what is there.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) for pictures on a text display.
    fn show(&self, what: &Shown) -> Result<()>;

    /// Shows nothing.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn clear(&self) -> Result<()>;
}

/// Signature pad (手写板).
pub trait SignaturePad: Send + Sync {
    /// Waits for a signature. `code` is drawn behind it (交易特征码: eight characters of this trade), so that
    /// a signature cannot be moved to another.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled).
    fn capture(&self, code: &str, call: &Call) -> Result<Bitmap>;
}

/// Dock (底座).
pub trait Pedestal: Send + Sync {
    /// Whether the terminal stands in it.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn attached(&self) -> Result<bool>;
}
