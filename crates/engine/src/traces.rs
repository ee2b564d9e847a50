//! Which requests of a terminal were not here before, told from memory: those whose trace number is above every one that the
//! journal has of the terminal's batch. With nodes that share a journal another may have had them, and it has to be asked.

use acquiring::{BatchNo, Trace};

/// The highest trace number of a terminal's batch.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    batch: Option<BatchNo>,
    highest: Option<Trace>,
    /// The journal's highest is taken into account, and not only what was noted since the start.
    complete: bool,
}

impl Traces {
    /// A payment with these numbers is about to be journaled. Noted before that, so that no reading of the journal can miss
    /// both.
    pub(crate) fn note(&mut self, batch: BatchNo, trace: Trace) {
        if self.batch != Some(batch) {
            *self = Traces { batch: Some(batch), highest: None, complete: false };
        }
        self.highest = self.highest.max(Some(trace));
    }

    /// The journal's highest of a batch, read just now.
    pub(crate) fn read(&mut self, batch: BatchNo, highest: Option<Trace>) {
        match self.batch == Some(batch) {
            true => self.highest = self.highest.max(highest),
            false => *self = Traces { batch: Some(batch), highest, complete: true },
        }
        self.complete = true;
    }

    /// Whether these numbers are new; none when that is to be asked of the journal first.
    pub(crate) fn is_new(&self, batch: BatchNo, trace: Trace) -> Option<bool> {
        let known = self.complete && self.batch == Some(batch);
        known.then(|| self.highest.is_none_or(|highest| trace > highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New is what is above all that was noted and all that the journal has, whichever was heard of first, in the batch
    /// that was asked for.
    #[test]
    fn new_is_what_is_above_everything() {
        let batch = |number| BatchNo::new(number).unwrap();
        let trace = |number| Trace::new(number).unwrap();
        let mut traces = Traces::default();
        assert_eq!(traces.is_new(batch(1), trace(5)), None, "nothing is known");
        traces.note(batch(1), trace(3));
        assert_eq!(traces.is_new(batch(1), trace(5)), None, "the journal was not asked");
        traces.read(batch(1), Some(trace(7)));
        assert_eq!(
            [5, 7, 8].map(|n| traces.is_new(batch(1), trace(n))),
            [Some(false), Some(false), Some(true)]
        );
        traces.note(batch(1), trace(9));
        traces.read(batch(1), Some(trace(7)));
        assert_eq!(
            [8, 9, 10].map(|n| traces.is_new(batch(1), trace(n))),
            [Some(false), Some(false), Some(true)]
        );
        assert_eq!(traces.is_new(batch(2), trace(10)), None, "another batch");
        traces.note(batch(2), trace(1));
        assert_eq!(traces.is_new(batch(2), trace(2)), None);
        traces.read(batch(2), None);
        assert_eq!([1, 2].map(|n| traces.is_new(batch(2), trace(n))), [Some(false), Some(true)]);
        traces.read(batch(3), None);
        assert_eq!(traces.is_new(batch(3), trace(1)), Some(true), "a batch without payments");
    }
}
