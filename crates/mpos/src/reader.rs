//! The reader: what the link asks for, done with devices of the SDK. Numbers, tracks and PINs end here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use hal::{
    AppId, Beep, Beeper, CancelToken, CardDetector, CardNumber, CardText, CryptoBox, DetectRequest,
    DeviceInfo, DeviceManager, ErrorKind, Found, HalError, IccReader, InField, InSlot, Kcv, KernelProvider,
    KeySlot, KeyStore, Lease, LeaseTerms, OnlinePin, OpenDevice, PinEvent, PinPad, PowerUp, RfReader,
    Session, SwipeRequest, Tracks, WorkKey,
};
use iso8583::tlv;
use kernel::{
    Answer, ChipData, Interface, Kernel, MuteCard, NoCard, Other, Step, StepKind, TerminalData, TransParams,
};
use readerlink::{
    CardFacts, Detect, Detected, Device, EmvAnswer, EmvStart, EmvStep, EmvTurn, Fault, Info, Interfaces,
    Link, LoadKey, MacRequest, PinRequest, Results, Slot,
};
use zeroize::Zeroizing;

use crate::codes::{self, Flags};
use crate::params;

/// How long one command of a card may take.
const COMMAND: Duration = Duration::from_secs(10);
/// Records of the kernel's tables, at most: more than any acquirer has.
const RECORDS_MAX: usize = 256;

/// Where the card is whose chip is at work.
enum Place {
    Slot(Lease<dyn IccReader>),
    Field(Lease<dyn RfReader>),
    /// It does not answer, or is gone.
    Nowhere,
}

/// The card that was presented last.
enum Card {
    None,
    Stripe(CardNumber),
    /// In the slot, or (`false`) in the field.
    Found(bool),
    Chip {
        kernel: Box<dyn Kernel>,
        place: Place,
    },
}

/// A reader over devices of the SDK.
pub struct Reader {
    manager: Arc<dyn DeviceManager>,
    session: Session,
    label: Zeroizing<[u8; 16]>,
    /// Records that came so far.
    coming: Vec<Vec<u8>>,
    records: Vec<Vec<u8>>,
    card: Card,
    /// The track key loaded last, and the one that the host named for the card at hand.
    track_key: Option<KeySlot>,
    /// What the chip at hand was told, in fen.
    amount: Option<u64>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

fn say(error: &HalError) -> Fault {
    codes::fault(error)
}

/// Money as the display has it.
fn yuan(fen: u64) -> String {
    format!("¥{}.{:02}", fen / 100, fen % 100)
}

/// Two decimal digits of a byte.
fn decimal(byte: u8) -> u32 {
    u32::from(byte >> 4) * 10 + u32::from(byte & 15)
}

/// Runs a call that waits for a person on a thread of its own, while this one listens to the host.
fn beside<R: Send>(
    link: &mut dyn Link,
    cancel: &CancelToken,
    mut tell: impl FnMut(&mut dyn Link),
    call: impl FnOnce() -> R + Send,
) -> Result<R, Fault> {
    thread::scope(|scope| {
        let call = scope.spawn(call);
        while !call.is_finished() {
            if link.cancelled() {
                cancel.cancel();
            }
            tell(link);
        }
        tell(link);
        call.join().map_err(|_| Fault::OTHER)
    })
}

impl Reader {
    /// A reader over these devices with this secret on its label.
    ///
    /// # Errors
    /// The manager gives no session.
    pub fn new(manager: Arc<dyn DeviceManager>, label: [u8; 16]) -> hal::Result<Self> {
        let session = manager.login(&AppId::new("posp.reader"))?;
        Ok(Self {
            manager,
            session,
            label: Zeroizing::new(label),
            coming: Vec::new(),
            records: Vec::new(),
            card: Card::None,
            track_key: None,
            amount: None,
        })
    }

    /// The host is gone: the card loses its power, and whatever was under way is over.
    pub fn reset(&mut self) {
        self.card = Card::None;
        self.amount = None;
        self.show(&["未连接手机", "NO PHONE"]);
    }

    /// A host is there.
    pub(crate) fn greet(&mut self) {
        self.show(&["已连接", "CONNECTED"]);
    }

