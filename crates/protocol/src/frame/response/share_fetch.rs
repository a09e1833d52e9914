use super::{FetchEncoder, RegionLength, ResponseFrame, SIZE_LENGTH};
use crate::ApiKey;
use crate::codec::{EncodeError, Message, Structure, Writer};
use crate::messages::share_fetch_response::{PartitionData, ShareFetchableTopicResponse};
use crate::messages::{ResponseHeader, ShareFetchResponse};

/// A share fetch response with its records in regions.
///
/// `regions` holds those of each partition, in the order of the message. Where it holds none, the
/// records are those of the message; null is written as no bytes, since null breaks clients.
pub fn encode_share_fetch_response<R: RegionLength>(
    response: &ShareFetchResponse,
    regions: Vec<Vec<R>>,
    version: i16,
    correlation_id: i32,
) -> Result<ResponseFrame<R>, EncodeError> {
    if !ShareFetchResponse::VALID_VERSIONS.contains(version) {
        return Err(EncodeError::UnsupportedVersion {
            message: ShareFetchResponse::NAME,
            version,
        });
    }
    let mut writer = Writer::new();
    writer.write_i32(0);
    debug_assert_eq!(writer.len(), SIZE_LENGTH);
    let header = ResponseHeader {
        correlation_id,
        ..ResponseHeader::default()
    };
    header.encode(
        &mut writer,
        ApiKey::ShareFetch.response_header_version(version),
    )?;
    let mut encoder = FetchEncoder {
        writer,
        version,
        flexible: true,
        regions: regions.into_iter(),
        cuts: Vec::new(),
    };
    encoder.share_response(response)?;
    encoder.finish()
}

impl<R: RegionLength> FetchEncoder<R> {
    fn share_response(&mut self, response: &ShareFetchResponse) -> Result<(), EncodeError> {
        let ShareFetchResponse {
            throttle_time_ms,
            error_code,
            error_message,
            acquisition_lock_timeout_ms,
            responses,
            node_endpoints,
            unknown_tagged_fields,
        } = response;
        self.writer.write_i32(*throttle_time_ms);
        self.writer.write_i16(*error_code);
        self.writer.write_string(true, error_message.as_deref())?;
        self.writer.write_i32(*acquisition_lock_timeout_ms);
        self.writer
            .write_array_length(true, Some(responses.len()))?;
        for topic in responses {
            self.share_topic(topic)?;
        }
        self.writer
            .write_structures(true, Some(node_endpoints), self.version)?;
        self.writer
            .write_unknown_tagged_fields(unknown_tagged_fields)
    }

    fn share_topic(&mut self, topic: &ShareFetchableTopicResponse) -> Result<(), EncodeError> {
        self.writer.write_uuid(topic.topic_id);
        self.writer
            .write_array_length(true, Some(topic.partitions.len()))?;
        for partition in &topic.partitions {
            self.share_partition(partition)?;
        }
        self.writer
            .write_unknown_tagged_fields(&topic.unknown_tagged_fields)
    }

    fn share_partition(&mut self, partition: &PartitionData) -> Result<(), EncodeError> {
        let PartitionData {
            partition_index,
            error_code,
            error_message,
            acknowledge_error_code,
            acknowledge_error_message,
            current_leader,
            records,
            acquired_records,
            unknown_tagged_fields,
        } = partition;
        self.writer.write_i32(*partition_index);
        self.writer.write_i16(*error_code);
        self.writer.write_string(true, error_message.as_deref())?;
        self.writer.write_i16(*acknowledge_error_code);
        self.writer
            .write_string(true, acknowledge_error_message.as_deref())?;
        current_leader.write(&mut self.writer, self.version)?;
        self.records(records.as_deref().unwrap_or_default())?;
        self.writer
            .write_structures(true, Some(acquired_records), self.version)?;
        self.writer
            .write_unknown_tagged_fields(unknown_tagged_fields)
    }
}
