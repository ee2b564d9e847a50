//! `posp key prepare`, `posp key rotate` and `posp key retire`: a new master key under running nodes.
//!
//! The new key stands behind the one in force in the vault file first, where every node can open keys with it and none
//! makes any. Once every living node has it, one write to the store puts it in force; a node that hears of that makes new
//! keys under it within a second, whatever its own copy of the file says. Then every key in the journal is moved, a batch
//! at a time, each only if it is still what was read. What a node wrote in between is found by the next pass; three clean
//! passes a second apart, with no node behind, end it. Stopped at any point, the same command goes on where it was: a key
//! that is moved already is left alone.

use std::time::Duration;

use acquiring::master::{Terminal, WorkingKeys};
use anyhow::{Context, bail};
use hsm::{Hsm, MasterRole, SoftVault, WrappedKey};
use store::{NodeKeys, Store};
use tokio::time::Instant;

use crate::config::{Config, HsmBackend};
use crate::module;
use crate::roster::lacking;
use crate::screen::{Screen, table};

/// Terminals moved at a time.
const BATCH: usize = 64;
/// Clean passes in a row that end a rotation: longer than a node needs to take the new key over.
const CLEAN: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How often a wait that does not end is mentioned.
const SAY_AGAIN: Duration = Duration::from_secs(10);

fn text_moved(vault: &dyn Hsm, text: &str) -> anyhow::Result<Option<String>> {
    let key: WrappedKey = text.parse()?;
    Ok(vault.rewrap(&key)?.map(|key| key.to_string()))
}

fn keys_moved(vault: &dyn Hsm, keys: &mut Option<WorkingKeys>) -> anyhow::Result<bool> {
    let Some(keys) = keys else { return Ok(false) };
    let mut any = false;
    for text in [Some(&mut keys.pin), Some(&mut keys.mac), keys.track.as_mut()].into_iter().flatten() {
        if let Some(new) = text_moved(vault, text)? {
            *text = new;
            any = true;
        }
    }
    Ok(any)
}

/// The terminal with its keys under the master key in force; `None` when they are.
fn moved(vault: &dyn Hsm, old: &Terminal) -> anyhow::Result<Option<Terminal>> {
    let mut new = old.clone();
    let master = text_moved(vault, &old.master_key)?;
    let any = master.is_some();
    new.master_key = master.unwrap_or(new.master_key);
    let newest = keys_moved(vault, &mut new.session.keys)?;
    let before = keys_moved(vault, &mut new.session.previous_keys)?;
    Ok((any || newest || before).then_some(new))
}

/// The terminals whose keys are under an older master key, as they are and as they are to be.
async fn behind(vault: &dyn Hsm, store: &Store) -> anyhow::Result<Vec<(Terminal, Terminal)>> {
    let mut found = Vec::new();
    for old in store.terminals().await? {
        let name = || format!("a key of terminal {} at merchant {}", old.id, old.merchant);
        if let Some(new) = moved(vault, &old).with_context(name)? {
            found.push((old, new));
        }
    }
    Ok(found)
}

/// The line for the configuration when the zone master key is under an older master key.
fn zone_line(vault: &dyn Hsm, config: &Config) -> anyhow::Result<Option<String>> {
    let text = &config.unionpay.zone_master_key;
    if text.is_empty() {
        return Ok(None);
    }
    let new = text_moved(vault, text).context("unionpay.zone_master_key")?;
    Ok(new.map(|key| format!("zone_master_key = \"{key}\"")))
}

/// Where a rotation stands: the master keys of the file on this machine, and the one in force for all.
struct Standing {
    front: String,
    prepared: Option<String>,
    /// There is a key from before in the file.
    has_old: bool,
    in_force: Option<String>,
}

impl Standing {
    async fn look(config: &Config, store: &Store) -> anyhow::Result<Standing> {
        if config.hsm.backend != HsmBackend::Vault {
            bail!("the master key of a token is rotated by the token's own means, not by this command");
        }
        let vault = SoftVault::open_file(&config.node.master_key)?;
        let in_force = store.master_in_force().await?;
        if let Some(in_force) = in_force.as_ref().filter(|key| !vault.fingerprints().contains(key)) {
            bail!(lacking(in_force));
        }
        let masters = vault.masters();
        let prepared = masters.iter().find(|master| master.role == MasterRole::Prepared);
        Ok(Standing {
            front: vault.fingerprint(),
            prepared: prepared.map(|master| master.fingerprint.clone()),
            has_old: masters.iter().any(|master| master.role == MasterRole::Old),
            in_force,
        })
    }

