//! The kernel itself: which answer fits where, and what a broken-off card means.

use zeroize::Zeroizing;

use crate::channel::{CardChannel, ChannelError};
use crate::contact::{Pause, Way, Went};
use crate::decide::{REVERSAL_CARD, REVERSAL_SILENT};
use crate::fallback::{Case, Rules, rule};
use crate::step::{
    AbortReason, Answer, Candidate, ChipData, EntryMode, FollowUp, Interface, Other, Reason, Step, StepKind,
    TransParams,
};
use crate::trans::{Halt, Set, Trans};
use crate::{Kernel, KernelParams, Loaded, ParamError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Select,
    Confirm,
    Pin { online: bool },
    Online,
    Ended,
}

/// The kernel of the laboratory. Not type approved.
pub struct EmvKernel {
    set: Option<Set>,
    trans: Option<Trans>,
    phase: Phase,
    step: Step,
    /// Chips in a row that could not be read.
    failures: u8,
}

impl Default for EmvKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for EmvKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmvKernel")
            .field("phase", &self.phase)
            .field("reason", &self.step.reason)
            .finish_non_exhaustive()
    }
}

impl EmvKernel {
    /// A kernel without parameters.
    pub const fn new() -> Self {
        let kind = StepKind::Terminated {
            follow_up: FollowUp { reversal: None, script_result: false, upload: crate::Upload::None },
        };
        Self {
            set: None,
            trans: None,
            phase: Phase::Idle,
            step: Step { kind, tvr: [0; 5], tsi: [0; 2], reason: Reason::NotLoaded },
            failures: 0,
        }
    }

    /// Says where the payment stands now, and remembers it.
    fn say(&mut self, phase: Phase, kind: StepKind, reason: Reason) -> Step {
        let (tvr, tsi) = self.trans.as_ref().map_or(([0; 5], [0; 2]), |trans| (trans.tvr, trans.tsi));
        self.phase = phase;
        self.step = Step { kind, tvr, tsi, reason };
        self.step.clone()
    }

    fn out_of_order(&self) -> Step {
        Step { reason: Reason::OutOfOrder, ..self.step.clone() }
    }

    fn went(&mut self, went: Went) -> Step {
        let Some(trans) = &mut self.trans else { return self.out_of_order() };
        match went {
            Ok(Pause::Select) => {
                let candidates = trans.candidates.clone();
                self.say(Phase::Select, StepKind::SelectApp { candidates }, Reason::Normal)
            }
            Ok(Pause::Confirm) => {
                let candidate = trans.candidates.first().cloned().unwrap_or_else(no_candidate);
                self.say(Phase::Confirm, StepKind::ConfirmApp { candidate }, Reason::Normal)
            }
            Ok(Pause::Pin { online, tries_left }) => {
                let kind = StepKind::NeedPin { online, tries_left, bypass_ok: trans.may_bypass() };
                self.say(Phase::Pin { online }, kind, Reason::Normal)
            }
            Ok(Pause::Online) => {
                self.failures = 0;
                let kind = StepKind::OnlineRequired {
                    field55: trans.request55.clone(),
                    cvm: trans.cvm,
                    entry: trans.entry(),
                };
                self.say(Phase::Online, kind, Reason::Normal)
            }
            Err(Halt::End(kind, reason)) => {
                if !matches!(kind, StepKind::TryOther(_)) {
                    self.failures = 0;
                }
                self.say(Phase::Ended, kind, reason)
            }
            Err(Halt::Channel(error)) => self.broken(error),
        }
    }

    /// The card fell silent before anything left the terminal.
    fn broken(&mut self, error: ChannelError) -> Step {
        let (mode, spoke) = self
            .trans
            .as_ref()
            .map_or((EntryMode::Chip, false), |trans| (trans.mode, !trans.cdol1_data.is_empty()));
        let reason =
            if error == ChannelError::Removed { Reason::CardRemoved } else { Reason::ChipUnreadable };
        let nothing = StepKind::Terminated { follow_up: FollowUp::default() };
        let tapped = matches!(mode, EntryMode::QuickPass | EntryMode::FullContactless);
        let kind = match error {
            ChannelError::Removed if tapped => StepKind::TryOther(Other::Contactless),
            ChannelError::Removed => nothing,
            ChannelError::Mute | ChannelError::Comm if tapped => {
                rule(Case::TapFailed { has_contacts: true }, Rules::default()).step().unwrap_or(nothing)
            }
            ChannelError::Mute | ChannelError::Comm if spoke => nothing,
            ChannelError::Mute | ChannelError::Comm => {
                self.failures = self.failures.saturating_add(1);
                let tries = self.set.as_ref().map_or(3, |set| set.terminal.chip_tries);
                let rules = Rules { tries, ..Rules::default() };
                rule(Case::Unreadable { tries: self.failures }, rules).step().unwrap_or(nothing)
            }
        };
        if kind == StepKind::Fallback {
            self.failures = 0;
        }
        self.say(Phase::Ended, kind, reason)
    }

