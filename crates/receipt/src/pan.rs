//! A card number as a slip may show it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Digits shown at the front, at most.
const FRONT_MAX: usize = 6;
/// Digits shown at the end, at most.
const BACK_MAX: usize = 4;
/// Digits of a card number (ISO/IEC 7812), fewest and most.
const DIGITS: std::ops::RangeInclusive<usize> = 12..=19;

/// A card number with at most its first six and last four digits, the rest as `*`. It cannot hold a whole number,
/// whatever it is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MaskedPan(String);

/// What is no masked card number. The text is not repeated: it may be a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PanError {
    /// Not a card number: 12 to 19 digits.
    #[error("a card number has 12 to 19 digits")]
    NoPan,
    /// More shown than the first six and the last four digits, or another form.
    #[error(
        "a masked card number is at most six digits, then only `*`, then at most four digits; 12 to 19 characters"
    )]
    NotMasked,
}

impl MaskedPan {
    /// Masks a whole card number: the first six and the last four digits stay.
    pub fn mask(pan: &str) -> Result<Self, PanError> {
        if !DIGITS.contains(&pan.len()) || !pan.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PanError::NoPan);
        }
        let back = pan.len() - BACK_MAX;
        let masked = pan
            .bytes()
            .enumerate()
            .map(|(at, digit)| if (FRONT_MAX..back).contains(&at) { '*' } else { char::from(digit) });
        Ok(Self(masked.collect()))
    }

    /// Takes a number that is masked already.
    pub fn parse(masked: &str) -> Result<Self, PanError> {
        let rest = masked.trim_start_matches(|c: char| c.is_ascii_digit());
        let back = rest.trim_start_matches('*');
        let good = DIGITS.contains(&masked.len())
            && masked.len() - rest.len() <= FRONT_MAX
            && back.len() <= BACK_MAX
            && back.bytes().all(|b| b.is_ascii_digit());
        if good { Ok(Self(masked.to_owned())) } else { Err(PanError::NotMasked) }
    }

    /// Stars alone: there is a card, and nothing of its number may be shown.
    pub fn hidden() -> Self {
        Self("*".repeat(16))
    }

    /// The text: digits and `*`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MaskedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MaskedPan {
    type Error = PanError;

    fn try_from(text: String) -> Result<Self, PanError> {
        Self::parse(&text)
    }
}

impl From<MaskedPan> for String {
    fn from(pan: MaskedPan) -> Self {
        pan.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_masked_to_its_first_six_and_last_four() {
        assert_eq!(MaskedPan::mask("6224240000000013").unwrap().as_str(), "622424******0013");
        assert_eq!(MaskedPan::mask("622424000000000013").unwrap().as_str(), "622424********0013");
        assert_eq!(MaskedPan::mask("12345678901"), Err(PanError::NoPan));
        assert_eq!(MaskedPan::mask("622424000000001x"), Err(PanError::NoPan));
    }

    #[test]
    fn more_than_six_and_four_is_refused_and_not_repeated() {
        let shown = [
            "6224240000000013",
            "6224240*****0013",
            "622424*****00013",
            "622424**1***0013",
            "卡号卡号卡号卡号",
        ];
        for text in shown {
            assert_eq!(MaskedPan::parse(text), Err(PanError::NotMasked), "{text}");
            assert!(!PanError::NotMasked.to_string().contains(text));
        }
        assert!(MaskedPan::parse("622424******").is_ok(), "less may be shown");
        assert!(serde_json::from_str::<MaskedPan>("\"6224240000000013\"").is_err());
    }

    proptest! {
        /// Whatever text is offered, what is held never has more than six digits in a row, nor ten in all.
        #[test]
        fn no_text_makes_it_hold_a_whole_number(text in "[0-9*]{0,24}") {
            for pan in [MaskedPan::parse(&text), MaskedPan::mask(&text)].into_iter().flatten() {
                let longest = pan.as_str().split('*').map(str::len).max().unwrap();
                prop_assert!(longest <= FRONT_MAX);
                prop_assert!(pan.as_str().bytes().filter(u8::is_ascii_digit).count() <= FRONT_MAX + BACK_MAX);
            }
        }
    }
}
