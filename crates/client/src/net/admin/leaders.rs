//! Requests that only a partition's leader answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla_protocol::messages::{MetadataRequest, Request, metadata_request};
use ottla_protocol::{ErrorCode, KafkaString};

use super::Admin;
use crate::Error;
use crate::core::Destination;
use crate::core::admin::TopicPartition;

/// How long to wait before asking again for a leader.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// Each partition's answer, or what is wrong with it.
pub(super) type Found<T> = BTreeMap<TopicPartition, Result<T, Error>>;

impl Admin {
    /// Asks the leaders of partitions, each for its own, until every partition has an answer or an
    /// error that no repetition helps against.
    pub(super) async fn ask_leaders<R, T>(
        &self,
        partitions: BTreeSet<TopicPartition>,
        request: impl Fn(&[&TopicPartition]) -> R,
        take: impl Fn(R::Response) -> Vec<(TopicPartition, Result<T, Error>)>,
    ) -> Result<Found<T>, Error>
    where
        R: Request + Send + 'static,
    {
        let deadline_ms = self.shared.now_ms().saturating_add(self.timeout_ms);
        let mut found = Found::new();
        let mut missing = partitions;
        while !missing.is_empty() {
            let leaders = self.leaders(&missing, &mut found).await?;
            let mut by_leader: BTreeMap<i32, Vec<&TopicPartition>> = BTreeMap::new();
            for (name, leader) in &leaders {
                if let Some(name) = missing.get(name) {
                    by_leader.entry(*leader).or_default().push(name);
                }
            }
            let mut pending = Vec::new();
            for (leader, partitions) in by_leader {
                pending.push(self.start(Destination::Broker(leader), request(&partitions)));
            }
            for pending in pending {
                found.extend(take(pending.wait().await?.decode()?));
            }
            let late = self.shared.now_ms() >= deadline_ms;
            let settled = |name: &TopicPartition| match found.get(name) {
                Some(Err(error)) => late || !error.is_retriable(),
                Some(Ok(_)) => true,
                None => false,
            };
            missing.retain(|name| !settled(name));
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
    async fn leaders<T>(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        found: &mut Found<T>,
    ) -> Result<BTreeMap<TopicPartition, i32>, Error> {
        let mut names: Vec<KafkaString> = partitions
            .iter()
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
                } else if partitions.contains(&name) {
                    found.insert(name, Err(Error::Broker(ErrorCode::LEADER_NOT_AVAILABLE)));
                }
            }
            if topic.error_code != 0 {
                let of_topic = partitions.iter().filter(|name| name.topic == topic_name);
                let error = Error::Broker(ErrorCode(topic.error_code));
                found.extend(of_topic.map(|name| (name.clone(), Err(error.clone()))));
            }
        }
        Ok(leaders)
    }
}
