//! Sockets: accept, TLS, HTTP, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gate::{Full, Gate, Limits, Origin, Pass, Warnings};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Terminal;
use crate::config::FrontConfig;
use crate::http::{self, Peer};
use crate::nodes::Nodes;
use crate::tls::{Tls, common_name};

/// Requests of all terminals in work at a time: the nodes have their own bounds, this one only has to be above them.
const IN_WORK_MAX: usize = 1_000_000;
/// Bytes for the head of a request; a terminal's has some two hundred.
const HEAD_MAX: usize = 16 * 1_024;
/// First byte of every TLS connection: a handshake record.
const HANDSHAKE: u8 = 0x16;
/// What plain HTTP hears at a TLS door.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 32\r\nConnection: close\r\n\r\nHTTPS is spoken here, not HTTP.\n";
/// How often certificate files are looked at.
const REFRESH: Duration = Duration::from_secs(2);

/// A socket that terminals connect to.
pub struct Door {
    /// The socket.
    pub socket: TcpListener,
    /// Its certificates; without them plain HTTP, behind a machine that speaks TLS.
    pub tls: Option<Arc<Tls>>,
}

/// What all connections share.
pub struct Front {
    /// Settings.
    pub config: FrontConfig,
    /// The nodes behind.
    pub nodes: Arc<Nodes>,
    /// How many warnings may be written.
    pub warnings: Warnings,
    /// Requests by address.
    pub addresses: Arc<Gate<Origin>>,
    /// Requests by terminal.
    pub terminals: Arc<Gate<Terminal>>,
    connections: Arc<Gate<Origin>>,
    stop: CancellationToken,
}

impl Front {
    /// With nothing under way.
    pub fn new(config: FrontConfig, nodes: Arc<Nodes>, stop: CancellationToken) -> Arc<Self> {
        let requests = |guest: usize, per_second| Limits {
            connections: IN_WORK_MAX,
            per_guest: guest,
            per_second,
            requests: 1,
        };
        Arc::new(Front {
            addresses: Gate::new(requests(config.requests_per_address_max, config.requests_per_second_max)),
            terminals: Gate::new(requests(config.terminal_requests_max, config.terminal_per_second_max)),
            connections: Gate::new(Limits {
                connections: config.connections_max,
                per_guest: config.connections_per_address_max,
                per_second: config.connects_per_second_max,
                requests: 1,
            }),
            warnings: Warnings::new("posp_front_unlogged_total"),
            config,
            nodes,
            stop,
        })
    }
}

/// Serves terminals at all doors until the stop, then lets every request that is in work have its answer and returns.
pub async fn serve(front: Arc<Front>, doors: Vec<Door>) {
    let tasks = TaskTracker::new();
    tasks.spawn(Arc::clone(&front.nodes).watch(front.stop.clone()));
    for door in doors {
        if let Some(tls) = &door.tls {
            tasks.spawn(keep_fresh(Arc::clone(tls), front.stop.clone()));
        }
        tasks.spawn(accept(Arc::clone(&front), door));
    }
    tasks.close();
    tasks.wait().await;
}

/// Takes changed certificates over.
async fn keep_fresh(tls: Arc<Tls>, stop: CancellationToken) {
    let mut every = tokio::time::interval(REFRESH);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        match tls.refresh() {
            Ok(false) => {}
            Ok(true) => {
                metrics::counter!("posp_front_certificates_total", "result" => "taken").increment(1);
                tracing::info!("the certificates were read again");
            }
            Err(error) => {
                metrics::counter!("posp_front_certificates_total", "result" => "refused").increment(1);
                tracing::error!(%error, "new certificates cannot be used; those before stay in force");
            }
        }
    }
}

async fn accept(front: Arc<Front>, door: Door) {
    let Door { socket, tls } = door;
    let counted = ("posp_front_refused_total", &front.warnings);
    let enter = |address: SocketAddr| enter(&front, address);
    gate::accept(socket, &front.stop, counted, enter, |stream, address, pass| {
        connection(Arc::clone(&front), tls.clone(), stream, address, pass)
    })
    .await;
}

/// A place for a connection. A machine in front of this one brings the connections of all; they are counted by request.
fn enter(front: &Front, address: SocketAddr) -> Result<Option<Pass>, Full> {
    if front.config.forwarded_by.contains(&address.ip().to_canonical()) {
        return Ok(None);
    }
    front.connections.enter(address.ip(), Instant::now()).map(Some)
}

async fn connection(
    front: Arc<Front>,
    tls: Option<Arc<Tls>>,
    stream: TcpStream,
    address: SocketAddr,
    pass: Option<Pass>,
) {
    metrics::gauge!("posp_front_connections").increment(1.0);
    if let Err(reason) = greet(&front, tls, stream, address).await {
        metrics::counter!("posp_front_refused_total", "reason" => reason).increment(1);
        if front.warnings.may_write() {
            tracing::warn!(peer = %address, reason, "connection closed");
        }
    }
    metrics::gauge!("posp_front_connections").decrement(1.0);
    drop(pass);
}

/// Finds out what the peer speaks, and speaks it if it is what the door is for.
async fn greet(
    front: &Arc<Front>,
    tls: Option<Arc<Tls>>,
    mut stream: TcpStream,
    address: SocketAddr,
) -> Result<(), &'static str> {
    // A peer that has gone again has nothing refused.
    if stream.set_nodelay(true).is_err() {
        return Ok(());
    }
    let mut first = [0];
    let patience = front.config.body_patience;
    let seen = tokio::select! {
        () = front.stop.cancelled() => return Ok(()),
        seen = timeout(front.config.idle_max, stream.peek(&mut first)) => seen,
    };
    if !matches!(seen, Ok(Ok(1))) {
        return Ok(());
    }
    match (tls, first == [HANDSHAKE]) {
        (None, false) => {
            converse(front, TokioIo::new(stream), Peer { address, name: None }).await;
            Ok(())
        }
        (None, true) => Err("TLS at a door for plain HTTP"),
        (Some(_), false) => {
            // It is not read to its end; the answer is on its way before the connection closes.
            let _ = timeout(patience, stream.write_all(SPEAK_TLS)).await;
            let _ = timeout(patience, stream.shutdown()).await;
            Err("plain HTTP at a TLS door")
        }
        (Some(tls), true) => {
            let acceptor = TlsAcceptor::from(tls.current());
            let stream = match timeout(patience, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(handshake(&error)),
                Err(_) => return Err("TLS handshake not complete in time"),
            };
            let name = match stream.get_ref().1.peer_certificates() {
                None => None,
                Some(chain) => match chain.first().and_then(common_name) {
                    Some(name) => Some(name),
                    None => return Err("certificate without a common name"),
                },
            };
            converse(front, TokioIo::new(stream), Peer { address, name }).await;
            Ok(())
        }
    }
}

/// A label for a handshake that failed.
fn handshake(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => "certificate not accepted",
        Some(rustls::Error::NoCertificatesPresented) => "certificate missing",
        Some(rustls::Error::AlertReceived(_)) => "our certificate not accepted",
        Some(rustls::Error::PeerIncompatible(_)) => "TLS version or suite not offered",
        _ => "TLS handshake failed",
    }
}

async fn converse<S>(front: &Arc<Front>, io: TokioIo<S>, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| http::serve(Arc::clone(front), peer.clone(), request));
    // Old terminals look for header names as they have always been written.
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(front.config.idle_max)
        .max_buf_size(HEAD_MAX)
        .title_case_headers(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = front.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.address, %error, "connection ended");
    }
}
