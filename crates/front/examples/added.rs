//! What the front adds to a payment: the same frames at the same rate to the same node, once over its socket and once
//! through a front, by a schedule that waits for nobody. Each latency counts from when the frame should have left.
//!
//! ```sh
//! cargo run --release -p front --example added              # 1,000 a second for 10 s, each way
//! cargo run --release -p front --example added -- 2000 20   # another rate, other seconds
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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

type Fault = Box<dyn Error + Send + Sync>;

/// Terminals, each on a connection of its own that it keeps.
const TERMINALS: u32 = 64;
const PATH: &str = "/unp/webtrans/WPOS";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Socket,
    Http,
    Https,
}

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let rate: u32 = arguments.next().map_or(Ok(1_000), |text| text.parse())?;
    let seconds: u32 = arguments.next().map_or(Ok(10), |text| text.parse())?;
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

    println!("{rate} frames a second for {seconds} s each way, {TERMINALS} connections that are kept");
    println!("way        p50 µs    p90 µs    p99 µs  p99.9 µs    answers");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (way, address) in [
        (Way::Socket, node),
        (Way::Http, plain),
        (Way::Https, secure),
        (Way::Socket, node),
        (Way::Http, plain),
        (Way::Https, secure),
    ] {
        let measured = runtime.block_on(measure(way, address, Arc::clone(&client), rate, seconds))?;
        let at = |quantile| measured.value_at_quantile(quantile);
        println!(
            "{:<8} {:>8} {:>9} {:>9} {:>9} {:>10}",
            format!("{way:?}"),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            measured.len()
        );
    }
    Ok(())
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

async fn measure(
    way: Way,
    address: SocketAddr,
    client: Arc<rustls::ClientConfig>,
    rate: u32,
    seconds: u32,
) -> Result<Histogram<u64>, Fault> {
    let interval = Duration::from_secs(1) * TERMINALS / rate;
    let start = Instant::now() + Duration::from_millis(300);
    let mut terminals = tokio::task::JoinSet::new();
    for place in 0..TERMINALS {
        let client = Arc::clone(&client);
        let first = start + Duration::from_secs(1) * place / rate;
        let times = rate * seconds / TERMINALS;
        terminals.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            match way {
                Way::Https => {
                    let connector = tokio_rustls::TlsConnector::from(client);
                    let stream = connector.connect(ServerName::try_from("front")?, stream).await?;
                    ask(way, stream, first, interval, times).await
                }
                _ => ask(way, stream, first, interval, times).await,
            }
        });
    }
    let mut all = Histogram::new(3)?;
    while let Some(one) = terminals.join_next().await {
        all.add(one??)?;
    }
    Ok(all)
}

async fn ask(
    way: Way,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    first: Instant,
    interval: Duration,
    times: u32,
) -> Result<Histogram<u64>, Fault> {
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
    let mut latencies = Histogram::new(3)?;
    let mut input = Vec::with_capacity(1_024);
    for time in 0..times {
        let due = first + interval * time;
        tokio::time::sleep_until(due).await;
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
        latencies.record(u64::try_from(due.elapsed().as_micros())?)?;
    }
    Ok(latencies)
}
