//! The share coordinator at its boundary: requests in, records and answers out, replayed as the runtime does.

mod batches;
mod fencing;
mod golden;
mod records;
mod snapshots;

use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_metadata::record::MetadataRecord;
use ottla_protocol::messages::{FeatureLevelRecord, PartitionRecord, TopicRecord};
use ottla_protocol::{ErrorCode, Uuid};

use super::*;
use crate::Now;

const TOPIC: Uuid = Uuid([7; 16]);

/// A coordinator with its log and its clock.
struct World {
    coordinator: ShareStateCoordinator,
    log: Vec<ShareStateRecord>,
    pruned: Vec<i64>,
    now_ms: i64,
    config: Arc<ShareStateConfig>,
}

impl World {
    /// A coordinator in a cluster with one topic of two partitions.
    fn new(config: ShareStateConfig) -> Self {
        let config = Arc::new(config);
        let mut world = Self {
            coordinator: ShareStateCoordinator::new(Arc::clone(&config)),
            log: Vec::new(),
            pruned: Vec::new(),
            now_ms: 1_000,
            config,
        };
        world.load();
        world
    }

    fn now(&self) -> Now {
        Now {
            wall_ms: 1_700_000_000_000 + self.now_ms,
            monotonic_ms: self.now_ms,
        }
    }

    /// Reads the state from the log again, as a restart does.
    fn load(&mut self) {
        self.coordinator = ShareStateCoordinator::new(Arc::clone(&self.config));
        for (offset, record) in (0_i64..).zip(&self.log) {
            let (key, value) = record.encode().unwrap();
            let read = ShareStateRecord::decode(Some(key), value).unwrap();
            assert_eq!(read, *record);
            self.coordinator.replay(offset, &read);
        }
        self.coordinator.observe_metadata(&image(), 1);
        let now = self.now();
        self.coordinator.loaded(now);
    }

    /// Appends and replays, as the runtime does.
    fn apply<R>(&mut self, decision: Decision<R>) -> R {
        for record in decision.records {
            let offset = i64::try_from(self.log.len()).unwrap();
            self.coordinator.replay(offset, &record);
            self.log.push(record);
        }
        for Released::Prune(offset) in decision.released {
            self.pruned.push(offset);
        }
        decision.response
    }

    fn initialize(&mut self, state_epoch: i32, start_offset: i64) -> Result<(), Refusal> {
        let start = (state_epoch, start_offset);
        let decision = self
            .coordinator
            .initialize(self.now(), &partition(0), start);
        self.apply(decision)
    }

    fn read(&mut self, leader_epoch: i32) -> Result<State, Refusal> {
        let decision = self
            .coordinator
            .read(self.now(), &partition(0), leader_epoch);
        self.apply(decision)
    }

    fn write(&mut self, write: &WriteState) -> Result<(), Refusal> {
        let decision = self.coordinator.write(self.now(), &partition(0), write);
        self.apply(decision)
    }

    fn state(&mut self) -> State {
        self.read(-1).unwrap()
    }

    /// Lets time pass, with what is due in it.
    fn advance(&mut self, duration_ms: i64) {
        let until_ms = self.now_ms + duration_ms;
        while let Some(due_ms) = self
            .coordinator
            .next_deadline()
            .filter(|due| *due <= until_ms)
        {
            self.now_ms = self.now_ms.max(due_ms);
            while let Some(decision) = self.coordinator.handle_timeout(self.now()) {
                self.apply(decision);
            }
        }
        self.now_ms = until_ms;
    }
}

fn partition(index: i32) -> SharePartition {
    SharePartition {
        group_id: "group".into(),
        topic_id: TOPIC,
        partition: index,
    }
}

fn image() -> MetadataImage {
    let mut image = MetadataImage::default();
    let feature = FeatureLevelRecord {
        name: "share.version".into(),
        feature_level: 1,
        ..FeatureLevelRecord::default()
    };
    let topic = TopicRecord {
        name: "topic".into(),
        topic_id: TOPIC,
        ..TopicRecord::default()
    };
    image
        .replay(&MetadataRecord::FeatureLevel(feature))
        .unwrap();
    image.replay(&MetadataRecord::Topic(topic)).unwrap();
    for partition_id in 0..2 {
        let partition = PartitionRecord {
            partition_id,
            topic_id: TOPIC,
            replicas: vec![1],
            isr: vec![1],
            leader: 1,
            ..PartitionRecord::default()
        };
        image.replay(&MetadataRecord::Partition(partition)).unwrap();
    }
    image
}

fn batch(first_offset: i64, last_offset: i64, state: i8, count: i16) -> StateBatch {
    StateBatch {
        first_offset,
        last_offset,
        delivery_state: state,
        delivery_count: count,
    }
}

fn write_of(batches: Vec<StateBatch>) -> WriteState {
    WriteState {
        state_epoch: -1,
        leader_epoch: -1,
        start_offset: -1,
        delivery_complete_count: 0,
        batches,
    }
}

fn refused<R>(error: ErrorCode) -> Result<R, Refusal> {
    Err(error.into())
}
