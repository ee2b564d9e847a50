//! The days by which history is kept: partitions of `journal_entry`, made ahead, listed, taken out.
//!
//! Whoever changes days holds one lock of the database, so that nodes and operators do it one after the other and each
//! sees what the other did. Nobody waits long: a day is taken out in the moment in which no payment is being written,
//! or not at all.

use acquiring::kind::{KINDS, Side};
use acquiring::payment::PaymentState;
use acquiring::transition::{COMPLETION_DAYS, REFUND_DAYS};
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row};

use super::Address;
use super::connection::{Connection, Purpose, sentence, sequence_lock};
use crate::error::StoreError;
use crate::types::{HISTORY_DAYS_MIN, HistoryDay};

/// Days after today for which a partition is made: a database that nobody's node cared for during a long weekend has
/// one for each.
const AHEAD: i32 = 7;

/// Lines outside every day that are moved to a day of theirs without being asked: payments of that day wait meanwhile,
/// for less than a second.
const STRAYS_MAX: i64 = 100_000;

/// The youngest day that can be taken out, in days before today: a payment that can still be refunded or completed may
/// get another line.
const AGE_MIN: i32 = HISTORY_DAYS_MIN.cast_signed();
const _: () = assert!(HISTORY_DAYS_MIN as i64 > REFUND_DAYS);
const _: () = assert!(HISTORY_DAYS_MIN as i64 > COMPLETION_DAYS);

const LOCK: &str = "days";

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A day of a number of days after today, on the database's clock.
const FROM_TODAY: &str =
    "to_char((now() AT TIME ZONE interval '8 hours')::date + $1::int4, 'YYYYMMDD')::int4";

/// The first moment of a day and that of the next, unix milliseconds.
fn bounds(day: u32) -> Option<(i64, i64)> {
    let (year, month, of_month) = (day / 10_000, day / 100 % 100, day % 100);
    let date = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(of_month).ok()?);
    let midnight = date.ok()?.to_datetime(Time::midnight());
    let first = Offset::constant(8).to_timestamp(midnight).ok()?.as_millisecond();
    Some((first, first + DAY_MS))
}

fn table(day: i32) -> String {
    format!("journal_entry_{day}")
}

fn rows(
    db: &Connection,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    db.with(async |client| client.query(sql, params).await)
}

fn number(
    db: &Connection,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<i64, Error> {
    db.with(async |client| client.query_one(sql, params).await)?.try_get(0)
}

fn day_from_today(db: &Connection, days: i32) -> Result<i32, Error> {
    let sql = format!("SELECT {FROM_TODAY}");
    db.with(async |client| client.query_one(&sql, &[&days]).await)?.try_get(0)
}

/// Runs something in a transaction, while nobody else changes days.
fn alone<T>(db: &Connection, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let begun = || {
        db.simple("BEGIN")?;
        rows(db, "SELECT pg_advisory_xact_lock($1)", &[&sequence_lock(LOCK)])?;
        work()
    };
    match begun() {
        Ok(value) => db.simple("COMMIT").map(|()| value),
        Err(error) => {
            // Without an answer the connection is gone, and the transaction with it.
            let _ = db.simple("ROLLBACK");
            Err(error)
        }
    }
}

/// Whether a day has a table, and whether that is a part of the history now.
fn attached(db: &Connection, day: i32) -> Result<Option<bool>, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_inherits \
         WHERE inhrelid = c.oid AND inhparent = 'journal_entry'::regclass) \
         FROM pg_class c WHERE c.oid = to_regclass($1)";
    rows(db, sql, &[&table(day)])?.first().map(|row| row.try_get(0)).transpose()
}

/// What the server gathers about a day, which a new table does not take over from the whole (migration 18 says why).
const STATISTICS: &str = "ALTER merchant SET STATISTICS 20, ALTER payment SET STATISTICS 20, \
     ALTER sequence SET STATISTICS 20, ALTER day SET STATISTICS 20, ALTER at SET STATISTICS 0, \
     ALTER kind SET STATISTICS 0, ALTER message SET STATISTICS 0, ALTER note SET STATISTICS 0";

/// How slowly the server cleans a day, in milliseconds between two steps (migration 20 says why).
const CLEANING: &str = "SET (autovacuum_vacuum_cost_delay = 20)";

