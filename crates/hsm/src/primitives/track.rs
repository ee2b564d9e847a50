//! Track encryption between terminal and acquirer (field 53, digit 3 = 1).
//!
//! The track is packed two digits to a byte (an odd one padded on the right); the cipher block that ends
//! just before the last byte is encrypted and its nibbles put back in place. The length stays, the first
//! digits (BIN) and the last one or two stay readable.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{BlockKey, hex_digit, hex_value};
use crate::HsmError;
use crate::track::TrackData;

/// Field 36 is at most 104 digits; nothing longer is a track.
const TRACK_MAX: usize = 104;

/// Positions of the encrypted digits in a track of `len` digits.
fn segment(len: usize, block: usize) -> Result<Range<usize>, HsmError> {
    if len > TRACK_MAX {
        return Err(HsmError::Track("too long"));
    }
    let end = len.next_multiple_of(2).checked_sub(2).ok_or(HsmError::Track("too short"))?;
    let start =
        end.checked_sub(block.saturating_mul(2)).ok_or(HsmError::Track("too short for its cipher"))?;
    Ok(start..end)
}

/// Replaces the encrypted segment by what `operation` makes of it.
fn transform(
    digits: &mut [u8],
    block_len: usize,
    operation: impl FnOnce(&mut [u8]) -> Result<(), HsmError>,
) -> Result<(), HsmError> {
    let range = segment(digits.len(), block_len)?;
    let segment = digits.get_mut(range).ok_or(HsmError::Track("too short"))?;
    let mut block = Zeroizing::new([0u8; 16]);
    let block = block.get_mut(..block_len).ok_or(HsmError::Track("no such cipher"))?;
    let (pairs, _) = segment.as_chunks::<2>();
    for (byte, [high, low]) in block.iter_mut().zip(pairs) {
        let nibbles = hex_value(*high).zip(hex_value(*low));
        let (high, low) = nibbles.ok_or(HsmError::Track("a character that is no digit"))?;
        *byte = (high << 4) | low;
    }
    operation(block)?;
    let (pairs, _) = segment.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(block.iter()) {
        *pair = [hex_digit(byte >> 4), hex_digit(*byte)];
    }
    Ok(())
}

/// Whether every character may stand in a clear track: a digit or the separator, written `D`.
fn is_clear(digits: &[u8]) -> bool {
    digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'D'))
}

/// Encrypts a clear track (separator `=` or `D`). The result has the same number of characters, all of
/// them hexadecimal digits.
///
/// # Errors
/// A character that is no track digit; fewer digits than the cipher needs (18 for DES, 34 for SM4).
pub fn encrypt(key: &BlockKey, track: &str) -> Result<String, HsmError> {
    encrypt_with(key.block_len(), track, |block| key.encrypt_ecb(block))
}

/// The same with a cipher that is elsewhere.
pub(crate) fn encrypt_with(
    block_len: usize,
    track: &str,
    cipher: impl FnOnce(&mut [u8]) -> Result<(), HsmError>,
) -> Result<String, HsmError> {
    let mut digits = Zeroizing::new(track.replace('=', "D").into_bytes());
    if !is_clear(&digits) {
        return Err(HsmError::Track("a character that is no track digit"));
    }
    transform(&mut digits, block_len, cipher)?;
    String::from_utf8(digits.to_vec()).map_err(|_| HsmError::Track("not text"))
}

/// Decrypts a track as it stood in field 35 or 36, hexadecimal digits. The separator comes out as `D`.
///
/// # Errors
/// Too short for the cipher; or the result is no track, which a wrong key shows with a probability of
/// 99.7 percent.
pub fn decrypt(key: &BlockKey, digits: &str) -> Result<TrackData, HsmError> {
    decrypt_with(key.block_len(), digits, |block| key.decrypt_ecb(block))
}

/// The same with a cipher that is elsewhere.
pub(crate) fn decrypt_with(
    block_len: usize,
    digits: &str,
    cipher: impl FnOnce(&mut [u8]) -> Result<(), HsmError>,
) -> Result<TrackData, HsmError> {
    let mut digits = Zeroizing::new(digits.replace('=', "D").to_ascii_uppercase().into_bytes());
    transform(&mut digits, block_len, cipher)?;
    if !is_clear(&digits) {
        return Err(HsmError::Track("not a track under this key"));
    }
    let text = std::str::from_utf8(&digits).map_err(|_| HsmError::Track("not text"))?;
    Ok(TrackData::new(text))
}
