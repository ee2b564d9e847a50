//! Batch settlement: totals, uploaded details, differences, the end of a batch.

use acquiring::kind::{Kind, Side};
use acquiring::payment::{JournalEntry, PaymentRecord, PaymentState};
use acquiring::settlement::{BatchTotals, BlockResult, BlockTotals, DifferenceKind, SideTotal};
use acquiring::{Amount, BatchNo, MerchantId, PaymentId, TerminalId, Trace};
use jiff::Timestamp;

use crate::db::{Db, Key, Lock, Op, params};
use crate::error::StoreError;
use crate::master;
use crate::rows::{Columns, Owned, Query, all, fen, limit, millis, number_of, one};
use crate::types::{
    BatchEnd, BatchFilter, BatchLine, Cursor, Difference, EndedBatch, Page, PageOf, Settlement,
    SettlementRecord,
};

/// A batch of a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) merchant: MerchantId,
    pub(crate) terminal: TerminalId,
    pub(crate) batch: BatchNo,
}

const DIFFERENCES: [DifferenceKind; 5] = [
    DifferenceKind::OnlyTerminal,
    DifferenceKind::OnlyHost,
    DifferenceKind::Amount,
    DifferenceKind::Card,
    DifferenceKind::Class,
];

fn difference_from(code: &str) -> Option<DifferenceKind> {
    DIFFERENCES.into_iter().find(|d| d.code() == code)
}

fn result(c: &mut Columns<'_>, column: &'static str) -> Op<BlockResult> {
    let digit: u8 = c.take(column)?;
    [BlockResult::Balanced, BlockResult::Differs, BlockResult::Error]
        .into_iter()
        .find(|r| r.digit() == digit)
        .ok_or_else(|| StoreError::Damaged { column }.into())
}

/// A payment as the comparison sees it.
struct Counted {
    id: PaymentId,
    trace: Trace,
    kind: Kind,
    amount: Amount,
    foreign: bool,
}

/// Payments of the batch that count in its totals.
fn counted(db: &dyn Db, of: Batch) -> Op<Vec<Counted>> {
    let select = "SELECT id, trace, kind, state, COALESCE(adjusted, amount), foreign_card FROM payment \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 ORDER BY trace";
    let params = params![of.merchant.as_str(), of.terminal.as_str(), of.batch.get()];
    let read = |c: &mut Columns<'_>| {
        let id = PaymentId(c.take("id")?);
        let trace = c.trace()?;
        let kind = c.text("kind", Kind::from_code)?;
        let state = c.text("state", PaymentState::from_code)?;
        let amount = c.amount("amount")?;
        let foreign = c.flag("foreign_card")?;
        let counts = state.counts() && kind.spec().side != Side::None;
        Ok(counts.then_some(Counted { id, trace, kind, amount, foreign }))
    };
    Ok(all(db, select, params, read)?.into_iter().flatten().collect())
}

/// The journal's totals. A payment counts in the block that its record names.
pub(crate) fn totals(db: &dyn Db, of: Batch) -> Op<BatchTotals> {
    let mut totals = BatchTotals::default();
    for payment in counted(db, of)? {
        let block = if payment.foreign { &mut totals.foreign } else { &mut totals.domestic };
        let side = match payment.kind.spec().side {
            Side::Debit => &mut block.debit,
            Side::Credit => &mut block.credit,
            Side::None => continue,
        };
        let amount = side.amount.plus(payment.amount);
        // Twelve digits of a batch are ten thousand million yuan: not reached by counting up payments.
        let amount = amount.ok_or(StoreError::Damaged { column: "amount" })?;
        *side = SideTotal { amount, count: side.count + 1 };
    }
    Ok(totals)
}

macro_rules! settlement_columns {
    () => {
        "merchant, terminal, batch, at, times, td_debit_amount, td_debit_count, td_credit_amount, \
         td_credit_count, tf_debit_amount, tf_debit_count, tf_credit_amount, tf_credit_count, \
         hd_debit_amount, hd_debit_count, hd_credit_amount, hd_credit_count, hf_debit_amount, \
         hf_debit_count, hf_credit_amount, hf_credit_count, domestic_result, foreign_result, ended_at, \
         uploaded, balanced"
    };
}

