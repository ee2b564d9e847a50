//! What a command came to: what the operator sees, what a script compares, what a story shows.

use crate::codes;
use crate::message::Kind;
use crate::rules::Reason;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Approved, and confirmed by the chip if there is one.
    Approved,
    /// Declined by an authentic answer.
    Declined,
    /// Declined by the chip before anything was sent.
    DeclinedByChip,
    /// Sent, and no answer came.
    NoAnswer,
    /// An answer came that cannot be used: fields or MAC wrong.
    Unusable,
    /// Approved by the host and refused by the chip.
    ChipRefused,
}

/// A balance as field 54 gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The holder owes it.
    pub debit: bool,
    /// In fen.
    pub amount_fen: u64,
}

/// The outcome of one request. `Debug` leaves the frames out.
#[derive(Clone)]
pub struct Outcome {
    /// What was done.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// Whether it stands.
    pub approved: bool,
    /// Field 39, when an authentic answer came.
    pub response_code: Option<String>,
    /// Text for the operator, Chinese.
    pub text_zh: String,
    /// Text for the operator, English.
    pub text_en: String,
    /// Trace number, field 11.
    pub trace: u32,
    /// Batch number, 60.2, of the request.
    pub batch: u32,
    /// Amount in fen; with a partial approval the approved one.
    pub amount_fen: Option<u64>,
    /// Masked card number.
    pub card: Option<String>,
    /// Field 37.
    pub rrn: Option<String>,
    /// Field 38.
    pub auth_code: Option<String>,
    /// Field 54 of a balance answer.
    pub balance: Option<Balance>,
    /// The reversal that now waits, with its reason.
    pub reversal: Option<Reason>,
    /// The request as sent, with its length prefix; empty when nothing was sent. It holds card data: show it through
    /// [`show`](crate::show) only.
    pub request: Vec<u8>,
    /// The answer as received, with its length prefix.
    pub response: Option<Vec<u8>>,
    /// The slip, both copies.
    pub receipt: Option<String>,
    /// What the operator must know besides.
    pub notices: Vec<String>,
    /// Requests that went out first: a pending reversal, uploads of a settlement.
    pub preceding: Vec<Outcome>,
    /// Requests that went out after it: what the host demanded in its answer.
    pub following: Vec<Outcome>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome")
            .field("kind", &self.kind)
            .field("status", &self.status)
            .field("response_code", &self.response_code)
            .field("trace", &self.trace)
            .field("batch", &self.batch)
            .field("amount_fen", &self.amount_fen)
            .field("card", &self.card)
            .field("rrn", &self.rrn)
            .field("reversal", &self.reversal)
            .field("notices", &self.notices)
            .finish_non_exhaustive()
    }
}

impl Outcome {
    pub(crate) fn new(kind: Kind, status: Status, trace: u32, batch: u32) -> Self {
        let (text_zh, text_en) = match status {
            Status::Approved => ("交易成功", "approved"),
            Status::Declined => ("交易失败", "declined"),
            Status::DeclinedByChip => ("卡片拒绝", "declined by the card"),
            Status::NoAnswer => ("无应答", "no answer"),
            Status::Unusable => ("应答无效", "the answer cannot be used"),
            Status::ChipRefused => ("卡片拒绝,待冲正", "refused by the card, to be reversed"),
        };
        Self {
            kind,
            status,
            approved: status == Status::Approved,
            response_code: None,
            text_zh: text_zh.to_owned(),
            text_en: text_en.to_owned(),
            trace,
            batch,
            amount_fen: None,
            card: None,
            rrn: None,
            auth_code: None,
            balance: None,
            reversal: None,
            request: Vec::new(),
            response: None,
            receipt: None,
            notices: Vec::new(),
            preceding: Vec::new(),
            following: Vec::new(),
        }
    }

    /// Sets field 39 and its texts.
    pub(crate) fn with_code(mut self, code: &str) -> Self {
        let row = codes::look_up(code);
        self.response_code = Some(code.to_owned());
        if self.status != Status::ChipRefused {
            self.text_zh = row.zh.to_owned();
            self.text_en = row.en.to_owned();
        }
        self
    }

    /// Both texts, for logs and stories.
    pub fn text(&self) -> String {
        format!("{} / {}", self.text_zh, self.text_en)
    }
}

/// Reads the available balance out of field 54: items of account type 2, amount type 2, currency 3, sign 1,
/// amount 12. The available balance (02) is preferred to the ledger balance (01).
pub(crate) fn balance(field: &str) -> Option<Balance> {
    let mut found = None;
    let mut rest = field;
    while let Some((item, next)) = rest.split_at_checked(20) {
        let sign = item.get(7..8)?;
        let amount_fen = item.get(8..20)?.parse().ok()?;
        let preferred = item.get(2..4) == Some("02");
        if found.is_none() || preferred {
            found = Some(Balance { debit: sign == "D", amount_fen });
        }
        if preferred {
            break;
        }
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_balance_is_read_with_its_sign() {
        let both = "1001156C000000100000".to_owned() + "1002156C000000090000";
        assert_eq!(balance(&both), Some(Balance { debit: false, amount_fen: 90_000 }));
        assert_eq!(balance("3002156D000000000150"), Some(Balance { debit: true, amount_fen: 150 }));
        assert_eq!(balance("short"), None);
    }
}
