//! What a terminal has, and how an app gets hold of it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::card::{CardDetector, IccReader, MagReader, PsamSlot, RfReader};
use crate::chip::KernelProvider;
use crate::info::{DeviceInfo, TerminalSerial};
use crate::keys::{CryptoBox, KeyStore, PinPad};
use crate::lease::{AppId, Claim, Claims, Lease, LeaseTerms, Session};
use crate::parts::{Beeper, CashDrawer, CustomerDisplay, Led, Pedestal, Scanner, SerialPort, SignaturePad};
use crate::printer::Printer;
use crate::system::{SecureStore, SystemControl};
use crate::{ErrorKind, HalError, Result};

macro_rules! devices {
    ($($(#[$doc:meta])* $kind:ident: $trait:ident, $name:literal, $shared:literal;)*) => {
        /// The kinds of devices of a terminal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum DeviceKind {
            /// The manager itself: sessions, leases, permissions.
            Manager,
            $($(#[$doc])* $kind,)*
        }

        impl DeviceKind {
            /// Every kind that can be opened.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The name in permissions, logs and reports.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Manager => "manager",
                    $(Self::$kind => $name,)*
                }
            }

            /// Whether several apps may hold it at once: what only answers questions, and what keeps its
            /// callers apart by itself.
            pub const fn is_shared(self) -> bool {
                match self {
                    Self::Manager => true,
                    $(Self::$kind => $shared,)*
                }
            }
        }

        /// A device as a driver hands it out.
        #[derive(Clone)]
        #[non_exhaustive]
        pub enum Device {
            $($(#[$doc])* $kind(Arc<dyn $trait>),)*
        }

        impl Device {
            /// What it is.
            pub const fn kind(&self) -> DeviceKind {
                match self {
                    $(Self::$kind(_) => DeviceKind::$kind,)*
                }
            }
        }

        $(
            impl DeviceClass for dyn $trait {
                const KIND: DeviceKind = DeviceKind::$kind;

                fn take(device: Device) -> Option<Arc<Self>> {
                    match device {
                        Device::$kind(device) => Some(device),
                        _ => None,
                    }
                }
            }

            impl From<Arc<dyn $trait>> for Device {
                fn from(device: Arc<dyn $trait>) -> Self {
                    Self::$kind(device)
                }
            }
        )*
    };
}

devices! {
    /// Identity, versions, counters (终端信息).
    Info: DeviceInfo, "info", true;
    /// The UnionPay terminal serial number (银联终端序列号).
    Tusn: TerminalSerial, "tusn", true;
    /// Printer (打印机).
    Printer: Printer, "printer", false;
    /// Magnetic stripe (磁条卡).
    Mag: MagReader, "mag", false;
    /// Contact chip (接触卡).
    Icc: IccReader, "icc", false;
    /// A slot for a security module in card form (PSAM).
    Psam: PsamSlot, "psam", false;
    /// Contactless (非接).
    Rf: RfReader, "rf", false;
    /// Whichever card comes first (寻卡).
    Detector: CardDetector, "detector", false;
    /// Key slots (密钥区).
    Keys: KeyStore, "keys", false;
    /// PIN pad (密码键盘).
    PinPad: PinPad, "pin_pad", false;
    /// MACs, enciphering, random numbers.
    Crypto: CryptoBox, "crypto", true;
    /// Chip kernels.
    Emv: KernelProvider, "emv", true;
    /// Code scanner.
    Scanner: Scanner, "scanner", false;
    /// Lights.
    Led: Led, "led", false;
    /// Beeper.
    Beeper: Beeper, "beeper", true;
    /// Serial line.
    Serial: SerialPort, "serial", false;
    /// Cash drawer (钱箱).
    Drawer: CashDrawer, "drawer", false;
    /// Customer display (客显).
    Display: CustomerDisplay, "display", false;
    /// Signature pad (手写板).
    Signature: SignaturePad, "signature", false;
    /// Dock (底座).
    Pedestal: Pedestal, "pedestal", true;
    /// The machine: packages, clock, restart.
    System: SystemControl, "system", true;
    /// Sealed values bound to the device.
    SecureStore: SecureStore, "secure_store", true;
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.kind())
    }
}

/// A trait object that can be opened: `dyn Printer`, `dyn PinPad`, …
pub trait DeviceClass: Send + Sync + 'static {
    /// Which kind it is.
    const KIND: DeviceKind;

    /// Takes it out of what a driver gave; `None` when that is another kind.
    fn take(device: Device) -> Option<Arc<Self>>;
}

