//! The bare relay: bytes of a payment's size through three processes with nothing done to them. What a payment costs
//! is read against this.
//!
//! ```text
//! generator ── frame ──▶ relay ── frame in a network frame ──▶ echo
//!           ◀── frame ──       ◀───────────────────────────────
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Bytes of a terminal's sale with PIN and MAC.
pub const TERMINAL_BYTES: usize = 190;
/// Bytes of the network message made of it.
pub const NETWORK_BYTES: usize = 420;
/// Bytes that tell an answer's request, at the start of a network frame.
const NUMBER: usize = 8;
/// Frames that may wait for the line.
const QUEUE: usize = 4_096;

async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin), frame: &mut Vec<u8>) -> std::io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    frame.resize(length, 0);
    stream.read_exact(frame).await.map(|_| ())
}

fn with_length(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 2);
    frame.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Writes frames as they come, those that wait already with one write.
async fn write_all(mut writer: impl AsyncWriteExt + Unpin, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(mut batch) = queue.recv().await {
        while batch.len() < 16_384 {
            let Ok(more) = queue.try_recv() else { break };
            batch.extend_from_slice(&more);
        }
        if writer.write_all(&batch).await.is_err() {
            return;
        }
    }
}

/// Plays the network: gives every frame back, until the process ends.
///
/// # Errors
/// The listener's.
pub async fn echo(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (outgoing, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(writer, queue));
        tokio::spawn(async move {
            let mut reader = tokio::io::BufReader::with_capacity(16_384, reader);
            let mut frame = Vec::new();
            while read_frame(&mut reader, &mut frame).await.is_ok() {
                if outgoing.send(with_length(&frame)).await.is_err() {
                    return;
                }
            }
        });
    }
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>;

/// Plays the node: takes frames of terminals, sends each to the network in a larger one, gives it back when that
/// comes back.
///
/// # Errors
/// The listener's, or the network cannot be reached.
pub async fn relay(listener: TcpListener, network: SocketAddr) -> anyhow::Result<()> {
    let line = TcpStream::connect(network).await?;
    line.set_nodelay(true)?;
    let (reader, writer) = line.into_split();
    let (outgoing, queue) = mpsc::channel(QUEUE);
    tokio::spawn(write_all(writer, queue));
    let waiting = Waiting::default();
    let answered = Arc::clone(&waiting);
    tokio::spawn(async move {
        let mut reader = tokio::io::BufReader::with_capacity(16_384, reader);
        let mut frame = Vec::new();
        while read_frame(&mut reader, &mut frame).await.is_ok() {
            let number = frame.first_chunk::<NUMBER>().map(|bytes| u64::from_be_bytes(*bytes));
            let mut waiting = answered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(terminal) = number.and_then(|number| waiting.remove(&number)) {
                let _ = terminal.send(());
            }
        }
    });
    let numbers = Arc::new(AtomicU64::new(0));
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (outgoing, waiting, numbers) = (outgoing.clone(), Arc::clone(&waiting), Arc::clone(&numbers));
        tokio::spawn(async move {
            let (mut frame, mut buffer) = (Vec::new(), vec![0; NETWORK_BYTES]);
            loop {
                let (reader, mut writer) = stream.split();
                let mut reader = tokio::io::BufReader::with_capacity(1_024, reader);
                if read_frame(&mut reader, &mut frame).await.is_err() {
                    return;
                }
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let (back, came) = oneshot::channel();
                waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, back);
                if let Some(place) = buffer.first_chunk_mut::<NUMBER>() {
                    *place = number.to_be_bytes();
                }
                if outgoing.send(with_length(&buffer)).await.is_err() || came.await.is_err() {
                    return;
                }
                if writer.write_all(&with_length(&frame)).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends frames through a relay on so many connections, one under way on each, and counts the round trips a second.
///
/// # Errors
/// The relay cannot be reached or gives something else back.
pub fn round_trips(relay: SocketAddr, connections: usize, span: Duration) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let count = Arc::new(AtomicU64::new(0));
        let warm = Instant::now() + span / 4;
        let end = warm + span;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let count = Arc::clone(&count);
            tasks.spawn(async move {
                let mut stream = TcpStream::connect(relay).await?;
                stream.set_nodelay(true)?;
                let frame = with_length(&[0x60; TERMINAL_BYTES]);
                let mut back = vec![0; frame.len()];
                loop {
                    stream.write_all(&frame).await?;
                    stream.read_exact(&mut back).await?;
                    if back != frame {
                        bail!("other bytes came back");
                    }
                    let now = Instant::now();
                    if now >= end {
                        return Ok(());
                    }
                    if now >= warm {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(count.load(Ordering::Relaxed) / span.as_secs().max(1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_round() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = runtime.block_on(async {
            let network = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let terminals = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (network_at, address) = (network.local_addr().unwrap(), terminals.local_addr().unwrap());
            tokio::spawn(echo(network));
            tokio::spawn(relay(terminals, network_at));
            address
        });
        assert!(round_trips(address, 4, Duration::from_secs(1)).unwrap() > 0);
    }
}
