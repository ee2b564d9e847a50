//! The terminal's clock: the machine's, corrected by what the host last said in fields 12 and 13.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// Where the terminal takes the time from: the machine, or a test.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still, for tests and reproducible frames.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// `at` moved by `offset_seconds`, read in Beijing time (UTC+8 without daylight saving), the time of terminal slips.
pub fn beijing(at: Timestamp, offset_seconds: i64) -> DateTime {
    let seconds = at.as_second().saturating_add(offset_seconds);
    let moved = Timestamp::from_second(seconds).unwrap_or(at);
    TimeZone::fixed(Offset::constant(8)).to_datetime(moved)
}

/// How far the host's clock is ahead of the machine's, in seconds, from field 12 (hhmmss) and field 13 (MMDD).
///
/// The year is not transmitted: the one that brings the host's time nearest to ours is taken.
/// Returns `None` when the digits are no date or time.
pub fn host_offset(at: Timestamp, hhmmss: u64, mmdd: u64) -> Option<i64> {
    let part = |value: u64, divisor: u64| i8::try_from(value / divisor % 100).ok();
    let time = Time::new(part(hhmmss, 10_000)?, part(hhmmss, 100)?, part(hhmmss, 1)?, 0).ok()?;
    let (month, day) = (part(mmdd, 100)?, part(mmdd, 1)?);
    let zone = TimeZone::fixed(Offset::constant(8));
    let ours = zone.to_datetime(at);
    (-1..=1)
        .filter_map(|shift| {
            let date = Date::new(ours.year().checked_add(shift)?, month, day).ok()?;
            let host = zone.to_timestamp(date.to_datetime(time)).ok()?;
            Some(host.as_second() - at.as_second())
        })
        .min_by_key(|offset| offset.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_follows_the_host_across_new_year() {
        let at: Timestamp = "2026-12-31T15:59:30Z".parse().unwrap(); // 23:59:30 in Beijing
        assert_eq!(host_offset(at, 30, 101), Some(60));
        assert_eq!(beijing(at, 60).to_string(), "2027-01-01T00:00:30");
        assert_eq!(host_offset(at, 235_920, 1231), Some(-10));
        assert_eq!(host_offset(at, 256_000, 1231), None);
        assert_eq!(host_offset(at, 0, 1332), None);
    }
}
