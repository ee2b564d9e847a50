//! Stripe, slot, field, and all of them at once.

use std::sync::{Arc, PoisonError};

use hal::{
    Call, CardDetector, Deadline, DetectRequest, DeviceKind, ErrorKind, Found, HalError, IccReader, MagData,
    MagReader, MifareCard, MifareKey, PowerUp, PsamSlot, Result, RfCard, RfKind, RfReader, SwipeRequest,
};

use crate::VirtualDevice;
use crate::card::{CardHandle, MifareChip, Side, read_stripe};
use crate::state::{State, Swipe};

/// A face of the device: which of its parts a lease is for.
pub(crate) struct Face {
    pub device: Arc<VirtualDevice>,
    pub index: u8,
}

fn error(kind: ErrorKind, device: DeviceKind) -> HalError {
    HalError::new(kind, device)
}

/// What a card did with a command.
enum Said {
    Answer(Vec<u8>),
    Nothing,
    /// It is gone.
    Left,
}

impl Said {
    /// The answer, or what silence is at this reader.
    fn answer(self, silent: ErrorKind, device: DeviceKind) -> Result<Vec<u8>> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Nothing | Self::Left => Err(error(silent, device)),
        }
    }
}

/// One command. The reader waits as long as the card takes, and not longer than the call.
fn talk(card: &CardHandle, apdu: &[u8], call: &Call, device: DeviceKind) -> Result<Said> {
    let (said, delay) = {
        let mut card = card.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match card.transmit(apdu) {
            Some(answer) => Said::Answer(answer),
            None if card.has_left() => Said::Left,
            None => Said::Nothing,
        };
        (said, card.delay())
    };
    if !delay.is_zero() {
        call.cancel.wait_until(Deadline::after(delay).min(call.deadline));
        call.check(device)?;
    }
    Ok(said)
}

fn power_up(card: &CardHandle, side: Side) -> Option<Vec<u8>> {
    card.lock().unwrap_or_else(PoisonError::into_inner).power_up(side)
}

impl VirtualDevice {
    /// Reads what was swiped, and counts it.
    fn take_swipe(&self, swipe: Swipe, request: &SwipeRequest) -> Result<MagData> {
        let read = match swipe {
            Swipe::Read(stripe) => read_stripe(&stripe, request, &self.secure),
            Swipe::Unreadable => {
                Err(error(ErrorKind::Comm, DeviceKind::Mag).text("the stripe cannot be read"))
            }
        };
        let unreadable = read.as_ref().is_err_and(|error| error.kind == ErrorKind::Comm);
        self.change(|state| {
            let counters = &mut state.counters;
            let counter = if unreadable { &mut counters.swipe_failures } else { &mut counters.swipes };
            *counter = counter.saturating_add(1);
        });
        read
    }

    /// Whether a key that shall encipher a stripe is there; asked before the card is swiped.
    fn swipe_key(&self, request: &SwipeRequest) -> Result<()> {
        match request.encrypt_with {
            Some(slot) => hal::KeyStore::kcv(&*self.secure, slot)
                .map(drop)
                .map_err(|failed| error(failed.kind, DeviceKind::Mag)),
            None => Ok(()),
        }
    }
}

impl MagReader for Face {
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData> {
        self.device.swipe_key(request)?;
        self.device.change(|state| state.swipe = None);
        let swipe = self.device.wait(DeviceKind::Mag, call, |state| state.swipe.take().map(Ok))?;
        self.device.take_swipe(swipe, request)
    }
}

impl IccReader for Face {
    fn present(&self) -> Result<bool> {
        self.device.powered(DeviceKind::Icc)?;
        Ok(self.device.signal.lock().slot.is_some())
    }

    fn wait_card(&self, call: &Call) -> Result<()> {
        self.device.wait(DeviceKind::Icc, call, |state| state.slot.is_some().then_some(Ok(())))
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.device.wait(DeviceKind::Icc, call, |state| state.slot.is_none().then_some(Ok(())))
    }

