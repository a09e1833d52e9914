//! A produce request whose records stay where they are.
//!
//! A broker checks records and gives them their offsets in the buffer that the request was read
//! into. So this view holds no part of that buffer, only positions in it, and leaves the buffer to
//! be taken back for writing.

use std::ops::Range;

use crate::Uuid;
use crate::codec::{DecodeError, Message, Reader};
use crate::messages::ProduceRequest;
use crate::string::KafkaString;

/// A produce request, with positions for its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequestView {
    /// The transactional id, if the producer has one.
    pub transactional_id: Option<KafkaString>,
    /// How many replicas must have the records: 0, 1, or -1 for all in sync.
    pub acks: i16,
    /// How long to wait for them.
    pub timeout_ms: i32,
    /// The topics.
    pub topics: Vec<TopicView>,
}

/// What a produce request has for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// The topic's name, up to version 12.
    pub name: KafkaString,
    /// The topic's id, from version 13 on.
    pub topic_id: Uuid,
    /// The partitions.
    pub partitions: Vec<PartitionView>,
}

/// What a produce request has for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The partition.
    pub index: i32,
    /// Where the records are, in bytes from where the reader began; `None` for null.
    pub records: Option<Range<usize>>,
}

impl ProduceRequestView {
    /// Reads a request of `version`. Positions count from where the reader began, so that they are
    /// positions in the frame if the reader began with it.
    pub fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !ProduceRequest::VALID_VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion {
                message: ProduceRequest::NAME,
                version,
            });
        }
        let flexible = ProduceRequest::is_flexible(version);
        let transactional_id = reader.read_string(flexible)?.as_ref().map(unshared);
        let acks = reader.read_i16()?;
        let timeout_ms = reader.read_i32()?;
        let topics = reader
            .read_array(flexible, |reader| TopicView::decode(reader, version))?
            .ok_or(DecodeError::UnexpectedNull {
                field: "ProduceRequest.TopicData",
            })?;
        if flexible {
            reader.read_unknown_tagged_fields()?;
        }
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

impl TopicView {
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        let flexible = ProduceRequest::is_flexible(version);
        let (mut name, mut topic_id) = (KafkaString::default(), Uuid::ZERO);
        if version <= 12 {
            let null = DecodeError::UnexpectedNull {
                field: "TopicProduceData.Name",
            };
            name = unshared(&reader.read_string(flexible)?.ok_or(null)?);
        } else {
            topic_id = reader.read_uuid()?;
        }
        let partitions = reader
            .read_array(flexible, |reader| PartitionView::decode(reader, flexible))?
            .ok_or(DecodeError::UnexpectedNull {
                field: "TopicProduceData.PartitionData",
            })?;
        if flexible {
            reader.read_unknown_tagged_fields()?;
        }
        Ok(Self {
            name,
            topic_id,
            partitions,
        })
    }
}

impl PartitionView {
    fn decode(reader: &mut Reader, flexible: bool) -> Result<Self, DecodeError> {
        let index = reader.read_i32()?;
        let records = reader.read_bytes(flexible)?.map(|records| {
            let end = reader.position();
            end - records.len()..end
        });
        if flexible {
            reader.read_unknown_tagged_fields()?;
        }
        Ok(Self { index, records })
    }
}

/// A copy, so that the frame's buffer is not kept from being taken back.
fn unshared(string: &KafkaString) -> KafkaString {
    KafkaString::from(string.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::random::{Random, RandomStructure};

    #[test]
    fn the_view_is_the_message() {
        let mut random = Random::new(3);
        for version in ProduceRequest::VALID_VERSIONS.iter() {
            for _ in 0..200 {
                let request = ProduceRequest::random(&mut random, version);
                let frame = request.to_bytes(version).unwrap();
                let view = ProduceRequestView::decode(&mut Reader::new(frame.clone()), version);
                let view = view.unwrap();
                assert_eq!(view.transactional_id, request.transactional_id);
                assert_eq!(
                    (view.acks, view.timeout_ms),
                    (request.acks, request.timeout_ms)
                );
                assert_eq!(view.topics.len(), request.topic_data.len());
                for (topic, expected) in view.topics.iter().zip(&request.topic_data) {
                    assert_eq!(
                        (&topic.name, topic.topic_id),
                        (&expected.name, expected.topic_id)
                    );
                    assert_eq!(topic.partitions.len(), expected.partition_data.len());
                    for (partition, expected) in
                        topic.partitions.iter().zip(&expected.partition_data)
                    {
                        assert_eq!(partition.index, expected.index);
                        let records = partition.records.clone().map(|range| frame.slice(range));
                        assert_eq!(records, expected.records);
                    }
                }
                assert!(frame.try_into_mut().is_ok(), "the view keeps the frame");
            }
        }
    }

    #[test]
    fn truncated_requests_are_errors() {
        let mut random = Random::new(4);
        for version in ProduceRequest::VALID_VERSIONS.iter() {
            let frame = ProduceRequest::random(&mut random, version)
                .to_bytes(version)
                .unwrap();
            for end in 0..frame.len() {
                let cut = frame.slice(..end);
                assert!(ProduceRequestView::decode(&mut Reader::new(cut), version).is_err());
            }
        }
    }
}
