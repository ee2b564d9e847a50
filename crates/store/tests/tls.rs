//! The connection to PostgreSQL, encrypted: a server of the test's own with a certificate made for `localhost`, and the
//! address saying how much of it is to be checked. What the address does not allow is refused with a sentence that says
//! why, before anything of ours is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;
#[path = "common/server.rs"]
mod server;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use acquiring::kind::Kind;
use acquiring::payment::EntryKind;
use common::{message, payment};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use server::Server;
use store::{Begun, Store, StoreOptions};

struct Site {
    server: Server,
    port: u16,
    directory: tempfile::TempDir,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key as PEM.
fn certificate(by: &CertifiedIssuer<'_, KeyPair>, common_name: &str, host: &[String]) -> (String, String) {
    let mut params = CertificateParams::new(host.to_vec()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

impl Site {
    /// A server that takes TCP connections only encrypted (with `encrypted`), and those of the user `certified` only with a
    /// certificate of that name.
    fn start(encrypted: bool) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let (ours, other) = (authority("our authority"), authority("another authority"));
        let (certificate_of_server, key_of_server) = certificate(&ours, "db", &["localhost".to_owned()]);
        let (own, own_key) = certificate(&ours, "certified", &[]);
        let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        file("ca.pem", &ours.pem());
        file("other.pem", &other.pem());
        file("own.pem", &own);
        file("own.key", &own_key);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server::start_with(port, |place| {
            let tcp = format!("-c listen_addresses=127.0.0.1 -c port={port}");
            if !encrypted {
                return tcp;
            }
            let hba = "local all all trust\nhostssl all certified 127.0.0.1/32 cert\n\
                       hostssl all all 127.0.0.1/32 trust\n";
            std::fs::write(place.join("data/pg_hba.conf"), hba).unwrap();
            server::private(&place.join("server.crt"), &certificate_of_server);
            server::private(&place.join("server.key"), &key_of_server);
            server::private(&place.join("ca.crt"), &ours.pem());
            let place = place.display();
            format!(
                "{tcp} -c ssl=on -c ssl_cert_file={place}/server.crt -c ssl_key_file={place}/server.key \
                 -c ssl_ca_file={place}/ca.crt"
            )
        });
        Site { server, port, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self, user: &str, host: &str, query: &str) -> String {
        let query = ["ca.pem", "other.pem", "own.pem", "own.key"]
            .iter()
            .fold(query.to_owned(), |query, name| query.replace(name, &path(&self.file(name))));
        format!("postgres://{user}@{host}:{}/store_tls?{query}", self.port)
    }
}

fn path(file: &Path) -> String {
    file.display().to_string()
}

async fn furnish(site: &Site) {
    let admin = site.server.admin("postgres").await;
    for sql in ["CREATE DATABASE store_tls", "CREATE ROLE certified LOGIN SUPERUSER"] {
        admin.batch_execute(sql).await.unwrap();
    }
}

/// Each way of asking that the server satisfies is served, and is encrypted in fact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_connection_is_made_as_the_address_asks() {
    let site = Site::start(true);
    furnish(&site).await;
    let good = [
        ("posp", "127.0.0.1", "sslmode=require"),
        ("posp", "127.0.0.1", "sslmode=require&sslrootcert=ca.pem"),
        ("posp", "127.0.0.1", "sslmode=verify-ca&sslrootcert=ca.pem"),
        ("posp", "localhost", "sslmode=verify-full&sslrootcert=ca.pem"),
        ("certified", "localhost", "sslmode=verify-full&sslrootcert=ca.pem&sslcert=own.pem&sslkey=own.key"),
    ];
    for ((user, host, query), id) in good.into_iter().zip(1..) {
        let store = Store::open_url(&site.url(user, host, query), StoreOptions::new(""))
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        let entries = vec![message(id, EntryKind::TerminalIn, 294)];
        assert_eq!(store.begin(payment(id, Kind::Sale), entries).await.unwrap(), Begun::Journaled, "{query}");
        let sql = "SELECT COUNT(*) FILTER (WHERE NOT s.ssl), COUNT(*) FROM pg_stat_ssl s \
                   JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'posp' AND a.usename = $1";
        let row = site.server.admin("postgres").await.query_one(sql, &[&user]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0, "{query}: a connection in the clear");
        assert!(row.get::<_, i64>(1) > 1, "{query}");
        store.close().await;
    }
}

/// What the server cannot satisfy is refused, and the sentence says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_what_the_address_asks_for_is_refused() {
    let (site, plain) = (Site::start(true), Site::start(false));
    furnish(&site).await;
    furnish(&plain).await;
    let bad = [
        (&site, "posp", "localhost", "sslmode=verify-full&sslrootcert=other.pem", "UnknownIssuer"),
        (&site, "posp", "127.0.0.1", "sslmode=verify-ca&sslrootcert=other.pem", "UnknownIssuer"),
        (&site, "posp", "127.0.0.1", "sslmode=require&sslrootcert=other.pem", "UnknownIssuer"),
        (&site, "posp", "127.0.0.1", "sslmode=verify-full&sslrootcert=ca.pem", "not valid for name"),
        (&site, "posp", "127.0.0.1", "sslmode=disable", "no pg_hba.conf entry"),
        (&site, "posp", "127.0.0.1", "connect_timeout=5", "no pg_hba.conf entry"),
        (&site, "certified", "localhost", "sslmode=require", "certificate"),
        (&plain, "posp", "127.0.0.1", "sslmode=require", "server does not support TLS"),
        (
            &plain,
            "posp",
            "localhost",
            "sslmode=verify-full&sslrootcert=ca.pem",
            "server does not support TLS",
        ),
        (
            &site,
            "posp",
            "localhost",
            "sslmode=verify-full&sslrootcert=/nowhere/root.pem",
            "sslrootcert /nowhere/root.pem",
        ),
        (
            &site,
            "posp",
            "localhost",
            "sslmode=require&sslcert=own.key&sslkey=own.key",
            "no certificate in it",
        ),
        (&site, "posp", "localhost", "sslmode=prefer", "falls back"),
    ];
    for (site, user, host, query, reason) in bad {
        let refused = Store::open_url(&site.url(user, host, query), StoreOptions::new("")).err();
        let sentence = refused.unwrap_or_else(|| panic!("{query} was let through")).to_string();
        assert!(sentence.contains(reason), "{query}: {sentence}");
    }
    // Over a socket there is nothing to encrypt, and a wish for it is a mistake.
    let socket = format!("{}&sslmode=require", site.server.url("store_tls"));
    let refused = Store::open_url(&socket, StoreOptions::new("")).err().unwrap().to_string();
    assert!(refused.contains("socket"), "{refused}");
}
