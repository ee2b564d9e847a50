//! What a group wrote, as one statement: new payments, moved payments, history, and what is under way. It is one
//! statement so that it is sent whole or not at all, and its commit can follow without waiting for its answer.

use std::borrow::Cow;
use std::collections::BTreeSet;

use acquiring::PaymentId;
use acquiring::payment::{Answer, CardRecord, JournalEntry, PaymentRecord};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::connection::is_under_way;
use super::known::Id;
use crate::rows::{fen, millis, payment_columns, traits_number};

/// The columns of new payments, of moved ones (the last: whether it must be as it was begun), of lines of history
/// (place counts a payment's new lines, which follow those that it has; how many it has may be known), and how many
/// payments must have moved. With another number it fails: a payment was not as it was thought to be.
macro_rules! write_text {
    ($before:literal) => {
        concat!(
        "WITH made AS (INSERT INTO payment (",
        payment_columns!(),
        ") SELECT * FROM unnest(?1::text[], ?2::int8[], ?3::text[], ?4::int4[], ?5::int4[], ?6::text[], \
     ?7::text[], ?8::int8[], ?9::int8[], ?10::int4[], ?11::text[], ?12::bytea[], ?13::bytea[], \
     ?14::int4[], ?15::int4[], ?16::int4[], ?17::int4[], ?18::int4[], ?19::bytea[], ?20::text[], \
     ?21::int4[], ?22::int8[], ?23::text[], ?24::int8[], ?25::int8[], ?26::int8[], ?27::text[], \
     ?28::text[], ?29::int4[], ?30::text[], ?31::text[], ?32::bytea[], ?33::int8[], ?34::text[], \
     ?35::int2[], ?36::int8[], ?37::text[], ?38::int4[], ?39::int2[])), \
     moved AS (UPDATE payment p SET state = u.state, claimed_by = u.claimed_by, refunded = u.refunded, \
     answer_code = u.answer_code, auth_code = u.auth_code, settle_date = u.settle_date, issuer = u.issuer, \
     balance = u.balance, answer_chip = u.answer_chip, answered_at = u.answered_at, \
     reversal_reason = u.reversal_reason, adjusted = u.adjusted, answer_plan = u.answer_plan, \
     reversed_on = u.reversed_on FROM unnest(?40::text[], ?41::int8[], ?42::text[], ?43::int8[], ?44::int8[], ?45::text[], ?46::text[], \
     ?47::int4[], ?48::text[], ?49::text[], ?50::bytea[], ?51::int8[], ?52::text[], ?53::int8[], ?54::text[], \
     ?55::int4[], ?56::bool[]) AS u (merchant, id, state, \
     claimed_by, refunded, answer_code, auth_code, settle_date, issuer, balance, answer_chip, answered_at, \
     reversal_reason, adjusted, answer_plan, reversed_on, intent) WHERE p.merchant = u.merchant AND p.id = u.id \
     AND (NOT u.intent OR (p.state = 'pending' AND p.answer_code IS NULL AND p.claimed_by IS NULL \
     AND p.refunded = 0 AND p.reversal_reason IS NULL AND p.adjusted IS NULL)) RETURNING 1), \
     told AS (INSERT INTO journal_entry (merchant, payment, sequence, day, at, kind, message, note) \
     SELECT n.merchant, n.payment, n.place + ",
            $before,
            ", n.day, n.at, n.kind, n.message, n.note \
     FROM unnest(?57::text[], ?58::int8[], ?59::int4[], ?60::int4[], ?61::int4[], ?62::int8[], ?63::text[], \
     ?64::bytea[], ?65::text[]) AS n (merchant, payment, place, before, day, at, kind, message, note)), \
     begun AS (INSERT INTO payment_under_way (merchant, id) SELECT * FROM unnest(?66::text[], ?67::int8[])), \
     resumed AS (INSERT INTO payment_under_way (merchant, id) SELECT * FROM unnest(?68::text[], ?69::int8[]) \
     ON CONFLICT DO NOTHING), \
     ended AS (DELETE FROM payment_under_way w USING unnest(?70::text[], ?71::int8[]) AS g (merchant, id) \
     WHERE w.merchant = g.merchant AND w.id = g.id) \
     SELECT 1 / (CASE WHEN COUNT(*) = ?72::int8 THEN 1 ELSE 0 END) AS moved FROM moved"
        )
    };
}

