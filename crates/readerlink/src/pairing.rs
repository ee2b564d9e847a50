//! Pairing without a label: X25519, and six digits that two people or one person with two displays compare.
//!
//! The reader first commits to its key and nonce. Without that, someone in the middle could try keys until the digits of
//! both sides are equal; a million tries are a second. With it he has one try.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// What the reader commits to: SHA-256(its public key ‖ its nonce).
pub(crate) fn commitment(key: &[u8; 32], nonce: &[u8; 16]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(nonce).finalize().into()
}

/// Six digits of SHA-256(host's key ‖ reader's key ‖ host's nonce ‖ reader's nonce): its first four bytes as a number, modulo
/// a million. (That it is these four, and host before reader, is modelled.)
pub fn digits(host: &[u8; 32], reader: &[u8; 32], host_nonce: &[u8; 16], reader_nonce: &[u8; 16]) -> String {
    let hash = Sha256::new()
        .chain_update(host)
        .chain_update(reader)
        .chain_update(host_nonce)
        .chain_update(reader_nonce)
        .finalize();
    let number = hash.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    format!("{:06}", number % 1_000_000)
}

/// The shared secret, unless the other key was one that makes it known to all.
fn shared(own: &StaticSecret, other: [u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let secret = own.diffie_hellman(&PublicKey::from(other));
    secret.was_contributory().then(|| Zeroizing::new(*secret.as_bytes()))
}

/// The reader, after it has committed and before it has opened.
pub struct NumericReader {
    secret: StaticSecret,
    nonce: [u8; 16],
}

impl NumericReader {
    /// From random bytes.
    pub fn new(secret: [u8; 32], nonce: [u8; 16]) -> Self {
        Self { secret: StaticSecret::from(secret), nonce }
    }

    /// What goes first.
    pub fn commitment(&self) -> [u8; 32] {
        commitment(&self.public(), &self.nonce)
    }

    /// What goes second.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.secret).to_bytes()
    }

    /// The host's key and nonce are there: the shared secret and the digits. It can be used once.
    pub fn open(self, host: [u8; 32], host_nonce: &[u8; 16]) -> Option<(Zeroizing<[u8; 32]>, String)> {
        let digits = digits(&host, &self.public(), host_nonce, &self.nonce);
        Some((shared(&self.secret, host)?, digits))
    }
}

/// The host, after it has the commitment.
pub struct NumericHost {
    secret: StaticSecret,
    nonce: [u8; 16],
    commitment: [u8; 32],
}

impl NumericHost {
    /// From random bytes and what the reader committed to.
    pub fn new(secret: [u8; 32], nonce: [u8; 16], commitment: [u8; 32]) -> Self {
        Self { secret: StaticSecret::from(secret), nonce, commitment }
    }

    /// What goes to the reader.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.secret).to_bytes()
    }

    /// The reader has opened: the shared secret and the digits; nothing when that is not what it committed to.
    pub fn open(self, reader: [u8; 32], reader_nonce: &[u8; 16]) -> Option<(Zeroizing<[u8; 32]>, String)> {
        if !bool::from(commitment(&reader, reader_nonce).ct_eq(&self.commitment)) {
            return None;
        }
        let digits = digits(&self.public(), &reader, &self.nonce, reader_nonce);
        Some((shared(&self.secret, reader)?, digits))
    }
}
