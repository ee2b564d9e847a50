//! Settlement: totals, batch upload, end, slip. Each confirmed step is on disk before the next one leaves, so a
//! terminal that is cut off goes on where it stopped.
//!
//! Modelled: approved transactions without a TC (stripe, keyed, tapped, voids, refunds) travel in the detail lines
//! (201), those with a TC one by one (203 or 205); what an adjustment made of a sale stands in the sale's own line.

use iso8583::{BalanceAnswer, CardNumber};
use zeroize::Zeroizing;

use crate::card::Entry;
use crate::codes;
use crate::error::PosError;
use crate::message::{Kind, Request, Side, field60_management, next_in_ring};
use crate::outcome::{Outcome, Status};
use crate::receipt;
use crate::state::{LastSlip, Progress, Record};
use crate::terminal::{Reply, Terminal};

/// Detail lines in one 0320.
const LINES_MAX: usize = 8;

/// Field 39 of a host that says in it, and not in field 48, that the totals differ.
const TOTALS_DIFFER: &str = "95";
/// Result digits of field 48.
const BALANCED: u8 = 1;
const NOT_BALANCED: u8 = 2;
const RESULT_ERROR: u8 = 3;

/// Counts and sums of a batch or of one block of it, in fen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sales.
    pub debit_fen: u64,
    /// Number of sales.
    pub debit_count: u32,
    /// Voids and refunds.
    pub credit_fen: u64,
    /// Number of voids and refunds.
    pub credit_count: u32,
}

impl Totals {
    /// Sums the journal: sales and completions are debits whether voided or not, voids and refunds are credits;
    /// pre-authorisations move nothing.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        records.into_iter().filter(|record| record.counts()).fold(Self::default(), |mut totals, record| {
            match record.kind.side() {
                Side::Credit => {
                    totals.credit_fen += record.amount_fen;
                    totals.credit_count += 1;
                }
                Side::Debit => {
                    totals.debit_fen += record.total_fen();
                    totals.debit_count += 1;
                }
                Side::None => {}
            }
            totals
        })
    }

    /// The same of one block: of foreign cards, or of the others.
    pub fn of_block(records: &[Record], foreign: bool) -> Self {
        Self::of(records.iter().filter(|record| record.foreign == foreign))
    }

    /// The 62 digits of field 48 of the 0500: amount, count, amount, count and result 0 for domestic cards, and the
    /// same for foreign cards.
    pub fn field48(domestic: &Self, foreign: &Self) -> String {
        [domestic, foreign]
            .map(|block| {
                let Self { debit_fen, debit_count, credit_fen, credit_count } = block;
                format!("{debit_fen:012}{debit_count:03}{credit_fen:012}{credit_count:03}0")
            })
            .concat()
    }
}

impl Terminal {
    /// Whether a settlement was begun and has not come to its end.
    pub fn is_settling(&self) -> bool {
        self.state.settlement.is_some()
    }

