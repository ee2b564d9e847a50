//! What one app may do: its granted permissions stand between it and the devices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use hsm::{Kcv, MacAlgorithm};
use zeroize::Zeroizing;

use crate::card::CardText;
use crate::keys::{
    CipherMode, CryptoBox, KeyAbilities, KeySlot, KeyStore, MasterSource, OfflinePin, OfflinePinRequest,
    OnlinePin, PinAbilities, PinPad, PinRequest, PinWatch, SlotInfo, WorkKey,
};
use crate::lease::{AppId, Claim, LeaseTerms, Session};
use crate::manager::{Device, DeviceEntry, DeviceKind, DeviceManager, Health};
use crate::system::SystemControl;
use crate::{Call, ErrorKind, HalError, Result};

/// One thing that an app can be granted, as its signed manifest asks for it: a device, or an operation of a
/// device whose operations differ in danger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Open this kind of device. Text: `device.` and its name.
    Open(DeviceKind),
    /// Take a PIN and get its block. Text: `pin.block`.
    PinBlock,
    /// Take a PIN for the chip. Text: `pin.offline`.
    PinOffline,
    /// Sign messages. Text: `crypto.mac`.
    Mac,
    /// Encipher tracks and data. Text: `crypto.encrypt`.
    Encrypt,
    /// Sign with the device's key. Text: `crypto.sign`.
    Sign,
    /// Load and delete keys. Text: `keys.load`.
    LoadKeys,
    /// Empty all key slots. Text: `keys.format`.
    FormatKeys,
    /// Install and take away apps, set the one shown at start. Text: `system.packages`.
    Packages,
    /// Lock keys, set clock and network, restart, update. Text: `system.settings`.
    Settings,
    /// Logs and screenshots. Text: `system.diagnose`.
    Diagnose,
}

impl Permission {
    const OPERATIONS: [(Self, &'static str, DeviceKind); 10] = [
        (Self::PinBlock, "pin.block", DeviceKind::PinPad),
        (Self::PinOffline, "pin.offline", DeviceKind::PinPad),
        (Self::Mac, "crypto.mac", DeviceKind::Crypto),
        (Self::Encrypt, "crypto.encrypt", DeviceKind::Crypto),
        (Self::Sign, "crypto.sign", DeviceKind::Crypto),
        (Self::LoadKeys, "keys.load", DeviceKind::Keys),
        (Self::FormatKeys, "keys.format", DeviceKind::Keys),
        (Self::Packages, "system.packages", DeviceKind::System),
        (Self::Settings, "system.settings", DeviceKind::System),
        (Self::Diagnose, "system.diagnose", DeviceKind::System),
    ];

    /// Every permission: for an app that has all, and for lists.
    pub fn all() -> impl Iterator<Item = Self> {
        let devices = DeviceKind::ALL.iter().map(|kind| Self::Open(*kind));
        devices.chain(Self::OPERATIONS.into_iter().map(|(permission, ..)| permission))
    }

    /// The device it is about.
    pub fn device(self) -> DeviceKind {
        match self {
            Self::Open(kind) => kind,
            other => Self::OPERATIONS
                .into_iter()
                .find(|(permission, ..)| *permission == other)
                .map_or(DeviceKind::Manager, |(.., device)| device),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Open(kind) = self {
            return write!(f, "device.{kind}");
        }
        let row = Self::OPERATIONS.into_iter().find(|(permission, ..)| permission == self);
        f.write_str(row.map_or("", |(_, name, _)| name))
    }
}

impl FromStr for Permission {
    type Err = HalError;

    fn from_str(text: &str) -> Result<Self> {
        Self::all()
            .find(|permission| permission.to_string() == text)
            .ok_or_else(|| HalError::new(ErrorKind::BadParam, DeviceKind::Manager).text("no such permission"))
    }
}

/// What an app was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeSet<Permission>);

impl Permissions {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything: the acquiring app's own host, laboratories.
    pub fn all() -> Self {
        Self(Permission::all().collect())
    }

    /// Adds one.
    #[must_use]
    pub fn with(mut self, permission: Permission) -> Self {
        self.0.insert(permission);
        self
    }

    /// Takes one away.
    #[must_use]
    pub fn without(mut self, permission: Permission) -> Self {
        self.0.remove(&permission);
        self
    }

    /// Whether it is among them.
    pub fn has(&self, permission: Permission) -> bool {
        self.0.contains(&permission)
    }

    /// Reads the texts of a manifest.
    ///
    /// # Errors
    /// A text that names no permission: a manifest that asks for it is refused as a whole.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        texts.into_iter().map(str::parse).collect::<Result<_>>().map(Self)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Permission> {
        self.0.iter().copied()
    }
}

/// How often an app asked for what it was not granted, by permission.
pub type Refusals = BTreeMap<Permission, u64>;

/// Told of each refusal: the app, and what it had no permission for.
pub type OnRefusal = Box<dyn Fn(&AppId, Permission) + Send + Sync>;

struct Gate {
    app: AppId,
    granted: Permissions,
    refusals: Mutex<Refusals>,
    told: Option<OnRefusal>,
}

impl Gate {
    fn need(&self, permission: Permission) -> Result<()> {
        if self.granted.has(permission) {
            return Ok(());
        }
        {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let count = refusals.entry(permission).or_default();
            *count = count.saturating_add(1);
        }
        if let Some(told) = &self.told {
            told(&self.app, permission);
        }
        Err(HalError::new(ErrorKind::PermissionDenied, permission.device())
            .text(format!("{} has not been granted {permission}", self.app)))
    }
}

/// A device manager for one app: it opens what the app was granted, and of PIN pad, key store, crypto box
/// and system it lets through the operations that were granted. Refusals are counted and told.
pub struct Broker {
    manager: Arc<dyn DeviceManager>,
    gate: Arc<Gate>,
}

impl Broker {
    /// Between `app` and the devices.
    pub fn new(manager: Arc<dyn DeviceManager>, app: AppId, granted: Permissions) -> Self {
        Self::build(manager, app, granted, None)
    }

