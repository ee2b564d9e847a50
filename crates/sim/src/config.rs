//! Configuration of the simulator. Every key has a default that suits a laboratory on one machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::deck::{CardSpec, lab_deck};
use crate::faults::FaultSettings;
use crate::issuer::Policy;
use crate::secret::Secret;
use crate::time::{SettleDate, TimeOfDay};

/// The laboratory's zone master key as two components; a member uses the same two. Published, worthless.
/// Combined: `0123456789ABCDEFFEDCBA9876543210`, check value `08D7B4FB`.
pub const LAB_ZMK_COMPONENTS: [&str; 2] =
    ["11111111111111112222222222222222", "1032547698BADCFEDCFE98BA54761032"];

/// When a line of the books file reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fsync {
    /// Before each answer: survives loss of power, a few hundred requests per second.
    Always,
    /// At shutdown only; each line is handed to the operating system before the answer leaves, so it survives
    /// a killed process but not a loss of power.
    AtShutdown,
}

/// Family of the zone keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneAlgorithm {
    /// Two-key triple DES: field 53.2 = 6, PIN block in field 52.
    #[serde(rename = "3des")]
    TripleDes,
    /// SM4: field 53.2 = 4, PIN block in field 63 as `SM016` and 16 bytes, field 52 zeros. Modelled.
    Sm4,
}

impl ZoneAlgorithm {
    /// Second digit of field 53.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            ZoneAlgorithm::TripleDes => '6',
            ZoneAlgorithm::Sm4 => '4',
        }
    }
}

/// Bounds on what a peer may make the simulator hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest frame in bytes, header and body. Four ASCII digits could announce 9999.
    pub frame_max: usize,
    /// Connections of members at one time; further ones are closed at once.
    pub connections: usize,
    /// Answers of one connection that wait (late, or for a slow reader); reading pauses at the bound.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { frame_max: 4096, connections: 64, in_flight: 4096 }
    }
}

/// Durations, all in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// How late a late answer is.
    pub late_answer: u64,
    /// How long old keys hold after a reset.
    pub key_overlap: u64,
    /// Silence after which a heartbeat is sent.
    pub heartbeat: u64,
    /// Silence of a member after which its connection is closed; a living one sends heartbeats. 0 never closes.
    pub silence: u64,
    /// Silence on the line to the member after which an echo is sent; 0 never sends one.
    pub echo: u64,
    /// Pause before the member's listener is tried again.
    pub reconnect: u64,
    /// How long a cut-over lasts: the pause between its two messages, 201 and 202.
    pub cut_over: u64,
    /// How long the network waits for the answer to a message of its own, and for the line to come up.
    pub answer: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            late_answer: 3_000,
            key_overlap: 60_000,
            heartbeat: 30_000,
            silence: 95_000,
            echo: 60_000,
            reconnect: 1_000,
            cut_over: 0,
            answer: 10_000,
        }
    }
}

/// All that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// Where members connect for their own requests. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where the page and the control API listen; `None` for neither.
    pub control: Option<SocketAddr>,
    /// `host:port` of the member's listener for what the network originates; empty for none, and then keys
    /// cannot be exchanged. A member that works on several machines has one on each: separated by commas.
    pub member_listener: String,
    /// Institution code of the one member, as in the header's source id and in field 33.
    pub member_id: String,
    /// The network's own id in the header.
    pub network_id: String,
    /// The issuer's institution code, for fields 44 and 100.
    pub issuer_id: String,
    /// Zone master key as two or three components of 32 hexadecimal digits.
    pub zmk_components: Vec<Secret>,
    /// Family of the zone master key and of the keys under it.
    pub zone_algorithm: ZoneAlgorithm,
    /// Settlement day at the start; `None` takes the Beijing calendar day, or the last one in the books file.
    pub settlement_day: Option<SettleDate>,
    /// Beijing time `HH:MM` of the daily cut-over to the following day; `None` leaves it to the control interface.
    pub cut_over_at: Option<TimeOfDay>,
    /// Cards.
    pub cards: Vec<CardSpec>,
    /// The issuers' and the network's rules.
    pub policy: Policy,
    /// Faults at the start.
    pub faults: FaultSettings,
    /// Durations.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// File in which all events are kept and from which the books are rebuilt; `None` keeps them in memory
    /// only.
    pub books: Option<PathBuf>,
    /// When lines of that file reach the disk.
    pub fsync: Fsync,
}

impl Default for SimConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        SimConfig {
            listen: local(18583),
            control: Some(local(18580)),
            member_listener: "127.0.0.1:18584".to_owned(),
            member_id: "48029999".to_owned(),
            network_id: "00010000".to_owned(),
            issuer_id: "63040000".to_owned(),
            zmk_components: LAB_ZMK_COMPONENTS.iter().map(|c| Secret::new(c)).collect(),
            zone_algorithm: ZoneAlgorithm::TripleDes,
            settlement_day: None,
            cut_over_at: None,
            cards: lab_deck(),
            policy: Policy::default(),
            faults: FaultSettings::default(),
            timing: Timing::default(),
            limits: Limits::default(),
            books: None,
            fsync: Fsync::AtShutdown,
        }
    }
}
