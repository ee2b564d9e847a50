//! The link is cut at each request of a sale in turn. Whatever was under way, the phone never says that a sale went through
//! which the host does not hold, nor the other way round once the reader is back: what the host booked and the phone did not
//! tell as approved is reversed before anything else, and in the end both sides settle the same batch.

use app::flow::{Desk, Outcome, Trade};
use app::view::{Input, View};
use hal::DeviceKind;
use hal_virtual::PinKey;
use terminal::Hand;

use crate::{CHIP, Counter, How, PATIENCE, STRIPE, has, value};

/// More requests than a sale has.
const REQUESTS_MAX: u32 = 60;

impl Counter {
    /// A sale by somebody who does what screen and reader ask, as long as they ask, and takes the end as it comes.
    fn try_to_sell(&self, amount: u64, how: &How) -> Outcome {
        let panel = self.station.panel().unwrap();
        let controls = self.station.card_controls();
        let mut changes = self.station.changes();
        assert!(panel.press(Input::Trade { trade: Trade::Sale }));
        // The screen at which the card was presented: each asks for it once.
        let mut presented = 0;
        loop {
            let waits = |kind| controls.view().waiting.contains(&kind);
            // A key that comes too late means nothing, and a card that is there already stays.
            let shown = panel.shown();
            match shown.view {
                View::Amount { .. } => drop(panel.press(Input::Amount { amount })),
                View::Card { .. } if waits(DeviceKind::Detector) && presented != shown.version => {
                    presented = shown.version;
                    let _ = self.station.hand(match how {
                        How::Insert(card) => Hand::Insert { card: (*card).into() },
                        How::Tap(card) => Hand::Tap { card: (*card).into() },
                        How::Swipe(_) | How::Nothing => panic!("a chip"),
                    });
                }
                View::Pin { .. } if waits(DeviceKind::PinPad) => {
                    let _ = controls.type_digits("123456") && controls.press(PinKey::Confirm);
                }
                View::RemoveCard => drop(self.station.hand(Hand::Remove)),
                View::Tear { .. } => drop(panel.press(Input::Confirm)),
                View::Result { ending, .. } => {
                    let _ = self.station.hand(Hand::Remove);
                    let _ = self.station.hand(Hand::Untap);
                    panel.press(Input::Confirm);
                    self.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));
                    return ending.outcome;
                }
                View::Trouble { trouble } => panic!("{trouble:?}"),
                _ => {}
            }
            let changed =
                self.runtime.block_on(async { tokio::time::timeout(PATIENCE, changes.changed()).await });
            assert!(changed.is_ok(), "nothing moves at {:?}", self.view());
        }
    }
}

fn cut_everywhere(how: &How, heard: bool) {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 300, None, how), Outcome::Approved);
    let mut told = vec![300];
    let (mut whole, mut taken_back) = (false, 0);
    for nth in 1..=REQUESTS_MAX {
        let story = format!("cut at request {nth}");
        counter.station.hand(Hand::CutLink { nth, heard }).unwrap();
        let amount = 10_000 + u64::from(nth);
        let outcome = counter.try_to_sell(amount, how);
        let cut = !counter.station.snapshot().reader.unwrap().link;
        counter.station.hand(Hand::Link { on: true }).unwrap();
        if outcome == Outcome::Approved {
            told.push(amount);
        } else {
            assert!(cut, "{story}: {outcome:?} of itself");
            taken_back += u32::from(counter.standing().contains(&amount));
        }
        // Whoever sells next brings along what waits.
        let next = 30_000 + u64::from(nth);
        assert_eq!(
            counter.outcome(Trade::Sale, next, None, &How::Swipe(STRIPE)),
            Outcome::Approved,
            "{story}"
        );
        told.push(next);
        told.sort_unstable();
        assert_eq!(counter.standing(), told, "{story}");
        whole = !cut;
        if whole {
            break;
        }
    }
    assert!(whole, "a sale has fewer requests");
    // The answer's MAC, and the word to the chip or from it.
    assert!(taken_back > 0, "no cut came after the host had booked");
    counter.desk(Desk::Settle);
    let books = counter.host.books();
    assert_eq!(books.settled.len(), 1);
    assert!(books.complaints.is_empty(), "{:?}", books.complaints);
}

#[test]
fn a_chip_sale_cut_before_each_request_leaves_the_books_agreed() {
    cut_everywhere(&How::Insert(CHIP), false);
}

#[test]
fn a_chip_sale_cut_before_each_answer_leaves_the_books_agreed() {
    cut_everywhere(&How::Insert(CHIP), true);
}

#[test]
fn a_tap_cut_before_each_request_leaves_the_books_agreed() {
    cut_everywhere(&How::Tap(CHIP), false);
}

/// The narrow places after the host has answered. An answer that cannot be verified any more is none, and nobody is told how it
/// ended. Verified but not told to the chip, or told and the chip's word is lost, the chip counts as one that was taken away and
/// refuses. All are reversed (06: an answer that cannot be used) before the next sale, and no slip says that they went through.
#[test]
fn an_answer_that_the_chip_does_not_hear_is_reversed() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 300, None, &How::Insert(CHIP)), Outcome::Approved);
    let slips = counter.station.printed().len();
    let moments = [(1, false, Outcome::Unknown), (2, false, Outcome::Declined), (2, true, Outcome::Declined)];
    for (nth, heard, outcome) in moments {
        let story = format!("{nth} {heard}");
        counter.cutter.at("0200 22", &counter.station, Hand::CutLink { nth, heard });
        assert_eq!(counter.try_to_sell(8_800, &How::Insert(CHIP)), outcome, "{story}");
        assert!(counter.standing().contains(&8_800), "{story}: the host has booked it");
        assert!(counter.station.panel().unwrap().shown().standing.reversal, "{story}: it waits");
        assert_eq!(counter.station.printed().len(), slips, "{story}");
        counter.station.hand(Hand::Link { on: true }).unwrap();
        counter.desk(Desk::Repeat);
        assert_eq!(counter.standing(), [300], "{story}");
        let reversal = counter.sent("0400");
        assert_eq!(value(&reversal, "39"), "06", "{story}");
        assert!(has(&reversal, "55") && !has(&reversal, "35"), "{story}: {reversal:?}");
    }
}
