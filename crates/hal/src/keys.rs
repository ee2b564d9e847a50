//! Keys, PINs and MACs: everything whose secrets stay inside the device.

use std::fmt;

use hsm::{EncryptedPinBlock, Kcv, KeyAlgorithm, MacAlgorithm, PinFormat};
use kernel::CardNumber;
use zeroize::Zeroizing;

use crate::card::CardText;
use crate::{Call, DeviceKind, HalError, Result};

/// A place for a key (密钥索引). One map per acquirer, the same on every terminal, mirrored by the terminal
/// management; DUKPT keys have numbers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeySlot {
    /// Fixed and session keys.
    Fixed(u8),
    /// DUKPT keys, 1 to 5.
    Dukpt(u8),
}

/// Most acquiring tenants on one terminal.
pub const TENANTS_MAX: u8 = 9;

impl KeySlot {
    /// Transport encryption key (TEK), or key block protection key: brings master keys.
    pub const TRANSPORT: Self = Self::Fixed(0);

    /// Terminal master key (TMK) of tenant 1 to 9.
    pub const fn master(tenant: u8) -> Option<Self> {
        if tenant >= 1 && tenant <= TENANTS_MAX { Some(Self::Fixed(tenant)) } else { None }
    }

    /// Place of a working key of tenant 1 to 9: PIN 10t+1, MAC 10t+2, track 10t+3.
    pub const fn working(tenant: u8, class: WorkKeyClass) -> Option<Self> {
        let offset = match class {
            WorkKeyClass::Pin => 1,
            WorkKeyClass::Mac => 2,
            WorkKeyClass::Track => 3,
        };
        if tenant >= 1 && tenant <= TENANTS_MAX { Some(Self::Fixed(tenant * 10 + offset)) } else { None }
    }
}

impl fmt::Display for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(index) => write!(f, "{index}"),
            Self::Dukpt(index) => write!(f, "dukpt {index}"),
        }
    }
}

/// What a working key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkKeyClass {
    /// PIN blocks (PIK).
    Pin,
    /// Messages (MAK).
    Mac,
    /// Tracks and data (TDK).
    Track,
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotClass {
    /// Brings master keys.
    Transport,
    /// Brings working keys.
    Master,
    /// A working key.
    Work(WorkKeyClass),
    /// Derives a key per transaction.
    Dukpt,
}

/// A filled slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// Where.
    pub slot: KeySlot,
    /// What for.
    pub class: SlotClass,
    /// Its cipher.
    pub algorithm: KeyAlgorithm,
    /// Its check value.
    pub kcv: Kcv,
}

/// How a master key comes into the device.
#[non_exhaustive]
pub enum MasterSource<'a> {
    /// Enciphered in ECB under the transport key in [`KeySlot::TRANSPORT`].
    UnderTransport {
        /// The cipher it is for.
        algorithm: KeyAlgorithm,
        /// 16 bytes.
        cipher: &'a [u8],
    },
    /// A TR-31 key block under the protection key in [`KeySlot::TRANSPORT`].
    KeyBlock(&'a str),
    /// Clear components, as custodians type them. Laboratories only.
    #[cfg(feature = "lab")]
    Components {
        /// The cipher it is for.
        algorithm: KeyAlgorithm,
        /// Two or three; one where a key gun brings the whole key.
        components: &'a [hsm::KeyComponent],
    },
}

/// What a device can do with keys. Asked, never guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAbilities {
    /// Ciphers of keys.
    pub algorithms: Vec<KeyAlgorithm>,
    /// Highest fixed slot.
    pub last_slot: u8,
    /// Number of DUKPT slots; 0: none.
    pub dukpt_slots: u8,
    /// Master keys in key blocks.
    pub key_blocks: bool,
    /// Master keys under a transport key in ECB.
    pub under_transport: bool,
    /// Master keys as clear components.
    pub components: bool,
}

/// A working key as the host sent it.
#[derive(Clone, Copy)]
pub struct WorkKey<'a> {
    /// What for.
    pub class: WorkKeyClass,
    /// The master key it is under.
    pub master: KeySlot,
    /// Where it goes.
    pub slot: KeySlot,
    /// Its cipher.
    pub algorithm: KeyAlgorithm,
    /// Enciphered in ECB, 8 or 16 bytes.
    pub cipher: &'a [u8],
    /// The check value that came with it.
    pub kcv: Kcv,
}

impl fmt::Debug for WorkKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkKey({:?} {} under {} into {})", self.class, self.algorithm, self.master, self.slot)
    }
}

