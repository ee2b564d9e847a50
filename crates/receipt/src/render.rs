//! What renderers share: the ways in which a document cannot be drawn, and where signatures come from.

use crate::bitmap::Bitmap;

/// Why a document cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No font with Chinese characters was found.
    #[error(
        "no font with Chinese characters in any of the usual places: install the Debian package fonts-wqy-zenhei \
         (or fonts-noto-cjk), or name a font file"
    )]
    NoFont,
    /// A font that was named cannot be read.
    #[error("font {path} cannot be used: {reason}")]
    Font {
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A two-dimensional code says more than the paper holds.
    #[error("a two-dimensional code is too long for the paper")]
    Qr,
    /// A bar code says more than the paper holds, or something other than printable ASCII.
    #[error("a bar code is too long for the paper, or not printable ASCII")]
    Barcode,
    /// More paper than an image may have.
    #[error("the slip is longer than an image may be")]
    Length,
    /// The PNG could not be written.
    #[error("PNG: {0}")]
    Png(String),
}

/// Where signatures come from: a reference to its image, or nothing.
pub type Signatures<'a> = &'a dyn Fn(&str) -> Option<Bitmap>;

/// No signature is known: each leaves its place empty.
pub fn no_signatures(_reference: &str) -> Option<Bitmap> {
    None
}

/// Height of the place that an unknown signature leaves empty, in dots.
pub(crate) const SIGNATURE_HEIGHT: u32 = 128;

/// What stands around a line of text of this height, in dots.
pub(crate) const fn leading(px: u32) -> u32 {
    px / 4
}
