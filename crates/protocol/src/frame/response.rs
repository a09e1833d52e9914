//! Responses as pieces: bytes that are in memory, and regions that are elsewhere.
//!
//! Records of a fetch response lie in files, and go from there to the socket without passing
//! through memory. So a response is a list of pieces, of which the regions are of a type that this
//! crate does not know.

mod share_fetch;

use bytes::Bytes;

pub use share_fetch::encode_share_fetch_response;

use super::SIZE_LENGTH;
use crate::ApiKey;
use crate::codec::{EncodeError, Message, Structure, Writer};
use crate::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData, SnapshotId,
};
use crate::messages::{FetchResponse, ResponseHeader};

/// Something of known length that stands for bytes.
pub trait RegionLength {
    /// How many bytes it stands for.
    fn region_length(&self) -> u64;
}

impl RegionLength for Bytes {
    fn region_length(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }
}

/// A part of a response.
#[derive(Clone, Debug)]
pub enum Piece<R> {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes elsewhere.
    Region(R),
}

/// A response with its size and header, in pieces.
#[derive(Clone, Debug)]
pub struct ResponseFrame<R> {
    pieces: Vec<Piece<R>>,
    length: u64,
}

impl<R> From<Bytes> for ResponseFrame<R> {
    /// A response of which all is in memory, its size included.
    fn from(frame: Bytes) -> Self {
        let length = frame.region_length();
        Self {
            pieces: vec![Piece::Bytes(frame)],
            length,
        }
    }
}

impl<R> ResponseFrame<R> {
    /// The bytes of the frame, with those of its size.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece<R>] {
        &self.pieces
    }

    /// The pieces, in order.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Piece<R>> {
        self.pieces
    }
}

/// A fetch response with its records in regions.
///
/// `regions` holds those of each partition, in the order of the message. Where it holds none, the
/// records are those of the message; null is written as no bytes, since null breaks clients.
pub fn encode_fetch_response<R: RegionLength>(
    response: &FetchResponse,
    regions: Vec<Vec<R>>,
    version: i16,
    correlation_id: i32,
) -> Result<ResponseFrame<R>, EncodeError> {
    if !FetchResponse::VALID_VERSIONS.contains(version) {
        return Err(EncodeError::UnsupportedVersion {
            message: FetchResponse::NAME,
            version,
        });
    }
    let mut writer = Writer::new();
    writer.write_i32(0);
    let header = ResponseHeader {
        correlation_id,
        ..ResponseHeader::default()
    };
    header.encode(&mut writer, ApiKey::Fetch.response_header_version(version))?;
    let mut encoder = FetchEncoder {
        writer,
        version,
        flexible: FetchResponse::is_flexible(version),
        regions: regions.into_iter(),
        cuts: Vec::new(),
    };
    encoder.response(response)?;
    encoder.finish()
}

struct FetchEncoder<R> {
    writer: Writer,
    version: i16,
    flexible: bool,
    /// The regions of the partitions that are still to come.
    regions: std::vec::IntoIter<Vec<R>>,
    /// Regions, and before which byte of the buffer they belong.
    cuts: Vec<(usize, Vec<R>)>,
}

impl<R: RegionLength> FetchEncoder<R> {
    fn response(&mut self, response: &FetchResponse) -> Result<(), EncodeError> {
        let FetchResponse {
            throttle_time_ms,
            error_code,
            session_id,
            responses,
            node_endpoints,
            unknown_tagged_fields,
        } = response;
        // All but the topics is left to the message's own code, whose bytes frame theirs.
        let frame = FetchResponse {
            throttle_time_ms: *throttle_time_ms,
            error_code: *error_code,
            session_id: *session_id,
            responses: Vec::new(),
            node_endpoints: node_endpoints.clone(),
            unknown_tagged_fields: unknown_tagged_fields.clone(),
        };
        let before_topics = if self.version >= 7 { 10 } else { 4 };
        let no_topics = if self.flexible { 1 } else { 4 };
        let frame = frame.to_bytes(self.version)?;
        self.writer
            .put(frame.get(..before_topics).unwrap_or_default());
        self.writer
            .write_array_length(self.flexible, Some(responses.len()))?;
        for topic in responses {
            self.topic(topic)?;
        }
        self.writer
            .put(frame.get(before_topics + no_topics..).unwrap_or_default());
        Ok(())
    }

    fn topic(&mut self, topic: &FetchableTopicResponse) -> Result<(), EncodeError> {
        if self.version <= 12 {
            self.writer
                .write_string(self.flexible, Some(&topic.topic))?;
        } else {
            self.writer.write_uuid(topic.topic_id);
        }
        self.writer
            .write_array_length(self.flexible, Some(topic.partitions.len()))?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        if self.flexible {
            self.writer
                .write_unknown_tagged_fields(&topic.unknown_tagged_fields)?;
        }
        Ok(())
    }

