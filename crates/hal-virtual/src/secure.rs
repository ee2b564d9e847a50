//! The secure part in software: key slots in a vault, sealed values, the terminal serial number. For
//! laboratories, PCs and browsers; a terminal has a chip for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hal::{
    CardText, CryptoBox, DeviceKind, EncryptedPinBlock, ErrorKind, HalError, Kcv, KeyAbilities, KeyAlgorithm,
    KeySlot, KeyStore, MacAlgorithm, MasterSource, PinFormat, Result, SEALED_VALUE_MAX, SecureStore,
    SlotClass, SlotInfo, TENANTS_MAX, TUSN_RANDOM_MAX, TUSN_RANDOM_MIN, TerminalSerial, Tusn, WorkKey,
    WorkKeyClass, is_sealed_name,
};
use hsm::{Hsm, KeyComponent, KeyUsage, Pin, SoftVault, WrappedKey};
use zeroize::Zeroizing;

/// Highest fixed key slot: the track key of tenant 9 has 93, and vendors count to 99.
pub const LAST_SLOT: u8 = 99;
/// Most bytes of one random number.
pub const RANDOM_MAX: usize = 1024;
/// The laboratory's key for terminal serial numbers, in halves whose exclusive-or it is: published, so that
/// a simulated host can check the MAC (`00112233445566778899AABBCCDDEEFF`). It guards nothing.
pub const LAB_TUSN_HALVES: [&str; 2] =
    ["5A4B78691E0F3C2DD2C3F0E19687B4A5", "5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A5A"];

const KEYS_CONTEXT: &[u8] = b"hal key slots";

/// Gives random bytes; a test gives its own.
pub type Random = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// Random bytes of the operating system.
pub fn os_random() -> Random {
    Box::new(|bytes| getrandom::fill(bytes).is_ok())
}

/// What the secure part is made with.
pub struct SecureConfig {
    /// Where keys and sealed values are kept; `None`: in memory, gone with the process.
    pub directory: Option<PathBuf>,
    /// Terminal serial number of the register.
    pub tusn: String,
    /// Device type of the register, two digits.
    pub device_type: String,
    /// Whether it has the key of the serial number. Old terminals answer blanks.
    pub tusn_key: bool,
    /// Random numbers.
    pub random: Random,
}

struct Inner {
    vault: Option<Arc<SoftVault>>,
    slots: BTreeMap<u8, WrappedKey>,
    sealed: BTreeMap<String, Vec<u8>>,
    tusn_key: Option<WrappedKey>,
    random: Random,
    tampered: bool,
}

/// Keys, MACs, PIN blocks and sealed values.
pub struct SecureElement {
    inner: Mutex<Inner>,
    directory: Option<PathBuf>,
    tusn: String,
    device_type: String,
    has_tusn_key: bool,
}

fn fault(text: impl Into<String>) -> HalError {
    HalError::new(ErrorKind::HardwareFault, DeviceKind::SecureStore).text(text)
}

fn class_of(slot: u8) -> Option<SlotClass> {
    match (slot / 10, slot % 10) {
        (0, 0) => Some(SlotClass::Transport),
        (0, 1..=TENANTS_MAX) => Some(SlotClass::Master),
        (1..=TENANTS_MAX, 1) => Some(SlotClass::Work(WorkKeyClass::Pin)),
        (1..=TENANTS_MAX, 2) => Some(SlotClass::Work(WorkKeyClass::Mac)),
        (1..=TENANTS_MAX, 3) => Some(SlotClass::Work(WorkKeyClass::Track)),
        _ => None,
    }
}

const fn usage_of(class: WorkKeyClass) -> KeyUsage {
    match class {
        WorkKeyClass::Pin => KeyUsage::Pin,
        WorkKeyClass::Mac => KeyUsage::Mac,
        WorkKeyClass::Track => KeyUsage::Track,
    }
}

/// Writes a file so that after a power cut either the old or the new one is there.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

