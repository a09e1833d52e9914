//! The crate from outside.

mod allocation;
mod records;
