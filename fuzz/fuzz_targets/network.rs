//! Any bytes as a network frame and as a bare network message.
#![no_main]

#[path = "support.rs"]
mod support;

use iso8583::CUPS;
use iso8583::frame::{CupsFrame, parse_cups, split_cups};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    support::exercise(&CUPS, data);
    if let Ok(Some((_, CupsFrame::Message(payload)))) = split_cups(data, 4096) {
        if let Ok((_, body)) = parse_cups(payload) {
            support::exercise(&CUPS, body);
        }
    }
});