    /// The same, with somebody who is told of refusals: the log, the terminal management.
    pub fn reporting(
        manager: Arc<dyn DeviceManager>,
        app: AppId,
        granted: Permissions,
        told: OnRefusal,
    ) -> Self {
        Self::build(manager, app, granted, Some(told))
    }

    fn build(
        manager: Arc<dyn DeviceManager>,
        app: AppId,
        granted: Permissions,
        told: Option<OnRefusal>,
    ) -> Self {
        Self { manager, gate: Arc::new(Gate { app, granted, refusals: Mutex::default(), told }) }
    }

    /// Whose broker it is.
    pub fn app(&self) -> &AppId {
        &self.gate.app
    }

    /// What was refused so far.
    pub fn refusals(&self) -> Refusals {
        self.gate.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DeviceManager for Broker {
    /// The devices that the app may open; it does not learn of others.
    fn inventory(&self) -> Vec<DeviceEntry> {
        let mut all = self.manager.inventory();
        all.retain(|entry| self.gate.granted.has(Permission::Open(entry.kind)));
        all
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        self.gate.need(Permission::Open(kind))?;
        self.manager.health(kind, index)
    }

    fn login(&self, app: &AppId) -> Result<Session> {
        if *app != self.gate.app {
            return Err(HalError::new(ErrorKind::PermissionDenied, DeviceKind::Manager)
                .text("the session would be another app's"));
        }
        self.manager.login(app)
    }

    fn end_app(&self, app: &AppId) {
        if *app == self.gate.app {
            self.manager.end_app(app);
        }
    }

    fn open_device(
        &self,
        session: &Session,
        kind: DeviceKind,
        index: u8,
        terms: LeaseTerms,
    ) -> Result<(Device, Claim)> {
        self.gate.need(Permission::Open(kind))?;
        if *session.app() != self.gate.app {
            return Err(HalError::new(ErrorKind::PermissionDenied, kind).text("the session is another app's"));
        }
        let (device, claim) = self.manager.open_device(session, kind, index, terms)?;
        let gate = Arc::clone(&self.gate);
        let device = match device {
            Device::PinPad(inner) => Device::PinPad(Arc::new(Gated { gate, inner })),
            Device::Keys(inner) => Device::Keys(Arc::new(Gated { gate, inner })),
            Device::Crypto(inner) => Device::Crypto(Arc::new(Gated { gate, inner })),
            Device::System(inner) => Device::System(Arc::new(Gated { gate, inner })),
            other => other,
        };
        Ok((device, claim))
    }
}

/// A device whose operations are looked at one by one.
struct Gated<D: ?Sized> {
    gate: Arc<Gate>,
    inner: Arc<D>,
}

impl PinPad for Gated<dyn PinPad> {
    fn abilities(&self) -> PinAbilities {
        self.inner.abilities()
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        self.gate.need(Permission::PinBlock)?;
        self.inner.online_pin(request, watch, call)
    }

    fn offline_pin(
        &self,
        request: &OfflinePinRequest,
        watch: PinWatch<'_>,
        call: &Call,
    ) -> Result<OfflinePin> {
        self.gate.need(Permission::PinOffline)?;
        self.inner.offline_pin(request, watch, call)
    }

    fn display(&self, lines: &[&str]) -> Result<()> {
        self.inner.display(lines)
    }
}

impl KeyStore for Gated<dyn KeyStore> {
    fn abilities(&self) -> KeyAbilities {
        self.inner.abilities()
    }

    fn slots(&self) -> Result<Vec<SlotInfo>> {
        self.inner.slots()
    }

    fn kcv(&self, slot: KeySlot) -> Result<Kcv> {
        self.inner.kcv(slot)
    }

    fn load_master(&self, slot: KeySlot, source: &MasterSource<'_>, kcv: Option<Kcv>) -> Result<Kcv> {
        self.gate.need(Permission::LoadKeys)?;
        self.inner.load_master(slot, source, kcv)
    }

    fn load_work_key(&self, key: &WorkKey<'_>) -> Result<()> {
        self.gate.need(Permission::LoadKeys)?;
        self.inner.load_work_key(key)
    }

    fn load_dukpt(&self, slot: KeySlot, ksn: &[u8], cipher: &[u8], kcv: Kcv) -> Result<()> {
        self.gate.need(Permission::LoadKeys)?;
        self.inner.load_dukpt(slot, ksn, cipher, kcv)
    }

    fn delete(&self, slot: KeySlot) -> Result<()> {
        self.gate.need(Permission::LoadKeys)?;
        self.inner.delete(slot)
    }

    fn format(&self) -> Result<()> {
        self.gate.need(Permission::FormatKeys)?;
        self.inner.format()
    }
}

impl CryptoBox for Gated<dyn CryptoBox> {
    fn mac_modes(&self) -> Vec<MacAlgorithm> {
        self.inner.mac_modes()
    }

    fn mac(&self, key: KeySlot, mode: MacAlgorithm, data: &[u8]) -> Result<[u8; 8]> {
        self.gate.need(Permission::Mac)?;
        self.inner.mac(key, mode, data)
    }

    fn encrypt_track(&self, key: KeySlot, track: &CardText) -> Result<CardText> {
        self.gate.need(Permission::Encrypt)?;
        self.inner.encrypt_track(key, track)
    }

    fn encrypt(&self, key: KeySlot, mode: CipherMode, data: &[u8]) -> Result<Vec<u8>> {
        self.gate.need(Permission::Encrypt)?;
        self.inner.encrypt(key, mode, data)
    }

    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        self.inner.random(len)
    }

    fn sm2_sign(&self, digest: &[u8; 32]) -> Result<[u8; 64]> {
        self.gate.need(Permission::Sign)?;
        self.inner.sm2_sign(digest)
    }

    fn sm3(&self, data: &[u8]) -> Result<[u8; 32]> {
        self.inner.sm3(data)
    }
}

impl SystemControl for Gated<dyn SystemControl> {
    fn install(&self, package: &[u8], grants: &[String]) -> Result<()> {
        self.gate.need(Permission::Packages)?;
        self.inner.install(package, grants)
    }

