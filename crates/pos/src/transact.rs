//! Transactions with a card: balance, sale, void, and what `preauth` adds. Refunds are in `refund`, reversals in `reversal`.
//!
//! The order never changes: what is pending goes first; the record and its reversal are on disk before the request
//! leaves; the answer is judged, the chip heard, and the outcome is on disk before anyone is told.

use std::sync::{Arc, Mutex};

use hsm::{EncryptedPinBlock, Pin, PinFormat};
use iso8583::{Profile, Sm4PinCarrier, tlv};
use zeroize::Zeroizing;

use crate::amount::{AMOUNT_MAX_FEN, yuan};
use crate::card::{CardData, CardInput, Entry};
use crate::chip::{self, ChipPayment, Setting};
use crate::codes;
use crate::deck::Behaviour;
use crate::error::PosError;
use crate::further::Points;
use crate::message::{Kind, Recovery, Request, field60_financial};
use crate::organisation;
use crate::outcome::{self, Outcome, Status};
use crate::presented::{Chip, SharedChip, Verdict, heard};
use crate::receipt;
use crate::rules::{self, Event, Reason, ReversalEffect};
use crate::state::{ChipFailure, ChipRecord, ChipRefusal, LastSlip, Original, PendingReversal, Record};
use crate::terminal::{Reply, Terminal, stamp};
use crate::wire::{Answer, Judged};

/// How long the stripe of a card is accepted after its chip could not be read.
const FALLBACK_SECONDS: i64 = 60;

/// A sale.
#[derive(Debug)]
pub struct SaleRequest {
    /// In fen, more than zero.
    pub amount_fen: u64,
    /// The card.
    pub card: CardInput,
    /// How it is read.
    pub entry: Entry,
    /// The PIN, when the holder entered one.
    pub pin: Option<Pin>,
}

/// A balance inquiry.
#[derive(Debug)]
pub struct BalanceRequest {
    /// The card.
    pub card: CardInput,
    /// How it is read.
    pub entry: Entry,
    /// The PIN, when the holder entered one.
    pub pin: Option<Pin>,
}

/// A void of a sale of the running batch.
#[derive(Debug)]
pub struct VoidRequest {
    /// Trace (voucher number) of the sale.
    pub trace: u32,
    /// The card and how it is read; without it the number in the journal is used, as if keyed.
    pub card: Option<(CardInput, Entry)>,
    /// The PIN, when the holder entered one.
    pub pin: Option<Pin>,
}

impl VoidRequest {
    /// A void by its voucher number alone.
    pub fn by_trace(trace: u32) -> Self {
        Self { trace, card: None, pin: None }
    }
}

/// What they have in common.
pub(crate) struct Job {
    pub kind: Kind,
    pub amount_fen: Option<u64>,
    pub card: CardData,
    pub entry: Entry,
    pub pin: Option<Pin>,
    /// The transaction of this batch that it undoes, as an index into the journal.
    pub original: Option<usize>,
    /// What it refers to, when the operator keyed that in.
    pub named: Option<Named>,
    /// Field 62: periods and item of an instalment sale, item of a points sale.
    pub plan: Option<String>,
    /// Field 60.7.
    pub points: Option<Points>,
    /// The card whose purse is loaded from another card's account; its chip takes part.
    pub purse: Option<CardData>,
}

impl Job {
    /// A transaction that refers to nothing and carries no plan.
    pub(crate) fn new(
        kind: Kind,
        amount_fen: Option<u64>,
        card: CardData,
        entry: Entry,
        pin: Option<Pin>,
    ) -> Self {
        let (original, named, plan, points, purse) = (None, None, None, None, None);
        Self { kind, amount_fen, card, entry, pin, original, named, plan, points, purse }
    }

    /// Whether a PIN goes with it.
    pub(crate) fn with_pin(&self) -> bool {
        self.pin.is_some() || self.card.pin_block.is_some()
    }

    /// The card whose chip takes part, and how it is read.
    fn chip_card(&self) -> (&CardData, Entry) {
        match &self.purse {
            Some(purse) => (purse, Entry::Chip),
            None => (&self.card, self.entry),
        }
    }
}

