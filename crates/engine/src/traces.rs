//! Which requests of a terminal were not here before, told from memory: those whose trace number is above every one that the
//! journal has of the terminal's batch. With nodes that share a journal another may have had them, and it has to be asked.
//!
//! And which are here and cannot be found in the journal yet, because they are being made ready for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acquiring::{BatchNo, Trace};

/// The highest trace number of a terminal's batch, and what is being made ready.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    batch: Option<BatchNo>,
    highest: Option<Trace>,
    /// The journal's highest is taken into account, and not only what was noted since the start.
    complete: bool,
    /// A terminal has one request at a time; more are its copies.
    making: Vec<(BatchNo, Trace)>,
}

impl Traces {
    /// A payment with these numbers is about to be journaled. Noted before that, so that no reading of the journal can miss
    /// both.
    fn note(&mut self, batch: BatchNo, trace: Trace) {
        if self.batch != Some(batch) {
            (self.batch, self.highest, self.complete) = (Some(batch), None, false);
        }
        self.highest = self.highest.max(Some(trace));
    }

    /// The journal's highest of a batch, read just now.
    pub(crate) fn read(&mut self, batch: BatchNo, highest: Option<Trace>) {
        if self.batch != Some(batch) {
            (self.batch, self.highest) = (Some(batch), None);
        }
        self.highest = self.highest.max(highest);
        self.complete = true;
    }

    /// Whether these numbers are new; none when that is to be asked of the journal first.
    pub(crate) fn is_new(&self, batch: BatchNo, trace: Trace) -> Option<bool> {
        let known = self.complete && self.batch == Some(batch);
        known.then(|| self.highest.is_none_or(|highest| trace > highest))
    }

    /// Whether a request with these numbers is being made ready. Asked before the journal is, so that it is found in one of
    /// the two.
    pub(crate) fn is_being_made(&self, batch: BatchNo, trace: Trace) -> bool {
        self.making.contains(&(batch, trace))
    }
}

/// The numbers of one terminal, which all its requests share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedTraces(Arc<Mutex<Traces>>);

impl SharedTraces {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Traces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is made ready for the journal.
    pub(crate) fn make(&self, batch: BatchNo, trace: Trace) -> BeingMade {
        let mut traces = self.lock();
        traces.note(batch, trace);
        traces.making.push((batch, trace));
        BeingMade { traces: self.clone(), numbers: (batch, trace) }
    }
}

/// A request that is being made ready; dropped when it is in the journal, or is not going to be.
#[derive(Debug)]
pub(crate) struct BeingMade {
    traces: SharedTraces,
    numbers: (BatchNo, Trace),
}

impl Drop for BeingMade {
    fn drop(&mut self) {
        let making = &mut self.traces.lock().making;
        if let Some(at) = making.iter().position(|numbers| *numbers == self.numbers) {
            making.swap_remove(at);
        }
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

    /// A request is being made from its beginning to its end, each of its copies by itself, and in whatever batch the
    /// terminal is meanwhile.
    #[test]
    fn each_copy_is_being_made_until_its_end() {
        let (first, second) = (BatchNo::new(1).unwrap(), BatchNo::new(2).unwrap());
        let trace = Trace::new(5).unwrap();
        let traces = SharedTraces::default();
        let is_being_made = || traces.lock().is_being_made(first, trace);
        assert!(!is_being_made());
        let (one, copy) = (traces.make(first, trace), traces.make(first, trace));
        let _other = traces.make(second, trace);
        drop(one);
        assert!(is_being_made(), "the copy still is");
        drop(copy);
        assert!(!is_being_made());
        assert_eq!(traces.lock().is_new(second, trace), None, "the journal was not asked");
    }
}
