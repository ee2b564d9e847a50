//! The configuration file: one TOML file, every key with a default, every key overridable from the
//! environment as `POSP_SECTION__KEY`.

mod front;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use acquiring::InstitutionId;
use anyhow::{Context, bail};
use iso8583::Profile;
use serde::{Deserialize, Serialize};

pub use front::{Front, FrontDoor};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where this node keeps its data.
    pub node: Node,
    /// What holds the keys.
    pub hsm: Hsm,
    /// Log output.
    pub log: Log,
    /// The door for POS terminals, and its first listener.
    pub pos: Pos,
    /// Further listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<Listen>,
    /// Profiles of acquirers and terminal families: switches by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profile: BTreeMap<String, BTreeMap<String, Setting>>,
    /// The internet front, a process of its own.
    pub front: Front,
    /// Further addresses of the front.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub front_door: Vec<FrontDoor>,
    /// Health and metrics.
    pub ops: Ops,
    /// The line to UnionPay.
    pub unionpay: UnionPay,
    /// Rules and patience of the engine.
    pub engine: Engine,
    /// The store.
    pub store: Store,
}

/// Section `[node]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// What this node is called among those that share a store, in logs and leases.
    pub name: String,
    /// Directory of the journal; made when it is missing.
    pub data: PathBuf,
    /// Master key file; made by `posp key init`, never silently.
    pub master_key: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Node { name: "node".to_owned(), data: "var/posp".into(), master_key: "var/posp/master.key".into() }
    }
}

/// Section `[hsm]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hsm {
    /// `vault` or `pkcs11`.
    pub backend: HsmBackend,
    /// The PKCS#11 library of the token's vendor.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// File with the PIN of the token's user, its owner's alone.
    pub pin_file: PathBuf,
    /// The PIN itself, when it comes from the environment.
    pub pin: Secret,
    /// Sessions of the token, so many operations at a time.
    pub sessions: usize,
    /// SM4 keys are used in the process of the node under keys that the token unwraps; off, they are refused.
    pub sm4_in_process: bool,
}

impl Default for Hsm {
    fn default() -> Self {
        Hsm {
            backend: HsmBackend::Vault,
            module: "/usr/lib/softhsm/libsofthsm2.so".into(),
            token: "posp".to_owned(),
            pin_file: "var/posp/token.pin".into(),
            pin: Secret::default(),
            sessions: 8,
            sm4_in_process: false,
        }
    }
}

/// What holds the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HsmBackend {
    /// The vault in software, with the master key in a file.
    Vault,
    /// A PKCS#11 token.
    Pkcs11,
}

/// A text that neither debug output nor `posp config` shows.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret()" } else { "Secret(..)" })
    }
}

/// Section `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or a filter such as `info,engine=debug`.
    pub level: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// Section `[pos]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pos {
    /// Address for terminals.
    pub listen: SocketAddr,
    /// What terminals speak there.
    pub profile: String,
    /// Largest frame in bytes, without its length.
    pub frame_max: usize,
    /// Seconds for a frame from its first to its last byte.
    pub frame_seconds: u64,
    /// Seconds after which a silent connection is closed.
    pub idle_seconds: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time from one address.
    pub connections_per_address_max: usize,
    /// Connections that one address may make in a second.
    pub connects_per_second_max: u32,
    /// Frames of one address in work at a time.
    pub frames_per_address_max: usize,
    /// Seconds in which an answer must be taken.
    pub write_seconds: u64,
}

impl Default for Pos {
    fn default() -> Self {
        Pos {
            listen: SocketAddr::from(([127, 0, 0, 1], 8583)),
            profile: BASELINE.to_owned(),
            frame_max: 2_048,
            frame_seconds: 10,
            idle_seconds: 300,
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            connects_per_second_max: 5_000,
            frames_per_address_max: 4_096,
            write_seconds: 10,
        }
    }
}

/// The profile that is always there.
const BASELINE: &str = "cup-pos-1";

/// A section `[[listen]]`: a further address for terminals.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address.
    pub address: SocketAddr,
    /// What terminals speak there.
    #[serde(default = "baseline")]
    pub profile: String,
}

fn baseline() -> String {
    BASELINE.to_owned()
}

/// The value of a switch as a file may have it: `lri = true`, `field_60_max = 19`, `field_60 = "ascii"`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A word.
    Text(String),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Setting::Flag(true) => f.write_str("yes"),
            Setting::Flag(false) => f.write_str("no"),
            Setting::Number(number) => write!(f, "{number}"),
            Setting::Text(text) => f.write_str(text),
        }
    }
}

