//! What came out, for people and machines.

use std::fmt::Write as _;

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// Otherwise.
    Failed,
    /// Not run; the detail says why. Counts neither way.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What it belongs to.
    pub family: &'static str,
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, or why it was not run; may be empty for a passed one.
    pub detail: String,
}

/// All checks of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was tested.
    pub subject: String,
    /// Version of the suite.
    pub suite: &'static str,
    /// The checks in order.
    pub rows: Vec<Row>,
}

impl Report {
    pub(crate) const fn new(subject: String) -> Self {
        Self { subject, suite: env!("CARGO_PKG_VERSION"), rows: Vec::new() }
    }

    /// How many ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Nothing failed. What was skipped is still open: see [`Report::is_complete`].
    pub fn is_good(&self) -> bool {
        self.count(Verdict::Failed) == 0 && self.count(Verdict::Passed) > 0
    }

    /// Nothing failed and nothing was left out.
    pub fn is_complete(&self) -> bool {
        self.is_good() && self.count(Verdict::Skipped) == 0
    }

    /// The verdict of a check.
    pub fn verdict(&self, family: &str, name: &str) -> Option<Verdict> {
        self.rows.iter().find(|row| row.family == family && row.name == name).map(|row| row.verdict)
    }

    /// A table for people.
    pub fn to_text(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default();
        let mut text = format!("HAL conformance of {} (suite {})\n", self.subject, self.suite);
        let mut family = "";
        for row in &self.rows {
            if family != row.family {
                family = row.family;
                let _infallible = writeln!(text, "\n{family}");
            }
            let verdict = match row.verdict {
                Verdict::Passed => "passed ",
                Verdict::Failed => "FAILED ",
                Verdict::Skipped => "skipped",
            };
            let _infallible = writeln!(text, "  {verdict}  {:width$}  {}", row.name, row.detail);
        }
        let [passed, failed, skipped] =
            [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(|verdict| self.count(verdict));
        let _infallible = writeln!(text, "\n{passed} passed, {failed} failed, {skipped} skipped");
        // Empty details leave blanks at the ends of lines.
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The same for machines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
