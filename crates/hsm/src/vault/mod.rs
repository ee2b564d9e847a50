//! The security module in software.

mod cache;
mod file;
mod ring;
mod rotation;
mod seal;
mod wrap;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use ring::{KeyRing, MasterKey};
pub use rotation::{MasterRole, MasterState};
pub use seal::SEAL_OVERHEAD;

use crate::component::{KeyComponent, combine};
use crate::emv::CardContext;
use crate::key::{ExportedKey, Kcv, KeyAlgorithm, KeyUsage, WrappedKey};
use crate::mac::MacAlgorithm;
use crate::pin::{EncryptedPinBlock, Pin, PinFormat, PinReference};
use crate::primitives::{self, BlockKey, hmac_sha256, take};
use crate::tr31::{Exportability, KeyBlockHeader, OptionalBlock};
use crate::track::TrackData;
use crate::{Hsm, HsmError, rules};
use cache::ScheduleCache;
pub(crate) use seal::SealKey;
#[cfg(feature = "pkcs11")]
pub(crate) use seal::{BlockCipher, open as open_sealed};
pub(crate) use wrap::ClearKey;
use wrap::Wrapper;

/// Why a vault cannot be opened or made. Each says what an operator can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No such file.
    #[error(
        "no vault file at {path}: restore it from its backup, or create one on purpose if this is a new \
         installation; it is never made silently, because without the old one nothing encrypted under it \
         can be read"
    )]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// Creating would overwrite.
    #[error("{path} exists already: a vault file is never overwritten, move it away first")]
    Exists {
        /// The file.
        path: String,
    },
    /// Readable or writable by others.
    #[error(
        "{path} has mode {mode:04o}: others could read the master key; make it its owner's alone (chmod 600)"
    )]
    Permissions {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Belongs to another user.
    #[error("{path} belongs to another user than the one this process runs as")]
    Owner {
        /// The file.
        path: String,
    },
    /// Not a vault file, or no longer.
    #[error("{path} is not a usable vault file: {reason}; restore it from its backup")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it, without any value.
        reason: &'static str,
    },
    /// The file holds no master key: it is entered as components.
    #[error("{path} holds no master key: enter its components")]
    ComponentsNeeded {
        /// The file.
        path: String,
    },
    /// A rotation of the master key is under way.
    #[error(
        "{path} holds an older master key still: finish the rotation (`posp key rotate`), then `posp key retire`"
    )]
    RotationOpen {
        /// The file.
        path: String,
    },
    /// There is no master key to put in force.
    #[error("{path} holds no prepared master key: `posp key prepare` makes one")]
    NothingPrepared {
        /// The file.
        path: String,
    },
    /// Another master key than the one the data was written with.
    #[error(
        "wrong master key: the data was written under {expected}, this is {found}; nothing was changed, \
         start again with the right vault file or components"
    )]
    WrongMaster {
        /// Fingerprint or check value that was expected.
        expected: String,
        /// The one at hand.
        found: String,
    },
    /// The file system refused.
    #[error("{path} cannot be read or written")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// A key was refused.
    #[error(transparent)]
    Hsm(#[from] HsmError),
}

/// A security module in software: every key under an AES-256 master key that stays in this process.
///
/// The schedules of PIN, MAC, track and master keys used lately are kept in memory, bounded and wiped when
/// they are thrown out; every other clear key exists on the stack for the length of one call. What a process
/// of the same user can read from this one's memory it cannot hide; that takes a hardware module behind the
/// same trait.
pub struct SoftVault {
    keys: RwLock<Arc<Keys>>,
    schedules: ScheduleCache,
    /// The file it came from, and what the file looked like.
    origin: Option<(PathBuf, Mutex<Option<Stamp>>)>,
}

type Stamp = (u64, i64, i64);

/// A master key in use.
#[derive(Clone)]
struct Generation {
    wrapper: Wrapper,
    fingerprint: String,
}

impl Generation {
    fn new(master: &MasterKey) -> Result<Self, VaultError> {
        Ok(Self { wrapper: Wrapper::new(master.bytes()), fingerprint: master.fingerprint()? })
    }
}

