//! Card readers through the PC/SC service.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hal::{Call, DeviceKind, ErrorKind, HalError, IccReader, PowerUp, PsamSlot, Result, VendorTable};
use pcsc::{Card, Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};

/// A change is waited for in steps, so that a cancel is seen.
const STEP: Duration = Duration::from_millis(100);

macro_rules! code {
    ($error:ident) => {
        // The numbers of PC/SC fill all 32 bits; as signed ones they are what vendors print.
        Error::$error as u32 as i32
    };
}

/// What the service's numbers mean.
pub const CODES: VendorTable = VendorTable {
    device: DeviceKind::Icc,
    rows: &[
        (code!(NoSmartcard), ErrorKind::NoCard, "no card"),
        (code!(RemovedCard), ErrorKind::CardRemoved, "card removed"),
        (code!(ResetCard), ErrorKind::Comm, "card was reset"),
        (code!(UnresponsiveCard), ErrorKind::CardMute, "card does not answer"),
        (code!(UnpoweredCard), ErrorKind::CardMute, "card has no power"),
        (code!(UnsupportedCard), ErrorKind::CardMute, "card cannot be understood"),
        (code!(ProtoMismatch), ErrorKind::CardMute, "no protocol in common"),
        (code!(NotTransacted), ErrorKind::Comm, "transmission failed"),
        (code!(CommDataLost), ErrorKind::Comm, "bytes were lost"),
        (code!(CommError), ErrorKind::Comm, "communication error"),
        (code!(SharingViolation), ErrorKind::Claimed, "another program has the card"),
        (code!(Timeout), ErrorKind::Timeout, "timeout"),
        (code!(Cancelled), ErrorKind::UserCancelled, "cancelled"),
        (code!(CancelledByUser), ErrorKind::UserCancelled, "cancelled by the user"),
        (code!(NoService), ErrorKind::ServiceLost, "the service does not run"),
        (code!(ServiceStopped), ErrorKind::ServiceLost, "the service stopped"),
        (code!(ServerTooBusy), ErrorKind::Busy, "the service is too busy"),
        (code!(NoReadersAvailable), ErrorKind::Offline, "no reader"),
        (code!(UnknownReader), ErrorKind::Offline, "no such reader"),
        (code!(ReaderUnavailable), ErrorKind::Offline, "the reader is unplugged"),
        (code!(ReaderUnsupported), ErrorKind::NotSupported, "the reader cannot be used"),
        (code!(UnsupportedFeature), ErrorKind::NotSupported, "not supported"),
        (code!(InvalidParameter), ErrorKind::BadParam, "a parameter is wrong"),
        (code!(InvalidValue), ErrorKind::BadParam, "a value is wrong"),
        (code!(InsufficientBuffer), ErrorKind::BadParam, "the answer is too long"),
        (code!(InvalidHandle), ErrorKind::ServiceLost, "the handle is stale"),
    ],
};

fn why(error: Error) -> HalError {
    CODES.error(error as u32 as i32)
}

/// Names of the readers that are there.
///
/// # Errors
/// [`ErrorKind::ServiceLost`] when the service does not run.
pub fn readers() -> Result<Vec<String>> {
    let context = Context::establish(Scope::User).map_err(why)?;
    match context.list_readers_owned() {
        Ok(names) => Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect()),
        Err(Error::NoReadersAvailable) => Ok(Vec::new()),
        Err(error) => Err(why(error)),
    }
}

struct Connected {
    context: Context,
    card: Option<Card>,
    /// The card had power and has gone: the next command says so, and not "no card".
    lost: bool,
}

/// One slot of a PC/SC reader.
pub struct PcscSlot {
    name: CString,
    state: Mutex<Option<Connected>>,
}

impl PcscSlot {
    /// The reader of this name; it is looked for when it is used.
    ///
    /// # Errors
    /// [`ErrorKind::BadParam`] for a name with a zero byte.
    pub fn new(name: &str) -> Result<Self> {
        let name = CString::new(name).map_err(|_| HalError::new(ErrorKind::BadParam, DeviceKind::Icc))?;
        Ok(Self { name, state: Mutex::new(None) })
    }

