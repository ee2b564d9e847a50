//! A host and a reader in one thread, on a clock that moves when nothing else does, over a pipe that loses, doubles, holds
//! back and changes frames as it is told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use readerlink::{
    Clock, Detect, Detected, Device, EmvAnswer, EmvStart, EmvStep, EmvTurn, Fault, Found, Info, Link,
    LoadKey, MacRequest, PinRequest, Random, RemoteReader, Server, Slot, Update,
};

pub const SECRET: [u8; 16] = [7; 16];

/// What the pipe does with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    None,
    Lost,
    Doubled,
    /// It comes behind the next frame of its direction.
    Late,
    /// One byte changed.
    Changed(usize),
}

#[derive(Default)]
pub struct Wire {
    bytes: VecDeque<u8>,
    held: Option<Vec<u8>>,
    /// What happens to the next frames; nothing afterwards.
    pub plan: VecDeque<Mishap>,
    /// Every frame that was written, as it was.
    pub written: Vec<Vec<u8>>,
}

impl Wire {
    fn write(&mut self, frame: &[u8]) {
        self.written.push(frame.to_vec());
        match self.plan.pop_front().unwrap_or(Mishap::None) {
            Mishap::None => self.bytes.extend(frame),
            Mishap::Lost => {}
            Mishap::Doubled => self.bytes.extend([frame, frame].concat()),
            Mishap::Late => {
                self.held = Some(frame.to_vec());
                return;
            }
            Mishap::Changed(at) => {
                let mut frame = frame.to_vec();
                let at = at % frame.len();
                frame[at] ^= 0x41;
                self.bytes.extend(frame);
            }
        }
        self.bytes.extend(self.held.take().unwrap_or_default());
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.bytes.read(buffer)
    }

    /// Puts bytes on the wire that nobody of the two wrote.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }
}

pub type Shared<T> = Rc<RefCell<T>>;

pub struct ReaderPipe {
    to_reader: Shared<Wire>,
    to_host: Shared<Wire>,
}

impl Read for ReaderPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.to_reader.borrow_mut().read(buffer)
    }
}

impl Write for ReaderPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_host.borrow_mut().write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct HostPipe {
    to_reader: Shared<Wire>,
    to_host: Shared<Wire>,
    reader: Shared<Server<ReaderPipe, Reader>>,
    now: Arc<AtomicU64>,
}

impl Read for HostPipe {
    /// When nothing is there the reader has its turn, then time passes.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.to_host.borrow_mut().read(buffer);
        if read.is_ok() {
            return read;
        }
        self.reader.borrow_mut().step()?;
        self.now.fetch_add(50, Ordering::Relaxed);
        self.to_host.borrow_mut().read(buffer)
    }
}

impl Write for HostPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_reader.borrow_mut().write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader in software that writes down what it does.
pub struct Reader {
    pub did: Vec<String>,
    pub serial: String,
    pub label: Option<[u8; 16]>,
    pub shown: Option<String>,
    pub confirms: bool,
    /// How often it looks for a card before one is there.
    pub patience: usize,
}

impl Device for Reader {
    fn info(&self) -> Info {
        Info {
            device_type: 3,
            model: "posp-reader".into(),
            serial: self.serial.clone(),
            firmware: "1.0.0".into(),
            capabilities: Some(0x1E),
            battery: Some(80),
            slots: vec![Slot { slot: 1, kcv: [0xAA, 0xBB, 0xCC], more: None }],
        }
    }

    fn label_secret(&self) -> Option<zeroize::Zeroizing<[u8; 16]>> {
        self.label.map(zeroize::Zeroizing::new)
    }

    fn show_digits(&mut self, digits: &str) -> bool {
        self.shown = Some(digits.to_owned());
        true
    }

    fn digits_confirmed(&mut self) -> bool {
        self.confirms
    }

    fn display(&mut self, lines: &[String]) -> Result<(), Fault> {
        self.did.push(format!("display {lines:?}"));
        Ok(())
    }

    fn detect(&mut self, _: &Detect, link: &mut dyn Link) -> Result<Detected, Fault> {
        self.did.push("detect".into());
        for _ in 0..self.patience {
            if link.cancelled() {
                return Err(Fault::CANCELLED);
            }
        }
        Ok(Detected {
            found: Found::Chip,
            masked_pan: Some("622424******0013".into()),
            cipher_track: None,
            service_code: Some("201".into()),
            expiry: Some("2912".into()),
        })
    }

