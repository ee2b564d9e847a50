//! Commands as they go to the card.

use zeroize::Zeroizing;

use crate::channel::{CardChannel, ChannelError};

/// Data and status word.
pub(crate) struct Reply {
    /// Records and tracks of the holder pass here: wiped when dropped.
    pub data: Zeroizing<Vec<u8>>,
    pub sw: u16,
}

impl Reply {
    pub(crate) const fn ok(&self) -> bool {
        self.sw == 0x9000
    }
}

pub(crate) fn exchange(card: &mut dyn CardChannel, command: &[u8]) -> Result<Reply, ChannelError> {
    let mut data = Zeroizing::new(card.transmit(command)?);
    let Some(low) = data.pop() else { return Err(ChannelError::Comm) };
    let Some(high) = data.pop() else { return Err(ChannelError::Comm) };
    Ok(Reply { data, sw: u16::from_be_bytes([high, low]) })
}

/// A command with data; `le` asks for an answer of any length.
fn command(head: [u8; 4], data: &[u8], le: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 6); // never moved: it may hold a PIN
    out.extend(head);
    // Everything sent is below 256 bytes: names, lists of at most 252 bytes, authentication data.
    out.push(u8::try_from(data.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(data);
    if le {
        out.push(0x00);
    }
    out
}

pub(crate) fn select(card: &mut dyn CardChannel, name: &[u8], next: bool) -> Result<Reply, ChannelError> {
    exchange(card, &command([0x00, 0xA4, 0x04, if next { 0x02 } else { 0x00 }], name, true))
}

pub(crate) fn read_record(card: &mut dyn CardChannel, sfi: u8, number: u8) -> Result<Reply, ChannelError> {
    exchange(card, &[0x00, 0xB2, number, (sfi << 3) | 0x04, 0x00])
}

pub(crate) fn processing_options(card: &mut dyn CardChannel, data: &[u8]) -> Result<Reply, ChannelError> {
    let mut body = Vec::with_capacity(data.len() + 3);
    iso8583::tlv::write(&mut body, 0x83, data);
    exchange(card, &command([0x80, 0xA8, 0x00, 0x00], &body, true))
}

pub(crate) fn internal_authenticate(card: &mut dyn CardChannel, data: &[u8]) -> Result<Reply, ChannelError> {
    exchange(card, &command([0x00, 0x88, 0x00, 0x00], data, true))
}

pub(crate) fn external_authenticate(card: &mut dyn CardChannel, data: &[u8]) -> Result<Reply, ChannelError> {
    exchange(card, &command([0x00, 0x82, 0x00, 0x00], data, false))
}

pub(crate) fn get_data(card: &mut dyn CardChannel, tag: u16) -> Result<Reply, ChannelError> {
    let [high, low] = tag.to_be_bytes();
    exchange(card, &[0x80, 0xCA, high, low, 0x00])
}

pub(crate) fn generate_ac(card: &mut dyn CardChannel, p1: u8, data: &[u8]) -> Result<Reply, ChannelError> {
    exchange(card, &command([0x80, 0xAE, p1, 0x00], data, true))
}

pub(crate) fn verify(card: &mut dyn CardChannel, block: &[u8; 8]) -> Result<Reply, ChannelError> {
    let body = Zeroizing::new(command([0x00, 0x20, 0x00, 0x80], block, false));
    exchange(card, &body)
}
