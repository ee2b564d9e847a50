//! Cards that leave, cards that come in twos, and what is counted.

use std::time::Duration;

use hal::{
    Call, Counters, DeviceInfo, ErrorKind, IccReader, MagReader, PinPad, PowerUp, PrintJob, Printer,
    ReceiptDoc, RfReader, Scanner, SwipeRequest, Tracks,
};
use receipt::Line;

use super::{Outcome, Running, Stop, deed, expect_error, failed, open, pin, row, shared, start, unexpected};
use crate::Fixture;
use crate::hands::Deed;
use crate::report::Report;

/// SELECT of the payment system environment: every payment card answers something.
const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0E1PAY.SYS.DDF01";

pub(crate) fn pulled(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let reader = open::<dyn IccReader>(fixture)?;
        let call = reader.lease.call(fixture.patience());
        let device = reader.get()?;
        deed(fixture, Deed::InsertCard)?;
        device.wait_card(&call).map_err(unexpected)?;
        let atr = device.power_up(&PowerUp::default()).map_err(unexpected)?;
        if atr.is_empty() {
            return failed("the answer to reset is empty");
        }
        let answer = device.transmit(SELECT, &call).map_err(unexpected)?;
        if answer.len() < 2 {
            return failed("an answer without a status word");
        }
        deed(fixture, Deed::RemoveCard)?;
        device.wait_removed(&call).map_err(unexpected)?;
        expect_error(device.transmit(SELECT, &call), ErrorKind::CardRemoved)?;
        deed(fixture, Deed::InsertCard)?;
        device.wait_card(&call).map_err(unexpected)?;
        device.power_up(&PowerUp::default()).map_err(unexpected)?;
        device.transmit(SELECT, &call).map(|_| String::new()).map_err(unexpected)
    })();
    row(report, family, "card pulled between two commands", outcome);
}

pub(crate) fn two_in_the_field(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let reader = open::<dyn RfReader>(fixture)?;
        let device = reader.get()?;
        deed(fixture, Deed::TapTwo)?;
        expect_error(device.poll(&[], &reader.lease.call(fixture.patience())), ErrorKind::MultipleCards)?;
        deed(fixture, Deed::Untap)?;
        deed(fixture, Deed::Tap)?;
        device.poll(&[], &reader.lease.call(fixture.patience())).map_err(unexpected)?;
        device.activate().map(|_| String::new()).map_err(unexpected)
    })();
    row(report, family, "two cards in the field", outcome);
}

fn count(fixture: &dyn Fixture) -> Outcome<Counters> {
    open::<dyn DeviceInfo>(fixture)?.get()?.counters().map_err(unexpected)
}

/// A deed and a use of a device between two looks at the counters.
fn rises(fixture: &dyn Fixture, counter: fn(&Counters) -> u64, act: impl FnOnce() -> Outcome<()>) -> Outcome {
    let before = counter(&count(fixture)?);
    act()?;
    let after = counter(&count(fixture)?);
    if after > before {
        Ok(format!("{before} to {after}"))
    } else {
        failed(format!("{before} before, {after} after"))
    }
}

/// Does the deed again until the call has ended, since nobody tells from outside when a reader looks.
fn until_done<R>(fixture: &dyn Fixture, running: Running<R>, what: Deed) -> Outcome<R> {
    for _ in 0..50 {
        if !running.is_pending() {
            break;
        }
        deed(fixture, what)?;
        if running.ends_within(Duration::from_millis(100)) {
            break;
        }
    }
    running.join(fixture.patience())
}

pub(crate) fn counters(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let patience = fixture.patience();
    let prints = rises(
        fixture,
        |counters| counters.prints,
        || {
            let printer = open::<dyn Printer>(fixture)?;
            let mut doc = ReceiptDoc::new(printer.get()?.abilities().width);
            doc.push(Line::text("counted"));
            printer.get()?.print(&PrintJob::once(doc), &printer.lease.call(patience)).map_err(unexpected)
        },
    );
    row(report, family, "a slip", prints);
    let inserts = rises(
        fixture,
        |counters| counters.inserts,
        || {
            let reader = open::<dyn IccReader>(fixture)?;
            deed(fixture, Deed::InsertCard)?;
            reader.get()?.wait_card(&reader.lease.call(patience)).map_err(unexpected)?;
            reader.get()?.power_up(&PowerUp::default()).map(drop).map_err(unexpected)
        },
    );
    row(report, family, "a card in the slot", inserts);
    super::reset(fixture);
    let taps = rises(
        fixture,
        |counters| counters.taps,
        || {
            let reader = open::<dyn RfReader>(fixture)?;
            deed(fixture, Deed::Tap)?;
            reader.get()?.poll(&[], &reader.lease.call(patience)).map_err(unexpected)?;
            reader.get()?.activate().map(drop).map_err(unexpected)
        },
    );
    row(report, family, "a card in the field", taps);
    let swipes = rises(
        fixture,
        |counters| counters.swipes,
        || {
            let reader = shared::<dyn MagReader>(fixture)?;
            let running = start(move || -> hal::Result<()> {
                let request = SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None };
                reader.lease.get()?.wait_swipe(&request, &reader.lease.call(patience)).map(drop)
            });
            until_done(fixture, running, Deed::Swipe)?.map_err(unexpected)
        },
    );
    row(report, family, "a swipe", swipes);
    let scans = rises(
        fixture,
        |counters| counters.scans,
        || {
            let scanner = open::<dyn Scanner>(fixture)?;
            let device = scanner.get()?;
            let camera = device.cameras().first().copied();
            let camera = camera.ok_or_else(|| Stop::Skipped("the scanner has no camera".to_owned()))?;
            deed(fixture, Deed::ShowCode)?;
            device.scan(camera, &[], &scanner.lease.call(patience)).map(drop).map_err(unexpected)
        },
    );
    row(report, family, "a code", scans);
    let pins = rises(
        fixture,
        |counters| counters.pins,
        || {
            let pad = open::<dyn PinPad>(fixture)?;
            pin::load_keys(fixture)?;
            // An entry that ends by its deadline has begun all the same.
            let call = Call::within(Duration::from_millis(20));
            expect_error(
                pad.get()?.online_pin(&pin::request(vec![4, 6], false), &|_| (), &call),
                ErrorKind::Timeout,
            )
            .map(drop)
        },
    );
    row(report, family, "a PIN entry", pins);
}
