//! The record as others see it: what the network processed, masked, with totals per settlement day. Tests
//! compare the product's journal with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kinds::{self, Kind};
use crate::network::{Network, Standing, Txn};
use crate::time::{Moment, SettleDate};

/// The state of a transaction after all that has happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalState {
    /// Declined, no effect.
    Declined,
    /// Approved and in force.
    Approved,
    /// Undone by a reversal.
    Reversed,
    /// Undone by a void.
    Voided,
    /// Given back in part.
    PartlyRefunded,
    /// Given back as a whole.
    Refunded,
    /// A pre-authorisation whose completion is in force.
    Completed,
}

/// One request as the network saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordLine {
    /// Number in the record, from 1.
    pub id: u64,
    /// MTI of the first arrival, four digits.
    pub mti: String,
    /// Kind by the network's table.
    pub kind: Kind,
    /// Field 7.
    pub transmission: String,
    /// Field 11.
    pub trace: u32,
    /// Field 32 without leading zeros.
    pub acquirer: String,
    /// Field 33 without leading zeros.
    pub forwarder: String,
    /// Masked card number.
    pub pan: String,
    /// Name of the card in the deck, `None` for a foreign number.
    pub card: Option<String>,
    /// Fen.
    pub amount: u64,
    /// Field 41.
    pub terminal: String,
    /// Field 42.
    pub merchant: String,
    /// Field 37.
    pub rrn: String,
    /// Field 38 of the answer.
    pub auth_code: Option<String>,
    /// Field 39 of the answer.
    pub code: String,
    /// State now.
    pub state: FinalState,
    /// Fen given back by refunds in force.
    pub refunded: u64,
    /// Record number of the transaction it acts on.
    pub original: Option<u64>,
    /// Settlement day.
    pub day: SettleDate,
    /// First arrival, milliseconds since 1970.
    pub at: Moment,
    /// Latest arrival or change of state.
    pub changed: Moment,
    /// How many times it arrived.
    pub arrivals: u32,
    /// Field that was missing or unreadable, when that is why it was declined.
    pub bad_field: Option<u8>,
}

impl RecordLine {
    fn of(network: &Network, txn: &Txn) -> Self {
        let request = &txn.request;
        RecordLine {
            id: txn.id,
            mti: format!("{:04}", request.mti),
            kind: txn.kind,
            transmission: request.key.transmission.clone(),
            trace: request.key.trace,
            acquirer: request.key.acquirer.clone(),
            forwarder: request.key.forwarder.clone(),
            pan: request.pan.clone(),
            card: request.card.clone(),
            amount: request.amount,
            terminal: request.terminal.clone(),
            merchant: request.merchant.clone(),
            rrn: request.rrn.clone(),
            auth_code: txn.auth_code.clone(),
            code: txn.code.clone(),
            state: state_of(network, txn),
            refunded: network.refunded(txn),
            original: txn.original,
            day: txn.day,
            at: txn.at,
            changed: txn.changed,
            arrivals: txn.arrivals,
            bad_field: request.bad_field,
        }
    }
}

/// The state of a transaction after all that has happened to it.
#[must_use]
pub fn state_of(network: &Network, txn: &Txn) -> FinalState {
    match txn.standing {
        Standing::Declined => FinalState::Declined,
        Standing::Reversed => FinalState::Reversed,
        Standing::Approved if network.is_voided(txn) => FinalState::Voided,
        Standing::Approved if network.is_completed(txn) => FinalState::Completed,
        Standing::Approved => match network.refunded(txn) {
            0 => FinalState::Approved,
            back if back < network.amount_of(txn) => FinalState::PartlyRefunded,
            _ => FinalState::Refunded,
        },
    }
}

/// The record from number `after` on (exclusive), at most `limit` lines, oldest first.
#[must_use]
pub fn lines(network: &Network, after: u64, limit: usize) -> Vec<RecordLine> {
    let skip = usize::try_from(after).unwrap_or(usize::MAX);
    network.txns().iter().skip(skip).take(limit).map(|txn| RecordLine::of(network, txn)).collect()
}

