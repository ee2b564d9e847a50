//! Prints terminal frames that this crate builds, one a line: name and hexadecimal bytes with length, TPDU and
//! header. A second implementation decodes and rebuilds them (`tests/python/test_frames.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../benches/sale/mod.rs"]
mod sale;

use iso8583::frame::{Tpdu, begin_pos, finish_pos};
use iso8583::text::encode;
use iso8583::{CUP_POS, Draft, Mti, Profile};

/// Name, message type, fields.
type Line<'a> = (&'a str, u16, &'a [(u8, &'a str)]);

fn main() {
    let mut bodies = Vec::new();
    let mut bytes = Vec::new();
    sale::build(&mut Draft::new(), &mut bytes).unwrap();
    bodies.push(("chip-sale", bytes));
    let messages: [Line<'_>; 6] = [
        (
            "sign-in",
            800,
            &[(11, "000001"), (41, "10001234"), (42, "898100000000001"), (60, "00000001004"), (63, "001")],
        ),
        (
            "sign-in-answer",
            810,
            &[
                (11, "000001"),
                (12, "120000"),
                (13, "1124"),
                (32, "48029999"),
                (37, "112412000001"),
                (39, "00"),
                (41, "10001234"),
                (42, "898100000000001"),
                (60, "00000001003"),
                (62, "hex:9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E0000000000000000ADC67D84"),
            ],
        ),
        (
            // Odd numbers of digits everywhere: 2 with 19, 22, 23, 32 with 11, 35 with 37, 60 with 13.
            "odd-lengths",
            200,
            &[
                (2, "6224242000000000021"),
                (22, "021"),
                (23, "001"),
                (32, "48029999123"),
                (35, "6224242000000000021D29022015699031007"),
                (60, "2200000100050"),
                (61, "000001000017112"),
            ],
        ),
        (
            "void",
            200,
            &[
                (3, "200000"),
                (4, "000000010000"),
                (11, "000018"),
                (37, "112412000017"),
                (38, "A12345"),
                (61, "000001000017"),
                (64, "3335444639323246"),
            ],
        ),
        (
            "settlement",
            500,
            &[
                (11, "000019"),
                (48, "00000001000000100000000000000000000000000000000000000000000000"),
                (49, "156"),
            ],
        ),
        (
            "chinese-text",
            210,
            &[(39, "51"), (43, "测试商户"), (44, "14030000   48029999   "), (63, "CUP余额不足")],
        ),
    ];
    for (name, mti, fields) in messages {
        bodies.push((name, encode(&CUP_POS, Mti::new(mti), fields.iter().copied()).unwrap()));
    }
    let tpdu = Tpdu::new([0x60, 0x00, 0x03, 0x00, 0x00]);
    for (name, body) in bodies {
        let mut frame = Vec::new();
        let mark = begin_pos(&mut frame, tpdu, Profile::CUP_POS_1.header);
        frame.extend_from_slice(&body);
        finish_pos(&mut frame, mark).unwrap();
        println!("{name} {}", hex::encode_upper(&frame));
    }
}