/// For groups that know how many lines each payment has: nothing of the history is read.
const WRITE: &str = write_text!("n.before");

/// For others. In place of the word DAYS stand the days of the payments whose lines are to be counted, so that the
/// statement has to do with those days alone, whatever others there are.
const WRITE_COUNTING: &str = write_text!(
    "COALESCE(n.before, (SELECT MAX(e.sequence) FROM journal_entry e WHERE e.merchant = n.merchant \
     AND e.payment = n.payment AND e.day = n.day AND e.day IN (DAYS)), 0)"
);

/// A new line of a payment's history.
pub(super) struct Line {
    pub(super) of: Id,
    /// The day of the payment, which its history is kept by.
    pub(super) day: u32,
    pub(super) entry: JournalEntry,
}

/// A line with its place among the payment's new ones, and the number of those before, when that is known.
pub(super) struct Placed<'a> {
    pub(super) line: &'a Line,
    pub(super) place: i32,
    pub(super) before: Option<i32>,
}

/// What a group wrote.
#[derive(Default)]
pub(super) struct Written<'a> {
    pub(super) made: Vec<&'a PaymentRecord>,
    /// With whether it must still be as it was begun.
    pub(super) moved: Vec<(&'a PaymentRecord, bool)>,
    pub(super) lines: Vec<Placed<'a>>,
}

/// A number for a column of 32 bits; ours all fit.
pub(super) fn int4(number: impl Into<i64>) -> i32 {
    i32::try_from(number.into()).unwrap_or(i32::MAX)
}

/// One column of an array of rows.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

type Parameters<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

fn card(record: &PaymentRecord) -> Option<&CardRecord> {
    record.card.as_ref()
}

fn answer(record: &PaymentRecord) -> Option<&Answer> {
    record.answer.as_ref()
}

