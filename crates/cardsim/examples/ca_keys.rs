//! Writes the public keys of the laboratory's card organisation as `crates/sim/lab/ca-keys.hex` has them:
//! `cargo run -p cardsim --example ca_keys`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for index in [0xF1, 0xF2, 0xF3] {
        let record = cardsim::lab::ca_record([0xA0, 0x00, 0x00, 0x03, 0x33], index).unwrap_or_default();
        writeln!(out, "{}", hex::encode_upper(record))?;
    }
    Ok(())
}
