//! The card: its state and what it answers.

use std::fmt;
use std::sync::Arc;

use iso8583::tlv;

use crate::apdu::{Answered, Command, on_the_wire, sw};
use crate::behaviour::{Ac, ArpcFault, Behaviour, Blocked, Moment};
use crate::counter::{CounterError, CounterStore};
use crate::crypto::CardKeys;
use crate::cryptogram::Kind;
use crate::dol;
use crate::profile::{App, Profile, ProfileError, Resolved, Shared};

/// Directory of a contact card.
const PSE: &[u8] = b"1PAY.SYS.DDF01";
/// Directory of a tapped card.
const PPSE: &[u8] = b"2PAY.SYS.DDF01";
/// Tries of a PIN that was never wrong.
pub(crate) const PIN_TRIES: u8 = 3;
/// Transaction log: file 11, ten records.
const LOG_ENTRY: [u8; 5] = [0x9F, 0x4D, 0x02, 0x0B, 0x0A];

/// Where the card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// In the slot.
    Contact,
    /// On the antenna.
    Contactless,
}

/// Why a card does not wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerFault {
    /// No answer to reset.
    #[error("the chip does not answer")]
    Mute,
    /// It has no contacts, or no antenna.
    #[error("the card has no such interface")]
    NoInterface,
    /// There is a second card in the field.
    #[error("two cards in the field")]
    TwoCards,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardGone {
    /// It left the reader.
    #[error("the card was removed")]
    Removed,
    /// It is there and says nothing.
    #[error("the chip does not answer")]
    Mute,
}

/// Source of random bytes; a test gives known ones.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Idle,
    Directory,
    Selected,
    Initiated,
    /// The first cryptogram was an ARQC.
    Online,
    /// The last cryptogram is given.
    Done,
}

/// A transaction of the card.
pub(crate) struct Transaction {
    pub atc: u16,
    pub arqc: [u8; 8],
    pub scripts: u8,
    pub script_mac: [u8; 8],
    pub pdol_data: Vec<u8>,
    pub cdol1_data: Vec<u8>,
    pub values: Vec<(u32, Vec<u8>)>,
    pub issuer: Option<bool>,
    pub dda_done: bool,
    pub pin_done: bool,
    pub pin_failed: bool,
    pub challenge: Option<[u8; 8]>,
    pub signed_record: Option<Vec<u8>>,
    pub afl: Vec<u8>,
}

/// A card. See the crate's documentation for how it is used.
pub struct Card {
    pub(crate) profile: Profile,
    pub(crate) keys: CardKeys,
    pub(crate) tries: u8,
    pub(crate) app_blocked: bool,
    pub(crate) card_blocked: bool,
    pub(crate) objects: Vec<(u32, Vec<u8>)>,
    pub(crate) now: Option<Transaction>,
    pub(crate) shared: Shared,
    pub(crate) resolved: Vec<Option<Arc<Resolved>>>,
    pub(crate) counters: Box<dyn CounterStore>,
    pub(crate) random: Random,
    pub(crate) last_online: u16,
    pub(crate) interface: Option<Interface>,
    pub(crate) stage: Stage,
    pub(crate) selected: Option<usize>,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("profile", &self.profile)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

impl Card {
    /// A card that lies on the table. The first of a kind derives its RSA key, which takes a few tenths of a second.
    ///
    /// # Errors
    /// The profile makes no card.
    pub fn new(
        profile: Profile,
        counters: Box<dyn CounterStore>,
        random: Random,
    ) -> Result<Self, ProfileError> {
        let shared = profile.shared()?;
        let keys = CardKeys::new(&profile).map_err(|_| ProfileError::Value("keys".to_owned()))?;
        let mut card = Self {
            keys,
            tries: profile.start.pin_tries,
            app_blocked: false,
            card_blocked: false,
            objects: Vec::new(),
            now: None,
            shared,
            resolved: vec![None; profile.apps.len()],
            counters,
            random,
            last_online: profile.start.last_online_atc,
            interface: None,
            stage: Stage::Idle,
            selected: None,
            profile,
        };
        for index in 0..card.profile.apps.len() {
            card.application(index)?;
        }
        Ok(card)
    }

    /// What the card is.
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The switches in force.
    pub fn behaviour(&self) -> &[Behaviour] {
        &self.profile.behaviour
    }

    /// Replaces the switches, at any time.
    pub fn set_behaviour(&mut self, behaviour: Vec<Behaviour>) {
        self.profile.behaviour = behaviour;
        self.resolved.fill(None);
    }

