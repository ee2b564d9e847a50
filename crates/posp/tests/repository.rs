//! The repository reads itself: the rules of the house that no compiler checks, each with its reason.
//!
//! A rule that is only written down is forgotten in a year. Here each one is a test that walks the checkout
//! and names file, line and reason when something breaks it. Nothing but the standard library is used, and
//! what is forbidden is spelled in pieces, so that this file does not break its own rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a Rust source may have: what does not fit is two things.
const LINES_MAX: usize = 800;

// ---------------------------------------------------------------------------------------------------------
// Reading the checkout

/// A text file of the checkout.
struct Text {
    /// Path from the root, with `/`.
    path: String,
    content: String,
}

impl Text {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The lines of code that ship: without comment lines and without what follows `#[cfg(test)]`, which
    /// stands last in a file of this repository.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> Text {
    let content = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Text { path: path.to_owned(), content }
}

/// Every text file that belongs to the repository: no build output, no data, no licence text, no lock file.
fn all_files() -> Vec<Text> {
    const SKIPPED: &[&str] = &[".git", "target", "var", "corpus", "artifacts", "__pycache__"];
    const TEXT: &[&str] = &[
        "rs", "toml", "md", "py", "sh", "sql", "txt", "json", "html", "css", "js", "yml", "yaml", "pos", "",
    ];
    const NOT_OURS: &[&str] = &["LICENSE"];
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) && !path.join("CACHEDIR.TAG").exists() {
                    open.push(path);
                }
                continue;
            }
            let extension = path.extension().map_or("", |e| e.to_str().unwrap_or("?"));
            if !TEXT.contains(&extension) || NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            let Ok(content) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Text { path, content });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 30, "the walk found almost nothing: is the checkout complete?");
    found
}

fn rust_files() -> Vec<Text> {
    all_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Rust sources under `crates/<name>/src`.
fn sources(name: &str) -> Vec<Text> {
    let prefix = format!("crates/{name}/src/");
    rust_files().into_iter().filter(|file| file.path.starts_with(&prefix)).collect()
}

/// Names of the folders under `crates/`, which are the names of the crates.
fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Fails with the reason of the rule and everything that breaks it.
fn settle(rule: &str, reason: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{rule}\nbecause {reason}:\n  {}\n", broken.join("\n  "));
}

/// The text holds this word, not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !joins(text[..at].chars().next_back()) && !joins(text[at + word.len()..].chars().next())
    })
}

// ---------------------------------------------------------------------------------------------------------
// Shape of the sources

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
            // A pause inside a polling loop with a deadline says so where it stands.
            let said = lines[at.saturating_sub(2)..=at].iter().any(|l| l.contains("poll"));
            if sleeps.iter().any(|s| line.contains(s)) && !said {
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

// ---------------------------------------------------------------------------------------------------------
// Words

#[test]
fn the_project_speaks_of_itself_alone() {
    // Tools and people who wrote it, machines it was written on, hosts it was built from.
    let words = [
        concat!("Cla", "ude"),
        concat!("Anth", "ropic"),
        concat!("OpenA", "I"),
        concat!("Chat", "GPT"),
        concat!("Cop", "ilot"),
        concat!("L", "LM"),
        concat!("A", "I"),
        concat!("language ", "model"),
        concat!("sub", "agent"),
        concat!("Co-authored", "-by"),
        concat!("this ", "session's"),
        concat!("work", "place"),
    ];
    let parts = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/opt/", "wheels"),
        concat!("index.cra", "tes.io"),
        concat!("static.cra", "tes.io"),
        concat!("py", "pi.org"),
        concat!("python", "hosted.org"),
        concat!("npm", "js.org"),
        concat!("deb.deb", "ian.org"),
        concat!("proxy.go", "lang.org"),
    ];
    let mut broken = Vec::new();
    for file in all_files() {
        for (at, line) in file.lines() {
            for word in words.iter().filter(|word| has_word(line, word)) {
                broken.push(format!("{}: the word {word}", file.at(at)));
            }
            for part in parts.iter().filter(|part| line.contains(**part)) {
                broken.push(format!("{}: {part}", file.at(at)));
            }
        }
    }
    settle(
        "no author's tool, no machine's path, no registry's host in any file",
        "the sources must mean the same on every machine and to every reader",
        broken,
    );
}

