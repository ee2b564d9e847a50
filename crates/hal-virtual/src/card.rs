//! Cards that are not there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hal::{CardNumber, CardText, HalError, MagData, MifareKey, Result, RfKind, SwipeRequest, parse_track2};
use hal::{DeviceKind, ErrorKind};

use crate::secure::SecureElement;

/// Which side of a card is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Contacts.
    Contact,
    /// Antenna.
    Contactless,
}

/// What a stripe holds. Separator `D` or `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripe {
    /// Track 1.
    pub track1: Option<CardText>,
    /// Track 2.
    pub track2: Option<CardText>,
    /// Track 3.
    pub track3: Option<CardText>,
}

impl Stripe {
    /// A stripe with track 2 alone.
    pub fn track2(track: &str) -> Self {
        Self { track1: None, track2: Some(CardText::new(track)), track3: None }
    }
}

/// A card, as the slot and the field know it. Simulated cards implement this.
pub trait VirtualCard: Send {
    /// Powers up; the answer to reset or select. `None`: the card is mute.
    fn power_up(&mut self, side: Side) -> Option<Vec<u8>>;

    /// One command and its answer with the status word. `None`: the card says nothing.
    fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>>;

    /// Whether it has left the reader by its own choice, as a simulated card may; asked when it says nothing.
    fn has_left(&self) -> bool {
        false
    }

    /// The power is gone.
    fn power_down(&mut self) {}

    /// The stripe, when it has one.
    fn stripe(&self) -> Option<Stripe> {
        None
    }

    /// How long the reader waits for its answers.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }

    /// How many cards an antenna sees: none when it has no antenna of its own, two when another sticks to it.
    fn in_field(&self) -> usize {
        1
    }

    /// What it is to the antenna.
    fn rf_kind(&self) -> RfKind {
        RfKind::CpuA
    }

    /// Its number for the anti-collision.
    fn uid(&self) -> Vec<u8> {
        vec![0x08, 0x01, 0x02, 0x03]
    }

    /// Its blocks, when it is a Mifare card.
    fn mifare(&mut self) -> Option<&mut MifareChip> {
        None
    }
}

/// A card that hand, slot and field share.
pub type CardHandle = Arc<Mutex<dyn VirtualCard>>;

/// Makes a card that can be put into devices.
pub fn card(card: impl VirtualCard + 'static) -> CardHandle {
    Arc::new(Mutex::new(card))
}

/// A stripe and nothing else.
#[derive(Debug, Clone)]
pub struct StripeCard(pub Stripe);

impl VirtualCard for StripeCard {
    fn power_up(&mut self, _side: Side) -> Option<Vec<u8>> {
        None
    }

    fn transmit(&mut self, _apdu: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn stripe(&self) -> Option<Stripe> {
        Some(self.0.clone())
    }

    fn in_field(&self) -> usize {
        0
    }
}

/// A chip that gives fixed answers: an answer to reset, and to every command the command itself and `9000`
/// (`6700` when it is shorter than a header).
#[derive(Debug, Clone)]
pub struct EchoCard {
    /// Its answer to reset or select.
    pub atr: Vec<u8>,
    /// Its number for the anti-collision.
    pub uid: Vec<u8>,
}

impl Default for EchoCard {
    fn default() -> Self {
        // TS, T0 with 8 historical bytes, "POSPLAB1", check byte of T=1.
        let atr = b"\x3B\x88\x01POSPLAB1\xEB".to_vec();
        Self { atr, uid: vec![0x08, 0xA1, 0xA2, 0xA3] }
    }
}

impl VirtualCard for EchoCard {
    fn power_up(&mut self, _side: Side) -> Option<Vec<u8>> {
        Some(self.atr.clone())
    }

    fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        if apdu.len() < 4 {
            return Some(vec![0x67, 0x00]);
        }
        Some(apdu.iter().copied().chain([0x90, 0x00]).collect())
    }

    fn uid(&self) -> Vec<u8> {
        self.uid.clone()
    }
}

/// A chip with dead contacts.
#[derive(Debug, Clone, Copy, Default)]
pub struct MuteCard;

impl VirtualCard for MuteCard {
    fn power_up(&mut self, _side: Side) -> Option<Vec<u8>> {
        None
    }

