//! The clients on tokio: sockets, a clock, and waiting.
//!
//! Each client is a machine of [`crate::core`] behind a mutex that is never held across an await,
//! and one task that carries its outputs to sockets and what comes from them back.

mod admin;
mod connection;
mod consumer;
mod driver;
mod producer;
mod share_consumer;

pub use admin::Admin;
pub use consumer::Consumer;
pub use producer::{Delivery, Producer, ProducerRecord};
pub use share_consumer::ShareConsumer;

/// A seed from the operating system's randomness, by way of std's hasher keys.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
