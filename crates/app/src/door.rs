//! The door for other apps: `pay.v1` in, an order at the counter, the result out, once.
//!
//! A request is in the journal before the terminal hears of it, about to be sent before it is sent, its result before
//! anybody is told ([`pay::Journal`]). The shell reports through [`Callers`]; what a cut has left, and what a later reversal
//! settles, comes the same way.
//!
//! Who calls is said by whoever holds the door, never by a message.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pay::{
    Answer, CallCode, CallerId, Grant, Journal, JournalError, Key, Kind, Orig, Outcome, Refusal, Request,
    RequestId, Response, State, Step, Viewer, request,
};

use tokio::sync::watch;

use crate::flow::{Desk, Errand, HostSays, Mark, Order, Trouble};
use crate::panel::Panel;
use crate::shell::{Callers, Facts};
use crate::view::View;
pub use progress::Events;
use progress::Heard;

mod progress;
mod wishes;
mod words;

/// How long a result is kept: as long as a refund is allowed, half a year.
pub const RETENTION_MS: u64 = 180 * 24 * 3_600_000;

/// What responses say of the terminal.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Merchant number.
    pub merchant: String,
    /// Its name.
    pub merchant_name: String,
    /// Terminal number.
    pub terminal: String,
    /// Serial number of the device.
    pub serial: String,
}

/// The terminal has lost its power: whoever waited gets no answer, and asks again when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("终端已断电 / the terminal has no power")]
pub struct Closed;

/// What a request has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// This response, at once.
    Answer(Vec<u8>),
    /// It is in the journal and the terminal is at work on it.
    Begun(Key),
}

struct Inner {
    journal: Option<Journal>,
    /// The request that has the terminal, until it is free again.
    current: Option<Key>,
    /// Nothing of it is left to do.
    over: bool,
    /// The disk failed: nothing is known of what is on it, so nothing begins.
    broken: bool,
}

/// The door of one terminal, for as long as it has power.
pub struct Door {
    inner: Mutex<Inner>,
    changed: Condvar,
    heard: watch::Sender<Heard>,
    panel: Panel,
    about: About,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Door {
    /// Opens the journal in this directory and settles what a cut has left. Open it before the shell runs.
    ///
    /// # Errors
    /// The journal cannot be read, or another process has it.
    pub fn open(folder: &Path, panel: Panel, about: About, now_ms: u64) -> Result<Arc<Self>, JournalError> {
        let mut journal = Journal::open(folder, RETENTION_MS)?;
        journal.prune(now_ms)?;
        let inner = Inner { journal: Some(journal), current: None, over: false, broken: false };
        let door = Arc::new(Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            heard: watch::Sender::new(Heard::default()),
            panel,
            about,
        });
        let watching = Arc::downgrade(&door);
        door.panel.on_change(move |_| {
            if let Some(door) = watching.upgrade() {
                door.look();
            }
        });
        Ok(door)
    }

    /// The power is gone. Whoever waits hears it, and the journal is free for the next start.
    pub fn close(&self) {
        self.lock().journal = None;
        self.heard.send_modify(Heard::close);
        self.changed.notify_all();
    }

