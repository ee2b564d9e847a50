//! The network's own record and the rules between transactions: a pure state machine.
//!
//! [`Network::apply`] takes an event and the moment and returns the answer; it does no I/O, reads no clock and
//! draws no random numbers, so the same events give the same books. What cryptography found is part of the
//! event.
//!
//! Money follows state. For each sale, completion and pre-authorisation the present position on the card is a
//! function of what stands (approved, voided, refunded, reversed); after a change the difference to what has
//! been posted is posted. So whatever order voids, refunds and reversals arrive in, nothing moves twice.

mod reversal;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::deck::CardSpec;
use crate::growing::Growing;
use crate::issuer::{Card, ChipFact, PinFact, Policy, Presented, TrackFact};
use crate::kinds::{self, CardCheck, Effect, Kind};
use crate::ledger::{Account, Ledger};
use crate::time::{Moment, SettleDate};

/// What makes a request unique toward the network: fields 7, 11, 32 and 33, institutions without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct TraceKey {
    /// Field 7.
    pub transmission: String,
    /// Field 11.
    pub trace: u32,
    /// Field 32.
    pub acquirer: String,
    /// Field 33.
    pub forwarder: String,
}

/// A key within its class: an 0420 may carry the trace and second of the 0200 it undoes.
pub type ClassKey = (u16, TraceKey);

/// A financial request with what was found out about it outside the core.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// MTI as received; a repeat has its last digit set.
    pub mti: u16,
    /// Fields 7, 11, 32, 33.
    pub key: TraceKey,
    /// Field 3.
    pub processing: u32,
    /// Field 25.
    pub condition: u8,
    /// The card's name in the deck, when there is one.
    pub card: Option<String>,
    /// Name in the deck of the card that a transfer goes to (field 103), when there is one.
    #[serde(default)]
    pub other: Option<String>,
    /// The number begins like this issuer's.
    pub issuer_known: bool,
    /// Masked number, for the record.
    pub pan: String,
    /// Field 4 in fen, 0 when absent.
    pub amount: u64,
    /// Field 22.
    pub entry: u16,
    /// Field 14 or the track's.
    pub expiry: Option<u16>,
    /// Field 41.
    pub terminal: String,
    /// Field 42.
    pub merchant: String,
    /// Field 37.
    pub rrn: String,
    /// Field 38.
    pub auth_code: Option<String>,
    /// Field 90 as class and key.
    pub original: Option<ClassKey>,
    /// What was found about track 2.
    pub track: TrackFact,
    /// What was found about the PIN block.
    pub pin: PinFact,
    /// What was found about the cryptogram.
    pub chip: ChipFact,
    /// Field 48 in hexadecimal, when it is there.
    #[serde(default)]
    pub private: Option<String>,
    /// Tags of field 55 in their order, when it is there; none of one that cannot be read.
    #[serde(default)]
    pub chip_tags: Option<Vec<u32>>,
    /// 60.3.4: the acquirer takes an approval of a part.
    #[serde(default)]
    pub takes_part: bool,
    /// Number of a field that must be there and is not, or does not read.
    pub bad_field: Option<u8>,
    /// Field 128 verified.
    pub mac_good: bool,
    /// A fault rule's decline.
    pub forced: Option<String>,
}

/// What may happen to the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A financial request arrived.
    Request(Box<Request>),
    /// The network turned to another settlement day.
    Cutover {
        /// The new day.
        day: SettleDate,
    },
    /// A card was put back to its opening balance and status.
    ResetCard {
        /// Name in the deck.
        card: String,
    },
}

/// Points of every card at the beginning. Modelled, like their worth: a fen each.
const POINTS_OPENING: i64 = 50_000;

/// Balances for field 54, fen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balances {
    /// What is on the account.
    pub ledger: i64,
    /// What may be spent.
    pub available: i64,
    /// Credit card rather than debit.
    pub credit: bool,
}

