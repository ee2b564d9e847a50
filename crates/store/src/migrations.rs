//! The schema's versions: numbered files, each applied once in a transaction of its own, the same on every
//! engine but where engines pay for different things.

/// One version of the schema.
pub(crate) struct Migration {
    /// The text for SQLite.
    pub(crate) sqlite: &'static str,
    /// The text for PostgreSQL.
    pub(crate) postgres: &'static str,
}

/// One text for both engines.
const fn both(text: &'static str) -> Migration {
    Migration { sqlite: text, postgres: text }
}

/// The numbered files, in order; the first is version 1.
pub(crate) const MIGRATIONS: &[Migration] = &[
    both(include_str!("../migrations/0001_journal.sql")),
    both(include_str!("../migrations/0002_settlement.sql")),
    both(include_str!("../migrations/0003_forward_message.sql")),
    both(include_str!("../migrations/0004_forward_lease.sql")),
    both(include_str!("../migrations/0005_told.sql")),
    both(include_str!("../migrations/0006_authorisation.sql")),
    both(include_str!("../migrations/0007_signature.sql")),
    both(include_str!("../migrations/0008_limits.sql")),
    both(include_str!("../migrations/0009_session.sql")),
    both(include_str!("../migrations/0010_plan.sql")),
    both(include_str!("../migrations/0011_downloads.sql")),
    Migration {
        sqlite: include_str!("../migrations/0012_under_way.sql"),
        postgres: include_str!("../migrations/postgres/0012_under_way.sql"),
    },
    both(include_str!("../migrations/0013_profile.sql")),
    Migration {
        sqlite: include_str!("../migrations/sqlite/0014_in_order.sql"),
        postgres: include_str!("../migrations/postgres/0014_in_order.sql"),
    },
    both(include_str!("../migrations/0015_sealed_signature.sql")),
    Migration {
        sqlite: include_str!("../migrations/sqlite/0016_days.sql"),
        postgres: include_str!("../migrations/postgres/0016_days.sql"),
    },
    both(include_str!("../migrations/0017_forward_family.sql")),
    Migration {
        sqlite: include_str!("../migrations/sqlite/0018_statistics.sql"),
        postgres: include_str!("../migrations/postgres/0018_statistics.sql"),
    },
    both(include_str!("../migrations/0019_signed_in_before.sql")),
    Migration {
        sqlite: include_str!("../migrations/sqlite/0020_slow_cleaning.sql"),
        postgres: include_str!("../migrations/postgres/0020_slow_cleaning.sql"),
    },
    both(include_str!("../migrations/0021_reversed_on.sql")),
    both(include_str!("../migrations/0022_wrong_macs.sql")),
    both(include_str!("../migrations/0023_node.sql")),
    both(include_str!("../migrations/0024_foreign.sql")),
];

/// The table that says which were applied, and when.
pub(crate) const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version \
     (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";

/// The newest version that this program knows.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
