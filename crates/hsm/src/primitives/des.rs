//! DES and triple DES with combined tables, made for message chains.
//!
//! A payment host computes more DES than anything else: a network MAC is a chain of triple-DES blocks,
//! each waiting for the one before. What counts is the time from a round's input to its output. So
//!
//! * both halves are kept as the expansion E leaves them, eight groups of six bits, one to a byte: the
//!   substitution and the permutation P of a round become eight look-ups in tables that already hold
//!   expanded values, and nothing is shifted back and forth;
//! * a round key is added to the half that waits, not to the one that is being worked on;
//! * a chain stays inside the initial permutation: it is linear, so the permutation at the end of a block
//!   and the one at the start of the next cancel.
//!
//! Every table is computed by the compiler from the tables of the standard (FIPS 46-3).
//!
//! **Timing.** What is read of the tables is 4 KiB, 64 cache lines, at places that depend on key and data. Somebody
//! who runs code on the same processor and can watch its cache learns something about keys; table-driven
//! DES has always had this, with small tables less than with these. A machine that holds payment keys runs
//! nothing of strangers; who cannot promise that puts the keys into a hardware module.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The substitution boxes as the standard prints them: four rows of sixteen.
#[rustfmt::skip]
const BOXES: [[u8; 64]; 8] = [
    [14,  4, 13,  1,  2, 15, 11,  8,  3, 10,  6, 12,  5,  9,  0,  7,
      0, 15,  7,  4, 14,  2, 13,  1, 10,  6, 12, 11,  9,  5,  3,  8,
      4,  1, 14,  8, 13,  6,  2, 11, 15, 12,  9,  7,  3, 10,  5,  0,
     15, 12,  8,  2,  4,  9,  1,  7,  5, 11,  3, 14, 10,  0,  6, 13],
    [15,  1,  8, 14,  6, 11,  3,  4,  9,  7,  2, 13, 12,  0,  5, 10,
      3, 13,  4,  7, 15,  2,  8, 14, 12,  0,  1, 10,  6,  9, 11,  5,
      0, 14,  7, 11, 10,  4, 13,  1,  5,  8, 12,  6,  9,  3,  2, 15,
     13,  8, 10,  1,  3, 15,  4,  2, 11,  6,  7, 12,  0,  5, 14,  9],
    [10,  0,  9, 14,  6,  3, 15,  5,  1, 13, 12,  7, 11,  4,  2,  8,
     13,  7,  0,  9,  3,  4,  6, 10,  2,  8,  5, 14, 12, 11, 15,  1,
     13,  6,  4,  9,  8, 15,  3,  0, 11,  1,  2, 12,  5, 10, 14,  7,
      1, 10, 13,  0,  6,  9,  8,  7,  4, 15, 14,  3, 11,  5,  2, 12],
    [ 7, 13, 14,  3,  0,  6,  9, 10,  1,  2,  8,  5, 11, 12,  4, 15,
     13,  8, 11,  5,  6, 15,  0,  3,  4,  7,  2, 12,  1, 10, 14,  9,
     10,  6,  9,  0, 12, 11,  7, 13, 15,  1,  3, 14,  5,  2,  8,  4,
      3, 15,  0,  6, 10,  1, 13,  8,  9,  4,  5, 11, 12,  7,  2, 14],
    [ 2, 12,  4,  1,  7, 10, 11,  6,  8,  5,  3, 15, 13,  0, 14,  9,
     14, 11,  2, 12,  4,  7, 13,  1,  5,  0, 15, 10,  3,  9,  8,  6,
      4,  2,  1, 11, 10, 13,  7,  8, 15,  9, 12,  5,  6,  3,  0, 14,
     11,  8, 12,  7,  1, 14,  2, 13,  6, 15,  0,  9, 10,  4,  5,  3],
    [12,  1, 10, 15,  9,  2,  6,  8,  0, 13,  3,  4, 14,  7,  5, 11,
     10, 15,  4,  2,  7, 12,  9,  5,  6,  1, 13, 14,  0, 11,  3,  8,
      9, 14, 15,  5,  2,  8, 12,  3,  7,  0,  4, 10,  1, 13, 11,  6,
      4,  3,  2, 12,  9,  5, 15, 10, 11, 14,  1,  7,  6,  0,  8, 13],
    [ 4, 11,  2, 14, 15,  0,  8, 13,  3, 12,  9,  7,  5, 10,  6,  1,
     13,  0, 11,  7,  4,  9,  1, 10, 14,  3,  5, 12,  2, 15,  8,  6,
      1,  4, 11, 13, 12,  3,  7, 14, 10, 15,  6,  8,  0,  5,  9,  2,
      6, 11, 13,  8,  1,  4, 10,  7,  9,  5,  0, 15, 14,  2,  3, 12],
    [13,  2,  8,  4,  6, 15, 11,  1, 10,  9,  3, 14,  5,  0, 12,  7,
      1, 15, 13,  8, 10,  3,  7,  4, 12,  5,  6, 11,  0, 14,  9,  2,
      7, 11,  4,  1,  9, 12, 14,  2,  0,  6, 10, 13, 15,  3,  5,  8,
      2,  1, 14,  7,  4, 10,  8, 13, 15, 12,  9,  0,  3,  5,  6, 11],
];

