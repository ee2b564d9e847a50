//! A request: its fields, and how it is read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::CallCode;
use crate::kind::Kind;
use crate::values::{CallbackId, Currency, Fen, PayCode, RequestId, Text, Version};

/// Bytes of a request, at most: the largest legal one has a hundred goods.
pub const BODY_MAX: usize = 65_536;
/// Further lines on a slip, at most.
pub const EXTRA_LINES_MAX: usize = 20;
/// Goods of an order, at most.
pub const GOODS_MAX: usize = 100;
/// Bytes of the echoed extension, at most, keys and values.
pub const EXT_MAX: usize = 2_048;
/// Copies of a slip, at most.
pub const COPIES_MAX: u8 = 3;
/// How long a result page may stay, in milliseconds.
pub const RESULT_TIMEOUT_MAX_MS: u32 = 600_000;

/// A request. Fields that are not in this table are refused, so that a misspelt limit is not a missing one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Version of the messages.
    pub v: Version,
    /// The caller's own number of this request. The same number again is the same request.
    pub request_id: RequestId,
    /// What is asked for.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Amount in whole fen. Without the tip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Fen>,
    /// Tip in whole fen, of a sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip: Option<Fen>,
    /// Currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// How to pay; the cashier chooses where it is `any` or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pay_method: Option<PayMethod>,
    /// The method that is named may not be changed by the cashier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_method: Option<bool>,
    /// Pay code that the caller has scanned already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_code: Option<PayCode>,
    /// The caller's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// What it refers to: at least one key, and all that are given must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orig: Option<Orig>,
    /// What is printed, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<Print>,
    /// What the terminal shows. Not part of what makes two requests the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ui: Option<Ui>,
    /// Who else is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// Comes back in the response as it is. At most 2 KiB, keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<BTreeMap<String, String>>,
}

/// How to pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PayMethod {
    /// As the cashier chooses.
    Any,
    /// Card: stripe, chip or tap.
    Card,
    /// The payer's code is scanned (付款码).
    #[serde(rename = "scan_b2c")]
    ScanB2c,
    /// The payer scans a code that is shown (出示二维码).
    #[serde(rename = "scan_c2b")]
    ScanC2b,
    /// WeChat Pay, either way.
    Wechat,
    /// Alipay, either way.
    Alipay,
    /// UnionPay code, either way.
    UnionpayQr,
    /// Digital yuan.
    Ecny,
}

/// The caller's order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The caller's number of the order.
    pub order_no: Text<64>,
    /// What was bought, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desc: Option<Text<128>>,
    /// What was bought, item by item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = GOODS_MAX))]
    pub goods: Option<Vec<Goods>>,
    /// Who sold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_id: Option<Text<32>>,
    /// In which shop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<Text<32>>,
    /// At which table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_no: Option<Text<32>>,
}

/// An item of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Goods {
    /// Name.
    pub name: Text<64>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    /// Price of one, in whole fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Fen>,
}

/// What a request refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct Orig {
    /// The caller's number of the original request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The caller's number of its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_no: Option<Text<64>>,
    /// Trace number, six digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_no: Option<Text<6>>,
    /// Batch number, six digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_no: Option<Text<6>>,
    /// Reference number, twelve characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_no: Option<Text<12>>,
    /// Date, MMDD or YYYYMMDD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Text<8>>,
    /// The channel's order number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_order_no: Option<Text<64>>,
    /// Authorisation code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_no: Option<Text<6>>,
}

impl Orig {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where slips go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PrintMode {
    /// As the terminal is set.
    #[default]
    Default,
    /// Nothing is printed.
    None,
    /// The merchant's copy.
    Merchant,
    /// The cardholder's copy.
    Customer,
    /// Both copies.
    Both,
    /// Nothing is printed; the slip comes back in `receipt`.
    Caller,
}

/// What is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Print {
    /// Which copies, and where.
    #[serde(default)]
    pub mode: PrintMode,
    /// Further lines at the end of the slip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = EXTRA_LINES_MAX))]
    pub extra_lines: Vec<Text<64>>,
    /// A logo that was loaded beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_id: Option<CallbackId>,
    /// How many of each, 1 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = COPIES_MAX))]
    pub copies: Option<u8>,
}

/// What the terminal shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ui {
    /// No page to choose how to pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_method_page: Option<bool>,
    /// No page with the result: the caller shows its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_result_page: Option<bool>,
    /// How long the page with the result stays, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = RESULT_TIMEOUT_MAX_MS))]
    pub result_timeout_ms: Option<u32>,
    /// Whether the payer or the cashier may cancel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_cancel: Option<bool>,
    /// Language of what is shown and told, as `zh` or `en`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<Text<16>>,
}

/// Who else is told: ids of callbacks that were registered beforehand, never addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Where a web page goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h5_return: Option<CallbackId>,
    /// Which server hears the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_callback_id: Option<CallbackId>,
}

/// Why a request was not taken. It never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.number())]
pub struct Refusal {
    /// The call code.
    pub code: CallCode,
    /// Which field, as `order.order_no`.
    pub field: Option<String>,
    /// For the caller's programmer; names the field.
    pub message: String,
}

