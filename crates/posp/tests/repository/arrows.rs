//! Who may know whom: the arrows between the crates.

use crate::checkout::{crates, has_word, read, settle, sources};

/// What each crate may use of ours. The arrows point one way: doors to engine to channels.
fn may_use(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "iso8583" | "hsm" | "acquiring" | "gate" | "jbig" | "readerlink" | "receipt" => &[],
        "store" => &["acquiring"],
        "channels" => &["acquiring", "iso8583", "hsm"],
        "engine" => &["acquiring", "store", "hsm", "channels"],
        "pos-link" => &["acquiring", "iso8583", "hsm", "engine", "gate"],
        "pay" => &["receipt"],
        "front" => &["iso8583", "gate"],
        "sim" | "bench" | "cardsim" | "kernel" => &["iso8583", "hsm"],
        "pos" => &["iso8583", "hsm", "receipt"],
        "app" => &["iso8583", "hsm", "jbig", "kernel", "hal", "pay", "pos", "receipt"],
        "terminal" => &[
            "iso8583",
            "hsm",
            "kernel",
            "hal",
            "hal-virtual",
            "cardsim",
            "mpos",
            "pay",
            "pos",
            "receipt",
            "app",
        ],
        "mpos" => &["iso8583", "hsm", "kernel", "hal", "readerlink"],
        "hal" => &["hsm", "kernel", "receipt"],
        "hal-virtual" => &["hal", "hsm", "kernel", "receipt"],
        "hal-suite" => &["hal", "hsm", "receipt"],
        "hal-pc" => &["hal", "hal-virtual", "receipt"],
        "posp" | "simulation" => return None,
        _ => &[],
    })
}

/// Names in the dependency sections of a crate's manifest; those for tests only when asked.
fn dependencies(name: &str, with_tests: bool) -> Vec<String> {
    let manifest = read(&format!("crates/{name}/Cargo.toml"));
    let mut section = String::new();
    let mut names = Vec::new();
    for (_, line) in manifest.lines() {
        if let Some(header) = line.trim().strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            continue;
        }
        let counts = section == "dependencies"
            || section == "build-dependencies"
            || (with_tests && section == "dev-dependencies");
        if counts && let Some((left, _)) = line.split_once('=') {
            names.push(left.trim().trim_end_matches(".workspace").to_owned());
        }
    }
    names
}

#[test]
fn the_arrows_between_crates_point_one_way() {
    let ours = crates();
    let mut broken = Vec::new();
    for name in &ours {
        let Some(allowed) = may_use(name) else { continue };
        for used in dependencies(name, false).iter().filter(|used| ours.contains(used)) {
            if !allowed.contains(&used.as_str()) {
                broken.push(format!("{name} uses {used}; it may use {allowed:?}"));
            }
        }
    }
    settle(
        "a crate uses only what the code map of ARCHITECTURE.md lets it use",
        "a door that reaches around the engine skips a check that moves money",
        broken,
    );
}

#[test]
fn simulators_owe_the_product_nothing() {
    let ours = crates();
    let mut broken = Vec::new();
    // Paper is the terminal's side too: the product's host prints nothing.
    for name in ["sim", "pos", "cardsim"] {
        for used in dependencies(name, true).iter().filter(|used| ours.contains(used)) {
            if used != "iso8583" && used != "hsm" && !(name == "pos" && used == "receipt") {
                broken.push(format!("{name} depends on {used}, if only in its tests"));
            }
        }
        for file in sources(name) {
            for (at, line) in file.lines() {
                for product in ["acquiring::", "channels::", "engine::", "pos_link::", "store::"] {
                    if line.trim_start().trim_start_matches("pub ").starts_with(&format!("use {product}")) {
                        broken.push(format!("{}: {product}", file.at(at)));
                    }
                }
            }
        }
    }
    settle(
        "the simulated network and the software terminal know the product by its messages alone",
        "a shared rule would be wrong on both sides at once, and every test would still pass",
        broken,
    );
}

#[test]
fn only_the_store_knows_sql() {
    let statements =
        ["INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "SELECT COUNT(", "SELECT * ", "PRAGMA "];
    let mut broken = Vec::new();
    // The simulation's auditor reads the rows past the code that it judges.
    for name in crates().iter().filter(|name| !["store", "simulation"].contains(&name.as_str())) {
        if dependencies(name, false).iter().any(|used| used.contains("sqlite") || used.contains("postgres")) {
            broken.push(format!("crates/{name}/Cargo.toml depends on a database"));
        }
        for file in sources(name) {
            for (at, line) in file.shipped() {
                if has_word(line, "rusqlite") || statements.iter().any(|s| line.contains(s)) {
                    broken.push(format!("{}: {}", file.at(at), line.trim()));
                }
            }
        }
    }
    settle(
        "no crate but store (and the simulation's auditor) names a database or writes SQL",
        "another engine comes behind the same operations, and nothing above may notice",
        broken,
    );
}

#[test]
fn the_engine_knows_no_network_and_no_dialect() {
    let mut broken = Vec::new();
    for file in sources("engine") {
        for (at, line) in file.shipped() {
            for name in ["unionpay_card", "UnionPayCard", "iso8583::", "pos_link"] {
                if line.contains(name) {
                    broken.push(format!("{}: {name}", file.at(at)));
                }
            }
        }
    }
    settle(
        "the engine sees networks through the channel trait and doors through its own request types",
        "one engine serves every door and every network; a special case in it is a special case for all",
        broken,
    );
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut broken = Vec::new();
    for name in crates() {
        let manifest = read(&format!("crates/{name}/Cargo.toml"));
        for wanted in ["[lints]\nworkspace = true", "license.workspace = true", "publish.workspace = true"] {
            if !manifest.content.contains(wanted) {
                broken.push(format!("{} lacks `{}`", manifest.path, wanted.replace('\n', " ")));
            }
        }
    }
    settle(
        "every crate has the house's lints and licence",
        "one crate without them is where it starts",
        broken,
    );
}
