//! The kernel in the reader, as the app of the phone has it.
//!
//! When the link is lost before the host was asked, nothing has happened. Lost afterwards, the chip counts as removed: what
//! the host approves is refused and reversed, but for a card that was tapped, which had left anyway.

use std::sync::Arc;

use hal::DeviceKind;
use iso8583::{CardNumber, tlv};
use kernel::decide::{self, Host, Issuer, Second};
use kernel::{
    AbortReason, Answer, Candidate, CardChannel, ChipData, Cvm, FollowUp, Interface, Kernel, KernelParams,
    Loaded, Other, ParamError, Reason, Step, StepKind, TransParams,
};
use readerlink::{CardFacts, EmvAnswer, EmvStart, EmvStep, EmvTurn, Found, Interfaces, LinkError};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::codes::{self, Flags};
use crate::params;
use crate::remote::{Again, Link};

/// The reader's kernel at the other end of the link.
pub(crate) struct RemoteKernel {
    link: Arc<Link>,
    records: Vec<Vec<u8>>,
    /// The connection on which the card is at work.
    epoch: u64,
    tapped: bool,
    online: bool,
    step: Step,
    data: Option<ChipData>,
}

fn nothing(reason: Reason) -> Step {
    let kind = StepKind::Terminated { follow_up: FollowUp::default() };
    Step { kind, tvr: [0; 5], tsi: [0; 2], reason }
}

/// Eight digits as the link has them.
fn packed(mut number: u32) -> [u8; 4] {
    let mut out = [0; 4];
    for byte in out.iter_mut().rev() {
        let [pair, ..] = (number % 100).to_le_bytes();
        *byte = ((pair / 10) << 4) | (pair % 10);
        number /= 100;
    }
    out
}

impl RemoteKernel {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            records: Vec::new(),
            epoch: 0,
            tapped: false,
            online: false,
            step: nothing(Reason::NotLoaded),
            data: None,
        }
    }

    fn say(&mut self, step: Step) -> Step {
        self.online = matches!(step.kind, StepKind::OnlineRequired { .. });
        self.step = step;
        self.step.clone()
    }

    /// The reader cannot be reached any more, or says what it may not say here.
    fn lost(&mut self, host: Option<Host>) -> Step {
        let Some(host) = host.filter(|_| self.online) else { return self.say(nothing(Reason::ReaderLost)) };
        let second =
            if self.tapped && host == Host::Approved { Second::Certificate } else { Second::Nothing };
        let outcome = decide::decide(host, Issuer::Absent, second);
        let follow_up = FollowUp { upload: kernel::Upload::None, ..outcome.follow_up };
        let data = self.data.as_ref();
        let kind = if outcome.approved {
            StepKind::Approved {
                offline: false,
                cryptogram: data.and_then(|data| data.cryptogram).unwrap_or_default(),
                field55: data.map(|data| data.field55_upload.clone()).unwrap_or_default(),
                arpc_failed: false,
                cvm: data.map_or(Cvm::NONE, |data| data.cvm),
                follow_up,
            }
        } else {
            let field55 = data.map(|data| data.field55_reversal.clone()).unwrap_or_default();
            StepKind::Declined { offline: false, cryptogram: None, field55, follow_up }
        };
        let (tvr, tsi) = (self.step.tvr, self.step.tsi);
        let reason = if outcome.approved { outcome.reason } else { Reason::ReaderLost };
        self.say(Step { kind, tvr, tsi, reason })
    }

    /// What the reader answered, as the app knows steps.
    fn take(&mut self, turn: EmvTurn) -> Step {
        let EmvTurn { step, results, card } = turn;
        let flags = Flags::of(results.flags);
        let request55 = match (&step, &self.data) {
            (EmvStep::Online(field55), _) => field55.clone(),
            (_, Some(data)) => data.field55_request.clone(),
            (_, None) => Vec::new(),
        };
        if let Some(card) = card {
            let Some(data) = chip_data(card, &flags, &results, request55) else {
                return self.say(nothing(Reason::CardData));
            };
            self.data = Some(data);
        }
        let follow_up = codes::follow_up(&results);
        let data = self.data.as_ref();
        let cvm = data.map_or(Cvm::NONE, |data| data.cvm);
        let cryptogram = data.and_then(|data| data.cryptogram);
        let candidate = |label| Candidate { aid: Vec::new(), label, priority: 0, confirm: true };
        let kind = match step {
            EmvStep::SelectApp(names) => {
                StepKind::SelectApp { candidates: names.into_iter().map(candidate).collect() }
            }
            EmvStep::ConfirmApp(name) => StepKind::ConfirmApp { candidate: candidate(name) },
            EmvStep::NeedPin(tries_left) => {
                StepKind::NeedPin { online: tries_left.is_none(), tries_left, bypass_ok: flags.bypass_ok }
            }
            // Without a track there is nothing that could name the card to the host.
            EmvStep::Online(_) if data.is_none_or(|data| data.track2.is_none()) => {
                return self.say(nothing(Reason::CardData));
            }
            EmvStep::Online(field55) => StepKind::OnlineRequired { field55, cvm, entry: flags.entry },
            EmvStep::Approved(field55) => StepKind::Approved {
                offline: flags.offline,
                cryptogram: cryptogram.unwrap_or_default(),
                field55,
                arpc_failed: flags.arpc_failed,
                cvm,
                follow_up,
            },
            EmvStep::Declined(field55) => {
                StepKind::Declined { offline: flags.offline, cryptogram, field55, follow_up }
            }
            EmvStep::Fallback => StepKind::Fallback,
            EmvStep::TryOther(Interfaces(ways)) => StepKind::TryOther(if ways & Interfaces::CHIP != 0 {
                Other::Contact
            } else if ways & Interfaces::TAP != 0 {
                Other::Contactless
            } else {
                Other::Swipe
            }),
            EmvStep::Terminated => StepKind::Terminated { follow_up },
        };
        let reason = codes::reason(results.reason);
        self.say(Step { kind, tvr: results.tvr, tsi: results.tsi, reason })
    }
}

