//! A virtual reader at the other end of a TCP link, as devices of the SDK on a phone.
//!
//! The conformance suite runs against the phone where its checks apply: leases, permissions, deadlines, cancelling, paper, keys,
//! MACs. Those that power a chip by hand, encipher what the phone has, or give the PIN pad a number do not: a phone can do none
//! of it, and what it answers instead is shown here, as is what a phone gets of a stripe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hal::{
    AppId, Call, CancelToken, CardDetector, CardNumber, CardText, CryptoBox, DetectRequest, DeviceKind,
    DeviceManager, ErrorKind, Found, IccReader, KeyAlgorithm, KeySlot, KeyStore, Lease, LeaseTerms,
    LocalManager, MasterSource, OnlinePin, OpenDevice, PinFormat, PinPad, PinRequest, Session, SwipeRequest,
    Tracks, WorkKey, WorkKeyClass,
};
use hal_suite::{Cannot, Deed, Fixture, Hands, LAB_MASTER_KEY};
use hal_virtual::{CardHandle, Controls, EchoCard, PinKey, Stripe, VirtualConfig, VirtualDevice, card};
use hsm::primitives::{BlockKey, Sm4Key, pin, track};
use hsm::{KeyComponent, Pin};
use mpos::{Link, LinkState, Phone, Reader, Serving, serve};

const LABEL: [u8; 16] = [7; 16];
const TRACK: &str = "6224242000000021D29022015699031007";
/// PIN and track key of the vectors under the laboratory's master key, and their check values.
const PIN_KEY: (&str, &str) = ("9B3A7B883A100F73B4ABA2BB791C50E7", "D2B91CC5");
const TRACK_KEY: (&str, &str) = ("17B9F1B1A1B2D33C00396833D152DA8E", "6B941819");

struct Rig {
    reader: Arc<VirtualDevice>,
    link: Arc<Link>,
    manager: Arc<LocalManager>,
    serving: Serving,
    hands: ReaderHands,
}

impl Rig {
    fn new() -> Self {
        Self::over(|reader| reader)
    }

    /// A link that goes where `way` says, for the reader's address.
    fn over(way: impl FnOnce(SocketAddr) -> SocketAddr) -> Self {
        let reader = VirtualDevice::new(VirtualConfig::lab()).unwrap();
        let device = Reader::new(Arc::new(reader.manager()), LABEL).unwrap();
        let serving = serve(TcpListener::bind("127.0.0.1:0").unwrap(), device, || {}).unwrap();
        let link = Link::new(way(serving.address));
        link.pair(LABEL).unwrap();
        let own = VirtualDevice::new(VirtualConfig::lab()).unwrap();
        let phone = Phone::new(own.drivers(), Arc::clone(&link));
        let manager = Arc::new(LocalManager::new(Arc::new(phone)));
        let hands =
            ReaderHands { reader: reader.controls(), phone: own.controls(), chip: card(EchoCard::default()) };
        Self { reader, link, manager, serving, hands }
    }

    fn keyed() -> Self {
        Self::new().with_keys()
    }

    /// Keys as a sign-in brings them.
    fn with_keys(self) -> Self {
        let rig = self;
        load_master(rig.reader.secure().as_ref(), KeySlot::Fixed(1), KeyAlgorithm::TripleDes2);
        let keys = rig.open::<dyn KeyStore>();
        for (class, (cipher, kcv)) in [(WorkKeyClass::Pin, PIN_KEY), (WorkKeyClass::Track, TRACK_KEY)] {
            let cipher = hex::decode(cipher).unwrap();
            let key = WorkKey {
                class,
                master: KeySlot::Fixed(1),
                slot: KeySlot::working(1, class).unwrap(),
                algorithm: KeyAlgorithm::TripleDes2,
                cipher: &cipher,
                kcv: kcv.parse().unwrap(),
            };
            keys.0.get().unwrap().load_work_key(&key).unwrap();
        }
        drop(keys);
        rig
    }

    fn open<D: hal::DeviceClass + ?Sized>(&self) -> (Lease<D>, Session) {
        let session = self.manager.login(&AppId::new("a phone's app")).unwrap();
        (self.manager.open::<D>(&session, 0, LeaseTerms::open_end()).unwrap(), session)
    }

    /// The holder types the PIN on the reader, which shows what is paid.
    fn enters_pin(&self, pan: &CardNumber) -> hal::Result<OnlinePin> {
        self.enters_pin_as(pan, PinFormat::Iso0)
    }

