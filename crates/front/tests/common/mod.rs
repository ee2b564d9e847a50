//! A front on free ports, nodes that do what a test wants, and a terminal that writes its HTTP by hand, as terminals do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use front::nodes::NodeAddress;
use front::{Clients, Door, Front, FrontConfig, Nodes, Tls, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A test that waits longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The classic path.
pub const PATH: &str = "/mjc/webtrans/VPB_lb";

/// Settings that a test changes as it likes.
pub fn config() -> FrontConfig {
    FrontConfig {
        paths: vec![PATH.to_owned()],
        frame_max: 2_048,
        patience: Duration::from_secs(10),
        body_patience: Duration::from_secs(10),
        idle_max: Duration::from_secs(10),
        connections_max: 1_000,
        connections_per_address_max: 100,
        connects_per_second_max: 1_000,
        requests_per_address_max: 100,
        requests_per_second_max: 1_000,
        terminal_requests_max: 2,
        terminal_per_second_max: 1_000,
        forwarded_by: Vec::new(),
        connect_patience: Duration::from_secs(2),
        node_connections_max: 100,
        node_idle_max: Duration::from_secs(60),
        health_interval: Duration::from_secs(3_600),
    }
}

/// A front that serves at one door.
pub struct Serving {
    pub address: SocketAddr,
    pub front: Arc<Front>,
    pub stop: CancellationToken,
    pub done: JoinHandle<()>,
}

/// Starts a front before these nodes.
pub async fn serve(config: FrontConfig, nodes: &[SocketAddr], tls: Option<Arc<Tls>>) -> Serving {
    let addresses = nodes.iter().map(|node| NodeAddress { pos: node.to_string(), ops: None }).collect();
    serve_nodes(config, addresses, tls).await
}

pub async fn serve_nodes(config: FrontConfig, nodes: Vec<NodeAddress>, tls: Option<Arc<Tls>>) -> Serving {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let stop = CancellationToken::new();
    let nodes = Arc::new(Nodes::new(nodes, &config));
    let front = Front::new(config, nodes, stop.clone());
    let done = tokio::spawn(front::serve(Arc::clone(&front), vec![Door { socket, tls }]));
    Serving { address, front, stop, done }
}

/// What a node does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Answers it as it should be.
    Answers,
    /// Reads it and closes.
    Closes,
    /// Reads it and says nothing.
    KeepsSilent,
    /// Answers another terminal's request.
    Confuses,
    /// Answers, and closes the connection when it has rested.
    AnswersAndCloses,
}

/// A node, and every frame that it has heard, length and all.
pub struct Node {
    pub address: SocketAddr,
    pub heard: mpsc::Receiver<Vec<u8>>,
    pub task: JoinHandle<()>,
}

/// Starts a node.
pub async fn node(does: Does) -> Node {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (tell, heard) = mpsc::channel(1_024);
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = socket.accept().await.unwrap();
            tokio::spawn(converse(stream, does, tell.clone()));
        }
    });
    Node { address, heard, task }
}

async fn converse(mut stream: TcpStream, does: Does, tell: mpsc::Sender<Vec<u8>>) {
    loop {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).await.is_err() {
            return;
        }
        let mut frame = length.to_vec();
        frame.resize(2 + usize::from(u16::from_be_bytes(length)), 0);
        stream.read_exact(&mut frame[2..]).await.unwrap();
        let answer = answer(&frame, does == Does::Confuses);
        tell.try_send(frame).unwrap();
        match does {
            Does::Closes => return,
            Does::KeepsSilent => std::future::pending().await,
            Does::Answers | Does::Confuses => stream.write_all(&answer).await.unwrap(),
            Does::AnswersAndCloses => {
                stream.write_all(&answer).await.unwrap();
                return;
            }
        }
    }
}

/// A frame of an 0800 with field 11, 41 and 42, with its length.
pub fn frame(terminal: &str, trace: u32) -> Vec<u8> {
    let mut payload =
        vec![0x60, 0, 3, 0, 0, 0x60, 0x32, 0, 0x32, 0, 1, 0x08, 0, 0, 0x20, 0, 0, 0, 0xC0, 0, 0];
    let digits = format!("{trace:06}");
    for pair in digits.as_bytes().chunks(2) {
        payload.push((pair[0] - b'0') << 4 | (pair[1] - b'0'));
    }
    payload.extend_from_slice(terminal.as_bytes());
    payload.extend_from_slice(b"898000000000001");
    let mut frame = u16::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(payload);
    frame
}

/// What a node answers to it.
pub fn answer(frame: &[u8], confused: bool) -> Vec<u8> {
    let mut answer = frame.to_vec();
    answer[3..7].copy_from_slice(&[frame[5], frame[6], frame[3], frame[4]]);
    answer[14] = 0x10;
    if confused {
        answer[25] ^= 1;
    }
    answer
}

/// An HTTP answer in its parts.
#[derive(Debug)]
pub struct Heard {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// A request as a terminal writes it.
pub fn post(body: &[u8]) -> Vec<u8> {
    post_with(body, "")
}

/// The same with more header lines.
pub fn post_with(body: &[u8], more: &str) -> Vec<u8> {
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHOST: front:443\r\nUser-Agent: Donjin Http 0.1\r\nCache-Control: no-cache\r\n\
         Content-Type: x-ISO-TPDU/x-auth\r\nAccept: */*\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads an answer: the blank line, then as many bytes as its Content-Length says.
pub async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let read = async {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.expect("an answer says its length").parse().unwrap();
        let mut body = bytes.split_off(end);
        while body.len() < length {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0, "the answer is cut off");
        }
        assert_eq!(body.len(), length);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Heard { status, head, body })
    };
    tokio::time::timeout(PATIENCE, read).await.expect("neither an answer nor the end came")
}

/// Posts on a connection of its own.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Heard {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    hear(&mut stream).await.expect("an answer")
}

/// A connection from another address of this machine.
pub async fn dial_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// An authority with a server certificate, and terminals' certificates.
pub struct Authority {
    directory: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { directory: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.path("authority.pem"), authority.issuer.pem()).unwrap();
        authority.new_server_certificate();
        authority
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// Writes a new certificate for `front` and its key.
    pub fn new_server_certificate(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["front".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        replace(&self.path("key.pem"), &key.serialize_pem());
        replace(&self.path("front.pem"), &certificate.pem());
        certificate.der().clone()
    }

    /// A terminal's certificate and key.
    pub fn terminal(&self, name: &str, serial: u64) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// Writes the list of certificates that were taken back.
    pub fn revoke(&self, serials: &[u64]) {
        let now = rcgen::date_time_ymd(2026, 1, 1);
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        replace(&self.path("revoked.pem"), &list.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    pub fn files(&self, clients: Option<bool>) -> TlsFiles {
        TlsFiles {
            certificate: self.path("front.pem"),
            key: self.path("key.pem"),
            clients: clients.map(|required| Clients {
                authorities: self.path("authority.pem"),
                revoked: Some(self.path("revoked.pem")).filter(|list| list.exists()),
                required,
            }),
        }
    }

    /// A TLS connection of a terminal that trusts this authority.
    pub async fn dial(
        &self,
        address: SocketAddr,
        own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        };
        let stream = TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from("front").unwrap(), stream).await
    }
}

/// Writes a file in one go, as whoever renews certificates should.
fn replace(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, file).unwrap();
}

/// Posts on a connection and hears the answer; nothing when the connection ends before it.
pub async fn converse_on<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, body: &[u8]) -> Option<Heard> {
    stream.write_all(&post(body)).await.ok()?;
    hear(stream).await
}
