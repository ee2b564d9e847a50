//! Black and white dots.

/// An image: rows from the top, each padded to whole bytes, most significant bit left, 1 = black.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

/// What is no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A side is zero, or the image larger than memory.
    #[error("an image has at least one dot, and fits into memory")]
    Side,
    /// The bytes are not `height` rows of `width` dots.
    #[error("{got} bytes of image where {wanted} were expected")]
    Length {
        /// Bytes for the size that was named.
        wanted: usize,
        /// Bytes there.
        got: usize,
    },
}

/// Bytes of a row.
pub(crate) fn row_bytes(width: u32) -> usize {
    width.div_ceil(8) as usize
}

impl Image {
    /// An image from its bytes. Bits beyond the width are cleared.
    ///
    /// # Errors
    /// [`ImageError`]: a side of zero, or bytes that do not fit the size.
    pub fn new(width: u32, height: u32, mut data: Vec<u8>) -> Result<Self, ImageError> {
        let wanted = row_bytes(width).checked_mul(height as usize).filter(|wanted| *wanted > 0);
        let wanted = wanted.ok_or(ImageError::Side)?;
        if data.len() != wanted {
            return Err(ImageError::Length { wanted, got: data.len() });
        }
        let spare = row_bytes(width) * 8 - width as usize;
        for row in data.chunks_exact_mut(row_bytes(width)) {
            if let Some(last) = row.last_mut() {
                *last &= 0xFF << spare;
            }
        }
        Ok(Self { width, height, data })
    }

    /// Dots across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Dots down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All rows.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// The rows, a flag a dot.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<bool>> {
        self.data.chunks_exact(row_bytes(self.width)).map(|row| {
            let dots = row.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
            dots.take(self.width as usize).collect()
        })
    }
}

/// Appends a row, a flag a dot, as bytes.
pub(crate) fn pack(row: &[bool], data: &mut Vec<u8>) {
    let bytes = row.chunks(8).map(|dots| {
        dots.iter().zip(0..8_u32).fold(0, |byte, (dot, bit)| byte | (u8::from(*dot) << 7 >> bit))
    });
    data.extend(bytes);
}