    fn open<D: hal::DeviceClass + ?Sized>(&self) -> Result<Lease<D>, Fault> {
        let lease = self.manager.open::<D>(&self.session, 0, LeaseTerms::open_end());
        lease.map_err(|error| say(&error))
    }

    fn show(&self, lines: &[&str]) {
        if let Ok(pad) = self.open::<dyn PinPad>()
            && let Err(error) = pad.get().and_then(|pad| pad.display(lines))
        {
            tracing::debug!(%error, "the reader's display");
        }
    }

    fn signal(&self, kind: Beep) {
        if let Ok(beeper) = self.open::<dyn Beeper>() {
            let _ = beeper.get().and_then(|beeper| beeper.beep(kind, Duration::from_millis(80)));
        }
    }

    /// The number of the card at hand, for the PIN block.
    fn number(&self) -> Option<CardNumber> {
        match &self.card {
            Card::Stripe(number) => Some(number.clone()),
            Card::Chip { kernel, .. } => kernel.chip_data().map(|data| data.pan),
            Card::None | Card::Found(_) => None,
        }
    }

    /// Tells the kernel something, with the card where it is.
    fn talk(
        &mut self,
        act: impl FnOnce(&mut dyn Kernel, &mut dyn kernel::CardChannel) -> Step,
    ) -> Result<Step, Fault> {
        let Card::Chip { kernel, place } = &mut self.card else { return Err(Fault::CARD_REMOVED) };
        let kernel = kernel.as_mut();
        let step = match place {
            Place::Slot(lease) => {
                let call = lease.call(COMMAND);
                match lease.get() {
                    Ok(reader) => act(kernel, &mut InSlot { reader, call: &call }),
                    Err(_) => act(kernel, &mut NoCard),
                }
            }
            Place::Field(lease) => {
                let call = lease.call(COMMAND);
                match lease.get() {
                    Ok(reader) => act(kernel, &mut InField { reader, call: &call }),
                    Err(_) => act(kernel, &mut NoCard),
                }
            }
            Place::Nowhere => act(kernel, &mut MuteCard),
        };
        if step.is_end() {
            // The lease goes, and the power with it.
            *place = Place::Nowhere;
        }
        Ok(step)
    }

    /// A step as the link has it, and on the display.
    fn turn(&self, step: Step) -> Result<EmvTurn, Fault> {
        let data = match &self.card {
            Card::Chip { kernel, .. } => kernel.chip_data(),
            _ => None,
        };
        let mut results = Results {
            reason: codes::reason_code(step.reason),
            tvr: step.tvr,
            tsi: step.tsi,
            ..Results::default()
        };
        let (mut bypass_ok, mut offline, mut arpc_failed) = (false, false, false);
        let amount = yuan(self.amount.unwrap_or_default());
        let shown: &[&str] = match &step.kind {
            StepKind::SelectApp { .. } | StepKind::ConfirmApp { .. } => {
                &["请在手机上选择", "CHOOSE ON PHONE"]
            }
            StepKind::NeedPin { .. } => &["请输入密码", "ENTER PIN"],
            StepKind::OnlineRequired { .. } => &["正在联机,请勿拔卡", "ONLINE, KEEP CARD"],
            StepKind::Approved { .. } => &["交易成功", "APPROVED"],
            StepKind::Declined { .. } => &["交易未完成", "DECLINED"],
            StepKind::Fallback => &["请刷卡", "SWIPE"],
            StepKind::TryOther(_) => &["请换一种方式", "TRY ANOTHER WAY"],
            StepKind::Terminated { .. } => &["交易终止", "TERMINATED"],
        };
        self.show(&[&[amount.as_str()], shown].concat());
        let step = match step.kind {
            StepKind::SelectApp { candidates } => {
                EmvStep::SelectApp(candidates.into_iter().map(|candidate| candidate.label).collect())
            }
            StepKind::ConfirmApp { candidate } => EmvStep::ConfirmApp(candidate.label),
            StepKind::NeedPin { online, tries_left, bypass_ok: ok } => {
                bypass_ok = ok;
                // A PIN for the chip has no way through this reader: its kernel is told not to ask for one.
                EmvStep::NeedPin(tries_left.filter(|_| !online))
            }
            StepKind::OnlineRequired { field55, .. } => EmvStep::Online(field55),
            StepKind::Approved { offline: alone, field55, arpc_failed: failed, follow_up, .. } => {
                (offline, arpc_failed) = (alone, failed);
                codes::put_follow_up(&mut results, follow_up);
                EmvStep::Approved(field55)
            }
            StepKind::Declined { offline: alone, field55, follow_up, .. } => {
                offline = alone;
                codes::put_follow_up(&mut results, follow_up);
                EmvStep::Declined(field55)
            }
            StepKind::Fallback => EmvStep::Fallback,
            StepKind::TryOther(other) => EmvStep::TryOther(Interfaces(match other {
                Other::Contact => Interfaces::CHIP,
                Other::Contactless => Interfaces::TAP,
                Other::Swipe => Interfaces::STRIPE,
            })),
            StepKind::Terminated { follow_up } => {
                codes::put_follow_up(&mut results, follow_up);
                EmvStep::Terminated
            }
        };
        if let Some(data) = &data {
            let flags = Flags {
                signature: data.cvm.signature,
                small_amount: data.cvm.small_amount,
                on_device: data.cvm.on_device,
                pin: data.cvm.pin,
                bypass_ok,
                offline,
                arpc_failed,
                credit: data.credit,
                entry: data.entry,
            };
            results.flags = flags.bits();
        }
        let card = data.map(|data| self.facts(data)).transpose()?;
        Ok(EmvTurn { step, results, card })
    }

