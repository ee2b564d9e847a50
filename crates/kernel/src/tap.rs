//! quickPass: one tap, one question, one answer.

use crate::apdu;
use crate::channel::ChannelError;
use crate::contact::{Pause, Way, Went};
use crate::data::tag;
use crate::oda::{self, Trust, Unproven};
use crate::params::{Application, QuickPass};
use crate::select;
use crate::step::{EntryMode, FollowUp, Other, PinState, Reason, StepKind, TransParams, Upload};
use crate::trans::{Halt, Kind, Set};

/// The yuan.
const CNY: [u8; 2] = [0x01, 0x56];
/// 9C of a balance inquiry, which has no amount.
const BALANCE: u8 = 0x31;

/// What the small-amount rule (小额免密免签) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pin,
    None,
    OnDevice,
}

/// The card's side of the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tapped<'a> {
    /// 9F6C.
    pub ctq: [u8; 2],
    pub pan: &'a str,
    pub credit: bool,
    pub foreign: bool,
}

/// Whether a tap needs a PIN; the order of the tests is the rule's.
pub(crate) fn small_amount(rule: &QuickPass, params: &TransParams, card: &Tapped<'_>) -> Verdict {
    let [first, second] = card.ctq;
    let listed = |table: &[String]| table.iter().any(|prefix| card.pan.starts_with(prefix.as_str()));
    if first & 0x80 != 0 {
        return Verdict::Pin;
    }
    let foreign = params.currency != CNY || card.foreign;
    if !rule.no_pin || params.kind != 0x00 || (foreign && !rule.foreign) {
        return Verdict::Pin;
    }
    if second & 0x80 != 0 && rule.on_device {
        return Verdict::OnDevice;
    }
    let counts = if rule.pilot_1 {
        listed(&rule.table_a)
    } else if rule.pilot_2 {
        card.credit || listed(&rule.table_b)
    } else {
        true
    };
    if counts && params.amount <= rule.no_pin_limit { Verdict::None } else { Verdict::Pin }
}

/// Whether the amount is above what any application takes over the antenna: said before the field is on.
pub(crate) fn too_much(set: &Set, params: &TransParams) -> bool {
    let apps = &set.tables.applications;
    (params.amount == 0 && params.kind != BALANCE)
        || (!apps.is_empty()
            && apps.iter().all(|app| app.contactless_limit.is_some_and(|limit| params.amount > limit)))
}

/// 9F66 of this payment.
pub(crate) fn qualifiers(set: &Set, params: &TransParams, app: &Application) -> [u8; 4] {
    let rule = &set.quickpass;
    let over = |limit: Option<u64>| limit.is_some_and(|limit| params.amount > limit);
    let [one, mut two, three, four] = rule.ttq;
    let always = rule.always_online || set.terminal.online_only;
    if always || params.force_online || params.kind == BALANCE || over(app.contactless_floor) {
        two |= 0x80;
    }
    if over(app.contactless_cvm) || params.amount > rule.no_pin_limit {
        two |= 0x40;
    }
    [one, two, three, four]
}

