//! The page and what it asks for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use app::view::Input;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use receipt::{Font, no_signatures, png, raster, svg, text};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, Apps};
use crate::deck::Deck;
use crate::station::{Hand, Station, StationError};

const PAGE: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
const WORDS: &str = include_str!("../page/words.js");
const MPOS_STYLE: &str = include_str!("../page/mpos.css");
const MPOS_SCRIPT: &str = include_str!("../page/mpos.js");
const SCRIPT: &str = include_str!("../page/terminal.js");
const SHOP: &str = include_str!("../page/shop.html");
const SHOP_SCRIPT: &str = include_str!("../page/shop.js");

/// How often an idle stream says that it is alive.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Everything on the page.
pub struct Site {
    stations: Vec<Arc<Station>>,
    deck: Arc<Deck>,
    apps: Apps,
    stop: CancellationToken,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("stations", &self.stations).finish_non_exhaustive()
    }
}

impl Site {
    /// A page with these terminals and this deck, and the laboratory's shop as the one app that may pay.
    pub fn new(stations: Vec<Arc<Station>>, deck: Arc<Deck>, stop: CancellationToken) -> Arc<Self> {
        Self::with_apps(stations, deck, Apps::lab(), stop)
    }

    /// A page where these apps may ask for payments.
    pub fn with_apps(
        stations: Vec<Arc<Station>>,
        deck: Arc<Deck>,
        apps: Apps,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { stations, deck, apps, stop })
    }

    /// Pulled when the server stops.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The apps that may ask for payments.
    pub(crate) fn apps(&self) -> &Apps {
        &self.apps
    }

    pub(crate) fn station(&self, id: &str) -> Result<&Arc<Station>, Refused> {
        let found = self.stations.iter().find(|station| station.id() == id);
        found.ok_or_else(|| {
            Refused(StatusCode::NOT_FOUND, format!("没有终端 {id} / there is no terminal {id}"))
        })
    }
}

/// Why something asked for was not done.
pub(crate) struct Refused(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

impl From<StationError> for Refused {
    fn from(error: StationError) -> Self {
        Self(StatusCode::CONFLICT, error.to_string())
    }
}

/// Serves the page until `stop`.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, site: Arc<Site>) -> std::io::Result<()> {
    let stop = site.stop.clone();
    let router = Router::new()
        .route("/", get(|| async { asset(PAGE, "text/html; charset=utf-8") }))
        .route("/style.css", get(|| async { asset(STYLE, "text/css; charset=utf-8") }))
        .route("/mpos.css", get(|| async { asset(MPOS_STYLE, "text/css; charset=utf-8") }))
        .route("/mpos.js", get(|| async { asset(MPOS_SCRIPT, "text/javascript; charset=utf-8") }))
        .route("/words.js", get(|| async { asset(WORDS, "text/javascript; charset=utf-8") }))
        .route("/terminal.js", get(|| async { asset(SCRIPT, "text/javascript; charset=utf-8") }))
        .route("/shop", get(|| async { asset(SHOP, "text/html; charset=utf-8") }))
        .route("/shop.js", get(|| async { asset(SHOP_SCRIPT, "text/javascript; charset=utf-8") }))
        .route("/api/terminals", get(terminals))
        .route("/api/terminals/{id}/pay", post(bridge::pay))
        .route("/api/terminals/{id}/pay/{request_id}", get(bridge::query))
        .route("/api/terminals/{id}/pay/{request_id}/events", get(bridge::events))
        .route("/api/terminals/{id}", get(snapshot))
        .route("/api/terminals/{id}/events", get(events))
        .route("/api/terminals/{id}/press", post(press))
        .route("/api/terminals/{id}/hand", post(hand))
        .route("/api/terminals/{id}/trace", get(trace))
        .route("/api/terminals/{id}/paper/{name}", get(paper))
        .route("/api/deck", get(deck))
        .route("/api/deck/{id}/behaviour", post(behaviour))
        .with_state(site);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn asset(body: &'static str, kind: &'static str) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'",
        ),
    );
    response
}

