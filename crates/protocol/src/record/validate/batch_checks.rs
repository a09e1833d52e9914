//! What is asked of a batch as a whole.

use super::{AppendOrigin, Topic, ValidationContext, ValidationError};
use crate::ErrorCode;
use crate::record::{RecordBatch, RecordError, batches};

/// Finds the one batch of the buffer, checks that it is whole and in size, and that there is no
/// other.
pub(super) fn analyze<'b>(
    buffer: &'b [u8],
    context: &ValidationContext<'_>,
) -> Result<RecordBatch<'b>, ValidationError> {
    let mut found = None;
    let mut count = 0;
    for batch in batches(buffer) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(RecordError::UnexpectedMagic(magic @ (0 | 1))) => {
                return Err(ValidationError::invalid_record(format!(
                    "Record batches of magic version {magic} are not accepted"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        analyze_batch(&batch, context)?;
        found.get_or_insert(batch);
        count += 1;
    }
    match found {
        None => Err(ValidationError::invalid_record(
            "Record batch has no batches at all".into(),
        )),
        Some(_) if count > 1 => Err(ValidationError::invalid_record(
            "Compressed outer record has more than one batch".into(),
        )),
        Some(batch) => Ok(batch),
    }
}

fn analyze_batch(
    batch: &RecordBatch<'_>,
    context: &ValidationContext<'_>,
) -> Result<(), ValidationError> {
    let epoch = batch.partition_leader_epoch();
    if context.origin == AppendOrigin::RaftLeader && epoch != context.partition_leader_epoch {
        return Err(ValidationError::invalid_record(format!(
            "Append from Raft leader did not set the batch epoch correctly, expected {} but the \
             batch has {epoch}",
            context.partition_leader_epoch
        )));
    }
    if context.origin == AppendOrigin::Client && batch.base_offset() != 0 {
        let Topic(partition) = Topic::of(context);
        return Err(ValidationError::invalid_record(format!(
            "The baseOffset of the record batch in the append to {partition} should be 0, but it \
             is {}",
            batch.base_offset()
        )));
    }
    let size = batch.size_in_bytes();
    if size > context.batch_bytes_max && context.origin != AppendOrigin::Replication {
        let Topic(partition) = Topic::of(context);
        return Err(ValidationError::new(
            ErrorCode::MESSAGE_TOO_LARGE,
            format!(
                "The record batch size in the append to {partition} is {size} bytes which exceeds \
                 the maximum configured value of {}.",
                context.batch_bytes_max
            ),
        ));
    }
    if !batch.is_valid_crc() {
        let Topic(partition) = Topic::of(context);
        return Err(ValidationError::new(
            ErrorCode::CORRUPT_MESSAGE,
            format!(
                "Record is corrupt (stored crc = {}) in topic partition {partition}.",
                batch.crc()
            ),
        ));
    }
    Ok(())
}

/// Checks what the header says, as far as it can be wrong without the checksum being wrong.
pub(super) fn validate_batch(
    batch: &RecordBatch<'_>,
    context: &ValidationContext<'_>,
) -> Result<(), ValidationError> {
    if context.origin != AppendOrigin::Client {
        return Ok(());
    }
    let fail = |message: String| {
        let Topic(partition) = Topic::of(context);
        Err(ValidationError::invalid_record(format!(
            "{message} in topic partition {partition}"
        )))
    };
    let range = i64::from(batch.last_offset_delta()) + 1;
    let (first, last) = (batch.base_offset(), batch.last_offset());
    if range <= 0 {
        return fail(format!(
            "Batch has an invalid offset range: [{first}, {last}]"
        ));
    }
    let count = i64::from(batch.count());
    if count <= 0 {
        return fail(format!("Invalid reported count for record batch: {count}"));
    }
    if range != count {
        return fail(format!(
            "Inconsistent batch offset range [{first}, {last}] and count of records {count}"
        ));
    }
    if batch.is_control() {
        return fail("Clients are not allowed to write control records".to_owned());
    }
    if batch.has_producer_id() && batch.base_sequence() < 0 {
        return fail(format!(
            "Invalid sequence number {} in record batch with producerId {}",
            batch.base_sequence(),
            batch.producer_id()
        ));
    }
    Ok(())
}
