//! Field 62 of a sign-in answer: the working keys for a terminal, each with its check value.
//!
//! ```text
//! 24      PIK 8  kcv 4 | MAK 8  kcv 4
//! 40      PIK 16 kcv 4 | MAK 8 + 8 zero bytes (or MAK 16) kcv 4
//! 60      the 40 | TDK 16 kcv 4
//! 60 SM4  PIK 16 kcv 4 | MAK 16 kcv 4 | TDK 16 kcv 4
//! ```

use crate::key::{ExportedKey, Kcv, KeyAlgorithm, KeyUsage, WrappedKey};
use crate::primitives::take;
use crate::{Hsm, HsmError};

/// Which of the layouts. Length alone does not tell the two of 60 bytes apart: the terminal asked for one
/// of them in field 60.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyBlobLayout {
    /// 24 bytes, 60.3 = 001: single-length keys.
    Single24,
    /// 40 bytes, 60.3 = 003: double-length PIK, MAK of either length.
    Double40,
    /// 60 bytes, 60.3 = 004: with a track key.
    DoubleTrack60,
    /// 60 bytes, 60.3 = 006: three SM4 keys.
    Sm4Track60,
}

impl KeyBlobLayout {
    /// The layout a sign-in with this network management code (60.3) is answered with.
    pub const fn for_management_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Single24),
            3 => Some(Self::Double40),
            4 => Some(Self::DoubleTrack60),
            6 => Some(Self::Sm4Track60),
            _ => None,
        }
    }

    /// The layout of a DES-family block by its length.
    ///
    /// # Errors
    /// [`HsmError::KeyBlob`] for a length that has no layout.
    pub const fn for_len(len: usize) -> Result<Self, HsmError> {
        match len {
            24 => Ok(Self::Single24),
            40 => Ok(Self::Double40),
            60 => Ok(Self::DoubleTrack60),
            _ => Err(HsmError::KeyBlob("no layout has this length")),
        }
    }

    /// Bytes of the whole block.
    pub const fn byte_len(self) -> usize {
        match self {
            Self::Single24 => 24,
            Self::Double40 => 40,
            Self::DoubleTrack60 | Self::Sm4Track60 => 60,
        }
    }

    /// Whether it carries a track key.
    pub const fn has_track(self) -> bool {
        matches!(self, Self::DoubleTrack60 | Self::Sm4Track60)
    }

    /// Bytes reserved for each key.
    const fn slot(self) -> usize {
        match self {
            Self::Single24 => 8,
            Self::Double40 | Self::DoubleTrack60 | Self::Sm4Track60 => 16,
        }
    }

    /// Algorithm of PIK and TDK.
    pub const fn algorithm(self) -> KeyAlgorithm {
        match self {
            Self::Single24 => KeyAlgorithm::Des,
            Self::Double40 | Self::DoubleTrack60 => KeyAlgorithm::TripleDes2,
            Self::Sm4Track60 => KeyAlgorithm::Sm4,
        }
    }

    /// Whether a MAK of this algorithm has a place in the layout.
    pub const fn mac_allowed(self, algorithm: KeyAlgorithm) -> bool {
        match self {
            Self::Single24 => matches!(algorithm, KeyAlgorithm::Des),
            Self::Double40 | Self::DoubleTrack60 => {
                matches!(algorithm, KeyAlgorithm::Des | KeyAlgorithm::TripleDes2)
            }
            Self::Sm4Track60 => matches!(algorithm, KeyAlgorithm::Sm4),
        }
    }
}

/// A key block taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBlob {
    /// PIN key.
    pub pin: ExportedKey,
    /// MAC key.
    pub mac: ExportedKey,
    /// Track key, in the layouts of 60 bytes.
    pub track: Option<ExportedKey>,
}

/// Builds field 62 from exported keys in the order PIK, MAK and, where the layout has it, TDK.
///
/// # Errors
/// [`HsmError::KeyBlob`] when the number or the kind of the keys does not fit the layout.
pub fn build_key_blob(layout: KeyBlobLayout, keys: &[ExportedKey]) -> Result<Vec<u8>, HsmError> {
    let (pin, mac, track) = match keys {
        [pin, mac] if !layout.has_track() => (pin, mac, None),
        [pin, mac, track] if layout.has_track() => (pin, mac, Some(track)),
        _ => return Err(HsmError::KeyBlob("the layout takes another number of keys")),
    };
    let wanted = layout.algorithm();
    if pin.algorithm != wanted || track.is_some_and(|key| key.algorithm != wanted) {
        return Err(HsmError::KeyBlob("a key of an algorithm the layout does not carry"));
    }
    if !layout.mac_allowed(mac.algorithm) {
        return Err(HsmError::KeyBlob("a MAC key of an algorithm the layout does not carry"));
    }
    // A double-length MAK whose second half is zero would be read as a single one: make another.
    if mac.algorithm == KeyAlgorithm::TripleDes2 && second_half_is_zero(&mac.cipher) {
        return Err(HsmError::KeyBlob("this MAC key would be misread; generate another"));
    }
    let mut out = Vec::with_capacity(layout.byte_len());
    for key in [Some(pin), Some(mac), track].into_iter().flatten() {
        if key.cipher.len() != key.algorithm.key_len() {
            return Err(HsmError::KeyBlob("a key of the wrong length"));
        }
        let fill = layout.slot().saturating_sub(key.cipher.len());
        out.extend_from_slice(&key.cipher);
        out.extend(std::iter::repeat_n(0, fill));
        out.extend_from_slice(&key.kcv.bytes());
    }
    Ok(out)
}

