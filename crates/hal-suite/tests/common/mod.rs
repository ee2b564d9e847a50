//! The virtual device as a subject of the suite.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    dead_code
)]

use std::sync::Arc;
use std::time::Duration;

use hal::{AppId, Broker, Code, CodeFormat, DeviceManager, DriverSet, LocalManager, Permissions};
use hal_suite::{Cannot, Deed, Fixture, Hands, Report, VendorCodes};
use hal_virtual::{CardHandle, Controls, EchoCard, PinKey, Stripe, VirtualConfig, VirtualDevice, card};

/// Hands on a virtual device.
pub struct VirtualHands {
    pub controls: Controls,
    chip: CardHandle,
    other: CardHandle,
}

impl VirtualHands {
    pub fn new(controls: Controls) -> Self {
        let other = EchoCard { uid: vec![0x08, 0xB1, 0xB2, 0xB3], ..EchoCard::default() };
        Self { controls, chip: card(EchoCard::default()), other: card(other) }
    }
}

impl Hands for VirtualHands {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let hands = &self.controls;
        match deed {
            Deed::InsertCard => drop(hands.insert(&self.chip)),
            Deed::RemoveCard => drop(hands.remove()),
            Deed::Swipe => drop(hands.swipe(&Stripe::track2("6224242000000021D29022015699031007"))),
            Deed::Tap => hands.tap(&self.chip),
            Deed::TapTwo => {
                hands.tap(&self.chip);
                hands.tap(&self.other);
            }
            Deed::Untap => hands.untap(),
            Deed::PaperOut => hands.paper_left(0),
            Deed::PaperIn => {
                hands.new_roll();
                hands.cover(false);
            }
            Deed::PaperEndsSoon => hands.paper_left(4),
            Deed::Heat => hands.overheat(true),
            Deed::Cool => hands.overheat(false),
            Deed::Type(digits) => drop(hands.type_digits(digits)),
            Deed::Clear => drop(hands.press(PinKey::Clear)),
            Deed::Confirm => drop(hands.press(PinKey::Confirm)),
            Deed::Cancel => drop(hands.press(PinKey::Cancel)),
            Deed::ShowCode => {
                hands
                    .show_code(Some(Code { format: CodeFormat::Qr, text: "6212345678901234567".to_owned() }));
            }
        }
        Ok(())
    }
}

/// A way to spoil the drivers of a device.
pub type Spoil = fn(Arc<dyn DriverSet>) -> Arc<dyn DriverSet>;

/// A virtual device, as it is or spoiled.
pub struct VirtualFixture {
    pub device: Arc<VirtualDevice>,
    pub manager: Arc<LocalManager>,
    pub hands: VirtualHands,
    pub codes: Vec<VendorCodes>,
    pub leaky_broker: bool,
    pub patience: Duration,
}

impl VirtualFixture {
    pub fn new() -> Self {
        Self::spoiled(|drivers| drivers)
    }

    pub fn spoiled(spoil: Spoil) -> Self {
        let device = VirtualDevice::new(VirtualConfig::lab()).unwrap();
        let manager = Arc::new(LocalManager::new(spoil(device.drivers())));
        let hands = VirtualHands::new(device.controls());
        let patience = Duration::from_secs(10);
        Self { device, manager, hands, codes: Vec::new(), leaky_broker: false, patience }
    }

    pub fn run(&self) -> Report {
        hal_suite::run(self)
    }
}

impl Fixture for VirtualFixture {
    fn name(&self) -> String {
        "the virtual device".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.manager.clone()
    }

    fn hands(&self) -> &dyn Hands {
        &self.hands
    }

    fn for_app(&self, app: &AppId, granted: Permissions) -> Arc<dyn DeviceManager> {
        let granted = if self.leaky_broker { Permissions::all() } else { granted };
        Arc::new(Broker::new(self.manager(), app.clone(), granted))
    }

    fn vendor_codes(&self) -> Vec<VendorCodes> {
        self.codes.clone()
    }

    fn handles(&self) -> Result<u64, Cannot> {
        let claims = self.manager.claims();
        // Each device handed out keeps the device itself.
        Ok((claims.held() + claims.sessions() + Arc::strong_count(&self.device)) as u64)
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}
