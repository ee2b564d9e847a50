//! The people at the terminal: a cashier who follows a script and does what each screen asks for, and the card holder.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app::flow::{Desk, Points, Rules, Trade};
use app::shell::ShellConfig;
use app::view::{Input, KeyedPan, Line, Standing, View};
use hal::DeviceKind;
use hal_virtual::PinKey;
use pos::TerminalConfig;
use receipt::{Bitmap, Width};
use tempfile::TempDir;
use terminal::{Deck, Hand, Station, StationConfig};
use tokio::runtime::{Builder, Runtime};

use crate::cutter::{At, Cutter};
use crate::host::{Books, Entry, Host, TMK};

/// What the preauthorisation of the prepared batch has set aside.
pub const PREAUTH: u64 = 20_000;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub enum How {
    None,
    Insert(&'static str),
    Tap(&'static str),
    Swipe(&'static str),
    /// Number and expiry at the keys.
    Keys(&'static str, &'static str),
    /// The stripe of the one that pays, the chip of the one that is loaded.
    Two(&'static str, &'static str),
}

/// What shall be done at the counter.
#[derive(Clone, Debug)]
pub struct Script {
    pub trade: Option<Trade>,
    pub first: Input,
    pub amount: u64,
    pub periods: u8,
    pub how: How,
    pub trace: Option<u64>,
    pub reference: Option<String>,
    pub auth_code: Option<String>,
    pub date: Option<String>,
    /// Done before it begins.
    pub before: Option<Box<Script>>,
}

impl Script {
    pub fn of(trade: Trade) -> Self {
        Self { trade: Some(trade), ..Self::desk(Input::Trade { trade }) }
    }

    pub fn desk(first: Input) -> Self {
        Self {
            trade: None,
            first,
            amount: 0,
            periods: 0,
            how: How::None,
            trace: None,
            reference: None,
            auth_code: None,
            date: None,
            before: None,
        }
    }
}

/// A terminal that has traded a little, and the books of its host.
pub struct Prepared {
    directory: TempDir,
    pub books: Books,
}

impl Prepared {
    pub fn find(&self, kind: &str) -> (u64, Entry) {
        self.books.find(kind)
    }
}

pub struct Counter {
    runtime: Runtime,
    pub host: Host,
    pub cutter: Arc<Cutter>,
    home: TempDir,
    runs: AtomicUsize,
    pub deck: Arc<Deck>,
    shell: ShellConfig,
    station: RefCell<Option<Arc<Station>>>,
    /// What stood at the host before the script.
    stood: RefCell<BTreeMap<u64, u64>>,
    /// Slips from before the script.
    printed: Cell<usize>,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Counter {
    pub fn new(esign: bool) -> Self {
        let rules = Rules { esign, ..Rules::default() };
        Self::with(ShellConfig { rules, ..ShellConfig::default() })
    }

    /// As [`Counter::new`], under these rules.
    pub fn with(shell: ShellConfig) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cutter = Arc::new(Cutter::new());
        let host = runtime.block_on(Host::open(Arc::clone(&cutter)));
        let home = tempfile::tempdir().unwrap();
        let deck = Arc::new(Deck::new(home.path().join("cards.json")));
        let (runs, station, printed) = (AtomicUsize::new(0), RefCell::default(), Cell::default());
        let stood = RefCell::default();
        Self { runtime, host, cutter, home, runs, deck, shell, station, stood, printed }
    }

    fn open(&self, directory: &Path) {
        let mut pos = TerminalConfig::new(&self.host.address, "898100000000001", "10000001");
        pos.answer_timeout_ms = 20_000;
        pos.capability = 6;
        pos.own_offline_limit = true;
        pos.serial = "LAB0000001".to_owned();
        let shell = ShellConfig { watch: Some(self.cutter.clone()), ..self.shell.clone() };
        let config = StationConfig {
            directory: directory.to_owned(),
            pos,
            components: vec![TMK.to_owned()],
            shell,
            width: Width::W58,
            reader: None,
        };
        let station = {
            let _inside = self.runtime.enter();
            Station::new(config, Arc::clone(&self.deck)).unwrap()
        };
        station.power_on().unwrap();
        *self.station.borrow_mut() = Some(station);
        self.settle_down("a start");
    }

    /// A terminal out of its box, with nothing in its batch.
    #[allow(dead_code)] // what the torn taps begin with
    pub fn fresh(&self) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.open(&self.home.path().join(run.to_string()));
    }

    /// A terminal with a sale by chip, a preauthorisation, and another that was completed, all in its batch.
    pub fn prepared(&self) -> Prepared {
        let directory = tempfile::tempdir().unwrap();
        self.open(directory.path());
        let chip = |trade, amount| Script { amount, how: How::Insert("L01"), ..Script::of(trade) };
        assert!(self.run(&chip(Trade::Sale, 10_000)));
        assert!(self.run(&chip(Trade::Preauth, 8000)));
        let (trace, preauth) = self.host.books().find("10");
        let completion = Script {
            auth_code: preauth.auth_code,
            date: Some("1124".to_owned()),
            ..chip(Trade::PreauthComplete, 8000)
        };
        assert!(self.run(&completion));
        // So that a search finds the one that is still open first.
        let mut books = self.host.books();
        let completed = books.entries.get_mut(&trace).unwrap();
        completed.kind = "10 completed".to_owned();
        self.host.set(books);
        assert!(self.run(&chip(Trade::Preauth, PREAUTH)));
        self.stop();
        Prepared { directory, books: self.host.books() }
    }

    /// A fresh terminal as it was prepared.
    pub fn start(&self, prepared: &Prepared) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let directory = self.home.path().join(run.to_string());
        copy(prepared.directory.path(), &directory);
        self.host.set(prepared.books.clone());
        self.cutter.disarm();
        self.printed.set(0);
        *self.stood.borrow_mut() = prepared.books.standing();
        self.open(&directory);
    }

    pub fn stop(&self) {
        if let Some(station) = self.station.borrow_mut().take() {
            station.power_off();
            let _ = station.hand(Hand::Remove);
            let _ = station.hand(Hand::Untap);
        }
    }

    pub fn station(&self) -> Arc<Station> {
        self.station.borrow().clone().unwrap()
    }

    /// After a cut: the plug is out, the card goes back to its holder, the power comes again, and goes again at `next`.
    pub fn restart(&self, next: At) {
        let station = self.station();
        station.power_off();
        self.cutter.arm_again(next);
        let _ = station.hand(Hand::Remove);
        let _ = station.hand(Hand::Untap);
        station.power_on().unwrap();
    }

    /// What stood at the host before the script: trace and amount.
    pub fn stood(&self) -> BTreeMap<u64, u64> {
        self.stood.borrow().clone()
    }

    /// Complete slips that came out of the printer for the script.
    pub fn slips(&self) -> usize {
        self.complete() - self.printed.get()
    }

    fn complete(&self) -> usize {
        self.station().printed().iter().filter(|printed| printed.complete).count()
    }

    /// Everything that the terminal wants to have done before its menu. Whether the power stayed.
    pub fn settle_down(&self, story: &str) -> bool {
        self.follow(None, story)
    }

    /// Plays a script from menu to menu. Whether the power stayed.
    pub fn run(&self, script: &Script) -> bool {
        self.follow(Some(script), &format!("{:?}", script.first))
    }

    /// What a cut left of the desk: uploads, which would go by themselves a little later. A settlement has come to its end
    /// by now.
    pub fn finish_desk(&self, story: &str) {
        let standing = self.panel().shown().standing;
        assert!(!standing.settlement_open, "{story}: somebody has to press settle");
        if standing.waiting > 0 {
            assert!(self.run(&Script::desk(Input::Desk { desk: Desk::Upload })), "{story}");
        }
    }

    /// The batch, and how the terminal is.
    pub fn list(&self, story: &str) -> (Vec<Line>, Standing) {
        let panel = self.panel();
        assert!(panel.press(Input::List { page: 0 }), "{story}");
        let mut page = None;
        self.until(story, || {
            if let View::List { page: shown } = panel.shown().view {
                page = Some(shown);
            }
            page.is_some()
        });
        assert!(panel.press(Input::Cancel), "{story}");
        self.until(story, || matches!(panel.shown().view, View::Menu { .. }));
        let page = page.unwrap();
        assert_eq!(page.pages, 1, "{story}");
        (page.lines, panel.shown().standing)
    }

    pub fn panel(&self) -> app::panel::Panel {
        self.station().panel().unwrap()
    }

    pub fn until(&self, story: &str, mut there: impl FnMut() -> bool) {
        let (mut device, mut cutter) = (self.station().changes(), self.cutter.changes());
        while !there() {
            let changed = self.runtime.block_on(async {
                tokio::time::timeout(PATIENCE, async {
                    tokio::select! {
                        _ = device.changed() => (),
                        _ = cutter.changed() => (),
                    }
                })
                .await
            });
            if changed.is_err() {
                panic!("{story}: nothing moves at {:?}", self.station().panel().map(|panel| panel.shown()));
            }
        }
    }

    fn follow(&self, script: Option<&Script>, story: &str) -> bool {
        if let Some(before) = script.and_then(|script| script.before.as_deref()) {
            let at = self.cutter.suspend();
            assert!(self.follow(Some(before), story));
            self.printed.set(self.complete());
            *self.stood.borrow_mut() = self.host.books().standing();
            self.cutter.resume(at);
        }
        let station = self.station();
        let panel = self.panel();
        let mut started = script.is_none();
        let mut done = 0;
        let mut finished = false;
        self.until(story, || {
            if self.cutter.is_cut() {
                return true;
            }
            let shown = panel.shown();
            if shown.version == done {
                return false;
            }
            let acted = match (&shown.view, script) {
                (View::Menu { .. }, Some(script)) if !started => {
                    started = panel.press(script.first.clone());
                    started
                }
                (View::Menu { .. }, _) if shown.version > 0 => {
                    finished = true;
                    true
                }
                (view, script) => self.act(&station, &panel, view, script),
            };
            if acted {
                done = shown.version;
            }
            finished
        });
        let _ = station.hand(Hand::Untap);
        finished && !self.cutter.is_cut()
    }

    /// Does what a screen asks for; `false`: not yet.
    fn act(
        &self,
        station: &Arc<Station>,
        panel: &app::panel::Panel,
        view: &View,
        script: Option<&Script>,
    ) -> bool {
        let controls = station.controls();
        match (view, script) {
            (View::Original { wrong: None, .. }, Some(script)) => panel.press(Input::Original {
                trace: script.trace.map(|trace| u32::try_from(trace).unwrap()),
                reference: script.reference.clone(),
                auth_code: script.auth_code.clone(),
                date: script.date.clone(),
            }),
            (View::Amount { wrong: None, .. }, Some(script)) => {
                panel.press(Input::Amount { amount: script.amount })
            }
            (View::Periods { wrong: None, .. }, Some(script)) => {
                panel.press(Input::Periods { periods: script.periods })
            }
            (View::Supervisor { wrong: false, .. }, _) => {
                panel.press(Input::Login { operator: "99".into(), password: "12345678".into() })
            }
            (View::Sign { .. }, _) => {
                let mut drawn = Bitmap::new(384, 128).unwrap();
                drawn.fill(20, 60, 200, 4);
                controls.sign(drawn)
            }
            (View::Points { .. }, _) => panel.press(Input::Points { points: Points::Alliance }),
            (View::Voice { wrong: None, .. }, Some(script)) => {
                panel.press(Input::Voice { code: script.auth_code.clone() })
            }
            (View::Card { second, .. }, Some(script)) => {
                let waits = controls.view().waiting.contains(&DeviceKind::Detector);
                waits
                    && match script.how {
                        How::Insert(card) => station.hand(Hand::Insert { card: card.into() }).is_ok(),
                        How::Tap(card) => station.hand(Hand::Tap { card: card.into() }).is_ok(),
                        How::Swipe(card) => station.hand(Hand::Swipe { card: card.into() }).is_ok(),
                        How::Two(card, _) if !second => {
                            station.hand(Hand::Swipe { card: card.into() }).is_ok()
                        }
                        How::Two(_, card) => station.hand(Hand::Insert { card: card.into() }).is_ok(),
                        How::Keys(pan, expiry) => {
                            let pan = KeyedPan(pan.to_owned().into());
                            panel.press(Input::Keyed { pan, expiry: Some(expiry.to_owned()) })
                        }
                        How::None => panic!("a card is asked for"),
                    }
            }
            (View::Pin { .. }, _) => controls.type_digits("123456") && controls.press(PinKey::Confirm),
            (View::RemoveCard, _) => {
                let _ = station.hand(Hand::Remove);
                true
            }
            (
                View::Tear { .. }
                | View::Result { .. }
                | View::Paper { .. }
                | View::ConfirmOriginal { .. }
                | View::ConfirmSettle { .. }
                | View::Waiting { .. }
                | View::Told { .. }
                | View::Trouble { .. },
                _,
            ) => panel.press(Input::Confirm),
            (View::Busy { .. }, _) => true,
            (view, _) => panic!("nobody expects {view:?}"),
        }
    }
}
