//! Requests as the terminal composes them: the table of kinds, and a field map that becomes a frame.
//!
//! A request is kept as data, so that it can be stored before it leaves and sent again, byte for byte, after a
//! power cut. What identifies it (fields 11 and 60) is part of it and never recomputed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The transactions this terminal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 签到
    SignIn,
    /// 签退
    SignOff,
    /// 回响测试
    Echo,
    /// 参数下载
    Download,
    /// 参数查询
    Query,
    /// 状态上送
    Status,
    /// 余额查询
    Balance,
    /// 消费
    Sale,
    /// 消费撤销
    Void,
    /// 退货
    Refund,
    /// 预授权
    Preauth,
    /// 预授权撤销
    PreauthVoid,
    /// 预授权完成（请求）
    Completion,
    /// 预授权完成（通知）
    CompletionAdvice,
    /// 预授权完成撤销
    CompletionVoid,
    /// 分期消费
    Instalment,
    /// 分期撤销
    InstalmentVoid,
    /// 积分消费
    PointsSale,
    /// 脱机退货
    ChipRefund,
    /// 指定账户圈存
    Load,
    /// 非指定账户圈存
    TransferLoad,
    /// 现金充值
    CashLoad,
    /// 现金充值撤销
    CashLoadVoid,
    /// 冲正
    Reversal,
    /// 离线结算
    OfflineSale,
    /// 脱机消费上送
    OfflineChip,
    /// 结算调整
    Adjust,
    /// 小费调整
    Tip,
    /// 脚本结果上送
    Script,
    /// 电子签名上送
    Signature,
    /// 批结算
    Settlement,
    /// 批上送
    BatchUp,
}

/// What repeats or undoes a request whose answer did not come or cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the operator tries again.
    None,
    /// A reversal (0400) before the next transaction.
    Reverse,
    /// The same message again, with the same trace.
    Repeat,
}

/// One line of the transaction table.
#[derive(Clone, Copy, Debug)]
pub struct KindRow {
    /// The transaction.
    pub kind: Kind,
    /// Message type of the request.
    pub mti: u16,
    /// Field 3, when sent.
    pub processing: Option<&'static str>,
    /// 60.1.
    pub message_type: &'static str,
    /// Field 64 in the request and in the answer.
    pub mac: bool,
    /// What a missing answer leads to.
    pub recovery: Recovery,
    /// Name, Chinese.
    pub zh: &'static str,
    /// Name, English.
    pub en: &'static str,
}

const fn row(
    kind: Kind,
    mti: u16,
    processing: Option<&'static str>,
    message_type: &'static str,
    mac: bool,
    recovery: Recovery,
    names: (&'static str, &'static str),
) -> KindRow {
    KindRow { kind, mti, processing, message_type, mac, recovery, zh: names.0, en: names.1 }
}

