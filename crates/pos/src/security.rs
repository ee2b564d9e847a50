//! Where the terminal's keys are. The protocol names keys and never sees one: a software vault keeps them wrapped, a
//! device keeps them in slots of its security module.

use hsm::{EncryptedPinBlock, Hsm, MacAlgorithm, Pin, PinFormat, SoftVault, WrappedKey};
use iso8583::Profile;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::PosError;
use crate::keys::{self, KeyLayout, MasterKeyChecks, TmkComponent};

/// The name of a key: what its [`Security`] finds it by. In a software vault it is the key itself under the vault's own
/// master key; in a device it is a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyRef(pub String);

/// The terminal master key (主密钥, TMK) in its forms: one injected value, used as 3DES or as SM4 key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterKeys {
    /// As DES or 3DES key.
    pub des: Option<KeyRef>,
    /// As SM4 key.
    pub sm4: Option<KeyRef>,
}

impl MasterKeys {
    /// The one that protects the working keys of a layout.
    ///
    /// # Errors
    /// [`PosError::NoMasterKey`].
    pub fn for_layout(&self, layout: KeyLayout) -> Result<&KeyRef, PosError> {
        match layout {
            KeyLayout::Sm4 => self.sm4.as_ref(),
            _ => self.des.as_ref(),
        }
        .ok_or(PosError::NoMasterKey)
    }
}

/// The keys of one sign-in (工作密钥).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingKeys {
    /// What they are.
    pub layout: KeyLayout,
    /// PIN key (PIK).
    pub pin: KeyRef,
    /// MAC key (MAK).
    pub mac: KeyRef,
    /// Track key (TDK), when the layout has one.
    pub track: Option<KeyRef>,
}

/// The security module of a terminal.
pub trait Security: Send + Sync {
    /// Combines the components of the terminal master key and keeps it.
    ///
    /// # Errors
    /// A check value that differs, or a refusal; the old key stays.
    fn load_master(
        &self,
        components: &[TmkComponent],
        check: Option<&str>,
    ) -> Result<(MasterKeys, MasterKeyChecks), PosError>;

    /// The master key that the device has got by its own ways; none where it is loaded by
    /// [`load_master`](Self::load_master).
    ///
    /// # Errors
    /// The device cannot be asked.
    fn installed_master(&self) -> Result<Option<(MasterKeys, MasterKeyChecks)>, PosError> {
        Ok(None)
    }

    /// Takes field 62 of a sign-in answer apart and keeps its keys: the length must be the layout's, every key must have
    /// its check value. `current` are those in use until then, which stay when these are refused.
    ///
    /// # Errors
    /// [`PosError::KeysRefused`]; the old keys stay.
    fn load_working(
        &self,
        master: &MasterKeys,
        current: Option<&WorkingKeys>,
        layout: KeyLayout,
        profile: &Profile,
        field62: &[u8],
    ) -> Result<WorkingKeys, PosError>;

    /// The MAC of a block, field 64.
    ///
    /// # Errors
    /// A key that is missing, or a refusal.
    fn mac(&self, key: &KeyRef, algorithm: MacAlgorithm, block: &[u8]) -> Result<[u8; 8], PosError>;

    /// Whether a MAC is that of a block.
    ///
    /// # Errors
    /// As [`Security::mac`].
    fn verify_mac(
        &self,
        key: &KeyRef,
        algorithm: MacAlgorithm,
        block: &[u8],
        mac: &[u8],
    ) -> Result<bool, PosError>;

    /// A keyed PIN as a block for field 52. A device whose PIN pad makes the block by itself refuses.
    ///
    /// # Errors
    /// A key that is missing, or a refusal.
    fn encrypt_pin(
        &self,
        key: &KeyRef,
        pin: &Pin,
        pan: &str,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock, PosError>;

    /// Track 2 as field 35 carries it encrypted.
    ///
    /// # Errors
    /// A key that is missing, or a refusal.
    fn encrypt_track(&self, key: &KeyRef, track: &str) -> Result<String, PosError>;

    /// Seals what the terminal keeps on disk; `context` must be the same when it is opened.
    ///
    /// # Errors
    /// A refusal.
    fn seal(&self, context: &[u8], text: &[u8]) -> Result<Vec<u8>, PosError>;

    /// Opens what was sealed.
    ///
    /// # Errors
    /// It was sealed elsewhere, for something else, or is damaged.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PosError>;
}

fn wrapped(key: &KeyRef) -> Result<WrappedKey, PosError> {
    key.0.parse().map_err(|error: hsm::HsmError| PosError::Security(error.to_string()))
}

impl Security for SoftVault {
    fn load_master(
        &self,
        components: &[TmkComponent],
        check: Option<&str>,
    ) -> Result<(MasterKeys, MasterKeyChecks), PosError> {
        keys::load_master(self, components, check)
    }

    fn load_working(
        &self,
        master: &MasterKeys,
        _: Option<&WorkingKeys>,
        layout: KeyLayout,
        profile: &Profile,
        field62: &[u8],
    ) -> Result<WorkingKeys, PosError> {
        keys::unpack(self, &wrapped(master.for_layout(layout)?)?, layout, profile, field62)
    }

    fn mac(&self, key: &KeyRef, algorithm: MacAlgorithm, block: &[u8]) -> Result<[u8; 8], PosError> {
        Ok(Hsm::mac(self, &wrapped(key)?, algorithm, block)?)
    }

    fn verify_mac(
        &self,
        key: &KeyRef,
        algorithm: MacAlgorithm,
        block: &[u8],
        mac: &[u8],
    ) -> Result<bool, PosError> {
        Ok(Hsm::verify_mac(self, &wrapped(key)?, algorithm, block, mac)?)
    }

    fn encrypt_pin(
        &self,
        key: &KeyRef,
        pin: &Pin,
        pan: &str,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock, PosError> {
        Ok(Hsm::encrypt_pin(self, pin, pan, &wrapped(key)?, format)?)
    }

    fn encrypt_track(&self, key: &KeyRef, track: &str) -> Result<String, PosError> {
        Ok(Hsm::encrypt_track(self, track, &wrapped(key)?)?)
    }

    fn seal(&self, context: &[u8], text: &[u8]) -> Result<Vec<u8>, PosError> {
        Ok(Hsm::seal(self, context, text)?)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PosError> {
        Ok(Hsm::open(self, context, sealed)?)
    }
}
