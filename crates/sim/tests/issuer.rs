//! What issuers answer: each decline with the card that provokes it, PIN tries to the end, cryptograms with the
//! numbers of the specification. A terminal or host that shows the wrong text for a code is found here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use common::*;
use hsm::Hsm;
use sim::FinalState;

#[tokio::test]
async fn each_decline_has_its_code() {
    let mut m = ready().await;
    let wrong_track = M01.track2().replace("0000000123", "0000000124");
    let mut cases = vec![
        ("51", m.sale(L04, 101)),
        ("54", m.sale(L10, 100)),
        ("41", m.sale(M02, 100)),
        ("43", m.sale(M03, 100)),
        ("62", m.sale(M04, 100)),
        ("61", m.sale(M05, 100_001)),
        ("75", m.sale(L11, 100)),
        ("13", m.sale(M01, 0)),
    ];
    let chip_swiped = m.sale(L02, 100).with(22, "021");
    cases.push(("45", chip_swiped));
    let track = m.sale(M01, 100).with(35, &wrong_track);
    cases.push(("59", track));
    let expiry = m.sale(M01, 100).with(14, "3001");
    cases.push(("54", expiry));
    let no_pin = m.sale(M01, 100).with(22, "802").without(26).without(52).without(53);
    cases.push(("55", no_pin));
    let not_in_deck = m.sale(M01, 100).with(2, "6224242000009998").without(35);
    cases.push(("14", not_in_deck));
    let foreign = m.sale(M01, 100).with(2, "4111111111111111").without(35);
    cases.push(("15", foreign));
    let no_chip_data = m.sale(M01, 100).with(22, "051").with(23, "001");
    cases.push(("30", no_chip_data));
    for (code, request) in &cases {
        let reply = m.ask(request).await;
        assert_eq!(reply.code(), *code);
        assert_eq!(reply.get(38), "", "no authorisation code on a decline");
        assert_eq!(reply.mac_good, Some(true));
    }
    assert!(m.sim.record().iter().all(|line| line.state == FinalState::Declined));
    assert_eq!(m.money("M01"), 1_000_000);
}

#[tokio::test]
async fn the_count_limit_ends_with_the_day() {
    let mut m = ready().await;
    for code in ["00", "00", "65"] {
        let sale = m.sale(M06, 100);
        assert_eq!(m.ask(&sale).await.code(), code);
    }
    m.sim.cut_over(None).await.unwrap();
    let sale = m.sale(M06, 100);
    assert_eq!(m.ask(&sale).await.code(), "00");
}

#[tokio::test]
async fn three_wrong_pins_block_until_the_card_is_reset() {
    let mut m = ready().await;
    for code in ["55", "55", "75"] {
        let wrong = m.pin_block(M01, "000000");
        let sale = m.sale(M01, 100).with(52, &wrong);
        assert_eq!(m.ask(&sale).await.code(), code);
    }
    let right = m.sale(M01, 100);
    assert_eq!(m.ask(&right).await.code(), "75");
    assert_eq!(m.sim.reset_card("M01").unwrap().as_deref(), Some("M01"));
    let right = m.sale(M01, 100);
    assert_eq!(m.ask(&right).await.code(), "00");
}

#[tokio::test]
async fn a_right_pin_in_between_starts_the_count_anew() {
    let mut m = ready().await;
    for (pin, code) in
        [("000000", "55"), ("000000", "55"), ("123456", "00"), ("000000", "55"), ("0000", "55")]
    {
        let block = m.pin_block(M01, pin);
        let sale = m.sale(M01, 100).with(52, &block);
        assert_eq!(m.ask(&sale).await.code(), code);
    }
}

#[tokio::test]
async fn a_block_that_is_no_pin_block_is_99_and_costs_no_try() {
    let mut m = ready().await;
    for _ in 0..4 {
        let sale = m.sale(M01, 100).with(52, "0011223344556677");
        assert_eq!(m.ask(&sale).await.code(), "99");
    }
    // A block for another card does not open with this card's number.
    let other = m.pin_block(L12, L12.3);
    let sale = m.sale(M01, 100).with(52, &other);
    assert!(["99", "55"].contains(&m.ask(&sale).await.code()));
    let right = m.sale(M01, 100);
    assert_eq!(m.ask(&right).await.code(), "00");
}

#[tokio::test]
async fn the_balance_is_told_and_nothing_moves() {
    let mut m = ready().await;
    let inquiry = m.balance(M01);
    let reply = m.ask(&inquiry).await;
    assert_eq!(reply.code(), "00");
    assert_eq!(reply.get(54), "1001156C0000010000001002156C000001000000");
    let inquiry = m.balance(L12);
    let reply = m.ask(&inquiry).await;
    assert_eq!(reply.get(54), "3001156C0000000000003002156C000002000000");
    assert_eq!(m.money("M01"), 1_000_000);
}

