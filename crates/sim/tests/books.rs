//! What outlives the process and what others may see: the books file brings balances and record back, the
//! control interface tells them, and neither holds a card number, PIN or key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::path::Path;

use common::*;
use serde_json::{Value, json};
use sim::{FinalState, SimConfig};

fn secrets() -> Vec<String> {
    let cards = [L01, L02, L04, L05, L06, L10, L11, L12, L13, M01, M02, M03, M04, M05, M06];
    cards.iter().map(|card| card.0.to_owned()).chain(sim::LAB_ZMK_COMPONENTS.map(str::to_owned)).collect()
}

fn with_books(path: &Path) -> impl FnOnce(&mut SimConfig) + '_ {
    |config| {
        config.books = Some(path.to_owned());
        config.settlement_day = Some("2026-11-24".parse().unwrap());
    }
}

#[tokio::test]
async fn a_restart_keeps_balances_record_and_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("books.jsonl");
    let mut m = ready_with(with_books(&path)).await;
    let sale = m.chip_sale(L01, 10_000);
    let reply = m.ask(&sale).await;
    assert_eq!(reply.code(), "00");
    let other = m.sale(M01, 3_000);
    m.ask(&other).await;
    let overtaken = m.sale(M01, 5_000);
    let reversal = m.reversal(&overtaken);
    assert_eq!(m.ask(&reversal).await.code(), "25");
    m.sim.reset_card("0120").unwrap().unwrap();
    m.sim.cut_over(None).await.unwrap();
    let (record, cards, totals) = (m.sim.record(), m.sim.cards(), m.sim.totals());
    m.sim.shutdown().await.unwrap();

    // A process that was killed while it wrote leaves half a line.
    let whole = std::fs::read(&path).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(&whole[..40]);
    std::fs::write(&path, &torn).unwrap();

    let mut again = ready_with(with_books(&path)).await;
    assert_eq!(again.sim.record(), record);
    assert_eq!(again.sim.totals(), totals);
    let seen = |cards: &[sim::record::CardView]| serde_json::to_value(cards).unwrap();
    assert_eq!(seen(&again.sim.cards()), seen(&cards));
    assert_eq!(again.sim.status().day.to_string(), "2026-11-25");
    assert_eq!(std::fs::read(&path).unwrap(), whole, "half a line is cut off, nothing else");
    // Rules remember too: the counter of the chip, the reversal that came first, the original of a void.
    let copy =
        again.sale(L01, 10_000).with(22, "051").with(23, "001").with(55, sale.get(55)).with(11, "000090");
    assert_eq!(again.ask(&copy).await.code(), "05");
    assert_eq!(again.ask(&overtaken.with(52, &again.pin_block(M01, "123456"))).await.code(), "25");
    let void = again.void(&sale).with(11, "000091");
    assert_eq!(again.ask(&void).await.code(), "00");
    assert_eq!(again.money("L01"), 1_000_000);

    let text = std::fs::read_to_string(&path).unwrap();
    for secret in secrets() {
        assert!(!text.contains(&secret));
    }
}

#[tokio::test]
async fn a_foreign_books_file_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("books.jsonl");
    std::fs::write(&path, "{\"at\":1,\"event\":\"something\"}\n").unwrap();
    let config = SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        control: None,
        member_listener: String::new(),
        books: Some(path),
        ..SimConfig::default()
    };
    let vault = std::sync::Arc::new(hsm::SoftVault::ephemeral().unwrap());
    let error = sim::start(config, vault).await.unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

async fn get(m: &Member, path: &str) -> String {
    let reply = reqwest::get(url(&m.sim, path)).await.unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    reply.text().await.unwrap()
}

