//! Message authentication codes of terminals and networks.
//!
//! Every function takes the whole MAC block (for a terminal message: from the MTI to the last byte
//! before field 64, with bit 64 set in the bitmap).

use super::{DesKey, Sm4Key, hex_digit, take, xor};

/// Upper-case hexadecimal text of a block, as its two halves.
pub(crate) fn hex_halves<const N: usize>(block: [u8; N]) -> ([u8; N], [u8; N]) {
    let (mut head, mut tail) = ([0; N], [0; N]);
    let digits = block.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(*byte)]);
    head.iter_mut().chain(tail.iter_mut()).zip(digits).for_each(|(to, digit)| *to = digit);
    (head, tail)
}

/// First 8 hexadecimal characters of a block: what field 64 carries.
pub fn hex_head(block: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    let digits = block.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(*byte)]);
    out.iter_mut().zip(digits).for_each(|(to, digit)| *to = digit);
    out
}

/// Exclusive-or of all blocks, the last one filled with zeros.
pub(crate) fn fold<const N: usize>(data: &[u8]) -> [u8; N] {
    let (blocks, rest) = data.as_chunks::<N>();
    let folded = blocks.iter().fold([0; N], |sum, block| xor(sum, *block));
    xor(folded, take(rest))
}

/// CUP ECB MAC ("9606"): fold to R, spell R in hexadecimal, encrypt the first half, add the second,
/// encrypt again; the first 8 hexadecimal characters of the result. DES or triple DES by the key.
pub fn cup_ecb(key: &DesKey, data: &[u8]) -> [u8; 8] {
    let (head, tail) = hex_halves(fold::<8>(data));
    hex_head(&key.encrypt(xor(key.encrypt(head), tail)))
}

/// The same construction with SM4 and blocks of 16.
pub fn sm4_cup(key: &Sm4Key, data: &[u8]) -> [u8; 8] {
    let (head, tail) = hex_halves(fold::<16>(data));
    hex_head(&key.encrypt(xor(key.encrypt(head), tail)))
}

/// How the last block is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// Zeros, and none when the data already fills its blocks.
    Zero,
    /// One byte 80, then zeros: always added.
    Eighty,
}

/// The blocks of a chain over the data, the last one completed.
fn blocks<const N: usize>(data: &[u8], padding: Padding) -> impl Iterator<Item = [u8; N]> {
    let (whole, rest) = data.as_chunks::<N>();
    let mut last = take::<N>(rest);
    let add = match padding {
        Padding::Zero => !rest.is_empty(),
        Padding::Eighty => {
            last.iter_mut().skip(rest.len()).take(1).for_each(|byte| *byte = 0x80);
            true
        }
    };
    whole.iter().copied().chain(add.then_some(last))
}

/// X9.9: plain CBC with a zero start value, the whole last block. With a double-length key every step
/// is triple DES.
pub fn x99(key: &DesKey, data: &[u8], padding: Padding) -> [u8; 8] {
    key.chain(blocks(data, padding))
}

/// X9.19, ISO 9797-1 algorithm 3 (retail MAC): single DES under the left half, then the last block
/// decrypted with the right half and encrypted with the left.
pub fn x919(key: &DesKey, data: &[u8], padding: Padding) -> [u8; 8] {
    key.chain_retail(blocks(data, padding))
}

/// CBC with SM4, zero start value, the whole last block.
pub fn sm4_cbc(key: &Sm4Key, data: &[u8], padding: Padding) -> [u8; 16] {
    blocks(data, padding).fold([0; 16], |value, block| key.encrypt(xor(value, block)))
}
