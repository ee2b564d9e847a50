//! The simulator's own page: one self-contained document in two languages.

use std::fmt::Write as _;

use crate::deck::{Product, Status as CardStatus};
use crate::faults::AMOUNT_RULES;
use crate::record::{CardView, FinalState, RecordLine, names};
use crate::start::SimHandle;

/// The faults by the names that a switch takes.
const SWITCHED_FAULTS: &str = "no_answer late_answer double_answer lost_reversal_answer drop_after drop_before \
                               lost bounce {\"decline\":\"96\"}";

/// Transactions shown.
const LATEST: u64 = 40;

/// `¥1,234.56` of fen; a minus sign before it when below zero.
fn yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    let mut whole = (fen / 100).to_string();
    let mut place = whole.len();
    while place > 3 {
        place -= 3;
        whole.insert(place, ',');
    }
    format!("{sign}¥{whole}.{:02}", fen % 100)
}

/// Text for HTML.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

fn tag(class: &str, zh: &str, en: &str) -> String {
    format!("<b class=\"t {class}\">{zh} <i>{en}</i></b>")
}

fn state_tag(state: FinalState) -> String {
    match state {
        FinalState::Approved => tag("ok", "成功", "approved"),
        FinalState::Declined => tag("bad", "拒绝", "declined"),
        FinalState::Reversed => tag("gone", "已冲正", "reversed"),
        FinalState::Voided => tag("gone", "已撤销", "voided"),
        FinalState::PartlyRefunded => tag("part", "部分退货", "partly refunded"),
        FinalState::Refunded => tag("gone", "已退货", "refunded"),
        FinalState::Completed => tag("part", "已完成", "completed"),
    }
}

fn status_tag(status: CardStatus) -> String {
    match status {
        CardStatus::Normal => tag("ok", "正常", "normal"),
        CardStatus::Lost => tag("bad", "挂失", "lost"),
        CardStatus::Stolen => tag("bad", "被窃", "stolen"),
        CardStatus::Restricted => tag("bad", "受限", "restricted"),
        CardStatus::Dormant => tag("part", "睡眠", "dormant"),
        CardStatus::PickUp => tag("bad", "没收", "pick up"),
    }
}

fn card_row(out: &mut String, card: &CardView) {
    let product = match card.product {
        Product::Debit => "借记 <i>debit</i>",
        Product::Credit => "贷记 <i>credit</i>",
    };
    let _ = write!(
        out,
        "<tr><td>{}</td><td class=m>{}</td><td>{product}</td><td>{}</td><td class=n>{}</td>\
         <td class=n>{}</td><td class=n>{}</td><td class=n>{}</td>\
         <td><button data-post=\"/api/cards/{}/reset\">复位 <i>reset</i></button></td></tr>",
        escape(&card.id),
        escape(&card.pan),
        status_tag(card.status),
        yuan(card.balance),
        yuan(card.available),
        yuan(card.held),
        card.tries_used,
        escape(&card.id),
    );
}

fn txn_row(out: &mut String, line: &RecordLine) {
    let (zh, en) = names(line.kind);
    let acts_on = line.original.map(|id| format!(" → {id}")).unwrap_or_default();
    let _ = write!(
        out,
        "<tr><td class=n>{}{acts_on}</td><td>{}</td><td>{zh} <i>{en}</i></td><td class=m>{}</td>\
         <td class=n>{}</td><td class=m>{}</td><td>{}</td><td>{}</td><td class=n>{}</td></tr>",
        line.id,
        line.at,
        escape(&line.pan),
        yuan(i64::try_from(line.amount).unwrap_or(i64::MAX)),
        escape(&line.rrn),
        escape(&line.code),
        state_tag(line.state),
        line.arrivals,
    );
}

