//! Reading the checkout: its text files, its crates, and how a broken rule is reported.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the checkout.
pub struct Text {
    /// Path from the root, with `/`.
    pub path: String,
    pub content: String,
}

impl Text {
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The lines of code that ship: without comment lines and without what follows `#[cfg(test)]`, which
    /// stands last in a file of this repository.
    pub fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines()
            .take_while(|(_, line)| !line.trim_start().starts_with("#[cfg(test)]"))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub fn read(path: &str) -> Text {
    let content = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Text { path: path.to_owned(), content }
}

/// Every text file that belongs to the repository: no build output, no data, no licence text, no lock file.
pub fn all_files() -> Vec<Text> {
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

pub fn rust_files() -> Vec<Text> {
    all_files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

/// Rust sources under `crates/<name>/src`.
pub fn sources(name: &str) -> Vec<Text> {
    let prefix = format!("crates/{name}/src/");
    rust_files().into_iter().filter(|file| file.path.starts_with(&prefix)).collect()
}

/// Names of the folders under `crates/`, which are the names of the crates.
pub fn crates() -> Vec<String> {
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
pub fn settle(rule: &str, reason: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{rule}\nbecause {reason}:\n  {}\n", broken.join("\n  "));
}

/// The text holds this word, not as a part of a longer one.
pub fn has_word(text: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !joins(text[..at].chars().next_back()) && !joins(text[at + word.len()..].chars().next())
    })
}
