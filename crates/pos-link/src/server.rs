//! Sockets: accept, read frames within limits, write answers, drain.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use gate::{Gate, Limits, Pass, Warnings};
use iso8583::frame;
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::LinkConfig;
use crate::handler::{self, Verdict};
use crate::pool::{Borrowed, Pool};
use crate::profile::Spoken;

/// Connections that the system completes and holds until they are accepted: what a storm may bring between two
/// looks without costing others theirs.
const BACKLOG: i32 = 4_096;

/// Bytes that the system holds for a connection in each direction (it doubles the value): several answers, so that
/// a terminal that does not read costs no more before its line is closed.
const SYSTEM_BUFFER: usize = 32 * 1_024;

/// A silent peer is asked for a sign of life after so long, and so often; a half-open line is noticed so.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// What the connections of a listener share.
pub struct Link {
    /// The engine behind the door.
    pub engine: Engine,
    /// Settings.
    pub config: LinkConfig,
    /// Place of the listener's profile among those of the settings.
    profile: usize,
    /// How many warnings may be written.
    pub warnings: Warnings,
    pool: Arc<Pool>,
    /// Ends connections at rest.
    stop: CancellationToken,
}

impl Link {
    /// What the connections of a listener with these settings and the baseline profile share.
    pub fn new(engine: Engine, config: LinkConfig) -> Self {
        let (pool, stop) = (Pool::new(config.frame_max), CancellationToken::new());
        Link { engine, config, profile: 0, warnings: Warnings::new("posp_link_unlogged_total"), pool, stop }
    }

    /// The profile of the listener.
    pub fn spoken(&self) -> &Spoken {
        self.config.profiles.at(self.profile)
    }
}

/// A socket that terminals connect to, and what they speak there.
pub struct Listening {
    /// The socket.
    pub socket: TcpListener,
    /// Place of its profile among those of the settings.
    pub profile: usize,
}

/// Serves terminals on all listeners until `stop`, then lets every frame that is in work have its answer and returns.
/// The limits hold for all listeners together: who may have so much has it once, through whichever door.
pub async fn serve(listeners: Vec<Listening>, engine: Engine, config: LinkConfig, stop: CancellationToken) {
    let gate = Gate::new(Limits {
        connections: config.connections_max,
        per_guest: config.connections_per_address_max,
        per_second: config.connects_per_second_max,
        requests: config.frames_per_address_max,
    });
    let doors = TaskTracker::new();
    for Listening { socket, profile } in listeners {
        if let Err(error) = prepare(&socket, &config) {
            tracing::warn!(%error, "the listener keeps the system's settings");
        }
        let link = Link { stop: stop.clone(), profile, ..Link::new(engine.clone(), config.clone()) };
        doors.spawn(accept(socket, Arc::new(link), Arc::clone(&gate)));
    }
    doors.close();
    doors.wait().await;
}

/// Takes connections of one listener until the stop, then waits for their ends.
async fn accept(listener: TcpListener, link: Arc<Link>, gate: Arc<Gate>) {
    let counted = ("posp_link_refused_total", &link.warnings);
    let enter = |peer: SocketAddr| gate.enter(peer.ip(), Instant::now());
    gate::accept(listener, &link.stop, counted, enter, |stream, peer, pass| {
        connection(Arc::clone(&link), stream, peer, pass)
    })
    .await;
}

