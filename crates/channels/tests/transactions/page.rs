//! The page in two languages.

use std::fmt::Write;

use acquiring::kind::{FoundBy, Hold, KINDS, Kind, KindSpec, Side};
use acquiring::payment::PaymentState;
use acquiring::response_code::{Action, TABLE};
use acquiring::transition::Forward;

use crate::asked;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    fn of<'a>(self, en: &'a str, zh: &'a str) -> &'a str {
        match self {
            Language::English => en,
            Language::Chinese => zh,
        }
    }

    fn name(self, kind: Kind) -> &'static str {
        let spec = kind.spec();
        self.of(spec.en, spec.zh)
    }

    fn names(self, kinds: &[Kind]) -> String {
        let names: Vec<&str> = kinds.iter().map(|kind| self.name(*kind)).collect();
        names.join(self.of(", ", "、"))
    }
}

const HEAD_EN: &str = "\
# The transactions, one by one

Printed from the code: the table `crates/acquiring/src/kind.rs`, the words beside it (`about.rs`), the rules of
`transition.rs`, which were asked case by case, the table of response codes, and the messages that
`crates/channels/src/unionpay_card/message.rs` makes. Do not edit by hand; after a change
`POSP_WRITE_DOCS=1 cargo test -p channels --test transactions` writes it anew, and a test fails until it was.

Field numbers are those of [the dialects](dialects.md). *Optional* fields are read, or taken, when they are there; a
request without a *mandatory* field is answered 30. Any other field of the dialect is passed over, as 36 (track 3): nothing
reads it. Every answer has 12, 13 and 39, and 32 and 37 when the transaction got a number; 15, 38, 44, 54 and 55 when the
network told them; 64 where the answer carries a MAC.

What a transaction can be *refused with* stands in three places: the table below, for all; the rows *refused with* of its
section, which name the codes of its original (asked of `transition.rs`), of limits (asked of `limit.rs`; the day's count is
the store's), and its own (a list in `about.rs`, by hand, since they are spread over engine and door; each says from where it
comes). A network request *when known* has those fields that the terminal sent; with a PIN under SM4 it has 63 as well.
";

const HEAD_ZH: &str = "\
# 交易一览

本页由代码生成：交易表 `crates/acquiring/src/kind.rs` 及其说明（`about.rs`）、逐一询问 `transition.rs` 得到的规则、应答码表，
以及 `crates/channels/src/unionpay_card/message.rs` 实际组成的报文。请勿手工修改；改动代码后用
`POSP_WRITE_DOCS=1 cargo test -p channels --test transactions` 重新生成，测试会检查是否过期。

域号见[报文方言](dialects.md)。*必填*域缺失时应答 30；*可选*域出现时读取或接受。方言中的其他域一概忽略，例如 36 域（3 磁道）：没有任何代码读它。
每个应答都有 12、13、39 域，交易有编号时还有 32、37 域；
网络返回时有 15、38、44、54、55 域；应答带 MAC 时有 64 域。

一笔交易可能被拒绝的应答码分列三处：下面的通用表；本交易一节里“拒绝应答码”各行，即因原交易（逐一询问 `transition.rs` 得到）、
因限额（询问 `limit.rs` 得到；当日笔数由库计）；以及本交易特有的（`about.rs` 中手工维护的表，因为分散在引擎和终端入口，每项注明出处）。
CUPS 请求中“已知时”的域以终端送来的为准；PIN 用 SM4 加密时另有 63 域。
";

const COMMON_EN: &str = "
## What holds for all

