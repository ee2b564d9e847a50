//! Black and white images: one bit a dot.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Dots a side may have. A slip of 80 mm is 576 wide; one of two metres is 16,000 long.
pub const SIDE_MAX: u32 = 32_768;

/// An image of black and white dots, rows from the top, each row padded to whole bytes, most significant bit left,
/// 1 = black: as printers want it. In JSON its bytes are base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Encoded", into = "Encoded")]
pub struct Bitmap {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

/// What is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitmapError {
    /// A side is zero or above the limit.
    #[error("a side of an image has 1 to {SIDE_MAX} dots")]
    Side,
    /// The bytes are not `height` rows of `width` dots.
    #[error("{got} bytes of image where {wanted} were expected")]
    Length {
        /// Bytes for the size that was named.
        wanted: usize,
        /// Bytes there.
        got: usize,
    },
    /// The text is no base64.
    #[error("image is not base64")]
    Base64,
}

impl Bitmap {
    /// A white image.
    pub fn new(width: u32, height: u32) -> Result<Self, BitmapError> {
        let sides = 1..=SIDE_MAX;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(BitmapError::Side);
        }
        Ok(Self { width, height, data: vec![0; row_bytes(width) * height as usize] })
    }

    /// An image from its bytes. Bits beyond the width are cleared.
    pub fn from_bytes(width: u32, height: u32, data: Vec<u8>) -> Result<Self, BitmapError> {
        let mut image = Self::new(width, height)?;
        if image.data.len() != data.len() {
            return Err(BitmapError::Length { wanted: image.data.len(), got: data.len() });
        }
        image.data = data;
        let spare = row_bytes(width) as u32 * 8 - width;
        for row in image.data.chunks_mut(row_bytes(width)) {
            if let Some(last) = row.last_mut() {
                *last &= 0xFF << spare;
            }
        }
        Ok(image)
    }

    /// Dots across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Dots down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        row_bytes(self.width)
    }

    /// All rows.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Whether a dot is black; outside it is white.
    pub fn get(&self, x: u32, y: u32) -> bool {
        self.place(x, y).is_some_and(|(at, bit)| self.data.get(at).is_some_and(|byte| byte & bit != 0))
    }

    /// Makes a dot black or white; outside nothing happens.
    pub fn set(&mut self, x: u32, y: u32, black: bool) {
        let Some((at, bit)) = self.place(x, y) else { return };
        if let Some(byte) = self.data.get_mut(at) {
            if black { *byte |= bit } else { *byte &= !bit }
        }
    }

    /// Makes a rectangle black, as far as it lies inside.
    pub fn fill(&mut self, x: u32, y: u32, width: u32, height: u32) {
        for row in y..y.saturating_add(height).min(self.height) {
            for column in x..x.saturating_add(width).min(self.width) {
                self.set(column, row, true);
            }
        }
    }

    /// Lays another image over this one, its left upper corner at `x`, `y`: black stays black.
    pub fn lay(&mut self, image: &Bitmap, x: u32, y: u32) {
        for row in 0..image.height {
            for column in 0..image.width {
                if image.get(column, row) {
                    self.set(x.saturating_add(column), y.saturating_add(row), true);
                }
            }
        }
    }

    /// The same, at most so many dots across: what is right of them is left out.
    #[must_use]
    pub fn cropped(&self, width: u32) -> Self {
        let mut image = self.clone();
        if let (true, Ok(mut narrow)) = (width < self.width, Self::new(width, self.height)) {
            narrow.lay(self, 0, 0);
            image = narrow;
        }
        image
    }

    fn place(&self, x: u32, y: u32) -> Option<(usize, u8)> {
        (x < self.width && y < self.height)
            .then(|| (y as usize * self.row_bytes() + x as usize / 8, 0x80 >> (x % 8)))
    }
}

fn row_bytes(width: u32) -> usize {
    width.div_ceil(8) as usize
}

impl std::fmt::Debug for Bitmap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitmap({} x {})", self.width, self.height)
    }
}

/// How it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded {
    width: u32,
    height: u32,
    data: String,
}

impl From<Bitmap> for Encoded {
    fn from(image: Bitmap) -> Self {
        Self { width: image.width, height: image.height, data: STANDARD.encode(&image.data) }
    }
}

impl TryFrom<Encoded> for Bitmap {
    type Error = BitmapError;

    fn try_from(encoded: Encoded) -> Result<Self, BitmapError> {
        let data = STANDARD.decode(encoded.data).map_err(|_| BitmapError::Base64)?;
        Self::from_bytes(encoded.width, encoded.height, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_packed_most_significant_bit_left() {
        let mut image = Bitmap::new(10, 2).unwrap();
        image.set(0, 0, true);
        image.set(9, 1, true);
        image.set(10, 0, true);
        assert_eq!(image.bytes(), [0x80, 0, 0, 0x40]);
        assert!(image.get(9, 1) && !image.get(8, 1) && !image.get(99, 99));
    }

    #[test]
    fn what_is_too_wide_is_cut_off_at_the_right() {
        let image = Bitmap::from_bytes(16, 1, vec![0xF0, 0x01]).unwrap();
        assert_eq!(image.cropped(6), Bitmap::from_bytes(6, 1, vec![0xF0]).unwrap());
        assert_eq!(image.cropped(16), image);
    }

    #[test]
    fn what_does_not_fit_its_size_is_refused_and_spare_bits_are_white() {
        assert_eq!(Bitmap::new(0, 1), Err(BitmapError::Side));
        assert_eq!(Bitmap::from_bytes(8, 2, vec![0]), Err(BitmapError::Length { wanted: 2, got: 1 }));
        assert_eq!(Bitmap::from_bytes(4, 1, vec![0xFF]).unwrap().bytes(), [0xF0]);
        let text = serde_json::to_string(&Bitmap::from_bytes(8, 1, vec![0xAA]).unwrap()).unwrap();
        assert_eq!(text, r#"{"width":8,"height":1,"data":"qg=="}"#);
        assert_eq!(serde_json::from_str::<Bitmap>(&text).unwrap().bytes(), [0xAA]);
    }
}
