//! What a terminal says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DeviceKind, HalError, Result};

/// Who the terminal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Serial number of the maker.
    pub serial: String,
    /// Part number of the maker.
    pub part: String,
    /// Model.
    pub model: String,
    /// Maker.
    pub vendor: String,
    /// Device type of the terminal register (终端类型): 02 traditional, 03 MPOS, 04 smart POS, 11 bar-code
    /// auxiliary, …
    pub device_type: String,
    /// `android`, `openharmony`, `linux`, `web-virtual`, …: an open list.
    pub platform: String,
}

/// Which software and hardware stands where: name of the part, its version. Names in use: `rom`, `kernel`,
/// `secure_cpu`, `driver`, `os_spec`, `emv_contact`, `emv_contactless`.
pub type Versions = BTreeMap<String, String>;

/// How much a terminal has been used, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Cards swiped.
    pub swipes: u64,
    /// Swipes that could not be read.
    pub swipe_failures: u64,
    /// Cards powered up in the slot.
    pub inserts: u64,
    /// Cards activated in the field.
    pub taps: u64,
    /// Paper printed, in millimetres.
    pub paper_mm: u64,
    /// Documents printed.
    pub prints: u64,
    /// Prints that failed.
    pub print_failures: u64,
    /// PIN entries begun.
    pub pins: u64,
    /// Codes scanned.
    pub scans: u64,
    /// Starts of the system.
    pub boots: u64,
    /// Times the battery was charged.
    pub charges: u64,
}

/// Whether the terminal was attacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tamper {
    /// It was: its keys are gone, and it must be locked.
    pub tampered: bool,
    /// The maker's code for what happened.
    pub code: Option<i32>,
}

/// The battery; a terminal on the mains has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Battery {
    /// 0 to 100.
    pub percent: u8,
    /// On the mains.
    pub charging: bool,
}

/// Where the network is, for the terminal register and the field that tells of the base station.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Whether there is one.
    pub online: bool,
    /// `wifi`, `lte`, `ethernet`, …
    pub kind: String,
    /// Address on the network.
    pub address: String,
    /// Card number of the SIM, when there is one.
    pub iccid: Option<String>,
    /// Country and operator, for example `460` and `00`.
    pub mcc_mnc: Option<(String, String)>,
    /// Location area and cell.
    pub lac_cell: Option<(u32, u32)>,
}

/// Where the terminal is, in millionths of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// North of the equator.
    pub latitude_micro: i32,
    /// East of Greenwich.
    pub longitude_micro: i32,
}

/// Identity, versions, use and state of the terminal (终端信息).
pub trait DeviceInfo: Send + Sync {
    /// Who it is.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn identity(&self) -> Result<Identity>;

    /// What stands where.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn versions(&self) -> Result<Versions>;

    /// How much it was used.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn counters(&self) -> Result<Counters>;

    /// Whether it was attacked.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn tamper(&self) -> Result<Tamper>;

    /// The battery.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) without one.
    fn battery(&self) -> Result<Battery> {
        HalError::not_supported(DeviceKind::Info)
    }

    /// The network.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) when the driver cannot tell.
    fn network(&self) -> Result<Network> {
        HalError::not_supported(DeviceKind::Info)
    }

    /// Where it is.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) when the driver cannot tell.
    fn location(&self) -> Result<Location> {
        HalError::not_supported(DeviceKind::Info)
    }
}

/// Fewest bytes of the random factor of a terminal serial number.
pub const TUSN_RANDOM_MIN: usize = 4;
/// Most bytes of it.
pub const TUSN_RANDOM_MAX: usize = 10;

/// The UnionPay terminal serial number with the proof that this device has it: sub-tags of field 59 A2, and
/// `terminal_info` of code payments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tusn {
    /// Device type of the terminal register, two digits (A2.01).
    pub device_type: String,
    /// The serial number (A2.02).
    pub serial: String,
    /// The random factor as it was given (A2.03).
    pub random: String,
    /// Eight characters: MAC over factor and number (A2.04). Eight blanks on terminals without the key.
    pub cipher: String,
    /// Version of the calling program, eight characters, blanks to the right (A2.05).
    pub app_version: String,
}

/// The terminal serial number as a call to the hardware, since its key never leaves it.
pub trait TerminalSerial: Send + Sync {
    /// Number and proof. `random` has 4 to 10 ASCII bytes: the last six digits of the card number or of the
    /// pay code.
    ///
    /// # Errors
    /// [`BadParam`](crate::ErrorKind::BadParam) for another length, [`Tampered`](crate::ErrorKind::Tampered).
    fn tusn(&self, random: &str, app_version: &str) -> Result<Tusn>;
}
