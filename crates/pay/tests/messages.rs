//! Requests and responses as callers write and read them: the worked examples byte for byte, an unrelated validator over
//! the schema, and what integrators of other acquirers trip over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use pay::request::{parse, request_id_of};
use pay::{CallCode, CallerId, Fen, Grant, Kind, Outcome, PayMethod, Request, Response, digest};
use proptest::prelude::*;
use serde_json::{Value, json};

const SALE: &str = r#"{"v":"1.0","request_id":"T20261123000017","type":"sale","amount":1250,"currency":"156","pay_method":"any",
 "order":{"order_no":"SO-88421","desc":"2 x noodles","operator_id":"01"},"print":{"mode":"both","copies":2},
 "ui":{"skip_result_page":true}}"#;

const APPROVED: &str = r#"{"call_code":0,"outcome":"approved","resp_code":"00","request_id":"T20261123000017","order_no":"SO-88421",
 "trade_id":"01JD3M4Q8Z","type":"sale","pay_method_used":"card","amount":1250,"discount":0,"settle_amount":1250,"currency":"156",
 "merchant":{"no":"898000000000001","name":"测试商户"},"terminal":{"tid":"00000001","sn":"LAB0000001"},"operator":"01",
 "trace_no":"000123","batch_no":"000007","ref_no":"112310000001","auth_no":"","trade_time":"2026-11-23T10:01:02+08:00",
 "settle_date":"1123","card":{"masked_pan":"622424******0021","kind":"debit","entry":"icc","aid":"A000000333010101","cvm":"pin"}}"#;

const UNKNOWN: &str = r#"{"call_code":602,"outcome":"unknown","request_id":"T20261123000018","recover":{"hint":"query","next_query_ms":3000}}"#;

/// The examples are broken into lines for people.
fn one_line(text: &str) -> String {
    text.replace("\n ", "")
}

fn example() -> Value {
    serde_json::from_str(SALE).unwrap()
}

/// The example with a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut body = example();
    change(&mut body);
    body.to_string()
}

fn refused(body: &str) -> (u16, Option<String>) {
    let refusal = parse(body.as_bytes()).unwrap_err();
    (refusal.code.number(), refusal.field)
}

fn bad_field(name: &str) -> (u16, Option<String>) {
    (102, Some(name.to_owned()))
}

/// A validator for one message of the schema. It is an implementation that knows nothing of our types.
fn validator(name: &str) -> jsonschema::Validator {
    let mut schema = pay::docs::schema();
    schema["$ref"] = json!(format!("#/$defs/{name}"));
    jsonschema::draft202012::new(&schema).unwrap()
}

#[test]
fn the_examples_come_back_byte_for_byte() {
    let request = parse(SALE.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&request).unwrap(), one_line(SALE));
    for text in [APPROVED, UNKNOWN] {
        let response: Response = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&response).unwrap(), one_line(text));
    }
    let unknown = Response::unknown(pay::RequestId::new("T20261123000018").unwrap());
    assert_eq!(serde_json::to_string(&unknown).unwrap(), UNKNOWN);
}

#[test]
fn the_examples_are_valid_by_the_schema() {
    assert!(validator("Request").is_valid(&example()));
    for text in [APPROVED, UNKNOWN] {
        assert!(validator("Response").is_valid(&serde_json::from_str(text).unwrap()));
    }
    let event = json!({"v":"1.0","request_id":"T1","event":"card_read","masked_pan":"622424******0021"});
    assert!(validator("Event").is_valid(&event));
    assert!(serde_json::from_value::<pay::Event>(event).is_ok());
}

