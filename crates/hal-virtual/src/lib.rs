//! A terminal without hardware. It implements every device of the SDK, so that a PC, a browser and a test run
//! the code that a terminal runs; and it has hands ([`Controls`]): insert a card, type a PIN, take the paper
//! out, cut the power.
//!
//! It is deterministic: nothing happens by itself and nothing takes time. What a device waits for comes from
//! a hand; what would take time on paper waits when a hand holds it. Random numbers can be given.
//!
//! All state stands behind one lock. Cards are shared between hand, slot and field ([`CardHandle`]) and talk
//! outside that lock, because a simulated chip may take its time over a signature.

mod card;
mod controls;
mod parts;
mod pin;
mod printer;
mod readers;
mod secure;
mod state;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use hal::{
    Battery, Call, Device, DeviceEntry, DeviceKind, DriverSet, ErrorKind, HalError, Health, Identity,
    KernelProvider, LocalManager, Result, Signal, Width,
};

pub use card::{
    CardHandle, EchoCard, MifareChip, MifareClassic, MuteCard, Side, Stripe, StripeCard, VirtualCard, card,
    read_stripe,
};
pub use controls::Controls;
pub use secure::{LAB_TUSN_HALVES, LAST_SLOT, RANDOM_MAX, Random, SecureConfig, SecureElement, os_random};
pub use state::{ACTS_MAX, LINE_MM, PRINTED_MAX, PinKey, Printed, SERIAL_MAX};
pub use view::{DeviceView, PinView, PrinterView};

use state::State;

/// What a virtual device is.
pub struct VirtualConfig {
    /// Who it says it is.
    pub identity: Identity,
    /// Paper of its printer.
    pub width: Width,
    /// Devices that it has not.
    pub absent: Vec<DeviceKind>,
    /// Its battery; `None`: on the mains.
    pub battery: Option<Battery>,
    /// Its secure part.
    pub secure: SecureConfig,
    /// Where chip kernels come from; `None`: it has none.
    pub kernels: Option<Arc<dyn KernelProvider>>,
}

impl VirtualConfig {
    /// A smart POS with everything but chip kernels, in memory, with random numbers of the system.
    pub fn lab() -> Self {
        Self {
            identity: Identity {
                serial: "LAB0000001".to_owned(),
                part: "VIRTUAL-1".to_owned(),
                model: "Virtual".to_owned(),
                vendor: "posp".to_owned(),
                device_type: "04".to_owned(),
                platform: "web-virtual".to_owned(),
            },
            width: Width::W58,
            absent: Vec::new(),
            battery: Some(Battery { percent: 80, charging: false }),
            secure: SecureConfig {
                directory: None,
                tusn: "00003104LAB0000001".to_owned(),
                device_type: "04".to_owned(),
                tusn_key: true,
                random: os_random(),
            },
            kernels: None,
        }
    }
}

type Hook = Arc<dyn Fn(u64) + Send + Sync>;

/// A virtual terminal.
pub struct VirtualDevice {
    signal: Arc<Signal<State>>,
    secure: Arc<SecureElement>,
    hooks: Mutex<Vec<Hook>>,
    identity: Identity,
    width: Width,
    absent: Vec<DeviceKind>,
    kernels: Option<Arc<dyn KernelProvider>>,
}

/// Most watchers of changes.
pub(crate) const HOOKS_MAX: usize = 64;

impl VirtualDevice {
    /// Makes one.
    ///
    /// # Errors
    /// The secure part's directory cannot be used.
    pub fn new(config: VirtualConfig) -> Result<Arc<Self>> {
        let secure = Arc::new(SecureElement::open(config.secure)?);
        Ok(Arc::new(Self {
            signal: Signal::new(State::new(config.battery)),
            secure,
            hooks: Mutex::default(),
            identity: config.identity,
            width: config.width,
            absent: config.absent,
            kernels: config.kernels,
        }))
    }

    /// A manager over it, as an app gets it.
    pub fn manager(self: &Arc<Self>) -> LocalManager {
        LocalManager::new(self.drivers())
    }

