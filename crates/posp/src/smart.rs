//! `posp terminal` without a command: smart POS terminals on a page, for any host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use app::SignatureForm;
use clap::Args;
use pos::TerminalConfig;
use receipt::Width;
use terminal::{Deck, Site, Station, StationConfig, serve};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::demo::https::Https;
use crate::log;
use crate::screen::{Screen, Tone};
use crate::up::{listen, stop_signal};

/// A phone with a reader in the terminal register (59 A2.01).
const DEVICE_TYPE_MPOS: &str = "03";
/// Where the chips of the deck count, under the directory of the terminals.
const COUNTERS: &str = "cards.json";

/// Arguments of the page.
#[derive(Args)]
pub struct PageArgs {
    /// The host: name:port for a socket, or https://name:port/path for an internet front.
    #[arg(long, default_value = "127.0.0.1:8583", value_name = "HOST")]
    host: String,
    /// Merchant number.
    #[arg(long, value_name = "NUMBER")]
    merchant: Option<String>,
    /// Merchant name, for slips and the page.
    #[arg(long, value_name = "NAME")]
    merchant_name: Option<String>,
    /// Terminal number; several times for several terminals of the page.
    #[arg(long = "terminal", value_name = "NUMBER")]
    terminals: Vec<String>,
    /// Terminal number of a phone with a reader (MPOS); several times for several.
    #[arg(long = "mpos", value_name = "NUMBER")]
    phones: Vec<String>,
    /// A component of the terminal master key as HEX or HEX:KCV; once for each component, the same for all terminals.
    #[arg(long = "tmk-component", value_name = "HEX[:KCV]")]
    components: Vec<String>,
    /// PEM file of the authority that signs the front's certificate.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the terminal's certificate, where the front asks for one.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// Address of the page. Anybody who can open it can use the terminals.
    #[arg(long, default_value = "127.0.0.1:8590")]
    listen: SocketAddr,
    /// Where the terminals keep what they know.
    #[arg(long, default_value = "var/terminal", value_name = "DIR")]
    dir: PathBuf,
    /// 80 mm paper instead of 58 mm.
    #[arg(long)]
    wide: bool,
    /// Upload signatures as PNG instead of JBIG, for a host that wants it.
    #[arg(long)]
    png_signatures: bool,
    /// Milliseconds that a terminal waits for an answer.
    #[arg(long, default_value_t = 20_000)]
    patience_ms: u64,
}

/// A terminal of the page.
pub struct Smart {
    /// Terminal number.
    pub id: String,
    /// Components of its master key.
    pub components: Vec<String>,
    /// PEM files of its certificate and of its private key, where the front asks for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A phone with a reader, and not a terminal with everything in one.
    pub mpos: bool,
}

/// What the terminals of a page have in common.
pub struct Shop {
    /// The host.
    pub host: String,
    /// Merchant number.
    pub merchant: String,
    /// Its name.
    pub merchant_name: Option<String>,
    /// Authority of the front's certificate.
    pub ca: Option<PathBuf>,
    /// Directory of the terminals.
    pub directory: PathBuf,
    /// Where the chips count; beside the terminals when nothing is said.
    pub counters: Option<PathBuf>,
    /// Paper.
    pub width: Width,
    /// The form in which signatures are uploaded.
    pub signature: SignatureForm,
    /// Milliseconds that a terminal waits for an answer.
    pub patience_ms: u64,
}

