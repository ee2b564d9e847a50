//! A new master key under keys in use: what was made before still opens, what is made after is under the new
//! one, another process takes it over while it works, and nothing that was sealed or digested changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm::*;

const PAN: &[u8] = b"6224242000000021";

fn vault_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master.key");
    SoftVault::create_file(&path).unwrap();
    (directory, path)
}

fn mac_key(vault: &SoftVault) -> WrappedKey {
    vault.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap()
}

fn opens(vault: &SoftVault, key: &WrappedKey) -> bool {
    vault.mac(key, MacAlgorithm::CupEcb, b"x").is_ok()
}

#[test]
fn keys_move_to_the_new_master_key_and_the_old_one_goes() {
    let (_directory, path) = vault_file();
    let before = SoftVault::open_file(&path).unwrap();
    let (old, sealed, digest) = (mac_key(&before), before.seal(b"pan", PAN).unwrap(), before.digest(PAN));
    let mac = before.mac(&old, MacAlgorithm::CupEcb, b"a sale").unwrap();

    SoftVault::rotate_file(&path).unwrap();
    let again = SoftVault::rotate_file(&path).unwrap_err();
    assert!(matches!(again, VaultError::RotationOpen { .. }), "{again}");
    let vault = SoftVault::open_file(&path).unwrap();
    assert_eq!(vault.fingerprints().len(), 2);
    assert_eq!(vault.fingerprints()[1], before.fingerprint());
    vault.check_fingerprint(&before.fingerprint()).unwrap();

    // Old and new side by side.
    assert_eq!(vault.mac(&old, MacAlgorithm::CupEcb, b"a sale").unwrap(), mac);
    let new = vault.rewrap(&old).unwrap().expect("it was under the old one");
    assert_ne!(new, old);
    assert_eq!((new.usage(), new.algorithm(), new.kcv()), (old.usage(), old.algorithm(), old.kcv()));
    assert_eq!(vault.mac(&new, MacAlgorithm::CupEcb, b"a sale").unwrap(), mac);
    assert_eq!(vault.rewrap(&new).unwrap(), None, "it is moved already");
    assert_eq!(vault.rewrap(&mac_key(&vault)).unwrap(), None, "new keys are under the new one");

    // Account numbers are neither sealed anew nor lost to a search.
    assert_eq!(&**vault.open(b"pan", &sealed).unwrap(), PAN);
    assert_eq!(vault.digest(PAN), digest);

    SoftVault::retire_file(&path).unwrap();
    let after = SoftVault::open_file(&path).unwrap();
    assert_eq!(after.fingerprints(), vec![vault.fingerprint()]);
    assert!(opens(&after, &new) && !opens(&after, &old));
    assert_eq!(after.rewrap(&old), Err(HsmError::ForeignKey { usage: KeyUsage::Mac }));
    assert_eq!(&**after.open(b"pan", &sealed).unwrap(), PAN);
    assert_eq!(after.digest(PAN), digest);
    assert!(after.check_fingerprint(&before.fingerprint()).is_err());
    SoftVault::rotate_file(&path).unwrap();
}

/// The file is its owner's alone after each step too, and what a crash left beside it is in nobody's way.
#[test]
fn the_file_is_exchanged_whole() {
    let (directory, path) = vault_file();
    std::fs::write(directory.path().join("master.key.new"), "half").unwrap();
    SoftVault::rotate_file(&path).unwrap();
    SoftVault::retire_file(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A process that has the file open: it takes the new key over at its next look, or when it meets a key under
/// it; and it keeps what the file has given up, since it may hold keys under that.
#[test]
fn a_running_process_takes_the_new_key_over() {
    let (_directory, path) = vault_file();
    let (node, idle) = (SoftVault::open_file(&path).unwrap(), SoftVault::open_file(&path).unwrap());
    let old = mac_key(&node);
    assert_eq!(node.refresh(), Ok(false));
    SoftVault::rotate_file(&path).unwrap();
    let other = SoftVault::open_file(&path).unwrap();
    assert_ne!(other.rewrap(&mac_key(&node)).unwrap(), None, "not taken over yet");
    assert_eq!(node.refresh(), Ok(true));
    assert_eq!(node.refresh(), Ok(false));
    assert_eq!(other.rewrap(&mac_key(&node)).unwrap(), None);
    assert!(opens(&idle, &mac_key(&other)), "met before it was looked for");
    SoftVault::retire_file(&path).unwrap();
    assert_eq!(node.refresh(), Ok(true));
    assert!(opens(&node, &old));

    // Another vault's file in its place is refused, and the keys at hand stay good.
    let (_elsewhere, foreign) = vault_file();
    std::fs::rename(foreign, &path).unwrap();
    assert!(node.refresh().is_err());
    assert!(opens(&node, &old));
}

/// Rotations under threads that sign, seal and make keys all the time: not one operation fails.
#[test]
fn work_goes_on_through_rotations() {
    let (_directory, path) = vault_file();
    let node = SoftVault::open_file(&path).unwrap();
    let first = mac_key(&node);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let key = mac_key(&node);
                    assert!(opens(&node, &key) && opens(&node, &first));
                    let sealed = node.seal(b"pan", PAN).unwrap();
                    assert_eq!(&**node.open(b"pan", &sealed).unwrap(), PAN);
                }
            });
        }
        for _ in 0..5 {
            SoftVault::rotate_file(&path).unwrap();
            assert_eq!(node.refresh(), Ok(true));
            SoftVault::retire_file(&path).unwrap();
            assert_eq!(node.refresh(), Ok(true));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(node.fingerprints().len(), 6);
}