/// The card as slip, message and batch need it. Nothing when the reader tells what it may not.
fn chip_data(
    card: CardFacts,
    flags: &Flags,
    results: &readerlink::Results,
    request55: Vec<u8>,
) -> Option<ChipData> {
    let find = |tag| tlv::find(&card.objects, tag).ok().flatten();
    let text = |tag| find(tag).and_then(|value| String::from_utf8(value.to_vec()).ok());
    // Number, track and name do not belong here; a reader that sends them is not used.
    if [0x5A, 0x57, 0x5F20].into_iter().any(|tag| find(tag).is_some()) {
        return None;
    }
    Some(ChipData {
        field55_request: request55,
        field55_reversal: card.reversal55,
        field55_script_result: card.script55,
        field55_upload: card.upload55,
        sequence: find(0x5F34).and_then(|value| value.first().copied()),
        aid: find(0x84).unwrap_or_default().to_vec(),
        label: text(0x50).unwrap_or_default(),
        preferred_name: text(0x9F12),
        tvr: results.tvr,
        tsi: results.tsi,
        atc: find(0x9F36).and_then(|value| value.try_into().ok()),
        un: find(0x9F37).and_then(|value| value.try_into().ok()).unwrap_or_default(),
        aip: find(0x82).and_then(|value| value.try_into().ok()).unwrap_or_default(),
        iad: find(0x9F10).unwrap_or_default().to_vec(),
        cryptogram: find(0x9F26).and_then(|value| value.try_into().ok()),
        cryptogram_name: match find(0x9F27) {
            Some([0x40]) => "TC",
            Some([0x80]) => "ARQC",
            Some([0x00]) => "AAC",
            _ => "",
        },
        cvm: Cvm {
            results: find(0x9F34).and_then(|value| value.try_into().ok()).unwrap_or(Cvm::NONE.results),
            pin: flags.pin,
            signature: flags.signature,
            small_amount: flags.small_amount,
            on_device: flags.on_device,
        },
        script_result: find(0xDF31).map(<[u8]>::to_vec),
        pan: CardNumber::hidden(&card.masked_pan)?,
        track2: card.cipher_track.map(Zeroizing::new),
        expiry: Zeroizing::new(card.expiry.unwrap_or_default()),
        entry: flags.entry,
        credit: flags.credit,
    })
}

