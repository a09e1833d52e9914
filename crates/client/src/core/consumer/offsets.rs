//! Where to begin, and what has been read: offsets looked up and committed.

use std::collections::BTreeMap;

use ottla_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, list_offsets_request, offset_commit_request,
    offset_fetch_request,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::partitions::Position;
use super::{Asked, CommittedOffset, Consumer, IsolationLevel, OffsetReset, TopicPartition};
use crate::Error;
use crate::core::by_topic;
use crate::core::call::{AtMost, RawResponse, RequestId};
use crate::core::cluster::{CoordinatorKind, Destination};

/// The last versions that name topics instead of giving their ids.
const OFFSET_BY_NAME_MAX: i16 = 9;

/// The timestamps that stand for the end and the beginning.
const LATEST_TIMESTAMP: i64 = -1;
const EARLIEST_TIMESTAMP: i64 = -2;

impl Consumer {
    /// Looks up the offsets of partitions that begin where the group left off.
    pub(super) fn fetch_committed(&mut self, now_ms: i64) {
        let Some(group) = &self.group else { return };
        let group_id = group.id.clone();
        let partitions: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.state == Position::AwaitingCommitted)
            .filter(|(_, partition)| partition.may_ask(now_ms))
            .map(|(name, _)| name.clone())
            .collect();
        if partitions.is_empty() {
            return;
        }
        let topics = by_topic(partitions.iter().map(|name| (name, name.partition)));
        let topics = topics.into_iter().map(|(name, partition_indexes)| {
            offset_fetch_request::OffsetFetchRequestTopics {
                name,
                partition_indexes,
                ..offset_fetch_request::OffsetFetchRequestTopics::default()
            }
        });
        let request = OffsetFetchRequest {
            groups: vec![offset_fetch_request::OffsetFetchRequestGroup {
                group_id: group_id.clone(),
                topics: Some(topics.collect()),
                ..offset_fetch_request::OffsetFetchRequestGroup::default()
            }],
            require_stable: true,
            ..OffsetFetchRequest::default()
        };
        let call = Box::new(AtMost {
            request,
            version_max: OFFSET_BY_NAME_MAX,
        });
        let destination = Destination::Coordinator(CoordinatorKind::Group, group_id);
        let deadline_ms = now_ms + self.options.default_api_timeout_ms;
        let id = self.cluster.send(now_ms, destination, call, deadline_ms);
        for name in &partitions {
            if let Some(partition) = self.partitions.get_mut(name) {
                partition.asked = true;
            }
        }
        self.asked.insert(id, Asked::OffsetFetch { partitions });
    }

    pub(super) fn committed_fetched(
        &mut self,
        now_ms: i64,
        asked: &[TopicPartition],
        result: Result<RawResponse, Error>,
    ) {
        let group = result
            .and_then(RawResponse::decode::<OffsetFetchResponse>)
            .and_then(|r| {
                let group = r.groups.into_iter().next();
                let group =
                    group.ok_or_else(|| Error::Protocol("an answer without a group".into()))?;
                Error::check(group.error_code, None).map(|()| group)
            });
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                self.coordinator_failed(&error);
                if !error.is_retriable() {
                    self.fail(error);
                }
                asked.iter().for_each(|name| self.rest(now_ms, name));
                return;
            }
        };
        let reset = self.options.auto_offset_reset;
        for topic in group.topics {
            for answer in topic.partitions {
                let name = TopicPartition::new(topic.name.clone(), answer.partition_index);
                let Some(partition) = self.partitions.get_mut(&name) else {
                    continue;
                };
                if partition.state != Position::AwaitingCommitted {
                    continue;
                }
                match ErrorCode(answer.error_code) {
                    ErrorCode::NONE if answer.committed_offset >= 0 => {
                        partition.seek(Position::At(answer.committed_offset));
                        partition.leader_epoch = answer.committed_leader_epoch;
                    }
                    ErrorCode::NONE => partition.seek(Position::AwaitingReset(reset)),
                    code => {
                        if !code.is_retriable() {
                            self.error.push_back(Error::Broker(code));
                        }
                        self.rest(now_ms, &name);
                    }
                }
            }
        }
    }

    /// Looks up the beginning or end of partitions that begin there.
    pub(super) fn reset_positions(&mut self, now_ms: i64) {
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        let mut without = Vec::new();
        let mut leaderless = false;
        for (name, partition) in &mut self.partitions {
            let Position::AwaitingReset(reset) = partition.state else {
                continue;
            };
            if !partition.may_ask(now_ms) {
                continue;
            }
            let timestamp = match reset {
                OffsetReset::Latest => LATEST_TIMESTAMP,
                OffsetReset::Earliest => EARLIEST_TIMESTAMP,
                OffsetReset::None => {
                    partition.asked = true;
                    without.push(name.clone());
                    continue;
                }
            };
            match self.cluster.metadata().leader(&name.topic, name.partition) {
                Some(leader) => {
                    partition.asked = true;
                    by_leader
                        .entry(leader)
                        .or_default()
                        .push((name.clone(), timestamp));
                }
                None => leaderless = true,
            }
        }
        for TopicPartition { topic, partition } in without {
            self.fail(Error::NoOffset {
                topic: topic.to_string(),
                partition,
            });
        }
        if leaderless {
            self.cluster.refresh_metadata(now_ms);
        }
        for (leader, partitions) in by_leader {
            self.list_offsets(now_ms, leader, partitions);
        }
    }

    fn list_offsets(&mut self, now_ms: i64, leader: i32, partitions: Vec<(TopicPartition, i64)>) {
        let metadata = self.cluster.metadata();
        let topics = by_topic(partitions.iter().map(|(name, timestamp)| {
            let known = metadata.partition(&name.topic, name.partition);
            let partition = list_offsets_request::ListOffsetsPartition {
                partition_index: name.partition,
                current_leader_epoch: known.map_or(-1, |partition| partition.leader_epoch),
                timestamp: *timestamp,
                ..list_offsets_request::ListOffsetsPartition::default()
            };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(name, partitions)| {
            let unset = list_offsets_request::ListOffsetsTopic::default();
            list_offsets_request::ListOffsetsTopic {
                name,
                partitions,
                ..unset
            }
        });
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(
                self.options.isolation_level == IsolationLevel::ReadCommitted,
            ),
            topics: topics.collect(),
            ..ListOffsetsRequest::default()
        };
        let deadline_ms = now_ms + self.options.cluster.request_timeout_ms;
        let destination = Destination::Broker(leader);
        let id = self
            .cluster
            .send_once(now_ms, destination, Box::new(request), deadline_ms);
        let partitions = partitions.into_iter().map(|(name, _)| name).collect();
        self.asked.insert(id, Asked::ListOffsets { partitions });
    }

    pub(super) fn offsets_listed(
        &mut self,
        now_ms: i64,
        asked: &[TopicPartition],
        result: Result<RawResponse, Error>,
    ) {
        let response = match result.and_then(RawResponse::decode::<ListOffsetsResponse>) {
            Ok(response) => response,
            Err(error) => {
                if !error.is_retriable() {
                    self.fail(error);
                }
                self.cluster.refresh_metadata(now_ms);
                asked.iter().for_each(|name| self.rest(now_ms, name));
                return;
            }
        };
        for topic in response.topics {
            for answer in topic.partitions {
                let name = TopicPartition::new(topic.name.clone(), answer.partition_index);
                let Some(partition) = self.partitions.get_mut(&name) else {
                    continue;
                };
                if !matches!(partition.state, Position::AwaitingReset(_)) {
                    continue;
                }
                match ErrorCode(answer.error_code) {
                    ErrorCode::NONE => {
                        partition.seek(Position::At(answer.offset.max(0)));
                        partition.failures = 0;
                    }
                    code => {
                        if !code.is_retriable() {
                            self.error.push_back(Error::Broker(code));
                        }
                        self.cluster.refresh_metadata(now_ms);
                        self.rest(now_ms, &name);
                    }
                }
            }
        }
    }

    /// The offsets up to which the user has read.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<TopicPartition, CommittedOffset> {
        self.partitions
            .iter()
            .filter_map(|(name, partition)| {
                let offset = partition.position()?;
                let leader_epoch = partition.leader_epoch;
                let committed = CommittedOffset {
                    offset,
                    leader_epoch,
                    metadata: KafkaString::new(),
                };
                Some((name.clone(), committed))
            })
            .collect()
    }

    /// Commits offsets; [`super::ConsumerEvent::Committed`] tells when it is done.
    pub fn commit(
        &mut self,
        now_ms: i64,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<RequestId, Error> {
        self.send_commit(now_ms, offsets, true)
            .ok_or_else(|| Error::Misuse("committing needs a group.id".into()))
    }

    fn send_commit(
        &mut self,
        now_ms: i64,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
        announce: bool,
    ) -> Option<RequestId> {
        let group = self.group.as_ref()?;
        let topics = by_topic(offsets.iter().map(|(name, committed)| {
            let partition = offset_commit_request::OffsetCommitRequestPartition {
                partition_index: name.partition,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                committed_metadata: Some(committed.metadata.clone()),
                ..offset_commit_request::OffsetCommitRequestPartition::default()
            };
            (name, partition)
        }));
        let topics = topics.into_iter().map(|(name, partitions)| {
            let unset = offset_commit_request::OffsetCommitRequestTopic::default();
            offset_commit_request::OffsetCommitRequestTopic {
                name,
                partitions,
                ..unset
            }
        });
        let subscribed = self.subscription.topics().is_some();
        let request = OffsetCommitRequest {
            group_id: group.id.clone(),
            generation_id_or_member_epoch: if subscribed { group.generation_id } else { -1 },
            member_id: if subscribed {
                group.member_id.clone()
            } else {
                KafkaString::new()
            },
            group_instance_id: group.instance_id.clone().filter(|_| subscribed),
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        };
        let destination = Destination::Coordinator(CoordinatorKind::Group, group.id.clone());
        let call = Box::new(AtMost {
            request,
            version_max: OFFSET_BY_NAME_MAX,
        });
        let deadline_ms = now_ms + self.options.default_api_timeout_ms;
        let id = self.cluster.send(now_ms, destination, call, deadline_ms);
        self.asked.insert(id, Asked::Commit { announce });
        Some(id)
    }

    pub(super) fn commit_positions(&mut self, now_ms: i64) -> Option<RequestId> {
        let positions = self.positions();
        if positions.is_empty() {
            return None;
        }
        self.send_commit(now_ms, &positions, false)
    }

    /// Commits what earlier polls gave, if it is time to.
    pub(super) fn auto_commit(&mut self, now_ms: i64) {
        if !self.options.enable_auto_commit || now_ms < self.auto_commit_ms {
            return;
        }
        let first = self.auto_commit_ms == i64::MIN;
        self.auto_commit_ms = now_ms + self.options.auto_commit_interval_ms;
        if !first {
            self.commit_positions(now_ms);
        }
    }

    pub(super) fn committed(
        &mut self,
        now_ms: i64,
        result: Result<RawResponse, Error>,
    ) -> Result<(), Error> {
        self.commit_settled(now_ms);
        let response = result.and_then(RawResponse::decode::<OffsetCommitResponse>)?;
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions);
        let first = codes
            .map(|answer| ErrorCode(answer.error_code))
            .find(|code| !code.is_none());
        let Some(code) = first else { return Ok(()) };
        let error = Error::Broker(code);
        self.coordinator_failed(&error);
        self.membership_failed(now_ms, code);
        Err(error)
    }
}
