//! The slip of a settlement: totals, and on demand every transaction.

use serde::{Deserialize, Serialize};

use super::{Shop, head, reprint_mark, yuan};
use crate::model::{Align, Cell, Line, ReceiptDoc, Size, Width};

/// What the host says of totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// 1: balanced.
    Equal,
    /// 2: not.
    Unequal,
    /// 3: error.
    Error,
}

impl Balance {
    /// From the digit of field 48; 0 is what hosts write that compare nothing.
    pub const fn from_digit(digit: u8) -> Self {
        match digit {
            0 | 1 => Self::Equal,
            2 => Self::Unequal,
            _ => Self::Error,
        }
    }

    const fn zh(self) -> &'static str {
        match self {
            Self::Equal => "平",
            Self::Unequal => "不平",
            Self::Error => "出错",
        }
    }
}

/// One line of totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What.
    pub name: String,
    /// How many.
    pub count: u32,
    /// How much, in fen.
    pub fen: u64,
}

impl Row {
    /// A line.
    pub fn new(name: &str, count: u32, fen: u64) -> Self {
        Self { name: name.to_owned(), count, fen }
    }
}

/// Lines under a heading: 内卡 (银行卡), 外卡, 扫码.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Heading.
    pub title: String,
    /// Lines.
    pub rows: Vec<Row>,
}

/// One transaction of the list (明细单).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Trace.
    pub trace: u32,
    /// Kind, Chinese, short.
    pub kind: String,
    /// Last four digits of the card, or the channel.
    pub tail: String,
    /// Amount in fen.
    pub fen: u64,
    /// Money went back.
    pub credit: bool,
    /// Authorisation code.
    pub auth_code: String,
}

/// A settlement, as its slip shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementSlip {
    /// Paper.
    pub width: Width,
    /// Merchant and terminal.
    pub shop: Shop,
    /// Batch that was settled.
    pub batch: u32,
    /// Settlement date MMDD.
    pub settle_date: String,
    /// When it is printed, as `2026/11/24 21:00:05`.
    pub printed_at: String,
    /// Cards of the country.
    pub domestic: Balance,
    /// Cards of other countries.
    pub foreign: Balance,
    /// Totals by cards and codes whose messages were 8583: what the sums below are made of.
    pub blocks: Vec<Block>,
    /// Count and fen of what the merchant is owed.
    pub debit: (u32, u64),
    /// Count and fen of what goes back.
    pub credit: (u32, u64),
    /// Of which: 免密免签, 闪付.
    pub of_which: Vec<Row>,
    /// Payments by order code, which are in no sum that the host compares.
    pub order_code: Vec<Row>,
    /// Every transaction, when the list is wanted.
    pub details: Vec<Detail>,
    /// Reprints so far, this one included; 0 on the first print.
    pub reprints: u32,
}

/// The document of a settlement's slip. It has one copy.
pub fn settlement(slip: &SettlementSlip) -> ReceiptDoc {
    let mut doc = ReceiptDoc::new(slip.width);
    let width = slip.width;
    doc.push(Line::centre("POS 结算总计单").size(Size::Large).bold());
    head(&mut doc, &slip.shop);
    doc.push(Line::pair(format!("批次号: {:06}", slip.batch), format!("结算日: {}", slip.settle_date)));
    doc.push(Line::key_value("打印时间", &slip.printed_at));
    doc.push(Line::pair(
        format!("内卡对账: {}", slip.domestic.zh()),
        format!("外卡对账: {}", slip.foreign.zh()),
    ));
    doc.push(Line::rule());
    doc.push(cells(width, "类型", "笔数", "金额"));
    for block in &slip.blocks {
        doc.push(Line::text(&block.title));
        rows(&mut doc, &block.rows);
    }
    doc.push(Line::rule());
    let (debit, credit) = (slip.debit, slip.credit);
    let totals = [Row::new("借记合计", debit.0, debit.1), Row::new("贷记合计", credit.0, credit.1)];
    rows(&mut doc, &totals);
    let net = match debit.1.checked_sub(credit.1) {
        Some(net) => yuan(net),
        None => format!("-{}", yuan(credit.1.saturating_sub(debit.1))),
    };
    doc.push(cells(width, "净额", &debit.0.saturating_add(credit.0).to_string(), &net).bold());
    if !slip.of_which.is_empty() {
        doc.push(Line::rule());
        rows(&mut doc, &slip.of_which);
    }
    if !slip.order_code.is_empty() {
        doc.push(Line::rule());
        doc.push(Line::text("订单码 (不计入以上合计)"));
        rows(&mut doc, &slip.order_code);
    }
    if !slip.details.is_empty() {
        details(&mut doc, slip);
    }
    reprint_mark(&mut doc, slip.reprints);
    doc
}

fn rows(doc: &mut ReceiptDoc, rows: &[Row]) {
    for row in rows {
        doc.push(cells(doc.width, &row.name, &row.count.to_string(), &yuan(row.fen)));
    }
}

/// Name, count and amount.
fn cells(width: Width, name: &str, count: &str, amount: &str) -> Line {
    let (first, second) = match width {
        Width::W58 => (11, 7),
        Width::W80 => (20, 10),
    };
    let cell = |text: &str, columns, align| Cell { text: text.to_owned(), columns, align };
    Line::columns(vec![
        cell(name, first, Align::Left),
        cell(count, second, Align::Right),
        cell(amount, 0, Align::Right),
    ])
}

/// Small print, two rows a transaction: kind and amount, below them card and authorisation code.
fn details(doc: &mut ReceiptDoc, slip: &SettlementSlip) {
    doc.push(Line::rule());
    doc.push(Line::centre("交易明细"));
    let mut line = |trace: &str, what: &str, right: &str| {
        let cell = |text: &str, columns, align| Cell { text: text.to_owned(), columns, align };
        let cells =
            vec![cell(trace, 7, Align::Left), cell(what, 11, Align::Left), cell(right, 0, Align::Right)];
        doc.push(Line::columns(cells).size(Size::Small));
    };
    line("凭证号", "类型", "金额");
    line("", "卡号", "授权码");
    for detail in &slip.details {
        let sign = if detail.credit { "-" } else { "" };
        line(&format!("{:06}", detail.trace), &detail.kind, &format!("{sign}{}", yuan(detail.fen)));
        line("", &detail.tail, &detail.auth_code);
    }
}
