//! Payments beside the everyday ones: instalments, refunds of what a chip paid, loads of a card's electronic purse. Each
//! through terminal, node and network, with lost answers and a chip that does not take the answer; afterwards the books
//! and the purses agree.

use pos::{
    CardInput, Entry, Outcome, Pin, Points, RefundRequest, SaleRequest, Status, Terminal, VoidRequest,
};

use crate::support::{FIRST, Lab, Setup};
use crate::{books_agree, chip, code, sold, swipe};

/// What is in a card's purse at the issuer, in fen.
async fn purse(lab: &Lab, card: &str) -> i64 {
    let cards = lab.network_says("/api/cards").await;
    let found = cards.as_array().unwrap().iter().find(|line| line["id"] == card).unwrap();
    found["purse"].as_i64().unwrap()
}

fn refund(terminal: &Terminal, of: &Outcome, fen: u64, card: &str, entry: Entry) -> RefundRequest {
    RefundRequest {
        amount_fen: fen,
        card: CardInput::deck(card).unwrap(),
        entry,
        pin: None,
        original_rrn: of.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    }
}

/// The bank's figures come back with the approval and again with its repeat; the void gives all of it back, once.
#[tokio::test]
async fn a_sale_in_parts_brings_its_figures_and_is_voided_as_a_whole() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let phone = terminal.instalment(swipe(10_000), 6, "3C").await.unwrap();
    assert_eq!(code(&phone), "00", "{phone:?}");
    let slip = phone.receipt.clone().unwrap();
    // 100.00 in six parts: five of 16.66 and the first of 16.70; the fee is half a per cent a period.
    for text in ["分期消费", "分期期数: 06", "首期金额: RMB 16.70", "手续费: RMB 3.00"] {
        assert!(slip.contains(text), "{text}: {slip}");
    }
    // A sale is not voided as an instalment sale is, nor the other way round.
    let plain = sold(&mut terminal, swipe(2_000)).await;
    line.drop_next_answer();
    let lost = terminal.void(VoidRequest::by_trace(phone.trace)).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "instalment_void"], "reversed").await;
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(phone.trace)).await.unwrap()), "00");
    assert_eq!(code(&terminal.void(VoidRequest::by_trace(plain.trace)).await.unwrap()), "00");
    let reference = phone.rrn.as_deref().unwrap();
    assert_eq!(lab.payments(&[reference, "--kind", "instalment"])[0]["state"], "voided");
    assert_eq!(lab.record(reference, "0200").await.unwrap()["state"], "voided");

    line.drop_next_answer();
    assert_eq!(terminal.instalment(swipe(3_000), 3, "").await.unwrap().status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--amount-min", "30.00", "--amount-max", "30.00"], "reversed").await;
    let car = terminal.instalment(swipe(60_000), 12, "CAR").await.unwrap();
    let part = refund(&terminal, &car, 1_000, "M01", Entry::Swipe);
    assert_eq!(
        code(&terminal.refund(part).await.unwrap()),
        "00",
        "an instalment sale is paid back in parts too"
    );
    books_agree(&lab).await;
    let settled = terminal.settle().await.unwrap();
    assert!(code(&settled) == "00" && settled.notices.is_empty(), "{settled:?}");
}

/// A refund of what a chip paid, up to the amount, together with ordinary ones.
#[tokio::test]
async fn what_a_chip_paid_is_paid_back() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, chip(5_000)).await;
    let first = refund(&terminal, &sale, 3_000, "L02", Entry::Chip);
    assert_eq!(code(&terminal.refund_chip(first).await.unwrap()), "00");
    let over = refund(&terminal, &sale, 2_001, "L02", Entry::Chip);
    assert_eq!(code(&terminal.refund_chip(over).await.unwrap()), "64");
    let rest = refund(&terminal, &sale, 2_000, "L02", Entry::Chip);
    assert_eq!(code(&terminal.refund(rest).await.unwrap()), "00");
    let kinds: Vec<_> = lab.payments(&["--kind", "chip_refund"]);
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    books_agree(&lab).await;
}

fn load(fen: u64, card: &str, pin: Option<&str>) -> SaleRequest {
    SaleRequest {
        amount_fen: fen,
        card: CardInput::deck(card).unwrap(),
        entry: Entry::Chip,
        pin: pin.map(|pin| Pin::new(pin).unwrap()),
    }
}

