//! The answers that doors sent, on their way into the history. Nobody waits for them: they repeat what is durable
//! already. Those that gather while a write is under way are written together.

use std::sync::{Mutex, PoisonError};

use acquiring::payment::{EntryKind, JournalEntry};
use acquiring::{MerchantId, PaymentId};
use store::HistoryLine;

use crate::Engine;

/// Answers that may wait to be written; more are counted as lost.
const WAITING_MAX: usize = 16_384;

/// Answers that are written together at most.
const TOGETHER_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Replies(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    lines: Vec<HistoryLine>,
    /// A task is writing, and will look again before it ends.
    written: bool,
}

impl Replies {
    /// Adds a line; whether somebody must begin to write. The line comes back when there is no room.
    fn add(&self, line: HistoryLine) -> Result<bool, HistoryLine> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.len() >= WAITING_MAX {
            return Err(line);
        }
        waiting.lines.push(line);
        Ok(!std::mem::replace(&mut waiting.written, true))
    }

    /// What to write next; when there is nothing, the writing task ends.
    fn take(&self) -> Option<Vec<HistoryLine>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.lines.is_empty() {
            waiting.written = false;
            return None;
        }
        let count = waiting.lines.len().min(TOGETHER_MAX);
        Some(waiting.lines.drain(..count).collect())
    }
}

fn lost(count: usize) {
    metrics::counter!("posp_journal_reply_lost_total").increment(count as u64);
}

impl Engine {
    /// Journals the answer as the door sent it.
    pub fn journal_reply(&self, (merchant, payment): (MerchantId, PaymentId), masked: Vec<u8>) {
        let entry = JournalEntry::message(self.now(), EntryKind::TerminalOut, masked);
        match self.0.replies.add((merchant, payment, entry)) {
            Ok(true) => {
                let engine = self.clone();
                self.0.tasks.spawn(async move { engine.write_replies().await });
            }
            Ok(false) => {}
            Err((_, payment, _)) => {
                lost(1);
                tracing::warn!(payment = payment.0, "an answer is missing in the journal: too many wait");
            }
        }
    }

    async fn write_replies(&self) {
        while let Some(lines) = self.0.replies.take() {
            let count = lines.len();
            match self.0.store.append_each(lines).await {
                Ok(0) => {}
                Ok(missing) => {
                    lost(missing);
                    tracing::warn!(
                        missing,
                        "answers are missing in the journal: their payments are not there"
                    );
                }
                Err(error) => {
                    lost(count);
                    tracing::warn!(%error, count, "answers are missing in the journal");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn line(number: i64) -> HistoryLine {
        let merchant = MerchantId::new("898100000000001").unwrap();
        (merchant, PaymentId(number), JournalEntry::note(Timestamp::UNIX_EPOCH, "answered".to_owned()))
    }

    /// Only the first line begins a writing task; the task takes what gathered meanwhile and ends when nothing is
    /// left, so that the next line begins one again. What has no room is given back, not dropped unseen.
    #[test]
    fn one_task_writes_what_gathers() {
        let replies = Replies::default();
        assert_eq!(replies.add(line(1)), Ok(true));
        for number in 2..=300 {
            assert_eq!(replies.add(line(number)), Ok(false));
        }
        assert_eq!(replies.take().unwrap().len(), TOGETHER_MAX);
        let rest: Vec<i64> = replies.take().unwrap().iter().map(|(_, payment, _)| payment.0).collect();
        assert_eq!(rest, (257..=300).collect::<Vec<_>>());
        assert!(replies.take().is_none());
        assert_eq!(replies.add(line(301)), Ok(true));
        for _ in 1..WAITING_MAX {
            assert_eq!(replies.add(line(302)), Ok(false));
        }
        assert_eq!(replies.add(line(303)), Err(line(303)));
    }
}
