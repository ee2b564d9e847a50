//! What the terminal prints, as documents: a record of the journal or a settlement becomes the data of a slip, and crate
//! [`receipt`](::receipt) makes the paper of it.
//!
//! A slip is made from a [`Record`], which holds the card number masked: there is nothing else to print.

use ::receipt::slip::{
    Balance, Block, CardSlip, ChipSlip, Family, Means, Original, Row, SettlementSlip, Shop, TransactionSlip,
    Verification,
};
use ::receipt::{MaskedPan, Part, ReceiptDoc, Width, slip, text};
use jiff::civil::DateTime;

use crate::amount::yuan;
use crate::card::Entry;
use crate::config::TerminalConfig;
use crate::message::{Kind, Side};
use crate::organisation;
use crate::slip_code::SlipCode;
use crate::state::{LastSlip, Progress, Record};
use crate::terminal::stamp;

/// Both copies of a document's text, one after the other; a document without copies of its own stands once.
pub fn both(doc: &ReceiptDoc) -> String {
    let merchant = text::render(doc, Part::Merchant);
    let cardholder = text::render(doc, Part::Cardholder);
    if merchant == cardholder { merchant } else { format!("{merchant}\n{cardholder}") }
}

/// Both copies of a transaction's slip, as text.
pub(crate) fn transaction(config: &TerminalConfig, record: &Record) -> String {
    both(&slip::transaction(&transaction_slip(config, record)))
}

fn shop(config: &TerminalConfig) -> Shop {
    Shop {
        merchant_name: config.merchant_name.clone(),
        merchant_no: config.merchant.clone(),
        terminal_no: config.terminal.clone(),
        operator: config.operator.clone(),
    }
}

impl From<Entry> for slip::Entry {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Swipe => Self::Swipe,
            Entry::Chip => Self::Chip,
            Entry::Tap => Self::Tap,
            Entry::Manual => Self::Manual,
            Entry::Fallback => Self::Fallback,
        }
    }
}

fn family(kind: Kind) -> Family {
    match kind {
        Kind::Preauth
        | Kind::PreauthVoid
        | Kind::Completion
        | Kind::CompletionAdvice
        | Kind::CompletionVoid => Family::Preauth,
        kind if kind.side() == Side::Credit && kind != Kind::CashLoad => Family::Undo,
        _ => Family::Sale,
    }
}

/// The card's organisation as the answer named it (63.1); of a domestic card that is known without.
pub(crate) fn organisation_of(record: &Record) -> String {
    let own = || if record.foreign { String::new() } else { organisation::UNIONPAY.to_owned() };
    record.card_org.clone().unwrap_or_else(own)
}

/// The data of a transaction's slip.
pub fn transaction_slip(config: &TerminalConfig, record: &Record) -> TransactionSlip {
    let row = record.kind.row();
    let chip = record.chip.as_ref().map(|chip| {
        Box::new(ChipSlip {
            cryptogram_name: chip.cryptogram_name.clone(),
            cryptogram: chip.cryptogram.clone(),
            aid: chip.aid.clone(),
            label: chip.label.clone(),
            tvr: chip.tvr.clone(),
            tsi: chip.tsi.clone(),
            atc: chip.atc.clone(),
            sequence: format!("{:02}", chip.sequence),
            un: chip.un.clone(),
            aip: chip.aip.clone(),
            iad: chip.iad.clone(),
        })
    });
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let card = CardSlip {
        issuer: text(&record.issuer),
        acquirer: text(&record.acquirer),
        pan: MaskedPan::parse(&record.pan).unwrap_or_else(|_| MaskedPan::hidden()),
        entry: record.entry.into(),
        expiry: record.expiry.clone(),
        organisation: organisation_of(record),
        chip,
    };
    TransactionSlip {
        width: Width::W58,
        shop: shop(config),
        kind_zh: row.zh.to_owned(),
        kind_en: row.en.to_owned(),
        family: family(record.kind),
        means: Means::Card(card),
        batch: record.batch,
        trace: record.trace,
        reference: text(&record.rrn),
        auth_code: text(&record.auth_code),
        at: record.at.clone(),
        amount_fen: record.amount_fen,
        credit: record.kind.side() == Side::Credit,
        tip_fen: record.adjusted_fen.and_then(|total| total.checked_sub(record.amount_fen)),
        further: further(record),
        original: record.original.as_ref().map(|original| Original {
            batch: original.batch,
            trace: original.trace,
            reference: original.rrn.clone(),
            date: original.date.clone(),
            auth_code: original.auth_code.clone(),
        }),
        verification: verification(config, record),
        remark: text(&record.remark),
        reprints: record.reprints,
        code: config.slip_code.then(|| SlipCode::of(config, record).to_string()),
    }
}

