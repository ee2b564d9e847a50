//! After a crash, and beside the normal way: payments left open, answers nobody waits for.

use std::collections::HashMap;
use std::time::Duration;

use acquiring::payment::{Answer, EntryKind, JournalEntry, PaymentRecord};
use acquiring::transition::Event;
use acquiring::{MerchantId, PaymentId, ResponseCode};
use channels::Unsolicited;
use jiff::{SignedDuration, Timestamp};
use store::StoreError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Engine;

/// Open payments taken up at a time.
const CHUNK: usize = 500;
/// How far back an unexpected answer is matched with a payment by its trace number.
const MATCH_HOURS: i64 = 24;

impl Engine {
    /// Takes up what a previous run left open: a payment that is still pending may or may not have reached
    /// the network, so it is unknown, and unknown means reversed (or repeated).
    pub(crate) async fn recover(&self) -> Result<(), StoreError> {
        let started = self.now();
        let mut taken = 0u64;
        loop {
            let open = self.0.store.pending_before(started, CHUNK).await?;
            if open.is_empty() {
                break;
            }
            for record in open {
                self.take_up(&record, "the node restarted before the outcome was durable").await?;
                taken += 1;
            }
        }
        self.taken_up(taken);
        Ok(())
    }

    async fn take_up(&self, record: &PaymentRecord, why: &'static str) -> Result<(), StoreError> {
        let at = self.now();
        let note = JournalEntry::note(at, why);
        let event = Event::NoAnswer(Answer::own(ResponseCode::TIMEOUT, at));
        self.0.store.apply(record.merchant, record.id, event, vec![note], at).await?;
        Ok(())
    }

    fn taken_up(&self, payments: u64) {
        if payments > 0 {
            metrics::counter!("posp_recovered_total").increment(payments);
            tracing::warn!(payments, "left open by the previous run; reversing or repeating them");
            self.0.forward_wake.notify_one();
        }
    }
}

/// On a store of several nodes: takes up the payments that a dead node left, until the engine stops. A payment under
/// way on a living node has its outcome within the time for a takeover; one that this node has seen pending for
/// longer, on its own clock, no living node has. No clocks are compared.
pub(crate) async fn watch_others(engine: Engine) {
    let inner = &engine.0;
    let takeover = inner.config.takeover();
    let pause = (takeover / 8).clamp(Duration::from_millis(5), Duration::from_secs(5));
    let mut seen: HashMap<(MerchantId, PaymentId), Instant> = HashMap::new();
    loop {
        match look(&engine, &mut seen).await {
            Ok(taken) => engine.taken_up(taken),
            Err(_) if inner.store.is_failed() => return,
            Err(error) => {
                tracing::error!(%error, "payments that another node left open cannot be looked for")
            }
        }
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One look at the oldest pending payments: those that have gone on are forgotten, the rest grow older.
async fn look(
    engine: &Engine,
    seen: &mut HashMap<(MerchantId, PaymentId), Instant>,
) -> Result<u64, StoreError> {
    let open = engine.0.store.pending_before(Timestamp::MAX, CHUNK).await?;
    // After the reading: it may have taken long, and what it found is not older for that.
    let now = Instant::now();
    let mut still = HashMap::with_capacity(open.len());
    let mut taken = 0;
    for record in open {
        let key = (record.merchant, record.id);
        let since = seen.get(&key).copied().unwrap_or(now);
        if now.duration_since(since) < engine.0.config.takeover() {
            still.insert(key, since);
        } else {
            engine.take_up(&record, "its node gave no outcome in time; another one takes it up").await?;
            taken += 1;
        }
    }
    *seen = still;
    Ok(taken)
}

/// Unexpected answers recorded in a minute. A few a day are normal, a bad day of a network brings hundreds; a network
/// that plays its old answers back for ever must not fill the journal.
const RECORDED_MAX: u32 = 600;

/// How many more may be recorded in this minute.
struct Budget {
    since: Instant,
    left: u32,
}

impl Budget {
    fn take(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(60) {
            *self = Budget { since: Instant::now(), left: RECORDED_MAX };
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

/// Records answers that nobody waits for: late, doubled, or of a request we do not know.
pub(crate) async fn take_unsolicited(engine: Engine, mut answers: mpsc::Receiver<Unsolicited>) {
    let mut budget = Budget { since: Instant::now(), left: RECORDED_MAX };
    loop {
        let answer = tokio::select! {
            biased;
            () = engine.0.stop.cancelled() => return,
            answer = answers.recv() => answer,
        };
        let Some(answer) = answer else { return };
        if !budget.take() {
            metrics::counter!("posp_unexpected_answers_total", "matched" => "over the limit").increment(1);
            continue;
        }
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
