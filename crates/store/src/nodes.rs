//! What nodes that share a store ask of it beside the payments.

use std::time::Duration;

use acquiring::master::Terminal;
use acquiring::{MerchantId, TerminalId};

use crate::db::{Db, Lock, Op, params};
use crate::error::StoreError;
use crate::rows::all;
use crate::store::Store;
use crate::types::NodeKeys;
use crate::writer::Admission;
use crate::{forwards, master};

/// Milliseconds of the database's clock.
macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}

/// Orders what nodes tell of themselves with the moment at which a master key comes in force.
const LOCK: Lock<'_> = Lock::Sequence("nodes");

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

    /// Tells the others which master keys a node has; it counts for so long, by the database's clock, and then the node
    /// counts as gone. Answers with the master key in force at that moment, which the node must have: whoever puts another
    /// one in force sees this node from now on. A store of one node keeps nothing of it.
    pub async fn tell_node(&self, keys: &NodeKeys, time: Duration) -> Result<Option<String>, StoreError> {
        if !self.is_shared() {
            return self.master_in_force().await;
        }
        let keys = keys.clone();
        self.db.write(Admission::Wait, Vec::new(), move |db| tell(db, &keys, time)).await
    }

    /// A node that stops is gone at once.
    pub async fn forget_node(&self, node: &str) -> Result<(), StoreError> {
        if !self.is_shared() {
            return Ok(());
        }
        let node = node.to_owned();
        let op = move |db: &dyn Db| {
            db.execute("DELETE FROM node WHERE node = ?1", params![&node])?;
            Ok(())
        };
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// The nodes that are not gone, by name; none where nodes tell nothing.
    pub async fn living_nodes(&self) -> Result<Vec<NodeKeys>, StoreError> {
        match self.is_shared() {
            true => self.db.read(living).await,
            false => Ok(Vec::new()),
        }
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

fn tell(db: &dyn Db, keys: &NodeKeys, time: Duration) -> Op<Option<String>> {
    const UPSERT: &str = concat!(
        "INSERT INTO node (node, machine, wraps, opens, until) VALUES (?1, ?2, ?3, ?4, ",
        now!(),
        " + ?5) ON CONFLICT (node) DO UPDATE SET machine = excluded.machine, wraps = excluded.wraps, \
         opens = excluded.opens, until = excluded.until"
    );
    db.lock(LOCK)?;
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
    // Of nodes that are gone nothing is wanted any more.
    db.execute(concat!("DELETE FROM node WHERE until <= ", now!()), &[])?;
    db.execute(UPSERT, params![&keys.node, &keys.machine, &keys.wraps, &keys.opens.join(" "), time])?;
    master::bound_vault(db)
}

fn living(db: &dyn Db) -> Op<Vec<NodeKeys>> {
    const SELECT: &str =
        concat!("SELECT node, machine, wraps, opens FROM node WHERE until > ", now!(), " ORDER BY node");
    all(db, SELECT, &[], |c| {
        let (node, machine, wraps) = (c.take("node")?, c.take("machine")?, c.take("wraps")?);
        let opens: String = c.take("opens")?;
        Ok(NodeKeys { node, machine, wraps, opens: opens.split_whitespace().map(str::to_owned).collect() })
    })
}

/// The living nodes that cannot open keys under a master key; no node comes or changes until the transaction ends.
pub(crate) fn without(db: &dyn Db, master: &str) -> Op<Vec<NodeKeys>> {
    db.lock(LOCK)?;
    let mut nodes = living(db)?;
    nodes.retain(|node| !node.has(master));
    Ok(nodes)
}
