//! One connection with its own event loop: the thread that uses it also drives it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;

use acquiring::payment::{PaymentRecord, PaymentState};
use acquiring::{MerchantId, TerminalId};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::Address;
use super::alive::Question;
use super::rows::{PgRow, parameter};
use crate::db::{Cells, Db, Fault, Lock, Op, Value, params};
use crate::error::StoreError;
use crate::migrations::{MIGRATIONS, VERSIONS, known};
use crate::payments;
use crate::rows::{millis, number_of};

/// Statements kept ready; those that people's filters make are many, so that all are forgotten above it.
const STATEMENTS: usize = 256;

/// The lock under which a node brings the schema up to date.
const MIGRATION_LOCK: &str = "schema";

/// The oldest server that a release is tested with, as the server numbers itself.
const OLDEST: i32 = 140_000;

/// Whether this program works with a server of that version.
fn supported(version: i32) -> Result<(), String> {
    match version < OLDEST {
        true => {
            Err(format!("PostgreSQL {} or newer is needed; this is {}", OLDEST / 10_000, version / 10_000))
        }
        false => Ok(()),
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Read,
    /// For work beside the payments, which must not hold them up.
    Care,
}

impl Purpose {
    /// Settings of the session.
    ///
    /// A commit returns when it is on the disk. A node that hangs within a transaction is thrown out, so that
    /// its locks do not stop the others. Each statement of the writer finds its rows by an index, and is planned
    /// seldom: see [`super::group`].
    fn settings(self) -> &'static str {
        match self {
            Purpose::Write => {
                "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = '30s'; \
                 SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                 SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
            }
            Purpose::Read => "SET default_transaction_read_only = on; SET jit = off",
            Purpose::Care => "SET lock_timeout = '1s'; SET jit = off",
        }
    }
}

/// The engine's failure as a sentence, without the details in which it repeats values.
pub(super) fn sentence(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            // Class 22 is about values, and names them.
            let text = if db.code().code().starts_with("22") { "a value does not fit" } else { db.message() };
            format!("{text} ({})", db.code().code())
        }
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = sentence(&error);
        match error.code() {
            Some(code)
                if [
                    SqlState::T_R_SERIALIZATION_FAILURE,
                    SqlState::T_R_DEADLOCK_DETECTED,
                    // The only division in our statements says that a payment is not as it was thought to be.
                    SqlState::DIVISION_BY_ZERO,
                ]
                .contains(code) =>
            {
                Fault::Again(reason)
            }
            Some(code) if code.code().starts_with("23") => Fault::Constraint(reason),
            _ => Fault::Engine(reason),
        }
    }
}

/// A lock's number in the server: 64 bits of FNV-1a. Two names with one number only wait for each other.
fn lock_number(parts: [&str; 3]) -> i64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.cast_signed()
}

pub(super) fn terminal_lock(merchant: MerchantId, terminal: TerminalId) -> i64 {
    lock_number(["terminal", merchant.as_str(), terminal.as_str()])
}

pub(super) fn sequence_lock(name: &str) -> i64 {
    lock_number(["sequence", name, ""])
}

struct Session {
    client: Client,
    /// Ends when the connection does.
    driver: JoinHandle<()>,
    /// The server's process for it.
    process: i32,
    statements: HashMap<String, Statement>,
}

/// An open connection.
pub(super) struct Connection {
    session: RefCell<Session>,
    runtime: Runtime,
    address: Address,
    purpose: Purpose,
    /// The schema is being brought up to date: the server may work for long.
    migrates: Cell<bool>,
    /// The last session was given up because the server did not answer.
    unanswered: Cell<bool>,
}

