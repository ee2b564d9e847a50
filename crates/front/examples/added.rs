//! What the front adds to a payment: the same frames at the same rate to the same node, once over its socket and once
//! through a front, by a schedule that waits for nobody. Each latency counts from when the frame should have left.
//!
//! The ways take turns of a second each, so that what else the machine does meets all of them alike, and what the front
//! adds is the median of the differences between neighbours. A thread of its own keeps the schedule: the timer of the
//! runtime wakes up to a millisecond late, which is more than what is measured.
//!
//! ```sh
//! cargo run --release -p front --example added              # 1,000 a second for 20 turns of a second, each way
//! cargo run --release -p front --example added -- 2000 60   # another rate, other turns
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use front::nodes::NodeAddress;
use front::{Door, Front, FrontConfig, Nodes, Tls, TlsFiles};
use hdrhistogram::Histogram;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Fault = Box<dyn Error + Send + Sync>;

/// Terminals, each on a connection of its own that it keeps.
const TERMINALS: u32 = 64;
const PATH: &str = "/unp/webtrans/WPOS";
/// Frames that may be due at one terminal and not yet sent: more than a second of them.
const DUE_MAX: usize = 4_096;
/// A breath between two turns, and before the first.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Socket,
    Http,
    Https,
}

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let rate: u32 = arguments.next().map_or(Ok(1_000), |text| text.parse())?;
    let turns: u32 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let node = run_apart(|tell| async move {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        tell.send(socket.local_addr()?)?;
        loop {
            let (stream, _) = socket.accept().await?;
            tokio::spawn(answer_all(stream));
        }
    })?;
    let directory = tempfile::tempdir()?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["front".to_owned()])?.self_signed(&key)?;
    let files = TlsFiles {
        certificate: directory.path().join("front.pem"),
        key: directory.path().join("front.key"),
        clients: None,
    };
    std::fs::write(&files.certificate, certificate.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    let tls = Arc::new(Tls::open(files)?);
    let (plain, secure) = (start_front(node, None)?, start_front(node, Some(tls))?);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let client = Arc::new(client);

    println!(
        "{rate} frames a second, {turns} turns of a second each way, {TERMINALS} connections that are kept"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut socket = Fleet::dial(Way::Socket, node, &client).await?;
        let mut http = Fleet::dial(Way::Http, plain, &client).await?;
        let mut https = Fleet::dial(Way::Https, secure, &client).await?;
        // What is done once is done before it counts.
        for fleet in [&mut socket, &mut http, &mut https] {
            fleet.turn(rate).await?;
        }
        let mut all = [Histogram::new(3)?, Histogram::new(3)?, Histogram::new(3)?];
        let mut added = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for _ in 0..turns {
            let own = [socket.turn(rate).await?, http.turn(rate).await?, https.turn(rate).await?];
            for (all, own) in all.iter_mut().zip(&own) {
                all.add(own)?;
            }
            let [direct, fronted @ ..] = &own;
            for ((middle, tail), fronted) in added.iter_mut().zip(fronted) {
                middle.push(difference(fronted, direct, 0.5)?);
                tail.push(difference(fronted, direct, 0.99)?);
            }
        }
        println!("way        p50 µs    p90 µs    p99 µs  p99.9 µs    answers");
        for (way, all) in ["socket", "HTTP", "HTTPS"].iter().zip(&all) {
            let at = |quantile| all.value_at_quantile(quantile);
            let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(at);
            println!("{way:<8} {p50:>8} {p90:>9} {p99:>9} {p999:>9} {:>10}", all.len());
        }
        for (way, (middle, tail)) in ["HTTP", "HTTPS"].iter().zip(added) {
            println!("{way} adds {} µs at p50 and {} µs at p99", median(middle), median(tail));
        }
        Ok(())
    })
}

/// By how much one is later than the other, µs.
fn difference(later: &Histogram<u64>, than: &Histogram<u64>, quantile: f64) -> Result<i64, Fault> {
    let at = |of: &Histogram<u64>| i64::try_from(of.value_at_quantile(quantile));
    Ok(at(later)? - at(than)?)
}

fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Runs a service on a thread and runtime of its own; gives the address that it tells.
fn run_apart<F, S>(service: S) -> Result<SocketAddr, Fault>
where
    S: FnOnce(std::sync::mpsc::SyncSender<SocketAddr>) -> F + Send + 'static,
    F: Future<Output = Result<(), Fault>>,
{
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || -> Result<(), Fault> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(service(tell))
    });
    Ok(told.recv()?)
}