/// The table. A reversal takes fields 3 and 60 from its original.
#[rustfmt::skip]
pub static KINDS: &[KindRow] = &[
    row(Kind::SignIn,     800, None,           "00", false, Recovery::None,    ("签到", "SIGN-IN")),
    row(Kind::SignOff,    820, None,           "00", false, Recovery::None,    ("签退", "SIGN-OFF")),
    row(Kind::Echo,       820, None,           "00", false, Recovery::None,    ("回响测试", "ECHO")),
    row(Kind::Download,   800, None,           "00", false, Recovery::None,    ("参数下载", "DOWNLOAD")),
    row(Kind::Query,      820, None,           "00", false, Recovery::None,    ("参数查询", "QUERY")),
    row(Kind::Status,     820, None,           "00", false, Recovery::None,    ("状态上送", "STATUS UPLOAD")),
    row(Kind::Balance,    200, Some("310000"), "01", true,  Recovery::None,    ("余额查询", "BALANCE")),
    row(Kind::Sale,       200, Some("000000"), "22", true,  Recovery::Reverse, ("消费", "SALE")),
    row(Kind::Void,       200, Some("200000"), "23", true,  Recovery::Reverse, ("消费撤销", "VOID")),
    row(Kind::Refund,     220, Some("200000"), "25", true,  Recovery::Repeat,  ("退货", "REFUND")),
    row(Kind::Preauth,    100, Some("030000"), "10", true,  Recovery::Reverse, ("预授权", "AUTH")),
    row(Kind::PreauthVoid, 100, Some("200000"), "11", true, Recovery::Reverse, ("预授权撤销", "AUTH VOID")),
    row(Kind::Completion, 200, Some("000000"), "20", true,  Recovery::Reverse, ("预授权完成", "AUTH COMPLETE")),
    row(Kind::CompletionAdvice, 220, Some("000000"), "24", true, Recovery::Repeat, ("预授权完成通知", "AUTH COMPLETE")),
    row(Kind::CompletionVoid, 200, Some("200000"), "21", true, Recovery::Reverse, ("完成撤销", "COMPLETE VOID")),
    row(Kind::Instalment, 200, Some("000000"), "22", true,  Recovery::Reverse, ("分期消费", "INSTALMENT")),
    row(Kind::InstalmentVoid, 200, Some("200000"), "23", true, Recovery::Reverse, ("分期撤销", "INSTALMENT VOID")),
    row(Kind::PointsSale, 200, Some("000000"), "22", true,  Recovery::Reverse, ("积分消费", "POINTS SALE")),
    row(Kind::ChipRefund, 220, Some("200000"), "27", true,  Recovery::Repeat,  ("脱机退货", "CHIP REFUND")),
    row(Kind::Load,       200, Some("600000"), "45", true,  Recovery::Reverse, ("圈存", "LOAD")),
    row(Kind::TransferLoad, 200, Some("620000"), "47", true, Recovery::Reverse, ("非指定账户圈存", "LOAD FROM OTHER CARD")),
    row(Kind::CashLoad,   200, Some("630000"), "46", true,  Recovery::Reverse, ("现金充值", "CASH LOAD")),
    row(Kind::CashLoadVoid, 200, Some("170000"), "51", true, Recovery::Reverse, ("现金充值撤销", "CASH LOAD VOID")),
    row(Kind::Reversal,   400, None,           "",   true,  Recovery::None,    ("冲正", "REVERSAL")),
    row(Kind::OfflineSale, 220, Some("000000"), "30", true, Recovery::Repeat,  ("离线结算", "OFFLINE SALE")),
    row(Kind::OfflineChip, 200, Some("000000"), "36", true, Recovery::Repeat,  ("脱机消费", "OFFLINE CHIP")),
    row(Kind::Adjust,     220, Some("000000"), "32", true,  Recovery::Repeat,  ("结算调整", "ADJUSTMENT")),
    row(Kind::Tip,        220, Some("000000"), "34", true,  Recovery::Repeat,  ("小费调整", "TIP")),
    row(Kind::Script,     620, None,           "00", true,  Recovery::Repeat,  ("脚本结果", "SCRIPT RESULT")),
    row(Kind::Signature,  820, None,           "07", true,  Recovery::Repeat,  ("电子签名", "E-SIGNATURE")),
    row(Kind::Settlement, 500, None,           "00", false, Recovery::None,    ("批结算", "SETTLEMENT")),
    row(Kind::BatchUp,    320, None,           "00", false, Recovery::Repeat,  ("批上送", "BATCH UPLOAD")),
];

const UNKNOWN: KindRow = row(Kind::Echo, 820, None, "00", false, Recovery::None, ("", ""));

/// Which way a transaction counts in the totals of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It moves no money.
    None,
    /// From the card to the merchant.
    Debit,
    /// Back to the card.
    Credit,
}

impl Kind {
    /// The kind's line in the table.
    pub fn row(self) -> KindRow {
        KINDS.iter().find(|row| row.kind == self).copied().unwrap_or(UNKNOWN)
    }

