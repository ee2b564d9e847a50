//! A message for people: every field with its name and a readable value, secrets hidden.
//!
//! The description is made from the masked copy of the message ([`mask`](crate::mask)), so it cannot show more
//! than the journal holds. It is a plain structure; whoever prints it chooses table or JSON.

mod nested;
mod tags;

use crate::dialect::{Coding, Show};
use crate::mask::{hidden_part, mask_message};
use crate::message::{Field, Message};
use crate::mti::Mti;

pub use tags::tag_names;

/// Language of names in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// Chinese.
    Chinese,
    /// English.
    English,
    /// Both, Chinese first.
    #[default]
    Both,
}

/// A described message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Name of the dialect.
    pub dialect: String,
    /// Message type.
    pub mti: Mti,
    /// Chinese name of the message type.
    pub mti_zh: &'static str,
    /// English name of the message type.
    pub mti_en: &'static str,
    /// Bytes of the message.
    pub length: usize,
    /// Fields, ascending.
    pub fields: Vec<DescribedField>,
}

/// A described field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedField {
    /// Field number.
    pub number: u8,
    /// Chinese name.
    pub name_zh: &'static str,
    /// English name.
    pub name_en: &'static str,
    /// Length in digits or bytes, as the field counts.
    pub length: usize,
    /// Readable value, masked.
    pub value: String,
    /// Sub-fields and TLV items, in order.
    pub children: Vec<DescribedItem>,
}

/// A described sub-field or TLV item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedItem {
    /// `60.2`, `9F26`, `A2.02`.
    pub label: String,
    /// Chinese name; empty when unknown.
    pub name_zh: &'static str,
    /// English name; empty when unknown.
    pub name_en: &'static str,
    /// Readable value, masked.
    pub value: String,
}

impl DescribedItem {
    fn new(label: impl Into<String>, names: (&'static str, &'static str), value: impl Into<String>) -> Self {
        Self { label: label.into(), name_zh: names.0, name_en: names.1, value: value.into() }
    }
}

/// What stands where something is hidden.
pub(crate) fn hidden(len: usize) -> String {
    format!("<{len} hidden>")
}

/// Message type, Chinese name, English name.
const MESSAGE_TYPES: &[(u16, &str, &str)] = &[
    (100, "授权请求", "authorisation request"),
    (110, "授权应答", "authorisation response"),
    (200, "金融请求", "financial request"),
    (210, "金融应答", "financial response"),
    (220, "金融通知请求", "financial advice"),
    (221, "金融通知重发", "financial advice, repeated"),
    (230, "金融通知应答", "financial advice response"),
    (320, "批上送请求", "batch upload"),
    (330, "批上送应答", "batch upload response"),
    (400, "冲正请求", "reversal request"),
    (410, "冲正应答", "reversal response"),
    (420, "冲正通知请求", "reversal advice"),
    (421, "冲正通知重发", "reversal advice, repeated"),
    (430, "冲正通知应答", "reversal advice response"),
    (500, "批结算请求", "settlement request"),
    (510, "批结算应答", "settlement response"),
    (620, "脚本处理结果通知", "script result advice"),
    (630, "脚本处理结果应答", "script result response"),
    (800, "网络管理请求", "network management request"),
    (810, "网络管理应答", "network management response"),
    (820, "网络管理通知请求", "network management advice"),
    (830, "网络管理通知应答", "network management advice response"),
    (920, "电子签名请求", "e-signature upload"),
    (930, "电子签名应答", "e-signature response"),
];

/// Describes `message`.
#[must_use]
pub fn describe(message: &Message<'_>) -> Description {
    let mut masked = Vec::with_capacity(message.bytes().len());
    mask_message(message, &mut masked);
    let mti = message.mti();
    let names = MESSAGE_TYPES.iter().find(|entry| entry.0 == mti.value());
    let (mti_zh, mti_en) = names.map_or(("", ""), |(_, zh, en)| (zh, en));
    // Masking keeps a message parseable; were it not so, nothing is shown rather than the original.
    let fields = match message.dialect().parse(&masked) {
        Ok(masked) => masked.fields().map(|field| describe_field(&masked, &field)).collect(),
        Err(_) => Vec::new(),
    };
    let dialect = message.dialect().name().to_owned();
    Description { dialect, mti, mti_zh, mti_en, length: message.bytes().len(), fields }
}

