//! What an operator reads in the network's record about a message that cannot come to its end by itself, and what
//! that does to its payment. The only door through which a person decides; it opens for parked messages alone, and
//! never to a state that the journal already contradicts.

use super::{
    BeyondEffect, Change, Event, Forward, OriginalEffect, Reception, effect_of_failure, effect_of_success,
    on_event, reaches_beyond,
};
use crate::kind::Hold;
use crate::money::Amount;
use crate::payment::{Answer, PaymentRecord, PaymentState};
use crate::response_code::ResponseCode;

/// What the network's record shows of a payment whose message is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It stands there: approved, and not undone. The answer as the record has it.
    Standing(Answer),
    /// It has no effect there: declined, undone, or not there at all. The code as the record has it, or ours.
    Nothing(Answer),
}

/// Decides what a finding does to a payment; `before` is what its original had been adjusted to before it, for an
/// adjustment that the network will not have.
///
/// # Errors
/// Why the finding cannot be: the journal knows otherwise, or another payment stands on this one.
pub fn on_finding(
    payment: &PaymentRecord,
    action: Forward,
    finding: Finding,
    before: Option<Amount>,
) -> Result<Change, &'static str> {
    let change = match (action, finding) {
        (Forward::Reversal, Finding::Nothing(_)) => on_event(payment, Event::ReversalDone(None)),
        (Forward::Reversal, Finding::Standing(answer)) => stands_after_all(payment, answer)?,
        (Forward::Repeat, Finding::Standing(answer) | Finding::Nothing(answer)) => {
            on_event(payment, Event::Answered(answer))
        }
        (Forward::Advice, Finding::Standing(answer)) => on_event(payment, Event::Advised(answer)),
        (Forward::Advice, Finding::Nothing(answer)) => not_taken(payment, answer, before)?,
        (Forward::Script, _) => on_event(payment, Event::ScriptTaken),
    };
    match change.reception {
        Reception::Moved | Reception::Repeated => Ok(change),
        Reception::Late | Reception::NothingToUndo | Reception::Refused(_) => {
            Err("the payment's state does not allow it")
        }
    }
}

/// The network keeps what we wanted undone, for example because its day was over: the payment is approved after all,
/// with everything that an approval does to others.
fn stands_after_all(payment: &PaymentRecord, answer: Answer) -> Result<Change, &'static str> {
    match payment.state {
        PaymentState::Reversing => {
            let ours = payment.answer.as_ref().filter(|ours| ours.code.is_approval());
            Ok(Change {
                answer: Some(ours.cloned().unwrap_or(answer)),
                original: effect_of_success(payment),
                beyond: if reaches_beyond(payment.kind) { BeyondEffect::Release } else { BeyondEffect::Keep },
                ..Change::to(PaymentState::Approved)
            })
        }
        _ => Err("the payment is not being reversed"),
    }
}

/// The network will never have what the terminal approved by itself: nobody pays the merchant for it, so it must not
/// count. The sale that it adjusted is worth what it was before.
fn not_taken(
    payment: &PaymentRecord,
    answer: Answer,
    before: Option<Amount>,
) -> Result<Change, &'static str> {
    if !payment.kind.spec().told {
        return Err("only what a terminal approved by itself can be unknown to the network");
    }
    if payment.answer.as_ref().is_some_and(|known| known.settle_date.is_some()) {
        return Err("the network has acknowledged it");
    }
    if payment.state != PaymentState::Approved || payment.claimed_by.is_some() || !payment.refunded.is_zero()
    {
        return Err("another payment stands on it: settle that one first");
    }
    let original = match payment.kind.hold() {
        Some(Hold::Adjust) => OriginalEffect::Readjust(before),
        _ => effect_of_failure(payment),
    };
    let answer = Answer { auth_code: None, settle_date: None, ..answer };
    Ok(Change { answer: Some(answer), original, ..Change::to(PaymentState::Declined) })
}

/// Whether a payment is what a finding says: after it was applied it must be, whoever was first.
pub fn agrees(payment: &PaymentRecord, action: Forward, standing: bool) -> bool {
    match (action, payment.state) {
        (Forward::Script, _) => true,
        (_, PaymentState::Approved | PaymentState::Voided | PaymentState::Completed) => standing,
        (_, PaymentState::Declined | PaymentState::Reversed) => !standing,
        (_, PaymentState::Pending | PaymentState::Unresolved | PaymentState::Reversing) => false,
    }
}

