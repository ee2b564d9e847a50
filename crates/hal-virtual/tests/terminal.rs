//! A terminal without hardware, as an app and its people meet it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hal::{
    AppId, Call, Camera, CardDetector, CardNumber, CardText, Code, CodeFormat, DetectRequest, DeviceClass,
    DeviceKind, DeviceManager, ErrorKind, Found, HalError, IccReader, Kcv, KeyAlgorithm, KeySlot, KeyStore,
    Lease, LeaseTerms, LocalManager, MacAlgorithm, MagReader, MasterSource, OfflinePin, OfflinePinMethod,
    OfflinePinRequest, OnlinePin, OpenDevice, PinEvent, PinFormat, PinPad, PinRequest, PowerUp, PrintJob,
    Printer, ReceiptDoc, Result, RfReader, Scanner, SecureStore, SerialConfig, SerialPort, Session,
    SwipeRequest, SystemControl, TerminalSerial, Tracks, Width, WorkKey, WorkKeyClass,
};
use hal_virtual::{
    Controls, EchoCard, MifareChip, MifareClassic, MuteCard, PinKey, Side, Stripe, VirtualCard,
    VirtualConfig, VirtualDevice, card,
};
use hsm::KeyComponent;
use receipt::Line;

const LONG: Duration = Duration::from_secs(30);
const TRACK2: &str = "6224242000000021D29022015699031007";

struct Desk {
    device: Arc<VirtualDevice>,
    manager: LocalManager,
    session: Session,
    hands: Controls,
}

impl Desk {
    fn with(config: VirtualConfig) -> Self {
        let device = VirtualDevice::new(config).unwrap();
        let manager = device.manager();
        let session = manager.login(&AppId::new("org.posp.acquiring")).unwrap();
        let hands = device.controls();
        Self { device, manager, session, hands }
    }

    fn new() -> Self {
        Self::with(VirtualConfig::lab())
    }

    fn kept_in(directory: &Path) -> Self {
        let mut config = VirtualConfig::lab();
        config.secure.directory = Some(directory.to_owned());
        Self::with(config)
    }

    fn open<D: DeviceClass + ?Sized>(&self) -> Lease<D> {
        self.manager.open::<D>(&self.session, 0, LeaseTerms::open_end()).unwrap()
    }

    fn load_keys(&self) {
        let keys = self.open::<dyn KeyStore>();
        let keys = keys.get().unwrap();
        let components = [KeyComponent::from_hex("0123456789ABCDEFFEDCBA9876543210").unwrap()];
        let source =
            MasterSource::Components { algorithm: KeyAlgorithm::TripleDes2, components: &components };
        let kcv = keys.load_master(KeySlot::master(1).unwrap(), &source, None).unwrap();
        assert_eq!(kcv.to_string(), "08D7B4FB");
        for (class, cipher, kcv) in [
            (WorkKeyClass::Pin, "9B3A7B883A100F73B4ABA2BB791C50E7", "D2B91CC5"),
            (WorkKeyClass::Mac, "5ADC39F46164960E17B9F1B1A1B2D33C", "E18DE25E"),
            (WorkKeyClass::Track, "17B9F1B1A1B2D33C00396833D152DA8E", "6B941819"),
        ] {
            keys.load_work_key(&WorkKey {
                class,
                master: KeySlot::master(1).unwrap(),
                slot: slot(class),
                algorithm: KeyAlgorithm::TripleDes2,
                cipher: &hex::decode(cipher).unwrap(),
                kcv: kcv.parse::<Kcv>().unwrap(),
            })
            .unwrap();
        }
    }
}

fn slot(class: WorkKeyClass) -> KeySlot {
    KeySlot::working(1, class).unwrap()
}

fn pin_request() -> PinRequest {
    PinRequest {
        pan: CardNumber::clear("6224242000000021"),
        key: slot(WorkKeyClass::Pin),
        format: PinFormat::Iso0,
        lengths: vec![4, 5, 6],
        bypass: true,
        random_layout: true,
        amount: Some(1250),
    }
}

/// Runs a waiting call on a thread of its own, and hands on this one.
fn meanwhile<R: Send>(call: impl FnOnce() -> R + Send, hands: impl FnOnce()) -> R {
    thread::scope(|scope| {
        let waiter = scope.spawn(call);
        hands();
        waiter.join().unwrap()
    })
}

