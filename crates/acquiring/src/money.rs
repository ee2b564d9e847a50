//! Money: whole fen, never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of money in fen (分, 1/100 yuan), never negative.
///
/// Field 4 carries twelve digits, so every amount is at most [`Amount::MAX`]. Which way the money flows is
/// told by the transaction, not by a sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(u64);

/// Why a text or number is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits, or more than two decimals.
    #[error("an amount is written like 12 or 12.34")]
    Malformed,
    /// More than twelve digits of fen.
    #[error("the amount is above 9,999,999,999.99")]
    TooLarge,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);
    /// The largest amount that twelve digits hold.
    pub const MAX: Amount = Amount(999_999_999_999);

    /// An amount of `fen`, when it fits twelve digits.
    pub const fn from_fen(fen: u64) -> Option<Amount> {
        if fen <= Self::MAX.0 { Some(Amount(fen)) } else { None }
    }

    /// The number of fen.
    pub const fn fen(self) -> u64 {
        self.0
    }

    /// True for nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, unless it is above [`Amount::MAX`].
    pub const fn plus(self, other: Amount) -> Option<Amount> {
        Amount::from_fen(self.0.saturating_add(other.0))
    }

    /// The difference, unless it is negative.
    pub const fn minus(self, other: Amount) -> Option<Amount> {
        match self.0.checked_sub(other.0) {
            Some(fen) => Some(Amount(fen)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    /// Yuan with two decimals, without a currency sign: `12.34`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads yuan with at most two decimals: `12`, `12.3`, `12.34`.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (yuan, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let dot_without_decimals = text.ends_with('.');
        if yuan.is_empty() || !digits(yuan) || !digits(decimals) || decimals.len() > 2 || dot_without_decimals
        {
            return Err(AmountError::Malformed);
        }
        let yuan: u64 = yuan.parse().map_err(|_| AmountError::TooLarge)?;
        let fen: u64 = match decimals.len() {
            0 => 0,
            1 => decimals.parse::<u64>().map_err(|_| AmountError::Malformed)? * 10,
            _ => decimals.parse().map_err(|_| AmountError::Malformed)?,
        };
        yuan.checked_mul(100)
            .and_then(|y| y.checked_add(fen))
            .and_then(Amount::from_fen)
            .ok_or(AmountError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_yuan() {
        assert_eq!("12.34".parse::<Amount>().unwrap().fen(), 1234);
        assert_eq!("12.3".parse::<Amount>().unwrap().fen(), 1230);
        assert_eq!("0".parse::<Amount>().unwrap(), Amount::ZERO);
        assert_eq!(Amount::from_fen(5).unwrap().to_string(), "0.05");
        for bad in ["", ".", "1.", ".5", "1.234", "-1", "1,00", "１", "1e3", "+1"] {
            assert_eq!(bad.parse::<Amount>(), Err(AmountError::Malformed), "{bad}");
        }
        assert_eq!("10000000000".parse::<Amount>(), Err(AmountError::TooLarge));
        assert_eq!("99999999999999999999999".parse::<Amount>(), Err(AmountError::TooLarge));
    }

    #[test]
    fn never_leaves_its_range() {
        assert_eq!(Amount::MAX.plus(Amount::from_fen(1).unwrap()), None);
        assert_eq!(Amount::ZERO.minus(Amount::from_fen(1).unwrap()), None);
    }

    proptest! {
        #[test]
        fn text_round_trips(fen in 0..=999_999_999_999u64) {
            let amount = Amount::from_fen(fen).unwrap();
            prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        }
    }
}