/// Permutation P: bit `i` of the result is bit `P[i]` of the boxes' output, counted from 1 at the left.
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6,
    22, 11, 4, 25,
];

/// Permuted choice 1: key bits of the two halves C and D, counted from 1 at the left.
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44,
    36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20,
    12, 4,
];

/// Permuted choice 2: bits of C and D that make a round key.
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37,
    47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];

/// How far C and D turn to the left before each round.
const TURNS: [u32; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];

/// Six-bit groups, one to a byte.
const GROUPS: u32 = 0x3F3F_3F3F;
/// The four bits of each group that are its own; the outer two belong to its neighbours.
const OWN: u32 = 0x1E1E_1E1E;

/// Where the group of each box stands in an expanded half: boxes 1, 3, 5, 7 in the upper 32 bits, boxes
/// 2, 4, 6, 8 in the lower, so that one rotation of the half brings four groups into their bytes.
const SHIFT: [u32; 8] = [56, 24, 48, 16, 40, 8, 32, 0];

/// The expansion E.
const fn expand(half: u32) -> u64 {
    (((half.rotate_right(3) & GROUPS) as u64) << 32) | (half.rotate_left(1) & GROUPS) as u64
}

/// Takes E back.
const fn compress(expanded: u64) -> u32 {
    let (odd, even) = ((expanded >> 32) as u32, expanded as u32);
    (odd & OWN).rotate_left(3) | (even & OWN).rotate_right(1)
}

/// What each box gives for each input: through P, expanded. Inputs have six bits; the tables are as long as
/// a byte has values, so that a byte needs no mask before it becomes an index. The rest is never read.
static SP: [[u64; 256]; 8] = sp();

#[expect(clippy::indexing_slicing, reason = "run by the compiler: an index out of range does not build")]
const fn sp() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut number = 0;
    while number < 8 {
        let mut input = 0;
        while input < 64 {
            // The outer two bits choose the row, the inner four the column.
            let row = ((input >> 4) & 2) | (input & 1);
            let column = (input >> 1) & 15;
            let output = (BOXES[number][row * 16 + column] as u32) << (28 - 4 * number);
            let mut permuted = 0;
            let mut bit = 0;
            while bit < 32 {
                permuted |= ((output >> (32 - P[bit] as u32)) & 1) << (31 - bit);
                bit += 1;
            }
            tables[number][input] = expand(permuted);
            input += 1;
        }
        number += 1;
    }
    tables
}

/// What each nibble of a key adds to C and D (56 bits), from the left.
static KEY_CHOICE: [[u64; 16]; 16] = key_choice();

#[expect(clippy::indexing_slicing, reason = "run by the compiler: an index out of range does not build")]
const fn key_choice() -> [[u64; 16]; 16] {
    let mut tables = [[0; 16]; 16];
    let mut place = 0;
    while place < 16 {
        let mut value = 0;
        while value < 16 {
            let key = (value as u64) << (60 - 4 * place);
            let mut bit = 0;
            while bit < 56 {
                tables[place][value] |= ((key >> (64 - PC1[bit] as u32)) & 1) << (55 - bit);
                bit += 1;
            }
            value += 1;
        }
        place += 1;
    }
    tables
}

/// What each nibble of C and D adds to a round key, its groups in the places of [`SHIFT`].
static ROUND_CHOICE: [[u64; 16]; 14] = round_choice();

#[expect(clippy::indexing_slicing, reason = "run by the compiler: an index out of range does not build")]
const fn round_choice() -> [[u64; 16]; 14] {
    let mut tables = [[0; 16]; 14];
    let mut place = 0;
    while place < 14 {
        let mut value = 0;
        while value < 16 {
            let halves = (value as u64) << (52 - 4 * place);
            let mut bit = 0;
            while bit < 48 {
                let chosen = (halves >> (56 - PC2[bit] as u32)) & 1;
                tables[place][value] |= chosen << (SHIFT[bit / 6] + 5 - (bit % 6) as u32);
                bit += 1;
            }
            value += 1;
        }
        place += 1;
    }
    tables
}

