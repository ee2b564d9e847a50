//! The two processes: the network, which lives through the run, and the node, which does not.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

use super::cards;
use super::random::Random;

/// Merchant of the run.
pub const MERCHANT: &str = "898100000000001";
/// How long the node waits for the network, milliseconds.
const PATIENCE_MS: u64 = 800;
/// A late answer of the network comes after the node has given up, milliseconds.
const LATE_MS: u64 = 1_300;
/// How long a process may take to come up.
const START_MAX: Duration = Duration::from_secs(20);

/// Where everybody listens.
#[derive(Clone, Copy)]
pub struct Ports {
    /// The node's door for terminals.
    pub pos: SocketAddr,
    /// Its health and metrics.
    pub ops: SocketAddr,
    /// Where the network reaches it.
    pub inbound: SocketAddr,
    /// Where it reaches the network.
    pub network: SocketAddr,
    /// The network's page and record.
    pub control: SocketAddr,
}

impl Ports {
    /// Five free ports of the loopback address. They lie below those that the system gives to outgoing
    /// connections: else a terminal's own connection could take the node's port while the node is dead.
    fn free() -> anyhow::Result<Ports> {
        let first = 20_000 + (std::process::id() % 1_000) * 10;
        let mut free = (first..32_000)
            .filter_map(|port| u16::try_from(port).ok())
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .filter(|address| TcpListener::bind(address).is_ok());
        let mut next = || free.next().context("no free port between 20000 and 32000");
        Ok(Ports { pos: next()?, ops: next()?, inbound: next()?, network: next()?, control: next()? })
    }
}

/// The processes and their directory. Dropped, it ends them.
pub struct Processes {
    posp: PathBuf,
    /// Everything that the run writes.
    pub dir: PathBuf,
    /// Where everybody listens.
    pub ports: Ports,
    http: reqwest::Client,
    network: Option<Child>,
    node: Option<Child>,
}

