//! What terminals approve by themselves, tips, script results: told, forwarded, settled, and the same on all sides.

use pos::{Adjustment, CardInput, Entry, OfflineSaleRequest, VoidRequest};
use serde_json::json;

use crate::support::{FIRST, IN_FILES, Lab, Setup, until_async};
use crate::{books_agree, code, sale, sold, swipe};

fn offline(fen: u64, card: &str, entry: Entry) -> OfflineSaleRequest {
    OfflineSaleRequest { amount_fen: fen, card: CardInput::deck(card).unwrap(), entry, auth_code: None }
}

/// Polls until nothing waits for the network.
async fn all_forwarded(lab: &Lab) {
    until_async("nothing waits for the network", || async {
        lab.good(&["forward", "list"]).contains("Nothing to show").then_some(())
    })
    .await;
}

/// A restaurant's evening: offline sales by stripe and by chip, one voided before it left, a tip on a sale and on an
/// offline sale, one upload whose answer was lost. Everything is settled to the fen.
#[tokio::test]
async fn an_evening_of_offline_sales_and_tips_balances() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let dinner = sold(&mut terminal, swipe(20_000)).await;
    let drink = terminal.offline_sale(offline(3_000, "M01", Entry::Swipe)).await.unwrap();
    let coffee = terminal.offline_sale(offline(900, "L02", Entry::Chip)).await.unwrap();
    let mistake = terminal.offline_sale(offline(700, "M01", Entry::Swipe)).await.unwrap();
    assert!(terminal.void(VoidRequest::by_trace(mistake.trace)).await.unwrap().approved);
    // The first upload is taken and its answer lost: the same message comes again, and is one payment.
    line.drop_next_answer();
    terminal.upload_waiting().await.unwrap();
    assert_eq!(terminal.waiting_uploads(), 2);
    let uploads = terminal.upload_waiting().await.unwrap();
    assert!(uploads.iter().all(|upload| upload.approved), "{uploads:?}");
    for outcome in [&drink, &coffee] {
        let trace = format!("{:06}", outcome.trace);
        let found = lab.payments(&[&trace]);
        assert!(found.iter().any(|payment| payment["state"] == "approved"), "{found:?}");
    }
    all_forwarded(&lab).await;
    for (trace, tip) in [(dinner.trace, 2_000), (drink.trace, 300)] {
        terminal.adjust(trace, Adjustment::Tip(tip)).await.unwrap();
        let uploads = terminal.upload_waiting().await.unwrap();
        assert!(uploads.iter().all(|upload| upload.approved), "{uploads:?}");
    }
    all_forwarded(&lab).await;
    let adjusted = lab.payments(&[dinner.rrn.as_deref().unwrap()]);
    assert_eq!((&adjusted[0]["amount_fen"], &adjusted[0]["adjusted_fen"]), (&json!(20_000), &json!(22_000)));
    // Every one of them carries the network's date.
    for kind in ["offline_sale", "offline_chip", "tip"] {
        for payment in lab.payments(&["--kind", kind]) {
            assert!(payment["settle_date"].is_string(), "{payment}");
        }
    }
    assert_eq!(lab.payments(&["--kind", "offline_sale"]).len(), 1, "the repeat is no second payment");
    books_agree(&lab).await;

    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    let listed = lab.good(&["settlement", "list", "--terminal", FIRST]);
    assert!(listed.contains("balanced") && listed.contains("3 / ¥262.00"), "{listed}");
}

