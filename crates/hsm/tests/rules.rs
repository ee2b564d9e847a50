//! The rules whoever holds keys must keep, tried from outside: one use per key, no altered key, no PIN or
//! key in any text, no panic on any bytes, and what goes in comes out again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::LazyLock;

use hsm::*;
use proptest::prelude::*;

const PAN: &str = "6224242000000021";
const TRACK: &str = "6224242000000021D29022015699031007";

static VAULT: LazyLock<SoftVault> = LazyLock::new(|| SoftVault::ephemeral().unwrap());

/// One key of every usage and algorithm that exist together.
static KEYS: LazyLock<Vec<WrappedKey>> = LazyLock::new(|| {
    let pairs =
        KeyUsage::ALL.into_iter().flat_map(|usage| KeyAlgorithm::ALL.map(|algorithm| (usage, algorithm)));
    pairs
        .filter(|(usage, algorithm)| usage.allows(*algorithm))
        .map(|(usage, algorithm)| VAULT.generate(usage, algorithm).unwrap())
        .collect()
});

fn key(usage: KeyUsage, algorithm: KeyAlgorithm) -> &'static WrappedKey {
    KEYS.iter().find(|key| key.usage() == usage && key.algorithm() == algorithm).unwrap()
}

fn pin_keys() -> [(&'static WrappedKey, PinFormat); 3] {
    [
        (key(KeyUsage::Pin, KeyAlgorithm::Des), PinFormat::Iso0),
        (key(KeyUsage::Pin, KeyAlgorithm::TripleDes2), PinFormat::Iso0),
        (key(KeyUsage::Pin, KeyAlgorithm::Sm4), PinFormat::Sm4Extended),
    ]
}

const MACS: [MacAlgorithm; 10] = [
    MacAlgorithm::CupEcb,
    MacAlgorithm::X99,
    MacAlgorithm::X99Hex,
    MacAlgorithm::X919 { pad80: false, hex: false },
    MacAlgorithm::X919 { pad80: false, hex: true },
    MacAlgorithm::X919 { pad80: true, hex: false },
    MacAlgorithm::X919 { pad80: true, hex: true },
    MacAlgorithm::Sm4Cup,
    MacAlgorithm::CupsCbc,
    MacAlgorithm::CupsSm4,
];

/// An operation by name, trying one key in one of its places; the other places get right keys.
type Attempt = (&'static str, KeyUsage, fn(&WrappedKey) -> Result<(), HsmError>);

fn attempts() -> Vec<Attempt> {
    fn card() -> CardContext<'static> {
        CardContext::new(PAN, 1, 1, CryptogramVersion::V01)
    }
    fn pik() -> &'static WrappedKey {
        key(KeyUsage::Pin, KeyAlgorithm::TripleDes2)
    }
    fn pvk() -> &'static WrappedKey {
        key(KeyUsage::PinVerification, KeyAlgorithm::HmacSha256)
    }
    fn block() -> EncryptedPinBlock {
        VAULT.encrypt_pin(&Pin::new("1234").unwrap(), PAN, pik(), PinFormat::Iso0).unwrap()
    }
    fn reference() -> PinReference {
        VAULT.make_pin_reference(&Pin::new("1234").unwrap(), PAN, pvk()).unwrap()
    }
    vec![
        ("mac", KeyUsage::Mac, |k| VAULT.mac(k, MacAlgorithm::CupEcb, b"x").map(drop)),
        ("verify_mac", KeyUsage::Mac, |k| {
            VAULT.verify_mac(k, MacAlgorithm::X99, b"x", b"12345678").map(drop)
        }),
        ("translate_pin from", KeyUsage::Pin, |k| {
            VAULT.translate_pin(&block(), k, pik(), PinFormat::Iso0, PAN).map(drop)
        }),
        ("translate_pin to", KeyUsage::Pin, |k| {
            VAULT.translate_pin(&block(), pik(), k, PinFormat::Iso0, PAN).map(drop)
        }),
        ("encrypt_pin", KeyUsage::Pin, |k| {
            VAULT.encrypt_pin(&Pin::new("1234").unwrap(), PAN, k, PinFormat::Iso0).map(drop)
        }),
        ("verify_pin", KeyUsage::Pin, |k| VAULT.verify_pin(&block(), k, PAN, pvk(), &reference()).map(drop)),
        ("verify_pin against", KeyUsage::PinVerification, |k| {
            VAULT.verify_pin(&block(), pik(), PAN, k, &reference()).map(drop)
        }),
        ("make_pin_reference", KeyUsage::PinVerification, |k| {
            VAULT.make_pin_reference(&Pin::new("1234").unwrap(), PAN, k).map(drop)
        }),
        ("encrypt_track", KeyUsage::Track, |k| VAULT.encrypt_track(TRACK, k).map(drop)),
        ("decrypt_track", KeyUsage::Track, |k| VAULT.decrypt_track(TRACK, k).map(drop)),
        ("generate_ac", KeyUsage::IssuerMaster, |k| VAULT.generate_ac(k, &card(), b"x").map(drop)),
        ("verify_arqc", KeyUsage::IssuerMaster, |k| {
            VAULT.verify_arqc(k, &card(), b"x", b"12345678").map(drop)
        }),
        ("make_arpc", KeyUsage::IssuerMaster, |k| VAULT.make_arpc(k, &card(), [0; 8], *b"00").map(drop)),
        ("make_arpc_method2", KeyUsage::IssuerMaster, |k| {
            VAULT.make_arpc_method2(k, &card(), [0; 8], [0; 4], &[]).map(drop)
        }),
        ("script_mac", KeyUsage::IssuerScriptMac, |k| VAULT.script_mac(k, &card(), [0; 8], b"x").map(drop)),
        ("script_encipher", KeyUsage::IssuerScriptCipher, |k| {
            VAULT.script_encipher(k, &card(), [0; 8], b"x").map(drop)
        }),
    ]
}

