//! `posp bench idle`: what connections at rest cost, at one node or at several beside each other.
//!
//! A process may have so many files and no more, the node and the generator alike. With several nodes each has a generator
//! of its own; all hold what they have until the last one is there, and look then whether everything still is.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ::bench::idle::{Idle, hold};
use ::bench::process;
use anyhow::{Context, bail};
use clap::Args;

use super::progress_bar;
use super::stage::Stage;
use crate::config::Config;
use crate::screen::Screen;

/// The node must not end what is held while the others come.
const IDLE_SECONDS: u64 = 3_600;

#[derive(Args)]
pub(super) struct IdleArgs {
    /// Connections, to all nodes together.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    connections: u64,
    /// Nodes beside each other on this machine, each with a journal of its own. A process may have so many files.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    nodes: u64,
    /// Directory for the nodes and networks that are started; emptied first.
    #[arg(long, value_name = "DIR", default_value = "var/bench")]
    dir: PathBuf,
    /// Holds the connections until standard input ends, and looks again then.
    #[arg(long, hide = true)]
    until_told: bool,
}

/// What several nodes came to.
#[derive(serde::Serialize)]
struct Together {
    nodes: usize,
    connections: usize,
    /// Bytes of a node's own memory for a connection, at the node where it is most.
    node_bytes_each: u64,
    /// Bytes of the machine's memory for a connection: nodes, generators, and the kernel's for both ends of each.
    machine_bytes_each: u64,
}

pub(super) async fn run(args: IdleArgs) -> anyhow::Result<()> {
    if args.nodes > 1 {
        return tokio::task::spawn_blocking(move || several(&args)).await?;
    }
    one(args).await
}

async fn one(args: IdleArgs) -> anyhow::Result<()> {
    let connections = usize::try_from(args.connections)?;
    let mut config = Config::load(None)?;
    config.pos.connections_max = connections.saturating_add(100);
    config.pos.idle_seconds = IDLE_SECONDS;
    let stage = Stage::raise(&args.dir, config, 1, 30_000, "warn", None).await?;
    let pid = stage.pids().0.context("no node")?;
    let (node, taken) = (stage.config.pos.listen, || stage.connections());
    let held = hold(node, pid, connections, taken, &progress_bar()).await?;
    Screen::new().line(serde_json::to_string(&held.cost)?)?;
    if args.until_told {
        tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
        held.all_there()?;
    }
    Ok(())
}

fn several(args: &IdleArgs) -> anyhow::Result<()> {
    let before_kb = process::available_kb().context("the machine's memory cannot be read")?;
    let program = std::env::current_exe()?;
    std::fs::create_dir_all(&args.dir)?;
    let mut children = Vec::new();
    for index in 0..args.nodes {
        // The first ones take what does not divide.
        let share = args.connections / args.nodes + u64::from(index < args.connections % args.nodes);
        let mut command = Command::new(&program);
        command.args(["bench", "idle", "--until-told", "--connections", &share.to_string()]);
        command.arg("--dir").arg(args.dir.join(index.to_string()));
        // Its standard input ends with this process at the latest, and it with that.
        children.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }
    let mut found = Vec::new();
    for (index, child) in children.iter_mut().enumerate() {
        found.push(told(child).with_context(|| format!("node {index}"))?);
    }
    let after_kb = process::available_kb().context("the machine's memory cannot be read")?;
    for (index, mut child) in children.into_iter().enumerate() {
        drop(child.stdin.take());
        if !child.wait()?.success() {
            bail!("node {index} did not keep its connections until the last of all was there");
        }
    }
    let connections: usize = found.iter().map(|idle| idle.connections).sum();
    let together = Together {
        nodes: found.len(),
        connections,
        node_bytes_each: found.iter().map(|idle| idle.bytes_each).max().unwrap_or_default(),
        machine_bytes_each: before_kb.saturating_sub(after_kb) * 1_024 / (connections as u64).max(1),
    };
    Screen::new().line(serde_json::to_string(&together)?)?;
    Ok(())
}

/// What a generator says when it holds all of its connections.
fn told(child: &mut Child) -> anyhow::Result<Idle> {
    let output = child.stdout.as_mut().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    serde_json::from_str(&line).context("its generator ended before it held its connections")
}
