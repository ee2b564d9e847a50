//! docs/transactions.md and its Chinese sister are printed from what the code runs on: the transaction table, the
//! state machine and the rules between a payment and its original (which are asked, not described), the table of
//! response codes, and the network messages that the mapping makes. They cannot say anything else.
//!
//! `POSP_WRITE_DOCS=1 cargo test -p channels --test transactions` writes both anew after a line was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod asked;
mod page;

use acquiring::kind::KINDS;
use acquiring::transition::Forward;
use page::Language;

fn check(name: &str, language: Language) {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    let expected = page::page(language);
    if std::env::var_os("POSP_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let place = found.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
    assert!(
        found == expected,
        "docs/{name} is out of date from line {} on. This writes it anew:\n\n    \
         POSP_WRITE_DOCS=1 cargo test -p channels --test transactions\n",
        place + 1
    );
}

#[test]
fn the_english_page_is_what_the_code_does() {
    check("transactions.md", Language::English);
}

#[test]
fn the_chinese_page_is_what_the_code_does() {
    check("transactions.zh-CN.md", Language::Chinese);
}

/// The page says in words what our reversals and repeats lack: it must stay so, or the words go.
#[test]
fn what_is_not_kept_is_not_sent() {
    for spec in KINDS.iter().filter(|spec| spec.network.is_some()) {
        let lacking: &[u8] = match asked::forwarded(spec.kind) {
            Some(Forward::Reversal) => &[14, 26, 35, 52, 53, 102, 103],
            Some(Forward::Repeat) => &[26, 35, 52, 53],
            Some(Forward::Advice | Forward::Script) => &[26, 35, 52, 53],
            None => continue,
        };
        let action = asked::forwarded(spec.kind).unwrap();
        for tries in [0, 1] {
            let message = asked::forward(spec.kind, action, tries);
            let all = message.always.iter().chain(&message.sometimes);
            let found: Vec<&u8> = all.filter(|field| lacking.contains(field)).collect();
            assert!(found.is_empty(), "{}: {action:?} has {found:?}", spec.code);
        }
    }
}

/// And what is kept is sent again: 48 of a plan and 55 of a chip in a reversal, 14 and 55 in a repeat.
#[test]
fn what_is_kept_is_sent_again() {
    let mut seen = [0; 4];
    for spec in KINDS.iter() {
        let Some(form) = spec.network else { continue };
        let Some(action @ (Forward::Reversal | Forward::Repeat)) = asked::forwarded(spec.kind) else {
            continue;
        };
        let message = asked::forward(spec.kind, action, 1);
        let has = |field: u8| message.always.contains(&field) || message.sometimes.contains(&field);
        let reversal = action == Forward::Reversal;
        for (at, (told, again)) in [
            (reversal && form.plan_tag.is_some(), has(48)),
            (reversal && spec.mandatory.has(55), message.always.contains(&55)),
            (!reversal, has(14)),
            (!reversal, has(55)),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(!told || again, "{}: {action:?}, {at}", spec.code);
            seen[at] += u32::from(told);
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}