#[test]
fn money_is_never_a_float() {
    let mut broken = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.contains("/src/")) {
        let about_money =
            ["Amount", "amount", "fen", "yuan"].iter().any(|word| has_word(&file.content, word));
        for (at, line) in file.shipped().filter(|_| about_money) {
            // Gauges and histograms take floats; nothing else has a use for them.
            let metric = line.contains("metrics::") || line.contains(".set(") || line.contains(".record(");
            if (has_word(line, "f32") || has_word(line, "f64")) && !metric {
                broken.push(format!("{}: {}", file.at(at), line.trim()));
            }
        }
    }
    settle(
        "no floating-point type in a file that speaks of money, but for the metrics",
        "money is whole fen; a float that is one fen off is found by the merchant",
        broken,
    );
}

// ---------------------------------------------------------------------------------------------------------
// Who may know whom

/// What each crate may use of ours. The arrows point one way: doors to engine to channels.
fn may_use(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "iso8583" | "hsm" | "acquiring" => &[],
        "store" => &["acquiring"],
        "channels" => &["acquiring", "iso8583", "hsm"],
        "engine" => &["acquiring", "store", "hsm", "channels"],
        "pos-link" => &["acquiring", "iso8583", "hsm", "engine"],
        "sim" | "pos" => &["iso8583", "hsm"],
        "posp" => return None,
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
    for name in ["sim", "pos"] {
        for used in dependencies(name, true).iter().filter(|used| ours.contains(used)) {
            if used != "iso8583" && used != "hsm" {
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
    for name in crates().iter().filter(|name| *name != "store") {
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
        "no crate but store names a database or writes SQL",
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

// ---------------------------------------------------------------------------------------------------------
// Documents that must stay true

#[test]
fn every_crate_is_in_the_code_map() {
    let map = read("ARCHITECTURE.md");
    let broken = crates()
        .iter()
        .filter(|name| {
            !map.content.contains(&format!("`{name}`")) && !map.content.contains(&format!("crates/{name}"))
        })
        .map(|name| format!("ARCHITECTURE.md does not speak of `{name}`"))
        .collect();
    settle("every crate has its paragraph in the code map", "a newcomer starts there", broken);
}

/// The settings that `config.rs` declares, as `section.key`, in its order.
fn settings() -> Vec<String> {
    let source = read("crates/posp/src/config.rs");
    let mut structs: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut current = None;
    for (_, line) in source.shipped() {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
            current = Some(name.to_owned());
        } else if line == "}" {
            current = None;
        } else if let (Some(name), Some(field)) = (&current, line.trim().strip_prefix("pub "))
            && let Some((key, kind)) = field.trim_end_matches(',').split_once(": ")
        {
            structs.entry(name.clone()).or_default().push((key.to_owned(), kind.to_owned()));
        }
    }
    let sections = structs.get("Config").expect("config.rs declares Config");
    let mut found = Vec::new();
    for (section, kind) in sections {
        let keys = structs.get(kind).unwrap_or_else(|| panic!("config.rs declares no struct {kind}"));
        found.extend(keys.iter().map(|(key, _)| format!("{section}.{key}")));
    }
    assert!(found.len() > 15, "config.rs is no longer written the way this test reads it");
    found
}

/// First column of the tables in docs/configuration.md: `section.key`.
fn documented_settings() -> Vec<String> {
    let text = read("docs/configuration.md");
    text.lines()
        .filter_map(|(_, line)| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key.to_owned()))
        .filter(|key| key.contains('.'))
        .collect()
}

#[test]
fn every_setting_is_documented() {
    let (declared, documented) = (settings(), documented_settings());
    let text = read("docs/configuration.md").content;
    let example = read("posp.example.toml").content;
    let mut broken = Vec::new();
    for setting in &declared {
        let (section, key) = setting.split_once('.').unwrap();
        if !documented.contains(setting) {
            broken.push(format!("docs/configuration.md has no line for `{setting}`"));
        }
        let variable = format!("`POSP_{}__{}`", section.to_uppercase(), key.to_uppercase());
        if !text.contains(&variable) {
            broken.push(format!("docs/configuration.md does not name {variable}"));
        }
        let in_section = example.split("\n[").any(|part| {
            part.trim_start_matches('[').starts_with(&format!("{section}]"))
                && part.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")))
        });
        if !in_section {
            broken.push(format!("posp.example.toml has no `{key}` under [{section}]"));
        }
    }
    for setting in documented.iter().filter(|setting| !declared.contains(setting)) {
        broken.push(format!("docs/configuration.md speaks of `{setting}`, which does not exist"));
    }
    settle(
        "every setting is in the documents, and no other",
        "a setting nobody can find does not exist",
        broken,
    );
}

/// Words of the form `posp_…` that are metric names in the sources.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| word.starts_with("posp_") && word.len() > "posp_".len())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_is_documented() {
    let mut counted = BTreeSet::new();
    for name in crates() {
        for file in sources(&name) {
            for (_, line) in file.shipped() {
                // A metric's name is the whole of a string literal.
                let literals = line.split('"').skip(1).step_by(2).filter(|text| text.starts_with("posp_"));
                counted.extend(literals.flat_map(metrics_in));
            }
        }
    }
    let documented: BTreeSet<String> = read("docs/operations.md")
        .lines()
        .filter(|(_, line)| line.starts_with("| `posp_"))
        .flat_map(|(_, line)| metrics_in(line.split('|').nth(1).unwrap_or_default()))
        .collect();
    let mut broken: Vec<String> =
        counted.difference(&documented).map(|name| format!("{name} is counted but not documented")).collect();
    broken
        .extend(documented.difference(&counted).map(|name| format!("{name} is documented but not counted")));
    settle(
        "docs/operations.md lists every metric",
        "an alarm is built on the name that stands there",
        broken,
    );
}

#[test]
fn both_readmes_tell_the_same() {
    let shape = |text: &Text| {
        let (mut headings, mut commands, mut fenced) = (Vec::new(), Vec::new(), false);
        for (_, line) in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            } else if fenced {
                let starts = ["cargo ", "posp ", "scripts/", "target/", "curl ", "export ", "alias ", "git "];
                if starts.iter().any(|start| line.starts_with(start)) {
                    commands.push(line.split(" #").next().unwrap().trim_end().to_owned());
                }
            } else if line.starts_with('#') {
                headings.push(line.chars().take_while(|c| *c == '#').count());
            }
        }
        (headings, commands)
    };
    let (english, chinese) = (shape(&read("README.md")), shape(&read("README.zh-CN.md")));
    assert!(english.1.len() > 3, "README.md shows almost no command");
    let mut broken = Vec::new();
    if english.0 != chinese.0 {
        broken.push(format!("headings differ: {:?} and {:?}", english.0, chinese.0));
    }
    if english.1 != chinese.1 {
        broken.push(format!("commands differ: {:#?} and {:#?}", english.1, chinese.1));
    }
    settle(
        "README.md and README.zh-CN.md have the same shape",
        "one of them is half the readers' only one",
        broken,
    );
}

