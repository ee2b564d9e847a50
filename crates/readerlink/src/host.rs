//! The host's side: a reader at the other end of a pipe, as calls that wait for their answers.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::command::Command;
use crate::fault::Fault;
use crate::frame::{ANSWER, FLAG_CIPHERED, FLAG_EVENT, FLAG_MORE, Frame, FrameError, Receiver};
use crate::messages::{
    AMOUNT_MAX_FEN, Detect, Detected, EmvAnswer, EmvStart, Info, LoadKey, MacRequest, MessageError,
    PinRequest, Update, fixed, must, text,
};
use crate::pairing::NumericHost;
use crate::server::{LONG_MAX, SESSION_MAX, is_silence};
use crate::session::{PLAIN_MAX, Role, Session, SessionError, SessionKeys};
use crate::tlv::Tlv;
use crate::turn::EmvTurn;

/// A clock that only goes forward, from whatever beginning.
pub type Clock = Box<dyn Fn() -> Duration + Send>;
/// Fills with random bytes; false when there are none.
pub type Random = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// How long an answer may take that waits for nobody.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a kernel may take for a step.
const KERNEL_PATIENCE: Duration = Duration::from_secs(30);
/// What is added to the time that a person was given.
const MARGIN: Duration = Duration::from_secs(2);
/// A request without an answer goes again after this, byte for byte.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The pipe failed.
    #[error("the pipe to the reader: {0}")]
    Pipe(#[from] io::Error),
    /// The other end is gone.
    #[error("the reader is gone")]
    Gone,
    /// No answer in time, though the request went several times. Whether it was carried out is not known.
    #[error("the reader does not answer")]
    Silent,
    /// The reader said what is wrong.
    #[error("the reader: {0}")]
    Fault(Fault),
    /// The reader answered something else.
    #[error("an answer that is none: {0}")]
    Message(#[from] MessageError),
    /// There is no pair, or its time is over.
    #[error("not paired")]
    NotPaired,
    /// The reader is not the one whose label was read, or someone stands in between.
    #[error("the reader's proof is wrong")]
    Proof,
    /// The person said that the digits differ.
    #[error("the digits differ")]
    Digits,
    /// No random bytes.
    #[error("no random bytes")]
    Random,
    /// The session takes no more frames, or the request is too long.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The request is too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// What a host does while it waits.
struct Watch<'a> {
    cancel: &'a mut dyn FnMut() -> bool,
    keys: &'a mut dyn FnMut(u8),
}

/// A reader at the other end of a pipe whose reads give up after a while.
pub struct RemoteReader<T> {
    pipe: T,
    clock: Clock,
    random: Random,
    receiver: Receiver,
    session: Option<(Session, Duration)>,
    /// Of the last request; 1 is the first, and comes after 65,535.
    sequence: u16,
}

impl<T: Read + Write> RemoteReader<T> {
    /// The host's side, not paired.
    pub fn new(pipe: T, clock: Clock, random: Random) -> Self {
        Self { pipe, clock, random, receiver: Receiver::default(), session: None, sequence: 0 }
    }

    /// What the reader is.
    pub fn info(&mut self) -> Result<Info, LinkError> {
        Ok(Info::from_tlv(&self.clear(Command::Info, &Tlv::new())?)?)
    }

    /// Whether it is there.
    pub fn ping(&mut self) -> Result<(), LinkError> {
        match self.session {
            Some(_) => self.call(Command::Ping, &Tlv::new(), PATIENCE).map(drop),
            None => self.clear(Command::Ping, &Tlv::new()).map(drop),
        }
    }

    /// Whether there is a pair.
    pub fn is_paired(&self) -> bool {
        self.session.is_some()
    }

    /// Pairs by the secret of the reader's label.
    pub fn pair_with_label(&mut self, secret: &[u8; 16]) -> Result<(), LinkError> {
        let host_nonce = self.random_bytes::<16>()?;
        let answer = self.clear(Command::Pair, &Tlv::new().with(0x20, &host_nonce))?;
        let reader_nonce = fixed::<16>(&answer, 0x20)?;
        let serial = text(must(&answer, 0x03)?, 0x03, 64)?;
        let keys = SessionKeys::derive(secret, &host_nonce, &reader_nonce, &serial);
        self.confirm(&keys, &host_nonce, &reader_nonce)
    }

    /// Pairs by six digits that a person compares with the reader's display.
    pub fn pair_by_digits(&mut self, equal: impl FnOnce(&str) -> bool) -> Result<(), LinkError> {
        let answer = self.clear(Command::Pair, &Tlv::new().with(0x24, &[1]))?;
        let host_nonce = self.random_bytes::<16>()?;
        let host = NumericHost::new(self.random_bytes::<32>()?, host_nonce, fixed(&answer, 0x25)?);
        let opened = Tlv::new().with(0x24, &[2]).with(0x26, &host.public()).with(0x20, &host_nonce);
        let answer = self.clear(Command::Pair, &opened)?;
        let reader_nonce = fixed::<16>(&answer, 0x20)?;
        let serial = text(must(&answer, 0x03)?, 0x03, 64)?;
        let (secret, digits) = host.open(fixed(&answer, 0x26)?, &reader_nonce).ok_or(LinkError::Proof)?;
        if !equal(&digits) {
            return Err(LinkError::Digits);
        }
        let keys = SessionKeys::derive(secret.as_ref(), &host_nonce, &reader_nonce, &serial);
        self.confirm(&keys, &host_nonce, &reader_nonce)
    }

    fn confirm(
        &mut self,
        keys: &SessionKeys,
        host_nonce: &[u8; 16],
        reader_nonce: &[u8; 16],
    ) -> Result<(), LinkError> {
        let proof = keys.proof(Role::Host, host_nonce, reader_nonce);
        let answer = match self.clear(Command::Confirm, &Tlv::new().with(0x21, &proof)) {
            Err(LinkError::Fault(fault)) if fault == Fault::BAD_CIPHER => return Err(LinkError::Proof),
            other => other?,
        };
        if !keys.verify(Role::Reader, host_nonce, reader_nonce, must(&answer, 0x21)?) {
            return Err(LinkError::Proof);
        }
        self.session = Some((Session::new(keys, Role::Host), (self.clock)()));
        Ok(())
    }

    /// Lines on the reader's display.
    pub fn display(&mut self, lines: &[&str]) -> Result<(), LinkError> {
        let tlv = lines.iter().fold(Tlv::new(), |tlv, line| tlv.with(0x22, line.as_bytes()));
        self.call(Command::Display, &tlv, PATIENCE).map(drop)
    }

    /// Buzzer and lights.
    pub fn beep(&mut self, pattern: &[u8]) -> Result<(), LinkError> {
        self.call(Command::Beep, &Tlv::new().with(0x23, pattern), PATIENCE).map(drop)
    }

    /// Waits for a card, until it is there, its time is over or `cancel` says so.
    pub fn detect(
        &mut self,
        request: &Detect,
        cancel: &mut dyn FnMut() -> bool,
    ) -> Result<Detected, LinkError> {
        let patience = Duration::from_secs(request.seconds.into()) + MARGIN;
        let mut watch = Watch { cancel, keys: &mut |_| {} };
        let answer = self.long(Command::Detect, &request.to_tlv(), patience, &mut watch)?;
        Ok(Detected::from_tlv(&answer)?)
    }

    /// Begins a chip payment.
    pub fn emv_start(&mut self, request: &EmvStart) -> Result<EmvTurn, LinkError> {
        if request.amount_fen > AMOUNT_MAX_FEN {
            return Err(MessageError::Value(0x30).into());
        }
        let answer = self.call(Command::EmvStart, &request.to_tlv(), KERNEL_PATIENCE)?;
        Ok(EmvTurn::from_tlv(&answer)?)
    }

    /// Goes on with it.
    pub fn emv_continue(&mut self, with: &EmvAnswer) -> Result<EmvTurn, LinkError> {
        let answer = self.call(Command::EmvContinue, &with.to_tlv(), KERNEL_PATIENCE)?;
        Ok(EmvTurn::from_tlv(&answer)?)
    }

    /// Asks the cardholder for the PIN: its block under the key of the slot. `keys` hears how many keys are typed.
    pub fn pin(
        &mut self,
        request: &PinRequest,
        keys: &mut dyn FnMut(u8),
        cancel: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<u8>, LinkError> {
        let patience = Duration::from_secs(request.seconds.into()) + MARGIN;
        let answer = self.long(Command::Pin, &request.to_tlv(), patience, &mut Watch { cancel, keys })?;
        Ok(must(&answer, 0x54)?.to_vec())
    }

    /// Signs with a key of the reader.
    pub fn mac(&mut self, request: &MacRequest) -> Result<Vec<u8>, LinkError> {
        let answer = self.call(Command::Mac, &request.to_tlv(), PATIENCE)?;
        Ok(must(&answer, 0x63)?.to_vec())
    }

    /// Loads a wrapped key.
    pub fn load_key(&mut self, request: &LoadKey) -> Result<(), LinkError> {
        self.call(Command::LoadKey, &request.to_tlv(), PATIENCE).map(drop)
    }

    /// Loads records of the kernel's tables; `last` when the list is whole.
    pub fn load_params(&mut self, records: &[Vec<u8>], last: bool) -> Result<(), LinkError> {
        let tlv = records.iter().fold(Tlv::new(), |tlv, record| tlv.with(0x68, record));
        self.call(Command::LoadParams, &tlv.with(0x69, &[u8::from(last)]), PATIENCE).map(drop)
    }

    /// Loads a piece of firmware.
    pub fn update(&mut self, request: &Update) -> Result<(), LinkError> {
        self.call(Command::Update, &request.to_tlv(), PATIENCE).map(drop)
    }

    fn random_bytes<const N: usize>(&mut self) -> Result<[u8; N], LinkError> {
        let mut bytes = [0; N];
        if (self.random)(&mut bytes) { Ok(bytes) } else { Err(LinkError::Random) }
    }

    fn next_sequence(&mut self) -> u16 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }

    /// A command in the clear.
    fn clear(&mut self, command: Command, tlv: &Tlv) -> Result<Tlv, LinkError> {
        let sequence = self.next_sequence();
        let frame = Frame { flags: 0, sequence, command: command.code(), payload: tlv.encode() };
        let mut watch = Watch { cancel: &mut || false, keys: &mut |_| {} };
        self.exchange(&frame, PATIENCE, &mut watch)
    }

    /// A command of the session.
    fn call(&mut self, command: Command, tlv: &Tlv, patience: Duration) -> Result<Tlv, LinkError> {
        self.long(command, tlv, patience, &mut Watch { cancel: &mut || false, keys: &mut |_| {} })
    }

    /// A command of the session, in several frames when it is long: each is acknowledged before the next goes.
    fn long(
        &mut self,
        command: Command,
        tlv: &Tlv,
        patience: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Tlv, LinkError> {
        let payload = tlv.encode();
        if payload.len() > LONG_MAX {
            return Err(SessionError::Long.into());
        }
        let mut rest = payload.as_slice();
        while let Some((part, after)) =
            rest.split_at_checked(PLAIN_MAX).filter(|(_, after)| !after.is_empty())
        {
            let frame = self.seal(FLAG_MORE, command, part)?;
            self.exchange(&frame, PATIENCE, watch)?;
            rest = after;
        }
        let frame = self.seal(0, command, rest)?;
        self.exchange(&frame, patience, watch)
    }

    fn seal(&mut self, flags: u8, command: Command, payload: &[u8]) -> Result<Frame, LinkError> {
        let now = (self.clock)();
        self.session = self.session.take().filter(|(_, since)| now.saturating_sub(*since) <= SESSION_MAX);
        let sequence = self.next_sequence();
        let (session, _) = self.session.as_mut().ok_or(LinkError::NotPaired)?;
        let sealed = session.seal(flags, sequence, command.code(), payload);
        if sealed == Err(SessionError::UsedUp) {
            self.session = None;
        }
        Ok(sealed?)
    }

    /// Sends a request, again and again byte for byte, until its answer is there.
    fn exchange(
        &mut self,
        request: &Frame,
        patience: Duration,
        watch: &mut Watch<'_>,
    ) -> Result<Tlv, LinkError> {
        let bytes = request.encode()?;
        let begun = (self.clock)();
        let mut sent: Option<Duration> = None;
        let mut cancelled = false;
        loop {
            let now = (self.clock)();
            if now.saturating_sub(begun) > patience {
                return Err(LinkError::Silent);
            }
            if sent.is_none_or(|sent| now.saturating_sub(sent) >= AGAIN) {
                self.pipe.write_all(&bytes)?;
                self.pipe.flush()?;
                sent = Some(now);
            }
            if !cancelled && (watch.cancel)() {
                cancelled = true;
                let cancel = self.seal(0, Command::Cancel, &[])?.encode()?;
                self.pipe.write_all(&cancel)?;
                self.pipe.flush()?;
            }
            self.read()?;
            let now = (self.clock)();
            while let Some((frame, _)) = self.receiver.next(now) {
                if let Some(answer) = self.judge(request, &frame, watch)? {
                    return Ok(answer);
                }
            }
        }
    }

    fn read(&mut self) -> Result<(), LinkError> {
        let mut buffer = [0; 1_024];
        let got = match self.pipe.read(&mut buffer) {
            Ok(0) => return Err(LinkError::Gone),
            Ok(got) => got,
            Err(e) if is_silence(&e) => 0,
            Err(e) => return Err(e.into()),
        };
        self.receiver.push(buffer.get(..got).unwrap_or_default(), (self.clock)());
        Ok(())
    }

    /// What a frame is to a request that waits: its answer, an event, or nothing.
    fn judge(
        &mut self,
        request: &Frame,
        frame: &Frame,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Tlv>, LinkError> {
        let mine = frame.sequence == request.sequence && frame.command == request.command | ANSWER;
        if !mine {
            return Ok(None);
        }
        let ciphered = frame.flags & FLAG_CIPHERED != 0;
        let payload = match (ciphered, request.flags & FLAG_CIPHERED != 0) {
            (true, true) => {
                let Some((session, _)) = self.session.as_mut() else { return Ok(None) };
                // What was here before or was made by someone else is nothing.
                let Ok(payload) = session.open(frame) else { return Ok(None) };
                payload
            }
            (false, false) => frame.payload.clone(),
            // Without a session the reader can only say that it has none. Nobody vouches for that, so it costs the pair and
            // never stands for a result.
            (false, true) => {
                let fault = result_of(&Tlv::parse(&frame.payload).map_err(MessageError::from)?)?;
                return match fault {
                    Some(fault) if fault.is_of_the_link() => {
                        self.session = None;
                        Err(LinkError::Fault(fault))
                    }
                    _ => Ok(None),
                };
            }
            (true, false) => return Ok(None),
        };
        let tlv = Tlv::parse(&payload).map_err(MessageError::from)?;
        if frame.flags & FLAG_EVENT != 0 {
            if let (true, Some(&[count])) = (ciphered, tlv.get(0x55)) {
                (watch.keys)(count);
            }
            return Ok(None);
        }
        match result_of(&tlv)? {
            None => Ok(Some(tlv)),
            Some(fault) => Err(LinkError::Fault(fault)),
        }
    }
}

impl<T> fmt::Debug for RemoteReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteReader(sequence {}, {:?})", self.sequence, self.session)
    }
}

fn result_of(tlv: &Tlv) -> Result<Option<Fault>, MessageError> {
    match u16::from_be_bytes(fixed(tlv, 0x00)?) {
        0 => Ok(None),
        code => Ok(Some(Fault::from_code(code))),
    }
}