/// Makes the partition of a day, with what lies outside every day and is of that one; `false` when there is a table of
/// that name already.
fn make(db: &Connection, day: i32) -> Result<bool, Error> {
    alone(db, || {
        if attached(db, day)?.is_some() {
            return Ok(false);
        }
        let (table, end) = (table(day), day + 1);
        // Payments go on: attaching waits for nobody but those that use the default partition.
        db.simple(&format!(
            "LOCK TABLE journal_entry_default IN ACCESS EXCLUSIVE MODE; \
             CREATE TABLE {table} (LIKE journal_entry INCLUDING ALL); \
             ALTER TABLE {table} {STATISTICS}; \
             ALTER TABLE {table} {CLEANING}; \
             WITH stray AS (DELETE FROM journal_entry_default WHERE day = {day} RETURNING *) \
             INSERT INTO {table} SELECT * FROM stray; \
             ALTER TABLE journal_entry ATTACH PARTITION {table} FOR VALUES FROM ({day}) TO ({end})"
        ))?;
        Ok(true)
    })
}

/// Days of yesterday to [`AHEAD`] without a table. Yesterday counts since a node's clock may be behind the database's.
fn missing(db: &Connection) -> Result<Vec<i32>, Error> {
    let sql = format!(
        "SELECT day FROM (SELECT {} AS day FROM generate_series(-1, $1::int4) AS ahead) AS days \
         WHERE to_regclass('journal_entry_' || day) IS NULL ORDER BY day",
        FROM_TODAY.replace("$1::int4", "ahead")
    );
    rows(db, &sql, &[&AHEAD])?.iter().map(|row| row.try_get(0)).collect()
}

fn make_missing(db: &Connection) -> Result<(), Error> {
    for day in missing(db)? {
        make(db, day)?;
    }
    Ok(())
}

/// Before a node takes its first payment. What fails here is tried again by its care, and payments go to the default
/// partition meanwhile. The connection, when it is good.
pub(super) fn prepare(address: &Address) -> Option<Connection> {
    let made = Connection::open(address.clone(), Purpose::Care)
        .and_then(|db| make_missing(&db).map(|()| db).map_err(|error| unreadable(reason(&error))));
    made.inspect_err(|error| tracing::warn!(%error, "the partitions of the next days were not made")).ok()
}

/// Days of lines outside every day, with their numbers; at most `most` lines are looked at.
fn strays(db: &Connection, most: i64) -> Result<Vec<(i32, i64)>, Error> {
    let sql = "SELECT day, COUNT(*) FROM (SELECT day FROM journal_entry_default LIMIT $1) AS stray \
         GROUP BY day ORDER BY day";
    rows(db, sql, &[&most])?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What a node does every minute: days ahead, and days for what lies outside.
///
/// Metrics: `posp_store_history_days_ahead`, `posp_store_history_stray_lines`.
pub(super) fn care(db: &Connection) -> Result<(), Error> {
    let made = make_missing(db);
    let ahead = format!(
        "SELECT COUNT(*) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
         WHERE inhparent = 'journal_entry'::regclass AND c.relname > 'journal_entry_' || {FROM_TODAY} \
         AND c.relname < 'journal_entry_a'"
    );
    metrics::gauge!("posp_store_history_days_ahead").set(gauge(number(db, &ahead, &[&0])?));
    let strays = strays(db, STRAYS_MAX + 1)?;
    let lines: i64 = strays.iter().map(|(_, lines)| lines).sum();
    metrics::gauge!("posp_store_history_stray_lines").set(gauge(lines));
    if lines > STRAYS_MAX {
        tracing::error!(lines, "ALARM: history outside every day; `posp store partitions adopt` moves it");
    } else if lines > 0 {
        let mut moved = 0;
        for (day, lines) in strays {
            moved += if make(db, day)? { lines } else { 0 };
        }
        tracing::warn!(lines, moved, "history outside every day: its days got a partition");
    }
    made
}

/// What a node does every hour: takes out the days before the last `kept`.
///
/// Metric: `posp_store_history_overdue_days`.
pub(super) fn retire(db: &Connection, kept: u32) -> Result<(), Error> {
    let last = day_from_today(db, i32::try_from(kept).unwrap_or(i32::MAX).saturating_neg())?;
    let old = "SELECT c.relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid \
         WHERE inhparent = 'journal_entry'::regclass AND c.relname < $1 AND c.relname ~ '[0-9]{8}$' ORDER BY 1";
    let mut overdue = 0;
    for row in rows(db, old, &[&table(last)])? {
        let Some(day) = day_of(row.try_get(0)?) else { continue };
        match take_out(db, day, true) {
            Ok(()) => tracing::info!(day, "the history of a day was dropped: it is older than is kept"),
            Err(error) => {
                overdue += 1;
                tracing::warn!(%error, "older than is kept");
            }
        }
    }
    metrics::gauge!("posp_store_history_overdue_days").set(gauge(overdue));
    Ok(())
}

fn gauge(number: i64) -> f64 {
    f64::from(i32::try_from(number).unwrap_or(i32::MAX))
}

fn day_of(table: &str) -> Option<u32> {
    table.rsplit('_').next()?.parse().ok()
}

fn unreadable(reason: String) -> StoreError {
    StoreError::CannotRead { reason }
}

fn reason(error: &Error) -> String {
    match error.code() {
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
            "somebody reads or changes the history for long, a dump perhaps; try again later".to_owned()
        }
        _ => sentence(error),
    }
}

