//! A payment as the journal 流水 keeps it.

use jiff::Timestamp;

use crate::card::{ANY_ORGANISATION, EntryMode, Expiry, MaskedPan, UNIONPAY, international};
use crate::ids::{AuthCode, BatchNo, MerchantId, PaymentId, Rrn, TerminalId, Trace};
use crate::kind::Kind;
use crate::money::Amount;
use crate::response_code::ResponseCode;

/// Where a payment stands.
///
/// ```text
///            ┌────────────▶ Declined
/// Pending ───┼────────────▶ Approved ◀──▶ Voided, Completed
///            │                  │
///            ├▶ Reversing ◀─────┘        (no answer, or the terminal reverses)
///            │      └─────▶ Reversed     (the network acknowledged)
///            └▶ Unresolved ─▶ Approved / Declined   (refund without an answer: repeated until answered)
/// ```
///
/// A person who has read the network's record may end a parked message otherwise: Reversing → Approved when the network
/// keeps it after all, Approved → Declined when it will never have what a terminal approved by itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum PaymentState {
    /// The intent is durable; the request may be on its way.
    Pending,
    /// The network approved.
    Approved,
    /// The network declined, or nothing was sent.
    Declined,
    /// Outcome unknown; the same request is repeated until the network answers.
    Unresolved,
    /// To be undone: a reversal (冲正) is queued until the network acknowledges.
    Reversing,
    /// Undone and acknowledged.
    Reversed,
    /// Approved, then voided (撤销) by a later payment.
    Voided,
    /// A pre-authorisation, approved, then completed (完成) by a later payment.
    Completed,
}

impl PaymentState {
    /// Every state, with its code in the store.
    pub const ALL: [(PaymentState, &'static str); 8] = [
        (PaymentState::Pending, "pending"),
        (PaymentState::Approved, "approved"),
        (PaymentState::Declined, "declined"),
        (PaymentState::Unresolved, "unresolved"),
        (PaymentState::Reversing, "reversing"),
        (PaymentState::Reversed, "reversed"),
        (PaymentState::Voided, "voided"),
        (PaymentState::Completed, "completed"),
    ];

    /// Code in the store, logs and metrics.
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, code)| code)
    }

    /// The state with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(state, _)| *state)
    }

    /// Chinese name for pages and the command line.
    pub const fn zh(self) -> &'static str {
        match self {
            PaymentState::Pending => "处理中",
            PaymentState::Approved => "成功",
            PaymentState::Declined => "失败",
            PaymentState::Unresolved => "待确认",
            PaymentState::Reversing => "冲正中",
            PaymentState::Reversed => "已冲正",
            PaymentState::Voided => "已撤销",
            PaymentState::Completed => "已完成",
        }
    }

    /// Counts in the totals of its batch: approved, also when voided or completed later (that counts on its own).
    pub const fn counts(self) -> bool {
        matches!(self, PaymentState::Approved | PaymentState::Voided | PaymentState::Completed)
    }
}

/// The card of a payment as it may be kept: masked, digested for look-ups, sealed for a later reversal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardRecord {
    /// First six, last four.
    pub masked: MaskedPan,
    /// Keyed digest of the account number.
    pub digest: [u8; 32],
    /// The account number, encrypted by the security module.
    pub sealed: Vec<u8>,
}

/// How the network knows a payment; needed again in field 90 of whatever undoes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkKey {
    /// Our trace number toward the network, field 11.
    pub trace: u32,
    /// Transmission time MMDDhhmmss, field 7.
    pub transmission: u64,
}

/// The outcome as the network, or we ourselves, told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Field 39.
    pub code: ResponseCode,
    /// Field 38.
    pub auth_code: Option<AuthCode>,
    /// Field 15, MMDD.
    pub settle_date: Option<u16>,
    /// Issuer or receiving institution, field 100 of the network, 44.1 at the terminal.
    pub issuer: Option<String>,
    /// Field 54 as the terminal gets it (20 characters).
    pub balance: Option<String>,
    /// Field 55 of the answer: tags 91, 71, 72.
    pub chip: Option<Vec<u8>>,
    /// Field 62 of the answer: the figures of an instalment sale.
    pub plan: Option<String>,
    /// When the outcome was known; fields 12 and 13 of every answer to this request.
    pub at: Timestamp,
}

impl Answer {
    /// An answer that we give ourselves, with nothing but a code.
    pub const fn own(code: ResponseCode, at: Timestamp) -> Self {
        Answer {
            code,
            auth_code: None,
            settle_date: None,
            issuer: None,
            balance: None,
            chip: None,
            plan: None,
            at,
        }
    }
}

