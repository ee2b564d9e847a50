//! Slips as text, 32 columns, as a 58 mm printer at its usual size. A Chinese character takes two columns.
//!
//! A slip is made from a [`Record`], which holds the card number masked: there is nothing else to print.

use jiff::civil::DateTime;

use crate::amount::yuan;
use crate::card::Entry;
use crate::config::TerminalConfig;
use crate::message::{Kind, Side};
use crate::state::{Progress, Record};
use crate::terminal::stamp;

/// Columns of a slip.
pub const WIDTH: usize = 32;

/// Which copy of a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// 商户存根: with chip data, signature line and confirmation.
    Merchant,
    /// 持卡人存根: with less card data.
    Cardholder,
}

/// Columns that `text` takes: two for wide characters (East Asian width), one for the rest.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

fn is_wide(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x115F | 0x2E80..=0x303E | 0x3041..=0x33FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6 | 0x2_0000..=0x3_FFFD)
}

/// A slip being written.
struct Paper {
    lines: Vec<String>,
}

impl Paper {
    fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// One line, wrapped at the paper's edge.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        let mut used = 0;
        for c in text.chars() {
            let columns = if is_wide(c) { 2 } else { 1 };
            if used + columns > WIDTH {
                self.lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
        self.lines.push(line.trim_end().to_owned());
    }

    /// Text at both edges; two lines when they do not fit on one.
    fn pair(&mut self, left: &str, right: &str) {
        match WIDTH.checked_sub(width(left) + width(right)) {
            Some(gap) if gap > 0 => self.text(&format!("{left}{}{right}", " ".repeat(gap))),
            _ => {
                self.text(left);
                let gap = WIDTH.saturating_sub(width(right));
                self.text(&format!("{}{right}", " ".repeat(gap)));
            }
        }
    }

    fn centre(&mut self, text: &str) {
        let gap = WIDTH.saturating_sub(width(text)) / 2;
        self.text(&format!("{}{text}", " ".repeat(gap)));
    }

    fn rule(&mut self) {
        self.lines.push("-".repeat(WIDTH));
    }

    /// Name, count and amount in three columns.
    fn row(&mut self, name: &str, count: &str, amount: &str) {
        const COUNT_END: usize = 18;
        let first = COUNT_END.saturating_sub(width(name) + width(count)).max(1);
        let second = WIDTH.saturating_sub(width(name) + first + width(count) + width(amount)).max(1);
        self.text(&format!("{name}{}{count}{}{amount}", " ".repeat(first), " ".repeat(second)));
    }

    fn finish(self) -> String {
        let mut text = self.lines.join("\n");
        text.push('\n');
        text
    }
}

/// Both copies of a transaction's slip, one after the other.
pub fn transaction(config: &TerminalConfig, record: &Record) -> String {
    format!("{}\n{}", part(config, record, Part::Merchant), part(config, record, Part::Cardholder))
}

/// One copy of a transaction's slip.
pub fn part(config: &TerminalConfig, record: &Record, part: Part) -> String {
    let mut paper = Paper::new();
    let merchant = part == Part::Merchant;
    paper.centre("POS 签购单");
    match part {
        Part::Merchant => paper.pair("商户存根", "MERCHANT COPY"),
        Part::Cardholder => paper.pair("持卡人存根", "CARDHOLDER COPY"),
    }
    paper.rule();
    head(&mut paper, config);
    paper.text(&format!("发卡行: {}", record.issuer.as_deref().unwrap_or_default()));
    paper.text(&format!("收单行: {}", record.acquirer.as_deref().unwrap_or_default()));
    paper.pair(&format!("卡号: {}", record.pan), record.entry.mark());
    if merchant {
        let organisation = record.card_org.as_deref().unwrap_or("CUP");
        paper.pair(
            &format!("有效期: {}", record.expiry.as_deref().unwrap_or_default()),
            &format!("卡组织: {organisation}"),
        );
    }
    let row = record.kind.row();
    paper.pair(&format!("交易类型: {}", row.zh), row.en);
    paper.pair(&format!("批次号: {:06}", record.batch), &format!("凭证号: {:06}", record.trace));
    paper.text(&format!("参考号: {}", record.rrn.as_deref().unwrap_or_default()));
    paper.text(&format!("授权码: {}", record.auth_code.as_deref().unwrap_or_default()));
    paper.text(&format!("日期时间: {}", record.at));
    let sign = if record.kind.side() == Side::Credit { "-" } else { "" };
    paper.text(&format!("金额: RMB {sign}{}", yuan(record.amount_fen)));
    if let Some(total) = record.adjusted_fen {
        if let Some(tip) = total.checked_sub(record.amount_fen) {
            paper.text(&format!("小费: RMB {}", yuan(tip)));
        }
        paper.text(&format!("总计: RMB {}", yuan(total)));
    }
    match &record.plan {
        Some(plan) if record.kind == Kind::PointsSale => points(&mut paper, plan),
        Some(plan) => instalments(&mut paper, plan),
        None => {}
    }
    if let Some(purse) = &record.purse {
        paper.text(&format!("转入卡号: {purse}"));
    }
    original(&mut paper, record);
    if let (true, Some(chip)) = (merchant, &record.chip) {
        paper.rule();
        paper.text(&format!("{}: {}", chip.cryptogram_name, chip.cryptogram));
        paper.text(&format!("AID: {}", chip.aid));
        paper.text(&format!("应用标签: {}", chip.label));
        paper.pair(&format!("TVR: {}", chip.tvr), &format!("TSI: {}", chip.tsi));
        paper.pair(&format!("ATC: {}", chip.atc), &format!("CSN: {:02}", chip.sequence));
        paper.pair(&format!("UN: {}", chip.un), &format!("AIP: {}", chip.aip));
        paper.text(&format!("IAD: {}", chip.iad));
    }
    paper.rule();
    paper.text(&format!("备注: {}", record.remark.as_deref().unwrap_or_default()));
    if record.entry == Entry::Tap && !record.with_pin && record.kind == Kind::Sale {
        paper.text(&format!("交易金额未超 {} 元,免密免签", yuan(config.no_pin_limit_fen)));
    } else if merchant {
        paper.text("持卡人签名:");
        paper.text("");
        paper.text("");
        paper.text("本人确认以上交易并同意入账");
    }
    let text = paper.finish();
    if record.reprints == 0 { text } else { with_reprint_mark(&text, record.reprints) }
}

/// Merchant and terminal.
fn head(paper: &mut Paper, config: &TerminalConfig) {
    paper.text(&format!("商户名称: {}", config.merchant_name));
    paper.text(&format!("商户编号: {}", config.merchant));
    paper.pair(&format!("终端编号: {}", config.terminal), &format!("操作员: {}", config.operator));
}

/// What a void, refund or completion refers to.
fn original(paper: &mut Paper, record: &Record) {
    let Some(original) = &record.original else { return };
    if let (Some(batch), Some(trace)) = (original.batch, original.trace) {
        paper.text(&format!("原批次号: {batch:06}"));
        paper.text(&format!("原凭证号: {trace:06}"));
    }
    if let Some(rrn) = &original.rrn {
        paper.text(&format!("原参考号: {rrn}"));
    }
    if let Some(date) = &original.date {
        paper.text(&format!("原交易日期: {date}"));
    }
    if let Some(code) = &original.auth_code {
        paper.text(&format!("原授权码: {code}"));
    }
}

/// A slip with the mark of its `count`th reprint on its last line.
pub fn with_reprint_mark(text: &str, count: u32) -> String {
    let mut paper = Paper::new();
    paper.centre(&format!("*** 重打印凭证 第{count}次 ***"));
    format!("{text}{}", paper.finish())
}

/// How the host's result digit reads.
fn result_text(result: u8) -> &'static str {
    match result {
        0 | 1 => "平",
        2 => "不平",
        _ => "出错",
    }
}

