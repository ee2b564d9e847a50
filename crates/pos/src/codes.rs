//! Field 39 as the terminal understands it: text for the operator, and what it does next. One line per code.
//!
//! Classes follow the terminal annex: success, failed and may be tried again, failed for good, the operator must
//! act, system fault. Whatever is not in the table is a decline: a terminal never guesses that an unknown code
//! means money has moved.

/// What a response code asks of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Approved: print and journal.
    Approved,
    /// Failed; may be tried again at once.
    Retry,
    /// Failed; trying again will not help.
    Failed,
    /// Failed; the operator must act (keep the card, call).
    Operator,
    /// A fault on the way; not the card's.
    System,
}

/// One response code.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The two characters of field 39.
    pub code: &'static str,
    /// What the terminal does.
    pub class: Class,
    /// Display text, Chinese.
    pub zh: &'static str,
    /// Display text, English.
    pub en: &'static str,
}

use Class::{Approved, Failed, Operator, Retry, System};

const fn row(code: &'static str, class: Class, zh: &'static str, en: &'static str) -> Code {
    Code { code, class, zh, en }
}

/// The table.
pub static CODES: &[Code] = &[
    row("00", Approved, "交易成功", "approved"),
    row("01", Failed, "请持卡人联系发卡行", "refer to card issuer"),
    row("02", Failed, "请联系发卡行", "refer to issuer, special condition"),
    row("03", Failed, "无效商户", "invalid merchant"),
    row("04", Operator, "没收卡", "pick up card"),
    row("05", Failed, "持卡人认证失败", "do not honour"),
    row("06", System, "发卡行故障", "issuer error"),
    row("07", Operator, "特殊条件没收卡", "pick up card, special condition"),
    row("09", Retry, "处理中,请重试", "in process"),
    row("10", Approved, "部分批准", "partially approved"),
    row("11", Approved, "交易成功(VIP)", "approved, VIP"),
    row("12", Failed, "无效交易", "invalid transaction"),
    row("13", Retry, "无效金额", "invalid amount"),
    row("14", Retry, "无效卡号", "invalid card number"),
    row("15", Failed, "此卡无对应发卡方", "no such issuer"),
    row("19", Failed, "请重新输入", "re-enter"),
    row("20", Failed, "无效应答", "invalid response"),
    row("21", Failed, "卡未初始化或睡眠", "card not initialised or dormant"),
    row("22", Failed, "操作有误或超出允许天数", "suspected malfunction or past the allowed days"),
    row("23", Failed, "不可接受的手续费", "fee not acceptable"),
    row("25", Failed, "没有原始交易", "original not found"),
    row("30", Retry, "报文格式错", "format error"),
    row("31", Failed, "不支持的受理方", "acquirer not supported"),
    row("33", Operator, "过期卡没收", "expired card, pick up"),
    row("34", Operator, "作弊卡没收", "suspected fraud, pick up"),
    row("35", Operator, "卡片受限没收", "restricted, pick up"),
    row("36", Operator, "受限制的卡没收", "restricted card, pick up"),
    row("37", Operator, "联系收单行并没收", "call acquirer, pick up"),
    row("38", Failed, "密码次数超限", "PIN tries exceeded"),
    row("39", Failed, "无贷记账户", "no credit account"),
    row("40", Failed, "不支持的交易类型", "function not supported"),
    row("41", Operator, "挂失卡,请没收", "lost card"),
    row("42", Failed, "无此账户", "no universal account"),
    row("43", Operator, "被窃卡,请没收", "stolen card"),
    row("44", Failed, "无投资账户", "no investment account"),
    row("45", Retry, "请插卡交易", "use the chip"),
    row("51", Failed, "余额不足", "insufficient funds"),
    row("52", Failed, "无此支票账户", "no cheque account"),
    row("53", Failed, "无此储蓄账户", "no savings account"),
    row("54", Failed, "卡已过期", "expired card"),
    row("55", Retry, "密码错", "wrong PIN"),
    row("56", Failed, "无此卡记录", "no card record"),
    row("57", Failed, "不允许此卡交易", "not permitted to card"),
    row("58", Failed, "不允许该卡在本终端交易", "not permitted at this terminal"),
    row("59", Failed, "卡片校验错", "card verification failed"),
    row("60", Failed, "请联系收单行", "call acquirer"),
    row("61", Retry, "金额超限", "over amount limit"),
    row("62", Failed, "受限制的卡", "restricted card"),
    row("63", Failed, "违反安全规定", "security violation"),
    row("64", Failed, "与原交易金额不符", "amount differs from original"),
    row("65", Failed, "超出次数限制", "over count limit"),
    row("66", Failed, "请联系收单行安全部门", "call acquirer security"),
    row("67", Operator, "没收卡", "hard capture"),
    row("68", System, "交易超时,请重试", "timed out at the host"),
    row("75", Failed, "密码次数超限", "PIN tries exceeded"),
    row("77", System, "请重新签到", "sign in again"),
    row("79", System, "需重传脱机数据", "upload offline data again"),
    row("90", System, "系统日切,请稍后重试", "cut-over in progress"),
    row("91", System, "发卡方状态不正常", "issuer not operative"),
    row("92", System, "发卡方线路异常", "no route to issuer"),
    row("93", Failed, "违法,不能完成", "violation of law"),
    row("94", Failed, "重复交易", "duplicate transaction"),
    row("95", System, "对账不平,上送明细", "totals differ"),
    row("96", System, "交换中心异常", "system malfunction"),
    row("97", System, "终端未登记", "terminal unknown"),
    row("98", System, "发卡方超时", "issuer timed out"),
    row("99", System, "PIN格式错,请重新签到", "PIN format error, sign in again"),
    row("A0", System, "MAC校验错,请重新签到", "MAC error, sign in again"),
    row("A1", Failed, "转账货币不一致", "currencies differ"),
    row("A2", Approved, "交易成功,请向发卡行确认", "approved, confirm with issuer"),
    row("A3", Failed, "账户不正确", "account invalid"),
    row("A4", Approved, "交易成功,请向发卡行确认", "approved, confirm with issuer"),
    row("A5", Approved, "交易成功,请向发卡行确认", "approved, confirm with issuer"),
    row("A6", Approved, "交易成功,请向发卡行确认", "approved, confirm with issuer"),
    row("A7", System, "交换中心安全处理失败", "security failure at the switch"),
];

/// Codes after which the terminal must sign in before anything else.
pub const SIGN_IN_AGAIN: &[&str] = &["77", "99", "A0"];

/// Codes in a 0410 that mean the reversal is done: reversed, or nothing to reverse.
pub const REVERSAL_DONE: &[&str] = &["00", "12", "25"];

/// The line of `code`, or the text for a code outside the table.
pub fn look_up(code: &str) -> Code {
    CODES.iter().find(|row| row.code == code).copied().unwrap_or(row("", Failed, "交易失败", "declined"))
}

/// Whether `code` approves.
pub fn approves(code: &str) -> bool {
    look_up(code).class == Approved
}

/// Whether `code` forces a new sign-in.
pub fn forces_sign_in(code: &str) -> bool {
    SIGN_IN_AGAIN.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_published_success_set_approves() {
        let approved: Vec<_> = CODES.iter().filter(|row| row.class == Approved).map(|row| row.code).collect();
        assert_eq!(approved, ["00", "10", "11", "A2", "A4", "A5", "A6"]);
        assert!(!approves("ZZ") && !approves("Q1") && !approves(""));
    }

    #[test]
    fn codes_are_listed_once_and_in_order() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
