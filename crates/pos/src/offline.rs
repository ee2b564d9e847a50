//! What the terminal approves by itself, and the queue it goes to the host by.
//!
//! An offline sale (离线结算), an offline chip sale (脱机消费) and an adjustment or tip (结算调整, 小费) are good the
//! moment they are on disk. They are uploaded when the terminal is idle and before settlement, in order, each with
//! its numbers until the host has it; what the host will not have, or never answers, is dropped with a notice after the
//! resends. An offline sale that was never sent can be voided here alone (脱机撤销).

use serde::{Deserialize, Serialize};

use crate::card::{CardInput, Entry};
use crate::codes;
use crate::error::PosError;
use crate::message::{Kind, Request};
use crate::organisation;
use crate::outcome::{Outcome, Status};
use crate::presented::ReadCard;
use crate::receipt;
use crate::state::{LastSlip, Original, Record};
use crate::terminal::{Reply, Terminal, stamp};
use crate::transact::check_amount;

/// The host is still working on an earlier sending.
const IN_PROCESS: &str = "09";
/// The host has had it before.
const DUPLICATE: &str = "94";

/// A sale that the terminal approves.
#[derive(Debug)]
pub struct OfflineSaleRequest {
    /// In fen.
    pub amount_fen: u64,
    /// The card and how it is read. By chip or tap the card approves with a certificate.
    pub card: CardInput,
    /// How it is read.
    pub entry: Entry,
    /// The authorisation code that the issuer gave by voice; without one the amount must be below the limit.
    pub auth_code: Option<String>,
}

/// Another amount for a sale of the running batch.
#[derive(Clone, Copy, Debug)]
pub enum Adjustment {
    /// This total, in fen.
    Total(u64),
    /// The sale and this tip, in fen.
    Tip(u64),
}

/// Something that waits to go to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub kind: Kind,
    /// The number (field 11) of the transaction it is about.
    pub trace: u32,
    /// In fen, when it moves money.
    pub amount_fen: Option<u64>,
    /// How often it was sent without an answer that settles it.
    pub attempts: u32,
}

/// Where the upload of a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// It waits in the queue.
    Waiting,
    /// The host has it.
    Done,
    /// The host will not have it, or never answered.
    Refused,
    /// It was voided before it was ever sent.
    Cancelled,
}

/// A message of the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub kind: Kind,
    /// Its own trace.
    pub trace: u32,
    /// Trace of the record that it is about.
    pub record: u32,
    pub amount_fen: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// What the record came to before, to be put back should the host refuse an adjustment.
    pub before_fen: Option<u64>,
    pub sealed: String,
}

