//! One payment: everything known about it, and what is made of that.

use iso8583::CardNumber;
use zeroize::Zeroizing;

use crate::data::{Store, bcd, digits, tag};
use crate::decide::Issuer;
use crate::field55;
use crate::oda::Proven;
use crate::params::{Application, Revoked, Tables, TerminalData};
use crate::step::{
    BypassRule, Candidate, ChipData, Cvm, Entry, EntryMode, Interface, PinState, Reason, StepKind,
    TransParams,
};
use crate::{ChannelError, QuickPass};

/// What is loaded.
pub(crate) struct Set {
    pub tables: Tables,
    pub revoked: Vec<Revoked>,
    pub terminal: TerminalData,
    pub quickpass: QuickPass,
}

/// Why the straight way ended.
pub(crate) enum Halt {
    /// No answer from the card.
    Channel(ChannelError),
    /// An end.
    End(StepKind, Reason),
}

impl From<ChannelError> for Halt {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

impl Halt {
    /// No outcome, nothing was sent.
    pub(crate) fn terminated(reason: Reason) -> Self {
        Self::End(StepKind::Terminated { follow_up: crate::FollowUp::default() }, reason)
    }
}

/// Kinds of cryptograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Aac,
    Tc,
    Arqc,
}

impl Kind {
    /// 9F27; none for the fourth value, which no card may give.
    pub(crate) const fn from_cid(cid: u8) -> Option<Self> {
        match cid & 0xC0 {
            0x00 => Some(Self::Aac),
            0x40 => Some(Self::Tc),
            0x80 => Some(Self::Arqc),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Aac => "AAC",
            Self::Tc => "TC",
            Self::Arqc => "ARQC",
        }
    }
}

pub(crate) struct Trans {
    pub params: TransParams,
    pub store: Store,
    pub tvr: [u8; 5],
    pub tsi: [u8; 2],
    /// TVR that the last cryptogram covers.
    pub tvr_signed: [u8; 5],
    pub cvm: Cvm,
    pub cvm_from: usize,
    pub rule: Option<crate::cvm::Rule>,
    pub mode: EntryMode,
    pub candidates: Vec<Candidate>,
    pub app: Option<Application>,
    pub aid: Vec<u8>,
    pub label: String,
    pub preferred_name: Option<String>,
    /// The holder has chosen or confirmed: nothing is taken without him from now on.
    pub holder_chose: bool,
    /// Values of the records that were signed.
    pub records: Zeroizing<Vec<u8>>,
    /// A record that should have been signed was no template.
    pub records_bad: bool,
    pub proven: Option<Proven>,
    pub pdol_data: Vec<u8>,
    pub cdol1_data: Vec<u8>,
    pub kind: Option<Kind>,
    pub request_left: bool,
    pub issuer: Issuer,
    pub script_result: Vec<u8>,
    pub request55: Vec<u8>,
    /// Field 55 of the reversal, fixed at the moment the host fell silent.
    pub reversal55: Option<Vec<u8>>,
}

/// What the terminal brings to a payment, whatever the card.
fn terminal_data(params: &TransParams, terminal: &TerminalData) -> Store {
    let mut store = Store::default();
    store.set(tag::AMOUNT, &bcd::<6>(params.amount));
    store.set(tag::OTHER, &bcd::<6>(params.other_amount));
    store.set(tag::DATE, &params.date);
    store.set(tag::TIME, &params.time);
    store.set(tag::KIND, &[params.kind]);
    store.set(tag::CURRENCY, &params.currency);
    store.set(0x5F36, &[0x02]);
    store.set(tag::COUNTRY, &terminal.country);
    store.set(tag::TRACE, &bcd::<4>(u64::from(params.sequence)));
    store.set(tag::UN, &params.unpredictable);
    store.set(tag::CAPABILITIES, &terminal.capabilities);
    store.set(tag::TERMINAL_TYPE, &[terminal.terminal_type]);
    store.set(tag::ADDITIONAL, &terminal.additional);
    store.set(tag::VERSION, &terminal.version);
    store.set(tag::SERIAL, &terminal.serial);
    store.set(0x81, &u32::try_from(params.amount).unwrap_or(u32::MAX).to_be_bytes());
    if !terminal.merchant_name.is_empty() {
        store.set(tag::MERCHANT, terminal.merchant_name.as_bytes());
    }
    store
}

