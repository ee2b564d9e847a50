//! A card that leaves the antenna too early (闪卡), on a whole terminal: virtual device, app, kernel, protocol and a host with
//! books of its own.
//!
//! Shown is that a tap which broke off ends in one of two ways, whatever the card had done by then: the same card is
//! tapped again and pays once, or the order ends, says why, and nothing was sent. While the card may have counted the
//! payment, another card does not take its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code)] // what the power test alone uses
#[path = "power/counter.rs"]
mod counter;
#[allow(dead_code)]
#[path = "power/cutter.rs"]
mod cutter;
#[allow(dead_code)]
#[path = "power/host.rs"]
mod host;

use app::flow::{Ending, Outcome, Reading, Trade, Why};
use app::shell::ShellConfig;
use app::view::{Hint, Input, View};
use counter::Counter;
use hal::DeviceKind;
use kernel::QuickPass;
use terminal::Hand;

/// Below the limit for what a card approves by itself, where there is one.
const FEN: u64 = 1_250;
/// The card that is torn away.
const TORN: &str = "L01";

/// A terminal whose taps may be approved by the card alone when `floor` says so.
fn counter(floor: u64, torn_seconds: u16) -> Counter {
    let quickpass = QuickPass { always_online: floor == 0, torn_seconds, ..QuickPass::default() };
    let counter = Counter::with(ShellConfig { quickpass, ..ShellConfig::default() });
    let mut books = counter.host.books();
    books.floor = floor;
    counter.host.set(books);
    counter.fresh();
    counter
}

/// Begins a sale, up to the card.
fn begin(counter: &Counter) {
    begin_with(counter, FEN);
}

fn begin_with(counter: &Counter, amount: u64) {
    let panel = counter.panel();
    assert!(panel.press(Input::Trade { trade: Trade::Sale }));
    counter.until("amount", || matches!(panel.shown().view, View::Amount { .. }));
    assert!(panel.press(Input::Amount { amount }));
}

/// Taps a card once it is waited for with these words, and takes it away when the terminal has had enough of it.
fn tap(counter: &Counter, card: &str, expected: Hint, switch: &str) {
    let (panel, station) = (counter.panel(), counter.station());
    counter.until(&format!("{expected:?}"), || {
        let view = panel.shown().view;
        let shown = matches!(view, View::Card { hint, field: true, .. } if hint == expected);
        shown && station.controls().view().waiting.contains(&DeviceKind::Detector)
    });
    let switches: Vec<String> =
        Some(switch.to_owned()).filter(|switch| !switch.is_empty()).into_iter().collect();
    counter.deck.switch(card, &switches).unwrap();
    let before = panel.shown().version;
    station.hand(Hand::Tap { card: card.to_owned() }).unwrap();
    counter.until("the card is read", || panel.shown().version > before);
    if card != TORN {
        station.hand(Hand::Untap).unwrap();
    }
}

/// The end of the order as it is shown.
fn ends(counter: &Counter) -> (Option<Reading>, Ending) {
    let panel = counter.panel();
    let mut end = None;
    counter.until("a result", || {
        match panel.shown().view {
            View::Tear { .. } => {
                let _ = panel.press(Input::Confirm);
            }
            View::Result { reading, ending, .. } => end = Some((reading, ending)),
            _ => (),
        }
        end.is_some()
    });
    end.unwrap()
}

/// Sales that the host holds, in fen.
fn sold(counter: &Counter) -> u64 {
    counter.host.books().standing().values().sum()
}

/// Wherever the card leaves, and whether the terminal lets cards approve by themselves or not: tapped again it pays, once.
#[test]
fn the_same_card_again_pays_once() {
    for (floor, switch, words) in [
        (0, "torn(select)", Hint::Tap),
        (0, "torn(gpo)", Hint::Tap),
        (0, "leave_after(select)", Hint::Tap),
        (20_000, "torn(select)", Hint::Tap),
        (20_000, "torn(gpo)", Hint::Tap),
        (20_000, "leave_after(gpo)", Hint::TapSame),
        (20_000, "torn(record)", Hint::TapSame),
    ] {
        let counter = counter(floor, 10);
        begin(&counter);
        tap(&counter, TORN, Hint::Nothing, switch);
        tap(&counter, TORN, words, "");
        let (reading, ending) = ends(&counter);
        let story = format!("{switch} {floor}: {ending:?}");
        assert_eq!((reading, ending.outcome), (Some(Reading::Tap), Outcome::Approved), "{story}");
        assert_eq!(counter.panel().shown().standing.count, 1, "{story}");
        counter.stop();
    }
}

/// What the card approves is a sale, which the host hears of later; above the limit the host is asked.
///
/// Once a card's approval was taken for its refusal.
#[test]
fn a_card_that_may_approve_does() {
    for (amount, asked) in [(FEN, 0), (20_001, 20_001)] {
        let counter = counter(20_000, 10);
        begin_with(&counter, amount);
        tap(&counter, TORN, Hint::Nothing, "");
        let (_, ending) = ends(&counter);
        assert_eq!(ending.outcome, Outcome::Approved, "{ending:?}");
        let standing = counter.panel().shown().standing;
        assert_eq!((standing.count, standing.waiting), (1, usize::from(asked == 0)));
        assert_eq!(sold(&counter), asked);
        counter.stop();
    }
}

/// With an answer for the host in hand the card has done its part, and may go.
#[test]
fn a_card_that_has_answered_for_the_host_may_leave() {
    let counter = counter(0, 10);
    begin(&counter);
    tap(&counter, TORN, Hint::Nothing, "leave_after(gpo)");
    assert_eq!(ends(&counter).1.outcome, Outcome::Approved);
    assert_eq!(sold(&counter), FEN);
    counter.stop();
}

/// A card that may have counted the payment is asked again for the host, so that its issuer knows; another card that comes
/// instead is not charged.
#[test]
fn another_card_does_not_take_its_place() {
    let counter = counter(20_000, 10);
    begin(&counter);
    tap(&counter, TORN, Hint::Nothing, "torn(record)");
    tap(&counter, "L02", Hint::TapSame, "");
    tap(&counter, TORN, Hint::TapSame, "");
    let (_, ending) = ends(&counter);
    assert_eq!(ending.outcome, Outcome::Approved);
    assert_eq!(ending.host.unwrap().card.as_deref(), Some("622424******0013"));
    assert_eq!((sold(&counter), counter.host.books().entries.len()), (FEN, 1), "the host was asked");
    counter.stop();
}

/// It does not come back: the order ends, says that the card was torn away, and nothing was sent.
#[test]
fn a_card_that_does_not_come_back_ends_the_order_clearly() {
    for cancelled in [false, true] {
        let counter = counter(20_000, if cancelled { 60 } else { 1 });
        begin(&counter);
        tap(&counter, TORN, Hint::Nothing, "torn(record)");
        if cancelled {
            let panel = counter.panel();
            counter.until("it is asked for", || {
                matches!(panel.shown().view, View::Card { hint: Hint::TapSame, .. })
                    && counter.station().controls().view().waiting.contains(&DeviceKind::Detector)
                    && panel.press(Input::Cancel)
            });
        }
        let (_, ending) = ends(&counter);
        assert_eq!(ending.outcome, Outcome::Declined);
        assert_eq!(ending.why, Why::Card { reason: "Torn".to_owned() });
        assert_eq!(ending.host, None);
        assert!(counter.host.books().entries.is_empty());
        counter.stop();
    }
}
