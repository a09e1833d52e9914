//! The records of `__consumer_offsets`: a key of type and fields, a value of version and fields.
//!
//! A record without value, a tombstone, takes back what the earlier records with its key said.

use bytes::Bytes;
use ottla_protocol::messages;
use ottla_protocol::{DecodeError, KafkaString, Message, Reader};

use crate::Error;
use crate::numbered::numbered;

/// The version that keys are written in; there is no other.
const KEY_VERSION: i16 = 0;

macro_rules! records {
    ($($record_type:literal $name:ident $key:ident $value:ident $group:ident;)*) => {
        /// What a record is about.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum RecordKey {
            $(
                #[doc = concat!("Record type ", stringify!($record_type), ".")]
                $name(messages::$key),
            )*
        }

        /// What a record says.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum RecordValue {
            $(
                #[doc = concat!("Record type ", stringify!($record_type), ".")]
                $name(Box<messages::$value>),
            )*
        }

        impl RecordKey {
            /// The type in front of the key.
            #[must_use]
            pub fn record_type(&self) -> i16 {
                match self {
                    $(Self::$name(_) => $record_type,)*
                }
            }

            /// Kafka's name of the record type.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }

            /// The group that the record is about.
            #[must_use]
            pub fn group_id(&self) -> &KafkaString {
                match self {
                    $(Self::$name(key) => &key.$group,)*
                }
            }

            /// The key's bytes.
            ///
            /// # Errors
            /// If a field is longer than its length can say.
            pub fn encode(&self) -> Result<Bytes, Error> {
                match self {
                    $(Self::$name(key) => numbered(self.record_type(), key, KEY_VERSION),)*
                }
            }

            /// The key that the bytes hold.
            ///
            /// # Errors
            /// If the type is unknown or the bytes are not a key of that type.
            pub fn decode(bytes: Bytes) -> Result<Self, Error> {
                let mut reader = Reader::new(bytes);
                let record_type = reader
                    .read_i16()
                    .map_err(|source| Error::Malformed { part: "key", record_type: -1, source })?;
                match record_type {
                    $($record_type => messages::$key::decode(&mut reader, KEY_VERSION)
                        .map(Self::$name)
                        .map_err(|source| Error::Malformed { part: "key", record_type, source }),)*
                    _ => Err(Error::UnknownRecordType { record_type }),
                }
            }
        }

        impl RecordValue {
            fn encode_at(&self, version: i16) -> Result<Bytes, Error> {
                match self {
                    $(Self::$name(value) => numbered(version, value.as_ref(), version),)*
                }
            }

            fn decode_at(
                record_type: i16,
                reader: &mut Reader,
                version: i16,
            ) -> Result<Option<Self>, DecodeError> {
                Ok(match record_type {
                    $($record_type => {
                        Some(Self::$name(Box::new(messages::$value::decode(reader, version)?)))
                    })*
                    _ => None,
                })
            }
        }
    };
}

records! {
    0 LegacyOffsetCommit LegacyOffsetCommitKey LegacyOffsetCommitValue group;
    1 OffsetCommit OffsetCommitKey OffsetCommitValue group;
    2 GroupMetadata GroupMetadataKey GroupMetadataValue group;
    3 ConsumerGroupMetadata ConsumerGroupMetadataKey ConsumerGroupMetadataValue group_id;
    4 ConsumerGroupPartitionMetadata ConsumerGroupPartitionMetadataKey ConsumerGroupPartitionMetadataValue group_id;
    5 ConsumerGroupMemberMetadata ConsumerGroupMemberMetadataKey ConsumerGroupMemberMetadataValue group_id;
    6 ConsumerGroupTargetAssignmentMetadata ConsumerGroupTargetAssignmentMetadataKey ConsumerGroupTargetAssignmentMetadataValue group_id;
    7 ConsumerGroupTargetAssignmentMember ConsumerGroupTargetAssignmentMemberKey ConsumerGroupTargetAssignmentMemberValue group_id;
    8 ConsumerGroupCurrentMemberAssignment ConsumerGroupCurrentMemberAssignmentKey ConsumerGroupCurrentMemberAssignmentValue group_id;
    10 ShareGroupMemberMetadata ShareGroupMemberMetadataKey ShareGroupMemberMetadataValue group_id;
    11 ShareGroupMetadata ShareGroupMetadataKey ShareGroupMetadataValue group_id;
    12 ShareGroupTargetAssignmentMetadata ShareGroupTargetAssignmentMetadataKey ShareGroupTargetAssignmentMetadataValue group_id;
    13 ShareGroupTargetAssignmentMember ShareGroupTargetAssignmentMemberKey ShareGroupTargetAssignmentMemberValue group_id;
    14 ShareGroupCurrentMemberAssignment ShareGroupCurrentMemberAssignmentKey ShareGroupCurrentMemberAssignmentValue group_id;
    15 ShareGroupStatePartitionMetadata ShareGroupStatePartitionMetadataKey ShareGroupStatePartitionMetadataValue group_id;
    16 ConsumerGroupRegularExpression ConsumerGroupRegularExpressionKey ConsumerGroupRegularExpressionValue group_id;
    17 StreamsGroupMetadata StreamsGroupMetadataKey StreamsGroupMetadataValue group_id;
    19 StreamsGroupMemberMetadata StreamsGroupMemberMetadataKey StreamsGroupMemberMetadataValue group_id;
    20 StreamsGroupTargetAssignmentMetadata StreamsGroupTargetAssignmentMetadataKey StreamsGroupTargetAssignmentMetadataValue group_id;
    21 StreamsGroupTargetAssignmentMember StreamsGroupTargetAssignmentMemberKey StreamsGroupTargetAssignmentMemberValue group_id;
    22 StreamsGroupCurrentMemberAssignment StreamsGroupCurrentMemberAssignmentKey StreamsGroupCurrentMemberAssignmentValue group_id;
    23 StreamsGroupTopology StreamsGroupTopologyKey StreamsGroupTopologyValue group_id;
}