    fn power_up(&self, _how: &PowerUp) -> Result<Vec<u8>> {
        self.device.powered(DeviceKind::Icc)?;
        let found = self.device.signal.lock().slot.as_ref().map(|slot| (slot.epoch, Arc::clone(&slot.card)));
        let (epoch, card) = found.ok_or_else(|| error(ErrorKind::NoCard, DeviceKind::Icc))?;
        let atr =
            power_up(&card, Side::Contact).ok_or_else(|| error(ErrorKind::CardMute, DeviceKind::Icc))?;
        self.device.change(|state| {
            state.counters.inserts = state.counters.inserts.saturating_add(1);
            state.slot_power = Some(epoch);
        });
        Ok(atr)
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Icc)?;
        self.device.powered(DeviceKind::Icc)?;
        let here = |state: &State| -> Result<CardHandle> {
            let powered = state.slot_power.ok_or_else(|| error(ErrorKind::NoCard, DeviceKind::Icc))?;
            let slot = state.slot.as_ref().filter(|slot| slot.epoch == powered);
            let slot = slot.ok_or_else(|| error(ErrorKind::CardRemoved, DeviceKind::Icc))?;
            Ok(Arc::clone(&slot.card))
        };
        let card = here(&self.device.signal.lock())?;
        let said = talk(&card, apdu, call, DeviceKind::Icc)?;
        if matches!(said, Said::Left) {
            self.device.change(|state| state.slot.take_if(|slot| Arc::ptr_eq(&slot.card, &card)));
        }
        // Taken out while it was thinking: it may have done what it was told, the answer is lost all the same.
        here(&self.device.signal.lock())?;
        said.answer(ErrorKind::CardMute, DeviceKind::Icc)
    }

    fn power_down(&self) -> Result<()> {
        self.device.slot_off();
        Ok(())
    }
}

impl VirtualDevice {
    pub(crate) fn slot_off(&self) {
        let card = self.change(|state| {
            let powered = state.slot_power.take();
            state.slot.as_ref().filter(|slot| Some(slot.epoch) == powered).map(|slot| Arc::clone(&slot.card))
        });
        if let Some(card) = card {
            card.lock().unwrap_or_else(PoisonError::into_inner).power_down();
        }
    }

    pub(crate) fn field_off(&self) {
        let card = self.change(|state| {
            state.field_on = false;
            let active = state.rf.take().filter(|(_, active)| *active).map(|(epoch, _)| epoch);
            state.field.iter().find(|(epoch, ..)| Some(*epoch) == active).map(|(.., card)| Arc::clone(card))
        });
        if let Some(card) = card {
            card.lock().unwrap_or_else(PoisonError::into_inner).power_down();
        }
    }
}

impl PsamSlot for Face {
    fn power_up(&self, _how: &PowerUp) -> Result<Vec<u8>> {
        self.device.powered(DeviceKind::Psam)?;
        let card = self.device.signal.lock().psam.get(&self.index).cloned();
        let card = card.ok_or_else(|| error(ErrorKind::NoCard, DeviceKind::Psam))?;
        let atr =
            power_up(&card, Side::Contact).ok_or_else(|| error(ErrorKind::CardMute, DeviceKind::Psam))?;
        self.device.change(|state| state.psam_power.insert(self.index, true));
        Ok(atr)
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Psam)?;
        self.device.powered(DeviceKind::Psam)?;
        let card = {
            let state = self.device.signal.lock();
            let powered = state.psam_power.get(&self.index).copied().unwrap_or_default();
            state.psam.get(&self.index).filter(|_| powered).cloned()
        };
        let card = card.ok_or_else(|| error(ErrorKind::NoCard, DeviceKind::Psam))?;
        let said = talk(&card, apdu, call, DeviceKind::Psam)?;
        said.answer(ErrorKind::CardMute, DeviceKind::Psam)
    }

    fn power_down(&self) -> Result<()> {
        self.device.change(|state| state.psam_power.remove(&self.index));
        Ok(())
    }
}

/// The only card in the field; two are an error, none is nothing.
fn in_field(state: &mut State, device: DeviceKind, kinds: &[RfKind]) -> Option<Result<RfCard>> {
    let [(epoch, found, _)] = state.field.as_slice() else {
        return (state.field.len() > 1).then(|| Err(error(ErrorKind::MultipleCards, device)));
    };
    if !kinds.is_empty() && !kinds.contains(&found.kind) {
        return None;
    }
    let found = found.clone();
    state.rf = Some((*epoch, false));
    Some(Ok(found))
}

impl Face {
    /// The card that was found in the field, while it is the only one there.
    fn found(&self, state: &State, active: bool) -> Result<(u64, CardHandle)> {
        let (epoch, is_active) = state.rf.ok_or_else(|| error(ErrorKind::NoCard, DeviceKind::Rf))?;
        if active && !is_active {
            return Err(error(ErrorKind::NoCard, DeviceKind::Rf));
        }
        let card = state.field.iter().find(|(at, ..)| *at == epoch);
        let (.., card) = card.ok_or_else(|| error(ErrorKind::CardRemoved, DeviceKind::Rf))?;
        if state.field.len() > 1 {
            return Err(error(ErrorKind::MultipleCards, DeviceKind::Rf));
        }
        Ok((epoch, Arc::clone(card)))
    }

