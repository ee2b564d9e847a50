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
    ("k7_published_retail_mac", k7_published_retail_mac),
    ("a_mac_belongs_to_its_message", a_mac_belongs_to_its_message),
    ("a_key_has_one_use", a_key_has_one_use),
    ("altered_and_foreign_keys_are_refused", altered_and_foreign_keys_are_refused),
    ("pins_are_translated_and_checked", pins_are_translated_and_checked),
    ("sealed_data_opens_unchanged_in_its_place", sealed_data_opens_unchanged_in_its_place),
    ("digests_repeat", digests_repeat),
    ("keys_travel_in_ecb_and_in_blocks", keys_travel_in_ecb_and_in_blocks),
    ("key_blocks_under_every_protection_key", key_blocks_under_every_protection_key),
    ("many_threads", many_threads),
];

/// The cases with SM4 keys, which a module may refuse.
pub const SM4_CASES: &[Case] = &[
    ("s5_key_block_of_sm4_keys", s5_key_block_of_sm4_keys),
    ("s6_sm4_check_value", s6_sm4_check_value),
    ("s11_sm4_macs", s11_sm4_macs),
    ("sm4_pins_go_to_a_3des_network_and_back", sm4_pins_go_to_a_3des_network_and_back),
    ("sm4_tracks", sm4_tracks),
    ("sm4_keys_are_bound_like_all_others", sm4_keys_are_bound_like_all_others),
];

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// A key of known bytes, entered as two components.
pub fn known(hsm: &dyn Hsm, usage: KeyUsage, clear: &str) -> WrappedKey {
    let algorithm = match clear.len() {
        16 => KeyAlgorithm::Des,
        32 => KeyAlgorithm::TripleDes2,
        _ => KeyAlgorithm::Aes256,
    };
    entered(hsm, usage, algorithm, clear)
}

