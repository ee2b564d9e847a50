//! Voids, refunds and the terminal's own reversals.

use pos::{CardInput, Entry, PosError, RefundRequest, Status, Terminal, VoidRequest};
use serde_json::json;

use crate::support::{FIRST, Lab, SECOND, Setup};
use crate::{books_agree, chip, code, sold, swipe};

fn refund(terminal: &Terminal, fen: u64, card: &str, entry: Entry, reference: &str) -> RefundRequest {
    RefundRequest {
        amount_fen: fen,
        card: CardInput::deck(card).unwrap(),
        entry,
        pin: None,
        original_rrn: reference.to_owned(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    }
}

/// A void gives the money back once: the terminal refuses a second one, and so does the node when a terminal has
/// forgotten the first.
#[tokio::test]
async fn a_sale_is_voided_once() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let swiped = sold(&mut terminal, swipe(1_000)).await;
    let inserted = sold(&mut terminal, chip(2_000)).await;
    let by_number = terminal.void(VoidRequest::by_trace(swiped.trace)).await.unwrap();
    assert_eq!(code(&by_number), "00", "{by_number:?}");
    let with_card = VoidRequest {
        trace: inserted.trace,
        card: Some((CardInput::deck("L02").unwrap(), Entry::Chip)),
        pin: Some(pos::Pin::new("123456").unwrap()),
    };
    assert_eq!(code(&terminal.void(with_card).await.unwrap()), "00");
    let again = terminal.void(VoidRequest::by_trace(swiped.trace)).await;
    assert!(matches!(again, Err(PosError::NotVoidable { .. })), "{again:?}");

    drop(terminal);
    lab.edit_terminal(FIRST, |state| {
        for record in state["journal"].as_array_mut().unwrap() {
            record["voided"] = json!(false);
        }
    });
    let mut forgetful = lab.reopen(FIRST);
    let again = forgetful.void(VoidRequest::by_trace(swiped.trace)).await.unwrap();
    assert_eq!((code(&again), again.status), ("12", Status::Declined), "{again:?}");

    for sale in [&swiped, &inserted] {
        let reference = sale.rrn.as_deref().unwrap();
        let found = lab.payments(&[reference, "--kind", "sale"]);
        assert_eq!(found[0]["state"], "voided");
        assert_eq!(lab.record(reference, "0200").await.unwrap()["state"], "voided");
    }
    // A sale that is voided cannot be refunded on top.
    let request = refund(&forgetful, 500, "M01", Entry::Swipe, swiped.rrn.as_deref().unwrap());
    assert_eq!(code(&forgetful.refund(request).await.unwrap()), "12");
    books_agree(&lab).await;
}

/// Refunds up to the amount of the sale, at any terminal of the merchant, with the card of the sale.
#[tokio::test]
async fn a_sale_is_refunded_up_to_its_amount() {
    let lab = Lab::start(Setup::default()).await;
    let (mut here, _) = lab.signed_in(FIRST).await;
    let (mut there, _) = lab.signed_in(SECOND).await;
    let sale = sold(&mut here, swipe(10_000)).await;
    let reference = sale.rrn.clone().unwrap();
    let part = here.refund(refund(&here, 2_500, "M01", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&part), "00", "{part:?}");
    let elsewhere = there.refund(refund(&there, 2_500, "M01", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&elsewhere), "00", "{elsewhere:?}");
    let over = here.refund(refund(&here, 5_001, "M01", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&over), "64", "{over:?}");
    let stranger = here.refund(refund(&here, 100, "M05", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&stranger), "25", "another card: {stranger:?}");
    let unknown = here.refund(refund(&here, 100, "M01", Entry::Swipe, "112400999999")).await.unwrap();
    assert_eq!(code(&unknown), "25", "no such sale: {unknown:?}");
    let rest = there.refund(refund(&there, 5_000, "M01", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&rest), "00", "{rest:?}");
    let nothing_left = here.refund(refund(&here, 1, "M01", Entry::Swipe, &reference)).await.unwrap();
    assert_eq!(code(&nothing_left), "64", "{nothing_left:?}");
    let voided = here.void(VoidRequest::by_trace(sale.trace)).await.unwrap();
    assert_eq!(code(&voided), "12", "what was refunded is not voided on top: {voided:?}");

    let found = lab.payments(&[&reference, "--kind", "sale"]);
    assert_eq!(found[0]["refunded_fen"], 10_000);
    assert_eq!(lab.record(&reference, "0200").await.unwrap()["state"], "refunded");
    let shown = lab.good(&["txn", "show", &reference]);
    let refunds = shown.lines().filter(|line| line.contains("refund ¥") && line.ends_with("approved"));
    assert_eq!(refunds.count(), 3, "{shown}");
    books_agree(&lab).await;
}

