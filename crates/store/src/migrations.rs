//! The schema's versions: numbered files, each applied once in a transaction of its own, the same on every
//! engine.

/// The numbered files, in order; the first is version 1.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_journal.sql"),
    include_str!("../migrations/0002_settlement.sql"),
    include_str!("../migrations/0003_forward_message.sql"),
    include_str!("../migrations/0004_forward_lease.sql"),
    include_str!("../migrations/0005_told.sql"),
    include_str!("../migrations/0006_authorisation.sql"),
    include_str!("../migrations/0007_signature.sql"),
    include_str!("../migrations/0008_limits.sql"),
    include_str!("../migrations/0009_session.sql"),
    include_str!("../migrations/0010_plan.sql"),
    include_str!("../migrations/0011_downloads.sql"),
];

/// The table that says which were applied, and when.
pub(crate) const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version \
     (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";

/// The newest version that this program knows.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
