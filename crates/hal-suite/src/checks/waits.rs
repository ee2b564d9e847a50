//! Every place where an app waits: it ends by its deadline, and when it is broken off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hal::{
    Call, CancelToken, CardDetector, Deadline, DetectRequest, DeviceKind, ErrorKind, IccReader, MagReader,
    PinPad, RfReader, Scanner, SerialConfig, SerialPort, SignaturePad, SwipeRequest, Tracks,
};

use super::{Outcome, expect_error, failed, pin, row, shared, start, unexpected};
use crate::Fixture;
use crate::hands::Deed;
use crate::report::Report;

type Run = Box<dyn FnOnce(&Call) -> hal::Result<()> + Send>;

/// A device that is ready to be waited at.
pub(crate) struct Ready {
    pub run: Run,
    pub call: Box<dyn Fn(Duration) -> Call>,
}

/// A place to wait.
pub(crate) struct Waiting {
    pub name: &'static str,
    pub kind: DeviceKind,
    pub prepare: fn(&dyn Fixture) -> Outcome<Ready>,
}

/// Turns an open device and a call of it into something that waits.
macro_rules! waiting {
    ($name:literal, $kind:ident, $device:ty, $prepare:expr, $run:expr) => {
        Waiting {
            name: $name,
            kind: DeviceKind::$kind,
            prepare: |fixture| {
                let held = shared::<$device>(fixture)?;
                let prepare: fn(&dyn Fixture, &$device) -> Outcome<()> = $prepare;
                prepare(fixture, held.get()?)?;
                let run: fn(&$device, &Call) -> hal::Result<()> = $run;
                let lease = Arc::clone(&held);
                Ok(Ready {
                    run: Box::new(move |call| run(held.lease.get()?, call)),
                    call: Box::new(move |wait| lease.lease.call(wait)),
                })
            },
        }
    };
}

const SWIPE: SwipeRequest = SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: None };

/// Every place.
pub(crate) const ALL: &[Waiting] = &[
    waiting!("a swipe", Mag, dyn MagReader, |_, _| Ok(()), |device, call| {
        device.wait_swipe(&SWIPE, call).map(drop)
    }),
    waiting!("a card in the slot", Icc, dyn IccReader, |_, _| Ok(()), |device, call| device.wait_card(call)),
    waiting!(
        "the slot empty",
        Icc,
        dyn IccReader,
        |fixture, device| {
            super::deed(fixture, Deed::InsertCard)?;
            device.wait_card(&Call::within(fixture.patience())).map_err(unexpected)
        },
        |device, call| device.wait_removed(call)
    ),
    waiting!("a card in the field", Rf, dyn RfReader, |_, _| Ok(()), |device, call| {
        device.poll(&[], call).map(drop)
    }),
    waiting!("any card", Detector, dyn CardDetector, |_, _| Ok(()), |device, call| {
        let (mag, icc, rf) = device.interfaces();
        let request = DetectRequest { mag, icc, rf, swipe: SWIPE, fallback: false };
        device.detect(&request, call).map(drop)
    }),
    waiting!("a PIN", PinPad, dyn PinPad, |fixture, _| pin::load_keys(fixture), |device, call| {
        device.online_pin(&pin::request(vec![4, 6], false), &|_| (), call).map(drop)
    }),
    waiting!("a code", Scanner, dyn Scanner, |_, _| Ok(()), |device, call| {
        let camera = device.cameras().first().copied().unwrap_or(hal::Camera::Back);
        device.scan(camera, &[], call).map(drop)
    }),
    waiting!(
        "bytes on the line",
        Serial,
        dyn SerialPort,
        |_, device| device.open(&SerialConfig::USUAL).map_err(unexpected),
        |device, call| device.read(1, call).map(drop)
    ),
    waiting!("a signature", Signature, dyn SignaturePad, |_, _| Ok(()), |device, call| {
        device.capture("1A2B3C4D", call).map(drop)
    }),
];

/// What a deadline of a wait may be missed by is the fixture's patience.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

fn deadline(fixture: &dyn Fixture, waiting: &Waiting) -> Outcome {
    let ready = (waiting.prepare)(fixture)?;
    let began = Instant::now();
    let call = (ready.call)(SHORT);
    let ended = start(move || (ready.run)(&call)).join(fixture.patience())?;
    let took = began.elapsed();
    expect_error(ended, ErrorKind::Timeout)?;
    if took < SHORT {
        return failed(format!("gave up after {} ms of {}", took.as_millis(), SHORT.as_millis()));
    }
    Ok(String::new())
}

pub(crate) fn deadlines(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for waiting in ALL {
        super::reset(fixture);
        let outcome = deadline(fixture, waiting);
        row(report, family, format!("waiting for {}", waiting.name), outcome);
    }
}

/// Broken off at once, and broken off when it has been waiting for a while: the two ways to miss it.
fn cancel(fixture: &dyn Fixture, waiting: &Waiting, after: Duration) -> Outcome {
    let ready = (waiting.prepare)(fixture)?;
    let call = (ready.call)(Duration::from_secs(600));
    let token = call.cancel.clone();
    let running = start(move || (ready.run)(&call));
    if !after.is_zero() {
        CancelToken::new().wait_until(Deadline::after(after));
        if !running.is_pending() {
            return failed("it ended before it was broken off");
        }
    }
    token.cancel();
    expect_error(running.join(fixture.patience())?, ErrorKind::UserCancelled)
}

pub(crate) fn cancels(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for waiting in ALL {
        for (when, after) in [("at once", Duration::ZERO), ("in the middle", SHORT)] {
            super::reset(fixture);
            let outcome = cancel(fixture, waiting, after);
            row(report, family, format!("waiting for {}, {when}", waiting.name), outcome);
        }
    }
}
