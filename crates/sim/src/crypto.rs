//! What the simulator asks of the security module: MACs and PINs under the zone keys, the issuer's look at
//! cryptograms, the issuer's answer to the card.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsm::{
    CardContext, CryptogramVersion, EncryptedPinBlock, Hsm, HsmError, KeyAlgorithm, KeyComponent, KeyUsage,
    MacAlgorithm, Pin, PinReference, WrappedKey,
};
use iso8583::{Message, tlv};

use crate::config::{SimConfig, ZoneAlgorithm};
use crate::deck::{CardSpec, LAB_IMK_AC, LAB_IMK_MAC, Script};
use crate::error::SimError;
use crate::issuer::{ChipFact, PinFact};
use crate::keys::{KeySlot, Zone};
use crate::network::{APPROVED, Answer};
use crate::time::Moment;

/// Share that hides the laboratory's issuer keys from the rule that a key comes in two components.
const SHARE: [u8; 16] = [0xA5; 16];

/// The simulator's keys inside its security module, and its cards by number.
pub struct Vault {
    hsm: Arc<dyn Hsm>,
    algorithm: KeyAlgorithm,
    zmk: WrappedKey,
    imk_ac: WrappedKey,
    imk_mac: WrappedKey,
    verification: WrappedKey,
    cards: BTreeMap<String, CardSpec>,
    pins: BTreeMap<String, PinReference>,
}

/// Under an SM4 key the network's MAC is SM4-CBC.
fn mac_algorithm(key: &WrappedKey) -> MacAlgorithm {
    if key.algorithm() == KeyAlgorithm::Sm4 { MacAlgorithm::CupsSm4 } else { MacAlgorithm::CupsCbc }
}

/// What stands before the 16 bytes of an SM4 PIN block in field 63.
const SM4_PIN_LABEL: &[u8] = b"SM016";

fn issuer_key(hsm: &dyn Hsm, usage: KeyUsage, text: &str) -> Result<WrappedKey, SimError> {
    let mut key = [0_u8; 16];
    hex::decode_to_slice(text, &mut key).map_err(|_| SimError::Config("issuer key".to_owned()))?;
    key.iter_mut().zip(SHARE).for_each(|(byte, share)| *byte ^= share);
    let components = [KeyComponent::new(&key)?, KeyComponent::new(&SHARE)?];
    Ok(hsm.import_components(usage, KeyAlgorithm::TripleDes2, &components)?)
}

impl Vault {
    /// Brings the configured keys and PINs into the module.
    ///
    /// # Errors
    ///
    /// A component, PIN or card number is malformed.
    pub fn open(hsm: Arc<dyn Hsm>, config: &SimConfig) -> Result<Self, SimError> {
        let components = config
            .zmk_components
            .iter()
            .map(|text| KeyComponent::from_hex(text.expose()))
            .collect::<Result<Vec<_>, HsmError>>()?;
        let algorithm = match config.zone_algorithm {
            ZoneAlgorithm::TripleDes => KeyAlgorithm::TripleDes2,
            ZoneAlgorithm::Sm4 => KeyAlgorithm::Sm4,
        };
        let zmk = hsm.import_components(KeyUsage::ZoneMaster, algorithm, &components)?;
        let imk_ac = issuer_key(&*hsm, KeyUsage::IssuerMaster, LAB_IMK_AC)?;
        let imk_mac = issuer_key(&*hsm, KeyUsage::IssuerScriptMac, LAB_IMK_MAC)?;
        let verification = hsm.generate(KeyUsage::PinVerification, KeyAlgorithm::TripleDes2)?;
        let mut cards = BTreeMap::new();
        let mut pins = BTreeMap::new();
        for card in &config.cards {
            if let Some(pin) = &card.pin {
                let pin = Pin::new(pin.expose())?;
                let reference = hsm.make_pin_reference(&pin, card.pan.expose(), &verification)?;
                pins.insert(card.id.clone(), reference);
            }
            if cards.insert(card.pan.expose().to_owned(), card.clone()).is_some() {
                return Err(SimError::Config(format!("card {} has another card's number", card.id)));
            }
        }
        Ok(Vault { hsm, algorithm, zmk, imk_ac, imk_mac, verification, cards, pins })
    }

    /// The card with this number.
    #[must_use]
    pub fn card(&self, pan: &str) -> Option<&CardSpec> {
        self.cards.get(pan)
    }

    /// Check value of the zone master key, for logs: both ends compare it.
    #[must_use]
    pub fn zmk_check_value(&self) -> String {
        self.zmk.kcv().to_string()
    }

