//! The security module behind PKCS#11: the master key and the ring's keys never leave a token.
//!
//! ```text
//! token, never extractable
//!   ├── posp-master    AES-256: wraps every working and master key (AES key wrap)
//!   ├── posp-binding   HMAC: binds usage, algorithm and check value to a wrapped key
//!   ├── posp-data      AES-256: makes the key of each sealed value
//!   └── posp-digest    HMAC: keyed digests
//! ```
//!
//! A wrapped key has the text form that it has elsewhere; its body is the key under AES key wrap and a tag of
//! HMAC-SHA-256 over usage, algorithm, check value and that. The key is unwrapped inside the token for each
//! operation and used there: MAC, PIN block and track ciphering are the token's work.
//!
//! What PKCS#11 has no mechanism for, and what follows:
//!
//! * *PIN translation*: the clear block is in this process between the two calls, and wiped;
//! * *a key in ECB under another*: for [`Hsm::export`], [`Hsm::import`] and key blocks the clear key is in this
//!   process for the length of the call, and wiped;
//! * *the retail MAC of X9.19*: it chains under the left half of the key alone, and the half of a key that the token
//!   holds cannot be had inside it. What could cut the key (wrapping in ECB or CBC, then unwrapping a part) tokens do
//!   not unwrap, because it would give keys away; AES key wrap binds both halves. So the clear key is in this process
//!   for the length of the call, and wiped;
//! * *SM4*: only where [`TokenConfig::sm4_in_process`] allows it, in the same way. The wrapped key stays under the
//!   token's master key: without the token nobody opens it;
//! * *issuer and card cryptograms*: refused with [`HsmError::Unsupported`].

mod token;

use std::fmt;

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub use token::TokenConfig;

use crate::component::{KeyComponent, combine};
use crate::emv::CardContext;
use crate::key::{ExportedKey, Kcv, KeyAlgorithm, KeyUsage, WRAP_MAX, WrappedKey};
use crate::mac::MacAlgorithm;
use crate::pin::{EncryptedPinBlock, Pin, PinFormat, PinReference};
use crate::primitives::{self, BlockKey, take};
use crate::tr31::{Exportability, KeyBlockHeader, OptionalBlock};
use crate::track::TrackData;
use crate::vault::{BlockCipher, ClearKey, SealKey, open_sealed};
use crate::{Hsm, HsmError, rules};
use token::{Token, find};

const MASTER: &str = "posp-master";
const BINDING: &str = "posp-binding";
const DATA: &str = "posp-data";
const DIGEST: &str = "posp-digest";
const LABELS: [&str; 4] = [MASTER, BINDING, DATA, DIGEST];

/// A security module on a PKCS#11 token.
pub struct Pkcs11Vault {
    token: Token,
    fingerprint: String,
    data: Kcv,
    /// CMAC's first subkey under the data key: with it a sealed value costs two calls of the token, not three.
    subkey: Zeroizing<[u8; 16]>,
    sm4_in_process: bool,
}

type Failure = cryptoki::error::Error;

impl Pkcs11Vault {
    /// Makes the platform's own keys in an initialised token. Never replaces one that is there.
    ///
    /// # Errors
    /// The token cannot be reached, or has such keys already.
    pub fn create(config: TokenConfig) -> Result<Self, HsmError> {
        let sm4_in_process = config.sm4_in_process;
        let token = Token::open(config)?;
        token.with(|session| {
            for label in LABELS {
                if find(session, label)?.is_some() {
                    return Ok(Err(HsmError::Token(format!(
                        "it has a key {label} already; nothing was changed"
                    ))));
                }
            }
            for label in LABELS {
                let (mechanism, kind, uses) = match label {
                    MASTER => {
                        (Mechanism::AesKeyGen, KeyType::AES, [Attribute::Wrap(true), Attribute::Unwrap(true)])
                    }
                    DATA => (
                        Mechanism::AesKeyGen,
                        KeyType::AES,
                        [Attribute::Encrypt(true), Attribute::Decrypt(false)],
                    ),
                    _ => (
                        Mechanism::GenericSecretKeyGen,
                        KeyType::GENERIC_SECRET,
                        [Attribute::Sign(true), Attribute::Verify(true)],
                    ),
                };
                let mut template = vec![
                    Attribute::Token(true),
                    Attribute::Private(true),
                    Attribute::Sensitive(true),
                    Attribute::Extractable(false),
                    Attribute::Class(ObjectClass::SECRET_KEY),
                    Attribute::KeyType(kind),
                    Attribute::ValueLen(32.into()),
                    Attribute::Label(label.as_bytes().to_vec()),
                ];
                template.extend(uses);
                session.generate_key(&mechanism, &template)?;
            }
            Ok(Ok(()))
        })??;
        Self::over(token, sm4_in_process)
    }

