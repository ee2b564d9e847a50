//! TR-31 key blocks: the standard's printed examples and blocks that a hardware module made open to the keys
//! they hold, one is made again to the last character; what is not right is refused by name; and keys sent
//! this way arrive with the use they had.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::LazyLock;

use hsm::primitives::key_block::{unwrap, wrap};
use hsm::*;
use proptest::prelude::*;

/// Name, protection key, block, key in it, its check value.
const BLOCKS: [(&str, &str, &str, &str, &str); 10] = [
    (
        "TR-31:2018 A.7.2.2",
        "DD7515F2BFC17F85CE48F3CA25CB21F6",
        "B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E",
        "3F419E1CB7079442AA37474C2EFBF8B8",
        "57C409",
    ),
    (
        "TR-31:2018 A.7.3.2, with a key serial number",
        "1D22BF32387C600AD97F9B97A51311AC",
        "B0104B0TX12S0100KS1800604B120F9292800000BB68BE8680A400D9191AD4ECE45B6E6C0D21C4738A52190E248719E24B433627",
        "E8BC63E5479455E26577F715D587FE68",
        "9A4212",
    ),
    (
        "TR-31:2018 A.7.4",
        "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6",
        "D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A27E8E31DA05F7425509593D03A457DC34",
        "3F419E1CB7079442AA37474C2EFBF8B8",
        "",
    ),
    (
        "a hardware module, version B",
        "EFE0853B256B583D868F251CE99EA1D9",
        "B0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228",
        "5DB50B454F8389ADCE573BE50861F2BF",
        "5C9405",
    ),
    (
        "a hardware module, version D with a triple-DES key",
        "4141414141414141414141414141414141414141414141414141414141414141",
        "D0112B0TN00N000037DB9B046B7B0048785690759580ABC3B9842AB4BB7717B49E92528E575785D8123559376A2553B27BE94F054F4E971C",
        "1FA1F7CEC798D91545DA8AE0C7796BD9",
        "FF5087",
    ),
    (
        "a hardware module, version D with an AES key",
        "4141414141414141414141414141414141414141414141414141414141414141",
        "D0144D0AN00N0000127862F945C2DED04530FAF7CDBC8B0BA10C7AA79BD5E0C2C5D6AC173BF588E4B19ACF1357178D50EA0AB193228E13958304FC6149632DFDCADF3A5B3D57E814",
        "BE19E6A07A760F10EF8E83A226B63AAD141F463FDDD4F47DB244B4023EC3CACC",
        "",
    ),
    (
        "another library (psec), version B under a triple-length key",
        "AAAAAAAAAAAAAAAABBBBBBBBBBBBBBBBCCCCCCCCCCCCCCCC",
        "B0096M3TC00E0000C7C6FE86A5DE769C20DCA238C52341378B484D544A9764D43963C3B2824AE56C2D07A565DD3AB342",
        "CCCCCCCCCCCCCCCCDDDDDDDDDDDDDDDD",
        "",
    ),
    (
        "a calculator of module makers, version B under a triple-length key",
        "260892192061C8760BDF235E1619B057B334FED0EFA74F32",
        "B0080P0TE00E00009AFD3EC2FB89B35F6CAE8889D7777611DFE04DA850A298BFD07667601FC01825",
        "F039121BEC83D26B169BDCD5B22AAF8F",
        "CB9DEA",
    ),
    (
        "a calculator of module makers, version D under AES-128",
        "F45185EADC5B799819DC8F4C3B58EC73",
        "D0112P0TE00E000013B674A99811C18AB8BCFB26D347F8449E68FC074858D85DC452E43910CDC2A5E9BFE75DC94415EC0A82072217D04E35",
        "3F419E1CB7079442AA37474C2EFBF8B8",
        "57C409",
    ),
    (
        "a calculator of module makers, version D under AES-192",
        "6BF89E64F80DBC70E9D6AEB03454E6544A67F725436E3BD3",
        "D0112P0TE00E00004101636D69EDAA41ACA5596D662C3AAC23A14B4305C5D0A434476F50DD68BFDA0A4EB63DC27DB6DAEA0E6AC684BABDBE",
        "3F419E1CB7079442AA37474C2EFBF8B8",
        "57C409",
    ),
];