/// A yuan amount, as text or with a decimal point, is refused by name and never rounded: 0.29 times a hundred is
/// 28.999999999999996 to a float.
#[test]
fn a_decimal_point_is_refused_and_never_rounded() {
    let numbers = [
        "12.5",
        "1250.0",
        "1e3",
        "-1",
        "\"12.50\"",
        "\"1250\"",
        "1000000000000",
        "99999999999999999999",
        "true",
    ];
    for number in numbers {
        for (from, field) in [("\"amount\":1250", "amount"), ("\"amount\":1250,", "tip")] {
            let to = match field {
                "amount" => format!("\"amount\":{number}"),
                _ => format!("\"amount\":1250,\"tip\":{number},"),
            };
            assert_eq!(refused(&SALE.replacen(from, &to, 1)), bad_field(field), "{field} {number}");
        }
    }
    let price = changed(|body| body["order"]["goods"] = json!([{"name":"a"},{"name":"b","price":0.29}]));
    assert_eq!(refused(&price), bad_field("order.goods[1].price"));
    assert_eq!(parse(SALE.as_bytes()).unwrap().amount, Some(Fen::new(1250).unwrap()));
}

#[test]
fn a_field_that_is_missing_or_out_of_range_is_named() {
    let without = |name: &'static str| changed(|body| drop(body.as_object_mut().unwrap().remove(name)));
    for name in ["v", "request_id", "type", "amount", "order"] {
        assert_eq!(refused(&without(name)), bad_field(name));
    }
    let long = "x".repeat(33);
    let cases: [(&str, Value, &str); 14] = [
        ("/request_id", json!(long), "request_id"),
        ("/request_id", json!(""), "request_id"),
        ("/request_id", json!("a b"), "request_id"),
        ("/type", json!("Sale"), "type"),
        ("/v", json!("2.0"), "v"),
        ("/currency", json!("840"), "currency"),
        ("/amount", json!(0), "amount"),
        ("/amount", json!(null), "amount"),
        ("/order/order_no", json!("x".repeat(65)), "order.order_no"),
        ("/order/order_no", json!(""), "order.order_no"),
        ("/order/desc", json!("a\u{1b}[2J"), "order.desc"),
        ("/print/mode", json!("printer"), "print.mode"),
        ("/print/copies", json!(4), "print.copies"),
        ("/print/copies", json!(300), "print.copies"),
    ];
    for (pointer, value, field) in cases {
        let body = changed(|body| *body.pointer_mut(pointer).unwrap() = value.clone());
        assert_eq!(refused(&body), bad_field(field), "{pointer} {value}");
    }
    let with = |name: &'static str, value: Value| changed(|body| body[name] = value);
    assert_eq!(refused(&with("ext", json!({"k": "x".repeat(2_048)}))), bad_field("ext"));
    assert_eq!(refused(&with("ext", json!({"k": 1}))), bad_field("ext.k"));
    assert_eq!(refused(&with("orig", json!({}))), bad_field("orig"));
    assert_eq!(
        refused(&changed(|b| b["order"].as_object_mut().unwrap().clear())),
        bad_field("order.order_no")
    );
    assert_eq!(
        refused(&with("print", json!({"extra_lines": vec!["x"; 21]}))),
        bad_field("print.extra_lines")
    );
    assert_eq!(
        refused(&with("ui", json!({"result_timeout_ms": 600_001}))),
        bad_field("ui.result_timeout_ms")
    );
    assert_eq!(
        refused(r#"{"v":"1.0","request_id":"A","type":"print_text"}"#),
        bad_field("print.extra_lines")
    );
}

/// A callback is an id that was registered, never an address to which money's result could be sent.
#[test]
fn a_callback_is_never_an_address() {
    let body = changed(|body| body["notify"] = json!({"server_callback_id": "https://evil.example/"}));
    assert_eq!(refused(&body), bad_field("notify.server_callback_id"));
    assert!(parse(changed(|body| body["notify"] = json!({"h5_return": "shop-1"})).as_bytes()).is_ok());
}

/// A void needs its original, a sale its amount, a settlement neither: as the table has it.
#[test]
fn each_type_needs_what_the_table_says() {
    for row in &pay::KINDS {
        let mut body = json!({"v":"1.0","request_id":"A","type":row.name,"print":{"extra_lines":["x"]}});
        for (needed, name, value) in [
            (row.amount, "amount", json!(1)),
            (row.money, "order", json!({"order_no":"1"})),
            (row.orig, "orig", json!({"trace_no":"000001"})),
        ] {
            if needed {
                assert_eq!(refused(&body.to_string()), bad_field(name), "{}", row.name);
                assert!(!validator("Request").is_valid(&body), "{} without {name}", row.name);
                body[name] = value;
            }
        }
        assert!(parse(body.to_string().as_bytes()).is_ok(), "{}", row.name);
        assert!(validator("Request").is_valid(&body), "{}", row.name);
    }
}

#[test]
fn what_is_no_request_is_malformed() {
    for body in ["", "null", "[]", "\"x\"", "{", "{}x", "{\"v\":\"1.0\",}", "\u{feff}{}"] {
        let (code, _) = refused(body);
        assert!(code == 101 || (body == "{}x" && code == 102), "{body}: {code}");
    }
    assert_eq!(refused(&format!("{SALE}{SALE}")), (101, None));
    assert_eq!(refused(&changed(|body| body["amout"] = json!(1))), (101, Some("amout".into())));
    assert_eq!(refused(&changed(|b| b["order"]["no"] = json!("1"))), (101, Some("order.no".into())));
    let twice = SALE.replacen("\"amount\":1250", "\"amount\":1250,\"amount\":1", 1);
    assert_eq!(refused(&twice), (101, Some("amount".into())));
    assert_eq!(refused(&" ".repeat(70_000)).0, 101);
    assert_eq!(refused(&"[".repeat(60_000)).0, 101);
}

/// A refusal names the field and never its value, and the request's id where it can be read.
#[test]
fn a_refusal_never_repeats_a_value() {
    let body = changed(|body| body["auth_code"] = json!(134_567_890_123_456_789_u64));
    let refusal = parse(body.as_bytes()).unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("auth_code"));
    let response = Response::refused(&refusal, request_id_of(body.as_bytes()));
    let text = serde_json::to_string(&response).unwrap();
    assert!(!text.contains("134567890123456789"), "{text}");
    assert!(text.contains("\"request_id\":\"T20261123000017\"") && text.contains("auth_code"), "{text}");
    assert_eq!(response.outcome, Outcome::None);
    let good = changed(|body| body["auth_code"] = json!("134567890123456789"));
    assert!(!format!("{:?}", parse(good.as_bytes()).unwrap()).contains("134567890123456789"));
}

