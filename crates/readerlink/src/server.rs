//! The reader's side: takes frames from a pipe, asks a [`Device`], answers.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::command::Command;
use crate::fault::Fault;
use crate::frame::{ANSWER, FLAG_CIPHERED, FLAG_EVENT, FLAG_MORE, Frame, Receiver};
use crate::host::{Clock, Random};
use crate::messages::{
    Detect, Detected, EmvAnswer, EmvStart, Info, LoadKey, MacRequest, MessageError, PinRequest, Update,
    fixed, must, text,
};
use crate::pairing::NumericReader;
use crate::session::{Role, Session, SessionError, SessionKeys};
use crate::tlv::Tlv;
use crate::turn::EmvTurn;

/// How long a pair lasts.
pub(crate) const SESSION_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Bytes of a payload that comes in several frames, at most.
pub(crate) const LONG_MAX: usize = 65_536;
/// Lines on a display, at most.
const LINES_MAX: usize = 16;

/// What a device may do with the link while it is at work.
pub trait Link {
    /// Whether the host has broken it off. Devices ask while they wait; it looks at the pipe once, which takes as long as
    /// the pipe's reads take.
    fn cancelled(&mut self) -> bool;

    /// Tells the host how many keys of a PIN are typed: the count and nothing else.
    fn keys(&mut self, count: u8);
}

/// A reader: what it can, behind the link. What it cannot, it leaves to these answers.
pub trait Device {
    /// What it is.
    fn info(&self) -> Info;

    /// The secret on its label, when it has one.
    fn label_secret(&self) -> Option<Zeroizing<[u8; 16]>> {
        None
    }

    /// Shows the six digits of a pairing; false when it has no display.
    fn show_digits(&mut self, _digits: &str) -> bool {
        false
    }

    /// Whether the person at the reader said that the digits are equal.
    fn digits_confirmed(&mut self) -> bool {
        false
    }

    /// Lines on the display.
    fn display(&mut self, _lines: &[String]) -> Result<(), Fault> {
        Err(Fault::UNKNOWN_COMMAND)
    }

    /// Buzzer and lights.
    fn beep(&mut self, _pattern: &[u8]) -> Result<(), Fault> {
        Err(Fault::UNKNOWN_COMMAND)
    }

    /// Waits for a card.
    fn detect(&mut self, request: &Detect, link: &mut dyn Link) -> Result<Detected, Fault>;

    /// Begins a chip payment; shows the amount, when it has a display.
    fn emv_start(&mut self, request: &EmvStart, link: &mut dyn Link) -> Result<EmvTurn, Fault>;

    /// Goes on with it.
    fn emv_continue(&mut self, answer: &EmvAnswer, link: &mut dyn Link) -> Result<EmvTurn, Fault>;

    /// Asks for the PIN and gives its block, under the key of the slot.
    fn pin(&mut self, request: &PinRequest, link: &mut dyn Link) -> Result<Vec<u8>, Fault>;

    /// Signs.
    fn mac(&mut self, request: &MacRequest) -> Result<Vec<u8>, Fault>;

    /// Takes a wrapped key.
    fn load_key(&mut self, request: &LoadKey) -> Result<(), Fault>;

    /// Takes records of the kernel's tables; `last` when the list is whole.
    fn load_params(&mut self, _records: &[Vec<u8>], _last: bool) -> Result<(), Fault> {
        Err(Fault::UNKNOWN_COMMAND)
    }

    /// Takes a piece of firmware.
    fn update(&mut self, _request: &Update) -> Result<(), Fault> {
        Err(Fault::UNKNOWN_COMMAND)
    }

