//! Our connection to the network: many requests in flight, answers matched whatever their order, built up
//! again when it drops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use acquiring::{Amount, ResponseCode, Rrn};

use iso8583::frame::{self, CupsFrame};
use iso8583::{CUPS, Message};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::config::LineConfig;
use super::message::{self, KEY_RESET, SIGN_ON};
use crate::{Correlation, LineStatus, NetworkAnswer, Outcome, Prepared, Unsolicited};

/// Largest frame of the network that we take.
pub(super) const FRAME_MAX: usize = 4_096;
/// Frames that may wait for the writer.
const WRITER_QUEUE: usize = 1_024;
/// How long a request waits for its place among them. It adds to the time after which another node may reverse it, so it
/// is short.
const PLACE_MAX: Duration = Duration::from_secs(1);
/// What is wrong with a peer that takes nothing.
const DEAF: &str = "the network does not take what we send";
/// Bytes that share one write.
const WRITE_MAX: usize = 64 * 1_024;

enum Arrived {
    Answer(NetworkAnswer),
    /// A management answer: its response code.
    Managed(ResponseCode),
    /// The network bounced the request: it was not processed.
    Bounced,
}

#[derive(Clone, Default)]
struct State {
    writer: Option<mpsc::Sender<Vec<u8>>>,
    ready: bool,
    detail: String,
}

/// The connection and who waits on it.
pub(crate) struct Line {
    state: watch::Sender<State>,
    waiting: Mutex<HashMap<Correlation, oneshot::Sender<Arrived>>>,
    in_flight_max: usize,
    settle_date: AtomicU16,
    management_trace: AtomicU32,
    renew_keys: Notify,
}

