//! What goes back to the terminal: copied fields, our own, the MAC.

use acquiring::card::UNIONPAY;
use acquiring::kind::{FieldSet, Kind, KindSpec};
use acquiring::settlement::BlockResult;
use acquiring::{Beijing, ResponseCode, Rrn};
use engine::Engine;
use engine::directory::LiveKeys;
use engine::payment::Reply;
use hsm::MacAlgorithm;
use iso8583::frame::{self, PosHeader, Tpdu};
use iso8583::subfield::{PosField60, Totals48};
use iso8583::{BuildError, Dialect, Draft, FrameError, Message, Mti};
use jiff::Timestamp;

/// Why an answer cannot be made; the connection is closed then.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A field does not fit.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The frame does not fit.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The security module does not sign.
    #[error(transparent)]
    Hsm(#[from] hsm::HsmError),
}

/// Where an answer goes.
#[derive(Clone, Copy)]
pub struct Address {
    /// TPDU of the request.
    pub tpdu: Tpdu,
    /// Header of the request.
    pub header: Option<PosHeader>,
}

/// How an answer is signed.
#[derive(Clone, Copy)]
pub struct Signing<'a> {
    /// The engine, which asks the security module.
    pub engine: &'a Engine,
    /// The terminal's keys.
    pub keys: &'a LiveKeys,
    /// The algorithm of its profile.
    pub algorithm: MacAlgorithm,
}

/// An answer in the making.
pub struct Answer {
    draft: Draft,
}

impl Address {
    /// The same, with the processing requirement in digit 6 of the header.
    #[must_use]
    pub fn requiring(self, digit: u8) -> Self {
        Address { header: self.header.map(|header| header.with_requirement(digit)), ..self }
    }
}

impl Answer {
    /// Begins the answer to `request`, with the fields that the table copies.
    pub fn to(
        dialect: &'static Dialect,
        request: &Message<'_>,
        spec: &KindSpec,
    ) -> Result<Answer, AnswerError> {
        Self::copying(dialect, request.mti(), Some(request), spec.copied)
    }

    /// Begins the answer to a message whose fields cannot be read or are of no known transaction: what can
    /// be told of it is its type, and when its fields can be read those that a terminal compares with what it
    /// sent: without them it would take the refusal for no answer and reverse what never was.
    pub fn bare(
        dialect: &'static Dialect,
        mti: Mti,
        request: Option<&Message<'_>>,
    ) -> Result<Answer, AnswerError> {
        const COMPARED: FieldSet = FieldSet::of(&[2, 3, 4, 11, 14, 22, 23, 25, 41, 42, 49, 53, 60]);
        Self::copying(dialect, mti, request, COMPARED)
    }

    fn copying(
        dialect: &'static Dialect,
        mti: Mti,
        request: Option<&Message<'_>>,
        copied: FieldSet,
    ) -> Result<Answer, AnswerError> {
        let mut draft = Draft::new();
        draft.start(dialect, mti.response());
        for number in copied.iter() {
            if let Some(field) = request.and_then(|request| request.field(number)) {
                draft.put_field(&field)?;
            }
        }
        Ok(Answer { draft })
    }

    /// Response code and the host's clock (fields 39, 12, 13), which every answer has.
    pub fn outcome(&mut self, code: ResponseCode, at: Timestamp) -> Result<(), AnswerError> {
        let local = Beijing::of(at);
        self.draft.put_number(12, u64::from(local.hhmmss()))?;
        self.draft.put_number(13, u64::from(local.mmdd()))?;
        self.draft.put_text(39, code.as_str())?;
        Ok(())
    }

    /// Acquirer and reference number (fields 32, 37).
    pub fn reference(&mut self, acquirer: &str, rrn: Option<Rrn>) -> Result<(), AnswerError> {
        self.draft.put_digits(32, acquirer)?;
        if let Some(rrn) = rrn {
            self.draft.put_text(37, rrn.as_str())?;
        }
        Ok(())
    }

