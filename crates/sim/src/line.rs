//! The line from the network to the member's own listener: key resets, cut-over, echo.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use iso8583::CUPS;
use iso8583::frame;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::SimError;
use crate::keys::ZoneKey;
use crate::net::{FrameBuffer, write_frames};
use crate::network::Event;
use crate::service::Service;
use crate::time::SettleDate;

/// Messages of the network's own that may wait to be written. They are few: keys, cut-over, echo.
const QUEUE: usize = 32;

type Waiting = BTreeMap<u32, oneshot::Sender<String>>;
type Outgoing = mpsc::Sender<Vec<u8>>;

/// One listener of the member: a member that works on several machines has one on each.
struct Way {
    address: String,
    writer: watch::Sender<Option<Outgoing>>,
    waiting: Mutex<Waiting>,
}

impl Way {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outgoing(&self) -> Option<Outgoing> {
        self.writer.borrow().clone()
    }

    /// Hands an 0810 or 0830 to whoever waits for it. `false` when the frame is a request.
    fn is_answer(&self, payload: &[u8]) -> bool {
        let Ok((_, body)) = frame::parse_cups(payload) else { return false };
        let Ok(message) = CUPS.parse(body) else { return false };
        if !message.mti().is_response() {
            return false;
        }
        let trace = message.number(11).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let code = message.text(39).unwrap_or_default().to_owned();
        match self.waiting().remove(&trace) {
            Some(waiter) => {
                let _ = waiter.send(code);
            }
            None => tracing::debug!(trace, code, "an answer that nobody waits for"),
        }
        true
    }

    /// Sends a request and waits for an answer 00.
    async fn ask(
        &self,
        what: &'static str,
        outgoing: Outgoing,
        trace: u32,
        frame: Vec<u8>,
        patience: Duration,
    ) -> Result<(), SimError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(trace, sender);
        if outgoing.send(frame).await.is_err() {
            self.waiting().remove(&trace);
            return Err(SimError::NoLine(self.address.clone()));
        }
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(code)) if code == "00" => Ok(()),
            Ok(Ok(code)) => Err(SimError::Refused { what, code }),
            Ok(Err(_)) => Err(SimError::NoLine(self.address.clone())),
            Err(_) => {
                self.waiting().remove(&trace);
                Err(SimError::NoAnswer(what))
            }
        }
    }
}

/// The line to the member: what the network begins goes to each of its listeners that is up.
pub struct MemberLine {
    address: String,
    ways: Vec<Arc<Way>>,
    /// Counts the listeners that came up or went down.
    moved: watch::Sender<u64>,
    trace: AtomicU32,
    resetting: tokio::sync::Mutex<()>,
}

