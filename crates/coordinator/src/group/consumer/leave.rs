//! Members that leave a consumer group, or are out because nothing was heard of them.

use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::assignment::EpochsByTopic;
use super::decision::ConsumerDecision;
use super::heartbeat::known_static_member;
use super::member::ConsumerMember;
use super::records;
use crate::group::hash_order::HashOrdered;
use crate::group::member_epoch::EPOCH_LEAVE_TEMPORARILY;
use crate::group::refusal::Refusal;

impl ConsumerDecision<'_> {
    /// The member that the request says leaves.
    pub(in crate::group) fn leaving_member(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Arc<ConsumerMember>, Refusal> {
        let member_id = &request.member_id;
        let member = match &request.instance_id {
            Some(instance_id) => known_static_member(self.group, member_id, instance_id)?,
            None => self
                .group
                .member(member_id)
                .ok_or_else(|| Refusal::unknown_member(member_id, &self.group.group_id))?,
        };
        Ok(Arc::clone(member))
    }

    /// A static member leaves, and means to come back: its partitions wait for it.
    pub(in crate::group) fn leave_temporarily(
        &mut self,
        member: &ConsumerMember,
    ) -> ConsumerGroupHeartbeatResponse {
        tracing::info!(
            group = %self.group.group_id,
            member = %member.member_id,
            "a static member leaves for a while"
        );
        let mut left = member.clone();
        left.member_epoch = EPOCH_LEAVE_TEMPORARILY;
        left.partitions_pending_revocation = Arc::default();
        left.assigned_partitions = Arc::new(with_epoch_zero(&member.assigned_partitions));
        let record = records::current_assignment(&self.group.group_id, &left);
        self.effects.records.push(record);
        ConsumerGroupHeartbeatResponse {
            member_id: Some(member.member_id.clone()),
            member_epoch: EPOCH_LEAVE_TEMPORARILY,
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }

    /// Takes members out of the group, which enters a new epoch.
    pub(in crate::group) fn fence(&mut self, members: &[Arc<ConsumerMember>]) {
        if members.is_empty() {
            return;
        }
        let group = self.group;
        for member in members {
            self.remove_member_records(&member.member_id);
        }
        let mut topics = group.subscribed_topics.clone();
        let mut regexes: HashOrdered<KafkaString, usize> = HashOrdered::default();
        for member in members {
            topics.remove_member(member);
            if let Some(regex) = member.regex() {
                super::group::increase(&mut regexes, regex);
            }
        }
        for (regex, count) in regexes.iter() {
            if group.regex_member_count(regex) != *count {
                continue;
            }
            let record = records::regular_expression_tombstone(&group.group_id, regex);
            self.effects.records.push(record);
            if let Some(resolved) = group.resolved_regexes.get(regex) {
                topics.remove_regex(&resolved.topics);
            }
        }
        let metadata_hash = self.metadata.group_hash(topics.names());
        self.bump_epoch(group.group_epoch + 1, metadata_hash);
        for member in members {
            self.cancel_timers(&member.member_id);
        }
    }

    pub(super) fn remove_member_records(&mut self, member_id: &KafkaString) {
        let group_id = &self.group.group_id;
        let tombstones = records::KIND.member_tombstones(group_id, member_id);
        self.effects.records.extend(tombstones);
    }
}

fn with_epoch_zero(topics: &EpochsByTopic) -> EpochsByTopic {
    let mut reset = EpochsByTopic::default();
    for (topic_id, partitions) in topics.iter() {
        let mut epochs = HashOrdered::default();
        for partition in partitions.keys() {
            epochs.insert(*partition, 0);
        }
        reset.insert(*topic_id, epochs);
    }
    reset
}
