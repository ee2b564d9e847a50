//! A card in the virtual reader of a PC: against a scripted socket with the published frames, and against the real
//! `pcscd` with `vsmartcard-vpcd`, asked from outside by `opensc-tool`.
//!
//! The second test needs three Debian packages (`pcscd`, `vsmartcard-vpcd`, `opensc`) and says by name what is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cardsim::{Card, MemoryCounters, deck, vpcd};

fn card(id: &str) -> Card {
    Card::new(deck::find(id).unwrap(), Box::new(MemoryCounters::new()), Box::new(|bytes| bytes.fill(7)))
        .unwrap()
}

/// A reader that sends these frames and reads these answers.
fn exchange(id: &str, frames: &[(&str, &str)]) -> vpcd::Ended {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let id = id.to_owned();
    let hand = std::thread::spawn(move || vpcd::serve(address, &mut card(&id)).unwrap());
    let (mut reader, _) = listener.accept().unwrap();
    for (sent, expected) in frames {
        reader.write_all(&hex::decode(sent.replace(' ', "")).unwrap()).unwrap();
        let expected = hex::decode(expected.replace(' ', "")).unwrap();
        let mut answer = vec![0; expected.len()];
        reader.read_exact(&mut answer).unwrap();
        assert_eq!(hex::encode_upper(answer), hex::encode_upper(&expected), "{sent}");
    }
    // Removal is a closed socket. A card that has left closes its own side.
    let _ = reader.shutdown(Shutdown::Both);
    hand.join().unwrap()
}

#[test]
fn the_published_frames() {
    let ended = exchange(
        "L01",
        &[
            ("0001 04", "000C 3B8801504F53504C414231EB"),
            ("0001 01", ""),
            (
                "0014 00A404000E 315041592E5359532E4444463031 00",
                "001E 6F1A840E315041592E5359532E4444463031A5088801015F2D027A68 9000",
            ),
            ("0005 00B2010C00", "001E 701A61184F08A00000033301010150094C4142204445424954870101 9000"),
        ],
    );
    assert_eq!(ended, vpcd::Ended::ReaderClosed);
}

/// Reset in between starts the card again; off takes its state; a length without a meaning is passed over.
#[test]
fn off_on_reset_and_junk() {
    let select = "000E 00A4040008 A000000333010101 00";
    let selected =
        "002B 6F278408A000000333010101A51B50094C41422044454249548701015F2D027A68BF0C059F4D020B0A 9000";
    let ended = exchange(
        "L01",
        &[
            ("0001 01 0001 09 0000", ""),
            (select, selected),
            ("0001 02", ""),
            ("0007 80A8000002 8300", "0002 6985"),
            (select, selected),
            ("0001 00 0001 01", ""),
            ("0007 80A8000002 8300", "0002 6985"),
            ("0002 00A4", "0002 6700"),
        ],
    );
    assert_eq!(ended, vpcd::Ended::ReaderClosed);
}

/// A mute chip gives no ATR: it is as if it were not there.
#[test]
fn a_mute_card_leaves() {
    assert_eq!(exchange("L09", &[("0001 04", "")]), vpcd::Ended::CardGone);
}

// The real reader

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the real reader lacks here; none: it can be tried.
fn missing() -> Option<String> {
    let programs = [
        "/usr/sbin/pcscd",
        "/usr/bin/opensc-tool",
        "/usr/lib/pcsc/drivers/serial/libifdvpcd.so",
        "/etc/reader.conf.d/vpcd",
    ];
    if let Some(program) = programs.iter().find(|program| !Path::new(program).exists()) {
        return Some(format!("{program} is not installed (Debian: pcscd, opensc, vsmartcard-vpcd)"));
    }
    if std::os::unix::net::UnixStream::connect("/run/pcscd/pcscd.comm").is_ok() {
        return Some("a pcscd of this machine is running already, and it is not ours to stop".to_owned());
    }
    let owner = Command::new("id").arg("-u").output().ok()?;
    if owner.stdout.trim_ascii() != b"0" {
        return Some("pcscd opens its socket in /run/pcscd, which only root may".to_owned());
    }
    TcpListener::bind(("127.0.0.1", vpcd::PORT)).err().map(|error| format!("port {}: {error}", vpcd::PORT))
}

/// Tries until it gives something, for at most 20 seconds.
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50)); // poll
    }
}

fn opensc(arguments: &[&str]) -> (bool, String) {
    let out = Command::new("/usr/bin/opensc-tool").args(["-c", "default"]).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    (out.status.success(), text)
}

/// Seen through PC/SC: the ATR, an application selected, its records opened; and gone when the card is taken out.
#[test]
fn a_card_in_the_real_virtual_reader() {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    let _pcscd = Running(
        Command::new("/usr/sbin/pcscd")
            .args(["--foreground", "--critical"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let socket = wait_for("the reader", || vpcd::insert(("127.0.0.1", vpcd::PORT)).ok());
    let hand = socket.try_clone().unwrap();
    let served = std::thread::spawn(move || vpcd::serve_stream(&mut { socket }, &mut card("L01")));
    let atr = wait_for("the card's ATR", || {
        let (good, text) = opensc(&["--atr"]);
        (good && text.contains("3b:88:01")).then_some(text)
    });
    assert!(atr.contains("3b:88:01:50:4f:53:50:4c:41:42:31:eb"), "{atr}");
    let (good, text) =
        opensc(&["-s", "00A4040008A00000033301010100", "-s", "80A8000002830000", "-s", "00B2011C00"]);
    assert!(good, "{text}");
    let dump: String = text.to_uppercase();
    assert!(dump.matches("SW1=0X90, SW2=0X00").count() == 3, "{text}");
    assert!(dump.contains("5A 08 62 24 24 20 00 00 00 13"), "{text}");
    hand.shutdown(Shutdown::Both).unwrap();
    served.join().unwrap().unwrap();
    wait_for("the empty reader", || (!opensc(&["--atr"]).0).then_some(()));
}
