//! Any bytes as TLV, binary and ASCII.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::tlv(data));
