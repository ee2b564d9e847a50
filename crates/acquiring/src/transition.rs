//! The state machine of a payment: `(payment, event) → change`, and the rules between a payment and its
//! original. Pure: the store applies a change in the same transaction that reads the payment.

mod by_hand;

pub use by_hand::{Finding, agrees, approved, on_finding};

use crate::ids::PaymentId;
use crate::kind::{FoundBy, Hold, Kind, Unknown};
use crate::money::Amount;
use crate::payment::{Answer, PaymentRecord, PaymentState};
use crate::response_code::ResponseCode;

/// What happened to a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The network answered.
    Answered(Answer),
    /// The network approved a part (field 39 = 10), of which this is the amount, if it told one.
    AnsweredInPart(Answer, Option<Amount>),
    /// The network did not answer in time, or the node went down before an answer was durable.
    NoAnswer(Answer),
    /// The request did not leave us; the answer says why.
    NotSent(Answer),
    /// The terminal reverses it, with field 39 of its 0400.
    CancelRequested(ResponseCode),
    /// The network acknowledged the reversal, and settles it on this date, MMDD; none when it had nothing to reverse.
    ReversalDone(Option<u16>),
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

/// What a change does to the original of a void, refund or completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalEffect {
    /// Nothing.
    Keep,
    /// The void is good: the original becomes voided.
    Void,
    /// The completion is good: the pre-authorisation becomes completed.
    Complete,
    /// The void or completion is being reversed: the original is approved again, still held by it.
    Unvoid,
    /// The void or completion came to nothing: the original is free again.
    Release,
    /// The refund came to nothing: this much may be refunded again.
    GiveBack(Amount),
    /// The adjustment came to nothing: the original is free, and worth what it was before.
    Readjust(Option<Amount>),
}

/// What a change does to the original's own original: to the pre-authorisation, when a completion is voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeyondEffect {
    /// Nothing.
    Keep,
    /// The completion is voided: its pre-authorisation can be completed again.
    Release,
    /// The void is being reversed, so that the completion stands again and needs its pre-authorisation.
    Retake,
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
    /// The date on which the network settles the reversal, when it is done.
    pub reversed_on: Option<u16>,
    /// What the payment comes to, when the network approved a part of it.
    pub adjusted: Option<Amount>,
    /// What to queue toward the network, in the same transaction.
    pub forward: Option<Forward>,
    /// What happens to the original.
    pub original: OriginalEffect,
    /// What happens to the original's original, when the original takes its effect.
    pub beyond: BeyondEffect,
    /// How the event was received.
    pub reception: Reception,
}

impl Change {
    fn stay(payment: &PaymentRecord, reception: Reception) -> Self {
        Change {
            state: payment.state,
            answer: None,
            reversal_reason: None,
            reversed_on: None,
            adjusted: None,
            forward: None,
            original: OriginalEffect::Keep,
            beyond: BeyondEffect::Keep,
            reception,
        }
    }

    fn to(state: PaymentState) -> Self {
        Change {
            state,
            answer: None,
            reversal_reason: None,
            reversed_on: None,
            adjusted: None,
            forward: None,
            original: OriginalEffect::Keep,
            beyond: BeyondEffect::Keep,
            reception: Reception::Moved,
        }
    }

    /// The same event refused after all: the pre-authorisation that it needs back serves another completion.
    pub fn refuse_retake(payment: &PaymentRecord) -> Self {
        Change::stay(payment, Reception::Refused(ResponseCode::INVALID_TRANSACTION))
    }
}

