//! Persistence by domain operations: the only crate that knows SQL.
//!
//! The store says what a payment host needs (begin a payment, apply an event, take the next reversal, end a
//! batch) and nothing of how it is kept. Each write is one transaction; writes that wait at the same time
//! share a commit. When a method returns, what it wrote is on the disk.
//!
//! Invariants:
//! - An operation is answered after the commit that holds it, never before.
//! - A failed commit or flush is never tried again: the store marks itself failed and takes no more work.
//! - Whether an event moves a payment is decided by [`acquiring::transition`], inside the transaction that
//!   reads it.
//! - Account numbers are kept sealed, digested and masked; there is no column for a clear one.

mod backend;
mod batches;
mod care;
mod days;
mod db;
mod downloads;
mod error;
mod forwards;
mod limits;
mod master;
mod migrations;
mod nodes;
mod pace;
mod payments;
mod postgres;
mod readers;
mod rows;
mod search;
mod signatures;
#[cfg(feature = "simulation")]
pub mod simulation;
mod sqlite;
mod store;
mod types;
mod vault;
mod writer;

pub use error::StoreError;
pub use store::Store;
pub use types::{
    Applied, BatchEnd, BatchFilter, BatchLine, Begun, CancelRequest, Cancelled, Counts, Cursor, Difference,
    EndedBatch, ForwardFilter, ForwardItem, HISTORY_DAYS_MIN, HeldList, HistoryDay, HistoryLine,
    JOURNAL_FILE, JournalEntry, NodeKeys, PAGE_MAX, Page, PageOf, PartKept, PaymentFilter, Settlement,
    SettlementRecord, Signature, SignaturePart, StoreOptions, TerminalDemand, TerminalStatus,
};