    /// Milliseconds that a reader waits before it hands on an answer.
    pub fn delay(&self) -> u32 {
        self.find(|b| if let Behaviour::Delay(ms) = b { Some(*ms) } else { None }).unwrap_or(0)
    }

    /// Whether it lies in a reader.
    pub const fn is_powered(&self) -> bool {
        self.interface.is_some()
    }

    /// PIN tries left.
    pub const fn pin_tries(&self) -> u8 {
        self.tries
    }

    /// Value of a data object that a script has written.
    pub fn written(&self, tag: u32) -> Option<&[u8]> {
        self.objects.iter().rev().find(|(known, _)| *known == tag).map(|(_, value)| value.as_slice())
    }

    /// Puts the card into a reader. Answers ATR, or the same historical bytes from the antenna.
    ///
    /// # Errors
    /// See [`PowerFault`].
    pub fn power_up(&mut self, interface: Interface) -> Result<Vec<u8>, PowerFault> {
        self.leave();
        if self.has(Behaviour::Mute) {
            self.interface = Some(interface); // it lies there and says nothing
            return Err(PowerFault::Mute);
        }
        match interface {
            Interface::Contact if !self.profile.contact => return Err(PowerFault::NoInterface),
            Interface::Contactless if self.profile.contactless.is_none() => {
                return Err(PowerFault::NoInterface);
            }
            Interface::Contactless if self.has(Behaviour::TwoCards) => return Err(PowerFault::TwoCards),
            _ => {}
        }
        self.interface = Some(interface);
        Ok(hex::decode(&self.profile.atr).unwrap_or_default())
    }

    /// Takes the card out of the reader; what it was doing is lost.
    pub fn leave(&mut self) {
        self.interface = None;
        self.stage = Stage::Idle;
        self.selected = None;
        self.now = None;
    }

    /// One command, and its answer with status word.
    ///
    /// # Errors
    /// See [`CardGone`].
    pub fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, CardGone> {
        if self.interface.is_none() {
            return Err(CardGone::Removed);
        }
        if self.has(Behaviour::Mute) {
            return Err(CardGone::Mute);
        }
        let Some(command) = Command::parse(apdu) else { return Ok(on_the_wire(Err(sw::WRONG_LENGTH))) };
        let moment = self.moment(&command);
        if moment.is_some_and(|moment| self.has(Behaviour::Torn(moment))) {
            self.leave();
            return Err(CardGone::Removed);
        }
        let forced = self.find(|b| match b {
            Behaviour::Sw { ins, code } if *ins == command.ins => Some(*code),
            _ => None,
        });
        let answer = forced.map_or_else(|| self.answer(&command), Err);
        if moment.is_some_and(|moment| self.has(Behaviour::LeaveAfter(moment))) {
            self.leave();
        }
        Ok(on_the_wire(answer))
    }

    pub(crate) fn has(&self, behaviour: Behaviour) -> bool {
        self.profile.behaviour.contains(&behaviour)
    }

    pub(crate) fn find<T>(&self, which: impl Fn(&Behaviour) -> Option<T>) -> Option<T> {
        self.profile.behaviour.iter().find_map(which)
    }

    fn moment(&self, command: &Command<'_>) -> Option<Moment> {
        Some(match command.ins {
            0xA4 => Moment::Select,
            0xA8 => Moment::Gpo,
            0xB2 => {
                let at = self.now.as_ref()?.afl.last_chunk::<4>()?;
                let [sfi, _, last, _] = *at;
                return (sfi >> 3 == command.p2 >> 3 && last == command.p1).then_some(Moment::Record);
            }
            0x88 => Moment::Dda,
            0xAE if self.stage == Stage::Online => Moment::Ac2,
            0xAE => Moment::Ac1,
            0x82 => Moment::External,
            _ if matches!(command.cla, 0x04 | 0x84) => Moment::Script,
            _ => return None,
        })
    }

    fn answer(&mut self, command: &Command<'_>) -> Answered {
        match (command.cla, command.ins) {
            (0x00, 0xA4) => self.select(command),
            (0x00, 0xB2) => self.read_record(command),
            (0x00, 0x88) => self.internal_authenticate(command),
            (0x00, 0x82) => self.external_authenticate(command),
            (0x00, 0x84) => self.challenge(command),
            (0x00, 0x20) => self.verify(command),
            (0x80, 0xA8) => self.processing_options(command),
            (0x80, 0xAE) => self.generate_ac(command),
            (0x80, 0xCA) => self.get_data(command),
            (0x84, 0x1E | 0x18 | 0x16 | 0x24) | (0x04, 0xDA | 0xDC) => {
                if !matches!(self.stage, Stage::Online | Stage::Done) {
                    return Err(sw::CONDITIONS);
                }
                self.script(command)
            }
            (0x00 | 0x80 | 0x84 | 0x04, _) => Err(sw::INS_UNKNOWN),
            _ => Err(sw::CLA_UNKNOWN),
        }
    }