| when | answer |
|---|---|
| a mandatory field is missing, a field is broken | 30 |
| the transaction is unknown | 40 |
| merchant unknown or closed | 03 |
| terminal unknown or closed | 97 |
| not signed in (today), another batch: all but sign-in, echo, status upload and downloads (a blacklist needs it) | 77 |
| MAC missing or wrong, where the request must carry one | A0 |
| the merchant's own profile reads bytes otherwise than this listener, or is not configured | 31 |
| the same merchant, terminal, batch and trace again, same bytes | the same answer; 09 while it is in work |
| the same numbers, other bytes | 94 |
| a request after its own reversal | 25 |
| no room, database or security module in trouble; nothing was sent | 96 |
| currency other than 156, entry mode and PIN disagree, chip read without chip data | 30 |
| amount zero / above the merchant's limit, of what takes money from the cardholder, sets it aside or changes the sum | 13 / 61 |
| a limit (`posp limit set`): it forbids / it forbids this kind of card / single amount or day's sum / day's count | 58 / 57 / 61 / 65 |
| the card is on the blacklist, whatever list the terminal has; not where something is undone, nor after the fact (modelled) | 62 |
| account number malformed / given twice and not the same | 14 / 59 |
| track under a track key that the terminal has not got / track that cannot be decrypted | 77 / 30 |
| PIN block that cannot be translated | 99 |
| the line to the network is down / has no keys yet / the security module cannot sign for it; nothing was sent | 91 / 92 / A7 |
| the network's own codes | passed on |

A reversal (0400) is answered 00 as soon as it is durable, also when its transaction never came. Toward the network an
outcome that is unknown is reversed (0420, then 0421) or repeated (0221) until it is acknowledged, across restarts.

**What is said again.** A reversal (0420, 0421) copies what the network's flow table asks for: field 48 of the request that it
undoes, and of its chip data the reduced set of a reversal, 95 9F1E 9F10 9F36 and DF31, each as the terminal's own 0400 tells it,
else as the request did; none when the request had no chip data. It needs no 14, 26, 35, 36, 52, 53, 102 or 103. A repeated 0221 copies field 14 and, but for card
number and track, field 55 of its 0220. Both are read from the journal's copy of the request, whose secrets are overwritten; the
0400's chip data waits sealed with its queue item.

**A deviation.** A repeated 0221 is to be the same body as its 0220, and lacks 26, 35, 52 and 53 that this may have had: track and
PIN must not be kept once the request was sent. An item code in field 48 with thirteen digits or more in a row could be a card
number, which the journal does not keep and a 0420 could not tell: such a sale is refused with 30. What a terminal told (offline sale, adjustment, tip, script
result) goes out without 26, 35, 52 and 53 from the first, for the same reason; its chip data waits sealed with its queue item, so
every repeat has the 55 of the first.

**Not told.** How an offline sale was authorised (61.4) and by which institution (61.5) stays in the journal's copy of the
terminal's message. Field 61 toward the network is identification data of another layout; its flow table copies the terminal's
61 for transactions that have no such parts, and has no row for an offline sale or an adjustment. The code given by voice goes in
38.
";

const COMMON_ZH: &str = "
## 通用规则

| 情形 | 应答 |
|---|---|
| 缺必填域、域格式错误 | 30 |
| 未知交易 | 40 |
| 商户未知或停用 | 03 |
| 终端未知或停用 | 97 |
| 未签到（当天）、批次不符：签到、回响、状态上送和下载除外（黑名单下载须签到） | 77 |
| 请求应带 MAC 而缺失或错误 | A0 |
| 商户自己的方言与本监听地址读报文的方式不同，或没有配置 | 31 |
| 商户、终端、批次、流水号及内容都相同的重复请求 | 同一应答；处理中则 09 |
| 号码相同而内容不同 | 94 |
| 冲正之后才到的原请求 | 25 |
| 过载、数据库或加密机故障；未发出任何报文 | 96 |
| 货币不是 156、输入方式与 PIN 不符、读芯片而无芯片数据 | 30 |
| 金额为零 / 超过商户限额（向持卡人收款、预授权和更改金额的交易） | 13 / 61 |
| 限额（`posp limit set`）：禁止 / 禁止此类卡 / 超过单笔或当日金额 / 超过当日笔数 | 58 / 57 / 61 / 65 |
| 卡在黑名单内（不论终端持有哪一版名单）；撤销、退货和事后上送的交易除外（自定） | 62 |
| 卡号格式错误 / 两处卡号不一致 | 14 / 59 |
| 磁道已加密而终端没有磁道密钥 / 磁道无法解密 | 77 / 30 |
| PIN 无法转加密 | 99 |
| 网络线路中断 / 尚无密钥 / 加密机无法签名；未发出任何报文 | 91 / 92 / A7 |
| 网络的应答码 | 原样转发 |