/// The network's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Field 39.
    pub code: String,
    /// Field 38, on approvals.
    pub auth_code: Option<String>,
    /// Field 15.
    pub day: SettleDate,
    /// Field 54, on balance inquiries.
    pub balances: Option<Balances>,
    /// Field 4 where a part was approved.
    pub part: Option<u64>,
    /// Points left after a points sale.
    pub points: Option<i64>,
    /// The issuer has verified a cryptogram and authenticates itself in field 55.
    pub authenticate: bool,
    /// The request had been answered before.
    pub repeat: bool,
    /// Number of the transaction in the record; 0 when it is not in it.
    pub txn: u64,
}

/// What stands of a transaction by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Answered with a decline; never had an effect.
    Declined,
    /// Approved, in force.
    Approved,
    /// Approved and reversed later.
    Reversed,
}

/// A transaction in the network's record.
#[derive(Clone, Debug)]
pub struct Txn {
    /// Number in the record, from 1.
    pub id: u64,
    /// The request as it first arrived.
    pub request: Request,
    /// Kind by the table.
    pub kind: Kind,
    /// Field 39 of the answer.
    pub code: String,
    /// Field 38 of the answer.
    pub auth_code: Option<String>,
    /// Settlement day.
    pub day: SettleDate,
    /// What stands.
    pub standing: Standing,
    /// First arrival.
    pub at: Moment,
    /// Latest arrival or change of state.
    pub changed: Moment,
    /// How many times it arrived.
    pub arrivals: u32,
    /// The transaction it acts on.
    pub original: Option<u64>,
    /// Transactions that act on it: voids, refunds, completions.
    pub dependents: Vec<u64>,
    /// Position posted on the card, fen; below zero means taken.
    posted: i64,
    /// Fen posted from the card to its hold.
    held: i64,
    /// The card was reset since: what happens to this transaction moves no money any more.
    detached: bool,
    /// The answer carried issuer authentication.
    authenticate: bool,
    /// Fen, when less than the amount was approved.
    pub part: Option<u64>,
}

/// The network and the issuers behind it.
#[derive(Clone, Debug)]
pub struct Network {
    policy: Policy,
    cards: BTreeMap<String, Card>,
    ledger: Ledger,
    day: SettleDate,
    txns: Growing<Txn>,
    by_key: BTreeMap<ClassKey, usize>,
    by_auth: BTreeMap<(String, String), Vec<usize>>,
    refused: BTreeSet<ClassKey>,
    approvals: u64,
}

/// Response code of an approval.
pub const APPROVED: &str = "00";

type Verdict = Result<Done, &'static str>;

/// What an approval brings along.
#[derive(Default)]
struct Done {
    original: Option<usize>,
    balances: Option<Balances>,
    /// Fen, when less than the amount is approved.
    part: Option<u64>,
}

impl Network {
    /// A network with these cards at their opening balances.
    #[must_use]
    pub fn new(deck: Vec<CardSpec>, policy: Policy, day: SettleDate, at: Moment) -> Self {
        let mut ledger = Ledger::default();
        for spec in &deck {
            ledger.transfer(at, 0, &Account::Capital, &Account::Card(spec.id.clone()), spec.opening);
        }
        Network {
            policy,
            cards: deck.into_iter().map(|spec| (spec.id.clone(), Card::new(spec))).collect(),
            ledger,
            day,
            txns: Growing::default(),
            by_key: BTreeMap::new(),
            by_auth: BTreeMap::new(),
            refused: BTreeSet::new(),
            approvals: 0,
        }
    }

    /// Lets an event happen. Only a request has an answer.
    pub fn apply(&mut self, event: &Event, at: Moment) -> Option<Answer> {
        match event {
            Event::Request(request) => Some(self.request(request, at)),
            Event::Cutover { day } => {
                self.day = *day;
                None
            }
            Event::ResetCard { card } => {
                self.reset_card(card, at);
                None
            }
        }
    }

