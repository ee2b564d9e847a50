//! Checks and conversions that look at eight bytes at a time.
//!
//! Every check takes the whole field. Fields shorter than eight bytes are widened by repeating bytes of their
//! own, so that one test covers them without knowing the length.

const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;
const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A word made of bytes of `bytes` only, for fewer than eight of them; zero bytes give a zero word.
#[inline(always)]
fn small(bytes: &[u8]) -> u64 {
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        let word = u64::from(u16::from_le_bytes(*head)) | u64::from(u16::from_le_bytes(*tail)) << 16;
        word | word << 32
    } else {
        bytes.first().map_or(0, |byte| u64::from(*byte) * ONES)
    }
}

/// Whether `good` holds for every word; `bytes` must not be empty (an empty slice is good).
#[inline(always)]
fn all(bytes: &[u8], good: impl Fn(u64) -> bool) -> bool {
    match bytes.last_chunk::<8>() {
        None => bytes.is_empty() || good(small(bytes)),
        Some(last) => {
            let (chunks, _) = bytes.as_chunks::<8>();
            good(u64::from_le_bytes(*last)) && chunks.iter().all(|chunk| good(u64::from_le_bytes(*chunk)))
        }
    }
}

/// High bits of the bytes that lie in `low..=high`; every byte of `word` must be below 0x80.
#[inline(always)]
const fn in_range(word: u64, low: u64, high: u64) -> u64 {
    (word + (0x80 - low) * ONES) & !(word + (0x7f - high) * ONES) & HIGH
}

/// Every nibble of the word is 0 to 9.
#[inline(always)]
pub const fn word_is_bcd(word: u64) -> bool {
    // A nibble is above nine when its top bit is set together with one of the two bits below it.
    word & (word << 1 | word << 2) & 0x8888_8888_8888_8888 == 0
}

/// Every byte of the word is an ASCII digit.
#[inline(always)]
pub const fn word_is_digits(word: u64) -> bool {
    word & HIGH == 0 && in_range(word & LOW7, 0x30, 0x39) == HIGH
}

/// Every byte of the word is an ASCII letter, digit or space.
#[inline(always)]
pub const fn word_is_alphanumeric(word: u64) -> bool {
    let letters = in_range((word & LOW7) | (0x20 * ONES), 0x61, 0x7a);
    let digits = in_range(word & LOW7, 0x30, 0x39);
    let spaces = in_range(word & LOW7, 0x20, 0x20);
    word & HIGH == 0 && letters | digits | spaces == HIGH
}

/// Every byte of the word is printable ASCII or space.
#[inline(always)]
pub const fn word_is_printable(word: u64) -> bool {
    word & HIGH == 0 && in_range(word & LOW7, 0x20, 0x7e) == HIGH
}

/// No byte of the word is an ASCII control character; bytes from 0x80 (GBK) are let through.
#[inline(always)]
pub const fn word_is_text(word: u64) -> bool {
    in_range(word & LOW7, 0x20, 0x7e) | (word & HIGH) == HIGH
}

/// Every nibble is 0 to 9.
#[inline(always)]
pub fn is_bcd(bytes: &[u8]) -> bool {
    all(bytes, word_is_bcd)
}

/// Every byte is an ASCII digit.
#[inline(always)]
pub fn is_ascii_digits(bytes: &[u8]) -> bool {
    all(bytes, word_is_digits)
}

/// Every byte is an ASCII letter, digit or space.
#[inline(always)]
pub fn is_alphanumeric(bytes: &[u8]) -> bool {
    all(bytes, word_is_alphanumeric)
}

/// Every byte is printable ASCII or space.
#[inline(always)]
pub fn is_printable(bytes: &[u8]) -> bool {
    all(bytes, word_is_printable)
}

/// No byte is an ASCII control character; bytes from 0x80 (GBK) are let through.
#[inline(always)]
pub fn is_text(bytes: &[u8]) -> bool {
    all(bytes, word_is_text)
}

/// Track data in ASCII: hexadecimal digits in upper case, or `=`.
pub fn is_ascii_track(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F' | b'='))
}

/// The decimal value of a packed byte, when both nibbles are decimal.
#[inline(always)]
pub fn bcd_byte(byte: u8) -> Option<u16> {
    let (high, low) = (byte >> 4, byte & 15);
    if high < 10 && low < 10 { Some(u16::from(high) * 10 + u16::from(low)) } else { None }
}

/// The value of packed bytes, which must be decimal and at most nine bytes long.
#[inline(always)]
pub fn bcd_value(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=8 => packed_value(big_endian(bytes)),
        _ => {
            bytes.iter().fold(0, |value, byte| value * 100 + u64::from(byte >> 4) * 10 + u64::from(byte & 15))
        }
    }
}

/// At most eight bytes as a big-endian number.
#[inline(always)]
fn big_endian(bytes: &[u8]) -> u64 {
    // Two loads that may overlap: the bytes that both have are the same, so they can be joined.
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = (bytes.len() - 4) * 8;
        u64::from(u32::from_be_bytes(*head)) << (shift & 63) | u64::from(u32::from_be_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        let shift = (bytes.len() - 2) * 8;
        u64::from(u16::from_be_bytes(*head)) << (shift & 63) | u64::from(u16::from_be_bytes(*tail))
    } else {
        bytes.first().map_or(0, |byte| u64::from(*byte))
    }
}

