//! The power goes at every step of every transaction, and afterwards terminal and host agree.
//!
//! Each kind of transaction is played once to its end to learn its steps. Then it is played again from the same start for
//! each of them: the power goes right before the step, right after it, and, for each request, when it has reached the host:
//! unheard, or booked with its answer under way. The terminal starts again, settles by itself what the cut left, and then
//!
//! - what the terminal holds is what stands at the host, amount for amount, and voided is what the host has voided;
//! - no reversal waits, no refund is open;
//! - the order has one end, the one that the books tell, and of what stands both copies are on paper;
//! - the next sale goes through.
//!
//! The device, the cards, the app and the wire are those of a terminal of the page; the host is a test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stdout)] // how many cuts were played is told

mod counter;
mod cutter;
mod host;

use std::collections::BTreeMap;

use app::flow::{Desk, Outcome, Trade};
use app::view::{Input, Line};
use counter::{Counter, How, Prepared, Script};
use cutter::At;

fn sale(how: How, amount: u64) -> Script {
    Script { amount, how, ..Script::of(Trade::Sale) }
}

/// Plays a kind at every cut. Prints how many there were.
fn play(name: &str, script: impl Fn(&Prepared) -> Script) {
    play_at(&Counter::new(false), name, script);
}

fn play_at(counter: &Counter, name: &str, script: impl Fn(&Prepared) -> Script) {
    let prepared = counter.prepared();
    let script = script(&prepared);

    counter.start(&prepared);
    counter.cutter.arm(At::Never);
    assert!(counter.run(&script), "{name}: uncut");
    let (moments, wires) = (counter.cutter.moments(), counter.cutter.wires());
    let endings = counter.cutter.endings();
    assert!(
        endings.iter().all(|ending| ending.outcome == Outcome::Approved)
            && endings.len() == usize::from(script.trade.is_some()),
        "{name}: uncut, it ends {endings:?}"
    );
    agree(counter, &script, name);
    counter.stop();
    assert!(!moments.is_empty());

    let cuts = (0..moments.len()).map(|at| (At::Moment(at), moments[at].clone())).chain(
        (0..wires.len()).flat_map(|at| {
            [(At::Lost(at), format!("lost {}", wires[at])), (At::Booked(at), format!("booked {}", wires[at]))]
        }),
    );
    let mut count = 0;
    for (at, step) in cuts {
        // Where the wire is cut, the first request of the next start is cut as well in a second round.
        let rounds = if matches!(at, At::Moment(_)) { 1 } else { 2 };
        for round in 0..rounds {
            let story = format!("{name}, cut {at:?} ({step}), round {round}");
            counter.start(&prepared);
            counter.cutter.arm(at);
            assert!(!counter.run(&script), "{story}: the power did not go");
            counter.restart(if round == 1 { At::Booked(0) } else { At::Never });
            if !counter.settle_down(&story) {
                counter.restart(At::Never);
                assert!(counter.settle_down(&story));
            }
            counter.cutter.disarm();
            agree(counter, &script, &story);
            counter.stop();
            count += 1;
        }
    }
    println!("{name}: {} steps, {} requests, {count} cuts", moments.len() / 2, wires.len());
}

fn agree(counter: &Counter, script: &Script, story: &str) {
    let endings = counter.cutter.endings();
    counter.finish_desk(story);
    compare(counter, story);
    let books = counter.host.books();
    let (before, now) = (counter.stood(), books.standing());
    if let Some(trade) = script.trade
        && trade != Trade::Balance
    {
        // A sale offline that is voided before its upload is never heard of; one that is not voided is.
        let stands = (before != now) != unheard(script);
        let told: Vec<Outcome> = endings.iter().map(|ending| ending.outcome).collect();
        assert!(told.iter().all(|outcome| (*outcome == Outcome::Approved) == stands), "{story}: {told:?}");
        assert!(!stands || !told.is_empty(), "{story}: nobody knows the end");
        assert!(told.iter().all(|outcome| *outcome != Outcome::Unknown), "{story}: {told:?}");
        let slips = counter.slips();
        if stands {
            assert!(slips >= 2, "{story}: {slips} slips");
        } else {
            assert_eq!(slips, 0, "{story}: a slip of what does not stand");
        }
    }
    if script.trade == Some(Trade::Balance) {
        assert_eq!(counter.slips(), 0, "{story}: a balance has no slip, and no other is offered for it");
    }
    assert!(counter.run(&sale(How::Swipe("M01"), 777)), "{story}: the next sale");
    counter.finish_desk(story);
    compare(counter, story);
    let after = counter.host.books();
    assert_eq!(after.standing().len(), now.len() + 1, "{story}: the next sale stands at the host");
    assert!(after.complaints.is_empty(), "{story}: {:?}", after.complaints);
}