/// What days there are, the newest first. Lines are the server's estimate, or counted, which reads all of them.
fn list(db: &Connection, count: bool) -> Result<Vec<HistoryDay>, StoreError> {
    let sql = "SELECT c.relname::text, EXISTS (SELECT 1 FROM pg_inherits \
             WHERE inhrelid = c.oid AND inhparent = 'journal_entry'::regclass), \
             pg_total_relation_size(c.oid), GREATEST(c.reltuples::int8, pg_stat_get_live_tuples(c.oid), 0) \
         FROM pg_class c WHERE c.relkind = 'r' AND c.relname ~ '^journal_entry_([0-9]{8}|default)$' \
         AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'journal_entry'::regclass) \
         ORDER BY c.relname DESC";
    let read = || -> Result<Vec<HistoryDay>, Error> {
        let mut days = Vec::new();
        for row in rows(db, sql, &[])? {
            let name: String = row.try_get(0)?;
            let mut lines: i64 = row.try_get(3)?;
            if count {
                lines = match number(db, &format!("SELECT COUNT(*) FROM {name}"), &[]) {
                    Ok(lines) => lines,
                    // A node has dropped it since: it is older than is kept.
                    Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => continue,
                    Err(error) => return Err(error),
                };
            }
            days.push(HistoryDay {
                day: day_of(&name),
                attached: row.try_get(1)?,
                bytes: row.try_get::<_, i64>(2)?.unsigned_abs(),
                lines: lines.unsigned_abs(),
            });
        }
        Ok(days)
    };
    read().map_err(|error| unreadable(reason(&error)))
}

