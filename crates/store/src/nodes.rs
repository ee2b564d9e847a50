//! What nodes that share a store ask of it beside the payments.

use std::time::Duration;

use acquiring::master::Terminal;
use acquiring::{MerchantId, TerminalId};

use crate::db::Db;
use crate::error::StoreError;
use crate::store::Store;
use crate::writer::Admission;
use crate::{forwards, master};

impl Store {
    /// Counts a wrong MAC of a terminal for every node on the store; how many there were since its session changed or
    /// [`Store::forgive_wrong_macs`]. Refused under overload: such a message must not take the place of a payment.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`].
    pub async fn count_wrong_mac(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<u32, StoreError> {
        let op = move |db: &dyn Db| master::count_wrong_mac(db, merchant, terminal);
        let count = self.db.write(Admission::Refuse, Vec::new(), op).await?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A right MAC: the wrong ones before it do not count any more.
    ///
    /// # Errors
    /// As [`Store::count_wrong_mac`].
    pub async fn forgive_wrong_macs(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<(), StoreError> {
        let op = move |db: &dyn Db| master::forgive_wrong_macs(db, merchant, terminal);
        self.db.write(Admission::Refuse, Vec::new(), op).await
    }

    /// Gives the queue of a line to a node for so long, and says whether the node has it: another node may, as long
    /// as its time is not over. A node asks before each item that it sends, for longer than sending can take, so
    /// that no item is sent by two. Time is the database's: the nodes' clocks do not matter. A store of one node has
    /// nothing to lease, and always says yes.
    pub async fn lease_forward(&self, line: &str, node: &str, time: Duration) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let (line, node) = (line.to_owned(), node.to_owned());
        let op = move |db: &dyn Db| forwards::lease(db, &line, &node, time);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// Gives a line back, so that another node can take it at once. Nothing happens when the node has it not.
    pub async fn release_forward_lease(&self, line: &str, node: &str) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let (line, node) = (line.to_owned(), node.to_owned());
        let op = move |db: &dyn Db| forwards::give_back(db, &line, &node);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// Goes up with every change of a session.
    pub async fn session_version(&self) -> Result<i64, StoreError> {
        self.db.read(master::session_version).await
    }

    /// Terminals whose session changed after `version`, in the order of the changes, at most `limit`, each with its
    /// version: what another node on the same store has changed.
    pub async fn sessions_since(
        &self,
        version: i64,
        limit: usize,
    ) -> Result<Vec<(i64, Terminal)>, StoreError> {
        self.db.read(move |db| master::sessions_since(db, version, limit)).await
    }
}
