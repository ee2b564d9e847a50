//! What is kept and shown of a message: masked copies stay messages of the same length, and neither they nor
//! the description hold a card number, track, PIN block or key. Each secret is looked for in every form it has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../benches/sale/mod.rs"]
mod sale;

use iso8583::describe::{Language, describe};
use iso8583::mask::{mask_message, mask_pan};
use iso8583::text::{DecodeError, Envelope, decode_hex, encode, raw_value};
use iso8583::{CUP_POS, CUPS, Dialect, Draft, ErrorKind, Mti};

const PAN: &str = "6224242000000021";

fn masked(dialect: &'static Dialect, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    mask_message(&dialect.parse(bytes).unwrap(), &mut out);
    let out = out.split_off(6);
    assert_eq!(out.len(), bytes.len());
    dialect.parse(&out).unwrap();
    out
}

fn table(dialect: &'static Dialect, bytes: &[u8]) -> String {
    describe(&dialect.parse(bytes).unwrap()).to_table(Language::Both)
}

/// Looks for `secret` (digits) in clear, packed in both phases, and in hexadecimal of its characters.
fn assert_hidden(secret: &str, kept: &[u8], shown: &str) {
    assert!(!shown.contains(secret), "{shown}");
    let packed = hex::encode(kept);
    assert!(!packed.contains(&secret.to_lowercase()), "packed");
    assert!(!packed.contains(&hex::encode(secret)), "characters");
    assert!(!shown.to_lowercase().contains(&hex::encode(secret)), "{shown}");
}

#[test]
fn card_numbers_show_both_ends() {
    assert_eq!(mask_pan(PAN), "622424******0021");
    assert_eq!(mask_pan("6224242000000000021"), "622424*********0021");
    assert_eq!(mask_pan("123456789"), "*****6789");
    assert_eq!(mask_pan("12345678"), "********");
}

/// Fields that only answers fill are free text in a request: a number there is masked, in an answer it is kept.
#[test]
fn a_number_in_a_text_that_only_answers_have() {
    for (mti, kept_whole) in [(200, false), (210, true)] {
        for field in [43, 44, 54] {
            let mut draft = Draft::new();
            draft.start(&CUP_POS, Mti::new(mti));
            draft.put_text(field, PAN).unwrap();
            let mut bytes = Vec::new();
            draft.write(&mut bytes).unwrap();
            let kept = masked(&CUP_POS, &bytes);
            let expected = if kept_whole { PAN } else { "6224240000000021" };
            assert_eq!(
                CUP_POS.parse(&kept).unwrap().text(field).unwrap().trim_end(),
                expected,
                "{mti} {field}"
            );
        }
    }
}

