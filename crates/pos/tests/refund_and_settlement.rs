//! Refunds are repeated and never reversed; a settlement sends totals, then whatever the host lacks, and survives
//! being cut off at any message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::{
    CardInput, Entry, KeyLayout, Kind, Pin, PosError, RefundRequest, SaleRequest, Status, VoidRequest,
};
use rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    rig
}

fn refund() -> RefundRequest {
    RefundRequest {
        amount_fen: 2_000,
        card: CardInput::deck("L01").unwrap(),
        entry: Entry::Chip,
        pin: None,
        original_rrn: "112410000001".into(),
        original_date: "1123".into(),
    }
}

fn chip_sale(card: &str) -> SaleRequest {
    SaleRequest {
        amount_fen: 10_000,
        card: CardInput::deck(card).unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

/// The message of a refund, field by field.
#[tokio::test]
async fn a_refund_names_its_original() {
    let mut rig = rig().await;
    let outcome = rig.terminal.refund(refund()).await.unwrap();
    assert!(outcome.approved && outcome.reversal.is_none());
    let seen = rig.host.last();
    assert_eq!(seen.mti(), 220);
    assert_eq!(seen.fields(), [2, 3, 4, 11, 14, 22, 23, 25, 35, 37, 41, 42, 49, 53, 60, 61, 63, 64]);
    for (field, value) in [
        (2, "6224242000000013"),
        (3, "200000"),
        (37, "112410000001"),
        (60, "25000001000500"),
        (61, "0000000000001123"),
        (63, "CUP"),
    ] {
        assert_eq!(seen.get(field), value, "{field}");
    }
    assert_eq!(rig.terminal.journal()[0].kind, Kind::Refund);
}

/// No answer and 09 repeat the same message; the first real answer counts, once.
#[tokio::test]
async fn a_refund_is_repeated_with_its_trace() {
    for faults in [vec![Fault::Silent, Fault::Code("09")], vec![Fault::Garbage, Fault::Close]] {
        let mut rig = rig().await;
        rig.host.faults(faults);
        let outcome = rig.terminal.refund(refund()).await.unwrap();
        assert!(outcome.approved);
        let seen = rig.host.seen();
        assert_eq!(rig.host.mtis(), [220, 220, 220]);
        assert!(seen.iter().all(|one| one.frame == seen[0].frame));
        assert_eq!(rig.terminal.journal().len(), 1);
        assert!(rig.terminal.pending_reversal().is_none());
    }
}

/// Without an answer the outcome is unknown, is said to be so, and survives until the operator has it resumed.
#[tokio::test]
async fn an_unanswered_refund_stays_open_across_a_power_cut() {
    let mut rig = rig().await;
    // 94 to a repeat says that the first one arrived, not what became of it.
    rig.host.faults([Fault::Silent, Fault::Code("94"), Fault::Code("09")]);
    let outcome = rig.terminal.refund(refund()).await.unwrap();
    assert_eq!((outcome.status, outcome.approved, outcome.reversal), (Status::NoAnswer, false, None));
    assert!(rig.terminal.notices()[0].text.contains("no known outcome"));
    let first = rig.host.seen()[0].clone();

    let mut rig = rig.power_cycle();
    assert_eq!(rig.terminal.open_refund(), Some((outcome.trace, 2_000)));
    assert!(matches!(rig.terminal.refund(refund()).await, Err(PosError::RefundOpen { .. })));
    assert!(matches!(rig.terminal.settle().await, Err(PosError::RefundOpen { .. })));
    rig.host.forget();
    let resumed = rig.terminal.resume_refund().await.unwrap();
    assert!(resumed.approved);
    assert_eq!(rig.host.last().frame, first.frame);
    assert!(rig.terminal.open_refund().is_none());
    assert_eq!(rig.terminal.journal().len(), 1);
}

/// A refused connection leaves nothing open; a wrong MAC stops the repeats; an operator may give up.
#[tokio::test]
async fn refunds_that_cannot_go_on() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Refuse]);
    assert!(matches!(rig.terminal.refund(refund()).await, Err(PosError::NoConnection { .. })));
    assert!(rig.terminal.open_refund().is_none());

    rig.host.faults([Fault::WrongMac]);
    let outcome = rig.terminal.refund(refund()).await.unwrap();
    assert_eq!(outcome.status, Status::NoAnswer);
    assert_eq!(rig.host.mtis(), [220]);
    assert!(matches!(rig.terminal.resume_refund().await, Err(PosError::MustSignIn(_))));
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    assert!(rig.terminal.resume_refund().await.unwrap().approved);

    rig.host.faults([Fault::Code("09"), Fault::Code("09"), Fault::Code("09"), Fault::Code("25")]);
    assert_eq!(rig.terminal.refund(refund()).await.unwrap().status, Status::NoAnswer);
    assert_eq!(rig.terminal.resume_refund().await.unwrap().status, Status::Declined);
    assert!(rig.terminal.open_refund().is_none());

    rig.host.faults([Fault::Silent, Fault::Silent, Fault::Silent]);
    rig.terminal.refund(refund()).await.unwrap();
    assert!(rig.terminal.give_up_refund().await.unwrap().contains("given up"));
    assert!(rig.terminal.open_refund().is_none());
}

