//! Keys as the rest of the platform sees them: a reference with a purpose, a cipher and a check value.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::HsmError;

/// What a key may do. A key has one use for its whole life: the usage is authenticated together with
/// the wrapped key, so it cannot be relabelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyUsage {
    /// Terminal master key (TMK): sends working keys to one terminal.
    TerminalMaster,
    /// PIN key of a terminal (PIK) or of a zone (ZPK).
    Pin,
    /// MAC key of a terminal (MAK) or of a zone (ZAK).
    Mac,
    /// Track encryption key of a terminal (TDK).
    Track,
    /// Zone master key (ZMK): sends zone keys between two hosts.
    ZoneMaster,
    /// Issuer master key for application cryptograms (IMK-AC).
    IssuerMaster,
    /// Issuer master key for script MACs (IMK-MAC, secure messaging for integrity).
    IssuerScriptMac,
    /// Issuer master key for script confidentiality (IMK-ENC).
    IssuerScriptCipher,
    /// The issuer's key for reference values of PINs.
    PinVerification,
    /// Key block protection key (KBPK): sends keys in TR-31 key blocks.
    BlockProtection,
    /// Encrypts data at rest.
    Data,
    /// Keyed digest for look-ups over encrypted data.
    Digest,
}

impl KeyUsage {
    /// Every usage, in the order of the enumeration.
    pub const ALL: [Self; 12] = [
        Self::TerminalMaster,
        Self::Pin,
        Self::Mac,
        Self::Track,
        Self::ZoneMaster,
        Self::IssuerMaster,
        Self::IssuerScriptMac,
        Self::IssuerScriptCipher,
        Self::PinVerification,
        Self::BlockProtection,
        Self::Data,
        Self::Digest,
    ];

    /// The name in the text form of a wrapped key.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TerminalMaster => "tmk",
            Self::Pin => "pin",
            Self::Mac => "mac",
            Self::Track => "track",
            Self::ZoneMaster => "zmk",
            Self::IssuerMaster => "imk-ac",
            Self::IssuerScriptMac => "imk-mac",
            Self::IssuerScriptCipher => "imk-enc",
            Self::PinVerification => "pvk",
            Self::BlockProtection => "kbpk",
            Self::Data => "data",
            Self::Digest => "digest",
        }
    }

    /// Whether a key of this usage may exist in this algorithm.
    pub const fn allows(self, algorithm: KeyAlgorithm) -> bool {
        use KeyAlgorithm as A;
        match self {
            // A single-length terminal or zone master key is legacy, but terminals with one still exist.
            Self::TerminalMaster | Self::ZoneMaster | Self::Pin | Self::Mac | Self::Track => {
                matches!(algorithm, A::Des | A::TripleDes2 | A::Sm4)
            }
            Self::IssuerMaster | Self::IssuerScriptMac | Self::IssuerScriptCipher => {
                matches!(algorithm, A::TripleDes2 | A::Sm4)
            }
            Self::PinVerification => matches!(algorithm, A::TripleDes2 | A::Sm4 | A::HmacSha256),
            Self::BlockProtection => {
                matches!(algorithm, A::TripleDes2 | A::TripleDes3 | A::Aes128 | A::Aes192 | A::Aes256)
            }
            Self::Data => matches!(algorithm, A::Aes256),
            Self::Digest => matches!(algorithm, A::HmacSha256),
        }
    }

    /// Whether a key of this usage exists to send other keys.
    pub const fn sends_keys(self) -> bool {
        matches!(self, Self::TerminalMaster | Self::ZoneMaster)
    }

    /// Whether a key of this usage may leave the module in a key block.
    pub const fn may_be_sent_in_a_block(self) -> bool {
        !matches!(self, Self::PinVerification | Self::BlockProtection | Self::Data | Self::Digest)
    }

    /// Whether a key of this usage may leave the module under a terminal or zone master key.
    pub const fn may_be_sent(self) -> bool {
        matches!(self, Self::Pin | Self::Mac | Self::Track)
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyUsage {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        Self::ALL.into_iter().find(|usage| usage.name() == text).ok_or(HsmError::KeyText("unknown usage"))
    }
}

/// The cipher a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// Single-length DES, 8 bytes. Still found in MAC keys.
    Des,
    /// Two-key triple DES, 16 bytes.
    TripleDes2,
    /// Three-key triple DES, 24 bytes. For key block protection keys alone: terminals and networks have none.
    TripleDes3,
    /// SM4 (GB/T 32907), 16 bytes.
    Sm4,
    /// AES with 16 bytes of key, for key block protection keys.
    Aes128,
    /// AES with 24 bytes of key, for key block protection keys.
    Aes192,
    /// AES with 32 bytes of key, for data at rest and for key block protection keys.
    Aes256,
    /// HMAC-SHA-256 with 32 bytes of key, for digests.
    HmacSha256,
}

impl KeyAlgorithm {
    /// Every algorithm, in the order of the enumeration.
    pub const ALL: [Self; 8] = [
        Self::Des,
        Self::TripleDes2,
        Self::TripleDes3,
        Self::Sm4,
        Self::Aes128,
        Self::Aes192,
        Self::Aes256,
        Self::HmacSha256,
    ];

