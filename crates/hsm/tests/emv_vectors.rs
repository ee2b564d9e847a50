//! Chip cryptograms against known answers: one published card of somebody else (PBOC example) and the own
//! numbers of lab card L01, which a second and partly a third implementation computed. Issuer and card
//! must agree on these bytes or no chip payment is ever approved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use hsm::primitives::BlockKey;
use hsm::primitives::emv::{
    arpc_method1, arpc_method2, card_key, cryptogram, diversifier, script_encipher, script_mac, session_key,
};
use hsm::*;

const IMK_AC: &str = "0123456789ABCDEFFEDCBA9876543210";
const IMK_MAC: &str = "1133557799BBDDFF0022446688AACCEE";
const IMK_ENC: &str = "2233445566778899AABBCCDDEEFF0011";
const PAN: &str = "6224242000000013";
/// Amounts, country, TVR, currency, date, type, random number, AIP; then counter and CVR.
const DATA: &str = "000000010000000000000000015600000480000156261124001A2B3C4D7C000012";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn eight(text: &str) -> [u8; 8] {
    bytes(text).try_into().unwrap()
}

fn upper(bytes: impl AsRef<[u8]>) -> String {
    hex::encode_upper(bytes)
}

fn imk(key: &str) -> BlockKey {
    BlockKey::new(KeyAlgorithm::TripleDes2, &bytes(key)).unwrap()
}

fn l01(version: CryptogramVersion) -> CardContext<'static> {
    CardContext::new(PAN, 1, 0x0012, version)
}

fn ac(cvr: &str) -> String {
    let data = bytes(&format!("{DATA}{cvr}"));
    upper(cryptogram(&imk(IMK_AC), &l01(CryptogramVersion::V01), &data).unwrap())
}

#[test]
fn published_pboc_example() {
    let vault = SoftVault::ephemeral().unwrap();
    let parts = [
        KeyComponent::from_hex("F0C34A8124CEE0A9 1A0B034AA97D6EAC").unwrap(),
        KeyComponent::from_hex("00000000000000000000000000000000").unwrap(),
    ];
    let wrapped = vault.import_components(KeyUsage::IssuerMaster, KeyAlgorithm::TripleDes2, &parts).unwrap();
    let card = CardContext::new("6228000100001", 1, 0x0240, CryptogramVersion::V01);
    assert_eq!(upper(diversifier(card.pan, 1, KeyDerivation::OptionA).unwrap()), "0622800010000101");
    let key = imk("F0C34A8124CEE0A91A0B034AA97D6EAC");
    assert_eq!(upper(*card_key(&key, &card).unwrap()), "014D996FCC8F49157DC8B49E3BCDFD99");
    assert_eq!(upper(*session_key(&key, &card).unwrap()), "D4102725E6E5AD329E55AAB50BF23DA9");
    let data = bytes("000000000001000000000000015600800460000156140701001E78EEBC7D00024003A04002");
    let arqc = eight("5D016C91005E7CC2");
    assert_eq!(vault.generate_ac(&wrapped, &card, &data).unwrap(), arqc);
    assert!(vault.verify_arqc(&wrapped, &card, &data, &arqc).unwrap());
    assert!(!vault.verify_arqc(&wrapped, &card, &data, &eight("D1972C87FBE0637C")).unwrap());
    assert!(!vault.verify_arqc(&wrapped, &card, &data, &arqc[..7]).unwrap());
    assert_eq!(upper(vault.make_arpc(&wrapped, &card, arqc, *b"01").unwrap()), "21415243527CE78F");
}

#[test]
fn k1_card_keys_by_option_a() {
    let card = l01(CryptogramVersion::V01);
    assert_eq!(upper(diversifier(PAN, 1, KeyDerivation::OptionA).unwrap()), "2424200000001301");
    for (master, kcv, key) in [
        (IMK_AC, "08D7B4FB", "FA87C4158A0F10CFCD4E9B9C4251E7B7"),
        (IMK_MAC, "77C58CF1", "C484ADE00A7BC2FDEEF6AB7A79749F8E"),
        (IMK_ENC, "95F77D97", "99EE6DEAEC6478E6DA8D1F7A6211802D"),
    ] {
        assert_eq!(imk(master).check_value().to_string(), kcv);
        assert_eq!(upper(*card_key(&imk(master), &card).unwrap()), key);
    }
}

#[test]
fn k2_session_keys_of_pboc() {
    for (master, key) in [
        (IMK_AC, "577397879C78A09DA69D762AABC3A554"),
        (IMK_MAC, "AF6373A23B8236B4147702624B60B596"),
        (IMK_ENC, "9845B1709FA8D5C916022594F6EECC4D"),
    ] {
        assert_eq!(upper(*session_key(&imk(master), &l01(CryptogramVersion::V01)).unwrap()), key);
    }
}

