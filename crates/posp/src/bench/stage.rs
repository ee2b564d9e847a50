//! The processes that a bench measures: a node and a simulated network on an empty directory, each a process of its
//! own, with as many terminals as the load wants.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::bench::terminal::{Card, Enrolled};
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::{MerchantId, TerminalId};
use anyhow::{Context, bail};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, SoftVault};
use serde::de::DeserializeOwned;

use crate::config::{Config, Log};

/// PIN of the load's cards.
const PIN: &str = "246810";
/// Cards; many, because a card is one account in the network's books.
const CARDS: u32 = 64;
/// Terminals of one merchant.
const PER_MERCHANT: usize = 25;
/// How long a process may take to come up or to go.
const START_MAX: Duration = Duration::from_secs(60);
/// Connections that the generator may make in a second: no limit in practice.
const CONNECTS: u32 = 1_000_000;
/// Writes to the master data under way at one time.
const WRITES: usize = 64;

/// The cards of the load.
pub fn cards() -> anyhow::Result<Vec<Card>> {
    (0..CARDS).map(|index| Card::numbered(index, PIN)).collect()
}

/// What the network's books say.
#[derive(Debug, Default)]
pub struct NetworkBooks {
    /// Approved and in force or undone by a later transaction, by kind.
    pub approved: std::collections::BTreeMap<String, u64>,
}

/// Node and network under load. Dropped, it ends them.
pub struct Stage {
    program: PathBuf,
    dir: PathBuf,
    /// The node's settings.
    pub config: Config,
    control: SocketAddr,
    http: reqwest::Client,
    node: Option<Child>,
    network: Option<Child>,
    /// The terminals.
    pub enrolled: Vec<Enrolled>,
}

fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    // Below those that the system gives to outgoing connections.
    let first = 20_000 + (std::process::id() % 1_000) * 10;
    let free: Vec<SocketAddr> = (first..32_000)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|address| TcpListener::bind(address).is_ok())
        .take(count)
        .collect();
    if free.len() < count {
        bail!("no free ports between 20000 and 32000");
    }
    Ok(free)
}

