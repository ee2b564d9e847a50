//! Layouts of the terminal dialect: 54, 60, 61, 62 (status) and 63.

use std::borrow::Cow;

use super::Reader;
use crate::error::{ErrorKind, ParseError};
use crate::message::{Digits, Message};

/// Field 60: what kind of message this is, in which batch.
///
/// Seen with 8, 11, 13, 14 and 17 digits; the wallet variant has 19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PosField60 {
    /// 60.1, n2: message or transaction type code (22 sale, 23 sale void, 00 management, ...).
    pub msg_type: u8,
    /// 60.2, n6: batch number.
    pub batch: u32,
    /// 60.3, n3: network management code; 0 in financial messages.
    pub network_code: Option<u16>,
    /// 60.4, n1: reading capability of the terminal: 2 magnetic, 5 chip, 6 chip and contactless.
    pub capability: Option<u8>,
    /// 60.5, n1: chip condition: 0 normal, 2 fallback.
    pub chip_condition: Option<u8>,
    /// 60.6, n1: 1 when partial approval and balance return are supported.
    pub partial_approval: Option<u8>,
    /// 60.7, n3: account type: 0 default, 48 issuer points, 65 alliance points.
    pub account_type: Option<u16>,
    /// Digits after 60.7, which only profiles with a longer field 60 let through.
    pub beyond: u16,
}

impl PosField60 {
    /// Reads the digits of field 60.
    ///
    /// # Errors
    /// Fewer than the eight digits of type and batch, or a sub-field that is cut through.
    pub fn parse(digits: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(60, digits.as_bytes(), 2);
        let mut field = Self {
            msg_type: reader.number(2)? as u8,
            batch: reader.number(6)? as u32,
            network_code: reader.optional(3)?.map(|code| code as u16),
            capability: reader.optional(1)?.map(|digit| digit as u8),
            chip_condition: reader.optional(1)?.map(|digit| digit as u8),
            partial_approval: reader.optional(1)?.map(|digit| digit as u8),
            ..Self::default()
        };
        // The wallet variant goes on in its own way after 14 digits, so an odd rest is not an error.
        if reader.rest.len() >= 3 {
            field.account_type = reader.optional(3)?.map(|kind| kind as u16);
        }
        field.beyond = reader.rest.len() as u16;
        Ok(field)
    }

    /// Field 60 of a terminal message, if present.
    ///
    /// # Errors
    /// As [`PosField60::parse`], placed in the message.
    #[inline]
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        // The usual form in a few steps: packed, with 14 digits.
        if let Some(&[kind, b1, b2, b3, c1, c2, d]) = message.packed(60, 14) {
            let pair = |byte: u8| u32::from(byte >> 4) * 10 + u32::from(byte & 15);
            return Ok(Some(Self {
                msg_type: pair(kind) as u8,
                batch: (pair(b1) * 100 + pair(b2)) * 100 + pair(b3),
                network_code: Some((pair(c1) * 10) as u16 + u16::from(c2 >> 4)),
                capability: Some(c2 & 15),
                chip_condition: Some(d >> 4),
                partial_approval: Some(d & 15),
                account_type: None,
                beyond: 0,
            }));
        }
        read(message, 60, Self::parse)
    }

    /// The digits to put, up to the first sub-field that is `None`. Values wider than their sub-field lose
    /// their upper digits.
    #[must_use]
    pub fn to_digits(&self) -> Digits {
        let mut digits = Digits::empty();
        digits.push(u64::from(self.msg_type), 2);
        digits.push(u64::from(self.batch), 6);
        let rest = [
            (self.network_code, 3),
            (self.capability.map(u16::from), 1),
            (self.chip_condition.map(u16::from), 1),
            (self.partial_approval.map(u16::from), 1),
            (self.account_type, 3),
        ];
        for (value, width) in rest {
            let Some(value) = value else { break };
            digits.push(u64::from(value), width);
        }
        digits
    }
}

/// Field 61: the transaction that a void, refund, completion or script result refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Original61 {
    /// 61.1, n6: batch of the original; zero when it came from another terminal.
    pub batch: u32,
    /// 61.2, n6: trace number of the original.
    pub trace: u32,
    /// 61.3, `MMDD`: date of the original.
    pub date: Option<u16>,
    /// 61.4, n2: how the original was authorised.
    pub auth_mode: Option<u8>,
    /// 61.5, n11: who authorised it.
    pub auth_institution: Option<u64>,
}

impl Original61 {
    /// Reads the digits of field 61.
    ///
    /// # Errors
    /// Fewer than twelve digits, a sub-field that is cut through, or digits after the last.
    pub fn parse(digits: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::new(61, digits.as_bytes(), 2);
        let field = Self {
            batch: reader.number(6)? as u32,
            trace: reader.number(6)? as u32,
            date: reader.optional(4)?.map(|date| date as u16),
            auth_mode: reader.optional(2)?.map(|mode| mode as u8),
            auth_institution: reader.optional(11)?,
        };
        if reader.rest.is_empty() { Ok(field) } else { Err(reader.error()) }
    }

