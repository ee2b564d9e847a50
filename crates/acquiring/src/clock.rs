//! Time as the platform sees it. The core takes `now` as a value; shells ask a [`Clock`].

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// Where the time comes from: the machine, or a simulation.
pub trait Clock: Send + Sync + 'static {
    /// The present moment, in whole milliseconds: what the journal keeps is what was said.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// A moment in Beijing time (UTC+8, no daylight saving), which terminals and the network both use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beijing(DateTime);

impl Beijing {
    /// The local reading of `at`.
    pub fn of(at: Timestamp) -> Self {
        let offset = Offset::constant(8);
        Self(TimeZone::fixed(offset).to_datetime(at))
    }

    /// The civil date and time.
    pub fn civil(self) -> DateTime {
        self.0
    }

    /// hhmmss, field 12.
    pub fn hhmmss(self) -> u32 {
        let t = self.0.time();
        t.hour() as u32 * 10_000 + t.minute() as u32 * 100 + t.second() as u32
    }

    /// MMDD, field 13.
    pub fn mmdd(self) -> u16 {
        let d = self.0.date();
        d.month() as u16 * 100 + d.day() as u16
    }

    /// MMDDhhmmss, field 7 toward the network.
    pub fn transmission(self) -> u64 {
        u64::from(self.mmdd()) * 1_000_000 + u64::from(self.hhmmss())
    }

    /// YYYYMMDD.
    pub fn yyyymmdd(self) -> u32 {
        self.0.date().year() as u32 * 10_000 + u32::from(self.mmdd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beijing_is_eight_hours_ahead() {
        let local = Beijing::of("2026-11-23T17:05:09Z".parse().unwrap());
        assert_eq!(local.hhmmss(), 10_509);
        assert_eq!(local.mmdd(), 1124);
        assert_eq!(local.transmission(), 1_124_010_509);
        assert_eq!(local.yyyymmdd(), 20_261_124);
    }
}
