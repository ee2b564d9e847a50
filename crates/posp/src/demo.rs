//! `posp demo`: everything on an empty store, a business morning as a story, then it stays up.

pub mod https;
mod scene;
mod story;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use hsm::{Hsm, SoftVault};

use crate::config::Config;
use crate::screen::{Screen, Tone};
use crate::up::{Node, stop_signal};
use crate::{log, ops, smart};
use scene::Scene;

/// Marks a directory that the demo may empty.
const MARK: &str = ".posp-demo";
/// How long the network may take before the demo's payments count as unknown; the story should not drag.
const PATIENCE_MS: u64 = 2_000;

/// Arguments of `posp demo`.
#[derive(Args)]
#[command(after_help = "Examples:
  posp demo                     play the morning, then stay up
  posp demo --bytes             with every message in plain words
  posp demo --exit              play and stop (for scripts)
  posp demo --quiet             no story, only serve with the demo merchant and terminals")]
pub struct DemoArgs {
    /// Directory of the demo's data, emptied at the start.
    #[arg(long, default_value = "var/demo", value_name = "DIR")]
    dir: PathBuf,
    /// Show each message of the story in plain words, masked.
    #[arg(long)]
    bytes: bool,
    /// Stop after the story.
    #[arg(long)]
    exit: bool,
    /// Do not play the story; serve.
    #[arg(long, conflicts_with = "exit")]
    quiet: bool,
    /// Address for terminals.
    #[arg(long, default_value = "127.0.0.1:8583")]
    listen: SocketAddr,
    /// Address of health and metrics.
    #[arg(long, default_value = "127.0.0.1:8580")]
    ops: SocketAddr,
    /// Address of the simulated network.
    #[arg(long, default_value = "127.0.0.1:18583")]
    network: SocketAddr,
    /// Address where the simulated network connects to posp.
    #[arg(long, default_value = "127.0.0.1:18584")]
    network_listener: SocketAddr,
    /// Address of the simulator's page.
    #[arg(long, default_value = "127.0.0.1:18580")]
    page: SocketAddr,
    /// Address of the internet front that the smart terminals speak HTTPS to.
    #[arg(long, default_value = "127.0.0.1:8088")]
    front: SocketAddr,
    /// Address of the page of the smart terminals.
    #[arg(long, default_value = "127.0.0.1:8590")]
    terminals: SocketAddr,
    /// Print the addresses as one JSON line instead of the hints, when everything is up.
    #[arg(long)]
    announce: bool,
}

