//! A stage for scenarios of the engine: a real store and a real vault, and a network that does what the
//! scenario says, message by message.

#![allow(dead_code)] // every test binary takes what it needs of this

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acquiring::kind::{FieldSet, Kind};
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::payment::{Answer, NetworkKey};
use acquiring::transition::Forward;
use acquiring::{
    Amount, AuthCode, BatchNo, Clock, EntryMode, InstitutionId, MerchantId, Pan, PaymentRecord, PaymentState,
    ResponseCode, Rrn, SystemClock, TerminalId, Trace,
};
use channels::{
    BoxFuture, Channel, Correlation, ForwardRequest, LineStatus, NetworkAnswer, NetworkRequest, Outcome,
    PrepareError, Prepared, Unsolicited,
};
use engine::authenticate::{Authenticated, MacClaim, TerminalMessage};
use engine::payment::{PaymentRequest, Reply};
use engine::reversal::ReversalRequest;
use engine::{Engine, EngineConfig};
use hsm::{Hsm, KeyAlgorithm, KeyUsage, MacAlgorithm, SoftVault};
use store::{Store, StoreOptions};
use tokio::sync::{mpsc, oneshot};

pub const MERCHANT: &str = "898100000000001";
pub const TERMINAL: &str = "10000001";
pub const PAN: &str = "6224242000000021";

/// What the network does with one message.
pub enum Act {
    /// Answers with this code.
    Code(&'static str),
    /// Approves a part: code 10 with this field 4.
    Part(u64),
    /// Never answers.
    Silence,
    /// The line does not take it.
    Down,
    /// Answers when the scenario says so, however long that takes; nothing, when the scenario forgets about it.
    When(oneshot::Receiver<&'static str>),
}

/// A message as the network saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub what: &'static str,
    pub trace: u32,
    pub attempts: u32,
}

/// The scripted network. It looks into the store when a message leaves, so that a scenario can demand that
/// the intent was durable by then.
pub struct Script {
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    ready: tokio::sync::watch::Sender<bool>,
    store: Store,
    /// States of the payments at the moment their messages left.
    durable: Mutex<Vec<Option<PaymentState>>>,
    arrived: tokio::sync::Notify,
}

impl Script {
    pub fn expect(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn states_when_leaving(&self) -> Vec<Option<PaymentState>> {
        self.durable.lock().unwrap().clone()
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// Waits until somebody has something to send and the line is not ready for it.
    pub async fn until_waited_for(&self) {
        while self.ready.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the network has seen so many messages.
    pub async fn until_seen(&self, count: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.seen().len() >= count {
                return;
            }
            arrived.await;
        }
    }

    fn prepared(&self, what: &str, trace: u32, transmission: u64, attempts: u32) -> Prepared {
        Prepared {
            key: NetworkKey { trace, transmission },
            frame: format!("{what} {trace} {attempts}").into_bytes(),
            masked: vec![1, 2, 3],
            correlation: Correlation { mti: 210, trace, reference: [b'0'; 12] },
        }
    }
}

impl Channel for Script {
    fn line(&self) -> &str {
        "script"
    }

    fn prepare(&self, request: &NetworkRequest) -> Result<Prepared, PrepareError> {
        Ok(self.prepared(request.kind.code(), request.id.network_trace(), 1_124_101_500, 0))
    }

    fn prepare_forward(&self, request: &ForwardRequest<'_>) -> Result<Prepared, PrepareError> {
        assert_eq!(request.pan.reveal(), PAN, "the account number comes back out of the journal");
        let what = match request.action {
            Forward::Reversal => "reversal",
            Forward::Repeat => "repeat",
            Forward::Advice => "advice",
            Forward::Script => "script",
        };
        Ok(self.prepared(what, request.payment.network.trace, 1_124_101_501, request.tries))
    }

    fn send<'a>(&'a self, prepared: &'a Prepared, patience: Duration) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let text = String::from_utf8(prepared.frame.clone()).unwrap();
            let mut words = text.split(' ');
            let kind = words.next().unwrap();
            let what = match kind {
                "reversal" => "reversal",
                "repeat" => "repeat",
                "advice" => "advice",
                "script" => "script",
                "sale_void" => "void",
                "refund" => "refund",
                "balance" => "balance",
                _ => "sale",
            };
            let trace: u32 = words.next().unwrap().parse().unwrap();
            let attempts = words.next().unwrap().parse().unwrap();
            let since = SystemClock.now() - Duration::from_secs(3_600);
            let record = self.store.by_network_key("script", trace, None, since).await.unwrap();
            self.durable.lock().unwrap().push(record.map(|r| r.state));
            let act = self.acts.lock().unwrap().pop_front();
            self.seen.lock().unwrap().push(Seen { what, trace, attempts });
            self.arrived.notify_waiters();
            let answered = |code: &str, amount: Option<u64>| {
                let mut answer = Answer::own(ResponseCode::new(code).unwrap(), SystemClock.now());
                answer.settle_date = Some(1124);
                answer.auth_code = (kind == "preauth").then(|| AuthCode::new("A1B2C3").unwrap());
                Outcome::Answered(NetworkAnswer {
                    answer,
                    amount: amount.and_then(Amount::from_fen),
                    masked: vec![4, 5, 6],
                })
            };
            match act.expect("the network saw a message that the scenario did not foresee") {
                Act::Code(code) => answered(code, None),
                Act::Part(fen) => answered("10", Some(fen)),
                Act::Down => Outcome::NotSent(ResponseCode::ISSUER_DOWN, "the line is down"),
                Act::Silence => {
                    tokio::time::sleep(patience).await;
                    Outcome::NoAnswer("no answer in time")
                }
                Act::When(told) => match told.await {
                    Ok(code) => answered(code, None),
                    Err(_) => Outcome::NoAnswer("no answer in time"),
                },
            }
        })
    }