/// Everything that a rotation exchanges.
#[derive(Clone)]
struct Keys {
    current: Generation,
    /// The next one: it opens keys, and none is made under it yet.
    prepared: Option<Generation>,
    /// Master keys before it, the newest first: they open what is not re-wrapped yet.
    older: Vec<Generation>,
    /// Master keys that the file has given up since this process began: it may hold keys under them.
    kept: Vec<Generation>,
    /// The one that is in force wherever the journal is, once somebody has said so ([`Hsm::put_in_force`]).
    said: Option<String>,
    ring: KeyRing,
    /// The ring's data keys, the sealing one first.
    data: Vec<SealKey>,
    digest: Hmac<Sha256>,
}

impl Keys {
    fn new(
        master: &MasterKey,
        prepared: Option<&MasterKey>,
        older: &[MasterKey],
        ring: KeyRing,
    ) -> Result<Self, VaultError> {
        let current = Generation::new(master)?;
        let mut data = Vec::with_capacity(ring.data.len());
        for key in &ring.data {
            let clear = Zeroizing::new(take::<32>(current.wrapper.unwrap(key)?.as_ref()));
            data.push(SealKey::new(key.kcv(), &clear)?);
        }
        let clear = current.wrapper.unwrap(&ring.digest)?;
        let digest =
            <Hmac<Sha256> as KeyInit>::new_from_slice(clear.as_ref()).map_err(|_| HsmError::KeyLength {
                algorithm: KeyAlgorithm::HmacSha256,
                wanted: 32,
                found: clear.as_ref().len(),
            })?;
        let prepared = prepared.map(Generation::new).transpose()?;
        let older = older.iter().map(Generation::new).collect::<Result<_, _>>()?;
        Ok(Self { current, prepared, older, kept: Vec::new(), said: None, ring, data, digest })
    }

    fn generations(&self) -> impl Iterator<Item = &Generation> {
        std::iter::once(&self.current).chain(&self.prepared).chain(&self.older).chain(&self.kept)
    }

    /// Opens a key under whichever master key it is.
    fn unwrap(&self, key: &WrappedKey) -> Result<ClearKey, HsmError> {
        let foreign = HsmError::ForeignKey { usage: key.usage() };
        self.generations().find_map(|generation| generation.wrapper.unwrap(key).ok()).ok_or(foreign)
    }
}

impl SoftVault {
    /// Opens a vault from a master key and the key ring that belongs to it.
    ///
    /// # Errors
    /// The ring is under another master key.
    pub fn new(master: &MasterKey, ring: KeyRing) -> Result<Self, VaultError> {
        Self::with(Keys::new(master, None, &[], ring)?, None)
    }

    fn with(keys: Keys, origin: Option<(PathBuf, Mutex<Option<Stamp>>)>) -> Result<Self, VaultError> {
        Ok(Self { keys: RwLock::new(Arc::new(keys)), schedules: ScheduleCache::new(), origin })
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A vault with a random master key that nobody keeps: for demos, simulators and tests. What is
    /// sealed by it cannot be read after it is gone.
    ///
    /// # Errors
    /// No randomness.
    pub fn ephemeral() -> Result<Self, VaultError> {
        let master = MasterKey::generate()?;
        let ring = KeyRing::generate(&master)?;
        Self::new(&master, ring)
    }

    /// Opens a vault file that holds its master key.
    ///
    /// # Errors
    /// Missing, damaged, readable by others, another owner's, or made for components.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self, VaultError> {
        let path = path.as_ref();
        // The stamp is taken before reading: a change between the two is seen at the next look.
        let stamp = Mutex::new(file::stamp(path));
        Self::with(Self::read(path)?, Some((path.to_owned(), stamp)))
    }

    fn read(path: &Path) -> Result<Keys, VaultError> {
        let file = file::read(path)?;
        let shown = || path.display().to_string();
        let master = file.master.ok_or_else(|| VaultError::ComponentsNeeded { path: shown() })?;
        Keys::new(&master, file.prepared.as_ref(), &file.older, file.ring).map_err(|_| VaultError::Damaged {
            path: shown(),
            reason: "its key ring is not under its master key",
        })
    }

