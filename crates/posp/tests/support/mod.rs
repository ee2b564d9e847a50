//! A laboratory out of processes: `posp sim` and `posp up` in a directory of their own, configured by the
//! commands an operator would type, with terminals of the `pos` library in front.
//!
//! Waiting is polling with a deadline that suits a loaded machine; nothing here depends on how fast it is.
#![allow(dead_code)] // every test binary takes what it needs of this

pub mod line;
pub mod raw;
pub mod scan;
#[path = "../../../store/tests/common/server.rs"]
pub mod server;

use std::fs::{self, File};
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, SoftVault};
use pos::{KeyLayout, TerminalConfig, TmkComponent};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The merchant of the laboratory.
pub const MERCHANT: &str = "898100000000001";
/// Its 3DES terminals.
pub const FIRST: &str = "10000001";
/// The second one.
pub const SECOND: &str = "10000002";
/// Its SM4 terminal.
pub const NATIONAL: &str = "10000009";
/// The store of a scenario that is about the journal's files.
pub const IN_FILES: &str = "files";
/// Longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// And looked for at least so often: on a busy machine, or one that was stopped for a while, time alone says nothing.
const LOOKS_MIN: u32 = 300;

/// Key components of every terminal: laboratory values, so that a scan knows what to look for.
pub const TMK: [&str; 2] = ["5D61F2A48CB03E97146DA85BC29FE073", "A83C07D9E1527FB6904EC3682B15FD4A"];

/// A process that dies with the test.
pub struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `posp` with its standard error in `log`.
    pub fn start(arguments: &[&str], log: &Path) -> Process {
        Process::start_logging(arguments, log, "info")
    }

    /// The same, with a level for its log.
    pub fn start_logging(arguments: &[&str], log: &Path, level: &str) -> Process {
        Process::start_told(arguments, log, level, "")
    }

    /// The same, and it is told this on its standard input.
    pub fn start_told(arguments: &[&str], log: &Path, level: &str, input: &str) -> Process {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = command(arguments);
        command.env("POSP_LOG", level).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Process { child, stdout }
    }

    /// The next line of its standard output; empty when it ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the process ends", || child.try_wait().unwrap()).await
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `posp` with these arguments and no setting from outside.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posp"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POSP_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `posp` to its end.
pub fn posp(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs `posp` to its end with `input` on standard input.
pub fn posp_with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Both outputs of a command as one text.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Polls until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = 0;
    loop {
        if let Some(found) = look() {
            return found;
        }
        looks += 1;
        let over = looks >= LOOKS_MIN && Instant::now() >= deadline;
        assert!(!over, "in {PATIENCE:?} and {looks} looks it did not come to this: {what}");
        // The pause between two polls.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Polls until the future that `look` makes finds something.
pub async fn until_async<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = 0;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        looks += 1;
        let over = looks >= LOOKS_MIN && Instant::now() >= deadline;
        assert!(!over, "in {PATIENCE:?} and {looks} looks it did not come to this: {what}");
        // The pause between two polls.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago, below the range that the system hands out for outgoing connections.
/// Test binaries that run side by side begin at places of their own.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static START: OnceLock<u16> = OnceLock::new();
    let start = *START.get_or_init(|| (std::process::id() * 131 % 11_000) as u16);
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Gets a page and says what status it had.
pub async fn get(url: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
    let response = client.get(url).send().await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

/// What a laboratory may have otherwise.
pub struct Setup {
    /// Terminals, each known to the node and with its cipher: `des` or `sm4`.
    pub terminals: Vec<(&'static str, &'static str)>,
    /// Milliseconds that the node waits for the network.
    pub network_patience_ms: u64,
    /// Milliseconds by which a late answer of the network is late.
    pub late_answer_ms: u64,
    /// What both processes log.
    pub log: &'static str,
    /// Further lines for the times of the network, each ended.
    pub network_times: &'static str,
    /// Further lines for the section of the door, each ended.
    pub door: &'static str,
    /// Further lines for the section of the engine, each ended.
    pub engine: &'static str,
    /// Where the journal is. Empty: in the data directory, or with `LAB_STORE=postgres` in a database of a server that the
    /// tests share, so that every scenario can be played on both stores. [`IN_FILES`]: in the data directory always.
    pub store: String,
    /// Sections of profiles, each line ended.
    pub profiles: &'static str,
    /// Profiles of further listeners.
    pub listeners: &'static [&'static str],
    /// The section of the security module, each line ended; empty for a vault in a file.
    pub hsm: String,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            terminals: vec![(FIRST, "des"), (SECOND, "des"), (NATIONAL, "sm4")],
            network_patience_ms: 2_500,
            late_answer_ms: 3_500,
            log: "info",
            network_times: "",
            door: "",
            engine: "",
            store: String::new(),
            profiles: "",
            listeners: &[],
            hsm: String::new(),
        }
    }
}

