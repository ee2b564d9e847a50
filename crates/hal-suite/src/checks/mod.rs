//! The checks, a file for each family, and what they share.

mod cards;
mod keys;
mod manager;
mod paper;
mod pin;
mod waits;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use hal::{
    AppId, Call, DeviceClass, DeviceKind, ErrorKind, HalError, Lease, LeaseTerms, OpenDevice, Session, Signal,
};

use crate::hands::{Cannot, Deed};
use crate::report::{Report, Row, Verdict};
use crate::{Fixture, SUITE_APP};

/// A function that writes one or more rows.
type Check = fn(&dyn Fixture, &mut Report, &'static str);

/// Every family in order.
pub(crate) const ALL: &[(&str, &[Check])] = &[
    ("claims", &[manager::claims, manager::app_death]),
    ("permissions", &[manager::permissions]),
    ("absent devices", &[manager::absent]),
    ("deadlines", &[waits::deadlines]),
    ("cancelling", &[waits::cancels]),
    ("paper", &[paper::out_before, paper::out_during, paper::out_after, paper::heat]),
    ("cards", &[cards::pulled, cards::two_in_the_field]),
    ("PIN", &[pin::block, pin::too_short, pin::bypass, pin::cancel, pin::timeout]),
    ("keys", &[keys::right_check_value, keys::wrong_check_value]),
    ("MAC", &[keys::macs]),
    ("serial number", &[keys::serial_number]),
    ("vendor codes", &[manager::vendor_codes]),
    ("counters", &[cards::counters]),
    ("cycles", &[manager::cycles]),
];

/// Why a check did not pass.
pub(crate) enum Stop {
    Failed(String),
    Skipped(String),
}

/// How a check ends: with a remark, or not passed.
pub(crate) type Outcome<T = String> = Result<T, Stop>;

impl From<Cannot> for Stop {
    fn from(cannot: Cannot) -> Self {
        Self::Skipped(cannot.to_string())
    }
}

pub(crate) fn failed<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Stop::Failed(what.into()))
}

/// A call that had to succeed did not.
pub(crate) fn unexpected(error: HalError) -> Stop {
    Stop::Failed(format!("unexpected: {error}"))
}

/// A call that had to fail, and how.
pub(crate) fn expect_error<T>(result: hal::Result<T>, wanted: ErrorKind) -> Outcome {
    match result {
        Err(error) if error.kind == wanted => Ok(String::new()),
        Err(error) => failed(format!("wanted {wanted}, got {error}")),
        Ok(_) => failed(format!("wanted {wanted}, got a result")),
    }
}

/// Writes the row of a check.
pub(crate) fn row(report: &mut Report, family: &'static str, name: impl Into<String>, outcome: Outcome) {
    let (verdict, detail) = match outcome {
        Ok(detail) => (Verdict::Passed, detail),
        Err(Stop::Failed(detail)) => (Verdict::Failed, detail),
        Err(Stop::Skipped(detail)) => (Verdict::Skipped, detail),
    };
    report.rows.push(Row { family, name: name.into(), verdict, detail });
}

/// Whether the terminal has such a device.
pub(crate) fn has(fixture: &dyn Fixture, kind: DeviceKind) -> bool {
    fixture.manager().inventory().iter().any(|entry| entry.kind == kind)
}

/// An open device with its session.
pub(crate) struct Held<D: ?Sized> {
    // Dropped in this order: the lease before its session.
    pub lease: Lease<D>,
    pub _session: Session,
}

impl<D: ?Sized> Held<D> {
    pub fn get(&self) -> Outcome<&D> {
        self.lease.get().map_err(unexpected)
    }
}

/// Opens the first device of a kind; skipped when the terminal has none.
pub(crate) fn open<D: DeviceClass + ?Sized>(fixture: &dyn Fixture) -> Outcome<Held<D>> {
    if !has(fixture, D::KIND) {
        return Err(Stop::Skipped(format!("the terminal has no {}", D::KIND)));
    }
    let manager = fixture.manager();
    let session = manager.login(&AppId::new(SUITE_APP)).map_err(unexpected)?;
    let lease = manager.open::<D>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
    Ok(Held { lease, _session: session })
}

/// Does a deed, or skips the check.
pub(crate) fn deed(fixture: &dyn Fixture, what: Deed) -> Outcome<()> {
    fixture.hands().do_it(what).map_err(Stop::from)
}

/// A call on a thread of its own.
pub(crate) struct Running<R> {
    results: Receiver<R>,
    /// Whether its thread is at work still.
    pending: Arc<Signal<bool>>,
}

impl<R> Running<R> {
    /// Its result; failed when it does not come in time. A call that hangs keeps its thread.
    pub fn join(self, patience: Duration) -> Outcome<R> {
        self.results.recv_timeout(patience).map_err(|error| {
            Stop::Failed(match error {
                RecvTimeoutError::Timeout => format!("hangs: no answer after {patience:?}"),
                RecvTimeoutError::Disconnected => "the driver panicked".to_owned(),
            })
        })
    }

    /// Whether it has not ended so far.
    pub fn is_pending(&self) -> bool {
        *self.pending.lock()
    }

    /// Gives it so long to end; whether it did.
    pub fn ends_within(&self, wait: Duration) -> bool {
        self.pending.wait(&Call::within(wait), |pending| (!*pending).then_some(())).is_ok()
    }
}

/// Starts a call, and comes back when its thread has begun.
pub(crate) fn start<R: Send + 'static>(call: impl FnOnce() -> R + Send + 'static) -> Running<R> {
    let (began, begun) = sync_channel(1);
    let (send, results) = sync_channel(1);
    let pending = Signal::new(true);
    let over = Arc::clone(&pending);
    thread::spawn(move || {
        // Who asked may have given up.
        let _listening = began.send(());
        let result = call();
        let _listening = send.send(result);
        over.update(|pending| *pending = false);
    });
    let _begun = begun.recv();
    Running { results, pending }
}

/// Runs a call that must end soon.
pub(crate) fn bounded<R: Send + 'static>(
    fixture: &dyn Fixture,
    call: impl FnOnce() -> R + Send + 'static,
) -> Outcome<R> {
    start(call).join(fixture.patience())
}

/// Before each check: cards out, paper in, head cool. Hands that cannot are asked again by the check itself.
pub(crate) fn reset(fixture: &dyn Fixture) {
    let hands = fixture.hands();
    for what in [Deed::RemoveCard, Deed::Untap, Deed::Cool, Deed::PaperIn] {
        let _asked_again_by_the_check = hands.do_it(what);
    }
}

/// Shares a held device with the thread of a call.
pub(crate) fn shared<D: DeviceClass + ?Sized>(fixture: &dyn Fixture) -> Outcome<Arc<Held<D>>> {
    open::<D>(fixture).map(Arc::new)
}
