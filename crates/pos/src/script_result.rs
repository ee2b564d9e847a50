//! What became of the commands that an answer brought for the chip: told to the host (0620) before the next
//! transaction, once, and again when it was not heard. It carries the trace number of its transaction (modelled: the
//! network's side correlates it by that number and the transaction's time).

use serde::{Deserialize, Serialize};

use crate::card::CardData;
use crate::codes;
use crate::error::PosError;
use crate::message::{Kind, Request, field60_management};
use crate::outcome::{Outcome, Status};
use crate::presented::Chip;
use crate::terminal::{Reply, Terminal};
use crate::wire::Answer;

/// A result that waits for its turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingScript {
    /// Trace of its transaction.
    pub trace: u32,
    pub attempts: u32,
    /// The 0620, sealed.
    pub sealed: String,
}

impl Terminal {
    /// Whether a script result waits.
    pub fn pending_script(&self) -> bool {
        self.state.script.is_some()
    }

    /// Keeps the result of the commands that `answer` brought, when there were any.
    pub(crate) fn keep_script_result(
        &mut self,
        request: &Request,
        card: &CardData,
        chip: &dyn Chip,
        answer: &Answer,
    ) -> Result<(), PosError> {
        let Some(data) = chip.script_report() else { return Ok(()) };
        let batch = self.state.batch;
        let original = request.get(11).unwrap_or("000000").to_owned();
        let day = answer.date.map_or_else(|| self.now().strftime("%m%d").to_string(), |d| format!("{d:04}"));
        let trace = crate::terminal::trace_of(request);
        let mut script = Request::new(Kind::Script)
            .maybe_digits(2, card.pan.digits())
            .digits(11, format!("{trace:06}"))
            .digits(32, answer.acquirer.clone().unwrap_or_else(|| "0".to_owned()))
            .maybe_text(37, answer.rrn.as_deref())
            .maybe_text(38, answer.auth_code.as_deref())
            .text(41, self.config.terminal.clone())
            .text(42, self.config.merchant.clone())
            .text(49, "156")
            .bytes(55, &data)
            .digits(60, field60_management("00", batch, "951"))
            .digits(61, format!("{batch:06}{original}{day}"));
        for field in [3, 4, 22, 23, 25] {
            script = script.maybe_digits(field, request.get(field));
        }
        let sealed = self.seal(&self.with_device(script)?)?;
        self.state.script = Some(PendingScript { trace, attempts: 0, sealed });
        Ok(())
    }

    /// Tells the host now, once. Nothing waits: no outcome.
    ///
    /// # Errors
    /// [`PosError::MustSignIn`], or when nothing could be sent.
    pub async fn send_script_result(&mut self) -> Result<Option<Outcome>, PosError> {
        let Some(pending) = self.state.script.clone() else { return Ok(None) };
        if self.state.keys.working.is_none() || self.state.sign_in_forced {
            return Err(PosError::MustSignIn("the script result needs a good MAC key"));
        }
        let request = self.unseal(&pending.sealed)?;
        let frame = self.frame(&request)?;
        let batch = self.state.batch;
        self.count_script(pending.attempts + 1);
        self.save().await?;
        let (mut outcome, settled) = match self.deliver(&request, &frame).await {
            Reply::NotSent(source) => {
                self.count_script(pending.attempts);
                self.save().await?;
                return Err(self.no_connection(source));
            }
            Reply::NoAnswer(why) => {
                let mut outcome = Outcome::new(Kind::Script, Status::NoAnswer, pending.trace, batch);
                outcome.notices.push(why);
                (outcome, false)
            }
            Reply::Judged(judged, received) => {
                let (mut outcome, answer) = self.read_judged(&request, judged, pending.trace, batch);
                outcome.response = Some(received);
                // Any word but a demand to sign in settles it: the host has heard.
                (outcome, answer.is_some_and(|answer| !codes::forces_sign_in(&answer.code)))
            }
        };
        outcome.request = frame;
        if settled {
            self.state.script = None;
        } else if pending.attempts + 1 >= self.config.resend_retries {
            self.state.script = None;
            let text = self.notice("脚本结果上送失败 / the script result was not heard and is dropped");
            outcome.notices.push(text);
        }
        self.save().await?;
        Ok(Some(outcome))
    }

    fn count_script(&mut self, attempts: u32) {
        if let Some(pending) = &mut self.state.script {
            pending.attempts = attempts;
        }
    }
}
