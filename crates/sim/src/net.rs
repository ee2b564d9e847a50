//! Sockets: the listener for members and what one connection does. All decisions are the service's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use iso8583::frame::{CUPS_HEARTBEAT, CupsFrame, split_cups};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::line::MemberLine;
use crate::service::{Handling, Service};

/// What all tasks of a simulator share.
#[derive(Clone)]
pub struct Shell {
    /// The desk.
    pub service: Arc<Service>,
    /// The line to the member's listener.
    pub line: Arc<MemberLine>,
    /// Cancelled at shutdown.
    pub stop: CancellationToken,
    /// All tasks, waited for at shutdown.
    pub tasks: TaskTracker,
    /// Connections of members now.
    pub connections: Arc<AtomicUsize>,
}

/// Accepts members until shutdown.
pub async fn listen(shell: Shell, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = shell.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let taken = shell.connections.fetch_add(1, Ordering::SeqCst);
                if taken >= shell.service.config.limits.connections {
                    shell.connections.fetch_sub(1, Ordering::SeqCst);
                    tracing::warn!(%peer, taken, "too many connections: closed at once");
                    continue;
                }
                let own = shell.clone();
                shell.tasks.spawn(async move {
                    serve(&own, stream, peer).await;
                    own.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(shell: &Shell, stream: TcpStream, peer: SocketAddr) {
    tracing::info!(%peer, "member connected");
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let limits = &shell.service.config.limits;
    let (outgoing, queue) = mpsc::channel(limits.in_flight.max(2));
    let close = shell.stop.child_token();
    let heartbeat = Duration::from_millis(shell.service.config.timing.heartbeat);
    let writing = shell.tasks.spawn(write_frames(writer, queue, heartbeat, close.clone()));
    let ended = read_frames(shell, reader, &outgoing, &close).await;
    drop(outgoing);
    if ended == Ended::Dropped {
        close.cancel();
    }
    // After an orderly end the writer sends what is queued, late answers included, and then stops.
    let _ = writing.await;
    close.cancel();
    tracing::info!(%peer, ?ended, "member's line ended");
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The peer closed, or shutdown.
    Closed,
    /// The simulator drops the line.
    Dropped,
}

/// A growing buffer that never exceeds one frame and one read.
pub struct FrameBuffer {
    bytes: Vec<u8>,
    max: usize,
}

impl FrameBuffer {
    /// A buffer for frames up to `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        FrameBuffer { bytes: Vec::with_capacity(8192), max }
    }

    /// Reads once. `Ok(false)` at the end of the stream.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<bool> {
        let mut chunk = [0_u8; 8192];
        let count = reader.read(&mut chunk).await?;
        self.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(count > 0)
    }

    /// Gives each complete frame in the buffer to `each` until it answers `false`; keeps the rest.
    ///
    /// # Errors
    ///
    /// The stream is not a sequence of frames.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), iso8583::FrameError> {
        let mut used = 0;
        let result = loop {
            let rest = self.bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match split_cups(rest, self.max) {
                Ok(None) => break Ok(()),
                Ok(Some((size, CupsFrame::Heartbeat))) => used += size,
                Ok(Some((size, CupsFrame::Message(payload)))) => {
                    used += size;
                    if !each(payload) {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.bytes.drain(..used.min(self.bytes.len()));
        result
    }
}

async fn read_frames(
    shell: &Shell,
    mut reader: impl AsyncRead + Unpin,
    outgoing: &mpsc::Sender<Vec<u8>>,
    close: &CancellationToken,
) -> Ended {
    let mut buffer = FrameBuffer::new(shell.service.config.limits.frame_max);
    let silence = match shell.service.config.timing.silence {
        0 => Duration::MAX,
        ms => Duration::from_millis(ms),
    };
    loop {
        let filled = tokio::select! {
            () = close.cancelled() => return Ended::Closed,
            filled = tokio::time::timeout(silence, buffer.fill(&mut reader)) => filled,
        };
        match filled {
            Ok(Ok(true)) => {}
            Ok(_) => return Ended::Closed,
            Err(_) => {
                tracing::warn!("a silent member: line closed");
                return Ended::Dropped;
            }
        }
        // One frame at a time, because an answer may have to wait for room in the queue.
        loop {
            let mut handling = None;
            let framed = buffer.drain(|payload| {
                handling = Some(shell.service.take(payload));
                false
            });
            if let Err(error) = framed {
                tracing::warn!(%error, "not a frame: line closed");
                return Ended::Dropped;
            }
            let Some(handling) = handling else { break };
            let ended = match (handling.close, handling.send.is_empty()) {
                (false, _) => None,
                // A bounce goes out before the line is closed; a dropped line has nothing to say.
                (true, false) => Some(Ended::Closed),
                (true, true) => Some(Ended::Dropped),
            };
            let orderly = carry_out(shell, handling, outgoing, close).await;
            if let Some(ended) = ended.or(if orderly { None } else { Some(Ended::Closed) }) {
                return ended;
            }
        }
    }
}

/// Sends, delays and starts what a frame calls for. `false` when the line is gone.
async fn carry_out(
    shell: &Shell,
    handling: Handling,
    outgoing: &mpsc::Sender<Vec<u8>>,
    close: &CancellationToken,
) -> bool {
    for frame in handling.send {
        if outgoing.send(frame).await.is_err() {
            return false;
        }
    }
    if let Some((frame, delay)) = handling.later {
        let close = close.clone();
        // The permit is taken now, so that waiting answers count against the bound.
        let Ok(permit) = outgoing.clone().reserve_owned().await else { return false };
        shell.tasks.spawn(async move {
            tokio::select! {
                () = close.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(delay)) => { permit.send(frame); }
            }
        });
    }
    if handling.key_reset {
        let line = Arc::clone(&shell.line);
        let service = Arc::clone(&shell.service);
        shell.tasks.spawn(async move {
            if let Err(error) = line.reset_keys(&service).await {
                tracing::warn!(%error, "key reset failed");
            }
        });
    }
    true
}

/// Writes frames as they come, a heartbeat when none came for a while. Ends when all senders are gone, the
/// line is closed or the peer does not take bytes any more.
pub async fn write_frames(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Vec<u8>>,
    heartbeat: Duration,
    close: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = close.cancelled() => break,
            next = tokio::time::timeout(heartbeat, queue.recv()) => next,
        };
        let mut batch = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(_) => CUPS_HEARTBEAT.to_vec(),
        };
        // Frames that wait already go out with one write.
        while batch.len() < 16_384 {
            match queue.try_recv() {
                Ok(frame) => batch.extend_from_slice(&frame),
                Err(_) => break,
            }
        }
        let written = tokio::select! {
            () = close.cancelled() => break,
            written = writer.write_all(&batch) => written,
        };
        if written.is_err() {
            break;
        }
    }
    let _ = writer.shutdown().await;
}
