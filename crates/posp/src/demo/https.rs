//! The demo's internet front: smart terminals speak HTTPS, each with a certificate of its own. Authority and certificates
//! are drawn anew at every start and lie in the demo's directory.

use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::front::nodes::NodeAddress;
use ::front::{Clients, Door, Front, Nodes, Tls, TlsFiles};
use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scene::MERCHANT;
use crate::config::Config;
use crate::front;
use crate::up::{Node, listen};

/// Where the terminals post to.
const PATH: &str = "/unp/webtrans/VPB_lb";
/// The name in the front's certificate.
const NAME: &str = "localhost";

/// The front, and what a terminal needs to reach it.
pub struct Https {
    /// Where terminals post to.
    pub host: String,
    /// PEM file of the authority.
    pub authority: PathBuf,
    directory: PathBuf,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Https {
    /// Draws the certificates and opens the front before a node.
    pub async fn open(
        config: &Config,
        node: &Node,
        directory: &Path,
        address: SocketAddr,
        terminals: impl Iterator<Item = &str>,
    ) -> anyhow::Result<Https> {
        let directory = directory.join("tls");
        let authority = draw(&directory, terminals).context("the demo's certificates")?;
        let files = TlsFiles {
            certificate: directory.join("front.pem"),
            key: directory.join("front.key"),
            clients: Some(Clients { authorities: authority.clone(), revoked: None, required: true }),
        };
        let socket = listen(address, "smart terminals", "--front").await?;
        let port = socket.local_addr()?.port();
        let mut settings = front::settings(config)?;
        // One terminal here does in a second what a shop's does in a day: it settles as fast as the machine is.
        settings.terminal_per_second_max = settings.requests_per_second_max;
        let behind = NodeAddress { pos: node.pos.to_string(), ops: Some(node.ops.to_string()) };
        let nodes = Arc::new(Nodes::new(vec![behind], &settings));
        let stop = CancellationToken::new();
        let door = Door { socket, tls: Some(Arc::new(Tls::open(files)?)) };
        let task = tokio::spawn(::front::serve(Front::new(settings, nodes, stop.clone()), vec![door]));
        Ok(Https { host: format!("https://{NAME}:{port}{PATH}"), authority, directory, stop, task })
    }

    /// PEM files of a terminal's certificate and of its key.
    pub fn certificate(&self, terminal: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{terminal}.pem")), self.directory.join(format!("{terminal}.key")))
    }

    /// Finishes what is under way.
    pub async fn close(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the front")
    }
}

/// An authority, the front's certificate and one for each terminal, as files.
fn draw<'a>(directory: &Path, terminals: impl Iterator<Item = &'a str>) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "posp demo");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let path = directory.join("authority.pem");
    std::fs::write(&path, authority.pem())?;
    let one = |name: &str, params: CertificateParams| -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem())?;
        let mut private = std::fs::OpenOptions::new();
        private.create(true).truncate(true).write(true).mode(0o600);
        std::io::Write::write_all(
            &mut private.open(directory.join(format!("{name}.key")))?,
            key.serialize_pem().as_bytes(),
        )?;
        Ok(())
    };
    one("front", CertificateParams::new(vec![NAME.to_owned()])?)?;
    for terminal in terminals {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{MERCHANT}-{terminal}"));
        one(terminal, params)?;
    }
    Ok(path)
}
