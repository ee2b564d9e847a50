//! What another app wants beside its payment: each field of a request is honoured or refused by its name, none is passed
//! over; events tell how far a request is; and whose trades a caller may refer to is a matter of its grant.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod shop;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::Arc;

use app::flow::{Desk, Lang};
use app::view::{Input, View};
use pay::{Grant, Progress, Response};
use serde_json::{Value, json};
use shop::*;
use terminal::{Apps, Deck, Site, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OTHER: &str = "com.example.other";
/// `O_NONBLOCK` of Linux: a pipe without a writer opens at once.
const NONBLOCK: i32 = 0o4000;

fn response(bytes: &[u8]) -> Response {
    serde_json::from_slice(bytes).unwrap()
}

/// Nothing is begun, shown or sent, and the answer names the field.
#[test]
fn what_this_terminal_cannot_do_is_refused_by_the_name_of_its_field() {
    let counter = Counter::open();
    let with = |pointer: &str, value: Value| {
        let mut body = sale("A1", 100);
        let (parent, name) = pointer.rsplit_once('.').unwrap_or(("", pointer));
        let place = if parent.is_empty() { &mut body } else { &mut body[parent] };
        place[name] = value;
        body
    };
    let kind = |kind: &str, extra: Value| {
        let mut body = json!({ "v": "1.0", "request_id": "A2", "type": kind });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let rows = [
        ("tip", with("tip", json!(5))),
        ("pay_method", kind("settle", json!({ "pay_method": "card" }))),
        ("lock_method", with("lock_method", json!(true))),
        ("auth_code", with("auth_code", json!("134567890123456789"))),
        ("order.store_id", with("order.store_id", json!("S7"))),
        ("order.desc", kind("sign_in", json!({ "order": { "order_no": "O", "desc": "tea" } }))),
        ("orig", with("orig", json!({ "trace_no": "000001" }))),
        ("notify", with("notify", json!({ "server_callback_id": "cb" }))),
        ("print.copies", with("print.copies", json!(2))),
        ("print.logo_id", with("print.logo_id", json!("logo"))),
        ("print.extra_lines", with("print.extra_lines", json!(["thank you"]))),
        ("print.mode", kind("balance", json!({ "print": { "mode": "both" } }))),
        ("print.mode", kind("settle", json!({ "print": { "mode": "caller" } }))),
        ("print.mode", kind("sign_in", json!({ "print": { "mode": "merchant" } }))),
        (
            "print.mode",
            kind("reprint", json!({ "orig": { "request_id": "A0" }, "print": { "mode": "none" } })),
        ),
        ("ui.allow_cancel", with("ui.allow_cancel", json!(false))),
        ("ui.lang", with("ui.lang", json!("fr"))),
        ("amount", kind("balance", json!({ "amount": 100 }))),
    ];
    let locks = Grant { lock_method: true, ..everything() };
    for (field, body) in rows {
        let Submitted::Answer(answer) = counter.submit_as(SHOP, &locks, &body) else {
            panic!("{field} begins")
        };
        let answer = response(&answer);
        assert_eq!(answer.call_code.number(), 102, "{field}: {answer:?}");
        assert!(answer.call_msg.as_ref().unwrap().starts_with(&format!("{field}:")), "{answer:?}");
    }
    assert_eq!(counter.host.seen().len(), 0);
    assert!(counter.station.panel().unwrap().is_free());
}

/// Language, what is bought, who sells, how long the result stays: on the screen while it runs, and in the response.
#[test]
fn what_people_shall_see_is_seen() {
    let counter = Counter::open();
    let body = json!({
        "v": "1.0", "request_id": "B1", "type": "sale", "amount": 2_400, "pay_method": "card",
        "order": {
            "order_no": "O-B1", "desc": "breakfast", "operator_id": "07", "table_no": "12",
            "goods": [{ "name": "龙井茶", "quantity": 2, "price": 1_200 }],
        },
        "print": { "mode": "none" }, "ui": { "lang": "en", "result_timeout_ms": 1, "allow_cancel": true },
    });
    let Submitted::Begun(key) = counter.submit(SHOP, &body) else { panic!() };
    counter.wait_for(CARD);
    let standing = counter.station.panel().unwrap().shown().standing;
    assert_eq!(standing.lang, Some(Lang::En));
    assert_eq!(standing.note.as_deref(), Some("breakfast · 龙井茶 ×2 ¥12.00 · 桌 / table 12"));
    counter.swipe();
    // Nobody confirms: the result goes by itself.
    let told = response(&counter.door().wait(&key).unwrap());
    assert_eq!(text(told.outcome), "approved");
    assert_eq!(told.operator.as_deref(), Some("07"));
    assert_eq!(told.call_msg.as_deref(), Some("call handled; the outcome tells of the trade"));
    counter.wait_for(MENU);
    let standing = counter.station.panel().unwrap().shown().standing;
    assert_eq!((standing.lang, standing.note), (None, None), "the cashier's own screens are as they were");
}

/// Printed again as asked: one copy as usual, or both, under one mark.
#[test]
fn a_reprint_prints_what_is_asked_for() {
    let counter = Counter::open();
    counter.pays(SHOP, &sale("C1", 100));
    counter.wait_for(MENU);
    let mut printed = 0;
    for (id, mode, slips) in [("C2", "default", 1), ("C3", "customer", 1), ("C4", "both", 2)] {
        let again = json!({
            "v": "1.0", "request_id": id, "type": "reprint", "orig": { "request_id": "C1" },
            "print": { "mode": mode },
        });
        assert_eq!(counter.does(SHOP, &again).call_code.number(), 0);
        counter.wait_for(MENU);
        printed += slips;
        assert_eq!(counter.station.printed().len(), printed, "{mode}");
    }
}

/// A void takes all of it back. One that names another amount is a mistake.
#[test]
fn a_void_of_another_amount_is_refused() {
    let counter = Counter::open();
    counter.pays(SHOP, &sale("D1", 4_200));
    counter.wait_for(MENU);
    let void = |id: &str, amount: u64| {
        json!({
            "v": "1.0", "request_id": id, "type": "void", "amount": amount, "order": { "order_no": "O-D1" },
            "orig": { "request_id": "D1" }, "print": { "mode": "none" }, "ui": { "skip_result_page": true },
        })
    };
    assert_eq!(counter.answer(SHOP, &void("D2", 4_100)).call_code.number(), 102);
    assert_eq!(text(counter.does(SHOP, &void("D3", 4_200)).outcome), "approved");
    assert_eq!(counter.payments(), 2);
}

/// The numbers of a slip are on paper for everybody to read. Whoever reads them gets no money back with them, unless its
/// grant says that it works for the whole shop.
#[test]
fn somebody_elses_trade_is_referred_to_by_grant_alone() {
    let counter = Counter::open();
    let sold = response(&counter.pays(SHOP, &sale("E1", 4_200)));
    counter.wait_for(MENU);
    let date = &sold.trade_time_local.as_ref().unwrap()[..4];
    let refund = |id: &str, orig: Value| {
        json!({
            "v": "1.0", "request_id": id, "type": "refund", "amount": 1_000, "order": { "order_no": "O-E" },
            "orig": orig, "print": { "mode": "none" }, "ui": { "skip_result_page": true },
        })
    };
    let by_slip = json!({ "ref_no": sold.ref_no, "date": date });
    let refused = counter.answer(OTHER, &refund("E2", by_slip.clone()));
    assert_eq!(refused.call_code.number(), 105);
    assert!(refused.call_msg.unwrap().starts_with("orig:"));
    let others = Grant { others: true, ..everything() };
    // A number that cannot be held against somebody else's trade is not passed over either.
    for surplus in [
        json!({ "trace_no": sold.trace_no }),
        json!({ "channel_order_no": "9" }),
        json!({ "order_no": "O-E1" }),
    ] {
        let mut orig = by_slip.clone();
        orig.as_object_mut().unwrap().extend(surplus.as_object().unwrap().clone());
        let Submitted::Answer(answer) = counter.submit_as(OTHER, &others, &refund("E3", orig)) else {
            panic!()
        };
        assert_eq!(response(&answer).call_code.number(), 105);
    }
    // A completion by the authorisation code is the same.
    let completion = json!({
        "v": "1.0", "request_id": "E4", "type": "preauth_complete", "amount": 1_000, "order": { "order_no": "O-E" },
        "orig": { "auth_no": "123456", "date": date },
    });
    assert_eq!(counter.answer(OTHER, &completion).call_code.number(), 105);
    assert_eq!(counter.moved(), 4_200);

    let Submitted::Begun(key) = counter.submit_as(OTHER, &others, &refund("E5", by_slip)) else { panic!() };
    counter.swipe();
    let refunded = response(&counter.door().wait(&key).unwrap());
    assert_eq!(text(refunded.outcome), "approved", "{refunded:?}");
    // Its owner needs no such grant.
    counter.wait_for(MENU);
    let own = refund("E6", json!({ "ref_no": sold.ref_no }));
    assert!(matches!(counter.submit(SHOP, &own), Submitted::Begun(_)));
}

/// A caller that listens hears how far its payment is, in its language, with the card masked; one that comes late hears
/// all of it, one that comes too late the end. Others hear nothing.
#[test]
fn events_tell_how_far_a_payment_is() {
    let counter = Counter::open();
    let hears = Grant { events: true, ..everything() };
    let mut body = sale("F1", 700);
    body["ui"]["lang"] = json!("zh");
    let Submitted::Begun(key) = counter.submit(SHOP, &body) else { panic!() };
    counter.wait_for(CARD);
    let door = counter.door();
    let refused = |app: &str, grant: Option<&Grant>| {
        response(&door.events(app, grant, "F1").unwrap().unwrap_err()).call_code.number()
    };
    assert_eq!(refused(SHOP, Some(&everything())), 202);
    assert_eq!(refused(OTHER, Some(&hears)), 105);
    assert_eq!(refused(SHOP, None), 201);
    let mut events = door.events(SHOP, Some(&hears), "F1").unwrap().unwrap();
    counter.swipe();
    counter.door().wait(&key).unwrap();
    let mut heard = Vec::new();
    while let Some(event) = counter.runtime.block_on(events.next()) {
        assert_eq!(event.request_id.as_str(), "F1");
        heard.push(event);
    }
    let progress: Vec<Progress> = heard.iter().map(|event| event.event).collect();
    let expected =
        [Progress::Accepted, Progress::WaitCard, Progress::CardRead, Progress::Online, Progress::Done];
    assert_eq!(progress, expected);
    assert_eq!(text(&heard[2].masked_pan), "622424******0120");
    assert_eq!(text(&heard[1].text), "请出示银行卡");

    let mut late = door.events(SHOP, Some(&hears), "F1").unwrap().unwrap();
    assert_eq!(counter.runtime.block_on(late.next()).unwrap().event, Progress::Done);
    assert!(counter.runtime.block_on(late.next()).is_none());

    // Who listens when the power goes hears no more, and no end that is not one.
    counter.wait_for(MENU);
    let Submitted::Begun(_) = counter.submit(SHOP, &sale("F2", 700)) else { panic!() };
    let mut cut = door.events(SHOP, Some(&hears), "F2").unwrap().unwrap();
    counter.wait_for(CARD);
    counter.station.power_off();
    let mut last = None;
    while let Some(event) = counter.runtime.block_on(cut.next()) {
        last = Some(event.event);
    }
    assert_eq!(last, Some(Progress::WaitCard));
}

/// The same over the page's server, as server-sent events.
#[test]
fn events_come_over_http() {
    let counter = Counter::open();
    let stop = CancellationToken::new();
    let listener = counter.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let deck = Arc::new(Deck::new(std::env::temp_dir().join("no-cards")));
    let apps = Apps::new([(SHOP.to_owned(), Grant { events: true, ..everything() })]);
    let site = Site::with_apps(vec![Arc::clone(&counter.station)], deck, apps, stop.clone());
    counter.runtime.spawn(serve(listener, site));
    let Submitted::Begun(key) = counter.submit(SHOP, &sale("G1", 700)) else { panic!() };
    let head = "GET /api/terminals/10000001/pay/G1/events";
    let heard = counter.runtime.spawn(http(address, head, SHOP, ""));
    counter.swipe();
    counter.door().wait(&key).unwrap();
    let (status, body) = counter.runtime.block_on(heard).unwrap();
    assert_eq!(status, 200);
    let of = |name: &str| body.find(&format!("\"event\":\"{name}\""));
    assert!(of("accepted").is_some() && of("accepted") < of("wait_card"), "{body}");
    assert!(of("wait_card") < of("card_read") && of("online") < of("done"), "{body}");
    let (status, refused) = counter.runtime.block_on(http(address, head, OTHER, ""));
    assert_eq!(
        (status, serde_json::from_str::<Value>(&refused).unwrap()["call_code"].clone()),
        (200, json!(201))
    );
    stop.cancel();
}

/// The power goes while the disk is at a write, which nothing interrupts. Whoever switches the power on again waits for it
/// and does not find the terminal in use.
#[test]
fn the_power_comes_back_after_a_cut_in_the_middle_of_a_write() {
    let counter = Counter::open();
    // A pipe where the next state is written: the write waits until somebody reads.
    let aside = counter.directory().join("app/state.new");
    assert!(Command::new("mkfifo").arg(&aside).status().unwrap().success());
    counter.station.press(Input::Desk { desk: Desk::Echo }).unwrap();
    until("it is at work", || matches!(counter.view(), View::Busy { desk: Some(Desk::Echo), .. }));
    let station = Arc::clone(&counter.station);
    let hand = std::thread::spawn(move || {
        station.power_off();
        station.power_on().map_err(|error| error.to_string())
    });
    let (mut reader, mut looks) = (None, 0);
    until("the power is on again", || {
        looks += 1;
        // Long enough for whoever does not wait to have tried.
        if looks > 40 && reader.is_none() {
            reader = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(&aside).ok();
        }
        hand.is_finished()
    });
    std::fs::remove_file(&aside).unwrap();
    hand.join().unwrap().unwrap();
    counter.wait_for(MENU);
}
