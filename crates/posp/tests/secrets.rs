//! No card number, track, PIN or key is anywhere in the clear: a demo with its whole story, and a laboratory whose
//! processes log everything they can, are put through honest and bad traffic, and then every byte they wrote is
//! looked through: standard output and error, logs, journal with its write-ahead log, the terminals' directories,
//! the simulator's books, page and interface, the commands that show payments, the metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use hsm::KeyAlgorithm;
use hsm::primitives::BlockKey;
use pos::{
    BalanceRequest, CardInput, Entry, KeyLayout, Pin, RefundRequest, SaleRequest, Terminal, VoidRequest,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::raw::{PAN, RawTerminal, TRACK};
use support::scan::Scanner;
use support::{FIRST, Lab, NATIONAL, Process, SECOND, Setup, TMK, free_port, get, posp, text};

fn sale(fen: u64, card: &str, entry: Entry, pin: Option<&str>) -> SaleRequest {
    let pin = pin.map(|pin| Pin::new(pin).unwrap());
    SaleRequest { amount_fen: fen, card: CardInput::deck(card).unwrap(), entry, pin }
}

/// A number of nineteen digits that no issuer knows; it passes through everything until the network declines it.
fn stranger() -> String {
    let number = (0..10).map(|check| format!("621214987654321012{check}")).find(|number| pos::luhn(number));
    number.unwrap()
}

fn sale_with(fen: u64, number: &str) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::keyed(number, Some("3011")).unwrap(),
        entry: Entry::Manual,
        pin: None,
    }
}

/// Everything that `posp` shows of a node's data, and what its pages say.
async fn scan_views(scanner: &mut Scanner, config: &Path, ops: &str, page: &str) {
    let config = config.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = posp(&[&["--config", config], arguments].concat());
        text(&output)
    };
    let list = run(&["txn", "list", "--json", "--limit", "500"]);
    let payments: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(payments.len() > 5, "{list}");
    scanner.text("txn list --json", &list);
    for payment in payments {
        let number = payment["payment"].to_string();
        for option in ["--bytes", "--json"] {
            let shown = run(&["txn", "show", &number, option]);
            assert!(shown.contains(payment["reference"].as_str().unwrap()), "{shown}");
            scanner.text(&format!("txn show {option}"), &shown);
        }
    }
    for arguments in [
        &["txn", "list"][..],
        &["txn", "list", "--csv"],
        &["settlement", "list"],
        &["settlement", "differences"],
        &["forward", "list"],
        &["terminal", "list", "--json"],
        &["merchant", "list", "--json"],
        &["key", "show"],
        &["config"],
        &["doctor"],
    ] {
        scanner.text(&arguments.join(" "), &run(arguments));
    }
    for path in ["/metrics", "/healthz"] {
        let (_, body) = get(&format!("http://{ops}{path}")).await.unwrap();
        scanner.text(path, &body);
    }
    for path in ["status", "totals", "cards", "cards/L01/journal", "cards/M01/journal", "record", "faults"] {
        let (status, body) = get(&format!("http://{page}/api/{path}")).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        scanner.text(&format!("the simulator's {path}"), &body);
    }
    // The page is where people read the deck's laboratory PINs; the numbers are masked there as well.
    let (_, body) = get(&format!("http://{page}/")).await.unwrap();
    scanner.bytes("the simulator's page", body.as_bytes());
}

/// The scanner finds what it should find, in each form: otherwise finding nothing means nothing.
#[test]
fn the_scanner_finds_each_form() {
    let pan = "6224242000000120";
    let packed = hex::decode(pan).unwrap();
    let shifted = hex::decode(format!("0{pan}f")).unwrap();
    let forms: [Vec<u8>; 7] = [
        format!("card {pan} declined").into_bytes(),
        [&[0xFF, 0x00][..], &packed, &[0x80]].concat(),
        [&[0xFF][..], &shifted].concat(),
        hex::encode_upper(pan).into_bytes(),
        hex::encode(&packed).into_bytes(),
        format!("{packed:?}").into_bytes(),
        format!("{:?}", pan.as_bytes()).into_bytes(),
    ];
    for form in forms {
        let mut scanner = Scanner::for_the_deck();
        scanner.bytes("here", &form);
        assert!(scanner.findings() > 0, "{}", String::from_utf8_lossy(&form));
    }
    let mut scanner = Scanner::for_the_deck();
    scanner.text("here", "{\"pin\": \"123456\"}");
    assert_eq!(scanner.findings(), 1);
    scanner.text("here", "622424******0120 paid 1234.56, reference 112412345678");
    assert_eq!(scanner.findings(), 1, "what may be shown is no finding");
}

