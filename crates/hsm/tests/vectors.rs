//! Known answers for keys, MACs, PIN blocks and tracks. Each test carries the name of its vector: K are
//! published numbers, S and the CUPS line are synthetic ones computed by two other implementations. They
//! tie every rule to what terminals and networks compute, not to what this crate once computed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use hsm::primitives::mac::{Padding, cup_ecb, hex_head, sm4_cbc, sm4_cup, x99, x919};
use hsm::primitives::{BlockKey, DesKey, Sm4Key, check_value};
use hsm::*;

const PAN: &str = "6224242000000021";
const TMK: &str = "0123456789ABCDEFFEDCBA9876543210";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn block<const N: usize>(text: &str) -> [u8; N] {
    bytes(text).try_into().unwrap()
}

fn upper(bytes: &[u8]) -> String {
    hex::encode_upper(bytes)
}

/// A known key inside a vault, entered as two components as the rules ask.
fn load(vault: &SoftVault, usage: KeyUsage, algorithm: KeyAlgorithm, key: &str) -> WrappedKey {
    let clear = bytes(key);
    let mask: Vec<u8> = (0..clear.len()).map(|index| 0xA5 ^ index as u8).collect();
    let other: Vec<u8> = clear.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    let parts = [KeyComponent::new(&mask).unwrap(), KeyComponent::new(&other).unwrap()];
    vault.import_components(usage, algorithm, &parts).unwrap()
}

fn tmk(vault: &SoftVault, algorithm: KeyAlgorithm, key: &str) -> WrappedKey {
    vault
        .import_components(KeyUsage::TerminalMaster, algorithm, &[KeyComponent::from_hex(key).unwrap()])
        .unwrap()
}

fn working_keys(vault: &SoftVault, mac: KeyAlgorithm) -> WorkingKeys {
    let mak = if mac == KeyAlgorithm::Des { "33".repeat(8) } else { "33".repeat(8) + &"44".repeat(8) };
    WorkingKeys {
        pin: load(vault, KeyUsage::Pin, KeyAlgorithm::TripleDes2, &("11".repeat(8) + &"22".repeat(8))),
        mac: load(vault, KeyUsage::Mac, mac, &mak),
        track: Some(load(
            vault,
            KeyUsage::Track,
            KeyAlgorithm::TripleDes2,
            &("44".repeat(8) + &"55".repeat(8)),
        )),
    }
}

#[test]
fn k1_published_key_block_of_40_bytes() {
    let blob = bytes("6701EAD6A9AD51E51AA406E2C27FCFA9 8D0A74B8 B651F9E9BACE9AE1 0000000000000000 AB7153CA");
    let vault = SoftVault::ephemeral().unwrap();
    let tmk = tmk(&vault, KeyAlgorithm::TripleDes2, "CA5D92598DCA48CE8A4C76361A9269E9");
    let keys = WorkingKeys::from_blob(&vault, KeyBlobLayout::Double40, &blob, &tmk).unwrap();
    assert_eq!(keys.pin.kcv().to_string(), "8D0A74B8");
    assert_eq!(keys.mac.algorithm(), KeyAlgorithm::Des);
    assert_eq!(keys.mac.kcv().to_string(), "AB7153CA");
    // The clear keys are the published ones: same check block, and the same key sent out again.
    let pik = DesKey::double(&block("807A23AD32B36D457AE91FDF927570EA"));
    assert_eq!(upper(&pik.encrypt([0; 8])), "8D0A74B8C5EF66C6");
    let mak = DesKey::single(&block("5BB5C72CD00B7338"));
    assert_eq!(upper(&mak.encrypt([0; 8])), "AB7153CA985B10C2");
    assert_eq!(vault.mac(&keys.mac, MacAlgorithm::CupEcb, b"any").unwrap(), cup_ecb(&mak, b"any"));
    assert_eq!(keys.to_blob(&vault, KeyBlobLayout::Double40, &tmk).unwrap(), blob);
}

#[test]
fn k3_published_mac_key_and_intermediate_values() {
    let tmk = BlockKey::new(KeyAlgorithm::TripleDes2, &bytes("70F2A84CCBC2AE8625CBB0F2C22AB923")).unwrap();
    let mut tak = bytes("96D605EA176B7E9E");
    tmk.decrypt_ecb(&mut tak).unwrap();
    assert_eq!(upper(&tak), "C24A8FB57AA20123");
    // A message of one block folds to itself, so R can be the message.
    let key = DesKey::single(&tak.try_into().unwrap());
    assert_eq!(upper(&key.encrypt(*b"4D08F434")), "6A4DF084B6D23759");
    assert_eq!(&cup_ecb(&key, &bytes("4D08F434464FE7BF")), b"8A9E91B8");
}