    /// The key that this file has prepared is in force by the store's word: the file was copied, or the command was
    /// stopped, between the two.
    fn file_is_behind(&self) -> bool {
        self.prepared.is_some() && self.prepared == self.in_force
    }
}

/// Nodes as an operator knows them.
fn names(nodes: &[NodeKeys]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("{} on {}", node.node, node.machine)).collect();
    names.join(", ")
}

/// Runs `posp key show`.
pub async fn show(config: &Config, screen: &mut Screen) -> anyhow::Result<()> {
    let place = module::place(config);
    if config.hsm.backend != HsmBackend::Vault {
        let vault = module::open(config)?;
        screen.line(format!("{place}: check value {}", vault.fingerprint()))?;
    } else {
        let vault = module::open_file(&config.node.master_key)?;
        screen.line(format!("{place}:"))?;
        let word = |role| match role {
            MasterRole::InForce => "使用中 in force",
            MasterRole::Prepared => "已备好 prepared",
            MasterRole::Old => "旧 old",
        };
        let masters = vault.masters();
        let rows: Vec<Vec<String>> = masters
            .iter()
            .map(|master| vec![master.fingerprint.clone(), word(master.role).to_owned()])
            .collect();
        for line in table(&["校验值 check value", "角色 role"], &rows) {
            screen.line(line)?;
        }
    }
    if !config.names_shared_store() {
        return Ok(());
    }
    screen.line("")?;
    let store = match config.open_store_to_read(None) {
        Ok(store) => store,
        Err(error) => {
            screen.line(format!("nodes: not known, the store cannot be read: {error}"))?;
            return Ok(());
        }
    };
    if let Some(in_force) = store.master_in_force().await? {
        screen.line(format!("in force for every node on the store: check value {in_force}"))?;
    }
    let nodes = store.living_nodes().await?;
    if nodes.is_empty() {
        screen.line("no node is running")?;
        return Ok(());
    }
    let row = |node: &NodeKeys| {
        vec![node.node.clone(), node.machine.clone(), node.wraps.clone(), node.opens.join(" ")]
    };
    let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
    for line in table(&["节点 node", "机器 machine", "加密用 wraps under", "可解 opens"], &rows) {
        screen.line(line)?;
    }
    Ok(())
}

/// Runs `posp key prepare`.
pub async fn prepare(config: &Config, store: &Store, screen: &mut Screen) -> anyhow::Result<()> {
    let path = &config.node.master_key;
    let standing = Standing::look(config, store).await?;
    if standing.file_is_behind() || standing.has_old {
        bail!("a rotation is under way: finish it with `posp key rotate`, then `posp key retire`");
    }
    let made = SoftVault::prepare_file(path)?;
    let Some(prepared) = Standing::look(config, store).await?.prepared else {
        bail!("{} was exchanged at this moment: run the command again", path.display());
    };
    let word = if made { "prepared" } else { "prepared before" };
    screen.line(format!("next master key: {word}, check value {prepared}, not in force"))?;
    let mut nodes = store.living_nodes().await?;
    nodes.retain(|node| !node.has(&prepared));
    if !nodes.is_empty() {
        screen.line(format!("nodes that do not have it yet: {}", names(&nodes)))?;
    }
    screen.line(format!(
        "copy {} to the other machines with nodes on this store; they read it within a second",
        path.display()
    ))?;
    screen.line("then `posp key rotate` puts it in force")?;
    Ok(())
}