    /// What the host may know of the card.
    fn facts(&self, data: ChipData) -> Result<CardFacts, Fault> {
        let cipher_track = data.track2.as_ref().map(|track| self.enciphered(track)).transpose()?;
        let cid = match data.cryptogram_name {
            "TC" => Some(0x40),
            "ARQC" => Some(0x80),
            "AAC" => Some(0x00_u8),
            _ => None,
        };
        let mut objects = Vec::with_capacity(160);
        let mut put = |tag, value: &[u8]| tlv::write(&mut objects, tag, value);
        put(0x84, &data.aid);
        put(0x50, data.label.as_bytes());
        put(0x82, &data.aip);
        put(0x9F10, &data.iad);
        put(0x9F37, &data.un);
        put(0x9F34, &data.cvm.results);
        if let Some(name) = &data.preferred_name {
            put(0x9F12, name.as_bytes());
        }
        if let Some(atc) = data.atc {
            put(0x9F36, &atc);
        }
        if let Some(sequence) = data.sequence {
            put(0x5F34, &[sequence]);
        }
        if let (Some(value), Some(cid)) = (data.cryptogram, cid) {
            put(0x9F26, &value);
            put(0x9F27, &[cid]);
        }
        if let Some(scripts) = &data.script_result {
            put(0xDF31, scripts);
        }
        Ok(CardFacts {
            masked_pan: data.pan.masked(),
            cipher_track,
            expiry: Some(data.expiry.as_str().to_owned()).filter(|expiry| expiry.len() == 4),
            objects,
            reversal55: data.field55_reversal,
            script55: data.field55_script_result,
            upload55: data.field55_upload,
        })
    }

    fn enciphered(&self, track: &str) -> Result<String, Fault> {
        let key = self.track_key.ok_or(Fault::NO_KEY)?;
        let crypto = self.open::<dyn CryptoBox>()?;
        let sealed = crypto.get().and_then(|crypto| crypto.encrypt_track(key, &CardText::new(track)));
        Ok(sealed.map_err(|error| say(&error))?.reveal().to_owned())
    }

    fn own(&self) -> TerminalData {
        let serial = self.info().serial;
        let last = serial.get(serial.len().saturating_sub(8)..).unwrap_or_default();
        TerminalData::mpos(last.as_bytes().try_into().unwrap_or(*b"00000000"))
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let crypto = self.open::<dyn CryptoBox>()?;
        let bytes = crypto.get().and_then(|crypto| crypto.random(N)).map_err(|error| say(&error))?;
        bytes.as_slice().try_into().map_err(|_| Fault::OTHER)
    }