    /// Opens a token that [`Pkcs11Vault::create`] has prepared.
    ///
    /// # Errors
    /// The token cannot be reached, its PIN is wrong, or its keys are not there.
    pub fn open(config: TokenConfig) -> Result<Self, HsmError> {
        let sm4_in_process = config.sm4_in_process;
        Self::over(Token::open(config)?, sm4_in_process)
    }

    fn over(token: Token, sm4_in_process: bool) -> Result<Self, HsmError> {
        let (data, subkey) = (Kcv([0; 4]), Zeroizing::new([0; 16]));
        let mut vault = Self { token, fingerprint: String::new(), data, subkey, sm4_in_process };
        vault.fingerprint =
            hex::encode_upper(vault.sign(BINDING, b"posp vault fingerprint v1")?).chars().take(16).collect();
        // Sealed values name their data key; one token has one.
        vault.data = Kcv(take(&vault.sign(BINDING, b"posp data key v1")?));
        vault.subkey = SealKey::over(vault.data, TokenData(&vault))?.subkey();
        Ok(vault)
    }

    /// HMAC-SHA-256 under one of the token's own keys.
    fn sign(&self, label: &'static str, data: &[u8]) -> Result<[u8; 32], HsmError> {
        let signed = self.own(label, |session, key| session.sign(&Mechanism::Sha256Hmac, key, data))?;
        Ok(take(&signed))
    }

    fn own<T>(
        &self,
        label: &'static str,
        mut operation: impl FnMut(&Session, ObjectHandle) -> Result<T, Failure>,
    ) -> Result<T, HsmError> {
        self.token.with(|session| match find(session, label)? {
            Some(key) => operation(session, key).map(Ok),
            // Without a login private keys are invisible.
            None if session.get_session_info()?.session_state() != SessionState::RwUser => {
                Err(Failure::Pkcs11(RvError::UserNotLoggedIn, Function::FindObjects))
            }
            None => {
                Ok(Err(HsmError::Token(format!("it holds no key {label}: make it with `posp key init`"))))
            }
        })?
    }

    /// The tag that binds a wrapped key to what it says.
    fn tag(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        kcv: Kcv,
        body: &[u8],
    ) -> Result<[u8; 32], HsmError> {
        let mut data = b"posp pkcs11 key v1 ".to_vec();
        for part in [usage.name().as_bytes(), b" ", algorithm.name().as_bytes(), b" ", &kcv.bytes(), body] {
            data.extend_from_slice(part);
        }
        self.sign(BINDING, &data)
    }

    /// Bytes of AES key wrap in the body; the tag has the rest. A single DES key is wrapped as a double one
    /// of equal halves, which encrypts alike: AES key wrap takes 16 bytes at least.
    const fn wrapped_len(algorithm: KeyAlgorithm) -> usize {
        match algorithm {
            KeyAlgorithm::Aes256 | KeyAlgorithm::HmacSha256 => 40,
            KeyAlgorithm::TripleDes3 | KeyAlgorithm::Aes192 => 32,
            _ => 24,
        }
    }

