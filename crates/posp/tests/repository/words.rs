//! Words that have no place here, and floats where money is.

use crate::checkout::{all_files, has_word, rust_files, settle};

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