/// An earlier transaction as the operator names it.
pub(crate) struct Named {
    /// Field 38.
    pub auth_code: String,
    /// Batch and trace, when they are on the slip at hand.
    pub numbers: Option<(u32, u32)>,
    /// Date, MMDD.
    pub date: String,
}

impl Terminal {
    /// Sells.
    ///
    /// # Errors
    /// When the sale could not be started or nothing was sent. Declines, missing and unusable answers are outcomes.
    pub async fn sale(&mut self, sale: SaleRequest) -> Result<Outcome, PosError> {
        check_amount(sale.amount_fen)?;
        let card = sale.card.read(sale.entry)?;
        // The kernel of a chip that a device has read decided on the PIN already.
        let undecided = sale.entry == Entry::Tap && sale.pin.is_none() && card.chip.is_none();
        if undecided && sale.amount_fen > self.config.no_pin_limit_fen {
            let verified_on_device = card.deck.is_some_and(|deck| deck.behaviour == Behaviour::PhoneOnly);
            if !verified_on_device {
                return Err(PosError::OtherEntry("above the no-PIN limit a tap needs the PIN"));
            }
        }
        self.transact(Job::new(Kind::Sale, Some(sale.amount_fen), card, sale.entry, sale.pin)).await
    }

    /// Asks for the balance of a card.
    ///
    /// # Errors
    /// As [`Terminal::sale`].
    pub async fn balance(&mut self, request: BalanceRequest) -> Result<Outcome, PosError> {
        let card = request.card.read(request.entry)?;
        self.transact(Job::new(Kind::Balance, None, card, request.entry, request.pin)).await
    }

    /// Voids a sale or completion of the running batch.
    ///
    /// # Errors
    /// [`PosError::NotFound`], [`PosError::NotVoidable`], a card other than the sale's; else as [`Terminal::sale`].
    pub async fn void(&mut self, request: VoidRequest) -> Result<Outcome, PosError> {
        let (index, record) = self
            .state
            .journal
            .iter()
            .enumerate()
            .find(|(_, record)| record.trace == request.trace)
            .ok_or(PosError::NotFound(request.trace))?;
        let refuse = |reason| PosError::NotVoidable { trace: request.trace, reason };
        if record.voided {
            return Err(refuse("it is voided already"));
        }
        if record.is_offline() {
            self.check_ready()?;
            return self.void_offline(request.trace).await;
        }
        let Some(kind) = record.kind.voided_by() else {
            return Err(refuse("it is nothing that can be voided"));
        };
        if self.state.queue.iter().any(|queued| queued.record == request.trace) {
            return Err(refuse("an adjustment of it waits: upload it first"));
        }
        let amount_fen = record.total_fen();
        let pan = self.number_of(record)?;
        let (card, entry) = match request.card {
            Some((input, entry)) => {
                let card = input.read(entry)?;
                if card.pan.masked() != pan.masked()
                    || pan.digits().is_some_and(|pan| card.pan.digits() != Some(pan))
                {
                    return Err(refuse("the card is not that of the sale"));
                }
                (card, entry)
            }
            None => (CardData::keyed(pan, record.expiry.clone()), Entry::Manual),
        };
        let job = Job::new(kind, Some(amount_fen), card, entry, request.pin);
        self.transact(Job { original: Some(index), ..job }).await
    }

    /// Whether the terminal may trade now, as far as it knows without sending anything.
    pub(crate) fn check_ready(&self) -> Result<(), PosError> {
        if self.state.keys.master.is_none() {
            return Err(PosError::NoMasterKey);
        }
        if let Some(why) = self.sign_in_needed() {
            return Err(PosError::MustSignIn(why));
        }
        if self.state.settlement.is_some() {
            return Err(PosError::SettlementOpen);
        }
        if self.state.journal.len() >= self.config.journal_max {
            return Err(PosError::JournalFull(self.state.journal.len()));
        }
        Ok(())
    }

    pub(crate) async fn transact(&mut self, job: Job) -> Result<Outcome, PosError> {
        self.check_ready()?;
        self.check_entry(&job).await?;
        let preceding = self.clear_the_way().await?;
        let mut outcome = self.transact_cleared(job).await?;
        outcome.preceding = preceding;
        Ok(outcome)
    }

