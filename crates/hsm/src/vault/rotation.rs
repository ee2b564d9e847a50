//! The way of a master key: prepared in the file, put in force, retired.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::wrap::Wrapper;
use super::{Keys, MasterKey, SoftVault, VaultError, file};
use crate::HsmError;

/// What a master key is to a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterRole {
    /// New keys are made under it.
    InForce,
    /// It is to follow the one in force: it opens keys, and none is made under it.
    Prepared,
    /// It was in force before, and opens what is still under it.
    Old,
}

/// A master key of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterState {
    /// As [`crate::Hsm::fingerprint`] names it.
    pub fingerprint: String,
    /// What it is.
    pub role: MasterRole,
}

impl Keys {
    /// Puts the prepared key, or one that only this process still has, in front when it is the one that was said. A key
    /// that the file itself has among the old ones stays there: the file is further than whoever said so.
    fn obey(&mut self) -> Result<bool, HsmError> {
        let Some(said) = &self.said else { return Ok(false) };
        if self.current.fingerprint == *said {
            return Ok(false);
        }
        let next = match self.prepared.take_if(|prepared| prepared.fingerprint == *said) {
            Some(prepared) => prepared,
            None => match self.kept.iter().position(|kept| kept.fingerprint == *said) {
                Some(at) => self.kept.remove(at),
                None => return Ok(false),
            },
        };
        self.ring = self.ring.rewrap(&self.current.wrapper, &next.wrapper)?;
        self.older.insert(0, std::mem::replace(&mut self.current, next));
        Ok(true)
    }
}

impl SoftVault {
    /// The master keys, the one in force first.
    pub fn masters(&self) -> Vec<MasterState> {
        let keys = self.keys();
        let state = |generation: &super::Generation, role| MasterState {
            fingerprint: generation.fingerprint.clone(),
            role,
        };
        let mut all = vec![state(&keys.current, MasterRole::InForce)];
        all.extend(keys.prepared.iter().map(|prepared| state(prepared, MasterRole::Prepared)));
        all.extend(keys.older.iter().chain(&keys.kept).map(|old| state(old, MasterRole::Old)));
        all
    }

    /// Puts a fresh master key into a vault file, behind the one in force: whoever opens the file can open keys
    /// under it, and nobody makes any. `false` when one is prepared already; it stays.
    ///
    /// # Errors
    /// As [`SoftVault::open_file`]; a rotation before this one is not finished.
    pub fn prepare_file(path: impl AsRef<Path>) -> Result<bool, VaultError> {
        let path = path.as_ref();
        let mut content = file::read(path)?;
        let shown = || path.display().to_string();
        if content.master.is_none() {
            return Err(VaultError::ComponentsNeeded { path: shown() });
        }
        if !content.older.is_empty() {
            return Err(VaultError::RotationOpen { path: shown() });
        }
        if content.prepared.is_some() {
            return Ok(false);
        }
        content.prepared = Some(MasterKey::generate()?);
        file::replace(path, &content)?;
        Ok(true)
    }

    /// Puts the prepared master key in front in a vault file. Keys under the one before still open; new ones are made
    /// under the new one by whoever opens the file, and by a running node within a second ([`crate::Hsm::refresh`]).
    /// The ring's keys are moved at once: sealed values and digests do not change.
    ///
    /// # Errors
    /// As [`SoftVault::open_file`]; [`VaultError::NothingPrepared`].
    pub fn promote_file(path: impl AsRef<Path>) -> Result<(), VaultError> {
        let path = path.as_ref();
        let shown = || path.display().to_string();
        let mut content = file::read(path)?;
        let master = content.master.take().ok_or_else(|| VaultError::ComponentsNeeded { path: shown() })?;
        let next = content.prepared.take().ok_or_else(|| VaultError::NothingPrepared { path: shown() })?;
        content.ring = content.ring.rewrap(&Wrapper::new(master.bytes()), &Wrapper::new(next.bytes()))?;
        content.check = next.check_value()?;
        content.master = Some(next);
        content.older.insert(0, master);
        file::replace(path, &content)
    }

    /// Takes the master keys before the one in force out of a vault file. The caller has made sure that
    /// nothing is under them.
    ///
    /// # Errors
    /// As [`SoftVault::open_file`].
    pub fn retire_file(path: impl AsRef<Path>) -> Result<(), VaultError> {
        let path = path.as_ref();
        let mut content = file::read(path)?;
        if content.master.is_none() {
            return Err(VaultError::ComponentsNeeded { path: path.display().to_string() });
        }
        content.older.clear();
        file::replace(path, &content)
    }

    /// [`crate::Hsm::refresh`].
    pub(super) fn read_again(&self) -> Result<bool, HsmError> {
        let Some((path, stamp)) = &self.origin else { return Ok(false) };
        let mut seen = stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = file::stamp(path);
        if now == *seen {
            return Ok(false);
        }
        let mut fresh = Self::read(path).map_err(|error| HsmError::Token(error.to_string()))?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if fresh.ring.digest.kcv() != keys.ring.digest.kcv() {
            return Err(HsmError::Token("the vault file was exchanged for another vault's".to_owned()));
        }
        let known: Vec<String> =
            fresh.generations().map(|generation| generation.fingerprint.clone()).collect();
        fresh.kept = keys.generations().filter(|one| !known.contains(&one.fingerprint)).cloned().collect();
        // An older copy of the file that was put in its place takes nothing back.
        fresh.said.clone_from(&keys.said);
        fresh.obey()?;
        *keys = Arc::new(fresh);
        *seen = now;
        Ok(true)
    }

    /// [`crate::Hsm::put_in_force`].
    pub(super) fn follow(&self, fingerprint: &str) -> Result<bool, HsmError> {
        // Asked every second, and changed once in a rotation.
        let keys = self.keys();
        let mut free = std::iter::once(&keys.current).chain(&keys.prepared).chain(&keys.kept);
        if keys.said.as_deref() == Some(fingerprint) || !free.any(|one| one.fingerprint == fingerprint) {
            return Ok(false);
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Keys::clone(&keys);
        next.said = Some(fingerprint.to_owned());
        let moved = next.obey()?;
        if moved || next.current.fingerprint == fingerprint {
            *keys = Arc::new(next);
        }
        Ok(moved)
    }
}