fn settlement(c: &mut Columns<'_>) -> Op<SettlementRecord> {
    let (merchant, terminal, batch) = (c.merchant()?, c.terminal()?, c.batch()?);
    let (at, times) = (c.time("at")?, c.take("times")?);
    let terminal_totals = BatchTotals { domestic: c.block()?, foreign: c.block()? };
    let host_totals = BatchTotals { domestic: c.block()?, foreign: c.block()? };
    let (domestic, foreign) = (result(c, "domestic_result")?, result(c, "foreign_result")?);
    let ended_at = c.maybe_time("ended_at")?;
    let (uploaded, balanced): (Option<u32>, Option<i64>) = (c.take("uploaded")?, c.take("balanced")?);
    let end = ended_at.map(|at| BatchEnd {
        at,
        uploaded: uploaded.unwrap_or(0),
        balanced: balanced.unwrap_or(0) != 0,
    });
    Ok(SettlementRecord {
        merchant,
        terminal,
        batch,
        at,
        times,
        terminal_totals,
        host_totals,
        domestic,
        foreign,
        end,
    })
}

fn settlement_of(db: &dyn Db, of: Batch) -> Op<Option<SettlementRecord>> {
    let select = concat!(
        "SELECT ",
        settlement_columns!(),
        " FROM settlement WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3"
    );
    one(db, select, params![of.merchant.as_str(), of.terminal.as_str(), of.batch.get()], settlement)
}

fn append(db: &dyn Db, of: Batch, entries: &[JournalEntry]) -> Op<()> {
    let (merchant, terminal, batch) = (of.merchant.as_str(), of.terminal.as_str(), of.batch.get());
    let select = "SELECT COALESCE(MAX(sequence), 0) FROM settlement_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3";
    let last = number_of(db, select, params![merchant, terminal, batch])?;
    let insert = "INSERT INTO settlement_entry (merchant, terminal, batch, sequence, at, kind, message, note) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for (entry, sequence) in entries.iter().zip(last + 1..) {
        db.execute(
            insert,
            params![
                merchant,
                terminal,
                batch,
                sequence,
                millis(entry.at),
                entry.kind.code(),
                &entry.bytes,
                &entry.note
            ],
        )?;
    }
    Ok(())
}

/// Appends to a batch's history.
pub(crate) fn note(db: &dyn Db, of: Batch, entries: &[JournalEntry]) -> Op<()> {
    db.lock(Lock::Terminal(of.merchant, of.terminal))?;
    append(db, of, entries)
}

pub(crate) fn history(db: &dyn Db, of: Batch) -> Op<Vec<JournalEntry>> {
    let select = "SELECT at, kind, message, note FROM settlement_entry \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 ORDER BY sequence";
    let params = params![of.merchant.as_str(), of.terminal.as_str(), of.batch.get()];
    all(db, select, params, |c| c.entry())
}

