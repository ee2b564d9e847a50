//! The terminal dialect: China UnionPay POS terminal to acquirer, baseline profile `cup-pos-1`.
//!
//! Packed digits, packed length prefixes, a 64-bit bitmap. Maxima of 46, 47, 56, 57 and 62 are modelled: the
//! fields are vendor or private ones whose limits differ between hosts. 59, 62 and 63 carry binary items in
//! some uses (keys, SM4 PIN, parameters) and are therefore opaque here; [`subfield`](crate::subfield) and
//! [`tlv`](crate::tlv) read them by use.

use super::{Coding, Dialect, FieldSpec, Format, Justify, Length, Show};

const fn fixed(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    len: u16,
    show: Show,
) -> FieldSpec {
    line(number, zh, en, format, Length::Fixed(len), show)
}

const fn ll(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    max: u16,
    show: Show,
) -> FieldSpec {
    line(number, zh, en, format, Length::Ll(max), show)
}

const fn lll(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    max: u16,
    show: Show,
) -> FieldSpec {
    line(number, zh, en, format, Length::Lll(max), show)
}

const fn line(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    length: Length,
    show: Show,
) -> FieldSpec {
    let coding = match format {
        Format::N | Format::Z => Coding::Bcd,
        _ => Coding::Ascii,
    };
    FieldSpec::new(number, (zh, en), format, coding, length, show)
}

const fn right(mut spec: FieldSpec) -> FieldSpec {
    spec.justify = Justify::Right;
    spec
}

use Format::{An, Ans, B, N, Text, Z};
use Show::{Amount, Chip, Date, Expiry, Free, Nested, Pan, Plain, Secret, Time, Track};

/// The terminal dialect in its baseline profile, `cup-pos-1`.
pub static CUP_POS: Dialect = Dialect::from_lines(
    "cup-pos-1",
    Coding::Bcd,
    8,
    Some(3),
    &[
        ll(2, "主账号", "primary account number", N, 19, Pan),
        fixed(3, "交易处理码", "processing code", N, 6, Plain),
        fixed(4, "交易金额", "amount", N, 12, Amount),
        fixed(11, "受卡方系统跟踪号", "terminal trace number", N, 6, Plain),
        fixed(12, "受卡方所在地时间", "local time", N, 6, Time),
        fixed(13, "受卡方所在地日期", "local date", N, 4, Date),
        fixed(14, "卡有效期", "expiry", N, 4, Expiry),
        fixed(15, "清算日期", "settlement date", N, 4, Date),
        fixed(22, "服务点输入方式码", "entry mode", N, 3, Plain),
        right(fixed(23, "卡序列号", "card sequence number", N, 3, Plain)),
        fixed(25, "服务点条件码", "condition code", N, 2, Plain),
        fixed(26, "服务点PIN获取码", "PIN capture code", N, 2, Plain),
        ll(32, "受理方标识码", "acquirer identification", N, 11, Plain),
        ll(35, "2磁道数据", "track 2", Z, 37, Track),
        lll(36, "3磁道数据", "track 3", Z, 104, Track),
        fixed(37, "检索参考号", "retrieval reference number", An, 12, Plain),
        fixed(38, "授权标识应答码", "authorisation code", An, 6, Plain),
        fixed(39, "应答码", "response code", An, 2, Plain),
        fixed(41, "受卡机终端标识码", "terminal identification", Ans, 8, Plain),
        fixed(42, "受卡方标识码", "merchant identification", Ans, 15, Plain),
        fixed(43, "商户名称", "merchant name", Text, 40, Plain),
        ll(44, "附加响应数据", "additional response data", Text, 25, Plain),
        lll(46, "终端信息", "vendor: terminal information", Text, 999, Free),
        lll(47, "厂商自定义域", "vendor data", Text, 999, Free),
        lll(48, "附加数据-私有", "additional data, private", N, 322, Nested),
        fixed(49, "交易货币代码", "currency code", An, 3, Plain),
        fixed(52, "个人标识码数据", "PIN block", B, 8, Secret),
        fixed(53, "安全控制信息", "security control", N, 16, Plain),
        lll(54, "余额", "additional amounts", Ans, 20, Nested),
        lll(55, "IC卡数据域", "chip data", B, 255, Chip),
        lll(56, "厂商自定义域", "vendor: result text", Text, 999, Free),
        lll(57, "厂商自定义域", "vendor data", Text, 999, Free),
        lll(58, "电子现金信息", "electronic cash text", Text, 100, Free),
        lll(59, "自定义域", "terminal and QR data", B, 600, Nested),
        lll(60, "自定义域", "private: type, batch, management code", N, 17, Nested),
        lll(61, "原始信息域", "original message", N, 29, Nested),
        lll(62, "自定义域", "private: keys, parameters", B, 999, Nested),
        lll(63, "自定义域", "private: operator, organisation, texts", B, 163, Nested),
        fixed(64, "报文鉴别码", "message authentication code", B, 8, Plain),
    ],
);
