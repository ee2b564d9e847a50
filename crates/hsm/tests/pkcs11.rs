//! The cases that every security module must pass, on a SoftHSM2 token; and what a token adds: a wrong PIN, a
//! wrong label, a lost login, a second start, what it has no mechanism for. The cases with SM4 keys run where those may be
//! used in the process, and every operation with them is refused where they may not.
//!
//! The library takes its configuration from the environment of the process, so this program makes a token in a
//! directory of its own and starts itself again with that environment. It has no test harness for that reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout)]

mod suite;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use cryptoki::context::Pkcs11;
use hsm::*;

const PIN: &str = "271828";
const LABEL: &str = "posp-test";
/// Set for the second start.
const INSIDE: &str = "POSP_TEST_TOKEN";

fn module() -> PathBuf {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("SoftHSM2 is needed (Debian package softhsm2; scripts/test installs it)")
}

fn config() -> TokenConfig {
    TokenConfig {
        module: module(),
        token: LABEL.into(),
        pin: Zeroizing::new(PIN.into()),
        sessions: 4,
        sm4_in_process: false,
    }
}

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        inside();
        return ExitCode::SUCCESS;
    }
    module();
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let file = directory.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&file, text).unwrap();
    let ran = |command: &mut Command| command.env("SOFTHSM2_CONF", &file).env(INSIDE, "1").status().unwrap();
    let made = ran(Command::new("softhsm2-util").args([
        "--init-token",
        "--free",
        "--label",
        LABEL,
        "--pin",
        PIN,
        "--so-pin",
        "31415926",
    ]));
    assert!(made.success(), "softhsm2-util makes no token");
    let done = ran(&mut Command::new(std::env::current_exe().unwrap()));
    if done.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refused(result: Result<Pkcs11Vault, HsmError>, why: &str) {
    let error = result.expect_err("refused").to_string();
    assert!(error.contains(why), "{error}");
    assert!(!error.contains(PIN), "{error}");
}

fn inside() {
    refused(Pkcs11Vault::open(config()), "no key posp-");
    refused(
        Pkcs11Vault::open(TokenConfig { module: Path::new("/no/such.so").into(), ..config() }),
        "no PKCS#11",
    );
    refused(Pkcs11Vault::open(TokenConfig { token: "other".into(), ..config() }), "label other");
    println!("what cannot be opened says why ... ok");

    let vault = Pkcs11Vault::create(config()).unwrap();
    refused(Pkcs11Vault::create(config()), "already");
    let wrong = TokenConfig { pin: Zeroizing::new("000000".into()), ..config() };
    assert!(!format!("{wrong:?}").contains("000000"));
    for (name, case) in suite::CASES {
        case(&vault);
        println!("{name} ... ok");
    }

    let key = vault.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mac = vault.mac(&key, MacAlgorithm::CupEcb, b"before").unwrap();
    let sealed = vault.seal(b"pan", b"6224242000000021").unwrap();

    // Somebody logs this process out, which is what a token that was pulled and put back looks like.
    for _ in 0..3 {
        let context = Pkcs11::new(module()).unwrap();
        let slots = context.get_slots_with_initialized_token().unwrap();
        let session = context.open_rw_session(slots[0]).unwrap();
        session.logout().unwrap();
        drop(session);
        assert_eq!(vault.mac(&key, MacAlgorithm::CupEcb, b"before").unwrap(), mac);
    }
    println!("a lost login is made good ... ok");

    let sm4 = vault.generate(KeyUsage::Pin, KeyAlgorithm::Sm4).unwrap_err();
    assert_eq!(sm4, HsmError::Unsupported("SM4 keys"));
    assert!(sm4.to_string().contains("not supported by this token"), "{sm4}");
    let imk = vault.generate(KeyUsage::IssuerMaster, KeyAlgorithm::TripleDes2).unwrap();
    let card = CardContext::new("6224242000000021", 1, 1, CryptogramVersion::V01);
    assert!(matches!(vault.generate_ac(&imk, &card, b"x"), Err(HsmError::Unsupported(_))));
    println!("what the token has no mechanism for says so ... ok");

    // SM4 keys are used in the process where that is allowed, and nowhere else.
    let allowed = Pkcs11Vault::open(TokenConfig { sm4_in_process: true, ..config() }).unwrap();
    for (name, case) in suite::SM4_CASES {
        case(&allowed);
        println!("{name} ... ok");
    }
    let [mak, pik, tdk, tmk] =
        [KeyUsage::Mac, KeyUsage::Pin, KeyUsage::Track, KeyUsage::TerminalMaster].map(|usage| {
            let key = allowed.generate(usage, KeyAlgorithm::Sm4).unwrap();
            assert_eq!(vault.generate(usage, KeyAlgorithm::Sm4), Err(sm4.clone()));
            key
        });
    let pin = Pin::new("1234").unwrap();
    let pan = "6224242000000021";
    let block = allowed.encrypt_pin(&pin, pan, &pik, PinFormat::Sm4Extended).unwrap();
    let track = allowed.encrypt_track("6224242000000021D290220156990310071234", &tdk).unwrap();
    for refused in [
        vault.mac(&mak, MacAlgorithm::Sm4Cup, b"x").err(),
        vault.verify_mac(&mak, MacAlgorithm::CupsSm4, b"x", &[0; 8]).err(),
        vault.encrypt_pin(&pin, pan, &pik, PinFormat::Sm4Extended).err(),
        vault.translate_pin(&block, &pik, &pik, PinFormat::Sm4Extended, pan).err(),
        vault.encrypt_track("6224242000000021D290220156990310071234", &tdk).err(),
        vault.decrypt_track(&track, &tdk).err(),
        vault.export(&mak, &tmk).err(),
        vault.import(KeyUsage::Mac, KeyAlgorithm::Sm4, &[7; 16], &tmk).err(),
    ] {
        assert_eq!(refused, Some(sm4.clone()));
    }
    drop(allowed);
    println!("SM4 keys are used in the process only where that is allowed ... ok");

    // A second start finds the same keys.
    let fingerprint = vault.fingerprint();
    drop(vault);
    let again = Pkcs11Vault::open(config()).unwrap();
    assert_eq!(again.fingerprint(), fingerprint);
    assert_eq!(again.mac(&key, MacAlgorithm::CupEcb, b"before").unwrap(), mac);
    assert_eq!(&**again.open(b"pan", &sealed).unwrap(), b"6224242000000021");
    println!("a second start finds the same keys ... ok");
    drop(again);
    // After everything was closed: the wrong PIN is refused by the token.
    refused(Pkcs11Vault::open(wrong), "PIN is wrong");
    println!("a wrong PIN is refused ... ok");
}
