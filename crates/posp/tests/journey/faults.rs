//! A network that is silent, late, talkative or gone. The simulator does on request what real lines do by chance:
//! the last four digits of an amount choose the fault.

use std::sync::Arc;

use pos::{CardInput, Entry, KeyLayout, RefundRequest, Status};
use serde_json::json;

use crate::support::{FIRST, Lab, NATIONAL, SECOND, Setup, metric, text, until, until_async};
use crate::{books_agree, chip, code, sale, sold, swipe};

/// One fault by amount: what the terminal hears, where the payment ends, what the network keeps.
struct Fault {
    fen: u64,
    code: &'static str,
    state: &'static str,
    network: Option<&'static str>,
}

/// Whatever the network does, the payment comes to an end that both sides agree on.
#[tokio::test]
async fn g8_every_fault_by_amount_comes_to_an_agreed_end() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let faults = [
        // Processed and not answered; late; its reversal's answer lost.
        Fault { fen: 9_001, code: "68", state: "reversed", network: Some("reversed") },
        Fault { fen: 9_002, code: "68", state: "reversed", network: Some("reversed") },
        Fault { fen: 9_004, code: "68", state: "reversed", network: Some("reversed") },
        // Answered twice.
        Fault { fen: 9_003, code: "00", state: "approved", network: Some("approved") },
        // The line drops after and before it was processed.
        Fault { fen: 9_005, code: "68", state: "reversed", network: Some("reversed") },
        Fault { fen: 9_006, code: "68", state: "reversed", network: None },
        // Lost on the way, and sent back with a reject code.
        Fault { fen: 9_007, code: "68", state: "reversed", network: None },
        Fault { fen: 9_008, code: "96", state: "declined", network: None },
        // Declined by the network.
        Fault { fen: 9_105, code: "05", state: "declined", network: Some("declined") },
    ];
    for (number, fault) in faults.iter().enumerate() {
        let request = if number % 2 == 0 { chip(fault.fen) } else { swipe(fault.fen) };
        let outcome = terminal.sale(request).await.unwrap();
        assert_eq!(code(&outcome), fault.code, "{}: {outcome:?}", fault.fen);
        assert_eq!(terminal.pending_reversal(), None, "{}: the terminal has an answer", fault.fen);
        let reference = outcome.rrn.as_deref().unwrap();
        lab.payment_in(&[reference], fault.state).await;
        let record = lab.record(reference, "0200").await;
        let kept = record.as_ref().map(|record| record["state"].as_str().unwrap());
        assert_eq!(kept, fault.network, "{}", fault.fen);
        // After a dropped line the next payment must not meet a line that is still down.
        lab.ready().await;
    }
    books_agree(&lab).await;

    // The lost answer to a reversal: it was sent again, and the network counts both as one.
    let record = lab.network_says("/api/record").await;
    let lines = record.as_array().unwrap();
    let repeated = lines.iter().find(|line| line["amount"] == 9_004 && line["mti"] == "0420").unwrap();
    assert_eq!(repeated["arrivals"], 2, "{repeated}");
    let shown = lab.good(&[
        "txn",
        "list",
        "--state",
        "reversed",
        "--amount-min",
        "90.04",
        "--amount-max",
        "90.04",
        "--json",
    ]);
    let payment: serde_json::Value = serde_json::from_str(shown.trim()).unwrap();
    let history = lab.good(&["txn", "show", payment["reference"].as_str().unwrap()]);
    assert!(history.contains("0421") && history.contains("0430"), "{history}");

    // The late answer and the second answer are in the journal, and moved nothing.
    let late = lab.payments(&["--amount-min", "90.02", "--amount-max", "90.02"]);
    let reference = late[0]["reference"].as_str().unwrap().to_owned();
    until_async("the late answer is recorded", || async {
        let history = lab.good(&["txn", "show", &reference]);
        (history.matches("network → posp").count() >= 2).then_some(())
    })
    .await;
    assert_eq!(lab.payments(&[&reference])[0]["state"], "reversed");
    let twice = lab.payments(&["--amount-min", "90.03", "--amount-max", "90.03"]);
    let history = lab.good(&["txn", "show", twice[0]["reference"].as_str().unwrap()]);
    assert!(history.matches("network → posp").count() >= 2, "{history}");
}

