//! Who holds which device: sessions of apps, claims, leases.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Call, CancelToken, Deadline, DeviceKind, ErrorKind, HalError, Result};

/// The name of an app as the package manifest has it, for example `org.posp.acquiring`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(String);

impl AppId {
    /// Takes the name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most sessions at a time: apps on one terminal are counted in dozens.
pub const SESSIONS_MAX: usize = 256;
/// Most leases at a time, all apps together.
pub const LEASES_MAX: usize = 4096;

struct Holder {
    session: u64,
    exclusive: bool,
    token: CancelToken,
    until: Option<Deadline>,
}

#[derive(Default)]
struct Book {
    next: u64,
    sessions: BTreeMap<u64, (AppId, CancelToken)>,
    holders: BTreeMap<(DeviceKind, u8, u64), Holder>,
}

type Released = Box<dyn Fn(DeviceKind, u8) + Send + Sync>;

struct Inner {
    book: Mutex<Book>,
    released: Option<Released>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what `gone` names, then tells the waiting calls and the driver, without the lock.
    fn end(&self, gone: impl Fn(&(DeviceKind, u8, u64), &Holder) -> bool) {
        let ended: Vec<_> = self.lock().holders.extract_if(.., |key, holder| gone(key, holder)).collect();
        for ((kind, index, _), holder) in ended {
            holder.token.cancel_as(ErrorKind::NotOpen);
            if let Some(released) = &self.released {
                released(kind, index);
            }
        }
    }
}

/// The book of claims that a device manager keeps. Clones are the same book.
#[derive(Clone)]
pub struct Claims(Arc<Inner>);

impl Default for Claims {
    fn default() -> Self {
        Self::new()
    }
}

impl Claims {
    /// An empty book.
    pub fn new() -> Self {
        Self(Arc::new(Inner { book: Mutex::default(), released: None }))
    }

    /// An empty book that says when a device becomes free, however that came about: the driver takes the
    /// power from a card, closes the vendor's handle.
    pub fn on_release(released: impl Fn(DeviceKind, u8) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { book: Mutex::default(), released: Some(Box::new(released)) }))
    }

    /// Begins a session of an app.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] over [`SESSIONS_MAX`].
    pub fn login(&self, app: &AppId) -> Result<Session> {
        let mut book = self.0.lock();
        if book.sessions.len() >= SESSIONS_MAX {
            return Err(HalError::new(ErrorKind::Busy, DeviceKind::Manager).text("too many sessions"));
        }
        let id = book.next;
        book.next = book.next.saturating_add(1);
        let token = CancelToken::new();
        book.sessions.insert(id, (app.clone(), token.clone()));
        drop(book);
        Ok(Session { id, app: app.clone(), token, claims: self.clone() })
    }

    /// Ends every session of an app, as when its process has died. Its leases are gone and its waiting
    /// calls end with [`ErrorKind::NotOpen`].
    pub fn end_app(&self, app: &AppId) {
        let sessions: Vec<u64> =
            self.0.lock().sessions.iter().filter(|(_, (of, _))| of == app).map(|(id, _)| *id).collect();
        sessions.into_iter().for_each(|id| self.end_session(id));
    }

    /// How many leases are held.
    pub fn held(&self) -> usize {
        self.0.lock().holders.len()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.0.lock().sessions.len()
    }

    fn end_session(&self, id: u64) {
        let session = self.0.lock().sessions.remove(&id);
        self.0.end(|_, holder| holder.session == id);
        if let Some((_, token)) = session {
            token.cancel_as(ErrorKind::NotOpen);
        }
    }

    /// Claims a device for a session. Devices of a [shared](DeviceKind::is_shared) kind have any number of
    /// holders.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`] when the session has ended, [`ErrorKind::Claimed`] when somebody has the
    /// device, [`ErrorKind::Busy`] over [`LEASES_MAX`].
    pub fn claim(&self, session: &Session, kind: DeviceKind, index: u8, terms: LeaseTerms) -> Result<Claim> {
        // A lease that ran out makes room, whether or not its holder has noticed.
        self.0.end(|(of, at, _), holder| {
            (*of, *at) == (kind, index) && holder.until.is_some_and(Deadline::passed)
        });
        let exclusive = !kind.is_shared();
        let mut book = self.0.lock();
        let Some((_, parent)) = book.sessions.get(&session.id) else {
            return Err(HalError::new(ErrorKind::NotOpen, kind).text("the session has ended"));
        };
        let token = parent.child();
        if book.holders.len() >= LEASES_MAX {
            return Err(HalError::new(ErrorKind::Busy, kind).text("too many leases"));
        }
        let of_device = (kind, index, 0)..=(kind, index, u64::MAX);
        if exclusive && book.holders.range(of_device).any(|(_, holder)| holder.exclusive) {
            return Err(HalError::new(ErrorKind::Claimed, kind));
        }
        let id = book.next;
        book.next = book.next.saturating_add(1);
        let until = terms.length.map(Deadline::after);
        let holder = Holder { session: session.id, exclusive, token: token.clone(), until };
        book.holders.insert((kind, index, id), holder);
        drop(book);
        Ok(Claim { key: (kind, index, id), token, until, claims: self.clone() })
    }
}

