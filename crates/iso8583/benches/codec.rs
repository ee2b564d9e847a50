//! Speed of the codec on the 19-field, 294-byte chip sale: parse with full validation, the same with field 55
//! walked and a typed request, build. Targets on a two-core machine: 150, 260 and 220 ns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod sale;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use iso8583::{CUP_POS, Draft};

fn codec(c: &mut Criterion) {
    let mut draft = Draft::new();
    let mut bytes = Vec::new();
    sale::build(&mut draft, &mut bytes).unwrap();
    let message = CUP_POS.parse(&bytes).unwrap();
    assert_eq!((message.fields().count(), bytes.len()), (19, 294));

    c.bench_function("parse", |b| {
        b.iter(|| black_box(CUP_POS.parse(black_box(&bytes)).unwrap().bitmap()));
    });
    c.bench_function("parse and read the request", |b| {
        b.iter(|| {
            let parsed = CUP_POS.parse(black_box(&bytes));
            let message = parsed.as_ref().unwrap();
            let request = sale::request(message).unwrap();
            black_box(&request);
        });
    });
    let mut out = Vec::with_capacity(512);
    c.bench_function("build", |b| {
        b.iter(|| {
            out.clear();
            sale::build(black_box(&mut draft), &mut out).unwrap();
            black_box(out.len());
        });
    });
}

criterion_group!(benches, codec);
criterion_main!(benches);
