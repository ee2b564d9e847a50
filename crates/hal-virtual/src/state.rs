//! What the device is like at this moment.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hal::{
    Battery, Beep, Bitmap, Code, Counters, DeviceKind, DrawerState, ErrorKind, LedState, Network, Paper,
    ReceiptDoc, RfCard, SerialConfig, Shown,
};
use zeroize::Zeroizing;

use crate::card::{CardHandle, Stripe};

/// Printed documents that are kept, the newest.
pub const PRINTED_MAX: usize = 200;
/// Bytes that wait on the serial line, each way.
pub const SERIAL_MAX: usize = 64 * 1024;
/// Things done to the system that are remembered, the newest.
pub const ACTS_MAX: usize = 100;
/// Millimetres of paper that one line of a document takes; the usual size at 8 dots a millimetre.
pub const LINE_MM: u64 = 3;

/// A document on paper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Counts from 1.
    pub number: u64,
    /// The lines that came to paper.
    pub doc: ReceiptDoc,
    /// All of them did.
    pub complete: bool,
    /// Somebody has torn it off.
    pub torn: bool,
}

/// What a person did at the PIN pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinKey {
    /// The key at this place, 0 to 9; which digit it is, the layout says.
    At(u8),
    /// Clears what was typed.
    Clear,
    /// Confirms.
    Confirm,
    /// Breaks off.
    Cancel,
}

/// How a PIN entry ended at the pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PinEnd {
    Confirmed,
    Cancelled,
}

/// A PIN being typed.
pub(crate) struct PinEntry {
    pub digits: Zeroizing<String>,
    pub layout: [u8; 10],
    pub lengths: Vec<u8>,
    pub bypass: bool,
    pub amount: Option<u64>,
    /// Last length that was refused, and how often one was.
    pub refused: (u8, u32),
    pub end: Option<PinEnd>,
}

/// The card in the slot.
pub(crate) struct InSlot {
    pub card: CardHandle,
    pub epoch: u64,
}

/// What was swiped.
#[derive(Clone)]
pub(crate) enum Swipe {
    Read(Stripe),
    Unreadable,
}

pub(crate) struct PrinterState {
    pub paper: Paper,
    /// Lines until the paper ends; `None`: enough for ever.
    pub lines_left: Option<u32>,
    pub cover_open: bool,
    pub overheated: bool,
    pub low_power: bool,
    pub fault: bool,
    pub busy: bool,
    /// The motor waits for a hand to let it go on: makes "in the middle of a slip" a place to stand.
    pub held: bool,
    /// Lines of the present copy on paper.
    pub line: u32,
    pub gray: u8,
    pub printed: VecDeque<Printed>,
    pub count: u64,
}

/// Everything of a virtual device that a hand or a driver can change.
pub(crate) struct State {
    pub version: u64,
    /// Current in the house.
    pub power: bool,
    /// Counts power cuts: a call that began before one ends with it.
    pub era: u64,
    pub waiting: BTreeMap<DeviceKind, u32>,
    pub counters: Counters,
    pub battery: Option<Battery>,
    pub network: Network,

    pub slot: Option<InSlot>,
    /// Card in the slot that has power, by its epoch.
    pub slot_power: Option<u64>,
    pub psam: BTreeMap<u8, CardHandle>,
    pub psam_power: BTreeMap<u8, bool>,
    /// Cards at the antenna with what the antenna sees of them.
    pub field: Vec<(u64, RfCard, CardHandle)>,
    pub field_on: bool,
    /// Card found in the field, and whether it is active.
    pub rf: Option<(u64, bool)>,
    pub swipe: Option<Swipe>,
    pub next_epoch: u64,

    pub pin: Option<PinEntry>,
    pub pad_lines: Vec<String>,
    pub printer: PrinterState,
    pub code: Option<Code>,
    pub flash: bool,
    pub leds: [LedState; 4],
    pub beeps: u64,
    pub last_beep: Option<(Beep, Duration)>,
    pub serial: Option<SerialConfig>,
    pub serial_in: VecDeque<u8>,
    pub serial_out: VecDeque<u8>,
    pub drawer: DrawerState,
    pub display: Option<Shown>,
    pub signature_code: Option<String>,
    pub signature: Option<Bitmap>,
    pub docked: bool,
    pub acts: VecDeque<String>,
}

impl State {
    pub fn new(battery: Option<Battery>) -> Self {
        Self {
            version: 1,
            power: true,
            era: 0,
            waiting: BTreeMap::new(),
            counters: Counters { boots: 1, ..Counters::default() },
            battery,
            network: Network { online: true, kind: "ethernet".to_owned(), ..Network::default() },
            slot: None,
            slot_power: None,
            psam: BTreeMap::new(),
            psam_power: BTreeMap::new(),
            field: Vec::new(),
            field_on: false,
            rf: None,
            swipe: None,
            next_epoch: 1,
            pin: None,
            pad_lines: Vec::new(),
            printer: PrinterState {
                paper: Paper::Enough,
                lines_left: None,
                cover_open: false,
                overheated: false,
                low_power: false,
                fault: false,
                busy: false,
                held: false,
                line: 0,
                gray: 3,
                printed: VecDeque::new(),
                count: 0,
            },
            code: None,
            flash: false,
            leds: [LedState::Off; 4],
            beeps: 0,
            last_beep: None,
            serial: None,
            serial_in: VecDeque::new(),
            serial_out: VecDeque::new(),
            drawer: DrawerState::Closed,
            display: None,
            signature_code: None,
            signature: None,
            docked: false,
            acts: VecDeque::new(),
        }
    }

    pub fn epoch(&mut self) -> u64 {
        let epoch = self.next_epoch;
        self.next_epoch = epoch.saturating_add(1);
        epoch
    }

    pub fn act(&mut self, what: String) {
        if self.acts.len() == ACTS_MAX {
            self.acts.pop_front();
        }
        self.acts.push_back(what);
    }

    /// Whether anybody waits at this device.
    pub fn waits(&self, kind: DeviceKind) -> bool {
        self.waiting.get(&kind).is_some_and(|count| *count > 0)
    }

    /// What would stop the printer now.
    pub fn printer_problem(&self) -> Option<ErrorKind> {
        let p = &self.printer;
        hal::PrinterStatus {
            paper: if p.lines_left == Some(0) { Paper::Out } else { p.paper },
            cover_open: p.cover_open,
            overheated: p.overheated,
            low_power: p.low_power,
            fault: p.fault,
            busy: p.busy,
        }
        .problem()
    }
}
