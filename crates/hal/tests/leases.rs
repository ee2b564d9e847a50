//! Who holds a device, for how long, and what becomes of a waiting call when its holder goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hal::{
    AppId, Call, Camera, CancelToken, Code, CodeFormat, Deadline, Device, DeviceEntry, DeviceKind,
    DeviceManager, DriverSet, ErrorKind, HalError, Health, LeaseTerms, LocalManager, OpenDevice, Pedestal,
    Result, Scanner, Signal,
};

const LONG: Duration = Duration::from_secs(60);

/// A terminal with a scanner that never sees a code, and a dock.
#[derive(Default)]
struct Shelf {
    freed: Mutex<Vec<DeviceKind>>,
}

struct Blind(Arc<Signal<()>>);

impl Scanner for Blind {
    fn cameras(&self) -> Vec<Camera> {
        vec![Camera::Back]
    }

    fn scan(&self, _camera: Camera, _formats: &[CodeFormat], call: &Call) -> Result<Code> {
        self.0.wait(call, |()| None).map_err(|interrupt| interrupt.at(DeviceKind::Scanner))
    }
}

struct Dock;

impl Pedestal for Dock {
    fn attached(&self) -> Result<bool> {
        Ok(true)
    }
}

impl DriverSet for Shelf {
    fn inventory(&self) -> Vec<DeviceEntry> {
        let entry = |kind| DeviceEntry { kind, index: 0, name: String::new() };
        vec![entry(DeviceKind::Scanner), entry(DeviceKind::Pedestal)]
    }

    fn device(&self, kind: DeviceKind, _index: u8) -> Result<Device> {
        match kind {
            DeviceKind::Scanner => Ok(Device::Scanner(Arc::new(Blind(Signal::new(()))))),
            DeviceKind::Pedestal => Ok(Device::Pedestal(Arc::new(Dock))),
            other => HalError::not_supported(other),
        }
    }

    fn released(&self, kind: DeviceKind, _index: u8) {
        self.freed.lock().unwrap().push(kind);
    }

    fn health(&self, _kind: DeviceKind, _index: u8) -> Result<Health> {
        Ok(Health::Good)
    }
}

fn terminal() -> (Arc<Shelf>, LocalManager) {
    let shelf = Arc::new(Shelf::default());
    (Arc::clone(&shelf), LocalManager::new(shelf))
}

fn app(name: &str) -> AppId {
    AppId::new(name)
}

/// A second app that asks for a device in use hears "claimed"; when the first lets go it gets it, and the
/// driver was told in between. A device that only answers questions has several holders.
#[test]
fn a_device_has_one_holder_and_a_shared_one_has_many() {
    let (shelf, manager) = terminal();
    let (a, b) = (manager.login(&app("a")).unwrap(), manager.login(&app("b")).unwrap());
    let lease = manager.open::<dyn Scanner>(&a, 0, LeaseTerms::open_end()).unwrap();
    let refused = manager.open::<dyn Scanner>(&b, 0, LeaseTerms::open_end()).unwrap_err();
    assert_eq!((refused.kind, refused.device), (ErrorKind::Claimed, DeviceKind::Scanner));
    // Twice by the same app is double as well.
    assert!(manager.open::<dyn Scanner>(&a, 0, LeaseTerms::open_end()).is_err());
    drop(lease);
    assert_eq!(*shelf.freed.lock().unwrap(), [DeviceKind::Scanner]);
    let second = manager.open::<dyn Scanner>(&b, 0, LeaseTerms::open_end()).unwrap();
    assert!(second.get().is_ok());

    let one = manager.open::<dyn Pedestal>(&a, 0, LeaseTerms::open_end()).unwrap();
    let two = manager.open::<dyn Pedestal>(&b, 0, LeaseTerms::open_end()).unwrap();
    assert!(one.get().unwrap().attached().unwrap() && two.get().unwrap().attached().unwrap());
}

/// A device that is not there is refused at once and leaves no claim behind.
#[test]
fn what_is_not_there_is_refused_and_not_held() {
    let (_, manager) = terminal();
    let session = manager.login(&app("a")).unwrap();
    let refused = manager.open::<dyn hal::Printer>(&session, 0, LeaseTerms::open_end()).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotSupported);
    assert_eq!(manager.claims().held(), 0);
}