/// The value of sixteen decimal nibbles.
#[inline(always)]
pub const fn packed_value(nibbles: u64) -> u64 {
    const EVEN_NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    const EVEN_BYTES: u64 = 0x00ff_00ff_00ff_00ff;
    const EVEN_PAIRS: u64 = 0x0000_ffff_0000_ffff;
    // Neighbours are joined: nibbles to 0..99, those to 0..9999, and so on.
    let pairs = ((nibbles >> 4) & EVEN_NIBBLES) * 10 + (nibbles & EVEN_NIBBLES);
    let fours = ((pairs >> 8) & EVEN_BYTES) * 100 + (pairs & EVEN_BYTES);
    if fours >> 32 == 0 {
        return (fours >> 16) * 10_000 + (fours & 0xffff);
    }
    let eights = ((fours >> 16) & EVEN_PAIRS) * 10_000 + (fours & EVEN_PAIRS);
    (eights >> 32) * 100_000_000 + (eights & 0xffff_ffff)
}

/// Four packed bytes as eight ASCII characters, `0` to `9` and `A` to `F`.
#[inline(always)]
pub fn unpack4(bytes: [u8; 4]) -> [u8; 8] {
    // Spread the bytes to every second place, then split each into its two nibbles, high nibble first.
    let word = u64::from(u32::from_be_bytes(bytes));
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Nibbles above nine get seven more, from `:` to `A`.
    let letters = ((nibbles + 6 * ONES) >> 4) & ONES;
    (nibbles + 0x30 * ONES + letters * 7).to_be_bytes()
}

/// One packed byte as two ASCII characters.
#[inline(always)]
pub const fn unpack1(byte: u8) -> [u8; 2] {
    [hex_digit(byte >> 4), hex_digit(byte & 15)]
}

/// ASCII character of a nibble, upper case.
#[inline(always)]
pub const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}

/// Eight ASCII digits as four packed bytes, or nothing when one is not a digit.
#[inline(always)]
pub fn pack8(digits: [u8; 8]) -> Option<[u8; 4]> {
    let word = u64::from_be_bytes(digits);
    if word & HIGH != 0 || in_range(word, 0x30, 0x39) != HIGH {
        return None;
    }
    let nibbles = word & 0x0f0f_0f0f_0f0f_0f0f;
    let word = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let word = (word | word >> 8) & 0x0000_ffff_0000_ffff;
    let word = (word | word >> 16) & 0xffff_ffff;
    Some((word as u32).to_be_bytes())
}

/// Value of an ASCII digit.
#[inline(always)]
pub const fn decimal(byte: u8) -> Option<u8> {
    let value = byte.wrapping_sub(b'0');
    if value < 10 { Some(value) } else { None }
}

/// Nibble of a track character: a hexadecimal digit in either case, `=` as `D`.
#[inline(always)]
pub const fn track_nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'=' => Some(0xd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every check agrees with its one-byte definition, for each byte value at each place of each short length.
    #[test]
    fn checks_agree_with_the_byte_definition() {
        type Pair = (fn(&[u8]) -> bool, fn(u8) -> bool, u8);
        let pairs: [Pair; 5] = [
            (is_bcd, |b| b >> 4 < 10 && b & 15 < 10, 0x99),
            (is_ascii_digits, |b| b.is_ascii_digit(), b'0'),
            (is_alphanumeric, |b| b.is_ascii_alphanumeric() || b == b' ', b'z'),
            (is_printable, |b| (0x20..0x7f).contains(&b), b'~'),
            (is_text, |b| b >= 0x80 || (0x20..0x7f).contains(&b), 0xd6),
        ];
        for (check, good, filler) in pairs {
            assert!(check(&[]));
            for len in 1..=26 {
                for place in 0..len {
                    for byte in 0..=255u8 {
                        let mut bytes = vec![filler; len];
                        bytes[place] = byte;
                        assert_eq!(check(&bytes), good(byte), "length {len}, place {place}, byte {byte:02x}");
                    }
                }
            }
        }
    }

    #[test]
    fn packing_and_unpacking() {
        assert_eq!(unpack4([0x12, 0x34, 0x5d, 0xaf]), *b"12345DAF");
        assert_eq!(pack8(*b"09876543"), Some([0x09, 0x87, 0x65, 0x43]));
        for byte in 0..=255u8 {
            let ok = byte.is_ascii_digit();
            assert_eq!(pack8([b'1', b'2', b'3', byte, b'5', b'6', b'7', b'8']).is_some(), ok);
        }
        let digits = [0x12, 0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x78];
        let mut expected = 0;
        for (len, byte) in (1..).zip(digits) {
            expected = expected * 100 + u64::from(byte >> 4) * 10 + u64::from(byte & 15);
            assert_eq!(bcd_value(&digits[..len]), expected);
        }
        assert_eq!(bcd_value(&[0x99; 8]), 9_999_999_999_999_999);
    }
}
