//! Sub-fields of private fields, for the description. The message is masked already.

use super::tags::tag_names;
use super::{DescribedItem, hex, hidden, text_or_hex, yuan};
use crate::mask::{hidden_part, is_public_62, is_receipt_tag, is_secret_tag, mask_pan};
use crate::message::{Field, Message};
use crate::subfield::{
    BatchDetail48, COMPOSITE_60, KeyScheme, Original61, PosField60, Sm4Pin63, Status62, Text63, Totals48,
    amounts_54,
};
use crate::tlv;

/// Value of a field that has sub-fields.
pub(super) fn value(message: &Message<'_>, field: &Field<'_>, plain: String) -> String {
    let network = is_network(message);
    match (field.number(), network) {
        (62, false) if !is_public_62(message, field.body()) => hidden(field.len()),
        (59, _) | (48, true) => format!("{} bytes", field.len()),
        (48, false) if !matches!(message.mti().value(), 500 | 510) && field.len() > 4 => {
            format!("{} digits", field.len())
        }
        (63, _) if field.body().starts_with(b"SM") || field.body().starts_with(b"TK") => hidden(field.len()),
        _ => plain,
    }
}

/// The sub-fields; none when the field does not follow a known layout.
pub(super) fn children(message: &Message<'_>, field: &Field<'_>) -> Vec<DescribedItem> {
    match (field.number(), is_network(message)) {
        (48, false) => additional_48(message),
        (48, true) if field.body().starts_with(b"NK") => {
            vec![DescribedItem::new("NK", ("新密钥", "new key"), hidden(field.len() - 2))]
        }
        (54, _) => balances(field),
        (59, _) => items_59(message, field.body()),
        (60, false) => private_60(message),
        (60, true) => composite_60(field),
        (61, false) => original_61(message),
        (62, false) => private_62(message, field.body()),
        (63, _) => texts_63(message, field.body()),
        (90, true) => original_90(field),
        _ => Vec::new(),
    }
}

fn is_network(message: &Message<'_>) -> bool {
    message.dialect().mac_field() == 128
}

/// Items of chip data, templates followed.
pub(super) fn chip(data: &[u8], prefix: &str) -> Vec<DescribedItem> {
    let mut items = Vec::new();
    for item in tlv::iter(data) {
        let Ok(item) = item else {
            items.push(DescribedItem::new("", ("数据错误", "broken data"), ""));
            break;
        };
        let label = format!("{prefix}{:02X}", item.tag);
        let value = match item.tag {
            tag if is_secret_tag(tag) => hidden(item.value.len()),
            0x9F02 | 0x9F03 => yuan(&hex(item.value)),
            0x50 | 0x8A | 0x9F1E | 0x9F4E | 0x9F74 => text_or_hex(item.value),
            tag if is_receipt_tag(tag) => text_or_hex(item.value),
            _ => hex(item.value),
        };
        let nested = prefix.len() < 24 && tlv::is_constructed(item.tag) && !is_receipt_tag(item.tag);
        items.push(DescribedItem::new(label.clone(), tag_names(item.tag), value));
        if nested {
            items.extend(chip(item.value, &format!("{label}.")));
        }
    }
    items
}

fn private_60(message: &Message<'_>) -> Vec<DescribedItem> {
    let Ok(Some(private)) = PosField60::of(message) else { return Vec::new() };
    let mut items = vec![
        DescribedItem::new("60.1", ("交易类型码", "message type code"), format!("{:02}", private.msg_type)),
        DescribedItem::new("60.2", ("批次号", "batch number"), format!("{:06}", private.batch)),
    ];
    let mut push = |label: &str, zh, en, value: Option<u16>, width: usize| {
        if let Some(value) = value {
            items.push(DescribedItem::new(label, (zh, en), format!("{value:0width$}")));
        }
    };
    push("60.3", "网络管理信息码", "network management code", private.network_code, 3);
    push("60.4", "终端读取能力", "reading capability", private.capability.map(u16::from), 1);
    push("60.5", "IC卡条件代码", "chip condition", private.chip_condition.map(u16::from), 1);
    push("60.6", "支持部分扣款标志", "partial approval", private.partial_approval.map(u16::from), 1);
    push("60.7", "账户类型", "account type", private.account_type, 3);
    items
}

