//! Values with limits: what a field may hold is checked where it is read, and stands in the schema from the same
//! constants.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The largest amount that field 4 of a terminal's message holds: twelve digits.
pub const FEN_MAX: u64 = 999_999_999_999;

/// What a value may not be. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Too short or too long.
    #[error("too short or too long")]
    Length,
    /// A character that has no place in it.
    #[error("a character that may not stand here")]
    Character,
    /// Above what an amount can be.
    #[error("above the largest amount")]
    Amount,
}

/// An amount in whole fen, 0 to 999 999 999 999. In JSON an integer: a number with a decimal point or an exponent, or a
/// text, is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Fen(u64);

impl Fen {
    /// An amount.
    pub const fn new(fen: u64) -> Result<Self, ValueError> {
        if fen <= FEN_MAX { Ok(Self(fen)) } else { Err(ValueError::Amount) }
    }

    /// In fen.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Fen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;
        impl de::Visitor<'_> for Whole {
            type Value = Fen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer number of fen")
            }

            fn visit_u64<E: de::Error>(self, fen: u64) -> Result<Fen, E> {
                Fen::new(fen).map_err(E::custom)
            }
        }
        deserializer.deserialize_u64(Whole)
    }
}

impl JsonSchema for Fen {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Fen".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": FEN_MAX })
    }
}

/// A newtype of a string with a rule, a schema and a conversion from text.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $least:expr, $most:expr, $allowed:expr, $pattern:expr, $debug:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text that keeps the rule.
            pub fn new(text: &str) -> Result<Self, ValueError> {
                let allowed: fn(char) -> bool = $allowed;
                if !($least..=$most).contains(&text.chars().count()) {
                    return Err(ValueError::Length);
                }
                if !text.chars().all(allowed) {
                    return Err(ValueError::Character);
                }
                Ok(Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn(&str) -> &str = $debug;
                write!(f, "{}({})", stringify!($name), show(&self.0))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "minLength": $least, "maxLength": $most, "pattern": $pattern })
            }
        }
    };
}

/// Printable ASCII but the space.
fn visible(c: char) -> bool {
    c.is_ascii_graphic()
}

text_type!(
    /// A caller's own number of a request: 1 to 32 printable ASCII characters.
    RequestId, 1, 32, visible, "^[!-~]+$", |id| id
);
text_type!(
    /// A pay code that a till has scanned already: 1 to 128 printable ASCII characters. It is worth money for a minute, so
    /// no log shows it.
    PayCode, 1, 128, visible, "^[!-~]+$", |_| "hidden"
);
text_type!(
    /// The id of a callback that was registered beforehand; never an address.
    CallbackId, 1, 64, |c| c.is_ascii_alphanumeric() || c == '_' || c == '-', "^[A-Za-z0-9_-]+$", |id| id
);
text_type!(
    /// Who calls, as the broker has authenticated it: package and signer, a till's pairing, a web caller's credential. It
    /// never comes out of a message.
    CallerId, 1, 128, visible, "^[!-~]+$", |id| id
);

/// A text of at most `MAX` characters, none of them a control character.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes a text that keeps the rule.
    pub fn new(text: &str) -> Result<Self, ValueError> {
        if text.chars().count() > MAX {
            return Err(ValueError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(ValueError::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        Self::new(&text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX, "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$" })
    }
}

/// The version of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Version {
    /// The one there is.
    #[default]
    #[serde(rename = "1.0")]
    V1,
}

/// The currency: 156, Chinese yuan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Currency {
    /// Yuan (ISO 4217, numeric).
    #[default]
    #[serde(rename = "156")]
    Cny,
}
