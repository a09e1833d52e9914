//! Records fetched, and acknowledgements told.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::messages::{
    ShareAcknowledgeRequest, ShareFetchRequest, ShareFetchResponse, share_acknowledge_request,
    share_fetch_request, share_fetch_response,
};
use ottla_protocol::{ErrorCode, Uuid};

use super::{AcknowledgeType, Asked, GAP, PartitionId, Session, ShareConsumer, ShareRecord};
use crate::Error;
use crate::core::TopicPartition;
use crate::core::call::RawResponse;
use crate::core::cluster::Destination;
use crate::core::consumer::decode_records;

/// The epoch that ends a session.
const FINAL_EPOCH: i32 = -1;

/// Offsets that follow each other, with the number of their type each.
struct Run {
    first: i64,
    types: Vec<i8>,
}

impl Run {
    fn last(&self) -> i64 {
        self.first + i64::try_from(self.types.len()).unwrap_or(i64::MAX) - 1
    }
}

/// Offsets in runs without gaps.
fn runs(offsets: BTreeMap<i64, i8>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (offset, code) in offsets {
        match runs.last_mut() {
            Some(run) if run.last() + 1 == offset => run.types.push(code),
            _ => runs.push(Run {
                first: offset,
                types: vec![code],
            }),
        }
    }
    runs
}

impl ShareConsumer {
    /// The leader of each assigned partition, as far as they are known.
    fn leaders(&self) -> BTreeMap<i32, BTreeSet<PartitionId>> {
        let mut leaders: BTreeMap<i32, BTreeSet<PartitionId>> = BTreeMap::new();
        for (topic_id, index) in &self.assignment {
            let topic = self.cluster.metadata().topic_by_id(*topic_id);
            let partition = topic.and_then(|topic| topic.partitions.get(index));
            if let Some(partition) = partition.filter(|partition| partition.leader >= 0) {
                let of_leader = leaders.entry(partition.leader).or_default();
                of_leader.insert((*topic_id, *index));
            }
        }
        leaders
    }

    pub(super) fn fetch(&mut self, now_ms: i64) {
        let wants = self.is_polled && self.records.is_empty() && now_ms >= self.fetch_after_ms;
        if !wants {
            return;
        }
        let leaders = self.leaders();
        let found: usize = leaders.values().map(BTreeSet::len).sum();
        if found < self.assignment.len() {
            self.cluster.refresh_metadata(now_ms);
        }
        for (broker, partitions) in leaders {
            if self.sessions.entry(broker).or_default().is_asked {
                continue;
            }
            let request = self.fetch_request(broker, &partitions);
            let wait_ms = i64::from(self.options.fetch_max_wait_ms) + 1_000;
            let timeout_ms = self.options.cluster.request_timeout_ms.max(wait_ms);
            let destination = Destination::Broker(broker);
            let deadline_ms = now_ms + timeout_ms;
            let call = Box::new(request);
            let id = self
                .cluster
                .send_once(now_ms, destination, call, deadline_ms);
            self.asked.insert(id, Asked::Fetch(broker));
        }
    }