    fn transmit(&mut self, _apdu: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Blocks of a Mifare Classic 1K card, 16 sectors of 4 blocks, with the same two keys for all sectors.
#[derive(Clone)]
pub struct MifareChip {
    blocks: [[u8; 16]; 64],
    keys: ([u8; 6], [u8; 6]),
    open: Option<u8>,
    register: Option<[u8; 16]>,
}

fn denied() -> HalError {
    HalError::new(ErrorKind::PermissionDenied, DeviceKind::Rf).text("the sector is not open")
}

fn no_value() -> HalError {
    HalError::new(ErrorKind::BadParam, DeviceKind::Rf).text("not a value block")
}

/// A value block: the value, its complement, the value again; address bytes 00 FF 00 FF.
fn value_block(value: i32) -> [u8; 16] {
    let mut block = [0; 16];
    let plain = value.to_le_bytes();
    let inverse = (!value).to_le_bytes();
    let all = plain.into_iter().chain(inverse).chain(plain).chain([0x00, 0xFF, 0x00, 0xFF]);
    block.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    block
}

fn value_of(block: &[u8; 16]) -> Result<i32> {
    let (head, _) = block.split_first_chunk::<4>().ok_or_else(no_value)?;
    let value = i32::from_le_bytes(*head);
    if value_block(value).get(..12) == block.get(..12) { Ok(value) } else { Err(no_value()) }
}

impl MifareChip {
    /// An empty card with these keys A and B in every sector.
    pub const fn new(key_a: [u8; 6], key_b: [u8; 6]) -> Self {
        Self { blocks: [[0; 16]; 64], keys: (key_a, key_b), open: None, register: None }
    }

    /// A card whose block is a value.
    #[must_use]
    pub fn with_value(mut self, block: u8, value: i32) -> Self {
        if let Some(place) = self.blocks.get_mut(usize::from(block)) {
            *place = value_block(value);
        }
        self
    }

    /// Opens the sector of a block.
    ///
    /// # Errors
    /// A wrong key; a block that is not there.
    pub fn auth(&mut self, block: u8, which: MifareKey, key: &[u8; 6]) -> Result<()> {
        self.open = None;
        let right = match which {
            MifareKey::A => self.keys.0,
            MifareKey::B => self.keys.1,
        };
        if block >= 64 || right != *key {
            return Err(denied());
        }
        self.open = Some(block / 4);
        Ok(())
    }

    fn place(&mut self, block: u8) -> Result<&mut [u8; 16]> {
        if self.open != Some(block / 4) {
            return Err(denied());
        }
        self.blocks.get_mut(usize::from(block)).ok_or_else(denied)
    }

    /// Reads a block.
    ///
    /// # Errors
    /// The sector is not open.
    pub fn read(&mut self, block: u8) -> Result<[u8; 16]> {
        self.place(block).copied()
    }

    /// Writes a block.
    ///
    /// # Errors
    /// The sector is not open.
    pub fn write(&mut self, block: u8, data: &[u8; 16]) -> Result<()> {
        *self.place(block)? = *data;
        Ok(())
    }

    /// Reads a value and adds to it, in the register.
    ///
    /// # Errors
    /// The sector is not open; no value; it would overflow.
    pub fn change(&mut self, block: u8, by: i64) -> Result<()> {
        let old = i64::from(value_of(self.place(block)?)?);
        let new = i32::try_from(old.saturating_add(by)).map_err(|_| no_value())?;
        self.register = Some(value_block(new));
        Ok(())
    }

    /// Writes the register.
    ///
    /// # Errors
    /// The sector is not open; nothing in the register.
    pub fn transfer(&mut self, block: u8) -> Result<()> {
        let value = self.register.take().ok_or_else(no_value)?;
        *self.place(block)? = value;
        Ok(())
    }
}

/// A Mifare card.
pub struct MifareClassic(pub MifareChip);

impl VirtualCard for MifareClassic {
    fn power_up(&mut self, _side: Side) -> Option<Vec<u8>> {
        self.0.open = None;
        Some(Vec::new())
    }

    fn transmit(&mut self, _apdu: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn rf_kind(&self) -> RfKind {
        RfKind::MifareS50
    }

    fn mifare(&mut self) -> Option<&mut MifareChip> {
        Some(&mut self.0)
    }
}

/// What a reader makes of a stripe: number, expiry and service code from track 2, the tracks that were asked
/// for, enciphered when a key was named.
///
/// # Errors
/// [`ErrorKind::Comm`] when track 2 is missing or none; what the key store says.
pub fn read_stripe(stripe: &Stripe, request: &SwipeRequest, secure: &SecureElement) -> Result<MagData> {
    let unreadable = || HalError::new(ErrorKind::Comm, DeviceKind::Mag).text("the stripe cannot be read");
    let track2 = stripe.track2.as_ref().ok_or_else(unreadable)?;
    let (pan, expiry, service_code) = parse_track2(track2.reveal()).ok_or_else(unreadable)?;
    let give = |wanted: bool, track: &Option<CardText>| -> Result<Option<CardText>> {
        let Some(track) = track.as_ref().filter(|_| wanted) else { return Ok(None) };
        let normal = CardText::new(&track.reveal().replace('=', "D"));
        request.encrypt_with.map_or_else(
            || Ok(Some(normal.clone())),
            |key| secure.encrypt_track(DeviceKind::Mag, key, &normal).map(Some),
        )
    };
    Ok(MagData {
        pan: CardNumber::clear(pan.reveal()),
        expiry,
        service_code,
        // Track 1 has letters, which the track cipher has no place for.
        track1: stripe.track1.clone().filter(|_| request.tracks.one && request.encrypt_with.is_none()),
        track2: give(request.tracks.two, &stripe.track2)?,
        track3: give(request.tracks.three, &stripe.track3)?,
        encrypted: request.encrypt_with.is_some(),
    })
}