/// A process that dies leaves no image of its memory, where keys and numbers are in the clear; and the limit cannot be
/// raised again.
#[tokio::test]
async fn g10_a_node_leaves_no_core_dump() {
    let lab = Lab::start(Setup::default()).await;
    let limits = format!("/proc/{}/limits", lab.node.as_ref().unwrap().id());
    let limits = std::fs::read_to_string(limits).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
}

/// The demo: its story with every message shown, then bad input, then everything it wrote.
#[tokio::test]
async fn g10_the_demo_keeps_its_secrets() {
    let dir = tempfile::TempDir::with_prefix("posp-secrets-").unwrap();
    let data = dir.path().join("demo");
    let address = || format!("127.0.0.1:{}", free_port());
    let [pos, ops, network, member, page, smart, front] = std::array::from_fn(|_| address());
    let arguments = [
        "demo",
        "--bytes",
        "--announce",
        "--dir",
        data.to_str().unwrap(),
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
    let errors = dir.path().join("demo.err");
    let mut demo = Process::start(&arguments, &errors);
    let mut told = String::new();
    // The announcement is one line of JSON; the story ends with the comparison of the books.
    let (mut announced, mut ended) = (false, false);
    while !(announced && ended) {
        let line = demo.line();
        assert!(!line.is_empty(), "the demo ended: {told}{}", fs::read_to_string(&errors).unwrap());
        announced |= line.starts_with('{');
        ended |= line.contains("they agree");
        told.push_str(&line);
    }

    for id in ["10000001", "10000003"] {
        let mut terminal = Terminal::open(data.join("pos").join(id)).unwrap();
        terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        terminal.sale(sale(1_000, "M01", Entry::Swipe, Some("123456"))).await.unwrap();
        let declined = terminal.sale(sale(1_001, "M05", Entry::Swipe, Some("654321"))).await.unwrap();
        assert_eq!(declined.response_code.as_deref(), Some("55"));
        terminal.sale(sale(1_002, "L12", Entry::Manual, Some("888888"))).await.unwrap();
        let unknown = terminal.sale(sale_with(1_004, &stranger())).await.unwrap();
        assert_eq!(unknown.response_code.as_deref(), Some("14"));
        let sold = terminal.sale(sale(1_003, "L01", Entry::Chip, Some("123456"))).await.unwrap();
        // The same request with a wrong MAC, broken in its middle, and with a byte too many.
        let raw = RawTerminal::new(pos.parse().unwrap(), id);
        let mut frame = sold.request.clone();
        let end = frame.len() - 1;
        frame[end] ^= 1;
        assert_eq!(raw.send(&frame).await.code(), "A0");
        frame[30] = 0xFA;
        assert_eq!(raw.send(&frame).await.code(), "30");
        let mut long = sold.request.clone();
        long.push(0x62);
        let length = u16::try_from(long.len() - 2).unwrap().to_be_bytes();
        long[..2].copy_from_slice(&length);
        assert_eq!(raw.send(&long).await.code(), "30");
    }

    let mut scanner = Scanner::for_the_deck();
    scanner.secret("the number of a stranger", &stranger());
    scanner.master_keys(&data);
    scanner.text("the story", &told);
    scan_views(&mut scanner, &data.join("posp.toml"), &ops, &page).await;
    scanner.directory(&data);
    demo.signal(Signal::TERM);
    assert!(demo.ended().await.success());
    scanner.directory(dir.path());
    for part in ["demo/posp.log", "demo/journal.db", "demo/pos/cards.json", "demo/pos/10000001/state.json"] {
        assert!(
            scanner.places.iter().any(|place| place == part),
            "{part} was not looked through: {:?}",
            scanner.places
        );
    }
    scanner.settle();
}

/// A laboratory whose processes log all they can, with keys that the test knows.
#[tokio::test]
async fn g10_the_node_keeps_its_secrets_even_when_it_logs_everything() {
    let mut lab = Lab::start(Setup { log: "trace", ..Setup::default() }).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let pin = Some("123456");
    for request in [
        sale(1_001, "M01", Entry::Swipe, pin),
        sale(1_002, "L01", Entry::Chip, pin),
        sale(1_003, "L13", Entry::Tap, None),
        sale(1_004, "L12", Entry::Manual, Some("888888")),
        sale(1_005, "L09", Entry::Fallback, pin),
        sale(1_006, "L06", Entry::Chip, pin),
        sale(1_007, "L04", Entry::Chip, pin),
        sale(1_008, "L03", Entry::Chip, Some("123456")),
        sale(1_009, "M03", Entry::Swipe, pin),
        sale(9_001, "L02", Entry::Chip, pin),
        sale(9_003, "M01", Entry::Swipe, pin),
        sale(9_008, "M01", Entry::Swipe, pin),
        sale(1_010, "L05", Entry::Chip, pin),
        sale_with(1_014, &stranger()),
    ] {
        terminal.sale(request).await.unwrap();
    }
    terminal.send_reversal().await.unwrap();
    let card = CardInput::deck("L01").unwrap();
    let pin = Some(Pin::new("123456").unwrap());
    terminal.balance(BalanceRequest { card, entry: Entry::Chip, pin }).await.unwrap();
    let first = terminal.journal()[0].clone();
    let chip = terminal.journal()[1].trace;
    assert!(terminal.void(VoidRequest::by_trace(chip)).await.unwrap().approved);
    let refund = RefundRequest {
        amount_fen: 500,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: first.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    assert!(terminal.refund(refund).await.unwrap().approved);
    line.drop_next_answer();
    terminal.sale(sale(1_011, "M01", Entry::Swipe, Some("123456"))).await.unwrap();
    terminal.send_reversal().await.unwrap();
    // A batch that differs carries every card number in its details.
    drop(terminal);
    lab.edit_terminal(FIRST, |state| state["journal"][0]["amount_fen"] = json!(77));
    let mut terminal = lab.reopen(FIRST);
    assert!(terminal.settle().await.unwrap().approved);
    drop(terminal);

    let (mut national, _) = lab.terminal(NATIONAL).await;
    assert!(national.sign_in(KeyLayout::Sm4).await.unwrap().approved);
    assert!(national.sale(sale(1_012, "L14", Entry::Chip, Some("123456"))).await.unwrap().approved);
    assert!(national.sale(sale(1_013, "M01", Entry::Swipe, Some("123456"))).await.unwrap().approved);
    drop(national);

    let mut raw = RawTerminal::new(lab.pos, SECOND);
    raw.sign_in().await;
    raw.good_sale().await;
    misbehave(&mut raw).await;

    let mut scanner = Scanner::for_the_deck();
    scanner.secret("the number of a stranger", &stranger());
    keys(&mut scanner, &raw);
    scanner.master_keys(lab.dir.path());
    let terminal = lab.terminal_dir(FIRST);
    for arguments in
        [&["status"][..], &["journal"], &["receipt"], &["--json", "status"], &["--show-bytes", "echo"]]
    {
        let shown = posp(&[&["pos", "--dir", terminal.to_str().unwrap()], arguments].concat());
        scanner.text(&format!("pos {}", arguments.join(" ")), &text(&shown));
    }
    for arguments in [
        &["sign-in", "--keys", "3des-track"][..],
        &["--show-bytes", "sale", "--amount", "10.14", "--card", "L01", "--entry", "chip", "--pin", "123456"],
        &[
            "--show-bytes",
            "--json",
            "sale",
            "--amount",
            "10.15",
            "--card",
            "M01",
            "--entry",
            "swipe",
            "--pin",
            "123456",
        ],
    ] {
        let shown = posp(&[&["pos", "--dir", terminal.to_str().unwrap()], arguments].concat());
        assert!(shown.status.success(), "{}", text(&shown));
        scanner.text(&format!("pos {}", arguments.join(" ")), &text(&shown));
    }
    scan_views(&mut scanner, &lab.config(), &lab.ops.to_string(), &lab.page.to_string()).await;
    scanner.directory(lab.dir.path());
    assert!(scanner.places.iter().any(|place| place == "data/journal.db-wal"), "{:?}", scanner.places);
    lab.stop_node().await;
    scanner.directory(lab.dir.path());
    for part in ["posp.log", "sim.log", "network.jsonl", "data/journal.db", "pos/10000001/state.json"] {
        assert!(scanner.places.iter().any(|place| place == part), "{part} was not looked through");
    }
    assert!(lab.log().contains("TRACE") || lab.log().contains("DEBUG"), "the node did not log everything");
    scanner.settle();
}

/// Card data where it does not belong, and every refusal on the way.
async fn misbehave(raw: &mut RawTerminal) {
    let request = raw.sale(2_000);
    let mut frame = raw.signed(&request);
    let end = frame.len() - 1;
    frame[end] ^= 0xFF;
    assert_eq!(raw.send(&frame).await.code(), "A0");
    assert_eq!(raw.send(&raw.unsigned(&request)).await.code(), "A0");

    // The track again, in fields that are meant for other things.
    for (field, value) in [
        (43, PAN),
        (44, PAN),
        (46, TRACK),
        (47, TRACK),
        (54, PAN),
        (56, PAN),
        (57, TRACK),
        (58, PAN),
        (59, TRACK),
        (62, TRACK),
        (63, PAN),
    ] {
        let mut request = raw.sale(2_001);
        request.draft.put_bytes(field, value.as_bytes()).unwrap();
        let reply = raw.send(&raw.signed(&request)).await;
        assert!(["00", "30", "40"].contains(&reply.code().as_str()), "{field}: {}", reply.code());
    }
    // A chip that tells its track and its number.
    let mut request = raw.sale(2_002);
    let digits = format!("{TRACK}F").replace('D', "d");
    let track = hex::decode(if digits.len() % 2 == 0 { digits } else { format!("{digits}F") }).unwrap();
    let mut chip = vec![0x57, track.len() as u8];
    chip.extend(&track);
    chip.extend([0x5A, 8]);
    chip.extend(hex::decode(PAN).unwrap());
    request.draft.put_bytes(55, &chip).unwrap();
    let reply = raw.send(&raw.signed(&request)).await;
    assert!(reply.code().len() == 2);
    // The same, cut off inside the track.
    chip.truncate(12);
    request = raw.sale(2_003);
    request.draft.put_bytes(55, &chip).unwrap();
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "30");

    // Numbers that disagree, a PIN block that is none, a wrong PIN, a repeat with another content.
    let mut request = raw.sale(2_004);
    request.draft.put_digits(2, "6224242000000161").unwrap();
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "59");
    let mut request = raw.sale(2_005);
    request.draft.put_bytes(52, &[7; 8]).unwrap();
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "99");
    let request = raw.sale_with_pin(2_006, "888888");
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "55");
    let mut request = raw.sale(2_007);
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "00");
    request.draft.put_number(4, 2_008).unwrap();
    assert_eq!(raw.send(&raw.signed(&request)).await.code(), "94");

    // Clear card data in a frame that cannot be read at all.
    let noise = [b"\x00\x30garbage".as_slice(), TRACK.as_bytes(), &[0; 20]].concat();
    let _ = raw.send(&noise).await;
    let mut frame = raw.signed(&request);
    frame.truncate(60);
    let length = 58_u16.to_be_bytes();
    frame[..2].copy_from_slice(&length);
    assert_eq!(raw.send(&frame).await.code(), "30");
    raw.good_sale().await;
}

