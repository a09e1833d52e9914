//! Offsets by timestamp.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, list_offsets_request,
    metadata_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::{ListedOffset, OffsetSpec, TopicPartition};

/// How long to wait before asking again for a leader.
const RETRY_WAIT: Duration = Duration::from_millis(100);

type Found = BTreeMap<TopicPartition, Result<ListedOffset, Error>>;

impl Admin {
    /// Finds an offset in each partition.
    pub async fn list_offsets(
        &self,
        partitions: &BTreeMap<TopicPartition, OffsetSpec>,
        read_committed: bool,
    ) -> Result<Found, Error> {
        let deadline_ms = self.shared.now_ms().saturating_add(self.timeout_ms);
        let mut found = Found::new();
        let mut missing = partitions.clone();
        while !missing.is_empty() {
            let leaders = self.leaders(&missing, &mut found).await?;
            let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, OffsetSpec)>> = BTreeMap::new();
            for (name, spec) in &missing {
                if let Some(leader) = leaders.get(name) {
                    by_leader.entry(*leader).or_default().push((name, *spec));
                }
            }
            let mut pending = Vec::new();
            for (leader, partitions) in by_leader {
                let request = request(&partitions, read_committed);
                pending.push(self.start(Destination::Broker(leader), request));
            }
            for pending in pending {
                take(pending.wait().await?.decode()?, &mut found);
            }
            let late = self.shared.now_ms() >= deadline_ms;
            let settled = |name: &TopicPartition| match found.get(name) {
                Some(Err(error)) => late || !error.is_retriable(),
                Some(Ok(_)) => true,
                None => false,
            };
            missing.retain(|name, _| !settled(name));
            if late && !missing.is_empty() {
                return Err(Error::TimedOut {
                    reason: Some("partitions without leader".into()),
                });
            }
            if !missing.is_empty() {
                tokio::time::sleep(RETRY_WAIT).await;
            }
        }
        Ok(found)
    }

    /// The leaders of partitions; what is known to be wrong goes to `found`.
    async fn leaders(
        &self,
        partitions: &BTreeMap<TopicPartition, OffsetSpec>,
        found: &mut Found,
    ) -> Result<BTreeMap<TopicPartition, i32>, Error> {
        let mut names: Vec<KafkaString> = partitions
            .keys()
            .map(|partition| partition.topic.clone())
            .collect();
        names.dedup();
        let topics = names
            .into_iter()
            .map(|name| metadata_request::MetadataRequestTopic {
                name: Some(name),
                ..metadata_request::MetadataRequestTopic::default()
            });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self.request(Destination::Any, request).await?;
        let mut leaders = BTreeMap::new();
        for topic in response.topics {
            let topic_name = topic.name.unwrap_or_default();
            for partition in topic.partitions {
                let name = TopicPartition::new(topic_name.clone(), partition.partition_index);
                if partition.leader_id >= 0 {
                    leaders.insert(name, partition.leader_id);
                } else if partitions.contains_key(&name) {
                    found.insert(name, Err(Error::Broker(ErrorCode::LEADER_NOT_AVAILABLE)));
                }
            }
            if topic.error_code != 0 {
                let of_topic = partitions.keys().filter(|name| name.topic == topic_name);
                let error = Error::Broker(ErrorCode(topic.error_code));
                found.extend(of_topic.map(|name| (name.clone(), Err(error.clone()))));
            }
        }
        Ok(leaders)
    }
}

fn request(
    partitions: &[(&TopicPartition, OffsetSpec)],
    read_committed: bool,
) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&KafkaString, Vec<_>> = BTreeMap::new();
    for (name, spec) in partitions {
        let partition = list_offsets_request::ListOffsetsPartition {
            partition_index: name.partition,
            timestamp: spec.0,
            ..list_offsets_request::ListOffsetsPartition::default()
        };
        topics.entry(&name.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let unset = list_offsets_request::ListOffsetsTopic::default();
        list_offsets_request::ListOffsetsTopic {
            name: name.clone(),
            partitions,
            ..unset
        }
    });
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: i8::from(read_committed),
        topics: topics.collect(),
        timeout_ms: 30_000,
        ..ListOffsetsRequest::default()
    }
}

fn take(response: ListOffsetsResponse, found: &mut Found) {
    for topic in response.topics {
        for partition in topic.partitions {
            let name = TopicPartition::new(topic.name.clone(), partition.partition_index);
            let listed = ListedOffset {
                offset: partition.offset,
                timestamp: partition.timestamp,
                leader_epoch: partition.leader_epoch,
            };
            found.insert(
                name,
                Error::check(partition.error_code, None).map(|()| listed),
            );
        }
    }
}
