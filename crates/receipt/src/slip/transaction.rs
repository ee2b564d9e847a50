//! The slip of a transaction, both copies in one document.

use serde::{Deserialize, Serialize};

use super::{Shop, head, reprint_mark, yuan};
use crate::model::{Align, Copies, Line, ReceiptDoc, Size, Width};
use crate::pan::MaskedPan;

/// How a card was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Magnetic stripe.
    Swipe,
    /// Chip with contacts.
    Chip,
    /// Contactless.
    Tap,
    /// Keyed.
    Manual,
    /// Magnetic stripe of a card whose chip could not be read.
    Fallback,
}

impl Entry {
    /// As slips mark it.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Swipe => "刷卡/S",
            Self::Chip => "插卡/I",
            Self::Tap => "闪付/C",
            Self::Manual => "手输/M",
            Self::Fallback => "降级/F",
        }
    }
}

/// What kind of transaction, as far as it changes what must stand on the slip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A sale and what is like it.
    #[default]
    Sale,
    /// Void and refund: no chip data, the original.
    Undo,
    /// Pre-authorisation, its completion and their voids: expiry and organisation on both copies.
    Preauth,
}

/// Chip data, hexadecimal but for name and label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipSlip {
    /// `TC`, or `ARQC`.
    pub cryptogram_name: String,
    /// Cryptogram (9F26).
    pub cryptogram: String,
    /// Application identifier (84 or 9F06).
    pub aid: String,
    /// Application label (50).
    pub label: String,
    /// Terminal verification results (95).
    pub tvr: String,
    /// Transaction status information (9B).
    pub tsi: String,
    /// Application transaction counter (9F36).
    pub atc: String,
    /// Card sequence number (5F34).
    pub sequence: String,
    /// Unpredictable number (9F37).
    pub un: String,
    /// Application interchange profile (82).
    pub aip: String,
    /// Issuer application data (9F10).
    pub iad: String,
}

/// A card payment's part of the slip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSlip {
    /// Issuer, from field 44.
    pub issuer: String,
    /// Acquirer, from field 44.
    pub acquirer: String,
    /// Card number.
    pub pan: MaskedPan,
    /// How it was read.
    pub entry: Entry,
    /// YYMM.
    pub expiry: Option<String>,
    /// Card organisation, from field 63.1: `CUP` and others.
    pub organisation: String,
    /// Chip data, of a payment with a chip.
    pub chip: Option<Box<ChipSlip>>,
}

/// A payer's name at a wallet, masked. Made by [`Payer::mask`], which leaves the first three and the last two characters
/// at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Payer(String);

impl Payer {
    /// Masks a payer's identifier; one that the channel has masked stays as it is.
    pub fn mask(id: &str) -> Self {
        let count = id.chars().count();
        if id.contains("**") {
            return Self(id.to_owned());
        }
        let (front, back) = (3.min(count / 4), 2.min(count / 4));
        let star = |(at, c)| if at < front || at + back >= count { c } else { '*' };
        Self(id.chars().enumerate().map(star).collect())
    }

    /// The masked text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Payer {
    fn from(id: String) -> Self {
        Self::mask(&id)
    }
}

impl From<Payer> for String {
    fn from(payer: Payer) -> Self {
        payer.0
    }
}

/// A payment by code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletSlip {
    /// 微信, 支付宝, 银联二维码.
    pub channel: String,
    /// Payer.
    pub payer: Option<Payer>,
    /// The acquirer's order number.
    pub order_no: String,
    /// The channel's order number.
    pub channel_order_no: Option<String>,
    /// What the channel or its sponsors paid, in fen.
    pub discount_fen: u64,
    /// What the payer paid, in fen.
    pub paid_fen: u64,
    /// The order number as a bar code at the end, for a refund at the till.
    pub barcode: bool,
}

/// What was paid with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// Card.
    Card(CardSlip),
    /// Code.
    Wallet(WalletSlip),
}

/// What a void, refund or completion refers to; what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    /// Batch.
    pub batch: Option<u32>,
    /// Trace.
    pub trace: Option<u32>,
    /// Reference number, or order number of a payment by code.
    pub reference: Option<String>,
    /// MMDD.
    pub date: Option<String>,
    /// Authorisation code.
    pub auth_code: Option<String>,
}

