//! Each family of checks is shown to fail: one device is broken on purpose, and the check that is there for it
//! says so, while the same check passes on the device as it is (`conformance.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::VirtualFixture;
use hal::{
    AppId, Call, CancelToken, CardText, Claim, CryptoBox, Deadline, Device, DeviceEntry, DeviceInfo,
    DeviceKind, DeviceManager, DriverSet, ErrorKind, HalError, Health, IccReader, Identity, Kcv,
    KeyAbilities, KeySlot, KeyStore, LeaseTerms, LocalManager, MacAlgorithm, MagData, MagReader,
    MasterSource, OnlinePin, PinAbilities, PinEvent, PinPad, PinRequest, PinWatch, PowerUp, PrintJob,
    Printer, PrinterAbilities, PrinterStatus, Result, RfCard, RfKind, RfReader, Session, SlotInfo,
    SwipeRequest, Tamper, TerminalSerial, Tusn, Versions, WorkKey,
};
use hal_suite::{Cannot, Fixture, Hands, Report, Verdict};
use zeroize::Zeroizing;

type Swap = fn(Device) -> Device;

/// Drivers of which one device is exchanged.
struct Broken {
    inner: Arc<dyn DriverSet>,
    swap: Swap,
}

impl DriverSet for Broken {
    fn inventory(&self) -> Vec<DeviceEntry> {
        self.inner.inventory()
    }

    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device> {
        self.inner.device(kind, index).map(self.swap)
    }

    fn released(&self, kind: DeviceKind, index: u8) {
        self.inner.released(kind, index);
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        self.inner.health(kind, index)
    }
}

/// Runs one family on drivers with an exchanged device.
fn spoiled(swap: fn(Arc<dyn DriverSet>) -> Arc<dyn DriverSet>, family: &str) -> Report {
    let mut fixture = VirtualFixture::spoiled(swap);
    fixture.patience = Duration::from_millis(400);
    hal_suite::run_some(&fixture, |name| name == family)
}

/// These checks failed, and no other of the family.
fn fails(report: &Report, names: &[&str]) {
    let failed: Vec<&str> = report
        .rows
        .iter()
        .filter(|row| row.verdict == Verdict::Failed)
        .map(|row| row.name.as_str())
        .collect();
    assert_eq!(failed, names, "{}", report.to_text());
}

macro_rules! swapped {
    ($kind:ident, $wrap:expr) => {
        |inner| {
            let swap: Swap = |device| match device {
                Device::$kind(device) => Device::$kind(Arc::new($wrap(device))),
                other => other,
            };
            Arc::new(Broken { inner, swap })
        }
    };
}

struct Optimist(Arc<dyn Printer>);

impl Printer for Optimist {
    fn abilities(&self) -> PrinterAbilities {
        self.0.abilities()
    }

    fn status(&self) -> Result<PrinterStatus> {
        self.0.status()
    }

    fn print(&self, job: &PrintJob, call: &Call) -> Result<()> {
        // "It will have printed": the boolean of a vendor, not looked at.
        let _boolean = self.0.print(job, call);
        Ok(())
    }

    fn feed(&self, lines: u8) -> Result<()> {
        self.0.feed(lines)
    }
}

/// A printer that says yes without paper and with a hot head.
#[test]
fn a_printer_that_always_says_yes() {
    let report = spoiled(swapped!(Printer, Optimist), "paper");
    fails(&report, &["paper out before a slip", "paper out during a slip", "overheated, then recovered"]);
}

struct Deaf(Arc<dyn MagReader>);

impl MagReader for Deaf {
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData> {
        // A vendor's blocking call that knows a timeout and no stop.
        let alone = Call { deadline: call.deadline, cancel: CancelToken::new() };
        self.0.wait_swipe(request, &alone)
    }
}

/// A reader that cannot be stopped hangs where it must end, and the suite goes on without it.
#[test]
fn a_reader_that_cannot_be_stopped() {
    let report = spoiled(swapped!(Mag, Deaf), "cancelling");
    fails(&report, &["waiting for a swipe, at once", "waiting for a swipe, in the middle"]);
    assert!(report.to_text().contains("hangs"));
    let report = spoiled(swapped!(Mag, Deaf), "claims");
    assert_eq!(report.verdict("claims", "lease lost when the app dies: a swipe"), Some(Verdict::Failed));
}

