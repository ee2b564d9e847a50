//! The contact way, from the common applications to the first cryptogram.

use iso8583::tlv;

use crate::apdu;
use crate::channel::CardChannel;
use crate::cvm::{self, Circumstances, Method};
use crate::data::tag;
use crate::decide::Issuer;
use crate::oda::{self, Trust, Unproven};
use crate::params::Application;
use crate::risk::{self, Service, Wanted};
use crate::select;
use crate::step::{FollowUp, PinState, Reason, StepKind, Upload};
use crate::trans::{Halt, Kind, Set, Trans};

/// Records that a card may have us read: more is a card that has no end.
const RECORDS: usize = 64;

/// Where the straight way pauses.
pub(crate) enum Pause {
    /// The holder chooses.
    Select,
    /// The holder confirms the only candidate.
    Confirm,
    /// The holder enters a PIN.
    Pin { online: bool, tries_left: Option<u8> },
    /// The host is asked.
    Online,
}

/// What comes next: a pause, or an end.
pub(crate) type Went = Result<Pause, Halt>;

/// One payment with its card.
pub(crate) struct Way<'a> {
    pub set: &'a Set,
    pub trans: &'a mut Trans,
    pub card: &'a mut dyn CardChannel,
}

impl Way<'_> {
    pub(crate) fn begin(&mut self) -> Went {
        self.trans.candidates = select::contact(self.set, self.card)?;
        self.choose()
    }

    fn choose(&mut self) -> Went {
        match self.trans.candidates.as_slice() {
            [] => Err(self.no_application()),
            [only] if only.confirm || self.trans.holder_chose => Ok(Pause::Confirm),
            [_] => self.take(0),
            _ => Ok(Pause::Select),
        }
    }

    pub(crate) fn no_application(&self) -> Halt {
        use crate::fallback::{Case, Rules, rule};
        let rules = Rules {
            tries: self.set.terminal.chip_tries,
            without_application: self.set.terminal.fallback_without_application,
        };
        match rule(Case::NoCommonApplication, rules).step() {
            Some(step) => Halt::End(step, Reason::NoCommonApplication),
            None => Halt::terminated(Reason::NoCommonApplication),
        }
    }

    /// The holder's choice.
    pub(crate) fn take_chosen(&mut self, index: usize) -> Went {
        self.trans.holder_chose = true;
        self.take(index)
    }

    /// Takes the application at this place of the list.
    fn take(&mut self, index: usize) -> Went {
        if index >= self.trans.candidates.len() {
            return self.choose();
        }
        let found = self.trans.candidates.remove(index);
        self.trans.forget_application(self.set);
        if !select::last(self.trans, self.set, self.card, &found)? {
            return self.choose();
        }
        let pdol = self.trans.store.get(tag::PDOL).unwrap_or_default().to_vec();
        let data = self.trans.asked(&pdol)?;
        let answer = apdu::processing_options(self.card, &data)?;
        if answer.sw == 0x6985 {
            return self.choose();
        }
        if !answer.ok() {
            return Err(Halt::terminated(Reason::CardData));
        }
        self.trans.pdol_data = data;
        self.options(&answer.data)?;
        self.after_options()
    }

    /// AIP and AFL out of either form of the answer.
    pub(crate) fn options(&mut self, data: &[u8]) -> Result<(), Halt> {
        let broken = || Halt::terminated(Reason::CardData);
        if let Some(value) = tlv::find(data, 0x80).ok().flatten() {
            let (aip, afl) = value.split_first_chunk::<2>().ok_or_else(broken)?;
            self.trans.store.set(tag::AIP, aip);
            self.trans.store.set(tag::AFL, afl);
        } else if !self.trans.store.take(data) {
            return Err(broken());
        }
        if self.trans.store.fixed::<2>(tag::AIP).is_none() {
            return Err(broken());
        }
        Ok(())
    }

    pub(crate) fn after_options(&mut self) -> Went {
        self.read_records()?;
        for wanted in [tag::PAN, tag::EXPIRY, tag::CDOL1, tag::CDOL2] {
            if self.trans.store.get(wanted).is_none() {
                return Err(Halt::terminated(Reason::CardData));
            }
        }
        self.authenticate_data()?;
        self.restrict();
        self.begin_cvm()
    }

    /// Reads what the AFL names.
    pub(crate) fn read_records(&mut self) -> Result<(), Halt> {
        let broken = || Halt::terminated(Reason::CardData);
        let afl = self.trans.store.get(tag::AFL).unwrap_or_default().to_vec();
        let (entries, rest) = afl.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(broken());
        }
        let mut read = 0_usize;
        for [sfi, first, last, signed] in entries {
            let sfi = sfi >> 3;
            let count = usize::from(last.saturating_sub(*first)) + 1;
            if sfi == 0 || *first == 0 || last < first || usize::from(*signed) > count {
                return Err(broken());
            }
            for (at, number) in (*first..=*last).enumerate() {
                read += 1;
                if read > RECORDS {
                    return Err(broken());
                }
                let record = apdu::read_record(self.card, sfi, number)?;
                if !record.ok() {
                    return Err(broken());
                }
                self.take_record(sfi, &record.data, at < usize::from(*signed))?;
            }
        }
        Ok(())
    }

    fn take_record(&mut self, sfi: u8, record: &[u8], signed: bool) -> Result<(), Halt> {
        let content = match tlv::iter(record).next() {
            Some(Ok(item)) if item.tag == 0x70 => Some(item.value),
            _ => None,
        };
        if sfi <= 10 && content.is_none() {
            if signed {
                self.trans.records_bad = true;
            }
            return Err(Halt::terminated(Reason::CardData));
        }
        if signed {
            match content {
                Some(content) if sfi <= 10 => self.trans.records.extend_from_slice(content),
                Some(_) => self.trans.records.extend_from_slice(record),
                None => self.trans.records_bad = true,
            }
        }
        match content {
            Some(content) if !self.trans.store.take(content) => Err(Halt::terminated(Reason::CardData)),
            _ => Ok(()),
        }
    }

    // Authentication of the card's data

    fn authenticate_data(&mut self) -> Result<(), Halt> {
        let [.., can] = self.set.terminal.capabilities;
        let trust = Trust { keys: &self.set.tables.keys, revoked: &self.set.revoked };
        let bad = self.trans.records_bad;
        if self.trans.aip_has(0x01) && can & 0x08 != 0 {
            let proven = if bad {
                Err(Unproven::Wrong)
            } else {
                oda::prove_card(&self.trans.store, &self.trans.aid, &self.trans.records, &trust)
            };
            match proven {
                Ok(proven) => self.trans.proven = Some(proven),
                Err(why) => self.unproven(why, 0x04),
            }
            self.trans.done(0x80);
        } else if self.trans.aip_has(0x20) && can & 0x40 != 0 {
            if let Err(why) = self.dynamic(&trust, bad)? {
                self.unproven(why, 0x08);
            }
            self.trans.done(0x80);
        } else if self.trans.aip_has(0x40) && can & 0x80 != 0 {
            let proven = if bad {
                Err(Unproven::Wrong)
            } else {
                oda::prove_static(&self.trans.store, &self.trans.aid, &self.trans.records, &trust)
            };
            match proven {
                Ok(code) => self.trans.store.set(0x9F45, &code),
                Err(why) => self.unproven(why, 0x40),
            }
            self.trans.done(0x80);
        } else {
            self.trans.found(1, 0x80);
        }
        Ok(())
    }

    fn unproven(&mut self, why: Unproven, bit: u8) {
        if why == Unproven::Missing {
            self.trans.found(1, 0x20);
        }
        self.trans.found(1, bit);
    }

    fn dynamic(&mut self, trust: &Trust<'_>, bad: bool) -> Result<Result<(), Unproven>, Halt> {
        if bad {
            return Ok(Err(Unproven::Wrong));
        }
        let proven = match oda::prove_card(&self.trans.store, &self.trans.aid, &self.trans.records, trust) {
            Ok(proven) => proven,
            Err(why) => return Ok(Err(why)),
        };
        let usual = self.trans.app.as_ref().map(|app| app.ddol.clone()).unwrap_or_default();
        let ddol = self.trans.store.get(tag::DDOL).map_or(usual, <[u8]>::to_vec);
        let asks =
            crate::data::parse_dol(&ddol).is_some_and(|list| list.iter().any(|(tag, _)| *tag == tag::UN));
        if !asks {
            return Ok(Err(Unproven::Wrong));
        }
        let data = self.trans.asked(&ddol)?;
        let answer = apdu::internal_authenticate(self.card, &data)?;
        if !answer.ok() {
            return Ok(Err(Unproven::Wrong));
        }
        let plain = tlv::find(&answer.data, 0x80).ok().flatten();
        let inside = || tlv::find(tlv::find(&answer.data, 0x77).ok().flatten()?, tag::SDAD).ok().flatten();
        let Some(signature) = plain.or_else(inside) else { return Ok(Err(Unproven::Wrong)) };
        Ok(proven.signed(signature, &data).map(|number| self.trans.store.set(0x9F4C, &number)))
    }

    // Restrictions

    pub(crate) fn restrict(&mut self) {
        let version = self.trans.app.as_ref().map(|app| app.version);
        let other =
            self.trans.store.get(tag::VERSION_CARD).zip(version).is_some_and(|(card, ours)| card != ours);
        if other {
            self.trans.found(2, 0x80);
        }
        let usage = self.trans.store.fixed::<2>(tag::USAGE);
        let issuer = self.trans.store.fixed::<2>(0x5F28);
        if let (Some(usage), Some(issuer)) = (usage, issuer) {
            let service = if self.trans.params.kind == 0x01 { Service::Cash } else { Service::Goods };
            let domestic = issuer == self.set.terminal.country;
            let atm = matches!(self.set.terminal.terminal_type, 0x14..=0x16);
            if !risk::usage_allows(usage, service, domestic, atm, self.trans.params.kind == 0x09) {
                self.trans.found(2, 0x10);
            }
        }
        let today = century(self.trans.params.date);
        if self.trans.store.fixed(tag::EFFECTIVE).is_some_and(|date| century(date) > today) {
            self.trans.found(2, 0x20);
        }
        if self.trans.store.fixed(tag::EXPIRY).is_some_and(|date| century(date) < today) {
            self.trans.found(2, 0x40);
        }
        let pan = self.trans.pan();
        if self.trans.params.black_list.iter().any(|listed| listed.as_str() == pan.as_str()) {
            self.trans.found(1, 0x10);
        }
    }

    // Verification of the holder

    fn circumstances(&self) -> Circumstances {
        let [_, can, _] = self.set.terminal.capabilities;
        let app = self.trans.app.as_ref();
        let card_currency = self.trans.store.fixed::<2>(tag::CARD_CURRENCY);
        Circumstances {
            amount: self.trans.params.amount,
            same_currency: card_currency == Some(self.trans.params.currency),
            unattended: matches!(self.set.terminal.terminal_type & 0x0F, 0x04..=0x06),
            cash: self.trans.params.kind == 0x01,
            cashback: self.trans.params.kind == 0x09,
            online_pin: can & 0x40 != 0
                && app.is_some_and(|app| app.online_pin)
                && self.trans.params.pin_allowed,
            plain_pin: can & 0x80 != 0 && self.set.terminal.pin_offline && self.trans.params.pin_allowed,
            signature: can & 0x20 != 0,
            none: can & 0x08 != 0,
            identity: can & 0x01 != 0,
        }
    }

    fn begin_cvm(&mut self) -> Went {
        if !self.trans.aip_has(0x10) {
            self.trans.set_cvm([0x3F, 0x00, 0x00]);
            return self.after_cvm();
        }
        if self.trans.store.get(tag::CVM_LIST).is_none() {
            self.trans.found(1, 0x20);
        }
        self.trans.cvm_from = 0;
        self.go_on_cvm()
    }

    pub(crate) fn go_on_cvm(&mut self) -> Went {
        let here = self.circumstances();
        let list = self.trans.store.get(tag::CVM_LIST).unwrap_or_default().to_vec();
        while let Some((rule, next)) = cvm::next_rule(&list, self.trans.cvm_from, &here) {
            self.trans.cvm_from = next;
            let results = |result| [rule.code, rule.condition, result];
            match rule.method(&here) {
                Method::OnlinePin => {
                    self.trans.rule = Some(rule);
                    return Ok(Pause::Pin { online: true, tries_left: None });
                }
                Method::PlainPin { .. } => {
                    self.trans.rule = Some(rule);
                    match self.tries_left()? {
                        Some(0) => self.trans.found(3, 0x20),
                        tries_left => return Ok(Pause::Pin { online: false, tries_left }),
                    }
                }
                Method::Signature => {
                    self.trans.cvm.signature = true;
                    self.trans.set_cvm(results(0x00));
                    return self.verified();
                }
                Method::NoneNeeded => {
                    self.trans.set_cvm(results(0x02));
                    return self.verified();
                }
                Method::Identity => {
                    self.trans.set_cvm(results(0x00));
                    return self.verified();
                }
                Method::Fail => {
                    self.trans.set_cvm(results(0x01));
                    self.trans.found(3, 0x80);
                    return self.verified();
                }
                Method::Unknown => self.trans.found(3, 0x40),
                Method::Unsupported { pin: true } => self.trans.found(3, 0x10),
                Method::Unsupported { pin: false } => {}
            }
            if !rule.goes_on() {
                break;
            }
        }
        self.failed_cvm()
    }

    fn failed_cvm(&mut self) -> Went {
        let results = self.trans.rule.map_or([0x3F, 0x00, 0x01], |rule| [rule.code, rule.condition, 0x01]);
        self.trans.set_cvm(results);
        self.trans.found(3, 0x80);
        self.verified()
    }

    fn verified(&mut self) -> Went {
        self.trans.done(0x40);
        self.after_cvm()
    }

    fn tries_left(&mut self) -> Result<Option<u8>, Halt> {
        let answer = apdu::get_data(self.card, 0x9F17)?;
        if !answer.ok() {
            return Ok(None);
        }
        Ok(match tlv::find(&answer.data, tag::PIN_TRIES) {
            Ok(Some([tries])) => Some(*tries),
            _ => None,
        })
    }

    /// The PIN pad holds a block for the host.
    pub(crate) fn pin_entered(&mut self) -> Went {
        let Some(rule) = self.trans.rule else { return self.failed_cvm() };
        self.trans.cvm.pin = PinState::Online;
        self.trans.found(3, 0x04);
        self.trans.set_cvm([rule.code, rule.condition, 0x00]);
        self.verified()
    }

    /// No PIN: the holder pressed confirm (08), or the pad failed (10).
    pub(crate) fn pin_missing(&mut self, bit: u8) -> Went {
        self.trans.found(3, bit);
        if bit == 0x08 {
            self.trans.cvm.pin = PinState::Bypassed;
        }
        if self.trans.rule.is_some_and(cvm::Rule::goes_on) { self.go_on_cvm() } else { self.failed_cvm() }
    }

    /// Digits for the card.
    pub(crate) fn pin_for_card(&mut self, pin: &str) -> Went {
        let Some(rule) = self.trans.rule else { return self.failed_cvm() };
        let mut block = zeroize::Zeroizing::new([0_u8; 8]);
        let good = (4..=12).contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_digit());
        let text = zeroize::Zeroizing::new(format!("2{:X}{pin:F<14}", pin.len()));
        if !good || hex::decode_to_slice(text.as_bytes(), &mut *block).is_err() {
            return Ok(Pause::Pin { online: false, tries_left: self.tries_left()? });
        }
        let answer = apdu::verify(self.card, &block)?;
        match answer.sw {
            0x9000 => {
                self.trans.cvm.pin = PinState::Offline;
                self.trans.cvm.signature = rule.code & 0x3F == 0x03;
                self.trans.set_cvm([rule.code, rule.condition, 0x02]);
                self.verified()
            }
            0x63C1..=0x63CF => {
                let tries_left = u8::try_from(answer.sw & 0x0F).ok();
                Ok(Pause::Pin { online: false, tries_left })
            }
            _ => {
                self.trans.found(3, 0x20);
                if rule.goes_on() { self.go_on_cvm() } else { self.failed_cvm() }
            }
        }
    }

    // Risk and the first cryptogram

    fn counter(&mut self, wanted: u16) -> Result<Option<u16>, Halt> {
        let answer = apdu::get_data(self.card, wanted)?;
        if !answer.ok() {
            return Ok(None);
        }
        Ok(match tlv::find(&answer.data, u32::from(wanted)) {
            Ok(Some([high, low])) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        })
    }

    fn manage_risk(&mut self, app: &Application) -> Result<(), Halt> {
        let amount = self.trans.params.amount;
        let (atc, last) = (self.counter(0x9F36)?, self.counter(0x9F13)?);
        if amount >= app.floor {
            self.trans.found(4, 0x80);
        } else if risk::chosen(amount, app.floor, app, self.trans.params.draw) {
            self.trans.found(4, 0x10);
        }
        if self.trans.params.force_online {
            self.trans.found(4, 0x08);
        }
        let limit = |wanted| self.trans.store.fixed::<1>(wanted).map(|[value]| value);
        let limits = limit(tag::LOWER).zip(limit(tag::UPPER));
        let (lower, upper, new) = risk::velocity(atc, last, limits);
        for (is, byte, bit) in [(lower, 4, 0x40), (upper, 4, 0x20), (new, 2, 0x08)] {
            if is {
                self.trans.found(byte, bit);
            }
        }
        if let Some(atc) = atc {
            self.trans.store.set(tag::ATC, &atc.to_be_bytes());
        }
        if let Some(last) = last {
            self.trans.store.set(tag::LAST_ONLINE, &last.to_be_bytes());
        }
        self.trans.done(0x08);
        Ok(())
    }

    fn after_cvm(&mut self) -> Went {
        let Some(app) = self.trans.app.clone() else { return Err(Halt::terminated(Reason::CardData)) };
        if self.trans.aip_has(0x08) {
            self.manage_risk(&app)?;
        }
        let code = |wanted, absent: [u8; 5]| self.trans.store.fixed(wanted).unwrap_or(absent);
        let iac = (code(tag::IAC_DENIAL, [0x00; 5]), code(tag::IAC_ONLINE, [0xFF; 5]));
        let wanted = risk::analyse(self.trans.tvr, &app, iac, self.set.terminal.online_only);
        let list = self.trans.store.get(tag::CDOL1).unwrap_or_default().to_vec();
        let data = self.trans.asked(&list)?;
        self.trans.cdol1_data.clone_from(&data);
        self.trans.tvr_signed = self.trans.tvr;
        let p1 = match wanted {
            Wanted::Aac => 0x00,
            Wanted::Tc => 0x40,
            Wanted::Arqc => 0x80,
        };
        let combined = self.trans.proven.is_some() && wanted != Wanted::Aac;
        let answer = apdu::generate_ac(self.card, p1 | if combined { 0x10 } else { 0x00 }, &data)?;
        if !answer.ok() {
            return Err(Halt::terminated(Reason::CardData));
        }
        let kind = self.take_cryptogram(&answer.data, None)?;
        self.trans.done(0x20);
        let raised = match wanted {
            Wanted::Aac => kind != Kind::Aac,
            Wanted::Arqc => kind == Kind::Tc,
            Wanted::Tc => false,
        };
        if raised {
            return Err(Halt::terminated(Reason::IllegalAnswer));
        }
        let [first, ..] = self.trans.tvr;
        if combined && first & 0x04 != 0 {
            return self.signature_wrong(kind);
        }
        match kind {
            Kind::Aac => {
                let reason =
                    if wanted == Wanted::Aac { Reason::TerminalDeclines } else { Reason::CardDeclines };
                Err(self.declined_offline(reason))
            }
            Kind::Tc => {
                self.trans.store.set(tag::ARC, b"Y1");
                let cryptogram = self.trans.cryptogram().unwrap_or_default();
                let step = StepKind::Approved {
                    offline: true,
                    cryptogram,
                    field55: self.trans.upload(),
                    arpc_failed: false,
                    cvm: self.trans.cvm,
                    follow_up: FollowUp { upload: Upload::Offline, ..FollowUp::default() },
                };
                Err(Halt::End(step, Reason::Normal))
            }
            Kind::Arqc => {
                self.trans.request55 = self.trans.request();
                self.trans.request_left = true;
                Ok(Pause::Online)
            }
        }
    }

    fn declined_offline(&mut self, reason: Reason) -> Halt {
        self.trans.store.set(tag::ARC, b"Z1");
        let step = StepKind::Declined {
            offline: true,
            cryptogram: self.trans.cryptogram(),
            field55: self.trans.upload(),
            follow_up: FollowUp::default(),
        };
        Halt::End(step, reason)
    }

    /// The signature over the first cryptogram is wrong: a card that wants to go online is told that it is over.
    fn signature_wrong(&mut self, kind: Kind) -> Went {
        if kind == Kind::Arqc {
            self.trans.store.set(tag::ARC, b"Z1");
            let list = self.trans.store.get(tag::CDOL2).unwrap_or_default().to_vec();
            let data = self.trans.asked(&list)?;
            if let Ok(answer) = apdu::generate_ac(self.card, 0x00, &data)
                && answer.ok()
            {
                self.trans.tvr_signed = self.trans.tvr;
                let _ = self.take_cryptogram(&answer.data, Some(&data));
            }
        }
        Err(self.declined_offline(Reason::SignatureWrong))
    }

    /// Takes the answer of GENERATE AC, either form, and checks the signature when there is one (CDA). `second` is the
    /// data of the second command.
    pub(crate) fn take_cryptogram(&mut self, data: &[u8], second: Option<&[u8]>) -> Result<Kind, Halt> {
        let illegal = || Halt::terminated(Reason::IllegalAnswer);
        self.trans.store.remove(tag::CRYPTOGRAM);
        self.trans.kind = None;
        let (cid, signature) = if let Some(value) = tlv::find(data, 0x80).ok().flatten() {
            let (head, rest) = value.split_first_chunk::<3>().ok_or_else(illegal)?;
            let (cryptogram, iad) = rest.split_first_chunk::<8>().ok_or_else(illegal)?;
            let [cid, atc @ ..] = *head;
            self.trans.store.set(tag::ATC, &atc);
            self.trans.store.set(tag::CRYPTOGRAM, cryptogram);
            if iad.is_empty() {
                self.trans.store.remove(tag::IAD);
            } else {
                self.trans.store.set(tag::IAD, iad);
            }
            (cid, None)
        } else {
            let content = tlv::find(data, 0x77).ok().flatten().ok_or_else(illegal)?;
            let mut covered = Vec::new();
            let (mut cid, mut signature) = (None, None);
            for item in tlv::iter(content) {
                let item = item.map_err(|_| illegal())?;
                match (item.tag, item.value) {
                    (tag::SDAD, value) => {
                        signature = Some(value.to_vec());
                        continue;
                    }
                    (tag::CID, [value]) => cid = Some(*value),
                    (tag::ATC | tag::CRYPTOGRAM | tag::IAD, value) => self.trans.store.set(item.tag, value),
                    _ => {}
                }
                tlv::write(&mut covered, item.tag, item.value);
            }
            let cid = cid.ok_or_else(illegal)?;
            (cid, signature.map(|signature| (signature, covered)))
        };
        let kind = Kind::from_cid(cid).ok_or_else(illegal)?;
        self.trans.store.set(tag::CID, &[cid]);
        if let Some((signature, covered)) = signature {
            let mut transaction = self.trans.pdol_data.clone();
            transaction.extend(&self.trans.cdol1_data);
            transaction.extend(second.unwrap_or_default());
            transaction.extend(covered);
            let un = self.trans.params.unpredictable;
            let proven = self
                .trans
                .proven
                .as_ref()
                .map(|key| key.signed_cryptogram(&signature, un, &transaction, cid));
            match proven {
                Some(Ok(cryptogram)) => self.trans.store.set(tag::CRYPTOGRAM, &cryptogram),
                _ => self.trans.found(1, 0x04),
            }
        } else if self.trans.proven.is_some() && kind != Kind::Aac {
            // A signature was asked for.
            self.trans.found(1, 0x04);
        }
        let [first, ..] = self.trans.tvr;
        if self.trans.cryptogram().is_none() && first & 0x04 == 0 {
            return Err(illegal());
        }
        self.trans.kind = Some(kind);
        Ok(kind)
    }

    pub(crate) fn issuer_is_wrong(&self) -> bool {
        self.trans.issuer == Issuer::Wrong
    }
}

/// YYMMDD as a number that orders: years below 50 are of this century.
fn century(date: [u8; 3]) -> (u8, [u8; 3]) {
    let [year, ..] = date;
    (if year < 0x50 { 1 } else { 0 }, date)
}
