//! What every security module must do alike, whatever holds its keys: published vectors through the trait, one
//! use per key, nothing altered is taken, what goes in comes out.

use hsm::*;

const PAN: &str = "6224242000000021";
const TRACK: &str = "6224242000000021D29022015699031007";

/// A case and its name.
pub type Case = (&'static str, fn(&dyn Hsm));

/// Every case.
pub const CASES: &[Case] = &[
    ("k1_published_key_block", k1_published_key_block),
    ("k3_published_mac_key", k3_published_mac_key),
    ("k4_published_frame", k4_published_frame),
    ("s6_check_values", s6_check_values),
    ("s7_s8_pin_block_and_track", s7_s8_pin_block_and_track),
    ("s11_other_macs", s11_other_macs),
    ("a_mac_belongs_to_its_message", a_mac_belongs_to_its_message),
    ("a_key_has_one_use", a_key_has_one_use),
    ("altered_and_foreign_keys_are_refused", altered_and_foreign_keys_are_refused),
    ("pins_are_translated_and_checked", pins_are_translated_and_checked),
    ("sealed_data_opens_unchanged_in_its_place", sealed_data_opens_unchanged_in_its_place),
    ("digests_repeat", digests_repeat),
    ("keys_travel_in_ecb_and_in_blocks", keys_travel_in_ecb_and_in_blocks),
    ("many_threads", many_threads),
];

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// A key of known bytes, entered as two components.
pub fn known(hsm: &dyn Hsm, usage: KeyUsage, clear: &str) -> WrappedKey {
    let clear = bytes(clear);
    let mask = vec![0x5C; clear.len()];
    let other: Vec<u8> = clear.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
    let algorithm = match clear.len() {
        8 => KeyAlgorithm::Des,
        16 => KeyAlgorithm::TripleDes2,
        _ => KeyAlgorithm::Aes256,
    };
    let components = [KeyComponent::new(&mask).unwrap(), KeyComponent::new(&other).unwrap()];
    hsm.import_components(usage, algorithm, &components).unwrap()
}

fn k1_published_key_block(hsm: &dyn Hsm) {
    let tmk = known(hsm, KeyUsage::TerminalMaster, "CA5D92598DCA48CE8A4C76361A9269E9");
    let blob = bytes("6701EAD6A9AD51E51AA406E2C27FCFA98D0A74B8B651F9E9BACE9AE10000000000000000AB7153CA");
    let keys = WorkingKeys::from_blob(hsm, KeyBlobLayout::Double40, &blob, &tmk).unwrap();
    assert_eq!(keys.pin.kcv().to_string(), "8D0A74B8");
    assert_eq!(keys.mac.kcv().to_string(), "AB7153CA");
    assert_eq!(keys.to_blob(hsm, KeyBlobLayout::Double40, &tmk).unwrap(), blob);
}

fn k3_published_mac_key(hsm: &dyn Hsm) {
    let tmk = known(hsm, KeyUsage::TerminalMaster, "70F2A84CCBC2AE8625CBB0F2C22AB923");
    let tak = hsm.import(KeyUsage::Mac, KeyAlgorithm::Des, &bytes("96D605EA176B7E9E"), &tmk).unwrap();
    assert_eq!(&hsm.mac(&tak, MacAlgorithm::CupEcb, &bytes("4D08F434464FE7BF")).unwrap(), b"8A9E91B8");
}

fn k4_published_frame(hsm: &dyn Hsm) {
    // The folded block of the published frame, under its key of two equal halves as a single one.
    let mak = known(hsm, KeyUsage::Mac, "0723C80DB5F4CD3D");
    assert_eq!(&hsm.mac(&mak, MacAlgorithm::CupEcb, &bytes("3761343619AC6492")).unwrap(), b"B3A092AE");
}

fn s6_check_values(hsm: &dyn Hsm) {
    let kcv = |clear| known(hsm, KeyUsage::ZoneMaster, clear).kcv().to_string();
    assert_eq!(kcv("0123456789ABCDEFFEDCBA9876543210"), "08D7B4FB");
    assert_eq!(kcv("0123456789ABCDEF"), "D5D44FF7");
}

fn s7_s8_pin_block_and_track(hsm: &dyn Hsm) {
    let pik = known(hsm, KeyUsage::Pin, "11111111111111112222222222222222");
    let block = hsm.encrypt_pin(&Pin::new("123456").unwrap(), PAN, &pik, PinFormat::Iso0).unwrap();
    assert_eq!(hex::encode_upper(block.bytes()), "010FFE95955CE8A5");
    let tdk = known(hsm, KeyUsage::Track, "44444444444444445555555555555555");
    let cipher = "6224242000000021F00997375B09E70507";
    assert_eq!(hsm.encrypt_track(TRACK, &tdk).unwrap(), cipher);
    assert_eq!(hsm.decrypt_track(cipher, &tdk).unwrap().as_str(), TRACK);
}

/// The other MAC rules against the same rules over the clear key.
fn s11_other_macs(hsm: &dyn Hsm) {
    for (clear, algorithm) in [
        ("3333333333333333", KeyAlgorithm::Des),
        ("33333333333333334444444444444444", KeyAlgorithm::TripleDes2),
    ] {
        let key = known(hsm, KeyUsage::Mac, clear);
        let ready = primitives::BlockKey::new(algorithm, &bytes(clear)).unwrap();
        for rule in [MacAlgorithm::CupEcb, MacAlgorithm::X99, MacAlgorithm::X99Hex, MacAlgorithm::CupsCbc] {
            for length in [1, 8, 13, 150, 160] {
                let data = vec![b'7'; length];
                let own = hsm.mac(&key, rule, &data).unwrap();
                assert_eq!(own, rule.compute(&ready, &data).unwrap(), "{rule:?} {length}");
            }
        }
    }
}

fn a_mac_belongs_to_its_message(hsm: &dyn Hsm) {
    let key = hsm.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mac = hsm.mac(&key, MacAlgorithm::CupEcb, b"0200 a sale").unwrap();
    let verify = |data: &[u8], mac: &[u8]| hsm.verify_mac(&key, MacAlgorithm::CupEcb, data, mac).unwrap();
    assert!(verify(b"0200 a sale", &mac));
    assert!(!verify(b"0200 a sole", &mac));
    assert!(!verify(b"0200 a sale", &mac[..7]));
    assert_eq!(hsm.mac(&key, MacAlgorithm::CupEcb, b""), Err(HsmError::EmptyData));
    assert!(hsm.mac(&key, MacAlgorithm::Sm4Cup, b"x").is_err());
}

fn a_key_has_one_use(hsm: &dyn Hsm) {
    for usage in [KeyUsage::Mac, KeyUsage::Pin, KeyUsage::Track, KeyUsage::TerminalMaster] {
        let key = hsm.generate(usage, KeyAlgorithm::TripleDes2).unwrap();
        let pin = Pin::new("1234").unwrap();
        let wrong = |wanted, result: Option<HsmError>| {
            let refused = result == Some(HsmError::WrongUsage { wanted, found: usage });
            assert_eq!(refused, wanted != usage, "{usage} as {wanted}: {result:?}");
        };
        wrong(KeyUsage::Mac, hsm.mac(&key, MacAlgorithm::CupEcb, b"x").err());
        wrong(KeyUsage::Pin, hsm.encrypt_pin(&pin, PAN, &key, PinFormat::Iso0).err());
        wrong(KeyUsage::Track, hsm.encrypt_track(TRACK, &key).err());
        wrong(KeyUsage::TerminalMaster, hsm.import(KeyUsage::Mac, KeyAlgorithm::Des, &[7; 8], &key).err());
    }
    assert!(hsm.generate(KeyUsage::Data, KeyAlgorithm::Des).is_err());
}

fn altered_and_foreign_keys_are_refused(hsm: &dyn Hsm) {
    let key = hsm.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let text = key.to_string();
    // The label of its use, its check value, its body.
    let relabelled = text.replace(":mac:", ":pin:").parse::<WrappedKey>().unwrap();
    let refused = hsm.encrypt_pin(&Pin::new("1234").unwrap(), PAN, &relabelled, PinFormat::Iso0);
    assert_eq!(refused, Err(HsmError::ForeignKey { usage: KeyUsage::Pin }));
    for at in [text.len() - 1, text.len() - 50, text.len() - 85] {
        let mut other = text.clone();
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        other.replace_range(at..=at, digit);
        let other: WrappedKey = other.parse().unwrap();
        let refused = hsm.mac(&other, MacAlgorithm::CupEcb, b"x");
        assert_eq!(refused, Err(HsmError::ForeignKey { usage: KeyUsage::Mac }), "{at}");
    }
    let foreign = SoftVault::ephemeral().unwrap().generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    assert!(matches!(hsm.mac(&foreign, MacAlgorithm::CupEcb, b"x"), Err(HsmError::ForeignKey { .. })));
}

fn pins_are_translated_and_checked(hsm: &dyn Hsm) {
    let key = || hsm.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
    let (from, to, pvk) =
        (key(), key(), hsm.generate(KeyUsage::PinVerification, KeyAlgorithm::HmacSha256).unwrap());
    let pin = Pin::new("246810").unwrap();
    let block = hsm.encrypt_pin(&pin, PAN, &from, PinFormat::Iso0).unwrap();
    let sent = hsm.translate_pin(&block, &from, &to, PinFormat::Iso0, PAN).unwrap();
    assert_eq!(sent, hsm.encrypt_pin(&pin, PAN, &to, PinFormat::Iso0).unwrap());
    let reference = hsm.make_pin_reference(&pin, PAN, &pvk).unwrap();
    assert!(hsm.verify_pin(&sent, &to, PAN, &pvk, &reference).unwrap());
    let other = hsm.make_pin_reference(&Pin::new("246811").unwrap(), PAN, &pvk).unwrap();
    assert!(!hsm.verify_pin(&sent, &to, PAN, &pvk, &other).unwrap());
    assert_eq!(hsm.translate_pin(&block, &to, &from, PinFormat::Iso0, PAN), Err(HsmError::PinBlock));
}

fn sealed_data_opens_unchanged_in_its_place(hsm: &dyn Hsm) {
    let sealed = hsm.seal(b"pan", PAN.as_bytes()).unwrap();
    assert_ne!(sealed, hsm.seal(b"pan", PAN.as_bytes()).unwrap());
    assert_eq!(&**hsm.open(b"pan", &sealed).unwrap(), PAN.as_bytes());
    assert!(hsm.open(b"name", &sealed).is_err());
    for at in 0..sealed.len() {
        let mut other = sealed.clone();
        other[at] ^= 1;
        assert!(hsm.open(b"pan", &other).is_err(), "{at}");
    }
    assert_eq!(sealed.len(), PAN.len() + SEAL_OVERHEAD);
}

fn digests_repeat(hsm: &dyn Hsm) {
    assert_eq!(hsm.digest(PAN.as_bytes()), hsm.digest(PAN.as_bytes()));
    assert_ne!(hsm.digest(PAN.as_bytes()), hsm.digest(b"6224242000000022"));
}

fn keys_travel_in_ecb_and_in_blocks(hsm: &dyn Hsm) {
    let zmk = hsm.generate(KeyUsage::ZoneMaster, KeyAlgorithm::TripleDes2).unwrap();
    for algorithm in [KeyAlgorithm::Des, KeyAlgorithm::TripleDes2] {
        let key = hsm.generate(KeyUsage::Mac, algorithm).unwrap();
        let sent = hsm.export(&key, &zmk).unwrap();
        let back = hsm.import(KeyUsage::Mac, algorithm, &sent.cipher, &zmk).unwrap();
        assert_eq!((back.kcv(), sent.kcv), (key.kcv(), key.kcv()));
        for clear in ["0123456789ABCDEFFEDCBA9876543210".to_owned(), "77".repeat(32)] {
            let under = known(hsm, KeyUsage::BlockProtection, &clear);
            let block = hsm.export_block(&key, &under, Exportability::Trusted, &[]).unwrap();
            let (back, _) = hsm.import_block(KeyUsage::Mac, &block, &under).unwrap();
            assert_eq!((back.kcv(), back.algorithm()), (key.kcv(), algorithm));
        }
    }
    let weak = hsm.generate(KeyUsage::ZoneMaster, KeyAlgorithm::Des).unwrap();
    let key = hsm.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
    assert!(matches!(hsm.export(&key, &weak), Err(HsmError::WeakWrap { .. })));
    assert!(matches!(hsm.export(&zmk, &zmk), Err(HsmError::NeverSent { .. })));
}

fn many_threads(hsm: &dyn Hsm) {
    let key = hsm.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    let mac = hsm.mac(&key, MacAlgorithm::CupsCbc, b"one text").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert!(hsm.verify_mac(&key, MacAlgorithm::CupsCbc, b"one text", &mac).unwrap());
                }
            });
        }
    });
}