    /// Whether a request with this class and key has arrived before.
    #[must_use]
    pub fn knows(&self, key: &ClassKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// The present settlement day.
    #[must_use]
    pub fn day(&self) -> SettleDate {
        self.day
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All transactions, oldest first.
    #[must_use]
    pub fn txns(&self) -> &Growing<Txn> {
        &self.txns
    }

    /// All cards by name.
    #[must_use]
    pub fn cards(&self) -> &BTreeMap<String, Card> {
        &self.cards
    }

    /// What a card may spend and has, fen; `None` for a card that is not in the deck.
    #[must_use]
    pub fn balances(&self, card: &str) -> Option<Balances> {
        let spec = &self.cards.get(card)?.spec;
        let free = self.ledger.balance(&Account::Card(card.to_owned()));
        let held = self.ledger.balance(&Account::Hold(card.to_owned()));
        Some(Balances {
            ledger: free.saturating_add(held),
            available: free.saturating_add(spec.limit),
            credit: spec.limit > 0,
        })
    }

    /// Points that a card has left, each worth a fen (modelled).
    #[must_use]
    pub fn points(&self, card: &str) -> i64 {
        POINTS_OPENING.saturating_add(self.ledger.balance(&Account::Points(card.to_owned())))
    }

    fn reset_card(&mut self, id: &str, at: Moment) {
        let Some(card) = self.cards.get_mut(id) else { return };
        card.reset();
        let opening = card.spec.opening;
        let account = Account::Card(id.to_owned());
        let hold = Account::Hold(id.to_owned());
        self.ledger.transfer(at, 0, &hold, &Account::Capital, self.ledger.balance(&hold));
        for other in [Account::Purse(id.to_owned()), Account::Points(id.to_owned())] {
            self.ledger.transfer(at, 0, &other, &Account::Capital, self.ledger.balance(&other));
        }
        let short = opening.saturating_sub(self.ledger.balance(&account));
        self.ledger.transfer(at, 0, &Account::Capital, &account, short);
        // What happened before is no longer on the card: later reversals of it must not move money.
        for txn in self.txns.iter_mut() {
            if [&txn.request.card, &txn.request.other].into_iter().any(|card| card.as_deref() == Some(id)) {
                txn.detached = true;
            }
        }
    }

    fn request(&mut self, request: &Request, at: Moment) -> Answer {
        let class = kinds::class_of(request.mti);
        let key = (class, request.key.clone());
        let line = kinds::find(class, request.processing, request.condition, request.original.is_some());
        let kind = line.map_or(Kind::Unknown, |line| line.kind);
        if self.txns.len() >= self.policy.record_max {
            return self.plain("96", 0);
        }
        if !request.mac_good {
            return self.file(request, kind, Err("A0"), at, false);
        }
        if request.bad_field.is_some() {
            return self.file(request, kind, Err("30"), at, false);
        }
        if let Some(&index) = self.by_key.get(&key) {
            return self.again(index, request, class, at);
        }
        let Some(line) = line else {
            return self.file(request, kind, Err("40"), at, true);
        };
        let verdict = self.judge(request, line, &key, at);
        self.file(request, kind, verdict, at, true)
    }

    /// A key that was seen before: an advice is answered as the first time, a request is refused.
    fn again(&mut self, index: usize, request: &Request, class: u16, at: Moment) -> Answer {
        let Some(txn) = self.txns.get_mut(index) else { return self.plain("96", 0) };
        txn.arrivals = txn.arrivals.saturating_add(1);
        txn.changed = at;
        let first = &txn.request;
        let same = first.processing == request.processing
            && first.amount == request.amount
            && first.pan == request.pan
            && first.merchant == request.merchant
            && first.terminal == request.terminal
            && first.original == request.original;
        let id = txn.id;
        if !kinds::is_advice(class) || !same {
            return self.plain("94", id);
        }
        Answer {
            code: txn.code.clone(),
            auth_code: txn.auth_code.clone(),
            day: txn.day,
            balances: None,
            part: txn.part,
            points: None,
            authenticate: txn.authenticate,
            repeat: true,
            txn: id,
        }
    }

    fn plain(&self, code: &str, txn: u64) -> Answer {
        Answer {
            code: code.to_owned(),
            auth_code: None,
            day: self.day,
            balances: None,
            part: None,
            points: None,
            authenticate: false,
            repeat: txn != 0,
            txn,
        }
    }

    /// Enters the request with its verdict into the record and makes the answer.
    fn file(&mut self, request: &Request, kind: Kind, verdict: Verdict, at: Moment, indexed: bool) -> Answer {
        let index = self.txns.len();
        let id = index as u64 + 1;
        let line = kinds::line_of(kind);
        let effect = line.map(|line| line.effect);
        let (code, done) = match verdict {
            Ok(done) => (if done.part.is_some() { PART } else { APPROVED }, Some(done)),
            Err(code) => (code, None),
        };
        let code = request.forced.as_deref().filter(|_| code == "forced").unwrap_or(code).to_owned();
        let gives_code = effect.is_some_and(|e| !matches!(e, Effect::Undo | Effect::Note | Effect::Inquire));
        let auth_code = (done.is_some() && gives_code).then(|| self.next_auth_code());
        let authenticate = matches!(request.chip, ChipFact::Good { .. })
            && request.mac_good
            && request.bad_field.is_none()
            && line.is_some_and(|line| line.check == CardCheck::Full);
        let balances = done.as_ref().and_then(|d| d.balances);
        let original = done.as_ref().and_then(|d| d.original);
        let part = done.as_ref().and_then(|d| d.part);
        let standing = if done.is_some() { Standing::Approved } else { Standing::Declined };
        self.txns.push(Txn {
            id,
            request: request.clone(),
            kind,
            code: code.clone(),
            auth_code: auth_code.clone(),
            day: self.day,
            standing,
            at,
            changed: at,
            arrivals: 1,
            original: original.map(|i| i as u64 + 1),
            dependents: Vec::new(),
            posted: 0,
            held: 0,
            detached: false,
            authenticate,
            part,
        });
        if indexed {
            self.by_key.insert((kinds::class_of(request.mti), request.key.clone()), index);
        }
        if let (Some(auth), Some(Effect::Hold), Some(card)) = (&auth_code, effect, &request.card) {
            self.by_auth.entry((card.clone(), auth.clone())).or_default().push(index);
        }
        if done.is_some() {
            self.take_effect(index, effect, original, at);
        }
        let spent = effect == Some(Effect::Points) && done.is_some();
        let points = request.card.as_deref().filter(|_| spent).map(|card| self.points(card));
        Answer {
            code,
            auth_code,
            day: self.day,
            balances,
            part,
            points,
            authenticate,
            repeat: false,
            txn: id,
        }
    }

    /// An approved transaction changes the standing of others and the positions that depend on it.
    fn take_effect(&mut self, index: usize, effect: Option<Effect>, original: Option<usize>, at: Moment) {
        let cause = index as u64 + 1;
        match effect {
            Some(Effect::Purchase | Effect::Points) => {
                let day = self.day;
                let card = self.txns.get(index).and_then(|txn| txn.request.card.clone());
                if let Some(card) = card.and_then(|id| self.cards.get_mut(&id)) {
                    card.count(day);
                }
                self.settle(index, cause, at);
            }
            Some(Effect::Undo) => {
                if let Some(original) = original {
                    self.undo(original, cause, at);
                }
            }
            Some(Effect::Cancel(_) | Effect::Repay(_) | Effect::Complete(_) | Effect::Amend(_)) => {
                if let Some(txn) = original.and_then(|i| self.txns.get_mut(i)) {
                    txn.dependents.push(cause);
                    txn.changed = at;
                }
                self.settle(index, cause, at);
            }
            Some(Effect::Advised | Effect::Hold | Effect::Load | Effect::CashLoad) => {
                self.settle(index, cause, at)
            }
            Some(Effect::Inquire | Effect::Note) | None => {}
        }
    }

    fn undo(&mut self, index: usize, cause: u64, at: Moment) {
        let Some(txn) = self.txns.get_mut(index) else { return };
        if txn.standing == Standing::Approved {
            txn.standing = Standing::Reversed;
            txn.changed = at;
            self.settle(index, cause, at);
        }
    }

    fn next_auth_code(&mut self) -> String {
        self.approvals = self.approvals.saturating_add(1);
        // 7919 has no factor in common with a million, so codes repeat only after a million approvals.
        format!("{:06}", self.approvals.wrapping_mul(7919) % 1_000_000)
    }

    fn judge(
        &mut self,
        request: &Request,
        line: &kinds::KindLine,
        key: &ClassKey,
        at: Moment,
    ) -> Result<Done, &'static str> {
        if self.refused.contains(key) {
            return Err("25"); // it was reversed before it arrived
        }
        if line.effect != Effect::Undo && line.effect != Effect::Note {
            if self.policy.refused_merchants.contains(&request.merchant) {
                return Err("03");
            }
            if self.policy.refused_terminals.contains(&request.terminal) {
                return Err("58");
            }
        }
        let forced_part = request.forced.as_deref() == Some(PART);
        if request.forced.is_some() && !forced_part {
            return Err("forced");
        }
        if line.effect == Effect::Undo {
            return self.judge_reversal(request);
        }
        let Some(id) = request.card.as_deref() else {
            return Err(if request.issuer_known { "14" } else { "15" });
        };
        let mut seen = Presented {
            entry: request.entry,
            expiry: request.expiry,
            track: request.track,
            pin: request.pin,
            chip: request.chip,
            amount: request.amount,
        };
        if line.kind == Kind::TransferLoad {
            // The chip is that of the card that is loaded.
            let purse = request.other.as_deref().filter(|other| *other != id).ok_or("14")?;
            let card = self.cards.get_mut(purse).ok_or("14")?;
            let usable = Presented { expiry: None, track: TrackFact::Absent, pin: PinFact::Absent, ..seen };
            card.examine_purse(&usable, &self.policy, at)?;
            seen.chip = ChipFact::Absent;
        }
        let card = self.cards.get_mut(id).ok_or("14")?;
        card.examine(&seen, line.check, &self.policy, at)?;
        let balances = self.balances(id);
        let available = balances.map_or(0, |b| b.available);
        match line.effect {
            Effect::Inquire => Ok(Done { balances, ..Done::default() }),
            Effect::Purchase | Effect::Hold | Effect::Load => {
                let card = self.cards.get(id).ok_or("14")?;
                let left = u64::try_from(available).unwrap_or(0);
                match card.affords(request.amount, available, self.day) {
                    // Half of it, whether the acquirer takes a part or not.
                    Ok(()) if forced_part => Ok(Done { part: Some(request.amount / 2), ..Done::default() }),
                    Err("51") if request.takes_part && left > 0 && line.kind == Kind::Sale => {
                        Ok(Done { part: Some(left), ..Done::default() })
                    }
                    verdict => verdict.map(|()| Done::default()),
                }
            }
            Effect::Points => {
                let left = self.points(id);
                self.cards.get(id).ok_or("14")?.affords(request.amount, left, self.day)?;
                Ok(Done::default())
            }
            Effect::Advised | Effect::CashLoad => {
                if request.amount == 0 {
                    Err("13")
                } else {
                    Ok(Done::default())
                }
            }
            Effect::Cancel(of) => self.judge_void(request, of),
            Effect::Repay(of) => self.judge_refund(request, of),
            Effect::Amend(of) => self.judge_amendment(request, of),
            Effect::Complete(advice) => self.judge_completion(request, id, available, advice),
            Effect::Note => {
                let original = request.original.as_ref().and_then(|key| self.by_key.get(key)).copied();
                original.map(|i| Done { original: Some(i), ..Done::default() }).ok_or("25")
            }
            Effect::Undo => Err("96"),
        }
    }

    /// The approved transaction that field 90 names, with the checks that voids, refunds and reversals share.
    fn named(&self, request: &Request) -> Result<(usize, &Txn), &'static str> {
        let key = request.original.as_ref().ok_or("30")?;
        let index = *self.by_key.get(key).ok_or("25")?;
        let txn = self.txns.get(index).ok_or("25")?;
        if txn.request.pan != request.pan || txn.request.card != request.card {
            return Err("12");
        }
        if txn.request.merchant != request.merchant {
            return Err("12");
        }
        Ok((index, txn))
    }

