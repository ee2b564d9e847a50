//! Starting, holding and stopping a simulator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hsm::Hsm;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::books::BooksFile;
use crate::config::SimConfig;
use crate::crypto::Vault;
use crate::error::SimError;
use crate::faults::{FaultBoard, FaultSettings};
use crate::line::MemberLine;
use crate::net::{self, Shell};
use crate::network::{Event, Network};
use crate::record::{self, CardView, DayTotals, RecordLine};
use crate::service::{Core, Service};
use crate::time::{Clock, SettleDate, SystemClock, TimeOfDay};

/// How long a shutdown waits for connections to end; a browser may hold one open.
const SHUTDOWN_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// How the simulator stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Where members connect.
    pub listen: SocketAddr,
    /// The member's listener as configured.
    pub member_listener: String,
    /// The member's listener is connected.
    pub member_line_up: bool,
    /// Connections of members now.
    pub connections: usize,
    /// The member is signed on.
    pub signed_on: bool,
    /// Both zone keys have been exchanged.
    pub has_keys: bool,
    /// Check value of the zone master key.
    pub zmk_check_value: String,
    /// Settlement day.
    pub day: SettleDate,
    /// Frames of members so far, those that a fault or the mute switch swallowed included.
    pub frames: u64,
    /// Transactions in the record.
    pub transactions: usize,
    /// Sum over all accounts of the books; zero, or the books are wrong.
    pub trial_balance: i64,
}

/// A running simulator. Dropping it leaves it running until the runtime ends; [`SimHandle::shutdown`] stops it.
#[derive(Clone)]
pub struct SimHandle {
    shell: Shell,
    addr: SocketAddr,
    control: Option<SocketAddr>,
}

impl std::fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimHandle").field("addr", &self.addr).field("control", &self.control).finish()
    }
}

/// Starts a simulator on the machine's clock.
///
/// # Errors
///
/// An address is taken, a configured value is not usable, or the books file does not read.
pub async fn start(config: SimConfig, hsm: Arc<dyn Hsm>) -> Result<SimHandle, SimError> {
    start_with_clock(config, hsm, Arc::new(SystemClock)).await
}

/// Starts a simulator on any clock. Timers (late answers, heartbeats) run on the runtime's time all the same.
///
/// # Errors
///
/// As [`start`].
pub async fn start_with_clock(
    config: SimConfig,
    hsm: Arc<dyn Hsm>,
    clock: Arc<dyn Clock>,
) -> Result<SimHandle, SimError> {
    check(&config)?;
    let vault = Vault::open(hsm, &config)?;
    let core = open_core(&config, &*clock)?;
    let bind = |address: SocketAddr, what| async move {
        TcpListener::bind(address).await.map_err(|source| SimError::Listen { address, what, source })
    };
    let local = |listener: &TcpListener, address, what| {
        listener.local_addr().map_err(|source| SimError::Listen { address, what, source })
    };
    let listener = bind(config.listen, "members").await?;
    let addr = local(&listener, config.listen, "members")?;
    let control_listener = match config.control {
        Some(address) => Some(bind(address, "control").await?),
        None => None,
    };
    let control = match (&control_listener, config.control) {
        (Some(listener), Some(address)) => Some(local(listener, address, "control")?),
        _ => None,
    };
    let line = Arc::new(MemberLine::new(&config.member_listener));
    let shell = Shell {
        service: Arc::new(Service::new(config, vault, clock, core)),
        line,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        connections: Arc::new(AtomicUsize::new(0)),
    };
    shell.tasks.spawn(net::listen(shell.clone(), listener));
    shell.line.run(&shell.service, &shell.stop, &shell.tasks);
    if let Some(at) = shell.service.config.cut_over_at {
        shell.tasks.spawn(cut_over_daily(shell.clone(), at));
    }
    let handle = SimHandle { shell, addr, control };
    if let Some(listener) = control_listener {
        let own = handle.clone();
        handle.shell.tasks.spawn(crate::control::serve(own, listener));
    }
    tracing::info!(%addr, ?control, zmk = %handle.status().zmk_check_value, "network simulator started");
    Ok(handle)
}

/// Cuts over each day at the configured time. The clock is asked again after each wait, because a machine may
/// have slept.
async fn cut_over_daily(shell: Shell, at: TimeOfDay) {
    loop {
        let wait = at.ms_after(shell.service.clock.now());
        tokio::select! {
            () = shell.stop.cancelled() => return,
            () = tokio::time::sleep(std::time::Duration::from_millis(wait)) => {}
        }
        let day = shell.service.core().network.day().next();
        if let Err(error) = shell.line.cut_over(&shell.service, day).await {
            tracing::warn!(%error, %day, "the member does not know of the cut-over");
        }
    }
}

fn check(config: &SimConfig) -> Result<(), SimError> {
    for (what, id) in [
        ("member_id", &config.member_id),
        ("network_id", &config.network_id),
        ("issuer_id", &config.issuer_id),
    ] {
        let good = (1..=11).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
        if !good {
            return Err(SimError::Config(format!("{what} must be 1 to 11 digits")));
        }
    }
    Ok(())
}

