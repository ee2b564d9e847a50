//! Profiles as the door speaks them: everything that a message's way asks of a profile, worked out once at start.

use acquiring::kind::Signature;
use acquiring::master::TerminalCipher;
use engine::sign_in::KeyForm;
use hsm::MacAlgorithm;
use iso8583::{Contradiction, Dialect, KeyLayout, MacForm, MacRule, Profile};

/// Why a set of profiles cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// Two switches of a profile do not go together.
    #[error("profile {name}: {rule}")]
    Contradiction {
        /// The profile.
        name: String,
        /// What does not go together.
        rule: Contradiction,
    },
    /// Two profiles have one name.
    #[error("there are two profiles of the name {0}")]
    Twice(String),
}

/// A profile as the door speaks it.
#[derive(Debug)]
pub struct Spoken {
    /// Its switches.
    pub profile: Profile,
    /// The dialect with its switches set.
    pub dialect: &'static Dialect,
    /// MAC of terminals with DES keys.
    mac_des: MacAlgorithm,
    /// The same number for profiles whose messages are read in the same way.
    form: usize,
}

/// MAC of terminals with SM4 keys: there is one known rule.
const MAC_SM4: MacAlgorithm = MacAlgorithm::Sm4Cup;

/// A message type or code that no line of the transaction table has.
const NOTHING: u16 = u16::MAX;

/// E-signatures and sign-ins with SM4 keys as the transaction table has them.
const SIGNATURE_MTI: u16 = 820;
const SIGNATURE_TYPE: u8 = 7;
const SIGN_IN_MTI: u16 = 800;
const SM4_SIGN_IN: u16 = 6;

impl Spoken {
    fn new(profile: Profile, form: usize) -> Self {
        let hex = profile.mac_form == MacForm::Hex;
        let mac_des = match (profile.mac, hex) {
            (MacRule::CupEcb, _) => MacAlgorithm::CupEcb,
            (MacRule::X99, false) => MacAlgorithm::X99,
            (MacRule::X99, true) => MacAlgorithm::X99Hex,
            (MacRule::X919, hex) => MacAlgorithm::X919 { pad80: false, hex },
            (MacRule::X919Pad80, hex) => MacAlgorithm::X919 { pad80: true, hex },
        };
        Spoken { dialect: Dialect::for_profile(&profile), profile, mac_des, form }
    }

    /// How a terminal with keys of this cipher computes MACs.
    pub fn mac_algorithm(&self, cipher: TerminalCipher) -> MacAlgorithm {
        match cipher {
            TerminalCipher::TripleDes => self.mac_des,
            TerminalCipher::Sm4 => MAC_SM4,
        }
    }

    /// Whether what came through a listener of the other profile was read as this one wants it.
    pub fn reads_as(&self, listener: &Spoken) -> bool {
        self.form == listener.form
    }

    /// How working keys are given.
    pub fn key_form(&self) -> KeyForm {
        KeyForm {
            long_mac_key: self.profile.mac_key == 16,
            records: self.profile.key_layout == KeyLayout::Records,
        }
    }

    /// Whether keys of this management code serve the profile's MAC: X9.19 is not defined for keys of single length.
    pub fn serves_mac(&self, code: u16) -> bool {
        code != 1 || !matches!(self.mac_des, MacAlgorithm::X919 { .. })
    }

    /// What identifies a message in this profile, in the words of the transaction table. What belongs to another
    /// profile becomes something that no line has.
    pub fn canonical(&self, mut signature: Signature) -> Signature {
        let (asked, _) = self.profile.sm4_sign_in;
        if signature.message_type == Some(SIGNATURE_TYPE) {
            if signature.mti == self.profile.signature_mti {
                signature.mti = SIGNATURE_MTI;
            } else if signature.mti == SIGNATURE_MTI {
                signature.mti = NOTHING;
            }
        }
        if signature.mti == SIGN_IN_MTI && asked != SM4_SIGN_IN {
            match signature.network_code {
                Some(code) if code == asked => signature.network_code = Some(SM4_SIGN_IN),
                Some(SM4_SIGN_IN) => signature.network_code = Some(NOTHING),
                _ => {}
            }
        }
        signature
    }

    /// Whether a message of this type can be of the transaction table.
    pub fn knows_mti(&self, mti: u16) -> bool {
        acquiring::kind::Kind::knows_mti(mti) || mti == self.profile.signature_mti
    }
}

/// The profiles that a node speaks; the first is the baseline, `cup-pos-1`.
#[derive(Debug)]
pub struct Profiles {
    baseline: Spoken,
    others: Vec<Spoken>,
}

impl Profiles {
    /// The baseline and these.
    ///
    /// # Errors
    /// A profile contradicts itself, or a name is there twice.
    pub fn new(others: Vec<Profile>) -> Result<Self, ProfilesError> {
        let mut all = Self::default();
        for profile in others {
            let name = || profile.name.clone().into_owned();
            if all.find(&profile.name).is_some() {
                return Err(ProfilesError::Twice(name()));
            }
            profile.check().map_err(|rule| ProfilesError::Contradiction { name: name(), rule })?;
            let alike = all.iter().find(|known| profile.reads_as(&known.profile));
            let form = alike.map_or_else(|| all.iter().count(), |known| known.form);
            all.others.push(Spoken::new(profile, form));
        }
        Ok(all)
    }

    /// The profile at a place; the baseline stands at 0, and for every place that there is not.
    pub fn at(&self, place: usize) -> &Spoken {
        place.checked_sub(1).and_then(|place| self.others.get(place)).unwrap_or(&self.baseline)
    }

    /// The place of the profile with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.iter().position(|spoken| spoken.profile.name == name)
    }

    /// The names in their order, as the engine's settings take them.
    pub fn names(&self) -> Vec<String> {
        self.iter().map(|spoken| spoken.profile.name.clone().into_owned()).collect()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Spoken> {
        std::iter::once(&self.baseline).chain(&self.others)
    }
}

impl Default for Profiles {
    /// The baseline alone.
    fn default() -> Self {
        Profiles { baseline: Spoken::new(Profile::CUP_POS_1, 0), others: Vec::new() }
    }
}
