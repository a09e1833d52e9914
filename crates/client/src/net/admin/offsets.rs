//! Offsets by timestamp, and records deleted below one.

use std::collections::BTreeMap;

use ottla_protocol::messages::{
    DeleteRecordsRequest, ListOffsetsRequest, delete_records_request, list_offsets_request,
};

use super::Admin;
use super::leaders::Found;
use crate::Error;
use crate::core::admin::{ListedOffset, OffsetSpec, TopicPartition};
use crate::core::by_topic;

impl Admin {
    /// Finds an offset in each partition.
    pub async fn list_offsets(
        &self,
        partitions: &BTreeMap<TopicPartition, OffsetSpec>,
        read_committed: bool,
    ) -> Result<Found<ListedOffset>, Error> {
        let request = |names: &[&TopicPartition]| {
            let topics = by_topic(names.iter().map(|name| {
                let partition = list_offsets_request::ListOffsetsPartition {
                    partition_index: name.partition,
                    timestamp: partitions.get(*name).map_or(-1, |spec| spec.0),
                    ..list_offsets_request::ListOffsetsPartition::default()
                };
                (*name, partition)
            }));
            let topics = topics.into_iter().map(|(name, partitions)| {
                list_offsets_request::ListOffsetsTopic {
                    name,
                    partitions,
                    ..list_offsets_request::ListOffsetsTopic::default()
                }
            });
            ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(read_committed),
                topics: topics.collect(),
                timeout_ms: self.broker_timeout_ms(),
                ..ListOffsetsRequest::default()
            }
        };
        self.ask_leaders(partitions.keys().cloned().collect(), request, |response| {
            let mut listed = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    let checked = Error::check(partition.error_code, None);
                    let offset = ListedOffset {
                        offset: partition.offset,
                        timestamp: partition.timestamp,
                        leader_epoch: partition.leader_epoch,
                    };
                    listed.push((name, checked.map(|()| offset)));
                }
            }
            listed
        })
        .await
    }

    /// Deletes the records of each partition below an offset, -1 for all that are committed; gives
    /// each one's new first offset.
    pub async fn delete_records(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Found<i64>, Error> {
        let request = |names: &[&TopicPartition]| {
            let topics = by_topic(names.iter().map(|name| {
                let partition = delete_records_request::DeleteRecordsPartition {
                    partition_index: name.partition,
                    offset: offsets.get(*name).copied().unwrap_or_default(),
                    ..delete_records_request::DeleteRecordsPartition::default()
                };
                (*name, partition)
            }));
            let topics = topics.into_iter().map(|(name, partitions)| {
                delete_records_request::DeleteRecordsTopic {
                    name,
                    partitions,
                    ..delete_records_request::DeleteRecordsTopic::default()
                }
            });
            DeleteRecordsRequest {
                topics: topics.collect(),
                timeout_ms: self.broker_timeout_ms(),
                ..DeleteRecordsRequest::default()
            }
        };
        self.ask_leaders(offsets.keys().cloned().collect(), request, |response| {
            let mut deleted = Vec::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
                    let checked = Error::check(partition.error_code, None);
                    deleted.push((name, checked.map(|()| partition.low_watermark)));
                }
            }
            deleted
        })
        .await
    }
}
