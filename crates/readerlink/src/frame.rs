//! Frames, and a receiver that finds them again after whatever stood between them.

use std::time::Duration;

/// First two bytes of a frame: "RL".
const MAGIC: [u8; 2] = [0x52, 0x4C];
/// The version there is.
const VERSION: u8 = 1;
/// Bytes before the payload.
pub(crate) const HEADER: usize = 10;
/// Bytes behind it.
const TRAILER: usize = 2;
/// Bytes of a payload, at most.
pub const PAYLOAD_MAX: usize = 4_096;
/// The payload is enciphered.
pub const FLAG_CIPHERED: u8 = 1;
/// No answer is expected.
pub const FLAG_EVENT: u8 = 2;
/// The payload goes on in the next frame.
pub const FLAG_MORE: u8 = 4;
/// Set in the command of an answer.
pub const ANSWER: u16 = 0x8000;
/// Silence after which a frame that has begun is given up.
pub const GAP: Duration = Duration::from_millis(500);

/// CRC-16/CCITT-FALSE: polynomial 1021, start FFFF, no reflection, no final exclusive or.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 }
        })
    })
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bits: 1 enciphered, 2 event, 4 more follows.
    pub flags: u8,
    /// Counts the requests of a host; an answer repeats it.
    pub sequence: u16,
    /// What is asked for, or that with the bit of an answer.
    pub command: u16,
    /// TLV, or what encipherment made of it.
    pub payload: Vec<u8>,
}

/// What is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload is too long.
    #[error("a payload has at most {PAYLOAD_MAX} bytes")]
    Long,
    /// It does not begin with magic and version, has unknown flags or is cut short.
    #[error("no frame begins here")]
    NoFrame,
    /// The check value is wrong.
    #[error("the check value of a frame is wrong")]
    Crc,
}

impl Frame {
    /// The ten bytes before the payload, for a payload of this length.
    pub(crate) fn header(flags: u8, sequence: u16, command: u16, length: u16) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let bytes = MAGIC.into_iter().chain([VERSION, flags]);
        let numbers = [sequence, command, length].into_iter().flat_map(u16::to_be_bytes);
        header.iter_mut().zip(bytes.chain(numbers)).for_each(|(to, from)| *to = from);
        header
    }

    /// As it goes over the pipe.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let length = u16::try_from(self.payload.len()).map_err(|_| FrameError::Long)?;
        if self.payload.len() > PAYLOAD_MAX {
            return Err(FrameError::Long);
        }
        let header = Self::header(self.flags, self.sequence, self.command, length);
        let mut bytes = [&header[..], &self.payload].concat();
        let crc = crc16(bytes.get(MAGIC.len()..).unwrap_or_default());
        bytes.extend(crc.to_be_bytes());
        Ok(bytes)
    }

    /// A frame at the beginning of these bytes, and its length; `None` when it goes on after them.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let wanted = MAGIC.into_iter().chain([VERSION]);
        if bytes.iter().zip(wanted).any(|(have, want)| *have != want) {
            return Err(FrameError::NoFrame);
        }
        let &[_, _, _, flags, s1, s0, c1, c0, l1, l0, ref rest @ ..] = bytes else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([l1, l0]));
        if length > PAYLOAD_MAX || flags & !(FLAG_CIPHERED | FLAG_EVENT | FLAG_MORE) != 0 {
            return Err(FrameError::NoFrame);
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let Some(&[crc1, crc0]) = rest.get(length..length + TRAILER) else { return Ok(None) };
        if crc16(bytes.get(MAGIC.len()..HEADER + length).unwrap_or_default())
            != u16::from_be_bytes([crc1, crc0])
        {
            return Err(FrameError::Crc);
        }
        let frame = Self {
            flags,
            sequence: u16::from_be_bytes([s1, s0]),
            command: u16::from_be_bytes([c1, c0]),
            payload: payload.to_vec(),
        };
        Ok(Some((frame, HEADER + length + TRAILER)))
    }
}

/// Finds frames in what a pipe brings. What is no frame is passed over byte by byte, so that one broken byte costs one
/// frame and no more. It holds at most one frame and one read.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    bytes: Vec<u8>,
    last: Duration,
    broken: u64,
}

impl Receiver {
    /// Takes what has come, at this moment of a clock that only goes forward.
    pub fn push(&mut self, bytes: &[u8], now: Duration) {
        self.expire(now);
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.last = now;
        }
    }

    /// The next frame and its bytes as they came.
    pub fn next(&mut self, now: Duration) -> Option<(Frame, Vec<u8>)> {
        self.expire(now);
        let mut at = 0;
        let found = loop {
            match Frame::decode(self.bytes.get(at..).unwrap_or_default()) {
                Ok(Some((frame, length))) => {
                    let raw = self.bytes.get(at..at + length).map(<[u8]>::to_vec).unwrap_or_default();
                    at += length;
                    break Some((frame, raw));
                }
                Ok(None) => break None,
                Err(error) => {
                    self.broken += u64::from(error == FrameError::Crc);
                    at += 1;
                }
            }
        };
        self.bytes.drain(..at.min(self.bytes.len()));
        found
    }

    /// Frames whose check value was wrong, so far.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// A frame that began and did not go on is given up; frames behind its beginning are still found.
    fn expire(&mut self, now: Duration) {
        let silent = now.saturating_sub(self.last) > GAP;
        if silent && !self.bytes.is_empty() && matches!(Frame::decode(&self.bytes), Ok(None)) {
            self.bytes.drain(..1);
            // What was taken for its payload may hold whole frames.
            while !self.bytes.is_empty() && !matches!(Frame::decode(&self.bytes), Ok(Some(_))) {
                self.bytes.drain(..1);
            }
        }
    }
}
