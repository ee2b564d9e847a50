//! What stands on a pre-authorisation, against a network that is silent or goes away: held while anything about it is
//! open, free when that came to nothing, taken once whatever happens. And what instalment and points sales, and loads from
//! another card, must bring.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use acquiring::kind::Kind;
use acquiring::{AuthCode, EntryMode, Pan, PaymentState, ResponseCode};
use common::{Act, Stage, request};
use engine::payment::{OriginalNumbers, PaymentRequest, Reply, TransferIn};

const NOTHING_TOLD: OriginalNumbers = OriginalNumbers { batch: None, trace: None, date: None };

/// A request about the pre-authorisation that the script approves.
fn about(trace: u64, fen: u64) -> PaymentRequest {
    PaymentRequest {
        original: Some(NOTHING_TOLD),
        auth_code: AuthCode::new("A1B2C3").ok(),
        ..request(trace, fen)
    }
}

async fn set_aside(stage: &Stage, trace: u64) -> Reply {
    stage.script.expect([Act::Code("00")]);
    let reply = stage.pay(Kind::Preauth, request(trace, 10_000)).await;
    assert_eq!(reply.answer.code, ResponseCode::APPROVED);
    reply
}

/// A completion without an answer is reversed; until that is acknowledged nobody else gets the pre-authorisation.
#[tokio::test]
async fn an_unanswered_completion_holds_its_preauth_until_it_is_reversed() {
    let stage = Stage::set().await;
    set_aside(&stage, 1).await;
    // Two silences: the completion's and its first reversal's.
    stage.script.expect([Act::Silence, Act::Silence, Act::Code("00")]);
    let lost = stage.pay(Kind::Completion, about(2, 11_500)).await;
    assert_eq!(lost.answer.code, ResponseCode::TIMEOUT);
    let too_early = stage.pay(Kind::Completion, about(3, 5_000)).await;
    assert_eq!(too_early.answer.code, ResponseCode::INVALID_TRANSACTION);
    stage.until(2, PaymentState::Reversed).await;
    assert_eq!(stage.record(1).await.claimed_by, None);
    stage.script.expect([Act::Code("00")]);
    let good = stage.pay(Kind::Completion, about(4, 5_000)).await;
    assert_eq!(good.answer.code, ResponseCode::APPROVED);
    assert_eq!(stage.state(1).await, PaymentState::Completed);
}

/// An advice without an answer is repeated, never reversed, and the terminal's own repeat hears the outcome.
#[tokio::test]
async fn an_unanswered_advice_is_repeated_until_it_is_known() {
    let stage = Stage::set().await;
    set_aside(&stage, 1).await;
    stage.script.expect([Act::Silence, Act::Silence, Act::Code("00")]);
    let open = stage.pay(Kind::CompletionAdvice, about(2, 9_000)).await;
    assert_eq!(open.answer.code, ResponseCode::IN_PROCESS);
    let void = stage.pay(Kind::PreauthVoid, about(3, 10_000)).await;
    assert_eq!(void.answer.code, ResponseCode::INVALID_TRANSACTION);
    stage.until(2, PaymentState::Approved).await;
    let again = stage.pay(Kind::CompletionAdvice, about(2, 9_000)).await;
    assert_eq!((again.answer.code, again.repeated), (ResponseCode::APPROVED, true));
    assert_eq!(stage.state(1).await, PaymentState::Completed);
    assert!(stage.script.seen().iter().all(|seen| seen.what != "reversal"));
    let undone = stage.reverse(2, 9_000).await;
    assert_eq!(undone.answer.code, ResponseCode::INVALID_TRANSACTION, "an advice has no reversal");
}