impl Terminal {
    /// Sells without asking: the sale is good at once and waits for its upload.
    ///
    /// # Errors
    /// Above the limit without an authorisation code, or when the terminal may not trade.
    pub async fn offline_sale(&mut self, sale: OfflineSaleRequest) -> Result<Outcome, PosError> {
        check_amount(sale.amount_fen)?;
        let by_chip = sale.entry.is_chip();
        // A device's kernel has kept to the limits of its application, and its card has counted the sale already.
        let approved = matches!(&sale.card, CardInput::Read(ReadCard { chip: Some(_), .. }));
        match &sale.auth_code {
            None if !approved && sale.amount_fen > self.config.offline_limit_fen => {
                return Err(PosError::Input(
                    "above the offline limit an authorisation code is needed".into(),
                ));
            }
            Some(code) if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(PosError::Input("an authorisation code has six characters".into()));
            }
            _ => {}
        }
        let mut card = sale.card.read(sale.entry)?;
        self.check_permitted(Kind::OfflineSale, &card.pan, sale.entry)?;
        self.check_ready()?;
        // It may go up after another sign-in, and then the host could not read a track under today's key any more. Field 2 has
        // the number.
        if self.enciphers_tracks() {
            card.track2 = None;
        }
        let kind = if by_chip { Kind::OfflineChip } else { Kind::OfflineSale };
        let batch = self.state.batch;
        let trace = self.take_trace();
        let mut request = self
            .card_request(kind, &card, sale.entry, None, trace, batch, true)?
            .digits(4, format!("{:012}", sale.amount_fen))
            .maybe_text(38, sale.auth_code.as_deref());
        let mut record = self.blank_record(kind, &card, sale.entry, trace, batch)?;
        if by_chip {
            let chip = self.approve_offline(&card, sale.entry, sale.amount_fen, trace)?;
            request = request.bytes(55, &hex::decode(&chip.field55).unwrap_or_default());
            record.chip = Some(chip);
            record.foreign = self.judge_foreign(&record);
            request = request.text(63, organisation::named(record.foreign));
        } else if sale.auth_code.is_some() {
            // Authorised by voice: mode 01; the institution is not told (modelled).
            request = request.digits(61, format!("000000000000{}0100000000000", self.now().strftime("%m%d")));
        }
        record.amount_fen = sale.amount_fen;
        record.auth_code = sale.auth_code;
        record.at = stamp(self.now());
        record.upload = Some(Upload::Waiting);
        self.frame(&request)?; // what cannot be written must not be queued
        let sealed = self.seal(&request)?;
        self.state.queue.push(Queued {
            kind,
            trace,
            record: trace,
            amount_fen: sale.amount_fen,
            attempts: 0,
            before_fen: None,
            sealed,
        });
        let mut outcome = Outcome::new(kind, Status::Approved, trace, batch);
        outcome.text_zh = "脱机批准,待上送".to_owned();
        outcome.text_en = "approved offline, to be uploaded".to_owned();
        outcome.amount_fen = Some(record.amount_fen);
        outcome.card = Some(record.pan.clone());
        outcome.auth_code = record.auth_code.clone();
        outcome.receipt = Some(receipt::transaction(&self.config, &record));
        self.state.last_slip = Some(LastSlip::Transaction(Box::new(record.clone())));
        self.state.journal.push(record);
        self.save().await?;
        Ok(outcome)
    }

    /// Gives a sale of the running batch another amount, or a tip. It counts at once; the host hears of it with the
    /// next upload.
    ///
    /// # Errors
    /// [`PosError::NotFound`], [`PosError::NotAdjustable`], a tip above the allowed share.
    pub async fn adjust(&mut self, trace: u32, adjustment: Adjustment) -> Result<Outcome, PosError> {
        self.check_ready()?;
        let found = self.state.journal.iter().find(|record| record.trace == trace);
        let record = found.ok_or(PosError::NotFound(trace))?.clone();
        let refuse = |reason| PosError::NotAdjustable { trace, reason };
        if !matches!(record.kind, Kind::Sale | Kind::OfflineSale) {
            return Err(refuse("it is not a sale that can be adjusted"));
        }
        if record.voided || matches!(record.upload, Some(Upload::Cancelled | Upload::Refused)) {
            return Err(refuse("it does not count any more"));
        }
        if self.state.queue.iter().any(|queued| queued.record == trace) {
            return Err(refuse("an upload of it waits: upload first"));
        }
        let (kind, total, tip) = match adjustment {
            Adjustment::Total(total) => (Kind::Adjust, total, None),
            Adjustment::Tip(tip) => {
                let most = record.amount_fen.saturating_mul(u64::from(self.config.tip_percent)) / 100;
                if tip == 0 || tip > most {
                    return Err(refuse("a tip is more than nothing and at most the allowed share"));
                }
                (Kind::Tip, record.amount_fen.saturating_add(tip), Some(tip))
            }
        };
        check_amount(total)?;
        let number = self.number_of(&record)?;
        let card = crate::card::CardData::keyed(number, record.expiry.clone());
        let batch = self.state.batch;
        let own = self.take_trace();
        let day = record.settle_date.clone().unwrap_or_else(|| self.now().strftime("%m%d").to_string());
        let mut request = self
            .card_request(kind, &card, Entry::Manual, None, own, batch, true)?
            .digits(4, format!("{total:012}"))
            .maybe_text(38, record.auth_code.as_deref())
            .digits(61, format!("{:06}{:06}{day}0000000000000", record.batch, record.trace));
        if let Some(tip) = tip {
            request = request.text(54, format!("{tip:012}"));
        }
        self.frame(&request)?;
        let sealed = self.seal(&request)?;
        self.state.queue.push(Queued {
            kind,
            trace: own,
            record: trace,
            amount_fen: total,
            attempts: 0,
            before_fen: Some(record.total_fen()),
            sealed,
        });
        let mut outcome = Outcome::new(kind, Status::Approved, own, batch);
        outcome.text_zh = "已调整,待上送".to_owned();
        outcome.text_en = "adjusted, to be uploaded".to_owned();
        outcome.amount_fen = Some(total);
        outcome.card = Some(record.pan.clone());
        if let Some(record) = self.state.journal.iter_mut().find(|record| record.trace == trace) {
            record.adjusted_fen = Some(total);
            outcome.receipt = Some(receipt::transaction(&self.config, record));
            // The slip with the new total is now the last one; before, "the last slip" was of another transaction.
            self.state.last_slip = Some(LastSlip::Transaction(Box::new(record.clone())));
        }
        self.save().await?;
        Ok(outcome)
    }

    /// Whether the message with this trace waits for its upload.
    pub fn is_queued(&self, trace: u32) -> bool {
        self.state.queue.iter().any(|queued| queued.trace == trace)
    }

    /// What waits for its upload: offline sales, adjustments, e-signatures.
    pub fn waiting_uploads(&self) -> usize {
        self.state.queue.len() + self.state.signatures.len()
    }

    /// Everything that waits to go to the host, in the order in which it goes.
    pub fn waiting(&self) -> Vec<Waiting> {
        let state = &self.state;
        let reversal = state.reversal.iter().map(|pending| Waiting {
            kind: Kind::Reversal,
            trace: pending.trace,
            amount_fen: Some(pending.amount_fen),
            attempts: pending.attempts,
        });
        let script = state.script.iter().map(|pending| Waiting {
            kind: Kind::Script,
            trace: pending.trace,
            amount_fen: None,
            attempts: pending.attempts,
        });
        let queue = state.queue.iter().map(|queued| Waiting {
            kind: queued.kind,
            trace: queued.record,
            amount_fen: Some(queued.amount_fen),
            attempts: queued.attempts,
        });
        let signatures = state.signatures.iter().map(|pending| Waiting {
            kind: Kind::Signature,
            trace: pending.trace,
            amount_fen: None,
            attempts: pending.attempts,
        });
        reversal.chain(script).chain(queue).chain(signatures).collect()
    }

    /// Sends everything that waits: a reversal and the result of chip commands, then what
    /// [`upload_waiting`](Self::upload_waiting) sends.
    ///
    /// # Errors
    /// The terminal must sign in, or nothing could be sent.
    pub async fn upload_all(&mut self) -> Result<Vec<Outcome>, PosError> {
        let mut outcomes = Vec::new();
        if self.state.reversal.is_some() {
            outcomes.extend(self.send_reversal().await?);
        }
        outcomes.extend(self.send_script_result().await?);
        outcomes.extend(self.upload_waiting().await?);
        Ok(outcomes)
    }

    /// Sends what waits, in order, as far as the host answers. A message that got no answer stays at its place for
    /// the next time.
    ///
    /// # Errors
    /// The terminal must sign in, or nothing could be sent.
    pub async fn upload_waiting(&mut self) -> Result<Vec<Outcome>, PosError> {
        let mut outcomes = Vec::new();
        while let Some(queued) = self.state.queue.first().cloned() {
            if let Some(why) = self.sign_in_needed() {
                return Err(PosError::MustSignIn(why));
            }
            let outcome = self.upload_one(&queued).await?;
            let through = self.state.queue.first().is_none_or(|next| next.trace != queued.trace);
            outcomes.push(outcome);
            if !through {
                break;
            }
        }
        if self.state.queue.is_empty() {
            outcomes.extend(self.upload_signatures().await?);
        }
        Ok(outcomes)
    }

    /// Sends one message of the queue, and takes it out when that settles it.
    async fn upload_one(&mut self, queued: &Queued) -> Result<Outcome, PosError> {
        let request = self.unseal(&queued.sealed)?;
        let frame = self.frame(&request)?;
        let batch = self.state.batch;
        // Counted before it leaves, so that a terminal that loses power while sending does not try for ever.
        self.count_upload(queued.trace, queued.attempts + 1);
        self.save().await?;
        let (mut outcome, answered) = match self.deliver(&request, &frame).await {
            Reply::NotSent(source) => {
                self.count_upload(queued.trace, queued.attempts);
                self.save().await?;
                return Err(self.no_connection(source));
            }
            Reply::NoAnswer(why) => {
                let mut outcome = Outcome::new(queued.kind, Status::NoAnswer, queued.trace, batch);
                outcome.notices.push(why);
                (outcome, None)
            }
            Reply::Judged(judged, received) => {
                let (mut outcome, answer) = self.read_judged(&request, judged, queued.trace, batch);
                outcome.response = Some(received);
                (outcome, answer)
            }
        };
        outcome.request = frame;
        outcome.amount_fen = Some(queued.amount_fen);
        let last = queued.attempts + 1 >= self.config.resend_retries;
        match answered {
            Some(answer) if outcome.approved || (answer.code == DUPLICATE && queued.attempts > 0) => {
                outcome.approved = true;
                self.close_upload(queued, Upload::Done);
                let bins = self.config.foreign_bins.clone();
                if let Some(record) = self.record_mut(queued.record).filter(|_| queued.before_fen.is_none()) {
                    record.rrn = answer.rrn.clone();
                    record.settle_date = answer.settle_date.clone();
                    record.issuer = answer.issuer.clone();
                    record.acquirer = answer.acquirer.clone();
                    record.card_org = answer.card_org.clone();
                    record.foreign = organisation::is_foreign(record, &[], &bins);
                }
            }
            // Not the message's fault: under another key it may go through.
            Some(answer) if codes::forces_sign_in(&answer.code) => {
                self.count_upload(queued.trace, queued.attempts);
            }
            Some(answer) if answer.code != IN_PROCESS => self.give_up_upload(queued, &mut outcome),
            _ if last => self.give_up_upload(queued, &mut outcome),
            _ => {}
        }
        self.save().await?;
        Ok(outcome)
    }

    fn record_mut(&mut self, trace: u32) -> Option<&mut Record> {
        self.state.journal.iter_mut().find(|record| record.trace == trace)
    }

    fn count_upload(&mut self, trace: u32, attempts: u32) {
        if let Some(queued) = self.state.queue.iter_mut().find(|queued| queued.trace == trace) {
            queued.attempts = attempts;
        }
    }

    fn close_upload(&mut self, queued: &Queued, how: Upload) {
        self.state.queue.retain(|other| other.trace != queued.trace);
        if let Some(record) = self.record_mut(queued.record) {
            match (queued.before_fen, how) {
                (Some(before), Upload::Refused) => {
                    record.adjusted_fen = Some(before).filter(|fen| *fen != record.amount_fen);
                }
                (Some(_), _) => {}
                (None, how) => record.upload = Some(how),
            }
        }
    }

    fn give_up_upload(&mut self, queued: &Queued, outcome: &mut Outcome) {
        outcome.approved = false;
        self.close_upload(queued, Upload::Refused);
        let why = outcome.response_code.as_deref().unwrap_or("no answer");
        let text = self.notice(format!(
            "脱机交易上送失败,请联系收单行 / the upload of trace {:06} ({} {}) came to nothing ({why}); call the acquirer",
            queued.trace,
            queued.kind.row().en,
            crate::amount::yuan(queued.amount_fen),
        ));
        outcome.notices.push(text);
    }

    /// Voids an offline sale that never left: nobody else knows of it.
    ///
    /// # Errors
    /// It may have left already, or it is no offline sale.
    pub(crate) async fn void_offline(&mut self, trace: u32) -> Result<Outcome, PosError> {
        let refuse = |reason| PosError::NotVoidable { trace, reason };
        let queued = self.state.queue.iter().find(|queued| queued.trace == trace);
        if queued.is_none_or(|queued| queued.attempts > 0) {
            return Err(refuse("the host may have it already: refund it"));
        }
        self.state.queue.retain(|queued| queued.trace != trace);
        let batch = self.state.batch;
        let mut outcome = Outcome::new(Kind::Void, Status::Approved, trace, batch);
        outcome.text_zh = "脱机撤销成功".to_owned();
        outcome.text_en = "voided before it was uploaded".to_owned();
        if let Some(record) = self.record_mut(trace) {
            record.voided = true;
            record.upload = Some(Upload::Cancelled);
            outcome.amount_fen = Some(record.amount_fen);
            outcome.card = Some(record.pan.clone());
            // It has no number of its own: its slip is that of the sale, as a void.
            let original = Original {
                batch: Some(record.batch),
                trace: Some(record.trace),
                rrn: None,
                date: None,
                auth_code: None,
            };
            let slip = Record { kind: Kind::Void, original: Some(original), ..record.clone() };
            outcome.receipt = Some(receipt::transaction(&self.config, &slip));
            self.state.last_slip = Some(LastSlip::Transaction(Box::new(slip)));
        }
        self.save().await?;
        Ok(outcome)
    }

    /// The request of a batch-up detail (0320, 60.3 = 000) for an offline record: the whole transaction under a
    /// number of its own.
    pub(crate) fn offline_detail(&mut self, record: &Record) -> Result<Request, PosError> {
        let number = self.number_of(record)?;
        let batch = self.state.batch;
        let trace = self.take_trace();
        let mut request = Request::new(Kind::BatchUp)
            .maybe_digits(2, number.digits())
            .digits(3, "000000")
            .digits(4, format!("{:012}", record.total_fen()))
            .digits(11, format!("{trace:06}"))
            .maybe_digits(14, record.expiry.as_deref())
            .digits(22, format!("{}2", record.entry.digits()))
            .digits(25, "00")
            .maybe_text(38, record.auth_code.as_deref())
            .text(41, self.config.terminal.clone())
            .text(42, self.config.merchant.clone())
            .text(49, "156")
            .digits(60, format!("{}{batch:06}000", record.kind.row().message_type))
            .digits(61, format!("{:06}{:06}", record.batch, record.trace));
        if let Some(chip) = &record.chip {
            request = request
                .digits(23, format!("{:03}", chip.sequence))
                .bytes(55, &hex::decode(&chip.field55).unwrap_or_default());
        }
        self.with_device(request)
    }
}
