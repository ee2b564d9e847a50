//! E-signatures (电子签名): the image of a signature with the transaction's feature code, uploaded when the terminal is
//! idle and before settlement.
//!
//! The image is kept beside the state until its batch is settled, sealed, for reprints of the slip.
//!
//! Modelled, since neither is in a public source: the code stands in front of the image, and parts count down to 800, so that 800 is always the last
//! and a single part is 800.

use ::receipt::slip::Verification;
use serde::{Deserialize, Serialize};

use crate::config::TerminalConfig;
use crate::error::PosError;
use crate::message::{Kind, Request, field60_management};
use crate::outcome::{Outcome, Status};
use crate::receipt;
use crate::state::{LastSlip, Record, write_atomic};
use crate::terminal::{Reply, Terminal};

/// Bytes of the image in one part: field 62 holds 999.
const PART_MAX: usize = 900;
/// Parts that the codes 800 to 809 can number.
const PARTS_MAX: usize = 10;
/// The largest image, with the feature code in front of it.
const IMAGE_MAX: usize = PART_MAX * PARTS_MAX - 8;
/// The host has had it before; counts as uploaded.
const DUPLICATE: &str = "94";

/// A signature that waits, part by part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingSignature {
    /// Trace of the transaction; the messages carry it too.
    pub trace: u32,
    /// The 0820 of each part that is still to come, sealed.
    pub parts: Vec<String>,
    /// How often the part at hand was sent.
    pub attempts: u32,
}

/// The transaction feature code (交易特征码): the two halves of settlement date and reference number, eight digits each,
/// exclusive-ored digit by digit, as eight hexadecimal characters.
pub fn feature_code(settle_date: &str, reference: &str) -> Option<String> {
    let digits = format!("{settle_date}{reference}");
    let (left, right) = digits.split_at_checked(8).filter(|_| digits.len() == 16 && digits.is_ascii())?;
    // Of two ASCII digits the upper halves cancel out, so that one hexadecimal character holds the sum.
    let mixed = left.bytes().zip(right.bytes()).map(|(a, b)| format!("{:X}", (a ^ b) & 0x0F));
    Some(mixed.collect())
}

/// Name of the file of an image.
fn file_of(batch: u32, trace: u32) -> String {
    format!("signature-{batch:06}-{trace:06}.sealed")
}

/// What a sealed image is bound to.
fn context(batch: u32, trace: u32) -> Vec<u8> {
    format!("pos/signature {batch} {trace}").into_bytes()
}

/// The feature code of a transaction; one without a settlement date has zeros in its place.
fn code_of(record: &Record) -> Option<String> {
    feature_code(record.settle_date.as_deref().unwrap_or("0000"), record.rrn.as_deref()?)
}

/// Most bytes of field 55.
const RECEIPT_MAX: usize = 255;

