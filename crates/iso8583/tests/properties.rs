//! Properties over generated input: no bytes make the codec panic; whatever it accepts is rebuilt to the same
//! bytes; whatever it builds parses to the same fields; masked copies stay messages and hold no card number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use iso8583::describe::{Language, describe};
use iso8583::frame::{parse_cups, parse_pos, split, split_cups};
use iso8583::mask::mask_message;
use iso8583::text::{encode, put_value, raw_value};
use iso8583::{CUP_POS, CUPS, Dialect, Draft, Format, Length, Message, Mti, Profile, SWITCHES, tlv};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

fn rebuild(message: &Message<'_>, dialect: &'static Dialect) -> Vec<u8> {
    let mut draft = Draft::new();
    draft.start(dialect, message.mti());
    message.fields().for_each(|field| draft.put_field(&field).unwrap());
    let mut out = Vec::new();
    draft.write(&mut out).unwrap();
    out
}

/// Everything that is done with a message, so that a panic anywhere shows.
fn exercise(bytes: &[u8], dialect: &'static Dialect) {
    let Ok(message) = dialect.parse(bytes) else { return };
    assert_eq!(rebuild(&message, dialect), bytes);
    let _ = message.check_chip_data();
    let _ = message.mac_block();
    for number in 0..=255 {
        let _ = (message.number(number), message.digits(number), message.text(number), message.field(number));
    }
    let mut masked = Vec::new();
    mask_message(&message, &mut masked);
    assert_eq!(masked.len(), bytes.len());
    let masked = dialect.parse(&masked).expect("a masked copy is a message");
    assert_eq!(masked.bitmap(), message.bitmap());
    let _ = describe(&message).to_table(Language::Both);
    let mut text = Vec::new();
    iso8583::cups::mac_text(&message, &mut text);
}

/// A value that field `number` takes, from a seed.
fn value(dialect: &Dialect, number: u8, seed: &[u8]) -> String {
    let spec = dialect.spec(number).unwrap();
    let len = match spec.length {
        Length::Fixed(len) => usize::from(len),
        Length::Ll(max) | Length::Lll(max) => 1 + seed.len() % usize::from(max.min(60)),
    };
    let cycle = seed.iter().cycle().take(len);
    match spec.format {
        Format::N => cycle.map(|byte| char::from(b'0' + byte % 10)).collect(),
        Format::Z => cycle.map(|byte| char::from(b"0123456789D"[usize::from(byte % 11)])).collect(),
        Format::Xn => "D".chars().chain(cycle.skip(1).map(|byte| char::from(b'0' + byte % 10))).collect(),
        Format::An | Format::Ans | Format::Text => {
            // The last character is no space, which would be taken for filling.
            cycle.map(|byte| char::from(b"ABCxyz0189"[usize::from(byte % 10)])).collect()
        }
        Format::B => format!("hex:{}", hex::encode_upper(cycle.copied().collect::<Vec<_>>())),
    }
}

fn numbers(dialect: &'static Dialect) -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<u8> = dialect.specs().map(|spec| spec.number).collect();
    btree_set(0..all.len(), 1..all.len())
        .prop_map(move |places| places.into_iter().map(|place| all[place]).collect())
        .prop_shuffle()
}

