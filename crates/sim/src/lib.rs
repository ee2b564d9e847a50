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
//! # Modelled
//!
//! Where the facts are not public, this simulator decides as follows; each is a line of a table or a key of
//! [`SimConfig`].
//!
//! | point | decision |
//! |---|---|
//! | reject codes of the header | [`service::reject`]: 10001 malformed, 10002 destination, 10003 not a member, 10004 not signed on, 10005 no keys, 10009 fault rule |
//! | uniqueness | class of the MTI and fields 7, 11, 32, 33; a repeated request is 94, a repeated advice is answered as the first, one with another body 94 |
//! | wrong MAC | A0, signed with the key in force; does not use up the message's key |
//! | missing or impossible field | 30; the record says which field |
//! | order of the issuer's checks | status, expiry 54, chip swiped 45, track 59, cryptogram 05, PIN (99, A7, 75, 55), amount 13, 61, 65, 51 |
//! | PIN missing though needed | 55, without counting a try; needed on debit unless tapped up to `no_pin_limit` or on a phone |
//! | third wrong PIN | 75, and so until the card is reset |
//! | void | field 37 the original's (`void_reference`), else 12; other card or merchant 12; other amount 64; already voided or refunded 12; declined or reversed 25 |
//! | refund | above what is left 64; voided or reversed original 25; after `refund_days` 22 |
//! | reversal | unknown original 25 and the original is refused from then on; other amount 64; other card or merchant 12; of a declined or already reversed one 00 |
//! | reversal of a completion's void | 12 when the pre-authorisation has been completed anew |
//! | key reset | MAC key first, proved by itself; then the PIN key, proved by it |
//! | after a restart | not signed on and no keys; balances and record come from the books file |

pub mod books;
pub mod cli;
pub mod config;
pub mod control;
pub mod crypto;
pub mod deck;
pub mod error;
pub mod faults;
pub mod growing;
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

/// Public keys of the laboratory's card organisation, one record a line, `#` before remarks.
pub const LAB_CA_KEYS: &str = include_str!("../lab/ca-keys.hex");
/// Chip applications of the laboratory, likewise.
pub const LAB_APPLICATIONS: &str = include_str!("../lab/aids.hex");

pub use config::{Fsync, LAB_ZMK_COMPONENTS, Limits, SimConfig, Timing, ZoneAlgorithm};
pub use error::SimError;
pub use faults::{Fault, FaultRule, FaultSettings, Span};
pub use kinds::Kind;
pub use record::{DayTotals, FinalState, RecordLine};
pub use secret::Secret;
pub use start::{SimHandle, Status, start, start_with_clock};
