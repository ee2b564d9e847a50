//! Key components: the shares in which custodians carry a key to the machine.

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

use crate::HsmError;
use crate::key::{Kcv, KeyAlgorithm, KeyUsage};
use crate::primitives::check_value_for;

/// Longest component: 32 bytes, for a master key.
const COMPONENT_MAX: usize = 32;

const LENGTHS: &str = "a component has 8, 16, 24 or 32 bytes";

/// One component of a key, wiped when dropped. The key is the exclusive-or of its components.
pub struct KeyComponent {
    bytes: Zeroizing<[u8; COMPONENT_MAX]>,
    len: usize,
    /// Check value as the custodian wrote it: 3 or 4 bytes.
    check: Option<([u8; 4], usize)>,
}

impl KeyComponent {
    /// Takes raw bytes: 8, 16, 24 or 32.
    ///
    /// # Errors
    /// Another length.
    pub fn new(bytes: &[u8]) -> Result<Self, HsmError> {
        if !matches!(bytes.len(), 8 | 16 | 24 | 32) {
            return Err(HsmError::Components(LENGTHS));
        }
        let mut own = Zeroizing::new([0; COMPONENT_MAX]);
        own.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(Self { bytes: own, len: bytes.len(), check: None })
    }

    /// Reads hexadecimal text as a custodian types it: blanks and dashes between groups are allowed.
    ///
    /// # Errors
    /// Anything but 16, 32, 48 or 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, HsmError> {
        // Room for the whole text at once, so that growing leaves no copies behind.
        let mut digits = Zeroizing::new(String::with_capacity(text.len()));
        digits.extend(text.chars().filter(|c| !c.is_whitespace() && *c != '-'));
        let mut bytes = Zeroizing::new([0u8; COMPONENT_MAX]);
        let len = digits.len() / 2;
        let target = bytes.get_mut(..len).ok_or(HsmError::Components(LENGTHS))?;
        hex::decode_to_slice(digits.as_bytes(), target)
            .map_err(|_| HsmError::Components("a component is typed in hexadecimal digits"))?;
        Self::new(target)
    }

    /// A fresh random component of 8, 16, 24 or 32 bytes, for drawing a key in parts.
    ///
    /// # Errors
    /// Another length; no randomness.
    pub fn random(len: usize) -> Result<Self, HsmError> {
        let mut bytes = Zeroizing::new([0u8; COMPONENT_MAX]);
        let target = bytes.get_mut(..len).ok_or(HsmError::Components(LENGTHS))?;
        getrandom::fill(target).map_err(|_| HsmError::Random)?;
        Self::new(target)
    }

    /// The component in hexadecimal digits, to be shown once to its custodian. The text is the caller's:
    /// it is not wiped.
    pub fn reveal_hex(&self) -> String {
        hex::encode_upper(self.as_bytes())
    }

    /// Adds the check value written beside the component, 6 or 8 hexadecimal digits.
    ///
    /// # Errors
    /// Another length or other characters.
    pub fn with_check(mut self, text: &str) -> Result<Self, HsmError> {
        let mut bytes = [0; 4];
        let len = text.len() / 2;
        let target = match len {
            3 | 4 => bytes.get_mut(..len),
            _ => None,
        };
        target
            .and_then(|target| hex::decode_to_slice(text, target).ok())
            .ok_or(HsmError::Components("a check value is 6 or 8 hexadecimal digits"))?;
        self.check = Some((bytes, len));
        Ok(self)
    }

    /// Bytes in it: 8, 16, 24 or 32.
    pub const fn byte_len(&self) -> usize {
        self.len
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn verify(&self, usage: KeyUsage, algorithm: KeyAlgorithm) -> Result<(), HsmError> {
        let Some((check, len)) = self.check else { return Ok(()) };
        let own = check_value_for(usage, algorithm, self.as_bytes())?;
        let agrees = own.bytes().iter().zip(check).take(len).all(|(a, b)| *a == b);
        if agrees { Ok(()) } else { Err(HsmError::CheckValue("a component")) }
    }
}

impl FromStr for KeyComponent {
    type Err = HsmError;

    /// Reads `HEX` or `HEX:CHECK`.
    fn from_str(text: &str) -> Result<Self, HsmError> {
        match text.split_once(':') {
            Some((digits, check)) => Self::from_hex(digits)?.with_check(check.trim()),
            None => Self::from_hex(text),
        }
    }
}

impl fmt::Debug for KeyComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyComponent({} bytes)", self.len)
    }
}

/// Combines 1 to 3 components into a key of the algorithm, checking every check value that is there.
pub(crate) fn combine(
    usage: KeyUsage,
    algorithm: KeyAlgorithm,
    components: &[KeyComponent],
    check: Option<Kcv>,
) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    if components.is_empty() || components.len() > 3 {
        return Err(HsmError::Components("a key has one to three components"));
    }
    let wanted = algorithm.key_len();
    let mut key = Zeroizing::new(vec![0u8; wanted]);
    for component in components {
        let bytes = component.as_bytes();
        if bytes.len() != wanted {
            return Err(HsmError::KeyLength { algorithm, wanted, found: bytes.len() });
        }
        component.verify(usage, algorithm)?;
        key.iter_mut().zip(bytes).for_each(|(to, from)| *to ^= *from);
    }
    if key.iter().all(|byte| *byte == 0) {
        key.zeroize();
        return Err(HsmError::WeakKey("the components cancel out"));
    }
    if let Some(check) = check
        && check_value_for(usage, algorithm, &key)? != check
    {
        return Err(HsmError::CheckValue("the combined key"));
    }
    Ok(key)
}