    /// What is asked of a broker, beside what it remembers.
    fn fetch_request(
        &mut self,
        broker: i32,
        partitions: &BTreeSet<PartitionId>,
    ) -> ShareFetchRequest {
        let session = self.sessions.entry(broker).or_default();
        session.is_asked = true;
        let opens = session.epoch == 0;
        if opens {
            session.partitions.clear();
        }
        let mut topics: BTreeMap<Uuid, Vec<share_fetch_request::FetchPartition>> = BTreeMap::new();
        for id in partitions {
            // A session is opened before anything is acknowledged in it.
            let acknowledged = match opens {
                true => BTreeMap::new(),
                false => self.acknowledged.remove(id).unwrap_or_default(),
            };
            if session.partitions.contains(id) && acknowledged.is_empty() {
                continue;
            }
            let batches = runs(acknowledged).into_iter().map(|run| {
                share_fetch_request::AcknowledgementBatch {
                    first_offset: run.first,
                    last_offset: run.last(),
                    acknowledge_types: run.types,
                    ..share_fetch_request::AcknowledgementBatch::default()
                }
            });
            let partition = share_fetch_request::FetchPartition {
                partition_index: id.1,
                acknowledgement_batches: batches.collect(),
                ..share_fetch_request::FetchPartition::default()
            };
            topics.entry(id.0).or_default().push(partition);
        }
        let mut forgotten: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic_id, index) in session.partitions.difference(partitions) {
            forgotten.entry(*topic_id).or_default().push(*index);
        }
        session.partitions.clone_from(partitions);
        let records = i32::try_from(self.options.max_poll_records).unwrap_or(i32::MAX);
        let topics =
            topics
                .into_iter()
                .map(|(topic_id, partitions)| share_fetch_request::FetchTopic {
                    topic_id,
                    partitions,
                    ..share_fetch_request::FetchTopic::default()
                });
        let forgotten = forgotten.into_iter().map(|(topic_id, partitions)| {
            share_fetch_request::ForgottenTopic {
                topic_id,
                partitions,
                ..share_fetch_request::ForgottenTopic::default()
            }
        });
        ShareFetchRequest {
            group_id: Some(self.options.group_id.clone()),
            member_id: Some(self.member.id.clone()),
            share_session_epoch: session.epoch,
            max_wait_ms: self.options.fetch_max_wait_ms,
            min_bytes: self.options.fetch_min_bytes,
            max_bytes: self.options.fetch_max_bytes,
            max_records: records,
            batch_size: records,
            topics: topics.collect(),
            forgotten_topics_data: forgotten.collect(),
            ..ShareFetchRequest::default()
        }
    }

    pub(super) fn fetched(&mut self, now_ms: i64, broker: i32, result: Result<RawResponse, Error>) {
        let response = result
            .and_then(RawResponse::decode::<ShareFetchResponse>)
            .and_then(|response| {
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            });
        let session = self.sessions.entry(broker).or_default();
        session.is_asked = false;
        match response {
            Ok(response) => {
                session.epoch = session.epoch.checked_add(1).unwrap_or(1);
                for topic in response.responses {
                    for partition in topic.partitions {
                        self.take(now_ms, topic.topic_id, partition);
                    }
                }
            }
            Err(error) => {
                session.epoch = 0;
                session.partitions.clear();
                let backoff = self.options.cluster.retry_backoff.initial_ms;
                self.fetch_after_ms = now_ms + backoff;
                let session_lost = matches!(
                    error.code(),
                    Some(
                        ErrorCode::SHARE_SESSION_NOT_FOUND | ErrorCode::INVALID_SHARE_SESSION_EPOCH
                    )
                );
                if !session_lost && !error.is_retriable() {
                    self.errors.push_back(error);
                }
            }
        }
    }

    fn take(
        &mut self,
        now_ms: i64,
        topic_id: Uuid,
        partition: share_fetch_response::PartitionData,
    ) {
        let id = (topic_id, partition.partition_index);
        let message = partition.error_message.as_deref();
        if let Err(error) = Error::check(partition.error_code, message) {
            let backoff = self.options.cluster.retry_backoff.initial_ms;
            self.fetch_after_ms = now_ms + backoff;
            if ErrorCode(partition.error_code).means_stale_metadata() {
                self.cluster.refresh_metadata(now_ms);
            } else if !error.is_retriable() {
                self.errors.push_back(error);
            }
            return;
        }
        let topic = self.cluster.metadata().topic_by_id(topic_id);
        let (Some(topic), Some(bytes)) = (topic, partition.records) else {
            return;
        };
        let name = TopicPartition::new(topic.name.clone(), id.1);
        let decoded = decode_records(&name, bytes, self.options.check_crcs, &mut self.workspace);
        let mut records = match decoded {
            Ok(records) => records
                .into_iter()
                .map(|record| (record.offset, record))
                .collect::<BTreeMap<_, _>>(),
            Err(error) => {
                self.errors.push_back(error);
                return;
            }
        };
        for acquired in partition.acquired_records {
            for offset in acquired.first_offset..=acquired.last_offset {
                match records.remove(&offset) {
                    Some(record) => self.records.push_back((
                        id,
                        ShareRecord {
                            record,
                            delivery_count: acquired.delivery_count,
                        },
                    )),
                    // A marker, or what the cleaner has taken away.
                    None => {
                        self.acknowledged.entry(id).or_default().insert(offset, GAP);
                    }
                }
            }
        }
    }

    /// Ends every session, with all that is still to be told; what the user never got goes back.
    pub(super) fn close_sessions(&mut self, now_ms: i64) {
        for (id, record) in std::mem::take(&mut self.records) {
            let offsets = self.acknowledged.entry(id).or_default();
            offsets.insert(record.record.offset, AcknowledgeType::Release.code());
        }
        let sessions = std::mem::take(&mut self.sessions);
        for (broker, session) in sessions
            .into_iter()
            .filter(|(_, session)| session.epoch > 0)
        {
            let request = self.final_request(&session);
            let deadline_ms = now_ms + self.options.cluster.request_timeout_ms;
            let destination = Destination::Broker(broker);
            let call = Box::new(request);
            let id = self
                .cluster
                .send_once(now_ms, destination, call, deadline_ms);
            self.asked.insert(id, Asked::Close);
        }
    }

    fn final_request(&mut self, session: &Session) -> ShareAcknowledgeRequest {
        let mut topics: BTreeMap<Uuid, Vec<share_acknowledge_request::AcknowledgePartition>> =
            BTreeMap::new();
        for id in &session.partitions {
            let Some(acknowledged) = self.acknowledged.remove(id) else {
                continue;
            };
            let batches = runs(acknowledged).into_iter().map(|run| {
                share_acknowledge_request::AcknowledgementBatch {
                    first_offset: run.first,
                    last_offset: run.last(),
                    acknowledge_types: run.types,
                    ..share_acknowledge_request::AcknowledgementBatch::default()
                }
            });
            let partition = share_acknowledge_request::AcknowledgePartition {
                partition_index: id.1,
                acknowledgement_batches: batches.collect(),
                ..share_acknowledge_request::AcknowledgePartition::default()
            };
            topics.entry(id.0).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| {
            share_acknowledge_request::AcknowledgeTopic {
                topic_id,
                partitions,
                ..share_acknowledge_request::AcknowledgeTopic::default()
            }
        });
        ShareAcknowledgeRequest {
            group_id: Some(self.options.group_id.clone()),
            member_id: Some(self.member.id.clone()),
            share_session_epoch: FINAL_EPOCH,
            topics: topics.collect(),
            ..ShareAcknowledgeRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_told_in_runs() {
        let offsets = BTreeMap::from([(3, 1), (4, 1), (5, 2), (9, 0)]);
        let runs: Vec<(i64, i64, Vec<i8>)> = runs(offsets)
            .into_iter()
            .map(|run| (run.first, run.last(), run.types))
            .collect();
        assert_eq!(runs, [(3, 5, vec![1, 1, 2]), (9, 9, vec![0])]);
    }
}
