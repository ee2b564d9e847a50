//! What the protocol says, in the words of the flow.

use std::future::Future;
use std::sync::Arc;

use hal::CancelToken;
use pos::{Kind, PosError, Record, Side, SlipCode, Status, Totals};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::flow::{HostSays, HostStatus, Trade, Trouble, TroubleKind};
use crate::view::{Line, Page, Waiting};

/// Transactions on a page of the list.
const LINES: usize = 8;

/// Waits for the protocol, unless the power goes: then what is under way is dropped where it stands, as by a real cut.
pub(crate) fn until_power_cut<F: Future>(
    runtime: &Handle,
    power: &CancelToken,
    work: F,
) -> Option<F::Output> {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let _registration = power.register(move || told.notify_one());
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = gone.notified() => None,
            output = work => Some(output),
        }
    })
}

/// An outcome of the protocol.
pub(crate) fn says(outcome: &pos::Outcome, record: Option<&Record>) -> HostSays {
    let record = record.filter(|record| record.trace == outcome.trace && record.batch == outcome.batch);
    let mut notices = outcome.notices.clone();
    for before in &outcome.preceding {
        notices.extend(before.notices.iter().cloned());
    }
    HostSays {
        status: Some(match outcome.status {
            Status::Approved => HostStatus::Approved,
            Status::Declined => HostStatus::Declined,
            Status::DeclinedByChip => HostStatus::DeclinedByCard,
            Status::ChipRefused => HostStatus::CardRefused,
            Status::NoAnswer | Status::Unusable => HostStatus::NoAnswer,
        }),
        code: outcome.response_code.clone(),
        text_zh: outcome.text_zh.clone(),
        text_en: outcome.text_en.clone(),
        trace: outcome.trace,
        batch: outcome.batch,
        amount: outcome.amount_fen,
        card: outcome.card.clone(),
        reference: outcome.rrn.clone(),
        auth_code: outcome.auth_code.clone(),
        settle_date: record.and_then(|record| record.settle_date.clone()),
        balance: outcome.balance.map(|balance| {
            let fen = i64::try_from(balance.amount_fen).unwrap_or(i64::MAX);
            if balance.debit { -fen } else { fen }
        }),
        reversal: outcome.reversal.is_some(),
        sign: None,
        notices,
    }
}

/// A record of the batch, as its outcome was.
pub(crate) fn says_of(record: &Record) -> HostSays {
    HostSays {
        status: Some(HostStatus::Approved),
        code: Some("00".to_owned()),
        trace: record.trace,
        batch: record.batch,
        amount: Some(record.total_fen()),
        card: Some(record.pan.clone()),
        reference: record.rrn.clone(),
        auth_code: record.auth_code.clone(),
        settle_date: record.settle_date.clone(),
        ..HostSays::default()
    }
}

/// An error of the protocol.
pub(crate) fn trouble(error: &PosError) -> Trouble {
    let kind = match error {
        PosError::NoMasterKey => TroubleKind::NoMasterKey,
        PosError::MustSignIn(_) | PosError::KeysRefused(_) => TroubleKind::MustSignIn,
        PosError::NoConnection { .. } => TroubleKind::NoConnection,
        PosError::ReversalPending { .. } => TroubleKind::ReversalPending,
        PosError::RefundOpen { .. } => TroubleKind::RefundOpen,
        PosError::SettlementOpen | PosError::SettlementCutOff(_) | PosError::BatchUnsettled { .. } => {
            TroubleKind::SettlementOpen
        }
        PosError::JournalFull(_) => TroubleKind::BatchFull,
        PosError::NotFound(_) => TroubleKind::NotFound,
        PosError::NotVoidable { .. } | PosError::NotAdjustable { .. } | PosError::NotOffered(..) => {
            TroubleKind::NotPossible
        }
        PosError::Input(_) | PosError::OtherEntry(_) | PosError::Blacklisted => TroubleKind::Input,
        _ => TroubleKind::Other,
    };
    Trouble { kind, text: error.to_string() }
}