/// Keeps a settlement request. A request for the same batch again replaces the figures; the history says
/// what they were. The end of a batch is never taken back.
pub(crate) fn record(db: &dyn Db, new: &Settlement) -> Op<()> {
    db.lock(Lock::Terminal(new.merchant, new.terminal))?;
    let of = Batch { merchant: new.merchant, terminal: new.terminal, batch: new.batch };
    if let Some(old) = settlement_of(db, of)? {
        let note = format!(
            "settled again{}: before, the terminal said {} and the journal {}; results {} {}",
            if old.end.is_some() { " after its end" } else { "" },
            in_words(&old.terminal_totals),
            in_words(&old.host_totals),
            old.domestic.digit(),
            old.foreign.digit()
        );
        append(db, of, &[JournalEntry::note(new.at, note)])?;
    }
    let upsert = "INSERT INTO settlement (merchant, terminal, batch, at, times, td_debit_amount, td_debit_count, \
         td_credit_amount, td_credit_count, tf_debit_amount, tf_debit_count, tf_credit_amount, \
         tf_credit_count, hd_debit_amount, hd_debit_count, hd_credit_amount, hd_credit_count, \
         hf_debit_amount, hf_debit_count, hf_credit_amount, hf_credit_count, domestic_result, \
         foreign_result) VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
         ?17, ?18, ?19, ?20, ?21, ?22) \
         ON CONFLICT (merchant, terminal, batch) DO UPDATE SET at = excluded.at, \
         times = settlement.times + 1, td_debit_amount = excluded.td_debit_amount, \
         td_debit_count = excluded.td_debit_count, td_credit_amount = excluded.td_credit_amount, \
         td_credit_count = excluded.td_credit_count, tf_debit_amount = excluded.tf_debit_amount, \
         tf_debit_count = excluded.tf_debit_count, tf_credit_amount = excluded.tf_credit_amount, \
         tf_credit_count = excluded.tf_credit_count, hd_debit_amount = excluded.hd_debit_amount, \
         hd_debit_count = excluded.hd_debit_count, hd_credit_amount = excluded.hd_credit_amount, \
         hd_credit_count = excluded.hd_credit_count, hf_debit_amount = excluded.hf_debit_amount, \
         hf_debit_count = excluded.hf_debit_count, hf_credit_amount = excluded.hf_credit_amount, \
         hf_credit_count = excluded.hf_credit_count, domestic_result = excluded.domestic_result, \
         foreign_result = excluded.foreign_result";
    let (t, h) = (&new.terminal_totals, &new.host_totals);
    db.execute(
        upsert,
        params![
            of.merchant.as_str(),
            of.terminal.as_str(),
            of.batch.get(),
            millis(new.at),
            fen(t.domestic.debit.amount),
            t.domestic.debit.count,
            fen(t.domestic.credit.amount),
            t.domestic.credit.count,
            fen(t.foreign.debit.amount),
            t.foreign.debit.count,
            fen(t.foreign.credit.amount),
            t.foreign.credit.count,
            fen(h.domestic.debit.amount),
            h.domestic.debit.count,
            fen(h.domestic.credit.amount),
            h.domestic.credit.count,
            fen(h.foreign.debit.amount),
            h.foreign.debit.count,
            fen(h.foreign.credit.amount),
            h.foreign.credit.count,
            new.domestic.digit(),
            new.foreign.digit()
        ],
    )?;
    append(db, of, &new.entries)
}

fn in_words(totals: &BatchTotals) -> String {
    let side = |s: SideTotal| format!("{} in {}", s.amount, s.count);
    let block = |b: &BlockTotals| format!("debit {}, credit {}", side(b.debit), side(b.credit));
    if totals.foreign == BlockTotals::default() {
        format!("({})", block(&totals.domestic))
    } else {
        format!("({}; foreign {})", block(&totals.domestic), block(&totals.foreign))
    }
}

/// Compares one uploaded detail with the journal and keeps both the line and what differs. A line that
/// comes again is compared again and replaces the first, so that a repeat changes nothing.
pub(crate) fn line(db: &dyn Db, of: Batch, line: &BatchLine) -> Op<Option<DifferenceKind>> {
    db.lock(Lock::Terminal(of.merchant, of.terminal))?;
    let (merchant, terminal, batch) = (of.merchant.as_str(), of.terminal.as_str(), of.batch.get());
    let upsert = "INSERT INTO batch_line (merchant, terminal, batch, trace, at, kind, card_digest, amount, \
         foreign_card) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (merchant, terminal, batch, trace) DO UPDATE SET kind = excluded.kind, \
         card_digest = excluded.card_digest, amount = excluded.amount, foreign_card = excluded.foreign_card";
    db.execute(
        upsert,
        params![
            merchant,
            terminal,
            batch,
            line.trace.get(),
            millis(line.at),
            line.kind.code(),
            line.card_digest.as_ref(),
            fen(line.amount),
            line.foreign.map(u8::from)
        ],
    )?;

    let key = Key { merchant: of.merchant, terminal: of.terminal, batch: of.batch, trace: line.trace };
    let payment = db.payment_by_trace(key)?;
    let counts = payment.as_ref().filter(|p| p.state.counts() && p.kind.spec().side != Side::None);
    let kind = match counts {
        None => Some(DifferenceKind::OnlyTerminal),
        Some(p) if p.total() != line.amount => Some(DifferenceKind::Amount),
        Some(p) => match (line.card_digest, &p.card) {
            (Some(digest), Some(card)) if digest != card.digest => Some(DifferenceKind::Card),
            (Some(_), None) => Some(DifferenceKind::Card),
            _ if line.foreign.is_some_and(|foreign| foreign != p.foreign) => Some(DifferenceKind::Class),
            _ => None,
        },
    };
    match kind {
        None => {
            let delete = "DELETE FROM batch_difference \
                 WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 AND trace = ?4";
            db.execute(delete, params![merchant, terminal, batch, line.trace.get()])?;
        }
        Some(kind) => keep_difference(
            db,
            &Difference {
                merchant: of.merchant,
                terminal: of.terminal,
                batch: of.batch,
                trace: line.trace,
                kind,
                payment: payment.as_ref().map(|p| p.id),
                terminal_amount: Some(line.amount),
                host_amount: payment.as_ref().map(PaymentRecord::total),
                at: line.at,
            },
        )?,
    }
    Ok(kind)
}

