//! A chip payment through the devices: the laboratory's card in the slot and at the antenna, the laboratory's kernel,
//! the PIN pad and the key slots of one virtual terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use cardsim::{Behaviour, Card, CardGone, Interface as CardSide, MemoryCounters, lab};
use hal::{
    AppId, Call, CardDetector, DetectRequest, DeviceClass, DeviceManager, ErrorKind, Found, IccReader,
    InField, InSlot, KernelProvider, Lease, LeaseTerms, LocalManager, MagReader, OpenDevice, PowerUp,
    RfReader, Session, SwipeRequest, Tracks,
};
use hal_virtual::{
    CardHandle, Controls, Side, Stripe, StripeCard, VirtualCard, VirtualConfig, VirtualDevice, card,
};
use kernel::{
    Answer, CardChannel, ChannelError, EmvKernel, Interface, Kernel, KernelParams, StepKind, TerminalData,
    TransParams,
};

const LONG: Duration = Duration::from_secs(30);
const SWIPE: SwipeRequest = SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None };

struct Desk {
    manager: LocalManager,
    session: Session,
    hands: Controls,
}

impl Desk {
    fn new() -> Self {
        let config = VirtualConfig { kernels: Some(Arc::new(LabKernels)), ..VirtualConfig::lab() };
        let device = VirtualDevice::new(config).unwrap();
        let manager = device.manager();
        let session = manager.login(&AppId::new("org.posp.acquiring")).unwrap();
        Self { manager, session, hands: device.controls() }
    }

    fn open<D: DeviceClass + ?Sized>(&self) -> Lease<D> {
        self.manager.open::<D>(&self.session, 0, LeaseTerms::open_end()).unwrap()
    }

    fn kernel(&self) -> Box<dyn Kernel> {
        let mut kernel = self.open::<dyn KernelProvider>().get().unwrap().kernel().unwrap();
        let capks = vec![lab::ca_record([0xA0, 0x00, 0x00, 0x03, 0x33], 0xF1).unwrap()];
        let terminal = TerminalData::smart_pos(*b"POSPLAB1");
        kernel.load(&KernelParams::lab(terminal, capks, [0x20, 0x26, 0x11, 0x24])).unwrap();
        kernel
    }
}

/// A card of the deck in a virtual device.
struct Chip {
    card: Card,
    left: bool,
}

impl VirtualCard for Chip {
    fn power_up(&mut self, side: Side) -> Option<Vec<u8>> {
        self.left = false;
        let side = if side == Side::Contact { CardSide::Contact } else { CardSide::Contactless };
        self.card.power_up(side).ok()
    }

    fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        let answer = self.card.transmit(apdu);
        self.left = answer == Err(CardGone::Removed);
        answer.ok()
    }

    fn has_left(&self) -> bool {
        self.left
    }

    fn power_down(&mut self) {
        self.card.leave();
    }

    fn stripe(&self) -> Option<Stripe> {
        self.card.profile().stripe().map(|stripe| Stripe::track2(&stripe.track2))
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(u64::from(self.card.delay()))
    }

    fn in_field(&self) -> usize {
        match &self.card.profile().contactless {
            None => 0,
            Some(_) if self.card.behaviour().contains(&Behaviour::TwoCards) => 2,
            Some(_) => 1,
        }
    }
}

fn chip(id: &str, behaviour: &[&str]) -> CardHandle {
    let profile = cardsim::deck::find(id).unwrap();
    let mut own =
        Card::new(profile, Box::new(MemoryCounters::new()), Box::new(|bytes| bytes.fill(0x5A))).unwrap();
    own.set_behaviour(behaviour.iter().map(|text| text.parse().unwrap()).collect());
    card(Chip { card: own, left: false })
}

struct LabKernels;

impl KernelProvider for LabKernels {
    fn describe(&self) -> String {
        "lab (not type approved)".to_owned()
    }

    fn kernel(&self) -> hal::Result<Box<dyn Kernel>> {
        Ok(Box::new(EmvKernel::new()))
    }
}

fn sale(interface: Interface) -> TransParams {
    TransParams::sale(
        10_000,
        [0x26, 0x11, 0x24],
        [0x10, 0x15, 0x30],
        124,
        [0x1A, 0x2B, 0x3C, 0x4D],
        interface,
    )
}

/// Answers what a person would, until the kernel wants the host or has ended.
fn to_the_host(kernel: &mut dyn Kernel, card: &mut dyn CardChannel, interface: Interface) -> StepKind {
    let mut step = kernel.start(sale(interface), card);
    loop {
        let answer = match step.kind {
            StepKind::SelectApp { .. } => Answer::AppChosen(0),
            StepKind::ConfirmApp { .. } => Answer::Confirmed,
            StepKind::NeedPin { .. } => Answer::PinEntered,
            other => return other,
        };
        step = kernel.resume(answer, card);
    }
}