/// Count and sum of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotal {
    /// Transactions approved and not reversed.
    pub count: u64,
    /// Their sum in fen.
    pub amount: u64,
    /// Transactions approved and reversed later.
    pub reversed_count: u64,
    /// Their sum in fen.
    pub reversed_amount: u64,
    /// Transactions declined.
    pub declined_count: u64,
}

/// What the network would settle for one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTotals {
    /// By kind; a voided sale counts as a sale and its void as a void.
    pub kinds: BTreeMap<Kind, KindTotal>,
    /// Fen owed to the acquirer for the day by the books; below zero the acquirer owes.
    pub net: i64,
}

/// Totals per settlement day.
#[must_use]
pub fn totals(network: &Network) -> BTreeMap<String, DayTotals> {
    let mut days: BTreeMap<String, DayTotals> = BTreeMap::new();
    for txn in network.txns().iter() {
        let day = days.entry(txn.day.to_string()).or_default();
        let total = day.kinds.entry(txn.kind).or_default();
        match txn.standing {
            Standing::Declined => total.declined_count += 1,
            Standing::Approved => {
                total.count += 1;
                total.amount = total.amount.saturating_add(txn.part.unwrap_or(txn.request.amount));
            }
            Standing::Reversed => {
                total.reversed_count += 1;
                total.reversed_amount =
                    total.reversed_amount.saturating_add(txn.part.unwrap_or(txn.request.amount));
            }
        }
    }
    for (day, totals) in &mut days {
        if let Ok(date) = day.parse() {
            totals.net = network.ledger().balance(&crate::ledger::Account::Settlement(date));
        }
    }
    days
}

/// A card as the pages show it: no number, no PIN beyond the published laboratory one.
#[derive(Clone, Debug, Serialize)]
pub struct CardView {
    /// Name in the deck.
    pub id: String,
    /// Masked number.
    pub pan: String,
    /// `YYMM`.
    pub expiry: String,
    /// Service code.
    pub service: String,
    /// Debit or credit.
    pub product: crate::deck::Product,
    /// Status now.
    pub status: crate::deck::Status,
    /// Wrong PINs in a row.
    pub tries_used: u8,
    /// Highest transaction counter seen.
    pub last_atc: Option<u16>,
    /// Fen on the account.
    pub balance: i64,
    /// Fen that may be spent.
    pub available: i64,
    /// Fen set aside by pre-authorisations.
    pub held: i64,
    /// Fen in the electronic purse.
    pub purse: i64,
    /// Points left.
    pub points: i64,
    /// Movements so far.
    pub movements: usize,
}

/// All cards in the order of their names.
#[must_use]
pub fn cards(network: &Network) -> Vec<CardView> {
    let mut movements: BTreeMap<String, usize> = BTreeMap::new();
    for entry in network.ledger().entries().iter() {
        for account in [&entry.from, &entry.to] {
            if let crate::ledger::Account::Card(id) = account {
                *movements.entry(id.clone()).or_default() += 1;
            }
        }
    }
    network
        .cards()
        .iter()
        .map(|(id, card)| {
            let balances = network.balances(id);
            CardView {
                id: id.clone(),
                pan: crate::deck::mask(card.spec.pan.expose()),
                expiry: format!("{:04}", card.spec.expiry),
                service: card.spec.service.clone(),
                product: card.spec.product,
                status: card.status,
                tries_used: card.tries_used,
                last_atc: card.last_atc,
                balance: balances.map_or(0, |b| b.ledger),
                available: balances.map_or(0, |b| b.available),
                held: network.ledger().balance(&crate::ledger::Account::Hold(id.clone())),
                purse: network.ledger().balance(&crate::ledger::Account::Purse(id.clone())),
                points: network.points(id),
                movements: movements.get(id).copied().unwrap_or(0),
            }
        })
        .collect()
}

/// Chinese and English name of a kind.
#[must_use]
pub fn names(kind: Kind) -> (&'static str, &'static str) {
    kinds::line_of(kind).map_or(("未知交易", "unknown"), |line| (line.zh, line.en))
}