/// The laboratory.
pub struct Lab {
    /// Everything it writes.
    pub dir: TempDir,
    /// Where terminals connect.
    pub pos: SocketAddr,
    /// Further listeners, in their order.
    pub listeners: Vec<SocketAddr>,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// The network.
    pub network_address: SocketAddr,
    /// The simulator's page.
    pub page: SocketAddr,
    /// The node, while it runs.
    pub node: Option<Process>,
    /// The network, while it runs.
    pub network: Option<Process>,
    log: &'static str,
}

impl Lab {
    /// Prepares node, merchant and terminals with the commands of the binary and starts both processes.
    pub async fn start(mut setup: Setup) -> Lab {
        if setup.store.is_empty() && std::env::var("LAB_STORE").is_ok_and(|store| store == "postgres") {
            setup.store = server::shared().database().await;
        }
        let mut lab = Lab::prepare(&setup);
        lab.start_network();
        lab.start_node().await;
        lab.ready().await;
        lab
    }

    /// Everything but the processes.
    pub fn prepare(setup: &Setup) -> Lab {
        let dir = TempDir::with_prefix("posp-lab-").unwrap();
        let (pos, ops, network_address, page, member) =
            (free_port(), free_port(), free_port(), free_port(), free_port());
        let lab = Lab {
            pos: local(pos),
            listeners: setup.listeners.iter().map(|_| local(free_port())).collect(),
            ops: local(ops),
            network_address: local(network_address),
            page: local(page),
            node: None,
            network: None,
            log: setup.log,
            dir,
        };
        let data = lab.data();
        let mut listeners = setup.profiles.to_owned();
        for (address, profile) in lab.listeners.iter().zip(setup.listeners) {
            listeners.push_str(&format!("[[listen]]\naddress = '{address}'\nprofile = '{profile}'\n"));
        }
        // Short, unless the scenario says how long.
        let frame = if setup.door.contains("frame_seconds") { "" } else { "frame_seconds = 1\n" };
        let mut config = format!(
            "[node]\ndata = '{}'\nmaster_key = '{}'\n\
             [pos]\nlisten = '{}'\n{frame}{}{}\
             [ops]\nlisten = '{}'\n\
             [engine]\nnetwork_patience_ms = {}\nforward_pause_ms = 100\nforward_pause_max_ms = 1000\n{}\
             [store]\nurl = '{}'\n\
             {}[unionpay]\nnetwork = '{}'\nlisten = '{}'\n",
            data.display(),
            lab.key_file().display(),
            lab.pos,
            setup.door,
            listeners,
            lab.ops,
            setup.network_patience_ms,
            setup.engine,
            if setup.store == IN_FILES { "" } else { &setup.store },
            setup.hsm,
            lab.network_address,
            local(member),
        );
        fs::write(lab.config(), &config).unwrap();
        lab.good(&["key", "init"]);
        let [one, two] = sim::LAB_ZMK_COMPONENTS;
        let zone = lab.good(&["key", "zone", "--component", one, "--component", two, "--kcv", "08D7B4FB"]);
        config.push_str(zone.lines().find(|line| line.starts_with("zone_master_key")).unwrap());
        config.push('\n');
        fs::write(lab.config(), &config).unwrap();
        lab.good(&["merchant", "add", MERCHANT, "--name", "实验商户一号店"]);
        for (id, cipher) in &setup.terminals {
            lab.add_terminal(id, cipher);
        }
        let network = format!(
            "listen = '{}'\ncontrol = '{}'\nmember_listener = '{}'\nbooks = '{}'\n\
             [timing]\nlate_answer = {}\nreconnect = 100\n{}",
            lab.network_address,
            lab.page,
            local(member),
            lab.dir.path().join("network.jsonl").display(),
            setup.late_answer_ms,
            setup.network_times,
        );
        fs::write(lab.dir.path().join("sim.toml"), network).unwrap();
        lab
    }