/// `message` is masked already.
fn describe_field(message: &Message<'_>, field: &Field<'_>) -> DescribedField {
    let spec = field.spec();
    let plain = plain_value(field);
    let value = match spec.show {
        Show::Plain | Show::Free => plain,
        Show::Amount => yuan(&plain),
        Show::Time => split_pairs(&plain, ":"),
        Show::Date => split_pairs(&plain, "-"),
        Show::DateTime => match plain.split_at_checked(4) {
            Some((date, time)) => format!("{} {}", split_pairs(date, "-"), split_pairs(time, ":")),
            None => plain,
        },
        Show::Expiry => match plain.split_at_checked(2) {
            Some((year, month)) => format!("20{year}-{month}"),
            None => plain,
        },
        Show::Pan | Show::Account => stars(&plain, hidden_part(plain.chars().count())),
        Show::Track => stars(&plain, 6.min(plain.len())..plain.len()),
        Show::Secret => hidden(field.len()),
        Show::Chip => format!("{} bytes", field.len()),
        Show::Nested => nested::value(message, field, plain),
    };
    let children = match spec.show {
        Show::Chip => nested::chip(field.body(), ""),
        Show::Nested => nested::children(message, field),
        _ => Vec::new(),
    };
    DescribedField {
        number: field.number(),
        name_zh: spec.name_zh,
        name_en: spec.name_en,
        length: field.len(),
        value,
        children,
    }
}

/// Digits, text, or hexadecimal where a field is not text.
fn plain_value(field: &Field<'_>) -> String {
    if let Some(digits) = field.digits() {
        return digits.as_str().to_owned();
    }
    if field.spec().coding == Coding::Bcd {
        let digits = (0..field.len()).filter_map(|place| field.digit(place));
        return digits.map(char::from).collect();
    }
    text_or_hex(field.body())
}

/// Text when it is printable (GBK decoded, spaces at the end dropped), else hexadecimal.
pub(crate) fn text_or_hex(bytes: &[u8]) -> String {
    if crate::swar::is_text(bytes) {
        let (text, lost) = encoding_rs::GBK.decode_without_bom_handling(bytes);
        if !lost {
            return text.trim_end().to_owned();
        }
    }
    hex(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| crate::swar::unpack1(*byte)).map(char::from).collect()
}

/// `value` with the characters at `places` as stars.
fn stars(value: &str, places: std::ops::Range<usize>) -> String {
    value
        .chars()
        .enumerate()
        .map(|(at, character)| if places.contains(&at) { '*' } else { character })
        .collect()
}

/// Twelve digits of fen as yuan: `000000000100` is `1.00`.
pub(crate) fn yuan(digits: &str) -> String {
    match digits.len().checked_sub(2).and_then(|point| digits.split_at_checked(point)) {
        Some((whole, fraction)) => {
            let whole = whole.trim_start_matches('0');
            format!("{}.{fraction}", if whole.is_empty() { "0" } else { whole })
        }
        None => digits.to_owned(),
    }
}

/// Pairs of digits joined by `separator`.
fn split_pairs(digits: &str, separator: &str) -> String {
    let pairs = digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair));
    pairs.collect::<Vec<_>>().join(separator)
}

impl Description {
    /// A table with one line per field, indented lines for sub-fields; columns line up with Chinese characters
    /// two columns wide.
    #[must_use]
    pub fn to_table(&self, language: Language) -> String {
        let names = |zh: &str, en: &str| match language {
            Language::Chinese if !zh.is_empty() => zh.to_owned(),
            Language::Chinese | Language::English => en.to_owned(),
            Language::Both if zh.is_empty() || en.is_empty() => format!("{zh}{en}"),
            Language::Both => format!("{zh} {en}"),
        };
        let mut rows = Vec::new();
        for field in &self.fields {
            rows.push((format!("{:>3}", field.number), names(field.name_zh, field.name_en), &field.value));
            for item in &field.children {
                let label = format!("    {}", item.label);
                rows.push((label, names(item.name_zh, item.name_en), &item.value));
            }
        }
        let label_width = rows.iter().map(|row| columns(&row.0)).max().unwrap_or(0);
        let name_width = rows.iter().map(|row| columns(&row.1)).max().unwrap_or(0);
        let mut table = format!(
            "{} {}  [{}, {} fields, {} bytes]\n",
            self.mti,
            names(self.mti_zh, self.mti_en),
            self.dialect,
            self.fields.len(),
            self.length
        );
        for (label, name, value) in rows {
            table.push_str(&label);
            table.push_str(&" ".repeat(label_width - columns(&label) + 2));
            table.push_str(&name);
            table.push_str(&" ".repeat(name_width - columns(&name) + 2));
            table.push_str(value);
            table.push('\n');
        }
        table
    }
}

/// Terminal columns of `text`: two for Chinese characters and full-width signs.
fn columns(text: &str) -> usize {
    let wide = |character: &char| matches!(*character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{ffe6}');
    text.chars().count() + text.chars().filter(wide).count()
}
