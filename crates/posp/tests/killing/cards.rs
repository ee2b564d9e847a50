//! The cards of the run. The network's deck, with money for a long run, and one stripe card for each terminal
//! beside it; and what a terminal's customers present.

use pos::{CardInput, Entry, Pin, PosError};

use super::random::Random;

/// Fen on every card that has money: no run empties it.
const OPENING: i64 = 100_000_000_000;
/// Cards of the deck that must stay as poor as they are: their declines are wanted.
const POOR: [&str; 1] = ["L04"];
/// Chip cards that approve: name and PIN.
const CHIPS: [(&str, &str); 5] =
    [("L01", "123456"), ("L02", "123456"), ("L03", "654321"), ("L12", "888888"), ("L14", "123456")];
/// PIN of the stripe cards.
const STRIPE_PIN: &str = "246810";

/// A card and how it is read.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Name in the network's deck.
    pub id: String,
    /// How it is read.
    pub entry: Entry,
    /// What the holder enters.
    pub pin: Option<&'static str>,
}

impl Presented {
    /// The card for the terminal.
    pub fn card(&self) -> Result<CardInput, PosError> {
        match self.id.strip_prefix('K').and_then(|number| number.parse().ok()) {
            Some(number) => CardInput::track(&stripe_track(number)),
            None => CardInput::deck(&self.id),
        }
    }

    /// The PIN for the terminal.
    pub fn pin(&self) -> Result<Option<Pin>, PosError> {
        self.pin.map(|pin| Pin::new(pin).map_err(PosError::from)).transpose()
    }
}

fn stripe_pan(number: usize) -> String {
    // The deck's own numbers lie far below.
    let mut pan = format!("62242420{:07}0", 9_000_000 + number);
    for check in 0..10 {
        pan.replace_range(15.., &check.to_string());
        if pos::luhn(&pan) {
            break;
        }
    }
    pan
}

fn stripe_track(number: usize) -> String {
    format!("{}D29121010000000123", stripe_pan(number))
}

/// A card that will do, of terminal `number`.
pub fn good(random: &mut Random, number: usize) -> Presented {
    let chip = CHIPS.get(number % CHIPS.len()).copied().unwrap_or(("L01", "123456"));
    match random.below(10) {
        0..4 => Presented { id: chip.0.to_owned(), entry: Entry::Chip, pin: Some(chip.1) },
        4 => Presented { id: "L13".to_owned(), entry: Entry::Tap, pin: None },
        _ => Presented { id: format!("K{number}"), entry: Entry::Swipe, pin: Some(STRIPE_PIN) },
    }
}

/// A card that will not: declined by the issuer, or by the chip after the issuer approved.
pub fn bad(random: &mut Random, number: usize) -> Presented {
    let (id, entry, pin) = match random.below(8) {
        0 => ("L04", Entry::Chip, "123456"),  // no money: 51
        1 => ("L10", Entry::Chip, "123456"),  // expired: 54
        2 => ("M02", Entry::Swipe, "123456"), // lost: 41
        3 => ("L11", Entry::Chip, "123456"),  // PIN tries used up: 75
        4 => ("L02", Entry::Swipe, "123456"), // a chip card swiped: 45
        5 => ("L05", Entry::Chip, "123456"),  // the issuer's answer does not convince the chip: reversal 06
        6 => ("L08", Entry::Chip, "123456"),  // pulled out: reversal 06
        _ => return Presented { id: format!("K{number}"), entry: Entry::Swipe, pin: Some("111111") }, // 55
    };
    Presented { id: id.to_owned(), entry, pin: Some(pin) }
}

/// Section `cards` of the network's configuration.
pub fn network_deck(terminals: usize) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for card in sim::deck::lab_deck() {
        let opening = if POOR.contains(&card.id.as_str()) { card.opening } else { OPENING };
        let product = format!("{:?}", card.product).to_lowercase();
        let status = format!("{:?}", card.status).to_lowercase();
        let script = match card.script {
            sim::deck::Script::None => "none",
            sim::deck::Script::After => "after",
            sim::deck::Script::BeforeRefused => "before_refused",
        };
        let _ = write!(
            text,
            "[[cards]]\nid = \"{}\"\npan = \"{}\"\nexpiry = {}\nservice = \"{}\"\ndiscretionary = \"{}\"\n\
             product = \"{product}\"\nopening = {opening}\nstatus = \"{status}\"\ntries_used = {}\n\
             wrong_arpc = {}\nscript = \"{script}\"\n",
            card.id,
            card.pan.expose(),
            card.expiry,
            card.service,
            card.discretionary,
            card.tries_used,
            card.wrong_arpc,
        );
        if let Some(pin) = &card.pin {
            let _ = writeln!(text, "pin = \"{}\"", pin.expose());
        }
    }
    for number in 0..terminals {
        let _ = write!(
            text,
            "[[cards]]\nid = \"K{number}\"\npan = \"{}\"\nexpiry = 2912\nservice = \"101\"\n\
             pin = \"{STRIPE_PIN}\"\nproduct = \"debit\"\nopening = {OPENING}\n",
            stripe_pan(number)
        );
    }
    text
}

/// Every card number of the run, for the search in logs.
pub fn numbers(terminals: usize) -> Vec<String> {
    let deck = sim::deck::lab_deck().into_iter().map(|card| card.pan.expose().to_owned());
    deck.chain((0..terminals).map(stripe_pan)).collect()
}
