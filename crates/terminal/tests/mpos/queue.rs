//! What a phone sends later than it was made. A track is under a key of one sign-in, so nothing that waits may have one: a phone
//! does not sell without the host, whatever cards and parameters allow; a tip waits, and names its sale by its numbers.

use app::flow::{Desk, Outcome, Trade, TroubleKind};
use app::view::{Input, View};

use crate::{CHIP, Counter, How, has, value};

/// The menu does not offer it, a key that asks for it all the same is told no, and a card that would approve by itself is taken
/// to the host.
#[test]
fn a_phone_does_not_sell_without_the_host() {
    let counter = Counter::paired();
    let panel = counter.station.panel().unwrap();
    assert_eq!(counter.outcome(Trade::Sale, 1_250, None, &How::Tap(CHIP)), Outcome::Approved);
    assert_eq!(counter.standing(), [1_250], "not waiting, but at the host");
    assert_eq!(value(&counter.sent("0200"), "22"), "072");
    assert!(!panel.shown().standing.sells_offline);
    let seen = counter.host.books().seen.len();
    for trade in [Trade::OfflineSale, Trade::OfflineChip] {
        assert!(panel.press(Input::Trade { trade }));
        let kind = counter.until("no", |view| match view {
            View::Trouble { trouble } => Some(trouble.kind),
            _ => None,
        });
        assert_eq!(kind, TroubleKind::NotPossible);
        assert!(panel.press(Input::Confirm));
        counter.until("the menu", |view| matches!(view, View::Menu { .. }).then_some(()));
    }
    assert_eq!(counter.host.books().seen.len(), seen);
    assert_eq!(panel.shown().standing.waiting, 0);
}

/// A tip is made, the terminal signs in anew, and only then the tip goes up: nothing in it is under the keys of before.
#[test]
fn a_tip_waits_through_a_sign_in_and_names_its_sale() {
    let counter = Counter::paired();
    assert_eq!(counter.outcome(Trade::Sale, 10_000, None, &How::Insert(CHIP)), Outcome::Approved);
    let trace = u32::try_from(counter.host.books().find("22").0).unwrap();
    counter.station.hand(terminal::Hand::Network { online: false }).unwrap();
    assert_eq!(counter.outcome(Trade::Tip, 500, Some(trace), &How::Nothing), Outcome::Approved);
    assert_eq!(counter.standing(), [10_000], "it waits");
    counter.station.hand(terminal::Hand::Network { online: true }).unwrap();
    counter.desk(Desk::SignIn);
    counter.desk(Desk::Upload);
    assert_eq!(counter.standing(), [10_500]);
    let tip = counter.sent("0220");
    assert!([2, 35, 52, 55].iter().all(|field| !has(&tip, &field.to_string())), "{tip:?}");
    assert!(has(&tip, "54") && has(&tip, "59") && has(&tip, "61"), "{tip:?}");
    counter.desk(Desk::Settle);
    let books = counter.host.books();
    assert!(books.settled.len() == 1 && books.complaints.is_empty(), "{:?}", books.complaints);
}
