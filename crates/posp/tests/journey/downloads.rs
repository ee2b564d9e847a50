//! What terminals download: a shop changes its rules, its terminals are told in the header of the next sign-in,
//! fetch what is new and work by it, and the host knows who has what.

use pos::{CardInput, Download, Entry, KeyLayout, OfflineSaleRequest, PosError};

use crate::support::{FIRST, Lab, MERCHANT, SECOND, Setup, text};
use crate::{sale, sold, swipe};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/lab/ca-keys.hex");
const AIDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim/lab/aids.hex");

/// A file in the laboratory's directory.
fn file(lab: &Lab, name: &str, lines: &[String]) -> String {
    let path = lab.dir.path().join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The lists that the node says a terminal holds.
fn held(lab: &Lab, terminal: &str) -> String {
    lab.good(&["terminal", "show", MERCHANT, terminal])
}

/// Signs in until the node, which looks for changes each second, has told what is waited for; what the terminal did.
async fn told(terminal: &mut pos::Terminal, until: impl Fn(&pos::Terminal) -> bool) -> Vec<&'static str> {
    let mut did = Vec::new();
    for _ in 0..200 {
        let outcome = terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        assert!(outcome.approved && outcome.following.iter().all(|one| one.approved), "{outcome:?}");
        did.extend(outcome.following.iter().map(|one| one.kind.row().en));
        if until(terminal) {
            return did;
        }
        // The pause between two polls.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nothing was asked of the terminal");
}

/// Parameters by scope, keys, applications, switches, BIN tables of several pages, the blacklist: one sign-in brings
/// all of it, the terminal works by it, a second terminal gets what is for it, and a sign-in later nothing is asked.
#[tokio::test]
async fn a_sign_in_brings_everything_that_is_new() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let (mut other, _) = lab.signed_in(SECOND).await;
    lab.good(&["params", "set", "timeout", "45"]);
    lab.good(&[
        "params",
        "set",
        "merchant_name",
        "街角面馆二店",
        "--merchant",
        MERCHANT,
        "--terminal",
        FIRST,
    ]);
    lab.good(&["params", "group", "quiet", "--merchant", MERCHANT, "--terminal", FIRST]);
    lab.good(&["params", "set", "reversal_resends", "5", "--group", "quiet"]);
    lab.good(&["params", "set", "no_pin_limit", "30000"]);
    lab.good(&["params", "ca-key", "add", KEYS]);
    lab.good(&["params", "aid", "add", AIDS]);
    let bins: Vec<String> = (0..150).map(|n| format!("62{n:04}")).collect();
    lab.good(&["params", "bin", "import", &file(&lab, "bins.txt", &bins), "--table", "b"]);
    let lost = pos::deck::DECK.iter().find(|card| card.id == "M02").unwrap().pan;
    lab.good(&["params", "blacklist", "import", &file(&lab, "lost.txt", &[lost.to_owned()])]);
    assert!(!lab.good(&["params", "show"]).contains(lost), "a blacklisted card is kept sealed");

    told(&mut terminal, |t| {
        let has = t.downloaded();
        has.public_keys == 3 && has.applications == 2 && has.blacklist == 1
    })
    .await;
    let has = terminal.downloaded();
    assert_eq!((has.public_keys, has.applications, has.bins, has.blacklist), (3, 2, 150, 1), "{has:?}");
    assert!(has.parameters && has.contactless);
    let config = terminal.config();
    assert_eq!((config.answer_timeout_ms, config.reversal_retries), (45_000, 5));
    assert_eq!((config.no_pin_limit_fen, config.offline_limit_fen), (30_000, 1));
    // A start with the configuration that the device was made with takes nothing of it back.
    let made = pos::TerminalConfig { answer_timeout_ms: 1_000, offline_limit_fen: 9_999, ..config.clone() };
    terminal.start_with(made).unwrap();
    let config = terminal.config();
    assert_eq!((config.answer_timeout_ms, config.offline_limit_fen), (45_000, 1));
    let paid = sold(&mut terminal, swipe(1_000)).await;
    assert!(paid.receipt.unwrap().contains("街角面馆二店"));
    // The floor limit of the applications is below this, and the card is refused before anything is sent.
    let offline = OfflineSaleRequest {
        amount_fen: 500,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        auth_code: None,
    };
    assert!(terminal.offline_sale(offline).await.is_err());
    let trace = terminal.next_trace();
    let refused = terminal.sale(sale(500, "M02", Entry::Swipe, None)).await;
    assert!(matches!(refused, Err(PosError::Blacklisted)), "{refused:?}");
    assert_eq!(terminal.next_trace(), trace);

    // A terminal that has no list yet, or whose reader keeps the numbers: the host refuses the card.
    assert_eq!(other.downloaded().blacklist, 0);
    let refused = other.sale(sale(500, "M02", Entry::Swipe, None)).await.unwrap();
    assert_eq!(refused.response_code.as_deref(), Some("62"), "{refused:?}");
    told(&mut other, |t| t.downloaded().blacklist == 1).await;
    assert_eq!((other.config().answer_timeout_ms, other.config().reversal_retries), (45_000, 3));
    assert!(!other.config().merchant_name.contains("二店"));

    // Nothing new: nothing is asked. One thing new: that alone.
    let again = terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    assert!(again.following.is_empty(), "{:?}", again.following);
    lab.good(&["params", "set", "transactions", "BFFF"]);
    let did = told(&mut terminal, |t| t.config().transactions == 0xBFFF).await;
    assert_eq!(did, ["DOWNLOAD", "DOWNLOAD"]);
    let refused = terminal.sale(swipe(100)).await;
    assert!(matches!(refused, Err(PosError::NotOffered(..))), "{refused:?}");
    let shown = held(&lab, FIRST);
    for list in ["parameters", "ca_keys", "aids", "contactless", "bins_b", "blacklist"] {
        assert!(shown.contains(list), "{list}: {shown}");
    }
}

