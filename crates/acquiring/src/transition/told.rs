//! What the terminal approved by itself: how it stands on others, and others on it.

use super::tests::{answer, apply, payment};
use super::*;

#[test]
fn an_adjustment_changes_what_a_sale_comes_to_and_holds_it_until_the_network_knows() {
    let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
    let mut tip = payment(2, Kind::Tip, PaymentState::Approved);
    assert_eq!(take_hold(&mut sale, &tip), Err(ResponseCode::AMOUNT_DIFFERS), "a tip adds something");
    tip.amount = Amount::from_fen(11_500).unwrap();
    take_hold(&mut sale, &tip).unwrap();
    assert_eq!((sale.amount.fen(), sale.total().fen()), (10_000, 11_500));
    let mut void = payment(3, Kind::SaleVoid, PaymentState::Pending);
    assert_eq!(take_hold(&mut sale, &void), Err(ResponseCode::INVALID_TRANSACTION));
    let acknowledged = Answer { settle_date: Some(1125), ..answer(ResponseCode::APPROVED) };
    tip.answer = Some(answer(ResponseCode::APPROVED));
    let change = apply(&mut tip, Some(&mut sale), Event::Advised(acknowledged));
    assert_eq!((change.reception, change.state), (Reception::Moved, PaymentState::Approved));
    assert_eq!(change.answer.unwrap().settle_date, Some(1125));
    // The void takes back what the sale came to, not what it was.
    assert_eq!(take_hold(&mut sale, &void), Err(ResponseCode::AMOUNT_DIFFERS));
    void.amount = tip.amount;
    take_hold(&mut sale, &void).unwrap();
}

#[test]
fn what_was_approved_offline_can_be_refunded_when_the_network_knows_of_it() {
    let mut sale = payment(1, Kind::OfflineSale, PaymentState::Approved);
    let refund = payment(2, Kind::Refund, PaymentState::Pending);
    assert_eq!(take_hold(&mut sale, &refund), Err(ResponseCode::NO_ORIGINAL));
    sale.answer = Some(Answer { settle_date: Some(1125), ..answer(ResponseCode::APPROVED) });
    take_hold(&mut sale, &refund).unwrap();
    let change = on_event(&sale, Event::CancelRequested(ResponseCode::NO_ANSWER));
    assert_eq!(change.reception, Reception::Refused(ResponseCode::INVALID_TRANSACTION));
}