    fn way(&mut self, card: &mut dyn CardChannel, go: impl FnOnce(&mut Way<'_>) -> Went) -> Step {
        let went = match (&self.set, &mut self.trans) {
            (Some(set), Some(trans)) => go(&mut Way { set, trans, card }),
            _ => return self.out_of_order(),
        };
        self.went(went)
    }

    fn last(
        &mut self,
        card: &mut dyn CardChannel,
        go: impl FnOnce(&mut Way<'_>) -> (StepKind, Reason),
    ) -> Step {
        let (kind, reason) = match (&self.set, &mut self.trans) {
            (Some(set), Some(trans)) => go(&mut Way { set, trans, card }),
            _ => return self.out_of_order(),
        };
        self.say(Phase::Ended, kind, reason)
    }

    fn tapped(&self) -> bool {
        self.trans.as_ref().is_some_and(|trans| trans.mode == EntryMode::QuickPass)
    }
}

fn no_candidate() -> Candidate {
    Candidate { aid: Vec::new(), label: String::new(), priority: 0, confirm: true }
}

impl Kernel for EmvKernel {
    fn load(&mut self, params: &KernelParams) -> Result<Loaded, Vec<ParamError>> {
        let (tables, loaded) = params.parse()?;
        self.set = Some(Set {
            tables,
            revoked: params.revoked.clone(),
            terminal: params.terminal.clone(),
            quickpass: params.quickpass.clone(),
        });
        self.trans = None;
        self.failures = 0;
        self.say(Phase::Idle, StepKind::Terminated { follow_up: FollowUp::default() }, Reason::Normal);
        Ok(loaded)
    }

    fn start(&mut self, params: TransParams, card: &mut dyn CardChannel) -> Step {
        let Some(set) = &self.set else {
            self.trans = None;
            return self.say(
                Phase::Idle,
                StepKind::Terminated { follow_up: FollowUp::default() },
                Reason::NotLoaded,
            );
        };
        let tap = params.interface == Interface::Contactless;
        let too_much = tap && crate::tap::too_much(set, &params);
        self.trans = Some(Trans::new(params, set));
        if too_much {
            return self.say(Phase::Ended, StepKind::TryOther(Other::Contact), Reason::ContactlessLimit);
        }
        self.way(card, |way| if tap { way.tap() } else { way.begin() })
    }

    fn resume(&mut self, answer: Answer, card: &mut dyn CardChannel) -> Step {
        let tapped = self.tapped();
        let bypass_ok = self.trans.as_ref().is_some_and(Trans::may_bypass);
        match (self.phase, answer) {
            (Phase::Select, Answer::AppChosen(index)) => {
                let known = self.trans.as_ref().is_some_and(|trans| index < trans.candidates.len());
                if !known {
                    return self.out_of_order();
                }
                self.way(card, |way| way.take_chosen(index))
            }
            (Phase::Confirm, Answer::Confirmed | Answer::AppChosen(0)) => {
                self.way(card, |way| way.take_chosen(0))
            }
            (Phase::Pin { online: true }, Answer::PinEntered) if tapped => {
                self.way(card, |way| way.tap_pin(true))
            }
            (Phase::Pin { online: true }, Answer::PinEntered) => self.way(card, |way| way.pin_entered()),
            (Phase::Pin { online: false }, Answer::OfflinePin(pin)) => {
                self.way(card, |way| way.pin_for_card(&pin))
            }
            (Phase::Pin { .. }, Answer::PinBypassed) if bypass_ok && tapped => {
                self.way(card, |way| way.tap_pin(false))
            }
            (Phase::Pin { .. }, Answer::PinBypassed) if bypass_ok => {
                self.way(card, |way| way.pin_missing(0x08))
            }
            (Phase::Pin { .. }, Answer::PinPadFailed) if tapped => {
                self.say(Phase::Ended, StepKind::TryOther(Other::Contact), Reason::NotAllowed)
            }
            (Phase::Pin { .. }, Answer::PinPadFailed) => self.way(card, |way| way.pin_missing(0x10)),
            (Phase::Online, Answer::HostAnswer { code, field55 }) => {
                self.last(card, |way| way.answered(code, &field55))
            }
            (Phase::Online, Answer::HostAnswerInvalid) => self.last(card, |way| way.invalid()),
            (Phase::Online, Answer::HostUnreachable) => self.last(card, |way| way.silent()),
            _ => self.out_of_order(),
        }
    }

    fn abort(&mut self, reason: AbortReason) -> Step {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return self.out_of_order();
        }
        let reversal = match (self.phase, reason) {
            (Phase::Online, AbortReason::CardRemoved) => Some(REVERSAL_CARD),
            (Phase::Online, _) => Some(REVERSAL_SILENT),
            _ => None,
        };
        let kind = StepKind::Terminated { follow_up: FollowUp { reversal, ..FollowUp::default() } };
        self.say(Phase::Ended, kind, Reason::Aborted(reason))
    }

    fn get_tlv(&self, tag: u32) -> Option<Zeroizing<Vec<u8>>> {
        let trans = self.trans.as_ref()?;
        let value = match tag {
            crate::data::tag::TVR => trans.tvr.to_vec(),
            crate::data::tag::TSI => trans.tsi.to_vec(),
            crate::data::tag::SCRIPT_RESULT if !trans.script_result.is_empty() => trans.script_result.clone(),
            other => trans.store.get(other)?.to_vec(),
        };
        Some(Zeroizing::new(value))
    }

    fn dump(&self) -> String {
        self.trans.as_ref().map(|trans| trans.store.dump()).unwrap_or_default()
    }

    fn chip_data(&self) -> Option<ChipData> {
        let (trans, set) = (self.trans.as_ref()?, self.set.as_ref()?);
        if trans.pan().is_empty() {
            return None;
        }
        Some(trans.chip_data(set.terminal.reversal_with_atc))
    }
}
