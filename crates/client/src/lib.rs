//! Kafka clients: a pure core and a thin shell.
//!
//! [`core`] holds the machines: connections and metadata ([`core::Cluster`]), the batching
//! idempotent producer, the consumer with its group. They know no socket, clock, thread or chance:
//! time and randomness are arguments, so that tests run them under a virtual clock. [`net`] puts
//! them on tokio and is what users take: [`Producer`], [`Consumer`],
//! [`ShareConsumer`], [`Admin`].
//!
//! This crate knows nothing of the broker; its tests do.

pub mod core;
mod error;
pub mod java_order;
pub mod net;
pub mod settings;

pub use core::consumer::{ConsumerRecord, TopicPartition};
pub use error::Error;
pub use net::{Admin, Consumer, Delivery, Producer, ProducerRecord, ShareConsumer};
pub use settings::Settings;
