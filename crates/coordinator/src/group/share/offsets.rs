//! What operators ask of share groups that nobody uses: to begin elsewhere, to forget where they are, to be deleted.

use std::collections::BTreeMap;

use ottla_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use ottla_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use ottla_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use ottla_protocol::{ErrorCode, KafkaString, Uuid};

use super::group::{ShareGroup, StatePartitions, TopicPartitions, Topics};
use super::partitions::{combine, starting_record};
use super::records;
use super::{SharePartitionLists, StartPartitions};
use crate::group::Group;
use crate::group::coordinator::GroupCoordinator;
use crate::group::decision::{Decision, Effects, Now};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};
use crate::group::refusal::Refusal;

/// What clients read of a partition or topic that is not there.
const NOT_HOSTED: &str = "This server does not host this topic-partition.";

/// What becomes of offsets that are to be altered.
#[derive(Clone, Debug, PartialEq)]
pub struct AlteredShareOffsets {
    /// To the client, where the partitions can be started.
    pub topics: Vec<AlterShareGroupOffsetsResponseTopic>,
    /// The partitions that are to begin elsewhere.
    pub starting: StartPartitions,
}

/// What becomes of topics that are to be forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForgottenShareOffsets {
    /// To the client: those that can't be.
    pub refused: Vec<DeleteShareGroupOffsetsResponseTopic>,
    /// The partitions that the share coordinator is to forget. For the topics where it does, [`share_topics_forgotten`](GroupCoordinator::share_topics_forgotten) is to be called.
    pub deleting: SharePartitionLists,
}

impl GroupCoordinator {
    /// AlterShareGroupOffsets: partitions are started anew, at offsets that are given.
    ///
    /// # Errors
    /// If it is another type of group, or has members; with Kafka's words.
    pub fn alter_share_group_offsets(
        &self,
        now: Now,
        group_id: &KafkaString,
        topics: &[AlterShareGroupOffsetsRequestTopic],
    ) -> Decision<Result<AlteredShareOffsets, (ErrorCode, KafkaString)>> {
        let new_group;
        let group = match self.groups.get(group_id) {
            Some(Group::Share(group)) => &**group,
            Some(_) => {
                let message = format!("Group {group_id} is not a share group.");
                return refuse(ErrorCode::GROUP_ID_NOT_FOUND, message);
            }
            None => {
                new_group = ShareGroup::new(group_id.detached());
                &new_group
            }
        };
        if !group.is_empty() {
            return refuse(ErrorCode::NON_EMPTY_GROUP, "The group is not empty.");
        }
        let mut starting = Topics::default();
        let mut starts: HashOrdered<Uuid, BTreeMap<i32, i64>> = HashOrdered::default();
        let mut answers: Vec<AlterShareGroupOffsetsResponseTopic> = Vec::new();
        for topic in topics {
            // Kafka takes the topics for a set by name: the first of a name counts.
            if answers
                .iter()
                .any(|known| known.topic_name == topic.topic_name)
            {
                continue;
            }
            let topic_id = self.metadata.topic_id(&topic.topic_name);
            let count = topic_id.and_then(|topic_id| self.metadata.partition_count(topic_id));
            let exists = |partition: i32| count.is_some_and(|count| partition < count);
            answers.push(altered_topic(topic, topic_id, exists));
            let Some(topic_id) = topic_id else {
                continue;
            };
            let mut partitions: HashOrderedSet<i32> = HashOrdered::default();
            for partition in &topic.partitions {
                if exists(partition.partition_index) {
                    partitions.insert(partition.partition_index, ());
                    starts
                        .compute_if_absent(topic_id, BTreeMap::new)
                        .insert(partition.partition_index, partition.start_offset);
                }
            }
            let topic = TopicPartitions {
                name: topic.topic_name.detached(),
                partitions,
                since_ms: now.wall_ms,
            };
            starting.insert(topic_id, topic);
        }
        let mut effects = Effects::default();
        if !starting.is_empty() {
            let record = starting_record(group, &starting, &self.metadata);
            effects.records.push(record);
        }
        let starting = StartPartitions {
            group_id: group_id.clone(),
            state_epoch: group.group_epoch,
            topics: starts
                .iter()
                .map(|(topic_id, starts)| {
                    let starts = starts.iter().map(|(index, offset)| (*index, *offset));
                    (*topic_id, starts.collect())
                })
                .collect(),
        };
        effects.with(Ok(AlteredShareOffsets {
            topics: answers,
            starting,
        }))
    }

    /// DeleteShareGroupOffsets: topics are to be forgotten.
    ///
    /// # Errors
    /// If there is no such group, or it has members; with Kafka's words.
    pub fn forget_share_group_offsets(
        &self,
        group_id: &KafkaString,
        topic_names: &[KafkaString],
    ) -> Decision<Result<ForgottenShareOffsets, (ErrorCode, KafkaString)>> {
        let group = match self.share_group(group_id) {
            Ok(group) => group,
            Err(Refusal { error, message }) => {
                return refuse(error, message.unwrap_or_default().to_string());
            }
        };
        if !group.is_empty() {
            return refuse(ErrorCode::NON_EMPTY_GROUP, "The group is not empty.");
        }
        let mut forgotten = ForgottenShareOffsets::default();
        let mut effects = Effects::default();
        let Some(known) = &group.state_partitions else {
            return effects.with(Ok(forgotten));
        };
        let mut left = known.clone();
        for name in topic_names {
            match self.forget_topic(&mut left, name) {
                Ok(deleting) => forgotten.deleting.push(deleting),
                Err(message) => forgotten
                    .refused
                    .push(DeleteShareGroupOffsetsResponseTopic {
                        topic_name: name.clone(),
                        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                        error_message: Some(KafkaString::from(message)),
                        ..DeleteShareGroupOffsetsResponseTopic::default()
                    }),
            }
        }
        let record = records::state_partitions(group_id, &left, &self.metadata);
        effects.records.push(record);
        effects.with(Ok(forgotten))
    }