fn second_half_is_zero(cipher: &[u8]) -> bool {
    cipher.get(8..).is_some_and(|half| half.iter().all(|byte| *byte == 0))
}

/// Takes field 62 apart. In the layouts of 40 and 60 bytes the MAK is of double length exactly when its
/// second half is not zero.
///
/// # Errors
/// [`HsmError::KeyBlob`] when the length is not the layout's.
pub fn parse_key_blob(layout: KeyBlobLayout, blob: &[u8]) -> Result<KeyBlob, HsmError> {
    if blob.len() != layout.byte_len() {
        return Err(HsmError::KeyBlob("not the length of the layout"));
    }
    let mut records = blob.chunks(layout.slot().saturating_add(4)).map(|record| {
        let (cipher, kcv) = record.split_at_checked(layout.slot()).unwrap_or((record, &[]));
        ExportedKey { algorithm: layout.algorithm(), cipher: cipher.to_vec(), kcv: Kcv(take(kcv)) }
    });
    let mut next = || records.next().ok_or(HsmError::KeyBlob("not the length of the layout"));
    let pin = next()?;
    let mut mac = next()?;
    let track = if layout.has_track() { Some(next()?) } else { None };
    if layout.algorithm() == KeyAlgorithm::TripleDes2 && second_half_is_zero(&mac.cipher) {
        mac.algorithm = KeyAlgorithm::Des;
        mac.cipher.truncate(8);
    }
    Ok(KeyBlob { pin, mac, track })
}

/// Bytes of one record: its type, a key of 16 bytes, eight characters of check value.
const RECORD: usize = 25;

/// What a record's type says, in the order of the records: PIN, MAC and track key (modelled).
const RECORD_TYPES: [u8; 3] = *b"123";

/// Builds field 62 as records of 25 bytes, in the order PIK, MAK and, where the layout has it, TDK. A key of 8 bytes is
/// filled with zeros; the check value is the usual four bytes in hexadecimal. One vendor's form, whose codes are
/// modelled.
///
/// # Errors
/// As [`build_key_blob`].
pub fn build_key_records(layout: KeyBlobLayout, keys: &[ExportedKey]) -> Result<Vec<u8>, HsmError> {
    // The same rules on which keys go together.
    build_key_blob(layout, keys)?;
    let mut out = Vec::with_capacity(RECORD * keys.len());
    for (key, kind) in keys.iter().zip(RECORD_TYPES) {
        out.push(kind);
        out.extend_from_slice(&key.cipher);
        out.extend(std::iter::repeat_n(0, 16_usize.saturating_sub(key.cipher.len())));
        out.extend_from_slice(hex::encode_upper(key.kcv.bytes()).as_bytes());
    }
    Ok(out)
}

/// Takes records of 25 bytes apart.
///
/// # Errors
/// [`HsmError::KeyBlob`] when the number of the records is not the layout's, or a record is not as laid out.
pub fn parse_key_records(layout: KeyBlobLayout, field: &[u8]) -> Result<KeyBlob, HsmError> {
    let count = if layout.has_track() { 3 } else { 2 };
    if field.len() != RECORD * count {
        return Err(HsmError::KeyBlob("not the length of the layout's records"));
    }
    let mut keys = field.chunks(RECORD).zip(RECORD_TYPES).map(|(record, kind)| {
        let bad = || HsmError::KeyBlob("a record that is not as laid out");
        let (head, rest) = record.split_first().ok_or_else(bad)?;
        let (cipher, check) = rest.split_at_checked(16).ok_or_else(bad)?;
        let mut kcv = [0; 4];
        if *head != kind || hex::decode_to_slice(check, &mut kcv).is_err() {
            return Err(bad());
        }
        let single = layout.slot() == 8 || layout.algorithm() == KeyAlgorithm::TripleDes2 && kind == b'2';
        let short = single && second_half_is_zero(cipher);
        let (algorithm, len) = if short { (KeyAlgorithm::Des, 8) } else { (layout.algorithm(), 16) };
        if layout.slot() == 8 && !short {
            return Err(bad());
        }
        Ok(ExportedKey { algorithm, cipher: cipher.iter().copied().take(len).collect(), kcv: Kcv(kcv) })
    });
    let mut next = || keys.next().unwrap_or(Err(HsmError::KeyBlob("not the length of the layout's records")));
    let (pin, mac) = (next()?, next()?);
    Ok(KeyBlob { pin, mac, track: if layout.has_track() { Some(next()?) } else { None } })
}

