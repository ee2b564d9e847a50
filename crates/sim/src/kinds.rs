//! The table of what members may ask of the network: one line per kind of transaction.
//!
//! A message is told apart by its class (the MTI without the repeat digit), processing code (field 3) and
//! whether field 25 names the pre-authorisation family (`06`). The line says which fields must be there, what
//! the issuer examines and what happens to money. Another transaction is another line.

use serde::{Deserialize, Serialize};

/// Kind of transaction as the network books it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 余额查询.
    Balance,
    /// 消费, also instalment sale.
    Sale,
    /// 积分消费.
    Points,
    /// 消费撤销.
    Void,
    /// 退货.
    Refund,
    /// Sale made without asking first and uploaded later (离线结算).
    OfflineSale,
    /// Another amount for a sale (结算调整), named in field 90; modelled.
    Adjust,
    /// 预授权.
    Preauth,
    /// 预授权撤销.
    PreauthVoid,
    /// 预授权完成请求.
    CompletionRequest,
    /// 预授权完成通知.
    CompletionAdvice,
    /// 预授权完成撤销.
    CompletionVoid,
    /// 指定账户圈存.
    Load,
    /// 非指定账户圈存.
    TransferLoad,
    /// 现金充值.
    CashLoad,
    /// 现金充值撤销.
    CashLoadVoid,
    /// 冲正, of whatever field 90 names.
    Reversal,
    /// 脚本结果通知.
    ScriptResult,
    /// A message that is in no line of the table, or could not be read so far.
    Unknown,
}

/// What a kind does to money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing; the answer carries the balance.
    Inquire,
    /// Takes the amount from the card after asking whether it may.
    Purchase,
    /// Takes the amount from the card without asking: it has been promised before.
    Advised,
    /// Gives another amount to a transaction of one of these kinds.
    Amend(&'static [Kind]),
    /// Sets the amount aside.
    Hold,
    /// Takes points that are worth the amount.
    Points,
    /// Moves the amount from the card's account into its electronic purse, or that of another card (field 103).
    Load,
    /// Puts cash that the acquirer took into the purse.
    CashLoad,
    /// Undoes a transaction of one of these kinds as a whole.
    Cancel(&'static [Kind]),
    /// Gives back up to the amount of a transaction of one of these kinds.
    Repay(&'static [Kind]),
    /// Takes the amount against a hold; `true` when it is an advice that cannot be refused for want of money.
    Complete(bool),
    /// Makes the transaction named in field 90 not have happened.
    Undo,
    /// Written down, no money.
    Note,
}

/// How far the issuer examines the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardCheck {
    /// Status, expiry, track, cryptogram, PIN.
    Full,
    /// The card must exist; what it presents (track, PIN, cryptogram) must be right when presented.
    Presented,
    /// The card must be the original's.
    Original,
}

/// The pre-authorisation family, points or everything else, by field 25.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Field 25 other than 06 and 65.
    Ordinary,
    /// Field 25 = 06.
    Preauth,
    /// Field 25 = 65.
    Points,
    /// Field 25 not looked at.
    Any,
}

/// One line of the table.
#[derive(Debug)]
pub struct KindLine {
    /// The kind.
    pub kind: Kind,
    /// Chinese name for pages.
    pub zh: &'static str,
    /// English name for pages.
    pub en: &'static str,
    /// MTI without the repeat digit: 100, 200, 220, 420, 620.
    pub class: u16,
    /// Field 3; `None` takes any.
    pub processing: Option<u32>,
    /// Which family of field 25.
    pub family: Family,
    /// What it does to money.
    pub effect: Effect,
    /// What the issuer examines.
    pub check: CardCheck,
    /// Fields that must be there, beside field 2 or 35 and field 128.
    pub mandatory: &'static [u8],
}

/// Fields 3, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60: in every request of a customer.
const COMMON: [u8; 16] = [3, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60];
const BALANCE: &[u8] = &COMMON;
const SALE: &[u8] = &[3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60];
const POINTS: &[u8] = &[3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 48, 49, 60];
const TRANSFER: &[u8] = &[3, 4, 7, 11, 12, 13, 18, 22, 23, 25, 32, 33, 37, 41, 42, 43, 49, 55, 60, 102, 103];
const ON_ORIGINAL: &[u8] = &[3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60, 90];
const COMPLETION: &[u8] = &[2, 3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 38, 41, 42, 43, 49, 60];
const REVERSAL: &[u8] = &[2, 3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 60, 90];
const SCRIPT: &[u8] = &[2, 3, 4, 7, 11, 12, 13, 18, 22, 25, 32, 33, 37, 41, 42, 43, 49, 55, 60, 70, 90];

macro_rules! line {
    ($kind:ident, $zh:literal, $en:literal, $class:literal, $processing:expr, $family:ident, $effect:expr, $check:ident, $mandatory:expr) => {
        KindLine {
            kind: Kind::$kind,
            zh: $zh,
            en: $en,
            class: $class,
            processing: $processing,
            family: Family::$family,
            effect: $effect,
            check: CardCheck::$check,
            mandatory: $mandatory,
        }
    };
}

const SALES: &[Kind] = &[Kind::Sale];
const COMPLETIONS: &[Kind] = &[Kind::CompletionRequest, Kind::CompletionAdvice];
const REPAYABLE: &[Kind] = &[Kind::Sale, Kind::OfflineSale, Kind::CompletionRequest, Kind::CompletionAdvice];

