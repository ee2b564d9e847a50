//! A step of the kernel with what belongs to it: its results, and what the host needs of the card for slip, message and batch.
//! All numbers of these tags are modelled.

use std::fmt;

use crate::messages::{EmvStep, MessageError, fixed, is_masked, must, text};
use crate::tlv::Tlv;

/// Longest field 55.
const FIELD55_MAX: usize = 255;
/// Longest list of data objects.
const OBJECTS_MAX: usize = 512;
/// Digits of the longest track 2, packed.
const TRACK_MAX: usize = 38;

/// The results that go with every step: tag 4A, 13 bytes.
///
/// ```text
/// 0 reason   1 TVR (95)   6 TSI (9B)   8 flags   10 field 39 of a reversal, 0000 for none   12 follow-up
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Why the step is what it is; 0 is the ordinary way.
    pub reason: u8,
    /// 95.
    pub tvr: [u8; 5],
    /// 9B.
    pub tsi: [u8; 2],
    /// How the holder was verified, how the card was read, and marks of the end.
    pub flags: u16,
    /// A reversal is due, with this field 39.
    pub reversal: Option<[u8; 2]>,
    /// A script result is due (bit 80), and what goes up at the end of the batch (low bits).
    pub follow_up: u8,
}

impl Results {
    fn to_bytes(self) -> [u8; 13] {
        let ([t1, t2, t3, t4, t5], [s1, s2], [f1, f2]) = (self.tvr, self.tsi, self.flags.to_be_bytes());
        let [r1, r2] = self.reversal.unwrap_or_default();
        [self.reason, t1, t2, t3, t4, t5, s1, s2, f1, f2, r1, r2, self.follow_up]
    }

    fn from_bytes([reason, t1, t2, t3, t4, t5, s1, s2, f1, f2, r1, r2, follow_up]: [u8; 13]) -> Self {
        Self {
            reason,
            tvr: [t1, t2, t3, t4, t5],
            tsi: [s1, s2],
            flags: u16::from_be_bytes([f1, f2]),
            reversal: Some([r1, r2]).filter(|code| *code != [0, 0]),
            follow_up,
        }
    }
}

/// What the host learns of a card whose chip is at work.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CardFacts {
    /// 13: its number, masked.
    pub masked_pan: String,
    /// 14: track 2 (tag 57) under the reader's track key, digits of field 35.
    pub cipher_track: Option<String>,
    /// 16: expiry, YYMM.
    pub expiry: Option<String>,
    /// 45: data objects of the slip, BER-TLV. Never the number, a track or the holder's name.
    pub objects: Vec<u8>,
    /// 46: field 55 of a reversal at this moment.
    pub reversal55: Vec<u8>,
    /// 47: field 55 of the script result, when a script ran.
    pub script55: Option<Vec<u8>>,
    /// 48: field 55 of the batch upload.
    pub upload55: Vec<u8>,
}

impl fmt::Debug for CardFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CardFacts({})", self.masked_pan)
    }
}

impl CardFacts {
    fn add_to(&self, tlv: Tlv) -> Tlv {
        tlv.with(0x13, self.masked_pan.as_bytes())
            .with_some(0x14, self.cipher_track.as_deref().map(str::as_bytes))
            .with_some(0x16, self.expiry.as_deref().map(str::as_bytes))
            .with(0x45, &self.objects)
            .with(0x46, &self.reversal55)
            .with_some(0x47, self.script55.as_deref())
            .with(0x48, &self.upload55)
    }

    fn from_tlv(tlv: &Tlv) -> Result<Option<Self>, MessageError> {
        let Some(masked) = tlv.get(0x13) else { return Ok(None) };
        let masked_pan = text(masked, 0x13, 19)?;
        if !is_masked(&masked_pan) {
            return Err(MessageError::Value(0x13));
        }
        let bytes = |tag, most| {
            let value = tlv.get(tag).unwrap_or_default();
            if value.len() <= most { Ok(value.to_vec()) } else { Err(MessageError::Value(tag)) }
        };
        let optional = |tag, most| tlv.get(tag).map(|value| text(value, tag, most)).transpose();
        Ok(Some(Self {
            masked_pan,
            cipher_track: optional(0x14, TRACK_MAX)?,
            expiry: optional(0x16, 4)?,
            objects: bytes(0x45, OBJECTS_MAX)?,
            reversal55: bytes(0x46, FIELD55_MAX)?,
            script55: tlv.get(0x47).map(|_| bytes(0x47, FIELD55_MAX)).transpose()?,
            upload55: bytes(0x48, FIELD55_MAX)?,
        }))
    }
}

/// A step of the kernel in the reader, as `emv_start` and `emv_continue` answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmvTurn {
    /// What it wants next.
    pub step: EmvStep,
    /// Its results.
    pub results: Results,
    /// The card, once its number is known.
    pub card: Option<CardFacts>,
}

impl From<EmvStep> for EmvTurn {
    fn from(step: EmvStep) -> Self {
        Self { step, results: Results::default(), card: None }
    }
}

impl EmvTurn {
    /// To TLV.
    pub fn to_tlv(&self) -> Tlv {
        let tlv = self.step.to_tlv().with(0x4A, &self.results.to_bytes());
        match &self.card {
            Some(card) => card.add_to(tlv),
            None => tlv,
        }
    }

    /// From TLV. A reader that tells no results tells nothing but its step.
    pub fn from_tlv(tlv: &Tlv) -> Result<Self, MessageError> {
        let results = match tlv.get(0x4A) {
            Some(_) => Results::from_bytes(fixed(tlv, 0x4A)?),
            None => Results::default(),
        };
        must(tlv, 0x40)?;
        Ok(Self { step: EmvStep::from_tlv(tlv)?, results, card: CardFacts::from_tlv(tlv)? })
    }
}
