//! Keys in TR-31 key blocks, from the commands to a payment: a terminal takes its master key out of a block that a
//! hardware module made, signs in and pays with it; a key in use is exchanged the same way; what a block may not bring is
//! refused and changes nothing; a terminal's key and the zone master key leave in blocks that open elsewhere to the same.

use hsm::primitives::key_block::{unwrap, wrap};
use hsm::{BlockVersion, KeyAlgorithm, KeyBlockHeader, KeyUsage};
use pos::{KeyLayout, Outcome, TmkComponent};
use serde_json::Value;

use crate::support::{FIRST, Lab, MERCHANT, NATIONAL, PATIENCE, Setup, TMK, text};
use crate::{code, sold, swipe};

/// A published block of a hardware module: a key that sends others, not to be sent on; its protection key; the key in it.
const PUBLISHED: &str = "B0080K0TN00N00001C414014375212C24995E405B5EE052CB92B67F455EA2680F6751088F9F1C228";
const PROTECTION: &str = "EFE0853B256B583D868F251CE99EA1D9";
const KEY: &str = "5DB50B454F8389ADCE573BE50861F2BF";

/// The standard's printed example with a PIN key, and its protection key.
const PIN_BLOCK: &str = "B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E";
const PIN_PROTECTION: &str = "DD7515F2BFC17F85CE48F3CA25CB21F6";

/// Blocks with PIN keys as a calculator of module makers prints them, under protection keys of 24 bytes in version B and of
/// 16 and 24 in version D; their protection keys and the check values of the keys in them.
const OTHER_LENGTHS: [(&str, &str, &str, &str); 3] = [
    (
        "3des192",
        "260892192061C8760BDF235E1619B057B334FED0EFA74F32",
        "B0080P0TE00E00009AFD3EC2FB89B35F6CAE8889D7777611DFE04DA850A298BFD07667601FC01825",
        "CB9DEA",
    ),
    (
        "aes128",
        "F45185EADC5B799819DC8F4C3B58EC73",
        "D0112P0TE00E000013B674A99811C18AB8BCFB26D347F8449E68FC074858D85DC452E43910CDC2A5E9BFE75DC94415EC0A82072217D04E35",
        "57C409",
    ),
    (
        "aes192",
        "6BF89E64F80DBC70E9D6AEB03454E6544A67F725436E3BD3",
        "D0112P0TE00E00004101636D69EDAA41ACA5596D662C3AAC23A14B4305C5D0A434476F50DD68BFDA0A4EB63DC27DB6DAEA0E6AC684BABDBE",
        "57C409",
    ),
];

/// A fresh terminal.
const NEW: &str = "10000021";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// A protection key as its two holders know it.
fn halves(key: &str) -> [String; 2] {
    let other: Vec<u8> = bytes(key).iter().map(|byte| byte ^ 0x5A).collect();
    ["5A".repeat(other.len()), hex::encode_upper(other)]
}

/// The words of a command with a block and the holders' halves of its protection key.
fn with_block<'a>(words: &[&'a str], block: &'a str, halves: &'a [String; 2]) -> Vec<&'a str> {
    [words, &["--tr31", block, "--component", &halves[0], "--component", &halves[1]]].concat()
}

fn check_value(lab: &Lab, id: &str) -> String {
    let lines = lab.good(&["terminal", "list", "--json"]);
    let mut terminals = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let terminal = terminals.find(|terminal| terminal["terminal"] == id).unwrap();
    terminal["kcv"]["tmk"].as_str().unwrap().to_owned()
}

fn refused(lab: &Lab, words: &[&str], why: &str) {
    let output = lab.posp(words);
    assert!(!output.status.success() && text(&output).contains(why), "{words:?}: {}", text(&output));
}