/// A PIN typed on a random layout makes the published block of PIN 123456 and card 6224242000000021 under the
/// published key; the app hears counts, the page a layout and a count, and neither the PIN.
#[test]
fn a_pin_becomes_a_block_and_nothing_else() {
    let desk = Desk::new();
    desk.load_keys();
    let pad = desk.open::<dyn PinPad>();
    let heard = Mutex::new(Vec::new());
    let watch = |event: PinEvent| heard.lock().unwrap().push(event);
    let result = meanwhile(
        || pad.get().unwrap().online_pin(&pin_request(), &watch, &pad.call(LONG)),
        || {
            desk.hands.when_waiting(DeviceKind::PinPad, &Call::within(LONG)).unwrap();
            assert!(desk.hands.type_digits("123456"));
            let view = desk.hands.view();
            let pin = view.pin.as_ref().unwrap();
            assert_eq!((pin.count, pin.amount), (6, Some(1250)));
            let mut places = pin.layout;
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
            assert!(!serde_json::to_string(&view).unwrap().contains("123456"));
            desk.hands.press(PinKey::Confirm);
        },
    );
    let OnlinePin::Block(block) = result.unwrap() else { panic!("no block") };
    assert_eq!(hex::encode_upper(block.bytes()), "010FFE95955CE8A5");
    assert_eq!(heard.lock().unwrap()[0], PinEvent::Started);
    assert!(desk.hands.view().pin.is_none());
    // Nobody types: the key does nothing.
    assert!(!desk.hands.press(PinKey::Confirm));
}

/// The layout differs from call to call, by the numbers that were drawn; with a given source it is given.
#[test]
fn the_layout_is_drawn() {
    let mut config = VirtualConfig::lab();
    let mut next = 0_u8;
    config.secure.random = Box::new(move |bytes| {
        for byte in bytes {
            next = next.wrapping_add(7);
            *byte = next;
        }
        true
    });
    let desk = Desk::with(config);
    desk.load_keys();
    let pad = desk.open::<dyn PinPad>();
    let mut layouts = BTreeSet::new();
    for _ in 0..4 {
        let ended = meanwhile(
            || pad.get().unwrap().online_pin(&pin_request(), &|_| (), &pad.call(LONG)),
            || {
                desk.hands.when_waiting(DeviceKind::PinPad, &Call::within(LONG)).unwrap();
                layouts.insert(desk.hands.view().pin.unwrap().layout);
                desk.hands.press(PinKey::Cancel);
            },
        );
        assert_eq!(ended.unwrap_err().kind, ErrorKind::UserCancelled);
    }
    assert_eq!(layouts.len(), 4);
}

/// The published enciphered track from a key that came enciphered into its slot; a slot with a key for another
/// use, and an empty one, are refused.
#[test]
fn keys_in_slots_sign_and_encipher() {
    let desk = Desk::new();
    desk.load_keys();
    let crypto = desk.open::<dyn hal::CryptoBox>();
    let crypto = crypto.get().unwrap();
    let track = crypto.encrypt_track(slot(WorkKeyClass::Track), &CardText::new(TRACK2)).unwrap();
    assert_eq!(track.reveal(), "6224242000000021F00997375B09E70507");
    // A key is for one thing.
    let wrong = crypto.mac(slot(WorkKeyClass::Pin), MacAlgorithm::CupEcb, b"data").unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::BadParam);
    let empty = crypto.mac(KeySlot::working(2, WorkKeyClass::Mac).unwrap(), MacAlgorithm::CupEcb, b"data");
    assert_eq!(empty.unwrap_err().kind, ErrorKind::NoKey);
}