/// Looks up each nibble of `value` in its table, the first table for the leftmost, and adds what is found.
fn choose<const N: usize>(tables: &[[u64; 16]; N], value: u64) -> u64 {
    let mut rest = value;
    tables.iter().rev().fold(0, |sum, table| {
        // A nibble is always within its table: no check is left in the code.
        let found = table.get((rest & 15) as usize).copied().unwrap_or(0);
        rest >>= 4;
        sum ^ found
    })
}

/// The initial permutation, as the two halves.
const fn initial(block: [u8; 8]) -> (u32, u32) {
    let block = u64::from_be_bytes(block);
    let (mut left, mut right) = ((block >> 32) as u32, block as u32);
    (left, right) = swap(left, right, 4, 0x0F0F_0F0F);
    (left, right) = swap(left, right, 16, 0x0000_FFFF);
    (right, left) = swap(right, left, 2, 0x3333_3333);
    (right, left) = swap(right, left, 8, 0x00FF_00FF);
    swap(left, right, 1, 0x5555_5555)
}

/// The final permutation: the steps of the initial one from the last to the first.
const fn last(left: u32, right: u32) -> [u8; 8] {
    let (mut left, mut right) = swap(left, right, 1, 0x5555_5555);
    (right, left) = swap(right, left, 8, 0x00FF_00FF);
    (right, left) = swap(right, left, 2, 0x3333_3333);
    (left, right) = swap(left, right, 16, 0x0000_FFFF);
    (left, right) = swap(left, right, 4, 0x0F0F_0F0F);
    (((left as u64) << 32) | right as u64).to_be_bytes()
}

/// Exchanges the masked bits of `b` with those of `a` that stand `shift` higher.
const fn swap(a: u32, b: u32, shift: u32, mask: u32) -> (u32, u32) {
    let differ = ((a >> shift) ^ b) & mask;
    (a ^ (differ << shift), b ^ differ)
}

/// A block between the permutations, both halves expanded.
#[derive(Clone, Copy)]
pub(crate) struct Halves {
    left: u64,
    right: u64,
}

impl Halves {
    pub(crate) const ZERO: Self = Self { left: 0, right: 0 };

    pub(crate) const fn enter(block: [u8; 8]) -> Self {
        let (left, right) = initial(block);
        Self { left: expand(left), right: expand(right) }
    }

    pub(crate) const fn leave(self) -> [u8; 8] {
        last(compress(self.left), compress(self.right))
    }

    pub(crate) const fn xor(self, other: Self) -> Self {
        Self { left: self.left ^ other.left, right: self.right ^ other.right }
    }
}

/// The round keys of one DES key, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Schedule([u64; 16]);

impl Schedule {
    pub(crate) fn new(key: &[u8; 8]) -> Self {
        const HALF: u64 = (1 << 28) - 1;
        let both = choose(&KEY_CHOICE, u64::from_be_bytes(*key));
        let (mut c, mut d) = (both >> 28, both & HALF);
        let turn = |half: u64, by: u32| ((half << by) | (half >> (28 - by))) & HALF;
        let mut schedule = Self([0; 16]);
        for (round, by) in schedule.0.iter_mut().zip(TURNS) {
            (c, d) = (turn(c, by), turn(d, by));
            *round = choose(&ROUND_CHOICE, (c << 28) | d);
        }
        schedule
    }

    pub(crate) fn encrypt(&self, block: Halves) -> Halves {
        let [first, middle @ .., last] = &self.0;
        let (pairs, _) = middle.as_chunks::<2>();
        sixteen(block, *first, pairs.iter().map(|[odd, even]| (*odd, *even)), *last)
    }

    pub(crate) fn decrypt(&self, block: Halves) -> Halves {
        let [last, middle @ .., first] = &self.0;
        let (pairs, _) = middle.as_chunks::<2>();
        sixteen(block, *first, pairs.iter().rev().map(|[even, odd]| (*odd, *even)), *last)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schedule(..)")
    }
}

/// Sixteen rounds and the exchange of the halves at their end; the keys in the order they are used.
#[inline(always)]
fn sixteen(block: Halves, first: u64, middle: impl Iterator<Item = (u64, u64)>, last: u64) -> Halves {
    let Halves { mut left, mut right } = block;
    // `input` is the working half with its key already added.
    let mut input = right ^ first;
    for (odd, even) in middle {
        (input, left) = round(input, left, odd);
        (input, right) = round(input, right, even);
    }
    (input, left) = round(input, left, last);
    (_, right) = round(input, right, 0);
    Halves { left: right, right: left }
}

