//! Every message of the protocol, generated from `schema/`: requests, responses, headers, the
//! records of metadata, coordinators and tiered storage, and what travels inside other messages.
//!
//! Each has a module of its own, which also holds the structures within it, since their names
//! repeat from message to message. Fields hold the wire's primitives under Kafka's names.

#![allow(
    clippy::field_reassign_with_default,
    clippy::redundant_closure,
    clippy::redundant_closure_for_method_calls,
    clippy::too_many_lines,
    unused_variables,
    unused_mut,
    reason = "generated code has one shape, whether or not a structure needs all of it"
)]

#[cfg(any(test, feature = "testing"))]
pub mod every;
mod prelude;
#[cfg(any(test, feature = "testing"))]
pub mod random;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod vectors;

use crate::api_key::ApiKey;
use crate::codec::Message;

/// A message that a client sends.
pub trait Request: Message {
    /// What it asks for.
    const API_KEY: ApiKey;
    /// The message that answers it.
    type Response: Response;
}

/// A message that answers a request.
pub trait Response: Message {
    /// What the request asked for.
    const API_KEY: ApiKey;

    /// Shows every error code in the message to `visit`, `NONE` included.
    fn visit_error_codes(&self, _visit: &mut dyn FnMut(i16)) {}
}

/// A message that is stored in a log, told from others there by its type.
pub trait Record: Message {
    /// The type: of a metadata record, or of a coordinator's key with its value.
    const RECORD_TYPE: i16;
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
