//! The device as a page shows it: no card, no PIN, no key.

use hal::{DeviceKind, ErrorKind, LedState, Paper};
use serde::Serialize;

use crate::VirtualDevice;

/// A PIN being typed, as much of it as may be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinView {
    /// Which digit stands at each of the ten places.
    pub layout: [u8; 10],
    /// How many digits were typed.
    pub count: u8,
    /// What is paid, in fen.
    pub amount: Option<u64>,
    /// Confirming without a digit is allowed.
    pub bypass: bool,
}

/// The printer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrinterView {
    /// `enough`, `near_end`, `out`.
    pub paper: &'static str,
    /// What stops it.
    pub problem: Option<ErrorKind>,
    /// At work.
    pub busy: bool,
    /// Documents printed so far.
    pub count: u64,
    /// Documents that hang out of it.
    pub hanging: usize,
}

/// A virtual device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// Rises with every change.
    pub version: u64,
    /// It has current.
    pub power: bool,
    /// It was opened.
    pub tampered: bool,
    /// Devices at which an app waits.
    pub waiting: Vec<DeviceKind>,
    /// A card is in the slot.
    pub card_in_slot: bool,
    /// It has power.
    pub card_powered: bool,
    /// Cards at the antenna.
    pub cards_in_field: usize,
    /// The field is on.
    pub field_on: bool,
    /// The PIN pad.
    pub pin: Option<PinView>,
    /// Lines on the PIN pad's own display.
    pub pad_lines: Vec<String>,
    /// The printer.
    pub printer: PrinterView,
    /// `off`, `on`, `blink`, four of them.
    pub leds: [&'static str; 4],
    /// Sounds so far.
    pub beeps: u64,
    /// The drawer is open.
    pub drawer_open: bool,
    /// The light of the scanner is on.
    pub flash: bool,
    /// The code behind a signature that is waited for.
    pub signature_code: Option<String>,
    /// In the dock.
    pub docked: bool,
    /// On the network.
    pub online: bool,
}

impl DeviceView {
    pub(crate) fn of(device: &VirtualDevice) -> Self {
        let tampered = device.secure.is_tampered();
        let state = device.signal.lock();
        let printer = &state.printer;
        Self {
            version: state.version,
            power: state.power,
            tampered,
            waiting: state.waiting.iter().filter(|(_, count)| **count > 0).map(|(kind, _)| *kind).collect(),
            card_in_slot: state.slot.is_some(),
            card_powered: state.slot.as_ref().is_some_and(|slot| Some(slot.epoch) == state.slot_power),
            cards_in_field: state.field.len(),
            field_on: state.field_on,
            pin: state.pin.as_ref().map(|entry| PinView {
                layout: entry.layout,
                count: u8::try_from(entry.digits.len()).unwrap_or(u8::MAX),
                amount: entry.amount,
                bypass: entry.bypass,
            }),
            pad_lines: state.pad_lines.clone(),
            printer: PrinterView {
                paper: match (printer.lines_left, printer.paper) {
                    (Some(0), _) | (_, Paper::Out) => "out",
                    (_, Paper::NearEnd) => "near_end",
                    (_, Paper::Enough) => "enough",
                },
                problem: state.printer_problem(),
                busy: printer.busy,
                count: printer.count,
                hanging: printer.printed.iter().filter(|printed| !printed.torn).count(),
            },
            leds: state.leds.map(|led| match led {
                LedState::Off => "off",
                LedState::On => "on",
                LedState::Blink => "blink",
            }),
            beeps: state.beeps,
            drawer_open: state.drawer == hal::DrawerState::Open,
            flash: state.flash,
            signature_code: state.signature_code.clone(),
            docked: state.docked,
            online: state.network.online,
        }
    }
}
