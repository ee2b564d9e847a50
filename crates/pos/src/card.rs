//! What the operator presents to the terminal: a card of the deck, a track, or a keyed number; and how it is read.

use hsm::EncryptedPinBlock;
use iso8583::CardNumber;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::deck::{self, DeckCard};
use crate::error::PosError;
use crate::presented::{ReadCard, SharedChip};

/// How the card data is read, digits 1 and 2 of field 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// Magnetic stripe, 02.
    Swipe,
    /// Contact chip, 05.
    Chip,
    /// Contactless, 07.
    Tap,
    /// Keyed number, 01.
    Manual,
    /// Stripe after a chip that could not be read, 80.
    Fallback,
}

impl Entry {
    /// Digits 1 and 2 of field 22.
    pub fn digits(self) -> &'static str {
        match self {
            Self::Manual => "01",
            Self::Swipe => "02",
            Self::Chip => "05",
            Self::Tap => "07",
            Self::Fallback => "80",
        }
    }

    /// The mark printed behind the card number.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Swipe => "刷卡/S",
            Self::Chip => "插卡/I",
            Self::Tap => "闪付/C",
            Self::Manual => "手输/M",
            Self::Fallback => "降级/F",
        }
    }

    /// Whether a chip takes part, contact or contactless.
    pub fn is_chip(self) -> bool {
        matches!(self, Self::Chip | Self::Tap)
    }

    /// Whether the stripe is read.
    pub fn is_stripe(self) -> bool {
        matches!(self, Self::Swipe | Self::Fallback)
    }
}

/// A card as presented. `Debug` shows the masked number only.
#[derive(Clone)]
pub enum CardInput {
    /// A card of the lab deck; the only kind with a chip.
    Deck(&'static DeckCard),
    /// A stripe: track 2 with `D` or `=` as separator.
    Track(Zeroizing<String>),
    /// A keyed number with its expiry (YYMM).
    Keyed {
        /// The number, 13 to 19 digits.
        pan: Zeroizing<String>,
        /// Expiry, YYMM; may be unknown.
        expiry: Option<String>,
    },
    /// What a device has read.
    Read(ReadCard),
}

impl std::fmt::Debug for CardInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deck(card) => write!(f, "Deck({})", card.id),
            Self::Track(track) => {
                write!(f, "Track({})", mask(track.split(['D', '=']).next().unwrap_or_default()))
            }
            Self::Keyed { pan, .. } => write!(f, "Keyed({})", mask(pan)),
            Self::Read(card) => card.fmt(f),
        }
    }
}

/// What reading the card gave. Wiped when dropped.
#[derive(Clone)]
pub(crate) struct CardData {
    pub pan: CardNumber,
    pub expiry: Option<String>,
    pub track2: Option<Zeroizing<String>>,
    pub sequence: Option<u8>,
    pub deck: Option<&'static DeckCard>,
    /// The chip of a card that a device has read.
    pub chip: Option<SharedChip>,
    /// The PIN, as the device's PIN pad encrypted it.
    pub pin_block: Option<EncryptedPinBlock>,
}

impl CardInput {
    /// A card of the deck by its name.
    ///
    /// # Errors
    /// When there is no such card.
    pub fn deck(id: &str) -> Result<Self, PosError> {
        deck::find(id)
            .map(Self::Deck)
            .ok_or_else(|| PosError::Input(format!("no card {id} in the deck; `deck` lists them")))
    }

    /// A stripe.
    ///
    /// # Errors
    /// When the text is no track 2: number, separator, expiry, service code, at most 37 characters.
    pub fn track(text: &str) -> Result<Self, PosError> {
        let track = Zeroizing::new(text.replace('=', "D"));
        let bad = || PosError::Input("track 2 is: number, D or =, expiry YYMM, service code, data".into());
        let (pan, rest) = track.split_once('D').ok_or_else(bad)?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !pan_is_plausible(pan) || rest.len() < 7 || !digits(rest) || track.len() > 37 {
            return Err(bad());
        }
        Ok(Self::Track(track))
    }

    /// A keyed number.
    ///
    /// # Errors
    /// When the number is not 13 to 19 digits, fails the check digit, or the expiry is not YYMM.
    pub fn keyed(pan: &str, expiry: Option<&str>) -> Result<Self, PosError> {
        if !pan_is_plausible(pan) || !luhn(pan) {
            return Err(PosError::Input(
                "the card number is mistyped (13 to 19 digits with a check digit)".into(),
            ));
        }
        if let Some(expiry) = expiry
            && !expiry_is_plausible(expiry)
        {
            return Err(PosError::Input("the expiry is four digits, YYMM".into()));
        }
        Ok(Self::Keyed { pan: Zeroizing::new(pan.to_owned()), expiry: expiry.map(str::to_owned) })
    }

