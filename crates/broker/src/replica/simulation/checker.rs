//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_protocol::compression::Workspace;
use ottla_protocol::record::batches;

use super::host::Process;

/// Everything that was ever committed, by anybody's word, and everything that was acknowledged.
#[derive(Default)]
pub(super) struct Checker {
    /// The bytes of each batch, by its offset.
    committed: BTreeMap<i64, Bytes>,
    values: BTreeSet<u64>,
    pub(super) acknowledged: BTreeSet<u64>,
}

impl Checker {
    pub(super) fn committed_end(&self) -> i64 {
        self.committed
            .last_key_value()
            .map_or(0, |(offset, _)| offset + 1)
    }

    /// What one replica says is committed must be what every other has said.
    pub(super) fn check(&mut self, process: &mut Process, seed: u64) {
        let (start, high_watermark, end) = {
            let replica = process.partition.read_lock();
            (
                replica.log.log_start_offset().0,
                replica.high_watermark().0,
                replica.log.log_end_offset().0,
            )
        };
        assert!(
            start <= high_watermark && high_watermark <= end,
            "seed {seed}"
        );
        if high_watermark <= process.checked {
            return;
        }
        let bytes = process.bytes(process.checked, high_watermark);
        for batch in batches(&bytes) {
            let batch = batch.unwrap();
            let offset = batch.header().base_offset();
            let this = Bytes::copy_from_slice(batch.as_bytes());
            let known = self.committed.entry(offset).or_insert_with(|| this.clone());
            assert_eq!(
                *known, this,
                "offset {offset} was committed otherwise, seed {seed}"
            );
            self.values.insert(value(&batch));
        }
        process.checked = high_watermark;
    }

    /// Nothing acknowledged is missing.
    pub(super) fn check_acknowledged(&self, seed: u64) {
        let lost: Vec<_> = self.acknowledged.difference(&self.values).collect();
        assert!(lost.is_empty(), "lost {lost:?}, seed {seed}");
    }
}

fn value(batch: &ottla_protocol::record::RecordBatch<'_>) -> u64 {
    let mut workspace = Workspace::new();
    let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
    let record = reader.next_record().unwrap().unwrap();
    u64::from_be_bytes(record.value.unwrap().try_into().unwrap())
}
