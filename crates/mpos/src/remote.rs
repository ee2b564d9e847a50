//! The phone's side: a reader at the other end of a link as devices of the SDK.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hal::{
    Call, CardDetector, CardNumber, CardText, CryptoBox, DetectRequest, Device, DeviceEntry, DeviceKind,
    DriverSet, EncryptedPinBlock, ErrorKind, Found, HalError, Health, IccReader, Kcv, KernelProvider,
    KeyAbilities, KeyAlgorithm, KeySlot, KeyStore, MacAlgorithm, MagData, MagReader, MasterSource, OnlinePin,
    PinAbilities, PinEvent, PinFormat, PinPad, PinRequest, PinWatch, PowerUp, Result, RfCard, RfKind,
    RfReader, SlotClass, SlotInfo, SwipeRequest, WorkKey, WorkKeyClass,
};
use kernel::Kernel;
use readerlink::{Detect, Detected, Info, Interfaces, LinkError, LoadKey, MacRequest, RemoteReader};
use zeroize::Zeroizing;

use crate::codes;
use crate::remote_kernel::RemoteKernel;
use crate::serve::READ;

/// How long a connection is waited for.
const CONNECT: Duration = Duration::from_secs(2);
/// How often "take your card" looks whether it is gone.
const LOOK: Duration = Duration::from_millis(200);
/// Longest wait that a request can ask for, in seconds.
const WAIT_MAX: u64 = 600;
/// Most random bytes at once.
const RANDOM_MAX: usize = 1024;

/// How the link is, for a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// No reader was paired with.
    Unpaired,
    /// Paired, and not connected at this moment.
    Away,
    /// Connected.
    Connected,
}

/// A reader on the line, and what it was told.
pub(crate) struct Line {
    pub remote: RemoteReader<TcpStream>,
    /// Digest of the kernel's tables that it has.
    pub tables: Option<[u8; 32]>,
}

#[derive(Default)]
struct Inner {
    secret: Option<Zeroizing<[u8; 16]>>,
    line: Option<Line>,
    /// Counts connections: a card that was at work on an earlier one is lost.
    epoch: u64,
}

/// The link to one reader. It connects and pairs again by itself when it was lost; what was under way on the lost one stays
/// lost.
pub struct Link {
    address: SocketAddr,
    inner: Mutex<Inner>,
    connected: AtomicBool,
    paired: AtomicBool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a call may be made again over a new connection when its own turns out to be dead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It changes nothing, or begins something.
    Yes,
    /// It goes on with what is under way.
    No,
}

impl Link {
    /// To a reader at this address, not paired.
    pub fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            inner: Mutex::default(),
            connected: AtomicBool::new(false),
            paired: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is.
    pub fn state(&self) -> LinkState {
        match (self.paired.load(Ordering::Relaxed), self.connected.load(Ordering::Relaxed)) {
            (false, _) => LinkState::Unpaired,
            (true, false) => LinkState::Away,
            (true, true) => LinkState::Connected,
        }
    }

    /// Pairs by the secret of the reader's label, and keeps it for the next connections.
    ///
    /// # Errors
    /// [`ErrorKind::Offline`] when no reader is there, [`ErrorKind::PermissionDenied`] when it is not the one whose label was
    /// read. The secret that was there before stays then.
    pub fn pair(&self, secret: [u8; 16]) -> Result<Info> {
        let mut inner = self.lock();
        let before = inner.secret.replace(Zeroizing::new(secret));
        inner.line = None;
        let paired = self.connected_line(&mut inner).and_then(|line| line.remote.info());
        match paired {
            Ok(info) => {
                self.paired.store(true, Ordering::Relaxed);
                Ok(info)
            }
            Err(error) => {
                inner.secret = before;
                self.drop_line(&mut inner);
                Err(codes::error(DeviceKind::Manager, &error))
            }
        }
    }

    /// Remembers a secret from an earlier pairing; the reader need not be there.
    pub fn remember(&self, secret: [u8; 16]) {
        self.lock().secret = Some(Zeroizing::new(secret));
        self.paired.store(true, Ordering::Relaxed);
    }

    /// What the reader says it is.
    ///
    /// # Errors
    /// [`ErrorKind::Offline`].
    pub fn info(&self) -> Result<Info> {
        self.call(DeviceKind::Info, Again::Yes, |line| line.remote.info())
    }

    /// Hangs up; the next call connects again.
    pub fn hang_up(&self) {
        let mut inner = self.lock();
        self.drop_line(&mut inner);
    }

