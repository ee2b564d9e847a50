//! A run as a report: hardware, steady window, percentiles, validity checks, caveats.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::tally::{Percentiles, Second};

/// A condition without which the figures mean nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What must hold.
    pub what: String,
    /// Whether it does.
    pub holds: bool,
    /// The figures behind it.
    pub detail: String,
}

impl Check {
    /// A check with its outcome.
    #[must_use]
    pub fn new(what: &str, holds: bool, detail: String) -> Self {
        Check { what: what.to_owned(), holds, detail }
    }
}

/// What one process cost in the steady window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Its part in the run.
    pub process: String,
    /// Milliseconds of processor time.
    pub cpu_millis: u64,
    /// Microseconds of processor time a payment.
    pub cpu_micros_per_payment: u64,
    /// Memory at the end, kB.
    pub resident_kb: u64,
}

/// One kind of transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KindLine {
    /// Its name.
    pub kind: String,
    /// Latency in the window.
    pub latency: Percentiles,
}

/// A step of the search for the peak.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// How payments arrived.
    pub arrival: String,
    /// Answered a second in its window.
    pub throughput: u64,
    /// Latency.
    pub latency: Percentiles,
    /// Whether the node kept up.
    pub sustained: bool,
}

/// The same bytes through the same processes with nothing done to them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bare {
    /// Round trips a second.
    pub round_trips: u64,
    /// Bytes of the request and of the network message.
    pub bytes: (usize, usize),
    /// Throughput of the payments in per cent of it.
    pub payments_percent: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was measured, in words.
    pub title: String,
    /// Version of the program.
    pub version: String,
    /// When, RFC 3339.
    pub when: String,
    /// Processor, cores, memory, kernel.
    pub hardware: String,
    /// The set-up, name and value.
    pub setup: Vec<(String, String)>,
    /// Seconds before the steady window.
    pub warm_up_seconds: u64,
    /// Seconds of the steady window.
    pub steady_seconds: u64,
    /// Payments a second that arrived; nothing in a closed loop.
    pub offered: Option<u64>,
    /// Payments a second that were served in the window.
    pub throughput: u64,
    /// Payments a second refused for lack of room, by their schedule in the window.
    pub refused: u64,
    /// Payments of the schedule that found no free terminal before the drive ended: they are in no percentile.
    pub unsent: u64,
    /// Latency of everything served in the window, from its schedule, in microseconds.
    pub latency: Percentiles,
    /// Latency of the refusals.
    pub refusal_latency: Percentiles,
    /// By kind.
    pub kinds: Vec<KindLine>,
    /// Answers by kind and code over the whole drive.
    pub codes: Vec<(String, String, u64)>,
    /// The search for the peak, when there was one.
    pub steps: Vec<Step>,
    /// What it cost.
    pub costs: Vec<Cost>,
    /// The bare relay, when it was measured.
    pub bare: Option<Bare>,
    /// Conditions.
    pub checks: Vec<Check>,
    /// What the figures do not say.
    pub caveats: Vec<String>,
    /// Second by second.
    pub seconds: Vec<Second>,
}

impl Report {
    /// Whether all conditions hold.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// As Markdown, which reads on a terminal as well.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}\n", self.title)?;
        writeln!(out, "| | |\n|---|---|")?;
        writeln!(out, "| version | posp {}, {} |", self.version, self.when)?;
        writeln!(out, "| hardware | {} |", self.hardware)?;
        for (name, value) in &self.setup {
            writeln!(out, "| {name} | {value} |")?;
        }
        writeln!(
            out,
            "| steady window | {} s after {} s of warm-up |",
            self.steady_seconds, self.warm_up_seconds
        )?;
        let offered =
            self.offered.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate}/s offered"));
        writeln!(out, "\n**{}/s served**, {offered}, {}/s refused\n", self.throughput, self.refused)?;
        if self.unsent > 0 {
            writeln!(out, "{} payments found no free terminal and stand in no percentile.\n", self.unsent)?;
        }
        if !self.steps.is_empty() {
            writeln!(
                out,
                "| arrival | served/s | p50 ms | p99 ms | max ms | kept up |\n|---|---|---|---|---|---|"
            )?;
            for step in &self.steps {
                let Percentiles { p50, p99, max, .. } = step.latency;
                let kept = if step.sustained { "yes" } else { "no" };
                let (p50, p99, max) = (millis(p50), millis(p99), millis(max));
                writeln!(out, "| {} | {} | {p50} | {p99} | {max} | {kept} |", step.arrival, step.throughput)?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "| latency, ms | count | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|---|"
        )?;
        latency_line(out, "all", &self.latency)?;
        for line in &self.kinds {
            latency_line(out, &line.kind, &line.latency)?;
        }
        if self.refusal_latency.count > 0 {
            latency_line(out, "refused (96)", &self.refusal_latency)?;
        }
        if !self.costs.is_empty() {
            writeln!(out, "\n| process | processor µs a payment | memory MB |\n|---|---|---|")?;
            for cost in &self.costs {
                let mb = cost.resident_kb / 1_024;
                writeln!(out, "| {} | {} | {mb} |", cost.process, cost.cpu_micros_per_payment)?;
            }
        }
        if let Some(bare) = &self.bare {
            writeln!(
                out,
                "\nBare relay of {} and {} bytes between the same three processes: {} round trips/s; the \
                 payments reach {} % of it.",
                bare.bytes.0, bare.bytes.1, bare.round_trips, bare.payments_percent
            )?;
        }
        writeln!(out, "\n| answers | code | count |\n|---|---|---|")?;
        for (kind, code, count) in &self.codes {
            writeln!(out, "| {kind} | {code} | {count} |")?;
        }
        writeln!(out, "\nValidity:\n")?;
        for check in &self.checks {
            let mark = if check.holds { "holds" } else { "**BROKEN**" };
            writeln!(out, "- {mark}: {} ({})", check.what, check.detail)?;
        }
        writeln!(out, "\nCaveats:\n")?;
        for caveat in &self.caveats {
            writeln!(out, "- {caveat}")?;
        }
        Ok(())
    }
}

/// Microseconds as milliseconds with two decimals.
#[must_use]
pub fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10)
}

fn latency_line(out: &mut String, name: &str, p: &Percentiles) -> std::fmt::Result {
    let [p50, p90, p99, p999, max] = [p.p50, p.p90, p.p99, p.p999, p.max].map(millis);
    writeln!(out, "| {name} | {} | {p50} | {p90} | {p99} | {p999} | {max} |", p.count)
}
