//! The published transcripts of card L01, command by command.
//!
//! A card that gives exactly these bytes can be checked by anybody's kernel and anybody's issuer; the signatures and
//! cryptograms were computed elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use cardsim::{Card, Interface, MemoryCounters, deck};

const R11: &str =
    "702F57116224242000000013D291222000000001235F200C4C414220434152442F4C30319F1F0A30303030303030303030";
const R21: &str = "7081B08F01F19F3201039214EF45FB00F9864DE67AABC9E49000A0A55CDE4C0B90819081E69CAA43329607F2F9DC19D023BB695A268C3D20E242805064E1D5507655EF5CA116C5ED9A51938631D39EFA4F45FD2029EDDB2E35F5E3222AA2C04C8ED0D09321C125751C3A365A80E09D502A1457110CA012A6401CF9ED7D38AFCE02B8A37F2E2F5FA61548AC932BCA097F41C0CAC30258B80643EF01BA63654D0290D79B4BBED3637C841C2D482AB2D36B8BE725";
const R22: &str = "70819B9F46818068BF33F91765C9BC74F545950A037441ACA637C39025C39F262E28EC16A0EB773ED7D499814E67023EEB94C224BE21AF60E37A4B3E44307039601F59D0FD21816BBBD643E1180F4CFBB7E8CE52E64799E46A624ADE325EC0747E970992E0D67B22C104E0769C1402001E1C98BE1F2E30712EE285B74ADE5A8DEE9A522CAB8E339F4701039F480AFB00E9851C92FEB0061B9F49039F3704";
const R23: &str = "70818393818034F6973E744FF458A76AF552D6827941F835B508A85A665649A83BA95B94F7C37E14364749E4FD2C1DF1801055B85C85DF8829731A565E72DA5E5408E21518E94038DCD5058A243574CCAAC7FD640552CA0949DBF06A9322A8C12438E9534C1519A78E2827E8E010BEBE64B57AC0D904B64079E0390BEAA06E98A6DDEED5621B";
const R31: &str = "7081925A0862242420000000135F3401015F24032912315F25032411015F280201569F0702FF008E0E000000000000000042031E031F009F0D05D86004A8009F0E0500100000009F0F05D86804F8009F4A01828C189F02069F03069F1A0295055F2A029A039C019F37049F21038D178A029F02069F03069F1A0295055F2A029A039C019F37049F080200305F300202209F42020156";
const SDAD: &str = "72D5CDE0B5BFBECBF98C1B68A7F5956F8E89B6E7A38F31F464739BF716993440A27722027F1C03E2DB072CAE5B50A803A7D8BE27F13D929D850FDFE0119D656CBC39E780A625C39E2750323D3E2DA467D336F11B352E61CAC96B113C834564A8";

fn card(id: &str) -> Card {
    let random = |bytes: &mut [u8]| {
        let known = [0xA1, 0xB2, 0xC3, 0xD4];
        bytes.iter_mut().zip(known.into_iter().cycle()).for_each(|(to, from)| *to = from);
    };
    Card::new(deck::find(id).unwrap(), Box::new(MemoryCounters::new()), Box::new(random)).unwrap()
}

/// Plays pairs of command and answer.
fn play(card: &mut Card, lines: &[(String, String)]) {
    for (at, (command, expected)) in lines.iter().enumerate() {
        let command = hex::decode(command.replace(' ', "")).unwrap();
        let answer = hex::encode_upper(card.transmit(&command).unwrap());
        assert_eq!(answer, expected.replace(' ', ""), "line {at}: {}", hex::encode_upper(&command));
    }
}

fn lines(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(command, answer)| ((*command).to_owned(), (*answer).to_owned())).collect()
}

