//! A consumer group in hand: with all that deciding about it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::{KafkaString, Uuid};

use super::assignment::{PartitionsByTopic, from_lists};
use super::assignor::{Assignor, GroupSpec, MemberSpec};
use super::group::{
    ConsumerGroup, ResolvedRegex, SubscribedTopics, SubscriptionType, decrease, increase,
};
use super::member::ConsumerMember;
use super::records;
use super::settings::GroupSettings;
use crate::group::config::GroupCoordinatorConfig;
use crate::group::counts::GroupCounts;
use crate::group::decision::{Effects, Now};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::metadata::ClusterMetadata;
use crate::group::pace::{RefreshDeadline, may_assign_again};
use crate::group::timers::{MemberTimer, TimerAction, TimerKey, Timers};

/// A consumer group in hand. It changes by the replay of the records alone.
#[derive(Debug)]
pub(in crate::group) struct ConsumerDecision<'a> {
    pub(in crate::group) group: &'a ConsumerGroup,
    pub(in crate::group) timers: &'a mut Timers,
    pub(in crate::group) metadata: &'a mut ClusterMetadata,
    pub(in crate::group) config: &'a GroupCoordinatorConfig,
    pub(in crate::group) counts: &'a mut GroupCounts,
    pub(in crate::group) effects: Effects,
    /// When the group's topics are to be looked at again, if that changes.
    pub(in crate::group) refresh: Option<RefreshDeadline>,
    pub(in crate::group) now: Now,
}

/// A member before and after a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) earlier: &'a ConsumerMember,
    pub(super) updated: &'a ConsumerMember,
}

/// The epoch of a target assignment, and what it has for the member that asks.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) epoch: i32,
    pub(super) assignment: Arc<PartitionsByTopic>,
}

