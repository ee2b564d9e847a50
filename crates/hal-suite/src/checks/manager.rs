//! Claims, the death of an app, permissions, devices that are not there, codes, and a thousand cycles.

use std::sync::Arc;
use std::time::Duration;

use hal::{
    AppId, CancelToken, CryptoBox, Deadline, DeviceKind, DeviceManager, ErrorKind, HalError, KeySlot,
    KeyStore, LeaseTerms, MacAlgorithm, OpenDevice, Permission, Permissions, PinPad, Scanner, SystemControl,
    WorkKeyClass,
};

use super::{Outcome, Stop, bounded, expect_error, failed, has, row, start, unexpected, waits};
use crate::report::Report;
use crate::{Fixture, SUITE_APP, is_absent};

fn exclusive(fixture: &dyn Fixture) -> Vec<DeviceKind> {
    let mut kinds: Vec<_> = fixture.manager().inventory().into_iter().map(|entry| entry.kind).collect();
    kinds.retain(|kind| !kind.is_shared());
    kinds.dedup();
    kinds
}

fn claim_one(manager: &dyn DeviceManager, kind: DeviceKind) -> Outcome {
    let login = |name: &str| manager.login(&AppId::new(name)).map_err(unexpected);
    let (first, second) = (login(SUITE_APP)?, login("org.posp.hal-suite.other")?);
    let open = |session: &hal::Session| manager.open_device(session, kind, 0, LeaseTerms::open_end());
    let held = open(&first).map_err(unexpected)?;
    expect_error(open(&second), ErrorKind::Claimed)?;
    expect_error(open(&first), ErrorKind::Claimed)?;
    drop(held);
    let again = open(&second).map_err(unexpected)?;
    drop(again);
    // A session that ends without a word lets go as well.
    let _held = open(&second).map_err(unexpected)?;
    drop(second);
    open(&first).map(|_| String::new()).map_err(unexpected)
}

pub(crate) fn claims(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for kind in exclusive(fixture) {
        let manager = fixture.manager();
        let outcome = bounded(fixture, move || claim_one(&*manager, kind)).and_then(|outcome| outcome);
        row(report, family, format!("claim and double claim: {kind}"), outcome);
    }
    let outcome = lease_time(fixture);
    row(report, family, "a lease ends by its time", outcome);
}

fn lease_time(fixture: &dyn Fixture) -> Outcome {
    let manager = fixture.manager();
    let Some(kind) = exclusive(fixture).first().copied() else {
        return Err(Stop::Skipped("no device is exclusive".to_owned()));
    };
    let session = manager.login(&AppId::new(SUITE_APP)).map_err(unexpected)?;
    let terms = LeaseTerms::at_most(Duration::from_millis(20));
    let (_device, claim) = manager.open_device(&session, kind, 0, terms).map_err(unexpected)?;
    CancelToken::new().wait_until(Deadline::after(Duration::from_millis(40)));
    expect_error(claim.check(), ErrorKind::NotOpen)?;
    let second = manager.open_device(&session, kind, 0, LeaseTerms::open_end());
    second.map(|_| String::new()).map_err(unexpected)
}

pub(crate) fn app_death(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for waiting in waits::ALL {
        super::reset(fixture);
        let outcome = death_of(fixture, waiting);
        row(report, family, format!("lease lost when the app dies: {}", waiting.name), outcome);
    }
}

fn death_of(fixture: &dyn Fixture, waiting: &waits::Waiting) -> Outcome {
    let ready = (waiting.prepare)(fixture)?;
    let call = (ready.call)(Duration::from_secs(600));
    let running = start(move || (ready.run)(&call));
    // It shall be waiting by then; one that is not yet finds its lease gone, which is right as well.
    CancelToken::new().wait_until(Deadline::after(waits::SHORT));
    if !running.is_pending() {
        return failed("it ended before the app died");
    }
    fixture.manager().end_app(&AppId::new(SUITE_APP));
    let ended = running.join(fixture.patience())?;
    expect_error(ended, ErrorKind::NotOpen)?;
    // Free for the next one.
    let manager = fixture.manager();
    let session = manager.login(&AppId::new("org.posp.hal-suite.next")).map_err(unexpected)?;
    let opened = manager.open_device(&session, waiting.kind, 0, LeaseTerms::open_end());
    opened.map(|_| String::new()).map_err(unexpected)
}

