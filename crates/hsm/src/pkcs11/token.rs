//! Sessions of a PKCS#11 token: a bounded pool that logs in once and comes back after a loss.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::HsmError;

/// How to reach a token.
#[derive(Clone)]
pub struct TokenConfig {
    /// The vendor's library, `/usr/lib/softhsm/libsofthsm2.so` for SoftHSM.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// PIN of its user.
    pub pin: Zeroizing<String>,
    /// Sessions at most, so many operations run at a time.
    pub sessions: usize,
    /// SM4 keys are used in this process: PKCS#11 has no mechanism for SM4. They stay under the token's master key and
    /// are unwrapped by it for each operation; the clear key is in memory for the length of that, and wiped. Off, SM4
    /// keys are refused.
    pub sm4_in_process: bool,
}

impl fmt::Debug for TokenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenConfig")
            .field("module", &self.module)
            .field("token", &self.token)
            .field("sessions", &self.sessions)
            .field("sm4_in_process", &self.sm4_in_process)
            .finish_non_exhaustive()
    }
}

/// Sessions that wait, and how many exist.
struct Pool {
    idle: Vec<Session>,
    open: usize,
    /// Counts losses of the token: a session from before one is not used again.
    age: u64,
}

pub(super) struct Token {
    context: Pkcs11,
    config: TokenConfig,
    pool: Mutex<Pool>,
    freed: Condvar,
}

/// What the operator is told of an error of the library: its name, never a value.
pub(super) fn told(error: &Error) -> HsmError {
    match error {
        Error::Pkcs11(RvError::PinIncorrect, _) => HsmError::Token("its PIN is wrong".to_owned()),
        Error::Pkcs11(RvError::PinLocked, _) => HsmError::Token("its PIN is locked".to_owned()),
        Error::Pkcs11(RvError::MechanismInvalid, function) => {
            HsmError::Token(format!("it has no mechanism for this ({function:?})"))
        }
        Error::Pkcs11(code, function) => HsmError::Token(format!("{code:?} in {function:?}")),
        other => HsmError::Token(other.to_string()),
    }
}

/// Whether the session is gone rather than the operation wrong.
const fn lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::DeviceError
                | RvError::TokenNotPresent
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid,
            _,
        )
    )
}

impl Token {
    pub(super) fn open(config: TokenConfig) -> Result<Self, HsmError> {
        let context = Pkcs11::new(&config.module).map_err(|error| {
            HsmError::Token(format!("{} is no PKCS#11 library: {error}", config.module.display()))
        })?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another part of the process uses the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(told(&error)),
        }
        let pool = Mutex::new(Pool { idle: Vec::new(), open: 0, age: 0 });
        let token = Self { context, config, pool, freed: Condvar::new() };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    fn slot(&self) -> Result<Slot, HsmError> {
        let slots = self.context.get_slots_with_initialized_token().map_err(|error| told(&error))?;
        let named = |slot: &Slot| {
            self.context.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == self.config.token)
        };
        slots
            .into_iter()
            .find(named)
            .ok_or_else(|| HsmError::Token(format!("there is none with the label {}", self.config.token)))
    }

    /// A new session, logged in. Logging in counts for all sessions of a process, so another may have done it.
    fn session(&self) -> Result<Session, HsmError> {
        let session = self.context.open_rw_session(self.slot()?).map_err(|error| told(&error))?;
        let pin = AuthPin::new(self.config.pin.as_str().into());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(told(&error)),
        }
    }

    fn take(&self) -> Result<(Session, u64), HsmError> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok((session, pool.age));
            }
            if pool.open < self.config.sessions.max(1) {
                pool.open = pool.open.saturating_add(1);
                let age = pool.age;
                drop(pool);
                return self.session().map(|session| (session, age)).inspect_err(|_| self.gone());
            }
            pool = self.freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn gone(&self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.open = pool.open.saturating_sub(1);
        self.freed.notify_one();
    }

    fn give_back(&self, session: Session, age: u64) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if age == pool.age {
            pool.idle.push(session);
        } else {
            pool.open = pool.open.saturating_sub(1);
        }
        self.freed.notify_one();
    }

    /// After a loss every idle session is closed; the ones at work are not taken back.
    fn forget(&self, age: u64) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.age == age {
            pool.age = age.saturating_add(1);
            pool.open = pool.open.saturating_sub(pool.idle.len());
            pool.idle.clear();
        }
    }

    /// Runs an operation on a session. When the session or the login is gone, everything is opened anew and
    /// the operation runs once more; it must be one that may run twice.
    pub(super) fn with<T>(
        &self,
        mut operation: impl FnMut(&Session) -> Result<T, Error>,
    ) -> Result<T, HsmError> {
        let (session, age) = self.take()?;
        match operation(&session) {
            Err(error) if lost(&error) => {
                drop(session);
                self.gone();
                self.forget(age);
                let (session, age) = self.take()?;
                let result = operation(&session).map_err(|error| told(&error));
                self.give_back(session, age);
                result
            }
            result => {
                self.give_back(session, age);
                result.map_err(|error| told(&error))
            }
        }
    }
}

/// A key object of the token by its label.
pub(super) fn find(session: &Session, label: &str) -> Result<Option<ObjectHandle>, Error> {
    let found =
        session.find_objects(&[Attribute::Label(label.as_bytes().to_vec()), Attribute::Token(true)])?;
    Ok(found.first().copied())
}