    fn template(algorithm: KeyAlgorithm, readable: bool) -> Vec<Attribute> {
        let mut template = vec![
            Attribute::Token(false),
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Sensitive(!readable),
            Attribute::Extractable(true),
        ];
        template.extend(match algorithm {
            // An SM4 key or one that protects key blocks is for the token a secret that it holds and does nothing with.
            KeyAlgorithm::TripleDes3
            | KeyAlgorithm::Sm4
            | KeyAlgorithm::Aes128
            | KeyAlgorithm::Aes192
            | KeyAlgorithm::Aes256
            | KeyAlgorithm::HmacSha256 => {
                [Attribute::KeyType(KeyType::GENERIC_SECRET), Attribute::Sign(true), Attribute::Verify(true)]
            }
            KeyAlgorithm::Des | KeyAlgorithm::TripleDes2 => {
                [Attribute::KeyType(KeyType::DES2), Attribute::Encrypt(true), Attribute::Decrypt(true)]
            }
        });
        template
    }

    /// No common token has a mechanism for SM4: such keys are refused, unless the operator lets them be used here.
    const fn admits(&self, algorithm: KeyAlgorithm) -> Result<(), HsmError> {
        match algorithm {
            KeyAlgorithm::Sm4 if !self.sm4_in_process => Err(HsmError::Unsupported("SM4 keys")),
            _ => Ok(()),
        }
    }

    /// A clear key into the token and out again under the master key.
    fn wrap(&self, usage: KeyUsage, algorithm: KeyAlgorithm, clear: &[u8]) -> Result<WrappedKey, HsmError> {
        if !usage.allows(algorithm) {
            return Err(HsmError::NoSuchKey { usage, algorithm });
        }
        self.admits(algorithm)?;
        let kcv = primitives::check_value_for(usage, algorithm, clear)?;
        let mut value = Zeroizing::new(clear.to_vec());
        if algorithm == KeyAlgorithm::Des {
            value.extend_from_slice(clear);
        }
        let body = self.own(MASTER, |session, master| {
            let mut template = Self::template(algorithm, false);
            template.push(Attribute::Value(value.to_vec()));
            let created = session.create_object(&template);
            if let Some(Attribute::Value(value)) = template.last_mut() {
                value.zeroize();
            }
            let key = created?;
            let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, master, key);
            session.destroy_object(key)?;
            wrapped
        })?;
        if body.len() != Self::wrapped_len(algorithm) {
            return Err(HsmError::Token("it wraps keys in another form".to_owned()));
        }
        let tag = self.tag(usage, algorithm, kcv, &body)?;
        let mut blob = [0; WRAP_MAX];
        let length = crate::key::WRAP_OVERHEAD + algorithm.key_len();
        blob.iter_mut().take(length).zip(body.iter().chain(&tag)).for_each(|(to, from)| *to = *from);
        Ok(WrappedKey::assemble(usage, algorithm, kcv, blob))
    }

    /// Checks a wrapped key's binding; the part under the master key.
    fn checked<'a>(&self, key: &'a WrappedKey) -> Result<&'a [u8], HsmError> {
        let foreign = HsmError::ForeignKey { usage: key.usage() };
        let (body, tag) =
            key.blob().split_at_checked(Self::wrapped_len(key.algorithm())).ok_or(foreign.clone())?;
        let own = self.tag(key.usage(), key.algorithm(), key.kcv(), body)?;
        let agrees = own.get(..tag.len()).is_some_and(|own| bool::from(own.ct_eq(tag)));
        if agrees { Ok(body) } else { Err(foreign) }
    }

    /// Runs an operation with a key that is in the token for its length.
    fn use_key<T>(
        &self,
        key: &WrappedKey,
        readable: bool,
        mut operation: impl FnMut(&Session, ObjectHandle) -> Result<T, Failure>,
    ) -> Result<T, HsmError> {
        self.admits(key.algorithm())?;
        let body = self.checked(key)?;
        let template = Self::template(key.algorithm(), readable);
        self.own(MASTER, |session, master| {
            let handle = session.unwrap_key(&Mechanism::AesKeyWrap, master, body, &template)?;
            let result = operation(session, handle);
            session.destroy_object(handle)?;
            result
        })
    }

    /// The clear key, for what the token has no mechanism for.
    fn clear(&self, key: &WrappedKey) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let mut value = self.use_key(key, true, |session, handle| {
            for attribute in session.get_attributes(handle, &[AttributeType::Value])? {
                if let Attribute::Value(value) = attribute {
                    return Ok(Zeroizing::new(value));
                }
            }
            Err(Failure::InvalidValue)
        })?;
        value.truncate(key.algorithm().key_len());
        Ok(value)
    }

    /// The schedule of a key in this process, for what the token has no mechanism for. It is wiped when dropped.
    fn in_process(&self, key: &WrappedKey) -> Result<BlockKey, HsmError> {
        BlockKey::new(key.algorithm(), &self.clear(key)?)
    }

    /// Whole blocks in ECB, in the token; under an SM4 key here.
    fn ecb(&self, key: &WrappedKey, data: &[u8], encrypt: bool) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        if key.algorithm() == KeyAlgorithm::Sm4 {
            let mut blocks = Zeroizing::new(data.to_vec());
            let ready = self.in_process(key)?;
            if encrypt {
                ready.encrypt_ecb(&mut blocks)?
            } else {
                ready.decrypt_ecb(&mut blocks)?
            }
            return Ok(blocks);
        }
        let result = self.use_key(key, false, |session, handle| {
            if encrypt {
                session.encrypt(&Mechanism::Des3Ecb, handle, data)
            } else {
                session.decrypt(&Mechanism::Des3Ecb, handle, data)
            }
        })?;
        Ok(Zeroizing::new(result))
    }

    fn read_pin(&self, block: &EncryptedPinBlock, key: &WrappedKey, pan: &str) -> Result<Pin, HsmError> {
        rules::pin_key(key, block.format)?;
        let clear = self.ecb(key, block.bytes(), false)?;
        match key.algorithm() {
            KeyAlgorithm::Sm4 => primitives::pin::read_sm4(&Zeroizing::new(take(&clear)), pan),
            _ => primitives::pin::read_iso0(&Zeroizing::new(take(&clear)), pan),
        }
    }

    fn reference(&self, pin: &Pin, pan: &str, key: &WrappedKey) -> Result<PinReference, HsmError> {
        let input = rules::reference_input(pin, pan, key)?;
        if key.algorithm() != KeyAlgorithm::HmacSha256 {
            return Err(HsmError::Unsupported("PIN references under a cipher key"));
        }
        let signed =
            self.use_key(key, false, |session, key| session.sign(&Mechanism::Sha256Hmac, key, &input))?;
        Ok(PinReference(take(&signed)))
    }

    fn seal_key(&self) -> SealKey<TokenData<'_>> {
        SealKey::with_subkey(self.data, TokenData(self), self.subkey.clone())
    }
}

