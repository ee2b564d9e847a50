//! MPOS (device type 03): a phone with the acquiring app, and a card reader with the keys, at two ends of a link
//! (`readerlink.v1`, docs/readerlink.md).
//!
//! ```text
//! app ── hal ── Phone ── Link ~~ TCP ~~ serve ── Reader ── hal ── readers, PIN pad, key slots, kernel
//!        phone's own devices                                      of the reader
//! ```
//!
//! Card numbers, clear tracks, PINs and keys stay in the reader. The phone has the masked number, track 2 under the reader's
//! track key, the PIN block and field 55. The reader shows on its own display the amount that goes into the chip.
//!
//! [`Reader`] is the reader's side over any devices of the SDK; [`serve`] puts it behind a TCP listener, which stands for
//! Bluetooth here, with a switch ([`Radio`]). [`Link`] and [`Phone`] are the phone's side: the reader as devices of the SDK
//! beside the phone's own. A link that is lost is an error of the device; lost while the host is asked, the chip counts as
//! removed, and the payment is reversed.

mod codes;
mod params;
mod reader;
mod remote;
mod remote_kernel;
mod serve;

pub use reader::Reader;
pub use remote::{Link, LinkState, Phone};
pub use serve::{Radio, Serving, serve};