/// Decides what an event does to a payment.
pub fn on_event(payment: &PaymentRecord, event: Event) -> Change {
    use PaymentState::{Approved, Completed, Declined, Pending, Reversed, Reversing, Unresolved, Voided};
    match (event, payment.state) {
        (Event::Answered(answer), Pending | Unresolved) => {
            let approved = answer.code.is_approval();
            Change {
                answer: Some(answer),
                original: if approved { effect_of_success(payment) } else { effect_of_failure(payment) },
                beyond: if approved && reaches_beyond(payment.kind) {
                    BeyondEffect::Release
                } else {
                    BeyondEffect::Keep
                },
                ..Change::to(if approved { Approved } else { Declined })
            }
        }
        (Event::AnsweredInPart(answer, part), Pending) if payment.kind.spec().unknown == Unknown::Reverse => {
            match part.filter(|part| takes_part(payment, *part)) {
                Some(part) => Change {
                    answer: Some(answer),
                    adjusted: Some(part).filter(|part| *part != payment.amount),
                    ..Change::to(Approved)
                },
                // The shop cannot sell a part, or the answer does not say how much it is: nothing is sold. What the network
                // has taken it gets back.
                None => Change {
                    answer: Some(Answer::own(ResponseCode::INSUFFICIENT_FUNDS, answer.at)),
                    reversal_reason: Some(ResponseCode::ERROR),
                    forward: Some(Forward::Reversal),
                    ..Change::to(Reversing)
                },
            }
        }
        (Event::AnsweredInPart(answer, _), _) => on_event(payment, Event::Answered(answer)),
        (Event::Answered(_), Reversing | Reversed) => Change::stay(payment, Reception::Late),
        (Event::Answered(_), Approved | Declined | Voided | Completed) => {
            Change::stay(payment, Reception::Repeated)
        }

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
        // A completion stands on it: to undo what was set aside would leave money taken without it.
        (Event::CancelRequested(_), Completed) => {
            Change::stay(payment, Reception::Refused(ResponseCode::INVALID_TRANSACTION))
        }
        (Event::CancelRequested(_), Approved) if payment.claimed_by.is_some() && in_a_chain(payment.kind) => {
            Change::stay(payment, Reception::Refused(ResponseCode::INVALID_TRANSACTION))
        }
        (Event::CancelRequested(reason), Pending | Approved) => {
            let took = payment.state == Approved
                && matches!(payment.kind.hold(), Some(Hold::Cancel | Hold::Complete));
            Change {
                reversal_reason: Some(reason),
                forward: Some(Forward::Reversal),
                original: if took { OriginalEffect::Unvoid } else { OriginalEffect::Keep },
                beyond: if took && reaches_beyond(payment.kind) {
                    BeyondEffect::Retake
                } else {
                    BeyondEffect::Keep
                },
                ..Change::to(Reversing)
            }
        }
        (Event::CancelRequested(_), Reversing | Reversed) => Change::stay(payment, Reception::Repeated),
        // A voided sale is undone already: a reversal on top would give the money back twice.
        (Event::CancelRequested(_), Declined | Voided | Unresolved) => {
            Change::stay(payment, Reception::NothingToUndo)
        }

        (Event::ReversalDone(reversed_on), Reversing) => {
            Change { original: effect_of_failure(payment), reversed_on, ..Change::to(Reversed) }
        }
        (Event::ReversalDone(_), _) => Change::stay(payment, Reception::Repeated),

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
                original: match payment.kind.hold() {
                    Some(Hold::Adjust) => OriginalEffect::Release,
                    _ => OriginalEffect::Keep,
                },
                ..Change::to(payment.state)
            }
        }
        (Event::Advised(_) | Event::ScriptTaken, _) => Change::stay(payment, Reception::Repeated),
    }
}

/// Whether a payment can be approved for this part of its amount. Modelled: a sale, when the terminal says in 60.6 that it
/// supports it; the specification has the code and the digit, and no list of transactions.
fn takes_part(payment: &PaymentRecord, part: Amount) -> bool {
    let whole = part == payment.amount;
    let [_, _, partial_approval] = payment.terminal_traits;
    let supported = payment.kind == Kind::Sale && partial_approval == 1;
    (whole || supported) && !part.is_zero() && part <= payment.amount
}

fn effect_of_success(payment: &PaymentRecord) -> OriginalEffect {
    match payment.kind.hold() {
        Some(Hold::Cancel) => OriginalEffect::Void,
        Some(Hold::Complete) => OriginalEffect::Complete,
        Some(Hold::Repay | Hold::Adjust) | None => OriginalEffect::Keep,
    }
}

fn effect_of_failure(payment: &PaymentRecord) -> OriginalEffect {
    match payment.kind.hold() {
        Some(Hold::Cancel | Hold::Complete) => OriginalEffect::Release,
        Some(Hold::Repay) => OriginalEffect::GiveBack(payment.amount),
        Some(Hold::Adjust) | None => OriginalEffect::Keep,
    }
}

/// Whether what it undoes stands on another itself: a void of completions.
fn reaches_beyond(kind: Kind) -> bool {
    kind.spec().stands_on.is_some_and(|on| {
        on.hold == Hold::Cancel && on.kinds.iter().any(|original| original.hold() == Some(Hold::Complete))
    })
}

/// Whether it is a pre-authorisation or a completion: what stands on it and what it stands on must agree.
fn in_a_chain(kind: Kind) -> bool {
    kind == Kind::Preauth || kind.hold() == Some(Hold::Complete)
}

