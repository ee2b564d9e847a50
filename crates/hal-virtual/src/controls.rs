//! The hands: what people do to a terminal, for pages and tests.

use std::sync::{Arc, PoisonError};

use hal::{Bitmap, Call, Code, DeviceKind, DrawerState, ErrorKind, HalError, Paper, Result, RfCard, Shown};

use crate::card::{CardHandle, Stripe};
use crate::state::{InSlot, PinKey, Printed, SERIAL_MAX, Swipe};
use crate::view::DeviceView;
use crate::{HOOKS_MAX, VirtualDevice};

/// Hands on a virtual device. Clones are the same hands.
#[derive(Clone)]
pub struct Controls(Arc<VirtualDevice>);

impl VirtualDevice {
    pub(crate) fn cut_power(&self) {
        self.change(|state| {
            state.power = false;
            state.era = state.era.saturating_add(1);
            state.slot_power = None;
            state.psam_power.clear();
            state.rf = None;
            state.field_on = false;
            state.swipe = None;
            state.serial = None;
            state.leds = Default::default();
            state.display = None;
        });
    }

    pub(crate) fn restore_power(&self) {
        self.change(|state| {
            if !state.power {
                state.power = true;
                state.counters.boots = state.counters.boots.saturating_add(1);
            }
        });
    }
}

impl Controls {
    pub(crate) const fn new(device: Arc<VirtualDevice>) -> Self {
        Self(device)
    }

    // Cards.

    /// Puts a card into the slot; whether there was room.
    pub fn insert(&self, card: &CardHandle) -> bool {
        self.0.change(|state| {
            if state.slot.is_some() {
                return false;
            }
            let epoch = state.epoch();
            state.slot = Some(InSlot { card: Arc::clone(card), epoch });
            true
        })
    }

    /// Takes the card out of the slot; whether there was one. A command under way loses its answer.
    pub fn remove(&self) -> bool {
        // The power session stays, pointing at a card that is gone: the next command learns "removed".
        let slot = self.0.change(|state| state.slot.take());
        slot.is_some_and(|slot| {
            slot.card.lock().unwrap_or_else(PoisonError::into_inner).power_down();
            true
        })
    }

    /// Holds a card to the antenna, beside others that are there. One without an antenna of its own does nothing.
    pub fn tap(&self, card: &CardHandle) {
        let (seen, count) = {
            let card = card.lock().unwrap_or_else(PoisonError::into_inner);
            (RfCard { kind: card.rf_kind(), uid: card.uid() }, card.in_field())
        };
        self.0.change(|state| {
            for _ in 0..count {
                let epoch = state.epoch();
                state.field.push((epoch, seen.clone(), Arc::clone(card)));
            }
        });
    }

    /// Takes all cards from the antenna.
    pub fn untap(&self) {
        let cards = self.0.change(|state| std::mem::take(&mut state.field));
        for (_, _, card) in cards {
            card.lock().unwrap_or_else(PoisonError::into_inner).power_down();
        }
    }

    /// Draws a card through the stripe reader; whether the reader was waiting. A swipe that nobody waits for
    /// is lost, as it is on a terminal.
    pub fn swipe(&self, stripe: &Stripe) -> bool {
        self.swiped(Swipe::Read(stripe.clone()))
    }

    /// Draws this card through the reader; whether the reader was waiting. One without a stripe cannot be read.
    pub fn swipe_card(&self, card: &CardHandle) -> bool {
        let stripe = card.lock().unwrap_or_else(PoisonError::into_inner).stripe();
        match stripe {
            Some(stripe) => self.swipe(&stripe),
            None => self.swipe_badly(),
        }
    }

    /// A swipe that cannot be read; whether the reader was waiting.
    pub fn swipe_badly(&self) -> bool {
        self.swiped(Swipe::Unreadable)
    }

