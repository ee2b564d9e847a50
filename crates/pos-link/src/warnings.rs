//! Warnings about what terminals send, so many a second: a flood of garbage must not fill the disk with its own log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Warnings a second; the others are counted.
const PER_SECOND: u32 = 100;

/// Counts the warnings of the present second.
pub struct Warnings(Mutex<(Instant, u32)>);

impl Default for Warnings {
    fn default() -> Self {
        Warnings(Mutex::new((Instant::now(), 0)))
    }
}

impl Warnings {
    /// Whether one more may be written now; counted when it may not.
    pub fn may_write(&self) -> bool {
        self.may_write_at(Instant::now())
    }

    fn may_write_at(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.0) >= Duration::from_secs(1) {
            *state = (now, 0);
        }
        state.1 = state.1.saturating_add(1);
        let may = state.1 <= PER_SECOND;
        if !may {
            metrics::counter!("posp_link_unlogged_total").increment(1);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_again_in_the_next() {
        let warnings = Warnings::default();
        let now = Instant::now();
        let written = (0..1_000).filter(|_| warnings.may_write_at(now)).count();
        assert_eq!(written, PER_SECOND as usize);
        assert!(warnings.may_write_at(now + Duration::from_secs(1)));
    }
}