/// A page that is served.
pub struct Page {
    /// Where.
    pub address: SocketAddr,
    stations: Vec<Arc<Station>>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Page {
    /// Makes the terminals, switches them on, and serves their page.
    pub async fn open(shop: &Shop, terminals: Vec<Smart>, address: SocketAddr) -> anyhow::Result<Page> {
        std::fs::create_dir_all(&shop.directory)
            .with_context(|| format!("{} cannot be made", shop.directory.display()))?;
        let counters = shop.counters.clone().unwrap_or_else(|| shop.directory.join(COUNTERS));
        let deck = Arc::new(Deck::new(counters));
        let mut stations = Vec::new();
        for terminal in terminals {
            let station = Station::new(station(shop, terminal), Arc::clone(&deck))?;
            let starting = Arc::clone(&station);
            tokio::task::spawn_blocking(move || starting.power_on())
                .await?
                .with_context(|| format!("terminal {} does not start", station.id()))?;
            stations.push(station);
        }
        let listener = listen(address, "the terminals' page", "--listen").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let site = Site::new(stations.clone(), deck, stop.clone());
        let task = tokio::spawn(serve(listener, site));
        Ok(Page { address, stations, stop, task })
    }

    /// Pulls the plugs and closes the page.
    pub async fn close(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for station in &self.stations {
            let station = Arc::clone(station);
            tokio::task::spawn_blocking(move || station.power_off()).await?;
        }
        self.task.abort();
        match self.task.await {
            Ok(served) => Ok(served?),
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn station(shop: &Shop, terminal: Smart) -> StationConfig {
    let mut pos = TerminalConfig::new(&shop.host, &shop.merchant, &terminal.id);
    if let Some(name) = &shop.merchant_name {
        pos.merchant_name.clone_from(name);
    }
    pos.answer_timeout_ms = shop.patience_ms;
    pos.capability = 6;
    pos.slip_code = true;
    pos.own_offline_limit = true;
    pos.ca_file.clone_from(&shop.ca);
    (pos.certificate_file, pos.certificate_key_file) = terminal.certificate.unzip();
    let number = terminal.id.get(1..).unwrap_or_default();
    // The reader's serial number is the terminal's: it is what the acquirer knows.
    pos.serial = if terminal.mpos { format!("RL0{number:0>7}") } else { format!("LAB{number:0>7}") };
    pos.device_type = terminal.mpos.then(|| DEVICE_TYPE_MPOS.to_owned());
    let reader = terminal.mpos.then(|| pos.serial.clone());
    let mut shell = app::shell::ShellConfig::default();
    shell.rules.esign = true;
    shell.signature = shop.signature;
    StationConfig {
        directory: shop.directory.join(&terminal.id),
        pos,
        components: terminal.components,
        shell,
        width: shop.width,
        reader,
    }
}

/// Runs the page until it is told to stop.
pub async fn run(config: &Config, args: PageArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    let Some(merchant) = args.merchant else {
        bail!(
            "--merchant is missing: which merchant's terminals? `posp demo` has a page with terminals of its own"
        )
    };
    if args.terminals.is_empty() && args.phones.is_empty() {
        bail!("--terminal or --mpos is missing: which terminals?");
    }
    log::start(&config.log)?;
    let shop = Shop {
        host: args.host,
        merchant,
        merchant_name: args.merchant_name,
        ca: args.ca,
        directory: args.dir,
        counters: None,
        width: if args.wide { Width::W80 } else { Width::W58 },
        signature: if args.png_signatures { SignatureForm::Png } else { SignatureForm::Jbig },
        patience_ms: args.patience_ms,
    };
    let certificate = args.certificate.zip(args.certificate_key);
    if certificate.is_some() && args.terminals.len() + args.phones.len() > 1 {
        bail!("a certificate belongs to one terminal; serve the others on a page of their own");
    }
    let smart = |(id, mpos): (String, bool)| {
        let (components, certificate) = (args.components.clone(), certificate.clone());
        Smart { id, components, certificate, mpos }
    };
    let phones = args.phones.iter().cloned().map(|id| (id, true));
    let all = args.terminals.iter().cloned().map(|id| (id, false)).chain(phones).map(smart);
    let page = Page::open(&shop, all.collect(), args.listen).await?;
    screen.line(screen.paint(Tone::Strong, format!("http://{}/", page.address)))?;
    screen.line("smart POS terminals 智能 POS. Ctrl-C stops them.")?;
    let stopped = stop_signal().await;
    page.close().await?;
    stopped.map(|()| ExitCode::SUCCESS)
}

/// The page of the demo's terminals.
pub fn demo_shop(directory: &Path, front: &Https, merchant: &str, name: &str, patience_ms: u64) -> Shop {
    Shop {
        host: front.host.clone(),
        merchant: merchant.to_owned(),
        merchant_name: Some(name.to_owned()),
        ca: Some(front.authority.clone()),
        directory: directory.join("smart"),
        // The cards are the same as those of the demo's other terminals.
        counters: Some(directory.join("pos").join(COUNTERS)),
        width: Width::W58,
        signature: SignatureForm::Jbig,
        patience_ms,
    }
}
