//! How quickly the store's operations come through, and when new work is refused because they do not.
//!
//! What counts is the whole time of an operation, from when it is asked for until whoever asked goes on. So a writer that
//! does not keep up is seen, and a machine whose processors do not: then work waits to be taken up again, not for the
//! writer. A single slow flush makes many operations slow, but not all of them for long; so the quickest of a while is
//! looked at.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When new work is refused although the queue has room: nothing was quicker than this for a while, and more than a
/// group is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The longest time of an operation.
    pub(crate) wait_max: Duration,
    /// Operations of a group.
    pub(crate) group_max: usize,
}

impl Patience {
    /// How long nothing may have been quick: short against the wait, or much comes in before it is seen.
    fn window(&self) -> Duration {
        self.wait_max / 4
    }
}

/// The quickest operations of the window that runs and of the one before.
struct Windows {
    began: Instant,
    before: Duration,
    now: Duration,
}

/// The times of one writer's operations.
pub(crate) struct Pace {
    patience: Patience,
    under_way: AtomicUsize,
    windows: Mutex<Windows>,
}

impl Pace {
    pub(crate) fn new(patience: Patience) -> Self {
        let windows = Windows { began: Instant::now(), before: Duration::ZERO, now: Duration::ZERO };
        Pace { patience, under_way: AtomicUsize::new(0), windows: Mutex::new(windows) }
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations that were asked for and whose askers have not gone on.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// An operation is asked for; it is under way until the result is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay { pace: self, asked: Instant::now() }
    }

    /// Whether work does not come through in time.
    pub(crate) fn is_behind(&self) -> bool {
        if self.under_way() <= self.patience.group_max {
            return false;
        }
        let windows = self.windows();
        windows.before.min(windows.now) > self.patience.wait_max
    }

    fn took(&self, time: Duration, at: Instant) {
        let mut windows = self.windows();
        if at.saturating_duration_since(windows.began) < self.patience.window() {
            windows.now = windows.now.min(time);
        } else {
            *windows = Windows { began: at, before: windows.now, now: time };
        }
    }
}

/// An operation under way.
pub(crate) struct UnderWay<'a> {
    pace: &'a Pace,
    asked: Instant,
}

impl UnderWay<'_> {
    /// Its asker goes on.
    pub(crate) fn end(self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.asked);
        metrics::histogram!("posp_store_operation_seconds").record(took.as_secs_f64());
        self.pace.took(took, now);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.pace.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> (Pace, Instant) {
        let pace = Pace::new(Patience { wait_max: 100 * MS, group_max: 2 });
        let began = pace.windows().began;
        (pace, began)
    }

    /// One slow flush, with all that waited for it, refuses nobody: something was quick shortly before or is after.
    #[test]
    fn a_slow_flush_is_not_behind() {
        let (pace, began) = pace();
        let _under_way: Vec<_> = (0..3).map(|_| pace.begin()).collect();
        pace.took(2 * MS, began + 30 * MS);
        for after in 0..20 {
            pace.took(400 * MS, began + (430 + after) * MS);
        }
        assert!(!pace.is_behind());
        pace.took(90 * MS, began + 460 * MS);
        pace.took(400 * MS, began + 470 * MS);
        assert!(!pace.is_behind());
    }

    /// When nothing is quick any more new work is refused, as long as more than a group is under way; the first quick
    /// operation ends that.
    #[test]
    fn behind_is_when_nothing_is_quick() {
        let (pace, began) = pace();
        let mut under_way: Vec<_> = (0..3).map(|_| pace.begin()).collect();
        for at in [30, 60, 90] {
            pace.took(101 * MS, began + at * MS);
        }
        assert!(pace.is_behind());
        under_way.pop();
        assert!(!pace.is_behind(), "two under way are a group");
        under_way.push(pace.begin());
        assert!(pace.is_behind());
        pace.took(99 * MS, began + 100 * MS);
        assert!(!pace.is_behind());
    }
}
