//! Master key and key ring.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::VaultError;
use super::wrap::{ClearKey, Wrapper};
use crate::HsmError;
use crate::component::{KeyComponent, combine};
use crate::key::{Kcv, KeyAlgorithm, KeyUsage, WrappedKey};
use crate::primitives::{check_value, hmac_sha256, take};

/// The key over all keys: 32 bytes for AES-256, wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A fresh random one.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate() -> Result<Self, VaultError> {
        let key = ClearKey::random(KeyAlgorithm::Aes256)?;
        Ok(Self(Zeroizing::new(take(key.as_ref()))))
    }

    /// From two or three components of 32 bytes, and the check value of the whole if it is known.
    ///
    /// # Errors
    /// A component or its check value is wrong; one component alone, because then one person would hold
    /// the key.
    pub fn from_components(components: &[KeyComponent], check: Option<Kcv>) -> Result<Self, VaultError> {
        if components.len() < 2 {
            return Err(HsmError::Components("a master key is entered as two or three components").into());
        }
        let key = combine(KeyUsage::Data, KeyAlgorithm::Aes256, components, check)?;
        Ok(Self(Zeroizing::new(take(&key))))
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Check value, as custodians write it on their forms.
    ///
    /// # Errors
    /// None in practice: the length is fixed.
    pub fn check_value(&self) -> Result<Kcv, VaultError> {
        Ok(check_value(KeyAlgorithm::Aes256, &*self.0)?)
    }

    /// Names the master key without giving anything of it away: the first 8 bytes of HMAC-SHA-256 under it
    /// over "posp vault fingerprint v1", as 16 hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> Result<String, VaultError> {
        let digest = hmac_sha256(&*self.0, &[b"posp vault fingerprint v1"]).ok_or(HsmError::Random)?;
        Ok(hex::encode_upper(take::<8>(&digest)))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// The vault's own keys, wrapped: data keys (the first seals, all open) and the digest key. They are
/// random and wrapped, not derived from the master key, so that a new master key re-wraps them and no
/// stored value changes.
///
/// Text form: one wrapped key a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    pub(crate) data: Vec<WrappedKey>,
    pub(crate) digest: WrappedKey,
}

impl KeyRing {
    /// A fresh ring under a master key.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate(master: &MasterKey) -> Result<Self, VaultError> {
        let wrapper = Wrapper::new(master.bytes());
        let fresh = |usage, algorithm| -> Result<WrappedKey, HsmError> {
            wrapper.wrap(usage, algorithm, ClearKey::random(algorithm)?.as_ref())
        };
        Ok(Self {
            data: vec![fresh(KeyUsage::Data, KeyAlgorithm::Aes256)?],
            digest: fresh(KeyUsage::Digest, KeyAlgorithm::HmacSha256)?,
        })
    }

    /// Puts a fresh data key in front; older ones still open what they sealed.
    ///
    /// # Errors
    /// No randomness; the master key is not this ring's.
    pub fn add_data_key(&mut self, master: &MasterKey) -> Result<(), VaultError> {
        let wrapper = Wrapper::new(master.bytes());
        wrapper.unwrap(&self.digest)?;
        loop {
            let clear = ClearKey::random(KeyAlgorithm::Aes256)?;
            let key = wrapper.wrap(KeyUsage::Data, KeyAlgorithm::Aes256, clear.as_ref())?;
            // Sealed values name their key by its check value.
            if self.data.iter().all(|old| old.kcv() != key.kcv()) {
                self.data.insert(0, key);
                return Ok(());
            }
        }
    }

    /// The same keys under another master key: what they sealed and digested stays good.
    pub(crate) fn rewrap(&self, from: &Wrapper, to: &Wrapper) -> Result<Self, HsmError> {
        let move_one = |key: &WrappedKey| -> Result<WrappedKey, HsmError> {
            to.wrap(key.usage(), key.algorithm(), from.unwrap(key)?.as_ref())
        };
        Ok(Self {
            data: self.data.iter().map(move_one).collect::<Result<_, _>>()?,
            digest: move_one(&self.digest)?,
        })
    }

    /// The ring's keys, in the order of its text form.
    pub fn keys(&self) -> impl Iterator<Item = &WrappedKey> {
        self.data.iter().chain([&self.digest])
    }
}

impl fmt::Display for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys().try_for_each(|key| writeln!(f, "{key}"))
    }
}

impl FromStr for KeyRing {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        let mut data = Vec::new();
        let mut digest = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let key: WrappedKey = line.parse()?;
            match key.usage() {
                KeyUsage::Data => data.push(key),
                KeyUsage::Digest if digest.is_none() => digest = Some(key),
                _ => return Err(HsmError::KeyText("a key that does not belong into a key ring")),
            }
        }
        if data.is_empty() {
            return Err(HsmError::KeyText("a key ring without a data key"));
        }
        Ok(Self { data, digest: digest.ok_or(HsmError::KeyText("a key ring without a digest key"))? })
    }
}
