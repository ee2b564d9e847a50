//! `posp up`: serve until told to stop, then let every payment under way have its answer.

use std::process::ExitCode;
use std::sync::Arc;

use acquiring::{Clock, SystemClock};
use anyhow::{Context, bail};
use channels::unionpay_card::UnionPayCard;
use engine::Engine;
use hsm::Hsm;
use metrics_exporter_prometheus::PrometheusHandle;
use pos_link::Listening;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::roster::{Roster, lacking};
use crate::{log, module, ops};

/// Unexpected answers that may wait to be recorded.
const UNSOLICITED_MAX: usize = 1_024;

/// Arguments of `posp up`.
#[derive(clap::Args)]
pub struct UpArgs {
    /// Print the addresses as one JSON line on standard output when ready.
    #[arg(long)]
    pub announce: bool,
    /// Keep the journal there: sqlite:DIRECTORY, or postgres://user@host:port/database for several nodes
    /// (default: store.url of the configuration).
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
}

/// Trace numbers of management messages that a run of a node takes where nodes share a line.
const MANAGEMENT_BLOCK: u32 = 1_000;

/// A node that serves.
pub struct Node {
    /// The engine.
    pub engine: Engine,
    /// The store, to be closed last.
    pub store: Store,
    /// Where terminals connect: the address of `[pos]`.
    pub pos: std::net::SocketAddr,
    /// All addresses for terminals, in the order of the settings.
    pub listeners: Vec<std::net::SocketAddr>,
    /// Where health and metrics are.
    pub ops: std::net::SocketAddr,
    /// Where the network connects to us.
    pub network_listener: std::net::SocketAddr,
    channel: Arc<UnionPayCard>,
    stop: CancellationToken,
    /// Nothing is under way any more.
    gone: CancellationToken,
    doors: JoinHandle<()>,
    ops_task: JoinHandle<std::io::Result<()>>,
    roster_task: JoinHandle<()>,
}

