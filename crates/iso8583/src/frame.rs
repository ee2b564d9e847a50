//! Framing: finding messages in a byte stream, and what stands before them.
//!
//! ```text
//! terminal   length 2 (binary)   TPDU 5   [LRI 33]   [header 6]   message
//! network    length 4 (ASCII)    header 46                        message      "0000" alone: heartbeat
//! ```
//!
//! A length never counts itself.

use std::fmt;

use thiserror::Error;

use crate::dialect::Profile;
use crate::swar;

/// What was wrong with a frame. The connection cannot be used any further: its next message would start at an
/// unknown place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length says zero.
    #[error("frame of length zero")]
    Zero,
    /// The length is above the limit.
    #[error("frame of {len} bytes, more than {max}")]
    TooLong {
        /// Announced length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The network's length is not four decimal digits.
    #[error("frame length is not decimal")]
    BadLength,
    /// The frame ends inside its TPDU or header.
    #[error("frame of {len} bytes ends inside its header")]
    ShortHeader {
        /// Bytes of the frame.
        len: usize,
    },
    /// The network header's own length byte is not 46.
    #[error("header says it has {0} bytes")]
    HeaderLength(u8),
    /// The length inside the network header differs from the frame's.
    #[error("header says {announced} bytes, the frame has {len}")]
    HeaderTotal {
        /// Length in the header.
        announced: usize,
        /// Bytes of the frame.
        len: usize,
    },
    /// A header field that must be decimal or text is not.
    #[error("header field at byte {0} is malformed")]
    HeaderField(usize),
}

/// Transport header of the terminal dialect: identifier `60`, destination, source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tpdu([u8; 5]);

impl Tpdu {
    /// From its five bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 5]) -> Self {
        Self(bytes)
    }

    /// The five bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 5] {
        self.0
    }

    /// The TPDU of the answer: destination and source exchanged.
    #[must_use]
    pub const fn swapped(self) -> Self {
        let [id, to_high, to_low, from_high, from_low] = self.0;
        Self([id, from_high, from_low, to_high, to_low])
    }

    /// Network identifier of the destination, as two raw bytes.
    #[must_use]
    pub const fn destination(self) -> [u8; 2] {
        let [_, high, low, ..] = self.0;
        [high, low]
    }
}

impl fmt::Debug for Tpdu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Message header of the terminal dialect: twelve digits, six bytes. The sub-version may hold any nibble, so
/// nothing here is read as a decimal number except the two single digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PosHeader([u8; 6]);

impl PosHeader {
    /// From its six bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// Digits 1 and 2, packed: 0x60 magnetic or traditional application, 0x61 chip application.
    #[must_use]
    pub const fn application_type(self) -> u8 {
        self.0[0]
    }

    /// Digits 3 and 4, packed: total version of the terminal software.
    #[must_use]
    pub const fn version(self) -> u8 {
        self.0[1]
    }

    /// Digit 5: 0 normal, 1 test.
    #[must_use]
    pub const fn terminal_status(self) -> u8 {
        self.0[2] >> 4
    }

    /// Digit 6, set by the host in answers: what the terminal is asked to do next (0 nothing, 1 download
    /// parameters, 2 upload status, 3 sign in again, 4 update CA keys, 5 download chip parameters, ...).
    #[must_use]
    pub const fn requirement(self) -> u8 {
        self.0[2] & 15
    }

    /// The same header with digit 6 set.
    #[must_use]
    pub const fn with_requirement(self, digit: u8) -> Self {
        let mut bytes = self.0;
        bytes[2] = bytes[2] & 0xf0 | digit & 15;
        Self(bytes)
    }

    /// Digits 7 to 12, packed: sub-version of the terminal software.
    #[must_use]
    pub const fn sub_version(self) -> [u8; 3] {
        let [_, _, _, a, b, c] = self.0;
        [a, b, c]
    }
}

impl fmt::Debug for PosHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// Bytes of the block that access equipment may put after the TPDU.
pub const LRI_LEN: usize = 33;

/// A terminal frame in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PosFrame<'a> {
    /// Transport header.
    pub tpdu: Tpdu,
    /// Message header, unless the profile has none.
    pub header: Option<PosHeader>,
    /// Block of the access equipment, when the profile has it.
    pub lri: Option<&'a [u8]>,
    /// Message type to last field: what [`Dialect::parse`](crate::Dialect::parse) takes.
    pub body: &'a [u8],
}

