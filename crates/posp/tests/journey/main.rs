//! Journeys through the whole binary: a terminal of the `pos` library in front, `posp up` in the middle, `posp sim`
//! behind, each a process, configured and looked at by the commands that an operator types.
//!
//! Each scenario is one that a real shop has; after it, journal, terminal and network must tell the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod batches;
mod cards;
mod commands;
mod demo;
mod downloads;
mod faults;
mod further;
mod keeping;
mod key_blocks;
mod key_holders;
mod limits;
mod mpos;
mod node;
mod offline;
mod preauth;
mod profiles;
mod rotation;
mod terminal_commands;
mod undoing;

#[path = "../support/mod.rs"]
mod support;

use pos::{CardInput, Entry, Outcome, Pin, SaleRequest, Terminal};
use support::Lab;

/// A sale by card, way of reading and PIN.
pub fn sale(fen: u64, card: &str, entry: Entry, pin: Option<&str>) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::deck(card).unwrap(),
        entry,
        pin: pin.map(|pin| Pin::new(pin).unwrap()),
    }
}

/// A swiped sale that the network approves.
pub fn swipe(fen: u64) -> SaleRequest {
    sale(fen, "M01", Entry::Swipe, Some("123456"))
}

/// A chip sale that the network approves.
pub fn chip(fen: u64) -> SaleRequest {
    sale(fen, "L02", Entry::Chip, Some("123456"))
}

/// The sale's outcome, which must be an approval.
pub async fn sold(terminal: &mut Terminal, request: SaleRequest) -> Outcome {
    let outcome = terminal.sale(request).await.unwrap();
    assert!(outcome.approved, "{outcome:?}");
    assert_eq!(outcome.response_code.as_deref(), Some("00"));
    outcome
}

/// The response code of an outcome.
pub fn code(outcome: &Outcome) -> &str {
    outcome.response_code.as_deref().unwrap_or("none")
}

/// What the journal counts and what the network moved is the same money.
pub async fn books_agree(lab: &Lab) {
    let ours: i64 = lab
        .payments(&[])
        .iter()
        .filter(|payment| matches!(payment["state"].as_str().unwrap(), "approved" | "voided"))
        .map(|payment| {
            let fen = payment["adjusted_fen"].as_i64().or(payment["amount_fen"].as_i64()).unwrap();
            match payment["kind"].as_str().unwrap() {
                "sale" | "offline_sale" | "offline_chip" | "completion" | "completion_advice" => fen,
                "instalment" | "points_sale" | "cash_load_void" => fen,
                "sale_void" | "refund" | "completion_void" => -fen,
                "instalment_void" | "chip_refund" | "cash_load" => -fen,
                _ => 0,
            }
        })
        .sum();
    let totals = lab.network_says("/api/totals").await;
    let theirs: i64 = totals.as_object().unwrap().values().map(|day| day["net"].as_i64().unwrap()).sum();
    assert_eq!(ours, theirs, "the journal's net and the network's");
}
