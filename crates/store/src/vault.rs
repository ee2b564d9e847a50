//! The journal and the key vault it belongs to.

use acquiring::master::Terminal;

use crate::db::Db;
use crate::error::StoreError;
use crate::store::Store;
use crate::types::NodeKeys;
use crate::writer::Admission;
use crate::{master, nodes};

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

    /// The master key that the journal belongs to: the one in force, for every node on this store.
    pub async fn master_in_force(&self) -> Result<Option<String>, StoreError> {
        self.db.read(master::bound_vault).await
    }

    /// The next master key of the same vault comes in force, in the place of `from`, if every living node can open keys
    /// under it; the nodes that cannot. With one of those nothing is changed. The moment is one for all: a node that
    /// tells of itself afterwards hears of the new one ([`Store::tell_node`]).
    ///
    /// # Errors
    /// [`StoreError::OtherVault`] when the journal belonged to neither.
    pub async fn put_master_in_force(&self, from: &str, to: &str) -> Result<Vec<NodeKeys>, StoreError> {
        let (from, to, shared) = (from.to_owned(), to.to_owned(), self.is_shared());
        let op = move |db: &dyn Db| {
            let lacking = match shared {
                true => nodes::without(db, &to)?,
                false => Vec::new(),
            };
            if lacking.is_empty() {
                master::rebind_vault(db, &from, &to)?;
            }
            Ok(lacking)
        };
        self.db.write(Admission::Wait, Vec::new(), op).await
    }
}
