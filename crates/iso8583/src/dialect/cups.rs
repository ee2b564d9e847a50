//! The network dialect: acquirer to UnionPay (CUPS).
//!
//! ASCII digits, ASCII length prefixes, a 128-bit bitmap. Formats follow ISO 8583:1987; the maxima of the
//! private fields are modelled and stand here to be changed.

use super::{Coding, Dialect, FieldSpec, Format, Length, Show};

const fn fixed(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    len: u16,
    show: Show,
) -> FieldSpec {
    FieldSpec::new(number, (zh, en), format, Coding::Ascii, Length::Fixed(len), show)
}

const fn ll(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    max: u16,
    show: Show,
) -> FieldSpec {
    FieldSpec::new(number, (zh, en), format, Coding::Ascii, Length::Ll(max), show)
}

const fn lll(
    number: u8,
    zh: &'static str,
    en: &'static str,
    format: Format,
    max: u16,
    show: Show,
) -> FieldSpec {
    FieldSpec::new(number, (zh, en), format, Coding::Ascii, Length::Lll(max), show)
}

use Format::{An, Ans, B, N, Text, Xn, Z};
use Show::{Account, Amount, Chip, Date, DateTime, Expiry, Free, Nested, Pan, Plain, Secret, Time, Track};

/// The network dialect.
pub static CUPS: Dialect = Dialect::from_lines(
    "cups",
    Coding::Ascii,
    16,
    Some(3),
    &[
        ll(2, "主账号", "primary account number", N, 19, Pan),
        fixed(3, "交易处理码", "processing code", N, 6, Plain),
        fixed(4, "交易金额", "amount", N, 12, Amount),
        fixed(5, "清算金额", "settlement amount", N, 12, Amount),
        fixed(6, "持卡人账户金额", "cardholder billing amount", N, 12, Amount),
        fixed(7, "交易传输时间", "transmission time", N, 10, DateTime),
        fixed(9, "清算汇率", "settlement rate", N, 8, Plain),
        fixed(10, "持卡人扣账汇率", "cardholder billing rate", N, 8, Plain),
        fixed(11, "系统跟踪号", "system trace number", N, 6, Plain),
        fixed(12, "受卡方所在地时间", "local time", N, 6, Time),
        fixed(13, "受卡方所在地日期", "local date", N, 4, Date),
        fixed(14, "卡有效期", "expiry", N, 4, Expiry),
        fixed(15, "清算日期", "settlement date", N, 4, Date),
        fixed(16, "兑换日期", "conversion date", N, 4, Date),
        fixed(18, "商户类型", "merchant category code", N, 4, Plain),
        fixed(19, "商户国家代码", "merchant country code", N, 3, Plain),
        fixed(22, "服务点输入方式码", "entry mode", N, 3, Plain),
        fixed(23, "卡序列号", "card sequence number", N, 3, Plain),
        fixed(25, "服务点条件码", "condition code", N, 2, Plain),
        fixed(26, "服务点PIN获取码", "PIN capture code", N, 2, Plain),
        fixed(28, "交易费", "transaction fee", Xn, 9, Plain),
        ll(32, "代理机构标识码", "acquiring institution", N, 11, Plain),
        ll(33, "发送机构标识码", "forwarding institution", N, 11, Plain),
        ll(35, "第二磁道数据", "track 2", Z, 37, Track),
        lll(36, "第三磁道数据", "track 3", Z, 104, Track),
        fixed(37, "检索参考号", "retrieval reference number", An, 12, Plain),
        fixed(38, "授权标识应答码", "authorisation code", An, 6, Plain),
        fixed(39, "应答码", "response code", An, 2, Plain),
        fixed(41, "受卡机终端标识码", "terminal identification", Ans, 8, Plain),
        fixed(42, "受卡方标识码", "merchant identification", Ans, 15, Plain),
        fixed(43, "受卡方名称地址", "merchant name and place", Text, 40, Plain),
        ll(44, "附加响应数据", "additional response data", Text, 25, Plain),
        ll(45, "第一磁道数据", "track 1", Ans, 79, Secret),
        lll(48, "附加数据-私有", "additional data, private", B, 512, Nested),
        fixed(49, "交易货币代码", "currency code", An, 3, Plain),
        fixed(50, "清算货币代码", "settlement currency code", An, 3, Plain),
        fixed(51, "持卡人账户货币代码", "cardholder billing currency code", An, 3, Plain),
        fixed(52, "个人标识码数据", "PIN block", B, 8, Secret),
        fixed(53, "安全控制信息", "security control", N, 16, Plain),
        lll(54, "实际余额", "additional amounts", Ans, 40, Nested),
        lll(55, "IC卡数据域", "chip data", B, 255, Chip),
        lll(57, "附加交易信息", "additional transaction information", Text, 100, Free),
        lll(59, "明细查询数据", "detail and QR data", Text, 600, Nested),
        lll(60, "自定义域", "composite: reason and conditions", Ans, 100, Nested),
        lll(61, "持卡人身份认证信息", "cardholder identity data", Text, 200, Secret),
        lll(62, "交换中心数据", "switch data", Text, 200, Free),
        lll(63, "金融网络数据", "network data", B, 512, Nested),
        fixed(70, "网络管理信息码", "network management code", N, 3, Plain),
        fixed(90, "原始数据元", "original data", N, 42, Nested),
        fixed(96, "报文安全码", "message security code", B, 8, Secret),
        ll(100, "接收机构标识码", "receiving institution", N, 11, Plain),
        ll(102, "账户标识1", "account 1", Ans, 28, Account),
        ll(103, "账户标识2", "account 2", Ans, 28, Account),
        lll(104, "交易描述", "transaction description", Text, 100, Free),
        lll(121, "交换中心保留", "reserved for the network", Text, 100, Free),
        lll(122, "受理方保留", "reserved for the acquirer", Text, 100, Free),
        lll(123, "发卡方保留", "reserved for the issuer", Text, 100, Free),
        fixed(128, "报文鉴别码", "message authentication code", B, 8, Plain),
    ],
);
