//! The node's own life: start, drain, restart, its keys, and what `posp doctor` says when a link is broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use pos::{Status, TmkComponent};
use rustix::process::Signal;
use serde_json::json;

use crate::support::raw::{Line, RawTerminal, Reply};
use crate::support::{FIRST, Lab, MERCHANT, SECOND, Setup, TMK, text, until};
use crate::{books_agree, code, sold, swipe};

/// SIGTERM while a payment is under way: it gets its answer, the node ends well, and nothing is lost.
#[tokio::test]
async fn a_stop_lets_the_payment_under_way_have_its_answer() {
    let setup = Setup { network_patience_ms: 30_000, late_answer_ms: 4_000, ..Setup::default() };
    let mut lab = Lab::start(setup).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let under_way = tokio::spawn(async move {
        let outcome = terminal.sale(swipe(9_002)).await.unwrap();
        (terminal, outcome)
    });
    lab.payment_in(&["--amount-min", "90.02", "--amount-max", "90.02"], "pending").await;
    let mut node = lab.node.take().unwrap();
    node.signal(Signal::TERM);
    let (mut terminal, outcome) = under_way.await.unwrap();
    assert_eq!((code(&outcome), outcome.status), ("00", Status::Approved), "{outcome:?}");
    let status = node.ended().await;
    assert!(status.success(), "{status}");
    let log = lab.log();
    assert!(log.contains("stopping") && log.trim_end().ends_with("stopped"), "{log}");
    assert!(terminal.sale(swipe(100)).await.is_err(), "nothing listens any more");

    lab.start_node().await;
    lab.ready().await;
    sold(&mut terminal, swipe(100)).await;
    books_agree(&lab).await;
}

/// Connections that rest or stop in the middle of a frame do not hold a stop up.
#[tokio::test]
async fn a_stop_does_not_wait_for_silent_connections() {
    let mut lab = Lab::start(Setup::default()).await;
    let mut idle = Line::dial(lab.pos).await;
    let mut half = Line::dial(lab.pos).await;
    half.send(&[0, 100, 0x60]).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    terminal.good_sale().await;
    let started = std::time::Instant::now();
    lab.stop_node().await;
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(idle.receive().await, Reply::Closed);
    assert_eq!(half.receive().await, Reply::Closed);
}

/// The network's books are kept when a service manager stops it, and the day goes on.
#[tokio::test]
async fn the_simulated_network_keeps_its_books() {
    let mut lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let before = sold(&mut terminal, swipe(1_000)).await;
    let mut network = lab.network.take().unwrap();
    network.signal(Signal::TERM);
    assert!(network.ended().await.success());
    lab.start_network();
    lab.ready().await;
    let reference = before.rrn.as_deref().unwrap();
    assert_eq!(lab.record(reference, "0200").await.unwrap()["state"], "approved");
    let voided = terminal.void(pos::VoidRequest::by_trace(before.trace)).await.unwrap();
    assert_eq!(code(&voided), "00", "{voided:?}");
    books_agree(&lab).await;
}

