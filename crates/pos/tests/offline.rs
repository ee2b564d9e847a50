//! What the terminal approves by itself reaches the host in order, with its numbers, whatever the line does, and what
//! the host never takes is told to people. Scripts are reported before the next transaction, signatures when idle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use host::Fault;
use pos::{
    Adjustment, CardInput, Entry, KeyLayout, Kind, OfflineSaleRequest, Pin, PosError, SaleRequest, Totals,
    Upload, VoidRequest,
};
use rig::Rig;

async fn rig() -> Rig {
    let rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    rig.host.forget();
    rig
}

fn offline(fen: u64) -> OfflineSaleRequest {
    OfflineSaleRequest {
        amount_fen: fen,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        auth_code: None,
    }
}

/// Nothing leaves at the sale; the upload carries its number and no secret, and the host's reference comes back.
#[tokio::test]
async fn an_offline_sale_counts_at_once_and_is_uploaded_later() {
    let mut rig = rig().await;
    let sold = rig.terminal.offline_sale(offline(3_000)).await.unwrap();
    assert!(sold.approved && sold.receipt.is_some() && rig.host.seen().is_empty());
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 3_000);
    let dear = rig.terminal.offline_sale(offline(10_001)).await.unwrap_err();
    assert!(matches!(dear, PosError::Input(_)), "{dear}");
    let by_voice = OfflineSaleRequest { auth_code: Some("V12345".into()), ..offline(50_000) };
    rig.terminal.offline_sale(by_voice).await.unwrap();

    let uploaded = rig.terminal.upload_waiting().await.unwrap();
    assert!(uploaded.iter().all(|outcome| outcome.approved), "{uploaded:?}");
    let seen = rig.host.seen();
    assert_eq!(seen.iter().map(host::Seen::mti).collect::<Vec<_>>(), [220, 220]);
    assert_eq!(seen[0].get(11), format!("{:06}", sold.trace));
    assert_eq!(seen[0].get(60), "30000001000500");
    assert_eq!((seen[1].get(38), seen[1].get(61).len()), ("V12345".to_owned(), 29));
    let record = &rig.terminal.journal()[0];
    assert_eq!(record.upload, Some(Upload::Done));
    assert!(record.rrn.is_some());
    assert!(rig.terminal.upload_waiting().await.unwrap().is_empty());
}

/// No answer, a power cut, no line: the same bytes go out again, in order, until the host has them.
#[tokio::test]
async fn the_queue_keeps_its_order_and_its_numbers() {
    let mut rig = rig().await;
    rig.terminal.offline_sale(offline(1_000)).await.unwrap();
    rig.terminal.offline_sale(offline(2_000)).await.unwrap();
    rig.host.faults([Fault::Silent]);
    let first = rig.terminal.upload_waiting().await.unwrap();
    assert_eq!(first.len(), 1, "the second waits behind the first");
    let mut rig = rig.power_cycle();
    rig.host.faults([Fault::Refuse]);
    let nothing = rig.terminal.upload_waiting().await.unwrap_err();
    assert!(matches!(nothing, PosError::NoConnection { .. }), "{nothing}");
    assert_eq!(rig.terminal.waiting_uploads(), 2);
    let sent = rig.terminal.upload_waiting().await.unwrap();
    assert_eq!(sent.len(), 2);
    let seen = rig.host.seen();
    assert_eq!(seen[0].body(), seen[1].body());
    assert_eq!(seen[2].get(4), "000000002000");
    assert_eq!(rig.terminal.waiting_uploads(), 0);
}

/// What is never answered, and what the host refuses, is dropped with a notice; what stands behind it goes on.
#[tokio::test]
async fn what_the_host_will_not_have_is_dropped_with_a_notice() {
    let mut rig = rig().await;
    for fen in [1_000, 2_000, 3_000] {
        rig.terminal.offline_sale(offline(fen)).await.unwrap();
    }
    rig.host.faults([Fault::Silent, Fault::Silent, Fault::Silent, Fault::Code("14")]);
    for waiting in [3, 3, 0] {
        rig.terminal.upload_waiting().await.unwrap();
        assert_eq!(rig.terminal.waiting_uploads(), waiting);
    }
    assert_eq!(rig.terminal.notices().len(), 2);
    let uploads: Vec<_> = rig.terminal.journal().iter().map(|record| record.upload).collect();
    assert_eq!(uploads, [Some(Upload::Refused), Some(Upload::Refused), Some(Upload::Done)]);
    // They count for the terminal, so that the batch shows them to people.
    assert_eq!(Totals::of(rig.terminal.journal()).debit_count, 3);
}

/// A void before the upload is nobody else's business; after a sending it is too late.
#[tokio::test]
async fn an_offline_sale_is_voided_before_it_ever_left() {
    let mut rig = rig().await;
    let first = rig.terminal.offline_sale(offline(1_000)).await.unwrap();
    let second = rig.terminal.offline_sale(offline(2_000)).await.unwrap();
    let voided = rig.terminal.void(VoidRequest::by_trace(first.trace)).await.unwrap();
    assert!(voided.approved && rig.host.seen().is_empty());
    // The last slip is that of the void. Once it stayed that of the transaction before, and was printed for this one.
    let slip = rig.terminal.last_record().unwrap();
    assert_eq!((slip.kind, slip.trace), (pos::Kind::Void, first.trace));
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 2_000);
    rig.host.faults([Fault::Silent]);
    rig.terminal.upload_waiting().await.unwrap();
    let late = rig.terminal.void(VoidRequest::by_trace(second.trace)).await.unwrap_err();
    assert!(matches!(late, PosError::NotVoidable { .. }), "{late}");
}