    fn uninstall(&self, app: &str) -> Result<()> {
        self.gate.need(Permission::Packages)?;
        self.inner.uninstall(app)
    }

    fn set_launcher(&self, app: &str) -> Result<()> {
        self.gate.need(Permission::Packages)?;
        self.inner.set_launcher(app)
    }

    fn lock_keys(&self, home: bool, status_bar: bool) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.lock_keys(home, status_bar)
    }

    fn set_time(&self, unix_ms: i64) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.set_time(unix_ms)
    }

    fn reboot(&self) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.reboot()
    }

    fn shutdown(&self) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.shutdown()
    }

    fn apply_ota(&self, image: &[u8]) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.apply_ota(image)
    }

    fn set_apn(&self, name: &str, user: &str, password: &str) -> Result<()> {
        self.gate.need(Permission::Settings)?;
        self.inner.set_apn(name, user, password)
    }

    fn collect_log(&self, from_ms: i64, to_ms: i64, max: usize) -> Result<Vec<u8>> {
        self.gate.need(Permission::Diagnose)?;
        self.inner.collect_log(from_ms, to_ms, max)
    }

    fn screenshot(&self) -> Result<Vec<u8>> {
        self.gate.need(Permission::Diagnose)?;
        self.inner.screenshot()
    }
}