impl Processes {
    /// Furnishes the directory: keys, configurations, merchant, terminals with `components`; starts the network.
    pub fn furnish(
        posp: &Path,
        dir: &Path,
        seed: u64,
        terminals: &[(String, [String; 2])],
    ) -> anyhow::Result<Processes> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build()?;
        // A copy of its own: a build that goes on beside the run must not change the program half way.
        let program = dir.join("posp");
        std::fs::copy(posp, &program).with_context(|| format!("{} cannot be copied", posp.display()))?;
        let mut processes = Processes {
            posp: program,
            dir: dir.to_owned(),
            ports: Ports::free()?,
            http,
            network: None,
            node: None,
        };
        let node_config = dir.join("posp.toml");
        std::fs::write(&node_config, processes.node_config(""))?;
        processes.command(&["key", "init"])?;
        let mut zone = vec!["key", "zone"];
        for component in sim::LAB_ZMK_COMPONENTS {
            zone.extend(["--component", component]);
        }
        let printed = processes.command(&zone)?;
        let key = printed.lines().find_map(|line| line.strip_prefix("zone_master_key = "));
        let key = key.context("`posp key zone` printed no key")?.trim_matches('"').to_owned();
        std::fs::write(&node_config, processes.node_config(&key))?;
        processes.command(&["merchant", "add", MERCHANT, "--name", "击杀测试商户"])?;
        for (id, components) in terminals {
            let mut add = vec!["terminal", "add", MERCHANT, id];
            for component in components {
                add.extend(["--tmk-component", component]);
            }
            processes.command(&add)?;
        }
        std::fs::write(dir.join("sim.toml"), network_config(seed, terminals.len()))?;
        processes.start_network()?;
        Ok(processes)
    }

    fn node_config(&self, zone_master_key: &str) -> String {
        let Ports { pos, ops, inbound, network, .. } = self.ports;
        let (data, key) = (self.data(), self.dir.join("master.key"));
        format!(
            "[node]\ndata = {data:?}\nmaster_key = {key:?}\n[pos]\nlisten = \"{pos}\"\n[ops]\n\
             listen = \"{ops}\"\n[unionpay]\nnetwork = \"{network}\"\nlisten = \"{inbound}\"\n\
             zone_master_key = \"{zone_master_key}\"\n[engine]\nnetwork_patience_ms = {PATIENCE_MS}\n\
             forward_pause_ms = 50\nforward_pause_max_ms = 400\n"
        )
    }

    /// The node's data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The node's log, all its lives in one file.
    pub fn log(&self) -> PathBuf {
        self.dir.join("posp.log")
    }

    fn program(&self) -> Command {
        let mut program = Command::new(&self.posp);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSP_")) {
            program.env_remove(name);
        }
        program.arg("--config").arg(self.dir.join("posp.toml")).stdin(Stdio::null());
        program
    }

    /// Runs a command to its end; what it printed.
    fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.program().args(arguments).output()?;
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
        program.arg("sim").arg("--config").arg(self.dir.join("sim.toml"));
        program.arg("--listen").arg(self.ports.network.to_string());
        program.arg("--member-listener").arg(self.ports.inbound.to_string());
        program.arg("--control").arg(self.ports.control.to_string());
        program.arg("--books").arg(self.dir.join("network.jsonl"));
        program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.network = Some(program.spawn().context("the network cannot be started")?);
        Ok(())
    }

    /// Starts the node. It comes up by itself; nobody waits here.
    pub fn start_node(&mut self) -> anyhow::Result<()> {
        let log = self.log_file(&self.log())?;
        let mut program = self.program();
        program.arg("up").stdout(log.try_clone()?).stderr(log);
        self.node = Some(program.spawn().context("the node cannot be started")?);
        Ok(())
    }

    /// Kills the node with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself, which it must not.
    pub fn kill_node(&mut self) -> anyhow::Result<()> {
        let Some(mut node) = self.node.take() else { bail!("no node is running") };
        if let Some(status) = node.try_wait()? {
            bail!("the node ended by itself: {status}");
        }
        node.kill()?;
        node.wait()?;
        Ok(())
    }

    /// Ends the node as an operator would, with SIGTERM, and gives its exit status.
    pub fn stop_node(&mut self) -> anyhow::Result<ExitStatus> {
        let Some(mut node) = self.node.take() else { bail!("no node is running") };
        let sent = Command::new("kill").arg(node.id().to_string()).status()?;
        if !sent.success() {
            bail!("the node could not be told to stop");
        }
        let begun = Instant::now();
        loop {
            if let Some(status) = node.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > START_MAX {
                node.kill()?;
                node.wait()?;
                bail!("the node did not stop in {START_MAX:?}");
            }
            // A look at the process every so often: a poll with the deadline above.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the node takes terminals and its line to the network is ready.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("http://{}/healthz", self.ports.ops);
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
                bail!("the node is not ready after {START_MAX:?}; see {}", self.log().display());
            }
            // poll until ready, bounded by the deadline above
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads what the network's control interface says.
    pub async fn network<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("http://{}{path}", self.ports.control);
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
        for child in [&mut self.node, &mut self.network].into_iter().flatten() {
            // Gone already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The network's configuration: faults by amount stay as they are; these come on top, seeded.
fn network_config(seed: u64, terminals: usize) -> String {
    let mut random = Random::part(seed, 1_000_000);
    let mut text = format!("[timing]\nlate_answer = {LATE_MS}\nreconnect = 50\n");
    for (fault, percent, class) in [
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
    ] {
        let seed = random.below(1 << 40);
        text.push_str(&format!(
            "[[faults.rules]]\nfault = \"{fault}\"\nspan = {{ percent = {{ percent = {percent}, seed = {seed} }} }}\n\
             classes = [{class}]\n"
        ));
    }
    text + &cards::network_deck(terminals)
}
