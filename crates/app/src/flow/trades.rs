//! What is traded at the counter, and what each trade asks for.

use serde::{Deserialize, Serialize};

use super::Names;

/// What is traded at the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trade {
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
    /// 预授权完成
    PreauthComplete,
    /// 预授权完成撤销
    PreauthCompleteVoid,
    /// 余额查询
    Balance,
    /// 分期消费
    Instalment,
    /// 积分消费
    PointsSale,
    /// 离线结算: by stripe or keyed, above the limit with a code that the issuer gave by telephone
    OfflineSale,
    /// 脱机消费: the chip approves
    OfflineChip,
    /// 脱机退货: refunds what a chip paid
    ChipRefund,
    /// 指定账户圈存: a purse is loaded from its own card's account
    Load,
    /// 非指定账户圈存: a purse is loaded from another card's account
    TransferLoad,
    /// 现金充值
    CashLoad,
    /// 现金充值撤销
    CashLoadVoid,
    /// 小费调整
    Tip,
}

/// Ways a card may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Its stripe.
    pub stripe: bool,
    /// Its chip in the slot.
    pub slot: bool,
    /// Its chip over the antenna.
    pub field: bool,
    /// Its number, keyed, where the acquirer allows that at all.
    pub keys: bool,
}

impl Ways {
    const ALL: Self = Self { stripe: true, slot: true, field: true, keys: true };
    const SLOT: Self = Self { stripe: false, slot: true, field: false, keys: false };
    const CHIP: Self = Self { field: true, ..Self::SLOT };
    const STRIPE: Self = Self { stripe: true, slot: false, field: false, keys: true };
}

/// Whose points pay (60.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Points {
    /// 发卡行积分
    Issuer,
    /// 联盟积分
    Alliance,
}

impl Trade {
    /// Each of them, in the order of the menu.
    pub const ALL: [Self; 18] = [
        Self::Sale,
        Self::Void,
        Self::Refund,
        Self::Balance,
        Self::Preauth,
        Self::PreauthComplete,
        Self::PreauthVoid,
        Self::PreauthCompleteVoid,
        Self::Instalment,
        Self::PointsSale,
        Self::OfflineSale,
        Self::OfflineChip,
        Self::ChipRefund,
        Self::Load,
        Self::TransferLoad,
        Self::CashLoad,
        Self::CashLoadVoid,
        Self::Tip,
    ];

    /// Whether the cashier gives the amount; otherwise the original has it, or there is none.
    pub const fn asks_amount(self) -> bool {
        !self.undoes() && !matches!(self, Self::Balance)
    }

    /// Whether it takes back a whole transaction of the running batch.
    pub const fn undoes(self) -> bool {
        matches!(self, Self::Void | Self::PreauthCompleteVoid | Self::CashLoadVoid)
    }

    /// How the transaction that it refers to is named.
    pub const fn names(self) -> Names {
        match self {
            Self::Void | Self::PreauthCompleteVoid | Self::CashLoadVoid | Self::Tip => Names::Trace,
            Self::Refund | Self::ChipRefund => Names::Reference,
            Self::PreauthVoid | Self::PreauthComplete => Names::Authorisation,
            _ => Names::Nothing,
        }
    }

    /// Whether money goes back or rules are loosened, so that a supervisor must agree.
    pub const fn needs_supervisor(self) -> bool {
        self.undoes() || matches!(self, Self::Refund | Self::ChipRefund | Self::PreauthVoid)
    }

    /// Whether the chip itself takes part; otherwise the card is only read.
    pub const fn uses_chip(self) -> bool {
        matches!(
            self,
            Self::Sale
                | Self::Preauth
                | Self::Balance
                | Self::Instalment
                | Self::PointsSale
                | Self::OfflineChip
                | Self::Load
                | Self::TransferLoad
                | Self::CashLoad
                | Self::CashLoadVoid
        )
    }

    /// Whether a card is presented at all. A void names its sale, and a tip is added to one.
    pub const fn uses_card(self) -> bool {
        !matches!(self, Self::Tip)
    }

    /// Whether the card must be there although the batch has its number: a purse is in its chip.
    pub const fn needs_card(self) -> bool {
        matches!(self, Self::CashLoadVoid)
    }

    /// How its card may be read; the first one, where there are two.
    pub const fn ways(self) -> Ways {
        match self {
            Self::Load | Self::CashLoad | Self::CashLoadVoid => Ways::SLOT,
            Self::OfflineChip => Ways::CHIP,
            Self::OfflineSale | Self::TransferLoad => Ways::STRIPE,
            _ => Ways::ALL,
        }
    }

    /// How the card of the purse is read, where another card pays.
    pub const fn second(self) -> Option<Ways> {
        match self {
            Self::TransferLoad => Some(Ways::SLOT),
            _ => None,
        }
    }

    /// Whether the account is not touched without its PIN.
    pub const fn demands_pin(self) -> bool {
        matches!(self, Self::Load | Self::TransferLoad)
    }

    /// Whether a slip is printed of it.
    pub const fn prints(self) -> bool {
        !matches!(self, Self::Balance)
    }

    /// Whether the host is asked while the customer waits.
    pub const fn goes_online(self) -> bool {
        !matches!(self, Self::OfflineSale | Self::OfflineChip | Self::Tip)
    }
}