fn open_core(config: &SimConfig, clock: &dyn Clock) -> Result<Core, SimError> {
    let now = clock.now();
    let today = config.settlement_day.unwrap_or_else(|| {
        let day = SettleDate::of(now);
        // After the evening's cut-over the network already books to the following day.
        if config.cut_over_at.is_some_and(|at| at.is_past(now)) { day.next() } else { day }
    });
    let mut network = Network::new(config.cards.clone(), config.policy.clone(), today, now);
    let mut core_books = None;
    let mut fresh = true;
    if let Some(path) = &config.books {
        let (books, events) = BooksFile::open(path, config.fsync, &mut network)?;
        tracing::info!(path = %path.display(), events, "books replayed");
        fresh = events == 0;
        core_books = Some(books);
    }
    let mut core = Core { network, faults: FaultBoard::new(config.faults.clone()), books: core_books };
    // The day is an event too, so that a replay on a later day books as it was booked.
    if core.books.is_some() && (fresh || core.network.day() < today) {
        core.happen(&Event::Cutover { day: today }, now)?;
    }
    Ok(core)
}

impl SimHandle {
    /// Where members connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where the page and the control API are.
    #[must_use]
    pub fn control_addr(&self) -> Option<SocketAddr> {
        self.control
    }

    /// How the simulator stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let service = &self.shell.service;
        let (signed_on, has_keys) = {
            let zone = service.zone();
            (zone.signed_on, zone.has_keys())
        };
        let core = service.core();
        Status {
            listen: self.addr,
            member_listener: self.shell.line.address().to_owned(),
            member_line_up: self.shell.line.is_up(),
            connections: self.shell.connections.load(Ordering::SeqCst),
            signed_on,
            has_keys,
            zmk_check_value: service.vault.zmk_check_value(),
            frames: service.frames.load(Ordering::SeqCst),
            day: core.network.day(),
            transactions: core.network.txns().len(),
            trial_balance: core.network.ledger().trial_balance(),
        }
    }

    /// The whole record, oldest first.
    #[must_use]
    pub fn record(&self) -> Vec<RecordLine> {
        self.record_after(0, usize::MAX)
    }

    /// The record from number `after` on (exclusive), at most `limit` lines.
    #[must_use]
    pub fn record_after(&self, after: u64, limit: usize) -> Vec<RecordLine> {
        record::lines(&self.shell.service.core().network, after, limit)
    }

    /// Totals per settlement day, by date as `2026-11-24`.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, DayTotals> {
        record::totals(&self.shell.service.core().network)
    }

    /// All cards with their balances.
    #[must_use]
    pub fn cards(&self) -> Vec<CardView> {
        record::cards(&self.shell.service.core().network)
    }

    /// The movements of a card, oldest first.
    #[must_use]
    pub fn journal(&self, card: &str) -> Vec<crate::ledger::JournalLine> {
        self.shell.service.core().network.ledger().journal(card)
    }

    /// The fault switches as they stand.
    #[must_use]
    pub fn faults(&self) -> FaultSettings {
        self.shell.service.core().faults.settings().clone()
    }

    /// Replaces the fault switches.
    pub fn set_faults(&self, settings: FaultSettings) {
        tracing::info!(?settings, "fault switches set");
        self.shell.service.core().faults.set(settings);
    }

    /// Puts a card back to its opening balance and status, by its name in the deck or the last digits of its
    /// number. Answers its name, or `None` when there is no such card or the digits fit several.
    ///
    /// # Errors
    ///
    /// The books file cannot be written.
    pub fn reset_card(&self, which: &str) -> Result<Option<String>, SimError> {
        let mut core = self.shell.service.core();
        let cards = core.network.cards();
        let mut fitting = cards.keys().filter(|id| id.as_str() == which).cloned().collect::<Vec<_>>();
        if fitting.is_empty() && which.len() >= 4 {
            fitting = cards
                .iter()
                .filter(|(_, card)| card.spec.pan.expose().ends_with(which))
                .map(|(id, _)| id.clone())
                .collect();
        }
        let [card] = fitting.as_slice() else { return Ok(None) };
        let card = card.clone();
        let now = self.shell.service.clock.now();
        core.happen(&Event::ResetCard { card: card.clone() }, now)?;
        Ok(Some(card))
    }

    /// Turns to `day`, or to the following day, and tells the member.
    ///
    /// # Errors
    ///
    /// The member was not reached or refused; the network's own day has turned all the same.
    pub async fn cut_over(&self, day: Option<SettleDate>) -> Result<SettleDate, SimError> {
        let service = &self.shell.service;
        let next = service.core().network.day().next();
        let day = day.unwrap_or(next);
        self.shell.line.cut_over(service, day).await?;
        Ok(day)
    }

    /// Gives the member new keys on the network's own initiative.
    ///
    /// # Errors
    ///
    /// No line, no answer, or an answer other than 00; the keys in force then stay.
    pub async fn reset_keys(&self) -> Result<(), SimError> {
        self.shell.line.reset_keys(&self.shell.service).await
    }

    /// Sends an echo to the member and waits for its answer.
    ///
    /// # Errors
    ///
    /// No line, no answer, or an answer other than 00.
    pub async fn echo(&self) -> Result<(), SimError> {
        self.shell.line.echo(&self.shell.service).await
    }

    /// Completes when the simulator has been told to stop.
    pub async fn stopped(&self) {
        self.shell.stop.cancelled().await;
    }

    /// Stops: closes all lines, waits a while for the tasks, brings the books file to disk.
    ///
    /// # Errors
    ///
    /// The disk refuses the books file.
    pub async fn shutdown(&self) -> Result<(), SimError> {
        self.shell.stop.cancel();
        self.shell.tasks.close();
        if tokio::time::timeout(SHUTDOWN_MAX, self.shell.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        let core = self.shell.service.core();
        core.books.as_ref().map_or(Ok(()), BooksFile::sync)
    }

    pub(crate) fn stop_token(&self) -> CancellationToken {
        self.shell.stop.clone()
    }
}