/// Every operation, every key: another usage is refused as such, the right one never is.
#[test]
fn a_key_has_one_use() {
    for (name, usage, attempt) in attempts() {
        for key in KEYS.iter() {
            let result = attempt(key);
            let refused = result == Err(HsmError::WrongUsage { wanted: usage, found: key.usage() });
            assert_eq!(refused, key.usage() != usage, "{name} with {key:?}: {result:?}");
        }
    }
}

/// The usage is refused before the key is opened: a foreign key of the wrong use reports its use.
#[test]
fn usage_is_checked_before_anything_is_decrypted() {
    let foreign = SoftVault::ephemeral().unwrap();
    let mak = foreign.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    for (name, usage, attempt) in attempts() {
        let expected = match usage {
            KeyUsage::Mac => HsmError::ForeignKey { usage },
            _ => HsmError::WrongUsage { wanted: usage, found: KeyUsage::Mac },
        };
        assert_eq!(attempt(&mak), Err(expected), "{name}");
    }
}

/// Which keys may be sent under which: working keys only, under key-sending keys only, never a weaker one.
#[test]
fn keys_are_sent_only_as_the_rules_allow() {
    for key in KEYS.iter() {
        for under in KEYS.iter() {
            let allowed = key.usage().may_be_sent()
                && under.usage().sends_keys()
                && under.algorithm().may_wrap(key.algorithm());
            let sent = VAULT.export(key, under);
            assert_eq!(sent.is_ok(), allowed, "{key:?} under {under:?}: {sent:?}");
            let received =
                VAULT.import(key.usage(), key.algorithm(), &vec![7; key.algorithm().key_len()], under);
            assert_eq!(received.is_ok(), allowed, "{key:?} under {under:?}: {received:?}");
            if let Ok(sent) = sent {
                let back = VAULT.import(key.usage(), key.algorithm(), &sent.cipher, under).unwrap();
                assert_eq!((back.kcv(), sent.kcv), (key.kcv(), key.kcv()));
                let short = VAULT.import(key.usage(), key.algorithm(), &sent.cipher[1..], under);
                assert!(matches!(short, Err(HsmError::KeyLength { .. })));
            }
        }
    }
}