    /// Field 25.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::Preauth
            | Self::PreauthVoid
            | Self::Completion
            | Self::CompletionAdvice
            | Self::CompletionVoid => "06",
            Self::Instalment | Self::InstalmentVoid => "64",
            Self::PointsSale => "65",
            Self::Load | Self::TransferLoad | Self::CashLoad | Self::CashLoadVoid => "91",
            _ => "00",
        }
    }

    /// Which way it counts.
    pub fn side(self) -> Side {
        match self {
            Self::Sale
            | Self::OfflineSale
            | Self::OfflineChip
            | Self::Completion
            | Self::CompletionAdvice
            | Self::Instalment
            | Self::PointsSale
            | Self::CashLoadVoid => Side::Debit,
            // Cash that the merchant took for a purse is owed by it (modelled).
            Self::Void
            | Self::Refund
            | Self::CompletionVoid
            | Self::InstalmentVoid
            | Self::ChipRefund
            | Self::CashLoad => Side::Credit,
            _ => Side::None,
        }
    }

    /// Whether it is a transaction that the host is asked about while the holder waits.
    pub(crate) fn goes_online(self) -> bool {
        matches!(
            self,
            Self::Sale
                | Self::Preauth
                | Self::Instalment
                | Self::PointsSale
                | Self::Load
                | Self::TransferLoad
                | Self::CashLoad
        ) || self.refers()
    }

    /// What voids it, when something does.
    pub(crate) fn voided_by(self) -> Option<Kind> {
        match self {
            Self::Sale => Some(Self::Void),
            Self::Completion | Self::CompletionAdvice => Some(Self::CompletionVoid),
            Self::Instalment => Some(Self::InstalmentVoid),
            Self::CashLoad => Some(Self::CashLoadVoid),
            _ => None,
        }
    }

    /// Whether the chip of the card takes part.
    pub(crate) fn uses_chip(self) -> bool {
        !self.refers() || self == Self::CashLoadVoid
    }

    /// Whether it refers to an earlier transaction.
    pub(crate) fn refers(self) -> bool {
        matches!(
            self,
            Self::Void
                | Self::Refund
                | Self::PreauthVoid
                | Self::Completion
                | Self::CompletionAdvice
                | Self::CompletionVoid
                | Self::InstalmentVoid
                | Self::ChipRefund
                | Self::CashLoadVoid
        )
    }
}

/// The value of one field.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Value {
    /// Decimal digits (hexadecimal in an encrypted track).
    Digits(String),
    /// Characters.
    Text(String),
    /// Bytes, stored as hexadecimal.
    Bytes(String),
}

impl Drop for Value {
    fn drop(&mut self) {
        match self {
            Self::Digits(text) | Self::Text(text) | Self::Bytes(text) => text.zeroize(),
        }
    }
}

/// A request as data. `Debug` names the fields and shows no value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub kind: Kind,
    pub mti: u16,
    fields: BTreeMap<u8, Value>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({:04} {:?})", self.mti, self.fields.keys().collect::<Vec<_>>())
    }
}

impl Request {
    pub(crate) fn new(kind: Kind) -> Self {
        let row = kind.row();
        let request = Self { kind, mti: row.mti, fields: BTreeMap::new() };
        match row.processing {
            Some(code) => request.digits(3, code),
            None => request,
        }
    }

    pub(crate) fn digits(mut self, field: u8, value: impl Into<String>) -> Self {
        self.fields.insert(field, Value::Digits(value.into()));
        self
    }

    pub(crate) fn text(mut self, field: u8, value: impl Into<String>) -> Self {
        self.fields.insert(field, Value::Text(value.into()));
        self
    }

    pub(crate) fn bytes(mut self, field: u8, value: &[u8]) -> Self {
        self.fields.insert(field, Value::Bytes(hex::encode_upper(value)));
        self
    }

