//! Signatures as terminals send them: what is taken is within the bound that was named, and encodes to what decodes to the
//! same image, in every way of encoding.
#![no_main]

use jbig::{Options, decode, encode};

/// Few enough to try hundreds of images a second.
const DOTS_MAX: u64 = 1 << 16;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(image) = decode(data, DOTS_MAX) else { return };
    assert!(u64::from(image.width()) * u64::from(image.height()) <= DOTS_MAX);
    for (stripe, two_lines, typical) in [(128, false, true), (1, true, true), (7, false, false)] {
        let encoded = encode(&image, Options { stripe, two_lines, typical });
        assert_eq!(decode(&encoded, DOTS_MAX).as_ref(), Ok(&image));
    }
});
