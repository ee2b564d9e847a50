//! What the protocol says, in the words of the flow.

use std::future::Future;
use std::sync::Arc;

use hal::CancelToken;
use pos::{Kind, PosError, Record, Side, Status, Totals};
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

/// A record as a line of the list.
pub(crate) fn line(record: &Record) -> Line {
    let row = record.kind.row();
    let date = record.at.get(5..10).map(|date| date.replace('/', "")).unwrap_or_default();
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
        undo: match record.kind {
            Kind::Sale | Kind::Instalment | Kind::OfflineSale | Kind::OfflineChip => Some(Trade::Void),
            Kind::Completion | Kind::CompletionAdvice => Some(Trade::PreauthCompleteVoid),
            Kind::CashLoad => Some(Trade::CashLoadVoid),
            _ => None,
        },
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
