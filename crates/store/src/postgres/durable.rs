//! Settings of the server without which "durable before its effect" is not kept, whatever a node does.

use super::connection::Connection;
use crate::error::StoreError;

/// The settings as the writing connection has them, and what each being off risks. A node asks for
/// `synchronous_commit` itself, so that it is off only where something between the two takes that back (a pool that
/// resets sessions).
const NEEDED: [(&str, &str); 3] = [
    ("fsync", "a power cut loses payments that were answered, or the whole database"),
    ("full_page_writes", "a power cut leaves half-written pages, and payments with them"),
    ("synchronous_commit", "a crash of the server loses the last payments that were answered"),
];

/// The settings that are off, and what that risks.
fn risks(settings: &[(String, String)]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let off = |name: &str| settings.iter().any(|(found, value)| found == name && value == "off");
    NEEDED.into_iter().filter(move |(name, _)| off(name))
}

/// Warns of what is off. Nobody is refused: a server for tests runs quicker so.
pub(super) fn warn(db: &Connection) -> Result<(), StoreError> {
    let names: Vec<&str> = NEEDED.iter().map(|(name, _)| *name).collect();
    for (setting, risk) in risks(&db.settings(&names)?) {
        tracing::warn!(setting, risk, "a setting of the database server is off: the journal is not durable");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_commits_are_not_durable_is_named_by_its_settings() {
        let server = |fsync: &str, pages: &str, commit: &str| {
            let all = [("fsync", fsync), ("full_page_writes", pages), ("synchronous_commit", commit)];
            all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let named = |settings: &[_]| risks(settings).map(|(name, _)| name).collect::<Vec<_>>();
        assert!(named(&server("on", "on", "on")).is_empty());
        assert!(named(&server("on", "on", "remote_apply")).is_empty());
        assert_eq!(named(&server("off", "on", "on")), ["fsync"]);
        assert_eq!(named(&server("on", "off", "on")), ["full_page_writes"]);
        assert_eq!(named(&server("off", "off", "off")), ["fsync", "full_page_writes", "synchronous_commit"]);
    }
}
