//! The message type indicator.

use std::fmt;

/// Message type indicator as its decimal value: `Mti::new(200)` is 0200.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mti(u16);

impl Mti {
    /// From the decimal value, 0 to 9999. A larger value cannot be written (see
    /// [`BuildErrorKind::BadMti`](crate::BuildErrorKind::BadMti)).
    #[must_use]
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The decimal value: 200 for 0200.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The type that answers this one: request plus ten (0200 gives 0210, 0421 gives 0430).
    ///
    /// The last digit names the origin and the repeat; an answer to a repeat is the plain answer.
    #[must_use]
    pub const fn response(self) -> Self {
        Self((self.0 - self.0 % 10).saturating_add(10))
    }

    /// Whether this is the answer of a pair: the tens digit is odd.
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.0 / 10 % 2 == 1
    }
}

impl fmt::Display for Mti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

impl fmt::Debug for Mti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
