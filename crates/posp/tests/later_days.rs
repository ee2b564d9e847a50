//! Refunds and completions on later days than what they are about. Node, network and terminal are the product's own
//! parts, put together as `posp up`, `posp sim` and `posp pos` put them together, with real sockets and a real store
//! between them; only their clocks are one that the scenario moves, which no setting of the binary does. The days lie
//! around the turn of a year and the end of a short month, since the dates of terminals and of the network have no year.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use acquiring::kind::Kind;
use acquiring::master::{Merchant, Terminal, TerminalCipher, TerminalSession};
use acquiring::{BatchNo, InstitutionId, MerchantId, PaymentRecord, PaymentState, TerminalId, Trace};
use channels::Channel;
use channels::unionpay_card::{LineConfig, UnionPayCard};
use engine::{Engine, EngineConfig};
use hsm::{Hsm, KeyAlgorithm, KeyComponent, KeyUsage, SoftVault};
use jiff::Timestamp;
use pos::{
    AuthorisedRequest, CardInput, Entry, KeyLayout, Outcome, Pin, RefundRequest, SaleRequest, TmkComponent,
};
use pos_link::{LinkConfig, Listening};
use sim::{SimConfig, SimHandle};
use store::{Store, StoreOptions};
use support::{FIRST, MERCHANT, PATIENCE, TMK, free_port, until};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A day in milliseconds.
const DAY: i64 = 24 * 3_600_000;

/// The clock of everybody: the machine's, so many milliseconds ahead.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicI64>);

impl Ahead {
    /// The clock goes on from this moment.
    fn at(moment: &str) -> Ahead {
        let wanted: Timestamp = moment.parse().unwrap();
        let now = acquiring::Clock::now(&acquiring::SystemClock);
        Ahead(Arc::new(AtomicI64::new(wanted.as_millisecond() - now.as_millisecond())))
    }

    fn pass(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn moment(&self) -> Timestamp {
        let now = acquiring::Clock::now(&acquiring::SystemClock).as_millisecond();
        Timestamp::from_millisecond(now + self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl acquiring::Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.moment()
    }
}

impl pos::clock::Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.moment()
    }
}

impl sim::time::Clock for Ahead {
    fn now(&self) -> sim::time::Moment {
        sim::time::Moment(self.moment().as_millisecond())
    }
}

