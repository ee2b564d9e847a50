//! An ESC/POS printer over the network: what it prints dot by dot, and what happens when it cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::FakePrinter;
use hal::{
    Call, CancelToken, CashDrawer, DrawerState, ErrorKind, Paper, PrintJob, Printer, ReceiptDoc, Retry, Width,
};
use hal_pc::{EscPosModel, EscPosPrinter, Place, SerialDrawer};
use receipt::raster::{Strip, strips};
use receipt::{Bitmap, Copies, Cut, Font, Line, Part, no_signatures};

fn call() -> Call {
    Call::within(Duration::from_secs(20))
}

fn slip() -> ReceiptDoc {
    let mut doc = ReceiptDoc::new(Width::W58);
    doc.push(Line::centre("POS 签购单").bold());
    doc.push(Line::rule());
    for line in 1..=12 {
        doc.push(Line::pair(format!("第 {line} 行"), "12.50"));
    }
    doc.push(Line::key_value("金额", "RMB 150.00").on(Copies::Cardholder));
    doc.push(Line::qr("https://posp.example/slip/1", 4));
    doc
}

/// The dots that must come out.
fn dots(doc: &ReceiptDoc) -> Bitmap {
    let mut doc = doc.clone();
    doc.lines.iter_mut().for_each(|line| line.copy = Copies::Both);
    let font = Font::load(None).unwrap();
    let strips = strips(&doc, Part::Merchant, &font, &no_signatures).unwrap();
    let [Strip::Image(image)] = strips.as_slice() else { panic!("one image") };
    image.clone()
}

fn printer(fake: &FakePrinter, model: EscPosModel) -> EscPosPrinter {
    EscPosPrinter::new(Place::Tcp(fake.address), model, None).unwrap()
}

fn cuts_and_kicks(fake: &FakePrinter) -> (u32, u32) {
    let paper = fake.paper.lock().unwrap();
    (paper.cuts, paper.kicks)
}

/// A slip longer than one strip comes to paper dot for dot, every line of the copy that the app chose, and the
/// paper is fed past the tear bar.
#[test]
fn a_slip_comes_out_dot_for_dot() {
    let fake = FakePrinter::start();
    let printer = printer(&fake, EscPosModel::SMALL);
    let job = PrintJob { copies: 2, ..PrintJob::once(slip()) };
    printer.print(&job, &call()).unwrap();
    let mut paper = fake.paper.lock().unwrap();
    assert_eq!((paper.resets, paper.fed, paper.cuts, paper.connections), (2, 8, 0, 1));
    let one = dots(&slip());
    assert!(one.height() > 255);
    let both = paper.tear();
    assert_eq!(both.height(), 2 * one.height());
    assert_eq!(both.bytes(), [one.bytes(), one.bytes()].concat());
}

/// The paper ends in the middle: the job ends with "no paper" and a part of the slip on paper; with a new roll the
/// printer forgets what it still held, and the whole slip comes out once.
#[test]
fn paper_that_ends_in_the_middle() {
    let fake = FakePrinter::start();
    let printer = printer(&fake, EscPosModel::SMALL);
    fake.set(|paper| paper.rows_left = Some(300));
    assert_eq!(Printer::status(&printer).unwrap().paper, Paper::Enough);
    let ended = printer.print(&PrintJob::once(slip()), &call()).unwrap_err();
    assert_eq!((ended.kind, ended.retry), (ErrorKind::NoPaper, Retry::AfterUserAction));
    assert_eq!(Printer::status(&printer).unwrap().paper, Paper::Out);
    // Asked again without paper, it prints nothing.
    assert_eq!(printer.print(&PrintJob::once(slip()), &call()).unwrap_err().kind, ErrorKind::NoPaper);
    {
        let mut paper = fake.paper.lock().unwrap();
        assert_eq!(paper.tear().height(), 300);
        paper.rows_left = None;
    }
    printer.print(&PrintJob::once(slip()), &call()).unwrap();
    let mut paper = fake.paper.lock().unwrap();
    assert_eq!((paper.tear(), paper.recovered), (dots(&slip()), 1));
}

