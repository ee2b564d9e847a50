//! Keys of every kind, cards read in every way, and every decline of the deck.

use pos::{BalanceRequest, CardInput, Entry, KeyLayout, PosError, Status};

use crate::support::{FIRST, Lab, MERCHANT, NATIONAL, SECOND, Setup, until};
use crate::{books_agree, chip, code, sale, sold, swipe};

/// Each sign-in brings keys that work: the PIN is right at the issuer, the MAC at both ends.
#[tokio::test]
async fn keys_of_every_layout_serve_a_sale_with_pin() {
    let lab = Lab::start(Setup::default()).await;
    let (mut des, _) = lab.terminal(FIRST).await;
    for layout in [KeyLayout::Des, KeyLayout::TripleDes, KeyLayout::TripleDesTrack] {
        let outcome = des.sign_in(layout).await.unwrap();
        assert_eq!(code(&outcome), "00", "{layout:?}");
        sold(&mut des, swipe(1_000)).await;
        sold(&mut des, chip(1_100)).await;
    }
    let (mut national, _) = lab.terminal(NATIONAL).await;
    assert_eq!(code(&national.sign_in(KeyLayout::Sm4).await.unwrap()), "00");
    sold(&mut national, swipe(1_200)).await;
    sold(&mut national, chip(1_300)).await;

    // Keys of another family than the terminal's are not given out.
    assert_eq!(code(&national.sign_in(KeyLayout::TripleDes).await.unwrap()), "40");
    assert_eq!(code(&des.sign_in(KeyLayout::Sm4).await.unwrap()), "40");
    sold(&mut des, swipe(1_400)).await;
    sold(&mut national, swipe(1_500)).await;
    assert!(lab.payments(&["--state", "approved"]).len() == 10);
    books_agree(&lab).await;
}

/// A new sign-in, a lost answer to it, and the old keys: the terminal can always go on.
#[tokio::test]
async fn a_lost_sign_in_answer_leaves_the_old_keys_good() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    for _ in 0..2 {
        line.drop_next_answer();
        let outcome = terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
        assert_eq!(outcome.status, Status::NoAnswer);
        sold(&mut terminal, swipe(1_100)).await;
    }
    assert_eq!(code(&terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap()), "00");
    sold(&mut terminal, swipe(1_200)).await;
}

/// Stripe, chip, tap, keyed number, fall-back and phone; and the balance of a card.
#[tokio::test]
async fn cards_are_read_in_every_way() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let pin = Some("123456");
    let ways = [
        (sale(1_001, "M01", Entry::Swipe, pin), "021"),
        (sale(1_002, "L01", Entry::Chip, pin), "051"),
        (sale(1_003, "L03", Entry::Chip, None), "052"),
        (sale(1_004, "L01", Entry::Tap, None), "072"),
        (sale(1_005, "L14", Entry::Tap, pin), "071"),
        (sale(1_006, "L13", Entry::Tap, None), "072"),
        (sale(1_007, "L12", Entry::Manual, None), "012"),
        (sale(1_008, "L12", Entry::Manual, Some("888888")), "011"),
        (sale(1_009, "L09", Entry::Fallback, pin), "801"),
        (sale(1_010, "L06", Entry::Chip, pin), "051"),
    ];
    for (request, mode) in ways {
        let (fen, what) = (request.amount_fen, format!("{request:?}"));
        let outcome = terminal.sale(request).await.unwrap();
        assert!(outcome.approved, "{what}: {outcome:?}");
        let message = iso8583::CUP_POS.parse(&outcome.request[13..]).unwrap();
        assert_eq!(message.digits(22).unwrap(), mode, "{what}");
        let record = lab.record(outcome.rrn.as_deref().unwrap(), "0200").await.unwrap();
        assert_eq!(
            (record["amount"].as_u64(), record["state"].as_str()),
            (Some(fen), Some("approved")),
            "{what}"
        );
    }
    let mute = terminal.sale(sale(1_011, "L09", Entry::Chip, pin)).await;
    assert!(matches!(mute, Err(PosError::ChipMute)), "{mute:?}");
    let offline = terminal.sale(sale(1_012, "L07", Entry::Chip, pin)).await.unwrap();
    assert_eq!(offline.status, Status::DeclinedByChip, "{offline:?}");

    let card = CardInput::deck("L01").unwrap();
    let pin = Some(pos::Pin::new("123456").unwrap());
    let balance = terminal.balance(BalanceRequest { card, entry: Entry::Chip, pin }).await.unwrap();
    assert_eq!(balance.balance.unwrap().amount_fen, 1_000_000 - 1_002 - 1_004, "{balance:?}");
    books_agree(&lab).await;
}

