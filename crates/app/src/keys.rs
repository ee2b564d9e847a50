//! The device's key slots as the security module of the protocol: keys go into slots, MACs and enciphered tracks come out,
//! and PIN blocks are the PIN pad's.
//!
//! Slots, of one tenant *t*: master key *t* (its SM4 form in *t* + 1, so that tenants are odd numbers: modelled), working
//! keys 10*t* + 1 to 3, and those of *t* + 1 for every other sign-in, so that keys that fail their check value leave the
//! old ones in place.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use hal::{
    CardText, CryptoBox, DeviceManager, ErrorKind, HalError, KeySlot, KeyStore, Lease, LeaseTerms,
    OpenDevice, SecureStore, Session, WorkKey, WorkKeyClass,
};
#[cfg(feature = "lab")]
use hsm::KeyAlgorithm;
use hsm::{EncryptedPinBlock, ExportedKey, MacAlgorithm, Pin, PinFormat, key_blob};
use iso8583::{KeyLayout as Form, Profile};
use pos::{KeyLayout, KeyRef, MasterKeyChecks, MasterKeys, PosError, Security, TmkComponent, WorkingKeys};
use zeroize::Zeroizing;

/// Name of the data key in the secure store.
const DATA_KEY: &str = "app.data-key";
const NONCE: usize = 12;

/// Key slots, crypto box and secure store of a device, held for as long as the app runs.
pub struct DeviceKeys {
    keys: Lease<dyn KeyStore>,
    crypto: Lease<dyn CryptoBox>,
    tenant: u8,
    data_key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceKeys").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl DeviceKeys {
    /// Takes the devices. The key for what the app keeps on disk is drawn once and stays in the secure store.
    ///
    /// # Errors
    /// A device that is not there, not granted, or held by another app.
    pub fn open(manager: &dyn DeviceManager, session: &Session, tenant: u8) -> Result<Self, HalError> {
        let keys = manager.open::<dyn KeyStore>(session, 0, LeaseTerms::open_end())?;
        let crypto = manager.open::<dyn CryptoBox>(session, 0, LeaseTerms::open_end())?;
        let store = manager.open::<dyn SecureStore>(session, 0, LeaseTerms::open_end())?;
        let data_key = match store.get()?.get(DATA_KEY)? {
            Some(key) => key,
            None => {
                let key = crypto.get()?.random(32)?;
                store.get()?.put(DATA_KEY, &key)?;
                key
            }
        };
        Ok(Self { keys, crypto, tenant, data_key })
    }

    /// The slot that a key's name means.
    ///
    /// # Errors
    /// A name that is no slot's.
    pub fn slot(key: &KeyRef) -> Result<KeySlot, PosError> {
        let number = key.0.strip_prefix("slot ").and_then(|number| number.parse().ok());
        number
            .map(KeySlot::Fixed)
            .ok_or_else(|| PosError::Security("this key is not in a slot of the device".into()))
    }

    fn cipher(&self) -> Result<Aes256Gcm, PosError> {
        Aes256Gcm::new_from_slice(&self.data_key)
            .map_err(|_| PosError::Security("the data key has another length".into()))
    }

    fn master(&self, layout: KeyLayout) -> Result<KeySlot, PosError> {
        let tenant = if layout == KeyLayout::Sm4 { self.tenant + 1 } else { self.tenant };
        KeySlot::master(tenant).ok_or_else(|| PosError::Security("there is no such tenant".into()))
    }

    fn load(
        &self,
        class: WorkKeyClass,
        key: &ExportedKey,
        layout: KeyLayout,
        second: bool,
    ) -> Result<KeyRef, PosError> {
        let no_slot = || PosError::Security("there is no such tenant".into());
        let tenant = if second { self.tenant + 1 } else { self.tenant };
        let KeySlot::Fixed(number) = KeySlot::working(tenant, class).ok_or_else(no_slot)? else {
            return Err(no_slot());
        };
        let loaded = self.keys.get().and_then(|store| {
            store.load_work_key(&WorkKey {
                class,
                master: self.master(layout).map_err(|error| {
                    HalError::new(ErrorKind::NoKey, hal::DeviceKind::Keys).text(error.to_string())
                })?,
                slot: KeySlot::Fixed(number),
                algorithm: key.algorithm,
                cipher: &key.cipher,
                kcv: key.kcv,
            })
        });
        match loaded {
            Ok(()) => Ok(KeyRef(format!("slot {number}"))),
            Err(error) => Err(PosError::KeysRefused(error.to_string())),
        }
    }
}

/// A device's refusal, as the protocol takes it.
fn refused(error: HalError) -> PosError {
    PosError::Security(error.to_string())
}