/// Bytes in a block of a payment key.
const fn block_len(key: &WrappedKey) -> usize {
    match key.algorithm() {
        KeyAlgorithm::Sm4 => 16,
        _ => 8,
    }
}

/// The token's data key as the block cipher under sealed values: it makes the key of each, no more.
struct TokenData<'a>(&'a Pkcs11Vault);

impl BlockCipher for TokenData<'_> {
    fn encrypt(&self, block: [u8; 16]) -> Result<[u8; 16], HsmError> {
        self.0
            .own(DATA, |session, key| session.encrypt(&Mechanism::AesEcb, key, &block))
            .map(|out| take(&out))
    }
}

impl fmt::Debug for Pkcs11Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Vault").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

const ISSUER: HsmError = HsmError::Unsupported("issuer and card cryptograms");

impl Hsm for Pkcs11Vault {
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn generate(&self, usage: KeyUsage, algorithm: KeyAlgorithm) -> Result<WrappedKey, HsmError> {
        rules::may_exist(usage, algorithm)?;
        // Drawn here, since the check value must be known and single DES has no generation worth its name.
        self.wrap(usage, algorithm, ClearKey::random(algorithm)?.as_ref())
    }

    fn import_components_checked(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        components: &[KeyComponent],
        check: Option<Kcv>,
    ) -> Result<WrappedKey, HsmError> {
        rules::may_come_in(usage, algorithm, components.len())?;
        self.wrap(usage, algorithm, &combine(usage, algorithm, components, check)?)
    }

