//! The rules themselves, over clear keys: ciphers, MACs, PIN blocks, track encryption, chip cryptograms.
//!
//! For the vault, for simulators that play a device or a network with their own keys, and for tests
//! with published numbers. The platform itself works through [`crate::Hsm`] and never sees a clear key.

mod block;
mod des;
pub mod emv;
pub mod key_block;
pub mod mac;
pub mod pin;
pub mod track;

pub(crate) use block::hmac_sha256;
pub use block::{BlockKey, DesKey, Sm4Key, TripleKey, check_value, check_value_for};

/// Exclusive-or of two blocks.
pub(crate) fn xor<const N: usize>(mut a: [u8; N], b: [u8; N]) -> [u8; N] {
    a.iter_mut().zip(b).for_each(|(to, from)| *to ^= from);
    a
}

/// The first `N` bytes of `from`, zero where it is shorter.
pub(crate) fn take<const N: usize>(from: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    out
}

/// Upper-case hexadecimal character of a nibble.
pub(crate) const fn hex_digit(nibble: u8) -> u8 {
    let nibble = nibble & 0x0F;
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

/// Value of a hexadecimal character.
pub(crate) const fn hex_value(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'A'..=b'F' => Some(character - b'A' + 10),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}