struct Patient(Arc<dyn MagReader>);

impl MagReader for Patient {
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData> {
        // Seconds taken for milliseconds.
        let longer = Call { deadline: Deadline::after(Duration::from_secs(50)), cancel: call.cancel.clone() };
        self.0.wait_swipe(request, &longer)
    }
}

struct Hasty;

impl MagReader for Hasty {
    fn wait_swipe(&self, _request: &SwipeRequest, _call: &Call) -> Result<MagData> {
        Err(HalError::new(ErrorKind::Timeout, DeviceKind::Mag))
    }
}

/// A reader whose deadline comes a thousand times too late, and one whose comes at once.
#[test]
fn a_reader_with_another_unit_of_time() {
    fails(&spoiled(swapped!(Mag, Patient), "deadlines"), &["waiting for a swipe"]);
    fails(&spoiled(swapped!(Mag, |_| Hasty), "deadlines"), &["waiting for a swipe"]);
}

struct Ghost(Arc<dyn IccReader>, Mutex<Vec<u8>>);

impl IccReader for Ghost {
    fn present(&self) -> Result<bool> {
        self.0.present()
    }

    fn wait_card(&self, call: &Call) -> Result<()> {
        self.0.wait_card(call)
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.0.wait_removed(call)
    }

    fn power_up(&self, how: &PowerUp) -> Result<Vec<u8>> {
        self.0.power_up(how)
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        // The buffer of the last answer, given again.
        if let Ok(answer) = self.0.transmit(apdu, call) {
            *self.1.lock().unwrap() = answer;
        }
        Ok(self.1.lock().unwrap().clone())
    }

    fn power_down(&self) -> Result<()> {
        self.0.power_down()
    }
}

struct Greedy(Arc<dyn RfReader>);

impl RfReader for Greedy {
    fn poll(&self, kinds: &[RfKind], call: &Call) -> Result<RfCard> {
        match self.0.poll(kinds, call) {
            Err(error) if error.kind == ErrorKind::MultipleCards => {
                Ok(RfCard { kind: RfKind::CpuA, uid: vec![1, 2, 3, 4] })
            }
            other => other,
        }
    }

    fn activate(&self) -> Result<Vec<u8>> {
        self.0.activate()
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        self.0.transmit(apdu, call)
    }

    fn halt(&self) -> Result<()> {
        self.0.halt()
    }

    fn field_off(&self) -> Result<()> {
        self.0.field_off()
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.0.wait_removed(call)
    }
}

/// A slot that answers for a card that has left, and a field that takes one of two.
#[test]
fn readers_that_do_not_look() {
    let ghost: common::Spoil = swapped!(Icc, |device| Ghost(device, Mutex::default()));
    fails(&spoiled(ghost, "cards"), &["card pulled between two commands"]);
    fails(&spoiled(swapped!(Rf, Greedy), "cards"), &["two cards in the field"]);
}

struct Lenient(Arc<dyn PinPad>);

impl PinPad for Lenient {
    fn abilities(&self) -> PinAbilities {
        self.0.abilities()
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        self.0.online_pin(&PinRequest { bypass: true, ..request.clone() }, watch, call)
    }
}

struct Short(Arc<dyn PinPad>);

impl PinPad for Short {
    fn abilities(&self) -> PinAbilities {
        self.0.abilities()
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        // Whatever was confirmed is the end.
        let own = call.cancel.child();
        let taken = Mutex::new(false);
        let listen = |event: PinEvent| {
            if matches!(event, PinEvent::WrongLength(_)) {
                *taken.lock().unwrap() = true;
                own.cancel();
            }
            watch(event);
        };
        let ended =
            self.0.online_pin(request, &listen, &Call { deadline: call.deadline, cancel: own.clone() });
        if *taken.lock().unwrap() { Ok(OnlinePin::Bypassed) } else { ended }
    }
}

struct Muddled(Arc<dyn PinPad>);