/// Applies the effect of a void, refund or completion to its original. A payment that moved on meanwhile keeps
/// its state: only what the other itself had taken is given back.
pub fn on_original(original: &mut PaymentRecord, by: PaymentId, effect: OriginalEffect) {
    let held = original.claimed_by == Some(by);
    match effect {
        OriginalEffect::Keep => {}
        OriginalEffect::Void if held && original.state == PaymentState::Approved => {
            original.state = PaymentState::Voided;
        }
        OriginalEffect::Complete if held && original.state == PaymentState::Approved => {
            original.state = PaymentState::Completed;
        }
        OriginalEffect::Unvoid if held && is_used(original.state) => {
            original.state = PaymentState::Approved;
        }
        OriginalEffect::Release if held => {
            if is_used(original.state) {
                original.state = PaymentState::Approved;
            }
            original.claimed_by = None;
        }
        OriginalEffect::GiveBack(amount) => {
            original.refunded = original.refunded.minus(amount).unwrap_or(Amount::ZERO);
        }
        OriginalEffect::Readjust(before) if held => {
            original.adjusted = before;
            original.claimed_by = None;
        }
        OriginalEffect::Void
        | OriginalEffect::Complete
        | OriginalEffect::Unvoid
        | OriginalEffect::Readjust(_)
        | OriginalEffect::Release => {}
    }
}

const fn is_used(state: PaymentState) -> bool {
    matches!(state, PaymentState::Voided | PaymentState::Completed)
}

/// Whether a completion whose void is being reversed can have its pre-authorisation back.
pub fn can_retake(preauth: &PaymentRecord) -> bool {
    preauth.state == PaymentState::Approved && preauth.claimed_by.is_none()
}

/// Applies the effect to the pre-authorisation of the completion `by`, which is being voided or restored.
pub fn on_beyond(preauth: &mut PaymentRecord, by: PaymentId, effect: BeyondEffect) {
    match effect {
        BeyondEffect::Keep => {}
        BeyondEffect::Release => on_original(preauth, by, OriginalEffect::Release),
        BeyondEffect::Retake if can_retake(preauth) => {
            preauth.claimed_by = Some(by);
            preauth.state = PaymentState::Completed;
        }
        BeyondEffect::Retake => {}
    }
}

/// How many days back a refund may reach.
pub const REFUND_DAYS: i64 = 30;

/// How many days after a pre-authorisation it may be completed.
pub const COMPLETION_DAYS: i64 = 30;

/// How much of a pre-authorisation a completion may take, per cent.
pub const COMPLETION_PERCENT: u64 = 115;

/// Checks a void, refund or completion against its original and, when the rules allow it, takes hold of it.
///
/// Cards are compared by their keyed digests. Codes as in the terminal specification's host checks: 25 no such
/// original, 12 wrong kind or already undone or completed, 64 amount differs, 61 above what a completion may take,
/// 22 too old.
pub fn take_hold(original: &mut PaymentRecord, by: &PaymentRecord) -> Result<(), ResponseCode> {
    let rule = by.kind.spec().stands_on.ok_or(ResponseCode::INVALID_TRANSACTION)?;
    let same_card = match (&original.card, &by.card) {
        (Some(a), Some(b)) => a.digest == b.digest,
        _ => false,
    };
    if original.merchant != by.merchant || !same_card {
        return Err(ResponseCode::NO_ORIGINAL);
    }
    if !rule.kinds.contains(&original.kind) {
        return Err(ResponseCode::INVALID_TRANSACTION);
    }
    match original.state {
        PaymentState::Approved => {}
        PaymentState::Voided | PaymentState::Completed => return Err(ResponseCode::INVALID_TRANSACTION),
        _ => return Err(ResponseCode::NO_ORIGINAL),
    }
    if original.claimed_by.is_some() {
        return Err(ResponseCode::INVALID_TRANSACTION);
    }
    let days = by.created.duration_since(original.created).as_hours() / 24;
    match rule.hold {
        Hold::Cancel => {
            let same_place = original.terminal == by.terminal && original.batch == by.batch;
            if rule.found_by == FoundBy::Trace && !same_place {
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
        Hold::Complete => {
            if days > COMPLETION_DAYS {
                return Err(ResponseCode::PAST_ALLOWED_DAYS);
            }
            // Twelve digits times 115 fit easily.
            if by.amount.fen() * 100 > original.amount.fen() * COMPLETION_PERCENT {
                return Err(ResponseCode::OVER_LIMIT);
            }
            original.claimed_by = Some(by.id);
            Ok(())
        }
        Hold::Repay => {
            if days > REFUND_DAYS {
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
        Hold::Adjust => {
            if original.terminal != by.terminal || original.batch != by.batch {
                return Err(ResponseCode::NO_ORIGINAL);
            }
            // What was approved in part leaves nothing over for a tip or a larger sum (modelled).
            let in_part = original.answer.as_ref().is_some_and(|answer| answer.code == ResponseCode::PARTIAL);
            if !original.refunded.is_zero() || in_part {
                return Err(ResponseCode::INVALID_TRANSACTION);
            }
            if by.kind == Kind::Tip && by.amount <= original.amount {
                return Err(ResponseCode::AMOUNT_DIFFERS);
            }
            original.adjusted = Some(by.amount);
            original.claimed_by = Some(by.id);
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod told;
