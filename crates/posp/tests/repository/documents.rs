//! Documents that must stay true: code map, settings, metrics, ports, links, both READMEs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::checkout::{Text, all_files, crates, read, root, settle, sources};

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

/// Where settings are declared.
const CONFIG: [&str; 2] = ["crates/posp/src/config.rs", "crates/posp/src/config/front.rs"];

/// The settings that the program declares, as `section.key`, in its order.
fn settings() -> Vec<String> {
    let sources = CONFIG.map(read);
    let mut structs: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut current = None;
    for (_, line) in sources.iter().flat_map(|source| source.shipped()) {
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
        // A table by names of the operator's choice: its keys are the switches, documented in docs/dialects.md.
        if kind.starts_with("BTreeMap<") {
            continue;
        }
        let (section, kind) = match kind.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
            Some(kind) => (&format!("{section}[]"), kind),
            None => (section, kind.as_str()),
        };
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
        // What there may be several of has no variable.
        if !section.ends_with("[]") && !text.contains(&variable) {
            broken.push(format!("docs/configuration.md does not name {variable}"));
        }
        let section = section.trim_end_matches("[]");
        let in_section = example.replace("\n# [[", "\n[[").split("\n[").any(|part| {
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
    let declared = CONFIG.map(|file| read(file).content).concat();
    let mut defaults = ports_in(&declared);
    for (at, marker) in declared.match_indices("([127, 0, 0, 1], ") {
        let rest = &declared[at + marker.len()..];
        defaults.insert(rest.chars().take_while(char::is_ascii_digit).collect());
    }
    assert!(defaults.len() >= 4, "config.rs is no longer written the way this test reads it");
    // The pages of the simulator and of the smart terminals are no settings of the product, but defaults of commands.
    let commands = sources("posp").into_iter().filter(|file| file.path.ends_with("src/smart.rs"));
    let simulated: String = sources("sim").into_iter().chain(commands).map(|file| file.content).collect();
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
            // Paths in code style, as in `crates/…/profile.rs`, are links too.
            for target in line.split('`').skip(1).step_by(2) {
                let ours =
                    ["crates/", "scripts/", "docs/", "tests/", "fuzz/"].iter().any(|p| target.starts_with(p));
                let plain = !target.contains([' ', '*', '<', '{', '…']);
                if ours && plain && !root().join(target.split(':').next().unwrap()).exists() {
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

#[test]
fn the_terminal_guide_shows_the_transaction_table() {
    let guide = read("docs/terminal-guide.md");
    let mut broken = Vec::new();
    for spec in acquiring::kind::KINDS {
        let fields: Vec<String> = spec.mandatory.iter().map(|field| field.to_string()).collect();
        let named = format!("| {} ", spec.en);
        let wanted = format!("| {} |", fields.join(" "));
        if !guide.lines().any(|(_, line)| line.starts_with(&named) && line.ends_with(&wanted)) {
            broken.push(format!("no line `{named}… {wanted}`"));
        }
    }
    settle(
        "docs/terminal-guide.md names the mandatory fields of each transaction as the table in code has them",
        "a terminal is programmed after the guide and judged by the table",
        broken,
    );
}
