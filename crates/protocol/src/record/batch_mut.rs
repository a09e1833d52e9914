use super::batch::{
    CODEC_MASK, CONTROL_FLAG, DELETE_HORIZON_FLAG, HeaderBytes, TIMESTAMP_TYPE_FLAG,
    TRANSACTIONAL_FLAG,
};
use super::{
    BatchHeader, RECORD_BATCH_OVERHEAD, RecordBatch, RecordError, TimestampType, crc32c, field,
};

/// A view of one v2 batch whose header can be patched in place.
///
/// Base offset and leader epoch lie outside of the checksum. Whatever lies inside of it makes the
/// stored checksum stale until [`RecordBatchMut::update_crc`].
#[derive(Debug)]
pub struct RecordBatchMut<'a> {
    header: &'a mut HeaderBytes,
    payload: &'a mut [u8],
}

#[inline]
pub(super) fn write<const AT: usize, const N: usize>(header: &mut HeaderBytes, value: [u8; N]) {
    const { assert!(AT + N <= RECORD_BATCH_OVERHEAD) };
    header[AT..AT + N].copy_from_slice(&value);
}

impl<'a> RecordBatchMut<'a> {
    /// Views the batch at the start of `bytes`; what follows it is left out of the view.
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, RecordError> {
        let size = RecordBatch::parse(bytes)?.size_in_bytes();
        let remaining = bytes.len();
        match bytes
            .get_mut(..size)
            .and_then(|batch| batch.split_first_chunk_mut())
        {
            Some((header, payload)) => Ok(Self { header, payload }),
            None => Err(RecordError::Truncated {
                needed: size,
                remaining,
            }),
        }
    }

    /// The size of the whole batch.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        RECORD_BATCH_OVERHEAD + self.payload.len()
    }

    /// Sets the base offset; the checksum stays right.
    pub fn set_base_offset(&mut self, offset: i64) {
        write::<{ field::BASE_OFFSET }, 8>(self.header, offset.to_be_bytes());
    }

    /// Sets the base offset so that the last offset is `offset`; the checksum stays right.
    pub fn set_last_offset(&mut self, offset: i64) {
        self.set_base_offset(offset.wrapping_sub(i64::from(self.header().last_offset_delta())));
    }

    /// Sets the leader epoch; the checksum stays right.
    pub fn set_partition_leader_epoch(&mut self, epoch: i32) {
        write::<{ field::PARTITION_LEADER_EPOCH }, 4>(self.header, epoch.to_be_bytes());
    }

    /// Sets the maximum timestamp and whose clock it is of, and renews the checksum if that
    /// changed anything.
    pub fn set_max_timestamp(&mut self, timestamp_type: TimestampType, timestamp: i64) {
        let old = self.header().attributes();
        if self.header().timestamp_type() == timestamp_type
            && self.header().max_timestamp() == timestamp
        {
            return;
        }
        // Flags that no version knows yet are cleared, as Apache Kafka does here.
        let known = old & (CODEC_MASK | TRANSACTIONAL_FLAG | CONTROL_FLAG | DELETE_HORIZON_FLAG);
        let new = match timestamp_type {
            TimestampType::CreateTime => known,
            TimestampType::LogAppendTime => known | TIMESTAMP_TYPE_FLAG,
        };
        write::<{ field::ATTRIBUTES }, 2>(self.header, new.to_be_bytes());
        write::<{ field::MAX_TIMESTAMP }, 8>(self.header, timestamp.to_be_bytes());
        self.update_crc();
    }

    /// Sets producer id, epoch and base sequence, and renews the checksum.
    pub fn set_producer_state(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        write::<{ field::PRODUCER_ID }, 8>(self.header, id.to_be_bytes());
        write::<{ field::PRODUCER_EPOCH }, 2>(self.header, epoch.to_be_bytes());
        write::<{ field::BASE_SEQUENCE }, 4>(self.header, base_sequence.to_be_bytes());
        self.update_crc();
    }

    /// Makes the stored checksum that of the bytes.
    pub fn update_crc(&mut self) {
        let (_, covered) = self.header.split_at(field::ATTRIBUTES);
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(covered);
        digest.update(self.payload);
        // The algorithm has 32 bits; the digest only returns them in a wider integer.
        let crc = u32::try_from(digest.finalize()).unwrap_or_default();
        debug_assert!(!self.payload.is_empty() || crc == crc32c(covered));
        write::<{ field::CRC }, 4>(self.header, crc.to_be_bytes());
    }

    /// The header as it is now.
    #[must_use]
    pub fn header(&self) -> BatchHeader<'_> {
        BatchHeader::new(self.header)
    }
}