/// A chip that approves gives its certificate along.
#[tokio::test]
async fn a_chip_approves_with_a_certificate() {
    let mut rig = rig().await;
    let card = CardInput::deck("L02").unwrap();
    let request = OfflineSaleRequest { amount_fen: 900, card, entry: Entry::Chip, auth_code: None };
    let sold = rig.terminal.offline_sale(request).await.unwrap();
    assert_eq!(sold.kind, Kind::OfflineChip);
    rig.terminal.upload_waiting().await.unwrap();
    let seen = rig.host.last();
    assert_eq!((seen.mti(), seen.get(60)), (200, "36000001000500".to_owned()));
    let data = seen.get(55);
    assert!(data.contains("9F270140") && data.contains("8A025931"), "a certificate and its code: {data}");
    assert_eq!(seen.get(63), "CUP");
}

/// A tip is a message of its own and counts at once; one that the host refuses is taken back.
#[tokio::test]
async fn a_tip_is_told_and_taken_back_when_refused() {
    let mut rig = rig().await;
    let sale = rig.sale(10_000);
    let sale = rig.terminal.sale(sale).await.unwrap();
    let greedy = rig.terminal.adjust(sale.trace, Adjustment::Tip(1_501)).await.unwrap_err();
    assert!(matches!(greedy, PosError::NotAdjustable { .. }), "{greedy}");
    rig.terminal.adjust(sale.trace, Adjustment::Tip(1_500)).await.unwrap();
    assert_eq!(Totals::of(rig.terminal.journal()).debit_fen, 11_500);
    let held = rig.terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap_err();
    assert!(matches!(held, PosError::NotVoidable { .. }), "{held}");
    rig.terminal.upload_waiting().await.unwrap();
    let seen = rig.host.last();
    assert_eq!((seen.mti(), seen.get(60)), (220, "34000001000500".to_owned()));
    assert_eq!((seen.get(4), seen.get(54)), ("000000011500".to_owned(), "000000001500".to_owned()));
    assert!(seen.get(61).starts_with(&format!("000001{:06}", sale.trace)));

    rig.terminal.adjust(sale.trace, Adjustment::Total(9_000)).await.unwrap();
    rig.host.faults([Fault::Code("12")]);
    rig.terminal.upload_waiting().await.unwrap();
    assert_eq!(rig.terminal.journal()[0].total_fen(), 11_500);
    assert_eq!(rig.terminal.notices().len(), 1);
}

/// The commands ran; the host hears what became of them before the next transaction, and a power cut between changes
/// nothing. When it is not heard the transaction goes on all the same.
#[tokio::test]
async fn a_script_result_goes_before_the_next_transaction() {
    let mut rig = rig().await;
    let chip = |fen| SaleRequest {
        amount_fen: fen,
        card: CardInput::deck("L02").unwrap(),
        entry: Entry::Chip,
        pin: None,
    };
    // A script without commands that the card must check: its result says that all of them ran.
    rig.host.faults([Fault::Chip("72079F180401020304")]);
    let sale = rig.terminal.sale(chip(10_000)).await.unwrap();
    assert!(sale.approved && rig.terminal.pending_script(), "{sale:?}");
    let mut rig = rig.power_cycle();
    rig.host.faults([Fault::Silent]);
    let next = rig.sale(2_000);
    rig.terminal.sale(next).await.unwrap();
    let next = rig.sale(3_000);
    rig.terminal.sale(next).await.unwrap();
    assert_eq!(rig.host.mtis(), [200, 620, 200, 620, 200]);
    let seen = rig.host.seen();
    assert_eq!(seen[1].body(), seen[3].body());
    assert_eq!(seen[1].get(60), "00000001951");
    assert!(seen[1].get(61).starts_with(&format!("000001{:06}", sale.trace)), "{}", seen[1].get(61));
    assert!(seen[1].get(55).contains("DF31052001020304"), "{}", seen[1].get(55));
    assert!(!rig.terminal.pending_script());
}

