//! TR-31 (ANSI X9.143) key blocks over clear keys: version B (triple DES) and version D (AES).
//!
//! Both derive an encryption and a MAC key from the block protection key by CMAC in counter mode, sign
//! header and clear payload, and encrypt the payload with the MAC as start value, so a header cannot be
//! exchanged and one payload under two headers looks like two.
//!
//! ```text
//! header, ASCII | payload, hex: bits of key 2, key, random fill | MAC, hex: 8 bytes (B), 16 (D)
//! ```

use aes::{Aes128, Aes192, Aes256};
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{DesKey, TripleKey, take, xor};
use crate::HsmError;
use crate::key::Kcv;
use crate::tr31::{BlockVersion, KeyBlockHeader};

/// The cipher of a version under a key of one of its lengths.
enum Cipher {
    Tdes2(Box<DesKey>),
    Tdes3(Box<TripleKey>),
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl Cipher {
    fn new(version: BlockVersion, key: &[u8]) -> Result<Self, HsmError> {
        match (version, key.len()) {
            (BlockVersion::B, 16) => Ok(Self::Tdes2(Box::new(DesKey::double(&take(key))))),
            (BlockVersion::B, 24) => Ok(Self::Tdes3(Box::new(TripleKey::new(&take(key))))),
            (BlockVersion::D, 16) => Ok(Self::Aes128(Box::new(Aes128::new(&take::<16>(key).into())))),
            (BlockVersion::D, 24) => Ok(Self::Aes192(Box::new(Aes192::new(&take::<24>(key).into())))),
            (BlockVersion::D, 32) => Ok(Self::Aes256(Box::new(Aes256::new(&take::<32>(key).into())))),
            (version, _) => Err(HsmError::KeyBlock(version.takes())),
        }
    }

    /// Encrypts one block; of a shorter cipher block the rest stays zero.
    fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block;
        match self {
            Self::Tdes2(key) => return take(&key.encrypt(take(&block))),
            Self::Tdes3(key) => return take(&key.encrypt(take(&block))),
            Self::Aes128(key) => key.encrypt_block((&mut block).into()),
            Self::Aes192(key) => key.encrypt_block((&mut block).into()),
            Self::Aes256(key) => key.encrypt_block((&mut block).into()),
        }
        block
    }

    fn decrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block;
        match self {
            Self::Tdes2(key) => return take(&key.decrypt(take(&block))),
            Self::Tdes3(key) => return take(&key.decrypt(take(&block))),
            Self::Aes128(key) => key.decrypt_block((&mut block).into()),
            Self::Aes192(key) => key.decrypt_block((&mut block).into()),
            Self::Aes256(key) => key.decrypt_block((&mut block).into()),
        }
        block
    }

    const fn block_len(&self) -> usize {
        match self {
            Self::Tdes2(_) | Self::Tdes3(_) => 8,
            _ => 16,
        }
    }

    /// CMAC (SP 800-38B) over the parts one after the other; the result fills the first bytes.
    fn cmac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let len = self.block_len();
        let subkey = |times: usize| {
            let mut key = Zeroizing::new(self.encrypt([0; 16]));
            for _ in 0..times {
                let value = u128::from_be_bytes(*key);
                // A block of 8 stands in the upper half.
                let polynomial = if len == 8 { 0x1B << 64 } else { 0x87 };
                *key = ((value << 1) ^ if value >> 127 == 1 { polynomial } else { 0 }).to_be_bytes();
            }
            key
        };
        let mut value = [0u8; 16];
        let mut filled = 0;
        for byte in parts.iter().copied().flatten() {
            if filled == len {
                value = self.encrypt(value);
                filled = 0;
            }
            value.iter_mut().skip(filled).take(1).for_each(|to| *to ^= byte);
            filled += 1;
        }
        let key = if filled == len {
            subkey(1)
        } else {
            value.iter_mut().skip(filled).take(1).for_each(|to| *to ^= 0x80);
            subkey(2)
        };
        self.encrypt(xor(value, *key))
    }

    /// CBC in place over whole blocks.
    fn cbc(&self, start: &[u8], data: &mut [u8], encrypt: bool) {
        let mut chain = take::<16>(start);
        for block in data.chunks_exact_mut(self.block_len()) {
            let input = take::<16>(block);
            let output =
                if encrypt { self.encrypt(xor(input, chain)) } else { xor(self.decrypt(input), chain) };
            // Beyond a short block both stay zero.
            chain = if encrypt { output } else { input };
            block.iter_mut().zip(output).for_each(|(to, from)| *to = from);
        }
    }
}

