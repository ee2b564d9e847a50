//! A phone with a reader: the acquiring app on one side of the link, keys, cards and PINs on the other.
//!
//! The phone pairs by the code of the label. A sale by chip and PIN, by stripe and by tap, a void, a reversal and a settlement
//! go through, and neither the phone's files, its wire under the glass, nor its slips have a card's number. When the link goes
//! while the host is asked, what the host booked is reversed as soon as the reader is back.
//!
//! The host is a test's own (that of the power cuts); devices, cards, app and link are those of a terminal of the page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod cutter;
#[path = "../power/host.rs"]
#[allow(dead_code)] // its books can do more
mod host;
mod link;
mod queue;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use app::flow::{Desk, Outcome, Trade};
use app::shell::ShellConfig;
use app::view::{Input, View};
use cutter::Cutter;
use hal::DeviceKind;
use hal_virtual::PinKey;
use host::{Host, TMK};
use kernel::QuickPass;
use pos::TerminalConfig;
use receipt::Width;
use tempfile::TempDir;
use terminal::{Deck, Hand, Station, StationConfig};
use tokio::runtime::{Builder, Runtime};

const PATIENCE: Duration = Duration::from_secs(30);
/// Cards of the deck: a chip, and one with a stripe alone.
const CHIP: &str = "L01";
const STRIPE: &str = "M01";

enum How {
    Insert(&'static str),
    Tap(&'static str),
    Swipe(&'static str),
    /// The order names an earlier one, and needs no card.
    Nothing,
}

struct Counter {
    runtime: Runtime,
    home: TempDir,
    host: Host,
    cutter: Arc<Cutter>,
    deck: Arc<Deck>,
    station: Arc<Station>,
}

fn station(runtime: &Runtime, home: &Path, host: &Host, deck: &Arc<Deck>) -> Arc<Station> {
    let mut pos = TerminalConfig::new(&host.address, "898100000000001", "10000003");
    pos.answer_timeout_ms = 5_000;
    pos.capability = 6;
    pos.serial = "LABR000003".to_owned();
    pos.device_type = Some("03".to_owned());
    let config = StationConfig {
        directory: home.to_owned(),
        pos,
        components: vec![TMK.to_owned()],
        // A card may approve by itself as far as the terminal is asked.
        shell: ShellConfig {
            quickpass: QuickPass { always_online: false, ..QuickPass::default() },
            ..ShellConfig::default()
        },
        width: Width::W58,
        reader: Some("LABR000003".to_owned()),
    };
    let _inside = runtime.enter();
    Station::new(config, Arc::clone(deck)).unwrap()
}

impl Counter {
    /// A phone out of its box, with its reader beside it, switched on and not paired.
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let home = tempfile::tempdir().unwrap();
        let cutter = Arc::new(Cutter::default());
        let host = runtime.block_on(Host::open(Arc::clone(&cutter)));
        let mut books = host.books();
        books.floor = 20_000;
        host.set(books);
        let deck = Arc::new(Deck::new(home.path().join("cards.json")));
        let station = station(&runtime, &home.path().join("phone"), &host, &deck);
        station.power_on().unwrap();
        Self { runtime, home, host, cutter, deck, station }
    }

    fn paired() -> Self {
        let counter = Self::new();
        let code = counter.station.snapshot().reader.unwrap().label;
        counter.station.hand(Hand::Pair { code }).unwrap();
        counter.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));
        counter
    }

    fn view(&self) -> View {
        self.station.panel().unwrap().shown().view
    }

    /// Waits for a screen.
    fn until<R>(&self, story: &str, there: impl Fn(&View) -> Option<R>) -> R {
        let mut changes = self.station.changes();
        loop {
            if let Some(found) = there(&self.view()) {
                return found;
            }
            let changed =
                self.runtime.block_on(async { tokio::time::timeout(PATIENCE, changes.changed()).await });
            assert!(changed.is_ok(), "{story}: nothing moves at {:?}", self.view());
        }
    }