冲正（0400）一旦落盘即回 00，原交易从未到达也一样。对网络而言，结果未知的交易一直冲正（0420、0421）或重复（0221），直到得到确认，重启也不中断。

**再次送出的内容。** 冲正（0420、0421）按网络的流程表照抄：被冲正请求的 48 域，以及冲正用的缩减芯片数据 95、9F1E、9F10、9F36、DF31，
各项以终端自己的 0400 为准，没有时取自原请求，原请求没有芯片数据时不送；不需要 14、26、35、36、52、53、102、103 域。重复的 0221 照抄 0220 的 14 域，以及除卡号、磁道之外的 55 域。
两者都取自流水中的请求副本（敏感内容已覆盖）；0400 的芯片数据随队列项加密保存。

**与常规的差异。** 重复的 0221 应与 0220 内容相同，但没有先前可能有的 26、35、52、53 域：请求发出之后不得保存磁道和 PIN。48 域的项目编码若含连续
十三位以上数字，可能是卡号，流水不能保存，0420 也就送不出，因此这样的交易应答 30。终端事后上送的交易（离线结算、调整、小费、脚本结果）因同样的原因从第一次起就没有
26、35、52、53 域；其芯片数据随队列项加密保存，因此每次重复都带有与第一次相同的 55 域。

**不转送的内容。** 离线结算的授权方式（61.4）和授权机构（61.5）只留在流水的终端报文里。网络侧 61 域是另一种格式的身份信息；
流程表只对没有这两项的交易照抄终端的 61 域，也没有离线结算和调整的行。电话授权码在 38 域送出。
";

fn numbers(fields: impl IntoIterator<Item = u8>) -> String {
    let texts: Vec<String> = fields.into_iter().map(|field| field.to_string()).collect();
    texts.join(" ")
}

fn optional(spec: &KindSpec) -> String {
    numbers(spec.kind.about().optional.iter().filter(|field| !spec.mandatory.has(*field)))
}

fn management_codes(spec: &KindSpec) -> String {
    let codes: Vec<String> = spec.network_codes.iter().map(|code| format!("{code:03}")).collect();
    codes.join(", ")
}

fn digits(value: Option<u8>, tail: &str) -> String {
    value.map_or(String::new(), |value| format!("{value:02}{tail}"))
}

/// The whole page.
pub fn page(l: Language) -> String {
    let mut out = String::from(l.of(HEAD_EN, HEAD_ZH));
    let yes = |is: bool| if is { l.of("yes", "是") } else { "" };
    writeln!(
        out,
        "\n{}\n|---|---|---|---|---|---|---|---|---|",
        l.of(
            "| transaction | 交易 | request | 3 | 25 | 60.1 | 60.3 | MAC: request, answer | reversed when unanswered |",
            "| 交易 | transaction | 请求 | 3 | 25 | 60.1 | 60.3 | MAC：请求、应答 | 无应答时冲正 |"
        )
    )
    .unwrap();
    for spec in KINDS {
        let own = spec.kind == Kind::Reversal || spec.message_type.is_none();
        let original = l.of("as original", "同原交易");
        let number = |text: String| if text.is_empty() && own { original.to_owned() } else { text };
        writeln!(
            out,
            "| {} | {} | {:04} | {} | {} | {} | {} | {} | {} |",
            l.of(spec.en, spec.zh),
            l.of(spec.zh, spec.en),
            spec.mti,
            number(digits(spec.processing, "0000")),
            number(digits(spec.condition, "")),
            number(digits(spec.message_type, "")),
            management_codes(spec),
            match (spec.mac_request, spec.mac_answer) {
                (false, false) => String::new(),
                (request, answer) => format!("{}, {}", yes(request), yes(answer)),
            },
            yes(spec.reversible),
        )
        .unwrap();
    }
    out.push_str(l.of(COMMON_EN, COMMON_ZH));
    for spec in KINDS {
        section(&mut out, spec, l);
    }
    codes(&mut out, l);
    out
}