    /// An APDU as it is: in the laboratory only.
    fn raw_apdu(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, Fault> {
        Err(Fault::UNKNOWN_COMMAND)
    }
}

/// A pairing under way.
enum Pairing {
    /// The reader has committed.
    Committed(NumericReader, [u8; 16]),
    /// Both nonces are there: waits for the host's proof.
    Open { keys: SessionKeys, host_nonce: [u8; 16], reader_nonce: [u8; 16], by_digits: bool },
}

/// A request and its answer, for the case that the request comes again.
#[derive(Default)]
struct Last {
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// The reader's side of the link.
pub struct Server<T, D> {
    device: D,
    port: Port<T>,
}

/// What is not the device.
struct Port<T> {
    pipe: T,
    clock: Clock,
    random: Random,
    receiver: Receiver,
    session: Option<(Session, Duration)>,
    pairing: Option<Pairing>,
    last_clear: Last,
    last_sealed: Last,
    /// What came of a payload in several frames.
    parts: Option<(u16, Vec<u8>)>,
    /// The request at work: its bytes and its sequence.
    running: Option<(Vec<u8>, u16)>,
    cancelled: bool,
    /// The pipe is gone.
    closed: Option<io::Error>,
}

impl<T: Read + Write, D: Device> Server<T, D> {
    /// A reader without a pair. Reads of the pipe must give up after a while.
    pub fn new(pipe: T, device: D, clock: Clock, random: Random) -> Self {
        let port = Port {
            pipe,
            clock,
            random,
            receiver: Receiver::default(),
            session: None,
            pairing: None,
            last_clear: Last::default(),
            last_sealed: Last::default(),
            parts: None,
            running: None,
            cancelled: false,
            closed: None,
        };
        Self { device, port }
    }

