//! How many new payments are made ready at a time, and how long the others wait for their turn.
//!
//! A payment is being made ready from its message until its intent is durable. That part, and that part alone, can be put
//! off: nothing was promised yet. When more comes than the node can do, what waits here costs nothing, so what was begun
//! finishes as if nothing else were there. Who waits longer than the patience is refused, and refusing is done in few
//! places of its own, because a refusal too has its MAC verified and its answer signed.
//!
//! A burst is waited out; a crowd that stays is not: it would only make everybody wait as long as they can. So the
//! patience is a tenth once there was always somebody waiting for a whole patience, until for as long nobody had to.
//!
//! Metric: `posp_intake_wait_seconds` (of those who found no free place, until they had one or were refused).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acquiring::{BatchNo, ResponseCode, Trace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::authenticate::Authenticated;
use crate::payment::{PaymentRequest, Reply, Silent};
use crate::{Engine, Inner, Refusal};

/// Refusals at a time. With few, they take little of the processors from what was begun.
const REFUSALS: usize = 16;

/// By so much the patience is less while a crowd stays.
const CROWDED: u32 = 10;

/// What is refused because its turn did not come.
const TURNED_AWAY: Refusal = Refusal::new(ResponseCode::MALFUNCTION, "too many payments wait");

/// The places, and who waits for one.
pub struct Intake {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    patience: Duration,
    started: Instant,
    /// When a crowd came, and when somebody waited last ([`Intake::moment`]). Several at once may leave either a little
    /// off, which does no harm.
    crowd_came: AtomicU64,
    last_full: AtomicU64,
}

/// A place among those that are made ready, or that are refused; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Turn {
    /// It is taken.
    Begin(Place),
    /// It waited too long and is refused.
    Refuse(Place),
}

impl Intake {
    /// So many places, and so long a wait at most.
    pub(crate) fn new(places: usize, patience: Duration) -> Self {
        Intake {
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            patience,
            started: Instant::now(),
            crowd_came: AtomicU64::new(0),
            last_full: AtomicU64::new(0),
        }
    }

    /// Waits for a place, in the order of coming.
    pub async fn enter(&self) -> Turn {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Turn::Begin(Place { _permit: Some(permit) });
        }
        let began = Instant::now();
        let patience = self.patience_at(began);
        let waited = timeout(patience, Arc::clone(&self.places).acquire_owned()).await;
        self.last_full.store(self.moment(Instant::now()), Ordering::Relaxed);
        let turn = match waited {
            Ok(Ok(permit)) => Turn::Begin(Place { _permit: Some(permit) }),
            // Neither semaphore is ever closed; if they were, all would be refused.
            Ok(Err(_)) | Err(_) => {
                Turn::Refuse(Place { _permit: Arc::clone(&self.refusals).acquire_owned().await.ok() })
            }
        };
        metrics::histogram!("posp_intake_wait_seconds").record(began.elapsed().as_secs_f64());
        turn
    }

    /// A moment in milliseconds. They begin after a patience, so that zero is long ago.
    fn moment(&self, at: Instant) -> u64 {
        let since = at.duration_since(self.started).saturating_add(self.patience);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// How long one who finds no place at this moment waits.
    fn patience_at(&self, now: Instant) -> Duration {
        let (now, patience) =
            (self.moment(now), u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
        let last = self.last_full.swap(now, Ordering::Relaxed);
        if now.saturating_sub(last) > patience {
            self.crowd_came.store(now, Ordering::Relaxed);
        }
        match now.saturating_sub(self.crowd_came.load(Ordering::Relaxed)) > patience {
            true => self.patience / CROWDED,
            false => self.patience,
        }
    }
}

impl Engine {
    /// Refuses a request whose turn did not come, when it is new for certain: the journal is asked once for a terminal and
    /// batch. Else it is left to [`Engine::turn_away`].
    pub async fn turn_away_new(&self, auth: &Authenticated, batch: BatchNo, trace: Trace) -> Option<Refusal> {
        let Inner { store, .. } = &*self.0;
        if store.is_shared() || store.is_failed() {
            return None;
        }
        let entry = &auth.entry;
        let known = entry.traces().lock().is_new(batch, trace);
        let new = match known {
            Some(new) => new,
            None => {
                let highest = store.highest_trace(entry.merchant.id, entry.id, batch).await.ok()?;
                let mut traces = entry.traces().lock();
                traces.read(batch, highest);
                traces.is_new(batch, trace)?
            }
        };
        metrics::counter!("posp_refused_total", "reason" => TURNED_AWAY.reason).increment(u64::from(new));
        new.then_some(TURNED_AWAY)
    }

    /// Refuses a request whose turn did not come. When it was here before, its outcome is the answer.
    pub async fn turn_away(&self, auth: &Authenticated, request: &PaymentRequest) -> Result<Reply, Silent> {
        let reply = self.refuse(TURNED_AWAY);
        self.unless_known(*reply, &auth.entry, (request.batch, request.trace), &request.digest).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_begun(turn: &Turn) -> bool {
        matches!(turn, Turn::Begin(_))
    }

    /// Who comes while all places are taken waits, in the order of coming, and goes on when one is given back.
    #[tokio::test(start_paused = true)]
    async fn a_burst_is_waited_out() {
        let intake = Intake::new(1, Duration::from_secs(1));
        let first = intake.enter().await;
        let second = async {
            let turn = intake.enter().await;
            assert!(is_begun(&turn));
            Instant::now()
        };
        let third = async {
            let turn = intake.enter().await;
            assert!(is_begun(&turn));
            Instant::now()
        };
        let end = async {
            tokio::time::advance(Duration::from_millis(900)).await;
            drop(first);
        };
        let (second, third, ()) = tokio::join!(biased; second, third, end);
        assert!(second <= third);
        assert!(is_begun(&intake.enter().await), "there is room again");
    }

    /// Who finds no place for the patience is refused; while that goes on, also when there is room now and then, those who
    /// come are refused much earlier; and when nobody had to wait for as long, they are waited for again.
    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_stays_is_refused_early() {
        let patience = Duration::from_secs(1);
        let intake = Intake::new(1, patience);
        let wait = async || {
            let began = Instant::now();
            (is_begun(&intake.enter().await), began.elapsed())
        };
        let held = intake.enter().await;
        let (begun, waited) = wait().await;
        assert!(!begun && waited >= patience, "{waited:?}");
        tokio::time::advance(Duration::from_millis(10)).await;
        for _ in 0..100 {
            let (begun, waited) = wait().await;
            assert!(!begun && waited < patience / 5, "{waited:?}");
        }
        drop(held);
        let held = intake.enter().await;
        let (begun, waited) = wait().await;
        assert!(!begun && waited < patience / 5, "one free place is no calm: {waited:?}");
        tokio::time::advance(patience * 2).await;
        let (begun, waited) = wait().await;
        assert!(!begun && waited >= patience, "patient again: {waited:?}");
        drop(held);
    }

    /// However many are to be refused, only so many are at a time.
    #[tokio::test(start_paused = true)]
    async fn refusals_wait_for_each_other() {
        let intake = Intake::new(1, Duration::from_millis(1));
        let _held = intake.enter().await;
        let mut refused = Vec::new();
        for _ in 0..REFUSALS {
            refused.push(intake.enter().await);
        }
        assert!(!refused.iter().any(is_begun));
        let one_more = timeout(Duration::from_secs(10), intake.enter());
        assert!(one_more.await.is_err(), "there was a place for one more");
        refused.pop();
        assert!(!is_begun(&intake.enter().await));
    }
}