impl Trans {
    /// Begins with another application of the card: nothing of the one before is left.
    pub(crate) fn forget_application(&mut self, set: &Set) {
        self.store = terminal_data(&self.params, &set.terminal);
    }

    pub(crate) fn new(params: TransParams, set: &Set) -> Self {
        let store = terminal_data(&params, &set.terminal);
        let mode = match params.interface {
            Interface::Contact => EntryMode::Chip,
            Interface::Contactless => EntryMode::QuickPass,
        };
        Self {
            params,
            store,
            tvr: [0; 5],
            tsi: [0; 2],
            tvr_signed: [0; 5],
            cvm: Cvm::NONE,
            cvm_from: 0,
            rule: None,
            mode,
            candidates: Vec::new(),
            app: None,
            aid: Vec::new(),
            label: String::new(),
            preferred_name: None,
            holder_chose: false,
            records: Zeroizing::new(Vec::new()),
            records_bad: false,
            proven: None,
            pdol_data: Vec::new(),
            cdol1_data: Vec::new(),
            kind: None,
            request_left: false,
            issuer: Issuer::Absent,
            script_result: Vec::new(),
            request55: Vec::new(),
            reversal55: None,
        }
    }

    /// Sets a bit of the verification results; bytes count from 1.
    pub(crate) fn found(&mut self, byte: usize, mask: u8) {
        if let Some(bits) = self.tvr.get_mut(byte.saturating_sub(1)) {
            *bits |= mask;
        }
        self.store.set(tag::TVR, &self.tvr);
    }

    /// Sets a bit of the status information.
    pub(crate) fn done(&mut self, mask: u8) {
        if let Some(bits) = self.tsi.first_mut() {
            *bits |= mask;
        }
        self.store.set(tag::TSI, &self.tsi);
    }

    pub(crate) fn set_cvm(&mut self, results: [u8; 3]) {
        self.cvm.results = results;
        self.store.set(tag::CVM_RESULTS, &results);
    }

    /// The bytes of a list, with the results of this moment.
    pub(crate) fn asked(&mut self, list: &[u8]) -> Result<Vec<u8>, Halt> {
        self.store.set(tag::TVR, &self.tvr);
        self.store.set(tag::TSI, &self.tsi);
        self.store.build(list).ok_or_else(|| Halt::terminated(Reason::CardData))
    }

    pub(crate) fn aip(&self) -> [u8; 2] {
        self.store.fixed(tag::AIP).unwrap_or_default()
    }

    pub(crate) fn aip_has(&self, mask: u8) -> bool {
        let [first, _] = self.aip();
        first & mask != 0
    }

    pub(crate) fn cryptogram(&self) -> Option<[u8; 8]> {
        self.store.fixed(tag::CRYPTOGRAM)
    }

    /// Debit or credit, by the last byte of the application's name as the organisation has it (02 credit, 03
    /// quasi-credit).
    pub(crate) fn credit(&self) -> bool {
        let place = if self.aid.starts_with(&crate::params::UNIONPAY_RID) { 7 } else { 6 };
        matches!(self.aid.get(place), Some(0x02 | 0x03))
    }

    pub(crate) fn may_bypass(&self) -> bool {
        match self.params.bypass {
            BypassRule::Always => true,
            BypassRule::Never => false,
            BypassRule::CreditOnly => self.credit(),
        }
    }

    /// Account number: 5A, else what track 2 begins with.
    pub(crate) fn pan(&self) -> Zeroizing<String> {
        if let Some(pan) = self.store.get(tag::PAN) {
            return digits(pan);
        }
        let track = self.track2().unwrap_or_default();
        Zeroizing::new(track.split('D').next().unwrap_or_default().to_owned())
    }

