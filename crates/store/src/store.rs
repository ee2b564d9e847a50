//! The store as everybody above it sees it.

use std::path::Path;
use std::sync::Arc;

use acquiring::limit::{CardClass, Limit, LimitHold, LimitScope, Limits};
use acquiring::master::{Merchant, Terminal, TerminalSession, WorkingKeys};
use acquiring::payment::PaymentRecord;
use acquiring::settlement::{BatchTotals, DifferenceKind};
use acquiring::transition::Event;
use acquiring::{AuthCode, BatchNo, MerchantId, PaymentId, Rrn, TerminalId, Trace};
use jiff::Timestamp;

use crate::backend::Handles;
use crate::batches::Batch;
use crate::db::{Db, Key};
use crate::error::StoreError;
use crate::postgres::Mode;
use crate::types::{
    Applied, BatchFilter, BatchLine, Begun, CancelRequest, Cancelled, Counts, Difference, EndedBatch,
    ForwardFilter, ForwardItem, HistoryLine, JournalEntry, Page, PageOf, PartKept, PaymentFilter, Settlement,
    SettlementRecord, Signature, StoreOptions,
};
use crate::writer::{Admission, Touch, Writer};
use crate::{batches, days, forwards, limits, master, payments, postgres, search, signatures, sqlite};

/// The journal and the master data. Cheap to clone; every clone is the same store.
///
/// Any method may fail with [`StoreError::Failed`] once a commit has failed, with [`StoreError::Closed`]
/// after [`Store::close`], and a write to a store opened for reading with [`StoreError::ReadOnly`].
#[derive(Clone)]
pub struct Store {
    /// Nothing above this crate can tell which engine is behind it.
    pub(crate) db: Arc<Handles>,
}