/// A signature too large for one message goes in parts that count down to 800; 94 counts as taken.
#[tokio::test]
async fn a_signature_is_uploaded_in_parts() {
    let mut rig = rig().await;
    let sale = rig.sale(10_000);
    let sale = rig.terminal.sale(sale).await.unwrap();
    let image: Vec<u8> = (0..2_000_u32).map(|n| (n % 251) as u8).collect();
    let code = rig.terminal.sign(sale.trace, &image).await.unwrap();
    assert_eq!(code.len(), 8);
    let slip = rig.terminal.reprint(sale.trace).await.unwrap();
    assert!(slip.contains("[电子签名]"), "{slip}");
    assert_eq!(rig.terminal.signature(&format!("000001{:06}", sale.trace)).as_deref(), Some(&image[..]));
    assert!(matches!(rig.terminal.sign(999, &image).await, Err(PosError::NotFound(999))));
    assert!(rig.terminal.sign(sale.trace, &[]).await.is_err());
    rig.host.faults([Fault::None, Fault::Silent]);
    rig.terminal.upload_waiting().await.unwrap();
    let mut rig = rig.power_cycle();
    rig.host.faults([Fault::Code("94")]);
    rig.terminal.upload_waiting().await.unwrap();
    assert_eq!(rig.terminal.waiting_uploads(), 0);
    let parts: Vec<_> = rig.host.seen().into_iter().filter(|seen| seen.mti() == 820).collect();
    let codes: Vec<_> = parts.iter().map(|part| part.get(60)).collect();
    assert_eq!(codes, ["07000001802", "07000001801", "07000001801", "07000001800"]);
    assert_eq!(parts[0].get(11), format!("{:06}", sale.trace));
    assert!(rig.terminal.notices().is_empty());
}

/// Field 55 of a signature tells what stands on the slip, as far as the terminal knows it: of a chip sale the chip's data, of a
/// void what it is about, and never more than the field holds.
#[tokio::test]
async fn a_signature_tells_what_stands_on_its_slip() {
    let mut rig = rig().await;
    let sale = SaleRequest {
        amount_fen: 10_000,
        card: CardInput::deck("L01").unwrap(),
        entry: Entry::Chip,
        pin: Some(Pin::new("123456").unwrap()),
    };
    let sale = rig.terminal.sale(sale).await.unwrap();
    rig.terminal.sign(sale.trace, &[1; 20]).await.unwrap();
    rig.terminal.upload_waiting().await.unwrap();
    let void = rig.terminal.void(VoidRequest::by_trace(sale.trace)).await.unwrap();
    rig.terminal.sign(void.trace, &[1; 20]).await.unwrap();
    rig.terminal.upload_waiting().await.unwrap();
    let parts: Vec<_> = rig.host.seen().into_iter().filter(|seen| seen.mti() == 820).collect();
    let tags = |at: usize| {
        let field = hex::decode(parts[at].get(55)).unwrap();
        assert!(field.len() <= 255, "{}", field.len());
        let items: Vec<(u32, Vec<u8>)> = iso8583::tlv::iter(&field)
            .map(|item| item.map(|item| (item.tag & 0xFF, item.value.to_vec())).unwrap())
            .collect();
        items
    };
    let of_sale = tags(0);
    let numbers: Vec<u32> = of_sale.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(
        numbers,
        [
            0x01, 0x02, 0x06, 0x00, 0x03, 0x04, 0x05, 0x09, 0x0A, 0x22, 0x23, 0x20, 0x28, 0x29, 0x2A, 0x26,
            0x27, 0x2B, 0x70
        ]
    );
    let value = |items: &[(u32, Vec<u8>)], tag| {
        let (_, value) = items.iter().find(|(known, _)| *known == tag).unwrap();
        encoding_rs::GBK.decode(value).0.into_owned()
    };
    for (tag, expected) in [
        (0x00, "实验商户一号店"),
        (0x03, "01020000"),
        (0x04, "03080000"),
        (0x05, "2912"),
        (0x09, "CUP"),
        (0x22, "A000000333010101"),
    ] {
        assert_eq!(value(&of_sale, tag), expected, "{tag:02X}");
    }
    let of_void = tags(1);
    for (tag, expected) in
        [(0x60, format!("{:06}", sale.trace)), (0x61, "000001".into()), (0x65, "10000001".into())]
    {
        assert_eq!(value(&of_void, tag), expected, "{tag:02X}");
    }
    assert_eq!(value(&of_void, 0x62), sale.rrn.unwrap());
}

/// A settlement takes what waits along before the totals, and an unbalanced one uploads each offline sale whole.
#[tokio::test]
async fn settlement_uploads_what_waits_and_details_of_it() {
    let mut rig = rig().await;
    let sold = rig.terminal.offline_sale(offline(1_000)).await.unwrap();
    let sale = rig.sale(2_000);
    rig.terminal.sale(sale).await.unwrap();
    rig.host.faults([Fault::None, Fault::Totals(2), Fault::Silent]);
    let cut_off = rig.terminal.settle().await.unwrap_err();
    assert!(matches!(cut_off, PosError::SettlementCutOff(_)), "{cut_off}");
    let mut rig = rig.power_cycle();
    let settled = rig.terminal.settle().await.unwrap();
    assert!(settled.approved);
    assert_eq!(rig.host.mtis(), [200, 220, 500, 320, 320, 320, 320, 820]);
    let detail = &rig.host.seen()[4];
    assert_eq!(detail.get(60), "30000001000");
    assert_eq!(detail.get(61), format!("000001{:06}", sold.trace));
    assert_ne!(detail.get(11), format!("{:06}", sold.trace), "a number of its own");
    assert_eq!(rig.host.seen()[6].get(48), "0002", "an offline detail and a line");
}