    /// The device.
    pub fn device(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device, when the link is over.
    pub fn into_device(self) -> D {
        self.device
    }

    /// Reads once and does what has come. False when the host is gone.
    pub fn step(&mut self) -> io::Result<bool> {
        let open = self.port.read()?;
        let now = (self.port.clock)();
        while let Some((frame, raw)) = self.port.receiver.next(now) {
            self.frame(&frame, &raw);
            if let Some(error) = self.port.closed.take() {
                return Err(error);
            }
        }
        Ok(open)
    }

    /// Until the host is gone.
    pub fn run(&mut self) -> io::Result<()> {
        while self.step()? {}
        Ok(())
    }

    fn frame(&mut self, frame: &Frame, raw: &[u8]) {
        if frame.command & ANSWER != 0 || frame.flags & FLAG_EVENT != 0 || self.port.repeated(raw) {
            return;
        }
        if frame.flags & FLAG_CIPHERED == 0 {
            let result = match Command::from_code(frame.command) {
                Some(command) if command.in_clear() && frame.flags == 0 => self.clear(command, frame),
                Some(_) => Err(Fault::NOT_PAIRED),
                None => Err(Fault::UNKNOWN_COMMAND),
            };
            let keep = result.is_ok();
            let answer = self.port.answer_clear(frame, result);
            if keep {
                self.port.last_clear = Last { request: raw.to_vec(), answer };
            }
            return;
        }
        let payload = match self.port.open(frame) {
            Ok(payload) => payload,
            Err(fault) => {
                self.port.answer_clear(frame, Err(fault));
                return;
            }
        };
        self.port.running = Some((raw.to_vec(), frame.sequence));
        self.port.cancelled = false;
        let result = match self.port.whole(frame, payload) {
            Ok(Some(payload)) => self.sealed(frame.command, &payload),
            Ok(None) => Ok(Tlv::new()),
            Err(fault) => Err(fault),
        };
        self.port.running = None;
        let answer = self.port.answer_sealed(frame, result);
        self.port.last_sealed = Last { request: raw.to_vec(), answer };
    }

    /// A command in the clear.
    fn clear(&mut self, command: Command, frame: &Frame) -> Result<Tlv, Fault> {
        let tlv = Tlv::parse(&frame.payload).map_err(|_| Fault::BAD_PAYLOAD)?;
        match command {
            Command::Info => Ok(self.device.info().to_tlv()),
            Command::Pair => self.pair(&tlv),
            Command::Confirm => self.confirm(&tlv),
            _ => Ok(Tlv::new()),
        }
    }

    /// Nonces, or commitment and keys. A session that is there stays until the new one is proven.
    fn pair(&mut self, tlv: &Tlv) -> Result<Tlv, Fault> {
        let serial = self.device.info().serial;
        let bad = |_: MessageError| Fault::BAD_PAYLOAD;
        let mode = tlv.get(0x24).unwrap_or(&[0]);
        let named = |tlv: Tlv| tlv.with(0x03, serial.as_bytes());
        match (mode, self.port.pairing.take()) {
            ([0], _) => {
                let host_nonce = fixed::<16>(tlv, 0x20).map_err(bad)?;
                let secret = self.device.label_secret().ok_or(Fault::NO_KEY)?;
                let reader_nonce = self.port.random::<16>()?;
                let keys = SessionKeys::derive(secret.as_ref(), &host_nonce, &reader_nonce, &serial);
                self.port.pairing = Some(Pairing::Open { keys, host_nonce, reader_nonce, by_digits: false });
                Ok(named(Tlv::new().with(0x20, &reader_nonce)))
            }
            ([1], _) => {
                let nonce = self.port.random::<16>()?;
                let reader = NumericReader::new(self.port.random::<32>()?, nonce);
                let commitment = reader.commitment();
                self.port.pairing = Some(Pairing::Committed(reader, nonce));
                Ok(named(Tlv::new().with(0x25, &commitment)))
            }
            ([2], Some(Pairing::Committed(reader, reader_nonce))) => {
                let host_key = fixed::<32>(tlv, 0x26).map_err(bad)?;
                let host_nonce = fixed::<16>(tlv, 0x20).map_err(bad)?;
                let public = reader.public();
                let (secret, digits) = reader.open(host_key, &host_nonce).ok_or(Fault::BAD_PAYLOAD)?;
                if !self.device.show_digits(&digits) {
                    return Err(Fault::UNKNOWN_COMMAND);
                }
                let keys = SessionKeys::derive(secret.as_ref(), &host_nonce, &reader_nonce, &serial);
                self.port.pairing = Some(Pairing::Open { keys, host_nonce, reader_nonce, by_digits: true });
                Ok(named(Tlv::new().with(0x26, &public).with(0x20, &reader_nonce)))
            }
            _ => Err(Fault::BAD_PAYLOAD),
        }
    }

    /// The host's proof. One try: a pairing whose proof is wrong is over.
    fn confirm(&mut self, tlv: &Tlv) -> Result<Tlv, Fault> {
        let Some(Pairing::Open { keys, host_nonce, reader_nonce, by_digits }) = self.port.pairing.take()
        else {
            return Err(Fault::NOT_PAIRED);
        };
        let proof = must(tlv, 0x21).map_err(|_| Fault::BAD_PAYLOAD)?;
        if !keys.verify(Role::Host, &host_nonce, &reader_nonce, proof) {
            return Err(Fault::BAD_CIPHER);
        }
        if by_digits && !self.device.digits_confirmed() {
            return Err(Fault::CANCELLED);
        }
        let now = (self.port.clock)();
        self.port.session = Some((Session::new(&keys, Role::Reader), now));
        self.port.last_sealed = Last::default();
        self.port.parts = None;
        Ok(Tlv::new().with(0x21, &keys.proof(Role::Reader, &host_nonce, &reader_nonce)))
    }

    /// A command of the session.
    fn sealed(&mut self, code: u16, payload: &[u8]) -> Result<Tlv, Fault> {
        let Self { device, port } = self;
        let command = Command::from_code(code).ok_or(Fault::UNKNOWN_COMMAND)?;
        let tlv = Tlv::parse(payload).map_err(|_| Fault::BAD_PAYLOAD)?;
        let bad = |_: MessageError| Fault::BAD_PAYLOAD;
        let done = |()| Tlv::new();
        match command {
            Command::Info => Ok(device.info().to_tlv()),
            Command::Ping | Command::Cancel => Ok(Tlv::new()),
            // A new pair is made in the clear, so that it does not depend on the old one.
            Command::Pair | Command::Confirm => Err(Fault::BAD_FRAME),
            Command::Display => {
                let lines = tlv.all(0x22).take(LINES_MAX).map(|line| text(line, 0x22, 128));
                device.display(&lines.collect::<Result<Vec<_>, _>>().map_err(bad)?).map(done)
            }
            Command::Beep => device.beep(must(&tlv, 0x23).map_err(bad)?).map(done),
            Command::Detect => {
                device.detect(&Detect::from_tlv(&tlv).map_err(bad)?, port).map(|found| found.to_tlv())
            }
            Command::EmvStart => {
                device.emv_start(&EmvStart::from_tlv(&tlv).map_err(bad)?, port).map(|step| step.to_tlv())
            }
            Command::EmvContinue => {
                let answer = EmvAnswer::from_tlv(&tlv).map_err(bad)?;
                device.emv_continue(&answer, port).map(|step| step.to_tlv())
            }
            Command::Pin => {
                let request = PinRequest::from_tlv(&tlv).map_err(bad)?;
                device.pin(&request, port).map(|block| Tlv::new().with(0x54, &block))
            }
            Command::Mac => {
                let request = MacRequest::from_tlv(&tlv).map_err(bad)?;
                device.mac(&request).map(|mac| Tlv::new().with(0x63, &mac))
            }
            Command::LoadKey => device.load_key(&LoadKey::from_tlv(&tlv).map_err(bad)?).map(done),
            Command::LoadParams => {
                let records: Vec<Vec<u8>> = tlv.all(0x68).map(<[u8]>::to_vec).collect();
                device.load_params(&records, tlv.get(0x69) == Some(&[1])).map(done)
            }
            Command::Update => device.update(&Update::from_tlv(&tlv).map_err(bad)?).map(done),
            Command::RawApdu => {
                device.raw_apdu(must(&tlv, 0x62).map_err(bad)?).map(|answer| Tlv::new().with(0x63, &answer))
            }
        }
    }
}

impl<T: Read + Write> Port<T> {
    /// Reads once. False when the other side is gone.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1_024];
        let got = match self.pipe.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(got) => got,
            Err(e) if is_silence(&e) => 0,
            Err(e) => return Err(e),
        };
        self.receiver.push(buffer.get(..got).unwrap_or_default(), (self.clock)());
        Ok(true)
    }