/// Node, network and a terminal on one clock.
struct World {
    clock: Ahead,
    network: SimHandle,
    store: Store,
    terminal: pos::Terminal,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start(moment: &str) -> World {
        let clock = Ahead::at(moment);
        let dir = tempfile::TempDir::with_prefix("posp-days-").unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (member, network_vault) = (local(free_port()), Arc::new(SoftVault::ephemeral().unwrap()));
        let settings = SimConfig {
            listen: local(0),
            control: None,
            member_listener: member.to_string(),
            timing: sim::Timing { reconnect: 100, ..sim::Timing::default() },
            ..SimConfig::default()
        };
        let network = sim::start_with_clock(settings, network_vault, Arc::new(clock.clone())).await.unwrap();

        let options =
            StoreOptions { clock: Arc::new(clock.clone()), ..StoreOptions::new(dir.path().join("data")) };
        let store = Store::open(options).unwrap();
        let hsm: Arc<dyn Hsm> = Arc::new(SoftVault::ephemeral().unwrap());
        let import = |usage, components: [&str; 2]| {
            let components = components.map(|text| KeyComponent::from_hex(text).unwrap());
            hsm.import_components(usage, KeyAlgorithm::TripleDes2, &components).unwrap()
        };
        let merchant = Merchant {
            id: MerchantId::new(MERCHANT).unwrap(),
            name: "实验商户一号店".to_owned(),
            mcc: 5411,
            active: true,
            limit_single: None,
            profile: None,
        };
        store.put_merchant(&merchant).await.unwrap();
        let known = Terminal {
            merchant: merchant.id,
            id: TerminalId::new(FIRST).unwrap(),
            active: true,
            cipher: TerminalCipher::TripleDes,
            master_key: import(KeyUsage::TerminalMaster, TMK).to_string(),
            session: TerminalSession::NEW,
        };
        store.put_terminal(&known).await.unwrap();
        let id = |text| InstitutionId::new(text).unwrap();
        let line = LineConfig {
            reconnect: Duration::from_millis(100),
            ..LineConfig::new(
                network.addr().to_string(),
                member,
                id("48029999"),
                id("00010000"),
                import(KeyUsage::ZoneMaster, sim::LAB_ZMK_COMPONENTS),
            )
        };
        let own: Arc<dyn acquiring::Clock> = Arc::new(clock.clone());
        let (unsolicited, unexpected) = mpsc::channel(16);
        let channel =
            UnionPayCard::start(line, Arc::clone(&hsm), Arc::clone(&own), unsolicited).await.unwrap();
        let rules = EngineConfig::new(id("48029999"));
        let engine =
            Engine::start(rules, store.clone(), hsm, own, channel.clone(), unexpected).await.unwrap();
        let socket = TcpListener::bind(local(0)).await.unwrap();
        let door = socket.local_addr().unwrap();
        let listening = vec![Listening { socket, profile: 0 }];
        tokio::spawn(pos_link::serve(listening, engine, LinkConfig::new(), CancellationToken::new()));
        tokio::time::timeout(PATIENCE, channel.ready()).await.expect("the line to the network is up");

        let mut config = pos::TerminalConfig::new(door.to_string(), MERCHANT, FIRST);
        config.answer_timeout_ms = 30_000;
        let own: Arc<dyn pos::clock::Clock> = Arc::new(clock.clone());
        let surroundings = pos::Surroundings { clock: own, ..pos::Surroundings::default() };
        let mut terminal = pos::Terminal::enrol_in(dir.path().join("pos"), config, surroundings).unwrap();
        terminal.load_tmk(&TMK.map(TmkComponent::parse), None).await.unwrap();
        let mut world = World { clock, network, store, terminal, _dir: dir };
        world.sign_in().await;
        world
    }

    async fn sign_in(&mut self) {
        let outcome = self.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
    }

    /// Days pass, and on each the network turns to the next; the terminal signs in on the last.
    async fn later(&mut self, days: u32) {
        for _ in 0..days {
            self.clock.pass(DAY);
            self.network.cut_over(None).await.unwrap();
        }
        self.sign_in().await;
    }

    async fn sale(&mut self, fen: u64) -> Outcome {
        let outcome = self.terminal.sale(by_card(fen)).await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
        outcome
    }

    /// The response code of a refund of a sale made on a day, `MMDD`.
    async fn refund(&mut self, of: &Outcome, day: &str, fen: u64) -> String {
        let request = RefundRequest {
            amount_fen: fen,
            card: CardInput::deck("M01").unwrap(),
            entry: Entry::Swipe,
            pin: None,
            original_rrn: of.rrn.clone().unwrap(),
            original_date: day.to_owned(),
        };
        self.terminal.refund(request).await.unwrap().response_code.unwrap()
    }

    async fn record(&self, batch: u32, trace: u32) -> PaymentRecord {
        let (merchant, terminal) = (MerchantId::new(MERCHANT).unwrap(), TerminalId::new(FIRST).unwrap());
        let (batch, trace) = (BatchNo::new(batch.into()).unwrap(), Trace::new(trace.into()).unwrap());
        self.store.by_trace(merchant, terminal, batch, trace).await.unwrap().expect("journaled")
    }

    /// What the network moved, over all its days.
    fn net(&self) -> i64 {
        self.network.totals().values().map(|day| day.net).sum()
    }

    /// The network's refunds that stand, with their days.
    fn refunds(&self) -> Vec<(u64, String)> {
        let record = self.network.record();
        let refunds = record.iter().filter(|line| line.kind == sim::Kind::Refund);
        refunds
            .inspect(|line| assert_eq!(line.state, sim::FinalState::Approved, "{line:?}"))
            .map(|line| (line.amount, line.day.to_string()))
            .collect()
    }
}

