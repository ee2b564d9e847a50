//! Settings of the engine.

use std::time::Duration;

use acquiring::InstitutionId;

/// Settings; the binary reads them from its configuration file.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Our institution code, field 32 of every answer.
    pub acquirer: InstitutionId,
    /// How long to wait for the network before a payment counts as unknown.
    pub network_patience: Duration,
    /// A terminal must have signed in on the present day (Beijing), else 77.
    pub sign_in_daily: bool,
    /// This many wrong MACs in a row take a terminal's keys away until it signs in again.
    pub wrong_macs_max: u32,
    /// Above this many queued reversals and repeats no new payment is taken (96).
    pub forward_depth_max: u64,
    /// Payments under way at a time, those that wait for the network included. Above it a new one is refused (96): the
    /// bound of the memory that they take.
    pub under_way_max: usize,
    /// Payments that are made ready at a time, up to their durable intent.
    pub intake_max: usize,
    /// How long a new payment waits for its place among them before it is refused (96).
    pub intake_wait: Duration,
    /// First wait before a reversal or repeat is sent again; doubled up to `forward_pause_max`.
    pub forward_pause: Duration,
    /// Longest wait between two attempts.
    pub forward_pause_max: Duration,
    /// After this many explicit refusals by the network a queued item is parked for an operator.
    pub forward_refusals_max: u32,
    /// After so many sendings of the same message that the network did not answer, its item is parked for an operator.
    /// What did not leave us is not counted.
    pub forward_silences_max: u32,
    /// So many queued items, of different families of payments, may be under way to the network at once.
    pub forward_window: usize,
    /// A tip is at most so many per cent of its sale.
    pub tip_percent_max: u32,
    /// What a terminal must do is asked for in every answer, not only after sign-in and downloads.
    pub requirement_everywhere: bool,
    /// Names of the profiles that a merchant may have as its own. The door knows what they say; a terminal's entry
    /// has its merchant's place in this list.
    pub profiles: Vec<String>,
    /// How often to look whether master data changed.
    pub refresh: Duration,
    /// Several nodes on one store: how much longer than the patience with the network an operation may take,
    /// before the other nodes take its node for dead.
    pub takeover_margin: Duration,
    /// What this node is called among them.
    pub node: String,
}

impl EngineConfig {
    /// The documented defaults for an acquirer.
    pub fn new(acquirer: InstitutionId) -> Self {
        EngineConfig {
            acquirer,
            network_patience: Duration::from_secs(30),
            sign_in_daily: true,
            wrong_macs_max: 20,
            forward_depth_max: 100_000,
            under_way_max: 20_000,
            intake_max: 256,
            intake_wait: Duration::from_secs(1),
            forward_pause: Duration::from_secs(1),
            forward_pause_max: Duration::from_secs(60),
            forward_refusals_max: 10,
            forward_silences_max: 1_000,
            forward_window: 8,
            tip_percent_max: 20,
            requirement_everywhere: false,
            profiles: Vec::new(),
            refresh: Duration::from_secs(1),
            takeover_margin: Duration::from_secs(30),
            node: "node".to_owned(),
        }
    }

    /// After this time without an outcome the node that had the work is dead, or has given it up.
    pub(crate) fn takeover(&self) -> Duration {
        self.network_patience.saturating_add(self.takeover_margin)
    }
}
