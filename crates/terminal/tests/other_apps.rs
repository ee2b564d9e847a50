//! Other apps pay through the acquiring app, on a whole terminal: virtual device, app, protocol, and a host behind a socket
//! that keeps books.
//!
//! Shown is what a caller relies on: one request is one payment, whatever is cut, killed, repeated or lost, and whoever
//! asks for a request's result hears one outcome, the host's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod shop;

use std::sync::Arc;

use app::view::{Input, View};
use pay::{Grant, Response};
use serde_json::{Value, json};
use shop::*;
use terminal::{Apps, Deck, Hand, Site, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[test]
fn the_same_request_again_gets_the_same_bytes_and_asks_the_host_for_nothing() {
    let counter = Counter::open();
    let body = sale("A1", 1_250);
    let first = counter.pays(SHOP, &body);
    let response: Response = serde_json::from_slice(&first).unwrap();
    assert_eq!((response.call_code.number(), text(response.outcome).as_str()), (0, "approved"));
    assert_eq!(response.resp_code.as_deref(), Some("00"));
    assert_eq!(response.amount.unwrap().get(), 1_250);
    assert_eq!(response.order_no.as_deref(), Some("O-A1"));
    assert_eq!(response.ext.as_ref().unwrap()["table"], "7");
    assert_eq!(text(&response.card.as_ref().unwrap().masked_pan), "622424******0120");
    assert!(response.ref_no.is_some() && response.trace_no.is_some() && response.trade_time_local.is_some());
    // The caller prints: nothing came out of the terminal, and the slip is in the response, masked, as wide as asked.
    assert!(counter.station.printed().is_empty());
    let lines = &response.receipt.as_ref().unwrap().lines;
    assert!(lines.iter().any(|line| line.contains("12.50")), "{lines:?}");
    assert!(!String::from_utf8_lossy(&first).contains("6224242000000120"));

    let asked = counter.host.seen().len();
    for _ in 0..3 {
        assert_eq!(counter.submit(SHOP, &body), Submitted::Answer(first.clone()));
    }
    // Across a start too.
    counter.station.power_off();
    counter.station.power_on().unwrap();
    counter.wait_for(MENU);
    assert_eq!(counter.submit(SHOP, &body), Submitted::Answer(first.clone()));
    // Another body under the same number is refused; the same number of another app is a request of its own.
    assert_eq!(counter.answer(SHOP, &sale("A1", 1_251)).call_code.number(), 103);
    assert_eq!(counter.query("com.example.other", "A1").call_code.number(), 105);
    assert_eq!((counter.host.seen().len(), counter.moved()), (asked, 1_250));
}

#[test]
fn what_cannot_be_honoured_is_refused_before_anything_is_written_or_shown() {
    let counter = Counter::open();
    let with = |name: &str, value: Value| {
        let mut body = sale("B1", 100);
        body[name] = value;
        body
    };
    let refused = |body: &Value| counter.answer(SHOP, body).call_code.number();
    // Twenty-nine fen as a decimal are not twenty-nine fen.
    assert_eq!(refused(&with("amount", json!(0.29))), 102);
    assert_eq!(refused(&with("pay_method", json!("wechat"))), 203);
    assert_eq!(refused(&with("tip", json!(5))), 102);
    assert_eq!(refused(&with("print", json!({ "extra_lines": ["thank you"] }))), 102);
    assert_eq!(refused(&json!({ "v": "1.0", "request_id": "B2", "type": "card_read" })), 102);
    let void = json!({
        "v": "1.0", "request_id": "B3", "type": "void", "order": { "order_no": "O" },
        "orig": { "trace_no": "000001" },
    });
    assert_eq!(refused(&void), 105);
    // A caller that nobody knows, and one that calls itself the cashier.
    let body = serde_json::to_vec(&sale("B1", 100)).unwrap();
    for (caller, grant) in [(SHOP, None), ("cashier", Some(everything())), ("", Some(everything()))] {
        let answer = counter.door().call(caller, grant.as_ref(), &body, now()).unwrap();
        assert_eq!(serde_json::from_slice::<Response>(&answer).unwrap().call_code.number(), 201, "{caller}");
    }
    let above = Grant { amount_max: pay::Fen::new(99).ok(), ..everything() };
    let answer = counter.door().call(SHOP, Some(&above), &body, now()).unwrap();
    assert_eq!(serde_json::from_slice::<Response>(&answer).unwrap().call_code.number(), 204);

    assert_eq!(counter.host.seen().len(), 0);
    assert!(counter.station.panel().unwrap().is_free());
    assert_eq!(counter.query(SHOP, "B1").call_code.number(), 105);
}

#[test]
fn one_trade_at_a_time_and_only_its_owner_learns_which() {
    let counter = Counter::open();
    let Submitted::Begun(key) = counter.submit(SHOP, &sale("C1", 500)) else { panic!() };
    counter.wait_for(CARD);
    let again = counter.answer(SHOP, &sale("C1", 500));
    assert_eq!((again.call_code.number(), text(again.state).as_str()), (302, "waiting_card"));
    let own = counter.answer(SHOP, &sale("C2", 500));
    assert_eq!(own.call_code.number(), 301);
    assert_eq!(own.running_request_id.unwrap().as_str(), "C1");
    let others = counter.answer("com.example.other", &sale("C2", 500));
    assert_eq!((others.call_code.number(), others.running_request_id), (301, None));
    assert_eq!(counter.query("com.example.other", "C1").call_code.number(), 105);
    // Another app cannot break it off, its owner can.
    let abort =
        |id: &str| json!({ "v": "1.0", "request_id": id, "type": "abort", "orig": { "request_id": "C1" } });
    assert_eq!(counter.answer("com.example.other", &abort("C3")).call_code.number(), 105);
    assert_eq!(counter.answer(SHOP, &abort("C4")).call_code.number(), 0);
    let ended: Response = serde_json::from_slice(&counter.door().wait(&key).unwrap()).unwrap();
    assert_eq!((ended.call_code.number(), text(ended.outcome).as_str()), (401, "declined"));
    assert_eq!(text(ended.reason), "cancelled");
    assert_eq!(counter.payments(), 0);

    // While the cashier is at it the terminal is taken too, and nobody's number is told.
    counter.wait_for(MENU);
    assert!(counter.station.press(Input::Trade { trade: app::flow::Trade::Sale }).unwrap());
    counter.wait_for("amount");
    let taken = counter.answer(SHOP, &sale("C5", 500));
    assert_eq!((taken.call_code.number(), taken.running_request_id), (301, None));
    assert_eq!(counter.query(SHOP, "C5").call_code.number(), 105, "it was not written down");
    // The cashier's order stands where it stood.
    assert!(matches!(counter.view(), View::Amount { .. }));
}

#[test]
fn a_power_cut_with_the_request_at_the_host_leaves_one_outcome() {
    let counter = Counter::open();
    // The first payment signs the terminal in, so that only the payment itself meets the silence.
    counter.pays(SHOP, &sale("D0", 100));
    counter.wait_for(MENU);
    counter.host.faults([Fault::Silent]);
    let door = counter.door();
    let Submitted::Begun(key) = counter.submit(SHOP, &sale("D1", 700)) else { panic!() };
    counter.swipe();
    until("the host has it", || counter.payments() == 2);
    counter.station.power_off();
    // Whoever waited hears that nobody knows: no answer at all.
    assert!(door.wait(&key).is_err());
    assert_eq!(counter.moved(), 800, "the host has paid");

    counter.station.power_on().unwrap();
    until("it is settled", || text(counter.query(SHOP, "D1").outcome) == "declined");
    let told = counter.query(SHOP, "D1");
    assert_eq!(text(told.reason), "reversed");
    assert_eq!(told.ext.unwrap()["table"], "7");
    assert_eq!((counter.moved(), counter.reversals(), counter.payments()), (100, 1, 2));
    // The caller asks once more, not knowing: it gets that outcome and no second payment.
    let again = counter.answer(SHOP, &sale("D1", 700));
    assert_eq!(text(again.outcome), "declined");
    assert_eq!(counter.payments(), 2);
}

#[test]
fn a_power_cut_before_the_card_leaves_a_declined_request() {
    let counter = Counter::open();
    assert!(matches!(counter.submit(SHOP, &sale("E1", 700)), Submitted::Begun(_)));
    counter.wait_for(CARD);
    counter.station.power_off();
    counter.station.power_on().unwrap();
    counter.wait_for(MENU);
    let told = counter.query(SHOP, "E1");
    assert_eq!(
        (told.call_code.number(), text(told.outcome), text(told.reason)),
        (601, "declined".to_owned(), "interrupted".to_owned())
    );
    assert_eq!(counter.payments(), 0);
}

#[test]
fn an_outcome_that_nobody_knew_is_settled_by_a_later_reversal() {
    let counter = Counter::open();
    counter.pays(SHOP, &sale("F0", 100));
    counter.wait_for(MENU);
    // The payment is taken and not answered, and the host is out of order when the reversal comes.
    counter.host.faults([Fault::Silent, Fault::Code("96")]);
    let told: Response = serde_json::from_slice(&counter.pays(SHOP, &sale("F1", 900))).unwrap();
    assert_eq!((told.call_code.number(), text(told.outcome).as_str()), (602, "unknown"));
    assert!(told.recover.is_some());
    counter.wait_for(MENU);
    assert_eq!(counter.moved(), 1_000);
    // Without a network the next payment does not begin, and a start of the terminal changes nothing either.
    counter.station.hand(Hand::Network { online: false }).unwrap();
    let next = counter.does(SHOP, &sale("F2", 200));
    assert_eq!((next.call_code.number(), text(next.outcome).as_str()), (305, "declined"), "{next:?}");
    counter.station.power_off();
    counter.station.power_on().unwrap();
    counter.wait_for(MENU);
    assert_eq!(text(counter.query(SHOP, "F1").outcome), "unknown");
    assert_eq!(counter.moved(), 1_000);
    // With one, the next payment sends the reversal first: the caller's stored result is now what is true.
    counter.station.hand(Hand::Network { online: true }).unwrap();
    let next: Response = serde_json::from_slice(&counter.pays(SHOP, &sale("F3", 200))).unwrap();
    assert_eq!(text(next.outcome), "approved");
    let settled = counter.query(SHOP, "F1");
    assert_eq!((text(settled.outcome), text(settled.reason)), ("declined".to_owned(), "reversed".to_owned()));
    assert_eq!((counter.moved(), counter.payments()), (300, 3));
}

#[test]
fn what_was_sold_is_voided_by_the_caller_s_own_number_and_by_no_other_caller() {
    let counter = Counter::open();
    let sold: Response = serde_json::from_slice(&counter.pays(SHOP, &sale("G1", 4_200))).unwrap();
    counter.wait_for(MENU);
    let void = |id: &str, orig: Value| {
        json!({
            "v": "1.0", "request_id": id, "type": "void", "order": { "order_no": "O-G1" }, "orig": orig,
            "print": { "mode": "none" }, "ui": { "skip_result_page": true },
        })
    };
    let by_trace = json!({ "trace_no": sold.trace_no });
    assert_eq!(counter.answer("com.example.other", &void("G2", by_trace)).call_code.number(), 105);
    let voided = counter.does(SHOP, &void("G3", json!({ "request_id": "G1" })));
    assert_eq!((voided.call_code.number(), text(voided.outcome).as_str()), (0, "approved"), "{voided:?}");
    assert_eq!(voided.amount.unwrap().get(), 4_200);
    // A second void finds nothing that could be voided.
    counter.wait_for(MENU);
    let twice = counter.does(SHOP, &void("G4", json!({ "request_id": "G1" })));
    assert_eq!((twice.call_code.number(), text(twice.outcome).as_str()), (105, "declined"));
}

#[test]
fn errands_go_the_same_way_and_leave_the_counter_where_it_was() {
    let counter = Counter::open();
    let errand = |id: &str, kind: &str| json!({ "v": "1.0", "request_id": id, "type": kind });
    let signed = counter.does(SHOP, &errand("H1", "sign_in"));
    assert_eq!((signed.call_code.number(), text(signed.outcome).as_str()), (0, "none"), "{signed:?}");
    counter.pays(SHOP, &sale("H2", 100));
    counter.wait_for(MENU);
    let last = counter.answer(SHOP, &errand("H3", "last_trade"));
    assert_eq!(last.request_id.unwrap().as_str(), "H2");
    let again = json!({ "v": "1.0", "request_id": "H4", "type": "reprint", "orig": { "request_id": "H2" } });
    assert_eq!(counter.does(SHOP, &again).call_code.number(), 0);
    assert_eq!(counter.station.printed().len(), 1);
    let settled = counter.does(SHOP, &errand("H5", "settle"));
    assert_eq!(settled.call_code.number(), 0, "{settled:?}");
    assert_eq!(counter.station.printed().len(), 2, "the settlement's slip");
    counter.wait_for(MENU);
    // Asked again it is not done again.
    let asked = counter.host.seen().len();
    assert_eq!(counter.does(SHOP, &errand("H5", "settle")), settled);
    assert_eq!(counter.host.seen().len(), asked);
    // Without paper a reprint says so.
    // After a settlement the terminal signs in anew, with keys beside the old ones.
    let next: Response = serde_json::from_slice(&counter.pays(SHOP, &sale("H6", 100))).unwrap();
    assert_eq!(text(next.outcome), "approved", "{next:?}");
    counter.wait_for(MENU);
    counter.station.hand(Hand::Paper { there: false }).unwrap();
    let again = json!({ "v": "1.0", "request_id": "H7", "type": "reprint", "orig": { "request_id": "H6" } });
    assert_eq!(counter.does(SHOP, &again).call_code.number(), 501);
}

#[test]
fn a_caller_that_is_killed_meanwhile_finds_its_payment_by_its_number() {
    let counter = Counter::open();
    let stop = CancellationToken::new();
    let listener = counter.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let deck = Arc::new(Deck::new(std::env::temp_dir().join("no-cards")));
    let apps = Apps::new([(SHOP.to_owned(), everything())]);
    let site = Site::with_apps(vec![Arc::clone(&counter.station)], deck, apps, stop.clone());
    counter.runtime.spawn(serve(listener, site));
    let post = "POST /api/terminals/10000001/pay";
    let get = "GET /api/terminals/10000001/pay/K1";
    let body = sale("K1", 3_300).to_string();

    let call = counter.runtime.spawn({
        let body = body.clone();
        async move { http(address, post, SHOP, &body).await }
    });
    counter.wait_for(CARD);
    // The app dies: its connection is gone with it.
    call.abort();
    let ask = |head: &str, app: &str, body: &str| {
        let (status, body) = counter.runtime.block_on(http(address, head, app, body));
        (status, serde_json::from_str::<Value>(&body).unwrap_or_else(|_| json!(body)))
    };
    let (status, running) = ask(get, SHOP, "");
    assert_eq!(
        (status, &running["call_code"], &running["state"]),
        (200, &json!(302), &json!("waiting_card"))
    );
    counter.swipe();
    until("it is paid", || ask(get, SHOP, "").1["outcome"] == "approved");
    // It comes back and, to be safe, asks for the payment once more.
    let (_, queried) = ask(get, SHOP, "");
    assert_eq!(ask(post, SHOP, &body), (200, queried));
    assert_eq!((counter.payments(), counter.moved()), (1, 3_300));

    // Apps that the table does not know, terminals that are not there or have no power.
    assert_eq!(ask(post, "com.example.nobody", &body).1["call_code"], 201);
    assert_eq!(ask(get, "com.example.nobody", "").1["call_code"], 105);
    assert_eq!(ask(post, SHOP, "0.29").1["call_code"], 101);
    assert_eq!(ask("GET /api/terminals/10000009/pay/K1", SHOP, "").0, 404);
    counter.station.power_off();
    assert_eq!(ask(post, SHOP, &body).0, 503);
    stop.cancel();
}
