//! Store-and-forward: reversals and repeats go to the network until they are acknowledged. The queue is in the store, so
//! it survives whatever happens to the process. Several items are under way at once, so that one that nobody answers does
//! not hold up the others; those of one family of payments go one after the other, in the order in which they arose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use acquiring::payment::{EntryKind, JournalEntry, PaymentRecord};
use acquiring::transition::{Event, Forward};
use acquiring::{MerchantId, Pan, PaymentId, ResponseCode, Secret};
use channels::{ForwardRequest, NetworkAnswer, Outcome};
use jiff::{SignedDuration, Timestamp};
use store::{ForwardItem, StoreError};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

use crate::Engine;
use crate::advice::CHIP_CONTEXT;
use crate::payment::{PAN_CONTEXT, reference_of};

/// Look at the queue at least this often, should a wake-up be missed.
const LOOK: Duration = Duration::from_secs(5);

/// Payments that stand on one another.
type Family = (MerchantId, PaymentId);

/// What is under way to the network.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Result<(), StoreError>>,
    families: BTreeMap<Id, Family>,
}

impl UnderWay {
    fn start(&mut self, engine: &Engine, item: ForwardItem, leased: Instant) {
        let (engine, family) = (engine.clone(), (item.merchant, item.family));
        let task = self.tasks.spawn(async move { send(&engine, &item, leased).await });
        self.families.insert(task.id(), family);
    }

    /// The next that ends, and how; waits for ever while nothing is under way.
    async fn ended(&mut self) -> Result<(), StoreError> {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, result))) => {
                self.families.remove(&id);
                result
            }
            Some(Err(error)) => {
                self.families.remove(&error.id());
                tracing::error!(%error, "an attempt of store-and-forward broke off");
                Ok(())
            }
        }
    }
}

/// Works the queue of the engine's line until the engine stops.
pub(crate) async fn run(engine: Engine) {
    let inner = &engine.0;
    let mut under_way = UnderWay::default();
    loop {
        let window = inner.config.forward_window.max(1);
        let families: BTreeSet<Family> = under_way.families.values().copied().collect();
        let looked = tokio::select! {
            biased;
            () = inner.stop.cancelled() => break,
            ended = under_way.ended() => ended.map(|()| None),
            looked = look(&engine, &families), if families.len() < window => looked.map(Some),
        };
        let pause = match looked {
            Ok(None) => continue,
            Ok(Some(Look::Due(items, leased))) => {
                for item in items {
                    under_way.start(&engine, item, leased);
                }
                continue;
            }
            Ok(Some(Look::Again(pause))) => pause,
            Err(error) => {
                if inner.store.is_failed() {
                    return;
                }
                tracing::error!(%error, "the store-and-forward queue cannot be worked");
                LOOK
            }
        };
        let ended = tokio::select! {
            biased;
            () = inner.stop.cancelled() => break,
            ended = under_way.ended() => ended,
            () = inner.forward_wake.notified() => Ok(()),
            () = tokio::time::sleep(pause) => Ok(()),
        };
        if let Err(error) = ended {
            if inner.store.is_failed() {
                return;
            }
            tracing::error!(%error, "what came of a queued message cannot be written down");
        }
    }
    // What is under way breaks off, and then another node may go on at once. Without this the lease ends by itself.
    under_way.tasks.shutdown().await;
    if let Err(error) = inner.store.release_forward_lease(inner.channel.line(), &inner.node).await {
        tracing::debug!(%error, "the lease of the line ends by itself");
    }
}

/// What a look at the queue found.
enum Look {
    /// These can go out now; the line was taken for them at that moment.
    Due(Vec<ForwardItem>, Instant),
    /// Nothing just now; look again after this time.
    Again(Duration),
}

/// Finds what is due, of families of which nothing is under way, when the line is ready and this node may work it.
async fn look(engine: &Engine, busy: &BTreeSet<Family>) -> Result<Look, StoreError> {
    let inner = &engine.0;
    let line = inner.channel.line();
    count(engine).await?;
    // One moment for both questions: what becomes due between two would be found by neither.
    let now = engine.now();
    if due(engine, now, busy).await?.is_empty() {
        let Some(at) = inner.store.next_forward_at(line, now).await? else { return Ok(Look::Again(LOOK)) };
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        return Ok(Look::Again(wait.min(LOOK)));
    }
    while timeout(LOOK, inner.channel.ready()).await.is_err() {
        // Nothing leaves while the line is down, and the queue grows.
        count(engine).await?;
    }
    // Nodes that share the queue: one of them works a line at a time.
    let leased = Instant::now();
    if inner.store.is_shared() && !lease(engine).await? {
        return Ok(Look::Again(LOOK));
    }
    // The line may have been down for long: what an operator has released meanwhile goes before what follows it.
    Ok(Look::Due(due(engine, engine.now(), busy).await?, leased))
}