/// A protection key of every length in either version, made up.
const PROTECTION: [(BlockVersion, &str); 5] = [
    (BlockVersion::B, "31313131313131315858585858585858"),
    (BlockVersion::B, "313131313131313158585858585858586767676767676767"),
    (BlockVersion::D, "77777777777777778888888888888888"),
    (BlockVersion::D, "777777777777777788888888888888889999999999999999"),
    (BlockVersion::D, "77777777777777778888888888888888999999999999999AAAAAAAAAAAAAAAAA"),
];

static VAULT: LazyLock<SoftVault> = LazyLock::new(|| SoftVault::ephemeral().unwrap());

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

/// A protection key of known bytes inside the vault, entered as two components.
fn protection(vault: &SoftVault, version: BlockVersion, clear: &[u8]) -> WrappedKey {
    let algorithm = version.protection(clear.len()).unwrap();
    let mask = vec![0x5A; clear.len()];
    let masked: Vec<u8> = clear.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    let components = [KeyComponent::new(&mask).unwrap(), KeyComponent::new(&masked).unwrap()];
    vault.import_components(KeyUsage::BlockProtection, algorithm, &components).unwrap()
}

#[test]
fn published_blocks_open_to_their_keys() {
    for (name, kbpk, block, key, _) in BLOCKS {
        let (header, clear) = unwrap(&bytes(kbpk), block).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(*clear, bytes(key), "{name}");
        assert_eq!(header.version, if block.starts_with('B') { BlockVersion::B } else { BlockVersion::D });
    }
}

/// The example whose random fill is printed comes out again character by character, and so do those that were filled with
/// zeros.
#[test]
fn blocks_of_known_fill_are_made_as_printed() {
    for (number, fill) in [
        (2, "1C2965473CE206BB855B01533782"),
        (7, "000000000000"),
        (8, "0000000000000000000000000000"),
        (9, "0000000000000000000000000000"),
    ] {
        let (name, kbpk, block, key, _) = BLOCKS[number];
        let (header, _) = KeyBlockHeader::parse(block).unwrap();
        assert_eq!(wrap(&bytes(kbpk), &header, &bytes(key), &bytes(fill)).unwrap(), block, "{name}");
    }
}

#[test]
fn the_serial_number_of_a_7_3_2_is_kept_as_it_came() {
    let (header, length) = KeyBlockHeader::parse(BLOCKS[1].2).unwrap();
    let block = OptionalBlock { id: *b"KS", data: "00604B120F9292800000".to_owned() };
    assert_eq!((header.optional, length), (vec![block], 40));
    assert_eq!((header.usage, header.mode, header.key_version), (*b"B0", b'X', *b"12"));
    assert_eq!(header.exportability, Exportability::Sensitive);
}

/// Through the vault: the check value agrees, and the key has the use that the block states.
#[test]
fn a_published_pin_key_becomes_a_pin_key_and_nothing_else() {
    for (name, kbpk, block, _, kcv) in [BLOCKS[0], BLOCKS[7], BLOCKS[8], BLOCKS[9]] {
        let (header, _) = KeyBlockHeader::parse(block).unwrap();
        let under = protection(&VAULT, header.version, &bytes(kbpk));
        let (pin, header) = VAULT.import_block(KeyUsage::Pin, block, &under).unwrap();
        assert_eq!((pin.usage(), pin.algorithm()), (KeyUsage::Pin, KeyAlgorithm::TripleDes2));
        assert!(pin.kcv().to_string().starts_with(kcv), "{name}: {}", pin.kcv());
        assert_eq!(header.usage, *b"P0");
        for usage in KeyUsage::ALL.into_iter().filter(|usage| *usage != KeyUsage::Pin) {
            assert!(VAULT.import_block(usage, block, &under).is_err(), "{usage}");
        }
    }
}

/// The check value of a protection key is the one that partners compute: a zero block under triple DES, AES-CMAC of a
/// zero block under AES.
#[test]
fn check_values_of_protection_keys() {
    // Computed with another implementation; the last is also printed in a block of another library's tests.
    for (version, key, check) in [
        (BlockVersion::B, BLOCKS[6].1, "4C3CDDA1"),
        (BlockVersion::D, BLOCKS[8].1, "3FA42CF9"),
        (BlockVersion::D, BLOCKS[9].1, "34272FF1"),
        (BlockVersion::D, BLOCKS[2].1, "2331550B"),
    ] {
        assert_eq!(protection(&VAULT, version, &bytes(key)).kcv().to_string(), check, "{key}");
    }
}

