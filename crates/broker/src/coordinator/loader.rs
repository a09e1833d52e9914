//! Reads a coordinator's state from its partition's log.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::group::{GroupCoordinator, GroupCoordinatorConfig, Now};
use ottla_coordinator::record::CoordinatorRecord;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::Offset;
use ottla_protocol::record::{ControlRecordKey, ControlRecordType, RecordBatch, batches};

use crate::replica::{Isolation, Partition, ReadRequest};

/// How much of the log is read at a time, as `offsets.load.buffer.size` has it by default.
const LOAD_BYTES: u64 = 5 * 1024 * 1024;
/// What one batch may be when decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Replays the log from its start to its end; gives the state and that end.
pub(super) fn read_state(
    partition: &Partition,
    config: Arc<GroupCoordinatorConfig>,
    now: Now,
) -> Result<(GroupCoordinator, Offset), String> {
    let (mut offset, end) = {
        let replica = partition.read_lock();
        (replica.log.log_start_offset(), replica.log.log_end_offset())
    };
    let mut loading = Loading {
        coordinator: GroupCoordinator::new(config),
        workspace: Workspace::new(),
        now,
        unknown_types: BTreeSet::new(),
    };
    while offset < end {
        let read = partition
            .read(ReadRequest {
                offset: offset.0,
                bytes_max: LOAD_BYTES,
                isolation: Isolation::LogEnd,
                min_one_batch: true,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
            })
            .map_err(|error| error.to_string())?;
        let mut next = offset;
        for region in &read.regions {
            let bytes = region.read().map_err(|error| error.to_string())?;
            for batch in batches(&bytes) {
                let batch = batch.map_err(|error| error.to_string())?;
                next = Offset(batch.header().next_offset());
                loading.replay_batch(&batch)?;
            }
        }
        if next <= offset {
            return Err(format!("nothing can be read at offset {offset}"));
        }
        offset = next;
    }
    Ok((loading.coordinator, end))
}

struct Loading {
    coordinator: GroupCoordinator,
    workspace: Workspace,
    now: Now,
    /// Record types that were met and are unknown: each is told of once.
    unknown_types: BTreeSet<i16>,
}

impl Loading {
    fn replay_batch(&mut self, batch: &RecordBatch<'_>) -> Result<(), String> {
        let header = batch.header();
        let producer_id = header.is_transactional().then(|| header.producer_id());
        let is_control = header.is_control();
        let mut reader = batch
            .read_records(&mut self.workspace, DECOMPRESSED_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        let mut replayed = Ok(());
        while let Some(record) = reader.next_record() {
            let record = record.map_err(|error| error.to_string())?;
            replayed = if is_control {
                end_transaction(&mut self.coordinator, header.producer_id(), record.key)
            } else {
                let key = record.key.map(Bytes::copy_from_slice);
                let value = record.value.map(Bytes::copy_from_slice);
                match CoordinatorRecord::decode(key, value) {
                    Ok(decoded) => {
                        self.coordinator
                            .replay(self.now, record.offset, producer_id, &decoded);
                        Ok(())
                    }
                    Err(ottla_coordinator::Error::UnknownRecordType { record_type }) => {
                        if self.unknown_types.insert(record_type) {
                            tracing::warn!(
                                record_type,
                                offset = record.offset,
                                "records of a type that this release does not know are skipped; was the cluster downgraded?"
                            );
                        }
                        Ok(())
                    }
                    Err(error) => Err(format!("offset {}: {error}", record.offset)),
                }
            };
            if replayed.is_err() {
                break;
            }
        }
        reader.finish(&mut self.workspace);
        replayed
    }
}

fn end_transaction(
    coordinator: &mut GroupCoordinator,
    producer_id: i64,
    key: Option<&[u8]>,
) -> Result<(), String> {
    let key =
        ControlRecordKey::parse(key.unwrap_or_default()).map_err(|error| error.to_string())?;
    match key.record_type {
        ControlRecordType::Commit => coordinator.replay_end_transaction(producer_id, true),
        ControlRecordType::Abort => coordinator.replay_end_transaction(producer_id, false),
        _ => {}
    }
    Ok(())
}
