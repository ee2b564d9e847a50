//! The suite on the virtual device: every check of it runs, and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::io::Cursor;

use common::VirtualFixture;
use hal::{DeviceKind, ErrorKind, VendorTable};
use hal_suite::{Deed, Hands, Person, VendorCodes, Verdict};

/// Nothing fails. Skipped are two checks for which the virtual device has no subject: it has every camera, and
/// no vendor's codes.
#[test]
fn the_virtual_device_conforms() {
    let report = VirtualFixture::new().run();
    assert!(report.is_good(), "{}", report.to_text());
    let skipped: Vec<_> = report.rows.iter().filter(|row| row.verdict == Verdict::Skipped).collect();
    assert_eq!(skipped.len(), 2, "{}", report.to_text());
    assert!(skipped.iter().all(|row| !row.detail.is_empty()));
    assert!(!report.is_complete());
    // Every family of the field reference is there with a check that ran.
    for family in hal_suite::families() {
        let ran = report.rows.iter().any(|row| row.family == family && row.verdict == Verdict::Passed);
        assert!(ran || family == "vendor codes", "{family}\n{}", report.to_text());
    }
}

/// The report says the same to people and to machines.
#[test]
fn the_report_is_a_table_and_json() {
    let mut fixture = VirtualFixture::new();
    let table = VendorTable { device: DeviceKind::Printer, rows: &[(0xF0, ErrorKind::NoPaper, "paper out")] };
    fixture.codes =
        vec![VendorCodes { source: "printer manual".to_owned(), table, documented: vec![0xF0, 0xF7] }];
    let report = fixture.run();
    let name = "every documented code has a kind: printer manual";
    assert_eq!(report.verdict("vendor codes", name), Some(Verdict::Failed));
    let text = report.to_text();
    assert!(text.contains("FAILED") && text.contains("without a kind: 0xf7"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["subject"], "the virtual device");
    assert_eq!(json["rows"].as_array().unwrap().len(), report.rows.len());
    let failed = json["rows"].as_array().unwrap().iter().filter(|row| row["verdict"] == "failed").count();
    assert_eq!((failed, report.count(Verdict::Failed)), (1, 1), "{text}");
}

/// A person is asked in a sentence; return is yes, a text is why not, and silence is nobody.
#[test]
fn a_person_is_asked() {
    let mut asked = Vec::new();
    {
        let person = Person::new(Cursor::new("\nthe roll is stuck\n"), &mut asked);
        assert!(person.do_it(Deed::PaperOut).is_ok());
        assert_eq!(person.do_it(Deed::PaperIn).unwrap_err().to_string(), "the roll is stuck");
        assert_eq!(person.do_it(Deed::Cool).unwrap_err().to_string(), "nobody is there");
    }
    let asked = String::from_utf8(asked).unwrap();
    assert!(asked.starts_with("Please take the paper out, then press return"));
}
