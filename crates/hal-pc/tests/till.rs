//! A PC till: its parts, and the conformance of the whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::FakePrinter;
use hal::{
    Call, Camera, CodeFormat, Device, DeviceKind, DeviceManager, DriverSet, ErrorKind, Health, LocalManager,
    MagReader, ReceiptDoc, Scanner, SerialConfig, SerialPort, SwipeRequest, Tracks, Width,
};
use hal_pc::{
    CameraScanner, EscPosModel, EscPosPrinter, Overlay, PcSerial, Picture, Place, Wedge, find_code,
};
use hal_suite::{Cannot, Deed, Fixture, Hands, Verdict};
use hal_virtual::{Controls, EchoCard, PinKey, VirtualConfig, VirtualDevice, card};
use receipt::{Bitmap, Font, Line, Part, no_signatures};

const LONG: Duration = Duration::from_secs(20);
const SWIPE: &str = ";6224242000000021=29022015699031007?\r";

/// A picture of a document, as a camera sees it: three dots a dot, grey instead of white.
fn photograph(line: Line) -> Picture {
    const SCALE: u32 = 3;
    let mut doc = ReceiptDoc::new(Width::W58);
    doc.push(Line::space(2));
    doc.push(line);
    doc.push(Line::space(2));
    let font = Font::load(None).unwrap();
    let image: Bitmap = receipt::raster::image(&doc, Part::Merchant, &font, &no_signatures).unwrap();
    let (width, height) = (image.width() * SCALE, image.height() * SCALE);
    let dots = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let luma = dots.map(|(x, y)| if image.get(x / SCALE, y / SCALE) { 30 } else { 205 }).collect();
    Picture::new(width, height, luma).unwrap()
}

/// Both codes that a payer shows are read from a picture, only the wanted kinds, and no code in a picture of text.
#[test]
fn codes_are_found_in_pictures() {
    let pay_code = "134567890123456789";
    let qr = photograph(Line::qr(pay_code, 6));
    let bars = photograph(Line::barcode(pay_code));
    for (picture, format) in [(&qr, CodeFormat::Qr), (&bars, CodeFormat::Code128)] {
        let code = find_code(picture, &[]).unwrap();
        assert_eq!((code.format, code.text.as_str()), (format, pay_code));
    }
    assert!(find_code(&qr, &[CodeFormat::Code128]).is_none());
    assert!(find_code(&photograph(Line::text("没有码")), &[]).is_none());
    assert!(Picture::new(10, 10, vec![0; 99]).is_err());
    assert!(Picture::new(1 << 16, 1 << 16, Vec::new()).is_err());
}

/// A scan looks at the newest picture until one has a code; a picture that nobody waits for is not kept.
#[test]
fn a_camera_is_looked_at_until_there_is_a_code() {
    let scanner = CameraScanner::new(Camera::Back);
    assert!(!scanner.feed(photograph(Line::qr("too early", 6))));
    let found = thread::scope(|scope| {
        let scan = scope.spawn(|| scanner.scan(Camera::Back, &[], &Call::within(LONG)));
        scanner.when_waiting(&Call::within(LONG)).unwrap();
        scanner.feed(photograph(Line::text("手")));
        scanner.feed(photograph(Line::qr("6212345678901234567", 6)));
        scan.join().unwrap().unwrap()
    });
    assert_eq!(found.text, "6212345678901234567");
    assert_eq!(
        scanner.scan(Camera::Front, &[], &Call::within(LONG)).unwrap_err().kind,
        ErrorKind::NotSupported
    );
}

/// What a keyboard device types goes to who waits for it, and nowhere when nobody waits.
#[test]
fn a_wedge_types_for_who_waits() {
    let device = VirtualDevice::new(VirtualConfig::lab()).unwrap();
    let wedge = Wedge::new(Arc::clone(device.secure()));
    wedge.feed(SWIPE);
    let request = SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None };
    let (card, code) = thread::scope(|scope| {
        let swipe = scope.spawn(|| wedge.wait_swipe(&request, &Call::within(LONG)));
        wedge.when_waiting(&Call::within(LONG)).unwrap();
        // A code while a card is waited for is not the card.
        wedge.feed("6212345678901234567\r");
        wedge.feed(SWIPE);
        let card = swipe.join().unwrap().unwrap();
        let scan = scope.spawn(|| wedge.scan(Camera::Front, &[], &Call::within(LONG)));
        wedge.when_waiting(&Call::within(LONG)).unwrap();
        wedge.feed("134567890123456789\r\n");
        (card, scan.join().unwrap().unwrap())
    });
    assert_eq!(card.track2.unwrap().reveal(), "6224242000000021D29022015699031007");
    assert_eq!((code.text.as_str(), code.format), ("134567890123456789", CodeFormat::Unknown));
}

