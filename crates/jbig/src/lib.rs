//! JBIG (ITU-T T.82) in the profile of ITU-T T.85: one plane, one resolution, stripes from the top. Terminals upload the
//! holder's signature in it.
//!
//! ```text
//! header (BIH), 20 bytes                            then, for each stripe
//!  0  DL, D: 0, 0     12  L0: lines of a stripe      floating segments: FF 05 NEWLEN, FF 06 ATMOVE, FF 07 COMMENT
//!  2  P: 1, and 0     16  MX, MY                     QM code, in which FF is written as FF 00
//!  4  XD: width       18  order                      FF 02 (SDNORM), or FF 03 (SDRST): forget all that was learnt
//!  8  YD: height      19  options
//! ```
//!
//! Each dot is coded by the QM coder (`qm`) under the ten dots around it that are known already (`line`). Decoding takes all
//! that the profile allows; encoding needs neither moves of the adaptive dot nor a height that changes later.

mod decode;
mod encode;
mod image;
mod line;
mod qm;

pub use decode::{DecodeError, decode};
pub use encode::{Options, encode};
pub use image::{Image, ImageError};

/// Begins a marker.
const ESC: u8 = 0xFF;
/// Behind [`ESC`]: the byte FF itself.
const STUFF: u8 = 0x00;
/// End of a stripe.
const SDNORM: u8 = 0x02;
/// End of a stripe; the next one begins as if it were the first.
const SDRST: u8 = 0x03;
/// The sender gave up.
const ABORT: u8 = 0x04;
/// The height, where the header announced more.
const NEWLEN: u8 = 0x05;
/// Another place for the adaptive dot.
const ATMOVE: u8 = 0x06;
/// Anything.
const COMMENT: u8 = 0x07;

/// Option: the template of two lines.
const LRLTWO: u8 = 0x40;
/// Option: a [`NEWLEN`] may come.
const VLENGTH: u8 = 0x20;
/// Option: typical prediction, a line that is as the one above costs one decision.
const TPBON: u8 = 0x08;
