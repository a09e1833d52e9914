//! Every message behind one type, for tests that go through all of them.

use bytes::Bytes;

use super::random::{Random, RandomMessage};
use crate::codec::{DecodeError, EncodeError, VersionRange};

/// What a test does with a message without knowing its type.
#[derive(Clone, Copy, Debug)]
pub struct AnyMessage {
    /// Kafka's name of the message.
    pub name: &'static str,
    /// The versions it has.
    pub versions: VersionRange,
    /// Reads the message and writes it again.
    pub recode: fn(Bytes, i16) -> Result<Bytes, RecodeError>,
    /// Reads the message in the first version and writes it in the second.
    pub cross: fn(Bytes, i16, i16) -> Result<Bytes, RecodeError>,
    /// The bytes of a random message.
    pub random: fn(&mut Random, i16) -> Result<Bytes, EncodeError>,
}

/// The bytes are no message, or the message could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecodeError {
    /// The bytes are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The message could not be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl AnyMessage {
    fn of<M: RandomMessage>() -> Self {
        Self {
            name: M::NAME,
            versions: M::VALID_VERSIONS,
            recode: |bytes, version| Ok(M::from_bytes(bytes, version)?.to_bytes(version)?),
            cross: |bytes, from, to| Ok(M::from_bytes(bytes, from)?.to_bytes(to)?),
            random: |random, version| M::random(random, version).to_bytes(version),
        }
    }
}

/// Every message, in the order of their names.
#[must_use]
pub fn every_message() -> Vec<AnyMessage> {
    use super::*;
    macro_rules! list {
        ($($name:ident,)*) => { vec![$(AnyMessage::of::<$name>(),)*] };
    }
    for_each_message!(list)
}