    /// Everything that a payment or reversal tells.
    pub fn payment(&mut self, reply: &Reply, spec: &KindSpec, acquirer: &str) -> Result<(), AnswerError> {
        let answer = &reply.answer;
        self.outcome(answer.code, answer.at)?;
        self.reference(acquirer, reply.rrn)?;
        if !self.draft.has(2)
            && let Some(pan) = &reply.pan
        {
            self.draft.put_digits(2, pan.reveal())?;
        }
        if let Some(total) = reply.total.filter(|_| answer.code == ResponseCode::PARTIAL) {
            self.draft.put_number(4, total.fen())?;
        }
        if let Some(date) = answer.settle_date {
            self.draft.put_number(15, u64::from(date))?;
        }
        if let Some(code) = &answer.auth_code {
            self.draft.put_text(38, code.as_str())?;
        }
        if let Some(issuer) = &answer.issuer {
            // 44.1 receiving institution and 44.2 acquirer, eleven characters each.
            self.draft.put_text(44, &format!("{issuer:<11}{acquirer:<11}"))?;
        }
        if let Some(balance) = &answer.balance {
            self.draft.put_text(54, balance)?;
        }
        if let Some(chip) = &answer.chip {
            self.draft.put_bytes(55, chip)?;
        }
        if let Some(plan) = &answer.plan {
            self.draft.put_bytes(62, plan.as_bytes())?;
        }
        // Of a refund field 63 comes back as it was sent; of a foreign card it is ours to say.
        if let Some(organisation) = reply.organisation.filter(|_| spec.needs_card)
            && (!self.draft.has(63) || organisation != UNIONPAY)
        {
            self.draft.put_text(63, organisation)?;
        }
        Ok(())
    }

    /// Field 60 with the batch that the terminal must use from now on.
    pub fn batch(&mut self, of_request: &PosField60, batch: u32) -> Result<(), AnswerError> {
        let field = PosField60 { batch, ..*of_request };
        self.draft.put_digits(60, &field.to_digits())?;
        Ok(())
    }

    /// Field 62: working keys, or what is downloaded.
    pub fn private(&mut self, blob: &[u8]) -> Result<(), AnswerError> {
        self.draft.put_bytes(62, blob)?;
        Ok(())
    }

    /// A field as the request had it.
    pub fn as_sent(&mut self, request: &Message<'_>, number: u8) -> Result<(), AnswerError> {
        if let Some(field) = request.field(number) {
            self.draft.put_field(&field)?;
        }
        Ok(())
    }

    /// Field 48 of 0510: the terminal's totals with our results.
    pub fn totals(
        &mut self,
        request: &Message<'_>,
        domestic: BlockResult,
        foreign: BlockResult,
    ) -> Result<(), AnswerError> {
        let mut totals = Totals48::of(request).ok().flatten().unwrap_or_default();
        totals.domestic.result = domestic.digit();
        totals.foreign.result = foreign.digit();
        self.draft.put_digits(48, &totals.to_digits())?;
        Ok(())
    }

    /// Writes the frame; signed when `signing` is given. Gives where the message begins in `out`.
    pub fn write(
        self,
        out: &mut Vec<u8>,
        address: Address,
        signing: Option<Signing<'_>>,
    ) -> Result<usize, AnswerError> {
        let mark = frame::begin_pos(out, address.tpdu.swapped(), address.header);
        let body = out.len();
        match signing {
            Some(s) => self.draft.write_with_mac(out, |block| {
                s.engine.sign(s.keys, s.algorithm, block).map_err(AnswerError::Hsm)
            })?,
            None => self.draft.write(out)?,
        }
        frame::finish_pos(out, mark)?;
        Ok(body)
    }
}

/// Whether the answer of this kind is signed: by the table, and only when the terminal has keys.
pub fn is_signed(spec: &KindSpec) -> bool {
    spec.mac_answer && spec.kind != Kind::SignIn
}
