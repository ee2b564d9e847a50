//! One smart POS: a virtual device, the acquiring app in a thread of its own while there is power, the wire under a glass.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use app::door::{About, Door};
use app::keys::DeviceKeys;
use app::panel::{Panel, Shown};
use app::shell::{Shell, ShellConfig, Surroundings};
use app::view::Input;
use hal::{
    AppId, Broker, CancelToken, Code, CodeFormat, DeviceKind, DeviceManager, LocalManager, Permission,
    Permissions,
};
use hal_virtual::{
    Controls, DeviceView, PinKey, Printed, SecureConfig, VirtualConfig, VirtualDevice, os_random,
};
use mpos::Phone;
use pos::clock::{Clock, SystemClock};
use pos::{Dial, PosError, TerminalConfig, TmkComponent};
use receipt::{Bitmap, Part, Width};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::deck::{Deck, DeckError};
use crate::kernels::LabKernels;
use crate::reader::{ReaderUnit, ReaderView};
use crate::trace::{Trace, Watched};

/// Name of the acquiring app on the device.
const APP: &str = "posp.acquiring";
const NO_READER: StationError = StationError::Hand("没有读卡器 / there is no reader");
/// The acquirer's place in the key slots.
const TENANT: u8 = 1;

/// What a station is made from.
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// Where its files are.
    pub directory: PathBuf,
    /// The terminal as the protocol knows it.
    pub pos: TerminalConfig,
    /// Components of its master key, hexadecimal, loaded when it is taken out of its box.
    pub components: Vec<String>,
    /// The counter's rules.
    pub shell: ShellConfig,
    /// Its paper.
    pub width: Width,
    /// A phone with a reader (MPOS) and not a terminal with everything in one: the reader's serial number. The components
    /// go into the reader, in the maker's key room.
    pub reader: Option<String>,
}

/// Why a station does not come up.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A device.
    #[error(transparent)]
    Device(#[from] hal::HalError),
    /// The protocol.
    #[error(transparent)]
    Pos(#[from] PosError),
    /// Files.
    #[error("{0}")]
    Files(String),
    /// The deck.
    #[error(transparent)]
    Deck(#[from] DeckError),
    /// A hand that cannot do this now.
    #[error("{0}")]
    Hand(&'static str),
}

/// What a hand does to the device.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Hand {
    /// A card into the slot.
    Insert {
        /// Which.
        card: String,
    },
    /// The card out of the slot.
    Remove,
    /// A card to the antenna.
    Tap {
        /// Which.
        card: String,
    },
    /// Away from the antenna.
    Untap,
    /// A card through the stripe reader.
    Swipe {
        /// Which.
        card: String,
    },
    /// The PIN key at this place of the layout, 0 to 9.
    PinKey {
        /// Place.
        at: u8,
    },
    /// Clears the PIN.
    PinClear,
    /// The green key of the PIN pad.
    PinConfirm,
    /// The red key of the PIN pad.
    PinCancel,
    /// Tears off what hangs out of the printer.
    Tear,
    /// Takes the paper roll out, or puts a new one in.
    Paper {
        /// There is paper.
        there: bool,
    },
    /// Printer cover.
    Cover {
        /// Open.
        open: bool,
    },
    /// A code before the scanner.
    Scan {
        /// What it says.
        code: String,
    },
    /// The holder has signed on the pad.
    Sign {
        /// What was drawn.
        image: Bitmap,
    },
    /// The power switch.
    Power {
        /// On.
        on: bool,
    },
    /// The network switch.
    Network {
        /// There.
        online: bool,
    },
    /// The answer to the next request gets lost.
    LoseAnswer {
        /// Lose it.
        lose: bool,
    },
    /// Closes the drawer.
    CloseDrawer,
    /// The code of the reader's label, keyed or scanned on the phone.
    Pair {
        /// 32 hexadecimal digits; what stands between them does not matter.
        code: String,
    },
    /// The link between phone and reader.
    Link {
        /// There.
        on: bool,
    },
    /// The link goes with a request that is still to come.
    CutLink {
        /// Which one, from 1.
        nth: u32,
        /// The reader hears it, and its answer is lost; otherwise the request is.
        heard: bool,
    },
}

/// A running app.
struct Running {
    panel: Panel,
    door: Arc<Door>,
    power: CancelToken,
    thread: JoinHandle<()>,
    /// The app's hold on its directory, which a write under way keeps beyond the end of its thread.
    released: pos::Released,
}

/// A document on the paper, for the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paper {
    /// Counts from 1.
    pub number: u64,
    /// Torn off.
    pub torn: bool,
    /// All of it came out.
    pub complete: bool,
}

/// A station at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Terminal number.
    pub id: String,
    /// There is power.
    pub power: bool,
    /// The screen and the standing of the terminal; nothing without power.
    pub screen: Option<ScreenView>,
    /// The device.
    pub device: DeviceView,
    /// Slips, newest last.
    pub paper: Vec<Paper>,
    /// The card in the slot.
    pub slot: Option<String>,
    /// The network is there.
    pub online: bool,
    /// The next answer gets lost.
    pub lose_answer: bool,
    /// Newest item of the trace.
    pub trace: u64,
    /// The reader, where the terminal is a phone with one.
    pub reader: Option<ReaderView>,
}

