//! What a request's body carries: one frame, with its length before it or without. Pure.

use iso8583::frame::Tpdu;
use iso8583::{CUP_POS, Message, frame};
use thiserror::Error;

/// How the body carries its frame. The answer is carried in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Two bytes of length, then the frame, as on a socket.
    Length,
    /// The frame alone; the body's own length says how long it is.
    Bare,
}

/// Why a body carries no frame. The text goes back to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Nothing is in it.
    #[error("the body is empty")]
    Empty,
    /// Longer than a frame may be.
    #[error("the frame has {len} bytes, more than {max}")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Neither the length before it nor the first byte of a TPDU fits.
    #[error("the body is neither a frame with its length nor a TPDU")]
    NoFrame,
    /// It ends inside its TPDU.
    #[error("the frame of {0} bytes ends inside its TPDU")]
    Short(usize),
}

/// First byte of every TPDU: what tells a frame from a length, which would be above 24,000 bytes.
const TPDU_ID: u8 = 0x60;
/// Bytes of a TPDU.
const TPDU_LEN: usize = 5;
/// Bytes of the message header of the baseline profile.
const HEADER_LEN: usize = 6;

/// A frame as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// How it was carried.
    pub framing: Framing,
    /// TPDU to last byte, as on a socket after the length.
    pub payload: &'a [u8],
}

/// Reads a body. What the length says must be what is there.
///
/// # Errors
/// It carries no frame, or one above `max` bytes.
pub fn read(body: &[u8], max: usize) -> Result<Request<'_>, BodyError> {
    let (framing, payload) = match body {
        [] => return Err(BodyError::Empty),
        [TPDU_ID, ..] => (Framing::Bare, body),
        [high, low, payload @ ..]
            if usize::from(u16::from_be_bytes([*high, *low])) == payload.len()
                && payload.first() == Some(&TPDU_ID) =>
        {
            (Framing::Length, payload)
        }
        _ => return Err(BodyError::NoFrame),
    };
    match payload.len() {
        len if len > max => Err(BodyError::TooLong { len, max }),
        len if len <= TPDU_LEN => Err(BodyError::Short(len)),
        _ => Ok(Request { framing, payload }),
    }
}

/// The frame as it goes over a socket.
///
/// # Errors
/// It is longer than two bytes can say.
pub fn framed(payload: &[u8]) -> Result<Vec<u8>, BodyError> {
    let len = u16::try_from(payload.len())
        .map_err(|_| BodyError::TooLong { len: payload.len(), max: usize::from(u16::MAX) })?;
    let mut out = Vec::with_capacity(2 + payload.len());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(payload);
    Ok(out)
}

/// Who asks, in a message that the baseline profile can read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terminal {
    /// Field 42.
    pub merchant: String,
    /// Field 41.
    pub terminal: String,
}

/// The terminal that a frame names. Nothing when the frame is of a profile that lays its fields out otherwise: such a
/// terminal is counted by its address alone.
#[must_use]
pub fn terminal(payload: &[u8]) -> Option<Terminal> {
    let message = message(payload)?;
    Some(Terminal { merchant: message.text(42)?.to_owned(), terminal: message.text(41)?.to_owned() })
}

fn message(payload: &[u8]) -> Option<Message<'_>> {
    CUP_POS.parse(payload.get(TPDU_LEN + HEADER_LEN..)?).ok()
}

fn tpdu(payload: &[u8]) -> Option<Tpdu> {
    payload.first_chunk::<TPDU_LEN>().copied().map(frame::Tpdu::new)
}

/// Whether an answer belongs to a request: its TPDU is turned round, and as far as both can be read it is the answer type
/// of the same trace of the same terminal.
#[must_use]
pub fn belongs(request: &[u8], answer: &[u8]) -> bool {
    let turned = tpdu(request).map(Tpdu::swapped);
    if turned.is_none() || turned != tpdu(answer) {
        return false;
    }
    match (message(request), message(answer)) {
        (Some(request), Some(answer)) => {
            answer.mti().value() == request.mti().value() + 10
                && answer.number(11) == request.number(11)
                && (answer.text(41).is_none() || answer.text(41) == request.text(41))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sign-in: TPDU, header, type, bitmap, fields 11, 41, 42, 60.
    const REQUEST: &str = "6000030000 603200320001 0800 0020000000C00010 000123 3030303030303031\
                           383938303030303030303030303031 0011000000010030";
    const MAX: usize = 2_048;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn both_framings_carry_the_same_frame() {
        let frame = bytes(REQUEST);
        let bare = read(&frame, MAX).unwrap();
        assert_eq!((bare.framing, bare.payload), (Framing::Bare, frame.as_slice()));
        let with_length = framed(&frame).unwrap();
        let read = read(&with_length, MAX).unwrap();
        assert_eq!((read.framing, read.payload), (Framing::Length, frame.as_slice()));
    }

    #[test]
    fn what_is_no_frame_says_why() {
        assert_eq!(read(&[], MAX), Err(BodyError::Empty));
        assert_eq!(read(&[0x60, 0, 3, 0, 0], MAX), Err(BodyError::Short(5)));
        assert_eq!(read(b"{\"amount\":1}", MAX), Err(BodyError::NoFrame));
        // The length says one byte more than is there, or less.
        assert_eq!(read(&[0, 7, 0x60, 0, 3, 0, 0, 8], MAX), Err(BodyError::NoFrame));
        assert_eq!(read(&[0, 5, 0x60, 0, 3, 0, 0, 8], MAX), Err(BodyError::NoFrame));
        let long = [[0x60].as_slice(), &[0; 2_048]].concat();
        assert_eq!(read(&long, MAX), Err(BodyError::TooLong { len: 2_049, max: 2_048 }));
    }

    #[test]
    fn an_answer_belongs_to_its_request_alone() {
        let request = bytes(REQUEST);
        let mut answer = request.clone();
        answer[1..5].copy_from_slice(&[0, 0, 0, 3]);
        answer[11..13].copy_from_slice(&[0x08, 0x10]);
        assert!(belongs(&request, &answer));
        assert!(!belongs(&request, &request), "the TPDU is not turned");
        let mut other = answer.clone();
        other[12] = 0x30;
        assert!(!belongs(&request, &other), "the answer of another type");
        let mut other = answer.clone();
        let trace = other.windows(3).position(|window| window == [0, 0x01, 0x23]).unwrap();
        other[trace + 2] = 0x24;
        assert!(!belongs(&request, &other), "the answer to another trace");
        assert!(!belongs(&request, &answer[..4]));
    }

    #[test]
    fn the_terminal_is_read_where_the_profile_is_known() {
        let terminal = terminal(&bytes(REQUEST)).unwrap();
        assert_eq!((terminal.merchant.as_str(), terminal.terminal.as_str()), ("898000000000001", "00000001"));
        assert_eq!(super::terminal(&[0x60, 0, 3, 0, 0, 1, 2]), None);
    }
}
