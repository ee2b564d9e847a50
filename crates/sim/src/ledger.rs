//! The simulator's own money, in double entry: every movement takes from one account what it gives another.
//!
//! Card accounts hold the customer's money (a credit card's goes below zero, down to its limit), hold accounts
//! what a pre-authorisation has set aside, settlement accounts what is owed to the acquirer for a day. Opening
//! balances come out of the capital account, so the sum over all accounts is zero at every moment.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::growing::Growing;
use crate::time::{Moment, SettleDate};

/// An account of the books.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// What the card holder has (or owes, below zero), less what is held.
    Card(String),
    /// What is set aside on the card by pre-authorisations.
    Hold(String),
    /// What is in the card's electronic purse.
    Purse(String),
    /// What was paid with the card's points, in fen: zero or below.
    Points(String),
    /// What the network owes the acquirer for a settlement day.
    Settlement(SettleDate),
    /// Where opening balances come from.
    Capital,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Card(id) => write!(f, "card:{id}"),
            Account::Hold(id) => write!(f, "hold:{id}"),
            Account::Purse(id) => write!(f, "purse:{id}"),
            Account::Points(id) => write!(f, "points:{id}"),
            Account::Settlement(day) => write!(f, "settlement:{day}"),
            Account::Capital => write!(f, "capital"),
        }
    }
}

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the entry, from 1.
    pub seq: u64,
    /// When it was made.
    pub at: Moment,
    /// The transaction whose arrival caused it; 0 for an opening or a reset.
    pub cause: u64,
    /// Account that loses.
    pub from: Account,
    /// Account that gains.
    pub to: Account,
    /// Fen, above zero.
    pub amount: u64,
}

/// One line of a card's journal, for pages and comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalLine {
    /// Number of the entry in the whole book.
    pub seq: u64,
    /// When.
    pub at: Moment,
    /// The transaction that caused it; 0 for an opening or a reset.
    pub cause: u64,
    /// The account on the other side.
    pub against: String,
    /// Fen, signed as the card sees it.
    pub amount: i64,
    /// The card's own account after the movement, fen.
    pub balance: i64,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    balances: BTreeMap<Account, i64>,
    entries: Growing<Entry>,
}

impl Ledger {
    /// Moves `amount` fen; a negative amount moves the other way, zero does nothing.
    pub fn transfer(&mut self, at: Moment, cause: u64, from: &Account, to: &Account, amount: i64) {
        let (from, to) = if amount < 0 { (to, from) } else { (from, to) };
        let moved = i64::try_from(amount.unsigned_abs()).unwrap_or(i64::MAX);
        if moved == 0 || from == to {
            return;
        }
        *self.balances.entry(from.clone()).or_default() -= moved;
        *self.balances.entry(to.clone()).or_default() += moved;
        let seq = self.entries.len() as u64 + 1;
        let amount = moved.unsigned_abs();
        self.entries.push(Entry { seq, at, cause, from: from.clone(), to: to.clone(), amount });
    }

    /// Balance of an account, fen; an account never used has zero.
    #[must_use]
    pub fn balance(&self, account: &Account) -> i64 {
        self.balances.get(account).copied().unwrap_or(0)
    }

    /// Sum over all accounts: zero, always.
    #[must_use]
    pub fn trial_balance(&self) -> i64 {
        self.balances.values().sum()
    }

    /// All movements, oldest first.
    #[must_use]
    pub fn entries(&self) -> &Growing<Entry> {
        &self.entries
    }

    /// The movements of one card's own account, oldest first, with the running balance.
    #[must_use]
    pub fn journal(&self, card: &str) -> Vec<JournalLine> {
        let account = Account::Card(card.to_owned());
        let mut balance = 0_i64;
        let mut lines = Vec::new();
        for entry in self.entries.iter() {
            let size = i64::try_from(entry.amount).unwrap_or(i64::MAX);
            let (amount, other) = if entry.from == account {
                (-size, &entry.to)
            } else if entry.to == account {
                (size, &entry.from)
            } else {
                continue;
            };
            balance += amount;
            let against = other.to_string();
            lines.push(JournalLine {
                seq: entry.seq,
                at: entry.at,
                cause: entry.cause,
                against,
                amount,
                balance,
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_loses_another_gains() {
        let mut books = Ledger::default();
        let card = Account::Card("L01".into());
        books.transfer(Moment(1), 0, &Account::Capital, &card, 1_000);
        books.transfer(Moment(2), 7, &card, &Account::Hold("L01".into()), 300);
        books.transfer(Moment(3), 8, &card, &Account::Hold("L01".into()), -100);
        books.transfer(Moment(4), 9, &card, &Account::Hold("L01".into()), 0);
        assert_eq!(books.balance(&card), 800);
        assert_eq!(books.trial_balance(), 0);
        let journal = books.journal("L01");
        assert_eq!(journal.iter().map(|l| l.balance).collect::<Vec<_>>(), [1_000, 700, 800]);
        assert_eq!(books.entries().len(), 3);
    }
}
