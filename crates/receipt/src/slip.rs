//! The slips themselves: from plain data to a document, with everything that must stand on each.
//!
//! | element | on both copies | on the merchant's only |
//! |---|---|---|
//! | title, copy mark, reprint mark with count | x | |
//! | merchant, terminal, operator, acquirer, issuer or channel | x | |
//! | card number masked, how it was read | x | |
//! | expiry, card organisation | pre-authorisation family | else |
//! | type, batch, trace, reference, authorisation code, time, amounts, original | x | |
//! | payer, order numbers, discount and paid (codes) | x | |
//! | chip data | | sale and pre-authorisation family |
//! | remark (field 63.2) | x | |
//! | wording of a payment without PIN and signature | x | |
//! | signature and confirmation | | unless without PIN and signature, or by code |

mod notice;
mod settlement;
mod transaction;

use serde::{Deserialize, Serialize};

use crate::model::{Align, Line, ReceiptDoc};

pub use notice::{Notice, notice};
pub use settlement::{Balance, Block, Detail, Row, SettlementSlip, settlement};
pub use transaction::{
    CardSlip, ChipSlip, Entry, Family, Means, Original, Payer, TransactionSlip, Verification, WalletSlip,
    transaction,
};

/// Merchant and terminal, as each slip names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shop {
    /// Name of the merchant.
    pub merchant_name: String,
    /// Number of the merchant, 15 characters.
    pub merchant_no: String,
    /// Number of the terminal, 8 characters.
    pub terminal_no: String,
    /// Operator, two digits.
    pub operator: String,
}

/// Fen as yuan with two decimals.
pub fn yuan(fen: u64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

fn head(doc: &mut ReceiptDoc, shop: &Shop) {
    doc.push(Line::key_value("商户名称", &shop.merchant_name));
    doc.push(Line::key_value("商户编号", &shop.merchant_no));
    doc.push(Line::pair(format!("终端编号: {}", shop.terminal_no), format!("操作员: {}", shop.operator)));
}

/// The mark of a reprint, last on its slip; none on the first print.
fn reprint_mark(doc: &mut ReceiptDoc, count: u32) {
    if count > 0 {
        doc.push(Line::text(format!("*** 重打印凭证 第{count}次 ***")).align(Align::Centre).bold());
    }
}
