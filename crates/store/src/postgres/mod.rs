//! The engine for several nodes: PostgreSQL. Every node has one writing connection, whose group of waiting
//! operations shares a commit, and a few that read; each connection has its own thread.
//!
//! What keeps nodes apart:
//! - A terminal's numbers are looked up and taken under a lock of the terminal, so that one key is begun once.
//! - Payments are locked, ascending by merchant and number, before they are read to be changed.
//! - Numbers without gaps (a line's queue, a history) are given under the lock of what they number.
//!
//! Locks are taken in that order everywhere, for a whole group at once. Should the server still find a circle, it
//! undoes one of the transactions before its commit, and its operations are run again, each by itself. A commit
//! is sent once: when its outcome is unknown, the store has failed. A server that does not answer has failed as one
//! that ended the connection has ([`alive`]).
//!
//! Connections are encrypted when the address asks for it ([`tls`]).

mod alive;
mod care;
mod connection;
pub(crate) mod days;
mod durable;
mod group;
mod known;
mod rows;
mod sheet;
mod tls;
mod write;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::backend::Handles;
use crate::error::StoreError;
use crate::pace::Patience;
use crate::readers::Readers;
use crate::types::StoreOptions;
use crate::writer::Writer;
pub(crate) use care::Care;
use connection::{Connection, Purpose};
use group::PostgresJournal;

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a node: brings the schema up to date.
    Serve,
    /// For a short change beside the nodes; an empty database is furnished, another schema is left alone.
    Beside,
    /// For reading.
    Read,
}

/// Where the database is, with its name for the operator; the password is in neither.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    /// None without encryption.
    tls: Option<MakeRustlsConnect>,
    name: Arc<str>,
    /// The longest time of an answer.
    answer_max: Duration,
}

impl Address {
    fn parse(url: &str, answer_max: Duration) -> Result<Self, StoreError> {
        // The text may contain a password.
        let cannot =
            |reason: String| StoreError::CannotOpen { path: PathBuf::from("postgres://…"), reason };
        let (wanted, url) = tls::Wanted::take(url).map_err(|reason| cannot(reason.to_owned()))?;
        let mut config = Config::from_str(&url).map_err(|_| {
            cannot("the address cannot be read; it is postgres://user@host:port/database".to_owned())
        })?;
        if config.get_application_name().is_none() {
            config.application_name("posp");
        }
        alive::look_after(&mut config, answer_max);
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let name = format!("postgres://{host}/{}", config.get_dbname().unwrap_or_default());
        let mut address = Address { config, tls: None, name: name.into(), answer_max };
        address.tls = wanted.connector().map_err(|reason| address.cannot_open(reason))?;
        #[cfg(unix)]
        if address.tls.is_some() && address.config.get_hosts().iter().any(|h| matches!(h, Host::Unix(_))) {
            let reason = "over a socket there is no encryption; leave sslmode out, or name a host".to_owned();
            return Err(address.cannot_open(reason));
        }
        Ok(address)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(&*self.name)
    }

    fn cannot_open(&self, reason: String) -> StoreError {
        StoreError::CannotOpen { path: self.path(), reason }
    }
}

/// Opens the store behind a URL; the directory of the options is not used.
pub(crate) fn open(url: &str, options: StoreOptions, mode: Mode) -> Result<Handles, StoreError> {
    let StoreOptions { readers, queue, group_max, wait_max, clock, history_days, answer_max, .. } = options;
    let address = Address::parse(url, answer_max)?;
    let writer = match mode {
        Mode::Serve | Mode::Beside => {
            let (address, now) = (address.clone(), clock.now());
            let open = move || {
                let connection = Connection::open(address, Purpose::Write)?;
                match mode {
                    Mode::Serve => {
                        connection.migrate(now)?;
                        durable::warn(&connection)?;
                    }
                    Mode::Beside if connection.is_empty()? => connection.migrate(now)?,
                    Mode::Beside | Mode::Read => connection.check()?,
                }
                PostgresJournal::new(connection)
            };
            let patience = Patience { wait_max, group_max: group_max.max(1) };
            Some(Writer::start(open, queue.max(1), patience)?)
        }
        Mode::Read => None,
    };
    let care = match mode {
        Mode::Serve => Some(Care::start(address.clone(), history_days)?),
        Mode::Beside | Mode::Read => None,
    };
    let days = Some(days::Days::of(address.clone()));
    let open = move || {
        let connection = Connection::open(address.clone(), Purpose::Read)?;
        connection.check()?;
        Ok(connection)
    };
    let readers = Readers::start(readers.max(1), open)?;
    Ok(Handles { writer, readers, care, days, clock, shared: true })
}
