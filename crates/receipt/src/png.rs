//! PNG, one bit a dot.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, Compression, Decoder, Encoder, Transformations};

use crate::bitmap::Bitmap;
use crate::render::RenderError;

/// An image as a PNG file: grey with one bit, black on white.
pub fn encode(image: &Bitmap) -> Result<Vec<u8>, RenderError> {
    let failed = |error: ::png::EncodingError| RenderError::Png(error.to_string());
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, image.width(), image.height());
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::One);
    encoder.set_compression(Compression::High);
    let mut writer = encoder.write_header().map_err(failed)?;
    // PNG has 0 for black.
    let data: Vec<u8> = image.bytes().iter().map(|byte| !byte).collect();
    writer.write_image_data(&data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

/// An image of one bit a dot, as [`encode`] writes it. Nothing: the bytes are something else, or too large.
pub fn decode(bytes: &[u8]) -> Option<Bitmap> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().ok()?;
    let info = reader.info();
    if (info.color_type, info.bit_depth) != (ColorType::Grayscale, BitDepth::One) {
        return None;
    }
    let (width, height) = info.size();
    let mut image = Bitmap::new(width, height).ok()?.bytes().to_vec();
    reader.next_frame(&mut image).ok()?;
    image.iter_mut().for_each(|byte| *byte = !*byte);
    Bitmap::from_bytes(width, height, image).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read again, dot for dot; anything else is no image.
    #[test]
    fn an_image_comes_back() {
        let mut image = Bitmap::new(37, 5).unwrap();
        image.fill(3, 1, 30, 2);
        image.set(36, 4, true);
        assert_eq!(decode(&encode(&image).unwrap()), Some(image));
        assert_eq!(decode(b"no image"), None);
    }
}