impl Connection {
    pub(super) fn open(address: Address, purpose: Purpose) -> Result<Self, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| address.cannot_open(e.to_string()))?;
        let session =
            runtime.block_on(connect(&address, purpose)).map_err(|reason| address.cannot_open(reason))?;
        let connection = Connection {
            session: RefCell::new(session),
            runtime,
            address,
            purpose,
            migrates: Cell::new(false),
            unanswered: Cell::new(false),
        };
        let version =
            connection.server_version().map_err(|e| connection.address.cannot_open(sentence(&e)))?;
        supported(version).map_err(|reason| connection.address.cannot_open(reason))?;
        Ok(connection)
    }

    fn server_version(&self) -> Result<i32, tokio_postgres::Error> {
        let sql = "SELECT current_setting('server_version_num')::integer";
        self.with(async |client| client.query_one(sql, &[]).await)?.try_get(0)
    }

    /// Lets `work` use the client, and drives the connection until it is done.
    pub(super) fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> T) -> T {
        let session = self.session.borrow();
        self.answered(&session, work(&session.client))
    }

    /// Waits for an answer of the server: for a time, and then for as long as the server says that the wait is a
    /// normal one; see [`super::alive`]. After that the session is ended, and whatever waits for it hears what it
    /// hears when the server ends it: nobody knows what became of it, and it is not tried again.
    fn answered<T>(&self, session: &Session, work: impl Future<Output = T>) -> T {
        let question = match self.purpose {
            Purpose::Write if !self.migrates.get() => Question::InTheWay,
            Purpose::Write | Purpose::Read | Purpose::Care => Question::AtWork,
        };
        self.runtime.block_on(async {
            let mut work = pin!(work);
            loop {
                if let Ok(value) = timeout(self.address.answer_max, work.as_mut()).await {
                    return value;
                }
                let waits_on = tokio::select! {
                    // An answer that came is taken, although the time was over: this process may have slept itself.
                    biased;
                    value = work.as_mut() => return value,
                    told = question.ask(&self.address, session.process) => told,
                };
                if !waits_on {
                    break;
                }
                let (purpose, process) = (self.purpose, session.process);
                tracing::warn!(?purpose, ?question, process, "the database takes long, and is waited for");
            }
            tracing::error!(purpose = ?self.purpose, "the database does not answer: the connection is ended");
            self.unanswered.set(true);
            session.driver.abort();
            work.await
        })
    }

    /// Why the connection failed: the driver says only that it is closed when we ended it.
    pub(super) fn why(&self, reason: String) -> String {
        match self.unanswered.get() {
            true => format!("the database did not answer within {:?}", self.address.answer_max),
            false => reason,
        }
    }

    /// Resolves when the connection has ended.
    pub(super) fn wait_or_end<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        let mut session = self.session.borrow_mut();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                value = wait => Some(value),
                _ = &mut session.driver => None,
            }
        })
    }

    /// A statement, made ready once.
    pub(super) fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        let mut session = self.session.borrow_mut();
        if let Some(statement) = session.statements.get(sql) {
            return Ok(statement.clone());
        }
        let text = sql.replace('?', "$");
        let statement = self.answered(&session, session.client.prepare(&text))?;
        if session.statements.len() >= STATEMENTS {
            session.statements.clear();
        }
        session.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Forgets how statements are run, so that they are planned anew.
    pub(super) fn forget_plans(&self) {
        self.session.borrow_mut().statements.clear();
    }

    fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.statement(sql)?;
        let boxed = boxed(&statement, params);
        let references: Vec<&(dyn ToSql + Sync)> = boxed.iter().map(|value| &**value).collect();
        self.with(async |client| client.query(&statement, &references).await)
    }

    /// A reading connection that ended is opened again, once; nothing depends on it.
    fn revive(&self) -> bool {
        if self.purpose == Purpose::Write || !self.session.borrow().client.is_closed() {
            return false;
        }
        match self.runtime.block_on(connect(&self.address, self.purpose)) {
            Ok(session) => {
                self.session.replace(session);
                self.unanswered.set(false);
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn simple(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.with(async |client| client.batch_execute(sql).await)
    }

    /// The version of the schema; 0 when there is none.
    fn version(&self) -> Result<i64, tokio_postgres::Error> {
        let there = self.with(async |client| {
            client.query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[]).await
        })?;
        if !there.try_get::<_, bool>(0)? {
            return Ok(0);
        }
        let newest =
            self.with(async |client| client.query_one("SELECT MAX(version) FROM schema_version", &[]).await)?;
        Ok(newest.try_get::<_, Option<i64>>(0)?.unwrap_or(0))
    }

    /// Settings of the server as this session has them, with their names.
    pub(super) fn settings(&self, names: &[&str]) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY ($1) ORDER BY name";
        let read = || -> Result<Vec<(String, String)>, tokio_postgres::Error> {
            let rows = self.with(async |client| client.query(sql, &[&names]).await)?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
        };
        read().map_err(|e| self.address.cannot_open(sentence(&e)))
    }

    /// Brings the schema up to date, one node at a time; refuses one that a newer release wrote.
    pub(super) fn migrate(&self, now: Timestamp) -> Result<(), StoreError> {
        self.migrates.set(true);
        let result = self.bring_up_to_date(now);
        self.migrates.set(false);
        result
    }

    fn bring_up_to_date(&self, now: Timestamp) -> Result<(), StoreError> {
        let cannot = |e: tokio_postgres::Error| self.address.cannot_open(self.why(sentence(&e)));
        self.simple("BEGIN").map_err(cannot)?;
        let lock = sequence_lock(MIGRATION_LOCK);
        self.with(async |client| client.execute("SELECT pg_advisory_xact_lock($1)", &[&lock]).await)
            .map_err(cannot)?;
        let found = self.version().map_err(cannot)?;
        if found > known() {
            self.simple("ROLLBACK").map_err(cannot)?;
            return Err(StoreError::NewerSchema { directory: self.address.path(), found, known: known() });
        }
        for (migration, number) in MIGRATIONS.iter().zip(1i64..).filter(|(_, number)| *number > found) {
            self.simple(VERSIONS).and_then(|()| self.simple(migration.postgres)).map_err(cannot)?;
            let insert = "INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)";
            self.with(async |client| client.execute(insert, &[&number, &millis(now)]).await)
                .map_err(cannot)?;
            tracing::info!(version = number, "journal schema brought up to date");
        }
        self.simple("COMMIT").map_err(cannot)
    }

    /// The database has no schema of ours yet.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.version().map_err(|e| self.address.cannot_open(sentence(&e)))? == 0)
    }

    /// The schema must be the one that this program knows.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let found = self.version().map_err(|e| self.address.cannot_open(sentence(&e)))?;
        let directory = self.address.path();
        match found.cmp(&known()) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(StoreError::NewerSchema { directory, found, known: known() }),
            std::cmp::Ordering::Less => Err(StoreError::OlderSchema { directory, found }),
        }
    }
}

