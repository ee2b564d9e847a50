//! The journal and the key vault it belongs to.

use acquiring::master::Terminal;

use crate::error::StoreError;
use crate::master;
use crate::store::Store;
use crate::writer::Admission;

impl Store {
    /// Puts other wrappings of the same keys in the place of a terminal's, if it still has those of `old`;
    /// whether it had. Session and batch stay; the change counts as one of master data, so that nodes read it.
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`].
    pub async fn rewrap_terminal(&self, old: &Terminal, new: &Terminal) -> Result<bool, StoreError> {
        let (old, new) = (old.clone(), new.clone());
        self.db.write(Admission::Wait, Vec::new(), move |db| master::rewrap_terminal(db, &old, &new)).await
    }

    /// Ties the journal to a key vault by its fingerprint; the first one given is kept.
    ///
    /// # Errors
    /// [`StoreError::OtherVault`] when the journal belongs to another.
    pub async fn bind_vault(&self, fingerprint: &str) -> Result<(), StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.db.write(Admission::Wait, Vec::new(), move |db| master::bind_vault(db, &fingerprint)).await
    }

    /// The vault has a new master key: the journal that belonged to the old one belongs to the new one.
    ///
    /// # Errors
    /// [`StoreError::OtherVault`] when it belonged to neither.
    pub async fn rebind_vault(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.db.write(Admission::Wait, Vec::new(), move |db| master::rebind_vault(db, &from, &to)).await
    }
}