/// Keys and sealed values are there after a start from the same directory; nothing clear is on disk; after
/// tampering they are gone, also after another start, until the maker's service has repaired it.
#[test]
fn keys_survive_a_start_and_not_an_attack() {
    let directory = tempfile::tempdir().unwrap();
    {
        let desk = Desk::kept_in(directory.path());
        desk.load_keys();
        desk.open::<dyn SecureStore>().get().unwrap().put("journal.key", b"a sealed value").unwrap();
    }
    let disk = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    assert!(!disk("store/journal.key.sealed").windows(6).any(|part| part == b"sealed"));
    assert!(!disk("keys").windows(3).any(|part| part == b"v1:"));
    {
        let desk = Desk::kept_in(directory.path());
        let (keys, store) = (desk.open::<dyn KeyStore>(), desk.open::<dyn SecureStore>());
        assert_eq!(keys.get().unwrap().slots().unwrap().len(), 4);
        assert_eq!(store.get().unwrap().get("journal.key").unwrap().unwrap().as_slice(), b"a sealed value");
        assert_eq!(store.get().unwrap().names().unwrap(), ["journal.key"]);
        desk.hands.tamper();
        assert_eq!(keys.get().unwrap().slots().unwrap_err().kind, ErrorKind::Tampered);
        assert_eq!(store.get().unwrap().get("journal.key").unwrap_err().kind, ErrorKind::Tampered);
    }
    assert!(!directory.path().join("vault").exists() && !directory.path().join("store").exists());
    let desk = Desk::kept_in(directory.path());
    let pad = desk.open::<dyn PinPad>();
    let refused = pad.get().unwrap().online_pin(&pin_request(), &|_| (), &pad.call(LONG)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Tampered);
    desk.hands.repair().unwrap();
    assert!(desk.open::<dyn KeyStore>().get().unwrap().slots().unwrap().is_empty());
    desk.load_keys();
}

/// A master key comes in a key block under the protection key, as a remote key server sends it; with another check
/// value than was told it stays outside; the working key under it is then taken. A block under another key is refused.
#[test]
fn a_master_key_comes_in_a_key_block() {
    use hal::SlotClass;
    use hsm::{Exportability, Hsm, KeyUsage, SoftVault};
    let host = SoftVault::ephemeral().unwrap();
    let halves = ["13579BDF02468ACE13579BDF02468ACF", "FEDCBA98765432100123456789ABCDEF"];
    let halves = halves.map(|half| KeyComponent::from_hex(half).unwrap());
    let algorithm = KeyAlgorithm::TripleDes2;
    let protection = host.import_components(KeyUsage::BlockProtection, algorithm, &halves).unwrap();
    let master = host.generate(KeyUsage::TerminalMaster, algorithm).unwrap();
    let block = host.export_block(&master, &protection, Exportability::Never, &[]).unwrap();
    let work = host.generate(KeyUsage::Pin, algorithm).unwrap();
    let sent = host.export(&work, &master).unwrap();

    let desk = Desk::new();
    let keys = desk.open::<dyn KeyStore>();
    let keys = keys.get().unwrap();
    let tmk = KeySlot::master(4).unwrap();
    let source = MasterSource::KeyBlock(&block);
    assert_eq!(keys.load_master(tmk, &source, None).unwrap_err().kind, ErrorKind::NoKey);
    let components = MasterSource::Components { algorithm, components: &halves };
    keys.load_master(KeySlot::TRANSPORT, &components, Some(protection.kcv())).unwrap();
    let wrong = keys.load_master(tmk, &source, Some(Kcv([1, 2, 3, 4]))).unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::KcvMismatch);
    assert_eq!(keys.kcv(tmk).unwrap_err().kind, ErrorKind::NoKey);
    assert_eq!(keys.load_master(tmk, &source, Some(master.kcv())).unwrap(), master.kcv());
    let pik = KeySlot::working(4, WorkKeyClass::Pin).unwrap();
    let key = WorkKey {
        class: WorkKeyClass::Pin,
        master: tmk,
        slot: pik,
        algorithm,
        cipher: &sent.cipher,
        kcv: sent.kcv,
    };
    keys.load_work_key(&key).unwrap();
    assert_eq!(keys.kcv(pik).unwrap(), work.kcv());
    let classes: Vec<_> = keys.slots().unwrap().into_iter().map(|info| info.class).collect();
    assert_eq!(classes, [SlotClass::Transport, SlotClass::Master, SlotClass::Work(WorkKeyClass::Pin)]);
    // Into the slot of another class, or of nobody.
    for slot in [KeySlot::Fixed(42), KeySlot::Fixed(99)] {
        assert_eq!(keys.load_work_key(&WorkKey { slot, ..key }).unwrap_err().kind, ErrorKind::BadParam);
    }
    let other = host.generate(KeyUsage::BlockProtection, algorithm).unwrap();
    let foreign = host.export_block(&master, &other, Exportability::Never, &[]).unwrap();
    let refused = keys.load_master(tmk, &MasterSource::KeyBlock(&foreign), None).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::BadParam);
    keys.delete(pik).unwrap();
    assert_eq!(keys.kcv(pik).unwrap_err().kind, ErrorKind::NoKey);
    keys.format().unwrap();
    assert!(keys.slots().unwrap().is_empty());
}

