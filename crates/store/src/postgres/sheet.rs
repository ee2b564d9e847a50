//! The payments of one group, in memory for the time of its transaction: locked and read at its begin, changed
//! by the operations, written at its end.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use acquiring::payment::{Answer, CardRecord, JournalEntry, PaymentRecord};
use acquiring::{MerchantId, PaymentId};
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::connection::{Connection, terminal_lock};
use super::rows::PgRow;
use crate::db::{Cells, Db, Fault, Key, Lock, Op, Value};
use crate::error::StoreError;
use crate::rows::{Columns, fen, millis, payment_columns, traits_number};
use crate::writer::Touch;

type Id = (MerchantId, PaymentId);

/// Waits for the terminals in the order given: ascending.
const LOCK_TERMINALS: &str = "SELECT pg_advisory_xact_lock(t.number) FROM unnest(?1::int8[]) AS t (number)";

/// The payments by key and by number, the originals of both and the originals of those, locked in ascending order.
const LOCK_PAYMENTS: &str = concat!(
    "WITH named AS (\
       SELECT p.merchant, p.id, p.original FROM payment p \
       JOIN unnest(?1::text[], ?2::text[], ?3::int4[], ?4::int4[]) AS k (merchant, terminal, batch, trace) \
       ON p.merchant = k.merchant AND p.terminal = k.terminal AND p.batch = k.batch AND p.trace = k.trace \
       UNION SELECT p.merchant, p.id, p.original FROM payment p \
       JOIN unnest(?5::text[], ?6::int8[]) AS i (merchant, id) ON p.merchant = i.merchant AND p.id = i.id), \
     wanted AS (SELECT merchant, id FROM named \
       UNION SELECT merchant, original FROM named WHERE original IS NOT NULL \
       UNION SELECT o.merchant, o.original FROM named n \
       JOIN payment o ON o.merchant = n.merchant AND o.id = n.original WHERE o.original IS NOT NULL) \
     SELECT ",
    payment_columns!(),
    " FROM payment JOIN wanted USING (merchant, id) ORDER BY merchant, id FOR UPDATE OF payment"
);

const MARKERS: &str = "SELECT k.place FROM reversal_marker m \
     JOIN unnest(?1::text[], ?2::text[], ?3::int4[], ?4::int4[]) WITH ORDINALITY \
     AS k (merchant, terminal, batch, trace, place) \
     ON m.merchant = k.merchant AND m.terminal = k.terminal AND m.batch = k.batch AND m.trace = k.trace";

const INSERT: &str = concat!(
    "INSERT INTO payment (",
    payment_columns!(),
    ") SELECT * FROM unnest(?1::text[], ?2::int8[], ?3::text[], ?4::int4[], ?5::int4[], ?6::text[], \
     ?7::text[], ?8::int8[], ?9::int8[], ?10::int4[], ?11::text[], ?12::bytea[], ?13::bytea[], \
     ?14::int4[], ?15::int4[], ?16::int4[], ?17::int4[], ?18::int4[], ?19::bytea[], ?20::text[], \
     ?21::int4[], ?22::int8[], ?23::text[], ?24::int8[], ?25::int8[], ?26::int8[], ?27::text[], \
     ?28::text[], ?29::int4[], ?30::text[], ?31::text[], ?32::bytea[], ?33::int8[], ?34::text[], \
     ?35::int2[], ?36::int8[], ?37::text[])"
);

const UPDATE: &str = "UPDATE payment p SET state = u.state, claimed_by = u.claimed_by, refunded = u.refunded, \
     answer_code = u.answer_code, auth_code = u.auth_code, settle_date = u.settle_date, issuer = u.issuer, \
     balance = u.balance, answer_chip = u.answer_chip, answered_at = u.answered_at, \
     reversal_reason = u.reversal_reason, adjusted = u.adjusted, answer_plan = u.answer_plan \
     FROM unnest(?1::text[], ?2::int8[], ?3::text[], ?4::int8[], ?5::int8[], ?6::text[], ?7::text[], \
     ?8::int4[], ?9::text[], ?10::text[], ?11::bytea[], ?12::int8[], ?13::text[], ?14::int8[], ?15::text[]) \
     AS u (merchant, id, state, \
     claimed_by, refunded, answer_code, auth_code, settle_date, issuer, balance, answer_chip, answered_at, \
     reversal_reason, adjusted, answer_plan) WHERE p.merchant = u.merchant AND p.id = u.id";

