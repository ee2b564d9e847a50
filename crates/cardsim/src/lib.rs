//! Chip cards in software: a deck of laboratory cards at the level of commands and answers.
//!
//! A [`Card`] is put into a reader with [`Card::power_up`] and then answers commands as the chip does: selection (PSE,
//! PPSE, AID), processing options, records, dynamic authentication, cryptograms, issuer authentication, scripts. It
//! knows nothing of terminals, and nothing of this project's kernel; keys are derived from public laboratory keys, so
//! **no card here protects anything**.
//!
//! ```
//! use cardsim::{Card, Interface, MemoryCounters, deck};
//!
//! let mut card = Card::new(deck::find("L01").unwrap(), Box::new(MemoryCounters::new()), Box::new(|bytes| bytes.fill(7)))?;
//! card.power_up(Interface::Contact).unwrap();
//! let answer = card.transmit(&[0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x03, 0x33, 0x00]).unwrap();
//! assert!(answer.ends_with(&[0x90, 0x00]));
//! # Ok::<(), cardsim::ProfileError>(())
//! ```
//!
//! Where to look: [`deck`] for the cards, [`Behaviour`] for what can be switched on one of them, [`lab`] for the
//! derived RSA keys, [`vpcd`] for putting a card into the virtual reader of a PC.

mod apdu;
mod behaviour;
mod card;
mod counter;
mod crypto;
mod cryptogram;
pub mod deck;
mod dol;
pub mod lab;
mod profile;
mod script;
pub mod vpcd;

pub use behaviour::{Ac, ArpcFault, Behaviour, BehaviourError, Blocked, Moment};
pub use card::{Card, CardGone, Interface, PowerFault};
pub use counter::{CounterError, CounterStore, FileCounters, MemoryCounters};
pub use deck::{Stripe, StripeCard};
pub use profile::{
    Algorithm, App, Contactless, Derive, Keys, Oda, Profile, ProfileError, RecordSpec, Start,
    standard_records,
};
