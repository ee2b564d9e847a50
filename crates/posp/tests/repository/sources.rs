//! Shape of the sources: size, first line, nothing dead, nothing unfinished.

use std::path::Path;

use crate::checkout::{all_files, crates, rust_files, settle, sources};

/// Lines a Rust source may have: what does not fit is two things.
const LINES_MAX: usize = 800;

#[test]
fn a_source_file_stays_under_its_limit() {
    let broken = rust_files()
        .iter()
        .filter(|file| file.content.lines().count() > LINES_MAX)
        .map(|file| format!("{} has {} lines", file.path, file.content.lines().count()))
        .collect();
    settle(
        &format!("a Rust file has at most {LINES_MAX} lines"),
        "a longer file holds more than one thing, and nobody reads it to its end",
        broken,
    );
}

#[test]
fn every_source_says_what_it_is() {
    let broken = rust_files()
        .iter()
        .filter(|file| !file.content.starts_with("//!") && !file.content.starts_with("#!["))
        .map(|file| format!("{} does not begin with //!", file.path))
        .collect();
    settle("a Rust file begins with a doc comment", "the first line is where a reader starts", broken);
}

#[test]
fn no_source_is_dead() {
    let mut broken = Vec::new();
    for name in crates() {
        let files = sources(&name);
        for file in &files {
            let stem = Path::new(&file.path).file_stem().unwrap().to_str().unwrap();
            let module = match stem {
                "lib" | "main" => continue,
                "mod" => Path::new(&file.path).parent().unwrap().file_name().unwrap().to_str().unwrap(),
                other => other,
            };
            let declared = format!("mod {module};");
            if !file.path.contains("/src/bin/") && !files.iter().any(|f| f.content.contains(&declared)) {
                broken.push(format!("{}: no file says `{declared}`", file.path));
            }
        }
    }
    settle("every source is part of its crate", "a file that nothing compiles rots and misleads", broken);
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("HA", "CK:"),
    ];
    let mut broken = Vec::new();
    for file in all_files() {
        for (at, line) in file.lines() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                broken.push(format!("{}: {mark}", file.at(at)));
            }
        }
    }
    settle("no stub, no ignored test, no note to oneself", "what is open belongs in the issues", broken);
}

#[test]
fn only_the_command_line_prints() {
    let macros = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
    let mut broken = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.contains("/src/")) {
        for (at, line) in file.shipped() {
            if macros.iter().any(|m| line.trim_start().starts_with(m) || line.contains(&format!(" {m}"))) {
                broken.push(file.at(at));
            }
        }
    }
    settle(
        "nothing prints by macro: the log goes through tracing, commands write to the writer they are given",
        "what is printed in passing escapes the masking of the log and cannot be tested",
        broken,
    );
}

#[test]
fn tests_do_not_sleep_to_wait() {
    let sleeps = [concat!("thread::", "sleep("), concat!("tokio::time::", "sleep(")];
    let mut broken = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.contains("/tests/")) {
        let lines: Vec<&str> = file.content.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            // A peer that plays slow sleeps for a time it was given. A pause inside a polling loop with a
            // deadline says so where it stands.
            let fixed = sleeps.iter().any(|s| line.contains(s)) && line.contains("from_");
            let said = lines[at.saturating_sub(3)..=at].iter().any(|l| l.contains("poll"));
            if fixed && !said {
                broken.push(format!("{}:{}", file.path, at + 1));
            }
        }
    }
    settle(
        "a test waits for the event itself, or polls with a deadline and says `poll` beside the pause",
        "a fixed sleep is too short on a busy machine and too long on every other",
        broken,
    );
}