    fn drop_line(&self, inner: &mut Inner) {
        inner.line = None;
        self.connected.store(false, Ordering::Relaxed);
    }

    fn connected_line<'a>(&self, inner: &'a mut Inner) -> std::result::Result<&'a mut Line, LinkError> {
        let line = match inner.line.take().filter(|line| line.remote.is_paired()) {
            Some(line) => line,
            None => {
                self.connected.store(false, Ordering::Relaxed);
                let secret = inner.secret.clone().ok_or(LinkError::NotPaired)?;
                let stream = TcpStream::connect_timeout(&self.address, CONNECT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(READ))?;
                let begun = Instant::now();
                let clock = Box::new(move || begun.elapsed());
                let random = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
                let mut remote = RemoteReader::new(stream, clock, random);
                remote.pair_with_label(&secret)?;
                inner.epoch = inner.epoch.saturating_add(1);
                self.connected.store(true, Ordering::Relaxed);
                Line { remote, tables: None }
            }
        };
        Ok(inner.line.insert(line))
    }

    /// A call over the link.
    pub(crate) fn call<R>(
        &self,
        device: DeviceKind,
        again: Again,
        mut act: impl FnMut(&mut Line) -> std::result::Result<R, LinkError>,
    ) -> Result<R> {
        let mut inner = self.lock();
        let fresh = inner.line.is_none();
        let mut done = self.connected_line(&mut inner).and_then(&mut act);
        // A connection that died while nobody used it says so with its first call.
        let dead =
            |error: &LinkError| matches!(error, LinkError::Pipe(_) | LinkError::Gone) || !fresh_fault(error);
        if again == Again::Yes
            && !fresh
            && done.as_ref().is_err_and(|error| codes::is_lost(error) && dead(error))
        {
            self.drop_line(&mut inner);
            done = self.connected_line(&mut inner).and_then(&mut act);
        }
        if done.as_ref().is_err_and(codes::is_lost) {
            self.drop_line(&mut inner);
        }
        done.map_err(|error| codes::error(device, &error))
    }

    /// A call that goes on with what is at work on a connection; nothing when that connection is not there any more.
    pub(crate) fn go_on<R>(
        &self,
        epoch: u64,
        act: impl FnOnce(&mut Line) -> std::result::Result<R, LinkError>,
    ) -> Option<std::result::Result<R, LinkError>> {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            return None;
        }
        let done = act(inner.line.as_mut()?);
        if done.as_ref().is_err_and(codes::is_lost) {
            self.drop_line(&mut inner);
            return None;
        }
        Some(done)
    }

    /// Which connection it is.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }
}

/// A reader that was switched off and on has forgotten its pair; silence is another thing.
const fn fresh_fault(error: &LinkError) -> bool {
    !matches!(error, LinkError::Fault(_) | LinkError::NotPaired)
}

/// The reader as each of its devices.
struct Remote(Arc<Link>);

fn offline(device: DeviceKind, text: &str) -> HalError {
    HalError::new(ErrorKind::NotSupported, device).text(text)
}

/// Whole seconds that cover what is left of a call.
fn seconds(call: &Call) -> u16 {
    let left = call.deadline.remaining();
    let whole = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)).clamp(1, WAIT_MAX);
    u16::try_from(whole).unwrap_or(u16::MAX)
}

/// An error of a call that its own token or deadline may have ended.
fn ended(call: &Call, error: HalError) -> HalError {
    match (error.kind, call.remaining()) {
        (ErrorKind::UserCancelled | ErrorKind::Timeout, Err(interrupt)) => interrupt.at(error.device),
        _ => error,
    }
}

impl Remote {
    fn detected(&self, device: DeviceKind, ways: u8, key: Option<KeySlot>, call: &Call) -> Result<Detected> {
        call.check(device)?;
        let key = match key {
            Some(KeySlot::Fixed(slot)) => Some(slot),
            _ => None,
        };
        let request = Detect { interfaces: Interfaces(ways), seconds: seconds(call), key };
        let cancel = || call.remaining().is_err();
        let found = self.0.call(device, Again::Yes, |line| line.remote.detect(&request, &mut { cancel }));
        found.map_err(|error| ended(call, error))
    }

