//! What Apache Kafka 4.3.1 wrote of a streams group is read, and written again byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::compression::Workspace;
use ottla_protocol::record::batches;

use super::group::StreamsGroup;
use super::records::{self, GroupMetadata};
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::Now;
use crate::record::{CoordinatorRecord, RecordKey, RecordValue};

const LOG: &[u8] = include_bytes!("../../../testdata/kafka-4.3.1/streams_consumer_offsets.log");

/// The record that is made of what the group has become by it.
fn written_again(group: &StreamsGroup, record: &CoordinatorRecord) -> Option<CoordinatorRecord> {
    let group_id = &group.group_id;
    Some(match &record.key {
        RecordKey::StreamsGroupMetadata(_) => records::group_metadata(
            group_id,
            &GroupMetadata {
                epoch: group.group_epoch,
                metadata_hash: group.metadata_hash,
                validated_topology_epoch: group.validated_topology_epoch,
                assignment_configs: &group.last_assignment_configs,
            },
        ),
        RecordKey::StreamsGroupMemberMetadata(key) => {
            records::member_metadata(group_id, group.member(&key.member_id)?)
        }
        RecordKey::StreamsGroupTargetAssignmentMetadata(_) => records::KIND.target_metadata(
            group_id,
            (group.assignment_epoch, group.assignment_timestamp_ms),
        ),
        RecordKey::StreamsGroupTargetAssignmentMember(key) => {
            let target = group.target_of(&key.member_id);
            records::target_assignment(group_id, &key.member_id, &target)
        }
        RecordKey::StreamsGroupCurrentMemberAssignment(key) => {
            records::current_assignment(group_id, group.member(&key.member_id)?)
        }
        RecordKey::StreamsGroupTopology(_) => {
            let Some(value) = &record.value else {
                return None;
            };
            let RecordValue::StreamsGroupTopology(value) = &value.value else {
                return None;
            };
            records::topology(group_id, (**value).clone())
        }
        _ => return None,
    })
}

#[test]
fn records_of_apache_kafka_are_read_and_written_again() {
    let now = Now {
        wall_ms: 1_795_530_200_000,
        monotonic_ms: 0,
    };
    let mut coordinator = GroupCoordinator::new(Arc::default());
    let mut workspace = Workspace::new();
    let mut types = BTreeSet::new();
    let mut most_standbys = 0;
    for batch in batches(LOG) {
        let batch = batch.unwrap();
        if batch.header().is_control() {
            continue;
        }
        let mut reader = batch.read_records(&mut workspace, 1 << 20).unwrap();
        while let Some(record) = reader.next_record() {
            let record = record.unwrap();
            let key = record.key.map(Bytes::copy_from_slice);
            let value = record.value.map(Bytes::copy_from_slice);
            let decoded = CoordinatorRecord::decode(key.clone(), value.clone()).unwrap();
            let bytes = (key.unwrap(), value);
            assert_eq!(decoded.encode().unwrap(), bytes);
            coordinator.replay(now, record.offset, None, &decoded);
            let Some(Group::Streams(group)) = coordinator.groups.get(decoded.key.group_id()) else {
                continue;
            };
            if decoded.value.is_some()
                && let Some(again) = written_again(group, &decoded)
            {
                assert_eq!(again.encode().unwrap(), bytes);
                types.insert(decoded.key.record_type());
            }
            let standbys = |group: &StreamsGroup| {
                let members = group.members.values();
                members.map(|member| member.assigned.standby.len()).sum()
            };
            most_standbys = most_standbys.max(standbys(group));
        }
    }
    assert_eq!(types, BTreeSet::from([17, 19, 20, 21, 22, 23]));
    assert!(most_standbys > 0, "standbys were there");
    coordinator.loaded(now);
    let listed: Vec<String> = coordinator
        .list_groups(&[], &["streams".into()])
        .into_iter()
        .map(|group| group.group_state.to_string())
        .collect();
    assert_eq!(listed, ["Empty"]);
}
