//! The doors out: one module per payment network behind the channel trait