    /// Its drivers.
    pub fn drivers(self: &Arc<Self>) -> Arc<dyn DriverSet> {
        Arc::new(Drivers(Arc::clone(self)))
    }

    /// The hands.
    pub fn controls(self: &Arc<Self>) -> Controls {
        Controls::new(Arc::clone(self))
    }

    /// The secure part, for a host that holds keys in it by other ways too.
    pub fn secure(&self) -> &Arc<SecureElement> {
        &self.secure
    }

    /// Changes the state, counts the change and tells who follows.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, version) = self.signal.update(|state| {
            let result = change(state);
            state.version = state.version.saturating_add(1);
            (result, state.version)
        });
        self.tell(version);
        result
    }

    fn tell(&self, version: u64) {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hooks.iter().for_each(|hook| hook(version));
    }

    /// Whether the device has current.
    pub(crate) fn powered(&self, kind: DeviceKind) -> Result<()> {
        if self.signal.lock().power { Ok(()) } else { Err(lost(kind)) }
    }

    /// Waits at a device until `ready` gives something; a power cut ends it. Who waits is seen by hands.
    pub(crate) fn wait<R>(
        &self,
        kind: DeviceKind,
        call: &Call,
        mut ready: impl FnMut(&mut State) -> Option<Result<R>>,
    ) -> Result<R> {
        let era = self.change(|state| {
            let count = state.waiting.entry(kind).or_default();
            *count = count.saturating_add(1);
            state.era
        });
        let result = self.signal.wait(call, |state| {
            if !state.power || state.era != era {
                return Some(Err(lost(kind)));
            }
            ready(state)
        });
        self.change(|state| {
            let count = state.waiting.entry(kind).or_default();
            *count = count.saturating_sub(1);
        });
        result.map_err(|interrupt| interrupt.at(kind))?
    }

    fn has(&self, kind: DeviceKind) -> bool {
        !self.absent.contains(&kind) && (kind != DeviceKind::Emv || self.kernels.is_some())
    }
}

/// The answer of a device that died under a call.
fn lost(kind: DeviceKind) -> HalError {
    HalError::new(ErrorKind::ServiceLost, kind).text("no power")
}

/// The device as a set of drivers.
struct Drivers(Arc<VirtualDevice>);

impl DriverSet for Drivers {
    fn inventory(&self) -> Vec<DeviceEntry> {
        let named = |kind: DeviceKind, index| DeviceEntry { kind, index, name: format!("virtual {kind}") };
        let kinds = DeviceKind::ALL.iter().copied().filter(|kind| self.0.has(*kind));
        kinds
            .flat_map(|kind| {
                let count: u8 = if kind == DeviceKind::Psam { 2 } else { 1 };
                (0..count).map(move |index| named(kind, index))
            })
            .collect()
    }

    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device> {
        self.0.powered(kind)?;
        let count: u8 = if kind == DeviceKind::Psam { 2 } else { 1 };
        if !self.0.has(kind) || index >= count {
            return HalError::not_supported(kind);
        }
        self.0.make(kind, index)
    }

    fn released(&self, kind: DeviceKind, index: u8) {
        self.0.let_go(kind, index);
    }

    fn health(&self, kind: DeviceKind, _index: u8) -> Result<Health> {
        if !self.0.has(kind) {
            return HalError::not_supported(kind);
        }
        if self.0.powered(kind).is_err() {
            return Ok(Health::Failed(ErrorKind::ServiceLost));
        }
        let problem = match kind {
            DeviceKind::Printer => self.0.signal.lock().printer_problem(),
            DeviceKind::Keys | DeviceKind::PinPad | DeviceKind::Crypto | DeviceKind::SecureStore => {
                self.0.secure.is_tampered().then_some(ErrorKind::Tampered)
            }
            _ => None,
        };
        Ok(match problem {
            None => Health::Good,
            Some(kind) if kind.usual_retry() == hal::Retry::AfterUserAction => Health::NeedsAttention(kind),
            Some(kind) => Health::Failed(kind),
        })
    }
}
