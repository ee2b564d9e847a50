//! The trait: everything the platform ever asks of a security module.

use zeroize::Zeroizing;

use crate::component::KeyComponent;
use crate::emv::CardContext;
use crate::error::HsmError;
use crate::key::{ExportedKey, Kcv, KeyAlgorithm, KeyUsage, WrappedKey};
use crate::mac::MacAlgorithm;
use crate::pin::{EncryptedPinBlock, Pin, PinFormat, PinReference};
use crate::tr31::{Exportability, KeyBlockHeader, OptionalBlock};
use crate::track::TrackData;

/// A security module. Object safe and synchronous: an operation takes microseconds in software, and a
/// hardware module is called from threads that may wait.
///
/// Every method that takes keys fails with [`HsmError::WrongUsage`] before it decrypts anything when a
/// key was made for another purpose, with [`HsmError::ForeignKey`] when a key belongs to another master
/// key or was altered, and with [`HsmError::Random`] when a fresh value is needed and none can be had.
pub trait Hsm: Send + Sync + 'static {
    /// Names the master key without giving anything of it away, as 16 hexadecimal digits. The store keeps
    /// it, so that a start with the wrong master key is noticed before anything is written.
    fn fingerprint(&self) -> String;

    /// The fingerprints of every master key that this module opens keys of, the one in force first: with it that which
    /// is prepared, and those before it.
    fn fingerprints(&self) -> Vec<String> {
        vec![self.fingerprint()]
    }

    /// Looks whether the master key has been rotated by another process, and takes the new one over. Cheap
    /// when it has not; a node calls it every second.
    ///
    /// # Errors
    /// [`HsmError::Token`] when what holds the master key cannot be read; the keys at hand stay good.
    fn refresh(&self) -> Result<bool, HsmError> {
        Ok(false)
    }

    /// Puts a master key in force that this module has prepared, because it is in force wherever the journal is: new
    /// keys are made under it from now on, also after a further [`Hsm::refresh`]. Whether that changed anything; a key
    /// that is unknown here, or that was in force before the present one, changes nothing.
    ///
    /// # Errors
    /// The module's own.
    fn put_in_force(&self, fingerprint: &str) -> Result<bool, HsmError> {
        let _: &str = fingerprint;
        Ok(false)
    }

    /// The key under the master key in force; `None` when it is under that already.
    ///
    /// # Errors
    /// [`HsmError::ForeignKey`].
    fn rewrap(&self, key: &WrappedKey) -> Result<Option<WrappedKey>, HsmError> {
        let _: &WrappedKey = key;
        Ok(None)
    }

    /// Makes a fresh random key.
    ///
    /// # Errors
    /// [`HsmError::NoSuchKey`] when the usage does not exist in that algorithm.
    fn generate(&self, usage: KeyUsage, algorithm: KeyAlgorithm) -> Result<WrappedKey, HsmError>;

    /// Takes a key as the exclusive-or of its components, each with its check value if it has one. Two
    /// or three components; a single one only for a terminal master key, as a key gun or an IC card
    /// injects it into its own terminal.
    ///
    /// # Errors
    /// [`HsmError::Components`], [`HsmError::CheckValue`], [`HsmError::WeakKey`], [`HsmError::KeyLength`].
    fn import_components(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        components: &[KeyComponent],
    ) -> Result<WrappedKey, HsmError> {
        self.import_components_checked(usage, algorithm, components, None)
    }

    /// Like [`Hsm::import_components`], and the combined key must have this check value.
    ///
    /// # Errors
    /// As there.
    fn import_components_checked(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        components: &[KeyComponent],
        check: Option<Kcv>,
    ) -> Result<WrappedKey, HsmError>;

    /// Sends a PIN, MAC or track key under a terminal or zone master key, in ECB. A key is never sent
    /// under a weaker one or one of the other family.
    ///
    /// # Errors
    /// [`HsmError::WeakWrap`]; [`HsmError::NeverSent`] for any other usage.
    fn export(&self, key: &WrappedKey, under: &WrappedKey) -> Result<ExportedKey, HsmError>;

    /// Receives a PIN, MAC or track key that another party sent in ECB. The caller compares
    /// [`WrappedKey::kcv`] with the check value that came with it.
    ///
    /// # Errors
    /// [`HsmError::WeakWrap`], [`HsmError::NeverSent`], [`HsmError::KeyLength`].
    fn import(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        cipher: &[u8],
        under: &WrappedKey,
    ) -> Result<WrappedKey, HsmError>;

    /// Sends a key in a TR-31 key block under a key block protection key: version B under triple DES,
    /// version D under AES. The header is [`KeyBlockHeader::describe`]'s with this exportability and these
    /// optional blocks; the payload hides the length of the key.
    ///
    /// # Errors
    /// [`HsmError::NeverSent`]; [`HsmError::KeyBlock`] for an SM4 key, which key blocks have no code for.
    fn export_block(
        &self,
        key: &WrappedKey,
        under: &WrappedKey,
        exportability: Exportability,
        optional: &[OptionalBlock],
    ) -> Result<String, HsmError>;

    /// Receives a key that another party sent in a TR-31 key block. The block must say that its key is for
    /// `usage`.
    ///
    /// # Errors
    /// [`HsmError::KeyBlock`] with what is wrong with it.
    fn import_block(
        &self,
        usage: KeyUsage,
        block: &str,
        under: &WrappedKey,
    ) -> Result<(WrappedKey, KeyBlockHeader), HsmError>;

    /// Signs a message; the result goes into field 64 or 128 as it is.
    ///
    /// # Errors
    /// [`HsmError::WrongAlgorithm`], [`HsmError::EmptyData`].
    fn mac(&self, key: &WrappedKey, algorithm: MacAlgorithm, data: &[u8]) -> Result<[u8; 8], HsmError>;

    /// Checks a received MAC in constant time. One of another length than 8 is wrong.
    ///
    /// # Errors
    /// As [`Hsm::mac`]; a wrong MAC is `Ok(false)`.
    fn verify_mac(
        &self,
        key: &WrappedKey,
        algorithm: MacAlgorithm,
        data: &[u8],
        received: &[u8],
    ) -> Result<bool, HsmError>;

    /// Turns a PIN block under one PIN key into one under another. The block inside is checked: format
    /// nibble, length 4 to 12, digits, fill.
    ///
    /// # Errors
    /// [`HsmError::PinBlock`], [`HsmError::Pan`], [`HsmError::PinFormat`].
    fn translate_pin(
        &self,
        block: &EncryptedPinBlock,
        from: &WrappedKey,
        to: &WrappedKey,
        to_format: PinFormat,
        pan: &str,
    ) -> Result<EncryptedPinBlock, HsmError>;

    /// What a PIN pad does.
    ///
    /// # Errors
    /// [`HsmError::Pan`], [`HsmError::PinFormat`].
    fn encrypt_pin(
        &self,
        pin: &Pin,
        pan: &str,
        key: &WrappedKey,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock, HsmError>;

    /// Issuer: whether the PIN in the block is the one of the reference.
    ///
    /// `verification` is the issuer's [`KeyUsage::PinVerification`] key that made the reference.
    ///
    /// # Errors
    /// [`HsmError::PinBlock`] when the block is not valid at all; a wrong PIN is `Ok(false)`.
    fn verify_pin(
        &self,
        block: &EncryptedPinBlock,
        key: &WrappedKey,
        pan: &str,
        verification: &WrappedKey,
        reference: &PinReference,
    ) -> Result<bool, HsmError>;

    /// Issuer: what to keep instead of the PIN.
    ///
    /// # Errors
    /// [`HsmError::Pan`].
    fn make_pin_reference(
        &self,
        pin: &Pin,
        pan: &str,
        verification: &WrappedKey,
    ) -> Result<PinReference, HsmError>;

    /// What a terminal does with a track before it sends it; hexadecimal digits for field 35 or 36.
    ///
    /// # Errors
    /// [`HsmError::Track`].
    fn encrypt_track(&self, track: &str, key: &WrappedKey) -> Result<String, HsmError>;

    /// The other side: takes the hexadecimal digits of field 35 or 36.
    ///
    /// # Errors
    /// [`HsmError::Track`], also when the result is no track.
    fn decrypt_track(&self, digits: &str, key: &WrappedKey) -> Result<TrackData, HsmError>;

    /// Card: makes an application cryptogram (ARQC, TC, AAC) over data composed in the order of the
    /// version. `imk` is the issuer's master key, from which the card's key follows.
    ///
    /// # Errors
    /// [`HsmError::Pan`], [`HsmError::CardSequence`], [`HsmError::WrongAlgorithm`], [`HsmError::EmptyData`].
    fn generate_ac(&self, imk: &WrappedKey, card: &CardContext<'_>, data: &[u8])
    -> Result<[u8; 8], HsmError>;

    /// Issuer: checks an application cryptogram in constant time.
    ///
    /// # Errors
    /// As [`Hsm::generate_ac`]; a wrong cryptogram is `Ok(false)`.
    fn verify_arqc(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        data: &[u8],
        arqc: &[u8],
    ) -> Result<bool, HsmError>;

    /// Issuer: answers a cryptogram by method 1. Tag 91 is these 8 bytes and the response code.
    ///
    /// # Errors
    /// As [`Hsm::generate_ac`].
    fn make_arpc(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        response_code: [u8; 2],
    ) -> Result<[u8; 8], HsmError>;

    /// Issuer: answers a cryptogram by method 2. Tag 91 is these 4 bytes, the card status update and the
    /// proprietary data (at most 8 bytes).
    ///
    /// # Errors
    /// As [`Hsm::generate_ac`]; [`HsmError::TooLong`]; SM4 has no method 2.
    fn make_arpc_method2(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        status_update: [u8; 4],
        proprietary: &[u8],
    ) -> Result<[u8; 4], HsmError>;

    /// Issuer: MAC of a script command under an [`KeyUsage::IssuerScriptMac`] key; the command carries
    /// the first 4 bytes. `input` is header, counter, cryptogram and data, without padding.
    ///
    /// # Errors
    /// As [`Hsm::generate_ac`].
    fn script_mac(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        input: &[u8],
    ) -> Result<[u8; 8], HsmError>;

    /// Issuer: enciphers script data under an [`KeyUsage::IssuerScriptCipher`] key.
    ///
    /// # Errors
    /// As [`Hsm::generate_ac`]; [`HsmError::TooLong`] over 255 bytes.
    fn script_encipher(
        &self,
        imk: &WrappedKey,
        card: &CardContext<'_>,
        arqc: [u8; 8],
        plain: &[u8],
    ) -> Result<Vec<u8>, HsmError>;

    /// Encrypts data at rest. The context (which column, which row) must be the same at [`Hsm::open`],
    /// so sealed values cannot be moved about.
    ///
    /// # Errors
    /// [`HsmError::Random`].
    fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, HsmError>;

    /// Decrypts data at rest.
    ///
    /// # Errors
    /// [`HsmError::Sealed`].
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError>;

    /// Keyed digest for look-ups: equal input, equal output, useless without the key.
    ///
    /// # Errors
    /// None in software; a hardware module may be out of reach.
    fn digest(&self, plain: &[u8]) -> Result<[u8; 32], HsmError>;
}