/// A record as a coordinator decides and replays it.
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinatorRecord {
    /// What the record is about.
    pub key: RecordKey,
    /// What it says, and the version that this is written in; none in a tombstone.
    pub value: Option<VersionedValue>,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionedValue {
    /// The version in front of the value.
    pub version: i16,
    /// The value.
    pub value: RecordValue,
}

impl CoordinatorRecord {
    /// A record with a value.
    #[must_use]
    pub fn new(key: RecordKey, value: RecordValue, version: i16) -> Self {
        Self {
            key,
            value: Some(VersionedValue { version, value }),
        }
    }

    /// A record that takes back what stood under the key.
    #[must_use]
    pub fn tombstone(key: RecordKey) -> Self {
        Self { key, value: None }
    }

    /// Key and value as bytes of a log record.
    ///
    /// # Errors
    /// If a field is longer than its length can say, or the version lacks a field that has a value.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), Error> {
        let value = self.value.as_ref();
        let value = value.map(|VersionedValue { version, value }| value.encode_at(*version));
        Ok((self.key.encode()?, value.transpose()?))
    }

    /// The record that key and value of a log record hold.
    ///
    /// # Errors
    /// If there is no key, its type is unknown, or the bytes are not what the type says.
    pub fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<Self, Error> {
        let key = RecordKey::decode(key.ok_or(Error::MissingKey)?)?;
        let Some(bytes) = value else {
            return Ok(Self::tombstone(key));
        };
        let record_type = key.record_type();
        let mut reader = Reader::new(bytes);
        let value = reader
            .read_i16()
            .and_then(|version| {
                let value = RecordValue::decode_at(record_type, &mut reader, version)?;
                Ok(value.map(|value| VersionedValue { version, value }))
            })
            .map_err(|source| Error::Malformed {
                part: "value",
                record_type,
                source,
            })?;
        Ok(Self { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bytes: &'static [u8]) -> Option<Bytes> {
        Some(Bytes::from_static(bytes))
    }

    #[test]
    fn a_record_of_unknown_type_or_without_key_is_named() {
        assert_eq!(
            CoordinatorRecord::decode(key(b"\0\x63\0\x01g"), None),
            Err(Error::UnknownRecordType { record_type: 99 })
        );
        // Types 9 and 18 were never released.
        for record_type in [9_u8, 18] {
            let bytes = Bytes::copy_from_slice(&[0, record_type, 0, 1, b'g']);
            assert!(CoordinatorRecord::decode(Some(bytes), None).is_err());
        }
        assert_eq!(
            CoordinatorRecord::decode(None, None),
            Err(Error::MissingKey)
        );
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\0\x02",
            b"\0\x02\0\x05abc",
            b"\0\x02\xff\xff",
        ] {
            let bytes = Bytes::copy_from_slice(bytes);
            let decoded = CoordinatorRecord::decode(Some(bytes), None);
            assert!(matches!(decoded, Err(Error::Malformed { part: "key", .. })));
        }
        // A value of a version that there is not, and one that ends early.
        for value in [&b"\0\x63"[..], b"\0\x04\0\0"] {
            let decoded = CoordinatorRecord::decode(
                key(b"\0\x01\0\x01g\0\x01t\0\0\0\0"),
                Some(Bytes::copy_from_slice(value)),
            );
            assert!(matches!(
                decoded,
                Err(Error::Malformed {
                    part: "value",
                    record_type: 1,
                    ..
                })
            ));
        }
    }

    #[test]
    fn a_tombstone_has_a_key_only() {
        let decoded = CoordinatorRecord::decode(key(b"\0\x02\0\x05group"), None).unwrap();
        assert_eq!(decoded.key.group_id(), "group");
        assert_eq!(decoded.key.name(), "GroupMetadata");
        let (key, value) = decoded.encode().unwrap();
        assert_eq!(&key[..], b"\0\x02\0\x05group");
        assert_eq!(value, None);
    }
}
