//! Parsing, reading and, once warm, building allocate nothing: the hot path of the switch does not depend on the
//! allocator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../benches/sale/mod.rs"]
mod sale;

use allocation_counter::measure;
use iso8583::{CUP_POS, Draft};

#[test]
fn parse_and_read_allocate_nothing() {
    let mut bytes = Vec::new();
    sale::build(&mut Draft::new(), &mut bytes).unwrap();
    let info = measure(|| {
        let message = CUP_POS.parse(&bytes).unwrap();
        let request = sale::request(&message).unwrap();
        assert_eq!(request.amount, Some(10_000));
        assert_eq!(request.chip_items, 20);
        assert_eq!(message.fields().count(), 19);
    });
    assert_eq!(info.count_total, 0);
    // A refusal is free as well.
    bytes.push(0);
    assert_eq!(measure(|| assert!(CUP_POS.parse(&bytes).is_err())).count_total, 0);
}

#[test]
fn a_warm_draft_allocates_nothing() {
    let mut draft = Draft::new();
    let mut out = Vec::new();
    sale::build(&mut draft, &mut out).unwrap();
    let first = out.clone();
    let info = measure(|| {
        for _ in 0..100 {
            out.clear();
            sale::build(&mut draft, &mut out).unwrap();
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(out, first);
    let message = CUP_POS.parse(&first).unwrap();
    let info = measure(|| {
        out.clear();
        draft.start(&CUP_POS, message.mti().response());
        message.fields().for_each(|field| draft.put_field(&field).unwrap());
        draft.write(&mut out).unwrap();
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(out[2..], first[2..]);
}
