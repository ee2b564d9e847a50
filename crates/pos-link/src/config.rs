//! Settings of the door.

use std::sync::Arc;
use std::time::Duration;

use crate::profile::Profiles;

/// Settings of the door, for all its listeners.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Largest frame without its length; a longer one closes the connection.
    pub frame_max: usize,
    /// A frame must be complete this long after its first byte: a slow sender holds no memory for long.
    pub frame_patience: Duration,
    /// A connection without traffic is closed after this long.
    pub idle_max: Duration,
    /// An answer must be taken within this time, else the connection is closed.
    pub write_patience: Duration,
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Connections at a time from one address; more are closed at once.
    pub connections_per_address_max: usize,
    /// Connections that one address may make in a second, and at once; more are closed at once.
    pub connects_per_second_max: u32,
    /// Frames of one address in work at a time; more wait unread.
    pub frames_per_address_max: usize,
    /// The profiles that listeners and merchants may have.
    pub profiles: Arc<Profiles>,
}

impl LinkConfig {
    /// The documented defaults, with the baseline profile `cup-pos-1` alone.
    pub fn new() -> Self {
        LinkConfig {
            frame_max: 2_048,
            frame_patience: Duration::from_secs(10),
            idle_max: Duration::from_secs(300),
            write_patience: Duration::from_secs(10),
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            connects_per_second_max: 5_000,
            frames_per_address_max: 4_096,
            profiles: Arc::default(),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self::new()
    }
}
