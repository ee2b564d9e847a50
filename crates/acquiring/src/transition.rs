//! The state machine of a payment: `(payment, event) → change`, and the rules between a payment and its
//! original. Pure: the store applies a change in the same transaction that reads the payment.

use crate::ids::PaymentId;
use crate::kind::{Kind, Unknown};
use crate::money::Amount;
use crate::payment::{Answer, PaymentRecord, PaymentState};
use crate::response_code::ResponseCode;

/// What happened to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The network answered.
    Answered(Answer),
    /// The network did not answer in time, or the node went down before an answer was durable.
    NoAnswer(Answer),
    /// The request did not leave us; the answer says why.
    NotSent(Answer),
    /// The terminal reverses it, with field 39 of its 0400.
    CancelRequested(ResponseCode),
    /// The network acknowledged the reversal.
    ReversalDone,
    /// The network took what had been approved without it: an offline sale, an adjustment.
    Advised(Answer),
    /// The network has heard what became of the commands for the chip.
    ScriptTaken,
}

/// What must be forwarded to the network until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// A reversal, 0420.
    Reversal,
    /// The same request again, 0221.
    Repeat,
    /// What was approved without the network, 0220.
    Advice,
    /// What became of the commands that the network sent to the chip, 0620.
    Script,
}

impl Forward {
    /// Code in the store.
    pub const fn code(self) -> &'static str {
        match self {
            Forward::Reversal => "reversal",
            Forward::Repeat => "repeat",
            Forward::Advice => "advice",
            Forward::Script => "script",
        }
    }

    /// The action with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Forward::Reversal, Forward::Repeat, Forward::Advice, Forward::Script]
            .into_iter()
            .find(|f| f.code() == code)
    }
}

/// What a change does to the original of a void or refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalEffect {
    /// Nothing.
    Keep,
    /// The void is good: the original becomes voided.
    Void,
    /// The void is being reversed: the original is approved again, still held by the void.
    Unvoid,
    /// The void came to nothing: the original is free again.
    Release,
    /// The refund came to nothing: this much may be refunded again.
    GiveBack(Amount),
}

/// How an event was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// The payment moved.
    Moved,
    /// It came too late: recorded, nothing moves (a late answer never flips a reversed payment).
    Late,
    /// It says again what is already so.
    Repeated,
    /// There is nothing to undo: the payment never took effect.
    NothingToUndo,
    /// The rules forbid it.
    Refused(ResponseCode),
}

/// What to do about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state after it.
    pub state: PaymentState,
    /// The outcome to keep, when the event brought the one that counts.
    pub answer: Option<Answer>,
    /// Field 39 of the reversal, when one begins.
    pub reversal_reason: Option<ResponseCode>,
    /// What to queue toward the network, in the same transaction.
    pub forward: Option<Forward>,
    /// What happens to the original.
    pub original: OriginalEffect,
    /// How the event was received.
    pub reception: Reception,
}

impl Change {
    fn stay(payment: &PaymentRecord, reception: Reception) -> Self {
        Change {
            state: payment.state,
            answer: None,
            reversal_reason: None,
            forward: None,
            original: OriginalEffect::Keep,
            reception,
        }
    }

    fn to(state: PaymentState) -> Self {
        Change {
            state,
            answer: None,
            reversal_reason: None,
            forward: None,
            original: OriginalEffect::Keep,
            reception: Reception::Moved,
        }
    }
}

