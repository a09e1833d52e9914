//! What consumers of the classic protocol tell each other through JoinGroup and SyncGroup.
//!
//! To the classic protocol these are bytes of no meaning. The coordinator reads them to know what a
//! group's members subscribe to, and speaks them with members of the classic protocol in a group of
//! the consumer protocol.

use bytes::Bytes;
use ottla_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use ottla_protocol::{Message, Reader, Writer};

/// The protocol type of consumers.
pub(super) const PROTOCOL_TYPE: &str = "consumer";

/// A consumer's subscription; a version from the future is read as the last one known.
pub(super) fn read_subscription(metadata: Bytes) -> Option<ConsumerProtocolSubscription> {
    read(metadata)
}

/// A consumer's assignment, likewise.
pub(super) fn read_assignment(assignment: Bytes) -> Option<ConsumerProtocolAssignment> {
    read(assignment)
}

fn read<M: Message>(bytes: Bytes) -> Option<M> {
    let mut reader = Reader::new(bytes);
    let version = reader.read_i16().ok()?;
    let known = M::VALID_VERSIONS;
    if version < known.min {
        return None;
    }
    M::decode(&mut reader, version.min(known.max)).ok()
}

/// The version in front of a subscription.
pub(super) fn version_of(metadata: &Bytes) -> Option<i16> {
    Reader::new(metadata.clone()).read_i16().ok()
}

/// The bytes of an assignment, in that version or the last one known.
pub(super) fn write_assignment(assignment: &ConsumerProtocolAssignment, version: i16) -> Bytes {
    let known = ConsumerProtocolAssignment::VALID_VERSIONS;
    let version = version.clamp(known.min, known.max);
    let mut writer = Writer::new();
    writer.write_i16(version);
    match assignment.encode(&mut writer, version) {
        Ok(()) => writer.into_bytes(),
        // A topic's name or a list is longer than a length can say: there is none such.
        Err(_) => Bytes::new(),
    }
}
