//! The whole binary on PostgreSQL: the address of the store is all that differs from a node on SQLite. Merchant and
//! terminal are entered, payments are made, undone and found by the commands that an operator types, and a node that
//! is killed finds everything again. In the folder beside: the master key of several nodes is rotated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "postgres/rotation.rs"]
mod rotation;
mod support;

use acquiring::{Clock, SystemClock};
use pos::{CardInput, Entry, Pin, SaleRequest};
use support::raw::{Line, RawTerminal, Reply};
use support::{FIRST, IN_FILES, Lab, MERCHANT, Process, Setup, TMK, command, server, text, until};

fn swipe(fen: u64) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_postgresql_pays_and_survives_a_kill() {
    let store = server::shared().database().await;
    let mut lab = Lab::start(Setup { store, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    for fen in [100, 200, 300] {
        let outcome = terminal.sale(swipe(fen)).await.unwrap();
        assert!(outcome.approved, "{outcome:?}");
    }
    assert_eq!(lab.payments(&["--state", "approved"]).len(), 3);
    assert!(!lab.data().join("journal.db").exists(), "nothing is kept beside the database");
    lab.node.take().unwrap().kill();
    lab.start_node().await;
    lab.ready().await;
    // The session is in the store, as the payments are.
    let outcome = terminal.sale(swipe(400)).await.unwrap();
    assert!(outcome.approved, "{outcome:?}");
    assert_eq!(lab.payments(&["--state", "approved"]).len(), 4);
    // The history of the day stands in its partition; nobody takes it out while its payments can be refunded.
    let listed = lab.good(&["store", "partitions", "list", "--count"]);
    let kept: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let lines: u64 = kept.iter().map(|day| day[2].parse::<u64>().unwrap()).sum();
    assert!(lines >= 4 * 4, "{listed}");
    assert_eq!((kept[0][0], kept[0][2], kept[0][3]), ("default", "0", "attached"), "{listed}");
    let day = kept.iter().find(|day| day[2] != "0").unwrap()[0];
    let refused = lab.posp(&["store", "partitions", "detach", day]);
    assert!(!refused.status.success());
    assert!(support::text(&refused).contains("can still be refunded or completed"), "{refused:?}");
    let before = lab.good(&["store", "partitions", "drop", "--before", "20200101"]);
    assert_eq!(before.trim(), "there is no history of a day before 20200101");
    lab.stop_node().await;
}

/// The address is said at the start alone, and the configuration stays that of a node on SQLite: the payments are in the
/// database, and nothing of them is in the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_of_the_store_is_all_that_is_said_at_the_start() {
    let store = server::shared().database().await;
    let mut lab = Lab::start(Setup { store: IN_FILES.into(), ..Setup::default() }).await;
    let mut in_the_file = RawTerminal::signed_in(lab.pos).await;
    in_the_file.good_sale().await;
    let paid_in = SystemClock.now().as_second();
    lab.stop_node().await;
    let written = std::fs::read(lab.config()).unwrap();
    let config = lab.config();
    let config = config.to_str().unwrap();
    // Other commands have no such option: for them the address is a setting of the environment.
    let there = |arguments: &[&str]| {
        let all = [&["--config", config][..], arguments].concat();
        let output = command(&all).env("POSP_STORE__URL", &store).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    there(&["merchant", "add", MERCHANT, "--name", "实验商户一号店"]);
    let components = ["--tmk-component", TMK[0], "--tmk-component", TMK[1]];
    there(&[&["terminal", "add", MERCHANT, FIRST, "--cipher", "des"][..], &components].concat());

    let start = || {
        let arguments = ["--config", config, "up", "--announce", "--store", &store];
        let mut node = Process::start(&arguments, &lab.log_file());
        let announced = node.line();
        assert!(announced.contains(&lab.pos.to_string()), "{announced}{}", lab.log());
        node
    };
    lab.node = Some(start());
    lab.ready().await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    // Both journals count from 1, and a network knows a request by its trace and second: in the same one it would be taken
    // for the payment in the file.
    until("the next second", || (SystemClock.now().as_second() > paid_in).then_some(())).await;
    let outcome = terminal.sale(swipe(4_200)).await.unwrap();
    assert!(outcome.approved, "{outcome:?}");
    let listed = there(&["txn", "list", "--json"]);
    let paid: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!((paid["amount_fen"].as_u64(), paid["state"].as_str()), (Some(4_200), Some("approved")));
    assert_eq!(paid["reference"].as_str(), outcome.rrn.as_deref());
    let in_file = lab.payments(&[]);
    assert_eq!((in_file.len(), &in_file[0]["amount_fen"]), (1, &serde_json::json!(100)), "{in_file:?}");
    lab.stop_node().await;
    assert_eq!(std::fs::read(config).unwrap(), written, "the flag is not written down");

    // Without the flag the same node is on its file again, where the payment of the database is unknown.
    lab.start_node().await;
    lab.ready().await;
    in_the_file.good_sale().await;
    assert_eq!(lab.payments(&[]).len(), 2);
    assert!(there(&["txn", "list", "--json"]).lines().count() == 1);
}

/// Found by the kill test: a terminal that uploads its batch asks three times and then passes over what "cannot be done"
/// (96). A node that has lost its database does not say that; it closes the connection, and the next node, or its next
/// run, answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_database_does_not_say_that_it_cannot() {
    let server = server::Server::start();
    let store = server.database().await;
    let mut lab = Lab::start(Setup { store, ..Setup::default() }).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    terminal.good_sale().await;
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.push(Line::dial(terminal.address).await);
    }
    server.kill();
    for mut line in lines {
        let mut request = terminal.head(320);
        request.draft.put_digits(48, "0000").unwrap();
        request.draft.put_digits(60, &format!("00{:06}207", terminal.batch)).unwrap();
        line.send(&terminal.unsigned(&request)).await;
        assert_eq!(line.receive().await, Reply::Closed);
    }
    let ended = lab.node.as_mut().unwrap().ended().await;
    assert!(!ended.success(), "a node that lost its database says so to its supervisor");
}
