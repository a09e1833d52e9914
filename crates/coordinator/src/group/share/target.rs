//! A share group in hand, and its target assignment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::{KafkaString, Uuid};

use super::assignor::{self, GroupSpec, MemberSpec};
use super::group::ShareGroup;
use super::member::ShareMember;
use super::records;
use super::settings::ShareSettings;
use crate::group::config::GroupCoordinatorConfig;
use crate::group::consumer::SubscriptionType;
use crate::group::consumer::assignment::{PartitionsByTopic, from_lists};
use crate::group::counts::GroupCounts;
use crate::group::decision::{Effects, Now};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::metadata::ClusterMetadata;
use crate::group::pace::{RefreshDeadline, may_assign_again};
use crate::group::timers::{MemberTimer, TimerAction, TimerKey, Timers};

/// A share group in hand. It changes by the replay of the records alone.
#[derive(Debug)]
pub(super) struct ShareDecision<'a> {
    pub(super) group: &'a ShareGroup,
    pub(super) timers: &'a mut Timers,
    pub(super) metadata: &'a mut ClusterMetadata,
    pub(super) config: &'a GroupCoordinatorConfig,
    pub(super) counts: &'a mut GroupCounts,
    pub(super) effects: Effects,
    /// When the group's topics are to be looked at again, if that changes.
    pub(super) refresh: Option<RefreshDeadline>,
    pub(super) now: Now,
}

/// The epoch of a target assignment, and what it has for the member that asks.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) epoch: i32,
    pub(super) assignment: Arc<PartitionsByTopic>,
}

impl ShareDecision<'_> {
    pub(super) fn settings(&self) -> ShareSettings {
        ShareSettings::of(&self.group.group_id, self.config, self.metadata)
    }

    /// The target assignment of the group's epoch, computed unless it is there, or was computed too short a time ago.
    pub(super) fn update_target(
        &mut self,
        updated: &ShareMember,
        (group_epoch, subscription_type): (i32, SubscriptionType),
    ) -> Target {
        let group = self.group;
        if group.assignment_epoch >= group_epoch || !self.may_assign() {
            return Target {
                epoch: group.assignment_epoch,
                assignment: group.target_of(&updated.member_id),
            };
        }
        let spec = self.spec(updated, subscription_type);
        let target = assignor::assign(&spec);
        let nothing = Vec::new();
        for member_id in spec.members.keys() {
            let lists = target.get(member_id).unwrap_or(&nothing);
            let assignment = from_lists(lists.iter().map(|(id, list)| (*id, &list[..])));
            let earlier = group.target_assignment.get(member_id);
            if earlier.is_none_or(|earlier| **earlier != assignment) {
                let record = records::target_assignment(&group.group_id, member_id, lists);
                self.effects.records.push(record);
            }
        }
        let epoch = (group_epoch, self.now.wall_ms);
        let record = records::KIND.target_metadata(&group.group_id, epoch);
        self.effects.records.push(record);
        tracing::info!(
            group = %group.group_id,
            group_epoch,
            assignor = assignor::NAME,
            members = spec.members.len(),
            "computed a new target assignment"
        );
        let own = target.get(&updated.member_id).unwrap_or(&nothing);
        Target {
            epoch: group_epoch,
            assignment: Arc::new(from_lists(own.iter().map(|(id, list)| (*id, &list[..])))),
        }
    }

    /// Whether enough time has gone by since the last target assignment.
    fn may_assign(&self) -> bool {
        let interval_ms = self.settings().assignment_interval_ms;
        may_assign_again(self.now, self.group.assignment_timestamp_ms, interval_ms)
    }

    /// The group as the assignor sees it, with the member as it is to be.
    fn spec(&self, updated: &ShareMember, subscription_type: SubscriptionType) -> GroupSpec {
        let group = self.group;
        let mut members = HashOrdered::default();
        for (member_id, member) in group.members.iter() {
            members.insert(member_id.clone(), self.member_spec(member));
        }
        members.insert(updated.member_id.clone(), self.member_spec(updated));
        let mut partition_counts = BTreeMap::new();
        for topic_id in members.values().flat_map(|member| &member.topic_ids) {
            partition_counts
                .entry(*topic_id)
                .or_insert_with(|| self.metadata.partition_count(*topic_id).unwrap_or(0));
        }
        GroupSpec {
            members,
            subscription_type,
            partition_counts,
            assignable: self.assignable(),
        }
    }

    fn assignable(&self) -> BTreeMap<Uuid, HashOrderedSet<i32>> {
        let initialized = self.group.state_partitions.iter();
        initialized
            .flat_map(|partitions| partitions.initialized.iter())
            .map(|(topic_id, topic)| (*topic_id, topic.partitions.clone()))
            .collect()
    }

    fn member_spec(&self, member: &ShareMember) -> MemberSpec {
        MemberSpec {
            has_subscription: !member.subscribed_topic_names.is_empty(),
            topic_ids: self.topic_ids_of(member),
            assignment: self.group.target_of(&member.member_id),
        }
    }

    /// The topics that the member subscribes to and that exist, in the order that Kafka has.
    fn topic_ids_of(&self, member: &ShareMember) -> Vec<Uuid> {
        let names = member.subscribed_topic_names.keys();
        names
            .filter_map(|name| self.metadata.topic_id(name))
            .collect()
    }

    /// Leads the member to its target assignment, and writes that down if it changes anything.
    pub(super) fn reconcile(
        &mut self,
        member: ShareMember,
        target: &Target,
        has_changed: bool,
    ) -> ShareMember {
        if !has_changed && member.is_reconciled_to(target.epoch) {
            return member;
        }
        let mut updated = member.clone();
        if target.epoch != member.member_epoch {
            updated.state = super::member::STATE_STABLE;
            updated.enter_epoch(target.epoch);
        }
        if target.epoch != member.member_epoch || has_changed {
            updated.assigned_partitions = self.subscribed_of(&member, &target.assignment);
        }
        if updated != member {
            let record = records::current_assignment(&self.group.group_id, &updated);
            self.effects.records.push(record);
        }
        updated
    }

    /// Of a target assignment what the member still subscribes to.
    fn subscribed_of(
        &self,
        member: &ShareMember,
        target: &Arc<PartitionsByTopic>,
    ) -> Arc<PartitionsByTopic> {
        let subscribed: BTreeSet<Uuid> = self.topic_ids_of(member).into_iter().collect();
        if target.keys().all(|topic_id| subscribed.contains(topic_id)) {
            return Arc::clone(target);
        }
        let mut filtered = target.copied();
        for topic_id in target.keys() {
            if !subscribed.contains(topic_id) {
                filtered.remove(topic_id);
            }
        }
        Arc::new(filtered)
    }

    /// Expects to hear of the member within the session timeout.
    pub(super) fn expect_heartbeat(&mut self, member_id: &KafkaString) {
        let timeout_ms = i64::from(self.settings().session_timeout_ms);
        let deadline_ms = self.now.monotonic_ms.saturating_add(timeout_ms);
        let key = self.session_key(member_id);
        self.timers
            .schedule(key, deadline_ms, TimerAction::FenceMember);
    }

    pub(super) fn session_key(&self, member_id: &KafkaString) -> TimerKey {
        TimerKey::Member {
            group_id: self.group.group_id.clone(),
            member_id: member_id.clone(),
            timer: MemberTimer::Session,
        }
    }
}
