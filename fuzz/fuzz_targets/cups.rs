//! Any bytes as a stream of network frames and as a network message.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::cups(data));
