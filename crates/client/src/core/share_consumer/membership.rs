//! The consumer's place in the group.

use ottla_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::{Asked, ShareConsumer};
use crate::Error;
use crate::core::call::RawResponse;
use crate::core::cluster::{CoordinatorKind, Destination};

/// The epochs that join and leave.
const JOIN_EPOCH: i32 = 0;
const LEAVE_EPOCH: i32 = -1;

impl ShareConsumer {
    fn coordinator(&self) -> Destination {
        Destination::Coordinator(CoordinatorKind::Group, self.options.group_id.clone())
    }

    fn heartbeat_request(&self, epoch: i32) -> ShareGroupHeartbeatRequest {
        let joins = epoch == JOIN_EPOCH;
        let rack = Some(self.options.client_rack.clone()).filter(|rack| !rack.is_empty());
        ShareGroupHeartbeatRequest {
            group_id: self.options.group_id.clone(),
            member_id: self.member.id.clone(),
            member_epoch: epoch,
            rack_id: rack.filter(|_| joins),
            subscribed_topic_names: joins.then(|| self.topics.iter().cloned().collect()),
            ..ShareGroupHeartbeatRequest::default()
        }
    }

    pub(super) fn heartbeat(&mut self, now_ms: i64) {
        let due = now_ms >= self.member.heartbeat_due_ms;
        if self.topics.is_empty() || self.member.is_asked || !due {
            return;
        }
        let request = self.heartbeat_request(self.member.epoch);
        let deadline_ms = now_ms + self.options.cluster.request_timeout_ms;
        let destination = self.coordinator();
        let id = self
            .cluster
            .send(now_ms, destination, Box::new(request), deadline_ms);
        self.member.is_asked = true;
        self.asked.insert(id, Asked::Heartbeat);
    }

    pub(super) fn leave(&mut self, now_ms: i64) {
        if self.member.epoch <= JOIN_EPOCH {
            return;
        }
        let request = self.heartbeat_request(LEAVE_EPOCH);
        let deadline_ms = now_ms + self.options.cluster.request_timeout_ms;
        let destination = self.coordinator();
        let id = self
            .cluster
            .send(now_ms, destination, Box::new(request), deadline_ms);
        self.asked.insert(id, Asked::Leave);
    }

    pub(super) fn heartbeat_answered(&mut self, now_ms: i64, result: Result<RawResponse, Error>) {
        self.member.is_asked = false;
        let checked = result
            .and_then(RawResponse::decode::<ShareGroupHeartbeatResponse>)
            .and_then(|response| {
                Error::check(response.error_code, response.error_message.as_deref())?;
                Ok(response)
            });
        match checked {
            Ok(response) => self.confirmed(now_ms, response),
            Err(error) => self.refused(now_ms, error),
        }
    }

    fn confirmed(&mut self, now_ms: i64, response: ShareGroupHeartbeatResponse) {
        self.member.failures = 0;
        self.member.epoch = response.member_epoch;
        self.member.interval_ms = i64::from(response.heartbeat_interval_ms);
        self.member.heartbeat_due_ms = now_ms + self.member.interval_ms;
        let Some(assignment) = response.assignment else {
            return;
        };
        let partitions = assignment.topic_partitions.into_iter().flat_map(|topic| {
            let id = topic.topic_id;
            topic.partitions.into_iter().map(move |index| (id, index))
        });
        self.assignment = partitions.collect();
        self.records.retain(|(id, _)| self.assignment.contains(id));
    }

    fn refused(&mut self, now_ms: i64, error: Error) {
        match error.code() {
            Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH) => {
                self.member.epoch = JOIN_EPOCH;
                self.assignment.clear();
                self.records.clear();
                self.taken.clear();
            }
            Some(ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) => {
                let group: &KafkaString = &self.options.group_id;
                self.cluster
                    .forget_coordinator(CoordinatorKind::Group, group);
            }
            _ if error.is_retriable() => {}
            _ => self.errors.push_back(error),
        }
        self.member.failures += 1;
        let backoff = self.options.cluster.retry_backoff;
        let wait_ms = backoff.after(self.member.failures, self.cluster.random());
        self.member.heartbeat_due_ms = now_ms + wait_ms;
    }
}