/// Every decline of the deck reaches the terminal as the issuer gave it, moves nothing and leaves nothing pending.
#[tokio::test]
async fn every_decline_of_the_deck() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let pin = Some("123456");
    sold(&mut terminal, sale(2_001, "M06", Entry::Swipe, pin)).await;
    sold(&mut terminal, sale(2_002, "M06", Entry::Swipe, pin)).await;
    let declines = [
        ("41", sale(3_001, "M02", Entry::Swipe, pin)),
        ("43", sale(3_002, "M03", Entry::Swipe, pin)),
        ("45", sale(3_003, "L01", Entry::Swipe, pin)),
        ("51", sale(3_004, "L04", Entry::Chip, pin)),
        ("54", sale(3_005, "L10", Entry::Chip, pin)),
        ("55", sale(3_006, "M01", Entry::Swipe, Some("111111"))),
        ("61", sale(100_001, "M05", Entry::Swipe, pin)),
        ("62", sale(3_008, "M04", Entry::Swipe, pin)),
        ("65", sale(3_009, "M06", Entry::Swipe, pin)),
        ("75", sale(3_010, "L11", Entry::Chip, pin)),
    ];
    for (expected, request) in declines {
        let outcome = terminal.sale(request).await.unwrap();
        assert_eq!((code(&outcome), outcome.status), (expected, Status::Declined), "{outcome:?}");
        assert_eq!(terminal.pending_reversal(), None, "{expected}");
        let reference = outcome.rrn.as_deref().unwrap();
        let payments = lab.payments(&[reference]);
        assert_eq!(payments.len(), 1);
        assert_eq!(
            (payments[0]["state"].as_str(), payments[0]["code"].as_str()),
            (Some("declined"), Some(expected))
        );
        let record = lab.record(reference, "0200").await.unwrap();
        assert_eq!((record["state"].as_str(), record["code"].as_str()), (Some("declined"), Some(expected)));
    }
    assert_eq!(terminal.journal().len(), 2, "declines are not in the terminal's batch");
    // The try count goes on to 75 and stays there.
    for expected in ["55", "75", "75"] {
        let outcome = terminal.sale(sale(3_011, "M01", Entry::Swipe, Some("111111"))).await.unwrap();
        assert_eq!(code(&outcome), expected);
    }
    books_agree(&lab).await;
}

/// The merchant's own limit is kept here: the network never sees what is above it.
#[tokio::test]
async fn what_the_network_never_sees() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(SECOND).await;
    let before = lab.log().matches("master data read again").count();
    lab.good(&["merchant", "add", MERCHANT, "--name", "实验商户一号店", "--limit", "50.00"]);
    until("the limit is in force", || {
        (lab.log().matches("master data read again").count() > before).then_some(())
    })
    .await;
    let outcome = terminal.sale(swipe(5_001)).await.unwrap();
    assert_eq!(code(&outcome), "61", "{outcome:?}");
    assert!(lab.record(outcome.rrn.as_deref().unwrap(), "0200").await.is_none());
    sold(&mut terminal, swipe(5_000)).await;
    books_agree(&lab).await;
}

/// A card that has less than the sale: the terminal that takes a part sells that, its slip and every total are over what was
/// approved, and the void gives back that. One that does not is declined, also when the network approves a part unasked.
#[tokio::test]
async fn a_sale_is_approved_in_part_where_the_terminal_takes_that() {
    let lab = Lab::start(Setup::default()).await;
    let dir = lab.terminal_dir(FIRST);
    let (terminal, _) = lab.terminal(FIRST).await;
    drop(terminal);
    let path = dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["partial_approval"] = serde_json::json!(true);
    std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let mut terminal = lab.reopen(FIRST);
    assert_eq!(code(&terminal.sign_in(pos::KeyLayout::TripleDesTrack).await.unwrap()), "00");
    let pin = Some("123456");

    // L04 has one yuan.
    let part = terminal.sale(sale(2_500, "L04", Entry::Chip, pin)).await.unwrap();
    assert!(part.approved, "{part:?}");
    assert_eq!((code(&part), part.amount_fen), ("10", Some(100)));
    let slip = part.receipt.clone().unwrap();
    assert!(slip.contains("RMB 1.00") && slip.contains("RMB 25.00"), "{slip}");
    let kept = &lab.payments(&[part.rrn.as_deref().unwrap()])[0];
    assert_eq!((&kept["amount_fen"], &kept["adjusted_fen"]), (&2_500.into(), &100.into()));
    books_agree(&lab).await;
    // And nothing is left.
    assert_eq!(code(&terminal.sale(sale(100, "L04", Entry::Chip, pin)).await.unwrap()), "51");
    assert_eq!(code(&terminal.void(pos::VoidRequest::by_trace(part.trace)).await.unwrap()), "00");
    books_agree(&lab).await;
    let again = terminal.sale(sale(3_000, "L04", Entry::Chip, pin)).await.unwrap();
    assert_eq!((code(&again), again.amount_fen), ("10", Some(100)));
    let settled = terminal.settle().await.unwrap();
    assert_eq!(code(&settled), "00", "{settled:?}");
    assert!(settled.notices.is_empty(), "{settled:?}");
    assert!(lab.good(&["settlement", "list"]).contains("2 / ¥2.00"));

    let (mut other, _) = lab.signed_in(SECOND).await;
    let poor = other.sale(sale(2_500, "L04", Entry::Chip, pin)).await.unwrap();
    assert_eq!(code(&poor), "51");
    // The network approves half of 91.10 whether it is taken or not.
    let unasked = other.sale(swipe(9_110)).await.unwrap();
    assert_eq!(code(&unasked), "51", "{unasked:?}");
    lab.payment_in(&["--amount-min", "91.10", "--amount-max", "91.10"], "reversed").await;
    books_agree(&lab).await;
}