impl PinPad for Muddled {
    fn abilities(&self) -> PinAbilities {
        self.0.abilities()
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        let swap = |kind| HalError::new(kind, DeviceKind::PinPad);
        self.0.online_pin(request, watch, call).map_err(|error| match error.kind {
            ErrorKind::Timeout => swap(ErrorKind::UserCancelled),
            ErrorKind::UserCancelled => swap(ErrorKind::Timeout),
            _ => error,
        })
    }
}

struct OtherCard(Arc<dyn PinPad>);

impl PinPad for OtherCard {
    fn abilities(&self) -> PinAbilities {
        self.0.abilities()
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        let pan = hal::CardNumber::clear("6224242000000039");
        self.0.online_pin(&PinRequest { pan, ..request.clone() }, watch, call)
    }
}

/// Pads that let a holder pass, take what is too short, mix up how it ended, or bind the PIN to another card.
#[test]
fn pads_that_are_not_strict() {
    fails(&spoiled(swapped!(PinPad, Lenient), "PIN"), &["no bypass where it is not"]);
    let short = spoiled(swapped!(PinPad, Short), "PIN");
    fails(&short, &["too short is not taken", "no bypass where it is not"]);
    fails(&spoiled(swapped!(PinPad, Muddled), "PIN"), &["cancelled by the holder", "nobody confirms"]);
    let other = spoiled(swapped!(PinPad, OtherCard), "PIN");
    fails(&other, &["the published block", "too short is not taken", "no bypass where it is not"]);
    // The wrong block is not in the report: with the published key it is a PIN.
    assert!(other.to_text().contains("another block than the published one"));
}

struct Hurried(Arc<dyn KeyStore>);

impl KeyStore for Hurried {
    fn abilities(&self) -> KeyAbilities {
        self.0.abilities()
    }

    fn slots(&self) -> Result<Vec<SlotInfo>> {
        self.0.slots()
    }

    fn kcv(&self, slot: KeySlot) -> Result<Kcv> {
        self.0.kcv(slot)
    }

    fn load_master(&self, slot: KeySlot, source: &MasterSource<'_>, kcv: Option<Kcv>) -> Result<Kcv> {
        self.0.load_master(slot, source, kcv)
    }

    fn load_work_key(&self, key: &WorkKey<'_>) -> Result<()> {
        // Room is made before the new key is looked at.
        self.0.delete(key.slot)?;
        self.0.load_work_key(key)
    }

    fn delete(&self, slot: KeySlot) -> Result<()> {
        self.0.delete(slot)
    }

    fn format(&self) -> Result<()> {
        self.0.format()
    }
}

struct Careless(Arc<dyn CryptoBox>);

impl CryptoBox for Careless {
    fn mac_modes(&self) -> Vec<MacAlgorithm> {
        self.0.mac_modes()
    }

    fn mac(&self, key: KeySlot, mode: MacAlgorithm, data: &[u8]) -> Result<[u8; 8]> {
        // Every mode is the one mode it knows.
        let mode = if mode == MacAlgorithm::X99 { MacAlgorithm::CupEcb } else { mode };
        self.0.mac(key, mode, data)
    }

    fn encrypt_track(&self, key: KeySlot, track: &CardText) -> Result<CardText> {
        self.0.encrypt_track(key, track)
    }

    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        self.0.random(len)
    }
}

/// A store that empties the slot first, and a box that mistakes one mode for another.
#[test]
fn keys_that_are_lost_and_modes_that_are_mixed_up() {
    let store = spoiled(swapped!(Keys, Hurried), "keys");
    fails(&store, &["wrong check value leaves the old key"]);
    fails(&spoiled(swapped!(Crypto, Careless), "MAC"), &["X9.9"]);
}

struct Fixed(Arc<dyn TerminalSerial>);

impl TerminalSerial for Fixed {
    fn tusn(&self, random: &str, app_version: &str) -> Result<Tusn> {
        let tusn = self.0.tusn("0000", app_version)?;
        Ok(Tusn { random: random.to_owned(), ..tusn })
    }
}