/// Decides what an event does to a payment.
pub fn on_event(payment: &PaymentRecord, event: Event) -> Change {
    use PaymentState::{Approved, Declined, Pending, Reversed, Reversing, Unresolved, Voided};
    match (event, payment.state) {
        (Event::Answered(answer), Pending | Unresolved) => {
            let approved = answer.code.is_approval();
            Change {
                answer: Some(answer),
                original: if approved { effect_of_success(payment) } else { effect_of_failure(payment) },
                ..Change::to(if approved { Approved } else { Declined })
            }
        }
        (Event::Answered(_), Reversing | Reversed) => Change::stay(payment, Reception::Late),
        (Event::Answered(_), Approved | Declined | Voided) => Change::stay(payment, Reception::Repeated),

        (Event::NotSent(answer), Pending) => {
            Change { answer: Some(answer), original: effect_of_failure(payment), ..Change::to(Declined) }
        }
        (Event::NoAnswer(answer), Pending) => match payment.kind.spec().unknown {
            Unknown::Forget => {
                Change { answer: Some(answer), original: effect_of_failure(payment), ..Change::to(Declined) }
            }
            Unknown::Reverse => Change {
                reversal_reason: Some(answer.code),
                answer: Some(answer),
                forward: Some(Forward::Reversal),
                ..Change::to(Reversing)
            },
            Unknown::Repeat => Change { forward: Some(Forward::Repeat), ..Change::to(Unresolved) },
        },
        (Event::NotSent(_) | Event::NoAnswer(_), _) => Change::stay(payment, Reception::Late),

        (Event::CancelRequested(_), _) if !payment.kind.spec().reversible => {
            Change::stay(payment, Reception::Refused(ResponseCode::INVALID_TRANSACTION))
        }
        (Event::CancelRequested(_), Approved) if !payment.refunded.is_zero() => {
            Change::stay(payment, Reception::Refused(ResponseCode::INVALID_TRANSACTION))
        }
        (Event::CancelRequested(reason), Pending | Approved) => Change {
            reversal_reason: Some(reason),
            forward: Some(Forward::Reversal),
            original: if payment.state == Approved && payment.kind == Kind::SaleVoid {
                OriginalEffect::Unvoid
            } else {
                OriginalEffect::Keep
            },
            ..Change::to(Reversing)
        },
        (Event::CancelRequested(_), Reversing | Reversed) => Change::stay(payment, Reception::Repeated),
        // A voided sale is undone already: a reversal on top would give the money back twice.
        (Event::CancelRequested(_), Declined | Voided | Unresolved) => {
            Change::stay(payment, Reception::NothingToUndo)
        }

        (Event::ReversalDone, Reversing) => {
            Change { original: effect_of_failure(payment), ..Change::to(Reversed) }
        }
        (Event::ReversalDone, _) => Change::stay(payment, Reception::Repeated),

        // The outcome is the terminal's; the network adds its date, and its code where the terminal had none.
        (Event::Advised(answer), Approved | Voided) if payment.kind.spec().told => {
            let own = payment.answer.as_ref();
            Change {
                answer: Some(Answer {
                    code: own.map_or(answer.code, |own| own.code),
                    auth_code: own.and_then(|own| own.auth_code).or(answer.auth_code),
                    at: own.map_or(answer.at, |own| own.at),
                    ..answer
                }),
                original: match payment.kind {
                    Kind::Adjust | Kind::Tip => OriginalEffect::Release,
                    _ => OriginalEffect::Keep,
                },
                ..Change::to(payment.state)
            }
        }
        (Event::Advised(_) | Event::ScriptTaken, _) => Change::stay(payment, Reception::Repeated),
    }
}

fn effect_of_success(payment: &PaymentRecord) -> OriginalEffect {
    match payment.kind {
        Kind::SaleVoid => OriginalEffect::Void,
        _ => OriginalEffect::Keep,
    }
}

fn effect_of_failure(payment: &PaymentRecord) -> OriginalEffect {
    match payment.kind {
        Kind::SaleVoid => OriginalEffect::Release,
        Kind::Refund => OriginalEffect::GiveBack(payment.amount),
        _ => OriginalEffect::Keep,
    }
}

/// Applies the effect of a void or refund to its original. A payment that moved on meanwhile keeps its
/// state: only what the void or refund itself had taken is given back.
pub fn on_original(original: &mut PaymentRecord, by: PaymentId, effect: OriginalEffect) {
    let held = original.claimed_by == Some(by);
    match effect {
        OriginalEffect::Keep => {}
        OriginalEffect::Void if held && original.state == PaymentState::Approved => {
            original.state = PaymentState::Voided;
        }
        OriginalEffect::Unvoid if held && original.state == PaymentState::Voided => {
            original.state = PaymentState::Approved;
        }
        OriginalEffect::Release if held => {
            if original.state == PaymentState::Voided {
                original.state = PaymentState::Approved;
            }
            original.claimed_by = None;
        }
        OriginalEffect::GiveBack(amount) => {
            original.refunded = original.refunded.minus(amount).unwrap_or(Amount::ZERO);
        }
        OriginalEffect::Void | OriginalEffect::Unvoid | OriginalEffect::Release => {}
    }
}

