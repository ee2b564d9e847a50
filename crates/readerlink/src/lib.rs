//! `readerlink.v1`: a card reader (MPOS) and its host, a phone or a computer, over any pipe of bytes.
//!
//! ```text
//!  0   2  magic 52 4C          4   2  sequence, repeated by the answer
//!  2   1  version 01           6   2  command; answer: command | 8000
//!  3   1  flags                8   2  length of the payload, at most 4096
//! 10   n  payload: TLV (tag 1, length 2), or counter 8 | AES-128-GCM text | tag 16
//! 10+n 2  CRC-16/CCITT-FALSE over bytes 2 … 9+n
//! ```
//!
//! Keys stay in the reader. The host sees a masked card number, a track and a PIN block under the reader's keys, and
//! field 55. It is not trusted for the amount: a reader with a display shows what goes into the chip.
//!
//! [`RemoteReader`] is the host's side over any `Read + Write` whose reads give up after a while; [`Server`] is the
//! reader's side around a [`Device`]. A request that is lost, doubled or late is never carried out twice: the reader keeps
//! its last answer, and an enciphered frame whose counter does not rise is refused.

mod command;
mod fault;
mod frame;
mod host;
mod messages;
mod pairing;
mod server;
mod session;
mod tlv;
mod turn;

pub use command::Command;
pub use fault::{FAULTS, Fault, FaultRow};
pub use frame::{
    ANSWER, FLAG_CIPHERED, FLAG_EVENT, FLAG_MORE, Frame, FrameError, GAP, PAYLOAD_MAX, Receiver, crc16,
};
pub use host::{Clock, LinkError, Random, RemoteReader};
pub use messages::{
    Detect, Detected, EmvAnswer, EmvStart, EmvStep, Found, Info, Interfaces, LoadKey, MacRequest,
    MessageError, PinRequest, Slot, Update,
};
pub use pairing::{NumericHost, NumericReader, digits};
pub use server::{Device, Link, Server};
pub use session::{Role, Session, SessionError, SessionKeys};
pub use tlv::{Tlv, TlvError};
pub use turn::{CardFacts, EmvTurn, Results};
