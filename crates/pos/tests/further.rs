//! Instalments, loads of the purse, refunds of what a chip paid: what each message carries, what voids it, what a chip
//! that does not take the answer leads to, on which side it counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::{
    CardInput, Entry, KeyLayout, Kind, Pin, Points, PosError, RefundRequest, SaleRequest, Status, Totals,
    VoidRequest,
};
use rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    rig
}

fn chip(amount_fen: u64, card: &str) -> SaleRequest {
    SaleRequest {
        amount_fen,
        card: CardInput::deck(card).unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

/// Field 62 says in how many parts, 25 that there are parts; the void names batch and trace.
#[tokio::test]
async fn an_instalment_sale_says_in_how_many_parts() {
    let mut rig = rig().await;
    let sold = rig.terminal.instalment(chip(120_000, "L01"), 12, "3C").await.unwrap();
    assert!(sold.approved);
    let seen = rig.host.last();
    for (field, value) in [(3, "000000"), (25, "64"), (60, "22000001000500")] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    let plan = format!("12{:<30}", "3C");
    assert_eq!(seen.get(62), plan);
    assert!(rig.terminal.void(VoidRequest::by_trace(sold.trace)).await.unwrap().approved);
    let seen = rig.host.last();
    assert_eq!(
        (seen.get(3), seen.get(25), seen.get(60)),
        ("200000".into(), "64".into(), "23000001000500".into())
    );
    assert_eq!(seen.get(61), format!("000001{:06}", sold.trace));
    assert!(!seen.fields().contains(&62));
    let totals = Totals::of(rig.terminal.journal());
    assert_eq!((totals.debit_fen, totals.credit_fen), (120_000, 120_000));
    let (too_long, as_long_as_a_card_number) = ("AN-ITEM-CODE-THAT-IS-TOO-LONG-X", "6901234567892");
    for (periods, item) in
        [(1, "3C"), (61, "3C"), (6, "TWO WORDS"), (6, too_long), (6, as_long_as_a_card_number)]
    {
        let refused = rig.terminal.instalment(chip(100, "L01"), periods, item).await;
        assert!(matches!(refused, Err(PosError::Input(_))), "{refused:?}");
    }
}

/// A load is a message with the chip's data; a chip that is pulled before it is written leaves a reversal with 06.
#[tokio::test]
async fn a_load_needs_the_chip_and_is_reversed_when_it_is_not_written() {
    let mut rig = rig().await;
    let loaded = rig.terminal.load(chip(5_000, "L02")).await.unwrap();
    assert!(loaded.approved);
    let seen = rig.host.last();
    for (field, value) in [(3, "600000"), (25, "91"), (60, "45000001000500")] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    assert!([52, 53, 55].iter().all(|field| seen.fields().contains(field)), "{:?}", seen.fields());
    assert_eq!(Totals::of(rig.terminal.journal()), Totals::default(), "the purse is not the merchant's");

    let pulled = rig.terminal.load(chip(5_000, "L08")).await.unwrap();
    assert_eq!(pulled.status, Status::ChipRefused);
    assert!(rig.terminal.send_reversal().await.unwrap().unwrap().approved);
    let reversal = rig.host.last();
    assert_eq!((reversal.mti(), reversal.get(39), reversal.get(3)), (400, "06".into(), "600000".into()));

    let swiped = SaleRequest { entry: Entry::Swipe, ..chip(5_000, "L02") };
    assert!(matches!(rig.terminal.load(swiped).await, Err(PosError::OtherEntry(_))));
    let without_pin = SaleRequest { pin: None, ..chip(5_000, "L02") };
    assert!(matches!(rig.terminal.load(without_pin).await, Err(PosError::Input(_))));
}

/// Two cards: the stripe and the PIN of the one that pays, the chip of the one that is loaded, told in 48 and 62. A chip
/// that is pulled leaves a reversal; the same card twice is no transfer.
#[tokio::test]
async fn a_load_from_another_card_carries_both() {
    let mut rig = rig().await;
    let swiped = |amount_fen| SaleRequest { entry: Entry::Swipe, ..chip(amount_fen, "M01") };
    let purse = |id| CardInput::deck(id).unwrap();
    let loaded = rig.terminal.load_from(swiped(5_000), purse("L02")).await.unwrap();
    assert!(loaded.approved);
    let seen = rig.host.last();
    for (field, value) in [(3, "620000"), (22, "021"), (23, "001"), (25, "91"), (48, "052")] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    assert_eq!(seen.get(60), "47000001000500");
    assert!([35, 52, 53, 55, 62].iter().all(|field| seen.fields().contains(field)), "{:?}", seen.fields());
    let pan = pos::deck::find("L02").unwrap().pan;
    assert_eq!(seen.with(|message| message.bytes_of(62).map(hex::encode)), Some(format!("5a08{pan}")));
    assert_eq!(Totals::of(rig.terminal.journal()), Totals::default(), "the purse is not the merchant's");
    let slip = loaded.receipt.unwrap();
    assert!(slip.contains("非指定账户圈存") && slip.contains("转入卡号: 622424"), "{slip}");
    assert!(!slip.contains(pan));

    let pulled = rig.terminal.load_from(swiped(5_000), purse("L08")).await.unwrap();
    assert_eq!(pulled.status, Status::ChipRefused);
    assert!(rig.terminal.send_reversal().await.unwrap().unwrap().approved);
    let reversal = rig.host.last();
    assert_eq!((reversal.mti(), reversal.get(39), reversal.get(3)), (400, "06".into(), "620000".into()));
    assert!(!reversal.fields().contains(&62));

    let by_chip = rig.terminal.load_from(chip(5_000, "L01"), purse("L02")).await;
    assert!(matches!(by_chip, Err(PosError::OtherEntry(_))), "{by_chip:?}");
    let fallback = SaleRequest { entry: Entry::Manual, ..chip(5_000, "L02") };
    let same = rig.terminal.load_from(fallback, purse("L02")).await;
    assert!(matches!(same, Err(PosError::Input(_))), "{same:?}");
    let without_pin = SaleRequest { pin: None, ..swiped(5_000) };
    assert!(matches!(rig.terminal.load_from(without_pin, purse("L02")).await, Err(PosError::Input(_))));
}

/// Points: 25 and 60.7 say whose they are, 62 which offer; the sale counts like money, and nothing voids it.
#[tokio::test]
async fn points_say_whose_they_are() {
    let mut rig = rig().await;
    let sold = rig.terminal.points_sale(chip(1_200, "L01"), Points::Alliance, "GIFT").await.unwrap();
    assert!(sold.approved);
    let seen = rig.host.last();
    for (field, value) in [(3, "000000"), (25, "65"), (60, "22000001000500065")] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    assert_eq!(seen.get(62), format!("{:<30}", "GIFT"));
    assert!(rig.terminal.points_sale(chip(300, "L01"), Points::Issuer, "").await.unwrap().approved);
    assert_eq!(rig.host.last().get(60), "22000001000500048");
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 1_500);
    let void = rig.terminal.void(VoidRequest::by_trace(sold.trace)).await;
    assert!(matches!(void, Err(PosError::NotVoidable { .. })), "{void:?}");
    let refused = rig.terminal.points_sale(chip(100, "L01"), Points::Issuer, "two words").await;
    assert!(matches!(refused, Err(PosError::Input(_))), "{refused:?}");
}

/// Cash for the purse counts against the merchant until it is voided, with the card.
#[tokio::test]
async fn a_cash_load_is_voided_with_its_card() {
    let mut rig = rig().await;
    let loaded = rig.terminal.load_cash(SaleRequest { pin: None, ..chip(7_000, "L02") }).await.unwrap();
    assert!(loaded.approved);
    assert_eq!(rig.host.last().get(60), "46000001000500");
    assert_eq!(Totals::of(rig.terminal.journal()).credit_fen, 7_000);
    let card = Some((CardInput::deck("L02").unwrap(), Entry::Chip));
    let void = rig.terminal.void(VoidRequest { trace: loaded.trace, card, pin: None }).await.unwrap();
    assert!(void.approved);
    let seen = rig.host.last();
    assert_eq!((seen.get(3), seen.get(60)), ("170000".into(), "51000001000500".into()));
    assert!(seen.fields().contains(&55));
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 7_000);
}

/// A refund of what a chip paid is repeated like any refund.
#[tokio::test]
async fn a_chip_refund_is_repeated() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent]);
    let refund = RefundRequest {
        amount_fen: 900,
        card: CardInput::deck("L02").unwrap(),
        entry: Entry::Chip,
        pin: None,
        original_rrn: "112410000001".into(),
        original_date: "1124".into(),
    };
    assert!(rig.terminal.refund_chip(refund).await.unwrap().approved);
    assert_eq!(rig.host.mtis(), [220, 220]);
    assert_eq!(rig.host.last().get(60), "27000001000500");
    assert_eq!(rig.terminal.journal()[0].kind, Kind::ChipRefund);
    assert_eq!(Totals::of(rig.terminal.journal()).credit_fen, 900);
}
