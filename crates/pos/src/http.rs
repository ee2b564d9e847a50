//! The line of a terminal that has the internet: each frame is posted over HTTP(S), and the answer's body is the frame that
//! comes back (8583 field reference, section 1.6).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connection::{BoxFuture, Dial, FRAME_MAX, Link};

/// What frames travel as.
const CONTENT_TYPE: &str = "x-ISO-TPDU/x-auth";

/// Files of a terminal that speaks TLS, all PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Who signs the host's certificate: the acquirer's private authority. Nobody else is trusted.
    pub authorities: Option<PathBuf>,
    /// The terminal's own certificate, where the acquirer wants one.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Posts to an address of the form `https://host:port/path`, or `http://…` where a machine in between speaks TLS.
#[derive(Clone, Debug)]
pub struct HttpDialer {
    /// Where to.
    pub uri: Uri,
    /// Files for TLS.
    pub tls: TlsFiles,
    /// How long to wait for the connection and its handshake.
    pub timeout: Duration,
}

/// Whether a host is given as an address that frames are posted to.
#[must_use]
pub fn is_http(host: &str) -> bool {
    host.starts_with("http://") || host.starts_with("https://")
}

impl Dial for HttpDialer {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Link>>> {
        Box::pin(async move {
            tokio::time::timeout(self.timeout, self.connect())
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
        })
    }
}

impl HttpDialer {
    async fn connect(&self) -> io::Result<Box<dyn Link>> {
        let host = self.uri.host().ok_or_else(|| invalid("the host's address has no name"))?.to_owned();
        let secure = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let sender = match secure {
            false => begin(stream).await?,
            true => {
                let connector = TlsConnector::from(Arc::new(self.client()?));
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| invalid("the host has no valid name"))?;
                begin(connector.connect(name, stream).await?).await?
            }
        };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Box::new(HttpLink { sender, host: format!("{host}:{port}"), path, asked: None }))
    }

    fn client(&self) -> io::Result<rustls::ClientConfig> {
        let authorities = self.tls.authorities.as_deref();
        let file = authorities.ok_or_else(|| invalid("the file of the acquirer's authority is not set"))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        match (&self.tls.certificate, &self.tls.key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder.with_client_auth_cert(chain, key).map_err(io::Error::other)
            }
            _ => Err(invalid("the terminal's certificate and its key belong together")),
        }
    }
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", file.display()))
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    all.map_err(|error| unreadable(file, &error))
}

async fn begin<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // It ends with the link, or when the host closes.
    tokio::spawn(connection);
    Ok(sender)
}

type Asked = BoxFuture<'static, hyper::Result<hyper::Response<hyper::body::Incoming>>>;

struct HttpLink {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    path: String,
    /// The request under way.
    asked: Option<Asked>,
}

impl Link for HttpLink {
    fn send<'a>(&'a mut self, frame: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.sender.ready().await.map_err(io::Error::other)?;
            let request = Request::post(self.path.as_str())
                .header("host", self.host.as_str())
                .header("user-agent", concat!("posp-pos/", env!("CARGO_PKG_VERSION")))
                .header("cache-control", "no-cache")
                .header("content-type", CONTENT_TYPE)
                .body(Full::new(Bytes::copy_from_slice(frame)))
                .map_err(io::Error::other)?;
            self.asked = Some(Box::pin(self.sender.send_request(request)));
            Ok(())
        })
    }

    fn receive(&mut self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let asked = self.asked.take().ok_or_else(|| invalid("nothing was asked"))?;
            let answer = asked.await.map_err(io::Error::other)?;
            let status = answer.status();
            let body =
                Limited::new(answer.into_body(), 2 + FRAME_MAX).collect().await.map_err(io::Error::other)?;
            let body = body.to_bytes();
            if status != StatusCode::OK {
                let text: String = String::from_utf8_lossy(&body).chars().take(120).collect();
                return Err(io::Error::other(format!("the front answered {status}: {}", text.trim_end())));
            }
            match body.split_first_chunk::<2>() {
                Some((length, rest)) if usize::from(u16::from_be_bytes(*length)) == rest.len() => {
                    Ok(body.to_vec())
                }
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer's body is no frame")),
            }
        })
    }

    fn is_usable(&mut self) -> bool {
        self.asked.is_none() && !self.sender.is_closed()
    }
}