/// A print is broken off in the middle: the part is on paper, the printer is free, and the next slip is whole.
#[test]
fn a_print_is_broken_off() {
    let desk = Desk::new();
    let printer = desk.open::<dyn Printer>();
    desk.hands.hold_printer(true);
    let call = printer.call(LONG);
    let ended = meanwhile(
        || printer.get().unwrap().print(&slip(5), &call),
        || {
            desk.hands.when_waiting(DeviceKind::Printer, &Call::within(LONG)).unwrap();
            call.cancel.cancel();
        },
    );
    assert_eq!(ended.unwrap_err().kind, ErrorKind::UserCancelled);
    assert!(!printer.get().unwrap().status().unwrap().busy);
    desk.hands.hold_printer(false);
    printer.get().unwrap().print(&slip(5), &printer.call(LONG)).unwrap();
    assert!(desk.hands.printed().last().unwrap().complete);
}

/// A lease that ends takes the power from its card: who opens the slot next begins with a card without power, and hears
/// nothing of the one before.
#[test]
fn a_lease_that_ends_leaves_no_power() {
    let desk = Desk::new();
    let select = [0x00, 0xA4, 0x04, 0x00];
    desk.hands.insert(&card(EchoCard::default()));
    {
        let reader = desk.open::<dyn IccReader>();
        reader.get().unwrap().power_up(&PowerUp::default()).unwrap();
        assert!(desk.hands.view().card_powered);
    }
    assert!(!desk.hands.view().card_powered);
    let reader = desk.open::<dyn IccReader>();
    let refused = reader.get().unwrap().transmit(&select, &reader.call(LONG)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoCard);
}

/// A sealed value that was moved to another name does not open there.
#[test]
fn a_sealed_value_is_bound_to_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::kept_in(directory.path());
    let store = desk.open::<dyn SecureStore>();
    let store = store.get().unwrap();
    store.put("one", b"1").unwrap();
    let path = |name: &str| directory.path().join("store").join(format!("{name}.sealed"));
    std::fs::copy(path("one"), path("two")).unwrap();
    assert_eq!(store.get("two").unwrap_err().kind, ErrorKind::HardwareFault);
    assert_eq!(store.put("../one", b"1").unwrap_err().kind, ErrorKind::BadParam);
}

/// The current goes while a card is waited for, a PIN typed and a slip printed: each call ends with "service
/// lost", so does every call until the current is back, and then the terminal counts one more start.
#[test]
fn a_power_cut_ends_every_wait() {
    let desk = Desk::new();
    desk.load_keys();
    let (pad, detector, printer) =
        (desk.open::<dyn PinPad>(), desk.open::<dyn CardDetector>(), desk.open::<dyn Printer>());
    desk.hands.hold_printer(true);
    let ends = thread::scope(|scope| {
        let calls = [
            scope.spawn(|| pad.get().unwrap().online_pin(&pin_request(), &|_| (), &pad.call(LONG)).map(drop)),
            scope.spawn(|| detector.get().unwrap().detect(&detect(false), &detector.call(LONG)).map(drop)),
            scope.spawn(|| printer.get().unwrap().print(&slip(3), &printer.call(LONG))),
        ];
        for kind in [DeviceKind::PinPad, DeviceKind::Detector, DeviceKind::Printer] {
            desk.hands.when_waiting(kind, &Call::within(LONG)).unwrap();
        }
        desk.hands.cut_power();
        calls.map(|call| call.join().unwrap().unwrap_err().kind)
    });
    assert_eq!(ends, [ErrorKind::ServiceLost; 3]);
    assert_eq!(printer.get().unwrap().status().unwrap_err().kind, ErrorKind::ServiceLost);
    desk.hands.restore_power();
    assert!(printer.get().unwrap().status().is_ok());
    let info = desk.open::<dyn hal::DeviceInfo>();
    assert_eq!(info.get().unwrap().counters().unwrap().boots, 2);
    // What was being typed is forgotten.
    assert!(desk.hands.view().pin.is_none());
}

fn slip(lines: usize) -> PrintJob {
    let mut doc = ReceiptDoc::new(Width::W58);
    for line in 1..=lines {
        doc.push(Line::text(format!("line {line}")));
    }
    PrintJob::once(doc)
}