    /// Another node on the same store, as on another machine: with copies of the configuration and of the vault file in a
    /// directory of its own. Made before the network is started, which is told of its listener.
    pub fn another(&self, name: &str) -> Lab {
        let lab = Lab {
            dir: TempDir::with_prefix("posp-lab-").unwrap(),
            pos: local(free_port()),
            ops: local(free_port()),
            listeners: Vec::new(),
            node: None,
            network: None,
            ..*self
        };
        let config = fs::read_to_string(self.config()).unwrap();
        let (_, section) = config.split_once("[unionpay]").unwrap();
        let member = section.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap();
        let own = local(free_port());
        let shown = |path: &Path| path.to_str().unwrap().to_owned();
        let copy = config
            .replacen("[node]\n", &format!("[node]\nname = '{name}'\n"), 1)
            .replace(&shown(self.dir.path()), &shown(lab.dir.path()))
            .replace(&self.pos.to_string(), &lab.pos.to_string())
            .replace(&self.ops.to_string(), &lab.ops.to_string())
            .replace(member, &format!("'{own}'"));
        fs::write(lab.config(), copy).unwrap();
        fs::create_dir_all(lab.key_file().parent().unwrap()).unwrap();
        lab.take_key_file(self);
        let network = self.dir.path().join("sim.toml");
        let told = fs::read_to_string(&network).unwrap();
        let both = format!("'{},{own}'", member.trim_matches('\''));
        fs::write(network, told.replace(member, &both)).unwrap();
        lab
    }

    /// Copies the vault file of another machine to this one, whole at one moment.
    pub fn take_key_file(&self, from: &Lab) {
        let beside = self.key_file().with_extension("copied");
        fs::copy(from.key_file(), &beside).unwrap();
        fs::rename(beside, self.key_file()).unwrap();
    }

    /// Makes a terminal known to the node, with the laboratory's key components and their check values.
    pub fn add_terminal(&self, id: &str, cipher: &str) {
        let algorithm = if cipher == "sm4" { KeyAlgorithm::Sm4 } else { KeyAlgorithm::TripleDes2 };
        let [one, two] = components_with_check(algorithm);
        let said = self.good(&[
            "terminal",
            "add",
            MERCHANT,
            id,
            "--cipher",
            cipher,
            "--tmk-component",
            &one,
            "--tmk-component",
            &two,
        ]);
        assert!(said.contains("TMK check value"), "{said}");
    }

