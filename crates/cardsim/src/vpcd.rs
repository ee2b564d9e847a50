//! A card in the virtual reader of a PC: the client side of `vpcd`, a driver of `pcscd`.
//!
//! Connecting is putting the card in, closing the socket is taking it out. Both ways a message is a length of two
//! bytes, big-endian, and so many bytes. A message of one byte is a control; everything else is a command.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use crate::card::{Card, CardGone, Interface, PowerFault};

/// Where `vpcd` listens for the card of its first reader.
pub const PORT: u16 = 35963;

/// Controls.
const OFF: u8 = 0;
const ON: u8 = 1;
const RESET: u8 = 2;
const ATR: u8 = 4;

/// How a card came out of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The reader closed.
    ReaderClosed,
    /// The card left, or says nothing.
    CardGone,
}

/// Puts `card` into the reader at `address` and serves it until one of them goes. Removing the card from outside is
/// shutting the socket down: see [`insert`].
///
/// # Errors
/// The reader cannot be reached, or the connection breaks.
pub fn serve(address: impl ToSocketAddrs, card: &mut Card) -> io::Result<Ended> {
    serve_stream(&mut insert(address)?, card)
}

/// Connects. A clone of the stream (`try_clone`) is the hand that takes the card out (`shutdown`).
///
/// # Errors
/// The reader cannot be reached.
pub fn insert(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Serves a card over a connected stream.
///
/// # Errors
/// The connection breaks.
pub fn serve_stream<S: Read + Write>(stream: &mut S, card: &mut Card) -> io::Result<Ended> {
    loop {
        let Some(message) = read_frame(stream)? else {
            card.leave();
            return Ok(Ended::ReaderClosed);
        };
        let answer = match message.as_slice() {
            [] => continue,
            [OFF] => {
                card.leave();
                continue;
            }
            [ON | RESET] => {
                // A card that does not wake up is noticed when its ATR is asked for.
                let _ = card.power_up(Interface::Contact);
                continue;
            }
            [ATR] => match card.power_up(Interface::Contact) {
                Ok(atr) => atr,
                Err(PowerFault::Mute | PowerFault::NoInterface | PowerFault::TwoCards) => {
                    return Ok(Ended::CardGone);
                }
            },
            [_] => continue,
            command => match card.transmit(command) {
                Ok(answer) => answer,
                Err(CardGone::Removed | CardGone::Mute) => return Ok(Ended::CardGone),
            },
        };
        write_frame(stream, &answer)?;
    }
}

fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn write_frame(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(message);
    stream.write_all(&frame)?;
    stream.flush()
}
