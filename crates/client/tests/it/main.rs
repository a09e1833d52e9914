//! The clients' machines against a node in the same thread, under a virtual clock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets what it does not expect fails"
)]

mod groups;
mod produce_consume;
mod world;