fn detect(fallback: bool) -> DetectRequest {
    DetectRequest {
        mag: true,
        icc: true,
        rf: true,
        swipe: SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None },
        fallback,
    }
}

/// Paper ends in the middle of a slip: what came out is kept as a part, the error says what to do, and after
/// a new roll the whole slip prints again. Counters tell both.
#[test]
fn paper_ends_in_the_middle() {
    let desk = Desk::new();
    let printer = desk.open::<dyn Printer>();
    let print = || printer.get().unwrap().print(&slip(5), &printer.call(LONG));
    desk.hands.paper_left(3);
    let ended = print().unwrap_err();
    assert_eq!((ended.kind, ended.retry), (ErrorKind::NoPaper, hal::Retry::AfterUserAction));
    desk.hands.new_roll();
    print().unwrap();
    let printed = desk.hands.tear();
    assert_eq!(
        printed.iter().map(|p| (p.doc.lines.len(), p.complete)).collect::<Vec<_>>(),
        [(3, false), (5, true)]
    );
    assert!(desk.hands.tear().is_empty());
    let counters = desk.open::<dyn hal::DeviceInfo>().get().unwrap().counters().unwrap();
    assert_eq!((counters.prints, counters.print_failures, counters.paper_mm), (1, 1, 24));
}

/// The stripe of a chip card is sent to the slot; after the chip failed it is taken; without a slot among the
/// interfaces it is taken at once.
#[test]
fn a_chip_card_is_not_swiped_first() {
    let desk = Desk::new();
    let detector = desk.open::<dyn CardDetector>();
    let swiped = |request: DetectRequest| {
        meanwhile(
            || detector.get().unwrap().detect(&request, &detector.call(LONG)).unwrap(),
            || {
                desk.hands.when_waiting(DeviceKind::Detector, &Call::within(LONG)).unwrap();
                assert!(desk.hands.swipe(&Stripe::track2("6224242000000021=29022015699031007")));
            },
        )
    };
    assert_eq!(swiped(detect(false)), Found::UseChip { masked_pan: "622424******0021".to_owned() });
    let Found::Swiped(data) = swiped(detect(true)) else { panic!("not taken") };
    assert_eq!(data.track2.as_ref().unwrap().reveal(), TRACK2);
    assert!(matches!(swiped(DetectRequest { icc: false, ..detect(false) }), Found::Swiped(_)));
    // A swipe that nobody waits for is lost.
    assert!(!desk.hands.swipe(&Stripe::track2(TRACK2)));
}

/// With a track key named, the reader gives the published enciphered track and the number for the PIN block;
/// without that key it refuses before anybody swipes.
#[test]
fn a_swipe_is_enciphered_in_the_reader() {
    let desk = Desk::new();
    let reader = desk.open::<dyn MagReader>();
    let request = SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: Some(slot(WorkKeyClass::Track)) };
    let refused = reader.get().unwrap().wait_swipe(&request, &reader.call(LONG)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NoKey);
    desk.load_keys();
    let data = meanwhile(
        || reader.get().unwrap().wait_swipe(&request, &reader.call(LONG)).unwrap(),
        || {
            desk.hands.when_waiting(DeviceKind::Mag, &Call::within(LONG)).unwrap();
            desk.hands.swipe(&Stripe::track2(TRACK2));
        },
    );
    assert!(data.encrypted);
    assert_eq!(data.track2.as_ref().unwrap().reveal(), "6224242000000021F00997375B09E70507");
    assert_eq!((data.pan.masked().as_str(), data.expiry.as_str()), ("622424******0021", "2902"));
    assert!(!format!("{data:?}").contains("6224242000000021"));
}

/// A chip in the slot answers while it is there; taken out between two commands the next says "removed", put
/// back it says so still, until it is powered up again; a mute one is a case for another interface.
#[test]
fn a_card_is_pulled_between_commands() {
    let desk = Desk::new();
    let reader = desk.open::<dyn IccReader>();
    let call = reader.call(LONG);
    let select = [0x00, 0xA4, 0x04, 0x00];
    let reader = reader.get().unwrap();
    assert_eq!(reader.transmit(&select, &call).unwrap_err().kind, ErrorKind::NoCard);
    let chip = card(EchoCard::default());
    assert!(desk.hands.insert(&chip) && !desk.hands.insert(&chip));
    reader.power_up(&PowerUp::default()).unwrap();
    assert_eq!(reader.transmit(&select, &call).unwrap(), [0x00, 0xA4, 0x04, 0x00, 0x90, 0x00]);
    desk.hands.remove();
    assert_eq!(reader.transmit(&select, &call).unwrap_err().kind, ErrorKind::CardRemoved);
    desk.hands.insert(&chip);
    assert_eq!(reader.transmit(&select, &call).unwrap_err().kind, ErrorKind::CardRemoved);
    reader.power_up(&PowerUp::default()).unwrap();
    assert!(reader.transmit(&select, &call).is_ok());
    desk.hands.remove();
    desk.hands.insert(&card(MuteCard));
    let mute = reader.power_up(&PowerUp::default()).unwrap_err();
    assert_eq!((mute.kind, mute.retry), (ErrorKind::CardMute, hal::Retry::OtherInterface));
}

