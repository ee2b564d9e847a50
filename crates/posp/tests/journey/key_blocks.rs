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

/// A terminal's key leaves by its number, for the device that loads it; the zone master key comes and goes the same way.
#[test]
fn master_keys_leave_in_blocks_that_open_elsewhere() {
    let lab = Lab::prepare(&Setup::default());
    let key: Vec<u8> = bytes(TMK[0]).iter().zip(bytes(TMK[1])).map(|(a, b)| a ^ b).collect();
    for protection in [PIN_PROTECTION.to_owned(), "9C".repeat(31) + "01"] {
        let [one, two] = halves(&protection);
        let export = ["key", "export", "--tr31", "--component", &one, "--component", &two];
        let words = [&export[..], &["--merchant", MERCHANT, "--terminal", FIRST]].concat();
        let said = lab.good(&words);
        assert!(said.contains(&format!("tmk 3des, check value {}", check_value(&lab, FIRST))), "{said}");
        let block = said.lines().last().unwrap();
        let (header, clear) = unwrap(&bytes(&protection), block).unwrap();
        assert_eq!((header.usage, header.algorithm, header.mode), (*b"K0", b'T', b'B'), "{block}");
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
}
