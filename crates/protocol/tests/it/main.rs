//! The crate from outside.

mod allocation;
