//! A chip payment between kernel and protocol: the kernel talks to the card in the reader, the protocol asks it for field
//! 55 and tells it the host's answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hal::{CancelToken, HalError, IccReader, InField, InSlot, Lease, RfReader};
use iso8583::tlv;
use kernel::{
    AbortReason, Answer, CardChannel, ChipData, Kernel, NoCard, Reason, Step, StepKind, TransParams,
};
use pos::{Chip, ChipRecord, PosError, Verdict};

/// How long one command of a card may take.
const COMMAND: Duration = Duration::from_secs(10);

/// The reader in which the card is.
pub enum Reader {
    /// The slot.
    Slot(Lease<dyn IccReader>),
    /// The antenna.
    Field(Lease<dyn RfReader>),
    /// A reader in which the kernel runs, and which it reaches by itself.
    Own,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Slot(_) => "Slot",
            Self::Field(_) => "Field",
            Self::Own => "Own",
        })
    }
}

/// A chip payment. The app and the protocol hold it together.
pub struct ChipPayment {
    kernel: Box<dyn Kernel>,
    reader: Reader,
    cancel: CancelToken,
    last: Option<Step>,
}

impl ChipPayment {
    /// With a fresh kernel that has its parameters, and a card that has power.
    pub fn new(kernel: Box<dyn Kernel>, reader: Reader, cancel: CancelToken) -> Self {
        Self { kernel, reader, cancel, last: None }
    }

    fn talk(&mut self, act: impl FnOnce(&mut dyn Kernel, &mut dyn CardChannel) -> Step) -> Step {
        let kernel = self.kernel.as_mut();
        let step = match &self.reader {
            Reader::Slot(lease) => {
                let call = lease.call_with(COMMAND, &self.cancel);
                match lease.get() {
                    Ok(reader) => act(kernel, &mut InSlot { reader, call: &call }),
                    Err(_) => act(kernel, &mut NoCard),
                }
            }
            Reader::Field(lease) => {
                let call = lease.call_with(COMMAND, &self.cancel);
                match lease.get() {
                    Ok(reader) => act(kernel, &mut InField { reader, call: &call }),
                    Err(_) => act(kernel, &mut NoCard),
                }
            }
            Reader::Own => act(kernel, &mut NoCard),
        };
        self.last = Some(step.clone());
        step
    }

    /// Begins.
    pub fn start(&mut self, params: TransParams) -> Step {
        self.talk(|kernel, card| kernel.start(params, card))
    }

    /// Goes on after a step.
    pub fn resume(&mut self, answer: Answer) -> Step {
        self.talk(|kernel, card| kernel.resume(answer, card))
    }

    /// Breaks off.
    pub fn abort(&mut self, reason: AbortReason) -> Step {
        let step = self.kernel.abort(reason);
        self.last = Some(step.clone());
        step
    }

    /// What the card has told.
    pub fn data(&self) -> Option<ChipData> {
        self.kernel.chip_data()
    }

    /// Every data object known, masked.
    pub fn dump(&self) -> String {
        self.kernel.dump()
    }

    /// Takes the power from the card.
    ///
    /// # Errors
    /// The reader.
    pub fn power_down(&self) -> Result<(), HalError> {
        match &self.reader {
            Reader::Slot(lease) => lease.get()?.power_down(),
            Reader::Field(lease) => lease.get()?.field_off(),
            // The kernel does, when it is at its end.
            Reader::Own => Ok(()),
        }
    }
}

/// Locks a payment, also after a holder of it panicked.
pub fn held(payment: &Arc<Mutex<ChipPayment>>) -> std::sync::MutexGuard<'_, ChipPayment> {
    payment.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason of a step, for journal and screen.
pub fn reason(reason: Reason) -> String {
    format!("{reason:?}")
}

/// Field 55 without a tag.
fn without(field55: &[u8], tag: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(field55.len());
    for item in tlv::iter(field55).map_while(Result::ok).filter(|item| item.tag != tag) {
        tlv::write(&mut out, item.tag, item.value);
    }
    out
}

impl Chip for ChipPayment {
    fn goes_online(&self) -> bool {
        self.last.as_ref().is_some_and(|step| matches!(step.kind, StepKind::OnlineRequired { .. }))
    }

    fn field55(&self) -> Vec<u8> {
        self.data().map(|data| data.field55_request).unwrap_or_default()
    }

    fn reversal55(&self, with_atc: bool) -> Vec<u8> {
        let field55 = self.data().map(|data| data.field55_reversal).unwrap_or_default();
        if with_atc { field55 } else { without(&field55, 0x9F36) }
    }

    fn finish(&mut self, code: &str, approved: bool, field55: &[u8]) -> Result<Verdict, PosError> {
        let code =
            code.as_bytes().try_into().map_err(|_| PosError::Input("field 39 has two characters".into()))?;
        let step = self.resume(Answer::HostAnswer { code, field55: field55.to_vec() });
        let agrees = matches!(step.kind, StepKind::Approved { .. });
        Ok(if approved && !agrees { Verdict::Refuses } else { Verdict::Agrees })
    }

    fn approve_offline(&mut self) -> Result<ChipRecord, PosError> {
        match self.last.as_ref().map(|step| &step.kind) {
            Some(StepKind::Approved { offline: true, .. }) => Ok(self.record("Y1")),
            _ => Err(PosError::Input("the card does not approve by itself".into())),
        }
    }

    fn script_report(&self) -> Option<Vec<u8>> {
        self.data().and_then(|data| data.field55_script_result)
    }

    fn record(&self, code: &str) -> ChipRecord {
        let Some(data) = self.data() else { return ChipRecord::default() };
        let mut upload =
            if data.field55_upload.is_empty() { data.field55_request } else { data.field55_upload };
        if !tlv::iter(&upload).map_while(Result::ok).any(|item| item.tag == 0x8A) {
            tlv::write(&mut upload, 0x8A, code.as_bytes());
        }
        let upper = |bytes: &[u8]| hex::encode_upper(bytes);
        ChipRecord {
            field55: upper(&upload),
            sequence: data.sequence.unwrap_or_default(),
            cryptogram_name: data.cryptogram_name.to_owned(),
            cryptogram: data.cryptogram.map(|value| upper(&value)).unwrap_or_default(),
            aid: upper(&data.aid),
            label: data.preferred_name.unwrap_or(data.label),
            tvr: upper(&data.tvr),
            tsi: upper(&data.tsi),
            atc: data.atc.map(|value| upper(&value)).unwrap_or_default(),
            un: upper(&data.un),
            aip: upper(&data.aip),
            iad: upper(&data.iad),
            script_result: data.script_result.map(|value| upper(&value)),
            on_device: data.cvm.on_device,
        }
    }

    fn sequence(&self) -> u8 {
        self.data().and_then(|data| data.sequence).unwrap_or_default()
    }
}
