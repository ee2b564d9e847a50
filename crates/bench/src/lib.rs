//! Load on a node, and figures that can be believed.
//!
//! Many terminals speak to one node over TCP. Payments arrive by a schedule that does not wait for answers (open
//! loop), and a latency is counted from when the payment *should* have left, so that a node that stalls cannot hide
//! it by slowing the load down. Every request carries a MAC and a PIN block under the terminal's own keys, every
//! answer's MAC is verified, and in the end each terminal settles its batch: what the terminals were told must be
//! what the journal holds.
//!
//! ```text
//! schedule ──▶ free terminal ──▶ frame ──▶ node ──▶ answer ──▶ judged ──▶ histogram
//!     └── no terminal free: the payment waits, and its waiting counts
//! ```
//!
//! The terminals are written from the specification, on `iso8583` and `hsm` alone. All of them live in one thread:
//! the generator must cost little beside what it measures.

pub mod bare;
pub mod chart;
pub mod idle;
pub mod mix;
pub mod process;
pub mod report;
pub mod run;
pub mod tally;
pub mod terminal;
