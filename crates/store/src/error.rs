//! What can go wrong in the store, in sentences for the operator. No error carries card data.

use std::path::PathBuf;

use acquiring::{MerchantId, PaymentId, TerminalId};

/// Why a store operation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The data directory or the journal in it cannot be created, opened or written.
    #[error("cannot open the journal {}: {reason}", path.display())]
    CannotOpen {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process (or another store in this one) already writes this journal.
    #[error("the journal in {} is in use by another process", directory.display())]
    InUse {
        /// The data directory.
        directory: PathBuf,
    },
    /// The journal was written by a newer release.
    #[error(
        "the journal in {} has schema version {found}, this program knows versions up to {known}: \
         start the release that wrote it, or a newer one",
        directory.display()
    )]
    NewerSchema {
        /// The data directory.
        directory: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version this program knows.
        known: i64,
    },
    /// The journal has an older schema and was opened for reading only, so that it cannot be migrated.
    #[error("the journal in {} has schema version {found}: start the server once to bring it up to date", directory.display())]
    OlderSchema {
        /// The data directory.
        directory: PathBuf,
        /// Version in the file.
        found: i64,
    },
    /// Too much work is waiting; nothing was accepted.
    #[error("the store is overloaded: {waiting} operations are waiting")]
    Overloaded {
        /// The length of the queue.
        waiting: usize,
    },
    /// A write or a flush failed. What is on the disk is not known to be complete: the node must stop and
    /// start again from the journal, and must not try the operation again.
    #[error("the store has failed and takes no more work: {reason}")]
    Failed {
        /// What the engine said.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A write to a store that was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// The journal belongs to another key vault: what it sealed cannot be opened with this one.
    #[error("the journal belongs to another key vault: restore the vault that it was created with")]
    OtherVault,
    /// No such payment.
    #[error("no payment {id} at merchant {merchant}")]
    UnknownPayment {
        /// The merchant looked under.
        merchant: MerchantId,
        /// The number looked for.
        id: PaymentId,
    },
    /// No such merchant.
    #[error("no merchant {merchant}")]
    UnknownMerchant {
        /// The number looked for.
        merchant: MerchantId,
    },
    /// No such terminal.
    #[error("no terminal {terminal} at merchant {merchant}")]
    UnknownTerminal {
        /// The merchant looked under.
        merchant: MerchantId,
        /// The number looked for.
        terminal: TerminalId,
    },
    /// No such item of store-and-forward, or it is finished already.
    #[error("no open forward {sequence} on line {line}")]
    UnknownForward {
        /// The line.
        line: String,
        /// The number looked for.
        sequence: i64,
    },
    /// A payment number was used twice, or another rule of the schema was broken; nothing was written.
    #[error("the operation contradicts what is stored: {rule}")]
    Conflict {
        /// The rule of the schema, by the names of its columns.
        rule: String,
    },
    /// Other nodes were in the way time and again; nothing was written.
    #[error("other nodes work on the same payments, nothing was written: {reason}")]
    Contended {
        /// What the engine said.
        reason: String,
    },
    /// The record does not fit the operation, for example a payment to begin that is not pending.
    #[error("the record does not fit the operation: {rule}")]
    Misuse {
        /// What the operation wants.
        rule: &'static str,
    },
    /// The history of a day is not taken out, or not put back; nothing changed.
    #[error("the history of {day} stays as it is: {reason}")]
    HistoryStays {
        /// The day, YYYYMMDD in Beijing.
        day: u32,
        /// Why.
        reason: String,
    },
    /// The cursor of a page is not one that a page gave.
    #[error("the page marker is not valid")]
    BadCursor,
    /// A stored value cannot be read as what it should be.
    #[error("the stored value in column {column} cannot be read")]
    Damaged {
        /// The column.
        column: &'static str,
    },
    /// The engine failed at reading.
    #[error("the journal cannot be read: {reason}")]
    CannotRead {
        /// What the engine said.
        reason: String,
    },
}
