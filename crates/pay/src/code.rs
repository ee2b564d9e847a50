//! What became of a call: numbers inside fixed ranges.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What became of the call, apart from what became of the trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
#[repr(u16)]
#[allow(missing_docs)] // The table says what each means.
pub enum CallCode {
    Handled = 0,
    Malformed = 101,
    BadField = 102,
    OtherBody = 103,
    Expired = 104,
    NoOriginal = 105,
    AboveOriginal = 106,
    CallerUnknown = 201,
    TypeNotGranted = 202,
    MethodNotGranted = 203,
    AboveGrant = 204,
    BaselineBlocks = 205,
    TerminalLocked = 206,
    Busy = 301,
    InProgress = 302,
    Settling = 303,
    NotSignedIn = 304,
    ReversalPending = 305,
    Cancelled = 401,
    TimedOut = 402,
    SupervisorDeclined = 403,
    NoPaper = 501,
    Reader = 502,
    PinPad = 503,
    KeyMissing = 504,
    NotSent = 601,
    NoAnswer = 602,
    Internal = 901,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct CallCodeRow {
    /// Which.
    pub code: CallCode,
    /// For the caller's programmer.
    pub en: &'static str,
    /// For the person at the counter.
    pub zh: &'static str,
}

const fn row(code: CallCode, en: &'static str, zh: &'static str) -> CallCodeRow {
    CallCodeRow { code, en, zh }
}

/// Every code.
pub const CALL_CODES: [CallCodeRow; 28] = [
    row(CallCode::Handled, "call handled; the outcome tells of the trade", "调用完成"),
    row(CallCode::Malformed, "malformed: no JSON object of this form", "请求格式错误"),
    row(CallCode::BadField, "a field is missing or out of range; the message names it", "请求字段错误"),
    row(
        CallCode::OtherBody,
        "this id was used with another body; nothing was started",
        "请求号已用于其他内容",
    ),
    row(CallCode::Expired, "this id is older than results are kept; nothing was started", "请求号已过期"),
    row(CallCode::NoOriginal, "original not found", "原交易不存在"),
    row(CallCode::AboveOriginal, "amount above what is left of the original", "金额超过原交易"),
    row(CallCode::CallerUnknown, "caller unknown", "调用方未登记"),
    row(CallCode::TypeNotGranted, "this type is not granted to the caller", "未授权的交易类型"),
    row(CallCode::MethodNotGranted, "this payment method is not granted to the caller", "未授权的支付方式"),
    row(CallCode::AboveGrant, "amount above what is granted to the caller", "金额超过授权上限"),
    row(
        CallCode::BaselineBlocks,
        "the terminal's security baseline blocks trading",
        "终端安全基线不符, 禁止交易",
    ),
    row(CallCode::TerminalLocked, "terminal locked", "终端已锁定"),
    row(CallCode::Busy, "another trade is running", "有交易进行中"),
    row(CallCode::InProgress, "this request is running", "本请求处理中"),
    row(CallCode::Settling, "the terminal is settling", "结算中"),
    row(CallCode::NotSignedIn, "terminal not signed in", "终端未签到"),
    row(CallCode::ReversalPending, "a reversal is pending and cannot be delivered", "有冲正未上送成功"),
    row(CallCode::Cancelled, "cancelled by the user", "用户取消"),
    row(CallCode::TimedOut, "the user did not act in time", "操作超时"),
    row(CallCode::SupervisorDeclined, "declined by the supervisor", "主管拒绝"),
    row(CallCode::NoPaper, "no paper, and printing was what was asked for", "打印机缺纸"),
    row(CallCode::Reader, "card reader", "读卡器故障"),
    row(CallCode::PinPad, "PIN pad", "密码键盘故障"),
    row(CallCode::KeyMissing, "a key is missing", "密钥缺失"),
    row(
        CallCode::NotSent,
        "nothing was sent; the trade may be asked for again under a new id",
        "未发送, 可重试",
    ),
    row(CallCode::NoAnswer, "sent, and no answer: the outcome is unknown, query it", "已发送未应答, 请查询"),
    row(CallCode::Internal, "internal; the message has an incident number", "内部错误"),
];

impl CallCode {
    /// The number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its line of the table.
    pub fn row(self) -> &'static CallCodeRow {
        /// The last line: every code has its own, which a test shows.
        const LAST: &CallCodeRow = &CALL_CODES[27];
        CALL_CODES.iter().find(|row| row.code == self).unwrap_or(LAST)
    }
}

impl From<CallCode> for u16 {
    fn from(code: CallCode) -> Self {
        code.number()
    }
}

impl TryFrom<u16> for CallCode {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        let found = CALL_CODES.iter().find(|row| row.code.number() == number);
        found.map(|row| row.code).ok_or("no call code has this number")
    }
}

impl JsonSchema for CallCode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CallCode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": CALL_CODES.map(|row| row.code.number()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ranges are fixed: who sees a number knows whose fault it was.
    #[test]
    fn every_code_has_its_line_in_order_inside_its_range() {
        let numbers = CALL_CODES.map(|row| row.code.number());
        assert!(numbers.is_sorted() && numbers[0] == 0);
        for row in &CALL_CODES {
            assert_eq!(row.code.row().code, row.code);
            assert!([0, 1, 2, 3, 4, 5, 6, 9].contains(&(row.code.number() / 100)));
            assert_eq!(CallCode::try_from(row.code.number()), Ok(row.code));
        }
        assert_eq!(CallCode::Internal.number(), 901);
        assert!(CallCode::try_from(999).is_err());
    }
}
