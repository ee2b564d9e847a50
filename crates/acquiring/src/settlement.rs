//! Batch settlement 批结算: the totals of a terminal's batch and how they are compared.

use crate::money::Amount;

/// Count and sum of one side of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideTotal {
    /// Sum.
    pub amount: Amount,
    /// Number of payments.
    pub count: u32,
}

/// Debit and credit of one card block (domestic or foreign).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTotals {
    /// Sales and completions.
    pub debit: SideTotal,
    /// Voids and refunds, each with its own amount.
    pub credit: SideTotal,
}

/// Totals of a batch as field 48 of 0500 carries them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTotals {
    /// Domestic cards 内卡.
    pub domestic: BlockTotals,
    /// Foreign cards 外卡.
    pub foreign: BlockTotals,
}

/// Result of comparing one block, the digit in field 48 of 0510.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockResult {
    /// 1 对账平.
    Balanced,
    /// 2 对账不平: details must be uploaded.
    Differs,
    /// 3 the host could not compare.
    Error,
}

impl BlockResult {
    /// The digit.
    pub const fn digit(self) -> u8 {
        match self {
            BlockResult::Balanced => 1,
            BlockResult::Differs => 2,
            BlockResult::Error => 3,
        }
    }

    /// Compares one block of the terminal's with ours.
    pub fn compare(terminal: BlockTotals, host: BlockTotals) -> Self {
        if terminal == host { BlockResult::Balanced } else { BlockResult::Differs }
    }
}

/// What a difference between terminal and journal is, found by the uploaded details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The terminal has it, the journal does not (or not as approved).
    OnlyTerminal,
    /// The journal has it as approved, the terminal did not upload it.
    OnlyHost,
    /// Both have it with different amounts.
    Amount,
    /// Both have it with different cards.
    Card,
    /// Both have it, one as a domestic card's and the other as a foreign one's: it counts in different blocks.
    Class,
}

impl DifferenceKind {
    /// Short code in the store.
    pub const fn code(self) -> &'static str {
        match self {
            DifferenceKind::OnlyTerminal => "only_terminal",
            DifferenceKind::OnlyHost => "only_host",
            DifferenceKind::Amount => "amount",
            DifferenceKind::Card => "card",
            DifferenceKind::Class => "card_class",
        }
    }
}