/// Numbers that follow a colon as ports do: `127.0.0.1:8583`, `localhost:8580`.
fn ports_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for host in ["127.0.0.1:", "localhost:", "0.0.0.0:"] {
        for (at, _) in text.match_indices(host) {
            let rest = &text[at + host.len()..];
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if digits.len() >= 4 {
                found.insert(digits);
            }
        }
    }
    found
}

#[test]
fn documents_name_the_ports_of_the_defaults() {
    let declared = read("crates/posp/src/config.rs").content;
    let mut defaults = ports_in(&declared);
    for (at, marker) in declared.match_indices("([127, 0, 0, 1], ") {
        let rest = &declared[at + marker.len()..];
        defaults.insert(rest.chars().take_while(char::is_ascii_digit).collect());
    }
    assert!(defaults.len() >= 4, "config.rs is no longer written the way this test reads it");
    // The simulator's own page is not a setting of the product.
    let simulated: String = sources("sim").iter().map(|file| file.content.clone()).collect();
    let mut broken = Vec::new();
    for name in [
        "README.md",
        "README.zh-CN.md",
        "docs/configuration.md",
        "docs/operations.md",
        "docs/terminal-guide.md",
    ] {
        let text = read(name).content;
        for port in ports_in(&text).difference(&defaults) {
            if !simulated.contains(port.as_str()) {
                broken.push(format!("{name} speaks of port {port}, which is no default"));
            }
        }
        if name.starts_with("README") {
            for port in defaults.iter().filter(|port| !text.contains(port.as_str())) {
                broken.push(format!("{name} does not name port {port}"));
            }
        }
    }
    settle(
        "the documents name the ports that the program takes",
        "the first try of a newcomer must work",
        broken,
    );
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in all_files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for (at, line) in file.lines() {
            for (start, _) in line.match_indices("](") {
                let target = line[start + 2..].split([')', '#', ' ']).next().unwrap_or_default();
                let outside = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
                if !outside && !folder.join(target).exists() {
                    broken.push(format!("{}: {target}", file.at(at)));
                }
            }
        }
    }
    settle("every link between documents leads to a file", "a dead link ends the reading", broken);
}