/// Whether what it undoes was never uploaded.
fn unheard(script: &Script) -> bool {
    let before = script.before.as_ref().and_then(|before| before.trade);
    (script.trade, before) == (Some(Trade::Void), Some(Trade::OfflineSale))
}

/// The batch as the terminal lists it against the host's books.
fn compare(counter: &Counter, story: &str) {
    let books = counter.host.books();
    let (lines, standing) = counter.list(story);
    // What was voided before its upload is the terminal's alone.
    let unheard = |line: &Line| line.voided && !books.entries.contains_key(&u64::from(line.trace));
    let lines: Vec<Line> = lines.into_iter().filter(|line| !unheard(line)).collect();
    let ours: BTreeMap<u64, u64> = lines.iter().map(|line| (u64::from(line.trace), line.amount)).collect();
    assert_eq!(ours, books.standing(), "{story}");
    assert_eq!(ours.len(), lines.len(), "{story}: a trace stands twice in the batch");
    for line in &lines {
        assert_eq!(line.voided, books.voided(u64::from(line.trace)), "{story}: trace {}", line.trace);
    }
    assert!(!standing.reversal && !standing.refund_open && standing.waiting == 0, "{story}: {standing:?}");
    assert_eq!(standing.batch, books.batch, "{story}");
}

#[test]
fn a_sale_by_chip_with_its_pin() {
    play("chip sale", |_| sale(How::Insert("L01"), 10_000));
}

#[test]
fn a_sale_by_tap() {
    play("tap sale", |_| sale(How::Tap("L01"), 5000));
}

#[test]
fn a_sale_by_stripe_with_its_pin() {
    play("stripe sale", |_| sale(How::Swipe("M01"), 3000));
}

/// The first sale of a day: signing in is part of it.
#[test]
fn a_sale_that_signs_in_first() {
    let sign_off = Script::desk(Input::Desk { desk: Desk::SignOff });
    play("sale after a sign-off", |_| Script {
        before: Some(Box::new(sign_off.clone())),
        ..sale(How::Swipe("M01"), 3000)
    });
}

#[test]
fn a_void() {
    play("void", |prepared| Script { trace: Some(prepared.find("22").0), ..Script::of(Trade::Void) });
}

#[test]
fn a_refund() {
    play("refund", |prepared| Script {
        amount: 2000,
        how: How::Insert("L01"),
        reference: Some(prepared.find("22").1.reference),
        date: Some("1124".to_owned()),
        ..Script::of(Trade::Refund)
    });
}

#[test]
fn a_preauthorisation() {
    play("preauthorisation", |_| Script {
        amount: 6000,
        how: How::Insert("L01"),
        ..Script::of(Trade::Preauth)
    });
}

fn of_preauth(prepared: &Prepared, trade: Trade) -> Script {
    Script {
        amount: counter::PREAUTH,
        how: How::Insert("L01"),
        auth_code: prepared.find("10").1.auth_code,
        date: Some("1124".to_owned()),
        ..Script::of(trade)
    }
}

#[test]
fn a_completion() {
    play("completion", |prepared| of_preauth(prepared, Trade::PreauthComplete));
}

#[test]
fn a_void_of_a_preauthorisation() {
    play("void of a preauthorisation", |prepared| of_preauth(prepared, Trade::PreauthVoid));
}

#[test]
fn a_void_of_a_completion() {
    play("void of a completion", |prepared| Script {
        trace: Some(prepared.find("20").0),
        ..Script::of(Trade::PreauthCompleteVoid)
    });
}

