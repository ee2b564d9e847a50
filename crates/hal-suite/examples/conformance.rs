//! The suite on the virtual device: `cargo run -p hal-suite --example conformance [-- --json | --person]`. With
//! `--person` the deeds are asked of whoever sits there, as they are with a terminal on the desk; the virtual device
//! does not hear them, so it shows how a refusal reads.

use std::io::{BufReader, Write as _, stdin, stdout};
use std::sync::Arc;

use hal::{Code, CodeFormat, DeviceManager, LocalManager};
use hal_suite::{Cannot, Deed, Fixture, Hands, Person};
use hal_virtual::{CardHandle, Controls, EchoCard, PinKey, Stripe, VirtualConfig, VirtualDevice, card};

struct OnScreen {
    controls: Controls,
    cards: [CardHandle; 2],
}

impl Hands for OnScreen {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let (hands, [one, other]) = (&self.controls, &self.cards);
        match deed {
            Deed::InsertCard => drop(hands.insert(one)),
            Deed::RemoveCard => drop(hands.remove()),
            Deed::Swipe => drop(hands.swipe(&Stripe::track2("6224242000000021D29022015699031007"))),
            Deed::Tap => hands.tap(one),
            Deed::TapTwo => [one, other].into_iter().for_each(|card| hands.tap(card)),
            Deed::Untap => hands.untap(),
            Deed::PaperOut => hands.paper_left(0),
            Deed::PaperIn => hands.new_roll(),
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

struct Bench {
    manager: Arc<LocalManager>,
    hands: Box<dyn Hands + Send>,
}

impl Fixture for Bench {
    fn name(&self) -> String {
        "the virtual device".to_owned()
    }

    fn manager(&self) -> Arc<dyn DeviceManager> {
        self.manager.clone()
    }

    fn hands(&self) -> &dyn Hands {
        &*self.hands
    }

    fn handles(&self) -> Result<u64, Cannot> {
        let claims = self.manager.claims();
        u64::try_from(claims.held() + claims.sessions()).map_err(|_| Cannot::new("too many"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked = std::env::args().nth(1).unwrap_or_default();
    let device = VirtualDevice::new(VirtualConfig::lab())?;
    let hands: Box<dyn Hands + Send> = if asked == "--person" {
        Box::new(Person::new(BufReader::new(stdin()), stdout()))
    } else {
        let other = EchoCard { uid: vec![8, 1, 1, 1], ..EchoCard::default() };
        Box::new(OnScreen { controls: device.controls(), cards: [card(EchoCard::default()), card(other)] })
    };
    let report = hal_suite::run(&Bench { manager: Arc::new(device.manager()), hands });
    let text = if asked == "--json" { report.to_json() } else { report.to_text() };
    stdout().write_all(text.as_bytes())?;
    if report.is_good() { Ok(()) } else { Err("checks failed".into()) }
}