/// A card number has no place: one that is not masked makes no response.
#[test]
fn no_response_holds_a_whole_card_number() {
    let text = APPROVED.replace("622424******0021", "6224240000000021");
    assert!(serde_json::from_str::<Response>(&text).is_err());
}

/// The result of the call and the result of the trade are two fields on one level.
#[test]
fn call_and_trade_are_two_fields_on_one_level() {
    let declined = r#"{"call_code":0,"outcome":"declined","resp_code":"51","request_id":"A"}"#;
    let response: Response = serde_json::from_str(declined).unwrap();
    assert_eq!((response.call_code, response.outcome), (CallCode::Handled, Outcome::Declined));
    assert!(serde_json::from_str::<Response>(r#"{"call_code":0}"#).is_err(), "no outcome is no response");
    assert!(serde_json::from_str::<Response>(r#"{"call_code":999,"outcome":"none"}"#).is_err());
}

fn grant() -> Grant {
    Grant {
        types: [Kind::Sale].into(),
        methods: [PayMethod::Card].into(),
        amount_max: Some(Fen::new(2_000).unwrap()),
        ..Grant::default()
    }
}

/// A till may preset the method, and lock it, when that is granted to it.
#[test]
fn a_caller_gets_what_is_granted_to_it() {
    let ask = |grant: &Grant, body: String| {
        let request: Request = parse(body.as_bytes()).unwrap();
        grant.check(&request).map_err(|refusal| refusal.code.number())
    };
    let with = |name: &'static str, value: Value| changed(|body| body[name] = value);
    assert_eq!(ask(&grant(), SALE.to_owned()), Ok(()));
    assert_eq!(ask(&grant(), with("type", json!("preauth"))), Err(202));
    assert_eq!(ask(&grant(), with("pay_method", json!("card"))), Ok(()));
    assert_eq!(ask(&grant(), with("pay_method", json!("wechat"))), Err(203));
    assert_eq!(ask(&grant(), with("lock_method", json!(true))), Err(203));
    assert_eq!(ask(&Grant { lock_method: true, ..grant() }, with("lock_method", json!(true))), Ok(()));
    assert_eq!(ask(&grant(), with("amount", json!(2_001))), Err(204));
    assert_eq!(ask(&grant(), with("tip", json!(751))), Err(204), "with its tip");
    let query = r#"{"v":"1.0","request_id":"Q","type":"query","orig":{"request_id":"A"}}"#;
    assert_eq!(
        ask(&Grant::default(), query.to_owned()),
        Ok(()),
        "looking for one's own result needs no grant"
    );
    assert!(CallerId::new("").is_err());
}

/// Computed apart from this code: SHA-256 of `json.dumps(body, sort_keys=True, separators=(",", ":"),
/// ensure_ascii=False)` in Python.
#[test]
fn the_digest_is_that_of_the_canonical_form() {
    let hexadecimal = |body: &str| String::from(digest(&parse(body.as_bytes()).unwrap()));
    assert_eq!(hexadecimal(SALE), "ce9cbe794c33953f1b93170f42a366d4f2e41532281ca082d005eaf3852a8304");
    let text = r#"{"ext":{"b":"1","a":"二"},"type":"print_text","request_id":"A","v":"1.0",
        "print":{"extra_lines":["谢谢\"光临\""]}}"#;
    assert_eq!(hexadecimal(text), "52bf943773ac47e4f417022891c90bfed086d02bfa725a0fbd0c735fd709cac9");
}

/// What is shown is not what is asked for; everything else is.
#[test]
fn bodies_are_the_same_when_they_ask_for_the_same() {
    let of = |body: &str| digest(&parse(body.as_bytes()).unwrap());
    let first = of(SALE);
    let same = [
        changed(|body| body["ui"] = json!({"lang":"en","allow_cancel":false})),
        changed(|body| drop(body.as_object_mut().unwrap().remove("ui"))),
        changed(|body| drop(body.as_object_mut().unwrap().remove("currency"))),
        changed(|body| body["lock_method"] = json!(false)),
        changed(|body| body["tip"] = json!(null)),
        SALE.replace(':', " : "),
    ];
    for body in &same {
        assert_eq!(of(body), first, "{body}");
    }
    let other = [
        changed(|body| body["amount"] = json!(1251)),
        changed(|body| body["tip"] = json!(0)),
        changed(|body| body["order"]["order_no"] = json!("SO-88422")),
        changed(|body| body["print"]["copies"] = json!(1)),
        changed(|body| body["lock_method"] = json!(true)),
        changed(|body| body["ext"] = json!({"k":"v"})),
    ];
    for body in &other {
        assert_ne!(of(body), first, "{body}");
    }
}

proptest! {
    /// Whatever bytes come, the reader answers, with 101 or 102.
    #[test]
    fn no_bytes_bring_the_reader_down(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(refusal) = parse(&body) {
            prop_assert!([101, 102].contains(&refusal.code.number()));
        }
    }

    /// A request cut or with one byte changed is a request or refused; what is accepted is valid by the schema.
    #[test]
    fn what_is_accepted_is_valid_by_the_schema(at in 0_usize..380, byte in 0x20_u8..0x7F) {
        let mut body = SALE.as_bytes().to_vec();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        if parse(&body).is_ok() {
            let value = serde_json::from_slice(&body).unwrap();
            prop_assert!(validator("Request").is_valid(&value), "{}", String::from_utf8_lossy(&body));
        }
    }
}
