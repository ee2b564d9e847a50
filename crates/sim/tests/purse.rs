//! Electronic purses and sales in parts: money that goes from an account or over the counter into a purse is there once,
//! comes back when the load is undone, and is nobody's twice; an instalment sale is answered with its figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;

const START: i64 = 1_000_000;

fn purse(m: &Member, id: &str) -> i64 {
    m.sim.cards().iter().find(|card| card.id == id).unwrap().purse
}

fn net(m: &Member) -> i64 {
    m.sim.totals().values().map(|day| day.net).sum()
}

#[tokio::test]
async fn a_load_moves_money_from_the_account_into_the_purse() {
    let mut m = ready().await;
    let load = m.chip_sale(L01, 10_000).with(3, "600000").with(25, "91");
    let reply = m.ask(&load).await;
    assert_eq!(reply.code(), "00");
    assert!(!reply.get(55).is_empty(), "the issuer authenticates itself to the chip that it loads");
    assert_eq!((m.money("L01"), purse(&m, "L01"), net(&m)), (START - 10_000, 10_000, 0));
    let reversal = m.reversal(&load);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    assert_eq!((m.money("L01"), purse(&m, "L01")), (START, 0));
    let again = m.reversal(&load);
    assert_eq!(m.ask(&again).await.code(), "00");
    let poor = m.chip_sale(L04, 10_000).with(3, "600000").with(25, "91");
    assert_eq!(m.ask(&poor).await.code(), "51");
    assert_eq!(purse(&m, "L04"), 0);
}

#[tokio::test]
async fn cash_in_a_purse_is_owed_by_the_acquirer_until_it_is_voided() {
    let mut m = ready().await;
    let load = m.sale(M01, 7_000).with(3, "630000").with(25, "91");
    assert_eq!(m.ask(&load).await.code(), "00");
    assert_eq!((m.money("M01"), purse(&m, "M01"), net(&m)), (START, 7_000, -7_000));
    let other = m.void(&load).with(3, "170000").with(25, "91").with(4, "000000006999");
    assert_eq!(m.ask(&other).await.code(), "64");
    let sale_void = m.void(&load);
    assert_eq!(m.ask(&sale_void).await.code(), "12", "a load is not voided as a sale is");
    let void = m.void(&load).with(3, "170000").with(25, "91");
    assert_eq!(m.ask(&void).await.code(), "00");
    assert_eq!((purse(&m, "M01"), net(&m)), (0, 0));
    let twice = m.void(&load).with(3, "170000").with(25, "91");
    assert_eq!(m.ask(&twice).await.code(), "12");
    // The void itself undone: the cash is in the purse again.
    let undo = m.reversal(&void);
    assert_eq!(m.ask(&undo).await.code(), "00");
    assert_eq!((purse(&m, "M01"), net(&m)), (7_000, -7_000));
    let none = m.sale(M01, 0).with(3, "630000").with(25, "91");
    assert_eq!(m.ask(&none).await.code(), "13");
}

#[tokio::test]
async fn a_sale_in_parts_is_answered_with_its_figures() {
    let mut m = ready().await;
    let plan = hex::encode_upper(format!("IP03{:<30}", "3C"));
    let sale = m.sale(M01, 10_000).with(25, "64").with(48, &plan);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    // Three parts of 33.33 and a fen more in the first; half a per cent a period.
    let figures = hex::encode_upper("000000003334000000000150");
    assert_eq!(reply.get(48), format!("{plan}{figures}"));
    assert_eq!(m.money("M01"), START - 10_000);
    let void = m.void(&sale).with(25, "64");
    assert_eq!(m.ask(&void).await.code(), "00");
    assert_eq!(m.money("M01"), START);
    let poor = m.sale(L04, 10_000).with(25, "64").with(48, &plan);
    assert_eq!(m.ask(&poor).await.get(48), "", "a decline has no figures");
}