/// What the screen shows.
#[derive(Clone, Debug, Serialize)]
pub struct ScreenView {
    /// Screen.
    #[serde(flatten)]
    pub view: app::view::View,
    /// Standing.
    pub standing: app::view::Standing,
    /// Rises with every change.
    pub version: u64,
}

impl From<Shown> for ScreenView {
    fn from(shown: Shown) -> Self {
        Self { view: shown.view, standing: shown.standing, version: shown.version }
    }
}

/// A smart POS.
pub struct Station {
    id: String,
    config: StationConfig,
    device: Arc<VirtualDevice>,
    controls: Controls,
    deck: Arc<Deck>,
    trace: Arc<Trace>,
    dial: Arc<dyn Dial>,
    running: Mutex<Option<Running>>,
    /// Which card is where, and the how manieth of all it was: one that leaves by itself must not take away another that
    /// has come since.
    cards: Mutex<BTreeMap<Place, (String, u64)>>,
    put: AtomicU64,
    changed: watch::Sender<u64>,
    runtime: Handle,
    reader: Option<ReaderUnit>,
}

/// Where a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Slot,
    Field,
}

impl std::fmt::Debug for Station {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Station").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Now, in milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemClock.now().as_millisecond()).unwrap_or_default()
}

fn files(error: impl std::fmt::Display) -> StationError {
    StationError::Files(error.to_string())
}

/// What the acquiring app may use: everything but packages and settings.
fn grants() -> Permissions {
    [Permission::Packages, Permission::Settings, Permission::FormatKeys, Permission::Open(DeviceKind::System)]
        .into_iter()
        .fold(Permissions::all(), Permissions::without)
}

impl Station {
    /// A station with its power off. Must be called within a runtime.
    ///
    /// # Errors
    /// Its files cannot be used.
    pub fn new(config: StationConfig, deck: Arc<Deck>) -> Result<Arc<Self>, StationError> {
        fs::create_dir_all(&config.directory).map_err(files)?;
        let mut virtual_config = VirtualConfig::lab();
        virtual_config.width = config.width;
        virtual_config.identity.serial = config.pos.serial.clone();
        virtual_config.kernels = Some(Arc::new(LabKernels));
        virtual_config.secure = SecureConfig {
            directory: Some(config.directory.join("device")),
            random: os_random(),
            ..virtual_config.secure
        };
        let device = VirtualDevice::new(virtual_config)?;
        let controls = device.controls();
        controls.cut_power();
        let (changed, _) = watch::channel(0);
        let told = changed.clone();
        let tell = move || told.send_modify(|version| *version += 1);
        let trace = Arc::new(Trace::new(config.pos.clone(), Box::new(tell.clone())));
        let reader = match &config.reader {
            Some(serial) => {
                let directory = config.directory.join("reader");
                Some(ReaderUnit::new(&directory, serial, &config.components, tell.clone())?)
            }
            None => None,
        };
        controls.on_change(move |_| tell());
        let dial = Arc::new(Watched { inner: config.pos.dialer(), trace: Arc::clone(&trace) });
        Ok(Arc::new(Self {
            id: config.pos.terminal.clone(),
            config,
            device,
            controls,
            deck,
            trace,
            dial,
            running: Mutex::default(),
            cards: Mutex::default(),
            put: AtomicU64::new(0),
            changed,
            runtime: Handle::current(),
            reader,
        }))
    }