/// Everything up to the first cryptogram.
fn to_the_first_cryptogram() -> Vec<(String, String)> {
    let mut all = lines(&[
        (
            "00A404000E 315041592E5359532E4444463031 00",
            "6F1A840E315041592E5359532E4444463031A5088801015F2D027A68 9000",
        ),
        ("00B2010C00", "701A61184F08A00000033301010150094C4142204445424954870101 9000"),
        ("00B2020C00", "6A83"),
        (
            "00A4040008 A000000333010101 00",
            "6F278408A000000333010101A51B50094C41422044454249548701015F2D027A68BF0C059F4D020B0A 9000",
        ),
        ("80A8000002 8300 00", "800E7C00080101001001030018010101 9000"),
        ("0088000004 1A2B3C4D 00", &format!("8060 {SDAD} 9000")),
        ("80CA9F3600", "9F36020012 9000"),
        ("80CA9F1300", "9F13020011 9000"),
        (
            "80AE800020 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 101530 00",
            "8013 80 0012 419217144F4F17BD 07010103A0000201 9000",
        ),
    ]);
    let records = [
        ("00B2010C00", R11),
        ("00B2011400", R21),
        ("00B2021400", R22),
        ("00B2031400", R23),
        ("00B2011C00", R31),
    ]
    .map(|(command, record)| (command.to_owned(), format!("{record}9000")));
    all.splice(5..5, records);
    all
}

#[test]
fn a_contact_sale_from_reset_to_script() {
    let mut card = card("L01");
    let atr = card.power_up(Interface::Contact).unwrap();
    assert_eq!(hex::encode_upper(atr), "3B8801504F53504C414231EB");
    let mut all = to_the_first_cryptogram();
    all.extend(lines(&[
        ("008200000A FEC3953EF5A2BC44 3030", "9000"),
        (
            "80AE40001F 3030 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 00",
            "8013 40 0012 B06EAB7939A3EC73 0701010360000201 9000",
        ),
        ("04DA9F5805 03 56B34A1A", "9000"),
    ]));
    play(&mut card, &all);
    assert_eq!(card.written(0x9F58), Some(&[0x03][..]));
    // The counter of the next transaction is one more, and the card remembers that this one was online.
    card.power_up(Interface::Contact).unwrap();
    play(&mut card, &lines(&[("80CA9F1300", "9F13020012 9000")]));
}

/// The three other ends of a contact sale: host declines (K7), issuer's cryptogram wrong (K8), card declines (K9).
#[test]
fn other_ends_of_a_contact_sale() {
    let declined = "8013 00 0012 78AEB62DAAC525AD 0701010320000201 9000";
    let mut first = card("L01");
    first.power_up(Interface::Contact).unwrap();
    play(&mut first, &to_the_first_cryptogram());
    play(
        &mut first,
        &lines(&[(
            "80AE00001F 3531 000000010000 000000000000 0156 0000048000 0156 261124 00 1A2B3C4D 00",
            declined,
        )]),
    );
    let mut second = card("L01");
    second.power_up(Interface::Contact).unwrap();
    play(&mut second, &to_the_first_cryptogram());
    play(
        &mut second,
        &lines(&[
            ("008200000A 0000000000000000 3030", "6300"),
            ("008200000A FEC3953EF5A2BC44 3030", "6985"),
            (
                "80AE40001F 3030 000000010000 000000000000 0156 0000048040 0156 261124 00 1A2B3C4D 00",
                "8013 00 0012 8822CD2E9D2FA1BD 0701010328000201 9000",
            ),
        ]),
    );
    let mut third = card("L01");
    third.set_behaviour(vec!["ac1(aac)".parse().unwrap()]);
    third.power_up(Interface::Contact).unwrap();
    let mut all = to_the_first_cryptogram();
    all.last_mut().unwrap().1 = "8013 00 0012 6D5A12DF2F8FCA04 0701010300000201 9000".to_owned();
    play(&mut third, &all);
}