impl Line {
    pub(crate) fn new(in_flight_max: usize, management_from: u32) -> Self {
        let state = State { detail: "not connected yet".to_owned(), ..State::default() };
        Line {
            state: watch::Sender::new(state),
            waiting: Mutex::default(),
            in_flight_max,
            settle_date: AtomicU16::new(0),
            management_trace: AtomicU32::new(management_from),
            renew_keys: Notify::new(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Correlation, oneshot::Sender<Arrived>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> LineStatus {
        let state = self.state.borrow();
        let settle_date = match self.settle_date.load(Ordering::Relaxed) {
            0 => None,
            date => Some(date),
        };
        LineStatus { ready: state.ready, detail: state.detail.clone(), settle_date }
    }

    /// Keeps the settlement date that the network tells.
    pub(crate) fn set_settle_date(&self, mmdd: u16) {
        self.settle_date.store(mmdd, Ordering::Relaxed);
    }

    pub(crate) async fn ready(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as the line, so this ends only by becoming ready.
        let _ = state.wait_for(|state| state.ready).await;
    }

    fn down(&self, detail: String) {
        self.state.send_replace(State { detail, ..State::default() });
        // Whoever waits learns that no answer comes over this connection any more, the first that asked first.
        let waiting = std::mem::take(&mut *self.waiting());
        let mut waiting: Vec<_> = waiting.into_iter().collect();
        waiting.sort_unstable_by_key(|(correlation, _)| (correlation.mti, correlation.trace));
        drop(waiting);
    }

    /// Trace numbers of management messages count apart from payments.
    fn next_management_trace(&self) -> u32 {
        self.management_trace.fetch_add(1, Ordering::Relaxed) % 999_999 + 1
    }
}

/// Removes a waiter that gave up.
struct Waiter<'a> {
    line: &'a Line,
    correlation: Correlation,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.line.waiting().remove(&self.correlation);
    }
}

enum Sent {
    Arrived(Arrived),
    Silence(&'static str),
    Not(&'static str),
}

async fn ask(
    line: &Line,
    writer: Option<mpsc::Sender<Vec<u8>>>,
    correlation: Correlation,
    frame: Vec<u8>,
    patience: Duration,
) -> Sent {
    let Some(writer) = writer else { return Sent::Not("the line is down") };
    let (answer, arrives) = oneshot::channel();
    {
        let mut waiting = line.waiting();
        if waiting.len() >= line.in_flight_max {
            return Sent::Not("too many requests in flight");
        }
        if waiting.contains_key(&correlation) {
            return Sent::Not("a request with the same numbers is in flight");
        }
        waiting.insert(correlation, answer);
    }
    let _waiter = Waiter { line, correlation };
    match writer.try_send(frame) {
        Ok(()) => {}
        Err(TrySendError::Closed(_)) => return Sent::Not("the line is down"),
        // A group of payments becomes durable at once, and may be larger than the queue.
        Err(TrySendError::Full(frame)) => match timeout(patience.min(PLACE_MAX), writer.send(frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Sent::Not("the line is down"),
            Err(_) => return Sent::Not("the line does not take requests"),
        },
    }
    match timeout(patience, arrives).await {
        Ok(Ok(arrived)) => Sent::Arrived(arrived),
        Ok(Err(_)) => Sent::Silence("the line dropped"),
        Err(_) => Sent::Silence("no answer in time"),
    }
}

/// Sends a payment message and waits for its answer.
pub(crate) async fn exchange(shared: &Shared, prepared: &Prepared, patience: Duration) -> Outcome {
    let line = &shared.line;
    let writer = {
        let state = line.state.borrow();
        state.writer.clone().filter(|_| state.ready)
    };
    match ask(line, writer, prepared.correlation, prepared.frame.clone(), patience).await {
        Sent::Arrived(Arrived::Answer(answer)) => {
            if answer.answer.code == ResponseCode::MAC_ERROR {
                tracing::error!("the network says that our MAC is wrong; asking for new keys");
                line.renew_keys.notify_one();
            }
            Outcome::Answered(answer)
        }
        Sent::Arrived(Arrived::Bounced) => {
            Outcome::NotSent(ResponseCode::MALFUNCTION, "the network bounced the message")
        }
        Sent::Arrived(Arrived::Managed(_)) => Outcome::NoAnswer("the answer is of another kind"),
        Sent::Silence(reason) => Outcome::NoAnswer(reason),
        Sent::Not(reason) => Outcome::NotSent(ResponseCode::ISSUER_DOWN, reason),
    }
}

/// Sends a management request and waits for 00.
pub(crate) async fn manage(shared: &Shared, code: u16) -> Result<(), &'static str> {
    let line = &shared.line;
    let trace = line.next_management_trace();
    let made = message::management(&shared.parties, code, trace, shared.clock.now());
    let (draft, correlation) = made.map_err(|_| "the management message cannot be built")?;
    let (frame, _) = shared.frame(&draft).map_err(|_| "the management message cannot be built")?;
    let writer = line.state.borrow().writer.clone();
    match ask(line, writer, correlation, frame, shared.config.management_patience).await {
        Sent::Arrived(Arrived::Managed(ResponseCode::APPROVED)) => Ok(()),
        Sent::Arrived(_) => Err("the network refused"),
        Sent::Silence(reason) | Sent::Not(reason) => Err(reason),
    }
}

/// Keeps the connection: builds it up, signs on, gets keys, and again when it drops, until `stop`.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let name = shared.config.name.clone();
    let mut told = Told::default();
    loop {
        let end = tokio::select! {
        biased;
            () = stop.cancelled() => break,
            end = connection(&shared) => end,
        };
        let was_ready = shared.line.status().ready;
        shared.line.down(end.clone());
        metrics::counter!("posp_line_drops_total", "line" => name.clone()).increment(1);
        if told.is_news(&end, was_ready) {
            tracing::warn!(line = name, reason = end, "the line is down; it is built up again");
        }
        tokio::select! {
        biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep(shared.config.reconnect) => {}
        }
    }
    shared.line.down("stopped".to_owned());
}

/// What the log was told of a line that stays down: each new reason, then one line in a hundred.
#[derive(Default)]
struct Told {
    reason: String,
    times: u32,
}

impl Told {
    fn is_news(&mut self, reason: &str, was_ready: bool) -> bool {
        if was_ready || self.reason != reason {
            reason.clone_into(&mut self.reason);
            self.times = 0;
        }
        self.times += 1;
        self.times % 100 == 1
    }
}

/// One connection from dialling to its end; says why it ended.
async fn connection(shared: &Shared) -> String {
    let config = &shared.config;
    if let Some(wires) = &shared.wires {
        return match wires.dial().await {
            Ok(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                conversation(shared, reader, writer).await
            }
            Err(error) => format!("the connection is not taken: {error}"),
        };
    }
    let dialled = timeout(config.management_patience, TcpStream::connect(&config.network)).await;
    let stream = match dialled {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return format!("{} does not take the connection: {error}", config.network),
        Err(_) => return format!("{} does not answer", config.network),
    };
    if let Err(error) = stream.set_nodelay(true) {
        return error.to_string();
    }
    let (reader, writer) = stream.into_split();
    conversation(shared, reader, writer).await
}

/// What happens on a connection until its end.
async fn conversation(
    shared: &Shared,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
) -> String {
    let config = &shared.config;
    let (frames, queue) = mpsc::channel(WRITER_QUEUE);
    shared.line.state.send_replace(State {
        writer: Some(frames),
        ready: false,
        detail: "connected, signing on".to_owned(),
    });
    tokio::select! {
        biased;
        end = write(writer, queue, config) => end,
        end = read(shared, reader) => end,
        end = session(shared) => end,
    }
}

/// Sign-on, keys, then keys again whenever they are asked for. Ends only when it fails.
async fn session(shared: &Shared) -> String {
    let line = &shared.line;
    if let Err(error) = manage(shared, SIGN_ON).await {
        return format!("sign-on: {error}");
    }
    if let Err(error) = renew_keys(shared).await {
        return format!("keys: {error}");
    }
    line.state.send_modify(|state| {
        state.ready = true;
        state.detail = format!("signed on at {}", shared.config.network);
    });
    tracing::info!(line = shared.config.name, network = shared.config.network, "the line is ready");
    loop {
        line.renew_keys.notified().await;
        if let Err(error) = renew_keys(shared).await {
            return format!("keys: {error}");
        }
    }
}

/// Asks for new zone keys and waits until both have come over the network's own connection.
async fn renew_keys(shared: &Shared) -> Result<(), &'static str> {
    let mut generations = shared.keys.generations();
    let before = *generations.borrow_and_update();
    manage(shared, KEY_RESET).await?;
    let renewed = generations.wait_for(|now| now.pin != before.pin && now.mac != before.mac);
    match timeout(shared.config.management_patience, renewed).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err("the network sent no keys; is our listener reachable for it?"),
    }
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    config: &LineConfig,
) -> String {
    let mut buffer = Vec::with_capacity(WRITE_MAX);
    loop {
        buffer.clear();
        match timeout(config.heartbeat, queue.recv()).await {
            Ok(Some(frame)) => {
                buffer.extend_from_slice(&frame);
                // Whatever else waits goes out in the same write.
                while buffer.len() < WRITE_MAX
                    && let Ok(frame) = queue.try_recv()
                {
                    buffer.extend_from_slice(&frame);
                }
            }
            Ok(None) => return "closed".to_owned(),
            Err(_) => buffer.extend_from_slice(frame::CUPS_HEARTBEAT),
        }
        // Without this a peer that sends heartbeats and reads nothing would keep a dead line up for ever.
        match timeout(config.management_patience, writer.write_all(&buffer)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return format!("cannot write: {error}"),
            Err(_) => return DEAF.to_owned(),
        }
    }
}