/// Derives the key that encrypts (0) or signs (1) a block: as long as the protection key, in as many blocks of CMAC
/// as that takes, over counter, purpose, the cipher's number and the length in bits (X9.143 7.2).
fn derive(version: BlockVersion, protection: &[u8], purpose: u8) -> Result<Cipher, HsmError> {
    let cipher = Cipher::new(version, protection)?;
    let algorithm: u8 = match (version, protection.len()) {
        (BlockVersion::B, 16) => 0,
        (BlockVersion::B, _) => 1,
        (BlockVersion::D, 16) => 2,
        (BlockVersion::D, 24) => 3,
        (BlockVersion::D, _) => 4,
    };
    let bits = u16::try_from(protection.len().saturating_mul(8)).unwrap_or(0).to_be_bytes();
    let mut key = Zeroizing::new([0u8; 32]);
    let wanted = key.get_mut(..protection.len()).unwrap_or_default();
    for (part, counter) in wanted.chunks_mut(cipher.block_len()).zip(1u8..) {
        let [high, low] = bits;
        let output = Zeroizing::new(cipher.cmac(&[&[counter, 0, purpose, 0, 0, algorithm, high, low]]));
        part.iter_mut().zip(*output).for_each(|(to, from)| *to = from);
    }
    Cipher::new(version, key.get(..protection.len()).unwrap_or_default())
}

/// Makes a key block.
///
/// `fill` is what stands after the key, random bytes of the caller; length field, key and fill must be whole
/// cipher blocks.
///
/// # Errors
/// A protection key of a length the version does not take; fill that does not complete the payload; a block
/// longer than its four digits say.
pub fn wrap(protection: &[u8], header: &KeyBlockHeader, key: &[u8], fill: &[u8]) -> Result<String, HsmError> {
    let version = header.version;
    let mut payload = Zeroizing::new(Vec::with_capacity(2 + key.len() + fill.len()));
    let bits =
        u16::try_from(key.len().saturating_mul(8)).map_err(|_| HsmError::KeyBlock("the key is too long"))?;
    payload.extend_from_slice(&bits.to_be_bytes());
    payload.extend_from_slice(key);
    payload.extend_from_slice(fill);
    if payload.len() % version.block_len() != 0 {
        return Err(HsmError::KeyBlock("the payload does not fill its cipher blocks"));
    }
    let mut text = header.render(payload.len())?;
    let mac = derive(version, protection, 1)?.cmac(&[text.as_bytes(), &payload]);
    let mac = mac.get(..version.block_len()).unwrap_or_default();
    derive(version, protection, 0)?.cbc(mac, &mut payload, true);
    text.push_str(&hex::encode_upper(&*payload));
    text.push_str(&hex::encode_upper(mac));
    Ok(text)
}

/// Check value of an AES protection key: the first bytes of the CMAC of a zero block.
pub(crate) fn check_value(key: &[u8]) -> Result<Kcv, HsmError> {
    Ok(Kcv(take(&Cipher::new(BlockVersion::D, key)?.cmac(&[&[0; 16]]))))
}

/// How many bytes of fill make a key of `key` bytes look like one of `longest`.
pub fn fill_len(version: BlockVersion, key: usize, longest: usize) -> usize {
    let whole = key.max(longest).saturating_add(2).next_multiple_of(version.block_len());
    whole.saturating_sub(key.saturating_add(2))
}