#[test]
fn scripts_can_be_run_and_stop_at_the_first_fault() {
    let mut broken = Vec::new();
    for file in all_files().iter().filter(|f| f.path.starts_with("scripts/") || f.path.starts_with(".ci/")) {
        let Some(first) = file.content.lines().next().filter(|line| line.starts_with("#!")) else { continue };
        if first.contains("bash") && !file.content.contains("\nset -euo pipefail\n") {
            broken.push(format!("{} does not `set -euo pipefail`", file.path));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if fs::metadata(root().join(&file.path)).unwrap().permissions().mode() & 0o111 == 0 {
                broken.push(format!("{} is not executable", file.path));
            }
        }
    }
    settle(
        "a script runs as it is and stops at its first failed command",
        "a test that goes on is no test",
        broken,
    );
}

// ---------------------------------------------------------------------------------------------------------
// Commands that the documents show

/// Runs the binary; what it printed, when it went well.
fn posp(arguments: &[&str]) -> Result<String, String> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posp"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POSP_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Names under `Commands:` of a help text.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

#[test]
fn every_command_in_the_documents_exists() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut help_of = |path: &[String]| -> String {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        helps.entry(path.to_vec()).or_insert_with(|| posp(&arguments).unwrap()).clone()
    };
    let mut broken = Vec::new();
    let mut seen = 0;
    for file in all_files().iter().filter(|file| file.path.ends_with(".md")) {
        let mut fenced = false;
        for (at, line) in file.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            }
            let Some(shown) = line.strip_prefix("posp ").filter(|_| fenced) else { continue };
            seen += 1;
            let words: Vec<&str> = shown.split(" #").next().unwrap().split_whitespace().collect();
            let mut path: Vec<String> = Vec::new();
            let mut help = help_of(&path);
            for word in words.iter().filter(|word| !word.starts_with('-')) {
                let known = subcommands(&help);
                if known.is_empty() {
                    break;
                }
                if !known.iter().any(|name| name == word) {
                    broken.push(format!("{}: `posp {}` has no command {word}", file.at(at), path.join(" ")));
                    break;
                }
                path.push((*word).to_owned());
                help = help_of(&path);
            }
            for word in words.iter().filter(|word| word.starts_with("--")) {
                let flag = word.split('=').next().unwrap();
                if !has_word(&help, flag) {
                    broken.push(format!("{}: `posp {}` has no {flag}", file.at(at), path.join(" ")));
                }
            }
        }
    }
    assert!(seen > 10, "the documents show almost no command");
    settle("every command that a document shows exists", "what is copied from a document must run", broken);
}

#[test]
fn the_example_configuration_holds_the_defaults() {
    let example = root().join("posp.example.toml");
    let read = posp(&["config", "--config", example.to_str().unwrap()]).unwrap();
    let defaults = posp(&["config", "--defaults"]).unwrap();
    assert_eq!(read, defaults, "posp.example.toml must show the defaults that the program has");
}