    fn export(&self, key: &WrappedKey, under: &WrappedKey) -> Result<ExportedKey, HsmError> {
        rules::may_transport(key.usage(), key.algorithm(), under)?;
        let cipher = self.ecb(under, &self.clear(key)?, true)?;
        Ok(ExportedKey { algorithm: key.algorithm(), cipher: cipher.to_vec(), kcv: key.kcv() })
    }

    fn import(
        &self,
        usage: KeyUsage,
        algorithm: KeyAlgorithm,
        cipher: &[u8],
        under: &WrappedKey,
    ) -> Result<WrappedKey, HsmError> {
        rules::may_transport(usage, algorithm, under)?;
        rules::has_length(algorithm, cipher)?;
        self.wrap(usage, algorithm, &self.ecb(under, cipher, false)?)
    }

    fn export_block(
        &self,
        key: &WrappedKey,
        under: &WrappedKey,
        exportability: Exportability,
        optional: &[OptionalBlock],
    ) -> Result<String, HsmError> {
        let header = rules::block_header(key, under, exportability, optional)?;
        rules::make_block(&self.clear(under)?, &header, &self.clear(key)?)
    }

    fn import_block(
        &self,
        usage: KeyUsage,
        block: &str,
        under: &WrappedKey,
    ) -> Result<(WrappedKey, KeyBlockHeader), HsmError> {
        let algorithm = rules::block_admits(usage, block, under)?;
        let (header, clear) = primitives::key_block::unwrap(&self.clear(under)?, block)?;
        rules::block_key_has_length(algorithm, &clear)?;
        Ok((self.wrap(usage, algorithm, &clear)?, header))
    }

    fn mac(&self, key: &WrappedKey, algorithm: MacAlgorithm, data: &[u8]) -> Result<[u8; 8], HsmError> {
        rules::mac_key(key, algorithm)?;
        if data.is_empty() {
            return Err(HsmError::EmptyData);
        }
        let chain = || {
            let mut whole = Zeroizing::new(data.to_vec());
            whole.resize(data.len().next_multiple_of(8), 0);
            let out = self.use_key(key, false, |session, handle| {
                session.encrypt(&Mechanism::Des3Cbc([0; 8]), handle, &whole)
            })?;
            Ok::<[u8; 8], HsmError>(out.last_chunk::<8>().copied().unwrap_or_default())
        };
        match algorithm {
            MacAlgorithm::CupEcb => {
                let (head, tail) = primitives::mac::hex_halves(primitives::mac::fold::<8>(data));
                // Two encryptions with one opening of the key.
                let out = self.use_key(key, false, |session, handle| {
                    let first = session.encrypt(&Mechanism::Des3Ecb, handle, &head)?;
                    let second = primitives::xor(take::<8>(&first), tail);
                    session.encrypt(&Mechanism::Des3Ecb, handle, &second)
                })?;
                Ok(primitives::mac::hex_head(&out))
            }
            MacAlgorithm::X99 => chain(),
            MacAlgorithm::X99Hex | MacAlgorithm::CupsCbc => Ok(primitives::mac::hex_head(&chain()?)),
            MacAlgorithm::X919 { .. } | MacAlgorithm::Sm4Cup | MacAlgorithm::CupsSm4 => {
                algorithm.compute(&self.in_process(key)?, data)
            }
        }
    }

    fn verify_mac(
        &self,
        key: &WrappedKey,
        algorithm: MacAlgorithm,
        data: &[u8],
        received: &[u8],
    ) -> Result<bool, HsmError> {
        let own = self.mac(key, algorithm, data)?;
        Ok(bool::from(own.as_slice().ct_eq(received)))
    }

    fn translate_pin(
        &self,
        block: &EncryptedPinBlock,
        from: &WrappedKey,
        to: &WrappedKey,
        to_format: PinFormat,
        pan: &str,
    ) -> Result<EncryptedPinBlock, HsmError> {
        rules::pin_key(from, block.format)?;
        rules::pin_key(to, to_format)?;
        let pin = self.read_pin(block, from, pan)?;
        self.encrypt_pin(&pin, pan, to, to_format)
    }

