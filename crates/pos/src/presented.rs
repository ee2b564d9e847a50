//! A card that a device has read: what the reader, the PIN pad and the kernel of the card's chip hand to the protocol.
//!
//! The lab deck of this crate makes such parts by itself; a terminal with real (or virtual) hardware brings its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hsm::EncryptedPinBlock;
use iso8583::CardNumber;
use zeroize::Zeroizing;

use crate::error::PosError;
use crate::state::ChipRecord;

/// What the chip says after the host's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It agrees with the host.
    Agrees,
    /// The host approved and the chip does not: the payment must be reversed.
    Refuses,
}

/// A chip in the course of one transaction, seen from the protocol: a kernel that has come as far as its first
/// cryptogram.
pub trait Chip: Send {
    /// Whether the card wants the transaction online; anything else is a refusal here.
    fn goes_online(&self) -> bool;

    /// Field 55 of the request.
    fn field55(&self) -> Vec<u8>;

    /// Field 55 of the reversal, of this moment. `with_atc`: tag 9F36 is sent too.
    fn reversal55(&self, with_atc: bool) -> Vec<u8>;

    /// Brings field 39 and field 55 of an authentic answer to the card: issuer authentication, scripts, second
    /// cryptogram. `approved` is what the code means for this terminal.
    ///
    /// # Errors
    /// The card cannot be heard, which is no agreement.
    fn finish(&mut self, code: &str, approved: bool, field55: &[u8]) -> Result<Verdict, PosError>;

    /// The card approves by itself.
    ///
    /// # Errors
    /// It does not, or cannot be heard.
    fn approve_offline(&mut self) -> Result<ChipRecord, PosError>;

    /// Field 55 of the script result, when commands came.
    fn script_report(&self) -> Option<Vec<u8>>;

    /// What slip and batch upload need. `code` is field 39, or what the terminal puts in its place.
    fn record(&self, code: &str) -> ChipRecord;

    /// Sequence number of the card, tag 5F34.
    fn sequence(&self) -> u8;
}

/// A chip that the app and the protocol hold together: the app sees afterwards what became of it.
pub type SharedChip = Arc<Mutex<dyn Chip>>;

/// The chip, also after a holder of it panicked: what it knows is still what the card said.
pub(crate) fn heard(chip: &SharedChip) -> MutexGuard<'_, dyn Chip + 'static> {
    chip.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A card as a device read it. `Debug` shows the masked number only.
#[derive(Clone)]
pub struct ReadCard {
    /// The account number, 13 to 19 digits. A hidden one stays in the reader: track 2 is then as the reader enciphered it
    /// under the track key of the last sign-in, and goes out as it is.
    pub pan: CardNumber,
    /// Expiry, YYMM.
    pub expiry: Option<String>,
    /// Track 2 with `D` as separator, when the card gave it; enciphered where the number is hidden.
    pub track2: Option<Zeroizing<String>>,
    /// Sequence number, when a chip gave it.
    pub sequence: Option<u8>,
    /// The chip, when one takes part.
    pub chip: Option<SharedChip>,
    /// What the PIN pad made of the PIN under the PIN key of the last sign-in, when the holder entered one.
    pub pin_block: Option<EncryptedPinBlock>,
}

impl std::fmt::Debug for ReadCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadCard")
            .field("pan", &self.pan.masked())
            .field("chip", &self.chip.is_some())
            .field("pin", &self.pin_block.is_some())
            .finish_non_exhaustive()
    }
}