pub(crate) fn permissions(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let app = AppId::new("org.posp.hal-suite.poor");
    let mut kinds: Vec<_> = fixture.manager().inventory().into_iter().map(|entry| entry.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let granted = Permissions::all().without(Permission::Open(kind));
        let manager = fixture.for_app(&app, granted);
        let outcome = manager.login(&app).map_err(unexpected).and_then(|session| {
            expect_error(
                manager.open_device(&session, kind, 0, LeaseTerms::open_end()),
                ErrorKind::PermissionDenied,
            )
        });
        row(report, family, format!("refused without the grant: {kind}"), outcome);
    }
    for (permission, attempt) in OPERATIONS {
        let outcome = if has(fixture, permission.device()) {
            let manager = fixture.for_app(&app, Permissions::all().without(*permission));
            let attempt = *attempt;
            let app = app.clone();
            bounded(fixture, move || attempt(&*manager, &app)).and_then(|outcome| outcome)
        } else {
            Err(Stop::Skipped(format!("the terminal has no {}", permission.device())))
        };
        row(report, family, format!("refused without the grant: {permission}"), outcome);
    }
}

type Attempt = fn(&dyn DeviceManager, &AppId) -> Outcome;

const OPERATIONS: &[(Permission, Attempt)] = &[
    (Permission::PinBlock, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let pad = manager.open::<dyn PinPad>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let call = pad.call(Duration::from_millis(20));
        let request = super::pin::request(vec![4, 6], false);
        expect_error(
            pad.get().map_err(unexpected)?.online_pin(&request, &|_| (), &call),
            ErrorKind::PermissionDenied,
        )
    }),
    (Permission::Mac, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let crypto =
            manager.open::<dyn CryptoBox>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let slot = KeySlot::working(1, WorkKeyClass::Mac).unwrap_or(KeySlot::TRANSPORT);
        let mac = crypto.get().map_err(unexpected)?.mac(slot, MacAlgorithm::CupEcb, b"data");
        expect_error(mac, ErrorKind::PermissionDenied)
    }),
    (Permission::Encrypt, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let crypto =
            manager.open::<dyn CryptoBox>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let slot = KeySlot::working(1, WorkKeyClass::Track).unwrap_or(KeySlot::TRANSPORT);
        let track = hal::CardText::new("6224242000000021D29022015699031007");
        let track = crypto.get().map_err(unexpected)?.encrypt_track(slot, &track);
        expect_error(track, ErrorKind::PermissionDenied)
    }),
    (Permission::LoadKeys, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let keys = manager.open::<dyn KeyStore>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        // A slot that no tenant has: a broken broker does no harm.
        expect_error(keys.get().map_err(unexpected)?.delete(KeySlot::Fixed(99)), ErrorKind::PermissionDenied)
    }),
    (Permission::Packages, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let system =
            manager.open::<dyn SystemControl>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let refused = system.get().map_err(unexpected)?.uninstall("org.posp.hal-suite.no-such-app");
        expect_error(refused, ErrorKind::PermissionDenied)
    }),
    (Permission::Settings, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let system =
            manager.open::<dyn SystemControl>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let refused = system.get().map_err(unexpected)?.lock_keys(false, false);
        expect_error(refused, ErrorKind::PermissionDenied)
    }),
    (Permission::Diagnose, |manager, app| {
        let session = manager.login(app).map_err(unexpected)?;
        let system =
            manager.open::<dyn SystemControl>(&session, 0, LeaseTerms::open_end()).map_err(unexpected)?;
        let refused = system.get().map_err(unexpected)?.collect_log(0, 1, 1);
        expect_error(refused, ErrorKind::PermissionDenied)
    }),
];

