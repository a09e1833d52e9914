//! Groups that change their protocol (KIP-848, "Migrating to the new protocol").
//!
//! A consumer that joins a classic group of consumers makes a consumer group of it, in which the
//! members that are there go on by the classic protocol. When only such members are left it becomes
//! a classic group again. Either way the records of the one are taken back, and those of the other
//! written, in one batch.

use std::sync::Arc;

use ottla_protocol::messages::ConsumerProtocolAssignment;
use ottla_protocol::messages::consumer_protocol_assignment::TopicPartition;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::assignment::{EpochsByTopic, PartitionEpochs, PartitionsByTopic, from_lists, to_lists};
use super::group::ConsumerGroup;
use super::member::ConsumerMember;
use super::records;
use crate::group::Group;
use crate::group::classic::{
    ClassicGroup, ConversionError, Waiting, join_error, metadata_key, sync_error,
};
use crate::group::config::ConsumerGroupConfig;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Effects, Now};
use crate::group::metadata::ClusterMetadata;
use crate::group::refusal::Refusal;
use crate::group::timers::{MemberTimer, TimerAction, TimerKey};
use crate::record::CoordinatorRecord;

/// How a consumer group becomes a classic one.
#[derive(Debug, Default)]
pub(super) struct Downgrade<'a> {
    /// The members that are not in it any more.
    pub(super) leaving: &'a [Arc<ConsumerMember>],
    /// A static member that has come back by the classic protocol.
    pub(super) joining: Option<&'a ConsumerMember>,
    /// Whether the members are to rebalance at once, since their assignments are not the last word.
    pub(super) is_rebalance: bool,
}

impl GroupCoordinator {
    /// The consumer group that a classic one is to be. The classic group itself stays as it is.
    pub(super) fn upgrade_classic_group(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        effects: &mut Effects,
    ) -> Result<ConsumerGroup, Refusal> {
        let Some(Group::Classic(classic)) = self.groups.get(group_id) else {
            return Err(Refusal::group_id_not_found(format!(
                "Group {group_id} is not a consumer group."
            )));
        };
        let tombstone = CoordinatorRecord::tombstone(metadata_key(group_id));
        if classic.is_empty() {
            effects.records.push(tombstone);
            return Ok(ConsumerGroup::new(group_id.detached()));
        }
        validate_upgrade(group_id, classic, &self.config.consumer)?;
        let group = to_consumer_group(group_id, classic, &mut self.metadata)?;
        effects.records.push(tombstone);
        group.append_records(&mut effects.records);
        for member in group.members.values() {
            let Some(classic) = &member.classic else {
                continue;
            };
            let timeout_ms = i64::from(classic.session_timeout_ms);
            self.timers.schedule(
                TimerKey::Member {
                    group_id: group_id.detached(),
                    member_id: member.member_id.clone(),
                    timer: MemberTimer::Session,
                },
                now.monotonic_ms.saturating_add(timeout_ms),
                TimerAction::FenceMember,
            );
        }
        tracing::info!(group = %group_id, members = group.members.len(), "the classic group becomes a consumer group");
        Ok(group)
    }

