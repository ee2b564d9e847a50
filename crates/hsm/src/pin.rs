//! PINs and PIN blocks as they travel.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::HsmError;
use crate::key::KeyAlgorithm;

/// Fewest digits of a PIN.
pub const PIN_MIN: usize = 4;
/// Most digits of a PIN (ISO 9564).
pub const PIN_MAX: usize = 12;

/// A clear PIN: lives only in a PIN pad, in a card holder's hand (simulated) and inside the module.
/// Wiped when dropped; it has no `Display`, and its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Pin {
    values: [u8; PIN_MAX],
    len: usize,
}

impl Pin {
    /// Reads 4 to 12 decimal digits.
    ///
    /// # Errors
    /// [`HsmError::Pin`] for anything else.
    pub fn new(text: &str) -> Result<Self, HsmError> {
        let mut values = [0; PIN_MAX];
        let len = text.len();
        if !(PIN_MIN..=PIN_MAX).contains(&len) || !text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(HsmError::Pin);
        }
        values.iter_mut().zip(text.bytes()).for_each(|(to, digit)| *to = digit - b'0');
        Ok(Self { values, len })
    }

    /// Takes digit values 0 to 9.
    pub(crate) fn from_values(digits: &[u8]) -> Result<Self, HsmError> {
        let mut values = [0; PIN_MAX];
        if !(PIN_MIN..=PIN_MAX).contains(&digits.len()) || digits.iter().any(|digit| *digit > 9) {
            return Err(HsmError::Pin);
        }
        values.iter_mut().zip(digits).for_each(|(to, digit)| *to = *digit);
        Ok(Self { values, len: digits.len() })
    }

    /// Digit values, 0 to 9.
    pub(crate) fn digits(&self) -> &[u8] {
        self.values.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(****)")
    }
}

/// How PIN and card number make a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PinFormat {
    /// ISO 9564 format 0: 8 bytes under DES or triple DES.
    Iso0,
    /// The same rule stretched to 16 bytes under SM4. Modelled: the real block is not public.
    Sm4Extended,
}

impl PinFormat {
    /// Bytes in a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Iso0 => 8,
            Self::Sm4Extended => 16,
        }
    }

    /// Whether the format goes with keys of the algorithm.
    pub const fn fits(self, algorithm: KeyAlgorithm) -> bool {
        match self {
            Self::Iso0 => matches!(algorithm, KeyAlgorithm::Des | KeyAlgorithm::TripleDes2),
            Self::Sm4Extended => matches!(algorithm, KeyAlgorithm::Sm4),
        }
    }

    /// The format that goes with a PIN key of the algorithm.
    pub const fn for_key(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::Des | KeyAlgorithm::TripleDes2 => Some(Self::Iso0),
            KeyAlgorithm::Sm4 => Some(Self::Sm4Extended),
            KeyAlgorithm::TripleDes3
            | KeyAlgorithm::Aes128
            | KeyAlgorithm::Aes192
            | KeyAlgorithm::Aes256
            | KeyAlgorithm::HmacSha256 => None,
        }
    }
}

impl fmt::Display for PinFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iso0 => "ISO-0",
            Self::Sm4Extended => "SM4 (modelled)",
        })
    }
}

/// An encrypted PIN block, as field 52 (8 bytes) or its SM4 carrier (16 bytes) holds it. Its bytes are not
/// shown by `Debug`: with the key they are a PIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EncryptedPinBlock {
    /// How the block was made.
    pub format: PinFormat,
    bytes: [u8; 16],
}

impl EncryptedPinBlock {
    /// Takes the bytes of a block.
    ///
    /// # Errors
    /// [`HsmError::PinBlock`] when the length does not fit the format.
    pub fn new(format: PinFormat, bytes: &[u8]) -> Result<Self, HsmError> {
        if bytes.len() != format.block_len() {
            return Err(HsmError::PinBlock);
        }
        Ok(Self { format, bytes: crate::primitives::take(bytes) })
    }

    /// A format 0 block.
    pub fn iso0(bytes: [u8; 8]) -> Self {
        Self { format: PinFormat::Iso0, bytes: crate::primitives::take(&bytes) }
    }

    /// An SM4 block (modelled).
    pub const fn sm4(bytes: [u8; 16]) -> Self {
        Self { format: PinFormat::Sm4Extended, bytes }
    }

    /// The 8 or 16 bytes to send.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.format.block_len()).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for EncryptedPinBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedPinBlock({})", self.format)
    }
}

/// What an issuer keeps instead of a PIN: a keyed digest over card number and PIN. Useless without the
/// key inside the module; text form 64 hexadecimal digits. `Debug` hides it all the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PinReference(pub(crate) [u8; 32]);

impl fmt::Display for PinReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for PinReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PinReference(..)")
    }
}

impl FromStr for PinReference {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| HsmError::KeyText("a PIN reference is 64 hex digits"))?;
        Ok(Self(bytes))
    }
}
