//! A card's number as a terminal has it: the number, or no more of it than may be shown.

use std::fmt;

use zeroize::Zeroizing;

/// The number of a card. A terminal whose reader keeps numbers to itself (MPOS) has the masked form alone, and then the
/// tracks that it has are enciphered as well.
#[derive(Clone, PartialEq, Eq)]
pub enum CardNumber {
    /// The digits. Wiped when dropped.
    Clear(Zeroizing<String>),
    /// Known to the reader: at most the first six and the last four digits, stars between.
    Hidden(String),
}

impl CardNumber {
    /// The digits of a number.
    pub fn clear(digits: &str) -> Self {
        Self::Clear(Zeroizing::new(digits.to_owned()))
    }

    /// A number of which this is shown. `None` when it shows too much, or has no length that a number has: a reader that
    /// says such a thing must not be used.
    pub fn hidden(masked: &str) -> Option<Self> {
        let length = masked.len();
        let allowed = |(at, byte): (usize, u8)| match byte {
            b'*' => true,
            b'0'..=b'9' => at < 6 || at + 4 >= length,
            _ => false,
        };
        let good = (13..=19).contains(&length) && masked.bytes().enumerate().all(allowed);
        good.then(|| Self::Hidden(masked.to_owned()))
    }

    /// The digits, where they are known.
    pub fn digits(&self) -> Option<&str> {
        match self {
            Self::Clear(digits) => Some(digits.as_str()),
            Self::Hidden(_) => None,
        }
    }

    /// Whether the reader keeps it.
    pub const fn is_hidden(&self) -> bool {
        matches!(self, Self::Hidden(_))
    }

    /// For people: first six and last four with stars between; a text that is no number is stars alone.
    pub fn masked(&self) -> String {
        let digits = match self {
            Self::Hidden(masked) => return masked.clone(),
            Self::Clear(digits) => digits,
        };
        let length = digits.len();
        let number = (13..=19).contains(&length) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let shown = |at: usize| number && (at < 6 || at + 4 >= length);
        digits.chars().take(19).enumerate().map(|(at, c)| if shown(at) { c } else { '*' }).collect()
    }
}

impl fmt::Debug for CardNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardNumber({})", self.masked())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Neither form shows more than ten digits, whoever prints it.
    #[test]
    fn a_number_is_shown_masked_whether_it_is_known_or_not() {
        let known = CardNumber::clear("6224242000000013");
        assert_eq!(known.masked(), "622424******0013");
        assert_eq!(format!("{known:?}"), "CardNumber(622424******0013)");
        let kept = CardNumber::hidden("622424******0013").unwrap();
        assert_eq!((kept.digits(), kept.masked().as_str()), (None, "622424******0013"));
        assert_eq!(CardNumber::clear("12345678").masked(), "********");
    }

    /// A reader that gives more than may be shown is not believed.
    #[test]
    fn a_hidden_number_that_shows_too_much_is_none() {
        for text in
            ["6224242000000013", "6224242*****0013", "622424*****20013", "622424***0", "", "622424******001x"]
        {
            assert_eq!(CardNumber::hidden(text), None, "{text}");
        }
    }
}
