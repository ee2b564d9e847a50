//! Approvals in part (field 39 = 10): the journal keeps the approved amount beside the one asked for, and totals, voids and
//! refunds go by it. A terminal that does not support it is declined, and the network gets its part back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use acquiring::kind::Kind;
use acquiring::{Amount, BatchNo, PaymentState, ResponseCode, Trace};
use common::{Act, Stage, merchant, request, terminal};
use engine::payment::{OriginalNumbers, PaymentRequest};

/// A sale of ¥100.00 by a terminal that says in 60.6 whether it takes a part.
fn sale(trace: u64, takes_part: bool) -> PaymentRequest {
    PaymentRequest { terminal_traits: [5, 0, u8::from(takes_part)], ..request(trace, 10_000) }
}

fn void(trace: u64, fen: u64) -> PaymentRequest {
    let original = OriginalNumbers { batch: Some(BatchNo::FIRST), trace: Trace::new(1).ok(), date: None };
    PaymentRequest { original: Some(original), ..request(trace, fen) }
}

#[tokio::test]
async fn a_part_counts_everywhere_with_what_was_approved() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Part(4_000)]);
    let reply = stage.pay(Kind::Sale, sale(1, true)).await;
    assert_eq!((reply.answer.code, reply.total), (ResponseCode::PARTIAL, Amount::from_fen(4_000)));
    let record = stage.record(1).await;
    assert_eq!(record.state, PaymentState::Approved);
    assert_eq!((record.amount.fen(), record.total().fen()), (10_000, 4_000));
    let again = stage.pay(Kind::Sale, sale(1, true)).await;
    assert_eq!(
        (again.answer.code, again.total),
        (ResponseCode::PARTIAL, Amount::from_fen(4_000)),
        "a repeat"
    );

    let totals = stage.store.batch_totals(merchant(), terminal(), BatchNo::FIRST).await.unwrap();
    assert_eq!((totals.domestic.debit.amount.fen(), totals.domestic.debit.count), (4_000, 1));
    let whole = stage.pay(Kind::SaleVoid, void(2, 10_000)).await;
    assert_eq!(whole.answer.code, ResponseCode::AMOUNT_DIFFERS);
    stage.script.expect([Act::Code("00")]);
    let voided = stage.pay(Kind::SaleVoid, void(3, 4_000)).await;
    assert_eq!(voided.answer.code, ResponseCode::APPROVED);
    assert_eq!(stage.state(1).await, PaymentState::Voided);
}

/// The terminal's reversal repeats the amount that it asked for, which is also what the network knows the request by.
#[tokio::test]
async fn a_part_is_reversed_by_the_amount_that_was_asked_for() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Part(4_000), Act::Code("00")]);
    stage.pay(Kind::Sale, sale(1, true)).await;
    assert_eq!(stage.reverse(1, 10_000).await.answer.code, ResponseCode::APPROVED);
    stage.until(1, PaymentState::Reversed).await;
}

#[tokio::test]
async fn a_terminal_without_support_is_declined_and_the_part_goes_back() {
    let stage = Stage::set().await;
    stage.script.expect([Act::Part(4_000), Act::Code("00")]);
    let reply = stage.pay(Kind::Sale, sale(1, false)).await;
    assert_eq!(reply.answer.code, ResponseCode::INSUFFICIENT_FUNDS);
    stage.until(1, PaymentState::Reversed).await;
    assert_eq!(stage.script.seen().iter().map(|seen| seen.what).collect::<Vec<_>>(), ["sale", "reversal"]);
    let totals = stage.store.batch_totals(merchant(), terminal(), BatchNo::FIRST).await.unwrap();
    assert_eq!(totals.domestic.debit.count, 0);
    let again = stage.pay(Kind::Sale, sale(1, false)).await;
    assert_eq!(again.answer.code, ResponseCode::INSUFFICIENT_FUNDS, "a repeat hears the same");
}
