//! What an app may do, and how a failure reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hal::{
    AppId, Broker, CardText, CryptoBox, Device, DeviceEntry, DeviceKind, DeviceManager, DriverSet, ErrorKind,
    HalError, Health, KeySlot, LeaseTerms, LocalManager, MacAlgorithm, OpenDevice, Permission, Permissions,
    Result, Retry, VendorTable, WorkKeyClass,
};
use zeroize::Zeroizing;

/// A crypto box that counts what reaches it.
#[derive(Default)]
struct Counting(AtomicU32);

impl CryptoBox for Counting {
    fn mac_modes(&self) -> Vec<MacAlgorithm> {
        vec![MacAlgorithm::CupEcb]
    }

    fn mac(&self, _key: KeySlot, _mode: MacAlgorithm, _data: &[u8]) -> Result<[u8; 8]> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(*b"12345678")
    }

    fn encrypt_track(&self, _key: KeySlot, track: &CardText) -> Result<CardText> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(track.clone())
    }

    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        Ok(Zeroizing::new(vec![0; len]))
    }
}

struct Shelf(Arc<Counting>);

impl DriverSet for Shelf {
    fn inventory(&self) -> Vec<DeviceEntry> {
        let entry = |kind| DeviceEntry { kind, index: 0, name: String::new() };
        vec![entry(DeviceKind::Crypto), entry(DeviceKind::Printer)]
    }

    fn device(&self, kind: DeviceKind, _index: u8) -> Result<Device> {
        if kind == DeviceKind::Crypto {
            let counting: Arc<dyn CryptoBox> = self.0.clone();
            return Ok(counting.into());
        }
        HalError::not_supported(kind)
    }

    fn health(&self, _kind: DeviceKind, _index: u8) -> Result<Health> {
        Ok(Health::Good)
    }
}

/// An app that was granted the crypto box and signing gets its MAC; enciphering was not granted, so it is
/// refused before the device hears of it, counted and told. Other devices it neither sees nor opens.
#[test]
fn an_app_does_what_it_was_granted() {
    let counting = Arc::new(Counting::default());
    let manager = Arc::new(LocalManager::new(Arc::new(Shelf(Arc::clone(&counting)))));
    let granted = Permissions::parse(["device.crypto", "crypto.mac"]).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&told);
    let shop = AppId::new("org.example.shop");
    let broker = Broker::reporting(
        manager,
        shop.clone(),
        granted,
        Box::new(move |app, permission| ear.lock().unwrap().push(format!("{app} {permission}"))),
    );
    let session = broker.login(&shop).unwrap();
    let lease = broker.open::<dyn CryptoBox>(&session, 0, LeaseTerms::open_end()).unwrap();
    let crypto = lease.get().unwrap();
    let key = KeySlot::working(1, WorkKeyClass::Mac).unwrap();
    assert_eq!(crypto.mac(key, MacAlgorithm::CupEcb, b"x").unwrap(), *b"12345678");
    let refused =
        crypto.encrypt_track(key, &CardText::new("6224242000000021D29022015699031007")).unwrap_err();
    assert_eq!((refused.kind, refused.retry), (ErrorKind::PermissionDenied, Retry::No));
    assert_eq!(counting.0.load(Ordering::SeqCst), 1);

    let printer = broker.open::<dyn hal::Printer>(&session, 0, LeaseTerms::open_end()).unwrap_err();
    assert_eq!(printer.kind, ErrorKind::PermissionDenied);
    assert_eq!(broker.inventory().len(), 1);
    assert_eq!(broker.health(DeviceKind::Printer, 0).unwrap_err().kind, ErrorKind::PermissionDenied);
    assert_eq!(broker.refusals()[&Permission::Encrypt], 1);
    assert_eq!(broker.refusals()[&Permission::Open(DeviceKind::Printer)], 2);
    assert_eq!(told.lock().unwrap()[0], "org.example.shop crypto.encrypt");
    // Nobody borrows another's name, in a session or at its end.
    assert_eq!(broker.login(&AppId::new("other")).unwrap_err().kind, ErrorKind::PermissionDenied);
    broker.end_app(&AppId::new("other"));
    assert!(session.is_open());
}

/// Every permission has a text of its own that reads back; a manifest with an unknown one is refused whole.
#[test]
fn permissions_are_texts_in_a_manifest() {
    let texts: BTreeSet<String> = Permission::all().map(|permission| permission.to_string()).collect();
    assert_eq!(texts.len(), Permission::all().count());
    for permission in Permission::all() {
        assert_eq!(permission.to_string().parse::<Permission>().unwrap(), permission);
    }
    assert!(Permissions::parse(["device.printer", "device.shell"]).is_err());
}