/// A proof that is the same for every factor could be played back.
#[test]
fn a_serial_number_proof_that_does_not_change() {
    let report = spoiled(swapped!(Tusn, Fixed), "serial number");
    let names = ["factor of 4 bytes", "factor of 10 bytes", "factors of 3 and 11 bytes are refused"];
    fails(&report, &names);
}

struct Still(Arc<dyn DeviceInfo>);

impl DeviceInfo for Still {
    fn identity(&self) -> Result<Identity> {
        self.0.identity()
    }

    fn versions(&self) -> Result<Versions> {
        self.0.versions()
    }

    fn counters(&self) -> Result<hal::Counters> {
        Ok(hal::Counters::default())
    }

    fn tamper(&self) -> Result<Tamper> {
        self.0.tamper()
    }
}

/// Counters that stand still.
#[test]
fn counters_that_do_not_count() {
    let report = spoiled(swapped!(Info, Still), "counters");
    assert_eq!(report.count(Verdict::Passed), 0, "{}", report.to_text());
    assert_eq!(report.count(Verdict::Failed), 6);
}

/// Hands out device 0 for any number, and keeps a hand on everything it ever gave.
struct Hoarder(Arc<dyn DriverSet>, Mutex<Vec<Device>>);

impl DriverSet for Hoarder {
    fn inventory(&self) -> Vec<DeviceEntry> {
        self.0.inventory()
    }

    fn device(&self, kind: DeviceKind, _index: u8) -> Result<Device> {
        let device = self.0.device(kind, 0)?;
        self.1.lock().unwrap().push(device.clone());
        Ok(device)
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        self.0.health(kind, index)
    }
}

/// A driver that leaks, and knows no numbers.
#[test]
fn a_driver_that_leaks() {
    let hoard: common::Spoil = |inner| Arc::new(Hoarder(inner, Mutex::default()));
    fails(&spoiled(hoard, "cycles"), &["nothing leaks"]);
    let report = spoiled(hoard, "absent devices");
    assert_eq!(report.verdict("absent devices", "no such number: printer"), Some(Verdict::Failed));
}

/// A platform whose broker lets everything through.
#[test]
fn a_broker_that_lets_everything_through() {
    let mut fixture = VirtualFixture::new();
    fixture.leaky_broker = true;
    let report = hal_suite::run_some(&fixture, |name| name == "permissions");
    assert_eq!(report.count(Verdict::Passed), 0, "{}", report.to_text());
    assert!(report.count(Verdict::Failed) > 20);
}

/// A manager that claims nothing: each session sees all devices as free, and dead apps live on.
struct Anarchy(VirtualFixture);

impl DeviceManager for Anarchy {
    fn inventory(&self) -> Vec<DeviceEntry> {
        self.0.manager.inventory()
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        self.0.manager.health(kind, index)
    }

    fn login(&self, app: &AppId) -> Result<Session> {
        self.0.manager.login(app)
    }

    fn end_app(&self, _app: &AppId) {}

    fn open_device(
        &self,
        session: &Session,
        kind: DeviceKind,
        index: u8,
        terms: LeaseTerms,
    ) -> Result<(Device, Claim)> {
        let own = LocalManager::new(self.0.device.drivers());
        let other = own.login(session.app())?;
        let opened = own.open_device(&other, kind, index, terms);
        // The session must outlive the lease, and nobody ends it.
        std::mem::forget(other);
        opened
    }
}

struct Lawless(Arc<Anarchy>);

impl Fixture for Lawless {
    fn name(&self) -> String {
        "a manager without claims".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.0.clone()
    }

    fn hands(&self) -> &dyn Hands {
        self.0.0.hands()
    }

    fn handles(&self) -> std::result::Result<u64, Cannot> {
        Err(Cannot::new("not counted"))
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(300)
    }
}

/// Without claims two apps hold one device, and a dead app's call waits on.
#[test]
fn a_manager_without_claims() {
    let lawless = Lawless(Arc::new(Anarchy(VirtualFixture::new())));
    let report = hal_suite::run_some(&lawless, |name| name == "claims");
    assert_eq!(report.verdict("claims", "claim and double claim: printer"), Some(Verdict::Failed));
    assert_eq!(report.verdict("claims", "lease lost when the app dies: a swipe"), Some(Verdict::Failed));
}