impl ConsumerDecision<'_> {
    pub(super) fn settings(&self) -> GroupSettings {
        GroupSettings::of(&self.group.group_id, self.config, self.metadata)
    }

    /// Writes down that the member has changed; says whether its topics have.
    pub(super) fn note_subscription(&mut self, change: Change<'_>) -> bool {
        let Change { earlier, updated } = change;
        if earlier == updated {
            return false;
        }
        let record = records::member_metadata(&self.group.group_id, updated);
        self.effects.records.push(record);
        earlier.subscribed_topic_names != updated.subscribed_topic_names
    }

    /// Whether the group's topics have to be looked at, since they may have changed.
    pub(super) fn needs_refresh(&self) -> bool {
        let group = self.group;
        group.refresh_deadline.has_come(self.now, group.group_epoch)
    }

    /// Looks at the group's topics, and enters a new epoch if they or its members have changed.
    pub(super) fn refresh_subscriptions(
        &mut self,
        change: Change<'_>,
        has_changed: bool,
    ) -> (i32, SubscriptionType) {
        let group = self.group;
        let topics = subscribed_topics_after(group, change);
        let regexes = regexes_after(group, change);
        let metadata_hash = self.metadata.group_hash(topics.names());
        let updated = change.updated;
        let is_new = group.member(&updated.member_id).is_none()
            && group.static_member(updated.instance_id.as_ref()).is_none();
        let member_count = group.members.len() + usize::from(is_new);
        let mut group_epoch = group.group_epoch;
        if has_changed || metadata_hash != group.metadata_hash {
            group_epoch += 1;
            self.bump_epoch(group_epoch, metadata_hash);
            self.counts.consumer_rebalances += 1;
        }
        self.postpone_refresh(group_epoch);
        if group.has_partition_metadata {
            let record = records::partition_metadata_tombstone(&group.group_id);
            self.effects.records.push(record);
        }
        (
            group_epoch,
            topics.subscription_type(&regexes, member_count),
        )
    }

    pub(super) fn bump_epoch(&mut self, group_epoch: i32, metadata_hash: i64) {
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

    pub(super) fn postpone_refresh(&mut self, group_epoch: i32) {
        self.refresh = Some(RefreshDeadline::after(self.now, group_epoch));
    }

    /// The target assignment of the group's epoch, computed unless it is there, or was computed
    /// too short a time ago.
    pub(super) fn update_target(
        &mut self,
        change: Change<'_>,
        (group_epoch, subscription_type): (i32, SubscriptionType),
    ) -> Target {
        let group = self.group;
        let updated = change.updated;
        if group.assignment_epoch >= group_epoch || !self.may_assign() {
            return last_target(group, updated);
        }
        let assignor = preferred_assignor(group, change)
            .as_deref()
            .and_then(Assignor::of)
            .unwrap_or(self.config.consumer.assignors[0]);
        let spec = self.spec(updated, subscription_type);
        let target = assignor.assign(&spec);
        let member_ids: Vec<KafkaString> = spec.members.keys().cloned().collect();
        let nothing = Vec::new();
        for member_id in &member_ids {
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
            assignor = assignor.name(),
            members = member_ids.len(),
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

    /// The group as an assignor sees it, with the member as it is to be.
    fn spec(&self, updated: &ConsumerMember, subscription_type: SubscriptionType) -> GroupSpec<'_> {
        let group = self.group;
        let mut partition_counts = BTreeMap::new();
        let mut members = HashOrdered::default();
        for (member_id, member) in group.members.iter() {
            let spec = self.member_spec(member, group.target_of(member_id));
            members.insert(member_id.clone(), spec);
        }
        // A static member that has come back takes the place of the one before.
        let earlier_id = updated
            .instance_id
            .as_ref()
            .and_then(|instance_id| group.static_members.get(instance_id))
            .filter(|earlier_id| **earlier_id != updated.member_id);
        let assignment = group.target_of(earlier_id.unwrap_or(&updated.member_id));
        members.insert(
            updated.member_id.clone(),
            self.member_spec(updated, assignment),
        );
        if let Some(earlier_id) = earlier_id {
            members.remove(earlier_id);
        }
        for member in members.values() {
            for topic_id in &member.topic_ids {
                partition_counts
                    .entry(*topic_id)
                    .or_insert_with(|| self.metadata.partition_count(*topic_id).unwrap_or(0));
            }
        }
        GroupSpec {
            members,
            subscription_type,
            owners: &group.target_owners,
            partition_counts,
        }
    }

    fn member_spec(
        &self,
        member: &ConsumerMember,
        assignment: Arc<PartitionsByTopic>,
    ) -> MemberSpec {
        MemberSpec {
            instance_id: member.instance_id.clone(),
            topic_ids: self.topic_ids_of(member),
            assignment,
        }
    }

    /// The topics that the member subscribes to and that exist, in the order that Kafka has.
    pub(super) fn topic_ids_of(&self, member: &ConsumerMember) -> Vec<Uuid> {
        let names = &member.subscribed_topic_names;
        let resolved = member
            .regex()
            .and_then(|regex| self.group.resolved_regexes.get(regex));
        let mut topic_ids: Vec<Uuid> = names
            .keys()
            .filter_map(|name| self.metadata.topic_id(name))
            .collect();
        if let Some(resolved) = resolved {
            let matched = HashOrderedSet::from_list(resolved.topics.iter().cloned());
            let matched = matched.keys().filter(|name| !names.contains(name));
            topic_ids.extend(matched.filter_map(|name| self.metadata.topic_id(name)));
        }
        topic_ids
    }

    pub(super) fn subscribed_topic_ids(&self, member: &ConsumerMember) -> BTreeSet<Uuid> {
        self.topic_ids_of(member).into_iter().collect()
    }

    /// Expects to hear of the member within the session timeout.
    pub(super) fn expect_heartbeat(&mut self, member_id: &KafkaString) {
        let timeout_ms = self.settings().session_timeout_ms;
        self.expect_heartbeat_within(member_id, timeout_ms);
    }

    pub(super) fn expect_heartbeat_within(&mut self, member_id: &KafkaString, timeout_ms: i32) {
        self.schedule(
            (member_id, MemberTimer::Session),
            timeout_ms,
            TimerAction::FenceMember,
        );
    }

    pub(super) fn schedule(
        &mut self,
        (member_id, timer): (&KafkaString, MemberTimer),
        delay_ms: i32,
        action: TimerAction,
    ) {
        let deadline_ms = self.now.monotonic_ms.saturating_add(i64::from(delay_ms));
        let key = self.timer_key(member_id, timer);
        self.timers.schedule(key, deadline_ms, action);
    }

    pub(super) fn timer_key(&self, member_id: &KafkaString, timer: MemberTimer) -> TimerKey {
        TimerKey::Member {
            group_id: self.group.group_id.clone(),
            member_id: member_id.clone(),
            timer,
        }
    }

    pub(super) fn cancel_timers(&mut self, member_id: &KafkaString) {
        for timer in MemberTimer::ALL {
            let key = self.timer_key(member_id, timer);
            self.timers.cancel(&key);
        }
    }
}

/// What the group's members subscribe to once the member has changed.
fn subscribed_topics_after(group: &ConsumerGroup, change: Change<'_>) -> SubscribedTopics {
    let Change { earlier, updated } = change;
    let mut topics = group.subscribed_topics.clone();
    topics.remove_member(earlier);
    topics.add_member(updated);
    if let Some(regex) = earlier.regex()
        && updated.regex() != Some(regex)
        && group.regex_member_count(regex) == 1
        && let Some(resolved) = group.resolved_regexes.get(regex)
    {
        topics.remove_regex(&resolved.topics);
    }
    topics
}

/// Which expressions the group's members use once the member has changed.
pub(super) fn regexes_after(
    group: &ConsumerGroup,
    change: Change<'_>,
) -> HashOrdered<KafkaString, usize> {
    let mut regexes = group.regexes.clone();
    if change.earlier.regex() != change.updated.regex() {
        regexes = regexes.copied();
        if let Some(regex) = change.earlier.regex() {
            decrease(&mut regexes, regex);
        }
        if let Some(regex) = change.updated.regex() {
            increase(&mut regexes, regex);
        }
    }
    regexes
}

/// The assignor that most members ask for once the member has changed.
fn preferred_assignor(group: &ConsumerGroup, change: Change<'_>) -> Option<KafkaString> {
    let mut counts = group.server_assignors.copied();
    if let Some(assignor) = &change.earlier.server_assignor {
        decrease(&mut counts, assignor);
    }
    if let Some(assignor) = &change.updated.server_assignor {
        increase(&mut counts, assignor);
    }
    most_asked_for(&counts)
}

/// Of the most asked for the first.
pub(super) fn most_asked_for(counts: &HashOrdered<KafkaString, usize>) -> Option<KafkaString> {
    let mut most: Option<(&KafkaString, usize)> = None;
    for (assignor, count) in counts.iter() {
        if most.is_none_or(|(_, known)| *count > known) {
            most = Some((assignor, *count));
        }
    }
    most.map(|(assignor, _)| assignor.clone())
}

/// What the last target assignment has for the member, or for the one it takes the place of.
pub(super) fn last_target(group: &ConsumerGroup, member: &ConsumerMember) -> Target {
    let assignment = match &member.instance_id {
        None => group.target_of(&member.member_id),
        Some(instance_id) => group
            .static_members
            .get(instance_id)
            .map(|member_id| group.target_of(member_id))
            .unwrap_or_default(),
    };
    Target {
        epoch: group.assignment_epoch,
        assignment,
    }
}

impl ResolvedRegex {
    /// When the group's expressions were looked up last.
    pub(super) fn last_lookup(group: &ConsumerGroup) -> Option<&Self> {
        group.resolved_regexes.values().next()
    }
}
