//! The card network: the CUPS line.
//!
//! Two TCP connections make a line. We connect to the network for our requests, and their answers come back
//! there; the network connects to our listener for what it begins itself (key resets, cut-over, echo).
//! [`line`] keeps the first, [`inbound`] the second, [`message`] maps payments to fields and back,
//! [`keys`] holds the zone keys.

mod complaints;
mod config;
mod day;
mod inbound;
pub mod keys;
mod line;
pub mod message;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acquiring::{Clock, ResponseCode};
use hsm::{Hsm, PinFormat};

use iso8583::{CUPS, Draft, frame};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{
    BoxFuture, Channel, ForwardRequest, LineStatus, NetworkRequest, Outcome, PrepareError, Prepared,
    Unsolicited,
};

use complaints::Complaints;
pub use config::LineConfig;
use keys::ZoneKeys;
use line::Line;
use message::{Mapped, MappingError, Parties};

/// A stream of bytes that is not a socket.
pub trait Wire: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Wire for T {}

/// What a line's two connections run over when it is not TCP: the memory of a simulation.
pub trait Wires: Send + Sync + 'static {
    /// Connects to the network, for our requests.
    fn dial(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Wire>>>;
    /// Waits for a connection that the network makes to us.
    fn accept(&self) -> BoxFuture<'_, std::io::Result<Box<dyn Wire>>>;
}

/// Why a line cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The address for the network's own connections cannot be taken.
    #[error("the listener for the network at {address} cannot be opened")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The card network behind the channel trait.
pub struct UnionPayCard {
    shared: Arc<Shared>,
    listener: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the two connections of a line share.
pub(crate) struct Shared {
    pub(crate) config: LineConfig,
    pub(crate) parties: Parties,
    pub(crate) hsm: Arc<dyn Hsm>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: ZoneKeys,
    pub(crate) line: Line,
    pub(crate) unsolicited: mpsc::Sender<Unsolicited>,
    /// Instead of TCP.
    pub(crate) wires: Option<Arc<dyn Wires>>,
    /// What the log has heard of the peer.
    complaints: Complaints,
}

impl Shared {
    fn of(
        config: LineConfig,
        hsm: Arc<dyn Hsm>,
        clock: Arc<dyn Clock>,
        unsolicited: mpsc::Sender<Unsolicited>,
        wires: Option<Arc<dyn Wires>>,
    ) -> Arc<Self> {
        Arc::new(Shared {
            parties: Parties { member: config.member.clone(), network: config.network_id.clone() },
            keys: ZoneKeys::new(config.key_overlap),
            line: Line::new(config.in_flight_max, config.management_from),
            config,
            hsm,
            clock,
            unsolicited,
            wires,
            complaints: Complaints::default(),
        })
    }

    /// Computes field 128 over the message and frames it; gives frame and masked message.
    pub(crate) fn seal(&self, draft: &mut Draft) -> Result<(Vec<u8>, Vec<u8>), PrepareError> {
        let failed = |code, reason: String| PrepareError { code, reason };
        let malformed = |error: &dyn std::fmt::Display| {
            failed(ResponseCode::FORMAT_ERROR, format!("the network message cannot be built: {error}"))
        };
        let mut body = Vec::with_capacity(512);
        draft.write(&mut body).map_err(|e| malformed(&e))?;
        let parsed = CUPS.parse(&body).map_err(|e| malformed(&e))?;
        let mut text = Vec::with_capacity(256);
        iso8583::cups::mac_text(&parsed, &mut text);
        let mac = self
            .keys
            .sign(self.hsm.as_ref(), &text)
            .ok_or_else(|| failed(ResponseCode::NO_ROUTE, "no zone MAC key yet".to_owned()))?
            .map_err(|e| failed(ResponseCode::SECURITY_FAILURE, e.to_string()))?;
        draft.put_bytes(128, &mac).map_err(|e| malformed(&e))?;
        self.frame(draft)
    }

