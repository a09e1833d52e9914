use super::*;

/// A batch over ten offsets without any record left, as compaction may leave it.
fn empty_batch(base_offset: i64, count: i32) -> Vec<u8> {
    let mut bytes = vec![0; RECORD_BATCH_OVERHEAD];
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[field::LENGTH..field::LENGTH + 4].copy_from_slice(&49_i32.to_be_bytes());
    bytes[field::MAGIC] = 2;
    bytes[field::LAST_OFFSET_DELTA + 3] = 9;
    bytes[field::RECORDS_COUNT..].copy_from_slice(&count.to_be_bytes());
    RecordBatchMut::parse(&mut bytes).unwrap().update_crc();
    bytes
}

#[test]
fn a_buffer_of_batches_ends_at_a_partial_tail() {
    let mut buffer = empty_batch(5, 0);
    buffer.extend(empty_batch(15, 0));
    let whole = buffer.len();
    buffer.extend(&empty_batch(25, 0)[..40]);
    let mut walk = batches(&buffer);
    let first = walk.next().unwrap().unwrap();
    assert_eq!(
        (
            first.base_offset(),
            first.last_offset(),
            first.next_offset()
        ),
        (5, 14, 15)
    );
    assert!(first.is_valid_crc());
    assert_eq!(walk.next().unwrap().unwrap().base_offset(), 15);
    assert!(walk.next().is_none());
    assert_eq!(walk.position(), whole);
}

#[test]
fn patches_keep_the_checksum_right() {
    let mut bytes = empty_batch(0, 0);
    let mut batch = RecordBatchMut::parse(&mut bytes).unwrap();
    batch.set_last_offset(99);
    batch.set_partition_leader_epoch(7);
    batch.set_max_timestamp(TimestampType::LogAppendTime, 1234);
    let batch = RecordBatch::parse(&bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset()), (90, 99));
    assert_eq!(batch.partition_leader_epoch(), 7);
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.max_timestamp(), 1234);
    assert!(batch.is_valid_crc());
}

#[test]
fn crc32c_is_castagnoli() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(increment_sequence(4, 3), 7);
}