/// Enters merchants and terminals with keys of their own into a store and gives what the terminals must be loaded
/// with. What has the same number already gets a new key.
pub async fn enrol(config: &Config, vault: &dyn Hsm, terminals: usize) -> anyhow::Result<Vec<Enrolled>> {
    let store = config.open_store_beside(None)?;
    let mut enrolled = Vec::with_capacity(terminals);
    let mut writes = tokio::task::JoinSet::new();
    for index in 0..terminals {
        let merchant = format!("89810053{:07}", index / PER_MERCHANT);
        let id = format!("5{index:07}");
        if index % PER_MERCHANT == 0 {
            let new = Merchant {
                id: MerchantId::new(&merchant)?,
                name: format!("压测商户{}", index / PER_MERCHANT),
                mcc: 5411,
                active: true,
                limit_single: None,
                profile: None,
            };
            store.put_merchant(&new).await?;
        }
        let components = [KeyComponent::random(16)?, KeyComponent::random(16)?];
        let key = vault.import_components(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2, &components)?;
        let terminal = Terminal {
            merchant: MerchantId::new(&merchant)?,
            id: TerminalId::new(&id)?,
            active: true,
            cipher: TerminalCipher::TripleDes,
            master_key: key.to_string(),
            session: TerminalSession::NEW,
        };
        let components = components.map(|component| component.reveal_hex().to_string());
        enrolled.push(Enrolled { merchant, terminal: id, components });
        let own = store.clone();
        writes.spawn(async move { own.put_terminal(&terminal).await });
        if writes.len() >= WRITES
            && let Some(done) = writes.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = writes.join_next().await {
        done??;
    }
    store.close().await;
    Ok(enrolled)
}

impl Stage {
    /// Furnishes `dir`, which is emptied, and starts both processes.
    ///
    /// The payments are in `database`, a PostgreSQL of the caller's that must be empty, or in a file there.
    pub async fn raise(
        dir: &Path,
        mut config: Config,
        terminals: usize,
        patience_ms: u64,
        level: &str,
        database: Option<&str>,
    ) -> anyhow::Result<Stage> {
        if dir.exists() {
            let own = dir.join("bench.stage");
            if !own.is_file() {
                bail!("{} exists and is not the directory of a bench", dir.display());
            }
            std::fs::remove_dir_all(dir).with_context(|| format!("{} cannot be emptied", dir.display()))?;
        }
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("bench.stage"), "emptied by the next `posp bench`\n")?;
        // A copy of its own: a build beside the run must not change the program half way.
        let program = dir.join("posp");
        std::fs::copy(std::env::current_exe()?, &program)?;
        // Left to the system it would go to the disk half a minute later, in the middle of what is measured.
        std::fs::File::open(&program)?.sync_all()?;
        let [pos, ops, inbound, network, control] = free_ports(5)?[..] else { bail!("no free ports") };
        config.node.data = dir.join("data");
        if let Some(url) = database {
            url.clone_into(&mut config.store.url);
        }
        config.node.master_key = dir.join("master.key");
        config.log = Log { level: level.to_owned(), ..config.log };
        config.pos.listen = pos;
        config.pos.connections_max = config.pos.connections_max.max(terminals.saturating_mul(2));
        // All terminals of a load come from one address, and all at once.
        config.pos.connects_per_second_max = config.pos.connects_per_second_max.max(CONNECTS);
        config.pos.frames_per_address_max = config.pos.frames_per_address_max.max(terminals);
        config.ops.listen = ops;
        config.unionpay.network = network.to_string();
        config.unionpay.listen = inbound;
        config.engine.network_patience_ms = patience_ms;
        let vault = SoftVault::create_file(&config.node.master_key)?;
        let zone: Vec<KeyComponent> = sim::LAB_ZMK_COMPONENTS
            .iter()
            .map(|text| KeyComponent::from_hex(text))
            .collect::<Result<_, _>>()?;
        let zone = vault.import_components(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2, &zone)?;
        config.unionpay.zone_master_key = zone.to_string();
        std::fs::write(dir.join("posp.toml"), toml::to_string(&config)?)?;
        std::fs::write(dir.join("sim.toml"), network_config(patience_ms)?)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build()?;
        let enrolled = enrol(&config, &vault, terminals).await?;
        let mut stage = Stage {
            program,
            dir: dir.to_owned(),
            config,
            control,
            http,
            node: None,
            network: None,
            enrolled,
        };
        let mut sim = stage.command("sim.log")?;
        sim.arg("sim").arg("--config").arg(dir.join("sim.toml"));
        sim.args(["--listen", &network.to_string(), "--member-listener", &inbound.to_string()]);
        sim.args(["--control", &control.to_string()]);
        stage.network = Some(sim.spawn().context("the network cannot be started")?);
        let mut node = stage.command("posp.log")?;
        node.arg("--config").arg(dir.join("posp.toml")).arg("up");
        stage.node = Some(node.spawn().context("the node cannot be started")?);
        stage.wait_ready().await?;
        Ok(stage)
    }

    fn command(&self, log: &str) -> anyhow::Result<Command> {
        let log = File::create(self.dir.join(log))?;
        let mut command = Command::new(&self.program);
        // What is in force stands in the file; the simulator has its own.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSP_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("http://{}/healthz", self.config.ops.listen);
        loop {
            if let Ok(answer) = self.http.get(&url).send().await
                && let Ok(health) = answer.json::<crate::ops::Health>().await
                && health.parts.iter().any(|part| part.name == "line unionpay" && part.ok)
            {
                return Ok(());
            }
            let ended = self.node.as_mut().is_some_and(|node| !matches!(node.try_wait(), Ok(None)));
            if ended || begun.elapsed() > START_MAX {
                bail!("the node does not come up; see {}", self.dir.join("posp.log").display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a bare relay and its echo, a process each.
    pub async fn raise_relay(&self) -> anyhow::Result<Relay> {
        let [network, address] = free_ports(2)?[..] else { bail!("no free ports") };
        let mut echo = self.command("echo.log")?;
        echo.args(["bench", "echo", "--listen", &network.to_string()]);
        let mut relay = Relay { address, children: vec![echo.spawn()?] };
        reachable(network).await?;
        let mut node = self.command("relay.log")?;
        node.args(["bench", "relay", "--listen", &address.to_string(), "--network", &network.to_string()]);
        relay.children.push(node.spawn()?);
        reachable(address).await?;
        Ok(relay)
    }

    /// Connections of terminals that the node has now, by its own gauge.
    pub async fn connections(&self) -> anyhow::Result<usize> {
        let url = format!("http://{}/metrics", self.config.ops.listen);
        let text = self.http.get(url).send().await?.error_for_status()?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix("posp_link_connections "));
        // Nobody has connected yet: the node has not counted any.
        Ok(value.map_or(Ok(0), str::parse)?)
    }

    /// Process numbers of node and network.
    pub fn pids(&self) -> (Option<u32>, Option<u32>) {
        (self.node.as_ref().map(Child::id), self.network.as_ref().map(Child::id))
    }

    /// Ends the node in order: what it counts afterwards is all that will ever be.
    pub async fn stop_node(&mut self) -> anyhow::Result<()> {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        let sent = Command::new("kill").arg(node.id().to_string()).status()?;
        let begun = Instant::now();
        while node.try_wait()?.is_none() {
            if !sent.success() || begun.elapsed() > START_MAX {
                node.kill()?;
                node.wait()?;
                bail!("the node did not stop");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until nothing is left to reverse or repeat.
    pub async fn drained(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let store = self.config.open_store_to_read(None)?;
        loop {
            let counts = store.counts(jiff::Timestamp::UNIX_EPOCH).await?;
            if counts.waiting == 0 && counts.open.iter().all(|(_, count)| *count == 0) {
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                bail!("{} items wait for the network still", counts.waiting);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The database server's settings that decide how quick and how safe its commits are, in one line; none on SQLite.
    pub async fn server_settings(&self) -> anyhow::Result<Option<String>> {
        let settings = self.config.open_store_to_read(None)?.server_settings().await?;
        let settings: Vec<String> =
            settings.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(Some(settings.join(", ")).filter(|line| !line.is_empty()))
    }

    /// Payments in the journal by state.
    pub async fn journal(&self) -> anyhow::Result<store::Counts> {
        let store = self.config.open_store_to_read(None)?;
        Ok(store.counts(jiff::Timestamp::UNIX_EPOCH).await?)
    }

    /// What the network has approved, by kind.
    pub async fn network_books(&self) -> anyhow::Result<NetworkBooks> {
        let days: std::collections::BTreeMap<String, sim::DayTotals> = self.network("/api/totals").await?;
        let mut books = NetworkBooks::default();
        for (kind, total) in days.values().flat_map(|day| &day.kinds) {
            let name = serde_json::to_value(kind)?.as_str().unwrap_or_default().to_owned();
            *books.approved.entry(name).or_default() += total.count;
        }
        Ok(books)
    }

    async fn network<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("http://{}{path}", self.control);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }
}

/// A bare relay under load. Dropped, it ends.
pub struct Relay {
    /// Where it takes frames.
    pub address: SocketAddr,
    children: Vec<Child>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn reachable(address: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if begun.elapsed() > START_MAX {
            bail!("{address} does not come up");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in [&mut self.node, &mut self.network].into_iter().flatten() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The network: the load's cards with as much money as field 54 can tell, room for all transactions, late answers after the node has
/// given up.
fn network_config(patience_ms: u64) -> anyhow::Result<String> {
    let mut text = format!(
        "[policy]\nrecord_max = 100000000\n[limits]\nin_flight = 65536\n[timing]\nlate_answer = {}\n",
        patience_ms + 500
    );
    for (index, card) in cards()?.iter().enumerate() {
        text.push_str(&format!(
            "[[cards]]\nid = \"B{index:02}\"\npan = \"{}\"\nexpiry = {}\nservice = \"101\"\npin = \"{PIN}\"\n\
             product = \"debit\"\nopening = 900000000000\n",
            card.pan, card.expiry
        ));
    }
    Ok(text)
}
