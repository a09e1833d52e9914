//! What Apache Kafka 4.3.1 wrote is read, and written again byte for byte.

use bytes::Bytes;
use ottla_protocol::compression::Workspace;
use ottla_protocol::record::batches;

use super::*;

const LOG: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/share_group_state.log");

#[test]
fn the_state_of_apache_kafka_is_there() {
    let mut world = World::new(ShareStateConfig::default());
    let mut workspace = Workspace::new();
    for batch in batches(LOG) {
        let batch = batch.unwrap();
        let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
        while let Some(record) = reader.next_record() {
            let record = record.unwrap();
            let key = record.key.map(Bytes::copy_from_slice);
            let value = record.value.map(Bytes::copy_from_slice);
            let decoded = ShareStateRecord::decode(key.clone(), value.clone()).unwrap();
            assert_eq!(decoded.encode().unwrap(), (key.unwrap(), value));
            world.coordinator.replay(record.offset, &decoded);
        }
    }
    let held: Vec<String> = world
        .coordinator
        .partitions
        .iter()
        .map(|(partition, held)| {
            let state = &held.state;
            let batches: Vec<(i64, i64, i8, i16)> = state
                .batches
                .iter()
                .map(|batch| {
                    let (state, count) = (batch.delivery_state, batch.delivery_count);
                    (batch.first_offset, batch.last_offset, state, count)
                })
                .collect();
            format!(
                "{}-{} {} {batches:?}",
                partition.group_id, partition.partition, state.start_offset
            )
        })
        .collect();
    assert_eq!(
        held,
        [
            "group-0 5 [(5, 9, 0, 2)]",
            "group-1 -1 []",
            "live-0 -1 []",
            "live-1 -1 []",
        ]
    );
}