fn round_trip(dialect: &'static Dialect, mti: u16, numbers: &[u8], seed: &[u8]) {
    let values: Vec<_> = numbers.iter().map(|number| (*number, value(dialect, *number, seed))).collect();
    let bytes =
        encode(dialect, Mti::new(mti), values.iter().map(|(number, value)| (*number, value.as_str())))
            .unwrap();
    let message = dialect.parse(&bytes).unwrap();
    assert_eq!(message.mti(), Mti::new(mti));
    assert_eq!(message.fields().count(), numbers.len());
    for (number, value) in &values {
        assert_eq!(&raw_value(&message.field(*number).unwrap()), value, "field {number}");
    }
    assert_eq!(rebuild(&message, dialect), bytes);
    exercise(&bytes, dialect);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..400)) {
        exercise(&bytes, &CUP_POS);
        exercise(&bytes, &CUPS);
        let _ = tlv::validate(&bytes);
        let _ = tlv::ascii_iter(&bytes, 3).count();
        let _ = (split(&bytes, 2048), split_cups(&bytes, 2048), parse_cups(&bytes));
        let _ = parse_pos(&bytes, &Profile { lri: true, ..Profile::CUP_POS_1 });
        let _ = iso8583::text::decode_hex(&hex::encode(&bytes));
    }

    /// No combination of switches makes the codec panic: any bytes, bytes after a sound head, and whole messages with
    /// every field that the choice of `numbers` names.
    #[test]
    fn any_switches(
        choices in vec(any::<proptest::sample::Index>(), SWITCHES.len()),
        bits in any::<u64>(),
        bytes in vec(any::<u8>(), 0..300),
        numbers in numbers(&CUP_POS),
        seed in vec(any::<u8>(), 1..40),
    ) {
        let mut profile = Profile::named("any");
        for (switch, choice) in SWITCHES.iter().zip(&choices) {
            let values: Vec<&str> = match switch.name {
                "header" => vec!["603200320001", "000000000000", "6132003FFFF1", "none"],
                "field_55_max" => vec!["255", "700", "999"],
                "field_60_max" => vec!["17", "19", "999"],
                _ => switch.values.split(", ").collect(),
            };
            let value = values[choice.index(values.len())];
            profile.set(switch.name, value).unwrap();
            prop_assert_eq!((switch.get)(&profile).into_owned(), value);
        }
        let _ = profile.check();
        let dialect = Dialect::for_profile(&profile);
        if let Ok(frame) = parse_pos(&bytes, &profile) {
            exercise(frame.body, dialect);
        }
        let known = dialect.specs().fold(0, |bits, spec| bits | 1u64 << (64 - spec.number));
        let mut sound = vec![0x02, 0x00];
        sound.extend((bits & known).to_be_bytes());
        sound.extend(&bytes);
        exercise(&sound, dialect);
        round_trip(dialect, 200, &numbers, &seed);
    }

    /// Random bytes seldom pass the bitmap, so here the head is sound and the rest random.
    #[test]
    fn any_bytes_after_a_sound_head(bits in any::<u64>(), low in any::<u64>(), rest in vec(any::<u8>(), 0..200)) {
        let known = CUP_POS.specs().fold(0, |bits, spec| bits | 1u64 << (64 - spec.number));
        let mut bytes = vec![0x02, 0x00];
        bytes.extend((bits & known & low).to_be_bytes());
        bytes.extend(&rest);
        exercise(&bytes, &CUP_POS);
        let known = CUPS.specs().fold(0, |bits, spec| bits | 1u128 << (128 - spec.number));
        let bits = (u128::from(bits) << 64 | u128::from(low)) & known | 1 << 127;
        let mut bytes = b"0200".to_vec();
        bytes.extend(bits.to_be_bytes());
        bytes.extend(&rest);
        exercise(&bytes, &CUPS);
    }

    #[test]
    fn terminal_messages_round_trip(mti in 0u16..=9999, numbers in numbers(&CUP_POS), seed in vec(any::<u8>(), 1..80)) {
        round_trip(&CUP_POS, mti, &numbers, &seed);
    }

    #[test]
    fn network_messages_round_trip(mti in 0u16..=9999, numbers in numbers(&CUPS), seed in vec(any::<u8>(), 1..80)) {
        round_trip(&CUPS, mti, &numbers, &seed);
    }

    /// Putting again replaces, removing removes, and neither leaves a trace in the bytes.
    #[test]
    fn putting_twice_replaces(numbers in numbers(&CUP_POS), seed in vec(any::<u8>(), 2..80), extra in any::<proptest::sample::Index>()) {
        let (mut draft, mut once) = (Draft::new(), Draft::new());
        draft.start(&CUP_POS, Mti::new(200));
        once.start(&CUP_POS, Mti::new(200));
        let twice = *extra.get(&numbers);
        for number in &numbers {
            put_value(&mut draft, &CUP_POS, *number, &value(&CUP_POS, *number, &seed[1..])).unwrap();
            put_value(&mut draft, &CUP_POS, *number, &value(&CUP_POS, *number, &seed)).unwrap();
            if *number != twice {
                put_value(&mut once, &CUP_POS, *number, &value(&CUP_POS, *number, &seed)).unwrap();
            }
        }
        assert!(draft.has(twice));
        draft.remove(twice);
        assert!(!draft.has(twice));
        let (mut a, mut b) = (Vec::new(), Vec::new());
        draft.write(&mut a).unwrap();
        once.write(&mut b).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn numbers_round_trip(number in prop_oneof![Just(4u8), Just(11), Just(22), Just(2), Just(60), Just(53)], value in any::<u64>()) {
        for dialect in [&CUP_POS, &CUPS] {
            if dialect.spec(number).is_none_or(|spec| spec.format != Format::N) {
                continue;
            }
            let max = u32::from(dialect.spec(number).unwrap().length.max()).min(18);
            let value = value % 10u64.pow(max);
            let mut draft = Draft::new();
            draft.start(dialect, Mti::new(200));
            draft.put_number(number, value).unwrap();
            let mut out = Vec::new();
            draft.write(&mut out).unwrap();
            assert_eq!(dialect.parse(&out).unwrap().number(number), Some(value));
        }
    }

    #[test]
    fn tlv_round_trips(items in vec((any::<u16>(), vec(any::<u8>(), 0..300)), 0..12)) {
        let mut out = Vec::new();
        let items: Vec<_> = items.into_iter().map(|(seed, value)| {
            // One, two and three byte tags, each well formed.
            let tag = match seed % 3 {
                0 => u32::from(seed >> 8 & 0xde | 1),
                1 => 0x9f00 | u32::from(seed >> 8 & 0x7f),
                _ => 0xdf_8000 | u32::from(seed >> 8 & 0x7f),
            };
            (if tag & 0x1f == 0x1f && tag < 0x100 { 0x81 } else { tag }, value)
        }).collect();
        items.iter().for_each(|(tag, value)| tlv::write(&mut out, *tag, value));
        let read: Vec<_> = tlv::iter(&out).map(Result::unwrap).map(|item| (item.tag, item.value.to_vec())).collect();
        prop_assert_eq!(read, items);
        if !out.is_empty() {
            out.pop();
            prop_assert!(tlv::validate(&out).is_err() || out.is_empty());
        }
    }
}
