//! The acquiring app (收单应用): the one app of a smart POS that takes payments, for its cashier and for every other app.
//!
//! - [`flow`] is what happens at the counter, as a pure state machine: questions, card, kernel, PIN, host, reversal,
//!   slips. It says what to show and what to do.
//! - [`view`] is what is shown, as data without language.
//! - [`operators`] is who may do what.
//! - [`shell`] does what the flow says: devices through [`hal`], the host through [`pos::Terminal`], the order under way
//!   in a sealed file, so that a terminal that loses power at any step goes on where it must.
//!
//! - [`door`] lets other apps pay: `pay.v1` in, an order at the counter, one result out.
//!
//! The protocol with the host (journal, reversals, batch) is crate [`pos`]'s; keys are in the device's slots, see
//! [`keys`].

pub mod chip;
pub mod door;
mod faults;
pub mod flow;
mod host;
pub mod keys;
pub mod operators;
pub mod panel;
pub mod shell;
mod signature;
pub mod slate;
pub mod view;

pub use signature::SignatureForm;