    fn encrypt_pin(
        &self,
        pin: &Pin,
        pan: &str,
        key: &WrappedKey,
        format: PinFormat,
    ) -> Result<EncryptedPinBlock, HsmError> {
        rules::pin_key(key, format)?;
        if key.algorithm() == KeyAlgorithm::Sm4 {
            let out = self.ecb(key, &*primitives::pin::build_sm4(pin, pan)?, true)?;
            return Ok(EncryptedPinBlock::sm4(take(&out)));
        }
        let out = self.ecb(key, &*primitives::pin::build_iso0(pin, pan)?, true)?;
        Ok(EncryptedPinBlock::iso0(take(&out)))
    }

    fn verify_pin(
        &self,
        block: &EncryptedPinBlock,
        key: &WrappedKey,
        pan: &str,
        verification: &WrappedKey,
        reference: &PinReference,
    ) -> Result<bool, HsmError> {
        verification.require(KeyUsage::PinVerification)?;
        let pin = self.read_pin(block, key, pan)?;
        Ok(bool::from(self.reference(&pin, pan, verification)?.0.ct_eq(&reference.0)))
    }

    fn make_pin_reference(
        &self,
        pin: &Pin,
        pan: &str,
        verification: &WrappedKey,
    ) -> Result<PinReference, HsmError> {
        self.reference(pin, pan, verification)
    }

    fn encrypt_track(&self, track: &str, key: &WrappedKey) -> Result<String, HsmError> {
        key.require(KeyUsage::Track)?;
        primitives::track::encrypt_with(block_len(key), track, |block| {
            let out = self.ecb(key, block, true)?;
            block.iter_mut().zip(out.iter()).for_each(|(to, from)| *to = *from);
            Ok(())
        })
    }

    fn decrypt_track(&self, digits: &str, key: &WrappedKey) -> Result<TrackData, HsmError> {
        key.require(KeyUsage::Track)?;
        primitives::track::decrypt_with(block_len(key), digits, |block| {
            let out = self.ecb(key, block, false)?;
            block.iter_mut().zip(out.iter()).for_each(|(to, from)| *to = *from);
            Ok(())
        })
    }

    fn generate_ac(&self, imk: &WrappedKey, _: &CardContext<'_>, _: &[u8]) -> Result<[u8; 8], HsmError> {
        imk.require(KeyUsage::IssuerMaster).and(Err(ISSUER))
    }

    fn verify_arqc(
        &self,
        imk: &WrappedKey,
        _: &CardContext<'_>,
        _: &[u8],
        _: &[u8],
    ) -> Result<bool, HsmError> {
        imk.require(KeyUsage::IssuerMaster).and(Err(ISSUER))
    }

    fn make_arpc(
        &self,
        imk: &WrappedKey,
        _: &CardContext<'_>,
        _: [u8; 8],
        _: [u8; 2],
    ) -> Result<[u8; 8], HsmError> {
        imk.require(KeyUsage::IssuerMaster).and(Err(ISSUER))
    }

    fn make_arpc_method2(
        &self,
        imk: &WrappedKey,
        _: &CardContext<'_>,
        _: [u8; 8],
        _: [u8; 4],
        _: &[u8],
    ) -> Result<[u8; 4], HsmError> {
        imk.require(KeyUsage::IssuerMaster).and(Err(ISSUER))
    }

    fn script_mac(
        &self,
        imk: &WrappedKey,
        _: &CardContext<'_>,
        _: [u8; 8],
        _: &[u8],
    ) -> Result<[u8; 8], HsmError> {
        imk.require(KeyUsage::IssuerScriptMac).and(Err(ISSUER))
    }

    fn script_encipher(
        &self,
        imk: &WrappedKey,
        _: &CardContext<'_>,
        _: [u8; 8],
        _: &[u8],
    ) -> Result<Vec<u8>, HsmError> {
        imk.require(KeyUsage::IssuerScriptCipher).and(Err(ISSUER))
    }

    fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.seal_key().seal(context, plain)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        open_sealed(&[self.seal_key()], context, sealed)
    }

    fn digest(&self, plain: &[u8]) -> Result<[u8; 32], HsmError> {
        self.sign(DIGEST, plain)
    }
}