/// The answer of a record that has the payment as approved.
pub fn approved(answer: Answer) -> Finding {
    Finding::Standing(Answer { code: ResponseCode::APPROVED, ..answer })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, payment};
    use super::super::{on_original, take_hold};
    use super::*;
    use crate::ids::PaymentId;
    use crate::kind::Kind;

    fn standing() -> Finding {
        approved(Answer { settle_date: Some(1124), ..answer(ResponseCode::APPROVED) })
    }

    fn nothing() -> Finding {
        Finding::Nothing(answer(ResponseCode::NO_ORIGINAL))
    }

    fn settle(
        payment: &mut PaymentRecord,
        action: Forward,
        finding: Finding,
    ) -> Result<Change, &'static str> {
        let change = on_finding(payment, action, finding, None)?;
        payment.state = change.state;
        if let Some(answer) = &change.answer {
            payment.answer = Some(answer.clone());
        }
        Ok(change)
    }

    #[test]
    fn a_refund_gets_the_outcome_of_the_record() {
        let mut refund = payment(2, Kind::Refund, PaymentState::Unresolved);
        settle(&mut refund, Forward::Repeat, standing()).unwrap();
        assert_eq!((refund.state, refund.answer.unwrap().settle_date), (PaymentState::Approved, Some(1124)));
        let mut refund = payment(2, Kind::Refund, PaymentState::Unresolved);
        let change = settle(&mut refund, Forward::Repeat, nothing()).unwrap();
        assert_eq!(refund.state, PaymentState::Declined);
        assert_eq!(change.original, OriginalEffect::GiveBack(refund.amount));
    }

    /// An answer may come between the look at the record and the command: what is known is not turned round.
    #[test]
    fn what_is_known_otherwise_does_not_agree() {
        let mut refund = payment(2, Kind::Refund, PaymentState::Approved);
        let change = settle(&mut refund, Forward::Repeat, nothing()).unwrap();
        assert_eq!(change.reception, Reception::Repeated);
        assert!(!agrees(&refund, Forward::Repeat, false));
        assert!(agrees(&refund, Forward::Repeat, true));
    }

    #[test]
    fn a_reversal_that_the_network_refuses_for_ever_ends_as_its_record_says() {
        let mut sale = payment(1, Kind::Sale, PaymentState::Reversing);
        settle(&mut sale, Forward::Reversal, nothing()).unwrap();
        assert_eq!(sale.state, PaymentState::Reversed);
        assert!(settle(&mut sale, Forward::Reversal, standing()).is_err(), "reversed stays reversed");

        // A void that stands after all voids its sale again.
        let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
        let mut void = payment(2, Kind::SaleVoid, PaymentState::Reversing);
        sale.claimed_by = Some(void.id);
        let change = settle(&mut void, Forward::Reversal, standing()).unwrap();
        on_original(&mut sale, void.id, change.original);
        assert_eq!((void.state, sale.state), (PaymentState::Approved, PaymentState::Voided));
    }

    #[test]
    fn what_the_network_will_not_have_counts_no_more() {
        let mut sale = payment(1, Kind::OfflineSale, PaymentState::Approved);
        sale.answer = Some(answer(ResponseCode::APPROVED));
        let known = PaymentRecord {
            answer: Some(Answer { settle_date: Some(1124), ..answer(ResponseCode::APPROVED) }),
            ..sale.clone()
        };
        assert!(on_finding(&known, Forward::Advice, nothing(), None).is_err());
        let held = PaymentRecord { claimed_by: Some(PaymentId(9)), ..sale.clone() };
        assert!(on_finding(&held, Forward::Advice, nothing(), None).is_err());
        settle(&mut sale, Forward::Advice, nothing()).unwrap();
        assert_eq!(sale.state, PaymentState::Declined);
    }

    #[test]
    fn a_refused_tip_leaves_its_sale_as_it_was_before() {
        let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
        sale.adjusted = Amount::from_fen(10_500);
        let mut tip = payment(2, Kind::Tip, PaymentState::Approved);
        tip.amount = Amount::from_fen(11_500).unwrap();
        let mut held = sale.clone();
        take_hold(&mut held, &tip).unwrap();
        let change = on_finding(&tip, Forward::Advice, nothing(), sale.adjusted).unwrap();
        on_original(&mut held, tip.id, change.original);
        assert_eq!(held, sale);
    }
}
