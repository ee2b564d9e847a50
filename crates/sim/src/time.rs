//! Moments, Beijing time and settlement dates; the only place of this crate that may ask the machine's clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

/// A moment in milliseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// Date and time in Beijing (UTC+8, no summer time), which is what messages carry.
    #[must_use]
    pub fn beijing(self) -> DateTime {
        let zone = TimeZone::fixed(Offset::constant(8));
        zone.to_datetime(jiff::Timestamp::from_millisecond(self.0).unwrap_or_default())
    }

    /// `MMDDhhmmss`, the form of field 7.
    #[must_use]
    pub fn transmission(self) -> String {
        let t = self.beijing();
        format!("{:02}{:02}{:02}{:02}{:02}", t.month(), t.day(), t.hour(), t.minute(), t.second())
    }

    /// This moment `ms` milliseconds later.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Moment {
        Moment(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// `YYMM` as a number, the form of an expiry date.
    #[must_use]
    pub fn year_month(self) -> u16 {
        let t = self.beijing();
        let year = u16::try_from(t.year().rem_euclid(100)).unwrap_or(0);
        year.saturating_mul(100).saturating_add(u16::try_from(t.month()).unwrap_or(1))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.beijing();
        write!(f, "{} {:02}:{:02}:{:02}", t.date(), t.hour(), t.minute(), t.second())?;
        write!(f, ".{:03}", t.millisecond())
    }
}

/// The day to which the network books a transaction (field 15). Written `2026-11-24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettleDate(Date);

impl SettleDate {
    /// The Beijing calendar day of a moment.
    #[must_use]
    pub fn of(at: Moment) -> Self {
        SettleDate(at.beijing().date())
    }

    /// The following day; the last representable day stays.
    #[must_use]
    pub fn next(self) -> Self {
        SettleDate(self.0.tomorrow().unwrap_or(self.0))
    }

    /// `MMDD`, the form of field 15.
    #[must_use]
    pub fn mmdd(self) -> String {
        format!("{:02}{:02}", self.0.month(), self.0.day())
    }

    /// Whole days from `self` to `later`, negative when `later` is before.
    #[must_use]
    pub fn days_until(self, later: SettleDate) -> i32 {
        self.0.until(later.0).map_or(0, |span| span.get_days())
    }
}

impl fmt::Display for SettleDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::str::FromStr for SettleDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<Date>().map(SettleDate).map_err(|_| format!("{text:?} is not a date like 2026-11-24"))
    }
}

impl Serialize for SettleDate {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SettleDate {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A time of day in Beijing, written `23:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay(jiff::civil::Time);

impl TimeOfDay {
    /// Milliseconds from `now` until the next time the clock shows it: above zero, at most a day.
    #[must_use]
    pub fn ms_after(self, now: Moment) -> u64 {
        const DAY_MS: i64 = 86_400_000;
        let midnight = jiff::civil::Time::midnight();
        let since =
            |time: jiff::civil::Time| i64::try_from(time.duration_since(midnight).as_millis()).unwrap_or(0);
        let ahead = (since(self.0) - since(now.beijing().time())).rem_euclid(DAY_MS);
        u64::try_from(if ahead == 0 { DAY_MS } else { ahead }).unwrap_or(0)
    }

    /// Whether the clock has already shown it today.
    #[must_use]
    pub fn is_past(self, now: Moment) -> bool {
        now.beijing().time() >= self.0
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let time = text.parse().map_err(|_| serde::de::Error::custom("not a time of day like 23:00"))?;
        Ok(TimeOfDay(time))
    }
}

/// Where the shell takes the time from; the core is always told.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Moment;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // this is the clock module
    fn now(&self) -> Moment {
        Moment(jiff::Timestamp::now().as_millisecond())
    }
}

/// A clock that stands until it is moved; for tests of anything that depends on the date.
#[derive(Debug, Default)]
pub struct HandClock(AtomicI64);

impl HandClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn new(at: Moment) -> Self {
        HandClock(AtomicI64::new(at.0))
    }

    /// Moves the hands.
    pub fn set(&self, at: Moment) {
        self.0.store(at.0, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beijing_is_eight_hours_ahead() {
        let at = Moment(1_795_486_530_000); // 2026-11-24 02:15:30 UTC
        assert_eq!(at.transmission(), "1124101530");
        assert_eq!(at.year_month(), 2611);
        assert_eq!(SettleDate::of(at).to_string(), "2026-11-24");
        assert_eq!(SettleDate::of(at).next().mmdd(), "1125");
    }

    #[test]
    fn the_next_time_of_day_is_ahead() {
        let at = Moment(1_795_486_530_000); // 10:15:30
        let of = |text: &str| -> TimeOfDay { serde_json::from_value(text.into()).unwrap() };
        assert_eq!(of("10:16").ms_after(at), 30_000);
        assert_eq!(of("10:15").ms_after(at), 86_400_000 - 30_000);
        assert_eq!(of("10:15:30").ms_after(at), 86_400_000);
        assert!(of("10:15").is_past(at) && !of("23:00").is_past(at));
        assert!(serde_json::from_value::<TimeOfDay>("25:00".into()).is_err());
    }

    #[test]
    fn dates_parse_and_count() {
        let a: SettleDate = "2026-12-31".parse().unwrap();
        assert_eq!(a.next().to_string(), "2027-01-01");
        assert_eq!(a.days_until(a.next()), 1);
        assert!("2026-13-01".parse::<SettleDate>().is_err());
    }
}