fn section(out: &mut String, spec: &KindSpec, l: Language) {
    let about = spec.kind.about();
    writeln!(
        out,
        "\n## {}\n",
        l.of(&format!("{} {}", spec.en, spec.zh), &format!("{} {}", spec.zh, spec.en))
    )
    .unwrap();
    writeln!(out, "{}", l.of(about.purpose.en, about.purpose.zh)).unwrap();
    let rules = l.of(about.rules.en, about.rules.zh);
    if !rules.is_empty() {
        writeln!(out, "\n{rules}").unwrap();
    }
    writeln!(out, "\n| | |\n|---|---|").unwrap();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            writeln!(out, "| {name} | {value} |").unwrap();
        }
    };
    line(l.of("code in files and metrics", "文件和指标中的代码"), format!("`{}`", spec.code));
    line(l.of("request, answer", "请求、应答"), format!("{:04}, {:04}", spec.mti, spec.mti + 10));
    line(l.of("mandatory", "必填"), numbers(spec.mandatory.iter()));
    line(l.of("optional", "可选"), optional(spec));
    line(l.of("copied into the answer", "应答照抄"), numbers(spec.copied.iter()));
    if spec.needs_card {
        line(
            l.of("card", "卡号"),
            l.of(
                "in 2, 35 or 55; where it comes twice it must agree, else 59",
                "在 2、35 或 55 域；出现两处必须一致，否则 59",
            )
            .into(),
        );
    }
    line(
        "MAC",
        match (spec.mac_request, spec.mac_answer) {
            (true, true) => l.of("request and answer", "请求和应答都有"),
            (true, false) => l.of("request", "请求"),
            (false, true) => l.of("answer", "应答"),
            (false, false) => l.of("none", "无"),
        }
        .into(),
    );
    line(
        l.of("counts in the batch", "计入批次"),
        match spec.side {
            Side::None => String::new(),
            Side::Debit => l.of("debit", "借记").into(),
            Side::Credit => l.of("credit", "贷记").into(),
        },
    );
    if let Some(on) = asked::conditions(spec.kind) {
        stands_on(&mut line, spec, &on, l);
    }
    if let Some(limited) = asked::limited(spec.kind) {
        let codes: Vec<&str> = limited.codes.iter().copied().collect();
        let which = match limited.unnamed {
            true => l.of("every limit that fits", "每个适用的限额"),
            false => l.of("only limits that name the transaction", "只有指明本交易的限额"),
        };
        line(
            l.of("refused with, by limits", "拒绝应答码（限额）"),
            format!("{}{}{which}", codes.join(" "), l.of(": ", "：")),
        );
    }
    let own = spec.kind.own_refusals().iter();
    let own: Vec<String> =
        own.map(|refusal| format!("{} {}", refusal.code, l.of(refusal.when.en, refusal.when.zh))).collect();
    line(l.of("refused with, its own", "拒绝应答码（本交易）"), own.join(l.of("; ", "；")));
    let by = asked::undone_by(spec.kind);
    line(l.of("taken hold of by", "可被其引用"), l.names(&by));
    if spec.network.is_some() {
        toward_network(&mut line, spec, l);
        terminal_reversal(&mut line, spec, l);
    }
    if spec.kind == Kind::ScriptResult {
        // It has no form of its own: it goes out about the transaction whose answer brought the commands.
        let first = asked::forward(Kind::Sale, Forward::Script, 0);
        line(l.of("CUPS request, after a sale", "CUPS 请求（消费之后）"), message_text(&first, l));
        let repeat = asked::forward(Kind::Sale, Forward::Script, 1).mti;
        let text = match l {
            Language::English => {
                format!("the terminal has its 00 already; {repeat:04} until it is acknowledged")
            }
            Language::Chinese => format!("终端已得到 00；以 {repeat:04} 重复直到确认"),
        };
        line(l.of("without an answer of the network", "网络无应答"), text);
    }
}