/// A difference is recorded once; when it is found again, the first time stays.
fn keep_difference(db: &dyn Db, d: &Difference) -> Op<()> {
    let upsert = "INSERT INTO batch_difference (merchant, terminal, batch, trace, at, kind, payment, \
         terminal_amount, host_amount) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (merchant, terminal, batch, trace) DO UPDATE SET kind = excluded.kind, \
         payment = excluded.payment, terminal_amount = excluded.terminal_amount, \
         host_amount = excluded.host_amount";
    db.execute(
        upsert,
        params![
            d.merchant.as_str(),
            d.terminal.as_str(),
            d.batch.get(),
            d.trace.get(),
            millis(d.at),
            d.kind.code(),
            d.payment.map(|p| p.0),
            d.terminal_amount.map(fen),
            d.host_amount.map(fen)
        ],
    )?;
    Ok(())
}

macro_rules! difference_columns {
    () => {
        "merchant, terminal, batch, trace, at, kind, payment, terminal_amount, host_amount"
    };
}

fn difference(c: &mut Columns<'_>) -> Op<Difference> {
    Ok(Difference {
        merchant: c.merchant()?,
        terminal: c.terminal()?,
        batch: c.batch()?,
        trace: c.trace()?,
        at: c.time("at")?,
        kind: c.text("kind", difference_from)?,
        payment: c.take::<Option<i64>>("payment")?.map(PaymentId),
        terminal_amount: c.maybe_amount("terminal_amount")?,
        host_amount: c.maybe_amount("host_amount")?,
    })
}

fn differences_of(db: &dyn Db, of: Batch) -> Op<Vec<Difference>> {
    let select = concat!(
        "SELECT ",
        difference_columns!(),
        " FROM batch_difference WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 ORDER BY trace"
    );
    all(db, select, params![of.merchant.as_str(), of.terminal.as_str(), of.batch.get()], difference)
}

fn uploaded_traces(db: &dyn Db, of: Batch) -> Op<Vec<Trace>> {
    let select =
        "SELECT trace FROM batch_line WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3 ORDER BY trace";
    let params = params![of.merchant.as_str(), of.terminal.as_str(), of.batch.get()];
    all(db, select, params, |c| c.trace())
}

/// Ends a batch: what the terminal did not upload of an unbalanced one is a difference, and the terminal
/// goes on to the next batch. Ended again, it says the same again.
pub(crate) fn end(db: &dyn Db, of: Batch, uploaded: u32, balanced: bool, at: Timestamp) -> Op<EndedBatch> {
    db.lock(Lock::Terminal(of.merchant, of.terminal))?;
    let next = of.batch.next();
    let settled = settlement_of(db, of)?;
    if settled.as_ref().is_some_and(|s| s.end.is_some()) {
        return Ok(EndedBatch { next, differences: differences_of(db, of)? });
    }
    if settled.is_none() {
        // The end came without a settlement request: there was nothing to compare.
        record(
            db,
            &Settlement {
                merchant: of.merchant,
                terminal: of.terminal,
                batch: of.batch,
                at,
                terminal_totals: BatchTotals::default(),
                host_totals: totals(db, of)?,
                domestic: BlockResult::Error,
                foreign: BlockResult::Error,
                entries: vec![JournalEntry::note(at, "ended without a settlement request")],
            },
        )?;
    }
    if !balanced {
        let uploaded = uploaded_traces(db, of)?;
        for payment in counted(db, of)? {
            if uploaded.binary_search(&payment.trace).is_err() {
                keep_difference(
                    db,
                    &Difference {
                        merchant: of.merchant,
                        terminal: of.terminal,
                        batch: of.batch,
                        trace: payment.trace,
                        kind: DifferenceKind::OnlyHost,
                        payment: Some(payment.id),
                        terminal_amount: None,
                        host_amount: Some(payment.amount),
                        at,
                    },
                )?;
            }
        }
    }
    let update = "UPDATE settlement SET ended_at = ?4, uploaded = ?5, balanced = ?6 \
         WHERE merchant = ?1 AND terminal = ?2 AND batch = ?3";
    db.execute(
        update,
        params![
            of.merchant.as_str(),
            of.terminal.as_str(),
            of.batch.get(),
            millis(at),
            uploaded,
            u8::from(balanced)
        ],
    )?;
    master::change_session(db, of.merchant, of.terminal, &|session| {
        if session.batch == of.batch {
            session.batch = next;
        }
    })?;
    Ok(EndedBatch { next, differences: differences_of(db, of)? })
}

