//! A member of a share group, as its records have it.

use std::sync::Arc;

use ottla_protocol::KafkaString;
use ottla_protocol::messages::{
    ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue,
};

use crate::group::consumer::assignment::{PartitionsByTopic, from_lists};
use crate::group::hash_order::HashOrderedSet;

/// The only state that members of share groups are in.
pub(super) const STATE_STABLE: i8 = 0;

/// A member of a share group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ShareMember {
    pub(crate) member_id: KafkaString,
    pub(crate) member_epoch: i32,
    pub(crate) previous_member_epoch: i32,
    pub(crate) state: i8,
    pub(crate) rack_id: Option<KafkaString>,
    pub(crate) client_id: KafkaString,
    pub(crate) client_host: KafkaString,
    pub(crate) subscribed_topic_names: Arc<HashOrderedSet<KafkaString>>,
    pub(crate) assigned_partitions: Arc<PartitionsByTopic>,
}

impl ShareMember {
    pub(super) fn new(member_id: KafkaString) -> Self {
        Self {
            member_id,
            member_epoch: 0,
            previous_member_epoch: -1,
            state: STATE_STABLE,
            rack_id: None,
            client_id: KafkaString::new(),
            client_host: KafkaString::new(),
            subscribed_topic_names: Arc::default(),
            assigned_partitions: Arc::default(),
        }
    }

    pub(super) fn is_reconciled_to(&self, target_assignment_epoch: i32) -> bool {
        self.state == STATE_STABLE && self.member_epoch == target_assignment_epoch
    }

    /// Goes to an epoch, and remembers the one that it was in.
    pub(super) fn enter_epoch(&mut self, member_epoch: i32) {
        self.previous_member_epoch = self.member_epoch;
        self.member_epoch = member_epoch;
    }

    /// Takes what a record says of the member's subscription.
    pub(super) fn take_metadata(&mut self, value: &ShareGroupMemberMetadataValue) {
        self.rack_id = value.rack_id.as_ref().map(KafkaString::detached);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        let names = value.subscribed_topic_names.iter();
        self.subscribed_topic_names =
            Arc::new(HashOrderedSet::from_list(names.map(KafkaString::detached)));
    }

    /// Takes what a record says of the member's assignment.
    pub(super) fn take_assignment(&mut self, value: &ShareGroupCurrentMemberAssignmentValue) {
        self.member_epoch = value.member_epoch;
        self.previous_member_epoch = value.previous_member_epoch;
        self.state = value.state;
        let topics = value.assigned_partitions.iter();
        let assigned = from_lists(topics.map(|topic| (topic.topic_id, &topic.partitions[..])));
        self.assigned_partitions = Arc::new(assigned);
    }
}
