//! The cases that every security module must pass, on the one in software. `pkcs11.rs` runs the same on a token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod suite;

#[test]
fn the_vault_in_software_passes_every_case() {
    let vault = hsm::SoftVault::ephemeral().unwrap();
    for (name, case) in suite::CASES.iter().chain(suite::SM4_CASES) {
        println!("{name}");
        case(&vault);
    }
}
