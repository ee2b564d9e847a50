//! The life of a request, pure: what arrives, what it does to what is known, and what a crash leaves.
//!
//! `received → journaled → waiting_card → pin → online → approved | declined | unknown → printed → returned`, and
//! `unknown → approved | declined` when a query or a reversal has settled it. Up to `online` nothing can have moved; from
//! there on only the acquirer knows, until its answer is journaled.
//!
//! The ledger never waits, writes or asks for the time: the journal does what it says, and makes each step durable
//! before the ledger has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::canonical::Digest;
use crate::kind::Kind;
use crate::request::Orig;
use crate::response::{Outcome, Reason};
use crate::values::{CallerId, Fen, RequestId};

/// Expired ids that are remembered; beyond that the oldest are forgotten. At 300 requests a day that is nine years, at 16
/// bytes each.
pub const EXPIRED_MAX: usize = 1_000_000;

/// Whose request, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The caller, as it was authenticated.
    pub caller: CallerId,
    /// Its number of the request.
    pub request_id: RequestId,
}

impl Key {
    /// SHA-256 of both. It names the request's file, since an id may hold characters that no file name can.
    pub fn fingerprint(&self) -> [u8; 32] {
        // A caller has no NUL, so that no two keys run together.
        let text = [self.caller.as_str().as_bytes(), &[0], self.request_id.as_str().as_bytes()].concat();
        Sha256::digest(text).into()
    }

    /// What is left of an expired one.
    pub fn mark(&self) -> [u8; 16] {
        let mut mark = [0; 16];
        mark.iter_mut().zip(self.fingerprint()).for_each(|(to, from)| *to = from);
        mark
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum State {
    /// It is known, on disk, and nothing else has happened.
    Journaled,
    /// A card is waited for.
    WaitingCard,
    /// A PIN is waited for.
    Pin,
    /// It is with the acquirer, or with a chip that may approve by itself: money may have moved.
    Online,
    /// The money moved.
    Approved,
    /// It did not, and will not.
    Declined,
    /// Nobody knows yet.
    Unknown,
    /// Done, and no trade.
    Done,
    /// The slip is printed.
    Printed,
    /// The caller has the result.
    Returned,
}

impl State {
    /// Whether the terminal is at work on it.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Journaled | Self::WaitingCard | Self::Pin | Self::Online)
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The terminal waits for a card.
    WaitCard,
    /// The terminal waits for a PIN.
    EnterPin,
    /// The next thing may move money. Durable before it is done.
    GoOnline,
    /// It ended.
    End(Outcome, Option<Reason>),
    /// An unknown outcome was settled, by a query or a reversal.
    Resolve(Outcome, Option<Reason>),
    /// The slip was printed.
    Print,
    /// The caller has the result.
    Return,
}

/// A step that a request cannot take where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request of type {kind:?} that is {state:?} cannot take the step {step:?}")]
pub struct Misstep {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub state: State,
    /// What was asked of it.
    pub step: Step,
}

/// Numbers by which a finished request is found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refs {
    /// Trace number.
    pub trace_no: Option<String>,
    /// Batch number.
    pub batch_no: Option<String>,
    /// Reference number.
    pub ref_no: Option<String>,
    /// MMDDhhmmss.
    pub time: Option<String>,
    /// Authorisation code.
    pub auth_no: Option<String>,
    /// The channel's order number.
    pub channel_order_no: Option<String>,
}

/// What is known of a request. Neither its body nor a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose, and which.
    pub key: Key,
    /// Of its body.
    pub digest: Digest,
    /// What was asked for.
    pub kind: Kind,
    /// Amount asked for, in fen.
    pub amount: Option<Fen>,
    /// The caller's order.
    pub order_no: Option<String>,
    /// When it came, in milliseconds.
    pub came_ms: u64,
    /// Of requests that came in the same millisecond, which was first.
    pub serial: u64,
    /// How far it is.
    pub state: State,
    /// What became of it, once it ended.
    pub outcome: Option<Outcome>,
    /// Why it was declined, when the acquirer was not the one to say so.
    pub reason: Option<Reason>,
    /// Numbers by which it is found again.
    pub refs: Refs,
}