impl Store {
    /// Opens the journal in a data directory, creates what is missing, and brings the schema up to date.
    ///
    /// # Errors
    /// The directory or file cannot be created or written; another process writes it; a newer release wrote
    /// it.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        Ok(Store { db: Arc::new(sqlite::open(options)?) })
    }

    /// Opens the journal for a short change of master data or of the queue, also while a server writes it.
    /// The server sees the change at its next look; payments are not for this door.
    ///
    /// # Errors
    /// As [`Store::open`], but never that another process writes; the schema must be the one that this
    /// program knows when a server is running.
    pub fn open_beside(options: StoreOptions) -> Result<Store, StoreError> {
        Ok(Store { db: Arc::new(sqlite::open_beside(options)?) })
    }

    /// Opens a journal for reading, also while a server writes it.
    ///
    /// # Errors
    /// There is no journal, or its schema is not the one that this program knows.
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<Store, StoreError> {
        Ok(Store { db: Arc::new(sqlite::open_read_only(directory.as_ref())?) })
    }

    /// Opens the store that a URL names: `sqlite:DIRECTORY`, or `postgres://user@host:port/database` for several
    /// nodes on one database. Of the options everything but the directory holds for both.
    ///
    /// # Errors
    /// As [`Store::open`]; the database does not answer or lets nobody in; the URL names no engine.
    pub fn open_url(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
        Self::open_as(url, options, Mode::Serve)
    }

    /// As [`Store::open_beside`], for a URL.
    ///
    /// # Errors
    /// As [`Store::open_url`]; a database that is not empty must have the schema that this program knows.
    pub fn open_url_beside(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
        Self::open_as(url, options, Mode::Beside)
    }

    /// As [`Store::open_read_only`], for a URL.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_url_read_only(url: &str) -> Result<Store, StoreError> {
        Self::open_as(url, StoreOptions { readers: 1, ..StoreOptions::new("") }, Mode::Read)
    }

    fn open_as(url: &str, options: StoreOptions, mode: Mode) -> Result<Store, StoreError> {
        days::check_kept(options.history_days, !url.starts_with("sqlite:"))?;
        let db = if let Some(directory) = url.strip_prefix("sqlite:") {
            let options = StoreOptions { directory: directory.into(), ..options };
            match mode {
                Mode::Serve => sqlite::open(options)?,
                Mode::Beside => sqlite::open_beside(options)?,
                Mode::Read => sqlite::open_read_only(&options.directory)?,
            }
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            postgres::open(url, options, mode)?
        } else {
            let rule = "the address of a store begins with sqlite: or postgres://";
            return Err(StoreError::Misuse { rule });
        };
        Ok(Store { db: Arc::new(db) })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn of(handles: Handles) -> Store {
        Store { db: Arc::new(handles) }
    }

    /// Several nodes may work on this store, so that what a node has in memory may have changed behind it.
    pub fn is_shared(&self) -> bool {
        self.db.shared
    }

    /// Finishes the writes that wait, and closes the store for every clone.
    pub async fn close(self) {
        self.db.close().await;
    }

    /// Whether new work would be taken now: asked before anything is spent on a request that would be refused.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when what was accepted does not come through in time.
    pub fn admits(&self) -> Result<(), StoreError> {
        self.db.writer.as_ref().map_or(Ok(()), Writer::admits)
    }

    /// A commit or flush has failed: the node must stop.
    pub fn is_failed(&self) -> bool {
        self.db.writer.as_ref().is_some_and(|writer| writer.is_failed())
    }

    /// Resolves when a commit or flush has failed. The node must stop then and start again from the
    /// journal; it must never try an operation again, since it cannot know what is on the disk.
    pub async fn failed(&self) {
        match &self.db.writer {
            Some(writer) => writer.failed().await,
            None => std::future::pending().await,
        }
    }

    // Numbers.

    /// Takes `count` numbers of a durable sequence and returns the first; numbers begin at 1. Those not used
    /// before a restart are gaps that the kept blocks explain.
    pub async fn reserve_numbers(&self, name: &str, count: u32) -> Result<i64, StoreError> {
        let (name, now) = (name.to_owned(), self.db.now());
        self.db
            .write(Admission::Wait, Vec::new(), move |db| master::reserve_numbers(db, &name, count, now))
            .await
    }

    // Payments.

    /// Makes an intent durable, before anything leaves for the network.
    ///
    /// In one transaction: a payment with the same merchant, terminal, batch and trace is returned as it
    /// stands; one whose reversal came first is refused with 25; one that voids or refunds another takes
    /// hold of it, or is refused by the rules of [`acquiring::transition::take_hold`].
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] at once when too much work waits; [`StoreError::Conflict`] when the
    /// payment number was used before.
    pub async fn begin(
        &self,
        intent: PaymentRecord,
        entries: Vec<JournalEntry>,
    ) -> Result<Begun, StoreError> {
        self.begin_within(intent, Vec::new(), entries).await
    }

    /// As [`Store::begin`], for a payment under limits: it takes its part of each, or is refused with 61 or 65 and
    /// takes nothing. What it took is given back when it is declined or reversed, in the transaction that says so.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn begin_within(
        &self,
        intent: PaymentRecord,
        holds: Vec<LimitHold>,
        entries: Vec<JournalEntry>,
    ) -> Result<Begun, StoreError> {
        let mut touches = vec![Touch::Key(Key::of(&intent))];
        touches.extend(intent.original.map(|original| Touch::Payment(intent.merchant, original)));
        self.db
            .write(Admission::Refuse, touches, move |db| payments::begin(db, &intent, &holds, &entries))
            .await
    }

    /// Journals what the terminal approved by itself (offline sale, adjustment, tip) and queues it toward the
    /// network, in one transaction; repeats and the rules of its original as in [`Store::begin`]. `payload` is sealed
    /// chip data for its message.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn advise(
        &self,
        told: PaymentRecord,
        payload: Option<Vec<u8>>,
        entries: Vec<JournalEntry>,
    ) -> Result<Begun, StoreError> {
        let mut touches = vec![Touch::Key(Key::of(&told))];
        touches.extend(told.original.map(|original| Touch::Payment(told.merchant, original)));
        let op = move |db: &dyn Db| payments::advise(db, &told, payload.as_deref(), &entries);
        self.db.write(Admission::Refuse, touches, op).await
    }

    /// Queues what became of the commands for the chip of a payment, sealed, once; `false` when it was queued before.
    ///
    /// # Errors
    /// [`StoreError::UnknownPayment`].
    pub async fn forward_script(
        &self,
        merchant: MerchantId,
        id: PaymentId,
        payload: Vec<u8>,
        entries: Vec<JournalEntry>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let op = move |db: &dyn Db| forwards::script(db, merchant, id, &payload, &entries, at);
        self.db.write(Admission::Wait, vec![Touch::Payment(merchant, id)], op).await
    }

    /// Journals a request that our own rules refused: declined, with its answer, never sent.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub async fn declined(
        &self,
        record: PaymentRecord,
        entries: Vec<JournalEntry>,
    ) -> Result<Begun, StoreError> {
        let touches = vec![Touch::Key(Key::of(&record))];
        self.db.write(Admission::Refuse, touches, move |db| payments::declined(db, &record, &entries)).await
    }

    /// Shows an event to a payment and keeps what it moves: the payment, its original, and what must be
    /// forwarded to the network from `forward_at` on. The entries are kept also when nothing moves.
    ///
    /// When the payment moves, the history says so: as the note of the last entry when that is a message
    /// without one, else on a line of its own.
    ///
    /// # Errors
    /// [`StoreError::UnknownPayment`].
    pub async fn apply(
        &self,
        merchant: MerchantId,
        id: PaymentId,
        event: Event,
        entries: Vec<JournalEntry>,
        forward_at: Timestamp,
    ) -> Result<Applied, StoreError> {
        let op = move |db: &dyn Db| payments::apply(db, merchant, id, &event, &entries, forward_at);
        self.db.write(Admission::Wait, vec![Touch::Payment(merchant, id)], op).await
    }

    /// Takes a terminal's reversal. The forward to the network is due at once.
    pub async fn cancel(
        &self,
        request: CancelRequest,
        entries: Vec<JournalEntry>,
    ) -> Result<Cancelled, StoreError> {
        let key = Key {
            merchant: request.merchant,
            terminal: request.terminal,
            batch: request.batch,
            trace: request.trace,
        };
        let op = move |db: &dyn Db| payments::cancel(db, &request, &entries);
        self.db.write(Admission::Wait, vec![Touch::Key(key)], op).await
    }

    /// Appends to the history of a payment.
    ///
    /// # Errors
    /// [`StoreError::UnknownPayment`].
    pub async fn append(
        &self,
        merchant: MerchantId,
        id: PaymentId,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let op = move |db: &dyn Db| payments::append_checked(db, merchant, id, &entries);
        self.db.write(Admission::Wait, vec![Touch::History(merchant, id)], op).await
    }

    /// Appends a line to the history of each payment, in one transaction; how many of them do not exist.
    pub async fn append_each(&self, lines: Vec<HistoryLine>) -> Result<usize, StoreError> {
        let touches = lines.iter().map(|(merchant, id, _)| Touch::History(*merchant, *id)).collect();
        self.db.write(Admission::Wait, touches, move |db| payments::append_each(db, &lines)).await
    }

    /// Keeps a message of the network that belongs to no payment: masked bytes and a note for the operator.
    pub async fn record_unmatched(
        &self,
        line: &str,
        at: Timestamp,
        masked: Vec<u8>,
        note: &str,
    ) -> Result<(), StoreError> {
        let (line, note) = (line.to_owned(), note.to_owned());
        let op = move |db: &dyn Db| master::record_unmatched(db, &line, at, &masked, &note);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// The payment that a terminal knows by these numbers.
    pub async fn by_trace(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
        trace: Trace,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        let key = Key { merchant, terminal, batch, trace };
        self.db.read(move |db| payments::by_trace(db, key)).await
    }

    /// The highest trace number of a terminal's batch in the journal.
    pub async fn highest_trace(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
    ) -> Result<Option<Trace>, StoreError> {
        self.db.read(move |db| payments::highest_trace(db, merchant, terminal, batch)).await
    }

    /// The newest payment with this reference number.
    pub async fn by_reference(
        &self,
        merchant: MerchantId,
        rrn: Rrn,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        self.db.read(move |db| payments::by_reference(db, merchant, rrn)).await
    }

    /// The pre-authorisations of a card with this authorisation number, the newest first (at most 20). `card` is the
    /// digest of its number.
    pub async fn by_authorisation(
        &self,
        merchant: MerchantId,
        code: AuthCode,
        card: [u8; 32],
    ) -> Result<Vec<PaymentRecord>, StoreError> {
        self.db.read(move |db| payments::by_authorisation(db, merchant, code, &card)).await
    }

    /// The payment with our number.
    pub async fn by_id(
        &self,
        merchant: MerchantId,
        id: PaymentId,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        self.db.read(move |db| payments::by_id(db, merchant, id)).await
    }

    /// The newest payment since `since` that the network knows by this trace number (and reference number,
    /// when the message told it). For late and unmatched answers; not on the payment path.
    pub async fn by_network_key(
        &self,
        line: &str,
        trace: u32,
        rrn: Option<Rrn>,
        since: Timestamp,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        let line = line.to_owned();
        self.db.read(move |db| payments::by_network_key(db, &line, trace, rrn, since)).await
    }

    /// Payments still pending that began before `at`, the oldest first: what a crash left behind.
    pub async fn pending_before(
        &self,
        at: Timestamp,
        limit: usize,
    ) -> Result<Vec<PaymentRecord>, StoreError> {
        self.db.read(move |db| payments::pending_before(db, at, limit)).await
    }

    // Store-and-forward.

    /// The first item that waits on a line, due or not.
    pub async fn next_forward(&self, line: &str) -> Result<Option<ForwardItem>, StoreError> {
        let line = line.to_owned();
        self.db.read(move |db| forwards::head(db, &line)).await
    }

    /// The network acknowledged an item: it is finished, and its payment takes the event, in one
    /// transaction.
    pub async fn forward_done(
        &self,
        item: &ForwardItem,
        event: Event,
        entries: Vec<JournalEntry>,
        at: Timestamp,
    ) -> Result<Applied, StoreError> {
        let item = item.clone();
        self.db
            .write(Admission::Wait, Vec::new(), move |db| forwards::done(db, &item, &event, &entries, at))
            .await
    }

    /// An attempt came to nothing: the next is due at `next_at`; the item keeps its place. `left` when the message
    /// may have reached the network, so that the next sending of it is a repeat.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is finished.
    pub async fn forward_failed(
        &self,
        item: &ForwardItem,
        left: bool,
        next_at: Timestamp,
        note: &str,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let (item, note) = (item.clone(), note.to_owned());
        let op = move |db: &dyn Db| forwards::failed(db, &item, left, next_at, &note, &entries);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// The network refused the message of an item. The next attempt is due at `next_at` and is a new message,
    /// composed at `message_at`: a repeat would be answered as the first was. The item keeps its place.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is finished.
    pub async fn forward_refused(
        &self,
        item: &ForwardItem,
        message_at: Timestamp,
        next_at: Timestamp,
        note: &str,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let (item, note) = (item.clone(), note.to_owned());
        let op = move |db: &dyn Db| forwards::refused(db, &item, message_at, next_at, &note, &entries);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    /// Takes an item that the network refused out of the order, for an operator to judge.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is finished.
    pub async fn park_forward(
        &self,
        item: &ForwardItem,
        note: &str,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let (item, note) = (item.clone(), note.to_owned());
        self.db
            .write(Admission::Wait, Vec::new(), move |db| {
                forwards::park(db, &item, item.refusals.saturating_add(1), &note, &entries)
            })
            .await
    }

    /// Puts a parked item back to its place, due at once: as a new message when the network had refused it, as the same
    /// when it had not answered.
    ///
    /// # Errors
    /// [`StoreError::UnknownForward`] when it is not parked.
    pub async fn release_forward(&self, line: &str, sequence: i64) -> Result<(), StoreError> {
        let (line, now) = (line.to_owned(), self.db.now());
        self.db
            .write(Admission::Wait, Vec::new(), move |db| forwards::release(db, &line, sequence, now))
            .await
    }

    /// Open items, by line and order.
    pub async fn forwards(
        &self,
        filter: ForwardFilter,
        page: Page,
    ) -> Result<PageOf<ForwardItem>, StoreError> {
        self.db.read(move |db| forwards::list(db, &filter, &page)).await
    }

    /// How many items wait on a line, parked ones not counted.
    pub async fn forward_depth(&self, line: &str) -> Result<u64, StoreError> {
        let line = line.to_owned();
        self.db.read(move |db| forwards::depth(db, &line)).await
    }

    // Limits.

    /// The limits in force and the table that tells kinds of cards.
    pub async fn limits(&self) -> Result<Limits, StoreError> {
        self.db.read(limits::load).await
    }

    /// Writes a limit in the place of the one with its scope; a node takes it up within a second.
    ///
    /// # Errors
    /// [`StoreError::Misuse`] for a limit without a figure.
    pub async fn put_limit(&self, limit: &Limit) -> Result<(), StoreError> {
        let limit = *limit;
        limits::check(&limit)?;
        self.db.write(Admission::Wait, Vec::new(), move |db| limits::put(db, &limit)).await
    }

    /// Takes a limit away; `false` when there was none with this scope.
    pub async fn remove_limit(&self, scope: &LimitScope) -> Result<bool, StoreError> {
        let scope = *scope;
        self.db.write(Admission::Wait, Vec::new(), move |db| limits::remove(db, &scope)).await
    }

    /// Says what card numbers with these first digits are; `None` takes it back.
    pub async fn put_bin(&self, digits: &str, class: Option<CardClass>) -> Result<(), StoreError> {
        let digits = digits.to_owned();
        self.db.write(Admission::Wait, Vec::new(), move |db| limits::put_bin(db, &digits, class)).await
    }

    /// What a merchant's day (YYYYMMDD) came to under a limit: sum in fen, and count.
    pub async fn limit_used(
        &self,
        merchant: MerchantId,
        scope: &LimitScope,
        day: u32,
    ) -> Result<(i64, i64), StoreError> {
        let scope = scope.text();
        self.db.read(move |db| limits::used(db, merchant, &scope, day)).await
    }

    // Master data.

    /// Creates or changes a merchant.
    pub async fn put_merchant(&self, merchant: &Merchant) -> Result<(), StoreError> {
        let merchant = merchant.clone();
        self.db.write(Admission::Wait, Vec::new(), move |db| master::put_merchant(db, &merchant)).await
    }

    /// Creates or changes a terminal's master data. The session of a terminal that exists stays, unless the
    /// master key changes: then it must sign in anew, and only its batch goes on.
    ///
    /// # Errors
    /// [`StoreError::UnknownMerchant`].
    pub async fn put_terminal(&self, terminal: &Terminal) -> Result<(), StoreError> {
        let terminal = terminal.clone();
        self.db.write(Admission::Wait, Vec::new(), move |db| master::put_terminal(db, &terminal)).await
    }

    /// Every merchant.
    pub async fn merchants(&self) -> Result<Vec<Merchant>, StoreError> {
        self.db.read(master::merchants).await
    }

    /// Every terminal with its session.
    pub async fn terminals(&self) -> Result<Vec<Terminal>, StoreError> {
        self.db.read(master::terminals).await
    }

    /// One terminal with its session.
    pub async fn terminal(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<Option<Terminal>, StoreError> {
        self.db.read(move |db| master::terminal_of(db, merchant, terminal)).await
    }

    /// Goes up with every change of a merchant or a terminal's master data; sessions do not count. A node
    /// reads master data again when it differs from what it has in memory.
    pub async fn master_version(&self) -> Result<i64, StoreError> {
        self.db.read(master::master_version).await
    }

    /// Keeps the keys of a sign-in; the keys before them stay good until [`Store::drop_previous_keys`].
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`].
    pub async fn save_sign_in(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        keys: &WorkingKeys,
        at: Timestamp,
    ) -> Result<TerminalSession, StoreError> {
        let keys = keys.clone();
        self.session(merchant, terminal, move |session| {
            // Keys that never verified a message may not have reached the terminal: the ones before them stay.
            let newest = session.keys.replace(keys.clone());
            if session.previous_keys.is_none() {
                session.previous_keys = newest;
                session.previous_signed_in_at = session.signed_in_at;
            }
            session.signed_in_at = Some(at);
        })
        .await
    }

    /// A message verified under the keys with this MAC key: those before them are worth nothing now. When the terminal has
    /// signed in once more since, nothing is dropped: those keys are what it falls back on.
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`].
    pub async fn drop_previous_keys(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        proved: String,
    ) -> Result<TerminalSession, StoreError> {
        let change = move |session: &mut TerminalSession| {
            if session.keys.as_ref().is_some_and(|newest| newest.mac == proved) {
                session.previous_keys = None;
                session.previous_signed_in_at = None;
            }
        };
        self.session(merchant, terminal, change).await
    }

    /// The terminal signed off: it must sign in before its next transaction. The keys stay, so that a
    /// repeat of the sign-off can still be verified; the engine judges by `signed_in_at`.
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`].
    pub async fn save_sign_off(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
    ) -> Result<TerminalSession, StoreError> {
        let off = |session: &mut TerminalSession| {
            session.signed_in_at = None;
            session.previous_signed_in_at = None;
        };
        self.session(merchant, terminal, off).await
    }

    async fn session(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        change: impl Fn(&mut TerminalSession) + Send + 'static,
    ) -> Result<TerminalSession, StoreError> {
        let op = move |db: &dyn Db| master::change_session(db, merchant, terminal, &change);
        self.db.write(Admission::Wait, Vec::new(), op).await
    }

    // Settlement.

    /// The journal's totals of a batch.
    pub async fn batch_totals(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
    ) -> Result<BatchTotals, StoreError> {
        let of = Batch { merchant, terminal, batch };
        self.db.read(move |db| batches::totals(db, of)).await
    }

    /// Keeps a settlement request and its result. For the same batch again it replaces the figures, and the
    /// batch's history says what they were.
    pub async fn record_settlement(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.db.write(Admission::Wait, Vec::new(), move |db| batches::record(db, &settlement)).await
    }

    /// Compares one uploaded detail with the journal, marks the payment as uploaded, and keeps what differs.
    /// The same line again changes nothing.
    pub async fn batch_line(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
        line: BatchLine,
    ) -> Result<Option<DifferenceKind>, StoreError> {
        let of = Batch { merchant, terminal, batch };
        self.db.write(Admission::Wait, Vec::new(), move |db| batches::line(db, of, &line)).await
    }

    /// Ends a batch. When it did not balance, payments that the terminal did not upload become differences.
    /// The terminal goes on to the next batch. Ended again, it says the same again.
    ///
    /// # Errors
    /// [`StoreError::UnknownTerminal`].
    pub async fn end_batch(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
        uploaded: u32,
        balanced: bool,
        at: Timestamp,
    ) -> Result<EndedBatch, StoreError> {
        let of = Batch { merchant, terminal, batch };
        self.db
            .write(Admission::Wait, Vec::new(), move |db| batches::end(db, of, uploaded, balanced, at))
            .await
    }

    /// Settled batches, the newest first.
    pub async fn settlements(
        &self,
        filter: BatchFilter,
        page: Page,
    ) -> Result<PageOf<SettlementRecord>, StoreError> {
        self.db.read(move |db| batches::settlements(db, &filter, &page)).await
    }

    /// Differences between terminals and the journal, the newest first.
    pub async fn differences(
        &self,
        filter: BatchFilter,
        page: Page,
    ) -> Result<PageOf<Difference>, StoreError> {
        self.db.read(move |db| batches::differences(db, &filter, &page)).await
    }

    /// Messages and notes of a batch's settlement, in order.
    pub async fn batch_history(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let of = Batch { merchant, terminal, batch };
        self.db.read(move |db| batches::history(db, of)).await
    }

    /// Appends to the history of a batch's settlement.
    pub async fn batch_note(
        &self,
        merchant: MerchantId,
        terminal: TerminalId,
        batch: BatchNo,
        entries: Vec<JournalEntry>,
    ) -> Result<(), StoreError> {
        let of = Batch { merchant, terminal, batch };
        self.db.write(Admission::Wait, Vec::new(), move |db| batches::note(db, of, &entries)).await
    }

    // E-signatures.

    /// Keeps a part of the e-signature of a payment; the image is sealed by the caller.
    ///
    /// # Errors
    /// [`StoreError::UnknownPayment`].
    pub async fn put_signature(
        &self,
        merchant: MerchantId,
        id: PaymentId,
        code: u16,
        image: Vec<u8>,
        entries: Vec<JournalEntry>,
        at: Timestamp,
    ) -> Result<PartKept, StoreError> {
        let op = move |db: &dyn Db| signatures::put(db, merchant, id, code, &image, &entries, at);
        self.db.write(Admission::Wait, vec![Touch::Payment(merchant, id)], op).await
    }

    /// The e-signature of a payment, as far as it came.
    pub async fn signature(
        &self,
        merchant: MerchantId,
        id: PaymentId,
    ) -> Result<Option<Signature>, StoreError> {
        self.db.read(move |db| signatures::of(db, merchant, id)).await
    }

    // For people.

    /// Payments that fit the filter, the newest first.
    ///
    /// # Errors
    /// [`StoreError::BadCursor`].
    pub async fn find(&self, filter: PaymentFilter, page: Page) -> Result<PageOf<PaymentRecord>, StoreError> {
        self.db.read(move |db| search::find(db, &filter, &page)).await
    }

    /// Messages and notes of a payment, in order.
    pub async fn history(
        &self,
        merchant: MerchantId,
        id: PaymentId,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.db.read(move |db| db.history(merchant, id)).await
    }

    /// The first message to the network about a payment, however long its history has become.
    pub async fn first_sent(
        &self,
        merchant: MerchantId,
        id: PaymentId,
    ) -> Result<Option<JournalEntry>, StoreError> {
        self.db.read(move |db| db.first_sent(merchant, id)).await
    }

    /// How the journal stands: payments by state since a moment, and everything that is open.
    pub async fn counts(&self, since: Timestamp) -> Result<Counts, StoreError> {
        self.db.read(move |db| search::counts(db, since)).await
    }
}
