//! Zone keys 区域密钥: the PIN and MAC key that the network gives us, and the ones before them for a while.

use std::sync::{PoisonError, RwLock};

use hsm::{Hsm, HsmError, KeyAlgorithm, MacAlgorithm, WrappedKey};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// Which zone key a reset brings, field 53.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKeyKind {
    /// 1: PIN key.
    Pin,
    /// 2: MAC key.
    Mac,
}

#[derive(Default)]
struct Slot {
    current: Option<WrappedKey>,
    previous: Option<(WrappedKey, Timestamp)>,
}

impl Slot {
    fn replace(&mut self, key: WrappedKey, old_until: Timestamp) {
        self.previous = self.current.replace(key).map(|old| (old, old_until));
    }
}

#[derive(Default)]
struct Slots {
    pin: Slot,
    mac: Slot,
}

/// How often each key was replaced since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation {
    /// PIN key.
    pub pin: u32,
    /// MAC key.
    pub mac: u32,
}

/// The zone keys in force.
pub struct ZoneKeys {
    slots: RwLock<Slots>,
    overlap: SignedDuration,
    generation: watch::Sender<Generation>,
}

/// The network's MAC follows the key: CBC with DES keys, CBC with SM4 keys.
pub(super) fn mac_algorithm(key: &WrappedKey) -> MacAlgorithm {
    match key.algorithm() {
        KeyAlgorithm::Sm4 => MacAlgorithm::CupsSm4,
        _ => MacAlgorithm::CupsCbc,
    }
}

impl ZoneKeys {
    /// No keys yet; `overlap` is how long an old key is still accepted.
    pub fn new(overlap: std::time::Duration) -> Self {
        let overlap = SignedDuration::try_from(overlap).unwrap_or(SignedDuration::ZERO);
        ZoneKeys { slots: RwLock::default(), overlap, generation: watch::Sender::default() }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Slots> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new key.
    pub fn replace(&self, kind: ZoneKeyKind, key: WrappedKey, now: Timestamp) {
        let old_until = now.checked_add(self.overlap).unwrap_or(now);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match kind {
            ZoneKeyKind::Pin => slots.pin.replace(key, old_until),
            ZoneKeyKind::Mac => slots.mac.replace(key, old_until),
        }
        drop(slots);
        self.generation.send_modify(|generation| match kind {
            ZoneKeyKind::Pin => generation.pin += 1,
            ZoneKeyKind::Mac => generation.mac += 1,
        });
    }

    /// Tells of replaced keys.
    pub fn generations(&self) -> watch::Receiver<Generation> {
        self.generation.subscribe()
    }

    /// A MAC key is in force.
    pub fn has_mac(&self) -> bool {
        self.read().mac.current.is_some()
    }

    /// The PIN key in force.
    pub fn pin(&self) -> Option<WrappedKey> {
        self.read().pin.current.clone()
    }

    /// Signs a MAC text.
    pub fn sign(&self, hsm: &dyn Hsm, text: &[u8]) -> Option<Result<[u8; 8], HsmError>> {
        let slots = self.read();
        slots.mac.current.as_ref().map(|key| hsm.mac(key, mac_algorithm(key), text))
    }

    /// Verifies a MAC under the key in force or, for a while, the one before it.
    pub fn verify(&self, hsm: &dyn Hsm, text: &[u8], mac: &[u8], now: Timestamp) -> bool {
        let slots = self.read();
        let old = slots.mac.previous.as_ref().filter(|(_, until)| now <= *until).map(|(key, _)| key);
        slots
            .mac
            .current
            .iter()
            .chain(old)
            .any(|key| hsm.verify_mac(key, mac_algorithm(key), text, mac).unwrap_or(false))
    }
}