impl Entry {
    /// What it is after a step.
    pub fn after(&self, step: Step) -> Result<Self, Misstep> {
        let money = self.kind.row().money;
        let next = match (self.state, step) {
            (State::Journaled | State::WaitingCard, Step::WaitCard) => State::WaitingCard,
            (State::Journaled | State::WaitingCard | State::Pin, Step::EnterPin) => State::Pin,
            (State::Journaled | State::WaitingCard | State::Pin, Step::GoOnline) => State::Online,
            (State::Online, Step::End(Outcome::Approved, _)) if money => State::Approved,
            (State::Online, Step::End(Outcome::Unknown, _)) if money => State::Unknown,
            (state, Step::End(Outcome::Declined, _)) if money && state.is_running() => State::Declined,
            (state, Step::End(Outcome::None, _)) if !money && state.is_running() => State::Done,
            (state, Step::Resolve(outcome, _)) if !state.is_running() && self.is_unknown() => match outcome {
                Outcome::Approved => State::Approved,
                Outcome::Declined => State::Declined,
                Outcome::Unknown | Outcome::None => return Err(self.misstep(step)),
            },
            (State::Approved | State::Declined | State::Unknown | State::Done, Step::Print) => State::Printed,
            (state, Step::Print) if !state.is_running() => state,
            (state, Step::Return) if !state.is_running() => State::Returned,
            _ => return Err(self.misstep(step)),
        };
        let mut after = Self { state: next, ..self.clone() };
        if let Step::End(outcome, reason) | Step::Resolve(outcome, reason) = step {
            after.outcome = Some(outcome);
            after.reason = reason;
        }
        Ok(after)
    }

    fn misstep(&self, step: Step) -> Misstep {
        Misstep { kind: self.kind, state: self.state, step }
    }

    /// What it is after the terminal went down and came up again; `None` when it stays as it is. Before `online` nothing
    /// was sent, so it is declined; from there on it is unknown until a query or a reversal settles it.
    pub fn after_crash(&self) -> Option<Self> {
        if !self.state.is_running() {
            return None;
        }
        let (state, outcome) = match (self.kind.row().money, self.state) {
            (false, _) => (State::Done, Outcome::None),
            (true, State::Online) => (State::Unknown, Outcome::Unknown),
            (true, _) => (State::Declined, Outcome::Declined),
        };
        let reason = (outcome != Outcome::Unknown).then_some(Reason::Interrupted);
        Some(Self { state, outcome: Some(outcome), reason, ..self.clone() })
    }

    /// Whether nobody knows what became of it.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
    }

    /// Whether all keys that are given fit.
    fn fits(&self, orig: &Orig) -> bool {
        fn same(wanted: Option<&str>, have: Option<&str>) -> bool {
            wanted.is_none_or(|wanted| have == Some(wanted))
        }
        let refs = &self.refs;
        let day = refs.time.as_deref().and_then(|time| time.get(..4));
        // MMDD, or YYYYMMDD: a result has no year of its own.
        let date = orig.date.as_ref().map(|date| date.as_str());
        let date = date.map(|date| if date.len() == 8 { date.get(4..).unwrap_or(date) } else { date });
        same(orig.request_id.as_ref().map(RequestId::as_str), Some(self.key.request_id.as_str()))
            && same(orig.order_no.as_ref().map(|text| text.as_str()), self.order_no.as_deref())
            && same(orig.trace_no.as_ref().map(|text| text.as_str()), refs.trace_no.as_deref())
            && same(orig.batch_no.as_ref().map(|text| text.as_str()), refs.batch_no.as_deref())
            && same(orig.ref_no.as_ref().map(|text| text.as_str()), refs.ref_no.as_deref())
            && same(orig.auth_no.as_ref().map(|text| text.as_str()), refs.auth_no.as_deref())
            && same(
                orig.channel_order_no.as_ref().map(|text| text.as_str()),
                refs.channel_order_no.as_deref(),
            )
            && same(date, day)
    }
}

/// What a request that arrives is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// New: journal the entry, then begin.
    New(Box<Entry>),
    /// The same again, and it has ended: its stored result, byte for byte.
    Stored,
    /// The same again, and it is running.
    Running(State),
    /// The id was used with another body.
    OtherBody,
    /// The id is older than results are kept.
    Expired,
    /// The terminal is taken.
    Busy {
        /// By a settlement.
        settling: bool,
        /// The request that runs, when it is the caller's own.
        running: Option<RequestId>,
    },
}

/// What is asked for, as far as the ledger minds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose, and which.
    pub key: Key,
    /// Of its body.
    pub digest: Digest,
    /// What.
    pub kind: Kind,
    /// Amount, in fen.
    pub amount: Option<Fen>,
    /// The caller's order.
    pub order_no: Option<String>,
}

/// All requests that are remembered.
#[derive(Clone, Debug)]
pub struct Ledger {
    retention_ms: u64,
    entries: BTreeMap<Key, Entry>,
    expired: BTreeSet<[u8; 16]>,
    /// In the order in which they expired.
    expired_order: VecDeque<[u8; 16]>,
    running: Option<Key>,
    serial: u64,
}

impl Ledger {
    /// An empty one that keeps results for so long: at least as long as refunds are allowed.
    pub fn new(retention_ms: u64) -> Self {
        Self {
            retention_ms,
            entries: BTreeMap::new(),
            expired: BTreeSet::new(),
            expired_order: VecDeque::new(),
            running: None,
            serial: 0,
        }
    }

