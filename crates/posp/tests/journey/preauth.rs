//! A hotel's day: amounts are set aside, taken by request and by advice, given free, taken back, paid back; at two
//! terminals, with answers that are lost. After each scenario journal, terminal and network tell the same, and what
//! is set aside on the cards is what both say is open.

use pos::{
    AuthorisedRequest, CardInput, Entry, Outcome, RefundRequest, SaleRequest, Status, Terminal, VoidRequest,
};
use serde_json::Value;

use crate::support::{FIRST, Lab, SECOND, Setup};
use crate::{books_agree, chip, code, swipe};

/// What is set aside on a card at the network, in fen.
async fn held(lab: &Lab, card: &str) -> i64 {
    let cards = lab.network_says("/api/cards").await;
    let found = cards.as_array().unwrap().iter().find(|line| line["id"] == card).unwrap();
    found["held"].as_i64().unwrap()
}

async fn set_aside(terminal: &mut Terminal, request: SaleRequest) -> Outcome {
    let outcome = terminal.preauth(request).await.unwrap();
    assert_eq!(code(&outcome), "00", "{outcome:?}");
    assert!(outcome.auth_code.is_some(), "{outcome:?}");
    outcome
}

/// A request about a pre-authorisation made with `swipe`.
fn about(terminal: &Terminal, preauth: &Outcome, fen: u64) -> AuthorisedRequest {
    AuthorisedRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        auth_code: preauth.auth_code.clone().unwrap(),
        date: terminal.now().strftime("%m%d").to_string(),
        numbers: None,
    }
}

/// Polls the journal until the payment is in this state: what a terminal did not hear may still be under way.
async fn becomes(lab: &Lab, outcome: &Outcome, state: &str) {
    lab.payment_in(&[outcome.rrn.as_deref().unwrap()], state).await;
}

fn state(lab: &Lab, outcome: &Outcome) -> Value {
    lab.payments(&[outcome.rrn.as_deref().unwrap()]).pop().unwrap()["state"].clone()
}

fn refund(terminal: &Terminal, of: &Outcome, fen: u64) -> RefundRequest {
    RefundRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: of.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    }
}

/// The whole family: completed for less at another terminal, completed for more up to 115 %, voided, completed again
/// after the completion was voided, settled with its sides.
#[tokio::test]
async fn amounts_set_aside_are_taken_or_given_free() {
    let lab = Lab::start(Setup::default()).await;
    let (mut here, _) = lab.signed_in(FIRST).await;
    let (mut there, _) = lab.signed_in(SECOND).await;
    let room = set_aside(&mut here, swipe(50_000)).await;
    let car = set_aside(&mut here, swipe(30_000)).await;
    let meal = set_aside(&mut here, chip(20_000)).await;
    assert_eq!((held(&lab, "M01").await, held(&lab, "L02").await), (80_000, 20_000));

    // Less than was set aside, at another terminal: the rest is free again.
    let checkout = there.complete(about(&there, &room, 48_000)).await.unwrap();
    assert_eq!(code(&checkout), "00", "{checkout:?}");
    assert_eq!(state(&lab, &room), "completed");
    let twice = here.complete(about(&here, &room, 100)).await.unwrap();
    assert_eq!(code(&twice), "12", "completed once: {twice:?}");
    let void = here.void_preauth(about(&here, &room, 50_000)).await.unwrap();
    assert_eq!(code(&void), "12", "what is completed is not given free: {void:?}");
    assert_eq!(held(&lab, "M01").await, 30_000);

    // More than was set aside, up to 115 %.
    let much = there.complete(about(&there, &car, 34_501)).await.unwrap();
    assert_eq!(code(&much), "61", "{much:?}");
    let most = here.complete(about(&here, &car, 34_500)).await.unwrap();
    assert_eq!(code(&most), "00", "{most:?}");

    // Another card, another code, another day: not found.
    let mut wrong = about(&here, &meal, 20_000);
    assert_eq!(code(&here.complete(wrong).await.unwrap()), "25", "another card");
    wrong = AuthorisedRequest {
        card: CardInput::deck("L02").unwrap(),
        entry: Entry::Chip,
        ..about(&here, &meal, 20_000)
    };
    wrong.date = "0101".into();
    assert_eq!(code(&here.void_preauth(wrong).await.unwrap()), "25", "another day");

    // Given free with the numbers of its slip.
    let free = AuthorisedRequest {
        card: CardInput::deck("L02").unwrap(),
        entry: Entry::Chip,
        numbers: Some((meal.batch, meal.trace)),
        ..about(&here, &meal, 20_000)
    };
    assert_eq!(code(&here.void_preauth(free).await.unwrap()), "00");
    assert_eq!(state(&lab, &meal), "voided");
    assert_eq!(held(&lab, "L02").await, 0);

    // The completion of the car is voided: the pre-authorisation is open again and completed by advice.
    assert_eq!(code(&here.void(VoidRequest::by_trace(most.trace)).await.unwrap()), "00");
    assert_eq!((state(&lab, &most), state(&lab, &car)), ("voided".into(), "approved".into()));
    assert_eq!(held(&lab, "M01").await, 30_000);
    let advice = here.complete_by_advice(about(&here, &car, 31_000)).await.unwrap();
    assert_eq!(code(&advice), "00", "{advice:?}");
    assert_eq!(state(&lab, &car), "completed");
    assert_eq!(held(&lab, "M01").await, 0);
    books_agree(&lab).await;

    for (terminal, debit, credit) in
        [(&mut here, "2 / ¥655.00", "1 / ¥345.00"), (&mut there, "1 / ¥480.00", "0 / ¥0.00")]
    {
        let settled = terminal.settle().await.unwrap();
        assert_eq!(code(&settled), "00", "{settled:?}");
        assert!(settled.notices.is_empty(), "{settled:?}");
        let listed = lab.good(&["settlement", "list", "--terminal", &terminal.config().terminal]);
        assert!(listed.contains("balanced") && listed.contains(debit) && listed.contains(credit), "{listed}");
    }
}