/// Runs `posp demo`.
pub async fn run(args: DemoArgs, screen: &mut Screen) -> anyhow::Result<ExitCode> {
    if args.network.port() == 0 {
        bail!("--network needs a port: posp must know where to connect before the network has opened it");
    }
    empty(&args.dir)?;
    log::start_to_file(&args.dir.join("posp.log"), "info")?;
    let metrics = ops::install_metrics()?;
    let key_file = args.dir.join("master.key");
    let vault = Arc::new(SoftVault::create_file(&key_file).context("the demo's master key cannot be made")?);

    let components = sim::LAB_ZMK_COMPONENTS
        .iter()
        .map(|text| hsm::KeyComponent::from_hex(text))
        .collect::<Result<Vec<_>, _>>()?;
    let zone_key =
        vault.import_components(hsm::KeyUsage::ZoneMaster, hsm::KeyAlgorithm::TripleDes2, &components)?;

    let mut config = Config::default();
    config.node.data = args.dir.clone();
    config.node.master_key = key_file;
    config.pos.listen = args.listen;
    config.ops.listen = args.ops;
    config.unionpay.network = args.network.to_string();
    config.unionpay.listen = args.network_listener;
    config.unionpay.zone_master_key = zone_key.to_string();
    // Its page changes the day whenever somebody likes to see that.
    config.unionpay.settle_days_ahead = 366;
    config.engine.network_patience_ms = PATIENCE_MS;

    let scene = Scene::furnish(&config, vault.as_ref()).await?;
    let node = Node::start(&config, vault, metrics).await?;
    let network = sim::start(
        sim::SimConfig {
            listen: args.network,
            control: Some(args.page),
            member_listener: node.network_listener.to_string(),
            member_id: config.unionpay.member.clone(),
            network_id: config.unionpay.network_id.clone(),
            ..sim::SimConfig::default()
        },
        Arc::new(SoftVault::ephemeral()?),
    )
    .await
    .context("the simulated network cannot be started")?;
    config.pos.listen = node.pos;
    config.ops.listen = node.ops;
    let ready = tokio::time::timeout(Duration::from_secs(20), node.engine.channel().ready()).await;
    if ready.is_err() {
        bail!("the line to the simulated network is not up: {}", node.engine.channel().status().detail);
    }
    write_config(&args.dir.join("posp.toml"), &config)?;
    let ids = scene.smart().iter().map(|(id, _)| *id);
    let front = https::Https::open(&config, &node, &args.dir, args.front, ids).await?;
    let shop =
        smart::demo_shop(&args.dir, &front, scene::MERCHANT, scene::MERCHANT_NAME, scene::ANSWER_TIMEOUT_MS);
    let terminals = scene.smart().iter().map(|(id, components)| smart::Smart {
        id: (*id).to_owned(),
        components: components.clone(),
        certificate: Some(front.certificate(id)),
        mpos: *id == scene::MPOS_TERMINAL,
    });
    let smart = smart::Page::open(&shop, terminals.collect(), args.terminals).await?;
    let page = network.control_addr().map_or_else(|| args.page.to_string(), |page| page.to_string());
    let announcement = args.announce.then(|| {
        serde_json::json!({
            "pos": node.pos, "ops": node.ops, "network": network.addr(), "page": page,
            "merchant": scene::MERCHANT, "terminals": scene.terminals(),
            "smart": smart.address, "front": shop.host,
        })
    });

    let played = if args.quiet {
        story::open_shop(&scene, &node).await
    } else {
        tokio::select! {
            played = story::play(&scene, &node, &network, args.bytes, screen) => played,
            signal = stop_signal() => signal,
        }
    };
    if played.is_ok() && !args.exit {
        match announcement {
            Some(line) => screen.line(line.to_string())?,
            None => hints(&args, &node, &page, smart.address, screen)?,
        }
        stop_signal().await?;
    }
    smart.close().await?;
    front.close().await?;
    node.shut_down().await?;
    network.shutdown().await?;
    played.map(|()| ExitCode::SUCCESS)
}

/// Empties the demo's directory; one that the demo did not make is left alone.
fn empty(dir: &Path) -> anyhow::Result<()> {
    let mark = dir.join(MARK);
    if dir.exists() && !mark.exists() && fs::read_dir(dir)?.next().is_some() {
        bail!("{} has files that are not the demo's; name another directory with --dir", dir.display());
    }
    if mark.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("{} cannot be emptied", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    fs::write(mark, "posp demo may empty this directory\n")?;
    Ok(())
}

/// Leaves the demo's configuration, so that other commands find the running demo with `--config`.
fn write_config(path: &Path, config: &Config) -> anyhow::Result<()> {
    fs::write(path, toml::to_string(config)?).with_context(|| format!("{} cannot be written", path.display()))
}

fn hints(
    args: &DemoArgs,
    node: &Node,
    page: &str,
    smart: SocketAddr,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let dir = args.dir.display();
    let heading = screen.paint(Tone::Strong, "The demo stays up. 演示继续运行。 Ctrl-C stops it.");
    screen.line("")?;
    screen.line(heading)?;
    for (what, how) in [
        ("a smart POS 智能 POS", format!("http://{smart}/")),
        (
            "on the command line 命令行",
            format!(
                "posp pos --dir {dir}/pos/10000001 sale --amount 12.34 --card L01 --entry chip --pin 123456"
            ),
        ),
        ("find it 查交易", format!("posp txn list --data {dir}")),
        ("see its way 看经过", format!("posp txn show <number> --bytes --data {dir}")),
        ("is all well? 诊断", format!("posp doctor --config {dir}/posp.toml")),
        ("health, metrics 监控", format!("http://{0}/healthz  http://{0}/metrics", node.ops)),
        ("the network's page 银联模拟器", format!("http://{page}/")),
        ("the log 日志", format!("{dir}/posp.log")),
    ] {
        screen.line(format!("  {} {how}", crate::screen::pad(what, 30)))?;
    }
    Ok(())
}