    /// Field 61 of a terminal message, if present.
    ///
    /// # Errors
    /// As [`Original61::parse`], placed in the message.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        read(message, 61, Self::parse)
    }

    /// The digits to put, up to the first sub-field that is `None`.
    #[must_use]
    pub fn to_digits(&self) -> Digits {
        let mut digits = Digits::empty();
        digits.push(u64::from(self.batch), 6);
        digits.push(u64::from(self.trace), 6);
        let rest =
            [(self.date.map(u64::from), 4), (self.auth_mode.map(u64::from), 2), (self.auth_institution, 11)];
        for (value, width) in rest {
            let Some(value) = value else { break };
            digits.push(value, width);
        }
        digits
    }
}

/// Reads a numeric field of at most 104 digits by `parse`.
pub(super) fn read<T>(
    message: &Message<'_>,
    number: u8,
    parse: impl FnOnce(&str) -> Result<T, ParseError>,
) -> Result<Option<T>, ParseError> {
    if !message.has(number) {
        return Ok(None);
    }
    let bad = ParseError::new(number, 0, ErrorKind::BadSubfield);
    let digits = message.digits(number).ok_or(bad).map_err(|error| message.place(number, error))?;
    parse(&digits).map(Some).map_err(|error| message.place(number, error))
}

/// One balance of field 54, 20 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount54 {
    /// Account type, n2: 00 default, 10 savings, 20 cheque, 30 credit.
    pub account_type: u8,
    /// Amount type, n2: 01 ledger balance, 02 available balance.
    pub amount_type: u8,
    /// Currency, n3: 156.
    pub currency: u16,
    /// The amount in fen; negative with sign `D`.
    pub fen: i64,
}

impl Amount54 {
    /// Characters of one balance.
    pub const LEN: usize = 20;

    /// Reads one balance.
    ///
    /// # Errors
    /// Other than twenty characters, or one of them not as laid out.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let bad = |offset| ParseError::new(54, offset, ErrorKind::BadSubfield);
        let (head, tail) = text.as_bytes().split_at_checked(8).ok_or(bad(0))?;
        let (sign, head) = head.split_last().ok_or(bad(7))?;
        if tail.len() != 12 {
            return Err(bad(text.len()));
        }
        let mut head = Reader::new(54, head, 1);
        let (account_type, amount_type) = (head.number(2)? as u8, head.number(2)? as u8);
        let currency = head.number(3)? as u16;
        let fen = Reader::new(54, tail, 1).number(12).map_err(|_| bad(8))? as i64;
        match sign {
            b'C' => Ok(Self { account_type, amount_type, currency, fen }),
            b'D' => Ok(Self { account_type, amount_type, currency, fen: -fen }),
            _ => Err(bad(7)),
        }
    }

    /// The twenty characters.
    #[must_use]
    pub fn to_text(&self) -> String {
        let sign = if self.fen < 0 { 'D' } else { 'C' };
        format!(
            "{:02}{:02}{:03}{sign}{:012}",
            self.account_type,
            self.amount_type,
            self.currency,
            self.fen.unsigned_abs()
        )
    }
}

/// The balances of field 54: one toward terminals, one after the other on the network.
///
/// # Errors
/// The first balance that is broken ends the list with its error.
pub fn amounts_54(text: &str) -> impl Iterator<Item = Result<Amount54, ParseError>> + '_ {
    text.as_bytes().chunks(Amount54::LEN).enumerate().map(|(place, chunk)| {
        let at = |error: ParseError| ParseError { offset: place * Amount54::LEN + error.offset, ..error };
        let bad = ParseError::new(54, 0, ErrorKind::BadSubfield);
        std::str::from_utf8(chunk).map_err(|_| bad).and_then(Amount54::parse).map_err(at)
    })
}

/// Field 62 of a status upload or a parameter download: items of a two-digit code and a value whose length
/// follows from the code. The lengths are modelled on one terminal family's fixed record.
#[derive(Debug, Clone, Copy)]
pub struct Status62<'a>(&'a [u8]);

/// One item of [`Status62`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusItem<'a> {
    /// Item code, 1 to 26.
    pub code: u8,
    /// The value's characters.
    pub value: &'a [u8],
}

/// Item code, characters of its value, names.
const STATUS_ITEMS: &[(u8, usize, &str, &str)] = &[
    (1, 1, "键盘", "keyboard"),
    (2, 1, "密码键盘", "PIN pad"),
    (3, 1, "读卡器", "reader"),
    (4, 1, "打印机", "printer"),
    (5, 1, "显示屏", "display"),
    (11, 2, "应用类型", "application type"),
    (12, 2, "超时时间", "time-out"),
    (13, 1, "重拨次数", "retries"),
    (14, 14, "交易电话1", "phone number 1"),
    (15, 14, "交易电话2", "phone number 2"),
    (16, 14, "交易电话3", "phone number 3"),
    (17, 14, "管理电话", "management phone"),
    (18, 1, "支持小费", "tip allowed"),
    (19, 2, "小费百分比", "tip percentage"),
    (20, 1, "支持手工输入卡号", "manual card number allowed"),
    (21, 1, "自动签退", "automatic sign-off"),
    (22, 40, "商户名称", "merchant name"),
    (23, 1, "冲正重发次数", "reversal resend count"),
    (24, 1, "密钥信息1", "key related 1"),
    (25, 1, "密钥信息2", "key related 2"),
    (26, 4, "交易开关", "transaction list"),
];

