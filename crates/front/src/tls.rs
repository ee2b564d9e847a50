//! Certificates: read from files, read again when the files change, without a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use crate::config::TlsFiles;

/// Why certificates cannot be used. Names the file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not PEM, or has nothing of the kind in it.
    #[error("{file} has no {what} in PEM form")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not fit each other, or an authority cannot be used.
    #[error("{file}: {reason}")]
    Unfit {
        /// The file.
        file: PathBuf,
        /// In the words of the TLS library.
        reason: String,
    },
}

/// When a file was changed last, and how long it was.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// The certificates of a door.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
    stamp: Mutex<Stamp>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read or used.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let stamp = stamp(&files);
        let current = RwLock::new(Arc::new(read(&files)?));
        Ok(Tls { files, current, stamp: Mutex::new(stamp) })
    }

    /// What new connections use.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again when one of them has changed; what was in force stays so when they cannot be used.
    ///
    /// # Errors
    /// The new files cannot be read or used. They are tried again when they change once more.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let now = stamp(&self.files);
        {
            let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
            if *known == now {
                return Ok(false);
            }
            *known = now;
        }
        let fresh = Arc::new(read(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

fn paths(files: &TlsFiles) -> impl Iterator<Item = &Path> {
    let clients = files.clients.as_ref();
    let authorities = clients.map(|clients| clients.authorities.as_path());
    let revoked = clients.and_then(|clients| clients.revoked.as_deref());
    [files.certificate.as_path(), files.key.as_path()].into_iter().chain(authorities).chain(revoked)
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &Path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    paths(files).map(of).collect()
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain: Vec<CertificateDer<'static>> = all(&files.certificate, "certificate")?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fault(&files.key, "private key", error))?;
    let builder = ServerConfig::builder();
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let unfit = |reason: String| TlsError::Unfit { file: clients.authorities.clone(), reason };
            let mut roots = RootCertStore::empty();
            for root in all(&clients.authorities, "certificate")? {
                roots.add(root).map_err(|error| unfit(error.to_string()))?;
            }
            let mut verifier = WebPkiClientVerifier::builder(Arc::new(roots));
            if let Some(file) = &clients.revoked {
                let lists: Vec<CertificateRevocationListDer<'static>> = all(file, "revocation list")?;
                verifier = verifier.with_crls(lists);
            }
            if !clients.required {
                verifier = verifier.allow_unauthenticated();
            }
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unfit(error.to_string()))?)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Unfit { file: files.certificate.clone(), reason: error.to_string() })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Everything of a kind in a PEM file; at least one.
fn all<T: PemObject>(file: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let found = T::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<T>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Pem { file: file.to_owned(), what }),
        Ok(found) => Ok(found),
        Err(error) => Err(fault(file, what, error)),
    }
}

fn fault(file: &Path, what: &'static str, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(error) => TlsError::Read { file: file.to_owned(), error },
        _ => TlsError::Pem { file: file.to_owned(), what },
    }
}

/// The common name of a certificate's subject.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