#[test]
fn keys_that_cannot_exist_are_not_made() {
    for usage in KeyUsage::ALL {
        for algorithm in KeyAlgorithm::ALL {
            let made = VAULT.generate(usage, algorithm);
            assert_eq!(made.is_ok(), usage.allows(algorithm), "{usage} {algorithm}");
        }
    }
    assert!(!KeyUsage::Data.allows(KeyAlgorithm::Des));
    assert!(!KeyUsage::IssuerMaster.allows(KeyAlgorithm::Des));
}

/// Editing the readable part of a stored key, or any digit of its body, makes it useless.
#[test]
fn an_edited_key_text_is_refused() {
    let text = key(KeyUsage::Mac, KeyAlgorithm::TripleDes2).to_string();
    let parts: Vec<&str> = text.split(':').collect();
    assert_eq!((parts[0], parts[1], parts[2]), ("v1", "mac", "3des"));
    let track = text.replace(":mac:", ":track:").parse::<WrappedKey>().unwrap();
    assert_eq!(
        VAULT.encrypt_track(TRACK, &track).unwrap_err(),
        HsmError::ForeignKey { usage: KeyUsage::Track }
    );
    let sm4 = text.replace(":3des:", ":sm4:").parse::<WrappedKey>().unwrap();
    assert_eq!(
        VAULT.mac(&sm4, MacAlgorithm::Sm4Cup, b"x").unwrap_err(),
        HsmError::ForeignKey { usage: KeyUsage::Mac }
    );
    let start = text.rfind(':').unwrap() + 1;
    let kcv = start - 9;
    for at in (kcv..start - 1).chain(start..text.len()) {
        let mut edited = text.clone().into_bytes();
        edited[at] = if edited[at] == b'0' { b'1' } else { b'0' };
        let edited: WrappedKey = String::from_utf8(edited).unwrap().parse().unwrap();
        let refused = VAULT.mac(&edited, MacAlgorithm::CupEcb, b"x");
        assert_eq!(refused, Err(HsmError::ForeignKey { usage: KeyUsage::Mac }), "at {at}");
    }
    for broken in [
        "",
        "v1",
        "v2:mac:3des:00000000:00",
        "v1:king:3des:00000000:00",
        "v1:mac:rot13:00000000:00",
        "v1:data:3des:00000000:00",
        "v1:mac:3des:000000:00",
        &text[..text.len() - 1],
        &(text.clone() + "00"),
        &(text.clone() + ":x"),
    ] {
        assert!(broken.parse::<WrappedKey>().is_err(), "{broken}");
    }
}

/// Keys live in configuration and in database columns as text; both ways must agree.
#[test]
fn a_key_survives_its_text_and_serde_forms() {
    for key in KEYS.iter() {
        assert_eq!(key.to_string().parse::<WrappedKey>().unwrap(), *key);
        let json = serde_json::to_string(key).unwrap();
        assert_eq!(serde_json::from_str::<WrappedKey>(&json).unwrap(), *key);
        assert_eq!(json, format!("\"{key}\""));
    }
    assert!(serde_json::from_str::<WrappedKey>("\"v1:mac\"").is_err());
}

/// Fresh keys: parity as DES wants it cannot be seen from outside, but no two are alike and the check value
/// is the key's own.
#[test]
fn fresh_keys_differ() {
    let kcvs: std::collections::HashSet<Kcv> =
        (0..200).map(|_| VAULT.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap().kcv()).collect();
    assert_eq!(kcvs.len(), 200);
}

/// Formats, ciphers and MACs that do not belong together are refused before a key is opened.
#[test]
fn ciphers_do_not_mix() {
    for (key, format) in pin_keys() {
        for other in [PinFormat::Iso0, PinFormat::Sm4Extended] {
            let made = VAULT.encrypt_pin(&Pin::new("1234").unwrap(), PAN, key, other);
            assert_eq!(made.is_ok(), other == format);
        }
    }
    for algorithm in [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4] {
        for mac in MACS {
            let made = VAULT.mac(key(KeyUsage::Mac, algorithm), mac, b"0200");
            assert_eq!(made.is_ok(), mac.fits(algorithm), "{mac:?} {algorithm}");
            let clear = primitives::BlockKey::new(algorithm, &vec![3; algorithm.key_len()]).unwrap();
            assert_eq!(mac.compute(&clear, b"0200").is_ok(), mac.fits(algorithm), "{mac:?} {algorithm}");
        }
    }
    let mak = key(KeyUsage::Mac, KeyAlgorithm::Des);
    assert_eq!(VAULT.mac(mak, MacAlgorithm::CupEcb, b""), Err(HsmError::EmptyData));
}