/// One payment, as the journal keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentRecord {
    /// Our number.
    pub id: PaymentId,
    /// Merchant, field 42. The shard key: every index of the journal begins with it.
    pub merchant: MerchantId,
    /// Terminal, field 41.
    pub terminal: TerminalId,
    /// Batch, 60.2.
    pub batch: BatchNo,
    /// The terminal's trace number, field 11.
    pub trace: Trace,
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub state: PaymentState,
    /// Amount as it was asked for; zero for a balance inquiry. Of an adjustment, what its original came to.
    pub amount: Amount,
    /// What an adjustment, a tip or an approval in part (field 39 = 10) made of the amount.
    pub adjusted: Option<Amount>,
    /// Currency, ISO 4217 numeric, 156 for yuan.
    pub currency: u16,
    /// The card.
    pub card: Option<CardRecord>,
    /// Expiry, when the message told it.
    pub expiry: Option<Expiry>,
    /// Entry mode, field 22.
    pub entry_mode: EntryMode,
    /// Card sequence number, field 23.
    pub card_sequence: Option<u16>,
    /// Condition code, field 25.
    pub condition: u8,
    /// Digits 60.4 to 60.6: reading capability, chip condition, partial approval.
    pub terminal_traits: [u8; 3],
    /// Keyed digest of the request's bytes: tells a repeat from another request with the same numbers.
    pub request_digest: [u8; 32],
    /// Name of the line toward the network.
    pub line: String,
    /// Its key at the network.
    pub network: NetworkKey,
    /// Reference number, field 37.
    pub rrn: Rrn,
    /// What this voids, refunds or completes.
    pub original: Option<PaymentId>,
    /// The void or completion that holds this payment, under way or done, or the adjustment of which the network does
    /// not know yet.
    pub claimed_by: Option<PaymentId>,
    /// Refunds of this payment, under way and done.
    pub refunded: Amount,
    /// Outcome, when known.
    pub answer: Option<Answer>,
    /// Field 39 of the reversal that undid it: 98, 06, A0, or 68 when we gave up waiting.
    pub reversal_reason: Option<ResponseCode>,
    /// The date on which the network settles that reversal, MMDD (field 15 of its answer): after the network's cut-over
    /// not that of the payment. None when it had nothing to reverse, or people settled the matter.
    pub reversed_on: Option<u16>,
    /// It has taken its part of a limit's day, and gives it back when it comes to nothing.
    pub limited: bool,
    /// By the card of an international organisation (外卡), as the table of card numbers said when it came. It says in which
    /// block of the settlement it counts.
    pub foreign: bool,
    /// When the intent became durable.
    pub created: Timestamp,
}

impl PaymentRecord {
    /// What it comes to: the amount, or what an adjustment or an approval in part made of it.
    pub fn total(&self) -> Amount {
        self.adjusted.unwrap_or(self.amount)
    }

    /// The card's organisation as field 63.1 names it: `CUP`, for a foreign card that of its first digits, `000` when those
    /// tell none.
    pub fn organisation(&self) -> &'static str {
        match &self.card {
            Some(card) if self.foreign => international(card.masked.as_str()).unwrap_or(ANY_ORGANISATION),
            _ => UNIONPAY,
        }
    }
}

/// Which way a journal entry went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// Message from the terminal.
    TerminalIn,
    /// Message to the terminal.
    TerminalOut,
    /// Message to the network.
    NetworkOut,
    /// Message from the network.
    NetworkIn,
    /// Something that happened without a message.
    Note,
}

impl EntryKind {
    /// Every kind, with its code in the store.
    pub const ALL: [(EntryKind, &'static str); 5] = [
        (EntryKind::TerminalIn, "terminal_in"),
        (EntryKind::TerminalOut, "terminal_out"),
        (EntryKind::NetworkOut, "network_out"),
        (EntryKind::NetworkIn, "network_in"),
        (EntryKind::Note, "note"),
    ];

    /// Code in the store.
    pub fn code(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, code)| code)
    }

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(kind, _)| *kind)
    }
}

/// One line of a payment's history: a message (masked bytes, still readable by its dialect) or a note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalEntry {
    /// When.
    pub at: Timestamp,
    /// Which way.
    pub kind: EntryKind,
    /// The message with its secrets overwritten; empty for a note.
    pub bytes: Vec<u8>,
    /// What happened, for people; no card data.
    pub note: String,
}

impl JournalEntry {
    /// A line without a message.
    pub fn note(at: Timestamp, note: impl Into<String>) -> Self {
        JournalEntry { at, kind: EntryKind::Note, bytes: Vec::new(), note: note.into() }
    }

    /// A message, already masked.
    pub fn message(at: Timestamp, kind: EntryKind, masked: Vec<u8>) -> Self {
        JournalEntry { at, kind, bytes: masked, note: String::new() }
    }
}
