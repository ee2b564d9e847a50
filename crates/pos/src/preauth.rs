//! Pre-authorisations 预授权: set an amount aside, void it, take it (完成) by request or by advice.
//!
//! What completes or voids a pre-authorisation need not be of the terminal or batch that made it: the operator keys in
//! the authorisation code and the date of its slip, and presents the card.

use hsm::Pin;

use crate::card::{CardInput, Entry};
use crate::error::PosError;
use crate::message::Kind;
use crate::outcome::Outcome;
use crate::terminal::Terminal;
use crate::transact::{Job, Named, SaleRequest, check_amount};

/// How much of a pre-authorisation may be taken, per cent of it. The terminal checks it for those it made itself.
const COMPLETION_PERCENT: u64 = 115;

/// What is done to a pre-authorisation of today or earlier.
#[derive(Debug)]
pub struct AuthorisedRequest {
    /// In fen: all of it for a void, at most 115 % of it for a completion.
    pub amount_fen: u64,
    /// The card of the pre-authorisation.
    pub card: CardInput,
    /// How it is read.
    pub entry: Entry,
    /// The PIN, when the host's rules ask for one.
    pub pin: Option<Pin>,
    /// Authorisation code, field 38 of its slip.
    pub auth_code: String,
    /// Date of it, MMDD.
    pub date: String,
    /// Batch and trace of its slip; without them the other terminal's numbers stay zero in the message.
    pub numbers: Option<(u32, u32)>,
}

impl Terminal {
    /// Sets an amount aside on a card.
    ///
    /// # Errors
    /// As [`Terminal::sale`].
    pub async fn preauth(&mut self, request: SaleRequest) -> Result<Outcome, PosError> {
        check_amount(request.amount_fen)?;
        let card = request.card.read(request.entry)?;
        let amount = Some(request.amount_fen);
        self.transact(Job::new(Kind::Preauth, amount, card, request.entry, request.pin)).await
    }

    /// Voids a pre-authorisation.
    ///
    /// # Errors
    /// Code or date that no slip has; else as [`Terminal::sale`].
    pub async fn void_preauth(&mut self, request: AuthorisedRequest) -> Result<Outcome, PosError> {
        self.on_preauth(Kind::PreauthVoid, request).await
    }

    /// Takes what was set aside.
    ///
    /// # Errors
    /// More than 115 % of a pre-authorisation of this batch; else as [`Terminal::void_preauth`].
    pub async fn complete(&mut self, request: AuthorisedRequest) -> Result<Outcome, PosError> {
        self.on_preauth(Kind::Completion, request).await
    }

    /// Takes what was set aside by an advice: nothing reverses it, it is repeated until its outcome is known, see
    /// [`Terminal::resume_refund`].
    ///
    /// # Errors
    /// As [`Terminal::complete`].
    pub async fn complete_by_advice(&mut self, request: AuthorisedRequest) -> Result<Outcome, PosError> {
        let job = self.named_job(Kind::CompletionAdvice, request)?;
        self.check_ready()?;
        self.check_nothing_open()?;
        let preceding = self.clear_the_way().await?;
        let (batch, trace) = (self.state.batch, self.take_trace());
        let message = self.compose(&job, trace, batch, None)?;
        let record = self.record(&job, trace, batch)?;
        let mut outcome = self.send_open(message, record).await?;
        outcome.preceding = preceding;
        Ok(outcome)
    }

    async fn on_preauth(&mut self, kind: Kind, request: AuthorisedRequest) -> Result<Outcome, PosError> {
        let job = self.named_job(kind, request)?;
        self.transact(job).await
    }

    fn named_job(&self, kind: Kind, request: AuthorisedRequest) -> Result<Job, PosError> {
        check_amount(request.amount_fen)?;
        let code = &request.auth_code;
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ') {
            return Err(PosError::Input("an authorisation code has 6 characters".into()));
        }
        if request.date.len() != 4 || !request.date.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PosError::Input("the original's date is MMDD".into()));
        }
        let card = request.card.read(request.entry)?;
        let shown = card.pan.masked();
        let here = self.state.journal.iter().position(|record| {
            record.kind == Kind::Preauth && record.auth_code.as_ref() == Some(code) && record.pan == shown
        });
        if let Some(record) = here.and_then(|index| self.state.journal.get(index))
            && kind != Kind::PreauthVoid
            && request.amount_fen.saturating_mul(100) > record.amount_fen.saturating_mul(COMPLETION_PERCENT)
        {
            return Err(PosError::Input("at most 115 % of a pre-authorisation can be taken".into()));
        }
        Ok(Job {
            original: here.filter(|_| kind == Kind::PreauthVoid),
            named: Some(Named { auth_code: request.auth_code, numbers: request.numbers, date: request.date }),
            ..Job::new(kind, Some(request.amount_fen), card, request.entry, request.pin)
        })
    }
}