#[test]
fn k3_arqc_version_01() {
    assert_eq!(ac("03A00002"), "419217144F4F17BD");
}

#[test]
fn k4_arpc_method_1() {
    let card = l01(CryptogramVersion::V01);
    let arpc = arpc_method1(&imk(IMK_AC), &card, eight("419217144F4F17BD"), *b"00").unwrap();
    assert_eq!(upper(arpc), "FEC3953EF5A2BC44");
}

#[test]
fn k5_tc_after_approval() {
    assert_eq!(ac("03600002"), "B06EAB7939A3EC73");
}

#[test]
fn k6_script_mac_put_data() {
    let input = bytes("04DA9F58050012419217144F4F17BD03");
    let card = l01(CryptogramVersion::V01);
    let mac = script_mac(&imk(IMK_MAC), &card, eight("419217144F4F17BD"), &input).unwrap();
    assert_eq!(upper(mac), "56B34A1AB63AE899");
}

#[test]
fn k7_aac_declined_by_the_host() {
    assert_eq!(ac("03200002"), "78AEB62DAAC525AD");
}

#[test]
fn k8_aac_after_a_wrong_arpc() {
    let data = bytes(&format!("{}03280002", DATA.replace("0000048000", "0000048040")));
    let value = cryptogram(&imk(IMK_AC), &l01(CryptogramVersion::V01), &data).unwrap();
    assert_eq!(upper(value), "8822CD2E9D2FA1BD");
}

#[test]
fn k9_aac_at_the_first_generate() {
    assert_eq!(ac("03000002"), "6D5A12DF2F8FCA04");
}

#[test]
fn k10_script_mac_application_block() {
    let input = bytes("841E0000040012419217144F4F17BD");
    let card = l01(CryptogramVersion::V01);
    let mac = script_mac(&imk(IMK_MAC), &card, eight("419217144F4F17BD"), &input).unwrap();
    assert_eq!(upper(mac), "372916A32C651C38");
}

#[test]
fn k11_script_confidentiality() {
    let card = l01(CryptogramVersion::V01);
    let plain = bytes("06123456FFFFFFFF");
    let cipher = script_encipher(&imk(IMK_ENC), &card, eight("419217144F4F17BD"), &plain).unwrap();
    assert_eq!(upper(cipher), "8981BE0C1882F96724F8E6DC6EE58367");
}

#[test]
fn k12_version_10() {
    let data = bytes(&format!("{DATA}03A00002"));
    let value = cryptogram(&imk(IMK_AC), &l01(CryptogramVersion::V10), &data).unwrap();
    assert_eq!(upper(value), "B9EF2DCDF5DEC7F3");
}

#[test]
fn k13_version_17() {
    let data = bytes("0000000100001A2B3C4D0012A0");
    let value = cryptogram(&imk(IMK_AC), &l01(CryptogramVersion::V17), &data).unwrap();
    assert_eq!(upper(value), "A35A1719CA5BC688");
}

#[test]
fn k14_common_session_key() {
    let key = session_key(&imk(IMK_AC), &l01(CryptogramVersion::V18)).unwrap();
    assert_eq!(upper(*key), "7C42D3934692F814D7C2C6E46D6FE883");
}

#[test]
fn k15_version_18() {
    let card = l01(CryptogramVersion::V18);
    let data = bytes(&format!("{DATA}06011203A00000"));
    let value = cryptogram(&imk(IMK_AC), &card, &data).unwrap();
    assert_eq!(upper(value), "F9A746D1CFAFE078");
    let arpc = arpc_method1(&imk(IMK_AC), &card, value, *b"00").unwrap();
    assert_eq!(upper(arpc), "0F5C434FA89B1B0E");
}

#[test]
fn k16_arpc_method_2() {
    let card = l01(CryptogramVersion::V18);
    let status = [0x00, 0x82, 0x00, 0x00];
    let arpc = arpc_method2(&imk(IMK_AC), &card, eight("F9A746D1CFAFE078"), status, &[]).unwrap();
    assert_eq!(upper(arpc), "1D01368C");
}

#[test]
fn k17_option_a_with_a_long_number() {
    let card = CardContext::new("6212140000000000014", 1, 0, CryptogramVersion::V01);
    assert_eq!(upper(diversifier(card.pan, 1, KeyDerivation::OptionA).unwrap()), "4000000000001401");
    assert_eq!(upper(*card_key(&imk(IMK_AC), &card).unwrap()), "C938D6E814178A032F58EF9A4F1A1461");
}