fn original_61(message: &Message<'_>) -> Vec<DescribedItem> {
    let Ok(Some(original)) = Original61::of(message) else { return Vec::new() };
    let mut items = vec![
        DescribedItem::new("61.1", ("原始批次号", "original batch"), format!("{:06}", original.batch)),
        DescribedItem::new("61.2", ("原始流水号", "original trace"), format!("{:06}", original.trace)),
    ];
    if let Some(date) = original.date {
        items.push(DescribedItem::new("61.3", ("原始交易日期", "original date"), format!("{date:04}")));
    }
    if let Some(mode) = original.auth_mode {
        items.push(DescribedItem::new("61.4", ("原始授权方式", "original mode"), format!("{mode:02}")));
    }
    if let Some(institution) = original.auth_institution {
        let value = format!("{institution:011}");
        items.push(DescribedItem::new("61.5", ("原始授权机构", "original authoriser"), value));
    }
    items
}

fn additional_48(message: &Message<'_>) -> Vec<DescribedItem> {
    if matches!(message.mti().value(), 500 | 510) {
        let Ok(Some(totals)) = Totals48::of(message) else { return Vec::new() };
        let mut items = Vec::new();
        for (side, zh, en, block) in
            [("1", "内卡", "domestic", totals.domestic), ("2", "外卡", "foreign", totals.foreign)]
        {
            let amount = |fen: u64, count| format!("{} x {count}", yuan(&format!("{fen:012}")));
            let label = |part: &str| format!("48.{side}{part}");
            items.push(DescribedItem::new(label(""), (zh, en), format!("result {}", block.result)));
            let value = amount(block.debit_fen, block.debit_count);
            items.push(DescribedItem::new(label(".1"), ("借记总金额、笔数", "debits"), value));
            let value = amount(block.credit_fen, block.credit_count);
            items.push(DescribedItem::new(label(".2"), ("贷记总金额、笔数", "credits"), value));
        }
        return items;
    }
    let Ok(Some(details)) = BatchDetail48::of(message) else { return Vec::new() };
    let lines = details.lines().map_while(Result::ok).enumerate().map(|(place, line)| {
        let value = format!(
            "{} {:06} {} {}",
            if line.foreign { "01" } else { "00" },
            line.trace,
            mask_pan(&line.pan),
            yuan(&format!("{:012}", line.fen))
        );
        DescribedItem::new(format!("48.{}", place + 1), ("明细", "detail"), value)
    });
    lines.collect()
}

fn balances(field: &Field<'_>) -> Vec<DescribedItem> {
    let text = std::str::from_utf8(field.body()).unwrap_or("");
    let amounts = amounts_54(text).map_while(Result::ok).enumerate().map(|(place, amount)| {
        let names = match amount.amount_type {
            1 => ("账面余额", "ledger balance"),
            2 => ("可用余额", "available balance"),
            _ => ("金额", "amount"),
        };
        let sign = if amount.fen < 0 { "-" } else { "" };
        let value =
            format!("{sign}{} {}", yuan(&format!("{:012}", amount.fen.unsigned_abs())), amount.currency);
        DescribedItem::new(format!("54.{}", place + 1), names, value)
    });
    amounts.collect()
}

fn items_59(message: &Message<'_>, body: &[u8]) -> Vec<DescribedItem> {
    let Some(digits) = message.dialect().tlv59_digits() else { return Vec::new() };
    let mut items = Vec::new();
    for item in tlv::ascii_iter(body, digits).map_while(Result::ok) {
        let label = item.tag.escape_ascii().to_string();
        let names = match &item.tag {
            b"A1" => ("PIN密文", "SM4 PIN block"),
            b"A2" => ("终端信息", "terminal information"),
            b"A3" => ("扫码付码", "customer code"),
            b"A4" => ("付款凭证号", "payment voucher"),
            b"A5" => ("位置信息", "location"),
            _ => ("", ""),
        };
        let value = match &item.tag {
            b"A1" => hidden(item.value.len()),
            b"A3" => {
                let text = text_or_hex(item.value);
                super::stars(&text, hidden_part(text.chars().count()))
            }
            _ => text_or_hex(item.value),
        };
        items.push(DescribedItem::new(label.clone(), names, value));
        if item.tag == *b"A2" {
            for part in tlv::ascii_iter(item.value, digits).map_while(Result::ok) {
                let names = match &part.tag {
                    b"01" => ("设备类型", "device type"),
                    b"02" => ("终端序列号", "device serial number"),
                    b"03" => ("加密随机因子", "random factor"),
                    b"04" => ("硬件序列号密文", "serial number cipher"),
                    b"05" => ("应用版本号", "application version"),
                    _ => ("", ""),
                };
                let label = format!("{label}.{}", part.tag.escape_ascii());
                items.push(DescribedItem::new(label, names, text_or_hex(part.value)));
            }
        }
    }
    items
}