impl Kernel for RemoteKernel {
    fn load(&mut self, params: &KernelParams) -> Result<Loaded, Vec<ParamError>> {
        // Read here as well, so that a bad record is told by its place. They go to the reader with the next payment.
        let loaded = kernel::EmvKernel::new().load(params)?;
        self.records = params::to_records(params);
        Ok(loaded)
    }

    fn start(&mut self, params: TransParams, _: &mut dyn CardChannel) -> Step {
        self.data = None;
        self.online = false;
        self.tapped = params.interface == Interface::Contactless;
        let ([year, month, day], [hour, minute, second]) = (params.date, params.time);
        let request = EmvStart {
            amount_fen: params.amount,
            kind: params.kind,
            at: [year, month, day, hour, minute, second],
            currency: params.currency,
            interface: if self.tapped { Found::Tap } else { Found::Chip },
            // The reader draws its own: it does not trust a phone's.
            un: None,
            sequence: Some(packed(params.sequence)),
        };
        let mut digest = Sha256::new();
        self.records.iter().for_each(|record| digest.update(record));
        let digest: [u8; 32] = digest.finalize().into();
        let records = &self.records;
        let begun = self.link.call(DeviceKind::Emv, Again::No, |line| {
            if line.tables != Some(digest) {
                line.remote.load_params(records, true)?;
                line.tables = Some(digest);
            }
            line.remote.emv_start(&request)
        });
        self.epoch = self.link.epoch();
        match begun {
            Ok(turn) => self.take(turn),
            Err(error) => {
                tracing::warn!(%error, "the reader does not begin");
                let reason = match error.kind {
                    hal::ErrorKind::CardRemoved => Reason::CardRemoved,
                    hal::ErrorKind::KernelError | hal::ErrorKind::NoKey => Reason::NotLoaded,
                    _ => Reason::ReaderLost,
                };
                self.say(nothing(reason))
            }
        }
    }

    fn resume(&mut self, answer: Answer, _: &mut dyn CardChannel) -> Step {
        let (answer, host) = match answer {
            Answer::AppChosen(index) => match u8::try_from(index) {
                Ok(index) => (EmvAnswer::Chosen(index), None),
                Err(_) => return Step { reason: Reason::OutOfOrder, ..self.step.clone() },
            },
            Answer::Confirmed => (EmvAnswer::Confirmed, None),
            Answer::PinEntered => (EmvAnswer::PinEntered, None),
            Answer::PinBypassed => (EmvAnswer::PinBypassed, None),
            Answer::HostAnswer { code, field55 } => {
                let host = if decide::approves(code) { Host::Approved } else { Host::Declined };
                (EmvAnswer::Host { code, field55 }, Some(host))
            }
            // An answer that is none is silence to the card; that the message is reversed is the protocol's business.
            Answer::HostAnswerInvalid | Answer::HostUnreachable => {
                (EmvAnswer::Unreachable, Some(Host::Silent))
            }
            Answer::OfflinePin(_) | Answer::PinPadFailed => return self.abort(AbortReason::Other),
        };
        if self.step.is_end() {
            return Step { reason: Reason::OutOfOrder, ..self.step.clone() };
        }
        match self.link.go_on(self.epoch, |line| line.remote.emv_continue(&answer)) {
            Some(Ok(turn)) => self.take(turn),
            Some(Err(error)) => {
                let removed =
                    matches!(&error, LinkError::Fault(fault) if *fault == readerlink::Fault::CARD_REMOVED);
                tracing::warn!(%error, removed, "the reader does not go on");
                self.lost(host)
            }
            None => self.lost(host),
        }
    }

    fn abort(&mut self, reason: AbortReason) -> Step {
        let reversal = self.online.then_some(decide::REVERSAL_SILENT);
        let kind = StepKind::Terminated { follow_up: FollowUp { reversal, ..FollowUp::default() } };
        let (tvr, tsi) = (self.step.tvr, self.step.tsi);
        self.say(Step { kind, tvr, tsi, reason: Reason::Aborted(reason) })
    }

    /// Single objects do not go over the link.
    fn get_tlv(&self, _: u32) -> Option<Zeroizing<Vec<u8>>> {
        None
    }

    fn dump(&self) -> String {
        self.data.as_ref().map(|data| format!("{data:?}")).unwrap_or_default()
    }

    fn chip_data(&self) -> Option<ChipData> {
        self.data.clone()
    }
}
