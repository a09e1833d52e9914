//! The state of one partition, and the classic protocol's requests to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages::OffsetCommitKey;
use ottla_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest,
};
use ottla_protocol::{ErrorCode, KafkaString};

use super::classic::{
    ClassicDecision, ClassicGroup, Waiting, join_error, member_response, sync_error,
};
use super::counts::GroupCounts;
use super::decision::{Decision, Effects, Now, Released, RequestContext};
use super::metadata::ClusterMetadata;
use super::offsets::{CommittedOffset, OffsetStore};
use super::timers::{TimerAction, TimerKey, Timers};
use super::{Group, GroupCoordinatorConfig};
use crate::record::{CoordinatorRecord, RecordKey, RecordValue, VersionedValue};

/// Groups and offsets of one partition of `__consumer_offsets`.
///
/// Its methods are of four kinds. While the partition is loaded: [`replay`](Self::replay) and
/// [`replay_end_transaction`](Self::replay_end_transaction) for each record in order, then
/// [`loaded`](Self::loaded). Decisions: each takes a request and gives a [`Decision`]. Questions,
/// that change nothing, and whose answers wait for the records before them too. And time:
/// [`next_deadline`](Self::next_deadline), [`handle_timeout`](Self::handle_timeout). Last of all
/// [`unload`](Self::unload), when another broker leads.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(super) config: Arc<GroupCoordinatorConfig>,
    pub(super) groups: BTreeMap<KafkaString, Group>,
    pub(super) offsets: OffsetStore,
    pub(super) timers: Timers,
    pub(super) metadata: ClusterMetadata,
    pub(super) counts: GroupCounts,
    /// Whether decisions are being made, and not the log replayed.
    pub(super) is_loaded: bool,
}

