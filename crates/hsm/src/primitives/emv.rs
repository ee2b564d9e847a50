//! Application cryptograms, their answers and script protection, for issuer and card alike.

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::mac::{self, Padding};
use super::{BlockKey, DesKey, Sm4Key, take, xor};
use crate::HsmError;
use crate::emv::{CardContext, CryptogramVersion, KeyDerivation};
use crate::key::KeyAlgorithm;

/// Sixteen bytes of clear key, wiped when dropped.
pub type ClearKey16 = Zeroizing<[u8; 16]>;

/// Packs decimal digit values two to a byte, the last 16 of them.
fn pack16(digits: impl DoubleEndedIterator<Item = u8>) -> [u8; 8] {
    let value = digits.rev().take(16).enumerate().fold(0u64, |value, (index, digit)| {
        let shift = u32::try_from(index.saturating_mul(4)).unwrap_or(0);
        value | (u64::from(digit).checked_shl(shift).unwrap_or(0))
    });
    value.to_be_bytes()
}

/// Y, the 8 bytes from which a card's key is derived.
///
/// # Errors
/// [`HsmError::Pan`], [`HsmError::CardSequence`].
pub fn diversifier(pan: &str, psn: u8, derivation: KeyDerivation) -> Result<[u8; 8], HsmError> {
    if !matches!(pan.len(), 13..=19) || !pan.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(HsmError::Pan);
    }
    if psn > 99 {
        return Err(HsmError::CardSequence);
    }
    let digits = || pan.bytes().map(|digit| digit - b'0').chain([psn / 10, psn % 10]);
    if derivation == KeyDerivation::OptionA || pan.len() <= 16 {
        return Ok(pack16(digits()));
    }
    // SHA-1 over the packed number, a zero in front when the count is odd. Its decimal digits come first,
    // in order; if there are fewer than 16, the hex letters follow as 0 to 5.
    let odd = pan.len() % 2 == 1;
    let nibbles: Zeroizing<Vec<u8>> = Zeroizing::new(odd.then_some(0).into_iter().chain(digits()).collect());
    let (pairs, _) = nibbles.as_chunks::<2>();
    let packed: Zeroizing<Vec<u8>> =
        Zeroizing::new(pairs.iter().map(|[high, low]| (high << 4) | low).collect());
    let hash = Sha1::digest(&*packed);
    let hash: Vec<u8> = hash.iter().flat_map(|byte| [byte >> 4, byte & 0x0F]).collect();
    let decimal = hash.iter().copied().filter(|nibble| *nibble <= 9);
    let letters = hash.iter().copied().filter(|nibble| *nibble > 9).map(|nibble| nibble - 10);
    let chosen: Vec<u8> = decimal.chain(letters).take(16).collect();
    Ok(pack16(chosen.into_iter()))
}

/// The card's own key (UDK) under the issuer's master key.
///
/// # Errors
/// See [`diversifier`].
pub fn card_key(imk: &BlockKey, card: &CardContext<'_>) -> Result<ClearKey16, HsmError> {
    let y = diversifier(card.pan, card.psn, card.derivation)?;
    Ok(pair(imk, y, xor(y, [0xFF; 8])))
}

/// Encrypts two 8-byte values into a 16-byte key.
fn pair(key: &BlockKey, left: [u8; 8], right: [u8; 8]) -> ClearKey16 {
    let mut both = [0; 16];
    both.iter_mut().zip(left.into_iter().chain(right)).for_each(|(to, from)| *to = from);
    match key {
        BlockKey::Des(key) => {
            let (left, right) = (key.encrypt(left), key.encrypt(right));
            both.iter_mut().zip(left.into_iter().chain(right)).for_each(|(to, from)| *to = from);
        }
        BlockKey::Sm4(key) => both = key.encrypt(both),
    }
    Zeroizing::new(both)
}

/// Schedule of a 16-byte key of the same family as `like`.
fn schedule(like: &BlockKey, key: &ClearKey16) -> BlockKey {
    match like {
        BlockKey::Des(_) => BlockKey::Des(DesKey::double(key)),
        BlockKey::Sm4(_) => BlockKey::Sm4(Sm4Key::new(key)),
    }
}

/// PBOC session key: both halves from the transaction counter.
fn pboc_session(udk: &BlockKey, atc: u16) -> ClearKey16 {
    let value = |counter: u16| u64::from(counter).to_be_bytes();
    pair(udk, value(atc), value(!atc))
}

/// EMV common session key from the diversification value R.
fn common_session(udk: &BlockKey, r: [u8; 8]) -> ClearKey16 {
    let with = |third: u8| {
        let mut value = r;
        value.iter_mut().skip(2).take(1).for_each(|byte| *byte = third);
        value
    };
    pair(udk, with(0xF0), with(0x0F))
}

/// The key that makes cryptograms for this card and counter.
///
/// # Errors
/// See [`diversifier`]; SM4 is defined (modelled) for version 01 only.
pub fn session_key(imk: &BlockKey, card: &CardContext<'_>) -> Result<ClearKey16, HsmError> {
    let clear = card_key(imk, card)?;
    if matches!(imk, BlockKey::Sm4(_)) && card.version != CryptogramVersion::V01 {
        return Err(HsmError::WrongAlgorithm {
            operation: "this cryptogram version",
            found: KeyAlgorithm::Sm4,
        });
    }
    let udk = schedule(imk, &clear);
    Ok(match card.version {
        CryptogramVersion::V01 => pboc_session(&udk, card.atc),
        CryptogramVersion::V10 | CryptogramVersion::V17 => clear,
        CryptogramVersion::V18 => {
            let mut r = [0; 8];
            r.iter_mut().zip(card.atc.to_be_bytes()).for_each(|(to, from)| *to = from);
            common_session(&udk, r)
        }
    })
}

