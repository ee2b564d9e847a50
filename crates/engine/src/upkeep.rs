//! What keeps a store tidy beside the payments: counters of days that are over go, and what an earlier release kept in
//! the clear is sealed.

use std::time::Duration;

use acquiring::Beijing;
use jiff::{SignedDuration, Timestamp};
use store::StoreError;

use crate::{Engine, signature};

/// How often one looks.
const EVERY: Duration = Duration::from_secs(3_600);
/// Counters of today and yesterday stay: a node's clock may be a little behind another's.
const DAYS_KEPT: i64 = 1;
/// Rows taken away at a time; payments wait behind them.
const ROWS_MAX: u32 = 500;
/// Rest between two such parts.
const REST: Duration = Duration::from_millis(20);

/// The first day whose counters stay, YYYYMMDD.
fn first_kept(now: Timestamp) -> u32 {
    let back = SignedDuration::from_hours(24 * DAYS_KEPT);
    Beijing::of(now.checked_sub(back).unwrap_or(now)).yyyymmdd()
}

/// Looks now and every hour, until the engine stops.
pub(crate) async fn run(engine: Engine) {
    let inner = &engine.0;
    loop {
        let pause = match look(&engine).await {
            Ok(true) => REST,
            Ok(false) => EVERY,
            Err(_) if inner.store.is_failed() => return,
            Err(error) => {
                tracing::warn!(%error, "upkeep of the store; again in an hour");
                EVERY
            }
        };
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One part of the work; whether there may be more.
async fn look(engine: &Engine) -> Result<bool, StoreError> {
    let sealed = signature::seal_clear(engine).await?;
    let gone = engine.0.store.forget_limit_days(first_kept(engine.now()), ROWS_MAX).await?;
    if gone > 0 {
        tracing::debug!(gone, "counters of days that are over were taken away");
    }
    Ok(sealed || gone > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beijing's day counts, not the clock's.
    #[test]
    fn today_and_yesterday_stay() {
        assert_eq!(first_kept("2026-11-24T02:00:00Z".parse().unwrap()), 20_261_123);
        assert_eq!(first_kept("2026-11-24T17:00:00Z".parse().unwrap()), 20_261_124);
    }
}
