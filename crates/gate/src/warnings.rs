//! Warnings about what comes through a door, so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Warnings a second; the others are counted.
const PER_SECOND: u32 = 100;

/// Counts the warnings of the present second.
pub struct Warnings {
    unwritten: &'static str,
    second: Mutex<(Instant, u32)>,
}

impl Warnings {
    /// With the name of the metric that counts what is not written.
    pub fn new(unwritten: &'static str) -> Self {
        Warnings { unwritten, second: Mutex::new((Instant::now(), 0)) }
    }

    /// Whether one more may be written now; counted when it may not.
    pub fn may_write(&self) -> bool {
        self.may_write_at(Instant::now())
    }

    fn may_write_at(&self, now: Instant) -> bool {
        let mut state = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.0) >= Duration::from_secs(1) {
            *state = (now, 0);
        }
        state.1 = state.1.saturating_add(1);
        let may = state.1 <= PER_SECOND;
        if !may {
            metrics::counter!(self.unwritten).increment(1);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_again_in_the_next() {
        let warnings = Warnings::new("posp_link_unlogged_total");
        let now = Instant::now();
        let written = (0..1_000).filter(|_| warnings.may_write_at(now)).count();
        assert_eq!(written, PER_SECOND as usize);
        assert!(warnings.may_write_at(now + Duration::from_secs(1)));
    }
}