/// Periods, first part and fee of an instalment sale, as far as the answer told them.
fn instalments(paper: &mut Paper, plan: &str) {
    let fen = |from: usize| plan.get(from..from + 12).and_then(|digits| digits.parse().ok());
    if let Some(periods) = plan.get(..2) {
        paper.text(&format!("分期期数: {periods}"));
    }
    if let Some(first) = fen(32) {
        paper.text(&format!("首期金额: RMB {}", yuan(first)));
    }
    if let Some(fee) = fen(44) {
        paper.text(&format!("手续费: RMB {}", yuan(fee)));
    }
}

/// Points, own part and points left of a points sale, as far as the answer told them.
fn points(paper: &mut Paper, plan: &str) {
    let number = |from: usize, to: usize| plan.get(from..to).and_then(|digits| digits.parse::<u64>().ok());
    if let Some(used) = number(30, 40) {
        paper.text(&format!("使用积分: {used}"));
    }
    if let Some(own) = number(40, 52) {
        paper.text(&format!("自付金额: RMB {}", yuan(own)));
    }
    if let Some(left) = number(52, 64) {
        paper.text(&format!("积分余额: {left}"));
    }
}

/// Lines of the settlement slip that stand there only when something counts in them.
const FAMILY_LINES: [(&str, &[Kind]); 8] = [
    ("预授权完成", &[Kind::Completion, Kind::CompletionAdvice]),
    ("完成撤销", &[Kind::CompletionVoid]),
    ("分期消费", &[Kind::Instalment]),
    ("分期撤销", &[Kind::InstalmentVoid]),
    ("积分消费", &[Kind::PointsSale]),
    ("脱机退货", &[Kind::ChipRefund]),
    ("现金充值", &[Kind::CashLoad]),
    ("充值撤销", &[Kind::CashLoadVoid]),
];

