//! Encryption toward the server, as the address asks for it: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, with the
//! meaning that PostgreSQL's own programs give them.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What the address asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// No encryption.
    #[default]
    Disable,
    /// Encryption; the server's certificate is looked at only when `sslrootcert` is given.
    Require,
    /// The server's certificate comes from `sslrootcert`.
    VerifyCa,
    /// As well, and it is for the host in the address.
    VerifyFull,
}

/// The part of an address that is about encryption. Files are named, not read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    mode: Mode,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// A value of an address: `%` and two digits stand for a byte.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl Wanted {
    /// Takes its part out of an address, and leaves what the driver reads.
    ///
    /// # Errors
    /// A sentence without the values, among which a password could be.
    pub(super) fn take(url: &str) -> Result<(Self, String), &'static str> {
        let mut wanted = Wanted::default();
        let Some((address, query)) = url.split_once('?') else { return Ok((wanted, url.to_owned())) };
        let mut left: Vec<&str> = Vec::new();
        for part in query.split('&') {
            let Some((name, value)) = part.split_once('=') else {
                left.push(part);
                continue;
            };
            let value = || decoded(value).ok_or("a file of the address cannot be read as text");
            match name {
                "sslmode" => {
                    wanted.mode = match value()?.as_str() {
                        "disable" => Mode::Disable,
                        "require" => Mode::Require,
                        "verify-ca" => Mode::VerifyCa,
                        "verify-full" => Mode::VerifyFull,
                        _ => {
                            return Err(
                                "sslmode is disable, require, verify-ca or verify-full; a mode that falls \
                                        back to no encryption protects from nobody",
                            );
                        }
                    };
                }
                "sslrootcert" => wanted.root = Some(value()?),
                "sslcert" => wanted.certificate = Some(value()?),
                "sslkey" => wanted.key = Some(value()?),
                _ => left.push(part),
            }
        }
        if matches!(wanted.mode, Mode::VerifyCa | Mode::VerifyFull) && wanted.root.is_none() {
            return Err(
                "sslmode=verify-ca and verify-full need sslrootcert, the certificate of who vouches for the server",
            );
        }
        if wanted.certificate.is_some() != wanted.key.is_some() {
            return Err("sslcert and sslkey go together");
        }
        let files = wanted.root.is_some() || wanted.certificate.is_some();
        if wanted.mode == Mode::Disable && files {
            return Err("certificates are given, but sslmode does not ask for encryption");
        }
        let mut address = address.to_owned();
        if wanted.mode != Mode::Disable {
            left.push("sslmode=require");
        }
        if !left.is_empty() {
            address.push('?');
            address.push_str(&left.join("&"));
        }
        Ok((wanted, address))
    }

    /// Reads the files; nothing when no encryption is asked for.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn connector(&self) -> Result<Option<MakeRustlsConnect>, String> {
        if self.mode == Mode::Disable {
            return Ok(None);
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match &self.root {
            Some(file) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(file)?), provider)
                    .build()
                    .map_err(|e| format!("sslrootcert {file}: {e}"))?;
                match self.mode {
                    Mode::VerifyFull => builder.with_webpki_verifier(verifier),
                    Mode::Disable | Mode::Require | Mode::VerifyCa => {
                        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
                    }
                }
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider))),
        };
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let own =
                    PrivateKeyDer::from_pem_file(Path::new(key)).map_err(|e| format!("sslkey {key}: {e}"))?;
                builder
                    .with_client_auth_cert(certificates(certificate, "sslcert")?, own)
                    .map_err(|e| format!("sslcert {certificate}: {e}"))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

fn certificates(file: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(Path::new(file)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(format!("{what} {file}: no certificate in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{what} {file}: {error}")),
    }
}

fn roots(file: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "sslrootcert")? {
        roots.add(certificate).map_err(|e| format!("sslrootcert {file}: {e}"))?;
    }
    Ok(roots)
}

/// The certificate comes from whom we trust, whatever name it is for.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last, when everything else is good.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Whoever answers: encryption against listeners, not against an impostor. The operator asked for it by
/// `sslmode=require` without `sslrootcert`.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_parted_into_the_drivers_and_ours() {
        let url = "postgres://u:p@db/posp?connect_timeout=3&sslmode=verify-full&sslrootcert=/etc/my%20ca.pem";
        let (wanted, left) = Wanted::take(url).unwrap();
        assert_eq!((wanted.mode, wanted.root.as_deref()), (Mode::VerifyFull, Some("/etc/my ca.pem")));
        assert_eq!(left, "postgres://u:p@db/posp?connect_timeout=3&sslmode=require");
        let (wanted, left) = Wanted::take("postgres:///posp?user=posp&host=/run/postgresql").unwrap();
        assert_eq!(wanted, Wanted::default());
        assert_eq!(left, "postgres:///posp?user=posp&host=/run/postgresql");
        for (query, word) in [
            ("sslmode=prefer", "falls back"),
            ("sslmode=verify-ca", "sslrootcert"),
            ("sslmode=require&sslcert=/c.pem", "go together"),
            ("sslrootcert=/ca.pem", "does not ask"),
        ] {
            let refused = Wanted::take(&format!("postgres://db/posp?{query}")).unwrap_err();
            assert!(refused.contains(word), "{query}: {refused}");
        }
    }
}