/// The block inside is looked at: another card, another key, or nonsense is no PIN block.
#[test]
fn a_wrong_pin_block_is_not_translated() {
    let pin = Pin::new("123456").unwrap();
    for (from, format) in pin_keys() {
        let block = VAULT.encrypt_pin(&pin, PAN, from, format).unwrap();
        let other_card = VAULT.translate_pin(&block, from, from, format, "6224249999999921");
        assert_eq!(other_card, Err(HsmError::PinBlock));
        let other_key = VAULT.generate(KeyUsage::Pin, from.algorithm()).unwrap();
        let refused = VAULT.translate_pin(&block, &other_key, from, format, PAN);
        assert_eq!(refused, Err(HsmError::PinBlock));
        for pan in
            ["", "62242420000000211234", "622424200000", "62242420000000 1", "６２２４２４２０00000021"]
        {
            assert_eq!(VAULT.translate_pin(&block, from, from, format, pan), Err(HsmError::Pan), "{pan}");
        }
    }
    for text in ["", "123", "1234567890123", "12a4", "１２３４"] {
        assert_eq!(Pin::new(text).unwrap_err(), HsmError::Pin, "{text}");
    }
    assert_eq!(EncryptedPinBlock::new(PinFormat::Iso0, &[0; 16]), Err(HsmError::PinBlock));
}

/// Clear blocks with each single fault: what a terminal with a broken PIN pad could send.
#[test]
fn each_fault_of_a_clear_block_is_found() {
    let read = |block: u64| primitives::pin::read_iso0(&block.to_be_bytes(), "0000000000000");
    assert!(read(0x0412_34FF_FFFF_FFFF).is_ok());
    assert!(read(0x0C12_3456_7890_12FF).is_ok());
    for block in [
        0x1412_34FF_FFFF_FFFF, // another format
        0x0312_3FFF_FFFF_FFFF, // too short
        0x0D12_3456_7890_123F, // too long
        0x0F12_3456_7890_1234, // far too long
        0x0412_3AFF_FFFF_FFFF, // not a digit
        0x0412_34FF_FFFF_FFF0, // wrong fill at the end
        0x0412_345F_FFFF_FFFF, // longer than it says
        0x0512_34FF_FFFF_FFFF, // shorter than it says
    ] {
        assert_eq!(read(block).unwrap_err(), HsmError::PinBlock, "{block:016X}");
    }
}

/// A terminal that gets a bad sign-in answer must keep its old keys; so nothing half-loaded comes out.
#[test]
fn a_bad_key_block_is_refused_as_a_whole() {
    let layouts = [
        (KeyBlobLayout::Single24, KeyAlgorithm::Des),
        (KeyBlobLayout::Double40, KeyAlgorithm::Des),
        (KeyBlobLayout::Double40, KeyAlgorithm::TripleDes2),
        (KeyBlobLayout::DoubleTrack60, KeyAlgorithm::Des),
        (KeyBlobLayout::DoubleTrack60, KeyAlgorithm::TripleDes2),
        (KeyBlobLayout::Sm4Track60, KeyAlgorithm::Sm4),
    ];
    for (layout, mac) in layouts {
        let tmk = key(KeyUsage::TerminalMaster, layout.algorithm());
        let keys = WorkingKeys::generate(&*VAULT, layout, mac).unwrap();
        let blob = keys.to_blob(&*VAULT, layout, tmk).unwrap();
        assert_eq!(blob.len(), layout.byte_len());
        let loaded = WorkingKeys::from_blob(&*VAULT, layout, &blob, tmk).unwrap();
        assert_eq!(loaded.mac.algorithm(), mac);
        assert_eq!((loaded.pin.kcv(), loaded.mac.kcv()), (keys.pin.kcv(), keys.mac.kcv()));
        assert_eq!(loaded.track.map(|key| key.kcv()), keys.track.map(|key| key.kcv()));
        for at in 0..blob.len() {
            let mut edited = blob.clone();
            edited[at] ^= 0x10;
            assert!(WorkingKeys::from_blob(&*VAULT, layout, &edited, tmk).is_err(), "{layout:?} at {at}");
        }
        for len in (0..=90).filter(|len| *len != layout.byte_len()) {
            assert!(matches!(parse_key_blob(layout, &vec![1; len]), Err(HsmError::KeyBlob(_))));
        }
        let none: [ExportedKey; 0] = [];
        assert!(build_key_blob(layout, &none).is_err());
    }
    assert!(WorkingKeys::generate(&*VAULT, KeyBlobLayout::Single24, KeyAlgorithm::TripleDes2).is_err());
    assert_eq!(KeyBlobLayout::for_len(56), Err(HsmError::KeyBlob("no layout has this length")));
    assert_eq!(KeyBlobLayout::for_management_code(4), Some(KeyBlobLayout::DoubleTrack60));
    assert_eq!(KeyBlobLayout::for_management_code(5), None);
}