/// A chip that learns the PIN block that was sent to it.
struct Listening(Arc<Mutex<Vec<u8>>>);

impl VirtualCard for Listening {
    fn power_up(&mut self, _side: Side) -> Option<Vec<u8>> {
        Some(vec![0x3B, 0x00])
    }

    fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        *self.0.lock().unwrap() = apdu.to_vec();
        Some(vec![0x63, 0xC2])
    }
}

/// A PIN for the chip goes from the pad to the card as VERIFY with a format 2 block, and the app gets the
/// card's answer alone.
#[test]
fn an_offline_pin_goes_to_the_card() {
    let desk = Desk::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (pad, reader) = (desk.open::<dyn PinPad>(), desk.open::<dyn IccReader>());
    let request = OfflinePinRequest {
        lengths: vec![4, 5, 6],
        bypass: false,
        random_layout: true,
        amount: None,
        method: OfflinePinMethod::Plain,
    };
    let take = || pad.get().unwrap().offline_pin(&request, &|_| (), &pad.call(LONG));
    assert_eq!(take().unwrap_err().kind, ErrorKind::NoCard);
    desk.hands.insert(&card(Listening(Arc::clone(&seen))));
    reader.get().unwrap().power_up(&PowerUp::default()).unwrap();
    let answer = meanwhile(take, || {
        desk.hands.when_waiting(DeviceKind::PinPad, &Call::within(LONG)).unwrap();
        desk.hands.type_digits("12345");
        desk.hands.press(PinKey::Confirm);
    });
    assert_eq!(answer.unwrap(), OfflinePin::Answer([0x63, 0xC2]));
    assert_eq!(hex::encode_upper(&*seen.lock().unwrap()), "00200080082512345FFFFFFFFF");
}

/// A Mifare card: a sector opens with its key, a value goes down through the register, a wrong key opens
/// nothing; two cards at once are an error.
#[test]
fn a_mifare_value_goes_down() {
    let desk = Desk::new();
    let reader = desk.open::<dyn RfReader>();
    let (key_a, key_b) = ([0xA0; 6], [0xB0; 6]);
    desk.hands.tap(&card(MifareClassic(MifareChip::new(key_a, key_b).with_value(4, 1000))));
    let call = reader.call(LONG);
    let reader = reader.get().unwrap();
    reader.poll(&[hal::RfKind::MifareS50], &call).unwrap();
    reader.activate().unwrap();
    let chip = reader.mifare().unwrap();
    assert_eq!(chip.read(4).unwrap_err().kind, ErrorKind::PermissionDenied);
    assert_eq!(chip.auth(4, hal::MifareKey::A, &key_b).unwrap_err().kind, ErrorKind::PermissionDenied);
    chip.auth(4, hal::MifareKey::A, &key_a).unwrap();
    chip.decrement(4, 250).unwrap();
    chip.transfer(4).unwrap();
    assert_eq!(hex::encode_upper(chip.read(4).unwrap()), "EE02000011FDFFFFEE02000000FF00FF");
    assert_eq!(chip.increment(5, 1).unwrap_err().kind, ErrorKind::BadParam);
    desk.hands.tap(&card(EchoCard::default()));
    assert_eq!(reader.poll(&[], &call).unwrap_err().kind, ErrorKind::MultipleCards);
}

