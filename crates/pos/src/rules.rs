//! What an exchange does to the terminal, as a pure function: no socket, no disk, no clock.
//!
//! | what happened | pending reversal | sign-in forced |
//! |---|---|---|
//! | nothing was sent | dropped | no |
//! | no answer | stays, reason 98 | no |
//! | answer whose MTI or fields differ | stays, reason 06 | no |
//! | answer whose MAC is wrong or missing | stays, reason A0 | yes |
//! | approved, and the chip refused or was pulled | stays, reason 06 | no |
//! | any explicit field 39 | dropped | on 77, 99, A0 |

use serde::{Deserialize, Serialize};

use crate::codes;

/// Why a reversal is sent: field 39 of the 0400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// 98: no answer came. Also the reason a record is saved with before its request leaves.
    #[serde(rename = "98")]
    NoAnswer,
    /// 06: an answer came and could not be used.
    #[serde(rename = "06")]
    Unusable,
    /// A0: the answer's MAC was wrong.
    #[serde(rename = "A0")]
    MacWrong,
}

impl Reason {
    /// The two characters of field 39.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoAnswer => "98",
            Self::Unusable => "06",
            Self::MacWrong => "A0",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// No connection: not one byte left.
    NotSent,
    /// Sent, perhaps in part, and no answer came.
    NoAnswer,
    /// An answer came that does not fit the request.
    Unfitting,
    /// An answer came whose MAC is wrong, or that should have one and has none.
    MacWrong,
    /// An authentic answer with this field 39, and nothing against it.
    Answer(&'a str),
    /// An authentic approval that the chip did not confirm.
    ChipRefused,
}

/// What happens to the pending reversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalEffect {
    /// The record is deleted.
    Drop,
    /// The record stays, with this reason.
    Keep(Reason),
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// To the reversal record, when the transaction has one.
    pub reversal: ReversalEffect,
    /// Whether the terminal must sign in before anything else.
    pub sign_in: bool,
    /// Whether the transaction stands.
    pub approved: bool,
}

/// Decides what `event` does.
pub fn after(event: Event<'_>) -> Effect {
    let keep = |reason, sign_in| Effect { reversal: ReversalEffect::Keep(reason), sign_in, approved: false };
    match event {
        Event::NotSent => Effect { reversal: ReversalEffect::Drop, sign_in: false, approved: false },
        Event::NoAnswer => keep(Reason::NoAnswer, false),
        Event::Unfitting | Event::ChipRefused => keep(Reason::Unusable, false),
        Event::MacWrong => keep(Reason::MacWrong, true),
        Event::Answer(code) => Effect {
            reversal: ReversalEffect::Drop,
            sign_in: codes::forces_sign_in(code),
            approved: codes::approves(code),
        },
    }
}

/// What the answer to a reversal does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalStep {
    /// Reversed, or nothing to reverse: the record is deleted.
    Done,
    /// Not through; the record stays with its attempts counted.
    Again,
    /// Not through, and the last attempt allowed: the record is dropped and the operator told.
    GiveUp,
}

/// Decides what an attempt to reverse has come to. `attempts` counts this one.
pub fn after_reversal(event: Event<'_>, attempts: u32, allowed: u32) -> ReversalStep {
    match event {
        Event::Answer(code) if codes::REVERSAL_DONE.contains(&code) => ReversalStep::Done,
        // Nothing was sent, so nothing was tried: a line that is down must not use up the attempts.
        Event::NotSent => ReversalStep::Again,
        _ if attempts >= allowed => ReversalStep::GiveUp,
        _ => ReversalStep::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_reversal_table() {
        let keep = ReversalEffect::Keep;
        for (event, reversal, sign_in, approved) in [
            (Event::NotSent, ReversalEffect::Drop, false, false),
            (Event::NoAnswer, keep(Reason::NoAnswer), false, false),
            (Event::Unfitting, keep(Reason::Unusable), false, false),
            (Event::ChipRefused, keep(Reason::Unusable), false, false),
            (Event::MacWrong, keep(Reason::MacWrong), true, false),
            (Event::Answer("00"), ReversalEffect::Drop, false, true),
            (Event::Answer("51"), ReversalEffect::Drop, false, false),
            (Event::Answer("68"), ReversalEffect::Drop, false, false),
            (Event::Answer("98"), ReversalEffect::Drop, false, false),
            (Event::Answer("77"), ReversalEffect::Drop, true, false),
            (Event::Answer("99"), ReversalEffect::Drop, true, false),
            (Event::Answer("A0"), ReversalEffect::Drop, true, false),
            (Event::Answer("ZZ"), ReversalEffect::Drop, false, false),
        ] {
            assert_eq!(after(event), Effect { reversal, sign_in, approved }, "{event:?}");
        }
        for code in ["10", "11", "A2", "A4", "A5", "A6"] {
            assert!(after(Event::Answer(code)).approved, "{code}");
        }
    }

    #[test]
    fn a_reversal_ends_by_success_or_by_its_attempts() {
        for code in ["00", "12", "25"] {
            assert_eq!(after_reversal(Event::Answer(code), 3, 3), ReversalStep::Done);
        }
        assert_eq!(after_reversal(Event::NoAnswer, 1, 3), ReversalStep::Again);
        assert_eq!(after_reversal(Event::Answer("96"), 2, 3), ReversalStep::Again);
        assert_eq!(after_reversal(Event::NoAnswer, 3, 3), ReversalStep::GiveUp);
        assert_eq!(after_reversal(Event::NotSent, 9, 3), ReversalStep::Again);
    }
}