/// An app's session with a device manager. Dropped, or ended by the manager when the app dies, it takes
/// its leases with it.
pub struct Session {
    id: u64,
    app: AppId,
    token: CancelToken,
    claims: Claims,
}

impl Session {
    /// Whose it is.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        !self.token.is_cancelled()
    }

    /// Pulled when the session ends.
    pub fn token(&self) -> &CancelToken {
        &self.token
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} of {})", self.id, self.app)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.claims.end_session(self.id);
    }
}

/// How long a lease is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseTerms {
    /// At most so long; `None`: until it is dropped or the session ends.
    pub length: Option<Duration>,
}

impl LeaseTerms {
    /// Until dropped.
    pub const fn open_end() -> Self {
        Self { length: None }
    }

    /// At most so long.
    pub const fn at_most(length: Duration) -> Self {
        Self { length: Some(length) }
    }
}

/// A place in the book of claims; dropped, the device is free.
pub struct Claim {
    key: (DeviceKind, u8, u64),
    token: CancelToken,
    until: Option<Deadline>,
    claims: Claims,
}

impl Claim {
    /// The kind of the device.
    pub const fn kind(&self) -> DeviceKind {
        self.key.0
    }

    /// Which of its kind.
    pub const fn index(&self) -> u8 {
        self.key.1
    }

    /// Whether the claim still holds.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`] when it ran out or its session ended.
    pub fn check(&self) -> Result<()> {
        if self.until.is_some_and(Deadline::passed) {
            self.token.cancel_as(ErrorKind::NotOpen);
        }
        match self.token.reason() {
            Some(reason) => Err(HalError::new(reason, self.kind()).text("the lease has ended")),
            None => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.end(|key, _| *key == self.key);
    }
}

/// A device in hand. It ends when it is dropped, when it runs out, or when its session does; from then on
/// [`Lease::get`] refuses, and calls made with [`Lease::call`] end with [`ErrorKind::NotOpen`].
pub struct Lease<D: ?Sized> {
    device: Arc<D>,
    claim: Claim,
}

impl<D: ?Sized> Lease<D> {
    /// Puts a device and its claim together.
    pub fn new(device: Arc<D>, claim: Claim) -> Self {
        Self { device, claim }
    }

    /// The device, while the lease holds.
    ///
    /// # Errors
    /// [`ErrorKind::NotOpen`] when it has ended.
    pub fn get(&self) -> Result<&D> {
        self.claim.check()?;
        Ok(&self.device)
    }

    /// Terms for a blocking call: it ends with the lease at the latest.
    pub fn call(&self, wait: Duration) -> Call {
        self.call_with(wait, &CancelToken::new())
    }

    /// The same for a call that the caller may break off.
    pub fn call_with(&self, wait: Duration, cancel: &CancelToken) -> Call {
        let deadline = Deadline::after(wait);
        let own = self.claim.token.child();
        own.follow(cancel);
        Call { deadline: self.claim.until.map_or(deadline, |until| until.min(deadline)), cancel: own }
    }

    /// The kind of the device.
    pub const fn kind(&self) -> DeviceKind {
        self.claim.kind()
    }

    /// Which of its kind.
    pub const fn index(&self) -> u8 {
        self.claim.index()
    }

    /// Pulled when the lease ends.
    pub fn token(&self) -> &CancelToken {
        &self.claim.token
    }
}

impl<D: ?Sized> fmt::Debug for Lease<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} {})", self.kind(), self.index())
    }
}