/// Takes the first whole frame off `buf`: bytes used up including the length, and the payload after the length.
/// Nothing while more bytes must arrive. `max` limits the payload.
///
/// # Errors
/// The length is zero or above `max`: known as soon as the length has arrived.
pub fn split(buf: &[u8], max: usize) -> Result<Option<(usize, &[u8])>, FrameError> {
    let Some((length, rest)) = buf.split_first_chunk::<2>() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*length));
    match len {
        0 => Err(FrameError::Zero),
        len if len > max => Err(FrameError::TooLong { len, max }),
        len => Ok(rest.get(..len).map(|payload| (len + 2, payload))),
    }
}

/// Takes a payload of [`split`] apart.
///
/// # Errors
/// It is too short for TPDU, header and a message.
pub fn parse_pos<'a>(payload: &'a [u8], profile: &Profile) -> Result<PosFrame<'a>, FrameError> {
    let short = FrameError::ShortHeader { len: payload.len() };
    let (tpdu, rest) = payload.split_first_chunk::<5>().ok_or(short)?;
    let (lri, rest) = if profile.lri {
        let (lri, rest) = rest.split_at_checked(LRI_LEN).ok_or(short)?;
        (Some(lri), rest)
    } else {
        (None, rest)
    };
    let (header, body) = if profile.header.is_some() {
        let (header, body) = rest.split_first_chunk::<6>().ok_or(short)?;
        (Some(PosHeader(*header)), body)
    } else {
        (None, rest)
    };
    if body.is_empty() {
        return Err(short);
    }
    Ok(PosFrame { tpdu: Tpdu(*tpdu), header, lri, body })
}

/// Begins a terminal frame at the end of `out`: room for the length, TPDU, header. The mark goes to
/// [`finish_pos`] after the message was appended.
pub fn begin_pos(out: &mut Vec<u8>, tpdu: Tpdu, header: Option<PosHeader>) -> usize {
    let mark = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&tpdu.0);
    if let Some(header) = header {
        out.extend_from_slice(&header.0);
    }
    mark
}

/// Writes the length of the frame that began at `mark`.
///
/// # Errors
/// The frame is longer than two bytes can say, or nothing was begun there; `out` then ends at `mark`.
pub fn finish_pos(out: &mut Vec<u8>, mark: usize) -> Result<(), FrameError> {
    let len = out.len().saturating_sub(mark + 2);
    match (u16::try_from(len), out.get_mut(mark..).and_then(|frame| frame.first_chunk_mut::<2>())) {
        (Ok(0), _) | (_, None) => Err(FrameError::Zero),
        (Ok(len), Some(length)) => {
            *length = len.to_be_bytes();
            Ok(())
        }
        (Err(_), _) => {
            out.truncate(mark);
            Err(FrameError::TooLong { len, max: usize::from(u16::MAX) })
        }
    }
}

/// Bytes of the network header.
pub const CUPS_HEADER_LEN: usize = 46;

/// Network header, 46 bytes; its two lengths are written by [`finish_cups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CupsHeader {
    /// Flag and version: 0x01 or 0x02; the top bit marks a test.
    pub flag_version: u8,
    /// Destination identifier, left-justified, filled with spaces; `00010000` is the network.
    pub destination: [u8; 11],
    /// Source identifier: the member's institution code.
    pub source: [u8; 11],
    /// Reserved: zeros or letters, copied into answers.
    pub reserved: [u8; 3],
    /// Batch number, binary.
    pub batch: u8,
    /// Transaction information, eight characters.
    pub transaction_info: [u8; 8],
    /// User information, binary.
    pub user_info: u8,
    /// `00000`, or the code with which the network bounced the message.
    pub reject_code: [u8; 5],
}

impl CupsHeader {
    /// A header from `source` to `destination` with everything else neutral. Identifiers longer than eleven
    /// characters are cut.
    #[must_use]
    pub fn new(destination: &str, source: &str) -> Self {
        let id = |text: &str| {
            let mut id = [b' '; 11];
            for (to, from) in id.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            id
        };
        Self {
            flag_version: 2,
            destination: id(destination),
            source: id(source),
            reserved: *b"000",
            batch: 0,
            transaction_info: *b"00000000",
            user_info: 0,
            reject_code: *b"00000",
        }
    }

    /// The header of an answer: destination and source exchanged, everything else copied.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self { destination: self.source, source: self.destination, ..self }
    }

    /// Whether the network bounced the message.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.reject_code != *b"00000"
    }
}

/// What [`split_cups`] found at the start of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CupsFrame<'a> {
    /// `0000`: the line is alive.
    Heartbeat,
    /// Header and message.
    Message(&'a [u8]),
}

/// The heartbeat of the network line.
pub const CUPS_HEARTBEAT: &[u8; 4] = b"0000";

