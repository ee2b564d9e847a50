//! Payment cryptography behind one trait.
//!
//! [`Hsm`] speaks in payment operations: make and send keys, sign and check messages, translate PIN
//! blocks, decrypt tracks, check chip cryptograms, seal data at rest. Outside an implementation of it
//! there are only references to keys ([`WrappedKey`]), encrypted blocks and check values.
//! [`SoftVault`] is the implementation in software; with the feature `pkcs11` there is one on a token.
//!
//! ```text
//! master key (file of mode 0600, or components of custodians)
//!   ├── every WrappedKey: terminal and zone master keys, PIN, MAC and track keys, issuer keys
//!   └── key ring: data keys (seal, open), digest key (digest)
//! ```
//!
//! Rules that hold for every implementation:
//!
//! * a key has one [`KeyUsage`]; a call with another is refused before anything is decrypted;
//! * PIN block in, PIN block out; a clear PIN exists only inside and in the hand that typed it;
//! * MACs are compared in constant time;
//! * no error, `Debug` or `Display` text holds key, PIN, card number or track digits.
//!
//! The SM4 PIN block and the SM4 chip cryptogram are **modelled**: no public document fixes them.

mod component;
mod emv;
mod error;
mod hsm;
mod key;
pub mod key_blob;
mod mac;
mod pin;
#[cfg(feature = "pkcs11")]
mod pkcs11;
pub mod primitives;
mod rules;
pub mod tr31;
mod track;
mod vault;

pub use component::KeyComponent;
pub use emv::{CardContext, CryptogramVersion, KeyDerivation, public_key_checksum};
pub use error::HsmError;
pub use hsm::Hsm;
pub use key::{ExportedKey, Kcv, KeyAlgorithm, KeyUsage, WrappedKey};
pub use key_blob::{
    KeyBlob, KeyBlobLayout, WorkingKeys, build_key_blob, build_key_records, parse_key_blob, parse_key_records,
};
pub use mac::MacAlgorithm;
pub use pin::{EncryptedPinBlock, PIN_MAX, PIN_MIN, Pin, PinFormat, PinReference};
#[cfg(feature = "pkcs11")]
pub use pkcs11::{Pkcs11Vault, TokenConfig};
pub use tr31::{BlockVersion, Exportability, KeyBlockHeader, OptionalBlock};
pub use track::TrackData;
pub use vault::{KeyRing, MasterKey, MasterRole, MasterState, SEAL_OVERHEAD, SoftVault, VaultError};
pub use zeroize::Zeroizing;
