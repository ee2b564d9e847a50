//! Every input that a fuzz run kept goes through its parser again: what was once a new path, or a finding, stays
//! tested without a fuzzer. The demands are those of the fuzz targets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../../../fuzz/fuzz_targets/exercises.rs"]
mod exercises;

/// Most bytes of a kept corpus: it is cloned with the repository and runs with every test.
const CORPUS_MAX: u64 = 2 * 1024 * 1024;

fn replay(target: &str, exercise: fn(&[u8])) {
    let path = format!("{}/../../fuzz/corpus/{target}.hex", env!("CARGO_MANIFEST_DIR"));
    let inputs = std::fs::read_to_string(&path).unwrap();
    assert!(inputs.lines().count() > 0, "{path} is empty");
    for line in inputs.lines() {
        exercise(&hex::decode(line).expect("a line of hexadecimal digits"));
    }
}

#[test]
fn frames() {
    replay("frame", exercises::frame);
}

#[test]
fn messages() {
    replay("message", exercises::message);
}

#[test]
fn tlv() {
    replay("tlv", exercises::tlv);
}

#[test]
fn subfields() {
    replay("subfields", exercises::subfields);
}

#[test]
fn cups() {
    replay("cups", exercises::cups);
}

#[test]
fn text() {
    replay("text", exercises::text);
}

#[test]
fn the_corpus_is_small() {
    let folder = format!("{}/../../fuzz/corpus", env!("CARGO_MANIFEST_DIR"));
    let bytes: u64 =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < CORPUS_MAX, "{bytes} bytes");
}