/// All lines, the first that fits is taken.
pub static KINDS: [KindLine; 18] = [
    line!(Balance, "余额查询", "balance", 200, Some(300_000), Any, Effect::Inquire, Full, BALANCE),
    line!(Sale, "消费", "sale", 200, Some(0), Ordinary, Effect::Purchase, Full, SALE),
    line!(Points, "积分消费", "points sale", 200, Some(0), Points, Effect::Points, Full, POINTS),
    line!(
        Void,
        "消费撤销",
        "sale void",
        200,
        Some(200_000),
        Ordinary,
        Effect::Cancel(SALES),
        Presented,
        ON_ORIGINAL
    ),
    line!(Refund, "退货", "refund", 220, Some(200_000), Any, Effect::Repay(REPAYABLE), Original, ON_ORIGINAL),
    line!(OfflineSale, "离线结算", "offline sale", 220, Some(0), Ordinary, Effect::Advised, Presented, SALE),
    line!(
        Adjust,
        "结算调整",
        "adjustment",
        220,
        Some(0),
        Ordinary,
        Effect::Amend(&[Kind::Sale, Kind::OfflineSale]),
        Original,
        ON_ORIGINAL
    ),
    line!(Preauth, "预授权", "pre-authorisation", 100, Some(30_000), Any, Effect::Hold, Full, SALE),
    line!(
        PreauthVoid,
        "预授权撤销",
        "pre-authorisation void",
        100,
        Some(200_000),
        Any,
        Effect::Cancel(&[Kind::Preauth]),
        Presented,
        ON_ORIGINAL
    ),
    line!(
        CompletionRequest,
        "预授权完成请求",
        "completion request",
        200,
        Some(0),
        Preauth,
        Effect::Complete(false),
        Presented,
        COMPLETION
    ),
    line!(
        CompletionVoid,
        "预授权完成撤销",
        "completion void",
        200,
        Some(200_000),
        Preauth,
        Effect::Cancel(COMPLETIONS),
        Presented,
        ON_ORIGINAL
    ),
    line!(
        CompletionAdvice,
        "预授权完成通知",
        "completion advice",
        220,
        Some(0),
        Preauth,
        Effect::Complete(true),
        Original,
        COMPLETION
    ),
    line!(Load, "指定账户圈存", "account load", 200, Some(600_000), Any, Effect::Load, Full, SALE),
    line!(
        TransferLoad,
        "非指定账户圈存",
        "non-designated load",
        200,
        Some(620_000),
        Any,
        Effect::Load,
        Full,
        TRANSFER
    ),
    line!(CashLoad, "现金充值", "cash load", 200, Some(630_000), Any, Effect::CashLoad, Presented, SALE),
    line!(
        CashLoadVoid,
        "现金充值撤销",
        "cash-load void",
        200,
        Some(170_000),
        Any,
        Effect::Cancel(&[Kind::CashLoad]),
        Presented,
        ON_ORIGINAL
    ),
    line!(Reversal, "冲正", "reversal", 420, None, Any, Effect::Undo, Original, REVERSAL),
    line!(ScriptResult, "脚本结果通知", "script result", 620, None, Any, Effect::Note, Original, SCRIPT),
];

/// The class of an MTI: the repeat digit (0201, 0221, 0421) taken away.
#[must_use]
pub fn class_of(mti: u16) -> u16 {
    mti - mti % 10
}

/// Whether the network answers a repeat of this class as it answered the first.
#[must_use]
pub fn is_advice(class: u16) -> bool {
    matches!(class, 220 | 420 | 620)
}

/// The line for a message, or `None` when the network does not know such a transaction. Of offline sale and
/// adjustment, which share their codes, the adjustment names an original (field 90).
#[must_use]
pub fn find(class: u16, processing: u32, condition: u8, names_original: bool) -> Option<&'static KindLine> {
    KINDS.iter().find(|line| {
        let amends = line.kind == Kind::Adjust;
        (!amends || names_original)
            && !(line.kind == Kind::OfflineSale && names_original)
            && line.class == class
            && line.processing.is_none_or(|code| code == processing)
            && match line.family {
                Family::Any => true,
                Family::Preauth => condition == 6,
                Family::Points => condition == 65,
                Family::Ordinary => !matches!(condition, 6 | 65),
            }
    })
}

/// The line of a kind; `None` only for [`Kind::Unknown`].
#[must_use]
pub fn line_of(kind: Kind) -> Option<&'static KindLine> {
    KINDS.iter().find(|line| line.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_reachable() {
        for line in &KINDS {
            let condition = match line.family {
                Family::Preauth => 6,
                Family::Points => 65,
                _ => 0,
            };
            let found =
                find(line.class, line.processing.unwrap_or(0), condition, line.mandatory.contains(&90));
            assert_eq!(found.map(|l| l.kind), Some(line.kind));
        }
    }

    #[test]
    fn the_family_decides_between_sale_and_completion() {
        assert_eq!(find(200, 0, 0, false).map(|l| l.kind), Some(Kind::Sale));
        assert_eq!(find(200, 0, 64, false).map(|l| l.kind), Some(Kind::Sale));
        assert_eq!(find(200, 0, 6, false).map(|l| l.kind), Some(Kind::CompletionRequest));
        assert!(find(200, 990_000, 0, false).is_none());
        assert_eq!(class_of(421), 420);
    }
}