    /// Whether a card is there at this moment.
    fn present(&self, device: DeviceKind, way: u8) -> Result<bool> {
        let request = Detect { interfaces: Interfaces(way), seconds: 0, key: None };
        match self.0.call(device, Again::Yes, |line| line.remote.detect(&request, &mut || false)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind, ErrorKind::Timeout | ErrorKind::UserCancelled) => Ok(false),
            Err(error) if error.kind == ErrorKind::MultipleCards => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn removed(&self, device: DeviceKind, way: u8, call: &Call) -> Result<()> {
        while self.present(device, way)? {
            call.check(device)?;
            call.cancel.wait_until(hal::Deadline::after(LOOK).min(call.deadline));
        }
        Ok(())
    }
}

fn swiped(found: Detected, device: DeviceKind) -> Result<MagData> {
    let bad = || HalError::new(ErrorKind::Comm, device).text("the reader told no card");
    let pan = found.masked_pan.as_deref().and_then(CardNumber::hidden).ok_or_else(bad)?;
    let track = found.cipher_track.as_deref().and_then(|track| std::str::from_utf8(track).ok());
    Ok(MagData {
        pan,
        expiry: found.expiry.unwrap_or_default(),
        service_code: found.service_code.unwrap_or_default(),
        track1: None,
        track2: Some(CardText::new(track.ok_or_else(bad)?)),
        track3: None,
        encrypted: true,
    })
}

impl CardDetector for Remote {
    fn interfaces(&self) -> (bool, bool, bool) {
        (true, true, true)
    }

    fn detect(&self, request: &DetectRequest, call: &Call) -> Result<Found> {
        let ways = [
            (request.mag, Interfaces::STRIPE),
            (request.icc, Interfaces::CHIP),
            (request.rf, Interfaces::TAP),
        ];
        let ways = ways.into_iter().fold(0, |ways, (on, bit)| if on { ways | bit } else { ways });
        let found = self.detected(DeviceKind::Detector, ways, request.swipe.encrypt_with, call)?;
        Ok(match found.found {
            readerlink::Found::Stripe => request.judge(swiped(found, DeviceKind::Detector)?),
            readerlink::Found::Chip => Found::Inserted,
            readerlink::Found::Tap => Found::Tapped(RfCard { kind: RfKind::CpuA, uid: Vec::new() }),
        })
    }
}

impl MagReader for Remote {
    fn wait_swipe(&self, request: &SwipeRequest, call: &Call) -> Result<MagData> {
        let found = self.detected(DeviceKind::Mag, Interfaces::STRIPE, request.encrypt_with, call)?;
        swiped(found, DeviceKind::Mag)
    }
}

/// The slot, as far as a phone has to do with it: the kernel that talks to the card is in the reader.
impl IccReader for Remote {
    fn present(&self) -> Result<bool> {
        self.present(DeviceKind::Icc, Interfaces::CHIP)
    }

    fn wait_card(&self, call: &Call) -> Result<()> {
        self.detected(DeviceKind::Icc, Interfaces::CHIP, None, call).map(drop)
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.removed(DeviceKind::Icc, Interfaces::CHIP, call)
    }

    fn power_up(&self, _: &PowerUp) -> Result<Vec<u8>> {
        Err(offline(DeviceKind::Icc, "the kernel in the reader does"))
    }

    fn transmit(&self, _: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Icc)?;
        Err(offline(DeviceKind::Icc, "commands for a chip do not go over the link"))
    }

    fn power_down(&self) -> Result<()> {
        Ok(())
    }
}

impl RfReader for Remote {
    fn poll(&self, _: &[RfKind], call: &Call) -> Result<RfCard> {
        self.detected(DeviceKind::Rf, Interfaces::TAP, None, call)?;
        Ok(RfCard { kind: RfKind::CpuA, uid: Vec::new() })
    }

    fn activate(&self) -> Result<Vec<u8>> {
        Err(offline(DeviceKind::Rf, "the kernel in the reader does"))
    }

    fn transmit(&self, _: &[u8], call: &Call) -> Result<Vec<u8>> {
        call.check(DeviceKind::Rf)?;
        Err(offline(DeviceKind::Rf, "commands for a chip do not go over the link"))
    }

    fn halt(&self) -> Result<()> {
        Ok(())
    }

    fn field_off(&self) -> Result<()> {
        Ok(())
    }

    fn wait_removed(&self, call: &Call) -> Result<()> {
        self.removed(DeviceKind::Rf, Interfaces::TAP, call)
    }
}

/// What the slots of the SDK's map hold.
fn class_of(slot: u8) -> Option<SlotClass> {
    match (slot / 10, slot % 10) {
        (0, 0) => Some(SlotClass::Transport),
        (0, 1..=9) => Some(SlotClass::Master),
        (1..=9, 1) => Some(SlotClass::Work(WorkKeyClass::Pin)),
        (1..=9, 2) => Some(SlotClass::Work(WorkKeyClass::Mac)),
        (1..=9, 3) => Some(SlotClass::Work(WorkKeyClass::Track)),
        _ => None,
    }
}

