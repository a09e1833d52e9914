//! ConsumerGroupHeartbeat: a member joins, tells what it has, learns what it is to have.

use std::sync::Arc;

use ottla_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use ottla_protocol::messages::consumer_group_heartbeat_response as response;
use ottla_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::assignment::{EpochsByTopic, has_epoch};
use super::decision::{Change, ConsumerDecision, Target};
use super::group::ConsumerGroup;
use super::member::{ConsumerMember, MemberState};
use super::reconcile::Reconciliation;
use super::records;
use crate::group::decision::Client;
use crate::group::hash_order::HashOrderedSet;
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE_TEMPORARILY};
use crate::group::refusal::Refusal;
use crate::group::timers::{MemberTimer, TimerAction};

/// A member as a request finds it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) member: Arc<ConsumerMember>,
}

impl ConsumerDecision<'_> {
    /// A member that stays, joins, or comes back.
    pub(in crate::group) fn heartbeat(
        &mut self,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
        member_id: &KafkaString,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.check_size(&request.member_id)?;
        let found = self.find_member(request, member_id)?;
        let earlier = &*found.member;
        let mut updated = with_request(earlier, client, request);
        let change = Change {
            earlier,
            updated: &updated,
        };
        let names_changed = self.note_subscription(change);
        let regexes = self.update_regexes(change)?;
        let mut epoch = (self.group.group_epoch, self.group.subscription_type());
        let has_changed = names_changed || regexes.is_resolved();
        if has_changed || self.needs_refresh() {
            epoch = self.refresh_subscriptions(change, has_changed);
        }
        let target = self.update_target(change, epoch);
        let has_subscription_changed = names_changed || regexes.is_updated();
        updated = self.reconcile(
            updated,
            &target,
            has_subscription_changed,
            request.topic_partitions.as_deref(),
        )?;
        self.expect_heartbeat(member_id);
        Ok(self.respond(request, earlier, &updated))
    }

    pub(super) fn check_size(&self, member_id: &KafkaString) -> Result<(), Refusal> {
        let size_max = self.config.consumer.group_size_max;
        let is_member = !member_id.is_empty() && self.group.member(member_id).is_some();
        if self.group.members.len() >= size_max && !is_member {
            return Err(Refusal::new(
                ErrorCode::GROUP_MAX_SIZE_REACHED,
                format!(
                    "The consumer group has reached its maximum capacity of {size_max} members."
                ),
            ));
        }
        Ok(())
    }

    fn find_member(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        member_id: &KafkaString,
    ) -> Result<Found, Refusal> {
        let owned = request.topic_partitions.as_deref();
        let is_joining = request.member_epoch == EPOCH_JOIN;
        if let Some(instance_id) = &request.instance_id {
            if is_joining {
                return self.join_static_member(member_id, instance_id, false);
            }
            let member = known_static_member(self.group, member_id, instance_id)?;
            check_epoch(member, request.member_epoch, owned)?;
            return Ok(Found {
                member: Arc::clone(member),
            });
        }
        let member = match self.group.member(member_id) {
            Some(member) => Arc::clone(member),
            None if is_joining => Arc::new(ConsumerMember::new(member_id.clone())),
            None => return Err(Refusal::unknown_member(member_id, &self.group.group_id)),
        };
        check_epoch(&member, request.member_epoch, owned)?;
        if is_joining {
            tracing::info!(
                group = %self.group.group_id,
                member = %member_id,
                "a member joins by the consumer protocol"
            );
        }
        Ok(Found { member })
    }

    /// A static member joins, in the place of the one that had its instance id before.
    pub(super) fn join_static_member(
        &mut self,
        member_id: &KafkaString,
        instance_id: &KafkaString,
        uses_classic_protocol: bool,
    ) -> Result<Found, Refusal> {
        let group = self.group;
        let Some(earlier) = group.static_member(Some(instance_id)) else {
            let member = match group.member(member_id) {
                Some(member) => Arc::clone(member),
                None => Arc::new(ConsumerMember::new(member_id.clone())),
            };
            return Ok(Found { member });
        };
        if !uses_classic_protocol
            && !earlier.uses_classic_protocol()
            && earlier.member_epoch != EPOCH_LEAVE_TEMPORARILY
        {
            return Err(Refusal::new(
                ErrorCode::UNRELEASED_INSTANCE_ID,
                format!(
                    "Static member {member_id} with instance id {instance_id} cannot join the group because the instance id is owned by {} member.",
                    earlier.member_id
                ),
            ));
        }
        let mut member = ConsumerMember::clone(earlier);
        member.member_id = member_id.clone();
        member.member_epoch = 0;
        member.previous_member_epoch = 0;
        self.replace_member(earlier, &member);
        tracing::info!(
            group = %group.group_id,
            instance = %instance_id,
            earlier = %earlier.member_id,
            member = %member_id,
            "a static member takes the place of the one before"
        );
        Ok(Found {
            member: Arc::new(member),
        })
    }

    fn replace_member(&mut self, earlier: &ConsumerMember, member: &ConsumerMember) {
        let group = self.group;
        self.cancel_timers(&earlier.member_id);
        self.remove_member_records(&earlier.member_id);
        let target = group.target_of(&earlier.member_id);
        let lists = super::assignment::to_lists(&target);
        self.effects.records.extend([
            records::member_metadata(&group.group_id, member),
            records::target_assignment(&group.group_id, &member.member_id, &lists),
            records::current_assignment(&group.group_id, member),
        ]);
    }

    /// Leads the member one step on, and writes down what has changed.
    pub(super) fn reconcile(
        &mut self,
        member: ConsumerMember,
        target: &Target,
        has_subscription_changed: bool,
        owned: Option<&[OwnedPartitions]>,
    ) -> Result<ConsumerMember, Refusal> {
        if !has_subscription_changed && member.is_reconciled_to(target.epoch) {
            return Ok(member);
        }
        let reconciliation = Reconciliation {
            group: self.group,
            target_epoch: target.epoch,
            target: &target.assignment,
            has_subscription_changed,
            subscribed_topic_ids: self.subscribed_topic_ids(&member),
            owned,
        };
        let updated = reconciliation.step(&member)?;
        if updated == member {
            return Ok(updated);
        }
        let record = records::current_assignment(&self.group.group_id, &updated);
        self.effects.records.push(record);
        if !updated.uses_classic_protocol() {
            let timer = (&updated.member_id, MemberTimer::Rebalance);
            if updated.state == MemberState::UnrevokedPartitions {
                let action = TimerAction::FenceMemberInEpoch {
                    member_epoch: updated.member_epoch,
                };
                self.schedule(timer, updated.rebalance_timeout_ms, action);
            } else {
                let key = self.timer_key(timer.0, timer.1);
                self.timers.cancel(&key);
            }
        }
        Ok(updated)
    }

    fn respond(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        earlier: &ConsumerMember,
        updated: &ConsumerMember,
    ) -> ConsumerGroupHeartbeatResponse {
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let has_changed = earlier.assigned_partitions != updated.assigned_partitions;
        let tells = request.member_epoch == EPOCH_JOIN || is_full || has_changed;
        ConsumerGroupHeartbeatResponse {
            member_id: Some(updated.member_id.clone()),
            member_epoch: updated.member_epoch,
            heartbeat_interval_ms: self.settings().heartbeat_interval_ms,
            assignment: tells.then(|| assignment_of(&updated.assigned_partitions)),
            ..ConsumerGroupHeartbeatResponse::default()
        }
    }
}

