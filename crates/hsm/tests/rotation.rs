//! A new master key under keys in use: prepared it is known and nothing is under it; in force, what was made before
//! still opens and what is made after is under the new one; another process takes it over while it works, from its file
//! or because it is told to; and nothing that was sealed or digested changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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

/// Makes the next master key and puts it in front at once, as one machine does.
fn rotate(path: &Path) {
    assert!(SoftVault::prepare_file(path).unwrap());
    SoftVault::promote_file(path).unwrap();
}

fn roles(vault: &SoftVault) -> Vec<MasterRole> {
    vault.masters().iter().map(|master| master.role).collect()
}

fn first_line(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned()
}

/// What is prepared opens keys and none is made under it, for whoever has a copy of the file; a second time it is the
/// same; in front it is the one in force, and the one before is old. The three are never mistaken for each other.
#[test]
fn a_prepared_key_is_known_and_not_in_force() {
    let (directory, path) = vault_file();
    let before = SoftVault::open_file(&path).unwrap();
    assert_eq!(roles(&before), [MasterRole::InForce]);
    let none = SoftVault::promote_file(&path).unwrap_err();
    assert!(matches!(none, VaultError::NothingPrepared { .. }), "{none}");

    assert!(SoftVault::prepare_file(&path).unwrap());
    let prepared = SoftVault::open_file(&path).unwrap();
    assert_eq!(roles(&prepared), [MasterRole::InForce, MasterRole::Prepared]);
    assert_eq!(prepared.fingerprint(), before.fingerprint());
    let next = prepared.masters()[1].fingerprint.clone();
    assert_eq!(prepared.fingerprints(), [before.fingerprint(), next.clone()]);
    assert!(!SoftVault::prepare_file(&path).unwrap(), "it is there");
    assert_eq!(SoftVault::open_file(&path).unwrap().masters(), prepared.masters());
    assert_eq!(before.rewrap(&mac_key(&prepared)).unwrap(), None, "nothing is made under it");
    let copy = directory.path().join("copy.key");
    std::fs::copy(&path, &copy).unwrap();

    SoftVault::promote_file(&path).unwrap();
    let after = SoftVault::open_file(&path).unwrap();
    assert_eq!(roles(&after), [MasterRole::InForce, MasterRole::Old]);
    assert_eq!(after.fingerprints(), [next, before.fingerprint()]);
    assert!(opens(&SoftVault::open_file(&copy).unwrap(), &mac_key(&after)));
    let open = SoftVault::prepare_file(&path).unwrap_err();
    assert!(matches!(open, VaultError::RotationOpen { .. }), "{open}");
}

/// A release that knows no prepared keys must not take one for something else: the file says by its first line that it is
/// not for it, and is for everybody again once nothing is prepared. What does not belong together is refused.
#[test]
fn a_file_with_a_prepared_key_is_of_another_version() {
    let (_directory, path) = vault_file();
    assert_eq!(first_line(&path), "posp vault v1");
    SoftVault::prepare_file(&path).unwrap();
    assert_eq!(first_line(&path), "posp vault v2");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.starts_with("prepared ")).unwrap().to_owned();
    let master = text.lines().find(|line| line.starts_with("master ")).unwrap().to_owned();
    let cases = [
        (text.replace("vault v2", "vault v1"), "a line that is unknown or there twice"),
        (format!("{text}{line}\n"), "a line that is unknown or there twice"),
        (text.replace(&line, &line[..40]), "the prepared master key is not 64 hex digits"),
        (
            text.replace(&format!("{master}\n"), ""),
            "a master key is prepared, and the one in force is missing",
        ),
        (text.replace("vault v2", "vault v3"), "it is of a version that this release does not know"),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, text).unwrap();
        let error = SoftVault::open_file(&path).unwrap_err();
        assert!(matches!(&error, VaultError::Damaged { reason, .. } if *reason == expected), "{error}");
        assert!(!error.to_string().contains(&line[9..25]));
    }
    std::fs::write(&path, &text).unwrap();
    SoftVault::promote_file(&path).unwrap();
    assert_eq!(first_line(&path), "posp vault v1");
    SoftVault::retire_file(&path).unwrap();
    assert_eq!(first_line(&path), "posp vault v1");
}

/// A process with a copy of the file in which the key is prepared is told that it is in force: it makes new keys under it
/// without its file being touched, and no older copy that is put in the file's place takes that back. A key that it does
/// not know, and one that its file has behind the present one, change nothing.
#[test]
fn a_process_puts_a_prepared_key_in_force_when_told() {
    let (directory, path) = vault_file();
    let older_copy = std::fs::read(&path).unwrap();
    SoftVault::prepare_file(&path).unwrap();
    let copy = directory.path().join("copy.key");
    std::fs::copy(&path, &copy).unwrap();
    let node = SoftVault::open_file(&copy).unwrap();
    let (old, sealed, digest) = (mac_key(&node), node.seal(b"pan", PAN).unwrap(), node.digest(PAN).unwrap());
    let (first, next) = (node.fingerprints()[0].clone(), node.fingerprints()[1].clone());

    assert_eq!(node.put_in_force("0000000000000000"), Ok(false));
    assert_eq!(node.put_in_force(&first), Ok(false), "it is");
    assert_eq!(node.put_in_force(&next), Ok(true));
    assert_eq!(node.put_in_force(&next), Ok(false));
    assert_eq!(node.fingerprints(), [next.clone(), first.clone()]);
    assert_eq!(roles(&node), [MasterRole::InForce, MasterRole::Old]);
    SoftVault::promote_file(&path).unwrap();
    let promoted = SoftVault::open_file(&path).unwrap();
    assert_eq!(promoted.rewrap(&mac_key(&node)).unwrap(), None, "made under the new one");
    assert!(opens(&node, &old));
    assert_eq!(&**node.open(b"pan", &sealed).unwrap(), PAN);
    assert_eq!(node.digest(PAN).unwrap(), digest);

    // Somebody puts the file of before the rotation in its place.
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, older_copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(node.refresh(), Ok(true));
    assert_eq!(node.fingerprint(), next);
    assert_eq!(promoted.rewrap(&mac_key(&node)).unwrap(), None);

    // A file that is further than what was said stays so.
    let ahead = SoftVault::open_file(&path).unwrap();
    assert_eq!(ahead.put_in_force(&first), Ok(false));
    assert_eq!(ahead.fingerprint(), next);
}

#[test]
fn keys_move_to_the_new_master_key_and_the_old_one_goes() {
    let (_directory, path) = vault_file();
    let before = SoftVault::open_file(&path).unwrap();
    let (old, sealed, digest) = (mac_key(&before), before.seal(b"pan", PAN).unwrap(), before.digest(PAN));
    let mac = before.mac(&old, MacAlgorithm::CupEcb, b"a sale").unwrap();

    rotate(&path);
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
    rotate(&path);
}

/// The file is its owner's alone after each step too, and what a crash left beside it is in nobody's way.
#[test]
fn the_file_is_exchanged_whole() {
    let (directory, path) = vault_file();
    std::fs::write(directory.path().join("master.key.new"), "half").unwrap();
    rotate(&path);
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
    rotate(&path);
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
            rotate(&path);
            assert_eq!(node.refresh(), Ok(true));
            SoftVault::retire_file(&path).unwrap();
            assert_eq!(node.refresh(), Ok(true));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(node.fingerprints().len(), 6);
}
