//! Store-and-forward: reversals and repeats go to the network in order, one after the other, until they
//! are acknowledged. The queue is in the store, so it survives whatever happens to the process.

use std::sync::atomic::Ordering;
use std::time::Duration;

use acquiring::payment::{EntryKind, JournalEntry, PaymentRecord};
use acquiring::transition::{Event, Forward};
use acquiring::{Pan, ResponseCode, Secret};
use channels::{ForwardRequest, NetworkAnswer, Outcome};
use jiff::{SignedDuration, Timestamp};
use store::{ForwardItem, StoreError};

use crate::Engine;
use crate::advice::CHIP_CONTEXT;
use crate::payment::{PAN_CONTEXT, reference_of};

/// Look at the queue at least this often, should a wake-up be missed.
const LOOK: Duration = Duration::from_secs(5);

/// Works the queue of the engine's line until the engine stops.
pub(crate) async fn run(engine: Engine) {
    let inner = &engine.0;
    loop {
        let wait = tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            wait = step(&engine) => wait,
        };
        let pause = match wait {
            Ok(None) => continue,
            Ok(Some(pause)) => pause,
            Err(error) => {
                if inner.store.is_failed() {
                    return;
                }
                tracing::error!(%error, "the store-and-forward queue cannot be read");
                LOOK
            }
        };
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => {
                // Nothing is being sent: another node may go on at once. Without it the lease ends by itself.
                let given_back = inner.store.release_forward_lease(inner.channel.line(), &inner.node).await;
                if let Err(error) = given_back {
                    tracing::debug!(%error, "the lease of the line ends by itself");
                }
                return;
            }
            () = inner.forward_wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sends the head of the queue, when it is due and the line is ready. Says how long to wait before the
/// next look; `None` means look again at once.
async fn step(engine: &Engine) -> Result<Option<Duration>, StoreError> {
    let inner = &engine.0;
    let depth = inner.store.forward_depth(inner.channel.line()).await?;
    inner.forward_depth.store(depth, Ordering::Relaxed);
    let Some(item) = inner.store.next_forward(inner.channel.line()).await? else { return Ok(Some(LOOK)) };
    let now = engine.now();
    if item.next_at > now {
        let wait = Duration::try_from(item.next_at.duration_since(now)).unwrap_or_default();
        return Ok(Some(wait.min(LOOK)));
    }
    inner.channel.ready().await;
    if !inner.store.is_shared() {
        send(engine, &item).await?;
        return Ok(None);
    }
    // Nodes share the queue: one of them works a line at a time, and the head may be another since it was read.
    if !lease(engine).await? {
        return Ok(Some(LOOK));
    }
    match inner.store.next_forward(inner.channel.line()).await? {
        Some(item) if item.next_at <= engine.now() => send(engine, &item).await?,
        Some(_) | None => {}
    }
    Ok(None)
}

/// Takes the line for as long as sending an item can take, unless another node has it.
async fn lease(engine: &Engine) -> Result<bool, StoreError> {
    let inner = &engine.0;
    inner.store.lease_forward(inner.channel.line(), &inner.node, inner.config.takeover()).await
}

async fn send(engine: &Engine, item: &ForwardItem) -> Result<(), StoreError> {
    let inner = &engine.0;
    let at = engine.now();
    let Some(record) = inner.store.by_id(item.merchant, item.payment).await? else {
        return park(engine, item, "its payment is not in the journal").await;
    };
    let pan = match pan_of(engine, &record) {
        Ok(pan) => pan,
        Err(why) => return park(engine, item, why).await,
    };
    let original = match record.original {
        Some(id) => inner.store.by_id(item.merchant, id).await?,
        None => None,
    };
    let chip = match &item.payload {
        Some(sealed) => match inner.hsm.open(CHIP_CONTEXT, sealed) {
            Ok(chip) => Some(Secret::new(chip.as_slice())),
            Err(_) => {
                return park(engine, item, "its chip data cannot be decrypted with this master key").await;
            }
        },
        None => None,
    };
    let merchant = inner.directory.merchant(item.merchant);
    let request = ForwardRequest {
        action: item.action,
        payment: &record,
        pan: &pan,
        merchant_name: merchant.as_ref().map_or("", |m| m.name.as_str()),
        mcc: merchant.as_ref().map_or(0, |m| m.mcc),
        original: original.as_ref().map(reference_of),
        composed: item.message_at,
        tries: item.message_tries,
        chip: chip.as_ref(),
    };
    let prepared = match inner.channel.prepare_forward(&request) {
        Ok(prepared) => prepared,
        // Keys may be missing just now; that is a reason to wait, not to give up.
        Err(error) => return retry(engine, item, false, &error.reason, Vec::new()).await,
    };
    let sent = JournalEntry::message(at, EntryKind::NetworkOut, prepared.masked.clone());
    match inner.channel.send(&prepared, inner.config.network_patience).await {
        Outcome::Answered(answer) => acknowledged(engine, item, sent, answer).await,
        Outcome::NoAnswer(reason) => retry(engine, item, true, reason, vec![sent]).await,
        Outcome::NotSent(_, reason) => retry(engine, item, false, reason, Vec::new()).await,
    }
}

async fn acknowledged(
    engine: &Engine,
    item: &ForwardItem,
    sent: JournalEntry,
    answer: NetworkAnswer,
) -> Result<(), StoreError> {
    let inner = &engine.0;
    let at = engine.now();
    let code = answer.answer.code;
    let entries = vec![sent, JournalEntry::message(at, EntryKind::NetworkIn, answer.masked)];
    let event = match item.action {
        Forward::Reversal if code.ends_reversal() => Event::ReversalDone,
        // The network knows the request and has its outcome: that is what we asked for.
        Forward::Repeat if !means_try_later(code) => Event::Answered(answer.answer),
        Forward::Advice if code.is_approval() => Event::Advised(answer.answer),
        // Whatever the issuer makes of it, it has heard it.
        Forward::Script if !means_try_later(code) => Event::ScriptTaken,
        Forward::Advice if !means_try_later(code) => {
            // The terminal has approved it and the network will not have it: no repetition helps, people must.
            let why = format!("the network will not have what was approved offline: {code} ({})", code.en());
            return park_with(engine, item, &why, entries).await;
        }
        _ => return refused(engine, item, code, entries).await,
    };
    let applied = inner.store.forward_done(item, event, entries, at).await?;
    metrics::counter!("posp_forward_done_total", "action" => item.action.code()).increment(1);
    tracing::info!(
        payment = item.payment.0,
        action = item.action.code(),
        attempts = item.attempts + 1,
        code = code.as_str(),
        state = applied.record.state.code(),
        "forwarded and acknowledged"
    );
    Ok(())
}

/// Answers that say nothing about the payment itself.
fn means_try_later(code: ResponseCode) -> bool {
    [
        ResponseCode::IN_PROCESS,
        ResponseCode::TIMEOUT,
        ResponseCode::CUT_OVER,
        ResponseCode::ISSUER_DOWN,
        ResponseCode::NO_ROUTE,
        ResponseCode::MALFUNCTION,
        ResponseCode::NO_ANSWER,
        ResponseCode::MAC_ERROR,
        // It has the message, which is no news: the outcome of the first is what was asked for.
        ResponseCode::DUPLICATE,
    ]
    .contains(&code)
}

/// The network refused: a known outcome of that message. A repeat would be answered as the first was, so the next
/// attempt is a message of its own, at least a second later, since its key counts in seconds.
async fn refused(
    engine: &Engine,
    item: &ForwardItem,
    code: ResponseCode,
    mut entries: Vec<JournalEntry>,
) -> Result<(), StoreError> {
    let note = format!("the network answered {code} ({})", code.en());
    let refusals = item.refusals + 1;
    if refusals >= engine.0.config.forward_refusals_max {
        metrics::counter!("posp_forward_parked_total").increment(1);
        tracing::error!(
            payment = item.payment.0,
            action = item.action.code(),
            code = code.as_str(),
            "ALARM: parked for an operator"
        );
        return engine.0.store.park_forward(item, &note, entries).await;
    }
    let at = engine.now();
    let pause = pause(engine, item.attempts);
    tracing::warn!(
        payment = item.payment.0,
        action = item.action.code(),
        refusals,
        note,
        "refused; again as a new message in {pause:?}"
    );
    metrics::counter!("posp_forward_retries_total").increment(1);
    entries.push(JournalEntry::note(at, format!("{} refused: {note}", item.action.code())));
    let message_at = match item.action {
        // A refusal may be of an earlier copy (its MAC under older keys), while another copy was taken and its answer
        // lost: under a new key the network would book it twice. The same message again gets the first's answer.
        Forward::Advice => item.message_at,
        _ => at.max(next_at(item.message_at, Duration::from_secs(1))),
    };
    engine.0.store.forward_refused(item, message_at, next_at(at, pause), &note, entries).await
}

async fn park(engine: &Engine, item: &ForwardItem, why: &str) -> Result<(), StoreError> {
    park_with(engine, item, why, Vec::new()).await
}

async fn park_with(
    engine: &Engine,
    item: &ForwardItem,
    why: &str,
    entries: Vec<JournalEntry>,
) -> Result<(), StoreError> {
    metrics::counter!("posp_forward_parked_total").increment(1);
    tracing::error!(payment = item.payment.0, why, "ALARM: parked for an operator");
    engine.0.store.park_forward(item, why, entries).await
}

/// Again later. `left` when the message may have reached the network.
async fn retry(
    engine: &Engine,
    item: &ForwardItem,
    left: bool,
    note: &str,
    mut entries: Vec<JournalEntry>,
) -> Result<(), StoreError> {
    let at = engine.now();
    let pause = pause(engine, item.attempts);
    tracing::warn!(
        payment = item.payment.0,
        action = item.action.code(),
        attempts = item.attempts + 1,
        note,
        "not acknowledged; again in {pause:?}"
    );
    metrics::counter!("posp_forward_retries_total").increment(1);
    entries.push(JournalEntry::note(at, format!("{} not acknowledged: {note}", item.action.code())));
    engine.0.store.forward_failed(item, left, next_at(at, pause), note, entries).await
}

/// Doubles from the first pause up to the longest.
fn pause(engine: &Engine, attempts: u32) -> Duration {
    let config = &engine.0.config;
    let doubled = config.forward_pause.saturating_mul(1u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX));
    doubled.min(config.forward_pause_max)
}

fn next_at(at: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::ZERO);
    at.checked_add(pause).unwrap_or(at)
}

fn pan_of(engine: &Engine, record: &PaymentRecord) -> Result<Pan, &'static str> {
    let card = record.card.as_ref().ok_or("the payment has no account number")?;
    let opened = engine
        .0
        .hsm
        .open(PAN_CONTEXT, &card.sealed)
        .map_err(|_| "the account number cannot be decrypted with this master key")?;
    let digits = std::str::from_utf8(&opened).map_err(|_| "the account number is damaged")?;
    Pan::new(digits).map_err(|_| "the account number is damaged")
}