/// Key slots (密钥区). A slot is never read back; only its check value is. A key that fails its check value
/// leaves the old one in place. Tampering empties all slots.
pub trait KeyStore: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> KeyAbilities;

    /// Every filled slot.
    ///
    /// # Errors
    /// The device cannot be asked; [`Tampered`](crate::ErrorKind::Tampered).
    fn slots(&self) -> Result<Vec<SlotInfo>>;

    /// Check value of a slot.
    ///
    /// # Errors
    /// [`NoKey`](crate::ErrorKind::NoKey), [`Tampered`](crate::ErrorKind::Tampered).
    fn kcv(&self, slot: KeySlot) -> Result<Kcv>;

    /// Loads a terminal master key into slot 1 to 9, or a transport key into slot 0.
    ///
    /// # Errors
    /// [`KcvMismatch`](crate::ErrorKind::KcvMismatch), [`NoKey`](crate::ErrorKind::NoKey) without a transport
    /// key, [`NotSupported`](crate::ErrorKind::NotSupported), [`BadParam`](crate::ErrorKind::BadParam).
    fn load_master(&self, slot: KeySlot, source: &MasterSource<'_>, kcv: Option<Kcv>) -> Result<Kcv>;

    /// Loads a working key.
    ///
    /// # Errors
    /// [`KcvMismatch`](crate::ErrorKind::KcvMismatch), [`NoKey`](crate::ErrorKind::NoKey) without the master
    /// key, [`BadParam`](crate::ErrorKind::BadParam).
    fn load_work_key(&self, key: &WorkKey<'_>) -> Result<()>;

    /// Loads an initial DUKPT key enciphered under the transport key.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) without DUKPT; as [`KeyStore::load_work_key`].
    fn load_dukpt(&self, slot: KeySlot, ksn: &[u8], cipher: &[u8], kcv: Kcv) -> Result<()> {
        let _: (KeySlot, &[u8], &[u8], Kcv) = (slot, ksn, cipher, kcv);
        HalError::not_supported(DeviceKind::Keys)
    }

    /// Empties a slot; an empty one stays empty.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn delete(&self, slot: KeySlot) -> Result<()>;

    /// Empties every slot.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn format(&self) -> Result<()>;
}

/// What a PIN pad can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinAbilities {
    /// PIN block formats.
    pub formats: Vec<PinFormat>,
    /// Digits can be laid out at random.
    pub random_layout: bool,
    /// It has a display of its own.
    pub display: bool,
    /// It can send a PIN to the chip for an offline check.
    pub offline_pin: bool,
}

/// A PIN that the host will check.
#[derive(Debug, Clone)]
pub struct PinRequest {
    /// The card number that goes into the block. A hidden one is that of the card which this device read last; it
    /// refuses one that it did not hide itself.
    pub pan: CardNumber,
    /// The PIN key.
    pub key: KeySlot,
    /// The block.
    pub format: PinFormat,
    /// Lengths that are accepted, in digits, 4 to 12; for example 4, 5, 6.
    pub lengths: Vec<u8>,
    /// Whether confirming without a digit is allowed.
    pub bypass: bool,
    /// Digits laid out at random, where the pad can.
    pub random_layout: bool,
    /// What is paid, in fen, for the pad's display.
    pub amount: Option<u64>,
}

/// A PIN that the chip will check.
#[derive(Debug, Clone)]
pub struct OfflinePinRequest {
    /// Lengths that are accepted.
    pub lengths: Vec<u8>,
    /// Whether confirming without a digit is allowed.
    pub bypass: bool,
    /// Digits laid out at random, where the pad can.
    pub random_layout: bool,
    /// What is paid, in fen.
    pub amount: Option<u64>,
    /// How the PIN goes to the card.
    pub method: OfflinePinMethod,
}

/// How a PIN goes to the chip.
#[derive(Debug, Clone)]
pub enum OfflinePinMethod {
    /// As a plain block in VERIFY.
    Plain,
    /// Under the card's public key.
    Enciphered {
        /// The key's modulus.
        modulus: Vec<u8>,
        /// Its exponent.
        exponent: Vec<u8>,
        /// The card's challenge.
        challenge: Vec<u8>,
    },
}

/// What became of a PIN for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlinePin {
    /// The block for field 52.
    Block(EncryptedPinBlock),
    /// The card holder confirmed without a digit, as the request allowed.
    Bypassed,
}

