//! The vault file in an operator's hands: made once, opened again, refused with a sentence whenever using
//! it would be unsafe or would quietly lose data. The master key is the one thing that cannot be replaced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hsm::*;

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    Place { _dir: dir, path }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn rewrite(path: &Path, change: impl Fn(&str) -> String) -> String {
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, change(&text)).unwrap();
    text
}

fn damaged(path: &Path) -> &'static str {
    match SoftVault::open_file(path) {
        Err(VaultError::Damaged { reason, .. }) => reason,
        other => panic!("expected a damaged file, got {other:?}"),
    }
}

fn components() -> Vec<KeyComponent> {
    (0..3).map(|_| KeyComponent::random(32).unwrap()).collect()
}

fn again(components: &[KeyComponent]) -> Vec<KeyComponent> {
    components.iter().map(|component| component.reveal_hex().parse().unwrap()).collect()
}

/// Everything made under a vault is usable after a restart.
#[test]
fn a_file_opens_again_with_all_its_keys() {
    let at = place();
    let first = SoftVault::create_file(&at.path).unwrap();
    let key = first.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mac = first.mac(&key, MacAlgorithm::CupEcb, b"0200").unwrap();
    let sealed = first.seal(b"pan/1", b"6224242000000021").unwrap();
    let digest = first.digest(b"6224242000000021").unwrap();
    let fingerprint = first.fingerprint();
    drop(first);

    assert_eq!(mode(&at.path), 0o600);
    let second = SoftVault::open_file(&at.path).unwrap();
    let key: WrappedKey = key.to_string().parse().unwrap();
    assert!(second.verify_mac(&key, MacAlgorithm::CupEcb, b"0200", &mac).unwrap());
    assert_eq!(*second.open(b"pan/1", &sealed).unwrap(), b"6224242000000021");
    assert_eq!(second.digest(b"6224242000000021").unwrap(), digest);
    second.check_fingerprint(&fingerprint).unwrap();
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let at = place();
    SoftVault::create_file(&at.path).unwrap();
    let before = fs::read(&at.path).unwrap();
    assert!(matches!(SoftVault::create_file(&at.path), Err(VaultError::Exists { .. })));
    assert!(matches!(
        SoftVault::create_file_from_components(&at.path, &components()),
        Err(VaultError::Exists { .. })
    ));
    assert_eq!(fs::read(&at.path).unwrap(), before);
}

/// Opening must not create: a typo in the path would otherwise start an empty world.
#[test]
fn a_missing_file_is_an_error_and_stays_missing() {
    let at = place();
    let error = SoftVault::open_file(&at.path).unwrap_err();
    assert!(matches!(error, VaultError::Missing { .. }));
    assert!(error.to_string().contains("restore it from its backup"), "{error}");
    assert!(!at.path.exists());
}

#[test]
fn a_file_others_can_read_is_refused() {
    let at = place();
    SoftVault::create_file(&at.path).unwrap();
    for bits in [0o640, 0o604, 0o620, 0o660, 0o601] {
        fs::set_permissions(&at.path, fs::Permissions::from_mode(bits)).unwrap();
        let error = SoftVault::open_file(&at.path).unwrap_err();
        assert!(matches!(error, VaultError::Permissions { mode, .. } if mode == bits));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&at.path, fs::Permissions::from_mode(0o400)).unwrap();
    SoftVault::open_file(&at.path).unwrap();
}

