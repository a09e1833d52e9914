//! The binary as its users call it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod migrate;
mod start;
mod storage;
