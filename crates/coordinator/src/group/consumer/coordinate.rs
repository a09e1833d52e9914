//! The consumer protocol's requests to the state of one partition.

use std::sync::Arc;

use ottla_metadata::image::MetadataImage;
use ottla_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use ottla_protocol::{KafkaString, Uuid};

use super::decision::ConsumerDecision;
use super::group::ConsumerGroup;
use super::member::MemberState;
use super::validate::validate_heartbeat;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Decision, Effects, Now, RequestContext};
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE, EPOCH_LEAVE_TEMPORARILY};
use crate::group::pace::RefreshDeadline;
use crate::group::refusal::Refusal;
use crate::group::timers::{MemberTimer, TimerAction};

impl GroupCoordinator {
    /// Takes note of the metadata that is in force, which stands at `offset` in its log.
    pub fn observe_metadata(&mut self, image: &MetadataImage, offset: i64) {
        let changed = self.metadata.update(image, offset);
        if changed.is_empty() {
            return;
        }
        for group in self.groups.values_mut() {
            match group {
                Group::Consumer(group) => {
                    let topics = &group.subscribed_topics;
                    if changed.iter().any(|name| topics.contains(name)) {
                        group.refresh_deadline = RefreshDeadline::default();
                    }
                }
                Group::Streams(group) => group.observe_changed_topics(&changed),
                Group::Share(group) => group.observe_changed_topics(&changed),
                Group::Classic(_) => {}
            }
        }
    }

