//! The crate from outside.

mod allocation;
mod corpus;
mod records;
