//! Refunds and completion advices: no reversal. The same message, with the same trace, is repeated until its outcome is known or the
//! terminal gives up and says so.

use std::time::Duration;

use hsm::Pin;

use crate::card::{self, CardInput, Entry};
use crate::codes;
use crate::error::PosError;
use crate::message::{Kind, Request};
use crate::organisation;
use crate::outcome::{Outcome, Status};
use crate::receipt;
use crate::state::{LastSlip, OpenRefund, Original, Record};
use crate::terminal::{Reply, Terminal, stamp};
use crate::transact::{check_amount, complete};

/// The code that says the host is still working on the first sending.
const IN_PROCESS: &str = "09";
/// The code of a host that has seen a repeated message before and does not say what became of it.
const DUPLICATE: &str = "94";

/// A refund of a payment, of today or earlier.
#[derive(Debug)]
pub struct RefundRequest {
    /// In fen.
    pub amount_fen: u64,
    /// The card of the payment and how it is read.
    pub card: CardInput,
    /// How it is read.
    pub entry: Entry,
    /// The PIN, when the host's rules ask for one.
    pub pin: Option<Pin>,
    /// Reference number of the payment, field 37 of its slip.
    pub original_rrn: String,
    /// Date of the payment, MMDD.
    pub original_date: String,
}

impl Terminal {
    /// Refunds. When no answer can be had the outcome says so and the refund stays open: see
    /// [`Terminal::resume_refund`].
    ///
    /// # Errors
    /// When it could not be started, or nothing was sent.
    pub async fn refund(&mut self, refund: RefundRequest) -> Result<Outcome, PosError> {
        self.refund_as(Kind::Refund, refund).await
    }

    /// Refunds what a chip paid (脱机退货).
    ///
    /// # Errors
    /// As [`Terminal::refund`].
    pub async fn refund_chip(&mut self, refund: RefundRequest) -> Result<Outcome, PosError> {
        self.refund_as(Kind::ChipRefund, refund).await
    }

    async fn refund_as(&mut self, kind: Kind, refund: RefundRequest) -> Result<Outcome, PosError> {
        check_amount(refund.amount_fen)?;
        check_original(&refund)?;
        let card = refund.card.read(refund.entry)?;
        self.check_permitted(Kind::Refund, &card.pan, refund.entry)?;
        self.check_ready()?;
        self.check_nothing_open()?;
        let preceding = self.clear_the_way().await?;

        let batch = self.state.batch;
        let trace = self.take_trace();
        let mut request = self
            .card_request(kind, &card, refund.entry, refund.pin.as_ref(), trace, batch, true)?
            .digits(4, format!("{:012}", refund.amount_fen))
            .text(37, refund.original_rrn.clone())
            .digits(61, format!("000000000000{}", refund.original_date));
        let mut record = self.blank_record(kind, &card, refund.entry, trace, batch)?;
        record.amount_fen = refund.amount_fen;
        record.with_pin = refund.pin.is_some() || card.pin_block.is_some();
        record.original = Some(Original {
            batch: None,
            trace: None,
            rrn: Some(refund.original_rrn),
            date: Some(refund.original_date),
            auth_code: None,
        });
        record.foreign = self.judge_foreign(&record);
        if !request.has(63) {
            request = request.text(63, organisation::named(record.foreign));
        }
        let mut outcome = self.send_open(request, record).await?;
        outcome.preceding = preceding;
        Ok(outcome)
    }

    /// Sends a message that is repeated until its outcome is known.
    pub(crate) async fn send_open(&mut self, request: Request, record: Record) -> Result<Outcome, PosError> {
        self.frame(&request)?; // what cannot be written must not be left open
        let (trace, amount_fen) = (record.trace, record.amount_fen);
        self.state.refund = Some(OpenRefund { trace, amount_fen, sealed: self.seal(&request)?, record });
        self.save().await?;
        self.deliver_refund(&request, true).await
    }

    /// The refund or completion advice whose outcome is not known: its trace and its amount in fen.
    pub fn open_refund(&self) -> Option<(u32, u64)> {
        self.state.refund.as_ref().map(|open| (open.trace, open.amount_fen))
    }

    pub(crate) fn check_nothing_open(&self) -> Result<(), PosError> {
        match &self.state.refund {
            Some(open) => Err(PosError::RefundOpen { trace: open.trace }),
            None => Ok(()),
        }
    }

    /// Sends the open refund (or completion advice) again, the same message with the same trace.
    ///
    /// # Errors
    /// When there is none, the terminal must sign in, or nothing was sent.
    pub async fn resume_refund(&mut self) -> Result<Outcome, PosError> {
        let open = self.state.refund.clone().ok_or_else(|| PosError::Input("no refund is open".into()))?;
        if let Some(why) = self.sign_in_needed() {
            return Err(PosError::MustSignIn(why));
        }
        let request = self.unseal(&open.sealed)?;
        self.deliver_refund(&request, false).await
    }

