//! What can go wrong inside the security module, said without any secret value.

use crate::key::{KeyAlgorithm, KeyUsage};

/// A refused operation. The text is for the operator; it never holds a key, a PIN, a PAN or track digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HsmError {
    /// The key was made for another purpose. Checked before anything is decrypted.
    #[error("a {found} key cannot be used as a {wanted} key")]
    WrongUsage {
        /// What the operation needs.
        wanted: KeyUsage,
        /// What the key says it is.
        found: KeyUsage,
    },
    /// The operation has no definition for this cipher (an SM4 key for a DES MAC, say).
    #[error("{operation} is not defined for {found}")]
    WrongAlgorithm {
        /// The operation that refused.
        operation: &'static str,
        /// The algorithm of the key handed in.
        found: KeyAlgorithm,
    },
    /// A key of this usage may not exist in this algorithm (a DES data key, say).
    #[error("a {usage} key cannot be {algorithm}")]
    NoSuchKey {
        /// The usage asked for.
        usage: KeyUsage,
        /// The algorithm asked for.
        algorithm: KeyAlgorithm,
    },
    /// The wrapped key did not open: it belongs to another master key, or it was altered.
    #[error(
        "the wrapped {usage} key does not open under this master key: another master key made it, or it was altered"
    )]
    ForeignKey {
        /// What the key says it is.
        usage: KeyUsage,
    },
    /// A text that should hold a wrapped key does not.
    #[error("not a wrapped key: {0}")]
    KeyText(&'static str),
    /// Key material of a length the algorithm does not have.
    #[error("{algorithm} takes {wanted} bytes of key, got {found}")]
    KeyLength {
        /// The algorithm.
        algorithm: KeyAlgorithm,
        /// Bytes it takes.
        wanted: usize,
        /// Bytes handed in.
        found: usize,
    },
    /// A check value does not agree with the key it came with.
    #[error("check value of {0} does not agree")]
    CheckValue(&'static str),
    /// Too few, too many or malformed components; see [`Hsm::import_components`](crate::Hsm::import_components).
    #[error("{0}")]
    Components(&'static str),
    /// The key is one that must never be used.
    #[error("the key is weak: {0}")]
    WeakKey(&'static str),
    /// Only PIN, MAC and track keys are ever sent to another party.
    #[error("a {usage} key never leaves the security module")]
    NeverSent {
        /// What the key is for.
        usage: KeyUsage,
    },
    /// A key would be wrapped by a weaker key, or by one of another family.
    #[error("a {found} key is not sent under a {under} key")]
    WeakWrap {
        /// The key to be sent.
        found: KeyAlgorithm,
        /// The key it would be sent under.
        under: KeyAlgorithm,
    },
    /// The decrypted PIN block is not one: wrong key, wrong PAN, or a broken PIN pad.
    #[error("the PIN block is not valid under this key and card")]
    PinBlock,
    /// The PIN block's length or format does not fit the key's cipher.
    #[error("PIN block format {format} does not go with a {found} key")]
    PinFormat {
        /// The format of the block.
        format: crate::pin::PinFormat,
        /// The algorithm of the key.
        found: KeyAlgorithm,
    },
    /// A PIN has 4 to 12 decimal digits.
    #[error("a PIN has 4 to 12 digits")]
    Pin,
    /// A PAN has 13 to 19 decimal digits.
    #[error("a card number has 13 to 19 digits")]
    Pan,
    /// A card sequence number has at most two digits.
    #[error("a card sequence number is 0 to 99")]
    CardSequence,
    /// The track is too short for its cipher, or is not a track after decryption.
    #[error("track data refused: {0}")]
    Track(&'static str),
    /// Nothing to sign: an empty MAC input is always a mistake of the caller.
    #[error("a MAC over nothing was asked for")]
    EmptyData,
    /// Sealed data did not open: wrong context, unknown data key, or altered.
    #[error("sealed data does not open: {0}")]
    Sealed(&'static str),
    /// Data for a block cipher that does not fill its blocks.
    #[error("not a whole number of cipher blocks")]
    BlockLength,
    /// More data than the operation can carry.
    #[error("more data than {0} carries")]
    TooLong(&'static str),
    /// A field 62 key block that does not fit its layout.
    #[error("key block refused: {0}")]
    KeyBlob(&'static str),
    /// A TR-31 key block that is not one, is not for this, or cannot be made.
    #[error("TR-31 key block refused: {0}")]
    KeyBlock(&'static str),
    /// The module that holds the keys has no mechanism for this.
    #[error("{0}: not supported by this token")]
    Unsupported(&'static str),
    /// The module that holds the keys cannot be reached, or refuses.
    #[error("the security module: {0}")]
    Token(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
}