/// A restart keeps keys, batch and what waits for the network.
#[tokio::test]
async fn a_restart_keeps_keys_batch_and_queue() {
    let mut lab = Lab::start(Setup { network_patience_ms: 1_500, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    assert_eq!(code(&terminal.settle().await.unwrap()), "00");
    assert_eq!(code(&terminal.sign_in(pos::KeyLayout::TripleDesTrack).await.unwrap()), "00");
    sold(&mut terminal, swipe(1_100)).await;
    lab.set_faults(json!({"rules": [{"fault": "lost", "classes": [420]}]})).await;
    let lost = terminal.sale(swipe(9_001)).await.unwrap();
    assert_eq!(code(&lost), "68");
    let reference = lost.rrn.unwrap();

    lab.stop_node().await;
    lab.start_node().await;
    lab.ready().await;
    // The same keys, the same batch, no sign-in.
    sold(&mut terminal, swipe(1_200)).await;
    assert_eq!(terminal.batch(), 2);
    assert_eq!(lab.payments(&[&reference])[0]["state"], "reversing");

    // A crash makes no difference.
    lab.node.take().unwrap().kill();
    lab.start_node().await;
    lab.set_faults(json!({"rules": []})).await;
    lab.payment_in(&[&reference], "reversed").await;
    sold(&mut terminal, swipe(1_300)).await;
    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    books_agree(&lab).await;
}

/// Master data entered beside the running node is in force within two seconds (and some for a busy machine).
#[tokio::test]
async fn a_merchant_is_added_beside_the_running_node() {
    const OTHER: &str = "898100000000002";
    let lab = Lab::start(Setup::default()).await;
    lab.good(&["merchant", "add", OTHER, "--name", "第二家店", "--mcc", "5812"]);
    let [one, two] = TMK;
    let added = ["terminal", "add", OTHER, "20000001", "--tmk-component", one, "--tmk-component", two];
    lab.good(&added);
    let mut config = lab.terminal_config("20000001");
    config.merchant = OTHER.to_owned();
    let mut terminal = pos::Terminal::enrol(lab.dir.path().join("pos/other"), config).unwrap();
    let components = TMK.map(TmkComponent::parse);
    terminal.load_tmk(&components, None).await.unwrap();
    let mut answers = Vec::new();
    let started = std::time::Instant::now();
    while answers.last().map(String::as_str) != Some("00") {
        assert!(started.elapsed() < crate::support::PATIENCE, "{answers:?}");
        answers.push(code(&terminal.sign_in(pos::KeyLayout::TripleDes).await.unwrap()).to_owned());
    }
    let took = started.elapsed();
    assert!(answers.iter().all(|answer| ["00", "03", "97"].contains(&answer.as_str())), "{answers:?}");
    assert!(took.as_secs() < 6, "the node read its master data after {took:?}");
    sold(&mut terminal, swipe(1_000)).await;
    let listed = lab.good(&["merchant", "list"]);
    assert!(listed.contains(OTHER) && listed.contains("第二家店"), "{listed}");
}

/// Closing and opening costs a terminal neither its key nor its session, and a merchant none of its settings; a new
/// key is asked for, and then the terminal must sign in with it.
#[tokio::test]
async fn closing_and_opening_changes_nothing_else() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(SECOND).await;
    sold(&mut terminal, swipe(1_000)).await;
    let in_force = |arguments: Vec<&'static str>| {
        let before = lab.log().matches("master data read again").count();
        let said = lab.good(&arguments);
        let lab = &lab;
        async move {
            until("the change is in force", || {
                (lab.log().matches("master data read again").count() > before).then_some(())
            })
            .await;
            said
        }
    };
    let closed = in_force(vec!["terminal", "add", MERCHANT, SECOND, "--closed"]).await;
    assert!(closed.contains("closed") && closed.lines().count() == 1, "no new key is drawn: {closed}");
    assert_eq!(code(&terminal.sale(swipe(1_001)).await.unwrap()), "97");
    in_force(vec!["terminal", "add", MERCHANT, SECOND, "--open"]).await;
    sold(&mut terminal, swipe(1_002)).await;

    in_force(vec!["merchant", "add", MERCHANT, "--limit", "20.00", "--mcc", "5812"]).await;
    in_force(vec!["merchant", "add", MERCHANT, "--closed"]).await;
    assert_eq!(code(&terminal.sale(swipe(1_003)).await.unwrap()), "03");
    in_force(vec!["merchant", "add", MERCHANT, "--open"]).await;
    assert_eq!(code(&terminal.sale(swipe(2_001)).await.unwrap()), "61", "the limit stayed");
    sold(&mut terminal, swipe(2_000)).await;
    let listed = lab.good(&["merchant", "list"]);
    assert!(
        listed.contains("实验商户一号店") && listed.contains("5812") && listed.contains("¥20.00"),
        "{listed}"
    );
    in_force(vec!["merchant", "add", MERCHANT, "--no-limit"]).await;
    sold(&mut terminal, swipe(2_001)).await;

    let refused = lab.posp(&["terminal", "add", MERCHANT, SECOND, "--cipher", "sm4"]);
    assert!(!refused.status.success() && text(&refused).contains("--new-key"), "{}", text(&refused));
    let unnamed = lab.posp(&["merchant", "add", "898100000000077"]);
    assert!(!unnamed.status.success() && text(&unnamed).contains("--name"), "{}", text(&unnamed));

    let drawn = in_force(vec!["terminal", "add", MERCHANT, SECOND, "--new-key"]).await;
    assert_eq!(code(&terminal.sale(swipe(1_004)).await.unwrap()), "77", "the session went with the key");
    let components: Vec<TmkComponent> = drawn.lines().skip(2).map(TmkComponent::parse).collect();
    assert_eq!(components.len(), 2, "{drawn}");
    terminal.load_tmk(&components, None).await.unwrap();
    assert_eq!(code(&terminal.sign_in(pos::KeyLayout::TripleDesTrack).await.unwrap()), "00");
    sold(&mut terminal, swipe(1_005)).await;
    books_agree(&lab).await;
}

