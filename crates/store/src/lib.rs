//! Persistence by domain operations: the only crate that knows SQL