/// Other cryptogram versions and SM4 (modelled), over the same data (K12, K13, K15 and the self-made SM4 vector).
#[test]
fn other_cryptogram_versions() {
    use cardsim::{Algorithm, Keys};
    let rows = [
        (Keys { cvn: 10, ..Keys::default() }, true, "B9EF2DCDF5DEC7F3 07010A03A0000201"),
        (Keys { cvn: 17, ..Keys::default() }, true, "A35A1719CA5BC688 07011103A0000201"),
        (Keys { cvn: 18, ..Keys::default() }, false, "F9A746D1CFAFE078 06011203A00000"),
        (Keys { alg: Algorithm::Sm4, ..Keys::default() }, true, "019808E8DDAB6B8F 07010103A0000204"),
    ];
    for (keys, with_dda, expected) in rows {
        let mut profile = deck::find("L01").unwrap();
        profile.keys = keys;
        let mut card = Card::new(profile, Box::new(MemoryCounters::new()), Box::new(|b| b.fill(7))).unwrap();
        card.power_up(Interface::Contact).unwrap();
        let mut all = to_the_first_cryptogram();
        let length = (expected.replace(' ', "").len() / 2) + 3;
        all.last_mut().unwrap().1 = format!("80{length:02X} 80 0012 {expected} 9000");
        if !with_dda {
            all.retain(|(command, _)| !command.starts_with("0088"));
        }
        play(&mut card, &all);
    }
}

const TAP: [(&str, &str); 2] = [
    (
        "00A404000E 325041592E5359532E4444463031 00",
        "6F2F840E325041592E5359532E4444463031A51DBF0C1A61184F08A00000033301010150094C4142204445424954870101 9000",
    ),
    (
        "00A4040008 A000000333010101 00",
        "6F3A8408A000000333010101A52E50094C41422044454249548701019F38189F66049F02069F03069F1A0295055F2A029A039C019F37045F2D027A68 9000",
    ),
];

/// Two taps in a row: an online one (counter 0013), then one that the card approves by itself and signs (0014).
#[test]
fn a_tap_online_and_a_tap_offline() {
    let mut profile = deck::find("L01").unwrap();
    profile.start.atc = 0x0012;
    let random = |bytes: &mut [u8]| bytes.copy_from_slice(&[0xA1, 0xB2, 0xC3, 0xD4]);
    let mut card = Card::new(profile, Box::new(MemoryCounters::new()), Box::new(random)).unwrap();
    card.power_up(Interface::Contactless).unwrap();
    play(&mut card, &lines(&TAP));
    play(
        &mut card,
        &lines(&[(
            "80A8000023 8321 36800080 000000001250 000000000000 0156 0000000000 0156 261124 00 5E6F7081 00",
            "773B82027C009F3602001357116224242000000013D291222000000001239F100807010103A00000019F2608DC67EE54468713435F3401019F6C020000 9000",
        )]),
    );
    card.power_up(Interface::Contactless).unwrap();
    play(&mut card, &lines(&TAP));
    let gpo = hex::decode(
        "80A8000023832136000080000000001250000000000000015600000000000156261124 0090A1B2C300"
            .replace(' ', ""),
    )
    .unwrap();
    let answer = hex::encode_upper(card.transmit(&gpo).unwrap());
    assert!(
        answer.contains("9F260831565D70F84B1053") && answer.contains("9F100807010103900000019F26"),
        "{answer}"
    );
    assert!(answer.contains("941008010100100102001801010120010100"), "{answer}");
    let record = hex::encode_upper(card.transmit(&hex::decode("00B2012400").unwrap()).unwrap());
    let sdad = "036217B178A1D815A30E4E8E4E9AD4D3E78F3DB9036E03356A7FB471EA178BAB384AACD2CF4566EA6A4FF4EFA598E8670E4CCBDE23210251C1BC986D5F35E91E912F94A67DF2890533EDE14E01CDF959CDCB43E0A2F01D770EE032CE31E9CDB7";
    assert_eq!(record, format!("706E9F4B60{sdad}9F690801A1B2C3D40000009000"));
}

/// A command out of its order changes nothing.
#[test]
fn commands_out_of_order() {
    let mut card = card("L01");
    card.power_up(Interface::Contact).unwrap();
    play(
        &mut card,
        &lines(&[
            ("80A8000002 8300 00", "6985"),
            ("00B2011C00", "6985"),
            ("0088000004 1A2B3C4D 00", "6985"),
            ("80AE800000", "6985"),
            ("008200000A 0000000000000000 3030", "6985"),
            ("04DA9F5805 03 56B34A1A", "6985"),
            ("80CA9F3600", "6985"),
            ("00A4040008 A000000333010199 00", "6A82"),
            (
                "00A4040005 A000000333 00",
                "6F278408A000000333010101A51B50094C41422044454249548701015F2D027A68BF0C059F4D020B0A 9000",
            ),
            ("00A4040205 A000000333 00", "6A82"),
            ("9000000000", "6E00"),
            ("00FF000000", "6D00"),
        ]),
    );
}