/// Why it ended is told to whoever waits for an answer.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    let _ = connection.await;
}

/// A connection, and what drives it.
pub(super) async fn dial(address: &Address) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    Ok(match &address.tls {
        Some(tls) => {
            let (client, connection) = address.config.connect(tls.clone()).await?;
            (client, tokio::spawn(drive(connection)))
        }
        None => {
            let (client, connection) = address.config.connect(NoTls).await?;
            (client, tokio::spawn(drive(connection)))
        }
    })
}

/// A session with its settings. A server that takes the connection and then says nothing is not waited for; each host
/// of the address has its time.
async fn connect(address: &Address, purpose: Purpose) -> Result<Session, String> {
    let connected = async {
        let (client, driver) = dial(address).await?;
        client.batch_execute(purpose.settings()).await?;
        let process = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok::<Session, tokio_postgres::Error>(Session { client, driver, process, statements: HashMap::new() })
    };
    let hosts = u32::try_from(address.config.get_hosts().len()).unwrap_or(1).max(1);
    let time = address.answer_max.saturating_mul(hosts);
    match timeout(time, connected).await {
        Ok(result) => result.map_err(|e| sentence(&e)),
        Err(_) => Err(format!("the database did not answer within {time:?}")),
    }
}

fn boxed<'a>(statement: &Statement, params: &'a [Value<'a>]) -> Vec<Box<dyn ToSql + Sync + 'a>> {
    params.iter().zip(statement.params()).map(|(value, kind)| parameter(value, kind)).collect()
}

/// Whether a payment in this state stands in the table of those under way.
pub(super) fn is_under_way(state: PaymentState) -> bool {
    matches!(state, PaymentState::Pending | PaymentState::Unresolved | PaymentState::Reversing)
}

impl Connection {
    /// A payment stands in the table of those under way as long as it is.
    fn note_under_way(&self, record: &PaymentRecord) -> Op<()> {
        let note = match is_under_way(record.state) {
            true => "INSERT INTO payment_under_way (merchant, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            false => "DELETE FROM payment_under_way WHERE merchant = ?1 AND id = ?2",
        };
        self.execute(note, params![record.merchant.as_str(), record.id.0])?;
        Ok(())
    }
}

impl Db for Connection {
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()> {
        let rows = match self.query(sql, params) {
            Err(_) if self.revive() => self.query(sql, params),
            result => result,
        };
        let rows = rows.map_err(|error| match Fault::from(error) {
            Fault::Engine(reason) => Fault::Engine(self.why(reason)),
            fault => fault,
        })?;
        for row in &rows {
            if !read(&PgRow(row))? {
                break;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64> {
        let statement = self.statement(sql)?;
        let boxed = boxed(&statement, params);
        let references: Vec<&(dyn ToSql + Sync)> = boxed.iter().map(|value| &**value).collect();
        Ok(self.with(async |client| client.execute(&statement, &references).await)?)
    }

    /// A payment is locked together with the one that it undoes.
    fn lock(&self, what: Lock<'_>) -> Op<bool> {
        let number = match what {
            Lock::Terminal(merchant, terminal) => terminal_lock(merchant, terminal),
            Lock::Sequence(name) => sequence_lock(name),
            Lock::Payment(merchant, id) => {
                let original = "SELECT original FROM payment WHERE merchant = ?1 AND id = ?2";
                let lock = "SELECT id FROM payment WHERE merchant = ?1 AND id = ?2 FOR UPDATE";
                // A payment is younger than the one that it is about, and has the higher number. The void of a
                // completion reaches to its pre-authorisation.
                let first = number_of(self, original, params![merchant.as_str(), id.0])?;
                if first != 0 {
                    let beyond = number_of(self, original, params![merchant.as_str(), first])?;
                    if beyond != 0 {
                        self.query(lock, params![merchant.as_str(), beyond])?;
                    }
                    self.query(lock, params![merchant.as_str(), first])?;
                }
                self.query(lock, params![merchant.as_str(), id.0])?;
                return Ok(true);
            }
        };
        self.query("SELECT pg_advisory_xact_lock(?1)", &[Value::Int(number)])?;
        Ok(true)
    }

    fn insert_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::insert_row(self, record)?;
        self.note_under_way(record)
    }

    fn update_payment(&self, record: &PaymentRecord) -> Op<()> {
        payments::update_row(self, payments::payment_update!(""), record)?;
        self.note_under_way(record)
    }

    fn under_way(&self) -> &'static str {
        "payment JOIN payment_under_way USING (merchant, id)"
    }

    fn plain(&self) -> &dyn Db {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        assert_eq!(supported(150_008), Ok(()));
        assert_eq!(supported(140_000), Ok(()));
        let refused = supported(130_016).unwrap_err();
        assert_eq!(refused, "PostgreSQL 14 or newer is needed; this is 13");
    }
}