/// Waits until every living node has the key, and puts it in force at that moment.
async fn put_in_force(
    store: &Store,
    from: &str,
    to: &str,
    wait: Duration,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut waiting = Waiting::new(wait);
    loop {
        let without = store.put_master_in_force(from, to).await?;
        if without.is_empty() {
            return Ok(());
        }
        let names = names(&without);
        if waiting.is_over() {
            bail!(
                "these nodes do not have the master key with check value {to} yet: {names}. Nothing was changed; copy \
                 the vault file to their machines, then run `posp key rotate` again"
            );
        }
        waiting.say(screen, &format!("waiting for nodes that do not have the prepared key: {names}"))?;
        // The next poll.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Moves the keys of terminals, of each only if they are still what was read.
async fn move_all(store: &Store, found: &[(Terminal, Terminal)], screen: &mut Screen) -> anyhow::Result<()> {
    let mut done = 0;
    for batch in found.chunks(BATCH) {
        let tasks: Vec<_> = batch
            .iter()
            .cloned()
            .map(|(old, new)| {
                let store = store.clone();
                tokio::spawn(async move { store.rewrap_terminal(&old, &new).await })
            })
            .collect();
        for task in tasks {
            done += usize::from(task.await??);
        }
        screen.line(format!("{done} of {} terminals moved", found.len()))?;
    }
    Ok(())
}

/// Runs `posp key rotate`.
pub async fn rotate(
    config: &Config,
    store: &Store,
    wait: Duration,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let path = &config.node.master_key;
    let mut standing = Standing::look(config, store).await?;
    if standing.has_old || standing.file_is_behind() {
        screen.line("a rotation is under way: going on with it")?;
    } else if standing.prepared.is_none() {
        SoftVault::prepare_file(path)?;
        standing = Standing::look(config, store).await?;
    }
    let to = standing.prepared.as_ref().unwrap_or(&standing.front);
    let from = standing.in_force.as_ref().unwrap_or(&standing.front);
    put_in_force(store, from, to, wait, screen).await?;
    if standing.prepared.is_some() {
        SoftVault::promote_file(path)?;
    }
    let vault = module::open(config)?;
    let current = vault.fingerprint();
    screen.line(format!("master key in force: check value {current}"))?;
    let mut clean = 0;
    let mut waiting = Waiting::new(wait);
    while clean < CLEAN {
        let found = behind(&*vault, store).await?;
        let mut nodes = store.living_nodes().await?;
        nodes.retain(|node| node.wraps != current);
        clean = if found.is_empty() && nodes.is_empty() { clean + 1 } else { 0 };
        move_all(store, &found, screen).await?;
        if !found.is_empty() {
            waiting = Waiting::new(wait);
        } else if !nodes.is_empty() {
            let names = names(&nodes);
            if waiting.is_over() {
                bail!(
                    "every key in the journal is under the new master key, but these nodes still make keys under the \
                     old one: {names}. Give them the vault file or stop them, then run `posp key rotate` again"
                );
            }
            waiting.say(screen, &format!("waiting for nodes that make keys under the old key: {names}"))?;
        }
        // A node may have written keys under the old master key meanwhile: poll again.
        tokio::time::sleep(PAUSE).await;
    }
    screen.line("every key in the journal is under it; account numbers and digests need no change")?;
    match zone_line(&*vault, config)? {
        Some(line) => {
            screen.line("put this line into the configuration of every node, then run `posp key retire`:")?;
            screen.line(line)?;
        }
        None => screen.line("`posp key retire` takes the old master key out of the file")?,
    }
    Ok(())
}

/// Runs `posp key retire`.
pub async fn retire(config: &Config, store: &Store, screen: &mut Screen) -> anyhow::Result<()> {
    let standing = Standing::look(config, store).await?;
    if standing.file_is_behind() {
        SoftVault::promote_file(&config.node.master_key)?;
    } else if !standing.has_old {
        bail!("there is one master key in force, check value {}: nothing to retire", standing.front);
    }
    let vault = module::open(config)?;
    let current = vault.fingerprint();
    let left = behind(&*vault, store).await?.len();
    if left > 0 {
        bail!("{left} terminals have keys under the old master key still: `posp key rotate` moves them");
    }
    if let Some(line) = zone_line(&*vault, config)? {
        bail!("unionpay.zone_master_key is under the old master key still; in its place:\n{line}");
    }
    store.bind_vault(&current).await.context("the rotation was not finished: `posp key rotate`")?;
    let nodes = store.living_nodes().await?;
    let (with, without): (Vec<_>, Vec<_>) = nodes.iter().cloned().partition(|node| node.has(&current));
    if !without.is_empty() {
        bail!("these nodes do not have the master key in force, check value {current}: {}", names(&without));
    }
    let old: Vec<_> = with.into_iter().filter(|node| node.wraps != current).collect();
    if !old.is_empty() {
        bail!("these nodes make keys under the old master key still: {}", names(&old));
    }
    SoftVault::retire_file(&config.node.master_key)?;
    screen
        .line(format!("one master key is left, check value {current}; keep a copy of its file in a safe"))?;
    if nodes.len() > 1 {
        screen.line(
            "a copy of the file on another machine holds the old key still: run `posp key retire` there too",
        )?;
    }
    Ok(())
}

/// A wait that says what it waits for when that changes, and again from time to time.
struct Waiting {
    until: Instant,
    said: Option<(String, Instant)>,
}

impl Waiting {
    fn new(wait: Duration) -> Self {
        Waiting { until: Instant::now() + wait, said: None }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn say(&mut self, screen: &mut Screen, text: &str) -> anyhow::Result<()> {
        let now = Instant::now();
        let fresh = |(said, at): &(String, Instant)| said == text && now - *at < SAY_AGAIN;
        if !self.said.as_ref().is_some_and(fresh) {
            let left = self.until.saturating_duration_since(now).as_secs();
            screen.line(format!("{text} ({left} s left)"))?;
            self.said = Some((text.to_owned(), now));
        }
        Ok(())
    }
}