/// `place` counts a payment's new lines; they follow those that it has.
const APPEND: &str = "INSERT INTO journal_entry (merchant, payment, sequence, at, kind, message, note) \
     SELECT n.merchant, n.payment, n.place + (SELECT COALESCE(MAX(e.sequence), 0) FROM journal_entry e \
     WHERE e.merchant = n.merchant AND e.payment = n.payment), n.at, n.kind, n.message, n.note \
     FROM unnest(?1::text[], ?2::int8[], ?3::int4[], ?4::int8[], ?5::text[], ?6::bytea[], ?7::text[]) \
     AS n (merchant, payment, place, at, kind, message, note)";

/// A new line of history.
struct Line {
    of: Id,
    entry: JournalEntry,
}

/// What an operation changed, to be put back should it come to nothing.
enum Change {
    Payment(Id, Box<Option<Result<PaymentRecord, StoreError>>>),
    Key(Key, Option<Id>),
    Inserted,
    Updated(Id),
}

#[derive(Default)]
struct State {
    terminals: BTreeSet<i64>,
    /// Payments by key; a key that was looked for and has none is there with none.
    keys: HashMap<Key, Option<Id>>,
    /// Payments by number; one that cannot be read is there with why.
    payments: HashMap<Id, Option<Result<PaymentRecord, StoreError>>>,
    /// Keys whose reversal came first; forgotten when a statement may have changed them.
    markers: Option<HashSet<Key>>,
    inserted: Vec<Id>,
    updated: HashSet<Id>,
    lines: Vec<Line>,
    // Of the operation that runs.
    changes: Vec<Change>,
    lines_before: usize,
    /// It ran statements that write, which only the end of the transaction undoes.
    wrote_past: bool,
}

pub(super) struct Sheet<'a> {
    db: &'a Connection,
    state: RefCell<State>,
}

/// A number for a column of 32 bits; ours all fit.
fn int4(number: impl Into<i64>) -> i32 {
    i32::try_from(number.into()).unwrap_or(i32::MAX)
}

/// One column of an array of rows.
fn column<'a, R, T>(rows: &[&'a R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

impl<'a> Sheet<'a> {
    /// Begins the transaction, takes the locks and reads, in one exchange.
    pub(super) fn begin(db: &'a Connection, touches: &[Touch]) -> Result<Self, Fault> {
        let mut state = State { markers: Some(HashSet::new()), ..State::default() };
        let mut keys = Vec::new();
        let mut ids = Vec::new();
        for touch in touches {
            match *touch {
                Touch::Key(key) => {
                    state.terminals.insert(terminal_lock(key.merchant, key.terminal));
                    if state.keys.insert(key, None).is_none() {
                        keys.push(key);
                    }
                }
                Touch::Payment(merchant, id) => {
                    if state.payments.insert((merchant, id), None).is_none() {
                        ids.push((merchant, id));
                    }
                }
            }
        }
        let terminals: Vec<i64> = state.terminals.iter().copied().collect();
        let merchants: Vec<&str> = keys.iter().map(|k| k.merchant.as_str()).collect();
        let names: Vec<&str> = keys.iter().map(|k| k.terminal.as_str()).collect();
        let batches: Vec<i32> = keys.iter().map(|k| int4(k.batch.get())).collect();
        let traces: Vec<i32> = keys.iter().map(|k| int4(k.trace.get())).collect();
        let id_merchants: Vec<&str> = ids.iter().map(|(merchant, _)| merchant.as_str()).collect();
        let id_numbers: Vec<i64> = ids.iter().map(|(_, id)| id.0).collect();
        let lock = db.statement(LOCK_TERMINALS)?;
        let select = db.statement(LOCK_PAYMENTS)?;
        let mark = db.statement(MARKERS)?;
        let (_, _, rows, markers) = db.with(async |client| {
            let lock = async { client.query(&lock, &[&terminals]).await };
            let select = async {
                let params: [&(dyn ToSql + Sync); 6] =
                    [&merchants, &names, &batches, &traces, &id_merchants, &id_numbers];
                client.query(&select, &params).await
            };
            let mark = async { client.query(&mark, &[&merchants, &names, &batches, &traces]).await };
            // Sent in this order: each statement sees what was committed before it got the locks before it.
            tokio::try_join!(biased; client.batch_execute("BEGIN"), lock, select, mark)
        })?;
        for row in &rows {
            let cells = PgRow(row);
            let mut columns = Columns::of(&cells);
            // What the sheet knows it by comes first; with that damaged, only a transaction of its own can tell.
            let id = (columns.merchant()?, PaymentId(columns.take("id")?));
            let key = (columns.terminal()?, columns.batch()?, columns.trace()?);
            let key = Key { merchant: id.0, terminal: key.0, batch: key.1, trace: key.2 };
            let record = match Columns::of(&cells).payment() {
                Ok(record) => Ok(record),
                Err(Fault::Rule(error)) => Err(error),
                Err(fault) => return Err(fault),
            };
            state.keys.insert(key, Some(id));
            state.payments.insert(id, Some(record));
        }
        for row in &markers {
            let place = Columns::of(&PgRow(row)).take::<i64>("place")?;
            let key = usize::try_from(place - 1).ok().and_then(|place| keys.get(place));
            state.markers.get_or_insert_default().extend(key);
        }
        Ok(Sheet { db, state: RefCell::new(state) })
    }