/// Each bit of the answers says what stands in the way.
#[test]
fn each_state_is_said() {
    type Change = fn(&mut common::Paper);
    let fake = FakePrinter::start();
    let printer = printer(&fake, EscPosModel::SMALL);
    let rows: [(Change, ErrorKind); 4] = [
        (|paper| paper.cover_open = true, ErrorKind::CoverOpen),
        (|paper| paper.hot = true, ErrorKind::Overheated),
        (|paper| paper.jammed = true, ErrorKind::HardwareFault),
        (|paper| paper.rows_left = Some(0), ErrorKind::NoPaper),
    ];
    for (change, kind) in rows {
        fake.set(|paper| *paper = common::Paper::default());
        fake.set(change);
        assert_eq!(Printer::status(&printer).unwrap().problem(), Some(kind));
        assert_eq!(printer.print(&PrintJob::once(slip()), &call()).unwrap_err().kind, kind);
        assert!(fake.paper.lock().unwrap().rows.is_empty());
    }
    fake.set(|paper| *paper = common::Paper { rows_left: Some(99), ..common::Paper::default() });
    let status = Printer::status(&printer).unwrap();
    assert_eq!((status.paper, status.problem()), (Paper::NearEnd, None));
}

/// A printer that says nothing is off-line, in the time of an answer and not of a slip; one that is not there
/// is off-line at once; it is found again when it comes.
#[test]
fn a_silent_printer_is_offline() {
    let fake = FakePrinter::start();
    let printer = printer(&fake, EscPosModel::SMALL);
    fake.set(|paper| paper.dumb = true);
    let began = Instant::now();
    assert_eq!(Printer::status(&printer).unwrap_err().kind, ErrorKind::Offline);
    assert!(began.elapsed() < Duration::from_secs(5));
    fake.set(|paper| paper.dumb = false);
    assert!(Printer::status(&printer).is_ok());
    assert_eq!(fake.paper.lock().unwrap().connections, 2);

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = EscPosPrinter::new(Place::Tcp(nobody), EscPosModel::SMALL, None).unwrap();
    assert_eq!(absent.print(&PrintJob::once(slip()), &call()).unwrap_err().kind, ErrorKind::Offline);
}

/// A printer that takes no bytes any more: the call ends at its deadline, and when it is broken off.
#[test]
fn a_printer_that_stops_reading() {
    // Connections wait in the listener's queue: bytes go until the system's buffers are full.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let model = EscPosModel { answers: false, ..EscPosModel::SMALL };
    let place = Place::Tcp(listener.local_addr().unwrap());
    let printer = Arc::new(EscPosPrinter::new(place, model, None).unwrap());
    let mut doc = ReceiptDoc::new(Width::W58);
    for _ in 0..500 {
        doc.push(Line::text("很长的一张单子").size(receipt::Size::Huge));
    }
    let job = PrintJob { copies: 9, ..PrintJob::once(doc) };
    let ended = printer.print(&job, &Call::within(Duration::from_millis(300))).unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Timeout);
    let token = CancelToken::new();
    let cancelled = std::thread::scope(|scope| {
        let print = scope.spawn(|| printer.print(&job, &Call::with(Duration::from_secs(60), &token)));
        token.cancel();
        print.join().unwrap().unwrap_err()
    });
    assert_eq!(cancelled.kind, ErrorKind::UserCancelled);
}

/// A cutter cuts where the document says, and not without one; a drawer in the document stays shut: it opens by
/// its own call.
#[test]
fn cutter_and_drawer() {
    let fake = FakePrinter::start();
    let counter = printer(&fake, EscPosModel::COUNTER);
    let mut doc = slip();
    doc.push(Line::cut(Cut::Partial));
    doc.push(Line::drawer());
    counter.print(&PrintJob::once(doc.clone()), &call()).unwrap();
    assert_eq!(cuts_and_kicks(&fake), (1, 0));
    let drawer: &dyn CashDrawer = &counter;
    assert_eq!(drawer.status().unwrap(), DrawerState::Closed);
    drawer.kick().unwrap();
    assert_eq!(drawer.status().unwrap(), DrawerState::Open);
    counter.cut(Cut::Full).unwrap();
    assert_eq!(drawer.status().unwrap(), DrawerState::Open);
    assert_eq!(cuts_and_kicks(&fake), (2, 1));
    drop(counter);

    let small = printer(&fake, EscPosModel::SMALL);
    small.print(&PrintJob::once(doc), &call()).unwrap();
    assert_eq!(small.cut(Cut::Full).unwrap_err().kind, ErrorKind::NotSupported);
    let drawer: &dyn CashDrawer = &small;
    assert_eq!(drawer.status().unwrap(), DrawerState::Unknown);
    assert_eq!(fake.paper.lock().unwrap().cuts, 2);
}

