//! Identifiers: each its own type, so that none can be taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {rule}")]
pub struct IdError {
    /// Which identifier was meant.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// A text identifier of at most `N` ASCII bytes, stored inline.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Checks and takes a text.
            pub fn new(text: &str) -> Result<Self, IdError> {
                let err = IdError { what: $what, rule: $rule };
                let bytes: [u8; $len] = text.as_bytes().try_into().map_err(|_| err)?;
                let check: fn(u8) -> bool = $check;
                if bytes.iter().all(|b| check(*b)) { Ok(Self(bytes)) } else { Err(err) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                // Only ASCII is ever stored.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// Merchant number 商户号, field 42: 15 letters or digits.
    MerchantId, 15, "a merchant number", "15 letters or digits", |b| b.is_ascii_alphanumeric()
);
text_id!(
    /// Terminal number 终端号, field 41: 8 letters or digits.
    TerminalId, 8, "a terminal number", "8 letters or digits", |b| b.is_ascii_alphanumeric()
);
text_id!(
    /// Retrieval reference number 检索参考号, field 37: 12 characters, set by the acquirer.
    Rrn, 12, "a reference number", "12 letters or digits", |b| b.is_ascii_alphanumeric()
);
text_id!(
    /// Authorisation code 授权码, field 38: 6 characters as the issuer gave them, spaces included.
    AuthCode, 6, "an authorisation code", "6 printable characters", |b| (0x20..0x7f).contains(&b)
);

/// Institution code 机构代码, fields 32, 33 and 100: up to 11 digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstitutionId(String);

impl InstitutionId {
    /// Checks and takes a code of 1 to 11 digits.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let good = (1..=11).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError { what: "an institution code", rule: "1 to 11 digits" })
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InstitutionId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

impl From<InstitutionId> for String {
    fn from(id: InstitutionId) -> String {
        id.0
    }
}

impl fmt::Display for InstitutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A six-digit counter from 000001 to 999999 that wraps.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u32);

        impl $name {
            /// The first number.
            pub const FIRST: Self = Self(1);

            /// Takes a number from 1 to 999999.
            pub fn new(number: u64) -> Result<Self, IdError> {
                match u32::try_from(number) {
                    Ok(n @ 1..=999_999) => Ok(Self(n)),
                    _ => Err(IdError { what: $what, rule: "a number from 000001 to 999999" }),
                }
            }

            /// The number.
            pub const fn get(self) -> u32 {
                self.0
            }

            /// The number after this one; 000001 follows 999999.
            pub const fn next(self) -> Self {
                if self.0 >= 999_999 { Self(1) } else { Self(self.0 + 1) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:06}", self.0)
            }
        }
    };
}

counter!(
    /// Terminal trace number 流水号 (凭证号), field 11 of the terminal dialect.
    Trace, "a trace number"
);
counter!(
    /// Batch number 批次号, field 60.2.
    BatchNo, "a batch number"
);

/// Number of a payment within this acquirer, from a durable sequence; never used twice.
///
/// The reference number and the trace number toward the network are derived from it, so that one number
/// explains the other two and a gap in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentId(pub i64);

impl PaymentId {
    /// The trace number 系统跟踪号 toward the network (field 11 of CUPS), 000001 to 999999.
    pub const fn network_trace(self) -> u32 {
        (self.0.rem_euclid(999_999)) as u32 + 1
    }

    /// The reference number of a payment made on the local day `mmdd` (for example 1124): the day and the
    /// last eight digits of the payment number.
    pub fn rrn(self, mmdd: u16) -> Rrn {
        let text = format!("{:04}{:08}", mmdd % 10_000, self.0.rem_euclid(100_000_000));
        let mut bytes = [b'0'; 12];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Rrn(bytes)
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_wrap_and_refuse_zero() {
        assert_eq!(Trace::new(999_999).unwrap().next(), Trace::FIRST);
        assert!(Trace::new(0).is_err());
        assert!(BatchNo::new(1_000_000).is_err());
        assert_eq!(BatchNo::new(7).unwrap().to_string(), "000007");
    }

    #[test]
    fn identifiers_check_length_and_alphabet() {
        assert_eq!(MerchantId::new("898100000000001").unwrap().as_str(), "898100000000001");
        assert!(MerchantId::new("89810000000001").is_err());
        assert!(TerminalId::new("1000 001").is_err());
        assert!(InstitutionId::new("123456789012").is_err());
        assert!(InstitutionId::new("").is_err());
        assert_eq!(AuthCode::new("12 456").unwrap().as_str(), "12 456");
    }

    #[test]
    fn network_numbers_come_from_the_payment_number() {
        assert_eq!(PaymentId(1).network_trace(), 2);
        assert_eq!(PaymentId(999_998).network_trace(), 999_999);
        assert_eq!(PaymentId(999_999).network_trace(), 1);
        assert_eq!(PaymentId(123).rrn(1124).as_str(), "112400000123");
    }
}
