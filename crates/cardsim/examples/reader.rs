//! Puts a card of the deck, or of a profile file, into the virtual reader of this PC (`vsmartcard-vpcd`).
//!
//! ```text
//! cargo run -p cardsim --example reader -- L01
//! cargo run -p cardsim --example reader -- my-card.toml 127.0.0.1:35963 'sw(B2,6A83)' unknown_tags
//! ```
//!
//! The card stays in until the program is stopped; its counters are kept in `cards.json` of the working directory.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use cardsim::{Behaviour, Card, FileCounters, Profile, deck, vpcd};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("which card? L01 to L14, or a profile file")?;
    let reader = arguments.next().unwrap_or_else(|| format!("127.0.0.1:{}", vpcd::PORT));
    let mut profile = match deck::find(&name) {
        Some(profile) => profile,
        None => Profile::from_file(Path::new(&name))?,
    };
    for switch in arguments {
        profile.behaviour.push(switch.parse::<Behaviour>()?);
    }
    let mut source = File::open("/dev/urandom")?;
    let random = Box::new(move |bytes: &mut [u8]| {
        // A card without a source of chance repeats itself, which a laboratory card may.
        let _ = source.read_exact(bytes);
    });
    let mut card = Card::new(profile, Box::new(FileCounters::new("cards.json")), random)?;
    let mut out = std::io::stdout();
    writeln!(out, "{} is in the reader at {reader}", card.profile().id)?;
    let ended = vpcd::serve(reader.as_str(), &mut card)?;
    writeln!(out, "{ended:?}")?;
    Ok(())
}