impl SecureElement {
    /// Opens what stands in the directory, or begins there.
    ///
    /// # Errors
    /// [`ErrorKind::HardwareFault`] when it cannot be read or does not open.
    pub fn open(config: SecureConfig) -> Result<Self> {
        let element = Self {
            inner: Mutex::new(Inner {
                vault: None,
                slots: BTreeMap::new(),
                sealed: BTreeMap::new(),
                tusn_key: None,
                random: config.random,
                tampered: false,
            }),
            directory: config.directory,
            tusn: config.tusn,
            device_type: config.device_type,
            has_tusn_key: config.tusn_key,
        };
        if element.file("tampered").is_some_and(|path| path.exists()) {
            element.lock().tampered = true;
        } else {
            element.start()?;
        }
        Ok(element)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(name))
    }

    /// Opens or makes the vault and reads what is under it.
    fn start(&self) -> Result<()> {
        let vault = match self.file("vault") {
            None => SoftVault::ephemeral(),
            Some(path) if path.exists() => SoftVault::open_file(path),
            Some(path) => {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory.join("store")).map_err(|error| fault(error.to_string()))?;
                }
                SoftVault::create_file(path)
            }
        };
        let vault = Arc::new(vault.map_err(|error| fault(error.to_string()))?);
        let mut slots = BTreeMap::new();
        if let Some(path) = self.file("keys").filter(|path| path.exists()) {
            let sealed = fs::read(path).map_err(|error| fault(error.to_string()))?;
            let plain = vault.open(KEYS_CONTEXT, &sealed).map_err(|error| fault(error.to_string()))?;
            slots = serde_json::from_slice(&plain).map_err(|_| fault("the key slots cannot be read"))?;
        }
        let tusn_key = if self.has_tusn_key {
            let halves = LAB_TUSN_HALVES.iter().map(|half| KeyComponent::from_hex(half));
            let halves: Vec<_> =
                halves.collect::<std::result::Result<_, _>>().map_err(|e| fault(e.to_string()))?;
            let key = vault.import_components(KeyUsage::Mac, KeyAlgorithm::TripleDes2, &halves);
            Some(key.map_err(|error| fault(error.to_string()))?)
        } else {
            None
        };
        let mut inner = self.lock();
        inner.vault = Some(vault);
        inner.slots = slots;
        inner.tusn_key = tusn_key;
        inner.tampered = false;
        Ok(())
    }

    /// The device was opened: keys, sealed values and the vault itself are gone, on disk as well.
    pub fn tamper(&self) {
        let mut inner = self.lock();
        inner.tampered = true;
        inner.vault = None;
        inner.slots.clear();
        inner.sealed.clear();
        inner.tusn_key = None;
        if let Some(directory) = &self.directory {
            // The mark first: a power cut in the middle leaves a device that knows that it was opened.
            let _marked = write_durably(&directory.join("tampered"), b"");
            let _keys = fs::remove_file(directory.join("keys"));
            let _vault = fs::remove_file(directory.join("vault"));
            let _store = fs::remove_dir_all(directory.join("store"));
        }
    }

    /// The maker's service has seen to it: empty, with a new vault.
    ///
    /// # Errors
    /// As [`SecureElement::open`].
    pub fn repair(&self) -> Result<()> {
        if let Some(path) = self.file("tampered").filter(|path| path.exists()) {
            fs::remove_file(path).map_err(|error| fault(error.to_string()))?;
        }
        self.start()
    }

    /// Whether the device was opened.
    pub fn is_tampered(&self) -> bool {
        self.lock().tampered
    }

    fn vault(&self, device: DeviceKind) -> Result<Arc<SoftVault>> {
        self.lock().vault.clone().ok_or_else(|| HalError::new(ErrorKind::Tampered, device))
    }

    fn key(&self, device: DeviceKind, slot: KeySlot) -> Result<(Arc<SoftVault>, WrappedKey)> {
        let vault = self.vault(device)?;
        let key = match slot {
            KeySlot::Fixed(index) => self.lock().slots.get(&index).cloned(),
            KeySlot::Dukpt(_) => None,
        };
        let key = key.ok_or_else(|| HalError::new(ErrorKind::NoKey, device).text(format!("slot {slot}")))?;
        Ok((vault, key))
    }

    /// Puts a key into its slot, durable before this returns.
    fn keep(&self, slot: u8, key: Option<WrappedKey>) -> Result<()> {
        let vault = self.vault(DeviceKind::Keys)?;
        let mut inner = self.lock();
        let mut slots = inner.slots.clone();
        match key {
            Some(key) => drop(slots.insert(slot, key)),
            None => drop(slots.remove(&slot)),
        }
        self.save(&vault, &slots)?;
        inner.slots = slots;
        Ok(())
    }

    fn save(&self, vault: &SoftVault, slots: &BTreeMap<u8, WrappedKey>) -> Result<()> {
        let Some(path) = self.file("keys") else { return Ok(()) };
        let plain = serde_json::to_vec(slots).map_err(|_| fault("the key slots cannot be written"))?;
        let sealed =
            vault.seal(KEYS_CONTEXT, &plain).map_err(|error| HalError::from_hsm(DeviceKind::Keys, &error))?;
        write_durably(&path, &sealed).map_err(|error| fault(error.to_string()))
    }

    /// The PIN block of digits that were typed inside this device.
    ///
    /// # Errors
    /// As [`hal::PinPad::online_pin`].
    pub fn pin_block(
        &self,
        digits: &str,
        pan: &CardText,
        slot: KeySlot,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock> {
        let (vault, key) = self.key(DeviceKind::PinPad, slot)?;
        let wrong = |error: hsm::HsmError| HalError::from_hsm(DeviceKind::PinPad, &error);
        let pin = Pin::new(digits).map_err(wrong)?;
        vault.encrypt_pin(&pin, pan.reveal(), &key, format).map_err(wrong)
    }

    /// Whether a PIN block could be made from this slot: asked before the holder types.
    ///
    /// # Errors
    /// [`ErrorKind::NoKey`], [`ErrorKind::BadParam`], [`ErrorKind::Tampered`].
    pub fn pin_key_fits(&self, slot: KeySlot, format: PinFormat) -> Result<()> {
        let (_, key) = self.key(DeviceKind::PinPad, slot)?;
        if key.usage() != KeyUsage::Pin || !format.fits(key.algorithm()) {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::PinPad)
                .text("the key in the slot does not go with this PIN block"));
        }
        Ok(())
    }

    /// Enciphers a track, for the crypto box and inside the stripe reader.
    ///
    /// # Errors
    /// As [`CryptoBox::encrypt_track`].
    pub fn encrypt_track(&self, device: DeviceKind, slot: KeySlot, track: &CardText) -> Result<CardText> {
        let (vault, key) = self.key(device, slot)?;
        let digits = vault.encrypt_track(track.reveal(), &key);
        digits.map(|digits| CardText::new(&digits)).map_err(|error| HalError::from_hsm(device, &error))
    }

    /// Random bytes.
    ///
    /// # Errors
    /// [`ErrorKind::HardwareFault`].
    pub fn fill(&self, device: DeviceKind, bytes: &mut [u8]) -> Result<()> {
        let drawn = (self.lock().random)(bytes);
        if drawn {
            Ok(())
        } else {
            Err(HalError::new(ErrorKind::HardwareFault, device).text("no randomness"))
        }
    }
}

