//! What goes into the store and comes out of it, apart from the field's own nouns.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acquiring::download::{Demand, List};
use acquiring::kind::Kind;
use acquiring::payment::PaymentState;
use acquiring::settlement::{BatchTotals, BlockResult, DifferenceKind};
use acquiring::transition::{Change, Forward};
use acquiring::{
    Amount, BatchNo, Clock, MerchantId, PaymentId, PaymentRecord, ResponseCode, SystemClock, TerminalId,
    Trace,
};
use jiff::Timestamp;

pub use acquiring::payment::JournalEntry;

/// Name of the journal in the data directory.
pub const JOURNAL_FILE: &str = "journal.db";

/// A line for the history of a payment.
pub type HistoryLine = (MerchantId, PaymentId, JournalEntry);

/// Most rows that one page holds.
pub const PAGE_MAX: usize = 500;

/// The fewest days for which history can be kept: a refund or a completion may reach thirty days back, and add to the
/// history of its original.
pub const HISTORY_DAYS_MIN: u32 = 31;

/// The history of the payments of one day, where history is kept by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryDay {
    /// The day, YYYYMMDD in Beijing; none for the place of what has no day yet.
    pub day: Option<u32>,
    /// A part of the history; else it was detached, and waits to be copied and dropped.
    pub attached: bool,
    /// On the disk, with its index.
    pub bytes: u64,
    /// Lines of history.
    pub lines: u64,
}

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// The data directory; created when missing.
    pub directory: PathBuf,
    /// Connections that read beside the writer.
    pub readers: usize,
    /// Operations that may wait for the writer. Above it new payments are refused.
    pub queue: usize,
    /// Most operations that share a commit.
    pub group_max: usize,
    /// The longest time of an operation: when none was quicker for a while and more than a group is under way, new
    /// payments are refused.
    pub wait_max: Duration,
    /// How many days of history are kept before today's; for ever when none is said. PostgreSQL only, and at least
    /// [`HISTORY_DAYS_MIN`].
    pub history_days: Option<u32>,
    /// The longest time of an answer of the database's server, after which one that does not say what it waits for has
    /// failed: a node stops then, as when the connection ends, and a read comes to nothing. PostgreSQL only.
    pub answer_max: Duration,
    /// Time of what happens inside the store: reserved number blocks, migrations, released forwards.
    pub clock: Arc<dyn Clock>,
}

impl StoreOptions {
    /// The usual figures. 4,096 waiting operations are about a quarter of a second of work; groups of 256
    /// share the cost of a flush well while none waits long for the others. A server is waited for 30 seconds: the
    /// slowest disk has flushed by then, and terminals have long given up their payments and would rather be served by
    /// another node.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        StoreOptions {
            directory: directory.into(),
            readers: 2,
            queue: 4_096,
            group_max: 256,
            wait_max: Duration::from_millis(200),
            history_days: None,
            answer_max: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What became of a payment that was to be journaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is durable and may go on its way.
    Journaled,
    /// Its key (merchant, terminal, batch, trace) is known already: this is what stands there.
    Existing(Box<PaymentRecord>),
    /// The rules refused it; it is journaled as declined, with the answer.
    Refused(Box<PaymentRecord>),
}

/// What an event did to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The payment after it.
    pub record: PaymentRecord,
    /// What moved and how the event was received.
    pub change: Change,
}

/// A terminal's reversal (冲正), which names the payment by the numbers that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// Merchant, field 42.
    pub merchant: MerchantId,
    /// Terminal, field 41.
    pub terminal: TerminalId,
    /// Batch, 60.2.
    pub batch: BatchNo,
    /// Trace number, field 11: the original's.
    pub trace: Trace,
    /// Amount, field 4: the original's.
    pub amount: Amount,
    /// Field 39 of the reversal: 98, 06, A0.
    pub reason: ResponseCode,
    /// Sealed chip data of the reversal, kept beside its queue item until the network has it.
    pub payload: Option<Vec<u8>>,
    /// When it came.
    pub at: Timestamp,
}

/// What became of a terminal's reversal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// No such payment: remembered, so that it is refused should it still come.
    Unknown,
    /// The payment has another amount; nothing moved.
    AmountDiffers(Box<PaymentRecord>),
    /// The payment took the event.
    Applied(Box<Applied>),
}