/// Takes the first whole frame or heartbeat off `buf`, with the bytes used up. Nothing while more must arrive.
///
/// # Errors
/// The length is not decimal or above `max`.
pub fn split_cups(buf: &[u8], max: usize) -> Result<Option<(usize, CupsFrame<'_>)>, FrameError> {
    let Some((length, rest)) = buf.split_first_chunk::<4>() else {
        // A wrong first byte is known at once.
        return if swar::is_ascii_digits(buf) { Ok(None) } else { Err(FrameError::BadLength) };
    };
    let len = length
        .iter()
        .try_fold(0usize, |len, digit| Some(len * 10 + usize::from(swar::decimal(*digit)?)))
        .ok_or(FrameError::BadLength)?;
    match len {
        0 => Ok(Some((4, CupsFrame::Heartbeat))),
        len if len > max => Err(FrameError::TooLong { len, max }),
        len => Ok(rest.get(..len).map(|payload| (len + 4, CupsFrame::Message(payload)))),
    }
}

/// Takes a network payload apart: header and message.
///
/// # Errors
/// It is shorter than a header, or the header contradicts itself or the frame.
pub fn parse_cups(payload: &[u8]) -> Result<(CupsHeader, &[u8]), FrameError> {
    let short = FrameError::ShortHeader { len: payload.len() };
    let (header, body) = payload.split_first_chunk::<CUPS_HEADER_LEN>().ok_or(short)?;
    let mut rest = header.as_slice();
    let [length] = take(&mut rest)?;
    if usize::from(length) != CUPS_HEADER_LEN {
        return Err(FrameError::HeaderLength(length));
    }
    let [flag_version] = take(&mut rest)?;
    let total: [u8; 4] = take(&mut rest)?;
    if !swar::is_ascii_digits(&total) {
        return Err(FrameError::HeaderField(2));
    }
    let announced = total.iter().fold(0, |len, digit| len * 10 + usize::from(digit & 15));
    if announced != payload.len() {
        return Err(FrameError::HeaderTotal { announced, len: payload.len() });
    }
    let destination = take(&mut rest)?;
    let source = take(&mut rest)?;
    let reserved = take(&mut rest)?;
    let [batch] = take(&mut rest)?;
    let transaction_info = take(&mut rest)?;
    let [user_info] = take(&mut rest)?;
    let reject_code = take(&mut rest)?;
    for (offset, text) in [(6, &destination[..]), (17, &source), (32, &transaction_info), (41, &reject_code)]
    {
        if !swar::is_printable(text) {
            return Err(FrameError::HeaderField(offset));
        }
    }
    let header = CupsHeader {
        flag_version,
        destination,
        source,
        reserved,
        batch,
        transaction_info,
        user_info,
        reject_code,
    };
    Ok((header, body))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(FrameError::ShortHeader { len: rest.len() })?;
    *rest = tail;
    Ok(*head)
}

/// Begins a network frame at the end of `out`; the mark goes to [`finish_cups`] after the message was appended.
pub fn begin_cups(out: &mut Vec<u8>, header: &CupsHeader) -> usize {
    let mark = out.len();
    out.extend_from_slice(b"0000");
    out.extend_from_slice(&[CUPS_HEADER_LEN as u8, header.flag_version]);
    out.extend_from_slice(b"0000");
    out.extend_from_slice(&header.destination);
    out.extend_from_slice(&header.source);
    out.extend_from_slice(&header.reserved);
    out.push(header.batch);
    out.extend_from_slice(&header.transaction_info);
    out.push(header.user_info);
    out.extend_from_slice(&header.reject_code);
    mark
}

/// Writes both lengths of the network frame that began at `mark`.
///
/// # Errors
/// The frame is longer than four digits can say, or nothing was begun there; `out` then ends at `mark`.
pub fn finish_cups(out: &mut Vec<u8>, mark: usize) -> Result<(), FrameError> {
    let len = out.len().saturating_sub(mark + 4);
    if len > 9999 {
        out.truncate(mark);
        return Err(FrameError::TooLong { len, max: 9999 });
    }
    let digits = [len / 1000, len / 100 % 10, len / 10 % 10, len % 10].map(|digit| b'0' + digit as u8);
    match out.get_mut(mark..).and_then(|frame| frame.first_chunk_mut::<10>()) {
        Some([a, b, c, d, _, _, e, f, g, h]) if len >= CUPS_HEADER_LEN => {
            [*a, *b, *c, *d] = digits;
            [*e, *f, *g, *h] = digits;
            Ok(())
        }
        _ => Err(FrameError::ShortHeader { len }),
    }
}