/// Field 55 of an e-signature: what stands on the slip, in tags FFxx (e-signature section of the receipt specification). Values
/// are text, Chinese in GBK. What the terminal does not know is left out: mobile number (0B), preferred name of the application
/// (21), balance of the card (24). What has no room any more is left out as well: the numbers that identify the payment go
/// first.
fn receipt_data(config: &TerminalConfig, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECEIPT_MAX);
    let mut item = |tag: u32, value: &str| {
        let (text, _, _) = encoding_rs::GBK.encode(value);
        let before = out.len();
        if !text.is_empty() && text.len() < 128 {
            iso8583::tlv::write(&mut out, tag, &text);
        }
        if out.len() > RECEIPT_MAX {
            out.truncate(before);
        }
    };
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u32>| number.map(|number| format!("{number:06}")).unwrap_or_default();
    item(0xFF01, record.kind.row().en);
    item(0xFF02, &config.operator);
    item(0xFF06, &record.at);
    item(0xFF07, &known(&record.auth_code));
    if let Some(original) = &record.original {
        item(0xFF60, &number(original.trace));
        item(0xFF61, &number(original.batch));
        item(0xFF62, &known(&original.rrn));
        item(0xFF63, &known(&original.date));
        item(0xFF64, &known(&original.auth_code));
        // What is named by batch and trace was this terminal's.
        if original.trace.is_some_and(|trace| trace > 0) {
            item(0xFF65, &config.terminal);
        }
    }
    item(0xFF00, &config.merchant_name);
    item(0xFF03, &known(&record.acquirer));
    item(0xFF04, &known(&record.issuer));
    item(0xFF05, &known(&record.expiry));
    let tip = record.adjusted_fen.and_then(|total| total.checked_sub(record.amount_fen));
    item(0xFF08, &tip.map(|fen| format!("{fen:012}")).unwrap_or_default());
    item(0xFF09, &receipt::organisation_of(record));
    item(0xFF0A, "156");
    item(0xFF25, &known(&record.purse));
    if let Some(chip) = &record.chip {
        item(0xFF22, &chip.aid);
        if chip.cryptogram_name == "TC" {
            item(0xFF23, &chip.cryptogram);
        }
        item(0xFF20, &chip.label);
        for (tag, value) in [
            (0xFF28, &chip.tvr),
            (0xFF29, &chip.tsi),
            (0xFF2A, &chip.atc),
            (0xFF26, &chip.un),
            (0xFF27, &chip.aip),
            (0xFF2B, &chip.iad),
        ] {
            item(tag, value);
        }
    }
    item(0xFF70, &record.reprints.to_string());
    out
}

impl Terminal {
    /// The feature code that belongs behind the signature of a transaction of the running batch; nothing where none is
    /// wanted, or where it was given.
    pub fn wants_signature(&self, trace: u32) -> Option<String> {
        let record = self.state.journal.iter().find(|record| record.trace == trace)?;
        let wants = receipt::verification(&self.config, record) == Verification::Sign;
        code_of(record).filter(|_| wants)
    }

    /// The image of a signature by the reference on its slip, as long as its batch runs.
    pub fn signature(&self, reference: &str) -> Option<Vec<u8>> {
        let (batch, trace) = reference.split_at_checked(6)?;
        let (batch, trace) = (batch.parse().ok()?, trace.parse().ok()?);
        let sealed = std::fs::read(self.directory.file(&file_of(batch, trace))).ok()?;
        let image = self.security.open(&context(batch, trace), &sealed).ok()?;
        Some(image.to_vec())
    }

    /// The images of these transactions are not needed any more.
    pub(crate) fn forget_signatures(&self, records: &[Record]) {
        for record in records.iter().filter(|record| record.signed.is_some()) {
            // One that stays is sealed, and no slip names it any more.
            let _ = std::fs::remove_file(self.directory.file(&file_of(record.batch, record.trace)));
        }
    }

    /// Keeps the image of a signature (JBIG in the field and from a smart POS; any bytes here) for a transaction of the
    /// running batch, and queues its upload.
    ///
    /// # Errors
    /// [`PosError::NotFound`], an image that is empty or too large, a transaction without reference number.
    pub async fn sign(&mut self, trace: u32, image: &[u8]) -> Result<String, PosError> {
        let found = self.state.journal.iter().find(|record| record.trace == trace);
        let record = found.ok_or(PosError::NotFound(trace))?.clone();
        if image.is_empty() || image.len() > IMAGE_MAX {
            return Err(PosError::Input(format!("an image has 1 to {IMAGE_MAX} bytes")));
        }
        let code = code_of(&record)
            .ok_or_else(|| PosError::Input("the transaction has no reference number yet".into()))?;
        let joined = [code.as_bytes(), image].concat();
        let parts: Vec<&[u8]> = joined.chunks(PART_MAX).collect();
        let mut sealed = Vec::with_capacity(parts.len());
        for (at, part) in parts.iter().enumerate() {
            let request = self.signature_part(&record, part, parts.len() - 1 - at);
            self.frame(&request)?;
            sealed.push(self.seal(&request)?);
        }
        let kept = self.security.seal(&context(record.batch, trace), image)?;
        let path = self.directory.file(&file_of(record.batch, trace));
        let written = tokio::task::spawn_blocking(move || write_atomic(&path, &kept)).await;
        written.map_err(|error| PosError::Build(error.to_string()))??;
        for record in self.state.journal.iter_mut().filter(|record| record.trace == trace) {
            record.signed = Some(code.clone());
        }
        if let Some(LastSlip::Transaction(last)) = &mut self.state.last_slip
            && last.trace == trace
        {
            last.signed = Some(code.clone());
        }
        self.state.signatures.retain(|pending| pending.trace != trace);
        self.state.signatures.push(PendingSignature { trace, parts: sealed, attempts: 0 });
        self.save().await?;
        Ok(code)
    }

