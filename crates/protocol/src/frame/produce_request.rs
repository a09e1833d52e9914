//! A produce request whose records stay where they are.
//!
//! A broker checks records and gives them their offsets in the buffer that the request was read
//! into. So this view borrows nothing of that buffer: it has copies of the names, which are short,
//! and positions of the records.

use std::ops::Range;

use crate::Uuid;
use crate::codec::{DecodeError, Message, STRING_LENGTH_MAX};
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
    /// Where the records are, in bytes from the start of the body; `None` for null.
    pub records: Option<Range<usize>>,
}

impl ProduceRequestView {
    /// Reads a request of `version` from `body`, which begins after the request's header.
    pub fn parse(body: &[u8], version: i16) -> Result<Self, DecodeError> {
        if !ProduceRequest::VALID_VERSIONS.contains(version) {
            let message = ProduceRequest::NAME;
            return Err(DecodeError::UnsupportedVersion { message, version });
        }
        let flexible = ProduceRequest::is_flexible(version);
        let mut reader = BodyReader {
            body,
            position: 0,
            flexible,
        };
        let transactional_id = reader.string()?;
        let acks = i16::from_be_bytes(reader.array()?);
        let timeout_ms = reader.i32()?;
        let topics = reader.list("ProduceRequest.TopicData", |reader| reader.topic(version))?;
        reader.tagged_fields()?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

/// Reads a body without taking a part of it.
struct BodyReader<'a> {
    body: &'a [u8],
    position: usize,
    flexible: bool,
}

impl<'a> BodyReader<'a> {
    fn topic(&mut self, version: i16) -> Result<TopicView, DecodeError> {
        let (mut name, mut topic_id) = (KafkaString::default(), Uuid::ZERO);
        if version <= 12 {
            let field = "TopicProduceData.Name";
            name = self
                .string()?
                .ok_or(DecodeError::UnexpectedNull { field })?;
        } else {
            topic_id = Uuid(self.array()?);
        }
        let partitions = self.list("TopicProduceData.PartitionData", Self::partition)?;
        self.tagged_fields()?;
        Ok(TopicView {
            name,
            topic_id,
            partitions,
        })
    }

    fn partition(&mut self) -> Result<PartitionView, DecodeError> {
        let index = self.i32()?;
        let records = match self.length("records")? {
            Some(length) => {
                let start = self.position;
                self.take(length)?;
                Some(start..self.position)
            }
            None => None,
        };
        self.tagged_fields()?;
        Ok(PartitionView { index, records })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.body.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            return Err(DecodeError::UnexpectedEnd {
                needed: length,
                remaining: rest.len(),
            });
        };
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong { bytes_max: 5 })
    }

    /// The length of a list or of bytes, or null.
    fn length(&mut self, of: &'static str) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return self.compact_length(of);
        }
        Ok(usize::try_from(self.i32()?).ok())
    }

    /// A length that is one more than it stands for, 0 meaning null.
    fn compact_length(&mut self, of: &'static str) -> Result<Option<usize>, DecodeError> {
        let value = self.unsigned_varint()?;
        match i32::try_from(value) {
            Ok(value) => Ok(usize::try_from(value).unwrap_or_default().checked_sub(1)),
            Err(_) => Err(DecodeError::InvalidLength {
                of,
                length: i64::from(value) - 1,
            }),
        }
    }

    fn string(&mut self) -> Result<Option<KafkaString>, DecodeError> {
        let length = if self.flexible {
            self.compact_length("string")?
        } else {
            usize::try_from(i16::from_be_bytes(self.array()?)).ok()
        };
        let Some(length) = length else {
            return Ok(None);
        };
        if length > STRING_LENGTH_MAX {
            let length = i64::try_from(length).unwrap_or(i64::MAX);
            return Err(DecodeError::InvalidLength {
                of: "string",
                length,
            });
        }
        let string = String::from_utf8_lossy(self.take(length)?);
        Ok(Some(KafkaString::from(string.into_owned())))
    }

    fn list<T>(
        &mut self,
        field: &'static str,
        read: impl Fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let length = self
            .length("array")?
            .ok_or(DecodeError::UnexpectedNull { field })?;
        let remaining = self.body.len() - self.position;
        if length > remaining {
            return Err(DecodeError::UnexpectedEnd {
                needed: length,
                remaining,
            });
        }
        // Grown, not reserved: an element takes less on the wire than in memory.
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// Passes over tagged fields, of which a produce request has none that are known.
    fn tagged_fields(&mut self) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let size = self.unsigned_varint()?;
            self.take(usize::try_from(size).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
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
                let view = ProduceRequestView::parse(&frame, version);
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
                assert!(ProduceRequestView::parse(&cut, version).is_err());
            }
        }
    }
}
