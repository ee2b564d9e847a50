//! The rules of the state machine, one by one, and any order of events.

use super::*;
use crate::card::{EntryMode, Pan};
use crate::ids::{BatchNo, MerchantId, Rrn, TerminalId, Trace};
use crate::payment::{CardRecord, NetworkKey};
use proptest::prelude::*;

pub(crate) fn payment(id: i64, kind: Kind, state: PaymentState) -> PaymentRecord {
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
        reversed_on: None,
        limited: false,
        foreign: false,
        created: "2026-11-24T02:15:00Z".parse().unwrap(),
    }
}

pub(crate) fn answer(code: ResponseCode) -> Answer {
    Answer::own(code, "2026-11-24T02:15:01Z".parse().unwrap())
}

/// Applies the change as the store does.
pub(crate) fn apply(
    payment: &mut PaymentRecord,
    original: Option<&mut PaymentRecord>,
    event: Event,
) -> Change {
    let change = on_event(payment, event);
    payment.state = change.state;
    if let Some(original) = original {
        on_original(original, payment.id, change.original);
    }
    change
}

/// A merchant's world of one pre-authorisation and what terminals make of it, as the store runs the machine:
/// originals by number, the original's original when a completion is voided.
struct World(Vec<PaymentRecord>);

impl World {
    fn preauth(events: &[Event]) -> World {
        let mut world = World(vec![payment(1, Kind::Preauth, PaymentState::Pending)]);
        world.event(1, Event::Answered(answer(ResponseCode::APPROVED)));
        for event in events {
            world.event(1, event.clone());
        }
        world
    }

    fn get(&self, id: i64) -> &PaymentRecord {
        self.0.iter().find(|p| p.id.0 == id).unwrap()
    }

    fn edit(&mut self, id: PaymentId, change: impl FnOnce(&mut PaymentRecord)) {
        change(self.0.iter_mut().find(|p| p.id == id).unwrap());
    }

    fn begin(&mut self, kind: Kind, original: i64, fen: u64) -> Result<i64, ResponseCode> {
        let id = self.0.len() as i64 + 1;
        let mut record = payment(id, kind, PaymentState::Pending);
        record.amount = Amount::from_fen(fen).unwrap();
        record.original = Some(PaymentId(original));
        let mut held = self.get(original).clone();
        take_hold(&mut held, &record)?;
        self.edit(held.id, |p| *p = held.clone());
        self.0.push(record);
        Ok(id)
    }

    fn approved(&mut self, kind: Kind, original: i64, fen: u64) -> i64 {
        let id = self.begin(kind, original, fen).unwrap();
        self.event(id, Event::Answered(answer(ResponseCode::APPROVED)));
        id
    }

    fn event(&mut self, id: i64, event: Event) -> Change {
        let record = self.get(id).clone();
        let mut change = on_event(&record, event);
        let beyond =
            record.original.map(|o| self.get(o.0).clone()).and_then(|o| o.original.map(|p| (o.id, p)));
        if change.beyond == BeyondEffect::Retake
            && beyond.is_some_and(|(_, preauth)| !can_retake(self.get(preauth.0)))
        {
            change = Change::refuse_retake(&record);
        }
        self.edit(record.id, |p| p.state = change.state);
        if let Some(original) = record.original {
            self.edit(original, |p| on_original(p, record.id, change.original));
        }
        if let Some((completion, preauth)) = beyond {
            self.edit(preauth, |p| on_beyond(p, completion, change.beyond));
        }
        change
    }

    fn state(&self, id: i64) -> PaymentState {
        self.get(id).state
    }
}

