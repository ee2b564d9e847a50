//! Who computes a chip cryptogram, and by which rules.

use std::fmt;

use sha1::{Digest, Sha1};

/// Check sum of a card organisation's public key (DF03): SHA-1 over RID, index, modulus and exponent. It guards
/// against slips, not against forgery: everything it covers is public.
pub fn public_key_checksum(rid: &[u8], index: u8, modulus: &[u8], exponent: &[u8]) -> [u8; 20] {
    let sum =
        Sha1::new().chain_update(rid).chain_update([index]).chain_update(modulus).chain_update(exponent);
    sum.finalize().into()
}

/// How a card key is derived from the issuer's master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyDerivation {
    /// The rightmost 16 digits of card number and sequence number. Used in China for 16 to 19 digits.
    #[default]
    OptionA,
    /// SHA-1 over card number and sequence number, decimalised; for numbers over 16 digits. A shorter
    /// number takes option A under this rule too.
    OptionB,
}

/// Cryptogram version number (CVN): which key and which padding. The caller composes the data in the
/// order the version asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CryptogramVersion {
    /// 01, PBOC: session key from the counter, padding 80. With an SM4 master key: the same rule in
    /// 16-byte blocks, modelled.
    V01,
    /// 10 (0A): the card key itself, zero padding.
    V10,
    /// 17 (11): the card key itself, zero padding, short data.
    V17,
    /// 18 (12): EMV common session key, padding 80.
    V18,
}

/// The card and the transaction a cryptogram belongs to.
#[derive(Clone, Copy)]
pub struct CardContext<'a> {
    /// Card number, 13 to 19 digits.
    pub pan: &'a str,
    /// Card sequence number (5F34), 0 to 99; 0 when the card has none.
    pub psn: u8,
    /// Application transaction counter (9F36).
    pub atc: u16,
    /// Rule of the cryptogram.
    pub version: CryptogramVersion,
    /// Rule of the card key.
    pub derivation: KeyDerivation,
}

impl<'a> CardContext<'a> {
    /// A card with option A keys.
    pub const fn new(pan: &'a str, psn: u8, atc: u16, version: CryptogramVersion) -> Self {
        Self { pan, psn, atc, version, derivation: KeyDerivation::OptionA }
    }
}

impl fmt::Debug for CardContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardContext")
            .field("psn", &self.psn)
            .field("atc", &self.atc)
            .field("version", &self.version)
            .field("derivation", &self.derivation)
            .finish_non_exhaustive()
    }
}