    /// Settles the batch: totals, then what the host must have, then the end message. Clears the journal, raises
    /// the batch number, prints the slip and (parameter) signs off.
    ///
    /// # Errors
    /// [`PosError::ReversalPending`], [`PosError::RefundOpen`], [`PosError::MustSignIn`];
    /// [`PosError::SettlementCutOff`] when the line failed half way: calling again goes on.
    pub async fn settle(&mut self) -> Result<Outcome, PosError> {
        let mut preceding = Vec::new();
        if self.state.settlement.is_none() {
            if let Some(why) = self.sign_in_needed() {
                return Err(PosError::MustSignIn(why));
            }
            preceding = self.clear_the_way().await?;
            if let Some(open) = &self.state.refund {
                return Err(PosError::RefundOpen { trace: open.trace });
            }
            // What still waits after this has had no answer; the batch waits with it.
            preceding.extend(self.upload_waiting().await?);
            if !self.state.queue.is_empty() {
                return Err(PosError::SettlementCutOff("offline transactions wait for their upload".into()));
            }
            let block = |foreign| Totals::of_block(&self.state.journal, foreign);
            let totals = Totals::field48(&block(false), &block(true));
            let batch = self.state.batch;
            let request = self
                .management(Kind::Settlement, "201")
                .digits(48, totals.clone())
                .text(49, "156")
                .text(63, format!("{} ", self.config.operator));
            let (outcome, answer) = self.manage(request, batch).await?;
            // Most hosts answer 00 and put the result into field 48; some answer 95 and mean "not balanced".
            let differs = outcome.response_code.as_deref() == Some(TOTALS_DIFFER);
            let Some(answer) = answer.filter(|_| outcome.approved || differs) else {
                return Ok(Outcome { preceding, ..outcome });
            };
            // Where the profile says it in the code, field 48 comes back as it was sent and tells nothing.
            let in_code = self.config.speech()?.settlement == BalanceAnswer::Code95;
            let results = answer.totals.filter(|_| !differs && !in_code).unwrap_or_default();
            let missing = match (differs, in_code) {
                (true, _) => NOT_BALANCED,
                (false, true) => BALANCED,
                (false, false) => RESULT_ERROR,
            };
            let digit =
                |at: usize| results.as_bytes().get(at).map_or(missing, |digit| digit.wrapping_sub(b'0'));
            self.state.settlement = Some(Progress {
                trace: outcome.trace,
                totals,
                domestic: digit(30),
                foreign: digit(61),
                settle_date: answer.settle_date,
                offline_next: 0,
                refusal_next: 0,
                stripe_next: 0,
                chip_next: 0,
                uploaded: 0,
                skipped: 0,
                refusals: 0,
                ended: false,
            });
            self.save().await?;
            preceding.push(outcome);
        }
        self.upload(&mut preceding).await?;
        let mut outcome = self.finish().await?;
        preceding.append(&mut outcome.preceding);
        outcome.preceding = preceding;
        Ok(outcome)
    }

    /// Whether a settlement began and is not finished.
    pub fn settlement_open(&self) -> bool {
        self.state.settlement.is_some()
    }

    /// Uploads whatever the flags say is still to come, ending with the end message.
    async fn upload(&mut self, sent: &mut Vec<Outcome>) -> Result<(), PosError> {
        while let Some(progress) = self.state.settlement.clone() {
            let Some(step) = self.next_step(&progress)? else { return Ok(()) };
            let request = self.step_request(&step)?;
            let frame = self.frame(&request)?;
            self.save().await?;
            let reply = self.deliver(&request, &frame).await;
            let trace = crate::terminal::trace_of(&request);
            let batch = self.state.batch;
            let (judged, received) = match reply {
                Reply::NotSent(source) => return Err(PosError::SettlementCutOff(source.to_string())),
                Reply::NoAnswer(why) => return Err(PosError::SettlementCutOff(why)),
                Reply::Judged(judged, received) => (judged, received),
            };
            let (mut outcome, _) = self.read_judged(&request, judged, trace, batch);
            outcome.request = frame;
            outcome.response = Some(received);
            let code = outcome.response_code.as_deref().unwrap_or_default();
            if codes::forces_sign_in(code) {
                // Not the item's fault: sending it again under this sign-in would only use up its resends.
                self.save().await?;
                return Err(PosError::SettlementCutOff(format!("{code} {}", codes::look_up(code).en)));
            }
            self.pass(&step, code == "00");
            self.save().await?;
            sent.push(outcome);
        }
        Ok(())
    }