/// The line breaks before the answer: the terminal reverses before anything else, and the money goes back.
#[tokio::test]
async fn g2_the_terminal_reverses_what_it_has_no_answer_for() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    for request in [swipe(6_001), chip(6_002)] {
        let fen = request.amount_fen;
        line.drop_next_answer();
        let lost = terminal.sale(request).await.unwrap();
        assert_eq!(lost.status, Status::NoAnswer);
        let yuan = format!("60.0{}", fen % 10);
        // The sale itself is approved all the same: posp and the network do not know that nobody heard it.
        let payment = lab.payment_in(&["--amount-min", &yuan, "--amount-max", &yuan], "approved").await;
        let next = sold(&mut terminal, swipe(100)).await;
        assert_eq!(next.preceding.len(), 1, "the reversal goes first");
        assert_eq!(code(&next.preceding[0]), "00");
        let reference = payment["reference"].as_str().unwrap();
        let reversed = lab.payment_in(&[reference], "reversed").await;
        assert_eq!(reversed["reversal_reason"], "98");
        assert_eq!(lab.record(reference, "0200").await.unwrap()["state"], "reversed");
    }
    // The answer to the reversal is lost as well: it is sent again and answered alike.
    line.drop_next_answer();
    let lost = terminal.sale(swipe(6_003)).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    line.drop_next_answer();
    let unheard = terminal.send_reversal().await.unwrap().unwrap();
    assert!(!unheard.approved);
    let heard = terminal.send_reversal().await.unwrap().unwrap();
    assert_eq!(code(&heard), "00");
    lab.payment_in(&["--amount-min", "60.03", "--amount-max", "60.03"], "reversed").await;
    books_agree(&lab).await;
}

/// A void whose answer is lost is reversed, and the sale stands again and can be voided again.
#[tokio::test]
async fn a_lost_void_is_reversed_and_the_sale_stands_again() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, swipe(1_500)).await;
    let reference = sale.rrn.as_deref().unwrap();
    line.drop_next_answer();
    let lost = terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    lab.payment_in(&[reference, "--kind", "sale"], "voided").await;
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "sale_void"], "reversed").await;
    lab.payment_in(&[reference, "--kind", "sale"], "approved").await;
    books_agree(&lab).await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap()), "00");
    lab.payment_in(&[reference, "--kind", "sale"], "voided").await;
    books_agree(&lab).await;
}

/// A chip that refuses the approval (the issuer's cryptogram is wrong, or the card was pulled) is reversed with 06.
#[tokio::test]
async fn a_chip_that_refuses_the_approval_is_reversed() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    for card in ["L05", "L08"] {
        let refused = terminal.sale(crate::sale(2_200, card, Entry::Chip, Some("123456"))).await.unwrap();
        assert_eq!(refused.status, Status::ChipRefused, "{card}: {refused:?}");
        let reversal = terminal.send_reversal().await.unwrap().unwrap();
        assert_eq!(code(&reversal), "00");
        let reversed = lab.payment_in(&[refused.rrn.as_deref().unwrap()], "reversed").await;
        assert_eq!(reversed["reversal_reason"], "06", "{card}");
    }
    books_agree(&lab).await;
}