impl<'a> Status62<'a> {
    /// The items of a field 62.
    #[must_use]
    pub const fn new(field: &'a [u8]) -> Self {
        Self(field)
    }

    /// The items in order. A code that is not in the list, or a value cut short, ends them with an error.
    pub fn items(&self) -> impl Iterator<Item = Result<StatusItem<'a>, ParseError>> + use<'a> {
        let all = self.0;
        let mut rest = all;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let split = || {
                let (code, after) = rest.split_first_chunk::<2>()?;
                let [tens, units] = code.map(crate::swar::decimal);
                let code = tens? * 10 + units?;
                let (_, len, ..) = STATUS_ITEMS.iter().find(|item| item.0 == code)?;
                let (value, after) = after.split_at_checked(*len)?;
                Some((StatusItem { code, value }, after))
            };
            if let Some((item, after)) = split() {
                rest = after;
                return Some(Ok(item));
            }
            let offset = all.len() - rest.len();
            rest = &[];
            Some(Err(ParseError::new(62, offset, ErrorKind::BadSubfield)))
        })
    }
}

impl StatusItem<'_> {
    /// Chinese and English name of the item.
    #[must_use]
    pub fn names(&self) -> (&'static str, &'static str) {
        let item = STATUS_ITEMS.iter().find(|item| item.0 == self.code);
        item.map_or(("", ""), |(_, _, zh, en)| (zh, en))
    }

    /// Appends the item. False, with nothing written, when code and length do not go together.
    #[must_use]
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let known = STATUS_ITEMS.iter().any(|item| item.0 == self.code && item.1 == self.value.len());
        if known {
            out.extend_from_slice(&[b'0' + self.code / 10, b'0' + self.code % 10]);
            out.extend_from_slice(self.value);
        }
        known
    }
}

/// Field 63 of an answer: card organisation and texts for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text63<'a> {
    organisation: &'a str,
    texts: &'a [u8],
}

impl<'a> Text63<'a> {
    /// Widths in bytes of the texts of issuer, UnionPay, acquirer and terminal.
    pub const WIDTHS: [usize; 4] = [20, 20, 20, 60];

    /// Reads a field 63.
    ///
    /// # Errors
    /// Fewer than three bytes, or an organisation that is not ASCII.
    pub fn parse(field: &'a [u8]) -> Result<Self, ParseError> {
        let bad = ParseError::new(63, 0, ErrorKind::BadSubfield);
        let (organisation, texts) = field.split_at_checked(3).ok_or(bad)?;
        let organisation = std::str::from_utf8(organisation).map_err(|_| bad)?;
        if organisation.is_ascii() { Ok(Self { organisation, texts }) } else { Err(bad) }
    }

    /// 63.1, three characters: `CUP`, `VIS`, ...; in a sign-in, the operator number.
    #[must_use]
    pub const fn organisation(&self) -> &'a str {
        self.organisation
    }

    /// 63.2 as one text, decoded from GBK; bytes that are no GBK show as the replacement character.
    #[must_use]
    pub fn message(&self) -> Cow<'a, str> {
        encoding_rs::GBK.decode_without_bom_handling(self.texts).0
    }

    /// The texts of issuer, UnionPay, acquirer and terminal, spaces at the end removed.
    #[must_use]
    pub fn parts(&self) -> [String; 4] {
        let mut rest = self.texts;
        Self::WIDTHS.map(|width| {
            let (part, after) = rest.split_at(width.min(rest.len()));
            rest = after;
            encoding_rs::GBK.decode_without_bom_handling(part).0.trim_end().to_owned()
        })
    }

    /// Appends a field 63 of this organisation (three characters) and the four texts, each filled to its width
    /// as far as a later one follows. False, with nothing written, when something does not fit.
    #[must_use]
    pub fn write(out: &mut Vec<u8>, organisation: &str, parts: [&str; 4]) -> bool {
        let start = out.len();
        let last = parts.iter().rposition(|part| !part.is_empty());
        out.extend_from_slice(organisation.as_bytes());
        let mut good = organisation.len() == 3 && organisation.is_ascii();
        for (place, (part, width)) in parts.iter().zip(Self::WIDTHS).enumerate() {
            if last.is_none_or(|last| place > last) {
                break;
            }
            let (bytes, _, lost) = encoding_rs::GBK.encode(part);
            good &= !lost && bytes.len() <= width;
            out.extend_from_slice(&bytes);
            if last != Some(place) {
                out.resize(out.len() + width.saturating_sub(bytes.len()), b' ');
            }
        }
        if !good {
            out.truncate(start);
        }
        good
    }
}