    fn swiped(&self, swipe: Swipe) -> bool {
        self.0.change(|state| {
            let waits = state.waits(DeviceKind::Mag) || state.waits(DeviceKind::Detector);
            if waits {
                state.swipe = Some(swipe);
            }
            waits
        })
    }

    /// Builds a security module into a slot for one.
    pub fn set_psam(&self, index: u8, card: Option<&CardHandle>) {
        self.0.change(|state| match card {
            Some(card) => drop(state.psam.insert(index, Arc::clone(card))),
            None => drop(state.psam.remove(&index)),
        });
    }

    // PIN pad.

    /// Presses a key; whether a PIN is being typed.
    pub fn press(&self, key: PinKey) -> bool {
        self.0.change(|state| state.press(key))
    }

    /// Types digits where the layout has them, as a card holder does; whether a PIN is being typed. Does not
    /// confirm.
    pub fn type_digits(&self, digits: &str) -> bool {
        self.0.change(|state| {
            let Some(layout) = state.pin.as_ref().map(|entry| entry.layout) else { return false };
            digits.bytes().all(|digit| {
                let place = layout.iter().position(|shown| b'0' + shown == digit);
                place
                    .and_then(|place| u8::try_from(place).ok())
                    .is_some_and(|place| state.press(PinKey::At(place)))
            })
        })
    }

    // Paper.

    /// Puts a new roll in that never ends.
    pub fn new_roll(&self) {
        self.0.change(|state| {
            state.printer.lines_left = None;
            state.printer.paper = Paper::Enough;
        });
    }

    /// Leaves paper for so many lines; 0 is none.
    pub fn paper_left(&self, lines: u32) {
        self.0.change(|state| state.printer.lines_left = Some(lines));
    }

    /// Says that the end is near, or not.
    pub fn paper_low(&self, low: bool) {
        self.0.change(|state| state.printer.paper = if low { Paper::NearEnd } else { Paper::Enough });
    }

    /// Opens or closes the cover.
    pub fn cover(&self, open: bool) {
        self.0.change(|state| state.printer.cover_open = open);
    }

    /// Heats the head, or lets it cool.
    pub fn overheat(&self, hot: bool) {
        self.0.change(|state| state.printer.overheated = hot);
    }

    /// Takes current from the head, or gives it back.
    pub fn printer_power_low(&self, low: bool) {
        self.0.change(|state| state.printer.low_power = low);
    }

    /// Breaks the printer, or mends it.
    pub fn break_printer(&self, broken: bool) {
        self.0.change(|state| state.printer.fault = broken);
    }

    /// Holds the motor before the next line, or lets it go: a place in the middle of a slip to do things at.
    pub fn hold_printer(&self, held: bool) {
        self.0.change(|state| state.printer.held = held);
    }

    /// Tears off what hangs out of the printer.
    pub fn tear(&self) -> Vec<Printed> {
        self.0.change(|state| {
            let hanging = state.printer.printed.iter_mut().filter(|printed| !printed.torn);
            hanging
                .map(|printed| {
                    printed.torn = true;
                    printed.clone()
                })
                .collect()
        })
    }

    /// What was printed, the oldest first, at most [`PRINTED_MAX`](crate::PRINTED_MAX).
    pub fn printed(&self) -> Vec<Printed> {
        self.0.signal.lock().printer.printed.iter().cloned().collect()
    }

    // The rest.

    /// Holds a code before the camera, or takes it away. One that is read is taken.
    pub fn show_code(&self, code: Option<Code>) {
        self.0.change(|state| state.code = code);
    }

    /// Signs; whether the pad was waiting.
    pub fn sign(&self, signature: Bitmap) -> bool {
        self.0.change(|state| {
            let waits = state.signature_code.is_some();
            if waits {
                state.signature = Some(signature);
            }
            waits
        })
    }

