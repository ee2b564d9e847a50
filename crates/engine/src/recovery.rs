//! After a crash, and beside the normal way: payments left open, answers nobody waits for.

use std::time::Duration;

use acquiring::ResponseCode;
use acquiring::payment::{Answer, EntryKind, JournalEntry};
use acquiring::transition::Event;
use channels::Unsolicited;
use jiff::SignedDuration;
use store::StoreError;
use tokio::sync::mpsc;

use crate::Engine;

/// Open payments taken up at a time.
const CHUNK: usize = 500;
/// How far back an unexpected answer is matched with a payment by its trace number.
const MATCH_HOURS: i64 = 24;

impl Engine {
    /// Takes up what a previous run left open: a payment that is still pending may or may not have reached
    /// the network, so it is unknown, and unknown means reversed (or repeated). On a store of several nodes a
    /// pending payment may be under way on another one, so that only those are taken that no living node has.
    pub(crate) async fn recover(&self) -> Result<u64, StoreError> {
        let mut started = self.now();
        if self.0.store.is_shared() {
            started = started.checked_sub(self.0.config.takeover()).unwrap_or(started);
        }
        let mut taken = 0u64;
        loop {
            let open = self.0.store.pending_before(started, CHUNK).await?;
            if open.is_empty() {
                break;
            }
            for record in open {
                let at = self.now();
                let note = JournalEntry::note(at, "the node restarted before the outcome was durable");
                let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at));
                self.0.store.apply(record.merchant, record.id, event, vec![note], at).await?;
                taken += 1;
            }
        }
        if taken > 0 {
            metrics::counter!("posp_recovered_total").increment(taken);
            tracing::warn!(payments = taken, "left open by the previous run; reversing or repeating them");
        }
        Ok(taken)
    }
}

/// Takes up what other nodes on the same store leave open when they die, until the engine stops.
pub(crate) async fn keep_recovering(engine: Engine) {
    let inner = &engine.0;
    let pause = (inner.config.takeover_margin / 2).max(Duration::from_millis(1));
    loop {
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match engine.recover().await {
            Ok(0) => {}
            Ok(_) => inner.forward_wake.notify_one(),
            Err(_) if inner.store.is_failed() => return,
            Err(error) => {
                tracing::error!(%error, "payments that another node left open cannot be looked for")
            }
        }
    }
}

/// Records answers that nobody waits for: late, doubled, or of a request we do not know.
pub(crate) async fn take_unsolicited(engine: Engine, mut answers: mpsc::Receiver<Unsolicited>) {
    loop {
        let answer = tokio::select! {
            biased;
            () = engine.0.stop.cancelled() => return,
            answer = answers.recv() => answer,
        };
        let Some(answer) = answer else { return };
        if let Err(error) = record(&engine, answer).await {
            tracing::error!(%error, "an unexpected answer could not be recorded");
        }
    }
}

async fn record(engine: &Engine, answer: Unsolicited) -> Result<(), StoreError> {
    let inner = &engine.0;
    let at = engine.now();
    let since = at.checked_sub(SignedDuration::from_hours(MATCH_HOURS)).unwrap_or(at);
    let found = inner.store.by_network_key(&answer.line, answer.trace, None, since).await?;
    let code = answer.code.map_or("none".to_owned(), |code| code.to_string());
    metrics::counter!("posp_unexpected_answers_total", "matched" => if found.is_some() { "yes" } else { "no" })
        .increment(1);
    match found {
        Some(record) => {
            tracing::warn!(
                payment = record.id.0,
                mti = answer.mti,
                code,
                state = record.state.code(),
                "late or doubled answer recorded; the payment stays as it is"
            );
            let note = format!("late or doubled answer {:04} with code {code}; nothing changes", answer.mti);
            let entries = vec![
                JournalEntry::message(at, EntryKind::NetworkIn, answer.masked),
                JournalEntry::note(at, note),
            ];
            inner.store.append(record.merchant, record.id, entries).await
        }
        None => {
            tracing::warn!(mti = answer.mti, trace = answer.trace, code, "answer without a request recorded");
            let note = format!("answer {:04} with code {code} to trace {:06}", answer.mti, answer.trace);
            inner.store.record_unmatched(&answer.line, at, answer.masked, &note).await
        }
    }
}