    /// Whether the card may be read this way: a chip card is not swiped before its chip was tried (when the terminal
    /// insists on it), and only a card of the deck has a chip.
    async fn check_entry(&mut self, job: &Job) -> Result<(), PosError> {
        self.check_permitted(job.kind, &job.card.pan, job.entry)?;
        if let Some(purse) = &job.purse {
            self.check_permitted(job.kind, &purse.pan, Entry::Chip)?;
        }
        if job.entry.is_chip() {
            if job.card.deck.is_none() && job.card.chip.is_none() && job.kind.uses_chip() {
                return Err(no_chip());
            }
            let mute = job.card.deck.is_some_and(|deck| deck.behaviour == Behaviour::Mute);
            if mute && job.entry == Entry::Chip && job.kind.uses_chip() {
                let until = self.surroundings.clock.now().as_second().saturating_add(FALLBACK_SECONDS);
                self.state.chip_failure = Some(ChipFailure { card: job.card.pan.masked(), until });
                self.save().await?;
                return Err(PosError::ChipMute);
            }
        }
        if self.config.insist_on_chip && !job.kind.refers() && job.card.stripe_says_chip() {
            let failed = self.state.chip_failure.as_ref().is_some_and(|failure| {
                failure.card == job.card.pan.masked()
                    && self.surroundings.clock.now().as_second() <= failure.until
            });
            if job.entry == Entry::Swipe || job.entry == Entry::Fallback && !failed {
                return Err(PosError::OtherEntry("请插卡 / the card has a chip: insert it"));
            }
        }
        Ok(())
    }

    /// Everything after the pending reversal is through.
    async fn transact_cleared(&mut self, job: Job) -> Result<Outcome, PosError> {
        let row = job.kind.row();
        let batch = self.state.batch;
        let trace = self.take_trace();
        let with_chip = job.chip_card().1.is_chip() && job.kind.uses_chip();
        let chip = if with_chip { Some(self.start_chip(&job, trace)?) } else { None };
        let base = |outcome: &mut Outcome| {
            outcome.amount_fen = job.amount_fen;
            outcome.card = Some(job.card.pan.masked());
        };
        if let Some(chip) = &chip
            && !heard(chip).goes_online()
        {
            self.keep_refusal(&job, &*heard(chip), trace, "Z1", false)?;
            self.save().await?;
            let mut outcome = Outcome::new(job.kind, Status::DeclinedByChip, trace, batch);
            base(&mut outcome);
            return Ok(outcome);
        }

        let request = self.compose(&job, trace, batch, chip.as_ref().map(heard).as_deref())?;
        let record = self.record(&job, trace, batch)?;
        let frame = self.frame(&request)?;
        if row.recovery == Recovery::Reverse {
            let mut reversal = self.reversal_of(&request, &job.card)?;
            if let Some(chip) = &chip {
                reversal = reversal.bytes(55, &heard(chip).reversal55(self.config.reversal_with_atc));
            }
            self.state.reversal = Some(PendingReversal {
                kind: job.kind,
                trace,
                amount_fen: job.amount_fen.unwrap_or_default(),
                reason: Reason::NoAnswer,
                attempts: 0,
                sealed: self.seal(&reversal)?,
                auth_code: None,
            });
        }
        self.save().await?;

        let (mut outcome, answer, received) = match self.deliver(&request, &frame).await {
            Reply::NotSent(source) => {
                self.apply(Event::NotSent);
                self.save().await?;
                return Err(self.no_connection(source));
            }
            Reply::NoAnswer(why) => {
                self.apply(Event::NoAnswer);
                let mut outcome = Outcome::new(job.kind, Status::NoAnswer, trace, batch);
                outcome.notices.push(why);
                (outcome, None, None)
            }
            Reply::Judged(judged, received) => {
                let refused = match (&judged, &chip) {
                    (Judged::Answer(answer), Some(chip)) => {
                        ask_chip(&mut *heard(chip), answer) == Verdict::Refuses
                    }
                    _ => false,
                };
                if let (Judged::Answer(answer), Some(chip)) = (&judged, &chip) {
                    // Nothing that goes wrong here may hide what the host answered.
                    let kept = if refused {
                        self.keep_refusal(&job, &*heard(chip), trace, &answer.code, true)
                    } else {
                        self.keep_script_result(&request, &job.card, &*heard(chip), answer)
                    };
                    if let Err(error) = kept {
                        self.notice(error.to_string());
                    }
                }
                if refused {
                    self.apply(Event::ChipRefused);
                    self.amend_reversal(&request, &job.card, chip.as_ref().map(heard).as_deref(), &judged);
                } else {
                    self.apply(judged.event());
                }
                let (outcome, answer) = self.read_judged(&request, judged, trace, batch);
                (if refused { refused_by_chip(outcome) } else { outcome }, answer, Some(received))
            }
        };
        base(&mut outcome);
        outcome.request = frame;
        outcome.response = received;

        if let Some(answer) = &answer {
            if answer.code == "10" && outcome.approved {
                outcome.amount_fen = answer.amount.or(outcome.amount_fen);
                let fen = |fen: Option<u64>| yuan(fen.unwrap_or_default());
                let text = self.notice(format!(
                    "部分批准 {0}，申请 {1}，差额另付 / approved in part: {0} of {1}, the rest is to be paid otherwise",
                    fen(outcome.amount_fen),
                    fen(job.amount_fen)
                ));
                outcome.notices.push(text);
            }
            outcome.balance = answer.additional_amounts.as_deref().and_then(outcome::balance);
        }
        if outcome.approved && job.kind != Kind::Balance {
            let record = Record {
                amount_fen: outcome.amount_fen.unwrap_or(record.amount_fen),
                requested_fen: job.amount_fen.filter(|asked| Some(*asked) != outcome.amount_fen),
                chip: chip
                    .as_ref()
                    .zip(answer.as_ref())
                    .map(|(chip, answer)| heard(chip).record(&answer.code)),
                ..record
            };
            let mut record = complete(record, answer.as_ref(), &stamp(self.now()));
            record.foreign = self.judge_foreign(&record);
            if let Some(original) = job.original.and_then(|index| self.state.journal.get_mut(index)) {
                original.voided = true;
            }
            outcome.receipt = Some(receipt::transaction(&self.config, &record));
            self.state.last_slip = Some(LastSlip::Transaction(Box::new(record.clone())));
            self.state.journal.push(record);
            if self.state.journal.len() >= self.config.journal_max {
                let text = self.notice("批次已满,请结算 / the batch is full, settle now");
                outcome.notices.push(text);
            }
        }
        outcome.reversal = self.state.reversal.as_ref().map(|pending| pending.reason);
        self.save().await?;
        Ok(outcome)
    }

