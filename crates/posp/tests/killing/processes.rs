//! The processes: the network, which lives through the run, and the nodes and the front before them, which do not.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

use store::Store;

use super::cards;
use super::front::{self, Front};
use super::random::Random;
use super::server::Server;

/// Merchant of the run.
pub const MERCHANT: &str = "898100000000001";
/// How long the node waits for the network, milliseconds.
const PATIENCE_MS: u64 = 500;
/// A late answer of the network comes after the node has given up, milliseconds.
const LATE_MS: u64 = 900;
/// How long a process may take to come up.
const START_MAX: Duration = Duration::from_secs(20);

/// How long beyond that the nodes of one store wait before they take up what another one left, milliseconds.
const TAKEOVER_MS: u64 = 1_200;

/// The front's log.
pub const FRONT_LOG: &str = "front.log";

/// Where the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// One node with the embedded store.
    Sqlite,
    /// Two nodes on one PostgreSQL server, which is killed as well.
    Postgres,
}

/// A node of the run.
pub struct Node {
    /// Its door for terminals.
    pub pos: SocketAddr,
    ops: SocketAddr,
    inbound: SocketAddr,
    name: &'static str,
    process: Option<Child>,
}

impl Node {
    fn config(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.toml", self.name))
    }

    fn log(&self) -> String {
        format!("{}.log", self.name)
    }
}

/// Free ports of the loopback address. They lie below those that the system gives to outgoing connections: else a
/// terminal's own connection could take a node's port while the node is dead.
fn free_ports() -> impl Iterator<Item = SocketAddr> {
    let first = 20_000 + (std::process::id() % 1_000) * 10;
    (first..32_000)
        .filter_map(|port| u16::try_from(port).ok())
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .filter(|address| TcpListener::bind(address).is_ok())
}

/// The processes and their directory. Dropped, it ends them.
pub struct Processes {
    posp: PathBuf,
    /// Everything that the run writes.
    pub dir: PathBuf,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Where the nodes reach the network.
    network_at: SocketAddr,
    /// The network's page and record.
    control: SocketAddr,
    http: reqwest::Client,
    network: Option<Child>,
    database: Option<(Server, String)>,
    /// The internet front, where terminals come through one.
    pub front: Option<Front>,
    front_process: Option<Child>,
}

impl Processes {
    /// Furnishes the directory: keys, configurations, merchant, terminals with `components`; starts the network, and
    /// the database where there is one.
    pub async fn furnish(
        options: &super::Options,
        dir: &Path,
        terminals: &[(String, [String; 2])],
    ) -> anyhow::Result<Processes> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build()?;
        // A copy of its own: a build that goes on beside the run must not change the program half way.
        let program = dir.join("posp");
        std::fs::copy(&options.posp, &program)
            .with_context(|| format!("{} cannot be copied", options.posp.display()))?;
        let (names, database): (&[&'static str], _) = match options.store {
            Engine::Sqlite => (&["posp"], None),
            Engine::Postgres => {
                let server = Server::start();
                let url = server.database().await;
                (&["first", "second"], Some((server, url)))
            }
        };
        let mut free = free_ports();
        let mut next = || free.next().context("no free port between 20000 and 32000");
        let mut nodes = Vec::new();
        for &name in names {
            nodes.push(Node { pos: next()?, ops: next()?, inbound: next()?, name, process: None });
        }
        let front = match options.front {
            false => None,
            true => {
                let doors: Vec<_> = nodes.iter().map(|node| (node.pos, node.ops)).collect();
                let names = terminals.iter().map(|(id, _)| id.clone());
                Some(Front::furnish(dir, (next()?, next()?), &doors, names)?)
            }
        };
        let mut processes = Processes {
            posp: program,
            dir: dir.to_owned(),
            nodes,
            network_at: next()?,
            control: next()?,
            http,
            network: None,
            database,
            front,
            front_process: None,
        };
        processes.write_configs("")?;
        processes.command(&["key", "init"])?;
        let mut zone = vec!["key", "zone"];
        for component in sim::LAB_ZMK_COMPONENTS {
            zone.extend(["--component", component]);
        }
        let printed = processes.command(&zone)?;
        let key = printed.lines().find_map(|line| line.strip_prefix("zone_master_key = "));
        let key = key.context("`posp key zone` printed no key")?.trim_matches('"').to_owned();
        processes.write_configs(&key)?;
        processes.command(&["merchant", "add", MERCHANT, "--name", "击杀测试商户"])?;
        for (id, components) in terminals {
            let mut add = vec!["terminal", "add", MERCHANT, id];
            for component in components {
                add.extend(["--tmk-component", component]);
            }
            processes.command(&add)?;
        }
        std::fs::write(dir.join("sim.toml"), network_config(options, terminals.len()))?;
        processes.start_network()?;
        Ok(processes)
    }

