//! The way to the card: one command out, one answer back.

/// Why there is no answer from a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The card left the slot or the field.
    #[error("the card was removed")]
    Removed,
    /// The card is there and does not answer.
    #[error("the card does not answer")]
    Mute,
    /// The answer was garbled, or the reader failed.
    #[error("communication with the card failed")]
    Comm,
}

/// A powered card. What the transport layer does (61xx, 6Cxx, protocol T=0 or T=1) is done below this.
pub trait CardChannel {
    /// Sends one command and returns data and status word.
    ///
    /// # Errors
    /// See [`ChannelError`].
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError>;
}

impl<T: CardChannel + ?Sized> CardChannel for &mut T {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        (**self).transmit(apdu)
    }
}

impl<T: CardChannel + ?Sized> CardChannel for Box<T> {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        (**self).transmit(apdu)
    }
}

/// No card: for the steps that need none (the answer of the host to a tapped card that has left).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCard;

impl CardChannel for NoCard {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        Err(ChannelError::Removed)
    }
}

/// A chip that gave no answer to reset: start a payment with it to have the failed try counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MuteCard;

impl CardChannel for MuteCard {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, ChannelError> {
        Err(ChannelError::Mute)
    }
}