    fn judge_void(&self, request: &Request, of: &[Kind]) -> Verdict {
        let (index, txn) = self.named(request)?;
        if !of.contains(&txn.kind) {
            return Err("12");
        }
        if txn.standing != Standing::Approved {
            return Err("25");
        }
        if self.policy.void_reference && txn.kind == Kind::Sale && txn.request.rrn != request.rrn {
            return Err("12");
        }
        if self.amount_of(txn) != request.amount {
            return Err("64");
        }
        let used = self.dependents(txn).any(|d| d.kind != Kind::Adjust && self.stands(d.id));
        if used { Err("12") } else { Ok(Done { original: Some(index), ..Done::default() }) }
    }

    fn judge_refund(&self, request: &Request, of: &[Kind]) -> Verdict {
        let (index, txn) = self.named(request)?;
        if !of.contains(&txn.kind) {
            return Err("12");
        }
        if txn.standing != Standing::Approved || self.is_voided(txn) {
            return Err("25");
        }
        if txn.day.days_until(self.day) > self.policy.refund_days {
            return Err("22");
        }
        if request.amount == 0 {
            return Err("13");
        }
        let left = self.amount_of(txn).saturating_sub(self.refunded(txn));
        if request.amount > left { Err("64") } else { Ok(Done { original: Some(index), ..Done::default() }) }
    }

