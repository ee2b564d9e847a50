//! The devices of a PC till as drivers of the hardware SDK.
//!
//! | device | how |
//! |---|---|
//! | printer, drawer on its plug | [`EscPosPrinter`] over network, serial line or device file; slips go as dots |
//! | drawer on a line of its own | [`SerialDrawer`] |
//! | stripe, codes typed | [`Wedge`], fed with what the keyboard device types |
//! | codes seen | [`CameraScanner`], fed with pictures |
//! | serial line | [`PcSerial`] |
//! | chip card, security module | `PcscSlot` with the feature `pcsc` |
//! | keys, sealed values, PIN pad | [`hal_virtual`], in the host's process, with a directory |
//!
//! [`Overlay`] puts them in front of a set that has the rest.

mod camera;
mod escpos;
mod link;
mod overlay;
#[cfg(feature = "pcsc")]
pub mod pcsc;
mod serial;
mod wedge;

pub use camera::{CameraScanner, DOTS_MAX, Picture, find_code};
pub use escpos::{EscPosModel, EscPosPrinter, SerialDrawer};
pub use link::{Link, Place};
pub use overlay::Overlay;
#[cfg(feature = "pcsc")]
pub use pcsc::PcscSlot;
pub use serial::PcSerial;
pub use wedge::{LINE_MAX, Lines, Typed, Wedge, parse_line};
