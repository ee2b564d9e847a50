//! The payments of one group, in memory for the time of its transaction: locked and read at its begin, changed
//! by the operations, written at its end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};

use acquiring::payment::{JournalEntry, PaymentRecord};
use acquiring::{MerchantId, PaymentId};
use tokio_postgres::types::ToSql;

use super::connection::{Connection, sentence, terminal_lock};
use super::known::{self, Id, Known};
use super::rows::PgRow;
use super::write::{Line, Placed, Written, int4};
use crate::db::{Cells, Db, Fault, Key, Lock, Op, Value};
use crate::error::StoreError;
use crate::payments::history_day;
use crate::rows::{Columns, payment_columns};
use crate::writer::Touch;

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
    /// Not read: thought to be as this node wrote them, and only good for more lines of history ...
    unread: HashSet<Id>,
    /// ... or also for their outcome, since they are as they were begun.
    intents: HashSet<Id>,
    lines: Vec<Line>,
    // Of the operation that runs.
    changes: Vec<Change>,
    lines_before: usize,
    /// It ran statements that write, which only the end of the transaction undoes.
    wrote_past: bool,
}

pub(super) struct Sheet<'a> {
    db: &'a Connection,
    known: &'a RefCell<Known>,
    state: RefCell<State>,
    /// The transaction has begun; with nothing to lock and read, it begins when something is sent.
    begun: Cell<bool>,
}

impl<'a> Sheet<'a> {
    /// Begins the transaction, takes the locks and reads, in one exchange; in none, when this node knows all.
    pub(super) fn begin(
        db: &'a Connection,
        known: &'a RefCell<Known>,
        touches: &[Touch],
    ) -> Result<Self, Fault> {
        let mut state = State { markers: Some(HashSet::new()), ..State::default() };
        let mut keys = Vec::new();
        let mut ids = Vec::new();
        for touch in touches {
            let (id, outcome) = match *touch {
                Touch::Key(key) => {
                    state.terminals.insert(terminal_lock(key.merchant, key.terminal));
                    if state.keys.insert(key, None).is_none() {
                        keys.push(key);
                    }
                    continue;
                }
                Touch::Payment(merchant, id) => ((merchant, id), true),
                Touch::History(merchant, id) => ((merchant, id), false),
            };
            let seen = state.payments.contains_key(&id);
            match known.borrow().get(&id) {
                Some(written) if !outcome && !seen => {
                    state.payments.insert(id, Some(Ok(written.record.clone())));
                    state.unread.insert(id);
                }
                Some(_) if !outcome => {}
                Some(written) if written.is_intent() && (!seen || state.unread.contains(&id)) => {
                    state.payments.insert(id, Some(Ok(written.record.clone())));
                    state.unread.insert(id);
                    state.intents.insert(id);
                }
                _ if seen && !state.unread.remove(&id) => {}
                _ => {
                    state.payments.insert(id, None);
                    ids.push(id);
                }
            }
        }
        let sheet = Sheet { db, known, state: RefCell::new(state), begun: Cell::new(false) };
        if !keys.is_empty() || !ids.is_empty() {
            sheet.read(&keys, &ids)?;
        }
        Ok(sheet)
    }

