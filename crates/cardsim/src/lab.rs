//! The laboratory's RSA keys and certificates.
//!
//! Every key is derived from its name, so everybody can compute its private half: **a key here proves nothing outside
//! a laboratory**, and that is the point, because a deck of cards can then be published. A prime of a name is the first
//! prime, two modulo three, at or above the bytes that SHA-256 makes of the name and a counter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crypto_bigint::BoxedUint;
use crypto_primes::{Flavor, is_prime};
use num_bigint::BigUint;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The only public exponent of the laboratory.
pub const EXPONENT: u8 = 3;

/// Small primes that a candidate is divided by before the costly test.
const SMALL: [u32; 53] = [
    5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107,
    109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199, 211, 223, 227,
    229, 233, 239, 241, 251, 257,
];

/// An RSA key that anybody can rebuild.
pub struct LabKey {
    modulus: BigUint,
    private: BigUint,
    length: usize,
}

impl std::fmt::Debug for LabKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabKey").field("bytes", &self.length).finish_non_exhaustive()
    }
}

/// The first prime of `label`, `bits` long, two modulo three.
fn lab_prime(label: &str, bits: usize) -> BigUint {
    let length = bits / 8;
    let mut bytes = Vec::with_capacity(length + 32);
    let mut count = 0_u32;
    while bytes.len() < length {
        bytes.extend(Sha256::new().chain_update(label).chain_update(count.to_be_bytes()).finalize());
        count += 1;
    }
    bytes.truncate(length);
    if let Some(first) = bytes.first_mut() {
        *first |= 0xC0;
    }
    if let Some(last) = bytes.last_mut() {
        *last |= 0x01;
    }
    let mut candidate = BigUint::from_bytes_be(&bytes);
    let two = BigUint::from(2_u8);
    loop {
        if &candidate % 3_u32 == two
            && SMALL.iter().all(|small| &candidate % *small != BigUint::ZERO)
            && BoxedUint::from_be_slice(&candidate.to_bytes_be(), bits as u32)
                .is_ok_and(|number| is_prime(Flavor::Any, &number))
        {
            return candidate;
        }
        candidate += &two;
    }
}

impl LabKey {
    fn derive(label: &str, bits: usize) -> Self {
        let (p, q) = (lab_prime(&format!("{label}/p"), bits / 2), lab_prime(&format!("{label}/q"), bits / 2));
        let one = BigUint::from(1_u8);
        let totient = (&p - &one) * (&q - &one);
        // Both primes are two modulo three, so three has an inverse.
        let private = BigUint::from(EXPONENT).modinv(&totient).unwrap_or(one);
        Self { modulus: p * q, private, length: bits / 8 }
    }

    /// The modulus, big-endian, as long as the key.
    pub fn modulus(&self) -> Vec<u8> {
        pad(self.modulus.to_bytes_be(), self.length)
    }

    /// Length of the modulus in bytes.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Never: a key has bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Raw RSA with the private exponent.
    pub fn apply_private(&self, block: &[u8]) -> Vec<u8> {
        pad(BigUint::from_bytes_be(block).modpow(&self.private, &self.modulus).to_bytes_be(), self.length)
    }

    /// Raw RSA with the public exponent.
    pub fn apply_public(&self, block: &[u8]) -> Vec<u8> {
        let exponent = BigUint::from(EXPONENT);
        pad(BigUint::from_bytes_be(block).modpow(&exponent, &self.modulus).to_bytes_be(), self.length)
    }

    /// Signs with message recovery: 6A, `head`, BB up to the hash, SHA-1 over `head`, filling and `also`, BC.
    pub fn sign(&self, head: &[u8], also: &[u8]) -> Vec<u8> {
        let mut covered = head.to_vec();
        covered.resize(self.length.saturating_sub(22), 0xBB);
        let hash = Sha1::new().chain_update(&covered).chain_update(also).finalize();
        let mut block = vec![0x6A];
        block.extend(covered);
        block.extend(hash);
        block.push(0xBC);
        self.apply_private(&block)
    }
}

fn pad(bytes: Vec<u8>, length: usize) -> Vec<u8> {
    let mut out = vec![0; length.saturating_sub(bytes.len())];
    out.extend(bytes);
    out
}

static KEYS: Mutex<BTreeMap<(String, usize), Arc<LabKey>>> = Mutex::new(BTreeMap::new());

/// The key called `label`, `bits` long. Derived once a process: a few tenths of a second.
pub fn key(label: &str, bits: usize) -> Arc<LabKey> {
    let name = (label.to_owned(), bits);
    if let Some(known) = KEYS.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return Arc::clone(known);
    }
    let made = Arc::new(LabKey::derive(label, bits));
    Arc::clone(KEYS.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(made))
}