    fn enters_pin_as(&self, pan: &CardNumber, format: PinFormat) -> hal::Result<OnlinePin> {
        let (pad, _session) = self.open::<dyn PinPad>();
        let request = PinRequest { format, ..pin_request(pan) };
        let hands = self.reader.controls();
        thread::scope(|scope| {
            let entered = scope
                .spawn(|| pad.get()?.online_pin(&request, &|_| {}, &Call::within(Duration::from_secs(20))));
            hands.when_waiting(DeviceKind::PinPad, &Call::within(Duration::from_secs(20))).unwrap();
            assert!(hands.view().pad_lines.iter().any(|line| line == "¥12.50"));
            assert!(hands.type_digits("123456") && hands.press(PinKey::Confirm));
            entered.join().unwrap()
        })
    }

    fn swipe(&self) -> hal::Result<Found> {
        let (detector, _session) = self.open::<dyn CardDetector>();
        let request = DetectRequest {
            mag: true,
            icc: true,
            rf: true,
            swipe: SwipeRequest {
                tracks: Tracks::ACQUIRING,
                encrypt_with: KeySlot::working(1, WorkKeyClass::Track),
            },
            fallback: true,
        };
        thread::scope(|scope| {
            let found =
                scope.spawn(|| detector.get()?.detect(&request, &Call::within(Duration::from_secs(20))));
            self.reader
                .controls()
                .when_waiting(DeviceKind::Detector, &Call::within(Duration::from_secs(20)))
                .unwrap();
            assert!(self.reader.controls().swipe(&Stripe::track2(TRACK)));
            found.join().unwrap()
        })
    }
}

fn pin_request(pan: &CardNumber) -> PinRequest {
    PinRequest {
        pan: pan.clone(),
        key: KeySlot::working(1, WorkKeyClass::Pin).unwrap(),
        format: PinFormat::Iso0,
        lengths: vec![4, 6],
        bypass: false,
        random_layout: true,
        amount: Some(1_250),
    }
}

fn load_master(keys: &dyn KeyStore, slot: KeySlot, algorithm: KeyAlgorithm) {
    let component = KeyComponent::from_hex(LAB_MASTER_KEY).unwrap();
    keys.load_master(slot, &MasterSource::Components { algorithm, components: &[component] }, None).unwrap();
}

/// Cards and PINs go to the reader, paper to the phone.
struct ReaderHands {
    reader: Controls,
    phone: Controls,
    chip: CardHandle,
}

impl Hands for ReaderHands {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let (reader, phone) = (&self.reader, &self.phone);
        match deed {
            Deed::InsertCard => drop(reader.insert(&self.chip)),
            Deed::RemoveCard => drop(reader.remove()),
            Deed::Swipe => drop(reader.swipe(&Stripe::track2(TRACK))),
            Deed::Tap => reader.tap(&self.chip),
            Deed::Untap => reader.untap(),
            Deed::PaperOut => phone.paper_left(0),
            Deed::PaperIn => phone.new_roll(),
            Deed::PaperEndsSoon => phone.paper_left(3),
            other => return Err(Cannot::new(format!("no hand to {other}"))),
        }
        Ok(())
    }
}

impl Fixture for Rig {
    fn name(&self) -> String {
        "a phone with a virtual reader over TCP".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        Arc::<LocalManager>::clone(&self.manager)
    }

    fn hands(&self) -> &dyn Hands {
        &self.hands
    }

    fn load_lab_master(
        &self,
        _: &dyn KeyStore,
        slot: KeySlot,
        algorithm: KeyAlgorithm,
    ) -> Result<(), Cannot> {
        load_master(self.reader.secure().as_ref(), slot, algorithm);
        Ok(())
    }

    fn cycles(&self) -> u32 {
        50
    }
}

/// The families of checks that a phone with a reader can be asked.
const APPLY: [&str; 8] =
    ["claims", "permissions", "absent devices", "deadlines", "cancelling", "paper", "keys", "MAC"];

/// The checks of these families that give the PIN pad a number, or empty a slot: no way for either goes over the link.
const APPLY_NOT: [&str; 5] = [
    "an empty slot signs nothing",
    "lease lost when the app dies: a PIN",
    "waiting for a PIN",
    "waiting for a PIN, at once",
    "waiting for a PIN, in the middle",
];

