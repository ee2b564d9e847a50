//! Any bytes as a stream of terminal frames.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::frame(data));