/// The usual retry of each kind as the field reference lists it.
#[test]
fn each_kind_says_what_usually_helps() {
    use ErrorKind as K;
    let rows: [(Retry, &[ErrorKind]); 4] = [
        (
            Retry::No,
            &[
                K::NotSupported,
                K::BadParam,
                K::PermissionDenied,
                K::HardwareFault,
                K::NoKey,
                K::KcvMismatch,
                K::KeyExpired,
                K::Tampered,
                K::PinBypassed,
                K::KernelError,
                K::Extended,
            ],
        ),
        (
            Retry::Same,
            &[
                K::NotOpen,
                K::Claimed,
                K::Busy,
                K::Timeout,
                K::UserCancelled,
                K::Comm,
                K::Offline,
                K::ServiceLost,
            ],
        ),
        (
            Retry::AfterUserAction,
            &[
                K::NoCard,
                K::CardRemoved,
                K::MultipleCards,
                K::NoPaper,
                K::CoverOpen,
                K::Overheated,
                K::LowPower,
            ],
        ),
        (Retry::OtherInterface, &[K::CardMute]),
    ];
    let mut seen = BTreeSet::new();
    for (retry, kinds) in rows {
        for kind in kinds {
            assert_eq!(kind.usual_retry(), retry, "{kind}");
            assert_eq!(HalError::new(*kind, DeviceKind::Printer).retry, retry);
            assert!(seen.insert(*kind));
        }
    }
    assert_eq!(seen.len(), ErrorKind::ALL.len());
}

/// A vendor's known code becomes a kind with the vendor's number kept; an unknown one is "extended" with the
/// number, never swallowed.
#[test]
fn vendor_codes_keep_their_numbers() {
    let table = VendorTable { device: DeviceKind::Printer, rows: &[(0xF0, ErrorKind::NoPaper, "paper out")] };
    let known = table.error(0xF0);
    assert_eq!(
        (known.kind, known.vendor_code, known.retry),
        (ErrorKind::NoPaper, Some(0xF0), Retry::AfterUserAction)
    );
    assert_eq!(known.to_string(), "printer: no_paper (vendor code 240): paper out");
    let unknown = table.error(0x77);
    assert_eq!((unknown.kind, unknown.vendor_code), (ErrorKind::Extended, Some(0x77)));
}

/// Card text shows first six and last four in public and nothing in `Debug`; short text shows nothing.
#[test]
fn card_text_is_masked() {
    let pan = CardText::new("6224242000000021");
    assert_eq!(pan.masked(), "622424******0021");
    assert_eq!(CardText::new("123456").masked(), "******");
    assert_eq!(format!("{pan:?}"), "CardText(16 characters)");
}

/// A track 2 with either separator gives its parts; one without, with two, with letters or cut short is none.
#[test]
fn a_track_2_has_its_parts() {
    for track in ["6224242000000021D29022015699031007", "6224242000000021=29022015699031007"] {
        let (pan, expiry, service_code) = hal::parse_track2(track).unwrap();
        assert_eq!(
            (pan.reveal(), expiry.as_str(), service_code.as_str()),
            ("6224242000000021", "2902", "201")
        );
    }
    for track in [
        "",
        "D",
        "622424200000002129022015699031007",
        "6224242000000021D2902D01",
        "6224242000000021D2902",
        "62242420D2902201",
        "62242420000A0021D29022015",
        "6224242000000021D2902 201",
        "6224242000000021D290中文",
    ] {
        assert!(hal::parse_track2(track).is_none(), "{track}");
    }
}

/// The slot map: master keys 1 to 9, and for tenant t PIN 10t+1, MAC 10t+2, track 10t+3; no tenant 0 or 10.
#[test]
fn key_slots_follow_the_map() {
    assert_eq!(KeySlot::master(1), Some(KeySlot::Fixed(1)));
    assert_eq!(KeySlot::working(3, WorkKeyClass::Pin), Some(KeySlot::Fixed(31)));
    assert_eq!(KeySlot::working(3, WorkKeyClass::Mac), Some(KeySlot::Fixed(32)));
    assert_eq!(KeySlot::working(9, WorkKeyClass::Track), Some(KeySlot::Fixed(93)));
    assert_eq!((KeySlot::master(0), KeySlot::master(10)), (None, None));
    assert_eq!(KeySlot::working(0, WorkKeyClass::Pin), None);
}