    /// A request: answered at once, or begun. Never waits for a person. `grant` is the caller's, when it has one.
    ///
    /// # Errors
    /// No power.
    pub fn submit(
        &self,
        caller: &str,
        grant: Option<&Grant>,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Submitted, Closed> {
        let refused = |refusal: &Refusal, id: Option<RequestId>| bytes(&Response::refused(refusal, id));
        let request = match request::parse(body) {
            Ok(request) => request,
            Err(refusal) => return Ok(Submitted::Answer(refused(&refusal, request::request_id_of(body)))),
        };
        let id = Some(request.request_id.clone());
        let known = CallerId::new(caller).ok().filter(|caller| caller.as_str() != Order::CASHIER);
        let (Some(caller), Some(grant)) = (known, grant) else {
            return Ok(Submitted::Answer(refused(&Refusal::of(CallCode::CallerUnknown), id)));
        };
        let mut inner = self.lock();
        let submitted = self.take(&mut inner, &caller, grant, &request, now_ms)?;
        Ok(match submitted {
            Ok(submitted) => submitted,
            Err(refusal) => Submitted::Answer(refused(&refusal, id)),
        })
    }

    fn take(
        &self,
        inner: &mut Inner,
        caller: &CallerId,
        grant: &Grant,
        request: &Request,
        now_ms: u64,
    ) -> Result<Result<Submitted, Refusal>, Closed> {
        let broken = inner.broken;
        let current = inner.current.clone();
        let journal = inner.journal.as_mut().ok_or(Closed)?;
        let key = Key { caller: caller.clone(), request_id: request.request_id.clone() };
        let ledger = journal.ledger();
        let mut work = None;
        // What is in the journal is answered from it, whatever has become of its grant since.
        if ledger.get(&key).is_none() {
            if let Err(refusal) = grant.check(request) {
                return Ok(Err(refusal));
            }
            if request.kind.row().trade && ledger.running().is_none() {
                match words::work(request, caller, grant, ledger) {
                    Ok(said) if !broken && self.panel.reserve() => work = Some(said),
                    Ok(_) if broken => return Ok(Err(Refusal::of(CallCode::Internal))),
                    Ok(_) => {
                        let running = current.filter(|key| key.caller == *caller).map(|key| key.request_id);
                        let code = if self.is_settling() { CallCode::Settling } else { CallCode::Busy };
                        let busy = Response::refused(&Refusal::of(code), Some(request.request_id.clone()));
                        let busy = Response { running_request_id: running, ..busy };
                        return Ok(Ok(Submitted::Answer(bytes(&busy))));
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                }
            }
        }
        let begun = match journal.arrive(caller, request, now_ms) {
            Ok(Answer::Begin(key)) if work.is_some() => {
                inner.current = Some(key.clone());
                inner.over = false;
                self.heard.send_replace(Heard::begin(&key, wishes::lang(request)));
                self.panel.give(work);
                // Whoever waited for the one before is done waiting.
                self.changed.notify_all();
                return Ok(Ok(Submitted::Begun(key)));
            }
            Ok(Answer::Reply(bytes)) => Ok(Submitted::Answer(bytes)),
            Ok(Answer::Abort(_)) => Ok(Submitted::Answer(bytes(&self.recall(request)))),
            Ok(Answer::Begin(_)) => Err(Refusal::of(CallCode::Internal)),
            Err(error) => {
                tracing::error!(%error, "a request cannot be written down");
                inner.broken |= request.kind.row().trade;
                Err(Refusal::of(CallCode::Internal))
            }
        };
        self.panel.give(None);
        Ok(begun)
    }

    /// Breaks off what waits for a card or a person. What became of it, its own request tells.
    fn recall(&self, request: &Request) -> Response {
        let id = Some(request.request_id.clone());
        if self.panel.recall() {
            return Response::of(CallCode::Handled, Outcome::None, id);
        }
        Response::refused(&Refusal::of(CallCode::InProgress), id)
    }

    /// Waits until a request that has [begun](Submitted::Begun) is over and the terminal free again: its stored result.
    ///
    /// # Errors
    /// The power went meanwhile.
    pub fn wait(&self, key: &Key) -> Result<Vec<u8>, Closed> {
        let mut inner = self.lock();
        while inner.journal.is_some() && inner.current.as_ref() == Some(key) {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let journal = inner.journal.as_mut().ok_or(Closed)?;
        match journal.result(key) {
            Ok(result) => {
                let told = journal.ledger().get(key).is_some_and(|entry| entry.state == State::Returned);
                if !told && let Err(error) = journal.step(key, Step::Return) {
                    tracing::error!(%error, "that a result was told cannot be written down");
                    inner.broken = true;
                }
                Ok(result)
            }
            Err(error) => {
                tracing::error!(%error, "a request has no result");
                let refusal = Refusal::of(CallCode::Internal);
                Ok(bytes(&Response::refused(&refusal, Some(key.request_id.clone()))))
            }
        }
    }

    /// A request to its end. Blocks for as long as the customer takes.
    ///
    /// # Errors
    /// No power, or it went meanwhile.
    pub fn call(
        &self,
        caller: &str,
        grant: Option<&Grant>,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Vec<u8>, Closed> {
        match self.submit(caller, grant, body, now_ms)? {
            Submitted::Answer(answer) => Ok(answer),
            Submitted::Begun(key) => self.wait(&key),
        }
    }

    /// What became of a caller's request, or how far it is.
    ///
    /// # Errors
    /// No power.
    pub fn query(&self, caller: &str, request_id: &str) -> Result<Vec<u8>, Closed> {
        let mut inner = self.lock();
        let journal = inner.journal.as_mut().ok_or(Closed)?;
        let id = RequestId::new(request_id).ok();
        let code = match (CallerId::new(caller), &id) {
            (Ok(caller), Some(id)) => {
                let orig = Orig { request_id: Some(id.clone()), ..Orig::default() };
                match journal.query(Viewer::Caller(&caller), id, &orig) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        tracing::error!(%error, "a query cannot be answered");
                        CallCode::Internal
                    }
                }
            }
            (Err(_), _) => CallCode::CallerUnknown,
            (_, None) => CallCode::NoOriginal,
        };
        Ok(bytes(&Response::refused(&Refusal::of(code), id)))
    }

    /// The events of a caller's own request, from its first on. `grant` is the caller's, when it has one.
    ///
    /// # Errors
    /// No power. Inside: the response to a caller that may not hear them, or has no such request.
    pub fn events(
        &self,
        caller: &str,
        grant: Option<&Grant>,
        request_id: &str,
    ) -> Result<Result<Events, Vec<u8>>, Closed> {
        let inner = self.lock();
        let journal = inner.journal.as_ref().ok_or(Closed)?;
        let id = RequestId::new(request_id).ok();
        let refused = |code| Ok(Err(bytes(&Response::refused(&Refusal::of(code), id.clone()))));
        let Some(grant) = grant else { return refused(CallCode::CallerUnknown) };
        if !grant.events {
            return refused(CallCode::TypeNotGranted);
        }
        let known = key_of(caller, request_id).filter(|key| journal.ledger().get(key).is_some());
        let Some(key) = known else { return refused(CallCode::NoOriginal) };
        let heard = self.heard.subscribe();
        if inner.current.as_ref() == Some(&key) {
            return Ok(Ok(Events { key, heard, next: 0, last: None }));
        }
        Ok(Ok(Events::over(key, heard)))
    }

    /// Looks at the screen: a PIN is waited for, or the terminal is free again.
    fn look(&self) {
        let free = self.panel.is_free();
        let shown = self.panel.shown();
        let pin = !free && matches!(shown.view, View::Pin { .. });
        // A screen of the cashier's own says nothing of a request that is over.
        self.heard.send_if_modified(|heard| !free && heard.look(&shown));
        let mut inner = self.lock();
        let Inner { journal, current, over, broken } = &mut *inner;
        if free && *over {
            *current = None;
            *over = false;
            self.changed.notify_all();
        }
        if let (true, Some(key), Some(journal)) = (pin, &current, journal)
            && let Some(State::Journaled | State::WaitingCard) = journal.ledger().get(key).map(|it| it.state)
            && let Err(error) = journal.step(key, Step::EnterPin)
        {
            tracing::error!(%error, "how far a request is cannot be written down");
            *broken = true;
        }
    }

    fn is_settling(&self) -> bool {
        matches!(self.panel.shown().view, View::Busy { desk: Some(Desk::Settle), .. })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the journal; after a failure nothing begins any more.
    fn keep(
        &self,
        key: &Key,
        work: impl FnOnce(&mut Journal, Kind, State) -> Result<(), JournalError>,
    ) -> Result<(), String> {
        let mut inner = self.lock();
        let Some(journal) = &mut inner.journal else { return Err(Closed.to_string()) };
        let Some(entry) = journal.ledger().get(key) else { return Ok(()) };
        let (kind, state) = (entry.kind, entry.state);
        let kept = work(journal, kind, state);
        inner.broken |= kept.is_err();
        kept.map_err(|error| error.to_string())
    }

    /// The result of a request, unless it has one that stands.
    fn finish(&self, key: &Key, make: impl FnOnce(Kind) -> Response) -> Result<(), String> {
        self.keep(key, |journal, kind, state| {
            let unknown = journal.ledger().get(key).is_some_and(pay::Entry::is_unknown);
            let response = make(kind);
            if state.is_running() || (unknown && response.outcome != Outcome::Unknown) {
                journal.finish(key, &response)?;
            }
            Ok(())
        })
    }

    /// Nothing is left to do for it; the terminal is free with its next screen.
    fn leave(&self, key: &Key) {
        self.heard.send_modify(|heard| heard.done(key));
        let mut inner = self.lock();
        inner.over |= inner.current.as_ref() == Some(key);
    }
}

impl Callers for Door {
    fn marked(&self, order: &Order, mark: &Mark, facts: &Facts<'_>) -> Result<(), String> {
        let Some(key) = key_of(&order.caller, &order.request_id) else { return Ok(()) };
        match mark {
            Mark::Accepted(_) => self.keep(&key, |journal, _, _| journal.step(&key, Step::WaitCard)),
            Mark::Online { .. } => self.keep(&key, |journal, _, _| journal.step(&key, Step::GoOnline)),
            Mark::Printed(_) => self.keep(&key, |journal, _, _| journal.step(&key, Step::Print)),
            Mark::Ended(ending) => self
                .finish(&key, |kind| words::ended(&key.request_id, kind, ending, order, facts, &self.about)),
            // That the caller has it is written down when it has.
            Mark::Returned => Ok(()),
        }
    }

    fn dropped(&self, order: &Order, text: &str) {
        let Some(key) = key_of(&order.caller, &order.request_id) else { return };
        tracing::error!(text, "a request cannot be written down and does not begin");
        let _ = self.finish(&key, |kind| {
            let outcome = if kind.row().money { Outcome::Declined } else { Outcome::None };
            let of = Response::of(CallCode::Internal, outcome, Some(key.request_id.clone()));
            Response { call_msg: Some(CallCode::Internal.row().en.to_owned()), ..of }
        });
        let mut inner = self.lock();
        self.heard.send_modify(|heard| heard.done(&key));
        if inner.current.as_ref() == Some(&key) {
            inner.current = None;
        }
        self.changed.notify_all();
    }

    fn returned(&self, order: &Order) {
        if let Some(key) = key_of(&order.caller, &order.request_id) {
            self.leave(&key);
        }
    }

    fn done(&self, errand: &Errand, said: Result<&HostSays, &Trouble>) {
        let Some(key) = key_of(&errand.caller, &errand.request_id) else { return };
        if let Err(error) = self.finish(&key, |_| words::done(&key.request_id, said, errand.lang)) {
            tracing::error!(%error, "a result cannot be written down");
        }
        self.leave(&key);
    }
}

fn key_of(caller: &str, request_id: &str) -> Option<Key> {
    Some(Key { caller: CallerId::new(caller).ok()?, request_id: RequestId::new(request_id).ok()? })
}

/// A response as bytes. It is made of texts and numbers alone, which always become JSON.
fn bytes(response: &Response) -> Vec<u8> {
    serde_json::to_vec(response).unwrap_or_default()
}