    /// Reads the card the way `entry` says.
    pub(crate) fn read(&self, entry: Entry) -> Result<CardData, PosError> {
        match self {
            Self::Deck(card) => {
                if card.behaviour == deck::Behaviour::PhoneOnly && entry != Entry::Tap {
                    return Err(PosError::Input(format!("{} is a phone: it can only be tapped", card.id)));
                }
                if card.behaviour == deck::Behaviour::StripeOnly && entry.is_chip() {
                    return Err(PosError::Input(format!("{} has no chip: it is swiped or keyed", card.id)));
                }
                let by_hand = entry == Entry::Manual;
                Ok(CardData {
                    pan: CardNumber::clear(card.pan),
                    expiry: Some(card.expiry.to_owned()),
                    track2: (!by_hand).then(|| Zeroizing::new(card.track2())),
                    sequence: entry.is_chip().then_some(card.sequence),
                    deck: Some(card),
                    chip: None,
                    pin_block: None,
                })
            }
            Self::Track(track) if entry.is_stripe() => {
                let (pan, rest) = track.split_once('D').unwrap_or_default();
                Ok(CardData {
                    pan: CardNumber::clear(pan),
                    expiry: rest.get(..4).map(str::to_owned),
                    track2: Some(track.clone()),
                    sequence: None,
                    deck: None,
                    chip: None,
                    pin_block: None,
                })
            }
            Self::Keyed { pan, expiry } if entry == Entry::Manual => {
                Ok(CardData::keyed(CardNumber::Clear(pan.clone()), expiry.clone()))
            }
            Self::Read(card) => {
                if card.pan.digits().is_some_and(|pan| !pan_is_plausible(pan)) {
                    return Err(PosError::Input("the card gives no account number".into()));
                }
                Ok(CardData {
                    pan: card.pan.clone(),
                    expiry: card.expiry.clone(),
                    track2: card.track2.clone(),
                    sequence: card.sequence,
                    deck: None,
                    chip: card.chip.clone().filter(|_| entry.is_chip()),
                    pin_block: card.pin_block,
                })
            }
            Self::Track(_) => Err(PosError::Input("a track is swiped (or read as fallback)".into())),
            Self::Keyed { .. } => Err(PosError::Input("a keyed number is entered manually".into())),
        }
    }
}

impl CardData {
    /// A number and nothing else.
    pub(crate) fn keyed(pan: CardNumber, expiry: Option<String>) -> Self {
        Self { pan, expiry, track2: None, sequence: None, deck: None, chip: None, pin_block: None }
    }

    /// First digit of the service code says that the card has a chip (2 or 6).
    pub(crate) fn stripe_says_chip(&self) -> bool {
        // An enciphered track says nothing here: the reader has looked.
        self.track2
            .as_deref()
            .filter(|_| !self.pan.is_hidden())
            .and_then(|track| track.split_once('D'))
            .and_then(|(_, rest)| rest.as_bytes().get(4).copied())
            .is_some_and(|digit| matches!(digit, b'2' | b'6'))
    }
}

fn pan_is_plausible(pan: &str) -> bool {
    (13..=19).contains(&pan.len()) && pan.bytes().all(|b| b.is_ascii_digit())
}

fn expiry_is_plausible(expiry: &str) -> bool {
    expiry.len() == 4
        && expiry.bytes().all(|b| b.is_ascii_digit())
        && matches!(expiry.get(2..).and_then(|month| month.parse::<u8>().ok()), Some(1..=12))
}

/// First six and last four digits, stars between; a short or strange text becomes stars only.
pub fn mask(pan: &str) -> String {
    match (pan.get(..6), pan.len().checked_sub(4).and_then(|at| pan.get(at..))) {
        (Some(head), Some(tail)) if pan_is_plausible(pan) => {
            format!("{head}{}{tail}", "*".repeat(pan.len() - 10))
        }
        _ => "*".repeat(pan.len().min(19)),
    }
}

/// The check digit rule of card numbers.
pub fn luhn(pan: &str) -> bool {
    let sum: u32 = pan
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            let doubled = digit * (1 + (at as u32 % 2));
            if doubled > 9 { doubled - 9 } else { doubled }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_and_never_shown_by_debug() {
        assert_eq!(mask("6224242000000013"), "622424******0013");
        assert_eq!(mask("6212140000000000014"), "621214*********0014");
        assert_eq!(mask("12345678"), "********");
        let shown = format!("{:?}", CardInput::track("6224242000000021=29022015699031007").unwrap());
        assert_eq!(shown, "Track(622424******0021)");
        assert!(
            !format!("{:?}", CardInput::keyed("6224242000000013", Some("2912")).unwrap()).contains("2000000")
        );
    }

    #[test]
    fn mistyped_input_is_refused() {
        assert!(CardInput::keyed("6224242000000014", None).is_err());
        assert!(CardInput::keyed("6224242000000013", Some("2913")).is_err());
        assert!(CardInput::track("6224242000000021D2902").is_err());
        assert!(CardInput::track("nonsense").is_err());
        assert!(CardInput::deck("L99").is_err());
        assert!(CardInput::deck("L13").unwrap().read(Entry::Swipe).is_err());
    }
}