    /// Applies an event to the pending reversal.
    fn apply(&mut self, event: Event<'_>) {
        match rules::after(event).reversal {
            ReversalEffect::Drop => self.state.reversal = None,
            ReversalEffect::Keep(reason) => {
                if let Some(pending) = &mut self.state.reversal {
                    pending.reason = reason;
                }
            }
        }
    }

    /// The chip refused an approval: the reversal that stands now says what the chip said. If that cannot be sealed
    /// the record stays as it was, which reverses as well.
    fn amend_reversal(
        &mut self,
        request: &Request,
        card: &CardData,
        chip: Option<&(dyn Chip + 'static)>,
        judged: &Judged,
    ) {
        let (Some(chip), Judged::Answer(answer)) = (chip, judged) else { return };
        let sealed = self
            .reversal_of(request, card)
            .and_then(|reversal| self.seal(&reversal.bytes(55, &chip.reversal55(true))));
        if let Some(pending) = &mut self.state.reversal {
            pending.auth_code = answer.auth_code.clone();
            if let Ok(sealed) = sealed {
                pending.sealed = sealed;
            }
        }
    }

    /// Keeps what the batch upload tells of a chip that refused.
    fn keep_refusal(
        &mut self,
        job: &Job,
        chip: &dyn Chip,
        trace: u32,
        code: &str,
        after_answer: bool,
    ) -> Result<(), PosError> {
        if job.kind == Kind::Balance {
            return Ok(());
        }
        let record = chip.record(code);
        let refusal = ChipRefusal {
            trace,
            amount_fen: job.amount_fen.unwrap_or_default(),
            pan_sealed: self.seal_number(&job.chip_card().0.pan)?,
            entry: job.chip_card().1,
            with_pin: job.with_pin(),
            sequence: chip.sequence(),
            field55: record.field55,
            after_answer,
            foreign: !record.aid.is_empty() && !organisation::is_unionpay(&record.aid),
        };
        self.state.refusals.push(refusal);
        Ok(())
    }

    /// Lets the chip of a card approve by itself.
    pub(crate) fn approve_offline(
        &mut self,
        card: &CardData,
        entry: Entry,
        amount_fen: u64,
        trace: u32,
    ) -> Result<ChipRecord, PosError> {
        let card = CardData {
            pan: card.pan.clone(),
            expiry: card.expiry.clone(),
            track2: None,
            pin_block: None,
            ..card.clone()
        };
        let job = Job::new(Kind::OfflineChip, Some(amount_fen), card, entry, None);
        let chip = self.start_chip(&job, trace)?;
        heard(&chip).approve_offline()
    }

    /// The chip at its first cryptogram: as a device has read it, or played here for a card of the deck.
    fn start_chip(&mut self, job: &Job, trace: u32) -> Result<SharedChip, PosError> {
        let (card, entry) = job.chip_card();
        if let Some(chip) = &card.chip {
            return Ok(Arc::clone(chip));
        }
        let deck = card.deck.ok_or_else(no_chip)?;
        let file = match &self.config.card_file {
            Some(path) => self.directory.path.join(path),
            None => self.directory.file("cards.json"),
        };
        let counter = chip::raise_counter(&file, deck.id)?;
        let unpredictable = match self.surroundings.unpredictable {
            Some(number) => number,
            None => {
                let mut number = [0; 4];
                getrandom::fill(&mut number).map_err(|error| PosError::Security(error.to_string()))?;
                number
            }
        };
        let kind = job.kind.row().processing.and_then(|code| code.get(..2)).unwrap_or("00");
        let serial = self.config.serial.as_str();
        let setting = Setting {
            amount_fen: job.amount_fen.unwrap_or_default(),
            kind: u8::from_str_radix(kind, 16).unwrap_or_default(),
            now: self.now(),
            trace,
            unpredictable,
            // The PIN is that of the account, not of a purse in another card.
            with_pin: job.with_pin() && job.purse.is_none(),
            entry,
            serial: serial.get(serial.len().saturating_sub(8)..).unwrap_or(serial),
        };
        Ok(Arc::new(Mutex::new(ChipPayment::start(deck, counter, &setting)?)))
    }

    /// The request as the table of fields wants it.
    pub(crate) fn compose(
        &self,
        job: &Job,
        trace: u32,
        batch: u32,
        chip: Option<&(dyn Chip + 'static)>,
    ) -> Result<Request, PosError> {
        let with_pan = job.entry != Entry::Swipe && job.entry != Entry::Fallback || job.kind.refers();
        let mut request =
            self.card_request(job.kind, &job.card, job.entry, job.pin.as_ref(), trace, batch, with_pan)?;
        if let Some(amount) = job.amount_fen {
            request = request.digits(4, format!("{amount:012}"));
        }
        if let Some(chip) = chip {
            request = request.bytes(55, &chip.field55());
        }
        if let Some(plan) = &job.plan {
            request = request.bytes(62, plan.as_bytes());
        }
        if let Some(points) = job.points {
            let field_60 = request.get(60).unwrap_or_default().to_owned();
            request = request.digits(60, field_60 + points.account_type());
        }
        if let Some(purse) = &job.purse {
            request = request
                .digits(48, format!("{}2", Entry::Chip.digits()))
                .bytes(62, &named_by_tag(purse.pan.digits().ok_or_else(number_needed)?))
                .maybe_digits(23, purse.sequence.map(|sequence| format!("{sequence:03}")).as_deref());
        }
        if let Some(named) = &job.named {
            let (batch, trace) = named.numbers.unwrap_or_default();
            request = request
                .text(38, named.auth_code.clone())
                .digits(61, format!("{batch:06}{trace:06}{}", named.date));
        } else if let Some(original) = job.original.and_then(|index| self.state.journal.get(index)) {
            request = request
                .maybe_text(37, original.rrn.as_deref())
                .maybe_text(38, original.auth_code.as_deref())
                .digits(61, format!("{:06}{:06}", original.batch, original.trace));
        }
        Ok(request)
    }

    /// What every request with a card has: identity, card data, PIN and field 60.
    #[allow(clippy::too_many_arguments)] // one line per part of the message; a struct would only rename them
    pub(crate) fn card_request(
        &self,
        kind: Kind,
        card: &CardData,
        entry: Entry,
        pin: Option<&Pin>,
        trace: u32,
        batch: u32,
        with_pan: bool,
    ) -> Result<Request, PosError> {
        let row = kind.row();
        let profile = self.config.speech()?;
        let keys =
            self.state.keys.working.as_ref().ok_or(PosError::MustSignIn("there are no working keys"))?;
        let fallback = entry == Entry::Fallback;
        let partial = self.config.partial_approval && kind == Kind::Sale;
        let has_pin = pin.is_some() || card.pin_block.is_some();
        let mut request = Request::new(kind)
            .digits(11, format!("{trace:06}"))
            .digits(22, format!("{}{}", entry.digits(), if has_pin { 1 } else { 2 }))
            .digits(25, kind.condition())
            .text(41, self.config.terminal.clone())
            .text(42, self.config.merchant.clone())
            .text(49, "156")
            .digits(
                60,
                field60_financial(row.message_type, batch, self.config.capability, fallback, partial),
            );
        if with_pan {
            request = request.maybe_digits(2, card.pan.digits()).maybe_digits(14, card.expiry.as_deref());
        }
        if let Some(sequence) = card.sequence {
            request = request.digits(23, format!("{sequence:03}"));
        }
        let mut encrypted = 0;
        if let Some(track) = &card.track2 {
            let track = match keys.track.as_ref().filter(|_| self.config.encrypt_tracks) {
                // The reader has done it.
                _ if card.pan.is_hidden() => {
                    encrypted = 1;
                    track.clone()
                }
                Some(key) => {
                    encrypted = 1;
                    Zeroizing::new(self.security.encrypt_track(key, track)?)
                }
                None => track.clone(),
            };
            request = request.digits(35, track.as_str());
        }
        let with_pin = if has_pin { 2 } else { 0 };
        if has_pin || card.track2.is_some() {
            let security = keys.layout.security_digit(profile.sm4_digit);
            request = request.digits(53, format!("{with_pin}{security}{encrypted}0000000000000"));
        }
        let block = match (pin, &card.pin_block) {
            (Some(pin), _) => {
                let pan = card.pan.digits().ok_or_else(number_needed)?;
                Some(self.security.encrypt_pin(&keys.pin, pin, pan, keys.layout.pin_format())?)
            }
            (None, block) => *block,
        };
        if let Some(block) = block {
            request =
                with_pin_block(request.digits(26, format!("{:02}", profile.pin_length)), &block, &profile);
        }
        self.with_device(request)
    }

    pub(crate) fn record(&self, job: &Job, trace: u32, batch: u32) -> Result<Record, PosError> {
        let mut record = self.blank_record(job.kind, &job.card, job.entry, trace, batch)?;
        record.amount_fen = job.amount_fen.unwrap_or_default();
        record.with_pin = job.with_pin();
        record.purse = job.purse.as_ref().map(|purse| purse.pan.masked());
        record.original =
            job.original.and_then(|index| self.state.journal.get(index)).map(|original| Original {
                batch: Some(original.batch),
                trace: Some(original.trace),
                rrn: original.rrn.clone(),
                date: None,
                auth_code: None,
            });
        if let Some(named) = &job.named {
            record.original = Some(named.original());
        }
        Ok(record)
    }

    pub(crate) fn blank_record(
        &self,
        kind: Kind,
        card: &CardData,
        entry: Entry,
        trace: u32,
        batch: u32,
    ) -> Result<Record, PosError> {
        Ok(Record {
            kind,
            batch,
            trace,
            amount_fen: 0,
            pan: card.pan.masked(),
            pan_sealed: self.seal_number(&card.pan)?,
            expiry: card.expiry.clone(),
            entry,
            with_pin: false,
            rrn: None,
            auth_code: None,
            at: String::new(),
            settle_date: None,
            issuer: None,
            acquirer: None,
            card_org: None,
            remark: None,
            voided: false,
            original: None,
            chip: None,
            reprints: 0,
            adjusted_fen: None,
            upload: None,
            plan: None,
            purse: None,
            signed: None,
            requested_fen: None,
            foreign: organisation::has_foreign_digits(&card.pan.masked(), &self.config.foreign_bins),
        })
    }
}

impl Terminal {
    /// Whether a record that has what it will have of an answer is of a foreign card.
    pub(crate) fn judge_foreign(&self, record: &Record) -> bool {
        organisation::is_foreign(record, &self.state.journal, &self.config.foreign_bins)
    }
}

impl Named {
    /// As the slip tells it.
    pub(crate) fn original(&self) -> Original {
        Original {
            batch: self.numbers.map(|(batch, _)| batch),
            trace: self.numbers.map(|(_, trace)| trace),
            rrn: None,
            date: Some(self.date.clone()),
            auth_code: Some(self.auth_code.clone()),
        }
    }
}

/// A card number as tag 5A: packed digits, an odd number of them filled up with F.
fn named_by_tag(pan: &str) -> Zeroizing<Vec<u8>> {
    let digits = Zeroizing::new(if pan.len().is_multiple_of(2) { pan.to_owned() } else { format!("{pan}F") });
    let mut out = Zeroizing::new(Vec::with_capacity(16));
    tlv::write(&mut out, 0x5A, &Zeroizing::new(hex::decode(digits.as_bytes()).unwrap_or_default()));
    out
}

/// Fills a record with what the answer brought.
pub(crate) fn complete(record: Record, answer: Option<&Answer>, at: &str) -> Record {
    let Some(answer) = answer else { return Record { at: at.to_owned(), ..record } };
    let plan = matches!(record.kind, Kind::Instalment | Kind::PointsSale)
        .then(|| String::from_utf8_lossy(&answer.private).into_owned());
    Record {
        plan,
        rrn: answer.rrn.clone(),
        auth_code: answer.auth_code.clone(),
        at: at.to_owned(),
        settle_date: answer.settle_date.clone(),
        issuer: answer.issuer.clone(),
        acquirer: answer.acquirer.clone(),
        card_org: answer.card_org.clone(),
        remark: answer.remark.clone(),
        ..record
    }
}

fn number_needed() -> PosError {
    PosError::Input("this needs the card's number, which the reader keeps to itself".into())
}

fn no_chip() -> PosError {
    PosError::Input("only a card of the deck, or one that a device has read, has a chip".into())
}

/// Brings the answer to the chip. A chip that cannot be heard has not agreed.
fn ask_chip(chip: &mut dyn Chip, answer: &Answer) -> Verdict {
    let approved = codes::approves(&answer.code);
    chip.finish(&answer.code, approved, &answer.chip).unwrap_or(if approved {
        Verdict::Refuses
    } else {
        Verdict::Agrees
    })
}

fn refused_by_chip(outcome: Outcome) -> Outcome {
    let words = Outcome::new(outcome.kind, Status::ChipRefused, outcome.trace, outcome.batch);
    Outcome {
        status: Status::ChipRefused,
        approved: false,
        text_zh: words.text_zh,
        text_en: words.text_en,
        ..outcome
    }
}

/// Field 4 holds twelve digits, and nothing is sold for nothing.
pub(crate) fn check_amount(amount_fen: u64) -> Result<(), PosError> {
    if (1..=AMOUNT_MAX_FEN).contains(&amount_fen) {
        Ok(())
    } else {
        Err(PosError::Input("the amount is 0.01 to 9999999999.99".into()))
    }
}

/// Puts a PIN block where the profile has it.
fn with_pin_block(request: Request, block: &EncryptedPinBlock, profile: &Profile) -> Request {
    if block.format != PinFormat::Sm4Extended {
        return request.bytes(52, block.bytes());
    }
    let request = request.bytes(52, &[0; 8]);
    let (field, mut value) = match (profile.sm4_pin, profile.tlv59_digits) {
        (Sm4PinCarrier::Tag59A1, Some(2)) => (59, b"A116".to_vec()),
        (Sm4PinCarrier::Tag59A1, _) => (59, b"A1016".to_vec()),
        (Sm4PinCarrier::Field63, _) => (63, b"SM016".to_vec()),
    };
    value.extend_from_slice(block.bytes());
    request.bytes(field, &value)
}