#[test]
fn the_conformance_suite_passes_where_it_applies() {
    let rig = Rig::keyed();
    let report = hal_suite::run_some(&rig, |family| APPLY.contains(&family));
    let failed = report.rows.iter().filter(|row| row.verdict == hal_suite::Verdict::Failed);
    let failed: Vec<&str> = failed.map(|row| row.name.as_str()).collect();
    assert!(failed.iter().all(|name| APPLY_NOT.contains(name)), "{}", report.to_text());
    let passed = report.rows.iter().filter(|row| row.verdict == hal_suite::Verdict::Passed).count();
    assert!(passed >= 100, "{}", report.to_text());
}

/// A stripe comes masked, its track under the track key as the vectors have it; the PIN block is made for a number that the
/// phone never had.
#[test]
fn a_stripe_and_its_pin_cross_the_link_without_the_number() {
    let rig = Rig::keyed();
    let Found::Swiped(data) = rig.swipe().unwrap() else { panic!("a stripe") };
    assert_eq!((data.pan.digits(), data.pan.masked().as_str()), (None, "622424******0021"));
    assert_eq!((data.expiry.as_str(), data.service_code.as_str(), data.encrypted), ("2902", "201", true));
    assert_eq!(data.track2.as_ref().unwrap().reveal(), "6224242000000021F00997375B09E70507");

    let entered = rig.enters_pin(&data.pan);
    let OnlinePin::Block(block) = entered.unwrap() else { panic!("a block") };
    assert_eq!(hex::encode_upper(block.bytes()), "010FFE95955CE8A5");

    // A number that the phone gives is not taken: the reader knows its own card.
    let (pad, _session) = rig.open::<dyn PinPad>();
    let own = pin_request(&CardNumber::clear("6224242000000021"));
    let refused = pad.get().unwrap().online_pin(&own, &|_| {}, &Call::within(Duration::from_secs(5)));
    assert_eq!(refused.unwrap_err().kind, ErrorKind::BadParam);
}

/// What a phone cannot do with a reader says so.
#[test]
fn a_phone_has_no_way_to_a_chip_and_no_track_to_encipher() {
    let rig = Rig::keyed();
    let call = Call::within(Duration::from_secs(5));
    let (slot, _s) = rig.open::<dyn IccReader>();
    let slot = slot.get().unwrap();
    assert_eq!(slot.transmit(&[0, 0xA4, 4, 0], &call).unwrap_err().kind, ErrorKind::NotSupported);
    assert!(!slot.present().unwrap());
    rig.hands.do_it(Deed::InsertCard).unwrap();
    assert!(slot.present().unwrap());
    slot.wait_card(&call).unwrap();
    rig.hands.do_it(Deed::RemoveCard).unwrap();
    slot.wait_removed(&call).unwrap();
    let (crypto, _c) = rig.open::<dyn CryptoBox>();
    let key = KeySlot::working(1, WorkKeyClass::Track).unwrap();
    let refused = crypto.get().unwrap().encrypt_track(key, &CardText::new(TRACK));
    assert_eq!(refused.unwrap_err().kind, ErrorKind::NotSupported);
}

/// Cut, every device is offline; mended, the next call connects and pairs by itself. Another reader's code opens nothing, and
/// the pair that was there before stays.
#[test]
fn a_link_that_comes_back_pairs_by_itself() {
    let rig = Rig::keyed();
    assert_eq!(rig.link.state(), LinkState::Connected);
    rig.serving.radio().set(false);
    assert_eq!(rig.link.info().unwrap_err().kind, ErrorKind::Offline);
    assert_eq!(rig.link.state(), LinkState::Away);
    rig.serving.radio().set(true);
    assert_eq!(rig.link.info().unwrap().device_type, 3);
    assert_eq!(rig.link.pair([8; 16]).unwrap_err().kind, ErrorKind::PermissionDenied);
    assert!(matches!(rig.swipe().unwrap(), Found::Swiped(_)), "the pair from before");
}

/// A wait ends with its token wherever the wait is: the reader stops waiting too.
#[test]
fn a_cancelled_wait_ends_in_the_reader() {
    let rig = Rig::keyed();
    let (detector, _session) = rig.open::<dyn CardDetector>();
    let token = CancelToken::new();
    let call = Call::with(Duration::from_secs(60), &token);
    let request = DetectRequest {
        mag: true,
        icc: true,
        rf: true,
        swipe: SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None },
        fallback: false,
    };
    let hands = rig.reader.controls();
    let found = thread::scope(|scope| {
        let found = scope.spawn(|| detector.get()?.detect(&request, &call));
        hands.when_waiting(DeviceKind::Detector, &Call::within(Duration::from_secs(20))).unwrap();
        token.cancel();
        found.join().unwrap()
    });
    assert_eq!(found.unwrap_err().kind, ErrorKind::UserCancelled);
    assert!(hands.view().waiting.is_empty());
}