/// Section `[ops]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    /// Address of `/healthz` and `/metrics`.
    pub listen: SocketAddr,
}

impl Default for Ops {
    fn default() -> Self {
        Ops { listen: SocketAddr::from(([127, 0, 0, 1], 8580)) }
    }
}

/// Section `[unionpay]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnionPay {
    /// Where the network takes requests, host:port.
    pub network: String,
    /// Where we listen for what the network begins.
    pub listen: SocketAddr,
    /// Addresses from which the network connects there, separated by commas; empty for any.
    pub peers: String,
    /// Days by which a cut-over may be ahead of the date in Beijing.
    pub settle_days_ahead: u16,
    /// Our institution code.
    pub member: String,
    /// The network's institution code.
    pub network_id: String,
    /// Milliseconds before a line that dropped is built up again.
    pub reconnect_ms: u64,
    /// Zone master key as `posp key zone` prints it: wrapped under this node's master key.
    pub zone_master_key: String,
}

impl Default for UnionPay {
    fn default() -> Self {
        UnionPay {
            network: "127.0.0.1:18583".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 18584)),
            peers: String::new(),
            settle_days_ahead: 1,
            member: "48029999".to_owned(),
            network_id: "00010000".to_owned(),
            reconnect_ms: 1_000,
            zone_master_key: String::new(),
        }
    }
}

/// Section `[engine]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Milliseconds to wait for the network before a payment is reversed.
    pub network_patience_ms: u64,
    /// Terminals must sign in each day.
    pub sign_in_daily: bool,
    /// Wrong MACs in a row that take a terminal's keys away.
    pub wrong_macs_max: u32,
    /// Queued reversals above which no new payment is taken.
    pub forward_depth_max: u64,
    /// Payments under way above which a new one is refused.
    pub under_way_max: usize,
    /// Payments that are made ready at a time, up to their durable intent.
    pub intake_max: usize,
    /// Milliseconds that a new payment waits for its place among them before it is refused.
    pub intake_wait_ms: u64,
    /// Milliseconds before a reversal is sent again, doubled each time.
    pub forward_pause_ms: u64,
    /// Longest pause between two attempts, milliseconds.
    pub forward_pause_max_ms: u64,
    /// Explicit refusals after which a reversal is parked for an operator.
    pub forward_refusals_max: u32,
    /// Unanswered sendings of the same message after which it is parked for an operator.
    pub forward_silences_max: u32,
    /// Queued messages that may be under way to the network at once.
    pub forward_window: usize,
    /// A tip is at most so many per cent of its sale.
    pub tip_percent_max: u32,
    /// What a terminal must do is asked for in every answer, not only after sign-in and downloads.
    pub requirement_everywhere: bool,
    /// Milliseconds beyond the patience with the network after which other nodes on the same store take up what a
    /// node left.
    pub takeover_ms: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine {
            network_patience_ms: 30_000,
            sign_in_daily: true,
            wrong_macs_max: 20,
            forward_depth_max: 100_000,
            under_way_max: 20_000,
            intake_max: 256,
            intake_wait_ms: 1_000,
            forward_pause_ms: 1_000,
            forward_pause_max_ms: 60_000,
            forward_refusals_max: 10,
            forward_silences_max: 1_000,
            forward_window: 8,
            tip_percent_max: 20,
            requirement_everywhere: false,
            takeover_ms: 30_000,
        }
    }
}

/// Section `[store]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Where the journal is: empty for SQLite in `node.data`, else `sqlite:DIRECTORY` or
    /// `postgres://user@host:port/database`.
    pub url: String,
    /// Connections that read beside the one writer.
    pub readers: usize,
    /// Operations that may wait for the writer; above it new payments are refused.
    pub queue: usize,
    /// Operations that share one commit at most.
    pub group_max: usize,
    /// Milliseconds that an operation may take before new payments are refused.
    pub wait_max_ms: u64,
    /// Days of history kept before today's, on PostgreSQL; 0 keeps it for ever.
    pub history_days: u32,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            url: String::new(),
            readers: 4,
            queue: 4_096,
            group_max: 256,
            wait_max_ms: 200,
            history_days: 0,
        }
    }
}