impl KeyStore for SecureElement {
    fn abilities(&self) -> KeyAbilities {
        KeyAbilities {
            algorithms: vec![KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4],
            last_slot: LAST_SLOT,
            dukpt_slots: 0,
            key_blocks: true,
            under_transport: false,
            components: true,
        }
    }

    fn slots(&self) -> Result<Vec<SlotInfo>> {
        self.vault(DeviceKind::Keys)?;
        let inner = self.lock();
        let filled = inner.slots.iter().filter_map(|(slot, key)| {
            let (algorithm, kcv) = (key.algorithm(), key.kcv());
            Some(SlotInfo { slot: KeySlot::Fixed(*slot), class: class_of(*slot)?, algorithm, kcv })
        });
        Ok(filled.collect())
    }

    fn kcv(&self, slot: KeySlot) -> Result<Kcv> {
        self.key(DeviceKind::Keys, slot).map(|(_, key)| key.kcv())
    }

    fn load_master(&self, slot: KeySlot, source: &MasterSource<'_>, kcv: Option<Kcv>) -> Result<Kcv> {
        let bad = |text: &str| HalError::new(ErrorKind::BadParam, DeviceKind::Keys).text(text);
        let KeySlot::Fixed(index) = slot else { return Err(bad("master keys have fixed slots")) };
        let usage = match class_of(index) {
            Some(SlotClass::Transport) => KeyUsage::BlockProtection,
            Some(SlotClass::Master) => KeyUsage::TerminalMaster,
            _ => return Err(bad("not the slot of a master key")),
        };
        let vault = self.vault(DeviceKind::Keys)?;
        let key = match source {
            MasterSource::KeyBlock(block) => {
                let (_, protection) = self.key(DeviceKind::Keys, KeySlot::TRANSPORT)?;
                vault.import_block(usage, block, &protection).map(|(key, _)| key)
            }
            MasterSource::Components { algorithm, components } => {
                vault.import_components(usage, *algorithm, components)
            }
            _ => return HalError::not_supported(DeviceKind::Keys),
        };
        let key = key.map_err(|error| HalError::from_hsm(DeviceKind::Keys, &error))?;
        let found = key.kcv();
        if kcv.is_some_and(|wanted| wanted != found) {
            return Err(HalError::new(ErrorKind::KcvMismatch, DeviceKind::Keys).text(format!("slot {slot}")));
        }
        self.keep(index, Some(key))?;
        Ok(found)
    }