/// A repeat that is answered with a demand to sign in was not looked at: the first sending may have gone through,
/// so the refund stays open. The same answer to the first sending is a refusal.
#[tokio::test]
async fn a_demand_to_sign_in_does_not_close_a_refund_that_was_sent_before() {
    for code in ["77", "99", "A0"] {
        let mut rig = rig().await;
        rig.host.faults([Fault::Silent, Fault::Code(code)]);
        let outcome = rig.terminal.refund(refund()).await.unwrap();
        assert_eq!((outcome.status, rig.host.mtis().len()), (Status::NoAnswer, 2), "{code}");
        assert!(rig.terminal.open_refund().is_some());
        rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        assert!(rig.terminal.resume_refund().await.unwrap().approved);
        assert_eq!(rig.terminal.journal().len(), 1);

        rig.host.faults([Fault::Code(code)]);
        assert_eq!(rig.terminal.refund(refund()).await.unwrap().status, Status::Declined, "{code}");
        assert!(rig.terminal.open_refund().is_none());
    }
}

/// Balanced: the chip certificates and the end go up, nothing else.
#[tokio::test]
async fn a_balanced_batch_uploads_certificates_only() {
    let mut rig = rig().await;
    let sale = rig.sale(5_000);
    let sold = rig.terminal.sale(sale).await.unwrap();
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.terminal.void(VoidRequest::by_trace(sold.trace)).await.unwrap();
    rig.terminal.refund(refund()).await.unwrap();
    rig.host.forget();

    let outcome = rig.terminal.settle().await.unwrap();
    assert!(outcome.approved && outcome.notices.is_empty());
    let seen = rig.host.seen();
    assert_eq!(rig.host.mtis(), [500, 320, 320, 820]);
    assert_eq!(seen[0].fields(), [11, 41, 42, 48, 49, 60, 63]);
    assert_eq!(seen[0].get(48), format!("{:012}{:03}{:012}{:03}0{:031}", 15_000, 2, 7_000, 2, 0));
    assert_eq!(seen[0].get(60), "00000001201");
    assert_eq!(seen[1].fields(), [2, 11, 22, 23, 41, 42, 55, 60, 62]);
    assert_eq!(seen[1].get(60), "00000001203");
    assert_eq!((seen[2].get(48), seen[2].get(60)), ("0001".into(), "00000001207".into()));
    assert_eq!(seen[3].get(60), "00000002002");
    assert!(rig.terminal.journal().is_empty());
    assert_eq!(rig.terminal.batch(), 2);
    assert_eq!(rig.terminal.sign_in_needed(), Some("the terminal is signed off"));
    let slip = outcome.receipt.unwrap();
    for line in [
        "内卡对账: 平        外卡对账: 平",
        "消费             2        150.00",
        "净额             4         80.00",
    ] {
        assert!(slip.contains(line), "{line}\n{slip}");
    }
}

