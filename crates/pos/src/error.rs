//! What can keep a terminal from trading, in words an operator can act on. No card data, PIN or key in any of them.

use std::io;
use std::path::PathBuf;

/// Why a command could not be carried out. A decline or a missing answer is no error: see
/// [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PosError {
    /// The directory holds no terminal.
    #[error("no terminal in {0}; `enrol` makes one")]
    NotEnrolled(PathBuf),
    /// The directory holds a terminal already.
    #[error("{0} holds a terminal already")]
    AlreadyEnrolled(PathBuf),
    /// Another process works with this terminal.
    #[error("the terminal in {0} is in use by another process")]
    InUse(PathBuf),
    /// The terminal's files could not be read or written.
    #[error("{what} {path}: {source}")]
    Storage {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file does not hold what the terminal once wrote.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The terminal's own key file is missing or wrong.
    #[error("the terminal's master key: {0}")]
    Vault(String),
    /// No terminal master key was loaded yet.
    #[error("no terminal master key; load it with `load-tmk`")]
    NoMasterKey,
    /// A component or the combined key does not have the check value it was said to have.
    #[error("the key's check value differs: {0}")]
    CheckValue(String),
    /// The terminal must sign in first.
    #[error("sign in first ({0})")]
    MustSignIn(&'static str),
    /// A reversal is pending and could not be delivered, so no new transaction may start.
    #[error("the reversal of trace {trace:06} is not through yet (attempt {attempts}): {reason}")]
    ReversalPending {
        /// Trace of the transaction to be reversed.
        trace: u32,
        /// Attempts made so far.
        attempts: u32,
        /// Why this attempt did not succeed.
        reason: String,
    },
    /// A refund whose outcome is unknown must be repeated before anything else moves money.
    #[error("the refund of trace {trace:06} has no known outcome; send it again with `refund --resume`")]
    RefundOpen {
        /// Its trace.
        trace: u32,
    },
    /// Settlement began and must be finished first.
    #[error("settlement is not finished; run `settle` again")]
    SettlementOpen,
    /// The journal is full.
    #[error("the journal holds {0} transactions; settle first")]
    JournalFull(usize),
    /// The host offers another batch while this one is not settled.
    #[error("the host's batch is {offered:06} but batch {held:06} is not settled here; settle first")]
    BatchUnsettled {
        /// The batch whose journal the terminal holds.
        held: u32,
        /// The batch of the sign-in answer.
        offered: u32,
    },
    /// The keys of the sign-in answer were refused; the old ones stay.
    #[error("the working keys were refused, the old ones stay: {0}")]
    KeysRefused(String),
    /// Nothing could be sent.
    #[error("no connection to {address}: {source}")]
    NoConnection {
        /// The host.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// Settlement was cut off and can be resumed.
    #[error("settlement was cut off ({0}); run `settle` again to go on where it stopped")]
    SettlementCutOff(String),
    /// What was keyed or presented cannot be used.
    #[error("{0}")]
    Input(String),
    /// The chip could not be read; the stripe may be used as fallback.
    #[error("the chip does not answer; swipe the card with `--entry fallback`")]
    ChipMute,
    /// The card is tapped or inserted but another way is needed.
    #[error("{0}")]
    OtherEntry(&'static str),
    /// No transaction of that trace in the current batch.
    #[error("no transaction with trace {0:06} in this batch")]
    NotFound(u32),
    /// The original cannot be voided.
    #[error("trace {trace:06} cannot be voided: {reason}")]
    NotVoidable {
        /// Its trace.
        trace: u32,
        /// Why.
        reason: &'static str,
    },
    /// The sale cannot be adjusted.
    #[error("trace {trace:06} cannot be adjusted: {reason}")]
    NotAdjustable {
        /// Its trace.
        trace: u32,
        /// Why.
        reason: &'static str,
    },
    /// The downloaded transaction list does not have it.
    #[error("{0}未开通 / this terminal does not offer: {1}")]
    NotOffered(&'static str, &'static str),
    /// The card is on the downloaded blacklist.
    #[error("黑名单卡,拒绝交易 / the card is on the blacklist")]
    Blacklisted,
    /// A cryptographic operation failed.
    #[error("security module: {0}")]
    Security(String),
    /// A request could not be written.
    #[error("the request cannot be written: {0}")]
    Build(String),
    /// Writing to the operator's screen failed.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl From<hsm::HsmError> for PosError {
    fn from(error: hsm::HsmError) -> Self {
        Self::Security(error.to_string())
    }
}

impl From<iso8583::BuildError> for PosError {
    fn from(error: iso8583::BuildError) -> Self {
        Self::Build(error.to_string())
    }
}
