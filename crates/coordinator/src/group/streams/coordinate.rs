//! The streams protocol's requests to the state of one partition.

use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};
use ottla_protocol::{ErrorCode, KafkaString};

use super::decision::StreamsDecision;
use super::group::StreamsGroup;
use super::records;
use super::validate::validate_heartbeat;
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Decision, Effects, Now, RequestContext};
use crate::group::member_epoch::{EPOCH_JOIN, EPOCH_LEAVE, EPOCH_LEAVE_TEMPORARILY};
use crate::group::refusal::Refusal;
use crate::group::timers::TimerAction;
use crate::record::CoordinatorRecord;

/// The answer to a heartbeat of the streams protocol, and what the broker is to do about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamsHeartbeat {
    /// To the member.
    pub response: StreamsGroupHeartbeatResponse,
    /// Topics of the application's own that are not there: to be made.
    pub topics_to_create: Vec<CreatableTopic>,
    /// How long a topic that could not be made is left alone, in milliseconds.
    pub topic_creation_retry_ms: i64,
}

impl StreamsHeartbeat {
    /// Nothing but an error.
    #[must_use]
    pub fn failure(error: ErrorCode, message: Option<KafkaString>) -> Self {
        Self {
            response: StreamsGroupHeartbeatResponse {
                error_code: error.0,
                error_message: message,
                ..StreamsGroupHeartbeatResponse::default()
            },
            ..Self::default()
        }
    }
}

