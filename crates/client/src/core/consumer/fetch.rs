//! Asking leaders for records, ahead of the user.

use std::collections::BTreeMap;

use ottla_protocol::messages::{FetchRequest, FetchResponse, fetch_request, fetch_response};
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::partitions::Position;
use super::records::Fetched;
use super::{Asked, Consumer, IsolationLevel, TopicPartition};
use crate::Error;
use crate::core::call::{AtMost, RawResponse};
use crate::core::cluster::Destination;

/// The last version that names topics instead of giving their ids.
const FETCH_BY_NAME_MAX: i16 = 12;

impl Consumer {
    pub(super) fn send_fetches(&mut self, now_ms: i64) {
        for (leader, partitions) in self.fetchable(now_ms) {
            if !self.cluster.can_send(leader) {
                self.cluster.connect(now_ms, leader);
                continue;
            }
            let call = self.fetch_request(&partitions);
            let timeout_ms = self
                .options
                .cluster
                .request_timeout_ms
                .max(i64::from(self.options.fetch_max_wait_ms) + 1_000);
            let destination = Destination::Broker(leader);
            let id =
                self.cluster
                    .send_once(now_ms, destination, Box::new(call), now_ms + timeout_ms);
            for (name, _) in &partitions {
                if let Some(partition) = self.partitions.get_mut(name) {
                    partition.asked = true;
                }
            }
            let with_era = |(name, _): (TopicPartition, i64)| {
                let era = self
                    .partitions
                    .get(&name)
                    .map_or(0, |partition| partition.era);
                (name, i64::try_from(era).unwrap_or(i64::MAX))
            };
            let partitions = partitions.into_iter().map(with_era).collect();
            self.fetching.insert(leader);
            self.asked.insert(
                id,
                Asked::Fetch {
                    broker: leader,
                    partitions,
                },
            );
        }
    }

    /// The partitions to ask each leader for, with the offsets.
    fn fetchable(&mut self, now_ms: i64) -> BTreeMap<i32, Vec<(TopicPartition, i64)>> {
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        let enough = usize::try_from(self.options.max_partition_fetch_bytes).unwrap_or(0) / 2;
        let mut leaderless = false;
        for (name, partition) in &self.partitions {
            let known = matches!(partition.state, Position::At(_));
            let full = partition.has_data() && partition.buffered_bytes >= enough;
            if !known || full || partition.paused || !partition.may_ask(now_ms) {
                continue;
            }
            match self.cluster.metadata().leader(&name.topic, name.partition) {
                Some(leader) if !self.fetching.contains(&leader) => {
                    let wanted = by_leader.entry(leader).or_default();
                    wanted.push((name.clone(), partition.fetch_offset));
                }
                Some(_) => {}
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.refresh_metadata(now_ms);
        }
        by_leader
    }

    fn fetch_request(&self, partitions: &[(TopicPartition, i64)]) -> AtMost<FetchRequest> {
        let metadata = self.cluster.metadata();
        let mut version_max = i16::MAX;
        let mut topics: BTreeMap<&KafkaString, fetch_request::FetchTopic> = BTreeMap::new();
        for (name, offset) in partitions {
            let topic = topics
                .entry(&name.topic)
                .or_insert_with(|| fetch_request::FetchTopic {
                    topic: name.topic.clone(),
                    topic_id: metadata.topic_id(&name.topic).unwrap_or(Uuid::ZERO),
                    ..fetch_request::FetchTopic::default()
                });
            if topic.topic_id.is_zero() {
                version_max = FETCH_BY_NAME_MAX;
            }
            let known = metadata.partition(&name.topic, name.partition);
            topic.partitions.push(fetch_request::FetchPartition {
                partition: name.partition,
                current_leader_epoch: known.map_or(-1, |partition| partition.leader_epoch),
                fetch_offset: *offset,
                partition_max_bytes: self.options.max_partition_fetch_bytes,
                ..fetch_request::FetchPartition::default()
            });
        }
        let request = FetchRequest {
            max_wait_ms: self.options.fetch_max_wait_ms,
            min_bytes: self.options.fetch_min_bytes,
            max_bytes: self.options.fetch_max_bytes,
            isolation_level: i8::from(
                self.options.isolation_level == IsolationLevel::ReadCommitted,
            ),
            topics: topics.into_values().collect(),
            ..FetchRequest::default()
        };
        AtMost {
            request,
            version_max,
        }
    }

    pub(super) fn fetched(
        &mut self,
        now_ms: i64,
        asked: &[(TopicPartition, i64)],
        result: Result<RawResponse, Error>,
    ) {
        for (name, era) in asked {
            let Some(partition) = self.partitions.get_mut(name) else {
                continue;
            };
            if i64::try_from(partition.era) == Ok(*era) {
                partition.asked = false;
            }
        }
        let response = result
            .and_then(RawResponse::decode::<FetchResponse>)
            .and_then(|response| Error::check(response.error_code, None).map(|()| response));
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                if !error.is_retriable() {
                    self.fail(error);
                }
                for (name, _) in asked {
                    self.rest(now_ms, name);
                }
                self.cluster.refresh_metadata(now_ms);
                return;
            }
        };
        for topic in response.responses {
            let by_id = self.cluster.metadata().topic_by_id(topic.topic_id);
            let topic_name = by_id.map_or(topic.topic, |known| known.name.clone());
            for answer in topic.partitions {
                let name = TopicPartition::new(topic_name.clone(), answer.partition_index);
                let era = asked
                    .iter()
                    .find(|(asked, _)| *asked == name)
                    .map(|(_, era)| *era);
                let current = self.partitions.get(&name).map(|p| i64::try_from(p.era));
                if era.is_some() && current == era.map(Ok) {
                    self.partition_fetched(now_ms, &name, answer);
                }
            }
        }
    }

    fn partition_fetched(
        &mut self,
        now_ms: i64,
        name: &TopicPartition,
        answer: fetch_response::PartitionData,
    ) {
        let Some(partition) = self.partitions.get_mut(name) else {
            return;
        };
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                partition.failures = 0;
                partition.high_watermark = Some(answer.high_watermark);
                let bytes = answer.records.unwrap_or_default();
                if bytes.is_empty() {
                    return;
                }
                let aborted: Vec<(i64, i64)> = answer
                    .aborted_transactions
                    .unwrap_or_default()
                    .iter()
                    .map(|aborted| (aborted.producer_id, aborted.first_offset))
                    .collect();
                let fetched = Fetched::new(bytes, partition.fetch_offset, &aborted);
                partition.fetch_offset = fetched.end_offset();
                partition.buffered_bytes += fetched.size();
                partition.data.push_back(fetched);
            }
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                if partition.has_data() {
                    // What is there comes first; the offset is asked for again after it.
                    return;
                }
                partition.seek(Position::AwaitingReset(self.options.auto_offset_reset));
            }
            code => {
                if code.means_stale_metadata() || code.is_retriable() {
                    self.cluster.refresh_metadata(now_ms);
                } else {
                    self.fail(Error::Broker(code));
                }
                self.rest(now_ms, name);
            }
        }
    }

    /// Asks nothing about the partition for a while.
    pub(super) fn rest(&mut self, now_ms: i64, name: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(name) else {
            return;
        };
        partition.asked = false;
        partition.failures += 1;
        let backoff = self.options.cluster.retry_backoff;
        let wait = backoff.after(partition.failures, self.cluster.random());
        partition.not_before_ms = now_ms + wait;
    }
}
