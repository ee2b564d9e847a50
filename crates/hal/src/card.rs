//! Cards: stripe, contact chip, contactless, and whichever comes first.

use std::fmt;

use kernel::CardNumber;
use zeroize::Zeroizing;

use crate::keys::KeySlot;
use crate::{Call, Result};

/// Text of a card that must not be shown: a number, a track. Wiped when dropped; `Debug` shows the length.
#[derive(Clone, PartialEq, Eq)]
pub struct CardText(Zeroizing<String>);

impl CardText {
    /// Takes the text.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// First six and last four with stars between; shorter than 13 characters, stars alone.
    pub fn masked(&self) -> String {
        let chars = self.0.chars().count();
        let shown = |at: usize| chars >= 13 && (at < 6 || at + 4 >= chars);
        self.0.chars().enumerate().map(|(at, c)| if shown(at) { c } else { '*' }).collect()
    }
}

impl fmt::Debug for CardText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardText({} characters)", self.0.len())
    }
}

/// Which tracks a swipe shall give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracks {
    /// Track 1, with the name; rarely of use in acquiring.
    pub one: bool,
    /// Track 2.
    pub two: bool,
    /// Track 3.
    pub three: bool,
}

impl Tracks {
    /// What a Chinese acquirer takes: tracks 2 and 3.
    pub const ACQUIRING: Self = Self { one: false, two: true, three: true };
}

/// A swipe that shall be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwipeRequest {
    /// Which tracks.
    pub tracks: Tracks,
    /// The track key that enciphers them inside the reader; `None` gives clear tracks, for the few hosts that
    /// want them.
    pub encrypt_with: Option<KeySlot>,
}

/// What was on a stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MagData {
    /// The card number, for PIN block and routing; [`CardNumber::masked`] for people. A reader that keeps it hides it, and
    /// gives tracks under its own key alone.
    pub pan: CardNumber,
    /// `YYMM`.
    pub expiry: String,
    /// Three digits; the first is 2 or 6 when the card has a chip.
    pub service_code: String,
    /// Track 1 as read, when asked for.
    pub track1: Option<CardText>,
    /// Track 2, separator `D`; enciphered digits when a key was named.
    pub track2: Option<CardText>,
    /// Track 3, likewise.
    pub track3: Option<CardText>,
    /// Whether tracks 2 and 3 are enciphered.
    pub encrypted: bool,
}

impl MagData {
    /// Whether the stripe says that the card has a chip (service code 2xx or 6xx).
    pub fn has_chip(&self) -> bool {
        self.service_code.starts_with(['2', '6'])
    }
}

/// Magnetic stripe reader (磁条卡).
pub trait MagReader: Send + Sync {
    /// Waits for a swipe.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled),
    /// [`Comm`](crate::ErrorKind::Comm) when the stripe cannot be read, [`NoKey`](crate::ErrorKind::NoKey).
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData>;
}

/// How a chip is powered up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerUp {
    /// Tenths of a volt: 50, 30, 18; `None`: the reader finds out.
    pub tenth_volts: Option<u8>,
}

/// A contact chip slot (接触卡).
pub trait IccReader: Send + Sync {
    /// Whether a card is in it.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn present(&self) -> Result<bool>;

    /// Waits until a card is in it.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled).
    fn wait_card(&self, call: &Call) -> Result<()>;

    /// Waits until it is empty: "take your card".
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled).
    fn wait_removed(&self, call: &Call) -> Result<()>;

    /// Powers the card up; the answer to reset.
    ///
    /// # Errors
    /// [`NoCard`](crate::ErrorKind::NoCard), [`CardMute`](crate::ErrorKind::CardMute).
    fn power_up(&self, how: &PowerUp) -> Result<Vec<u8>>;

    /// One command and its answer with the status word. The driver does the transport: T=0 procedure
    /// bytes, 61xx and 6Cxx, T=1 blocks.
    ///
    /// # Errors
    /// [`CardRemoved`](crate::ErrorKind::CardRemoved), [`CardMute`](crate::ErrorKind::CardMute),
    /// [`NoCard`](crate::ErrorKind::NoCard) when it was never powered up, [`Comm`](crate::ErrorKind::Comm).
    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>>;

    /// Takes the power away.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn power_down(&self) -> Result<()>;
}

/// A slot for a security module in card form, which stays in the terminal.
pub trait PsamSlot: Send + Sync {
    /// Powers the card up; the answer to reset.
    ///
    /// # Errors
    /// As [`IccReader::power_up`].
    fn power_up(&self, how: &PowerUp) -> Result<Vec<u8>>;

    /// One command and its answer with the status word.
    ///
    /// # Errors
    /// As [`IccReader::transmit`].
    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>>;

    /// Takes the power away.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn power_down(&self) -> Result<()>;
}

/// Kinds of contactless cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RfKind {
    /// Processor card, ISO 14443-4 type A: payment cards and phones.
    CpuA,
    /// The same, type B.
    CpuB,
    /// Mifare Classic 1K (S50).
    MifareS50,
    /// Mifare Classic 4K (S70).
    MifareS70,
    /// Mifare Ultralight, NTAG.
    Ultralight,
    /// DESFire.
    Desfire,
    /// FeliCa.
    Felica,
}

/// A card in the field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RfCard {
    /// What it is.
    pub kind: RfKind,
    /// Its number for the anti-collision; random on phones.
    pub uid: Vec<u8>,
}

/// Contactless reader (非接).
pub trait RfReader: Send + Sync {
    /// Switches the field on and waits for a card of one of these kinds.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled),
    /// [`MultipleCards`](crate::ErrorKind::MultipleCards).
    fn poll(&self, kinds: &[RfKind], call: &Call) -> Result<RfCard>;

