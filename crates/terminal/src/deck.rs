//! The cards on the table: one deck for all terminals of a page, as one person would have it in hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cardsim::{Behaviour, Card, CardGone, FileCounters, Interface, deck};
use hal_virtual::{CardHandle, Side, Stripe, VirtualCard};
use serde::Serialize;

/// What goes wrong with a card of the deck.
#[derive(Debug, thiserror::Error)]
pub enum DeckError {
    /// No such card.
    #[error("the deck has no card {0}")]
    Unknown(String),
    /// It is in a terminal.
    #[error("{0} is in another terminal")]
    InUse(String),
    /// It has no chip, or no stripe.
    #[error("{0} cannot be used this way")]
    NotThisWay(String),
    /// It could not be made.
    #[error("the card cannot be made: {0}")]
    Make(String),
}

/// A card as the page lists it. Numbers and PINs of the laboratory are public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeckRow {
    /// Name.
    pub id: String,
    /// Number, masked.
    pub masked: String,
    /// Expiry, `MM/YY`.
    pub expiry: String,
    /// The lab PIN.
    pub pin: Option<String>,
    /// It has contacts.
    pub chip: bool,
    /// It has an antenna.
    pub tap: bool,
    /// It has a stripe.
    pub stripe: bool,
    /// A phone.
    pub phone: bool,
    /// A credit card.
    pub credit: bool,
    /// One line, Chinese.
    pub zh: String,
    /// One line, English.
    pub en: String,
    /// Switched on.
    pub behaviour: Vec<String>,
}

/// A chip of the deck in a virtual device.
struct ChipOf {
    card: Card,
    /// Called when the card leaves the reader by itself. It must not ask the device at once: the device waits for the
    /// card's answer.
    left: Option<Left>,
    gone: bool,
}

/// What happens when a card leaves by itself.
pub(crate) type Left = Box<dyn Fn() + Send>;

impl VirtualCard for ChipOf {
    fn power_up(&mut self, side: Side) -> Option<Vec<u8>> {
        let interface = match side {
            Side::Contact => Interface::Contact,
            Side::Contactless => Interface::Contactless,
        };
        self.gone = false;
        // Mute, without this interface, or two at once: to the reader there is no answer.
        self.card.power_up(interface).ok()
    }

    fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        match self.card.transmit(apdu) {
            Ok(answer) => Some(answer),
            Err(CardGone::Mute) => None,
            Err(CardGone::Removed) => {
                self.gone = true;
                if let Some(left) = &self.left {
                    left();
                }
                None
            }
        }
    }

    fn has_left(&self) -> bool {
        self.gone
    }

    fn power_down(&mut self) {
        self.card.leave();
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(self.card.delay().into())
    }

    fn in_field(&self) -> usize {
        match (&self.card.profile().contactless, self.card.behaviour().contains(&Behaviour::TwoCards)) {
            (None, _) => 0,
            (Some(_), true) => 2,
            (Some(_), false) => 1,
        }
    }

    fn stripe(&self) -> Option<Stripe> {
        self.card.profile().stripe().map(|stripe| Stripe::track2(&stripe.track2))
    }
}

struct Made {
    handle: CardHandle,
    chip: Arc<Mutex<ChipOf>>,
    /// The terminal it is in.
    place: Option<String>,
}

/// The deck.
pub struct Deck {
    counters: PathBuf,
    made: Mutex<BTreeMap<String, Made>>,
}

impl std::fmt::Debug for Deck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deck").field("counters", &self.counters).finish_non_exhaustive()
    }
}

fn expiry(yymm: &str) -> String {
    format!("{}/{}", yymm.get(2..).unwrap_or_default(), yymm.get(..2).unwrap_or_default())
}

impl Deck {
    /// A deck whose chips count in this file, as every other terminal's that names it.
    pub fn new(counters: impl Into<PathBuf>) -> Self {
        Self { counters: counters.into(), made: Mutex::default() }
    }

    /// Where the chips count.
    pub fn counters(&self) -> &Path {
        &self.counters
    }

