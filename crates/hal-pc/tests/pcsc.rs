//! A card in a PC/SC reader: the system's service with its virtual reader, and a laboratory card in it. Without
//! the Debian packages pcscd and vsmartcard-vpcd the test says so and is not run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cardsim::{Card, MemoryCounters, deck};
use hal::{Call, CancelToken, Deadline, Device, DeviceManager, ErrorKind, IccReader, LocalManager, PowerUp};
use hal_pc::{Overlay, PcscSlot};
use hal_suite::{Cannot, Deed, Fixture, Hands, VendorCodes, Verdict};
use hal_virtual::{VirtualConfig, VirtualDevice};

const LONG: Duration = Duration::from_secs(20);
/// A driver's port of our own, so that nobody else's card is in the way.
const PORT: u16 = 35973;

struct Service {
    pcscd: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.pcscd.kill();
        let _gone = self.pcscd.wait();
    }
}

fn vpcd_driver() -> Option<std::path::PathBuf> {
    let places = [
        "/usr/lib/pcsc/drivers/serial/libifdvpcd.so",
        "/usr/lib/x86_64-linux-gnu/pcsc/drivers/serial/libifdvpcd.so",
    ];
    places.iter().map(Path::new).find(|path| path.exists()).map(Path::to_owned)
}

/// Starts the service in the foreground with one virtual reader; why not, when it cannot be.
fn start() -> Result<Service, String> {
    if !Path::new("/usr/sbin/pcscd").exists() {
        return Err("pcscd is not installed (Debian package pcscd)".to_owned());
    }
    let Some(driver) = vpcd_driver() else {
        return Err("the virtual reader is not installed (Debian package vsmartcard-vpcd)".to_owned());
    };
    if std::os::unix::net::UnixStream::connect("/run/pcscd/pcscd.comm").is_ok() {
        return Err("another pcscd runs already".to_owned());
    }
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "FRIENDLYNAME \"Lab reader\"\nDEVICENAME /dev/null:{PORT:#x}\nLIBPATH {}\nCHANNELID {PORT:#x}\n",
        driver.display()
    );
    std::fs::write(directory.path().join("reader.conf"), config).unwrap();
    let pcscd = Command::new("/usr/sbin/pcscd")
        .args(["--foreground", "--config"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("pcscd does not start: {error}"))?;
    Ok(Service { pcscd, _directory: directory })
}

/// Tries again until the deadline: for what another process brings up.
fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "{what}");
        CancelToken::new().wait_until(Deadline::after(Duration::from_millis(50)));
    }
}

/// Puts a card in; the stream takes it out when it is shut down.
fn insert() -> (TcpStream, thread::JoinHandle<()>) {
    let mut stream =
        eventually("the virtual reader does not listen", || cardsim::vpcd::insert(("127.0.0.1", PORT)).ok());
    let hand = stream.try_clone().unwrap();
    let served = thread::spawn(move || {
        let counters = Box::new(MemoryCounters::new());
        let mut card =
            Card::new(deck::find("L01").unwrap(), counters, Box::new(|bytes| bytes.fill(7))).unwrap();
        // Ends when the card is taken out.
        let _ended = cardsim::vpcd::serve_stream(&mut stream, &mut card);
    });
    (hand, served)
}

