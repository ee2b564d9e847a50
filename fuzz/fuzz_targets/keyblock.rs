//! Any text as a TR-31 key block: a header that is taken is written the same again, and nothing panics.
#![no_main]

use hsm::primitives::key_block;
use hsm::{HsmError, KeyBlockHeader, KeyComponent, WrappedKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok((header, length)) = KeyBlockHeader::parse(text) {
        // With the payload that the block has, the header is made again; only the padding block is free.
        let body = (text.len() - length) / 2;
        let payload = body.saturating_sub(header.version.block_len());
        if let Ok(block) = key_block::wrap(&[7; 16], &header, &vec![1; payload.saturating_sub(2)], &[]) {
            let (again, _) = KeyBlockHeader::parse(&block).expect("what was written is sound");
            assert_eq!(again, header);
            key_block::unwrap(&[7; 16], &block).expect("what was written opens");
        }
    }
    for protection in [&[7u8; 16][..], &[7; 24], &[7; 32]] {
        let opened: Result<_, HsmError> = key_block::unwrap(protection, text);
        drop(opened);
    }
    // The other texts that keys come in.
    if let Ok(key) = text.parse::<WrappedKey>() {
        assert_eq!(key.to_string().parse::<WrappedKey>().as_ref(), Ok(&key));
    }
    let component: Result<KeyComponent, HsmError> = text.parse();
    drop(component);
});
