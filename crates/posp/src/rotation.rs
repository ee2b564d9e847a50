//! `posp key rotate` and `posp key retire`: a new master key under a running node.
//!
//! The new key stands in front in the vault file first; a node takes it over within a second and makes new
//! keys under it. Then every key in the journal is moved, a batch at a time, each only if it is still what was
//! read. What a node wrote in between is found by the next pass; three clean passes a second apart end it.
//! Stopped at any point, the same command goes on where it was: a key that is moved already is left alone.

use std::time::Duration;

use acquiring::master::{Terminal, WorkingKeys};
use anyhow::{Context, bail};
use hsm::{Hsm, SoftVault, WrappedKey};
use store::Store;

use crate::config::{Config, HsmBackend};
use crate::module;
use crate::screen::Screen;

/// Terminals moved at a time.
const BATCH: usize = 64;
/// Clean passes in a row that end a rotation: longer than a node needs to take the new key over.
const CLEAN: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

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

fn only_in_a_file(config: &Config) -> anyhow::Result<()> {
    if config.hsm.backend != HsmBackend::Vault {
        bail!("the master key of a token is rotated by the token's own means, not by this command");
    }
    Ok(())
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

/// Runs `posp key rotate`.
pub async fn rotate(config: &Config, store: &Store, screen: &mut Screen) -> anyhow::Result<()> {
    only_in_a_file(config)?;
    let path = &config.node.master_key;
    if SoftVault::open_file(path)?.fingerprints().len() == 1 {
        SoftVault::prepare_file(path)?;
        SoftVault::promote_file(path)?;
    } else {
        screen.line("a rotation is under way: going on with it")?;
    }
    let vault = module::open(config)?;
    screen.line(format!("master key in force: check value {}", vault.fingerprint()))?;
    let mut clean = 0;
    while clean < CLEAN {
        let found = behind(&*vault, store).await?;
        clean = if found.is_empty() { clean + 1 } else { 0 };
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
        // A node may have written keys under the old master key meanwhile: poll again.
        tokio::time::sleep(PAUSE).await;
    }
    let current = vault.fingerprint();
    for older in vault.fingerprints().iter().filter(|older| **older != current) {
        store.rebind_vault(older, &current).await?;
    }
    screen.line("every key in the journal is under it; account numbers and digests need no change")?;
    match zone_line(&*vault, config)? {
        Some(line) => {
            screen.line("put this line into the configuration, then run `posp key retire`:")?;
            screen.line(line)?;
        }
        None => screen.line("`posp key retire` takes the old master key out of the file")?,
    }
    Ok(())
}

/// Runs `posp key retire`.
pub async fn retire(config: &Config, store: &Store, screen: &mut Screen) -> anyhow::Result<()> {
    only_in_a_file(config)?;
    let vault = module::open(config)?;
    let current = vault.fingerprint();
    if vault.fingerprints().len() == 1 {
        bail!("there is one master key, check value {current}: nothing to retire");
    }
    let left = behind(&*vault, store).await?.len();
    if left > 0 {
        bail!("{left} terminals have keys under the old master key still: `posp key rotate` moves them");
    }
    if let Some(line) = zone_line(&*vault, config)? {
        bail!("unionpay.zone_master_key is under the old master key still; in its place:\n{line}");
    }
    store.bind_vault(&current).await.context("the rotation was not finished: `posp key rotate`")?;
    SoftVault::retire_file(&config.node.master_key)?;
    screen
        .line(format!("one master key is left, check value {current}; keep a copy of its file in a safe"))?;
    Ok(())
}