pub(crate) fn verification(config: &TerminalConfig, record: &Record) -> Verification {
    let without = record.entry == Entry::Tap && !record.with_pin && record.kind == Kind::Sale;
    let small = record.amount_fen <= config.no_pin_limit_fen;
    match (without, small) {
        (true, true) => Verification::NoPinNoSign(config.no_pin_limit_fen),
        (true, false) if record.chip.as_ref().is_some_and(|chip| chip.on_device) => Verification::Nothing,
        _ if record.signed.is_some() => Verification::Signed(signature_reference(record)),
        _ => Verification::Sign,
    }
}

/// How a slip names the image of its signature: batch and trace.
fn signature_reference(record: &Record) -> String {
    format!("{:06}{:06}", record.batch, record.trace)
}

/// An amount that an adjustment made smaller, the plan of instalments, points, the purse that was loaded.
fn further(record: &Record) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut line = |label: &str, value: String| lines.push((label.to_owned(), value));
    if let Some(total) = record.adjusted_fen.filter(|total| *total < record.amount_fen) {
        line("总计", format!("RMB {}", yuan(total)));
    }
    if let Some(asked) = record.requested_fen {
        line("申请金额", format!("RMB {}", yuan(asked)));
        line("部分批准", "是".to_owned());
    }
    match &record.plan {
        Some(plan) if record.kind == Kind::PointsSale => {
            let number =
                |from: usize, to: usize| plan.get(from..to).and_then(|digits| digits.parse::<u64>().ok());
            number(30, 40).into_iter().for_each(|used| line("使用积分", used.to_string()));
            number(40, 52).into_iter().for_each(|own| line("自付金额", format!("RMB {}", yuan(own))));
            number(52, 64).into_iter().for_each(|left| line("积分余额", left.to_string()));
        }
        Some(plan) => {
            let fen = |from: usize| plan.get(from..from + 12).and_then(|digits| digits.parse::<u64>().ok());
            plan.get(..2).into_iter().for_each(|periods| line("分期期数", periods.to_owned()));
            fen(32).into_iter().for_each(|first| line("首期金额", format!("RMB {}", yuan(first))));
            fen(44).into_iter().for_each(|fee| line("手续费", format!("RMB {}", yuan(fee))));
        }
        None => {}
    }
    if let Some(purse) = &record.purse {
        line("转入卡号", purse.clone());
    }
    lines
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

/// The data of a settlement's slip.
pub(crate) fn settlement_slip(
    config: &TerminalConfig,
    journal: &[Record],
    progress: &Progress,
    batch: u32,
    at: DateTime,
) -> SettlementSlip {
    let sum = |wanted: &dyn Fn(&Record) -> bool| {
        journal
            .iter()
            .filter(|record| record.counts() && wanted(record))
            .fold((0_u32, 0_u64), |(count, sum), record| (count + 1, sum + record.total_fen()))
    };
    let row = |name: &str, (count, fen): (u32, u64)| Row::new(name, count, fen);
    // Three lines stand always for domestic cards and one for foreign ones, the others when something counts in them.
    let rows = |foreign: bool| {
        let of = |kinds: &[Kind]| sum(&|record| record.foreign == foreign && kinds.contains(&record.kind));
        let mut rows = vec![row("消费", of(&[Kind::Sale]))];
        let mut line = |name: &str, kinds: &[Kind], always: bool| {
            let counted = of(kinds);
            if always || counted.0 > 0 {
                rows.push(row(name, counted));
            }
        };
        line("脱机消费", &[Kind::OfflineSale, Kind::OfflineChip], false);
        line("消费撤销", &[Kind::Void], !foreign);
        line("退货", &[Kind::Refund], !foreign);
        for (name, kinds) in FAMILY_LINES {
            line(name, kinds, false);
        }
        rows
    };
    let tapped = |record: &Record| record.entry == Entry::Tap && record.kind == Kind::Sale;
    SettlementSlip {
        width: Width::W58,
        shop: shop(config),
        batch,
        settle_date: progress.settle_date.clone().unwrap_or_else(|| at.strftime("%m%d").to_string()),
        printed_at: stamp(at),
        domestic: Balance::from_digit(progress.domestic),
        foreign: Balance::from_digit(progress.foreign),
        blocks: vec![
            Block { title: "内卡 (银行卡)".to_owned(), rows: rows(false) },
            Block { title: "外卡".to_owned(), rows: rows(true) },
        ],
        debit: sum(&|record| record.kind.side() == Side::Debit),
        credit: sum(&|record| record.kind.side() == Side::Credit),
        of_which: vec![
            row("免密免签", sum(&|record| tapped(record) && !record.with_pin)),
            row("闪付", sum(&tapped)),
        ],
        order_code: Vec::new(),
        details: Vec::new(),
        reprints: 0,
    }
}

/// The document of what was printed last.
pub(crate) fn last(config: &TerminalConfig, last: &LastSlip) -> ReceiptDoc {
    match last {
        LastSlip::Transaction(record) => slip::transaction(&transaction_slip(config, record)),
        LastSlip::Settlement(settlement) => slip::settlement(settlement),
    }
}