async fn post(m: &Member, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = reqwest::Client::new().post(url(&m.sim, path));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_control_interface_tells_and_does() {
    let mut m = ready().await;
    let sale = m.sale(M01, 12_345);
    m.ask(&sale).await;
    let record: Value = serde_json::from_str(&get(&m, "/api/record").await).unwrap();
    assert_eq!(record[0]["pan"], "622424******0120");
    assert_eq!(record[0]["state"], "approved");
    assert_eq!(record[0]["rrn"], sale.get(37));
    assert_eq!(get(&m, "/api/record?after=1").await, "[]");
    let totals: Value = serde_json::from_str(&get(&m, "/api/totals").await).unwrap();
    let day = m.sim.status().day.to_string();
    assert_eq!(totals[&day]["kinds"]["sale"]["amount"], 12_345);
    let cards: Value = serde_json::from_str(&get(&m, "/api/cards").await).unwrap();
    assert_eq!(cards.as_array().unwrap().len(), 21);
    let journal: Value = serde_json::from_str(&get(&m, "/api/cards/M01/journal").await).unwrap();
    assert_eq!(journal[1]["balance"], 1_000_000 - 12_345);
    let status: Value = serde_json::from_str(&get(&m, "/api/status").await).unwrap();
    assert_eq!(
        (status["signed_on"].clone(), status["zmk_check_value"].clone()),
        (json!(true), json!("08D7B4FB"))
    );

    let rules = json!({"rules": [{"fault": {"decline": "05"}, "span": {"next": 1}}]});
    let (code, set) = post(&m, "/api/faults", Some(rules)).await;
    assert_eq!((code, set["by_amount"].clone()), (200, json!(true)));
    let sale = m.sale(M01, 100);
    assert_eq!(m.ask(&sale).await.code(), "05");
    assert_eq!(post(&m, "/api/faults", Some(json!({"nonsense": 1}))).await.0, 422);

    let (code, done) = post(&m, "/api/cards/M01/reset", None).await;
    assert_eq!((code, done["card"].clone()), (200, json!("M01")));
    assert_eq!(m.money("M01"), 1_000_000);
    assert_eq!(post(&m, "/api/cards/9999/reset", None).await.0, 404);
    assert_eq!(post(&m, "/api/echo", None).await.0, 200);
    assert_eq!(post(&m, "/api/key-reset", None).await.0, 200);
    let (code, done) = post(&m, "/api/cutover", Some(json!({"day": "2027-01-01"}))).await;
    assert_eq!((code, done["day"].clone()), (200, json!("2027-01-01")));

    let page = get(&m, "/").await;
    for part in ["故障规则", "fault rules", "9004", "¥10,000.00", "622424******0120", "viewport"] {
        assert!(page.contains(part), "{part}");
    }
    for path in ["/", "/api/record", "/api/cards", "/api/totals", "/api/status", "/api/faults"] {
        let text = get(&m, path).await;
        for secret in secrets() {
            assert!(!text.contains(&secret), "{path}");
        }
    }
}

#[tokio::test]
async fn without_the_members_listener_keys_cannot_be_given() {
    let m = connected(|c| {
        c.member_listener = String::new();
        c.timing.answer = 20;
    })
    .await;
    let (code, problem) = post(&m, "/api/key-reset", None).await;
    assert_eq!(code, 503);
    assert!(problem["error"].as_str().unwrap().contains("not connected"));
}

#[tokio::test]
async fn a_reset_forgets_what_was_on_the_card() {
    let mut m = ready().await;
    let sale = m.sale(M01, 10_000);
    m.ask(&sale).await;
    let preauth = m.preauth(M01, 5_000);
    m.ask(&preauth).await;
    m.sim.reset_card("M01").unwrap();
    assert_eq!((m.money("M01"), m.held("M01")), (1_000_000, 0));
    let reversal = m.reversal(&sale);
    assert_eq!(m.ask(&reversal).await.code(), "00", "answered, but nothing is given back twice");
    assert_eq!(m.money("M01"), 1_000_000);
    assert_eq!(m.sim.record()[0].state, FinalState::Reversed);
    assert_eq!(m.sim.status().trial_balance, 0);
}