    /// Track 2 with `D`, when the card gave it.
    pub(crate) fn track2(&self) -> Option<Zeroizing<String>> {
        self.store.get(tag::TRACK2).map(digits)
    }

    fn expiry(&self) -> Zeroizing<String> {
        let date = self.store.get(tag::EXPIRY).and_then(|date| date.get(..2)).map(hex::encode);
        let track = || {
            let track = self.track2()?;
            Some(track.split('D').nth(1)?.get(..4)?.to_owned())
        };
        Zeroizing::new(date.or_else(track).unwrap_or_default())
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry { mode: self.mode, pin: self.cvm.pin == PinState::Online }
    }

    /// Field 55 of the request, of this moment.
    pub(crate) fn request(&mut self) -> Vec<u8> {
        self.store.set(tag::TVR, &self.tvr_signed);
        let out = field55::build(&self.store, &field55::REQUEST);
        self.store.set(tag::TVR, &self.tvr);
        out
    }

    /// The request's objects with the last cryptogram, and the response code.
    pub(crate) fn upload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        for wanted in field55::REQUEST.iter().chain(&[tag::ARC]) {
            let value =
                if *wanted == tag::TVR { Some(&self.tvr_signed[..]) } else { self.store.get(*wanted) };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                iso8583::tlv::write(&mut out, *wanted, value);
            }
        }
        out
    }

    /// Field 55 of a reversal, of this moment unless it was fixed before.
    pub(crate) fn reversal(&self, with_atc: bool) -> Vec<u8> {
        if let Some(fixed) = &self.reversal55 {
            return fixed.clone();
        }
        let list: Vec<u32> =
            field55::REVERSAL.into_iter().filter(|wanted| with_atc || *wanted != tag::ATC).collect();
        let mut out = Vec::with_capacity(64);
        for wanted in list {
            let value = match wanted {
                tag::TVR => Some(&self.tvr[..]),
                tag::SCRIPT_RESULT => Some(self.script_result.as_slice()),
                other => self.store.get(other),
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                iso8583::tlv::write(&mut out, wanted, value);
            }
        }
        out
    }

    fn script_report(&self) -> Option<Vec<u8>> {
        if self.script_result.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(96);
        for wanted in field55::SCRIPT_RESULT {
            let value = match wanted {
                tag::TVR => Some(&self.tvr[..]),
                tag::SCRIPT_RESULT => Some(self.script_result.as_slice()),
                other => self.store.get(other),
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                iso8583::tlv::write(&mut out, wanted, value);
            }
        }
        Some(out)
    }

    pub(crate) fn chip_data(&self, with_atc: bool) -> ChipData {
        ChipData {
            field55_request: self.request55.clone(),
            field55_reversal: self.reversal(with_atc),
            field55_script_result: self.script_report(),
            field55_upload: self.upload(),
            sequence: self
                .store
                .get(tag::SEQUENCE)
                .and_then(crate::params::decimal)
                .and_then(|number| u8::try_from(number).ok()),
            aid: self.aid.clone(),
            label: self.label.clone(),
            preferred_name: self.preferred_name.clone(),
            tvr: self.tvr,
            tsi: self.tsi,
            atc: self.store.fixed(tag::ATC),
            un: self.params.unpredictable,
            aip: self.aip(),
            iad: self.store.get(tag::IAD).unwrap_or_default().to_vec(),
            cryptogram: self.cryptogram(),
            cryptogram_name: self.kind.map_or("", Kind::name),
            cvm: self.cvm,
            script_result: (!self.script_result.is_empty()).then(|| self.script_result.clone()),
            pan: CardNumber::Clear(self.pan()),
            track2: self.track2(),
            expiry: self.expiry(),
            entry: self.entry(),
            credit: self.credit(),
        }
    }
}
