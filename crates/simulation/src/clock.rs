//! Virtual time: the runtime's paused clock, read as the moment of the world.

use acquiring::Clock;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The clock of a world. It moves only when nobody has anything left to do.
#[derive(Debug)]
pub struct VirtualClock {
    start: Instant,
    base: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `base` now. Must be made on the world's runtime.
    pub fn new(base: Timestamp) -> Self {
        VirtualClock { start: Instant::now(), base }
    }

    /// Milliseconds since the world began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::from_millis(i64::try_from(self.elapsed_ms()).unwrap_or(i64::MAX));
        self.base.checked_add(passed).unwrap_or(self.base)
    }
}

impl sim::time::Clock for VirtualClock {
    fn now(&self) -> sim::time::Moment {
        sim::time::Moment(Clock::now(self).as_millisecond())
    }
}