    /// A kernel with the tables for this day.
    fn loaded(&self, request: &EmvStart) -> Result<Box<dyn Kernel>, Fault> {
        let provider = self.open::<dyn KernelProvider>()?;
        let kernel = provider.get().and_then(|provider| provider.kernel());
        let mut kernel = kernel.map_err(|error| say(&error))?;
        let [year, month, day, ..] = request.at;
        let mut tables = params::from_records(&self.records, self.own()).ok_or(Fault::KERNEL)?;
        tables.today = [0x20, year, month, day];
        match kernel.load(&tables) {
            Ok(_) => Ok(kernel),
            Err(errors) => {
                tracing::warn!(?errors, "the kernel does not take the phone's tables");
                Err(Fault::KERNEL)
            }
        }
    }

    /// Gives the card that was found its power; a chip that does not answer is the kernel's to count.
    fn powered(&self, slot: bool) -> Result<Place, Fault> {
        if slot {
            let lease = self.open::<dyn IccReader>()?;
            match lease.get().and_then(|reader| reader.power_up(&PowerUp::default())) {
                Ok(_) => Ok(Place::Slot(lease)),
                Err(error) if error.kind == ErrorKind::CardMute => Ok(Place::Nowhere),
                Err(error) => Err(say(&error)),
            }
        } else {
            let lease = self.open::<dyn RfReader>()?;
            match lease.get().and_then(|reader| reader.activate()) {
                Ok(_) => Ok(Place::Field(lease)),
                Err(error) if error.kind == ErrorKind::Comm => Ok(Place::Nowhere),
                Err(error) => Err(say(&error)),
            }
        }
    }
}

impl Device for Reader {
    fn info(&self) -> Info {
        let device = self.open::<dyn DeviceInfo>().ok();
        let info = device.as_ref().and_then(|device| device.get().ok());
        let identity = info.and_then(|info| info.identity().ok());
        let battery = info.and_then(|info| info.battery().ok()).map(|battery| battery.percent);
        let versions = info.and_then(|info| info.versions().ok()).unwrap_or_default();
        let slots = self.open::<dyn KeyStore>().ok();
        let slots =
            slots.and_then(|store| store.get().and_then(|store| store.slots()).ok()).unwrap_or_default();
        let slots = slots.iter().filter_map(|info| {
            let KeySlot::Fixed(slot) = info.slot else { return None };
            let [a, b, c, fourth] = info.kcv.bytes();
            Some(Slot { slot, kcv: [a, b, c], more: Some([codes::cipher_code(info.algorithm), fourth]) })
        });
        Info {
            device_type: 3,
            model: identity.as_ref().map_or_else(String::new, |identity| identity.model.clone()),
            serial: identity.map_or_else(String::new, |identity| identity.serial),
            firmware: versions.get("rom").cloned().unwrap_or_default(),
            // Stripe, chip, tap, PIN pad; with a display.
            capabilities: Some(0x1E),
            battery,
            slots: slots.collect(),
        }
    }

    fn label_secret(&self) -> Option<Zeroizing<[u8; 16]>> {
        Some(self.label.clone())
    }

