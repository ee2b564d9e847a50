//! The MAC algorithms by name, as a terminal profile or a network line chooses them.

use crate::HsmError;
use crate::key::KeyAlgorithm;
use crate::primitives::mac::{Padding, cup_ecb, hex_head, sm4_cbc, sm4_cup, x99, x919};
use crate::primitives::{BlockKey, take};

/// How a message is signed. Whatever the algorithm, the result is the 8 bytes of field 64 or 128.
///
/// A network that uses X9.19 instead of triple-DES CBC for 16-byte keys takes
/// `X919 { pad80: false, hex: true }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MacAlgorithm {
    /// CUP ECB ("9606"), the default of UnionPay terminals; DES or triple DES. Eight hex characters.
    CupEcb,
    /// X9.9 CBC, zero fill; DES or triple DES. Eight raw bytes.
    X99,
    /// X9.9 CBC, zero fill; DES or triple DES. The first 4 bytes as hex characters.
    X99Hex,
    /// X9.19 (retail MAC); triple DES keys only.
    X919 {
        /// Fill with 80 00... instead of zeros.
        pad80: bool,
        /// First 4 bytes as hex characters instead of eight raw bytes.
        hex: bool,
    },
    /// CUP ECB with SM4 in blocks of 16. Eight hex characters.
    Sm4Cup,
    /// CUPS field 128: CBC over the selected fields as text, zero fill; DES or triple DES. Eight hex
    /// characters.
    CupsCbc,
    /// CUPS field 128 with SM4-CBC, zero fill. Eight hex characters. Modelled.
    CupsSm4,
}

impl MacAlgorithm {
    /// Whether the algorithm is defined for keys of this kind.
    pub const fn fits(self, algorithm: KeyAlgorithm) -> bool {
        use KeyAlgorithm as A;
        match self {
            Self::CupEcb | Self::X99 | Self::X99Hex | Self::CupsCbc => {
                matches!(algorithm, A::Des | A::TripleDes2)
            }
            Self::X919 { .. } => matches!(algorithm, A::TripleDes2),
            Self::Sm4Cup | Self::CupsSm4 => matches!(algorithm, A::Sm4),
        }
    }

    /// Computes over clear keys.
    ///
    /// # Errors
    /// The key is of the wrong family, or there is nothing to sign.
    pub fn compute(self, key: &BlockKey, data: &[u8]) -> Result<[u8; 8], HsmError> {
        if data.is_empty() {
            return Err(HsmError::EmptyData);
        }
        match (self, key) {
            (Self::CupEcb, BlockKey::Des(key)) => Ok(cup_ecb(key, data)),
            (Self::X99, BlockKey::Des(key)) => Ok(x99(key, data, Padding::Zero)),
            (Self::X99Hex | Self::CupsCbc, BlockKey::Des(key)) => {
                Ok(hex_head(&x99(key, data, Padding::Zero)))
            }
            (Self::X919 { pad80, hex }, BlockKey::Des(key)) if key.is_double() => {
                let raw = x919(key, data, if pad80 { Padding::Eighty } else { Padding::Zero });
                Ok(if hex { hex_head(&raw) } else { raw })
            }
            (Self::Sm4Cup, BlockKey::Sm4(key)) => Ok(sm4_cup(key, data)),
            (Self::CupsSm4, BlockKey::Sm4(key)) => Ok(take(&hex_head(&sm4_cbc(key, data, Padding::Zero)))),
            (Self::X919 { .. }, BlockKey::Des(_)) => {
                Err(HsmError::WrongAlgorithm { operation: "X9.19", found: KeyAlgorithm::Des })
            }
            (_, BlockKey::Des(_)) => {
                Err(HsmError::WrongAlgorithm { operation: "an SM4 MAC", found: KeyAlgorithm::TripleDes2 })
            }
            (_, BlockKey::Sm4(_)) => {
                Err(HsmError::WrongAlgorithm { operation: "a DES MAC", found: KeyAlgorithm::Sm4 })
            }
        }
    }
}