/// How the payer confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Signs on the merchant's paper.
    Sign,
    /// Signed on the screen; the reference of the image.
    Signed(String),
    /// Neither PIN nor signature up to this amount, in fen: its wording stands on both copies.
    NoPinNoSign(u64),
    /// At the payer's own device, or nothing is asked for.
    Nothing,
}

/// A transaction, as its slip shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionSlip {
    /// Paper.
    pub width: Width,
    /// Merchant and terminal.
    pub shop: Shop,
    /// Kind, Chinese.
    pub kind_zh: String,
    /// Kind, English capitals.
    pub kind_en: String,
    /// What kind it is like.
    pub family: Family,
    /// What was paid with.
    pub means: Means,
    /// Batch (60.2).
    pub batch: u32,
    /// Trace (11).
    pub trace: u32,
    /// Reference number (37).
    pub reference: String,
    /// Authorisation code (38); empty when the answer had none.
    pub auth_code: String,
    /// Date and time, as `2026/11/24 10:15:30`.
    pub at: String,
    /// Amount in fen.
    pub amount_fen: u64,
    /// Money goes back to the payer: the amount has a minus.
    pub credit: bool,
    /// Tip in fen: the total is printed as well.
    pub tip_fen: Option<u64>,
    /// Further labels and values below the amount: instalments, points.
    pub further: Vec<(String, String)>,
    /// What it refers to.
    pub original: Option<Original>,
    /// How the payer confirmed.
    pub verification: Verification,
    /// Text of the answer (63.2).
    pub remark: String,
    /// Reprints so far, this one included; 0 on the first print.
    pub reprints: u32,
    /// Its numbers as a two-dimensional code at the end, for a scanner that looks for it later.
    #[serde(default)]
    pub code: Option<String>,
}

/// Dots a module of the code: read by a hand-held scanner, and no larger than a third of the paper's length.
const CODE_PX: u8 = 4;

/// The document of a transaction's slip: render it once for each copy.
pub fn transaction(slip: &TransactionSlip) -> ReceiptDoc {
    let mut doc = ReceiptDoc::new(slip.width);
    doc.push(Line::centre("POS 签购单").size(Size::Large).bold());
    doc.push(Line::pair("商户存根", "MERCHANT COPY").on(Copies::Merchant));
    doc.push(Line::pair("持卡人存根", "CARDHOLDER COPY").on(Copies::Cardholder));
    doc.push(Line::rule());
    head(&mut doc, &slip.shop);
    match &slip.means {
        Means::Card(card) => card_lines(&mut doc, card, slip.family),
        Means::Wallet(wallet) => {
            doc.push(Line::key_value("支付渠道", &wallet.channel));
            if let Some(payer) = &wallet.payer {
                doc.push(Line::key_value("付款账号", payer.as_str()).sensitive());
            }
        }
    }
    doc.push(Line::pair(format!("交易类型: {}", slip.kind_zh), &slip.kind_en));
    doc.push(Line::pair(format!("批次号: {:06}", slip.batch), format!("凭证号: {:06}", slip.trace)));
    doc.push(Line::key_value("参考号", &slip.reference));
    doc.push(Line::key_value("授权码", &slip.auth_code));
    if let Means::Wallet(wallet) = &slip.means {
        doc.push(Line::key_value("订单号", &wallet.order_no));
        if let Some(order) = &wallet.channel_order_no {
            doc.push(Line::key_value("渠道单号", order));
        }
    }
    doc.push(Line::key_value("日期时间", &slip.at));
    amounts(&mut doc, slip);
    for (label, value) in &slip.further {
        doc.push(Line::key_value(label, value));
    }
    if let Some(original) = &slip.original {
        original_lines(&mut doc, original);
    }
    if let Means::Card(CardSlip { chip: Some(chip), .. }) = &slip.means
        && slip.family != Family::Undo
    {
        chip_lines(&mut doc, chip);
    }
    doc.push(Line::rule());
    doc.push(Line::key_value("备注", &slip.remark));
    verification(&mut doc, &slip.verification);
    if let Means::Wallet(wallet) = &slip.means
        && wallet.barcode
    {
        doc.push(Line::barcode(&wallet.order_no));
    }
    if let Some(code) = &slip.code {
        doc.push(Line::qr(code, CODE_PX));
    }
    reprint_mark(&mut doc, slip.reprints);
    doc
}

