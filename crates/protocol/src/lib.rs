//! Kafka's words on the wire: primitives, messages, record batches, compression and error codes.
//!
//! | module | holds |
//! |---|---|
//! | [`codec`] | [`Reader`](codec::Reader) and [`Writer`](codec::Writer) of primitives, the [`Message`] trait |
//! | [`ids`] | newtypes of the numbers that name things: offsets, epochs, ids |
//! | [`string`], [`uuid`] | [`KafkaString`], which shares its frame's buffer, and [`Uuid`] |
//! | [`record`], [`compression`] | record batches and what compresses them |
//! | [`messages`] | every message, generated from `schema/` |
//! | [`api_key`] | [`ApiKey`], all APIs with their versions and listeners |
//! | [`frame`] | requests and responses with their headers and sizes |
//! | [`error_code`] | [`ErrorCode`], all error codes of the protocol |
//!
//! This crate knows no clock, socket, file or thread, and nothing of what a message does.

#![forbid(unsafe_code)]

pub mod api_key;
pub mod codec;
pub mod compression;
pub mod error_code;
pub mod frame;
pub mod ids;
pub mod messages;
pub mod record;
pub mod string;
pub mod uuid;

pub use api_key::ApiKey;
pub use codec::{DecodeError, EncodeError, Message, Reader, VersionRange, Writer};
pub use error_code::ErrorCode;
pub use string::KafkaString;
pub use uuid::Uuid;
