//! When two bodies are the same: one digest over what they ask for.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::request::Request;

/// SHA-256 of a request's canonical form. In JSON hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", hex::encode(self.0))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        hex::encode(digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The digest of a request: SHA-256 over its JSON without `ui` (and the language in it) and without fields that are
/// absent or null, keys sorted, no white space, characters beyond ASCII as they are. Fields with a default are written
/// out, so that saying it and not saying it is the same.
pub fn digest(request: &Request) -> Digest {
    let mut asked = request.clone();
    asked.ui = None;
    // Absent and its default ask for the same.
    asked.currency = Some(request.currency.unwrap_or_default());
    asked.lock_method = Some(request.lock_method.unwrap_or(false));
    asked.print = Some(request.print.clone().unwrap_or_default());
    let mut text = String::new();
    // These types have no map with keys other than texts, so they always become a value.
    if let Ok(value) = serde_json::to_value(&asked) {
        write(&value, &mut text);
    }
    Digest(Sha256::digest(text.as_bytes()).into())
}

/// Canonical JSON of a value whose numbers are integers.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            // Sorted here, whatever order the map keeps. UTF-16 order, as RFC 8785 has it.
            let mut entries: Vec<(Vec<u16>, &String, &Value)> =
                map.iter().map(|(key, value)| (key.encode_utf16().collect(), key, value)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (at, (_, key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}
