//! PNG, one bit a dot.

use ::png::{BitDepth, ColorType, Compression, Encoder};

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