/// How much waits, by which new payments are refused when it is too much.
async fn count(engine: &Engine) -> Result<(), StoreError> {
    let depth = engine.0.store.forward_depth(engine.0.channel.line()).await?;
    engine.0.forward_depth.store(depth, Ordering::Relaxed);
    Ok(())
}

/// As many due items as may be started now.
async fn due(
    engine: &Engine,
    now: Timestamp,
    busy: &BTreeSet<Family>,
) -> Result<Vec<ForwardItem>, StoreError> {
    let inner = &engine.0;
    let window = inner.config.forward_window.max(1);
    // What is under way is still in the queue, and may be due.
    let mut items = inner.store.due_forwards(inner.channel.line(), now, window + busy.len()).await?;
    items.retain(|item| !busy.contains(&(item.merchant, item.family)));
    items.truncate(window.saturating_sub(busy.len()));
    Ok(items)
}

/// Takes the line for as long as sending an item can take, unless another node has it.
async fn lease(engine: &Engine) -> Result<bool, StoreError> {
    let inner = &engine.0;
    inner.store.lease_forward(inner.channel.line(), &inner.node, inner.config.takeover()).await
}

/// Sends an item and writes down what came of it, unless the line may have gone to another node meanwhile.
async fn send(engine: &Engine, item: &ForwardItem, leased: Instant) -> Result<(), StoreError> {
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
    // What undoes or repeats a request says again what that said, as far as the journal has it.
    let first = match item.action {
        Forward::Reversal | Forward::Repeat => inner.store.first_sent(item.merchant, item.payment).await?,
        Forward::Advice | Forward::Script => None,
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
        first: first.as_ref().map(|entry| entry.bytes.as_slice()),
    };
    let prepared = match inner.channel.prepare_forward(&request) {
        Ok(prepared) => prepared,
        // Keys may be missing just now; that is a reason to wait, not to give up.
        Err(error) => return retry(engine, item, false, &error.reason, Vec::new()).await,
    };
    // A process that was stopped, or its machine, wakes up here: what it had taken another node may be sending, or would
    // before this one has heard an answer.
    if inner.store.is_shared() && leased.elapsed() > inner.config.takeover_margin / 2 {
        tracing::warn!(payment = item.payment.0, "held up for too long on this node: not sent from here");
        return Ok(());
    }
    let sent = JournalEntry::message(at, EntryKind::NetworkOut, prepared.masked.clone());
    match inner.channel.send(&prepared, inner.config.network_patience).await {
        Outcome::Answered(answer) => acknowledged(engine, item, sent, answer).await,
        Outcome::NoAnswer(reason) => unanswered(engine, item, sent, reason).await,
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
        Forward::Reversal if code.ends_reversal() => {
            Event::ReversalDone(answer.answer.settle_date.filter(|_| code.is_approval()))
        }
        // The network knows the request and has its outcome: that is what we asked for.
        Forward::Repeat if !means_try_later(code) => Event::Answered(answer.answer),
        Forward::Advice if code.is_approval() => Event::Advised(answer.answer),
        // Whatever the issuer makes of it, it has heard it.
        Forward::Script if !means_try_later(code) => Event::ScriptTaken,
        Forward::Advice if !means_try_later(code) => {
            // The terminal has approved it and the network will not have it: no repetition helps, people must.
            let why = format!("the network will not have what was approved offline: {code} ({})", code.en());
            alarm(item, &why);
            return inner.store.park_forward(item, &why, entries).await;
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
        alarm(item, &note);
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

/// It cannot be sent as it is.
async fn park(engine: &Engine, item: &ForwardItem, why: &str) -> Result<(), StoreError> {
    alarm(item, why);
    engine.0.store.park_unanswered(item, why, Vec::new()).await
}

fn alarm(item: &ForwardItem, why: &str) {
    metrics::counter!("posp_forward_parked_total").increment(1);
    tracing::error!(
        payment = item.payment.0,
        action = item.action.code(),
        why,
        "ALARM: parked for an operator"
    );
}

/// The message left and nobody answered: the same again, but not for ever.
async fn unanswered(
    engine: &Engine,
    item: &ForwardItem,
    sent: JournalEntry,
    reason: &str,
) -> Result<(), StoreError> {
    let silences = item.message_tries.saturating_add(1);
    if silences < engine.0.config.forward_silences_max {
        return retry(engine, item, true, reason, vec![sent]).await;
    }
    let note = format!("the network did not answer {silences} times: {reason}");
    alarm(item, &note);
    engine.0.store.park_unanswered(item, &note, vec![sent]).await
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

/// However it is configured, time passes between two attempts: without, one that fails at once would be made without end.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Doubles from the first pause up to the longest.
fn pause(engine: &Engine, attempts: u32) -> Duration {
    let config = &engine.0.config;
    let doubled = config.forward_pause.saturating_mul(1u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX));
    doubled.min(config.forward_pause_max).max(SHORTEST_PAUSE)
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
