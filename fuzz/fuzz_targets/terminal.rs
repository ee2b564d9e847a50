//! Any bytes as a terminal frame and as a bare terminal message.
#![no_main]

#[path = "support.rs"]
mod support;

use iso8583::frame::{parse_pos, split};
use iso8583::{CUP_POS, Profile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    support::exercise(&CUP_POS, data);
    if let Ok(Some((_, payload))) = split(data, 4096) {
        for profile in [Profile::CUP_POS_1, Profile { header: None, lri: true, ..Profile::CUP_POS_1 }] {
            if let Ok(frame) = parse_pos(payload, &profile) {
                support::exercise(&CUP_POS, frame.body);
            }
        }
    }
});
