//! Throws mutated frames at the codec: `cargo run --release -p iso8583 --example mutate -- COUNT [SEED]`.
//!
//! Real frames of both dialects are changed in one to eight places (bits, bytes, digits, lengths, cuts,
//! repeats, splices of two frames) and parsed. What is accepted is rebuilt and must give the same bytes, its
//! masked copy must be a message again, and its description must not fail. The counts per kind of refusal show
//! that the mutations reach every rule. A run is repeated exactly by its seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs)]

#[path = "../benches/sale/mod.rs"]
mod sale;

use std::collections::BTreeMap;

use iso8583::describe::describe;
use iso8583::frame::{parse_cups, parse_pos, split, split_cups};
use iso8583::mask::mask_message;
use iso8583::text::encode;
use iso8583::{CUP_POS, CUPS, Dialect, Draft, ErrorKind, Mti, Profile, tlv};

const FRAMES: &str = include_str!("../../../tests/data/frames.txt");

/// SplitMix64: small, seedable, and good enough to spread mutations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bodies of the published terminal frames, and sales and management messages of both dialects.
fn samples() -> Vec<(&'static Dialect, Vec<u8>)> {
    let mut samples = Vec::new();
    for line in FRAMES.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace().skip(1);
        let (form, bytes) = (words.next().unwrap(), hex::decode(words.next().unwrap()).unwrap());
        let skip = match form {
            "body" => 0,
            "no-length" => 11,
            "no-header" => 7,
            _ => 13,
        };
        samples.push((&CUP_POS, bytes[skip..].to_vec()));
    }
    let mut bytes = Vec::new();
    sale::build(&mut Draft::new(), &mut bytes).unwrap();
    samples.push((&CUP_POS, bytes));
    let chip = format!("hex:{}", hex::encode(sale::CHIP));
    let sale = [
        (2, "6224242000000021"),
        (3, "000000"),
        (4, "000000010000"),
        (7, "1124120000"),
        (11, "000124"),
        (18, "5411"),
        (22, "051"),
        (28, "D00000150"),
        (32, "48029999"),
        (33, "48029999"),
        (35, "6224242000000021=29022015699031007"),
        (37, "112412000124"),
        (41, "10001234"),
        (42, "898100000000001"),
        (43, "CHN29000TEST MERCHANT"),
        (49, "156"),
        (52, "010FFE95955CE8A5"),
        (53, "2600000000000000"),
        (54, "1001156C0000000100001002156C000000010000"),
        (55, chip.as_str()),
        (60, "000005000300000000004000000000"),
        (90, "020000012311241159000004802999900048029999"),
        (100, "14030000"),
        (128, "3335444639323246"),
    ];
    samples.push((&CUPS, encode(&CUPS, Mti::new(200), sale).unwrap()));
    let reset = [
        (7, "1124120000"),
        (11, "000001"),
        (33, "00010000"),
        (48, "hex:4E4B000102030405060708090A0B0C0D0E0F"),
        (53, "2600000000000000"),
        (70, "101"),
        (96, "0123456789ABCDEF"),
        (100, "48029999"),
        (128, "3335444639323246"),
    ];
    samples.push((&CUPS, encode(&CUPS, Mti::new(800), reset).unwrap()));
    samples
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(8) {
        let len = bytes.len();
        let place = random.below(len);
        match random.below(10) {
            0 => bytes.truncate(place),
            1 => bytes.push(random.next() as u8),
            2 if len > 0 => drop(bytes.remove(place)),
            3 => bytes.insert(place, random.next() as u8),
            4 if len > 0 => {
                let from = random.below(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            // A digit where a digit stood keeps a message plausible: lengths and private fields get reached.
            5 | 6 if len > 0 => {
                let digit = random.below(10) as u8;
                let old = bytes[place];
                bytes[place] = if old.is_ascii_digit() { b'0' + digit } else { old & 0xf0 | digit };
            }
            7 if len > 18 => bytes[2 + random.below(16)] ^= 1 << random.below(8),
            8 if len > 0 => bytes[place] = random.next() as u8,
            _ if len > 0 => bytes[place] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes.truncate(4096);
}

fn name(kind: ErrorKind) -> String {
    let text = format!("{kind:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(1_000_000, |text| text.parse().expect("COUNT is a number"));
    let seed: u64 = arguments.next().map_or(8583, |text| text.parse().expect("SEED is a number"));
    let samples = samples();
    let profile = Profile { lri: true, ..Profile::CUP_POS_1 };
    let mut random = Random(seed);
    let mut kinds: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut draft = Draft::new();
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    let mut accepted = 0u64;
    for round in 0..count {
        let (dialect, sample) = &samples[random.below(samples.len())];
        let other = &samples[random.below(samples.len())].1;
        bytes.clear();
        bytes.extend_from_slice(sample);
        mutate(&mut random, &mut bytes, other);
        let _ = (split(&bytes, 2048), split_cups(&bytes, 2048), parse_cups(&bytes));
        let _ = (parse_pos(&bytes, &profile), tlv::validate(&bytes), tlv::ascii_iter(&bytes, 3).count());
        let mut note = |kind: String| *kinds.entry((dialect.name().to_owned(), kind)).or_default() += 1;
        match dialect.parse(&bytes) {
            Err(error) => {
                assert!(error.offset <= bytes.len() && error.field <= 128, "round {round}: {error}");
                note(name(error.kind));
            }
            Ok(message) => {
                accepted += 1;
                note("accepted".to_owned());
                draft.start(dialect, message.mti());
                for field in message.fields() {
                    draft.put_field(&field).unwrap();
                }
                out.clear();
                draft.write(&mut out).unwrap();
                assert_eq!(out, bytes, "round {round}: not the same bytes");
                if message.check_chip_data().is_err() {
                    note("accepted, then broken field 55".to_owned());
                }
                for number in 0..=128 {
                    let _ = (message.number(number), message.digits(number), message.text(number));
                }
                out.clear();
                mask_message(&message, &mut out);
                let masked = dialect.parse(&out).expect("a masked copy is a message");
                assert_eq!(masked.bitmap(), message.bitmap());
                // Describing allocates, so not every one.
                if accepted.is_multiple_of(16) {
                    let _ = describe(&message);
                }
            }
        }
    }
    println!("{count} mutated messages, seed {seed}, {} sample messages, no panic", samples.len());
    for ((dialect, kind), number) in kinds {
        println!("  {dialect:<10} {kind:<32} {number:>10}");
    }
}
