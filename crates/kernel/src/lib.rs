//! The EMV kernel of the terminal: contact chip and quickPass behind one resumable trait.
//!
//! **Not certified.** A real terminal uses its maker's approved kernel behind the same [`Kernel`] trait; this one is for
//! the laboratory and the browser terminal. What no public text fixes (bits of the card verification results, the
//! input of fDDA, script rules) is modelled, and kept in one place each.
//!
//! The kernel is a state machine that never waits for people or networks. The caller gives it a payment and a card
//! ([`CardChannel`]), gets a [`Step`], does what it says and comes back with an [`Answer`]. Time, random numbers and
//! amounts are parameters, so a payment runs the same on a device, in a browser and in a test.
//!
//! ```text
//! start ─▶ SelectApp ─▶ NeedPin ─▶ OnlineRequired ─▶ Approved | Declined
//!             (each may be left out)          └─ or Fallback, TryOther, Terminated
//! ```
//!
//! Where to look: [`step`] for what goes in and out, [`params`] for the downloaded tables, [`decide`] for the table of
//! outcomes, [`fallback`] for when a swipe is allowed, [`field55`] for what goes into which message.

mod apdu;
mod channel;
mod contact;
mod cvm;
mod data;
pub mod decide;
mod engine;
pub mod fallback;
pub mod field55;
mod oda;
mod online;
pub mod params;
mod risk;
mod select;
pub mod step;
mod switches;
mod tap;
mod trans;

pub use iso8583::CardNumber;

pub use channel::{CardChannel, ChannelError, MuteCard, NoCard};
pub use engine::EmvKernel;
pub use params::{KernelParams, Loaded, ParamError, QuickPass, Revoked, TerminalData};
pub use step::{
    AbortReason, Answer, BypassRule, Candidate, ChipData, Cvm, Entry, EntryMode, FollowUp, Interface, Other,
    PinState, Reason, Step, StepKind, TransParams, Upload,
};

use zeroize::Zeroizing;

/// An EMV kernel: ours, a terminal maker's, or a remote reader's.
pub trait Kernel: Send {
    /// Takes a new set of parameters. When any record is bad the old set stays.
    ///
    /// # Errors
    /// One entry for each bad record.
    fn load(&mut self, params: &KernelParams) -> Result<Loaded, Vec<ParamError>>;

    /// Begins a payment with a powered card.
    fn start(&mut self, params: TransParams, card: &mut dyn CardChannel) -> Step;

    /// Goes on after a step. An answer that does not fit leaves everything as it is and comes back with
    /// [`Reason::OutOfOrder`].
    fn resume(&mut self, answer: Answer, card: &mut dyn CardChannel) -> Step;

    /// Breaks off. The step says whether a reversal is due.
    fn abort(&mut self, reason: AbortReason) -> Step;

    /// A data object of the present payment, of the card or the terminal.
    fn get_tlv(&self, tag: u32) -> Option<Zeroizing<Vec<u8>>>;

    /// Every data object known, one a line, without the number, track, name and discretionary data of the holder.
    fn dump(&self) -> String;

    /// What slip and messages need; from [`StepKind::NeedPin`] on.
    fn chip_data(&self) -> Option<ChipData>;
}