/// Sales that turned out to be of another amount (结算调整): one that the terminal approved by itself, corrected upwards
/// with an answer that was lost, and one of the network's, corrected downwards. What stands at the end is the total, at
/// the terminal, in the journal, at the network and in the settlement; the amount of the sale is still to be seen.
#[tokio::test]
async fn a_sale_given_another_total_is_settled_by_it() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let dinner = sold(&mut terminal, swipe(20_000)).await;
    let drink = terminal.offline_sale(offline(3_000, "M01", Entry::Swipe)).await.unwrap();
    // While its first message waits, a sale keeps its amount.
    let early = terminal.adjust(drink.trace, Adjustment::Total(3_600)).await;
    assert!(matches!(early, Err(pos::PosError::NotAdjustable { .. })), "{early:?}");
    let uploads = terminal.upload_waiting().await.unwrap();
    assert!(uploads.iter().all(|upload| upload.approved), "{uploads:?}");
    all_forwarded(&lab).await;

    let adjusted = terminal.adjust(drink.trace, Adjustment::Total(3_600)).await.unwrap();
    assert_eq!((adjusted.kind, adjusted.amount_fen), (pos::Kind::Adjust, Some(3_600)));
    line.drop_next_answer();
    terminal.upload_waiting().await.unwrap();
    assert_eq!(terminal.waiting_uploads(), 1, "an adjustment without an answer goes again");
    terminal.adjust(dinner.trace, Adjustment::Total(18_500)).await.unwrap();
    let uploads = terminal.upload_waiting().await.unwrap();
    assert!(uploads.len() == 2 && uploads.iter().all(|upload| upload.approved), "{uploads:?}");
    let message = iso8583::CUP_POS.parse(&uploads[0].request[13..]).unwrap();
    assert_eq!(&message.digits(60).unwrap().as_str()[..2], "32");
    all_forwarded(&lab).await;

    let told = lab.payments(&["--kind", "adjust"]);
    assert_eq!(told.len(), 2, "the repeat is no second adjustment: {told:?}");
    for (sale, kind, fen, total) in
        [(&drink, "offline_sale", 3_000, 3_600), (&dinner, "sale", 20_000, 18_500)]
    {
        let found = lab.payments(&["--kind", kind]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["amount_fen"], &found[0]["adjusted_fen"]), (&json!(fen), &json!(total)));
        let adjustment = told.iter().find(|line| line["original"] == found[0]["payment"]).unwrap();
        assert_eq!((&adjustment["amount_fen"], &adjustment["state"]), (&json!(total), &json!("approved")));
        assert!(adjustment["settle_date"].is_string(), "{adjustment}");
        let record = lab.record(adjustment["reference"].as_str().unwrap(), "0220").await.unwrap();
        assert_eq!((&record["kind"], &record["amount"]), (&json!("adjust"), &json!(total)));
        assert_eq!((&record["state"], &record["code"]), (&json!("approved"), &json!("00")));
        let journal = terminal.journal().iter().find(|record| record.trace == sale.trace).unwrap();
        assert_eq!((journal.amount_fen, journal.adjusted_fen), (fen, Some(total)));
    }
    books_agree(&lab).await;

    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    let listed = lab.good(&["settlement", "list", "--terminal", FIRST]);
    assert!(listed.contains("balanced") && listed.contains("2 / ¥221.00"), "{listed}");
    let shown = lab.good(&["settlement", "show", crate::support::MERCHANT, FIRST, "1"]);
    assert_eq!(shown.matches("2 / ¥221.00").count(), 2, "{shown}");
}

/// The network is gone when the terminal uploads: the terminal is served all the same, and the network hears of it
/// when it is back, also when the node was restarted in between.
#[tokio::test]
async fn what_was_told_reaches_a_network_that_was_gone() {
    let mut lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.network.take().unwrap().kill();
    terminal.offline_sale(offline(4_000, "M01", Entry::Swipe)).await.unwrap();
    let told = terminal.upload_waiting().await.unwrap();
    assert_eq!(code(&told[0]), "00", "{told:?}");
    assert!(lab.good(&["forward", "list"]).contains("advice"));
    lab.node.take().unwrap().kill();
    lab.start_node().await;
    lab.start_network();
    lab.ready().await;
    all_forwarded(&lab).await;
    let payment = &lab.payments(&["--kind", "offline_sale"])[0];
    let record = lab.record(payment["reference"].as_str().unwrap(), "0220").await.unwrap();
    assert_eq!((&record["state"], &record["amount"]), (&json!("approved"), &json!(4_000)));
    books_agree(&lab).await;
    let settled = terminal.settle().await.unwrap();
    assert!(settled.notices.is_empty(), "{settled:?}");
}

/// The issuer's commands ran on the chip: the terminal reports before its next transaction, and the network has it.
#[tokio::test]
async fn a_script_result_reaches_the_issuer() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    // The issuer of this card sends a command with every approval.
    let paid = sold(&mut terminal, sale(10_000, "L01", Entry::Chip, Some("123456"))).await;
    assert!(terminal.pending_script());
    let next = sold(&mut terminal, swipe(1_000)).await;
    let told = next.preceding.iter().find(|outcome| outcome.kind == pos::Kind::Script).unwrap();
    assert_eq!(code(told), "00", "{told:?}");
    all_forwarded(&lab).await;
    let record = lab.record(paid.rrn.as_deref().unwrap(), "0620").await.unwrap();
    assert_eq!((&record["code"], &record["kind"]), (&json!("00"), &json!("script_result")));
    let history = lab.good(&["txn", "show", paid.rrn.as_deref().unwrap()]);
    assert!(history.contains("0620") && history.contains("0630"), "{history}");
    books_agree(&lab).await;
}