impl GroupCoordinator {
    /// A coordinator of a partition that has no records yet.
    #[must_use]
    pub fn new(config: Arc<GroupCoordinatorConfig>) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            offsets: OffsetStore::default(),
            timers: Timers::default(),
            metadata: ClusterMetadata::default(),
            counts: GroupCounts::default(),
            is_loaded: false,
        }
    }

    /// Takes a record of the partition into the state.
    ///
    /// `offset` is the record's, `producer_id` that of its batch if the batch is transactional.
    /// For each key there may be any number of records; the last one counts.
    pub fn replay(
        &mut self,
        now: Now,
        offset: i64,
        producer_id: Option<i64>,
        record: &CoordinatorRecord,
    ) {
        match (&record.key, &record.value) {
            (RecordKey::OffsetCommit(key), value) => {
                let committed = CommittedOffset::of(offset, value.as_ref());
                self.replay_offset(now, producer_id, key, committed);
            }
            (RecordKey::LegacyOffsetCommit(key), value) => {
                let committed = CommittedOffset::of(offset, value.as_ref());
                let key = OffsetCommitKey {
                    group: key.group.clone(),
                    topic: key.topic.clone(),
                    partition: key.partition,
                };
                self.replay_offset(now, producer_id, &key, committed);
            }
            (RecordKey::GroupMetadata(key), Some(VersionedValue { value, .. })) => {
                if let RecordValue::GroupMetadata(value) = value
                    && !self.is_loaded
                {
                    // Once loaded, the group that this record was made of is here already, and
                    // may wait for its members.
                    let group_id = key.group.detached();
                    let group = ClassicGroup::from_record(group_id.clone(), value);
                    self.groups
                        .insert(group_id, Group::Classic(Box::new(group)));
                }
            }
            (RecordKey::GroupMetadata(key), None) => {
                if let Some(Group::Classic(_)) = self.groups.get(&key.group) {
                    self.groups.remove(&key.group);
                }
            }
            (
                RecordKey::StreamsGroupMetadata(_)
                | RecordKey::StreamsGroupMemberMetadata(_)
                | RecordKey::StreamsGroupTargetAssignmentMetadata(_)
                | RecordKey::StreamsGroupTargetAssignmentMember(_)
                | RecordKey::StreamsGroupCurrentMemberAssignment(_)
                | RecordKey::StreamsGroupTopology(_),
                _,
            ) => self.replay_streams(record),
            (
                RecordKey::ShareGroupMetadata(_)
                | RecordKey::ShareGroupMemberMetadata(_)
                | RecordKey::ShareGroupTargetAssignmentMetadata(_)
                | RecordKey::ShareGroupTargetAssignmentMember(_)
                | RecordKey::ShareGroupCurrentMemberAssignment(_)
                | RecordKey::ShareGroupStatePartitionMetadata(_),
                _,
            ) => self.replay_share(now, record),
            _ => self.replay_consumer(record),
        }
    }

    /// All records of the partition have been replayed: members are expected to be heard of.
    pub fn loaded(&mut self, now: Now) {
        self.is_loaded = true;
        let group_ids: Vec<KafkaString> = self.groups.keys().cloned().collect();
        let config = Arc::clone(&self.config);
        for group_id in group_ids {
            match self.groups.get_mut(&group_id) {
                Some(Group::Classic(group)) => {
                    let mut effects = Effects::default();
                    let mut decision = ClassicDecision {
                        group,
                        timers: &mut self.timers,
                        config: &config,
                        counts: &mut self.counts,
                        effects: &mut effects,
                        now,
                    };
                    decision.expect_heartbeats();
                }
                Some(Group::Consumer(_)) => self.expect_consumers(now, &group_id),
                Some(Group::Streams(_)) => self.expect_streams_members(now, &group_id),
                Some(Group::Share(_)) => self.expect_share_members(now, &group_id),
                None => {}
            }
        }
        self.schedule_expiration(now);
    }

    /// Another broker leads the partition: gives the responses to all requests that wait.
    pub fn unload(mut self) -> Vec<Released> {
        let mut released = Vec::new();
        for group in self.groups.values_mut() {
            let Group::Classic(group) = group else {
                continue;
            };
            released.extend(group.unload().into_iter().map(|waiting| match waiting {
                Waiting::Join(token, member_id) => {
                    Released::Join(token, join_error(member_id, ErrorCode::NOT_COORDINATOR))
                }
                Waiting::Sync(token) => {
                    Released::Sync(token, sync_error(ErrorCode::NOT_COORDINATOR))
                }
            }));
        }
        released
    }

    /// What was counted since this was asked last.
    pub fn take_counts(&mut self) -> GroupCounts {
        std::mem::take(&mut self.counts)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, in monotonic milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next_deadline()
    }

    /// Does one thing whose time has come; none if there is nothing.
    ///
    /// To be called until it gives none, each decision's records being replayed before the next.
    pub fn handle_timeout(&mut self, now: Now) -> Option<Decision<()>> {
        let (key, action) = self.timers.take_due(now.monotonic_ms)?;
        let group_id = match &key {
            TimerKey::Heartbeat { group_id, .. }
            | TimerKey::Join { group_id }
            | TimerKey::Sync { group_id } => group_id.clone(),
            TimerKey::Member {
                group_id,
                member_id,
                ..
            } => {
                let effects = match self.groups.get(group_id) {
                    Some(Group::Streams(_)) => {
                        self.handle_streams_member_timeout(now, (group_id, member_id), action)
                    }
                    Some(Group::Share(_)) => self.fence_share_member(now, group_id, member_id),
                    _ => self.handle_consumer_timeout(now, group_id, (Some(member_id), action)),
                };
                return Some(effects.with(()));
            }
            TimerKey::InitialAssignment { group_id } => {
                return Some(self.end_initial_streams_delay(now, group_id).with(()));
            }
            TimerKey::RegularExpressions { group_id } => {
                let due = (None, action);
                return Some(self.handle_consumer_timeout(now, group_id, due).with(()));
            }
            TimerKey::Expiration => return Some(self.expire_group_metadata(now)),
        };
        let decided = self.with_classic(now, &group_id, |decision| match (action, &key) {
            (TimerAction::ExpireMember, TimerKey::Heartbeat { member_id, .. }) => {
                decision.expire_member(member_id);
            }
            (
                TimerAction::InitialRebalance {
                    delay_ms,
                    remaining_ms,
                },
                _,
            ) => decision.end_initial_delay(delay_ms, remaining_ms),
            (TimerAction::CompleteJoin, _) => decision.complete_join(),
            (TimerAction::ExpirePendingSync { generation_id }, _) => {
                decision.expire_pending_sync(generation_id);
            }
            // Of no classic group.
            _ => {}
        });
        Some(match decided {
            Some(((), effects)) => effects.with(()),
            None => Decision::without_records(()),
        })
    }

    /// Takes the classic group in hand, if there is one of that id.
    pub(super) fn with_classic<R>(
        &mut self,
        now: Now,
        group_id: &str,
        decide: impl FnOnce(&mut ClassicDecision<'_>) -> R,
    ) -> Option<(R, Effects)> {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else {
            return None;
        };
        let mut effects = Effects::default();
        let response = decide(&mut ClassicDecision {
            group,
            timers: &mut self.timers,
            config: &self.config,
            counts: &mut self.counts,
            effects: &mut effects,
            now,
        });
        Some((response, effects))
    }

    /// JoinGroup. The response is always among those released, here or later.
    pub fn join_group(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Decision<()> {
        let refuse = |member_id: KafkaString, error| {
            let mut effects = Effects::default();
            effects.join(context.token, join_error(member_id, error));
            effects.with(())
        };
        if request.group_id.is_empty() {
            return refuse(request.member_id.clone(), ErrorCode::INVALID_GROUP_ID);
        }
        let allowed = self.config.session_timeout_min_ms..=self.config.session_timeout_max_ms;
        if !allowed.contains(&request.session_timeout_ms) {
            return refuse(
                request.member_id.clone(),
                ErrorCode::INVALID_SESSION_TIMEOUT,
            );
        }
        match self.groups.get(&request.group_id) {
            Some(Group::Share(_)) => {
                refuse(KafkaString::new(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
            }
            Some(Group::Streams(group)) if !group.is_empty() => {
                refuse(KafkaString::new(), ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
            }
            Some(Group::Streams(group)) => {
                // The group has lost its last member: the classic protocol takes it over.
                let tombstones = group.tombstones();
                self.groups.remove(&request.group_id);
                let mut decision = self.join_classic_group(now, context, request);
                decision.records.splice(0..0, tombstones);
                decision
            }
            Some(Group::Consumer(group)) if !group.is_empty() => {
                self.join_consumer_group(now, context, request)
            }
            Some(Group::Consumer(group)) => {
                let tombstones = group.tombstones();
                self.groups.remove(&request.group_id);
                let mut decision = self.join_classic_group(now, context, request);
                decision.records.splice(0..0, tombstones);
                decision
            }
            Some(Group::Classic(_)) | None => self.join_classic_group(now, context, request),
        }
    }

    fn join_classic_group(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &JoinGroupRequest,
    ) -> Decision<()> {
        let is_new = !self.groups.contains_key(&request.group_id);
        if is_new {
            if !request.member_id.is_empty() {
                let mut effects = Effects::default();
                let response = join_error(request.member_id.clone(), ErrorCode::UNKNOWN_MEMBER_ID);
                effects.join(context.token, response);
                return effects.with(());
            }
            self.create_classic_group(now, &request.group_id);
        }
        let decided = self.with_classic(now, &request.group_id, |decision| {
            if decision.accepts(&request.member_id) {
                decision.join(context, request);
            } else {
                decision.refuse_for_size(context, &request.member_id);
            }
            if is_new {
                decision.record_first();
            }
        });
        match decided {
            Some(((), effects)) => effects.with(()),
            None => Decision::without_records(()),
        }
    }

    /// Brings a classic group into being that is in memory only, until it has a record.
    pub(super) fn create_classic_group(&mut self, now: Now, group_id: &KafkaString) {
        let group_id = group_id.detached();
        let group = ClassicGroup::new(group_id.clone(), now.wall_ms);
        self.groups
            .insert(group_id, Group::Classic(Box::new(group)));
    }

    /// SyncGroup. The response is always among those released, here or later.
    pub fn sync_group(
        &mut self,
        now: Now,
        context: &RequestContext<'_>,
        request: &SyncGroupRequest,
    ) -> Decision<()> {
        let refuse = |error| {
            let mut effects = Effects::default();
            effects.sync(context.token, sync_error(error));
            effects.with(())
        };
        if request.group_id.is_empty() {
            return refuse(ErrorCode::INVALID_GROUP_ID);
        }
        if let Some(Group::Consumer(_)) = self.groups.get(&request.group_id) {
            return self.sync_consumer_group(now, context, request);
        }
        let decided = self.with_classic(now, &request.group_id, |decision| {
            decision.sync(context, request);
        });
        match decided {
            Some(((), effects)) => effects.with(()),
            None => refuse(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Decision<HeartbeatResponse> {
        let result = if request.group_id.is_empty() {
            Err(ErrorCode::INVALID_GROUP_ID)
        } else if let Some(Group::Consumer(_)) = self.groups.get(&request.group_id) {
            self.heartbeat_consumer_group(now, request)
        } else {
            self.with_classic(now, &request.group_id, |decision| {
                decision.heartbeat(request)
            })
            .map_or(Err(ErrorCode::UNKNOWN_MEMBER_ID), |(result, _)| result)
        };
        Decision::without_records(HeartbeatResponse {
            error_code: result.err().unwrap_or(ErrorCode::NONE).0,
            ..HeartbeatResponse::default()
        })
    }

    /// LeaveGroup. A request before version 3 has its one member among the members too.
    pub fn leave_group(
        &mut self,
        now: Now,
        request: &LeaveGroupRequest,
    ) -> Decision<LeaveGroupResponse> {
        if request.group_id.is_empty() {
            return Decision::without_records(LeaveGroupResponse {
                error_code: ErrorCode::INVALID_GROUP_ID.0,
                ..LeaveGroupResponse::default()
            });
        }
        if let Some(Group::Consumer(_)) = self.groups.get(&request.group_id) {
            return self.leave_consumer_group_classic(now, request);
        }
        let decided = self.with_classic(now, &request.group_id, |decision| decision.leave(request));
        let (members, effects) = decided.unwrap_or_else(|| {
            let unknown = |member| member_response(member, Err(ErrorCode::UNKNOWN_MEMBER_ID));
            let members = request.members.iter().map(unknown).collect();
            (members, Effects::default())
        });
        effects.with(LeaveGroupResponse {
            members,
            ..LeaveGroupResponse::default()
        })
    }
}