    fn load_work_key(&self, work: &WorkKey<'_>) -> Result<()> {
        let bad = |text: &str| HalError::new(ErrorKind::BadParam, DeviceKind::Keys).text(text);
        let KeySlot::Fixed(index) = work.slot else { return HalError::not_supported(DeviceKind::Keys) };
        if class_of(index) != Some(SlotClass::Work(work.class)) {
            return Err(bad("not the slot of such a key"));
        }
        let (vault, master) = self.key(DeviceKind::Keys, work.master)?;
        let key = vault
            .import(usage_of(work.class), work.algorithm, work.cipher, &master)
            .map_err(|error| HalError::from_hsm(DeviceKind::Keys, &error))?;
        if key.kcv() != work.kcv {
            return Err(
                HalError::new(ErrorKind::KcvMismatch, DeviceKind::Keys).text(format!("slot {}", work.slot))
            );
        }
        self.keep(index, Some(key))
    }

    fn delete(&self, slot: KeySlot) -> Result<()> {
        match slot {
            KeySlot::Fixed(index) => self.keep(index, None),
            KeySlot::Dukpt(_) => Ok(()),
        }
    }

    fn format(&self) -> Result<()> {
        let vault = self.vault(DeviceKind::Keys)?;
        self.save(&vault, &BTreeMap::new())?;
        self.lock().slots.clear();
        Ok(())
    }
}

impl CryptoBox for SecureElement {
    fn mac_modes(&self) -> Vec<MacAlgorithm> {
        use MacAlgorithm as M;
        let retail = [(false, false), (false, true), (true, false), (true, true)];
        let mut modes = vec![M::CupEcb, M::X99, M::X99Hex, M::Sm4Cup, M::CupsCbc, M::CupsSm4];
        modes.extend(retail.map(|(pad80, hex)| M::X919 { pad80, hex }));
        modes
    }

    fn mac(&self, slot: KeySlot, mode: MacAlgorithm, data: &[u8]) -> Result<[u8; 8]> {
        let (vault, key) = self.key(DeviceKind::Crypto, slot)?;
        vault.mac(&key, mode, data).map_err(|error| HalError::from_hsm(DeviceKind::Crypto, &error))
    }

