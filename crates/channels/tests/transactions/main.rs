//! docs/transactions.md and its Chinese sister are printed from what the code runs on: the transaction table, the
//! state machine and the rules between a payment and its original (which are asked, not described), the table of
//! response codes, and the network messages that the mapping makes. They cannot say anything else.
//!
//! `POSP_WRITE_DOCS=1 cargo test -p channels --test transactions` writes both anew after a line was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod asked;
mod page;

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
