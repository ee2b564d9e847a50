//! The rules of key use and of PIN formats, above both back ends: what a key may be, what it may do, and what may come in
//! and go out under it. They look at what a wrapped key says of itself and never at a clear key of ours.

use zeroize::Zeroizing;

use crate::HsmError;
use crate::key::{KeyAlgorithm, KeyUsage, WrappedKey};
use crate::mac::MacAlgorithm;
use crate::pin::{Pin, PinFormat};
use crate::primitives;
use crate::tr31::{BlockVersion, Exportability, KeyBlockHeader, OptionalBlock};

/// Whether there are keys of this usage and algorithm.
pub(crate) fn may_exist(usage: KeyUsage, algorithm: KeyAlgorithm) -> Result<(), HsmError> {
    if usage.allows(algorithm) { Ok(()) } else { Err(HsmError::NoSuchKey { usage, algorithm }) }
}

/// Whether such a key may be entered in so many components.
pub(crate) fn may_come_in(
    usage: KeyUsage,
    algorithm: KeyAlgorithm,
    components: usize,
) -> Result<(), HsmError> {
    may_exist(usage, algorithm)?;
    if components == 1 && usage != KeyUsage::TerminalMaster {
        return Err(HsmError::Components("only a terminal master key may come in one piece"));
    }
    Ok(())
}

/// Whether a received key, clear or not, is as long as its algorithm says.
pub(crate) fn has_length(algorithm: KeyAlgorithm, key: &[u8]) -> Result<(), HsmError> {
    let wanted = algorithm.key_len();
    if key.len() == wanted {
        Ok(())
    } else {
        Err(HsmError::KeyLength { algorithm, wanted, found: key.len() })
    }
}

/// Whether the key out of a block is as long as its algorithm says, and of a length that is in use here.
pub(crate) fn block_key_has_length(algorithm: KeyAlgorithm, key: &[u8]) -> Result<(), HsmError> {
    // T in a header is any triple DES; terminals and the network have no place for a key of 24 bytes.
    if algorithm == KeyAlgorithm::TripleDes2 && key.len() == KeyAlgorithm::TripleDes3.key_len() {
        return Err(HsmError::KeyBlock(
            "its key is of triple length: terminals and the network have keys of single and double length",
        ));
    }
    has_length(algorithm, key)
}

/// What a PIN reference under this key is the keyed digest of.
pub(crate) fn reference_input(
    pin: &Pin,
    pan: &str,
    key: &WrappedKey,
) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    key.require(KeyUsage::PinVerification)?;
    if !matches!(pan.len(), 13..=19) || !pan.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(HsmError::Pan);
    }
    let mut input = Zeroizing::new(Vec::with_capacity(64));
    for part in [b"posp pin reference v1 ".as_slice(), pan.as_bytes(), b" ", pin.digits()] {
        input.extend_from_slice(part);
    }
    Ok(input)
}

/// Whether a key may send one of this usage and algorithm in ECB.
pub(crate) fn may_transport(
    usage: KeyUsage,
    algorithm: KeyAlgorithm,
    under: &WrappedKey,
) -> Result<(), HsmError> {
    if !under.usage().sends_keys() {
        return Err(HsmError::WrongUsage { wanted: KeyUsage::TerminalMaster, found: under.usage() });
    }
    if !usage.may_be_sent() {
        return Err(HsmError::NeverSent { usage });
    }
    if !under.algorithm().may_wrap(algorithm) {
        return Err(HsmError::WeakWrap { found: algorithm, under: under.algorithm() });
    }
    Ok(())
}

/// A key block over clear keys, with fresh fill.
pub(crate) fn make_block(
    protection: &[u8],
    header: &KeyBlockHeader,
    clear: &[u8],
) -> Result<String, HsmError> {
    let mut fill = vec![0u8; primitives::key_block::fill_len(header.version, clear.len(), BLOCK_LOOKS_LIKE)];
    getrandom::fill(&mut fill).map_err(|_| HsmError::Random)?;
    primitives::key_block::wrap(protection, header, clear, &fill)
}

/// What a received block's key would be, before anything is decrypted.
pub(crate) fn block_admits(
    usage: KeyUsage,
    block: &str,
    under: &WrappedKey,
) -> Result<KeyAlgorithm, HsmError> {
    under.require(KeyUsage::BlockProtection)?;
    let version = block_version(under)?;
    let (header, _) = KeyBlockHeader::parse(block)?;
    let algorithm = header.admits(usage)?;
    if header.version != version {
        return Err(HsmError::KeyBlock("its version is not that of the protection key"));
    }
    Ok(algorithm)
}

/// A key in a key block looks as long as a triple-length one: who sees the block cannot tell.
const BLOCK_LOOKS_LIKE: usize = 24;

/// The header of a block that carries a key under a protection key.
pub(crate) fn block_header(
    key: &WrappedKey,
    under: &WrappedKey,
    exportability: Exportability,
    optional: &[OptionalBlock],
) -> Result<KeyBlockHeader, HsmError> {
    under.require(KeyUsage::BlockProtection)?;
    let header = KeyBlockHeader::describe(block_version(under)?, key.usage(), key.algorithm())?;
    Ok(KeyBlockHeader { exportability, optional: optional.to_vec(), ..header })
}

/// The version of the blocks that a protection key makes.
fn block_version(under: &WrappedKey) -> Result<BlockVersion, HsmError> {
    BlockVersion::for_key(under.algorithm())
        .ok_or(HsmError::WrongAlgorithm { operation: "a key block", found: under.algorithm() })
}

/// Whether PIN blocks of this format may be made and read with a key.
pub(crate) fn pin_key(key: &WrappedKey, format: PinFormat) -> Result<(), HsmError> {
    key.require(KeyUsage::Pin)?;
    if format.fits(key.algorithm()) {
        Ok(())
    } else {
        Err(HsmError::PinFormat { format, found: key.algorithm() })
    }
}

/// Whether a key may make and check this MAC.
pub(crate) fn mac_key(key: &WrappedKey, algorithm: MacAlgorithm) -> Result<(), HsmError> {
    key.require(KeyUsage::Mac)?;
    if algorithm.fits(key.algorithm()) {
        Ok(())
    } else {
        Err(HsmError::WrongAlgorithm { operation: "this MAC", found: key.algorithm() })
    }
}
