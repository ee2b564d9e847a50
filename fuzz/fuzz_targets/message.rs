//! Any bytes as a terminal message.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::message(data));