#[test]
fn k4_published_frame_with_its_mac() {
    let frame = bytes(
        "02003020048000C080150000000000000012340000020300993030303030303031393532373138313832323137383735 \
         31353600192600000100060000000000435F01123238343431323334353637383930313233345F03063136303033365F \
         04063230303832365C0230314233413039324145",
    );
    let (message, mac) = frame.split_at(frame.len() - 8);
    assert_eq!(message.len(), 108);
    let mak = "0723C80DB5F4CD3D0723C80DB5F4CD3D";
    let vault = SoftVault::ephemeral().unwrap();
    let double = load(&vault, KeyUsage::Mac, KeyAlgorithm::TripleDes2, mak);
    let single = load(&vault, KeyUsage::Mac, KeyAlgorithm::Des, &mak[..16]);
    for key in [&double, &single] {
        assert_eq!(&vault.mac(key, MacAlgorithm::CupEcb, message).unwrap(), b"B3A092AE");
        assert!(vault.verify_mac(key, MacAlgorithm::CupEcb, message, mac).unwrap());
        assert!(!vault.verify_mac(key, MacAlgorithm::CupEcb, message, b"B3A092AF").unwrap());
        assert!(!vault.verify_mac(key, MacAlgorithm::CupEcb, message, b"B3A092A").unwrap());
        assert!(!vault.verify_mac(key, MacAlgorithm::CupEcb, &message[1..], mac).unwrap());
    }
}

#[test]
fn k5_published_pin_blocks() {
    let pin = Pin::new("123456").unwrap();
    for (pan, clear) in [("123456789012345678", "061253DFFEDCBA98"), ("1234567890123456", "0612713176FEDCBA")]
    {
        assert_eq!(upper(&*primitives::pin::build_iso0(&pin, pan).unwrap()), clear);
        assert!(primitives::pin::read_iso0(&block(clear), pan).unwrap() == pin);
    }
}

#[test]
fn k7_published_retail_mac() {
    let key = DesKey::double(&block("46B0AA84C9AB2CC87FBD7C736E515C06"));
    let vault = SoftVault::ephemeral().unwrap();
    let wrapped = load(&vault, KeyUsage::Mac, KeyAlgorithm::TripleDes2, "46B0AA84C9AB2CC87FBD7C736E515C06");
    for (data, mac) in [("121234FF", b"C17E5FB7"), ("121234FF121234FF", b"B55B5956")] {
        assert_eq!(&hex_head(&x919(&key, &bytes(data), Padding::Zero)), mac);
        let algorithm = MacAlgorithm::X919 { pad80: false, hex: true };
        assert_eq!(&vault.mac(&wrapped, algorithm, &bytes(data)).unwrap(), mac);
        let raw = vault.mac(&wrapped, MacAlgorithm::X919 { pad80: false, hex: false }, &bytes(data)).unwrap();
        assert_eq!(&hex_head(&raw), mac);
    }
}

#[test]
fn k8_published_sm4() {
    let key = block("0123456789ABCDEFFEDCBA9876543210");
    let cipher = Sm4Key::new(&key).encrypt(key);
    assert_eq!(upper(&cipher), "681EDF34D206965E86B3E94F536E4246");
    assert_eq!(Sm4Key::new(&key).decrypt(cipher), key);
}

#[test]
fn s1_key_block_of_40_bytes() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = WorkingKeys { track: None, ..working_keys(&vault, KeyAlgorithm::Des) };
    let tmk = tmk(&vault, KeyAlgorithm::TripleDes2, TMK);
    let blob = keys.to_blob(&vault, KeyBlobLayout::Double40, &tmk).unwrap();
    assert_eq!(
        upper(&blob),
        "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E0000000000000000ADC67D84"
    );
}

#[test]
fn s2_key_block_of_60_bytes() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = working_keys(&vault, KeyAlgorithm::Des);
    let tmk = tmk(&vault, KeyAlgorithm::TripleDes2, TMK);
    let blob = keys.to_blob(&vault, KeyBlobLayout::DoubleTrack60, &tmk).unwrap();
    assert_eq!(
        upper(&blob),
        "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E0000000000000000ADC67D84\
         17B9F1B1A1B2D33C00396833D152DA8E6B941819"
    );
    let loaded = WorkingKeys::from_blob(&vault, KeyBlobLayout::DoubleTrack60, &blob, &tmk).unwrap();
    assert_eq!(loaded.track.unwrap().kcv(), keys.track.unwrap().kcv());
}