    /// What a request is that arrives now. Nothing changes: a new one counts when it is [put](Self::put).
    pub fn arrive(&self, asked: &Asked, now_ms: u64) -> Arrival {
        if self.expired.contains(&asked.key.mark()) {
            return Arrival::Expired;
        }
        if let Some(entry) = self.entries.get(&asked.key) {
            return match entry {
                entry if self.is_old(entry, now_ms) => Arrival::Expired,
                entry if entry.digest != asked.digest || entry.kind != asked.kind => Arrival::OtherBody,
                entry if entry.state.is_running() => Arrival::Running(entry.state),
                _ => Arrival::Stored,
            };
        }
        if let Some(running) = self.running() {
            let own = running.key.caller == asked.key.caller;
            return Arrival::Busy {
                settling: running.kind == Kind::Settle,
                running: own.then(|| running.key.request_id.clone()),
            };
        }
        Arrival::New(Box::new(Entry {
            key: asked.key.clone(),
            digest: asked.digest,
            kind: asked.kind,
            amount: asked.amount,
            order_no: asked.order_no.clone(),
            came_ms: now_ms,
            serial: self.serial + 1,
            state: State::Journaled,
            outcome: None,
            reason: None,
            refs: Refs::default(),
        }))
    }

    /// Takes over an entry that is durable.
    pub fn put(&mut self, entry: Entry) {
        self.serial = self.serial.max(entry.serial);
        if entry.state.is_running() {
            self.running = Some(entry.key.clone());
        } else if self.running.as_ref() == Some(&entry.key) {
            self.running = None;
        }
        self.entries.insert(entry.key.clone(), entry);
    }

    /// The request that the terminal is at work on.
    pub fn running(&self) -> Option<&Entry> {
        self.running.as_ref().and_then(|key| self.entries.get(key))
    }

    /// One request.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All that are remembered, in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The newest request that fits all keys, of one caller, or of any for the operator.
    pub fn find(&self, caller: Option<&CallerId>, orig: &Orig) -> Option<&Entry> {
        self.newest(caller, |entry| entry.fits(orig))
    }

    /// The trade that a request of this type may refer to: the caller's newest that stands, is of the right type and fits
    /// all keys.
    pub fn original(&self, caller: &CallerId, kind: Kind, orig: &Orig) -> Option<&Entry> {
        let wanted = match kind {
            Kind::Void | Kind::Refund | Kind::ScanRefund => Some(Kind::Sale),
            Kind::PreauthVoid | Kind::PreauthComplete => Some(Kind::Preauth),
            Kind::PreauthCompleteVoid => Some(Kind::PreauthComplete),
            _ => None,
        };
        self.newest(Some(caller), |entry| {
            entry.outcome == Some(Outcome::Approved)
                && wanted.is_none_or(|wanted| entry.kind == wanted)
                && entry.fits(orig)
        })
    }

    /// The newest request that moves money.
    pub fn last_trade(&self, caller: Option<&CallerId>) -> Option<&Entry> {
        self.newest(caller, |entry| entry.kind.row().money)
    }

    fn newest(&self, caller: Option<&CallerId>, wanted: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let visible = |entry: &&Entry| caller.is_none_or(|caller| entry.key.caller == *caller);
        self.entries
            .values()
            .filter(visible)
            .filter(|entry| wanted(entry))
            .max_by_key(|entry| (entry.came_ms, entry.serial))
    }

    /// Requests whose results need not be kept any more. What is running or unknown never is.
    pub fn due(&self, now_ms: u64) -> Vec<Key> {
        self.entries
            .values()
            .filter(|entry| self.is_old(entry, now_ms))
            .map(|entry| entry.key.clone())
            .collect()
    }

    /// Forgets a request but for the mark of its id, which must be durable. Returns whether the oldest mark was dropped.
    pub fn expire(&mut self, key: &Key) -> bool {
        self.entries.remove(key);
        self.remember(key.mark())
    }

    /// Takes over the mark of an expired id.
    pub fn remember(&mut self, mark: [u8; 16]) -> bool {
        if self.expired.insert(mark) {
            self.expired_order.push_back(mark);
        }
        if self.expired.len() > EXPIRED_MAX
            && let Some(oldest) = self.expired_order.pop_front()
        {
            return self.expired.remove(&oldest);
        }
        false
    }

    /// Marks of expired ids, oldest first.
    pub fn marks(&self) -> impl Iterator<Item = &[u8; 16]> {
        self.expired_order.iter()
    }

    fn is_old(&self, entry: &Entry, now_ms: u64) -> bool {
        !entry.state.is_running()
            && !entry.is_unknown()
            && now_ms.saturating_sub(entry.came_ms) > self.retention_ms
    }
}
