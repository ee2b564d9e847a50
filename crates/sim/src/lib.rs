//! The outside world, simulated: the UnionPay network (CUPS) and the issuers behind it.
//!
//! A member of the network connects to the simulator for its own requests and listens for what the network
//! originates. The simulator checks what the real one would: header, sign-on, MAC, mandatory fields,
//! duplicates, the card, its PIN and cryptogram, what a void, refund or reversal acts on. It keeps its own books
//! in double entry and a record that tests compare the product's journal with. Faults are chosen by amount or by
//! switch and are listed on its own page.
//!
//! It is written from the specification alone and shares nothing with the acquiring side but the codec and the
//! cryptographic primitives.
//!
//! Inside, [`network`], [`issuer`], [`ledger`], [`faults`] and [`kinds`] are pure: `(state, event, moment)` in,
//! answer out. [`service`] stands between them and the sockets.
//!
//! Modelled, because the facts are not public: reject codes of the header, the order of the issuer's checks,
//! answers where the specification names several. Each is said where it is decided.

pub mod books;
pub mod cli;
pub mod config;
pub mod control;
pub mod crypto;
pub mod deck;
pub mod error;
pub mod faults;
pub mod issuer;
pub mod keys;
pub mod kinds;
pub mod ledger;
pub mod line;
pub mod mac;
pub mod net;
pub mod network;
mod page;
pub mod record;
pub mod secret;
pub mod service;
mod start;
pub mod time;
pub mod wire;

pub use config::{Fsync, LAB_ZMK_COMPONENTS, Limits, SimConfig, Timing, ZoneAlgorithm};
pub use error::SimError;
pub use faults::{Fault, FaultRule, FaultSettings, Span};
pub use kinds::Kind;
pub use record::{DayTotals, FinalState, RecordLine};
pub use secret::Secret;
pub use start::{SimHandle, Status, start, start_with_clock};
