//! Settings of the line to the card network.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use acquiring::InstitutionId;
use hsm::WrappedKey;

/// Settings of one line.
#[derive(Clone, Debug)]
pub struct LineConfig {
    /// Name of the line in journal, logs and metrics.
    pub name: String,
    /// Where the network takes our requests, host and port.
    pub network: String,
    /// Where we listen for what the network begins: key resets, cut-over, echo.
    pub listen: SocketAddr,
    /// Addresses from which the network connects there; others are closed at once. Empty when that is not known: then
    /// whoever connects is heard, and has to prove itself by a key before its cut-over counts.
    pub peers: Vec<IpAddr>,
    /// A cut-over may be so many days ahead of the date in Beijing at most.
    pub settle_days_ahead: u16,
    /// Our institution code: fields 32 and 33, and source of the header.
    pub member: InstitutionId,
    /// The network's code: destination of the header, 00010000 for UnionPay.
    pub network_id: InstitutionId,
    /// Zone master key: unwraps the keys that the network resets.
    pub zone_master_key: WrappedKey,
    /// A heartbeat goes out after this long without traffic.
    pub heartbeat: Duration,
    /// A line that was silent for this long is dropped and built up again.
    pub silence_max: Duration,
    /// Pause before the line is built up again.
    pub reconnect: Duration,
    /// How long management messages and key resets may take.
    pub management_patience: Duration,
    /// How long the key before the present one is still accepted.
    pub key_overlap: Duration,
    /// Requests in flight at most; more are answered 91 at once.
    pub in_flight_max: usize,
    /// The line is one of several of this institution, each on a node of its own: stopping one does not sign the
    /// institution off, because the others go on.
    pub shared: bool,
    /// Trace number that management messages count from; nodes of one institution begin at different ones.
    pub management_from: u32,
}

impl LineConfig {
    /// The documented defaults.
    pub fn new(
        network: String,
        listen: SocketAddr,
        member: InstitutionId,
        network_id: InstitutionId,
        zone_master_key: WrappedKey,
    ) -> Self {
        LineConfig {
            name: "unionpay".to_owned(),
            network,
            listen,
            peers: Vec::new(),
            settle_days_ahead: 1,
            member,
            network_id,
            zone_master_key,
            heartbeat: Duration::from_secs(30),
            silence_max: Duration::from_secs(95),
            reconnect: Duration::from_secs(1),
            management_patience: Duration::from_secs(10),
            key_overlap: Duration::from_secs(60),
            in_flight_max: 65_536,
            shared: false,
            management_from: 0,
        }
    }
}
