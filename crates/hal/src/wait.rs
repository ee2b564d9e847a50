//! Waiting with an end: every blocking call has a deadline and can be broken off.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::{DeviceKind, ErrorKind, HalError};

/// The longest a call may wait; longer wishes are cut. A day is longer than any person stands at a till.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A moment on the monotonic clock after which a call gives up. Setting the wall clock does not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(wait: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(wait.min(LONGEST_WAIT)).unwrap_or(now))
    }

    /// What is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Why a wait ended without its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt(pub ErrorKind);

impl Interrupt {
    /// As an error of a device.
    pub fn at(self, device: DeviceKind) -> HalError {
        HalError::new(self.0, device)
    }
}

type Waker = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Wish {
    reason: Option<ErrorKind>,
    wakers: Vec<(u64, Waker)>,
    next: u64,
    /// Keeps a token registered with those it follows.
    leaders: Vec<Registration>,
}

#[derive(Default)]
struct Inner {
    wish: Mutex<Wish>,
    changed: Condvar,
}

/// Breaks a call off from another thread. Clones are the same token.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

impl CancelToken {
    /// A token that nobody has pulled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is pulled together with this one, and can be pulled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::new();
        child.follow(self);
        child
    }

    /// From now on this token is pulled when `leader` is. A token follows few others; each costs a place.
    pub fn follow(&self, leader: &Self) {
        let (own, from) = (Arc::downgrade(&self.0), Arc::downgrade(&leader.0));
        let registration = leader.register(move || {
            let reason = from.upgrade().and_then(|inner| Self(inner).reason());
            if let Some(inner) = own.upgrade() {
                Self(inner).cancel_as(reason.unwrap_or(ErrorKind::UserCancelled));
            }
        });
        self.lock().leaders.push(registration);
    }

    /// Breaks off as by a person.
    pub fn cancel(&self) {
        self.cancel_as(ErrorKind::UserCancelled);
    }

    /// Breaks off with a reason of its own (the lease ended: [`ErrorKind::NotOpen`]). The first reason stays.
    pub fn cancel_as(&self, reason: ErrorKind) {
        let wakers = {
            let mut wish = self.lock();
            if wish.reason.is_some() {
                return;
            }
            wish.reason = Some(reason);
            std::mem::take(&mut wish.wakers)
        };
        self.0.changed.notify_all();
        for (_, waker) in wakers {
            waker();
        }
    }

    /// Whether somebody has pulled it.
    pub fn is_cancelled(&self) -> bool {
        self.reason().is_some()
    }

    /// Why it was pulled.
    pub fn reason(&self) -> Option<ErrorKind> {
        self.lock().reason
    }

    /// Has `waker` called once when the token is pulled, from the pulling thread and without a lock held; at
    /// once when it has been pulled already. A driver wakes its vendor's blocking call here. Dropping the
    /// registration takes the waker back.
    #[must_use = "the waker is taken back when the registration is dropped"]
    pub fn register(&self, waker: impl Fn() + Send + Sync + 'static) -> Registration {
        let mut wish = self.lock();
        let id = wish.next;
        wish.next = wish.next.saturating_add(1);
        if wish.reason.is_some() {
            drop(wish);
            waker();
        } else {
            wish.wakers.push((id, Arc::new(waker)));
        }
        Registration { token: Arc::downgrade(&self.0), id }
    }

    /// Waits for the token alone, at most until the deadline; whether it was pulled. For a driver that
    /// polls its device: a pause that a cancel ends.
    pub fn wait_until(&self, deadline: Deadline) -> bool {
        let mut wish = self.lock();
        while wish.reason.is_none() {
            let left = deadline.remaining();
            if left.is_zero() {
                return false;
            }
            wish = self.0.changed.wait_timeout(wish, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Wish> {
        self.0.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CancelToken({:?})", self.reason())
    }
}

/// A waker's place with a token; dropped, the waker is not called any more.
pub struct Registration {
    token: Weak<Inner>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(inner) = self.token.upgrade() {
            // The waker is dropped outside the lock: it may own a token itself.
            let _gone: Vec<_> = {
                let mut wish = inner.wish.lock().unwrap_or_else(PoisonError::into_inner);
                let at = wish.wakers.iter().position(|(id, _)| *id == self.id);
                at.map(|at| wish.wakers.swap_remove(at)).into_iter().collect()
            };
        }
    }
}

/// How long a blocking call may take, and who may break it off.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it gives up.
    pub deadline: Deadline,
    /// Who breaks it off.
    pub cancel: CancelToken,
}

impl Call {
    /// A call that gives up after `wait` and that its own token can break off.
    pub fn within(wait: Duration) -> Self {
        Self { deadline: Deadline::after(wait), cancel: CancelToken::new() }
    }

    /// The same with a token that others hold too.
    pub fn with(wait: Duration, cancel: &CancelToken) -> Self {
        Self { deadline: Deadline::after(wait), cancel: cancel.clone() }
    }

    /// What is left.
    ///
    /// # Errors
    /// The reason when it was broken off, [`ErrorKind::Timeout`] when nothing is left.
    pub fn remaining(&self) -> std::result::Result<Duration, Interrupt> {
        if let Some(reason) = self.cancel.reason() {
            return Err(Interrupt(reason));
        }
        let left = self.deadline.remaining();
        if left.is_zero() { Err(Interrupt(ErrorKind::Timeout)) } else { Ok(left) }
    }

    /// Whether the call may go on, for a driver between two steps.
    ///
    /// # Errors
    /// As [`Call::remaining`].
    pub fn check(&self, device: DeviceKind) -> crate::Result<()> {
        self.remaining().map(drop).map_err(|interrupt| interrupt.at(device))
    }
}

/// State that calls wait on: a lock and a condition whose waits obey a [`Call`]. A driver with an SDK that
/// answers on another thread puts the answers in here and waits for them.
#[derive(Default)]
pub struct Signal<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T: Send + 'static> Signal<T> {
    /// Around a state.
    pub fn new(state: T) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// The state, without waking anybody: for reading.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits on it.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` gives something, looking again after every change.
    ///
    /// # Errors
    /// As [`Call::remaining`]. What is ready is given even when the call is over by then.
    pub fn wait<R>(
        self: &Arc<Self>,
        call: &Call,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> std::result::Result<R, Interrupt> {
        let own = Arc::downgrade(self);
        let _registration = call.cancel.register(move || {
            if let Some(signal) = own.upgrade() {
                // Under the lock, so that it cannot fall between a waiter's look and its sleep.
                drop(signal.lock());
                signal.changed.notify_all();
            }
        });
        let mut state = self.lock();
        loop {
            if let Some(result) = ready(&mut state) {
                // What one waiter took, another may have waited to see gone.
                self.changed.notify_all();
                return Ok(result);
            }
            let left = call.remaining()?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