    fn read(&self, keys: &[Key], ids: &[Id]) -> Result<(), Fault> {
        let db = self.db;
        let state = &mut *self.state.borrow_mut();
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
        self.begun.set(true);
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
            state.unread.remove(&id);
            state.intents.remove(&id);
        }
        for row in &markers {
            let place = Columns::of(&PgRow(row)).take::<i64>("place")?;
            let key = usize::try_from(place - 1).ok().and_then(|place| keys.get(place));
            state.markers.get_or_insert_default().extend(key);
        }
        Ok(())
    }

    /// The connection, for what the sheet does not hold; within the transaction.
    fn past(&self) -> Op<&Connection> {
        if !self.begun.replace(true) {
            self.db.simple("BEGIN")?;
        }
        Ok(self.db)
    }

    /// Takes the whole transaction back.
    pub(super) fn roll_back(&self) -> Result<(), Fault> {
        match self.begun.get() {
            true => Ok(self.db.simple("ROLLBACK")?),
            false => Ok(()),
        }
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

    /// Sends everything that the operations changed and the commit, in one exchange. With an error nothing of the
    /// transaction stands, unless the error is the engine's.
    pub(super) fn commit(self) -> Result<(), Fault> {
        let state = self.state.into_inner();
        let record = |id: &Id| state.payments.get(id).and_then(|found| found.as_ref()?.as_ref().ok());
        let fresh: HashSet<&Id> = state.inserted.iter().collect();
        // What was not read is asked whether it is as it was thought to be, also when nothing moved.
        let mut moved: Vec<&Id> =
            state.updated.union(&state.intents).filter(|id| !fresh.contains(id)).collect();
        moved.sort_unstable();
        let moved = moved.into_iter().filter_map(|id| Some((record(id)?, state.unread.contains(id))));
        let known = &mut *self.known.borrow_mut();
        let mut places: HashMap<Id, i32> = HashMap::new();
        let lines = state.lines.iter().map(|line| {
            let place = places.entry(line.of).or_insert(0);
            *place += 1;
            let before = match fresh.contains(&line.of) {
                true => Some(0),
                false if state.unread.contains(&line.of) => known.get(&line.of).map(|written| written.lines),
                false => None,
            };
            Placed { line, place: *place, before }
        });
        let written = Written {
            lines: lines.collect(),
            made: state.inserted.iter().filter_map(record).collect(),
            moved: moved.collect(),
        };
        let begun = self.begun.get();
        if written.is_empty() && !begun {
            return Ok(());
        }
        let statement = self.db.statement(&written.text())?;
        let (result, committed) =
            self.db.with(async |client| written.commit(client, &statement, !begun).await);
        // A commit is sent once: when its outcome is not known, the store has failed. One behind a statement that
        // the server refused has undone the transaction.
        result?;
        committed.map_err(|error| Fault::Engine(sentence(&error)))?;
        drop(written);
        for id in &state.inserted {
            let begun = record(id).map(|record| known::Written {
                record: record.clone(),
                lines: places.get(id).copied().unwrap_or(0),
            });
            if let Some(begun) = begun.filter(known::Written::is_intent) {
                known.keep(begun);
            }
        }
        for id in state.payments.keys().filter(|id| !fresh.contains(id)) {
            let lines =
                known.get(id).map_or(0, |written| written.lines) + places.get(id).copied().unwrap_or(0);
            match record(id) {
                // After its outcome one more line comes: what the terminal was answered.
                Some(record) if state.intents.contains(id) => {
                    known.keep(known::Written { record: record.clone(), lines });
                }
                _ => known.forget(id),
            }
        }
        Ok(())
    }
}

impl Db for Sheet<'_> {
    fn rows(&self, sql: &str, params: &[Value<'_>], read: &mut dyn FnMut(&dyn Cells) -> Op<bool>) -> Op<()> {
        self.past()?.rows(sql, params, read)
    }

    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Op<u64> {
        {
            let mut state = self.state.borrow_mut();
            state.wrote_past = true;
            state.markers = None;
        }
        self.past()?.execute(sql, params)
    }

    fn lock(&self, what: Lock<'_>) -> Op<bool> {
        let held = match what {
            Lock::Terminal(merchant, terminal) => {
                self.state.borrow().terminals.contains(&terminal_lock(merchant, terminal))
            }
            Lock::Payment(merchant, id) => self.state.borrow().payments.contains_key(&(merchant, id)),
            Lock::Sequence(_) => false,
        };
        if held { Ok(false) } else { self.past()?.lock(what) }
    }

    fn payment_by_trace(&self, key: Key) -> Op<Option<PaymentRecord>> {
        let found = self.state.borrow().keys.get(&key).copied();
        match found {
            Some(Some((merchant, id))) => self.payment_by_id(merchant, id),
            Some(None) => Ok(None),
            None => self.past()?.payment_by_trace(key),
        }
    }

    fn payment_by_id(&self, merchant: MerchantId, id: PaymentId) -> Op<Option<PaymentRecord>> {
        match self.state.borrow().payments.get(&(merchant, id)) {
            Some(Some(Ok(record))) => Ok(Some(record.clone())),
            Some(Some(Err(error))) => Err(error.clone().into()),
            Some(None) => Ok(None),
            None => self.past()?.payment_by_id(merchant, id),
        }
    }

    fn has_marker(&self, key: Key) -> Op<bool> {
        let known = self.state.borrow().markers.as_ref().map(|markers| markers.contains(&key));
        known.map_or_else(|| self.past()?.has_marker(key), Ok)
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
            return self.past()?.update_payment(record);
        }
        let before = state.payments.insert(id, Some(Ok(record.clone()))).flatten();
        state.changes.push(Change::Payment(id, Box::new(before)));
        if state.updated.insert(id) {
            state.changes.push(Change::Updated(id));
        }
        Ok(())
    }

    fn append_entries(&self, of: &PaymentRecord, _new: bool, entries: &[JournalEntry]) -> Op<()> {
        let (id, day) = ((of.merchant, of.id), history_day(of.created));
        let lines = entries.iter().map(|entry| Line { of: id, day, entry: entry.clone() });
        self.state.borrow_mut().lines.extend(lines);
        Ok(())
    }

    fn under_way(&self) -> &'static str {
        self.db.under_way()
    }

    fn plain(&self) -> &dyn Db {
        self
    }
}
