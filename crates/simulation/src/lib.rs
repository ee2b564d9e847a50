//! A seeded world: the real engine, store, door and line, a network with its issuers, and terminals, all on virtual
//! time in one thread. A seed is a test case; the same seed gives the same world to the last step.
//!
//! ```text
//! terminal ─▶ door ─▶ node: pos-link · engine · store · unionpay_card ─▶ wire ─▶ network (sim's desk)
//!    model      ╲           │ real code          │                      ╱        real code, pure
//!                ╲     writer as a task      bytes in memory           ╱
//!                 lost, late, doubled     commits fail, nodes die    lost, late, doubled, hanging, dropped
//! ```
//!
//! - [`weather`] says what goes wrong in a world and how often, [`random`] is the only source of chance, [`clock`]
//!   the only time.
//! - [`node`] starts nodes and lets them die. A dead node is frozen, not unwound: a killed process runs no destructor.
//!   Everything it does from then on ends at its three ways out (disk, wire, door), which let nothing through.
//! - [`network`] carries frames between a node's line and the desk of the simulated network; [`door`] carries them
//!   between terminals and a node; [`terminal`] keeps the rules of a terminal.
//! - [`guarantees`] look at every commit, every message that leaves and every answer that is told, and at the end at
//!   the books of all three sides. What they find ends the world with its seed, step and history.
//! - [`sabotage`] breaks a rule on purpose, at the seams: a guarantee that does not notice is worth nothing.
//!
//! `cargo run --release -p simulation -- --seeds 0..1000`, and to look at one: `-- --seed 17 --trace`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// A harness that stops at its first surprise is what we want; nothing of this crate is in the product.

pub mod clock;
pub mod door;
pub mod guarantees;
pub mod network;
pub mod node;
pub mod panics;
pub mod random;
pub mod sabotage;
pub mod terminal;
pub mod weather;
pub mod wire;
pub mod world;

pub use guarantees::Guarantee;
pub use sabotage::Sabotage;
pub use world::{Options, Report, Violation, run};