/// A signature goes up in parts after the payment, and the operator gets it back byte for byte.
#[tokio::test]
async fn a_signature_comes_back_as_it_was_drawn() {
    // The files are looked through for it.
    let lab = Lab::start(Setup { store: IN_FILES.into(), ..Setup::default() }).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, swipe(10_000)).await;
    let reference = sale.rrn.as_deref().unwrap();
    let out = lab.dir.path().join("signature.jbg");
    let out = out.to_str().unwrap();
    let nothing = lab.posp(&["txn", "signature", reference, "--out", out]);
    assert!(!nothing.status.success());
    let drawn: Vec<u8> = (0..2_500_u32).map(|n| (n * 7 % 256) as u8).collect();
    terminal.sign(sale.trace, &drawn).await.unwrap();
    // The answer to the first part is lost: the part goes again.
    line.drop_next_answer();
    terminal.upload_waiting().await.unwrap();
    assert_eq!(terminal.waiting_uploads(), 1);
    let sent = terminal.upload_waiting().await.unwrap();
    assert!(sent.iter().all(|part| part.approved), "{sent:?}");
    assert_eq!(terminal.waiting_uploads(), 0);
    assert!(lab.good(&["txn", "show", reference]).contains("parts, complete"));
    // At rest it is sealed: no piece of the drawing is in the journal or beside it.
    for file in std::fs::read_dir(lab.data()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == &drawn[..16]));
    }
    lab.good(&["txn", "signature", reference, "--out", out]);
    assert_eq!(std::fs::read(out).unwrap(), drawn);
    // Once more, as a terminal does that lost power before it noted the answer: told that it is known.
    terminal.sign(sale.trace, &drawn).await.unwrap();
    let again = terminal.upload_waiting().await.unwrap();
    assert!(again.iter().all(|part| code(part) == "94" && part.approved), "{again:?}");
    assert!(terminal.notices().is_empty());
}

/// A signature that was uploaded as JBIG is looked at as PNG, dot for dot; what is no image is said to be none.
#[tokio::test]
async fn a_jbig_signature_is_shown_as_png() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, swipe(10_000)).await;
    let reference = sale.rrn.as_deref().unwrap();
    let (jbg, png) = (lab.dir.path().join("signature.jbg"), lab.dir.path().join("signature.png"));
    let [jbg, png] = [&jbg, &png].map(|path| path.to_str().unwrap());
    let mut drawn = receipt::Bitmap::new(384, 128).unwrap();
    drawn.fill(20, 30, 300, 3);
    drawn.fill(383, 0, 1, 128);
    let dots = jbig::Image::new(384, 128, drawn.bytes().to_vec()).unwrap();
    let uploaded = jbig::encode(&dots, jbig::Options::default());
    terminal.sign(sale.trace, &uploaded).await.unwrap();
    terminal.upload_waiting().await.unwrap();
    lab.good(&["txn", "signature", reference, "--out", jbg]);
    assert_eq!(std::fs::read(jbg).unwrap(), uploaded);
    lab.good(&["txn", "signature", reference, "--out", png]);
    assert_eq!(receipt::png::decode(&std::fs::read(png).unwrap()), Some(drawn));

    let other = sold(&mut terminal, swipe(20_000)).await;
    terminal.sign(other.trace, b"a scrawl").await.unwrap();
    terminal.upload_waiting().await.unwrap();
    let refused = lab.posp(&["txn", "signature", other.rrn.as_deref().unwrap(), "--out", png]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("neither JBIG nor PNG"));
}

