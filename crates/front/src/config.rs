//! Settings of the front. Their names and defaults are in docs/configuration.md.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the front.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// Paths that terminals post to.
    pub paths: Vec<String>,
    /// Largest frame in bytes, without its length.
    pub frame_max: usize,
    /// From a whole request to its answer; shorter than the terminal's own patience, so that the terminal hears that there
    /// was none.
    pub patience: Duration,
    /// For the bytes of a body, and for a TLS handshake.
    pub body_patience: Duration,
    /// For the head of a request, counted from the end of the one before.
    pub idle_max: Duration,
    /// Connections of terminals at a time.
    pub connections_max: usize,
    /// The same of one address.
    pub connections_per_address_max: usize,
    /// Connections that one address may make in a second.
    pub connects_per_second_max: u32,
    /// Requests of one address in work at a time.
    pub requests_per_address_max: usize,
    /// Requests that one address may make in a second.
    pub requests_per_second_max: u32,
    /// Requests of one terminal in work at a time.
    pub terminal_requests_max: usize,
    /// Requests that one terminal may make in a second.
    pub terminal_per_second_max: u32,
    /// Machines in front of this one (an SSL accelerator) whose `X-Forwarded-For` is believed.
    pub forwarded_by: Vec<IpAddr>,
    /// For a connection to a node.
    pub connect_patience: Duration,
    /// Connections to one node at a time, each with one request in work.
    pub node_connections_max: usize,
    /// A connection to a node that has rested for so long is not used again; shorter than `pos.idle_seconds` there.
    pub node_idle_max: Duration,
    /// Between two looks at the health of a node.
    pub health_interval: Duration,
}

/// Files of a TLS door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate and those between it and the root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// What terminals show, if anything.
    pub clients: Option<Clients>,
}

/// Certificates of terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// PEM: who signs them.
    pub authorities: PathBuf,
    /// PEM: those that were taken back.
    pub revoked: Option<PathBuf>,
    /// A terminal without one is refused in the handshake.
    pub required: bool,
}
