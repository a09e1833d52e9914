//! A coordinator's records as batches of its partition's log.

use ottla_coordinator::Now;
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::{Compression, Workspace};
use ottla_protocol::record::{
    BatchOptions, ControlRecordType, RECORD_BATCH_OVERHEAD, RecordBatchBuilder, SimpleRecord,
};

use super::shard::{EndMarker, TransactionalWrite};
use super::state::CoordinatorState;

/// What most records take, so that a batch is put together without being moved.
const USUAL_RECORD_BYTES: usize = 128;

/// How batches are to be made.
pub(super) struct Batching {
    pub(super) compression: Compression,
    pub(super) now: Now,
    pub(super) batch_bytes_max: usize,
    /// The transaction that the records belong to, if they do.
    pub(super) write: Option<TransactionalWrite>,
}

impl Batching {
    fn options(&self) -> BatchOptions {
        let options = BatchOptions {
            compression: self.compression,
            ..BatchOptions::default()
        };
        match self.write {
            Some(write) => BatchOptions {
                producer_id: write.producer_id,
                producer_epoch: write.producer_epoch,
                // As Apache Kafka's coordinators write it; a leader doesn't check it.
                base_sequence: 0,
                is_transactional: true,
                ..options
            },
            None => options,
        }
    }
}

/// Puts records into batches, one unless they are more than a batch may hold.
pub(super) fn to_batches<C: CoordinatorState>(
    records: &[C::Record],
    batching: &Batching,
) -> Result<Vec<u8>, ErrorCode> {
    let mut workspace = Workspace::new();
    let options = batching.options();
    let mut batches = Vec::new();
    let room = RECORD_BATCH_OVERHEAD + records.len().saturating_mul(USUAL_RECORD_BYTES);
    let room = Vec::with_capacity(room.min(batching.batch_bytes_max));
    let mut builder = RecordBatchBuilder::with_buffer(options, room);
    for record in records {
        let record = C::encode(record, batching.now).map_err(|error| {
            tracing::error!(topic = C::TOPIC, %error, "a coordinator's record could not be encoded");
            ErrorCode::UNKNOWN_SERVER_ERROR
        })?;
        let record = SimpleRecord {
            timestamp: record.timestamp,
            key: Some(&record.key),
            value: record.value.as_deref(),
            headers: &[],
        };
        let size = builder.uncompressed_size_in_bytes() + builder.size_of(&record);
        if size > batching.batch_bytes_max && !builder.is_empty() {
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
    if batches.is_empty() {
        *batches = batch;
    } else {
        batches.extend_from_slice(&batch);
    }
    Ok(())
}

/// The control batch that ends a transaction.
pub(crate) fn marker_batch(marker: &EndMarker, timestamp: i64) -> Result<Vec<u8>, ErrorCode> {
    let mut builder = RecordBatchBuilder::new(BatchOptions {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    });
    let record_type = if marker.committed {
        ControlRecordType::Commit
    } else {
        ControlRecordType::Abort
    };
    // The value: version 0, then the epoch of the coordinator.
    let mut value = [0; 6];
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
    let appended = builder.append_control(record_type, timestamp, &value);
    appended.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
    builder
        .build(&mut Workspace::new())
        .map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)
}
