//! The zone keys shared with the member: which are in force, which are on their way, which still count.

use hsm::WrappedKey;

use crate::time::Moment;

/// PIN or MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneKey {
    /// PIK, field 53.1 = 1.
    Pin,
    /// MAK, field 53.1 = 2.
    Mac,
}

impl ZoneKey {
    /// First digit of field 53.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            ZoneKey::Pin => '1',
            ZoneKey::Mac => '2',
        }
    }

    /// For logs and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ZoneKey::Pin => "PIN key reset",
            ZoneKey::Mac => "MAC key reset",
        }
    }
}

/// One key through its resets.
#[derive(Clone, Debug, Default)]
pub struct KeySlot {
    current: Option<WrappedKey>,
    pending: Option<WrappedKey>,
    previous: Option<(WrappedKey, Moment)>,
}

impl KeySlot {
    /// A new key is being sent. It already counts: the member may use it before its answer has arrived here,
    /// because requests travel on another connection.
    pub fn offer(&mut self, key: WrappedKey) {
        self.pending = Some(key);
    }

    /// The member took the key: it is in force, the old one counts until `until`.
    pub fn confirm(&mut self, until: Moment) {
        if let Some(key) = self.pending.take() {
            self.previous = self.current.replace(key).map(|old| (old, until));
        }
    }

    /// The member did not take the key.
    pub fn withdraw(&mut self) {
        self.pending = None;
    }

    /// The key in force.
    #[must_use]
    pub fn current(&self) -> Option<&WrappedKey> {
        self.current.as_ref()
    }

    /// Forgets an old key whose time is over.
    pub fn expire(&mut self, now: Moment) {
        if self.previous.as_ref().is_some_and(|(_, until)| now > *until) {
            self.previous = None;
        }
    }

    /// Keys that count now, the most likely first.
    pub fn candidates(&self, now: Moment) -> impl Iterator<Item = &WrappedKey> {
        let previous = self.previous.as_ref().filter(move |(_, until)| now <= *until).map(|(key, _)| key);
        [self.current.as_ref(), self.pending.as_ref(), previous].into_iter().flatten()
    }
}

/// Both keys and whether the member is signed on.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// PIK.
    pub pin: KeySlot,
    /// MAK.
    pub mac: KeySlot,
    /// Between sign-on and sign-off.
    pub signed_on: bool,
}

impl Zone {
    /// The slot of a key.
    pub fn slot(&mut self, key: ZoneKey) -> &mut KeySlot {
        match key {
            ZoneKey::Pin => &mut self.pin,
            ZoneKey::Mac => &mut self.mac,
        }
    }

    /// Both keys have been exchanged.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.pin.current.is_some() && self.mac.current.is_some()
    }
}
