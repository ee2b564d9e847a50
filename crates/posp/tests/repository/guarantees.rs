//! The index of the guarantees: every guarantee is proven by tests that exist, and the tests named after one are listed.

use std::collections::BTreeSet;

use crate::checkout::{has_word, read, rust_files, settle};

/// Guarantee, test and file of each line of the index.
fn index() -> Vec<(String, String, String)> {
    let mut current = String::new();
    let mut found = Vec::new();
    for line in read("docs/guarantees.md").content.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            name.clone_into(&mut current);
        } else if let Some((test, file)) = line.strip_prefix("- `").and_then(|rest| rest.split_once("` in `"))
        {
            found.push((current.clone(), test.to_owned(), file.trim_end_matches('`').to_owned()));
        }
    }
    found
}

#[test]
fn every_guarantee_is_proven_by_tests_that_exist() {
    let index = index();
    let mut broken: Vec<String> = index
        .iter()
        .filter(|(_, test, file)| !has_word(&read(file).content, test))
        .map(|(guarantee, test, file)| format!("{guarantee}: {file} has no {test}"))
        .collect();
    for number in 1..=12 {
        let name = format!("G{number}");
        if !index.iter().any(|(guarantee, _, _)| *guarantee == name) {
            broken.push(format!("nothing proves {name}"));
        }
    }
    settle(
        "docs/guarantees.md names tests that are there, for G1 to G12",
        "a proof that is gone proves nothing",
        broken,
    );
}

#[test]
fn tests_named_after_a_guarantee_are_in_the_index() {
    let listed: BTreeSet<String> = index().into_iter().map(|(_, test, _)| test).collect();
    let mut broken = Vec::new();
    for file in rust_files() {
        for (at, line) in file.lines() {
            let Some((_, rest)) = line.split_once("fn g") else { continue };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let number: String = name.chars().take_while(char::is_ascii_digit).collect();
            let named =
                (1..=12).any(|n: u32| n.to_string() == number) && name.starts_with(&format!("{number}_"));
            if named && !listed.contains(&format!("g{name}")) {
                broken.push(format!("{}: g{name}", file.at(at)));
            }
        }
    }
    settle(
        "a test that is named after a guarantee is in docs/guarantees.md",
        "the index is how one finds it",
        broken,
    );
}