impl Way<'_> {
    /// The tap, up to the pause for PIN or host.
    pub(crate) fn tap(&mut self) -> Went {
        self.trans.candidates = select::tap(self.set, self.card)?;
        loop {
            if self.trans.candidates.is_empty() {
                return Err(self.no_application());
            }
            let found = self.trans.candidates.remove(0);
            self.trans.forget_application(self.set);
            if !select::last(self.trans, self.set, self.card, &found)? {
                continue;
            }
            let Some(app) = self.trans.app.clone() else { continue };
            if app.contactless_limit.is_some_and(|limit| self.trans.params.amount > limit) {
                return Err(insert(Reason::ContactlessLimit));
            }
            let ttq = qualifiers(self.set, &self.trans.params, &app);
            self.trans.store.set(tag::TTQ, &ttq);
            let pdol = self.trans.store.get(tag::PDOL).unwrap_or_default().to_vec();
            let quick = crate::data::parse_dol(&pdol)
                .is_some_and(|list| list.iter().any(|(asked, _)| *asked == tag::TTQ));
            if !quick && !self.set.quickpass.full_contactless {
                return Err(insert(Reason::CardWantsContact));
            }
            let data = self.trans.asked(&pdol)?;
            let answer = apdu::processing_options(self.card, &data)?;
            if answer.sw == 0x6985 {
                continue;
            }
            if !answer.ok() {
                return Err(insert(Reason::CardData));
            }
            self.trans.pdol_data = data;
            self.trans.tvr_signed = self.trans.tvr;
            self.options(&answer.data).map_err(|_| insert(Reason::CardData))?;
            if answer.data.first() == Some(&0x80) {
                return self.full_way();
            }
            return self.result();
        }
    }

    /// The card goes the full way, as in the slot.
    fn full_way(&mut self) -> Went {
        if !self.set.quickpass.full_contactless {
            return Err(insert(Reason::CardWantsContact));
        }
        self.trans.mode = EntryMode::FullContactless;
        self.after_options()
    }

    fn ctq(&self) -> [u8; 2] {
        self.trans.store.fixed(tag::CTQ).unwrap_or_default()
    }

    /// What the one answer says.
    fn result(&mut self) -> Went {
        let kind = match self.trans.store.get(tag::CID) {
            Some([cid]) => Kind::from_cid(*cid),
            _ => match self.trans.store.get(tag::IAD).and_then(|iad| iad.get(4)).map(|bits| bits & 0x30) {
                Some(0x00) => Some(Kind::Aac),
                Some(0x10) => Some(Kind::Tc),
                Some(0x20) => Some(Kind::Arqc),
                _ => None,
            },
        };
        let Some(kind) = kind else { return Err(insert(Reason::IllegalAnswer)) };
        let needed: &[u32] = match kind {
            Kind::Tc => &[tag::AIP, tag::AFL, tag::ATC, tag::CRYPTOGRAM, tag::IAD],
            Kind::Arqc | Kind::Aac => &[tag::AIP, tag::ATC, tag::TRACK2, tag::IAD, tag::CRYPTOGRAM],
        };
        if needed.iter().any(|wanted| self.trans.store.get(*wanted).is_none())
            || self.trans.cryptogram().is_none()
        {
            return Err(insert(Reason::CardData));
        }
        let asked_online = self.trans.store.fixed::<4>(tag::TTQ).is_some_and(|[_, two, ..]| two & 0x80 != 0);
        if kind == Kind::Tc && asked_online {
            return Err(insert(Reason::IllegalAnswer)); // a card may lower what it is asked for, never raise it
        }
        let cid = match kind {
            Kind::Aac => 0x00,
            Kind::Tc => 0x40,
            Kind::Arqc => 0x80,
        };
        self.trans.store.set(tag::CID, &[cid]);
        self.trans.kind = Some(kind);
        match kind {
            Kind::Aac => Err(self.tap_declined(Reason::CardDeclines)),
            Kind::Arqc => self.tap_holder(),
            Kind::Tc => self.certificate(),
        }
    }

    fn tap_declined(&mut self, reason: Reason) -> Halt {
        self.trans.store.set(tag::ARC, b"Z1");
        let step = StepKind::Declined {
            offline: true,
            cryptogram: self.trans.cryptogram(),
            field55: self.trans.upload(),
            follow_up: FollowUp::default(),
        };
        Halt::End(step, reason)
    }

    /// The card approved: its records, its signature, the restrictions.
    fn certificate(&mut self) -> Went {
        match self.read_records() {
            Ok(()) => {}
            // Whether the card has counted the payment is unknown: the same card is asked for.
            Err(Halt::Channel(ChannelError::Removed | ChannelError::Comm | ChannelError::Mute)) => {
                return Err(Halt::End(StepKind::TryOther(Other::Contactless), Reason::Torn));
            }
            Err(_) => return Err(insert(Reason::CardData)),
        }
        self.restrict();
        let [one, _] = self.ctq();
        if let Err(why) = self.fast_signature() {
            if why == Unproven::Missing {
                self.trans.found(1, 0x20);
            }
            self.trans.found(1, 0x08);
            self.trans.done(0x80);
            return match one {
                _ if one & 0x20 != 0 => self.tap_holder(),
                _ if one & 0x10 != 0 => Err(insert(Reason::SignatureWrong)),
                _ => Err(self.tap_declined(Reason::SignatureWrong)),
            };
        }
        self.trans.done(0x80);
        let [first, second, ..] = self.trans.tvr;
        if second & 0x40 != 0 && one & 0x08 != 0 {
            return self.tap_holder();
        }
        if first & 0x10 != 0 || second & 0x70 != 0 {
            return Err(self.tap_declined(Reason::NotAllowed));
        }
        self.tap_holder()
    }

    fn fast_signature(&mut self) -> Result<(), Unproven> {
        let trust = Trust { keys: &self.set.tables.keys, revoked: &self.set.revoked };
        if self.trans.records_bad {
            return Err(Unproven::Wrong);
        }
        let signature = self.trans.store.get(tag::SDAD).ok_or(Unproven::Missing)?.to_vec();
        let key = oda::prove_card(&self.trans.store, &self.trans.aid, &self.trans.records, &trust)?;
        let mut also = self.trans.params.unpredictable.to_vec();
        if let Some(related) = self.trans.store.get(tag::CARD_AUTH)
            && related.first() == Some(&0x01)
        {
            also.extend(self.trans.store.get(tag::AMOUNT).unwrap_or_default());
            also.extend(self.trans.store.get(tag::CURRENCY).unwrap_or_default());
            also.extend(related);
        }
        key.signed(&signature, &also).map(|number| self.trans.store.set(0x9F4C, &number))
    }

    /// Who holds the card.
    fn tap_holder(&mut self) -> Went {
        let rule = &self.set.quickpass;
        let pan = self.trans.pan();
        let issuer = self.trans.store.fixed::<2>(0x5F28);
        let card = Tapped {
            ctq: self.ctq(),
            pan: pan.as_str(),
            credit: self.trans.credit(),
            foreign: issuer.is_some_and(|country| country != self.set.terminal.country),
        };
        let [first, _] = card.ctq;
        let verdict = small_amount(rule, &self.trans.params, &card);
        let small = self.trans.params.amount <= rule.no_signature_limit && rule.no_signature;
        match verdict {
            Verdict::Pin => {
                self.trans.cvm.signature = first & 0x40 != 0;
                if self.trans.params.pin_allowed {
                    return Ok(Pause::Pin { online: true, tries_left: None });
                }
                Err(insert(Reason::NotAllowed))
            }
            Verdict::None | Verdict::OnDevice => {
                self.trans.cvm.on_device = verdict == Verdict::OnDevice;
                self.trans.cvm.small_amount = small;
                self.trans.cvm.signature = !small;
                self.trans.set_cvm([0x1F, 0x00, 0x02]);
                self.tap_go_on()
            }
        }
    }

    pub(crate) fn tap_pin(&mut self, entered: bool) -> Went {
        if entered {
            self.trans.cvm.pin = PinState::Online;
            self.trans.set_cvm([0x42, 0x03, 0x00]);
        } else {
            self.trans.cvm.pin = PinState::Bypassed;
            self.trans.cvm.signature = true;
            self.trans.set_cvm([0x1E, 0x03, 0x00]);
        }
        self.tap_go_on()
    }

    /// To the host; or, when the card approved and nothing speaks against it, to the end.
    fn tap_go_on(&mut self) -> Went {
        let unproven = self.trans.tvr != [0; 5];
        if self.trans.kind == Some(Kind::Tc) && self.trans.cvm.pin == PinState::NotAsked && !unproven {
            self.trans.store.set(tag::ARC, b"Y1");
            let step = StepKind::Approved {
                offline: true,
                cryptogram: self.trans.cryptogram().unwrap_or_default(),
                field55: self.trans.upload(),
                arpc_failed: false,
                cvm: self.trans.cvm,
                follow_up: FollowUp { upload: Upload::Offline, ..FollowUp::default() },
            };
            return Err(Halt::End(step, Reason::Normal));
        }
        self.trans.request55 = self.trans.request();
        self.trans.request_left = true;
        Ok(Pause::Online)
    }
}

/// Please insert the card. Never a fallback.
fn insert(reason: Reason) -> Halt {
    Halt::End(StepKind::TryOther(Other::Contact), reason)
}
