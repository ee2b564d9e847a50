//! `posp front`: the internet front until told to stop, then every request under way gets its answer.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::front::nodes::NodeAddress;
use ::front::{Clients, Door, Front, FrontConfig, Nodes, Tls, TlsFiles};
use anyhow::{Context, bail};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ops::{self, Health, Part};
use crate::up::stop_signal;
use crate::{log, screen};

/// Arguments of `posp front`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FrontArgs {
    /// Print the addresses as one JSON line on standard output when ready.
    #[arg(long)]
    pub announce: bool,
}

const EXAMPLES: &str = "Examples:
  posp front                                 plain HTTP on 127.0.0.1:8088, before a node on the same machine
  posp front --config front.toml             with certificates and several nodes: section [front]";

/// A door as the settings have it.
struct Wanted<'a> {
    address: SocketAddr,
    key: String,
    certificate: &'a Path,
    private: &'a Path,
    authorities: &'a Path,
    revoked: &'a Path,
    required: bool,
}

impl Wanted<'_> {
    /// Its certificates; nothing for plain HTTP.
    fn tls(&self) -> anyhow::Result<Option<Arc<Tls>>> {
        let named = |path: &Path| !path.as_os_str().is_empty();
        let clients = match (named(self.authorities), named(self.revoked) || self.required) {
            (true, _) => Some(Clients {
                authorities: self.authorities.to_owned(),
                revoked: Some(self.revoked).filter(|path| named(path)).map(Path::to_owned),
                required: self.required,
            }),
            (false, false) => None,
            (false, true) => {
                bail!("{}: who signs the terminals' certificates (client_authorities) is not set", self.key)
            }
        };
        match (named(self.certificate), named(self.private)) {
            (true, true) => {
                let files = TlsFiles {
                    certificate: self.certificate.to_owned(),
                    key: self.private.to_owned(),
                    clients,
                };
                let tls = Tls::open(files).with_context(|| format!("{}: the certificates", self.key))?;
                Ok(Some(Arc::new(tls)))
            }
            (false, false) if clients.is_some() => {
                bail!("{}: terminals can show certificates over TLS only; set certificate and key", self.key)
            }
            (false, false) => Ok(None),
            _ => bail!("{}: certificate and key belong together; one of them is not set", self.key),
        }
    }
}

fn doors(config: &Config) -> anyhow::Result<Vec<Wanted<'_>>> {
    let f = &config.front;
    let mut wanted = vec![Wanted {
        address: f.listen,
        key: "front".to_owned(),
        certificate: &f.certificate,
        private: &f.key,
        authorities: &f.client_authorities,
        revoked: &f.client_revoked,
        required: f.client_required,
    }];
    for (at, door) in config.front_door.iter().enumerate() {
        let key = format!("front_door[{at}]");
        let address = door.address.parse().with_context(|| format!("{key}.address: {}", door.address))?;
        if wanted.iter().any(|other| other.address == address) {
            bail!("{key}.address: {address} is taken already");
        }
        wanted.push(Wanted {
            address,
            key,
            certificate: &door.certificate,
            private: &door.key,
            authorities: &door.client_authorities,
            revoked: &door.client_revoked,
            required: door.client_required,
        });
    }
    Ok(wanted)
}

/// The parts of a text with commas.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn nodes(text: &str) -> anyhow::Result<Vec<NodeAddress>> {
    let nodes: Vec<NodeAddress> = parts(text)
        .map(|part| match part.split_once('/') {
            Some((pos, ops)) => NodeAddress { pos: pos.to_owned(), ops: Some(ops.to_owned()) },
            None => NodeAddress { pos: part.to_owned(), ops: None },
        })
        .collect();
    if nodes.is_empty() {
        bail!("front.nodes names no node");
    }
    for address in nodes.iter().flat_map(|node| std::iter::once(&node.pos).chain(&node.ops)) {
        let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            bail!("front.nodes: {address} is not host:port");
        }
    }
    Ok(nodes)
}

/// The settings of `[front]` as the front takes them.
pub fn settings(config: &Config) -> anyhow::Result<FrontConfig> {
    let f = &config.front;
    let paths: Vec<String> = parts(&f.paths).map(str::to_owned).collect();
    if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
        bail!("front.paths: {path} does not begin with a slash");
    }
    let forwarded_by = parts(&f.forwarded_by)
        .map(|part| part.parse::<IpAddr>().with_context(|| format!("front.forwarded_by: {part}")))
        .collect::<anyhow::Result<Vec<IpAddr>>>()?;
    Ok(FrontConfig {
        paths,
        frame_max: f.frame_max,
        patience: Duration::from_secs(f.patience_seconds),
        body_patience: Duration::from_secs(f.body_seconds),
        idle_max: Duration::from_secs(f.idle_seconds),
        connections_max: crate::up::affordable(f.connections_max),
        connections_per_address_max: f.connections_per_address_max,
        connects_per_second_max: f.connects_per_second_max,
        requests_per_address_max: f.requests_per_address_max,
        requests_per_second_max: f.requests_per_second_max,
        terminal_requests_max: f.terminal_requests_max,
        terminal_per_second_max: f.terminal_per_second_max,
        forwarded_by,
        connect_patience: Duration::from_millis(f.connect_ms),
        node_connections_max: f.node_connections_max,
        node_idle_max: Duration::from_secs(f.node_idle_seconds),
        health_interval: Duration::from_millis(f.health_ms),
    })
}

