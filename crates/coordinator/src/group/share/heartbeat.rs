//! ShareGroupHeartbeat: a member joins, leaves, or learns what it is to have.

use std::sync::Arc;

use ottla_protocol::messages::share_group_heartbeat_response as response;
use ottla_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::coordinate::ShareHeartbeat;
use super::group::SubscribedTopics;
use super::member::ShareMember;
use super::records;
use super::target::ShareDecision;
use crate::group::consumer::SubscriptionType;
use crate::group::decision::Client;
use crate::group::hash_order::HashOrderedSet;
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE};
use crate::group::pace::RefreshDeadline;
use crate::group::refusal::Refusal;

pub(super) fn validate_heartbeat(request: &ShareGroupHeartbeatRequest) -> Result<(), Refusal> {
    Refusal::not_blank(Some(&request.member_id), "MemberId can't be empty.")?;
    Refusal::not_blank(Some(&request.group_id), "GroupId can't be empty.")?;
    Refusal::not_blank(request.rack_id.as_ref(), "RackId can't be empty.")?;
    let names = request.subscribed_topic_names.as_ref();
    if request.member_epoch == EPOCH_JOIN && names.is_none_or(Vec::is_empty) {
        return Err(Refusal::invalid_request(
            "SubscribedTopicNames must be set in first request.",
        ));
    }
    if request.member_epoch < EPOCH_LEAVE {
        return Err(Refusal::invalid_request("MemberEpoch is invalid."));
    }
    Ok(())
}

impl ShareDecision<'_> {
    /// A member that stays or joins.
    pub(super) fn heartbeat(
        &mut self,
        client: &Client,
        request: &ShareGroupHeartbeatRequest,
    ) -> Result<ShareHeartbeat, Refusal> {
        let group = self.group;
        self.check_size(&request.member_id)?;
        let earlier = self.find_member(request)?;
        let mut updated = with_request(&earlier, client, request);
        let mut has_changed = self.note_subscription(&earlier, &updated);
        if group.assignment_epoch >= group.group_epoch {
            has_changed |= self.has_unassigned_partitions();
        }
        let mut epoch = (
            group.group_epoch,
            group
                .subscribed_topics
                .subscription_type(group.members.len()),
        );
        let mut topics = None;
        if has_changed || self.needs_refresh() {
            let after = self.topics_after(&earlier, &updated);
            let refreshed = self.refresh_subscriptions(&updated, &after, has_changed);
            has_changed |= refreshed.0 != group.group_epoch;
            epoch = refreshed;
            topics = Some(after);
        }
        let target = self.update_target(&updated, epoch);
        updated = self.reconcile(updated, &target, has_changed);
        self.expect_heartbeat(&updated.member_id);
        let starting =
            self.start_partitions(epoch.0, topics.as_ref().unwrap_or(&group.subscribed_topics));
        Ok(ShareHeartbeat {
            response: self.respond(request, &earlier, &updated),
            starting,
        })
    }

    fn check_size(&self, member_id: &KafkaString) -> Result<(), Refusal> {
        let size_max = self.config.share.group_size_max;
        let is_member = self.group.members.contains(member_id);
        if self.group.members.len() >= size_max && !is_member {
            return Err(Refusal::new(
                ErrorCode::GROUP_MAX_SIZE_REACHED,
                format!("The share group has reached its maximum capacity of {size_max} members."),
            ));
        }
        Ok(())
    }

    fn find_member(
        &self,
        request: &ShareGroupHeartbeatRequest,
    ) -> Result<Arc<ShareMember>, Refusal> {
        let member_id = &request.member_id;
        let is_joining = request.member_epoch == EPOCH_JOIN;
        let member = match self.group.members.get(member_id) {
            Some(member) => Arc::clone(member),
            None if is_joining => Arc::new(ShareMember::new(member_id.detached())),
            None => return Err(Refusal::unknown_member(member_id, &self.group.group_id)),
        };
        check_epoch(&member, request.member_epoch)?;
        if is_joining {
            tracing::info!(
                group = %self.group.group_id,
                member = %member_id,
                "a member joins by the share protocol"
            );
        }
        Ok(member)
    }

    /// Writes down that the member has changed; says whether its topics have.
    fn note_subscription(&mut self, earlier: &ShareMember, updated: &ShareMember) -> bool {
        if earlier == updated {
            return false;
        }
        let record = records::member_metadata(&self.group.group_id, updated);
        self.effects.records.push(record);
        earlier.subscribed_topic_names != updated.subscribed_topic_names
    }

    /// Whether the group's topics have to be looked at, since they may have changed.
    fn needs_refresh(&self) -> bool {
        let group = self.group;
        group.refresh_deadline.has_come(self.now, group.group_epoch)
    }

    fn topics_after(&self, earlier: &ShareMember, updated: &ShareMember) -> SubscribedTopics {
        let mut topics = self.group.subscribed_topics.clone();
        topics.remove_member(earlier);
        topics.add_member(updated);
        topics
    }

    /// Looks at the group's topics, and enters a new epoch if they or its members have changed.
    fn refresh_subscriptions(
        &mut self,
        updated: &ShareMember,
        topics: &SubscribedTopics,
        has_changed: bool,
    ) -> (i32, SubscriptionType) {
        let group = self.group;
        let metadata_hash = self.metadata.group_hash(topics.names());
        let is_new = !group.members.contains(&updated.member_id);
        let member_count = group.members.len() + usize::from(is_new);
        let mut group_epoch = group.group_epoch;
        if has_changed || metadata_hash != group.metadata_hash {
            group_epoch += 1;
            self.bump_epoch(group_epoch, metadata_hash);
            self.counts.share_rebalances += 1;
        }
        self.refresh = Some(RefreshDeadline::after(self.now, group_epoch));
        (group_epoch, topics.subscription_type(member_count))
    }

    fn bump_epoch(&mut self, group_epoch: i32, metadata_hash: i64) {
        let group_id = &self.group.group_id;
        tracing::info!(
            group = %group_id,
            group_epoch,
            metadata_hash,
            "the group enters a new epoch"
        );
        let record = records::group_epoch(group_id, group_epoch, metadata_hash);
        self.effects.records.push(record);
    }

    /// Takes a member out of the group, which enters a new epoch.
    pub(super) fn fence(&mut self, member: &ShareMember) {
        let group = self.group;
        let tombstones = records::KIND.member_tombstones(&group.group_id, &member.member_id);
        self.effects.records.extend(tombstones);
        let mut topics = group.subscribed_topics.clone();
        topics.remove_member(member);
        let metadata_hash = self.metadata.group_hash(topics.names());
        self.bump_epoch(group.group_epoch + 1, metadata_hash);
        let key = self.session_key(&member.member_id);
        self.timers.cancel(&key);
    }

    fn respond(
        &self,
        request: &ShareGroupHeartbeatRequest,
        earlier: &ShareMember,
        updated: &ShareMember,
    ) -> ShareGroupHeartbeatResponse {
        let tells = request.member_epoch == EPOCH_JOIN
            || request.subscribed_topic_names.is_some()
            || earlier.assigned_partitions != updated.assigned_partitions;
        ShareGroupHeartbeatResponse {
            member_id: Some(updated.member_id.clone()),
            member_epoch: updated.member_epoch,
            heartbeat_interval_ms: self.settings().heartbeat_interval_ms,
            assignment: tells.then(|| assignment_of(updated)),
            ..ShareGroupHeartbeatResponse::default()
        }
    }
}