    fn judge_amendment(&self, request: &Request, of: &[Kind]) -> Verdict {
        let (index, txn) = self.named(request)?;
        if !of.contains(&txn.kind) {
            return Err("12");
        }
        if txn.standing != Standing::Approved || self.is_voided(txn) {
            return Err("25");
        }
        if request.amount == 0 || request.amount < self.refunded(txn) {
            return Err("13");
        }
        Ok(Done { original: Some(index), ..Done::default() })
    }

    /// What a transaction comes to: its amount, or what the latest adjustment in force made of it.
    #[must_use]
    pub fn amount_of(&self, txn: &Txn) -> u64 {
        let amended = self.dependents(txn).filter(|d| d.kind == Kind::Adjust && self.stands(d.id)).last();
        amended.map_or(txn.part.unwrap_or(txn.request.amount), |d| d.request.amount)
    }

    fn judge_completion(&self, request: &Request, card: &str, available: i64, advice: bool) -> Verdict {
        let auth = request.auth_code.clone().ok_or("30")?;
        let candidates = self.by_auth.get(&(card.to_owned(), auth)).ok_or("25")?;
        let open = candidates.iter().rev().find_map(|&index| {
            let txn = self.txns.get(index)?;
            let free = txn.standing == Standing::Approved
                && txn.request.merchant == request.merchant
                && !txn.dependents.iter().any(|&id| self.stands(id));
            free.then_some((index, txn))
        });
        let (index, txn) = open.ok_or("25")?;
        if request.amount == 0 {
            return Err("13");
        }
        if txn.day.days_until(self.day) > self.policy.completion_days {
            return Err("22");
        }
        let most = txn.request.amount.saturating_mul(self.policy.completion_percent) / 100;
        if request.amount > most {
            return Err("64");
        }
        let held = i64::try_from(txn.request.amount).unwrap_or(i64::MAX);
        let amount = i64::try_from(request.amount).unwrap_or(i64::MAX);
        if !advice && amount > available.saturating_add(held) {
            return Err("51");
        }
        Ok(Done { original: Some(index), ..Done::default() })
    }