    fn display(&mut self, lines: &[String]) -> Result<(), Fault> {
        self.show(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        Ok(())
    }

    fn beep(&mut self, pattern: &[u8]) -> Result<(), Fault> {
        self.signal(match pattern.first() {
            Some(1) => Beep::Success,
            Some(2) => Beep::Error,
            _ => Beep::Ready,
        });
        Ok(())
    }

    fn detect(&mut self, request: &Detect, link: &mut dyn Link) -> Result<Detected, Fault> {
        self.card = Card::None;
        self.amount = None;
        if let Some(slot) = request.key {
            self.track_key = Some(KeySlot::Fixed(slot));
        }
        let Interfaces(ways) = request.interfaces;
        let mag = ways & Interfaces::STRIPE != 0;
        if mag && self.track_key.is_none() {
            return Err(Fault::NO_KEY);
        }
        let wanted = DetectRequest {
            mag,
            icc: ways & Interfaces::CHIP != 0,
            rf: ways & Interfaces::TAP != 0,
            swipe: SwipeRequest { tracks: Tracks::ACQUIRING, encrypt_with: self.track_key },
            // What the stripe of a chip card means is the host's to judge.
            fallback: true,
        };
        if request.seconds > 0 {
            let ways: Vec<&str> = [(wanted.mag, "刷卡"), (wanted.icc, "插卡"), (wanted.rf, "挥卡")]
                .into_iter()
                .filter_map(|(on, name)| on.then_some(name))
                .collect();
            self.show(&[&format!("请{}", ways.join("、")), "PRESENT CARD"]);
        }
        let detector = self.open::<dyn CardDetector>()?;
        let cancel = CancelToken::new();
        let call = detector.call_with(Duration::from_secs(request.seconds.into()), &cancel);
        let found = beside(link, &cancel, |_| {}, || detector.get()?.detect(&wanted, &call))?;
        let nothing = |found| Detected {
            found,
            masked_pan: None,
            cipher_track: None,
            service_code: None,
            expiry: None,
        };
        if request.seconds == 0 && found.is_err() {
            // The host wanted to know whether the card has been taken, and it has.
            self.show(&["就绪", "READY"]);
        }
        match found.map_err(|error| say(&error))? {
            Found::Swiped(data) => {
                self.signal(Beep::Ready);
                self.card = Card::Stripe(data.pan.clone());
                self.show(&["已读卡", "CARD READ"]);
                Ok(Detected {
                    masked_pan: Some(data.pan.masked()),
                    cipher_track: data.track2.map(|track| track.reveal().as_bytes().to_vec()),
                    service_code: Some(data.service_code),
                    expiry: Some(data.expiry),
                    ..nothing(readerlink::Found::Stripe)
                })
            }
            Found::Inserted => {
                self.card = Card::Found(true);
                Ok(nothing(readerlink::Found::Chip))
            }
            Found::Tapped(_) => {
                self.card = Card::Found(false);
                Ok(nothing(readerlink::Found::Tap))
            }
            Found::UseChip { .. } => Err(Fault::OTHER),
        }
    }

    fn emv_start(&mut self, request: &EmvStart, _: &mut dyn Link) -> Result<EmvTurn, Fault> {
        let slot = match (&self.card, request.interface) {
            (Card::Found(true), readerlink::Found::Chip) => true,
            (Card::Found(false), readerlink::Found::Tap) => false,
            _ => return Err(Fault::CARD_REMOVED),
        };
        // What the holder sees is what the chip is told, whatever the phone shows.
        self.amount = Some(request.amount_fen);
        self.show(&[&yuan(request.amount_fen), "正在读卡", "READING"]);
        self.signal(Beep::Ready);
        let kernel = self.loaded(request)?;
        let place = self.powered(slot)?;
        let [year, month, day, hour, minute, second] = request.at;
        let [un @ .., draw] = self.random::<5>()?;
        let sequence = request.sequence.unwrap_or_default();
        let interface = if slot { Interface::Contact } else { Interface::Contactless };
        let trans = TransParams {
            kind: request.kind,
            currency: request.currency,
            draw: draw % 100,
            ..TransParams::sale(
                request.amount_fen,
                [year, month, day],
                [hour, minute, second],
                sequence.into_iter().fold(0, |number, byte| number * 100 + decimal(byte)),
                request.un.unwrap_or(un),
                interface,
            )
        };
        self.card = Card::Chip { kernel, place };
        let step = self.talk(|kernel, card| kernel.start(trans, card))?;
        self.turn(step)
    }

    fn emv_continue(&mut self, answer: &EmvAnswer, _: &mut dyn Link) -> Result<EmvTurn, Fault> {
        let answer = match answer {
            EmvAnswer::Chosen(which) => Answer::AppChosen(usize::from(*which)),
            EmvAnswer::Confirmed => Answer::Confirmed,
            EmvAnswer::PinEntered => Answer::PinEntered,
            EmvAnswer::PinBypassed => Answer::PinBypassed,
            EmvAnswer::Host { code, field55 } => Answer::HostAnswer { code: *code, field55: field55.clone() },
            EmvAnswer::Unreachable => Answer::HostUnreachable,
        };
        let step = self.talk(|kernel, card| kernel.resume(answer, card))?;
        if step.is_end() {
            let good = matches!(step.kind, StepKind::Approved { .. });
            self.signal(if good { Beep::Success } else { Beep::Error });
        }
        self.turn(step)
    }

    fn pin(&mut self, request: &PinRequest, link: &mut dyn Link) -> Result<Vec<u8>, Fault> {
        let pan = self.number().ok_or(Fault::CARD_REMOVED)?;
        let wanted = hal::PinRequest {
            pan,
            key: KeySlot::Fixed(request.slot),
            format: codes::pin_format(request.format).ok_or(Fault::BAD_PAYLOAD)?,
            lengths: request.lengths.iter().copied().filter(|length| *length > 0).collect(),
            bypass: request.lengths.contains(&0),
            random_layout: true,
            // Of a chip the reader knows what it was told.
            amount: self.amount.or(request.amount_fen),
        };
        if let Some(amount) = wanted.amount {
            self.show(&[&yuan(amount), "请输入密码", "ENTER PIN"]);
        }
        let pad = self.open::<dyn PinPad>()?;
        let cancel = CancelToken::new();
        let call = pad.call_with(Duration::from_secs(request.seconds.into()), &cancel);
        // 0 until the pad waits, then one more than the number of digits.
        let typed = AtomicU8::new(0);
        let watch = |event: PinEvent| {
            let count = match event {
                PinEvent::Digits(count) => count,
                PinEvent::Started | PinEvent::WrongLength(_) => 0,
            };
            typed.store(count.saturating_add(1), Ordering::Relaxed);
        };
        let mut told = 0;
        let tell = |link: &mut dyn Link| {
            let now = typed.load(Ordering::Relaxed);
            if now != told {
                told = now;
                link.keys(now.saturating_sub(1));
            }
        };
        let entered = beside(link, &cancel, tell, || pad.get()?.online_pin(&wanted, &watch, &call))?;
        drop(pad);
        let shown: &[&str] = match &entered {
            Ok(_) => &["请稍候", "PLEASE WAIT"],
            Err(_) => &["密码未输入", "NO PIN"],
        };
        self.show(shown);
        match entered.map_err(|error| say(&error))? {
            OnlinePin::Block(block) => Ok(block.bytes().to_vec()),
            OnlinePin::Bypassed => Err(Fault::PIN_BYPASSED),
        }
    }

    fn mac(&mut self, request: &MacRequest) -> Result<Vec<u8>, Fault> {
        let mode = codes::mac_algorithm(request.mode).ok_or(Fault::BAD_PAYLOAD)?;
        let crypto = self.open::<dyn CryptoBox>()?;
        let slot = KeySlot::Fixed(request.slot);
        let mac = crypto.get().and_then(|crypto| crypto.mac(slot, mode, &request.data));
        Ok(mac.map_err(|error| say(&error))?.to_vec())
    }

    fn load_key(&mut self, request: &LoadKey) -> Result<(), Fault> {
        let class = codes::class(request.class).ok_or(Fault::BAD_PAYLOAD)?;
        let slot = KeySlot::Fixed(request.slot);
        let key = WorkKey {
            class,
            master: KeySlot::Fixed(request.under.unwrap_or(request.slot / 10)),
            slot,
            algorithm: codes::cipher(request.algorithm.unwrap_or(2)).ok_or(Fault::BAD_PAYLOAD)?,
            cipher: &request.wrapped,
            kcv: Kcv(request.kcv.as_slice().try_into().map_err(|_| Fault::BAD_PAYLOAD)?),
        };
        let store = self.open::<dyn KeyStore>()?;
        store.get().and_then(|store| store.load_work_key(&key)).map_err(|error| say(&error))?;
        if class == hal::WorkKeyClass::Track {
            self.track_key = Some(slot);
        }
        Ok(())
    }

    fn load_params(&mut self, records: &[Vec<u8>], last: bool) -> Result<(), Fault> {
        if self.coming.len().saturating_add(records.len()) > RECORDS_MAX {
            self.coming.clear();
            return Err(Fault::BAD_PAYLOAD);
        }
        self.coming.extend_from_slice(records);
        if last {
            self.records = std::mem::take(&mut self.coming);
        }
        Ok(())
    }
}