impl Security for DeviceKeys {
    #[cfg(feature = "lab")]
    fn load_master(
        &self,
        components: &[TmkComponent],
        check: Option<&str>,
    ) -> Result<(MasterKeys, MasterKeyChecks), PosError> {
        let clear = |checked| -> Result<Vec<_>, PosError> {
            components.iter().map(|component| component.component(checked)).collect()
        };
        let wanted = match check {
            Some(check) => {
                Some(check.parse().map_err(|error: hsm::HsmError| PosError::CheckValue(error.to_string()))?)
            }
            None => None,
        };
        let store = self.keys.get().map_err(refused)?;
        let put = |layout, algorithm, kcv, checked| {
            let components = clear(checked)?;
            let source = hal::MasterSource::Components { algorithm, components: &components };
            store.load_master(self.master(layout)?, &source, kcv).map_err(|error| match error.kind {
                ErrorKind::KcvMismatch => PosError::CheckValue(error.to_string()),
                _ => refused(error),
            })
        };
        let des = put(KeyLayout::TripleDes, KeyAlgorithm::TripleDes2, wanted, true)?;
        let sm4 = put(KeyLayout::Sm4, KeyAlgorithm::Sm4, None, false)?;
        let named = |layout| -> Result<Option<KeyRef>, PosError> {
            match self.master(layout)? {
                KeySlot::Fixed(number) => Ok(Some(KeyRef(format!("slot {number}")))),
                KeySlot::Dukpt(_) => Ok(None),
            }
        };
        let masters = MasterKeys { des: named(KeyLayout::TripleDes)?, sm4: named(KeyLayout::Sm4)? };
        Ok((masters, MasterKeyChecks { des: des.to_string(), sm4: Some(sm4.to_string()) }))
    }

    #[cfg(not(feature = "lab"))]
    fn load_master(
        &self,
        _: &[TmkComponent],
        _: Option<&str>,
    ) -> Result<(MasterKeys, MasterKeyChecks), PosError> {
        Err(PosError::Security("master keys come into this device by its own ways".into()))
    }

    fn installed_master(&self) -> Result<Option<(MasterKeys, MasterKeyChecks)>, PosError> {
        let slots = self.keys.get().and_then(|store| store.slots()).map_err(refused)?;
        let find = |layout| -> Result<Option<(KeyRef, String)>, PosError> {
            let wanted = self.master(layout)?;
            let found = slots.iter().find(|slot| slot.slot == wanted);
            Ok(found.map(|found| (KeyRef(format!("slot {wanted}")), found.kcv.to_string())))
        };
        let (des, sm4) = (find(KeyLayout::TripleDes)?, find(KeyLayout::Sm4)?);
        let Some((des, check)) = des else { return Ok(None) };
        let (sm4, sm4_check) = sm4.unzip();
        Ok(Some((MasterKeys { des: Some(des), sm4 }, MasterKeyChecks { des: check, sm4: sm4_check })))
    }

    fn load_working(
        &self,
        master: &MasterKeys,
        current: Option<&WorkingKeys>,
        layout: KeyLayout,
        profile: &Profile,
        field62: &[u8],
    ) -> Result<WorkingKeys, PosError> {
        master.for_layout(layout)?;
        let parsed = match profile.key_layout {
            Form::Blocks => key_blob::parse_key_blob(layout.blob(), field62),
            Form::Records => key_blob::parse_key_records(layout.blob(), field62),
        };
        let parsed = parsed.map_err(|error| PosError::KeysRefused(error.to_string()))?;
        // Beside those in use: a key that is refused takes none of them with it.
        let first = KeySlot::working(self.tenant, WorkKeyClass::Pin);
        let second = current.and_then(|keys| Self::slot(&keys.pin).ok()) == first && first.is_some();
        let pin = self.load(WorkKeyClass::Pin, &parsed.pin, layout, second)?;
        let mac = self.load(WorkKeyClass::Mac, &parsed.mac, layout, second)?;
        let track = match &parsed.track {
            Some(track) => Some(self.load(WorkKeyClass::Track, track, layout, second)?),
            None => None,
        };
        Ok(WorkingKeys { layout, pin, mac, track })
    }

    fn mac(&self, key: &KeyRef, algorithm: MacAlgorithm, block: &[u8]) -> Result<[u8; 8], PosError> {
        let slot = Self::slot(key)?;
        self.crypto.get().and_then(|crypto| crypto.mac(slot, algorithm, block)).map_err(refused)
    }

    fn verify_mac(
        &self,
        key: &KeyRef,
        algorithm: MacAlgorithm,
        block: &[u8],
        mac: &[u8],
    ) -> Result<bool, PosError> {
        let own = self.mac(key, algorithm, block)?;
        let differs = own.iter().zip(mac).fold(0_u8, |differs, (a, b)| differs | (a ^ b));
        Ok(mac.len() == own.len() && differs == 0)
    }

    fn encrypt_pin(&self, _: &KeyRef, _: &Pin, _: &str, _: PinFormat) -> Result<EncryptedPinBlock, PosError> {
        Err(PosError::Security("PIN blocks are made by the PIN pad of the device".into()))
    }

    fn encrypt_track(&self, key: &KeyRef, track: &str) -> Result<String, PosError> {
        let slot = Self::slot(key)?;
        let text = CardText::new(track);
        let sealed = self.crypto.get().and_then(|crypto| crypto.encrypt_track(slot, &text));
        Ok(sealed.map_err(refused)?.reveal().to_owned())
    }

    fn seal(&self, context: &[u8], text: &[u8]) -> Result<Vec<u8>, PosError> {
        let nonce = self.crypto.get().and_then(|crypto| crypto.random(NONCE)).map_err(refused)?;
        let broken = |_| PosError::Security("it cannot be sealed".into());
        let number =
            nonce.as_slice().try_into().map_err(|_| PosError::Security("no random number".into()))?;
        let sealed = self.cipher()?.encrypt(number, Payload { msg: text, aad: context }).map_err(broken)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PosError> {
        let broken = || PosError::Security("it was sealed by another device, or is damaged".into());
        let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or_else(broken)?;
        let payload = Payload { msg: text, aad: context };
        self.cipher()?.decrypt(nonce.into(), payload).map(Zeroizing::new).map_err(|_| broken())
    }
}
