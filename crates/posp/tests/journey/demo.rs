//! The demo as a place to try things: its terminals are ready, its configuration leads every other command to it,
//! and it empties no directory but its own.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Process, free_port, get, posp, text};

#[tokio::test]
async fn a_quiet_demo_is_ready_for_the_command_line() {
    let dir = tempfile::TempDir::with_prefix("posp-demo-").unwrap();
    let data = dir.path().join("demo");
    let data = data.to_str().unwrap();
    let address = || format!("127.0.0.1:{}", free_port());
    let [pos, ops, network, member, page, smart, front] = std::array::from_fn(|_| address());
    let addresses = [
        "--listen",
        &pos,
        "--ops",
        &ops,
        "--network",
        &network,
        "--network-listener",
        &member,
        "--page",
        &page,
        "--terminals",
        &smart,
        "--front",
        &front,
    ];
    let arguments = [&["demo", "--quiet", "--announce", "--dir", data][..], &addresses].concat();
    let mut demo = Process::start(&arguments, &dir.path().join("demo.err"));
    let announced: Value = serde_json::from_str(&demo.line()).unwrap();
    assert_eq!(
        (announced["pos"].as_str(), announced["page"].as_str()),
        (Some(pos.as_str()), Some(page.as_str()))
    );

    let terminal = format!("{data}/pos/10000001");
    let sale = ["sale", "--amount", "12.34", "--card", "L01", "--entry", "chip", "--pin", "123456"];
    let sold = posp(&[&["pos", "--dir", &terminal][..], &sale].concat());
    assert!(sold.status.success(), "{}", text(&sold));
    assert!(text(&sold).contains("12.34"), "{}", text(&sold));
    let config = format!("{data}/posp.toml");
    let well = posp(&["--config", &config, "doctor"]);
    assert!(well.status.success(), "{}", text(&well));
    let listed = posp(&["txn", "list", "--data", data, "--json"]);
    let payment: Value = serde_json::from_str(text(&listed).trim()).unwrap();
    assert_eq!((payment["amount_fen"].as_u64(), payment["state"].as_str()), (Some(1_234), Some("approved")));
    let (status, shown) = get(&format!("http://{page}/")).await.unwrap();
    assert!(
        status == 200 && shown.contains("L01") && shown.contains("9001"),
        "the page shows deck and faults"
    );

    let (status, shown) = get(&format!("http://{smart}/")).await.unwrap();
    assert!(status == 200 && shown.contains("smart POS"), "the smart terminals have a page");

    demo.signal(Signal::TERM);
    assert!(demo.ended().await.success());
}

/// A directory with somebody's files is left alone.
#[test]
fn the_demo_empties_only_what_it_made() {
    let dir = tempfile::TempDir::with_prefix("posp-demo-").unwrap();
    let file = dir.path().join("accounts.txt");
    fs::write(&file, "not the demo's").unwrap();
    let refused = posp(&["demo", "--exit", "--dir", dir.path().to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(text(&refused).contains("--dir"), "{}", text(&refused));
    assert_eq!(fs::read_to_string(&file).unwrap(), "not the demo's");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
