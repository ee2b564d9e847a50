//! Keys, batch number and clock: what a sign-in brings, what it refuses, and what stays when it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod host;
mod rig;

use std::sync::Arc;

use host::{BLOB_40, BLOB_SM4, Fault, MacKey, TDK_20, TMK};
use pos::clock::FixedClock;
use pos::{CardInput, Entry, KeyLayout, Pin, PosError, SaleRequest, Terminal, TmkComponent};
use rig::Rig;

/// Every layout: the request asks for it, the keys that came are used.
#[tokio::test]
async fn every_key_layout_signs_in_and_sells() {
    for (layout, code, mac_key, security) in [
        (KeyLayout::Des, "001", MacKey::Des, "2000000000000000"),
        (KeyLayout::TripleDes, "003", MacKey::Des, "2600000000000000"),
        (KeyLayout::TripleDes, "003", MacKey::Double, "2600000000000000"),
        (KeyLayout::TripleDesTrack, "004", MacKey::Des, "2610000000000000"),
        (KeyLayout::Sm4, "006", MacKey::Sm4, "2410000000000000"),
    ] {
        let mut rig = Rig::new();
        rig.host.use_mac_key(mac_key);
        rig.prepare(layout).await;
        let sign_in = rig.host.last();
        assert_eq!(sign_in.fields(), [11, 41, 42, 60, 63]);
        assert_eq!((sign_in.get(60), sign_in.get(63)), (format!("00000001{code}"), "01 ".to_owned()));
        let sale = rig.sale(100);
        assert!(rig.terminal.sale(sale).await.unwrap().approved, "{layout:?}");
        let sale = rig.host.last();
        assert_eq!(sale.get(53), security);
        if layout == KeyLayout::Sm4 {
            // The block travels in 63 and field 52 is zeros (modelled).
            assert_eq!(sale.get(52), "0".repeat(16));
            assert!(sale.fields().contains(&63));
        } else {
            assert_ne!(sale.get(52), "0".repeat(16));
        }
    }
}

/// A length that is not the layout's, or one check value that differs: refused, and the old keys still work.
#[tokio::test]
async fn bad_keys_are_refused_and_the_old_ones_stay() {
    let with_track = BLOB_40.to_owned() + TDK_20;
    let bad_check = |at: usize| {
        let mut blob = with_track.clone();
        blob.replace_range(at..at + 2, "00");
        blob
    };
    let cases = [
        BLOB_40.to_owned(),
        with_track.clone() + "00",
        String::from("00"),
        BLOB_SM4.to_owned(),
        bad_check(32),
        bad_check(72),
        bad_check(112),
        bad_check(0),
    ];
    let mut rig = Rig::signed_in(KeyLayout::TripleDesTrack).await;
    for blob in cases {
        rig.host.faults([Fault::Keys(Box::leak(blob.into_boxed_str()))]);
        let refused = rig.terminal.sign_in(KeyLayout::TripleDesTrack).await;
        assert!(matches!(refused, Err(PosError::KeysRefused(_))), "{refused:?}");
        let sale = rig.sale(100);
        assert!(rig.terminal.sale(sale).await.unwrap().approved);
    }
}

/// A declined sign-in changes nothing either.
#[tokio::test]
async fn a_declined_or_silent_sign_in_changes_nothing() {
    let mut rig = Rig::new();
    assert!(matches!(rig.terminal.sign_in(KeyLayout::Des).await, Err(PosError::NoMasterKey)));
    rig.terminal.load_tmk(&[TmkComponent::parse(TMK)], None).await.unwrap();
    rig.host.faults([Fault::Code("97"), Fault::Silent]);
    let declined = rig.terminal.sign_in(KeyLayout::TripleDes).await.unwrap();
    assert_eq!(declined.response_code.as_deref(), Some("97"));
    assert!(!rig.terminal.sign_in(KeyLayout::TripleDes).await.unwrap().approved);
    let sale = rig.sale(100);
    assert!(matches!(rig.terminal.sale(sale).await, Err(PosError::MustSignIn(_))));
}

/// The batch number comes from the answer, unless transactions of another batch wait here for settlement.
#[tokio::test]
async fn the_batch_comes_from_the_host_unless_one_is_unsettled() {
    let mut rig = Rig::new();
    rig.terminal.load_tmk(&[TmkComponent::parse(TMK)], None).await.unwrap();
    rig.host.faults([Fault::Batch(7)]);
    rig.terminal.sign_in(KeyLayout::TripleDes).await.unwrap();
    assert_eq!(rig.terminal.batch(), 7);
    let sale = rig.sale(100);
    rig.terminal.sale(sale).await.unwrap();
    assert_eq!(rig.host.last().get(60), "22000007000500");

    rig.host.faults([Fault::Batch(8)]);
    let refused = rig.terminal.sign_in(KeyLayout::TripleDes).await;
    assert!(matches!(refused, Err(PosError::BatchUnsettled { held: 7, offered: 8 })));
    assert_eq!(rig.terminal.batch(), 7);
}