impl Config {
    /// Reads the file (when one is named, it must exist) and the environment.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Config> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            if !file.is_file() {
                bail!("there is no configuration file {}", file.display());
            }
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        // A setting has a section and a key, so its variable has two underscores between them; others that
        // begin with POSP_ (POSP_CONFIG, POSP_LOG) are not settings. Values stay texts until they meet the type
        // of their setting: institution 00010000 is no number.
        let settings = std::env::vars().filter(|(name, _)| name.contains("__")).collect();
        let environment = config::Environment::with_prefix("POSP")
            .prefix_separator("_")
            .separator("__")
            .source(Some(settings));
        let read = builder.add_source(environment).build();
        let config = read.context("the configuration cannot be read")?;
        config.try_deserialize().context("the configuration is not right")
    }

    /// The settings as they may be shown: without the password of the database.
    pub fn printable(&self) -> Config {
        let mut shown = self.clone();
        shown.store.url = without_password(&self.store.url);
        shown
    }

    /// The engine's settings.
    pub fn engine(&self) -> anyhow::Result<engine::EngineConfig> {
        let acquirer = InstitutionId::new(&self.unionpay.member).context("unionpay.member")?;
        let e = &self.engine;
        let none = [
            ("network_patience_ms", e.network_patience_ms == 0),
            ("under_way_max", e.under_way_max == 0),
            ("intake_max", e.intake_max == 0),
            ("forward_window", e.forward_window == 0),
        ];
        if let Some((key, _)) = none.iter().find(|(_, is_none)| *is_none) {
            bail!("engine.{key}: must be 1 or more; with 0 nothing would ever go through");
        }
        Ok(engine::EngineConfig {
            network_patience: Duration::from_millis(e.network_patience_ms),
            sign_in_daily: e.sign_in_daily,
            wrong_macs_max: e.wrong_macs_max,
            forward_depth_max: e.forward_depth_max,
            under_way_max: e.under_way_max,
            intake_max: e.intake_max,
            intake_wait: Duration::from_millis(e.intake_wait_ms),
            forward_pause: Duration::from_millis(e.forward_pause_ms),
            forward_pause_max: Duration::from_millis(e.forward_pause_max_ms),
            forward_refusals_max: e.forward_refusals_max,
            forward_silences_max: e.forward_silences_max,
            forward_window: e.forward_window,
            tip_percent_max: e.tip_percent_max,
            requirement_everywhere: e.requirement_everywhere,
            profiles: self.profiles()?.names(),
            takeover_margin: Duration::from_millis(e.takeover_ms),
            node: self.node.name.clone(),
            ..engine::EngineConfig::new(acquirer)
        })
    }

    /// The profiles: the baseline and those of the file, by name.
    pub fn profiles(&self) -> anyhow::Result<pos_link::Profiles> {
        let mut made = Vec::with_capacity(self.profile.len());
        for (name, switches) in &self.profile {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 32 || !name.chars().all(good) {
                bail!("profile.{name}: a name has at most 32 small letters, digits and hyphens");
            }
            let mut profile = Profile::named(name.clone());
            for (switch, value) in switches {
                let value = value.to_string();
                profile.set(switch, &value).with_context(|| format!("profile.{name}"))?;
            }
            made.push(profile);
        }
        Ok(pos_link::Profiles::new(made)?)
    }

    /// The addresses for terminals with what is spoken at each, the one of `[pos]` first, and the setting that names it.
    pub fn listeners(&self) -> anyhow::Result<Vec<Listener>> {
        let profiles = self.profiles()?;
        let first = (self.pos.listen, &self.pos.profile, "pos.listen".to_owned());
        let others = self
            .listen
            .iter()
            .enumerate()
            .map(|(at, l)| (l.address, &l.profile, format!("listen[{at}].address")));
        let mut listeners: Vec<Listener> = Vec::with_capacity(1 + self.listen.len());
        for (address, name, key) in std::iter::once(first).chain(others) {
            // Port 0 is whichever is free, so it is never the same.
            let taken = listeners.iter().find(|other| address.port() != 0 && other.address == address);
            if let Some(other) = taken {
                bail!("{key}: {address} is taken by {} already", other.key);
            }
            let Some(profile) = profiles.find(name) else {
                bail!("{key}: there is no profile {name}; there are: {}", profiles.names().join(", "));
            };
            listeners.push(Listener { address, profile, name: name.clone(), key });
        }
        Ok(listeners)
    }

    /// Looks whether a merchant can have this profile: it must be there, and some listener must read it.
    pub fn check_merchant_profile(&self, name: &str) -> anyhow::Result<()> {
        let profiles = self.profiles()?;
        let Some(place) = profiles.find(name) else {
            bail!("there is no profile {name}; there are: {}", profiles.names().join(", "));
        };
        let own = profiles.at(place);
        if self.listeners()?.iter().any(|listener| own.reads_as(profiles.at(listener.profile))) {
            return Ok(());
        }
        bail!(
            "no listener reads profile {name}: its header, lri, field_23, field_32, field_55_max, field_59, field_60, \
             field_60_max and pads must be those of a listener's profile"
        )
    }

    /// The settings of the door for terminals.
    pub fn link(&self) -> anyhow::Result<pos_link::LinkConfig> {
        Ok(pos_link::LinkConfig {
            frame_max: self.pos.frame_max,
            frame_patience: Duration::from_secs(self.pos.frame_seconds),
            idle_max: Duration::from_secs(self.pos.idle_seconds),
            connections_max: self.pos.connections_max,
            connections_per_address_max: self.pos.connections_per_address_max,
            connects_per_second_max: self.pos.connects_per_second_max,
            frames_per_address_max: self.pos.frames_per_address_max,
            write_patience: Duration::from_secs(self.pos.write_seconds),
            profiles: Arc::new(self.profiles()?),
        })
    }

    /// The settings of the line to UnionPay.
    pub fn line(&self) -> anyhow::Result<channels::unionpay_card::LineConfig> {
        let u = &self.unionpay;
        if u.zone_master_key.is_empty() {
            bail!("unionpay.zone_master_key is not set; make it with `posp key zone`");
        }
        let line = channels::unionpay_card::LineConfig::new(
            u.network.clone(),
            u.listen,
            InstitutionId::new(&u.member).context("unionpay.member")?,
            InstitutionId::new(&u.network_id).context("unionpay.network_id")?,
            u.zone_master_key
                .parse()
                .map_err(|_| anyhow::anyhow!("unionpay.zone_master_key cannot be read"))?,
        );
        let peers = u.peers.split(',').map(str::trim).filter(|text| !text.is_empty());
        let peers = peers.map(|text| text.parse().with_context(|| format!("unionpay.peers: {text}")));
        Ok(channels::unionpay_card::LineConfig {
            reconnect: Duration::from_millis(u.reconnect_ms),
            peers: peers.collect::<anyhow::Result<_>>()?,
            settle_days_ahead: u.settle_days_ahead,
            ..line
        })
    }

    /// The settings of the store.
    pub fn store(&self) -> store::StoreOptions {
        store::StoreOptions {
            readers: self.store.readers,
            queue: self.store.queue,
            group_max: self.store.group_max,
            wait_max: Duration::from_millis(self.store.wait_max_ms),
            history_days: Some(self.store.history_days).filter(|days| *days > 0),
            ..store::StoreOptions::new(&self.node.data)
        }
    }

    /// Whether the address of the store is one that several nodes can share.
    pub fn names_shared_store(&self) -> bool {
        !self.store_url().starts_with("sqlite:")
    }

    /// The address of the store.
    fn store_url(&self) -> String {
        match self.store.url.is_empty() {
            true => format!("sqlite:{}", self.node.data.display()),
            false => self.store.url.clone(),
        }
    }

    /// Settings of the SQLite store that a backup is restored into.
    pub fn store_to_restore(&self) -> anyhow::Result<store::StoreOptions> {
        let options = self.store();
        match self.store.url.strip_prefix("sqlite:") {
            Some(directory) => Ok(store::StoreOptions { directory: directory.into(), ..options }),
            None if self.store.url.is_empty() => Ok(options),
            None => bail!(
                "a file is restored into SQLite; fill the database with pg_restore, then leave the file out"
            ),
        }
    }

    /// Opens the store as the node that serves.
    pub fn open_store(&self) -> Result<store::Store, store::StoreError> {
        store::Store::open_url(&self.store_url(), self.store())
    }

    /// Opens the store for a change beside a node that may be running; a data directory that is given wins.
    pub fn open_store_beside(&self, data: Option<&Path>) -> Result<store::Store, store::StoreError> {
        let mut options = self.store();
        match data {
            Some(data) => {
                options.directory = data.to_owned();
                store::Store::open_beside(options)
            }
            None => store::Store::open_url_beside(&self.store_url(), options),
        }
    }

    /// Opens the store for reading, also beside a node; a data directory that is given wins.
    pub fn open_store_to_read(&self, data: Option<&Path>) -> Result<store::Store, store::StoreError> {
        match data {
            Some(data) => store::Store::open_read_only(data),
            None => store::Store::open_url_read_only(&self.store_url()),
        }
    }
}