/// Every kind of damage is named, none is worked around, and the value is not in the message.
#[test]
fn a_damaged_file_is_refused_with_its_reason() {
    let at = place();
    SoftVault::create_file(&at.path).unwrap();
    let good = fs::read_to_string(&at.path).unwrap();
    let master = good.lines().find_map(|line| line.strip_prefix("master ")).unwrap().to_owned();
    let flipped = if master.starts_with('0') { "1" } else { "0" }.to_owned() + &master[1..];
    let cases: Vec<(&str, String)> = vec![
        ("its first line is not \"posp vault v1\"", String::new()),
        ("its first line is not \"posp vault v1\"", good.replacen("posp", "pops", 1)),
        ("it is of a version that this release does not know", good.replacen("v1", "v9", 1)),
        ("the master key does not have the check value beside it", good.replace(&master, &flipped)),
        ("the master key is not 64 hex digits", good.replace(&master, &master[..40])),
        ("the check value is missing", good.replacen("check ", "# ", 1)),
        ("a line that is unknown or there twice", good.clone() + "colour blue\n"),
        ("a line that is unknown or there twice", good.clone() + "check 00000000\n"),
        ("a line without a value", good.clone() + "nonsense\n"),
        (
            "the key ring is damaged",
            good.lines().filter(|l| !l.contains(":digest:")).collect::<Vec<_>>().join("\n"),
        ),
        (
            "the key ring is damaged",
            good.lines().filter(|l| !l.contains(":data:")).collect::<Vec<_>>().join("\n"),
        ),
    ];
    for (reason, text) in cases {
        fs::write(&at.path, text).unwrap();
        assert_eq!(damaged(&at.path), reason);
        assert!(!SoftVault::open_file(&at.path).unwrap_err().to_string().contains(&master[..16]));
    }
    fs::write(&at.path, [0xFF, 0xFE, 0x00]).unwrap();
    assert_eq!(damaged(&at.path), "it is not text");
    fs::write(&at.path, vec![b'\n'; 100_000]).unwrap();
    assert_eq!(damaged(&at.path), "it is far too long");
    fs::write(&at.path, &good).unwrap();
    SoftVault::open_file(&at.path).unwrap();
}

/// A cut at any byte (a full disk, a copy gone wrong) is noticed.
#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let at = place();
    SoftVault::create_file(&at.path).unwrap();
    let good = fs::read_to_string(&at.path).unwrap();
    for end in 0..good.len() - 1 {
        fs::write(&at.path, &good[..end]).unwrap();
        assert!(SoftVault::open_file(&at.path).is_err(), "cut at {end}");
    }
}

#[test]
fn a_directory_is_no_vault_file() {
    let at = place();
    fs::create_dir(&at.path).unwrap();
    assert_eq!(damaged(&at.path), "it is not a regular file");
}

/// The ring of one vault under the master key of another opens nothing.
#[test]
fn a_ring_from_another_vault_is_refused() {
    let (one, two) = (place(), place());
    SoftVault::create_file(&one.path).unwrap();
    SoftVault::create_file(&two.path).unwrap();
    let other = fs::read_to_string(&two.path).unwrap();
    let ring: Vec<&str> = other.lines().filter(|line| line.starts_with("key ")).collect();
    rewrite(&one.path, |text| {
        let head: Vec<&str> = text.lines().filter(|line| !line.starts_with("key ")).collect();
        [head, ring.clone()].concat().join("\n")
    });
    assert_eq!(damaged(&one.path), "its key ring is not under its master key");
}

/// A node started with another vault than its data's is stopped before it writes.
#[test]
fn another_vault_has_another_fingerprint() {
    let (one, two) = (SoftVault::ephemeral().unwrap(), SoftVault::ephemeral().unwrap());
    let error = two.check_fingerprint(&one.fingerprint()).unwrap_err();
    assert!(matches!(error, VaultError::WrongMaster { .. }));
    assert!(error.to_string().contains(&one.fingerprint()), "{error}");

    let key = one.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
    let pin = Pin::new("1234").unwrap();
    let refused = two.encrypt_pin(&pin, "6224242000000021", &key, PinFormat::Iso0);
    assert_eq!(refused, Err(HsmError::ForeignKey { usage: KeyUsage::Pin }));
    let sealed = one.seal(b"", b"x").unwrap();
    assert!(matches!(two.open(b"", &sealed), Err(HsmError::Sealed(_))));
}

/// Custodians who entered the components can rebuild the same master key from them.
#[test]
fn components_make_the_same_vault_again() {
    let at = place();
    let parts = components();
    let first = SoftVault::create_file_from_components(&at.path, &again(&parts)).unwrap();
    assert_eq!(SoftVault::open_file(&at.path).unwrap().fingerprint(), first.fingerprint());
    let ring: KeyRing = first.ring().to_string().parse().unwrap();
    let rebuilt = SoftVault::from_components(&again(&parts), None, ring.clone()).unwrap();
    assert_eq!(rebuilt.fingerprint(), first.fingerprint());
    let sealed = first.seal(b"c", b"value").unwrap();
    assert_eq!(*rebuilt.open(b"c", &sealed).unwrap(), b"value");

    let check = MasterKey::from_components(&again(&parts), None).unwrap().check_value().unwrap();
    MasterKey::from_components(&again(&parts), Some(check)).unwrap();
    let wrong = SoftVault::from_components(&again(&parts), Some(Kcv([0; 4])), ring.clone());
    assert!(matches!(wrong, Err(VaultError::Hsm(HsmError::CheckValue("the combined key")))));
    let two = SoftVault::from_components(&again(&parts[..2]), None, ring);
    assert!(matches!(two, Err(VaultError::Hsm(HsmError::ForeignKey { .. }))));
    assert!(MasterKey::from_components(&again(&parts[..1]), None).is_err());
}