/// Runs `posp front`.
pub async fn run(config: Config, args: FrontArgs) -> anyhow::Result<ExitCode> {
    log::start(&config.log)?;
    let metrics = ops::install_metrics()?;
    // A setting that is wrong is found before anything is made.
    let (wanted, settings, nodes) = (doors(&config)?, settings(&config)?, nodes(&config.front.nodes)?);
    let mut open = Vec::with_capacity(wanted.len());
    let mut addresses = Vec::with_capacity(wanted.len());
    for door in &wanted {
        let tls = door.tls()?;
        let socket = crate::up::listen(door.address, "terminals over the internet", &door.key).await?;
        let address = socket.local_addr()?;
        tracing::info!(%address, tls = tls.is_some(), "terminals are awaited");
        addresses.push(address);
        open.push(Door { socket, tls });
    }
    let ops_listener = crate::up::listen(config.front.ops, "health and metrics", "front.ops").await?;
    let ops_address = ops_listener.local_addr()?;
    let stop = CancellationToken::new();
    let behind = nodes.len();
    let nodes = Arc::new(Nodes::new(nodes, &settings));
    let pages = tokio::spawn(pages(ops_listener, Arc::clone(&nodes), metrics, stop.clone()));
    let front = Front::new(settings, nodes, stop.clone());
    let serving = tokio::spawn(::front::serve(front, open));
    tracing::info!(nodes = behind, ops = %ops_address, "the front is up");
    if args.announce {
        let line = serde_json::json!({ "doors": addresses, "ops": ops_address });
        screen::Screen::new().line(line.to_string())?;
    }
    stop_signal().await?;
    tracing::info!("stopping: taking nothing new, finishing what is under way");
    stop.cancel();
    serving.await.context("the doors")?;
    pages.await.context("health and metrics")??;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What the pages look at.
struct Shown {
    nodes: Arc<Nodes>,
    metrics: PrometheusHandle,
}

async fn pages(
    listener: TcpListener,
    nodes: Arc<Nodes>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let numbers = async |State(shown): State<Arc<Shown>>| {
        shown.metrics.run_upkeep();
        shown.metrics.render()
    };
    let app = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(health))
        .route("/metrics", get(numbers))
        .with_state(Arc::new(Shown { nodes, metrics }));
    axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Fit while one node is.
async fn health(State(shown): State<Arc<Shown>>) -> (StatusCode, Json<Health>) {
    let (up, all) = shown.nodes.up();
    let part =
        Part { name: "nodes".to_owned(), ok: up > 0, detail: format!("{up} of {all} nodes take requests") };
    let (status, word) = match up {
        0 => (StatusCode::SERVICE_UNAVAILABLE, "degraded"),
        _ => (StatusCode::OK, "ok"),
    };
    (status, Json(Health { status: word.to_owned(), parts: vec![part] }))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::FrontDoor;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        let made = doors(&config)
            .and_then(|doors| doors.iter().try_for_each(|door| door.tls().map(|_| ())))
            .and_then(|()| settings(&config).map(|_| ()))
            .and_then(|()| nodes(&config.front.nodes).map(|_| ()));
        format!("{:#}", made.unwrap_err())
    }

    /// What cannot be meant is named with its setting before a socket is opened.
    #[test]
    fn a_setting_that_cannot_be_meant_is_named() {
        let path = || PathBuf::from("front.pem");
        for (text, start) in [
            (refused(|c| c.front.nodes = String::new()), "front.nodes names no node"),
            (refused(|c| c.front.nodes = "10.0.0.1".to_owned()), "front.nodes: 10.0.0.1 is not host:port"),
            (refused(|c| c.front.nodes = "a:1/b".to_owned()), "front.nodes: b is not host:port"),
            (refused(|c| c.front.paths = "pos".to_owned()), "front.paths: pos does not begin with a slash"),
            (refused(|c| c.front.forwarded_by = "proxy".to_owned()), "front.forwarded_by: proxy"),
            (refused(|c| c.front.certificate = path()), "front: certificate and key belong together"),
            (refused(|c| c.front.client_required = true), "front: who signs the terminals' certificates"),
            (
                refused(|c| c.front.client_authorities = path()),
                "front: terminals can show certificates over TLS only",
            ),
            (
                refused(|c| (c.front.certificate, c.front.key) = (path(), path())),
                "front: the certificates: front.pem: No such file",
            ),
            (
                refused(|c| {
                    let address = c.front.listen.to_string();
                    c.front_door.push(FrontDoor { address, ..FrontDoor::default() });
                }),
                "front_door[0].address: 127.0.0.1:8088 is taken already",
            ),
        ] {
            assert!(text.starts_with(start), "{text}");
        }
        assert!(settings(&Config::default()).is_ok());
        let two = nodes("10.0.0.1:8583/10.0.0.1:8580, pos2:8583").unwrap();
        assert_eq!(two[0].ops.as_deref(), Some("10.0.0.1:8580"));
        assert_eq!((two[1].pos.as_str(), &two[1].ops), ("pos2:8583", &None));
    }
}
