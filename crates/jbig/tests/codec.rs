//! Scenario: images that are written come back, and bytes from outside are an image of the promised size or an error. What
//! is decoded came over the air from a terminal, so no bytes may stop the host or fill its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod images;

use jbig::{DecodeError, Image, ImageError, Options, decode, encode};
use proptest::prelude::*;

/// A stroke of a pen, and what `pbmtojbg85 -m 0 -s 8` makes of it.
const STROKE: [&str; 16] = [
    "................................",
    "....####........................",
    "..##....##...............#......",
    ".#........#............##.......",
    ".#.........#..........#.........",
    ".#.........#........##....###...",
    "..#.......#.......##....##...#..",
    "...##....#.......#....##.....#..",
    ".....####......##....#......#...",
    "....##.......##......#.....#....",
    "..##........#.........#..##.....",
    ".#........##...........##.......",
    "#.......##......................",
    "......##........................",
    "....##..........................",
    "................................",
];
const STROKE_CODED: &str = concat!(
    "00000100000000200000001000000008",
    "00000008",
    "6269101a714557e7a8f82014f384b3e96cff02",
    "017a5f25932a5368312e80ff02",
);

fn stroke() -> Image {
    images::image(32, 16, |x, y| STROKE[y as usize].as_bytes()[x as usize] == b'#')
}

/// The known answer.
#[test]
fn a_stroke_is_coded_as_others_code_it() {
    let options = Options { stripe: 8, ..Options::default() };
    assert_eq!(hex::encode(encode(&stroke(), options)), STROKE_CODED);
    assert_eq!(decode(&hex::decode(STROKE_CODED).unwrap(), 512), Ok(stroke()));
}

/// A signature is small: it fits into one message of 999 bytes, where its dots would need seven.
#[test]
fn a_signature_fits_into_one_message() {
    let (_, image) = images::all().into_iter().find(|(name, _)| *name == "signature").unwrap();
    let coded = encode(&image, Options::default());
    assert!(coded.len() < 900, "{} bytes", coded.len());
    assert_eq!(decode(&coded, images::DOTS_MAX), Ok(image));
}

/// A stripe that ends in SDRST is followed by one that begins as the first did.
#[test]
fn after_a_reset_nothing_is_remembered() {
    let one = encode(&stroke(), Options { stripe: 16, ..Options::default() });
    let (header, code) = one.split_at(20);
    let mut two = header.to_vec();
    two[11] = 32;
    two.extend(code);
    let end = two.len() - 1;
    two[end] = 0x03;
    two.extend(code);
    let twice = images::image(32, 32, |x, y| STROKE[y as usize % 16].as_bytes()[x as usize] == b'#');
    assert_eq!(decode(&two, 1024), Ok(twice));
}

/// What is refused says why; what follows an image is left.
#[test]
fn what_is_no_image_is_refused() {
    let good = hex::decode(STROKE_CODED).unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        decode(&bytes, 512)
    };
    assert_eq!(with(1, 1), Err(DecodeError::NotSupported("several resolutions")));
    assert_eq!(with(2, 2), Err(DecodeError::NotSupported("several planes")));
    assert_eq!(with(19, 0x0A), Err(DecodeError::NotSupported("a private table or an unknown option")));
    assert_eq!(with(18, 0x10), Err(DecodeError::Header("an unknown order")));
    assert_eq!(with(15, 0), Err(DecodeError::Header("a size of nothing")));
    let end = good.len() - 1;
    assert_eq!(with(end, 0x04), Err(DecodeError::Aborted));
    assert_eq!(with(end, 0x0C), Err(DecodeError::Marker(0x0C)));
    assert_eq!(with(11, 17), Err(DecodeError::TooLarge));
    assert_eq!(decode(&good, 511), Err(DecodeError::TooLarge));
    for cut in 0..good.len() {
        assert_eq!(decode(&good[..cut], 512), Err(DecodeError::Truncated), "{cut}");
    }
    assert_eq!(decode(&[good, vec![0xFF; 9]].concat(), 512), Ok(stroke()));
    assert_eq!(Image::new(0, 4, Vec::new()), Err(ImageError::Side));
    assert_eq!(Image::new(9, 1, vec![0]), Err(ImageError::Length { wanted: 2, got: 1 }));
}

fn any_image() -> impl Strategy<Value = Image> {
    (1_u32..70, 1_u32..40).prop_flat_map(|(width, height)| {
        let bytes = (width.div_ceil(8) * height) as usize;
        // Even noise hardly meets the states of what is nearly certain.
        let byte = prop_oneof![8 => Just(0), 2 => Just(0xFF), 3 => any::<u8>()];
        proptest::collection::vec(byte, bytes).prop_map(move |data| Image::new(width, height, data).unwrap())
    })
}

fn any_options() -> impl Strategy<Value = Options> {
    (1_u32..45, any::<bool>(), any::<bool>()).prop_map(|(stripe, two_lines, typical)| Options {
        stripe,
        two_lines,
        typical,
    })
}

/// A header of an image of the profile, small or as large as can be named.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let side = || prop_oneof![4 => 1_u32..600, 1 => any::<u32>()];
    let option = prop::sample::select(vec![0_u8, 0x08, 0x20, 0x28, 0x40, 0x48, 0x68]);
    (side(), side(), side(), option).prop_map(|(width, height, stripe, option)| {
        let numbers = [width, height, stripe].map(u32::to_be_bytes).concat();
        [&[0, 0, 1, 0], numbers.as_slice(), &[8, 0, 0, option]].concat()
    })
}

/// Code and markers, in an order that makes no sense.
fn any_rest() -> impl Strategy<Value = Vec<u8>> {
    let marker = (0_u8..9, proptest::collection::vec(any::<u8>(), 0..7))
        .prop_map(|(marker, rest)| [&[0xFF, marker], rest.as_slice()].concat());
    let code = proptest::collection::vec(any::<u8>(), 0..20);
    proptest::collection::vec(prop_oneof![marker, code], 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any image in any form comes back.
    #[test]
    fn an_image_comes_back(image in any_image(), options in any_options()) {
        prop_assert_eq!(decode(&encode(&image, options), images::DOTS_MAX), Ok(image));
    }

    /// Any bytes are an image of no more dots than were asked for, or an error.
    #[test]
    fn any_bytes_are_an_image_or_an_error(header in any_header(), rest in any_rest(), dots_max in 0_u64..9_000) {
        for bytes in [[header, rest.clone()].concat(), rest] {
            if let Ok(image) = decode(&bytes, dots_max) {
                prop_assert!(u64::from(image.width()) * u64::from(image.height()) <= dots_max);
            }
        }
    }

    /// An image with some bytes changed on the way likewise.
    #[test]
    fn a_damaged_image_is_an_image_or_an_error(
        image in any_image(),
        options in any_options(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = encode(&image, options);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(read) = decode(&bytes, 4_000) {
            prop_assert!(u64::from(read.width()) * u64::from(read.height()) <= 4_000);
        }
    }
}