fn stands_on(line: &mut impl FnMut(&str, String), spec: &KindSpec, on: &asked::Conditions, l: Language) {
    let rule = spec.stands_on.unwrap();
    line(l.of("stands on", "原交易"), l.names(&on.kinds));
    line(
        l.of("found by", "查找依据"),
        match rule.found_by {
            FoundBy::Trace => l.of("batch and trace number (61)", "批次号和流水号（61）"),
            FoundBy::Reference => {
                l.of("reference number (37) and date (61.3)", "检索参考号（37）和日期（61.3）")
            }
            FoundBy::Authorisation => {
                l.of("authorisation number (38), card and date (61.3)", "授权码（38）、卡号和日期（61.3）")
            }
        }
        .into(),
    );
    line(
        l.of("does to it", "作用"),
        match rule.hold {
            Hold::Cancel => l.of("undoes it as a whole", "整笔撤销"),
            Hold::Repay => l.of("gives back, also in parts", "退还，可分次"),
            Hold::Complete => l.of("takes what was set aside", "收取预留金额"),
            Hold::Adjust => l.of("makes another amount of it", "更改金额"),
        }
        .into(),
    );
    let place = match on.same_batch {
        true => l.of("the same terminal and batch, before it is settled", "同一终端、同一批次，结算之前"),
        false => l.of("any terminal of the merchant", "本商户任何终端"),
    };
    let until = match on.days {
        Some(days) => match l {
            Language::English => format!("; {days} days"),
            Language::Chinese => format!("；{days} 天之内"),
        },
        None => String::new(),
    };
    line(l.of("who may, and until when", "谁可以、期限"), format!("{place}{until}"));
    let percent = |fen: u64| fen / 100;
    line(
        l.of("amount", "金额"),
        match on.amount {
            (least, Some(greatest)) if least == greatest => {
                l.of("that of the original", "与原交易相同").into()
            }
            (_, Some(greatest)) => match l {
                Language::English => format!("up to {} % of the original, all together", percent(greatest)),
                Language::Chinese => format!("合计不超过原金额的 {}%", percent(greatest)),
            },
            (1, None) => l.of("any", "任意").into(),
            (_, None) => l.of("above that of the original", "大于原金额").into(),
        },
    );
    let codes: Vec<&str> = on.codes.iter().copied().collect();
    line(l.of("refused with, for its original", "拒绝应答码（原交易）"), codes.join(" "));
}

fn message_text(message: &asked::NetworkMessage, l: Language) -> String {
    let mut text = format!("{:04}: {}", message.mti, numbers(message.always.iter().copied()));
    if !message.sometimes.is_empty() {
        let known = numbers(message.sometimes.iter().copied());
        match l {
            Language::English => write!(text, "; when known {known}"),
            Language::Chinese => write!(text, "；已知时 {known}"),
        }
        .unwrap();
    }
    text
}