    /// Waits for the reader.
    fn reader_waits(&self, story: &str, kind: DeviceKind) {
        let mut changes = self.station.changes();
        while !self.station.card_controls().view().waiting.contains(&kind) {
            let changed =
                self.runtime.block_on(async { tokio::time::timeout(PATIENCE, changes.changed()).await });
            assert!(changed.is_ok(), "{story}: the reader does not wait at {:?}", self.view());
        }
    }

    /// Plays an order to its result, and gives that.
    fn play(&self, trade: Trade, amount: u64, trace: Option<u32>, how: &How) -> app::view::View {
        let panel = self.station.panel().unwrap();
        let controls = self.station.card_controls();
        let story = format!("{trade:?}");
        assert!(panel.press(Input::Trade { trade }));
        let mut done = 0;
        loop {
            let shown = self.until(&story, |_| {
                let shown = panel.shown();
                (shown.version != done && !matches!(shown.view, View::Busy { .. } | View::Menu { .. }))
                    .then_some(shown)
            });
            done = shown.version;
            match shown.view {
                View::Amount { .. } => assert!(panel.press(Input::Amount { amount })),
                View::Original { .. } => assert!(panel.press(Input::Original {
                    trace,
                    reference: None,
                    auth_code: None,
                    date: None,
                })),
                View::Supervisor { .. } => {
                    assert!(panel.press(Input::Login { operator: "99".into(), password: "12345678".into() }))
                }
                View::ConfirmOriginal { .. } | View::Tear { .. } => assert!(panel.press(Input::Confirm)),
                View::Card { .. } => {
                    self.reader_waits(&story, DeviceKind::Detector);
                    match how {
                        How::Insert(card) => {
                            self.station.hand(Hand::Insert { card: (*card).into() }).unwrap()
                        }
                        How::Tap(card) => self.station.hand(Hand::Tap { card: (*card).into() }).unwrap(),
                        How::Swipe(card) => self.station.hand(Hand::Swipe { card: (*card).into() }).unwrap(),
                        How::Nothing => panic!("a card is asked for"),
                    }
                }
                View::Pin { .. } => {
                    self.reader_waits(&story, DeviceKind::PinPad);
                    // What is paid stands on the reader's own display.
                    let shown = controls.view().pin.unwrap().amount;
                    assert_eq!(shown, Some(amount));
                    assert!(controls.type_digits("123456") && controls.press(PinKey::Confirm));
                }
                View::RemoveCard => {
                    let _ = self.station.hand(Hand::Remove);
                }
                View::Result { .. } => {
                    let _ = self.station.hand(Hand::Remove);
                    let _ = self.station.hand(Hand::Untap);
                    let result = panel.shown().view;
                    assert!(panel.press(Input::Confirm));
                    self.until(&story, |view| matches!(view, View::Menu { .. }).then_some(()));
                    return result;
                }
                other => panic!("{story}: nobody expects {other:?}"),
            }
        }
    }

    fn outcome(&self, trade: Trade, amount: u64, trace: Option<u32>, how: &How) -> Outcome {
        match self.play(trade, amount, trace, how) {
            View::Result { ending, .. } => ending.outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Works at the desk to its end, and goes back to the menu.
    fn desk(&self, desk: Desk) {
        let panel = self.station.panel().unwrap();
        assert!(panel.press(Input::Desk { desk }));
        self.until("the desk", |view| {
            // A key that comes twice means nothing the second time.
            match view {
                View::Supervisor { .. } => {
                    panel.press(Input::Login { operator: "99".into(), password: "12345678".into() });
                }
                View::ConfirmSettle { .. } => {
                    panel.press(Input::Confirm);
                }
                _ => {}
            }
            matches!(view, View::Told { .. }).then_some(())
        });
        assert!(panel.press(Input::Confirm));
        self.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));
    }

    /// What the host holds, in fen, in order of size.
    fn standing(&self) -> Vec<u64> {
        let mut standing: Vec<u64> = self.host.books().standing().values().copied().collect();
        standing.sort_unstable();
        standing
    }

