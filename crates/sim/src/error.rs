//! Why the simulator could not start or do what it was asked.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the simulator, without any secret value.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// An address could not be listened on.
    #[error("cannot listen on {address} ({what})")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What it is for.
        what: &'static str,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A configured value is not usable.
    #[error("configuration: {0}")]
    Config(String),
    /// The security module refused.
    #[error("security module: {0}")]
    Hsm(#[from] hsm::HsmError),
    /// The books file could not be read or written.
    #[error("books file {path}")]
    Books {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A line of the books file is not one of ours.
    #[error("books file {path}, line {line}: {reason}")]
    BooksLine {
        /// The file.
        path: PathBuf,
        /// Line from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A message could not be built; a configured value is too long for its field.
    #[error("message: {0}")]
    Build(#[from] iso8583::BuildError),
    /// The member's listener is not connected.
    #[error("the member's listener {0} is not connected")]
    NoLine(String),
    /// The member did not answer in time.
    #[error("the member did not answer {0} in time")]
    NoAnswer(&'static str),
    /// The member answered with something else than 00.
    #[error("the member answered {what} with {code}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Field 39.
        code: String,
    },
}