    fn write_configs(&self, zone_master_key: &str) -> anyhow::Result<()> {
        let key = self.dir.join("master.key");
        let network = self.network_at;
        let url = self.database.as_ref().map_or("", |(_, url)| url);
        for Node { pos, ops, inbound, name, .. } in &self.nodes {
            let data = self.dir.join("data").join(name);
            let text = format!(
                "[node]\nname = \"{name}\"\ndata = {data:?}\nmaster_key = {key:?}\n[pos]\nlisten = \"{pos}\"\n\
                 [ops]\nlisten = \"{ops}\"\n[unionpay]\nnetwork = \"{network}\"\nlisten = \"{inbound}\"\n\
                 zone_master_key = \"{zone_master_key}\"\n[engine]\nnetwork_patience_ms = {PATIENCE_MS}\n\
                 forward_pause_ms = 50\nforward_pause_max_ms = 400\ntakeover_ms = {TAKEOVER_MS}\n\
                 [store]\nurl = {url:?}\n"
            );
            std::fs::write(self.dir.join(format!("{name}.toml")), text)?;
        }
        Ok(())
    }

    /// Opens the journal beside the nodes.
    pub fn journal(&self) -> anyhow::Result<Store> {
        match (&self.database, self.nodes.first()) {
            (Some((_, url)), _) => Ok(Store::open_url_read_only(url)?),
            (None, Some(node)) => Ok(Store::open_read_only(self.dir.join("data").join(node.name))?),
            (None, None) => bail!("there is no node"),
        }
    }

    /// The logs of the nodes and the front, all their lives in one file each, and the network's.
    pub fn logs(&self) -> Vec<String> {
        let front = self.front.iter().map(|_| FRONT_LOG.to_owned());
        self.nodes.iter().map(Node::log).chain(front).chain(["sim.log".to_owned()]).collect()
    }

    /// Where terminals connect: every node, or the front alone.
    pub fn hosts(&self) -> Vec<String> {
        match &self.front {
            Some(front) => vec![front.host()],
            None => self.nodes.iter().map(|node| node.pos.to_string()).collect(),
        }
    }

