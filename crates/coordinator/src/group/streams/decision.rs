//! A streams group in hand: with all that deciding about it needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::KafkaString;

use super::assignor::{GroupSpec, MemberSpec, SubtopologySpec, assign};
use super::configured::{ConfiguredTopology, Status};
use super::group::{StreamsGroup, Volatile};
use super::member::StreamsMember;
use super::records::{self, GroupMetadata};
use super::settings::{GroupSettings, standby_replicas};
use super::tasks::Tasks;
use crate::group::config::GroupCoordinatorConfig;
use crate::group::counts::GroupCounts;
use crate::group::decision::{Effects, Now};
use crate::group::hash_order::HashOrdered;
use crate::group::metadata::ClusterMetadata;
use crate::group::pace::may_assign_again;
use crate::group::timers::{MemberTimer, TimerAction, TimerKey, Timers};

/// A streams group in hand. Its records change by replay alone; what is volatile is put back.
#[derive(Debug)]
pub(super) struct StreamsDecision<'a> {
    pub(super) group: &'a StreamsGroup,
    pub(super) timers: &'a mut Timers,
    pub(super) metadata: &'a mut ClusterMetadata,
    pub(super) config: &'a GroupCoordinatorConfig,
    pub(super) counts: &'a mut GroupCounts,
    pub(super) effects: Effects,
    /// What the response says of the group besides errors.
    pub(super) statuses: Vec<(Status, String)>,
    pub(super) volatile: Volatile,
    pub(super) now: Now,
}

/// The epoch of a target assignment, and what it has for the member that asks.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) epoch: i32,
    pub(super) tasks: Arc<Tasks>,
}

/// What a target assignment is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignable<'a> {
    pub(super) group_epoch: i32,
    /// The member that asks, as it is to be; none if the time has come by itself.
    pub(super) member: Option<&'a StreamsMember>,
    pub(super) topology: &'a ConfiguredTopology,
    pub(super) configs: &'a BTreeMap<KafkaString, KafkaString>,
}