pub(crate) fn absent(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    for kind in DeviceKind::ALL.iter().copied() {
        // One that is there is asked for beyond its number.
        let index = if has(fixture, kind) { u8::MAX } else { 0 };
        let name =
            if index == 0 { format!("not supported: {kind}") } else { format!("no such number: {kind}") };
        let manager = fixture.manager();
        let outcome = bounded(fixture, move || {
            let session = manager.login(&AppId::new(SUITE_APP)).map_err(unexpected)?;
            expect_error(
                manager.open_device(&session, kind, index, LeaseTerms::open_end()),
                ErrorKind::NotSupported,
            )
        });
        row(report, family, name, outcome.and_then(|outcome| outcome));
    }
    // Abilities that a device says it has not.
    let outcome = missing_camera(fixture);
    row(report, family, "not supported: a camera that is not there", outcome);
}

fn missing_camera(fixture: &dyn Fixture) -> Outcome {
    let scanner = super::shared::<dyn Scanner>(fixture)?;
    let cameras = scanner.get()?.cameras();
    let missing =
        [hal::Camera::Front, hal::Camera::Back].into_iter().find(|camera| !cameras.contains(camera));
    let Some(camera) = missing else { return Err(Stop::Skipped("it has every camera".to_owned())) };
    let result = bounded(fixture, move || -> Result<hal::Result<hal::Code>, Stop> {
        let call = scanner.lease.call(Duration::from_secs(600));
        Ok(scanner.get()?.scan(camera, &[], &call))
    })??;
    expect_error(result, ErrorKind::NotSupported)
}

pub(crate) fn vendor_codes(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let tables = fixture.vendor_codes();
    if tables.is_empty() {
        let why = Stop::Skipped("the driver has no vendor's codes".to_owned());
        row(report, family, "every documented code has a kind", Err(why));
        return;
    }
    for codes in tables {
        let bad: Vec<String> = codes
            .documented
            .iter()
            .filter(|code| {
                let error: HalError = codes.table.error(**code);
                let silent = error.kind == ErrorKind::Extended && error.vendor_text.is_empty();
                !codes.table.knows(**code) || error.vendor_code != Some(**code) || silent
            })
            .map(|code| format!("{code:#x}"))
            .collect();
        let outcome = if bad.is_empty() {
            Ok(format!("{} codes", codes.documented.len()))
        } else {
            failed(format!("without a kind: {}", bad.join(", ")))
        };
        row(report, family, format!("every documented code has a kind: {}", codes.source), outcome);
    }
}

pub(crate) fn cycles(fixture: &dyn Fixture, report: &mut Report, family: &'static str) {
    let count = fixture.cycles();
    let name = format!("{count} times opened and closed");
    let before = fixture.handles();
    let outcome = exclusive(fixture)
        .first()
        .copied()
        .ok_or_else(|| Stop::Skipped("no device is exclusive".to_owned()))
        .and_then(|kind| {
            let manager = fixture.manager();
            let patience = fixture.patience().saturating_mul(10);
            start(move || cycle(&manager, kind, count)).join(patience).and_then(|outcome| outcome)
        });
    row(report, family, name, outcome);
    let leak = match (before, fixture.handles()) {
        (Ok(before), Ok(after)) if after <= before => Ok(format!("{after} handles")),
        (Ok(before), Ok(after)) => failed(format!("{before} handles before, {after} after")),
        (Err(why), _) | (_, Err(why)) => Err(Stop::from(why)),
    };
    row(report, family, "nothing leaks", leak);
}

fn cycle(manager: &Arc<dyn DeviceManager>, kind: DeviceKind, count: u32) -> Outcome {
    for at in 0..count {
        let session = manager.login(&AppId::new(SUITE_APP)).map_err(unexpected)?;
        let opened = manager.open_device(&session, kind, 0, LeaseTerms::open_end());
        if let Err(error) = opened {
            return failed(format!("cycle {at}: {error}"));
        }
    }
    Ok(String::new())
}

/// Used where an absent ability skips instead of failing.
pub(crate) fn skip_absent(error: HalError) -> Stop {
    if is_absent(error.kind) { Stop::Skipped(error.to_string()) } else { unexpected(error) }
}