    /// Bytes of key material.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::TripleDes2 | Self::Sm4 | Self::Aes128 => 16,
            Self::TripleDes3 | Self::Aes192 => 24,
            Self::Aes256 | Self::HmacSha256 => 32,
        }
    }

    /// The name in the text form of a wrapped key: 8 characters at most.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Des => "des",
            Self::TripleDes2 => "3des",
            Self::TripleDes3 => "3des192",
            Self::Sm4 => "sm4",
            Self::Aes128 => "aes128",
            Self::Aes192 => "aes192",
            Self::Aes256 => "aes256",
            Self::HmacSha256 => "hmac256",
        }
    }

    /// Whether a key of `self` may send a key of `other`: the same family, and never the weaker one
    /// protecting the stronger.
    pub const fn may_wrap(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Des, Self::Des)
                | (Self::TripleDes2, Self::Des | Self::TripleDes2)
                | (Self::Sm4, Self::Sm4)
        )
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or(HsmError::KeyText("unknown algorithm"))
    }
}

/// Key check value: the first 4 bytes of a zero block under the key (8 bytes for DES, 16 for SM4).
/// For AES and HMAC keys it is the first 4 bytes of HMAC-SHA-256 over a fixed text, because a zero
/// block under an AES-GCM key would publish part of its authentication key; for key block protection keys
/// of AES the first 4 bytes of the CMAC of a zero block, which partners compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kcv(pub [u8; 4]);

impl Kcv {
    /// The four bytes.
    pub const fn bytes(self) -> [u8; 4] {
        self.0
    }

    /// Its first six digits: what key forms, custodians and other modules show.
    pub fn short(self) -> String {
        let [a, b, c, _] = self.0;
        format!("{a:02X}{b:02X}{c:02X}")
    }
}

impl fmt::Display for Kcv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Kcv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kcv({self})")
    }
}

impl FromStr for Kcv {
    type Err = HsmError;

    /// Reads 8 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, HsmError> {
        let mut bytes = [0; 4];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| HsmError::KeyText("a check value is 8 hex digits"))?;
        Ok(Self(bytes))
    }
}

/// Bytes a wrapped key adds to the key itself: nonce 12, tag 16.
pub(crate) const WRAP_OVERHEAD: usize = 28;
/// Longest wrapped key: 32 bytes of key.
pub(crate) const WRAP_MAX: usize = WRAP_OVERHEAD + 32;

/// A key as it is stored: under the master key, with usage, algorithm and check value readable.
///
/// Text form, one word: `v1:usage:algorithm:check value:base16`. The clear parts are authenticated
/// together with the key, so an edited text is refused when it is used.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WrappedKey {
    usage: KeyUsage,
    algorithm: KeyAlgorithm,
    kcv: Kcv,
    /// nonce 12 | cipher text | tag 16, zero after the end; the length follows from the algorithm.
    blob: [u8; WRAP_MAX],
}

impl WrappedKey {
    pub(crate) const fn assemble(
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        kcv: Kcv,
        blob: [u8; WRAP_MAX],
    ) -> Self {
        Self { usage, algorithm, kcv, blob }
    }

    /// What the key is for.
    pub const fn usage(&self) -> KeyUsage {
        self.usage
    }

    /// The cipher it is for.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Its check value, safe to print and to compare with the other side's.
    pub const fn kcv(&self) -> Kcv {
        self.kcv
    }

    /// Whether it is the same key, under whichever master key: by usage, algorithm and check value, of which another key
    /// in the same place has the same once in four thousand million times.
    pub fn is_same_key(&self, other: &WrappedKey) -> bool {
        (self.usage, self.algorithm, self.kcv) == (other.usage, other.algorithm, other.kcv)
    }

    pub(crate) fn blob(&self) -> &[u8] {
        self.blob.get(..WRAP_OVERHEAD + self.algorithm.key_len()).unwrap_or(&self.blob)
    }

    /// Bytes of the wrapping's tag: as good as random, so that keys spread evenly over a table.
    pub(crate) fn spread(&self) -> u32 {
        self.blob().last_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Refuses a key made for another purpose.
    pub(crate) fn require(&self, wanted: KeyUsage) -> Result<&Self, HsmError> {
        if self.usage == wanted { Ok(self) } else { Err(HsmError::WrongUsage { wanted, found: self.usage }) }
    }
}

impl fmt::Display for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1:{}:{}:{}:", self.usage, self.algorithm, self.kcv)?;
        self.blob().iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} {} {})", self.usage, self.algorithm, self.kcv)
    }
}

impl FromStr for WrappedKey {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        let mut parts = text.split(':');
        let mut next = |missing| parts.next().ok_or(HsmError::KeyText(missing));
        if next("empty")? != "v1" {
            return Err(HsmError::KeyText("unknown version"));
        }
        let usage: KeyUsage = next("usage missing")?.parse()?;
        let algorithm: KeyAlgorithm = next("algorithm missing")?.parse()?;
        let kcv: Kcv = next("check value missing")?.parse()?;
        let body = next("body missing")?;
        if parts.next().is_some() {
            return Err(HsmError::KeyText("text after the body"));
        }
        if !usage.allows(algorithm) {
            return Err(HsmError::NoSuchKey { usage, algorithm });
        }
        let mut blob = [0; WRAP_MAX];
        let len = WRAP_OVERHEAD + algorithm.key_len();
        let target = blob.get_mut(..len).ok_or(HsmError::KeyText("body too long"))?;
        hex::decode_to_slice(body, target)
            .map_err(|_| HsmError::KeyText("body of the wrong length, or not hex"))?;
        Ok(Self { usage, algorithm, kcv, blob })
    }
}

impl Serialize for WrappedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WrappedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error says what is wrong, never the text itself.
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A key on its way to a terminal or a network: encrypted in ECB under a terminal or zone master key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportedKey {
    /// The cipher the key is for.
    pub algorithm: KeyAlgorithm,
    /// 8 or 16 bytes.
    pub cipher: Vec<u8>,
    /// Check value of the clear key.
    pub kcv: Kcv,
}

impl fmt::Debug for ExportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportedKey({} {})", self.algorithm, self.kcv)
    }
}