    /// The classic group of that id, if there is one, is about to be another: who waits in it is
    /// to join again.
    pub(super) fn dissolve_classic_group(&mut self, group_id: &KafkaString, effects: &mut Effects) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else {
            return;
        };
        for waiting in group.unload() {
            let error = ErrorCode::REBALANCE_IN_PROGRESS;
            match waiting {
                Waiting::Join(token, member_id) => {
                    effects.join(token, join_error(member_id, error));
                }
                Waiting::Sync(token) => effects.sync(token, sync_error(error)),
            }
        }
        let group_id = group_id.detached();
        self.timers.cancel(&TimerKey::Join {
            group_id: group_id.clone(),
        });
        self.timers.cancel(&TimerKey::Sync { group_id });
    }

    /// Takes members out of a consumer group, which becomes a classic one if nobody else speaks the
    /// consumer protocol.
    pub(super) fn fence_consumers(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        members: &[Arc<ConsumerMember>],
    ) -> Effects {
        if self.becomes_classic_without(group_id, members) {
            let downgrade = Downgrade {
                leaving: members,
                joining: None,
                is_rebalance: true,
            };
            return self.downgrade(now, group_id, &downgrade);
        }
        self.with_consumer(now, group_id, |decision| decision.fence(members))
            .map_or_else(Effects::default, |((), effects)| effects)
    }

    fn becomes_classic_without(
        &self,
        group_id: &KafkaString,
        leaving: &[Arc<ConsumerMember>],
    ) -> bool {
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else {
            return false;
        };
        let classic = leaving
            .iter()
            .filter(|member| member.uses_classic_protocol())
            .count();
        let members = group.members.len().saturating_sub(leaving.len());
        members > 0
            && !leaving.is_empty()
            && group.classic_member_count.saturating_sub(classic) == members
            && self.config.consumer.migration.is_downgrade_enabled
            && members <= self.config.group_size_max
    }

    /// Makes a classic group of a consumer group, at once.
    pub(super) fn downgrade(
        &mut self,
        now: Now,
        group_id: &KafkaString,
        downgrade: &Downgrade<'_>,
    ) -> Effects {
        let Some(Group::Consumer(group)) = self.groups.remove(group_id) else {
            return Effects::default();
        };
        let mut effects = Effects::default();
        let replaced = downgrade.joining.and_then(|joining| {
            let earlier = group.static_member(joining.instance_id.as_ref())?;
            Some((&earlier.member_id, joining))
        });
        let ids = replaced.map(|(earlier_id, joining)| (earlier_id, &joining.member_id));
        effects.records = group.tombstones_with(ids);
        let mut classic = to_classic_group(now, &group, downgrade.leaving, replaced);
        classic.assign(|member_id| {
            let of = match ids {
                Some((earlier_id, joining_id)) if joining_id == member_id => earlier_id,
                _ => member_id,
            };
            let target = group.target_of(of);
            named_assignment(to_lists(&target).into_iter(), &self.metadata)
        });
        effects.records.push(classic.to_record());
        for member_id in group.members.keys() {
            for timer in MemberTimer::ALL {
                self.timers.cancel(&TimerKey::Member {
                    group_id: group.group_id.clone(),
                    member_id: member_id.clone(),
                    timer,
                });
            }
        }
        self.groups
            .insert(group.group_id.clone(), Group::Classic(Box::new(classic)));
        tracing::info!(group = %group_id, "the consumer group becomes a classic group");
        let started = self.with_classic(now, group_id, |decision| {
            decision.expect_heartbeats();
            if downgrade.is_rebalance {
                decision.prepare_rebalance("the group was a consumer group before");
            }
        });
        if let Some(((), started)) = started {
            effects.records.extend(started.records);
            effects.released.extend(started.released);
        }
        effects
    }
}

fn validate_upgrade(
    group_id: &KafkaString,
    classic: &ClassicGroup,
    config: &ConsumerGroupConfig,
) -> Result<(), Refusal> {
    let why = if !config.migration.is_upgrade_enabled {
        "online upgrade is disabled"
    } else if !classic.uses_consumer_protocol() {
        "the group does not use the consumer embedded protocol"
    } else if classic.member_count() > config.group_size_max {
        "the group size exceeds the consumer group maximum size"
    } else {
        return Ok(());
    };
    Err(cannot_upgrade(group_id, why))
}

fn cannot_upgrade(group_id: &KafkaString, why: &str) -> Refusal {
    tracing::info!(group = %group_id, why, "a classic group can't become a consumer group");
    Refusal::group_id_not_found(format!(
        "Cannot upgrade classic group {group_id} to consumer group because {why}."
    ))
}

fn to_consumer_group(
    group_id: &KafkaString,
    classic: &ClassicGroup,
    metadata: &mut ClusterMetadata,
) -> Result<ConsumerGroup, Refusal> {
    let members = classic.consumers().map_err(|error| {
        cannot_upgrade(
            group_id,
            match error {
                ConversionError::Malformed => "the embedded consumer protocol is malformed",
                ConversionError::CustomAssignor => {
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade"
                }
            },
        )
    })?;
    let generation_id = classic.generation_id();
    let mut group = ConsumerGroup::new(group_id.detached());
    group.group_epoch = generation_id;
    group.assignment_epoch = generation_id;
    for (mut member, assignment) in members {
        let topics = assignment.assigned_partitions.iter();
        let topics = topics.filter_map(|topic| {
            let topic_id = metadata.topic_id(&topic.topic)?;
            Some((topic_id, &topic.partitions[..]))
        });
        let target = from_lists(topics);
        member.assigned_partitions = Arc::new(given_in(&target, generation_id));
        group.put_target_assignment(member.member_id.clone(), target);
        group.put_member(member);
    }
    group.metadata_hash = metadata.group_hash(group.subscribed_topics.names());
    Ok(group)
}

