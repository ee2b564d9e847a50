//! The repository reads itself: the rules of the house that no compiler checks, each with its reason.
//!
//! A rule that is only written down is forgotten in a year. Here each one is a test that walks the checkout
//! and names file, line and reason when something breaks it. What is forbidden is spelled in pieces, so that
//! these files do not break their own rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod arrows;
mod checkout;
mod commands;
mod documents;
mod guarantees;
mod sources;
mod words;
