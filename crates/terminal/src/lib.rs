//! Smart POS terminals in a browser: a page draws the device, its screen, PIN pad, slots and paper, and shows beside it
//! every message that went to the acquirer, decoded and masked.
//!
//! What runs behind the page is what runs on a terminal: the acquiring app (crate [`app`]) on the hardware SDK, with a
//! virtual device under it and simulated cards in its slots. The page is hands and eyes and decides nothing.
//!
//! For laboratories: the cards' keys are public, and anybody who can open the page can use the terminals. It listens on
//! the loopback address unless told otherwise.

mod bridge;
mod deck;
mod kernels;
mod reader;
mod station;
mod trace;
mod web;

pub use bridge::{Apps, SHOP};
pub use deck::{Deck, DeckError};
pub use reader::ReaderView;
pub use station::{Hand, Station, StationConfig, StationError};
pub use trace::{Item, Trace};
pub use web::{Site, serve};
