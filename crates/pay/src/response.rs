//! A response: what became of the call, and what became of the trade.

use std::collections::BTreeMap;

use receipt::MaskedPan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::CallCode;
use crate::kind::Kind;
use crate::ledger::State;
use crate::request::{PayMethod, Refusal};
use crate::values::{Currency, Fen, RequestId};

/// How long a caller waits before it queries an unknown outcome, in milliseconds.
pub const QUERY_AFTER_MS: u32 = 3_000;

/// What became of the trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Outcome {
    /// The money moved.
    Approved,
    /// It did not, and will not.
    Declined,
    /// Nobody knows yet: the caller must query.
    Unknown,
    /// There is no trade: the type moves no money, or the call was refused before it was journaled.
    None,
}

/// Why a trade was declined before the acquirer could say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Reason {
    /// The user cancelled.
    Cancelled,
    /// The user did not act in time.
    TimedOut,
    /// The terminal went down before anything was sent.
    Interrupted,
    /// The chip refused.
    CardRefused,
    /// It was reversed.
    Reversed,
}

/// A response. A caller must pass over fields that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// What became of the call.
    pub call_code: CallCode,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_msg: Option<String>,
    /// What became of the trade.
    pub outcome: Outcome,
    /// Why it was declined, when the acquirer was not the one to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Field 39 or the channel's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp_code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resp_msg: Option<String>,
    /// The caller's number of the request; absent when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The caller's number of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_no: Option<String>,
    /// The platform's number of the trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<String>,
    /// What was asked for.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay_method_used: Option<PayMethod>,
    /// Amount in fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Fen>,
    /// What others paid of it, in fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<Fen>,
    /// Of a balance inquiry: what the card has available, in fen; below zero when it is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<i64>,
    /// What the merchant is owed, in fen, before fees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_amount: Option<Fen>,
    /// Currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Merchant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Merchant>,
    /// Terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// Operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Trace number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_no: Option<String>,
    /// Batch number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_no: Option<String>,
    /// Reference number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_no: Option<String>,
    /// Authorisation code; empty when the answer had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_no: Option<String>,
    /// When, RFC 3339 with the offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_time: Option<String>,
    /// When, as the slip has it: MMDDhhmmss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_time_local: Option<String>,
    /// Settlement date, MMDD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_date: Option<String>,
    /// Of a card payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Box<CardResult>>,
    /// Of a payment by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Box<Wallet>>,
    /// The slip, when the caller prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Receipt>>,
    /// What to do about an unknown outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<Recover>,
    /// With 302: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// With 301 and 303: the request that is running, when it is the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_request_id: Option<RequestId>,
    /// What the request had in `ext`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<BTreeMap<String, String>>,
}

/// Merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Merchant {
    /// Number.
    pub no: String,
    /// Name.
    pub name: String,
}

/// Terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terminal {
    /// Number.
    pub tid: String,
    /// Serial number of the device.
    pub sn: String,
}

/// Debit or credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum CardKind {
    /// 借记卡.
    Debit,
    /// 贷记卡.
    Credit,
}

/// How a card was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EntryMode {
    /// Magnetic stripe.
    Mag,
    /// Chip with contacts.
    Icc,
    /// Contactless.
    Rf,
    /// Magnetic stripe of a card whose chip could not be read.
    Fallback,
}

/// How the payer confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Cvm {
    /// PIN.
    Pin,
    /// Signature.
    Sign,
    /// On the payer's device.
    Cdcvm,
    /// Not at all.
    None,
}

/// A card payment: what a chip slip needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CardResult {
    /// First six and last four digits.
    #[schemars(with = "String", length(max = 19))]
    pub masked_pan: MaskedPan,
    /// Debit or credit, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CardKind>,
    /// Issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Acquirer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acquirer: Option<String>,
    /// How it was read.
    pub entry: EntryMode,
    /// Application identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aid: Option<String>,
    /// Application label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_label: Option<String>,
    /// Transaction certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tc: Option<String>,
    /// Authorisation request cryptogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arqc: Option<String>,
    /// Terminal verification results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tvr: Option<String>,
    /// Transaction status information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tsi: Option<String>,
    /// Application transaction counter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atc: Option<String>,
    /// Card sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psn: Option<String>,
    /// How the payer confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvm: Option<Cvm>,
}

/// A payment by code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wallet {
    /// Channel.
    pub channel: PayMethod,
    /// The channel's order number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_order_no: Option<String>,
    /// Payer, masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buyer_masked: Option<String>,
    /// Who paid what of the discount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<Discount>,
}

/// A part of a discount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discount {
    /// Name.
    pub name: String,
    /// In fen.
    pub amount: Fen,
}

/// The slip, for the caller's own printer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Lines of 32 columns.
    pub lines: Vec<String>,
    /// The whole as a PNG, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_png_b64: Option<String>,
    /// Where the signature is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_ref: Option<String>,
}

/// What helps with an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Hint {
    /// Ask again.
    Query,
    /// Undo it.
    Void,
    /// Nothing: it resolves itself.
    None,
}

/// What to do about an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recover {
    /// What.
    pub hint: Hint,
    /// Not before so many milliseconds.
    pub next_query_ms: u32,
}

impl Response {
    /// A response with a code and an outcome and nothing else.
    pub fn of(call_code: CallCode, outcome: Outcome, request_id: Option<RequestId>) -> Self {
        Self {
            call_code,
            call_msg: None,
            outcome,
            reason: None,
            resp_code: None,
            resp_msg: None,
            request_id,
            order_no: None,
            trade_id: None,
            kind: None,
            pay_method_used: None,
            amount: None,
            discount: None,
            balance: None,
            settle_amount: None,
            currency: None,
            merchant: None,
            terminal: None,
            operator: None,
            trace_no: None,
            batch_no: None,
            ref_no: None,
            auth_no: None,
            trade_time: None,
            trade_time_local: None,
            settle_date: None,
            card: None,
            wallet: None,
            receipt: None,
            recover: None,
            state: None,
            running_request_id: None,
            ext: None,
        }
    }

    /// A call that was not taken: there is no trade.
    pub fn refused(refusal: &Refusal, request_id: Option<RequestId>) -> Self {
        let call_msg = Some(refusal.message.clone());
        Self { call_msg, ..Self::of(refusal.code, Outcome::None, request_id) }
    }

    /// Sent, and no answer.
    pub fn unknown(request_id: RequestId) -> Self {
        let recover = Some(Recover { hint: Hint::Query, next_query_ms: QUERY_AFTER_MS });
        Self { recover, ..Self::of(CallCode::NoAnswer, Outcome::Unknown, Some(request_id)) }
    }

    /// The terminal went down before anything was sent.
    pub fn interrupted(request_id: RequestId, outcome: Outcome) -> Self {
        let reason = Some(Reason::Interrupted);
        Self { reason, ..Self::of(CallCode::NotSent, outcome, Some(request_id)) }
    }
}
