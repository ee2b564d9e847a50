//! The hardware SDK: what a payment app may ask of a terminal, as traits that a device driver implements.
//!
//! ```text
//! app ── Broker (permissions) ── LocalManager (sessions, claims, leases) ── DriverSet ── vendor's SDK
//! ```
//!
//! A terminal maker implements [`DriverSet`] and the traits of the devices it has; an app opens devices
//! through a [`DeviceManager`] and gets [`Lease`]s. Rules that hold for every driver:
//!
//! * every failure is a [`HalError`]: what it was, what may help, the vendor's own code and words;
//! * every blocking call has a [`Call`]: a deadline on the monotonic clock and a token that ends it;
//! * a device is held by one app at a time; the lease ends with its holder, its session or its time;
//! * abilities are asked, and what is missing answers [`ErrorKind::NotSupported`] at once;
//! * no clear key and no PIN crosses a trait (with the feature `lab`, components of master keys do).
//!
//! The traits are synchronous and object safe, since drivers wrap blocking SDKs; state inside a driver is
//! its own, behind its own locks ([`Signal`] helps). How to write a driver: `docs/hal.md`.

mod broker;
mod card;
mod chip;
mod error;
mod info;
mod keys;
mod lease;
mod manager;
mod parts;
mod printer;
mod system;
mod wait;

pub use broker::{Broker, Permission, Permissions, Refusals};
pub use card::{
    CardDetector, CardText, DetectRequest, Found, IccReader, MagData, MagReader, MifareCard, MifareKey,
    PowerUp, PsamSlot, RfCard, RfKind, RfReader, SwipeRequest, Tracks, parse_track2,
};
pub use chip::{InField, InSlot, KernelProvider};
pub use error::{ErrorKind, HalError, Result, Retry, VendorTable};
pub use info::{
    Battery, Counters, DeviceInfo, Identity, Location, Network, TUSN_RANDOM_MAX, TUSN_RANDOM_MIN, Tamper,
    TerminalSerial, Tusn, Versions,
};
pub use keys::{
    CipherMode, CryptoBox, KeyAbilities, KeySlot, KeyStore, MasterSource, OfflinePin, OfflinePinMethod,
    OfflinePinRequest, OnlinePin, PinAbilities, PinEvent, PinPad, PinRequest, PinWatch, SlotClass, SlotInfo,
    TENANTS_MAX, WorkKey, WorkKeyClass,
};
pub use lease::{AppId, Claim, Claims, LEASES_MAX, Lease, LeaseTerms, SESSIONS_MAX, Session};
pub use manager::{
    Device, DeviceClass, DeviceEntry, DeviceKind, DeviceManager, DriverSet, Health, LocalManager, OpenDevice,
};
pub use parts::{
    Beep, Beeper, Camera, CashDrawer, Code, CodeFormat, CustomerDisplay, DrawerState, Led, LedState, Parity,
    Pedestal, Scanner, SerialConfig, SerialPort, Shown, SignaturePad,
};
pub use printer::{COPIES_MAX, Paper, PrintJob, Printer, PrinterAbilities, PrinterStatus};
pub use system::{SEALED_NAME_MAX, SEALED_VALUE_MAX, SecureStore, SystemControl, is_sealed_name};
pub use wait::{Call, CancelToken, Deadline, Interrupt, LONGEST_WAIT, Registration, Signal};
// What keys, PIN blocks and MACs are named by.
pub use hsm::{EncryptedPinBlock, Kcv, KeyAlgorithm, MacAlgorithm, PinFormat};
// A card's number, known or kept by the reader.
pub use kernel::CardNumber;
// What is printed, drawn and cut.
pub use receipt::{Bitmap, Cut, ReceiptDoc, Width};
