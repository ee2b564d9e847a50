//! A notice: what a person at the counter must know, on paper.

use serde::{Deserialize, Serialize};

use super::{Shop, head};
use crate::model::{Line, ReceiptDoc, Size, Width};

/// Something that is no transaction: a reversal that goes on, a card that refused, a list of parameters, a test page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Paper.
    pub width: Width,
    /// Heading.
    pub title: String,
    /// Merchant and terminal, when they matter.
    pub shop: Option<Shop>,
    /// When, as `2026/11/24 21:00:05`.
    pub at: String,
    /// Paragraphs.
    pub lines: Vec<String>,
    /// A code below, with what it says.
    pub qr: Option<String>,
}

/// The document of a notice. It has one copy.
pub fn notice(notice: &Notice) -> ReceiptDoc {
    /// Dots a module: large enough for any phone, and made smaller when the code is long.
    const QR_DOTS: u8 = 8;
    let mut doc = ReceiptDoc::new(notice.width);
    doc.push(Line::centre(&notice.title).size(Size::Large).bold());
    doc.push(Line::rule());
    if let Some(shop) = &notice.shop {
        head(&mut doc, shop);
    }
    doc.push(Line::key_value("打印时间", &notice.at));
    doc.push(Line::rule());
    for line in &notice.lines {
        doc.push(Line::text(line));
    }
    if let Some(data) = &notice.qr {
        doc.push(Line::qr(data, QR_DOTS));
    }
    doc
}