async fn read(shared: &Shared, mut reader: impl AsyncRead + Unpin) -> String {
    let config = &shared.config;
    let mut buffer: Vec<u8> = Vec::with_capacity(WRITE_MAX);
    // When the frame at the head of the buffer began.
    let mut begun = Instant::now();
    loop {
        let mut used = 0;
        loop {
            match frame::split_cups(buffer.get(used..).unwrap_or_default(), FRAME_MAX) {
                Ok(Some((consumed, frame))) => {
                    if let CupsFrame::Message(payload) = frame {
                        take(shared, payload);
                    }
                    used += consumed;
                }
                Ok(None) => break,
                Err(error) => return format!("the network sent what is no frame: {error}"),
            }
        }
        buffer.drain(..used);
        if used > 0 {
            begun = Instant::now();
        }
        let idle = buffer.is_empty();
        // A frame that has begun comes to its end soon: one that drips in would keep a dead line up.
        let patience = match idle {
            true => config.silence_max,
            false => config.management_patience.saturating_sub(begun.elapsed()),
        };
        match timeout(patience, reader.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return "the network closed the connection".to_owned(),
            Ok(Ok(_)) if idle => begun = Instant::now(),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return format!("cannot read: {error}"),
            Err(_) if idle => return "the network was silent for too long".to_owned(),
            Err(_) => return "the network does not bring a frame to its end".to_owned(),
        }
    }
}

