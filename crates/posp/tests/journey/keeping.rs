//! A journal that is kept: `posp store backup`, `check` and `restore` as an operator types them, and a node that goes
//! on from the backup.

use std::fs;

use crate::support::raw::RawTerminal;
use crate::support::{IN_FILES, Lab, Setup, text};

/// A backup is made while the node serves; the node goes on, is stopped and its disk is lost. On the backup another
/// node begins: what was paid before the backup is known and a repeat of it hears its first answer, byte for byte; what
/// was paid after it is known to the network alone, and no number is given twice. New payments go through.
#[tokio::test]
async fn a_node_goes_on_from_its_backup() {
    let mut lab = Lab::start(Setup { store: IN_FILES.into(), ..Setup::default() }).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    let request = terminal.sale(1_000);
    let before = terminal.signed(&request);
    let answered = terminal.send(&before).await;
    assert_eq!(answered.code(), "00");

    let file = lab.dir.path().join("journal.backup");
    let file = file.to_str().unwrap();
    let said = lab.good(&["store", "backup", file]);
    assert!(said.contains("flushed to the disk"), "{said}");
    let size = fs::metadata(file).unwrap().len();
    assert!(size > 0 && said.contains(&format!("{size} bytes")), "{said}");
    let again = lab.posp(&["store", "backup", file]);
    assert!(!again.status.success(), "a backup is never written over another: {}", text(&again));
    assert_eq!(fs::metadata(file).unwrap().len(), size);
    let checked = lab.good(&["store", "check"]);
    assert_eq!(checked.trim(), "the journal agrees with itself", "also beside the node");

    let request = terminal.sale(2_000);
    let after = terminal.signed(&request);
    assert_eq!(terminal.send(&after).await.code(), "00");
    let lost = lab.payment_in(&["--amount-min", "20.00", "--amount-max", "20.00"], "approved").await;
    let numbers: Vec<u64> = lab.payments(&[]).iter().map(|p| p["payment"].as_u64().unwrap()).collect();
    lab.stop_node().await;

    let occupied = lab.posp(&["store", "restore", file]);
    assert!(!occupied.status.success(), "a journal is never replaced: {}", text(&occupied));
    let elsewhere = lab.dir.path().join("restored");
    let config = fs::read_to_string(lab.config()).unwrap();
    let moved = config.replace(&lab.data().display().to_string(), &elsewhere.display().to_string());
    assert_ne!(moved, config);
    fs::write(lab.config(), moved).unwrap();
    let said = lab.good(&["store", "restore", file]);
    assert!(said.contains("the journal agrees with itself"), "{said}");
    assert!(said.contains("every sequence of numbers goes on 10000000 further"), "{said}");
    assert_eq!(lab.good(&["store", "check"]).trim(), "the journal agrees with itself");

    lab.start_node().await;
    lab.ready().await;
    // The terminal's keys are those of its last sign-in: they are in the backup.
    let repeated = terminal.send(&before).await;
    assert_eq!(repeated.bytes(), answered.bytes(), "the repeat hears what the first heard");
    assert!(lab.payments(&["--amount-min", "20.00", "--amount-max", "20.00"]).is_empty());
    let reference = lost["reference"].as_str().unwrap();
    assert_eq!(lab.record(reference, "0200").await.unwrap()["state"], "approved", "the network has it");
    let request = terminal.sale(3_000);
    assert_eq!(terminal.send(&terminal.signed(&request)).await.code(), "00");
    let kept = lab.payment_in(&["--amount-min", "30.00", "--amount-max", "30.00"], "approved").await;
    let number = kept["payment"].as_u64().unwrap();
    assert!(numbers.iter().all(|older| *older < number), "{number} was given before: {numbers:?}");
    assert_ne!(kept["reference"], lost["reference"]);
    assert_eq!(lab.payments(&[]).len(), 2);
    lab.stop_node().await;
    assert_eq!(lab.good(&["store", "check"]).trim(), "the journal agrees with itself");
}
