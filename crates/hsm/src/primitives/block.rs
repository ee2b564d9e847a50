//! Block ciphers with their key schedules, wiped when dropped.

use std::fmt;

use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sm4::Sm4;
use zeroize::Zeroizing;

use super::des::{Halves, Schedule};
use super::take;
use crate::HsmError;
use crate::key::{Kcv, KeyAlgorithm, KeyUsage};

/// DES or two-key triple DES.
pub struct DesKey {
    left: Schedule,
    /// The second half; absent for a single-length key.
    right: Option<Schedule>,
}

impl DesKey {
    /// Single length.
    pub fn single(key: &[u8; 8]) -> Self {
        Self { left: Schedule::new(key), right: None }
    }

    /// Double length: encrypt with the left half, decrypt with the right, encrypt with the left.
    pub fn double(key: &[u8; 16]) -> Self {
        let (left, right) = key.split_at(8);
        let left = Zeroizing::new(take::<8>(left));
        let right = Zeroizing::new(take::<8>(right));
        Self { left: Schedule::new(&left), right: Some(Schedule::new(&right)) }
    }

    /// Whether the key has two halves.
    pub const fn is_double(&self) -> bool {
        self.right.is_some()
    }

    /// Encrypts one block.
    pub fn encrypt(&self, block: [u8; 8]) -> [u8; 8] {
        self.forward(Halves::enter(block)).leave()
    }

    /// Decrypts one block.
    pub fn decrypt(&self, block: [u8; 8]) -> [u8; 8] {
        let block = self.left.decrypt(Halves::enter(block));
        let Some(right) = &self.right else { return block.leave() };
        self.left.decrypt(right.encrypt(block)).leave()
    }

    fn forward(&self, block: Halves) -> Halves {
        self.close(self.left.encrypt(block))
    }

    /// What a double-length key does after its first encryption: decrypt with the right half, encrypt with
    /// the left. Nothing for a single-length key, where both halves are the same.
    fn close(&self, block: Halves) -> Halves {
        match &self.right {
            Some(right) => self.left.encrypt(right.decrypt(block)),
            None => block,
        }
    }

    /// The last value of a CBC chain with a zero start value.
    pub(crate) fn chain(&self, blocks: impl Iterator<Item = [u8; 8]>) -> [u8; 8] {
        blocks.fold(Halves::ZERO, |value, block| self.forward(value.xor(Halves::enter(block)))).leave()
    }

    /// The same with the left half alone but for the end, as X9.19 has it.
    pub(crate) fn chain_retail(&self, blocks: impl Iterator<Item = [u8; 8]>) -> [u8; 8] {
        let value =
            blocks.fold(Halves::ZERO, |value, block| self.left.encrypt(value.xor(Halves::enter(block))));
        self.close(value).leave()
    }
}

impl fmt::Debug for DesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DesKey(..)")
    }
}

/// Three-key triple DES. Apart from [`DesKey`], because only key blocks know it, and every key in use would be larger.
pub struct TripleKey([Schedule; 3]);

impl TripleKey {
    /// Encrypts with the first part, decrypts with the second, encrypts with the third.
    pub fn new(key: &[u8; 24]) -> Self {
        let schedule = |at: usize| {
            let part = Zeroizing::new(take::<8>(key.get(at..).unwrap_or_default()));
            Schedule::new(&part)
        };
        Self([schedule(0), schedule(8), schedule(16)])
    }

    /// Encrypts one block.
    pub fn encrypt(&self, block: [u8; 8]) -> [u8; 8] {
        let [first, second, third] = &self.0;
        third.encrypt(second.decrypt(first.encrypt(Halves::enter(block)))).leave()
    }

    /// Decrypts one block.
    pub fn decrypt(&self, block: [u8; 8]) -> [u8; 8] {
        let [first, second, third] = &self.0;
        first.decrypt(second.encrypt(third.decrypt(Halves::enter(block)))).leave()
    }
}

impl fmt::Debug for TripleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TripleKey(..)")
    }
}

/// SM4.
pub struct Sm4Key(Sm4);

impl Sm4Key {
    /// Takes the 16 bytes of key.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(Sm4::new(key.into()))
    }

    /// Encrypts one block.
    pub fn encrypt(&self, mut block: [u8; 16]) -> [u8; 16] {
        self.0.encrypt_block((&mut block).into());
        block
    }

    /// Decrypts one block.
    pub fn decrypt(&self, mut block: [u8; 16]) -> [u8; 16] {
        self.0.decrypt_block((&mut block).into());
        block
    }
}

impl fmt::Debug for Sm4Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sm4Key(..)")
    }
}

/// A payment key of either family.
#[derive(Debug)]
pub enum BlockKey {
    /// DES or triple DES, 8-byte blocks.
    Des(DesKey),
    /// SM4, 16-byte blocks.
    Sm4(Sm4Key),
}