/// A serial line, on a pair of pseudo terminals: bytes both ways, a deadline, a cancel, closed, and gone.
#[test]
#[cfg(unix)]
fn a_serial_line_carries_bytes() {
    use serialport::SerialPort as _;
    let (mut master, slave) = serialport::TTYPort::pair().unwrap();
    let line = PcSerial::new(slave.name().unwrap());
    // Ports are opened by one at a time.
    drop(slave);
    let short = Call::within(Duration::from_millis(30));
    assert_eq!(line.read(1, &short).unwrap_err().kind, ErrorKind::NotOpen);
    line.open(&SerialConfig::USUAL).unwrap();
    assert_eq!(line.read(1, &short).unwrap_err().kind, ErrorKind::Timeout);
    line.write(b"\x02\x00\x03ABC\x03@", &Call::within(LONG)).unwrap();
    let mut got = [0; 8];
    master.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"\x02\x00\x03ABC\x03@");
    master.write_all(b"\x06").unwrap();
    assert_eq!(line.read(16, &Call::within(LONG)).unwrap(), b"\x06");
    let call = Call::within(LONG);
    let cancelled = thread::scope(|scope| {
        let read = scope.spawn(|| line.read(1, &call));
        call.cancel.cancel();
        read.join().unwrap().unwrap_err()
    });
    assert_eq!(cancelled.kind, ErrorKind::UserCancelled);
    line.close().unwrap();
    assert_eq!(line.write(b"x", &Call::within(LONG)).unwrap_err().kind, ErrorKind::NotOpen);
    let none = PcSerial::new("/dev/no-such-line");
    assert_eq!(none.open(&SerialConfig::USUAL).unwrap_err().kind, ErrorKind::Offline);
}

struct Till {
    manager: Arc<LocalManager>,
    drivers: Arc<Overlay>,
    printer: FakePrinter,
    wedge: Arc<Wedge>,
    camera: Arc<CameraScanner>,
    hands: Controls,
}

impl Till {
    fn new() -> Self {
        let device = VirtualDevice::new(VirtualConfig::lab()).unwrap();
        let printer = FakePrinter::start();
        let escpos =
            Arc::new(EscPosPrinter::new(Place::Tcp(printer.address), EscPosModel::COUNTER, None).unwrap());
        let wedge = Wedge::new(Arc::clone(device.secure()));
        let camera = CameraScanner::new(Camera::Front);
        let drawer: Arc<EscPosPrinter> = Arc::clone(&escpos);
        let drivers = Arc::new(
            Overlay::over(device.drivers())
                .with(0, "ESC/POS", Device::Printer(escpos))
                .with(0, "drawer on the printer", Device::Drawer(drawer))
                .with(0, "wedge", Device::Mag(wedge.clone()))
                .with(0, "camera", Device::Scanner(camera.clone())),
        );
        let manager = Arc::new(LocalManager::new(drivers.clone()));
        Self { manager, drivers, printer, wedge, camera, hands: device.controls() }
    }
}

impl Hands for Till {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let hands = &self.hands;
        match deed {
            Deed::InsertCard => drop(hands.insert(&card(EchoCard::default()))),
            Deed::RemoveCard => drop(hands.remove()),
            Deed::Swipe => self.wedge.feed(SWIPE),
            Deed::Tap => hands.tap(&card(EchoCard::default())),
            Deed::TapTwo => (0..2).for_each(|_| hands.tap(&card(EchoCard::default()))),
            Deed::Untap => hands.untap(),
            Deed::PaperOut => self.printer.set(|paper| paper.rows_left = Some(0)),
            Deed::PaperIn => self.printer.set(|paper| paper.rows_left = None),
            Deed::PaperEndsSoon => self.printer.set(|paper| paper.rows_left = Some(160)),
            Deed::Heat => self.printer.set(|paper| paper.hot = true),
            Deed::Cool => self.printer.set(|paper| paper.hot = false),
            Deed::Type(digits) => drop(hands.type_digits(digits)),
            Deed::Clear => drop(hands.press(PinKey::Clear)),
            Deed::Confirm => drop(hands.press(PinKey::Confirm)),
            Deed::Cancel => drop(hands.press(PinKey::Cancel)),
            Deed::ShowCode => return Err(Cannot::new("a camera is shown a code while it is looked through")),
        }
        Ok(())
    }
}

impl Fixture for Till {
    fn name(&self) -> String {
        "a PC till".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.manager.clone()
    }

    fn hands(&self) -> &dyn Hands {
        self
    }

    fn handles(&self) -> Result<u64, Cannot> {
        Ok((self.manager.claims().held() + Arc::strong_count(&self.camera)) as u64)
    }
}

/// The printer over the network, the wedge and the camera in front of the soft secure part conform, but for the
/// counters, which the device beneath keeps for its own parts only.
#[test]
fn the_till_conforms() {
    let report = hal_suite::run_some(&Till::new(), |family| family != "counters");
    assert!(report.is_good(), "{}", report.to_text());
    for name in ["paper out during a slip", "overheated, then recovered"] {
        assert_eq!(report.verdict("paper", name), Some(Verdict::Passed));
    }
    assert_eq!(
        report.verdict("absent devices", "not supported: a camera that is not there"),
        Some(Verdict::Passed)
    );
}

/// Health comes from the device in front, and devices beneath are still there.
#[test]
fn the_till_knows_how_its_parts_are() {
    let till = Till::new();
    assert_eq!(till.drivers.health(DeviceKind::Printer, 0).unwrap(), Health::Good);
    till.printer.set(|paper| paper.cover_open = true);
    let attention = Health::NeedsAttention(ErrorKind::CoverOpen);
    assert_eq!(till.drivers.health(DeviceKind::Printer, 0).unwrap(), attention);
    let inventory = till.drivers.inventory();
    let name =
        |kind| inventory.iter().filter(|entry| entry.kind == kind).map(|entry| entry.name.as_str()).next();
    assert_eq!(
        (name(DeviceKind::Printer), name(DeviceKind::PinPad)),
        (Some("ESC/POS"), Some("virtual pin_pad"))
    );
}