    /// The operation's changes stay.
    pub(super) fn keep(&self) {
        let state = &mut *self.state.borrow_mut();
        state.changes.clear();
        state.lines_before = state.lines.len();
        state.wrote_past = false;
    }

    /// Takes the operation's changes back; not possible when it wrote past the sheet.
    pub(super) fn undo(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.wrote_past {
            return false;
        }
        state.lines.truncate(state.lines_before);
        while let Some(change) = state.changes.pop() {
            match change {
                Change::Payment(id, before) => {
                    state.payments.insert(id, *before);
                }
                Change::Key(key, before) => {
                    state.keys.insert(key, before);
                }
                Change::Inserted => {
                    state.inserted.pop();
                }
                Change::Updated(id) => {
                    state.updated.remove(&id);
                }
            }
        }
        true
    }

    /// Sends everything that the operations changed, in one exchange.
    pub(super) fn write(self) -> Result<(), Fault> {
        let state = self.state.into_inner();
        let record = |id: &Id| state.payments.get(id).and_then(|found| found.as_ref()?.as_ref().ok());
        let inserted: Vec<&PaymentRecord> = state.inserted.iter().filter_map(record).collect();
        let fresh: HashSet<&Id> = state.inserted.iter().collect();
        let mut updated: Vec<&Id> = state.updated.iter().filter(|id| !fresh.contains(id)).collect();
        updated.sort_unstable();
        let updated: Vec<&PaymentRecord> = updated.into_iter().filter_map(record).collect();
        let mut places: HashMap<Id, i32> = HashMap::new();
        let lines: Vec<(i32, &Line)> = state
            .lines
            .iter()
            .map(|line| {
                let place = places.entry(line.of).or_insert(0);
                *place += 1;
                (*place, line)
            })
            .collect();
        let statements = (self.db.statement(INSERT)?, self.db.statement(UPDATE)?, self.db.statement(APPEND)?);
        self.db.with(async |client| {
            let insert = async {
                match inserted.is_empty() {
                    true => Ok(0),
                    false => insert(client, &statements.0, &inserted).await,
                }
            };
            let update = async {
                match updated.is_empty() {
                    true => Ok(0),
                    false => update(client, &statements.1, &updated).await,
                }
            };
            let append = async {
                match lines.is_empty() {
                    true => Ok(0),
                    false => append(client, &statements.2, &lines).await,
                }
            };
            tokio::try_join!(biased; insert, update, append)
        })?;
        Ok(())
    }
}

