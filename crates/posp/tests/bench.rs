#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
//! `posp bench` end to end, small: mixed transactions with faults on long and short connections, node and network as
//! processes. Why: a load generator whose checks are never run proves nothing by its figures, and here three books
//! are compared that no other test compares at once: terminals, journal and network.

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> (bool, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let (stage, json, svg) = (dir.path().join("stage"), dir.path().join("r.json"), dir.path().join("r.svg"));
    let output = Command::new(env!("CARGO_BIN_EXE_posp"))
        .args(["bench", "--warm-up", "1", "--seconds", "2", "--terminals", "30", "--dir"])
        .arg(&stage)
        .arg("--json")
        .arg(&json)
        .arg("--svg")
        .arg(&svg)
        .args(arguments)
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read(&json).unwrap_or_else(|error| panic!("no report ({error}):\n{said}"));
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("p99"), "{picture}");
    (output.status.success(), serde_json::from_slice(&report).unwrap(), said)
}

#[test]
fn a_small_mixed_load_with_faults_keeps_three_books_equal() {
    let mix = "sale=70,balance=10,void=10,refund=10";
    let (good, report, said) =
        bench(&["--rate", "120", "--mix", mix, "--faults", "6", "--connections", "mixed"]);
    assert!(good, "{said}");
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 7 && checks.iter().all(|check| check["holds"] == true), "{said}");
    let codes = report["codes"].as_array().unwrap();
    let count = |kind: &str| -> u64 {
        codes.iter().filter(|line| line[0] == kind).map(|line| line[2].as_u64().unwrap()).sum()
    };
    // Each kind was really there, and what was answered 68 was reversed.
    for kind in ["sale", "balance", "void", "refund", "reversal"] {
        assert!(count(kind) > 0, "no {kind}: {said}");
    }
    // Nothing of the schedule is forgotten, also on a machine that does not keep up with it.
    let (timed, unsent) = (&report["latency"]["count"], &report["unsent"]);
    assert_eq!(timed.as_u64().unwrap() + unsent.as_u64().unwrap(), 240, "{said}");
}

/// What cannot be measured is no success.
#[test]
fn a_load_without_its_terminals_is_no_success() {
    let output = Command::new(env!("CARGO_BIN_EXE_posp"))
        .args(["bench", "--target", "127.0.0.1:9", "--enrolled", "no-such-file.json"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("No such file"), "{output:?}");
}
