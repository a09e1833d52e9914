//! A coordinator's records as batches of its partition's log.

use ottla_coordinator::record::CoordinatorRecord;
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::{Compression, Workspace};
use ottla_protocol::record::{BatchOptions, RecordBatchBuilder, SimpleRecord};

/// Puts records into batches, one unless they are more than a batch may hold.
pub(super) fn to_batches(
    records: &[CoordinatorRecord],
    compression: Compression,
    timestamp: i64,
    batch_bytes_max: usize,
) -> Result<Vec<u8>, ErrorCode> {
    let mut workspace = Workspace::new();
    let options = BatchOptions {
        compression,
        ..BatchOptions::default()
    };
    let mut batches = Vec::new();
    let mut builder = RecordBatchBuilder::new(options);
    for record in records {
        let (key, value) = record.encode().map_err(|error| {
            tracing::error!(%error, "a record of the group coordinator could not be encoded");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        let record = SimpleRecord {
            timestamp,
            key: Some(&key),
            value: value.as_deref(),
            headers: &[],
        };
        let size = builder.uncompressed_size_in_bytes() + builder.size_of(&record);
        if size > batch_bytes_max && !builder.is_empty() {
            let full = std::mem::replace(&mut builder, RecordBatchBuilder::new(options));
            finish(full, &mut batches, &mut workspace)?;
        }
        builder
            .append(&record)
            .map_err(|_| ErrorCode::RECORD_LIST_TOO_LARGE)?;
    }
    finish(builder, &mut batches, &mut workspace)?;
    Ok(batches)
}

fn finish(
    builder: RecordBatchBuilder,
    batches: &mut Vec<u8>,
    workspace: &mut Workspace,
) -> Result<(), ErrorCode> {
    let batch = builder
        .build(workspace)
        .map_err(|_| ErrorCode::RECORD_LIST_TOO_LARGE)?;
    batches.extend_from_slice(&batch);
    Ok(())
}