#[test]
fn s4_key_block_with_a_double_length_mak() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = WorkingKeys { track: None, ..working_keys(&vault, KeyAlgorithm::TripleDes2) };
    let tmk = tmk(&vault, KeyAlgorithm::TripleDes2, TMK);
    let blob = keys.to_blob(&vault, KeyBlobLayout::Double40, &tmk).unwrap();
    assert_eq!(
        upper(&blob),
        "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E17B9F1B1A1B2D33CE18DE25E"
    );
    let loaded = WorkingKeys::from_blob(&vault, KeyBlobLayout::Double40, &blob, &tmk).unwrap();
    assert_eq!(loaded.mac.algorithm(), KeyAlgorithm::TripleDes2);
}

#[test]
fn s5_key_block_of_sm4_keys() {
    let blob = bytes(
        "D052DCC19D0EEB7A565720640D8B7E29 DD60708C BD7B374D8DF254E7B90C3BF03C814F7E 855C3763 \
         449734911A4402599E9A30CBAB1192BC F7C127A8",
    );
    let vault = SoftVault::ephemeral().unwrap();
    let tmk = tmk(&vault, KeyAlgorithm::Sm4, TMK);
    let key = |usage, first: u8| {
        let clear: Vec<u8> = (first..first + 16).collect();
        load(&vault, usage, KeyAlgorithm::Sm4, &hex::encode(clear))
    };
    let keys = WorkingKeys {
        pin: key(KeyUsage::Pin, 0x01),
        mac: key(KeyUsage::Mac, 0x11),
        track: Some(key(KeyUsage::Track, 0x21)),
    };
    assert_eq!(keys.to_blob(&vault, KeyBlobLayout::Sm4Track60, &tmk).unwrap(), blob);
    let loaded = WorkingKeys::from_blob(&vault, KeyBlobLayout::Sm4Track60, &blob, &tmk).unwrap();
    assert_eq!(loaded.mac.kcv(), keys.mac.kcv());
}

#[test]
fn s6_check_values() {
    assert_eq!(check_value(KeyAlgorithm::TripleDes2, &bytes(TMK)).unwrap().to_string(), "08D7B4FB");
    assert_eq!(check_value(KeyAlgorithm::Des, &bytes(&TMK[..16])).unwrap().to_string(), "D5D44FF7");
    assert_eq!(check_value(KeyAlgorithm::Sm4, &bytes(TMK)).unwrap().to_string(), "2677F46B");
    assert_eq!(upper(&DesKey::double(&block(TMK)).encrypt([0; 8])), "08D7B4FB629D0885");
    assert_eq!(upper(&DesKey::single(&block(&TMK[..16])).encrypt([0; 8])), "D5D44FF720683D0D");
    assert_eq!(upper(&Sm4Key::new(&block(TMK)).encrypt([0; 16])), "2677F46B09C122CC975533105BD4A22A");
}

#[test]
fn s7_pin_block_for_field_52() {
    let vault = SoftVault::ephemeral().unwrap();
    let pin = Pin::new("123456").unwrap();
    assert_eq!(upper(&*primitives::pin::build_iso0(&pin, PAN).unwrap()), "06127614FFFFFFFD");
    let keys = working_keys(&vault, KeyAlgorithm::Des);
    let block = vault.encrypt_pin(&pin, PAN, &keys.pin, PinFormat::Iso0).unwrap();
    assert_eq!(upper(block.bytes()), "010FFE95955CE8A5");
}

#[test]
fn s8_encrypted_track() {
    let vault = SoftVault::ephemeral().unwrap();
    let key = working_keys(&vault, KeyAlgorithm::Des).track.unwrap();
    let sent = vault.encrypt_track("6224242000000021D29022015699031007", &key).unwrap();
    assert_eq!(sent, "6224242000000021F00997375B09E70507");
    assert_eq!(vault.encrypt_track("6224242000000021=29022015699031007", &key).unwrap(), sent);
    let back = vault.decrypt_track(&sent, &key).unwrap();
    assert_eq!(back.as_str(), "6224242000000021D29022015699031007");
    assert_eq!(back.pan(), Some(PAN));
}

/// The sale of S9 from its MTI to its last byte before field 64.
const S9_BODY: &str = "0200302004C020C0981100000000000000010000001702100012346224242000000021F00997375B\
                       09E705073130303030303031383938313030303030303030303031313536010FFE95955CE8A52610\
                       000000000000001422000001000500";

fn s9_body() -> Vec<u8> {
    bytes(S9_BODY)
}

#[test]
fn s9_whole_sale_with_encrypted_track() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = working_keys(&vault, KeyAlgorithm::Des);
    assert_eq!(&vault.mac(&keys.mac, MacAlgorithm::CupEcb, &s9_body()).unwrap(), b"35DF922F");
}

