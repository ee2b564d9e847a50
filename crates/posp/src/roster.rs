//! What a node does about its master key while it serves: it looks at its vault file and asks the store which master key
//! is in force, puts that in force for itself when it has it prepared, and tells the other nodes which keys it has.
//!
//! Where nodes have copies of the file, no moment is the same for all files; the store's word is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use hsm::Hsm;
use store::{NodeKeys, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often a node looks at its file and asks the store.
const LOOK: Duration = Duration::from_secs(1);
/// How often it tells of itself when nothing has changed.
const TELL: Duration = Duration::from_secs(5);
/// How long that counts: a node that says nothing for so long is gone.
const COUNTS: Duration = Duration::from_secs(30);

/// What the operator calls this machine.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What to do about a master key that a vault file lacks.
pub fn lacking(in_force: &str) -> String {
    format!(
        "the master key in force, check value {in_force}, is not in the vault file: the file of another machine has \
         it, copy that here"
    )
}

/// A node among those that share its store. A node alone tells nobody, and asks its store all the same.
pub struct Roster {
    store: Store,
    vault: Arc<dyn Hsm>,
    node: String,
    machine: String,
    /// The master key in force, when this node does not have it.
    lacking: Mutex<Option<String>>,
}

impl Roster {
    /// Tells of a node before it serves. From here on no master key comes in force that it does not have.
    ///
    /// # Errors
    /// The one in force is not in its vault.
    pub async fn enter(store: Store, vault: Arc<dyn Hsm>, node: &str) -> anyhow::Result<Arc<Self>> {
        let roster =
            Roster { store, vault, node: node.to_owned(), machine: machine(), lacking: Mutex::new(None) };
        let in_force = roster.store.tell_node(&roster.keys(), COUNTS).await?;
        if let Some(in_force) = in_force {
            roster.follow(&in_force);
        }
        if let Some(in_force) = roster.lacks() {
            roster.store.forget_node(&roster.node).await?;
            bail!(lacking(&in_force));
        }
        Ok(Arc::new(roster))
    }

    /// The master key in force, when this node does not have it: what the others write it cannot open.
    pub fn lacks(&self) -> Option<String> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keys(&self) -> NodeKeys {
        NodeKeys {
            node: self.node.clone(),
            machine: self.machine.clone(),
            wraps: self.vault.fingerprint(),
            opens: self.vault.fingerprints(),
        }
    }

    /// Puts in force what is in force for all.
    fn follow(&self, in_force: &str) {
        match self.vault.put_in_force(in_force) {
            Ok(true) => tracing::info!(check = in_force, "the prepared master key is in force"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the prepared master key cannot be put in force"),
        }
        let has = self.vault.fingerprints().iter().any(|one| one == in_force);
        let mut lacks = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (!has).then(|| in_force.to_owned());
        if *lacks != now {
            match &now {
                Some(in_force) => tracing::error!("ALARM: {}", lacking(in_force)),
                None => tracing::info!(check = in_force, "the master key in force is here"),
            }
            *lacks = now;
        }
    }

    async fn look(&self) {
        // Asked before the file is read: a key that is in force by then was in the file before.
        let in_force = self.store.master_in_force().await;
        match self.vault.refresh() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(check = self.vault.fingerprint(), "the vault file was changed, and is read");
            }
            Err(error) => tracing::error!(%error, "the master key file changed and cannot be read"),
        }
        match in_force {
            Ok(Some(in_force)) => self.follow(&in_force),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the store does not say which master key is in force"),
        }
    }

    /// Keeps file, store and the others' knowledge of this node together until it stops, and says then that it is gone.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut every = tokio::time::interval(LOOK);
        let mut told: Option<(NodeKeys, Instant)> = None;
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.look().await;
            let keys = self.keys();
            if told.as_ref().is_some_and(|(before, at)| *before == keys && at.elapsed() < TELL) {
                continue;
            }
            match self.store.tell_node(&keys, COUNTS).await {
                Ok(_) => told = Some((keys, Instant::now())),
                Err(error) => {
                    tracing::warn!(%error, "the other nodes cannot be told which master keys are here")
                }
            }
        }
        if let Err(error) = self.store.forget_node(&self.node).await {
            tracing::warn!(%error, "the other nodes take this one for living a while longer");
        }
    }
}
