//! Scenario: a program of others, `pbmtojbg85` and `jbgtopbm85` of Debian's jbigkit-bin, on the other side. What it writes
//! is read, what is written it reads, and where it is told to choose the same form both write the same bytes. Two
//! sides of one mistake would agree with each other; a host's decoder would not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod images;

use std::process::Command;

use jbig::{Image, Options, decode, encode};

/// Runs one of the programs on bytes. It is given files: it goes back in what it writes.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&from, input).unwrap();
    let status = Command::new(program).args(arguments).args([&from, &to]).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}; it is in Debian's jbigkit-bin"));
    assert!(status.success(), "{program} {arguments:?}");
    std::fs::read(&to).unwrap()
}

/// An image in the form that the programs read and write.
fn pbm(image: &Image) -> Vec<u8> {
    [format!("P4\n{} {}\n", image.width(), image.height()).as_bytes(), image.bytes()].concat()
}

/// What a PBM of the program's own writing says. It pads the numbers, and puts one white space behind them.
fn from_pbm(file: &[u8]) -> Image {
    let (mut rest, mut words) = (file, Vec::new());
    while words.len() < 3 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(u8::is_ascii_whitespace).unwrap();
        words.push(std::str::from_utf8(&rest[..end]).unwrap());
        rest = &rest[end..];
    }
    assert_eq!(words[0], "P4");
    Image::new(words[1].parse().unwrap(), words[2].parse().unwrap(), rest[1..].to_vec()).unwrap()
}

/// Header, and the code of each stripe without the zeros at its end: an encoder may leave them, and now and then one does.
fn parts(file: &[u8]) -> (&[u8], Vec<Vec<u8>>) {
    let (header, rest) = file.split_at(20);
    let (mut stripes, mut stripe, mut bytes) = (Vec::new(), Vec::new(), rest.iter());
    while let Some(byte) = bytes.next() {
        match (byte, if *byte == 0xFF { bytes.next() } else { None }) {
            (0xFF, Some(0x02)) => {
                let end = stripe.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                stripe.truncate(end);
                stripes.push(std::mem::take(&mut stripe));
            }
            (0xFF, Some(0x00)) => stripe.push(0xFF),
            (0xFF, other) => panic!("marker {other:?}"),
            (byte, _) => stripe.push(*byte),
        }
    }
    (header, stripes)
}

/// The forms that both sides can write, with the program's arguments for each.
fn forms() -> Vec<(Options, Vec<String>)> {
    let mut forms = Vec::new();
    for (two_lines, typical) in [(false, false), (false, true), (true, false), (true, true)] {
        for stripe in [128, 7] {
            let flags = 8 * u32::from(typical) + 64 * u32::from(two_lines);
            let arguments = ["-m", "0", "-p", &flags.to_string(), "-s", &stripe.to_string()];
            forms.push((Options { stripe, two_lines, typical }, arguments.map(str::to_owned).to_vec()));
        }
    }
    forms
}

/// In every form, of every image, both write the same bytes: each decision under the same context, each state of the
/// table, each end of a stripe.
#[test]
fn both_write_the_same_bytes() {
    for (name, image) in images::all() {
        for (options, arguments) in forms() {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let theirs = run("pbmtojbg85", &arguments, &pbm(&image));
            let ours = encode(&image, options);
            assert!(
                parts(&ours) == parts(&theirs),
                "{name}, {options:?}: {} and {} bytes",
                ours.len(),
                theirs.len()
            );
        }
    }
}

/// What we write, they read: as it is by default, and in stripes of one line.
#[test]
fn they_read_what_we_write() {
    for (name, image) in images::all() {
        for options in [Options::default(), Options { stripe: 1, two_lines: true, typical: false }] {
            let read = from_pbm(&run("jbgtopbm85", &[], &encode(&image, options)));
            assert!(read == image, "{name}, {options:?}");
        }
    }
}

/// What they write, we read: with the adaptive dot moved after a pattern, with a comment, with a height that is announced as
/// unknown and told later.
#[test]
fn we_read_what_they_write() {
    for (name, image) in images::all() {
        let before_last = (image.height() - 1).to_string();
        let mut forms: Vec<&[&str]> = vec![
            &[],
            &["-s", "16", "-p", "64", "-m", "127"],
            &["-s", "20", "-p", "8", "-m", "100", "-C", "a signature"],
        ];
        let late: [&[&str]; 2] =
            [&["-s", "16", "-Y", "5000", &before_last], &["-s", "9", "-Y", "4294967295", "1"]];
        if image.height() > 1 {
            forms.extend(late);
        }
        for arguments in forms {
            let file = run("pbmtojbg85", arguments, &pbm(&image));
            let read = decode(&file, images::DOTS_MAX);
            assert!(read.as_ref() == Ok(&image), "{name}, {arguments:?}: {:?}", read.err());
        }
    }
}

/// The moved adaptive dot is really met above: the program moves it for a pattern of halftone.
#[test]
fn a_pattern_moves_the_adaptive_dot() {
    let (_, image) = images::all().into_iter().find(|(name, _)| *name == "pattern").unwrap();
    let file = run("pbmtojbg85", &["-m", "100", "-s", "20"], &pbm(&image));
    assert!(file.windows(2).any(|pair| pair == [0xFF, 0x06]));
}