/// A sign-in holds for its day; a sign-off ends it.
#[tokio::test]
async fn a_new_day_or_a_sign_off_asks_for_a_sign_in() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDes).await;
    rig.terminal.sign_off().await.unwrap();
    assert_eq!(rig.terminal.sign_in_needed(), Some("the terminal is signed off"));
    rig.terminal.sign_in(KeyLayout::TripleDes).await.unwrap();

    let Rig { terminal, mut surroundings, dir, .. } = rig;
    drop(terminal);
    surroundings.clock = Arc::new(FixedClock("2026-11-24T16:30:00Z".parse().unwrap())); // 00:30 in Beijing
    let terminal = Terminal::open_in(dir.path(), surroundings).unwrap();
    assert_eq!(terminal.sign_in_needed(), Some("a new day has begun"));
}

/// The clock follows fields 12 and 13: the machine is an hour behind the host, the slip is not.
#[tokio::test]
async fn the_clock_is_the_hosts() {
    let mut rig = Rig::new();
    rig.terminal.load_tmk(&[TmkComponent::parse(TMK)], None).await.unwrap();
    let Rig { host, terminal, mut surroundings, dir } = rig;
    drop(terminal);
    surroundings.clock = Arc::new(FixedClock("2026-11-24T01:15:30Z".parse().unwrap()));
    let mut terminal = Terminal::open_in(dir.path(), surroundings.clone()).unwrap();
    terminal.sign_in(KeyLayout::TripleDes).await.unwrap();
    assert_eq!(terminal.now().to_string(), "2026-11-24T10:15:30");
    drop(terminal);
    let terminal = Terminal::open_in(dir.path(), surroundings).unwrap();
    assert_eq!(terminal.now().to_string(), "2026-11-24T10:15:30");
    drop(host);
}

/// Components are combined and checked, in both families; a wrong check value loads nothing.
#[tokio::test]
async fn the_master_key_is_checked_before_it_is_kept() {
    let mut rig = Rig::new();
    // The lab key in two components.
    let first = "11111111111111111111111111111111";
    let second: String =
        hex::encode_upper(hex::decode(TMK).unwrap().iter().map(|byte| byte ^ 0x11).collect::<Vec<_>>());
    let components = || [TmkComponent::parse(first), TmkComponent::parse(&second)];
    let checks = rig.terminal.load_tmk(&components(), Some("08D7B4")).await.unwrap();
    assert_eq!((checks.des.as_str(), checks.sm4.as_deref()), ("08D7B4FB", Some("2677F46B")));
    rig.terminal.load_tmk(&components(), Some("2677F46B")).await.unwrap();
    assert!(rig.terminal.load_tmk(&components(), Some("00000000")).await.is_err());
    assert!(rig.terminal.load_tmk(&[TmkComponent::parse(&format!("{TMK}:123456"))], None).await.is_err());
    assert!(rig.terminal.load_tmk(&[TmkComponent::parse("XYZ")], None).await.is_err());
    assert!(rig.terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
}

/// Neither the state nor anything the terminal prints holds a card number, a track, a PIN or a key in clear.
#[tokio::test]
async fn nothing_secret_lies_in_the_directory_or_in_debug_output() {
    let mut rig = Rig::signed_in(KeyLayout::TripleDes).await;
    rig.host.faults([Fault::None, Fault::Silent]);
    let mut texts = Vec::new();
    for _ in 0..2 {
        let sale = SaleRequest {
            amount_fen: 100,
            card: CardInput::deck("L02").unwrap(),
            entry: Entry::Swipe,
            pin: Some(Pin::new("123456").unwrap()),
        };
        texts.push(format!("{sale:?}"));
        let outcome = rig.terminal.sale(sale).await.unwrap();
        texts.push(format!("{outcome:?} {}", outcome.receipt.clone().unwrap_or_default()));
        texts.push(pos::show::bytes_text(rig.terminal.config(), &outcome));
        texts.push(pos::show::outcome_json(rig.terminal.config(), &outcome, true).to_string());
    }
    texts.push(format!("{:?}", rig.terminal));
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap() != "master.key" {
            texts.push(String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
        }
    }
    for secret in ["6224242000000021", "02015699031007", "010FFE95955CE8A5", TMK, "1122334455", "123456\""] {
        for text in &texts {
            assert!(!text.to_uppercase().contains(secret), "{secret} in {text}");
        }
    }
    use std::os::unix::fs::PermissionsExt;
    for name in ["master.key", "state.json"] {
        let mode = std::fs::metadata(rig.dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}
