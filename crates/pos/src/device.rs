//! What kind of device the terminal is, as field 59 tells it (A2: 01 device type, 02 serial number), and what is different
//! where the reader keeps card numbers to itself (MPOS, device type 03).
//!
//! Such a terminal sends no field 2. Field 35 goes out as the reader enciphered it, and what refers to an earlier transaction
//! is found by its numbers. In lines of the batch upload the number is zeros. It does not sell without asking the host: what waits
//! for its upload would have the card in a track under a key that the next sign-in replaces. (All of it modelled: no public source
//! tells how an acquirer's host takes a terminal without numbers.)

use iso8583::{CardNumber, tlv};

use crate::card::CardData;
use crate::error::PosError;
use crate::keys::MasterKeyChecks;
use crate::message::Request;
use crate::state::Record;
use crate::terminal::Terminal;

impl Terminal {
    /// A request that tells the device type, where one is configured; tag A2 goes behind what field 59 has already.
    pub(crate) fn with_device(&self, request: Request) -> Result<Request, PosError> {
        let digits = self.config.speech()?.tlv59_digits;
        let (Some(kind), Some(digits)) = (&self.config.device_type, digits) else { return Ok(request) };
        let mut device = Vec::with_capacity(32);
        let long = || PosError::Build("the serial number does not go into field 59".into());
        let mut put = |tag, value: &[u8]| {
            tlv::ascii_write(&mut device, digits, tag, value).then_some(()).ok_or_else(long)
        };
        put(b"01", kind.as_bytes())?;
        put(b"02", self.config.serial.as_bytes())?;
        let mut field = hex::decode(request.get(59).unwrap_or_default())
            .map_err(|_| PosError::Build("field 59 is damaged".into()))?;
        if !tlv::ascii_write(&mut field, digits, b"A2", &device) {
            return Err(long());
        }
        Ok(request.bytes(59, &field))
    }

    /// Whether a track goes out under the track key.
    pub(crate) fn enciphers_tracks(&self) -> bool {
        let keys = self.state.keys.working.as_ref();
        self.config.encrypt_tracks && keys.is_some_and(|keys| keys.track.is_some())
    }

    /// The reversal of a request with this card.
    pub(crate) fn reversal_of(&self, request: &Request, card: &CardData) -> Result<Request, PosError> {
        self.with_device(request.reversal(card.pan.digits().unwrap_or_default(), card.expiry.as_deref()))
    }

    /// What is kept of a card's number beside its masked form: nothing where the reader keeps it.
    pub(crate) fn seal_number(&self, number: &CardNumber) -> Result<String, PosError> {
        number.digits().map_or_else(|| Ok(String::new()), |digits| self.seal_pan(digits))
    }

    /// The card's number, from its masked form and what was kept beside it.
    pub(crate) fn kept_number(&self, masked: &str, sealed: &str) -> Result<CardNumber, PosError> {
        if sealed.is_empty() {
            return Ok(CardNumber::Hidden(masked.to_owned()));
        }
        self.unseal_pan(sealed).map(CardNumber::Clear)
    }

    /// The card's number of a transaction.
    pub(crate) fn number_of(&self, record: &Record) -> Result<CardNumber, PosError> {
        self.kept_number(&record.pan, &record.pan_sealed)
    }

    /// Whether there is a master key.
    pub fn has_master(&self) -> bool {
        self.state.keys.master.is_some()
    }

    /// Takes on the master key that somebody else has put into the device: its maker, a key gun. Gives its check values.
    ///
    /// # Errors
    /// [`PosError::NoMasterKey`] when there is none; what the device says; the disk.
    pub async fn adopt_master(&mut self) -> Result<MasterKeyChecks, PosError> {
        let (master, checks) = self.security.installed_master()?.ok_or(PosError::NoMasterKey)?;
        self.take_master(master).await?;
        Ok(checks)
    }
}