#[tokio::test]
async fn the_chip_transcript_of_the_specification() {
    let mut m = ready().await;
    // Request of the published transcript: 100.00, counter 0012, cryptogram 419217144F4F17BD.
    let request = "9F2608419217144F4F17BD9F2701809F100807010103A00002019F37041A2B3C4D9F36020012\
950500000480009A032611249C01009F02060000000100005F2A02015682027C009F1A0201569F03060000000000009F3303E0F0C8\
9F34034203009F3501229F1E08504F53504C4142318408A0000003330101019F090200309F410400000124";
    let sale = m.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, request);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    assert_eq!(reply.get(55), "910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A");
    // The same counter again is a copy of the card.
    let again = m.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, request);
    assert_eq!(m.ask(&again).await.code(), "05");
    assert_eq!(m.money("L01"), 1_000_000 - 10_000);
}

#[tokio::test]
async fn cryptograms_are_verified() {
    let mut m = ready().await;
    let sale = m.chip_sale(L01, 10_000);
    let broken = sale.get(55).replacen("9F2608", "9F2608FF", 1);
    let broken = broken[..22].to_owned() + &broken[24..];
    let forged = m.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, &broken);
    assert_eq!(m.ask(&forged).await.code(), "05");
    // Right cryptogram, but for another amount than field 4 says.
    let chip = m.chip_data(L01, 1, 40);
    let other_amount = m.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, &chip);
    assert_eq!(m.ask(&other_amount).await.code(), "05");
    let torn = m.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, "9F2608AABB");
    assert!(["30", "10001"].contains(&m.ask(&torn).await.code()));
    assert_eq!(m.ask(&sale).await.code(), "00");
    let no_sequence = m.chip_sale(L01, 100).without(23);
    assert_eq!(m.ask(&no_sequence).await.code(), "30");
}

#[tokio::test]
async fn a_declined_chip_sale_is_authenticated_too() {
    let mut m = ready().await;
    let sale = m.chip_sale(L04, 5_000);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "51");
    let field_55 = reply.get(55);
    assert!(field_55.starts_with("910A") && field_55.ends_with("3531"), "{field_55}");
    assert!(!field_55.contains("9F18"), "no script with a decline");
}

#[tokio::test]
async fn l05_answers_with_a_wrong_cryptogram_and_l06_with_a_script_that_fails() {
    let mut m = ready().await;
    let arqc = |chip: &str| -> [u8; 8] { hex::decode(&chip[6..22]).unwrap().try_into().unwrap() };
    let sale = m.chip_sale(L05, 100);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    let context = Member::card_context(L05, 1);
    let right = m.vault.make_arpc(m.issuer_key(), &context, arqc(sale.get(55)), *b"00").unwrap();
    assert_ne!(reply.get(55)[4..20], hex::encode_upper(right));

    let sale = m.chip_sale(L06, 100);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    let context = Member::card_context(L06, 2);
    let right = m.vault.make_arpc(m.issuer_key(), &context, arqc(sale.get(55)), *b"00").unwrap();
    assert_eq!(reply.get(55)[4..20], hex::encode_upper(right));
    assert!(reply.get(55).contains("71139F1804000000018"), "{}", reply.get(55));
}

#[tokio::test]
async fn small_taps_need_no_pin() {
    let mut m = ready().await;
    for (amount, code) in [(99_999, "00"), (100_000, "00"), (100_001, "55")] {
        let tap = m.tap_sale(L01, amount);
        assert_eq!(m.ask(&tap).await.code(), code, "{amount}");
    }
    // The phone has shown its holder's face.
    let tap = m.tap_sale(L13, 200_000);
    assert_eq!(m.ask(&tap).await.code(), "00");
    // A credit card may be signed for.
    let tap = m.tap_sale(L12, 200_000);
    assert_eq!(m.ask(&tap).await.code(), "00");
}

#[tokio::test]
async fn closed_merchants_and_terminals() {
    let mut m = ready_with(|c| {
        c.policy.refused_merchants = vec!["898000000000009".to_owned()];
        c.policy.refused_terminals = vec!["00000009".to_owned()];
    })
    .await;
    let merchant = m.sale(M01, 100).with(42, "898000000000009");
    assert_eq!(m.ask(&merchant).await.code(), "03");
    let terminal = m.sale(M01, 100).with(41, "00000009");
    assert_eq!(m.ask(&terminal).await.code(), "58");
}

/// What a card has is approved where the acquirer takes a part (60.3.4), and what comes after goes by that; a reversal names the
/// amount that was asked for.
#[tokio::test]
async fn a_part_is_approved_where_the_acquirer_takes_it() {
    let mut m = ready().await;
    let takes = "000005000300000000400100000000";
    let none = m.chip_sale(L04, 2_500);
    assert_eq!(m.ask(&none).await.get(39), "51");
    let sale = m.chip_sale(L04, 2_500).with(60, takes);
    let answer = m.ask(&sale).await;
    assert_eq!((answer.get(39), answer.get(4)), ("10", "000000000100"));
    let empty = m.chip_sale(L04, 100).with(60, takes);
    assert_eq!(m.ask(&empty).await.get(39), "51");
    let whole = m.void(&sale);
    assert_eq!(m.ask(&whole).await.get(39), "64");
    let reversal = m.reversal(&sale);
    assert_eq!(m.ask(&reversal).await.get(39), "00");
    let again = m.chip_sale(L04, 100);
    let answer = m.ask(&again).await;
    assert_eq!((answer.get(39), answer.get(4)), ("00", "000000000100"));
}