    // Selection

    fn app(&self, index: usize) -> Option<&App> {
        self.profile.apps.get(index)
    }

    fn application(&mut self, index: usize) -> Result<Arc<Resolved>, ProfileError> {
        if let Some(Some(known)) = self.resolved.get(index) {
            return Ok(Arc::clone(known));
        }
        let none = || ProfileError::Value("apps".to_owned());
        let app = self.app(index).ok_or_else(none)?;
        let mut aip = [0; 2];
        hex::decode_to_slice(&app.aip, &mut aip).map_err(|_| ProfileError::Value("aip".to_owned()))?;
        if self.has(Behaviour::Arpc(ArpcFault::Absent)) {
            let [first, low] = aip;
            aip = [first & !0x04, low];
        }
        let made = Arc::new(self.profile.resolve(app, aip, &self.shared)?);
        if let Some(place) = self.resolved.get_mut(index) {
            *place = Some(Arc::clone(&made));
        }
        Ok(made)
    }

    pub(crate) fn current(&mut self) -> Result<Arc<Resolved>, u16> {
        let index = self.selected.ok_or(sw::CONDITIONS)?;
        self.application(index).map_err(|_| sw::TECHNICAL)
    }

    fn tapped(&self) -> bool {
        self.interface == Some(Interface::Contactless)
    }

    fn select(&mut self, command: &Command<'_>) -> Answered {
        if command.p1 != 0x04 || !matches!(command.p2, 0x00 | 0x02) {
            return Err(sw::WRONG_P1P2);
        }
        if self.card_blocked || self.has(Behaviour::Blocked(Blocked::Card)) {
            return Err(sw::CARD_BLOCKED);
        }
        let (directory, name) = if self.tapped() {
            (self.profile.contactless.as_ref().is_some_and(|tap| tap.ppse), PPSE)
        } else {
            (self.profile.pse, PSE)
        };
        let before = self.selected.take();
        self.stage = Stage::Idle;
        self.now = None;
        if directory && command.data == name {
            self.stage = Stage::Directory;
            return Ok(self.directory_fci(name));
        }
        let from = match (command.p2, before) {
            (0x02, Some(index)) => index.saturating_add(1),
            (0x02, None) => return Err(sw::FILE_NOT_FOUND),
            _ => 0,
        };
        let found = (from..self.profile.apps.len()).find(|index| {
            command.data.len() >= 5
                && self
                    .app(*index)
                    .and_then(|app| hex::decode(&app.aid).ok())
                    .is_some_and(|aid| aid.starts_with(command.data))
        });
        let Some(index) = found else { return Err(sw::FILE_NOT_FOUND) };
        self.selected = Some(index);
        if self.app_blocked || self.has(Behaviour::Blocked(Blocked::App)) {
            return Err(sw::INVALIDATED);
        }
        self.stage = Stage::Selected;
        self.application_fci(index)
    }

    /// Template 61 of an application.
    fn entry(app: &App) -> Vec<u8> {
        let mut entry = Vec::new();
        tlv::write(&mut entry, 0x4F, &hex::decode(&app.aid).unwrap_or_default());
        tlv::write(&mut entry, 0x50, app.label.as_bytes());
        if let Some(name) = &app.preferred_name {
            tlv::write(&mut entry, 0x9F12, name.as_bytes());
        }
        tlv::write(&mut entry, 0x87, &[app.priority]);
        let mut out = Vec::new();
        tlv::write(&mut out, 0x61, &entry);
        out
    }

    fn directory_fci(&self, name: &[u8]) -> Vec<u8> {
        let mut inner = Vec::new();
        if self.tapped() {
            let entries: Vec<u8> = self.profile.apps.iter().flat_map(Self::entry).collect();
            tlv::write(&mut inner, 0xBF0C, &entries);
        } else {
            tlv::write(&mut inner, 0x88, &[0x01]);
            tlv::write(&mut inner, 0x5F2D, b"zh");
        }
        fci(name, &inner)
    }