    fn status(&self) -> LineStatus {
        LineStatus { ready: *self.ready.borrow(), detail: String::new(), settle_date: None }
    }

    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.ready.subscribe().wait_for(|ready| *ready).await.unwrap();
        })
    }
}

pub struct Stage {
    pub engine: Engine,
    pub script: Arc<Script>,
    pub store: Store,
    pub vault: Arc<SoftVault>,
    pub unsolicited: mpsc::Sender<Unsolicited>,
    pub directory: tempfile::TempDir,
}

pub fn merchant() -> MerchantId {
    MerchantId::new(MERCHANT).unwrap()
}

pub fn terminal() -> TerminalId {
    TerminalId::new(TERMINAL).unwrap()
}

pub fn config() -> EngineConfig {
    EngineConfig {
        network_patience: Duration::from_millis(300),
        forward_pause: Duration::from_millis(5),
        forward_pause_max: Duration::from_millis(20),
        forward_refusals_max: 3,
        forward_silences_max: 4,
        takeover_margin: Duration::from_millis(1_500),
        ..EngineConfig::new(InstitutionId::new("48029999").unwrap())
    }
}

impl Stage {
    /// An empty store with one merchant and one terminal that has signed in.
    pub async fn set() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let vault = Arc::new(SoftVault::ephemeral().unwrap());
        let stage = Stage::on(directory, vault, true).await;
        stage.sign_in().await;
        stage
    }

    /// A stage on a directory that may have a past.
    pub async fn on(directory: tempfile::TempDir, vault: Arc<SoftVault>, fresh: bool) -> Stage {
        Stage::expecting([], directory, vault, fresh).await
    }

    /// The same, with a network that knows beforehand what to do: a node with a past begins to send at its start.
    pub async fn expecting(
        acts: impl IntoIterator<Item = Act>,
        directory: tempfile::TempDir,
        vault: Arc<SoftVault>,
        fresh: bool,
    ) -> Stage {
        let store = Store::open(StoreOptions::new(directory.path())).unwrap();
        Stage::over(acts, store, directory, vault, fresh).await
    }

    /// As [`Stage::set`], with room for so many payments at a time and all the patience for them.
    pub async fn with_room(under_way_max: usize) -> Stage {
        let network_patience = Duration::from_secs(30);
        Stage::tuned(EngineConfig { under_way_max, network_patience, ..config() }).await
    }

    /// As [`Stage::set`], with so many places for what is made ready, and so long a wait for one.
    pub async fn with_intake(intake_max: usize, intake_wait: Duration) -> Stage {
        let network_patience = Duration::from_secs(30);
        Stage::tuned(EngineConfig { intake_max, intake_wait, network_patience, ..config() }).await
    }

    /// As [`Stage::set`], with so much that may wait for the network before new payments are refused.
    pub async fn with_queue(forward_depth_max: u64) -> Stage {
        Stage::tuned(EngineConfig { forward_depth_max, ..config() }).await
    }

    async fn tuned(config: EngineConfig) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let vault = Arc::new(SoftVault::ephemeral().unwrap());
        let store = Store::open(StoreOptions::new(directory.path())).unwrap();
        let stage = Stage::configured(config, [], store, directory, vault, true).await;
        stage.sign_in().await;
        stage
    }

    /// A node on a store that others may have open too.
    pub async fn over(
        acts: impl IntoIterator<Item = Act>,
        store: Store,
        directory: tempfile::TempDir,
        vault: Arc<SoftVault>,
        fresh: bool,
    ) -> Stage {
        Stage::configured(config(), acts, store, directory, vault, fresh).await
    }

    async fn configured(
        config: EngineConfig,
        acts: impl IntoIterator<Item = Act>,
        store: Store,
        directory: tempfile::TempDir,
        vault: Arc<SoftVault>,
        fresh: bool,
    ) -> Stage {
        if fresh {
            furnish(&store, vault.as_ref()).await;
        }
        let script = Arc::new(Script {
            acts: Mutex::new(acts.into_iter().collect()),
            seen: Mutex::default(),
            ready: tokio::sync::watch::Sender::new(true),
            store: store.clone(),
            durable: Mutex::default(),
            arrived: tokio::sync::Notify::new(),
        });
        let (unsolicited, unexpected) = mpsc::channel(16);
        let hsm: Arc<dyn Hsm> = vault.clone();
        let engine =
            Engine::start(config, store.clone(), hsm, Arc::new(SystemClock), script.clone(), unexpected)
                .await
                .unwrap();
        Stage { engine, script, store, vault, unsolicited, directory }
    }

    /// The process dies: nothing is drained, nothing is said; what is durable stays.
    pub async fn crash(self) -> (tempfile::TempDir, Arc<SoftVault>) {
        // Closing the store writes nothing that was not acknowledged; it only gives up the lock, as the
        // death of a process does.
        self.store.close().await;
        (self.directory, self.vault)
    }

    pub async fn sign_in(&self) {
        let auth = self.authenticate(Kind::SignIn).await.unwrap_or_else(|_| panic!("sign-in"));
        self.engine.sign_in(&auth, 3, engine::sign_in::KeyForm::default()).await.unwrap();
    }

    pub async fn authenticate(&self, kind: Kind) -> Result<Authenticated, engine::Refusal> {
        let block = b"the bytes that the MAC covers";
        let value = match self.keys() {
            Some(keys) => self.vault.mac(&keys.mac, MacAlgorithm::CupEcb, block).unwrap(),
            None => [0; 8],
        };
        self.engine
            .authenticate(&TerminalMessage {
                spec: kind.spec(),
                merchant: merchant(),
                terminal: terminal(),
                batch: Some(BatchNo::FIRST),
                mac: Some(MacClaim { block, value: &value }),
                mac_algorithm: MacAlgorithm::CupEcb,
            })
            .await
            .map_err(|rejected| rejected.refusal().expect("the store can be read"))
    }

    fn keys(&self) -> Option<Arc<engine::directory::LiveKeys>> {
        self.engine.identify(merchant(), terminal()).unwrap().session().keys
    }

    pub async fn pay(&self, kind: Kind, request: PaymentRequest) -> Reply {
        let auth = self.authenticate(kind).await.unwrap();
        self.engine.pay(auth, request, None).await.unwrap()
    }

    pub async fn sale(&self, trace: u64, act: Act) -> Reply {
        self.script.expect([act]);
        self.pay(Kind::Sale, request(trace, 10_000)).await
    }

    pub async fn reverse(&self, trace: u64, fen: u64) -> Reply {
        let auth = self.authenticate(Kind::Reversal).await.unwrap();
        let request = ReversalRequest {
            batch: BatchNo::FIRST,
            trace: Trace::new(trace).unwrap(),
            amount: Amount::from_fen(fen).unwrap(),
            reason: ResponseCode::NO_ANSWER,
            chip: None,
            masked: vec![],
        };
        self.engine.reverse(auth, request).await.unwrap()
    }

    pub async fn record(&self, trace: u64) -> PaymentRecord {
        let trace = Trace::new(trace).unwrap();
        self.store.by_trace(merchant(), terminal(), BatchNo::FIRST, trace).await.unwrap().expect("journaled")
    }

    pub async fn state(&self, trace: u64) -> PaymentState {
        self.record(trace).await.state
    }

    /// Waits until the payment has the state. The wait has no clock of its own: it yields to the work.
    pub async fn until(&self, trace: u64, state: PaymentState) {
        let reached = async {
            while self.state(trace).await != state {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("the state was not reached");
    }
}

async fn furnish(store: &Store, vault: &SoftVault) {
    store
        .put_merchant(&Merchant {
            id: merchant(),
            name: "示范商户".to_owned(),
            mcc: 5411,
            active: true,
            limit_single: Amount::from_fen(1_000_000),
            profile: None,
        })
        .await
        .unwrap();
    let key = vault.generate(KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2).unwrap();
    store
        .put_terminal(&Terminal {
            merchant: merchant(),
            id: terminal(),
            active: true,
            cipher: TerminalCipher::TripleDes,
            master_key: key.to_string(),
            session: TerminalSession::NEW,
        })
        .await
        .unwrap();
}

/// A sale by keyed number, as a door would read it.
pub fn request(trace: u64, fen: u64) -> PaymentRequest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&trace.to_be_bytes());
    digest[8..16].copy_from_slice(&fen.to_be_bytes());
    PaymentRequest {
        batch: BatchNo::FIRST,
        trace: Trace::new(trace).unwrap(),
        amount: Amount::from_fen(fen),
        currency: 156,
        pan: Some(Pan::new(PAN).unwrap()),
        number_hidden: false,
        expiry: None,
        entry_mode: EntryMode::new(12).unwrap(),
        card_sequence: None,
        condition: 0,
        terminal_traits: [5, 0, 0],
        track2: None,
        track_encrypted: false,
        pin: None,
        chip: None,
        chip_pan: None,
        original: None,
        original_rrn: None,
        plan: None,
        transfer_in: None,
        tip: None,
        auth_code: None,
        digest,
        masked: vec![0; 4],
    }
}

/// A void of the sale with this trace.
pub fn void_of(trace: u64, sale_trace: u64, rrn: Rrn) -> PaymentRequest {
    PaymentRequest {
        original: Some(engine::payment::OriginalNumbers {
            batch: Some(BatchNo::FIRST),
            trace: Some(Trace::new(sale_trace).unwrap()),
            date: None,
        }),
        original_rrn: Some(rrn),
        ..request(trace, 10_000)
    }
}

/// A refund of the sale with this reference number.
pub fn refund_of(trace: u64, fen: u64, rrn: Rrn) -> PaymentRequest {
    PaymentRequest {
        original: Some(engine::payment::OriginalNumbers { batch: None, trace: None, date: None }),
        original_rrn: Some(rrn),
        ..request(trace, fen)
    }
}

/// Field sets are data; a scenario that needs one can look.
#[allow(dead_code)]
pub fn mandatory(kind: Kind) -> FieldSet {
    kind.spec().mandatory
}
