//! What was counted: latencies per kind and second, codes, problems.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};

use crate::mix::Kind;

/// Problems that are kept in words; the rest is counted.
const PROBLEMS_MAX: usize = 20;
/// Longest latency that is told apart, microseconds.
const LATENCY_MAX: u64 = 120_000_000;

fn histogram(digits: u8) -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LATENCY_MAX, digits)
}

/// Percentiles of a set of latencies, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many.
    pub count: u64,
    /// Half are at most this.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        Percentiles {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Payments that should have left in it.
    pub scheduled: u64,
    /// Answers that came in it.
    pub answered: u64,
    /// Of these, refused for lack of room (96).
    pub refused: u64,
    /// Latencies of the payments that were scheduled in it and served.
    pub latency: Percentiles,
}

/// Counters of one drive.
pub struct Tally {
    steady_from: Duration,
    steady_to: Duration,
    all: Histogram<u64>,
    kinds: BTreeMap<Kind, Histogram<u64>>,
    refusals: Histogram<u64>,
    seconds: Vec<(Second, Option<Histogram<u64>>)>,
    /// Answers by kind and code.
    pub codes: BTreeMap<(Kind, [u8; 2]), u64>,
    /// Payments scheduled.
    pub scheduled: u64,
    /// Answers that came within the steady window.
    pub answered_steady: u64,
    /// Of the payments scheduled in the window: refused for lack of room.
    pub refused: u64,
    /// Payments that had no terminal when the drive ended.
    pub unsent: u64,
    /// Payments without an answer: the line ended or the time ran out.
    pub silent: u64,
    /// What must not be, in words.
    pub problems: Vec<String>,
    /// How many problems there were.
    pub problem_count: u64,
}

impl Tally {
    /// Counters for a drive whose steady window lies between two moments of it.
    ///
    /// # Errors
    /// None in practice: the bounds are constant.
    pub fn new(steady_from: Duration, steady_to: Duration) -> anyhow::Result<Tally> {
        Ok(Tally {
            steady_from,
            steady_to,
            all: histogram(3)?,
            kinds: BTreeMap::new(),
            refusals: histogram(3)?,
            seconds: Vec::new(),
            codes: BTreeMap::new(),
            scheduled: 0,
            answered_steady: 0,
            refused: 0,
            unsent: 0,
            silent: 0,
            problems: Vec::new(),
            problem_count: 0,
        })
    }

    fn second(&mut self, at: Duration) -> Option<&mut (Second, Option<Histogram<u64>>)> {
        let index = at.as_secs() as usize;
        // An hour at most, so that a wrong clock does not eat the memory.
        if index < 3_600 && index >= self.seconds.len() {
            self.seconds.resize_with(index + 1, || (Second::default(), histogram(2).ok()));
        }
        self.seconds.get_mut(index)
    }

    /// A payment should leave now.
    pub fn schedule(&mut self, at: Duration) {
        self.scheduled += 1;
        if let Some((second, _)) = self.second(at) {
            second.scheduled += 1;
        }
    }

    fn is_steady(&self, at: Duration) -> bool {
        at >= self.steady_from && at < self.steady_to
    }

    /// An answer came: `scheduled` and `now` are counted from the start of the drive.
    pub fn answer(&mut self, kind: Kind, code: [u8; 2], scheduled: Duration, now: Duration, refused: bool) {
        *self.codes.entry((kind, code)).or_default() += 1;
        let micros = u64::try_from(now.saturating_sub(scheduled).as_micros()).unwrap_or(LATENCY_MAX);
        let micros = micros.clamp(1, LATENCY_MAX);
        let (in_window, answered_in_window) = (self.is_steady(scheduled), self.is_steady(now));
        if kind.is_drawn() {
            self.answered_steady += u64::from(answered_in_window && !refused);
            if let Some((second, _)) = self.second(now) {
                second.answered += 1;
                second.refused += u64::from(refused);
            }
            if !refused && let Some((_, Some(histogram))) = self.second(scheduled) {
                histogram.saturating_record(micros);
            }
        }
        if !in_window {
            return;
        }
        if refused {
            self.refused += 1;
            self.refusals.saturating_record(micros);
            return;
        }
        if kind.is_drawn() {
            self.all.saturating_record(micros);
        }
        if let Some(histogram) = self.kinds.get_mut(&kind) {
            histogram.saturating_record(micros);
        } else if let Ok(mut fresh) = histogram(3) {
            fresh.saturating_record(micros);
            self.kinds.insert(kind, fresh);
        }
    }

    /// Notes what must not be.
    pub fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }

    /// Percentiles of everything served in the window.
    #[must_use]
    pub fn latency(&self) -> Percentiles {
        Percentiles::of(&self.all)
    }

    /// Percentiles of the refusals in the window.
    #[must_use]
    pub fn refusal_latency(&self) -> Percentiles {
        Percentiles::of(&self.refusals)
    }

    /// The same by kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Kind, Percentiles> {
        self.kinds.iter().map(|(kind, histogram)| (*kind, Percentiles::of(histogram))).collect()
    }

    /// Second by second.
    #[must_use]
    pub fn seconds(&self) -> Vec<Second> {
        let fill = |(second, histogram): &(Second, Option<Histogram<u64>>)| Second {
            latency: histogram.as_ref().map(Percentiles::of).unwrap_or_default(),
            ..*second
        };
        self.seconds.iter().map(fill).collect()
    }

    /// Answers that came in a second of the drive.
    #[must_use]
    pub fn answered_in(&self, second: u64) -> u64 {
        let index = usize::try_from(second).unwrap_or(usize::MAX);
        self.seconds.get(index).map_or(0, |(second, _)| second.answered)
    }

    /// How many answers of a kind had a code.
    #[must_use]
    pub fn count(&self, kind: Kind, code: &[u8; 2]) -> u64 {
        self.codes.get(&(kind, *code)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_counts_from_its_schedule_in_the_second_of_its_schedule() {
        let second = Duration::from_secs(1);
        let mut tally = Tally::new(second, second * 3).unwrap();
        for _ in 0..99 {
            tally.answer(Kind::Sale, *b"00", second, second + Duration::from_millis(5), false);
        }
        tally.answer(Kind::Sale, *b"00", second, second * 4, false);
        tally.answer(Kind::Sale, *b"96", second, second, true);
        let latency = tally.latency();
        assert_eq!(latency.count, 100);
        assert!(latency.p50 < 5_100 && latency.max >= 2_990_000, "{latency:?}");
        // The late one was answered after the window and is no throughput of it; the refusal is none either.
        assert_eq!((tally.answered_steady, tally.refused), (99, 1));
        assert_eq!(tally.seconds()[1].latency.count, 100);
        assert_eq!(tally.seconds()[4].answered, 1);
    }
}
