//! Reads a coordinator's state from its partition's log.

use bytes::Bytes;
use ottla_coordinator::Now;
use ottla_protocol::compression::Workspace;
use ottla_protocol::ids::Offset;
use ottla_protocol::record::{ControlRecordKey, ControlRecordType, RecordBatch, batches};

use super::state::{CoordinatorSettings, CoordinatorState};
use crate::replica::{Isolation, Partition, ReadRequest};

/// What one batch may be when decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Replays the log from its start to its end; gives the state and that end.
pub(super) fn read_state<C: CoordinatorState>(
    partition: &Partition,
    settings: &C::Settings,
    now: Now,
) -> Result<(C, Offset), String> {
    let (mut offset, end) = {
        let replica = partition.read_lock();
        (replica.log.log_start_offset(), replica.log.log_end_offset())
    };
    let mut loading = Loading {
        coordinator: C::empty(settings),
        workspace: Workspace::new(),
        now,
    };
    while offset < end {
        let read = partition
            .read(ReadRequest {
                offset: offset.0,
                bytes_max: settings.load_bytes(),
                isolation: Isolation::LogEnd,
                min_one_batch: true,
                current_leader_epoch: -1,
                last_fetched_epoch: -1,
                from_any_replica: false,
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

struct Loading<C> {
    coordinator: C,
    workspace: Workspace,
    now: Now,
}

impl<C: CoordinatorState> Loading<C> {
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
                C::decode(key, value)
                    .map_err(|error| format!("offset {}: {error}", record.offset))
                    .map(|decoded| {
                        let (now, offset) = (self.now, record.offset);
                        self.coordinator.replay(now, offset, producer_id, &decoded);
                    })
            };
            if replayed.is_err() {
                break;
            }
        }
        reader.finish(&mut self.workspace);
        replayed
    }
}

fn end_transaction<C: CoordinatorState>(
    coordinator: &mut C,
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