/// What names no authorisation of this card, or one of another day, is refused before anything leaves.
#[tokio::test]
async fn what_is_not_found_does_not_leave() {
    let stage = Stage::set().await;
    set_aside(&stage, 1).await;
    let cases = [
        PaymentRequest { auth_code: AuthCode::new("ZZZZZZ").ok(), ..about(2, 100) },
        PaymentRequest { auth_code: None, ..about(3, 100) },
        PaymentRequest {
            original: Some(OriginalNumbers { date: Some(101), ..NOTHING_TOLD }),
            ..about(4, 100)
        },
        PaymentRequest {
            original: Some(OriginalNumbers { trace: acquiring::Trace::new(77).ok(), ..NOTHING_TOLD }),
            ..about(5, 100)
        },
    ];
    for case in cases {
        assert_eq!(stage.pay(Kind::Completion, case).await.answer.code, ResponseCode::NO_ORIGINAL);
    }
    let too_much = stage.pay(Kind::Completion, about(6, 11_501)).await;
    assert_eq!(too_much.answer.code, ResponseCode::OVER_LIMIT);
    assert_eq!(stage.script.seen().len(), 1, "only the pre-authorisation left");
}

/// The node dies between the durable intent of a completion and its answer: the next run reverses it, and the
/// pre-authorisation is free.
#[tokio::test]
async fn a_crash_during_a_completion_gives_the_preauth_back() {
    let stage = Stage::set().await;
    set_aside(&stage, 1).await;
    let (told, when) = tokio::sync::oneshot::channel();
    stage.script.expect([Act::When(when)]);
    let auth = stage.authenticate(Kind::Completion).await.unwrap();
    let engine = stage.engine.clone();
    let paying = tokio::spawn(async move { engine.pay(auth, about(2, 9_000), None).await });
    stage.script.until_seen(2).await;
    let (directory, vault) = stage.crash().await;
    drop(told);
    let _answered = paying.await;
    let stage = Stage::expecting([Act::Code("00")], directory, vault, false).await;
    stage.until(2, PaymentState::Reversed).await;
    let preauth = stage.record(1).await;
    assert_eq!((preauth.state, preauth.claimed_by), (PaymentState::Approved, None));
}

/// Whose points, and which offer, are read before anything is asked.
#[tokio::test]
async fn a_points_sale_says_whose_points() {
    let stage = Stage::set().await;
    let item = format!("{:<30}", "GIFT");
    let bad =
        [None, Some(format!("000{item}")), Some(format!("048{}", item.trim())), Some(format!("048{item}\0"))];
    for (trace, plan) in bad.into_iter().enumerate() {
        let bad = PaymentRequest { plan, ..request(trace as u64 + 1, 10_000) };
        assert_eq!(stage.pay(Kind::PointsSale, bad).await.answer.code, ResponseCode::FORMAT_ERROR);
    }
    stage.script.expect([Act::Code("00")]);
    let good = PaymentRequest { plan: Some(format!("065{item}")), ..request(9, 10_000) };
    assert_eq!(stage.pay(Kind::PointsSale, good).await.answer.code, ResponseCode::APPROVED);
}

/// A load from another card needs that card, by its chip, and it must be another.
#[tokio::test]
async fn a_load_from_another_card_needs_two_cards() {
    let stage = Stage::set().await;
    let purse = |pan: &str, mode| {
        Some(TransferIn { pan: Pan::new(pan).unwrap(), entry_mode: EntryMode::new(mode).unwrap() })
    };
    let own = request(1, 10_000).pan.unwrap();
    for (trace, transfer_in, code) in [
        (1, None, ResponseCode::FORMAT_ERROR),
        (2, purse("6224242000000039", 21), ResponseCode::FORMAT_ERROR),
        (3, purse(own.reveal(), 51), ResponseCode::INVALID_TRANSACTION),
    ] {
        let bad = PaymentRequest { transfer_in, ..request(trace, 10_000) };
        assert_eq!(stage.pay(Kind::TransferLoad, bad).await.answer.code, code);
    }
    let by_chip = PaymentRequest {
        transfer_in: purse("6224242000000039", 51),
        entry_mode: EntryMode::new(52).unwrap(),
        chip: Some(acquiring::Secret::new([0x9F, 0x26, 1, 1])),
        ..request(4, 10_000)
    };
    assert_eq!(stage.pay(Kind::TransferLoad, by_chip).await.answer.code, ResponseCode::FORMAT_ERROR);
    stage.script.expect([Act::Code("00")]);
    let good = PaymentRequest { transfer_in: purse("6224242000000039", 51), ..request(9, 10_000) };
    assert_eq!(stage.pay(Kind::TransferLoad, good).await.answer.code, ResponseCode::APPROVED);
}

