//! Settlement: balanced, and with a payment that only one side has.

use pos::{CardInput, Entry, PosError, RefundRequest, VoidRequest};
use serde_json::json;

use crate::support::raw::RawTerminal;
use crate::support::{FIRST, Lab, Setup};
use crate::{books_agree, chip, code, sold, swipe};

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