/// The keys that the test knows in the clear: components, the master key they make, and the working keys of a
/// sign-in, which are opened here with that master key.
fn keys(scanner: &mut Scanner, raw: &RawTerminal) {
    for component in TMK {
        scanner.secret("a component of the terminals' master key", component);
    }
    let parts: Vec<Vec<u8>> = TMK.iter().map(|part| hex::decode(part).unwrap()).collect();
    let master: Vec<u8> = parts[0].iter().zip(&parts[1]).map(|(a, b)| a ^ b).collect();
    scanner.secret("the terminals' master key", &hex::encode(&master));
    for component in sim::LAB_ZMK_COMPONENTS {
        scanner.secret("a component of the zone master key", component);
    }
    scanner.secret("the zone master key", "0123456789ABCDEFFEDCBA9876543210");
    // Field 62: PIN key 16, check value 4, MAC key 16, check value 4.
    assert_eq!(raw.blob.len(), 40);
    let open = BlockKey::new(KeyAlgorithm::TripleDes2, &master).unwrap();
    for (name, from, to) in [("the PIN key", 0, 16), ("the MAC key", 20, 28)] {
        let mut key = raw.blob[from..to].to_vec();
        open.decrypt_ecb(&mut key).unwrap();
        let check =
            BlockKey::new(if key.len() == 8 { KeyAlgorithm::Des } else { KeyAlgorithm::TripleDes2 }, &key);
        assert_eq!(check.unwrap().check_value().bytes(), raw.blob[to + (16 - key.len())..][..4], "{name}");
        scanner.secret(name, &hex::encode(&key));
    }
}
