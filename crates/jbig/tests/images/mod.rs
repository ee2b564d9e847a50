//! Images that the tests encode: drawn, patterned, random, and of awkward sizes.

use jbig::Image;

/// More dots than any of them has.
pub const DOTS_MAX: u64 = 1 << 20;

/// An image from a rule.
pub fn image(width: u32, height: u32, black: impl Fn(u32, u32) -> bool) -> Image {
    let mut data = Vec::new();
    for y in 0..height {
        for byte in 0..width.div_ceil(8) {
            let bits = (0..8).map(|bit| byte * 8 + bit);
            data.push(bits.fold(0, |bits, x| bits << 1 | u8::from(x < width && black(x, y))));
        }
    }
    Image::new(width, height, data).unwrap()
}

/// A number that looks random, from a place.
fn noise(x: u32, y: u32) -> u32 {
    let mut mixed = x.wrapping_mul(0x9E37_79B9) ^ y.wrapping_mul(0x85EB_CA6B);
    mixed ^= mixed >> 15;
    mixed = mixed.wrapping_mul(0x2C1B_3C6D);
    mixed ^= mixed >> 12;
    mixed.wrapping_mul(0x297A_2D39) >> 8
}

/// Two loops and a line, three dots thick, as a pen leaves them.
fn signature() -> Image {
    image(384, 128, |x, y| {
        let ring = |left: i64, top: i64, size: i64| {
            let (across, down) = (i64::from(x) - left, i64::from(y) - top);
            let distance = across * across + down * down * 3;
            ((size - 2) * (size - 2)..(size + 2) * (size + 2)).contains(&distance)
        };
        ring(110, 60, 60) || ring(190, 70, 80) || (40..330).contains(&x) && y.abs_diff(110 - x / 8) < 2
    })
}

/// All of them, by name.
pub fn all() -> Vec<(&'static str, Image)> {
    vec![
        ("signature", signature()),
        ("white", image(384, 128, |_, _| false)),
        ("black", image(200, 150, |_, _| true)),
        ("a dot", image(1, 1, |_, _| true)),
        ("a column", image(1, 300, |_, y| y.is_multiple_of(3))),
        ("a row", image(1001, 1, |x, _| x % 7 < 3)),
        ("noise", image(129, 140, |x, y| noise(x, y).is_multiple_of(2))),
        ("sparse", image(517, 260, |x, y| noise(x, y).is_multiple_of(97))),
        ("pattern", image(400, 120, |x, y| (x % 12) + (y % 10) < 5 + noise(x / 40, y / 40) % 6)),
        ("grey", image(300, 200, |x, y| noise(x, y) % 300 < x)),
        ("fading", image(700, 400, |x, y| noise(x, y).is_multiple_of(1 + (x * y) / 64))),
    ]
}