/// The whole page.
pub fn render(sim: &SimHandle) -> String {
    let status = sim.status();
    let faults = sim.faults();
    let mut out = String::with_capacity(16_384);
    out.push_str(HEAD);

    let yes = |on: bool, zh: (&str, &str), en: (&str, &str)| {
        if on { tag("ok", zh.0, en.0) } else { tag("bad", zh.1, en.1) }
    };
    let _ = write!(
        out,
        "<section><h2>线路 <i>line</i></h2><p>{} {} {} {}</p>\
         <dl><dt>成员机构接入 <i>members connect to</i></dt><dd class=m>{}</dd>\
         <dt>成员机构监听 <i>member's listener</i></dt><dd class=m>{}</dd>\
         <dt>连接数 <i>connections</i></dt><dd>{}</dd>\
         <dt>清算日 <i>settlement day</i></dt><dd>{}</dd>\
         <dt>主密钥校验值 <i>zone master key check value</i></dt><dd class=m>{}</dd>\
         <dt>交易笔数 <i>transactions</i></dt><dd>{}</dd>\
         <dt>账务平衡 <i>trial balance</i></dt><dd>{}</dd></dl>\
         <p><button data-post=\"/api/echo\">回响 <i>echo</i></button> \
         <button data-post=\"/api/key-reset\">重置密钥 <i>reset keys</i></button> \
         <button data-post=\"/api/cutover\">日切 <i>cut over</i></button> <span id=said></span></p></section>",
        yes(status.member_line_up, ("下行已连", "下行未连"), ("line up", "line down")),
        yes(status.signed_on, ("已签到", "未签到"), ("signed on", "not signed on")),
        yes(status.has_keys, ("密钥已换", "无密钥"), ("keys in force", "no keys")),
        if faults.mute { tag("bad", "静默", "mute") } else { String::new() },
        status.listen,
        escape(&status.member_listener),
        status.connections,
        status.day,
        escape(&status.zmk_check_value),
        status.transactions,
        if status.trial_balance == 0 {
            tag("ok", "平", "balanced")
        } else {
            tag("bad", "不平", "out of balance")
        },
    );

    out.push_str(
        "<section><h2>故障规则 <i>fault rules</i></h2><p>按金额末四位 (分) 选择; 仅首次到达的 0100, 0200, 0220. \
         <i>Chosen by the last four digits of the amount in fen, on the first arrival of 0100, 0200 and \
         0220.</i></p><table><tr><th>末四位 <i>digits</i></th><th>效果 <i>effect</i></th></tr>",
    );
    for rule in &AMOUNT_RULES {
        let _ =
            write!(out, "<tr><td class=m>{}</td><td>{} <i>{}</i></td></tr>", rule.digits, rule.zh, rule.en);
    }
    let switches = serde_json::to_string_pretty(&faults).unwrap_or_default();
    let _ = write!(
        out,
        "</table><p>开关, 整体替换 <i>switches, replaced as a whole: <code>POST /api/faults</code></i></p>\
         <p><button data-post=\"/api/faults\" data-body='{{\"mute\":true}}'>静默 <i>mute</i></button> \
         <button data-post=\"/api/faults\" data-body='{{\"refuse_sign_on\":true}}'>拒绝签到 \
         <i>refuse sign-on</i></button> \
         <button data-post=\"/api/faults\" data-body='{{\"refuse_in_cut_over\":true}}'>日切期间答 90 \
         <i>90 during cut-over</i></button> <button data-post=\"/api/faults\" data-body='{{}}'>清除 \
         <i>clear</i></button></p>\
         <p class=m>fault: {SWITCHED_FAULTS}<br>span: {{\"next\":3}} {{\"percent\":{{\"percent\":10,\"seed\":1}}}} \
         \"always\"<br>classes: 100 200 220 420 620</p><pre>{}</pre></section>",
        escape(&switches)
    );

    out.push_str(
        "<section><h2>卡 <i>cards</i></h2><div class=w><table><tr><th>名 <i>id</i></th><th>卡号 \
         <i>number</i></th><th>种类 <i>kind</i></th><th>状态 <i>status</i></th><th>余额 \
         <i>balance</i></th><th>可用 <i>available</i></th><th>冻结 <i>held</i></th><th>密码错 \
         <i>wrong PINs</i></th><th></th></tr>",
    );
    for card in sim.cards() {
        card_row(&mut out, &card);
    }
    out.push_str("</table></div></section>");

    out.push_str(
        "<section><h2>最近交易 <i>latest transactions</i></h2><div class=w><table><tr><th>#</th><th>时间 \
         <i>time</i></th><th>类型 <i>kind</i></th><th>卡号 <i>card</i></th><th>金额 <i>amount</i></th>\
         <th>参考号 <i>reference</i></th><th>应答 <i>code</i></th><th>状态 <i>state</i></th><th>次数 \
         <i>arrivals</i></th></tr>",
    );
    let total = u64::try_from(status.transactions).unwrap_or(u64::MAX);
    for line in sim.record_after(total.saturating_sub(LATEST), usize::MAX).iter().rev() {
        txn_row(&mut out, line);
    }
    if total == 0 {
        out.push_str("<tr><td colspan=9>尚无交易 <i>none yet</i></td></tr>");
    }
    out.push_str("</table></div></section>");
    out.push_str(TAIL);
    out
}