/// An empty slot waits and says so; a card in it is waited for, powered up, selected; pulled between two commands it
/// is "removed"; put back it works again. Then the conformance suite, in the same test since there is one service.
#[test]
fn a_card_in_a_pcsc_reader() {
    let _service = match start() {
        Ok(service) => service,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let names = eventually("no reader", || hal_pc::pcsc::readers().ok().filter(|names| !names.is_empty()));
    let slot = PcscSlot::new(&names[0]).unwrap();
    assert!(!slot.present().unwrap());
    assert_eq!(slot.power_up(&PowerUp::default()).unwrap_err().kind, ErrorKind::NoCard);
    let short = Call::within(Duration::from_millis(250));
    assert_eq!(slot.wait_card(&short).unwrap_err().kind, ErrorKind::Timeout);
    let call = Call::within(LONG);
    let cancelled = thread::scope(|scope| {
        let wait = scope.spawn(|| slot.wait_card(&call));
        call.cancel.cancel();
        wait.join().unwrap().unwrap_err()
    });
    assert_eq!(cancelled.kind, ErrorKind::UserCancelled);

    let select =
        [b"\x00\xA4\x04\x00\x07".as_slice(), &hex::decode("A0000003330101").unwrap(), b"\x00"].concat();
    for _ in 0..2 {
        let (hand, served) = insert();
        let call = Call::within(LONG);
        slot.wait_card(&call).unwrap();
        let atr = slot.power_up(&PowerUp::default()).unwrap();
        assert_eq!(hex::encode_upper(atr), "3B8801504F53504C414231EB");
        let answer = slot.transmit(&select, &call).unwrap();
        assert_eq!(answer.last_chunk::<2>(), Some(&[0x90, 0x00]));
        assert_eq!(answer[0], 0x6F);
        hand.shutdown(Shutdown::Both).unwrap();
        served.join().unwrap();
        slot.wait_removed(&call).unwrap();
        assert_eq!(slot.transmit(&select, &call).unwrap_err().kind, ErrorKind::CardRemoved);
    }
    slot.power_down().unwrap();
    conforms(&names[0]);
}

/// A till whose slot is the reader, and the hand at it.
struct Till {
    manager: Arc<LocalManager>,
    /// Looks at the reader past the driver that is tested.
    eye: PcscSlot,
    inside: Mutex<Option<(TcpStream, thread::JoinHandle<()>)>>,
}

impl Hands for Till {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let mut inside = self.inside.lock().unwrap();
        match deed {
            Deed::InsertCard if inside.is_none() => *inside = Some(insert()),
            Deed::InsertCard => (),
            Deed::RemoveCard => {
                if let Some((hand, served)) = inside.take() {
                    hand.shutdown(Shutdown::Both).unwrap();
                    served.join().unwrap();
                }
                // Done when the reader has noticed.
                eventually("the card does not leave", || (!self.eye.present().unwrap()).then_some(()));
            }
            other => return Err(Cannot::new(format!("this reader has a slot alone: {other}"))),
        }
        Ok(())
    }
}

impl Fixture for Till {
    fn name(&self) -> String {
        "PC/SC with the virtual reader".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.manager.clone()
    }

    fn hands(&self) -> &dyn Hands {
        self
    }

    fn vendor_codes(&self) -> Vec<VendorCodes> {
        let documented = [
            0x8010_0004,
            0x8010_0008,
            0x8010_0009,
            0x8010_000A,
            0x8010_000B,
            0x8010_000C,
            0x8010_000F,
            0x8010_0017,
            0x8010_001D,
            0x8010_002E,
            0x8010_002F,
            0x8010_0066,
            0x8010_0067,
            0x8010_0068,
            0x8010_0069_u32,
        ];
        let documented = documented.map(|code| code as i32).to_vec();
        vec![VendorCodes { source: "PC/SC".to_owned(), table: hal_pc::pcsc::CODES, documented }]
    }

    fn handles(&self) -> Result<u64, Cannot> {
        Ok(self.manager.claims().held() as u64)
    }
}

fn conforms(reader: &str) {
    let beneath = VirtualDevice::new(VirtualConfig::lab()).unwrap();
    let slot = PcscSlot::new(reader).unwrap();
    let drivers = Overlay::over(beneath.drivers()).with(0, reader, Device::Icc(Arc::new(slot)));
    let manager = Arc::new(LocalManager::new(Arc::new(drivers)));
    let till = Till { manager, eye: PcscSlot::new(reader).unwrap(), inside: Mutex::new(None) };
    let report = hal_suite::run_some(&till, |family| {
        ["claims", "deadlines", "cancelling", "cards", "vendor codes", "cycles"].contains(&family)
    });
    assert!(report.is_good(), "{}", report.to_text());
    for (family, name) in [
        ("cards", "card pulled between two commands"),
        ("deadlines", "waiting for the slot empty"),
        ("cancelling", "waiting for a card in the slot, in the middle"),
        ("claims", "lease lost when the app dies: the slot empty"),
        ("vendor codes", "every documented code has a kind: PC/SC"),
    ] {
        assert_eq!(report.verdict(family, name), Some(Verdict::Passed), "{}", report.to_text());
    }
}

/// Every number of the service that a reader can answer has a kind of its own.
#[test]
fn the_numbers_of_the_service_have_kinds() {
    let codes = &hal_pc::pcsc::CODES;
    assert_eq!(codes.error(0x8010_0069_u32 as i32).kind, ErrorKind::CardRemoved);
    assert_eq!(codes.error(0x8010_000C_u32 as i32).kind, ErrorKind::NoCard);
    assert_eq!(codes.error(0x8010_001D_u32 as i32).kind, ErrorKind::ServiceLost);
    assert_eq!(codes.error(0x8010_0001_u32 as i32).kind, ErrorKind::Extended);
}
