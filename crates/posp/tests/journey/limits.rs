//! Limits as an operator sets them, while the node runs: what they refuse, what they count, what they give back.

use pos::{CardInput, Entry, RefundRequest};

use crate::support::{FIRST, Lab, MERCHANT, SECOND, Setup, until_async};
use crate::{books_agree, code, sold, swipe};

/// A shop's day with a limit on the sum, on the count, on a card, on refunds; over a restart the counters stand.
#[tokio::test]
async fn a_day_under_limits() {
    let mut lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let free = sold(&mut terminal, swipe(50_000)).await;
    lab.good(&["limit", "set", "--merchant", MERCHANT, "--single", "100.00", "--day-amount", "250.00"]);
    // A running node takes it up within a second or so.
    until_async("the limit is in force", || async {
        let tried = terminal_try(&lab).await;
        (tried == "61").then_some(())
    })
    .await;
    sold(&mut terminal, swipe(10_000)).await;
    // Declined by the issuer: its part of the day is free again.
    assert_eq!(code(&terminal.sale(swipe(9_151)).await.unwrap()), "51");
    let lost = terminal.sale(swipe(9_001)).await.unwrap();
    assert_eq!(code(&lost), "68");
    lab.payment_in(&[lost.rrn.as_deref().unwrap()], "reversed").await;
    sold(&mut terminal, swipe(10_000)).await;
    assert_eq!(code(&terminal.sale(swipe(5_001)).await.unwrap()), "61");
    let shown = lab.good(&["limit", "show"]);
    assert!(shown.contains("¥200.00 / 2"), "{shown}");

    lab.stop_node().await;
    lab.good(&["limit", "set", "--merchant", MERCHANT, "--kind", "refund", "--single", "0"]);
    lab.good(&["limit", "set", "--merchant", MERCHANT, "--terminal", SECOND, "--day-count", "1"]);
    lab.start_node().await;
    lab.ready().await;
    assert_eq!(code(&terminal.sale(swipe(5_001)).await.unwrap()), "61", "counted before the restart");
    sold(&mut terminal, swipe(4_000)).await;
    let request = RefundRequest {
        amount_fen: 100,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: free.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    assert_eq!(code(&terminal.refund(request).await.unwrap()), "58");
    let (mut second, _) = lab.signed_in(SECOND).await;
    sold(&mut second, swipe(100)).await;
    assert_eq!(code(&second.sale(swipe(100)).await.unwrap()), "65");

    // A card table says what M01 is, and credit cards are not wanted.
    lab.stop_node().await;
    lab.good(&["limit", "bin", "622424", "credit"]);
    lab.good(&["limit", "set", "--card", "credit", "--single", "0"]);
    lab.start_node().await;
    lab.ready().await;
    assert_eq!(code(&terminal.sale(swipe(100)).await.unwrap()), "57");
    lab.good(&["limit", "remove", "--card", "credit"]);
    assert!(!lab.posp(&["limit", "remove", "--card", "credit"]).status.success());
    books_agree(&lab).await;
}

/// The code of a sale that is above the limit, at a terminal of its own.
async fn terminal_try(lab: &Lab) -> String {
    let mut other = pos::Terminal::open(lab.terminal_dir(crate::support::NATIONAL)).ok();
    if other.is_none() {
        let (mut fresh, _) = lab.terminal(crate::support::NATIONAL).await;
        assert!(fresh.sign_in(pos::KeyLayout::Sm4).await.unwrap().approved);
        other = Some(fresh);
    }
    code(&other.unwrap().sale(swipe(10_001)).await.unwrap()).to_owned()
}