/// A ring file holds no master key: only the right components open it.
#[test]
fn a_ring_file_needs_its_components() {
    let at = place();
    let parts = components();
    let first = SoftVault::create_ring_file(&at.path, &again(&parts), None).unwrap();
    assert!(!fs::read_to_string(&at.path).unwrap().contains("master"));
    assert!(matches!(SoftVault::open_file(&at.path), Err(VaultError::ComponentsNeeded { .. })));
    let opened = SoftVault::open_ring_file(&at.path, &again(&parts)).unwrap();
    assert_eq!(opened.fingerprint(), first.fingerprint());
    let wrong = SoftVault::open_ring_file(&at.path, &components());
    assert!(matches!(wrong, Err(VaultError::WrongMaster { .. })));
}

/// A new data key seals from now on; what the old one sealed stays readable.
#[test]
fn a_second_data_key_keeps_the_first_readable() {
    let master = MasterKey::generate().unwrap();
    let mut ring = KeyRing::generate(&master).unwrap();
    let before = SoftVault::new(&master, ring.clone()).unwrap().seal(b"c", b"old").unwrap();
    ring.add_data_key(&master).unwrap();
    assert!(ring.add_data_key(&MasterKey::generate().unwrap()).is_err());
    let ring: KeyRing = ring.to_string().parse().unwrap();
    let vault = SoftVault::new(&master, ring).unwrap();
    let after = vault.seal(b"c", b"new").unwrap();
    assert_eq!(*vault.open(b"c", &before).unwrap(), b"old");
    assert_eq!(*vault.open(b"c", &after).unwrap(), b"new");
    assert_ne!(before[1..5], after[1..5]);
}

/// What custodians type: groups, check values of 3 or 4 bytes, and mistakes.
#[test]
fn components_are_checked_as_they_are_typed() {
    let vault = SoftVault::ephemeral().unwrap();
    let import = |usage, texts: &[&str]| {
        let parts: Result<Vec<KeyComponent>, _> = texts.iter().map(|text| text.parse()).collect();
        vault.import_components(usage, KeyAlgorithm::TripleDes2, &parts?)
    };
    let key =
        import(KeyUsage::ZoneMaster, &["0123 4567 89AB CDEF-FEDC BA98 7654 3210:08D7B4", &"00".repeat(16)]);
    assert_eq!(key.unwrap().kcv().to_string(), "08D7B4FB");
    let one = "0123456789ABCDEFFEDCBA9876543210:08D7B4FB";
    import(KeyUsage::TerminalMaster, &[one]).unwrap();
    assert!(matches!(import(KeyUsage::ZoneMaster, &[one]), Err(HsmError::Components(_))));
    assert!(matches!(import(KeyUsage::ZoneMaster, &[]), Err(HsmError::Components(_))));
    assert!(matches!(import(KeyUsage::ZoneMaster, &[one; 4]), Err(HsmError::Components(_))));
    assert!(matches!(import(KeyUsage::ZoneMaster, &[one, one]), Err(HsmError::WeakKey(_))));
    let wrong = import(KeyUsage::TerminalMaster, &["0123456789ABCDEFFEDCBA9876543210:08D7B4FC"]);
    assert_eq!(wrong, Err(HsmError::CheckValue("a component")));
    assert!(matches!(
        import(KeyUsage::TerminalMaster, &["0123456789ABCDEF"]),
        Err(HsmError::KeyLength { .. })
    ));
    for typed in
        ["", "01", "0123456789ABCDEG", "0123456789ABCDE", "0123456789ABCDEF:08", "0123456789ABCDEF:XXXXXX"]
    {
        assert!(typed.parse::<KeyComponent>().is_err(), "{typed}");
    }
    let long = "0".repeat(200);
    assert!(long.parse::<KeyComponent>().is_err());
    let parts = [one.parse().unwrap()];
    let checked = vault.import_components_checked(
        KeyUsage::TerminalMaster,
        KeyAlgorithm::TripleDes2,
        &parts,
        Some(Kcv([0; 4])),
    );
    assert_eq!(checked, Err(HsmError::CheckValue("the combined key")));
}
