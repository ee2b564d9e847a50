//! A terminal whose reader keeps card numbers to itself (MPOS, device type 03): what it sends instead of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::{Fault, Seen};
use hsm::EncryptedPinBlock;
use iso8583::CardNumber;
use pos::{
    CardInput, Entry, KeyLayout, OfflineSaleRequest, PosError, ReadCard, RefundRequest, SaleRequest,
    TerminalConfig, VoidRequest,
};
use rig::Rig;
use zeroize::Zeroizing;

/// A track as the reader enciphered it (the vector of the field reference). By the standard its first sixteen digits are clear.
const TRACK: &str = "6224242000000021F00997375B09E70507";

fn config() -> TerminalConfig {
    TerminalConfig { device_type: Some("03".into()), serial: "RL00000001".into(), ..Rig::config() }
}

fn sale(amount_fen: u64) -> SaleRequest {
    let card = ReadCard {
        pan: CardNumber::hidden("622424******0021").unwrap(),
        expiry: Some("2902".into()),
        track2: Some(Zeroizing::new(TRACK.to_owned())),
        sequence: None,
        chip: None,
        pin_block: Some(EncryptedPinBlock::iso0([0x5A; 8])),
    };
    SaleRequest { amount_fen, card: CardInput::Read(card), entry: Entry::Swipe, pin: None }
}

fn has(message: &Seen, field: u8) -> bool {
    message.fields().contains(&field)
}

/// Field 35 goes out as it came, field 53 says that it is enciphered, field 59 what the device is. The void names its sale and
/// no card; the slip and everything that is kept have the masked number.
#[tokio::test]
async fn a_sale_and_its_void_carry_no_number() {
    let mut rig = Rig::with(config());
    rig.prepare(KeyLayout::TripleDesTrack).await;
    let sold = rig.terminal.sale(sale(10_000)).await.unwrap();
    assert!(sold.approved, "{sold:?}");
    assert_eq!(sold.card.as_deref(), Some("622424******0021"));
    let voided = rig.terminal.void(VoidRequest::by_trace(sold.trace)).await.unwrap();
    assert!(voided.approved, "{voided:?}");
    let seen = rig.host.seen();
    let (sale, void) = (&seen[seen.len() - 2], &seen[seen.len() - 1]);
    assert!(!has(sale, 2) && !has(void, 2) && !has(void, 35));
    assert_eq!((sale.get(35), sale.get(53)), (TRACK.to_owned(), "2610000000000000".to_owned()));
    for message in [sale, void] {
        let field = message.with(|message| message.bytes_of(59).unwrap().to_vec());
        assert_eq!(String::from_utf8(field).unwrap(), "A20220100203".to_owned() + "02010RL00000001");
    }
    let kept = std::fs::read_to_string(rig.dir.path().join("state.json")).unwrap();
    assert!(!kept.contains("6224242000000021") && kept.contains("622424******0021"));
}

/// Without an answer the reversal has neither number nor track.
#[tokio::test]
async fn a_reversal_carries_neither_number_nor_track() {
    let mut rig = Rig::with(config());
    rig.prepare(KeyLayout::TripleDesTrack).await;
    rig.host.faults([Fault::Silent]);
    assert!(!rig.terminal.sale(sale(5_000)).await.unwrap().approved);
    rig.terminal.send_reversal().await.unwrap().unwrap();
    let reversal = rig.host.last();
    assert_eq!(reversal.mti(), 400);
    assert!([2, 35, 52].into_iter().all(|field| !has(&reversal, field)) && has(&reversal, 59));
}

/// A track is under the key of one sign-in. What a terminal approves by itself waits, perhaps through another, and has none: where
/// the number is known, field 2 says which card it is; where the reader keeps it, the sale is not made.
#[tokio::test]
async fn what_waits_for_its_upload_has_no_track() {
    let mut rig = Rig::with(config());
    rig.prepare(KeyLayout::TripleDesTrack).await;
    let SaleRequest { card, entry, .. } = sale(5_000);
    let request = OfflineSaleRequest { amount_fen: 5_000, card, entry, auth_code: None };
    let refused = rig.terminal.offline_sale(request).await.unwrap_err();
    assert!(matches!(refused, PosError::NotOffered(..)), "{refused}");
    assert_eq!((rig.terminal.waiting_uploads(), rig.terminal.journal().len()), (0, 0));

    let mut rig = Rig::with(Rig::config());
    rig.prepare(KeyLayout::TripleDesTrack).await;
    let card = CardInput::deck("M01").unwrap();
    let request = OfflineSaleRequest { amount_fen: 5_000, card, entry: Entry::Swipe, auth_code: None };
    assert!(rig.terminal.offline_sale(request).await.unwrap().approved);
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    assert!(rig.terminal.upload_waiting().await.unwrap()[0].approved);
    let upload = rig.host.last();
    assert!(upload.mti() == 220 && has(&upload, 2) && !has(&upload, 35) && !has(&upload, 53));
}

/// A refund is the other message that is sent again later, and by the rule of repeats the same bytes, but for its MAC: a host that
/// has had it tells what became of it without reading the track once more (the engine's tests show that).
#[tokio::test]
async fn a_refund_is_repeated_as_it_was_after_a_sign_in() {
    let mut rig = Rig::with(TerminalConfig { resend_retries: 1, ..config() });
    rig.prepare(KeyLayout::TripleDesTrack).await;
    rig.host.faults([Fault::Silent]);
    let SaleRequest { card, entry, .. } = sale(5_000);
    let refund = RefundRequest {
        amount_fen: 5_000,
        card,
        entry,
        pin: None,
        original_rrn: "012345678901".into(),
        original_date: "1124".into(),
    };
    assert!(!rig.terminal.refund(refund).await.unwrap().approved);
    let first = rig.host.last();
    rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap();
    assert!(rig.terminal.resume_refund().await.unwrap().approved);
    let again = rig.host.last();
    let body = |seen: &Seen| seen.with(|message| message.mac_block().unwrap().to_vec());
    assert_eq!(body(&first), body(&again));
    assert_eq!(rig.terminal.open_refund(), None);
}