/// A document wider than the paper, and one without a line, are refused before anything is sent.
#[test]
fn what_does_not_fit_is_refused() {
    let fake = FakePrinter::start();
    let printer = printer(&fake, EscPosModel::SMALL);
    let mut wide = ReceiptDoc::new(Width::W80);
    wide.push(Line::text("x"));
    for doc in [wide, ReceiptDoc::new(Width::W58)] {
        assert_eq!(printer.print(&PrintJob::once(doc), &call()).unwrap_err().kind, ErrorKind::BadParam);
    }
    assert_eq!(fake.paper.lock().unwrap().connections, 0);
}

/// A device file gets the same bytes; a drawer of its own gets its pulse.
#[test]
fn a_device_file_gets_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lp0");
    std::fs::write(&path, b"").unwrap();
    let model = EscPosModel { answers: false, ..EscPosModel::SMALL };
    let printer = EscPosPrinter::new(Place::File(path.clone()), model, None).unwrap();
    printer.print(&PrintJob::once(slip()), &call()).unwrap();
    let printed = receipt::escpos::decode(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(printed[1], receipt::escpos::Printed::Image(dots(&slip())));

    let path = directory.path().join("drawer");
    std::fs::write(&path, b"").unwrap();
    SerialDrawer::new(Place::File(path.clone()), None).kick().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), [0x1B, 0x70, 0x00, 0x19, 0xFA]);
}

/// A printer on a serial line whose other end does not take its bytes: the call ends in time all the same.
#[test]
#[cfg(unix)]
fn a_serial_line_that_is_stuck() {
    use hal::SerialConfig;
    use serialport::SerialPort as _;
    let (_master, slave) = serialport::TTYPort::pair().unwrap();
    let name = slave.name().unwrap();
    drop(slave);
    let model = EscPosModel { answers: false, ..EscPosModel::SMALL };
    let printer = EscPosPrinter::new(Place::Serial(name, SerialConfig::USUAL), model, None).unwrap();
    let job = PrintJob { copies: 9, ..PrintJob::once(slip()) };
    let ended = printer.print(&job, &Call::within(Duration::from_millis(300))).unwrap_err();
    assert_eq!(ended.kind, ErrorKind::Timeout);
}

/// A printer on a serial line, on a pair of pseudo terminals, gets the same bytes.
#[test]
#[cfg(unix)]
fn a_serial_line_gets_the_same() {
    use std::io::Read;

    use hal::SerialConfig;
    use serialport::SerialPort as _;
    let (mut master, slave) = serialport::TTYPort::pair().unwrap();
    let name = slave.name().unwrap();
    // Ports are opened by one at a time.
    drop(slave);
    let model = EscPosModel { answers: false, ..EscPosModel::SMALL };
    let printer = EscPosPrinter::new(Place::Serial(name, SerialConfig::USUAL), model, None).unwrap();
    let expected = dots(&slip());
    // Init, the strips with their heads, and the feed at the end.
    let length = 2 + expected.bytes().len() + 8 * expected.height().div_ceil(255) as usize + 3;
    let got = std::thread::scope(|scope| {
        // A line that nobody has open gives nothing to read: the printer's driver opens it first.
        let print = scope.spawn(|| printer.print(&PrintJob::once(slip()), &call()));
        let end = Instant::now() + Duration::from_secs(20);
        master.set_timeout(Duration::from_millis(50)).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        while got.len() < length && Instant::now() < end {
            // Quiet, or not open yet.
            let count = master.read(&mut buffer).unwrap_or_default();
            got.extend(&buffer[..count]);
        }
        print.join().unwrap().unwrap();
        got
    });
    let printed = receipt::escpos::decode(&got).unwrap();
    assert_eq!(printed[1], receipt::escpos::Printed::Image(expected));
}