/// The settlement slip.
pub(crate) fn settlement(
    config: &TerminalConfig,
    journal: &[Record],
    progress: &Progress,
    batch: u32,
    at: DateTime,
) -> String {
    let mut paper = Paper::new();
    paper.centre("POS 结算总计单");
    head(&mut paper, config);
    let settled = progress.settle_date.clone().unwrap_or_else(|| at.strftime("%m%d").to_string());
    paper.pair(&format!("批次号: {batch:06}"), &format!("结算日: {settled}"));
    paper.text(&format!("打印时间: {}", stamp(at)));
    paper.pair(
        &format!("内卡对账: {}", result_text(progress.domestic)),
        &format!("外卡对账: {}", result_text(progress.foreign)),
    );
    paper.rule();
    paper.row("类型", "笔数", "金额");
    paper.text("内卡 (银行卡)");
    let sum = |wanted: &dyn Fn(&Record) -> bool| {
        journal
            .iter()
            .filter(|record| record.counts() && wanted(record))
            .fold((0_u32, 0_u64), |(count, sum), record| (count + 1, sum + record.total_fen()))
    };
    let mut line =
        |name: &str, (count, amount): (u32, u64)| paper.row(name, &count.to_string(), &yuan(amount));
    line("消费", sum(&|record| record.kind == Kind::Sale));
    if journal.iter().any(|record| record.is_offline() && record.counts()) {
        line("脱机消费", sum(&Record::is_offline));
    }
    line("消费撤销", sum(&|record| record.kind == Kind::Void));
    line("退货", sum(&|record| record.kind == Kind::Refund));
    for (name, kinds) in FAMILY_LINES {
        let (count, amount) = sum(&|record| kinds.contains(&record.kind));
        if count > 0 {
            line(name, (count, amount));
        }
    }
    paper.text("外卡");
    paper.row("消费", "0", "0.00");
    paper.rule();
    let debit = sum(&|record| record.kind.side() == Side::Debit);
    let credit = sum(&|record| record.kind.side() == Side::Credit);
    let mut line =
        |name: &str, (count, amount): (u32, u64)| paper.row(name, &count.to_string(), &yuan(amount));
    line("借记合计", debit);
    line("贷记合计", credit);
    let net = match debit.1.checked_sub(credit.1) {
        Some(net) => yuan(net),
        None => format!("-{}", yuan(credit.1.saturating_sub(debit.1))),
    };
    paper.row("净额", &(debit.0 + credit.0).to_string(), &net);
    paper.rule();
    let without_pin =
        |record: &Record| record.entry == Entry::Tap && !record.with_pin && record.kind == Kind::Sale;
    let mut line =
        |name: &str, (count, amount): (u32, u64)| paper.row(name, &count.to_string(), &yuan(amount));
    line("免密免签", sum(&without_pin));
    line("闪付", sum(&|record| record.entry == Entry::Tap && record.kind == Kind::Sale));
    paper.finish()
}