/// Sets on the listener what its connections take over.
fn prepare(listener: &TcpListener, config: &LinkConfig) -> rustix::io::Result<()> {
    rustix::net::listen(listener, BACKLOG)?;
    sockopt::set_socket_recv_buffer_size(listener, SYSTEM_BUFFER)?;
    sockopt::set_socket_send_buffer_size(listener, SYSTEM_BUFFER)?;
    sockopt::set_socket_keepalive(listener, true)?;
    let (after, every, times) = KEEPALIVE;
    sockopt::set_tcp_keepidle(listener, after)?;
    sockopt::set_tcp_keepintvl(listener, every)?;
    sockopt::set_tcp_keepcnt(listener, times)?;
    // What was written and is not acknowledged for so long never will be.
    let patience = u32::try_from(config.write_patience.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(listener, patience)
}

async fn connection(link: Arc<Link>, stream: TcpStream, peer: SocketAddr, pass: Pass) {
    metrics::gauge!("posp_link_connections").increment(1.0);
    let end = converse(&link, stream, peer, &pass).await;
    metrics::gauge!("posp_link_connections").decrement(1.0);
    metrics::counter!("posp_link_closed_total", "reason" => end.label()).increment(1);
    end.log(&link.warnings, peer);
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    PeerClosed,
    Idle,
    Stopping,
    SlowFrame,
    SlowReader,
    BadFrame(String),
    Refused(&'static str),
    Io(io::Error),
}

impl End {
    fn label(&self) -> &'static str {
        match self {
            End::PeerClosed => "peer closed",
            End::Idle => "idle",
            End::Stopping => "stopping",
            End::SlowFrame => "frame not complete in time",
            End::SlowReader => "answer not taken in time",
            End::BadFrame(_) => "bad frame",
            End::Refused(reason) => reason,
            End::Io(_) => "connection error",
        }
    }

    fn log(&self, warnings: &Warnings, peer: SocketAddr) {
        match self {
            End::PeerClosed | End::Idle | End::Stopping => {
                tracing::debug!(%peer, reason = self.label(), "connection closed");
            }
            End::Io(error) => tracing::debug!(%peer, %error, "connection closed"),
            _ if !warnings.may_write() => {}
            End::BadFrame(detail) => {
                tracing::warn!(%peer, reason = self.label(), detail, "connection closed");
            }
            _ => tracing::warn!(%peer, reason = self.label(), "connection closed"),
        }
    }
}

/// A connection's life. Between frames nothing is held but the socket: this future is what an idle terminal costs,
/// so what happens while something arrives is boxed and gone afterwards.
async fn converse(link: &Link, mut stream: TcpStream, peer: SocketAddr, pass: &Pass) -> End {
    if let Err(error) = stream.set_nodelay(true) {
        return End::Io(error);
    }
    loop {
        let arrived = tokio::select! {
            () = link.stop.cancelled() => return End::Stopping,
            arrived = timeout(link.config.idle_max, arrival(link, &mut stream)) => arrived,
        };
        let buffers = match arrived {
            Err(_) => return End::Idle,
            Ok(Err(error)) => return End::Io(error),
            Ok(Ok(buffers)) if buffers.input.is_empty() => return End::PeerClosed,
            Ok(Ok(buffers)) => buffers,
        };
        if let Err(end) = Box::pin(exchange(link, &mut stream, peer, pass, buffers)).await {
            return end;
        }
    }
}

/// Waits for bytes, and gives them in the buffers that were borrowed for them; empty at the end of the stream. No
/// buffer is held while it waits.
async fn arrival(link: &Link, stream: &mut TcpStream) -> io::Result<Borrowed> {
    std::future::poll_fn(|context| {
        let mut buffers = link.pool.borrow();
        let read = pin!(stream.read_buf(&mut buffers.input)).poll(context);
        read.map_ok(|_| buffers)
    })
    .await
}

/// Takes frames and answers them until no byte is left, with buffers that are borrowed for so long.
async fn exchange(
    link: &Link,
    stream: &mut TcpStream,
    peer: SocketAddr,
    pass: &Pass,
    mut buffers: Borrowed,
) -> Result<(), End> {
    // One deadline for a whole frame, from when its first byte was seen: who sends byte by byte does not stretch it.
    let mut deadline = Instant::now() + link.config.frame_patience;
    loop {
        let buffers = &mut *buffers;
        let frame = match frame::split(&buffers.input, link.config.frame_max) {
            Err(error) => return Err(End::BadFrame(error.to_string())),
            Ok(frame) => frame,
        };
        let Some((consumed, payload)) = frame else {
            match timeout_at(deadline, stream.read_buf(&mut buffers.input)).await {
                Ok(Ok(0)) => return Err(End::BadFrame("the connection ended inside a frame".to_owned())),
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => return Err(End::Io(error)),
                Err(_) => return Err(End::SlowFrame),
            }
        };
        buffers.output.clear();
        let turn = pass.turn().await;
        let verdict = handler::handle(link, payload, peer, &mut buffers.output).await;
        drop(turn);
        match verdict {
            Verdict::Answer => answer(link, stream, &buffers.output).await?,
            Verdict::Close(reason) => return Err(End::Refused(reason)),
        }
        buffers.input.drain(..consumed);
        if buffers.input.is_empty() {
            return if link.stop.is_cancelled() { Err(End::Stopping) } else { Ok(()) };
        }
        // Many frames in one go: the others are served between two of them.
        tokio::task::yield_now().await;
        deadline = Instant::now() + link.config.frame_patience;
    }
}

/// Writes an answer. Who does not take it in time loses the connection, and the answer with it: the terminal's own
/// reversal rule takes over.
async fn answer(link: &Link, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), End> {
    // Nearly always it fits into the system's buffer, and no timer is needed.
    let sent = match stream.try_write(bytes) {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(End::Io(error)),
    };
    let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) else { return Ok(()) };
    match timeout(link.config.write_patience, stream.write_all(rest)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Io(error)),
        Err(_) => Err(End::SlowReader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection holds of our own memory is this future. Whatever makes it grow is paid a hundred
    /// thousand times.
    #[test]
    fn an_idle_connection_is_a_small_future() {
        fn size<F, O>(_: F) -> usize
        where
            F: Fn(Arc<Link>, TcpStream, SocketAddr, Pass) -> O,
        {
            size_of::<O>()
        }
        let bytes = size(connection);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