    fn signature_part(&self, record: &Record, part: &[u8], left: usize) -> Request {
        let receipt = receipt_data(&self.config, record);
        Request::new(Kind::Signature)
            .digits(4, format!("{:012}", record.total_fen()))
            .digits(11, format!("{:06}", record.trace))
            .maybe_text(37, record.rrn.as_deref())
            .text(41, self.config.terminal.clone())
            .text(42, self.config.merchant.clone())
            .bytes(55, &receipt)
            .digits(60, field60_management("07", record.batch, &format!("{}", 800 + left)))
            .bytes(62, part)
    }

    /// Sends the signatures that wait, as far as the host answers.
    pub(crate) async fn upload_signatures(&mut self) -> Result<Vec<Outcome>, PosError> {
        let mut outcomes = Vec::new();
        while let Some(pending) = self.state.signatures.first().cloned() {
            if let Some(why) = self.sign_in_needed() {
                return Err(PosError::MustSignIn(why));
            }
            let Some(sealed) = pending.parts.first() else {
                self.state.signatures.remove(0);
                continue;
            };
            let request = self.unseal(sealed)?;
            let frame = self.frame(&request)?;
            let batch = self.state.batch;
            let (mut outcome, taken) = match self.deliver(&request, &frame).await {
                Reply::NotSent(source) => return Err(self.no_connection(source)),
                Reply::NoAnswer(why) => {
                    let mut outcome = Outcome::new(Kind::Signature, Status::NoAnswer, pending.trace, batch);
                    outcome.notices.push(why);
                    (outcome, None)
                }
                Reply::Judged(judged, received) => {
                    let (mut outcome, answer) = self.read_judged(&request, judged, pending.trace, batch);
                    outcome.response = Some(received);
                    let taken = answer.as_ref().map(|a| outcome.approved || a.code == DUPLICATE);
                    (outcome, taken.filter(|taken| *taken || !self.state.sign_in_forced))
                }
            };
            outcome.request = frame;
            let last = pending.attempts + 1 >= self.config.resend_retries;
            let Some(first) = self.state.signatures.first_mut() else { break };
            match taken {
                Some(true) => {
                    outcome.approved = true;
                    first.parts.remove(0);
                    first.attempts = 0;
                }
                Some(false) | None if last && !self.state.sign_in_forced => {
                    self.state.signatures.remove(0);
                    let text = self.notice(format!(
                        "电子签名上送失败 / the signature of trace {:06} was not taken and is dropped",
                        pending.trace
                    ));
                    outcome.notices.push(text);
                }
                _ => {
                    first.attempts += 1;
                    outcomes.push(outcome);
                    self.save().await?;
                    break;
                }
            }
            outcomes.push(outcome);
            self.save().await?;
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_code_mixes_date_and_reference() {
        // 1124 1124 | 0000 0017: digit by digit.
        assert_eq!(feature_code("1124", "112400000017").as_deref(), Some("11241133"));
        assert_eq!(feature_code("1124", "1124000000"), None);
    }
}