/// The detector finds the card in the slot, it is powered, and the kernel's request for the host is made over the
/// slot; the same card at the antenna goes its own way to a request.
#[test]
fn a_card_of_the_deck_asks_for_the_host() {
    let desk = Desk::new();
    let (detector, icc, rf) =
        (desk.open::<dyn CardDetector>(), desk.open::<dyn IccReader>(), desk.open::<dyn RfReader>());
    let request = DetectRequest { mag: true, icc: true, rf: true, swipe: SWIPE, fallback: false };
    let own = chip("L01", &[]);
    desk.hands.insert(&own);
    let found = detector.get().unwrap().detect(&request, &detector.call(LONG)).unwrap();
    assert_eq!(found, Found::Inserted);
    let reader = icc.get().unwrap();
    assert_eq!(reader.power_up(&PowerUp::default()).unwrap()[..2], [0x3B, 0x88]);
    let call = icc.call(LONG);
    let mut kernel = desk.kernel();
    let mut slot = InSlot { reader, call: &call };
    let step = to_the_host(&mut *kernel, &mut slot, Interface::Contact);
    assert!(matches!(step, StepKind::OnlineRequired { .. }), "{step:?}");
    // The account number is the card's, for the PIN block.
    assert!(kernel.chip_data().is_some());
    desk.hands.remove();

    desk.hands.tap(&own);
    let found = detector.get().unwrap().detect(&request, &detector.call(LONG)).unwrap();
    assert!(matches!(found, Found::Tapped(_)));
    let reader = rf.get().unwrap();
    let call = rf.call(LONG);
    reader.poll(&[], &call).unwrap();
    reader.activate().unwrap();
    let mut kernel = desk.kernel();
    let mut field = InField { reader, call: &call };
    let step = to_the_host(&mut *kernel, &mut field, Interface::Contactless);
    assert!(matches!(step, StepKind::OnlineRequired { .. }), "{step:?}");
}

/// Cards of the deck that misbehave are that to the readers: one that leaves at its first cryptogram is removed and the
/// slot is empty; two that stick together are two; a mute one is mute; a slow one is waited for, and not longer than the
/// call.
#[test]
fn cards_that_misbehave() {
    let desk = Desk::new();
    let (icc, rf) = (desk.open::<dyn IccReader>(), desk.open::<dyn RfReader>());
    let reader = icc.get().unwrap();
    desk.hands.insert(&chip("L01", &["leave_after(ac1)"]));
    reader.power_up(&PowerUp::default()).unwrap();
    let call = icc.call(LONG);
    let mut kernel = desk.kernel();
    let mut slot = InSlot { reader, call: &call };
    let step = to_the_host(&mut *kernel, &mut slot, Interface::Contact);
    // It answers its first cryptogram and is gone when it is spoken to again.
    assert!(matches!(step, StepKind::OnlineRequired { .. } | StepKind::Terminated { .. }), "{step:?}");
    assert_eq!(slot.transmit(&[0x00, 0xA4, 0x04, 0x00, 0x00]), Err(ChannelError::Removed));
    assert!(!reader.present().unwrap());

    desk.hands.insert(&chip("L01", &["mute"]));
    assert_eq!(reader.power_up(&PowerUp::default()).unwrap_err().kind, ErrorKind::CardMute);
    desk.hands.remove();

    desk.hands.tap(&chip("L01", &["two_cards"]));
    let polled = rf.get().unwrap().poll(&[], &rf.call(LONG));
    assert_eq!(polled.unwrap_err().kind, ErrorKind::MultipleCards);
    desk.hands.untap();

    desk.hands.insert(&chip("L01", &["delay(60000)"]));
    reader.power_up(&PowerUp::default()).unwrap();
    let slow = reader.transmit(&[0x00, 0xA4, 0x04, 0x00, 0x00], &Call::within(Duration::from_millis(30)));
    assert_eq!(slow.unwrap_err().kind, ErrorKind::Timeout);
}

/// A card with a stripe alone is nothing to the antenna and mute in the slot; its track is read when it is drawn
/// through. The chip card's stripe names its chip.
#[test]
fn stripes_of_the_deck() {
    let desk = Desk::new();
    let (mag, icc) = (desk.open::<dyn MagReader>(), desk.open::<dyn IccReader>());
    let track2 = cardsim::deck::find_stripe("M01").unwrap().stripe().track2;
    let stripe = card(StripeCard(Stripe::track2(&track2)));
    desk.hands.tap(&stripe);
    assert_eq!(desk.hands.view().cards_in_field, 0);
    desk.hands.insert(&stripe);
    assert_eq!(icc.get().unwrap().power_up(&PowerUp::default()).unwrap_err().kind, ErrorKind::CardMute);
    for (own, has_chip) in [(stripe, false), (chip("L01", &[]), true)] {
        let data = std::thread::scope(|scope| {
            let swipe = scope.spawn(|| mag.get().unwrap().wait_swipe(&SWIPE, &mag.call(LONG)));
            desk.hands.when_waiting(hal::DeviceKind::Mag, &Call::within(LONG)).unwrap();
            assert!(desk.hands.swipe_card(&own));
            swipe.join().unwrap().unwrap()
        });
        assert_eq!(data.has_chip(), has_chip);
    }
}
