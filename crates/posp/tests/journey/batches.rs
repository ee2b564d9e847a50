//! Settlement: balanced, and with a payment that only one side has.

use pos::{CardInput, Entry, PosError, RefundRequest, VoidRequest};
use serde_json::json;

use crate::support::raw::RawTerminal;
use crate::support::{FIRST, Lab, MERCHANT, Setup, until};
use crate::{books_agree, chip, code, sale, sold, swipe};

/// A day with everything in it settles to the fen, and the next batch begins.
#[tokio::test]
async fn a_balanced_batch_ends_and_the_next_one_begins() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let swiped = sold(&mut terminal, swipe(10_000)).await;
    let inserted = sold(&mut terminal, chip(2_000)).await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(inserted.trace)).await.unwrap()), "00");
    let refund = RefundRequest {
        amount_fen: 1_234,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: swiped.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    assert_eq!(code(&terminal.refund(refund).await.unwrap()), "00");
    // A decline and a reversed payment count on neither side.
    assert_eq!(code(&terminal.sale(swipe(9_105)).await.unwrap()), "05");
    assert_eq!(code(&terminal.sale(swipe(9_001)).await.unwrap()), "68");

    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    assert!(settled.notices.is_empty(), "{settled:?}");
    assert!(terminal.journal().is_empty());
    let listed = lab.good(&["settlement", "list", "--terminal", FIRST]);
    assert!(
        listed.contains("balanced") && listed.contains("2 / ¥120.00") && listed.contains("2 / ¥32.34"),
        "{listed}"
    );
    assert!(lab.good(&["settlement", "differences"]).contains("Nothing to show"));

    // The settlement signed off; the next day begins with a sign-in and batch 2.
    let refused = terminal.sale(swipe(100)).await;
    assert!(matches!(refused, Err(PosError::MustSignIn(_))), "{refused:?}");
    assert_eq!(code(&terminal.sign_in(pos::KeyLayout::TripleDesTrack).await.unwrap()), "00");
    assert_eq!(terminal.batch(), 2);
    let next = sold(&mut terminal, swipe(100)).await;
    assert_eq!(lab.payments(&[next.rrn.as_deref().unwrap()])[0]["batch"], "000002");
    books_agree(&lab).await;
}

/// One payment that the terminal forgot and one that it dreamt: the totals differ, every detail is uploaded, and
/// both are named to the operator, each for what it is. The batch ends all the same.
#[tokio::test]
async fn a_batch_that_differs_is_uploaded_and_its_differences_named() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    sold(&mut terminal, chip(1_100)).await;
    for fen in 0..9 {
        sold(&mut terminal, swipe(2_000 + fen)).await;
    }
    line.drop_next_answer();
    let forgotten = terminal.sale(swipe(3_333)).await.unwrap();
    lab.payment_in(&["--amount-min", "33.33", "--amount-max", "33.33"], "approved").await;
    drop(terminal);
    lab.edit_terminal(FIRST, |state| {
        state["reversal"] = json!(null);
        let journal = state["journal"].as_array_mut().unwrap();
        let mut dreamt = journal[0].clone();
        dreamt["trace"] = json!(900);
        dreamt["amount_fen"] = json!(4_444);
        journal.push(dreamt);
        // And one that it remembers with another amount.
        journal[2]["amount_fen"] = json!(2_999);
    });
    let mut terminal = lab.reopen(FIRST);
    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    assert!(settled.notices.iter().any(|notice| notice.contains("totals differ")), "{settled:?}");

    let listed = lab.good(&["settlement", "list"]);
    assert!(listed.contains("differs") && listed.contains("12 lines"), "{listed}");
    let differences = lab.good(&["settlement", "differences", "--terminal", FIRST, "--batch", "1"]);
    let named = |trace: u32, kind: &str| {
        let trace = format!("{trace:06}");
        differences.lines().any(|line| line.contains(&trace) && line.contains(kind))
    };
    assert!(named(forgotten.trace, "only_host"), "{differences}");
    assert!(named(900, "only_terminal"), "{differences}");
    assert_eq!(differences.lines().count(), 4, "{differences}");
    assert!(differences.contains("¥29.99") && differences.contains("¥20.00"), "{differences}");

    assert_eq!(code(&terminal.sign_in(pos::KeyLayout::TripleDesTrack).await.unwrap()), "00");
    assert_eq!(terminal.batch(), 2, "the batch ended");
    sold(&mut terminal, swipe(100)).await;
}

/// After a sign-off the node takes nothing until the next sign-in, whatever the terminal believes.
#[tokio::test]
async fn a_terminal_that_signed_off_is_answered_77() {
    let lab = Lab::start(Setup::default()).await;
    let mut terminal = RawTerminal::signed_in(lab.pos).await;
    terminal.good_sale().await;
    let mut request = terminal.head(820);
    request.draft.put_digits(60, "00000001002").unwrap();
    assert_eq!(terminal.send(&terminal.unsigned(&request)).await.code(), "00");
    let request = terminal.sale(100);
    let refused = terminal.send(&terminal.signed(&request)).await;
    assert_eq!(refused.code(), "77");
    assert!(terminal.is_signed(&refused));
    terminal.sign_in().await;
    terminal.good_sale().await;
    books_agree(&lab).await;
}