impl GroupCoordinator {
    /// StreamsGroupHeartbeat.
    pub fn streams_group_heartbeat(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Decision<StreamsHeartbeat> {
        let decided = validate_heartbeat(request).and_then(|()| {
            if matches!(request.member_epoch, EPOCH_LEAVE | EPOCH_LEAVE_TEMPORARILY) {
                self.leave_streams_group(now, request)
            } else {
                self.heartbeat_streams(now, context, request)
            }
        });
        decided.unwrap_or_else(|refusal| {
            let failure = StreamsHeartbeat::failure(refusal.error, refusal.message);
            Decision::without_records(failure)
        })
    }

    fn leave_streams_group(
        &mut self,
        now: Now,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<Decision<StreamsHeartbeat>, Refusal> {
        let group_id = &request.group_id;
        let left = self.with_streams(now, group_id, |decision| {
            if request.shutdown_application {
                decision.request_shutdown(&request.member_id);
            }
            let member = decision.group.member(&request.member_id).cloned();
            let member =
                member.ok_or_else(|| Refusal::unknown_member(&request.member_id, group_id))?;
            tracing::info!(group = %group_id, member = %member.member_id, "a member leaves");
            decision.fence(&member);
            Ok(StreamsHeartbeat {
                response: StreamsGroupHeartbeatResponse {
                    member_id: request.member_id.clone(),
                    member_epoch: request.member_epoch,
                    ..StreamsGroupHeartbeatResponse::default()
                },
                ..StreamsHeartbeat::default()
            })
        });
        match left {
            Some((left, effects)) => left.map(|response| effects.with(response)),
            None if self.groups.contains_key(group_id) => Err(not_a_streams_group(group_id)),
            None => Err(Refusal::group_id_not_found(format!(
                "Group {group_id} not found."
            ))),
        }
    }

    fn heartbeat_streams(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<Decision<StreamsHeartbeat>, Refusal> {
        let group_id = &request.group_id;
        let mut before = Effects::default();
        let Some(new_group) = self.streams_group_to_be(request, &mut before)? else {
            let decided = self.with_streams(now, group_id, |decision| {
                decision.heartbeat(context.client, request, false)
            });
            let (response, effects) = decided.ok_or_else(|| not_a_streams_group(group_id))?;
            return response.map(|response| effects.with(response));
        };
        let mut decision = StreamsDecision {
            group: &new_group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: before,
            statuses: Vec::new(),
            volatile: new_group.volatile.clone(),
            now,
        };
        let response = decision.heartbeat(context.client, request, true)?;
        Ok(decision.effects.with(response))
    }

    /// The group that is to be, unless it is there: a new one, or a classic one converted.
    fn streams_group_to_be(
        &self,
        request: &StreamsGroupHeartbeatRequest,
        effects: &mut Effects,
    ) -> Result<Option<StreamsGroup>, Refusal> {
        let group_id = &request.group_id;
        let is_joining = request.member_epoch == EPOCH_JOIN;
        match self.groups.get(group_id) {
            Some(Group::Streams(_)) => Ok(None),
            Some(Group::Classic(group)) if is_joining && group.is_empty() => {
                self.delete_group(group_id, &mut effects.records);
                Ok(Some(StreamsGroup::new(group_id.detached())))
            }
            Some(_) => Err(not_a_streams_group(group_id)),
            None if is_joining => Ok(Some(StreamsGroup::new(group_id.detached()))),
            None => Err(Refusal::group_id_not_found(format!(
                "Streams group {group_id} not found."
            ))),
        }
    }

    /// Takes the streams group in hand, if there is one of that id.
    fn with_streams<R>(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        decide: impl FnOnce(&mut StreamsDecision<'_>) -> R,
    ) -> Option<(R, Effects)> {
        let Some(Group::Streams(group)) = self.groups.get_mut(group_id) else {
            return None;
        };
        let mut decision = StreamsDecision {
            group,
            timers: &mut self.timers,
            metadata: &mut self.metadata,
            config: &self.config,
            counts: &mut self.counts,
            effects: Effects::default(),
            statuses: Vec::new(),
            volatile: group.volatile.clone(),
            now,
        };
        let response = decide(&mut decision);
        let (effects, volatile) = (decision.effects, decision.volatile);
        group.volatile = volatile;
        Some((response, effects))
    }

    /// A deadline of a member has come.
    pub(in crate::group) fn handle_streams_member_timeout(
        &mut self,
        now: Now,
        (group_id, member_id): (&KafkaString, &KafkaString),
        action: TimerAction,
    ) -> Effects {
        let decided = self.with_streams(now, group_id, |decision| {
            let Some(member) = decision.group.member(member_id).cloned() else {
                return;
            };
            if let TimerAction::FenceMemberInEpoch { member_epoch } = action
                && member.member_epoch != member_epoch
            {
                return;
            }
            tracing::info!(
                group = %group_id,
                member = %member_id,
                ?action,
                "a member is out: it has not been heard of, or not moved on, in time"
            );
            decision.fence(&member);
        });
        decided.map_or_else(Effects::default, |((), effects)| effects)
    }

    /// The first members of a group have had time to come.
    pub(in crate::group) fn end_initial_streams_delay(
        &mut self,
        now: Now,
        group_id: &KafkaString,
    ) -> Effects {
        let decided = self.with_streams(now, group_id, |decision| decision.end_initial_delay());
        decided.map_or_else(Effects::default, |((), effects)| effects)
    }

    /// All records have been replayed: the members of the group are expected to be heard of.
    pub(in crate::group) fn expect_streams_members(&mut self, now: Now, group_id: &KafkaString) {
        self.with_streams(now, group_id, |decision| {
            for (member_id, member) in decision.group.members.iter() {
                decision.expect_heartbeat(member_id);
                decision.expect_revocation(member);
            }
        });
    }
}

impl StreamsGroup {
    /// Topics have changed: if these are of the topology, they are to be looked at.
    pub(in crate::group) fn observe_changed_topics(&mut self, changed: &[KafkaString]) {
        if self.requires_any_of(changed) {
            self.volatile.refresh_deadline = Default::default();
        }
    }

    /// Records that take back all that the log has of the group.
    pub(in crate::group) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        let group_id = &self.group_id;
        let mut tombstones = records::KIND.members_tombstones(group_id, || self.members.keys());
        let key = records::KIND.group_key(group_id);
        tombstones.push(CoordinatorRecord::tombstone(key));
        tombstones.push(records::topology_tombstone(group_id));
        tombstones
    }
}

fn not_a_streams_group(group_id: &KafkaString) -> Refusal {
    Refusal::group_id_not_found(format!("Group {group_id} is not a streams group."))
}
