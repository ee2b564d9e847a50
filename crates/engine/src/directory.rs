//! Merchants and terminals in memory: read on every message, refreshed when the store's version moves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use acquiring::limit::Limits;
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession, WorkingKeys};
use acquiring::{BatchNo, MerchantId, TerminalId};
use hsm::WrappedKey;
use jiff::Timestamp;
use store::Store;

use crate::traces::SharedTraces;
use crate::{Engine, EngineError};

/// Working keys of a terminal, read once from their stored form.
pub use hsm::WorkingKeys as LiveKeys;

fn read_keys(stored: &WorkingKeys) -> Option<Arc<LiveKeys>> {
    let track = match &stored.track {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    Some(Arc::new(LiveKeys { pin: stored.pin.parse().ok()?, mac: stored.mac.parse().ok()?, track }))
}

/// The changing part of a terminal, in memory.
#[derive(Clone, Debug)]
pub struct Session {
    /// Keys of the newest sign-in.
    pub keys: Option<Arc<LiveKeys>>,
    /// Keys before it, until the new ones have verified a message.
    pub previous: Option<Arc<LiveKeys>>,
    /// When it signed in.
    pub signed_in_at: Option<Timestamp>,
    /// The same of the keys before.
    pub previous_signed_in_at: Option<Timestamp>,
    /// Current batch.
    pub batch: BatchNo,
}

impl Session {
    /// The terminal must sign in before its next transaction; its keys still sign what it is answered.
    pub(crate) fn end(&mut self) {
        self.signed_in_at = None;
        self.previous_signed_in_at = None;
    }

    pub(crate) fn read(stored: &TerminalSession) -> Option<Session> {
        let read = |keys: &Option<WorkingKeys>| match keys {
            Some(keys) => read_keys(keys).map(Some),
            None => Some(None),
        };
        Some(Session {
            keys: read(&stored.keys)?,
            previous: read(&stored.previous_keys)?,
            signed_in_at: stored.signed_in_at,
            previous_signed_in_at: stored.previous_signed_in_at,
            batch: stored.batch,
        })
    }

    /// The keys that it has in common with `stored`, as they are wrapped there: the store compares wrapped keys.
    fn take_wrappings(&mut self, stored: &Session) {
        for own in [&mut self.keys, &mut self.previous].into_iter().flatten() {
            let mut wrapped = stored.keys.iter().chain(&stored.previous);
            if let Some(same) = wrapped.find(|wrapped| same_keys(wrapped, own)) {
                *own = Arc::clone(same);
            }
        }
    }
}

fn same_keys(one: &LiveKeys, other: &LiveKeys) -> bool {
    let track = match (&one.track, &other.track) {
        (Some(one), Some(other)) => one.is_same_key(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    track && one.pin.is_same_key(&other.pin) && one.mac.is_same_key(&other.mac)
}

/// Which profile the terminals of a merchant speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnProfile {
    /// That of the listener they come through.
    OfListener,
    /// The merchant's own: its place among the profiles of the settings.
    Own(usize),
    /// The merchant's own, which the settings do not have.
    Unknown,
}

impl OwnProfile {
    fn of(merchant: &Merchant, profiles: &[String]) -> Self {
        match &merchant.profile {
            None => OwnProfile::OfListener,
            Some(name) => {
                profiles.iter().position(|known| known == name).map_or(OwnProfile::Unknown, OwnProfile::Own)
            }
        }
    }
}

/// A terminal in memory.
pub struct TerminalEntry {
    /// The merchant it stands at.
    pub merchant: Merchant,
    /// Terminal number.
    pub id: TerminalId,
    /// Closed terminals are answered 97.
    pub active: bool,
    /// Cipher of its keys.
    pub cipher: TerminalCipher,
    /// The profile it speaks.
    pub profile: OwnProfile,
    /// Terminal master key.
    pub master_key: WrappedKey,
    session: Arc<RwLock<Session>>,
    wrong_macs: Arc<AtomicU32>,
    traces: SharedTraces,
}

impl TerminalEntry {
    /// The session as it is now.
    pub fn session(&self) -> Session {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change_session(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.session.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes the session as the store has it; `false` when it cannot be read.
    pub(crate) fn take_session(&self, stored: &Terminal) -> bool {
        // Under another master key the entry is about to be replaced as a whole. One that is only wrapped anew, because
        // the vault's own was rotated, is the same.
        let same = stored.master_key.parse().is_ok_and(|key: WrappedKey| key.is_same_key(&self.master_key));
        match Session::read(&stored.session).filter(|_| same) {
            Some(session) => {
                self.change_session(|own| *own = session);
                true
            }
            None => false,
        }
    }

    /// The trace numbers of its batch.
    pub(crate) fn traces(&self) -> &SharedTraces {
        &self.traces
    }

    /// Counts a wrong MAC; returns how many came in a row.
    pub(crate) fn count_wrong_mac(&self) -> u32 {
        self.wrong_macs.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Forgets the wrong MACs; whether there were any.
    pub(crate) fn clear_wrong_macs(&self) -> bool {
        self.wrong_macs.load(Ordering::Relaxed) != 0 && self.wrong_macs.swap(0, Ordering::Relaxed) != 0
    }
}

/// What is known of a merchant and terminal number.
pub enum Known {
    /// Both known.
    Terminal(Arc<TerminalEntry>),
    /// The merchant is known and open, the terminal is not known.
    Merchant,
    /// The merchant is closed, whatever its terminals.
    Closed,
    /// Neither.
    Nothing,
}

type Terminals = HashMap<(MerchantId, TerminalId), Arc<TerminalEntry>>;

struct Loaded {
    limits: Arc<Limits>,
    merchants: HashMap<MerchantId, Merchant>,
    terminals: Terminals,
}

/// Changed sessions read at a time.
const SESSIONS: usize = 1_000;

/// Merchants and terminals in memory.
pub struct Directory {
    /// Names of the profiles that a merchant may have.
    profiles: Vec<String>,
    loaded: RwLock<Arc<Loaded>>,
    version: AtomicI64,
    /// Sessions of the store up to this version are in memory.
    sessions: AtomicI64,
}

impl Directory {
    pub(crate) async fn load(store: &Store, profiles: Vec<String>) -> Result<Self, EngineError> {
        // The version first: a change between the two reads is then read again, never missed.
        let version = store.master_version().await?;
        let sessions = store.session_version().await?;
        let loaded = read(store, None, &profiles).await?;
        Ok(Directory {
            profiles,
            loaded: RwLock::new(Arc::new(loaded)),
            version: AtomicI64::new(version),
            sessions: AtomicI64::new(sessions),
        })
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks a terminal up.
    pub fn find(&self, merchant: MerchantId, terminal: TerminalId) -> Known {
        let loaded = self.loaded();
        // The merchant comes first, as in the specification's order of checks.
        match (loaded.merchants.get(&merchant), loaded.terminals.get(&(merchant, terminal))) {
            (None, _) => Known::Nothing,
            (Some(merchant), _) if !merchant.active => Known::Closed,
            (Some(_), Some(entry)) => Known::Terminal(Arc::clone(entry)),
            (Some(_), None) => Known::Merchant,
        }
    }

    /// A merchant, for messages that are made without its terminal (reversals after a restart).
    pub fn merchant(&self, id: MerchantId) -> Option<Merchant> {
        self.loaded().merchants.get(&id).cloned()
    }

    /// The limits in force.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.loaded().limits)
    }

    /// How many merchants and terminals there are.
    pub fn counts(&self) -> (usize, usize) {
        let loaded = self.loaded();
        (loaded.merchants.len(), loaded.terminals.len())
    }

    /// Reads master data again when its version moved.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<bool, EngineError> {
        let version = store.master_version().await?;
        if version == self.version.load(Ordering::Acquire) {
            return Ok(false);
        }
        let loaded = read(store, Some(&self.loaded()), &self.profiles).await?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        self.version.store(version, Ordering::Release);
        Ok(true)
    }

    /// Reads the sessions again that have changed since the last time, by this node or another.
    pub(crate) async fn refresh_sessions(&self, store: &Store) -> Result<(), EngineError> {
        loop {
            let after = self.sessions.load(Ordering::Acquire);
            let changed = store.sessions_since(after, SESSIONS).await?;
            let Some((newest, _)) = changed.last() else { return Ok(()) };
            let newest = *newest;
            let loaded = self.loaded();
            for (_, terminal) in &changed {
                if let Some(entry) = loaded.terminals.get(&(terminal.merchant, terminal.id)) {
                    entry.take_session(terminal);
                }
            }
            self.sessions.store(newest, Ordering::Release);
            if changed.len() < SESSIONS {
                return Ok(());
            }
        }
    }
}

/// Reads master data. A terminal that stays keeps its session cell, so that a sign-in under way on another
/// task is not lost, also when its keys were wrapped anew; one whose master key changed starts over with what the store
/// says.
async fn read(store: &Store, before: Option<&Loaded>, profiles: &[String]) -> Result<Loaded, EngineError> {
    let merchants: HashMap<_, _> = store.merchants().await?.into_iter().map(|m| (m.id, m)).collect();
    for merchant in merchants.values() {
        if OwnProfile::of(merchant, profiles) == OwnProfile::Unknown {
            tracing::error!(merchant = %merchant.id, profile = merchant.profile,
                "the merchant's profile is not in the configuration: its terminals are answered 31");
        }
    }
    let mut terminals = Terminals::new();
    for terminal in store.terminals().await? {
        let key = (terminal.merchant, terminal.id);
        let Some(merchant) = merchants.get(&terminal.merchant) else { continue };
        let entry = live(merchant, &terminal, before.and_then(|b| b.terminals.get(&key)), profiles)?;
        terminals.insert(key, Arc::new(entry));
    }
    Ok(Loaded { limits: Arc::new(store.limits().await?), merchants, terminals })
}

fn live(
    merchant: &Merchant,
    terminal: &Terminal,
    before: Option<&Arc<TerminalEntry>>,
    profiles: &[String],
) -> Result<TerminalEntry, EngineError> {
    let unreadable = || EngineError::Key { merchant: merchant.id, terminal: terminal.id };
    let master_key: WrappedKey = terminal.master_key.parse().map_err(|_| unreadable())?;
    // Whoever still holds the entry before notes what it journals in the same place.
    let traces = before.map(|entry| entry.traces.clone()).unwrap_or_default();
    let stored = || Session::read(&terminal.session).ok_or_else(unreadable);
    // A key that is entered again takes the session away in the store; one that is wrapped anew does not.
    let rewrapped =
        |entry: &TerminalEntry| entry.master_key.is_same_key(&master_key) && terminal.session.keys.is_some();
    let kept = before.filter(|entry| entry.master_key == master_key || rewrapped(entry));
    let (session, wrong_macs) = match kept {
        Some(entry) => {
            if entry.master_key != master_key {
                let stored = stored()?;
                entry.change_session(|own| own.take_wrappings(&stored));
            }
            (Arc::clone(&entry.session), Arc::clone(&entry.wrong_macs))
        }
        None => (Arc::new(RwLock::new(stored()?)), Arc::default()),
    };
    Ok(TerminalEntry {
        merchant: merchant.clone(),
        id: terminal.id,
        active: terminal.active,
        cipher: terminal.cipher,
        profile: OwnProfile::of(merchant, profiles),
        master_key,
        session,
        wrong_macs,
        traces,
    })
}

/// Looks for changed master data until the engine stops.
pub(crate) async fn keep_fresh(engine: Engine) {
    let inner = &engine.0;
    loop {
        tokio::select! {
            biased;
            () = inner.stop.cancelled() => return,
            () = tokio::time::sleep(inner.config.refresh) => {}
        }
        match inner.directory.refresh(&inner.store).await {
            Ok(true) => {
                let (merchants, terminals) = inner.directory.counts();
                tracing::info!(merchants, terminals, "master data read again");
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "master data cannot be read; the old stays in force"),
        }
        if inner.store.is_shared()
            && let Err(error) = inner.directory.refresh_sessions(&inner.store).await
        {
            tracing::error!(%error, "sessions of other nodes cannot be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use hsm::{Hsm, KeyAlgorithm, KeyBlobLayout, KeyUsage, SoftVault};

    use super::*;

    /// A rotation of the vault's master key wraps a terminal's keys anew while it signs in. What was read of the store
    /// before the sign-in was there must not take it away in memory (the terminal would be answered A0), and the keys that
    /// both know are those of the store, or what the store is asked with them finds nothing. A key that an operator
    /// enters again has no session in the store, and gets none here.
    #[test]
    fn keys_that_are_wrapped_anew_leave_a_sign_in_under_way() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("master.key");
        SoftVault::create_file(&file).unwrap();
        SoftVault::prepare_file(&file).unwrap();
        let vault = SoftVault::open_file(&file).unwrap();
        let generated = || LiveKeys::generate(&vault, KeyBlobLayout::Double40, KeyAlgorithm::Des).unwrap();
        let anew = |key: &WrappedKey| vault.rewrap(key).unwrap().expect("it is under the old one");
        let text = |keys: &LiveKeys| WorkingKeys {
            pin: keys.pin.to_string(),
            mac: keys.mac.to_string(),
            track: keys.track.as_ref().map(WrappedKey::to_string),
        };
        let merchant = Merchant {
            id: MerchantId::new("898100000000001").unwrap(),
            name: "shop".to_owned(),
            mcc: 5411,
            active: true,
            limit_single: None,
            profile: None,
        };
        let master = vault.generate(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2).unwrap();
        let older = generated();
        let stored = |master: &WrappedKey, keys: Option<&LiveKeys>| Terminal {
            merchant: merchant.id,
            id: TerminalId::new("10000001").unwrap(),
            active: true,
            cipher: TerminalCipher::TripleDes,
            master_key: master.to_string(),
            session: TerminalSession { keys: keys.map(text), ..TerminalSession::NEW },
        };
        let entry = Arc::new(live(&merchant, &stored(&master, Some(&older)), None, &[]).unwrap());
        let newest = Arc::new(generated());
        entry.change_session(|own| {
            own.previous = own.keys.replace(Arc::clone(&newest));
        });

        vault.put_in_force(&vault.fingerprints()[1]).unwrap();
        let wrapped =
            LiveKeys { pin: anew(&older.pin), mac: anew(&older.mac), track: older.track.as_ref().map(anew) };
        let rewrapped = stored(&anew(&master), Some(&wrapped));
        let after = live(&merchant, &rewrapped, Some(&entry), &[]).unwrap();
        let session = after.session();
        assert_eq!(session.keys.unwrap().mac, newest.mac, "the sign-in under way");
        assert_eq!(session.previous.unwrap().mac, wrapped.mac, "as the store has it");

        let entered_again = stored(&anew(&master), None);
        assert!(live(&merchant, &entered_again, Some(&entry), &[]).unwrap().session().keys.is_none());
    }
}
