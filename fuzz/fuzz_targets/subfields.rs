//! Any bytes as a private field.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::subfields(data));
