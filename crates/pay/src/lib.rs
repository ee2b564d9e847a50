//! `pay.v1`: one set of messages for an app on the same terminal, a till behind a cable, a web page and a server that ask
//! the acquiring app for a payment.
//!
//! What callers trip over elsewhere is settled here by type and by rule:
//!
//! - amounts are whole fen ([`Fen`]); a decimal point is refused, never rounded;
//! - the result of the call ([`CallCode`]) and of the trade ([`Outcome`]) are two fields;
//! - a request is known by its caller and its id, durable before a card is read, its result durable before it is told
//!   ([`Journal`]); the same request again gets the same bytes and never a second trade ([`Ledger`]);
//! - no card number, track, PIN or key has a place in any message.
//!
//! [`request::parse`] reads what a caller sent; `docs/pay.v1.md` and the JSON Schema are printed from the types.

mod canonical;
mod code;
pub mod docs;
mod event;
mod fields;
mod grant;
mod journal;
mod kind;
mod ledger;
pub mod request;
mod response;
mod values;

pub use canonical::{Digest, digest};
pub use code::{CALL_CODES, CallCode, CallCodeRow};
pub use event::{Event, Progress};
pub use grant::Grant;
pub use journal::{Answer, Journal, JournalError, Viewer};
pub use kind::{KINDS, Kind, KindRow};
pub use ledger::{Arrival, Asked, Entry, Key, Ledger, Misstep, Refs, State, Step};
pub use request::{Orig, PayMethod, Refusal, Request};
pub use response::{
    CardKind, CardResult, Cvm, EntryMode, Hint, Merchant, Outcome, Reason, Receipt, Recover, Response,
    Terminal, Wallet,
};
pub use values::{CallbackId, CallerId, Currency, Fen, PayCode, RequestId, Text, ValueError, Version};
