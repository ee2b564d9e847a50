//! docs/pay.v1.md and docs/pay.v1.schema.json are printed from the types. They cannot say anything else.
//!
//! `POSP_WRITE_DOCS=1 cargo test -p pay --test documents` writes both anew after a field was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

fn check(name: &str, expected: &str) {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("POSP_WRITE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let place = found.lines().zip(expected.lines()).position(|(a, b)| a != b).unwrap_or(0);
    assert!(
        found == expected,
        "docs/{name} is out of date from line {} on. This writes it anew:\n\n    \
         POSP_WRITE_DOCS=1 cargo test -p pay --test documents\n",
        place + 1
    );
}

#[test]
fn the_reference_page_is_what_the_types_are() {
    let page = pay::docs::page();
    check("pay.v1.md", &page);
    for row in &pay::KINDS {
        assert!(page.contains(&format!("| `{}` |", row.name)), "{}", row.name);
    }
    let empty = |line: &str, column| line.split('|').nth(column).is_some_and(|cell| cell.trim().is_empty());
    let untyped = page.lines().find(|line| line.starts_with("| `") && empty(line, 2));
    assert_eq!(untyped, None, "a field without a type");
    let meaningless = page.lines().find(|line| line.starts_with("| `") && line.ends_with("|  |"));
    assert_eq!(meaningless, None, "a field without a meaning");
}

#[test]
fn the_schema_is_what_the_types_are() {
    let schema = serde_json::to_string_pretty(&pay::docs::schema()).unwrap();
    check("pay.v1.schema.json", &format!("{schema}\n"));
}