/// Opens a key block: its header and the clear key.
///
/// # Errors
/// [`HsmError::KeyBlock`] for whatever is not right: the header, the lengths, the MAC.
pub fn unwrap(protection: &[u8], text: &str) -> Result<(KeyBlockHeader, Zeroizing<Vec<u8>>), HsmError> {
    let (header, head_len) = KeyBlockHeader::parse(text)?;
    let version = header.version;
    let (head, body) = text.split_at_checked(head_len).ok_or(HsmError::KeyBlock("it ends in its header"))?;
    let mut body = Zeroizing::new(
        hex::decode(body).map_err(|_| HsmError::KeyBlock("payload or MAC is not hexadecimal"))?,
    );
    let payload_len = body
        .len()
        .checked_sub(version.block_len())
        .filter(|len| *len > 0 && len % version.block_len() == 0)
        .ok_or(HsmError::KeyBlock("payload and MAC are not whole cipher blocks"))?;
    let (payload, mac) = body.split_at_mut(payload_len);
    derive(version, protection, 0)?.cbc(mac, payload, false);
    let own = derive(version, protection, 1)?.cmac(&[head.as_bytes(), payload]);
    if !bool::from(own.get(..mac.len()).unwrap_or_default().ct_eq(mac)) {
        return Err(HsmError::KeyBlock("its MAC is wrong: another protection key, or it was altered"));
    }
    let Some((bits, rest)) = payload.split_first_chunk::<2>() else {
        return Err(HsmError::KeyBlock("the payload is empty"));
    };
    let bits = usize::from(u16::from_be_bytes(*bits));
    let key = rest
        .get(..bits / 8)
        .filter(|key| bits % 8 == 0 && !key.is_empty())
        .ok_or(HsmError::KeyBlock("the length of its key is not one that fits the payload"))?;
    Ok((header, Zeroizing::new(key.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of SP 800-38B for an empty, a whole and a long message, with every cipher.
    #[test]
    fn cmac_as_the_standard_has_it() {
        let message =
            hex::decode("6BC1BEE22E409F96E93D7E117393172AAE2D8A571E03AC9C9EB76FAC45AF8E5130C81C46A35CE411")
                .unwrap();
        let ciphers = [
            (
                BlockVersion::D,
                "2B7E151628AED2A6ABF7158809CF4F3C",
                [
                    (0, "BB1D6929E95937287FA37D129B756746"),
                    (16, "070A16B46B4D4144F79BDD9DD04A287C"),
                    (40, "DFA66747DE9AE63030CA32611497C827"),
                ],
            ),
            (
                BlockVersion::D,
                "8E73B0F7DA0E6452C810F32B809079E562F8EAD2522C6B7B",
                [
                    (0, "D17DDF46ADAACDE531CAC483DE7A9367"),
                    (16, "9E99A7BF31E710900662F65E617C5184"),
                    (40, "8A1DE5BE2EB31AAD089A82E6EE908B0E"),
                ],
            ),
            (
                BlockVersion::D,
                "603DEB1015CA71BE2B73AEF0857D77811F352C073B6108D72D9810A30914DFF4",
                [
                    (0, "028962F61B7BF89EFC6B551F4667D983"),
                    (16, "28A7023F452E8F82BD4BF28D8C37C35C"),
                    (40, "AAF3D8F1DE5640C232F5B169B9C911E6"),
                ],
            ),
            (
                BlockVersion::B,
                "4CF15134A2850DD58A3D10BA80570D38",
                [(0, "BD2EBF9A3BA00361"), (8, "4FF2AB813C53CE83"), (20, "62DD1B471902BD4E")],
            ),
            (
                BlockVersion::B,
                "8AA83BF8CBDA10620BC1BF19FBB6CD58BC313D4A371CA8B5",
                [(0, "B7A688E122FFAF95"), (8, "8E8F293136283797"), (20, "743DDBE0CE2DC2ED")],
            ),
        ];
        for (version, key, macs) in ciphers {
            let cipher = Cipher::new(version, &hex::decode(key).unwrap()).unwrap();
            for (len, mac) in macs {
                let own = cipher.cmac(&[&message[..len]]);
                assert_eq!(hex::encode_upper(&own[..version.block_len()]), mac, "{key} over {len}");
            }
        }
    }
}
