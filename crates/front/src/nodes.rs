//! The nodes behind the front: which of them takes a request, over connections that are kept.
//!
//! ```text
//! up     takes requests
//! down   a connection failed, or it says that it is not ready; takes requests only when no node is up
//! ```
//!
//! Once a byte of a request may have left for a node no other node hears it: the terminal gets no answer, and its reversal
//! rule decides. What a second node may try is what the first never saw: a connection that could not be made, or one
//! that was refused at its first byte.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iso8583::frame;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::body;
use crate::config::FrontConfig;

/// Why there is no answer. The text goes back to whoever asked.
#[derive(Debug, Error)]
pub enum Failure {
    /// No node can be reached. Nothing has left.
    #[error("no node can be reached")]
    NoNode,
    /// Every node has as many requests as it may. Nothing has left.
    #[error("every node is busy")]
    Busy,
    /// It may have left, and no answer came in time.
    #[error("no answer came in time")]
    Late,
    /// It may have left, and the node closed the connection.
    #[error("the node closed the connection without an answer")]
    Closed,
    /// What came is not the answer to this request.
    #[error("what came is not the answer to this request")]
    Foreign,
    /// The connection broke.
    #[error("the connection to the node broke")]
    Broken(#[source] io::Error),
    /// The frame cannot be sent, or what came is no frame.
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    /// The same, of a body.
    #[error(transparent)]
    Body(#[from] body::BodyError),
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Where it takes terminals, host:port.
    pub pos: String,
    /// Where it tells whether it is ready, host:port; without it a connection to `pos` must do.
    pub ops: Option<String>,
}

/// A connection at rest.
struct Resting {
    stream: TcpStream,
    since: Instant,
}

struct Node {
    address: NodeAddress,
    up: AtomicBool,
    under_way: AtomicUsize,
    places: Semaphore,
    resting: Mutex<Vec<Resting>>,
}

impl Node {
    /// The connection that rested last, unless the node has closed it or said something that nobody asked for.
    fn rested(&self, idle_max: Duration) -> Option<TcpStream> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Resting { stream, since }) = resting.pop() {
            if since.elapsed() > idle_max {
                // Those below have rested longer.
                resting.clear();
                return None;
            }
            if matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
        None
    }

    fn rest(&self, stream: TcpStream) {
        let resting = Resting { stream, since: Instant::now() };
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).push(resting);
    }

    fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn turn(&self, up: bool, why: &str) {
        if self.up.swap(up, Ordering::Relaxed) != up {
            if up {
                tracing::info!(node = self.address.pos, why, "the node takes requests again");
            } else {
                tracing::warn!(node = self.address.pos, why, "the node is passed over");
            }
        }
        let value = if up { 1.0 } else { 0.0 };
        metrics::gauge!("posp_front_node_up", "node" => self.address.pos.clone()).set(value);
        if !up {
            self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// A request under way, counted.
struct UnderWay<'a>(&'a Node);

impl<'a> UnderWay<'a> {
    fn at(node: &'a Node) -> Self {
        node.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(node)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How an attempt at one node ended.
enum Attempt {
    /// With its answer.
    Answer(Vec<u8>),
    /// Nothing has left; another node may try.
    NotSent(&'static str),
    /// The node has no place.
    Full,
    /// It may have left.
    Failed(Failure),
}

/// The nodes.
pub struct Nodes {
    nodes: Vec<Node>,
    next: AtomicUsize,
    frame_max: usize,
    connect_patience: Duration,
    idle_max: Duration,
    interval: Duration,
}

impl Nodes {
    /// All nodes; each is taken for up until something shows otherwise.
    pub fn new(addresses: Vec<NodeAddress>, config: &FrontConfig) -> Self {
        let nodes = addresses.into_iter().map(|address| Node {
            address,
            up: AtomicBool::new(true),
            under_way: AtomicUsize::new(0),
            places: Semaphore::new(config.node_connections_max),
            resting: Mutex::default(),
        });
        Nodes {
            nodes: nodes.collect(),
            next: AtomicUsize::new(0),
            frame_max: config.frame_max,
            connect_patience: config.connect_patience,
            idle_max: config.node_idle_max,
            interval: config.health_interval,
        }
    }

    /// How many of how many are up.
    pub fn up(&self) -> (usize, usize) {
        (self.nodes.iter().filter(|node| node.is_up()).count(), self.nodes.len())
    }

    /// Asks a node and gives its answer, both without the length.
    ///
    /// # Errors
    /// There is no answer; [`Failure`] says whether the request may have left.
    pub async fn exchange(&self, payload: &[u8], deadline: Instant) -> Result<Vec<u8>, Failure> {
        let framed = body::framed(payload)?;
        let mut failure = Failure::NoNode;
        for node in self.in_turn() {
            match self.attempt(node, &framed, payload, deadline).await {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::NotSent(why) => node.turn(false, why),
                Attempt::Full => failure = Failure::Busy,
            }
        }
        Err(failure)
    }

    /// Nodes that are up, the least busy first and else by turns; then the others, for what it is worth.
    fn in_turn(&self) -> Vec<&Node> {
        let from = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.nodes.len().max(1);
        let mut order: Vec<&Node> =
            self.nodes.iter().cycle().skip(from % count).take(self.nodes.len()).collect();
        order.sort_by_key(|node| (!node.is_up(), node.under_way.load(Ordering::Relaxed)));
        order
    }

    async fn attempt(&self, node: &Node, framed: &[u8], payload: &[u8], deadline: Instant) -> Attempt {
        let Ok(_place) = node.places.try_acquire() else { return Attempt::Full };
        let _counted = UnderWay::at(node);
        let mut stream = match node.rested(self.idle_max) {
            Some(stream) => stream,
            None => match dial(&node.address.pos, self.connect_patience, deadline).await {
                Ok(stream) => stream,
                Err(why) => return Attempt::NotSent(why),
            },
        };
        // An error at the first byte: the system has taken none.
        let sent = match timeout_at(deadline, stream.write(framed)).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(_)) => return Attempt::NotSent("the connection was closed"),
            Err(_) => return Attempt::Failed(Failure::Late),
        };
        let rest = framed.get(sent..).unwrap_or_default();
        let exchanged = async {
            stream.write_all(rest).await.map_err(Failure::Broken)?;
            self.receive(&mut stream).await
        };
        match timeout_at(deadline, exchanged).await {
            Err(_) => Attempt::Failed(Failure::Late),
            Ok(Err(failure)) => Attempt::Failed(failure),
            Ok(Ok(answer)) if !body::belongs(payload, &answer) => Attempt::Failed(Failure::Foreign),
            Ok(Ok(answer)) => {
                node.rest(stream);
                Attempt::Answer(answer)
            }
        }
    }

    /// One whole frame, and nothing behind it.
    async fn receive(&self, stream: &mut TcpStream) -> Result<Vec<u8>, Failure> {
        let mut input = Vec::with_capacity(512);
        loop {
            if let Some((used, payload)) = frame::split(&input, self.frame_max)? {
                if used != input.len() {
                    return Err(Failure::Foreign);
                }
                return Ok(payload.to_vec());
            }
            match stream.read_buf(&mut input).await {
                Ok(0) => return Err(Failure::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Failure::Closed),
                Err(error) => return Err(Failure::Broken(error)),
            }
        }
    }

    /// Looks at every node again and again until the stop.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = JoinSet::new();
        for place in 0..self.nodes.len() {
            looks.spawn(Arc::clone(&self).watch_one(place));
        }
        stop.cancelled().await;
        looks.shutdown().await;
    }

    async fn watch_one(self: Arc<Self>, place: usize) {
        let Some(node) = self.nodes.get(place) else { return };
        let mut every = tokio::time::interval(self.interval);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            match look(&node.address, self.connect_patience).await {
                Ok(()) => node.turn(true, "it is ready"),
                Err(why) => node.turn(false, &why),
            }
        }
    }
}

async fn dial(address: &str, patience: Duration, deadline: Instant) -> Result<TcpStream, &'static str> {
    let until = deadline.min(Instant::now() + patience);
    let stream = match timeout_at(until, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) => return Err("no connection can be made"),
        Err(_) => return Err("no connection could be made in time"),
    };
    stream.set_nodelay(true).map_err(|_| "no connection can be made")?;
    Ok(stream)
}

/// Whether a node is fit: its page `/readyz` says 200, or it takes a connection where it has no such page.
async fn look(address: &NodeAddress, patience: Duration) -> Result<(), String> {
    let Some(ops) = &address.ops else {
        return match timeout(patience, TcpStream::connect(&address.pos)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no connection could be made in time".to_owned()),
        };
    };
    let asked = async {
        let stream = TcpStream::connect(ops).await.map_err(|error| error.to_string())?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
        let request = hyper::Request::get("/readyz")
            .header(hyper::header::HOST, ops)
            .header(hyper::header::CONNECTION, "close")
            .body(http_body_util::Empty::<hyper::body::Bytes>::new())
            .map_err(|error| error.to_string())?;
        // It ends by itself with the answer, or with the connection when this look is given up.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        match answer.map_err(|error| error.to_string())?.status() {
            hyper::StatusCode::OK => Ok(()),
            status => Err(format!("it says {status}")),
        }
    };
    timeout(patience, asked)
        .await
        .unwrap_or_else(|_| Err("it did not say in time whether it is ready".to_owned()))
}
