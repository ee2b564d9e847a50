//! 8583 over TCP: the door for POS terminals.
//!
//! A connection carries frames one after the other, short or kept open; each is answered before the next is
//! read. [`server`] owns the sockets, the crate `gate` the limits, [`pool`] the buffers, [`profile`] the acquirers' profiles,
//! [`request`] reads a message into the engine's types, [`management`] serves downloads,
//! [`answer`] writes what goes back, [`handler`] is the way of one frame from top to bottom.

pub mod answer;
pub mod config;
pub mod handler;
pub mod management;
pub mod pool;
pub mod profile;
pub mod request;
pub mod server;

pub use config::LinkConfig;
pub use profile::{Profiles, ProfilesError, Spoken};
pub use server::{Link, Listening, serve};