    fn next_step(&self, progress: &Progress) -> Result<Option<Step>, PosError> {
        let balanced = progress.domestic == 1 && !matches!(progress.foreign, 2 | 3);
        let journal = &self.state.journal;
        if !balanced {
            let offline = journal
                .iter()
                .enumerate()
                .skip(progress.offline_next)
                .find(|(_, record)| record.is_offline() && record.counts());
            if let Some((index, record)) = offline {
                return Ok(Some(Step::Offline { record: Box::new(record.clone()), next: index + 1 }));
            }
            let lines: Vec<(usize, &Record)> = journal
                .iter()
                .enumerate()
                .skip(progress.stripe_next)
                .filter(|(_, record)| record.counts() && !has_certificate(record) && !record.is_offline())
                .take(LINES_MAX)
                .collect();
            if let Some((last, _)) = lines.last() {
                let mut field = Zeroizing::new(format!("{:02}", lines.len()));
                for (_, record) in &lines {
                    let number = self.number_of(record)?;
                    // Zeros where the reader keeps the number (modelled).
                    let pan = number.digits().unwrap_or_default();
                    let class = card_class(record.foreign);
                    let fen = record.total_fen();
                    field.push_str(&format!("{class}{:06}{pan:0>20}{fen:012}", record.trace));
                }
                return Ok(Some(Step::Lines { field, count: lines.len() as u32, next: last + 1 }));
            }
        }
        let chip =
            journal.iter().enumerate().skip(progress.chip_next).find(|(_, record)| has_certificate(record));
        if let Some((index, record)) = chip {
            let pan = self.number_of(record)?;
            let chip = record.chip.as_ref();
            let pin = if record.with_pin { 1 } else { 2 };
            return Ok(Some(Step::Certificate {
                pan,
                trace: record.trace,
                entry: format!("{}{pin}", record.entry.digits()),
                sequence: chip.map_or(0, |chip| chip.sequence),
                field55: chip.map(|chip| chip.field55.clone()).unwrap_or_default(),
                field62: format!("61{}00{:012}156", card_class(record.foreign), record.total_fen()),
                network_code: if balanced { "203" } else { "205" },
                next: Passed::Chip(index + 1),
            }));
        }
        if let Some(refusal) = self.state.refusals.get(progress.refusal_next) {
            let pin = if refusal.with_pin { 1 } else { 2 };
            // Card class, result 00, amount, currency; AC type 0 (AAC), ARPC result 1 when the chip did not accept
            // the host's answer.
            let arpc = u8::from(refusal.after_answer);
            return Ok(Some(Step::Certificate {
                pan: self.kept_number("", &refusal.pan_sealed)?,
                trace: refusal.trace,
                entry: format!("{}{pin}", refusal.entry.digits()),
                sequence: refusal.sequence,
                field55: refusal.field55.clone(),
                field62: format!("71{}00{:012}1560{arpc}", card_class(refusal.foreign), refusal.amount_fen),
                network_code: if balanced { "204" } else { "206" },
                next: Passed::Refusal(progress.refusal_next + 1),
            }));
        }
        if progress.ended {
            return Ok(None);
        }
        let network_code = if balanced { "207" } else { "202" };
        Ok(Some(Step::End { field: format!("{:04}", progress.uploaded), network_code }))
    }

    fn step_request(&mut self, step: &Step) -> Result<Request, PosError> {
        Ok(match step {
            Step::Offline { record, .. } => self.offline_detail(record)?,
            Step::Lines { field, .. } => {
                let request = self.management(Kind::BatchUp, "201").digits(48, field.as_str());
                self.with_device(request)?
            }
            Step::Certificate { pan, trace, entry, sequence, field55, field62, network_code, .. } => {
                let batch = self.state.batch;
                let request = Request::new(Kind::BatchUp)
                    .maybe_digits(2, pan.digits())
                    .digits(11, format!("{trace:06}"))
                    .digits(22, entry.clone())
                    .digits(23, format!("{sequence:03}"))
                    .text(41, self.config.terminal.clone())
                    .text(42, self.config.merchant.clone())
                    .bytes(55, &hex::decode(field55).unwrap_or_default())
                    .digits(60, field60_management("00", batch, network_code))
                    .bytes(62, field62.as_bytes());
                self.with_device(request)?
            }
            Step::End { field, network_code } => {
                self.management(Kind::BatchUp, network_code).digits(48, field.clone())
            }
        })
    }