/// Two applications on one card: the directory has both, and a partial name finds one after the other.
#[test]
fn two_applications_on_one_card() {
    let mut card = card("L12");
    card.power_up(Interface::Contact).unwrap();
    play(
        &mut card,
        &lines(&[
            (
                "00A404000E 315041592E5359532E4444463031 00",
                "6F1A840E315041592E5359532E4444463031A5088801015F2D027A68 9000",
            ),
            ("00B2010C00", "701B61194F08A000000333010102500A4C414220435245444954870101 9000"),
            ("00B2020C00", "701A61184F08A00000033301010150094C4142204445424954870102 9000"),
            ("00B2030C00", "6A83"),
        ]),
    );
    let first = card.transmit(&hex::decode("00A4040007A000000333010100").unwrap()).unwrap();
    let second = card.transmit(&hex::decode("00A4040207A000000333010100").unwrap()).unwrap();
    assert!(hex::encode_upper(first).starts_with("6F288408A000000333010102"));
    assert!(hex::encode_upper(second).starts_with("6F278408A000000333010101"));
    play(&mut card, &lines(&[("00A4040207A000000333010100", "6A82")]));
}

/// A PIN that the card checks: three tries, then blocked; enciphered only with a fresh challenge.
#[test]
fn pin_tries_are_counted() {
    let mut one = card("L01");
    one.power_up(Interface::Contact).unwrap();
    play(&mut one, &to_the_first_cryptogram()[3..5]);
    play(
        &mut one,
        &lines(&[
            ("80CA9F1700", "9F170103 9000"),
            ("0020008008 241111FFFFFFFFFF", "63C2"),
            ("0020008008 26123456FFFFFFFF", "9000"),
            ("80CA9F1700", "9F170103 9000"),
            ("0020008008 241111FFFFFFFFFF", "63C2"),
            ("0020008008 241111FFFFFFFFFF", "63C1"),
            ("0020008008 241111FFFFFFFFFF", "63C0"),
            ("0020008008 26123456FFFFFFFF", "6983"),
        ]),
    );
    let mut used_up = card("L11");
    used_up.power_up(Interface::Contact).unwrap();
    play(&mut used_up, &to_the_first_cryptogram()[3..5]);
    play(&mut used_up, &lines(&[("0020008008 26123456FFFFFFFF", "6983")]));

    let mut enciphered = card("L01");
    enciphered.power_up(Interface::Contact).unwrap();
    play(&mut enciphered, &to_the_first_cryptogram()[3..5]);
    play(&mut enciphered, &lines(&[("0084000000", "A1B2C3D4A1B2C3D4 9000")]));
    let key = cardsim::lab::key("posp-lab/icc/L01", 768);
    let mut plain = hex::decode("7F26123456FFFFFFFFA1B2C3D4A1B2C3D4").unwrap();
    plain.resize(96, 0x55);
    let mut command = vec![0x00, 0x20, 0x00, 0x88, 96];
    command.extend(key.apply_public(&plain));
    assert_eq!(enciphered.transmit(&command).unwrap(), [0x90, 0x00]);
    assert_eq!(enciphered.transmit(&command).unwrap(), [0x69, 0x84], "a challenge is good once");
}

