//! Data at rest: AES-256-GCM with a key of its own for every value.
//!
//! Plain GCM with random 96-bit nonces is safe for 2^32 values per key, which a busy acquirer reaches in
//! weeks. So each value gets its key from the data key and the first half of a 192-bit nonce (the
//! construction known as XAES-256-GCM: counter-mode KDF of SP 800-108 with CMAC, then GCM); that is good
//! for 2^80 values and costs two more AES blocks.
//!
//! ```text
//! version 1 | data key's check value 4 | nonce 24 | cipher text | tag 16
//! ```

use std::cell::RefCell;

use aes::Aes256;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, Nonce, Tag};
use cipher::BlockCipherEncrypt;
use zeroize::Zeroizing;

use crate::HsmError;
use crate::key::Kcv;
use crate::primitives::{take, xor};

/// Version byte of a sealed value.
const VERSION: u8 = 1;
/// Bytes a sealed value is longer than its plain text.
pub const SEAL_OVERHEAD: usize = 1 + 4 + 24 + 16;

/// Nonces a thread fetches at a time: asking the system for 24 bytes costs as much as sealing a card number.
const NONCES: usize = 32;

thread_local! {
    /// Random bytes for nonces, and how many are left. Nonces are no secret: they stand beside the sealed
    /// value. What counts is that none comes twice, so they are taken from the end and never put back.
    static STOCK: RefCell<([[u8; 24]; NONCES], usize)> = const { RefCell::new(([[0; 24]; NONCES], 0)) };
}

/// A fresh random nonce.
fn nonce() -> Result<[u8; 24], HsmError> {
    STOCK.with_borrow_mut(|(stock, left)| {
        if *left == 0 {
            getrandom::fill(stock.as_flattened_mut()).map_err(|_| HsmError::Random)?;
            *left = NONCES;
        }
        *left = left.saturating_sub(1);
        stock.get(*left).copied().ok_or(HsmError::Random)
    })
}

/// One block under a data key, wherever that key is.
pub(crate) trait BlockCipher {
    fn encrypt(&self, block: [u8; 16]) -> Result<[u8; 16], HsmError>;
}

impl BlockCipher for Aes256 {
    fn encrypt(&self, mut block: [u8; 16]) -> Result<[u8; 16], HsmError> {
        self.encrypt_block((&mut block).into());
        Ok(block)
    }
}

/// A data key ready for use.
#[derive(Clone)]
pub(crate) struct SealKey<C = Aes256> {
    id: Kcv,
    cipher: C,
    /// CMAC's first subkey.
    subkey: Zeroizing<[u8; 16]>,
}

impl SealKey {
    pub(crate) fn new(id: Kcv, key: &[u8; 32]) -> Result<Self, HsmError> {
        Self::over(id, Aes256::new(key.into()))
    }
}

impl<C: BlockCipher> SealKey<C> {
    pub(crate) fn over(id: Kcv, cipher: C) -> Result<Self, HsmError> {
        let value = u128::from_be_bytes(cipher.encrypt([0; 16])?);
        let doubled = (value << 1) ^ if value >> 127 == 1 { 0x87 } else { 0 };
        Ok(Self { id, cipher, subkey: Zeroizing::new(doubled.to_be_bytes()) })
    }

    /// With the subkey known, so that it costs nothing to make.
    #[cfg(feature = "pkcs11")]
    pub(crate) const fn with_subkey(id: Kcv, cipher: C, subkey: Zeroizing<[u8; 16]>) -> Self {
        Self { id, cipher, subkey }
    }

    #[cfg(feature = "pkcs11")]
    pub(crate) fn subkey(&self) -> Zeroizing<[u8; 16]> {
        self.subkey.clone()
    }

    pub(crate) const fn id(&self) -> Kcv {
        self.id
    }

    /// Key of one value, from the first 12 bytes of its nonce.
    fn derive(&self, nonce: &[u8; 12]) -> Result<Aes256Gcm, HsmError> {
        let mut key = Zeroizing::new([0u8; 32]);
        let (halves, _) = key.as_chunks_mut::<16>();
        for (half, counter) in halves.iter_mut().zip(1u8..) {
            let mut block = [0u8; 16];
            let input = [0, counter, b'X', 0].into_iter().chain(*nonce);
            block.iter_mut().zip(input).for_each(|(to, from)| *to = from);
            *half = self.cipher.encrypt(xor(block, *self.subkey))?;
        }
        Ok(Aes256Gcm::new((&*key).into()))
    }

    /// Encrypts in place.
    pub(crate) fn encrypt(
        &self,
        nonce: &[u8; 24],
        context: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; 16], HsmError> {
        let (first, second) = nonce.split_at(12);
        self.derive(&take(first))?
            .encrypt_inout_detached(&Nonce::from(take::<12>(second)), context, data.into())
            .map(Into::into)
            .map_err(|_| HsmError::Sealed("too long"))
    }

    fn decrypt(
        &self,
        nonce: &[u8; 24],
        context: &[u8],
        data: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), HsmError> {
        let (first, second) = nonce.split_at(12);
        self.derive(&take(first))?
            .decrypt_inout_detached(&Nonce::from(take::<12>(second)), context, data.into(), &Tag::from(*tag))
            .map_err(|_| HsmError::Sealed("altered, or sealed for another place"))
    }

    pub(crate) fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, HsmError> {
        let nonce = nonce()?;
        let mut out = Vec::with_capacity(plain.len().saturating_add(SEAL_OVERHEAD));
        out.push(VERSION);
        out.extend_from_slice(&self.id.bytes());
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let tag = self.encrypt(&nonce, context, out.get_mut(start..).unwrap_or_default())?;
        out.extend_from_slice(&tag);
        Ok(out)
    }
}

/// Opens a sealed value with the ring's key that made it.
pub(crate) fn open<C: BlockCipher>(
    keys: &[SealKey<C>],
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    let short = HsmError::Sealed("too short");
    let Some((head, rest)) = sealed.split_first_chunk::<5>() else { return Err(short) };
    let Some((nonce, rest)) = rest.split_first_chunk::<24>() else { return Err(short) };
    let Some((body, tag)) = rest.split_last_chunk::<16>() else { return Err(short) };
    let [version, id @ ..] = *head;
    if version != VERSION {
        return Err(HsmError::Sealed("unknown version"));
    }
    let key = keys
        .iter()
        .find(|key| key.id().bytes() == id)
        .ok_or(HsmError::Sealed("its data key is not in this vault's key ring"))?;
    let mut plain = Zeroizing::new(body.to_vec());
    key.decrypt(nonce, context, &mut plain, tag)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over several refills of the stock and several threads no nonce comes twice.
    #[test]
    fn nonces_never_repeat() {
        let many = || (0..NONCES * 8 + 5).map(|_| nonce().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(!all.contains(&[0; 24]));
    }

    /// First published vector of the construction: pins the derivation to what others compute.
    #[test]
    fn published_xaes_vector() {
        let key = SealKey::new(Kcv([0; 4]), &[1; 32]).unwrap();
        let mut data = *b"XAES-256-GCM";
        let tag = key.encrypt(b"ABCDEFGHIJKLMNOPQRSTUVWX", b"", &mut data).unwrap();
        let all = [data.as_slice(), &tag].concat();
        assert_eq!(hex::encode(all), "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
    }
}
