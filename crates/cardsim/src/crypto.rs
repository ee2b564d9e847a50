//! The card's secret keys at work. They come from the public laboratory master keys (`lab-1`).

use hsm::primitives::{BlockKey, emv};
use hsm::{CardContext, CryptogramVersion, HsmError, KeyAlgorithm, KeyDerivation};

use crate::profile::{Algorithm, Derive, Profile};

/// Issuer master key for cryptograms, check value 08D7B4FB. Public lab data, not a secret.
const IMK_AC: [u8; 16] =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10];
/// Issuer master key for script MACs, check value 77C58CF1. Public lab data, not a secret.
const IMK_MAC: [u8; 16] =
    [0x11, 0x33, 0x55, 0x77, 0x99, 0xBB, 0xDD, 0xFF, 0x00, 0x22, 0x44, 0x66, 0x88, 0xAA, 0xCC, 0xEE];
/// Issuer master key for confidential script data, check value 95F77D97. Public lab data, not a secret.
const IMK_ENC: [u8; 16] =
    [0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF, 0x00, 0x11];

pub(crate) struct CardKeys {
    pan: String,
    psn: u8,
    version: CryptogramVersion,
    derivation: KeyDerivation,
    algorithm: KeyAlgorithm,
    ac: BlockKey,
    mac: BlockKey,
    enc: BlockKey,
}

impl CardKeys {
    pub(crate) fn new(profile: &Profile) -> Result<Self, HsmError> {
        let algorithm = match profile.keys.alg {
            Algorithm::TripleDes => KeyAlgorithm::TripleDes2,
            Algorithm::Sm4 => KeyAlgorithm::Sm4,
        };
        Ok(Self {
            pan: profile.pan.clone(),
            psn: profile.psn,
            version: match profile.keys.cvn {
                10 => CryptogramVersion::V10,
                17 => CryptogramVersion::V17,
                18 => CryptogramVersion::V18,
                _ => CryptogramVersion::V01,
            },
            derivation: match profile.keys.derive {
                Derive::A => KeyDerivation::OptionA,
                Derive::B => KeyDerivation::OptionB,
            },
            algorithm,
            ac: BlockKey::new(algorithm, &IMK_AC)?,
            mac: BlockKey::new(algorithm, &IMK_MAC)?,
            enc: BlockKey::new(algorithm, &IMK_ENC)?,
        })
    }

    pub(crate) const fn version(&self) -> CryptogramVersion {
        self.version
    }

    fn context(&self, atc: u16) -> CardContext<'_> {
        let mut context = CardContext::new(&self.pan, self.psn, atc, self.version);
        context.derivation = self.derivation;
        context
    }

    pub(crate) fn cryptogram(&self, atc: u16, data: &[u8]) -> Result<[u8; 8], HsmError> {
        emv::cryptogram(&self.ac, &self.context(atc), data)
    }

    pub(crate) fn arpc(&self, atc: u16, arqc: [u8; 8], code: [u8; 2]) -> Result<[u8; 8], HsmError> {
        emv::arpc_method1(&self.ac, &self.context(atc), arqc, code)
    }

    pub(crate) fn script_mac(&self, atc: u16, arqc: [u8; 8], input: &[u8]) -> Result<[u8; 8], HsmError> {
        emv::script_mac(&self.mac, &self.context(atc), arqc, input)
    }

    /// What an issuer enciphered for this card: length byte, data, filling.
    pub(crate) fn script_decipher(&self, atc: u16, data: &[u8]) -> Result<Vec<u8>, HsmError> {
        let key = emv::session_key(&self.enc, &self.context(atc))?;
        let mut plain = data.to_vec();
        BlockKey::new(self.algorithm, &*key)?.decrypt_ecb(&mut plain)?;
        let length = plain.first().copied().map_or(0, usize::from);
        plain.get(1..=length).map(<[u8]>::to_vec).ok_or(HsmError::EmptyData)
    }
}