impl KeyStore for Remote {
    fn abilities(&self) -> KeyAbilities {
        KeyAbilities {
            algorithms: vec![KeyAlgorithm::Des, KeyAlgorithm::TripleDes2, KeyAlgorithm::Sm4],
            last_slot: 99,
            dukpt_slots: 0,
            key_blocks: false,
            under_transport: false,
            components: false,
        }
    }

    fn slots(&self) -> Result<Vec<SlotInfo>> {
        let info = self.0.call(DeviceKind::Keys, Again::Yes, |line| line.remote.info())?;
        let known = info.slots.iter().filter_map(|slot| {
            let [a, b, c] = slot.kcv;
            let [cipher, fourth] = slot.more?;
            Some(SlotInfo {
                slot: KeySlot::Fixed(slot.slot),
                class: class_of(slot.slot)?,
                algorithm: codes::cipher(cipher)?,
                kcv: Kcv([a, b, c, fourth]),
            })
        });
        Ok(known.collect())
    }

    fn kcv(&self, slot: KeySlot) -> Result<Kcv> {
        let slots = KeyStore::slots(self)?;
        let found = slots.iter().find(|info| info.slot == slot).map(|info| info.kcv);
        found.ok_or_else(|| HalError::new(ErrorKind::NoKey, DeviceKind::Keys).text(format!("slot {slot}")))
    }

    fn load_master(&self, _: KeySlot, _: &MasterSource<'_>, _: Option<Kcv>) -> Result<Kcv> {
        Err(offline(DeviceKind::Keys, "master keys come into the reader by its own ways"))
    }

    fn load_work_key(&self, key: &WorkKey<'_>) -> Result<()> {
        let (KeySlot::Fixed(slot), KeySlot::Fixed(under)) = (key.slot, key.master) else {
            return HalError::not_supported(DeviceKind::Keys);
        };
        let request = LoadKey {
            slot,
            class: codes::class_code(key.class),
            wrapped: key.cipher.to_vec(),
            kcv: key.kcv.bytes().to_vec(),
            under: Some(under),
            algorithm: Some(codes::cipher_code(key.algorithm)),
        };
        self.0.call(DeviceKind::Keys, Again::Yes, |line| line.remote.load_key(&request))
    }

    fn delete(&self, _: KeySlot) -> Result<()> {
        HalError::not_supported(DeviceKind::Keys)
    }

    fn format(&self) -> Result<()> {
        HalError::not_supported(DeviceKind::Keys)
    }
}

impl PinPad for Remote {
    fn abilities(&self) -> PinAbilities {
        PinAbilities {
            formats: vec![PinFormat::Iso0, PinFormat::Sm4Extended],
            random_layout: true,
            display: true,
            offline_pin: false,
        }
    }

    fn online_pin(&self, request: &PinRequest, watch: PinWatch<'_>, call: &Call) -> Result<OnlinePin> {
        call.check(DeviceKind::PinPad)?;
        let KeySlot::Fixed(slot) = request.key else { return HalError::not_supported(DeviceKind::PinPad) };
        if !request.pan.is_hidden() {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::PinPad)
                .text("the reader takes the number of its own card alone"));
        }
        let lengths = request.lengths.iter().copied().chain(request.bypass.then_some(0)).collect();
        let wanted = readerlink::PinRequest {
            slot,
            lengths,
            seconds: seconds(call),
            format: codes::pin_code(request.format),
            amount_fen: request.amount,
        };
        let mut begun = false;
        let mut keys = |count: u8| {
            watch(if begun { PinEvent::Digits(count) } else { PinEvent::Started });
            begun = true;
        };
        let cancel = || call.remaining().is_err();
        let block = self
            .0
            .call(DeviceKind::PinPad, Again::No, |line| line.remote.pin(&wanted, &mut keys, &mut { cancel }));
        match block {
            Ok(block) => {
                let block = EncryptedPinBlock::new(request.format, &block);
                block.map(OnlinePin::Block).map_err(|error| HalError::from_hsm(DeviceKind::PinPad, &error))
            }
            Err(error) if error.kind == ErrorKind::PinBypassed && request.bypass => Ok(OnlinePin::Bypassed),
            Err(error) => Err(ended(call, error)),
        }
    }

    fn display(&self, lines: &[&str]) -> Result<()> {
        self.0.call(DeviceKind::PinPad, Again::Yes, |line| line.remote.display(lines))
    }
}