    fn random<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        if (self.random)(&mut bytes) { Ok(bytes) } else { Err(Fault::OTHER) }
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.pipe.write_all(bytes).and_then(|()| self.pipe.flush()) {
            self.closed = Some(error);
        }
    }

    /// The last request once more, byte for byte: its answer once more, and nothing else.
    fn repeated(&mut self, raw: &[u8]) -> bool {
        let last = [&self.last_sealed, &self.last_clear].into_iter().find(|last| last.request == raw);
        let Some(answer) = last.map(|last| last.answer.clone()) else { return false };
        self.write(&answer);
        true
    }

    /// Deciphers a frame; what is wrong with it says the fault.
    fn open(&mut self, frame: &Frame) -> Result<Vec<u8>, Fault> {
        let now = (self.clock)();
        self.session = self.session.take().filter(|(_, since)| now.saturating_sub(*since) <= SESSION_MAX);
        let (session, _) = self.session.as_mut().ok_or(Fault::NOT_PAIRED)?;
        match session.open(frame) {
            Ok(payload) => Ok(payload),
            Err(SessionError::UsedUp) => {
                self.session = None;
                Err(Fault::NOT_PAIRED)
            }
            Err(_) => Err(Fault::BAD_CIPHER),
        }
    }

    /// A payload, when it is whole with this frame.
    fn whole(&mut self, frame: &Frame, payload: Vec<u8>) -> Result<Option<Vec<u8>>, Fault> {
        let begun = self.parts.take().filter(|(command, _)| *command == frame.command);
        let mut all = begun.map(|(_, bytes)| bytes).unwrap_or_default();
        all.extend(payload);
        if all.len() > LONG_MAX {
            return Err(Fault::BAD_PAYLOAD);
        }
        if frame.flags & FLAG_MORE == 0 {
            return Ok(Some(all));
        }
        self.parts = Some((frame.command, all));
        Ok(None)
    }