#[tokio::test]
async fn a_terminal_takes_its_master_key_out_of_a_key_block() {
    let mut lab = Lab::prepare(&Setup::default());
    let protection = halves(PROTECTION);
    let said = lab.good(&with_block(&["terminal", "add", MERCHANT, NEW], PUBLISHED, &protection));
    assert!(said.contains("tmk 3des, check value 5C9405, under "), "{said}");
    assert!(said.contains("must not be sent on") && said.contains("TMK check value 5C9405"), "{said}");
    assert_eq!(check_value(&lab, NEW), "5C9405");
    lab.start_network();
    lab.start_node().await;
    lab.ready().await;
    let mut terminal = pos::Terminal::enrol(lab.terminal_dir(NEW), lab.terminal_config(NEW)).unwrap();
    let loaded = [TmkComponent::parse(&format!("{KEY}:5C9405"))];
    terminal.load_tmk(&loaded, None).await.unwrap();
    assert!(terminal.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
    sold(&mut terminal, swipe(12_300)).await;

    // A key in use is exchanged beside the running node: the session ends as when components are entered.
    let (mut first, _) = lab.signed_in(FIRST).await;
    sold(&mut first, swipe(1_000)).await;
    lab.good(&with_block(&["terminal", "add", MERCHANT, FIRST], PUBLISHED, &protection));
    assert_eq!(check_value(&lab, FIRST), "5C9405");
    let noticed = async {
        loop {
            // Poll: the node notices within seconds.
            let outcome = first.sale(swipe(1_100)).await.unwrap();
            if !outcome.approved {
                break outcome;
            }
        }
    };
    let outcome: Outcome = tokio::time::timeout(PATIENCE, noticed).await.expect("the node never notices");
    assert_eq!(code(&outcome), "77", "{outcome:?}");
    first.load_tmk(&loaded, None).await.unwrap();
    assert!(first.sign_in(KeyLayout::TripleDesTrack).await.unwrap().approved);
    sold(&mut first, swipe(1_200)).await;
}

/// What does not belong into a terminal is refused with its reason, and the terminal keeps the key that it has.
#[test]
fn what_a_block_may_not_bring_is_refused() {
    let lab = Lab::prepare(&Setup::default());
    let before = check_value(&lab, FIRST);
    let (right, other) = (halves(PROTECTION), halves(PIN_PROTECTION));
    let add = ["terminal", "add", MERCHANT, FIRST];
    refused(&lab, &with_block(&add, PIN_BLOCK, &other), "its key is for another usage");
    refused(&lab, &with_block(&add, PUBLISHED, &other), "its MAC is wrong");
    refused(&lab, &[&with_block(&add, PUBLISHED, &right)[..], &["--kcv", "000000"]].concat(), "check value");
    let sm4 = with_block(&["terminal", "add", MERCHANT, FIRST, "--cipher", "sm4"], PUBLISHED, &right);
    refused(&lab, &sm4, "no code for SM4 keys");
    let national = ["terminal", "add", MERCHANT, NATIONAL];
    refused(&lab, &with_block(&national, PUBLISHED, &right), "no code for SM4 keys");
    // A master key of single length, in a sound block.
    let header = KeyBlockHeader::describe(BlockVersion::B, KeyUsage::TerminalMaster, KeyAlgorithm::Des);
    let single = wrap(&bytes(PROTECTION), &header.unwrap(), &bytes(&KEY[..16]), &[0; 14]).unwrap();
    refused(&lab, &with_block(&add, &single, &right), "double-length triple-DES");
    // One of triple length.
    let header =
        KeyBlockHeader::describe(BlockVersion::B, KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2);
    let triple = wrap(&bytes(PROTECTION), &header.unwrap(), &[0x31; 24], &[0; 6]).unwrap();
    refused(&lab, &with_block(&add, &triple, &right), "its key is of triple length");
    refused(&lab, &with_block(&["key", "zone"], &triple, &right), "single and double length");
    // Protection keys of lengths that the block's version does not have, and components of two lengths.
    for bytes in [8, 32] {
        let long = ["5A".repeat(bytes), "31".repeat(bytes)];
        refused(
            &lab,
            &with_block(&add, PUBLISHED, &long),
            "version B takes a triple-DES protection key of 16 or 24",
        );
    }
    let short = ["5A".repeat(8), "31".repeat(8)];
    let words = with_block(&["key", "import", "--usage", "pin"], OTHER_LENGTHS[1].2, &short);
    refused(&lab, &words, "version D takes an AES protection key of 16, 24 or 32 bytes");
    let uneven = ["5A".repeat(24), "31".repeat(16)];
    refused(&lab, &with_block(&add, PUBLISHED, &uneven), "3des192 takes 24 bytes of key, got 16");
    refused(&lab, &with_block(&add, PUBLISHED, &["5A".repeat(17), "31".repeat(17)]), "8, 16, 24 or 32 bytes");
    // The right length, and another key.
    let other = ["5A".repeat(24), "31".repeat(24)];
    refused(&lab, &with_block(&add, PUBLISHED, &other), "its MAC is wrong");
    // Two ways at once, and components of a protection key for no block.
    let two = [&with_block(&add, PUBLISHED, &right)[..], &["--tmk-component", TMK[0]]].concat();
    refused(&lab, &two, "cannot be used with");
    refused(&lab, &[&add[..], &["--component", &right[0]]].concat(), "--tr31");
    assert_eq!(check_value(&lab, FIRST), before);
    // Its own protection key's holders are asked for, here by way of a pipe.
    let typed = format!("{}\n{}\n\n", right[0], right[1]);
    let config = lab.config();
    let words = [&["--config", config.to_str().unwrap()], &add[..], &["--tr31", PUBLISHED]].concat();
    let output = crate::support::posp_with_input(&words, &typed);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(check_value(&lab, FIRST), "5C9405");
}

/// Hosts protect with keys of other lengths too: their blocks are taken, the line over the key says under which cipher.
#[test]
fn blocks_under_protection_keys_of_other_lengths_are_taken() {
    let lab = Lab::prepare(&Setup::default());
    for (cipher, protection, block, kcv) in OTHER_LENGTHS {
        let halves = halves(protection);
        let said = lab.good(&with_block(&["key", "import", "--usage", "pin"], block, &halves));
        assert!(said.contains(&format!("# pin 3des, check value {kcv}, under {cipher} ")), "{said}");
        assert!(said.lines().last().unwrap().starts_with(&format!("v1:pin:3des:{kcv}")), "{said}");

        // A terminal's and the zone's master key under the same protection key.
        let (header, _) = KeyBlockHeader::parse(block).unwrap();
        let header =
            KeyBlockHeader::describe(header.version, KeyUsage::TerminalMaster, KeyAlgorithm::TripleDes2);
        let master = wrap(&bytes(protection), &header.unwrap(), &bytes(KEY), &[0; 14]).unwrap();
        let said = lab.good(&with_block(&["terminal", "add", MERCHANT, FIRST], &master, &halves));
        assert!(said.contains(&format!("tmk 3des, check value 5C9405, under {cipher} ")), "{said}");
        assert_eq!(check_value(&lab, FIRST), "5C9405");
        let said = lab.good(&with_block(&["key", "zone"], &master, &halves));
        assert!(said.contains("zone_master_key = \"v1:zmk:3des:5C9405"), "{said}");
    }
}

/// A terminal's key leaves by its number, for the device that loads it; the zone master key comes and goes the same way.
#[test]
fn master_keys_leave_in_blocks_that_open_elsewhere() {
    let lab = Lab::prepare(&Setup::default());
    let key: Vec<u8> = bytes(TMK[0]).iter().zip(bytes(TMK[1])).map(|(a, b)| a ^ b).collect();
    // Version B where nothing says otherwise, but for the one length that it does not have.
    for (length, version, wanted) in [
        (16, None, BlockVersion::B),
        (24, None, BlockVersion::B),
        (32, None, BlockVersion::D),
        (24, Some("B"), BlockVersion::B),
        (16, Some("D"), BlockVersion::D),
        (24, Some("d"), BlockVersion::D),
    ] {
        let protection = "9C".repeat(length - 9) + "010203040506070809";
        let [one, two] = halves(&protection);
        let mut export = vec!["key", "export", "--tr31", "--component", &one, "--component", &two];
        export.extend(version.iter().flat_map(|version| ["--block-version", *version]));
        let words = [&export[..], &["--merchant", MERCHANT, "--terminal", FIRST]].concat();
        let said = lab.good(&words);
        assert!(said.contains(&format!("tmk 3des, check value {}", check_value(&lab, FIRST))), "{said}");
        let block = said.lines().last().unwrap();
        let (header, clear) = unwrap(&bytes(&protection), block).unwrap();
        assert_eq!((header.usage, header.algorithm, header.mode), (*b"K0", b'T', b'B'), "{block}");
        assert_eq!(header.version, wanted, "{block}");
        assert_eq!(*clear, key);

        let unknown = [&export[..], &["--merchant", MERCHANT, "--terminal", "99999999"]].concat();
        refused(&lab, &unknown, "is not known");
        let national = [&export[..], &["--merchant", MERCHANT, "--terminal", NATIONAL]].concat();
        refused(&lab, &national, "no code for SM4 keys");
        refused(&lab, &export, "--key");

        let halves = [one.clone(), two.clone()];
        let zone = lab.good(&[&export[..], &["--key", "zone"]].concat());
        let back = lab.good(&with_block(&["key", "zone"], zone.lines().last().unwrap(), &halves));
        assert!(
            back.contains("check value 08D7B4") && back.contains("zone_master_key = \"v1:zmk:3des:"),
            "{back}"
        );
        // Both are keys that send others (K0): which of them it becomes is for who takes it. A PIN key is neither.
        refused(
            &lab,
            &with_block(&["key", "zone"], PIN_BLOCK, &self::halves(PIN_PROTECTION)),
            "another usage",
        );
    }
    let halves = halves(&"9C".repeat(32));
    let words =
        ["key", "export", "--tr31", "--key", "zone", "--component", &halves[0], "--component", &halves[1]];
    let long = [&words[..], &["--block-version", "B"]].concat();
    refused(&lab, &long, "version B takes a triple-DES protection key of 16 or 24 bytes");
    refused(&lab, &[&words[..], &["--block-version", "A"]].concat(), "possible values: B, D");
}
