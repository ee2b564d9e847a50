//! The engine: one behind every door.
//!
//! A request becomes a payment in steps, each a type that only the step before can make:
//!
//! ```text
//! door: Framed → Parsed ─▶ Authenticated ─▶ Admitted ─▶ Journaled ─▶ Reply
//!                          who, MAC, batch   rules, PIN   durable      durable outcome
//! ```
//!
//! Nothing leaves toward a network before its intent is durable, and no door hears an outcome before the
//! outcome is. What the network leaves unanswered is reversed or repeated by [`forward`] until it is known.

pub mod advice;
pub mod authenticate;
pub mod batch;
pub mod config;
pub mod directory;
pub mod downloads;
pub mod forward;
pub mod intake;
pub mod numbers;
pub mod payment;
pub mod recovery;
mod replies;
pub mod reversal;
mod rules;
pub mod sign_in;
pub mod signature;
mod traces;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use acquiring::{Clock, ResponseCode};
use channels::{Channel, Unsolicited};
use hsm::Hsm;
use store::Store;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use authenticate::{Authenticated, MacClaim, Rejected, TerminalMessage};
pub use config::EngineConfig;
pub use directory::{Directory, OwnProfile, TerminalEntry};
pub use intake::{Place, Turn};
pub use payment::{PaymentRequest, Reply};
pub use signature::open_signature;

/// Why a request goes no further: the code for the door, and words for operator and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Field 39 of the answer.
    pub code: ResponseCode,
    /// What is wrong, a fixed sentence without card data; also the label of the metric.
    pub reason: &'static str,
}

impl Refusal {
    /// A refusal.
    pub const fn new(code: ResponseCode, reason: &'static str) -> Self {
        Refusal { code, reason }
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::StoreError),
    /// A key of the store cannot be read.
    #[error("terminal {terminal} of merchant {merchant}: its stored key cannot be read")]
    Key {
        /// The merchant.
        merchant: acquiring::MerchantId,
        /// The terminal.
        terminal: acquiring::TerminalId,
    },
}

/// The engine; cheap to clone, shared by every door.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    pub(crate) store: Store,
    pub(crate) hsm: Arc<dyn Hsm>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) directory: Directory,
    pub(crate) downloads: downloads::Downloads,
    pub(crate) numbers: numbers::Numbers,
    /// This run of this node among those that share the store; it leases lines under this name.
    pub(crate) node: String,
    pub(crate) forward_wake: Notify,
    /// Length of the store-and-forward queue as it was last looked at.
    pub(crate) forward_depth: AtomicU64,
    pub(crate) replies: replies::Replies,
    pub(crate) intake: intake::Intake,
    /// How many payments are under way.
    pub(crate) under_way: AtomicUsize,
    /// Payments under way; they finish even when the door that brought them is gone.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Loads master data, settles what a crash left open, and starts the background work: the
    /// store-and-forward queue, late answers, refresh of master data.
    pub async fn start(
        config: EngineConfig,
        store: Store,
        hsm: Arc<dyn Hsm>,
        clock: Arc<dyn Clock>,
        channel: Arc<dyn Channel>,
        unsolicited: mpsc::Receiver<Unsolicited>,
    ) -> Result<Self, EngineError> {
        let directory = Directory::load(&store, config.profiles.clone()).await?;
        let downloads = downloads::Downloads::load(&store).await?;
        let numbers = numbers::Numbers::new("payment");
        // Nodes that share a store tell their runs apart by a number of its own.
        let node = match store.is_shared() {
            true => format!("{} run {}", config.node, store.reserve_numbers("node", 1).await?),
            false => config.node.clone(),
        };
        let intake = intake::Intake::new(config.intake_max, config.intake_wait);
        let engine = Engine(Arc::new(Inner {
            config,
            store,
            hsm,
            clock,
            channel,
            directory,
            downloads,
            numbers,
            node,
            forward_wake: Notify::new(),
            forward_depth: AtomicU64::new(0),
            intake,
            under_way: AtomicUsize::new(0),
            replies: replies::Replies::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        match engine.0.store.is_shared() {
            // What is pending may be under way on another node: time tells.
            true => drop(tokio::spawn(recovery::watch_others(engine.clone()))),
            false => engine.recover().await?,
        }
        tokio::spawn(forward::run(engine.clone()));
        tokio::spawn(recovery::take_unsolicited(engine.clone(), unsolicited));
        tokio::spawn(directory::keep_fresh(engine.clone()));
        tokio::spawn(downloads::keep_fresh(engine.clone()));
        tokio::spawn(upkeep::run(engine.clone()));
        Ok(engine)
    }

    /// Where a door waits before it takes a new payment from a message: what it is given goes to [`Engine::pay`], or with
    /// the request to [`Engine::turn_away`].
    pub fn intake(&self) -> &intake::Intake {
        &self.0.intake
    }

    /// The store, for the query side.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The line toward the network, for health and metrics.
    pub fn channel(&self) -> &Arc<dyn Channel> {
        &self.0.channel
    }

    /// Settings.
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    /// What this run of the node is called among those that share the store.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The present moment on the engine's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    /// The store has failed: this node knows nothing for certain any more, stops, and leaves its terminals to another, or
    /// to its next run.
    pub fn has_lost_its_store(&self) -> bool {
        self.0.store.is_failed()
    }

    /// The terminals and merchants in memory.
    pub fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// Waits until every payment under way has its outcome, then stops the background work. Doors must
    /// have stopped taking requests before.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.stop.cancel();
    }
}