/// Bytes that went over a link, both ways.
type Seen = Arc<Mutex<Vec<u8>>>;

fn pump(mut from: TcpStream, mut to: TcpStream, seen: Seen) {
    thread::spawn(move || {
        let mut buffer = [0; 1_024];
        while let Ok(got @ 1..) = from.read(&mut buffer) {
            seen.lock().unwrap().extend_from_slice(&buffer[..got]);
            if to.write_all(&buffer[..got]).is_err() {
                return;
            }
        }
    });
}

/// Somebody between phone and reader who writes everything down.
fn tapped(reader: SocketAddr, seen: &Seen) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        while let Ok((phone, _)) = listener.accept() {
            let reader = TcpStream::connect(reader).unwrap();
            pump(phone.try_clone().unwrap(), reader.try_clone().unwrap(), Arc::clone(&seen));
            pump(reader, phone, Arc::clone(&seen));
        }
    });
    address
}

/// Whoever listens to the link hears no number, no track even as the host gets it, no PIN and no label.
#[test]
fn nothing_of_a_card_can_be_read_on_the_link() {
    let seen = Seen::default();
    let rig = Rig::over(|reader| tapped(reader, &seen)).with_keys();
    let Found::Swiped(data) = rig.swipe().unwrap() else { panic!("a stripe") };
    let entered = rig.enters_pin(&data.pan).unwrap();
    let OnlinePin::Block(block) = entered else { panic!("a block") };
    let bytes = seen.lock().unwrap().clone();
    assert!(bytes.windows(2).any(|pair| pair == b"RL") && bytes.len() > 500, "it was listened to");
    let number = "6224242000000021";
    let sealed = data.track2.unwrap();
    let secret = [
        number.as_bytes(),
        &hex::decode(number).unwrap(),
        &TRACK.as_bytes()[17..],
        sealed.reveal().as_bytes(),
        b"622424******0021",
        b"123456",
        &hex::decode("06127614FFFFFFFD").unwrap(),
        block.bytes(),
        &LABEL,
    ];
    for secret in secret {
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{} can be read", hex::encode(secret));
    }
}

/// Keys of SM4 as a sign-in brings them (the key vectors of the field reference): PIN block and track are what their definitions
/// give under the clear keys.
#[test]
fn sm4_keys_serve_pin_and_track_in_the_reader() {
    let rig = Rig::new();
    load_master(rig.reader.secure().as_ref(), KeySlot::Fixed(2), KeyAlgorithm::Sm4);
    let (keys, session) = rig.open::<dyn KeyStore>();
    for (class, cipher, kcv) in [
        (WorkKeyClass::Pin, "D052DCC19D0EEB7A565720640D8B7E29", "DD60708C"),
        (WorkKeyClass::Track, "449734911A4402599E9A30CBAB1192BC", "F7C127A8"),
    ] {
        let cipher = hex::decode(cipher).unwrap();
        let key = WorkKey {
            class,
            master: KeySlot::Fixed(2),
            slot: KeySlot::working(1, class).unwrap(),
            algorithm: KeyAlgorithm::Sm4,
            cipher: &cipher,
            kcv: kcv.parse().unwrap(),
        };
        keys.get().unwrap().load_work_key(&key).unwrap();
    }
    drop((keys, session));
    let Found::Swiped(data) = rig.swipe().unwrap() else { panic!("a stripe") };
    let clear = |first: u8| -> [u8; 16] { std::array::from_fn(|at| first + at as u8) };
    let track = track::encrypt(&BlockKey::new(KeyAlgorithm::Sm4, &clear(0x21)).unwrap(), TRACK).unwrap();
    assert_eq!(data.track2.as_ref().unwrap().reveal(), track);
    let OnlinePin::Block(block) = rig.enters_pin_as(&data.pan, PinFormat::Sm4Extended).unwrap() else {
        panic!("a block")
    };
    let pin = pin::build_sm4(&Pin::new("123456").unwrap(), "6224242000000021").unwrap();
    assert_eq!(block.bytes(), Sm4Key::new(&clear(0x01)).encrypt(*pin));
}
