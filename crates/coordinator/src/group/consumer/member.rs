//! A member of a consumer group, as its records have it.

use std::sync::Arc;

use ottla_protocol::messages::consumer_group_current_member_assignment_value as current;
use ottla_protocol::messages::consumer_group_member_metadata_value::ClassicMemberMetadata;
use ottla_protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
};
use ottla_protocol::{KafkaString, Uuid};

use super::assignment::{EpochsByTopic, PartitionEpochs};
use crate::group::hash_order::{HashOrdered, HashOrderedSet};

/// How far a member has come on its way to its target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has all that it is to have in its epoch.
    Stable,
    /// It has to give partitions up before it goes on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions,
    /// A later release has written a state that this one does not know.
    Unknown,
}

impl MemberState {
    pub(super) fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    fn of(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsumerMember {
    pub(crate) member_id: KafkaString,
    pub(crate) member_epoch: i32,
    pub(crate) previous_member_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) instance_id: Option<KafkaString>,
    pub(crate) rack_id: Option<KafkaString>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) client_id: KafkaString,
    pub(crate) client_host: KafkaString,
    pub(crate) subscribed_topic_names: Arc<HashOrderedSet<KafkaString>>,
    pub(crate) subscribed_topic_regex: Option<KafkaString>,
    pub(crate) server_assignor: Option<KafkaString>,
    /// The partitions that it has or gets, each with the epoch in which it was given.
    pub(crate) assigned_partitions: Arc<EpochsByTopic>,
    /// The partitions that it has to give up.
    pub(crate) partitions_pending_revocation: Arc<EpochsByTopic>,
    /// What it said in JoinGroup, of a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicMemberMetadata>,
}

impl ConsumerMember {
    pub(crate) fn new(member_id: KafkaString) -> Self {
        Self {
            member_id,
            member_epoch: 0,
            previous_member_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            client_id: KafkaString::new(),
            client_host: KafkaString::new(),
            subscribed_topic_names: Arc::default(),
            subscribed_topic_regex: Some(KafkaString::new()),
            server_assignor: None,
            assigned_partitions: Arc::default(),
            partitions_pending_revocation: Arc::default(),
            classic: None,
        }
    }

    /// The expression it subscribes by, if by any.
    pub(crate) fn regex(&self) -> Option<&KafkaString> {
        self.subscribed_topic_regex
            .as_ref()
            .filter(|regex| !regex.is_empty())
    }

    pub(crate) fn uses_classic_protocol(&self) -> bool {
        self.classic.is_some()
    }

    pub(crate) fn is_reconciled_to(&self, target_assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == target_assignment_epoch
    }

    /// Goes to an epoch, and remembers the one that it was in.
    pub(super) fn enter_epoch(&mut self, member_epoch: i32) {
        self.previous_member_epoch = self.member_epoch;
        self.member_epoch = member_epoch;
    }

    /// The epoch in which the member was given the partition that it has or is giving up.
    pub(crate) fn assignment_epoch(&self, topic_id: Uuid, partition: i32) -> Option<i32> {
        [
            &self.assigned_partitions,
            &self.partitions_pending_revocation,
        ]
        .into_iter()
        .find_map(|topics| topics.get(&topic_id)?.get(&partition))
        .copied()
    }

    /// Takes what a record says of the member's subscription.
    pub(super) fn take_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue) {
        let detached = |text: &Option<KafkaString>| text.as_ref().map(KafkaString::detached);
        self.instance_id = detached(&value.instance_id);
        self.rack_id = detached(&value.rack_id);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        let names = value.subscribed_topic_names.iter();
        self.subscribed_topic_names =
            Arc::new(HashOrderedSet::from_list(names.map(KafkaString::detached)));
        self.subscribed_topic_regex = detached(&value.subscribed_topic_regex);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = detached(&value.server_assignor);
        self.classic = value.classic_member_metadata.as_ref().map(detached_classic);
    }

    /// Takes what a record says of the member's assignment.
    pub(super) fn take_assignment(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.member_epoch = value.member_epoch;
        self.previous_member_epoch = value.previous_member_epoch;
        self.state = MemberState::of(value.state);
        let epochs = |topics| Arc::new(epochs_of(topics, value.member_epoch));
        self.assigned_partitions = epochs(&value.assigned_partitions);
        self.partitions_pending_revocation = epochs(&value.partitions_pending_revocation);
    }
}

/// What a member said in JoinGroup, in buffers of its own.
pub(super) fn detached_classic(classic: &ClassicMemberMetadata) -> ClassicMemberMetadata {
    let mut own = classic.clone();
    for protocol in &mut own.supported_protocols {
        protocol.name = protocol.name.detached();
        protocol.metadata = bytes::Bytes::copy_from_slice(&protocol.metadata);
    }
    own
}

/// Partitions with their epochs; releases before 4.3 wrote no epochs, and meant the member's.
fn epochs_of(topics: &[current::TopicPartitions], member_epoch: i32) -> EpochsByTopic {
    let mut by_topic = HashOrdered::default();
    for topic in topics {
        let epochs = topic
            .assignment_epochs
            .as_ref()
            .filter(|epochs| epochs.len() == topic.partitions.len());
        let mut partitions = PartitionEpochs::default();
        for (index, partition) in topic.partitions.iter().enumerate() {
            let epoch = epochs.map_or(member_epoch.max(0), |epochs| epochs[index]);
            partitions.insert(*partition, epoch);
        }
        by_topic.insert(topic.topic_id, partitions);
    }
    by_topic
}
