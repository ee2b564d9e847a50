//! The whole binary on PostgreSQL: the address of the store is all that differs from a node on SQLite. Merchant and
//! terminal are entered, payments are made, undone and found by the commands that an operator types, and a node that
//! is killed finds everything again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../store/tests/common/server.rs"]
mod server;
mod support;

use pos::{CardInput, Entry, Pin, SaleRequest};
use support::raw::{Line, RawTerminal, Reply};
use support::{FIRST, Lab, Setup};

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