impl BlockKey {
    /// Makes the schedule from clear bytes.
    ///
    /// # Errors
    /// The length does not fit the algorithm, or the algorithm is not a payment cipher.
    pub fn new(algorithm: KeyAlgorithm, key: &[u8]) -> Result<Self, HsmError> {
        let length = |_| HsmError::KeyLength { algorithm, wanted: algorithm.key_len(), found: key.len() };
        match algorithm {
            KeyAlgorithm::Des => Ok(Self::Des(DesKey::single(key.try_into().map_err(length)?))),
            KeyAlgorithm::TripleDes2 => Ok(Self::Des(DesKey::double(key.try_into().map_err(length)?))),
            KeyAlgorithm::Sm4 => Ok(Self::Sm4(Sm4Key::new(key.try_into().map_err(length)?))),
            KeyAlgorithm::TripleDes3
            | KeyAlgorithm::Aes128
            | KeyAlgorithm::Aes192
            | KeyAlgorithm::Aes256
            | KeyAlgorithm::HmacSha256 => {
                Err(HsmError::WrongAlgorithm { operation: "block encryption", found: algorithm })
            }
        }
    }

    /// Bytes in a block: 8 or 16.
    pub const fn block_len(&self) -> usize {
        match self {
            Self::Des(_) => 8,
            Self::Sm4(_) => 16,
        }
    }

    /// Encrypts whole blocks in place, each on its own (ECB).
    ///
    /// # Errors
    /// A length that is not a multiple of the block.
    pub fn encrypt_ecb(&self, data: &mut [u8]) -> Result<(), HsmError> {
        self.ecb(data, DesKey::encrypt, Sm4Key::encrypt)
    }

    /// Decrypts whole blocks in place, each on its own (ECB).
    ///
    /// # Errors
    /// A length that is not a multiple of the block.
    pub fn decrypt_ecb(&self, data: &mut [u8]) -> Result<(), HsmError> {
        self.ecb(data, DesKey::decrypt, Sm4Key::decrypt)
    }

    fn ecb(
        &self,
        data: &mut [u8],
        des: fn(&DesKey, [u8; 8]) -> [u8; 8],
        sm4: fn(&Sm4Key, [u8; 16]) -> [u8; 16],
    ) -> Result<(), HsmError> {
        let whole = match self {
            Self::Des(key) => {
                let (blocks, rest) = data.as_chunks_mut::<8>();
                blocks.iter_mut().for_each(|block| *block = des(key, *block));
                rest.is_empty()
            }
            Self::Sm4(key) => {
                let (blocks, rest) = data.as_chunks_mut::<16>();
                blocks.iter_mut().for_each(|block| *block = sm4(key, *block));
                rest.is_empty()
            }
        };
        if whole { Ok(()) } else { Err(HsmError::BlockLength) }
    }

    /// The check value: 4 bytes of a zero block.
    pub fn check_value(&self) -> Kcv {
        match self {
            Self::Des(key) => Kcv(take(&key.encrypt([0; 8]))),
            Self::Sm4(key) => Kcv(take(&key.encrypt([0; 16]))),
        }
    }
}

/// The text under HMAC whose first bytes are the check value of an AES or HMAC key.
const CHECK_TEXT: &[u8] = b"posp key check value v1";

/// Check value of a clear key. DES and SM4: the field's rule, a zero block. AES and HMAC keys: the first
/// 4 bytes of HMAC-SHA-256 under the key over the text "posp key check value v1", which anybody can
/// recompute and which gives nothing of an AES-GCM key away.
///
/// # Errors
/// The length does not fit the algorithm.
pub fn check_value(algorithm: KeyAlgorithm, key: &[u8]) -> Result<Kcv, HsmError> {
    let length = || HsmError::KeyLength { algorithm, wanted: algorithm.key_len(), found: key.len() };
    match algorithm {
        KeyAlgorithm::Des | KeyAlgorithm::TripleDes2 | KeyAlgorithm::Sm4 => {
            Ok(BlockKey::new(algorithm, key)?.check_value())
        }
        KeyAlgorithm::TripleDes3 => {
            let key = key.try_into().map_err(|_| length())?;
            Ok(Kcv(take(&TripleKey::new(key).encrypt([0; 8]))))
        }
        KeyAlgorithm::Aes128 | KeyAlgorithm::Aes192 | KeyAlgorithm::Aes256 | KeyAlgorithm::HmacSha256 => {
            if key.len() != algorithm.key_len() {
                return Err(length());
            }
            Ok(Kcv(take(&hmac_sha256(key, &[CHECK_TEXT]).ok_or_else(length)?)))
        }
    }
}

/// Check value of a clear key of a usage. Everything as [`check_value`], but for a key block protection key
/// of AES: there partners compare the CMAC of a zero block, as X9.24 has it.
///
/// # Errors
/// The length does not fit the algorithm.
pub fn check_value_for(usage: KeyUsage, algorithm: KeyAlgorithm, key: &[u8]) -> Result<Kcv, HsmError> {
    match (usage, algorithm) {
        (KeyUsage::BlockProtection, KeyAlgorithm::Aes128 | KeyAlgorithm::Aes192 | KeyAlgorithm::Aes256) => {
            // Of whichever length the key is it would have one.
            if key.len() != algorithm.key_len() {
                return Err(HsmError::KeyLength { algorithm, wanted: algorithm.key_len(), found: key.len() });
            }
            super::key_block::check_value(key)
        }
        _ => check_value(algorithm, key),
    }
}

/// HMAC-SHA-256 over the parts one after the other. `None` only if the key length were refused, which
/// HMAC never does.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}