/// What the filter asks, as conditions on the three columns that both lists share.
fn conditions(filter: &BatchFilter, query: &mut Query) {
    if let Some(merchant) = filter.merchant {
        query.push(" AND merchant = ?", [merchant.to_string()]);
    }
    if let Some(terminal) = filter.terminal {
        query.push(" AND terminal = ?", [terminal.to_string()]);
    }
    if let Some(batch) = filter.batch {
        query.push(" AND batch = ?", [i64::from(batch.get())]);
    }
}

/// Cursor parts: time, merchant, terminal, then numbers; none of them contains a dot.
fn cursor_values(cursor: &Cursor, numbers: usize) -> Op<Vec<Owned>> {
    let parts: Vec<&str> = cursor.as_str().split('.').collect();
    let number = |text: &str| text.parse::<i64>().map(Owned::from).map_err(|_| StoreError::BadCursor);
    match parts.as_slice() {
        [at, merchant, terminal, rest @ ..] if rest.len() == numbers => {
            let mut values =
                vec![number(at)?, Owned::from((*merchant).to_owned()), Owned::from((*terminal).to_owned())];
            for text in rest {
                values.push(number(text)?);
            }
            Ok(values)
        }
        _ => Err(StoreError::BadCursor.into()),
    }
}

pub(crate) fn settlements(db: &dyn Db, filter: &BatchFilter, page: &Page) -> Op<PageOf<SettlementRecord>> {
    let mut query = Query::new(concat!("SELECT ", settlement_columns!(), " FROM settlement WHERE 1 = 1"));
    conditions(filter, &mut query);
    if let Some(cursor) = &page.after {
        query.push(" AND (at, merchant, terminal, batch) < (?, ?, ?, ?)", cursor_values(cursor, 1)?);
    }
    let rows = page.rows();
    query.push(" ORDER BY at DESC, merchant DESC, terminal DESC, batch DESC LIMIT ?", [limit(rows)]);
    let mut items = query.all(db, settlement)?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items
        .last()
        .filter(|_| more)
        .map(|s| Cursor(format!("{}.{}.{}.{}", millis(s.at), s.merchant, s.terminal, s.batch.get())));
    Ok(PageOf { items, next })
}

pub(crate) fn differences(db: &dyn Db, filter: &BatchFilter, page: &Page) -> Op<PageOf<Difference>> {
    let mut query =
        Query::new(concat!("SELECT ", difference_columns!(), " FROM batch_difference WHERE 1 = 1"));
    conditions(filter, &mut query);
    if let Some(cursor) = &page.after {
        query
            .push(" AND (at, merchant, terminal, batch, trace) < (?, ?, ?, ?, ?)", cursor_values(cursor, 2)?);
    }
    let rows = page.rows();
    query.push(
        " ORDER BY at DESC, merchant DESC, terminal DESC, batch DESC, trace DESC LIMIT ?",
        [limit(rows)],
    );
    let mut items = query.all(db, difference)?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|d| {
        let (batch, trace) = (d.batch.get(), d.trace.get());
        Cursor(format!("{}.{}.{}.{batch}.{trace}", millis(d.at), d.merchant, d.terminal))
    });
    Ok(PageOf { items, next })
}
