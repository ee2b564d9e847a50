//! What the deck's chips answer, as a file that other programs check: `tests/vectors/cards.json`.
//!
//! The Python tests read it and compute every cryptogram, certificate and signature again with libraries that know
//! nothing of this project. `POSP_WRITE_DOCS=1 cargo test -p cardsim --test vectors` writes the file anew after a change that is meant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use cardsim::{Card, Interface, MemoryCounters, Profile, deck};
use serde_json::{Map, Value, json};

/// Terminal data of the first cryptogram, in the order of the cards' list: amount, other, country, TVR, currency, date,
/// type, unpredictable number, time.
const ASKED: &str = "0000000123450000000000000156000004800001562611240090A1B2C3101530";
const UNPREDICTABLE: &str = "90A1B2C3";

fn send(card: &mut Card, command: &str) -> Vec<u8> {
    let answer = card.transmit(&hex::decode(command).unwrap()).unwrap();
    answer
        .strip_suffix(&[0x90, 0x00])
        .unwrap_or_else(|| panic!("{command}: {}", hex::encode(&answer)))
        .to_vec()
}

fn fresh(mut profile: Profile) -> Card {
    profile.behaviour.clear();
    Card::new(profile, Box::new(MemoryCounters::new()), Box::new(|bytes| bytes.fill(0xC4))).unwrap()
}

fn upper(bytes: &[u8]) -> String {
    hex::encode_upper(bytes)
}

/// One sale in the slot, up to the certificate; the issuer's answer is left to the reader of the file.
fn contact(profile: Profile) -> Value {
    let aid = profile.apps[0].aid.clone();
    let cda = profile.apps[0].aip == "7D00";
    let mut card = fresh(profile);
    card.power_up(Interface::Contact).unwrap();
    send(&mut card, &format!("00A4040008{aid}00"));
    let options = send(&mut card, "80A8000002830000");
    let mut records = Map::new();
    for at in ["0C01", "1401", "1402", "1403", "1C01"] {
        let (sfi, number) = at.split_at(2);
        records.insert(at.to_owned(), json!(upper(&send(&mut card, &format!("00B2{number}{sfi}00")))));
    }
    let signature = send(&mut card, &format!("0088000004{UNPREDICTABLE}00"));
    let first = send(&mut card, &format!("80AE{}0020{ASKED}00", if cda { "90" } else { "80" }));
    json!({
        "options": upper(&options), "records": records, "dda": upper(&signature), "asked": ASKED, "first": upper(&first),
    })
}

/// One tap online, one offline with its signature.
fn tap(profile: Profile) -> Value {
    let aid = profile.apps[0].aid.clone();
    let mut out = Vec::new();
    let mut card = fresh(profile);
    for qualifiers in ["36800080", "36000080"] {
        card.power_up(Interface::Contactless).unwrap();
        send(&mut card, &format!("00A4040008{aid}00"));
        let asked = format!("{qualifiers}000000012345000000000000015600000000000156261124 00{UNPREDICTABLE}")
            .replace(' ', "");
        let options = send(&mut card, &format!("80A80000238321{asked}00"));
        let record = if qualifiers.starts_with("3600") {
            upper(&send(&mut card, "00B2012400"))
        } else {
            String::new()
        };
        out.push(json!({ "asked": asked, "options": upper(&options), "signed": record }));
    }
    Value::Array(out)
}

#[test]
fn the_file_is_what_the_cards_answer() {
    let cards: Vec<Value> = deck::chips()
        .into_iter()
        .map(|profile| {
            let mut entry = Map::new();
            entry.insert("card".to_owned(), json!(profile.id));
            entry.insert("pan".to_owned(), json!(profile.pan));
            entry.insert("psn".to_owned(), json!(profile.psn));
            if profile.contact {
                entry.insert("contact".to_owned(), contact(profile.clone()));
            }
            entry.insert("tap".to_owned(), tap(profile));
            Value::Object(entry)
        })
        .collect();
    let text = serde_json::to_string_pretty(&cards).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/cards.json");
    if std::env::var_os("POSP_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        kept == text,
        "the cards answer otherwise than tests/vectors/cards.json says; see the head of this file"
    );
}