    fn answer_clear(&mut self, to: &Frame, result: Result<Tlv, Fault>) -> Vec<u8> {
        let frame = Frame {
            flags: 0,
            sequence: to.sequence,
            command: to.command | ANSWER,
            payload: answer_payload(&result),
        };
        let bytes = frame.encode().unwrap_or_default();
        self.write(&bytes);
        bytes
    }

    fn answer_sealed(&mut self, to: &Frame, result: Result<Tlv, Fault>) -> Vec<u8> {
        let bytes = self.seal(0, to.sequence, to.command | ANSWER, &answer_payload(&result));
        self.write(&bytes);
        bytes
    }

    fn seal(&mut self, flags: u8, sequence: u16, command: u16, payload: &[u8]) -> Vec<u8> {
        let Some((session, _)) = self.session.as_mut() else { return Vec::new() };
        let frame = match session.seal(flags, sequence, command, payload) {
            // An answer that no frame holds.
            Err(SessionError::Long) => {
                session.seal(flags, sequence, command, &answer_payload(&Err(Fault::OTHER)))
            }
            other => other,
        };
        frame.ok().and_then(|frame| frame.encode().ok()).unwrap_or_default()
    }

    /// A frame that comes while the device is at work.
    fn meanwhile(&mut self, frame: &Frame, raw: &[u8]) {
        let running = self.running.as_ref().is_some_and(|(running, _)| running == raw);
        if running || frame.command & ANSWER != 0 || frame.flags & FLAG_EVENT != 0 || self.repeated(raw) {
            return;
        }
        if frame.flags & FLAG_CIPHERED == 0 {
            let ping = frame.command == Command::Ping.code();
            self.answer_clear(frame, if ping { Ok(Tlv::new()) } else { Err(Fault::BUSY) });
            return;
        }
        match self.open(frame) {
            Ok(_) if frame.command == Command::Cancel.code() => {
                self.cancelled = true;
                let answer = self.answer_sealed(frame, Ok(Tlv::new()));
                self.last_sealed = Last { request: raw.to_vec(), answer };
            }
            Ok(_) => {
                self.answer_sealed(frame, Err(Fault::BUSY));
            }
            Err(fault) => {
                self.answer_clear(frame, Err(fault));
            }
        }
    }
}

impl<T: Read + Write> Link for Port<T> {
    fn cancelled(&mut self) -> bool {
        match self.read() {
            Ok(true) => {}
            // Nobody is there any more to wait for.
            Ok(false) => self.cancelled = true,
            Err(error) => {
                self.closed = Some(error);
                self.cancelled = true;
            }
        }
        let now = (self.clock)();
        while let Some((frame, raw)) = self.receiver.next(now) {
            self.meanwhile(&frame, &raw);
        }
        self.cancelled
    }

    fn keys(&mut self, count: u8) {
        let Some((_, sequence)) = self.running else { return };
        let payload = Tlv::new().with(0x55, &[count]).encode();
        let event = self.seal(FLAG_EVENT, sequence, Command::Pin.code() | ANSWER, &payload);
        self.write(&event);
    }
}

fn answer_payload(result: &Result<Tlv, Fault>) -> Vec<u8> {
    let code = result.as_ref().err().map_or(0, |fault| fault.code());
    let head = Tlv::new().with(0x00, &code.to_be_bytes()).encode();
    [head, result.as_ref().map(Tlv::encode).unwrap_or_default()].concat()
}

/// Nothing came in the time that a read takes.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
