//! The control interface over HTTP: what tests and people ask of the simulator. It has no authentication and
//! belongs on a loopback address. Card numbers are masked in all of it.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::error::SimError;
use crate::faults::FaultSettings;
use crate::page;
use crate::start::SimHandle;
use crate::time::SettleDate;

/// Most lines of the record in one answer, so that an answer stays bounded; `after` gives the next.
const RECORD_PAGE: usize = 10_000;

/// What went wrong, as JSON.
#[derive(Serialize)]
struct Problem {
    error: String,
}

struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<SimError> for Failure {
    fn from(error: SimError) -> Self {
        let status = match &error {
            SimError::NoLine(_) => StatusCode::SERVICE_UNAVAILABLE,
            SimError::NoAnswer(_) => StatusCode::GATEWAY_TIMEOUT,
            SimError::Refused { .. } => StatusCode::BAD_GATEWAY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure(status, error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct CutoverBody {
    day: Option<SettleDate>,
}

#[derive(Serialize)]
struct Done {
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<SettleDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
}

impl Done {
    fn plain(done: &'static str) -> Json<Self> {
        Json(Done { done, day: None, card: None })
    }
}

/// Serves until the simulator stops.
pub(crate) async fn serve(handle: SimHandle, listener: TcpListener) {
    let stop = handle.stop_token();
    let app = router(handle);
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "control interface ended");
    }
}

fn router(handle: SimHandle) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/api/status", get(|State(sim): State<SimHandle>| async move { Json(sim.status()) }))
        .route("/api/totals", get(|State(sim): State<SimHandle>| async move { Json(sim.totals()) }))
        .route("/api/cards", get(|State(sim): State<SimHandle>| async move { Json(sim.cards()) }))
        .route("/api/cards/{card}/journal", get(journal))
        .route("/api/cards/{card}/reset", post(reset_card))
        .route("/api/record", get(record))
        .route("/api/faults", get(faults).post(set_faults))
        .route("/api/cutover", post(cut_over))
        .route("/api/key-reset", post(key_reset))
        .route("/api/echo", post(echo))
        .with_state(handle)
}

async fn index(State(sim): State<SimHandle>) -> Response {
    let mut response = page::render(&sim).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
        ),
    );
    response
}

async fn record(State(sim): State<SimHandle>, Query(query): Query<RecordQuery>) -> impl IntoResponse {
    let limit = query.limit.unwrap_or(RECORD_PAGE).min(RECORD_PAGE);
    Json(sim.record_after(query.after, limit))
}

async fn journal(State(sim): State<SimHandle>, Path(card): Path<String>) -> impl IntoResponse {
    Json(sim.journal(&card))
}

async fn faults(State(sim): State<SimHandle>) -> impl IntoResponse {
    Json(sim.faults())
}

async fn set_faults(State(sim): State<SimHandle>, Json(settings): Json<FaultSettings>) -> impl IntoResponse {
    sim.set_faults(settings);
    Json(sim.faults())
}

async fn reset_card(
    State(sim): State<SimHandle>,
    Path(card): Path<String>,
) -> Result<impl IntoResponse, Failure> {
    match sim.reset_card(&card)? {
        Some(card) => Ok(Json(Done { done: "reset", day: None, card: Some(card) })),
        None => Err(Failure(StatusCode::NOT_FOUND, "no such card, or several".to_owned())),
    }
}

async fn cut_over(
    State(sim): State<SimHandle>,
    body: Option<Json<CutoverBody>>,
) -> Result<impl IntoResponse, Failure> {
    let day = body.and_then(|Json(body)| body.day);
    let day = sim.cut_over(day).await?;
    Ok(Json(Done { done: "cut-over", day: Some(day), card: None }))
}

async fn key_reset(State(sim): State<SimHandle>) -> Result<impl IntoResponse, Failure> {
    sim.reset_keys().await?;
    Ok(Done::plain("key reset"))
}

async fn echo(State(sim): State<SimHandle>) -> Result<impl IntoResponse, Failure> {
    sim.echo().await?;
    Ok(Done::plain("echo"))
}