fn mac8(key: &BlockKey, data: &[u8], padding: Padding) -> [u8; 8] {
    match key {
        BlockKey::Des(key) => mac::x919(key, data, padding),
        BlockKey::Sm4(key) => take(&mac::sm4_cbc(key, data, padding)),
    }
}

/// Application cryptogram (ARQC, TC or AAC) over data composed by the caller.
///
/// # Errors
/// See [`session_key`]; [`HsmError::EmptyData`].
pub fn cryptogram(imk: &BlockKey, card: &CardContext<'_>, data: &[u8]) -> Result<[u8; 8], HsmError> {
    if data.is_empty() {
        return Err(HsmError::EmptyData);
    }
    let padding = match card.version {
        CryptogramVersion::V01 | CryptogramVersion::V18 => Padding::Eighty,
        CryptogramVersion::V10 | CryptogramVersion::V17 => Padding::Zero,
    };
    Ok(mac8(&schedule(imk, &session_key(imk, card)?), data, padding))
}

/// Response cryptogram, method 1: the cryptogram with the response code added, encrypted.
///
/// # Errors
/// See [`session_key`].
pub fn arpc_method1(
    imk: &BlockKey,
    card: &CardContext<'_>,
    cryptogram: [u8; 8],
    response_code: [u8; 2],
) -> Result<[u8; 8], HsmError> {
    let input = xor(cryptogram, take(&response_code));
    Ok(match schedule(imk, &session_key(imk, card)?) {
        BlockKey::Des(key) => key.encrypt(input),
        BlockKey::Sm4(key) => take(&key.encrypt(take(&input))),
    })
}

/// Response cryptogram, method 2: 4 bytes of MAC over cryptogram, card status update and proprietary data
/// (up to 8 bytes).
///
/// # Errors
/// See [`session_key`]; [`HsmError::TooLong`]; SM4 has no method 2.
pub fn arpc_method2(
    imk: &BlockKey,
    card: &CardContext<'_>,
    cryptogram: [u8; 8],
    status_update: [u8; 4],
    proprietary: &[u8],
) -> Result<[u8; 4], HsmError> {
    let BlockKey::Des(_) = imk else {
        return Err(HsmError::WrongAlgorithm { operation: "response method 2", found: KeyAlgorithm::Sm4 });
    };
    if proprietary.len() > 8 {
        return Err(HsmError::TooLong("a response of method 2"));
    }
    let input: Vec<u8> =
        cryptogram.into_iter().chain(status_update).chain(proprietary.iter().copied()).collect();
    Ok(take(&mac8(&schedule(imk, &session_key(imk, card)?), &input, Padding::Eighty)))
}

/// The key that protects an issuer script: the PBOC session key for version 01, the common session key
/// over the cryptogram for version 18.
fn script_key(imk: &BlockKey, card: &CardContext<'_>, cryptogram: [u8; 8]) -> Result<BlockKey, HsmError> {
    let udk = schedule(imk, &card_key(imk, card)?);
    let key = match (card.version, imk) {
        (CryptogramVersion::V01, _) => pboc_session(&udk, card.atc),
        (CryptogramVersion::V18, BlockKey::Des(_)) => common_session(&udk, cryptogram),
        (_, BlockKey::Des(_)) => {
            return Err(HsmError::WrongAlgorithm {
                operation: "issuer scripts in this cryptogram version",
                found: KeyAlgorithm::TripleDes2,
            });
        }
        (_, BlockKey::Sm4(_)) => {
            return Err(HsmError::WrongAlgorithm {
                operation: "issuer scripts in this cryptogram version",
                found: KeyAlgorithm::Sm4,
            });
        }
    };
    Ok(schedule(imk, &key))
}

/// MAC of a script command. `input` is header, counter, cryptogram and data as the card will compose
/// them; padding 80 is added here. A command carries the first 4 bytes.
///
/// # Errors
/// Versions 10 and 17 have no script rule here; see also [`session_key`].
pub fn script_mac(
    imk: &BlockKey,
    card: &CardContext<'_>,
    cryptogram: [u8; 8],
    input: &[u8],
) -> Result<[u8; 8], HsmError> {
    Ok(mac8(&script_key(imk, card, cryptogram)?, input, Padding::Eighty))
}

/// Enciphers data of a script command: a length byte, the data, padding 80 unless the blocks are full; ECB.
///
/// # Errors
/// More than 255 bytes; see also [`script_mac`].
pub fn script_encipher(
    imk: &BlockKey,
    card: &CardContext<'_>,
    cryptogram: [u8; 8],
    plain: &[u8],
) -> Result<Vec<u8>, HsmError> {
    let len = u8::try_from(plain.len()).map_err(|_| HsmError::TooLong("a script command"))?;
    let key = script_key(imk, card, cryptogram)?;
    let mut data = Zeroizing::new(Vec::with_capacity(plain.len().saturating_add(17)));
    data.push(len);
    data.extend_from_slice(plain);
    if data.len() % key.block_len() != 0 {
        data.push(0x80);
        let full = data.len().next_multiple_of(key.block_len());
        data.resize(full, 0);
    }
    key.encrypt_ecb(&mut data)?;
    Ok(std::mem::take(&mut *data))
}