    pub(crate) fn maybe_digits(self, field: u8, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.digits(field, value),
            None => self,
        }
    }

    pub(crate) fn maybe_text(self, field: u8, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    pub(crate) fn has(&self, field: u8) -> bool {
        self.fields.contains_key(&field)
    }

    /// The digits or characters of a field.
    pub(crate) fn get(&self, field: u8) -> Option<&str> {
        match self.fields.get(&field)? {
            Value::Digits(text) | Value::Text(text) | Value::Bytes(text) => Some(text),
        }
    }

    pub(crate) fn number(&self, field: u8) -> Option<u64> {
        self.get(field)?.parse().ok()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (u8, &Value)> {
        self.fields.iter().map(|(number, value)| (*number, value))
    }

    /// The reversal of this request: the fields that repeat, without the reason (39), the authorisation code and
    /// what only a chip can say (55). `pan` and `expiry` are added when the original had only a track.
    pub(crate) fn reversal(&self, pan: &str, expiry: Option<&str>) -> Self {
        const REPEATED: [u8; 12] = [2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 60];
        let mut reversal =
            Self { kind: Kind::Reversal, mti: Kind::Reversal.row().mti, fields: BTreeMap::new() };
        for field in REPEATED {
            if let Some(value) = self.fields.get(&field) {
                reversal.fields.insert(field, value.clone());
            }
        }
        if !pan.is_empty() && !reversal.has(2) {
            reversal = reversal.digits(2, pan);
        }
        if !reversal.has(14) {
            reversal = reversal.maybe_digits(14, expiry);
        }
        if self.kind.refers() {
            // 61 names the message being reversed: its batch (60.2) and its trace.
            let batch = self.get(60).and_then(|field| field.get(2..8)).unwrap_or("000000");
            let trace = self.get(11).unwrap_or("000000");
            reversal = reversal.digits(61, format!("{batch}{trace}"));
            // What names an authorisation names it in its reversal too.
            if self.kind.condition() == "06"
                && let Some(code) = self.fields.get(&38)
            {
                reversal.fields.insert(38, code.clone());
            }
        }
        reversal
    }
}

/// Field 60 of a management message: 60.1, 60.2, 60.3.
pub(crate) fn field60_management(message_type: &str, batch: u32, network_code: &str) -> String {
    format!("{message_type}{batch:06}{network_code}")
}

/// Field 60 of a financial message: the above with 60.3 = 000, then 60.4 capability, 60.5 chip condition, 60.6
/// whether a part may be approved.
pub(crate) fn field60_financial(
    message_type: &str,
    batch: u32,
    capability: u8,
    fallback: bool,
    partial: bool,
) -> String {
    let condition = if fallback { 2 } else { 0 };
    format!("{message_type}{batch:06}000{capability}{condition}{}", u8::from(partial))
}

/// The number after `number` in the ring 1 to 999999.
pub(crate) fn next_in_ring(number: u32) -> u32 {
    if number >= 999_999 { 1 } else { number + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reversal_repeats_what_identifies_the_original_and_carries_no_secret_field() {
        let sale = Request::new(Kind::Sale)
            .digits(4, "000000010000")
            .digits(11, "000017")
            .digits(22, "021")
            .digits(25, "00")
            .digits(26, "12")
            .digits(35, "6224242000000021D29022015699031007")
            .text(41, "00000001")
            .text(42, "898000000000001")
            .text(49, "156")
            .bytes(52, &[0; 8])
            .digits(53, "2600000000000000")
            .digits(60, field60_financial("22", 1, 5, false, false));
        let reversal = sale.reversal("6224242000000021", Some("2902"));
        assert_eq!(reversal.mti, 400);
        let fields: Vec<u8> = reversal.entries().map(|(number, _)| number).collect();
        assert_eq!(fields, [2, 3, 4, 11, 14, 22, 25, 41, 42, 49, 60]);
        assert_eq!(reversal.get(60), Some("22000001000500"));

        let void = Request { kind: Kind::Void, ..sale };
        assert_eq!(void.reversal("", None).get(61), Some("000001000017"));
        assert!(!format!("{void:?}").contains("6224"));
    }

    #[test]
    fn the_ring_skips_zero() {
        assert_eq!(next_in_ring(999_999), 1);
        assert_eq!(next_in_ring(1), 2);
    }
}