/// The terminal dreams of an offline sale that the host refused, and a chip refused a payment: the batch differs, every
/// detail goes up across a cut line, and the operator sees the batch as a whole.
#[tokio::test]
async fn an_unbalanced_batch_is_shown_with_every_detail() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    sold(&mut terminal, sale(2_000, "L02", Entry::Chip, Some("123456"))).await;
    terminal.offline_sale(offline(3_000, "M01", Entry::Swipe)).await.unwrap();
    // A chip that does not accept the issuer's answer: reversed, and a notice at the end of the batch.
    let refused = terminal.sale(sale(4_000, "L05", Entry::Chip, Some("123456"))).await.unwrap();
    assert_eq!(refused.status, pos::Status::ChipRefused, "{refused:?}");
    terminal.upload_waiting().await.unwrap();
    drop(terminal);
    let mut dreamt = 0;
    lab.edit_terminal(FIRST, |state| {
        let journal = state["journal"].as_array_mut().unwrap();
        let mut offline = journal.iter().find(|record| record["kind"] == "offline_sale").unwrap().clone();
        dreamt = 901;
        offline["trace"] = json!(dreamt);
        offline["upload"] = json!("refused");
        journal.push(offline);
    });
    let faulty = pos::Surroundings { dial: Some(line.clone()), ..pos::Surroundings::default() };
    let mut terminal = pos::Terminal::open_in(lab.terminal_dir(FIRST), faulty).unwrap();
    // The reversal first, so that the line fails under the settlement.
    terminal.send_reversal().await.unwrap();
    let settled = loop {
        line.drop_next_answer();
        match terminal.settle().await {
            Ok(outcome) if outcome.approved => break outcome,
            Ok(_) | Err(pos::PosError::SettlementCutOff(_)) => {}
            Err(error) => panic!("{error}"),
        }
        // The message whose answer was lost goes through now, and so does whatever the host asks for next.
        match terminal.settle().await {
            Ok(outcome) if outcome.approved => break outcome,
            other => drop(other),
        }
    };
    assert!(settled.notices.iter().any(|notice| notice.contains("totals differ")), "{settled:?}");
    let shown = lab.good(&["settlement", "show", crate::support::MERCHANT, FIRST, "1"]);
    assert!(shown.contains("不平 differs") && shown.contains("202"), "{shown}");
    assert!(shown.contains("only_terminal") && shown.contains(&format!("{dreamt:06}")), "{shown}");
    // Two offline details, one line message, one certificate, one notice.
    assert_eq!(shown.matches("0320").count(), 5, "{shown}");
    assert!(shown.contains("5 items uploaded"), "{shown}");
    assert_eq!(lab.good(&["settlement", "differences", "--terminal", FIRST]).lines().count(), 2, "{shown}");
    books_agree(&lab).await;
}

/// A chip refused what the issuer had approved, and the payment was undone: the batch balances without it, and the
/// terminal tells the card's refusal as a notice of a balanced batch (204), beside the certificate of what the chip did
/// pay (203). Neither makes a difference.
#[tokio::test]
async fn a_chips_refusal_is_a_notice_of_a_balanced_batch() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    sold(&mut terminal, sale(2_000, "L02", Entry::Chip, Some("123456"))).await;
    let refused = terminal.sale(sale(4_000, "L05", Entry::Chip, Some("123456"))).await.unwrap();
    assert_eq!(refused.status, pos::Status::ChipRefused, "{refused:?}");
    // And one that the card declined before anybody was asked.
    let declined = terminal.sale(sale(1_012, "L07", Entry::Chip, Some("123456"))).await.unwrap();
    assert_eq!(declined.status, pos::Status::DeclinedByChip, "{declined:?}");

    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    let told: Vec<(String, u32)> = settled
        .preceding
        .iter()
        .filter(|outcome| outcome.kind == pos::Kind::BatchUp)
        .map(|outcome| {
            let message = iso8583::CUP_POS.parse(&outcome.request[13..]).unwrap();
            assert_eq!(code(outcome), "00", "{outcome:?}");
            (message.digits(60).unwrap().as_str()[8..11].to_owned(), outcome.trace)
        })
        .collect();
    let codes: Vec<&str> = told.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["203", "204", "204", "207"], "{told:?}");
    assert_eq!((told[1].1, told[2].1), (refused.trace, declined.trace));
    lab.payment_in(&["--amount-min", "40.00", "--amount-max", "40.00"], "reversed").await;
    let shown = lab.good(&["settlement", "show", crate::support::MERCHANT, FIRST, "1", "--bytes"]);
    assert!(shown.contains("207, 3 items uploaded") && !shown.contains("不平 differs"), "{shown}");
    let is_notice = |line: &&str| line.trim_start().starts_with("60.3") && line.ends_with(" 204");
    assert_eq!(shown.lines().filter(is_notice).count(), 2, "{shown}");
    assert!(lab.good(&["settlement", "differences"]).contains("Nothing to show"));
    books_agree(&lab).await;
}
