//! The internet front: a smart POS's HTTPS in, socket 8583 out.
//!
//! A terminal that has the internet and no line of its own posts its frame over HTTPS (`x-ISO-TPDU/x-auth`, 8583 field
//! reference, section 1.6). The front takes the frame out of the body, passes it untouched over a socket to one of several
//! POSP nodes, and posts the answer back. It holds no keys, knows no transaction, and stores nothing.
//!
//! - A request goes to a second node only while no byte of it can have left for the first one ([`nodes`]).
//! - A connection to a node carries one request at a time, and is closed unless the answer came whole and belongs to the
//!   request: an answer cannot reach another terminal.
//! - Whatever else happens is a status other than 200, which a terminal takes for "no answer": its reversal rule goes on
//!   from there.
//!
//! [`server`] owns the sockets, [`tls`] the certificates, [`http`] is the way of one request from top to bottom,
//! [`body`] reads what a request carries, [`nodes`] talks to the nodes behind.

pub mod body;
pub mod config;
pub mod http;
pub mod nodes;
pub mod server;
pub mod tls;

pub use config::{Clients, FrontConfig, TlsFiles};
pub use nodes::Nodes;
pub use server::{Door, Front, serve};
pub use tls::{Tls, TlsError};
