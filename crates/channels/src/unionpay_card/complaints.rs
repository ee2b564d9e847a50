//! What the log hears of a peer that sends what cannot be used: the first of each kind, then one in a thousand. A
//! flood must not fill the disk; the metrics count them all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One line for so many.
const EVERY: u64 = 1_000;

/// How often each reason came up. Reasons are fixed texts, so this stays small.
#[derive(Default)]
pub(super) struct Complaints(Mutex<BTreeMap<&'static str, u64>>);

impl Complaints {
    /// Counts one; how many there were, when the log is to hear of it.
    pub(super) fn is_news(&self, reason: &'static str) -> Option<u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(reason).or_default();
        *count += 1;
        (*count % EVERY == 1).then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_kind_and_then_one_in_a_thousand() {
        let complaints = Complaints::default();
        let told = |reason| (0..2_001).filter(|_| complaints.is_news(reason).is_some()).count();
        assert_eq!(told("malformed"), 3);
        assert_eq!(told("wrong MAC"), 3);
    }
}