/// One round: the half that waits, changed, once with the next round's key added and once without.
#[inline(always)]
fn round(input: u64, waiting: u64, next_key: u64) -> (u64, u64) {
    let [s1, s2, s3, s4, s5, s6, s7, s8] = &SP;
    let keyed = waiting ^ next_key;
    // Two bytes at a time: the processor has few shifts for a round's eight bytes, and takes either byte
    // of sixteen bits without one.
    let pair = |high: &[u64; 256], low: &[u64; 256], shift: u32| {
        let [second, first] = ((input >> shift) as u16).to_le_bytes().map(usize::from);
        high.get(first).copied().unwrap_or(0) ^ low.get(second).copied().unwrap_or(0)
    };
    // The boxes give different bits, so XOR, OR and addition put them together alike. With one operator
    // the compiler makes a row of seven steps of it; with three it must leave the tree, three steps deep.
    let odd = pair(s1, s3, 48) | pair(s5, s7, 32);
    let even = pair(s2, s4, 16) | pair(s6, s8, 0);
    let change = odd.wrapping_add(even);
    (keyed ^ change, waiting ^ change)
}

#[cfg(test)]
mod tests {
    use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
    use proptest::prelude::*;

    use super::*;

    fn encrypt(key: [u8; 8], block: [u8; 8]) -> [u8; 8] {
        Schedule::new(&key).encrypt(Halves::enter(block)).leave()
    }

    fn decrypt(key: [u8; 8], block: [u8; 8]) -> [u8; 8] {
        Schedule::new(&key).decrypt(Halves::enter(block)).leave()
    }

    fn with_bit(from_the_left: u32) -> [u8; 8] {
        (1u64 << (63 - from_the_left)).to_be_bytes()
    }

    fn block(hex: &str) -> [u8; 8] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// Widely printed examples: the worked one of textbooks, NBS's, and an all-zero one.
    #[test]
    fn published_examples() {
        for (key, clear, cipher) in [
            ("133457799BBCDFF1", "0123456789ABCDEF", "85E813540F0AB405"),
            ("0123456789ABCDEF", "4E6F772069732074", "3FA40E8A984D4815"),
            ("10316E028C8F3B4A", "0000000000000000", "82DCBAFBDEAB6602"),
            ("0101010101010101", "0000000000000000", "8CA64DE9C1B123A7"),
            ("FEDCBA9876543210", "0123456789ABCDEF", "ED39D950FA74BCC4"),
            ("7CA110454A1A6E57", "01A1D6D039776742", "690F5B0D9A26939B"),
        ] {
            assert_eq!(encrypt(block(key), block(clear)), block(cipher), "{key}");
            assert_eq!(decrypt(block(key), block(cipher)), block(clear), "{key}");
        }
    }

    /// SP 800-17's variable plain text and variable key tests: each bit of the block, each bit of the key.
    /// The first and last lines of both tables; the lines between against the other implementation.
    #[test]
    fn every_bit_of_block_and_key_as_sp800_17_walks_them() {
        let ones = block("0101010101010101");
        assert_eq!(encrypt(ones, with_bit(0)), block("95F8A5E5DD31D900"));
        assert_eq!(encrypt(ones, with_bit(1)), block("DD7F121CA5015619"));
        assert_eq!(encrypt(ones, with_bit(63)), block("166B40B44ABA4BD6"));
        assert_eq!(encrypt(block("8001010101010101"), [0; 8]), block("95A8D72813DAA94D"));
        assert_eq!(encrypt(block("0101010101010102"), [0; 8]), block("869EFD7F9F265A09"));
        for bit in 0..64 {
            same(ones, with_bit(bit));
            same(with_bit(bit), [0; 8]);
        }
    }

    fn same(key: [u8; 8], clear: [u8; 8]) {
        let other = des::Des::new(&key.into());
        let mut theirs = clear;
        other.encrypt_block((&mut theirs).into());
        assert_eq!(encrypt(key, clear), theirs);
        let mut theirs = clear;
        other.decrypt_block((&mut theirs).into());
        assert_eq!(decrypt(key, clear), theirs);
    }

    /// The halves stay as they were through both permutations and the expansion.
    #[test]
    fn entering_and_leaving_cancel() {
        for bit in 0..64 {
            assert_eq!(Halves::enter(with_bit(bit)).leave(), with_bit(bit));
            assert_eq!(compress(expand(1 << (bit % 32))), 1 << (bit % 32));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Any key and block: what an unrelated implementation computes, both ways.
        #[test]
        fn as_another_implementation(key: [u8; 8], clear: [u8; 8]) {
            same(key, clear);
        }
    }
}