/// What an operator asks for is asked of the terminal at its next sign-in, in the order of the numbers, and noted when
/// it is done; a new sign-in is asked for in whatever it is answered next.
#[tokio::test]
async fn an_operator_asks_and_hears_when_it_is_done() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.good(&["params", "set", "tip_percent", "20"]);
    lab.good(&["terminal", "push", MERCHANT, FIRST, "--status", "--software", "--contactless"]);
    let did = told(&mut terminal, |_| !held(&lab, FIRST).contains("waits")).await;
    assert!(did.contains(&"STATUS UPLOAD"), "{did:?}");
    let shown = held(&lab, FIRST);
    assert!(!shown.contains("waits"), "{shown}");
    assert!(shown.contains("tip percentage") && shown.contains("keyboard: 1"), "{shown}");

    lab.good(&["terminal", "push", MERCHANT, FIRST, "--sign-in"]);
    let mut sold_once = false;
    for _ in 0..200 {
        if terminal.sign_in_needed().is_some() {
            break;
        }
        sold(&mut terminal, swipe(100)).await;
        sold_once = true;
        // The pause between two polls: the node looks for demands each second.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(sold_once && terminal.sign_in_needed().is_some(), "the sale's answer asks for a new sign-in");
    terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    sold(&mut terminal, swipe(100)).await;
    assert!(terminal.sign_in_needed().is_none());
    assert!(!held(&lab, FIRST).contains("waits"));
}

/// Before the first sign-in, and by hand: downloads need no session but for a list of whole card numbers, and what is
/// not there is answered as such.
#[tokio::test]
async fn a_new_terminal_downloads_before_it_signs_in() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.terminal(FIRST).await;
    lab.good(&["params", "ca-key", "add", KEYS]);
    let mut keys = 0;
    for _ in 0..200 {
        terminal.download(Download::PublicKeys).await.unwrap();
        keys = terminal.downloaded().public_keys;
        if keys == 3 {
            break;
        }
        // The pause between two polls.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(keys, 3);
    let refused = terminal.download(Download::Blacklist).await.unwrap_err().to_string();
    assert!(refused.contains("390 was answered 77"), "{refused}");
    assert!(terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
    terminal.download(Download::Blacklist).await.unwrap();
    assert_eq!(terminal.downloaded().blacklist, 0);
}

/// Slips of an operator are refused with a sentence that says what is wrong, and change nothing.
#[tokio::test]
async fn slips_are_refused() {
    let lab = Lab::start(Setup::default()).await;
    let record = std::fs::read_to_string(KEYS).unwrap();
    let record = record.lines().find(|line| !line.starts_with('#')).unwrap().to_owned();
    let broken = format!("{}{}", &record[..record.len() - 2], "00");
    let bins = file(&lab, "bad.txt", &["622424".into(), "62a4".into()]);
    let cases: [(&[&str], &str); 8] = [
        (&["params", "set", "timeout", "3"], "5 to 99"),
        (&["params", "set", "patience", "3"], "no parameter patience"),
        (&["params", "set", "no_pin", "12"], "1 to 1 digits"),
        (&["params", "set", "tip", "1", "--merchant", MERCHANT, "--terminal", "99999999"], "not known"),
        (&["params", "ca-key", "add", &broken], "check sum"),
        (&["params", "aid", "add", "9F0608A000000333010101"], "lacks DF01"),
        (&["params", "bin", "import", &bins, "--table", "c"], "entry 2"),
        (&["terminal", "push", MERCHANT, FIRST], "say what"),
    ];
    for (arguments, sentence) in cases {
        let output = lab.posp(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output).contains(sentence), "{arguments:?}: {}", text(&output));
    }
    assert_eq!(lab.good(&["params", "show", "--json"]), "");
}