    fn encrypt_track(&self, slot: KeySlot, track: &CardText) -> Result<CardText> {
        SecureElement::encrypt_track(self, DeviceKind::Crypto, slot, track)
    }

    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        if len == 0 || len > RANDOM_MAX {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Crypto).text("1 to 1024 bytes"));
        }
        let mut bytes = Zeroizing::new(vec![0; len]);
        self.fill(DeviceKind::Crypto, &mut bytes)?;
        Ok(bytes)
    }
}

impl TerminalSerial for SecureElement {
    fn tusn(&self, random: &str, app_version: &str) -> Result<Tusn> {
        let bad = |text: &str| HalError::new(ErrorKind::BadParam, DeviceKind::Tusn).text(text);
        if !(TUSN_RANDOM_MIN..=TUSN_RANDOM_MAX).contains(&random.len())
            || !random.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return Err(bad("the random factor has 4 to 10 letters or digits"));
        }
        if app_version.len() > 8 || !app_version.is_ascii() {
            return Err(bad("the version has at most eight characters"));
        }
        let vault = self.vault(DeviceKind::Tusn)?;
        let key = self.lock().tusn_key.clone();
        let cipher = match key {
            None => " ".repeat(8),
            Some(key) => {
                let input = format!("{random}{}", self.tusn);
                let mac = vault
                    .mac(&key, MacAlgorithm::CupEcb, input.as_bytes())
                    .map_err(|error| HalError::from_hsm(DeviceKind::Tusn, &error))?;
                String::from_utf8_lossy(&mac).into_owned()
            }
        };
        Ok(Tusn {
            device_type: self.device_type.clone(),
            serial: self.tusn.clone(),
            random: random.to_owned(),
            cipher,
            app_version: format!("{app_version:<8}"),
        })
    }
}

fn sealed_context(name: &str) -> Vec<u8> {
    [b"hal sealed value ", name.as_bytes()].concat()
}

impl SecureStore for SecureElement {
    fn put(&self, name: &str, value: &[u8]) -> Result<()> {
        if !is_sealed_name(name) || value.len() > SEALED_VALUE_MAX {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::SecureStore).text("name or size"));
        }
        let vault = self.vault(DeviceKind::SecureStore)?;
        let sealed = vault
            .seal(&sealed_context(name), value)
            .map_err(|error| HalError::from_hsm(DeviceKind::SecureStore, &error))?;
        // Under the lock, so that two writers of one name do not share the file beside it.
        let mut inner = self.lock();
        match self.file("store") {
            Some(directory) => write_durably(&directory.join(format!("{name}.sealed")), &sealed)
                .map_err(|error| fault(error.to_string())),
            None => {
                inner.sealed.insert(name.to_owned(), sealed);
                Ok(())
            }
        }
    }

    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let vault = self.vault(DeviceKind::SecureStore)?;
        if !is_sealed_name(name) {
            return Ok(None);
        }
        let sealed = match self.file("store") {
            Some(directory) => match fs::read(directory.join(format!("{name}.sealed"))) {
                Ok(sealed) => Some(sealed),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(fault(error.to_string())),
            },
            None => self.lock().sealed.get(name).cloned(),
        };
        let Some(sealed) = sealed else { return Ok(None) };
        vault.open(&sealed_context(name), &sealed).map(Some).map_err(|error| fault(error.to_string()))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.vault(DeviceKind::SecureStore)?;
        if !is_sealed_name(name) {
            return Ok(());
        }
        let Some(directory) = self.file("store") else {
            self.lock().sealed.remove(name);
            return Ok(());
        };
        match fs::remove_file(directory.join(format!("{name}.sealed"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fault(error.to_string())),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>> {
        self.vault(DeviceKind::SecureStore)?;
        let Some(directory) = self.file("store") else {
            return Ok(self.lock().sealed.keys().cloned().collect());
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(|error| fault(error.to_string()))? {
            let name = entry.map_err(|error| fault(error.to_string()))?.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".sealed")).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}
