//! The image of a signature: whether anything was drawn, the feature code in it, so that it cannot be moved to another
//! transaction, and the form in which it is kept and uploaded.

use receipt::{Bitmap, RenderError, png};

/// Widest image that is kept, in dots: the paper of 58 mm.
const WIDTH: u32 = 384;
/// Highest image that is kept, in dots.
const HEIGHT: u32 = 128;
/// Fewer dots are no signature.
const INK_MIN: u32 = 150;
/// Dots of the feature code's smallest stroke.
const STROKE: u32 = 2;

/// Most dots that are read again: those of the largest that is kept.
const DOTS_MAX: u64 = WIDTH as u64 * HEIGHT as u64;

/// The form in which a signature is kept and uploaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureForm {
    /// JBIG (ITU-T T.85), as hosts in the field want it.
    #[default]
    Jbig,
    /// PNG, which every program shows: for a laboratory.
    Png,
}

/// Hexadecimal digits, five dots wide and seven high: a row a byte, its fifth bit at the left.
const DIGITS: [[u8; 7]; 16] = [
    [0x0E, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0E],
    [0x04, 0x0C, 0x04, 0x04, 0x04, 0x04, 0x0E],
    [0x0E, 0x11, 0x01, 0x02, 0x04, 0x08, 0x1F],
    [0x1F, 0x02, 0x04, 0x02, 0x01, 0x11, 0x0E],
    [0x02, 0x06, 0x0A, 0x12, 0x1F, 0x02, 0x02],
    [0x1F, 0x10, 0x1E, 0x01, 0x01, 0x11, 0x0E],
    [0x06, 0x08, 0x10, 0x1E, 0x11, 0x11, 0x0E],
    [0x1F, 0x01, 0x02, 0x04, 0x08, 0x08, 0x08],
    [0x0E, 0x11, 0x11, 0x0E, 0x11, 0x11, 0x0E],
    [0x0E, 0x11, 0x11, 0x0F, 0x01, 0x02, 0x0C],
    [0x0E, 0x11, 0x11, 0x1F, 0x11, 0x11, 0x11],
    [0x1E, 0x11, 0x11, 0x1E, 0x11, 0x11, 0x1E],
    [0x0E, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0E],
    [0x1C, 0x12, 0x11, 0x11, 0x11, 0x12, 0x1C],
    [0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x1F],
    [0x1F, 0x10, 0x10, 0x1E, 0x10, 0x10, 0x10],
];

/// Whether next to nothing was drawn.
pub(crate) fn is_empty(drawn: &Bitmap) -> bool {
    drawn.bytes().iter().map(|byte| byte.count_ones()).sum::<u32>() < INK_MIN
}

/// The drawing, no larger than is kept, with the feature code in its lower right corner.
pub(crate) fn marked(drawn: Bitmap, code: &str) -> Bitmap {
    let (width, height) = (drawn.width().min(WIDTH), drawn.height().min(HEIGHT));
    let Ok(mut image) = Bitmap::new(width, height) else { return drawn };
    image.lay(&drawn, 0, 0);
    let wide = 6 * STROKE;
    let left = width.saturating_sub(wide * u32::try_from(code.len()).unwrap_or_default());
    let top = height.saturating_sub(8 * STROKE);
    for (place, digit) in (0_u32..).zip(code.chars().filter_map(|digit| digit.to_digit(16))) {
        let rows = DIGITS.get(digit as usize).into_iter().flatten();
        for (row, bits) in (0_u32..).zip(rows) {
            for column in (0..5_u32).filter(|column| bits & (0x10 >> column) != 0) {
                image.fill(left + place * wide + column * STROKE, top + row * STROKE, STROKE, STROKE);
            }
        }
    }
    image
}

/// The image as it is kept and uploaded.
pub(crate) fn write(image: &Bitmap, form: SignatureForm) -> Result<Vec<u8>, RenderError> {
    if form == SignatureForm::Jbig
        && let Ok(dots) = jbig::Image::new(image.width(), image.height(), image.bytes().to_vec())
    {
        return Ok(jbig::encode(&dots, jbig::Options::default()));
    }
    png::encode(image)
}

/// The image from its bytes in either form: the setting may have changed since they were kept.
pub(crate) fn read(bytes: &[u8]) -> Option<Bitmap> {
    match jbig::decode(bytes, DOTS_MAX) {
        Ok(dots) => Bitmap::from_bytes(dots.width(), dots.height(), dots.bytes().to_vec()).ok(),
        Err(_) => png::decode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dot is no signature, a stroke is one; two codes make two images of the same drawing.
    #[test]
    fn the_code_is_in_the_image() {
        let mut drawn = Bitmap::new(400, 200).unwrap();
        drawn.fill(10, 10, 5, 5);
        assert!(is_empty(&drawn));
        drawn.fill(10, 40, 200, 3);
        assert!(!is_empty(&drawn));
        let image = marked(drawn.clone(), "01241125");
        assert_eq!((image.width(), image.height()), (WIDTH, HEIGHT));
        assert!(image.get(100, 41) && !image.get(100, 60));
        assert_ne!(image, marked(drawn, "01241126"));
    }

    /// In either form the image comes back dot for dot; as JBIG it is the smaller one, and no other bytes are an image.
    #[test]
    fn an_image_comes_back_in_either_form() {
        let mut drawn = Bitmap::new(384, 128).unwrap();
        for x in 0..300 {
            drawn.fill(20 + x, 30 + x * x / 1_100, 3, 3);
        }
        let image = marked(drawn, "1223020F");
        let [jbig, png] = [SignatureForm::Jbig, SignatureForm::Png].map(|form| write(&image, form).unwrap());
        assert!(jbig.len() < png.len(), "{} and {} bytes", jbig.len(), png.len());
        assert!(jbig.starts_with(&[0, 0, 1, 0]) && png.starts_with(b"\x89PNG"));
        assert_eq!([jbig, png].map(|bytes| read(&bytes)), [Some(image.clone()), Some(image)]);
        assert_eq!(read(b"no image"), None);
    }
}