impl StreamsDecision<'_> {
    pub(super) fn settings(&self) -> GroupSettings {
        GroupSettings::of(&self.group.group_id, self.config, self.metadata)
    }

    pub(super) fn bump_epoch(&mut self, metadata: &GroupMetadata<'_>) {
        let group_id = &self.group.group_id;
        tracing::info!(
            group = %group_id,
            group_epoch = metadata.epoch,
            metadata_hash = metadata.metadata_hash,
            validated_topology_epoch = metadata.validated_topology_epoch,
            "the group enters a new epoch"
        );
        let record = records::group_metadata(group_id, metadata);
        self.effects.records.push(record);
    }

    /// The target assignment of the group's epoch, computed unless it is there, or it is too early.
    pub(super) fn update_target(&mut self, assignable: Assignable<'_>) -> Target {
        let group = self.group;
        if self.timers.is_scheduled(&self.initial_assignment_key()) {
            self.say(
                Status::AssignmentDelayed,
                "Assignment delayed due to the configured initial rebalance delay.",
            );
            return Target {
                epoch: group.assignment_epoch,
                tasks: Arc::default(),
            };
        }
        let member_id = assignable.member.map(|member| &member.member_id);
        let last = Target {
            epoch: group.assignment_epoch,
            tasks: member_id.map_or_else(Arc::default, |member_id| group.target_of(member_id)),
        };
        if group.assignment_epoch >= assignable.group_epoch {
            return last;
        }
        let interval_ms = self.settings().assignment_interval_ms;
        if !may_assign_again(self.now, group.assignment_timestamp_ms, interval_ms) {
            self.say(
                Status::AssignmentDelayed,
                "Assignment delayed due to the configured assignment interval.",
            );
            return last;
        }
        self.assign(assignable)
    }

    fn assign(&mut self, assignable: Assignable<'_>) -> Target {
        let group = self.group;
        let spec = self.spec(assignable);
        let mut targets = if assignable.topology.is_ready() {
            assign(&spec)
        } else {
            BTreeMap::new()
        };
        for member_id in spec.members.keys() {
            let target = targets.entry(member_id.clone()).or_default();
            let earlier = group.target_assignment.get(member_id);
            if earlier.is_none_or(|earlier| **earlier != *target) {
                let record = records::target_assignment(&group.group_id, member_id, target);
                self.effects.records.push(record);
            }
        }
        let group_epoch = assignable.group_epoch;
        let epoch = (group_epoch, self.now.wall_ms);
        let record = records::KIND.target_metadata(&group.group_id, epoch);
        self.effects.records.push(record);
        tracing::info!(
            group = %group.group_id,
            group_epoch,
            members = spec.members.len(),
            "computed a new target assignment"
        );
        let own = assignable
            .member
            .and_then(|member| targets.remove(&member.member_id));
        Target {
            epoch: group_epoch,
            tasks: Arc::new(own.unwrap_or_default()),
        }
    }

    /// The group as the assignor sees it, with the member as it is to be.
    fn spec(&self, assignable: Assignable<'_>) -> GroupSpec {
        let group = self.group;
        let mut members = HashOrdered::default();
        let present = group.members.values().map(|member| &**member);
        for member in present.chain(assignable.member) {
            let spec = MemberSpec {
                process_id: member.process_id.clone(),
                target: group.target_of(&member.member_id),
            };
            members.insert(member.member_id.clone(), spec);
        }
        let subtopologies = assignable.topology.subtopologies.iter().flatten();
        GroupSpec {
            members,
            subtopologies: subtopologies
                .map(|(id, subtopology)| {
                    let spec = SubtopologySpec {
                        task_count: subtopology.task_count,
                        is_stateful: subtopology.is_stateful(),
                    };
                    (id.clone(), spec)
                })
                .collect(),
            standby_replicas: standby_replicas(assignable.configs),
        }
    }

    /// The first members have had time to come: the group is assigned.
    pub(super) fn end_initial_delay(&mut self) {
        let group = self.group;
        let Some(topology) = self.volatile.configured.clone() else {
            return;
        };
        if group.is_empty() || group.group_epoch <= group.assignment_epoch {
            return;
        }
        self.update_target(Assignable {
            group_epoch: group.group_epoch,
            member: None,
            topology: &topology,
            configs: &group.last_assignment_configs,
        });
    }

    /// Takes a member out of the group, which enters a new epoch.
    pub(super) fn fence(&mut self, member: &StreamsMember) {
        let group = self.group;
        let (group_id, member_id) = (&group.group_id, &member.member_id);
        let tombstones = records::KIND.member_tombstones(group_id, member_id);
        self.effects.records.extend(tombstones);
        self.bump_epoch(&GroupMetadata {
            epoch: group.group_epoch + 1,
            metadata_hash: group.metadata_hash,
            validated_topology_epoch: group.validated_topology_epoch,
            assignment_configs: &group.last_assignment_configs,
        });
        for timer in [MemberTimer::Session, MemberTimer::Rebalance] {
            let key = self.timer_key(member_id, timer);
            self.timers.cancel(&key);
        }
    }

    pub(super) fn say(&mut self, status: Status, detail: impl Into<String>) {
        self.statuses.push((status, detail.into()));
    }

    /// Expects to hear of the member within the session timeout.
    pub(super) fn expect_heartbeat(&mut self, member_id: &KafkaString) {
        let timeout_ms = self.settings().session_timeout_ms;
        let key = self.timer_key(member_id, MemberTimer::Session);
        self.schedule(key, timeout_ms, TimerAction::FenceMember);
    }

    /// Expects the member to give up what it has to, if it has to.
    pub(super) fn expect_revocation(&mut self, member: &StreamsMember) {
        let key = self.timer_key(&member.member_id, MemberTimer::Rebalance);
        if member.state == super::member::MemberState::UnrevokedTasks {
            let action = TimerAction::FenceMemberInEpoch {
                member_epoch: member.member_epoch,
            };
            self.schedule(key, member.rebalance_timeout_ms, action);
        } else {
            self.timers.cancel(&key);
        }
    }

    pub(super) fn schedule(&mut self, key: TimerKey, delay_ms: i32, action: TimerAction) {
        let deadline_ms = self.now.monotonic_ms.saturating_add(i64::from(delay_ms));
        self.timers.schedule(key, deadline_ms, action);
    }

    pub(super) fn initial_assignment_key(&self) -> TimerKey {
        TimerKey::InitialAssignment {
            group_id: self.group.group_id.clone(),
        }
    }

    fn timer_key(&self, member_id: &KafkaString, timer: MemberTimer) -> TimerKey {
        TimerKey::Member {
            group_id: self.group.group_id.clone(),
            member_id: member_id.clone(),
            timer,
        }
    }
}