    /// What the other end of the serial line sends; whether it fits.
    pub fn serial_send(&self, bytes: &[u8]) -> bool {
        self.0.change(|state| {
            let fits = state.serial_in.len().saturating_add(bytes.len()) <= SERIAL_MAX;
            if fits {
                state.serial_in.extend(bytes);
            }
            fits
        })
    }

    /// What the other end of the serial line has got since it was asked last.
    pub fn serial_received(&self) -> Vec<u8> {
        self.0.change(|state| state.serial_out.drain(..).collect())
    }

    /// Pushes the drawer shut.
    pub fn close_drawer(&self) {
        self.0.change(|state| state.drawer = DrawerState::Closed);
    }

    /// Puts the terminal into its dock, or takes it out.
    pub fn dock(&self, docked: bool) {
        self.0.change(|state| {
            state.docked = docked;
            if let Some(battery) = state.battery.as_mut() {
                if docked && !battery.charging {
                    state.counters.charges = state.counters.charges.saturating_add(1);
                }
                battery.charging = docked;
            }
        });
    }

    /// The battery, where there is one.
    pub fn battery(&self) -> Option<hal::Battery> {
        self.0.signal.lock().battery
    }

    /// What the customer display shows.
    pub fn display(&self) -> Option<Shown> {
        self.0.signal.lock().display.clone()
    }

    /// Takes the network away, or gives it back.
    pub fn network(&self, online: bool) {
        self.0.change(|state| state.network.online = online);
    }

    /// Cuts the power: every waiting call ends with [`ErrorKind::ServiceLost`], and so does every call until
    /// it comes back.
    pub fn cut_power(&self) {
        self.0.cut_power();
    }

    /// Gives the power back: the terminal starts.
    pub fn restore_power(&self) {
        self.0.restore_power();
    }

    /// Opens the case: keys and sealed values are gone.
    pub fn tamper(&self) {
        self.0.secure.tamper();
        self.0.change(|_| ());
    }

    /// What the maker's service does after that: empty, and in order again.
    ///
    /// # Errors
    /// The directory of the secure part cannot be used.
    pub fn repair(&self) -> Result<()> {
        self.0.secure.repair()?;
        self.0.change(|_| ());
        Ok(())
    }

    // Following.

    /// The device as a page shows it.
    pub fn view(&self) -> DeviceView {
        DeviceView::of(&self.0)
    }

    /// Waits until the device has changed since that version; the new version.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`].
    pub fn changed_since(&self, version: u64, call: &Call) -> Result<u64> {
        let newer = self.0.signal.wait(call, |state| (state.version > version).then_some(state.version));
        newer.map_err(|interrupt| interrupt.at(DeviceKind::Manager))
    }

    /// Has `hook` called after each change, from whichever thread made it; whether there was room for one
    /// more. It must not touch the device itself, only wake who does.
    pub fn on_change(&self, hook: impl Fn(u64) + Send + Sync + 'static) -> bool {
        let mut hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        let room = hooks.len() < HOOKS_MAX;
        if room {
            hooks.push(Arc::new(hook));
        }
        room
    }

    /// Waits until an app waits at a device: the moment to swipe.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`].
    pub fn when_waiting(&self, kind: DeviceKind, call: &Call) -> Result<()> {
        let waits = self.0.signal.wait(call, |state| state.waits(kind).then_some(()));
        waits.map_err(|interrupt| HalError::new(interrupt.0, kind).text("nobody came to wait"))
    }

    /// Waits until so many lines of the present copy are on paper.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::UserCancelled`].
    pub fn when_printed(&self, lines: u32, call: &Call) -> Result<()> {
        let there = self.0.signal.wait(call, |state| (state.printer.line >= lines).then_some(()));
        there.map_err(|interrupt| interrupt.at(DeviceKind::Printer))
    }

    /// The kind of error that a page shows for a device that cannot go on.
    pub fn problem(&self) -> Option<ErrorKind> {
        self.0.signal.lock().printer_problem()
    }
}