#[test]
fn a_sale_keeps_what_is_not_secret() {
    let mut bytes = Vec::new();
    sale::build(&mut Draft::new(), &mut bytes).unwrap();
    let kept = masked(&CUP_POS, &bytes);
    let shown = table(&CUP_POS, &bytes);
    for secret in [PAN, "2000000021", "D2902", "010FFE95955CE8A5", "699031007123"] {
        assert_hidden(secret, &kept, &shown);
    }
    let message = CUP_POS.parse(&kept).unwrap();
    assert_eq!(message.digits(2).unwrap(), "6224240000000021");
    assert_eq!(message.digits(35).unwrap().as_str(), format!("622424{}", "0".repeat(31)));
    assert_eq!(message.bytes_of(52).unwrap(), [0; 8]);
    assert_eq!(message.bytes_of(55).unwrap(), sale::CHIP, "no secret item in it");
    // The factor from which the serial number was enciphered is six digits of the card number.
    assert_eq!(message.text(59).unwrap(), "A2033010020402010POSPLAB10003006000002");
    for line in [
        "0200 金融请求 financial request  [cup-pos-1, 19 fields, 294 bytes]",
        "622424******0021",
        "100.00",
        "622424*******************************",
        "<8 hidden>",
        "60.2",
        "000001",
        "9F26",
        "419217144F4F17BD",
        "A2.02",
        "POSPLAB100",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
    // Describing what the journal kept gives the same page.
    assert_eq!(table(&CUP_POS, &kept), shown);
}

#[test]
fn secret_chip_items_are_hidden_wherever_they_stand() {
    let name = "41".repeat(10);
    let chip = format!("5A08{PAN}5F200A{name}70155713{PAN}D29022010000001234569F1F04313233349F360100");
    let bytes = encode(&CUP_POS, Mti::new(200), [(55, format!("hex:{chip}").as_str())]).unwrap();
    let (kept, shown) = (masked(&CUP_POS, &bytes), table(&CUP_POS, &bytes));
    for secret in [PAN, "4141414141", "31323334", "D2902"] {
        assert_hidden(secret, &kept, &shown);
    }
    assert!(shown.contains("70.57") && shown.contains("<19 hidden>"), "{shown}");
    // Broken chip data: from the broken item on, nothing is kept.
    let bytes = encode(&CUP_POS, Mti::new(200), [(55, "hex:9A032611245A08622424")]).unwrap();
    assert!(hex::encode(masked(&CUP_POS, &bytes)).ends_with("9a032611240000000000"));
}

#[test]
fn keys_of_a_sign_in_answer_are_hidden_and_parameters_are_not() {
    let keys = "9B3A7B883A100F73B4ABA2BB791C50E7D2B91CC55ADC39F46164960E0000000000000000ADC67D84";
    let key_field = format!("hex:{keys}");
    let bytes = encode(&CUP_POS, Mti::new(810), [(60, "00000001003"), (62, key_field.as_str())]).unwrap();
    let (kept, shown) = (masked(&CUP_POS, &bytes), table(&CUP_POS, &bytes));
    assert_hidden("9B3A7B88", &kept, &shown);
    assert_hidden("5ADC39F4", &kept, &shown);
    assert!(shown.contains("PIN key") && shown.contains("MAC key"), "{shown}");
    let parameters = "hex:319F0608A000000333010101DF0101009F08020030";
    let bytes = encode(&CUP_POS, Mti::new(810), [(60, "00000001380"), (62, parameters)]).unwrap();
    assert_eq!(masked(&CUP_POS, &bytes), bytes);
    assert!(table(&CUP_POS, &bytes).contains("A000000333010101"));
    let bytes = encode(&CUP_POS, Mti::new(800), [(60, "00000001420"), (62, "Sequence No")]).unwrap();
    assert_eq!(masked(&CUP_POS, &bytes), bytes);
}

#[test]
fn details_of_a_batch_upload_keep_the_ends_of_their_cards() {
    let digits = format!("01{}000017{PAN:0>20}000000010000", "00");
    let bytes = encode(&CUP_POS, Mti::new(320), [(48, digits.as_str()), (60, "00000001201")]).unwrap();
    let (kept, shown) = (masked(&CUP_POS, &bytes), table(&CUP_POS, &bytes));
    assert_hidden(PAN, &kept, &shown);
    assert!(shown.contains("00 000017 622424******0021 100.00"), "{shown}");
    // A 48 of unknown layout may hold anything.
    let bytes = encode(&CUP_POS, Mti::new(200), [(48, PAN)]).unwrap();
    assert_hidden(PAN, &masked(&CUP_POS, &bytes), &table(&CUP_POS, &bytes));
    let totals = "1".repeat(62);
    let bytes = encode(&CUP_POS, Mti::new(500), [(48, totals.as_str())]).unwrap();
    assert_eq!(masked(&CUP_POS, &bytes), bytes);
}

#[test]
fn customer_codes_and_sm4_pins_are_hidden() {
    let pin = "A5".repeat(16);
    let items = hex::encode("A30196212345678901234567A201103006987654");
    let field = format!("hex:{}{pin}{items}", hex::encode("A1016"));
    let bytes = encode(&CUP_POS, Mti::new(200), [(59, field.as_str())]).unwrap();
    let (kept, shown) = (masked(&CUP_POS, &bytes), table(&CUP_POS, &bytes));
    for secret in ["A5A5A5", "6212345678901234567", "987654"] {
        assert_hidden(secret, &kept, &shown);
    }
    let bytes =
        encode(&CUP_POS, Mti::new(200), [(63, format!("hex:{}{pin}", hex::encode("SM016")).as_str())])
            .unwrap();
    assert_hidden("A5A5A5", &masked(&CUP_POS, &bytes), &table(&CUP_POS, &bytes));
    // Not in items: kept as a length only.
    let bytes = encode(&CUP_POS, Mti::new(200), [(59, "6224242000000021")]).unwrap();
    assert_hidden(PAN, &masked(&CUP_POS, &bytes), &table(&CUP_POS, &bytes));
}

/// Vendor fields and operator texts are shown, except numbers that could be a card's.
#[test]
fn free_text_keeps_no_long_numbers() {
    let text = format!("card {PAN}, merchant 12345678");
    let values = [(39, "00"), (46, text.as_str()), (57, PAN), (63, "CUP6224242000000021 ")];
    let bytes = encode(&CUP_POS, Mti::new(210), values).unwrap();
    let (kept, shown) = (masked(&CUP_POS, &bytes), table(&CUP_POS, &bytes));
    assert_hidden(PAN, &kept, &shown);
    assert!(shown.contains("merchant 12345678"), "{shown}");
    let bytes = encode(&CUPS, Mti::new(210), [(39, "00"), (122, text.as_str())]).unwrap();
    assert_hidden(PAN, &masked(&CUPS, &bytes), &table(&CUPS, &bytes));
}

#[test]
fn the_network_side() {
    let key = format!("hex:{}{}", hex::encode("NK"), "C3".repeat(16));
    let fields = [
        (2, PAN),
        (7, "1123120000"),
        (35, "6224242000000021=29022010000000123"),
        (45, "B6224242000000021"),
        (48, key.as_str()),
        (52, "0123456789abcdef"),
        (60, "000005000300000000400000000000"),
        (61, "ID440101199001011234"),
        (90, "020000001711231200000004802999900048029999"),
        (96, "fedcba9876543210"),
        (102, PAN),
    ];
    let bytes = encode(&CUPS, Mti::new(200), fields).unwrap();
    let (kept, shown) = (masked(&CUPS, &bytes), table(&CUPS, &bytes));
    for secret in [PAN, "2902", "C3C3", "0123456789ABCDEF", "440101199001011234", "FEDCBA9876543210"] {
        assert_hidden(secret, &kept, &shown);
    }
    for text in ["11-23 12:00:00", "60.2.5", "90.2", "622424******0021"] {
        assert!(shown.contains(text), "{text} in\n{shown}");
    }
}

/// Pasted bytes are recognised whatever part of the frame they are.
#[test]
fn frames_of_any_framing_decode_from_text() {
    let whole = "0036600032000008000020000000C00000012000000012313233343536373131323334353637383930313233343500110000000100100003303120";
    let header = "003C600601000060320032170208000020000000C00012000001323838303037383839333635323233343131313838303100110000000100400003303031";
    for (text, length, has_header) in
        [(header.to_owned(), true, true), (format!("0x{}\n{}", &header[4..40], &header[40..]), false, true)]
    {
        let decoded = decode_hex(&text).unwrap();
        let Envelope::Pos { length: found, header, .. } = decoded.envelope else { panic!("{decoded:?}") };
        assert_eq!((found, header.is_some()), (length, has_header));
        assert_eq!(decoded.message().unwrap().mti(), Mti::new(800));
    }
    let decoded = decode_hex(&header[26..]).unwrap();
    assert_eq!((decoded.envelope, decoded.dialect.name()), (Envelope::Bare, "cup-pos-1"));
    // Cut short: the likeliest reading's error, and where its message starts.
    let error = decode_hex(&header[..header.len() - 2]).unwrap_err();
    assert!(matches!(error, DecodeError::NotAMessage { dialect: "cup-pos-1", .. }), "{error}");
    assert_eq!(decode_hex("0x0Z").unwrap_err(), DecodeError::NotHex(3));
    assert_eq!(decode_hex("123").unwrap_err(), DecodeError::OddDigits);
    let DecodeError::NotAMessage { error, .. } = decode_hex("").unwrap_err() else { panic!() };
    assert_eq!(error.kind, ErrorKind::Empty);
    assert!(decode_hex(whole).is_err(), "a wrong bitmap");

    let bytes = encode(&CUPS, Mti::new(820), [(11, "000017"), (70, "301")]).unwrap();
    let decoded = decode_hex(&hex::encode(&bytes)).unwrap();
    assert_eq!(decoded.dialect.name(), "cups");
    let values: Vec<_> = decoded.message().unwrap().fields().map(|field| raw_value(&field)).collect();
    assert_eq!(values, ["000017", "301"]);
}

/// Field 48 toward the network is kept where it is the item of an instalment or points sale, which a reversal must say again, and
/// hidden where the item could be a card number.
#[test]
fn an_item_of_instalments_is_kept_and_no_card_number_in_it() {
    let kept = |text: &str| {
        let field = format!("hex:{}", hex::encode(text));
        let bytes = encode(&CUPS, Mti::new(200), [(48, field.as_str())]).unwrap();
        let out = masked(&CUPS, &bytes);
        CUPS.parse(&out).unwrap().bytes_of(48).unwrap() == text.as_bytes()
    };
    let item = |tag: &str, before: &str, code: &str| format!("{tag}{before}{code:<30}");
    assert!(kept(&item("IP", "06", "3C 123456789012")) && kept(&item("PB", "048", "GIFT")));
    assert!(kept(&(item("IP", "06", "CAR") + &"0".repeat(24))), "an answer's figures");
    for hidden in
        [item("IP", "06", PAN), item("PB", "048", PAN), item("ON", "06", "3C"), item("IP", "063", "3C")]
    {
        assert!(!kept(&hidden), "{hidden}");
    }
}