    fn application_fci(&mut self, index: usize) -> Answered {
        let resolved = self.application(index).map_err(|_| sw::TECHNICAL)?;
        let tapped = self.tapped();
        let app = self.app(index).ok_or(sw::FILE_NOT_FOUND)?;
        let mut inner = Vec::new();
        tlv::write(&mut inner, 0x50, app.label.as_bytes());
        tlv::write(&mut inner, 0x87, &[app.priority]);
        let pdol = if tapped { &resolved.tap_pdol } else { &resolved.pdol };
        if !pdol.is_empty() {
            tlv::write(&mut inner, 0x9F38, pdol);
        }
        tlv::write(&mut inner, 0x5F2D, b"zh");
        if let Some(name) = &app.preferred_name {
            tlv::write(&mut inner, 0x9F11, &[0x01]);
            tlv::write(&mut inner, 0x9F12, name.as_bytes());
        }
        if !tapped {
            tlv::write(&mut inner, 0xBF0C, &LOG_ENTRY);
        }
        Ok(fci(&resolved.aid, &inner))
    }

    // Reading

    fn processing_options(&mut self, command: &Command<'_>) -> Answered {
        if self.stage != Stage::Selected {
            return Err(sw::CONDITIONS);
        }
        let resolved = self.current()?;
        let pdol = if self.tapped() { &resolved.tap_pdol } else { &resolved.pdol };
        let data = match tlv::find(command.data, 0x83) {
            Ok(Some(data)) => data,
            _ => return Err(sw::WRONG_DATA),
        };
        let values = dol::split(pdol, data).ok_or(sw::WRONG_LENGTH)?;
        let atc = match self.counters.raise(&self.profile.id, self.profile.start.atc) {
            Ok(atc) => atc,
            Err(CounterError::Exhausted) => return Err(sw::CONDITIONS),
            Err(CounterError::File { .. }) => return Err(sw::TECHNICAL),
        };
        self.stage = Stage::Initiated;
        self.now = Some(Transaction {
            atc,
            arqc: [0; 8],
            scripts: 0,
            script_mac: [0; 8],
            pdol_data: data.to_vec(),
            cdol1_data: Vec::new(),
            values,
            issuer: None,
            dda_done: false,
            pin_done: false,
            pin_failed: false,
            challenge: None,
            signed_record: None,
            afl: resolved.afl.clone(),
        });
        let qualifiers = self.value(0x9F66);
        let quick = self.tapped()
            && qualifiers.first().is_some_and(|first| first & 0x20 != 0)
            && !self.has(Behaviour::Gpo80);
        if quick {
            return self.quick_pass(&resolved, &qualifiers);
        }
        let mut content = resolved.aip.to_vec();
        content.extend(&resolved.afl);
        Ok(template(0x80, &content))
    }

    /// The whole quickPass transaction is this one answer.
    fn quick_pass(&mut self, resolved: &Resolved, qualifiers: &[u8]) -> Answered {
        let bit = |at: usize, mask: u8| qualifiers.get(at).is_some_and(|byte| byte & mask != 0);
        let limit = self.profile.contactless.as_ref().map_or(0, |tap| tap.offline_limit);
        let amount = decimal(&self.value(0x9F02));
        let kind = match self.find(|b| if let Behaviour::Ac1(kind) = b { Some(*kind) } else { None }) {
            Some(Ac::Aac) => Kind::Aac,
            Some(Ac::Tc) => Kind::Tc,
            None if !bit(1, 0x80) && amount <= limit => Kind::Tc,
            None if bit(0, 0x08) => Kind::Aac,
            None => Kind::Arqc,
        };
        let verification = self.verification(kind, None);
        let iad = self.application_data(verification);
        let atc = self.atc();
        let cryptogram = self.sign(resolved, verification, &iad)?;
        let mut content = Vec::new();
        tlv::write(&mut content, 0x82, &resolved.aip);
        if kind == Kind::Tc {
            tlv::write(&mut content, 0x94, &resolved.tap_afl);
        }
        tlv::write(&mut content, 0x9F36, &atc);
        tlv::write(&mut content, 0x57, &self.shared.track2);
        tlv::write(&mut content, 0x9F10, &iad);
        tlv::write(&mut content, 0x9F26, &cryptogram);
        tlv::write(&mut content, 0x5F34, &[bcd(self.profile.psn)]);
        tlv::write(&mut content, 0x9F6C, &self.shared.ctq);
        if self.has(Behaviour::UnknownTags) {
            tlv::write(&mut content, 0xDF70, b"unknown");
        }
        if kind == Kind::Tc {
            let record = self.fast_signature(bit(3, 0x80));
            if let Some(now) = &mut self.now {
                now.signed_record = Some(record);
                now.afl.clone_from(&resolved.tap_afl);
            }
        }
        self.stage = Stage::Done;
        Ok(template(0x77, &content))
    }