impl Refusal {
    /// A field that is missing or out of range.
    pub fn field(name: &str, what: &str) -> Self {
        Self { code: CallCode::BadField, field: Some(name.to_owned()), message: format!("{name}: {what}") }
    }

    /// A code with its own text.
    pub fn of(code: CallCode) -> Self {
        Self { code, field: None, message: code.row().en.to_owned() }
    }

    fn malformed(what: String) -> Self {
        Self { code: CallCode::Malformed, field: None, message: what }
    }
}

/// Reads a request and checks everything that can be checked without knowing the caller.
pub fn parse(body: &[u8]) -> Result<Request, Refusal> {
    if body.len() > BODY_MAX {
        return Err(Refusal::malformed(format!("more than {BODY_MAX} bytes")));
    }
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refusal::malformed("not a JSON object".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request: Request = serde_path_to_error::deserialize(&mut reader).map_err(explain)?;
    reader.end().map_err(|_| Refusal::malformed("something follows the object".to_owned()))?;
    check(&request)?;
    Ok(request)
}

/// The request id of a body that is otherwise refused, so that the refusal can name it.
pub fn request_id_of(body: &[u8]) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Named {
        request_id: RequestId,
    }
    let body = body.get(..BODY_MAX.min(body.len()))?;
    serde_json::from_slice::<Named>(body).ok().map(|named| named.request_id)
}

/// What the reader's error means to the caller. The reader's own text may repeat a value, and is not used but for the
/// names of fields.
fn explain(error: serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    let inner = error.inner();
    if !inner.is_data() {
        return Refusal::malformed(format!(
            "no JSON from line {}, column {} on",
            inner.line(),
            inner.column()
        ));
    }
    let text = inner.to_string();
    let named = |what: &str| {
        let name = text.strip_prefix(what)?.strip_prefix(" field `")?.split('`').next()?;
        let short: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        // The path leads to the field, or only to what it would stand in.
        let leads = path == short || path.ends_with(&format!(".{short}"));
        Some(match (path.as_str(), leads) {
            ("", _) => short,
            (_, true) => path.clone(),
            (_, false) => format!("{path}.{short}"),
        })
    };
    if let Some(name) = named("missing") {
        return Refusal::field(&name, "missing");
    }
    for (what, why) in [("unknown", "there is no such field"), ("duplicate", "the field is there twice")] {
        if let Some(name) = named(what) {
            let message = format!("{name}: {why}");
            return Refusal { code: CallCode::Malformed, field: Some(name), message };
        }
    }
    let last = path.rsplit('.').next().unwrap_or_default();
    let what = match last {
        "amount" | "tip" | "price" => {
            "an integer number of fen, without a decimal point, at most twelve digits"
        }
        _ => "of another type than it must be, or out of range",
    };
    if path.is_empty() { Refusal::malformed(what.to_owned()) } else { Refusal::field(&path, what) }
}

/// Rules between fields.
fn check(request: &Request) -> Result<(), Refusal> {
    let row = request.kind.row();
    let needs = |there: bool, name: &str| {
        if there { Ok(()) } else { Err(Refusal::field(name, &format!("missing: {} needs it", row.name))) }
    };
    needs(!row.amount || request.amount.is_some(), "amount")?;
    needs(!row.money || request.order.is_some(), "order")?;
    needs(!row.orig || request.orig.is_some(), "orig")?;
    if row.money && request.amount.is_some_and(|amount| amount.get() == 0) {
        return Err(Refusal::field("amount", "at least one fen"));
    }
    if let Some(tip) = request.tip {
        if request.kind != Kind::Sale {
            return Err(Refusal::field("tip", "only a sale has one"));
        }
        let total = tip.get().saturating_add(request.amount.map_or(0, Fen::get));
        Fen::new(total).map_err(|_| Refusal::field("tip", "above the largest amount with it"))?;
    }
    if let Some(order) = &request.order {
        if order.order_no.as_str().is_empty() {
            return Err(Refusal::field("order.order_no", "missing"));
        }
        if order.goods.as_ref().is_some_and(|goods| goods.len() > GOODS_MAX) {
            return Err(Refusal::field("order.goods", "more than a hundred"));
        }
    }
    if request.orig.as_ref().is_some_and(Orig::is_empty) {
        return Err(Refusal::field("orig", "names nothing"));
    }
    if let Some(print) = &request.print {
        if print.extra_lines.len() > EXTRA_LINES_MAX {
            return Err(Refusal::field("print.extra_lines", "more than twenty"));
        }
        if print.copies.is_some_and(|copies| !(1..=COPIES_MAX).contains(&copies)) {
            return Err(Refusal::field("print.copies", "one to three"));
        }
    }
    if request.kind == Kind::PrintText {
        needs(
            request.print.as_ref().is_some_and(|print| !print.extra_lines.is_empty()),
            "print.extra_lines",
        )?;
    }
    if request.ui.as_ref().and_then(|ui| ui.result_timeout_ms).is_some_and(|ms| ms > RESULT_TIMEOUT_MAX_MS) {
        return Err(Refusal::field("ui.result_timeout_ms", "at most ten minutes"));
    }
    if let Some(ext) = &request.ext
        && ext.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > EXT_MAX
    {
        return Err(Refusal::field("ext", "more than 2048 bytes"));
    }
    Ok(())
}