#[test]
fn a_preauth_is_completed_once_within_its_bounds() {
    let mut world = World::preauth(&[]);
    assert_eq!(world.begin(Kind::Completion, 1, 11_501), Err(ResponseCode::OVER_LIMIT));
    let completion = world.begin(Kind::Completion, 1, 11_500).unwrap();
    assert_eq!(world.begin(Kind::CompletionAdvice, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    assert_eq!(world.begin(Kind::PreauthVoid, 1, 10_000), Err(ResponseCode::INVALID_TRANSACTION));
    world.event(completion, Event::Answered(answer(ResponseCode::APPROVED)));
    assert_eq!(world.state(1), PaymentState::Completed);
    assert_eq!(world.begin(Kind::Completion, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    assert_eq!(world.begin(Kind::PreauthVoid, 1, 10_000), Err(ResponseCode::INVALID_TRANSACTION));
    // What was completed can be paid back in parts, what was set aside cannot.
    assert_eq!(world.begin(Kind::Refund, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    world.begin(Kind::Refund, completion, 11_500).unwrap();
    assert_eq!(world.begin(Kind::Refund, completion, 1), Err(ResponseCode::AMOUNT_DIFFERS));
    assert_eq!(world.begin(Kind::CompletionVoid, completion, 11_500), Err(ResponseCode::INVALID_TRANSACTION));
}

#[test]
fn a_completion_that_comes_to_nothing_lets_its_preauth_go() {
    let mut world = World::preauth(&[]);
    let declined = world.begin(Kind::Completion, 1, 10_000).unwrap();
    world.event(declined, Event::Answered(answer(ResponseCode::INSUFFICIENT_FUNDS)));
    let reversed = world.approved(Kind::Completion, 1, 10_000);
    world.event(reversed, Event::CancelRequested(ResponseCode::NO_ANSWER));
    assert_eq!(world.state(1), PaymentState::Approved);
    // Held until the network has acknowledged, or it would be completed twice there.
    assert_eq!(world.begin(Kind::Completion, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    world.event(reversed, Event::ReversalDone(None));
    let advice = world.begin(Kind::CompletionAdvice, 1, 10_000).unwrap();
    let silence = world.event(advice, Event::NoAnswer(answer(ResponseCode::TIMEOUT)));
    assert_eq!((silence.state, silence.forward), (PaymentState::Unresolved, Some(Forward::Repeat)));
    assert_eq!(world.begin(Kind::Completion, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    world.event(advice, Event::Answered(answer(ResponseCode::APPROVED)));
    assert_eq!(world.state(1), PaymentState::Completed);
}

#[test]
fn a_voided_completion_gives_its_preauth_back_and_a_reversed_void_takes_it_again() {
    let mut world = World::preauth(&[]);
    let completion = world.approved(Kind::Completion, 1, 10_000);
    let void = world.approved(Kind::CompletionVoid, completion, 10_000);
    assert_eq!((world.state(completion), world.state(1)), (PaymentState::Voided, PaymentState::Approved));
    // The terminal did not hear of the void.
    world.event(void, Event::CancelRequested(ResponseCode::NO_ANSWER));
    assert_eq!((world.state(completion), world.state(1)), (PaymentState::Approved, PaymentState::Completed));
    assert_eq!(world.begin(Kind::Completion, 1, 1), Err(ResponseCode::INVALID_TRANSACTION));
    world.event(void, Event::ReversalDone(None));
    let void = world.approved(Kind::CompletionVoid, completion, 10_000);
    // Another completion took the pre-authorisation meanwhile: the void can no longer be undone.
    let other = world.approved(Kind::Completion, 1, 5_000);
    let change = world.event(void, Event::CancelRequested(ResponseCode::NO_ANSWER));
    assert_eq!(change.reception, Reception::Refused(ResponseCode::INVALID_TRANSACTION));
    assert_eq!((world.state(void), world.state(other)), (PaymentState::Approved, PaymentState::Approved));
    assert_eq!(world.get(1).claimed_by, Some(PaymentId(other)));
}

#[test]
fn what_is_completed_or_being_completed_is_not_reversed() {
    let mut world = World::preauth(&[]);
    let completion = world.begin(Kind::Completion, 1, 10_000).unwrap();
    let cancel = || Event::CancelRequested(ResponseCode::NO_ANSWER);
    let refused = Reception::Refused(ResponseCode::INVALID_TRANSACTION);
    assert_eq!(world.event(1, cancel()).reception, refused);
    world.event(completion, Event::Answered(answer(ResponseCode::APPROVED)));
    assert_eq!(world.event(1, cancel()).reception, refused);
    let late = World::preauth(&[cancel()]);
    assert_eq!(late.state(1), PaymentState::Reversing);
    let mut old = World::preauth(&[]);
    old.edit(PaymentId(1), |p| p.created = "2026-10-01T00:00:00Z".parse().unwrap());
    assert_eq!(old.begin(Kind::Completion, 1, 1), Err(ResponseCode::PAST_ALLOWED_DAYS));
    old.begin(Kind::PreauthVoid, 1, 10_000).unwrap();
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
    apply(&mut void, Some(&mut sale), Event::ReversalDone(None));
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
        Just(Event::ReversalDone(None)),
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

    /// Whatever terminals begin and whatever becomes of it, of one pre-authorisation: at most one completion
    /// is in force or under way, the pre-authorisation is completed exactly while one is approved, it is
    /// never both voided and completed, and refunds never exceed what was taken.
    #[test]
    fn money_is_taken_once_from_a_preauth(steps in prop::collection::vec((0u8..6, 0usize..8, event()), 0..60)) {
        let mut world = World::preauth(&[]);
        for (what, place, event) in steps {
            let target = world.0[place % world.0.len()].id.0;
            let kind = [Kind::Completion, Kind::CompletionAdvice, Kind::PreauthVoid, Kind::CompletionVoid, Kind::Refund];
            match kind.get(usize::from(what)) {
                Some(kind) => {
                    let fen = world.get(target).amount.fen() / if *kind == Kind::Refund { 2 } else { 1 };
                    let _refused = world.begin(*kind, target, fen);
                }
                None => {
                    world.event(target, event);
                }
            }
            let of = |kinds: &[Kind], states: &[PaymentState]| {
                world.0.iter().filter(|p| kinds.contains(&p.kind) && states.contains(&p.state)).count()
            };
            let completions = [Kind::Completion, Kind::CompletionAdvice];
            use PaymentState::{Approved, Completed, Pending, Reversing, Unresolved, Voided};
            let live = of(&completions, &[Pending, Unresolved, Approved, Reversing]);
            prop_assert!(live <= 1, "{live} completions");
            let taken = of(&completions, &[Approved]);
            prop_assert_eq!(world.state(1) == Completed, taken == 1);
            prop_assert_eq!(world.state(1) == Voided, of(&[Kind::PreauthVoid], &[Approved]) == 1);
            for completion in world.0.iter().filter(|p| completions.contains(&p.kind)) {
                let refunds = world.0.iter().filter(|p| p.kind == Kind::Refund && p.original == Some(completion.id));
                let back: u64 = refunds.filter(|p| matches!(p.state, Pending | Approved | Unresolved))
                    .map(|p| p.amount.fen()).sum();
                prop_assert_eq!(back, completion.refunded.fen());
                prop_assert!(back <= completion.amount.fen());
                prop_assert!(back == 0 || completion.state == Approved);
            }
        }
    }
}

/// An approval in part stands when the sale's terminal takes it; else what the network took goes back, and nothing is sold.
#[test]
fn a_part_is_taken_or_given_back() {
    let fen = |fen| Amount::from_fen(fen).unwrap();
    let answer = |code| Answer::own(code, "2026-11-24T02:15:00Z".parse().unwrap());
    let in_part = |payment: &PaymentRecord, part: Option<u64>| {
        on_event(payment, Event::AnsweredInPart(answer(ResponseCode::PARTIAL), part.map(fen)))
    };
    let takes =
        |kind, traits| PaymentRecord { terminal_traits: traits, ..payment(1, kind, PaymentState::Pending) };
    let sale = takes(Kind::Sale, [5, 0, 1]);
    assert_eq!(sale.amount, fen(10_000));
    let taken = in_part(&sale, Some(4_000));
    assert_eq!(
        (taken.state, taken.adjusted, taken.forward),
        (PaymentState::Approved, Some(fen(4_000)), None)
    );
    assert_eq!(taken.answer.unwrap().code, ResponseCode::PARTIAL);
    let whole = in_part(&takes(Kind::Sale, [5, 0, 0]), Some(10_000));
    assert_eq!((whole.state, whole.adjusted), (PaymentState::Approved, None), "it is no part");

    for (payment, part) in [
        (takes(Kind::Sale, [5, 0, 0]), Some(4_000)),
        (sale.clone(), None),
        (sale.clone(), Some(0)),
        (sale.clone(), Some(10_001)),
        (takes(Kind::Preauth, [5, 0, 1]), Some(4_000)),
        (takes(Kind::SaleVoid, [5, 0, 1]), Some(4_000)),
    ] {
        let back = in_part(&payment, part);
        assert_eq!(
            (back.state, back.forward),
            (PaymentState::Reversing, Some(Forward::Reversal)),
            "{part:?}"
        );
        assert_eq!(back.answer.map(|answer| answer.code), Some(ResponseCode::INSUFFICIENT_FUNDS));
        assert_eq!((back.adjusted, back.reversal_reason), (None, Some(ResponseCode::ERROR)));
    }
    // What has no reversal stands as it was asked for, and a late one changes nothing.
    let refund = payment(1, Kind::Refund, PaymentState::Pending);
    assert_eq!(in_part(&refund, Some(1)).state, PaymentState::Approved);
    let late = PaymentRecord { state: PaymentState::Reversing, ..sale.clone() };
    assert_eq!(in_part(&late, Some(4_000)).reception, Reception::Late);

    // It is voided and refunded by what was approved, and takes no tip.
    let stands = PaymentRecord {
        state: PaymentState::Approved,
        adjusted: Some(fen(4_000)),
        answer: Some(answer(ResponseCode::PARTIAL)),
        ..sale
    };
    let hold = |kind, amount| {
        let by = PaymentRecord { amount: fen(amount), ..payment(2, kind, PaymentState::Pending) };
        take_hold(&mut stands.clone(), &by)
    };
    assert_eq!(hold(Kind::SaleVoid, 10_000), Err(ResponseCode::AMOUNT_DIFFERS));
    assert_eq!(hold(Kind::SaleVoid, 4_000), Ok(()));
    assert_eq!(hold(Kind::Refund, 4_001), Err(ResponseCode::AMOUNT_DIFFERS));
    assert_eq!(hold(Kind::Refund, 4_000), Ok(()));
    assert_eq!(hold(Kind::Tip, 11_000), Err(ResponseCode::INVALID_TRANSACTION));
}