    /// Moves the flags on: past an item that was confirmed, or refused as often as allowed.
    fn pass(&mut self, step: &Step, confirmed: bool) {
        let allowed = self.config.resend_retries;
        let Some(progress) = &mut self.state.settlement else { return };
        if !confirmed {
            progress.refusals += 1;
            if progress.refusals < allowed {
                return;
            }
        }
        progress.refusals = 0;
        let count = match step {
            Step::Lines { count, next, .. } => {
                progress.stripe_next = *next;
                *count
            }
            Step::Offline { next, .. } => {
                progress.offline_next = *next;
                1
            }
            Step::Certificate { next: Passed::Chip(next), .. } => {
                progress.chip_next = *next;
                1
            }
            Step::Certificate { next: Passed::Refusal(next), .. } => {
                progress.refusal_next = *next;
                1
            }
            Step::End { .. } => {
                progress.ended = true;
                0
            }
        };
        if confirmed {
            progress.uploaded += count;
        } else {
            progress.skipped += count.max(1);
        }
    }

    /// Slip, journal, batch number; then, by parameter, the sign-off.
    async fn finish(&mut self) -> Result<Outcome, PosError> {
        let Some(progress) = self.state.settlement.clone() else {
            return Err(PosError::Input("no settlement is under way".into()));
        };
        let batch = self.state.batch;
        let slip = receipt::settlement_slip(&self.config, &self.state.journal, &progress, batch, self.now());
        let mut outcome =
            Outcome::new(Kind::Settlement, Status::Approved, progress.trace, batch).with_code("00");
        if progress.domestic != 1 || matches!(progress.foreign, 2 | 3) {
            let text = self.notice("对账不平,明细已上送 / the totals differ, the details were uploaded");
            outcome.notices.push(text);
        }
        if progress.skipped > 0 {
            let text = self.notice(format!(
                "批上送 {0} 笔未成功 / {0} items of the batch were refused by the host",
                progress.skipped
            ));
            outcome.notices.push(text);
        }
        let last = LastSlip::Settlement(Box::new(slip));
        outcome.receipt = Some(receipt::both(&receipt::last(&self.config, &last)));
        self.state.last_slip = Some(last);
        let settled = std::mem::take(&mut self.state.journal);
        self.state.refusals.clear();
        self.state.settlement = None;
        self.state.batch = next_in_ring(batch);
        if self.config.sign_off_after_settlement {
            self.state.signed_in = None;
        }
        self.save().await?;
        self.forget_signatures(&settled);
        if self.config.sign_off_after_settlement {
            // The terminal is signed off whether the host hears it or not.
            match self.sign_off().await {
                Ok(sign_off) => outcome.preceding.push(sign_off),
                Err(error) => outcome.notices.push(error.to_string()),
            }
        }
        Ok(outcome)
    }
}

/// Card class of a detail.
fn card_class(foreign: bool) -> &'static str {
    if foreign { "01" } else { "00" }
}

/// Whether a record has a TC to upload. A void or refund by chip has none, nor has a tap.
fn has_certificate(record: &Record) -> bool {
    record.counts()
        && record.entry == Entry::Chip
        && !record.is_offline()
        && record.chip.as_ref().is_some_and(|chip| chip.cryptogram_name == "TC")
}

/// Which flag a chip's message moves.
#[derive(Clone, Copy)]
enum Passed {
    Chip(usize),
    Refusal(usize),
}

/// One message of the upload.
enum Step {
    Offline {
        record: Box<Record>,
        next: usize,
    },
    Lines {
        field: Zeroizing<String>,
        count: u32,
        next: usize,
    },
    Certificate {
        pan: CardNumber,
        trace: u32,
        entry: String,
        sequence: u8,
        field55: String,
        field62: String,
        network_code: &'static str,
        next: Passed,
    },
    End {
        field: String,
        network_code: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The totals of the worked settlement slip.
    #[test]
    fn the_62_digits_of_the_worked_example() {
        let totals = Totals { debit_fen: 48_050, debit_count: 6, credit_fen: 7_500, credit_count: 3 };
        let none = Totals::default();
        let digits = "00000004805000600000000750000300000000000000000000000000000000";
        assert_eq!(Totals::field48(&totals, &none), digits);
        let (domestic, foreign) = digits.split_at(31);
        assert_eq!(Totals::field48(&none, &totals), [foreign, domestic].concat());
    }
}
