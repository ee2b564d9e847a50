//! The settings of the internet front.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Section `[front]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Address for terminals.
    pub listen: SocketAddr,
    /// PEM file of the certificate and those between it and the root; empty for plain HTTP behind an SSL accelerator.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of who signs the terminals' certificates; empty when terminals have none.
    pub client_authorities: PathBuf,
    /// PEM file of the terminals' certificates that were taken back; empty for none.
    pub client_revoked: PathBuf,
    /// A terminal without a certificate is refused.
    pub client_required: bool,
    /// The nodes, with commas between them: where each takes terminals, and behind a slash where it says that it is ready.
    pub nodes: String,
    /// Paths that terminals post to, with commas between them.
    pub paths: String,
    /// Addresses of SSL accelerators whose `X-Forwarded-For` is believed, with commas between them.
    pub forwarded_by: String,
    /// Address of the front's own `/healthz`, `/readyz` and `/metrics`.
    pub ops: SocketAddr,
    /// Largest frame in bytes, without its length.
    pub frame_max: usize,
    /// Seconds from a whole request to its answer.
    pub patience_seconds: u64,
    /// Seconds for a body, and for a TLS handshake.
    pub body_seconds: u64,
    /// Seconds for the head of a request, from the end of the one before.
    pub idle_seconds: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one address.
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
    /// Milliseconds for a connection to a node.
    pub connect_ms: u64,
    /// Connections to one node at a time.
    pub node_connections_max: usize,
    /// Seconds after which a connection to a node that rests is not used again.
    pub node_idle_seconds: u64,
    /// Milliseconds between two looks at a node.
    pub health_ms: u64,
}

impl Default for Front {
    fn default() -> Self {
        Front {
            listen: SocketAddr::from(([127, 0, 0, 1], 8088)),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_authorities: PathBuf::new(),
            client_revoked: PathBuf::new(),
            client_required: false,
            nodes: "127.0.0.1:8583/127.0.0.1:8580".to_owned(),
            paths: "/mjc/webtrans/VPB_lb,/unp/webtrans/VPB_lb,/unp/webtrans/WPOS".to_owned(),
            forwarded_by: String::new(),
            ops: SocketAddr::from(([127, 0, 0, 1], 8581)),
            frame_max: 2_048,
            patience_seconds: 50,
            body_seconds: 10,
            idle_seconds: 60,
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            connects_per_second_max: 1_000,
            requests_per_address_max: 4_096,
            requests_per_second_max: 5_000,
            terminal_requests_max: 2,
            // A full batch, 999 transactions, one message each, with what goes before and after it.
            terminal_per_second_max: 1_200,
            connect_ms: 2_000,
            node_connections_max: 4_096,
            node_idle_seconds: 240,
            health_ms: 1_000,
        }
    }
}

/// A section `[[front_door]]`: a further address of the front.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontDoor {
    /// The address.
    pub address: String,
    /// As `front.certificate`.
    #[serde(default)]
    pub certificate: PathBuf,
    /// As `front.key`.
    #[serde(default)]
    pub key: PathBuf,
    /// As `front.client_authorities`.
    #[serde(default)]
    pub client_authorities: PathBuf,
    /// As `front.client_revoked`.
    #[serde(default)]
    pub client_revoked: PathBuf,
    /// As `front.client_required`.
    #[serde(default)]
    pub client_required: bool,
}