/// The app's process dies while a call of it waits: the call ends with "not open", the lease refuses, and the
/// next app gets the device.
#[test]
fn a_dead_app_holds_nothing_and_waits_for_nothing() {
    let (_, manager) = terminal();
    let manager = Arc::new(manager);
    let session = manager.login(&app("a")).unwrap();
    let lease = Arc::new(manager.open::<dyn Scanner>(&session, 0, LeaseTerms::open_end()).unwrap());
    let (ready, is_ready) = sync_channel(1);
    let waiter = {
        let lease = Arc::clone(&lease);
        thread::spawn(move || {
            let (scanner, call) = (lease.get().unwrap(), lease.call(LONG));
            ready.send(()).unwrap();
            scanner.scan(Camera::Back, &[], &call)
        })
    };
    is_ready.recv().unwrap();
    manager.end_app(&app("a"));
    assert_eq!(waiter.join().unwrap().unwrap_err().kind, ErrorKind::NotOpen);
    assert_eq!(lease.get().err().unwrap().kind, ErrorKind::NotOpen);
    assert!(!session.is_open());
    let other = manager.login(&app("b")).unwrap();
    assert!(manager.open::<dyn Scanner>(&other, 0, LeaseTerms::open_end()).is_ok());
    // The dead one's session opens nothing any more.
    assert_eq!(
        manager.open::<dyn Pedestal>(&session, 0, LeaseTerms::open_end()).unwrap_err().kind,
        ErrorKind::NotOpen
    );
}

/// A lease that runs out ends by itself: it refuses, a call ends no later than it, another app gets the
/// device although the first still has the lease in hand, and dropping that late does not take it away.
#[test]
fn a_lease_that_ran_out_makes_room() {
    let (_, manager) = terminal();
    let (a, b) = (manager.login(&app("a")).unwrap(), manager.login(&app("b")).unwrap());
    let terms = LeaseTerms::at_most(Duration::from_millis(20));
    let lease = manager.open::<dyn Scanner>(&a, 0, terms).unwrap();
    let call = lease.call(LONG);
    let ended = lease.get().unwrap().scan(Camera::Back, &[], &call).unwrap_err();
    assert!(matches!(ended.kind, ErrorKind::Timeout | ErrorKind::NotOpen));
    assert_eq!(lease.get().err().unwrap().kind, ErrorKind::NotOpen);
    let second = manager.open::<dyn Scanner>(&b, 0, LeaseTerms::open_end()).unwrap();
    drop(lease);
    assert!(second.get().is_ok());
    assert_eq!(
        manager.open::<dyn Scanner>(&a, 0, LeaseTerms::open_end()).unwrap_err().kind,
        ErrorKind::Claimed
    );
}

/// Opening and closing a thousand times leaves no claim, no session and no waker behind.
#[test]
fn a_thousand_leases_leave_nothing() {
    let (shelf, manager) = terminal();
    for _ in 0..1000 {
        let session = manager.login(&app("a")).unwrap();
        let lease = manager.open::<dyn Scanner>(&session, 0, LeaseTerms::open_end()).unwrap();
        let _call = lease.call(LONG);
    }
    assert_eq!((manager.claims().held(), manager.claims().sessions()), (0, 0));
    assert_eq!(shelf.freed.lock().unwrap().len(), 1000);
}

/// A wait ends by its deadline, by its token, or by a token that its own follows; the first reason stays.
#[test]
fn a_wait_ends_for_the_first_reason() {
    let signal = Signal::new(());
    let ended = |call: &Call| signal.wait(call, |()| None::<()>).unwrap_err().0;
    assert_eq!(ended(&Call::within(Duration::from_millis(5))), ErrorKind::Timeout);

    let token = CancelToken::new();
    token.cancel();
    token.cancel_as(ErrorKind::NotOpen);
    assert_eq!(ended(&Call::with(LONG, &token)), ErrorKind::UserCancelled);

    let parent = CancelToken::new();
    let child = parent.child();
    let waiter = {
        let (signal, call) = (Arc::clone(&signal), Call::with(LONG, &child));
        thread::spawn(move || signal.wait(&call, |()| None::<()>).unwrap_err().0)
    };
    parent.cancel_as(ErrorKind::ServiceLost);
    assert_eq!(waiter.join().unwrap(), ErrorKind::ServiceLost);

    // A child that is pulled leaves its parent alone.
    let parent = CancelToken::new();
    parent.child().cancel();
    assert!(!parent.is_cancelled());
}

/// A driver's waker is called once, from the pulling thread, or at once when it comes too late; a dropped
/// registration is not called.
#[test]
fn a_driver_is_woken_once() {
    let count = Arc::new(Mutex::new(0));
    let up = |count: &Arc<Mutex<i32>>| {
        let count = Arc::clone(count);
        move || *count.lock().unwrap() += 1
    };
    let token = CancelToken::new();
    drop(token.register(up(&count)));
    let kept = token.register(up(&count));
    token.cancel();
    token.cancel();
    assert_eq!(*count.lock().unwrap(), 1);
    let late = token.register(up(&count));
    assert_eq!(*count.lock().unwrap(), 2);
    drop((kept, late));
    // A pause of a driver that polls ends with the token.
    assert!(token.wait_until(Deadline::after(LONG)));
    assert!(!CancelToken::new().wait_until(Deadline::after(Duration::from_millis(1))));
}

/// A result that is there is given even when the call is over: a card that was read is not lost to a
/// deadline that passed in the same moment.
#[test]
fn what_is_ready_is_given() {
    let signal = Signal::new(7);
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(signal.wait(&Call::with(LONG, &token), |value| Some(*value)), Ok(7));
}