const HEAD: &str = "<!doctype html><html lang=zh><meta charset=utf-8>\
<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>银联网络模拟器 · network simulator</title>\
<style>\
:root{--b:#fff;--f:#1c2430;--d:#667085;--l:#e4e7ec;--s:#f7f8fa;--ok:#0a7a3d;--okb:#e3f6ea;--bad:#b42318;--badb:#fdeceb;\
--part:#8a5a00;--partb:#fdf3dc;--gone:#475467;--goneb:#eceff3}\
@media(prefers-color-scheme:dark){:root{--b:#12161c;--f:#e6e9ee;--d:#98a2b3;--l:#2b3340;--s:#1a2029;--ok:#6fdc9c;\
--okb:#123322;--bad:#ff9b92;--badb:#3a1714;--part:#f1c56b;--partb:#362a10;--gone:#c3cad5;--goneb:#28303c}}\
*{box-sizing:border-box}body{margin:0;background:var(--b);color:var(--f);font:15px/1.5 system-ui,\"Noto Sans SC\",\
\"PingFang SC\",sans-serif}main{max-width:76rem;margin:0 auto;padding:1rem}h1{font-size:1.35rem;margin:.4rem 0}\
h2{font-size:1.05rem;margin:0 0 .6rem}i{font-style:normal;color:var(--d);font-size:.86em}section{background:var(--s);\
border:1px solid var(--l);border-radius:10px;padding:1rem;margin:1rem 0}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.34rem .55rem;border-bottom:1px solid var(--l);white-space:nowrap}\
section>table td{white-space:normal}th{font-weight:600}.w{overflow-x:auto}.n{text-align:right;\
font-variant-numeric:tabular-nums}.m,pre,code{font-family:ui-monospace,monospace;font-size:.9em}\
pre{overflow-x:auto;margin:.4rem 0;padding:.6rem;border:1px solid var(--l);border-radius:6px}\
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1.2rem;margin:.6rem 0}dt,dd{margin:0}dd{overflow-wrap:anywhere}\
.t{display:inline-block;font-weight:600;font-size:.86em;padding:.05rem .5rem;border-radius:99px}.t i{color:inherit}\
.ok{color:var(--ok);background:var(--okb)}.bad{color:var(--bad);background:var(--badb)}\
.part{color:var(--part);background:var(--partb)}.gone{color:var(--gone);background:var(--goneb)}\
button{font:inherit;color:inherit;background:var(--b);border:1px solid var(--l);border-radius:7px;padding:.25rem .7rem;\
cursor:pointer}button:hover{border-color:var(--d)}button:focus-visible{outline:2px solid var(--ok)}\
</style><main><h1>银联网络与发卡行模拟器 <i>UnionPay network and issuers, simulated</i></h1>\
<p><i>依规格模拟, 仅供实验; 卡号已遮蔽. Modelled from the specification, laboratory values only, card numbers masked.</i></p>";

const TAIL: &str = "<p><i>JSON: /api/status /api/record /api/totals /api/cards /api/faults</i></p></main><script>\
document.addEventListener('click',async e=>{const b=e.target.closest('[data-post]');if(!b)return;b.disabled=true;\
const o={method:'POST'};\
if(b.dataset.body){o.body=b.dataset.body;o.headers={'content-type':'application/json'}}\
const r=await fetch(b.dataset.post,o);if(r.ok)location.reload();else{const j=await r.json();\
document.getElementById('said').textContent=j.error;b.disabled=false}})</script></html>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_like_money() {
        assert_eq!(yuan(123_456_789), "¥1,234,567.89");
        assert_eq!(yuan(-5), "-¥0.05");
        assert_eq!(yuan(100_000), "¥1,000.00");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }
}
