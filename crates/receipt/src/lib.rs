//! Slips: what must stand on them, and how they come to paper, to a browser and into a caller's answer.
//!
//! A slip is a [`ReceiptDoc`]: lines of a few kinds, each with the copy that shows it. It is laid out once, in columns
//! by East Asian width, and rendered from there. The functions of [`slip`] make the documents of an acquirer's slips
//! from plain data; whatever else prints makes its own document from [`Line`]s.
//!
//! A card number enters as [`MaskedPan`], which cannot hold a whole one: there is nothing else to print.

mod bitmap;
mod code;
pub mod escpos;
mod font;
mod layout;
mod model;
mod pan;
pub mod png;
pub mod raster;
mod render;
pub mod slip;
pub mod svg;
pub mod text;

pub use bitmap::{Bitmap, BitmapError};
pub use font::Font;
pub use layout::columns;
pub use model::{Align, Cell, Copies, Cut, Element, Line, Part, QrLevel, ReceiptDoc, Size, Style, Width};
pub use pan::{MaskedPan, PanError};
pub use render::{RenderError, Signatures, no_signatures};