    /// Gives the open refund up: the operator has learned its fate elsewhere. The notice stays.
    ///
    /// # Errors
    /// When there is none, or the state cannot be written.
    pub async fn give_up_refund(&mut self) -> Result<String, PosError> {
        let open = self.state.refund.take().ok_or_else(|| PosError::Input("no refund is open".into()))?;
        let text = self.notice(format!(
            "{}结果未知,已人工处理 / the {} of trace {:06} ({}) was given up by the operator",
            open.record.kind.row().zh,
            in_words(open.record.kind),
            open.trace,
            crate::amount::yuan(open.amount_fen)
        ));
        self.save().await?;
        Ok(text)
    }

    /// Sends until there is an answer, or the resends are used up. `fresh`: nothing of it was ever sent, so a
    /// connection that fails at once leaves nothing behind.
    async fn deliver_refund(&mut self, request: &Request, fresh: bool) -> Result<Outcome, PosError> {
        let trace = crate::terminal::trace_of(request);
        let batch = self.state.refund.as_ref().map_or(self.state.batch, |open| open.record.batch);
        let frame = self.frame(request)?;
        let kind = request.kind;
        let mut sent = !fresh;
        let mut last = None;
        for attempt in 1..=self.config.resend_retries {
            let (outcome, answer) = match self.deliver(request, &frame).await {
                Reply::NotSent(source) if !sent => {
                    self.state.refund = None;
                    self.save().await?;
                    return Err(self.no_connection(source));
                }
                Reply::NotSent(source) => {
                    let mut outcome = Outcome::new(kind, Status::NoAnswer, trace, batch);
                    outcome.notices.push(self.no_connection(source).to_string());
                    (outcome, None)
                }
                Reply::NoAnswer(why) => {
                    let mut outcome = Outcome::new(kind, Status::NoAnswer, trace, batch);
                    outcome.request = frame.clone();
                    outcome.notices.push(why);
                    (outcome, None)
                }
                Reply::Judged(judged, received) => {
                    let (mut outcome, answer) = self.read_judged(request, judged, trace, batch);
                    outcome.request = frame.clone();
                    outcome.response = Some(received);
                    (outcome, answer)
                }
            };
            // To a repeat, 94 says that the first sending arrived, and a demand to sign in that this one was not
            // looked at: neither says what became of the first.
            let open = |code: &str| {
                code == IN_PROCESS || (sent && (code == DUPLICATE || codes::forces_sign_in(code)))
            };
            let answer = answer.filter(|answer| !open(&answer.code));
            sent = true;
            if let Some(answer) = answer {
                return self.close_refund(outcome, &answer).await;
            }
            let in_process = outcome.response_code.is_some();
            last = Some(outcome);
            if self.state.sign_in_forced {
                break; // another sending under the same key would fare no better
            }
            if in_process && attempt < self.config.resend_retries {
                tokio::time::sleep(Duration::from_millis(self.config.repeat_pause_ms)).await;
            }
        }
        let mut outcome = last.unwrap_or_else(|| Outcome::new(kind, Status::NoAnswer, trace, batch));
        outcome.status = Status::NoAnswer;
        outcome.approved = false;
        outcome.amount_fen = self.state.refund.as_ref().map(|open| open.amount_fen);
        outcome.card = request.get(2).map(card::mask);
        let text = self.notice(format!(
            "{}结果未知,请重新上送或联系收单行 / the {} of trace {trace:06} has no known outcome; send it again or call \
             the acquirer",
            kind.row().zh,
            in_words(kind)
        ));
        outcome.notices.push(text);
        self.save().await?;
        Ok(outcome)
    }

    /// An authentic answer came: the refund is closed, one way or the other.
    async fn close_refund(
        &mut self,
        mut outcome: Outcome,
        answer: &crate::wire::Answer,
    ) -> Result<Outcome, PosError> {
        let at = stamp(self.now());
        if let Some(open) = self.state.refund.take() {
            outcome.amount_fen = Some(open.amount_fen);
            outcome.card = Some(open.record.pan.clone());
            if outcome.approved {
                let mut record = complete(open.record, Some(answer), &at);
                record.foreign = self.judge_foreign(&record);
                outcome.receipt = Some(receipt::transaction(&self.config, &record));
                self.state.last_slip = Some(LastSlip::Transaction(Box::new(record.clone())));
                self.state.journal.push(record);
            }
        }
        self.save().await?;
        Ok(outcome)
    }
}

fn in_words(kind: Kind) -> &'static str {
    if kind == Kind::CompletionAdvice { "completion" } else { "refund" }
}

fn check_original(refund: &RefundRequest) -> Result<(), PosError> {
    let rrn = &refund.original_rrn;
    if rrn.len() != 12 || !rrn.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(PosError::Input("the original's reference number has 12 characters".into()));
    }
    let date = &refund.original_date;
    if date.len() != 4 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PosError::Input("the original's date is MMDD".into()));
    }
    Ok(())
}
