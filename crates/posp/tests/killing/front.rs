//! The internet front before the nodes: its settings, and certificates for it and for every terminal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pos::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::processes::MERCHANT;

/// How often the front looks at a node, milliseconds: a node that is back is used again soon.
const HEALTH_MS: u64 = 50;
/// Requests of one terminal in a second: these terminals have no customers to wait for.
const PER_SECOND: u32 = 10_000;

/// Where the front is. It serves HTTPS, and every terminal shows a certificate of its own.
pub struct Front {
    door: SocketAddr,
    /// Its own page.
    pub ops: SocketAddr,
}

impl Front {
    /// Writes settings and certificates. `nodes` are the doors and pages of the nodes behind it.
    pub fn furnish(
        dir: &Path,
        (door, ops): (SocketAddr, SocketAddr),
        nodes: &[(SocketAddr, SocketAddr)],
        terminals: impl Iterator<Item = String>,
    ) -> anyhow::Result<Front> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(file(dir, "authority", "pem"), authority.pem())?;
        let issue = |name: &str, params: CertificateParams| -> anyhow::Result<()> {
            let key = KeyPair::generate()?;
            std::fs::write(file(dir, name, "pem"), params.signed_by(&key, &authority)?.pem())?;
            std::fs::write(file(dir, name, "key"), key.serialize_pem())?;
            Ok(())
        };
        issue("front", CertificateParams::new(vec!["localhost".to_owned()])?)?;
        for terminal in terminals {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, format!("{MERCHANT}-{terminal}"));
            issue(&terminal, params)?;
        }
        let nodes: Vec<String> = nodes.iter().map(|(pos, ops)| format!("{pos}/{ops}")).collect();
        let text = format!(
            "[front]\nlisten = \"{door}\"\nops = \"{ops}\"\ncertificate = {:?}\nkey = {:?}\n\
             client_authorities = {:?}\nclient_required = true\nnodes = \"{}\"\nhealth_ms = {HEALTH_MS}\n\
             terminal_per_second_max = {PER_SECOND}\n",
            file(dir, "front", "pem"),
            file(dir, "front", "key"),
            file(dir, "authority", "pem"),
            nodes.join(","),
        );
        std::fs::write(config(dir), text)?;
        Ok(Front { door, ops })
    }

    /// What terminals post to.
    pub fn host(&self) -> String {
        format!("https://localhost:{}/unp/webtrans/VPB_lb", self.door.port())
    }
}

/// The front's settings.
pub fn config(dir: &Path) -> PathBuf {
    dir.join("front.toml")
}

/// What a terminal needs to speak to the front.
pub fn tls_files(dir: &Path, terminal: &str) -> TlsFiles {
    TlsFiles {
        authorities: Some(file(dir, "authority", "pem")),
        certificate: Some(file(dir, terminal, "pem")),
        key: Some(file(dir, terminal, "key")),
    }
}

fn file(dir: &Path, name: &str, kind: &str) -> PathBuf {
    dir.join(format!("tls-{name}.{kind}"))
}