/// One device in the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// What it is.
    pub kind: DeviceKind,
    /// Which of its kind, from 0.
    pub index: u8,
    /// The maker's name for it.
    pub name: String,
}

/// How a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Works.
    Good,
    /// Works when somebody sees to it: paper, cover, heat.
    NeedsAttention(ErrorKind),
    /// Does not work.
    Failed(ErrorKind),
}

/// What a terminal maker implements: which devices there are, and each of them. Sessions, claims and leases
/// come from [`LocalManager`].
pub trait DriverSet: Send + Sync + 'static {
    /// Every device, whether free or not.
    fn inventory(&self) -> Vec<DeviceEntry>;

    /// Hands a device out. The manager has seen to it that nobody else holds it.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when there is none, or what the device says ([`ErrorKind::ServiceLost`]).
    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device>;

    /// The device is free again: take the power from its card, close the vendor's handle.
    fn released(&self, kind: DeviceKind, index: u8) {
        let _: (DeviceKind, u8) = (kind, index);
    }

    /// How a device is, without opening it.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when there is none.
    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health>;
}

/// The devices of one terminal and who holds them.
pub trait DeviceManager: Send + Sync + 'static {
    /// Every device.
    fn inventory(&self) -> Vec<DeviceEntry>;

    /// How a device is, without opening it.
    ///
    /// # Errors
    /// [`ErrorKind::NotSupported`] when there is none.
    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health>;

    /// Begins a session of an app. All leases belong to one.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::Busy`].
    fn login(&self, app: &AppId) -> Result<Session>;

    /// The app is gone: its sessions end, and its leases with them.
    fn end_app(&self, app: &AppId);

    /// Claims a device and hands it out. Apps use [`OpenDevice::open`].
    ///
    /// # Errors
    /// [`ErrorKind::Claimed`], [`ErrorKind::NotSupported`], [`ErrorKind::PermissionDenied`],
    /// [`ErrorKind::NotOpen`] when the session has ended, or what the device says.
    fn open_device(
        &self,
        session: &Session,
        kind: DeviceKind,
        index: u8,
        terms: LeaseTerms,
    ) -> Result<(Device, Claim)>;
}

/// Opening by type: `manager.open::<dyn PinPad>(&session, 0, LeaseTerms::open_end())`.
pub trait OpenDevice: DeviceManager {
    /// Claims device `index` of the kind.
    ///
    /// # Errors
    /// As [`DeviceManager::open_device`].
    fn open<D: DeviceClass + ?Sized>(
        &self,
        session: &Session,
        index: u8,
        terms: LeaseTerms,
    ) -> Result<Lease<D>> {
        let (device, claim) = self.open_device(session, D::KIND, index, terms)?;
        let device = D::take(device).ok_or_else(|| {
            HalError::new(ErrorKind::HardwareFault, D::KIND).text("the driver gave a device of another kind")
        })?;
        Ok(Lease::new(device, claim))
    }
}

impl<M: DeviceManager + ?Sized> OpenDevice for M {}

/// The manager over the drivers of this terminal.
pub struct LocalManager {
    drivers: Arc<dyn DriverSet>,
    claims: Claims,
}

impl LocalManager {
    /// Over these drivers.
    pub fn new(drivers: Arc<dyn DriverSet>) -> Self {
        let told = Arc::downgrade(&drivers);
        let claims = Claims::on_release(move |kind, index| {
            if let Some(drivers) = told.upgrade() {
                drivers.released(kind, index);
            }
        });
        Self { drivers, claims }
    }

    /// The book of claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl DeviceManager for LocalManager {
    fn inventory(&self) -> Vec<DeviceEntry> {
        self.drivers.inventory()
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        self.drivers.health(kind, index)
    }

    fn login(&self, app: &AppId) -> Result<Session> {
        self.claims.login(app)
    }

    fn end_app(&self, app: &AppId) {
        self.claims.end_app(app);
    }

    fn open_device(
        &self,
        session: &Session,
        kind: DeviceKind,
        index: u8,
        terms: LeaseTerms,
    ) -> Result<(Device, Claim)> {
        let claim = self.claims.claim(session, kind, index, terms)?;
        Ok((self.drivers.device(kind, index)?, claim))
    }
}
