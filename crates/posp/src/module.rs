//! The security module of a node: the vault in software, or a token.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use hsm::{Hsm, SoftVault, VaultError};
use store::Store;

use crate::config::{Config, HsmBackend};
use crate::keys::ask_components;
use crate::roster::lacking;

/// Opens the vault at `path`, as its file has it. Where the file holds no master key, its components are asked for.
pub fn open_file(path: &Path) -> anyhow::Result<SoftVault> {
    let vault = match SoftVault::open_file(path) {
        Err(VaultError::ComponentsNeeded { .. }) => {
            let components = ask_components("Master key").with_context(|| {
                format!("{} holds no master key: its components are needed", path.display())
            })?;
            SoftVault::open_ring_file(path, &components)
        }
        other => other,
    };
    vault.with_context(|| {
        format!("the master key file {} cannot be used (`posp key init` makes a new one)", path.display())
    })
}

/// Opens what `hsm.backend` names.
pub fn open(config: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
    match config.hsm.backend {
        HsmBackend::Vault => Ok(Arc::new(open_file(&config.node.master_key)?)),
        HsmBackend::Pkcs11 => token::open(config),
    }
}

/// Opens it as the nodes on this store use it: where the file has a master key prepared that is in force by now, new keys
/// are made under that.
///
/// # Errors
/// As [`open`]; the master key in force is not there.
pub async fn open_for(config: &Config, store: &Store) -> anyhow::Result<Arc<dyn Hsm>> {
    match store.master_in_force().await? {
        Some(in_force) => open_with(config, &in_force),
        None => open(config),
    }
}

/// Opens it with this master key, by its check value, in force.
///
/// # Errors
/// As [`open`]; the key is not there.
pub fn open_with(config: &Config, in_force: &str) -> anyhow::Result<Arc<dyn Hsm>> {
    let vault = open(config)?;
    vault.put_in_force(in_force)?;
    if !vault.fingerprints().iter().any(|key| key == in_force) {
        bail!(lacking(in_force));
    }
    Ok(vault)
}

/// As [`open_for`], for a command that needs no store: it is asked only while there is more than one master key.
pub async fn open_in_force(config: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
    let vault = open(config)?;
    if vault.fingerprints().len() == 1 {
        return Ok(vault);
    }
    let store = config.open_store_to_read(None).context(
        "the vault file holds several master keys, and the store, which knows the one in force, cannot be opened",
    )?;
    open_for(config, &store).await
}

/// Makes the platform's own keys in the token of the configuration.
pub fn create_in_token(config: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
    token::create(config)
}

/// What the operator calls the place where the master key is.
pub fn place(config: &Config) -> String {
    match config.hsm.backend {
        HsmBackend::Vault => config.node.master_key.display().to_string(),
        HsmBackend::Pkcs11 => format!("token {}", config.hsm.token),
    }
}

#[cfg(feature = "pkcs11")]
mod token {
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;

    use anyhow::{Context, bail};
    use hsm::{Hsm, Pkcs11Vault, TokenConfig, Zeroizing};

    use crate::config::Config;

    fn settings(config: &Config) -> anyhow::Result<TokenConfig> {
        let own = &config.hsm;
        let pin = if own.pin.0.is_empty() {
            let file = &own.pin_file;
            let about = std::fs::metadata(file)
                .with_context(|| format!("the token's PIN file {} (hsm.pin_file)", file.display()))?;
            if about.mode() & 0o077 != 0 {
                bail!("{} can be read by others than its owner: chmod 600", file.display());
            }
            let text = Zeroizing::new(std::fs::read_to_string(file)?);
            Zeroizing::new(text.trim_end().to_owned())
        } else {
            Zeroizing::new(own.pin.0.clone())
        };
        let (module, token) = (own.module.clone(), own.token.clone());
        let (sessions, sm4_in_process) = (own.sessions, own.sm4_in_process);
        Ok(TokenConfig { module, token, pin, sessions, sm4_in_process })
    }

    pub(super) fn open(config: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
        let vault = Pkcs11Vault::open(settings(config)?).context("the token cannot be used")?;
        Ok(Arc::new(vault))
    }

    pub(super) fn create(config: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
        let vault = Pkcs11Vault::create(settings(config)?).context("the token cannot be prepared")?;
        Ok(Arc::new(vault))
    }
}

#[cfg(not(feature = "pkcs11"))]
mod token {
    use std::sync::Arc;

    use hsm::Hsm;

    use crate::config::Config;

    const ABSENT: &str = "hsm.backend is pkcs11, but this binary was built without the feature pkcs11";

    pub(super) fn open(_: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
        Err(anyhow::anyhow!(ABSENT))
    }

    pub(super) fn create(_: &Config) -> anyhow::Result<Arc<dyn Hsm>> {
        Err(anyhow::anyhow!(ABSENT))
    }
}