/// One item of store-and-forward: what must reach the network until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardItem {
    /// Line toward the network.
    pub line: String,
    /// Order on the line, ascending from 1.
    pub sequence: i64,
    /// Merchant of the payment.
    pub merchant: MerchantId,
    /// The payment.
    pub payment: PaymentId,
    /// The payment on which it stands in the end, or itself: within a family order matters.
    pub family: PaymentId,
    /// What to send.
    pub action: Forward,
    /// How often it was sent without success.
    pub attempts: u32,
    /// How often the network has refused it since it was queued, released, or parked without an answer.
    pub refusals: u32,
    /// When the present message was composed: its transmission time, the same in every repeat of it.
    pub message_at: Timestamp,
    /// How often the present message was sent without an answer.
    pub message_tries: u32,
    /// When to send it, at the earliest.
    pub next_at: Timestamp,
    /// Taken out of the order, for an operator to judge.
    pub parked: bool,
    /// What the last attempt came to, empty before the first.
    pub last_note: String,
    /// When it was queued.
    pub created: Timestamp,
    /// What its message needs and the journal does not keep: chip data, sealed by the security module.
    pub payload: Option<Vec<u8>>,
}

/// Which open items of store-and-forward to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardFilter {
    /// Only this line.
    pub line: Option<String>,
    /// Only parked ones, or only waiting ones.
    pub parked: Option<bool>,
}

/// A terminal's settlement request and our own totals of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Merchant, field 42.
    pub merchant: MerchantId,
    /// Terminal, field 41.
    pub terminal: TerminalId,
    /// Batch, 60.2.
    pub batch: BatchNo,
    /// When.
    pub at: Timestamp,
    /// Field 48 of the request.
    pub terminal_totals: BatchTotals,
    /// The journal's totals.
    pub host_totals: BatchTotals,
    /// Result for domestic cards.
    pub domestic: BlockResult,
    /// Result for foreign cards.
    pub foreign: BlockResult,
    /// Messages and notes.
    pub entries: Vec<JournalEntry>,
}

/// A batch as its settlement left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementRecord {
    /// Merchant.
    pub merchant: MerchantId,
    /// Terminal.
    pub terminal: TerminalId,
    /// Batch.
    pub batch: BatchNo,
    /// When the newest settlement request came.
    pub at: Timestamp,
    /// How many requests came for this batch.
    pub times: u32,
    /// The terminal's totals.
    pub terminal_totals: BatchTotals,
    /// The journal's totals.
    pub host_totals: BatchTotals,
    /// Result for domestic cards.
    pub domestic: BlockResult,
    /// Result for foreign cards.
    pub foreign: BlockResult,
    /// How the batch was ended, when it was.
    pub end: Option<BatchEnd>,
}

/// The end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// When.
    pub at: Timestamp,
    /// Details the terminal says it uploaded.
    pub uploaded: u32,
    /// The end message was that of a balanced batch (207), not of an unbalanced one (202).
    pub balanced: bool,
}

/// One uploaded detail (批上送) of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLine {
    /// Trace number of the payment.
    pub trace: Trace,
    /// Keyed digest of the account number, when the line carries one.
    pub card_digest: Option<[u8; 32]>,
    /// Amount.
    pub amount: Amount,
    /// Card class: 01, a foreign card, in place of 00; none where the upload has no place for it.
    pub foreign: Option<bool>,
    /// When it came.
    pub at: Timestamp,
    /// Which upload brought it: magnetic, chip or offline.
    pub kind: Kind,
}

/// A difference between terminal and journal, for an operator to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Merchant.
    pub merchant: MerchantId,
    /// Terminal.
    pub terminal: TerminalId,
    /// Batch.
    pub batch: BatchNo,
    /// Trace number of the payment.
    pub trace: Trace,
    /// What differs.
    pub kind: DifferenceKind,
    /// The payment in the journal, when there is one.
    pub payment: Option<PaymentId>,
    /// Amount at the terminal, when it uploaded the payment.
    pub terminal_amount: Option<Amount>,
    /// Amount in the journal, when it has the payment.
    pub host_amount: Option<Amount>,
    /// When it was found.
    pub at: Timestamp,
}

/// What became of a part of an e-signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKept {
    /// Kept; more are to come.
    More,
    /// Kept, and it was the one that was missing.
    Complete,
    /// The signature was complete before; nothing changed.
    Known,
}

/// An e-signature as far as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The parts in their order; opened and joined, they are feature code and image.
    pub parts: Vec<SignaturePart>,
    /// Every part is there.
    pub complete: bool,
    /// When the newest part came.
    pub at: Timestamp,
}