const FOREIGN: &str = "M07";

/// A foreign card, which is signed for.
fn foreign(fen: u64) -> pos::SaleRequest {
    sale(fen, FOREIGN, Entry::Swipe, None)
}

/// A lab whose acquirer has entered which numbers are foreign cards' before it opened.
async fn with_a_card_table() -> Lab {
    let mut lab = Lab::prepare(&Setup::default());
    lab.good(&["limit", "bin", "400000", "foreign"]);
    lab.start_network();
    lab.start_node().await;
    lab.ready().await;
    lab
}

/// The line of `settlement show` about one side of one block.
fn side_of<'a>(shown: &'a str, name: &str) -> &'a str {
    shown.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {shown}"))
}

/// Domestic and foreign cards in one batch: the terminal learns from the answers which is which, both sides sum two blocks,
/// and both balance, although the acquirer changed its table in between.
#[tokio::test]
async fn domestic_and_foreign_cards_balance_each_in_their_block() {
    let lab = with_a_card_table().await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(10_000)).await;
    let first = sold(&mut terminal, foreign(5_000)).await;
    let second = sold(&mut terminal, foreign(3_000)).await;
    let before = lab.log().matches("master data read again").count();
    lab.good(&["limit", "bin", "400000", "credit"]);
    until("the table is in force", || {
        (lab.log().matches("master data read again").count() > before).then_some(())
    })
    .await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(second.trace)).await.unwrap()), "00");
    let told = lab.payments(&[first.rrn.as_deref().unwrap()]);
    assert_eq!((&told[0]["organisation"], &told[0]["foreign"]), (&json!("VIS"), &json!(true)));

    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    assert!(settled.notices.is_empty(), "{settled:?}");
    let slip = settled.receipt.unwrap();
    assert!(slip.contains("内卡对账: 平") && slip.contains("外卡对账: 平"), "{slip}");
    let (domestic, foreign) = slip.split_once("\n外卡").unwrap();
    assert!(domestic.contains("100.00") && !domestic.contains("80.00"), "{slip}");
    assert!(foreign.contains("80.00") && foreign.contains("30.00"), "{slip}");

    let shown = lab.good(&["settlement", "show", MERCHANT, FIRST, "1"]);
    for (name, side) in [
        ("domestic debit", "1 / ¥100.00"),
        ("domestic credit", "0 / ¥0.00"),
        ("foreign debit", "2 / ¥80.00"),
        ("foreign credit", "1 / ¥30.00"),
    ] {
        let line = side_of(&shown, name);
        assert_eq!(line.matches(side).count(), 2, "{name} {side}: {shown}");
        assert!(line.contains("balanced"), "{shown}");
    }
    assert!(lab.good(&["settlement", "list"]).contains("balanced"));
    books_agree(&lab).await;
}

/// Only the foreign block differs: everything is uploaded, the foreign details as class 01, and the one that differs is
/// named; that no other is, shows that each was uploaded in its class.
#[tokio::test]
async fn a_foreign_block_that_differs_is_uploaded() {
    let lab = with_a_card_table().await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(10_000)).await;
    sold(&mut terminal, chip(2_000)).await;
    sold(&mut terminal, foreign(5_000)).await;
    let wrong = sold(&mut terminal, foreign(3_000)).await;
    drop(terminal);
    lab.edit_terminal(FIRST, |state| {
        let journal = state["journal"].as_array_mut().unwrap();
        assert_eq!(journal.iter().filter(|record| record["foreign"] == true).count(), 2);
        journal[3]["amount_fen"] = json!(3_333);
    });
    let mut terminal = lab.reopen(FIRST);
    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    assert!(settled.notices.iter().any(|notice| notice.contains("totals differ")), "{settled:?}");
    let slip = settled.receipt.unwrap();
    assert!(slip.contains("内卡对账: 平") && slip.contains("外卡对账: 不平"), "{slip}");

    let shown = lab.good(&["settlement", "show", MERCHANT, FIRST, "1"]);
    assert!(side_of(&shown, "domestic debit").contains("balanced"), "{shown}");
    let line = side_of(&shown, "foreign debit");
    assert!(
        line.contains("2 / ¥83.33") && line.contains("2 / ¥80.00") && line.contains("differs"),
        "{shown}"
    );
    let listed = lab.good(&["settlement", "list"]);
    assert!(listed.contains("differs: 外卡 foreign") && listed.contains("4 lines"), "{listed}");
    let differences = lab.good(&["settlement", "differences", "--terminal", FIRST, "--batch", "1"]);
    assert_eq!(differences.lines().count(), 2, "{differences}");
    let trace = format!("{:06}", wrong.trace);
    let named = differences.lines().any(|line| line.contains(&trace) && line.contains("amount"));
    assert!(named && differences.contains("¥33.33"), "{differences}");
}