fn composite_60(field: &Field<'_>) -> Vec<DescribedItem> {
    let text = std::str::from_utf8(field.body()).unwrap_or("");
    let mut rest = text;
    let mut items = Vec::new();
    for (label, len, zh, en) in COMPOSITE_60 {
        let Some((value, after)) = rest.split_at_checked(*len) else { break };
        items.push(DescribedItem::new(*label, (zh, en), value));
        rest = after;
    }
    items
}

fn original_90(field: &Field<'_>) -> Vec<DescribedItem> {
    let digits = field.digits();
    let mut rest = digits.as_deref().unwrap_or("");
    let mut items = Vec::new();
    for (label, len, zh, en) in [
        ("90.1", 4, "原始报文类型", "original message type"),
        ("90.2", 6, "原始系统跟踪号", "original trace number"),
        ("90.3", 10, "原始交易传输时间", "original transmission time"),
        ("90.4", 11, "原始代理机构", "original acquirer"),
        ("90.5", 11, "原始发送机构", "original forwarder"),
    ] {
        let Some((value, after)) = rest.split_at_checked(len) else { break };
        items.push(DescribedItem::new(label, (zh, en), value));
        rest = after;
    }
    items
}

fn private_62(message: &Message<'_>, body: &[u8]) -> Vec<DescribedItem> {
    let private = PosField60::of(message).ok().flatten().unwrap_or_default();
    let code = private.network_code.unwrap_or(0);
    match (message.mti().value(), code) {
        (810, code) if KeyScheme::from_code(code).is_some_and(|scheme| scheme.len() == body.len()) => {
            let keys: &[_] = match body.len() {
                24 => &[("PIN密钥", "PIN key", 12), ("MAC密钥", "MAC key", 12)],
                40 => &[("PIN密钥", "PIN key", 20), ("MAC密钥", "MAC key", 20)],
                _ => &[("PIN密钥", "PIN key", 20), ("MAC密钥", "MAC key", 20), ("磁道密钥", "track key", 20)],
            };
            let item = |(place, (zh, en, len)): (usize, &(&'static str, &'static str, usize))| {
                DescribedItem::new(format!("62.{}", place + 1), (zh, en), hidden(*len))
            };
            keys.iter().enumerate().map(item).collect()
        }
        (820, 362) | (810, 360) => {
            let items = Status62::new(body).items().map_while(Result::ok);
            let item = |item: crate::subfield::StatusItem<'_>| {
                DescribedItem::new(format!("62.{:02}", item.code), item.names(), text_or_hex(item.value))
            };
            items.map(item).collect()
        }
        // A status character, then items.
        (810 | 830, 361..=399) => match body.split_first() {
            Some((status, data)) if status.is_ascii_digit() => chip(data, ""),
            _ => Vec::new(),
        },
        (800, 361..=399) if body.first() == Some(&0x9F) => chip(body, ""),
        _ => Vec::new(),
    }
}

fn texts_63(message: &Message<'_>, body: &[u8]) -> Vec<DescribedItem> {
    if body.starts_with(Sm4Pin63::PREFIX) {
        return vec![DescribedItem::new("SM", ("国密PIN", "SM4 PIN block"), hidden(16))];
    }
    if is_network(message) || body.len() <= 3 {
        return Vec::new();
    }
    let Ok(texts) = Text63::parse(body) else { return Vec::new() };
    let names = [
        ("发卡方信息", "issuer text"),
        ("中国银联信息", "UnionPay text"),
        ("受理方信息", "acquirer text"),
        ("POS终端信息", "terminal text"),
    ];
    let mut items =
        vec![DescribedItem::new("63.1", ("国际信用卡公司代码", "card organisation"), texts.organisation())];
    for (place, (text, names)) in texts.parts().into_iter().zip(names).enumerate() {
        if !text.is_empty() {
            items.push(DescribedItem::new(format!("63.2.{}", place + 1), names, text));
        }
    }
    items
}