/// Without its master key file the node refuses in words that help, and makes nothing.
#[tokio::test]
async fn a_node_without_its_master_key_makes_nothing() {
    let lab = Lab::prepare(&Setup { terminals: Vec::new(), ..Setup::default() });
    let key = lab.key_file();
    let fresh = lab.dir.path().join("fresh");
    let moved = fs::read_to_string(lab.config())
        .unwrap()
        .replace(lab.data().to_str().unwrap(), fresh.to_str().unwrap())
        .replace(key.to_str().unwrap(), lab.dir.path().join("nowhere/master.key").to_str().unwrap());
    fs::write(lab.config(), moved).unwrap();
    let refused = lab.posp(&["up"]);
    assert!(!refused.status.success());
    let said = text(&refused);
    assert!(said.contains("nowhere/master.key") && said.contains("posp key init"), "{said}");
    assert!(!fresh.exists() && !lab.dir.path().join("nowhere").exists(), "something was made");

    // Nor does `key init` overwrite a key that is there.
    let again = lab.posp(&["key", "init", "--file", key.to_str().unwrap()]);
    assert!(!again.status.success() && text(&again).contains("exists"), "{}", text(&again));
}

/// Another node's master key opens neither the data nor a second door: the node refuses to start.
#[tokio::test]
async fn data_under_another_master_key_is_refused() {
    let mut lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    lab.stop_node().await;
    let key = lab.key_file();
    let right = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    lab.good(&["key", "init"]);
    let refused = lab.posp(&["up"]);
    assert!(!refused.status.success());
    let said = text(&refused);
    assert!(said.contains("master key"), "{said}");
    // The right key back, and everything is as before.
    fs::write(&key, right).unwrap();
    lab.start_node().await;
    lab.ready().await;
    sold(&mut terminal, swipe(1_100)).await;
    books_agree(&lab).await;
}

/// What the doctor says of one link: the line that begins with its name.
fn finding(output: &Output, link: &str, good: bool) -> String {
    let said = text(output);
    let mark = if good { "✔" } else { "✘" };
    let found = said.lines().find(|line| line.starts_with(mark) && line.contains(link));
    found.unwrap_or_else(|| panic!("{mark} {link} is not in\n{said}")).to_owned()
}

/// The doctor is content when all is well, and names the link that is broken.
#[tokio::test]
async fn the_doctor_names_the_broken_link() {
    let mut lab = Lab::start(Setup::default()).await;
    let well = lab.posp(&["doctor"]);
    assert!(well.status.success(), "{}", text(&well));
    assert!(text(&well).contains("Every link holds"), "{}", text(&well));

    let key = lab.key_file();
    let aside = key.with_extension("aside");
    fs::rename(&key, &aside).unwrap();
    let ill = lab.posp(&["doctor"]);
    assert_eq!(ill.status.code(), Some(1));
    finding(&ill, "master key", false);
    finding(&ill, "network", true);
    fs::rename(&aside, &key).unwrap();

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ill = lab.posp(&["doctor"]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(finding(&ill, "master key", false).contains("644"), "{}", text(&ill));
    let refused = lab.posp(&["key", "show"]);
    assert!(!refused.status.success(), "a key that others can read is not used");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let config = fs::read_to_string(lab.config()).unwrap();
    let without =
        config.lines().filter(|line| !line.starts_with("zone_master_key")).collect::<Vec<_>>().join("\n");
    fs::write(lab.config(), without).unwrap();
    let ill = lab.posp(&["doctor"]);
    assert_eq!(ill.status.code(), Some(1));
    finding(&ill, "zone master key", false);
    finding(&ill, "主密钥 master key", true);
    let refused = lab.posp(&["up"]);
    assert!(text(&refused).contains("posp key zone"), "{}", text(&refused));
    fs::write(lab.config(), config).unwrap();

    lab.network.take().unwrap().kill();
    let ill = until("the node notices that the network is gone", || {
        let ill = lab.posp(&["doctor"]);
        text(&ill).lines().any(|line| line.starts_with("✘ 节点 node")).then_some(ill)
    })
    .await;
    assert_eq!(ill.status.code(), Some(1));
    finding(&ill, "银联 network", false);
    finding(&ill, "door for terminals", true);
    assert!(finding(&ill, "line unionpay", false).contains("node"));

    lab.stop_node().await;
    let ill = lab.posp(&["doctor"]);
    finding(&ill, "door for terminals", false);
    finding(&ill, "journal", true);
    lab.start_network();
    lab.start_node().await;
    lab.ready().await;
    assert!(lab.posp(&["doctor"]).status.success());
}

/// Two nodes on the same data would both believe that they are the only writer: the second refuses.
#[tokio::test]
async fn a_second_node_on_the_same_data_refuses() {
    let lab = Lab::start(Setup::default()).await;
    let refused = lab.posp(&["up"]);
    assert!(!refused.status.success());
    let said = text(&refused);
    assert!(said.contains("in use") || said.contains("another"), "{said}");
    assert!(lab.posp(&["doctor"]).status.success(), "the first one goes on");
}