/// The member as the request says it is; what it does not say stays.
fn with_request(
    member: &ShareMember,
    client: &Client,
    request: &ShareGroupHeartbeatRequest,
) -> ShareMember {
    let mut updated = member.clone();
    if let Some(rack_id) = &request.rack_id {
        updated.rack_id = Some(rack_id.detached());
    }
    if let Some(names) = &request.subscribed_topic_names {
        let names = HashOrderedSet::from_list(names.iter().map(KafkaString::detached));
        if *updated.subscribed_topic_names != names {
            updated.subscribed_topic_names = Arc::new(names);
        }
    }
    updated.client_id = client.client_id.detached();
    updated.client_host = client.client_host.detached();
    updated
}

/// Whether the member may speak in this epoch: its own, or the one before, if it has lost the response that told of its own.
fn check_epoch(member: &ShareMember, received: i32) -> Result<(), Refusal> {
    let known = member.member_epoch;
    if received == EPOCH_JOIN || received == known {
        return Ok(());
    }
    if received > known {
        return Err(Refusal::fenced_member_epoch(format!(
            "The share group member has a greater member epoch ({received}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        )));
    }
    let previous = member.previous_member_epoch;
    if received == previous {
        return Ok(());
    }
    Err(Refusal::fenced_member_epoch(format!(
        "The share group member has a smaller member epoch ({received}) than the one known by the group coordinator ({known}), and it does not match the previous member epoch ({previous}). The member must abandon all its partitions and rejoin."
    )))
}

fn assignment_of(member: &ShareMember) -> response::Assignment {
    let topics = member
        .assigned_partitions
        .iter()
        .map(|(topic_id, partitions)| response::TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.keys().copied().collect(),
            ..response::TopicPartitions::default()
        });
    response::Assignment {
        topic_partitions: topics.collect(),
        ..response::Assignment::default()
    }
}