/// The serial number with its MAC: factor and number under the laboratory's published key by CUP ECB; an old
/// terminal answers blanks.
#[test]
fn the_serial_number_is_proven() {
    let desk = Desk::new();
    let tusn = desk.open::<dyn TerminalSerial>().get().unwrap().tusn("000021", "POSP0001").unwrap();
    let key: [u8; 16] = hex::decode("00112233445566778899AABBCCDDEEFF").unwrap().try_into().unwrap();
    let key = hsm::primitives::BlockKey::new(KeyAlgorithm::TripleDes2, &key).unwrap();
    let mac = MacAlgorithm::CupEcb.compute(&key, b"00002100003104LAB0000001").unwrap();
    assert_eq!(tusn.cipher.as_bytes(), mac);
    let mut config = VirtualConfig::lab();
    config.secure.tusn_key = false;
    let old = Desk::with(config);
    let blank = old.open::<dyn TerminalSerial>().get().unwrap().tusn("000021", "1").unwrap();
    assert_eq!((blank.cipher.as_str(), blank.app_version.as_str()), ("        ", "1       "));
}

/// A page follows: it sleeps on a version, and is told by a hook; a device without a part says so.
#[test]
fn a_page_follows_and_absent_parts_say_so() {
    let mut config = VirtualConfig::lab();
    config.absent = vec![DeviceKind::Scanner];
    let desk = Desk::with(config);
    let told = Arc::new(Mutex::new(0));
    let ear = Arc::clone(&told);
    assert!(desk.hands.on_change(move |version| *ear.lock().unwrap() = version));
    let version = desk.hands.view().version;
    let newer = meanwhile(
        || desk.hands.changed_since(version, &Call::within(LONG)).unwrap(),
        || desk.hands.cover(true),
    );
    assert!(newer > version);
    assert_eq!(*told.lock().unwrap(), newer);
    assert_eq!(desk.hands.view().printer.problem, Some(ErrorKind::CoverOpen));
    let absent = desk.manager.open::<dyn Scanner>(&desk.session, 0, LeaseTerms::open_end()).unwrap_err();
    assert_eq!(absent.kind, ErrorKind::NotSupported);
    assert!(!desk.manager.inventory().iter().any(|entry| entry.kind == DeviceKind::Scanner));
    assert!(desk.device.secure().fill(DeviceKind::Crypto, &mut [0; 4]).is_ok());
}

/// A code held before the camera is read once; bytes cross the serial line both ways; the log tells what was
/// done to the system; a screenshot is refused while a PIN is typed.
#[test]
fn the_smaller_parts_work() -> Result<()> {
    let desk = Desk::new();
    desk.load_keys();
    let (scanner, serial, system, pad) = (
        desk.open::<dyn Scanner>(),
        desk.open::<dyn SerialPort>(),
        desk.open::<dyn SystemControl>(),
        desk.open::<dyn PinPad>(),
    );
    desk.hands.show_code(Some(Code { format: CodeFormat::Qr, text: "6212345678901234567".to_owned() }));
    let short = Duration::from_millis(5);
    let wrong = scanner.get()?.scan(Camera::Back, &[CodeFormat::Ean13], &scanner.call(short));
    assert_eq!(wrong.unwrap_err().kind, ErrorKind::Timeout);
    assert_eq!(scanner.get()?.scan(Camera::Back, &[], &scanner.call(LONG))?.text.len(), 19);
    assert!(scanner.get()?.scan(Camera::Back, &[], &scanner.call(short)).is_err());

    let line = serial.get()?;
    let closed: HalError = line.read(10, &serial.call(LONG)).unwrap_err();
    assert_eq!(closed.kind, ErrorKind::NotOpen);
    line.open(&SerialConfig::USUAL)?;
    line.write(b"hello", &serial.call(LONG))?;
    assert_eq!(desk.hands.serial_received(), b"hello");
    desk.hands.serial_send(b"answer");
    assert_eq!(line.read(3, &serial.call(LONG))?, b"ans");

    system.get()?.set_launcher("org.posp.launcher")?;
    let log = system.get()?.collect_log(0, i64::MAX, 100)?;
    assert_eq!(String::from_utf8(log).unwrap(), "launcher org.posp.launcher");
    let ended = meanwhile(
        || pad.get().unwrap().online_pin(&pin_request(), &|_| (), &pad.call(LONG)),
        || {
            desk.hands.when_waiting(DeviceKind::PinPad, &Call::within(LONG)).unwrap();
            let refused = system.get().unwrap().screenshot().unwrap_err();
            assert_eq!(refused.kind, ErrorKind::PermissionDenied);
            desk.hands.press(PinKey::Confirm);
        },
    );
    assert_eq!(ended?, OnlinePin::Bypassed);
    Ok(())
}