    /// Fields of the newest message to the host of this type.
    fn sent(&self, mti: &str) -> Vec<(String, String)> {
        let items = self.station.trace().after(0);
        let newest = items.iter().rev().find(|item| item.mti == mti).unwrap();
        newest.fields.iter().map(|field| (field.number.clone(), field.value.clone())).collect()
    }
}

fn has(fields: &[(String, String)], number: &str) -> bool {
    fields.iter().any(|(known, _)| known == number)
}

fn value(fields: &[(String, String)], number: &str) -> String {
    fields.iter().find(|(known, _)| known == number).unwrap().1.clone()
}

/// The label is the only way in, and a sale by chip and PIN goes through without the phone knowing the number.
#[test]
fn a_phone_pairs_and_sells_by_chip_and_pin() {
    let counter = Counter::new();
    let reader = counter.station.snapshot().reader.unwrap();
    assert!(!reader.paired && counter.station.panel().is_none(), "without a reader the app does not start");
    let wrong = "00".repeat(16);
    assert!(counter.station.hand(Hand::Pair { code: wrong }).is_err(), "another reader's code");
    assert!(counter.station.panel().is_none());
    counter.station.hand(Hand::Pair { code: reader.label }).unwrap();
    counter.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));

    assert_eq!(counter.outcome(Trade::Sale, 12_345, None, &How::Insert(CHIP)), Outcome::Approved);
    let request = counter.sent("0200");
    assert!(
        !has(&request, "2") && has(&request, "35") && has(&request, "52") && has(&request, "55"),
        "{request:?}"
    );
    assert!(value(&request, "53").starts_with("261"), "PIN with number, double keys, tracks enciphered");
    assert_eq!(value(&request, "22"), "051");
    assert!(has(&request, "59"), "device type and serial number");
    assert_eq!(counter.host.books().standing().values().copied().collect::<Vec<_>>(), [12_345]);
    let slip = receipt::text::render(&counter.station.printed()[0].doc, Station::SLIP_PART);
    assert!(slip.contains("622424******0013") && !slip.contains("6224242000000013"), "{slip}");
    assert!(counter.host.books().complaints.is_empty(), "{:?}", counter.host.books().complaints);
}

/// The other ways to read a card, a void by its voucher number alone, and the end of the day; afterwards the phone, switched
/// off and on, finds its reader by itself, and nothing that it has kept or shown has a card's number.
#[test]
fn a_day_with_stripe_tap_void_and_settlement_leaves_no_number_on_the_phone() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 5_000, None, &How::Swipe(STRIPE)), Outcome::Approved);
    let request = counter.sent("0200");
    assert!(
        !has(&request, "2") && value(&request, "53").starts_with("261") && value(&request, "22") == "021"
    );
    assert_eq!(counter.outcome(Trade::Sale, 1_250, None, &How::Tap(CHIP)), Outcome::Approved);
    assert_eq!(value(&counter.sent("0200"), "22"), "072");
    let trace = *counter.host.books().entries.iter().find(|(_, entry)| entry.amount == 1_250).unwrap().0;
    let trace = u32::try_from(trace).unwrap();
    assert_eq!(counter.outcome(Trade::Void, 0, Some(trace), &How::Nothing), Outcome::Approved);
    let request = counter.sent("0200");
    assert!(
        !has(&request, "2") && !has(&request, "35") && has(&request, "61") && has(&request, "59"),
        "{request:?}"
    );

    counter.station.power_off();
    counter.station.power_on().unwrap();
    counter.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));
    assert_eq!(counter.outcome(Trade::Sale, 700, None, &How::Insert(CHIP)), Outcome::Approved);

    counter.desk(Desk::Settle);
    let books = counter.host.books();
    assert_eq!(books.settled.len(), 1, "the batch is settled");
    assert!(books.complaints.is_empty(), "{:?}", books.complaints);

    // The deck's numbers and PINs, in what the phone has kept, shown and sent.
    let numbers = ["6224242000000013", "123456", "2420000000"];
    let stripe = counter.deck.stripe(STRIPE).unwrap().track2.unwrap();
    let stripe = stripe.reveal().split(['D', '=']).next().unwrap().to_owned();
    let shown = serde_json::to_string(&counter.station.trace().after(0)).unwrap();
    for number in [numbers[0], &stripe] {
        assert!(!shown.contains(number), "the wire under the glass shows a number");
    }
    for part in ["app", "device", "pay"] {
        scan(&counter.home.path().join("phone").join(part), &[numbers[0], numbers[2], &stripe]);
    }
}

