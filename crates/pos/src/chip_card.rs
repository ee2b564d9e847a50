//! The chip of a lab card, as far as an online payment needs it: cryptograms, issuer authentication, scripts.
//!
//! The card has its keys from the public lab master keys (`lab-1`) by option A, uses PBOC session keys and
//! cryptogram version 01. It plays its side from the card's own view: it knows nothing of the terminal's journal.

use hsm::primitives::BlockKey;
use hsm::primitives::emv;
use hsm::{CardContext, CryptogramVersion};
use hsm::{HsmError, KeyAlgorithm};

use crate::deck::{Behaviour, DeckCard};

/// Lab issuer master key for cryptograms. Public lab data, not a secret.
const IMK_AC: [u8; 16] =
    [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0xFE, 0xDC, 0xBA, 0x98, 0x76, 0x54, 0x32, 0x10];
/// Lab issuer master key for script MACs. Public lab data, not a secret.
const IMK_MAC: [u8; 16] =
    [0x11, 0x33, 0x55, 0x77, 0x99, 0xBB, 0xDD, 0xFF, 0x00, 0x22, 0x44, 0x66, 0x88, 0xAA, 0xCC, 0xEE];

/// Cryptogram information data: the type of the cryptogram a card gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cryptogram {
    /// 00: declined.
    Aac,
    /// 40: approved.
    Tc,
    /// 80: go online.
    Arqc,
}

impl Cryptogram {
    pub(crate) fn cid(self) -> u8 {
        match self {
            Self::Aac => 0x00,
            Self::Tc => 0x40,
            Self::Arqc => 0x80,
        }
    }
}

/// Answer to GENERATE AC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcAnswer {
    pub kind: Cryptogram,
    pub value: [u8; 8],
    /// 9F10: length, key index, version, card verification results, algorithm.
    pub iad: [u8; 8],
}

/// A chip in the slot or on the antenna.
pub(crate) struct ChipCard {
    deck: &'static DeckCard,
    key: BlockKey,
    script_key: BlockKey,
    atc: u16,
    contactless: bool,
    arqc: [u8; 8],
    issuer_failed: bool,
    authenticated: bool,
}

impl ChipCard {
    /// Starts a transaction with the counter already raised.
    pub(crate) fn start(deck: &'static DeckCard, atc: u16, contactless: bool) -> Result<Self, HsmError> {
        Ok(Self {
            deck,
            key: BlockKey::new(KeyAlgorithm::TripleDes2, &IMK_AC)?,
            script_key: BlockKey::new(KeyAlgorithm::TripleDes2, &IMK_MAC)?,
            atc,
            contactless,
            arqc: [0; 8],
            issuer_failed: false,
            authenticated: false,
        })
    }

    fn context(&self) -> CardContext<'static> {
        CardContext::new(self.deck.pan, self.deck.sequence, self.atc, CryptogramVersion::V01)
    }

    /// Signs the terminal's data, AIP, counter and verification results.
    fn answer(&self, kind: Cryptogram, second: bool, data: &[u8]) -> Result<AcAnswer, HsmError> {
        let first_bits = if self.first_declines() { 0x00 } else { 0x20 };
        let second_bits = match (second, kind) {
            (false, Cryptogram::Arqc) => 0x80,
            (true, Cryptogram::Tc) => 0x40,
            _ => 0x00,
        };
        let failed = if self.issuer_failed { 0x08 } else { 0x00 };
        let dda = if self.contactless { 0x00 } else { 0x02 };
        let [atc_high, atc_low] = self.atc.to_be_bytes();
        let results = [0x03, first_bits | second_bits | failed, 0x00, dda];
        let mut input = data.to_vec();
        input.extend([atc_high, atc_low]);
        input.extend(results);
        let value = emv::cryptogram(&self.key, &self.context(), &input)?;
        let [r1, r2, r3, r4] = results;
        Ok(AcAnswer { kind, value, iad: [0x07, 0x01, 0x01, r1, r2, r3, r4, 0x01] })
    }

    fn first_declines(&self) -> bool {
        self.deck.behaviour == Behaviour::DeclinesAtFirst
    }

    /// GENERATE AC 1 (contact), or the cryptogram of GET PROCESSING OPTIONS (tap). `data` is what the terminal
    /// signed: amounts, country, verification results, currency, date, type, unpredictable number, AIP.
    pub(crate) fn first(&mut self, data: &[u8]) -> Result<AcAnswer, HsmError> {
        let kind = if self.first_declines() { Cryptogram::Aac } else { Cryptogram::Arqc };
        let answer = self.answer(kind, false, data)?;
        self.arqc = answer.value;
        Ok(answer)
    }

    /// EXTERNAL AUTHENTICATE: whether the issuer's cryptogram is right. Once per transaction.
    pub(crate) fn authenticate_issuer(&mut self, data: &[u8]) -> Result<bool, HsmError> {
        let Some((arpc, code)) = data.split_first_chunk::<8>() else {
            self.issuer_failed = true;
            return Ok(false);
        };
        let code: [u8; 2] = code.get(..2).and_then(|code| code.try_into().ok()).unwrap_or_default();
        let expected = emv::arpc_method1(&self.key, &self.context(), self.arqc, code)?;
        let good = !self.authenticated && expected == *arpc;
        self.authenticated = true;
        self.issuer_failed = !good;
        Ok(good)
    }

    /// GENERATE AC 2. A card whose issuer failed to prove itself declines, whatever is asked.
    pub(crate) fn second(&mut self, approve: bool, data: &[u8]) -> Result<AcAnswer, HsmError> {
        let kind = if approve && !self.issuer_failed { Cryptogram::Tc } else { Cryptogram::Aac };
        self.answer(kind, true, data)
    }

    /// One command of an issuer script: whether the card executed it. Its last four bytes are a MAC over header,
    /// counter, this transaction's cryptogram and data.
    pub(crate) fn script(&self, before_second: bool, command: &[u8]) -> Result<bool, HsmError> {
        if before_second && self.deck.behaviour == Behaviour::Script71Fails {
            return Ok(false);
        }
        let Some((header, rest)) = command.split_first_chunk::<5>() else { return Ok(false) };
        let [.., length] = *header;
        let Some((data, mac)) = rest.split_last_chunk::<4>() else { return Ok(false) };
        if rest.len() != usize::from(length) {
            return Ok(false);
        }
        let mut input = header.to_vec();
        input.extend(self.atc.to_be_bytes());
        input.extend(self.arqc);
        input.extend(data);
        let expected = emv::script_mac(&self.script_key, &self.context(), self.arqc, &input)?;
        Ok(expected.starts_with(mac))
    }
}