/// Money of the account and cash reach the purse once; what the chip does not take comes back out; a cash load is voided
/// with its card.
#[tokio::test]
async fn a_purse_is_loaded_once_or_not_at_all() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let loaded = terminal.load(load(20_000, "L02", Some("123456"))).await.unwrap();
    assert_eq!(code(&loaded), "00", "{loaded:?}");
    assert_eq!(purse(&lab, "L02").await, 20_000);
    // The answer is lost: reversed, and the purse is as before.
    line.drop_next_answer();
    assert_eq!(terminal.load(load(5_000, "L02", Some("123456"))).await.unwrap().status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "load", "--amount-max", "50.00"], "reversed").await;
    assert_eq!(purse(&lab, "L02").await, 20_000);
    // The card is pulled before the purse is written: reversed with 06.
    let pulled = terminal.load(load(4_000, "L08", Some("123456"))).await.unwrap();
    assert_eq!(pulled.status, Status::ChipRefused, "{pulled:?}");
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    let reversed = lab.payment_in(&[pulled.rrn.as_deref().unwrap()], "reversed").await;
    assert_eq!(reversed["reversal_reason"], "06");
    assert_eq!(purse(&lab, "L08").await, 0);
    // More than is on the account.
    let poor = terminal.load(load(10_000, "L04", Some("123456"))).await.unwrap();
    assert_eq!(code(&poor), "51", "{poor:?}");

    let cash = terminal.load_cash(load(7_000, "L02", None)).await.unwrap();
    assert_eq!(code(&cash), "00", "{cash:?}");
    assert_eq!(purse(&lab, "L02").await, 27_000);
    let with_card = VoidRequest {
        trace: cash.trace,
        card: Some((CardInput::deck("L02").unwrap(), Entry::Chip)),
        pin: None,
    };
    let void = terminal.void(with_card).await.unwrap();
    assert_eq!(code(&void), "00", "{void:?}");
    assert_eq!(purse(&lab, "L02").await, 20_000);
    let kept = terminal.load_cash(load(1_000, "L01", None)).await.unwrap();
    assert_eq!(code(&kept), "00", "{kept:?}");
    assert_eq!(purse(&lab, "L01").await, 1_000);
    books_agree(&lab).await;
    let settled = terminal.settle().await.unwrap();
    assert!(code(&settled) == "00" && settled.notices.is_empty(), "{settled:?}");
}

/// From the account of one card into the purse of another: once, or with a lost answer or a pulled card not at all.
#[tokio::test]
async fn a_purse_is_loaded_from_another_cards_account() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let swiped = |fen, card| SaleRequest { entry: Entry::Swipe, ..load(fen, card, Some("123456")) };
    let into = |card| CardInput::deck(card).unwrap();
    let loaded = terminal.load_from(swiped(20_000, "M01"), into("L02")).await.unwrap();
    assert_eq!(code(&loaded), "00", "{loaded:?}");
    assert_eq!((purse(&lab, "L02").await, purse(&lab, "M01").await), (20_000, 0));
    line.drop_next_answer();
    let lost = terminal.load_from(swiped(5_000, "M01"), into("L02")).await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "transfer_load", "--amount-max", "50.00"], "reversed").await;
    let pulled = terminal.load_from(swiped(4_000, "M01"), into("L08")).await.unwrap();
    assert_eq!(pulled.status, Status::ChipRefused, "{pulled:?}");
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&[pulled.rrn.as_deref().unwrap()], "reversed").await;
    assert_eq!((purse(&lab, "L02").await, purse(&lab, "L08").await), (20_000, 0));
    // The operator sees where it went, and no more of the number than of any other.
    let reference = loaded.rrn.as_deref().unwrap();
    let shown = lab.good(&["txn", "show", reference, "--bytes"]);
    let pan = pos::deck::find("L02").unwrap().pan;
    assert!(!shown.contains(pan), "{shown}");
    assert!(shown.contains(&pos::mask(pan)) || shown.contains(&masked_with_zeros(pan)), "{shown}");
    books_agree(&lab).await;
    let settled = terminal.settle().await.unwrap();
    assert!(code(&settled) == "00" && settled.notices.is_empty(), "{settled:?}");
}

/// How a journaled message keeps a card number.
fn masked_with_zeros(pan: &str) -> String {
    format!("{}{}{}", &pan[..6], "0".repeat(pan.len() - 10), &pan[pan.len() - 4..])
}

/// Points pay; the bank's figures come back with the approval; a lost answer takes no points.
#[tokio::test]
async fn points_pay_a_sale() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let sold = terminal.points_sale(swipe(12_000), Points::Issuer, "GIFT").await.unwrap();
    assert_eq!(code(&sold), "00", "{sold:?}");
    let slip = sold.receipt.clone().unwrap();
    for text in ["积分消费", "使用积分: 12000", "自付金额: RMB 0.00", "积分余额: 38000"] {
        assert!(slip.contains(text), "{text}: {slip}");
    }
    line.drop_next_answer();
    let lost = terminal.points_sale(swipe(30_000), Points::Alliance, "").await.unwrap();
    assert_eq!(lost.status, Status::NoAnswer);
    assert_eq!(code(&terminal.send_reversal().await.unwrap().unwrap()), "00");
    lab.payment_in(&["--kind", "points_sale", "--amount-min", "300.00"], "reversed").await;
    let rest = terminal.points_sale(swipe(38_000), Points::Alliance, "").await.unwrap();
    assert_eq!(code(&rest), "00", "{rest:?}");
    assert_eq!(code(&terminal.points_sale(swipe(1), Points::Issuer, "").await.unwrap()), "51");
    let back = refund(&terminal, &sold, 100, "M01", Entry::Swipe);
    assert_eq!(code(&terminal.refund(back).await.unwrap()), "12", "points are not paid back in money");
    books_agree(&lab).await;
    let settled = terminal.settle().await.unwrap();
    assert!(code(&settled) == "00" && settled.notices.is_empty(), "{settled:?}");
}
