//! Progress for callers that listen. Events are hints; only the response and a query are truth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{RequestId, Text, Version};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Progress {
    /// It is journaled and begins.
    Accepted,
    /// The cashier chooses how to pay.
    ChooseMethod,
    /// The terminal waits for a card.
    WaitCard,
    /// A card was read.
    CardRead,
    /// The terminal waits for a PIN.
    EnterPin,
    /// The request is on its way to the acquirer.
    Online,
    /// A code is shown to the payer.
    ShowCode,
    /// The payer confirms on a device of his own.
    WaitPayer,
    /// A reversal is on its way.
    Reversing,
    /// A slip is printed.
    Printing,
    /// The result is there.
    Done,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Version.
    pub v: Version,
    /// Of which request.
    pub request_id: RequestId,
    /// How far it is.
    pub event: Progress,
    /// With `card_read`: the card number, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 19))]
    pub masked_pan: Option<receipt::MaskedPan>,
    /// With `show_code`: what the code says, for a display of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Text<512>>,
    /// A line for a display, in the caller's language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text<128>>,
}