    fn emv_start(&mut self, request: &EmvStart, _: &mut dyn Link) -> Result<EmvTurn, Fault> {
        self.did.push(format!("start {}", request.amount_fen));
        Ok(EmvStep::NeedPin(None).into())
    }

    fn emv_continue(&mut self, answer: &EmvAnswer, _: &mut dyn Link) -> Result<EmvTurn, Fault> {
        self.did.push(format!("continue {answer:?}"));
        match answer {
            EmvAnswer::PinEntered => Ok(EmvStep::Online(vec![0x9F, 0x26]).into()),
            EmvAnswer::Host { .. } => Ok(EmvStep::Approved(vec![0x9F, 0x26, 8]).into()),
            _ => Err(Fault::CARD_REMOVED),
        }
    }

    fn pin(&mut self, _: &PinRequest, link: &mut dyn Link) -> Result<Vec<u8>, Fault> {
        self.did.push("pin".into());
        (1..=6).for_each(|count| link.keys(count));
        Ok(vec![0x5A; 8])
    }

    fn mac(&mut self, request: &MacRequest) -> Result<Vec<u8>, Fault> {
        self.did.push(format!("mac {}", request.data.len()));
        match request.slot {
            1 => Ok(vec![1, 2, 3, 4, 5, 6, 7, 8]),
            _ => Err(Fault::NO_KEY),
        }
    }

    fn load_key(&mut self, request: &LoadKey) -> Result<(), Fault> {
        self.did.push(format!("load {}", request.slot));
        Ok(())
    }

    fn load_params(&mut self, records: &[Vec<u8>], last: bool) -> Result<(), Fault> {
        self.did.push(format!("params {} {last}", records.len()));
        Ok(())
    }

    fn update(&mut self, request: &Update) -> Result<(), Fault> {
        self.did.push(format!("update {} {}", request.offset, request.bytes.len()));
        Ok(())
    }
}

/// One as it comes from the factory.
pub fn reader() -> Reader {
    Reader {
        did: Vec::new(),
        serial: "RL00000001".into(),
        label: Some(SECRET),
        shown: None,
        confirms: true,
        patience: 3,
    }
}

/// Both sides.
pub struct Rig {
    pub host: RemoteReader<HostPipe>,
    pub reader: Shared<Server<ReaderPipe, Reader>>,
    pub to_reader: Shared<Wire>,
    pub to_host: Shared<Wire>,
    pub now: Arc<AtomicU64>,
}

/// Bytes that differ from call to call and are the same in every run.
pub fn random(seed: u8) -> Random {
    let mut next = seed;
    Box::new(move |bytes| {
        for byte in bytes {
            next = next.wrapping_mul(29).wrapping_add(11);
            *byte = next;
        }
        true
    })
}

pub fn clock(now: &Arc<AtomicU64>) -> Clock {
    let now = now.clone();
    Box::new(move || Duration::from_millis(now.load(Ordering::Relaxed)))
}

impl Rig {
    pub fn new() -> Self {
        let now = Arc::new(AtomicU64::new(1_000));
        let (to_reader, to_host) = (Shared::<Wire>::default(), Shared::<Wire>::default());
        let device = reader();
        let pipe = ReaderPipe { to_reader: to_reader.clone(), to_host: to_host.clone() };
        let reader = Rc::new(RefCell::new(Server::new(pipe, device, clock(&now), random(3))));
        let pipe = HostPipe {
            to_reader: to_reader.clone(),
            to_host: to_host.clone(),
            reader: reader.clone(),
            now: now.clone(),
        };
        let host = RemoteReader::new(pipe, clock(&now), random(5));
        Self { host, reader, to_reader, to_host, now }
    }

    pub fn paired() -> Self {
        let mut rig = Self::new();
        rig.host.pair_with_label(&SECRET).unwrap();
        rig
    }

    pub fn did(&self) -> Vec<String> {
        self.reader.borrow_mut().device().did.clone()
    }

    pub fn device<R>(&self, change: impl FnOnce(&mut Reader) -> R) -> R {
        change(self.reader.borrow_mut().device())
    }
}