/// The laboratory's organisation keys: index `F1` (1152 bits), `F2` (1408), `F3` (1984).
pub fn ca(index: u8) -> Option<Arc<LabKey>> {
    let bits = match index {
        0xF1 => 1152,
        0xF2 => 1408,
        0xF3 => 1984,
        _ => return None,
    };
    Some(key(&format!("posp-lab/ca/{index:02X}"), bits))
}

/// A public key record as a terminal downloads it, without the leading `31`.
pub fn ca_record(rid: [u8; 5], index: u8) -> Option<Vec<u8>> {
    let modulus = ca(index)?.modulus();
    let mut out = Vec::with_capacity(300);
    iso8583::tlv::write(&mut out, 0x9F06, &rid);
    iso8583::tlv::write(&mut out, 0x9F22, &[index]);
    iso8583::tlv::write(&mut out, 0xDF05, &[0x20, 0x30, 0x12, 0x31]);
    iso8583::tlv::write(&mut out, 0xDF06, &[0x01]);
    iso8583::tlv::write(&mut out, 0xDF07, &[0x01]);
    iso8583::tlv::write(&mut out, 0xDF02, &modulus);
    iso8583::tlv::write(&mut out, 0xDF04, &[EXPONENT]);
    iso8583::tlv::write(&mut out, 0xDF03, &hsm::public_key_checksum(&rid, index, &modulus, &[EXPONENT]));
    Some(out)
}

/// What a certificate says beside the key.
pub(crate) struct CertificateHead<'a> {
    /// 02 issuer, 04 card.
    pub format: u8,
    /// Issuer identifier or number of the card, filled with F.
    pub subject: &'a [u8],
    /// Month, year.
    pub expiry: [u8; 2],
    pub serial: [u8; 3],
}

/// A certificate over `subject`'s modulus: the signature, and the part of the modulus that found no room.
pub(crate) fn certify(
    signer: &LabKey,
    head: &CertificateHead<'_>,
    subject: &LabKey,
    static_data: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let modulus = subject.modulus();
    let mut covered = vec![head.format];
    covered.extend(head.subject);
    covered.extend(head.expiry);
    covered.extend(head.serial);
    covered.extend([0x01, 0x01, u8::try_from(modulus.len()).unwrap_or(0), 0x01]);
    let room = signer.len().saturating_sub(22).saturating_sub(covered.len());
    let (left, remainder) = modulus.split_at_checked(room).unwrap_or((&modulus, &[]));
    covered.extend(left);
    let mut also = remainder.to_vec();
    also.push(EXPONENT);
    also.extend(static_data);
    (signer.sign(&covered, &also), remainder.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    /// The published hashes of the moduli: whoever derives a key from its name gets the same one.
    #[test]
    fn the_moduli_are_the_published_ones() {
        let ca = ca(0xF1).unwrap().modulus();
        assert_eq!(sha256(&ca), "dec47e33c23acf20657f062386242e04831d3ab5e376947408b9b1e39611676a");
        let issuer = key("posp-lab/issuer/622424", 1024).modulus();
        assert_eq!(sha256(&issuer), "c3d72b140ac808b6fb60f26eb512ab13dd09db1d3b6826203598d3654ca1bd42");
        let card = key("posp-lab/icc/L01", 768).modulus();
        assert_eq!(sha256(&card), "a8c146c10447e716b8f2a0a4037b64cb7610d7a81bdd8439ef442bd8418dd235");
        assert!(
            hex::encode_upper(ca)
                .starts_with("BDF72AA245314752EC92B3AB316C93E5205569329CA7DCCA06DE7464C5359EF0")
        );
        assert!(hex::encode_upper(card).ends_with("FB00E9851C92FEB0061B"));
    }

    #[test]
    fn the_record_of_key_f1_is_the_published_one() {
        let record = ca_record([0xA0, 0x00, 0x00, 0x03, 0x33], 0xF1).unwrap();
        assert_eq!(record.len(), 202);
        assert!(
            hex::encode_upper(&record)
                .starts_with("9F0605A0000003339F2201F1DF050420301231DF060101DF070101DF028190BDF72AA2")
        );
        assert!(hex::encode_upper(&record).ends_with("FAB2821E059CF069A7F2E17A3A33EE8479F00706"));
        assert_eq!(sha256(&record), "5e790bb341d46b71ade4a75d0bbf5e076bbfc6148c9eb622642864fb81580222");
    }

    #[test]
    fn the_two_halves_of_a_key_undo_each_other() {
        let key = key("posp-lab/icc/L01", 768);
        let mut block = vec![0x42; 96];
        block[0] = 0x00;
        assert_eq!(key.apply_public(&key.apply_private(&block)), block);
    }
}