    fn program(&self, config: &Path) -> Command {
        let mut program = Command::new(&self.posp);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSP_")) {
            program.env_remove(name);
        }
        program.arg("--config").arg(config).stdin(Stdio::null());
        program
    }

    /// Runs a command to its end; what it printed.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let node = self.nodes.first().context("there is no node")?;
        let output = self.program(&node.config(&self.dir)).args(arguments).output()?;
        if !output.status.success() {
            let shown: Vec<&str> = arguments.iter().take(2).copied().collect();
            bail!("posp {}: {}", shown.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn log_file(&self, path: &Path) -> anyhow::Result<File> {
        Ok(OpenOptions::new().create(true).append(true).open(path)?)
    }

    fn start_network(&mut self) -> anyhow::Result<()> {
        let log = self.log_file(&self.dir.join("sim.log"))?;
        let mut program = Command::new(&self.posp);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSP_")) {
            program.env_remove(name);
        }
        let listeners: Vec<String> = self.nodes.iter().map(|node| node.inbound.to_string()).collect();
        program.arg("sim").arg("--config").arg(self.dir.join("sim.toml"));
        program.arg("--listen").arg(self.network_at.to_string());
        program.arg("--member-listener").arg(listeners.join(","));
        program.arg("--control").arg(self.control.to_string());
        program.arg("--books").arg(self.dir.join("network.jsonl"));
        program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.network = Some(program.spawn().context("the network cannot be started")?);
        Ok(())
    }

    /// Starts a node. It comes up by itself; nobody waits here.
    pub fn start_node(&mut self, which: usize) -> anyhow::Result<()> {
        let node = self.nodes.get(which).context("no such node")?;
        let log = self.log_file(&self.dir.join(node.log()))?;
        let mut program = self.program(&node.config(&self.dir));
        program.arg("up").stdout(log.try_clone()?).stderr(log);
        let process = program.spawn().context("the node cannot be started")?;
        if let Some(node) = self.nodes.get_mut(which) {
            node.process = Some(process);
        }
        Ok(())
    }

    /// Starts the front. It comes up by itself; nobody waits here.
    pub fn start_front(&mut self) -> anyhow::Result<()> {
        let log = self.log_file(&self.dir.join(FRONT_LOG))?;
        let mut program = self.program(&front::config(&self.dir));
        program.arg("front").stdout(log.try_clone()?).stderr(log);
        self.front_process = Some(program.spawn().context("the front cannot be started")?);
        Ok(())
    }

    /// Kills the front with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself, which it must not.
    pub fn kill_front(&mut self) -> anyhow::Result<()> {
        let front = self.front_process.take().context("no front is running")?;
        kill(front, "the front")
    }

    /// Ends the front as an operator would, and gives its exit status.
    pub fn stop_front(&mut self) -> anyhow::Result<ExitStatus> {
        let front = self.front_process.take().context("no front is running")?;
        stop(front, "the front")
    }

    fn take_node(&mut self, which: usize) -> anyhow::Result<Child> {
        let process = self.nodes.get_mut(which).and_then(|node| node.process.take());
        process.context("no node is running")
    }

    /// Kills a node with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself, which it must not.
    pub fn kill_node(&mut self, which: usize) -> anyhow::Result<()> {
        kill(self.take_node(which)?, "the node")
    }

    /// Kills the database server with SIGKILL, all its processes.
    pub fn kill_database(&self) -> anyhow::Result<()> {
        let (server, _) = self.database.as_ref().context("there is no database server")?;
        server.kill();
        Ok(())
    }

    /// Starts the database server again.
    pub fn start_database(&self) -> anyhow::Result<()> {
        let (server, _) = self.database.as_ref().context("there is no database server")?;
        server.up();
        Ok(())
    }

    /// Waits until a node has ended by itself because its database is gone, as its supervisor would.
    pub async fn await_end(&mut self, which: usize) -> anyhow::Result<()> {
        let mut node = self.take_node(which)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = node.try_wait()? {
                if status.success() {
                    bail!("the node lost its database and calls that success");
                }
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                node.kill()?;
                node.wait()?;
                bail!("the node goes on {START_MAX:?} after its database was killed");
            }
            // poll for the end of the process, bounded by the deadline above
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends a node as an operator would, with SIGTERM, and gives its exit status.
    pub fn stop_node(&mut self, which: usize) -> anyhow::Result<ExitStatus> {
        stop(self.take_node(which)?, "the node")
    }

    /// Waits until every node takes terminals and its line to the network is ready, and the front has seen all of them.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            self.wait_ready_node(node).await?;
        }
        let Some(front) = &self.front else { return Ok(()) };
        let begun = Instant::now();
        let url = format!("http://{}/readyz", front.ops);
        let all = format!("{0} of {0} nodes take requests", self.nodes.len());
        loop {
            if let Ok(answer) = self.http.get(&url).send().await
                && let Ok(health) = answer.json::<serde_json::Value>().await
                && health["parts"][0]["detail"] == all.as_str()
            {
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                bail!("the front does not use every node after {START_MAX:?}");
            }
            // poll until ready, bounded by the deadline above
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wait_ready_node(&self, node: &Node) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("http://{}/healthz", node.ops);
        loop {
            if let Ok(answer) = self.http.get(&url).send().await
                && let Ok(health) = answer.json::<serde_json::Value>().await
                && health["parts"].as_array().is_some_and(|parts| {
                    parts.iter().any(|part| part["name"] == "line unionpay" && part["ok"] == true)
                })
            {
                return Ok(());
            }
            if begun.elapsed() > START_MAX {
                bail!(
                    "the node is not ready after {START_MAX:?}; see {}",
                    self.dir.join(node.log()).display()
                );
            }
            // poll until ready, bounded by the deadline above
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads what the network's control interface says.
    pub async fn network<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("http://{}{path}", self.control);
        Ok(self.http.get(url).send().await?.error_for_status()?.json().await?)
    }

    /// The network's whole record, page by page.
    pub async fn record(&self) -> anyhow::Result<Vec<sim::RecordLine>> {
        let mut lines: Vec<sim::RecordLine> = Vec::new();
        loop {
            let after = lines.last().map_or(0, |line| line.id);
            let page: Vec<sim::RecordLine> =
                self.network(&format!("/api/record?after={after}&limit=2000")).await?;
            if page.is_empty() {
                return Ok(lines);
            }
            lines.extend(page);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        for child in nodes.chain(&mut self.front_process).chain(&mut self.network) {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills a process with SIGKILL and waits until it is gone; it must not have ended by itself.
fn kill(mut process: Child, name: &str) -> anyhow::Result<()> {
    if let Some(status) = process.try_wait()? {
        bail!("{name} ended by itself: {status}");
    }
    process.kill()?;
    process.wait()?;
    Ok(())
}

/// Ends a process with SIGTERM and gives its exit status.
fn stop(mut process: Child, name: &str) -> anyhow::Result<ExitStatus> {
    let sent = Command::new("kill").arg(process.id().to_string()).status()?;
    if !sent.success() {
        bail!("{name} could not be told to stop");
    }
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > START_MAX {
            process.kill()?;
            process.wait()?;
            bail!("{name} did not stop in {START_MAX:?}");
        }
        // A look at the process every so often: a poll with the deadline above.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Faults of the network by class of message: what, of how many per cent, of which class.
const ALWAYS: [(&str, u32, u32); 10] = [
    ("no_answer", 1, 200),
    ("lost", 1, 200),
    ("no_answer", 5, 420),
    ("lost", 4, 420),
    ("double_answer", 4, 420),
    ("late_answer", 2, 420),
    ("bounce", 2, 420),
    ("no_answer", 5, 220),
    ("lost", 5, 220),
    ("double_answer", 5, 220),
];

/// Those of a bad day beside them: lines that drop before and after the network has taken a message, answers that
/// come late or not at all.
const BAD_DAY: [(&str, u32, u32); 8] = [
    ("no_answer", 3, 200),
    ("lost", 3, 200),
    ("late_answer", 4, 200),
    ("double_answer", 3, 200),
    ("drop_before", 1, 200),
    ("drop_after", 1, 200),
    ("drop_after", 2, 420),
    ("late_answer", 4, 220),
];

/// The network's configuration: faults by amount stay as they are; these come on top, seeded.
fn network_config(options: &super::Options, terminals: usize) -> String {
    let mut random = Random::part(options.seed, 1_000_000);
    let mut text = format!("[timing]\nlate_answer = {LATE_MS}\nreconnect = 50\n");
    let bad_day = if options.faults { &BAD_DAY[..] } else { &[] };
    for (fault, percent, class) in ALWAYS.iter().chain(bad_day) {
        let seed = random.below(1 << 40);
        text.push_str(&format!(
            "[[faults.rules]]\nfault = \"{fault}\"\nspan = {{ percent = {{ percent = {percent}, seed = {seed} }} }}\n\
             classes = [{class}]\n"
        ));
    }
    text + &cards::network_deck(terminals)
}