fn start_front(node: SocketAddr, tls: Option<Arc<Tls>>) -> Result<SocketAddr, Fault> {
    run_apart(move |tell| async move {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        tell.send(socket.local_addr()?)?;
        let config = FrontConfig {
            paths: vec![PATH.to_owned()],
            frame_max: 2_048,
            patience: Duration::from_secs(50),
            body_patience: Duration::from_secs(10),
            idle_max: Duration::from_secs(60),
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            connects_per_second_max: 10_000,
            requests_per_address_max: 10_000,
            requests_per_second_max: 1_000_000,
            terminal_requests_max: 10_000,
            terminal_per_second_max: 1_000_000,
            forwarded_by: Vec::new(),
            connect_patience: Duration::from_secs(2),
            node_connections_max: 1_000,
            node_idle_max: Duration::from_secs(240),
            health_interval: Duration::from_secs(1),
        };
        let nodes = vec![NodeAddress { pos: node.to_string(), ops: None }];
        let nodes = Arc::new(Nodes::new(nodes, &config));
        let front = Front::new(config, nodes, CancellationToken::new());
        front::serve(front, vec![Door { socket, tls }]).await;
        Ok(())
    })
}

/// A node that answers at once.
async fn answer_all(mut stream: TcpStream) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    let mut frame = vec![0; 2 + FRAME.len()];
    loop {
        stream.read_exact(&mut frame).await?;
        let [_, _, _, to_high, to_low, from_high, from_low, ..] = frame.as_mut_slice() else { return Ok(()) };
        std::mem::swap(to_high, from_high);
        std::mem::swap(to_low, from_low);
        if let Some(low) = frame.get_mut(14) {
            *low = 0x10;
        }
        stream.write_all(&frame).await?;
    }
}

/// A sign-in of the baseline profile: TPDU, header, type, bitmap, fields 11, 41, 42.
const FRAME: &[u8] = b"\x60\x00\x03\x00\x00\x60\x32\x00\x32\x00\x01\x08\x00\x00\x20\x00\x00\x00\xC0\x00\x00\
    \x00\x01\x2300000001898000000000001";

/// Terminals that speak one way.
struct Fleet {
    /// When each should send.
    due: Vec<mpsc::Sender<Instant>>,
    /// Microseconds of each answer, or why there is none.
    answers: mpsc::Receiver<Result<u64, Fault>>,
}

impl Fleet {
    async fn dial(way: Way, address: SocketAddr, client: &Arc<rustls::ClientConfig>) -> Result<Fleet, Fault> {
        let (answered, answers) = mpsc::channel(DUE_MAX);
        let mut due = Vec::new();
        for _ in 0..TERMINALS {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, receiver) = mpsc::channel(DUE_MAX);
            due.push(sender);
            let answered = answered.clone();
            match way {
                Way::Https => {
                    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
                    let stream = connector.connect(ServerName::try_from("front")?, stream).await?;
                    tokio::spawn(ask(way, stream, receiver, answered));
                }
                _ => {
                    tokio::spawn(ask(way, stream, receiver, answered));
                }
            }
        }
        Ok(Fleet { due, answers })
    }

    /// A second at this rate.
    async fn turn(&mut self, rate: u32) -> Result<Histogram<u64>, Fault> {
        let start = Instant::now() + PAUSE;
        let due = self.due.clone();
        let schedule = std::thread::spawn(move || {
            for (place, terminal) in (0..rate).zip(due.iter().cycle()) {
                let time = start + Duration::from_secs(1) * place / rate;
                // The schedule itself.
                std::thread::sleep(time.saturating_duration_since(Instant::now()));
                terminal.try_send(time)?;
            }
            Ok::<(), mpsc::error::TrySendError<Instant>>(())
        });
        let mut latencies = Histogram::new(3)?;
        for _ in 0..rate {
            latencies.record(self.answers.recv().await.ok_or("the terminals are gone")??)?;
        }
        schedule.join().map_err(|_| "the schedule broke off")??;
        Ok(latencies)
    }
}

async fn ask(
    way: Way,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    due: mpsc::Receiver<Instant>,
    answered: mpsc::Sender<Result<u64, Fault>>,
) {
    if let Err(fault) = converse(way, stream, due, &answered).await {
        // Nobody hears it when the run is over.
        let _ = answered.send(Err(fault)).await;
    }
}

async fn converse(
    way: Way,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut due: mpsc::Receiver<Instant>,
    answered: &mpsc::Sender<Result<u64, Fault>>,
) -> Result<(), Fault> {
    let length = u16::try_from(FRAME.len())?.to_be_bytes();
    let frame = [length.as_slice(), FRAME].concat();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: front\r\nContent-Type: x-ISO-TPDU/x-auth\r\nContent-Length: {}\r\n\r\n",
        frame.len()
    );
    let request = match way {
        Way::Socket => frame.clone(),
        _ => [head.as_bytes(), &frame].concat(),
    };
    let mut input = Vec::with_capacity(1_024);
    while let Some(due) = due.recv().await {
        stream.write_all(&request).await?;
        input.clear();
        // The last bytes of an answer are those of the frame.
        while !input.ends_with(frame.get(20..).unwrap_or_default()) {
            if stream.read_buf(&mut input).await? == 0 {
                return Err("the connection was closed".into());
            }
        }
        if way != Way::Socket && !input.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&input).into_owned().into());
        }
        answered.send(Ok(u64::try_from(due.elapsed().as_micros())?)).await?;
    }
    Ok(())
}