    fn txn(&self, id: u64) -> Option<&Txn> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        self.txns.get(index)
    }

    /// A transaction is in force: approved, not reversed, not voided.
    fn stands(&self, id: u64) -> bool {
        self.txn(id).is_some_and(|txn| txn.standing == Standing::Approved && !self.is_voided(txn))
    }

    /// Whether a void of it is in force.
    #[must_use]
    pub fn is_voided(&self, txn: &Txn) -> bool {
        self.dependents(txn).any(|d| cancels(d.kind) && d.standing == Standing::Approved)
    }

    /// Whether a completion of it is in force.
    #[must_use]
    pub fn is_completed(&self, txn: &Txn) -> bool {
        let completes = |kind| matches!(kind, Kind::CompletionRequest | Kind::CompletionAdvice);
        self.dependents(txn).any(|d| completes(d.kind) && self.stands(d.id))
    }

    /// Fen refunded by refunds in force.
    #[must_use]
    pub fn refunded(&self, txn: &Txn) -> u64 {
        self.dependents(txn)
            .filter(|d| d.kind == Kind::Refund && d.standing == Standing::Approved)
            .map(|d| d.request.amount)
            .sum()
    }

    fn dependents<'a>(&'a self, txn: &'a Txn) -> impl Iterator<Item = &'a Txn> {
        txn.dependents.iter().filter_map(|&id| self.txn(id))
    }

    /// What should be on the card because of this transaction: `(position, hold)` in fen.
    fn due(&self, txn: &Txn) -> (i64, i64) {
        let amount = i64::try_from(self.amount_of(txn)).unwrap_or(i64::MAX);
        if txn.standing != Standing::Approved || self.is_voided(txn) {
            return (0, 0);
        }
        match kinds::line_of(txn.kind).map(|line| line.effect) {
            Some(Effect::Purchase | Effect::Points | Effect::Advised | Effect::Complete(_)) => {
                let back = i64::try_from(self.refunded(txn)).unwrap_or(i64::MAX);
                (back.saturating_sub(amount), 0)
            }
            Some(Effect::Load | Effect::CashLoad) => (amount.saturating_neg(), 0),
            Some(Effect::Hold) if !self.is_completed(txn) => (0, amount),
            _ => (0, 0),
        }
    }

    /// Posts what is missing between what is due and what was posted, for a transaction and what it acts on.
    fn settle(&mut self, index: usize, cause: u64, at: Moment) {
        let mut next = Some(index);
        while let Some(index) = next {
            let Some(txn) = self.txns.get(index) else { return };
            next = txn.original.and_then(|id| usize::try_from(id.saturating_sub(1)).ok());
            if txn.detached {
                continue;
            }
            let Some(card) = txn.request.card.clone() else { continue };
            let (due, hold) = self.due(txn);
            let (posted, held) = (txn.posted, txn.held);
            // A position below zero has gone from the first account to the second.
            let (own, other) = match kinds::line_of(txn.kind).map(|line| line.effect) {
                Some(Effect::Load) => {
                    let purse = txn.request.other.clone().unwrap_or_else(|| card.clone());
                    (Account::Card(card.clone()), Account::Purse(purse))
                }
                Some(Effect::Points) => (Account::Points(card.clone()), Account::Settlement(self.day)),
                Some(Effect::CashLoad) => (Account::Settlement(self.day), Account::Purse(card.clone())),
                _ => (Account::Card(card.clone()), Account::Settlement(self.day)),
            };
            self.ledger.transfer(at, cause, &own, &Account::Hold(card), hold.saturating_sub(held));
            self.ledger.transfer(at, cause, &other, &own, due.saturating_sub(posted));
            if let Some(txn) = self.txns.get_mut(index) {
                txn.posted = due;
                txn.held = hold;
            }
        }
    }
}

/// Field 39 of an approval in part.
const PART: &str = "10";

fn cancels(kind: Kind) -> bool {
    matches!(kind, Kind::Void | Kind::PreauthVoid | Kind::CompletionVoid | Kind::CashLoadVoid)
}