    /// Every card.
    pub fn rows(&self) -> Vec<DeckRow> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let switched = |id: &str| {
            made.get(id).map(|made| {
                let chip = made.chip.lock().unwrap_or_else(PoisonError::into_inner);
                chip.card.behaviour().iter().map(|switch| String::from(*switch)).collect::<Vec<_>>()
            })
        };
        let chips = deck::chips().into_iter().map(|profile| DeckRow {
            masked: pos::mask(&profile.pan),
            expiry: expiry(&profile.expiry),
            pin: profile.pin.clone(),
            chip: profile.contact,
            tap: profile.contactless.is_some(),
            stripe: profile.contact,
            phone: !profile.contact,
            credit: profile.apps.first().is_some_and(|app| app.aid.ends_with("02")),
            zh: profile.note_zh.clone(),
            en: profile.note_en.clone(),
            behaviour: switched(&profile.id)
                .unwrap_or_else(|| profile.behaviour.iter().map(|switch| String::from(*switch)).collect()),
            id: profile.id,
        });
        let stripes = deck::STRIPES.iter().map(|card| DeckRow {
            id: card.id.to_owned(),
            masked: pos::mask(card.pan),
            expiry: expiry(card.expiry),
            pin: Some(card.pin.to_owned()),
            chip: false,
            tap: false,
            stripe: true,
            phone: false,
            credit: false,
            zh: card.note_zh.to_owned(),
            en: card.note_en.to_owned(),
            behaviour: Vec::new(),
        });
        chips.chain(stripes).collect()
    }

    /// Takes a chip card in hand for a terminal. Making a card derives its keys, which takes a moment.
    ///
    /// # Errors
    /// Unknown, in another terminal, or without a chip.
    pub(crate) fn take(&self, id: &str, terminal: &str, left: Left) -> Result<CardHandle, DeckError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let card = self.made_card(&mut made, id)?;
        match &card.place {
            Some(place) if place != terminal => return Err(DeckError::InUse(id.to_owned())),
            _ => {}
        }
        card.place = Some(terminal.to_owned());
        card.chip.lock().unwrap_or_else(PoisonError::into_inner).left = Some(left);
        Ok(Arc::clone(&card.handle))
    }

    fn made_card<'a>(
        &self,
        made: &'a mut BTreeMap<String, Made>,
        id: &str,
    ) -> Result<&'a mut Made, DeckError> {
        if !made.contains_key(id) {
            let profile = deck::find(id).ok_or_else(|| match deck::find_stripe(id) {
                Some(_) => DeckError::NotThisWay(id.to_owned()),
                None => DeckError::Unknown(id.to_owned()),
            })?;
            let random = Box::new(|bytes: &mut [u8]| {
                if let Err(error) = getrandom::fill(bytes) {
                    tracing::error!(%error, "no random numbers for a card");
                }
            });
            let card = Card::new(profile, Box::new(FileCounters::new(&self.counters)), random)
                .map_err(|error| DeckError::Make(error.to_string()))?;
            let chip = Arc::new(Mutex::new(ChipOf { card, left: None, gone: false }));
            let handle: CardHandle = chip.clone();
            made.insert(id.to_owned(), Made { handle, chip, place: None });
        }
        made.get_mut(id).ok_or_else(|| DeckError::Unknown(id.to_owned()))
    }

    /// The card lies on the table again.
    pub(crate) fn put_back(&self, id: &str) {
        if let Some(card) = self.made.lock().unwrap_or_else(PoisonError::into_inner).get_mut(id) {
            card.place = None;
        }
    }

    /// The stripe of a card.
    ///
    /// # Errors
    /// Unknown, or it has none.
    pub fn stripe(&self, id: &str) -> Result<Stripe, DeckError> {
        let track2 = match (deck::find(id), deck::find_stripe(id)) {
            (Some(profile), _) => profile.stripe().map(|stripe| stripe.track2),
            (None, Some(card)) => Some(card.stripe().track2),
            (None, None) => return Err(DeckError::Unknown(id.to_owned())),
        };
        track2.map(|track| Stripe::track2(&track)).ok_or_else(|| DeckError::NotThisWay(id.to_owned()))
    }

    /// Switches a chip's behaviour, as text: `mute`, `leave_after(ac1)`.
    ///
    /// # Errors
    /// No such card or switch.
    pub fn switch(&self, id: &str, behaviour: &[String]) -> Result<(), DeckError> {
        let switches: Vec<Behaviour> = behaviour
            .iter()
            .map(|text| Behaviour::try_from(text.clone()))
            .collect::<Result<_, _>>()
            .map_err(|error| DeckError::Make(error.to_string()))?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let card = self.made_card(&mut made, id)?;
        card.chip.lock().unwrap_or_else(PoisonError::into_inner).card.set_behaviour(switches);
        Ok(())
    }
}