/// Scripts: a wrong MAC is refused, a blocked application and a blocked card say so at the next selection (K10, K11).
#[test]
fn scripts_block_unblock_and_change_the_pin() {
    let mut one = card("L01");
    one.power_up(Interface::Contact).unwrap();
    play(&mut one, &to_the_first_cryptogram());
    play(&mut one, &lines(&[("841E000004 372916A4", "6988"), ("841E000004 372916A3", "9000")]));
    one.power_up(Interface::Contact).unwrap();
    play(&mut one, &lines(&[("00A4040008 A000000333010101 00", "6283")]));

    let mut two = card("L01");
    two.power_up(Interface::Contact).unwrap();
    play(&mut two, &to_the_first_cryptogram());
    // PIN CHANGE with the enciphered block of K11; its MAC is computed here over what the rules say.
    let enciphered = hex::decode("8981BE0C1882F96724F8E6DC6EE58367").unwrap();
    let mut input = hex::decode("8424000214").unwrap();
    input.extend(hex::decode("0012419217144F4F17BD").unwrap());
    input.extend(&enciphered);
    let imk = hsm::primitives::BlockKey::new(
        hsm::KeyAlgorithm::TripleDes2,
        &hex::decode("1133557799BBDDFF0022446688AACCEE").unwrap(),
    )
    .unwrap();
    let context = hsm::CardContext::new("6224242000000013", 1, 0x0012, hsm::CryptogramVersion::V01);
    let mac = hsm::primitives::emv::script_mac(
        &imk,
        &context,
        [0x41, 0x92, 0x17, 0x14, 0x4F, 0x4F, 0x17, 0xBD],
        &input,
    )
    .unwrap();
    let mut command = hex::decode("8424000214").unwrap();
    command.extend(&enciphered);
    command.extend(&mac[..4]);
    assert_eq!(two.transmit(&command).unwrap(), [0x90, 0x00]);
    assert_eq!(two.pin_tries(), 3);
    assert_eq!(two.profile().pin.as_deref(), Some("123456"));
}

/// The switches of the deck that a reader notices at once.
#[test]
fn switches_change_a_card_in_the_hand() {
    use cardsim::{CardGone, PowerFault};
    let select = hex::decode("00A4040008A00000033301010100").unwrap();
    let mut one = card("L09");
    assert_eq!(one.power_up(Interface::Contact), Err(PowerFault::Mute));
    one.set_behaviour(vec!["blocked(card)".parse().unwrap(), "delay(40)".parse().unwrap()]);
    one.power_up(Interface::Contact).unwrap();
    assert_eq!(one.delay(), 40);
    assert_eq!(one.transmit(&select).unwrap(), [0x6A, 0x81]);
    one.set_behaviour(vec!["leave_after(select)".parse().unwrap()]);
    assert!(one.transmit(&select).unwrap().ends_with(&[0x90, 0x00]));
    assert_eq!(one.transmit(&select), Err(CardGone::Removed));
    one.set_behaviour(vec!["sw(A4,6A88)".parse().unwrap()]);
    one.power_up(Interface::Contact).unwrap();
    assert_eq!(one.transmit(&select).unwrap(), [0x6A, 0x88]);
    one.set_behaviour(vec!["two_cards".parse().unwrap()]);
    assert_eq!(one.power_up(Interface::Contactless), Err(PowerFault::TwoCards));
    let mut phone = card("L13");
    assert_eq!(phone.power_up(Interface::Contact), Err(PowerFault::NoInterface));
    assert!(phone.power_up(Interface::Contactless).is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    /// Whatever a reader sends, the card answers with a status word and lives.
    #[test]
    fn any_command_is_answered(commands in proptest::collection::vec(
        (proptest::sample::select(vec![0xA4_u8, 0xA8, 0xB2, 0x88, 0x82, 0x84, 0x20, 0xAE, 0xCA, 0xDA, 0x1E, 0x24, 0x00]),
         proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)), 1..12),
        tap in proptest::prelude::any::<bool>(),
    ) {
        let mut card = card("L01");
        card.power_up(if tap { Interface::Contactless } else { Interface::Contact }).unwrap();
        let _ = card.transmit(&hex::decode("00A4040008A00000033301010100").unwrap()).unwrap();
        let _ = card.transmit(&hex::decode("80A8000002830000").unwrap()).unwrap();
        for (ins, mut rest) in commands {
            if rest.len() > 1 { rest[1] = ins; }
            proptest::prop_assert!(card.transmit(&rest).unwrap().len() >= 2);
        }
    }
}