/// A part of an e-signature, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturePart {
    /// The merchant of its payment.
    pub merchant: MerchantId,
    /// Its payment.
    pub payment: PaymentId,
    /// Its code, 809 down to 800.
    pub code: u16,
    /// What the terminal sent, sealed unless it says otherwise.
    pub image: Vec<u8>,
    /// Kept before images were sealed, and not sealed since.
    pub clear: bool,
}

/// A batch that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedBatch {
    /// The batch that follows.
    pub next: BatchNo,
    /// Everything that differed.
    pub differences: Vec<Difference>,
}

/// Which settlements or differences to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Only this merchant.
    pub merchant: Option<MerchantId>,
    /// Only this terminal.
    pub terminal: Option<TerminalId>,
    /// Only this batch.
    pub batch: Option<BatchNo>,
}

/// Which payments to list; everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Any number of a payment: ours, reference number, trace number, authorisation code, trace number
    /// toward the network, or a masked account number.
    pub text: Option<String>,
    /// Only the payment with this number of ours.
    pub id: Option<PaymentId>,
    /// Only this merchant.
    pub merchant: Option<MerchantId>,
    /// Only this terminal.
    pub terminal: Option<TerminalId>,
    /// Only this batch.
    pub batch: Option<BatchNo>,
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this state.
    pub state: Option<PaymentState>,
    /// Created at this moment or later.
    pub from: Option<Timestamp>,
    /// Created before this moment.
    pub to: Option<Timestamp>,
    /// At least this much.
    pub amount_min: Option<Amount>,
    /// At most this much.
    pub amount_max: Option<Amount>,
    /// Only this card, by its keyed digest.
    pub card_digest: Option<[u8; 32]>,
    /// Only what the network settles on this date, MMDD.
    pub settle_date: Option<u16>,
    /// Only what voids or refunds this payment.
    pub original: Option<PaymentId>,
}

/// Where a page ends and the next begins. Opaque; goes through a link as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) String);

impl Cursor {
    /// Takes the text back. Whether it is a good one is found when the page is read.
    pub fn from_text(text: impl Into<String>) -> Self {
        Cursor(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows, 1 to [`PAGE_MAX`]; more is cut to it.
    pub limit: usize,
    /// The page after this marker; `None` for the first.
    pub after: Option<Cursor>,
}

impl Page {
    /// The first page.
    pub fn first(limit: usize) -> Self {
        Page { limit, after: None }
    }

    pub(crate) fn rows(&self) -> usize {
        self.limit.clamp(1, PAGE_MAX)
    }
}

impl Default for Page {
    fn default() -> Self {
        Page::first(50)
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOf<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Marker of the next page, when there is one.
    pub next: Option<Cursor>,
}

/// How the journal stands, for the health page and the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payments by state, created since the asked moment; states without a payment are left out.
    pub payments: Vec<(PaymentState, u64)>,
    /// Payments under way, whenever they were created: pending, unresolved, reversing.
    pub open: Vec<(PaymentState, u64)>,
    /// Waiting items of store-and-forward.
    pub waiting: u64,
    /// Parked ones.
    pub parked: u64,
    /// Differences found by settlements.
    pub differences: u64,
    /// Messages of the network that belong to no payment.
    pub unmatched: u64,
}

/// A list as a terminal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldList {
    /// The list.
    pub list: List,
    /// The version that it fetched, or is fetching.
    pub begun: i64,
    /// The version whose end message came; 0 for none.
    pub held: i64,
    /// When it came.
    pub held_at: Option<Timestamp>,
}

/// Something demanded of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalDemand {
    /// The merchant it stands at.
    pub merchant: MerchantId,
    /// The terminal.
    pub terminal: TerminalId,
    /// What it is to do.
    pub demand: Demand,
    /// When an operator asked for it.
    pub asked_at: Timestamp,
    /// When the terminal had done it.
    pub done_at: Option<Timestamp>,
}

/// The status that a terminal uploaded (状态上送).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalStatus {
    /// When.
    pub at: Timestamp,
    /// Field 62 as it came.
    pub items: Vec<u8>,
}

/// The master keys of a node among those that share a store, by their fingerprints: nothing of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// Name of this run of the node.
    pub node: String,
    /// The machine that it runs on.
    pub machine: String,
    /// The one that it makes new keys under.
    pub wraps: String,
    /// All that it opens keys of.
    pub opens: Vec<String>,
}

impl NodeKeys {
    /// Whether it opens keys under this master key.
    pub fn has(&self, master: &str) -> bool {
        self.opens.iter().any(|one| one == master)
    }
}
