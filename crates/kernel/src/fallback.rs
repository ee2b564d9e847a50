//! When a swipe may stand for a chip. A pure table: the fraud of the field goes through this door.

use crate::step::{Other, StepKind};

/// Seconds for which a swipe is accepted after [`StepKind::Fallback`].
pub const SWIPE_SECONDS: u16 = 60;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A swipe with this service code, and no try of the chip yet.
    SwipeFirst {
        /// Service code of the stripe.
        service_code: [u8; 3],
    },
    /// No answer to reset, a failing protocol, a mute chip: so many tries in a row.
    Unreadable {
        /// Tries so far, this one included.
        tries: u8,
    },
    /// Card and terminal share no application.
    NoCommonApplication,
    /// 6A81 or 6283.
    Blocked,
    /// Anything after the card has said something about the payment: a cryptogram, a failed authentication, an expired
    /// card, a blocked PIN.
    ChipHasSpoken,
    /// A tap that failed.
    TapFailed {
        /// Whether the card has contacts, by its service code; unknown is no.
        has_contacts: bool,
    },
}

/// What the terminal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The stripe is read as an ordinary swipe.
    Swipe,
    /// Please insert the card.
    Insert,
    /// The stripe stands for the chip: 22 = 80x, 60.5 = 2.
    Fallback,
    /// Neither.
    Refuse,
}

/// Parameters of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Tries before a chip counts as unreadable.
    pub tries: u8,
    /// A card without a common application may be swiped.
    pub without_application: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { tries: 3, without_application: false }
    }
}

/// The table.
pub const fn rule(case: Case, rules: Rules) -> Ruling {
    match case {
        Case::SwipeFirst { service_code: [b'2' | b'6', _, _] } => Ruling::Insert,
        Case::SwipeFirst { .. } => Ruling::Swipe,
        Case::Unreadable { tries } if tries >= rules.tries => Ruling::Fallback,
        Case::Unreadable { .. } => Ruling::Insert,
        Case::NoCommonApplication if rules.without_application => Ruling::Fallback,
        Case::NoCommonApplication | Case::Blocked | Case::ChipHasSpoken => Ruling::Refuse,
        Case::TapFailed { has_contacts: true } => Ruling::Insert,
        Case::TapFailed { has_contacts: false } => Ruling::Swipe,
    }
}

impl Ruling {
    /// The step that says so.
    pub(crate) const fn step(self) -> Option<StepKind> {
        match self {
            Self::Swipe => Some(StepKind::TryOther(Other::Swipe)),
            Self::Insert => Some(StepKind::TryOther(Other::Contact)),
            Self::Fallback => Some(StepKind::Fallback),
            Self::Refuse => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row() {
        let usual = Rules::default();
        let lenient = Rules { without_application: true, ..usual };
        let rows = [
            (Case::SwipeFirst { service_code: *b"220" }, usual, Ruling::Insert),
            (Case::SwipeFirst { service_code: *b"601" }, usual, Ruling::Insert),
            (Case::SwipeFirst { service_code: *b"101" }, usual, Ruling::Swipe),
            (Case::Unreadable { tries: 1 }, usual, Ruling::Insert),
            (Case::Unreadable { tries: 2 }, usual, Ruling::Insert),
            (Case::Unreadable { tries: 3 }, usual, Ruling::Fallback),
            (Case::NoCommonApplication, usual, Ruling::Refuse),
            (Case::NoCommonApplication, lenient, Ruling::Fallback),
            (Case::Blocked, lenient, Ruling::Refuse),
            (Case::ChipHasSpoken, lenient, Ruling::Refuse),
            (Case::TapFailed { has_contacts: true }, usual, Ruling::Insert),
            (Case::TapFailed { has_contacts: false }, usual, Ruling::Swipe),
        ];
        for (case, rules, ruling) in rows {
            assert_eq!(rule(case, rules), ruling, "{case:?}");
        }
    }
}
