//! `pay.v1` over the page's own server, for callers in a browser: `POST /api/terminals/{id}/pay` with a request as its body,
//! answered when the trade is over, `GET /api/terminals/{id}/pay/{request_id}` for what became of one, and the same with
//! `/events` behind it to hear how far it is (server-sent events).
//!
//! Whenever the acquiring app answers, the status is 200 and the body a `pay.v1` response; a status above says that the
//! terminal was not reached. Who calls is the header `x-app`, looked up in a table: enough for a laboratory, where whoever
//! opens the page may use the terminals anyhow. A page of another origin cannot send the header. A broker that knows an
//! app by its signature takes the header's place together with the app market.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use ::pay::{Fen, Grant, Kind, PayMethod, request};
use app::door::{Closed, Door};
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response, sse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::station::now_ms;
use crate::web::{KEEP_ALIVE, Refused, Site};

/// The header that says which app calls.
const APP: &str = "x-app";
/// The shop of the page `/shop`.
pub const SHOP: &str = "posp.lab.shop";
/// Highest amount of one sale of that shop: ¥5,000.00.
const SHOP_MAX_FEN: u64 = 500_000;

/// Which apps may ask for payments, and for what.
#[derive(Clone, Debug, Default)]
pub struct Apps(BTreeMap<String, Grant>);

impl Apps {
    /// A table.
    pub fn new(apps: impl IntoIterator<Item = (String, Grant)>) -> Self {
        Self(apps.into_iter().collect())
    }

    /// The laboratory's: the shop of the page, which sells, voids and refunds what it has sold, prints again, and hears how
    /// far a payment is.
    pub fn lab() -> Self {
        let grant = Grant {
            types: BTreeSet::from([Kind::Sale, Kind::Void, Kind::Refund, Kind::Balance, Kind::Reprint]),
            methods: BTreeSet::from([PayMethod::Card]),
            amount_max: Fen::new(SHOP_MAX_FEN).ok(),
            events: true,
            ..Grant::default()
        };
        Self::new([(SHOP.to_owned(), grant)])
    }

    /// What an app is granted, when it is known.
    fn of(&self, app: &str) -> Option<&Grant> {
        self.0.get(app)
    }
}

fn caller(headers: &HeaderMap) -> String {
    headers.get(APP).and_then(|app| app.to_str().ok()).unwrap_or_default().to_owned()
}

fn reached(site: &Site, id: &str) -> Result<Arc<Door>, Refused> {
    site.station(id)?.door().ok_or_else(|| dark(Closed))
}

fn dark(closed: Closed) -> Refused {
    Refused(StatusCode::SERVICE_UNAVAILABLE, closed.to_string())
}

async fn at_the_door(
    work: impl FnOnce() -> Result<Vec<u8>, Closed> + Send + 'static,
) -> Result<Response, Refused> {
    let answered = tokio::task::spawn_blocking(work).await;
    let answered = answered.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, answered.map_err(dark)?).into_response())
}

/// A request. A caller that hangs up meanwhile loses the answer alone: the trade goes on, and its result is kept.
pub(crate) async fn pay(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let door = reached(&site, &id)?;
    let (parts, body) = request.into_parts();
    // One byte more than is allowed, so that the reader can say that it is too long.
    let body = to_bytes(body, request::BODY_MAX + 1).await;
    let body = body.map_err(|error| Refused(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
    at_the_door(move || {
        let caller = caller(&parts.headers);
        door.call(&caller, site.apps().of(&caller), &body, now_ms())
    })
    .await
}

/// What became of a caller's own request.
pub(crate) async fn query(
    State(site): State<Arc<Site>>,
    Path((id, request_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let door = reached(&site, &id)?;
    at_the_door(move || door.query(&caller(&headers), &request_id)).await
}

/// How far a caller's own request is, event by event. Whoever hangs up hears no more; the trade goes on.
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
    Path((id, request_id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let door = reached(&site, &id)?;
    let app = caller(&headers);
    let mut events = match door.events(&app, site.apps().of(&app), &request_id).map_err(dark)? {
        Ok(events) => events,
        Err(refusal) => return at_the_door(move || Ok(refusal)).await,
    };
    let (sender, receiver) = mpsc::channel(1);
    let stop = site.stop();
    tokio::spawn(async move {
        while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
            let event = sse::Event::default().json_data(event);
            let event = event.unwrap_or_else(|error| sse::Event::default().comment(error.to_string()));
            if sender.send(Ok::<_, Infallible>(event)).await.is_err() {
                return;
            }
        }
    });
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
    Ok(sse::Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}