    /// ConsumerGroupHeartbeat. The random bytes become the id of a member that brings none.
    pub fn consumer_group_heartbeat(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Decision<ConsumerGroupHeartbeatResponse> {
        let assignors = &self.config.consumer.assignors;
        let decided = validate_heartbeat(request, context.api_version, assignors).and_then(|()| {
            if matches!(request.member_epoch, EPOCH_LEAVE | EPOCH_LEAVE_TEMPORARILY) {
                self.leave_consumer_group(now, request)
            } else {
                self.heartbeat_consumer(now, context, request)
            }
        });
        decided.unwrap_or_else(|refusal| {
            Decision::without_records(ConsumerGroupHeartbeatResponse {
                error_code: refusal.error.0,
                error_message: refusal.message,
                ..ConsumerGroupHeartbeatResponse::default()
            })
        })
    }

    fn leave_consumer_group(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Decision<ConsumerGroupHeartbeatResponse>, Refusal> {
        let group_id = &request.group_id;
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => {}
            Some(_) => {
                return Err(Refusal::group_id_not_found(format!(
                    "Group {group_id} is not a consumer group."
                )));
            }
            None => {
                return Err(Refusal::group_id_not_found(format!(
                    "Group {group_id} not found."
                )));
            }
        }
        let decided = self.with_consumer(now, group_id, |decision| {
            let member = decision.leaving_member(request)?;
            if request.member_epoch == EPOCH_LEAVE_TEMPORARILY {
                let response = decision.leave_temporarily(&member);
                return Ok((Vec::new(), response));
            }
            let response = ConsumerGroupHeartbeatResponse {
                member_id: Some(request.member_id.clone()),
                member_epoch: request.member_epoch,
                ..ConsumerGroupHeartbeatResponse::default()
            };
            Ok((vec![member], response))
        });
        let Some((decided, mut effects)) = decided else {
            return Ok(Decision::without_records(
                ConsumerGroupHeartbeatResponse::default(),
            ));
        };
        let (leaving, response) = decided?;
        if !leaving.is_empty() {
            effects = self.fence_consumers(now, group_id, &leaving);
        }
        Ok(effects.with(response))
    }

    fn heartbeat_consumer(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<Decision<ConsumerGroupHeartbeatResponse>, Refusal> {
        let mut before = Effects::default();
        let new_group = self.consumer_group_for(now, request, &mut before)?;
        let member_id = if request.member_id.is_empty() {
            KafkaString::from(Uuid(context.random).to_string())
        } else {
            request.member_id.detached()
        };
        let known = self.groups.get(&request.group_id);
        let group = match (&new_group, known) {
            (Some(group), _) => group,
            (None, Some(Group::Consumer(group))) => &**group,
            (None, _) => {
                return Err(Refusal::group_id_not_found(format!(
                    "Consumer group {} not found.",
                    request.group_id
                )));
            }
        };
        let mut decision = ConsumerDecision {
            group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: before,
            refresh: None,
            now,
        };
        let response = decision.heartbeat(context.client, request, &member_id)?;
        let (mut effects, refresh) = (decision.effects, decision.refresh);
        if new_group.is_some() {
            self.dissolve_classic_group(&request.group_id, &mut effects);
        } else {
            self.set_refresh(&request.group_id, refresh);
        }
        Ok(effects.with(response))
    }

    /// The group that is to be, unless it is there: a new one, or a classic one converted.
    fn consumer_group_for(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
        effects: &mut Effects,
    ) -> Result<Option<ConsumerGroup>, Refusal> {
        let group_id = &request.group_id;
        let is_joining = request.member_epoch == EPOCH_JOIN;
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => Ok(None),
            None if is_joining => Ok(Some(ConsumerGroup::new(group_id.detached()))),
            None => Err(Refusal::group_id_not_found(format!(
                "Consumer group {group_id} not found."
            ))),
            Some(Group::Classic(_)) if is_joining => {
                self.upgrade_classic_group(now, group_id, effects).map(Some)
            }
            Some(_) => Err(Refusal::group_id_not_found(format!(
                "Group {group_id} is not a consumer group."
            ))),
        }
    }

    /// Takes the consumer group in hand, if there is one of that id.
    pub(in crate::group) fn with_consumer<R>(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        decide: impl FnOnce(&mut ConsumerDecision<'_>) -> R,
    ) -> Option<(R, Effects)> {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            return None;
        };
        let mut decision = ConsumerDecision {
            group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: Effects::default(),
            refresh: None,
            now,
        };
        let response = decide(&mut decision);
        let (effects, refresh) = (decision.effects, decision.refresh);
        self.set_refresh(group_id, refresh);
        Some((response, effects))
    }

    fn set_refresh(&mut self, group_id: &KafkaString, refresh: Option<RefreshDeadline>) {
        if let Some(refresh) = refresh
            && let Some(Group::Consumer(group)) = self.groups.get_mut(group_id)
        {
            group.refresh_deadline = refresh;
        }
    }

    /// A deadline of a consumer group has come.
    pub(in crate::group) fn handle_consumer_timeout(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        (member_id, action): (Option<&KafkaString>, TimerAction),
    ) -> Effects {
        if action == TimerAction::ResolveRegularExpressions {
            let decided = self.with_consumer(now, group_id, |decision| decision.resolve_regexes());
            return decided.map_or_else(Effects::default, |((), effects)| effects);
        }
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            return Effects::default();
        };
        let Some(member) = member_id.and_then(|member_id| group.member(member_id)) else {
            return Effects::default();
        };
        if let TimerAction::FenceMemberInEpoch { member_epoch } = action
            && member.member_epoch != member_epoch
        {
            return Effects::default();
        }
        tracing::info!(
            group = %group_id,
            member = %member.member_id,
            ?action,
            "a member is out: it has not been heard of, or not moved on, in time"
        );
        let member = Arc::clone(member);
        self.fence_consumers(now, group_id, &[member])
    }

    /// All records have been replayed: the members of the group are expected to be heard of.
    pub(in crate::group) fn expect_consumers(&mut self, now: Now, group_id: &KafkaString) {
        self.with_consumer(now, group_id, |decision| {
            let group = decision.group;
            for (member_id, member) in group.members.iter() {
                decision.expect_heartbeat(member_id);
                if member.state == MemberState::UnrevokedPartitions {
                    let action = TimerAction::FenceMemberInEpoch {
                        member_epoch: member.member_epoch,
                    };
                    let timer = (member_id, MemberTimer::Rebalance);
                    decision.schedule(timer, member.rebalance_timeout_ms, action);
                }
            }
        });
    }
}