    fn chip<R>(&self, act: impl FnOnce(&mut MifareChip) -> Result<R>) -> Result<R> {
        self.device.powered(DeviceKind::Rf)?;
        let (_, card) = self.found(&self.device.signal.lock(), true)?;
        let mut card = card.lock().unwrap_or_else(PoisonError::into_inner);
        act(card.mifare().ok_or_else(|| error(ErrorKind::NotSupported, DeviceKind::Rf))?)
    }
}

impl RfReader for Face {
    fn poll(&self, kinds: &[RfKind], call: &Call) -> Result<RfCard> {
        self.device.change(|state| state.field_on = true);
        self.device.wait(DeviceKind::Rf, call, |state| in_field(state, DeviceKind::Rf, kinds))
    }

    fn activate(&self) -> Result<Vec<u8>> {
        self.device.powered(DeviceKind::Rf)?;
        let (epoch, card) = self.found(&self.device.signal.lock(), false)?;
        let answer = power_up(&card, Side::Contactless);
        let answer = answer.ok_or_else(|| error(ErrorKind::Comm, DeviceKind::Rf))?;
        self.device.change(|state| {
            state.counters.taps = state.counters.taps.saturating_add(1);
            state.rf = Some((epoch, true));
        });
        Ok(answer)
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Rf)?;
        self.device.powered(DeviceKind::Rf)?;
        let (_, card) = self.found(&self.device.signal.lock(), true)?;
        let said = talk(&card, apdu, call, DeviceKind::Rf)?;
        if matches!(said, Said::Left) {
            self.device.change(|state| state.field.retain(|(.., there)| !Arc::ptr_eq(there, &card)));
        }
        self.found(&self.device.signal.lock(), true)?;
        said.answer(ErrorKind::Comm, DeviceKind::Rf)
    }

    fn halt(&self) -> Result<()> {
        self.device.change(|state| state.rf = None);
        Ok(())
    }

    fn field_off(&self) -> Result<()> {
        self.device.field_off();
        Ok(())
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.device.wait(DeviceKind::Rf, call, |state| state.field.is_empty().then_some(Ok(())))
    }

    fn mifare(&self) -> Option<&dyn MifareCard> {
        Some(self)
    }
}

impl MifareCard for Face {
    fn auth(&self, block: u8, which: MifareKey, key: &[u8; 6]) -> Result<()> {
        self.chip(|chip| chip.auth(block, which, key))
    }

    fn read(&self, block: u8) -> Result<[u8; 16]> {
        self.chip(|chip| chip.read(block))
    }

    fn write(&self, block: u8, data: &[u8; 16]) -> Result<()> {
        self.chip(|chip| chip.write(block, data))
    }

    fn increment(&self, block: u8, by: u32) -> Result<()> {
        self.chip(|chip| chip.change(block, i64::from(by)))
    }

    fn decrement(&self, block: u8, by: u32) -> Result<()> {
        self.chip(|chip| chip.change(block, -i64::from(by)))
    }

    fn restore(&self, block: u8) -> Result<()> {
        self.chip(|chip| chip.change(block, 0))
    }

    fn transfer(&self, block: u8) -> Result<()> {
        self.chip(|chip| chip.transfer(block))
    }
}

/// What the detector saw first.
enum Seen {
    Swipe(Swipe),
    Slot,
    Field(RfCard),
}

impl CardDetector for Face {
    fn interfaces(&self) -> (bool, bool, bool) {
        let has = |kind| self.device.has(kind);
        (has(DeviceKind::Mag), has(DeviceKind::Icc), has(DeviceKind::Rf))
    }

    fn detect(&self, request: &DetectRequest, call: &Call) -> Result<Found> {
        let (mag, icc, rf) = self.interfaces();
        if (request.mag && !mag) || (request.icc && !icc) || (request.rf && !rf) {
            return HalError::not_supported(DeviceKind::Detector);
        }
        if request.mag {
            self.device.swipe_key(&request.swipe)?;
        }
        self.device.change(|state| {
            state.field_on = request.rf;
            state.swipe = None;
        });
        let seen = self.device.wait(DeviceKind::Detector, call, |state| {
            if request.icc && state.slot.is_some() {
                return Some(Ok(Seen::Slot));
            }
            if request.mag
                && let Some(swipe) = state.swipe.take()
            {
                return Some(Ok(Seen::Swipe(swipe)));
            }
            let field = if request.rf { in_field(state, DeviceKind::Detector, &[]) } else { None };
            field.map(|found| found.map(Seen::Field))
        });
        match seen? {
            Seen::Slot => Ok(Found::Inserted),
            Seen::Field(card) => Ok(Found::Tapped(card)),
            Seen::Swipe(swipe) => {
                let data = self.device.take_swipe(swipe, &request.swipe);
                data.map(|data| request.judge(data))
                    .map_err(|failed| HalError { device: DeviceKind::Detector, ..failed })
            }
        }
    }
}