impl Node {
    /// Starts everything of the product; returns when terminals can connect.
    pub async fn start(
        config: &Config,
        vault: Arc<dyn Hsm>,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Node> {
        // A setting that is missing is found before anything is made.
        let (mut line, rules) = (config.line()?, config.engine()?);
        let (listeners, mut link) = (config.listeners()?, config.link()?);
        let store = config.open_store().context("the store cannot be opened")?;
        bind(&store, &*vault).await.with_context(|| {
            let key = config.node.master_key.display();
            match config.store.url.is_empty() {
                true => {
                    let data = config.node.data.display();
                    format!("the master key file {key} is not the one that the data in {data} was made with")
                }
                false => {
                    format!(
                        "the master key file {key} is not the one that the data in the store was made with"
                    )
                }
            }
        })?;
        if store.is_shared() {
            // The institution has one line, and each node its own connection of it.
            line.shared = true;
            let from = store.reserve_numbers("management", MANAGEMENT_BLOCK).await?.rem_euclid(1_000_000);
            line.management_from = u32::try_from(from).unwrap_or_default();
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut listening = Vec::with_capacity(listeners.len());
        for listener in &listeners {
            let socket = listen(listener.address, "terminals", &listener.key).await?;
            listening.push(Listening { socket, profile: listener.profile });
        }
        let ops_listener = listen(config.ops.listen, "health and metrics", "ops.listen").await?;
        let (unsolicited, unexpected) = mpsc::channel(UNSOLICITED_MAX);
        let channel = UnionPayCard::start(line, Arc::clone(&vault), Arc::clone(&clock), unsolicited)
            .await
            .context("the line to UnionPay cannot be started")?;
        let network_listener = channel.listener();
        let watched = Arc::clone(&vault);
        let engine = Engine::start(rules, store.clone(), vault, clock, channel.clone(), unexpected).await?;
        // Before anybody is served: a key that comes in force from now on is one that this node has.
        let roster = Roster::enter(store.clone(), watched, engine.node()).await?;
        let stop = CancellationToken::new();
        let ops = ops_listener.local_addr()?;
        let mut addresses = Vec::with_capacity(listening.len());
        for (listener, listening) in listeners.iter().zip(&listening) {
            let address = listening.socket.local_addr()?;
            tracing::info!(%address, profile = listener.name, "terminals are awaited");
            addresses.push(address);
        }
        let gone = CancellationToken::new();
        let roster_task = tokio::spawn(Arc::clone(&roster).keep(gone.clone()));
        link.connections_max = affordable(link.connections_max);
        let doors = tokio::spawn(pos_link::serve(listening, engine.clone(), link, stop.clone()));
        let ops_task = tokio::spawn(ops::serve(ops_listener, engine.clone(), roster, metrics, stop.clone()));
        let pos = addresses.first().copied().unwrap_or(config.pos.listen);
        Ok(Node {
            engine,
            store,
            pos,
            listeners: addresses,
            ops,
            network_listener,
            channel,
            stop,
            gone,
            doors,
            ops_task,
            roster_task,
        })
    }

    /// Stops taking, finishes what is under way, closes the store.
    pub async fn shut_down(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.doors.await.context("the door for terminals")?;
        self.engine.drain().await;
        self.channel.shut_down().await;
        self.ops_task.await.context("health and metrics")??;
        // What was under way may have made keys: until here the node is one of those that have to follow.
        self.gone.cancel();
        self.roster_task.await.context("the roster of nodes")?;
        self.store.close().await;
        Ok(())
    }
}

/// Ties the store to the vault. The store may know of a master key that is in force since this file was copied: where
/// the file has it prepared, it is in force here as well. During a rotation the store may belong to the one before still.
async fn bind(store: &Store, vault: &dyn Hsm) -> anyhow::Result<()> {
    let Some(in_force) = store.master_in_force().await? else {
        return Ok(store.bind_vault(&vault.fingerprint()).await?);
    };
    vault.put_in_force(&in_force)?;
    if !vault.fingerprints().contains(&in_force) {
        return Err(anyhow::Error::from(store::StoreError::OtherVault).context(lacking(&in_force)));
    }
    Ok(())
}

/// Files that are not connections of terminals: database, lines, pages, log.
const OTHER_FILES: u64 = 256;

/// As many of the wanted connections as the system lets this process have files for. A connection that is refused
/// by us is closed and counted; one that the system refuses stands in the queue before the next terminal.
pub fn affordable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(files) = files else { return wanted };
    let connections = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(1);
    if connections < wanted {
        tracing::warn!(
            files,
            wanted,
            connections,
            "fewer connections than pos.connections_max: the system allows no more open files"
        );
    }
    wanted.min(connections)
}

/// Opens a socket, or says what for and by which setting it could not.
pub async fn listen(address: std::net::SocketAddr, what: &str, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} for {what} cannot be taken (setting {key}); is another posp running?")
    })
}

/// Runs `posp up`.
pub async fn run(mut config: Config, args: UpArgs) -> anyhow::Result<ExitCode> {
    if let Some(url) = args.store {
        config.store.url = url;
    }
    log::start(&config.log)?;
    let metrics = ops::install_metrics()?;
    let vault = module::open(&config)?;
    let node = Node::start(&config, vault, metrics).await?;
    let (merchants, terminals) = node.engine.directory().counts();
    tracing::info!(pos = %node.pos, ops = %node.ops, network = %node.network_listener, merchants, terminals, "posp is up");
    if terminals == 0 {
        tracing::warn!("no terminal is known yet: `posp merchant add`, then `posp terminal add`");
    }
    if args.announce {
        let line = serde_json::json!({
            "pos": node.pos, "listeners": node.listeners, "ops": node.ops, "network_listener": node.network_listener,
        });
        crate::screen::Screen::new().line(line.to_string())?;
    }
    let store = node.store.clone();
    tokio::select! {
        signal = stop_signal() => {
            signal?;
            tracing::info!("stopping: taking nothing new, finishing what is under way");
        }
        () = store.failed() => {
            // What a failed flush left on disk is unknown; going on could double or lose a payment.
            match store.is_shared() {
                true => bail!("the database is lost: the node stops, and can be started again when it is back"),
                false => {
                    bail!("a commit failed: the node stops and must be started again after the disk is looked at")
                }
            }
        }
    }
    node.shut_down().await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
