//! PIN blocks before encryption: ISO 9564 format 0, and the same rule in 16 bytes for SM4 (modelled).

use zeroize::Zeroizing;

use crate::HsmError;
use crate::pin::{PIN_MAX, PIN_MIN, Pin};

/// The 12 digits to the left of the check digit, as right-justified nibbles.
fn pan_part(pan: &str) -> Result<u128, HsmError> {
    let digits = pan.as_bytes();
    if !matches!(digits.len(), 13..=19) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HsmError::Pan);
    }
    let tail = digits.iter().rev().skip(1).take(12).rev();
    Ok(tail.fold(0, |value, digit| (value << 4) | u128::from(digit - b'0')))
}

/// Clear block of `nibbles` nibbles (16 or 32): length, digits and F fill, exclusive-or the PAN part.
fn build(pin: &Pin, pan: &str, nibbles: usize) -> Result<u128, HsmError> {
    let pan = pan_part(pan)?;
    let digits = pin.digits();
    let mut value = digits.len() as u128;
    for nibble in digits.iter().copied().chain(std::iter::repeat(0x0F)).take(nibbles.saturating_sub(2)) {
        value = (value << 4) | u128::from(nibble);
    }
    Ok(value ^ pan)
}

/// Reads a clear block back and checks everything that can be checked: the format nibble, the length,
/// the digits, the fill.
fn read(block: u128, pan: &str, nibbles: usize) -> Result<Pin, HsmError> {
    let value = block ^ pan_part(pan)?;
    let nibble = |index: usize| {
        let shift = nibbles.saturating_sub(1).saturating_sub(index).saturating_mul(4);
        ((value >> shift) & 0x0F) as u8
    };
    let len = usize::from(nibble(1));
    let mut digits = Zeroizing::new([0u8; PIN_MAX]);
    let mut valid = nibble(0) == 0 && (PIN_MIN..=PIN_MAX).contains(&len);
    for index in 0..nibbles.saturating_sub(2) {
        let found = nibble(index.saturating_add(2));
        if index < len {
            valid &= found <= 9;
            digits.iter_mut().skip(index).take(1).for_each(|digit| *digit = found);
        } else {
            valid &= found == 0x0F;
        }
    }
    if !valid {
        return Err(HsmError::PinBlock);
    }
    Pin::from_values(digits.get(..len).unwrap_or_default())
}

/// Clear format 0 block, 8 bytes.
///
/// # Errors
/// The card number is not 13 to 19 digits.
pub fn build_iso0(pin: &Pin, pan: &str) -> Result<Zeroizing<[u8; 8]>, HsmError> {
    Ok(Zeroizing::new((build(pin, pan, 16)? as u64).to_be_bytes()))
}

/// Reads a clear format 0 block.
///
/// # Errors
/// [`HsmError::PinBlock`] when it is not one for this card; [`HsmError::Pan`].
pub fn read_iso0(block: &[u8; 8], pan: &str) -> Result<Pin, HsmError> {
    read(u128::from(u64::from_be_bytes(*block)), pan, 16)
}

/// Clear SM4 block, 16 bytes, modelled: both parts of format 0 stretched to 32 nibbles.
///
/// # Errors
/// The card number is not 13 to 19 digits.
pub fn build_sm4(pin: &Pin, pan: &str) -> Result<Zeroizing<[u8; 16]>, HsmError> {
    Ok(Zeroizing::new(build(pin, pan, 32)?.to_be_bytes()))
}

/// Reads a clear SM4 block (modelled).
///
/// # Errors
/// [`HsmError::PinBlock`] when it is not one for this card; [`HsmError::Pan`].
pub fn read_sm4(block: &[u8; 16], pan: &str) -> Result<Pin, HsmError> {
    read(u128::from_be_bytes(*block), pan, 32)
}