/// Not balanced: every line goes up, eight to a message, then the certificates under their other code.
#[tokio::test]
async fn an_unbalanced_batch_uploads_everything() {
    let mut rig = rig().await;
    let mut traces = Vec::new();
    for amount in 1..=10 {
        let sale = rig.sale(amount * 100);
        traces.push(rig.terminal.sale(sale).await.unwrap().trace);
    }
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.host.forget();
    rig.host.faults([Fault::Totals(2)]);
    let outcome = rig.terminal.settle().await.unwrap();
    assert!(outcome.approved && outcome.notices[0].contains("differ"));
    let seen = rig.host.seen();
    assert_eq!(rig.host.mtis(), [500, 320, 320, 320, 320, 820]);
    let codes: Vec<String> = seen[1..5].iter().map(|one| one.get(60)[8..].to_owned()).collect();
    assert_eq!(codes, ["201", "201", "205", "202"]);
    let lines = seen[1].get(48);
    assert_eq!(lines.len(), 2 + 8 * 40);
    assert_eq!(&lines[..42], format!("0800{:06}0000{}{:012}", traces[0], "6224242000000021", 100));
    assert_eq!(&seen[2].get(48)[..2], "02");
    assert_eq!(seen[4].get(48), "0011");
}

/// Foreign cards, which the terminal knows by its own configuration where the host names no organisation: a block of their own
/// in field 48, class 01 in the details, and a void goes where its sale is.
#[tokio::test]
async fn foreign_cards_have_a_block_of_their_own() {
    let mut config = Rig::config();
    config.foreign_bins = vec!["400000".to_owned()];
    let mut rig = Rig::with(config);
    rig.prepare(KeyLayout::TripleDesTrack).await;
    let foreign = |amount_fen| SaleRequest {
        amount_fen,
        card: CardInput::deck("M07").unwrap(),
        entry: Entry::Swipe,
        pin: None,
    };
    let sale = rig.sale(1_000);
    rig.terminal.sale(sale).await.unwrap();
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.terminal.sale(foreign(2_000)).await.unwrap();
    let voided = rig.terminal.sale(foreign(300)).await.unwrap();
    rig.terminal.void(VoidRequest::by_trace(voided.trace)).await.unwrap();
    let back = RefundRequest { card: CardInput::deck("M07").unwrap(), entry: Entry::Swipe, ..refund() };
    rig.terminal.refund(back).await.unwrap();
    assert_eq!(rig.host.last().get(63), "000", "a foreign card is not announced as a UnionPay card");
    rig.host.forget();
    rig.host.faults([Fault::Totals(2)]);
    let outcome = rig.terminal.settle().await.unwrap();
    let seen = rig.host.seen();
    assert_eq!(
        seen[0].get(48),
        concat!(
            "000000011000",
            "002",
            "000000000000",
            "000",
            "0",
            "000000002300",
            "002",
            "000000002300",
            "002",
            "0"
        )
    );
    let lines = seen[1].get(48);
    let classes: Vec<&str> = (0..5).map(|line| &lines[2 + line * 40..4 + line * 40]).collect();
    assert_eq!((&lines[..2], classes), ("05", vec!["00", "01", "01", "01", "01"]));
    assert_eq!(&seen[2].get(62)[..6], "610000", "the chip card is a domestic one");
    let slip = outcome.receipt.unwrap();
    let (_, foreign) = slip.split_once("\n外卡").unwrap();
    assert!(foreign.contains("23.00") && foreign.contains("3.00") && foreign.contains("20.00"), "{slip}");
}

/// A host that says "the totals differ" in field 39 gets the details too.
#[tokio::test]
async fn code_95_means_not_balanced() {
    let mut rig = rig().await;
    let sale = rig.sale(5_000);
    rig.terminal.sale(sale).await.unwrap();
    rig.host.forget();
    rig.host.faults([Fault::Code("95")]);
    assert!(rig.terminal.settle().await.unwrap().approved);
    let codes: Vec<String> = rig.host.seen()[1..3].iter().map(|one| one.get(60)[8..].to_owned()).collect();
    assert_eq!(codes, ["201", "202"]);
    // Any other code is a decline: nothing has begun.
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    rig.host.faults([Fault::Code("96")]);
    assert_eq!(rig.terminal.settle().await.unwrap().status, Status::Declined);
    assert!(!rig.terminal.settlement_open());
}

/// An item the host refuses is sent again as often as allowed, then left out and reported.
#[tokio::test]
async fn a_refused_item_is_resent_then_skipped() {
    let mut rig = rig().await;
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.host.forget();
    rig.host.faults([Fault::None, Fault::Code("30"), Fault::Code("30"), Fault::Code("30")]);
    let outcome = rig.terminal.settle().await.unwrap();
    assert_eq!(rig.host.mtis(), [500, 320, 320, 320, 320, 320, 820]);
    assert_eq!(rig.host.seen()[5].get(48), "0001");
    assert!(outcome.notices[0].contains("1 items"));
}

