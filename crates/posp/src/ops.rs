//! `/healthz`, `/readyz` and `/metrics`, for whoever watches the node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use engine::Engine;
use jiff::Timestamp;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metric_names;
use crate::roster::{Roster, lacking};

/// Health in the form that `posp doctor` reads.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Health {
    /// `ok`, or `degraded` with the reasons in the parts.
    pub status: String,
    /// Each part in words.
    pub parts: Vec<Part>,
}

/// One part of the node.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// It works.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

struct Shared {
    engine: Engine,
    roster: Arc<Roster>,
    metrics: PrometheusHandle,
}

/// Installs the recorder that everything counts into.
pub fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let group_size = Matcher::Full("posp_store_group_size".to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &SECONDS)?
        .set_buckets_for_metric(group_size, &GROUP_SIZES)?
        .install_recorder()?;
    metric_names::describe();
    Ok(recorder)
}

/// Buckets of durations: from half a millisecond to the longest patience.
const SECONDS: [f64; 16] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of operations that shared a commit.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    roster: Arc<Roster>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let shared = Arc::new(Shared { engine, roster, metrics });
    let app = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(shared);
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Midnight in Beijing.
fn start_of_day(now: Timestamp) -> Timestamp {
    let into_day = now.as_second().saturating_add(8 * 3_600).rem_euclid(86_400);
    Timestamp::from_second(now.as_second().saturating_sub(into_day)).unwrap_or(now)
}

async fn numbers(State(shared): State<Arc<Shared>>) -> String {
    let engine = &shared.engine;
    let line = engine.channel().line().to_owned();
    if let Ok(depth) = engine.store().forward_depth(&line).await {
        metrics::gauge!("posp_forward_depth", "line" => line.clone()).set(depth as f64);
    }
    let ready = if engine.channel().status().ready { 1.0 } else { 0.0 };
    metrics::gauge!("posp_line_ready", "line" => line).set(ready);
    shared.metrics.run_upkeep();
    shared.metrics.render()
}

/// Whether payments can be served here: what a front or a load balancer asks. What an operator should look at does not
/// make a node unfit; that is for `/healthz`.
async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.engine.has_lost_its_store() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store is lost\n");
    }
    if shared.roster.lacks().is_some() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the master key in force is not in the vault file\n");
    }
    match shared.engine.channel().status().ready {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no line to the network\n"),
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Health>) {
    let engine = &shared.engine;
    let line = engine.channel().status();
    let counts = engine.store().counts(start_of_day(engine.now())).await;
    let (merchants, terminals) = engine.directory().counts();
    let lacks = shared.roster.lacks();
    let parts = vec![
        Part {
            name: "store".to_owned(),
            ok: counts.is_ok() && !engine.store().is_failed(),
            detail: match &counts {
                Ok(counts) => {
                    let today: u64 = counts.payments.iter().map(|(_, n)| n).sum();
                    format!(
                        "{today} payments today, {} reversals waiting, {} parked",
                        counts.waiting, counts.parked
                    )
                }
                Err(error) => error.to_string(),
            },
        },
        Part {
            name: format!("line {}", engine.channel().line()),
            ok: line.ready,
            detail: match line.settle_date {
                Some(date) => format!("{}; settlement date {date:04}", line.detail),
                None => line.detail,
            },
        },
        Part {
            name: "master key".to_owned(),
            ok: lacks.is_none(),
            detail: lacks.map_or_else(|| "the one in force is here".to_owned(), |key| lacking(&key)),
        },
        Part {
            name: "parked reversals".to_owned(),
            ok: counts.as_ref().is_ok_and(|counts| counts.parked == 0),
            detail: "reversals that an operator must look at".to_owned(),
        },
        Part {
            name: "master data".to_owned(),
            ok: terminals > 0,
            detail: format!("{merchants} merchants, {terminals} terminals"),
        },
    ];
    let ok = parts.iter().all(|part| part.ok);
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ok { "ok" } else { "degraded" };
    (status, Json(Health { status: word.to_owned(), parts }))
}
