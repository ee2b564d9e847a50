//! Idle connections: how many a node holds, and what one costs it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::{TcpSocket, TcpStream};

use crate::process;
use crate::run::{Progress, Watch};

/// Connections from one source address: fewer than it has ports.
const PER_SOURCE: usize = 20_000;
/// Connections that are built up at a time.
const BATCH: usize = 500;

/// How long the node may take to have them all.
const TAKEN_MAX: Duration = Duration::from_secs(60);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);

/// What was found.
#[derive(Clone, Copy, Debug, serde::Deserialize, serde::Serialize)]
pub struct Idle {
    /// Connections held.
    pub connections: usize,
    /// Memory of the node before, kB.
    pub before_kb: u64,
    /// And with all of them.
    pub after_kb: u64,
    /// Bytes a connection.
    pub bytes_each: u64,
}

/// Connections that are held until this is dropped.
pub struct Held {
    streams: Vec<TcpStream>,
    /// What they cost.
    pub cost: Idle,
}

impl Held {
    /// Whether all of them are there still.
    ///
    /// # Errors
    /// The node has closed some.
    pub fn all_there(&self) -> anyhow::Result<()> {
        let mut nothing = [0; 1];
        let gone = self.streams.iter().filter(|stream| stream.try_read(&mut nothing).is_ok()).count();
        if gone > 0 {
            anyhow::bail!("the node closed {gone} of {} connections", self.streams.len());
        }
        Ok(())
    }
}

/// Holds so many connections to a node at one time and reads its memory before and after. `taken` tells how many
/// connections the node has by its own count. A connection that the node does not keep is a failure.
///
/// # Errors
/// A connection cannot be built up, is not taken or does not stay, or the process cannot be looked at.
pub async fn hold(
    node: SocketAddr,
    pid: u32,
    connections: usize,
    taken: impl AsyncFn() -> anyhow::Result<usize>,
    watch: &Watch,
) -> anyhow::Result<Held> {
    let memory = || process::resident_kb(pid).context("the node's memory cannot be read");
    let before_kb = memory()?;
    let mut streams: Vec<TcpStream> = Vec::with_capacity(connections);
    while streams.len() < connections {
        let mut batch = tokio::task::JoinSet::new();
        for index in streams.len()..connections.min(streams.len() + BATCH) {
            batch.spawn(async move {
                let socket = TcpSocket::new_v4()?;
                // A bound address costs the system a search through its ports, so the first ones take what it gives. The
                // others are this node's alone, since several generators may be beside each other.
                if index >= PER_SOURCE {
                    let [high, low] = node.port().to_be_bytes();
                    let source = Ipv4Addr::new(127, high, low, (index / PER_SOURCE) as u8);
                    socket.bind(SocketAddr::from((source, 0)))?;
                }
                socket.connect(node).await
            });
        }
        while let Some(done) = batch.join_next().await {
            streams.push(done?.with_context(|| format!("after {} connections", streams.len()))?);
        }
        let (done, total) = (streams.len() as u64, connections as u64);
        watch(Progress { phase: "connecting", done, total, rate: 0 });
    }
    // The system completes a connection before the node takes it; only a taken one costs the node what is measured.
    let begun = Instant::now();
    while taken().await? < connections {
        if begun.elapsed() > TAKEN_MAX {
            anyhow::bail!("the node has taken {} of {connections} connections", taken().await?);
        }
        tokio::time::sleep(POLL).await;
    }
    let after_kb = memory()?;
    let bytes_each = after_kb.saturating_sub(before_kb) * 1_024 / (connections as u64).max(1);
    let held = Held { streams, cost: Idle { connections, before_kb, after_kb, bytes_each } };
    held.all_there()?;
    Ok(held)
}