/// An address for terminals.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Place of its profile among [`Config::profiles`].
    pub profile: usize,
    /// Name of its profile.
    pub name: String,
    /// The setting that names the address.
    pub key: String,
}

/// An address of a store with asterisks for its password, wherever an address can have one.
pub fn without_password(url: &str) -> String {
    const HIDDEN: &str = "***";
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The password may hold any sign; the last @ ends it.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => match user.split_once(':') {
            Some((user, _)) => (format!("{user}:{HIDDEN}@"), rest),
            None => (format!("{user}@"), rest),
        },
        None => (String::new(), rest),
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().ends_with("password") => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    };
    match query {
        Some(query) => {
            let pairs: Vec<String> = query.split('&').map(hide).collect();
            format!("{scheme}://{user}{place}?{}", pairs.join("&"))
        }
        None => format!("{scheme}://{user}{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (given, shown) in [
            ("", ""),
            ("sqlite:var/posp", "sqlite:var/posp"),
            ("postgres://posp@db:5432/posp", "postgres://posp@db:5432/posp"),
            ("postgres://posp:s3:c@ret@db/posp", "postgres://posp:***@db/posp"),
            ("postgres://posp:a?b@db/posp", "postgres://posp:***@db/posp"),
            (
                "postgres:///posp?user=u&password=secret&host=/run",
                "postgres:///posp?user=u&password=***&host=/run",
            ),
        ] {
            let config =
                Config { store: Store { url: given.to_owned(), ..Store::default() }, ..Config::default() };
            assert_eq!(config.printable().store.url, shown);
            assert!(!toml::to_string(&config.printable()).unwrap().contains("secret"));
        }
    }

    fn read(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    /// A bound of none would refuse everything without a word of why.
    #[test]
    fn a_bound_of_none_is_named() {
        read("[engine]\nintake_max = 1\nforward_window = 1").engine().unwrap();
        for key in ["network_patience_ms", "under_way_max", "intake_max", "forward_window"] {
            let error = read(&format!("[engine]\n{key} = 0")).engine().err().unwrap().to_string();
            assert!(error.starts_with(&format!("engine.{key}: must be 1 or more")), "{error}");
        }
    }

    #[test]
    fn a_wrong_profile_or_listener_is_named() {
        for (text, said) in [
            ("[pos]\nprofile = 'north'", "pos.listen: there is no profile north; there are: cup-pos-1"),
            (
                "[[listen]]\naddress = '127.0.0.1:8584'\nprofile = 'north'",
                "listen[0].address: there is no profile",
            ),
            ("[[listen]]\naddress = '127.0.0.1:8583'", "127.0.0.1:8583 is taken by pos.listen already"),
            ("[profile.north]\nfield_61 = 'ascii'", "there is no switch field_61; there are: header"),
            ("[profile.north]\nfield_60 = 'ebcdic'", "field_60 cannot be ebcdic; it is one of: bcd, ascii"),
            ("[profile.north]\nfield_60_max = 16", "field_60_max cannot be 16"),
            ("[profile.north]\nmac = 'x9.19'", "profile north: mac = x9.19 needs MAC keys of double length"),
            ("[profile.north]\nmac_form = 'raw'", "mac = cup-ecb is hexadecimal"),
            ("[profile.north]\nsm4_pin = '59-a1'\nfield_59 = 'opaque'", "needs field 59 in items"),
            ("[profile.North]", "small letters"),
            ("[profile.cup-pos-1]", "two profiles of the name cup-pos-1"),
        ] {
            let error = format!("{:#}", read(text).listeners().unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_merchant_may_have_what_a_listener_reads() {
        let config = read(
            "[profile.bare]\nheader = 'none'\n[profile.nine]\nmac = 'x9.9'\n[profile.barenine]\nheader = \
             'none'\nmac = 'x9.9'\nlri = false",
        );
        config.check_merchant_profile("nine").unwrap();
        let refused = config.check_merchant_profile("barenine").unwrap_err().to_string();
        assert!(refused.contains("no listener reads profile barenine"), "{refused}");
        let with = Config {
            listen: vec![Listen { address: ([127, 0, 0, 1], 1).into(), profile: "bare".to_owned() }],
            ..config
        };
        with.check_merchant_profile("barenine").unwrap();
        assert!(with.check_merchant_profile("none").is_err());
        let printed = toml::to_string(&with.printable()).unwrap();
        assert!(printed.contains("[profile.barenine]") && printed.contains("[[listen]]"), "{printed}");
    }
}