impl MemberLine {
    /// A line to `addresses`, separated by commas; empty for none.
    #[must_use]
    pub fn new(addresses: &str) -> Self {
        let ways = addresses.split(',').map(str::trim).filter(|address| !address.is_empty());
        let way = |address: &str| Way {
            address: address.to_owned(),
            writer: watch::Sender::new(None),
            waiting: Mutex::new(BTreeMap::new()),
        };
        MemberLine {
            address: addresses.to_owned(),
            ways: ways.map(|address| Arc::new(way(address))).collect(),
            moved: watch::Sender::new(0),
            trace: AtomicU32::new(0),
            resetting: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether a listener of the member is connected.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ways.iter().any(|way| way.outgoing().is_some())
    }

    /// The member's listeners as configured.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Keeps the line to every listener up until shutdown.
    pub fn run(self: &Arc<Self>, service: &Arc<Service>, stop: &CancellationToken, tasks: &TaskTracker) {
        for way in &self.ways {
            let (line, way, service) = (Arc::clone(self), Arc::clone(way), Arc::clone(service));
            let (stop, own) = (stop.clone(), tasks.clone());
            tasks.spawn(async move { line.keep(&way, &service, &stop, &own).await });
        }
    }

    async fn keep(&self, way: &Way, service: &Arc<Service>, stop: &CancellationToken, tasks: &TaskTracker) {
        let pause = Duration::from_millis(service.config.timing.reconnect.max(1));
        let mut told = false;
        while !stop.is_cancelled() {
            let dialled = tokio::select! {
                () = stop.cancelled() => return,
                dialled = TcpStream::connect(&way.address) => dialled,
            };
            match dialled {
                Ok(stream) => {
                    tracing::info!(address = %way.address, "connected to the member's listener");
                    told = false;
                    self.talk(way, service, stream, stop, tasks).await;
                    tracing::info!(address = %way.address, "line to the member's listener ended");
                }
                Err(error) if !told => {
                    told = true;
                    tracing::info!(address = %way.address, %error, "the member's listener is not there yet");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn talk(
        &self,
        way: &Way,
        service: &Arc<Service>,
        stream: TcpStream,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let close = stop.child_token();
        let heartbeat = Duration::from_millis(service.config.timing.heartbeat);
        let writing = tasks.spawn(write_frames(writer, queue, heartbeat, close.clone()));
        way.writer.send_replace(Some(outgoing.clone()));
        self.moved.send_modify(|moved| *moved += 1);
        let mut buffer = FrameBuffer::new(service.config.limits.frame_max);
        let idle = match service.config.timing.echo {
            0 => Duration::MAX,
            ms => Duration::from_millis(ms),
        };
        loop {
            let filled = tokio::select! {
                () = close.cancelled() => break,
                filled = tokio::time::timeout(idle, buffer.fill(&mut reader)) => filled,
            };
            match filled {
                Ok(Ok(true)) => {}
                Ok(_) => break,
                Err(_) => {
                    if self.send_unasked(service, 301, &outgoing).await.is_err() {
                        break;
                    }
                    continue;
                }
            }
            let mut answers = Vec::new();
            let framed = buffer.drain(|payload| {
                if !way.is_answer(payload) {
                    answers.extend(service.take(payload).send);
                }
                true
            });
            if let Err(error) = framed {
                tracing::warn!(%error, "not a frame from the member: line closed");
                break;
            }
            for answer in answers {
                if outgoing.send(answer).await.is_err() {
                    break;
                }
            }
        }
        way.writer.send_replace(None);
        self.moved.send_modify(|moved| *moved += 1);
        way.waiting().clear();
        close.cancel();
        let _ = writing.await;
    }

    fn next_trace(&self) -> u32 {
        self.trace.fetch_add(1, Ordering::Relaxed) % 999_999 + 1
    }

    async fn send_unasked(&self, service: &Service, code: u16, outgoing: &Outgoing) -> Result<(), SimError> {
        let frame = service.own_notice(code, self.next_trace())?;
        outgoing.send(frame).await.map_err(|_| SimError::NoLine(self.address.clone()))
    }

    /// The listeners that are up, waiting for one for as long as an answer may take. One that is dialled anew may be
    /// the one whose machine has just asked for keys, so that all get two dials' time to come up.
    async fn up(&self, service: &Service, patience: Duration) -> Result<Vec<(Arc<Way>, Outgoing)>, SimError> {
        let found = || -> Vec<(Arc<Way>, Outgoing)> {
            let up = self.ways.iter().filter_map(|way| way.outgoing().map(|out| (Arc::clone(way), out)));
            up.collect()
        };
        let mut moved = self.moved.subscribe();
        let two_dials = Duration::from_millis(service.config.timing.reconnect * 2 + 50).min(patience);
        for (wanted, wait) in [(self.ways.len(), two_dials), (1, patience - two_dials)] {
            // When time is over, fewer must do.
            let _ = tokio::time::timeout(wait, moved.wait_for(|_| found().len() >= wanted)).await;
        }
        match found() {
            up if up.is_empty() => Err(SimError::NoLine(self.address.clone())),
            up => Ok(up),
        }
    }

    /// Sends what `make` builds for a fresh trace to every listener that is up and waits for an answer 00. One that
    /// takes it is enough: the others are down, or about to be.
    async fn ask(
        &self,
        service: &Service,
        what: &'static str,
        make: impl FnOnce(u32) -> Result<Vec<u8>, SimError>,
    ) -> Result<(), SimError> {
        let patience = Duration::from_millis(service.config.timing.answer);
        let up = self.up(service, patience).await?;
        let trace = self.next_trace();
        let frame = make(trace)?;
        let mut asked = JoinSet::new();
        for (way, outgoing) in up {
            let frame = frame.clone();
            asked.spawn(async move { way.ask(what, outgoing, trace, frame, patience).await });
        }
        let mut result = Err(SimError::NoAnswer(what));
        for answer in asked.join_all().await {
            match answer {
                Ok(()) => result = Ok(()),
                Err(error) if result.is_err() => result = Err(error),
                Err(error) => tracing::warn!(%error, what, "a listener of the member did not take it"),
            }
        }
        result
    }

    /// Gives the member a new MAC key and a new PIN key. The MAC key goes first, because the PIN key's message
    /// is signed with the MAC key in force.
    ///
    /// # Errors
    ///
    /// No line, no answer, or an answer other than 00; the keys in force then stay.
    pub async fn reset_keys(&self, service: &Service) -> Result<(), SimError> {
        let _one_at_a_time = self.resetting.lock().await;
        for which in [ZoneKey::Mac, ZoneKey::Pin] {
            let asked = self.ask(service, which.name(), |trace| service.key_reset(which, trace)).await;
            let mut zone = service.zone();
            if let Err(error) = asked {
                zone.slot(which).withdraw();
                return Err(error);
            }
            let until = service.clock.now().after_ms(service.config.timing.key_overlap);
            zone.slot(which).confirm(until);
            tracing::info!(what = which.name(), "in force");
        }
        Ok(())
    }

    /// Turns to another settlement day and tells the member: 201, the new day, 202.
    ///
    /// # Errors
    ///
    /// The member was not reached or refused; the network's own day has turned all the same.
    pub async fn cut_over(&self, service: &Service, day: SettleDate) -> Result<(), SimError> {
        let now = service.clock.now();
        service.core().happen(&Event::Cutover { day }, now)?;
        tracing::info!(%day, "cut-over");
        let open = service.open_cut_over();
        self.ask(service, "cut-over", |trace| service.own_notice(201, trace)).await?;
        tokio::time::sleep(Duration::from_millis(service.config.timing.cut_over)).await;
        drop(open);
        self.ask(service, "cut-over", |trace| service.own_notice(202, trace)).await
    }

    /// Sends an echo and waits for its answer.
    ///
    /// # Errors
    ///
    /// No line, no answer, or an answer other than 00.
    pub async fn echo(&self, service: &Service) -> Result<(), SimError> {
        self.ask(service, "echo", |trace| service.own_notice(301, trace)).await
    }
}