/// Periods and item are read before anything is asked: two digits, at least two periods, 32 characters in all.
#[tokio::test]
async fn an_instalment_sale_says_in_how_many_parts() {
    let stage = Stage::set().await;
    for (trace, plan) in [None, Some("06"), Some("01"), Some("X6")].into_iter().enumerate() {
        let plan =
            plan.map(|periods| if periods == "06" { periods.to_owned() } else { format!("{periods:<32}") });
        let bad = PaymentRequest { plan, ..request(trace as u64 + 1, 10_000) };
        assert_eq!(stage.pay(Kind::Instalment, bad).await.answer.code, ResponseCode::FORMAT_ERROR);
    }
    stage.script.expect([Act::Code("00")]);
    let good = PaymentRequest { plan: Some(format!("{:<32}", "063C")), ..request(9, 10_000) };
    assert_eq!(stage.pay(Kind::Instalment, good).await.answer.code, ResponseCode::APPROVED);
}

/// The item code is free text that a reversal says again, and the journal keeps no text that could be a card number: such an
/// item is refused before anything leaves, or its reversal could never be right.
#[tokio::test]
async fn an_item_that_could_be_a_card_number_is_refused() {
    let stage = Stage::set().await;
    let plans = [
        (Kind::Instalment, format!("06{:<30}", "6224242000000021")),
        (Kind::Instalment, format!("06{:<30}", "A1234567890123B")),
        (Kind::PointsSale, format!("048{:<30}", "6901234567892")),
    ];
    for (trace, (kind, plan)) in (1..).zip(plans) {
        let reply = stage.pay(kind, PaymentRequest { plan: Some(plan), ..request(trace, 10_000) }).await;
        assert_eq!(reply.answer.code, ResponseCode::FORMAT_ERROR);
        assert_eq!(reply.reason, Some("the item code could be a card number"));
    }
    assert!(stage.script.seen().is_empty(), "nothing has left");
    stage.script.expect([Act::Code("00")]);
    // Periods and item are not one number.
    let good = PaymentRequest { plan: Some(format!("12{:<30}", "345678901234")), ..request(9, 10_000) };
    assert_eq!(stage.pay(Kind::Instalment, good).await.answer.code, ResponseCode::APPROVED);
}

/// A terminal whose reader keeps card numbers (MPOS) voids by batch and trace alone: the number is the sale's, goes to the
/// network, and is not told to the terminal. Any other terminal must bring it, and a trace that is not there gives none.
#[tokio::test]
async fn a_terminal_without_numbers_voids_by_the_numbers_of_its_sale() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Code("00"), Act::Code("00")]);
    let sale = stage.pay(Kind::Sale, request(1, 10_000)).await;
    let void = |trace, number_hidden, sale_trace| PaymentRequest {
        pan: None,
        number_hidden,
        ..common::void_of(trace, sale_trace, sale.rrn.unwrap())
    };
    let must_tell = stage.pay(Kind::SaleVoid, void(2, false, 1)).await;
    assert_eq!(must_tell.answer.code, ResponseCode::FORMAT_ERROR);
    let nowhere = stage.pay(Kind::SaleVoid, void(3, true, 99)).await;
    assert_eq!(nowhere.answer.code, ResponseCode::NO_ORIGINAL);
    let good = stage.pay(Kind::SaleVoid, void(4, true, 1)).await;
    assert_eq!((good.answer.code, good.pan), (ResponseCode::APPROVED, None));
    assert_eq!(stage.state(1).await, PaymentState::Voided);
    let (sold, voided) = (stage.record(1).await, stage.record(4).await);
    assert_eq!(sold.card.unwrap().digest, voided.card.unwrap().digest, "the card of the sale");
}