/// A void without an answer is reversed, and a refund without an answer is repeated until it is known.
#[tokio::test]
async fn a_void_is_reversed_and_a_refund_repeated() {
    let lab = Lab::start(Setup { network_patience_ms: 1_500, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, swipe(20_000)).await;
    let request = RefundRequest {
        amount_fen: 9_001,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: sale.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    let mut refunded = terminal.refund(request).await.unwrap();
    // The terminal asks a few times by itself; on a busy machine it may have to be told once more.
    while terminal.open_refund().is_some() {
        refunded = terminal.resume_refund().await.unwrap();
    }
    assert_eq!((code(&refunded), refunded.status), ("00", Status::Approved), "{refunded:?}");
    let payment = lab.payment_in(&["--kind", "refund"], "approved").await;
    let history = lab.good(&["txn", "show", &payment["payment"].to_string()]);
    assert!(history.contains("outcome unknown") && history.contains("0221"), "{history}");
    assert_eq!(lab.payments(&["--kind", "sale"])[0]["refunded_fen"], 9_001);

    // A void has the amount of its sale, so a switch makes the network silent for it.
    let second = sold(&mut terminal, swipe(3_000)).await;
    lab.set_faults(json!({"rules": [{"fault": "no_answer", "span": {"next": 1}, "classes": [200]}]})).await;
    let lost = terminal.void(pos::VoidRequest::by_trace(second.trace)).await.unwrap();
    assert_eq!(code(&lost), "68", "{lost:?}");
    lab.payment_in(&["--kind", "sale_void"], "reversed").await;
    lab.payment_in(&[second.rrn.as_deref().unwrap(), "--kind", "sale"], "approved").await;
    let again = terminal.void(pos::VoidRequest::by_trace(second.trace)).await.unwrap();
    assert_eq!(code(&again), "00", "{again:?}");
    books_agree(&lab).await;
}

/// The network is gone: payments are refused at once, nothing waits; it comes back, and so does business.
#[tokio::test]
async fn the_network_goes_away_and_comes_back() {
    let mut lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    sold(&mut terminal, swipe(1_000)).await;
    // A reversal that cannot get through any more.
    lab.set_faults(json!({"rules": [{"fault": "lost", "classes": [420]}]})).await;
    let lost = terminal.sale(swipe(9_001)).await.unwrap();
    assert_eq!(code(&lost), "68");
    lab.network.take().unwrap().kill();
    until_async("the line is down", || async {
        (metric(&lab.metrics().await, "posp_line_ready", &[]) == 0).then_some(())
    })
    .await;
    let refused = terminal.sale(swipe(2_000)).await.unwrap();
    assert_eq!(code(&refused), "91", "{refused:?}");
    assert_eq!(metric(&lab.metrics().await, "posp_forward_depth", &[]), 1);
    let waiting = lab.good(&["forward", "list"]);
    assert!(waiting.contains("reversal") && waiting.contains("waiting"), "{waiting}");

    lab.start_network();
    lab.ready().await;
    lab.payment_in(&[lost.rrn.as_deref().unwrap()], "reversed").await;
    assert!(lab.good(&["forward", "list"]).contains("Nothing to show"));
    sold(&mut terminal, swipe(3_000)).await;
    books_agree(&lab).await;
}

/// New zone keys in the middle of business: nobody notices.
#[tokio::test]
async fn the_network_changes_its_keys_while_payments_go_on() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    for _ in 0..3 {
        sold(&mut terminal, swipe(1_000)).await;
        tokio::join!(lab.network_does("/api/key-reset"), sold(&mut terminal, chip(1_100)));
    }
    books_agree(&lab).await;
}

/// The network changes its settlement day: payments carry the new day, what belongs to the day before can still be
/// reversed, voided and refunded, and the batch that spans both balances. A reversal has the day on which it is settled.
#[tokio::test]
async fn the_network_changes_its_day() {
    let lab = Lab::start(Setup::default()).await;
    let (mut terminal, line) = lab.signed_in(FIRST).await;
    let day = |reference: &Option<String>| {
        lab.payments(&[reference.as_deref().unwrap(), "--kind", "sale"])[0]["settle_date"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = sold(&mut terminal, swipe(1_000)).await;
    let kept = sold(&mut terminal, swipe(2_000)).await;
    line.drop_next_answer();
    assert_eq!(terminal.sale(swipe(4_000)).await.unwrap().status, Status::NoAnswer);
    let lost = lab.payment_in(&["--amount-min", "40.00", "--amount-max", "40.00"], "approved").await;
    lab.network_does("/api/cutover").await;
    let after = sold(&mut terminal, swipe(3_000)).await;
    assert_ne!(day(&before.rrn), day(&after.rrn));
    let reversed = lab.payment_in(&[lost["reference"].as_str().unwrap()], "reversed").await;
    assert_eq!(reversed["settle_date"], day(&before.rrn));
    assert_eq!(reversed["reversal_settle_date"], day(&after.rrn));
    assert_eq!(code(&terminal.void(pos::VoidRequest::by_trace(before.trace)).await.unwrap()), "00");
    let request = RefundRequest {
        amount_fen: 500,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: kept.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    assert_eq!(code(&terminal.refund(request).await.unwrap()), "00");
    let settled = terminal.settle().await.unwrap();
    assert!(settled.approved && settled.notices.is_empty(), "{settled:?}");
    let days = lab.network_says("/api/totals").await;
    assert_eq!(days.as_object().unwrap().len(), 2, "{days}");
    books_agree(&lab).await;
}

/// While the network changes its day it may refuse everything with 90: the terminal hears that and nothing is owed;
/// a reversal that falls into it goes out again afterwards. Then payments carry the new day, and the journal finds
/// them by it.
#[tokio::test]
async fn what_falls_into_a_cut_over_is_answered_90_or_sent_again() {
    let setup = Setup { network_times: "cut_over = 1500\n", ..Setup::default() };
    let lab = Arc::new(Lab::start(setup).await);
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let before = sold(&mut terminal, swipe(1_000)).await;
    // A reversal that waits, and is tried while the day changes.
    lab.set_faults(json!({"rules": [{"fault": "lost", "classes": [420]}]})).await;
    let lost = terminal.sale(swipe(9_001)).await.unwrap();
    assert_eq!(code(&lost), "68");
    lab.set_faults(json!({"refuse_in_cut_over": true})).await;
    let cutting = tokio::spawn({
        let lab = Arc::clone(&lab);
        async move { lab.network_does("/api/cutover").await }
    });
    let mut refused = None;
    while !cutting.is_finished() {
        let outcome = terminal.sale(swipe(2_000)).await.unwrap();
        if code(&outcome) == "90" {
            refused = Some(outcome);
        }
    }
    cutting.await.unwrap();
    let refused = refused.expect("a sale fell into the cut-over");
    lab.payment_in(&[refused.rrn.as_deref().unwrap()], "declined").await;
    lab.payment_in(&[lost.rrn.as_deref().unwrap()], "reversed").await;
    let after = sold(&mut terminal, swipe(3_000)).await;
    let day = |outcome: &pos::Outcome| {
        let reference = outcome.rrn.as_deref().unwrap();
        lab.payments(&[reference])[0]["settle_date"].as_str().unwrap().to_owned()
    };
    let (old, new) = (day(&before), day(&after));
    assert_ne!(old, new);
    let of_day = |day: &str| {
        let found = lab.payments(&["--settle-date", day]);
        found.iter().map(|payment| payment["reference"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(of_day(&old).contains(before.rrn.as_ref().unwrap()));
    assert!(of_day(&new).contains(after.rrn.as_ref().unwrap()));
    assert!(!of_day(&new).contains(before.rrn.as_ref().unwrap()));
    books_agree(&lab).await;
}

/// A line that takes bytes and says nothing is worse than one that is down: every payment ends as reversed.
#[tokio::test]
async fn the_network_hangs() {
    let lab = Lab::start(Setup { network_patience_ms: 1_500, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.set_faults(json!({"mute": true})).await;
    let mut hung = Vec::new();
    for fen in [1_001, 1_002] {
        let outcome = terminal.sale(swipe(fen)).await.unwrap();
        assert_eq!(code(&outcome), "68", "{outcome:?}");
        hung.push(outcome.rrn.unwrap());
    }
    lab.set_faults(json!({"mute": false})).await;
    for reference in &hung {
        lab.payment_in(&[reference], "reversed").await;
    }
    sold(&mut terminal, swipe(1_003)).await;
    books_agree(&lab).await;
}

/// A reversal that the network refuses again and again is parked with an alarm, named by the doctor, and goes out
/// when an operator has cleared the cause.
#[tokio::test]
async fn a_refused_reversal_is_parked_and_released() {
    let engine = "forward_refusals_max = 3\n";
    let lab = Lab::start(Setup { network_patience_ms: 1_500, engine, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.set_faults(json!({"rules": [{"fault": {"decline": "96"}, "classes": [420]}]})).await;
    let lost = terminal.sale(swipe(9_007)).await.unwrap();
    assert_eq!(code(&lost), "68");
    until("the reversal is parked", || {
        lab.good(&["forward", "list", "--parked"]).contains("parked").then_some(())
    })
    .await;
    assert!(lab.log().contains("ALARM"));
    // It does not hold up what comes after it.
    let next = terminal.sale(swipe(2_000)).await.unwrap();
    assert_eq!(code(&next), "00");
    let ill = lab.posp(&["doctor"]);
    assert!(!ill.status.success() && text(&ill).contains("parked"), "{}", text(&ill));

    lab.set_faults(json!({"rules": []})).await;
    let list = lab.good(&["forward", "list", "--parked"]);
    let number = list.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    lab.good(&["forward", "release", &number]);
    lab.payment_in(&[lost.rrn.as_deref().unwrap()], "reversed").await;
    assert!(lab.posp(&["doctor"]).status.success());
    books_agree(&lab).await;
}

/// A reversal that the network never answers is parked after so many sendings, with an alarm; payments go on meanwhile,
/// and it goes out again when it is released.
#[tokio::test]
async fn a_reversal_that_nobody_answers_is_parked() {
    let engine = "forward_silences_max = 3\n";
    let lab = Lab::start(Setup { network_patience_ms: 1_000, engine, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.set_faults(json!({"rules": [{"fault": "lost", "classes": [420]}]})).await;
    let silent = terminal.sale(swipe(9_001)).await.unwrap();
    assert_eq!(code(&silent), "68");
    until("the reversal is parked", || {
        lab.good(&["forward", "list", "--parked"]).contains("did not answer 3 times").then_some(())
    })
    .await;
    assert!(lab.log().contains("ALARM"));
    let ill = lab.posp(&["doctor"]);
    assert!(!ill.status.success() && text(&ill).contains("parked"), "{}", text(&ill));
    sold(&mut terminal, swipe(2_000)).await;
    lab.set_faults(json!({"rules": []})).await;
    let (number, _) = first_item(&lab);
    lab.good(&["forward", "release", &number]);
    lab.payment_in(&[silent.rrn.as_deref().unwrap()], "reversed").await;
    books_agree(&lab).await;
}

/// Number and payment of the first open item of the queue.
fn first_item(lab: &Lab) -> (String, String) {
    let list = lab.good(&["forward", "list"]);
    let words: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    (words[0].to_owned(), words[3].to_owned())
}

/// A person takes a reversal that waits out of the order, with a reason that stands in the payment's history. A mistaken
/// number changes nothing; released, it reaches the network.
#[tokio::test]
async fn a_waiting_reversal_is_parked_by_hand() {
    let lab = Lab::start(Setup { network_patience_ms: 1_000, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    lab.set_faults(json!({"rules": [{"fault": "lost", "classes": [420]}]})).await;
    let silent = terminal.sale(swipe(9_001)).await.unwrap();
    let (number, payment) = first_item(&lab);
    let wrong = lab.posp(&["forward", "park", &number, "--payment", "1", "--reason", "ticket 7"]);
    assert!(!wrong.status.success() && text(&wrong).contains("another payment"), "{}", text(&wrong));
    assert!(!lab.good(&["forward", "list", "--parked"]).contains("parked"));
    lab.good(&["forward", "park", &number, "--payment", &payment, "--reason", "ticket 4711"]);
    let reference = silent.rrn.as_deref().unwrap();
    assert!(lab.good(&["txn", "show", reference]).contains("parked by hand: ticket 4711"));
    assert!(lab.good(&["forward", "list", "--parked"]).contains("parked"));
    lab.payment_in(&[reference], "reversing").await;
    lab.set_faults(json!({"rules": []})).await;
    sold(&mut terminal, swipe(2_000)).await;
    lab.good(&["forward", "release", &number]);
    lab.payment_in(&[reference], "reversed").await;
    books_agree(&lab).await;
}

/// A refund that went into silence and is refused 96 ever since: no release helps, a person settles it as the network's
/// record has it. Mistakes on the way change nothing, and the terminal hears the outcome when it asks again.
#[tokio::test]
async fn a_parked_refund_is_settled_by_hand() {
    let engine = "forward_refusals_max = 3\n";
    let lab = Lab::start(Setup { network_patience_ms: 1_500, engine, ..Setup::default() }).await;
    let (mut terminal, _) = lab.signed_in(FIRST).await;
    let sale = sold(&mut terminal, swipe(20_000)).await;
    lab.set_faults(json!({"mute": true})).await;
    let request = RefundRequest {
        amount_fen: 7_000,
        card: CardInput::deck("M01").unwrap(),
        entry: Entry::Swipe,
        pin: None,
        original_rrn: sale.rrn.clone().unwrap(),
        original_date: terminal.now().strftime("%m%d").to_string(),
    };
    let asked = terminal.refund(request).await.unwrap();
    assert_ne!(asked.status, Status::Approved, "{asked:?}");
    lab.set_faults(json!({"mute": false, "rules": [{"fault": {"decline": "96"}, "classes": [220]}]})).await;
    until("the refund is parked", || {
        lab.good(&["forward", "list", "--parked"]).contains("repeat").then_some(())
    })
    .await;
    let list = lab.good(&["forward", "list", "--parked"]);
    let item = list.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let payment = lab.payment_in(&["--kind", "refund"], "unresolved").await["payment"].to_string();
    let found = |more: &[&str]| {
        let settle = ["forward", "settle", &item, "--record", "nothing", "--code", "12"];
        lab.posp(&[&settle[..], more].concat())
    };

    // Another payment's number, a card number as reason, an approval that the record cannot have: refused.
    let other = found(&["--payment", "1", "--reason", "ticket 4711", "--yes"]);
    assert!(!other.status.success() && text(&other).contains("nothing was changed"), "{}", text(&other));
    let card = found(&["--payment", &payment, "--reason", "card 6224 2420 0000 0120", "--yes"]);
    assert!(!card.status.success() && text(&card).contains("no card number"), "{}", text(&card));
    let approval = ["--code", "00", "--payment", &payment, "--reason", "ticket 4711", "--yes"];
    let approval = lab.posp(&[&["forward", "settle", &item, "--record", "nothing"][..], &approval].concat());
    assert!(!approval.status.success(), "{}", text(&approval));
    // Without --yes it is a look.
    let look = found(&["--payment", &payment, "--reason", "ticket 4711"]);
    assert!(look.status.success() && text(&look).contains("would be declined"), "{}", text(&look));
    lab.payment_in(&["--kind", "refund"], "unresolved").await;

    let done = found(&["--payment", &payment, "--reason", "ticket 4711", "--yes"]);
    assert!(done.status.success(), "{}", text(&done));
    lab.payment_in(&["--kind", "refund"], "declined").await;
    let history = lab.good(&["txn", "show", &payment]);
    assert!(history.contains("settled by hand") && history.contains("ticket 4711"), "{history}");
    assert!(
        !found(&["--payment", &payment, "--reason", "ticket 4711", "--yes"]).status.success(),
        "done once"
    );
    let mut heard = asked;
    while terminal.open_refund().is_some() {
        heard = terminal.resume_refund().await.unwrap();
    }
    assert_eq!((code(&heard), heard.status), ("12", Status::Declined), "{heard:?}");
    assert_eq!(lab.payments(&["--kind", "sale"])[0]["refunded_fen"], 0);
    assert!(lab.posp(&["doctor"]).status.success());
    books_agree(&lab).await;
}

/// Terminals of both ciphers at once, with declines, dropped lines, voids and a network that is silent now and then:
/// every batch balances, and both sides have moved the same money.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_busy_hour_ends_in_balance() {
    let lab = Arc::new(Lab::start(Setup { network_patience_ms: 1_500, ..Setup::default() }).await);
    let mut desks = tokio::task::JoinSet::new();
    for (seat, id) in [FIRST, SECOND, NATIONAL].into_iter().enumerate() {
        let lab = Arc::clone(&lab);
        desks.spawn(async move {
            let (mut terminal, line) = lab.terminal(id).await;
            let layout = if id == NATIONAL { KeyLayout::Sm4 } else { KeyLayout::TripleDesTrack };
            assert!(terminal.sign_in(layout).await.unwrap().approved);
            for number in 0..24_u64 {
                let fen = 1_000 + number * 10 + seat as u64;
                match number % 8 {
                    2 => assert_eq!(code(&terminal.sale(swipe(9_151)).await.unwrap()), "51"),
                    4 => {
                        // The line is to fail under the sale, not under the report of the chip before it.
                        terminal.send_script_result().await.unwrap();
                        line.drop_next_answer();
                        let lost = terminal.sale(swipe(fen)).await.unwrap();
                        assert_eq!(lost.status, Status::NoAnswer);
                    }
                    6 if seat == 1 => assert_eq!(code(&terminal.sale(swipe(9_001)).await.unwrap()), "68"),
                    7 => {
                        let trace = terminal.journal().last().unwrap().trace;
                        let voided = terminal.void(pos::VoidRequest::by_trace(trace)).await.unwrap();
                        assert_eq!(code(&voided), "00", "{voided:?}");
                    }
                    // A chip of its own: the issuer sees each card's counter rise.
                    odd if odd % 2 == 1 => {
                        let card = ["L01", "L02", "L14"][seat];
                        sold(&mut terminal, sale(fen, card, Entry::Chip, Some("123456"))).await;
                    }
                    _ => drop(sold(&mut terminal, swipe(fen)).await),
                }
            }
            let settled = terminal.settle().await.unwrap();
            assert!(settled.approved && settled.notices.is_empty(), "{id}: {settled:?}");
        });
    }
    while let Some(done) = desks.join_next().await {
        done.unwrap();
    }
    until("no reversal waits", || lab.good(&["forward", "list"]).contains("Nothing to show").then_some(()))
        .await;
    assert!(lab.good(&["settlement", "differences"]).contains("Nothing to show"));
    let open = ["pending", "reversing", "unresolved"];
    assert!(open.iter().all(|state| lab.payments(&["--state", state]).is_empty()));
    books_agree(&lab).await;
}
