//! What keeps a store well: backup, restore, and a look at whether it agrees with itself.

use std::fs::File;
use std::path::Path;

use crate::db::{Db, Op, params};
use crate::error::StoreError;
use crate::rows::{Columns, all, number_of};
use crate::store::Store;
use crate::types::{JOURNAL_FILE, StoreOptions};
use crate::writer::Admission;
use crate::{master, sqlite};

/// A sentence for what breaks a rule, and the count of what does.
type Rule = (&'static str, &'static str);

/// What must be so in every journal.
const RULES: [Rule; 5] = [
    (
        "payments with a number that the sequence has not given yet",
        "SELECT COUNT(*) FROM payment \
         WHERE id > COALESCE((SELECT value FROM counter WHERE name = 'payment'), 0)",
    ),
    (
        "payments that wait for a reversal or repeat that is not queued",
        "SELECT COUNT(*) FROM payment p WHERE p.state IN ('reversing', 'unresolved') AND NOT EXISTS \
         (SELECT 1 FROM forward f WHERE f.merchant = p.merchant AND f.payment = p.id AND f.done_at IS NULL)",
    ),
    (
        "queued reversals and repeats of payments that are not there",
        "SELECT COUNT(*) FROM forward f WHERE f.done_at IS NULL AND NOT EXISTS \
         (SELECT 1 FROM payment p WHERE p.merchant = f.merchant AND p.id = f.payment)",
    ),
    (
        "payments about an original that is not there",
        "SELECT COUNT(*) FROM payment p WHERE p.original IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM payment o WHERE o.merchant = p.merchant AND o.id = p.original)",
    ),
    (
        "terminals of merchants that are not there",
        "SELECT COUNT(*) FROM terminal t WHERE NOT EXISTS \
         (SELECT 1 FROM merchant m WHERE m.merchant = t.merchant)",
    ),
];

/// The history, kept whole.
const WHOLE: [Rule; 1] = [(
    "payments without a history",
    "SELECT COUNT(*) FROM payment p WHERE NOT EXISTS \
     (SELECT 1 FROM journal_entry e WHERE e.merchant = p.merchant AND e.payment = p.id)",
)];

/// The day of a payment, as its history is kept by it.
macro_rules! day {
    () => {
        "to_char(timestamp '1970-01-01 08:00' + p.created / 1000 * interval '1 second', 'YYYYMMDD')::integer"
    };
}

/// The history, kept by day: days may have been taken out, and no look-up finds a line under another day.
const BY_DAY: [Rule; 2] = [
    (
        "payments without a history",
        concat!(
            "SELECT COUNT(*) FROM payment p WHERE NOT EXISTS \
             (SELECT 1 FROM journal_entry e WHERE e.merchant = p.merchant AND e.payment = p.id AND e.day = ",
            day!(),
            ") AND ",
            day!(),
            " NOT IN (SELECT day FROM history_gone)"
        ),
    ),
    (
        "lines of history under another day than their payment's",
        concat!(
            "SELECT COUNT(*) FROM journal_entry e JOIN payment p ON p.merchant = e.merchant AND p.id = e.payment \
             WHERE e.day <> ",
            day!()
        ),
    ),
];

/// What decides how quick and how safe the database server's commits are.
const SERVER_SETTINGS: &str = "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name IN \
     ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'wal_buffers', \
      'min_wal_size', 'max_wal_size', 'checkpoint_timeout', 'wal_compression', 'commit_delay') ORDER BY name";

