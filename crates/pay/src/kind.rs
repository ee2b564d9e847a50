//! What can be asked for: a table, one line each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[allow(missing_docs)] // The table says what each is.
pub enum Kind {
    Sale,
    Void,
    Refund,
    Preauth,
    PreauthVoid,
    PreauthComplete,
    PreauthCompleteVoid,
    Balance,
    ScanRefund,
    Query,
    Reprint,
    Settle,
    SignIn,
    SignOut,
    LastTrade,
    PrintText,
    CardRead,
    Abort,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct KindRow {
    /// Which.
    pub kind: Kind,
    /// As messages write it.
    pub name: &'static str,
    /// As people in China call it.
    pub zh: &'static str,
    /// Moves money: it ends approved, declined or unknown, and names the caller's order.
    pub money: bool,
    /// An amount must be there.
    pub amount: bool,
    /// What it refers to must be there.
    pub orig: bool,
    /// Takes the terminal for itself and is journaled. What does not only looks, and may be asked at any time.
    pub trade: bool,
}

const fn row(
    kind: Kind,
    name: &'static str,
    zh: &'static str,
    [money, amount, orig, trade]: [bool; 4],
) -> KindRow {
    KindRow { kind, name, zh, money, amount, orig, trade }
}

const X: bool = true;
const O: bool = false;

/// Every kind.
pub const KINDS: [KindRow; 18] = [
    //                                                               money amount orig trade
    row(Kind::Sale, "sale", "消费", [X, X, O, X]),
    row(Kind::Void, "void", "消费撤销", [X, O, X, X]),
    row(Kind::Refund, "refund", "退货", [X, X, X, X]),
    row(Kind::Preauth, "preauth", "预授权", [X, X, O, X]),
    row(Kind::PreauthVoid, "preauth_void", "预授权撤销", [X, O, X, X]),
    row(Kind::PreauthComplete, "preauth_complete", "预授权完成", [X, X, X, X]),
    row(Kind::PreauthCompleteVoid, "preauth_complete_void", "预授权完成撤销", [X, O, X, X]),
    row(Kind::Balance, "balance", "余额查询", [O, O, O, X]),
    row(Kind::ScanRefund, "scan_refund", "扫码退货", [X, X, X, X]),
    row(Kind::Query, "query", "交易查询", [O, O, X, O]),
    row(Kind::Reprint, "reprint", "重打印", [O, O, X, X]),
    row(Kind::Settle, "settle", "结算", [O, O, O, X]),
    row(Kind::SignIn, "sign_in", "签到", [O, O, O, X]),
    row(Kind::SignOut, "sign_out", "签退", [O, O, O, X]),
    row(Kind::LastTrade, "last_trade", "末笔查询", [O, O, O, O]),
    row(Kind::PrintText, "print_text", "打印", [O, O, O, X]),
    row(Kind::CardRead, "card_read", "读会员卡", [O, O, O, X]),
    row(Kind::Abort, "abort", "取消", [O, O, O, O]),
];

impl Kind {
    /// Its line of the table.
    pub fn row(self) -> &'static KindRow {
        /// The first line: every kind has its own, which a test shows.
        const FIRST: &KindRow = &KINDS[0];
        KINDS.iter().find(|row| row.kind == self).unwrap_or(FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_line_and_its_name() {
        for row in &KINDS {
            assert_eq!(row.kind.row().kind, row.kind);
            assert_eq!(serde_json::to_string(&row.kind).unwrap(), format!("\"{}\"", row.name));
            assert!(!row.amount || row.money, "{}: only money has an amount", row.name);
            assert!(!row.money || row.trade, "{}: money is always journaled", row.name);
        }
        // As many as the type has: its order is that of the table.
        assert_eq!(Kind::Abort as usize + 1, KINDS.len());
    }
}
