//! Keys under the master key.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use zeroize::Zeroizing;

use crate::HsmError;
use crate::key::{Kcv, KeyAlgorithm, KeyUsage, WRAP_MAX, WRAP_OVERHEAD, WrappedKey};
use crate::primitives::{check_value_for, take};

/// A clear key on the stack, wiped when dropped.
pub(crate) struct ClearKey {
    bytes: Zeroizing<[u8; 32]>,
    len: usize,
}

impl ClearKey {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: Zeroizing::new(take(bytes)), len: bytes.len().min(32) }
    }

    /// Fresh random bytes for the algorithm, with odd parity for DES; never a DES key of which two parts agree.
    pub(crate) fn random(algorithm: KeyAlgorithm) -> Result<Self, HsmError> {
        loop {
            let mut key = Self { bytes: Zeroizing::new([0; 32]), len: algorithm.key_len() };
            getrandom::fill(key.as_mut()).map_err(|_| HsmError::Random)?;
            if matches!(algorithm, KeyAlgorithm::Des | KeyAlgorithm::TripleDes2 | KeyAlgorithm::TripleDes3) {
                key.as_mut().iter_mut().for_each(|byte| *byte = odd_parity(*byte));
            }
            if !is_weak(algorithm, key.as_ref()) {
                return Ok(key);
            }
        }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ClearKey {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Sets the lowest bit so that the byte has an odd number of ones.
const fn odd_parity(byte: u8) -> u8 {
    let upper = byte & 0xFE;
    upper | ((upper.count_ones() as u8 & 1) ^ 1)
}

/// The four weak and twelve semi-weak keys of DES, with odd parity.
const DES_WEAK: [u64; 16] = [
    0x0101_0101_0101_0101,
    0xFEFE_FEFE_FEFE_FEFE,
    0xE0E0_E0E0_F1F1_F1F1,
    0x1F1F_1F1F_0E0E_0E0E,
    0x01FE_01FE_01FE_01FE,
    0xFE01_FE01_FE01_FE01,
    0x1FE0_1FE0_0EF1_0EF1,
    0xE01F_E01F_F10E_F10E,
    0x01E0_01E0_01F1_01F1,
    0xE001_E001_F101_F101,
    0x1FFE_1FFE_0EFE_0EFE,
    0xFE1F_FE1F_FE0E_FE0E,
    0x011F_011F_010E_010E,
    0x1F01_1F01_0E01_0E01,
    0xE0FE_E0FE_F1FE_F1FE,
    0xFEE0_FEE0_FEF1_FEF1,
];

fn is_weak(algorithm: KeyAlgorithm, key: &[u8]) -> bool {
    match algorithm {
        KeyAlgorithm::Des | KeyAlgorithm::TripleDes2 | KeyAlgorithm::TripleDes3 => {
            let (parts, _) = key.as_chunks::<8>();
            let weak = parts.iter().any(|part| DES_WEAK.contains(&u64::from_be_bytes(*part)));
            weak || match parts {
                [first, second] => first == second,
                [first, second, third] => first == second || second == third || first == third,
                _ => false,
            }
        }
        KeyAlgorithm::Sm4
        | KeyAlgorithm::Aes128
        | KeyAlgorithm::Aes192
        | KeyAlgorithm::Aes256
        | KeyAlgorithm::HmacSha256 => false,
    }
}

/// What is authenticated with a wrapped key: version, usage, algorithm, check value.
fn associated(usage: KeyUsage, algorithm: KeyAlgorithm, kcv: Kcv) -> [u8; 21] {
    let mut data = [0; 21];
    let (head, tail) = data.split_at_mut(8);
    head.copy_from_slice(&take::<8>(usage.name().as_bytes()));
    let rest = take::<8>(algorithm.name().as_bytes()).into_iter().chain(kcv.bytes()).chain([1]);
    tail.iter_mut().zip(rest).for_each(|(to, from)| *to = from);
    data
}

/// Wraps and unwraps with AES-256-GCM under the master key. Random nonces of 96 bits: good for 2^32 keys
/// under one master key, some decades of daily sign-ins of a hundred thousand terminals.
#[derive(Clone)]
pub(crate) struct Wrapper(Aes256Gcm);

impl Wrapper {
    pub(crate) fn new(master: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(master.into()))
    }

    pub(crate) fn wrap(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        clear: &[u8],
    ) -> Result<WrappedKey, HsmError> {
        if !usage.allows(algorithm) {
            return Err(HsmError::NoSuchKey { usage, algorithm });
        }
        let kcv = check_value_for(usage, algorithm, clear)?;
        let mut nonce = [0u8; 12];
        getrandom::fill(&mut nonce).map_err(|_| HsmError::Random)?;
        let mut body = ClearKey::new(clear);
        let tag = self
            .0
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                &associated(usage, algorithm, kcv),
                body.as_mut().into(),
            )
            .map_err(|_| HsmError::ForeignKey { usage })?;
        let mut blob = [0; WRAP_MAX];
        let parts = nonce.iter().chain(body.as_ref()).chain(tag.iter());
        blob.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        Ok(WrappedKey::assemble(usage, algorithm, kcv, blob))
    }

    pub(crate) fn unwrap(&self, key: &WrappedKey) -> Result<ClearKey, HsmError> {
        let (usage, algorithm) = (key.usage(), key.algorithm());
        let foreign = HsmError::ForeignKey { usage };
        let len = key.blob().len().saturating_sub(WRAP_OVERHEAD);
        let Some((nonce, rest)) = key.blob().split_first_chunk::<12>() else { return Err(foreign) };
        let Some((body, tag)) = rest.split_last_chunk::<16>() else { return Err(foreign) };
        if len != algorithm.key_len() {
            return Err(foreign);
        }
        let mut clear = ClearKey::new(body);
        self.0
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                &associated(usage, algorithm, key.kcv()),
                clear.as_mut().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| foreign)?;
        Ok(clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two equal parts make of triple DES one that is no stronger than a shorter key.
    #[test]
    fn a_drawn_des_key_has_no_equal_parts() {
        let (one, two, three) = ([0x31; 8], [0x58; 8], [0x67; 8]);
        for parts in [[one, one, two], [one, two, two], [one, two, one]] {
            assert!(is_weak(KeyAlgorithm::TripleDes3, parts.as_flattened()));
        }
        assert!(!is_weak(KeyAlgorithm::TripleDes3, [one, two, three].as_flattened()));
        assert!(is_weak(KeyAlgorithm::TripleDes2, [one, one].as_flattened()));
        assert!(is_weak(KeyAlgorithm::TripleDes3, [one, two, [0x01; 8]].as_flattened()));
        let key = ClearKey::random(KeyAlgorithm::TripleDes3).unwrap();
        assert_eq!(key.as_ref().len(), 24);
        assert!(key.as_ref().iter().all(|byte| byte.count_ones() % 2 == 1));
    }
}