impl Written<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty() && self.moved.is_empty() && self.lines.is_empty()
    }

    /// The statement.
    pub(super) fn text(&self) -> Cow<'static, str> {
        let uncounted = self.lines.iter().filter(|line| line.before.is_none());
        let days: BTreeSet<u32> = uncounted.map(|line| line.line.day).collect();
        if days.is_empty() {
            return Cow::Borrowed(WRITE);
        }
        let days: Vec<String> = days.iter().map(u32::to_string).collect();
        Cow::Owned(WRITE_COUNTING.replace("DAYS", &days.join(", ")))
    }

    fn parameters(&self) -> Parameters<'_> {
        let mut all: Parameters<'_> = Vec::with_capacity(72);
        macro_rules! push {
            ($rows:expr; $($row:ident => $value:expr),* $(,)?) => { $( all.push(Box::new(column($rows, |$row| $value))); )* };
        }
        push!(&self.made;
            r => r.merchant.as_str(),
            r => r.id.0,
            r => r.terminal.as_str(),
            r => int4(r.batch.get()),
            r => int4(r.trace.get()),
            r => r.kind.code(),
            r => r.state.code(),
            r => fen(r.amount),
            r => r.adjusted.map(fen),
            r => int4(r.currency),
            r => card(r).map(|c| c.masked.as_str()),
            r => card(r).map(|c| c.digest.as_slice()),
            r => card(r).map(|c| c.sealed.as_slice()),
            r => r.expiry.map(|e| int4(e.yymm())),
            r => int4(r.entry_mode.code()),
            r => r.card_sequence.map(int4),
            r => int4(r.condition),
            r => int4(traits_number(r.terminal_traits)),
            r => r.request_digest.as_slice(),
            r => r.line.as_str(),
            r => int4(r.network.trace),
            r => r.network.transmission.cast_signed(),
            r => r.rrn.as_str(),
            r => r.original.map(|o| o.0),
            r => r.claimed_by.map(|c| c.0),
            r => fen(r.refunded),
            r => answer(r).map(|a| a.code.as_str()),
            r => answer(r).and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str()),
            r => answer(r).and_then(|a| a.settle_date).map(int4),
            r => answer(r).and_then(|a| a.issuer.as_deref()),
            r => answer(r).and_then(|a| a.balance.as_deref()),
            r => answer(r).and_then(|a| a.chip.as_deref()),
            r => answer(r).map(|a| millis(a.at)),
            r => r.reversal_reason.as_ref().map(|c| c.as_str()),
            r => i16::from(r.limited),
            r => millis(r.created),
            r => answer(r).and_then(|a| a.plan.as_deref()),
            r => r.reversed_on.map(int4),
            r => i16::from(r.foreign),
        );
        push!(&self.moved;
            m => m.0.merchant.as_str(),
            m => m.0.id.0,
            m => m.0.state.code(),
            m => m.0.claimed_by.map(|c| c.0),
            m => fen(m.0.refunded),
            m => answer(m.0).map(|a| a.code.as_str()),
            m => answer(m.0).and_then(|a| a.auth_code.as_ref()).map(|c| c.as_str()),
            m => answer(m.0).and_then(|a| a.settle_date).map(int4),
            m => answer(m.0).and_then(|a| a.issuer.as_deref()),
            m => answer(m.0).and_then(|a| a.balance.as_deref()),
            m => answer(m.0).and_then(|a| a.chip.as_deref()),
            m => answer(m.0).map(|a| millis(a.at)),
            m => m.0.reversal_reason.as_ref().map(|c| c.as_str()),
            m => m.0.adjusted.map(fen),
            m => answer(m.0).and_then(|a| a.plan.as_deref()),
            m => m.0.reversed_on.map(int4),
            m => m.1,
        );
        push!(&self.lines;
            l => l.line.of.0.as_str(),
            l => l.line.of.1.0,
            l => l.place,
            l => l.before,
            l => int4(l.line.day),
            l => millis(l.line.entry.at),
            l => l.line.entry.kind.code(),
            l => l.line.entry.bytes.as_slice(),
            l => l.line.entry.note.as_str(),
        );
        // A row that is new for certain needs no record in the server's log that confirms it.
        let begun: Vec<_> = self.made.iter().filter(|r| is_under_way(r.state)).copied().collect();
        let moved = self.moved.iter().map(|(record, _)| *record);
        let (resumed, ended): (Vec<_>, Vec<_>) = moved.partition(|record| is_under_way(record.state));
        for side in [begun, resumed, ended] {
            all.push(Box::new(side.iter().map(|r| r.merchant.as_str()).collect::<Vec<&str>>()));
            all.push(Box::new(side.iter().map(|r| r.id).map(|PaymentId(id)| id).collect::<Vec<i64>>()));
        }
        all.push(Box::new(i64::try_from(self.moved.len()).unwrap_or(i64::MAX)));
        all
    }

    /// Sends the statement and its commit behind it, in one exchange; with `begin`, the transaction's begin as well.
    /// When the statement fails the server undoes the transaction in place of committing it.
    ///
    /// The first is what the statement came to, the second what the commit did.
    pub(super) async fn commit(
        &self,
        client: &Client,
        statement: &Statement,
        begin: bool,
    ) -> (Result<(), Error>, Result<(), Error>) {
        let parameters = self.parameters();
        let references: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|p| &**p as &(dyn ToSql + Sync)).collect();
        let start = async {
            match begin {
                true => client.batch_execute("BEGIN").await,
                false => Ok(()),
            }
        };
        let write = async {
            match self.is_empty() {
                true => Ok(()),
                false => client.query_one(statement, &references).await.map(|_| ()),
            }
        };
        let (started, written, committed) =
            tokio::join!(biased; start, write, client.batch_execute("COMMIT"));
        (started.and(written), committed)
    }
}