    /// The node's configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("posp.toml")
    }

    /// The node's data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The node's master key file.
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("keys").join("master.key")
    }

    /// Where the node's log goes.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("posp.log")
    }

    /// The node's log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts the network.
    pub fn start_network(&mut self) {
        let config = self.dir.path().join("sim.toml");
        let arguments = ["sim", "--config", config.to_str().unwrap()];
        let log = self.dir.path().join("sim.log");
        self.network = Some(Process::start_logging(&arguments, &log, self.log));
    }

    /// Starts the node and waits until terminals can connect.
    pub async fn start_node(&mut self) {
        self.start_node_told("").await;
    }

    /// The same, and the node is told this on its standard input.
    pub async fn start_node_told(&mut self, input: &str) {
        let config = self.config();
        let arguments = ["--config", config.to_str().unwrap(), "up", "--announce"];
        let mut node = Process::start_told(&arguments, &self.log_file(), self.log, input);
        let line = node.line();
        let announced: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no announcement: {line}{}", self.log()));
        assert_eq!(announced["pos"], self.pos.to_string());
        self.node = Some(node);
    }

    /// Waits until the line to the network is up.
    pub async fn ready(&self) {
        until_async("the line to the network is up", || async {
            let (_, metrics) = get(&format!("http://{}/metrics", self.ops)).await?;
            (metric(&metrics, "posp_line_ready", &[]) == 1).then_some(())
        })
        .await;
    }

    /// Stops the node as an operator does; it must end well.
    pub async fn stop_node(&mut self) {
        let mut node = self.node.take().unwrap();
        node.signal(Signal::TERM);
        let status = node.ended().await;
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Runs a command against the node's configuration.
    pub fn posp(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        posp(&all)
    }

    /// Runs a command that must succeed and gives its standard output.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.posp(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Payments of the journal as `posp txn list --json` prints them, newest first.
    pub fn payments(&self, filter: &[&str]) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut arguments = vec!["txn", "list", "--json", "--limit", "500"];
            arguments.extend(filter);
            arguments.extend(after.iter().flat_map(|marker| ["--after", marker]));
            let output = self.posp(&arguments);
            assert!(output.status.success(), "{arguments:?}: {}", text(&output));
            let rows = String::from_utf8(output.stdout).unwrap();
            found.extend(rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            let said = String::from_utf8(output.stderr).unwrap();
            match said.lines().find_map(|line| line.strip_prefix("more: --after ")) {
                Some(marker) => after = Some(marker.to_owned()),
                None => return found,
            }
        }
    }

    /// Polls the journal until the one payment that `filter` finds is in `state`.
    pub async fn payment_in(&self, filter: &[&str], state: &str) -> Value {
        until(&format!("{filter:?} is {state}"), || {
            let mut found = self.payments(filter);
            assert!(found.len() < 2, "several payments fit {filter:?}");
            found.pop().filter(|payment| payment["state"] == state)
        })
        .await
    }

    /// The metrics as text.
    pub async fn metrics(&self) -> String {
        get(&format!("http://{}/metrics", self.ops)).await.expect("metrics are served").1
    }

    /// Something of the simulator's control interface.
    pub async fn network_says(&self, path: &str) -> Value {
        let (status, body) = get(&format!("http://{}{path}", self.page)).await.expect("the page is served");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The network's record of the payment with this reference number and message type.
    pub async fn record(&self, reference: &str, mti: &str) -> Option<Value> {
        let record = self.network_says("/api/record").await;
        let lines = record.as_array().unwrap();
        lines.iter().find(|line| line["rrn"] == reference && line["mti"] == mti).cloned()
    }

    /// Asks the simulator to do something.
    pub async fn network_does(&self, path: &str) {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        let response = client.post(format!("http://{}{path}", self.page)).send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
    }

    /// Sets the simulator's faults, as the JSON of its control interface.
    pub async fn set_faults(&self, settings: Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/api/faults", self.page);
        let response = client.post(url).json(&settings).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }

    /// The configuration of a terminal of the `pos` library in front of this node.
    pub fn terminal_config(&self, id: &str) -> TerminalConfig {
        let mut config = TerminalConfig::new(self.pos.to_string(), MERCHANT, id);
        config.answer_timeout_ms = 30_000;
        config.capability = 6;
        config.card_file = Some(PathBuf::from("../cards.json"));
        config
    }

    /// Where a terminal keeps its state.
    pub fn terminal_dir(&self, id: &str) -> PathBuf {
        self.dir.path().join("pos").join(id)
    }

    /// Takes a terminal out of its box: enrolled, with its master key, and a line that can be made to fail.
    pub async fn terminal(&self, id: &str) -> (pos::Terminal, Arc<line::Faults>) {
        let faults = Arc::new(line::Faults::new(self.pos));
        let surroundings = pos::Surroundings { dial: Some(faults.clone()), ..pos::Surroundings::default() };
        let config = self.terminal_config(id);
        let mut terminal = pos::Terminal::enrol_in(self.terminal_dir(id), config, surroundings).unwrap();
        let components: Vec<TmkComponent> = TMK.iter().map(|text| TmkComponent::parse(text)).collect();
        terminal.load_tmk(&components, None).await.unwrap();
        (terminal, faults)
    }

    /// Opens a terminal again after it was dropped.
    pub fn reopen(&self, id: &str) -> pos::Terminal {
        pos::Terminal::open(self.terminal_dir(id)).unwrap()
    }

    /// Changes what a terminal remembers, as a defective one would; the terminal must be closed.
    pub fn edit_terminal(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let path = self.terminal_dir(id).join("state.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut state);
        fs::write(&path, serde_json::to_vec(&state).unwrap()).unwrap();
    }

    /// A terminal that is signed in with 3DES and track keys.
    pub async fn signed_in(&self, id: &str) -> (pos::Terminal, Arc<line::Faults>) {
        let (mut terminal, faults) = self.terminal(id).await;
        let outcome = terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
        (terminal, faults)
    }
}

/// The laboratory's key components as a key letter has them, `HEX:KCV`.
pub fn components_with_check(algorithm: KeyAlgorithm) -> [String; 2] {
    let vault = SoftVault::ephemeral().unwrap();
    TMK.map(|text| {
        let component = KeyComponent::from_hex(text).unwrap();
        let key = vault.import_components(KeyUsage::TerminalMaster, algorithm, &[component]).unwrap();
        format!("{text}:{}", key.kcv())
    })
}

/// Sum of the series of a metric that carry all these labels.
pub fn metric(metrics: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter(|line| labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\""))))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