/// How many days back a refund may reach.
pub const REFUND_DAYS: i64 = 30;

/// Checks a void or refund against its original and, when the rules allow it, takes hold of it.
///
/// `same_card` compares keyed digests. Codes as in the terminal specification's host checks: 25 no such
/// original, 12 wrong kind or already undone, 64 amount, 22 too old.
pub fn take_hold(original: &mut PaymentRecord, by: &PaymentRecord) -> Result<(), ResponseCode> {
    let same_card = match (&original.card, &by.card) {
        (Some(a), Some(b)) => a.digest == b.digest,
        _ => false,
    };
    if original.merchant != by.merchant || !same_card {
        return Err(ResponseCode::NO_ORIGINAL);
    }
    let fits = match by.kind {
        Kind::SaleVoid => original.kind == Kind::Sale,
        Kind::Adjust | Kind::Tip => matches!(original.kind, Kind::Sale | Kind::OfflineSale),
        _ => matches!(original.kind, Kind::Sale | Kind::OfflineSale | Kind::OfflineChip),
    };
    if !fits {
        return Err(ResponseCode::INVALID_TRANSACTION);
    }
    match original.state {
        PaymentState::Approved => {}
        PaymentState::Voided => return Err(ResponseCode::INVALID_TRANSACTION),
        _ => return Err(ResponseCode::NO_ORIGINAL),
    }
    if original.claimed_by.is_some() {
        return Err(ResponseCode::INVALID_TRANSACTION);
    }
    match by.kind {
        Kind::SaleVoid => {
            if original.terminal != by.terminal || original.batch != by.batch {
                return Err(ResponseCode::NO_ORIGINAL);
            }
            if !original.refunded.is_zero() {
                return Err(ResponseCode::INVALID_TRANSACTION);
            }
            if original.total() != by.amount {
                return Err(ResponseCode::AMOUNT_DIFFERS);
            }
            original.claimed_by = Some(by.id);
            Ok(())
        }
        Kind::Refund => {
            let age = by.created.duration_since(original.created).as_hours() / 24;
            if age > REFUND_DAYS {
                return Err(ResponseCode::PAST_ALLOWED_DAYS);
            }
            // What the network does not know yet it cannot give back.
            let unknown = original.answer.as_ref().is_none_or(|answer| answer.settle_date.is_none());
            if original.kind.spec().told && unknown {
                return Err(ResponseCode::NO_ORIGINAL);
            }
            match original.refunded.plus(by.amount) {
                Some(sum) if sum <= original.total() => {
                    original.refunded = sum;
                    Ok(())
                }
                _ => Err(ResponseCode::AMOUNT_DIFFERS),
            }
        }
        Kind::Adjust | Kind::Tip => {
            if original.terminal != by.terminal || original.batch != by.batch {
                return Err(ResponseCode::NO_ORIGINAL);
            }
            if !original.refunded.is_zero() {
                return Err(ResponseCode::INVALID_TRANSACTION);
            }
            if by.kind == Kind::Tip && by.amount <= original.amount {
                return Err(ResponseCode::AMOUNT_DIFFERS);
            }
            original.adjusted = Some(by.amount);
            original.claimed_by = Some(by.id);
            Ok(())
        }
        _ => Err(ResponseCode::INVALID_TRANSACTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::{EntryMode, Pan};
    use crate::ids::{BatchNo, MerchantId, Rrn, TerminalId, Trace};
    use crate::payment::{CardRecord, NetworkKey};
    use proptest::prelude::*;

    fn payment(id: i64, kind: Kind, state: PaymentState) -> PaymentRecord {
        PaymentRecord {
            id: PaymentId(id),
            merchant: MerchantId::new("898100000000001").unwrap(),
            terminal: TerminalId::new("10000001").unwrap(),
            batch: BatchNo::FIRST,
            trace: Trace::new(id as u64).unwrap(),
            kind,
            state,
            amount: Amount::from_fen(10_000).unwrap(),
            adjusted: None,
            currency: 156,
            card: Some(CardRecord {
                masked: Pan::new("6224242000000021").unwrap().masked(),
                digest: [7; 32],
                sealed: vec![],
            }),
            expiry: None,
            entry_mode: EntryMode::new(21).unwrap(),
            card_sequence: None,
            condition: 0,
            terminal_traits: [5, 0, 0],
            request_digest: [0; 32],
            line: "unionpay".into(),
            network: NetworkKey { trace: 1, transmission: 1_124_101_500 },
            rrn: Rrn::new("112400000001").unwrap(),
            original: None,
            claimed_by: None,
            refunded: Amount::ZERO,
            answer: None,
            reversal_reason: None,
            created: "2026-11-24T02:15:00Z".parse().unwrap(),
        }
    }

    fn answer(code: ResponseCode) -> Answer {
        Answer::own(code, "2026-11-24T02:15:01Z".parse().unwrap())
    }

    /// Applies the change as the store does.
    fn apply(payment: &mut PaymentRecord, original: Option<&mut PaymentRecord>, event: Event) -> Change {
        let change = on_event(payment, event);
        payment.state = change.state;
        if let Some(original) = original {
            on_original(original, payment.id, change.original);
        }
        change
    }

    #[test]
    fn a_late_answer_never_flips_a_reversed_payment() {
        for state in [PaymentState::Reversing, PaymentState::Reversed] {
            let mut sale = payment(1, Kind::Sale, state);
            let change = apply(&mut sale, None, Event::Answered(answer(ResponseCode::APPROVED)));
            assert_eq!((change.state, change.reception), (state, Reception::Late));
            assert!(change.answer.is_none());
        }
    }

    #[test]
    fn unknown_means_reversed_but_a_refund_is_repeated_and_a_balance_forgotten() {
        let after = |kind| {
            let change = on_event(
                &payment(1, kind, PaymentState::Pending),
                Event::NoAnswer(answer(ResponseCode::TIMEOUT)),
            );
            (change.state, change.forward)
        };
        assert_eq!(after(Kind::Sale), (PaymentState::Reversing, Some(Forward::Reversal)));
        assert_eq!(after(Kind::SaleVoid), (PaymentState::Reversing, Some(Forward::Reversal)));
        assert_eq!(after(Kind::Refund), (PaymentState::Unresolved, Some(Forward::Repeat)));
        assert_eq!(after(Kind::Balance), (PaymentState::Declined, None));
    }

    #[test]
    fn a_void_holds_voids_and_frees_its_original() {
        let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
        let mut void = payment(2, Kind::SaleVoid, PaymentState::Pending);
        take_hold(&mut sale, &void).unwrap();
        // A second void while the first is under way.
        let second = payment(3, Kind::SaleVoid, PaymentState::Pending);
        assert_eq!(take_hold(&mut sale, &second), Err(ResponseCode::INVALID_TRANSACTION));

        apply(&mut void, Some(&mut sale), Event::Answered(answer(ResponseCode::APPROVED)));
        assert_eq!(sale.state, PaymentState::Voided);
        // The terminal did not hear it and reverses the void: the sale counts again, held until acknowledged.
        apply(&mut void, Some(&mut sale), Event::CancelRequested(ResponseCode::NO_ANSWER));
        assert_eq!((sale.state, sale.claimed_by), (PaymentState::Approved, Some(void.id)));
        assert_eq!(take_hold(&mut sale, &second), Err(ResponseCode::INVALID_TRANSACTION));
        apply(&mut void, Some(&mut sale), Event::ReversalDone);
        assert_eq!((void.state, sale.claimed_by), (PaymentState::Reversed, None));
        take_hold(&mut sale, &second).unwrap();
    }

    #[test]
    fn refunds_take_at_most_what_is_left_and_give_back_when_declined() {
        let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
        let mut first = payment(2, Kind::Refund, PaymentState::Pending);
        first.amount = Amount::from_fen(6_000).unwrap();
        take_hold(&mut sale, &first).unwrap();
        let second = PaymentRecord { id: PaymentId(3), ..first.clone() };
        assert_eq!(take_hold(&mut sale, &second), Err(ResponseCode::AMOUNT_DIFFERS));
        apply(&mut first, Some(&mut sale), Event::Answered(answer(ResponseCode::ISSUER_DOWN)));
        take_hold(&mut sale, &second).unwrap();
        assert_eq!(sale.refunded.fen(), 6_000);
        // A refunded sale can be neither voided nor reversed.
        let void = payment(4, Kind::SaleVoid, PaymentState::Pending);
        assert_eq!(take_hold(&mut sale, &void), Err(ResponseCode::INVALID_TRANSACTION));
        let change = on_event(&sale, Event::CancelRequested(ResponseCode::NO_ANSWER));
        assert_eq!(change.reception, Reception::Refused(ResponseCode::INVALID_TRANSACTION));
    }

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

    #[test]
    fn the_original_must_fit() {
        let sale = payment(1, Kind::Sale, PaymentState::Approved);
        let void = payment(2, Kind::SaleVoid, PaymentState::Pending);
        let hold = |edit: fn(&mut PaymentRecord, &mut PaymentRecord)| {
            let (mut sale, mut void) = (sale.clone(), void.clone());
            edit(&mut sale, &mut void);
            take_hold(&mut sale, &void)
        };
        assert_eq!(hold(|_, v| v.amount = Amount::from_fen(1).unwrap()), Err(ResponseCode::AMOUNT_DIFFERS));
        assert_eq!(hold(|_, v| v.batch = v.batch.next()), Err(ResponseCode::NO_ORIGINAL));
        assert_eq!(hold(|_, v| v.card.as_mut().unwrap().digest = [8; 32]), Err(ResponseCode::NO_ORIGINAL));
        assert_eq!(hold(|s, _| s.kind = Kind::Balance), Err(ResponseCode::INVALID_TRANSACTION));
        assert_eq!(hold(|s, _| s.state = PaymentState::Reversing), Err(ResponseCode::NO_ORIGINAL));
        assert_eq!(hold(|s, _| s.state = PaymentState::Voided), Err(ResponseCode::INVALID_TRANSACTION));
        let old = |s: &mut PaymentRecord, v: &mut PaymentRecord| {
            v.kind = Kind::Refund;
            s.created = "2026-10-01T00:00:00Z".parse().unwrap();
        };
        assert_eq!(hold(old), Err(ResponseCode::PAST_ALLOWED_DAYS));
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Answered(answer(ResponseCode::APPROVED))),
            Just(Event::Answered(answer(ResponseCode::INSUFFICIENT_FUNDS))),
            Just(Event::NoAnswer(answer(ResponseCode::TIMEOUT))),
            Just(Event::NotSent(answer(ResponseCode::NO_ROUTE))),
            Just(Event::CancelRequested(ResponseCode::NO_ANSWER)),
            Just(Event::ReversalDone),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a payment is queued for reversal at most once, never leaves
        /// the way to Reversed, and a void's original is voided exactly while the void is approved.
        #[test]
        fn any_order_of_events_ends_consistent(events in prop::collection::vec(event(), 0..12), void: bool) {
            let kind = if void { Kind::SaleVoid } else { Kind::Sale };
            let mut sale = payment(1, Kind::Sale, PaymentState::Approved);
            let mut subject = payment(2, kind, PaymentState::Pending);
            if void {
                take_hold(&mut sale, &subject).unwrap();
            }
            let mut forwards = 0;
            let mut reversing = false;
            for event in events {
                let change = apply(&mut subject, Some(&mut sale), event);
                forwards += usize::from(change.forward.is_some());
                let now = matches!(subject.state, PaymentState::Reversing | PaymentState::Reversed);
                prop_assert!(!reversing || now, "left the way to Reversed");
                reversing = now;
                if void {
                    prop_assert_eq!(sale.state == PaymentState::Voided, subject.state == PaymentState::Approved);
                }
            }
            prop_assert!(forwards <= 1);
        }
    }
}
