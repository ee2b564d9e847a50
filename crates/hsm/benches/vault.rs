//! Cost of the operations on a payment's way: sign and check a message, translate a PIN block, and what
//! a key costs to unwrap. Run with `cargo bench -p hsm`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hsm::primitives::BlockKey;
use hsm::{Hsm, KeyAlgorithm, KeyUsage, MacAlgorithm, Pin, PinFormat, SoftVault};

const PAN: &str = "6224242000000021";

fn vault(c: &mut Criterion) {
    let vault = SoftVault::ephemeral().unwrap();
    let hsm: &dyn Hsm = &vault;
    let message = [0x5A; 300];

    for (name, key, algorithm) in [
        ("des", KeyAlgorithm::Des, MacAlgorithm::CupEcb),
        ("3des", KeyAlgorithm::TripleDes2, MacAlgorithm::CupEcb),
        ("sm4", KeyAlgorithm::Sm4, MacAlgorithm::Sm4Cup),
        ("x9.9-3des", KeyAlgorithm::TripleDes2, MacAlgorithm::X99),
        ("x9.19", KeyAlgorithm::TripleDes2, MacAlgorithm::X919 { pad80: false, hex: true }),
    ] {
        let key = hsm.generate(KeyUsage::Mac, key).unwrap();
        c.bench_function(&format!("mac/300B/{name}"), |b| {
            b.iter(|| hsm.mac(black_box(&key), algorithm, black_box(&message)).unwrap());
        });
    }

    // What a wrapped key costs before it does anything: opening it and making its schedule, beside the
    // schedule alone.
    for (name, algorithm, mac) in [
        ("3des", KeyAlgorithm::TripleDes2, MacAlgorithm::CupEcb),
        ("sm4", KeyAlgorithm::Sm4, MacAlgorithm::Sm4Cup),
    ] {
        let key = hsm.generate(KeyUsage::Mac, algorithm).unwrap();
        c.bench_function(&format!("unwrap and mac 8B/{name}"), |b| {
            b.iter(|| hsm.mac(black_box(&key), mac, black_box(&[1; 8])).unwrap());
        });
        c.bench_function(&format!("schedule/{name}"), |b| {
            b.iter(|| BlockKey::new(algorithm, black_box(&[7; 16])).unwrap());
        });
        let ready = BlockKey::new(algorithm, &[7; 16]).unwrap();
        c.bench_function(&format!("mac 8B/{name}"), |b| {
            b.iter(|| mac.compute(black_box(&ready), black_box(&[1; 8])).unwrap());
        });
    }

    let key = hsm.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mac = hsm.mac(&key, MacAlgorithm::CupEcb, &message).unwrap();
    c.bench_function("verify_mac/300B/3des", |b| {
        b.iter(|| hsm.verify_mac(black_box(&key), MacAlgorithm::CupEcb, black_box(&message), &mac).unwrap());
    });

    let pin = Pin::new("123456").unwrap();
    for (name, algorithm, format) in [
        ("3des", KeyAlgorithm::TripleDes2, PinFormat::Iso0),
        ("sm4", KeyAlgorithm::Sm4, PinFormat::Sm4Extended),
    ] {
        let from = hsm.generate(KeyUsage::Pin, algorithm).unwrap();
        let to = hsm.generate(KeyUsage::Pin, algorithm).unwrap();
        let block = hsm.encrypt_pin(&pin, PAN, &from, format).unwrap();
        c.bench_function(&format!("translate_pin/{name}"), |b| {
            b.iter(|| hsm.translate_pin(black_box(&block), &from, &to, format, PAN).unwrap());
        });
    }

    let track = hsm.generate(KeyUsage::Track, KeyAlgorithm::TripleDes2).unwrap();
    let digits = hsm.encrypt_track("6224242000000021D29022015699031007", &track).unwrap();
    c.bench_function("decrypt_track/3des", |b| {
        b.iter(|| hsm.decrypt_track(black_box(&digits), &track).unwrap());
    });

    let sealed = hsm.seal(b"pan", PAN.as_bytes()).unwrap();
    c.bench_function("seal/pan", |b| b.iter(|| hsm.seal(b"pan", black_box(PAN.as_bytes())).unwrap()));
    c.bench_function("open/pan", |b| b.iter(|| hsm.open(b"pan", black_box(&sealed)).unwrap()));
    c.bench_function("digest/pan", |b| b.iter(|| hsm.digest(black_box(PAN.as_bytes())).unwrap()));
}

/// What one sale with a PIN costs the host, step by step and together: double-length keys everywhere, a
/// terminal message of 150 bytes, a network text of 160.
fn sale(c: &mut Criterion) {
    let vault = SoftVault::ephemeral().unwrap();
    let hsm: &dyn Hsm = &vault;
    let key = |usage| hsm.generate(usage, KeyAlgorithm::TripleDes2).unwrap();
    let (terminal, zone) = (key(KeyUsage::Mac), key(KeyUsage::Mac));
    let (from, to) = (key(KeyUsage::Pin), key(KeyUsage::Pin));
    let (message, text) = ([0x5A; 150], [b'7'; 160]);
    let in_mac = hsm.mac(&terminal, MacAlgorithm::CupEcb, &message).unwrap();
    let back_mac = hsm.mac(&zone, MacAlgorithm::CupsCbc, &text).unwrap();
    let block = hsm.encrypt_pin(&Pin::new("123456").unwrap(), PAN, &from, PinFormat::Iso0).unwrap();

    let verify = || hsm.verify_mac(&terminal, MacAlgorithm::CupEcb, black_box(&message), &in_mac).unwrap();
    let translate = || hsm.translate_pin(black_box(&block), &from, &to, PinFormat::Iso0, PAN).unwrap();
    let digest = || hsm.digest(black_box(PAN.as_bytes())).unwrap();
    let seal = || hsm.seal(b"pan", black_box(PAN.as_bytes())).unwrap();
    let network_mac = || hsm.mac(&zone, MacAlgorithm::CupsCbc, black_box(&text)).unwrap();
    let network_verify =
        || hsm.verify_mac(&zone, MacAlgorithm::CupsCbc, black_box(&text), &back_mac).unwrap();
    let answer = || hsm.mac(&terminal, MacAlgorithm::CupEcb, black_box(&message)).unwrap();

    c.bench_function("sale/1 terminal verify", |b| b.iter(verify));
    c.bench_function("sale/2 translate pin", |b| b.iter(translate));
    c.bench_function("sale/3 digest pan", |b| b.iter(digest));
    c.bench_function("sale/4 seal pan", |b| b.iter(seal));
    c.bench_function("sale/5 network mac", |b| b.iter(network_mac));
    c.bench_function("sale/6 network verify", |b| b.iter(network_verify));
    c.bench_function("sale/7 terminal mac", |b| b.iter(answer));
    c.bench_function("sale/all", |b| {
        b.iter(|| (verify(), translate(), digest(), seal(), network_mac(), network_verify(), answer()));
    });
}

criterion_group!(benches, vault, sale);
criterion_main!(benches);
