//! The posp binary: serve, demonstrate, inspect.
fn main() {}