    /// Makes a vault file with a fresh master key, readable by its owner alone, on disk before this
    /// returns. Never overwrites.
    ///
    /// # Errors
    /// The file exists; the file system refuses; no randomness.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self, VaultError> {
        Self::create(path.as_ref(), &MasterKey::generate()?, true)
    }

    /// Makes a vault file whose master key is the exclusive-or of these components, so that their holders
    /// can rebuild it; otherwise as [`SoftVault::create_file`].
    ///
    /// # Errors
    /// As there; fewer than two components, or one whose check value is wrong.
    pub fn create_file_from_components(
        path: impl AsRef<Path>,
        components: &[KeyComponent],
    ) -> Result<Self, VaultError> {
        Self::create(path.as_ref(), &MasterKey::from_components(components, None)?, true)
    }

    /// Makes a vault file that holds the key ring alone: the master key stays with the holders of its
    /// components, who enter them at every start.
    ///
    /// # Errors
    /// As [`SoftVault::create_file_from_components`]; the combined key has another check value.
    pub fn create_ring_file(
        path: impl AsRef<Path>,
        components: &[KeyComponent],
        check: Option<Kcv>,
    ) -> Result<Self, VaultError> {
        Self::create(path.as_ref(), &MasterKey::from_components(components, check)?, false)
    }

    /// Opens a vault file by entering the components of its master key.
    ///
    /// # Errors
    /// As [`SoftVault::open_file`]; [`VaultError::WrongMaster`] when the components make another key.
    pub fn open_ring_file(path: impl AsRef<Path>, components: &[KeyComponent]) -> Result<Self, VaultError> {
        let file = file::read(path.as_ref())?;
        let master = MasterKey::from_components(components, None)?;
        let found = master.check_value()?;
        if found != file.check {
            return Err(VaultError::WrongMaster {
                expected: file.check.to_string(),
                found: found.to_string(),
            });
        }
        Self::new(&master, file.ring)
    }

    fn create(path: &Path, master: &MasterKey, keep_master: bool) -> Result<Self, VaultError> {
        let ring = KeyRing::generate(master)?;
        let kept = keep_master.then(|| MasterKey::from_bytes(master.bytes()));
        let content = file::VaultFile {
            check: master.check_value()?,
            master: kept,
            prepared: None,
            older: Vec::new(),
            ring,
        };
        file::create(path, &content)?;
        Self::new(master, content.ring)
    }

    /// Opens a vault from components and a key ring kept elsewhere.
    ///
    /// # Errors
    /// A component or check value is wrong, or the ring is under another master key.
    pub fn from_components(
        components: &[KeyComponent],
        check: Option<Kcv>,
        ring: KeyRing,
    ) -> Result<Self, VaultError> {
        Self::new(&MasterKey::from_components(components, check)?, ring)
    }

    /// Names the master key, as [`Hsm::fingerprint`] does.
    pub fn fingerprint(&self) -> String {
        self.keys().current.fingerprint.clone()
    }

    /// Refuses to go on with data written under another master key.
    ///
    /// # Errors
    /// [`VaultError::WrongMaster`].
    pub fn check_fingerprint(&self, expected: &str) -> Result<(), VaultError> {
        let keys = self.keys();
        if keys.generations().any(|generation| generation.fingerprint == expected) {
            return Ok(());
        }
        let found = keys.current.fingerprint.clone();
        Err(VaultError::WrongMaster { expected: expected.to_owned(), found })
    }

    /// The key ring, wrapped.
    pub fn ring(&self) -> KeyRing {
        self.keys().ring.clone()
    }

    /// Opens a key. One that no master key opens may be under a newer one than this process has read.
    fn unwrap(&self, key: &WrappedKey) -> Result<ClearKey, HsmError> {
        match self.keys().unwrap(key) {
            Err(_) if self.refresh() == Ok(true) => self.keys().unwrap(key),
            result => result,
        }
    }

    fn wrap(&self, usage: KeyUsage, algorithm: KeyAlgorithm, clear: &[u8]) -> Result<WrappedKey, HsmError> {
        self.keys().current.wrapper.wrap(usage, algorithm, clear)
    }

    /// Key schedule of a wrapped key after checking its usage.
    fn block_key(&self, key: &WrappedKey, usage: KeyUsage) -> Result<Arc<BlockKey>, HsmError> {
        key.require(usage)?;
        self.schedules.get(key, || BlockKey::new(key.algorithm(), self.unwrap(key)?.as_ref()))
    }

    /// Schedule of a key that sends others, when it may send one of this usage and algorithm.
    fn transport(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        under: &WrappedKey,
    ) -> Result<Arc<BlockKey>, HsmError> {
        rules::may_transport(usage, algorithm, under)?;
        self.block_key(under, under.usage())
    }

    fn read_pin(&self, block: &EncryptedPinBlock, key: &WrappedKey, pan: &str) -> Result<Pin, HsmError> {
        rules::pin_key(key, block.format)?;
        match &*self.block_key(key, KeyUsage::Pin)? {
            BlockKey::Des(key) => {
                let clear = Zeroizing::new(key.decrypt(take(block.bytes())));
                primitives::pin::read_iso0(&clear, pan)
            }
            BlockKey::Sm4(key) => {
                let clear = Zeroizing::new(key.decrypt(take(block.bytes())));
                primitives::pin::read_sm4(&clear, pan)
            }
        }
    }

    fn reference(&self, pin: &Pin, pan: &str, key: &WrappedKey) -> Result<PinReference, HsmError> {
        let input = rules::reference_input(pin, pan, key)?;
        let clear = self.unwrap(key)?;
        hmac_sha256(clear.as_ref(), &[&input]).map(PinReference).ok_or(HsmError::Pin)
    }
}