/// Why the payments of a day still need their history.
fn objection(db: &Connection, day: i32, (from, to): (i64, i64)) -> Result<Option<String>, Error> {
    let youngest = day_from_today(db, -AGE_MIN)?;
    if day > youngest {
        return Ok(Some(format!(
            "its payments can still be refunded or completed; days up to {youngest} can be taken out"
        )));
    }
    let open = "SELECT COUNT(*) FROM payment JOIN payment_under_way USING (merchant, id) \
         WHERE created >= $1 AND created < $2 AND state IN ('pending', 'unresolved', 'reversing')";
    let open = number(db, open, &[&from, &to])?;
    if open > 0 {
        return Ok(Some(format!("{open} of its payments are under way")));
    }
    let waiting = "SELECT COUNT(*) FROM forward f JOIN payment p ON p.merchant = f.merchant AND p.id = f.payment \
         WHERE f.done_at IS NULL AND p.created >= $1 AND p.created < $2";
    let waiting = number(db, waiting, &[&from, &to])?;
    if waiting > 0 {
        return Ok(Some(format!(
            "{waiting} messages about its payments wait for the network, or are parked"
        )));
    }
    let unsettled = "SELECT p.merchant, p.terminal, p.batch, COUNT(*), COUNT(*) OVER () FROM payment p \
         LEFT JOIN settlement s ON s.merchant = p.merchant AND s.terminal = p.terminal AND s.batch = p.batch \
         WHERE p.created >= $1 AND p.created < $2 AND p.state = ANY ($3) AND p.kind = ANY ($4) \
         AND s.ended_at IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 1";
    let states: Vec<&str> =
        PaymentState::ALL.iter().filter(|(state, _)| state.counts()).map(|(_, code)| *code).collect();
    let kinds: Vec<&str> =
        KINDS.iter().filter(|kind| kind.side != Side::None).map(|kind| kind.code).collect();
    let Some(row) = rows(db, unsettled, &[&from, &to, &states, &kinds])?.pop() else { return Ok(None) };
    let (merchant, terminal): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (batch, payments, batches): (i32, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    Ok(Some(format!(
        "{batches} batches with payments of it are not settled; the first is {batch:06} of terminal {terminal} at \
         merchant {merchant}, with {payments} payments"
    )))
}

/// Takes a day out of the history, and drops it if that is wanted; one that was taken out before can be dropped.
fn take_out(db: &Connection, day: u32, dropped: bool) -> Result<(), StoreError> {
    let stays = |reason: String| StoreError::HistoryStays { day, reason };
    let failed = |error: Error| stays(reason(&error));
    let (Some(bounds), Ok(number)) = (bounds(day), i32::try_from(day)) else {
        return Err(stays("that is no day".to_owned()));
    };
    match attached(db, number).map_err(failed)? {
        None => return Err(stays("there is none".to_owned())),
        Some(false) if !dropped => return Err(stays("it was detached before".to_owned())),
        Some(false) => {}
        Some(true) => {
            if let Some(objection) = objection(db, number, bounds).map_err(failed)? {
                return Err(stays(objection));
            }
            detach(db, number).map_err(failed)?;
        }
    }
    if dropped {
        alone(db, || {
            if attached(db, number)? == Some(false) {
                db.simple(&format!("DROP TABLE {}", table(number)))?;
            }
            gone(db, number, true)
        })
        .map_err(failed)?;
    }
    Ok(())
}

/// Payments that come while it waits for the history stand behind it. The moment between two commits is all that it
/// needs; when a long reading is in the way, it gives up after a tenth of a second.
fn detach(db: &Connection, day: i32) -> Result<(), Error> {
    alone(db, || {
        if attached(db, day)? == Some(true) {
            db.simple(&format!(
                "SET LOCAL lock_timeout = '100ms'; ALTER TABLE journal_entry DETACH PARTITION {}",
                table(day)
            ))?;
            gone(db, day, false)?;
        }
        Ok(())
    })
}

fn gone(db: &Connection, day: i32, dropped: bool) -> Result<(), Error> {
    let sql = "INSERT INTO history_gone (day, taken_at, dropped) \
         VALUES ($1, (extract(epoch FROM now()) * 1000)::int8, $2) \
         ON CONFLICT (day) DO UPDATE SET taken_at = excluded.taken_at, dropped = excluded.dropped";
    rows(db, sql, &[&day, &i16::from(dropped)]).map(|_| ())
}

/// Makes a day that was detached a part of the history again.
fn attach(db: &Connection, day: u32) -> Result<(), StoreError> {
    let stays = |reason: String| StoreError::HistoryStays { day, reason };
    let failed = |error: Error| stays(reason(&error));
    let (Some(_), Ok(number)) = (bounds(day), i32::try_from(day)) else {
        return Err(stays("that is no day".to_owned()));
    };
    match attached(db, number).map_err(failed)? {
        None => return Err(stays(format!("there is no table {}", table(number)))),
        Some(true) => return Err(stays("it is attached".to_owned())),
        Some(false) => {}
    }
    alone(db, || {
        let (table, end) = (table(number), number + 1);
        db.simple(&format!(
            "ALTER TABLE journal_entry ATTACH PARTITION {table} FOR VALUES FROM ({number}) TO ({end})"
        ))?;
        rows(db, "DELETE FROM history_gone WHERE day = $1", &[&number]).map(|_| ())
    })
    .map_err(failed)
}

/// Gives a partition to each day of what lies outside, however much that is; how many lines were moved. Payments of
/// those days wait meanwhile.
fn adopt(db: &Connection) -> Result<u64, StoreError> {
    let work = || -> Result<i64, Error> {
        let mut moved = 0;
        for (day, lines) in strays(db, i64::MAX)? {
            moved += if make(db, day)? { lines } else { 0 };
        }
        Ok(moved)
    };
    work().map(i64::unsigned_abs).map_err(|error| unreadable(reason(&error)))
}

/// Where the days of a store are changed from: a connection of its own for each change, beside the payments.
#[derive(Clone)]
pub(crate) struct Days(Address);

impl Days {
    pub(super) fn of(address: Address) -> Self {
        Days(address)
    }

    /// What days there are, the newest first; see [`list`].
    pub(crate) async fn list(&self, count: bool) -> Result<Vec<HistoryDay>, StoreError> {
        self.run(move |db| list(db, count)).await
    }

    /// Takes a day out; see [`take_out`].
    pub(crate) async fn take_out(&self, day: u32, dropped: bool) -> Result<(), StoreError> {
        self.run(move |db| take_out(db, day, dropped)).await
    }

    /// Puts a day back.
    pub(crate) async fn attach(&self, day: u32) -> Result<(), StoreError> {
        self.run(move |db| attach(db, day)).await
    }

    /// Gives days to what has none; see [`adopt`].
    pub(crate) async fn adopt(&self) -> Result<u64, StoreError> {
        self.run(adopt).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let address = self.0.clone();
        let all = move || {
            let db = Connection::open(address, Purpose::Care)?;
            db.check()?;
            work(&db)
        };
        tokio::task::spawn_blocking(all).await.unwrap_or(Err(StoreError::Closed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day is one in Beijing, and its bounds are those that the payments' times are sorted by.
    #[test]
    fn a_day_begins_at_midnight_in_beijing() {
        let ms = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let day = (ms("2026-11-29T16:00:00Z"), ms("2026-11-30T16:00:00Z"));
        assert_eq!(bounds(20_261_130), Some(day));
        assert_eq!((bounds(20_261_131), bounds(7)), (None, None));
    }
}
