//! The terminal's keys: the injected master key, and the working keys of each sign-in. All of them live wrapped in
//! the terminal's own vault; nothing here sees a clear key.

use hsm::key_blob::{self, KeyBlobLayout};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, MacAlgorithm, PinFormat, WrappedKey};
use iso8583::{KeyLayout as Form, MacForm, MacRule, Profile};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::PosError;
use crate::security::{KeyRef, MasterKeys, WorkingKeys};

/// Which working keys a sign-in asks for, 60.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyLayout {
    /// 001: single-length keys, 24 bytes.
    Des,
    /// 003: double-length PIN key, single or double-length MAC key, 40 bytes.
    TripleDes,
    /// 004: the same and a track key, 60 bytes.
    TripleDesTrack,
    /// 006: three SM4 keys, 60 bytes.
    Sm4,
}

impl KeyLayout {
    /// 60.3 of the sign-in.
    pub fn network_code(self, profile: &Profile) -> u16 {
        match self {
            Self::Des => 1,
            Self::TripleDes => 3,
            Self::TripleDesTrack => 4,
            Self::Sm4 => profile.sm4_sign_in.0,
        }
    }

    /// Digit 2 of field 53; `sm4` is what the profile uses for SM4.
    pub(crate) fn security_digit(self, sm4: u8) -> u8 {
        match self {
            Self::Des => 0,
            Self::TripleDes | Self::TripleDesTrack => 6,
            Self::Sm4 => sm4,
        }
    }

    /// The PIN block that goes with the PIN key.
    pub fn pin_format(self) -> PinFormat {
        if self == Self::Sm4 { PinFormat::Sm4Extended } else { PinFormat::Iso0 }
    }

    /// How field 62 of the answer is laid out.
    pub fn blob(self) -> KeyBlobLayout {
        match self {
            Self::Des => KeyBlobLayout::Single24,
            Self::TripleDes => KeyBlobLayout::Double40,
            Self::TripleDesTrack => KeyBlobLayout::DoubleTrack60,
            Self::Sm4 => KeyBlobLayout::Sm4Track60,
        }
    }
}

/// One component of the terminal master key as it is keyed in: hexadecimal, with its check value when the key
/// letter has one. `Debug` shows the check value only.
pub struct TmkComponent {
    digits: Zeroizing<String>,
    check: Option<String>,
}

impl std::fmt::Debug for TmkComponent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TmkComponent").field("check", &self.check).finish_non_exhaustive()
    }
}

impl TmkComponent {
    /// A component and, when known, its check value (6 or 8 hexadecimal digits).
    pub fn new(digits: impl Into<String>, check: Option<String>) -> Self {
        Self { digits: Zeroizing::new(digits.into()), check }
    }

    /// `HEX` or `HEX:KCV`.
    pub fn parse(text: &str) -> Self {
        match text.trim().split_once(':') {
            Some((digits, check)) => Self::new(digits, Some(check.to_owned())),
            None => Self::new(text.trim(), None),
        }
    }

    /// As the security module takes it; `checked` with the check value that was keyed.
    ///
    /// # Errors
    /// Digits or check value that cannot be.
    pub fn component(&self, checked: bool) -> Result<KeyComponent, PosError> {
        let component = KeyComponent::from_hex(&self.digits)?;
        match &self.check {
            Some(check) if checked => Ok(component.with_check(check)?),
            _ => Ok(component),
        }
    }

    /// Bytes of the key, from the digits keyed.
    fn len(&self) -> usize {
        self.digits.chars().filter(char::is_ascii_hexdigit).count() / 2
    }
}

/// The check values of a loaded master key, to compare with the key letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKeyChecks {
    /// As DES or 3DES key.
    pub des: String,
    /// As SM4 key, when it is 16 bytes long.
    pub sm4: Option<String>,
}

/// Combines the components into the terminal master key.
///
/// A 16-byte value serves as 3DES and as SM4 key. The check values may be of either family: all of one must agree.
pub(crate) fn load_master(
    hsm: &dyn Hsm,
    components: &[TmkComponent],
    check: Option<&str>,
) -> Result<(MasterKeys, MasterKeyChecks), PosError> {
    let single = components.iter().all(|component| component.len() == 8);
    let import = |algorithm: KeyAlgorithm, checked: bool| {
        let components: Vec<KeyComponent> =
            components.iter().map(|component| component.component(checked)).collect::<Result<_, _>>()?;
        let key = hsm.import_components(KeyUsage::TerminalMaster, algorithm, &components)?;
        let own = key.kcv().to_string();
        match check {
            Some(check) if checked && !agrees(&own, check) => {
                Err(PosError::CheckValue(format!("the key is {own}")))
            }
            _ => Ok(key),
        }
    };
    if single {
        let key = import(KeyAlgorithm::Des, true)?;
        let checks = MasterKeyChecks { des: key.kcv().to_string(), sm4: None };
        return Ok((MasterKeys { des: Some(named(&key)), sm4: None }, checks));
    }
    let (des, sm4) = match import(KeyAlgorithm::TripleDes2, true) {
        Ok(des) => (des, import(KeyAlgorithm::Sm4, false)?),
        Err(refused) => match import(KeyAlgorithm::Sm4, true) {
            Ok(sm4) => (import(KeyAlgorithm::TripleDes2, false)?, sm4),
            Err(_) => return Err(refused),
        },
    };
    let checks = MasterKeyChecks { des: des.kcv().to_string(), sm4: Some(sm4.kcv().to_string()) };
    Ok((MasterKeys { des: Some(named(&des)), sm4: Some(named(&sm4)) }, checks))
}

fn named(key: &WrappedKey) -> KeyRef {
    KeyRef(key.to_string())
}

fn agrees(own: &str, check: &str) -> bool {
    check.len() >= 6 && own.get(..check.len()).is_some_and(|own| own.eq_ignore_ascii_case(check))
}

/// Takes field 62 of a sign-in answer apart: the length must be the layout's, every key must have its check value.
pub(crate) fn unpack(
    hsm: &dyn Hsm,
    master: &WrappedKey,
    layout: KeyLayout,
    profile: &Profile,
    blob: &[u8],
) -> Result<WorkingKeys, PosError> {
    let fresh = match profile.key_layout {
        Form::Blocks => key_blob::WorkingKeys::from_blob(hsm, layout.blob(), blob, master),
        Form::Records => key_blob::WorkingKeys::from_records(hsm, layout.blob(), blob, master),
    };
    let fresh = fresh.map_err(|error| PosError::KeysRefused(error.to_string()))?;
    let track = fresh.track.as_ref().map(named);
    Ok(WorkingKeys { layout, pin: named(&fresh.pin), mac: named(&fresh.mac), track })
}

impl WorkingKeys {
    /// The MAC rule that goes with the MAC key and the profile.
    pub(crate) fn mac_algorithm(&self, profile: &Profile) -> MacAlgorithm {
        let hex = profile.mac_form == MacForm::Hex;
        match (self.layout, profile.mac) {
            (KeyLayout::Sm4, _) => MacAlgorithm::Sm4Cup,
            (_, MacRule::CupEcb) => MacAlgorithm::CupEcb,
            (_, MacRule::X99) if hex => MacAlgorithm::X99Hex,
            (_, MacRule::X99) => MacAlgorithm::X99,
            (_, MacRule::X919) => MacAlgorithm::X919 { pad80: false, hex },
            (_, MacRule::X919Pad80) => MacAlgorithm::X919 { pad80: true, hex },
        }
    }
}