    /// Makes a zone key and gives it under the zone master key: 16 bytes.
    ///
    /// # Errors
    ///
    /// The module refuses.
    pub fn new_zone_key(&self, usage: KeyUsage) -> Result<(WrappedKey, Vec<u8>), SimError> {
        let key = self.hsm.generate(usage, self.algorithm)?;
        let exported = self.hsm.export(&key, &self.zmk)?;
        Ok((key, exported.cipher))
    }

    /// Field 128 of a message.
    ///
    /// # Errors
    ///
    /// The module refuses.
    pub fn sign(&self, key: &WrappedKey, text: &[u8]) -> Result<[u8; 8], SimError> {
        Ok(self.hsm.mac(key, mac_algorithm(key), text)?)
    }

    /// The key under which field 128 is right, if there is one among those that count.
    #[must_use]
    pub fn signed_by(&self, slot: &KeySlot, text: &[u8], received: &[u8], now: Moment) -> Option<WrappedKey> {
        slot.candidates(now)
            .find(|key| self.hsm.verify_mac(key, mac_algorithm(key), text, received) == Ok(true))
            .cloned()
    }

    /// Looks into field 52 under the PIN keys that count.
    #[must_use]
    pub fn examine_pin(&self, message: &Message<'_>, card: &CardSpec, zone: &Zone, now: Moment) -> PinFact {
        let Some(bytes) = message.bytes_of(52) else { return PinFact::Absent };
        let block = if self.algorithm == KeyAlgorithm::Sm4 {
            let carried = message.bytes_of(63).and_then(|field| field.strip_prefix(SM4_PIN_LABEL));
            carried.and_then(|bytes| bytes.try_into().ok()).map(EncryptedPinBlock::sm4)
        } else {
            bytes.try_into().ok().map(EncryptedPinBlock::iso0)
        };
        let Some(block) = block else { return PinFact::Undecryptable };
        let Some(reference) = self.pins.get(&card.id) else { return PinFact::Wrong };
        let mut fact = PinFact::Undecryptable;
        for key in zone.pin.candidates(now) {
            let pan = card.pan.expose();
            match self.hsm.verify_pin(&block, key, pan, &self.verification, reference) {
                Ok(true) => return PinFact::Right,
                Ok(false) => fact = PinFact::Wrong,
                Err(HsmError::PinBlock | HsmError::Pin) => {}
                Err(error) => {
                    tracing::error!(%error, "the security module cannot look at a PIN block");
                    return PinFact::Failed;
                }
            }
        }
        fact
    }

    /// Verifies the cryptogram of field 55.
    #[must_use]
    pub fn examine_chip(&self, message: &Message<'_>, card: &CardSpec) -> ChipFact {
        let Some(data) = message.bytes_of(55) else { return ChipFact::Absent };
        if tlv::validate(data).is_err() {
            return ChipFact::Unreadable;
        }
        if !message.has(22) || message.mti().value() / 100 >= 4 {
            return ChipFact::Absent; // the tags of a reversal or script result are no request for approval
        }
        let Some(chip) = Chip::read(data) else { return ChipFact::Unreadable };
        // A certificate (TC) proves what the chip approved by itself; everything else asks (ARQC).
        let certificate = message.mti().value() / 10 == 22 && chip.information == 0x40;
        if !(chip.information == 0x80 || certificate) || !chip.amount_is(message.number(4).unwrap_or(0)) {
            return ChipFact::Bad;
        }
        let sequence = message.number(23).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
        if sequence != card.sequence {
            return ChipFact::Bad;
        }
        let context = chip.context(card);
        match self.hsm.verify_arqc(&self.imk_ac, &context, &chip.signed, &chip.cryptogram) {
            Ok(true) => ChipFact::Good { atc: chip.atc },
            Ok(false) => ChipFact::Bad,
            Err(error) => {
                tracing::error!(%error, "the security module cannot verify a cryptogram");
                ChipFact::Bad
            }
        }
    }