impl CryptoBox for Remote {
    fn mac_modes(&self) -> Vec<MacAlgorithm> {
        codes::mac_modes()
    }

    fn mac(&self, key: KeySlot, mode: MacAlgorithm, data: &[u8]) -> Result<[u8; 8]> {
        let (KeySlot::Fixed(slot), Some(mode)) = (key, codes::mac_mode(mode)) else {
            return HalError::not_supported(DeviceKind::Crypto);
        };
        let request = MacRequest { slot, mode, data: data.to_vec() };
        let mac = self.0.call(DeviceKind::Crypto, Again::Yes, |line| line.remote.mac(&request))?;
        mac.as_slice()
            .try_into()
            .map_err(|_| HalError::new(ErrorKind::Comm, DeviceKind::Crypto).text("a code of another length"))
    }

    fn encrypt_track(&self, _: KeySlot, _: &CardText) -> Result<CardText> {
        Err(offline(DeviceKind::Crypto, "the reader enciphers what it has read itself"))
    }

    /// The phone's own random numbers: for what it keeps, not for cards.
    fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>> {
        if len > RANDOM_MAX {
            return Err(HalError::new(ErrorKind::BadParam, DeviceKind::Crypto));
        }
        let mut bytes = Zeroizing::new(vec![0; len]);
        getrandom::fill(&mut bytes).map_err(|error| {
            HalError::new(ErrorKind::HardwareFault, DeviceKind::Crypto).text(error.to_string())
        })?;
        Ok(bytes)
    }
}

impl KernelProvider for Remote {
    fn describe(&self) -> String {
        "the reader's kernel".to_owned()
    }

    fn kernel(&self) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(RemoteKernel::new(Arc::clone(&self.0))))
    }

    fn reaches_card(&self) -> bool {
        true
    }
}

/// What of the reader stands in the place of the phone's own devices.
const REMOTE: [DeviceKind; 8] = [
    DeviceKind::Mag,
    DeviceKind::Icc,
    DeviceKind::Rf,
    DeviceKind::Detector,
    DeviceKind::Keys,
    DeviceKind::PinPad,
    DeviceKind::Crypto,
    DeviceKind::Emv,
];

/// A phone's drivers: its own devices, and those of the reader in their place.
pub struct Phone {
    own: Arc<dyn DriverSet>,
    reader: Arc<Remote>,
}

impl Phone {
    /// A phone with these devices of its own and the reader of this link.
    pub fn new(own: Arc<dyn DriverSet>, link: Arc<Link>) -> Self {
        Self { own, reader: Arc::new(Remote(link)) }
    }
}

impl DriverSet for Phone {
    fn inventory(&self) -> Vec<DeviceEntry> {
        let own = self.own.inventory().into_iter().filter(|entry| !REMOTE.contains(&entry.kind));
        let reader = REMOTE.map(|kind| DeviceEntry { kind, index: 0, name: format!("reader {kind}") });
        own.chain(reader).collect()
    }

    fn device(&self, kind: DeviceKind, index: u8) -> Result<Device> {
        if !REMOTE.contains(&kind) {
            return self.own.device(kind, index);
        }
        // A phone without power has no reader either.
        self.own.device(DeviceKind::Info, 0)?;
        if index > 0 {
            return HalError::not_supported(kind);
        }
        let reader = Arc::clone(&self.reader);
        Ok(match kind {
            DeviceKind::Mag => Device::Mag(reader),
            DeviceKind::Icc => Device::Icc(reader),
            DeviceKind::Rf => Device::Rf(reader),
            DeviceKind::Detector => Device::Detector(reader),
            DeviceKind::Keys => Device::Keys(reader),
            DeviceKind::PinPad => Device::PinPad(reader),
            DeviceKind::Crypto => Device::Crypto(reader),
            DeviceKind::Emv => Device::Emv(reader),
            _ => return HalError::not_supported(kind),
        })
    }

    fn released(&self, kind: DeviceKind, index: u8) {
        if !REMOTE.contains(&kind) {
            self.own.released(kind, index);
        }
    }

    fn health(&self, kind: DeviceKind, index: u8) -> Result<Health> {
        if !REMOTE.contains(&kind) {
            return self.own.health(kind, index);
        }
        if index > 0 {
            return HalError::not_supported(kind);
        }
        Ok(match self.reader.0.state() {
            LinkState::Connected => Health::Good,
            LinkState::Away | LinkState::Unpaired => Health::NeedsAttention(ErrorKind::Offline),
        })
    }
}