#[derive(Serialize)]
struct Row {
    id: String,
    merchant: String,
    merchant_name: String,
    host: String,
    /// A phone with a reader.
    mpos: bool,
}

async fn terminals(State(site): State<Arc<Site>>) -> Json<Vec<Row>> {
    let row = |station: &Arc<Station>| Row {
        id: station.id().to_owned(),
        merchant: station.pos().merchant.clone(),
        merchant_name: station.pos().merchant_name.clone(),
        host: station.pos().host.clone(),
        mpos: station.is_mpos(),
    };
    Json(site.stations.iter().map(row).collect())
}

async fn snapshot(State(site): State<Arc<Site>>, Path(id): Path<String>) -> Result<Response, Refused> {
    Ok(Json(site.station(&id)?.snapshot()).into_response())
}

async fn events(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let station = Arc::clone(site.station(&id)?);
    // A stream ends with the server, so that it does not hold the shutdown up.
    let stop = site.stop.clone();
    let stream = WatchStream::new(station.changes()).map(move |_| {
        let event = Event::default().json_data(station.snapshot());
        Ok(event.unwrap_or_else(|error| Event::default().comment(error.to_string())))
    });
    let stream = tokio_stream::StreamExt::take_while(stream, move |_| !stop.is_cancelled());
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

async fn press(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Json(input): Json<Input>,
) -> Result<Json<serde_json::Value>, Refused> {
    let taken = site.station(&id)?.press(input)?;
    Ok(Json(serde_json::json!({ "taken": taken })))
}

async fn hand(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Json(hand): Json<Hand>,
) -> Result<Json<serde_json::Value>, Refused> {
    let station = Arc::clone(site.station(&id)?);
    // Power waits for the app's thread, and a card's first use derives its keys.
    let done = tokio::task::spawn_blocking(move || station.hand(hand)).await;
    done.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
    Ok(Json(serde_json::json!({ "done": true })))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn trace(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Query(after): Query<After>,
) -> Result<Response, Refused> {
    Ok(Json(site.station(&id)?.trace().after(after.after)).into_response())
}

/// A slip as `3.svg`, `3.png` or `3.txt`.
async fn paper(
    State(site): State<Arc<Site>>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let station = Arc::clone(site.station(&id)?);
    let missing = || Refused(StatusCode::NOT_FOUND, format!("没有单据 {name} / there is no slip {name}"));
    let (number, kind) = name.split_once('.').ok_or_else(missing)?;
    let number = number.parse().map_err(|_| missing())?;
    let printed = station.slip(number).ok_or_else(missing)?;
    let broken = |error: receipt::RenderError| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let part = Station::SLIP_PART;
    let (body, kind) = match kind {
        "svg" => {
            (svg::render(&printed.doc, part, &no_signatures).map_err(broken)?.into_bytes(), "image/svg+xml")
        }
        "txt" => (text::render(&printed.doc, part).into_bytes(), "text/plain; charset=utf-8"),
        "png" => {
            let drawn = tokio::task::spawn_blocking(move || {
                let font = Font::load(None)?;
                png::encode(&raster::image(&printed.doc, part, &font, &no_signatures)?)
            });
            let drawn =
                drawn.await.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
            (drawn.map_err(broken)?, "image/png")
        }
        _ => return Err(missing()),
    };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

async fn deck(State(site): State<Arc<Site>>) -> Result<Response, Refused> {
    let deck = Arc::clone(&site.deck);
    let rows = tokio::task::spawn_blocking(move || deck.rows()).await;
    let rows = rows.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(rows).into_response())
}

async fn behaviour(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    Json(switches): Json<Vec<String>>,
) -> Result<Json<serde_json::Value>, Refused> {
    let deck = Arc::clone(&site.deck);
    let done = tokio::task::spawn_blocking(move || deck.switch(&id, &switches)).await;
    done.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        .map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(Json(serde_json::json!({ "done": true })))
}