/// The member as the request says it is; what it does not say stays.
fn with_request(
    member: &ConsumerMember,
    client: &Client,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerMember {
    let mut updated = member.clone();
    let update = |known: &mut Option<KafkaString>, said: &Option<KafkaString>| {
        if let Some(said) = said {
            *known = Some(said.detached());
        }
    };
    update(&mut updated.instance_id, &request.instance_id);
    update(&mut updated.rack_id, &request.rack_id);
    update(&mut updated.server_assignor, &request.server_assignor);
    update(
        &mut updated.subscribed_topic_regex,
        &request.subscribed_topic_regex,
    );
    if request.rebalance_timeout_ms != -1 {
        updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(names) = &request.subscribed_topic_names {
        let names = HashOrderedSet::from_list(names.iter().map(KafkaString::detached));
        if *updated.subscribed_topic_names != names {
            updated.subscribed_topic_names = Arc::new(names);
        }
    }
    updated.client_id = client.client_id.detached();
    updated.client_host = client.client_host.detached();
    updated.classic = None;
    updated
}

/// The member that has the instance id, if it is the one that asks.
pub(super) fn known_static_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &KafkaString,
    instance_id: &KafkaString,
) -> Result<&'a Arc<ConsumerMember>, Refusal> {
    let Some(member) = group.static_member(Some(instance_id)) else {
        return Err(Refusal::new(
            ErrorCode::UNKNOWN_MEMBER_ID,
            format!("Instance id {instance_id} is unknown."),
        ));
    };
    if member.member_id != *member_id {
        return Err(Refusal::new(
            ErrorCode::FENCED_INSTANCE_ID,
            format!(
                "Static member {member_id} with instance id {instance_id} was fenced by member {}.",
                member.member_id
            ),
        ));
    }
    Ok(member)
}

/// Whether the member may speak in this epoch: its own, or the one before, if it has lost the
/// response that told of its own, and has nothing that it was not given.
fn check_epoch(
    member: &ConsumerMember,
    received: i32,
    owned: Option<&[OwnedPartitions]>,
) -> Result<(), Refusal> {
    let known = member.member_epoch;
    if received == EPOCH_JOIN || received == known {
        return Ok(());
    }
    if received > known {
        return Err(Refusal::fenced_member_epoch(format!(
            "The consumer group member has a greater member epoch ({received}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
        )));
    }
    let has_only = |owned: &[OwnedPartitions]| {
        owned.iter().all(|topic| {
            member.assigned_partitions.contains(&topic.topic_id)
                && topic.partitions.iter().all(|partition| {
                    has_epoch(&member.assigned_partitions, topic.topic_id, *partition)
                })
        })
    };
    if received == member.previous_member_epoch && owned.is_some_and(has_only) {
        return Ok(());
    }
    Err(Refusal::fenced_member_epoch(format!(
        "The consumer group member has a smaller member epoch ({received}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
    )))
}

fn assignment_of(assigned: &EpochsByTopic) -> response::Assignment {
    let topics = assigned
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
