//! PINs: the published block, one too short, none, a change of mind, nobody there.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use hal::{
    CardNumber, ErrorKind, KeyAlgorithm, KeySlot, KeyStore, OnlinePin, PinEvent, PinFormat, PinPad,
    PinRequest, WorkKeyClass,
};

use super::{Outcome, Running, Stop, deed, expect_error, failed, keys, open, row, shared, start};
use crate::Fixture;
use crate::hands::Deed;
use crate::report::Report;

/// PIN 123456 of this card under the PIN key of the vectors.
const PAN: &str = "6224242000000021";
const BLOCK: &str = "010FFE95955CE8A5";

pub(crate) fn request(lengths: Vec<u8>, bypass: bool) -> PinRequest {
    PinRequest {
        pan: CardNumber::clear(PAN),
        key: KeySlot::working(1, WorkKeyClass::Pin).unwrap_or(KeySlot::TRANSPORT),
        format: PinFormat::Iso0,
        lengths,
        bypass,
        random_layout: true,
        amount: Some(1250),
    }
}

/// The master key and the PIN key of the vectors in their slots.
pub(crate) fn load_keys(fixture: &dyn Fixture) -> Outcome<()> {
    let store = open::<dyn KeyStore>(fixture)?;
    keys::load(fixture, store.get()?, KeyAlgorithm::TripleDes2, WorkKeyClass::Pin, keys::PIN_KEY).map(drop)
}

/// Opens the pad and has it waiting for digits.
fn typing(
    fixture: &dyn Fixture,
    request: PinRequest,
    wait: Duration,
) -> Outcome<Running<hal::Result<OnlinePin>>> {
    let pad = shared::<dyn PinPad>(fixture)?;
    load_keys(fixture)?;
    let (ready, is_ready) = sync_channel(64);
    let running = start(move || {
        // Later events find nobody listening, or no room; neither matters.
        let watch = |event: PinEvent| {
            let _room = ready.try_send(event);
        };
        pad.lease.get()?.online_pin(&request, &watch, &pad.lease.call(wait))
    });
    match is_ready.recv_timeout(fixture.patience()) {
        Ok(PinEvent::Started) => Ok(running),
        Ok(other) => failed(format!("the first event is {other:?}")),
        Err(_) => match running.join(Duration::from_millis(100))? {
            Err(error) => failed(format!("no entry began: {error}")),
            Ok(_) => failed("the pad never said that it waits for digits"),
        },
    }
}

fn wants_block(result: hal::Result<OnlinePin>) -> Outcome {
    match result {
        Ok(OnlinePin::Block(block)) if hex::encode_upper(block.bytes()) == BLOCK => Ok(String::new()),
        // Not the block itself: with the published key it is a PIN.
        Ok(OnlinePin::Block(_)) => failed("another block than the published one"),
        Ok(OnlinePin::Bypassed) => failed("bypassed although digits were typed"),
        Err(error) => failed(format!("unexpected: {error}")),
    }
}

pub(crate) fn block(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 5, 6], false), fixture.patience())?;
        deed(fixture, Deed::Type("123456"))?;
        deed(fixture, Deed::Confirm)?;
        wants_block(running.join(fixture.patience())?)
    })();
    row(report, family, "the published block", outcome);
}

pub(crate) fn too_short(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 6], false), fixture.patience())?;
        deed(fixture, Deed::Type("123"))?;
        deed(fixture, Deed::Confirm)?;
        // Had the short one been taken, what follows would come too late.
        deed(fixture, Deed::Clear)?;
        deed(fixture, Deed::Type("123456"))?;
        deed(fixture, Deed::Confirm)?;
        wants_block(running.join(fixture.patience())?)
    })();
    row(report, family, "too short is not taken", outcome);
}

pub(crate) fn bypass(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 6], true), fixture.patience())?;
        deed(fixture, Deed::Confirm)?;
        match running.join(fixture.patience())? {
            Ok(OnlinePin::Bypassed) => Ok(String::new()),
            Ok(OnlinePin::Block(_)) => failed("a block without a PIN"),
            Err(error) => failed(format!("unexpected: {error}")),
        }
    })();
    row(report, family, "bypass where it is allowed", outcome);
    super::reset(fixture);
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 6], false), fixture.patience())?;
        deed(fixture, Deed::Confirm)?;
        deed(fixture, Deed::Type("123456"))?;
        deed(fixture, Deed::Confirm)?;
        wants_block(running.join(fixture.patience())?)
    })();
    row(report, family, "no bypass where it is not", outcome);
}

pub(crate) fn cancel(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 6], true), fixture.patience())?;
        deed(fixture, Deed::Type("12"))?;
        deed(fixture, Deed::Cancel)?;
        expect_error(running.join(fixture.patience())?, ErrorKind::UserCancelled)
    })();
    row(report, family, "cancelled by the holder", outcome);
}

pub(crate) fn timeout(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let outcome = (|| {
        let running = typing(fixture, request(vec![4, 6], true), Duration::from_millis(200))?;
        // Half a PIN is no PIN.
        deed(fixture, Deed::Type("12"))?;
        expect_error(running.join(fixture.patience())?, ErrorKind::Timeout)
    })();
    row(report, family, "nobody confirms", outcome);
    super::reset(fixture);
    let outcome = (|| {
        let pad = open::<dyn PinPad>(fixture)?;
        let slot =
            KeySlot::working(8, WorkKeyClass::Pin).ok_or_else(|| Stop::Skipped("no slot".to_owned()))?;
        let store = open::<dyn KeyStore>(fixture)?;
        store.get()?.delete(slot).map_err(super::unexpected)?;
        let request = PinRequest { key: slot, ..request(vec![4, 6], true) };
        let call = pad.lease.call(fixture.patience());
        expect_error(pad.get()?.online_pin(&request, &|_| (), &call), ErrorKind::NoKey)
    })();
    row(report, family, "no PIN is asked for without a key", outcome);
}
