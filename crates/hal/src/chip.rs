//! The kernel of chip payments as a device, and a card in a reader as the kernel sees it.

use kernel::{CardChannel, ChannelError, Kernel};

use crate::card::{IccReader, RfReader};
use crate::{Call, ErrorKind, HalError, Result};

/// Gives chip kernels (EMV): the maker's approved one on a terminal, ours in laboratories.
pub trait KernelProvider: Send + Sync {
    /// Name and version, and the approval it has, for slips and registers.
    fn describe(&self) -> String;

    /// A fresh kernel without parameters.
    ///
    /// # Errors
    /// [`ErrorKind::KernelError`].
    fn kernel(&self) -> Result<Box<dyn Kernel>>;

    /// Whether its kernels reach the card by themselves, in a reader of their own (MPOS). Then the app neither powers the
    /// card nor gives the kernel a way to it.
    fn reaches_card(&self) -> bool {
        false
    }
}

/// A card in the slot, as a kernel talks to it.
pub struct InSlot<'a> {
    /// The reader; the card is powered.
    pub reader: &'a dyn IccReader,
    /// Ends the talk.
    pub call: &'a Call,
}

/// A card in the field, as a kernel talks to it.
pub struct InField<'a> {
    /// The reader; the card is active.
    pub reader: &'a dyn RfReader,
    /// Ends the talk.
    pub call: &'a Call,
}

impl CardChannel for InSlot<'_> {
    fn transmit(&mut self, apdu: &[u8]) -> std::result::Result<Vec<u8>, ChannelError> {
        self.reader.transmit(apdu, self.call).map_err(|error| channel_error(&error))
    }
}

impl CardChannel for InField<'_> {
    fn transmit(&mut self, apdu: &[u8]) -> std::result::Result<Vec<u8>, ChannelError> {
        self.reader.transmit(apdu, self.call).map_err(|error| channel_error(&error))
    }
}

fn channel_error(error: &HalError) -> ChannelError {
    match error.kind {
        ErrorKind::CardRemoved | ErrorKind::NoCard => ChannelError::Removed,
        ErrorKind::CardMute => ChannelError::Mute,
        _ => ChannelError::Comm,
    }
}
