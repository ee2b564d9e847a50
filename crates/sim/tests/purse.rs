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

/// Money goes from the account of one card into the purse of another, whose chip speaks; undone, it is back. Both cards
/// must be in order, and be two.
#[tokio::test]
async fn a_load_from_another_card_fills_the_purse_of_the_one_whose_chip_speaks() {
    let mut m = ready().await;
    let into = |m: &mut Member, purse: Plastic, amount: u64, atc: u16| {
        let chip = m.chip_data(purse, amount, atc);
        let pin = m.pin_block(M01, "123456");
        let sale = m.sale(M01, amount).with(3, "620000").with(25, "91").with(22, "021").with(23, "001");
        let sale = sale.with(26, "12").with(52, &pin).with(53, "2600000000000000").with(55, &chip);
        sale.with(102, M01.0).with(103, purse.0)
    };
    let load = into(&mut m, L01, 10_000, 1);
    let reply = m.ask(&load).await;
    assert_eq!(reply.code(), "00");
    assert!(!reply.get(55).is_empty(), "the issuer authenticates itself to the chip that it loads");
    let state = |m: &Member| (m.money("M01"), m.money("L01"), purse(m, "M01"), purse(m, "L01"), net(m));
    assert_eq!(state(&m), (START - 10_000, START, 0, 10_000, 0));
    let reversal = m.reversal(&load);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    assert_eq!(state(&m), (START, START, 0, 0, 0));
    let replayed = into(&mut m, L01, 10_000, 1);
    assert_eq!(m.ask(&replayed).await.code(), "05", "a counter that was used");
    let other_amount = into(&mut m, L01, 10_000, 2).with(4, "000000009999");
    assert_eq!(m.ask(&other_amount).await.code(), "05", "the chip agreed to another amount");
    let same = into(&mut m, M01, 10_000, 3);
    assert_eq!(m.ask(&same).await.code(), "14");
    let none = into(&mut m, L01, 10_000, 4).without(103);
    assert_eq!(m.ask(&none).await.code(), "30");
    assert_eq!(state(&m), (START, START, 0, 0, 0));
}

/// Points pay all of a sale, a fen each; the merchant gets money; what is left comes with the answer.
#[tokio::test]
async fn points_pay_until_there_are_no_more() {
    let mut m = ready().await;
    let points = |m: &mut Member, amount: u64, account: &str| {
        let item = hex::encode_upper(format!("PB{account}{:<30}", "GIFT"));
        m.sale(M01, amount).with(25, "65").with(48, &item)
    };
    let sale = points(&mut m, 30_000, "048");
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    let told = format!("PB{:<30}{:010}{:012}{:012}", "GIFT", 30_000, 0, 20_000);
    assert_eq!(reply.get(48), hex::encode_upper(told));
    assert_eq!((m.money("M01"), net(&m)), (START, 30_000));
    let over = points(&mut m, 20_001, "065");
    assert_eq!(m.ask(&over).await.code(), "51");
    let reversal = m.reversal(&sale);
    assert_eq!(m.ask(&reversal).await.code(), "00");
    let all = points(&mut m, 50_000, "065");
    assert_eq!(m.ask(&all).await.code(), "00");
    assert_eq!((m.money("M01"), net(&m)), (START, 50_000));
    let nobodys = points(&mut m, 1, "099");
    assert_eq!(m.ask(&nobodys).await.code(), "30");
    let void = m.void(&all);
    assert_eq!(m.ask(&void).await.code(), "12", "points are not voided as a sale is");
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
