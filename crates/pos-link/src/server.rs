//! Sockets: accept, read frames within limits, write answers, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::Engine;
use iso8583::{Dialect, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::LinkConfig;
use crate::handler::{self, Verdict};

/// Read buffer of a connection to begin with; it grows to the frame limit at most.
const BUFFER: usize = 1_024;

/// What the connections of a listener share.
pub struct Link {
    /// The engine behind the door.
    pub engine: Engine,
    /// Settings.
    pub config: LinkConfig,
    /// The dialect with the profile's switches set.
    pub dialect: &'static Dialect,
}

/// Serves terminals until `stop`, then lets every frame that is in work have its answer and returns.
pub async fn serve(listener: TcpListener, engine: Engine, config: LinkConfig, stop: CancellationToken) {
    let dialect = Dialect::for_profile(&config.profile);
    let places = Arc::new(Semaphore::new(config.connections_max));
    let link = Arc::new(Link { engine, config, dialect });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer gone before we looked: go on, but not in a tight loop.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("posp_link_refused_total", "reason" => "too many connections").increment(1);
            tracing::warn!(%peer, "too many connections; closed");
            continue;
        };
        let (link, stop) = (Arc::clone(&link), stop.clone());
        connections.spawn(async move {
            metrics::gauge!("posp_link_connections").increment(1.0);
            let end = converse(&link, stream, peer, &stop).await;
            metrics::gauge!("posp_link_connections").decrement(1.0);
            metrics::counter!("posp_link_closed_total", "reason" => end.label()).increment(1);
            end.log(peer);
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
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

    fn log(&self, peer: SocketAddr) {
        match self {
            End::PeerClosed | End::Idle | End::Stopping => {
                tracing::debug!(%peer, reason = self.label(), "connection closed");
            }
            End::BadFrame(detail) => {
                tracing::warn!(%peer, reason = self.label(), detail, "connection closed");
            }
            End::Io(error) => tracing::debug!(%peer, %error, "connection closed"),
            _ => tracing::warn!(%peer, reason = self.label(), "connection closed"),
        }
    }
}

async fn converse(link: &Link, mut stream: TcpStream, peer: SocketAddr, stop: &CancellationToken) -> End {
    if let Err(error) = stream.set_nodelay(true) {
        return End::Io(error);
    }
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
    let mut out: Vec<u8> = Vec::with_capacity(BUFFER);
    loop {
        match frame::split(&buffer, link.config.frame_max) {
            Err(error) => return End::BadFrame(error.to_string()),
            Ok(Some((consumed, payload))) => {
                out.clear();
                match handler::handle(link, payload, peer, &mut out).await {
                    Verdict::Answer => {
                        match timeout(link.config.write_patience, stream.write_all(&out)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => return End::Io(error),
                            Err(_) => return End::SlowReader,
                        }
                    }
                    Verdict::Close(reason) => return End::Refused(reason),
                }
                buffer.drain(..consumed);
                if stop.is_cancelled() && buffer.is_empty() {
                    return End::Stopping;
                }
            }
            Ok(None) => {
                if let Err(end) = read_more(link, &mut stream, &mut buffer, stop).await {
                    return end;
                }
            }
        }
    }
}

/// Reads until another frame may be complete. Between frames the connection may rest and a stop ends it;
/// within a frame the sender must be quick.
async fn read_more(
    link: &Link,
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    stop: &CancellationToken,
) -> Result<(), End> {
    if buffer.is_empty() {
        let read = tokio::select! {
            () = stop.cancelled() => return Err(End::Stopping),
            read = timeout(link.config.idle_max, stream.read_buf(buffer)) => read,
        };
        return match read {
            Ok(Ok(0)) => Err(End::PeerClosed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(End::Io(error)),
            Err(_) => Err(End::Idle),
        };
    }
    // One deadline for the whole rest of the frame: byte-by-byte senders do not stretch it.
    let complete = async {
        loop {
            if stream.read_buf(buffer).await? == 0 {
                return Ok(false);
            }
            match frame::split(buffer, link.config.frame_max) {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return Ok(true),
            }
        }
    };
    match timeout(link.config.frame_patience, complete).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(End::BadFrame("the connection ended inside a frame".to_owned())),
        Ok(Err(error)) => Err(End::Io(error)),
        Err(_) => Err(End::SlowFrame),
    }
}