    /// Field 55 of an answer: tag 91 with the response cryptogram (method 1, response code in ASCII), and the
    /// card's script when approved. Empty when there is nothing to say.
    ///
    /// # Errors
    ///
    /// The module refuses.
    pub fn authenticate(&self, message: &Message<'_>, answer: &Answer) -> Result<Vec<u8>, SimError> {
        let mut out = Vec::new();
        if !answer.authenticate {
            return Ok(out);
        }
        let Some(card) = crate::wire::chip_pan_of(message).and_then(|pan| self.cards.get(pan.expose()))
        else {
            return Ok(out);
        };
        let Some(chip) = message.bytes_of(55).and_then(Chip::read) else { return Ok(out) };
        let Ok(code) = <[u8; 2]>::try_from(answer.code.as_bytes()) else { return Ok(out) };
        let context = chip.context(card);
        let mut data = self.hsm.make_arpc(&self.imk_ac, &context, chip.cryptogram, code)?.to_vec();
        if card.wrong_arpc {
            data.iter_mut().for_each(|byte| *byte = !*byte);
        }
        data.extend_from_slice(&code);
        tlv::write(&mut out, 0x91, &data);
        if answer.code == APPROVED && card.script != Script::None {
            self.write_script(&mut out, card, &chip, &context)?;
        }
        Ok(out)
    }

    /// PUT DATA 9F58 = 03, with the MAC that the card expects or, for a script that must fail, another.
    fn write_script(
        &self,
        out: &mut Vec<u8>,
        card: &CardSpec,
        chip: &Chip,
        context: &CardContext<'_>,
    ) -> Result<(), SimError> {
        let header = [0x04, 0xDA, 0x9F, 0x58, 0x05];
        let value = [0x03];
        let mut input = header.to_vec();
        input.extend_from_slice(&chip.atc.to_be_bytes());
        input.extend_from_slice(&chip.cryptogram);
        input.extend_from_slice(&value);
        let mut mac = self.hsm.script_mac(&self.imk_mac, context, chip.cryptogram, &input)?;
        let template = if card.script == Script::BeforeRefused { 0x71 } else { 0x72 };
        if card.script == Script::BeforeRefused {
            mac.iter_mut().for_each(|byte| *byte = !*byte);
        }
        let mut command = header.to_vec();
        command.extend_from_slice(&value);
        command.extend(mac.iter().take(4));
        let mut script = Vec::new();
        tlv::write(&mut script, 0x9F18, &[0, 0, 0, 1]);
        tlv::write(&mut script, 0x86, &command);
        tlv::write(out, template, &script);
        Ok(())
    }
}

/// The parts of field 55 that an issuer looks at.
struct Chip {
    cryptogram: [u8; 8],
    information: u8,
    atc: u16,
    version: CryptogramVersion,
    amount: [u8; 6],
    /// The data under the cryptogram in the order of its version.
    signed: Vec<u8>,
}

impl Chip {
    fn read(data: &[u8]) -> Option<Self> {
        let tag = |tag: u32| tlv::find(data, tag).ok().flatten();
        let exact = |number: u32, len: usize| tag(number).filter(|value| value.len() == len);
        let cryptogram: [u8; 8] = tag(0x9F26)?.try_into().ok()?;
        let atc: [u8; 2] = tag(0x9F36)?.try_into().ok()?;
        let amount: [u8; 6] = tag(0x9F02)?.try_into().ok()?;
        let issuer_data = tag(0x9F10)?;
        let version = match issuer_data.get(2)? {
            0x01 => CryptogramVersion::V01,
            0x0A => CryptogramVersion::V10,
            0x11 => CryptogramVersion::V17,
            0x12 => CryptogramVersion::V18,
            _ => return None,
        };
        let mut signed = Vec::with_capacity(48);
        if version == CryptogramVersion::V17 {
            for (number, len) in [(0x9F02, 6), (0x9F37, 4), (0x9F36, 2)] {
                signed.extend_from_slice(exact(number, len)?);
            }
            signed.push(*issuer_data.get(4)?);
        } else {
            let order = [
                (0x9F02, 6),
                (0x9F03, 6),
                (0x9F1A, 2),
                (0x95, 5),
                (0x5F2A, 2),
                (0x9A, 3),
                (0x9C, 1),
                (0x9F37, 4),
                (0x82, 2),
                (0x9F36, 2),
            ];
            for (number, len) in order {
                signed.extend_from_slice(exact(number, len)?);
            }
            if version == CryptogramVersion::V18 {
                signed.extend_from_slice(issuer_data);
            } else {
                signed.extend_from_slice(issuer_data.get(3..7)?);
            }
        }
        let information = *tag(0x9F27)?.first()?;
        Some(Chip { cryptogram, information, atc: u16::from_be_bytes(atc), version, amount, signed })
    }

    fn context<'a>(&self, card: &'a CardSpec) -> CardContext<'a> {
        CardContext::new(card.pan.expose(), card.sequence, self.atc, self.version)
    }

    /// Whether 9F02 says the same as field 4.
    fn amount_is(&self, fen: u64) -> bool {
        hex::encode(self.amount) == format!("{fen:012}")
    }
}