    fn partition(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        self.fields_before_records(partition)?;
        self.records(partition.records.as_deref().unwrap_or_default())?;
        self.tagged_fields(partition)
    }

    /// The records of the next partition: its regions, or those of the message.
    fn records(&mut self, inline: &[u8]) -> Result<(), EncodeError> {
        let regions = self.regions.next().unwrap_or_default();
        let length = if regions.is_empty() {
            inline.len()
        } else {
            let total = regions
                .iter()
                .map(RegionLength::region_length)
                .fold(0, u64::saturating_add);
            usize::try_from(total).unwrap_or(usize::MAX)
        };
        self.writer
            .write_bytes_length(self.flexible, Some(length))?;
        if regions.is_empty() {
            self.writer.put(inline);
        } else {
            self.cuts.push((self.writer.len(), regions));
        }
        Ok(())
    }

    fn fields_before_records(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        let (writer, version) = (&mut self.writer, self.version);
        writer.write_i32(partition.partition_index);
        writer.write_i16(partition.error_code);
        writer.write_i64(partition.high_watermark);
        writer.write_i64(partition.last_stable_offset);
        if version >= 5 {
            writer.write_i64(partition.log_start_offset);
        }
        let aborted = partition.aborted_transactions.as_deref();
        writer.write_structures(self.flexible, aborted, version)?;
        if version >= 11 {
            writer.write_i32(partition.preferred_read_replica);
        } else if partition.preferred_read_replica != -1 {
            let field = "PartitionData.PreferredReadReplica";
            return Err(EncodeError::FieldNotInVersion { field, version });
        }
        Ok(())
    }

    fn tagged_fields(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        let version = self.version;
        let epoch = (partition.diverging_epoch != EpochEndOffset::default())
            .then_some(&partition.diverging_epoch);
        let leader = (partition.current_leader != LeaderIdAndEpoch::default())
            .then_some(&partition.current_leader);
        let snapshot =
            (partition.snapshot_id != SnapshotId::default()).then_some(&partition.snapshot_id);
        let present = [epoch.is_some(), leader.is_some(), snapshot.is_some()];
        let mut unknown = partition.unknown_tagged_fields.as_slice();
        let count = unknown.len() + present.into_iter().filter(|present| *present).count();
        if !self.flexible {
            let field = "PartitionData's tagged fields";
            return match count {
                0 => Ok(()),
                _ => Err(EncodeError::FieldNotInVersion { field, version }),
            };
        }
        self.writer.write_tagged_field_count(count)?;
        for (tag, present) in (0..).zip(present) {
            if !present {
                continue;
            }
            self.writer
                .write_raw_tagged_fields(&mut unknown, Some(tag))?;
            self.writer.write_tagged_field(tag, &mut |writer| {
                epoch
                    .filter(|_| tag == 0)
                    .map_or(Ok(()), |epoch| epoch.write(writer, version))?;
                leader
                    .filter(|_| tag == 1)
                    .map_or(Ok(()), |leader| leader.write(writer, version))?;
                snapshot
                    .filter(|_| tag == 2)
                    .map_or(Ok(()), |id| id.write(writer, version))
            })?;
        }
        self.writer.write_raw_tagged_fields(&mut unknown, None)
    }

    fn finish(self) -> Result<ResponseFrame<R>, EncodeError> {
        let mut buffer = self.writer.into_inner();
        let in_regions = self.cuts.iter().flat_map(|(_, regions)| regions);
        let length = in_regions
            .map(RegionLength::region_length)
            .fold(buffer.len() as u64, u64::saturating_add);
        let size = length - SIZE_LENGTH as u64;
        let Ok(size) = i32::try_from(size) else {
            let length = usize::try_from(size).unwrap_or(usize::MAX);
            return Err(EncodeError::TooLong {
                of: "response",
                length,
            });
        };
        if let Some(prefix) = buffer.first_chunk_mut() {
            *prefix = size.to_be_bytes();
        }
        let mut pieces = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut start = 0;
        for (end, regions) in self.cuts {
            if end > start {
                pieces.push(Piece::Bytes(buffer.split_to(end - start).freeze()));
                start = end;
            }
            pieces.extend(regions.into_iter().map(Piece::Region));
        }
        if !buffer.is_empty() {
            pieces.push(Piece::Bytes(buffer.freeze()));
        }
        Ok(ResponseFrame { pieces, length })
    }
}

#[cfg(test)]
mod tests;
