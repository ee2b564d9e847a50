//! Commands that the documents show, and the configuration as the binary reads it.

use std::collections::BTreeMap;

use crate::checkout::{all_files, has_word, read, root, settle};

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
            // A command may go on in the next line.
            let shown = shown.trim_end_matches('\\');
            let words: Vec<&str> = shown.split(" #").next().unwrap().split_whitespace().collect();
            let mut path: Vec<String> = Vec::new();
            let mut help = help_of(&path);
            for (word, before) in words.iter().zip([""].iter().chain(&words)) {
                let known = subcommands(&help);
                if known.is_empty() {
                    break;
                }
                if word.starts_with('-') {
                    continue;
                }
                if !known.iter().any(|name| name == word) {
                    if before.starts_with("--") {
                        continue; // the value of a flag that all commands share
                    }
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

#[test]
fn the_environment_overrides_every_setting() {
    // Numbers and switches are changed, texts are given as they are: leading zeros must survive.
    let defaults = posp(&["config", "--defaults"]).unwrap();
    let (mut section, mut wanted) = (String::new(), String::new());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_posp"));
    command.args(["config"]).env_clear().env("POSP_LOG", "debug");
    command.env("POSP_CONFIG", root().join("posp.example.toml"));
    for line in defaults.lines() {
        section = line.strip_prefix('[').map_or(section, |name| name.trim_end_matches(']').to_owned());
        let Some((key, value)) = line.split_once(" = ") else {
            wanted.push_str(&format!("{line}\n"));
            continue;
        };
        let value = match (value, value.parse::<u64>()) {
            (_, Ok(number)) => (number + 1).to_string(),
            ("true", _) => "false".to_owned(),
            ("false", _) => "true".to_owned(),
            (text, _) => text.to_owned(),
        };
        let name = format!("POSP_{}__{}", section.to_uppercase(), key.to_uppercase());
        command.env(name, value.trim_matches('"'));
        wanted.push_str(&format!("{key} = {value}\n"));
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(printed.trim(), wanted.trim(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let document = read("docs/configuration.md");
    let mut section = String::new();
    let mut broken = Vec::new();
    for line in posp(&["config", "--defaults"]).unwrap().lines() {
        section = line.strip_prefix('[').map_or(section, |name| name.trim_end_matches(']').to_owned());
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let shown = match value.trim_matches('"') {
            "" => "empty".to_owned(),
            value => format!("`{value}`"),
        };
        let wanted = format!("| `{section}.{key}` | {shown} |");
        if !document.lines().any(|(_, line)| line.starts_with(&wanted)) {
            broken.push(format!("no line begins with {wanted}"));
        }
    }
    settle(
        "docs/configuration.md shows the defaults that the program has",
        "what is left out of a configuration is decided by that column",
        broken,
    );
}
