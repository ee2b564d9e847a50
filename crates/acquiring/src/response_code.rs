//! Response codes 应答码, field 39: one table with display text and the terminal's action class.
//!
//! Source: the response-code annex as described in the field reference; texts are our own words.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A two-character response code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode([u8; 2]);

/// What a terminal does with a code: the action classes of the terminal specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A: success.
    Success,
    /// B: failed, may be tried again.
    Retry,
    /// C: failed, do not try again.
    Decline,
    /// D: failed, the operator must act.
    Operator,
    /// E: failed, system fault.
    Fault,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: ResponseCode,
    /// Text for the display, Chinese.
    pub zh: &'static str,
    /// Text for the display, English.
    pub en: &'static str,
    /// What the terminal does.
    pub action: Action,
}

macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident $code:literal $zh:literal $en:literal $action:ident; )*) => {
        impl ResponseCode {
            $( $(#[$doc])* pub const $name: ResponseCode = ResponseCode(*$code); )*
        }

        /// The whole table, in the order of the annex.
        pub static TABLE: &[CodeInfo] = &[
            $( CodeInfo { code: ResponseCode::$name, zh: $zh, en: $en, action: Action::$action }, )*
        ];
    };
}

codes! {
    /// Approved.
    APPROVED b"00" "交易成功" "approved" Success;
    /// Refer to issuer.
    REFER_TO_ISSUER b"01" "请持卡人联系发卡行" "call the issuer" Decline;
    /// Refer to issuer, special condition.
    REFER_SPECIAL b"02" "请联系发卡行" "call the issuer, special" Decline;
    /// Merchant unknown or closed.
    INVALID_MERCHANT b"03" "无效商户" "merchant unknown or closed" Decline;
    /// Pick up the card.
    PICK_UP b"04" "此卡被没收" "pick up the card" Operator;
    /// Authentication failed, do not honour.
    DO_NOT_HONOUR b"05" "持卡人认证失败" "do not honour" Decline;
    /// Error at the issuer; in a reversal request: the answer could not be used.
    ERROR b"06" "发卡行故障" "error at the issuer" Fault;
    /// Pick up, special condition.
    PICK_UP_SPECIAL b"07" "特殊条件没收卡" "pick up the card, special" Operator;
    /// In process.
    IN_PROCESS b"09" "处理中，请重试" "in process, try again" Retry;
    /// Approved for a part: field 4 of the answer is the amount.
    PARTIAL b"10" "部分批准" "approved in part" Success;
    /// Approved, VIP.
    APPROVED_VIP b"11" "成功（VIP）" "approved (VIP)" Success;
    /// Invalid transaction, or the original cannot be linked.
    INVALID_TRANSACTION b"12" "无效交易" "invalid transaction" Decline;
    /// Invalid amount.
    INVALID_AMOUNT b"13" "无效金额" "invalid amount" Retry;
    /// Invalid card number.
    INVALID_CARD b"14" "无效卡号" "invalid card number" Retry;
    /// No such issuer.
    NO_ISSUER b"15" "此卡无对应发卡方" "no such issuer" Decline;
    /// Enter again.
    REENTER b"19" "请重新输入" "enter again" Decline;
    /// Invalid response.
    INVALID_RESPONSE b"20" "无效应答" "invalid response" Decline;
    /// Dormant card.
    DORMANT b"21" "卡未初始化或睡眠" "dormant card" Decline;
    /// Past the allowed days, or a suspected malfunction.
    PAST_ALLOWED_DAYS b"22" "操作有误或超出允许天数" "past the allowed days" Decline;
    /// Fee not acceptable.
    BAD_FEE b"23" "不可接受的手续费" "fee not acceptable" Decline;
    /// Original not found; in a reversal answer it counts as done.
    NO_ORIGINAL b"25" "没有原始交易" "original not found" Decline;
    /// Format error.
    FORMAT_ERROR b"30" "格式错误" "format error" Retry;
    /// Acquirer not supported.
    BAD_ACQUIRER b"31" "不支持的受理方" "acquirer not supported" Decline;
    /// Expired, pick up.
    EXPIRED_PICK_UP b"33" "过期卡没收" "expired, pick up" Operator;
    /// Fraud, pick up.
    FRAUD_PICK_UP b"34" "作弊卡，吞卡" "fraud, pick up" Operator;
    /// Restricted, pick up.
    RESTRICTED_PICK_UP b"36" "受限卡没收" "restricted, pick up" Operator;
    /// PIN tries exceeded, pick up.
    PIN_TRIES_PICK_UP b"38" "密码次数超限" "PIN tries exceeded, pick up" Operator;
    /// No credit account.
    NO_CREDIT_ACCOUNT b"39" "无贷记账户" "no credit account" Decline;
    /// Function not supported.
    NOT_SUPPORTED b"40" "不支持的交易类型" "transaction not supported" Decline;
    /// Lost card.
    LOST b"41" "挂失卡，请没收" "lost card" Operator;
    /// No such account.
    NO_ACCOUNT b"42" "无此账户" "no such account" Decline;
    /// Stolen card.
    STOLEN b"43" "被窃卡，请没收" "stolen card" Operator;
    /// A chip card was swiped: use the chip.
    USE_CHIP b"45" "不允许降级，请插卡" "use the chip" Retry;
    /// Insufficient funds.
    INSUFFICIENT_FUNDS b"51" "余额不足" "insufficient funds" Decline;
    /// No cheque account.
    NO_CHEQUE_ACCOUNT b"52" "无此支票账户" "no cheque account" Decline;
    /// No savings account.
    NO_SAVINGS_ACCOUNT b"53" "无此储蓄账户" "no savings account" Decline;
    /// Expired card.
    EXPIRED b"54" "卡已过期" "expired card" Decline;
    /// Wrong PIN.
    WRONG_PIN b"55" "密码错" "wrong PIN" Retry;
    /// No card record.
    NO_CARD_RECORD b"56" "无此卡记录" "no card record" Decline;
    /// Not permitted to the card.
    NOT_FOR_CARD b"57" "不允许此卡交易" "not permitted to this card" Decline;
    /// Not permitted at the terminal.
    NOT_FOR_TERMINAL b"58" "不允许该卡在本终端交易" "not permitted at this terminal" Decline;
    /// Suspected fraud, card check value wrong.
    CARD_CHECK b"59" "卡片校验错" "card check failed" Decline;
    /// Over the amount limit.
    OVER_LIMIT b"61" "金额超限" "over the amount limit" Retry;
    /// Restricted card.
    RESTRICTED b"62" "受限制的卡" "restricted card" Decline;
    /// Amount differs from the original.
    AMOUNT_DIFFERS b"64" "与原交易金额不符" "amount differs from the original" Decline;
    /// Over the count limit.
    OVER_COUNT b"65" "超出次数限制" "over the count limit" Decline;
    /// No answer in time.
    TIMEOUT b"68" "交易超时，请重试" "no answer in time" Fault;
    /// PIN tries exceeded.
    PIN_TRIES b"75" "密码次数超限" "PIN tries exceeded" Decline;
    /// Sign in again: batch differs or not signed in.
    SIGN_IN_AGAIN b"77" "请重新签到" "sign in again" Fault;
    /// Day cut-over is running.
    CUT_OVER b"90" "系统日切，稍后重试" "day cut-over, try later" Fault;
    /// Issuer not operative.
    ISSUER_DOWN b"91" "发卡方状态不正常" "issuer not operative" Fault;
    /// No route to the issuer.
    NO_ROUTE b"92" "发卡方线路异常" "no route to the issuer" Fault;
    /// Duplicate.
    DUPLICATE b"94" "重复交易" "duplicate transaction" Decline;
    /// Totals differ: upload the details.
    RECONCILE_ERROR b"95" "对账不平，上送明细" "totals differ, upload details" Fault;
    /// System malfunction.
    MALFUNCTION b"96" "交换中心异常" "system malfunction" Fault;
    /// Terminal unknown.
    UNKNOWN_TERMINAL b"97" "终端未登记" "terminal unknown" Fault;
    /// Issuer timed out; in a reversal request: no answer received.
    NO_ANSWER b"98" "发卡方超时" "issuer timed out" Fault;
    /// PIN block or PIN key wrong.
    PIN_FORMAT b"99" "PIN格式错，请重新签到" "PIN format error, sign in again" Fault;
    /// MAC wrong.
    MAC_ERROR b"A0" "MAC校验错，请重新签到" "MAC error, sign in again" Fault;
    /// Currencies differ.
    CURRENCY_DIFFERS b"A1" "转账货币不一致" "currencies differ" Decline;
    /// Approved, to be confirmed with the issuer.
    APPROVED_A2 b"A2" "成功，请向发卡行确认" "approved, confirm with the issuer" Success;
    /// Account invalid.
    INVALID_ACCOUNT b"A3" "账户不正确" "account invalid" Decline;
    /// Approved, to be confirmed with the issuer.
    APPROVED_A4 b"A4" "成功，请向发卡行确认" "approved, confirm with the issuer" Success;
    /// Approved, to be confirmed with the issuer.
    APPROVED_A5 b"A5" "成功，请向发卡行确认" "approved, confirm with the issuer" Success;
    /// Approved, to be confirmed with the issuer.
    APPROVED_A6 b"A6" "成功，请向发卡行确认" "approved, confirm with the issuer" Success;
    /// Security failure at the switch.
    SECURITY_FAILURE b"A7" "交换中心安全处理失败" "security failure at the switch" Fault;
}

impl ResponseCode {
    /// Takes two printable ASCII characters, known to the table or not.
    pub fn new(text: &str) -> Option<Self> {
        let bytes: [u8; 2] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|b| b.is_ascii_graphic()).then_some(Self(bytes))
    }

    /// The two characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The line of the table, when the code is in it.
    pub fn info(self) -> Option<&'static CodeInfo> {
        TABLE.iter().find(|line| line.code == self)
    }

    /// Approved in any of its forms: 00, 10, 11, A2, A4, A5, A6. An unknown code is a decline.
    pub fn is_approval(self) -> bool {
        matches!(&self.0, b"00" | b"10" | b"11" | b"A2" | b"A4" | b"A5" | b"A6")
    }

    /// In the answer to a reversal: nothing is left to undo (00, 12 or 25).
    pub fn ends_reversal(self) -> bool {
        self.is_approval() || matches!(self, Self::NO_ORIGINAL | Self::INVALID_TRANSACTION)
    }

    /// Chinese display text; unknown codes read 失败.
    pub fn zh(self) -> &'static str {
        self.info().map_or("失败", |line| line.zh)
    }

    /// English display text; unknown codes read "declined".
    pub fn en(self) -> &'static str {
        self.info().map_or("declined", |line| line.en)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ResponseCode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ResponseCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("a response code has two characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once_and_success_agrees_with_the_action() {
        for (at, line) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|other| other.code != line.code), "{} twice", line.code);
            assert_eq!(line.code.is_approval(), line.action == Action::Success, "{}", line.code);
        }
    }

    #[test]
    fn unknown_codes_are_declines_with_a_text() {
        let code = ResponseCode::new("Q7").unwrap();
        assert!(!code.is_approval());
        assert_eq!((code.zh(), code.en()), ("失败", "declined"));
        assert!(ResponseCode::new("0").is_none());
        assert!(ResponseCode::new("零").is_none());
    }
}