#[test]
fn k18_option_b_with_a_long_number() {
    let card = CardContext {
        derivation: KeyDerivation::OptionB,
        ..CardContext::new("6212140000000000014", 1, 0, CryptogramVersion::V01)
    };
    assert_eq!(upper(diversifier(card.pan, 1, KeyDerivation::OptionB).unwrap()), "9380219521256353");
    assert_eq!(upper(*card_key(&imk(IMK_AC), &card).unwrap()), "14846FBFC39B337540779B7669ADC9D4");
    // Up to 16 digits option B is option A.
    assert_eq!(diversifier(PAN, 1, KeyDerivation::OptionB), diversifier(PAN, 1, KeyDerivation::OptionA));
}

#[test]
fn k19_contactless_arqc() {
    let card = CardContext::new(PAN, 1, 0x0013, CryptogramVersion::V01);
    assert_eq!(upper(*session_key(&imk(IMK_AC), &card).unwrap()), "DE6CAB3A4115A44CFC65F2615F447842");
    let data = bytes("000000001250000000000000015600000000000156261124005E6F70817C00001303A00000");
    let arqc = cryptogram(&imk(IMK_AC), &card, &data).unwrap();
    assert_eq!(upper(arqc), "DC67EE5446871343");
    assert_eq!(upper(arpc_method1(&imk(IMK_AC), &card, arqc, *b"00").unwrap()), "6FE3F7AD8E02C9CC");
}

#[test]
fn k20_contactless_tc() {
    let card = CardContext::new(PAN, 1, 0x0014, CryptogramVersion::V01);
    assert_eq!(upper(*session_key(&imk(IMK_AC), &card).unwrap()), "C7FCCBFA66E0D1EBF59CF094286AFD27");
    let data = bytes("0000000012500000000000000156000000000001562611240090A1B2C37C00001403900000");
    assert_eq!(upper(cryptogram(&imk(IMK_AC), &card, &data).unwrap()), "31565D70F84B1053");
}

#[test]
fn modelled_sm4_cryptogram() {
    let key = BlockKey::new(KeyAlgorithm::Sm4, &bytes(IMK_AC)).unwrap();
    let card = l01(CryptogramVersion::V01);
    assert_eq!(upper(*card_key(&key, &card).unwrap()), "5912D67818B3B26DFE650A8DB6E8111C");
    assert_eq!(upper(*session_key(&key, &card).unwrap()), "B5E3C797CEED9B98B7B50B8A4BE0AD7C");
    let arqc = cryptogram(&key, &card, &bytes(&format!("{DATA}03A00002"))).unwrap();
    assert_eq!(upper(arqc), "019808E8DDAB6B8F");
    assert_eq!(upper(arpc_method1(&key, &card, arqc, *b"00").unwrap()), "E90225C1C2939BF0");
    // No other version is defined for SM4.
    for version in [CryptogramVersion::V10, CryptogramVersion::V17, CryptogramVersion::V18] {
        let refused = cryptogram(&key, &l01(version), &[1]);
        assert!(matches!(refused, Err(HsmError::WrongAlgorithm { .. })));
    }
    let refused = arpc_method2(&key, &card, arqc, [0; 4], &[]);
    assert!(matches!(refused, Err(HsmError::WrongAlgorithm { .. })));
}

#[test]
fn odd_requests_are_refused() {
    let card = |pan, psn| CardContext::new(pan, psn, 1, CryptogramVersion::V01);
    let key = imk(IMK_AC);
    assert_eq!(cryptogram(&key, &card("62242420000000A3", 1), &[1]), Err(HsmError::Pan));
    assert_eq!(cryptogram(&key, &card("622424200000", 1), &[1]), Err(HsmError::Pan));
    assert_eq!(cryptogram(&key, &card(PAN, 100), &[1]), Err(HsmError::CardSequence));
    assert_eq!(cryptogram(&key, &card(PAN, 1), &[]), Err(HsmError::EmptyData));
    let long = script_encipher(&key, &card(PAN, 1), [0; 8], &[0; 256]);
    assert_eq!(long, Err(HsmError::TooLong("a script command")));
    let version_10 = script_mac(&key, &l01(CryptogramVersion::V10), [0; 8], &[1]);
    assert!(matches!(version_10, Err(HsmError::WrongAlgorithm { .. })));
    let proprietary = arpc_method2(&key, &card(PAN, 1), [0; 8], [0; 4], &[0; 9]);
    assert_eq!(proprietary, Err(HsmError::TooLong("a response of method 2")));
}