    /// Takes the topic out of what is started; gives the partitions to be forgotten, or why there are none.
    fn forget_topic(
        &self,
        partitions: &mut StatePartitions,
        name: &KafkaString,
    ) -> Result<(Uuid, Vec<i32>), &'static str> {
        let topic_id = self.metadata.topic_id(name).ok_or(NOT_HOSTED)?;
        if let Some(topic) = partitions.initialized.remove(&topic_id) {
            partitions.deleting.insert(topic_id, ());
            return Ok((topic_id, topic.partitions.keys().copied().collect()));
        }
        if partitions.deleting.contains(&topic_id) {
            // It was asked for before, and the answer never came.
            let count = self.metadata.partition_count(topic_id).unwrap_or(0);
            return Ok((topic_id, (0..count).collect()));
        }
        Err("There is no offset information to delete.")
    }

    /// The share coordinator has forgotten all partitions of these topics.
    pub fn share_topics_forgotten(
        &self,
        group_id: &KafkaString,
        topic_ids: &[Uuid],
    ) -> Decision<bool> {
        let mut effects = Effects::default();
        let Some(Group::Share(group)) = self.groups.get(group_id) else {
            return effects.with(false);
        };
        let Some(known) = &group.state_partitions else {
            return effects.with(false);
        };
        let mut left = known.clone();
        for topic_id in topic_ids {
            left.deleting.remove(topic_id);
        }
        let record = records::state_partitions(group_id, &left, &self.metadata);
        effects.records.push(record);
        effects.with(true)
    }

    /// DeleteGroups, first half: of each share group among these that may be deleted the partitions that the share coordinator is to forget, or why it may not. Groups of other types are left out.
    pub fn begin_deleting_share_groups(
        &self,
        group_ids: &[KafkaString],
    ) -> Decision<Vec<(KafkaString, Result<SharePartitionLists, ErrorCode>)>> {
        let mut effects = Effects::default();
        let mut groups = Vec::new();
        for group_id in group_ids {
            let Some(Group::Share(group)) = self.groups.get(group_id) else {
                continue;
            };
            if !group.is_empty() {
                groups.push((group_id.clone(), Err(ErrorCode::NON_EMPTY_GROUP)));
                continue;
            }
            let Some(known) = &group.state_partitions else {
                continue;
            };
            let candidates = self.deletion_candidates(known);
            let left = StatePartitions {
                deleting: HashOrderedSet::from_list(
                    candidates.keys().copied().collect::<Vec<_>>().into_iter(),
                ),
                ..StatePartitions::default()
            };
            let record = records::state_partitions(group_id, &left, &self.metadata);
            effects.records.push(record);
            if !candidates.is_empty() {
                let lists = candidates.iter().map(|(topic_id, topic)| {
                    (*topic_id, topic.partitions.keys().copied().collect())
                });
                groups.push((group_id.clone(), Ok(lists.collect())));
            }
        }
        effects.with(groups)
    }

    /// All partitions of a group that the share coordinator may know of.
    fn deletion_candidates(&self, known: &StatePartitions) -> Topics {
        let mut candidates = combine(&known.initialized, &known.initializing);
        let mut again = Topics::default();
        for topic_id in known.deleting.keys() {
            let name = self.metadata.topic_name(*topic_id);
            let count = self.metadata.partition_count(*topic_id);
            if let (Some(name), Some(count)) = (name, count) {
                let topic = TopicPartitions {
                    name: name.clone(),
                    partitions: HashOrderedSet::from_list(
                        (0..count).collect::<Vec<_>>().into_iter(),
                    ),
                    since_ms: -1,
                };
                again.insert(*topic_id, topic);
            }
        }
        if !again.is_empty() {
            candidates = combine(&candidates, &again);
        }
        candidates
    }
}

fn refuse<R>(
    error: ErrorCode,
    message: impl Into<String>,
) -> Decision<Result<R, (ErrorCode, KafkaString)>> {
    Decision::without_records(Err((error, KafkaString::from(message.into()))))
}

fn altered_topic(
    topic: &AlterShareGroupOffsetsRequestTopic,
    topic_id: Option<Uuid>,
    exists: impl Fn(i32) -> bool,
) -> AlterShareGroupOffsetsResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        let mut answer = AlterShareGroupOffsetsResponsePartition {
            partition_index: partition.partition_index,
            ..AlterShareGroupOffsetsResponsePartition::default()
        };
        if !exists(partition.partition_index) {
            answer.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            answer.error_message = Some(KafkaString::from_static(NOT_HOSTED));
        }
        answer
    });
    AlterShareGroupOffsetsResponseTopic {
        topic_name: topic.topic_name.clone(),
        topic_id: topic_id.unwrap_or(Uuid::ZERO),
        partitions: partitions.collect(),
        ..AlterShareGroupOffsetsResponseTopic::default()
    }
}
