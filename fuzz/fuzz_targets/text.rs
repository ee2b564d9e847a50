//! Any text as pasted hexadecimal.
#![no_main]

mod exercises;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercises::text(data));