    fn state(&self) -> MutexGuard<'_, Option<Connected>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_slot<R>(&self, act: impl FnOnce(&mut Connected) -> Result<R>) -> Result<R> {
        let mut state = self.state();
        if state.is_none() {
            let context = Context::establish(Scope::User).map_err(why)?;
            *state = Some(Connected { context, card: None, lost: false });
        }
        let connected =
            state.as_mut().ok_or_else(|| HalError::new(ErrorKind::ServiceLost, DeviceKind::Icc))?;
        let result = act(connected);
        if matches!(&result, Err(failed) if failed.kind == ErrorKind::ServiceLost) {
            *state = None;
        }
        result
    }

    /// Waits for a change of the slot, from a context of its own: the one with the card stays free for commands.
    fn wait_for(&self, present: bool, call: &Call) -> Result<()> {
        let context = Context::establish(Scope::User).map_err(why)?;
        let mut states = [ReaderState::new(self.name.clone(), State::UNAWARE)];
        loop {
            match context.get_status_change(Some(STEP.min(call.deadline.remaining())), &mut states) {
                Ok(()) | Err(Error::Timeout) => (),
                Err(error) => return Err(why(error)),
            }
            let [state] = &mut states;
            if state.event_state().intersects(State::UNKNOWN | State::UNAVAILABLE) {
                return Err(
                    HalError::new(ErrorKind::Offline, DeviceKind::Icc).text("the reader is not there")
                );
            }
            // Present and mute is present: powering up says that it is mute.
            if state.event_state().contains(State::PRESENT) == present {
                return Ok(());
            }
            state.sync_current_state();
            call.check(DeviceKind::Icc)?;
        }
    }

    fn up(&self) -> Result<Vec<u8>> {
        self.on_slot(|slot| {
            slot.card = None;
            slot.lost = false;
            let connected = slot.context.connect(&self.name, ShareMode::Exclusive, Protocols::ANY);
            let card = connected.map_err(why)?;
            let status = card.status2_owned().map_err(why)?;
            let atr = status.atr().to_vec();
            slot.card = Some(card);
            Ok(atr)
        })
    }

    fn talk(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Icc)?;
        self.on_slot(|slot| {
            let Some(card) = &slot.card else {
                let kind = if slot.lost { ErrorKind::CardRemoved } else { ErrorKind::NoCard };
                return Err(HalError::new(kind, DeviceKind::Icc));
            };
            let result = exchange(card, apdu);
            if matches!(&result, Err(failed) if matches!(failed.kind, ErrorKind::CardRemoved | ErrorKind::NoCard)) {
                slot.card = None;
                slot.lost = true;
                return Err(HalError::new(ErrorKind::CardRemoved, DeviceKind::Icc));
            }
            result
        })
    }

    fn down(&self) -> Result<()> {
        self.on_slot(|slot| {
            slot.lost = false;
            if let Some(card) = slot.card.take() {
                // A card that has gone cannot be switched off, and need not be.
                let _gone = card.disconnect(Disposition::UnpowerCard);
            }
            Ok(())
        })
    }
}

fn send(card: &Card, apdu: &[u8]) -> Result<Vec<u8>> {
    let mut buffer = vec![0; pcsc::MAX_BUFFER_SIZE];
    card.transmit(apdu, &mut buffer).map(<[u8]>::to_vec).map_err(why)
}

/// One command with what its transport asks for: the right length after 6C, the rest after 61.
fn exchange(card: &Card, apdu: &[u8]) -> Result<Vec<u8>> {
    let mut answer = send(card, apdu)?;
    if let [0x6C, length] = *answer.as_slice()
        && let Some(header) = apdu.get(..4)
    {
        answer = send(card, &[header, &[length]].concat())?;
    }
    let class = apdu.first().copied().unwrap_or_default() & 0x03;
    let mut data = Vec::new();
    // An answer is 64 KiB at most: 256 times 256 bytes.
    for _ in 0..256 {
        let Some((body, &[0x61, length])) = answer.split_last_chunk::<2>() else { break };
        data.extend_from_slice(body);
        answer = send(card, &[class, 0xC0, 0x00, 0x00, length])?;
    }
    data.extend_from_slice(&answer);
    Ok(data)
}

impl IccReader for PcscSlot {
    fn present(&self) -> Result<bool> {
        let context = Context::establish(Scope::User).map_err(why)?;
        let mut states = [ReaderState::new(self.name.clone(), State::UNAWARE)];
        context.get_status_change(Some(Duration::ZERO), &mut states).map_err(why)?;
        let [state] = &states;
        Ok(state.event_state().contains(State::PRESENT))
    }

    fn wait_card(&self, call: &Call) -> Result<()> {
        self.wait_for(true, call)
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.wait_for(false, call)
    }

    fn power_up(&self, _how: &PowerUp) -> Result<Vec<u8>> {
        self.up()
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        self.talk(apdu, call)
    }

    fn power_down(&self) -> Result<()> {
        self.down()
    }
}

impl PsamSlot for PcscSlot {
    fn power_up(&self, _how: &PowerUp) -> Result<Vec<u8>> {
        self.up()
    }

    fn transmit(&self, apdu: &[u8], call: &Call) -> Result<Vec<u8>> {
        self.talk(apdu, call)
    }

    fn power_down(&self) -> Result<()> {
        self.down()
    }
}