    /// Terminal number.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is a phone with a reader.
    pub fn is_mpos(&self) -> bool {
        self.reader.is_some()
    }

    /// The terminal as the protocol knows it.
    pub fn pos(&self) -> &TerminalConfig {
        &self.config.pos
    }

    /// Rises with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The wire.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The hands, for tests.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// The hands where cards and PINs go: the reader's, where there is one.
    pub fn card_controls(&self) -> &Controls {
        self.reader.as_ref().map_or(&self.controls, ReaderUnit::controls)
    }

    /// The panel, while there is power.
    pub fn panel(&self) -> Option<Panel> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.panel.clone())
    }

    /// The door for other apps, while there is power.
    pub fn door(&self) -> Option<Arc<Door>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| Arc::clone(&running.door))
    }

    /// Switches the power on: the terminal starts, settles what the last cut left, and waits for its cashier. Blocks for
    /// as long as the first start takes its device out of the box.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn power_on(&self) -> Result<(), StationError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_some() {
            return Ok(());
        }
        self.controls.restore_power();
        if !self.knows_reader()? {
            // A phone without its reader waits for the code of a label.
            drop(running);
            self.changed.send_modify(|version| *version += 1);
            return Ok(());
        }
        let started = self.start();
        match started {
            Ok(up) => *running = Some(up),
            Err(error) => {
                self.controls.cut_power();
                return Err(error);
            }
        }
        drop(running);
        self.changed.send_modify(|version| *version += 1);
        Ok(())
    }

    /// Whether it has everything that it needs to start: a phone has paired with its reader.
    fn knows_reader(&self) -> Result<bool, StationError> {
        self.reader.as_ref().map_or(Ok(true), |reader| reader.recall(self.device.secure().as_ref()))
    }

    fn start(&self) -> Result<Running, StationError> {
        let app = AppId::new(APP);
        let manager: Arc<dyn DeviceManager> = match &self.reader {
            Some(reader) => {
                let phone = Phone::new(self.device.drivers(), Arc::clone(reader.link()));
                Arc::new(LocalManager::new(Arc::new(phone)))
            }
            None => Arc::new(self.device.manager()),
        };
        let broker: Arc<dyn DeviceManager> = Arc::new(Broker::new(manager, app.clone(), grants()));
        let session = broker.login(&app)?;
        let security = Arc::new(DeviceKeys::open(broker.as_ref(), &session, TENANT)?);
        let surroundings = pos::Surroundings {
            dial: Some(Arc::clone(&self.dial)),
            security: Some(security.clone()),
            ..pos::Surroundings::default()
        };
        let directory = self.config.directory.join("app");
        let fresh = !directory.join("config.json").exists();
        let mut terminal = if fresh {
            let mut terminal = pos::Terminal::enrol_in(&directory, self.config.pos.clone(), surroundings)?;
            let components: Vec<TmkComponent> =
                self.config.components.iter().map(|component| TmkComponent::parse(component)).collect();
            if !components.is_empty() && self.reader.is_none() {
                self.runtime.block_on(terminal.load_tmk(&components, None))?;
            }
            terminal
        } else {
            let mut terminal = pos::Terminal::open_in(&directory, surroundings)?;
            terminal.start_with(self.config.pos.clone())?;
            terminal
        };
        if self.reader.is_some()
            && !terminal.has_master()
            && let Err(error) = self.runtime.block_on(terminal.adopt_master())
        {
            tracing::warn!(terminal = self.id, %error, "the reader has no master key for this terminal");
        }
        let panel = Panel::new();
        let told = self.changed.clone();
        panel.on_change(move |_| told.send_modify(|version| *version += 1));
        let about = About {
            merchant: self.config.pos.merchant.clone(),
            merchant_name: self.config.pos.merchant_name.clone(),
            terminal: self.id.clone(),
            serial: self.config.pos.serial.clone(),
        };
        let door =
            Door::open(&self.config.directory.join("pay"), panel.clone(), about, now_ms()).map_err(files)?;
        let power = CancelToken::new();
        let around = Surroundings {
            devices: broker,
            session,
            security,
            panel: panel.clone(),
            callers: door.clone(),
            runtime: self.runtime.clone(),
            power: power.clone(),
        };
        let released = terminal.released();
        // Milliseconds of the start: no two starts of a terminal have the same.
        let prefix = format!("c{}", SystemClock.now().as_millisecond());
        let shell = Shell::new(self.config.shell.clone(), around, terminal, prefix).map_err(files)?;
        let thread = std::thread::Builder::new()
            .name(format!("terminal {}", self.id))
            .spawn(move || shell.run())
            .map_err(files)?;
        Ok(Running { panel, door, power, thread, released })
    }

    /// Pulls the plug: whatever was under way stops where it is. Blocks until the app's thread has ended, and a write that
    /// the disk was at: who switches the power on again finds nobody in the way.
    pub fn power_off(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.power.cancel_as(hal::ErrorKind::ServiceLost);
            self.controls.cut_power();
            if running.thread.join().is_err() {
                tracing::error!(terminal = self.id, "the app's thread panicked");
            }
            running.released.wait();
            running.door.close();
        }
        self.controls.cut_power();
        if let Some(reader) = &self.reader {
            reader.link().hang_up();
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// A person at the screen. Whether the key meant something.
    ///
    /// # Errors
    /// No power.
    pub fn press(&self, input: Input) -> Result<bool, StationError> {
        Ok(self.panel().ok_or(StationError::Hand("没有电源 / no power"))?.press(input))
    }

    /// A hand at the device.
    ///
    /// # Errors
    /// A card that is elsewhere, or a slot that is taken.
    pub fn hand(self: &Arc<Self>, hand: Hand) -> Result<(), StationError> {
        match hand {
            Hand::Insert { card } => self.put(&card, Place::Slot)?,
            Hand::Remove => {
                self.card_controls().remove();
                self.lay_down(Place::Slot, None);
            }
            Hand::Tap { card } => self.put(&card, Place::Field)?,
            Hand::Untap => {
                self.card_controls().untap();
                self.lay_down(Place::Field, None);
            }
            Hand::Swipe { card } => {
                let stripe = self.deck.stripe(&card)?;
                if !self.card_controls().swipe(&stripe) {
                    return Err(StationError::Hand("现在不刷卡 / nothing waits for a swipe now"));
                }
            }
            Hand::PinKey { at } => {
                self.card_controls().press(PinKey::At(at));
            }
            Hand::PinClear => {
                self.card_controls().press(PinKey::Clear);
            }
            Hand::PinConfirm => {
                self.card_controls().press(PinKey::Confirm);
            }
            Hand::PinCancel => {
                self.card_controls().press(PinKey::Cancel);
            }
            Hand::Tear => {
                self.controls.tear();
            }
            Hand::Paper { there: true } => self.controls.new_roll(),
            Hand::Paper { there: false } => self.controls.paper_left(0),
            Hand::Cover { open } => self.controls.cover(open),
            Hand::Sign { image } => {
                if !self.controls.sign(image) {
                    return Err(StationError::Hand("现在不签名 / nothing waits for a signature now"));
                }
            }
            Hand::Scan { code } => {
                if !self.controls.view().waiting.contains(&DeviceKind::Scanner) {
                    return Err(StationError::Hand("现在不扫码 / nothing waits for a code now"));
                }
                self.controls.show_code(Some(Code { format: CodeFormat::Qr, text: code }));
            }
            Hand::Power { on: true } => self.power_on()?,
            Hand::Power { on: false } => self.power_off(),
            Hand::Network { online } => {
                self.trace.set_online(online);
                self.controls.network(online);
            }
            Hand::LoseAnswer { lose } => self.trace.lose_next_answer(lose),
            Hand::CloseDrawer => self.controls.close_drawer(),
            Hand::Pair { code } => {
                let reader = self.reader.as_ref().ok_or(NO_READER)?;
                reader.pair(&code, self.device.secure().as_ref())?;
                self.changed.send_modify(|version| *version += 1);
                self.power_on()?;
            }
            Hand::Link { on } => self.reader.as_ref().ok_or(NO_READER)?.radio().set(on),
            Hand::CutLink { nth, heard } => {
                self.reader.as_ref().ok_or(NO_READER)?.radio().cut_at(nth, heard);
            }
        }
        Ok(())
    }

    fn put(self: &Arc<Self>, card: &str, place: Place) -> Result<(), StationError> {
        let own = Arc::downgrade(self);
        let runtime = self.runtime.clone();
        let number = self.put.fetch_add(1, Ordering::Relaxed);
        let left = Box::new(move || {
            let own = own.clone();
            runtime.spawn_blocking(move || {
                if let Some(station) = own.upgrade() {
                    station.lay_down(place, Some(number));
                }
            });
        });
        let handle = self.deck.take(card, &self.id, left)?;
        let room = match place {
            Place::Slot => self.card_controls().insert(&handle),
            Place::Field => {
                self.card_controls().tap(&handle);
                true
            }
        };
        if !room {
            self.deck.put_back(card);
            return Err(StationError::Hand("卡槽已有卡 / there is a card in the slot"));
        }
        self.cards.lock().unwrap_or_else(PoisonError::into_inner).insert(place, (card.to_owned(), number));
        self.changed.send_modify(|version| *version += 1);
        Ok(())
    }

    /// The card in this place (the one with this number, when there is one) lies on the table again. A device knows by
    /// itself that a card has left it.
    fn lay_down(&self, place: Place, number: Option<u64>) {
        let card = {
            let mut cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
            let is_it = cards.get(&place).is_some_and(|(_, at)| number.is_none_or(|number| number == *at));
            if is_it { cards.remove(&place) } else { None }
        };
        if let Some((card, _)) = card {
            self.deck.put_back(&card);
        }
        self.changed.send_modify(|version| *version += 1);
    }

    /// Slips that came out, oldest first; torn ones too.
    pub fn printed(&self) -> Vec<Printed> {
        self.controls.printed()
    }

    /// One of them as a document of one part.
    pub fn slip(&self, number: u64) -> Option<Printed> {
        self.controls.printed().into_iter().find(|printed| printed.number == number)
    }

    /// Which part of a slip's document is drawn: it was printed as one copy already.
    pub const SLIP_PART: Part = Part::Merchant;

    /// How it is now.
    pub fn snapshot(&self) -> Snapshot {
        let panel = self.panel();
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            id: self.id.clone(),
            power: self.controls.view().power,
            screen: panel.map(|panel| panel.shown().into()),
            device: self.controls.view(),
            paper: self
                .controls
                .printed()
                .iter()
                .map(|printed| Paper {
                    number: printed.number,
                    torn: printed.torn,
                    complete: printed.complete,
                })
                .collect(),
            slot: cards.get(&Place::Slot).map(|(card, _)| card.clone()),
            online: self.trace.is_online(),
            lose_answer: self.trace.loses_next_answer(),
            trace: self.trace.newest(),
            reader: self.reader.as_ref().map(ReaderUnit::view),
        }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.power_off();
    }
}