fn card_lines(doc: &mut ReceiptDoc, card: &CardSlip, family: Family) {
    doc.push(Line::key_value("发卡行", &card.issuer));
    doc.push(Line::key_value("收单行", &card.acquirer));
    doc.push(Line::card("卡号", &card.pan, card.entry.mark()));
    let copies = if family == Family::Preauth { Copies::Both } else { Copies::Merchant };
    let expiry = card.expiry.as_deref().unwrap_or_default();
    let line = Line::pair(format!("有效期: {expiry}"), format!("卡组织: {}", card.organisation));
    doc.push(line.on(copies).sensitive());
}

fn amounts(doc: &mut ReceiptDoc, slip: &TransactionSlip) {
    let sign = if slip.credit { "-" } else { "" };
    let amount = |label: &str, fen: u64| Line::key_value(label, format!("RMB {sign}{}", yuan(fen)));
    doc.push(amount("金额", slip.amount_fen).size(Size::Large).bold());
    if let Some(tip) = slip.tip_fen {
        doc.push(amount("小费", tip));
        doc.push(amount("总计", slip.amount_fen.saturating_add(tip)).size(Size::Large).bold());
    }
    if let Means::Wallet(wallet) = &slip.means {
        doc.push(amount("优惠", wallet.discount_fen));
        doc.push(amount("实付", wallet.paid_fen).bold());
    }
}

fn original_lines(doc: &mut ReceiptDoc, original: &Original) {
    if let Some(batch) = original.batch {
        doc.push(Line::key_value("原批次号", format!("{batch:06}")));
    }
    if let Some(trace) = original.trace {
        doc.push(Line::key_value("原凭证号", format!("{trace:06}")));
    }
    let texts = [
        ("原参考号", &original.reference),
        ("原交易日期", &original.date),
        ("原授权码", &original.auth_code),
    ];
    for (label, value) in texts {
        if let Some(value) = value {
            doc.push(Line::key_value(label, value));
        }
    }
}

fn chip_lines(doc: &mut ReceiptDoc, chip: &ChipSlip) {
    let pair = |a: &str, x: &str, b: &str, y: &str| Line::pair(format!("{a}: {x}"), format!("{b}: {y}"));
    let lines = [
        Line::rule(),
        Line::key_value(&chip.cryptogram_name, &chip.cryptogram),
        Line::key_value("AID", &chip.aid),
        Line::key_value("应用标签", &chip.label),
        pair("TVR", &chip.tvr, "TSI", &chip.tsi),
        pair("ATC", &chip.atc, "CSN", &chip.sequence),
        pair("UN", &chip.un, "AIP", &chip.aip),
        Line::key_value("IAD", &chip.iad),
    ];
    for line in lines {
        doc.push(line.on(Copies::Merchant));
    }
}

fn verification(doc: &mut ReceiptDoc, verification: &Verification) {
    match verification {
        Verification::Nothing => return,
        Verification::NoPinNoSign(limit_fen) => {
            doc.push(Line::text(format!("交易金额未超 {} 元,免密免签", yuan(*limit_fen))));
            return;
        }
        Verification::Sign => {
            doc.push(Line::text("持卡人签名:").on(Copies::Merchant));
            doc.push(Line::space(2).on(Copies::Merchant));
        }
        Verification::Signed(reference) => {
            doc.push(Line::text("持卡人签名:").on(Copies::Merchant));
            doc.push(Line::signature(reference).on(Copies::Merchant));
        }
    }
    doc.push(Line::text("本人确认以上交易并同意入账").align(Align::Left).on(Copies::Merchant));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payer_is_masked_whatever_comes() {
        assert_eq!(Payer::mask("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o").as_str(), "oUp***********************6o");
        assert_eq!(Payer::mask("159****1234").as_str(), "159****1234");
        assert_eq!(Payer::mask("ab").as_str(), "**");
        let parsed: Payer = serde_json::from_str("\"13912345678\"").unwrap();
        assert_eq!(parsed.as_str(), "13*******78");
    }
}