/// Working keys of a terminal, inside the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingKeys {
    /// PIN key.
    pub pin: WrappedKey,
    /// MAC key.
    pub mac: WrappedKey,
    /// Track key, if the terminal encrypts tracks.
    pub track: Option<WrappedKey>,
}

impl WorkingKeys {
    /// Makes a fresh set for a layout; `mac` chooses the length of the MAK.
    ///
    /// # Errors
    /// The layout has no place for such a MAK; no randomness.
    pub fn generate(hsm: &dyn Hsm, layout: KeyBlobLayout, mac: KeyAlgorithm) -> Result<Self, HsmError> {
        if !layout.mac_allowed(mac) {
            return Err(HsmError::KeyBlob("a MAC key of an algorithm the layout does not carry"));
        }
        let algorithm = layout.algorithm();
        Ok(Self {
            pin: hsm.generate(KeyUsage::Pin, algorithm)?,
            mac: hsm.generate(KeyUsage::Mac, mac)?,
            track: if layout.has_track() { Some(hsm.generate(KeyUsage::Track, algorithm)?) } else { None },
        })
    }

    /// The host's side of a sign-in: field 62 with these keys under the terminal's master key.
    ///
    /// # Errors
    /// The keys do not fit the layout or the master key.
    pub fn to_blob(
        &self,
        hsm: &dyn Hsm,
        layout: KeyBlobLayout,
        terminal_master: &WrappedKey,
    ) -> Result<Vec<u8>, HsmError> {
        build_key_blob(layout, &self.exported(hsm, terminal_master)?)
    }

    /// The same as records of 25 bytes: [`build_key_records`].
    ///
    /// # Errors
    /// The keys do not fit the layout or the master key.
    pub fn to_records(
        &self,
        hsm: &dyn Hsm,
        layout: KeyBlobLayout,
        terminal_master: &WrappedKey,
    ) -> Result<Vec<u8>, HsmError> {
        build_key_records(layout, &self.exported(hsm, terminal_master)?)
    }

    fn exported(&self, hsm: &dyn Hsm, terminal_master: &WrappedKey) -> Result<Vec<ExportedKey>, HsmError> {
        let keys = [Some(&self.pin), Some(&self.mac), self.track.as_ref()];
        keys.into_iter().flatten().map(|key| hsm.export(key, terminal_master)).collect()
    }

    /// The terminal's side: takes field 62 apart, unwraps every key and compares every check value. The
    /// caller keeps its old keys when this fails.
    ///
    /// # Errors
    /// A length that is not the layout's, or [`HsmError::CheckValue`].
    pub fn from_blob(
        hsm: &dyn Hsm,
        layout: KeyBlobLayout,
        blob: &[u8],
        terminal_master: &WrappedKey,
    ) -> Result<Self, HsmError> {
        Self::received(hsm, &parse_key_blob(layout, blob)?, terminal_master)
    }

    /// The same with records of 25 bytes: [`parse_key_records`].
    ///
    /// # Errors
    /// A number of records that is not the layout's, or [`HsmError::CheckValue`].
    pub fn from_records(
        hsm: &dyn Hsm,
        layout: KeyBlobLayout,
        field: &[u8],
        terminal_master: &WrappedKey,
    ) -> Result<Self, HsmError> {
        Self::received(hsm, &parse_key_records(layout, field)?, terminal_master)
    }

    fn received(hsm: &dyn Hsm, parts: &KeyBlob, terminal_master: &WrappedKey) -> Result<Self, HsmError> {
        let load = |usage, key: &ExportedKey, name| {
            let wrapped = hsm.import(usage, key.algorithm, &key.cipher, terminal_master)?;
            if wrapped.kcv() == key.kcv { Ok(wrapped) } else { Err(HsmError::CheckValue(name)) }
        };
        Ok(Self {
            pin: load(KeyUsage::Pin, &parts.pin, "the PIN key")?,
            mac: load(KeyUsage::Mac, &parts.mac, "the MAC key")?,
            track: match &parts.track {
                Some(key) => Some(load(KeyUsage::Track, key, "the track key")?),
                None => None,
            },
        })
    }
}