fn card(record: &PaymentRecord) -> Option<&CardRecord> {
    record.card.as_ref()
}

fn answer(record: &PaymentRecord) -> Option<&Answer> {
    record.answer.as_ref()
}

async fn insert(
    client: &tokio_postgres::Client,
    statement: &tokio_postgres::Statement,
    rows: &[&PaymentRecord],
) -> Result<u64, Error> {
    client
        .execute(
            statement,
            &[
                &column(rows, |r| r.merchant.as_str()),
                &column(rows, |r| r.id.0),
                &column(rows, |r| r.terminal.as_str()),
                &column(rows, |r| int4(r.batch.get())),
                &column(rows, |r| int4(r.trace.get())),
                &column(rows, |r| r.kind.code()),
                &column(rows, |r| r.state.code()),
                &column(rows, |r| fen(r.amount)),
                &column(rows, |r| r.adjusted.map(fen)),
                &column(rows, |r| int4(r.currency)),
                &column(rows, |r| card(r).map(|c| c.masked.as_str())),
                &column(rows, |r| card(r).map(|c| c.digest.as_slice())),
                &column(rows, |r| card(r).map(|c| c.sealed.as_slice())),
                &column(rows, |r| r.expiry.map(|e| int4(e.yymm()))),
                &column(rows, |r| int4(r.entry_mode.code())),
                &column(rows, |r| r.card_sequence.map(int4)),
                &column(rows, |r| int4(r.condition)),
                &column(rows, |r| int4(traits_number(r.terminal_traits))),
                &column(rows, |r| r.request_digest.as_slice()),
                &column(rows, |r| r.line.as_str()),
                &column(rows, |r| int4(r.network.trace)),
                &column(rows, |r| r.network.transmission.cast_signed()),
                &column(rows, |r| r.rrn.as_str()),
                &column(rows, |r| r.original.map(|o| o.0)),
                &column(rows, |r| r.claimed_by.map(|c| c.0)),
                &column(rows, |r| fen(r.refunded)),
                &column(rows, |r| answer(r).map(|a| a.code.as_str())),
                &column(rows, |r| answer(r).and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str())),
                &column(rows, |r| answer(r).and_then(|a| a.settle_date).map(int4)),
                &column(rows, |r| answer(r).and_then(|a| a.issuer.as_deref())),
                &column(rows, |r| answer(r).and_then(|a| a.balance.as_deref())),
                &column(rows, |r| answer(r).and_then(|a| a.chip.as_deref())),
                &column(rows, |r| answer(r).map(|a| millis(a.at))),
                &column(rows, |r| r.reversal_reason.as_ref().map(|c| c.as_str())),
                &column(rows, |r| i16::from(r.limited)),
                &column(rows, |r| millis(r.created)),
                &column(rows, |r| answer(r).and_then(|a| a.plan.as_deref())),
            ],
        )
        .await
}

async fn update(
    client: &tokio_postgres::Client,
    statement: &tokio_postgres::Statement,
    rows: &[&PaymentRecord],
) -> Result<u64, Error> {
    client
        .execute(
            statement,
            &[
                &column(rows, |r| r.merchant.as_str()),
                &column(rows, |r| r.id.0),
                &column(rows, |r| r.state.code()),
                &column(rows, |r| r.claimed_by.map(|c| c.0)),
                &column(rows, |r| fen(r.refunded)),
                &column(rows, |r| answer(r).map(|a| a.code.as_str())),
                &column(rows, |r| answer(r).and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str())),
                &column(rows, |r| answer(r).and_then(|a| a.settle_date).map(int4)),
                &column(rows, |r| answer(r).and_then(|a| a.issuer.as_deref())),
                &column(rows, |r| answer(r).and_then(|a| a.balance.as_deref())),
                &column(rows, |r| answer(r).and_then(|a| a.chip.as_deref())),
                &column(rows, |r| answer(r).map(|a| millis(a.at))),
                &column(rows, |r| r.reversal_reason.as_ref().map(|c| c.as_str())),
                &column(rows, |r| r.adjusted.map(fen)),
                &column(rows, |r| answer(r).and_then(|a| a.plan.as_deref())),
            ],
        )
        .await
}

