//! The pending reversal: one record, one attempt a time, before anything else moves money.

use crate::codes;
use crate::error::PosError;
use crate::message::Kind;
use crate::outcome::{Outcome, Status};
use crate::rules::{self, Event, Reason, ReversalStep};
use crate::state::PendingReversal;
use crate::terminal::{Reply, Terminal};

/// A reversal that waits, as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Trace of the transaction to be reversed.
    pub trace: u32,
    /// What it was.
    pub kind: Kind,
    /// Its amount in fen.
    pub amount_fen: u64,
    /// Why it is to be reversed.
    pub reason: Reason,
    /// Attempts made.
    pub attempts: u32,
}

impl Terminal {
    /// The reversal that waits, if any.
    pub fn pending_reversal(&self) -> Option<Pending> {
        let pending = self.state.reversal.as_ref()?;
        Some(Pending {
            trace: pending.trace,
            kind: pending.kind,
            amount_fen: pending.amount_fen,
            reason: pending.reason,
            attempts: pending.attempts,
        })
    }

    /// Sends the pending reversal now, once. Nothing pending is no error: there is no outcome then.
    ///
    /// # Errors
    /// [`PosError::MustSignIn`] when there is no key to sign with, or when nothing could be sent.
    pub async fn send_reversal(&mut self) -> Result<Option<Outcome>, PosError> {
        let Some(pending) = self.state.reversal.clone() else { return Ok(None) };
        if self.state.keys.working.is_none() || self.state.sign_in_forced {
            return Err(PosError::MustSignIn("the reversal needs a good MAC key"));
        }
        let mut request = self.unseal(&pending.sealed)?.text(39, pending.reason.code());
        request = request.maybe_text(38, pending.auth_code.as_deref());
        let frame = self.frame(&request)?;
        // Counted before it leaves, so that a terminal that loses power while sending does not try for ever.
        let attempts = pending.attempts.saturating_add(1);
        self.count_attempt(attempts);
        self.save().await?;

        let reply = self.deliver(&request, &frame).await;
        let batch = request
            .get(60)
            .and_then(|field| field.get(2..8))
            .and_then(|b| b.parse().ok())
            .unwrap_or_default();
        let allowed = self.config.reversal_retries;
        let (step, mut outcome) = match reply {
            Reply::NotSent(source) => {
                self.count_attempt(pending.attempts);
                self.save().await?;
                return Err(self.no_connection(source));
            }
            Reply::NoAnswer(why) => {
                let mut outcome = Outcome::new(Kind::Reversal, Status::NoAnswer, pending.trace, batch);
                outcome.notices.push(why);
                (rules::after_reversal(Event::NoAnswer, attempts, allowed), outcome)
            }
            Reply::Judged(judged, received) => {
                let step = rules::after_reversal(judged.event(), attempts, allowed);
                let (mut outcome, _) = self.read_judged(&request, judged, pending.trace, batch);
                outcome.response = Some(received);
                (step, outcome)
            }
        };
        outcome.request = frame;
        outcome.amount_fen = Some(pending.amount_fen);
        outcome.card = request.get(2).map(crate::card::mask);
        match step {
            ReversalStep::Done => {
                self.state.reversal = None;
                outcome.status = Status::Approved;
                outcome.approved = true;
            }
            ReversalStep::Again => outcome.approved = false,
            ReversalStep::GiveUp => {
                self.state.reversal = None;
                outcome.approved = false;
                let text = self.notice(given_up(&pending, attempts));
                outcome.notices.push(text);
            }
        }
        outcome.reversal = self.state.reversal.as_ref().map(|pending| pending.reason);
        self.save().await?;
        Ok(Some(outcome))
    }

    fn count_attempt(&mut self, attempts: u32) {
        if let Some(pending) = &mut self.state.reversal {
            pending.attempts = attempts;
        }
    }

    /// Sends what must go before a new transaction. The new one may start only when it is through.
    pub(crate) async fn clear_the_way(&mut self) -> Result<Vec<Outcome>, PosError> {
        // A script result goes first, and does not stand in the way when it is not heard.
        let mut sent = Vec::new();
        match self.send_script_result().await {
            Ok(outcome) => sent.extend(outcome),
            Err(PosError::NoConnection { .. } | PosError::MustSignIn(_)) => {}
            Err(error) => return Err(error),
        }
        sent.extend(self.clear_reversal().await?);
        Ok(sent)
    }

    async fn clear_reversal(&mut self) -> Result<Vec<Outcome>, PosError> {
        let Some(pending) = self.state.reversal.clone() else { return Ok(Vec::new()) };
        let blocked = |attempts, reason| PosError::ReversalPending { trace: pending.trace, attempts, reason };
        match self.send_reversal().await {
            Ok(None) => Ok(Vec::new()),
            Ok(Some(outcome)) if outcome.approved => Ok(vec![outcome]),
            Ok(Some(outcome)) => {
                let reason = match (&outcome.response_code, outcome.notices.last()) {
                    (_, Some(notice)) => notice.clone(),
                    (Some(code), None) => format!("{code} {}", codes::look_up(code).en),
                    (None, None) => outcome.text_en.clone(),
                };
                Err(blocked(pending.attempts.saturating_add(1), reason))
            }
            Err(PosError::NoConnection { source, .. }) => Err(blocked(pending.attempts, source.to_string())),
            Err(error) => Err(error),
        }
    }
}

fn given_up(pending: &PendingReversal, attempts: u32) -> String {
    format!(
        "冲正失败 {attempts} 次,已放弃,请联系收单行 / the reversal of trace {:06} ({} {}) failed {attempts} times and \
         is given up; call the acquirer",
        pending.trace,
        pending.kind.row().en,
        crate::amount::yuan(pending.amount_fen),
    )
}