/// The partitions, each as given in this epoch.
fn given_in(target: &PartitionsByTopic, epoch: i32) -> EpochsByTopic {
    let mut given = EpochsByTopic::default();
    for (topic_id, partitions) in target.iter() {
        let mut epochs = PartitionEpochs::default();
        for partition in partitions.keys() {
            epochs.insert(*partition, epoch);
        }
        given.insert(*topic_id, epochs);
    }
    given
}

/// The classic group of those who stay, and of the member that takes another's place.
fn to_classic_group(
    now: Now,
    group: &ConsumerGroup,
    leaving: &[Arc<ConsumerMember>],
    replaced: Option<(&KafkaString, &ConsumerMember)>,
) -> ClassicGroup {
    let stays = |member: &&Arc<ConsumerMember>| {
        let id = &member.member_id;
        leaving.iter().all(|leaving| leaving.member_id != *id)
            && replaced.is_none_or(|(earlier_id, _)| earlier_id != id)
    };
    let members = group.members.values().filter(stays).map(|member| &**member);
    ClassicGroup::of_consumers(
        group.group_id.clone(),
        group.group_epoch,
        now.wall_ms,
        members.chain(replaced.map(|(_, joining)| joining)),
    )
}

/// The assignment by the names of the topics that there are.
pub(super) fn named_assignment(
    topics: impl Iterator<Item = (Uuid, Vec<i32>)>,
    metadata: &ClusterMetadata,
) -> ConsumerProtocolAssignment {
    let named = topics.filter_map(|(topic_id, partitions)| {
        Some(TopicPartition {
            topic: metadata.topic_name(topic_id)?.clone(),
            partitions,
        })
    });
    ConsumerProtocolAssignment {
        assigned_partitions: named.collect(),
        ..ConsumerProtocolAssignment::default()
    }
}

impl ConsumerGroup {
    /// All that the log is to have of the group.
    fn append_records(&self, appended: &mut Vec<CoordinatorRecord>) {
        let group_id = &self.group_id;
        for member in self.members.values() {
            appended.push(records::member_metadata(group_id, member));
        }
        let hash = self.metadata_hash;
        appended.push(records::group_epoch(group_id, self.group_epoch, hash));
        for member_id in self.members.keys() {
            let lists = to_lists(&self.target_of(member_id));
            appended.push(records::target_assignment(group_id, member_id, &lists));
        }
        let target = (self.assignment_epoch, self.assignment_timestamp_ms);
        appended.push(records::KIND.target_metadata(group_id, target));
        for member in self.members.values() {
            appended.push(records::current_assignment(group_id, member));
        }
    }

    /// Records that take back all that the log has of the group.
    pub(in crate::group) fn tombstones(&self) -> Vec<CoordinatorRecord> {
        self.tombstones_with(None)
    }

    /// The same; if given, the first member id has just become the second.
    fn tombstones_with(
        &self,
        replaced: Option<(&KafkaString, &KafkaString)>,
    ) -> Vec<CoordinatorRecord> {
        let group_id = &self.group_id;
        let member_ids = || {
            self.members.keys().map(move |member_id| match replaced {
                Some((earlier_id, later_id)) if earlier_id == member_id => later_id,
                _ => member_id,
            })
        };
        let mut tombstones = records::KIND.members_tombstones(group_id, member_ids);
        let regexes = self.resolved_regexes.keys();
        tombstones
            .extend(regexes.map(|regex| records::regular_expression_tombstone(group_id, regex)));
        tombstones.push(records::partition_metadata_tombstone(group_id));
        let key = records::KIND.group_key(group_id);
        tombstones.push(CoordinatorRecord::tombstone(key));
        tombstones
    }
}