fn dropped(shared: &Shared, reason: &'static str, detail: &dyn std::fmt::Display) {
    metrics::counter!("posp_line_dropped_answers_total", "reason" => reason).increment(1);
    if let Some(times) = shared.complaints.is_news(reason) {
        tracing::error!(reason, times, %detail, "an answer of the network cannot be used");
    }
}

/// Takes one message of the network to whoever waits for it.
fn take(shared: &Shared, payload: &[u8]) {
    let (header, body) = match frame::parse_cups(payload) {
        Ok(parts) => parts,
        Err(error) => return dropped(shared, "bad header", &error),
    };
    let message = match CUPS.parse(body) {
        Ok(message) => message,
        Err(error) => return dropped(shared, "malformed", &error),
    };
    if header.is_rejected() {
        return bounced(shared, &message);
    }
    let Some(correlation) = message::answer_correlation(&message) else {
        return dropped(shared, "no numbers", &message.mti());
    };
    if message.mti().value() / 100 == 8 {
        let code = message.text(39).and_then(ResponseCode::new);
        let waiter = shared.line.waiting().remove(&correlation);
        if let (Some(waiter), Some(code)) = (waiter, code) {
            // A waiter that just gave up is no loss: it has reported silence.
            let _ = waiter.send(Arrived::Managed(code));
        }
        return;
    }
    let now = shared.clock.now();
    let mut text = Vec::with_capacity(256);
    iso8583::cups::mac_text(&message, &mut text);
    let mac = message.bytes_of(128).unwrap_or_default();
    if !shared.keys.verify(shared.hsm.as_ref(), &text, mac, now) {
        return dropped(shared, "wrong MAC", &message.mti());
    }
    if let Some(date) = message.number(15).and_then(|date| u16::try_from(date).ok()) {
        shared.line.set_settle_date(date);
    }
    let Some(answer) = message::answer(&message, now) else {
        return dropped(shared, "no response code", &message.mti());
    };
    let mut masked = Vec::with_capacity(body.len());
    iso8583::mask::mask_message(&message, &mut masked);
    let code = answer.code;
    let amount = message.number(4).and_then(Amount::from_fen);
    let waiter = shared.line.waiting().remove(&correlation);
    let undelivered = match waiter {
        Some(waiter) => waiter.send(Arrived::Answer(NetworkAnswer { answer, amount, masked })).err(),
        None => Some(Arrived::Answer(NetworkAnswer { answer, amount, masked })),
    };
    if let Some(Arrived::Answer(NetworkAnswer { masked, .. })) = undelivered {
        let unsolicited = Unsolicited {
            line: shared.config.name.clone(),
            mti: message.mti().value(),
            trace: correlation.trace,
            rrn: message.text(37).and_then(|text| Rrn::new(text).ok()),
            code: Some(code),
            masked,
        };
        if shared.unsolicited.try_send(unsolicited).is_err() {
            dropped(shared, "too many unexpected answers", &message.mti());
        }
    }
}

/// The network returned our own message with a reject code in the header.
fn bounced(shared: &Shared, message: &Message<'_>) {
    metrics::counter!("posp_line_bounced_total").increment(1);
    let mti = message.mti().value();
    if let Some(times) = shared.complaints.is_news("bounced") {
        tracing::error!(mti, times, "the network bounced a message");
    }
    let Some(returned) = message::answer_correlation(message) else { return };
    // It has the MTI of the request, where an answer would have its own.
    for mti in [mti, mti / 10 * 10 + 10] {
        if let Some(waiter) = shared.line.waiting().remove(&Correlation { mti, ..returned }) {
            let _ = waiter.send(Arrived::Bounced);
            return;
        }
    }
}