/// A payment by stripe and PIN.
fn by_card(fen: u64) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

/// A part comes back the next day, another in the next year and the next batch, and one on the last day of the rule. A
/// day later nothing does (22), and the network is not asked; a sale of that day is paid back as ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_is_refunded_on_later_days_and_not_after_the_last() {
    let mut world = World::start("2026-12-10T02:00:00Z").await;
    let sale = world.sale(10_000).await;
    world.later(1).await;
    assert_eq!(world.refund(&sale, "1210", 1_000).await, "00");

    let settled = world.terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    world.later(22).await;
    assert_eq!(world.refund(&sale, "1210", 2_000).await, "00", "in the next year and another batch");
    // Thirty days after the sale, to the hour and short of the minutes that the scenario took.
    world.later(7).await;
    assert_eq!(world.refund(&sale, "1210", 3_000).await, "00", "the thirtieth day");
    assert_eq!(world.refund(&sale, "1210", 4_001).await, "64", "more than is left");

    world.later(1).await;
    let (batch, trace) = (world.terminal.batch(), world.terminal.next_trace());
    assert_eq!(world.refund(&sale, "1210", 1_000).await, "22", "the rule's days are over");
    let refused = world.record(batch, trace).await;
    assert_eq!((refused.kind, refused.state), (Kind::Refund, PaymentState::Declined));
    let original = world.record(sale.batch, sale.trace).await;
    assert_eq!((original.refunded.fen(), original.state), (6_000, PaymentState::Approved));
    let days = [(1_000, "2026-12-11"), (2_000, "2027-01-02"), (3_000, "2027-01-09")];
    assert_eq!(
        world.refunds(),
        days.map(|(fen, day)| (fen, day.to_owned())),
        "what was refused is not asked"
    );
    assert_eq!(world.net(), 4_000);

    let fresh = world.sale(500).await;
    assert_eq!(world.refund(&fresh, "0110", 500).await, "00");
    assert_eq!(world.net(), 4_000);
    let settled = world.terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    until("the network's books are even", || (world.network.status().trial_balance == 0).then_some(())).await;
}

/// What is set aside can be taken on the thirtieth day after, by request and by advice, and not on the next (22).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_amount_set_aside_is_taken_on_a_later_day_and_not_after_the_last() {
    let mut world = World::start("2027-02-10T02:00:00Z").await;
    let mut set_aside = Vec::new();
    for fen in [10_000, 20_000, 30_000] {
        let outcome = world.terminal.preauth(by_card(fen)).await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
        set_aside.push(outcome);
    }
    let about = |at: usize, fen| AuthorisedRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        auth_code: set_aside[at].auth_code.clone().unwrap(),
        date: "0210".to_owned(),
        numbers: None,
    };
    world.later(30).await;
    let asked = world.terminal.complete(about(0, 9_000)).await.unwrap();
    assert_eq!(asked.response_code.as_deref(), Some("00"), "{asked:?}");
    let told = world.terminal.complete_by_advice(about(1, 21_000)).await.unwrap();
    assert_eq!(told.response_code.as_deref(), Some("00"), "{told:?}");

    world.later(1).await;
    let late = world.terminal.complete(about(2, 30_000)).await.unwrap();
    assert_eq!(late.response_code.as_deref(), Some("22"), "{late:?}");
    let told_late = world.terminal.complete_by_advice(about(2, 30_000)).await.unwrap();
    assert_eq!(told_late.response_code.as_deref(), Some("22"), "{told_late:?}");
    until("the network has the advice", || (world.net() == 30_000).then_some(())).await;
    let preauth = world.record(set_aside[2].batch, set_aside[2].trace).await;
    assert_eq!(preauth.state, PaymentState::Approved, "it is still open, to be given free");
}