/// A host that wants a sign-in in the middle gets it; no item is lost over it.
#[tokio::test]
async fn a_sign_in_in_the_middle_loses_no_item() {
    let mut rig = rig().await;
    rig.terminal.sale(chip_sale("L01")).await.unwrap();
    rig.host.forget();
    rig.host.faults([Fault::None, Fault::Code("77")]);
    assert!(matches!(rig.terminal.settle().await, Err(PosError::SettlementCutOff(_))));
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    let outcome = rig.terminal.settle().await.unwrap();
    assert!(outcome.approved && outcome.notices.is_empty());
    assert_eq!(rig.host.mtis(), [500, 320, 800, 320, 320, 820]);
    assert_eq!(rig.host.seen()[4].get(48), "0001");
}

/// Cut off at every message in turn, powered off, and run again: each item reaches the host, and the terminal takes
/// no transaction in between.
#[tokio::test]
async fn settlement_resumes_where_it_was_cut_off() {
    for cut in 0..5 {
        let mut rig = rig().await;
        let sale = rig.sale(5_000);
        rig.terminal.sale(sale).await.unwrap();
        rig.terminal.sale(chip_sale("L01")).await.unwrap();
        rig.terminal.sale(chip_sale("L01")).await.unwrap();
        rig.host.forget();
        let mut faults = vec![Fault::Totals(2), Fault::None, Fault::None, Fault::None, Fault::None];
        faults[cut] = Fault::Close;
        rig.host.faults(faults);
        let cut_off = rig.terminal.settle().await;
        let mut rig = rig.power_cycle();
        if cut == 0 {
            // The totals themselves got lost: nothing has begun, so nothing blocks, and settling starts over.
            assert_eq!(cut_off.unwrap().status, Status::NoAnswer);
            assert!(!rig.terminal.settlement_open());
        } else {
            assert!(matches!(cut_off, Err(PosError::SettlementCutOff(_))), "{cut}");
            let sale = rig.sale(100);
            assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::SettlementOpen)), "{cut}");
        }
        let outcome = rig.terminal.settle().await.unwrap();
        assert!(outcome.approved, "{cut}");
        assert_eq!((rig.terminal.batch(), rig.terminal.journal().len()), (2, 0), "{cut}");
        let codes: Vec<String> = rig
            .host
            .seen()
            .iter()
            .filter(|one| one.mti() == 320)
            .map(|one| one.get(60)[8..].to_owned())
            .collect();
        let wanted: &[&str] = match cut {
            0 => &["203", "203", "207"],
            1 => &["201", "201", "205", "205", "202"],
            2 => &["201", "205", "205", "205", "202"],
            3 => &["201", "205", "205", "205", "202"],
            _ => &["201", "205", "205", "202", "202"],
        };
        assert_eq!(codes, wanted, "{cut}");
        assert_eq!(
            rig.host.seen().iter().rev().find(|one| one.mti() == 320).unwrap().get(48),
            if cut == 0 { "0002" } else { "0003" }
        );
    }
}

/// A full journal forces settlement, with a warning when it fills.
#[tokio::test]
async fn a_full_journal_forces_settlement() {
    let mut config = Rig::config();
    config.journal_max = 2;
    let mut rig = Rig::with(config);
    rig.prepare(KeyLayout::TripleDes).await;
    let sale = rig.sale(100);
    rig.terminal.sale(sale).await.unwrap();
    let sale = rig.sale(100);
    assert!(rig.terminal.sale(sale).await.unwrap().notices[0].contains("full"));
    let sale = rig.sale(100);
    assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::JournalFull(2))));
    rig.terminal.settle().await.unwrap();
    rig.terminal.sign_in(KeyLayout::TripleDes).await.unwrap();
    let sale = rig.sale(100);
    assert!(rig.terminal.sale(sale).await.unwrap().approved);
}

/// A pending reversal goes before the totals.
#[tokio::test]
async fn settlement_waits_for_the_reversal() {
    let mut rig = rig().await;
    rig.host.faults([Fault::Silent, Fault::Silent]);
    let sale = rig.sale(100);
    rig.terminal.sale(sale).await.unwrap();
    assert!(matches!(rig.terminal.settle().await, Err(PosError::ReversalPending { .. })));
    rig.host.forget();
    rig.terminal.settle().await.unwrap();
    assert_eq!(rig.host.mtis(), [400, 500, 320, 820]);
}