/// The version and the length together say which cipher a protection key is for; another length is refused, and so is
/// the key of one version for a block of the other.
#[test]
fn a_protection_key_belongs_to_one_version() {
    for len in 0..=40 {
        for (version, lengths) in [(BlockVersion::B, &[16, 24][..]), (BlockVersion::D, &[16, 24, 32])] {
            let algorithm = version.protection(len);
            assert_eq!(algorithm.is_ok(), lengths.contains(&len), "{version:?} {len}");
            match algorithm {
                Ok(algorithm) => {
                    assert_eq!(algorithm.key_len(), len);
                    assert_eq!(BlockVersion::for_key(algorithm), Some(version));
                }
                Err(error) => assert!(error.to_string().contains("protection key of 16"), "{error}"),
            }
            let header = KeyBlockHeader::describe(version, KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
            let made = wrap(&vec![7; len], &header, &[9; 16], &[0; 14]);
            assert_eq!(made.is_ok(), lengths.contains(&len), "{version:?} {len}: {made:?}");
        }
    }
    for (number, other) in [(6, BlockVersion::D), (8, BlockVersion::B), (9, BlockVersion::B)] {
        let (name, kbpk, block, ..) = BLOCKS[number];
        let under = protection(&VAULT, other, &bytes(kbpk));
        let usage = if number == 6 { KeyUsage::Mac } else { KeyUsage::Pin };
        let error = VAULT.import_block(usage, block, &under).unwrap_err().to_string();
        assert!(error.contains("its version is not that of the protection key"), "{name}: {error}");
    }
}

/// A triple-length key in a sound block: no terminal and no line has a place for one.
#[test]
fn a_key_of_triple_length_is_refused_by_name() {
    for (version, kbpk) in PROTECTION {
        let kbpk = bytes(kbpk);
        let under = protection(&VAULT, version, &kbpk);
        for usage in [KeyUsage::TerminalMaster, KeyUsage::ZoneMaster, KeyUsage::Pin, KeyUsage::IssuerMaster] {
            let header = KeyBlockHeader::describe(version, usage, KeyAlgorithm::TripleDes2).unwrap();
            let block = wrap(&kbpk, &header, &bytes(BLOCKS[7].1), &[0; 6]).unwrap();
            let error = VAULT.import_block(usage, &block, &under).unwrap_err().to_string();
            assert!(error.contains("triple length") && error.contains("single and double"), "{error}");
        }
    }
}

/// Every key that may be sent arrives with the same check value at another vault, in both versions and under protection
/// keys of every length; no other key leaves.
#[test]
fn keys_arrive_with_their_use() {
    let other = SoftVault::ephemeral().unwrap();
    for (version, clear) in PROTECTION.map(|(version, clear)| (version, bytes(clear))) {
        let (mine, theirs) = (protection(&VAULT, version, &clear), protection(&other, version, &clear));
        for usage in KeyUsage::ALL {
            for algorithm in KeyAlgorithm::ALL.into_iter().filter(|algorithm| usage.allows(*algorithm)) {
                let key = VAULT.generate(usage, algorithm).unwrap();
                let sent = VAULT.export_block(&key, &mine, Exportability::Never, &[]);
                let may = usage.may_be_sent_in_a_block()
                    && matches!(algorithm, KeyAlgorithm::Des | KeyAlgorithm::TripleDes2);
                assert_eq!(sent.is_ok(), may, "{usage} {algorithm}: {sent:?}");
                let Ok(block) = sent else { continue };
                let (back, header) = other.import_block(usage, &block, &theirs).unwrap();
                assert_eq!(
                    (back.usage(), back.algorithm(), back.kcv()),
                    (usage, algorithm, key.kcv()),
                    "{block}"
                );
                assert_eq!(header.exportability, Exportability::Never);
            }
        }
    }
}

#[test]
fn blocks_hide_the_length_of_their_key() {
    let under = protection(&VAULT, BlockVersion::B, &bytes(BLOCKS[0].1));
    let lengths = [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2].map(|algorithm| {
        let key = VAULT.generate(KeyUsage::Mac, algorithm).unwrap();
        VAULT.export_block(&key, &under, Exportability::Trusted, &[]).unwrap().len()
    });
    assert_eq!(lengths[0], lengths[1]);
}

#[test]
fn what_is_not_right_is_refused_by_name() {
    let sound = BLOCKS[0].2;
    let with = |at: usize, what: &str| {
        let mut text = sound.to_owned();
        text.replace_range(at..at + what.len(), what);
        text
    };
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "shorter"),
        (sound[..15].to_owned(), "shorter"),
        (with(0, "A"), "deprecated"),
        (with(0, "C"), "deprecated"),
        (with(0, "E"), "version is unknown"),
        (with(1, "0088"), "length"),
        (format!("{sound}0"), "length"),
        (with(5, "p"), "capital"),
        (with(11, "X"), "exportability"),
        (with(12, "A1"), "number of optional"),
        (with(12, "01"), "optional block"),
        (with(14, "01"), "reserved"),
        (with(20, "G"), "hexadecimal"),
        (with(20, "0"), "MAC is wrong"),
        (with(79, "F"), "MAC is wrong"),
        // Still a good header: only the MAC can tell.
        (with(8, "D"), "MAC is wrong"),
        (with(9, "01"), "MAC is wrong"),
    ];
    for (text, why) in cases {
        let error = unwrap(&bytes(BLOCKS[0].1), &text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    let error = unwrap(&bytes(BLOCKS[2].1), sound).unwrap_err().to_string();
    assert!(error.contains("version B takes"), "{error}");
    let error = unwrap(&bytes(BLOCKS[3].1), sound).unwrap_err().to_string();
    assert!(error.contains("another protection key"), "{error}");
    let under = VAULT.generate(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2).unwrap();
    let wrong = HsmError::WrongUsage { wanted: KeyUsage::BlockProtection, found: KeyUsage::ZoneMaster };
    assert_eq!(VAULT.import_block(KeyUsage::Pin, sound, &under).unwrap_err(), wrong);
}

fn optional() -> impl Strategy<Value = Vec<OptionalBlock>> {
    let id = prop::sample::select(vec![*b"KS", *b"CT", *b"TS", *b"KC", *b"10"]);
    let block = (id, "[ -~]{0,300}").prop_map(|(id, data)| OptionalBlock { id, data });
    prop::collection::vec(block, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any optional blocks, short and long: what was sent is what arrives, header and key.
    #[test]
    fn round_trip(optional in optional(), aes: bool, kbpk: [u8; 32], parts in 0usize..6, single: bool) {
        let version = if aes { BlockVersion::D } else { BlockVersion::B };
        let longest = if aes { 3 } else { 2 };
        let under = protection(&VAULT, version, &kbpk[..8 + 8 * (1 + parts % longest)]);
        let algorithm = if single { KeyAlgorithm::Des } else { KeyAlgorithm::TripleDes2 };
        let key = VAULT.generate(KeyUsage::Track, algorithm).unwrap();
        let block = VAULT.export_block(&key, &under, Exportability::Trusted, &optional).unwrap();
        let (back, header) = VAULT.import_block(KeyUsage::Track, &block, &under).unwrap();
        prop_assert_eq!(back.kcv(), key.kcv());
        prop_assert_eq!(header.optional, optional);
    }

    /// No text makes it panic, and none but the sound one opens.
    #[test]
    fn altered_text_never_opens(at in 0usize..80, to in "[0-9A-Z]") {
        let (_, kbpk, sound, ..) = BLOCKS[0];
        let mut text = sound.to_owned();
        text.replace_range(at..=at, &to);
        prop_assert_eq!(unwrap(&bytes(kbpk), &text).is_ok(), text == sound);
    }

    #[test]
    fn any_text_is_an_error_or_a_header(text in "[BD][0-9]{4}[ -~]{0,120}", any in ".{0,60}") {
        for text in [text, any] {
            let _: Result<_, HsmError> = unwrap(&[7; 32], &text);
            let _: Result<_, HsmError> = unwrap(&[7; 16], &text);
        }
    }
}