    /// The record with the signature of a tapped card (fDDA), version 00 or 01.
    fn fast_signature(&mut self, version_one: bool) -> Vec<u8> {
        let mut also = self.value(0x9F37);
        let mut content = Vec::new();
        let mut related = vec![0x01];
        if version_one {
            let mut own = [0; 4];
            (self.random)(&mut own);
            related.extend(own);
            related.extend(self.shared.ctq);
            related.push(0x00);
            also.extend(self.value(0x9F02));
            also.extend(self.value(0x5F2A));
            also.extend(&related);
        }
        let signature = self.dynamic_signature(&[], &also);
        tlv::write(&mut content, 0x9F4B, &signature);
        if version_one {
            tlv::write(&mut content, 0x9F69, &related);
        }
        template(0x70, &content)
    }

    fn read_record(&mut self, command: &Command<'_>) -> Answered {
        if command.p2 & 0x07 != 0x04 || command.p1 == 0 {
            return Err(sw::WRONG_P1P2);
        }
        let (sfi, number) = (command.p2 >> 3, command.p1);
        if self.stage == Stage::Directory {
            if self.tapped() || sfi != 1 {
                return Err(sw::FILE_NOT_FOUND);
            }
            let app = self.app(usize::from(number) - 1).ok_or(sw::RECORD_NOT_FOUND)?;
            return Ok(template(0x70, &Self::entry(app)));
        }
        if self.now.is_none() {
            return Err(sw::CONDITIONS);
        }
        if (sfi, number) == (4, 1)
            && let Some(record) = self.now.as_ref().and_then(|now| now.signed_record.clone())
        {
            return Ok(record);
        }
        let resolved = self.current()?;
        let record = resolved.records.get(&(sfi, number)).ok_or(sw::RECORD_NOT_FOUND)?;
        Ok(self.behave(record, (sfi, number) == (1, 1)))
    }

    /// A record as the switches leave it.
    fn behave(&self, record: &[u8], first: bool) -> Vec<u8> {
        let content = tlv::find(record, 0x70).ok().flatten().unwrap_or_default();
        if self.has(Behaviour::BadCert) && content.starts_with(&[0x9F, 0x46]) {
            let mut wrong = record.to_vec();
            wrong.iter_mut().skip(40).take(1).for_each(|byte| *byte ^= 0x01);
            return wrong;
        }
        if !first {
            return record.to_vec();
        }
        let mut content = content.to_vec();
        if self.has(Behaviour::UnknownTags) {
            tlv::write(&mut content, 0xDF70, b"unknown");
            tlv::write(&mut content, 0x9F7F, &[0x00; 4]);
            tlv::write(&mut content, 0xDFBF7F, &[]);
        }
        if self.has(Behaviour::LongRecords) {
            let room = 240_usize.saturating_sub(content.len());
            tlv::write(&mut content, 0xDF71, &vec![0x5A; room]);
        }
        let mut out = template(0x70, &content);
        if self.has(Behaviour::JunkTlv) {
            out.truncate(out.len() / 2);
        }
        out
    }

    fn get_data(&mut self, command: &Command<'_>) -> Answered {
        let tag = u32::from(command.p1) << 8 | u32::from(command.p2);
        let value = match tag {
            0x9F36 => self.now.as_ref().map(|now| now.atc.to_be_bytes().to_vec()).ok_or(sw::CONDITIONS)?,
            0x9F13 => self.last_online.to_be_bytes().to_vec(),
            0x9F17 => vec![self.tries],
            0x9F4F => hex::decode("9A039F21039F02069F03069F1A025F2A029C019F3602").unwrap_or_default(),
            _ => self.written(tag).ok_or(sw::DATA_NOT_FOUND)?.to_vec(),
        };
        Ok(template(tag, &value))
    }
}

pub(crate) fn template(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 4);
    tlv::write(&mut out, tag, content);
    out
}

fn fci(name: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    tlv::write(&mut content, 0x84, name);
    tlv::write(&mut content, 0xA5, inner);
    template(0x6F, &content)
}

const fn bcd(value: u8) -> u8 {
    ((value / 10) << 4) | (value % 10)
}

/// Packed decimal, right-justified.
fn decimal(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |sum, byte| {
        sum.saturating_mul(100).saturating_add(u64::from(byte >> 4) * 10 + u64::from(byte & 0x0F))
    })
}

/// The block of VERIFY: 2, length, digits, filled with F.
pub(crate) fn pin_block(pin: &str) -> Option<[u8; 8]> {
    let mut block = [0; 8];
    hex::decode_to_slice(format!("2{:X}{pin:F<14}", pin.len()), &mut block).ok()?;
    Some(block)
}
