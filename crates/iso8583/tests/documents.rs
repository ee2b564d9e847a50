//! docs/dialects.md is printed from the tables that the codec runs on, so it cannot say anything else.
//! `POSP_WRITE_DOCS=1 cargo test -p iso8583 --test documents` writes it anew after a line was changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fmt::Write;

use iso8583::dialect::{Coding, Dialect, Fact, FieldSpec, Format, Justify, Length, SWITCHES, Scope, Show};
use iso8583::subfield::COMPOSITE_60;
use iso8583::{CUP_POS, CUPS};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dialects.md");

const HEAD: &str = "\
# The dialects, field by field

Printed from the tables in `crates/iso8583/src/dialect/cup_pos.rs` and `crates/iso8583/src/dialect/cups.rs`; do not
edit by hand. A message with a field that is not listed is refused with the field's number.

How to read a format: `n` decimal digits, `z` track data, `x+n` sign and digits, `an` letters, digits and space,
`ans` printable ASCII, `text` the same or GBK, `b` any bytes. `..19 LL` is a variable length of at most 19 with two
digits of length in front; lengths count digits for `n` and `z`, bytes for the others.

Shown: what a masked copy, a log and a page may hold of the field. Card numbers keep the first six and last four
digits, tracks the first six; so does any number of 13 digits or more in free text. What is *hidden* is overwritten with zeros. *By content* means that a private field is
shown in the uses whose layout is known to be harmless, and hidden in all others.

Facts marked *modelled* in the code are this project's reading where public sources are silent: the maxima of vendor
and private fields, where an SM4 PIN travels, the alphabet of the network's MAC text. They are lines of these tables or
switches of the profile.

";

const PROFILE: &str = "
## Switches of a profile

Acquirers and terminal families differ; a profile sets switches, never code. Printed from the table
`crates/iso8583/src/dialect/switches.rs`; [Profiles](profiles.md) tells how they are chosen. The baseline's value stands
first. *Listener*: it must be known before a message can be read, so only a listener's profile chooses it. *Merchant*: a
merchant's own profile may choose it too.

| switch | 名称 | values | chosen by | meaning |
|---|---|---|---|---|
";

const AFTER: &str = "
Any filler nibble after left-justified digits is accepted on receipt; the one before right-justified digits must be 0.
";

fn switches() -> String {
    let mut rows = String::new();
    for switch in SWITCHES {
        let scope = match switch.scope {
            Scope::Listener => "listener",
            Scope::Merchant => "merchant",
        };
        let modelled = match switch.fact {
            Fact::Seen => "",
            Fact::Modelled => " **Modelled.**",
        };
        writeln!(
            rows,
            "| `{}` | {} | {} | {scope} | {}{modelled} |",
            switch.name, switch.zh, switch.values, switch.en
        )
        .unwrap();
    }
    rows
}

fn format(spec: &FieldSpec, dialect: &Dialect) -> String {
    let kind = match spec.format {
        Format::N => "n",
        Format::Z => "z",
        Format::Xn => "x+n",
        Format::An => "an",
        Format::Ans => "ans",
        Format::Text => "text",
        Format::B => "b",
    };
    let length = match spec.length {
        Length::Fixed(len) => format!(" {len}"),
        Length::Ll(max) => format!("..{max} LL"),
        Length::Lll(max) => format!("..{max} LLL"),
    };
    let packed = dialect.name() == "cup-pos-1" && spec.coding == Coding::Bcd;
    let side = match spec.justify {
        Justify::Right if packed => ", right",
        _ => "",
    };
    format!("{kind}{length}{side}")
}

const fn shown(show: Show) -> &'static str {
    match show {
        Show::Plain | Show::Amount | Show::Time | Show::Date | Show::DateTime | Show::Expiry => "all",
        Show::Pan | Show::Account => "first 6, last 4",
        Show::Track => "first 6",
        Show::Secret => "hidden",
        Show::Chip => "all but card data",
        Show::Nested => "by content",
        Show::Free => "all but long numbers",
    }
}

fn table(out: &mut String, dialect: &Dialect) {
    out.push_str("| field | 名称 | name | format | shown |\n|---|---|---|---|---|\n");
    for spec in dialect.specs() {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            spec.number,
            spec.name_zh,
            spec.name_en,
            format(spec, dialect),
            shown(spec.show)
        )
        .unwrap();
    }
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "## Terminal dialect `cup-pos-1`\n\nFrame: length 2 bytes binary, TPDU 5, header 6, message. ",
    );
    out.push_str("Message type 2 bytes packed, bitmap 8 bytes, digits and length prefixes packed.\n\n");
    table(&mut out, &CUP_POS);
    out.push_str(PROFILE);
    out.push_str(&switches());
    out.push_str(AFTER);
    out.push_str("\n## Network dialect `cups`\n\nFrame: length 4 ASCII digits, header 46, message; `0000` alone is the ");
    out.push_str(
        "heartbeat. Message type 4 ASCII digits, bitmap 16 bytes, digits and length prefixes ASCII.\n\n",
    );
    table(&mut out, &CUPS);
    out.push_str("\n### Network field 60\n\n| sub-field | characters | 名称 | name |\n|---|---|---|---|\n");
    for (number, len, zh, en) in COMPOSITE_60 {
        writeln!(out, "| {number} | {len} | {zh} | {en} |").unwrap();
    }
    out
}

#[test]
fn the_document_is_printed_from_the_tables() {
    let expected = document();
    if std::env::var_os("POSP_WRITE_DOCS").is_some() {
        std::fs::write(PATH, &expected).unwrap();
    }
    let found = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(found == expected, "docs/dialects.md is out of date; see the head of this test");
}
