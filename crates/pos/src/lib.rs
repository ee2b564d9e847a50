//! A traditional POS terminal in software: a library, and the commands of `posp pos`.
//!
//! The terminal knows the protocol between terminal and acquirer and nothing of the host behind it: it is written
//! from the specification alone, on the codec ([`iso8583`]) and the terminal side of the security module ([`hsm`]).
//! It keeps the rules of a terminal:
//!
//! - what a request would need to be undone is on disk before the request leaves ([`rules`], `state`);
//! - a pending reversal goes out before anything else moves money, and blocks it while it is not through;
//! - an approval counts only when its fields repeat the request, its MAC is right and the chip agrees;
//! - a refund is repeated with the same trace until its outcome is known;
//! - a settlement that was cut off goes on where it stopped.
//!
//! ```no_run
//! # async fn run() -> Result<(), pos::PosError> {
//! use pos::{CardInput, Entry, KeyLayout, SaleRequest, Terminal, TerminalConfig, TmkComponent};
//!
//! let config = TerminalConfig::new("127.0.0.1:8583", "898000000000001", "00000001");
//! let mut terminal = Terminal::enrol("var/pos/00000001", config)?;
//! terminal.load_tmk(&[TmkComponent::parse("0123456789ABCDEFFEDCBA9876543210:08D7B4FB")], None).await?;
//! terminal.sign_in(KeyLayout::TripleDesTrack).await?;
//! let sale = SaleRequest {
//!     amount_fen: 10_000,
//!     card: CardInput::deck("L01")?,
//!     entry: Entry::Chip,
//!     pin: Some(pos::Pin::new("123456")?),
//! };
//! let outcome = terminal.sale(sale).await?;
//! assert!(outcome.approved);
//! # Ok(())
//! # }
//! ```
//!
//! The chip is a lab card that makes real cryptograms. The terminal's side of it is **not an EMV kernel**: it selects
//! no application, reads no records and verifies no certificates.
//!
//! Modelled, and each one line to change: the carrier of an SM4 PIN block ([`iso8583::Sm4PinCarrier`]), which lines go into a
//! batch upload (`settle`), whether a decline without MAC is an answer
//! ([`TerminalConfig::accept_unsigned_decline`]), field 61 in the reversal of a void, the order of the
//! parts of an e-signature, which tags a script result carries, a terminal without card numbers. Of terminal information
//! (field 59, A2) device type and serial number are sent, where a device type is configured.

pub mod amount;
mod card;
mod chip;
mod chip_card;
pub mod cli;
pub mod clock;
pub mod codes;
mod config;
mod connection;
pub mod deck;
mod device;
mod download;
mod error;
mod further;
mod http;
mod keys;
mod message;
mod offline;
mod organisation;
mod outcome;
mod preauth;
mod presented;
pub mod receipt;
mod refund;
mod reversal;
pub mod rules;
mod script;
mod script_result;
mod security;
mod settle;
pub mod show;
mod signature;
mod slip_code;
mod state;
mod terminal;
mod transact;
mod wire;

pub use card::{CardInput, Entry, luhn, mask};
pub use config::{ConnectionMode, TerminalConfig};
pub use connection::{BoxFuture, Dial, FRAME_MAX, Link, TcpDialer};
pub use download::{Download, DownloadCounts};
pub use error::PosError;
pub use further::Points;
pub use hsm::Pin;
pub use http::{HttpDialer, TlsFiles};
pub use keys::{KeyLayout, MasterKeyChecks, TmkComponent};
pub use message::{KINDS, Kind, KindRow, Recovery, Side};
pub use offline::{Adjustment, OfflineSaleRequest, Upload, Waiting};
pub use outcome::{Balance, Outcome, Status};
pub use preauth::AuthorisedRequest;
pub use presented::{Chip, ReadCard, SharedChip, Verdict};
pub use refund::RefundRequest;
pub use reversal::Pending;
pub use security::{KeyRef, MasterKeys, Security, WorkingKeys};
pub use settle::Totals;
pub use signature::feature_code;
pub use slip_code::{NotASlip, SlipCode};
pub use state::{ChipRecord, Notice, Original, Record, Released, write_atomic};
pub use terminal::{Surroundings, Terminal};
pub use transact::{BalanceRequest, SaleRequest, VoidRequest};
