//! The published vectors, through the whole terminal: loaded with the lab keys it must send exactly the frames that
//! were computed independently. Nothing is patched in: the trace number is reached by sending echoes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::MacKey;
use pos::{CardInput, Entry, KeyLayout, Pin, SaleRequest};
use rig::Rig;

fn sale_l02() -> SaleRequest {
    SaleRequest {
        amount_fen: 100,
        card: CardInput::deck("L02").unwrap(),
        entry: Entry::Swipe,
        pin: Some(Pin::new("123456").unwrap()),
    }
}

/// Uses up traces so that the next request carries `wanted`.
async fn advance(rig: &mut Rig, wanted: u32) {
    while rig.terminal.next_trace() < wanted {
        assert!(rig.terminal.echo().await.unwrap().approved);
    }
}

/// S9: a whole sale with encrypted track, PIN and a single-length MAC key.
#[tokio::test]
async fn s9_a_sale_with_encrypted_track() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    advance(&mut rig, 17).await;
    let outcome = rig.terminal.sale(sale_l02()).await.unwrap();
    assert_eq!(
        hex::encode_upper(&outcome.request),
        "007260000300006032003200010200302004C020C0981100000000000000010000001702100012346224242000000021F00997375B09E7\
         05073130303030303031383938313030303030303030303031313536010FFE95955CE8A526100000000000000014220000010005003335444639323246"
    );
    assert!(outcome.approved);
}

/// S10: the same with a clear track and a double-length MAC key.
#[tokio::test]
async fn s10_a_sale_with_clear_track_and_double_mac_key() {
    let mut rig = Rig::new();
    rig.host.use_mac_key(MacKey::Double);
    rig.prepare(KeyLayout::TripleDes).await;
    advance(&mut rig, 17).await;
    let outcome = rig.terminal.sale(sale_l02()).await.unwrap();
    assert_eq!(&outcome.request[outcome.request.len() - 8..], b"665E8736");
    assert_eq!(rig.host.last().get(53), "2600000000000000");
}

/// Field 55 of the contact transcript, its ARQC and the TC that goes up at batch end, through sale and settlement.
#[tokio::test]
async fn the_contact_transcript_through_sale_and_settlement() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    advance(&mut rig, 124).await;
    rig.host
        .faults([host::Fault::Chip("910AFEC3953EF5A2BC44303072139F180400000001860A04DA9F58050356B34A1A")]);
    let outcome = rig
        .terminal
        .sale(SaleRequest {
            amount_fen: 10_000,
            card: CardInput::deck("L01").unwrap(),
            entry: Entry::Chip,
            pin: Some(Pin::new("123456").unwrap()),
        })
        .await
        .unwrap();
    assert!(outcome.approved, "{outcome:?}");
    let sale = rig.host.last();
    assert_eq!(sale.get(55), rig::REQUEST_55);
    assert_eq!(
        (sale.get(2), sale.get(14), sale.get(22), sale.get(23)),
        ("6224242000000013".into(), "2912".into(), "051".into(), "001".into())
    );

    rig.host.forget();
    rig.terminal.settle().await.unwrap();
    assert_eq!(rig.host.mtis(), [620, 500, 320, 320, 820]);
    let seen = &rig.host.seen()[1..];
    let upload = &seen[1];
    assert_eq!(
        upload.get(55),
        rig::REQUEST_55
            .replace("419217144F4F17BD", "B06EAB7939A3EC73")
            .replace("9F270180", "9F270140")
            .replace("07010103A0000201", "0701010360000201")
            + "8A023030"
    );
    assert_eq!(upload.get(11), "000124");
    assert_eq!(upload.get(60), "00000001203");
    assert_eq!(upload.get(62), "610000000000010000156");
    assert_eq!((seen[2].get(48), seen[2].get(60)), ("0001".into(), "00000001207".into()));
}
