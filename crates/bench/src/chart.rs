//! The report's picture: throughput and latency percentiles over time, as SVG.

use std::fmt::Write;

use crate::report::{Report, millis};
use crate::tally::Second;

const WIDTH: u64 = 900;
const LEFT: u64 = 70;
const RIGHT: u64 = 20;
const PANEL: u64 = 200;

/// A line of a panel: colour, name, value of a second.
type Series = (&'static str, &'static str, fn(&Second) -> u64);

const LATENCIES: [Series; 4] = [
    ("#1a7f37", "p50", |s| s.latency.p50),
    ("#0969da", "p90", |s| s.latency.p90),
    ("#bf8700", "p99", |s| s.latency.p99),
    ("#cf222e", "max", |s| s.latency.max),
];

const FLOWS: [Series; 3] = [
    ("#8c959f", "arrived", |s| s.scheduled),
    ("#1a7f37", "served", |s| s.answered.saturating_sub(s.refused)),
    ("#cf222e", "refused", |s| s.refused),
];

/// The picture of a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = draw(&mut out, report);
    out
}

fn draw(out: &mut String, report: &Report) -> std::fmt::Result {
    let height = 2 * PANEL + 130;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    )?;
    let title = report.title.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>")?;
    writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"38\" fill=\"#57606a\">{}/s served, p50 {} ms, p99 {} ms, max {} ms in the steady \
         window</text>",
        report.throughput,
        millis(report.latency.p50),
        millis(report.latency.p99),
        millis(report.latency.max)
    )?;
    let steady = (report.warm_up_seconds, report.warm_up_seconds + report.steady_seconds);
    panel(out, &report.seconds, 60, "payments a second", &FLOWS, steady, |value| value.to_string())?;
    panel(out, &report.seconds, PANEL + 110, "latency by schedule, ms", &LATENCIES, steady, millis)?;
    writeln!(out, "</svg>")
}

fn panel(
    out: &mut String,
    seconds: &[Second],
    top: u64,
    name: &str,
    series: &[Series],
    steady: (u64, u64),
    unit: fn(u64) -> String,
) -> std::fmt::Result {
    let span = (seconds.len() as u64).max(2) - 1;
    let highest = seconds.iter().flat_map(|s| series.iter().map(move |(_, _, value)| value(s))).max();
    let highest = highest.unwrap_or(1).max(1);
    let inner = WIDTH - LEFT - RIGHT;
    let x = |second: u64| LEFT + second.min(span) * inner / span;
    let y = |value: u64| top + PANEL - value.min(highest) * PANEL / highest;
    let (from, to) = (x(steady.0), x(steady.1.min(span)));
    writeln!(
        out,
        "<rect x=\"{from}\" y=\"{top}\" width=\"{}\" height=\"{PANEL}\" fill=\"#f6f8fa\"/>",
        to.saturating_sub(from)
    )?;
    for part in 0..=4 {
        let value = highest * part / 4;
        let at = y(value);
        writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\" stroke=\"#d0d7de\"/><text x=\"{}\" y=\"{}\" \
             text-anchor=\"end\" fill=\"#57606a\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6,
            at + 4,
            unit(value)
        )?;
    }
    for part in 0..=4 {
        let second = span * part / 4;
        let below = top + PANEL + 16;
        writeln!(
            out,
            "<text x=\"{}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#57606a\">{second} s</text>",
            x(second)
        )?;
    }
    writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">{name}</text>", top - 6)?;
    for (place, (colour, label, value)) in (0u64..).zip(series) {
        let mut points = String::new();
        for (second, one) in (0u64..).zip(seconds) {
            write!(points, "{},{} ", x(second), y(value(one)))?;
        }
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{label}</text>",
            points.trim_end(),
            LEFT + 200 + place * 80,
            top - 6
        )?;
    }
    Ok(())
}
