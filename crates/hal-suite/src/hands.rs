//! What moves cards, paper and keys during a run.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::{Mutex, PoisonError};

/// Why a deed or a check cannot be done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cannot(String);

impl Cannot {
    /// With a reason that stands in the report.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Cannot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that is done to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Put a chip card with a payment system environment into the slot.
    InsertCard,
    /// Take it out. Nothing happens when it is out.
    RemoveCard,
    /// Swipe a card with track 2. The reader is waiting.
    Swipe,
    /// Hold one card to the antenna.
    Tap,
    /// Hold two cards to the antenna at once.
    TapTwo,
    /// Take all cards away from the antenna.
    Untap,
    /// Take the paper out.
    PaperOut,
    /// Put a new roll in and close the cover.
    PaperIn,
    /// See to it that the paper ends after a few lines of the next slip.
    PaperEndsSoon,
    /// Heat the print head until it refuses.
    Heat,
    /// Let it cool.
    Cool,
    /// Type these digits on the PIN pad, without confirming. The pad is waiting.
    Type(&'static str),
    /// Press clear on the PIN pad.
    Clear,
    /// Press confirm on the PIN pad.
    Confirm,
    /// Press cancel on the PIN pad.
    Cancel,
    /// Hold a code before the scanner.
    ShowCode,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InsertCard => "put the chip card into the slot",
            Self::RemoveCard => "take the card out of the slot",
            Self::Swipe => "swipe the card",
            Self::Tap => "hold one card to the antenna",
            Self::TapTwo => "hold two cards to the antenna at once",
            Self::Untap => "take the cards away from the antenna",
            Self::PaperOut => "take the paper out",
            Self::PaperIn => "put a new roll in and close the cover",
            Self::PaperEndsSoon => "put in a roll that ends after about two centimetres",
            Self::Heat => "heat the print head until it refuses",
            Self::Cool => "let the print head cool",
            Self::Type(digits) => return write!(f, "type {digits} on the PIN pad, do not confirm"),
            Self::Clear => "press clear on the PIN pad",
            Self::Confirm => "press confirm on the PIN pad",
            Self::Cancel => "press cancel on the PIN pad",
            Self::ShowCode => "hold a code before the scanner",
        })
    }
}

/// Does deeds.
pub trait Hands: Sync {
    /// Does it, and comes back when it is done.
    ///
    /// # Errors
    /// Why it cannot be done: the check is skipped with this reason.
    fn do_it(&self, deed: Deed) -> Result<(), Cannot>;
}

/// A person who is asked line by line and answers with return, or with a reason why not.
pub struct Person<R, W>(Mutex<(R, W)>);

impl<R: BufRead + Send, W: Write + Send> Person<R, W> {
    /// Asked on `output`, answering on `input`.
    pub const fn new(input: R, output: W) -> Self {
        Self(Mutex::new((input, output)))
    }
}

impl<R: BufRead + Send, W: Write + Send> Hands for Person<R, W> {
    fn do_it(&self, deed: Deed) -> Result<(), Cannot> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = &mut *ends;
        let gone = |_| Cannot::new("nobody is there");
        write!(output, "Please {deed}, then press return (or type why not): ").map_err(gone)?;
        output.flush().map_err(gone)?;
        let mut answer = String::new();
        if input.read_line(&mut answer).map_err(gone)? == 0 {
            return Err(Cannot::new("nobody is there"));
        }
        let answer = answer.trim();
        if answer.is_empty() { Ok(()) } else { Err(Cannot::new(answer)) }
    }
}