/// No file below has one of these texts, plain, packed, or as hexadecimal of its characters.
fn scan(directory: &Path, texts: &[&str]) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scan(&path, texts);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for text in texts {
            let packed = hex::decode(&text[..text.len() & !1]).unwrap();
            let spelled = hex::encode(text);
            for form in [text.as_bytes(), &packed, spelled.as_bytes()] {
                let found = bytes.windows(form.len()).any(|window| window.eq_ignore_ascii_case(form));
                assert!(!found, "{} has a card's number", path.display());
            }
        }
    }
}

/// The answer gets lost: the payment is reversed, without a number.
#[test]
fn a_lost_answer_is_reversed_without_a_number() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 300, None, &How::Insert(CHIP)), Outcome::Approved);
    counter.station.hand(Hand::LoseAnswer { lose: true }).unwrap();
    let outcome = counter.outcome(Trade::Sale, 4_400, None, &How::Insert(CHIP));
    assert_eq!(outcome, Outcome::Declined);
    let reversal = counter.sent("0400");
    assert!(!has(&reversal, "2") && !has(&reversal, "35") && has(&reversal, "55"), "{reversal:?}");
    assert_eq!(counter.host.books().standing().values().copied().collect::<Vec<_>>(), [300]);
}

/// The link to the reader goes while the host is asked. The host books and answers; the phone can neither believe the answer,
/// whose key is in the reader, nor bring it to the chip. Back again, it reverses before it does anything else.
#[test]
fn a_link_that_goes_while_the_host_is_asked_ends_in_a_reversal() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 300, None, &How::Insert(CHIP)), Outcome::Approved);
    counter.cutter.at("0200 22", &counter.station, Hand::Link { on: false });
    let outcome = counter.outcome(Trade::Sale, 8_800, None, &How::Insert(CHIP));
    assert_ne!(outcome, Outcome::Approved, "nobody is told that it went through");
    assert!(counter.station.panel().unwrap().shown().standing.reversal, "it waits to be reversed");
    let mut standing: Vec<u64> = counter.host.books().standing().values().copied().collect();
    standing.sort_unstable();
    assert_eq!(standing, [300, 8_800], "the host has booked it");

    counter.station.hand(Hand::Link { on: true }).unwrap();
    assert_eq!(counter.outcome(Trade::Sale, 999, None, &How::Insert(CHIP)), Outcome::Approved);
    let mut standing: Vec<u64> = counter.host.books().standing().values().copied().collect();
    standing.sort_unstable();
    assert_eq!(standing, [300, 999], "reversed before the next sale");
}

/// Without the reader nothing begins: the order ends at the device, and nothing reaches the host.
#[test]
fn without_the_reader_a_sale_ends_at_the_device() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 300, None, &How::Insert(CHIP)), Outcome::Approved);
    let seen = counter.host.books().seen.len();
    counter.station.hand(Hand::Link { on: false }).unwrap();
    let panel = counter.station.panel().unwrap();
    assert!(panel.press(Input::Trade { trade: Trade::Sale }));
    counter.until("the amount", |view| matches!(view, View::Amount { .. }).then_some(()));
    assert!(panel.press(Input::Amount { amount: 100 }));
    let ending = counter.until("the end", |view| match view {
        View::Result { ending, .. } => Some(ending.clone()),
        _ => None,
    });
    assert_ne!(ending.outcome, Outcome::Approved);
    assert_eq!(counter.host.books().seen.len(), seen, "no request without a card");
}