fn entered(hsm: &dyn Hsm, usage: KeyUsage, algorithm: KeyAlgorithm, clear: &str) -> WrappedKey {
    let clear = bytes(clear);
    let mask = vec![0x5C; clear.len()];
    let other: Vec<u8> = clear.iter().zip(&mask).map(|(a, b)| a ^ b).collect();
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

fn k7_published_retail_mac(hsm: &dyn Hsm) {
    let clear = "46B0AA84C9AB2CC87FBD7C736E515C06";
    let key = known(hsm, KeyUsage::Mac, clear);
    let zeros = MacAlgorithm::X919 { pad80: false, hex: true };
    for (data, mac) in [("121234FF", b"C17E5FB7"), ("121234FF121234FF", b"B55B5956")] {
        assert_eq!(&hsm.mac(&key, zeros, &bytes(data)).unwrap(), mac);
        assert!(hsm.verify_mac(&key, zeros, &bytes(data), mac).unwrap());
    }
    assert!(!hsm.verify_mac(&key, zeros, &bytes("121234FE"), b"C17E5FB7").unwrap());
    // The other forms against the same rules over the clear key.
    let ready = primitives::BlockKey::new(KeyAlgorithm::TripleDes2, &bytes(clear)).unwrap();
    for (pad80, hex) in [(false, false), (true, false), (true, true)] {
        for length in [1, 8, 13, 160] {
            let (rule, data) = (MacAlgorithm::X919 { pad80, hex }, vec![b'7'; length]);
            assert_eq!(hsm.mac(&key, rule, &data).unwrap(), rule.compute(&ready, &data).unwrap(), "{rule:?}");
        }
    }
    let single = known(hsm, KeyUsage::Mac, "46B0AA84C9AB2CC8");
    assert!(matches!(hsm.mac(&single, zeros, b"x"), Err(HsmError::WrongAlgorithm { .. })));
}

const SM4_TMK: &str = "0123456789ABCDEFFEDCBA9876543210";

/// Sixteen bytes that count up.
fn counting(from: u8) -> String {
    hex::encode((from..from + 16).collect::<Vec<u8>>())
}

fn s5_key_block_of_sm4_keys(hsm: &dyn Hsm) {
    let blob = bytes(
        "D052DCC19D0EEB7A565720640D8B7E29DD60708CBD7B374D8DF254E7B90C3BF03C814F7E855C3763\
         449734911A4402599E9A30CBAB1192BCF7C127A8",
    );
    let tmk = entered(hsm, KeyUsage::TerminalMaster, KeyAlgorithm::Sm4, SM4_TMK);
    let key = |usage, from| entered(hsm, usage, KeyAlgorithm::Sm4, &counting(from));
    let keys = WorkingKeys {
        pin: key(KeyUsage::Pin, 0x01),
        mac: key(KeyUsage::Mac, 0x11),
        track: Some(key(KeyUsage::Track, 0x21)),
    };
    assert_eq!(keys.to_blob(hsm, KeyBlobLayout::Sm4Track60, &tmk).unwrap(), blob);
    let loaded = WorkingKeys::from_blob(hsm, KeyBlobLayout::Sm4Track60, &blob, &tmk).unwrap();
    assert_eq!(loaded.mac.kcv(), keys.mac.kcv());
    assert_eq!(
        hsm.mac(&loaded.mac, MacAlgorithm::Sm4Cup, b"x").unwrap(),
        hsm.mac(&keys.mac, MacAlgorithm::Sm4Cup, b"x").unwrap()
    );
}

fn s6_sm4_check_value(hsm: &dyn Hsm) {
    let key = entered(hsm, KeyUsage::TerminalMaster, KeyAlgorithm::Sm4, SM4_TMK);
    assert_eq!(key.kcv().to_string(), "2677F46B");
}

fn s11_sm4_macs(hsm: &dyn Hsm) {
    let sale = bytes(
        "0200302004C020C0981100000000000000010000001702100012346224242000000021F00997375B\
         09E705073130303030303031383938313030303030303030303031313536010FFE95955CE8A52610\
         000000000000001422000001000500",
    );
    let key = entered(hsm, KeyUsage::Mac, KeyAlgorithm::Sm4, &counting(0x11));
    assert_eq!(&hsm.mac(&key, MacAlgorithm::Sm4Cup, &sale).unwrap(), b"C79134A9");
    assert!(hsm.verify_mac(&key, MacAlgorithm::Sm4Cup, &sale, b"C79134A9").unwrap());
    let ready = primitives::BlockKey::new(KeyAlgorithm::Sm4, &bytes(&counting(0x11))).unwrap();
    let network = MacAlgorithm::CupsSm4.compute(&ready, &sale).unwrap();
    assert_eq!(hsm.mac(&key, MacAlgorithm::CupsSm4, &sale).unwrap(), network);
    assert!(hsm.mac(&key, MacAlgorithm::CupEcb, &sale).is_err(), "a DES rule");
}

fn sm4_pins_go_to_a_3des_network_and_back(hsm: &dyn Hsm) {
    let terminal = entered(hsm, KeyUsage::Pin, KeyAlgorithm::Sm4, &counting(1));
    let zone = hsm.generate(KeyUsage::Pin, KeyAlgorithm::TripleDes2).unwrap();
    let pin = Pin::new("246810").unwrap();
    let block = hsm.encrypt_pin(&pin, PAN, &terminal, PinFormat::Sm4Extended).unwrap();
    // The block as it is built in the clear, under the cipher by itself.
    let mut plain = primitives::pin::build_sm4(&pin, PAN).unwrap().to_vec();
    let ready = primitives::BlockKey::new(KeyAlgorithm::Sm4, &bytes(&counting(1))).unwrap();
    ready.encrypt_ecb(&mut plain).unwrap();
    assert_eq!(block.bytes(), plain);
    let sent = hsm.translate_pin(&block, &terminal, &zone, PinFormat::Iso0, PAN).unwrap();
    assert_eq!(sent, hsm.encrypt_pin(&pin, PAN, &zone, PinFormat::Iso0).unwrap());
    assert_eq!(hsm.translate_pin(&sent, &zone, &terminal, PinFormat::Sm4Extended, PAN).unwrap(), block);
    assert!(hsm.encrypt_pin(&pin, PAN, &terminal, PinFormat::Iso0).is_err(), "a DES format");
}

fn sm4_tracks(hsm: &dyn Hsm) {
    let key = entered(hsm, KeyUsage::Track, KeyAlgorithm::Sm4, &counting(0x21));
    let long = "6224242000000021D290220156990310071234";
    let sent = hsm.encrypt_track(long, &key).unwrap();
    let ready = primitives::BlockKey::new(KeyAlgorithm::Sm4, &bytes(&counting(0x21))).unwrap();
    assert_eq!(sent, primitives::track::encrypt(&ready, long).unwrap());
    assert_eq!(hsm.decrypt_track(&sent, &key).unwrap().as_str(), long);
}

fn sm4_keys_are_bound_like_all_others(hsm: &dyn Hsm) {
    let key = hsm.generate(KeyUsage::Mac, KeyAlgorithm::Sm4).unwrap();
    // Neither another cipher nor another use makes it open.
    for (from, to) in [(":sm4:", ":3des:"), (":mac:", ":pin:")] {
        let text = key.to_string().replace(from, to);
        let other: WrappedKey = text.parse().unwrap();
        let refused = match other.usage() {
            KeyUsage::Mac => hsm.mac(&other, MacAlgorithm::CupEcb, b"x").err(),
            _ => hsm.encrypt_pin(&Pin::new("1234").unwrap(), PAN, &other, PinFormat::Sm4Extended).err(),
        };
        assert_eq!(refused, Some(HsmError::ForeignKey { usage: other.usage() }), "{to}");
    }
    let tmk = hsm.generate(KeyUsage::TerminalMaster, KeyAlgorithm::Sm4).unwrap();
    let des = hsm.generate(KeyUsage::Mac, KeyAlgorithm::TripleDes2).unwrap();
    assert!(matches!(hsm.export(&des, &tmk), Err(HsmError::WeakWrap { .. })));
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

/// Protection keys of every length: the check value that partners compute, the block that another maker published, and a
/// key there and back; a key of triple length and a protection key of another length are refused.
fn key_blocks_under_every_protection_key(hsm: &dyn Hsm) {
    use KeyAlgorithm as A;
    // Cipher, protection key, its check value, block with a PIN key, that key's check value.
    let published = [
        (
            A::TripleDes2,
            "DD7515F2BFC17F85CE48F3CA25CB21F6",
            "F7BAA873",
            "B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E",
            "57C409",
        ),
        (
            A::TripleDes3,
            "260892192061C8760BDF235E1619B057B334FED0EFA74F32",
            "497FC9D9",
            "B0080P0TE00E00009AFD3EC2FB89B35F6CAE8889D7777611DFE04DA850A298BFD07667601FC01825",
            "CB9DEA",
        ),
        (
            A::Aes128,
            "F45185EADC5B799819DC8F4C3B58EC73",
            "3FA42CF9",
            "D0112P0TE00E000013B674A99811C18AB8BCFB26D347F8449E68FC074858D85DC452E43910CDC2A5E9BFE75DC94415EC0A82072217D04E35",
            "57C409",
        ),
        (
            A::Aes192,
            "6BF89E64F80DBC70E9D6AEB03454E6544A67F725436E3BD3",
            "34272FF1",
            "D0112P0TE00E00004101636D69EDAA41ACA5596D662C3AAC23A14B4305C5D0A434476F50DD68BFDA0A4EB63DC27DB6DAEA0E6AC684BABDBE",
            "57C409",
        ),
        (
            A::Aes256,
            "88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6",
            "2331550B",
            "D0112P0TE00E000058742769AD697DEF9FE0EAA32B222D622C0F469170702F5BE63E6DD3F50BF78859FBF437FD5CBE4508B19DAEE31A0EAB",
            "57C409",
        ),
    ];
    for (algorithm, clear, check, block, kcv) in published {
        let under = entered(hsm, KeyUsage::BlockProtection, algorithm, clear);
        assert_eq!((under.algorithm(), under.kcv().to_string().as_str()), (algorithm, check));
        assert_eq!(under.to_string().parse::<WrappedKey>().unwrap(), under);
        let (pin, _) = hsm.import_block(KeyUsage::Pin, block, &under).unwrap();
        assert!(pin.kcv().to_string().starts_with(kcv), "{algorithm}: {}", pin.kcv());
        let sent = hsm.export_block(&pin, &under, Exportability::Trusted, &[]).unwrap();
        let (header, key) = primitives::key_block::unwrap(&bytes(clear), &sent).unwrap();
        assert_eq!(Some(header.version), BlockVersion::for_key(algorithm));
        assert_eq!(primitives::check_value(A::TripleDes2, &key).unwrap(), pin.kcv());
        // The same bytes as a key of another cipher are another key.
        let others = A::ALL.into_iter().filter(|other| {
            *other != algorithm
                && other.key_len() == algorithm.key_len()
                && KeyUsage::BlockProtection.allows(*other)
        });
        for other in others {
            let under = entered(hsm, KeyUsage::BlockProtection, other, clear);
            assert!(matches!(hsm.import_block(KeyUsage::Pin, block, &under), Err(HsmError::KeyBlock(_))));
            let renamed = under.to_string().replace(other.name(), algorithm.name());
            assert!(renamed.parse().is_ok_and(|key: WrappedKey| {
                matches!(hsm.import_block(KeyUsage::Pin, block, &key), Err(HsmError::ForeignKey { .. }))
            }));
        }

        let triple = primitives::key_block::wrap(&bytes(clear), &header, &[0x31; 24], &[0; 6]).unwrap();
        let refused = hsm.import_block(KeyUsage::Pin, &triple, &under).unwrap_err().to_string();
        assert!(refused.contains("triple length"), "{refused}");
        for bytes in [8, 16, 24, 32].into_iter().filter(|bytes| *bytes != algorithm.key_len()) {
            let halves = [KeyComponent::random(bytes).unwrap(), KeyComponent::random(bytes).unwrap()];
            let made = hsm.import_components(KeyUsage::BlockProtection, algorithm, &halves);
            assert!(matches!(made, Err(HsmError::KeyLength { .. })), "{algorithm} of {bytes}: {made:?}");
        }
        for usage in [KeyUsage::TerminalMaster, KeyUsage::ZoneMaster, KeyUsage::Mac] {
            let made = hsm.generate(usage, algorithm);
            assert_eq!(made.is_ok(), algorithm == A::TripleDes2, "{usage} {algorithm}: {made:?}");
        }
    }
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