async fn append(
    client: &tokio_postgres::Client,
    statement: &tokio_postgres::Statement,
    rows: &[(i32, &Line)],
) -> Result<u64, Error> {
    let places: Vec<i32> = rows.iter().map(|(place, _)| *place).collect();
    let rows: Vec<&Line> = rows.iter().map(|(_, line)| *line).collect();
    client
        .execute(
            statement,
            &[
                &column(&rows, |l| l.of.0.as_str()),
                &column(&rows, |l| l.of.1.0),
                &places,
                &column(&rows, |l| millis(l.entry.at)),
                &column(&rows, |l| l.entry.kind.code()),
                &column(&rows, |l| l.entry.bytes.as_slice()),
                &column(&rows, |l| l.entry.note.as_str()),
            ],
        )
        .await
}

impl Db for Sheet<'_> {
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()> {
        self.db.rows(sql, params, read)
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64> {
        {
            let mut state = self.state.borrow_mut();
            state.wrote_past = true;
            state.markers = None;
        }
        self.db.execute(sql, params)
    }

    fn lock(&self, what: Lock<'_>) -> Op<bool> {
        let held = match what {
            Lock::Terminal(merchant, terminal) => {
                self.state.borrow().terminals.contains(&terminal_lock(merchant, terminal))
            }
            Lock::Payment(merchant, id) => self.state.borrow().payments.contains_key(&(merchant, id)),
            Lock::Sequence(_) => false,
        };
        if held { Ok(false) } else { self.db.lock(what) }
    }

    fn payment_by_trace(&self, key: Key) -> Op<Option<PaymentRecord>> {
        let found = self.state.borrow().keys.get(&key).copied();
        match found {
            Some(Some((merchant, id))) => self.payment_by_id(merchant, id),
            Some(None) => Ok(None),
            None => self.db.payment_by_trace(key),
        }
    }

    fn payment_by_id(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
        match self.state.borrow().payments.get(&(merchant, id)) {
            Some(Some(Ok(record))) => Ok(Some(record.clone())),
            Some(Some(Err(error))) => Err(error.clone().into()),
            Some(None) => Ok(None),
            None => self.db.payment_by_id(merchant, id),
        }
    }

    fn has_marker(&self, key: Key) -> Op<bool> {
        let known = self.state.borrow().markers.as_ref().map(|markers| markers.contains(&key));
        known.map_or_else(|| self.db.has_marker(key), Ok)
    }

    fn insert_payment(&self, record: &PaymentRecord) -> Op<()> {
        let state = &mut *self.state.borrow_mut();
        let (id, key) = ((record.merchant, record.id), Key::of(record));
        if state.payments.get(&id).is_some_and(Option::is_some) {
            return Err(Fault::Constraint("payment_pkey".to_owned()));
        }
        let before = state.payments.insert(id, Some(Ok(record.clone()))).flatten();
        state.changes.push(Change::Payment(id, Box::new(before)));
        let before = state.keys.insert(key, Some(id)).flatten();
        state.changes.push(Change::Key(key, before));
        state.inserted.push(id);
        state.changes.push(Change::Inserted);
        Ok(())
    }

    fn update_payment(&self, record: &PaymentRecord) -> Op<()> {
        let state = &mut *self.state.borrow_mut();
        let id = (record.merchant, record.id);
        if !state.payments.contains_key(&id) {
            state.wrote_past = true;
            return self.db.update_payment(record);
        }
        let before = state.payments.insert(id, Some(Ok(record.clone()))).flatten();
        state.changes.push(Change::Payment(id, Box::new(before)));
        if state.updated.insert(id) {
            state.changes.push(Change::Updated(id));
        }
        Ok(())
    }

    fn append_entries(
        &self,
        merchant: MerchantId,
        id: PaymentId,
        _new: bool,
        entries: &[JournalEntry],
    ) -> Op<()> {
        let lines = entries.iter().map(|entry| Line { of: (merchant, id), entry: entry.clone() });
        self.state.borrow_mut().lines.extend(lines);
        Ok(())
    }

    fn plain(&self) -> &dyn Db {
        self.db
    }
}