/// What became of a PIN for the chip. The PIN itself went from the pad to the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfflinePin {
    /// The card's answer to VERIFY.
    Answer([u8; 2]),
    /// The card holder confirmed without a digit, as the request allowed.
    Bypassed,
}

/// What the app learns while a PIN is typed: never which digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinEvent {
    /// The pad waits for digits.
    Started,
    /// So many digits stand on it.
    Digits(u8),
    /// Confirmed with a number of digits that is not accepted; the pad is empty again.
    WrongLength(u8),
}

/// Where a PIN pad tells its events, from a thread of its own choice.
pub type PinWatch<'a> = &'a (dyn Fn(PinEvent) + Send + Sync);

/// PIN pad (密码键盘). It must run in the process of the host, never in an app's.
pub trait PinPad: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> PinAbilities;

    /// Takes a PIN and makes the block.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled) by the
    /// card holder's key or the token, [`NoKey`](crate::ErrorKind::NoKey),
    /// [`BadParam`](crate::ErrorKind::BadParam), [`Busy`](crate::ErrorKind::Busy) when a PIN is being typed,
    /// [`Tampered`](crate::ErrorKind::Tampered).
    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin>;

    /// Takes a PIN and gives it to the card in the slot.
    ///
    /// # Errors
    /// As [`PinPad::online_pin`] and [`IccReader::transmit`](crate::IccReader::transmit);
    /// [`NotSupported`](crate::ErrorKind::NotSupported).
    fn offline_pin(
        &self,
        request: &OfflinePinRequest,
        watch: PinWatch<'_>,
        call: &Call,
    ) -> Result<OfflinePin> {
        let _: (&OfflinePinRequest, PinWatch<'_>, &Call) = (request, watch, call);
        HalError::not_supported(DeviceKind::PinPad)
    }

    /// Shows lines on the pad's own display.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) without one.
    fn display(&self, lines: &[&str]) -> Result<()> {
        let _: &[&str] = lines;
        HalError::not_supported(DeviceKind::PinPad)
    }
}

/// How data are enciphered in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherMode {
    /// Each block alone.
    Ecb,
    /// Chained from this start value of one block.
    Cbc([u8; 16]),
}

/// MACs, enciphering and random numbers.
pub trait CryptoBox: Send + Sync {
    /// The MAC modes it has.
    fn mac_modes(&self) -> Vec<MacAlgorithm>;

    /// Signs a message under a MAC key.
    ///
    /// # Errors
    /// [`NoKey`](crate::ErrorKind::NoKey), [`BadParam`](crate::ErrorKind::BadParam) for a mode that the key
    /// does not fit or nothing to sign, [`Tampered`](crate::ErrorKind::Tampered).
    fn mac(&self, key: KeySlot, mode: MacAlgorithm, data: &[u8]) -> Result<[u8; 8]>;

    /// Enciphers a track (separator `D`) under a track key; digits for field 35 or 36.
    ///
    /// # Errors
    /// [`NoKey`](crate::ErrorKind::NoKey), [`BadParam`](crate::ErrorKind::BadParam) when it is too short.
    fn encrypt_track(&self, key: KeySlot, track: &CardText) -> Result<CardText>;

    /// Enciphers whole blocks under a track key.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported), [`NoKey`](crate::ErrorKind::NoKey),
    /// [`BadParam`](crate::ErrorKind::BadParam) for broken blocks.
    fn encrypt(&self, key: KeySlot, mode: CipherMode, data: &[u8]) -> Result<Vec<u8>> {
        let _: (KeySlot, CipherMode, &[u8]) = (key, mode, data);
        HalError::not_supported(DeviceKind::Crypto)
    }

    /// Random bytes from the device.
    ///
    /// # Errors
    /// [`HardwareFault`](crate::ErrorKind::HardwareFault), [`BadParam`](crate::ErrorKind::BadParam) for more
    /// than it gives at once.
    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>>;

    /// Signs a digest with the device's SM2 key.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported) without one.
    fn sm2_sign(&self, digest: &[u8; 32]) -> Result<[u8; 64]> {
        let _: &[u8; 32] = digest;
        HalError::not_supported(DeviceKind::Crypto)
    }

    /// SM3 digest.
    ///
    /// # Errors
    /// [`NotSupported`](crate::ErrorKind::NotSupported).
    fn sm3(&self, data: &[u8]) -> Result<[u8; 32]> {
        let _: &[u8] = data;
        HalError::not_supported(DeviceKind::Crypto)
    }
}