/// Completions are paid back in parts up to what was taken, at any terminal; then they are not voided on top. What was
/// only set aside is not paid back.
#[tokio::test]
async fn a_completion_is_paid_back_up_to_its_amount() {
    let lab = Lab::start(Setup::default()).await;
    let (mut here, _) = lab.signed_in(FIRST).await;
    let (mut there, _) = lab.signed_in(SECOND).await;
    let room = set_aside(&mut here, swipe(20_000)).await;
    assert_eq!(code(&here.refund(refund(&here, &room, 100)).await.unwrap()), "12");
    let taken = here.complete_by_advice(about(&here, &room, 18_000)).await.unwrap();
    assert_eq!(code(&here.refund(refund(&here, &taken, 5_000)).await.unwrap()), "00");
    assert_eq!(code(&there.refund(refund(&there, &taken, 13_001)).await.unwrap()), "64");
    assert_eq!(code(&here.void(VoidRequest::by_trace(taken.trace)).await.unwrap()), "12");
    assert_eq!(code(&there.refund(refund(&there, &taken, 13_000)).await.unwrap()), "00");
    assert_eq!(lab.record(taken.rrn.as_deref().unwrap(), "0220").await.unwrap()["state"], "refunded");
    books_agree(&lab).await;
}

/// Answers that are lost between posp and the terminal: each of the family is reversed by the terminal, and afterwards
/// everything is as if it had not been.
#[tokio::test]
async fn a_lost_answer_of_the_family_is_reversed() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;

    line.drop_next_answer();
    let lost = terminal.preauth(swipe(70_000)).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--amount-min", "700.00", "--amount-max", "700.00"], "reversed").await;
    assert_eq!(held(&lab, "M01").await, 0);

    let room = set_aside(&mut terminal, swipe(60_000)).await;
    line.drop_next_answer();
    terminal.void_preauth(about(&terminal, &room, 60_000)).await.unwrap();
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "preauth_void"], "reversed").await;
    assert_eq!((state(&lab, &room), held(&lab, "M01").await), ("approved".into(), 60_000));

    line.drop_next_answer();
    terminal.complete(about(&terminal, &room, 55_000)).await.unwrap();
    becomes(&lab, &room, "completed").await;
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "completion"], "reversed").await;
    assert_eq!((state(&lab, &room), held(&lab, "M01").await), ("approved".into(), 60_000));

    let taken = terminal.complete(about(&terminal, &room, 56_000)).await.unwrap();
    assert_eq!(code(&taken), "00", "{taken:?}");
    line.drop_next_answer();
    terminal.void(VoidRequest::by_trace(taken.trace)).await.unwrap();
    becomes(&lab, &taken, "voided").await;
    becomes(&lab, &room, "approved").await;
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "completion_void"], "reversed").await;
    assert_eq!((state(&lab, &taken), state(&lab, &room)), ("approved".into(), "completed".into()));
    assert_eq!(held(&lab, "M01").await, 0);
    books_agree(&lab).await;
}

/// The network is silent: what can be reversed is, and the advice is repeated until it is known. Nothing stays held
/// that is not open.
#[tokio::test]
async fn a_silent_network_leaves_nothing_set_aside() {
    let lab = Lab::start(Setup { network_patience_ms: 1_000, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    // 90.01: the simulator processes it and does not answer.
    let silent = terminal.preauth(swipe(9_001)).await.unwrap();
    assert_eq!(code(&silent), "68", "{silent:?}");
    lab.payment_in(&["--amount-min", "90.01", "--amount-max", "90.01"], "reversed").await;
    assert_eq!(held(&lab, "M01").await, 0);

    let room = set_aside(&mut terminal, swipe(9_500)).await;
    let silent = terminal.complete(about(&terminal, &room, 9_001)).await.unwrap();
    assert_eq!(code(&silent), "68", "{silent:?}");
    lab.payment_in(&["--kind", "completion"], "reversed").await;
    assert_eq!((state(&lab, &room), held(&lab, "M01").await), ("approved".into(), 9_500));

    let told = terminal.complete_by_advice(about(&terminal, &room, 9_001)).await.unwrap();
    if told.status == Status::NoAnswer {
        lab.payment_in(&["--kind", "completion_advice"], "approved").await;
        assert_eq!(code(&terminal.resume_refund().await.unwrap()), "00");
    } else {
        assert_eq!(code(&told), "00", "{told:?}");
    }
    assert_eq!((state(&lab, &room), held(&lab, "M01").await), ("completed".into(), 0));
    books_agree(&lab).await;
}