/// Known secrets are put into every type that can hold one; none of their digits may show.
#[test]
fn debug_and_errors_show_no_secret() {
    let secret = "0123456789ABCDEFFEDCBA9876543210";
    let clear: [u8; 16] = hex::decode(secret).unwrap().try_into().unwrap();
    let component = KeyComponent::from_hex(secret).unwrap().with_check("08D7B4FB").unwrap();
    let pin = Pin::new("739158").unwrap();
    let pik = key(KeyUsage::Pin, KeyAlgorithm::TripleDes2);
    let tdk = key(KeyUsage::Track, KeyAlgorithm::TripleDes2);
    let block = VAULT.encrypt_pin(&pin, PAN, pik, PinFormat::Iso0).unwrap();
    let sent = VAULT.encrypt_track(TRACK, tdk).unwrap();
    let track = VAULT.decrypt_track(&sent, tdk).unwrap();
    let pvk = key(KeyUsage::PinVerification, KeyAlgorithm::TripleDes2);
    let reference = VAULT.make_pin_reference(&pin, PAN, pvk).unwrap();
    let exported = VAULT.export(pik, key(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2)).unwrap();
    let blob = KeyBlob { pin: exported.clone(), mac: exported.clone(), track: Some(exported.clone()) };
    let working = WorkingKeys { pin: pik.clone(), mac: pik.clone(), track: None };
    let card = CardContext::new(PAN, 1, 1, CryptogramVersion::V01);
    let des = primitives::BlockKey::new(KeyAlgorithm::TripleDes2, &clear).unwrap();
    let sm4 = primitives::BlockKey::new(KeyAlgorithm::Sm4, &clear).unwrap();

    let mut texts = vec![
        format!("{component:?}"),
        format!("{pin:?}"),
        format!("{block:?}"),
        format!("{track:?}"),
        format!("{reference:?}"),
        format!("{exported:?}"),
        format!("{blob:?}"),
        format!("{working:?}"),
        format!("{card:?}"),
        format!("{des:?} {sm4:?}"),
        format!("{:?}", *VAULT),
        format!("{:?}", VAULT.ring()),
        format!("{:?}", MasterKey::generate().unwrap()),
    ];
    let errors = [
        Pin::new("739158A").unwrap_err(),
        VAULT.encrypt_pin(&pin, "62242420000000ZZ", pik, PinFormat::Iso0).unwrap_err(),
        VAULT.translate_pin(&block, pik, pik, PinFormat::Iso0, "6224249999999921").unwrap_err(),
        VAULT.encrypt_track("6224242000000021X29022015699031007", tdk).unwrap_err(),
        VAULT.decrypt_track("6224242000000021", tdk).unwrap_err(),
        format!("v1:pin:3des:00000000:{secret}").parse::<WrappedKey>().unwrap_err(),
        KeyComponent::from_hex(&secret[1..]).unwrap_err(),
        VAULT.open(b"", secret.as_bytes()).unwrap_err(),
    ];
    texts.extend(errors.iter().flat_map(|error| [error.to_string(), format!("{error:?}")]));

    let hidden = [
        secret[..8].to_owned(),
        "739158".to_owned(),
        "622424".to_owned(),
        "2902201".to_owned(),
        hex::encode_upper(block.bytes()),
        hex::encode_upper(&exported.cipher),
        reference.to_string(),
    ];
    for text in &texts {
        for secret in &hidden {
            assert!(!text.to_uppercase().contains(secret.as_str()), "{text}");
        }
        // A byte array shows as a list of numbers: 1, 35, 69 is the start of the key.
        assert!(!text.contains("1, 35, 69"), "{text}");
        assert!(text.len() < 500, "{text}");
    }
}