/// What the counter offers for a transaction of the batch.
fn offers(kind: Kind) -> Vec<Trade> {
    match kind {
        Kind::Sale => vec![Trade::Void, Trade::Refund, Trade::Tip],
        Kind::OfflineSale => vec![Trade::Void, Trade::Tip],
        Kind::OfflineChip => vec![Trade::Void, Trade::ChipRefund],
        Kind::Instalment => vec![Trade::Void, Trade::Refund],
        Kind::Preauth => vec![Trade::PreauthComplete, Trade::PreauthVoid],
        Kind::Completion | Kind::CompletionAdvice => vec![Trade::PreauthCompleteVoid, Trade::Refund],
        Kind::CashLoad => vec![Trade::CashLoadVoid],
        _ => Vec::new(),
    }
}

/// The transaction of a slip that is not in the running batch: what its code says, and what is possible later.
fn line_of_slip(code: SlipCode) -> Line {
    let row = pos::KINDS.iter().find(|row| {
        row.message_type == code.message_type && row.processing.is_some() && !code.message_type.is_empty()
    });
    let offers = match code.message_type.as_str() {
        "22" | "20" | "24" | "30" => vec![Trade::Refund],
        "36" => vec![Trade::ChipRefund],
        "10" => vec![Trade::PreauthComplete, Trade::PreauthVoid],
        _ => Vec::new(),
    };
    Line {
        trace: code.trace,
        batch: code.batch,
        zh: row.map(|row| row.zh.to_owned()).unwrap_or_default(),
        en: row.map(|row| row.en.to_owned()).unwrap_or_default(),
        reference: code.reference,
        auth_code: code.auth_code,
        date: code.date,
        here: false,
        offers,
        ..Line::default()
    }
}

/// What was scanned, as a transaction.
pub(crate) fn scanned(terminal: &pos::Terminal, text: &str) -> Result<Line, Trouble> {
    let refused = |kind, text: String| Err(Trouble { kind, text });
    let code = match text.parse::<SlipCode>() {
        Ok(code) => code,
        Err(error) => return refused(TroubleKind::Input, error.to_string()),
    };
    let config = terminal.config();
    if code.merchant != config.merchant {
        return refused(
            TroubleKind::NotPossible,
            "其他商户的单据 / this slip is of another merchant".to_owned(),
        );
    }
    let ours = code.terminal == config.terminal && code.batch == terminal.batch();
    let found = terminal.journal().iter().find(|record| ours && record.trace == code.trace);
    Ok(found.map_or_else(|| line_of_slip(code), line))
}

/// A record as a line of the list.
pub(crate) fn line(record: &Record) -> Line {
    let row = record.kind.row();
    let date = record.date();
    Line {
        trace: record.trace,
        batch: record.batch,
        zh: row.zh.to_owned(),
        en: row.en.to_owned(),
        amount: record.total_fen(),
        credit: record.kind.side() == Side::Credit,
        card: record.pan.clone(),
        at: record.at.clone(),
        voided: record.voided,
        here: true,
        offers: if record.voided { Vec::new() } else { offers(record.kind) },
        reference: record.rrn.clone(),
        auth_code: record.auth_code.clone(),
        date,
        reprints: record.reprints,
    }
}

/// What waits to go to the host, in the order in which it goes.
pub(crate) fn waiting(terminal: &pos::Terminal) -> Vec<Waiting> {
    let item = |waits: pos::Waiting| {
        let row = waits.kind.row();
        Waiting {
            zh: row.zh.to_owned(),
            en: row.en.to_owned(),
            trace: waits.trace,
            amount: waits.amount_fen,
            attempts: waits.attempts,
        }
    };
    terminal.waiting().into_iter().map(item).collect()
}

/// A page of the batch, newest first.
pub(crate) fn page(journal: &[Record], page: usize) -> Page {
    let totals = Totals::of(journal);
    let pages = journal.len().div_ceil(LINES).max(1);
    let page = page.min(pages - 1);
    Page {
        page,
        pages,
        lines: journal.iter().rev().skip(page * LINES).take(LINES).map(line).collect(),
        debit: (totals.debit_fen, totals.debit_count),
        credit: (totals.credit_fen, totals.credit_count),
    }
}
