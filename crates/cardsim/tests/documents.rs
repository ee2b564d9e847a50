//! `docs/cards.md` and `docs/cards.zh-CN.md` are printed from the deck and its switches, so that they cannot lie.
//!
//! `POSP_WRITE_DOCS=1 cargo test -p cardsim --test documents` writes both anew after a card or switch was changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fmt::Write;

use cardsim::{Behaviour, Profile, deck};

const HEAD_EN: &str = "\
# Laboratory cards

Printed from `crates/cardsim`; [中文](cards.zh-CN.md).

Chip cards in software, at the level of commands and answers: selection, records, dynamic authentication, cryptograms,
issuer authentication, scripts; in the slot, and tapped (quickPass). **They protect nothing.** Numbers, PINs and keys are
published values of this laboratory: issuer keys `lab-1` (AC `0123456789ABCDEFFEDCBA9876543210`), RSA keys derived from
their names, so that everybody can compute them. A merchant's terminal refuses both.

Put one into the virtual reader of a PC (Debian packages `pcscd`, `vsmartcard-vpcd`, `opensc`):

```
cargo run -p cardsim --example reader -- L01
opensc-tool -s 00A4040008A00000033301010100
```
";

const HEAD_ZH: &str = "\
# 实验卡

由 `crates/cardsim` 生成；[English](cards.md)。

软件实现的芯片卡，按指令应答：选择、读记录、动态认证、应用密文、发卡行认证、发卡行脚本；支持插卡与闪付。
**这些卡不保护任何东西。** 卡号、密码与密钥均为本实验室公开的数值：发卡行密钥 `lab-1`
（AC `0123456789ABCDEFFEDCBA9876543210`），RSA 密钥由名称推导，任何人都能算出。正式终端拒绝加载它们。

将卡放入 PC 的虚拟读卡器（Debian 软件包 `pcscd`、`vsmartcard-vpcd`、`opensc`）：

```
cargo run -p cardsim --example reader -- L01
opensc-tool -s 00A4040008A00000033301010100
```
";

/// The sides that a card has.
fn sides(card: &Profile, zh: bool) -> &'static str {
    match (card.contact, card.contactless.is_some(), zh) {
        (true, true, true) => "插卡、闪付",
        (true, true, false) => "slot, tap",
        (false, _, true) => "闪付",
        (false, _, false) => "tap",
        (true, false, true) => "插卡",
        (true, false, false) => "slot",
    }
}

fn deck_table(zh: bool) -> String {
    let mut out = String::new();
    let (title, head) = if zh {
        ("芯片卡", "卡 | 卡号 | 有效期 | 服务码 | 密码 | 应用 | 接口 | 行为 | 说明")
    } else {
        ("Chip cards", "card | number | expiry | service | PIN | applications | sides | switches | what for")
    };
    writeln!(out, "\n## {title}\n\n| {head} |\n|---|---|---|---|---|---|---|---|---|").unwrap();
    for card in deck::chips() {
        let apps: Vec<_> = card.apps.iter().map(|app| app.label.as_str()).collect();
        let switches: Vec<_> = card.behaviour.iter().map(|switch| format!("`{switch}`")).collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            card.id,
            card.pan,
            card.expiry,
            card.service_code,
            card.pin.as_deref().unwrap_or("–"),
            apps.join(", "),
            sides(&card, zh),
            switches.join(" "),
            if zh { &card.note_zh } else { &card.note_en },
        )
        .unwrap();
    }
    let (title, head) = if zh {
        ("磁条卡", "卡 | 卡号 | 有效期 | 服务码 | 密码 | 说明")
    } else {
        ("Cards with a stripe only", "card | number | expiry | service | PIN | what for")
    };
    writeln!(out, "\n## {title}\n\n| {head} |\n|---|---|---|---|---|---|").unwrap();
    for card in deck::STRIPES {
        let note = if zh { card.note_zh } else { card.note_en };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {note} |",
            card.id, card.pan, card.expiry, card.service_code, card.pin
        )
        .unwrap();
    }
    out
}

fn switch_table(zh: bool) -> String {
    let mut out = String::new();
    let (title, text, head) = if zh {
        ("行为开关", "任何卡都可随时设置；括号内为参数示例。步骤名：", "开关 | 作用")
    } else {
        (
            "Switches",
            "Any card can be given any of them, at any time; arguments are examples. Steps are",
            "switch | what it does",
        )
    };
    writeln!(
        out,
        "\n## {title}\n\n{text} `select`, `gpo`, `record`, `dda`, `ac1`, `external`, `script`, `ac2`{}\n\n| {head} |\n|---|---|",
        if zh { "。" } else { "." },
    )
    .unwrap();
    for switch in Behaviour::ALL {
        let (note_zh, note_en) = switch.note();
        writeln!(out, "| `{switch}` | {} |", if zh { note_zh } else { note_en }).unwrap();
    }
    out
}

fn profile_part(zh: bool) -> String {
    let mut card = deck::find("L01").unwrap();
    card.id = "X01".to_owned();
    card.behaviour = vec!["unknown_tags".parse().unwrap()];
    let text = card.to_toml().unwrap();
    Profile::from_toml(&text).unwrap();
    let (title, words) = if zh {
        (
            "自定义卡",
            "卡片是一个 TOML 文件。值为十六进制，或以 `$` 开头的名称（`$pan`、`$track2`、`$icc_cert` 等），证书与签名自动生成。",
        )
    } else {
        (
            "A card of your own",
            "A card is a TOML file. A value is hexadecimal, or a name that begins with `$` (`$pan`, `$track2`, `$icc_cert`, …);\ncertificates and signatures are made from the rest.",
        )
    };
    format!("\n## {title}\n\n{words}\n\n```toml\n{}\n```\n", text.trim_end())
}

#[test]
fn the_documents_are_printed_from_the_deck() {
    let mut stale = Vec::new();
    for (name, head, zh) in [("cards.md", HEAD_EN, false), ("cards.zh-CN.md", HEAD_ZH, true)] {
        let expected = format!("{head}{}{}{}", deck_table(zh), switch_table(zh), profile_part(zh));
        let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("POSP_WRITE_DOCS").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != expected {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "out of date: {stale:?}; see the head of this test");
}