#[test]
fn a_balance() {
    play("balance", |_| Script { how: How::Insert("L01"), ..Script::of(Trade::Balance) });
}

#[test]
fn a_sale_by_instalments() {
    play("instalments", |_| Script {
        amount: 30_000,
        periods: 3,
        how: How::Insert("L01"),
        ..Script::of(Trade::Instalment)
    });
}

/// Approved by the terminal itself: the host hears of it afterwards.
#[test]
fn a_sale_offline() {
    play("offline sale", |_| offline_sale());
}

fn offline_sale() -> Script {
    Script { amount: 500, how: How::Swipe("M01"), ..Script::of(Trade::OfflineSale) }
}

/// A sale offline is voided before its upload: in the terminal alone, under the number of the sale.
#[test]
fn a_void_of_a_sale_offline() {
    play("void of an offline sale", |prepared| Script {
        before: Some(Box::new(offline_sale())),
        // The next number after those that the host has heard.
        trace: prepared.books.entries.keys().last().map(|last| last + 1),
        ..Script::of(Trade::Void)
    });
}

/// Above the limit: with the code that the issuer gave by telephone, and the number keyed.
#[test]
fn a_sale_offline_by_telephone() {
    play("offline sale by telephone", |_| Script {
        amount: 20_000,
        how: How::Keys("6224242000000120", "2912"),
        auth_code: Some("A1B2C3".to_owned()),
        ..Script::of(Trade::OfflineSale)
    });
}

/// The chip approves, and the host hears of it afterwards with its certificate.
#[test]
fn a_sale_that_the_chip_approves() {
    play("offline chip sale", |_| Script {
        amount: 500,
        how: How::Insert("L01"),
        ..Script::of(Trade::OfflineChip)
    });
}

#[test]
fn a_sale_with_a_keyed_number() {
    play("keyed sale", |_| sale(How::Keys("6224242000000120", "2912"), 3000));
}

#[test]
fn a_sale_for_points() {
    play("points", |_| Script { amount: 700, how: How::Insert("L01"), ..Script::of(Trade::PointsSale) });
}

#[test]
fn a_refund_of_what_a_chip_paid() {
    play("chip refund", |prepared| Script {
        amount: 2000,
        how: How::Insert("L01"),
        reference: Some(prepared.find("22").1.reference),
        date: Some("1124".to_owned()),
        ..Script::of(Trade::ChipRefund)
    });
}

#[test]
fn a_load_from_the_own_account() {
    play("load", |_| Script { amount: 5000, how: How::Insert("L01"), ..Script::of(Trade::Load) });
}

#[test]
fn a_load_from_another_card() {
    play("load from another card", |_| Script {
        amount: 5000,
        how: How::Two("M01", "L01"),
        ..Script::of(Trade::TransferLoad)
    });
}

fn cash_load() -> Script {
    Script { amount: 5000, how: How::Insert("L01"), ..Script::of(Trade::CashLoad) }
}

#[test]
fn a_load_with_cash() {
    play("cash load", |_| cash_load());
}

/// The purse is in the chip: the card is asked for again, although the batch has its number.
#[test]
fn a_void_of_a_load_with_cash() {
    play("void of a cash load", |prepared| Script {
        before: Some(Box::new(cash_load())),
        how: How::Insert("L01"),
        trace: prepared.books.entries.keys().last().map(|last| last + 1),
        ..Script::of(Trade::CashLoadVoid)
    });
}

#[test]
fn a_tip() {
    play("tip", |prepared| Script {
        amount: 500,
        trace: Some(prepared.find("22").0),
        ..Script::of(Trade::Tip)
    });
}

/// The holder signs on the screen: the signature is kept before the slip says so, and goes to the host afterwards.
#[test]
fn a_sale_that_is_signed_on_the_screen() {
    play_at(&Counter::new(true), "signed sale", |_| sale(How::Insert("L01"), 10_000));
}

/// Settlement with the certificate of a chip to upload, and the sign-off after it. Cut off anywhere, it goes on with the
/// next start, without a key.
#[test]
fn a_settlement() {
    play("settlement", |_| Script::desk(Input::Desk { desk: Desk::Settle }));
}