impl fmt::Debug for SoftVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftVault").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Hsm for SoftVault {
    fn fingerprint(&self) -> String {
        Self::fingerprint(self)
    }

    fn fingerprints(&self) -> Vec<String> {
        self.keys().generations().map(|generation| generation.fingerprint.clone()).collect()
    }

    fn refresh(&self) -> Result<bool, HsmError> {
        self.read_again()
    }

    fn put_in_force(&self, fingerprint: &str) -> Result<bool, HsmError> {
        self.follow(fingerprint)
    }

    fn rewrap(&self, key: &WrappedKey) -> Result<Option<WrappedKey>, HsmError> {
        if self.keys().current.wrapper.unwrap(key).is_ok() {
            return Ok(None);
        }
        self.wrap(key.usage(), key.algorithm(), self.unwrap(key)?.as_ref()).map(Some)
    }

    fn generate(&self, usage: KeyUsage, algorithm: KeyAlgorithm) -> Result<WrappedKey, HsmError> {
        rules::may_exist(usage, algorithm)?;
        self.wrap(usage, algorithm, ClearKey::random(algorithm)?.as_ref())
    }

    fn import_components_checked(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        components: &[KeyComponent],
        check: Option<Kcv>,
    ) -> Result<WrappedKey, HsmError> {
        rules::may_come_in(usage, algorithm, components.len())?;
        self.wrap(usage, algorithm, &combine(usage, algorithm, components, check)?)
    }

    fn export(&self, key: &WrappedKey, under: &WrappedKey) -> Result<ExportedKey, HsmError> {
        let transport = self.transport(key.usage(), key.algorithm(), under)?;
        let mut clear = self.unwrap(key)?;
        transport.encrypt_ecb(clear.as_mut())?;
        Ok(ExportedKey { algorithm: key.algorithm(), cipher: clear.as_ref().to_vec(), kcv: key.kcv() })
    }

    fn import(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        cipher: &[u8],
        under: &WrappedKey,
    ) -> Result<WrappedKey, HsmError> {
        let transport = self.transport(usage, algorithm, under)?;
        rules::has_length(algorithm, cipher)?;
        let mut clear = ClearKey::new(cipher);
        transport.decrypt_ecb(clear.as_mut())?;
        self.wrap(usage, algorithm, clear.as_ref())
    }

    fn export_block(
        &self,
        key: &WrappedKey,
        under: &WrappedKey,
        exportability: Exportability,
        optional: &[OptionalBlock],
    ) -> Result<String, HsmError> {
        let header = rules::block_header(key, under, exportability, optional)?;
        rules::make_block(self.unwrap(under)?.as_ref(), &header, self.unwrap(key)?.as_ref())
    }

    fn import_block(
        &self,
        usage: KeyUsage,
        block: &str,
        under: &WrappedKey,
    ) -> Result<(WrappedKey, KeyBlockHeader), HsmError> {
        let algorithm = rules::block_admits(usage, block, under)?;
        let (header, clear) = primitives::key_block::unwrap(self.unwrap(under)?.as_ref(), block)?;
        rules::block_key_has_length(algorithm, &clear)?;
        Ok((self.wrap(usage, algorithm, &clear)?, header))
    }

    fn mac(&self, key: &WrappedKey, algorithm: MacAlgorithm, data: &[u8]) -> Result<[u8; 8], HsmError> {
        rules::mac_key(key, algorithm)?;
        algorithm.compute(&*self.block_key(key, KeyUsage::Mac)?, data)
    }

    fn verify_mac(
        &self,
        key: &WrappedKey,
        algorithm: MacAlgorithm,
        data: &[u8],
        received: &[u8],
    ) -> Result<bool, HsmError> {
        let own = self.mac(key, algorithm, data)?;
        Ok(bool::from(own.as_slice().ct_eq(received)))
    }

    fn translate_pin(
        &self,
        block: &EncryptedPinBlock,
        from: &WrappedKey,
        to: &WrappedKey,
        to_format: PinFormat,
        pan: &str,
    ) -> Result<EncryptedPinBlock, HsmError> {
        // Both keys are checked before either is unwrapped.
        rules::pin_key(from, block.format)?;
        rules::pin_key(to, to_format)?;
        let pin = self.read_pin(block, from, pan)?;
        self.encrypt_pin(&pin, pan, to, to_format)
    }

    fn encrypt_pin(
        &self,
        pin: &Pin,
        pan: &str,
        key: &WrappedKey,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock, HsmError> {
        rules::pin_key(key, format)?;
        match &*self.block_key(key, KeyUsage::Pin)? {
            BlockKey::Des(key) => {
                Ok(EncryptedPinBlock::iso0(key.encrypt(*primitives::pin::build_iso0(pin, pan)?)))
            }
            BlockKey::Sm4(key) => {
                Ok(EncryptedPinBlock::sm4(key.encrypt(*primitives::pin::build_sm4(pin, pan)?)))
            }
        }
    }

    fn verify_pin(
        &self,
        block: &EncryptedPinBlock,
        key: &WrappedKey,
        pan: &str,
        verification: &WrappedKey,
        reference: &PinReference,
    ) -> Result<bool, HsmError> {
        verification.require(KeyUsage::PinVerification)?;
        let pin = self.read_pin(block, key, pan)?;
        let own = self.reference(&pin, pan, verification)?;
        Ok(bool::from(own.0.ct_eq(&reference.0)))
    }

    fn make_pin_reference(
        &self,
        pin: &Pin,
        pan: &str,
        verification: &WrappedKey,
    ) -> Result<PinReference, HsmError> {
        self.reference(pin, pan, verification)
    }

    fn encrypt_track(&self, track: &str, key: &WrappedKey) -> Result<String, HsmError> {
        primitives::track::encrypt(&*self.block_key(key, KeyUsage::Track)?, track)
    }

    fn decrypt_track(&self, digits: &str, key: &WrappedKey) -> Result<TrackData, HsmError> {
        primitives::track::decrypt(&*self.block_key(key, KeyUsage::Track)?, digits)
    }

    fn generate_ac(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        data: &[u8],
    ) -> Result<[u8; 8], HsmError> {
        primitives::emv::cryptogram(&*self.block_key(imk, KeyUsage::IssuerMaster)?, card, data)
    }

    fn verify_arqc(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        data: &[u8],
        arqc: &[u8],
    ) -> Result<bool, HsmError> {
        let own = self.generate_ac(imk, card, data)?;
        Ok(bool::from(own.as_slice().ct_eq(arqc)))
    }

    fn make_arpc(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        response_code: [u8; 2],
    ) -> Result<[u8; 8], HsmError> {
        let key = self.block_key(imk, KeyUsage::IssuerMaster)?;
        primitives::emv::arpc_method1(&key, card, arqc, response_code)
    }

    fn make_arpc_method2(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        status_update: [u8; 4],
        proprietary: &[u8],
    ) -> Result<[u8; 4], HsmError> {
        let key = self.block_key(imk, KeyUsage::IssuerMaster)?;
        primitives::emv::arpc_method2(&key, card, arqc, status_update, proprietary)
    }

    fn script_mac(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        input: &[u8],
    ) -> Result<[u8; 8], HsmError> {
        primitives::emv::script_mac(&*self.block_key(imk, KeyUsage::IssuerScriptMac)?, card, arqc, input)
    }

    fn script_encipher(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        plain: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        primitives::emv::script_encipher(
            &*self.block_key(imk, KeyUsage::IssuerScriptCipher)?,
            card,
            arqc,
            plain,
        )
    }

    fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.keys().data.first().ok_or(HsmError::Sealed("the key ring is empty"))?.seal(context, plain)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        seal::open(&self.keys().data, context, sealed)
    }

    fn digest(&self, plain: &[u8]) -> Result<[u8; 32], HsmError> {
        let mut mac = self.keys().digest.clone();
        mac.update(plain);
        Ok(mac.finalize().into_bytes().into())
    }
}
