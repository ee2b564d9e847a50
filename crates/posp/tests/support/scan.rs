//! Looks for secrets in whatever was written: text, binary files, databases.
//!
//! A number can hide in several forms: as characters, as packed decimal at either alignment, as the hexadecimal
//! text of its characters, or as the list of byte values that a careless debug line prints. Each secret is looked
//! for in all of them.

use std::fs;
use std::path::Path;

/// One secret and the forms in which it would show.
struct Secret {
    name: String,
    /// Digits in lower case, as they stand in the nibbles of a binary file or in a text.
    digits: String,
    /// Hexadecimal text of the characters.
    hex_of_text: String,
    /// Byte values of the packed digits, and of the characters, with the two usual separators.
    lists: Vec<String>,
}

/// Everything that was found where it must not be.
#[derive(Default)]
pub struct Scanner {
    secrets: Vec<Secret>,
    pins: Vec<String>,
    found: Vec<String>,
    /// Bytes looked through.
    pub scanned: usize,
    /// Names of what was looked through.
    pub places: Vec<String>,
}

impl Scanner {
    /// A scanner for the cards of the deck: numbers, what follows the number on track 2, clear PIN blocks, and
    /// PINs that are called so.
    pub fn for_the_deck() -> Self {
        let mut scanner = Scanner::default();
        for card in pos::deck::DECK {
            // Three numbers of the deck have nothing but zeros in their middle, and a masked message has zeros
            // there: masked and clear are the same. The tests use a number of their own in their place.
            if card.pan[6..card.pan.len() - 4].bytes().any(|digit| digit != b'0') {
                scanner.secret(&format!("the number of {}", card.id), card.pan);
            }
            let tail = format!("{}{}{}", card.expiry, card.service_code, card.discretionary);
            scanner.secret(&format!("the track of {}", card.id), &tail);
            if let Some(pin) = card.pin {
                scanner
                    .secret(&format!("the clear PIN block of {}", card.id), &clear_pin_block(pin, card.pan));
                if !scanner.pins.iter().any(|known| known == pin) {
                    scanner.pins.push(pin.to_owned());
                }
            }
        }
        scanner
    }

    /// Adds digits (decimal or hexadecimal) to look for; at least twelve, so that chance finds nothing.
    pub fn secret(&mut self, name: &str, digits: &str) {
        assert!(digits.len() >= 12, "{name} is too short to be looked for");
        let digits = digits.to_ascii_lowercase();
        let mut lists = Vec::new();
        let mut forms = vec![digits.as_bytes().to_vec()];
        forms.extend(hex::decode(&digits));
        for bytes in forms {
            for separator in [", ", ","] {
                let values: Vec<String> = bytes.iter().map(u8::to_string).collect();
                lists.push(values.join(separator));
            }
        }
        let hex_of_text = hex::encode(&digits);
        self.secrets.push(Secret { name: name.to_owned(), digits, hex_of_text, lists });
    }

    /// Looks through bytes.
    pub fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.scanned += bytes.len();
        self.places.push(place.to_owned());
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let nibbles = hex::encode(bytes);
        for secret in &self.secrets {
            let forms =
                [("as text", text.contains(&secret.digits)), ("packed", nibbles.contains(&secret.digits))];
            let others = [
                ("as hexadecimal text", text.contains(&secret.hex_of_text)),
                ("as a list of bytes", secret.lists.iter().any(|list| text.contains(list))),
            ];
            for (form, _) in forms.into_iter().chain(others).filter(|(_, there)| *there) {
                self.found.push(format!("{} {form} in {place}", secret.name));
            }
        }
    }

    /// Looks through bytes, also for PINs beside the word.
    pub fn text(&mut self, place: &str, text: &str) {
        self.bytes(place, text.as_bytes());
        let lower = text.to_ascii_lowercase();
        for pin in &self.pins {
            for (at, _) in lower.match_indices(pin.as_str()) {
                let before: String = lower[..at].chars().rev().take(8).collect();
                if before.contains("nip") {
                    self.found.push(format!("a PIN beside its name in {place}"));
                }
            }
        }
    }

    /// Looks through every file below a directory. Key files are left to the caller: they hold what they are for.
    pub fn directory(&mut self, root: &Path) {
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                if path.file_name().is_some_and(|name| name == "master.key") {
                    continue;
                }
                let place = path.strip_prefix(root).unwrap().display().to_string();
                let bytes = fs::read(&path).unwrap();
                match std::str::from_utf8(&bytes) {
                    Ok(text) => self.text(&place, text),
                    Err(_) => self.bytes(&place, &bytes),
                }
            }
        }
    }

    /// Adds the master keys of the key files below a directory: nothing else may hold them.
    pub fn master_keys(&mut self, root: &Path) {
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.file_name().is_some_and(|name| name == "master.key") {
                    let text = fs::read_to_string(&path).unwrap();
                    let key = text.lines().find_map(|line| line.strip_prefix("master ")).unwrap();
                    let name = format!("the master key of {}", path.strip_prefix(root).unwrap().display());
                    self.secret(&name, key.trim());
                }
            }
        }
    }

    /// Fails with everything that was found.
    pub fn settle(mut self) {
        self.found.sort();
        self.found.dedup();
        assert!(self.found.is_empty(), "secrets in the clear:\n  {}", self.found.join("\n  "));
        assert!(self.scanned > 10_000, "hardly anything was looked through: {:?}", self.places);
    }

    /// How much was found.
    pub fn findings(&self) -> usize {
        self.found.len()
    }
}

/// PIN block format 0 before it is encrypted.
fn clear_pin_block(pin: &str, pan: &str) -> String {
    let own = format!("0{}{pin:F<14}", pin.len());
    let account = format!("0000{}", &pan[pan.len() - 13..pan.len() - 1]);
    let bytes = |text: &str| hex::decode(text).unwrap();
    let mixed: Vec<u8> = bytes(&own).iter().zip(bytes(&account)).map(|(a, b)| a ^ b).collect();
    hex::encode(mixed)
}