    /// Frames a message as it is.
    pub(crate) fn frame(&self, draft: &Draft) -> Result<(Vec<u8>, Vec<u8>), PrepareError> {
        let malformed = |error: &dyn std::fmt::Display| PrepareError {
            code: ResponseCode::FORMAT_ERROR,
            reason: format!("the network message cannot be built: {error}"),
        };
        let mut out = Vec::with_capacity(640);
        let mark = frame::begin_cups(&mut out, &self.parties.header());
        let body_at = out.len();
        draft.write(&mut out).map_err(|e| malformed(&e))?;
        let body = out.get(body_at..).unwrap_or_default();
        let parsed = CUPS.parse(body).map_err(|e| malformed(&e))?;
        let mut masked = Vec::with_capacity(body.len());
        iso8583::mask::mask_message(&parsed, &mut masked);
        frame::finish_cups(&mut out, mark).map_err(|e| malformed(&e))?;
        Ok((out, masked))
    }

    fn prepared(&self, mapped: Result<Mapped, MappingError>) -> Result<Prepared, PrepareError> {
        let mut mapped = mapped
            .map_err(|error| PrepareError { code: ResponseCode::FORMAT_ERROR, reason: error.to_string() })?;
        let (frame, masked) = self.seal(&mut mapped.draft)?;
        Ok(Prepared { key: mapped.key, frame, masked, correlation: mapped.correlation })
    }
}

impl UnionPayCard {
    /// Opens the listener and begins to build the line up; payments are answered 91 until it is ready.
    pub async fn start(
        config: LineConfig,
        hsm: Arc<dyn Hsm>,
        clock: Arc<dyn Clock>,
        unsolicited: mpsc::Sender<Unsolicited>,
    ) -> Result<Arc<Self>, LineError> {
        let address = config.listen;
        let listen = |source| LineError::Listen { address, source };
        let socket = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let listener = socket.local_addr().map_err(listen)?;
        let shared = Shared::of(config, hsm, clock, unsolicited, None);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(inbound::serve(Arc::clone(&shared), socket, stop.clone(), tasks.clone()));
        tasks.spawn(line::keep(Arc::clone(&shared), stop.clone()));
        Ok(Arc::new(UnionPayCard { shared, listener, stop, tasks }))
    }

    /// The same line over wires of the caller's, without a socket.
    pub fn start_over(
        wires: Arc<dyn Wires>,
        config: LineConfig,
        hsm: Arc<dyn Hsm>,
        clock: Arc<dyn Clock>,
        unsolicited: mpsc::Sender<Unsolicited>,
    ) -> Arc<Self> {
        let listener = config.listen;
        let shared = Shared::of(config, hsm, clock, unsolicited, Some(Arc::clone(&wires)));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(inbound::serve_wires(Arc::clone(&shared), wires, stop.clone()));
        tasks.spawn(line::keep(Arc::clone(&shared), stop.clone()));
        Arc::new(UnionPayCard { shared, listener, stop, tasks })
    }

    /// Where the network connects to us.
    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// Signs off, unless other nodes go on, and closes both connections.
    pub async fn shut_down(&self) {
        if self.status().ready && !self.shared.config.shared {
            let signed_off = line::manage(&self.shared, message::SIGN_OFF).await;
            if let Err(error) = signed_off {
                tracing::warn!(error, "sign-off was not acknowledged");
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Channel for UnionPayCard {
    fn line(&self) -> &str {
        &self.shared.config.name
    }

    fn prepare(&self, request: &NetworkRequest) -> Result<Prepared, PrepareError> {
        let shared = &self.shared;
        let pin = match &request.pin {
            None => None,
            Some(pin) => {
                let zone_key = shared.keys.pin().ok_or(PrepareError {
                    code: ResponseCode::NO_ROUTE,
                    reason: "no zone PIN key yet".to_owned(),
                })?;
                let format = match zone_key.algorithm() {
                    hsm::KeyAlgorithm::Sm4 => PinFormat::Sm4Extended,
                    _ => PinFormat::Iso0,
                };
                let translated = shared
                    .hsm
                    .translate_pin(&pin.block, &pin.key, &zone_key, format, request.pan.reveal())
                    .map_err(|error| PrepareError {
                        code: ResponseCode::PIN_FORMAT,
                        reason: error.to_string(),
                    })?;
                Some(translated)
            }
        };
        shared.prepared(message::financial(&shared.parties, request, pin.as_ref()))
    }

    fn prepare_forward(&self, request: &ForwardRequest<'_>) -> Result<Prepared, PrepareError> {
        self.shared.prepared(message::forward(&self.shared.parties, request))
    }

    fn send<'a>(&'a self, prepared: &'a Prepared, patience: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(line::exchange(&self.shared, prepared, patience))
    }

    fn status(&self) -> LineStatus {
        self.shared.line.status()
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.line.ready())
    }
}