/// The module is used through one object by all threads.
#[test]
fn one_vault_serves_many_threads() {
    let hsm: &dyn Hsm = &*VAULT;
    let mak = key(KeyUsage::Mac, KeyAlgorithm::TripleDes2);
    let expected = hsm.mac(mak, MacAlgorithm::CupEcb, b"0800").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(hsm.mac(mak, MacAlgorithm::CupEcb, b"0800").unwrap(), expected);
                }
            });
        }
    });
}

fn digits(len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(0u8..10, len)
        .prop_map(|digits| digits.iter().map(|d| char::from(b'0' + d)).collect())
}

fn any_bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..=max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is sealed opens with its context, and with nothing else or altered anywhere.
    #[test]
    fn sealed_data_opens_only_unchanged_and_in_its_place(
        context in any_bytes(40), plain in any_bytes(200), at in any::<usize>(), bit in 0u8..8,
    ) {
        let sealed = VAULT.seal(&context, &plain).unwrap();
        prop_assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
        prop_assert_eq!(&*VAULT.open(&context, &sealed).unwrap(), &plain);
        prop_assert_ne!(&sealed, &VAULT.seal(&context, &plain).unwrap());
        let mut edited = sealed.clone();
        edited[at % sealed.len()] ^= 1 << bit;
        prop_assert!(VAULT.open(&context, &edited).is_err());
        prop_assert!(VAULT.open(&[context.as_slice(), b"x"].concat(), &sealed).is_err());
        prop_assert!(VAULT.open(&context, &sealed[..sealed.len() - 1]).is_err());
    }

    /// Terminal key to zone key and back, across DES, triple DES and SM4: the issuer sees the PIN typed.
    #[test]
    fn a_pin_survives_translation(pin in digits(4..=12), pan in digits(13..=19), wrong in digits(4..=12)) {
        let pvk = key(KeyUsage::PinVerification, KeyAlgorithm::Sm4);
        let typed = Pin::new(&pin).unwrap();
        let reference = VAULT.make_pin_reference(&typed, &pan, pvk).unwrap();
        for (from, format) in pin_keys() {
            let block = VAULT.encrypt_pin(&typed, &pan, from, format).unwrap();
            prop_assert_eq!(block.bytes().len(), format.block_len());
            for (to, to_format) in pin_keys() {
                let sent = VAULT.translate_pin(&block, from, to, to_format, &pan).unwrap();
                prop_assert_eq!(sent, VAULT.encrypt_pin(&typed, &pan, to, to_format).unwrap());
                prop_assert!(VAULT.verify_pin(&sent, to, &pan, pvk, &reference).unwrap());
            }
            let other = VAULT.encrypt_pin(&Pin::new(&wrong).unwrap(), &pan, from, format).unwrap();
            prop_assert_eq!(VAULT.verify_pin(&other, from, &pan, pvk, &reference).unwrap(), wrong == pin);
        }
        let text = reference.to_string();
        prop_assert!(text.parse::<PinReference>().unwrap() == reference);
    }

    /// A track comes back as it was; its length, its first digits and its last stay as they were.
    #[test]
    fn a_track_survives_encryption(pan in digits(13..=19), tail in digits(20..=60)) {
        let track = format!("{pan}={tail}");
        for algorithm in [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4] {
            let key = key(KeyUsage::Track, algorithm);
            let sent = VAULT.encrypt_track(&track, key).unwrap();
            prop_assert_eq!(sent.len(), track.len());
            prop_assert_eq!(&sent[sent.len() - 1..], &track[track.len() - 1..]);
            let back = VAULT.decrypt_track(&sent, key).unwrap();
            prop_assert_eq!(back.as_str(), track.replace('=', "D"));
            prop_assert_eq!(back.pan().unwrap(), pan.as_str());
            let lower = VAULT.decrypt_track(&sent.to_lowercase(), key).unwrap();
            prop_assert!(lower == back);
        }
    }

    /// A changed message, key or MAC is noticed under every algorithm.
    #[test]
    fn a_mac_belongs_to_its_message(data in proptest::collection::vec(any::<u8>(), 1..400), at in any::<usize>()) {
        for algorithm in [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4] {
            let key = key(KeyUsage::Mac, algorithm);
            for mac in MACS.into_iter().filter(|mac| mac.fits(algorithm)) {
                let value = VAULT.mac(key, mac, &data).unwrap();
                prop_assert!(VAULT.verify_mac(key, mac, &data, &value).unwrap());
                let mut edited = data.clone();
                edited[at % data.len()] ^= 0x40;
                prop_assert!(!VAULT.verify_mac(key, mac, &edited, &value).unwrap());
                let mut other = value;
                other[at % 8] ^= 1;
                prop_assert!(!VAULT.verify_mac(key, mac, &data, &other).unwrap());
            }
        }
    }

    /// Nothing that arrives makes the module panic, whatever key stands in whatever place.
    #[test]
    fn no_bytes_make_it_panic(
        bytes in any_bytes(120), text in "\\PC{0,60}", digits in "[0-9A-Fa-f=D]{0,110}",
        one in any::<usize>(), two in any::<usize>(), atc in any::<u16>(), psn in any::<u8>(),
    ) {
        let (first, second) = (&KEYS[one % KEYS.len()], &KEYS[two % KEYS.len()]);
        for format in [PinFormat::Iso0, PinFormat::Sm4Extended] {
            if let Ok(block) = EncryptedPinBlock::new(format, bytes.get(..format.block_len()).unwrap_or(&bytes)) {
                for pan in [text.as_str(), digits.as_str(), PAN] {
                    let _ = VAULT.translate_pin(&block, first, second, format, pan);
                    for (key, _) in pin_keys() {
                        let _ = VAULT.translate_pin(&block, key, key, format, pan);
                    }
                }
            }
        }
        let _ = VAULT.import(first.usage(), first.algorithm(), &bytes, second);
        let _ = VAULT.open(&bytes, &bytes);
        let _ = VAULT.digest(&bytes);
        for mac in MACS {
            let _ = VAULT.verify_mac(first, mac, &bytes, &bytes);
        }
        for track in [&text, &digits] {
            for algorithm in [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4] {
                let key = key(KeyUsage::Track, algorithm);
                let _ = VAULT.encrypt_track(track, key);
                let _ = VAULT.decrypt_track(track, key);
            }
        }
        for version in [CryptogramVersion::V01, CryptogramVersion::V10, CryptogramVersion::V17, CryptogramVersion::V18] {
            for derivation in [KeyDerivation::OptionA, KeyDerivation::OptionB] {
                for pan in [text.as_str(), digits.as_str(), PAN] {
                    let card = CardContext { derivation, ..CardContext::new(pan, psn, atc, version) };
                    for algorithm in [KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4] {
                        let imk = key(KeyUsage::IssuerMaster, algorithm);
                        let _ = VAULT.verify_arqc(imk, &card, &bytes, &bytes);
                        let _ = VAULT.make_arpc_method2(imk, &card, [1; 8], [2; 4], &bytes);
                        let mac = key(KeyUsage::IssuerScriptMac, algorithm);
                        let _ = VAULT.script_mac(mac, &card, [1; 8], &bytes);
                        let enc = key(KeyUsage::IssuerScriptCipher, algorithm);
                        let _ = VAULT.script_encipher(enc, &card, [1; 8], &bytes);
                    }
                }
            }
        }
        for layout in [KeyBlobLayout::Single24, KeyBlobLayout::Double40, KeyBlobLayout::DoubleTrack60, KeyBlobLayout::Sm4Track60] {
            let _ = parse_key_blob(layout, &bytes);
        }
        let _ = text.parse::<WrappedKey>();
        let _ = text.parse::<KeyComponent>();
        let _ = text.parse::<KeyRing>();
        let _ = digits.parse::<PinReference>();
        let _ = Pin::new(&digits);
    }
}