    /// Activates the card that was found; its answer to select.
    ///
    /// # Errors
    /// [`NoCard`](crate::ErrorKind::NoCard), [`Comm`](crate::ErrorKind::Comm).
    fn activate(&self) -> Result<Vec<u8>>;

    /// One command and its answer with the status word.
    ///
    /// # Errors
    /// [`CardRemoved`](crate::ErrorKind::CardRemoved), [`Comm`](crate::ErrorKind::Comm),
    /// [`NoCard`](crate::ErrorKind::NoCard) when none is active.
    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>>;

    /// Lets the card go; the field stays.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn halt(&self) -> Result<()>;

    /// Switches the field off.
    ///
    /// # Errors
    /// The device cannot be asked.
    fn field_off(&self) -> Result<()>;

    /// Waits until the field is empty: "take your card".
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled).
    fn wait_removed(&self, call: &Call) -> Result<()>;

    /// Block operations of a Mifare card; `None` when the reader has none.
    fn mifare(&self) -> Option<&dyn MifareCard> {
        None
    }
}

/// Which of a sector's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MifareKey {
    /// Key A.
    A,
    /// Key B.
    B,
}

/// Block operations of a Mifare Classic card in the field (M1). The key of a sector is the membership
/// scheme's and is given in the clear, as the card asks for it.
pub trait MifareCard: Send + Sync {
    /// Opens the sector of a block.
    ///
    /// # Errors
    /// [`NoCard`](crate::ErrorKind::NoCard), [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for a
    /// wrong key.
    fn auth(&self, block: u8, which: MifareKey, key: &[u8; 6]) -> Result<()>;

    /// Reads a block of an open sector.
    ///
    /// # Errors
    /// [`NoCard`](crate::ErrorKind::NoCard), [`PermissionDenied`](crate::ErrorKind::PermissionDenied).
    fn read(&self, block: u8) -> Result<[u8; 16]>;

    /// Writes a block.
    ///
    /// # Errors
    /// As [`MifareCard::read`].
    fn write(&self, block: u8, data: &[u8; 16]) -> Result<()>;

    /// Adds to a value block, into the card's register.
    ///
    /// # Errors
    /// As [`MifareCard::read`]; [`BadParam`](crate::ErrorKind::BadParam) when it is no value block.
    fn increment(&self, block: u8, by: u32) -> Result<()>;

    /// Takes from a value block, into the card's register.
    ///
    /// # Errors
    /// As [`MifareCard::increment`].
    fn decrement(&self, block: u8, by: u32) -> Result<()>;

    /// Reads a value block into the card's register.
    ///
    /// # Errors
    /// As [`MifareCard::increment`].
    fn restore(&self, block: u8) -> Result<()>;

    /// Writes the card's register into a value block.
    ///
    /// # Errors
    /// As [`MifareCard::increment`].
    fn transfer(&self, block: u8) -> Result<()>;
}

/// Which interfaces to look at, and what a swipe of a chip card means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectRequest {
    /// Look at the stripe.
    pub mag: bool,
    /// Look at the slot.
    pub icc: bool,
    /// Look at the field.
    pub rf: bool,
    /// How a swipe is read.
    pub swipe: SwipeRequest,
    /// The chip has failed before: the stripe of a chip card is accepted (降级). Otherwise a swiped chip card
    /// is [`Found::UseChip`] when the slot is among the interfaces.
    pub fallback: bool,
}

impl DetectRequest {
    /// What a swipe means: the stripe of a chip card is sent to the slot, unless the chip has failed or there
    /// is no slot to send it to.
    pub fn judge(&self, swiped: MagData) -> Found {
        if self.icc && !self.fallback && swiped.has_chip() {
            Found::UseChip { masked_pan: swiped.pan.masked() }
        } else {
            Found::Swiped(Box::new(swiped))
        }
    }
}

/// The card that came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A stripe.
    Swiped(Box<MagData>),
    /// A stripe that says that the card has a chip: ask to insert it (请插卡).
    UseChip {
        /// First six and last four.
        masked_pan: String,
    },
    /// A card in the slot; power it up through [`IccReader`].
    Inserted,
    /// A card in the field; activate it through [`RfReader`].
    Tapped(RfCard),
}

/// All readers at once (寻卡): who opens it needs no lease on the single ones to find a card, but one to
/// talk to it.
pub trait CardDetector: Send + Sync {
    /// Which interfaces there are: stripe, slot, field.
    fn interfaces(&self) -> (bool, bool, bool);

    /// Waits for the first card.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout), [`UserCancelled`](crate::ErrorKind::UserCancelled),
    /// [`MultipleCards`](crate::ErrorKind::MultipleCards), [`Comm`](crate::ErrorKind::Comm) for a stripe that
    /// cannot be read, [`NotSupported`](crate::ErrorKind::NotSupported) when an interface is not there.
    fn detect(&self, request: &DetectRequest, call: &Call) -> Result<Found>;
}

/// Reads the parts of a track 2: card number, `D` or `=`, expiry, service code, and digits of the issuer's choice.
/// `None` when it is no track 2.
pub fn parse_track2(track: &str) -> Option<(CardText, String, String)> {
    let (pan, rest) = track.split_once(['D', '='])?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !(13..=19).contains(&pan.len()) || !digits(pan) || !digits(rest) {
        return None;
    }
    Some((CardText::new(pan), rest.get(..4)?.to_owned(), rest.get(4..7)?.to_owned()))
}
