//! The way of one request from top to bottom.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout};

use crate::body::{self, Framing};
use crate::nodes::Failure;
use crate::server::Front;

/// What frames travel as (8583 field reference, section 1.6).
const FRAME: HeaderValue = HeaderValue::from_static("x-ISO-TPDU/x-auth");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Bytes that a body may have beyond its frame: the length.
const LENGTH: usize = 2;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The common name of its certificate, which was verified.
    pub name: Option<String>,
}

/// Why a request has no frame for an answer.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    /// Label of the metric.
    reason: &'static str,
    /// For whoever reads the answer.
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Refusal { status, reason, text: reason.to_owned() }
    }

    fn saying(status: StatusCode, reason: &'static str, text: impl ToString) -> Self {
        Refusal { status, reason, text: text.to_string() }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (status, reason) = match &failure {
            Failure::NoNode => (StatusCode::SERVICE_UNAVAILABLE, "no node"),
            Failure::Busy => (StatusCode::SERVICE_UNAVAILABLE, "every node is busy"),
            Failure::Late => (StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
            Failure::Closed => (StatusCode::BAD_GATEWAY, "closed by the node"),
            Failure::Foreign => (StatusCode::BAD_GATEWAY, "foreign answer"),
            Failure::Broken(_) => (StatusCode::BAD_GATEWAY, "connection to the node broke"),
            Failure::Frame(_) => (StatusCode::BAD_GATEWAY, "bad frame of the node"),
            Failure::Body(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body too large"),
        };
        Refusal::saying(status, reason, failure)
    }
}

/// Serves a request.
///
/// # Errors
/// Never: what goes wrong is an answer too.
pub async fn serve(
    front: Arc<Front>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let since = Instant::now();
    let client = client(&front, &peer, &request);
    let answered = answer(&front, &peer, client, request).await;
    let response = match answered {
        Ok(answer) => {
            metrics::histogram!("posp_front_seconds").record(since.elapsed());
            respond(StatusCode::OK, FRAME, answer.into())
        }
        Err(refusal) => {
            metrics::counter!("posp_front_refused_total", "reason" => refusal.reason).increment(1);
            if front.warnings.may_write() {
                tracing::warn!(%client, status = refusal.status.as_u16(), reason = refusal.reason,
                    detail = refusal.text, "no answer");
            }
            let mut response = respond(refusal.status, TEXT, (refusal.text + "\n").into());
            if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            if matches!(refusal.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    };
    metrics::counter!("posp_front_requests_total", "status" => response.status().as_u16().to_string())
        .increment(1);
    Ok(response)
}

fn respond(status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Who is counted: the peer, or whom a machine that we trust has it from. It adds its own peer at the end; what
/// stands before that anybody may have written.
fn client(front: &Front, peer: &Peer, request: &Request<Incoming>) -> IpAddr {
    let address = peer.address.ip().to_canonical();
    if !front.config.forwarded_by.contains(&address) {
        return address;
    }
    let last = request.headers().get_all("x-forwarded-for").iter().next_back();
    let told = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    told.unwrap_or(address)
}

async fn answer(
    front: &Front,
    peer: &Peer,
    client: IpAddr,
    request: Request<Incoming>,
) -> Result<Vec<u8>, Refusal> {
    let config = &front.config;
    if !config.paths.iter().any(|path| path == request.uri().path()) {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no such path"));
    }
    if request.method() != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "frames are posted"));
    }
    let _address = front
        .addresses
        .enter(client, Instant::now())
        .map_err(|_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many requests of one address"))?;
    let body = take(front, request.into_body()).await?;
    let carried = body::read(&body, config.frame_max)
        .map_err(|error| Refusal::saying(StatusCode::BAD_REQUEST, "no frame in the body", error))?;
    let terminal = body::terminal(carried.payload);
    if let Some(name) = &peer.name {
        // The certificate is of one terminal: another one's frame does not come in with it.
        let named = terminal.as_ref().map(|terminal| format!("{}-{}", terminal.merchant, terminal.terminal));
        if named.as_ref() != Some(name) {
            let why = "the certificate is of another terminal";
            return Err(Refusal::new(StatusCode::FORBIDDEN, why));
        }
    }
    let _terminal =
        match terminal {
            None => None,
            Some(terminal) => Some(front.terminals.enter(terminal, Instant::now()).map_err(|_| {
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many requests of one terminal")
            })?),
        };
    let answer = front.nodes.exchange(carried.payload, Instant::now() + config.patience).await?;
    match carried.framing {
        Framing::Bare => Ok(answer),
        Framing::Length => Ok(body::framed(&answer).map_err(Failure::Body)?),
    }
}

/// The whole body, of a frame's length at most and within its time.
async fn take(front: &Front, body: Incoming) -> Result<Bytes, Refusal> {
    let max = front.config.frame_max + LENGTH;
    let too_large = || {
        let text = format!("the body has more than {max} bytes");
        Refusal::saying(StatusCode::PAYLOAD_TOO_LARGE, "body too large", text)
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match timeout(front.config.body_patience, Limited::new(body, max).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::saying(StatusCode::BAD_REQUEST, "body cut off", error)),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body not complete in time")),
    }
}