impl Store {
    /// Names and values of the database server's settings that decide how quick and how safe its commits are; nothing
    /// on SQLite, which has no server.
    ///
    /// # Errors
    /// [`StoreError::CannotRead`].
    pub async fn server_settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        if !self.is_shared() {
            return Ok(Vec::new());
        }
        let read = |c: &mut Columns<'_>| Ok((c.take("name")?, c.take("value")?));
        self.db.read(move |db| all(db, SERVER_SETTINGS, &[], read)).await
    }

    /// Copies the journal into a new file, while nodes write it: the state of one moment, flushed to the disk before
    /// this returns. SQLite only; PostgreSQL has `pg_dump`.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] on PostgreSQL; [`StoreError::CannotOpen`] when the file is there already or cannot be
    /// written; [`StoreError::CannotRead`].
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        if self.is_shared() {
            return Err(StoreError::Misuse { rule: "PostgreSQL is backed up with pg_dump" });
        }
        let cannot =
            |e: std::io::Error| StoreError::CannotOpen { path: to.to_owned(), reason: e.to_string() };
        // Its owner's alone, as the journal is.
        let mut new = File::options();
        new.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
        let file = new.open(to).map_err(cannot)?;
        let Some(name) = to.to_str().map(str::to_owned) else {
            return Err(StoreError::Misuse { rule: "the path of a backup is UTF-8" });
        };
        let copied = self.db.read(move |db| db.execute("VACUUM INTO ?1", params![&name])).await;
        let flushed = match copied {
            Ok(_) => file.sync_all().map_err(cannot).and_then(|()| flush_directory(to)),
            Err(error) => Err(error),
        };
        if flushed.is_err() {
            // What is there is no backup.
            let _ = std::fs::remove_file(to);
        }
        flushed
    }

    /// Says what in the journal does not agree with itself, as sentences; nothing when all is well. On SQLite the file
    /// is read from end to end as well.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        let (shared, by_day) = (self.is_shared(), self.db.days.is_some());
        self.db.read(move |db| check(db, shared, by_day)).await
    }

    /// Goes on with every sequence of numbers `count` further, after a restore: numbers given between the backup and
    /// now are never given again. The gap stands in the table of blocks.
    pub async fn skip_numbers(&self, count: u32) -> Result<(), StoreError> {
        let now = self.db.now();
        self.db
            .write(Admission::Wait, Vec::new(), move |db| {
                let names =
                    all(db, "SELECT DISTINCT name FROM number_block ORDER BY name", &[], |c| c.take("name"))?;
                for name in names {
                    let name: String = name;
                    master::reserve_numbers(db, &name, count, now)?;
                }
                Ok(())
            })
            .await
    }

    /// Makes a backup the journal of an empty data directory, brings its schema up to date, and goes on with every
    /// sequence `skip` further. SQLite only.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] when the directory has a journal; [`StoreError::InUse`]; as [`Store::open`].
    pub async fn restore(from: &Path, options: StoreOptions, skip: u32) -> Result<Store, StoreError> {
        let directory = options.directory.clone();
        let cannot =
            |e: std::io::Error| StoreError::CannotOpen { path: from.to_owned(), reason: e.to_string() };
        let journal = directory.join(JOURNAL_FILE);
        if journal.exists() {
            return Err(StoreError::Misuse {
                rule: "a backup is restored into a directory without a journal",
            });
        }
        sqlite::create_directory(&directory)?;
        // Under another name until it is whole.
        let arriving = directory.join("journal.restore");
        std::fs::copy(from, &arriving).map_err(cannot)?;
        File::open(&arriving).and_then(|file| file.sync_all()).map_err(cannot)?;
        std::fs::rename(&arriving, &journal).map_err(cannot)?;
        flush_directory(&journal)?;
        let store = Store::open(options)?;
        store.skip_numbers(skip).await?;
        Ok(store)
    }
}

/// A new name in a directory is on the disk when the directory is.
fn flush_directory(file: &Path) -> Result<(), StoreError> {
    let directory = file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.map_err(|e| StoreError::CannotOpen { path: directory.to_owned(), reason: e.to_string() })
}

fn check(db: &dyn Db, shared: bool, by_day: bool) -> Op<Vec<String>> {
    let mut found = Vec::new();
    if !shared {
        let said: Vec<String> =
            all(db, "PRAGMA integrity_check", &[], |c: &mut Columns<'_>| c.take("integrity_check"))?;
        found.extend(said.into_iter().filter(|line| line != "ok").map(|line| format!("the file: {line}")));
    }
    let history: &[Rule] = if by_day { &BY_DAY } else { &WHOLE };
    for (sentence, sql) in RULES.iter().chain(history) {
        let count = number_of(db, sql, &[])?;
        if count > 0 {
            found.push(format!("{sentence}: {count}"));
        }
    }
    Ok(found)
}