#[test]
fn s10_clear_track_and_double_length_mak() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = working_keys(&vault, KeyAlgorithm::TripleDes2);
    let body = S9_BODY
        .replace("6224242000000021F00997375B09E70507", "6224242000000021D29022015699031007")
        .replace("A52610000000000000", "A52600000000000000");
    assert_eq!(&vault.mac(&keys.mac, MacAlgorithm::CupEcb, &bytes(&body)).unwrap(), b"665E8736");
}

#[test]
fn s11_other_algorithms_over_the_sale_of_s9() {
    let vault = SoftVault::ephemeral().unwrap();
    let keys = working_keys(&vault, KeyAlgorithm::Des);
    let raw = vault.mac(&keys.mac, MacAlgorithm::X99, &s9_body()).unwrap();
    assert_eq!(upper(&raw), "D974DCC6C2985B17");
    assert_eq!(&vault.mac(&keys.mac, MacAlgorithm::X99Hex, &s9_body()).unwrap(), b"D974DCC6");
    let mak: Vec<u8> = (0x11..=0x20).collect();
    let sm4 = load(&vault, KeyUsage::Mac, KeyAlgorithm::Sm4, &hex::encode(&mak));
    assert_eq!(&vault.mac(&sm4, MacAlgorithm::Sm4Cup, &s9_body()).unwrap(), b"C79134A9");
    let key = Sm4Key::new(&mak.try_into().unwrap());
    assert_eq!(&sm4_cup(&key, &s9_body()), b"C79134A9");
    // One block is its own fold: the intermediate value R of the vector gives the same MAC.
    assert_eq!(&sm4_cup(&key, &bytes("020110D0004F2CA17D419408CD840610")), b"C79134A9");
    assert_eq!(upper(&key.encrypt(*b"020110D0004F2CA1")), "F0F4790FA009F9B2A3FDF907D8BC58CC");
}

#[test]
fn cups_mac_over_the_selected_fields() {
    let text =
        b"0200 166224242000000021 000000 000000000100 1123120000 000017 5411 00 0814538200 0814538200 \
                 10000001 898100000000001";
    let vault = SoftVault::ephemeral().unwrap();
    let single = load(&vault, KeyUsage::Mac, KeyAlgorithm::Des, &"33".repeat(8));
    let double = load(&vault, KeyUsage::Mac, KeyAlgorithm::TripleDes2, &("33".repeat(8) + &"44".repeat(8)));
    assert_eq!(upper(&vault.mac(&single, MacAlgorithm::X99, text).unwrap()), "FE5E4AEF4D9C920A");
    assert_eq!(&vault.mac(&single, MacAlgorithm::CupsCbc, text).unwrap(), b"FE5E4AEF");
    assert_eq!(upper(&vault.mac(&double, MacAlgorithm::X99, text).unwrap()), "B87BB7D7BA9E4182");
    assert_eq!(&vault.mac(&double, MacAlgorithm::CupsCbc, text).unwrap(), b"B87BB7D7");
    let retail = vault.mac(&double, MacAlgorithm::X919 { pad80: false, hex: false }, text).unwrap();
    assert_eq!(upper(&retail), "60EEDE54FDAA96E5");
}

/// No outside numbers exist for these two; the tests pin the rule as written, by computing it here step
/// by step from the bare cipher.
#[test]
fn modelled_sm4_pin_block_and_cups_mac() {
    let vault = SoftVault::ephemeral().unwrap();
    let clear: [u8; 16] = std::array::from_fn(|index| index as u8 + 1);
    let cipher = Sm4Key::new(&clear);
    let pik = load(&vault, KeyUsage::Pin, KeyAlgorithm::Sm4, &hex::encode(clear));
    let sent = vault.encrypt_pin(&Pin::new("123456").unwrap(), PAN, &pik, PinFormat::Sm4Extended).unwrap();
    // 06123456 FF.. and the 12 card digits 424200000002 at the right end.
    let plain = block::<16>("06123456FFFFFFFFFFFFBDBDFFFFFFFD");
    assert_eq!(sent.bytes(), cipher.encrypt(plain));

    let mak = load(&vault, KeyUsage::Mac, KeyAlgorithm::Sm4, &hex::encode(clear));
    let mut first = *b"0200 16622424200";
    first = cipher.encrypt(first);
    let mut second = *b"0000021\0\0\0\0\0\0\0\0\0";
    second.iter_mut().zip(first).for_each(|(to, from)| *to ^= from);
    let expected = cipher.encrypt(second);
    let text = b"0200 166224242000000021";
    assert_eq!(sm4_cbc(&cipher, text, Padding::Zero), expected);
    assert_eq!(vault.mac(&mak, MacAlgorithm::CupsSm4, text).unwrap(), hex_head(&expected));
    assert_eq!(x99(&DesKey::single(&[1; 8]), b"", Padding::Zero), [0; 8]);
}