fn toward_network(line: &mut impl FnMut(&str, String), spec: &KindSpec, l: Language) {
    let form = spec.network.unwrap();
    line(l.of("CUPS field 3", "CUPS 3 域"), format!("{:06}", form.processing_code));
    line(l.of("CUPS request", "CUPS 请求"), message_text(&asked::request(spec.kind), l));
    if spec.told {
        let repeat = asked::forward(spec.kind, Forward::Advice, 1).mti;
        let text = match l {
            Language::English => {
                format!("the terminal has its 00 already; {repeat:04} until it is acknowledged")
            }
            Language::Chinese => format!("终端已得到 00；以 {repeat:04} 重复直到确认"),
        };
        line(l.of("without an answer of the network", "网络无应答"), text);
        return;
    }
    let (state, forward) = asked::without_answer(spec.kind);
    let text = match forward {
        Some(action) => {
            let first = asked::forward(spec.kind, action, 0);
            let again = asked::forward(spec.kind, action, 1).mti;
            let code = if state == PaymentState::Reversing { "68" } else { "09" };
            match l {
                Language::English => format!(
                    "the terminal hears {code}; {}; again as {again:04} until acknowledged",
                    message_text(&first, l)
                ),
                Language::Chinese => {
                    format!("终端得到 {code}；{}；以 {again:04} 重复直到确认", message_text(&first, l))
                }
            }
        }
        None => l.of("the terminal hears 68; nothing is to be undone", "终端得到 68；无需冲正").into(),
    };
    line(l.of("without an answer of the network", "网络无应答"), text);
}

fn terminal_reversal(line: &mut impl FnMut(&str, String), spec: &KindSpec, l: Language) {
    let name = l.of("the terminal's reversal", "终端冲正");
    if !spec.reversible {
        let text = l.of(
            "none: it sends the transaction again; a 0400 of it is answered 12",
            "没有：终端重发原交易；对它的 0400 应答 12",
        );
        line(name, text.into());
        return;
    }
    let holds: Vec<Hold> =
        asked::undone_by(spec.kind).iter().filter_map(|by| Some(by.spec().stands_on?.hold)).collect();
    // States that it can be in: the outcome of what is reversed does not stay open.
    let reachable = |state: PaymentState| match state {
        PaymentState::Voided => holds.contains(&Hold::Cancel),
        PaymentState::Completed => holds.contains(&Hold::Complete),
        PaymentState::Unresolved => asked::without_answer(spec.kind).0 == PaymentState::Unresolved,
        _ => true,
    };
    let meets: Vec<String> = asked::reversal(spec.kind)
        .into_iter()
        .filter(|(state, ..)| reachable(*state))
        .map(|(state, code, after)| {
            let label = |state: PaymentState| l.of(state.code(), state.zh());
            if state == after {
                format!("{} {code}", label(state))
            } else {
                format!("{} {code} → {}", label(state), label(after))
            }
        })
        .collect();
    line(name, meets.join(l.of("; ", "；")));
}

fn codes(out: &mut String, l: Language) {
    let head = l.of(
        "\n## Response codes\n\nField 39, with what a terminal does. A code that is not in the table is a decline.\n\n\
         | code | text | 显示 | the terminal | ends a reversal |\n|---|---|---|---|---|\n",
        "\n## 应答码\n\n39 域及终端的处理。表中没有的应答码视为拒绝。\n\n| 应答码 | 显示 | text | 终端处理 | 冲正完成 |\n|---|---|---|---|---|\n",
    );
    out.push_str(head);
    for info in TABLE {
        let action = match info.action {
            Action::Success => l.of("success", "成功"),
            Action::Retry => l.of("may try again", "可以重试"),
            Action::Decline => l.of("failed", "失败"),
            Action::Operator => l.of("the operator must act", "需操作员处理"),
            Action::Fault => l.of("system fault", "系统故障"),
        };
        let ends = if info.code.ends_reversal() { l.of("yes", "是") } else { "" };
        let (first, second) = match l {
            Language::English => (info.en, info.zh),
            Language::Chinese => (info.zh, info.en),
        };
        writeln!(out, "| {} | {first} | {second} | {action} | {ends} |", info.code).unwrap();
    }
}
