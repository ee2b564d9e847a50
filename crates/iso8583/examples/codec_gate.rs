//! Runs one codec operation a number of times: `codec_gate parse|request|build ROUNDS`.
//!
//! `scripts/instruction-gate.sh` counts its instructions; the difference between two numbers of rounds is the
//! cost of the operation alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../benches/sale/mod.rs"]
mod sale;

use std::hint::black_box;

use iso8583::{CUP_POS, Draft};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let operation = arguments.next().expect("operation: parse, request or build");
    let rounds: u32 = arguments.next().expect("number of rounds").parse().expect("a number");
    let mut draft = Draft::new();
    let mut bytes = Vec::with_capacity(512);
    sale::build(&mut draft, &mut bytes).unwrap();
    let mut out = Vec::with_capacity(512);
    for _ in 0..rounds {
        match operation.as_str() {
            "parse" => {
                black_box(CUP_POS.parse(black_box(&bytes)).unwrap().bitmap());
            }
            "request" => {
                let parsed = CUP_POS.parse(black_box(&bytes));
                let message = parsed.as_ref().unwrap();
                black_box(&sale::request(message).unwrap());
            }
            "build" => {
                out.clear();
                sale::build(black_box(&mut draft), &mut out).unwrap();
                black_box(out.len());
            }
            other => panic!("unknown operation {other}"),
        }
    }
}
